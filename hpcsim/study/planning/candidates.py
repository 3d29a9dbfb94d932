"""Every combination of a goal as arrays: what it takes, by how much it breaks each limit, and which are best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.results.planning import machine_words

__all__ = ["OBJECTIVES", "SHARED", "Candidates", "front", "joined", "order"]

EMPTY = problem_kind("plan-without-candidate", "no combination can be had for {goal}", "{hint}")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OBJECTIVES: Mapping[str, str] = {"cost": "cost_usd", "time": "sure_s", "carbon": "carbon_kg_co2e"}
"""What is made least, and the value that holds it."""

SHARED: Mapping[str, str] = {
    "budget": "cost_usd",
    "outlay": "outlay_usd",
    "power": "power_w",
    "racks": "racks",
    "carbon": "carbon_kg_co2e",
}
"""Limits that all goals share, and the value that counts against each."""


@dataclass(frozen=True)
class Candidates:
    """The combinations of one goal, side by side.

    Attributes
    ----------
    goal : str
        ``train NAME``, ``queue`` or ``store NAME``.
    axes : mapping of str to object array, shape (n,)
        Names of what is chosen: nodes, count, fabric, storage, owner, place, …
    values : mapping of str to float array, shape (n,)
        ``cost_usd outlay_usd sure_s time_s carbon_kg_co2e power_w racks …``.
    parts : mapping of str to float array, shape (n,)
        Items of the cost; they add up to ``cost_usd``.
    over : mapping of str to float array, shape (n,)
        What it takes of each limit of its own, over that limit; above 1 breaks it, infinite cannot be mended.
    limits : mapping of str to float
        Limits that all goals share.
    extra : mapping
        What the goal keeps of each combination: indices of machines and sources.
    """

    goal: str
    axes: Mapping[str, npt.NDArray[Any]]
    values: Mapping[str, Floats]
    parts: Mapping[str, Floats]
    over: Mapping[str, Floats]
    limits: Mapping[str, float]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values["cost_usd"])

    def ratios(self) -> dict[str, Floats]:
        """Return use over limit of every limit, those that goals share counted for this goal alone."""
        found = dict(self.over)
        for name, limit in self.limits.items():
            value = self.values[SHARED[name]]
            found[name] = np.where(np.isnan(value), np.inf, value / limit)
        return found

    def feasible(self) -> npt.NDArray[np.bool_]:
        """Return which combinations break no limit."""
        mask = np.isfinite(self.values["cost_usd"]) & np.isfinite(self.values["time_s"])
        for ratio in self.ratios().values():
            mask &= ratio <= 1.0 + 1e-12
        return mask

    def take(self, index: npt.ArrayLike) -> Candidates:
        """Return the combinations at ``index``."""

        def of(table: Mapping[str, Any]) -> dict[str, Any]:
            return {name: column[index] for name, column in table.items()}

        return Candidates(self.goal, of(self.axes), of(self.values), of(self.parts), of(self.over), self.limits, of(self.extra))

    def machine(self, i: int) -> str:
        """Return the nodes and accelerators of combination ``i`` in words, or its drives."""
        axes = {name: self.axes[name][i] for name in ("nodes", "count", "accelerator") if name in self.axes}
        devices = round(float(self.values["devices"][i])) if "devices" in self.values else 0
        return machine_words({"goal": self.goal, "nodes": "", "count": 0, "accelerator": "", "devices": devices} | axes)

    def words(self, i: int) -> str:
        """Return combination ``i`` in words."""
        axes = {name: str(column[i]) for name, column in self.axes.items()}
        machine = self.machine(i)
        where = f"{axes.pop('owner', '')} ({axes.pop('provider', '')}, {axes.pop('place', '')})"
        rest = ", ".join(
            f"{name} {value}" for name, value in axes.items() if value and name not in ("nodes", "count", "accelerator", "country")
        )
        return ", ".join(part for part in (machine, where, rest) if part)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Return the combinations of several parts of one goal as one; they have the same columns."""
    first = parts[0]

    def of(name: str) -> dict[str, Any]:
        return {key: np.concatenate([getattr(part, name)[key] for part in parts]) for key in getattr(first, name)}

    return Candidates(first.goal, of("axes"), of("values"), of("parts"), of("over"), first.limits, of("extra"))


def order(found: Candidates, objective: str, rows: npt.ArrayLike | None = None) -> Ints:
    """Return the indices of combinations from best to worst: the objective, then cost, time, carbon, outlay, then as they came."""
    index = np.arange(len(found)) if rows is None else np.asarray(rows, dtype=np.int64)
    keys = [OBJECTIVES[objective], "cost_usd", "sure_s", "carbon_kg_co2e", "outlay_usd"]
    columns = [np.nan_to_num(found.values[key][index], nan=np.inf) for key in reversed(keys)]
    return np.asarray(index[np.lexsort([index, *columns])], dtype=np.int64)


def front(found: Candidates, rows: npt.ArrayLike) -> Ints:
    """Return the indices that no other beats in cost, time and carbon at once, by cost.

    Of combinations that are equal in all three the first stays.
    """
    index = order(found, "cost", rows)
    points = np.column_stack([np.nan_to_num(found.values[key][index], nan=np.inf) for key in OBJECTIVES.values()])
    kept: list[int] = []
    left = np.arange(len(index))
    while left.size:
        first = left[0]
        kept.append(int(first))
        rest = left[1:]
        left = rest[(points[rest] < points[first]).any(axis=1)]
    return np.asarray(index[kept], dtype=np.int64)
