"""What batch jobs hold of each of several node groups, and what that draws and bills: by the figures of the group that they are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.parts import NodeGroup
from hpcsim.run.pools import BoundJobs
from hpcsim.scheduling.machine import DEVICE, Allocation, Demand, Free, Integers, Machine
from hpcsim.workload.training import HOST_LOAD_FRAC

__all__ = ["Holdings", "draw_w", "holdings_of", "homes", "node_span_w"]

Floats = npt.NDArray[np.float64]


def node_span_w(group: NodeGroup) -> float:
    """Return what a whole node of a group draws above idle when all of it works [W]; 0 where its power is not known."""
    if group.idle_w is None or group.max_w is None:
        return 0.0
    span = group.max_w - group.idle_w
    a = group.accelerator
    if a is None or not group.per_node:
        return span
    if a.idle_w is None or a.tdp_w is None:
        return 0.0
    return HOST_LOAD_FRAC * span + group.per_node * (a.tdp_w - a.idle_w)


@dataclass(frozen=True)
class Holdings:
    """What batch jobs held, a row for each time on the machine and group: arrays of shape (n,).

    Attributes
    ----------
    job, group : int array
        Row of the job, and index of the group among the jobs' groups.
    start_s, end_s : float array [s]
        From when until when; the end is NaN while it runs.
    nodes, processors : int array
        Nodes, and processors in the unit in which jobs count theirs.
    devices : float array
        Billable devices: the accelerators that it holds, or its part of the nodes in a group without any.
    draw_w : float array [W]
        What it draws above idle.
    """

    job: Integers
    group: Integers
    start_s: Floats
    end_s: Floats
    nodes: Integers
    processors: Integers
    devices: Floats
    draw_w: Floats


def draw_w(bound: BoundJobs, group: Integers, processors: npt.ArrayLike, gpus: npt.ArrayLike) -> Floats:
    """Return what parts of jobs draw above idle, by the figures of the group that they are on [W].

    Parameters
    ----------
    bound : BoundJobs
    group : int array, shape (n,)
        Index among the jobs' groups.
    processors, gpus : array-like, shape (n,)
        Processors in the jobs' unit, and accelerators.

    Notes
    -----
    Where processors are nodes or accelerators: their part of what a whole node draws above idle. Where they are cores: on nodes without
    accelerators likewise; on nodes with some, a job that uses them draws ``gpus · (tdp − idle)`` and its cores' part of what the host then
    draws (HOST_LOAD_FRAC of its span), and one that does not its cores' part of the host's whole span.
    """
    groups, size = bound.groups, np.array(bound.per_nodes)
    processors, gpus = np.asarray(processors, dtype=np.float64), np.asarray(gpus, dtype=np.float64)
    span = np.array([node_span_w(one) for one in groups])
    plain: Floats = processors * (span / size)[group]
    if bound.unit != "core":
        return plain
    host = np.array(
        [
            0.0 if one.idle_w is None or one.max_w is None or not known else one.max_w - one.idle_w
            for one, known in zip(groups, span, strict=True)
        ]
    )
    device = np.array(
        [(a.tdp_w or 0.0) - (a.idle_w or 0.0) if (a := one.accelerator) and known else 0.0 for one, known in zip(groups, span, strict=True)]
    )
    has = np.array([one.per_node > 0 for one in groups])[group]
    load = np.where(gpus > 0, HOST_LOAD_FRAC, 1.0)
    return np.where(has, gpus * device[group] + load * processors * (host / size)[group], plain)


def _devices(bound: BoundJobs, group: Integers, processors: Floats, gpus: Floats) -> Floats:
    size, per_node = np.array(bound.per_nodes)[group], np.array([one.per_node for one in bound.groups])[group]
    if bound.unit == "core":
        return np.where(per_node > 0, gpus, processors / size)
    return np.asarray(processors * np.maximum(per_node, 1) / size)


def holdings_of(
    bound: BoundJobs,
    machine: Machine,
    demands: Sequence[Demand],
    kind: Integers,
    processors: Integers,
    visits: tuple[Integers, Floats, Floats, Sequence[Allocation]],
) -> Holdings:
    """Return what jobs held.

    Parameters
    ----------
    bound, machine : BoundJobs, Machine
        The groups, and the machine that they are: its classes are they, in their order.
    demands : sequence of Demand
        Kinds of demands.
    kind, processors : int array, shape (jobs,)
        Kind of demand of each job, and the processors that it asks for.
    visits : (job, start_s, end_s, places), each of shape (n,)
        The times of the jobs on the machine.
    """
    job, start, end, places = visits
    lengths = [len(place.nodes) for place in places]
    nodes = np.fromiter(chain.from_iterable(place.nodes for place in places), dtype=np.int64)
    counts = np.fromiter(chain.from_iterable(place.counts for place in places), dtype=np.int64)
    groups = len(bound.groups)
    key = np.repeat(np.arange(len(places)), lengths) * groups + machine.group[nodes]
    held, at = np.unique(key, return_inverse=True)
    visit, group = held // groups, held % groups
    chunks = np.bincount(at, weights=counts, minlength=len(held))
    of = kind[job[visit]]
    each = np.array([demand.gpus + demand.share / DEVICE for demand in demands])[of] if len(demands) else np.empty(0)
    whole = np.array([demand.chunks for demand in demands], dtype=np.int64)[of] if len(demands) else np.empty(0, dtype=np.int64)
    before = np.cumsum(chunks) - chunks
    first = np.searchsorted(visit, visit)  # first row of the visit
    reach = before - before[first]
    asked = processors[job[visit]]
    part = (asked * (reach + chunks) // whole - asked * reach // whole).astype(np.int64)  # whole processors that add up to those of the job
    gpus = part.astype(np.float64) if bound.unit == "accelerator" else chunks * each
    return Holdings(
        job=job[visit],
        group=group,
        start_s=start[visit],
        end_s=end[visit],
        nodes=np.bincount(at, minlength=len(held)),
        processors=part,
        devices=_devices(bound, group, part.astype(np.float64), gpus),
        draw_w=draw_w(bound, group, part, gpus),
    )


def homes(machine: Machine, demands: Sequence[Demand], ladder: Sequence[int]) -> Integers:
    """Return for each kind of demand the first class of the ladder of which the empty machine gives it nodes, shape (kinds,)."""
    found = []
    for demand in demands:
        capacity = Free(machine, [demand]).capacity(0)
        able = np.add.reduceat(capacity, machine.first) > 0
        found.append(next((at for at in ladder if able[at]), ladder[0]))
    return np.array(found, dtype=np.int64)
