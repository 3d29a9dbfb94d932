"""Invariants of routes and flows over random graphs: shortest, fair, monotone, and bounded by what the cables carry."""

from __future__ import annotations

import dataclasses
from typing import Any

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cluster.parts import Cable, Cluster, Fabric, NodeGroup
from hpcsim.cluster.routing import router
from hpcsim.cost.algorithms import algorithms, all_reduce_lower_bound_s, pattern, textbook
from hpcsim.cost.maxmin import fair_rates
from hpcsim.engine.collectives import run_pattern_on
from hpcsim.run.traffic import traffic


@st.composite
def graphs(draw: Any) -> tuple[Cluster, nx.Graph]:
    """A connected graph of nodes that hang at switches joined at random, with unlike rates."""
    switches = draw(st.integers(1, 6))
    nodes = draw(st.integers(2, 8))
    extra = draw(st.lists(st.tuples(st.integers(0, switches - 1), st.integers(0, switches - 1)), max_size=8))
    rates = st.sampled_from([1e9, 2e9, 5e9])
    trunks = {(draw(st.integers(0, i - 1)), i): draw(rates) for i in range(1, switches)}
    trunks |= {(min(a, b), max(a, b)): draw(rates) for a, b in extra if a != b}
    cables = [Cable(f"t{a}-{b}", f"s{a}", f"s{b}", draw(st.integers(1, 2)), rate, 1e-7) for (a, b), rate in sorted(trunks.items())]
    cables += [Cable(f"n{i}", f"g/{i}", f"s{draw(st.integers(0, switches - 1))}", 1, draw(rates), 1e-6) for i in range(nodes)]
    group = NodeGroup(name="g", path="p", count=nodes, nics=1, nic_bytes_per_s=1e9)
    fabric = Fabric(topology="links", link="t", bytes_per_s=1e9, latency_s=1e-6, links=tuple(cables))
    return Cluster(groups={"g": group}, fabric=fabric), nx.Graph([(c.a, c.b) for c in cables])


def pairs(nodes: int, seed: int, flows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, nodes, flows)
    return a, (a + rng.integers(1, nodes, flows)) % nodes


@settings(max_examples=25, deadline=None)
@given(given_graph=graphs(), seed=st.integers(0, 999), routing=st.sampled_from(["minimal", "ecmp", "spray", "adaptive"]))
def test_i47_routes_are_shortest_and_shares_are_max_min(given_graph, seed, routing):
    """Routes are as short as networkx's; I47: every flow has a full link on which none has more."""
    cluster, g = given_graph
    a, b = pairs(cluster.nodes, seed, 12)
    r = router(cluster, routing, seed=seed)
    paths = r.routes(a, b)
    least = [nx.shortest_path_length(g, f"g/{x}", f"g/{y}") for x, y in zip(a.tolist(), b.tolist())]
    assert (np.diff(paths.routes.first) == np.array(least)[paths.pair]).all()
    rate = fair_rates(r.links.capacity_bytes_per_s, paths.routes)
    owner = np.repeat(np.arange(paths.pair.size), np.diff(paths.routes.first))
    load = np.bincount(paths.routes.links, rate[owner], r.links.count)
    assert (load <= r.links.capacity_bytes_per_s * (1 + 1e-9)).all()
    most = np.zeros(r.links.count)
    np.maximum.at(most, paths.routes.links, rate[owner])
    tight = (load >= r.links.capacity_bytes_per_s * (1 - 1e-9))[paths.routes.links] & (rate[owner] >= most[paths.routes.links] * (1 - 1e-9))
    assert (np.bincount(owner[tight], minlength=paths.pair.size) > 0).all()


RANKS_ALONE = sorted(name for name in algorithms("all-reduce") if name not in ("in-switch", "parameter-server"))


@settings(max_examples=40, deadline=None)
@given(given_graph=graphs(), size=st.floats(1e6, 1e9), name=st.sampled_from(RANKS_ALONE))
def test_i13_an_all_reduce_never_beats_its_lower_bound(given_graph, size, name):
    """I13: whatever the algorithm, an all-reduce that sums on the ranks takes no less than 2(n−1)/n · S over the widest port, and I2 it puts on the
    ports what its messages have."""
    cluster, _ = given_graph
    n = cluster.nodes
    r = router(cluster, "minimal")
    moves = pattern("all-reduce", name, n, size, bytes_per_s=1e9)
    run = run_pattern_on(r, np.arange(n), moves)
    assert cluster.fabric is not None
    ports = np.array([c.bytes_per_s for c in cluster.fabric.links if c.name.startswith("n")])
    assert run.seconds >= float(all_reduce_lower_bound_s(size, n, ports.max())) * (1 - 1e-9)
    sent = moves.sent_bytes()
    assert run.seconds >= float((sent / ports).max()) * (1 - 1e-9)
    assert np.allclose(np.bincount(r.links.tail, run.carried_bytes, r.links.vertices)[:n], sent, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(given_graph=graphs(), seed=st.integers(0, 999), size=st.floats(1.0, 1e12))
def test_i48_a_flow_alone_takes_the_way_and_its_narrowest_cable(given_graph, seed, size):
    """I48 over random graphs: α + S/B with the latencies of the way and the least capacity on it, and a ring of two equal nodes its closed form."""
    cluster, _ = given_graph
    a, b = pairs(cluster.nodes, seed, 1)
    r = router(cluster, "minimal")
    paths = r.routes(a, b)
    table = r.links
    narrowest = table.capacity_bytes_per_s[paths.routes.links].min()
    alpha = float(table.latency_s[paths.routes.links].sum())
    run = run_pattern_on(r, np.concatenate([a, b]), pattern("send", "direct", 2, size))
    assert np.isclose(run.seconds, alpha + size / narrowest, rtol=1e-12)
    ring = run_pattern_on(r, np.concatenate([a, b]), pattern("all-reduce", "ring", 2, size))
    back = r.routes(b, a).routes.links
    narrowest = min(narrowest, table.capacity_bytes_per_s[back].min())
    assert np.isclose(ring.seconds, float(textbook("all-reduce", size, 2, bytes_per_s=narrowest, latency_s=alpha)), rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(given_graph=graphs(), seed=st.integers(0, 999), factor=st.floats(1.0, 8.0))
def test_i21_i30_more_bandwidth_everywhere_never_hurts(given_graph, seed, factor):
    """I21 and I30 on fixed routes, all flows at once and no latency: cables faster by a factor end every flow earlier by it."""
    cluster, _ = given_graph
    assert cluster.fabric is not None
    a, b = pairs(cluster.nodes, seed, 10)

    def ends(times: float) -> np.ndarray:
        links = tuple(c._replace(bytes_per_s=c.bytes_per_s * times, latency_s=0.0) for c in cluster.fabric.links)
        changed = dataclasses.replace(cluster, fabric=dataclasses.replace(cluster.fabric, links=links))
        return traffic(changed, a, b, 1e8, routing="minimal").flows["end_s"].to_numpy()

    assert np.allclose(ends(factor) * factor, ends(1.0), rtol=1e-9)
