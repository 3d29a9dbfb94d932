"""Placements that look at the fabric, at the load of nodes, and at what they leave behind."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import CORES, GPUS, MEMORY, Demand, Free, Integers
from hpcsim.scheduling.placement import BestFit, Choice, _by, _in_order, placements

__all__ = ["Balanced", "LeastFragmentation", "LowestSwitch", "Rail", "TorusBlock", "lowest_switch"]


def lowest_switch(chunks: int, capacity: Integers, levels: Integers) -> npt.NDArray[np.bool_]:
    """Return the nodes under the lowest switch that can hold a job; of several at one level the one with the least room.

    Parameters
    ----------
    chunks : int
        Chunks of the job.
    capacity : int64 array, shape (nodes,)
        Chunks that each node can take.
    levels : int64 array, shape (levels, nodes)
        Switch above each node, the lowest level first. All nodes are under one more level.
    """
    for level in levels:
        room = np.bincount(level, weights=capacity).astype(np.int64)
        enough = np.flatnonzero(room >= chunks)
        if len(enough):
            return np.asarray(level == enough[np.argmin(room[enough])])
    return np.ones(len(capacity), dtype=np.bool_)


@placements.register("lowest-switch")
class LowestSwitch:
    """Under the lowest switch that can hold the job, over as few of its leaf switches as will do, with the best fit for the last.

    Where the machine knows no switches, it is ``best-fit``.

    Examples
    --------
    Leaves with 4, 6 and 8 nodes free: five nodes go to the leaf of six; twelve take the leaf of eight and that of four.

    >>> from hpcsim.scheduling.machine import Machine, NodeClass
    >>> leaf = [0] * 4 + [1] * 6 + [2] * 8
    >>> machine = Machine.of([NodeClass("n", 18, 1)], switch=[leaf])
    >>> kinds = [Demand(5, apart=True), Demand(12, apart=True)]
    >>> free = Free(machine, kinds)
    >>> for kind in (0, 1):
    ...     nodes, _ = LowestSwitch.choose(kinds[kind], free.capacity(kind), free)
    ...     print(sorted({leaf[node] for node in nodes}))
    [1]
    [0, 2]
    """

    name = "lowest-switch"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return nodes that are near to each other."""
        levels = free.machine.switch
        if not len(levels):
            return BestFit.choose(demand, capacity, free)
        inside = np.where(lowest_switch(demand.chunks, capacity, levels), capacity, 0)
        leaves, rest = levels[0], demand.chunks
        room = np.bincount(leaves, weights=inside).astype(np.int64)
        order: list[Integers] = []
        while rest > 0:
            enough = np.flatnonzero(room >= rest)
            leaf = int(enough[np.argmin(room[enough])]) if len(enough) else int(np.argmax(room))
            order.append(_by(-inside, np.where(leaves == leaf, inside, 0)))
            rest -= int(room[leaf])
            room[leaf] = -1
        return _in_order(np.concatenate(order), demand.chunks, capacity)


@placements.register("rail")
class Rail:
    """The same number of chunks on every node, as many as can be, under the lowest switch that has such nodes: equal accelerators then share a rail.

    Where no equal parts fit, it is ``lowest-switch``.
    """

    name = "rail"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return nodes with equal parts."""
        chunks = demand.chunks
        for each in range(min(int(capacity.max()), chunks), 0, -1):
            able = capacity >= each
            if chunks % each or int(able.sum()) * each < chunks:
                continue
            nodes = np.where(able, 1, 0)
            near = lowest_switch(chunks // each, nodes, free.machine.switch) if len(free.machine.switch) else able
            chosen = np.flatnonzero(able & near)[: chunks // each]
            return chosen.tolist(), [each] * len(chosen)
        return LowestSwitch.choose(demand, capacity, free)


@placements.register("torus-block")
class TorusBlock:
    """The smallest block of the torus that holds the job, of the least surface, with the least room to spare; blocks may wrap around.

    Nodes are numbered with the last coordinate running fastest. Where the machine is no torus, or no block will do, it is ``first-fit``.
    """

    name = "torus-block"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the nodes of a block."""
        dims = free.machine.torus
        if not dims:
            return _in_order(None, demand.chunks, capacity)
        grid = capacity.reshape(dims)
        most = max(1, int(capacity.max()))
        shapes = sorted(product(*(range(1, size + 1) for size in dims)), key=lambda shape: (int(np.prod(shape)), sum(shape), shape))
        for shape in shapes:
            if int(np.prod(shape)) * most < demand.chunks:
                continue
            room = grid
            for axis, size in enumerate(shape):
                room = np.sum([np.roll(room, -step, axis=axis) for step in range(size)], axis=0)
            enough = room >= demand.chunks
            if enough.any():
                corner = np.unravel_index(int(np.where(enough, room, np.iinfo(np.int64).max).argmin()), dims)
                axes = [[(int(corner[axis]) + step) % dims[axis] for step in range(size)] for axis, size in enumerate(shape)]
                inside = np.array([int(np.ravel_multi_index(point, dims)) for point in product(*axes)], dtype=np.int64)
                return _in_order(np.sort(inside), demand.chunks, capacity)
        return _in_order(None, demand.chunks, capacity)


@placements.register("balanced")
class Balanced:
    """The node first whose busiest resource is least busy, by its own size: unequal nodes fill alike."""

    name = "balanced"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the least busy nodes."""
        total = np.maximum(free.machine.total, 1)
        busy = np.where(free.machine.total > 0, 1.0 - free.free / total, 0.0).max(axis=0)
        return _in_order(_by(busy, capacity), demand.chunks, capacity)


@placements.register("least-fragmentation")
class LeastFragmentation:
    """The node first on which a chunk strands the least: accelerators (cores, on nodes without) that some kind of job of the workload could then not use.

    What is stranded on a node is what is free there, once for every kind of demand of which no chunk fits any more.
    """

    name = "least-fragmentation"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the nodes where the least is stranded."""
        now = np.maximum(free.free, 0)
        taken = np.array([demand.cores, max(demand.gpus, 1 if demand.share else 0), demand.memory])[:, None]
        after = np.maximum(now - taken, 0)
        return _in_order(_by(_stranded(after, free) - _stranded(now, free), capacity), demand.chunks, capacity)


def _stranded(have: Integers, free: Free) -> Integers:
    main = np.where(free.machine.total[GPUS] > 0, have[GPUS], have[CORES])
    result = np.zeros(have.shape[1], dtype=np.int64)
    for kind in free.demands:
        fits = (have[CORES] >= kind.cores) & (have[GPUS] >= kind.gpus) & (have[MEMORY] >= kind.memory)
        result += np.where(fits, 0, main)
    return result
