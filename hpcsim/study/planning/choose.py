"""The choice: the best combination of each goal within the limits that they share, and the nearest one where there is none."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.study.planning.candidates import OBJECTIVES, SHARED, Candidates, order

__all__ = ["Choice", "Nearest", "choose", "nearest", "residual"]

NEEDS_SCIPY = problem_kind(
    "plan-needs-scipy", "several goals share {limits}, and to divide them is solved with scipy", "pip install 'hpcsim-planner[stats]'"
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes
    ----------
    rows : tuple of int
        Index of the combination of each goal.
    how : str
        ``exhaustive``, or ``mixed-integer`` where goals share what not all of them can have.
    """

    rows: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Nearest:
    """The nearest combination where none reaches the goals.

    Attributes
    ----------
    rows : tuple of int
    binding : dict of str to (float, float)
        Limits that it breaks: what it takes over the limit, by goal and limit (``train llama: within``); shared ones without a goal.
    alone : dict of str to float
        Factor by which a limit would have to grow if it alone were moved; infinite where that does not help.
    never : tuple of str
        Limits that no combination keeps and that cannot be moved (where data may live, who may hold it).
    """

    rows: tuple[int, ...]
    binding: dict[str, float]
    alone: dict[str, float] = field(default_factory=dict)
    never: tuple[str, ...] = ()


def _own_feasible(found: Candidates) -> npt.NDArray[np.bool_]:
    mask = np.isfinite(found.values["cost_usd"]) & np.isfinite(found.values["time_s"])
    for ratio in found.over.values():
        mask &= ratio <= 1.0 + 1e-12
    return mask


def _undominated(columns: Floats, ranked: Ints) -> Ints:
    """Return the rows of ``ranked`` that no earlier one is as good as in every column."""
    kept: list[int] = []
    left = np.asarray(ranked)
    while left.size:
        first = left[0]
        kept.append(int(first))
        rest = left[1:]
        left = rest[(columns[rest] < columns[first]).any(axis=1)]
    return np.array(kept, dtype=np.int64)


def residual(goals: Sequence[Candidates], rows: Sequence[int], at: int) -> Candidates:
    """Return the candidates of one goal with the shared limits less what the other goals' choices take."""
    limits = dict(goals[at].limits)
    for name in limits:
        limits[name] -= sum(float(g.values[SHARED[name]][r]) for k, (g, r) in enumerate(zip(goals, rows)) if k != at)
        limits[name] = max(limits[name], 1e-9)
    return dataclasses.replace(goals[at], limits=limits)


def choose(goals: Sequence[Candidates], objective: str) -> Choice | None:
    """Return the combination of every goal, the sum of whose objective is least within all limits; None where there is none.

    One goal is searched whole. Several goals are searched whole each, which is the answer where their best fit the shared limits
    together; else a mixed-integer program divides the limits, over the combinations that no other of the same goal beats in the objective
    and in all that is shared.

    Raises
    ------
    InputError
        scipy is needed and missing.
    """
    best: list[int] = []
    for found in goals:
        rows = np.flatnonzero(found.feasible())
        if not rows.size:
            return None
        best.append(int(order(found, objective, rows)[0]))
    limits = goals[0].limits
    sums = {name: sum(float(g.values[SHARED[name]][r]) for g, r in zip(goals, best)) for name in limits}
    if all(sums[name] <= limit * (1 + 1e-12) for name, limit in limits.items()):
        return Choice(tuple(best), "exhaustive")
    solved = _solve(goals, objective, relax=False)
    return None if solved is None else Choice(solved, "mixed-integer")


def _solve(goals: Sequence[Candidates], objective: str, *, relax: bool) -> tuple[int, ...] | None:
    """Solve the program: one combination a goal, sums within limits; with ``relax`` the largest excess is made least first."""
    if importlib.util.find_spec("scipy") is None:
        raise NEEDS_SCIPY.error(path="plan.limits", limits=" and ".join(goals[0].limits))
    from scipy.optimize import Bounds, LinearConstraint, milp

    limits = goals[0].limits
    key = OBJECTIVES[objective]
    kept: list[Ints] = []
    for found in goals:
        columns = [np.nan_to_num(found.values[name], nan=np.inf) for name in (key, *(SHARED[n] for n in limits))]
        own = np.maximum.reduce([*found.over.values(), np.zeros(len(found))]) if relax else np.zeros(len(found))
        columns.append(np.maximum(own, 1.0) if relax else own)
        usable = np.isfinite(np.column_stack(columns)).all(axis=1) & (
            np.isfinite(found.values["time_s"]) if relax else _own_feasible(found)
        )
        rows = order(found, objective, np.flatnonzero(usable))
        if not rows.size:
            return None
        kept.append(_undominated(np.column_stack(columns), rows))
    sizes = [len(rows) for rows in kept]
    n = sum(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    picks = np.zeros((len(goals), n + relax))
    for g in range(len(goals)):
        picks[g, starts[g] : starts[g + 1]] = 1.0
    value = np.concatenate([found.values[key][rows] for found, rows in zip(goals, kept)])
    rows_of = {
        name: np.concatenate([found.values[SHARED[name]][rows] for found, rows in zip(goals, kept)]) / limit
        for name, limit in limits.items()
    }
    shared = np.array([np.append(row, -1.0) if relax else row for row in rows_of.values()]).reshape(len(limits), n + relax)
    constraints = [LinearConstraint(picks, 1.0, 1.0), LinearConstraint(shared, -np.inf, 0.0 if relax else 1.0 + 1e-12)]
    scale = max(float(np.abs(value).max()), 1e-300)
    cost = value / scale
    if relax:
        own = np.concatenate(
            [np.maximum.reduce([*(r[rows] for r in found.over.values()), np.zeros(len(rows))]) for found, rows in zip(goals, kept)]
        )
        each = np.hstack([np.diag(own), -np.ones((n, 1))])
        constraints.append(LinearConstraint(each, -np.inf, 0.0))
        cost = np.append(cost * 1e-6 / len(goals), 1.0)
    bounds = Bounds(np.zeros(n + relax), np.append(np.ones(n), np.inf) if relax else np.ones(n))
    integral = np.append(np.ones(n), 0.0) if relax else np.ones(n)
    solved = milp(cost, constraints=constraints, bounds=bounds, integrality=integral, options={"mip_rel_gap": 0.0})
    if not solved.success:
        return None
    return tuple(int(kept[g][np.argmax(solved.x[starts[g] : starts[g + 1]])]) for g in range(len(goals)))


def _excess(found: Candidates) -> Floats:
    return np.asarray(np.maximum.reduce([np.maximum(ratio, 1.0) for ratio in found.ratios().values()] or [np.ones(len(found))]))


def _least_alone(found: Candidates) -> dict[str, float]:
    """Return by what factor each limit would have to grow, all others kept, for some combination to fit."""
    ratios = found.ratios()
    possible = np.isfinite(found.values["cost_usd"]) & np.isfinite(found.values["time_s"])
    alone = {}
    for name, ratio in ratios.items():
        others = possible.copy()
        for other, values in ratios.items():
            if other != name:
                others &= values <= 1.0 + 1e-12
        alone[name] = float(ratio[others].min()) if others.any() else float("inf")
    return alone


def nearest(goals: Sequence[Candidates], objective: str) -> Nearest | None:
    """Return the combinations whose largest excess over any limit is least, then best by the objective; None where all are ruled out.

    Residency of data and the operators that may hold it are never relaxed.
    """
    if len(goals) > 1 and all(found.feasible().any() for found in goals):
        solved = _solve(goals, objective, relax=True)
        if solved is None:
            return None
        sums = {n: sum(float(g.values[SHARED[n]][r]) for g, r in zip(goals, solved)) / limit for n, limit in goals[0].limits.items()}
        own = {f"{g.goal}: {n}": float(r[i]) for g, i in zip(goals, solved) for n, r in g.over.items()}
        return Nearest(solved, {n: v for n, v in (sums | own).items() if v > 1.0 + 1e-12})
    rows: list[int] = []
    binding: dict[str, float] = {}
    alone: dict[str, float] = {}
    for found in goals:
        excess = np.where(np.isfinite(found.values["cost_usd"]) & np.isfinite(found.values["time_s"]), _excess(found), np.inf)
        if not np.isfinite(excess).any():
            return None
        least = excess.min()
        ranked = order(found, objective, np.flatnonzero(excess <= least * (1 + 1e-9)))
        rows.append(int(ranked[0]))
        prefix = f"{found.goal}: " if len(goals) > 1 else ""
        if least > 1.0 + 1e-12:
            binding |= {prefix + n: float(r[rows[-1]]) for n, r in found.ratios().items() if r[rows[-1]] > 1.0 + 1e-12}
            alone |= {prefix + n: factor for n, factor in _least_alone(found).items() if factor > 1.0 + 1e-12}
    return Nearest(tuple(rows), binding, alone)
