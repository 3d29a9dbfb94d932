"""Direct networks: tori and meshes of any number of axes, hypercubes, and full meshes.

The vertices of the grid are the nodes themselves, or switches with ``hosts`` nodes each. An axis closes where ``wrap`` says so; an axis of two never has a
second cable. With ``cube`` an axis closes exactly where it is a multiple of the cube, as with the optical switches of TPU pods, which join the faces
of equal cubes in any arrangement, whichever cubes they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.links import Links
from hpcsim.cluster.parts import FabricSize
from hpcsim.cluster.walks import Walker
from hpcsim.cluster.wiring import Request, Wiring

__all__ = ["FullMesh", "Grid", "Hypercube", "Torus", "cubic_axes"]

IntArray = npt.NDArray[np.int64]

AXES_SIZE = problem_kind(
    "torus-axes", "axes of {axes} make {places} places; the cluster has {nodes} nodes, spares included, which need {needed}", "{remedy}"
)
AXES_FORM = problem_kind("torus-form", "{what} has {found} entries; the torus has {axes} axes", "one for each axis")
CUBE = problem_kind(
    "torus-cube", "an axis of {size} is no multiple of the cube of {cube}", "multiples of {cube}, or one axis of a divisor of it"
)
TWIST = problem_kind(
    "torus-twist", "a twist of {twist} needs a first axis that closes and a last axis that is longer", "for example axes: [4, 8]"
)
NOT_A_POWER = problem_kind(
    "hypercube-size", "a hypercube joins a power of two; the cluster has {nodes} places, spares included", "for example {near}"
)
GRID_PORTS = problem_kind("grid-ports", "a node of this {shape} needs {needed} ports, and has {ports}", "per_node: {needed}")
UNEQUAL = problem_kind("grid-unequal", "a {shape} is made of equal nodes; here some have {few} and some {many} ports", "give per_node")

_LETTERS = "xyzuvw"


def cubic_axes(places: int, axes: int, *, unit: int = 1) -> tuple[int, ...] | None:
    """Return the axes, longest first, whose product is ``places`` and whose sum is least; each a multiple of ``unit``; None if there are none.

    >>> cubic_axes(4096, 3), cubic_axes(8960, 3, unit=4)
    ((16, 16, 16), (28, 20, 16))
    """
    if axes == 1:
        return (places,) if places % unit == 0 else None
    found: tuple[int, ...] | None = None
    for size in range(unit, round(places ** (1 / axes)) + unit + 1, unit):
        if places % size == 0:
            rest = cubic_axes(places // size, axes - 1, unit=unit)
            if rest is not None and rest[-1] >= size and (found is None or sum(rest) + size < sum(found)):
                found = (*rest, size)
    return found


class Grid(NamedTuple):
    """A grid of places, row by row: the last axis runs fastest."""

    axes: tuple[int, ...]
    wrap: tuple[bool, ...]
    parallel: tuple[int, ...]
    """Cables to the neighbour along each axis."""
    hosts: int
    """Nodes at each place; 0 where the nodes are the places."""
    twist: int = 0
    """Shift along the last axis of the cables that close the first one."""

    @property
    def places(self) -> int:
        """Places."""
        return math.prod(self.axes)

    @property
    def ports(self) -> int:
        """Ports that a place in the middle has for its neighbours."""
        return sum(p * min(size - 1, 2) for size, p in zip(self.axes, self.parallel))

    def closes(self, axis: int) -> bool:
        """Return whether an axis has a cable from its end to its start of its own."""
        return self.wrap[axis] and self.axes[axis] > 2

    def coordinates(self, place: IntArray) -> IntArray:
        """Return the coordinates of places, shape (axes, places)."""
        return np.stack(np.unravel_index(place, self.axes)).astype(np.int64)

    def next_along(self, axis: int) -> tuple[IntArray, IntArray]:
        """Return the places that have a neighbour further along ``axis``, and those neighbours."""
        at = self.coordinates(np.arange(self.places))
        there = at.copy()
        there[axis] = (at[axis] + 1) % self.axes[axis]
        last = at[axis] == self.axes[axis] - 1
        if axis == 0 and self.twist:
            there[-1] = np.where(last, (there[-1] + self.twist) % self.axes[-1], there[-1])
        has = np.ones(self.places, np.bool_) if self.closes(axis) else ~last
        return np.flatnonzero(has), np.ravel_multi_index(tuple(there), self.axes)[has].astype(np.int64)

    @property
    def cables(self) -> tuple[int, ...]:
        """Cables along each axis."""
        return tuple(self.places // size * (size if self.closes(k) else size - 1) * self.parallel[k] for k, size in enumerate(self.axes))

    @property
    def diameter(self) -> int:
        """Hops between the two places that are farthest apart (without a twist)."""
        return sum(size // 2 if self.closes(k) else size - 1 for k, size in enumerate(self.axes))

    @property
    def bisection_cables(self) -> int:
        """Cables between the halves of the first axis."""
        return self.places // self.axes[0] * self.parallel[0] * (2 if self.closes(0) else 1) if self.axes[0] > 1 else 0


class GridWalker:
    """Dimension order: axis by axis, the short way round. Which axis comes first is the choice, and so is the way round where both are as long."""

    def __init__(self, links: Links, grid: Grid) -> None:
        self.links, self.grid = links, grid
        self._host = links.nodes if grid.hosts else 0
        ports = links.bundle[1:] - links.bundle[:-1]
        self._ports = ports[: links.nodes] if grid.hosts else ports[:0]
        bundle = self._host
        self._onward = np.full((len(grid.axes), grid.places), -1, dtype=np.int64)
        self._back = self._onward.copy()
        for axis in range(len(grid.axes)):
            here, there = grid.next_along(axis)
            number = bundle + np.arange(here.size)
            self._onward[axis, here] = links.bundle[number]
            self._back[axis, there] = links.bundle[number]
            bundle += here.size
        self._orders = math.factorial(min(len(grid.axes), 6))

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the cables of the widest axis, or the ports of the end that has more."""
        if self.grid.hosts:
            return np.asarray(np.maximum(self._ports[source], self._ports[target]))
        return np.full(source.size, max(self.grid.parallel), dtype=np.int64)

    def _steps(self, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return the coordinates of the sources, and the signed steps along each axis; where both ways are as long, forward."""
        h = max(self.grid.hosts, 1)
        at, to = self.grid.coordinates(source // h), self.grid.coordinates(target // h)
        steps = to - at
        both = np.zeros_like(steps)
        for axis, size in enumerate(self.grid.axes):
            if self.grid.closes(axis):
                round_ = steps[axis] % size
                both[axis] = 2 * round_ == size
                steps[axis] = np.where(2 * round_ <= size, round_, round_ - size)
        return at, steps, both

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return the orders of the axes times the ways round."""
        _, _, both = self._steps(source, target)
        return np.asarray(self._orders << both.sum(axis=0), dtype=np.int64)

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return the choice of the first order; the parity of the target's coordinates decides ways round that are as long."""
        to = self.grid.coordinates(target // max(self.grid.hosts, 1))
        sides = (to % 2 << np.arange(len(self.grid.axes))[:, None]).sum(axis=0)
        return np.asarray(self._orders * sides, dtype=np.int64)

    def _order(self, code: IntArray) -> IntArray:
        """Return orders of the axes by their number (Lehmer code), shape (axes, pairs); 0 is first to last."""
        axes = len(self.grid.axes)
        left = np.tile(np.arange(axes)[:, None], (1, code.size))
        order = np.empty((axes, code.size), dtype=np.int64)
        columns = np.arange(code.size)
        for k in range(axes):
            n = axes - k
            pick = code % n
            code = code // n
            order[k] = left[pick, columns]
            keep = np.arange(n)[:, None] != pick[None, :]
            left = left.T[keep.T].reshape(code.size, n - 1).T if n > 1 else left[:0]
        return order

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the links on the way, shape (diameter, pairs) and two more with hosts."""
        grid, half = self.grid, self.links.cables
        at, steps, both = self._steps(source, target)
        sides = choice // self._orders
        for axis in range(len(grid.axes)):
            turn = (both[axis] > 0) & (sides >> axis & 1 > 0)
            steps[axis] = np.where(turn, -steps[axis], steps[axis])
        order = self._order(choice % self._orders)
        pair = np.arange(source.size)
        rows: list[IntArray] = []
        if grid.hosts:
            rows.append(self.links.bundle[source] + lane % self._ports[source])
        for k in range(len(grid.axes)):
            axis = order[k]
            sign, far = np.sign(steps[axis, pair]), np.abs(steps[axis, pair])
            size = np.array(grid.axes)[axis]
            cable = lane % np.array(grid.parallel)[axis]
            for step in range(int(far.max(initial=0))):
                goes = step < far
                place = np.ravel_multi_index(tuple(at), grid.axes)
                link = np.where(sign > 0, self._onward[axis, place] + cable, half + self._back[axis, place] + cable)
                rows.append(np.where(goes, link, -1))
                at[axis, pair] = np.where(goes, (at[axis, pair] + sign) % size, at[axis, pair])
        if grid.hosts:
            rows.append(half + self.links.bundle[target] + lane % self._ports[target])
        return np.stack(rows) if rows else np.full((1, source.size), -1, dtype=np.int64)


def _equal_ports(request: Request, shape: str) -> int:
    few, many = min(p for _, p in request.ports), request.widest
    if few != many:
        raise UNEQUAL.error(path=f"{request.fabric.path}.per_node", shape=shape, few=few, many=many)
    return many


class Torus:
    """Torus or mesh of any number of axes, of nodes or of switches with ``hosts`` nodes each."""

    shape = "torus"

    def grid(self, request: Request) -> Grid:
        """Return the grid for ``request``.

        Raises
        ------
        InputError
            The axes do not hold the nodes, an option does not fit the axes, or a node has too few ports.
        """
        fabric, places = request.fabric, self._places(request)
        cube = fabric.cube or 1
        axes = self._axes(request, places)
        block = fabric.block or (1,) * len(axes)
        if len(block) != len(axes):
            raise AXES_FORM.error(path=f"{fabric.path}.block", what="block", found=len(block), axes=len(axes))
        for size, part in zip(axes, block):
            if (size % cube and cube % size) or size % part:
                raise CUBE.error(path=f"{fabric.path}.axes", size=size, cube=math.lcm(cube, part))
        wrap = tuple(size % cube == 0 for size in axes) if fabric.cube else fabric.wrap or (True,) * len(axes)
        face = tuple(math.prod(block) // part for part in block)
        closed = wrap * len(axes) if len(wrap) == 1 else wrap
        # two hosts that close a ring of devices meet at both of their faces
        both = [fabric.block is not None and size == 2 * part and size > 2 and ring for size, part, ring in zip(axes, block, closed)]
        parallel = fabric.parallel or tuple(2 * cables if twice else cables for cables, twice in zip(face, both))
        axes = tuple(size // part for size, part in zip(axes, block))
        wrap = wrap * len(axes) if len(wrap) == 1 else wrap
        parallel = parallel * len(axes) if len(parallel) == 1 else parallel
        for what, given in (("wrap", wrap), ("parallel", parallel)):
            if len(given) != len(axes):
                raise AXES_FORM.error(path=f"{fabric.path}.{what}", what=what, found=len(given), axes=len(axes))
        grid = Grid(axes, wrap, parallel, fabric.hosts or 0, fabric.twist)
        if fabric.twist and (len(axes) < 2 or not grid.closes(0) or axes[-1] <= fabric.twist):
            raise TWIST.error(path=f"{fabric.path}.twist", twist=fabric.twist)
        ports = _equal_ports(request, self.shape) if not grid.hosts else 0
        if not grid.hosts and grid.ports > ports:
            raise GRID_PORTS.error(path=f"{fabric.path}.per_node", shape=self.shape, needed=grid.ports, ports=ports)
        return grid

    def _axes(self, request: Request, places: int) -> tuple[int, ...]:
        """Return the sizes of the axes, in devices where a node has a block of them."""
        fabric = request.fabric
        devices, unit = places * math.prod(fabric.block or (1,)), fabric.cube or 1
        number = len(fabric.axes or fabric.block or (1, 1, 1))
        near = cubic_axes(devices, number, unit=unit) or cubic_axes(devices, number)
        if fabric.axes is not None and (math.prod(fabric.axes) == devices or not fabric.type):
            if math.prod(fabric.axes) == devices:
                return fabric.axes
            remedy = f"for example axes: {list(near)}" if near else "another number of nodes"
            text, path = " × ".join(map(str, fabric.axes)), f"{fabric.path}.axes"
            raise AXES_SIZE.error(path=path, remedy=remedy, axes=text, places=math.prod(fabric.axes), nodes=request.nodes, needed=devices)
        return near or (devices,)

    def _places(self, request: Request) -> int:
        return -(-request.nodes // request.fabric.hosts) if request.fabric.hosts else request.nodes

    def size(self, request: Request) -> FabricSize:
        """Count switches and cables; along an axis of n that closes there are as many bundles as places, else (n−1)/n of that."""
        grid = self.grid(request)
        names = tuple(f"axis-{_LETTERS[k] if k < len(_LETTERS) else k}" for k in range(len(grid.axes)))
        rate, halved = request.fabric.bytes_per_s, grid.axes[0] % 2 == 0 and request.nodes == grid.places * max(grid.hosts, 1)
        cut = float(grid.bisection_cables * rate)
        host = request.node_ports // 2 * rate if grid.hosts else math.inf
        ratio = 1.0
        if grid.hosts:
            ratio = min(request.nodes, grid.hosts) * request.widest / max(grid.ports, 1) if grid.places > 1 else 1.0
        return FabricSize(
            switches=(grid.places,) if grid.hosts else (),
            cables=(request.node_ports, *grid.cables) if grid.hosts else grid.cables,
            storage_cables=sum(request.storage_ports),
            oversubscription=ratio,
            tiers=("hosts", *names) if grid.hosts else names,
            diameter=None if grid.twist else grid.diameter + (2 if grid.hosts and request.nodes > 1 else 0),
            bisection_bytes_per_s=min(cut, host) if halved and not grid.twist else None,
        )

    def wire(self, request: Request) -> Wiring:
        """List the cables: of the hosts, then along each axis from every place to the next."""
        grid, n = self.grid(request), request.nodes
        first = n if grid.hosts else 0
        a, b, cables, tier = [], [], [], []
        if grid.hosts:
            a.append(np.arange(n))
            b.append(n + np.arange(n) // grid.hosts)
            cables.append(request.ports_of_nodes())
            tier.append(np.zeros(n, np.int64))
        for axis in range(len(grid.axes)):
            here, there = grid.next_along(axis)
            a.append(here + first)
            b.append(there + first)
            cables.append(np.full(here.size, grid.parallel[axis]))
            tier.append(np.full(here.size, axis + bool(grid.hosts)))
        switches = grid.places if grid.hosts else 0
        ends = [np.concatenate(part).astype(np.int64) for part in (a, b, cables, tier)]
        attach = np.arange(first, first + grid.places, dtype=np.int64)
        names = self.size(request).tiers
        return Wiring(n, np.ones(switches, np.int64), ends[0], ends[1], ends[2], attach, tier=ends[3], forwards=not grid.hosts, names=names)

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker | None:
        """Return walks in dimension order; a twisted torus has no such closed form."""
        grid = self.grid(request)
        return None if grid.twist else GridWalker(links, grid)


class Hypercube(Torus):
    """Binary hypercube: a torus of axes of two. Dimension order is e-cube routing."""

    shape = "hypercube"

    def grid(self, request: Request) -> Grid:
        """Return the grid for ``request``.

        Raises
        ------
        InputError
            The places are no power of two, or a node has too few ports.
        """
        places = self._places(request)
        if places & (places - 1):
            power = 1 << (places - 1).bit_length()
            raise NOT_A_POWER.error(path="cluster.nodes", nodes=places, near=f"{power // 2} or {power}")
        axes = (2,) * max(places.bit_length() - 1, 1) if places > 1 else (1,)
        grid = Grid(axes, (False,) * len(axes), (1,) * len(axes), request.fabric.hosts or 0)
        ports = _equal_ports(request, self.shape) if not grid.hosts else grid.ports
        if grid.ports > ports:
            raise GRID_PORTS.error(path=f"{request.fabric.path}.per_node", shape=self.shape, needed=grid.ports, ports=ports)
        return grid


class FullMesh:
    """A cable between any two nodes, ``parallel`` of them where that is given: what two send each other has that cable and no more."""

    def _each(self, request: Request) -> int:
        ports, others = _equal_ports(request, "full mesh"), max(request.nodes - 1, 1)
        each = request.fabric.parallel[0] if request.fabric.parallel else max(ports // others, 1)
        if each * others > ports and request.nodes > 1:
            raise GRID_PORTS.error(path=f"{request.fabric.path}.per_node", shape="full mesh", needed=each * others, ports=ports)
        return each

    def size(self, request: Request) -> FabricSize:
        """Count n(n−1)/2 bundles."""
        n, each = request.nodes, self._each(request)
        half = n // 2
        return FabricSize(
            switches=(),
            cables=(n * (n - 1) // 2 * each,),
            storage_cables=sum(request.storage_ports),
            tiers=("mesh",),
            diameter=1 if n > 1 else 0,
            bisection_bytes_per_s=half * half * each * request.fabric.bytes_per_s if n % 2 == 0 else None,
        )

    def wire(self, request: Request) -> Wiring:
        """List the cables: of node 0 to all after it, and so on."""
        n = request.nodes
        a, b = np.triu_indices(n, 1)
        each = np.full(a.size, self._each(request), dtype=np.int64)
        none, every = np.empty(0, np.int64), np.arange(n, dtype=np.int64)
        return Wiring(n, none, a.astype(np.int64), b.astype(np.int64), each, every, forwards=True, names=("mesh",))

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker:
        """Return the one way that there is."""
        return _MeshWalker(links, request.nodes, self._each(request))


class _MeshWalker:
    """The cable between two nodes; a lane for each parallel one."""

    def __init__(self, links: Links, nodes: int, each: int) -> None:
        self.links, self._nodes, self._each = links, nodes, each

    def lanes(self, source: IntArray, target: IntArray) -> IntArray:
        """Return the parallel cables."""
        return np.full(source.size, self._each, dtype=np.int64)

    def ways(self, source: IntArray, target: IntArray, lane: IntArray) -> IntArray:
        """Return 1."""
        return np.ones(source.size, dtype=np.int64)

    def toward(self, target: IntArray, lane: IntArray) -> IntArray:
        """Return 0."""
        return np.zeros(target.size, dtype=np.int64)

    def walk(self, source: IntArray, target: IntArray, lane: IntArray, choice: IntArray) -> IntArray:
        """Return the cable, shape (1, pairs)."""
        low, high = np.minimum(source, target), np.maximum(source, target)
        bundle = low * (2 * self._nodes - low - 1) // 2 + high - low - 1
        link = bundle * self._each + lane % self._each
        return np.asarray(np.where(source < target, link, self.links.cables + link))[None, :]
