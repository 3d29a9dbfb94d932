"""Invariants of conservative backfilling and of the policies that order the queue, on generated traces."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.rng import stream
from hpcsim.cost import metrics
from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import BatchSystem, run_jobs
from hpcsim.scheduling.conservative import Conservative
from hpcsim.scheduling.policies import Decision, Policy, View, make_policy
from hpcsim.scheduling.priority import FairShare, FairTree
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_scheduler import slow_schedule
from tests.properties.test_scheduling import queues_by_size

ORDERS = ("batch", "event")
MACHINE = 12
STATIC = ("ljf", "smallest-area", "largest-area")
DYNAMIC = ("wfp3", "unicef", "priority", "fairshare", "fair-tree")
ALL = ("conservative", *STATIC, *DYNAMIC)

every_policy = pytest.mark.parametrize("policy", ALL)
every_order = pytest.mark.parametrize("order", ORDERS)


def made(policy: str) -> Policy:
    """Usage does not fade where the oracle's does not: sums of whole numbers are exact, and ties stay ties."""
    if policy == "fairshare":
        return FairShare(half_life_s=np.inf)
    return FairTree(half_life_s=np.inf) if policy == "fair-tree" else make_policy(policy)


@st.composite
def traces(draw: st.DrawFn, *, whole: bool = True, most: int = 20) -> JobTable:
    """Jobs with many equal times; estimates at least the run times, often equal to them; four users in two accounts."""
    count = draw(st.integers(1, most))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=count, max_size=count))

    submit = np.array(column(st.integers(0, 30)), dtype=float)
    run = np.array(column(st.integers(1, 12)), dtype=float)
    over = np.array(column(st.sampled_from([0, 0, 0, 1, 2, 5, 20])), dtype=float)
    if not whole:
        submit, run, over = submit * 0.1, run / 3.0, over * 0.7
    processors = column(st.one_of(st.integers(1, 4), st.integers(1, MACHINE)))
    user = np.array(column(st.integers(0, 3)))
    return JobTable.of(submit, run, processors, estimate_s=run + over, user=user, group=user // 2)


def as_dicts(jobs: JobTable) -> list[dict[str, Any]]:
    names = ("id", "submit", "run", "estimate", "processors", "user", "group")
    columns = (jobs.job_id, jobs.submit_s, jobs.run_s, jobs.estimate_s, jobs.processors, jobs.user, jobs.group)
    return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def starts(jobs: JobTable, start_s: Any) -> dict[int, float]:
    return dict(zip(jobs.sorted_by_submit().job_id.tolist(), start_s.tolist(), strict=True))


@every_order
@every_policy
@given(jobs=traces(), estimates=st.sampled_from(["as drawn", "exact", "too short"]))
@settings(max_examples=40, deadline=None)
def test_equals_the_slow_reference(policy: str, order: Any, jobs: JobTable, estimates: str) -> None:
    """Also where jobs outrun their estimates, which then count as ending now, and where an estimate is nil."""
    if estimates == "exact":
        jobs = jobs.with_estimates(jobs.run_s)
    if estimates == "too short":
        jobs = jobs.with_estimates(np.where(jobs.job_id % 2, jobs.estimate_s, np.floor(jobs.run_s / 2)))
    outcome = run_jobs(jobs, MACHINE, made(policy), order=order, check=True)
    want = slow_schedule(as_dicts(jobs), MACHINE, policy, order)
    assert starts(jobs, outcome.start_s) == want
    for long_from in (1, 4) if policy == "conservative" else ():  # a long queue is kept by size, its promises in a book
        with queues_by_size(long_from):
            booked = run_jobs(jobs, MACHINE, policy, order=order, record=True)
        assert starts(jobs, booked.start_s) == want
        assert booked.reservations == run_jobs(jobs, MACHINE, policy, order=order, record=True).reservations


@every_order
@pytest.mark.parametrize("policy", ["conservative", *STATIC, "wfp3", "unicef", "priority"])
@given(jobs=traces(whole=False))
@settings(max_examples=20, deadline=None)
def test_equals_the_slow_reference_off_whole_seconds(policy: str, order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    assert starts(jobs, outcome.start_s) == slow_schedule(as_dicts(jobs), MACHINE, policy, order)


@every_order
@every_policy
@given(jobs=traces())
@settings(max_examples=15, deadline=None)
def test_i14_i15_i20_bounds(policy: str, order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    ordered = jobs.sorted_by_submit()
    assert (outcome.start_s >= ordered.submit_s).all()
    assert (outcome.end_s == outcome.start_s + ordered.run_s).all()
    window = (float(ordered.submit_s.min()), float(outcome.end_s.max()))
    assert window[1] - window[0] >= float(np.dot(ordered.run_s, ordered.processors)) / MACHINE
    assert 0 < metrics.utilisation(outcome.start_s, outcome.end_s, ordered.processors, capacity=MACHINE, window_s=window) <= 1


@every_order
@every_policy
@given(jobs=traces(most=12))
@settings(max_examples=15, deadline=None)
def test_i31_i33_names_and_watching_change_nothing(policy: str, order: Any, jobs: JobTable) -> None:
    first = run_jobs(jobs, MACHINE, policy, order=order)
    again = run_jobs(jobs, MACHINE, policy, order=order, record=True, check=True, observers=[lambda kind, time, fields: None])
    renamed = dataclasses.replace(jobs, job_id=jobs.job_id[::-1].copy(), user=9 - jobs.user, group=7 - jobs.group)
    other = run_jobs(renamed, MACHINE, policy, order=order)
    assert first.start_s.tobytes() == again.start_s.tobytes() == other.start_s.tobytes()


@every_order
@pytest.mark.parametrize("policy", ["conservative", *STATIC])
@given(jobs=traces(), scale=st.sampled_from([0.5, 2.0, 1024.0]))
@settings(max_examples=15, deadline=None)
def test_i30_all_times_scale(policy: str, order: Any, jobs: JobTable, scale: float) -> None:
    first, second = (run_jobs(table, MACHINE, policy, order=order) for table in (jobs, jobs.scaled(time=scale)))
    assert np.array_equal(first.start_s * scale, second.start_s)


@every_policy
@given(jobs=traces(most=12), cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, MACHINE), st.integers(1, 30)), max_size=4))
@settings(max_examples=20, deadline=None)
def test_i1_i11_hold_while_processors_go_and_come_back(policy: str, jobs: JobTable, cuts: list[tuple[int, int, int]]) -> None:
    """``check`` asserts after every pass that free + used + out of service is the machine; in the end every job has run."""
    clock = Clock()
    system = BatchSystem(clock, MACHINE, policy, check=True)
    system.submit(jobs)
    for at, processors, length in cuts:

        def out(event: Any, processors: int = processors, length: int = length) -> None:
            before = system.down + system.owed
            system.withdraw(processors)
            gone = system.down + system.owed - before
            clock.at(clock.now + length, lambda event: system.restore(gone))

        clock.at(float(at), out)
    clock.run()
    assert (system.outcome().status == "finished").all()
    assert system.down == system.owed == 0


@pytest.mark.parametrize("policy", STATIC)
@given(jobs=traces())
@settings(max_examples=25, deadline=None)
def test_i41_nobody_passes_the_head_and_it_starts_when_it_fits(policy: str, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy)
    ordered = jobs.sorted_by_submit()
    area = ordered.estimate_s * ordered.processors
    key = {"ljf": -ordered.estimate_s, "smallest-area": area, "largest-area": -area}[policy]
    place = np.lexsort((np.arange(len(jobs)), ordered.submit_s, key))
    for now in np.unique(np.concatenate([ordered.submit_s, outcome.end_s])):
        running = (outcome.start_s <= now) & (outcome.end_s > now)
        waiting = [job for job in place.tolist() if ordered.submit_s[job] <= now < outcome.start_s[job]]
        if waiting:
            assert ordered.processors[waiting[0]] > MACHINE - ordered.processors[running].sum()


# -- promises, over 300 random traces each ---------------------------------------------------------------------------------------------


class Recorded(Conservative):
    """Writes down every promise; ``forget`` makes it plan all anew at every pass."""

    def __init__(self, *, forget: bool = False) -> None:
        self.forget = forget
        self.history: dict[int, list[float]] = {}

    def decide(self, view: View, /) -> Decision:  # type: ignore[override]
        decision = Conservative.decide(dataclasses.replace(view, memo=None) if self.forget else view)
        for job, start in [*decision.memo.start_s.items(), *((job, view.now_s) for job in decision.start)]:
            self.history.setdefault(job, []).append(start)
        return decision


def random_trace(seed: int, *, exact: bool) -> JobTable:
    """Twenty jobs on eight processors; estimates up to four times the run, some exact."""
    draw = stream(seed, "tests", "conservative")
    run = draw.integers(1, 20, 20).astype(float)
    over = np.where(draw.random(20) < 0.3, 1.0, draw.uniform(1.0, 4.0, 20))
    return JobTable.of(draw.integers(0, 40, 20), run, draw.integers(1, 9, 20), estimate_s=run if exact else np.floor(run * over))


def put_off(policy: Recorded) -> int:
    """Return how many jobs were ever promised a later time than before."""
    return sum(any(b > a for a, b in pairwise(times)) for times in policy.history.values())


@every_order
def test_i38_no_promise_ever_moves_later(order: Any) -> None:
    """And whoever plans anew at every pass breaks some, so that the test can fail."""
    broken = 0
    for seed in range(300):
        jobs = random_trace(seed, exact=False)
        policy, rebuilt = Recorded(), Recorded(forget=True)
        outcome = run_jobs(jobs, 8, policy, order=order, check=True)
        assert put_off(policy) == 0
        assert all(outcome.start_s[job] == times[-1] <= times[0] for job, times in policy.history.items())
        assert len(policy.history) == len(jobs)
        run_jobs(jobs, 8, rebuilt, order=order)
        broken += put_off(rebuilt) > 0
    assert broken > 0


@every_order
def test_i39_with_exact_estimates_compressing_is_planning_anew(order: Any) -> None:
    for seed in range(300):
        jobs = random_trace(seed, exact=True)
        first, second = (run_jobs(jobs, 8, Recorded(forget=forget), order=order) for forget in (False, True))
        assert np.array_equal(first.start_s, second.start_s)


def test_i39_is_about_exact_estimates_only() -> None:
    differ = 0
    for seed in range(100):
        jobs = random_trace(seed, exact=False)
        first, second = (run_jobs(jobs, 8, Recorded(forget=forget)) for forget in (False, True))
        differ += not np.array_equal(first.start_s, second.start_s)
    assert differ > 0


@every_order
@given(jobs=traces())
@settings(max_examples=40, deadline=None)
def test_i38_no_later_job_changes_what_was_promised(order: Any, jobs: JobTable) -> None:
    """With exact estimates, taking away the last jobs to arrive leaves every other start as it is."""
    jobs = jobs.with_estimates(jobs.run_s).sorted_by_submit()
    half = len(jobs) // 2
    whole = run_jobs(jobs, MACHINE, "conservative", order=order).start_s[:half]
    assert np.array_equal(whole, run_jobs(jobs.subset(np.arange(half)), MACHINE, "conservative", order=order).start_s)


@every_order
@given(jobs=traces())
@settings(max_examples=30, deadline=None)
def test_what_the_head_is_told_is_kept(order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, "conservative", order=order, record=True)
    promised: dict[int, float] = {}
    for time, reservation in outcome.reservations:
        assert time <= reservation.shadow_s <= promised.get(reservation.job, np.inf)
        assert 0 <= reservation.extra < MACHINE
        promised[reservation.job] = reservation.shadow_s
    assert all(outcome.start_s[job] <= shadow for job, shadow in promised.items())
