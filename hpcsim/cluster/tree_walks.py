"""Routes of fat trees in closed form: up to the first common subtree and down again.

In a generalised fat tree the way down is decided by the way up, so a route is a parent and a cable for each level that it climbs. Where traffic is
sprayed evenly over all of them, the cables of one level of one subtree act as one link with the sum of their capacities, which is
what :class:`PooledTree` routes over.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.links import Links
from hpcsim.cluster.walks import counted

__all__ = ["PooledTree", "TreePlan", "TreeWalker"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


_MOST_UNITS = 500
"""Groups of nodes up to which the farthest pair is sought where rails part below the top; beyond, the way over the top counts."""


@dataclass(frozen=True)
class TreePlan:
    """The numbers that a fat tree is made of.

    Attributes
    ----------
    down, up, parallel : tuple of int
        As in :class:`hpcsim.cluster.trees.FatTreeShape`.
    rails : int
        Leaf switches that a node's ports are spread over, in each plane; ``up[0]`` is the number of planes.
    ports : array of int, shape (nodes,)
        Ports of each node; a multiple of rails · planes.
    rates : tuple of float
        Rate of one cable of each level [B/s].
    """

    down: tuple[int, ...]
    up: tuple[int, ...]
    parallel: tuple[int, ...]
    rails: int
    ports: IntArray
    rates: tuple[float, ...]

    @property
    def planes(self) -> int:
        """Planes."""
        return self.up[0]

    @property
    def spread(self) -> int:
        """Leaf switches that each node is joined to."""
        return self.rails * self.planes

    @property
    def switches(self) -> tuple[int, ...]:
        """Switches of each level."""
        down, up = np.array(self.down), np.array(self.up)
        return tuple(int(down[i:].prod() * up[:i].prod()) for i in range(1, len(down) + 1))

    def leaf(self, node: IntArray, rail: IntArray) -> IntArray:
        """Return the subtree of level 1 that a rail of a node hangs at."""
        return node // self.down[0] * self.rails + rail

    @property
    def diameter(self) -> int:
        """Links between the two nodes that are farthest apart, each pair over the rail on which they are nearest."""
        units = -(-self.ports.size // self.down[0])
        if self.ports.size == 1:
            return 0
        if units > _MOST_UNITS and self.rails > 1 and len(self.down) > 2 and self.down[1] % self.rails:
            return 2 * len(self.down)
        aligned = self.rails == 1 or len(self.down) < 3 or self.down[1] % self.rails == 0
        unit = np.array([0, units - 1]) if aligned else np.arange(units)
        met = np.zeros((unit.size, unit.size), dtype=np.int64)
        for rail in range(1 if aligned else self.rails):
            place, own = unit * self.rails + rail, np.zeros_like(met)
            for level in range(1, len(self.down) + 1):
                own[(own == 0) & (place[:, None] == place[None, :])] = level
                place = place // self.down[level] if level < len(self.down) else place
            met = own if rail == 0 else np.minimum(met, own)
        return 2 * int(met.max())

    @property
    def bisection_bytes_per_s(self) -> float:
        """Largest flow from the first half of the nodes to the second [B/s].

        In a tree, what senders and receivers below one subtree can exchange there never needs the cables above it, so that the pools are
        filled from below; exact while the flow can be spread over equal cables.
        """
        nodes = self.ports.size
        half, node = nodes // 2, np.arange(nodes)
        host = self.ports / self.spread * self.rates[0]
        leaf = np.concatenate([self.leaf(node, np.full(nodes, rail)) for rail in range(self.rails)])
        places = self.switches[0] // self.planes
        send, take = (
            np.bincount(leaf, np.tile(np.where(side, host, 0.0), self.rails), places) for side in (node < half, node >= nodes - half)
        )
        total, inner = 0.0, 1
        for i in range(len(self.down)):
            met = np.minimum(send, take)
            total += float(met.sum())
            if i + 1 == len(self.down):
                break
            most = inner * self.up[i + 1] * self.parallel[i + 1] * self.rates[i + 1]
            parent = np.arange(send.size) // self.down[i + 1]
            send, take = (np.bincount(parent, np.minimum(side - met, most)) for side in (send, take))
            inner *= self.up[i + 1]
        return total * self.planes

    def first(self) -> IntArray:
        """Return the first cable of each tier, and their number, in the order of the wiring."""
        counts = [self.ports.sum(), *(n * u * p for n, u, p in zip(self.switches, self.up[1:], self.parallel[1:]))]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class TreeWalker:
    """Ways through a fat tree, a cable each.

    The lanes of a pair are its ports. ``toward`` is D-mod-k: at each level the digit of the target's number (among the hosts of its rail and plane) decides.

    References
    ----------
    E. Zahavi, Fat-tree routing and node ordering providing contention free traffic for MPI global collectives,
    J. Parallel Distrib. Comput. 72 (2012), doi:10.1016/j.jpdc.2012.01.018.
    """

    def __init__(self, links: Links, plan: TreePlan) -> None:
        self.links, self.plan = links, plan
        self._first = plan.first()
        self._port = np.concatenate([[0], np.cumsum(plan.ports)])

    def _bundle(self, node: IntArray, lane: IntArray, most: IntArray) -> tuple[IntArray, IntArray]:
        """Return the leaf (rail · planes + plane) that a lane uses, and the cable of the node to it."""
        each = most // self.plan.spread
        return lane // each, lane % each % (self.plan.ports[node] // self.plan.spread)

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the ports of the end that has more."""
        return np.maximum(self.plan.ports[source], self.plan.ports[target])

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return the ways up to the first common subtree."""
        plan = self.plan
        a, b = plan.leaf(source, 0 * lane), plan.leaf(target, 0 * lane)
        ways = np.ones(source.size, np.int64)
        for i in range(1, len(plan.down)):
            ways *= np.where(a != b, plan.up[i] * plan.parallel[i], 1)
            a, b = a // plan.down[i], b // plan.down[i]
        return ways

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return the number of the target's port among those of its rail and plane."""
        each = self.plan.ports[target] // self.plan.spread
        return target * each + lane % each

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the links on the way, shape (2 · levels, pairs)."""
        plan, half = self.plan, self.links.cables
        levels = len(plan.down)
        table = np.full((2 * levels, source.size), -1, dtype=np.int64)
        most = self.lanes(source, target)
        for row, node, way in ((0, source, 0), (2 * levels - 1, target, half)):
            bundle, cable = self._bundle(node, lane, most)
            table[row] = way + self._port[node] + bundle * (plan.ports[node] // plan.spread) + cable
        a, b = plan.leaf(source, bundle // plan.planes), plan.leaf(target, bundle // plan.planes)
        position, positions, rest = bundle % plan.planes, plan.planes, choice
        for i in range(1, levels):
            up, parallel = plan.up[i], plan.parallel[i]
            digit = rest % (up * parallel)
            parent, cable, rest = digit % up, digit // up, rest // (up * parallel)
            apart = a != b
            table[i] = np.where(apart, self._first[i] + ((a * positions + position) * up + parent) * parallel + cable, -1)
            table[-1 - i] = np.where(apart, half + self._first[i] + ((b * positions + position) * up + parent) * parallel + cable, -1)
            position, positions = position * up + parent, positions * up
            a, b = a // plan.down[i], b // plan.down[i]
        return table


class PooledTree:
    """A fat tree whose traffic is spread evenly over all equal ways: one link for each subtree, level and plane.

    Exact for even spreading over equal cables, whatever the traffic: every cable of a pool then carries the same. A storage tier is one pool
    of its cables at the top. Lanes of a pair are the leaf switches of its nodes.
    """

    def __init__(self, links: Links, plan: TreePlan) -> None:
        self.plan = plan
        nodes, spread, levels = plan.ports.size, plan.spread, len(plan.down)
        host = np.arange(nodes * spread)
        node, bundle = host // spread, host % spread
        leaves = plan.leaf(node, bundle // plan.planes) * plan.planes + bundle % plan.planes
        tails, heads, rows = [host // spread], [leaves + nodes], [plan.ports[node] // spread]
        tier = [np.zeros(host.size, np.int64)]
        cable = plan.first()
        base, below, inner = nodes, plan.switches[0] // plan.planes, 1
        for i in range(1, levels):
            pools = below * plan.planes
            above = below // plan.down[i]
            pool = np.arange(pools)
            tails.append(base + pool)
            base += pools
            heads.append(base + pool // plan.planes // plan.down[i] * plan.planes + pool % plan.planes)
            rows.append(np.full(pools, inner * plan.up[i] * plan.parallel[i]))
            tier.append(np.full(pools, i))
            below, inner = above, inner * plan.up[i]
        self._first = np.concatenate([[0], np.cumsum([part.size for part in tails])])
        a, b, cables, which = (np.concatenate(part).astype(np.int64) for part in (tails, heads, rows, tier))
        rate = links.capacity_bytes_per_s[cable[:-1]][which] * cables
        own_s = links.latency_s[cable[:-1]][which]
        self.links = _pools(links, plan, a, b, rate, own_s, which)

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the leaf switches of a node."""
        return np.full(source.size, self.plan.spread, dtype=np.int64)

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return 1: a pool is all ways together."""
        return np.ones(source.size, dtype=np.int64)

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return 0: there is nothing to choose."""
        return np.zeros(target.size, dtype=np.int64)

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the pools on the way, shape (2 · levels, pairs)."""
        plan, half = self.plan, self.links.cables
        levels = len(plan.down)
        table = np.full((2 * levels, source.size), -1, dtype=np.int64)
        table[0] = source * plan.spread + lane
        table[-1] = half + target * plan.spread + lane
        a, b = plan.leaf(source, lane // plan.planes), plan.leaf(target, lane // plan.planes)
        plane = lane % plan.planes
        for i in range(1, levels):
            apart = a != b
            table[i] = np.where(apart, self._first[i] + a * plan.planes + plane, -1)
            table[-1 - i] = np.where(apart, half + self._first[i] + b * plan.planes + plane, -1)
            a, b = a // plan.down[i], b // plan.down[i]
        return table


def _pools(links: Links, plan: TreePlan, a: IntArray, b: IntArray, rate: FloatArray, own_s: FloatArray, which: IntArray) -> Links:
    """Return the table of pools, both ways, with the storage cables of ``links`` pooled by tier and plane."""
    subtrees = np.array(plan.switches) // np.cumprod(plan.up)
    levels = np.repeat(np.arange(1, len(plan.down) + 1), subtrees * plan.planes)
    vertices, tiers = links.nodes + levels.size, len(links.storage)
    cable = np.flatnonzero(links.tier[: links.cables] == len(links.tiers) - 2)
    tops = links.nodes + links.switches - plan.switches[-1]
    plane = (links.head[cable] - tops) // (plan.switches[-1] // plan.planes)
    pool, ports = np.unique((links.tail[cable] - links.nodes - links.switches) * plan.planes + plane, return_counts=True)
    tail = np.concatenate([a, vertices + pool // plan.planes])
    head = np.concatenate([b, vertices - plan.planes + pool % plan.planes])
    capacity = np.concatenate([rate, ports * links.capacity_bytes_per_s[cable[:1]]])
    latency_s = np.concatenate([own_s, np.broadcast_to(links.latency_s[cable[:1]], pool.shape)])
    tier = np.concatenate([which, np.full(pool.size, len(links.tiers) - 2)])
    number = vertices + np.arange(tiers)
    return dataclasses.replace(
        links,
        tail=np.concatenate([tail, head, number + tiers, number]),
        head=np.concatenate([head, tail, number, number + tiers]),
        capacity_bytes_per_s=np.concatenate([capacity, capacity, links.capacity_bytes_per_s[2 * links.cables :]]),
        latency_s=np.concatenate([latency_s, latency_s, np.zeros(2 * tiers)]),
        tier=np.concatenate([tier, tier, np.full(2 * tiers, len(links.tiers) - 1)]),
        bundle=np.arange(tail.size + 1),
        cables=int(tail.size),
        usable=np.ones(2 * (tail.size + tiers), dtype=np.bool_),
        switches=levels.size,
        levels=levels,
        switch_names=tuple(
            f"switches/{level}/{number}" for level, number in zip(levels.tolist(), counted(subtrees * plan.planes)[1].tolist())
        ),
    )
