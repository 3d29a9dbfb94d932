"""Resolving a cluster: inline values before the catalog's, sources of what was used, every problem at once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.cluster.build import GENERIC_STORAGE, resolve
from hpcsim.cluster.parts import Cluster
from hpcsim.cost.compute import DEVICE_CLASSES
from hpcsim.scenario.load import load

JOB = {"jobs": {"synthetic": {"jobs": 10, "duration": "1 day"}}}


def build(catalog: Catalog | None = None, **cluster: Any) -> Cluster:
    scenario = load({"schema": 1, "name": "t", "question": "?", "cluster": cluster, "workload": JOB})
    return resolve(scenario.cluster, catalog or default())


def problems(**cluster: Any) -> dict[str, str]:
    with pytest.raises(InputError) as error:
        build(**cluster)
    return {p.path: p.code for p in error.value.problems}


def hints(**cluster: Any) -> str:
    with pytest.raises(InputError) as error:
        build(**cluster)
    return " ".join(f"{p.message} {p.hint}" for p in error.value.problems)


A100 = {"type": "dgx-a100-80gb", "count": 4}
FABRIC = {"link": "400 Gbit/s", "latency": "2 us"}


def test_a_catalog_node_type_brings_its_values_with_sources():
    c = build(nodes={"gpu": A100})
    group, node, device = c.groups["gpu"], default().node("dgx-a100-80gb"), default().accelerator("a100-sxm-80gb")
    assert group.accelerator is not None
    assert (group.type, group.accelerator.id, group.per_node, group.domain) == (node.id, device.id, 8, 8)
    assert group.device_count == 32
    assert group.accelerator.peak_flop_per_s["bf16"] == device.peak_flop_per_s["bf16"]
    assert group.accelerator.memory_bytes == device.memory_bytes
    assert group.cores == node.cores
    assert (group.idle_w, group.max_w) == tuple(f.value for f in default().node_power("dgx-a100-80gb"))
    used = {(row.path, row.field) for row in c.sources}
    assert ("cluster.nodes.gpu.type", "memory_bytes_per_s") in used
    assert ("cluster.nodes.gpu.type", "peak_flop_per_s.bf16") in used
    assert all(row.source and row.kind in {"read", "remembered", "derived", "measured", "given"} for row in c.sources)
    assert len(set(c.sources)) == len(c.sources)


def test_sources_for_a_precision_leave_other_rates_out():
    c = build(nodes={"gpu": A100})
    fields = {row.field for row in c.sources_for(["fp64"])}
    assert {"peak_flop_per_s.fp64", "peak_flop_per_s.fp64_tensor", "memory_bytes"} <= fields
    assert "peak_flop_per_s.bf16" not in fields


def test_inline_values_win_and_are_no_source():
    inline = {
        "base": "a100-sxm-80gb",
        "tdp": "300 W",
        "idle": "50 W",
        "peak": {"bf16": "250 TFLOP/s"},
        "memory": "64 GB",
        "scale_up": "200 GB/s",
    }
    c = build(nodes={"gpu": {**A100, "accelerator": inline, "per_node": 4, "idle_power": "700 W", "cores": 32, "memory": "1 TB"}})
    group = c.groups["gpu"]
    device = group.accelerator
    assert device is not None
    assert (device.tdp_w, device.idle_w, device.memory_bytes, device.scale_up_bytes_per_s) == (300.0, 50.0, 64e9, 200e9)
    assert device.peak_flop_per_s["bf16"] == 250e12
    assert device.peak_flop_per_s["tf32"] == default().accelerator("a100-sxm-80gb").peak_flop_per_s["tf32"]
    assert (group.per_node, group.domain, group.cores, group.memory_bytes, group.idle_w) == (4, 4, 32, 1e12, 700.0)
    fields = {row.field for row in c.sources}
    unused = {"tdp_w", "idle_w", "memory_bytes", "scale_up_bytes_per_s", "peak_flop_per_s.bf16", "cores", "base_idle_w"}
    assert not fields & unused


def test_an_inline_accelerator_needs_no_catalog():
    c = build(nodes={"x": {"count": 2, "per_node": 4, "accelerator": {"peak": {"bf16": "1 PFLOP/s"}, "memory": "96 GB"}}})
    device = c.groups["x"].accelerator
    assert device is not None
    assert (device.id, device.category, device.memory_bytes) == ("x", "", 96e9)
    assert c.sources == ()


def test_no_accelerators_where_per_node_is_zero():
    assert build(nodes={"gpu": {**A100, "per_node": 0}}).groups["gpu"].accelerator is None


def test_fabric_from_a_link_and_from_a_rate():
    c = build(nodes={"gpu": A100}, fabric={"link": "hdr"})
    assert c.fabric is not None
    link = default().link("hdr")
    assert (c.fabric.bytes_per_s, c.fabric.latency_s, c.fabric.hop_s) == (200e9 / 8, link.latency_s, link.hop_s)
    assert c.groups["gpu"].nics == default().node("dgx-a100-80gb").nics
    assert c.groups["gpu"].injection_bytes_per_s == 200e9 / 8 * c.groups["gpu"].nics
    rate = build(nodes={"gpu": A100}, fabric={**FABRIC, "per_node": 2})
    assert rate.fabric is not None
    assert (rate.fabric.bytes_per_s, rate.fabric.latency_s, rate.groups["gpu"].nics) == (50e9, 2e-6, 2)
    given = build(nodes={"gpu": A100}, fabric={"link": "hdr", "latency": "5 us"})
    assert given.fabric is not None
    assert (given.fabric.latency_s, given.fabric.hop_s) == (5e-6, 0.0)
    assert not any(row.field in ("latency_s", "hop_s") and row.path == "cluster.fabric.link" for row in given.sources)


def test_fabric_is_sized():
    c = build(
        nodes={"n": {"cores": 8, "count": 30, "spares": 2}}, fabric={**FABRIC, "topology": "fat-tree", "radix": 16, "oversubscription": 3}
    )
    assert c.fabric_size is not None
    assert c.nodes == 32
    assert c.fabric_size.cables[0] == 32
    assert c.fabric_size.oversubscription <= 3
    assert build(nodes={"n": {"cores": 8, "count": 30}}).fabric_size is None


def test_catalog_switch_decides_the_tree_where_no_radix_is_given():
    c = build(nodes={"n": {"cores": 8, "count": 100}}, fabric={"link": "hdr", "topology": "fat-tree"})
    assert c.fabric is not None
    assert c.fabric.switch_ports == default().link("hdr").switch_ports
    assert any(row.field == "switch_ports" for row in c.sources)


def test_storage_generic_and_from_the_catalog():
    entry = default().storage("frontier-orion-hdd")
    c = build(
        nodes={"n": {"cores": 8, "count": 2}},
        fabric=FABRIC,
        storage={"a": {"type": "lustre", "read": "120 GB/s", "write": "60 GB/s", "latency": "1 ms"}, "b": {"type": "frontier-orion-hdd"}},
    )
    a, b = c.storage["a"], c.storage["b"]
    assert (a.kind, a.read_bytes_per_s, a.write_bytes_per_s, a.latency_s) == ("lustre", 120e9, 60e9, 1e-3)
    assert a.ports == 2, "three would carry its 120 GB/s, but the nodes have no more than two"
    assert (b.read_bytes_per_s, b.write_bytes_per_s) == (entry.read_bytes_per_s, entry.write_bytes_per_s)
    assert {row.path for row in c.sources if row.path != "cluster.fabric"} == {"cluster.storage.b.type"}
    assert any("Storage a" in note and "ports" in note for note in c.notes)
    fixed = build(nodes={"n": {"cores": 8, "count": 2}}, storage={"a": {"type": "ceph", "read": "1 GB/s", "write": "1 GB/s", "ports": 7}})
    assert fixed.storage["a"].ports == 7
    assert set(GENERIC_STORAGE) >= {"lustre", "gpfs", "nvme", "object", "hdfs", "ceph"}


def test_storage_ports_follow_its_bandwidth():
    storage = {"a": {"type": "lustre", "read": "120 GB/s", "write": "60 GB/s"}}
    c = build(nodes={"n": {"cores": 8, "count": 20}}, fabric=FABRIC, storage=storage)
    assert c.storage["a"].ports == math.ceil(120e9 / 50e9)


def test_site_given_from_a_region_and_unknown():
    given = build(
        nodes={"n": {"cores": 1, "count": 1}}, site={"pue": 1.3, "carbon": "100 g/kWh", "electricity": "0.1 USD/kWh", "region": "USA"}
    )
    assert given.site.carbon_kg_co2e_per_j == pytest.approx(0.1 / 3.6e6)
    assert not given.sources
    region = build(nodes={"n": {"cores": 1, "count": 1}}, site={"region": "DEU"})
    assert region.site.carbon_kg_co2e_per_j == default().carbon_intensity("DEU").value
    assert region.site.electricity_usd_per_j == default().electricity_price("DEU").value
    bare = build(nodes={"n": {"cores": 1, "count": 1}})
    assert (bare.site.pue, bare.site.pue_known) == (1.0, False)
    assert any("usage effectiveness" in note for note in bare.notes)
    with pytest.raises(InputError) as error:
        bare.site.need("carbon_kg_co2e_per_j")
    assert "cluster.site.carbon" in error.value.problems[0].hint


def test_prices_of_each_form():
    c = build(
        nodes={"gpu": A100, "cpu": {"cores": 8, "count": 2}, "own": A100},
        prices={"gpu": {"provider": "aws"}, "cpu": "0.5 USD/h", "own": {"capex": "20 kUSD", "lifetime": "5 years"}},
    )
    fact = default().price(provider="aws", accelerator="a100-sxm-80gb")
    assert c.prices["gpu"].usd_per_s == (fact.value if fact.low is None else fact.low)
    assert (c.prices["gpu"].per, c.prices["gpu"].includes_electricity) == ("accelerator", True)
    assert c.prices["cpu"].usd_per_s == pytest.approx(0.5 / 3600)
    assert (c.prices["cpu"].per, c.prices["cpu"].includes_electricity) == ("node", False)
    assert (c.prices["own"].capex_usd, c.prices["own"].usd_per_s) == (20e3, None)


def test_all_problems_at_once():
    found = problems(
        nodes={
            "a": {"type": "dgx-z9", "count": 1},
            "b": {"accelerator": "h1000", "count": 1},
            "c": {"count": 1},
            "d": {**A100, "domain": 3},
        },
        fabric={"link": "infinibanana"},
        storage={"s": {"type": "lustr", "read": "1 GB/s", "write": "1 GB/s"}, "t": {"type": "gpfs", "read": "1 GB/s"}},
        site={"region": "atlantis"},
        prices={"aa": "1 USD/h"},
    )
    assert found == {
        "cluster.nodes.a.type": "unknown-catalog-name",
        "cluster.nodes.b.accelerator": "unknown-catalog-name",
        "cluster.nodes.c": "node-group-empty",
        "cluster.nodes.d.domain": "scale-up-domain",
        "cluster.fabric.link": "unknown-catalog-name",
        "cluster.storage.s.type": "unknown-storage",
        "cluster.storage.t": "missing-value",
        "cluster.site.region": "unknown-catalog-name",
        "cluster.prices.aa": "unknown-node-group",
    }


@pytest.mark.parametrize(
    ("cluster", "word"),
    [
        ({"nodes": {"a": {"type": "dgx-a100-80bg", "count": 1}}}, "did you mean"),
        ({"nodes": {"a": A100}, "storage": {"s": {"type": "lustr"}}}, "did you mean 'lustre'"),
        ({"nodes": {"a": A100}, "storage": {"s": {"type": "lustre", "read": "1 GB/s"}}}, "add cluster.storage.s.write"),
        ({"nodes": {"a": A100}, "fabric": {"link": "400 Gbit/s"}}, "add cluster.fabric.latency"),
        ({"nodes": {"a": A100}, "fabric": {**FABRIC, "topology": "fat-treee"}}, "did you mean 'fat-tree'"),
        ({"nodes": {"a": A100}, "fabric": {**FABRIC, "topology": "fat-tree"}}, "add cluster.fabric.radix"),
        ({"nodes": {"a": A100}, "prices": {"b": "1 USD/h"}}, "named here: a"),
        ({"nodes": {"a": {"accelerator": "h100-sxm", "count": 1}}}, "add cluster.nodes.a.per_node"),
    ],
)
def test_problems_say_what_to_do(cluster, word):
    assert word in hints(**cluster)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"nodes": {"a": A100}, "fabric": {"link": "400 Gbit"}}, {"cluster.fabric.link": "unknown-catalog-name"}),
        ({"nodes": {"a": A100}, "fabric": {"link": "400 Gbitt/s"}}, {"cluster.fabric.link": "unknown-unit"}),
        ({"nodes": {"a": A100}, "fabric": {"link": "0 Gbit/s", "latency": "1 us"}}, {"cluster.fabric.link": "link-rate"}),
        ({"nodes": {"a": {**A100, "idle_power": "2 kW", "max_power": "1 kW"}}}, {"cluster.nodes.a.max_power": "power-order"}),
        ({"nodes": {"a": {"accelerator": "ibm-heron-qpu", "per_node": 1, "count": 1}}}, {"cluster.nodes.a.accelerator": "quantum-refused"}),
        ({"nodes": {"a": {"cores": 1, "count": 9}}, "fabric": {**FABRIC, "radix": 8}}, {"cluster.fabric.radix": "radix-too-small"}),
    ],
)
def test_single_problems(cluster, expected):
    assert problems(**cluster) == expected


def test_need_names_the_key():
    c = build(nodes={"n": {"cores": 8, "count": 2}})
    with pytest.raises(InputError) as error:
        c.groups["n"].need("idle_w")
    problem = error.value.problems[0]
    assert (problem.code, problem.path) == ("missing-value", "cluster.nodes.n")
    assert "cluster.nodes.n.idle_power" in problem.hint
    assert c.groups["n"].need("cores") == 8
    with pytest.raises(InputError):
        c.groups["n"].need("accelerator.memory_bytes")


def test_names_of_groups_and_tiers():
    c = build(nodes={"alpha": {"cores": 8, "count": 2}})
    assert c.group("alpha").name == "alpha"
    with pytest.raises(InputError) as error:
        c.group("alfa", "workload.jobs.nodes")
    assert error.value.problems[0].path == "workload.jobs.nodes"
    assert "alpha" in error.value.problems[0].hint
    with pytest.raises(InputError):
        c.tier("scratch")


def test_node_speed():
    given = build(nodes={"n": {"cores": 8, "count": 2, "speed": "2 TFLOP/s"}}).groups["n"]
    assert given.speed_flop_per_s("fp64") == 2e12
    gpu = build(nodes={"gpu": A100}).groups["gpu"]
    device = default().accelerator("a100-sxm-80gb")
    assert gpu.speed_flop_per_s("bf16") == 8 * device.measured_matmul_flop_per_s["bf16"]
    assert gpu.speed_flop_per_s("fp64") == pytest.approx(
        8 * 19.5e12 * DEVICE_CLASSES["gpu"].matmul_frac
    )  # tensor cores: NVIDIA A100 data sheet
    with pytest.raises(InputError) as error:
        build(nodes={"n": {"cores": 8, "count": 2}}).groups["n"].speed_flop_per_s()
    assert "cluster.nodes.n.speed" in error.value.problems[0].hint


def test_overlay_catalog_is_used():
    overlay = {"node": {"lab-box": {"accelerator": "a100-sxm-80gb", "accelerators": 2, "cores": 16, "sources": {"all": "given the lab"}}}}
    c = build(Catalog([overlay]), nodes={"n": {"type": "lab-box", "count": 3}})
    assert (c.groups["n"].per_node, c.groups["n"].cores, c.groups["n"].idle_w) == (2, 16, None)
    assert any(row.kind == "given" and row.name == "lab-box" for row in c.sources)
