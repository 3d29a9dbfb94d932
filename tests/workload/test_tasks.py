"""The decomposed task: the documents' example, the five stages by hand, refusals."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.scenario.load import load
from hpcsim.workload.tasks import TaskPlan, _classes, closed_form, fluid_transfer, max_min_rates, plan_task

FABRIC = {"link": "80 Gbit/s", "latency": "0 s"}
LAKE = {"type": "object", "read": "5 GB/s", "write": "2 GB/s", "latency": "0 s"}


def plan(task: dict[str, Any], nodes: dict[str, Any] | None = None, **cluster: Any) -> TaskPlan:
    groups = nodes or {"worker": {"count": 5, "speed": "1 TFLOP/s"}}
    data = {"data": "100 GB", "work": "1 PFLOP", **task}
    scenario = load(
        {"schema": 1, "name": "t", "question": "?", "cluster": {"nodes": groups, **cluster}, "workload": {"tasks": {"x": data}}}
    )
    return plan_task("x", scenario.workload.tasks["x"], resolve(scenario.cluster, default()))


def refusal(task: dict[str, Any], nodes: dict[str, Any] | None = None, **cluster: Any) -> tuple[str, str]:
    with pytest.raises(InputError) as error:
        plan(task, nodes, **cluster)
    return error.value.problems[0].code, error.value.problems[0].path


def test_the_documents_example_as_printed():
    """100 GB on five nodes: C_i = 4 GB each, 80 GB for nobody."""
    p = plan({"partition": "printed"})
    assert p.share_bytes == pytest.approx([4e9] * 5)
    assert p.unassigned_bytes == pytest.approx(80e9)
    assert p.work_flop.sum() == pytest.approx(0.2e15)
    assert any("80 GB of 100 GB to nobody" in note for note in p.notes)


@pytest.mark.parametrize("partition", ["throughput", "equal"])
def test_the_documents_example_conserving(partition):
    p = plan({"partition": partition})
    assert p.share_bytes == pytest.approx([20e9] * 5)
    assert p.unassigned_bytes == 0
    assert p.work_flop.sum() == pytest.approx(1e15)


def test_printed_gives_the_slow_node_more():
    p = plan({"partition": "printed"}, {"a": {"count": 1, "speed": "1 TFLOP/s"}, "b": {"count": 1, "speed": "3 TFLOP/s"}})
    assert p.share_bytes == pytest.approx([0.75 * 50e9, 0.25 * 50e9])


def test_throughput_shares_finish_together():
    """Speeds 1, 2, 5 of 800: 100, 200, 500, all done after 100 (equal shares: 266.7)."""
    nodes = {k: {"count": 1, "speed": f"{v} TFLOP/s"} for k, v in (("a", 1), ("b", 2), ("c", 5))}
    task = {"data": "800 GB", "work": "800 TFLOP"}
    p = plan(task, nodes)
    assert p.share_bytes == pytest.approx([100e9, 200e9, 500e9])
    assert closed_form(p).finish_s == pytest.approx([100, 100, 100])
    assert closed_form(plan({**task, "partition": "equal"}, nodes)).makespan_s == pytest.approx(800 / 3)


def test_five_stages_by_hand():
    """100 GB cut at 10 GB/s: 10 s. Read at 5 GB/s in all: 20 s. 1 PFLOP on 5 TFLOP/s: 200 s. Of 2 GB result 1.6 GB flow to the first
    node at its 10 GB/s port: 0.16 s; merged at 2 GB/s: 1 s."""
    p = plan(
        {"from_storage": "lake", "split_rate": "10 GB/s", "result": "2 GB", "merge_rate": "2 GB/s"},
        fabric=FABRIC,
        storage={"lake": LAKE},
    )
    t = closed_form(p)
    assert (t.split_s, t.dispatch_s, t.run_s, t.merge_s) == pytest.approx((10, 20, 200, 1.16))
    assert t.makespan_s == pytest.approx(231.16)
    assert t.node_time_s == pytest.approx(1000)


def test_ports_limit_the_dispatch_where_storage_is_faster():
    fast = {**LAKE, "read": "500 GB/s"}
    p = plan({"from_storage": "lake"}, fabric={"link": "8 Gbit/s", "latency": "0 s"}, storage={"lake": fast})
    assert closed_form(p).dispatch_s == pytest.approx(20)  # 20 GB over a port of 1 GB/s


def test_storage_ports_limit_the_dispatch():
    fast = {**LAKE, "read": "500 GB/s", "ports": 1}
    p = plan({"from_storage": "lake"}, fabric=FABRIC, storage={"lake": fast})
    assert closed_form(p).dispatch_s == pytest.approx(10)  # 100 GB through one port of 10 GB/s


def test_latencies_are_paid_once():
    p = plan({"from_storage": "lake"}, fabric={"link": "80 Gbit/s", "latency": "1 ms"}, storage={"lake": {**LAKE, "latency": "9 ms"}})
    assert closed_form(p).dispatch_s == pytest.approx(20.01)


def test_more_parts_hide_the_dispatch():
    """Twenty parts: a node computes while later parts arrive, so only the first part's 1 s is left of the 20 s of dispatch."""
    storage = {"lake": LAKE}
    whole = closed_form(plan({"from_storage": "lake"}, fabric=FABRIC, storage=storage))
    parts = closed_form(plan({"from_storage": "lake", "parts_per_node": 20}, fabric=FABRIC, storage=storage))
    assert whole.makespan_s == pytest.approx(220)
    assert parts.makespan_s == pytest.approx(201)
    bound = closed_form(plan({"from_storage": "lake", "parts_per_node": 20, "work": "10 TFLOP"}, fabric=FABRIC, storage=storage))
    assert bound.makespan_s == pytest.approx(20 + 2 / 20)  # storage-bound: the last part's run follows the last arrival


def test_laws_are_named_with_both_readings():
    p = plan({"from_storage": "lake"}, fabric=FABRIC, storage={"lake": LAKE})
    run, read = p.laws
    assert "distributed" in run.law
    assert (float(run.wall_clock_s), float(run.node_time_s), float(run.literal_s)) == pytest.approx((200, 1000, 5000))
    assert "storage" in read.law
    assert float(read.wall_clock_s) == pytest.approx(20)


def test_one_node_needs_no_fabric():
    p = plan({"from_storage": "lake", "result": "1 GB"}, {"w": {"count": 1, "speed": "1 TFLOP/s"}}, storage={"lake": LAKE})
    assert closed_form(p).makespan_s == pytest.approx(20 + 1000)


@pytest.mark.parametrize("partition", ["throughput", "equal", "printed"])
def test_the_order_of_node_groups_is_no_part_of_the_task(partition):
    """Every order gives the very same plan, and results flow to where that takes least."""
    nodes = {
        "slow": {"count": 3, "speed": "1 TFLOP/s"},
        "fast": {"count": 2, "speed": "5 TFLOP/s"},
        "odd": {"count": 1, "speed": "0.7 TFLOP/s"},
    }
    task = {"from_storage": "lake", "result": "3 GB", "merge_rate": "1 GB/s", "partition": partition, "parts_per_node": 3}
    orders = list(itertools.permutations(nodes))
    plans = [plan(task, {name: nodes[name] for name in order}, fabric=FABRIC, storage={"lake": LAKE}) for order in orders]
    plans += [plan({**task, "nodes": list(order)}, nodes, fabric=FABRIC, storage={"lake": LAKE}) for order in orders]
    times = [closed_form(p) for p in plans]
    assert len({(t.makespan_s, t.merge_s, t.node_time_s, t.dispatch_s) for t in times}) == 1
    assert len({(p.groups, p.share_bytes.tobytes(), p.unassigned_bytes) for p in plans}) == 1
    p = plans[0]
    shares = {
        name: share for (name, count), share in zip(p.groups, p.share_bytes[np.cumsum([0, *(c for _, c in p.groups)][:-1])], strict=True)
    }
    whole = sum(shares[name] * count for name, count in p.groups)
    by_hand = min(
        (whole - shares[name]) / whole * 3e9 / 10e9 for name in shares
    )  # all ports are 10 GB/s: the merging node's own is the limit
    assert p.merge_s == pytest.approx(by_hand + 3.0)


def test_speed_of_devices_is_said():
    p = plan({}, {"gpu": {"type": "dgx-a100-80gb", "count": 2}})
    assert any("fp32" in note and "a100-sxm-80gb" in note for note in p.notes)


def test_spares_take_no_part():
    assert plan({}, {"w": {"count": 3, "spares": 2, "speed": "1 TFLOP/s"}}).nodes == 3


@pytest.mark.parametrize(
    ("task", "cluster", "expected"),
    [
        ({"nodes": ["worker", "nobody"]}, {}, ("unknown-node-group", "workload.tasks.x.nodes")),
        ({"nodes": ["worker", "worker"]}, {}, ("repeated-node-group", "workload.tasks.x.nodes")),
        ({"from_storage": "pond"}, {"fabric": FABRIC}, ("unknown-storage-tier", "workload.tasks.x.from_storage")),
        ({"from_storage": "lake"}, {"storage": {"lake": LAKE}}, ("fabric-missing", "workload.tasks.x.from_storage")),
        ({"result": "1 GB"}, {}, ("fabric-missing", "workload.tasks.x.result")),
        ({"nodes": ["worker"], "parts_per_node": 10_000}, {"nodes": {"worker": {"count": 1000, "speed": "1 TFLOP/s"}}}, None),
        ({}, {"nodes": {"n": {"cores": 4, "count": 2}}}, ("missing-rate", "cluster.nodes.n")),
    ],
)
def test_refusals(task, cluster, expected):
    nodes = cluster.get("nodes")
    rest = {k: v for k, v in cluster.items() if k != "nodes"}
    assert refusal(task, nodes, **rest) == (expected or ("too-many-parts", "workload.tasks.x.parts_per_node"))


def test_max_min_against_the_textbook():
    """Capacity 10 with limits 1, 3, ∞: 1, 3, 6 (Bertsekas and Gallager's water filling)."""
    rates = max_min_rates(np.array([3.0, np.inf, 1.0]), np.ones(3), 10.0)
    assert rates.tolist() == [3.0, 6.0, 1.0]
    assert max_min_rates(np.array([3.0, 4.0]), np.ones(2), np.inf).tolist() == [3.0, 4.0]


def test_fluid_transfer_by_hand():
    """10 and 30 B at 4 B/s in all: both at 2 B/s until 5 s; then the other 20 B at its limit of 3 B/s until 5 + 20/3 s."""
    flow = fluid_transfer(np.array([10.0, 30.0]), np.array([3.0, 3.0]), np.ones(2), 4.0)
    assert flow.finish_s == pytest.approx([5.0, 5.0 + 20.0 / 3.0])
    assert flow.arrival_s(1, 3) == pytest.approx([5.0, 5.0 + 10.0 / 3.0, 5.0 + 20.0 / 3.0])


def test_empty_flows_cost_nothing():
    flow = fluid_transfer(np.array([0.0, 8.0]), np.array([5.0, 5.0]), np.array([3.0, 2.0]), 8.0)
    assert flow.finish_s.tolist() == [0.0, 2.0]


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([1.0, 3.0])), min_size=1, max_size=30))
def test_classes_of_rows_are_those_of_sorting_them_all(rows):
    table = np.array(rows)
    classes, where, counts = _classes(table)
    by_sorting = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    assert np.array_equal(classes, by_sorting[0])
    assert np.array_equal(where, by_sorting[1].reshape(-1))
    assert np.array_equal(counts, by_sorting[2])


def test_a_million_equal_nodes_are_one_class():
    before = time.process_time()
    times = closed_form(plan({"work": "1 ZFLOP"}, {"w": {"count": 1_000_000, "speed": "1 TFLOP/s"}}))
    assert times.makespan_s == pytest.approx(1000.0)
    assert times.finish_s.shape == (1_000_000,)
    assert time.process_time() - before < 2.0  # sorting a million rows takes three to five seconds
