"""Walks over links: one way of several equal ones between two vertices, for many pairs at once.

A :class:`Walker` answers for one shape. :class:`GraphWalker` walks the shortest paths (fewest links) of any table of links; shapes that know their
routes in closed form bring their own. Which of the equal ways a flow takes is a number, ``choice``, that the routing draws: at every fork it
picks the way ``choice mod ways`` and goes on with ``choice div ways``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.links import Links

__all__ = ["GraphWalker", "Walker", "counted"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_FAR = 255
_MOST_TARGETS = 1024
"""Targets whose distances are kept at once; a table of 1,024 by 50,000 vertices is 50 MB."""


class Walker(Protocol):
    """The ways between vertices of one fabric. Arrays have one entry for each pair; all are pure."""

    links: Links

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return over how many ports of its own a pair goes when it uses all of them."""
        ...

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return how many equal ways there are."""
        ...

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return the choice that the target alone decides (D-mod-k)."""
        ...

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the links on the way, shape (longest, pairs), filled up with -1; a column of -1 alone is a pair that nothing joins."""
        ...


def counted(values: IntArray) -> tuple[IntArray, IntArray]:
    """Return for repeats ``values``: which item each belongs to, and its place among those of the item."""
    owner = np.repeat(np.arange(values.size), values)
    place = np.arange(owner.size) - np.repeat(np.cumsum(values) - values, values)
    return owner, place


class GraphWalker:
    """Shortest paths (fewest links) over any links, found by breadth-first search from the targets.

    Nodes pass nothing on unless the links say that they do; storage tiers never do. The way from or to a tier has the link of its servers too. The search runs for up to 1,024 targets at once, a bit each.
    """

    def __init__(self, links: Links) -> None:
        self.links = links
        self._usable = np.flatnonzero(links.usable[: 2 * links.cables])
        order = np.argsort(links.tail[self._usable], kind="stable")
        self._out = self._usable[order]
        self._first = np.searchsorted(links.tail[self._out], np.arange(links.vertices + 1))
        first_storage = links.nodes + links.switches
        self._passes = np.zeros(links.vertices, dtype=np.bool_)
        self._passes[0 if links.forwards else links.nodes : first_storage] = True
        pairs = np.unique(links.tail[self._out] * links.vertices + links.head[self._out])
        self._tail, self._head = pairs // links.vertices, pairs % links.vertices
        self._known: tuple[IntArray, npt.NDArray[np.uint8]] | None = None

    def distances(self, targets: IntArray) -> npt.NDArray[np.uint8]:
        """Return the links from every vertex to each target, shape (targets, vertices); 255 where there is no way."""
        n, words = self.links.vertices, -(-targets.size // 64)
        number = np.arange(targets.size)
        frontier = np.zeros((n, words), dtype=np.uint64)
        np.bitwise_or.at(frontier, (targets, number // 64), np.uint64(1) << (number % 64).astype(np.uint64))
        seen = frontier.copy()
        far = np.full((n, targets.size), _FAR, dtype=np.uint8)
        far[targets, number] = 0
        tails, starts = np.unique(self._tail, return_index=True)
        blocked = ~self._passes
        for step in range(1, _FAR):
            fresh = np.zeros_like(frontier)
            if tails.size:
                fresh[tails] = np.bitwise_or.reduceat(frontier[self._head], starts, axis=0)
            fresh &= ~seen
            rows = np.flatnonzero(fresh.any(axis=1))
            if not rows.size:
                break
            seen |= fresh
            bits = np.unpackbits(fresh[rows].view(np.uint8), axis=1, bitorder="little")[:, : targets.size].astype(np.bool_)
            part = far[rows]
            part[bits] = step
            far[rows] = part
            fresh[blocked] = 0
            frontier = fresh
        return np.ascontiguousarray(far.T)

    def _far(self, targets: IntArray) -> tuple[IntArray, npt.NDArray[np.uint8]]:
        """Return sorted targets and their distances, kept where all fit."""
        if self._known is None or not np.isin(targets, self._known[0]).all():
            old = self._known[0] if self._known is not None else targets[:0]
            every = np.union1d(old, targets) if old.size + targets.size <= _MOST_TARGETS else targets
            self._known = every, self.distances(every)
        return self._known

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the ports of the end that has more, storage aside, and 1 where nodes pass on."""
        links = self.links
        if links.forwards:
            return np.ones(source.size, np.int64)
        ports = np.diff(self._first)
        ports[links.nodes :] = 1
        return np.maximum(np.maximum(ports[source], ports[target]), 1)

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return the product of the forks on the first way; where forks differ on others, it is a guide and no count."""
        return self._walk(source, target, lane, np.zeros(source.size, np.int64))[1]

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return the target's number, each lane its own."""
        return target + lane

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the links on the way; see :class:`Walker`."""
        return self._walk(source, target, lane, choice)[0]

    def _walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> tuple[IntArray, IntArray]:
        unique, which = np.unique(target, return_inverse=True)
        parts = []
        for low in range(0, max(unique.size, 1), _MOST_TARGETS):
            inside = np.flatnonzero((which >= low) & (which < low + _MOST_TARGETS))
            parts.append((inside, *self._part(source[inside], target[inside], lane[inside], choice[inside])))
        hops = max(table.shape[0] for _, table, _ in parts)
        table = np.full((hops, source.size), -1, dtype=np.int64)
        ways = np.ones(source.size, dtype=np.int64)
        for inside, part, product in parts:
            table[: part.shape[0], inside] = part
            ways[inside] = product
        return self._with_servers(source, target, table), ways

    def _with_servers(self, source: IntArray, target: IntArray, table: IntArray) -> IntArray:
        """Add the link of a storage tier's servers before what they send and after what they take."""
        links = self.links
        first, tiers, read = links.nodes + links.switches, len(links.storage), 2 * links.cables
        rows = [table]
        if (source >= first).any():
            rows.insert(0, np.where(source >= first, read + source - first, -1)[None, :])
        if (target >= first).any():
            rows.append(np.where(target >= first, read + tiers + target - first, -1)[None, :])
        if len(rows) == 1:
            return table
        joined = (table >= 0).any(axis=0)
        whole = np.concatenate(rows)
        whole[:, ~joined] = -1
        return whole

    def _part(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> tuple[IntArray, IntArray]:
        targets, far = self._far(np.unique(target))
        row = np.searchsorted(targets, target)
        left = far[row, source].astype(np.int64)
        at, rest, ways = source.copy(), choice.copy(), np.ones(source.size, np.int64)
        joined = left < _FAR
        table = np.full((int(left[joined].max(initial=0)), source.size), -1, dtype=np.int64)
        active = np.flatnonzero(joined & (left > 0))
        own_port = np.zeros(source.size, dtype=np.bool_) if self.links.forwards else source < self.links.nodes
        for hop in range(table.shape[0]):
            number = self._first[at[active] + 1] - self._first[at[active]]
            owner, place = counted(number)
            link = self._out[self._first[at[active]][owner] + place]
            good = np.flatnonzero(far[row[active][owner], self.links.head[link]] == left[active][owner] - 1)
            forks = np.bincount(owner[good], minlength=active.size)
            first = np.cumsum(forks) - forks
            by_lane = own_port[active] & (hop == 0)
            pick = np.where(by_lane, lane[active], rest[active]) % forks
            rest[active] = np.where(by_lane, rest[active], rest[active] // forks)
            ways[active] *= np.where(by_lane, 1, forks)
            taken = link[good[first + pick]]
            table[hop, active] = taken
            at[active] = self.links.head[taken]
            left[active] -= 1
            active = active[left[active] > 0]
        return table, np.minimum(ways, 1 << 40)
