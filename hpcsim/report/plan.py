"""Charts of a capacity plan: cost against time, what the cost is made of, cash by month, power by month, what could be saved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from hpcsim.report.style import BAR_IN, FAINT, GRID, INK, PALETTE, WIDTH_IN, Chart, drawn, legend, note, sheet, time_unit, value_axis, wrap
from hpcsim.results.planning import machine_words
from hpcsim.results.quantities import brief, show

__all__ = ["cash", "front", "months_power", "plan_charts", "savings"]

MOST_BARS = 10


def plan_charts(tables: dict[str, pd.DataFrame]) -> list[Chart]:
    """Return the charts that the tables of a plan can give."""
    found: list[Chart] = []
    candidates = tables.get("plan_candidates")
    if candidates is not None:
        timed = candidates[candidates["time_s"] > 0]
        for goal in dict.fromkeys(timed["goal"]):
            if str(goal).startswith("train"):
                found.append(front(timed[timed["goal"] == goal]))
    if "plan_months" in tables:
        found.append(cash(tables["plan_months"]))
        if float(np.nan_to_num(tables["plan_months"]["power_w"].to_numpy(float)).max()) > 0:
            found.append(months_power(tables["plan_months"]))
    if "plan_savings" in tables and (tables["plan_savings"]["saves_usd"].abs() > 0).any():
        found.append(savings(tables["plan_savings"]))
    return found


@drawn
def front(table: pd.DataFrame) -> Chart:
    """Draw cost against run time of one goal's combinations, by owner; the choice, the finalists with their simulated times.

    Parameters
    ----------
    table : DataFrame
        Rows of ``plan_candidates`` of one goal.
    """
    goal = str(table["goal"].iloc[0])
    name = f"plan-front-{''.join(c if c.isalnum() else '-' for c in goal)}"
    best = table[table["role"].isin(("chosen", "near"))].iloc[0]
    verb = "reaches the goal" if best["role"] == "chosen" else "comes nearest"
    message = f"{machine_words({str(key): value for key, value in best.items()})}, {best['owner']}, {verb} at {brief('cost_usd', best['cost_usd'])}"
    figure, (ax,) = sheet(message, height=3.9)
    rows = table[np.isfinite(table["cost_usd"]) & np.isfinite(table["time_s"])]
    seconds, unit = time_unit(float(rows["time_s"].max()))
    divisor = value_axis(ax.yaxis, "cost_usd", float(rows["cost_usd"].max()))
    handles, labels = [], []
    owners = list(dict.fromkeys(rows["owner"]))
    for i, owner in enumerate(owners):
        mine = rows[rows["owner"] == owner]
        face = PALETTE[i % len(PALETTE)]
        mark = "osD^vPX*"[i % 8]
        handle = ax.scatter(mine["time_s"] / seconds, mine["cost_usd"] / divisor, s=34, color=face, marker=mark, alpha=0.9, linewidths=0)
        handles.append(handle)
        labels.append(str(owner))
    done = rows[np.isfinite(rows["simulated_s"])]
    if len(done):
        ax.hlines(
            done["cost_usd"] / divisor, np.minimum(done["time_s"], done["simulated_s"]) / seconds, np.maximum(done["time_s"], done["simulated_s"]) / seconds,
            color=INK, linewidth=1.2, zorder=3,
        )  # fmt: skip
        handles.append(ax.scatter(done["simulated_s"] / seconds, done["cost_usd"] / divisor, s=60, marker="|", color=INK, zorder=4))
        labels.append("simulated")
    ring = ax.scatter(
        [best["time_s"] / seconds], [best["cost_usd"] / divisor], s=190, facecolors="none", edgecolors=INK, linewidths=1.5, zorder=5
    )
    handles.append(ring)
    labels.append("the plan" if best["role"] == "chosen" else "the nearest")
    ax.set_xlabel(f"run time ({unit})")
    _log(ax.yaxis, ax.set_yscale, rows["cost_usd"].to_numpy(float) / divisor)
    ax.set_xlim(0, None)
    ax.grid(True)
    legend(figure, handles, labels)
    text = (
        f"Cost against run time of {len(rows)} combinations of {goal}: those that no other beats in cost, time and carbon at once, and the finalists. "
        f"The plan: {show('time_s', best['time_s'])}, {show('cost_usd', best['cost_usd'])}."
    )
    return Chart(name, message, text, figure)


def _log(axis: Any, scale_of: Any, values: npt.NDArray[np.float64]) -> None:
    """Put an axis on a logarithmic scale where the values span more than a factor of eight, with ticks at 1, 2 and 5."""
    low, high = float(values.min()), float(values.max())
    if low <= 0 or high / low < 8:
        return
    scale_of("log")
    ticks = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    ticks = [t for t in ticks if low * 0.8 <= t <= high * 1.25]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _months(ax: Any, count: int) -> None:
    ax.set_xlabel("month from the order")
    ax.set_xlim(-0.6, count - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _by_month(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return table.groupby("month", sort=True)[names].sum()


@drawn
def cash(table: pd.DataFrame) -> Chart:
    """Draw payments by month, and all payments so far.

    Parameters
    ----------
    table : DataFrame
        Table ``plan_months``; goals are added.
    """
    names = ["purchase_usd", "rent_usd", "running_usd"]
    months = _by_month(table, names)
    total = months.sum(axis=1).cumsum()
    message = (
        f"{brief('cost_usd', float(total.iloc[-1]))} are paid in {len(months)} months"
        if len(months) > 1
        else f"{brief('cost_usd', float(total.iloc[-1]))} are paid in a month"
    )
    figure, (ax,) = sheet(message)
    divisor = value_axis(ax.yaxis, "cost_usd", float(total.max()), what="payments")
    bottom = np.zeros(len(months))
    handles: list[Any] = []
    labels: list[str] = []
    for i, name in enumerate(names):
        height = months[name].to_numpy(float) / divisor
        if height.max() <= 0:
            continue
        handles.append(ax.bar(months.index, height, bottom=bottom, width=0.85, color=PALETTE[i]))
        labels.append({"purchase_usd": "purchases", "rent_usd": "rent", "running_usd": "electricity, maintenance, staff, space"}[name])
        bottom += height
    handles += ax.plot(months.index, total.to_numpy(float) / divisor, color=INK, marker="o", markersize=3.5)
    labels.append("all so far")
    _months(ax, len(months))
    ax.set_ylim(0, None)
    ax.grid(True, axis="y")
    legend(figure, handles, labels)
    return Chart("plan-cash", message, "Payments of each month, and their sum so far.", figure)


@drawn
def months_power(table: pd.DataFrame) -> Chart:
    """Draw the mean power of each month and the nodes in service.

    Parameters
    ----------
    table : DataFrame
        Table ``plan_months``; goals are added.
    """
    months = _by_month(table.fillna({"power_w": 0.0}), ["power_w", "nodes"])
    peak = float(months["power_w"].max())
    message = f"Power is {brief('power_w', peak)} on average in the fullest month"
    figure, axes = sheet(message, height=3.6, rows=2, ratios=(2, 1))
    divisor = value_axis(axes[0].yaxis, "power_w", peak, what="power")
    axes[0].bar(months.index, months["power_w"] / divisor, width=0.85, color=PALETTE[0])
    axes[0].set_ylim(0, None)
    axes[0].grid(True, axis="y")
    axes[1].step(
        np.append(months.index, len(months)) - 0.5, np.append(months["nodes"], months["nodes"].iloc[-1]), where="post", color=PALETTE[2]
    )
    axes[1].set_ylabel("nodes")
    axes[1].set_ylim(0, max(float(months["nodes"].max()) * 1.15, 1.0))
    _months(axes[1], len(months))
    axes[1].grid(True, axis="y")
    return Chart("plan-power", message, "Mean facility power of each month, and the nodes in service at its end.", figure)


@drawn
def savings(table: pd.DataFrame) -> Chart:
    """Draw what the measures save or cost, the most helpful first.

    Parameters
    ----------
    table : DataFrame
        Table ``plan_savings``.
    """
    rows = table[table["saves_usd"].abs() > 0].sort_values("saves_usd", ascending=False, kind="stable")
    gains = rows[rows["saves_usd"] > 0]
    rows = gains.head(MOST_BARS) if len(gains) >= 3 else rows.head(MOST_BARS)
    if not len(rows):
        figure, (ax,) = sheet("No measure saves money")
        note(ax, "No measure saves money.")
        return Chart("plan-savings", "No measure saves money", "No measure saves money.", figure)
    best = rows.iloc[0]
    message = (
        f"{str(best['measure'])[:1].upper()}{str(best['measure'])[1:]} would save {brief('cost_usd', best['saves_usd'])}"
        if best["saves_usd"] > 0
        else "No measure saves money"
    )
    labels = [wrap(str(name), 0.42 * WIDTH_IN) for name in rows["measure"]]
    lines = sum(1 + label.count("\n") for label in labels)
    figure, (ax,) = sheet(message, height=0.9 + BAR_IN * 0.62 * lines + 0.12 * len(rows))
    values = rows["saves_usd"].to_numpy(float)
    divisor = value_axis(ax.xaxis, "cost_usd", float(np.abs(values).max()), what="saves")
    places = -np.arange(len(rows), dtype=float)
    ax.barh(places, values / divisor, height=0.6, color=[PALETTE[2] if v > 0 else PALETTE[3] for v in values])
    for y, value in zip(places, values):
        side = "left" if value >= 0 else "right"
        ax.annotate(
            brief("cost_usd", value),
            (value / divisor, y),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            va="center",
            ha=side,
            fontsize=9,
            color=FAINT,
        )
    ax.set_yticks(places, labels)
    ax.axvline(0, color=GRID, linewidth=0.9)
    ax.margins(x=0.22)
    if values.min() >= 0:
        ax.set_xlim(0, None)
    return Chart(
        "plan-savings", message, "What each measure saves over the plan; measures are computed one by one and do not add up.", figure
    )
