"""Flows through a fabric: routing as one switch, parts and prices against published totals, what has no effect is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Cluster
from hpcsim.run.fabric import fabric_tables
from hpcsim.run.traffic import PATTERNS, pattern, traffic
from hpcsim.scenario.cluster import ClusterSpec


def built(nodes: int, node: str | None = None, **fabric: Any) -> Cluster:
    group = {"type": node, "count": nodes} if node else {"cores": 1, "count": nodes}
    return resolve(ClusterSpec.model_validate({"nodes": {"gpu": group}, "fabric": fabric}), default())


PLAIN = {"link": "100 Gbit/s", "latency": "2 us", "per_node": 1}
TREE = {**PLAIN, "topology": "fat-tree", "down": [16, 16], "up": [1, 16]}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_send_to_others(name):
    a, b = pattern(name, 9, seed=3)
    assert (a != b).all()
    assert len(a) == {"all-to-all": 72, "incast": 8, "bisection": 4}.get(name, 9)
    if name in ("permutation", "shift", "neighbours"):
        assert sorted(b.tolist()) == list(range(9))


def test_ecmp_against_spray_on_one_fabric():
    """The known loss: in a permutation over a full-bandwidth tree, hashed flows collide and the slowest gets a third or less; sprayed ones all get their port."""
    cluster = built(256, **TREE)
    a, b = pattern("permutation", 256, seed=1)
    slow = {r: traffic(cluster, a, b, 1e9, routing=r).summary for r in ("ecmp", "spray", "d-mod-k", "adaptive")}
    alone_s = 1e9 / 12.5e9
    assert slow["spray"]["makespan_s"] == pytest.approx(alone_s, rel=1e-3)
    assert slow["ecmp"]["makespan_s"] >= 2.9 * alone_s
    assert 0.5 < float(slow["ecmp"]["mean_rate_bytes_per_s"]) / 12.5e9 < 0.85
    assert slow["adaptive"]["makespan_s"] < slow["ecmp"]["makespan_s"]


def test_oversubscribed_level_slows_by_its_ratio():
    """Half of the machine to the other half over a level of 4:1: the max-min share is a quarter of a port."""
    thin = built(256, **{**TREE, "up": [1, 4]})
    a, b = pattern("bisection", 256)
    alone, shared = (traffic(c, a, b, 1e9, routing="spray").summary["makespan_s"] for c in (built(256, **TREE), thin))
    assert float(shared) / float(alone) == pytest.approx(4.0, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from(
        [
            {"topology": "fat-tree", "down": [4, 4], "up": [1, 3]},
            {"topology": "single-switch"},
            {"topology": "torus", "axes": [4, 4], "per_node": 4},
            {"topology": "dragonfly", "routers": 2, "hosts": 2, "global_cables": 2},
            {"topology": "hypercube", "per_node": 4},
        ]
    ),
    routing=st.sampled_from(["minimal", "ecmp", "spray", "adaptive", "valiant"]),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.25, 3.0]),
)
def test_invariants_of_traffic(shape, routing, seed, scale):
    """I2 what goes in comes out, on every link no more than it carries; I30 bytes and bandwidth scaled together change nothing but rates; I48 one flow alone
    takes latency + size over the narrowest link of its ways."""
    rng = np.random.default_rng(seed)
    cluster = built(16, **{**PLAIN, **shape})
    a = rng.integers(0, 16, 12)
    b = (a + rng.integers(1, 16, 12)) % 16
    size = rng.integers(1, 10**9, 12).astype(float)
    result = traffic(cluster, a, b, size, routing=routing, seed=seed)
    flows, links = result.flows, result.links
    hosts = links[links["kind"].isin(["hosts", "level-1"])]
    if len(hosts):
        up = hosts["link"].str.startswith("gpu/")
        assert hosts[up]["carried_bytes"].sum() == pytest.approx(size.sum())
        assert hosts[~up]["carried_bytes"].sum() == pytest.approx(size.sum())
    assert (links["carried_bytes"] <= links["capacity_bytes_per_s"] * float(result.summary["makespan_s"]) * (1 + 1e-9)).all()
    assert (flows["rate_bytes_per_s"] <= flows["alone_bytes_per_s"] * (1 + 1e-9)).all()
    wide = built(16, **{**PLAIN, **shape, "link": f"{100 * scale:g} Gbit/s"})
    again = traffic(wide, a, b, size * scale, routing=routing, seed=seed)
    assert again.flows["end_s"].to_numpy() == pytest.approx(flows["end_s"].to_numpy(), rel=1e-9)
    alone = traffic(cluster, a[:1], b[:1], 1e9, routing="minimal", seed=seed).flows.iloc[0]
    hops = int(alone["links"])
    expected = 2e-6 + 1e9 / alone["alone_bytes_per_s"]
    assert hops >= 1
    assert alone["end_s"] == pytest.approx(expected, rel=1e-9)


def test_a_flow_in_equal_parts_gets_more_than_whole():
    """I34: under max-min fairness k sub-flows of one flow get k shares of a link, so splitting a flow is not neutral; documented, and the reason why the
    sub-flows of a sprayed pair are pooled where the shape allows it."""
    cluster = built(4, **{**PLAIN, "topology": "fat-tree", "down": [2, 2], "up": [1, 1]})
    whole = traffic(cluster, [0, 1], [2, 3], 1e9, routing="minimal").flows["rate_bytes_per_s"]
    split = traffic(cluster, [0, 0, 0, 1], [2, 2, 2, 3], [1e9 / 3, 1e9 / 3, 1e9 / 3, 1e9], routing="minimal").flows
    assert whole.tolist() == pytest.approx([6.25e9, 6.25e9], rel=1e-3)
    assert split["end_s"].iloc[0] < 1e9 / 6.25e9
    assert 1e9 / split["end_s"].iloc[0] == pytest.approx(3 / 4 * 12.5e9, rel=1e-3)


@pytest.mark.parametrize(("nodes", "switches", "usd"), [(128, 48, 1.73e6), (4096, 2560, 92.2e6)])
def test_switches_of_a_superpod_cost_what_is_published(nodes, switches, usd):
    """A published spreadsheet of August 2024 has the switches of 128 and of 4,096 nodes with eight NDR ports at these sums."""
    cluster = built(nodes, "dgx-h100", type="dgx-superpod-h100")
    parts = fabric_tables(cluster)["fabric_parts"]
    own = parts[parts["part"] == "switch"]
    assert own["count"].sum() == switches
    assert own["price_usd"].sum() == pytest.approx(usd, rel=0.005)
    optics = parts[parts["part"] == "transceiver"]
    cables = 2 * nodes * 8 if nodes == 128 else 3 * nodes * 8
    assert optics["count"].sum() == 2 * cables, "one cable of each port on each level, two ends"
    if nodes == 128:
        assert optics["price_usd"].sum() == pytest.approx(2.62e6, rel=0.15), "cables with their optics in the same spreadsheet"


def test_prices_and_power_of_the_scenario_win():
    cluster = built(
        32,
        "dgx-h100",
        link="ndr",
        topology="fat-tree",
        radix=64,
        per_node=8,
        switch_price="10 kUSD",
        switch_power="1 kW",
        cable_price="100 USD",
        cable_power="5 W",
    )
    parts = fabric_tables(cluster)["fabric_parts"].set_index(["part", "tier"])
    assert parts.loc[("switch", "level 1"), "each_usd"] == 10_000
    assert parts.loc[("cable", "level-1"), "power_w"] == 256 * 5
    row = fabric_tables(cluster)["fabric"].iloc[0]
    assert row["power_w"] == 12 * 1000 + (256 + 256) * 5
    assert row["bisection_bytes_per_s"] == 128 * 50e9


def test_a_shape_without_effect_is_said_so():
    base = hpcsim.load("scenarios/bloom-176b.yaml")
    ideal = hpcsim.estimate(base)
    assert any("has no effect on this answer" in note for note in ideal.notes)
    switch = hpcsim.estimate(base.vary({"cluster.fabric.topology": "single-switch", "cluster.fabric.radix": None}))
    assert switch.summary["step_time_s"] == ideal.summary["step_time_s"]
    thin = hpcsim.estimate(base.vary({"cluster.fabric.oversubscription": 4}))
    assert not any("has no effect on this answer" in note for note in thin.notes)
    assert thin.summary["step_time_s"] > ideal.summary["step_time_s"]
    hurt = hpcsim.estimate(base.vary({"cluster.fabric.degraded": {"x": {"tier": "level-1", "share": "10 %", "rate": 0.5}}}))
    assert hurt.summary["step_time_s"] > ideal.summary["step_time_s"]
    assert not any("has no effect on this answer" in note for note in hurt.notes)


@pytest.mark.parametrize(("name", "nodes", "code"), [("swirl", 4, "unknown-pattern"), ("shift", 1, "pattern-nodes")])
def test_wrong_patterns_are_refused(name, nodes, code):
    with pytest.raises(InputError) as error:
        pattern(name, nodes)
    assert error.value.problems[0].code == code
