"""Dominant resource fairness: the example of its authors, and what makes it fair."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.scheduling.drf import dominant_shares, drf_tasks


def test_m8_4_the_example_of_the_paper() -> None:
    """9 CPUs and 18 GB; tasks of <1 CPU, 4 GB> and <3 CPU, 1 GB>: three and two, both users at two thirds."""
    tasks = drf_tasks([9, 18], [[1, 4], [3, 1]])
    assert tasks.tolist() == [3, 2]
    assert (tasks * dominant_shares([9, 18], [[1, 4], [3, 1]])).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_weights_and_limits() -> None:
    assert drf_tasks([12], [[1], [1]], weights=[2, 1]).tolist() == [8, 4]
    assert drf_tasks([12], [[1], [1]], limits=[2, 99]).tolist() == [2, 10]
    assert drf_tasks([12], [[1], [1]], limits=[0, 3]).tolist() == [0, 3]


def test_one_who_needs_nothing_of_the_scarce_resource_fills_the_other() -> None:
    assert drf_tasks([4, 100], [[2, 0], [0, 5]]).tolist() == [2, 20]


machines = st.integers(2, 4).flatmap(
    lambda users: st.tuples(
        st.lists(st.integers(8, 60), min_size=2, max_size=2),
        st.lists(st.lists(st.integers(1, 8), min_size=2, max_size=2), min_size=users, max_size=users),
    )
)


@given(drawn=machines)
def test_i44_shares_are_equal_within_a_task_unless_something_is_used_up(drawn: Any) -> None:
    capacity, demands = np.array(drawn[0]), np.array(drawn[1])
    tasks, each = drf_tasks(capacity, demands), dominant_shares(capacity, demands)
    used = tasks @ demands
    assert (used <= capacity).all()
    assert ((used + demands > capacity).any(axis=1)).all(), "nobody's next task fits: Pareto efficient in whole tasks"
    shares = tasks * each
    for poor in range(len(tasks)):
        for rich in range(len(tasks)):
            if shares[rich] - each[rich] > shares[poor] + 1e-12:  # the last task went to the richer one
                assert (used - demands[rich] + demands[poor] > capacity).any()


@given(drawn=machines)
@settings(max_examples=15, deadline=None)
def test_i44_nobody_would_do_better_with_anothers_bundle(drawn: Any) -> None:
    """With thousands of small tasks. When the first user stops, no more than 8 units of some resource are left, of which everybody needs some:
    others take at most 8 tasks after that, and one by which they led, of at most 8 units each: 72 units."""
    capacity, demands = 200 * np.array(drawn[0]), np.array(drawn[1])
    tasks = drf_tasks(capacity, demands)
    for mine in range(len(tasks)):
        for other in range(len(tasks)):
            assert (tasks[other] * demands[other] // demands[mine]).min() <= tasks[mine] + 72


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(capacity=[0, 5], demands=[[1, 1]]), "capacity"),
        (dict(capacity=[4, 5], demands=[[1, -1]]), "demands"),
        (dict(capacity=[4, 5], demands=[[1]]), "shape"),
        (dict(capacity=[4, 5], demands=[[0, 0]]), "0 of every resource"),
        (dict(capacity=[4, 5], demands=[[1, 1]], weights=[0]), "weights"),
        (dict(capacity=[4, 5], demands=[[1, 1]], limits=[float("nan")]), "limits"),
    ],
)
def test_bad_input_is_named(arguments: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        drf_tasks(**arguments)


@given(
    drawn=machines, weights=st.lists(st.integers(1, 4), min_size=4, max_size=4), limits=st.lists(st.integers(0, 9), min_size=4, max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_equals_the_slow_reference(drawn: Any, weights: list[int], limits: list[int]) -> None:
    """In exact fractions, everything looked up again for every task: who has the least dominant share over the weight gets the next, if it fits."""
    capacity, demands = drawn
    users = range(len(demands))
    tasks = [0 for _ in users]
    able = {user for user in users if limits[user]}
    while able:

        def share(user: int) -> Fraction:
            return max(Fraction(tasks[user] * need, have) for need, have in zip(demands[user], capacity, strict=True)) / weights[user]

        user = min(able, key=lambda user: (share(user), user))
        used = [sum(tasks[other] * demands[other][row] for other in users) + demands[user][row] for row in range(2)]
        if any(amount > have for amount, have in zip(used, capacity, strict=True)):
            able.remove(user)
            continue
        tasks[user] += 1
        if tasks[user] == limits[user]:
            able.remove(user)
    found = drf_tasks(capacity, demands, weights=weights[: len(demands)], limits=limits[: len(demands)]).tolist()
    exact = [
        Fraction(max(Fraction(need, have) for need, have in zip(demands[user], capacity, strict=True)), weights[user]) for user in users
    ]
    ties = any(a < b and exact[a] * m == exact[b] * n for a in users for b in users for m in range(1, 10) for n in range(1, 10))
    assert found == tasks or ties  # in floating point equal shares may differ in the last digit
