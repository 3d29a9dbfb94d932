from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.report.schedule import waits
from hpcsim.study.replay import replay
from hpcsim.workload.generator import synthetic_jobs
from hpcsim.workload.jobs import JobTable, Trace
from hpcsim.workload.swf import write_swf

WEEK_S = 7 * 86400.0


@pytest.fixture(scope="module")
def jobs() -> JobTable:
    return synthetic_jobs(seed=5, duration_s=WEEK_S, load=0.8, processors=64)


def test_policies_side_by_side(jobs: JobTable) -> None:
    results = replay(jobs, nodes=16, cores_per_node=4, policies=("fcfs", "easy"), check=True)
    assert results.kind == "replay"
    policies = results.document()["policies"]
    assert list(policies) == ["fcfs", "easy"]
    assert policies["easy"]["mean_bounded_slowdown"] < policies["fcfs"]["mean_bounded_slowdown"]
    keys = {
        "jobs",
        "mean_wait_s",
        "max_wait_s",
        "mean_bounded_slowdown",
        "makespan_s",
        "utilisation_frac",
        "steady_utilisation_frac",
        "cpu_s",
    }
    assert keys <= set(policies["easy"])
    assert results.jobs["policy"].tolist() == ["fcfs"] * len(jobs) + ["easy"] * len(jobs)
    assert "easy" in results.answer
    json.dumps(results.document())


def test_figures_follow_from_the_table_of_jobs(jobs: JobTable) -> None:
    results = replay(jobs, nodes=64)
    table, figures = results.jobs, results.summary
    assert (table["start_s"] - table["submit_s"]).mean() == pytest.approx(figures["mean_wait_s"], rel=1e-12)
    assert table["wait_s"].max() == figures["max_wait_s"]
    assert table["bounded_slowdown"].mean() == pytest.approx(figures["mean_bounded_slowdown"], rel=1e-12)
    makespan = table["end_s"].max() - table["submit_s"].min()
    assert makespan == figures["makespan_s"]
    assert table["device_s"].sum() / (64 * makespan) == pytest.approx(figures["utilisation_frac"], rel=1e-12)
    states = results.states
    length = states["end_s"] - states["start_s"]
    assert (states["busy"] * length).sum() == pytest.approx(table["device_s"].sum(), rel=1e-12)
    assert ((states["busy"] + states["idle"]) == 64).all()


def test_a_log_and_its_table_give_the_same(jobs: JobTable, tmp_path: Path) -> None:
    path = write_swf(jobs, tmp_path / "log.swf.gz")
    from_log, from_table = replay(path, nodes=64), replay(jobs, nodes=64)
    assert from_log.jobs["start_s"].tolist() == from_table.jobs["start_s"].tolist()
    assert from_log.name == "log"
    assert from_log.provenance["log"] == str(path)


def test_two_runs_write_the_same_bytes_but_for_timings(jobs: JobTable, tmp_path: Path) -> None:
    for name in ("a", "b"):
        replay(jobs, nodes=64, policies=("fcfs", "easy-sjbf")).write(tmp_path / name, timings=False)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"summary.json", "jobs.csv", "policies.csv"} <= set(files)
    for name in files:
        if name != "provenance.json":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_times_and_numbers_are_those_of_the_log(tmp_path: Path) -> None:
    path = write_swf(JobTable.of([1_000_000, 1_000_005], [10, 10], [1, 1], job_id=[17, 19]), tmp_path / "log.swf")
    table = replay(path, nodes=1).jobs
    assert table["job_id"].tolist() == [17, 19]
    assert table["start_s"].tolist() == [1_000_000.0, 1_000_010.0]


def test_whole_nodes_and_larger_jobs() -> None:
    jobs = JobTable.of([0, 0, 0], [10, 10, 10], [3, 5, 9])
    apart = replay(jobs, nodes=2, cores_per_node=4)
    assert apart.jobs["processors"].tolist() == [3, 5]
    assert apart.jobs["nodes"].tolist() == [1, 2]
    assert apart.jobs["start_s"].tolist() == [0.0, 0.0]
    whole = replay(jobs, nodes=2, cores_per_node=4, whole_nodes=True)
    assert whole.jobs["processors"].tolist() == [4, 8]
    assert whole.jobs["start_s"].tolist() == [0.0, 10.0]
    assert whole.quality[["issue", "rows", "action"]].values.tolist() == [["more processors than the machine has (8)", 1, "dropped"]]


def test_actual_estimates_are_the_run_times() -> None:
    jobs = JobTable.of([0, 1, 2], [10, 10, 8], [3, 4, 1], estimate_s=[10, 10, 50])
    told = replay(jobs, nodes=4)
    known = replay(jobs, nodes=4, estimates="actual")
    assert told.jobs["start_s"].tolist() == [0.0, 10.0, 20.0]
    assert known.jobs["start_s"].tolist() == [0.0, 10.0, 2.0]


def test_one_job() -> None:
    results = replay(JobTable.of([5], [10], [2]), nodes=4)
    assert results.summary["utilisation_frac"] == 0.5
    assert results.document()["policies"]["easy"]["steady_utilisation_frac"] is None


def test_a_trace_keeps_what_was_wrong_with_it(jobs: JobTable) -> None:
    results = replay(Trace(jobs, file="x.swf", rows=len(jobs)), nodes=64, max_jobs=10)
    assert len(results.jobs) == 10


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"nodes": 0}, "machine-size"),
        ({"nodes": 4, "cores_per_node": -1}, "machine-size"),
        ({"nodes": 2.5}, "machine-size"),
        ({"nodes": 10**12}, "machine-size"),
        ({"nodes": 4, "policies": ()}, "no-policy"),
        ({"nodes": 4, "policies": ("easy", "easy")}, "policy-twice"),
        ({"nodes": 4, "policies": ("eazy",)}, "unknown-name"),
        ({"nodes": 4, "estimates": "guessed"}, "trace-option"),
        ({"nodes": 4, "order": "tick"}, "event-order-unknown"),
        ({"nodes": 1}, "no-jobs-left"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as caught:
        replay(JobTable.of([0], [1], [2]), **arguments)  # type: ignore[arg-type]
    assert [problem.code for problem in caught.value.problems] == [code]


def test_cpu_time_is_measured(jobs: JobTable) -> None:
    results = replay(jobs, nodes=64)
    assert 0 < float(results.summary["cpu_s"]) <= float(results.summary["wall_s"]) * 1.5 + 0.05
    assert np.isfinite(float(results.summary["wall_s"]))


def test_a_log_is_brought_to_a_load_and_shaken(jobs: JobTable) -> None:
    calm, busy = replay(jobs, nodes=64, load=0.3), replay(jobs, nodes=64, load=0.95)
    assert calm.summary["mean_wait_s"] < busy.summary["mean_wait_s"]
    moved = replay(jobs, nodes=64, shake_s=60.0, seed=1)
    there = moved.jobs.set_index("job_id")["submit_s"]
    before = replay(jobs, nodes=64).jobs.set_index("job_id")["submit_s"]
    assert 0 < (there - before).abs().max() <= 60.0
    assert replay(jobs, nodes=64, shake_s=60.0, seed=1).jobs["start_s"].tolist() == moved.jobs["start_s"].tolist()


def test_what_was_read_and_what_stands_in_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("submit,run,cores,lim\n0,100,4,1\n5,200,8,1\n6,200,8,1\n")
    results = replay(path, nodes=16, trace_format="csv", policies=("fcfs", "easy"))
    notes = " ".join(results.notes)
    assert "for 3 jobs without one the run time stands in" in notes
    assert "not understood: lim. To read them: --columns 'submit=submit, run=run, processors=cores, KEY=lim'" in notes
    assert waits(results.jobs).text == "Share of the 3 started jobs that waited at most so long, for each policy."
    known = replay(path, nodes=16, columns={"submit": "submit", "run": "run", "processors": "cores", "estimate": "lim [h]"})
    assert "Estimates: requested run times; processors" in " ".join(known.notes)


def test_jobs_that_are_left_out_stand_in_the_answer(tmp_path: Path) -> None:
    jobs = JobTable.of(np.arange(4), np.full(4, 60), np.full(4, 2), gpus=[0, 0, 0, 2], memory_bytes=np.full(4, 4e9))
    whole = replay(jobs, nodes=4, cores_per_node=4)
    assert "left out" not in whole.answer
    assert "the 4 jobs" in whole.question
    note = next(note for note in whole.notes if note.startswith("Not looked at"))
    assert "1 of 4 jobs asks for (--gpus-per-node" in note
    assert "4 of 4 jobs ask for (--memory-per-node" in note
    placed = replay(jobs, nodes=4, cores_per_node=4, memory_per_node=8 * 10**9)
    assert placed.answer.endswith(" 1 of 4 jobs (25 %) was left out: more than these nodes can give, even when empty.")
    assert "3 of the 4 jobs" in placed.question
    assert any(note.startswith("Accelerators, which 1 of 4 jobs asks for") for note in placed.notes)
    assert not any(note.startswith("Not looked at") for note in placed.notes)
    silent = replay(JobTable.of([0], [9], [1]), nodes=4, memory_per_node=8 * 10**9)
    assert any(note.startswith("No job of the log states what memory") for note in silent.notes)
    counted = replay(jobs, nodes=4, gpus_per_node=2)
    assert "3 of 4 jobs (75 %) were left out: asks for no accelerator." in counted.answer
    small = replay(JobTable.of([0, 1, 2], [9, 9, 9], [1, 9, 1]), nodes=8)
    assert "1 of 3 jobs (33 %) was left out: more processors than the machine has (8)." in small.answer


def test_dates_names_shares_and_energy(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "id,submit_time,run_time,gpus,user\n7,2024-01-01 00:00:00,100,2,ada\n8,2024-01-01 00:01:00,50,4,bob\n9,2024-01-01 00:01:00,50,0,bob\n"
    )
    results = replay(path, nodes=1, gpus_per_node=4, trace_format="csv", zone="Europe/Berlin", power_w=(100.0, 10.0))
    assert results.jobs["submit_time"].tolist() == ["2024-01-01T00:00:00+01:00", "2024-01-01T00:01:00+01:00"]
    assert results.jobs["user"].tolist() == ["ada", "bob"]
    assert results.jobs["start_s"].tolist() == [0.0, 100.0]
    assert results.quality["issue"].tolist()[0] == "asks for no accelerator"
    shares = results.shares[results.shares["kind"] == "user"]
    assert shares["processor_frac"].tolist() == [0.5, 0.5]
    assert results.summary["energy_per_job_j"] == (400 * 100.0 + (600 - 400) * 10.0) / 2
