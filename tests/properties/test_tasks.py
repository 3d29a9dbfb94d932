"""Invariants of decomposed tasks: conservation, agreement of closed form, engine and laws, monotonicity, scaling, relabelling."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cost.laws import distributed, training, transfer
from hpcsim.engine.clock import Clock
from hpcsim.engine.tasks import TaskFloor, TaskRun
from hpcsim.scenario.load import load
from hpcsim.workload.tasks import TaskPlan, closed_form, fluid_transfer, max_min_rates, plan_task


def simulate(plan: TaskPlan) -> TaskRun:
    clock = Clock()
    run = TaskRun(plan, TaskFloor(clock))
    clock.process(run.process(clock))
    clock.run()
    return run


_real = st.floats(0.1, 1000.0)


@st.composite
def plans(draw: Any) -> TaskPlan:
    n = draw(st.integers(1, 8))
    values = [np.array(draw(st.lists(_real, min_size=n, max_size=n))) for _ in range(3)]
    share = np.array(draw(st.lists(st.one_of(st.just(0.0), _real), min_size=n, max_size=n)))
    stored = draw(st.booleans())
    return TaskPlan(
        name="t",
        kind="task",
        groups=(("w", n),),
        speed_flop_per_s=values[0],
        share_bytes=share,
        work_flop=values[1] * (share > 0),
        port_bytes_per_s=values[2],
        parts_per_node=draw(st.integers(1, 4)),
        split_s=draw(st.floats(0, 50)),
        merge_s=draw(st.floats(0, 50)),
        source="lake" if stored else "",
        source_bytes_per_s=draw(_real),
        dispatch_latency_s=draw(st.floats(0, 5)) if stored else 0.0,
        data_bytes=float(share.sum()),
    )


@given(plan=plans())
def test_engine_equals_closed_form(plan):
    if not plan.share_bytes.any():
        plan = dataclasses.replace(plan, dispatch_latency_s=0.0)
    run, times = simulate(plan), closed_form(plan)
    assert run.end_s == pytest.approx(times.makespan_s, rel=1e-12)
    assert run.busy_s == pytest.approx(times.node_time_s, rel=1e-9)


@given(plan=plans())
def test_stages_sum_to_the_makespan(plan):
    t = closed_form(plan)
    assert t.split_s + t.dispatch_s + t.run_s + t.merge_s == pytest.approx(t.makespan_s, rel=1e-12, abs=1e-12)
    assert t.makespan_s >= t.finish_s.max()


def scenario_plan(nodes: int, speed: float, work: float, partition: str, parts: int) -> TaskPlan:
    data = {
        "schema": 1,
        "name": "t",
        "question": "?",
        "cluster": {"nodes": {"w": {"count": nodes, "speed": f"{speed!r} FLOP/s"}}},
        "workload": {"tasks": {"x": {"data": "1 GB", "work": f"{work!r} FLOP", "partition": partition, "parts_per_node": parts}}},
    }
    scenario = load(data)
    return plan_task("x", scenario.workload.tasks["x"], resolve(scenario.cluster, default()))


@given(
    nodes=st.integers(1, 40),
    speed=st.floats(1e6, 1e18),
    work=st.floats(1e6, 1e24),
    partition=st.sampled_from(["throughput", "equal"]),
    parts=st.integers(1, 5),
)
def test_engine_reproduces_the_laws_where_nothing_contends(nodes, speed, work, partition, parts):
    """Wall clock c/(v·n) and node-time c/v of one divided task; the printed training law gives n times that node-time."""
    plan = scenario_plan(nodes, speed, work, partition, parts)
    run = simulate(plan)
    law = distributed(speed, nodes, c=work)
    assert run.end_s == pytest.approx(float(law.wall_clock_s), rel=1e-12)
    assert run.busy_s == pytest.approx(float(law.node_time_s), rel=1e-12)
    assert float(plan.laws[0].wall_clock_s) == pytest.approx(run.end_s, rel=1e-12)
    assert float(training(work, speed, n=nodes).divided_wall_s) == pytest.approx(run.end_s, rel=1e-12)


@given(amounts=st.lists(st.floats(0, 1000), min_size=1, max_size=8), data=st.data(), capacity=_real)
def test_fluid_transfer_never_beats_its_limits(amounts, data, capacity):
    n = len(amounts)
    caps = np.array(data.draw(st.lists(_real, min_size=n, max_size=n)))
    counts = np.array(data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)), dtype=float)
    sizes = np.array(amounts)
    flow = fluid_transfer(sizes, caps, counts, capacity)
    assert flow.sent_bytes[-1] == pytest.approx(sizes)
    assert (flow.finish_s >= sizes / caps * (1 - 1e-9)).all()
    total = float((sizes * counts).sum())
    assert flow.finish_s.max() >= total / capacity * (1 - 1e-9)
    assert (np.diff(flow.times_s) >= 0).all()
    assert (np.diff(flow.sent_bytes, axis=0) >= -1e-9).all()
    for step, width in zip(np.diff(flow.sent_bytes, axis=0), np.diff(flow.times_s)):
        assert (step * counts).sum() <= capacity * width * (1 + 1e-9) + 1e-9


@given(caps=st.lists(_real, min_size=1, max_size=8), data=st.data(), capacity=_real)
def test_max_min_has_a_bottleneck_for_every_flow(caps, data, capacity):
    """I47: each flow is at its own limit, or the resource is full and nobody gets more than it."""
    limits = np.array(caps)
    counts = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(caps), max_size=len(caps))), dtype=float)
    rates = max_min_rates(limits, counts, capacity)
    assert (rates <= limits * (1 + 1e-12)).all()
    used = float((rates * counts).sum())
    assert used <= capacity * (1 + 1e-9)
    for rate, limit in zip(rates, limits):
        assert rate >= limit * (1 - 1e-12) or (used >= capacity * (1 - 1e-9) and rate >= rates.max() * (1 - 1e-9))


@given(plan=plans(), factor=st.floats(1.0, 10.0))
def test_faster_is_never_slower(plan, factor):
    """I21, for a fixed plan: more speed, wider ports, faster storage."""
    base = closed_form(plan).makespan_s
    for faster in (
        dataclasses.replace(plan, speed_flop_per_s=plan.speed_flop_per_s * factor),
        dataclasses.replace(plan, port_bytes_per_s=plan.port_bytes_per_s * factor, source_bytes_per_s=plan.source_bytes_per_s * factor),
    ):
        assert closed_form(faster).makespan_s <= base * (1 + 1e-9)


@given(plan=plans(), k=st.floats(0.01, 100.0))
def test_scaling_all_times(plan, k):
    """I30: every rate divided by k and every fixed time multiplied by it multiplies the makespan by k; bytes and rates together do nothing."""
    slow = dataclasses.replace(
        plan,
        speed_flop_per_s=plan.speed_flop_per_s / k,
        port_bytes_per_s=plan.port_bytes_per_s / k,
        source_bytes_per_s=plan.source_bytes_per_s / k,
        split_s=plan.split_s * k,
        merge_s=plan.merge_s * k,
        dispatch_latency_s=plan.dispatch_latency_s * k,
    )
    base = closed_form(plan).makespan_s
    assert closed_form(slow).makespan_s == pytest.approx(k * base, rel=1e-9)
    wide = dataclasses.replace(
        plan, share_bytes=plan.share_bytes * k, port_bytes_per_s=plan.port_bytes_per_s * k, source_bytes_per_s=plan.source_bytes_per_s * k
    )
    assert closed_form(wide).makespan_s == pytest.approx(base, rel=1e-9)


@given(plan=plans(), seed=st.integers(0, 1000))
def test_relabelling_nodes_permutes_only(plan, seed):
    """I31."""
    order = np.random.default_rng(seed).permutation(plan.nodes)
    fields = ("speed_flop_per_s", "share_bytes", "work_flop", "port_bytes_per_s")
    mixed = dataclasses.replace(plan, **{f: getattr(plan, f)[order] for f in fields})
    assert closed_form(mixed).finish_s == pytest.approx(closed_form(plan).finish_s[order], rel=1e-9)


@given(plan=plans())
def test_a_node_without_share_changes_nothing(plan):
    """I35."""
    fields = ("speed_flop_per_s", "share_bytes", "work_flop", "port_bytes_per_s")
    idle = {"speed_flop_per_s": 1.0, "share_bytes": 0.0, "work_flop": 0.0, "port_bytes_per_s": 1.0}
    more = dataclasses.replace(plan, groups=(("w", plan.nodes + 1),), **{f: np.append(getattr(plan, f), idle[f]) for f in fields})
    assert closed_form(more).makespan_s == pytest.approx(closed_form(plan).makespan_s, rel=1e-12)


@given(nodes=st.integers(1, 40), each=_real, rate=_real, parts=st.integers(1, 4))
def test_dispatch_alone_is_the_transfer_law(nodes, each, rate, parts):
    """d/v with d the data of a node and v what it gets of the storage; n·d/v node-time."""
    plan = TaskPlan(
        name="t",
        kind="task",
        groups=(("w", nodes),),
        speed_flop_per_s=np.ones(nodes),
        share_bytes=np.full(nodes, each),
        work_flop=np.zeros(nodes),
        port_bytes_per_s=np.full(nodes, np.inf),
        parts_per_node=parts,
        source="lake",
        source_bytes_per_s=rate * nodes,
        data_bytes=each * nodes,
    )
    law = transfer(each, rate, n=nodes, part="storage")
    assert simulate(plan).end_s == pytest.approx(float(law.wall_clock_s), rel=1e-12)
    assert closed_form(plan).makespan_s == pytest.approx(float(law.wall_clock_s), rel=1e-12)
