"""Fabrics written out cable by cable or as GraphML, and fabrics with faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.faults import left_over
from hpcsim.cluster.graph import bisection_bytes_per_s, graph
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.routing import ROUTINGS, router
from hpcsim.cluster.topologies import TOPOLOGIES, request_of
from hpcsim.cost.maxmin import fair_rates
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.testing.topologies import check_routes, check_topology


def built(fabric: dict[str, Any], nodes: int = 8, folder: Path | None = None, **groups: int) -> Cluster:
    named = groups or {"gpu": nodes}
    data = {
        "nodes": {name: {"cores": 1, "count": count} for name, count in named.items()},
        "fabric": {"link": "100 Gbit/s", "latency": "2 us", "per_node": 1, **fabric},
    }
    return resolve(ClusterSpec.model_validate(data), default(), folder=folder)


def codes(fabric: dict[str, Any], nodes: int = 8, **rest: Any) -> list[str]:
    with pytest.raises(InputError) as error:
        built(fabric, nodes, **rest)
    assert all(problem.path.startswith("cluster.fabric") for problem in error.value.problems)
    return [problem.code for problem in error.value.problems]


TWO_LEAVES = {
    "topology": "links",
    "links": {
        "left": {"between": ["gpu/0-3", "leaf-a"]},
        "right": {"between": ["gpu/4-7", "leaf-b"]},
        "trunk": {"between": ["leaf-a", "leaf-b"], "cables": 2, "link": "200 Gbit/s"},
    },
}


def test_links_of_two_leaves():
    cluster = built(TWO_LEAVES)
    size = cluster.fabric_size
    assert size is not None
    assert (size.switches, size.cables, size.diameter) == ((2,), (8, 2), 3)
    assert size.bisection_bytes_per_s == bisection_bytes_per_s(graph(cluster, devices=False)) == 50e9
    assert size.oversubscription == 1.0
    request = request_of(cluster)
    assert request is not None
    assert check_topology(TOPOLOGIES.get("links"), [request]) == 1
    check_routes(TOPOLOGIES.get("links"), request)
    r = router(cluster, "minimal")
    paths = r.routes([0], [7])
    assert [r.links.link_name(i) for i in paths.routes.links] == [
        "gpu/0 → switch/leaf-a",
        "switch/leaf-a → switch/leaf-b",
        "switch/leaf-b → gpu/7",
    ]
    assert nx.has_path(graph(cluster, devices=False), "gpu/0", "switch/leaf-b")


def test_asymmetric_links_are_oversubscribed_by_what_they_carry():
    thin = {**TWO_LEAVES, "links": {**TWO_LEAVES["links"], "trunk": {"between": ["leaf-a", "leaf-b"], "link": "100 Gbit/s"}}}  # type: ignore[dict-item]
    size = built(thin).fabric_size
    assert size is not None
    assert size.oversubscription == 4.0
    r = router(built(thin), "minimal")
    paths = r.routes([0, 1, 2, 3, 0], [4, 5, 6, 7, 1])
    assert fair_rates(r.links.capacity_bytes_per_s, paths.routes)[:4].tolist() == [12.5e9 / 4] * 4


def test_unlike_groups_and_star_of_wildcards():
    cluster = built(
        {"topology": "links", "links": {"a": {"between": ["gpu/*", "core"]}, "b": {"between": ["cpu/*", "core"], "link": "25 Gbit/s"}}},
        gpu=3,
        cpu=2,
    )
    r = router(cluster, "minimal")
    rate = fair_rates(r.links.capacity_bytes_per_s, r.routes([0, 0], [1, 4]).routes)
    assert rate.tolist() == [12.5e9 - 3.125e9, 3.125e9]


def test_nodes_pass_on_where_they_are_joined():
    ring = {f"l{i}": {"between": [f"gpu/{i}", f"gpu/{(i + 1) % 5}"]} for i in range(5)}
    cluster = built({"topology": "links", "links": ring, "per_node": 2}, 5)
    assert cluster.fabric_size is not None
    assert cluster.fabric_size.diameter == 2
    assert router(cluster, "minimal").routes([0], [2]).routes.links.size == 2


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({}, ["links-missing"]),
        ({"a": {"between": ["gpu/0-7", "x"]}, "b": {"between": ["gpu/9", "x"]}}, ["link-end"]),
        ({"a": {"between": ["gpu/0-7", "x"]}, "b": {"between": ["x", "x"]}}, ["link-to-itself"]),
        ({"a": {"between": ["gpu/0-3", "gpu/4-6"]}}, ["link-ranges"]),
        ({"a": {"between": ["gpu/0-3", "x"]}, "b": {"between": ["gpu/4-7", "y"]}}, ["fabric-apart"]),
        ({"a": {"between": ["gpu/*", "x"]}, "b": {"between": ["gpu/0", "x"], "link": "10 Gbit/s"}}, ["link-twice"]),
        ({"a": {"between": ["gpu/*", "x"], "cables": 2}}, ["link-ports"] * 8),
        ({"a": {"between": ["gpu/*", "x"], "link": "0 Gbit/s"}}, ["link-rate"]),
        ({"a": {"between": ["gpu/99", "x"]}, "b": {"between": ["y", "y"]}}, ["link-end", "link-to-itself"]),
    ],
)
def test_wrong_links_are_refused_at_once(links, expected):
    assert codes({"topology": "links", "links": links}) == expected


def test_graphml_comes_back(tmp_path):
    cluster = built(TWO_LEAVES)
    nx.write_graphml(graph(cluster, devices=False), tmp_path / "net.graphml")
    again = built({"topology": "graphml", "file": "net.graphml"}, folder=tmp_path)
    assert again.fabric_size == cluster.fabric_size
    a, b = np.repeat(np.arange(8), 7), np.concatenate([np.delete(np.arange(8), i) for i in range(8)])
    first, second = (router(c, "minimal").routes(a, b) for c in (cluster, again))
    assert (np.diff(first.routes.first) == np.diff(second.routes.first)).all()
    assert first.latency_s == pytest.approx(second.latency_s)


def test_graphml_of_others(tmp_path):
    """Hosts marked by kind and in the order of the file, bandwidth as text, what is left out from the fabric."""
    g = nx.Graph()
    g.add_nodes_from([("s", {"kind": "switch"}), ("h1", {"kind": "host"}), ("h2", {"kind": "host"})])
    g.add_edge("s", "h1", bandwidth="40 Gbit/s")
    g.add_edge("s", "h2", cables=1, latency="3 us")
    nx.write_graphml(g, tmp_path / "x.graphml")
    cluster = built({"topology": "graphml", "file": "x.graphml"}, 2, folder=tmp_path)
    paths = router(cluster, "minimal").routes([0], [1])
    assert paths.latency_s == pytest.approx([1e-6 + 3e-6])
    assert codes({"topology": "graphml", "file": "x.graphml"}, 3, folder=tmp_path) == ["graphml-nodes"]


def test_bad_graphml_is_one_message(tmp_path):
    (tmp_path / "bad.graphml").write_text("<graphml><graph>")
    for file in ("bad.graphml", "none.graphml"):
        assert codes({"topology": "graphml", "file": file}, folder=tmp_path) == ["graphml-file"]
    assert codes({"topology": "graphml"}) == ["graphml-file"]
    g = nx.Graph()
    g.add_nodes_from([("h1", {"kind": "host"}), ("h2", {"kind": "host"}), ("s", {})])
    g.add_edge("h1", "s", bandwidth="minus one")
    g.add_edge("h2", "s", bytes_per_s=0.0)
    nx.write_graphml(g, tmp_path / "v.graphml")
    assert codes({"topology": "graphml", "file": "v.graphml"}, 2, folder=tmp_path) == ["graphml-value"] * 2


@pytest.mark.parametrize(
    ("edges", "code"),
    [
        ([], "graphml-edges"),
        ([("h1", "s", {}), ("h2", "s", {"cables": 0})], "graphml-value"),
        ([("h1", "s", {}), ("h2", "s", {"cables": 1.5})], "graphml-value"),
        ([("h1", "s", {"bytes_per_s": -1.0}), ("h2", "s", {"bytes_per_s": -1.0})], "graphml-value"),
        ([("h1", "s", {}), ("h2", "h2", {})], "link-to-itself"),
        ([("h1", "s", {})], "fabric-apart"),
    ],
)
def test_a_graph_with_a_mistake_is_one_problem(tmp_path, edges, code):
    g = nx.Graph()
    g.add_nodes_from([("h1", {"kind": "host"}), ("h2", {"kind": "host"}), ("s", {})])
    g.add_edges_from(edges)
    nx.write_graphml(g, tmp_path / "v.graphml")
    assert codes({"topology": "graphml", "file": "v.graphml"}, 2, folder=tmp_path) == [code]


def test_an_edge_to_a_vertex_that_is_not_there(tmp_path):
    g = nx.Graph([("h1", "s"), ("h2", "s"), ("h2", "ghost")])
    nx.set_node_attributes(g, {"h1": "host", "h2": "host"}, "kind")
    nx.write_graphml(g, tmp_path / "v.graphml")
    text = (tmp_path / "v.graphml").read_text()
    (tmp_path / "v.graphml").write_text(text.replace('<node id="ghost" />', ""))
    with pytest.raises(InputError) as raised:
        built({"topology": "graphml", "file": "v.graphml"}, 2, folder=tmp_path)
    assert [(p.code, "'ghost'" in p.message) for p in raised.value.problems] == [("graphml-vertex", True)]


def test_nodes_of_a_group_that_is_not_there():
    assert codes({"topology": "links", "links": {"up": {"between": ["gpu/*", "leaf"]}, "b": {"between": ["cpu/0-3", "leaf"]}}}, 4) == [
        "link-group"
    ]


TREE = {"topology": "fat-tree", "down": [4, 2], "up": [1, 4]}


def test_a_failed_cable_is_routed_around():
    cluster = built({**TREE, "failed": {"one": {"between": ["switch/1/0", "switch/2/1"]}}})
    for routing in ROUTINGS:
        r = router(cluster, routing)
        paths = r.routes(np.arange(4), np.arange(4, 8))
        assert r.links.usable[paths.routes.links].all()
        assert (np.diff(paths.routes.first) >= 4).all()
    assert cluster.fabric_size is not None
    assert cluster.fabric_size.oversubscription == pytest.approx(4 / 3), "three of four uplinks are left"
    assert any("1 have failed" in note for note in cluster.notes)


def test_a_degraded_cable_slows_what_goes_over_it():
    cluster = built({**TREE, "degraded": {"slow": {"between": ["switch/1/0", "switch/2/1"], "rate": 0.25}}})
    whole = built(TREE)
    rate = {}
    for name, c in (("slow", cluster), ("whole", whole)):
        r = router(c, "d-mod-k")
        rate[name] = fair_rates(r.links.capacity_bytes_per_s, r.routes(np.arange(4), np.arange(4, 8)).routes)
    assert sorted(rate["slow"] / rate["whole"]) == [0.25, 1.0, 1.0, 1.0]
    r = router(cluster, "adaptive")
    assert fair_rates(r.links.capacity_bytes_per_s, r.routes([0], [4]).routes)[0] == 12.5e9


def test_a_failed_switch_and_a_share_of_a_tier():
    cluster = built({**TREE, "failed": {"spine": {"vertex": "switch/2/0"}, "random": {"tier": "level-2", "share": 0.25, "seed": 3}}})
    left = router(cluster, "ecmp").links
    assert np.count_nonzero(~left.usable) in (6, 8), "two cables of the switch and two drawn, both ways, one perhaps in both"
    again = router(cluster, "ecmp").links
    assert (left.usable == again.usable).all()


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"a": {"between": ["switch/1/0", "switch/1/1"]}}, ["fault-between"]),
        ({"a": {"between": ["switch/1/0", "switch/7/1"]}, "b": {"vertex": "gpu/12"}}, ["unknown-fabric-vertex"] * 2),
        ({"a": {"tier": "level-9"}}, ["fault-tier"]),
        ({"a": {"vertex": "gpu/3"}}, ["fabric-not-joined"]),
        ({"a": {"tier": "level-2"}}, ["fabric-not-joined"]),
    ],
)
def test_wrong_faults_are_refused(faults, expected):
    assert codes({**TREE, "failed": faults}) == expected


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from(
        [
            {"topology": "fat-tree", "down": [4, 4], "up": [1, 3]},
            {"topology": "torus", "axes": [4, 4], "per_node": 4},
            {"topology": "dragonfly", "routers": 2, "hosts": 2, "global_cables": 2},
            {"topology": "hypercube", "per_node": 4},
        ]
    ),
    lost=st.integers(0, 12),
    seed=st.integers(0, 99),
    routing=st.sampled_from(["minimal", "ecmp", "spray"]),
)
def test_what_survives_is_routed_shortest(shape, lost, seed, routing):
    """After any failures every pair that the surviving cables join has a shortest route over them, and networkx agrees on its length."""
    cluster = built(shape, 16)
    whole = links_of(cluster)
    tier = whole.tiers[1] if "hosts" in whole.tiers or "level-1" in whole.tiers else whole.tiers[0]
    share = lost / 40
    broken = (
        built({**shape, "failed": {"x": {"tier": tier, "share": share, "seed": seed}}}, 16) if joined(cluster, tier, share, seed) else None
    )
    if broken is None:
        return
    r = router(broken, routing)
    alive = nx.Graph(zip(r.links.tail[r.links.usable].tolist(), r.links.head[r.links.usable].tolist()))
    if not r.links.forwards:
        alive = nx.DiGraph(alive)
        alive.remove_edges_from([(a, b) for a, b in alive.edges if a < 16 and a != 0])
    far = nx.single_source_shortest_path_length(alive, 0)
    paths = r.routes(np.zeros(15, np.int64), np.arange(1, 16))
    assert r.links.usable[paths.routes.links].all()
    assert (np.diff(paths.routes.first) == np.array([far[b] for b in range(1, 16)])[paths.pair]).all()


def joined(cluster: Cluster, tier: str, share: float, seed: int) -> bool:
    from hpcsim.cluster.parts import Fault

    links = left_over(links_of(cluster), (Fault("x", "p", None, None, tier, share, seed, None),))
    return nx.is_connected(nx.Graph(zip(links.tail[links.usable].tolist(), links.head[links.usable].tolist())))


def test_the_same_cable_twice_as_fast_never_slows_anyone():
    """I21 on a fixed set of routes: a degraded cable mended never makes the slowest flow slower."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        keep = float(rng.uniform(0.1, 0.9))
        slow = built({**TREE, "degraded": {"d": {"tier": "level-2", "share": 0.3, "seed": int(rng.integers(99)), "rate": keep}}})
        a = rng.integers(0, 8, 30)
        b = (a + rng.integers(1, 8, 30)) % 8
        rates = []
        for c in (slow, built(TREE)):
            r = router(c, "d-mod-k")
            rates.append(fair_rates(r.links.capacity_bytes_per_s, r.routes(a, b).routes).min())
        assert rates[0] <= rates[1] * (1 + 1e-12)
