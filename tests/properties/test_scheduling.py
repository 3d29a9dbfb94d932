"""Invariants of scheduling on generated traces; numbers are those of docs/models (handbook of invariants)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.jobs import BatchSystem, run_jobs
from hpcsim.engine.clock import Clock
from hpcsim.engine.outcome import STATUS
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_scheduler import slow_schedule

POLICIES = ("fcfs", "sjf", "easy", "easy-sjbf")
ORDERS = ("batch", "event")
MACHINE = 12


@st.composite
def traces(draw: st.DrawFn, *, whole: bool = True, most: int = 24) -> JobTable:
    """Jobs with many equal times; estimates at least the run times, often equal to them."""
    count = draw(st.integers(1, most))
    column = lambda values: draw(st.lists(values, min_size=count, max_size=count))  # noqa: E731
    submit = np.array(column(st.integers(0, 30)), dtype=float)
    run = np.array(column(st.integers(1, 12)), dtype=float)
    over = np.array(column(st.sampled_from([0, 0, 0, 1, 2, 5, 20])), dtype=float)
    if not whole:
        submit, run, over = submit * 0.1, run / 3.0, over * 0.7
    processors = column(st.one_of(st.integers(1, 4), st.integers(1, MACHINE)))
    return JobTable.of(submit, run, processors, estimate_s=run + over)


def as_dicts(jobs: JobTable) -> list[dict[str, float]]:
    columns = zip(jobs.job_id.tolist(), jobs.submit_s.tolist(), jobs.run_s.tolist(), jobs.estimate_s.tolist(), jobs.processors.tolist())
    return [dict(zip(("id", "submit", "run", "estimate", "processors"), row)) for row in columns]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES)
@given(jobs=traces(), exact=st.booleans())
@settings(max_examples=120, deadline=None)
def test_equals_the_slow_reference(policy: str, order: str, jobs: JobTable, exact: bool) -> None:
    if exact:
        jobs = jobs.with_estimates(jobs.run_s)
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    want = slow_schedule(as_dicts(jobs), MACHINE, policy, order)
    ids = jobs.sorted_by_submit().job_id.tolist()
    assert dict(zip(ids, outcome.start_s.tolist())) == want


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES)
@given(jobs=traces(whole=False))
@settings(max_examples=40, deadline=None)
def test_equals_the_slow_reference_off_whole_seconds(policy: str, order: str, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    want = slow_schedule(as_dicts(jobs), MACHINE, policy, order)
    assert dict(zip(jobs.sorted_by_submit().job_id.tolist(), outcome.start_s.tolist())) == want
