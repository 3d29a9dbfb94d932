"""What a topology has to connect, what it answers, and the registry of shapes.

A topology is an object with two pure methods (:class:`Topology`): ``size`` counts switches and cables in closed form, and is all that
checking and accounting need; ``wire`` lists the cables, from which :mod:`hpcsim.cluster.links` makes the table of links and
:mod:`hpcsim.cluster.graph` the graph. A shape that knows its routes in closed form has a third, ``walker`` (:class:`Routed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hpcsim.base.registry import Registry
from hpcsim.cluster.parts import Cluster, Fabric, FabricSize

if TYPE_CHECKING:
    from hpcsim.cluster.links import Links
    from hpcsim.cluster.walks import Walker

__all__ = ["TOPOLOGIES", "Request", "Routed", "Topology", "Wiring", "request_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """What a fabric has to connect.

    Attributes
    ----------
    fabric : Fabric
        The resolved parameters.
    ports : tuple of (int, int)
        Nodes and ports of each node, group by group in the order of the nodes' numbers.
    storage_ports : tuple of int
        Ports of each storage tier.
    names, locations : tuple of str
        Names of the node groups, and where each stands.
    storage_locations : tuple of str
        Where each storage tier stands; empty for the first location, as are tiers that are not named.
    """

    fabric: Fabric
    ports: tuple[tuple[int, int], ...]
    storage_ports: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    storage_locations: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Nodes to connect."""
        return sum(count for count, _ in self.ports)

    @property
    def widest(self) -> int:
        """Ports of the node that has most."""
        return max(ports for _, ports in self.ports)

    @property
    def node_ports(self) -> int:
        """Ports of all nodes."""
        return sum(count * ports for count, ports in self.ports)

    def ports_of_nodes(self) -> IntArray:
        """Return the ports of every node, shape (nodes,)."""
        counts, ports = np.array(self.ports, dtype=np.int64).reshape(-1, 2).T
        return np.repeat(ports, counts)


@dataclass(frozen=True)
class Wiring:
    """The switches and cables of a fabric.

    Vertices are numbered: nodes from 0, then switches. An edge is a bundle of equal cables between two vertices.

    Attributes
    ----------
    nodes : int
        Nodes.
    levels : array of int, shape (switches,)
        Level of each switch, 1 at the leaves; shapes without levels put every switch at 1.
    a, b : array of int, shape (edges,)
        Ends of each bundle; the lower one first where the shape has levels.
    cables : array of int, shape (edges,)
        Cables of each bundle.
    attach : array of int
        Vertices that take the cables of the storage tiers, in turn.
    tier : array of int, shape (edges,), optional
        Which tier of cables each bundle belongs to, from 0; without it the higher level of its two ends, less one.
    bytes_per_s : array, shape (edges,), optional
        Rate of one cable of each bundle, one way [B/s]; the fabric's without it.
    latency_s : array, shape (edges,), optional
        Latency of each bundle [s]; without it half of the fabric's at a node that faces a switch, and one hop elsewhere.
    forwards : bool
        Whether nodes pass on what is meant for others, as in a torus of nodes.
    names : tuple of str
        Names of the tiers; ``level-1`` and so on without them.
    labels : tuple of str
        Names of the switches; ``switch/LEVEL/NUMBER`` without them.
    """

    nodes: int
    levels: IntArray
    a: IntArray
    b: IntArray
    cables: IntArray
    attach: IntArray
    tier: IntArray | None = None
    bytes_per_s: FloatArray | None = None
    latency_s: FloatArray | None = None
    forwards: bool = False
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def switch_names(self, some: IntArray | None = None) -> list[str]:
        """Return the names of the switches in the graph, or of some of them by their numbers."""
        chosen = np.arange(len(self.levels)) if some is None else some
        if self.labels:
            return [f"switch/{self.labels[number]}" for number in chosen.tolist()]
        place = np.zeros(len(self.levels), dtype=np.int64)
        for level in np.unique(self.levels):
            own = self.levels == level
            place[own] = np.arange(int(own.sum()))
        return [f"switch/{level}/{number}" for level, number in zip(self.levels[chosen].tolist(), place[chosen].tolist(), strict=True)]

    @property
    def vertices(self) -> int:
        """Nodes and switches."""
        return self.nodes + len(self.levels)

    def tiers(self) -> IntArray:
        """Return the tier of every bundle, shape (edges,)."""
        if self.tier is not None:
            return self.tier
        level = np.concatenate([np.zeros(self.nodes, np.int64), self.levels])
        return np.asarray(np.maximum(np.maximum(level[self.a], level[self.b]) - 1, 0))

    def rates(self, fabric: Fabric) -> FloatArray:
        """Return the rate of one cable of every bundle, one way [B/s], shape (edges,)."""
        return np.full(len(self.a), fabric.bytes_per_s) if self.bytes_per_s is None else self.bytes_per_s

    def latencies(self, fabric: Fabric) -> FloatArray:
        """Return the latency of every bundle [s], shape (edges,)."""
        if self.latency_s is not None:
            return self.latency_s
        at_node = (self.a < self.nodes) ^ (self.b < self.nodes)
        return np.where(at_node, fabric.latency_s / 2, fabric.hop_s)


@runtime_checkable
class Topology(Protocol):
    """The shape of a fabric; both methods are pure and raise InputError for a request that they cannot serve."""

    def size(self, request: Request) -> FabricSize:
        """Count switches and cables in closed form."""
        ...

    def wire(self, request: Request) -> Wiring:
        """List every cable; the counts equal those of :meth:`size`."""
        ...


@runtime_checkable
class Routed(Protocol):
    """A topology that knows its routes in closed form."""

    def walker(self, request: Request, links: Links, *, pooled: bool) -> Walker | None:
        """Return the walks over ``links``, or with ``pooled`` over links of its own that stand for all equal ways together.

        None where there are none in closed form for this request; the shortest paths of the table are walked then.
        """
        ...


TOPOLOGIES: Registry[Topology] = Registry("topology", "topologies")


def request_of(cluster: Cluster) -> Request | None:
    """Return what the fabric of ``cluster`` has to connect, or None where it has no fabric."""
    if cluster.fabric is None:
        return None
    ports = tuple((group.total, group.nics) for group in cluster.groups.values())
    places = tuple(group.location for group in cluster.groups.values())
    tiers = cluster.storage.values()
    stands = tuple(tier.location for tier in tiers)
    return Request(cluster.fabric, ports, tuple(tier.ports for tier in tiers), tuple(cluster.groups), places, stands)
