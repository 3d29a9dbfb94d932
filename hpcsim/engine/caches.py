"""What the nodes of a machine keep of the data of jobs: a job starts when its nodes work and have what it reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np

from hpcsim.engine.clock import Clock
from hpcsim.engine.sleep import NodePower
from hpcsim.scheduling.data_local import CacheRule, near
from hpcsim.scheduling.machine import Bools, Demand, Free
from hpcsim.scheduling.sleeping import SleepRule

__all__ = ["NodeCaches", "readiness"]


class NodeCaches:
    """Brings data to nodes before jobs work there, and keeps it; in front of a power state of the nodes, where they have one.

    Parameters
    ----------
    clock : Clock
        The clock.
    free : Free
        What is free of the machine; it is told which nodes hold which data.
    rule : CacheRule
        What nodes keep, and how fast data reach them.
    demand_of : callable
        What a job asks for.
    inner : NodePower, optional
        The power states of the nodes.
    """

    def __init__(
        self, clock: Clock, free: Free, rule: CacheRule, demand_of: Callable[[int], Demand], inner: NodePower | None = None
    ) -> None:
        self.rule, self.inner = rule, inner
        self._clock, self._demand_of = clock, demand_of
        self._machine = free.machine
        self._held: dict[int, Bools] = {}
        free.cached = self._held
        self._nodes: list[OrderedDict[int, float]] = [OrderedDict() for _ in range(free.machine.nodes)]
        self._told: dict[int, float] = {}
        self.hits = self.misses = 0
        """Nodes of jobs that had the data already, or were getting it, and that had not."""
        self.staged_bytes = 0.0
        """Bytes that were brought to nodes."""

    # -- as of the power state -----------------------------------------------------------------------------------------------------

    def padded_s(self, job: int, estimate_s: float) -> float:
        """Return the estimate that a policy plans with while a job waits: longer by the most that staging can take."""
        self._told[job] = estimate_s
        demand = self._demand_of(job)
        worst = self.rule.staging_s(demand.data, min(demand.chunks, self._machine.nodes), 0)
        padded = estimate_s + (worst + 1e-3 if worst else 0.0)  # the last is for rounding
        return padded if self.inner is None else self.inner.padded_s(job, padded)

    def plain_s(self, job: int) -> float:
        """Return the plain estimate of a job that starts."""
        if self.inner is not None:
            self.inner.plain_s(job)
        return self._told.pop(job)

    def refresh(self) -> None:
        """As of the power state."""
        if self.inner is not None:
            self.inner.refresh()

    def arm(self) -> None:
        """As of the power state."""
        if self.inner is not None:
            self.inner.arm()

    def release(self, nodes: Iterable[int]) -> None:
        """Take nodes back from a job; they keep what they have."""
        if self.inner is not None:
            self.inner.release(nodes)

    def close(self, nodes: Iterable[int]) -> None:
        """Nodes that fail lose what they have."""
        for node in nodes:
            for data in list(self._nodes[node]):
                self._forget(node, data)
        if self.inner is not None:
            self.inner.close(nodes)

    def open(self, nodes: Iterable[int]) -> None:
        """As of the power state."""
        if self.inner is not None:
            self.inner.open(nodes)

    def hold(self, nodes: Iterable[int], job: int) -> float:
        """Give nodes to a job, bring it its data, and return when all is there [s]."""
        nodes = list(nodes)
        begin = self._clock._now if self.inner is None else self.inner.hold(nodes, job)
        data = self._demand_of(job).data
        if data < 0:
            return float(begin)
        held = self._held.setdefault(data, np.zeros(self._machine.nodes, dtype=np.bool_))
        missing = [node for node in nodes if not held[node]]
        there = max((self._nodes[node][data] for node in nodes if held[node]), default=begin)  # another job may still be bringing it
        close = 0
        if self.rule.node_bytes_per_s is not None and missing and held.any():
            close = int(near(held, self._machine.switch)[missing].sum())
        ready = max(begin + self.rule.staging_s(data, len(missing) - close, close), there)
        self.hits += len(nodes) - len(missing)
        self.misses += len(missing)
        self.staged_bytes += len(missing) * self.rule.size_bytes[data]
        for node in nodes:
            self._keep(node, data, ready)
        return float(ready)

    # -- what a node keeps ----------------------------------------------------------------------------------------------------------

    def _keep(self, node: int, data: int, ready_s: float) -> None:
        """Note that a node has read a data set, and push out what was not read for longest until it fits."""
        kept, sizes, room = self._nodes[node], self.rule.size_bytes, self.rule.capacity_bytes
        if data in kept:
            kept.move_to_end(data)
            return
        if sizes[data] > room:
            return
        while sum(sizes[other] for other in kept) + sizes[data] > room:
            self._forget(node, next(iter(kept)))
        kept[data] = ready_s
        self._held[data][node] = True

    def _forget(self, node: int, data: int) -> None:
        del self._nodes[node][data]
        self._held[data][node] = False


def readiness(
    clock: Clock, free: Free, sleep: SleepRule | None, caches: CacheRule | None, demand_of: Callable[[int], Demand]
) -> NodePower | NodeCaches | None:
    """Return what makes nodes ready for jobs; None where they always are."""
    power = NodePower(clock, free, sleep) if sleep else None
    return power if caches is None else NodeCaches(clock, free, caches, demand_of, power)
