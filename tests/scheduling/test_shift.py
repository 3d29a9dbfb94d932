"""Shifting to cheap hours, and deadlines: cases by hand, and what must hold for any jobs and prices."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.hourly import HOUR_S, Hourly
from hpcsim.engine.jobs import run_jobs
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.policies import Decision, View, make_policy
from hpcsim.scheduling.shift import EarliestDeadline, Shift
from hpcsim.study.replay import replay
from hpcsim.testing.policies import check_policy, random_jobs, random_machine
from hpcsim.workload.jobs import JobTable

TWO_PRICES = Hourly((10.0,) * 12 + (2.0,) * 12)


def starts(jobs: JobTable, policy: Any, processors: int = 10) -> list[float]:
    return [float(x) for x in run_jobs(jobs, processors, policy, check=True).start_s]


# -- the series --------------------------------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    first=st.floats(0, 1e6),
    slack=st.floats(0, 2e5),
    length=st.floats(1, 1e5),
)
@settings(max_examples=60, deadline=None)
def test_no_start_is_cheaper_than_the_cheapest(values: list[int], first: float, slack: float, length: float) -> None:
    """Against a fine grid of starts, and the integral against its definition."""
    hours = Hourly(tuple(float(v) for v in values))
    best = hours.cheapest(first, first + slack, length)
    assert first <= best <= first + slack
    grid = np.linspace(first, first + slack, 500)
    least = float(hours.integral(best, best + length))
    assert least <= float(hours.integral(grid, grid + length).min()) + 1e-6 * (1 + least)
    edges = np.unique(np.concatenate([[best, best + length], HOUR_S * np.arange(best // HOUR_S + 1, (best + length) // HOUR_S + 1)]))
    slow = sum((b - a) * values[int((a + b) / 2 // HOUR_S) % len(values)] for a, b in itertools.pairwise(edges))
    assert least == pytest.approx(slow, rel=1e-9, abs=1e-4)


# -- shift -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backfill", ["conservative", "easy"])
def test_a_day_with_two_prices(backfill: str) -> None:
    """Four hours of work may wait a day: at noon the price falls. With nine hours of patience the last hour of four is cheap; with eight none is, and waiting is for nothing."""
    job = JobTable.of([0.0], [4 * HOUR_S], [3])
    patient = Shift(slack_s=24 * HOUR_S, hours=TWO_PRICES, backfill=backfill)
    assert starts(job, patient) == [12 * HOUR_S]
    assert starts(job, dataclasses.replace(patient, slack_s=9 * HOUR_S)) == [9 * HOUR_S]
    assert starts(job, dataclasses.replace(patient, slack_s=8 * HOUR_S)) == [0.0]
    assert starts(job, dataclasses.replace(patient, hours=None)) == [0.0]
    due = dataclasses.replace(job, due_s=np.array([15 * HOUR_S]))
    assert starts(due, patient) == [11 * HOUR_S]  # its own deadline wins over the slack


def four() -> JobTable:
    return JobTable.of([0, 0, 10, 20], [1800, 3600, 3600, 600], [6, 8, 8, 2], due_s=[1800 + 2 * HOUR_S, math.inf, math.inf, math.inf])


def test_four_jobs_that_tell_it_from_the_others() -> None:
    """The first waits for the second hour, the second takes its place; the third finds no room beside the first and comes after it."""
    hours = Hourly((9.0, 1.0, 5.0, 5.0))
    assert starts(four(), Shift(hours=hours, backfill="conservative")) == [3600.0, 0.0, 5400.0, 20.0]
    assert starts(four(), "conservative") == [0.0, 1800.0, 5400.0, 20.0]
    assert starts(four(), "easy") == [0.0, 1800.0, 5400.0, 20.0]
    assert starts(four(), Shift(hours=hours, backfill="easy")) == [7200.0, 0.0, 3600.0, 20.0]  # it joins the queue behind the third


def test_it_takes_the_cheapest_hour_that_has_room() -> None:
    """Five jobs of an hour, one at a time: the cheapest hours are taken in order, the last bound binds."""
    hours = Hourly((9.0, 4.0, 1.0, 2.0, 7.0, 8.0))
    jobs = JobTable.of([0.0] * 5, [HOUR_S] * 5, [10] * 5, due_s=[HOUR_S + 4 * HOUR_S] * 5)
    assert starts(jobs, Shift(hours=hours, backfill="conservative")) == [2 * HOUR_S, 3 * HOUR_S, 1 * HOUR_S, 4 * HOUR_S, 0.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("base", ["conservative", "easy"])
def test_with_a_flat_price_nothing_changes(base: str, seed: int) -> None:
    jobs = random_jobs(seed)
    flat = Shift(hours=Hourly((3.0, 3.0, 3.0)), slack_s=500.0, backfill=base)
    assert starts(jobs, flat, 16) == starts(jobs, run_on_one(base), 16)
    machine, mixed = random_machine(seed)
    ours, theirs = run_on_machine(mixed, machine, flat, check=True), run_on_machine(mixed, machine, base)
    assert ours.start_s.tolist() == theirs.start_s.tolist()


def run_on_one(name: str) -> Any:
    """Return a policy that needs nodes, so that a pool is one node for both."""

    class Onto:
        key = None
        rooms = nodes_only = True

        def __init__(self) -> None:
            self.policy = make_policy(name)
            self.name, self.plans = name, getattr(self.policy, "plans", False)

        def decide(self, view: View, /) -> Any:
            return self.policy.decide(view)

    return Onto()


class Watched:
    """Passes decisions on, and keeps every promise that was made."""

    key = None
    rooms = nodes_only = plans = True
    name = "watched"

    def __init__(self, policy: Shift, see: Callable[[View, Any], None]) -> None:
        self.policy, self.see = policy, see

    def decide(self, view: View, /) -> Decision:
        decision = self.policy.decide(view)
        self.see(view, decision)
        return decision


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", ["batch", "event"])
def test_no_promise_is_broken_and_no_bound_missed(seed: int, order: Any) -> None:
    """Whoever was once promised a start by its bound starts by it; promises to others never move later; all by estimates that are too long."""
    draw = np.random.default_rng(seed)
    machine, jobs = random_machine(seed)
    spread = 600.0  # so that prices change while jobs wait
    flexible = draw.random(len(jobs)) < 0.5
    due = np.where(flexible, jobs.estimate_s * spread + draw.integers(0, 40_000, len(jobs)), np.inf)
    jobs = dataclasses.replace(jobs.scaled(time=spread), due_s=due).sorted_by_submit()
    hours = Hourly(tuple(draw.integers(1, 20, 24).astype(float).tolist()))
    bound = np.where(np.isfinite(jobs.due_s), jobs.submit_s + jobs.due_s - jobs.estimate_s, -np.inf)
    promised: dict[int, float] = {}

    def see(view: View, decision: Decision) -> None:
        now = {job: slot.start_s for job, slot in decision.memo.table.promised.items()} | {job: view.now_s for job in decision.start}
        for job, start in now.items():
            before = promised.get(job, math.inf)
            if before <= bound[job]:
                assert start <= bound[job]
            else:
                assert start <= before
        promised.update(now)

    done = run_on_machine(jobs, machine, Watched(Shift(hours=hours, backfill="conservative"), see), order=order, check=True)
    assert not np.isnan(done.end_s).any()
    assert any(promised[job] < math.inf for job in promised)


@given(
    values=st.lists(st.integers(1, 30), min_size=2, max_size=48),
    run=st.integers(60, 100_000),
    submit=st.integers(0, 100_000),
    slack=st.integers(0, 200_000),
)
@settings(max_examples=30, deadline=None)
def test_alone_it_never_pays_more_and_never_starts_later_than_its_bound(values: list[int], run: int, submit: int, slack: int) -> None:
    hours = Hourly(tuple(float(v) for v in values))
    job = JobTable.of([submit], [run], [2])
    for backfill in ("conservative", "easy"):
        start = starts(job, Shift(hours=hours, slack_s=slack, backfill=backfill))[0]
        assert submit <= start <= submit + slack
        paid, plain = float(hours.integral(start, start + run)), float(hours.integral(submit, submit + run))
        assert paid <= plain * (1 + 1e-8)


# -- earliest deadline first -------------------------------------------------------------------------------------------------------


def test_four_jobs_that_tell_earliest_deadline_first_from_the_others() -> None:
    """At 10 s the third, due at 22 s, goes before the second, due at 101 s; the last passes both and ends before."""
    jobs = JobTable.of([0, 1, 2, 3], [10, 10, 10, 5], [6, 8, 8, 4], due_s=[100, 100, 20, 200])
    assert starts(jobs, "edf") == [0.0, 20.0, 10.0, 3.0]
    assert starts(jobs, "edf:backfill=false") == [0.0, 20.0, 10.0, 30.0]
    for other in ("fcfs", "easy", "conservative", "sjf", "priority"):
        assert starts(jobs, other) != [0.0, 20.0, 10.0, 3.0]


def test_without_deadlines_the_slack_orders_by_length() -> None:
    """Due at submission and four times the estimate: 1 + 400 s, and 2 + 40 s."""
    jobs = JobTable.of([0, 1, 2], [10, 100, 10], [10, 10, 10])
    assert starts(jobs, "edf") == [0.0, 20.0, 10.0]
    assert starts(jobs, EarliestDeadline(slack=math.inf)) == [0.0, 10.0, 110.0]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Shift(hours=Hourly((5.0, 1.0, 3.0)), slack_s=7200.0, backfill="conservative"), marks=pytest.mark.slow),
        lambda: Shift(hours=Hourly((5.0, 1.0, 3.0)), slack_s=7200.0, backfill="easy"),
        EarliestDeadline,
    ],
)
def test_conformance(make: Callable[[], Any]) -> None:
    check_policy(make, seeds=2)


def test_conformance_beside_promises() -> None:
    check_policy(lambda: Shift(hours=Hourly((5.0, 1.0, 3.0)), slack_s=7200.0, backfill="conservative"), seeds=1, processors=8)


@pytest.mark.parametrize("text", ["shift:signal=water", "shift:backfill=none", "shift:slack_s=-1", "edf:slack=0", "shift:hours=3"])
def test_options_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        make_policy(text)


def test_a_replay_prices_what_is_shifted(tmp_path: Path) -> None:
    """One processor of 1 kW for an hour from 0 h on: 3 USD; the second hour costs 1. Two processors idle at 100 W all the time."""
    (tmp_path / "hours.csv").write_text("usd_per_kwh,carbon_g_per_kwh\n" + "3,300\n1,100\n" + "5,500\n" * 22)
    jobs = JobTable.of([0.0, 0.0], [HOUR_S, 60.0], [1, 1], due_s=[2 * HOUR_S, 30.0])
    done = replay(jobs, nodes=2, policies=("easy", "shift"), power_w=(1000.0, 100.0), hours=tmp_path / "hours.csv")
    rows = done.tables["policies"].set_index("policy")
    assert rows["deadlines_missed"].tolist() == [1, 1]  # the second cannot keep its own
    minute = 60.0 / HOUR_S
    busy, idle = 1.0, 0.1
    easy = 3 * (busy + busy * minute + idle * (1 - minute))
    shift = 3 * (busy * minute + idle * (2 - minute)) + 1 * (busy + idle)
    assert rows["electricity_usd"].tolist() == pytest.approx([easy, shift], rel=1e-9)
    assert rows["carbon_kg_co2e"].tolist() == pytest.approx([easy / 10, shift / 10], rel=1e-9)
    with pytest.raises(InputError, match="hourly price"):
        replay(jobs, nodes=2, policies=("shift",))
