"""Invariants of fabrics and graphs that hold for any shape."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cluster.graph import bisection_bytes_per_s, counts, graph, oversubscription, path_bandwidth
from hpcsim.cluster.parts import Cluster, Fabric, NodeGroup, StorageTier
from hpcsim.cluster.topologies import TOPOLOGIES, request_of

TIER = StorageTier(name="s", kind="lustre", path="p", read_bytes_per_s=7e9, write_bytes_per_s=3e9, ports=2)


@st.composite
def clusters(draw: Any) -> Cluster:
    sizes = draw(st.lists(st.tuples(st.integers(1, 25), st.integers(1, 3)), min_size=1, max_size=3))
    groups = {
        f"g{i}": NodeGroup(name=f"g{i}", path=f"cluster.nodes.g{i}", count=count, nics=ports, nic_bytes_per_s=1e9)
        for i, (count, ports) in enumerate(sizes)
    }
    fabric = Fabric(
        topology=draw(st.sampled_from(["single-switch", "fat-tree"])),
        link="test",
        bytes_per_s=1e9,
        latency_s=1e-6,
        radix=draw(st.sampled_from([8, 12, 16, 24, 200])),
        oversubscription=draw(st.sampled_from([1.0, 2.0, 3.0])),
    )
    return Cluster(groups=groups, fabric=fabric, storage={"s": TIER} if draw(st.booleans()) else {})


def build(cluster: Cluster, *, devices: bool) -> Any:
    try:
        return graph(cluster, devices=devices)
    except InputError as error:
        problem = error.problems[0]
    assert (problem.code, bool(problem.hint)) == ("radix-too-small", True)
    return None


@settings(max_examples=60, deadline=None)
@given(cluster=clusters(), devices=st.booleans())
def test_everything_is_joined_and_counted(cluster, devices):
    g = build(cluster, devices=devices)
    if g is None:
        return
    request = request_of(cluster)
    assert request is not None
    size = TOPOLOGIES.get(request.fabric.topology).size(request)
    found = counts(g)
    assert nx.is_connected(g)
    assert found.vertices["node"] == cluster.nodes
    assert found.switches == size.switches
    assert found.fabric_cables == size.cables
    assert found.cables["nic"] == request.node_ports
    assert oversubscription(g) == pytest.approx(size.oversubscription)


@settings(max_examples=40, deadline=None)
@given(cluster=clusters())
def test_detail_does_not_change_the_fabric(cluster):
    """The collapsed and the detailed graph carry the same between any two ends."""
    coarse, fine = build(cluster, devices=False), build(cluster, devices=True)
    if coarse is None:
        return
    assert bisection_bytes_per_s(coarse) == pytest.approx(bisection_bytes_per_s(fine))
    names = [name for name, kind in coarse.nodes(data="kind") if kind == "node"]
    ends = [(names[0], names[-1])] + [("storage/s", names[0])] * ("storage/s" in coarse)
    for a, b in ends:
        assert path_bandwidth(coarse, a, b) == pytest.approx(path_bandwidth(fine, a, b))


@settings(max_examples=40, deadline=None)
@given(cluster=clusters())
def test_bandwidth_is_bounded_by_the_ends_and_the_same_both_ways(cluster):
    g = build(cluster, devices=False)
    if g is None:
        return
    names = [name for name, kind in g.nodes(data="kind") if kind == "node"]
    a, b = names[0], names[-1]
    if a != b:
        ports = [sum(edge["bytes_per_s"] for _, _, edge in g.edges(v, data=True)) for v in (a, b)]
        assert 0 < path_bandwidth(g, a, b) <= min(ports)
        assert path_bandwidth(g, a, b) == pytest.approx(path_bandwidth(g, b, a))
    injection = sum(group.total * group.injection_bytes_per_s for group in cluster.groups.values())
    assert bisection_bytes_per_s(g) <= injection
    assert math.isfinite(bisection_bytes_per_s(g))
