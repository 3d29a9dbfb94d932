"""Policies that stop jobs: small cases by hand, Schrage's theorem, and what a stopped job keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.engine.jobs import run_jobs
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.engine.stopping import Stopping
from hpcsim.scheduling.machine import Machine, NodeClass
from hpcsim.scheduling.policies import make_policy, policies
from hpcsim.testing.policies import check_policy
from hpcsim.workload.jobs import JobTable

PREEMPTIVE = ["srpt", "las", "preempt", "deadline", "finish-time-fair", "gang"]
FOUR = JobTable.of([0, 2, 3, 4], [20, 10, 2, 6], [4, 3, 1, 2], priority=[0, 1, 0, 2])


@pytest.mark.parametrize("policy", PREEMPTIVE)
def test_conforms(policy: str) -> None:
    check_policy(policies.get(policy), seeds=2)


def test_shortest_remaining_stops_the_longer_by_hand() -> None:
    """Job 1 (20 s) gives way at 2 s to job 2, beside which job 3 runs from 3 to 5; job 4 (6 s) takes the place of job 2, which has 8 s left, at 4 s."""
    outcome = run_jobs(FOUR, 4, "srpt", check=True)
    assert outcome.start_s.tolist() == [0.0, 2.0, 3.0, 4.0]
    assert outcome.end_s.tolist() == [36.0, 18.0, 5.0, 10.0]
    assert outcome.stopped_s is not None
    assert outcome.stopped_s.tolist() == [16.0, 6.0, 0.0, 0.0]
    assert outcome.run_s.tolist() == [20.0, 10.0, 2.0, 6.0]


def test_four_jobs_tell_all_of_them_apart() -> None:
    """Four processors. Under srpt, at 6 s job 4 (4 s) takes the place of job 1, which has 9 s left and goes on at 7 s when job 3 ends; job 2, three
    processors wide, can stop nobody who has more left than it until 16 s."""
    jobs = JobTable.of([1, 5, 5, 6], [14, 8, 2, 4], [2, 3, 2, 2], priority=[0, 2, 0, 1])
    ends = {
        "srpt": [16, 24, 7, 10],
        "las:threshold_s=12": [19, 23, 7, 15],
        "gang:quantum_s=3": [25, 21, 10, 12],
        "finish-time-fair:lease_s=2": [23, 19, 7, 11],
        "deadline:slack=3": [24, 18, 7, 10],
        "preempt": [27, 13, 19, 17],
        "fcfs": [15, 23, 25, 27],
        "easy": [15, 23, 7, 11],
    }
    assert {name: run_jobs(jobs, 4, name, check=True).end_s.tolist() for name in ends} == ends
    assert len({tuple(end) for end in ends.values()}) == len(ends)


def test_priority_stops_the_lower_only() -> None:
    """Job 2 (priority 1) stops job 1 (0), job 4 (2) stops job 2; job 3 (0) fits beside it. Requeued jobs begin anew."""
    outcome = run_jobs(FOUR, 4, "preempt", check=True)
    assert outcome.end_s.tolist() == [40.0, 20.0, 5.0, 10.0]
    assert [(s.job, s.kept_s, s.lost_s) for s in outcome.stretches] == [(0, 0.0, 2.0), (1, 0.0, 2.0)]
    cancelled = run_jobs(FOUR, 4, "preempt:mode=cancel", check=True)
    assert cancelled.status.tolist() == ["cancelled", "cancelled", "finished", "finished"]


def test_least_attained_service_lowers_a_job_at_its_threshold() -> None:
    """One processor, 10 s: job 1 falls at 10 s and gives way to job 2, which falls at 20 s; then they go by submission."""
    jobs = JobTable.of([0, 1], [15, 12], [1, 1])
    outcome = run_jobs(jobs, 1, "las:threshold_s=10", check=True)
    assert outcome.start_s.tolist() == [0.0, 10.0]
    assert outcome.end_s.tolist() == [25.0, 27.0]


def test_gangs_take_turns_whole() -> None:
    """I45. Two jobs of the whole machine: turns of 5 s. At no time does one hold a part of it."""
    jobs = JobTable.of([0, 0], [10, 10], [4, 4])
    outcome = run_on_machine(jobs, Machine.of([NodeClass("n", 2, 2)]), "gang:quantum_s=5", check=True)
    assert outcome.end_s.tolist() == [15.0, 20.0]
    start, end, processors = outcome.busy
    assert sorted(zip(start.tolist(), end.tolist(), processors.tolist(), strict=True)) == [(0, 5, 4), (5, 10, 4), (10, 15, 4), (15, 20, 4)]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_schrage_no_policy_has_a_lower_mean_response_than_srpt(data: st.DataObject) -> None:
    """One processor, exact run times."""
    count = data.draw(st.integers(1, 12))
    column = lambda low, high: np.array(data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), dtype=float)  # noqa: E731
    jobs = JobTable.of(column(0, 20), column(1, 12), np.ones(count, dtype=int)).sorted_by_submit()
    best = float((run_jobs(jobs, 1, "srpt").end_s - jobs.submit_s).mean())
    for other in ("fcfs", "sjf", "easy", "las:threshold_s=3", "gang:quantum_s=2", "deadline"):
        assert best <= float((run_jobs(jobs, 1, other).end_s - jobs.submit_s).mean()) + 1e-9


@pytest.mark.parametrize("policy", ["srpt", "las:threshold_s=4", "gang:quantum_s=2", "preempt:mode=checkpoint", "preempt", "deadline"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_i46_a_stopped_job_keeps_no_more_than_it_has_done(policy: str, data: st.DataObject) -> None:
    """And in the end every job has worked for its run time, and for what stopping cost it; no more processors are busy than there are."""
    count = data.draw(st.integers(1, 12))
    column = lambda low, high: np.array(data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))  # noqa: E731
    jobs = JobTable.of(
        column(0, 20).astype(float), column(1, 12).astype(float), column(1, 6), priority=column(0, 2).astype(float)
    ).sorted_by_submit()
    stopping = Stopping(save_s=1.0, restore_s=2.0, interval_s=3.0, resubmit_s=1.0, notice=data.draw(st.booleans()))
    outcome = run_on_machine(jobs, Machine.of([NodeClass("n", 2, 3)]), policy, stopping=stopping, check=True)
    assert not np.isnan(outcome.end_s).any()
    extra = np.zeros(count)
    kept: dict[int, float] = {}
    for stretch in outcome.stretches:
        assert 0 <= stretch.kept_s <= jobs.run_s[stretch.job]
        assert stretch.kept_s <= kept.get(stretch.job, 0.0) + stretch.end_s - stretch.start_s + 1e-9
        kept[stretch.job] = stretch.kept_s
    start, end, processors = outcome.busy
    for time in np.unique(start):
        assert processors[(start <= time) & (end > time)].sum() <= 6
    np.add.at(extra, [s.job for s in outcome.stretches], [s.end_s - s.start_s for s in outcome.stretches])
    worked = extra + outcome.end_s - np.array([outcome.resumed_s.get(job, s) for job, s in enumerate(outcome.start_s.tolist())])
    assert (worked >= jobs.run_s - 1e-9).all()
    lossless = [job for job in range(count) if job not in kept]
    np.testing.assert_allclose(worked[lossless], jobs.run_s[lossless])
    if policy.split(":")[0] in ("srpt", "las", "gang", "deadline"):
        np.testing.assert_allclose(worked, jobs.run_s)


def test_m87_the_loss_of_a_victim() -> None:
    """Without notice: 60 s to restore, 30 s to come back, half of 900 s between checkpoints."""
    stopping = Stopping(restore_s=60.0, interval_s=900.0, resubmit_s=30.0, notice=False)
    assert stopping.cost_s("checkpoint") == 540.0
    lost = [
        stopping.restore_s + stopping.resubmit_s + worked - stopping.kept_s("checkpoint", 0.0, worked) for worked in np.arange(0.5, 9000.0)
    ]
    assert np.mean(lost) == pytest.approx(540.0)


@pytest.mark.parametrize(
    "name",
    [
        "srpt:mode=kill",
        "las:mode=requeue",
        "gang:mode=requeue",
        "finish-time-fair:mode=requeue",
        "gang:quantum_s=0",
        "las:threshold_s=-1",
        "preempt:grace_s=nan",
    ],
)
def test_bad_options_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        make_policy(name)


def test_what_a_process_drives_is_never_stopped() -> None:
    from hpcsim.engine.clock import Clock
    from hpcsim.engine.machine import MachineSystem

    clock = Clock()
    system = MachineSystem(clock, Machine.of([NodeClass("n", 1, 4)]), "srpt")
    ticket: Any = system.request(4, estimate_s=100.0)
    system.submit(JobTable.of([1.0], [5.0], [4]))
    clock.at(50.0, lambda _: system.release(ticket))
    clock.run()
    assert system.outcome().start_s.tolist() == [0.0, 50.0]
