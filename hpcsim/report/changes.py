"""Charts of a comparison: how far each headline figure moves, and through which terms."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hpcsim.report.style import INK, PALETTE, Chart, drawn, legend, sheet, value_axis, wrap
from hpcsim.results.quantities import brief, label
from hpcsim.results.record import Results

__all__ = ["change_charts"]

_HEADLINES = (
    "wall_clock_s", "makespan_s", "mean_wait_s", "mfu_frac", "goodput_frac", "utilisation_frac", "facility_energy_j", "peak_power_w",
    "carbon_kg_co2e", "cost_usd", "peak_memory_bytes",
)  # fmt: skip
_MOST_TERMS = 9


def change_charts(results: Results) -> list[Chart]:
    """Return the charts of a comparison: every headline figure's change, then the terms of time, money and energy for the last scenario."""
    figures, terms = results.tables["compare_figures"], results.tables["compare_terms"]
    found = []
    moved = figures[figures["metric"].isin(_HEADLINES) & figures["change_frac"].notna()]
    if "wall_clock_s" in set(moved["metric"]):
        moved = moved[moved["metric"] != "makespan_s"]
    names = list(dict.fromkeys(figures["scenario"]))
    if (moved["change_frac"] != 0).any():
        found.append(changes(moved, names))
    for metric in ("wall_clock_s", "cost_usd", "facility_energy_j"):
        rows = terms[(terms["metric"] == metric) & (terms["scenario"] == names[-1])]
        if len(rows) and float(rows["change"].abs().sum()) > 1e-9 * float(rows["before"].abs().sum()):
            found.append(through(rows, metric, names))
    return found


@drawn
def changes(rows: pd.DataFrame, names: list[str]) -> Chart:
    """Draw the change of every headline figure from the first scenario, a colour for each other scenario.

    Parameters
    ----------
    rows : DataFrame
        Rows of table ``compare_figures`` of the headline figures.
    names : list of str
        Scenarios, the first one first.
    """
    metrics = [m for m in _HEADLINES if m in set(rows["metric"]) and (rows[rows["metric"] == m]["change_frac"] != 0).any()]
    others = names[1:][:4]
    table = rows.pivot(index="metric", columns="scenario", values="change_frac")
    last = table[names[-1]]
    most = last.abs().idxmax()
    message = f"Most changes {label(str(most))}: {_percent(float(last[most]))} from {names[0]} to {names[-1]}"
    height = 0.8 / len(others)
    figure, (axes,) = sheet(message, height=1.2 + len(metrics) * (0.2 + 0.2 * len(others)))
    places = np.arange(len(metrics))[::-1]
    for k, name in enumerate(others):
        values = np.array([float(table.loc[m, name]) for m in metrics])
        at = places + 0.4 - height * (k + 0.5)
        axes.barh(at, np.nan_to_num(values), height=height * 0.92, color=PALETTE[k])
        for place, value in zip(at, values):
            if value == value:
                axes.annotate(_percent(value), (value, place), xytext=(4 if value >= 0 else -4, 0), textcoords="offset points",
                              va="center", ha="left" if value >= 0 else "right", fontsize=9)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=1.0)
    axes.set_yticks(places, [wrap(label(m), 1.6) for m in metrics])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.22)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _percent(v)))
    axes.set_xlabel(f"change from {wrap(names[0], 3.5)}")
    axes.grid(True, axis="x")
    if len(others) > 1:
        legend(figure, [Patch(color=PALETTE[k]) for k in range(len(others))], others)
    return Chart("changes", message, f"Change of the headline figures from {names[0]}, in percent of its figure.", figure)


def _percent(frac: float) -> str:
    return f"{100 * frac:+.3g} %".replace("-", "−") if frac else "0 %"


@drawn
def through(rows: pd.DataFrame, metric: str, names: list[str]) -> Chart:
    """Draw through which terms a figure changes.

    Parameters
    ----------
    rows : DataFrame
        Rows of table ``compare_terms`` of one metric and scenario, largest change first.
    metric : str
        Summary key.
    names : list of str
        Scenarios, the first one first.
    """
    rows = rows[rows["change"] != 0]
    kept = rows.head(_MOST_TERMS)
    total = float(rows["change"].sum())
    top = kept.iloc[0]
    message = f"{_capital(label(metric))} {'rises' if total > 0 else 'falls'} by {brief(metric, abs(total))}, most through {top['term']}"
    values = kept["change"].to_numpy(float)
    words = [wrap(str(term), 1.8) for term in kept["term"]]
    rest = float(rows["change"].iloc[_MOST_TERMS:].sum())
    if len(rows) > _MOST_TERMS:
        values, words = np.append(values, rest), [*words, f"{len(rows) - _MOST_TERMS} others"]
    figure, (axes,) = sheet(message, height=1.0 + 0.32 * len(words))
    divisor = value_axis(axes.xaxis, metric, float(np.abs(values).max()), what=f"change of {label(metric)}")
    places = np.arange(len(words))[::-1]
    axes.barh(places, values / divisor, height=0.66, color=[PALETTE[3] if v > 0 else PALETTE[2] for v in values])
    axes.axvline(0, color=INK, linewidth=1.0)
    axes.set_yticks(places, words)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.margins(x=0.1)
    text = f"Change of each term of {label(metric)} from {names[0]} to {names[-1]}; together {'+' if total > 0 else '−'}{brief(metric, abs(total))}."
    return Chart(f"change-{metric.replace('_', '-')}", message, text, figure)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
