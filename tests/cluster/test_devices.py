"""Devices on their links: counts against the graph and closed forms, routes link by link, collectives alone as the closed forms say."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import networkx as nx
import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.devices import Devices, device_links, device_torus, inside_of
from hpcsim.cluster.graph import counts, graph, path_bandwidth
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.topologies import Torus
from hpcsim.cost.algorithms import pattern, textbook
from hpcsim.cost.patterns import Pattern, Round, torus_gather
from hpcsim.engine.collectives import run_pattern_on
from hpcsim.scenario.cluster import ClusterSpec


def built(nodes: dict[str, Any], **fabric: Any) -> Cluster:
    return resolve(ClusterSpec.model_validate({"nodes": {"g": nodes}, **({"fabric": fabric} if fabric else {})}), default())


def h100(nodes: int) -> Cluster:
    fabric = {"topology": "fat-tree", "link": "400 Gbit/s", "latency": "0 s", "per_node": 8, "rails": 8, "radix": 64}
    return built({"type": "dgx-h100", "count": nodes}, **fabric)


SHAPES = {
    "nvswitch": lambda: h100(4),
    "nvl72": lambda: built({"type": "gb200-tray", "count": 20}, type="gb200-nvl72"),
    "nvl8": lambda: built({"type": "gb200-tray", "count": 5, "domain": 8}, type="gb200-nvl72"),
    "xgmi": lambda: built({"type": "mi300x-8", "count": 3}, link="ndr", per_node=8),
    "pcie": lambda: built({"accelerator": "l4", "per_node": 4, "cores": 8, "count": 3}, link="hdr", per_node=1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_routes_are_joined_end_to_end_and_links_are_counted(shape: str) -> None:
    """Every pair has a way, every link is used, and in each direction as many as the closed form says."""
    cluster = SHAPES[shape]()
    devices = Devices(cluster)
    group = cluster.groups["g"]
    fabric = devices._router.links.count if devices._router else 0
    assert devices.capacity_bytes_per_s.size == fabric + device_links(group)
    a, b = (axis.ravel() for axis in np.indices((devices.count, devices.count)))
    apart = a != b
    paths = devices.routes(a[apart], b[apart])
    assert np.allclose(np.bincount(paths.pair, paths.share), 1.0)
    assert np.unique(paths.routes.links[paths.routes.links >= fabric]).size == device_links(group)
    inside = inside_of(group)
    near = a[apart] // inside.domain == b[apart] // inside.domain
    length = np.zeros(near.size, dtype=int)
    np.maximum.at(length, paths.pair, np.diff(paths.routes.first))
    assert set(length[near]) == {1 if inside.kind == "mesh" else 2}
    assert length[~near].min() >= 4


@pytest.mark.parametrize("shape", ["nvswitch", "nvl72", "nvl8", "xgmi"])
def test_the_graph_has_the_devices_links(shape: str) -> None:
    cluster = SHAPES[shape]()
    group, g = cluster.groups["g"], graph(SHAPES[shape]())
    assert group.accelerator is not None
    joined = counts(g).cables[group.accelerator.scale_up_kind]
    hosts = group.total * group.per_node
    links = device_links(group) - 2 * hosts
    assert joined == links / 2
    if shape == "xgmi":
        assert path_bandwidth(nx.subgraph(g, [v for v in g if "/device/" in v]), "g/0/device/0", "g/0/device/1") / 1e9 == pytest.approx(448)
    if shape == "nvl72":  # 72 devices of 18 trays, then 8 of the last two
        assert counts(g).vertices["scale-up"] == 2


@pytest.mark.parametrize(("kind", "pod", "nodes"), [("tpu-v4-host", "tpu-v4-pod", 16), ("tpu-v5e-host", "tpu-v5e-pod", 16)])
def test_chips_lie_on_their_torus(kind: str, pod: str, nodes: int) -> None:
    """Cables between the chips of a host and those between hosts are together those of the torus of chips; distances are the torus's."""
    cluster = built({"type": kind, "count": nodes}, type=pod)
    request, devices = device_torus(cluster), Devices(cluster)
    assert request is not None
    grid = Torus().grid(request)
    assert cluster.fabric_size is not None
    inside = counts(graph(cluster)).cables["ici"]
    assert inside + sum(cluster.fabric_size.cables) == sum(Torus().size(request).cables)
    assert devices.capacity_bytes_per_s.size == 2 * sum(Torus().size(request).cables)
    a, b = (axis.ravel() for axis in np.indices((devices.count, devices.count)))
    apart = a != b
    lengths = np.diff(devices.routes(a[apart], b[apart]).routes.first)
    per_axis = [size // 2 if grid.closes(k) else size - 1 for k, size in enumerate(grid.axes)]
    assert lengths.max() == sum(per_axis)
    node = a // 4 == b // 4
    assert np.diff(devices.routes(a[apart & node], b[apart & node]).routes.first).max() == 2  # a block of two by two


def test_optical_switches_close_what_whole_cubes_fill() -> None:
    """64 chips of v4 are a cube that closes; 64 chips of v5e are a corner of a pod, which does not."""
    v4, v5e = (device_torus(built({"type": f"tpu-{name}-host", "count": 16}, type=f"tpu-{name}-pod")) for name in ("v4", "v5e"))
    assert v4 is not None
    assert v5e is not None
    assert (v4.fabric.axes, v4.fabric.wrap) == ((4, 4, 4), (True,) * 3)
    assert (v5e.fabric.axes, v5e.fabric.wrap) == ((8, 8), (False, False))


@pytest.mark.parametrize(("collective", "algorithm"), [("all-gather", "ring"), ("all-reduce", "ring"), ("all-to-all", "direct")])
def test_collectives_in_a_node_take_the_closed_form(collective: str, algorithm: str) -> None:
    cluster = h100(2)
    rate = cluster.groups["g"].accelerator.scale_up_bytes_per_s  # type: ignore[union-attr]
    assert rate is not None
    latency_s = cluster.groups["g"].accelerator.scale_up_latency_s or 0.0  # type: ignore[union-attr]
    keys = {"bytes_per_s": rate, "latency_s": latency_s}
    found = run_pattern_on(Devices(cluster), np.arange(8), pattern(collective, algorithm, 8, 1e9, **keys))
    assert found.seconds == pytest.approx(float(textbook(collective, 1e9, 8, algorithm=algorithm, **keys)), rel=1e-9)


@pytest.mark.parametrize("nodes", [2, 8, 40])
def test_a_hierarchical_all_reduce_takes_its_parts(nodes: int) -> None:
    """In the nodes at NVLink's rate, between them an eighth of the data over each rail at its port's."""
    cluster, n = h100(nodes), 1e9
    rate = cluster.groups["g"].accelerator.scale_up_bytes_per_s  # type: ignore[union-attr]
    found = run_pattern_on(Devices(cluster), np.arange(8 * nodes), pattern("all-reduce", "hierarchical", 8 * nodes, n, bytes_per_s=1e9))
    inside = float(textbook("reduce-scatter", n, 8, algorithm="ring", bytes_per_s=rate))
    between = float(textbook("all-reduce", n / 8, nodes, algorithm="ring", bytes_per_s=50e9))
    latency = 2 * 7 * (cluster.groups["g"].accelerator.scale_up_latency_s or 0.0)  # type: ignore[union-attr]
    assert found.seconds == pytest.approx(2 * inside + between + latency, rel=1e-9)


def test_a_bucket_all_gather_on_a_torus_takes_the_closed_form() -> None:
    """16 chips of v5e, four by four without closing: a ring's last message goes back along the axis against the others, on links of its own."""
    cluster = built({"type": "tpu-v5e-host", "count": 4}, type="tpu-v5e-pod")
    devices = Devices(cluster)
    assert cluster.fabric is not None
    rate, n = cluster.fabric.bytes_per_s, 1.6e9
    chips = np.argsort(devices._place)
    moves = Pattern(16, tuple(Round(r.src, r.dst, r.size_bytes, r.repeat) for r in torus_gather(16, n, 0.0)))
    found = run_pattern_on(devices, chips, moves)
    alone = float(textbook("all-gather", n, 16, algorithm="torus", bytes_per_s=rate))
    latency = found.seconds - alone
    assert 0 <= latency < 1e-4
    assert found.carried_bytes.max() == pytest.approx(3 * n / 16 * 4)


def test_a_pair_on_another_rail_passes_over_nvlink_first() -> None:
    """The sender hands to the device at the target's port; the message uses that rail's cables only."""
    cluster = h100(2)
    devices = Devices(cluster)
    same, cross = devices.routes([1], [9]), devices.routes([1], [14])
    links = devices._router.links  # type: ignore[union-attr]
    assert np.diff(cross.routes.first)[0] == np.diff(same.routes.first)[0] + 2
    fabric = [int(link) for link in cross.routes.links if link < links.count]
    direct = [int(link) for link in devices.routes([6], [14]).routes.links if link < links.count]
    assert fabric == direct


def test_sixteen_thousand_devices_are_lean() -> None:
    cluster = built({"type": "dgx-h100", "count": 2048}, type="dgx-superpod-h100")
    tracemalloc.start()
    began = time.process_time()
    devices = Devices(cluster)
    devices.routes(np.arange(16384), (np.arange(16384) + 8) % 16384)
    took_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert devices.count == 16384
    assert took_s < 2.0  # 0.2 s here
    assert peak < 100e6


@pytest.mark.parametrize(
    ("source", "target", "code"), [(0, 99, "device-unknown"), (3, 3, "device-to-itself"), (0, 8, "devices-without-fabric")]
)
def test_bad_pairs_are_refused(source: int, target: int, code: str) -> None:
    cluster = built({"type": "dgx-h100", "count": 2})
    with pytest.raises(InputError) as caught:
        Devices(cluster).routes([source], [target])
    assert [problem.code for problem in caught.value.problems] == [code]


def test_nodes_without_accelerators_have_none() -> None:
    with pytest.raises(InputError, match="no accelerators"):
        Devices(built({"cores": 4, "count": 2}, link="hdr"))


def test_a_mesh_pair_has_one_link_only() -> None:
    """64 GB/s of MI300X's 448: seven peers at once reach all of it."""
    devices = Devices(SHAPES["xgmi"]())
    one = run_pattern_on(devices, np.arange(8), Pattern(8, (Round(np.array([0]), np.array([1]), np.array([64e9])),)))
    every = Pattern(8, (Round(np.zeros(7, dtype=np.int64), np.arange(1, 8), np.full(7, 64e9)),))
    assert one.seconds == pytest.approx(1.0, abs=1e-4)
    assert run_pattern_on(devices, np.arange(8), every).seconds == pytest.approx(1.0, abs=1e-4)
    assert math.isclose(devices.capacity_bytes_per_s[-1], 64e9)
