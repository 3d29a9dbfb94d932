"""Conformance check for topologies, for the authors of plug-ins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.cluster.parts import Fabric
from hpcsim.cluster.topologies import Request, Topology, Wiring

__all__ = ["check_topology", "sample_requests"]


def sample_requests(fabric: Fabric) -> list[Request]:
    """Return requests of several sizes for ``fabric``: one node, odd and even numbers, groups with unlike ports, storage."""
    return [
        Request(fabric, ((1, 1),)),
        Request(fabric, ((2, 1),), (1,)),
        Request(fabric, ((7, 2),)),
        Request(fabric, ((16, 1), (5, 4)), (2, 3)),
        Request(fabric, ((64, 2),), (1,)),
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
    assert (used[: wiring.nodes] == request.ports_of_nodes()).all(), "every port of every node is used, and no more"
    levels = np.concatenate([np.zeros(wiring.nodes, np.int64), wiring.levels])
    assert (wiring.levels >= 1).all(), "switches are at level 1 or above"
    switches = tuple(int(n) for n in np.bincount(wiring.levels)[1:]) if len(wiring.levels) else ()
    assert switches == size.switches, "size counts the switches of each level"
    arriving = np.bincount(np.maximum(levels[wiring.a], levels[wiring.b]), wiring.cables)[1:]
    assert tuple(int(n) for n in arriving) == size.cables, "size counts the cables that arrive at each level"
    assert size.storage_cables == sum(request.storage_ports), "size counts the storage cables"
    assert size.oversubscription > 0, "oversubscription is a positive ratio"
    again = topology.wire(request)
    same = all((getattr(wiring, field) == getattr(again, field)).all() for field in ("levels", "a", "b", "cables", "attach"))
    assert same, "the same request gives the same wiring"


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
