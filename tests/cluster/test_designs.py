"""Published designs: the catalog's fabrics have the switches, groups and ratios that their owners publish; rails and planes."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.graph import bisection_bytes_per_s, counts, graph
from hpcsim.cluster.parts import Cluster, Fabric, FabricSize, NodeGroup
from hpcsim.cluster.routing import router
from hpcsim.cluster.topologies import TOPOLOGIES, FatTree, Request, request_of
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.testing.topologies import check_routes, check_topology


def built(design: str, nodes: int, node: str | None = None, **fabric: Any) -> Cluster:
    group = {"type": node, "count": nodes} if node else {"cores": 1, "count": nodes}
    return resolve(ClusterSpec.model_validate({"nodes": {"n": group}, "fabric": {"type": design, **fabric}}), default())


def test_every_design_is_built_and_routed():
    names = default().names("fabric")
    assert len(names) >= 12
    for name in names:
        nodes = {"torus": 64}.get(default().fabric(name).topology, 70)
        cluster = built(name, nodes)
        request = request_of(cluster)
        assert request is not None
        topology = TOPOLOGIES.get(request.fabric.topology)
        assert check_topology(topology, [request]) == 1
        check_routes(topology, request)


@pytest.mark.parametrize(("units", "nodes", "leaves", "spines"), [(1, 32, 8, 4), (2, 64, 16, 8), (4, 127, 32, 16)])
def test_superpod_h100(units, nodes, leaves, spines):
    """NVIDIA's table: 8 leaf and 4 spine switches a unit; four units, a node less for management, 32 and 16."""
    cluster = built("dgx-superpod-h100", nodes, "dgx-h100")
    assert cluster.fabric_size is not None
    assert cluster.fabric_size.switches == (leaves, spines)
    assert cluster.fabric_size.oversubscription == 1.0
    g = graph(cluster, devices=False)
    for k in range(8):
        assert len({v for v in g["n/0"] if v.startswith("switch/1")}) == 8, f"NIC {k} has a leaf of its own"


def test_superpod_a100():
    cluster = built("dgx-superpod-a100", 20, "dgx-a100-80gb")
    assert cluster.fabric_size is not None
    assert cluster.fabric_size.switches == (8, 4)
    assert len(built("dgx-superpod-a100", 140, "dgx-a100-80gb").fabric_size.switches) == 3, "a core layer above the units"  # type: ignore[union-attr]


def test_meta_24k():
    cluster = built("meta-24k-roce", 3072, "dgx-h100")
    size = cluster.fabric_size
    assert size is not None
    assert size.switches[0] == 1536, "a leaf switch a rack"
    assert size.oversubscription == pytest.approx(3.5, rel=0.01), "half of seven: racks have twice their nodes' capacity up"
    racks, pods = size.cables[1] / size.cables[0], size.cables[1] / size.cables[2]
    assert (racks, pods) == (2.0, pytest.approx(7.0, rel=0.01))
    assert len(built("meta-24k-roce", 384, "dgx-h100").fabric_size.switches) == 2, "one pod needs no aggregation"  # type: ignore[union-attr]


def test_hpn_has_two_planes_that_meet_nowhere():
    cluster = built("alibaba-hpn-7", 256)
    size = cluster.fabric_size
    assert size is not None
    assert size.switches == (2 * 2 * 8, 2 * 60), "sixteen leaves a segment"
    assert size.oversubscription == pytest.approx(128 * 200 / (60 * 400))
    g = graph(cluster, devices=False)
    switches = g.subgraph(v for v in g if v.startswith("switch"))
    assert nx.number_connected_components(switches) == 2
    pods = built("alibaba-hpn-7", 3840).fabric_size
    assert pods is not None
    assert pods.oversubscription > 15, "fifteen to one above the pods"


def test_megascale_is_not_oversubscribed():
    size = built("megascale", 1500).fabric_size
    assert size is not None
    assert len(size.switches) == 3
    assert size.oversubscription == 1.0


@pytest.mark.parametrize(
    ("design", "nodes", "groups", "blocking"),
    [("frontier", 9408, 74, 1.753), ("aurora", 10624, 166, 1.552), ("perlmutter", 1536, 12, None)],
)
def test_slingshot_machines(design, nodes, groups, blocking):
    size = built(design, nodes).fabric_size
    assert size is not None
    assert size.switches == (32 * groups,)
    assert size.diameter == 5
    if blocking:
        assert size.oversubscription == pytest.approx(blocking, abs=0.001), "as the owner's catalogue of systems gives it"


@pytest.mark.parametrize(
    ("design", "hosts", "chips", "wrapped"),
    [
        ("tpu-v4-pod", 1024, (16, 16, 16), True),
        ("tpu-v5p-pod", 2240, (16, 20, 28), True),
        ("tpu-v5e-pod", 64, (16, 16), True),
        ("tpu-v5e-pod", 16, (8, 8), False),
    ],
)
def test_tpu_pods(design, hosts, chips, wrapped):
    """Between hosts run the links between their chips: 3 n^3 of a torus of chips, less those inside a host of 2 × 2."""
    cluster = built(design, hosts)
    size = cluster.fabric_size
    assert size is not None
    chip_links = sum(math.prod(chips) // n * (n if wrapped else n - 1) for n in chips)
    assert sum(size.cables) == chip_links - 4 * hosts
    request = request_of(cluster)
    assert request is not None
    assert size.switches == ()


def machine(nodes: int, ports: int, **values: Any) -> Cluster:
    group = NodeGroup(name="g", path="p", count=nodes, nics=ports, nic_bytes_per_s=1e9)
    fabric = Fabric(**{"topology": "fat-tree", "link": "t", "bytes_per_s": 1e9, "latency_s": 1e-6, "hop_s": 1e-7, **values})
    return Cluster(groups={"g": group}, fabric=fabric)


def served(request: Request) -> FabricSize | None:
    """The size, or None where the switches are too small."""
    try:
        return FatTree().size(request)
    except InputError as error:
        problem = error.problems[0]
    assert problem.code == "radix-too-small"
    return None


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.integers(1, 60),
    rails=st.integers(1, 4),
    planes=st.integers(1, 2),
    each=st.integers(1, 2),
    radix=st.sampled_from([6, 8, 12, 16]),
    taper=st.sampled_from([None, (2.0,), (0.5, 2.0), (1.0, 3.0)]),
    storage=st.integers(0, 2),
)
def test_rails_and_planes(nodes, rails, planes, each, radix, taper, storage):
    cluster = machine(nodes, rails * planes * each, rails=rails, planes=planes, radix=radix, taper=taper)
    request = request_of(cluster)
    assert request is not None
    size = served(request)
    if size is None:
        return
    assert check_topology(FatTree(), [request]) == 1
    check_routes(FatTree(), request)
    g = graph(cluster, devices=False)
    assert counts(g).switches == size.switches
    used = {v: sum(e["cables"] for _, _, e in g.edges(v, data=True)) for v, k in g.nodes(data="kind") if k == "switch"}
    assert max(used.values()) <= radix
    leaves = [{v for v in g[f"g/{n}"]} for n in range(nodes)]
    assert all(len(own) == rails * planes for own in leaves)
    if nodes > 1:
        far = dict(nx.all_pairs_shortest_path_length(g))
        assert size.diameter == max(far[f"g/{a}"][f"g/{b}"] for a in range(nodes) for b in range(a))
    assert size.bisection_bytes_per_s == pytest.approx(bisection_bytes_per_s(g))


def test_a_rail_is_a_leaf_and_same_rails_meet_there():
    cluster = machine(8, 4, rails=4, down=(4, 8), up=(1, 4), parallel=(1, 1))
    r = router(cluster, "d-mod-k")
    paths = r.routes([0, 0], [3, 7], port=2)
    assert np.diff(paths.routes.first).tolist() == [2, 4]
    leaf = r.links.head[paths.routes.links[0]] - r.links.nodes
    assert leaf == 2


def test_rates_by_level_are_the_links():
    cluster = machine(8, 1, down=(4, 2), up=(1, 2), rates_bytes_per_s=(1e9, 4e9))
    size = FatTree().size(request_of(cluster))  # type: ignore[arg-type]
    assert size.oversubscription == 4 * 1 / (2 * 4)
    assert size.bisection_bytes_per_s == bisection_bytes_per_s(graph(cluster, devices=False)) == 4e9


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"rails": 3, "radix": 16}, "fabric-ports"),
        ({"rails": 4, "down": (8,), "up": (1,), "parallel": (1,)}, "fabric-too-small"),
        ({"rails": 4, "down": (8, 3), "up": (1, 4), "parallel": (1, 1)}, "fabric-too-small"),
        ({"rails": 4, "down": (64, 3), "up": (1, 4), "parallel": (1, 1)}, "fabric-rails"),
    ],
)
def test_rails_that_do_not_fit_are_refused(values, code):
    with pytest.raises(InputError) as error:
        FatTree().size(request_of(machine(16, 4, **values)))  # type: ignore[arg-type]
    assert error.value.problems[0].code == code


def test_inline_keys_override_the_design():
    assert built("frontier", 256, global_cables=2, radix=64).fabric_size.oversubscription == 512 / 146  # type: ignore[union-attr]
    other = built("frontier", 64, topology="fat-tree", radix=64)
    assert other.fabric is not None
    assert (other.fabric.link, other.fabric.routers, other.fabric.type) == ("slingshot-11", None, "")
    with pytest.raises(InputError) as error:
        built("fronteir", 64)
    assert "frontier" in error.value.problems[0].hint
