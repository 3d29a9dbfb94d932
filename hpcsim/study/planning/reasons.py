"""Why a combination won, and what would flip the choice: margins, prices, deadlines and use, by arithmetic on the candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.units import percent, readable
from hpcsim.results.quantities import brief
from hpcsim.study.planning.candidates import OBJECTIVES, Candidates, order

__all__ = ["Rival", "deadline_flips", "deadline_words", "flip_words", "rivals", "why_words"]

AXES = {
    "accelerator": "accelerator",
    "count": "number of nodes",
    "fabric": "fabric",
    "storage": "storage",
    "owner": "owner",
    "place": "place",
}
TIMED = ("within", "by")
_AS_LATE = 1e-6
"""Deadlines this near to each other count as one."""


@dataclass(frozen=True)
class Rival:
    """The best combination that differs in one choice.

    Attributes
    ----------
    axis, mine, other : str
        What differs, the winner's value, the rival's.
    row : int
        The rival.
    margin_frac : float
        How much worse the rival is in the objective.
    cheaper_frac : float
        By how much the rival's devices would have to be cheaper to draw level; above 1 where no price would do.
    dearer_frac : float
        By how much the winner's devices would have to be dearer.
    """

    axis: str
    mine: str
    other: str
    row: int
    margin_frac: float
    cheaper_frac: float
    dearer_frac: float


def rivals(found: Candidates, row: int, objective: str) -> Iterator[Rival]:
    """Yield the best feasible combination with another accelerator, number of nodes, fabric, storage, owner and place."""
    feasible = found.feasible()
    value = found.values[OBJECTIVES[objective]]
    for axis in AXES:
        if axis not in found.axes:
            continue
        column = found.axes[axis]
        other = np.flatnonzero(feasible & (column != column[row]))
        if not other.size:
            continue
        j = int(order(found, objective, other)[0])
        margin = float(value[j] / value[row] - 1.0) if value[row] > 0 else math.inf
        cheaper, dearer = _price_flips(found, row, column, column[j])
        yield Rival(axis, str(column[row]), str(column[j]), j, margin, cheaper, dearer)


def _price_flips(found: Candidates, row: int, column: npt.NDArray[Any], other: Any) -> tuple[float, float]:
    """Return by how much all devices of ``other`` would have to be cheaper, and all of the winner's dearer, for the choice to change.

    Cheaper: the first of the other's combinations to reach the winner, min (C_j − C)/D_j. Dearer: until not one combination with the
    winner's value is below the best without it, max (R − C_i)/D_i over those that are.
    """
    feasible = found.feasible()
    cost, devices = found.values["cost_usd"], found.parts["devices"]
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = np.flatnonzero(feasible & (column == other) & (devices > 0))
        reach = (cost[theirs] - cost[row]) / devices[theirs]
        mine, rest = feasible & (column == column[row]), feasible & (column != column[row])
        best = float(cost[rest].min())
        below = np.flatnonzero(mine & (cost <= best))
        leave = (best - cost[below]) / devices[below]
    cheaper = float(reach.min()) if reach.size else math.inf
    dearer = float(np.nan_to_num(leave, nan=0.0, posinf=math.inf).max()) if leave.size else 0.0
    return (cheaper if cheaper >= 0 else math.inf), dearer


def why_words(found: Candidates, rival: Rival, row: int, objective: str) -> str:
    """Return in words what the winner has over the rival."""
    key = OBJECTIVES[objective]
    mine, other = (float(found.values[key][i]) for i in (row, rival.row))
    what = {"cost": "cost", "time": "time", "carbon": "carbon"}[objective]
    text = f"{AXES[rival.axis]} {rival.mine}: {brief(key, mine)} against {brief(key, other)} of the best with {rival.other}"
    if objective == "cost":
        gaps = {n: float(p[rival.row] - p[row]) for n, p in found.parts.items()}
        most = max(gaps, key=lambda n: abs(gaps[n]))
        if abs(gaps[most]) > 0.01 * mine:
            text += f", of which {most} {'+' if gaps[most] > 0 else '−'}{brief('cost_usd', abs(gaps[most]))}"
    return f"{text} ({rival.margin_frac * 100:+.3g} % {what})."


def flip_words(rival: Rival, objective: str) -> str:
    """Return in words what would make the rival win."""
    if objective != "cost":
        return f"a gain of {percent(rival.margin_frac / (1 + rival.margin_frac), 3)} by {rival.other}"
    if rival.margin_frac <= 1e-12:
        return f"nothing but a tie: {rival.other} is as good"
    if rival.axis in ("count", "fabric", "storage"):
        return f"a plan with {rival.other} that costs {percent(rival.margin_frac / (1 + rival.margin_frac), 3)} less"
    words = []
    if rival.cheaper_frac < 1.0:
        words.append(f"{rival.other}'s devices {percent(rival.cheaper_frac, 3)} cheaper")
    if math.isfinite(rival.dearer_frac):
        words.append(f"{rival.mine}'s {percent(rival.dearer_frac, 3)} dearer")
    return " or ".join(words) or f"no price of {rival.other}'s devices"


def deadline_flips(found: Candidates, row: int, objective: str) -> dict[str, tuple[float, int]]:
    """Return at which factors of the deadline the choice changes: ``tighter`` and ``looser``, each with the combination that then wins.

    Tighter: the winner misses it below its own use of it. Looser: the least deadline at which something better, kept out by time alone,
    comes in.
    """
    ratios = found.ratios()
    timed = [ratios[name] for name in TIMED if name in ratios]
    if not timed:
        return {}
    late = np.maximum.reduce(timed)
    rest = np.isfinite(found.values["cost_usd"]) & np.isfinite(found.values["time_s"])
    for name, ratio in ratios.items():
        if name not in TIMED:
            rest &= ratio <= 1.0 + 1e-12
    value = found.values[OBJECTIVES[objective]]
    flips: dict[str, tuple[float, int]] = {}
    faster = np.flatnonzero(rest & (late < late[row] * (1 - 1e-12)))
    if faster.size:
        flips["tighter"] = (float(late[row]), int(order(found, objective, faster)[0]))
    better = np.flatnonzero(rest & (late > 1.0 + 1e-12) & (value < value[row] * (1 - 1e-12)))
    if better.size:
        near = better[late[better] <= float(late[better].min()) * (1.0 + _AS_LATE)]  # the same run at two places differs by rounding alone
        j = int(order(found, objective, near)[0])
        flips["looser"] = (float(late[j]), j)
    return flips


def deadline_words(found: Candidates, row: int, objective: str, limit_s: float) -> str:
    """Return in words at which deadlines the choice changes."""
    flips = deadline_flips(found, row, objective)
    key = OBJECTIVES[objective]
    words = []
    if "tighter" in flips:
        factor, j = flips["tighter"]
        words.append(
            f"below {readable(factor * limit_s, 'time', 3)} it would be {found.words(j)} at {brief(key, float(found.values[key][j]))}"
        )
    if "looser" in flips:
        factor, j = flips["looser"]
        words.append(f"from {readable(factor * limit_s, 'time', 3)} on {found.words(j)} at {brief(key, float(found.values[key][j]))}")
    return "; ".join(words) or "no other deadline would change the choice"
