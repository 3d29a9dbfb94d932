"""What batch jobs send: which jobs communicate, who sends to whom on their nodes, and how a job slows with its traffic.

A job's run time in the log, or as drawn, is taken to hold where only the ports of its nodes limit what it sends: packed under one switch. On
nodes that are far apart its own traffic may be slower, and among others it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.rng import stream
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.exchanges import process_grid
from hpcsim.scenario.communication import CommunicationSpec
from hpcsim.workload.jobs import JobTable

__all__ = ["MOST_PARTNERS", "Beat", "assigned", "check_communication", "partners"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

NO_FABRIC = problem_kind("communication-fabric", "jobs communicate, and the cluster has no fabric", "add cluster.fabric, or leave it out")
TOO_MUCH = problem_kind(
    "communication-rate", "{rate:.4g} B/s are more than the ports of a node of {group!r} send: {port:.4g} B/s", "a lower rate"
)
SHARES = problem_kind("communication-shares", "the shares of the jobs {which} add up to {total:g}", "they add up to 1 at most")

MOST_PARTNERS = 31
"""Partners of a node in an all-to-all that is followed pair by pair; a larger one has as many, evenly spread."""


def check_communication(specs: Mapping[str, CommunicationSpec], cluster: Cluster, groups: Sequence[NodeGroup], problems: Problems) -> None:
    """Add to ``problems`` what does not go together with the cluster, whose ``groups`` run the jobs."""
    group = min(groups, key=lambda one: one.injection_bytes_per_s)
    path = "workload.jobs.communication"
    total: dict[str | None, float] = {}
    for name, spec in specs.items():
        total[spec.queue] = total.get(spec.queue, 0.0) + spec.share
        if spec.storage is not None and spec.storage not in cluster.storage:
            try:
                cluster.tier(spec.storage, f"{path}.{name}.storage")
            except InputError as error:
                problems.absorb(error, f"{path}.{name}.storage")
        if cluster.fabric is None and spec.pattern != "storage":
            problems.add(NO_FABRIC(path=f"{path}.{name}"))
        if spec.rate is not None and spec.rate > group.injection_bytes_per_s:
            problems.add(TOO_MUCH(path=f"{path}.{name}.rate", rate=spec.rate, group=group.name, port=group.injection_bytes_per_s))
    for queue, whole in total.items():
        if whole > 1 + 1e-9:
            problems.add(SHARES(path=path, which="" if queue is None else f"of queue {queue!r}", total=whole))


def assigned(jobs: JobTable, specs: Mapping[str, CommunicationSpec], seed: int) -> IntArray:
    """Return the communication of each job by its place among ``specs``, -1 for none; shape (jobs,).

    A job takes the first that its queue and its draw allow: one draw a job, whatever the specs.
    """
    draw = stream(seed, "communication").random(len(jobs))
    queues = np.array([jobs.label("queue", number) for number in jobs.queue.tolist()], dtype=object)
    kind = np.full(len(jobs), -1)
    below: dict[str | None, float] = {}
    for at, spec in enumerate(specs.values()):
        low = below.get(spec.queue, 0.0)
        below[spec.queue] = low + spec.share
        mine = (draw >= low) & (draw < low + spec.share + (1e-12 if low + spec.share >= 1 else 0.0)) & (kind < 0)
        kind[mine if spec.queue is None else mine & (queues == spec.queue)] = at
    return kind


def partners(pattern: str, nodes: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Return who sends to whom on a job's nodes, numbered in their order, and which part of what one node sends goes there.

    Parameters
    ----------
    pattern : {"ring", "halo", "all-to-all", "master-worker"}
        As of :class:`~hpcsim.scenario.communication.CommunicationSpec`.
    nodes : int

    Returns
    -------
    (array of int, array of int, array)
        Sources, targets, parts. In ``master-worker`` every worker sends one part to the first node and gets as much from it.

    Notes
    -----
    An all-to-all of more than 32 nodes has 31 evenly spread partners a node in place of all.

    Examples
    --------
    >>> source, target, part = partners("ring", 3)
    >>> source.tolist(), target.tolist(), part.tolist()
    ([0, 1, 2], [1, 2, 0], [1.0, 1.0, 1.0])
    """
    every = np.arange(nodes)
    if nodes < 2:
        return every[:0], every[:0], np.empty(0)
    if pattern == "ring":
        return every, (every + 1) % nodes, np.ones(nodes)
    if pattern == "master-worker":
        first = np.zeros(nodes - 1, dtype=np.int64)
        return np.concatenate([every[1:], first]), np.concatenate([first, every[1:]]), np.ones(2 * (nodes - 1))
    if pattern == "all-to-all":
        count = min(nodes - 1, MOST_PARTNERS)
        shift = 1 + np.arange(count) * (nodes - 1) // count
        source = np.repeat(every, count)
        return source, (source + np.tile(shift, nodes)) % nodes, np.full(source.size, 1.0 / count)
    way = process_grid(nodes, (nodes,) * 3)
    place = np.stack(np.unravel_index(every, way))
    sources, targets = [], []
    for axis, ranks in enumerate(way):
        for side in (-1, 1) if ranks > 1 else ():
            there = place.copy()
            there[axis] = (there[axis] + side) % ranks
            sources.append(every)
            targets.append(np.ravel_multi_index(tuple(there), way))
    source, target = np.concatenate(sources), np.concatenate(targets)
    return source, target, np.full(source.size, 1.0 / len(sources))


@dataclass(frozen=True)
class Beat:
    """How a job computes and sends: its time for each second of the log's, when what it sends is slower.

    Attributes
    ----------
    send_frac : float
        Time in which it would send undisturbed, for each second of the log's run time.
    placed : float
        By what factor its own traffic on its nodes is slower than their ports alone would have it; at least 1.
    overlap : bool
        Whether it sends beside its computation.
    """

    send_frac: float
    placed: float
    overlap: bool

    def length(self, slowdown: float = 1.0) -> float:
        """Return its time for each second of the log's when its traffic is slower than alone on these nodes by ``slowdown``."""
        sends = self.send_frac * self.placed * slowdown
        return max(1.0, sends) if self.overlap else 1.0 - self.send_frac + sends

    def stretch(self, slowdown: float) -> float:
        """Return by what factor it is longer than alone on these nodes."""
        return self.length(slowdown) / self.length() if slowdown > 1.0 else 1.0

    def duty_frac(self, slowdown: float) -> float:
        """Return the share of its time in which it sends."""
        return min(self.send_frac * self.placed * slowdown / self.length(slowdown), 1.0)
