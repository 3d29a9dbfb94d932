"""The graph of a cluster, and what is read off it."""

from __future__ import annotations

import math
import time

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cluster.graph import bisection_bytes_per_s, counts, graph, oversubscription, path_bandwidth, path_latency_s
from hpcsim.cluster.parts import Accelerator, Cluster, Fabric, NodeGroup, StorageTier
from hpcsim.cluster.topologies import TOPOLOGIES, request_of

RATE = 25e9
DEVICE = Accelerator(id="a100-sxm-80gb", category="gpu", scale_up_bytes_per_s=300e9, scale_up_link="nvlink3", host_bytes_per_s=31e9)


def cluster(*groups: NodeGroup, storage: tuple[StorageTier, ...] = (), fabric: bool = True, **values: object) -> Cluster:
    parameters = {"topology": "fat-tree", "link": "hdr", "bytes_per_s": RATE, "latency_s": 2e-6, "hop_s": 1e-7, **values}
    return Cluster(
        groups={g.name: g for g in groups},
        fabric=Fabric(**parameters) if fabric else None,  # type: ignore[arg-type]
        storage={t.name: t for t in storage},
    )


def group(name: str = "gpu", count: int = 4, **values: object) -> NodeGroup:
    return NodeGroup(**{"name": name, "path": f"cluster.nodes.{name}", "count": count, "nic_bytes_per_s": RATE, **values})  # type: ignore[arg-type]


def tier(name: str = "scratch", **values: object) -> StorageTier:
    base = {"name": name, "kind": "lustre", "path": f"cluster.storage.{name}", "read_bytes_per_s": 100e9, "write_bytes_per_s": 40e9}
    return StorageTier(**{**base, **values})  # type: ignore[arg-type]


def devices(count: int = 4, **values: object) -> NodeGroup:
    return group(count=count, **{"accelerator": DEVICE, "per_node": 8, "domain": 8, "nics": 4, "cores": 128, **values})


def test_devices_and_links_of_a_node():
    g = graph(cluster(devices(2), topology="single-switch"))
    found = counts(g)
    assert found.vertices == {"cpu": 2, "device": 16, "nic": 8, "node": 2, "scale-up": 2, "switch": 1}
    assert found.cables == {"nic": 8, "nvlink": 16, "pcie": 2 + 16 + 8}
    assert g.edges["gpu/0/device/3", "gpu/scale-up/0"]["bytes_per_s"] == 300e9
    assert g.edges["gpu/0", "gpu/0/device/3"] == {"kind": "pcie", "bytes_per_s": 31e9, "latency_s": 0.0, "cables": 1}
    assert g.edges["gpu/1/nic/2", "switch/1/0"]["bytes_per_s"] == RATE
    assert nx.is_connected(g)


def test_every_edge_is_typed():
    g = graph(cluster(devices(3), group("cpu", 2, cores=64), storage=(tier(ports=2),), topology="fat-tree", radix=16))
    for _, _, edge in g.edges(data=True):
        assert edge["kind"] in {"pcie", "nvlink", "nic", "fabric", "storage"}
        assert edge["bytes_per_s"] > 0
        assert edge["latency_s"] >= 0
        assert edge["cables"] >= 1
    assert {kind for _, kind in g.nodes(data="kind")} == {"node", "device", "cpu", "nic", "scale-up", "switch", "storage"}


def test_scale_up_domain_over_several_nodes():
    wide = devices(6, per_node=4, domain=12)
    g = graph(cluster(wide, topology="single-switch"))
    assert counts(g).vertices["scale-up"] == 2
    assert path_bandwidth(g, "gpu/0/device/0", "gpu/2/device/3") >= 300e9
    small = graph(cluster(wide, topology="single-switch"), devices=False)
    assert counts(small).vertices == {"node": 6, "scale-up": 2, "switch": 1}
    assert small.edges["gpu/3", "gpu/scale-up/1"]["bytes_per_s"] == 4 * 300e9


def test_devices_without_scale_up_meet_at_the_host():
    lone = Accelerator(id="l40s", category="gpu", host_bytes_per_s=31e9, scale_up_bytes_per_s=31e9, scale_up_kind="pcie")
    g = graph(cluster(devices(1, accelerator=lone), topology="single-switch"))
    assert "scale-up" not in counts(g).vertices
    assert path_bandwidth(g, "gpu/0/device/0", "gpu/0/device/1") == 31e9


def test_spares_stand_on_the_fabric():
    g = graph(cluster(group(count=3, spares=2), topology="single-switch"), devices=False)
    assert [g.nodes[f"gpu/{i}"]["spare"] for i in range(5)] == [False, False, False, True, True]


def test_without_fabric_nodes_are_alone():
    g = graph(cluster(group(count=3, nic_bytes_per_s=None), storage=(tier(),), fabric=False))
    assert path_bandwidth(g, "gpu/0", "gpu/1") == 0.0
    assert math.isinf(path_latency_s(g, "gpu/0", "gpu/1"))
    assert bisection_bytes_per_s(g) == 0.0


def test_path_of_two_nodes_at_one_switch():
    g = graph(cluster(devices(4), topology="single-switch"))
    assert path_bandwidth(g, "gpu/0", "gpu/1") == 4 * RATE
    # a device reaches the ports over its own host link and, through the scale-up switch, over those of its peers
    assert path_bandwidth(g, "gpu/0/device/0", "gpu/1/device/0") == min(4 * RATE, 8 * 31e9)
    assert path_latency_s(g, "gpu/0", "gpu/1") == pytest.approx(2e-6, rel=1e-12)


def test_path_over_the_top_adds_a_hop_for_each_further_switch():
    g = graph(cluster(group(count=8), down=(4, 2), up=(1, 4)), devices=False)
    assert path_latency_s(g, "gpu/0", "gpu/3") == pytest.approx(2e-6, rel=1e-12)
    assert path_latency_s(g, "gpu/0", "gpu/4") == pytest.approx(2e-6 + 2 * 1e-7, rel=1e-12)


def test_storage_limits_both_ways():
    g = graph(cluster(group(count=2, nics=8), storage=(tier(ports=16),), topology="single-switch"), devices=False)
    assert path_bandwidth(g, "storage/scratch", "gpu/0") == 100e9
    assert path_bandwidth(g, "gpu/0", "storage/scratch") == 40e9
    narrow = graph(cluster(group(count=2, nics=8), storage=(tier(ports=1),), topology="single-switch"), devices=False)
    assert path_bandwidth(narrow, "storage/scratch", "gpu/0") == RATE


def test_storage_ports_are_spread_over_the_top():
    g = graph(cluster(group(count=8), storage=(tier("a", ports=3), tier("b", ports=2)), down=(4, 2), up=(1, 4)), devices=False)
    tops = {v for v, data in g.nodes(data=True) if data.get("level") == 2}
    assert len(tops) == 4
    assert set(g["storage/a"]) | set(g["storage/b"]) == tops
    assert sum(edge["cables"] for _, _, edge in g.edges("storage/a", data=True)) == 3


def test_unknown_vertex():
    g = graph(cluster(group(count=2), topology="single-switch"), devices=False)
    with pytest.raises(InputError) as error:
        path_bandwidth(g, "gpu/0", "gpu/9")
    assert error.value.problems[0].code == "unknown-vertex"


@settings(max_examples=40, deadline=None)
@given(
    down=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
)
def test_bisection_is_the_narrowest_level(down, data):
    """Half of the subtrees of an even top send to the other half; the cut at each level is its cables up, by symmetry."""
    levels = len(down)
    down = [*down[:-1], 2 * down[-1]]
    up = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    parallel = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    nodes = math.prod(down)
    g = graph(
        cluster(group(count=nodes, nics=up[0] * parallel[0]), down=tuple(down), up=tuple(up), parallel=tuple(parallel)), devices=False
    )
    cuts = [nodes / 2 / math.prod(down[:i]) * math.prod(up[: i + 1]) * parallel[i] * RATE for i in range(levels)]
    assert bisection_bytes_per_s(g) == pytest.approx(min(cuts), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    down=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
)
def test_graph_counts_equal_the_closed_form(down, data):
    levels = len(down)
    up = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    parallel = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    nodes = data.draw(st.integers(1, math.prod(down)))
    c = cluster(
        group(count=nodes, nics=up[0] * parallel[0]), storage=(tier(ports=3),), down=tuple(down), up=tuple(up), parallel=tuple(parallel)
    )
    request = request_of(c)
    assert request is not None
    size = TOPOLOGIES.get("fat-tree").size(request)
    g = graph(c, devices=data.draw(st.booleans()))
    found = counts(g)
    assert found.switches == size.switches
    assert found.fabric_cables == size.cables
    assert found.cables["storage"] == size.storage_cables == 3
    assert oversubscription(g) == pytest.approx(size.oversubscription, rel=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0])
def test_oversubscription_is_honoured(ratio):
    """32 nodes a leaf of 64 ports at 1:1; at r:1 the top carries 1/r of what the nodes send."""
    n = 12 * 32
    g = graph(cluster(group(count=n), radix=64, oversubscription=ratio), devices=False)
    assert oversubscription(g) <= ratio * (1 + 1e-12)
    assert oversubscription(g) == pytest.approx(ratio, rel=0.1)
    assert bisection_bytes_per_s(g) == pytest.approx(n / 2 * RATE / oversubscription(g), rel=0.1)


def test_undersubscription_below_and_oversubscription_above():
    """Leaf 4 down, 8 up (1:2); above 8·… the ratios multiply: 0.5, then 0.5·4 = 2."""
    g = graph(cluster(group(count=32), down=(4, 4, 2), up=(1, 8, 1)), devices=False)
    assert oversubscription(g) == pytest.approx(0.5 * 4)


def test_bisection_of_a_single_switch_is_half_of_the_injection():
    g = graph(cluster(devices(6), topology="single-switch"))
    assert bisection_bytes_per_s(g) == 3 * 4 * RATE


def test_a_thousand_nodes_are_quick():
    c = cluster(devices(1024), radix=64)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        g = graph(c, devices=False)
        best = min(best, time.process_time() - start)
    assert counts(g).vertices["node"] == 1024
    assert best < 0.3


def test_order_is_the_same_each_time():
    c = cluster(devices(3), group("cpu", 2), storage=(tier(ports=5),), radix=16)
    first, again = graph(c), graph(c)
    assert list(first.nodes) == list(again.nodes)
    assert list(first.edges) == list(again.edges)
