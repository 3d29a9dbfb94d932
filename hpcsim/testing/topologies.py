"""Conformance checks for topologies and their routes, for the authors of plug-ins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.cluster.links import tabulate
from hpcsim.cluster.parts import Fabric
from hpcsim.cluster.routing import ROUTINGS, Router
from hpcsim.cluster.topologies import Request, Routed, Topology, Wiring
from hpcsim.cluster.walks import GraphWalker

__all__ = ["check_routes", "check_topology", "sample_requests"]

_MOST_PAIRS = 2000


def sample_requests(fabric: Fabric) -> list[Request]:
    """Return requests of several sizes for ``fabric``: one node, odd and even numbers, groups with unlike ports, storage."""
    return [
        Request(fabric, ((1, 1),)),
        Request(fabric, ((2, 1),), (1,)),
        Request(fabric, ((7, 2),)),
        Request(fabric, ((16, 1), (5, 4)), (2, 3)),
        Request(fabric, ((64, 2),), (1,)),
        Request(fabric, ((5, 4), (2, 12)), (2,)),
    ]


def _reached(wiring: Wiring, start: int) -> int:
    """Return how many vertices a cable path joins to ``start``."""
    size = wiring.nodes + len(wiring.levels)
    seen = np.zeros(size, dtype=bool)
    seen[start] = True
    while True:
        grown = seen.copy()
        grown[wiring.b[seen[wiring.a]]] = True
        grown[wiring.a[seen[wiring.b]]] = True
        if (grown == seen).all():
            return int(seen.sum())
        seen = grown


def _check_wiring(topology: Topology, request: Request) -> None:
    size, wiring = topology.size(request), topology.wire(request)
    vertices = wiring.nodes + len(wiring.levels)
    assert wiring.nodes == request.nodes, "the wiring joins as many nodes as were asked for"
    assert wiring.a.shape == wiring.b.shape == wiring.cables.shape, "every bundle has two ends and a number of cables"
    ends = np.concatenate([wiring.a, wiring.b, wiring.attach])
    assert ((ends >= 0) & (ends < vertices)).all(), "cables end at vertices that exist"
    assert (wiring.a != wiring.b).all(), "no cable joins a vertex to itself"
    assert (wiring.cables >= 1).all(), "a bundle has at least one cable"
    pairs = np.sort(np.stack([wiring.a, wiring.b]), axis=0)
    assert np.unique(pairs, axis=1).shape[1] == len(wiring.a), "two vertices are joined by one bundle"
    assert len(wiring.attach) >= 1, "storage can be attached somewhere"
    assert _reached(wiring, 0) == vertices, "every node and every switch is reached"
    used = np.bincount(wiring.a, wiring.cables, vertices) + np.bincount(wiring.b, wiring.cables, vertices)
    ports = request.ports_of_nodes()
    assert (used[: wiring.nodes] <= ports).all(), "no node has more cables than ports"
    assert wiring.forwards or (used[: wiring.nodes] == ports).all(), "every port of every node is used, unless nodes pass on for others"
    assert (wiring.levels >= 1).all(), "switches are at level 1 or above"
    switches = tuple(int(n) for n in np.bincount(wiring.levels)[1:]) if len(wiring.levels) else ()
    assert switches == size.switches, "size counts the switches of each level"
    by_tier = np.bincount(wiring.tiers(), wiring.cables, len(size.cables))
    assert tuple(int(n) for n in by_tier) == size.cables, "size counts the cables of each tier"
    assert not size.tiers or wiring.names == size.tiers, "size and wire call the tiers by the same names"
    assert size.storage_cables == sum(request.storage_ports), "size counts the storage cables"
    assert size.oversubscription > 0, "oversubscription is a positive ratio"
    again = topology.wire(request)
    same = all((getattr(wiring, field) == getattr(again, field)).all() for field in ("levels", "a", "b", "cables", "attach"))
    assert same, "the same request gives the same wiring"


def check_routes(topology: Topology, request: Request) -> int:
    """Hold the routes of a topology to what every route has, under every routing.

    A route leads from its source to its target, link by link, over links that exist; the shares of a pair's sub-flows add up to 1; every way that
    is not a detour is as short as every other of its pair, and joins every pair that the cables join.

    Returns
    -------
    int
        Pairs of nodes that were looked at: all, or 2,000 of them.

    Raises
    ------
    AssertionError
        A rule is broken.
    """
    links = tabulate(topology.wire(request), request)
    pairs = np.arange(request.nodes * request.nodes)
    pairs = pairs[pairs // request.nodes != pairs % request.nodes]
    if pairs.size > _MOST_PAIRS:
        pairs = np.random.default_rng(0).choice(pairs, _MOST_PAIRS, replace=False)
    if not pairs.size:
        return 0
    source, target = pairs // request.nodes, pairs % request.nodes
    least: dict[str, np.ndarray] = {}
    for routing in ROUTINGS:
        walker = topology.walker(request, links, pooled=routing == "spray") if isinstance(topology, Routed) else None
        router = Router(walker or GraphWalker(links), routing)
        paths = router.routes(source, target)
        own, first, link = router.links, paths.routes.first, paths.routes.links
        assert (np.bincount(paths.pair, minlength=pairs.size) >= 1).all(), "every pair has a route"
        assert np.allclose(np.bincount(paths.pair, paths.share, pairs.size), 1.0), "the shares of a pair add up to 1"
        assert ((link >= 0) & (link < own.count)).all(), "links exist"
        assert (own.tail[link[first[:-1]]] == source[paths.pair]).all(), "a route begins at its source"
        assert (own.head[link[first[1:] - 1]] == target[paths.pair]).all(), "a route ends at its target"
        inner = np.ones(link.size, dtype=bool)
        inner[first[1:] - 1] = False
        at = np.flatnonzero(inner)
        assert (own.head[link[at]] == own.tail[link[at + 1]]).all(), "a route goes link by link"
        if routing not in ("valiant", "adaptive"):
            lengths = np.diff(first)
            _, port = np.unique(paths.pair * own.count + link[first[:-1]], return_inverse=True)
            shortest = np.full(int(port.max()) + 1, np.iinfo(np.int64).max)
            np.minimum.at(shortest, port, lengths)
            assert (lengths == shortest[port]).all(), "all ways of a pair over one port are as short"
            least[routing] = np.full(pairs.size, np.iinfo(np.int64).max)
            np.minimum.at(least[routing], paths.pair, lengths)
    assert all((lengths == least["minimal"]).all() for lengths in least.values()), "every routing takes ways of the same length"
    return int(pairs.size)


def check_topology(topology: Topology, requests: Iterable[Request]) -> int:
    """Hold a topology to the rules of :class:`hpcsim.cluster.topologies.Topology`.

    Parameters
    ----------
    topology : Topology
        The topology.
    requests : iterable of Request
        What to ask of it, for example :func:`sample_requests`; a request that it refuses with an InputError is passed over.

    Returns
    -------
    int
        Requests that it served.

    Raises
    ------
    AssertionError
        A rule is broken, or no request was served.
    """
    assert isinstance(topology, Topology), "a topology has the methods size and wire"
    served = 0
    for request in requests:
        try:
            topology.size(request)
        except InputError:
            continue
        _check_wiring(topology, request)
        served += 1
    assert served, "at least one request is served"
    return served
