"""Fair share: worked numbers of the field, invariants of the tree, the ledger against the integral itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.scheduling.fairshare import (
    Association,
    Ledger,
    advance,
    billing,
    classic_factor,
    decay_frac,
    decayed_usage,
    fair_tree,
    level_fair_share,
)
from hpcsim.scheduling.policies import View
from hpcsim.scheduling.priority import FairTree, Priority

DAY_S = 86400.0
WEEK_S = 7 * DAY_S


def test_m8_3_worked_numbers() -> None:
    assert decay_frac(300.0, half_life_s=WEEK_S) == pytest.approx(0.999656, abs=5e-7)
    assert decayed_usage(-1e13, 0.0, 0.0, processors=1, half_life_s=WEEK_S) / DAY_S == pytest.approx(7 / math.log(2), rel=1e-12)
    assert 7 / math.log(2) == pytest.approx(10.0989, abs=5e-5)
    assert classic_factor(0.2, 0.1) == 0.25
    assert [level_fair_share(0.4, 0.5), level_fair_share(0.6, 0.5)] == pytest.approx([0.8, 1.2])
    job, weights = {"cpu": 1.0, "memory_gb": 60.0}, {"cpu": 1.0, "memory_gb": 0.25}
    assert billing(job, weights) == 16
    assert billing(job, weights, highest=True) == 15


def test_m8_3_all_users_of_the_better_account_come_first() -> None:
    """Account a: 40 shares and half of the usage; b: 60 and the other half. The user of b who has used most still beats both of a."""
    a = Association("a", 40, children=[Association("idle", 1, 0.0), Association("busy", 1, 50.0)])
    b = Association("b", 60, children=[Association("calm", 1, 1.0), Association("greedy", 1, 49.0)])
    assert fair_tree([a, b]) == {("b", "calm"): 1.0, ("b", "greedy"): 0.75, ("a", "idle"): 0.5, ("a", "busy"): 0.25}


def test_the_limits_of_the_classic_factor() -> None:
    assert classic_factor(0.0, 0.3) == 1.0
    assert classic_factor(0.3, 0.3) == 0.5
    assert classic_factor(0.3, 0.0) == 0.0
    assert classic_factor(0.6, 0.3, dampening=2.0) == 0.5


def test_usage_halves_in_a_half_life_and_is_kept_without_one() -> None:
    fresh = decayed_usage(0.0, 100.0, 100.0, processors=3, half_life_s=50.0)
    assert decayed_usage(0.0, 100.0, 150.0, processors=3, half_life_s=50.0) == pytest.approx(fresh / 2, rel=1e-14)
    assert decayed_usage(10.0, 100.0, 1e9, processors=3, half_life_s=math.inf) == 270.0


@given(start=st.floats(0, 1e4), run=st.floats(0, 1e4), later=st.floats(0, 1e4), half_life=st.floats(100, 1e5), cut=st.floats(0, 1))
def test_usage_is_the_integral_and_splits_anywhere(start: float, run: float, later: float, half_life: float, cut: float) -> None:
    end, now = start + run, start + run + later
    whole = decayed_usage(start, end, now, processors=2, half_life_s=half_life)
    middle = start + cut * run
    parts = [decayed_usage(a, b, now, processors=2, half_life_s=half_life) for a, b in ((start, middle), (middle, end))]
    assert sum(parts) == pytest.approx(whole, rel=1e-9, abs=1e-9)
    at = start + (np.arange(2000) + 0.5) * run / 2000
    assert float((2 * 0.5 ** ((now - at) / half_life)).mean() * run) == pytest.approx(whole, rel=1e-3, abs=1e-6)


users = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), min_size=1, max_size=4)
accounts = st.lists(st.tuples(st.integers(1, 4), users), min_size=1, max_size=4)


def tree(drawn: Any) -> list[Association]:
    return [
        Association(account, shares, children=[Association(user, part, float(used)) for user, (part, used) in enumerate(inside)])
        for account, (shares, inside) in enumerate(drawn)
    ]


@given(drawn=accounts)
def test_i43_siblings_hand_their_order_down(drawn: Any) -> None:
    top = tree(drawn)
    factors = fair_tree(top)
    count = sum(len(account.children) for account in top)
    assert max(factors.values()) == 1.0
    assert all(factor * count == pytest.approx(round(factor * count)) and 0 < factor <= 1 for factor in factors.values())
    used = [sum(user.usage_s for user in account.children) for account in top]
    level = [account.shares / amount if amount else math.inf for account, amount in zip(top, used, strict=True)]
    for a, first in enumerate(top):
        for b, second in enumerate(top):
            if level[a] > level[b] * (1 + 1e-9):
                assert min(factors[first.name, u.name] for u in first.children) > max(factors[second.name, u.name] for u in second.children)


@given(drawn=accounts, names=st.permutations(range(4)))
def test_i31_the_order_in_which_the_tree_is_written_does_not_matter(drawn: Any, names: list[int]) -> None:
    top = tree(drawn)
    turned = [top[at] for at in names if at < len(top)]
    assert fair_tree(turned) == fair_tree(top)


def test_equal_siblings_are_pooled_and_equal_users_share_a_rank() -> None:
    """Accounts a and b have used alike: their users compete directly, u (a quarter of a) before v and w (half of b each) before x."""
    a = Association("a", children=[Association("u", 1, 1.0), Association("x", 1, 3.0)])
    b = Association("b", children=[Association("v", 1, 2.0), Association("w", 1, 2.0)])
    assert fair_tree([a, b]) == {("a", "u"): 1.0, ("b", "v"): 0.75, ("b", "w"): 0.75, ("a", "x"): 0.25}


def test_a_tree_may_be_deep_and_uneven() -> None:
    lab = Association("lab", 1, children=[Association("team", 4, children=[Association("u", 1, 6.0)]), Association("v", 1, 2.0)])
    top = [lab, Association("w", 1, 2.0)]
    assert fair_tree(top) == {("w",): 1.0, ("lab", "team", "u"): pytest.approx(2 / 3), ("lab", "v"): pytest.approx(1 / 3)}


@given(drawn=accounts, shares=st.dictionaries(st.integers(0, 3), st.integers(0, 5)))
def test_the_policy_ranks_as_the_tree_does(drawn: Any, shares: dict[int, int]) -> None:
    """Two levels by one sort against the walk. Usage in halves keeps the sums exact."""
    top = [account._replace(shares=shares.get(int(account.name), 1)) for account in tree(drawn)]  # type: ignore[call-overload]
    owners = {(account.name, user.name): user.usage_s for account in top for user in account.children}
    by_user: dict[Any, float] = {}
    for (_, user), used in owners.items():
        by_user[user] = by_user.get(user, 0.0) + used
    by_account = {account.name: sum(user.usage_s for user in account.children) for account in top}
    policy = FairTree(account_shares=shares)
    plain = [account._replace(children=[user._replace(shares=1.0) for user in account.children]) for account in top]
    ledger = Ledger(0.0, 0.0, owners, by_user, by_account, ())  # type: ignore[arg-type]
    assert policy.fair_shares(ledger, owners) == fair_tree(plain)  # type: ignore[arg-type,comparison-overlap]


RAN = [(0.0, 50.0, 2, 1, 1), (10.0, 400.0, 1, 2, 1), (20.0, math.nan, 3, 1, 2), (60.0, 90.0, 5, 3, 2)]
"""(start, end, processors, user, account)."""


def present(now: float) -> View:
    known = [row for row in RAN if row[0] <= now]
    count = len(known)
    return View(
        now, 1, 9, [count], [0.0] * (count + 1), [1.0] * (count + 1), [row[2] for row in known] + [1],
        user=[row[3] for row in known] + [9], account=[row[4] for row in known] + [3],
        start_s=[row[0] for row in known] + [math.nan],
        end_s=[row[1] if row[1] <= now else math.nan for row in known] + [math.nan],
    )  # fmt: skip


@pytest.mark.parametrize("half_life_s", [5.0, 100.0, 1e6, math.inf])
def test_the_ledger_kept_step_by_step_equals_the_integral(half_life_s: float) -> None:
    """At a half-life of 5 s the epoch moves on several times."""
    ledger: Ledger | None = None
    times = [0.0, 10.0, 20.0, 30.0, 60.0, 75.0, 200.0, 700.0, 1500.0]
    for now in times:
        started = [job for job, row in enumerate(RAN) if row[0] == now]
        ledger = advance(ledger, present(now), half_life_s=half_life_s) if ledger else advance(None, present(now), half_life_s=half_life_s)
        ledger = ledger._replace(running=(*dict.fromkeys((*ledger.running, *started)),))
    assert ledger is not None
    want = {
        user: sum(
            decayed_usage(start, min(end, 1500.0) if end == end else 1500.0, 1500.0, processors=size, half_life_s=half_life_s)
            for start, end, size, who, _ in RAN
            if who == user
        )
        for user in (1, 2, 3)
    }
    total, known = sum(want.values()), sum(ledger.user_s.values())
    assert {user: ledger.user_s[user] / known for user in want} == pytest.approx(
        {u: w / total for u, w in want.items()}, rel=1e-9, abs=1e-15
    )
    assert ledger.user_s[9] == ledger.owner_s[3, 9] == 0.0
    assert sum(ledger.account_s.values()) == pytest.approx(known, rel=1e-12)
    assert ledger.running == (2,)
    at_once = advance(None, present(1500.0), half_life_s=half_life_s)
    assert at_once.user_s[1] / sum(at_once.user_s.values()) == pytest.approx(want[1] / total, rel=1e-9)


def test_shares_of_users_count() -> None:
    """Users 1 and 2 have used alike; user 2 has three quarters of the shares: 2^−(½/¼) and 2^−(½/¾)."""
    ledger = Ledger(0.0, 0.0, {(0, 1): 5.0, (0, 2): 5.0}, {1: 5.0, 2: 5.0}, {0: 10.0}, ())
    factors = Priority(user_shares={2: 3.0}).fair_shares(ledger, ledger.owner_s)
    assert factors == {(0, 1): 0.25, (0, 2): pytest.approx(2 ** (-2 / 3))}
