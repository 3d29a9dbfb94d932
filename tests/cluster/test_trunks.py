"""Trunks: their capacities are those of the cables that are wired, their routes go up and down again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.topologies import TOPOLOGIES, request_of
from hpcsim.cluster.trunks import trunks_of
from hpcsim.scenario.load import load


def cluster(nodes: int, fabric: dict[str, Any] | None, storage: bool = True) -> Cluster:
    data: dict[str, Any] = {"nodes": {"w": {"count": nodes, "speed": "1 TFLOP/s"}}}
    if fabric:
        data["fabric"] = {"link": "100 Gbit/s", "latency": "1 us", **fabric}
    if storage:
        data["storage"] = {"disk": {"type": "lustre", "capacity": "1 PB", "read": "30 GB/s", "write": "20 GB/s", "ports": 2}}
    text = {"schema": 1, "name": "t", "question": "?", "cluster": data, "workload": {"tasks": {"x": {"data": "1 GB", "work": "1 TFLOP"}}}}
    return resolve(load(text).cluster, default())


@settings(max_examples=40, deadline=None)
@given(
    down=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    ways=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    ports=st.integers(1, 3),
)
def test_trunks_carry_what_their_cables_carry(down: list[int], ways: list[int], ports: int) -> None:
    nodes = int(np.prod(down))
    fabric = {"topology": "fat-tree", "down": down, "up": [1, *ways[: len(down) - 1]], "per_node": ports}
    made = cluster(nodes, fabric)
    trunks, request = trunks_of(made), request_of(made)
    assert request is not None
    wiring = TOPOLOGIES.get("fat-tree").wire(request)
    level = np.concatenate([np.zeros(nodes, int), wiring.levels])
    for at, (width, first) in enumerate(zip(trunks.width, trunks.first)):
        cables = int(wiring.cables[level[wiring.a] == at].sum())
        mine = trunks.capacity_bytes_per_s[first : first + 2 * (nodes // width)]
        assert mine[::2].sum() == mine[1::2].sum() == pytest.approx(cables * 12.5e9)
    assert len(trunks.width) == len(down)


def test_routes_go_up_to_where_the_subtrees_meet_and_down() -> None:
    trunks = trunks_of(cluster(8, {"topology": "fat-tree", "down": [2, 2, 2], "up": [1, 2, 1]}))
    routes = trunks.between(np.array([0, 0, 0]), np.array([1, 3, 7]))
    named = [[trunks.names[k] for k in routes.links[a:b]] for a, b in zip(routes.first, routes.first[1:])]
    assert named == [
        ["w/0 up", "w/1 down"],
        ["w/0 up", "level-1/0 up", "level-1/1 down", "w/3 down"],
        ["w/0 up", "level-1/0 up", "level-2/0 up", "level-2/1 down", "level-1/3 down", "w/7 down"],
    ]
    write, read = trunks.to_storage("disk", np.array([5])), trunks.from_storage("disk", np.array([5]))
    assert [trunks.names[k] for k in write.links] == ["w/5 up", "level-1/2 up", "level-2/1 up", "storage/disk in", "storage/disk write"]
    assert [trunks.names[k] for k in read.links] == [
        "storage/disk read",
        "storage/disk out",
        "level-2/1 down",
        "level-1/2 down",
        "w/5 down",
    ]


def test_a_single_switch_has_ports_alone() -> None:
    trunks = trunks_of(cluster(3, {"topology": "single-switch"}, storage=False))
    assert trunks.names == ("w/0 up", "w/0 down", "w/1 up", "w/1 down", "w/2 up", "w/2 down")
    assert trunks.between(np.array([2]), np.array([0])).links.tolist() == [4, 1]


def test_without_a_fabric_only_storage_limits() -> None:
    trunks = trunks_of(cluster(1, None))
    assert trunks.names == ("storage/disk read", "storage/disk write")
    assert trunks.to_storage("disk", np.array([0])).links.tolist() == [1]
    assert trunks.between(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).flows == 0
