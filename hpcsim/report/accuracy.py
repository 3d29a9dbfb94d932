"""Predictions beside measurements: scatter, error by group, ranking, scaling, coverage."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from hpcsim.base.units import percent
from hpcsim.report.style import FAINT, GRID, INK, PALETTE, Chart, drawn, legend, note, sheet, width_in

__all__ = ["accuracy_charts", "coverage", "errors", "ranking", "ratios", "scaling", "scatter"]

_MOST_GROUPS = 24
_SMALL = 5
_OTHERS = "all others"
_MARKS = "os^Dv<>P"


def accuracy_charts(cases: pd.DataFrame, groups: pd.DataFrame, steps: pd.DataFrame | None = None) -> list[Chart]:
    """Return the charts of a verification.

    Parameters
    ----------
    cases, groups : DataFrame
        Tables ``verify_cases`` and ``verify_groups``.
    steps : DataFrame, optional
        Table ``verify_scaling``.
    """
    power = cases[(cases["status"] == "ok") & (cases["measured_w"] > 0)]
    if len(power):
        return [ratios(power)]
    known = cases[(cases["status"] == "ok") & (cases["measured_s"] > 0)]
    if not len(known) or groups["differing_starts"].notna().any():
        return []
    found = [scatter(known), errors(known)]
    if groups["layout_kendall_tau"].notna().any():
        found.append(ranking(groups))
    if steps is not None and len(steps):
        found.append(scaling(steps))
    if known["low_s"].notna().any():
        found.append(coverage(known))
    return found


def family(label: object) -> str:
    """Return the family that marks a case: the accelerator without its memory, every TPU as one.

    >>> family("A100-80GB"), family("TPU v5e"), family("all-reduce")
    ('A100', 'TPU', 'all-reduce')
    """
    text = label if isinstance(label, str) and label else "not said"
    return "TPU" if text.upper().startswith("TPU") else re.sub(r"[-_ ]?\d+ ?GB$", "", text)


def _families(labels: pd.Series) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the families, most frequent first, those beyond the palette put together, and the place of each row."""
    names = [family(label) for label in labels]
    order = sorted(set(names), key=lambda name: (-names.count(name), name))
    if len(order) > len(PALETTE):
        order = [*order[: len(PALETTE) - 1], _OTHERS]
    places = np.array([order.index(name) if name in order else len(order) - 1 for name in names], dtype=np.int64)
    return order, places


def _log_axes(axes: Axes, low: float, high: float, what: str, unit: str) -> None:
    for axis, word in ((axes.xaxis, "measured"), (axes.yaxis, "predicted")):
        axis.set_label_text(f"{what}, {word}" + (f" ({unit})" if unit else ""))
    axes.set_xscale("log")
    axes.set_yscale("log")
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    line = np.array([low, high])
    axes.fill_between(line, line * 0.8, line * 1.2, color="#eef2f6", linewidth=0, zorder=0)
    axes.fill_between(line, line * 0.9, line * 1.1, color="#dbe4ec", linewidth=0, zorder=0)
    axes.plot(line, line, color=FAINT, linewidth=0.9, zorder=1)


@drawn
def scatter(cases: pd.DataFrame) -> Chart:
    """Draw predicted against measured, one mark a case, with bands of 10 and 20 %."""
    measured, predicted = cases["measured_s"].to_numpy(float), cases["predicted_s"].to_numpy(float)
    error = np.abs(predicted / measured - 1.0)
    message = f"{percent(float((error <= 0.1).mean()))} of {len(cases)} predictions are within 10 %, {percent(float((error <= 0.2).mean()))} within 20 %"
    figure, (axes,) = sheet(message, height=4.9)
    seconds, unit = (1.0, "s") if np.median(measured) > 0.05 else (1e-6, "µs")
    low, high = min(measured.min(), predicted.min()) / seconds / 1.3, max(measured.max(), predicted.max()) / seconds * 1.3
    _log_axes(axes, low, high, "time", unit)
    order, places = _families(cases["label"])
    for k, name in enumerate(order):
        mine = places == k
        axes.plot(
            measured[mine] / seconds,
            predicted[mine] / seconds,
            _MARKS[k % len(_MARKS)],
            color=PALETTE[k % len(PALETTE)],
            markersize=3.6,
            markeredgewidth=0,
            alpha=0.75,
            label=name,
        )
    handles, labels = axes.get_legend_handles_labels()
    bands = [Patch(color="#dbe4ec"), Patch(color="#eef2f6")]
    legend(figure, [*handles, *bands], [*labels, "within 10 %", "within 20 %"])
    return Chart(
        "accuracy-scatter", message, "Predicted against measured time, both on logarithmic axes; on the line they are equal.", figure
    )


@drawn
def ratios(cases: pd.DataFrame) -> Chart:
    """Draw the error of every case with its 80 % interval, one row a case."""
    measured = cases["measured_w"].to_numpy(float)
    low, middle, high = (cases[f"{name}_w"].to_numpy(float) / measured - 1.0 for name in ("low", "predicted", "high"))
    inside = (low <= 0.0) & (high >= 0.0)
    message = f"{int(inside.sum())} of {len(cases)} measured powers lie inside the 80 % interval; the farthest is {percent(float(np.abs(middle).max()))} off"
    figure, (axes,) = sheet(message, height=1.6 + 0.26 * len(cases))
    places = _group_axis(axes, [str(name) for name in cases["id"]])
    axes.axvspan(-0.2, 0.2, color="#eef2f6", linewidth=0)
    axes.axvspan(-0.1, 0.1, color="#dbe4ec", linewidth=0)
    axes.axvline(0.0, color=FAINT, linewidth=0.9)
    axes.hlines(places, low, high, color=PALETTE[0], linewidth=2.0, alpha=0.6)
    axes.plot(middle, places, "o", color=PALETTE[0], markersize=5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("predicted over measured power, less one")
    text = "Predicted over measured power of every case, with the 80 % interval; on the line they are equal. Shaded: within 10 and 20 %."
    return Chart("accuracy-power", message, text, figure)


def _by_group(cases: pd.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of each group, small groups and what is too many put together."""
    counts = cases["group"].value_counts(sort=False)
    large = [str(name) for name, n in counts.items() if n >= _SMALL]
    if len(large) > _MOST_GROUPS:
        large = sorted(large, key=lambda name: (-int(counts[name]), name))[:_MOST_GROUPS]
    column = cases["group"].astype(str).to_numpy()
    rows = {name: np.flatnonzero(column == name) for name in large}
    rest = np.flatnonzero(~np.isin(column, large))
    return {**rows, **({_OTHERS: rest} if len(rest) else {})}


def _short(label: str, inches: float = 2.1) -> str:
    """Return a label on one line: the middle of a long one is left out."""
    if width_in(label) <= inches:
        return label
    text, tail = label, label[-12:]
    while width_in(f"{text}…{tail}") > inches and text:
        text = text[:-1]
    return f"{text.rstrip()}…{tail.lstrip()}"


def _group_axis(axes: Axes, labels: list[str]) -> npt.NDArray[np.float64]:
    places = np.arange(len(labels), dtype=np.float64)[::-1]
    axes.set_yticks(places, [_short(label) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    return places


@drawn
def errors(cases: pd.DataFrame) -> Chart:
    """Draw the errors of each group: every case as a dot, the middle half as a bar, the median as a line."""
    groups = _by_group(cases)
    error = cases["predicted_s"].to_numpy(float) / cases["measured_s"].to_numpy(float) - 1.0
    medians = {name: float(np.median(np.abs(error[rows]))) for name, rows in groups.items()}
    ordered = sorted(groups, key=lambda name: medians[name])
    worst = ordered[-1]
    message = f"By group the median error runs from {percent(medians[ordered[0]])} to {percent(medians[worst])} ({worst})"
    figure, (axes,) = sheet(message, height=1.0 + 0.24 * len(groups))
    places = _group_axis(axes, [f"{name} ({len(groups[name])})" for name in ordered])
    edge = float(np.clip(np.quantile(np.abs(error), 0.98) * 1.1, 0.3, 2.0))
    axes.axvspan(-0.2, 0.2, color="#eef2f6", linewidth=0)
    axes.axvspan(-0.1, 0.1, color="#dbe4ec", linewidth=0)
    axes.axvline(0.0, color=FAINT, linewidth=0.9)
    for place, name in zip(places, ordered, strict=True):
        mine = error[groups[name]]
        shown = np.clip(mine, -edge, edge)
        spread = 0.24 * np.sin(np.arange(len(mine)) * 2.399963)  # even without chance: the golden angle
        axes.plot(shown, place + spread, ".", color=PALETTE[0], markersize=3.0, alpha=0.45, markeredgewidth=0)
        low, middle, high = np.clip(np.quantile(mine, [0.25, 0.5, 0.75]), -edge, edge)
        axes.plot([low, high], [place, place], color=INK, linewidth=2.2, solid_capstyle="butt")
        axes.plot([middle], [place], "|", color=PALETTE[3], markersize=13, markeredgewidth=2.4)
    axes.set_xlim(-edge * 1.04, edge * 1.04)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("predicted over measured, less one")
    handles = [
        Line2D([], [], color=PALETTE[0], marker=".", linestyle="none"),
        Line2D([], [], color=INK, linewidth=2.2),
        Line2D([], [], color=PALETTE[3], marker="|", linestyle="none", markersize=11, markeredgewidth=2.4),
    ]
    legend(figure, handles, ["a case", "middle half", "median"])
    outside = int((np.abs(error) > edge).sum())
    beyond = f" {outside} cases beyond ±{percent(edge)} stand at the edge." if outside else ""
    text = f"Error of every case by group (number of cases), least median first. Shaded: within 10 and 20 %.{beyond}"
    return Chart("accuracy-groups", message, text, figure)


@drawn
def ranking(groups: pd.DataFrame) -> Chart:
    """Draw Kendall's τ of the layouts of one job, by group."""
    known = groups[groups["layout_kendall_tau"].notna()].sort_values("layout_kendall_tau", ascending=False, kind="stable")
    tau = known["layout_kendall_tau"].to_numpy(float)
    good = int((tau >= 0.7).sum())
    message = f"Layouts of one job are ranked with τ of at least 0.7 in {good} of {len(tau)} groups"
    figure, (axes,) = sheet(message, height=1.0 + 0.26 * len(tau))
    places = _group_axis(axes, [str(name) for name in known["group"]])
    axes.axvspan(0.7, 1.05, color="#e9eef3", linewidth=0)
    axes.axvline(0.0, color=FAINT, linewidth=0.9)
    axes.hlines(places, 0.0, tau, color=GRID, linewidth=2.0)
    axes.plot(tau, places, "o", color=PALETTE[0], markersize=6)
    for place, value in zip(places, tau, strict=True):
        axes.annotate(f"{value:.2f}".replace("-", "−"), (max(value, 0.0), place), xytext=(8, 0), textcoords="offset points", va="center")
    axes.set_xlim(min(-0.05, float(tau.min()) - 0.1), 1.25)
    axes.set_xlabel("Kendall's τ of predicted and measured order")
    text = "Rank correlation of the layouts that do the same job, over all pairs of a group; 1 is the same order, −1 the opposite. Shaded: 0.7 and above."
    return Chart("accuracy-ranking", message, text, figure)


@drawn
def scaling(steps: pd.DataFrame) -> Chart:
    """Draw predicted against measured speed-up from one number of devices to the next."""
    measured, predicted = steps["measured_ratio"].to_numpy(float), steps["predicted_ratio"].to_numpy(float)
    error = float(np.median(np.abs(predicted / measured - 1.0)))
    message = f"From one number of devices to the next the speed-up is predicted within {100 * error:.2g} % in the median"
    figure, (axes,) = sheet(message, height=4.4)
    if not np.isfinite(measured).all():
        note(axes, "A speed-up is not known.")
        return Chart("accuracy-scaling", message, message + ".", figure)
    low, high = min(measured.min(), predicted.min()) / 1.2, max(measured.max(), predicted.max()) * 1.2
    _log_axes(axes, low, high, "speed-up", "×")
    names = list(dict.fromkeys(steps["group"].astype(str)))
    shown = names if len(names) <= len(PALETTE) else [*names[: len(PALETTE) - 1], _OTHERS]
    for k, name in enumerate(shown):
        mine = (steps["group"].astype(str) == name).to_numpy() if name != _OTHERS else ~np.isin(steps["group"].astype(str), shown[:-1])
        axes.plot(
            measured[mine], predicted[mine], _MARKS[k % 8], color=PALETTE[k], markersize=4.5, markeredgewidth=0, alpha=0.8, label=name
        )
    handles, labels = axes.get_legend_handles_labels()
    legend(figure, handles, labels)
    text = "Sequences per second with more devices over those with fewer, the fastest case of each count; shaded: within 10 and 20 %."
    return Chart("accuracy-scaling", message, text, figure)


@drawn
def coverage(cases: pd.DataFrame) -> Chart:
    """Draw the share of measurements inside the 80 % interval, by group."""
    inside = (
        (cases["low_s"].to_numpy(float) <= cases["measured_s"].to_numpy(float))
        & (cases["measured_s"].to_numpy(float) <= cases["high_s"].to_numpy(float))
    ).astype(float)
    groups = _by_group(cases)
    share = {name: float(inside[rows].mean()) for name, rows in groups.items()}
    ordered = sorted(groups, key=lambda name: -share[name])
    message = f"{percent(float(inside.mean()))} of the measurements lie inside the 80 % interval"
    figure, (axes,) = sheet(message, height=1.0 + 0.24 * len(groups))
    places = _group_axis(axes, [f"{name} ({len(groups[name])})" for name in ordered])
    axes.axvline(0.8, color=PALETTE[3], linewidth=1.2)
    values = [share[name] for name in ordered]
    axes.hlines(places, 0.0, values, color=GRID, linewidth=2.0)
    axes.plot(values, places, "o", color=PALETTE[0], markersize=6)
    axes.set_xlim(0.0, 1.05)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("measurements inside the interval")
    return Chart("accuracy-coverage", message, "Share of the measurements inside the predicted 80 % interval; the line is at 80 %.", figure)
