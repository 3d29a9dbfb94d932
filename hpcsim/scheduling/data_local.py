"""Jobs near their data: what nodes keep of it, what it takes to bring the rest, and a placement that prefers nodes that have it.

A data set is kept whole on the node of every job that has read it, in a cache of the node, until others push it out (least recently used first).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import CORES, GPUS, Bools, Demand, Free, Integers
from hpcsim.scheduling.placement import Choice, _in_order, placements

__all__ = ["CacheRule", "DataLocal", "near"]

BAD_CACHE = problem_kind("node-cache-value", "{name} is {value}; it must be {bound}", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheRule:
    """What nodes keep, and how fast data reach them.

    Attributes
    ----------
    size_bytes : tuple of float [bytes]
        Size of each data set, by number.
    capacity_bytes : float [bytes]
        What one node keeps; 0 for nothing.
    store_bytes_per_s : float [B/s]
        Bandwidth of the store, which the nodes of one job that need it share; above 0.
    node_bytes_per_s : float or None [B/s]
        What one node can receive: of the store, and from another node under the same lowest switch; None where the network is not known, and
        then nodes do not read from each other.

    Raises
    ------
    InputError
        A value out of range.
    """

    size_bytes: tuple[float, ...]
    capacity_bytes: float
    store_bytes_per_s: float
    node_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        for name, value, good, bound in (
            ("capacity", self.capacity_bytes, self.capacity_bytes >= 0, "at least 0"),
            ("bandwidth of the store", self.store_bytes_per_s, self.store_bytes_per_s > 0, "above 0"),
            ("bandwidth of a node", self.node_bytes_per_s, self.node_bytes_per_s is None or self.node_bytes_per_s > 0, "above 0"),
        ):
            if not good:
                raise BAD_CACHE.error(path="scheduler.data", name=f"the {name}", value=value, bound=bound)

    def staging_s(self, data: int, far: int, close: int) -> float:
        """Return how long it takes to bring a data set to ``far`` nodes from the store and to ``close`` ones from a neighbour [s].

        Both go on at once: ``max(far·size/store, size/node where any needs it)``.

        Examples
        --------
        100 GB from a store of 10 GB/s to three nodes that take 5 GB/s each; from a neighbour to one; nothing to bring:

        >>> rule = CacheRule(size_bytes=(1e11,), capacity_bytes=1e12, store_bytes_per_s=1e10, node_bytes_per_s=5e9)
        >>> rule.staging_s(0, 3, 0), rule.staging_s(0, 0, 1), rule.staging_s(0, 0, 0)
        (30.0, 20.0, 0.0)
        """
        if data < 0 or not far + close:
            return 0.0
        size = self.size_bytes[data]
        return max(far * size / self.store_bytes_per_s, size / self.node_bytes_per_s if self.node_bytes_per_s else 0.0)


def near(held: Bools, levels: Integers) -> Bools:
    """Return which nodes are under the lowest switch of a node that holds something; where all are under one switch, all if any holds it."""
    if not len(levels):
        return np.full(len(held), bool(held.any()))
    return np.isin(levels[0], levels[0][held])


@placements.register("data-local")
class DataLocal:
    """Nodes that hold the job's data first, then those under the same lowest switch as one that does, then the others; among equals the fullest.

    Examples
    --------
    Four nodes under two switches; the third holds the data of the job, which takes three nodes: it, its neighbour, and one of the others.

    >>> from hpcsim.scheduling.machine import Machine, NodeClass
    >>> free = Free(Machine.of([NodeClass("n", 4, 8)], switch=[[0, 0, 1, 1]]), [Demand(3, apart=True, data=5)])
    >>> free.cached = {5: np.array([False, False, True, False])}
    >>> DataLocal.choose(free.demands[0], free.capacity(0), free)
    ([0, 2, 3], [1, 1, 1])
    """

    name = "data-local"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the nodes that have the data, or are near to it."""
        held = free.cached.get(demand.data) if free.cached is not None and demand.data >= 0 else None
        left = free.free[GPUS if demand.gpus or demand.share else CORES]
        able = np.flatnonzero(capacity > 0)
        far = np.full(len(capacity), 2)
        if held is not None:
            far[near(held, free.machine.switch)] = 1
            far[held] = 0
        return _in_order(able[np.lexsort((left[able], far[able]))], demand.chunks, capacity)
