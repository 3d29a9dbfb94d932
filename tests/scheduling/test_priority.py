"""Orders of the queue: what tells each policy from all others, priorities and their ageing."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.engine.jobs import run_jobs
from hpcsim.scheduling.policies import View, make_policy, policies
from hpcsim.scheduling.priority import FairShare, FairTree, Priority, Weights
from hpcsim.testing.policies import check_policy
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_scheduler import slow_schedule

DAY_S = 86400.0
ORDERED = ("ljf", "smallest-area", "largest-area", "wfp3", "unicef", "priority", "fairshare", "fair-tree")
ALL = ("fcfs", "sjf", "easy", "easy-sjbf", "conservative", *ORDERED)

CASES: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "fcfs": (((0, 6, 6, 12, 1, 2), (0, 7, 3, 3, 2, 1), (2, 9, 3, 3, 2, 2), (3, 2, 4, 8, 2, 2)), (0, 6, 9, 12)),
    "sjf": (((0, 10, 5, 10, 2, 1), (1, 1, 4, 4, 1, 2), (3, 6, 2, 2, 2, 2), (3, 8, 3, 3, 1, 1)), (0, 7, 5, 7)),
    "ljf": (((0, 6, 2, 4, 1, 1), (0, 6, 12, 24, 2, 1), (2, 1, 5, 5, 1, 2), (3, 2, 4, 8, 2, 1)), (12, 0, 2, 3)),
    "smallest-area": (((0, 6, 6, 12, 1, 2), (0, 7, 3, 3, 2, 1), (2, 9, 3, 3, 2, 2), (3, 2, 4, 8, 2, 2)), (10, 0, 7, 3)),
    "largest-area": (((0, 6, 2, 4, 1, 1), (0, 6, 12, 24, 2, 1), (2, 1, 5, 5, 1, 2), (3, 2, 4, 8, 2, 1)), (12, 0, 12, 12)),
    "easy": (((0, 1, 10, 20, 1, 1), (3, 10, 10, 20, 2, 1), (6, 5, 5, 10, 2, 1), (6, 9, 3, 3, 1, 2)), (0, 11, 6, 21)),
    "easy-sjbf": (((0, 6, 3, 3, 1, 2), (1, 5, 3, 3, 2, 2), (2, 4, 12, 12, 2, 2), (2, 3, 3, 6, 2, 2)), (0, 3, 5, 2)),
    "conservative": (((0, 3, 8, 16, 1, 1), (2, 5, 6, 6, 2, 2), (2, 8, 2, 2, 1, 2), (3, 7, 2, 2, 1, 2)), (0, 2, 10, 8)),
    "wfp3": (((0, 6, 4, 4, 1, 1), (0, 6, 5, 10, 2, 1), (1, 9, 4, 4, 2, 1), (2, 6, 3, 3, 2, 1)), (0, 11, 4, 8)),
    "unicef": (((0, 1, 3, 6, 2, 1), (1, 10, 8, 16, 2, 2), (2, 1, 12, 12, 1, 1), (4, 3, 10, 10, 2, 2)), (0, 15, 3, 4)),
    "priority": (((0, 6, 4, 4, 1, 1), (0, 6, 5, 10, 2, 1), (1, 9, 4, 4, 2, 1), (2, 6, 3, 3, 2, 1)), (0, 8, 4, 13)),
    "fairshare": (((1, 2, 2, 4, 2, 2), (1, 10, 5, 5, 1, 1), (2, 9, 10, 10, 1, 2), (3, 9, 5, 10, 2, 2)), (1, 3, 13, 8)),
    "fair-tree": (((1, 7, 6, 6, 1, 1), (1, 7, 6, 12, 2, 1), (2, 7, 8, 16, 2, 2), (3, 2, 3, 6, 1, 2)), (1, 15, 7, 3)),
}
"""Four jobs on ten processors for each policy, (submission, processors, run, estimate, user, account), and the starts that it alone gives."""


def table(rows: Any) -> JobTable:
    submit, processors, run, estimate, user, group = zip(*rows, strict=True)
    return JobTable.of(submit, run, processors, estimate_s=estimate, user=user, group=group)


@pytest.mark.parametrize("policy", ALL)
def test_four_jobs_tell_a_policy_from_all_others(policy: str) -> None:
    """The starts by the slow scheduler, which knows no engine."""
    rows, want = CASES[policy]
    names = ("submit", "processors", "run", "estimate", "user", "group")
    jobs = [dict(zip(names, row, strict=True), id=at) for at, row in enumerate(rows)]
    slow = slow_schedule(jobs, 10, policy, "batch")
    assert tuple(slow[at] for at in range(4)) == want
    for other in ALL:
        got = tuple(run_jobs(table(rows), 10, other, check=True).start_s.tolist())
        assert (got == want) is (other == policy), other


def test_every_built_in_has_a_case() -> None:
    assert set(CASES) == set(ALL)
    built_in = {name for name in policies.names() if getattr(policies.get(name), "__module__", "").startswith("hpcsim.")}
    stopping = {name for name in built_in if getattr(policies.get(name), "nodes_only", False)}  # their cases: test_preemption.py
    assert built_in - stopping == set(ALL)


@pytest.mark.parametrize("name", ORDERED)
def test_they_conform(name: str) -> None:
    check_policy(policies.get(name), seeds=4)
    assert make_policy(name).name == name


def view(waiting: list[tuple[int, float, float]], *, now: float = 0.0, free: int = 10, **fields: Any) -> View:
    """``waiting`` are (processors, estimate, submission)."""
    processors, estimate, submit = (list(column) for column in zip(*waiting, strict=True))
    count = len(waiting)
    given: dict[str, Any] = {"user": [1] * count, "account": [1] * count, "partition": [0] * count}
    return View(now, free, 10, list(range(count)), submit, estimate, processors, **{**given, **fields})


def order(policy: Priority, given: View) -> list[int]:
    score = policy.priorities(given, None)
    return sorted(score, key=lambda job: -score[job])


def test_each_factor_by_itself() -> None:
    none = dict(age=0.0, job_size=0.0, partition=0.0, qos=0.0, fair_share=0.0)
    given = view([(1, 9, -DAY_S), (10, 9, 0.0), (5, 9, -20 * DAY_S)], partition=[7, 8, 9], account=[4, 5, 6])

    def priorities(factor: str, **options: Any) -> list[float]:
        policy = Priority(weights=Weights(**{**none, factor: 100.0}), **options)
        return list(policy.priorities(given, None).values())

    assert priorities("age") == [pytest.approx(100 / 7), 0.0, 100.0]
    assert priorities("age", max_age_s=2 * DAY_S) == [50.0, 0.0, 100.0]
    assert priorities("job_size") == [10.0, 100.0, 50.0]
    assert priorities("job_size", favor_small=True) == [90.0, 0.0, 50.0]
    assert priorities("partition", partition={7: 20.0, 8: 5.0}) == [100.0, 25.0, 0.0]
    assert priorities("qos", qos={6: 3.0, 4: 1.5}) == [50.0, 0.0, 100.0]
    assert priorities("qos") == priorities("partition") == [0.0, 0.0, 0.0]


def test_factors_add_up_by_weight() -> None:
    policy = Priority(weights=Weights(age=70.0, job_size=10.0), qos={1: 1.0})
    assert policy.priorities(view([(5, 9, -DAY_S)]), None) == {0: pytest.approx(70 / 7 + 5 + 1000)}


def test_equal_priorities_go_by_submission() -> None:
    assert order(Priority(weights=Weights(age=0.0, job_size=0.0)), view([(3, 9, 2.0), (5, 9, 3.0), (1, 9, 3.0)], now=4.0)) == [0, 1, 2]


def test_only_the_most_urgent_is_protected() -> None:
    """Six processors are free, four more come at 10. Job 1 of ten is the larger and comes first; job 0 may pass it only if it ends by 10."""
    running = dict(free=6, running_end_s=[10.0], running_processors=[4])
    assert list(Priority().decide(view([(6, 10, 0.0), (10, 5, 0.0)], **running)).start) == [0]
    assert list(Priority().decide(view([(6, 11, 0.0), (10, 5, 0.0)], **running)).start) == []
    assert list(Priority(backfill=False).decide(view([(6, 10, 0.0), (10, 5, 0.0)], **running)).start) == []


@pytest.mark.parametrize(("age", "starts_by"), [(10.0, 50.5 + 2 * 10.0), (0.0, math.inf)])
def test_i42_ageing_ends_starvation(age: float, starts_by: float) -> None:
    """Jobs of five processors and 10 s arrive every 5 s, and small jobs go first. One that needs all ten is at the head once the others are 50 s
    younger (10·50/1000 makes up for half a machine), and starts when those before it have ended; without ageing only when the stream, of
    1,000 s, dries up."""
    count = 200
    submit = [0.0, 0.5, *(5.0 * (1 + at) for at in range(count))]
    jobs = JobTable.of(submit, [10.0, 10.0] + [10.0] * count, [5, 10] + [5] * count)
    weights = Weights(age=age, job_size=1.0)
    outcome = run_jobs(jobs, 10, Priority(weights=weights, favor_small=True, max_age_s=1000.0, backfill=True), check=True)
    assert 50.0 <= outcome.start_s[1] <= starts_by
    if age == 0.0:
        assert outcome.start_s[1] >= 1000.0
    assert not np.isnan(outcome.start_s).any()


def test_users_take_turns_under_fair_share_and_not_under_easy() -> None:
    """User 1 submits ten jobs at once, user 2 one a second later: first come first served lets it wait for all ten, fair share for one."""
    jobs = JobTable.of([0.0] * 10 + [1.0], [10.0] * 11, [10] * 11, user=[1] * 10 + [2])
    assert run_jobs(jobs, 10, "easy").start_s[10] == 100
    assert run_jobs(jobs, 10, "fairshare").start_s[10] == 10


def test_old_usage_is_forgotten_by_the_half_life() -> None:
    """User 1 had the machine for 1000 s long ago, user 2 for 100 s just now. Short memory favours user 1, long memory user 2."""
    jobs = JobTable.of([0, 90_000, 90_050, 90_060], [1000, 100, 10, 10], [10] * 4, user=[1, 2, 2, 1])
    short, long = (run_jobs(jobs, 10, FairShare(half_life_s=h)).start_s.tolist() for h in (3_600.0, math.inf))
    assert short == [0, 90_000, 90_110, 90_100]
    assert long == [0, 90_000, 90_100, 90_110]


def test_an_account_answers_for_its_users_in_the_tree() -> None:
    """Account 1 is users 1 and 2, account 2 is user 3. At 30, users 1, 2, 3 have had 200, 0 and 100: by user, 2 comes before 3 before 1; in the
    tree account 2 comes first, with 100 against 200, then user 2."""
    rows = [(0, 10, 20, 20, 1, 1), (0, 10, 10, 10, 3, 2), (1, 10, 5, 5, 1, 1), (1, 10, 5, 5, 2, 1), (1, 10, 5, 5, 3, 2)]
    assert run_jobs(table(rows), 10, FairShare(half_life_s=math.inf)).start_s.tolist() == [0, 20, 40, 30, 35]
    assert run_jobs(table(rows), 10, FairTree(half_life_s=math.inf)).start_s.tolist() == [0, 20, 40, 35, 30]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(max_age_s=0.0), "max_age_s"),
        (dict(half_life_s=-1.0), "half_life_s"),
        (dict(half_life_s=math.nan), "half_life_s"),
        (dict(fair_share="none"), "fair_share"),
        (dict(qos={1: -1.0}), "qos"),
        (dict(user_shares={1: math.inf}), "user_shares"),
    ],
)
def test_options_out_of_range_are_refused(options: Any, name: str) -> None:
    with pytest.raises(InputError) as caught:
        Priority(**options)
    assert caught.value.problems[0].path == name


def test_asking_for_reasons_changes_no_start() -> None:
    """Reservations are made for those who watch even where no job fits; the ledger must not notice."""
    draw = np.random.default_rng(3)
    count = 300
    jobs = JobTable.of(
        np.cumsum(draw.exponential(3.0, count)), draw.exponential(20.0, count), draw.integers(1, 9, count),
        user=draw.integers(0, 6, count), group=draw.integers(0, 3, count),
    )  # fmt: skip
    for make in (FairShare, FairTree, Priority):
        plain, watched = (run_jobs(jobs, 10, make(), record=record).start_s for record in (False, True))
        assert plain.tobytes() == watched.tobytes()


def test_fair_share_is_quick_enough_with_many_users() -> None:
    draw = np.random.default_rng(4)
    count = 3000
    jobs = JobTable.of(
        np.cumsum(draw.exponential(9.0, count)),
        draw.exponential(100.0, count),
        draw.integers(1, 9, count),
        user=draw.integers(0, 300, count),
    )
    before = time.process_time()
    run_jobs(jobs, 60, "fairshare")
    assert count / (time.process_time() - before) > 1000
