"""Dragonfly and dragonfly+: groups of switches, every two groups joined by global cables.

In a dragonfly the switches of a group are joined all to all and each has hosts; in a dragonfly+ (megafly) a group is a two-level tree, hosts on the leaf
switches and global cables on the spines. Global cables go out port by port: those to the first other group first, from the first switches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.links import Links
from hpcsim.cluster.parts import FabricSize
from hpcsim.cluster.walks import Walker
from hpcsim.cluster.wiring import Request, Wiring

__all__ = ["Dragonfly", "DragonflyPlus", "Groups"]

IntArray = npt.NDArray[np.int64]

NO_GROUPS = problem_kind(
    "dragonfly-shape",
    "a {shape} needs {what}",
    "for example {{topology: dragonfly, routers: 32, hosts: 4, global_cables: 4}}; groups follow from the nodes",
)
TOO_FEW_GROUPS = problem_kind(
    "dragonfly-room", "{groups} groups have room for {room} nodes; the cluster has {nodes}, spares included", "{remedy}"
)
DRAGONFLY_PORTS = problem_kind("dragonfly-ports", "a switch of {radix} ports is too small: it needs {needed} ({why})", "{remedy}")
_MOST_FAR = 1024
"""Switches up to which the farthest pair is sought one by one; beyond, the diameter is that of the longest way."""
_TIERS = ("hosts", "local", "global")


class Groups(NamedTuple):
    """The numbers of a dragonfly."""

    groups: int
    routers: int
    """Switches of a group that have hosts."""
    spines: int
    """Switches of a group that have global cables and no hosts; 0 in a plain dragonfly."""
    hosts: int
    """Nodes at each switch."""
    local: int
    """Cables between two switches of a group."""
    cables: int
    """Global cables between two groups."""

    @property
    def per_group(self) -> int:
        """Switches of a group."""
        return self.routers + self.spines

    @property
    def gates(self) -> int:
        """Switches of a group that have global cables."""
        return self.spines or self.routers

    @property
    def ports(self) -> int:
        """Global ports of a switch that has them, rounded up."""
        return -(-(self.groups - 1) * self.cables // self.gates)

    def gate(self, here: IntArray, there: IntArray, cable: IntArray) -> IntArray:
        """Return which switch of group ``here`` has a cable to group ``there``, among those with global cables."""
        peer = np.where(there > here, there - 1, there)
        return (peer * self.cables + cable) // max(self.ports, 1)

    def switch(self, group: IntArray, gate: IntArray) -> IntArray:
        """Return the number of a switch with global cables."""
        return group * self.per_group + (self.routers if self.spines else 0) + gate


class _GroupWalker:
    """Inside a group, a global cable, inside a group: at most one global cable, and of the cables between two groups the nearest."""

    detours = True

    def __init__(self, links: Links, shape: Groups) -> None:
        self.links, self.shape = links, shape
        self._ports = np.diff(links.bundle[: links.nodes + 1])
        self._local = int(links.bundle[links.nodes])
        inside = shape.routers * shape.spines if shape.spines else shape.routers * (shape.routers - 1) // 2
        self._inside = inside * shape.local
        self._global = self._local + shape.groups * self._inside

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the ports of the end that has more."""
        return np.maximum(self._ports[source], self._ports[target])

    def _place(self, node: IntArray) -> tuple[IntArray, IntArray]:
        router = node // self.shape.hosts
        return router // self.shape.routers, router % self.shape.routers

    def _extra(self, a: IntArray, b: IntArray, source: IntArray, target: IntArray) -> npt.NDArray[np.bool_]:
        """Return which global cables are among those with the fewest local hops, shape (cables, pairs)."""
        shape = self.shape
        cable = np.arange(shape.cables)[:, None]
        if shape.spines:
            return np.ones((shape.cables, a.size), dtype=np.bool_)
        hops = (shape.gate(a, b, cable) != source).astype(np.int8) + (shape.gate(b, a, cable) != target)
        return np.asarray(hops == hops.min(axis=0))

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return the ways: cables between groups, or spines, that are as near."""
        (a, x), (b, y) = self._place(source), self._place(target)
        near = self._extra(a, b, x, y).sum(axis=0)
        inside = np.where(x == y, 1, self.shape.local * max(self.shape.spines, 1))
        return np.where(a == b, inside, near)

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return the target's number, each port its own."""
        return target * self._ports[target] + lane

    def _hop(self, group: IntArray, x: IntArray, y: IntArray, pick: IntArray) -> IntArray:
        """Return the links between switches x and y of a group: one in a dragonfly, leaf to spine (by its number) in a dragonfly+."""
        shape, half = self.shape, self.links.cables
        if shape.spines:
            bundle = x * shape.spines + y
            return np.asarray(self._local + group * self._inside + bundle * shape.local + pick % shape.local)
        low, high = np.minimum(x, y), np.maximum(x, y)
        bundle = low * (2 * shape.routers - low - 1) // 2 + high - low - 1
        link = self._local + group * self._inside + bundle * shape.local + pick % shape.local
        return np.where(x == y, -1, np.where(x < y, link, half + link))

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the links on the way: host, local, global, local, host; in a group of a dragonfly+ up and down."""
        shape, half, links = self.shape, self.links.cables, self.links
        (a, x), (b, y) = self._place(source), self._place(target)
        near = self._extra(a, b, x, y)
        count = near.sum(axis=0)
        pick, rest = choice % count, choice // count
        cable = np.argmax(np.cumsum(near, axis=0) == pick + 1, axis=0)
        apart = a != b
        out, into = shape.gate(a, b, cable), shape.gate(b, a, cable)
        low, high = np.minimum(a, b), np.maximum(a, b)
        pair = low * (2 * shape.groups - low - 1) // 2 + high - low - 1
        over = self._global + pair * shape.cables + cable
        rows = [links.bundle[source] + lane % self._ports[source]]
        if shape.spines:
            spine, rest = choice % shape.spines, choice // shape.spines
            out, into = np.where(apart, out, spine), np.where(apart, into, spine)
            moves = apart | (x != y)
            up, fall = self._hop(a, x, out, rest), half + self._hop(b, y, into, rest)
            rows += [np.where(moves, up, -1), np.where(apart, np.where(a < b, over, half + over), -1), np.where(moves, fall, -1)]
        else:
            rows.append(self._hop(a, x, np.where(apart, out, y), np.where(apart, rest, choice)))
            rows.append(np.where(apart, np.where(a < b, over, half + over), -1))
            rows.append(np.where(apart, self._hop(b, into, y, rest), -1))
        rows.append(half + links.bundle[target] + lane % self._ports[target])
        return np.stack(rows)


class Dragonfly:
    """Dragonfly: ``groups`` of ``routers`` joined all to all, ``hosts`` nodes at each, ``global_cables`` between every two groups.

    References
    ----------
    J. Kim, W. J. Dally, S. Scott, D. Abts, Technology-driven, highly-scalable dragonfly topology, ISCA 2008, doi:10.1109/ISCA.2008.19.
    """

    shape = "dragonfly"
    spines = False

    def groups(self, request: Request) -> Groups:
        """Return the numbers for ``request``: as many groups as the nodes need where ``groups`` is not given, or the shape is a published one.

        Raises
        ------
        InputError
            A number is missing, the groups do not hold the nodes, or a switch has too few ports.
        """
        f = request.fabric
        for key, value in (("routers", f.routers), ("hosts", f.hosts), ("spines", f.spines if self.spines else 1)):
            if value is None:
                raise NO_GROUPS.error(path=f"{f.path}.{key}", shape=self.shape, what=f"{f.path}.{key}")
        assert f.routers is not None
        assert f.hosts is not None
        room, spines = f.routers * f.hosts, (f.spines or 0) if self.spines else 0
        needed = -(-request.nodes // room)
        groups = needed if f.groups is None or f.type else f.groups
        if groups < needed:
            remedy = f"groups: {needed}, or fewer nodes"
            raise TOO_FEW_GROUPS.error(path=f"{f.path}.groups", groups=groups, room=groups * room, nodes=request.nodes, remedy=remedy)
        if groups > 1 and f.global_cables is None:
            raise NO_GROUPS.error(path=f"{f.path}.global_cables", shape=self.shape, what=f"{f.path}.global_cables")
        cables = f.global_cables or 1
        if f.type and f.groups and 1 < groups < f.groups:  # a smaller machine of the design uses all global ports of its groups
            cables = (f.groups - 1) * cables // (groups - 1)
        found = Groups(groups, f.routers, spines, f.hosts, f.local_cables, cables)
        self._fits(request, found)
        return found

    def _fits(self, request: Request, s: Groups) -> None:
        radix, down = request.fabric.radix or request.fabric.switch_ports, s.hosts * request.widest
        if radix is None:
            return
        if self.spines:
            parts = {"leaf": (down, s.spines * s.local, 0), "spine": (0, s.routers * s.local, s.ports if s.groups > 1 else 0)}
        else:
            parts = {"switch": (down, (s.routers - 1) * s.local, s.ports if s.groups > 1 else 0)}
        for _, (hosts, local, out) in parts.items():
            if hosts + local + out > radix:
                why = f"{hosts} to nodes, {local} in the group, {out} between groups"
                remedy = "fewer hosts or cables, more routers, or a larger radix"
                raise DRAGONFLY_PORTS.error(
                    path=f"{request.fabric.path}.radix", radix=radix, needed=hosts + local + out, why=why, remedy=remedy
                )

    def size(self, request: Request) -> FabricSize:
        """Count switches and cables: g·a switches, g·a(a−1)/2 local bundles (a·s in a dragonfly+), g(g−1)/2 global ones."""
        s, n = self.groups(request), request.nodes
        inside = s.routers * s.spines if s.spines else s.routers * (s.routers - 1) // 2
        per_group = s.routers * s.hosts
        rate = request.fabric.bytes_per_s
        out = (s.groups - 1) * s.cables
        halves = s.groups % 2 == 0 and n == s.groups * per_group
        cut = (s.groups // 2) ** 2 * s.cables * rate
        switches = (s.groups * s.routers, s.groups * s.spines) if s.spines else (s.groups * s.routers,)
        return FabricSize(
            switches=switches,
            cables=(request.node_ports, s.groups * inside * s.local, s.groups * out // 2),
            storage_cables=sum(request.storage_ports),
            oversubscription=min(n, per_group) * request.widest / out if s.groups > 1 else 1.0,
            tiers=_TIERS,
            diameter=self._diameter(s, n),
            bisection_bytes_per_s=min(cut, request.node_ports // 2 * rate) if halves else None,
        )

    def _diameter(self, s: Groups, nodes: int) -> int:
        if s.spines:
            local = 2 if min(nodes, s.routers * s.hosts) > s.hosts else 0
            return (0 if nodes == 1 else 2) + (3 if s.groups > 1 else local)
        if nodes <= s.routers * s.hosts:
            return 0 if nodes == 1 else 2 + int(nodes > s.hosts)
        ends = [np.unique(s.gate(np.array(a), np.array(b), np.arange(s.cables))).size for a, b in ((0, 1), (1, 0))]
        full = min(nodes, 2 * s.routers * s.hosts) == 2 * s.routers * s.hosts
        if (full and max(ends) < s.routers) or s.groups * s.routers > _MOST_FAR:
            return 5  # in two full groups some switch of each has no cable to the other
        node = np.arange(0, nodes, s.hosts)
        group, router = node // s.hosts // s.routers, node // s.hosts % s.routers
        far = 0
        for k in range(group.size):
            a, b = np.full(group.size, group[k]), group
            cable = np.arange(s.cables)[:, None]
            hops = ((s.gate(a, b, cable) != router[k]).astype(np.int64) + (s.gate(b, a, cable) != router)).min(axis=0) + 1
            far = max(far, int(hops[a != b].max(initial=0)))
            if far == 3:
                break
        return 2 + far

    def wire(self, request: Request) -> Wiring:
        """List the cables: of the hosts, inside the groups, between the groups."""
        s, n = self.groups(request), request.nodes
        router = np.arange(n) // s.hosts
        group = np.arange(s.groups)
        a = [np.arange(n)]
        b = [n + router // s.routers * s.per_group + router % s.routers]
        if s.spines:
            x, y = (grid.ravel() for grid in np.meshgrid(np.arange(s.routers), s.routers + np.arange(s.spines), indexing="ij"))
        else:
            x, y = np.triu_indices(s.routers, 1)
        base = n + group[:, None] * s.per_group
        a.append((base + x[None, :]).ravel())
        b.append((base + y[None, :]).ravel())
        low, high = np.triu_indices(s.groups, 1)
        low, high = np.repeat(low, s.cables), np.repeat(high, s.cables)
        cable = np.arange(low.size) % s.cables
        ends = n + s.switch(low, s.gate(low, high, cable)), n + s.switch(high, s.gate(high, low, cable))
        fresh = np.ones(low.size, dtype=np.bool_)
        fresh[1:] = (np.diff(ends[0]) != 0) | (np.diff(ends[1]) != 0)
        first = np.flatnonzero(fresh)
        a.append(ends[0][first])
        b.append(ends[1][first])
        bundle = np.diff(np.append(first, low.size))
        cables = [request.ports_of_nodes(), np.full(a[1].size, s.local), bundle]
        tier = np.repeat([0, 1, 2], [part.size for part in a])
        level = np.repeat([1, 2], [s.routers, s.spines])
        whole = [np.concatenate(part).astype(np.int64) for part in (a, b, cables)]
        attach = n + np.flatnonzero(np.tile(level, s.groups) == 1)
        return Wiring(n, np.tile(level, s.groups), whole[0], whole[1], whole[2], attach.astype(np.int64), tier=tier, names=_TIERS)

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker:
        """Return the walks with at most one global cable."""
        return _GroupWalker(links, self.groups(request))


class DragonflyPlus(Dragonfly):
    """Dragonfly+ (megafly): in each group ``routers`` leaf switches with ``hosts`` nodes each, all joined to ``spines`` with the global cables.

    References
    ----------
    A. Shpiner et al., Dragonfly+: Low cost topology for scaling datacenters, HiPINEB 2017, doi:10.1109/HiPINEB.2017.11.
    """

    shape = "dragonfly+"
    spines = True
