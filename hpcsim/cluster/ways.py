"""What jobs share of a cluster and over which links they go: the router's links, with or without a fabric, under one roof with storage.

Destination-based, minimal and adaptive routing are taken as spread evenly over all shortest ways, which they approach for the patterns of
whole jobs; on trees that pools the cables between two levels into one link. Hashed and detoured flows keep to their own cables. What
goes to and from storage is striped over its servers and so spread in any case.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.links import Links
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.routing import Router, router
from hpcsim.cost.maxmin import Routes, fair_rates

__all__ = ["Way", "Ways"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_SPREAD = ("d-mod-k", "minimal", "adaptive", "spray")


class Way(NamedTuple):
    """Routes of some pairs.

    Attributes
    ----------
    routes : Routes
        Links of every sub-flow.
    pair : array of int, shape (sub-flows,)
        Which pair each belongs to.
    share : array, shape (sub-flows,)
        Its part of the pair.
    """

    routes: Routes
    pair: IntArray
    share: FloatArray


class Ways:
    """The links of a cluster and the ways over them.

    Parameters
    ----------
    cluster : Cluster

    Attributes
    ----------
    capacity_bytes_per_s : array, shape (links,)
    offsets : dict of str to int
        Number of the first node of each group.
    collides : bool
        Whether parts of a pair that meet on a cable hold it up.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._storage = list(cluster.storage)
        self._pairs: Router | None = None
        self._spread: Router | None = None
        self.collides = cluster.fabric is not None and cluster.fabric.collides
        self.offsets: dict[str, int] = {}
        at = 0
        for group in cluster.groups.values():
            self.offsets[group.name] = at
            at += group.total
        if cluster.fabric is not None:
            routing = cluster.fabric.routing
            self._pairs = router(cluster, "spray" if routing in _SPREAD else routing, seed=cluster.fabric.hash_seed)
            self._spread = self._pairs.spread()
            self.capacity_bytes_per_s: FloatArray = self._pairs.links.capacity_bytes_per_s
        else:
            tiers = cluster.storage.values()
            self.capacity_bytes_per_s = np.array([t.read_bytes_per_s for t in tiers] + [t.write_bytes_per_s for t in tiers])

    @property
    def links(self) -> Links | None:
        """The links of the fabric; None without one."""
        return self._pairs.links if self._pairs else None

    def slowest_s(self, way: Way, size_bytes: FloatArray, capacity: FloatArray) -> FloatArray:
        """Return how long pairs take that send so much each, all at once with nobody else, shape (pairs,) [s].

        Where a hash deals a pair's parts out to cables (see ``Fabric.collides``), the last of them counts; spread parts make up for each other.
        """
        rate = fair_rates(capacity, way.routes, weight=way.share)
        seconds = np.zeros(size_bytes.size)
        if self.collides:
            np.maximum.at(seconds, way.pair, size_bytes[way.pair] * way.share / rate)
            return seconds
        return np.asarray(size_bytes / np.bincount(way.pair, rate, size_bytes.size))

    def port_capacities(self) -> FloatArray:
        """Return the capacities with nothing but the nodes' ports in the way, shape (links,) [B/s]."""
        links = self.links
        assert links is not None
        capacity = self.capacity_bytes_per_s
        return np.where(np.minimum(links.tail, links.head) < links.nodes, capacity, float(capacity[np.isfinite(capacity)].sum()))

    def name(self, link: int) -> str:
        """Return a link in words."""
        if self._pairs:
            return self._pairs.links.link_name(link)
        tiers = len(self._storage)
        return f"storage/{self._storage[link % tiers]} {'write' if link >= tiers else 'read'}"

    def kind(self, link: int) -> str:
        """Return which part of the fabric a link belongs to: a level of its switches, ``storage`` or ``server``."""
        return self._pairs.links.tiers[int(self._pairs.links.tier[link])] if self._pairs else "server"

    def between(self, source: IntArray, target: IntArray) -> Way:
        """Return the ways between pairs of different nodes; none without a fabric."""
        if self._pairs is None or not source.size:
            return _NOWHERE
        paths = self._pairs.routes(source, target)
        return Way(paths.routes, paths.pair, paths.share)

    def to_storage(self, tier: str, nodes: IntArray) -> Way:
        """Return the ways on which nodes write to a tier."""
        return self._stored(tier, nodes, write=True)

    def from_storage(self, tier: str, nodes: IntArray) -> Way:
        """Return the ways on which nodes read from a tier."""
        return self._stored(tier, nodes, write=False)

    def _stored(self, tier: str, nodes: IntArray, *, write: bool) -> Way:
        if self._spread is None:
            link = self._storage.index(tier) + (len(self._storage) if write else 0)
            every = np.arange(nodes.size)
            return Way(Routes(np.arange(nodes.size + 1), np.full(nodes.size, link)), every, np.ones(nodes.size))
        ends = np.full(nodes.size, self._spread.links.vertex(f"storage/{tier}"))
        paths = self._spread.routes(nodes, ends) if write else self._spread.routes(ends, nodes)
        return Way(paths.routes, paths.pair, paths.share)


_NOWHERE = Way(Routes(np.zeros(1, np.int64), np.empty(0, np.int64)), np.empty(0, np.int64), np.empty(0))
