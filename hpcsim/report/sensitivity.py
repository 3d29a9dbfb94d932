"""Sensitivity studies: what matters, as text and as charts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from hpcsim.report.style import FAINT, GRID, INK, PALETTE, WIDTH_IN, Chart, drawn, legend, sheet, value_axis, wrap
from hpcsim.results.quantities import brief, label, show, show_range
from hpcsim.results.record import Results

__all__ = ["sensitivity_charts"]

_MOST_CHARTS = 4
_MOST_INPUTS = 10
HEADLINES = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j", "carbon_kg_co2e", "p95_wait_s", "goodput_frac")


def headlines_of(table: pd.DataFrame) -> list[str]:
    """Return the metrics to open with: declared headlines that the table has, the makespan only where it is no wall clock, else its first ones."""
    known = list(dict.fromkeys(map(str, table["metric"])))
    chosen = [metric for metric in HEADLINES if metric in known]
    if "wall_clock_s" in chosen and "makespan_s" in chosen:
        chosen.remove("makespan_s")
    return chosen or known


def sensitivity_charts(results: Results) -> list[Chart]:
    """Return the charts of a study: a tornado, the shares of the variance, or the spread of the draws, for the headline figures."""
    tables = results.tables
    found: list[Chart] = []
    if "tornado" in tables:
        found += [tornado(rows, metric) for metric, rows in _by_metric(tables["tornado"])]
    if "sobol" in tables:
        found += [shares_of_variance(rows, metric) for metric, rows in _by_metric(tables["sobol"])]
    if "uncertainty" in tables and "sweep" in tables:
        rows = tables["uncertainty"].set_index("metric")
        for metric in headlines_of(tables["uncertainty"])[:_MOST_CHARTS]:
            found.append(spread(tables["sweep"][metric].iloc[1:], rows.loc[metric], metric, _closest(tables, metric)))
    return found


def _by_metric(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(metric, table[table["metric"] == metric]) for metric in headlines_of(table)[:_MOST_CHARTS]]


def _closest(tables: dict[str, pd.DataFrame], metric: str) -> str:
    drivers = tables.get("drivers")
    if drivers is None:
        return ""
    rows = drivers[(drivers["metric"] == metric) & drivers["rank_correlation"].notna()]
    return str(rows["input"].iloc[0]) if len(rows) else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(metric: str) -> str:
    return metric.replace("_", "-")


@drawn
def tornado(rows: pd.DataFrame, metric: str) -> Chart:
    """Draw how far a figure moves when one input at a time goes to its 5th and 95th percentile.

    Parameters
    ----------
    rows : DataFrame
        Rows of table ``tornado`` of one metric, widest swing first.
    metric : str
        Summary key.
    """
    kept = rows[rows["swing"] > 0].head(_MOST_INPUTS)
    base = float(rows["base"].iloc[0])
    top = kept.iloc[0] if len(kept) else None
    message = f"{_capital(label(metric))} hangs most on {top['input']}" if top is not None else f"Nothing uncertain moves {label(metric)}"
    words = [wrap(f"{one}: {low} … {high}", 2.0) for one, low, high in zip(kept["input"], kept["low"], kept["high"])]
    figure, (axes,) = sheet(message, height=1.3 + sum(0.34 + 0.14 * word.count("\n") for word in words))
    ends = kept[["at_low", "at_high"]].to_numpy(float)
    divisor = value_axis(axes.xaxis, metric, float(np.nanmax(np.abs([base, *ends.ravel()]))))
    places = np.arange(len(kept))[::-1]
    for k, face in ((0, PALETTE[0]), (1, PALETTE[1])):
        axes.barh(places, np.nan_to_num(ends[:, k] - base) / divisor, left=base / divisor, height=0.62, color=face)
    axes.axvline(base / divisor, color=INK, linewidth=1.0)
    axes.set_yticks(places, words)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.margins(x=0.08)
    legend(figure, [Patch(color=PALETTE[0]), Patch(color=PALETTE[1])], ["input at its 5th percentile", "at its 95th percentile"])
    text = f"{_capital(label(metric))} with one input at a time off; the line is the scenario as it stands, {show(metric, base)}."
    return Chart(f"tornado-{_name(metric)}", message, text, figure)


@drawn
def shares_of_variance(rows: pd.DataFrame, metric: str) -> Chart:
    """Draw the shares of a figure's variance by input, alone and with interactions, with their 90 % intervals.

    Parameters
    ----------
    rows : DataFrame
        Rows of table ``sobol`` of one metric, largest total share first.
    metric : str
        Summary key.
    """
    kept = rows.head(_MOST_INPUTS)
    top = kept.iloc[0]
    message = f"{min(100 * top['total'], 100):.2g} % of the variance of {label(metric)} comes with {top['input']}"
    words = [wrap(str(one), 2.0) for one in kept["input"]]
    figure, (axes,) = sheet(message, height=1.3 + sum(0.4 + 0.14 * word.count("\n") for word in words))
    places = np.arange(len(kept))[::-1]
    for k, (key, shift, face) in enumerate((("total", 0.18, PALETTE[5]), ("first", -0.18, PALETTE[0]))):
        value, low, high = (kept[f"{key}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        axes.barh(places + shift, np.clip(value, 0, None), height=0.34, color=face)
        axes.hlines(places + shift, np.minimum(low, value), np.maximum(high, value), color=INK, linewidth=1.0 + 0.0 * k)
    axes.set_yticks(places, words)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(1.0, float(kept["total_high"].max()) * 1.05))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(f"share of the variance of {label(metric)} (%)")
    axes.grid(True, axis="x")
    legend(figure, [Patch(color=PALETTE[0]), Patch(color=PALETTE[5])], ["from the input alone", "alone and together with others"])
    text = f"Sobol indices of {label(metric)} from {int(top['samples'])} base samples; the lines are 90 % intervals by resampling."
    return Chart(f"sobol-{_name(metric)}", message, text, figure)


@drawn
def spread(values: pd.Series, row: pd.Series, metric: str, closest: str) -> Chart:
    """Draw the draws of a figure as a histogram with its 5th, 50th and 95th percentile.

    Parameters
    ----------
    values : Series
        The figure at every draw.
    row : Series
        Its row of table ``uncertainty``.
    metric : str
        Summary key.
    closest : str
        The input that it follows most closely; empty if none.
    """
    known = pd.to_numeric(values, errors="coerce").dropna().to_numpy(float)
    message = f"{_capital(label(metric))} is {show_range(metric, row['p5'], row['p95'])} in nine of ten draws"
    figure, (axes,) = sheet(message, height=2.7)
    divisor = value_axis(axes.xaxis, metric, float(np.abs(known).max()))
    axes.hist(known / divisor, bins=min(max(int(np.sqrt(len(known))), 5), 40), color=PALETTE[5], edgecolor="white", linewidth=0.5)
    for key, style in (("p5", "--"), ("p50", "-"), ("p95", "--")):
        axes.axvline(row[key] / divisor, color=INK, linewidth=1.2, linestyle=style)
        axes.annotate(brief(metric, row[key]), (row[key] / divisor, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
                      textcoords="offset points", ha={"p5": "right", "p50": "center", "p95": "left"}[key], color=FAINT, fontsize=9)  # fmt: skip
    axes.set_ylabel("draws")
    axes.grid(True, axis="y", color=GRID)
    follows = f" It follows {closest} most closely." if closest else ""
    text = f"{int(row['n'])} draws of {label(metric)}: median and 5th to 95th percentile.{follows}"
    return Chart(f"spread-{_name(metric)}", message, wrap(text, 100 * WIDTH_IN), figure)
