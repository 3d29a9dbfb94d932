"""Patterns as workloads: each kind by its own arithmetic, and by the event engine."""

from __future__ import annotations

from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.run.bind import bind

PORT, SPEED, LATENCY = 25e9, 1e12, None


def scenario(spec: dict[str, Any], nodes: int = 8, **cluster: Any) -> Any:
    return hpcsim.load(
        {
            "schema": 1,
            "name": "p",
            "question": "q",
            "cluster": {
                "nodes": {"cpu": {"type": "cpu-2s", "count": nodes, "speed": "1 TFLOP/s", "memory": "512 GB"}},
                "fabric": {"topology": "single-switch", "link": "hdr", "per_node": 1},
                "storage": {"disk": {"type": "lustre", "capacity": "1 PB", "read": "10 GB/s", "write": "5 GB/s"}},
                **cluster,
            },
            "workload": {"patterns": {"one": spec}},
        }
    )


def plan(spec: dict[str, Any], nodes: int = 8) -> Any:
    (found,) = bind(scenario(spec, nodes)).tasks
    return found


def test_halo_computes_its_blocks_and_waits_for_its_faces() -> None:
    spec = {"kind": "halo", "grid": [64, 64, 64], "element": "80 B", "width": 2, "work": "8 GFLOP", "iterations": 10}
    p = plan(spec)
    assert p.run_s().tolist() == pytest.approx([10 * 1e9 / SPEED] * 8)
    latency = p.merge_s / 10 - 6 * 2 * 32 * 32 * 80.0 / PORT
    assert 0 < latency < 1e-5
    hidden = plan({**spec, "overlap": True})
    assert hidden.merge_s == 0.0
    assert "2×2×2" in p.notes[0]


def test_transpose_is_an_all_to_all() -> None:
    p = plan({"kind": "transpose", "grid": [64, 64, 64], "element": "16 B", "work": "1 GFLOP", "iterations": 3})
    moved = 64**3 * 16.0 / 8 * 7 / 8 / PORT
    assert p.merge_s >= 3 * 2 * moved
    assert p.merge_s == pytest.approx(3 * 2 * moved, rel=0.6)
    assert plan({"kind": "transpose", "grid": [64, 64], "work": "1 GFLOP", "ranks": 1}).merge_s == 0.0


def test_a_master_bounds_many_small_tasks_and_the_workers_few_large_ones() -> None:
    small = plan({"kind": "master-worker", "tasks": 10000, "task_input": "25 MB", "work": "1 TFLOP"})
    assert small.run_s().max() + small.merge_s == pytest.approx(10000 * 1e-3, rel=0.01)
    assert "the master" in small.notes[0]
    large = plan({"kind": "master-worker", "tasks": 70, "task_input": "25 kB", "work": "700 TFLOP"})
    assert large.run_s().max() + large.merge_s == pytest.approx(10 * 10.0, rel=0.01)
    assert large.work_flop[0] == 0.0


def test_an_ensemble_talks_to_nobody_and_needs_no_fabric() -> None:
    p = plan({"kind": "ensemble", "tasks": 20, "work": "20 TFLOP"})
    assert p.merge_s == 0.0
    assert p.run_s().max() == pytest.approx(3.0)
    assert p.work_flop.sum() == pytest.approx(20e12)


def test_storage_bounds_what_reads_more_than_it_computes() -> None:
    spec = {"kind": "storage", "storage": "disk", "read": "100 GB", "write": "50 GB", "work": "8 TFLOP", "iterations": 2}
    assert plan(spec).merge_s == pytest.approx(2 * (10.0 + 10.0), rel=1e-3)
    assert plan({**spec, "overlap": True}).merge_s == pytest.approx(2 * (20.0 - 1.0), rel=1e-3)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "halo", "grid": [64, 64], "work": "8 GFLOP", "iterations": 5},
        {"kind": "transpose", "grid": [64, 64], "work": "8 GFLOP"},
        {"kind": "master-worker", "tasks": 99, "task_input": "1 MB", "work": "9 TFLOP"},
        {"kind": "ensemble", "tasks": 99, "work": "9 TFLOP"},
        {"kind": "storage", "storage": "disk", "read": "1 GB", "work": "8 TFLOP"},
    ],
)
def test_the_events_take_what_the_closed_form_says(spec: dict[str, Any]) -> None:
    case = scenario(spec)
    alone, events = hpcsim.estimate(case), hpcsim.simulate(case)
    assert events.summary["makespan_s"] == pytest.approx(alone.summary["makespan_s"], rel=1e-12)
    p = plan(spec)
    assert events.summary["makespan_s"] == pytest.approx(float(p.run_s().max()) + p.merge_s, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"kind": "halo", "work": "1 GFLOP"}, "pattern-missing"),
        ({"kind": "halo", "grid": [8, 8, 8, 8], "work": "1 GFLOP"}, "pattern-axes"),
        ({"kind": "transpose", "grid": [8], "work": "1 GFLOP"}, "pattern-axes"),
        ({"kind": "ensemble", "tasks": 4, "width": 3, "work": "1 GFLOP"}, "pattern-key"),
        ({"kind": "halo", "grid": [8, 8], "width": 9, "work": "1 GFLOP"}, "grid-too-thin"),
        ({"kind": "halo", "grid": [4000000, 4000000], "work": "1 GFLOP"}, "pattern-memory"),
        ({"kind": "ensemble", "tasks": 4, "ranks": 99, "work": "1 GFLOP"}, "pattern-ranks"),
        ({"kind": "master-worker", "tasks": 4, "ranks": 1, "work": "1 GFLOP"}, "pattern-workers"),
        ({"kind": "storage", "storage": "tape", "work": "1 GFLOP"}, "unknown-storage-tier"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as found:
        plan(spec)
    assert code in {problem.code for problem in found.value.problems}
    assert all("workload.patterns.one" in problem.path for problem in found.value.problems)
