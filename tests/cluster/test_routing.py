"""Routes: closed forms against networkx, the shares of sub-flows, collisions, refusals, speed."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cluster.graph import graph
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import Cluster, Fabric, NodeGroup, StorageTier
from hpcsim.cluster.routing import ROUTINGS, Paths, Router, router
from hpcsim.cluster.walks import GraphWalker
from hpcsim.cost.maxmin import fair_rates

TIER = StorageTier(name="s", kind="lustre", path="p", read_bytes_per_s=7e9, write_bytes_per_s=3e9, ports=3)


def machine(nodes: int, ports: int = 1, *, storage: bool = False, **values: Any) -> Cluster:
    group = NodeGroup(name="g", path="p", count=nodes, nics=ports, nic_bytes_per_s=1e9)
    fabric = Fabric(**{"topology": "fat-tree", "link": "t", "bytes_per_s": 1e9, "latency_s": 1e-6, "hop_s": 1e-7, **values})
    return Cluster(groups={"g": group}, fabric=fabric, storage={"s": TIER} if storage else {})


def all_pairs(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(nodes), np.arange(nodes)))
    return a[a != b], b[a != b]


def check_paths(r: Router, paths: Paths, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Hold routes to what every route has: it leads from its source to its target, link by link; return the lengths."""
    links, first = r.links, paths.routes.first
    assert np.allclose(np.bincount(paths.pair, paths.share, source.size), 1.0)
    assert (np.diff(paths.pair) >= 0).all()
    assert (links.tail[paths.routes.links[first[:-1]]] == source[paths.pair]).all()
    assert (links.head[paths.routes.links[first[1:] - 1]] == target[paths.pair]).all()
    inner = np.ones(paths.routes.links.size, bool)
    inner[first[1:] - 1] = False
    at = np.flatnonzero(inner)
    assert (links.head[paths.routes.links[at]] == links.tail[paths.routes.links[at + 1]]).all()
    assert (links.capacity_bytes_per_s[paths.routes.links] > 0).all()
    return np.diff(first)


def shortest(cluster: Cluster) -> dict[str, dict[str, int]]:
    return dict(nx.all_pairs_shortest_path_length(graph(cluster, devices=False)))


SHAPES = [
    machine(40, 2, radix=8),
    machine(33, 1, radix=8, oversubscription=2.0),
    machine(30, 1, topology="single-switch"),
    machine(12, 2, down=(2, 3, 2), up=(1, 2, 1), parallel=(2, 1, 2)),
]


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("cluster", SHAPES)
def test_closed_forms_are_shortest_paths(cluster, routing):
    a, b = all_pairs(cluster.nodes)
    far = shortest(cluster)
    least = np.array([far[f"g/{x}"][f"g/{y}"] for x, y in zip(a.tolist(), b.tolist())])
    for r in (router(cluster, routing), Router(GraphWalker(links_of(cluster)), routing)):
        paths = r.routes(a, b)
        lengths = check_paths(r, paths, a, b)
        if routing == "valiant":
            assert (lengths >= least[paths.pair]).all()
        else:
            assert (lengths == least[paths.pair]).all()


@pytest.mark.parametrize("routing", ROUTINGS)
def test_storage_is_reached_through_its_servers(routing):
    cluster = machine(20, 2, storage=True, radix=8)
    r = router(cluster, routing)
    tier = r.links.vertex("storage/s")
    paths = r.routes([3, tier, 7], [tier, 4, 9])
    ends = {r.links.tail[paths.routes.links[paths.routes.first[i]]] for i in np.flatnonzero(paths.pair == 1)}
    assert ends == {tier + 1}, "the servers send"
    first = paths.routes.links[paths.routes.first[np.flatnonzero(paths.pair == 1)]]
    assert (r.links.capacity_bytes_per_s[first] == TIER.read_bytes_per_s).all()
    last = paths.routes.links[paths.routes.first[np.flatnonzero(paths.pair == 0) + 1] - 1]
    assert (r.links.capacity_bytes_per_s[last] == TIER.write_bytes_per_s).all()
    assert np.allclose(np.bincount(paths.pair, paths.share), 1.0)


def test_d_mod_k_is_free_of_collisions_for_shifts():
    """Zahavi: in a full-bandwidth tree every shift permutation has one flow on each link."""
    cluster = machine(1024, 1, down=(8, 8, 16), up=(1, 8, 8))
    r = router(cluster, "d-mod-k")
    for shift in (1, 7, 64, 500):
        paths = r.routes(np.arange(1024), (np.arange(1024) + shift) % 1024)
        assert np.bincount(paths.routes.links).max() == 1


def test_ecmp_collides_and_spray_does_not():
    """n flows thrown on m equal links: the fullest has several; a permutation's mean rate under ECMP is known to lose a third or more."""
    cluster = machine(1024, 1, down=(32, 32), up=(1, 32))
    order = np.random.default_rng(0).permutation(1024)
    source, target = np.arange(1024), np.roll(order, 1)[np.argsort(order)]
    rate = {}
    for routing in ("ecmp", "spray", "adaptive", "d-mod-k"):
        r = router(cluster, routing)
        paths = r.routes(source, target)
        rate[routing] = fair_rates(r.links.capacity_bytes_per_s, paths.routes)
    assert np.allclose(rate["spray"], 1e9)
    assert 0.45 < rate["ecmp"].mean() / 1e9 < 0.75
    assert rate["ecmp"].min() < 0.34e9
    assert rate["adaptive"].mean() > rate["ecmp"].mean()


def test_hash_differs_by_flow_and_seed_and_nothing_else():
    cluster = machine(64, 1, down=(8, 8), up=(1, 8))
    one = router(cluster, "ecmp", seed=1)
    same = one.routes([0] * 32, [63] * 32, flow=5).routes
    assert len({tuple(row) for row in same.links.reshape(32, -1).tolist()}) == 1
    many = one.routes([0] * 32, [63] * 32).routes
    assert len({tuple(row) for row in many.links.reshape(32, -1).tolist()}) > 3
    assert (one.routes([0], [63], flow=5).routes.links == same.links[:4]).all()
    other = router(cluster, "ecmp", seed=2).routes([0] * 32, [63] * 32).routes
    assert (other.links != many.links).any()


def test_a_named_port_is_one_subflow():
    cluster = machine(16, 4, down=(4, 4), up=(1, 4), parallel=(4, 4))
    r = router(cluster, "d-mod-k")
    whole, one = r.routes([0], [15]), r.routes([0], [15], port=2)
    assert (whole.routes.flows, one.routes.flows) == (4, 1)
    assert one.share.tolist() == [1.0]
    assert one.routes.links[0] == 2, "the third cable of node 0"


def test_latency_is_the_graph_s():
    cluster = machine(16, 1, down=(4, 4), up=(1, 2))
    paths = router(cluster, "d-mod-k").routes([0, 0], [1, 15])
    assert paths.latency_s == pytest.approx([1e-6, 1e-6 + 2e-7])


@pytest.mark.parametrize(
    ("source", "target", "code"), [([0, 3], [1, 3], "route-to-itself"), ([0], [99], "route-vertex"), ([-1], [2], "route-vertex")]
)
def test_bad_pairs_are_refused(source, target, code):
    with pytest.raises(InputError) as error:
        router(machine(8, 1, radix=4), "ecmp").routes(source, target)
    assert error.value.problems[0].code == code


def test_unknown_routing_is_refused():
    with pytest.raises(InputError) as error:
        router(machine(8, 1, radix=4), "hot-potato")
    assert error.value.problems[0].code == "unknown-routing"


@settings(max_examples=40, deadline=None)
@given(
    down=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
    routing=st.sampled_from(ROUTINGS),
)
def test_any_fat_tree_routes_shortest(down, data, routing):
    up = [1, *data.draw(st.lists(st.integers(1, 3), min_size=len(down) - 1, max_size=len(down) - 1))]
    parallel = data.draw(st.lists(st.integers(1, 2), min_size=len(down), max_size=len(down)))
    nodes = int(np.prod(down))
    if nodes < 2:
        return
    cluster = machine(nodes, parallel[0], down=tuple(down), up=tuple(up), parallel=tuple(parallel))
    a, b = all_pairs(nodes)
    r, oracle = router(cluster, routing), Router(GraphWalker(links_of(cluster)), "minimal")
    lengths = check_paths(r, paths := r.routes(a, b), a, b)
    least = oracle.routes(a, b, port=0).routes
    assert routing == "valiant" or (lengths == np.diff(least.first)[paths.pair]).all()


def test_eight_thousand_hosts_build_in_half_a_second():
    cluster = machine(8192, 1, radix=32)
    tracemalloc.start()
    router(cluster, "d-mod-k")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = time.process_time()
    router(cluster, "d-mod-k")
    assert time.process_time() - start < 0.5
    assert peak < 100e6


def test_the_router_alone_knows_every_shape():
    code = "from hpcsim.cluster.wiring import TOPOLOGIES; import hpcsim.cluster.routing; assert 'fat-tree' in TOPOLOGIES.names()"
    subprocess.run([sys.executable, "-c", code], check=True)
