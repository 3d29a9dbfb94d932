"""Charts that set scheduling policies side by side: slowdown by size, use and queue over time, a stretch of the schedule, how users fare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from hpcsim.report.intervals import means, size_classes
from hpcsim.report.schedule import gantt, in_spans
from hpcsim.report.style import FAINT, GRID, PALETTE, Chart, drawn, legend, note, sheet, time_axis, wrap
from hpcsim.results.quantities import brief

__all__ = ["busiest_stretch", "by_size", "detail", "log_axis", "over_time", "users"]

_BINS = 90
_MOST_DETAIL = 300
"""Jobs that a stretch of the schedule shows: more would be a carpet."""


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def log_axis(axis: Any, low: float, high: float) -> None:
    """Put ticks at powers of ten, and between them where there are few."""
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:.3g}"))


def _by_policy(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in table.groupby("policy", sort=False)} if "policy" in table.columns else {"": table}


@drawn
def by_size(jobs: pd.DataFrame) -> Chart:
    """Draw the mean bounded slowdown of jobs by their size, one line a policy.

    Parameters
    ----------
    jobs : DataFrame
        Table ``jobs``; jobs that have not ended are left out.
    """
    ended = jobs[jobs["bounded_slowdown"].notna()]
    if not len(ended):
        figure, (axes,) = sheet("No job ended")
        note(axes, "There is no slowdown to show.")
        return Chart("slowdown-by-size", "No job ended", "No job ended.", figure)
    classes, labels = size_classes(ended["processors"].to_numpy(np.int64), most=8)
    ended = ended.assign(size_class=classes)
    lines: dict[str, Any] = {}
    for name, rows in _by_policy(ended).items():
        mean = rows.groupby("size_class")["bounded_slowdown"].mean().reindex(range(len(labels)))
        lines[name] = mean.to_numpy(float)
    overall = {name: float(rows["bounded_slowdown"].mean()) for name, rows in _by_policy(ended).items()}
    best = min(overall, key=lambda name: (overall[name], name))
    worst, least = int(np.nanargmax(lines[best])), int(np.nanargmin(lines[best]))
    most, fewest = (brief("bounded_slowdown", float(lines[best][at])) for at in (worst, least))
    who = f"Under {best}, jobs" if best else "Jobs"
    figure_title = f"{who} on {labels[worst]} processors are slowed down most ({most} times), on {labels[least]} least ({fewest})"
    figure, (axes,) = sheet(figure_title, height=3.3)
    places = np.arange(len(labels))
    handles = []
    for i, values in enumerate(lines.values()):
        handles += axes.plot(places, values, "o-", color=_colour(i), markersize=4.5)
    axes.set_yscale("log")
    low, high = np.nanmin([np.nanmin(v) for v in lines.values()]), np.nanmax([np.nanmax(v) for v in lines.values()])
    log_axis(axes.yaxis, float(low), float(high))
    axes.set_ylim(low / 1.3, max(high, low * 2) * 1.3)
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.3, len(labels) - 0.7)
    axes.set_xlabel("processors of the job")
    axes.set_ylabel("mean bounded slowdown")
    axes.yaxis.grid(True, color=GRID)
    if len(lines) > 1:
        legend(figure, handles, list(lines))
    counts = np.bincount(classes, minlength=len(labels))
    text = "Mean of max(1, (wait + run) / max(run, 10 s)) by size. Jobs: " + ", ".join(
        f"{label}: {count // max(len(lines), 1):,}" for label, count in zip(labels, counts, strict=True)
    )
    return Chart("slowdown-by-size", figure_title, text + ".", figure)


@drawn
def over_time(states: pd.DataFrame) -> Chart:
    """Draw use and queue over time, one line a policy, as means over equal spans.

    Parameters
    ----------
    states : DataFrame
        Table ``states`` with several policies; groups are added up.
    """
    by = _by_policy(states)
    begin, finish = float(states["start_s"].min()), float(states["end_s"].max())
    edges = np.linspace(begin, finish, _BINS + 1)
    used, queued = {}, {}
    for name, rows in by.items():
        start, end = rows["start_s"].to_numpy(float), rows["end_s"].to_numpy(float)
        total = means(start, end, (rows["busy"] + rows["idle"] + rows["down"]).to_numpy(float), edges)
        used[name] = means(start, end, rows["busy"].to_numpy(float), edges) / np.where(total > 0, total, 1.0)
        queued[name] = means(start, end, rows["queued_jobs"].to_numpy(float), edges)
    peak = {name: float(values.max()) for name, values in queued.items()}
    longest, shortest = (pick(peak, key=lambda name: (peak[name], name)) for pick in (max, min))
    message = (
        f"The queue grows longest under {longest} (to {peak[longest]:,.0f} jobs) and stays shortest under {shortest} ({peak[shortest]:,.0f})"
        if peak[longest] > peak[shortest]
        else "The queues are equally long"
    )
    figure, (top, below) = sheet(message, height=4.6, rows=2, ratios=[1, 1])
    seconds = time_axis(below, finish - begin)
    x = (edges - begin) / seconds
    handles = []
    for i, name in enumerate(by):
        handles.append(top.stairs(used[name], x, color=_colour(i), linewidth=1.3, baseline=None))
        below.stairs(queued[name], x, color=_colour(i), linewidth=1.3, baseline=None)
    top.set_ylim(0, 1.02)
    top.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    top.set_ylabel("processors in use")
    below.set_ylabel("jobs waiting")
    if peak[longest] > 10 * max(peak[shortest], 1.0):
        below.set_yscale("symlog", linthresh=10.0, linscale=0.6)
        below.yaxis.set_major_locator(FixedLocator([0, 10, 100, 1000, 10_000, 100_000]))
        below.yaxis.set_minor_locator(NullLocator())
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        below.set_ylabel("jobs waiting (log above 10)")
        below.set_ylim(0, peak[longest] * 1.5)
    else:
        below.set_ylim(0, max(peak[longest] * 1.05, 1.0))
        below.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (top, below):
        axes.yaxis.grid(True, color=GRID)
    legend(figure, [Line2D([], [], color=_colour(i), linewidth=1.8) for i in range(len(handles))], list(by))
    return Chart(
        "use-and-queue",
        message,
        f"Above the share of the processors in use, below the jobs that wait; means over {_BINS} equal spans.",
        figure,
    )


def busiest_stretch(jobs: pd.DataFrame, states: pd.DataFrame, policy: str) -> tuple[float, float]:
    """Return a span of time [s] in which some hundred jobs of a policy start, where its queue has grown to half of its longest."""
    levels = _by_policy(states)[policy]
    queued = levels["queued_jobs"].to_numpy(float)
    middle = float(levels["start_s"].iloc[int((queued >= queued.max() / 2).argmax())])
    mine = _by_policy(jobs)[policy]
    start, end = mine["start_s"].to_numpy(float), mine["end_s"].to_numpy(float)
    first, last = float(np.nanmin(start)), float(np.nanmax(end))
    half = (last - first) / 2 or 1.0
    while half > 60 and int(((start > middle - half) & (start < middle + half)).sum()) > _MOST_DETAIL:
        half /= 1.5
    return max(first, middle - half), min(last, middle + half)


def detail(jobs: pd.DataFrame, states: pd.DataFrame, policy: str, span_s: tuple[float, float], spans: pd.DataFrame | None = None) -> Chart:
    """Draw a stretch of a policy's schedule job by job.

    Parameters
    ----------
    jobs, states : DataFrame
        Tables ``jobs`` and ``states``, of all policies.
    policy : str
        Which one.
    span_s : (float, float) [s]
        The stretch.
    spans : DataFrame, optional
        Table ``spans``, of all policies that stop jobs or change their size.
    """
    mine, levels = _by_policy(jobs)[policy], _by_policy(states)[policy]
    low, high = span_s
    if spans is not None and policy in set(spans["policy"]):
        mine = in_spans(mine[mine["start_s"].notna()], spans[spans["policy"] == policy])
    near = mine[(mine["end_s"] > low) & (mine["start_s"] < high)]
    clipped = near.assign(
        start_s=near["start_s"].clip(low, high) - low,
        end_s=near["end_s"].clip(low, high) - low,
        submit_s=(near["submit_s"] - low).clip(lower=0),
    )
    inside = levels[(levels["end_s"] > low) & (levels["start_s"] < high)]
    window = inside.assign(start_s=inside["start_s"].clip(low, high) - low, end_s=inside["end_s"].clip(low, high) - low)
    chart = gantt(clipped, window, policy=policy)
    begun = brief("t_s", low - float(mine["submit_s"].min()))
    text = f"{chart.text} The stretch begins {begun} after the first submission; in its middle the worst policy's queue has grown to half of its longest."
    return Chart(f"detail-{policy}".rstrip("-"), chart.title, text, chart.figure)


@drawn
def users(shares: pd.DataFrame, policies: pd.DataFrame) -> Chart:
    """Draw how the users fare under each policy: the spread of their mean bounded slowdowns.

    Parameters
    ----------
    shares : DataFrame
        Table ``shares``; its users.
    policies : DataFrame
        Table ``policies``, for the fairness index.
    """
    mine = shares[shares["kind"] == "user"]
    by = {name: rows["mean_bounded_slowdown"].to_numpy(float) for name, rows in _by_policy(mine).items()}
    if not by or not len(mine):
        figure, (axes,) = sheet("The log does not tell its users apart")
        note(axes, "There is nobody to compare.")
        return Chart("fairness", "The log does not tell its users apart", "No user is known.", figure)
    index = dict(zip(policies["policy"].astype(str), policies["fairness_jain_frac"].to_numpy(float), strict=True))
    names = list(by) if "" not in by else [next(iter(index))]
    spread = {name: values for name, values in zip(names, by.values(), strict=True)}
    worst = {name: float(np.quantile(values, 0.9)) for name, values in spread.items()}
    best = min(worst, key=lambda name: (worst[name], name))
    message = (
        f"The worst-off tenth of the users fares best under {best}: slowed down {brief('bounded_slowdown', worst[best])} times or more"
    )
    figure, (axes,) = sheet(message, height=1.5 + 0.42 * len(names))
    places = np.arange(len(names))[::-1]
    for i, (place, values) in enumerate(zip(places, spread.values(), strict=True)):
        low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
        axes.plot([max(low, 1.0), max(high, 1.0)], [place, place], color=_colour(i), linewidth=5, alpha=0.45, solid_capstyle="butt")
        axes.plot(values, np.full(len(values), place) + 0.24, "|", color=FAINT, markersize=4, alpha=0.5)
        axes.plot([middle], [place], "o", color=_colour(i), markersize=6)
    axes.set_xscale("log")
    largest = max(float(values.max()) for values in spread.values())
    log_axis(axes.xaxis, 1.0, largest)
    axes.set_xlim(0.9, max(largest * 1.25, 2.0))
    labels = [wrap(name, 1.5) + (f"\n(Jain {index[name]:.2f})" if name in index and index[name] == index[name] else "") for name in names]
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.5, len(names) - 0.4)
    axes.set_xlabel("mean bounded slowdown of a user (log)")
    axes.xaxis.grid(True, color=GRID)
    count = len(next(iter(spread.values())))
    text = f"{count:,} users, a stroke each; the bar holds the middle four fifths, the dot is the median. Jain's index of their slowdowns beside the name."
    return Chart("fairness", message, text, figure)
