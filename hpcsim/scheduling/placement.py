"""Placements: which nodes a job gets, of those that can take it. Pure: what is free in, nodes out.

A placement is given how many chunks of the job each node could take, and returns nodes with the chunks that go there. Where the chunks fit in
all, it must place them: a placement chooses, it does not hold a job back.

References: the select and topology plug-ins of the Slurm documentation (lowest switch, best fit over its leaves); Q. Weng et al., "Beware
of fragmentation: scheduling GPU-sharing workloads with fragmentation gradient descent", USENIX ATC 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpcsim.base.registry import Registry
from hpcsim.scheduling.machine import CORES, GPUS, Demand, Free, Machine

__all__ = ["Choice", "LadderFirst", "Placement", "by_level", "make_placement", "placements"]

Integers = npt.NDArray[np.int64]
Choice = tuple[list[int], list[int]]
"""Nodes, ascending, and the chunks on each."""


class Placement(Protocol):
    """Chooses nodes for a job."""

    @property
    def name(self) -> str:
        """The name under which it is registered."""

    def choose(self, demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return where the chunks of a job go.

        Parameters
        ----------
        demand : Demand
            What the job asks for.
        capacity : int64 array, shape (nodes,)
            Chunks of it that each node can take; together at least those of the job. It must not be changed.
        free : Free
            What is free; it must not be changed.
        """


placements: Registry[Callable[[], Placement]] = Registry("placement", "placements")
"""Placements by name: what is registered is a class, or another callable that makes one."""


def make_placement(name: str) -> Placement:
    """Return the placement called ``name``.

    Raises
    ------
    InputError
        No placement has that name.

    Examples
    --------
    >>> make_placement("first-fit").name
    'first-fit'
    """
    return placements.get(name)()


def _in_order(order: Integers | None, chunks: int, capacity: Integers) -> Choice:
    """Fill nodes one after the other, in an order of nodes; in that of their numbers without one."""
    if chunks == 1 and order is None:
        return [int((capacity > 0).argmax())], [1]
    room = capacity if order is None else capacity[order]
    reach = room.cumsum()
    last = int(reach.searchsorted(chunks))
    used = room[: last + 1].copy()
    used[last] -= reach.item(last) - chunks
    at = used.nonzero()[0]
    if order is None:
        return at.tolist(), used[at].tolist()
    nodes = order[at]
    up = np.argsort(nodes)
    return nodes[up].tolist(), used[at][up].tolist()


@placements.register("first-fit")
class FirstFit:
    """The first nodes, by number, that have room, each filled before the next."""

    name = "first-fit"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the first nodes with room."""
        return _in_order(None, demand.chunks, capacity)


def _left(demand: Demand, free: Free) -> Integers:
    """Return what counts as free on a node: the accelerators where the job takes them, else the cores."""
    row: Integers = free.free[GPUS if demand.gpus or demand.share else CORES]
    return row


def _by(score: npt.NDArray[np.number], capacity: Integers) -> Integers:
    """Return the nodes with room by score, lowest first, equal ones by number."""
    able = np.flatnonzero(capacity > 0)
    order: Integers = able[np.argsort(score[able], kind="stable")]
    return order


@placements.register("best-fit")
class BestFit:
    """The node that is left with the least: of the nodes that can take the whole job the fullest; else as few nodes as will do, then the fullest."""

    name = "best-fit"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the tightest nodes."""
        left, chunks = _left(demand, free), demand.chunks
        whole = capacity >= chunks
        if whole.any():
            able = np.flatnonzero(whole)
            return [int(able[np.argmin(left[able])])], [chunks]
        order = _by(-capacity, capacity)
        reach = np.cumsum(capacity[order])
        last = int(np.searchsorted(reach, chunks))
        rest = chunks - int(reach[last - 1])
        ends = order[last:]
        tight = ends[capacity[ends] >= rest]
        chosen = np.append(order[:last], tight[np.lexsort((left[tight], capacity[tight]))[0]])
        return _in_order(chosen, chunks, capacity)


@placements.register("worst-fit")
class WorstFit:
    """The emptiest nodes first, each filled before the next."""

    name = "worst-fit"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the emptiest nodes."""
        return _in_order(_by(-_left(demand, free), capacity), demand.chunks, capacity)


@placements.register("pack")
class Pack:
    """The fullest nodes first, each filled before the next: as many nodes as can stay empty."""

    name = "pack"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the fullest nodes."""
        return _in_order(_by(_left(demand, free), capacity), demand.chunks, capacity)


@placements.register("spread")
class Spread:
    """As even as can be: a job over as many nodes as have room, the emptiest first."""

    name = "spread"

    @staticmethod
    def choose(demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return every node with room, in equal parts."""
        chunks = demand.chunks
        order = _by(-_left(demand, free), capacity)
        room = capacity[order]
        level = _level(room, chunks)
        used = np.minimum(room, level)
        over = int(used.sum()) - chunks
        if over:
            full = np.flatnonzero(used == level)
            used[full[len(full) - over :]] -= 1
        at = np.flatnonzero(used)
        up = np.argsort(order[at])
        return order[at][up].tolist(), used[at][up].tolist()


def _level(room: Integers, chunks: int) -> int:
    """Return the least level at which ``min(room, level)`` adds up to ``chunks``."""
    low, high = 1, int(room.max())
    while low < high:
        middle = (low + high) // 2
        if int(np.minimum(room, middle).sum()) >= chunks:
            high = middle
        else:
            low = middle + 1
    return low


def by_level(base: Placement, level: npt.NDArray[np.integer], demand: Demand, capacity: Integers, free: Free) -> Choice:
    """Fill all nodes of the lowest levels, and let a placement choose among those of the last level that a job needs.

    Parameters
    ----------
    base : Placement
        Chooses among nodes of one level.
    level : int array, shape (nodes,)
        From 0.
    demand, capacity, free
        As of :meth:`Placement.choose`.
    """
    have, last = 0, 0
    for last in range(int(level.max()) + 1):
        inside = np.where(level == last, capacity, 0)
        more = int(inside.sum())
        if have + more >= demand.chunks:
            break
        have += more
    if not have:
        return base.choose(demand, inside, free)
    nodes, counts = base.choose(demand._replace(chunks=demand.chunks - have), inside, free)
    every = np.where(level < last, capacity, 0)
    every[nodes] = counts
    chosen = np.flatnonzero(every)
    return chosen.tolist(), every[chosen].tolist()


class LadderFirst:
    """Jobs that may lie on nodes of several classes: those of the first class first, all of them before one of the next.

    Parameters
    ----------
    base : Placement
        Chooses among nodes of a class.
    machine : Machine
        Its classes.
    ladder : sequence of int
        The classes in the order in which jobs take their nodes.

    Examples
    --------
    >>> from hpcsim.scheduling.machine import NodeClass
    >>> machine = Machine.of([NodeClass("gpu", 1, 4, 1), NodeClass("cpu", 2, 4)])
    >>> free = Free(machine, [Demand(3), Demand(9)])
    >>> place = LadderFirst(FirstFit(), machine, (1, 0))
    >>> place.choose(free.demands[0], free.capacity(0), free), place.choose(free.demands[1], free.capacity(1), free)
    (([1], [3]), ([0, 1, 2], [1, 4, 4]))
    """

    def __init__(self, base: Placement, machine: Machine, ladder: Sequence[int]) -> None:
        self.base = base
        self.name = base.name
        self._level: Integers = np.argsort(np.array(ladder))[machine.group]

    def choose(self, demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return nodes of the first classes that do."""
        return by_level(self.base, self._level, demand, capacity, free)
