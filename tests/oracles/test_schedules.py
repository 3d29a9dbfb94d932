"""Schedules that are known from elsewhere: worked by hand, published, or from queueing theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpcsim.base.rng import stream
from hpcsim.engine.jobs import run_jobs
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_scheduler import slow_schedule

FIVE = ((0, 6, 10), (1, 8, 10), (2, 4, 20), (3, 2, 30), (4, 2, 5))
FOUR = ((0, 6, 10), (1, 8, 10), (2, 9, 10), (3, 2, 40))
"""(submission, processors, run = estimate) on ten processors."""

CASES = [
    (FIVE, "fcfs", (0, 10, 20, 20, 20)),
    (FIVE, "easy", (0, 10, 20, 3, 4)),
    (FOUR, "fcfs", (0, 10, 20, 30)),
    (FOUR, "easy", (0, 10, 43, 3)),  # the long job takes what the head leaves over, and the third job pays for it
]


@pytest.mark.parametrize("order", ["batch", "event"])
@pytest.mark.parametrize(("jobs", "policy", "starts"), CASES)
def test_worked_by_hand(jobs: tuple[tuple[int, int, int], ...], policy: str, starts: tuple[int, ...], order: str) -> None:
    submit, processors, run = zip(*jobs, strict=True)
    outcome = run_jobs(JobTable.of(submit, run, processors), 10, policy, order=order, check=True)  # type: ignore[arg-type]
    assert tuple(outcome.start_s.tolist()) == starts
    rows = [dict(id=i, submit=s, processors=p, run=r, estimate=r) for i, (s, p, r) in enumerate(jobs)]
    assert tuple(slow_schedule(rows, 10, policy, order)[i] for i in range(len(jobs))) == starts


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival waits in M/M/c (Erlang 1917)."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


def queue_run(servers: int, load: float, jobs: int, seed: int) -> tuple[np.ndarray, JobTable, np.ndarray]:
    draw = stream(seed, "tests", "queue", servers)
    table = JobTable.of(np.cumsum(draw.exponential(1 / load, jobs)), draw.exponential(1.0, jobs), np.ones(jobs, dtype=int))
    outcome = run_jobs(table, servers, "fcfs")
    return outcome.wait_s, table, outcome.end_s


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (10, 8.0)])
def test_i50_mean_wait_of_an_mmc_queue(servers: int, load: float) -> None:
    """Serial jobs, Poisson arrivals, exponential runs of mean 1: mean wait C(c, a)/(c − a), within four standard errors of batch means."""
    wait, _, _ = queue_run(servers, load, 120_000, seed=1)
    batches = wait[20_000:].reshape(50, -1).mean(axis=1)
    want = erlang_c(servers, load) / (servers - load)
    assert abs(batches.mean() - want) < 4 * batches.std(ddof=1) / math.sqrt(len(batches))
    waited = (wait[20_000:] > 0).reshape(50, -1).mean(axis=1)
    assert abs(waited.mean() - erlang_c(servers, load)) < 4 * waited.std(ddof=1) / math.sqrt(len(waited))


def test_erlang_c_of_the_literature() -> None:
    """c = 10 and a = 8: a mean wait of 0.20459 service times."""
    assert erlang_c(10, 8.0) / 2 == pytest.approx(0.20459, abs=5e-6)
    assert erlang_c(1, 0.6) == pytest.approx(0.6)


def test_i49_littles_law_holds_exactly_over_a_busy_period() -> None:
    """From the first arrival until all have left, ∫ jobs in the system dt = Σ time in the system."""
    wait, table, end = queue_run(3, 2.5, 5_000, seed=2)
    moments = np.sort(np.concatenate([table.submit_s, end]))
    inside = np.searchsorted(np.sort(table.submit_s), moments[:-1], side="right") - np.searchsorted(
        np.sort(end), moments[:-1], side="right"
    )
    area = float(np.dot(inside, np.diff(moments)))
    assert area == pytest.approx(float((wait + table.run_s).sum()), rel=1e-9)
