"""Trees of switches: the single switch, generalised fat trees and Clos networks, by rail and in several planes.

A generalised fat tree (XGFT) has at each level ``down`` children, ``up`` parents and ``parallel`` cables to each parent. Two things are added: with
``rails`` a node's ports go to as many leaf switches, port i to the leaf of rail i, and the levels above count leaves; and several parents
of a node (``up[0]``) make as many planes that meet nowhere but in the nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.links import Links
from hpcsim.cluster.parts import FabricSize
from hpcsim.cluster.tree_walks import PooledTree, TreePlan, TreeWalker
from hpcsim.cluster.walks import Walker
from hpcsim.cluster.wiring import Request, Wiring

__all__ = ["FatTree", "FatTreeShape", "SingleSwitch", "fat_tree_shape"]

IntArray = npt.NDArray[np.int64]

RADIX_TOO_SMALL = problem_kind("radix-too-small", "a switch of {radix} ports is too small: {why}", "{remedy}")
FABRIC_TOO_SMALL = problem_kind(
    "fabric-too-small", "the fat tree has room for {room} nodes; the cluster has {nodes}, spares included", "{remedy}"
)
PORTS_MISMATCH = problem_kind("fabric-ports", "a node has {ports} ports, but {shape}", "{remedy}")
RAILS = problem_kind(
    "fabric-rails",
    "{rails} rails need a level above the leaves, with a multiple of as many leaves; here {leaves}",
    "for example down: [32, 64]",
)
NO_SHAPE = problem_kind(
    "fat-tree-shape",
    "the size of the fat tree's switches is not known: the catalog has no switch for {link!r}",
    "add {path}.radix, for example 64, or {path}.down and {path}.up",
)


class SingleSwitch:
    """One switch with a port for every cable: the ideal, non-blocking fabric.

    Where the scenario gives a radix, everything has to fit into it.
    """

    def size(self, request: Request) -> FabricSize:
        """Count the switch and its cables."""
        storage = sum(request.storage_ports)
        needed, radix = request.node_ports + storage, request.fabric.radix
        if radix is not None and needed > radix:
            raise RADIX_TOO_SMALL.error(
                path=f"{request.fabric.path}.radix",
                radix=radix,
                why=f"nodes and storage have {needed} ports",
                remedy="choose topology: fat-tree, or leave radix out for an ideal switch",
            )
        plan = self._plan(request)
        return FabricSize(
            switches=(1,),
            cables=(request.node_ports,),
            storage_cables=storage,
            diameter=plan.diameter,
            bisection_bytes_per_s=plan.bisection_bytes_per_s,
        )

    def _plan(self, request: Request) -> TreePlan:
        return TreePlan((request.nodes,), (1,), (request.widest,), 1, request.ports_of_nodes(), (request.fabric.bytes_per_s,))

    def wire(self, request: Request) -> Wiring:
        """Join every node to the switch."""
        self.size(request)
        n = request.nodes
        switch = np.array([n], dtype=np.int64)
        return Wiring(n, np.ones(1, np.int64), np.arange(n, dtype=np.int64), np.full(n, n, np.int64), request.ports_of_nodes(), switch)

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker:
        """Return the walks; a node's cables to the one switch are one link, whatever the routing."""
        return PooledTree(links, self._plan(request))


class FatTreeShape(NamedTuple):
    """Shape of a generalised fat tree, leaf level first."""

    down: tuple[int, ...]
    """Children of a switch."""
    up: tuple[int, ...]
    """Parents of a node or switch below the level."""
    parallel: tuple[int, ...]
    """Cables to each parent; the first is the widest node's."""

    @property
    def room(self) -> int:
        """Nodes that fit; with several rails, that many times as many places of a rail."""
        return math.prod(self.down)

    @property
    def switches(self) -> tuple[int, ...]:
        """Switches of each level: at level l, as many subtrees as the levels above have children, times the parents up to l."""
        return tuple(math.prod(self.down[i:]) * math.prod(self.up[:i]) for i in range(1, len(self.down) + 1))


def _parents(uplinks: int, spare_ports: int, fits: Callable[[int, int], bool]) -> tuple[int, int] | None:
    """Return the fewest parents, and the cables to each, that carry ``uplinks`` or a few more within ``spare_ports``."""
    for parents in range(1, spare_ports + 1):
        cables = -(-uplinks // parents)
        if parents * cables <= spare_ports and fits(parents, cables):
            return parents, cables
    return None


def _ratios(oversubscription: float, taper: tuple[float, ...] | None, level: int) -> float:
    """Return capacity down over up of a switch of ``level``, counted from 0; above the levels that are given it is 1."""
    given = taper if taper is not None else (oversubscription,)
    return given[level] if level < len(given) else 1.0


def _widest_down(radix: int, ratio: float, unit: int) -> int:
    """Return how many units of ``unit`` ports a switch can look down with, when it has that many over ``ratio`` up."""
    units = max(1, int(radix * ratio / (1 + ratio)) // unit + 1)
    while units and units * unit + math.ceil(units * unit / ratio) > radix:
        units -= 1
    return units


def fat_tree_shape(
    nodes: int,
    ports: int,
    radix: int,
    *,
    oversubscription: float = 1.0,
    storage_ports: int = 0,
    rails: int = 1,
    planes: int = 1,
    taper: tuple[float, ...] | None = None,
    path: str = "cluster.fabric",
) -> FatTreeShape:
    """Return the smallest fat tree of equal switches that joins ``nodes``.

    The ports of a node go to one leaf switch, or evenly to one of each rail and plane. A leaf has ``d`` ports down and
    ``u >= d/oversubscription`` up, ``d + u <= radix``; switches between leaf and top have as many up as down, or what ``taper`` says; top
    switches look down with all their ports, where storage is plugged in too. Levels are added until the top holds every subtree, and
    nodes are spread evenly over the leaves. It is a construction, not an optimum: real designs also buy switches in blocks.

    Parameters
    ----------
    nodes, ports : int
        Nodes and ports of each, at least 1.
    radix : int
        Ports of a switch.
    oversubscription : float
        Capacity down over capacity up of a leaf; it is not exceeded.
    storage_ports : int
        Ports to be kept free at the top.
    rails, planes : int
        Leaf switches and separate trees that the ports of a node are spread over; they divide ``ports`` together.
    taper : tuple of float, optional
        Capacity down over capacity up at each level, leaves first, in place of ``oversubscription``; 1 above.
    path : str
        Where problems are reported.

    Raises
    ------
    InputError
        The radix is too small for one node's ports with their uplinks, or for the storage; rails and planes do not divide the ports.

    References
    ----------
    S. Öhring et al., On generalized fat trees, IPPS 1995, doi:10.1109/IPPS.1995.395911.

    Examples
    --------
    >>> fat_tree_shape(1024, 1, 64)
    FatTreeShape(down=(32, 32), up=(1, 16), parallel=(1, 2))

    NVIDIA's scalable unit of 32 nodes by eight rails has eight leaf and four spine switches of 64 ports:

    >>> fat_tree_shape(32, 8, 64, rails=8).switches
    (8, 4)
    """
    if ports % (rails * planes):
        raise PORTS_MISMATCH.error(
            path=f"{path}.per_node",
            ports=ports,
            shape=f"{rails} rails in {planes} planes do not divide them",
            remedy=f"per_node: {rails * planes}, or other rails and planes",
        )
    each, storage = ports // (rails * planes), -(-storage_ports // planes)
    if rails == 1 and nodes * each + storage <= radix:
        return FatTreeShape((nodes,), (planes,), (each,))
    ratio = _ratios(oversubscription, taper, 0)
    spread = _widest_down(radix, ratio, each)
    if spread < 1 or radix < 4:
        least = max(4, each + math.ceil(each / ratio))
        why = f"a leaf needs {each} ports for one node and its uplinks"
        raise RADIX_TOO_SMALL.error(
            path=f"{path}.radix", radix=radix, why=why, remedy=f"at least {least} are needed, or a higher oversubscription"
        )
    units = -(-nodes // spread)
    spread, children = -(-nodes // units), units * rails
    uplinks, spare_ports = math.ceil(spread * each / ratio), radix - spread * each
    down, up, parallel = [spread], [planes], [each]
    while True:
        tops, ratio = math.prod(up), _ratios(oversubscription, taper, len(down))

        def holds_all(parents: int, cables: int, children: int = children, tops: int = tops) -> bool:
            return children * cables + -(-storage_ports // (tops * parents)) <= radix

        found = _parents(uplinks, spare_ports, holds_all)
        if found:
            return FatTreeShape((*down, children), (*up, found[0]), (*parallel, found[1]))
        if children == 1:
            why = f"storage has {storage_ports} ports, more than the top switches have free"
            raise RADIX_TOO_SMALL.error(
                path=f"{path}.radix", radix=radix, why=why, remedy="a larger radix, or fewer ports of the storage tiers"
            )
        most = max(2, _widest_down(radix, ratio, 1))
        unit = rails if len(down) == 1 and rails <= most else 1  # the rails of a node stay in one subtree
        groups = -(-children // (most // unit * unit))
        members = -(-children // unit // groups) * unit

        def fits_below(parents: int, cables: int, members: int = members, most: int = most) -> bool:
            return members * cables <= most

        parents, cables = _parents(uplinks, spare_ports, fits_below) or (uplinks, 1)
        down.append(members)
        up.append(parents)
        parallel.append(cables)
        uplinks = math.ceil(members * cables / ratio)
        spare_ports = radix - members * cables
        children = groups


def _given_shape(request: Request) -> FatTreeShape:
    """Return the shape that the scenario spells out, checked against the nodes."""
    fabric = request.fabric
    assert fabric.down is not None
    assert fabric.up is not None
    down, up, rails = fabric.down, fabric.up, fabric.rails
    while fabric.type and len(down) > 1:  # a published design is built as far as the nodes need it
        leaves = -(-request.nodes // down[0]) * rails
        down = (*down[:-1], min(down[-1], -(-leaves // math.prod(down[1:-1]))))
        if down[-1] > 1 or (len(down) == 2 and rails > 1):
            break
        down, up = down[:-1], up[:-1]
    room = math.prod(down) // rails
    if room < request.nodes:
        enough = (*down[:-1], -(-request.nodes * rails // math.prod(down[:-1])))
        raise FABRIC_TOO_SMALL.error(
            path=f"{fabric.path}.down", room=room, nodes=request.nodes, remedy=f"for example down: {list(enough)}, or fewer nodes"
        )
    if rails > 1 and (len(down) == 1 or math.prod(down[1:]) % rails):
        raise RAILS.error(path=f"{fabric.path}.down", rails=rails, leaves=math.prod(down[1:]))
    for _, ports in request.ports:
        given = up[0] * rails * (fabric.parallel[0] if fabric.parallel is not None else 1)
        if fabric.parallel is not None and given != ports:
            raise PORTS_MISMATCH.error(
                path=f"{fabric.path}.parallel",
                ports=ports,
                shape=f"{up[0] * rails} parents with {fabric.parallel[0]} cables each take {given}",
                remedy=f"per_node: {given}, or another first number of up and parallel",
            )
        if ports % (up[0] * rails):
            shape_words = f"{up[0]} parents do not divide them" if rails == 1 else f"{up[0]} parents in {rails} rails do not divide them"
            raise PORTS_MISMATCH.error(path=f"{fabric.path}.up", ports=ports, shape=shape_words, remedy=f"for example up: {[1, *up[1:]]}")
    upper = fabric.parallel[1 : len(down)] if fabric.parallel is not None else (1,) * (len(down) - 1)
    shape = FatTreeShape(down, up, (request.widest // (up[0] * rails), *upper))
    if fabric.radix is not None:
        for i in range(len(down)):
            needed = down[i] * shape.parallel[i] + (up[i + 1] * shape.parallel[i + 1] if i + 1 < len(down) else 0)
            if needed > fabric.radix:
                why = f"a switch of level {i + 1} needs {needed} ports"
                raise RADIX_TOO_SMALL.error(path=f"{fabric.path}.radix", radix=fabric.radix, why=why, remedy="lower down, up or parallel")
    return shape


def _fullest_leaf(ports: tuple[tuple[int, int], ...], width: int) -> int:
    """Return the most node ports that fall to one leaf when nodes fill leaves of ``width`` nodes in order."""
    edges = np.cumsum([0, *(count for count, _ in ports)])
    first = edges[:-1] // width
    windows = sorted({int(w) for w in (*first, *(first + 1), *((edges[1:] - 1) // width))})
    most = 0
    for window in windows:
        low, high = window * width, (window + 1) * width
        inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
        most = max(most, int(sum(int(n) * p for n, (_, p) in zip(inside, ports))))
    return most


def rates(request: Request, levels: int) -> tuple[float, ...]:
    """Return the rate of one cable of each level [B/s]; the last that is given holds above it."""
    given = request.fabric.rates_bytes_per_s or (request.fabric.bytes_per_s,)
    return (*given[:levels], *(given[-1],) * (levels - len(given)))


class FatTree:
    """Generalised fat tree (XGFT): trees of switches with several parents, and several cables to each.

    The shape is the scenario's ``down``, ``up`` and ``parallel``, or follows from the switch's ports and the oversubscription by
    :func:`fat_tree_shape`. Nodes fill the leaves in order. Storage is plugged into the top switches in turn, so that every node reaches it
    over its way up.
    """

    def shape(self, request: Request) -> FatTreeShape:
        """Return the shape for ``request``.

        Raises
        ------
        InputError
            Neither a shape nor a radix is known, or they do not hold the nodes.
        """
        fabric = request.fabric
        if fabric.down is not None and fabric.up is not None:
            return _given_shape(request)
        radix = fabric.radix or fabric.switch_ports
        if radix is None:
            raise NO_SHAPE.error(path=fabric.path, link=fabric.link)
        return fat_tree_shape(
            request.nodes,
            request.widest,
            radix,
            oversubscription=fabric.oversubscription,
            storage_ports=sum(request.storage_ports),
            rails=fabric.rails,
            planes=fabric.planes,
            taper=fabric.taper,
            path=fabric.path,
        )

    def plan(self, request: Request) -> TreePlan:
        """Return the numbers of the tree for ``request``."""
        shape = self.shape(request)
        each = request.fabric.rails * shape.up[0]
        for _, ports in request.ports:
            if ports % each:
                words = f"{request.fabric.rails} rails in {shape.up[0]} planes do not divide them"
                raise PORTS_MISMATCH.error(path=f"{request.fabric.path}.per_node", ports=ports, shape=words, remedy=f"per_node: {each}")
        return TreePlan(
            shape.down, shape.up, shape.parallel, request.fabric.rails, request.ports_of_nodes(), rates(request, len(shape.down))
        )

    def size(self, request: Request) -> FabricSize:
        """Count switches and cables of each level.

        Level l has Π(down above l)·Π(up to l) switches; the cables below level l are those of each vertex under it, up[l]·parallel[l].
        """
        plan = self.plan(request)
        switches, rate = plan.switches, plan.rates
        above = [switches[i - 1] * plan.up[i] * plan.parallel[i] for i in range(1, len(switches))]
        ratio = most = 0.0
        for i in range(len(switches) - 1):
            ports_down = _fullest_leaf(request.ports, plan.down[0]) // plan.spread if i == 0 else plan.down[i] * plan.parallel[i]
            step = ports_down * rate[i] / (plan.up[i + 1] * plan.parallel[i + 1] * rate[i + 1])
            ratio = step if i == 0 else ratio * step
            most = max(most, ratio)
        return FabricSize(
            switches=switches,
            cables=(request.node_ports, *above),
            storage_cables=sum(request.storage_ports),
            oversubscription=most if len(switches) > 1 else 1.0,
            diameter=plan.diameter,
            bisection_bytes_per_s=plan.bisection_bytes_per_s,
        )

    def wire(self, request: Request) -> Wiring:
        """List the cables level by level.

        A vertex of level l is (subtree, position): its place among the subtrees of that level, and among the parents that these have.
        It is joined to the vertices (subtree // down, position·up + j) of the level above, j = 0 … up−1.
        """
        return self._wire(request, request.nodes)

    def wire_above(self, request: Request, first: int) -> Wiring:
        """List the cables over which one gets from the first nodes up to the top; all vertices are numbered as in :meth:`wire`."""
        return self._wire(request, min(first, request.nodes))

    def _wire(self, request: Request, first: int) -> Wiring:
        plan, n = self.plan(request), request.nodes
        node, bundle = np.arange(first * plan.spread) // plan.spread, np.arange(first * plan.spread) % plan.spread
        leaf = plan.leaf(node, bundle // plan.planes) * plan.planes + bundle % plan.planes
        a, b, cables = [node], [leaf + n], [plan.ports[node] // plan.spread]
        first_id, positions = n, plan.planes
        for i in range(1, len(plan.down)):
            up, size = plan.up[i], plan.switches[i - 1]
            vertex = np.arange(size, dtype=np.int64) if first == n else np.unique(b[-1] - first_id)
            subtree, position = vertex // positions, vertex % positions
            parents = (subtree // plan.down[i])[:, None] * (positions * up) + position[:, None] * up + np.arange(up)[None, :]
            a.append(np.repeat(vertex + first_id, up))
            first_id += size
            b.append(parents.ravel() + first_id)
            cables.append(np.full(vertex.size * up, plan.parallel[i], np.int64))
            positions *= up
        levels = np.repeat(np.arange(1, len(plan.down) + 1), plan.switches)
        top = np.arange(first_id, first_id + plan.switches[-1], dtype=np.int64)
        tier = np.repeat(np.arange(len(a)), [part.size for part in a])
        rate = None if request.fabric.rates_bytes_per_s is None else np.array(plan.rates)[tier]
        return Wiring(n, levels, np.concatenate(a), np.concatenate(b), np.concatenate(cables), top, bytes_per_s=rate)

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker:
        """Return the walks over the cables, or over pools of all equal cables."""
        plan = self.plan(request)
        return PooledTree(links, plan) if pooled or len(plan.down) == 1 else TreeWalker(links, plan)
