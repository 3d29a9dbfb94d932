"""Tori, meshes, hypercubes and dragonflies: closed forms against the graph, routes against networkx."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cluster.graph import bisection_bytes_per_s, counts, graph, path_bandwidth
from hpcsim.cluster.parts import Cluster, Fabric, NodeGroup
from hpcsim.cluster.routing import router
from hpcsim.cluster.topologies import TOPOLOGIES, request_of
from hpcsim.cluster.torus import cubic_axes
from hpcsim.testing.topologies import check_routes, check_topology


def machine(nodes: int, ports: int = 1, **values: Any) -> Cluster:
    group = NodeGroup(name="g", path="p", count=nodes, nics=ports, nic_bytes_per_s=1e9)
    fabric = Fabric(**{"link": "t", "bytes_per_s": 1e9, "latency_s": 1e-6, "hop_s": 1e-7, **values})
    return Cluster(groups={"g": group}, fabric=fabric)


def code(cluster: Cluster) -> str:
    request = request_of(cluster)
    assert request is not None
    with pytest.raises(InputError) as error:
        TOPOLOGIES.get(request.fabric.topology).size(request)
    return error.value.problems[0].code


def check(cluster: Cluster) -> Any:
    """Check conformance, counts and routes; return the size and the graph."""
    request = request_of(cluster)
    assert request is not None
    topology = TOPOLOGIES.get(request.fabric.topology)
    assert check_topology(topology, [request]) == 1
    check_routes(topology, request)
    size, g = topology.size(request), graph(cluster, devices=False)
    assert (counts(g).switches, counts(g).fabric_cables) == (size.switches, tuple(n for n in size.cables if n))
    return size, g


def distances(g: Any, nodes: int, weight: str | None = None) -> np.ndarray:
    found = dict(nx.all_pairs_shortest_path_length(g)) if weight is None else dict(nx.all_pairs_dijkstra_path_length(g, weight=weight))
    return np.array([[found[f"g/{a}"][f"g/{b}"] for b in range(nodes)] for a in range(nodes)])


def lengths(cluster: Cluster, routing: str = "minimal") -> np.ndarray:
    n = cluster.nodes
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    apart = a != b
    paths = router(cluster, routing).routes(a[apart], b[apart])
    table = np.zeros((n, n), dtype=np.int64)
    table[a[apart][paths.pair], b[apart][paths.pair]] = np.diff(paths.routes.first)
    return table


@pytest.mark.parametrize(
    ("axes", "wrap", "hosts"),
    [((4, 3), (True,), 0), ((4, 4, 2), (True, True, False), 0), ((5,), (False,), 0), ((3, 4), (True, False), 2), ((6, 1, 2), (True,), 0)],
)
def test_torus(axes, wrap, hosts):
    nodes = math.prod(axes) * max(hosts, 1)
    cluster = machine(nodes, 2 if hosts else 2 * len(axes), topology="torus", axes=axes, wrap=wrap, hosts=hosts or None)
    size, g = check(cluster)
    far = distances(g, nodes)
    assert (lengths(cluster) == far).all()
    assert size.diameter == far.max()
    if size.bisection_bytes_per_s is not None:
        assert bisection_bytes_per_s(g) == pytest.approx(size.bisection_bytes_per_s)


@settings(max_examples=25, deadline=None)
@given(axes=st.lists(st.integers(1, 4), min_size=1, max_size=3), data=st.data())
def test_any_torus_is_routed_shortest(axes, data):
    nodes = math.prod(axes)
    assume(nodes > 1)
    wrap = tuple(data.draw(st.lists(st.booleans(), min_size=len(axes), max_size=len(axes))))
    parallel = tuple(data.draw(st.lists(st.integers(1, 2), min_size=len(axes), max_size=len(axes))))
    cluster = machine(nodes, 4 * len(axes), topology="torus", axes=tuple(axes), wrap=wrap, parallel=parallel)
    size, g = check(cluster)
    far = distances(g, nodes)
    for routing in ("minimal", "ecmp", "spray"):
        assert (lengths(cluster, routing) == far).all()
    assert size.diameter == far.max()
    if size.bisection_bytes_per_s is not None:
        assert bisection_bytes_per_s(g) == pytest.approx(size.bisection_bytes_per_s)


def test_twist_shortens_the_longest_way():
    """A k × 2k torus whose short axis closes with a shift of k has a smaller diameter (Cámara et al., TPDS 2010)."""
    plain, twisted = (machine(32, 4, topology="torus", axes=(4, 8), twist=t) for t in (0, 4))
    far = [lengths(c).max() for c in (plain, twisted)]
    assert far == [distances(graph(c, devices=False), 32).max() for c in (plain, twisted)]
    assert far[1] < far[0] == 6


def test_optical_cubes_close_axes_of_whole_cubes():
    """A TPU slice closes an axis exactly where it is a multiple of four."""
    whole = machine(64, 6, topology="torus", axes=(4, 4, 4), cube=4)
    size, _ = check(whole)
    assert size.cables == (64, 64, 64)
    half = machine(32, 6, topology="torus", axes=(4, 4, 2), cube=4)
    assert check(half)[0].cables == (32, 32, 16)
    assert code(machine(96, 6, topology="torus", axes=(6, 4, 4), cube=4)) == "torus-cube"
    assert cubic_axes(8960, 3, unit=4) == (28, 20, 16)


def test_axis_of_torus_gives_all_its_links():
    cluster = machine(8, 4, topology="torus", axes=(8,), parallel=(2,))
    assert path_bandwidth(graph(cluster, devices=False), "g/0", "g/3") == 4e9
    paths = router(cluster, "minimal").routes([0], [3])
    assert paths.share.tolist() == [0.5, 0.5]


def test_opposite_ends_take_both_ways_round():
    cluster = machine(8, 2, topology="torus", axes=(8,))
    r = router(cluster, "minimal")
    paths = r.routes(np.arange(8), (np.arange(8) + 4) % 8)
    assert np.bincount(paths.routes.links, minlength=r.links.count).tolist() == [2] * 16, "halves go each way round"


@pytest.mark.parametrize("nodes", [2, 8, 32])
def test_hypercube(nodes):
    cluster = machine(nodes, 5, topology="hypercube")
    size, g = check(cluster)
    dims = nodes.bit_length() - 1
    assert (size.diameter, sum(size.cables)) == (dims, nodes * dims // 2)
    far = np.array([[bin(a ^ b).count("1") for b in range(nodes)] for a in range(nodes)])
    assert (lengths(cluster) == far).all()
    assert size.bisection_bytes_per_s == bisection_bytes_per_s(g) == nodes / 2 * 1e9


@pytest.mark.parametrize(("nodes", "ports", "each"), [(4, 3, 1), (5, 8, 2), (2, 3, 3)])
def test_full_mesh_gives_a_pair_its_cable_alone(nodes, ports, each):
    cluster = machine(nodes, ports, topology="full-mesh")
    size, g = check(cluster)
    assert size.cables == (nodes * (nodes - 1) // 2 * each,)
    assert (lengths(cluster) == distances(g, nodes)).all()
    if size.bisection_bytes_per_s is not None:
        assert bisection_bytes_per_s(g) == size.bisection_bytes_per_s


def heavy_global(cluster: Cluster) -> Any:
    """The graph with a weight that makes one global cable dearer than any way inside groups."""
    g = graph(cluster, devices=False)
    for _, _, edge in g.edges(data=True):
        edge["hops"] = 1000 if edge["level"] == 3 else 1
    return g


@pytest.mark.parametrize("name", ["dragonfly", "dragonfly+"])
@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 6),
    routers=st.integers(1, 4),
    spines=st.integers(1, 3),
    hosts=st.integers(1, 2),
    cables=st.integers(1, 4),
    missing=st.integers(0, 3),
    ports=st.integers(1, 2),
)
def test_any_dragonfly_takes_the_shortest_way_with_one_global_cable(name, groups, routers, spines, hosts, cables, missing, ports):
    nodes = groups * routers * hosts - missing
    assume(nodes > 1 and -(-nodes // (routers * hosts)) == groups)
    values = {"groups": groups, "routers": routers, "hosts": hosts, "global_cables": cables, "spines": spines}
    cluster = machine(nodes, ports, topology=name, **values)
    size, g = check(cluster)
    assert sum(size.cables[2:]) == groups * (groups - 1) // 2 * cables
    far = distances(heavy_global(cluster), nodes, "hops")
    far = far // 1000 + far % 1000
    for routing in ("minimal", "ecmp"):
        assert (lengths(cluster, routing) == far).all()
    assert size.diameter == far.max()
    if size.bisection_bytes_per_s is not None:
        assert bisection_bytes_per_s(g) <= size.bisection_bytes_per_s * (1 + 1e-9)


def test_balanced_dragonfly_of_kim():
    """a = 2p = 2h, g = ah + 1 groups: one cable between any two groups, every port used, N = ap(ah + 1) (Kim et al., ISCA 2008)."""
    p = h = 2
    a = 2 * p
    groups = a * h + 1
    cluster = machine(a * p * groups, 1, topology="dragonfly", routers=a, hosts=p, global_cables=1, radix=p + a - 1 + h)
    size, g = check(cluster)
    assert (size.switches, size.oversubscription, size.diameter) == ((a * groups,), 1.0, 5)
    ports = {v: sum(e["cables"] for _, _, e in g.edges(v, data=True)) for v, k in g.nodes(data="kind") if k == "switch"}
    assert set(ports.values()) == {p + a - 1 + h}


def test_even_dragonfly_is_cut_at_its_global_cables():
    cluster = machine(32, 1, topology="dragonfly", routers=4, hosts=2, global_cables=2)
    size, g = check(cluster)
    assert size.bisection_bytes_per_s == bisection_bytes_per_s(g) == 8e9


def test_adaptive_detours_where_one_group_sends_to_one_other():
    """The pattern that minimal routing is worst at: a whole group to the next; Valiant and adaptive spread it over other groups."""
    from hpcsim.cost.maxmin import fair_rates

    cluster = machine(72, 1, topology="dragonfly", routers=4, hosts=2, global_cables=1)
    source = np.arange(72)
    target = (source + 8) % 72
    mean = {}
    for routing in ("minimal", "valiant", "adaptive"):
        r = router(cluster, routing)
        paths = r.routes(source, target)
        mean[routing] = fair_rates(r.links.capacity_bytes_per_s, paths.routes).mean()
    assert mean["minimal"] < 0.2e9, "eight nodes share one cable"
    assert mean["valiant"] > 2 * mean["minimal"]
    assert mean["adaptive"] > 2 * mean["minimal"]


@pytest.mark.parametrize(
    ("nodes", "ports", "values", "expected"),
    [
        (10, 4, {"topology": "torus", "axes": (3, 3)}, "torus-axes"),
        (9, 3, {"topology": "torus", "axes": (3, 3)}, "grid-ports"),
        (9, 4, {"topology": "torus", "axes": (3, 3), "wrap": (True, False, True)}, "torus-form"),
        (16, 4, {"topology": "torus", "axes": (4, 4), "twist": 4}, "torus-twist"),
        (12, 4, {"topology": "hypercube"}, "hypercube-size"),
        (16, 3, {"topology": "hypercube"}, "grid-ports"),
        (5, 3, {"topology": "full-mesh"}, "grid-ports"),
        (8, 1, {"topology": "dragonfly", "hosts": 2}, "dragonfly-shape"),
        (80, 1, {"topology": "dragonfly", "hosts": 2, "routers": 4, "groups": 3, "global_cables": 1}, "dragonfly-room"),
        (80, 1, {"topology": "dragonfly", "hosts": 2, "routers": 4}, "dragonfly-shape"),
        (80, 1, {"topology": "dragonfly", "hosts": 2, "routers": 4, "global_cables": 1, "radix": 6}, "dragonfly-ports"),
        (80, 1, {"topology": "dragonfly+", "hosts": 2, "routers": 4, "global_cables": 1}, "dragonfly-shape"),
    ],
)
def test_impossible_shapes_are_refused(nodes, ports, values, expected):
    cluster = machine(nodes, ports, **values)
    assert code(cluster) == expected
    request = request_of(cluster)
    with pytest.raises(InputError) as error:
        TOPOLOGIES.get(request.fabric.topology).size(request)
    assert error.value.problems[0].hint
