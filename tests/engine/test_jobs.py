from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import BatchSystem, PolicyFault, run_jobs
from hpcsim.scheduling.policies import Decision
from hpcsim.workload.jobs import JobTable


def table(*jobs: tuple[float, float, int]) -> JobTable:
    """Jobs as (submit, run, processors), estimates exact."""
    return JobTable.of(*(list(column) for column in zip(*jobs, strict=True)))


def test_fcfs_by_hand() -> None:
    outcome = run_jobs(table((0, 10, 6), (1, 10, 8), (2, 20, 4), (3, 30, 2), (4, 5, 2)), 10, "fcfs", check=True)
    assert outcome.start_s.tolist() == [0, 10, 20, 20, 20]
    assert outcome.end_s.tolist() == [10, 20, 40, 50, 25]
    assert outcome.status.tolist() == ["finished"] * 5
    assert outcome.wait_s.tolist() == [0, 9, 18, 17, 16]


def test_a_job_in_the_table_order_of_submission() -> None:
    jobs = JobTable.of([5, 0], [1, 1], [1, 1], job_id=[50, 10])
    outcome = run_jobs(jobs, 1, "fcfs")
    assert dict(zip(jobs.sorted_by_submit().job_id.tolist(), outcome.start_s.tolist(), strict=True)) == {10: 0.0, 50: 5.0}


def test_orders_of_events_differ_where_they_should() -> None:
    """At 10 s job 0 ends before its estimate and job 2 arrives. In batch order both are seen at once, and job 1, the head, starts; in event
    order job 2 is seen first, with the processor of job 0 still taken, and then job 0 ends."""
    jobs = JobTable.of([0, 1, 10], [10, 5, 3], [3, 4, 1], estimate_s=[50, 5, 3])
    batch, event = (run_jobs(jobs, 4, "easy", order=order, check=True) for order in ("batch", "event"))
    assert batch.start_s.tolist() == [0, 10, 15]
    assert event.start_s.tolist() == [0, 13, 10]


def test_in_event_order_an_end_exactly_as_estimated_comes_before_the_arrival() -> None:
    jobs = JobTable.of([0, 1, 10], [10, 5, 3], [3, 4, 1], estimate_s=[10, 5, 3])
    assert run_jobs(jobs, 4, "easy", order="event", check=True).start_s.tolist() == [0, 10, 15]


def test_a_horizon_leaves_jobs_running_and_queued() -> None:
    outcome = run_jobs(table((0, 10, 1), (0, 10, 1), (3, 10, 1), (50, 1, 1)), 2, "fcfs", until_s=9.0)
    assert outcome.status.tolist() == ["running", "running", "queued", "queued"]
    assert outcome.submitted.tolist() == [True, True, True, False]
    assert np.isnan(outcome.end_s).all()
    assert outcome.now_s == 9.0
    assert run_jobs(
        table(
            (0, 10, 1),
        ),
        2,
        "fcfs",
        until_s=10.0,
    ).status.tolist() == ["finished"]


def test_what_the_pool_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        run_jobs(table((0, 1, 5)), 4, "fcfs")
    assert [problem.code for problem in caught.value.problems] == ["job-too-large"]
    for bad in (0, -1, 2.5, True):
        with pytest.raises(InputError):
            run_jobs(table((0, 1, 1)), bad, "fcfs")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        run_jobs(table((0, 1, 1)), 4, "fcfs", order="tick")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        run_jobs(table((0, 1, 1)), 4, "fsfc")


def test_no_jobs() -> None:
    assert len(run_jobs(JobTable.of([], [], []), 4, "easy").start_s) == 0


def drive(clock: Clock, system: BatchSystem, log: list[Any], name: str, submit: float, run: float, size: int, **how: Any) -> None:
    """A job as a process: it waits for its start, works, and gives its processors back."""

    def process() -> Any:
        yield clock.timeout(submit)
        ticket = system.request(size, estimate_s=how.get("estimate", run), name=name)
        yield ticket
        log.append((name, "start", clock.now))
        yield clock.timeout(run)
        system.release(ticket, failed=how.get("failed", False))
        log.append((name, "end", clock.now))

    clock.process(process())


@pytest.mark.parametrize("order", ["batch", "event"])
@pytest.mark.parametrize("policy", ["fcfs", "easy"])
def test_processes_and_trace_jobs_stand_in_one_queue(policy: str, order: Any) -> None:
    """The same five jobs, every choice of which are processes: equal starts."""
    jobs = [(0.0, 10.0, 6), (1.0, 10.0, 8), (2.0, 20.0, 4), (3.0, 30.0, 2), (4.0, 5.0, 2)]
    want = run_jobs(table(*jobs), 10, policy, order=order).start_s.tolist()
    for mask in range(32):
        clock, log = Clock(), []
        system = BatchSystem(clock, 10, policy, order=order, check=True)
        traced = [job for bit, job in enumerate(jobs) if not mask >> bit & 1]
        if traced:
            system.submit(table(*traced))
        for bit, (submit, run, size) in enumerate(jobs):
            if mask >> bit & 1:
                drive(clock, system, log, str(bit), submit, run, size)
        clock.run()
        starts = iter(system.outcome().start_s.tolist())
        got = [next(starts) if not mask >> bit & 1 else None for bit in range(5)]
        by_process = {int(name): time for name, what, time in log if what == "start"}
        assert [by_process[bit] if time is None else time for bit, time in enumerate(got)] == want


def test_a_process_may_outrun_its_estimate() -> None:
    """Job a says 10 s and takes 100 s. From 10 s on it counts as ending now: b's reservation moves on, and nobody slips in."""
    clock, log = Clock(), []
    system = BatchSystem(clock, 4, "easy", check=True)
    drive(clock, system, log, "a", 0.0, 100.0, 3, estimate=10.0)
    drive(clock, system, log, "b", 1.0, 5.0, 4)
    drive(clock, system, log, "c", 2.0, 8.0, 1)
    drive(clock, system, log, "d", 20.0, 8.0, 1)
    clock.run()
    assert {name: time for name, what, time in log if what == "start"} == {"a": 0.0, "c": 2.0, "b": 100.0, "d": 105.0}


def test_names_and_statuses_of_processes() -> None:
    clock, log = Clock(), []
    system = BatchSystem(clock, 2, "fcfs", check=True)
    drive(clock, system, log, "good", 0.0, 5.0, 1)
    drive(clock, system, log, "bad", 0.0, 5.0, 1, failed=True)

    def gives_up() -> Any:
        yield clock.timeout(1.0)
        ticket = system.request(2, estimate_s=1.0, name="gone")
        yield clock.timeout(3.0)
        system.release(ticket)
        system.release(ticket)

    clock.process(gives_up())
    clock.run()
    outcome = system.outcome()
    by_name = {outcome.names[job]: status for job, status in enumerate(outcome.status.tolist())}
    assert outcome.end_s.tolist() == [5.0, 5.0, 4.0]
    assert by_name == {"good": "finished", "bad": "failed", "gone": "cancelled"}


def test_cancelling_the_head_lets_the_next_one_start() -> None:
    clock = Clock()
    system = BatchSystem(clock, 2, "fcfs", check=True)
    system.submit(table((0, 100, 1), (2, 5, 1)))
    tickets = []
    clock.at(1.0, lambda event: tickets.append(system.request(2, estimate_s=1.0)))
    clock.at(7.0, lambda event: system.release(tickets[0]))
    clock.run()
    assert system.outcome().start_s[:2].tolist() == [0.0, 7.0]


def test_withdrawn_processors_leave_when_they_are_free() -> None:
    clock = Clock()
    system = BatchSystem(clock, 4, "fcfs", check=True)
    system.submit(table((0, 10, 3), (1, 10, 2)))
    went = []
    clock.at(2.0, lambda event: went.append(system.withdraw(2)))
    clock.run(5.0)
    assert (went, system.down, system.owed, system.capacity, system.free) == ([1], 1, 1, 3, 0)
    clock.run(10.0)
    assert (system.down, system.owed) == (2, 0)
    clock.at(30.0, lambda event: system.restore(2))
    clock.run()
    outcome = system.outcome()
    assert outcome.start_s.tolist() == [0.0, 10.0]
    assert outcome.down_changes == ((2.0, 1), (10.0, 2), (30.0, 0))


def test_restoring_spares_what_had_not_left() -> None:
    clock = Clock()
    system = BatchSystem(clock, 4, "fcfs", check=True)
    system.submit(
        table(
            (0, 10, 4),
        )
    )
    clock.at(1.0, lambda event: system.withdraw(3))
    clock.at(2.0, lambda event: system.restore(3))
    clock.run()
    assert system.outcome().down_changes == ()
    assert system.free == 4


@pytest.mark.parametrize("policy", ["easy", "easy-sjbf"])
def test_a_head_that_no_longer_fits_waits_for_the_repair_and_lets_others_pass(policy: str) -> None:
    clock = Clock()
    system = BatchSystem(clock, 4, policy, check=True)
    system.submit(table((5, 10, 4), (6, 1000, 2), (7, 1, 1)))
    clock.at(1.0, lambda event: system.withdraw(1))
    clock.at(50.0, lambda event: system.restore(1))
    clock.run()
    assert system.outcome().start_s.tolist() == [1006.0, 6.0, 7.0]


def test_a_killed_job_frees_its_processors_and_never_ends_again() -> None:
    clock = Clock()
    system = BatchSystem(clock, 2, "fcfs", check=True)
    numbers = system.submit(table((0, 100, 2), (1, 5, 2)))

    def kill(event: Any) -> None:
        assert system.running() == [numbers[0]]
        system.kill(numbers[0])

    clock.at(10.0, kill)
    clock.run()
    outcome = system.outcome()
    assert outcome.status.tolist() == ["failed", "finished"]
    assert outcome.start_s.tolist() == [0.0, 10.0]
    assert outcome.end_s.tolist() == [10.0, 15.0]
    with pytest.raises(ValueError, match="does not run"):
        system.kill(numbers[0])


def test_observers_are_told_in_order_of_time() -> None:
    seen: list[tuple[str, float, Any]] = []
    run_jobs(table((0, 10, 1), (1, 5, 1)), 1, "easy", observers=[lambda kind, time, fields: seen.append((kind, time, fields["job"]))])
    assert [row for row in seen if row[0] != "reserve"] == [
        ("submit", 0.0, 0),
        ("start", 0.0, 0),
        ("submit", 1.0, 1),
        ("end", 10.0, 0),
        ("start", 10.0, 1),
        ("end", 15.0, 1),
    ]
    clock = Clock()
    system = BatchSystem(clock, 4, "fcfs", observers=[lambda kind, time, fields: seen.append((kind, time, fields["down"]))])
    seen.clear()
    system.withdraw(3)
    system.restore(1)
    assert seen == [("withdraw", 0.0, 3), ("restore", 0.0, 2)]


def test_reservations_are_recorded_where_asked_for() -> None:
    jobs = table((0, 10, 3), (1, 5, 4))
    assert run_jobs(jobs, 4, "easy").reservations == ()
    ((time, promised),) = run_jobs(jobs, 4, "easy", record=True).reservations
    assert (time, promised.job, promised.shadow_s) == (1.0, 1, 10.0)


class _Twice:
    name = "twice"
    key = None

    def decide(self, view: Any, /) -> Decision:
        return Decision([view.waiting()[0]] * 2)


def test_a_policy_that_starts_a_job_twice_is_stopped() -> None:
    with pytest.raises(PolicyFault, match="does not wait"):
        run_jobs(table((0, 10, 1)), 4, _Twice())


def test_two_tables_on_one_system() -> None:
    clock = Clock()
    system = BatchSystem(clock, 1, "fcfs", check=True)
    assert list(system.submit(table((0, 4, 1), (8, 4, 1)))) == [0, 1]
    assert list(system.submit(table((2, 4, 1), (3, 4, 1)))) == [2, 3]
    clock.run()
    assert system.outcome().start_s.tolist() == [0.0, 12.0, 4.0, 8.0]


def test_a_long_queue_is_kept_in_order() -> None:
    """Enough waiting jobs that the queue is compacted on the way, under every order of it."""
    count = 3000
    jobs = JobTable.of(np.zeros(count), np.arange(count) % 7 + 1, np.ones(count))
    assert (np.diff(run_jobs(jobs, 3, "fcfs", check=False).start_s) >= 0).all()
    outcome = run_jobs(jobs, 3, "sjf")
    rank = np.lexsort((np.arange(count), jobs.estimate_s))
    assert (np.diff(outcome.start_s[rank]) >= 0).all()
