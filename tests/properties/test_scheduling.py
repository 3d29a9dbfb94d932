"""Invariants of scheduling on generated traces, for every policy, order of events and kind of estimate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost import metrics
from hpcsim.engine import jobs as engine
from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import BatchSystem, run_jobs
from hpcsim.engine.outcome import STATUS, Outcome
from hpcsim.scheduling import book
from hpcsim.scheduling import policies as rules
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_scheduler import slow_schedule

POLICIES = ("fcfs", "sjf", "easy", "easy-sjbf")
ORDERS = ("batch", "event")
MACHINE = 12

every_policy = pytest.mark.parametrize("policy", POLICIES)
every_order = pytest.mark.parametrize("order", ORDERS)


@st.composite
def traces(draw: st.DrawFn, *, whole: bool = True, most: int = 24) -> JobTable:
    """Jobs with many equal times; estimates at least the run times, often equal to them."""
    count = draw(st.integers(1, most))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=count, max_size=count))

    submit = np.array(column(st.integers(0, 30)), dtype=float)
    run = np.array(column(st.integers(1, 12)), dtype=float)
    over = np.array(column(st.sampled_from([0, 0, 0, 1, 2, 5, 20])), dtype=float)
    if not whole:
        submit, run, over = submit * 0.1, run / 3.0, over * 0.7
    processors = column(st.one_of(st.integers(1, 4), st.integers(1, MACHINE)))
    return JobTable.of(submit, run, processors, estimate_s=run + over)


def as_dicts(jobs: JobTable) -> list[dict[str, Any]]:
    names = ("id", "submit", "run", "estimate", "processors")
    columns = (jobs.job_id, jobs.submit_s, jobs.run_s, jobs.estimate_s, jobs.processors)
    return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def starts(jobs: JobTable, outcome: Outcome) -> dict[int, float]:
    return dict(zip(jobs.sorted_by_submit().job_id.tolist(), outcome.start_s.tolist(), strict=True))


@contextmanager
def queues_by_size(long_from: int = 1) -> Iterator[None]:
    """Take a queue for long from so many jobs on: waiting jobs are kept by size, promises in a book."""
    kept = engine._INDEX_FROM, engine._INDEX_UNTIL, rules._SIZES_COST, book._FEW_STEPS, book._CHUNK
    engine._INDEX_FROM, engine._INDEX_UNTIL, rules._SIZES_COST, book._FEW_STEPS, book._CHUNK = long_from, long_from // 2, 0, 2, 3
    try:
        yield
    finally:
        engine._INDEX_FROM, engine._INDEX_UNTIL, rules._SIZES_COST, book._FEW_STEPS, book._CHUNK = kept


@every_order
@every_policy
@given(jobs=traces(), estimates=st.sampled_from(["as drawn", "exact", "too short"]))
@settings(max_examples=60, deadline=None)
def test_equals_the_slow_reference(policy: str, order: Any, jobs: JobTable, estimates: str) -> None:
    """Also where jobs outrun their estimates, which then count as ending now; a long queue is kept by size."""
    if estimates == "exact":
        jobs = jobs.with_estimates(jobs.run_s)
    if estimates == "too short":
        jobs = jobs.with_estimates(np.where(jobs.job_id % 2, jobs.estimate_s, np.floor(jobs.run_s / 2)))
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    want = slow_schedule(as_dicts(jobs), MACHINE, policy, order)
    assert starts(jobs, outcome) == want
    if policy in ("easy", "easy-sjbf"):
        with queues_by_size():
            by_size = run_jobs(jobs, MACHINE, policy, order=order, record=True)
        assert starts(jobs, by_size) == want
        assert by_size.reservations == run_jobs(jobs, MACHINE, policy, order=order, record=True).reservations


@every_order
@every_policy
@given(jobs=traces(whole=False))
@settings(max_examples=25, deadline=None)
def test_equals_the_slow_reference_off_whole_seconds(policy: str, order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order, check=True)
    assert starts(jobs, outcome) == slow_schedule(as_dicts(jobs), MACHINE, policy, order)


@every_order
@every_policy
@given(jobs=traces(), until=st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_i1_i9_i11_processors_and_jobs_are_conserved(policy: str, order: Any, jobs: JobTable, until: int) -> None:
    """Up to any horizon: used + idle + down = capacity, no oversubscription, and every submitted job has one status."""
    outcome = run_jobs(jobs, MACHINE, policy, order=order, until_s=until, check=True)
    ordered = jobs.sorted_by_submit()
    counts = {status: int((outcome.submitted & (outcome.status == status)).sum()) for status in STATUS}
    assert sum(counts.values()) == int((ordered.submit_s <= until).sum())
    assert counts["finished"] == int((outcome.start_s + ordered.run_s <= until).sum())
    assert np.isnan(outcome.start_s[ordered.submit_s > until]).all()
    if until == 0:
        return
    states = metrics.occupancy(
        outcome.submit_s, outcome.start_s, outcome.end_s, outcome.processors, size=outcome.size, window_s=(0.0, float(until))
    )
    assert (states.busy >= 0).all()
    assert (states.idle >= 0).all()
    assert (states.busy + states.idle + states.down == MACHINE).all()
    assert states.start_s[0] == 0
    assert states.end_s[-1] == until
    assert (states.start_s[1:] == states.end_s[:-1]).all()
    used = metrics.busy_processor_s(outcome.start_s, outcome.end_s, outcome.processors, window_s=(0.0, float(until)))
    length = states.end_s - states.start_s
    assert float(np.dot(states.busy, length)) == pytest.approx(used, rel=1e-12)
    assert float(np.dot(states.busy + states.idle, length)) == pytest.approx(MACHINE * until, rel=1e-12)


@every_order
@every_policy
@given(jobs=traces())
@settings(max_examples=25, deadline=None)
def test_i14_i15_i20_bounds(policy: str, order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order)
    ordered = jobs.sorted_by_submit()
    assert (outcome.start_s >= ordered.submit_s).all()
    assert (outcome.end_s == outcome.start_s + ordered.run_s).all()
    assert (metrics.bounded_slowdown(outcome.wait_s, ordered.run_s) >= 1).all()
    makespan = metrics.makespan_s(ordered.submit_s, outcome.end_s)
    work = float(np.dot(ordered.run_s, ordered.processors))
    assert makespan >= work / MACHINE
    assert makespan >= (ordered.submit_s + ordered.run_s).max() - ordered.submit_s.min()
    window = (float(ordered.submit_s.min()), float(outcome.end_s.max()))
    assert 0 < metrics.utilisation(outcome.start_s, outcome.end_s, ordered.processors, capacity=MACHINE, window_s=window) <= 1
    assert 1 / len(jobs) <= metrics.jain_index(outcome.wait_s) * (1 + 1e-12)
    assert metrics.jain_index(outcome.wait_s) <= 1 + 1e-12


@given(runs=st.lists(st.integers(1, 20), min_size=1, max_size=7), machines=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_i14_list_scheduling_is_within_two_less_one_over_m_of_the_optimum(runs: list[int], machines: int) -> None:
    """Graham 1966: independent serial jobs that all wait at the start; the optimum by trying every assignment."""
    jobs = JobTable.of([0] * len(runs), runs, [1] * len(runs))
    makespan = float(run_jobs(jobs, machines, "fcfs").end_s.max())
    loads = {tuple([0] * machines)}
    for run in runs:
        loads = {tuple(sorted(load + run * (i == at) for i, load in enumerate(state))) for state in loads for at in range(machines)}
    best = min(max(state) for state in loads)
    assert best <= makespan <= (2 - 1 / machines) * best


@every_order
@every_policy
@given(jobs=traces(), names=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_i31_names_of_jobs_and_users_do_not_matter(policy: str, order: Any, jobs: JobTable, names: Any) -> None:
    ids = list(range(1, len(jobs) + 1))
    names.shuffle(ids)
    renamed = dataclasses.replace(jobs, job_id=np.array(ids), user=np.array(ids) * 7)
    first, second = (run_jobs(table, MACHINE, policy, order=order) for table in (jobs, renamed))
    assert np.array_equal(first.start_s, second.start_s)


@every_order
@every_policy
@given(jobs=traces(), draw=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_i32_file_order_matters_only_among_equal_times_of_submission(policy: str, order: Any, jobs: JobTable, draw: Any) -> None:
    instants = sorted(set(jobs.submit_s.tolist()))
    draw.shuffle(instants)
    shuffled = jobs.subset([row for instant in instants for row in np.flatnonzero(jobs.submit_s == instant)])
    first, second = (starts(table, run_jobs(table, MACHINE, policy, order=order)) for table in (jobs, shuffled))
    assert first == second


@every_order
@every_policy
@given(jobs=traces())
@settings(max_examples=15, deadline=None)
def test_i33_equal_input_equal_bits(policy: str, order: Any, jobs: JobTable) -> None:
    first, second = (run_jobs(jobs, MACHINE, policy, order=order) for _ in range(2))
    assert first.start_s.tobytes() == second.start_s.tobytes()
    watched = run_jobs(jobs, MACHINE, policy, order=order, record=True, check=True, observers=[lambda kind, time, fields: None])
    assert watched.start_s.tobytes() == first.start_s.tobytes()


@every_order
@every_policy
@given(jobs=traces(), scale=st.sampled_from([0.5, 2.0, 1024.0]))
@settings(max_examples=15, deadline=None)
def test_i30_all_times_scale(policy: str, order: Any, jobs: JobTable, scale: float) -> None:
    first, second = (run_jobs(table, MACHINE, policy, order=order) for table in (jobs, jobs.scaled(time=scale)))
    assert np.array_equal(first.start_s * scale, second.start_s)


@every_policy
@given(jobs=traces(), at=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_i35_a_job_of_no_length_changes_nothing_where_it_need_not_wait(policy: str, jobs: JobTable, at: int) -> None:
    """On a machine with one processor more than the jobs can ever use, a zero-length serial job starts and ends at its submission."""
    size = int(jobs.processors.sum()) + 1
    more = JobTable.of(
        [*jobs.submit_s, at], [*jobs.run_s, 0], [*jobs.processors, 1], estimate_s=[*jobs.estimate_s, 0], job_id=[*jobs.job_id, 1000]
    )
    with_it = starts(more, run_jobs(more, size, policy))
    assert with_it.pop(1000) == at
    assert with_it == starts(jobs, run_jobs(jobs, size, policy))


@every_order
@pytest.mark.parametrize("policy", ["easy", "easy-sjbf"])
@given(jobs=traces())
@settings(max_examples=60, deadline=None)
def test_i37_the_reservation_of_the_head_never_moves_later(policy: str, order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, policy, order=order, record=True)
    promised: dict[int, float] = {}
    for time, reservation in outcome.reservations:
        assert reservation.shadow_s >= time
        assert reservation.shadow_s <= promised.get(reservation.job, np.inf)
        promised[reservation.job] = reservation.shadow_s
    for job, shadow in promised.items():
        assert outcome.start_s[job] <= shadow


@every_order
@given(jobs=traces())
@settings(max_examples=40, deadline=None)
def test_i40_first_come_first_served_starts_in_order(order: Any, jobs: JobTable) -> None:
    outcome = run_jobs(jobs, MACHINE, "fcfs", order=order)
    assert (np.diff(outcome.start_s) >= 0).all()


@every_policy
@given(jobs=traces())
@settings(max_examples=40, deadline=None)
def test_i41_the_head_starts_as_soon_as_it_fits(policy: str, jobs: JobTable) -> None:
    """After every pass the head of the queue needs more than is free; seen from outside, through the starts alone."""
    outcome = run_jobs(jobs, MACHINE, policy)
    ordered = jobs.sorted_by_submit()
    place = np.lexsort((np.arange(len(jobs)), ordered.submit_s, ordered.estimate_s)) if policy == "sjf" else np.arange(len(jobs))
    for now in np.unique(np.concatenate([ordered.submit_s, outcome.end_s])):
        running = (outcome.start_s <= now) & (outcome.end_s > now)
        waiting = [job for job in place.tolist() if ordered.submit_s[job] <= now < outcome.start_s[job]]
        if waiting:
            assert ordered.processors[waiting[0]] > MACHINE - ordered.processors[running].sum()


@every_policy
@given(jobs=traces(most=12), cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, MACHINE), st.integers(1, 30)), max_size=4))
@settings(max_examples=30, deadline=None)
def test_i1_i11_hold_while_processors_go_and_come_back(policy: str, jobs: JobTable, cuts: list[tuple[int, int, int]]) -> None:
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
    outcome = system.outcome()
    assert (outcome.status == "finished").all()
    end = float(clock.now)
    states = metrics.occupancy(
        outcome.submit_s,
        outcome.start_s,
        outcome.end_s,
        outcome.processors,
        size=MACHINE,
        window_s=(0.0, end),
        down_changes=outcome.down_changes,
    )
    assert (states.idle >= 0).all()
    assert (states.down >= 0).all()
    assert (states.busy + states.idle + states.down == MACHINE).all()
    assert system.down == system.owed == 0
