"""Policies are pure: a table of views in, a table of decisions out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from hpcsim.base.errors import InputError
from hpcsim.engine.jobs import PolicyFault
from hpcsim.scheduling.policies import Decision, Pair, Policy, QueueKey, Reservation, View, make_policy, policies
from hpcsim.testing.policies import check_policy


def view(free: int, waiting: Sequence[tuple[int, float]], running: Sequence[tuple[float, int]] = (), **fields: Any) -> View:
    """``waiting`` are (processors, estimate), ``running`` (estimated end, processors), at time 0."""
    running = sorted(running)
    return View(
        **{
            "now_s": 0.0,
            "free": free,
            "capacity": free + sum(size for _, size in running),
            "queue": list(range(len(waiting))),
            "submit_s": [0.0] * len(waiting),
            "estimate_s": [estimate for _, estimate in waiting],
            "processors": [size for size, _ in waiting],
            "running_end_s": [end for end, _ in running],
            "running_processors": [size for _, size in running],
            **fields,
        }
    )


def decide(policy: str, given: View) -> Decision:
    return Decision(*make_policy(policy).decide(given))


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "easy", "easy-sjbf"])
def test_heads_start_while_they_fit(policy: str) -> None:
    assert list(decide(policy, view(10, [(4, 5), (6, 5)])).start) == [0, 1]
    assert list(decide(policy, view(10, [(11, 5), (11, 5)], [(3, 1)])).start) == []


@pytest.mark.parametrize("policy", ["fcfs", "sjf"])
def test_nobody_passes_a_head_that_does_not_fit(policy: str) -> None:
    assert list(decide(policy, view(4, [(2, 5), (8, 5), (1, 1)], [(3, 6)])).start) == [0]


@pytest.mark.parametrize(
    ("why", "candidate", "starts"),
    [
        ("it ends before the shadow time", (4, 9), True),
        ("it ends exactly at the shadow time", (4, 10), True),
        ("it ends after it and takes what the head needs", (4, 11), False),
        ("it ends after it and takes all that the head leaves over", (2, 11), True),
        ("it ends after it and takes one more than that", (3, 11), False),
        ("it does not fit now", (5, 1), False),
    ],
)
@pytest.mark.parametrize("policy", ["easy", "easy-sjbf"])
def test_a_candidate_may_pass_where_the_head_is_not_delayed(policy: str, why: str, candidate: tuple[int, float], starts: bool) -> None:
    """Four free, six more at 10 s: the head's eight fit then, two are left over."""
    decision = decide(policy, view(4, [(8, 50), candidate], [(10.0, 6)], explain=True))
    assert (list(decision.start) == [1]) is starts, why
    assert decision.reservation is not None
    assert decision.reservation.shadow_s == 10.0


def test_all_that_ends_at_the_shadow_time_is_left_over() -> None:
    running = [(10.0, 3), (10.0, 5), (12.0, 2)]
    assert decide("easy", view(1, [(4, 9)], running, explain=True)).reservation == Reservation(0, 10.0, 5)


def test_what_is_left_over_is_spent_once() -> None:
    decision = decide("easy", view(4, [(8, 50), (1, 99), (2, 99), (1, 99)], [(10.0, 6)]))
    assert list(decision.start) == [1, 3]
    assert decision.reservation == Reservation(0, 10.0, 0)


def test_a_head_that_started_now_counts_in_the_reservation_of_the_next() -> None:
    decision = decide("easy", view(6, [(4, 7), (8, 50), (2, 7), (2, 8)], [(20.0, 4)], explain=True))
    assert list(decision.start) == [0, 2]
    assert decision.reservation == Reservation(1, 20.0, 2)


def test_jobs_that_outran_their_estimates_count_as_ending_now() -> None:
    decision = decide("easy", view(1, [(5, 9), (1, 1)], [(-3.0, 2), (-1.0, 3), (4.0, 6)], explain=True))
    assert decision.reservation == Reservation(0, 0.0, 0)
    assert list(decision.start) == [1]


def test_a_head_that_the_machine_cannot_hold_for_now_keeps_nobody_back() -> None:
    decision = decide("easy", view(3, [(9, 5), (2, 1000)], [(7.0, 4)]))
    assert list(decision.start) == [1]
    assert decision.reservation is not None
    assert math.isinf(decision.reservation.shadow_s)


def test_order_of_candidates_is_where_the_two_differ() -> None:
    given = [(8, 50), (4, 9), (4, 5)]
    assert list(decide("easy", view(4, given, [(10.0, 6)])).start) == [1]
    assert list(decide("easy-sjbf", view(4, given, [(10.0, 6)])).start) == [2]


def test_after_arrivals_alone_only_the_new_jobs_are_looked_at() -> None:
    waiting = [(8, 50), (4, 1), (1, 1)]
    promised = Reservation(0, 10.0, 2)
    told = view(4, waiting, [(10.0, 6)], arrived=[2], only_arrivals=True, reservation=promised)
    assert list(decide("easy", told).start) == [2]
    told.only_arrivals = False
    assert list(decide("easy", told).start) == [1]


def test_a_reservation_whose_time_has_passed_is_made_again() -> None:
    """Jobs of six and of two processors were to end at 10 s and 10.5 s and have not: at 11 s both count as ending now, which leaves two
    processors over; at first the head's time was 10 s, with nothing to spare."""
    waiting, running = [(8, 50), (2, 5), (2, 5)], [(10.0, 6), (10.5, 2)]
    first = decide("easy", view(2, waiting[:2], running, now_s=9.0))
    assert (list(first.start), first.reservation) == ([], Reservation(0, 10.0, 0))
    late = view(2, waiting, running, now_s=11.0, arrived=[2], only_arrivals=True, reservation=first.reservation)
    assert decide("easy", late) == Decision([1], Reservation(0, 11.0, 0))


def test_queue_keys() -> None:
    assert make_policy("fcfs").key is None
    key = make_policy("sjf").key
    assert key is not None
    assert key(100.0, 5.0, 3) < key(0.0, 6.0, 1)


def test_names() -> None:
    assert {"fcfs", "sjf", "easy", "easy-sjbf"} <= set(policies.names())
    with pytest.raises(InputError) as caught:
        make_policy("eazy")
    assert "easy" in str(caught.value)
    for name in policies.names():
        assert make_policy(name).name == name


@pytest.mark.parametrize("name", ["fcfs", "sjf", "easy", "easy-sjbf"])
def test_the_built_in_policies_conform(name: str) -> None:
    check_policy(policies.get(name))


class LargestFirst:
    """A plug-in as a user would write it: always from the full view, waiting jobs that fit, largest first."""

    name = "largest-first"
    key: QueueKey | None = None

    def decide(self, view: View, /) -> Decision | Pair:
        free, start = view.free, []
        for job in sorted(view.waiting(), key=lambda job: (-view.processors[job], job)):
            if view.processors[job] <= free:
                free -= view.processors[job]
                start.append(job)
        return Decision(start)


class LongestFirst(LargestFirst):
    """Another, with an order of the queue of its own."""

    name = "longest-first"
    key = staticmethod(lambda submit_s, estimate_s, processors: -estimate_s)

    def decide(self, view: View, /) -> Decision | Pair:
        return make_policy("easy").decide(view)


@pytest.mark.parametrize("make", [LargestFirst, LongestFirst])
def test_a_plug_in_from_the_full_view_conforms(make: type[Policy]) -> None:
    check_policy(make, seeds=4)


class _Greedy(LargestFirst):
    def decide(self, view: View, /) -> Decision | Pair:
        return Decision(list(view.waiting()))


class _Lazy(LargestFirst):
    def decide(self, view: View, /) -> Decision | Pair:
        return Decision(())


class _Stranger(LargestFirst):
    def decide(self, view: View, /) -> Decision | Pair:
        return Decision([0])


class _Moody(LargestFirst):
    def __init__(self) -> None:
        self.calls = 0

    def decide(self, view: View, /) -> Decision | Pair:
        self.calls += 1
        decision = super().decide(view)
        return decision if self.calls % 3 else Decision(())


class _Meddler(LargestFirst):
    def decide(self, view: View, /) -> Decision | Pair:
        decision = super().decide(view)
        view.free = 0
        return decision


class _Forgetful(LargestFirst):
    """Tests only the arrivals, although processors have come free."""

    def decide(self, view: View, /) -> Decision | Pair:
        jobs = view.arrived if view.reservation is not None or view.only_arrivals else view.waiting()
        start: list[int] = []
        for job in jobs:
            if view.processors[job] <= view.free - sum(view.processors[other] for other in start):
                start.append(job)
        return Decision(start, Reservation(0, 0.0, 0))


@pytest.mark.parametrize("make", [_Greedy, _Lazy, _Stranger, _Moody, _Meddler, _Forgetful])
def test_the_conformance_check_catches(make: type[Policy]) -> None:
    with pytest.raises(PolicyFault):
        check_policy(make)
