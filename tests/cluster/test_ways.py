"""The links that jobs share: shares add up, storage is reached over its servers, spread and hashed ways, with and without a fabric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.ways import Way, Ways
from hpcsim.cost.maxmin import fair_rates
from hpcsim.scenario.load import load

TREE = {"topology": "fat-tree", "down": [4, 4], "up": [1, 4], "per_node": 2}


def cluster(nodes: int, fabric: dict[str, Any] | None) -> Cluster:
    data: dict[str, Any] = {"nodes": {"w": {"count": nodes, "speed": "1 TFLOP/s"}}}
    if fabric:
        data["fabric"] = {"link": "100 Gbit/s", "latency": "1 us", **fabric}
    data["storage"] = {"disk": {"type": "lustre", "capacity": "1 PB", "read": "30 GB/s", "write": "20 GB/s", "ports": 4}}
    text = {"schema": 1, "name": "t", "question": "?", "cluster": data, "workload": {"tasks": {"x": {"data": "1 GB", "work": "1 TFLOP"}}}}
    return resolve(load(text).cluster, default())


def named(ways: Ways, way: Way, pair: int) -> list[list[str]]:
    rows = zip(way.routes.first, way.routes.first[1:], way.pair)
    return [[ways.name(int(k)) for k in way.routes.links[a:b]] for a, b, p in rows if p == pair]


@pytest.mark.parametrize(
    "fabric", [TREE, {**TREE, "routing": "ecmp"}, {"topology": "single-switch"}, {"topology": "torus", "axes": [4, 4], "per_node": 4}, None]
)
def test_shares_of_a_pair_add_up(fabric: dict[str, Any] | None) -> None:
    ways = Ways(cluster(16, fabric))
    nodes = np.arange(16)
    found = [ways.to_storage("disk", nodes), ways.from_storage("disk", nodes)]
    if fabric:
        found.append(ways.between(nodes, (nodes + 5) % 16))
    for way in found:
        assert np.bincount(way.pair, way.share) == pytest.approx(np.ones(16))
        assert (np.diff(way.routes.first) >= 1).all()
        assert {ways.kind(int(k)) for k in way.routes.links} <= {*(ways.links.tiers if ways.links else ()), "server"}


def test_a_spread_pair_takes_all_ports_at_once() -> None:
    ways = Ways(cluster(16, TREE))
    way = ways.between(np.array([0]), np.array([5]))
    assert named(ways, way, 0) == [
        ["w/0 → switches/1/0", "switches/1/0 → switches/2/0", "switches/2/0 → switches/1/1", "switches/1/1 → w/5"]
    ]
    assert fair_rates(ways.capacity_bytes_per_s, way.routes, weight=way.share).sum() == pytest.approx(2 * 12.5e9)


def test_a_hashed_pair_keeps_to_single_cables() -> None:
    ways = Ways(cluster(16, {**TREE, "routing": "ecmp"}))
    way = ways.between(np.array([0]), np.array([5]))
    assert way.pair.tolist() == [0, 0]
    assert ways.capacity_bytes_per_s[way.routes.links].tolist() == [12.5e9] * way.routes.links.size


def test_storage_is_reached_over_its_servers() -> None:
    for fabric in (TREE, {**TREE, "routing": "ecmp"}):
        ways = Ways(cluster(16, fabric))
        for way, rate in ((ways.to_storage("disk", np.arange(16)), 20e9), (ways.from_storage("disk", np.arange(16)), 30e9)):
            assert fair_rates(ways.capacity_bytes_per_s, way.routes, weight=way.share).sum() == pytest.approx(rate)


def test_without_a_fabric_only_storage_limits() -> None:
    ways = Ways(cluster(1, None))
    assert ways.links is None
    assert [ways.name(k) for k in (0, 1)] == ["storage/disk read", "storage/disk write"]
    assert ways.to_storage("disk", np.array([0])).routes.links.tolist() == [1]
    assert ways.between(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).routes.flows == 0
