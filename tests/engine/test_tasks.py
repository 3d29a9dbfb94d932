"""Tasks event by event: the closed form where nothing contends, and what contention does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hpcsim.cost.maxmin import Routes
from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Contention, Load, Member
from hpcsim.engine.tasks import SharedSource, TaskFloor, TaskRun
from hpcsim.workload.tasks import TaskPlan, closed_form


def plan(nodes: int = 4, **values: Any) -> TaskPlan:
    base: dict[str, Any] = {
        "name": "t",
        "kind": "task",
        "groups": (("w", nodes),),
        "speed_flop_per_s": np.full(nodes, 10.0),
        "share_bytes": np.full(nodes, 100.0),
        "work_flop": np.full(nodes, 50.0),
        "port_bytes_per_s": np.full(nodes, 40.0),
        "data_bytes": 100.0 * nodes,
    }
    return TaskPlan(**{**base, **values})


def simulate(*plans: TaskPlan, start_s: float = 0.0) -> tuple[list[TaskRun], Clock]:
    clock = Clock(start_s)
    floor = TaskFloor(clock)
    runs = [TaskRun(p, floor) for p in plans]
    for run in runs:
        clock.process(run.process(clock))
    clock.run()
    return runs, clock


def test_stages_follow_each_other():
    p = plan(split_s=2.0, merge_s=3.0, source="lake", source_bytes_per_s=20.0, dispatch_latency_s=1.0, result_bytes=8.0)
    (run,), _ = simulate(p)
    # 2 s split, 1 s to the first byte, 400 B at 20 B/s, 5 s of work, 3 s of merging
    assert run.end_s == pytest.approx(2 + 1 + 20 + 5 + 3)
    rows = run.columns()
    by_stage = {s: [i for i, x in enumerate(rows["stage"]) if x == s] for s in dict.fromkeys(rows["stage"])}
    assert {s: len(i) for s, i in by_stage.items()} == {"split": 1, "partition": 1, "dispatch": 4, "run": 4, "merge": 1}
    assert [rows["start_s"][i] for i in by_stage["run"]] == pytest.approx([23] * 4)
    assert [rows["end_s"][i] for i in by_stage["dispatch"]] == pytest.approx([23] * 4)
    assert rows["end_s"][by_stage["merge"][0]] == run.end_s
    assert rows["node"][by_stage["split"][0]] == rows["node"][by_stage["merge"][0]] == "w/0"
    assert all(a <= b for a, b in zip(rows["start_s"], rows["end_s"]))
    assert run.busy_s == pytest.approx(closed_form(p).node_time_s)


def test_rows_fit_the_declared_table():
    from hpcsim.results.tables import TABLES

    (run,), _ = simulate(plan(split_s=1.0))
    columns = run.columns()
    declared = TABLES["tasks"].columns
    assert list(columns) == [c.name for c in declared]
    stages = next(c.values for c in declared if c.name == "stage")
    assert set(columns["stage"]) <= set(stages)
    nullable = {c.name for c in declared if c.nullable}
    assert {name for name, column in columns.items() if None in column} <= nullable


def test_bytes_are_conserved():
    p = plan(5, source="lake", source_bytes_per_s=33.0, parts_per_node=3, share_bytes=np.array([10.0, 20.0, 0.0, 5.0, 65.0]))
    clock = Clock()
    floor = TaskFloor(clock)
    run = TaskRun(p, floor)
    clock.process(run.process(clock))
    clock.run()
    assert floor.source("lake", 33.0).delivered_bytes == pytest.approx(100.0)
    rows = run.columns()
    shares = [s for s, stage in zip(rows["share_bytes"], rows["stage"]) if stage == "run"]
    assert sum(shares) == pytest.approx(100.0)
    assert len(shares) == 15


def test_two_tasks_share_the_storage():
    """Two equal tasks on nodes of their own read twice as long together as one alone."""
    one = plan(groups=(("a", 4),), source="lake", source_bytes_per_s=20.0, work_flop=np.zeros(4))
    two = plan(groups=(("b", 4),), source="lake", source_bytes_per_s=20.0, work_flop=np.zeros(4))
    (alone,), _ = simulate(one)
    both, _ = simulate(one, two)
    assert alone.end_s == pytest.approx(20)
    assert [r.end_s for r in both] == pytest.approx([40, 40])


def test_a_late_reader_takes_its_share():
    """400 B at 20 B/s alone for 5 s, then 10 B/s each: the first has 300 B left, done at 35 s; the second its last 100 B at full rate."""
    first = plan(1, groups=(("a", 1),), share_bytes=np.array([400.0]), work_flop=np.zeros(1), source="lake", source_bytes_per_s=20.0)
    second = plan(
        1, groups=(("b", 1),), share_bytes=np.array([400.0]), work_flop=np.zeros(1), source="lake", source_bytes_per_s=20.0, split_s=5.0
    )
    (a, b), _ = simulate(first, second)
    assert a.end_s == pytest.approx(35)
    assert b.end_s == pytest.approx(40)


def test_two_tasks_queue_on_their_nodes():
    p = plan(2, work_flop=np.full(2, 50.0))
    (a, b), _ = simulate(p, p)
    assert (a.end_s, b.end_s) == pytest.approx((5, 10))


def test_nodes_that_were_given_are_named():
    clock = Clock()
    run = TaskRun(plan(2), TaskFloor(clock), nodes=["w/7", "w/9"])
    clock.process(run.process(clock))
    clock.run()
    assert {n for n in run.columns()["node"] if n} == {"w/7", "w/9"}
    with pytest.raises(ValueError, match="2 nodes"):
        TaskRun(plan(2), TaskFloor(clock), nodes=["w/7"])


def test_horizon_cuts_the_rows():
    p = plan(2, split_s=2.0, merge_s=4.0)
    clock = Clock()
    run = TaskRun(p, TaskFloor(clock))
    clock.process(run.process(clock))
    clock.run(until=3.0)
    rows = run.columns(until_s=3.0)
    assert math.isnan(run.end_s)
    assert max(rows["end_s"]) == 3.0
    assert "merge" not in rows["stage"]


def test_events_are_few():
    """A change of stage or an instant of arrival is an event; nodes and parts are not."""
    for nodes, parts in ((10, 1), (500, 1), (500, 20)):
        p = plan(nodes, parts_per_node=parts, source="lake", source_bytes_per_s=1000.0, split_s=1.0, merge_s=1.0)
        _, clock = simulate(p)
        assert clock.handled <= 10 + 2 * parts


def test_a_matrix_product_has_no_split():
    p = plan(3, kind="matrix-product", dispatch_s=2.0, merge_s=1.0)
    (run,), _ = simulate(p)
    rows = run.columns()
    assert set(rows["stage"]) == {"partition", "dispatch", "run", "merge"}
    assert run.end_s == pytest.approx(2 + 5 + 1) == pytest.approx(closed_form(p).makespan_s)


def test_no_bytes_are_there_at_once():
    clock = Clock()
    source = SharedSource(clock, 10.0)
    times: list[float] = []
    source.read(0.0, 5.0, times.append)
    assert times == [0.0]
    source.read(10.0, 5.0, times.append)
    clock.run()
    assert times == [0.0, 2.0]


def test_same_run_same_rows():
    p = plan(7, source="lake", source_bytes_per_s=21.0, parts_per_node=3, share_bytes=np.linspace(1, 90, 7))
    assert simulate(p)[0][0].columns() == simulate(p)[0][0].columns()


def test_start_shifts_everything():
    p = plan(3, source="lake", source_bytes_per_s=21.0, split_s=1.0)
    (run,), _ = simulate(p, start_s=1000.0)
    assert run.start_s == 1000.0
    assert run.end_s - run.start_s == pytest.approx(closed_form(p).makespan_s, rel=1e-12)


def _shared_plan(name: str, nodes: int = 1, **rest: Any) -> TaskPlan:
    return TaskPlan(
        name=name,
        kind="task",
        groups=((name, nodes),),
        speed_flop_per_s=np.ones(nodes),
        share_bytes=np.full(nodes, 1000.0 / nodes),
        work_flop=np.full(nodes, 1.0),
        port_bytes_per_s=np.full(nodes, 100.0),
        data_bytes=1000.0,
        **rest,
    )


def _load(job: str, activity: str, routes: list[list[int]]) -> Load:
    return Load(job, activity, Routes.of(routes), np.zeros(len(routes)), np.ones(len(routes)), pair=np.arange(len(routes)))


def test_a_dispatch_slows_while_others_use_its_way() -> None:
    """10 B/s for 20 s, half of it for the 60 s that the other needs for 30 s of work, 10 B/s again: 200 + 300 + 500 bytes."""
    clock = Clock()
    network = Contention(clock, np.array([10.0, 4.0]))
    member = Member(network, "t", {"dispatch": _load("t", "dispatch", [[0]]), "merge": _load("t", "merge", [[1]])})
    plan = _shared_plan("t", source="lake", source_bytes_per_s=10.0, merge_s=8.0, merge_flow_s=5.0, result_bytes=20.0)
    run = TaskRun(plan, TaskFloor(clock), member=member)
    clock.process(run.process(clock))
    ends: list[float] = []
    other, late = _load("o", "checkpoint", [[0]]), _load("o", "checkpoint", [[1]])
    clock.at(20.0, lambda _: network.begin(other, 30.0, lambda: ends.append(clock.now)) and None)
    clock.at(131.0, lambda _: network.begin(late, 100.0, lambda: ends.append(clock.now)) and None)
    clock.run()
    # the merge's 5 s of flow take 10 beside the other, and merging itself 3
    assert run.end_s == pytest.approx(130.0 + 1.0 + 10.0 + 3.0)
    assert ends == pytest.approx([80.0, 131.0 + 10.0 + 95.0])
    assert network.carried_bytes[0] == pytest.approx(1000.0)
    assert network.delays["t", "dispatch"].by == {(0, "o"): pytest.approx(30.0)}


def test_tasks_that_read_one_tier_share_it_as_ever_on_a_network() -> None:
    ends = []
    for shared in (False, True):
        clock = Clock()
        floor, network = TaskFloor(clock), Contention(clock, np.array([10.0]))
        runs = []
        for k, name in enumerate(("a", "b")):
            loads = {"dispatch": _load(name, "dispatch", [[0]] * (k + 1)), "merge": _load(name, "merge", [])}
            member = Member(network, name, loads) if shared else None
            runs.append(TaskRun(_shared_plan(name, k + 1, source="lake", source_bytes_per_s=10.0), floor, member=member))
            clock.at(30.0 * k, lambda _, run=runs[-1], clock=clock: clock.process(run.process(clock)) and None)
        clock.run()
        ends.append([run.end_s for run in runs])
    assert ends[1] == pytest.approx(ends[0], rel=1e-12)
    assert network.carried_bytes[0] == pytest.approx(2000.0)
