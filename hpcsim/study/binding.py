"""What jobs wait for on a machine of nodes: which resource, limit, partition or reservation, from starts, ends and places alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hpcsim.engine.clock import Clock
from hpcsim.engine.elastic import system_for
from hpcsim.engine.jobs import EventOrder
from hpcsim.engine.outcome import Outcome
from hpcsim.scheduling.machine import Demand, Free, Integers, Machine, Pool
from hpcsim.scheduling.placement import Placement
from hpcsim.scheduling.policies import Policy
from hpcsim.scheduling.requests import Asking
from hpcsim.workload.jobs import JobTable

__all__ = ["KEPT", "House", "binding_spans", "lacking", "moments", "reasons_of", "run_in", "with_more", "with_nodes"]

KEPT = "kept for others"
WINDOW = "kept for a reservation or maintenance"
SCATTERED = "enough in all, but not together on nodes"
_NAMES = {"cores": "cores", "accelerators": "accelerators", "memory": "memory"}
_PLENTY = 1 << 50


@dataclass(frozen=True)
class House:
    """A machine of nodes with its jobs, and the rules by which they get it.

    Attributes
    ----------
    machine : Machine
    jobs : JobTable
        By submission; the machine holds them all.
    demands : (list of Demand, int64 array, shape (jobs,))
        Kinds of demands, and the kind of each job.
    policy : Policy or str
    placement : Placement or str
    asking : Asking
    size : int
        Processors of the machine, in the unit in which jobs count theirs.
    order : {"batch", "event"}
    """

    machine: Machine
    jobs: JobTable
    demands: tuple[list[Demand], Integers]
    policy: Policy | str
    placement: Placement | str
    asking: Asking
    size: int
    order: EventOrder = "batch"


def run_in(house: House, *, until_s: float | None = None) -> Outcome:
    """Run the jobs of a house."""
    clock = Clock()
    system = system_for(house.jobs)(
        clock,
        house.machine,
        house.policy,
        placement=house.placement,
        asking=house.asking,
        size=house.size,
        order=house.order,
    )
    system.submit(house.jobs, house.demands)
    clock.run(until_s)
    return system.outcome()


class Moment(NamedTuple):
    """What is free from ``start_s`` to ``end_s`` [s]: all that happens at an instant has happened."""

    start_s: float
    end_s: float
    free: Free


def moments(house: House, outcome: Outcome) -> Iterator[Moment]:
    """Yield what is free after each instant at which jobs start or end. It is one object, that changes from step to step."""
    kinds, kind = house.demands
    free = Free(house.machine, kinds)
    began, ended = outcome.start_s, outcome.end_s
    rows = np.flatnonzero(~np.isnan(began))
    over = rows[~np.isnan(ended[rows])]
    times = np.concatenate([ended[over], began[rows]])
    jobs = np.concatenate([over, rows])
    gives = np.concatenate([np.ones(len(over), dtype=np.bool_), np.zeros(len(rows), dtype=np.bool_)])
    brief = ended[jobs] <= began[jobs]  # a job of no length gives back what it has just taken
    order = np.lexsort((np.where(gives, np.where(brief, 2, 0), 1), times))
    last = -np.inf
    for time, job, give in zip(times[order].tolist(), jobs[order].tolist(), gives[order].tolist(), strict=True):
        if time > last and last > -np.inf:
            yield Moment(last, time, free)
        last = time
        (free.give if give else free.take)(int(kind[job]), outcome.places[job])
    if last > -np.inf:
        yield Moment(last, np.inf, free)


def reasons_of(free: Free, kind: int, machine: Machine, *, begin_s: float, estimate_s: float) -> tuple[str, ...]:
    """Return why a job of a kind does not start: what it lacks, or that others keep what is free.

    Parameters
    ----------
    free : Free
        What is free.
    kind : int
        Of the job's demand.
    machine : Machine
    begin_s, estimate_s : float [s]
        The present, and the job's estimate: by them, reservations and maintenance keep nodes from it.
    """
    demand = free.demands[kind]
    lacks = free.lacks(kind)
    pools = {pool.name for pool in machine.pools}
    found = [f"limit: {name}" if _is_limit(machine, name) else name for name in lacks if name in pools]
    places = [name for name in lacks if name not in pools]
    if demand.where and places and not set(_elsewhere(free, kind, demand._replace(where=0)).lacks(0)) - pools:
        found.append("its partition or features: other nodes have room")
    else:
        found += [_NAMES[name] if name in _NAMES else _scattered(free, kind) for name in places]
    if found:
        return tuple(found)
    end_s = begin_s + estimate_s
    taken = np.zeros(machine.nodes, dtype=np.bool_)
    for at, window in enumerate(machine.windows):
        if at == demand.window:
            taken |= ~window.nodes if window.start_s <= begin_s and end_s <= window.end_s else True
        elif begin_s < window.end_s and end_s > window.start_s:
            taken |= window.nodes
    if taken.any() and int(free.capacity(kind, ~taken).sum()) < demand.chunks:
        return (WINDOW,)
    return (KEPT,)


def _is_limit(machine: Machine, name: str) -> bool:
    return any(pool.name == name and pool.limit for pool in machine.pools)


def _elsewhere(free: Free, kind: int, demand: Demand) -> Free:
    """Return what is free, with another demand as the only kind."""
    other = free.copy()
    other.demands, other._needs = [demand], []
    other._no, other._yes, other._last = set(), set(), None
    return other


def _scattered(free: Free, kind: int) -> str:
    """Return which resource is enough in all and not where a part of the job needs it; several where only together they are too few."""
    demand = free.demands[kind]
    if demand.exclusive:
        return "empty nodes"
    alone = {
        "cores": demand._replace(gpus=0, share=0, memory=0),
        "accelerators": demand._replace(cores=1, memory=0),
        "memory": demand._replace(cores=1, gpus=0, share=0),
    }
    asked = {"cores": demand.cores > 1, "accelerators": bool(demand.gpus or demand.share), "memory": bool(demand.memory)}
    short = [name for name, one in alone.items() if asked[name] and not _elsewhere(free, kind, one._replace(pooled=())).fits(0)]
    return f"{' and '.join(short)} together on nodes" if short else SCATTERED


def binding_spans(house: House, outcome: Outcome) -> dict[str, float]:
    """Return for how long the job that has waited longest lacked what [s]; where it lacks several things, each counts.

    ``any`` is the time during which any job waited.
    """
    kind, jobs = house.demands[1], house.jobs
    found: dict[str, float] = {"any": 0.0}
    head, count, arrived = 0, len(jobs), 0
    submit, estimate = jobs.submit_s.tolist(), jobs.estimate_s.tolist()
    started = np.where(np.isnan(outcome.start_s), np.inf, outcome.start_s).tolist()
    for moment in moments(house, outcome):
        known: dict[int, tuple[str, ...]] = {}
        at = moment.start_s
        while at < moment.end_s:
            while head < count and started[head] <= at:
                head += 1
            while arrived < count and submit[arrived] <= at:
                arrived += 1
            stop = min(moment.end_s, submit[arrived] if arrived < count else np.inf)
            if head >= count or stop == np.inf:
                break
            if submit[head] <= at:
                number = int(kind[head])
                if number not in known:
                    known[number] = reasons_of(moment.free, number, house.machine, begin_s=at, estimate_s=estimate[head])
                for name in ("any", *known[number]):
                    found[name] = found.get(name, 0.0) + stop - at
            at = stop
    return found


def lacking(house: House, outcome: Outcome, row: int) -> list[tuple[float, float, tuple[str, ...]]]:
    """Return (start, end, reasons) of the spans of one job's wait [s], as :func:`reasons_of` tells them; neighbours differ."""
    begin, end = float(house.jobs.submit_s[row]), float(outcome.start_s[row])
    spans: list[tuple[float, float, tuple[str, ...]]] = []
    for moment in moments(house, outcome):
        low, high = max(moment.start_s, begin), min(moment.end_s, end)
        if not low < high:
            continue
        why = reasons_of(moment.free, int(house.demands[1][row]), house.machine, begin_s=low, estimate_s=float(house.jobs.estimate_s[row]))
        if spans and spans[-1][2] == why and spans[-1][1] == low:
            low = spans.pop()[0]
        spans.append((low, high, why))
    return spans


def with_nodes(house: House, nodes: int) -> House:
    """Return the house with so many more nodes of its last class, which every partition may use and no reservation takes."""
    machine = house.machine
    last = machine.classes[-1]
    more = np.ones(nodes, dtype=np.bool_)
    switch = None
    if len(machine.switch):
        switch = np.concatenate([machine.switch, np.repeat(machine.switch.max(axis=1, keepdims=True) + 1, nodes, axis=1)], axis=1)
    larger = Machine.of(
        [*machine.classes[:-1], dataclasses.replace(last, count=last.count + nodes)],
        switch=switch,
        pools=machine.pools,
        sets=[np.concatenate([one, more]) for one in machine.sets[1:]],
        windows=[window._replace(nodes=np.concatenate([window.nodes, ~more])) for window in machine.windows],
        shares=machine.shares,
        ladder=machine.ladder,
    )
    each = {"core": last.cores, "accelerator": last.gpus, "node": 1}[house.asking.unit] if machine.ladder else house.size // machine.nodes
    return dataclasses.replace(house, machine=larger, size=house.size + nodes * each)


def with_more(house: House) -> Iterator[tuple[str, House]]:
    """Yield what may bind beside the number of nodes, twice as much of each: memory, licences and the like, and without limits."""
    machine, kinds = house.machine, house.demands[0]
    if any(demand.memory for demand in kinds) and any(kind.memory_bytes for kind in machine.classes):
        classes = [dataclasses.replace(kind, memory_bytes=2 * kind.memory_bytes) for kind in machine.classes]
        yield "twice the memory on each node", dataclasses.replace(house, machine=_with(machine, classes=classes))
    for limit, case in ((False, "twice the licences, buffers and power"), (True, "without limits of partitions and users")):
        if any(pool.limit == limit for pool in machine.pools):
            pools = tuple(_loosened(pool) if pool.limit == limit else pool for pool in machine.pools)
            yield case, dataclasses.replace(house, machine=dataclasses.replace(machine, pools=pools))
    if len(machine.sets) > 1:
        everywhere = [demand._replace(where=0) for demand in kinds]
        yield "every job on any node", dataclasses.replace(house, demands=(everywhere, house.demands[1]))


def _loosened(pool: Pool) -> Pool:
    return pool._replace(capacity=_PLENTY if pool.limit else 2 * pool.capacity)


def _with(machine: Machine, *, classes: list[Any]) -> Machine:
    new = Machine.of(
        classes,
        switch=machine.switch if len(machine.switch) else None,
        pools=machine.pools,
        sets=machine.sets[1:],
        windows=machine.windows,
        shares=machine.shares,
        ladder=machine.ladder,
        torus=machine.torus,
    )
    return new
