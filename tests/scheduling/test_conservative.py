"""Conservative backfilling: the profile, promises made and kept, compression, and a policy that asks to be woken."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import BatchSystem, PolicyFault, run_jobs
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.conservative import Conservative, Plan, Profile
from hpcsim.scheduling.policies import Decision, Reservation, View, make_policy
from hpcsim.testing.policies import check_policy, random_machine
from hpcsim.workload.jobs import JobTable, TraceOptions, read_trace

LOGS = Path(os.environ.get("HPCSIM_TRACES", Path(__file__).resolve().parents[3] / "shared" / "evidence" / "traces"))
KTH = LOGS / "KTH-SP2-1996-full.swf.gz"
ORDERS = ("batch", "event")
every_order = pytest.mark.parametrize("order", ORDERS)


class Recorded(Conservative):
    """Conservative backfilling that writes down every promise: ``history[job]`` from the first to the start."""

    def __init__(self) -> None:
        self.history: dict[int, list[float]] = {}

    def decide(self, view: View, /) -> Decision:  # type: ignore[override]
        decision = Conservative.decide(view)
        for job, start in decision.memo.start_s.items():
            self.history.setdefault(job, []).append(start)
        for job in decision.start:
            self.history.setdefault(job, []).append(view.now_s)
        return decision


def starts(rows: Sequence[Sequence[float]], order: Any = "batch", policy: Any = "conservative", size: int = 10) -> list[float]:
    """Of (submission, processors, run, estimate)."""
    submit, processors, run, estimate = zip(*((*row, row[2])[:4] for row in rows), strict=True)
    jobs = JobTable.of(submit, run, processors, estimate_s=estimate)
    return run_jobs(jobs, size, policy, order=order, check=True, record=True).start_s.tolist()


@every_order
def test_m8_1_five_jobs(order: Any) -> None:
    assert starts([(0, 6, 10), (1, 8, 10), (2, 4, 20), (3, 2, 30), (4, 2, 5)], order) == [0, 10, 20, 3, 4]


@every_order
def test_m8_1_the_third_job_is_delayed_by_easy_and_not_here(order: Any) -> None:
    four = [(0, 6, 10), (1, 8, 10), (2, 9, 10), (3, 2, 40)]
    assert starts(four, order) == [0, 10, 20, 30]
    assert starts(four, order, "easy") == [0, 10, 43, 3]


@every_order
def test_a_promise_moves_forward_when_a_job_ends_early(order: Any) -> None:
    """Job 0 was to end at 20 and ends at 5: job 1 slides from 20 to 5, less than its own length, and job 2 after it from 50 to 35."""
    policy = Recorded()
    assert starts([(0, 10, 5, 20), (1, 10, 30), (2, 10, 1)], order, policy) == [0, 5, 35]
    assert policy.history == {0: [0], 1: [20, 20, 5], 2: [50, 35, 35]}


@every_order
def test_compression_keeps_the_later_promise_where_a_new_plan_would_break_it(order: Any) -> None:
    """Job 3 of seven processors was promised 8, in front of job 2 of eight, which had to wait for 16. At 8 the first ends early. Planned
    anew in queue order, job 2 would start at 8 and job 3 at 10, later than promised."""
    rows = [(0, 3, 8, 16), (2, 5, 6), (2, 8, 2), (3, 7, 2)]
    policy = Recorded()
    assert starts(rows, order, policy) == [0, 2, 10, 8]
    assert policy.history[3][0] == 8
    assert starts(rows, "batch", "easy") == [0, 2, 8, 10]


@every_order
def test_a_job_moves_again_at_the_next_event_where_it_stood_behind_one_that_moved(order: Any) -> None:
    """Job 1 (nine processors) waits for 10 since job 3 was promised 7–10 when job 0 was to run to 15. At 5 job 0 ends: job 3 moves to 5,
    after job 1 was looked at. At 7 job 2 ends, and job 1 moves up behind job 3."""
    policy = Recorded()
    assert starts([(0, 4, 5, 15), (1, 8, 4), (2, 3, 5), (3, 4, 3)], order, policy) == [0, 8, 2, 5]
    assert policy.history[1] == [15, 15, 15, 10, 8, 8]


@every_order
def test_a_promise_is_made_at_arrival_even_where_nothing_is_free(order: Any) -> None:
    policy = Recorded()
    starts([(0, 10, 10), (1, 4, 3), (2, 7, 5)], order, policy)
    assert policy.history[1][0] == 10
    assert policy.history[2][0] == 13


def test_equal_times_are_one_step_of_the_profile() -> None:
    """What ends and what begins at one instant balance: no dip between them into which a job would fall or fail."""
    profile = Profile(0.0, 0, [(5.0, 4), (9.0, -4), (5.0, -4), (9.0, 8), (5.0, 2)])
    assert (profile.times_s, profile.free) == ([0.0, 5.0, 9.0], [0, 2, 6])
    assert profile.earliest(2, 100.0) == 5.0
    assert profile.earliest(6, 1.0) == 9.0
    assert profile.at(4.9) == 0
    assert profile.at(5.0) == profile.at(8.0) == 2


def test_what_should_have_ended_counts_as_ending_now() -> None:
    assert Profile(7.0, 1, [(3.0, 2), (7.0, 1), (9.0, 3)]).free == [4, 7]


def test_a_hole_must_be_long_enough_unless_the_job_itself_holds_what_follows() -> None:
    profile = Profile(0.0, 4, [(3.0, -4), (8.0, 4)])
    assert profile.earliest(2, 4.0) == 8.0
    assert profile.earliest(2, 3.0) == 0.0
    assert profile.earliest(2, 4.0, 3.0) == 0.0
    assert profile.earliest(5, 1.0, 8.0) == 8.0


@every_order
def test_a_job_of_no_length_is_promised_and_keeps_its_place(order: Any) -> None:
    """It starts and ends at 4, and puts nobody off; the last does not pass job 2."""
    assert starts([(0, 10, 4), (1, 10, 0), (2, 10, 5), (2, 1, 0)], order) == [0, 4, 4, 9]


@every_order
def test_a_job_that_outruns_its_estimate_counts_as_ending_now(order: Any) -> None:
    """Job 0 of six was to end at 4 and runs to 9. Job 1 of eight waits for it; job 2 of two fits beside both; job 3 of four and 3 s fits now,
    and though job 1 could start at any moment, it never lets job 3 pass."""
    assert starts([(0, 6, 9, 4), (1, 8, 5), (5, 2, 20), (6, 4, 3)], order) == [0, 9, 5, 14]


def test_promises_are_made_anew_when_the_machine_shrinks_and_grows() -> None:
    """Two of four processors are away from 1 to 30: job 1 of three cannot be held meanwhile."""
    clock = Clock()
    policy = Recorded()
    system = BatchSystem(clock, 4, policy, check=True)
    system.submit(JobTable.of([0, 0, 0], [10, 10, 10], [2, 3, 3]))
    clock.at(1.0, lambda event: system.withdraw(2) and None)
    clock.at(30.0, lambda event: system.restore(2))
    clock.run()
    assert system.outcome().start_s.tolist() == [0, 30, 40]
    assert policy.history == {0: [0], 1: [10, math.inf, math.inf, 30], 2: [20, math.inf, math.inf, 40, 40]}


def test_a_cancelled_job_makes_room() -> None:
    clock = Clock()
    system = BatchSystem(clock, 4, "conservative", check=True)
    system.submit(JobTable.of([0, 2], [10, 3], [4, 4]))
    tickets: list[Any] = []
    clock.at(1.0, lambda event: tickets.append(system.request(4, estimate_s=50.0)))
    clock.at(5.0, lambda event: system.release(tickets[0]))
    clock.run()
    outcome = system.outcome()
    assert outcome.start_s[:2].tolist() == [0, 10]
    assert outcome.status.tolist() == ["finished", "finished", "cancelled"]


def test_the_head_is_told_what_it_was_promised() -> None:
    submit, run, processors = [0, 1, 2], [10, 10, 5], [6, 8, 2]
    outcome = run_jobs(JobTable.of(submit, run, processors), 10, "conservative", record=True)
    assert (1.0, Reservation(1, 10.0, 2)) in outcome.reservations


def test_the_plan_is_data() -> None:
    decision = Conservative.decide(View(3.0, 4, 10, [1, 2], [0, 1, 2], [9, 10, 4], [6, 8, 2], running_end_s=[10.0], running_processors=[6]))
    assert decision == Decision([2], None, Plan({1: 10.0}, 10.0, 10, True), 10.0)


class Delayed:
    """Starts every job seven seconds after its submission, by asking to be woken then."""

    name = "delayed"
    key = None

    def decide(self, view: View, /) -> Decision:
        due = [job for job in view.waiting() if view.submit_s[job] + 7 <= view.now_s and view.processors[job] <= view.free]
        rest = [view.submit_s[job] + 7 for job in view.waiting() if job not in due]
        return Decision(due[:1] if due else (), wake_s=min((t for t in rest if t > view.now_s), default=math.inf))


@every_order
def test_a_policy_may_ask_to_be_woken(order: Any) -> None:
    outcome = run_jobs(JobTable.of([0, 1, 30], [4, 3, 2], [1, 1, 1]), 3, Delayed(), order=order, check=True)
    assert outcome.start_s.tolist() == [7, 8, 37]
    assert outcome.now_s == 39


def test_a_wish_to_be_woken_that_is_taken_back_leaves_no_trace() -> None:
    clock = Clock()
    system = BatchSystem(clock, 2, Delayed(), check=True)
    ticket = system.request(1, estimate_s=1.0)
    clock.at(3.0, lambda event: system.release(ticket))
    clock.run()
    assert clock.now == 3.0


class Insomniac(Delayed):
    def decide(self, view: View, /) -> Decision:
        return Decision((), wake_s=view.now_s)


def test_a_policy_that_wants_to_be_woken_in_the_past_is_at_fault() -> None:
    with pytest.raises(PolicyFault, match="not in the future"):
        run_jobs(JobTable.of([0], [1], [1]), 1, Insomniac())


def test_it_conforms() -> None:
    check_policy(Conservative)
    assert make_policy("conservative").name == "conservative"


@pytest.mark.skipif(not KTH.is_file(), reason="the job logs are not here")
def test_every_promise_of_a_real_log_is_kept_at_speed() -> None:
    """28,481 jobs of the KTH SP2: no promise ever moves later, every start is as promised or earlier; over 3,000 jobs a CPU-second."""
    jobs = read_trace(KTH, options=TraceOptions(capacity=100)).jobs.sorted_by_submit()
    before = time.process_time()
    plain = run_jobs(jobs, 100, "conservative")
    assert len(jobs) / (time.process_time() - before) > 3000
    policy = Recorded()
    outcome = run_jobs(jobs, 100, policy)
    assert np.array_equal(plain.start_s, outcome.start_s)
    assert len(policy.history) == len(jobs) == 28_481
    assert all(all(a >= b for a, b in pairwise(times)) for times in policy.history.values())
    assert all(times[-1] == start for times, start in zip((policy.history[job] for job in range(len(jobs))), plain.start_s, strict=True))


@pytest.mark.parametrize("name", ["conservative", "shift"])
def test_old_plans_on_nodes_stay_what_they_were(name: str) -> None:
    """The timetable is one and changes, yet every memo is, in the end, equal to the copy that was made of it when it was new."""
    kept: list[tuple[Any, Any]] = []
    inner = make_policy(name)

    class Keeps:
        key, rooms, plans, nodes_only = None, True, True, False

        def __init__(self) -> None:
            self.name = name

        def decide(self, view: View, /) -> Decision:
            decision = Decision(*inner.decide(view))
            kept.append((decision.memo, copy.deepcopy(decision.memo)))
            return decision

    machine, jobs = random_machine(5)
    run_on_machine(jobs, machine, Keeps())
    assert len(kept) > 40
    order = np.random.default_rng(1).permutation(len(kept)).tolist()
    for at in order:
        assert kept[at][0] == kept[at][1]
    assert kept[0][0] != kept[-1][0]
