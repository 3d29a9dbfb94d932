"""Several sites: the same shape at each location, joined by wide-area lines."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.graph import counts, graph
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.routing import ROUTINGS, router
from hpcsim.cluster.topologies import TOPOLOGIES, request_of
from hpcsim.run.traffic import traffic
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.testing.topologies import check_routes, check_topology

LINE = {"line": {"between": ["paris", "lyon"], "link": "10 Gbit/s", "latency": "4 ms"}}


def built(places: dict[str, tuple[int, str | None]], wan: Any = LINE, **fabric: Any) -> Cluster:
    nodes = {name: {"cores": 1, "count": count, **({"location": place} if place else {})} for name, (count, place) in places.items()}
    base = {"link": "100 Gbit/s", "latency": "2 us", "per_node": 1, "wan": wan}
    return resolve(ClusterSpec.model_validate({"nodes": nodes, "fabric": {**base, **fabric}}), default())


TWO = {"core": (12, "paris"), "edge": (3, "lyon"), "more": (2, "paris")}


@pytest.mark.parametrize(
    "shape", [{}, {"topology": "fat-tree", "radix": 8}, {"topology": "dragonfly", "routers": 2, "hosts": 2, "global_cables": 1}]
)
def test_sites_of_any_shape(shape):
    cluster = built(TWO, **shape)
    request = request_of(cluster)
    assert request is not None
    topology = TOPOLOGIES.get("sites")
    assert check_topology(topology, [request]) == 1
    check_routes(topology, request)
    size, g = cluster.fabric_size, graph(cluster, devices=False)
    assert size is not None
    assert counts(g).fabric_cables == size.cables
    far = dict(nx.all_pairs_shortest_path_length(g))
    assert size.diameter == max(far["core/0"][name] for name in ("edge/0", "edge/1", "edge/2"))
    assert size.tiers[-2:] == ("gateway", "wan")
    assert size.cables[-1] == 1


def test_a_line_is_slow_and_far_and_a_site_is_not():
    cluster = built(TWO, topology="fat-tree", radix=8)
    result = traffic(cluster, [0, 2], [1, 12], 1e9)
    near, away = result.flows.itertuples()
    assert near.end_s == pytest.approx(1e9 / 12.5e9, rel=1e-3)
    assert away.end_s == pytest.approx(4e-3 + 1e9 / 1.25e9, rel=1e-3)
    assert cluster.fabric_size is not None
    assert cluster.fabric_size.oversubscription == pytest.approx(3 * 12.5e9 / 1.25e9)


def test_storage_stands_where_it_says():
    """Each tier's cables end at switches of its location, in the table of links and in the graph, however the tiers are mixed."""
    tiers = {"a": "lyon", "b": None, "c": "paris", "d": "lyon"}
    storage = {
        name: {"type": "nvme", "read": "1 GB/s", "write": "1 GB/s", "ports": 3, **({"location": place} if place else {})}
        for name, place in tiers.items()
    }
    nodes = {name: {"cores": 1, "count": count, "location": place} for name, (count, place) in TWO.items()}
    fabric = {"link": "100 Gbit/s", "latency": "2 us", "per_node": 1, "wan": LINE, "topology": "fat-tree", "radix": 8}
    cluster = resolve(ClusterSpec.model_validate({"nodes": nodes, "fabric": fabric, "storage": storage}), default())
    g, links = graph(cluster), links_of(cluster)
    for name, place in tiers.items():
        beside = [other for other in g.neighbors(f"storage/{name}") if other.startswith("switch/")]
        assert beside
        assert all(other.startswith(f"switch/{place or 'paris'}/") for other in beside)
        mine = np.flatnonzero(links.tail == links.vertex(f"storage/{name}"))
        ends = {links.vertex_name(int(links.head[i])) for i in mine} - {f"storage/{name}/servers"}
        assert ends == set(beside)
    assert cluster.place_of(cluster.storage["b"]).name == "paris"


def test_latency_from_the_catalog_s_round_trip():
    cluster = built(TWO, {"l": {"between": ["paris", "lyon"], "link": "wan-metro"}})
    r = router(cluster, "minimal")
    assert r.routes([0], [12]).latency_s[0] == pytest.approx(0.5e-3 + 2e-6, rel=1e-6)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_three_sites_in_a_row(routing):
    wan = {
        "a": {"between": ["x", "y"], "link": "40 Gbit/s", "latency": "1 ms"},
        "b": {"between": ["y", "z"], "link": "10 Gbit/s", "latency": "2 ms", "cables": 2},
    }
    cluster = built({"p": (2, "x"), "q": (2, "y"), "r": (2, "z")}, wan)
    r = router(cluster, routing)
    paths = r.routes([0], [5])
    if routing != "valiant":
        assert paths.latency_s[0] > 3e-3
    assert np.isclose(paths.share.sum(), 1.0)


@pytest.mark.parametrize(
    ("places", "wan", "code"),
    [
        ({"a": (2, "x"), "b": (2, None)}, {"l": {"between": ["x", "x2"], "link": "1 Gbit/s"}}, ["location-missing", "unknown-location"]),
        ({"a": (2, "x"), "b": (2, "y")}, {"l": {"between": ["x", "x"], "link": "1 Gbit/s"}}, ["wan-to-itself"]),
        ({"a": (2, "x"), "b": (2, "y"), "c": (2, "z")}, {"l": {"between": ["x", "y"], "link": "1 Gbit/s"}}, ["locations-apart"]),
        ({"a": (2, "x"), "b": (2, "y")}, {}, ["wan-missing"]),
    ],
)
def test_wrong_sites_are_refused(places, wan, code):
    with pytest.raises(InputError) as error:
        built(places, wan)
    assert [problem.code for problem in error.value.problems] == code
