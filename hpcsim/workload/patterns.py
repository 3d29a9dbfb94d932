"""Applications by their communication: stencils with halo exchange, transposes, master and workers, ensembles, and work bound by storage.

A plan is a decomposed task whose shares are the ranks' parts, one rank a node. Work and messages of all iterations are summed: the nodes
compute, and the exchanges that they wait for are booked after it, so that the results show both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import percent, readable
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cluster.ways import Ways
from hpcsim.cost.collectives import algorithms, textbook
from hpcsim.cost.exchanges import halo_pattern, master_worker_s, process_grid, transpose_bytes, transpose_s, transpose_share_bytes
from hpcsim.cost.laws import distributed
from hpcsim.cost.patterns import Pattern, Round, star_seconds
from hpcsim.scenario.workload import PatternSpec
from hpcsim.workload.communication import partners
from hpcsim.workload.tasks import NO_FABRIC, Exchange, TaskPlan

__all__ = ["plan_pattern"]

NEEDS_GROUP = problem_kind(
    "pattern-node-group", "the cluster has several node groups, and a pattern runs on one", "add {path}, one of: {names}"
)
TOO_MANY = problem_kind(
    "pattern-ranks", "{ranks} ranks, one a node, are more than the {count} nodes of {name!r}", "at most {count} ranks, or more nodes"
)
TOO_FEW = problem_kind("pattern-workers", "a master without workers: {ranks} rank", "at least two ranks")
PATTERN_MEMORY = problem_kind(
    "pattern-memory", "a rank holds {need}, {more} more than a node of {name!r} has", "more ranks, a smaller grid, or fewer bytes a point"
)

Floats = npt.NDArray[np.float64]

_ELEMENT_BYTES = 8.0
"""Of a point, where nothing is said: one number in double precision."""


@dataclass(frozen=True)
class _Place:
    """Where a pattern runs: ranks, a node's speed, its port, latency of a message."""

    ranks: int
    speed_flop_per_s: float
    port_bytes_per_s: float
    latency_s: float
    slower: float = 1.0
    """By what factor storage is slower than alone."""


@dataclass(frozen=True)
class _Parts:
    """What a pattern takes.

    Attributes
    ----------
    work_flop, share_bytes : array, shape (ranks,)
        Over all iterations; what each holds.
    waiting_s : float
        Exposed communication and input, over all iterations.
    notes : tuple of str
    moves : tuple of (array, array, array)
        Sources, targets and bytes of what ranks send in an iteration; -1 is the storage tier.
    """

    work_flop: Floats
    share_bytes: Floats
    waiting_s: float
    notes: tuple[str, ...] = ()
    moves: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats] | None = None


def _even(total: float, ranks: int) -> Floats:
    return np.full(ranks, total / ranks)


def _element(spec: PatternSpec) -> float:
    return spec.element or _ELEMENT_BYTES


def _blocks(spec: PatternSpec, way: tuple[int, ...]) -> Floats:
    """Return the share of the grid of each rank: blocks of whole points, the rest to the first."""
    shares = np.ones(1)
    for points, ranks in zip(spec.grid, way, strict=True):
        part = points // ranks + (np.arange(ranks) < points % ranks)
        shares = np.outer(shares, part / points).ravel()
    return shares


def _moves(pattern: Pattern) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Return the messages of all rounds of a pattern."""
    rounds = pattern.rounds or (Round(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)),)
    source, target, size = (np.concatenate([step[k] for step in rounds]) for k in range(3))
    return source, target, size


def _exposed_s(spec: PatternSpec, exchange_s: float, compute_s: float) -> float:
    """Return what is waited for in all iterations: everything, or what the computation does not hide."""
    return spec.iterations * (max(exchange_s - compute_s, 0.0) if spec.overlap else exchange_s)


def _halo(spec: PatternSpec, at: _Place) -> _Parts:
    way = process_grid(at.ranks, spec.grid)
    shares = _blocks(spec, way)
    moves = halo_pattern(at.ranks, spec.grid, _element(spec), width=spec.width, periodic=spec.periodic)
    exchange_s = star_seconds(moves, bytes_per_s=at.port_bytes_per_s, latency_s=at.latency_s)
    work = spec.work * shares
    waiting = _exposed_s(spec, exchange_s, float(work.max()) / at.speed_flop_per_s)
    sent = readable(float(moves.sent_bytes().max()), "data size", 3)
    note = f"The grid lies on {'×'.join(map(str, way))} ranks; one of them sends {sent} an iteration, and an exchange takes {readable(exchange_s, 'time', 3)}."
    return _Parts(spec.iterations * work, math.prod(spec.grid) * _element(spec) * shares, waiting, (note,), _moves(moves))


def _transpose(spec: PatternSpec, at: _Place) -> _Parts:
    shares = _blocks(spec, (at.ranks,) + (1,) * (len(spec.grid) - 1))
    moved = transpose_bytes(at.ranks, spec.grid, _element(spec))
    rounds_s = transpose_s(at.ranks, spec.grid, _element(spec), bytes_per_s=at.port_bytes_per_s, latency_s=at.latency_s)
    whole = math.prod(spec.grid) * _element(spec)
    key = {"bytes_per_s": at.port_bytes_per_s, "latency_s": at.latency_s}
    share = transpose_share_bytes(at.ranks, spec.grid, _element(spec))
    quick_s = min(float(textbook("all-to-all", share, at.ranks, algorithm=name, **key)) for name in algorithms("all-to-all"))
    exchange_s = spec.transposes * min(rounds_s, quick_s) if at.ranks > 1 else 0.0
    work = spec.work * shares
    note = f"A transpose moves {readable(moved, 'data size', 3)} in all and takes {readable(min(rounds_s, quick_s), 'time', 3)}."
    waiting = _exposed_s(spec, exchange_s, float(work.max()) / at.speed_flop_per_s)
    source, target, part = partners("all-to-all", at.ranks)
    sent = spec.transposes * moved / max(at.ranks, 1) * part
    return _Parts(spec.iterations * work, whole * shares, waiting, (note,) if at.ranks > 1 else (), (source, target, sent))


def _master_worker(spec: PatternSpec, at: _Place) -> _Parts:
    if at.ranks < 2:
        raise TOO_FEW.error(ranks=at.ranks)
    workers, tasks = at.ranks - 1, spec.tasks or 1
    send_s, back_s = (spec.task_input or 0.0) / at.port_bytes_per_s, (spec.task_result or 0.0) / at.port_bytes_per_s
    run_s = spec.work / tasks / at.speed_flop_per_s
    service_s = max(at.latency_s, send_s, back_s)
    cycle_s = 2.0 * at.latency_s + send_s + run_s + back_s
    end_s = float(master_worker_s(tasks, workers, service_s, cycle_s))
    counts = tasks // workers + (np.arange(workers) < tasks % workers)
    work = np.concatenate([[0.0], counts * spec.work / tasks])
    bound = "the master" if cycle_s < workers * service_s else "the workers"
    note = (
        f"What bounds it are {bound}: a task keeps the master {readable(service_s, 'time', 3)} and a worker {readable(cycle_s, 'time', 3)}."
    )
    note = note.replace("are the master", "is the master")
    waiting = spec.iterations * max(end_s - float(work.max()) / at.speed_flop_per_s, 0.0)
    shares = np.concatenate([[0.0], counts * ((spec.task_input or 0.0) + (spec.task_result or 0.0))])
    each, first = 1 + np.arange(workers), np.zeros(workers, dtype=np.int64)
    sent = np.concatenate([counts * (spec.task_input or 0.0), counts * (spec.task_result or 0.0)])
    return _Parts(spec.iterations * work, shares, waiting, (note,), (np.concatenate([first, each]), np.concatenate([each, first]), sent))


def _ensemble(spec: PatternSpec, at: _Place) -> _Parts:
    tasks = spec.tasks or 1
    counts = tasks // at.ranks + (np.arange(at.ranks) < tasks % at.ranks)
    idle = 1.0 - tasks / (at.ranks * float(counts.max()))
    note = (
        f"{tasks} members on {at.ranks} ranks leave {percent(idle, 3)} of the nodes' time idle; nobody talks." if idle else "Nobody talks."
    )
    return _Parts(spec.iterations * counts * spec.work / tasks, _even(0.0, at.ranks), 0.0, (note,))


def _storage(spec: PatternSpec, at: _Place, cluster: Cluster, path: str) -> _Parts:
    tier = cluster.tier(spec.storage or "", f"{path}.storage")
    fabric = cluster.fabric
    wire = min(at.ranks * at.port_bytes_per_s, tier.ports * fabric.bytes_per_s if fabric else math.inf)
    latency_s = tier.latency_s + at.latency_s
    read_s = at.slower * spec.read / min(tier.read_bytes_per_s, wire) + latency_s if spec.read else 0.0
    write_s = at.slower * spec.write / min(tier.write_bytes_per_s, wire) + latency_s if spec.write else 0.0
    work = _even(spec.work, at.ranks)
    compute_s = float(work.max()) / at.speed_flop_per_s
    bound = "storage" if read_s + write_s > compute_s else "computation"
    note = f"An iteration reads {readable(read_s, 'time', 3)}, computes {readable(compute_s, 'time', 3)} and writes {readable(write_s, 'time', 3)}: {bound} bounds it."
    return _Parts(
        spec.iterations * work,
        _even((spec.read or 0.0) + (spec.write or 0.0), at.ranks),
        _exposed_s(spec, read_s + write_s, compute_s),
        (note,),
        (
            np.concatenate([np.full(at.ranks, -1), np.arange(at.ranks)]),
            np.concatenate([np.arange(at.ranks), np.full(at.ranks, -1)]),
            np.concatenate([_even(spec.read or 0.0, at.ranks), _even(spec.write or 0.0, at.ranks)]),
        ),
    )


_KINDS: dict[str, Callable[[PatternSpec, _Place], _Parts]] = {
    "halo": _halo,
    "transpose": _transpose,
    "master-worker": _master_worker,
    "ensemble": _ensemble,
}


def _run(spec: PatternSpec, at: _Place, cluster: Cluster, path: str) -> _Parts:
    return _storage(spec, at, cluster, path) if spec.kind == "storage" else _KINDS[spec.kind](spec, at)


def _placed(parts: _Parts, cluster: Cluster, group: NodeGroup) -> float:
    """Return by what factor the messages of the first nodes are slower over the fabric than their ports alone would have them; at least 1."""
    fabric, shape = cluster.fabric, cluster.fabric_size
    if parts.moves is None or fabric is None or shape is None or (shape.oversubscription <= 1.0 and not fabric.collides):
        return 1.0
    source, target, size = parts.moves
    sent = (size > 0) & (source >= 0) & (target >= 0)
    ways = Ways(cluster)
    if not sent.any() or ways.links is None or ways.links.forwards:
        return 1.0
    first = ways.offsets[group.name]
    way = ways.between(source[sent] + first, target[sent] + first)
    seconds = [float(ways.slowest_s(way, size[sent], capacity).max()) for capacity in (ways.port_capacities(), ways.capacity_bytes_per_s)]
    return max(seconds[1] / seconds[0], 1.0)


def _exchange(spec: PatternSpec, at: _Place, parts: _Parts, cluster: Cluster, path: str) -> Exchange | None:
    """Return what a pattern sends, and how it slows with that; None for one that sends nothing."""
    if parts.moves is None or not (parts.moves[2] > 0).any():
        return None
    compute_s = float(parts.work_flop.max(initial=0.0)) / at.speed_flop_per_s

    def waiting_s(slowdown: float, asked: PatternSpec = spec) -> float:
        slow = dataclasses.replace(at, port_bytes_per_s=at.port_bytes_per_s / slowdown, slower=slowdown)
        return _run(asked, slow, cluster, path).waiting_s

    bare = spec.model_copy(update={"overlap": False})
    busy_s = max(waiting_s(2.0, bare) - waiting_s(1.0, bare), 0.0)
    source, target, size = parts.moves
    sent = np.flatnonzero(size > 0)
    weight = np.ones(sent.size)
    if spec.kind == "storage":  # it reads, then it writes
        tier = cluster.tier(spec.storage or "", path)
        times = np.where(source[sent] < 0, (spec.read or 0.0) / tier.read_bytes_per_s, (spec.write or 0.0) / tier.write_bytes_per_s)
        weight = times / (np.unique(times).sum() if times.min() < times.max() else times[0] * (2 if spec.read and spec.write else 1))
    return Exchange(
        source[sent],
        target[sent],
        spec.iterations * size[sent],
        weight,
        spec.storage or "",
        lru_cache(lambda slowdown: compute_s + waiting_s(slowdown)),
        busy_s,
    )


def _group(spec: PatternSpec, cluster: Cluster, path: str) -> NodeGroup:
    if spec.nodes is not None:
        return cluster.group(spec.nodes, f"{path}.nodes")
    if len(cluster.groups) > 1:
        raise NEEDS_GROUP.error(path=f"{path}.nodes", names=", ".join(cluster.groups))
    return next(iter(cluster.groups.values()))


def plan_pattern(name: str, spec: PatternSpec, cluster: Cluster) -> TaskPlan:
    """Plan an application by its communication pattern, one rank a node.

    Parameters
    ----------
    name : str
        Name of the pattern in the scenario.
    spec : PatternSpec
        What it does.
    cluster : Cluster
        Where it runs.

    Returns
    -------
    TaskPlan
        Runs the work of all iterations; what the ranks wait for in exchanges and input is its merge.

    Raises
    ------
    InputError
        Unknown group or tier, more ranks than nodes, no fabric, blocks thinner than their halo, a rank without memory for its block.

    Notes
    -----
    Messages go over the nodes' ports, full duplex, with the fabric's latency; where the fabric is oversubscribed they are slower by what
    the first nodes in their order meet. An iteration computes and
    then exchanges, or does both at once with ``overlap``.
    """
    path = f"workload.patterns.{name}"
    group = _group(spec, cluster, path)
    ranks = spec.ranks or group.count
    if ranks > group.count:
        raise TOO_MANY.error(path=f"{path}.ranks", ranks=ranks, count=group.count, name=group.name)
    talks = ranks > 1 and spec.kind not in ("ensemble", "storage")
    if talks and cluster.fabric is None:
        raise NO_FABRIC.error(path=f"{path}.ranks", what="a pattern over several ranks")
    port = group.injection_bytes_per_s if cluster.fabric is not None else math.inf
    latency_s = cluster.fabric.latency_s if cluster.fabric is not None else 0.0
    at = _Place(ranks, group.speed_flop_per_s(spec.precision), port, latency_s)
    parts = _run(spec, at, cluster, path)
    placed = _placed(parts, cluster, group)
    if placed > 1.0:
        at = dataclasses.replace(at, port_bytes_per_s=port / placed)
        parts = _run(spec, at, cluster, path)
    held = float(parts.share_bytes.max(initial=0.0))
    if spec.kind in ("halo", "transpose") and group.memory_bytes is not None and held > group.memory_bytes:
        more = readable(held - group.memory_bytes, "data size")
        raise PATTERN_MEMORY.error(path=f"{path}.grid", need=readable(held, "data size"), more=more, name=group.name)
    notes = parts.notes
    if placed > 1.0:
        notes += (
            f"On the first nodes in their order, {name} sends {placed:.3g} times slower than their ports: the fabric is oversubscribed, or its hash puts several on one cable.",
        )
    if group.given_speed_flop_per_s is None:
        notes += (f"The speed of a node of {group.name} is the sustained {spec.precision} rate of its devices.",)
    return TaskPlan(
        name=name,
        kind="pattern",
        groups=((group.name, ranks),),
        speed_flop_per_s=np.full(ranks, at.speed_flop_per_s),
        share_bytes=parts.share_bytes,
        work_flop=parts.work_flop,
        port_bytes_per_s=np.full(ranks, group.injection_bytes_per_s),
        submit_s=spec.submit,
        merge_s=parts.waiting_s,
        data_bytes=float(parts.share_bytes.sum()),
        partition=spec.kind,
        laws=(distributed(at.speed_flop_per_s, ranks, c=float(parts.work_flop.sum())),),
        notes=notes,
        exchange=_exchange(spec, at, parts, cluster, path),
    )
