"""The sheets that the steps of a plan fill: values with their reasons, the bill, the months, the savings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hpcsim.cost.money import depreciation
from hpcsim.results.planning import FACETS, STEPS
from hpcsim.results.quantities import quantity, show

__all__ = ["MONTH_S", "Pen", "Sheet"]

MONTH_S = 2_629_746.0


class Pen(Protocol):
    """Adds a row to one facet of a step."""

    def __call__(self, item: str, value: float | str, key: str = "", why: str = "", flips: str = "") -> None:
        """Add a value; see :meth:`Sheet.add`."""


@dataclass
class Sheet:
    """Rows of the tables ``plan``, ``plan_bill``, ``plan_months``, ``plan_savings`` and ``plan_prices``."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    bill: list[dict[str, Any]] = field(default_factory=list)
    months: list[dict[str, Any]] = field(default_factory=list)
    savings: list[dict[str, Any]] = field(default_factory=list)
    prices: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, step: str, facet: str, item: str, value: float | str, key: str = "", *, why: str = "", flips: str = "", goal: str = ""
    ) -> None:
        """Add a value of a step.

        Parameters
        ----------
        step, facet, item : str
        value : float or str
            A number in SI units, or the name of what was chosen.
        key : str
            Name of the quantity, whose suffix is the unit (``x_bytes_per_s``); a count without one.
        why, flips, goal : str
        """
        if isinstance(value, str):
            shown, number, unit = value, math.nan, None
        else:
            number = float(value)
            shown = show(key, number) if key else f"{number:,.4g}" if number != round(number) else f"{number:,.0f}"
            unit = quantity(key).unit if key else ""
        self.rows.append(
            {
                "step": step, "facet": facet, "goal": goal or None, "item": item, "shown": shown, "value": number,
                "unit": unit or None, "why": why or None, "flips": flips or None,
            }
        )  # fmt: skip

    def pen(self, step: str, goal: str, facet: str) -> Pen:
        """Return what adds the rows of one facet of a step."""

        def write(item: str, value: float | str, key: str = "", why: str = "", flips: str = "") -> None:
            self.add(step, facet, item, value, key, why=why, flips=flips, goal=goal)

        return write

    def buy(self, goal: str, facet: str, item: str, count: float, unit: str, each_usd: float, source: str) -> None:
        """Add a line of the bill."""
        if count > 0:
            self.bill.append(
                {
                    "goal": goal, "item": item, "facet": facet, "count": float(count), "unit": unit, "each_usd": float(each_usd),
                    "usd": float(count) * float(each_usd), "source": source or None,
                }
            )  # fmt: skip

    def save(self, goal: str, facet: str, measure: str, before: str, after: str, formula: str, **saves: float) -> None:
        """Add a measure and what it saves: ``usd``, ``s``, ``kg_co2e``, ``bytes``."""
        row = {"goal": goal, "facet": facet, "measure": measure, "before": before, "after": after, "formula": formula}
        self.savings.append(row | {f"saves_{name}": float(saves.get(name, math.nan)) for name in ("usd", "s", "kg_co2e", "bytes")})

    def flow(
        self,
        goal: str,
        *,
        horizon_s: float,
        start_s: float,
        end_s: float,
        purchase: Mapping[int, float],
        life_years: int,
        rent_usd_per_s: float,
        rent_end_s: float,
        fixed_usd_per_s: float,
        fixed_end_s: float,
        running_usd_per_s: float,
        nodes: Sequence[float],
        power_w: Sequence[float],
    ) -> None:
        """Add the months of a goal: purchases by month, rent and running cost while they last, straight-line book value.

        ``nodes`` and ``power_w`` are by year, the last of them for all later years.
        """
        cumulative = 0.0
        bought: list[tuple[int, float]] = []
        for month in range(max(math.ceil(horizon_s / MONTH_S - 1e-9), 1)):
            a, b = month * MONTH_S, (month + 1) * MONTH_S

            def inside(first: float, last: float, a: float = a, b: float = b) -> float:
                return max(min(last, b) - max(first, a), 0.0)

            paid = float(purchase.get(month, 0.0))
            bought += [(month, paid)] if paid else []
            on = inside(start_s, end_s)
            year = month // 12
            standing, watts = nodes[min(year, len(nodes) - 1)], power_w[min(year, len(power_w) - 1)]
            rent = rent_usd_per_s * inside(start_s, rent_end_s)
            running = running_usd_per_s * on + fixed_usd_per_s * inside(start_s, fixed_end_s)
            cumulative += paid + rent + running
            value = 0.0
            for first, usd in bought:
                gone = (month + 1 - first) / 12.0
                parts = depreciation(usd, years=life_years)
                whole = min(int(gone), life_years)
                value += usd - float(parts[:whole].sum()) - (float(parts[whole]) * (gone - whole) if whole < life_years else 0.0)
            self.months.append(
                {
                    "goal": goal, "month": month, "purchase_usd": paid, "rent_usd": rent, "running_usd": running,
                    "cumulative_usd": cumulative, "value_usd": max(value, 0.0),
                    "nodes": standing if inside(start_s, max(end_s, fixed_end_s)) > 0 else 0.0, "power_w": watts * on / MONTH_S,
                }
            )  # fmt: skip

    def columns(self, name: str) -> dict[str, list[Any]]:
        """Return the rows of a sheet (``rows``, ``bill``, ``months``, ``savings``, ``prices``) as columns."""
        rows: list[dict[str, Any]] = getattr(self, name)
        if name == "rows":
            rows = sorted(rows, key=lambda row: (STEPS.index(row["step"]), FACETS.index(row["facet"])))
        return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
