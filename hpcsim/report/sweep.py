"""Charts of a sweep: one per metric over the first axis, a line per combination of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from hpcsim.report.style import PALETTE, WIDTH_IN, Chart, drawn, legend, note, sheet, value_axis, wrap
from hpcsim.results.courses import course, is_plural, names_of
from hpcsim.results.quantities import SUMMARY, brief, label, quantity

__all__ = ["axes_of", "in_proportion", "metrics_of", "sweep_chart", "sweep_charts"]

MOST_CHARTS = 16
MOST_LINES = 8
MOST_OF_SERVICES = 8
_FIRST = (
    "cost_usd",
    "cost_per_request_usd",
    "replicas",
    "p95_ttft_s",
    "p95_tpot_s",
    "goodput_frac",
    "late_frac",
    "p95_latency_s",
    "wall_clock_s",
    "mean_wait_s",
    "facility_energy_j",
    "carbon_kg_co2e",
)
"""Metrics that are drawn where not all are."""
_NOT_METRICS = ("seed", "problem", "events")
_NOT_OF_SERVICES = (
    "makespan_s",
    "wall_clock_s",
    "node_time_s",
    "device_time_s",
    "requests",
    "requests_finished",
    "load_per_s",
    "goodput_per_s",
)
"""What follows from how long a service is watched, and under which load."""
_SECOND = (
    "makespan_s",
    "node_time_s",
    "it_energy_j",
    "cost_per_mtoken_usd",
    "p50_ttft_s",
    "p99_ttft_s",
    "p50_tpot_s",
    "p99_tpot_s",
    "p50_latency_s",
    "p99_latency_s",
    "device_tdp_energy_j",
    "device_tdp_carbon_kg_co2e",
    "carbon_kg_co2e",
)
"""Metrics that often say the same as another one: drawn only where they do not."""


def axes_of(table: pd.DataFrame, provenance: Mapping[str, Any] | None = None) -> list[str]:
    """Return the columns that are varied: those that the provenance names, else the dotted paths."""
    named = (provenance or {}).get("axes") or []
    axes = [str(name) for name in named if str(name) in table.columns]
    return axes or [str(name) for name in table.columns if "." in str(name)] or [str(name) for name in table.columns[:1]]


def metrics_of(table: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return the numeric columns that differ between rows, the declared summary keys first and in their order."""
    found = []
    for key in map(str, table.columns):
        aside = key in _NOT_METRICS or ("requests" in table.columns and key in _NOT_OF_SERVICES)
        if key in axes or aside or quantity(key).machine or key.removesuffix("_low").removesuffix("_high") not in (key, ""):
            continue
        values = pd.to_numeric(table[key], errors="coerce").dropna().to_numpy(float)
        spread = float(np.ptp(values)) if len(values) else 0.0
        if spread > 1e-9 * float(np.abs(values).max(initial=0.0)):
            found.append(key)
    order = {key: i for i, key in enumerate(SUMMARY)}
    return sorted(found, key=lambda key: order.get(key, len(order)))


def sweep_charts(table: pd.DataFrame, provenance: Mapping[str, Any] | None = None, *, most: int = MOST_CHARTS) -> list[Chart]:
    """Return one chart per metric, at most ``most``; a metric in proportion to one that is drawn is named in its caption instead.

    Of services the figures that decide come first, and few others: many say how long something takes. The last caption says how many
    figures that move are not drawn.
    """
    axes = axes_of(table, provenance)
    metrics = metrics_of(table, axes)
    kept: dict[str, list[str]] = {}
    for metric in sorted(metrics, key=lambda key: key in _SECOND):
        twin = next((other for other in kept if in_proportion(table, other, metric)), None)
        kept.setdefault(twin or metric, []).extend([metric] if twin else [])
    ranked = sorted((metric for metric in metrics if metric in kept), key=_rank)
    served = "requests" in table.columns
    shown = ranked[: min(most, MOST_OF_SERVICES) if served else most]
    if not served:
        shown = [metric for metric in metrics if metric in shown]
    called = (provenance or {}).get("called") or {}
    charts = [sweep_chart(table, axes, metric, twins=kept[metric], called=called) for metric in shown]
    if len(ranked) > len(shown):
        more = len(ranked) - len(shown)
        text = f"{charts[-1].text} {more} more figure{'s that move are' if more > 1 else ' that moves is'} in sweep.csv."
        charts[-1] = dataclasses.replace(charts[-1], text=text)
    return charts


def _rank(metric: str) -> int:
    """Return the place of a metric among those that are drawn first; all others come after them."""
    name = metric.rpartition(".")[2]
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def in_proportion(table: pd.DataFrame, one: str, other: str) -> bool:
    """Return whether two columns have the same ratio in every row."""
    a, b = (pd.to_numeric(table[key], errors="coerce").to_numpy(float) for key in (one, other))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return False
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    return bool((a > 0).all() and (b > 0).all() and np.ptp(b / a) < 1e-6 * float((b / a).max()))


@drawn
def sweep_chart(
    table: pd.DataFrame, axes: Sequence[str], metric: str, *, twins: Sequence[str] = (), called: Mapping[str, str] | None = None
) -> Chart:
    """Draw one metric over the first axis.

    Parameters
    ----------
    table : DataFrame
        Table ``sweep``.
    axes : sequence of str
        Varied columns; the first goes across, every combination of the others is a line.
    metric : str
        Column to draw; where a point was run with several seeds, their mean, with the span between the 10th and 90th percentile.
    twins : sequence of str
        Columns in proportion to it, to be named in the caption.
    called : mapping of str to str, optional
        What columns are called here, if not by their label.
    """
    idle = _without_effect(table, axes, metric)
    axes = [axis for axis in axes if axis not in idle]
    first, others = axes[0], list(axes[1:])
    rows = table.assign(**{metric: pd.to_numeric(table[metric], errors="coerce")})
    rows = rows[rows[metric].notna()]
    if idle:
        rows = rows.drop_duplicates([*axes, "seed"] if "seed" in rows.columns else axes)
    name = f"sweep-{metric.replace('_', '-').replace('.', '-')}"
    called = called or {}
    said = called.get(metric, label(metric))
    message = _title(rows, first, others, metric, said)
    figure, (ax,) = sheet(message)
    if not len(rows):
        note(ax, "No point has a value.")
        return Chart(name, message, "No point has a value.", figure)
    places, numeric = _places(rows[first])
    divisor = value_axis(ax.yaxis, metric, float(rows[metric].abs().max()), what=said)
    lines = list(rows.groupby(others, sort=False)) if others else [((), rows)]
    handles, labels, seeds = [], [], 1
    for i, (key, chosen) in enumerate(lines[:MOST_LINES]):
        grouped = chosen.groupby(first, sort=False)[metric]
        order = sorted(grouped.groups, key=lambda value: places[value])
        x = np.array([places[value] for value in order])
        if not numeric:  # words have nothing between them: points side by side, no line
            x = x + 0.5 * ((i + 0.5) / min(len(lines), MOST_LINES) - 0.5)
        mean = np.array([grouped.get_group(value).mean() for value in order]) / divisor
        seeds = max(seeds, int(grouped.size().max()))
        face = PALETTE[i % len(PALETTE)]
        if grouped.size().max() > 1:
            low, high = (np.array([grouped.get_group(value).quantile(q) for value in order]) / divisor for q in (0.1, 0.9))
            if numeric:
                ax.fill_between(x, low, high, color=face, alpha=0.2, linewidth=0)
            else:
                ax.vlines(x, low, high, color=face, alpha=0.5, linewidth=3)
        handles += ax.plot(x, mean, "o-" if numeric else "o", color=face, markersize=5 if numeric else 7, clip_on=numeric)
        labels.append(", ".join(_word(part) for part in (key if isinstance(key, tuple) else (key,))))
    _across(ax, places, numeric)
    names = dict(zip(axes, names_of(axes), strict=True))
    ax.set_xlabel(wrap(names[first], WIDTH_IN - 1.2, size=10.5))
    values = rows[metric].to_numpy(float) / divisor
    if values.min() >= 0 and values.min() < 0.6 * values.max():
        ax.set_ylim(0, None)
    ax.grid(True)
    if others:
        legend(figure, handles, [f"{', '.join(names[path] for path in others)}: {labels[0]}", *labels[1:]])
    text = (
        f"{said[:1].upper()}{said[1:]} over {first}"
        + (f", a {'line' if numeric else 'colour'} per {', '.join(others)}" if others else "")
        + "."
    )
    if seeds > 1:
        text += f" Mean of {seeds} seeds; the {'shade' if numeric else 'bar'} spans the 10th to 90th percentile."
    if idle:
        text += f" It does not depend on {', '.join(idle)}."
    if twins:
        text += f" In proportion to it: {', '.join(called.get(twin, label(twin)) for twin in twins)}."
    if len(lines) > MOST_LINES:
        text += f" The first {MOST_LINES} of {len(lines)} are drawn."
    return Chart(name, message, text, figure)


def _without_effect(table: pd.DataFrame, axes: Sequence[str], metric: str) -> list[str]:
    """Return the axes that a metric does not depend on; at least one is kept."""
    idle: list[str] = []
    rows = table[table[metric].notna()]
    for axis in reversed(axes):
        rest = [other for other in axes if other not in (axis, *idle)]
        seed = ["seed"] if "seed" in table.columns else []
        if rest and len(rows) and rows[axis].nunique() > 1 and rows.groupby([*rest, *seed], sort=False)[metric].nunique().max() == 1:
            idle.append(axis)
    return idle[::-1]


def _places(column: pd.Series) -> tuple[dict[Any, float], bool]:
    """Return where on the axis each value lies: at its number, or one after the other where they are words."""
    values = list(dict.fromkeys(column))
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    if numbers.notna().all() and not any(isinstance(value, (bool, np.bool_)) for value in values):
        return {value: float(number) for value, number in zip(values, numbers)}, True
    return {value: float(i) for i, value in enumerate(values)}, False


def _across(ax: Any, places: dict[Any, float], numeric: bool) -> None:
    points = sorted(places.items(), key=lambda item: item[1])
    numbers = np.array([place for _, place in points])
    if numeric and numbers.min() > 0 and numbers.max() / numbers.min() >= 8:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
    if not numeric:
        ax.set_xlim(-0.4, len(points) - 0.6)
    if numeric and len(points) > 9:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        return
    ax.xaxis.set_major_locator(FixedLocator(list(numbers)))
    words = [_word(value) for value, _ in points]
    if not numeric:
        words = [_at_most(wrap(word, 0.85 * (WIDTH_IN - 1.0) / len(words)), lines=4) for word in words]
    ax.set_xticks(numbers, words)


def _at_most(text: str, *, lines: int) -> str:
    kept = text.split("\n")
    return "\n".join(kept if len(kept) <= lines else [*kept[: lines - 1], "…"])


def _word(value: Any) -> str:
    if isinstance(value, (bool, np.bool_, str)):
        return str(value)
    return f"{value:,.6g}"


def _title(rows: pd.DataFrame, first: str, others: list[str], metric: str, called: str) -> str:
    if not len(rows):
        return f"No {called}"
    text = called[:1].upper() + called[1:]
    if not others:
        means = rows.groupby(first, sort=rows[first].dtype.kind in "iuf")[metric].mean()
        values, places = [float(value) for value in means], [_word(at) for at in means.index]
        said = [brief(metric, value) for value in values]
        if len(values) == 1:
            return f"{text}: {said[0]} at {places[0]}"
        return f"{text} {course(values, said, places, plural=is_plural(text), way=True)}"
    means = rows.groupby([first, *others], sort=False)[metric].mean()
    low, high = means.idxmin(), means.idxmax()
    return (
        f"{text}: least at {', '.join(map(_word, low))} ({brief(metric, float(means.min()))}), "
        f"most at {', '.join(map(_word, high))} ({brief(metric, float(means.max()))})"
    )
