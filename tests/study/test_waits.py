"""Why jobs wait: spans that tile the wait, roles by their definitions, what-ifs that are simulated, forecasts that cover."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cli.main import main
from hpcsim.engine.jobs import run_jobs
from hpcsim.study.explain import explain_log
from hpcsim.study.forecast import forecast_start, start_draws
from hpcsim.study.waits import explain_wait, wait_of
from hpcsim.testing.policies import random_jobs
from hpcsim.workload.generator import synthetic_jobs
from hpcsim.workload.jobs import JobTable, read_trace
from hpcsim.workload.swf import write_swf

TRACES = Path(os.environ.get("HPCSIM_TRACES", Path(__file__).resolve().parents[3] / "shared" / "evidence" / "traces"))

FIVE = JobTable.of([0, 1, 2, 3, 4], [10, 10, 20, 30, 5], [6, 8, 4, 2, 2])
"""The handbook's five jobs on ten processors."""


def test_the_five_jobs_by_hand() -> None:
    held_up = explain_wait(FIVE, 10, "easy", 3)
    spans = held_up.wait_spans[["start_s", "end_s", "free", "cause", "behind"]].astype(object).values.tolist()
    assert [row[:4] for row in spans] == [
        [2.0, 3.0, 4, "kept for others"],
        [3.0, 4.0, 2, "too few free"],
        [4.0, 9.0, 0, "too few free"],
        [9.0, 10.0, 2, "too few free"],
        [10.0, 20.0, 0, "too few free"],
    ]
    assert [row[4] for row in spans[:4]] == [2, 2, 2, 2]  # job 2 stands before it until it starts
    assert held_up.summary["wait_s"] == 18.0
    assert held_up.summary["jobs_passed"] == 2
    roles = {(row.job_id, row.role) for row in held_up.wait_jobs.itertuples()}
    assert roles == {(1, "held"), (2, "ahead"), (4, "passed"), (5, "passed"), (2, "released")}
    assert "gave back 8 processors" in held_up.answer
    assert held_up.summary["unpassed_start_s"] == 20.0  # both ended by then or fit beside it: they cost it nothing
    assert held_up.summary["unpassed_wait_s"] == 18.0
    assert "When it was submitted 4 were free." in held_up.answer
    assert "For 17 s of the wait (94 %) fewer than 4 were free. For 1 s of it (6 %) enough were free but kept" in held_up.answer
    at_once = explain_wait(FIVE, 10, "easy", 1)
    assert at_once.summary["wait_s"] == 0.0
    assert "at once" in at_once.answer


def test_a_job_that_is_passed_to_its_harm() -> None:
    four = JobTable.of([0, 1, 2, 3], [10, 10, 10, 40], [6, 8, 9, 2])
    answer = explain_wait(four, 10, "easy", 3)
    assert answer.summary["wait_s"] == 41.0
    assert answer.summary["unpassed_start_s"] == 20.0
    assert "23 s earlier" in answer.answer


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["fcfs", "sjf", "easy", "conservative"]), st.integers(1, 60))
def test_spans_tile_the_wait_and_roles_are_what_they_say(seed: int, policy: str, job: int) -> None:
    jobs = random_jobs(seed).sorted_by_submit()
    size = int(jobs.processors.max()) + 3
    outcome = run_jobs(jobs, size, policy)
    row = int(np.flatnonzero(jobs.job_id == job)[0])
    wait = wait_of(job, jobs.job_id, jobs.submit_s, outcome.start_s, outcome.end_s, jobs.processors, size=size)
    begin, start = jobs.submit_s[row], outcome.start_s[row]
    spans = wait.spans
    assert float(np.sum(np.asarray(spans["end_s"]) - np.asarray(spans["start_s"]))) == pytest.approx(start - begin)
    if start > begin:
        assert spans["start_s"][0] == begin
        assert spans["end_s"][-1] == start
        assert spans["start_s"][1:].tolist() == spans["end_s"][:-1].tolist()
    for low, high, free, cause in zip(spans["start_s"], spans["end_s"], spans["free"], spans["cause"], strict=True):
        middle = (low + high) / 2
        busy = jobs.processors[(outcome.start_s <= middle) & (outcome.end_s > middle)].sum()
        assert free == size - busy
        assert cause == ("too few free" if free < jobs.processors[row] else "kept for others")
    at = np.arange(len(jobs))
    later = (jobs.submit_s > begin) | ((jobs.submit_s == begin) & (at > row))
    assert wait.passed.tolist() == np.flatnonzero(later & (outcome.start_s < start)).tolist()
    if policy == "fcfs":
        assert not len(wait.passed)
    assert not set(wait.held.tolist()) & set(wait.ahead.tolist())


def test_one_more_rack_is_simulated() -> None:
    jobs = synthetic_jobs(seed=3, duration_s=14 * 86400.0, load=0.95, processors=64)
    room = explain_log(jobs, nodes=64, rack=16)
    table = room.room.set_index("case")
    more = hpcsim.replay(jobs, nodes=80)
    assert table.loc["one more rack (16 nodes)", "mean_wait_s"] == pytest.approx(more.summary["mean_wait_s"])
    assert table.loc["one more rack (16 nodes)", "saved_wait_frac"] > 0
    causes = room.summary
    assert sum(
        float(causes[key]) for key in ("utilisation_frac", "capacity_loss_frac", "fragmentation_frac", "unasked_frac")
    ) == pytest.approx(1.0)
    assert "save" in room.answer
    outcome = run_jobs(jobs.sorted_by_submit(), 64, "easy")
    edges = np.unique(np.concatenate([jobs.submit_s, outcome.start_s, outcome.end_s]))
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    of = jobs.sorted_by_submit()
    waits = np.array([((of.submit_s <= m) & (outcome.start_s > m)).any() for m in middles])
    busy = np.array([of.processors[(outcome.start_s <= m) & (outcome.end_s > m)].sum() for m in middles])
    assert causes["queued_time_frac"] == pytest.approx(lengths[waits].sum() / lengths.sum())
    assert causes["busy_waiting_frac"] == pytest.approx((busy * lengths)[waits].sum() / (64 * lengths[waits].sum()))
    assert f"in that time {100 * float(causes['busy_waiting_frac']):.0f} % of the processors are busy" in room.answer
    empty = explain_log(JobTable.of([0, 10], [5, 5], [1, 1]), nodes=4)
    assert "No job waits" in empty.answer


def test_little_use_and_long_waits_do_not_contradict() -> None:
    """A job on the whole machine waits behind long ones on a few processors: what binds is not that all are busy."""
    room = explain_log(JobTable.of([0, 1, 500], [100, 10, 100], [3, 10, 1]), nodes=10)
    assert float(room.summary["busy_waiting_frac"]) == pytest.approx(0.3)  # 99 s of waiting, 3 of 10 at work
    assert "held up most by jobs too wide for what is left over" in room.answer
    assert "30 % of the processors are busy" in room.answer
    assert "70 % are idle and too few for any waiting job" in room.answer


def test_a_forecast_on_an_empty_and_on_a_full_machine() -> None:
    idle = forecast_start(JobTable.of([0.0], [10.0], [1]), 4, "easy", processors=2, estimate_s=60.0, at_s=5.0)
    assert idle.summary == {"started_frac": 1.0, "median_wait_s": 0.0}
    exact = JobTable.of(np.arange(40) * 100.0, np.full(40, 100.0), np.full(40, 4), estimate_s=np.full(40, 100.0))
    draws = start_draws(exact, 4, "fcfs", processors=1, estimate_s=10.0, at_s=3950.0, draws=5)
    assert draws.tolist() == [4000.0] * 5  # all past jobs kept to their estimates, so this one ends at 4,000 s
    assert start_draws(exact, 4, "fcfs", processors=1, estimate_s=10.0, at_s=3950.0, draws=5, seed=9).tolist() == draws.tolist()


def test_forecasts_are_seeded_and_look_only_back() -> None:
    jobs = synthetic_jobs(seed=8, duration_s=21 * 86400.0, load=0.9, processors=32)
    now = 16 * 86400.0
    ask: dict[str, Any] = {"processors": 16, "estimate_s": 7200.0, "at_s": now, "draws": 4}
    once = start_draws(jobs, 32, "easy", **ask)
    assert once.tolist() == start_draws(jobs, 32, "easy", **ask).tolist()
    past = jobs.subset(jobs.submit_s <= now)
    assert once.tolist() == start_draws(past, 32, "easy", **ask).tolist()
    assert (once >= now).all()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"nodes": 10, "job": 99}, "explain-no-job"),
        ({"job": 1}, "explain-no-machine"),
        ({"nodes": 10, "submit": (11, 60.0)}, "forecast-value"),
        ({"nodes": 10, "submit": (1, 0.0)}, "forecast-value"),
        ({"nodes": 10, "submit": (1, 60.0), "at_s": -5.0}, "forecast-no-past"),
        ({"nodes": 10, "job": 1, "policy": "eazy"}, "unknown-name"),
    ],
)
def test_wrong_questions_are_refused(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.explain(FIVE, **arguments)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(write_swf(FIVE, tmp_path / "log.swf"))
    assert main(["explain", log, "--nodes", "10", "--job", "3", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["wait_s"] == 18.0
    assert {row["role"] for row in document["wait_jobs"]} == {"held", "ahead", "passed", "released"}
    assert main(["explain", log, "--nodes", "10", "--job", "3"]) == 0
    said = capsys.readouterr().out
    assert "who had the processors over the wait of 18 s" in said
    line = next(text.split() for text in said.splitlines() if text.startswith("  job 2 "))  # two roles, one line
    assert " ".join(line) == "job 2 8 processors for 10 s of it came before it, started while it waited, ended as it started"
    assert main(["explain", log, "--nodes", "10", "--job", "1"]) == 0
    assert "meanwhile" not in capsys.readouterr().out
    assert main(["explain", log, "--nodes", "10", "--submit", "4,1 min", "--at", "3 s"]) == 0
    assert "would wait" in capsys.readouterr().out
    assert main(["explain", log, "--nodes", "10", "--out", str(tmp_path / "room")]) == 0
    assert "one more rack" in capsys.readouterr().out
    assert (tmp_path / "room" / "room.csv").is_file()
    assert main(["explain", log, "--job", "3"]) == 2
    assert main(["explain", log, "--nodes", "10", "--submit", "many"]) == 2
    assert main(["explain", "scenarios/university-cluster.yaml", "--nodes", "3"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.is_dir(), reason="the logs are not at hand")
def test_forecasts_cover_what_happened() -> None:
    jobs = read_trace(TRACES / "KTH-SP2-first5000-clean.swf.gz").jobs.sorted_by_submit()
    outcome = run_jobs(jobs, 100, "easy")
    waited = np.flatnonzero((jobs.submit_s > 21 * 86400) & (outcome.wait_s > 60))
    picked = np.random.default_rng(1).choice(waited, 80, replace=False)
    inside = 0
    for row in picked:
        others = jobs.subset(np.arange(len(jobs)) != row)
        ask = {"processors": int(jobs.processors[row]), "estimate_s": float(jobs.estimate_s[row]), "user": int(jobs.user[row])}
        starts = start_draws(others, 100, "easy", at_s=float(jobs.submit_s[row]), draws=21, **ask)  # type: ignore[arg-type]
        ordered = np.sort(np.nan_to_num(starts, nan=np.inf))
        inside += ordered[2] - 1 <= outcome.start_s[row] <= ordered[18] + 1
    assert inside / len(picked) > 0.6
