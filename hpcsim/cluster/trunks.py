"""The links that jobs share, as capacities: node ports, the trunks between the levels of a fabric, storage ports and servers.

A *trunk* is all cables between a subtree of the fabric and the level above, one way: what traffic that is spread over all of them can
use. A node's own trunk is its ports. Storage tiers add their ports and what their servers read and write. Traffic that keeps to one cable
each is in :mod:`hpcsim.engine.flows`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.faults import left_over
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.topologies import TOPOLOGIES, FatTree, request_of
from hpcsim.cluster.tree_walks import TreePlan
from hpcsim.cost.maxmin import Routes

__all__ = ["Trunks", "trunks_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trunks:
    """Capacities one way, and which of them lie between two places.

    Attributes
    ----------
    capacity_bytes_per_s : array, shape (links,)
    names : tuple of str
        Such as ``gpu/3 up``, ``level-1/0 down``, ``storage/scratch write``.
    width : tuple of int
        Nodes in a subtree of each level that has trunks: 1, then those of a leaf switch, and so on; empty where nothing limits.
    first : tuple of int
        Number of the first trunk of each level: up is ``first + 2·i``, down the next, i the subtree.
    tiers : dict of str to (int, int, int, int)
        Ports out, ports in, read and write of each storage tier; -1 where nothing limits.
    offsets : dict of str to int
        Number of the first node of each group.
    shaped : bool
        Whether the fabric's trunks above the nodes are known; otherwise only ports and storage limit.
    """

    capacity_bytes_per_s: FloatArray
    names: tuple[str, ...]
    width: tuple[int, ...]
    first: tuple[int, ...]
    tiers: dict[str, tuple[int, int, int, int]]
    offsets: dict[str, int]
    shaped: bool = True
    ports_bytes_per_s: FloatArray = field(default_factory=lambda: np.empty(0))
    """Nodes' ports, up and down in turn, as they would be without faults [B/s]."""

    def _levels(self, nodes: IntArray, way: int) -> IntArray:
        """Return the trunks that lead up (0) from or down (1) to nodes, shape (levels, nodes)."""
        rows = [first + 2 * (nodes // width) + way for first, width in zip(self.first, self.width)]
        return np.array(rows, dtype=np.int64).reshape(len(rows), nodes.size)

    def between(self, source: IntArray, target: IntArray) -> Routes:
        """Return the routes between pairs of different nodes: up to where the subtrees meet, and down."""
        apart = np.array([source // width != target // width for width in self.width], dtype=np.bool_).reshape(len(self.width), source.size)
        up = np.where(apart, self._levels(source, 0), -1)
        down = np.where(apart, self._levels(target, 1), -1)
        return _packed(np.concatenate([up, down[::-1]]))

    def to_storage(self, tier: str, nodes: IntArray) -> Routes:
        """Return the routes on which nodes write to a tier; it is plugged in at the top."""
        _, into, _, write = self.tiers[tier]
        return _packed(np.concatenate([self._levels(nodes, 0), _rows((into, write), nodes.size)]))

    def from_storage(self, tier: str, nodes: IntArray) -> Routes:
        """Return the routes on which nodes read from a tier."""
        out, _, read, _ = self.tiers[tier]
        return _packed(np.concatenate([_rows((read, out), nodes.size), self._levels(nodes, 1)[::-1]]))


def _rows(links: tuple[int, ...], count: int) -> IntArray:
    return np.repeat(np.array(links, dtype=np.int64)[:, None], count, axis=1)


def _packed(table: IntArray) -> Routes:
    """Return the columns of a table as routes, places without a link left out."""
    used = table.T >= 0
    return Routes(np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64), table.T[used])


@dataclass
class _Growing:
    capacity: list[FloatArray]
    names: list[str]
    count: int = 0

    def add(self, capacity: FloatArray, names: list[str]) -> int:
        first = self.count
        self.capacity.append(capacity)
        self.names.extend(names)
        self.count += capacity.size
        return first

    def one(self, bytes_per_s: float, name: str) -> int:
        """Add one link, or none where nothing limits."""
        return self.add(np.array([bytes_per_s]), [name]) if math.isfinite(bytes_per_s) else -1


def _both_ways(names: list[str]) -> list[str]:
    return [f"{name} {way}" for name in names for way in ("up", "down")]


def _left_of_ports(cluster: Cluster, ports: list[float]) -> list[float]:
    """Return what the ports of each node carry, faults taken off."""
    assert cluster.fabric is not None
    if not cluster.fabric.faults:
        return ports
    whole = links_of(cluster)
    left, own = left_over(whole, cluster.fabric.faults), slice(0, whole.cables)
    carried = (
        np.bincount(whole.tail[own], part, whole.vertices)[: whole.nodes]
        for part in (
            whole.capacity_bytes_per_s[own],
            left.capacity_bytes_per_s[own] * left.usable[own],
        )
    )
    before, after = carried
    return [port * now / then if then > 0 else port for port, now, then in zip(ports, after.tolist(), before.tolist())]


def _subtrees(cluster: Cluster, plan: TreePlan) -> list[tuple[int, FloatArray]]:
    """Return for each level below the top the nodes under a subtree, and what the cables above each subtree carry, faults taken off.

    With rails the leaf switches of all rails of the same nodes are one subtree.
    """
    assert cluster.fabric is not None
    links = left_over(links_of(cluster), cluster.fabric.faults)
    carried = links.capacity_bytes_per_s[: links.cables] * links.usable[: links.cables]
    found, base, under = [], links.nodes, plan.down[0]
    for level in range(1, len(plan.down)):
        own = np.flatnonzero(links.tier[: links.cables] == level)
        positions = math.prod(plan.up[:level])
        subtree = (links.tail[own] - base) // positions // (plan.rails if level == 1 else 1)
        count = -(-links.nodes // under)
        found.append((under, np.maximum(np.bincount(subtree, carried[own], count)[:count], 1e-300)))
        base += plan.switches[level - 1]
        under = under * plan.down[level] // (plan.rails if level == 1 else 1)
    return found


def trunks_of(cluster: Cluster) -> Trunks:
    """Return the trunks of a cluster.

    Raises
    ------
    InputError
        The topology does not hold the nodes.

    Notes
    -----
    Below level l + 1 of a generalised fat tree a subtree has Π(up to l) switches with up[l]·parallel[l] cables each, less what has failed. A single switch has
    no trunks but the nodes' own, and of other shapes only those are known here.
    """
    grow = _Growing([], [])
    offsets, at = {}, 0
    nodes: list[str] = []
    ports: list[float] = []
    for group in cluster.groups.values():
        offsets[group.name] = at
        at += group.total
        nodes += [f"{group.name}/{i}" for i in range(group.total)]
        ports += [group.injection_bytes_per_s] * group.total
    width: list[int] = []
    first: list[int] = []
    shaped = True
    fabric, request = cluster.fabric, request_of(cluster)
    if fabric is not None and request is not None:
        width.append(1)
        first.append(grow.add(np.repeat(_left_of_ports(cluster, ports), 2), _both_ways(nodes)))
        topology = TOPOLOGIES.get(fabric.topology)
        if isinstance(topology, FatTree):
            for level, (under, carried) in enumerate(_subtrees(cluster, topology.plan(request)), 1):
                width.append(under)
                first.append(grow.add(np.repeat(carried, 2), _both_ways([f"level-{level}/{i}" for i in range(carried.size)])))
        else:
            shaped = fabric.topology in ("single-switch", "star")
    tiers = {}
    for tier in cluster.storage.values():
        wire = fabric.bytes_per_s * tier.ports if fabric is not None else math.inf
        name = f"storage/{tier.name}"
        tiers[tier.name] = (
            grow.one(wire, f"{name} out"),
            grow.one(wire, f"{name} in"),
            grow.one(tier.read_bytes_per_s, f"{name} read"),
            grow.one(tier.write_bytes_per_s, f"{name} write"),
        )
    capacity = np.concatenate(grow.capacity) if grow.capacity else np.empty(0)
    return Trunks(capacity, tuple(grow.names), tuple(width), tuple(first), tiers, offsets, shaped, np.repeat(ports, 2))
