"""Fronts and choices against brute force, on random combinations."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.study.planning.candidates import Candidates, front, order
from hpcsim.study.planning.choose import choose, nearest, residual


def candidates(seed: int, n: int, limits: dict[str, float], goal: str = "train a") -> Candidates:
    draw = np.random.default_rng(seed)
    values = {
        name: draw.integers(1, 12, n).astype(float) for name in ("cost_usd", "sure_s", "carbon_kg_co2e", "outlay_usd", "power_w", "racks")
    }
    values["time_s"] = values["sure_s"]
    axes = {"nodes": np.array([f"n{i}" for i in range(n)], dtype=object)}
    over = {"within": values["sure_s"] / 8.0}
    return Candidates(goal, axes, values, {"devices": values["cost_usd"]}, over, limits)


def joint(goals: list[Candidates]) -> tuple[float, tuple[int, ...]] | None:
    """Every combination of combinations, one by one."""
    shared = {"budget": "cost_usd", "power": "power_w", "racks": "racks", "carbon": "carbon_kg_co2e", "outlay": "outlay_usd"}
    best = None
    for rows in itertools.product(*(range(len(g)) for g in goals)):
        if any(g.over["within"][r] > 1 for g, r in zip(goals, rows)):
            continue
        if any(sum(g.values[shared[n]][r] for g, r in zip(goals, rows)) > limit for n, limit in goals[0].limits.items()):
            continue
        cost = sum(g.values["cost_usd"][r] for g, r in zip(goals, rows))
        if best is None or cost < best[0]:
            best = (float(cost), rows)
    return best


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_front_is_what_nothing_beats(seed: int, n: int) -> None:
    found = candidates(seed, n, {})
    rows = np.arange(n)
    points = np.column_stack([found.values[k] for k in ("cost_usd", "sure_s", "carbon_kg_co2e")])
    kept = {tuple(points[i]) for i in front(found, rows)}
    beaten = [(points <= p).all(axis=1) & (points < p).any(axis=1) for p in points]
    assert kept == {tuple(p) for p, by in zip(points, beaten) if not by.any()}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 3), st.integers(3, 30), st.integers(3, 30))
def test_goals_that_share_limits_are_divided_at_least_cost(seed: int, n: int, goals: int, budget: int, power: int) -> None:
    limits = {"budget": float(budget), "power": float(power)}
    works = [candidates(seed + k, n, limits, f"train {k}") for k in range(goals)]
    expected, found = joint(works), choose(works, "cost")
    if expected is None:
        assert found is None
        return
    assert found is not None
    cost = sum(w.values["cost_usd"][r] for w, r in zip(works, found.rows))
    assert cost == expected[0]
    for k, row in enumerate(found.rows):
        assert residual(works, found.rows, k).feasible()[row]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 2), st.integers(2, 20), st.integers(2, 20))
def test_more_budget_and_power_never_give_a_worse_plan(seed: int, n: int, goals: int, budget: int, power: int) -> None:
    def cost(more: float) -> float:
        limits = {"budget": budget + more, "power": power + more}
        works = [candidates(seed + k, n, limits, f"train {k}") for k in range(goals)]
        found = choose(works, "cost")
        return np.inf if found is None else float(sum(w.values["cost_usd"][r] for w, r in zip(works, found.rows)))

    costs = [cost(more) for more in (0.0, 2.0, 5.0, 50.0)]
    assert costs == sorted(costs, reverse=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 3), st.integers(2, 25), st.sampled_from(["cost", "carbon"]))
def test_a_looser_deadline_never_costs_more(seed: int, n: int, goals: int, budget: int, objective: str) -> None:
    """Also where goals share a budget, and the deadline of one alone is moved."""

    def least(stretch: float) -> float:
        works = [candidates(seed + k, n, {"budget": float(budget), "racks": 25.0}, f"train {k}") for k in range(goals)]
        works[0] = dataclasses.replace(works[0], over={"within": works[0].over["within"] / stretch})
        found = choose(works, objective)
        key = {"cost": "cost_usd", "carbon": "carbon_kg_co2e"}[objective]
        return np.inf if found is None else float(sum(w.values[key][r] for w, r in zip(works, found.rows)))

    bests = [least(stretch) for stretch in (0.5, 1.0, 1.3, 4.0)]
    assert bests == sorted(bests, reverse=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 2), st.integers(1, 6))
def test_the_nearest_has_the_least_largest_excess(seed: int, n: int, goals: int, budget: int) -> None:
    limits = {"budget": float(budget)}
    works = [candidates(seed + k, n, limits, f"train {k}") for k in range(goals)]
    if choose(works, "cost") is not None:
        return
    found = nearest(works, "cost")
    assert found is not None
    assert found.binding
    if goals > 1 and not all(w.feasible().any() for w in works):
        return  # a goal that fails alone is answered for itself

    def excess(rows: tuple[int, ...]) -> float:
        own = max(w.over["within"][r] for w, r in zip(works, rows))
        return float(max(own, sum(w.values["cost_usd"][r] for w, r in zip(works, rows)) / budget, 1.0))

    least = min(excess(rows) for rows in itertools.product(*(range(n) for _ in works)))
    assert excess(found.rows) <= least * (1 + 1e-6)


def test_ties_are_broken_by_cost_time_carbon_and_order() -> None:
    found = candidates(3, 5, {})
    for name in found.values:
        found.values[name][:] = 1.0
    assert order(found, "cost").tolist() == [0, 1, 2, 3, 4]
    found.values["carbon_kg_co2e"][0] = 2.0
    assert order(found, "time").tolist() == [1, 2, 3, 4, 0]
