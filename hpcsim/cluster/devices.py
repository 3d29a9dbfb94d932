"""Devices on their links: NVLink through a switch, xGMI as a full mesh, PCIe, TPU chips on their torus; and the ways between any two of them.

Inside a scale-up domain a route stays there. Between domains it leaves by the network port of the device, goes over that port's rail, and
comes in by the port of the rail; where that is another device's, the sender first passes it to the device of its own node on the target's
rail (as PXN does), or without such a link the target takes it through its host. Links are numbered in closed form after those of the fabric,
so a machine of 16,384 devices takes a few arrays and routes are worked out for the pairs that are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.cluster.links import tabulate
from hpcsim.cluster.parts import Accelerator, Cluster, NodeGroup
from hpcsim.cluster.routing import Paths, Router, router
from hpcsim.cluster.topologies import Torus
from hpcsim.cluster.wiring import Request, request_of
from hpcsim.cost.maxmin import Routes

__all__ = ["Devices", "Inside", "device_links", "device_torus", "inside_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

NO_DEVICES = problem_kind(
    "devices-none", "the cluster has no accelerators between which there are ways", "add accelerators to a node group"
)
NO_DEVICE = problem_kind("device-unknown", "flow {flow} ends at device {device}", "devices are 0 to {last}")
SAME_DEVICE = problem_kind("device-to-itself", "flow {flow} goes from device {device} to itself", "what stays on a device is no flow")
NOT_APART = problem_kind(
    "devices-without-fabric", "flow {flow} goes from one scale-up domain to another, and the cluster has no fabric", "add cluster.fabric"
)

_LISTED = 20
_UNBOUNDED = 1e18
"""Rate of what nobody knows to limit [B/s]."""


class Inside(NamedTuple):
    """How the devices of a node group are joined.

    Attributes
    ----------
    kind : {"switch", "mesh", "host"}
        Through a switch of their domain, each pair by a link of its own, or through the node's host alone.
    domain : int
        Devices of a domain; the last may be partly filled.
    bytes_per_s : float
        Of one link, one way [B/s].
    """

    kind: str
    domain: int
    bytes_per_s: float


def inside_of(group: NodeGroup) -> Inside:
    """Return how the devices of a group are joined: xGMI is a full mesh whose links share a device's rate, PCIe goes through the host, all else has a switch."""
    device = group.accelerator
    assert device is not None
    rate, domain = device.scale_up_bytes_per_s, max(min(group.domain, group.total * group.per_node), 1)
    if rate is None or device.scale_up_kind == "pcie" or domain == 1:
        return Inside("host", group.per_node, _host_rate(device))
    if device.scale_up_kind == "xgmi":
        return Inside("mesh", domain, rate / max(group.domain - 1, 1))
    return Inside("switch", domain, rate)


def device_links(group: NodeGroup) -> int:
    """Return the links, one way each, that the devices of a group have among themselves and to their hosts.

    Two a device to its host, and: through a switch two a device, in a mesh Σ n(n − 1) over the domains, n the devices there.
    """
    inside, devices = inside_of(group), group.total * group.per_node
    if inside.kind == "host":
        return 2 * devices
    if inside.kind == "switch":
        return 4 * devices
    full, rest = divmod(devices, inside.domain)
    return 2 * devices + full * inside.domain * (inside.domain - 1) + rest * (rest - 1)


def device_torus(cluster: Cluster) -> Request | None:
    """Return what a torus has to connect whose places are devices: TPU chips; None for other clusters."""
    request, fabric = request_of(cluster), cluster.fabric
    if request is None or fabric is None or fabric.topology != "torus" or not fabric.block:
        return None
    per_node = math.prod(fabric.block)
    if any(group.per_node != per_node for group in cluster.groups.values()):
        return None
    grid = Torus().grid(request)
    axes = tuple(size * part for size, part in zip(grid.axes, fabric.block, strict=True))
    wrap = tuple(closed and size > 1 for closed, size in zip(grid.wrap, axes, strict=True))
    plain = dataclasses.replace(fabric, axes=axes, wrap=wrap, block=None, cube=None, parallel=None, type="")
    ports = tuple((count * per_node, 2 * len(axes)) for count, _ in request.ports)
    return Request(plain, ports, (), request.names, request.locations)


def _places(cluster: Cluster, axes: tuple[int, ...]) -> IntArray:
    """Return where each device lies on its torus, counted along the axes: a node has a block of them."""
    fabric = cluster.fabric
    assert fabric is not None
    assert fabric.block is not None
    block = fabric.block
    device = np.arange(math.prod(axes))
    node = np.unravel_index(device // math.prod(block), tuple(size // part for size, part in zip(axes, block, strict=True)))
    local = np.unravel_index(device % math.prod(block), block)
    where = tuple(n * part + k for n, part, k in zip(node, block, local, strict=True))
    return np.ravel_multi_index(where, axes).astype(np.int64)


def _host_rate(device: Accelerator) -> float:
    return device.host_bytes_per_s or _UNBOUNDED


class _Block(NamedTuple):
    """A group's devices in the numbering: its first node, device and link, and how they are joined."""

    group: NodeGroup
    node: int
    device: int
    link: int
    inside: Inside


class Devices:
    """The devices of a cluster, and the ways between them.

    Device k of node i of a group has the group's first number plus i · devices of a node + k. Has what :class:`Router` has for its vertices:
    :meth:`routes` and ``capacity_bytes_per_s``, so that collectives run over devices as over nodes.

    Parameters
    ----------
    cluster : Cluster
    routing : str, optional
        One of :data:`hpcsim.cluster.routing.ROUTINGS`; the fabric's own without it.
    seed : int
        Of the hash.

    Raises
    ------
    InputError
        No accelerators, an unknown routing, or a fabric that does not hold the nodes.

    Attributes
    ----------
    count : int
        Devices, those of spare nodes included.
    capacity_bytes_per_s : array, shape (links,)
    """

    def __init__(self, cluster: Cluster, routing: str | None = None, *, seed: int = 0) -> None:
        self.count = sum(group.total * group.per_node for group in cluster.groups.values())
        if not self.count:
            raise NO_DEVICES.error(path="cluster.nodes")
        self._torus = self._torus_of(cluster, routing, seed)
        self._router = None if self._torus is not None or cluster.fabric is None else router(cluster, routing, seed=seed)
        self._rails = cluster.fabric.rails if cluster.fabric is not None else 1
        if self._torus is not None:
            self.capacity_bytes_per_s: FloatArray = self._torus.links.capacity_bytes_per_s
            request = device_torus(cluster)
            assert request is not None
            assert request.fabric.axes is not None
            self._place = _places(cluster, request.fabric.axes)
            return
        self._number(cluster)

    @staticmethod
    def _torus_of(cluster: Cluster, routing: str | None, seed: int) -> Router | None:
        request = device_torus(cluster)
        if request is None:
            return None
        topology = Torus()
        links = tabulate(topology.wire(request), request)
        walker = topology.walker(request, links, pooled=False)
        assert walker is not None
        return Router(walker, routing or request.fabric.routing, seed=seed)

    def _number(self, cluster: Cluster) -> None:
        """Number the devices' links after the fabric's, group by group: to the hosts, from them, then those inside the domains."""
        base = self._router.links.count if self._router is not None else 0
        blocks, capacity, latency = [], [], []
        if self._router is not None:
            capacity.append(self._router.links.capacity_bytes_per_s)
        node = device = 0
        link = base
        for group in cluster.groups.values():
            if group.per_node:
                inside, count = inside_of(group), device_links(group)
                host = 2 * group.total * group.per_node
                assert group.accelerator is not None
                blocks.append(_Block(group, node, device, link, inside))
                capacity.append(np.repeat([_host_rate(group.accelerator), inside.bytes_per_s], [host, count - host]))
                hop = (group.accelerator.scale_up_latency_s or 0.0) * (0.5 if inside.kind == "switch" else 1.0)
                latency.append(np.repeat([0.0, hop], [host, count - host]))
                device += group.total * group.per_node
                link += count
            node += group.total
        self.capacity_bytes_per_s = np.concatenate(capacity)
        self._latency_s = np.concatenate([np.zeros(base), *latency])
        self._blocks = blocks
        self._starts = np.array([block.device for block in blocks])

    def routes(self, source: npt.ArrayLike, target: npt.ArrayLike) -> Paths:
        """Return the routes of pairs of devices.

        Parameters
        ----------
        source, target : array of int, shape (pairs,)
            Devices by number.

        Raises
        ------
        InputError
            Devices that do not exist, flows from one to itself, domains that nothing joins; each is named.
        """
        a, b = (np.atleast_1d(np.asarray(end, dtype=np.int64)) for end in np.broadcast_arrays(source, target))
        self._check(a, b)
        if self._torus is not None:
            return self._torus.routes(self._place[a], self._place[b])
        domain_a, domain_b = self._domains(a), self._domains(b)
        near = domain_a == domain_b
        rows = [(np.flatnonzero(near), self._inner(a[near], b[near]))]
        far = np.flatnonzero(~near)
        parts: list[tuple[IntArray, FloatArray, IntArray]] = [(at, np.ones(at.size), table) for at, table in rows if at.size]
        extra = np.zeros(0)
        if far.size:
            pair, share, table = self._outer(a[far], b[far])
            parts.append((far[pair], share, table))
            extra = self._start_s(table.shape[1])
        return self._joined(parts, extra)

    def _check(self, a: IntArray, b: IntArray) -> None:
        problems = Problems()
        for ends in (a, b):
            for i in np.flatnonzero((ends < 0) | (ends >= self.count))[:_LISTED].tolist():
                problems.add(NO_DEVICE(path=f"routes[{i}]", flow=i, device=int(ends[i]), last=self.count - 1))
        for i in np.flatnonzero(a == b)[:_LISTED].tolist():
            problems.add(SAME_DEVICE(path=f"routes[{i}]", flow=i, device=int(a[i])))
        problems.raise_if_any()
        if self._torus is None and self._router is None:
            for i in np.flatnonzero(self._domains(a) != self._domains(b))[:_LISTED].tolist():
                problems.add(NOT_APART(path=f"routes[{i}]", flow=i))
            problems.raise_if_any()

    def _each(self, devices: IntArray) -> list[tuple[_Block, IntArray]]:
        """Return the blocks and which of some devices lie in each."""
        block = np.searchsorted(self._starts, devices, side="right") - 1
        return [(self._blocks[k], np.flatnonzero(block == k)) for k in np.unique(block).tolist()]

    def _domains(self, devices: IntArray) -> IntArray:
        """Return a number for the domain of each device; a node is one where devices are joined by their host alone."""
        found = np.empty(devices.size, dtype=np.int64)
        for block, at in self._each(devices):
            found[at] = block.device + (devices[at] - block.device) // block.inside.domain
        return found

    def node(self, devices: IntArray) -> IntArray:
        """Return the node of each device, by its number in the cluster."""
        found = np.empty(devices.size, dtype=np.int64)
        for block, at in self._each(devices):
            found[at] = block.node + (devices[at] - block.device) // block.group.per_node
        return found

    def _ports(self, devices: IntArray) -> IntArray:
        """Return the network port of each device: those of a node are dealt out in order."""
        found = np.empty(devices.size, dtype=np.int64)
        for block, at in self._each(devices):
            found[at] = (devices[at] - block.device) % block.group.per_node * block.group.nics // block.group.per_node
        return found

    def _host(self, devices: IntArray, *, up: bool) -> IntArray:
        """Return the link of each device to its host, or from it."""
        found = np.empty(devices.size, dtype=np.int64)
        for block, at in self._each(devices):
            own = devices[at] - block.device
            found[at] = block.link + own + (0 if up else block.group.total * block.group.per_node)
        return found

    def _inner(self, a: IntArray, b: IntArray) -> IntArray:
        """Return the links between devices of one domain, columns of two, filled up with -1."""
        table = np.full((2, a.size), -1, dtype=np.int64)
        for block, at in self._each(a):
            own, other = a[at] - block.device, b[at] - block.device
            devices = block.group.total * block.group.per_node
            first = block.link + 2 * devices
            if block.inside.kind == "switch":
                table[0, at], table[1, at] = first + own, first + devices + other
            elif block.inside.kind == "mesh":
                n = block.inside.domain
                domain, i, j = own // n, own % n, other % n
                size = np.minimum(devices - domain * n, n)
                table[0, at] = first + domain * n * (n - 1) + i * (size - 1) + j - (j > i)
            else:
                table[0, at], table[1, at] = self._host(a[at], up=True), self._host(b[at], up=False)
        return table

    def _outer(self, a: IntArray, b: IntArray) -> tuple[IntArray, FloatArray, IntArray]:
        """Return the sub-flows between domains: their pairs, shares and links as columns."""
        assert self._router is not None
        port_a, port_b = self._ports(a), self._ports(b)
        leaves = self._passed_to(a, port_a, port_b)
        paths = self._router.routes(self.node(leaves), self.node(b), port=self._ports(leaves))
        pair = paths.pair
        middle = paths.routes.table(-1)
        handed = np.full((2, a.size), -1, dtype=np.int64)
        moved = np.flatnonzero(leaves != a)
        if moved.size:
            handed[:, moved] = self._inner(a[moved], leaves[moved])
        ends = [handed[:, pair], self._host(leaves, up=True)[pair][None], middle, self._host(b, up=False)[pair][None]]
        return pair, paths.share, np.concatenate(ends)

    def _passed_to(self, a: IntArray, port_a: IntArray, port_b: IntArray) -> IntArray:
        """Return the device of its node through which each sender leaves: itself, or on several rails the one at the target's port."""
        leaves = a.copy()
        if self._rails <= 1:
            return leaves
        for block, at in self._each(a):
            group = block.group
            if block.inside.kind == "host" or group.nics < 2:
                continue
            wanted = port_b[at] % group.nics
            own = a[at] - block.device
            peer = own - own % group.per_node + -(-wanted * group.per_node // group.nics)
            cross = wanted != port_a[at]
            leaves[at[cross]] = peer[cross] + block.device
        return leaves

    def _start_s(self, flows: int) -> FloatArray:
        assert self._router is not None
        return np.full(flows, self._router.links.start_s)

    def _joined(self, parts: list[tuple[IntArray, FloatArray, IntArray]], start_s: FloatArray) -> Paths:
        hops = max(table.shape[0] for *_, table in parts)
        whole = np.concatenate([np.pad(table, ((0, hops - table.shape[0]), (0, 0)), constant_values=-1) for *_, table in parts], axis=1)
        pair, share = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        extra = np.zeros(pair.size)
        extra[pair.size - start_s.size :] = start_s
        order = np.argsort(pair, kind="stable")
        pair, share, columns, extra = pair[order], share[order], np.ascontiguousarray(whole[:, order].T), extra[order]
        used = columns >= 0
        routes = Routes(np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64), columns[used])
        latency = self._latency_s.copy()
        if self._router is not None:
            latency[: self._router.links.count] = self._router.links.latency_s
        return Paths(
            routes, pair.astype(np.int64), share.astype(np.float64), np.add.reduceat(latency[routes.links], routes.first[:-1]) + extra
        )
