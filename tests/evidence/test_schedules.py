"""Schedules of real job logs, start by start. The logs may not be redistributed: without them these tests are skipped.

Start times and figures of the KTH SP2 (28,481 jobs) are equal between two independent programs; 92.5765397336 is the published mean bounded
slowdown of EASY on it. The others are of a reference scheduler in batch order.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hpcsim.engine.jobs import run_jobs
from hpcsim.results.record import Results
from hpcsim.study.replay import replay
from hpcsim.workload.jobs import TraceOptions, read_trace

ROOT = Path(__file__).resolve().parents[2]
LOGS = Path(os.environ.get("HPCSIM_TRACES", ROOT.parent / "shared" / "evidence" / "traces"))
SCHEDULES = LOGS.parent / "schedules"

pytestmark = pytest.mark.skipif(not (LOGS.is_dir() and SCHEDULES.is_dir()), reason="the job logs are not here")

POLICIES = ("fcfs", "sjf", "easy", "easy-sjbf")
KTH = "KTH-SP2-1996-pyss.swf.gz"


def starts_in(name: str) -> dict[int, float]:
    with gzip.open(SCHEDULES / name, "rt") as text:
        return {int(row["job"]): float(row["start"]) for row in csv.DictReader(text)}


def starts_of(results: Results, policy: str | None = None) -> dict[int, float]:
    jobs = results.jobs if policy is None else results.jobs[results.jobs["policy"] == policy]
    return dict(zip(jobs["job_id"].tolist(), jobs["start_s"].tolist(), strict=True))


@cache
def small(log: str, nodes: int, order: Any) -> Results:
    return replay(LOGS / log, nodes=nodes, policies=POLICIES, order=order)


def test_every_start_of_easy_on_the_kth_sp2() -> None:
    results = replay(LOGS / KTH, nodes=100, policies=("easy",), order="event", processors="requested")
    want = starts_in("kth_pyss_easy_starts_eventorder_reqprocs.csv.gz")
    assert len(want) == 28_481
    assert starts_of(results) == want
    assert results.summary["mean_bounded_slowdown"] == pytest.approx(92.5765397336, abs=5e-11)


BATCH = [("KTH-SP2-first5000-clean.swf.gz", 100, "kth5k"), ("HPC2N-alea-3145-clean.swf.gz", 240, "hpc2n3145")]


@pytest.mark.parametrize(("log", "nodes", "name", "order"), [(*case, "batch") for case in BATCH] + [(*BATCH[0], "event")])
def test_figures_to_every_printed_digit(log: str, nodes: int, name: str, order: str) -> None:
    rows = small(log, nodes, order).document()["policies"]
    lines = (SCHEDULES / f"{name}_{order}.jsonl").read_text().splitlines()
    assert len(lines) >= 3
    for want in map(json.loads, lines):
        got = rows[want["policy"].replace("easysjf", "easy-sjbf")]
        assert got["jobs"] == want["jobs"]
        assert round(got["mean_wait_s"], 3) == want["mean_wait"]
        assert got["max_wait_s"] == want["max_wait"]
        assert round(got["mean_bounded_slowdown"], 4) == want["mean_bsld10"]
        assert got["makespan_s"] == want["makespan"]
        assert round(got["utilisation_frac"], 5) == want["utilization"]


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
@pytest.mark.parametrize(("log", "nodes", "name"), BATCH)
def test_every_start_in_batch_order(log: str, nodes: int, name: str, policy: str) -> None:
    assert starts_of(small(log, nodes, "batch"), policy) == starts_in(f"{name}_batch_{policy}.csv.gz")


@pytest.mark.parametrize(
    ("log", "capacity", "jobs", "issues"),
    [
        ("KTH-SP2-1996-full.swf.gz", 100, 28_481, {"zero run time": 8}),
        ("NASA-iPSC-1993-3.1-cln.swf.gz", 128, 18_066, {"zero run time": 173}),
        ("alea_hpc2n.swf.gz", 240, 3_145, {"run time unknown": 25}),
        ("pyss_5K_sample.swf.gz", 128, 4_606, {"cancelled before it started": 355}),
    ],
)
def test_bad_rows_of_real_logs_are_dropped_and_counted(log: str, capacity: int, jobs: int, issues: dict[str, int]) -> None:
    trace = read_trace(LOGS / log, options=TraceOptions(capacity=capacity))
    assert len(trace.jobs) == jobs
    assert {finding.issue: finding.rows for finding in trace.quality if finding.action == "dropped"} == issues


def test_cutting_the_full_log_gives_the_clean_one() -> None:
    full = read_trace(LOGS / "KTH-SP2-1996-full.swf.gz", options=TraceOptions(cut=True)).jobs.sorted_by_submit()
    clean = read_trace(LOGS / KTH).jobs.sorted_by_submit()
    assert full.run_s.tolist() == clean.run_s.tolist()
    assert full.job_id.tolist() == clean.job_id.tolist()


def test_the_nasa_log_has_almost_no_contention() -> None:
    """Of its 18,066 jobs, 11 wait under first come, first served on 128 processors."""
    jobs = read_trace(LOGS / "NASA-iPSC-1993-3.1-cln.swf.gz").jobs
    assert int((run_jobs(jobs, 128, "fcfs").wait_s > 0).sum()) == 11
