"""Charts of the schedule: who ran when, how busy the processors were, who waited."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from hpcsim.base.units import percent
from hpcsim.report.intervals import concurrency, means, pack, size_classes
from hpcsim.report.style import (
    COMPONENTS,
    GRID,
    INK,
    PALETTE,
    SEQUENTIAL,
    Chart,
    drawn,
    legend,
    note,
    sheet,
    time_axis,
    value_axis,
    width_in,
    wrap,
)
from hpcsim.results.quantities import brief

__all__ = ["gantt", "in_spans", "slowdowns", "utilisation", "waits"]

MOST_JOBS = 20_000
"""Jobs beyond which single jobs are not drawn any more: a picture has fewer dots than that."""
_BINS = 240
_VECTOR_PIECES = 400


@drawn
def gantt(jobs: pd.DataFrame, states: pd.DataFrame | None = None, *, policy: str = "", spans: pd.DataFrame | None = None) -> Chart:
    """Draw the schedule: time across, processors up, one block per job.

    Parameters
    ----------
    jobs : DataFrame
        Table ``jobs``, of one policy.
    states : DataFrame, optional
        Table ``states``: gives the processors and the horizon.
    policy : str
        Named in the title, where it is one of several.
    spans : DataFrame, optional
        Table ``spans``: when each job held how many processors, where any was stopped or changed its size.

    Notes
    -----
    Which rows a job gets is for the eye (first fit from below); which nodes it really had is not in the table.
    """
    placed = _placed(jobs, states)
    if spans is not None and len(placed):
        placed = in_spans(placed, spans)
    count = int(placed["job_id"].nunique())
    groups = _capacities(placed, states)
    total = sum(groups.values())
    message = (f"Under {policy}, " if policy else "") + _gantt_title(jobs, placed, total, count)
    figure, (axes,) = sheet(message, height=3.6 if count > 3 else 2.0)
    if not count:
        note(axes, "No job ran.")
        return Chart("schedule", message, "No job ran.", figure)
    begin, finish = _horizon(placed, states)
    seconds = time_axis(axes, finish - begin)
    labels, colours, classes, what = _job_colours(placed)
    if len(placed) > MOST_JOBS:
        _bands(axes, placed, classes, colours, begin, finish, seconds)
        text = f"Processors in use over time, by {what}; {count:,} jobs are too many to draw one by one."
    else:
        _blocks(axes, placed, groups, [colours[k] for k in classes], begin, seconds)
        text = f"{count:,} job{'s' * (count != 1)}: time across, {pool_unit(jobs)} up, coloured by {what}. "
        text += (
            "Rows are assigned for the eye only." if spans is None else "Rows are assigned for the eye only, anew for each size of a job."
        )
    axes.set_ylim(0, max(total, 1))
    axes.set_ylabel(pool_unit(jobs))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _group_labels(axes, groups)
    if len(labels) > 1:
        legend(figure, [Patch(color=c) for c in colours], labels, title=what)
    return Chart("schedule", message, text, figure)


def _placed(jobs: pd.DataFrame, states: pd.DataFrame | None) -> pd.DataFrame:
    """Return the jobs that held processors, with ``end_s`` filled to the horizon for those that still run."""
    ran = jobs[jobs["start_s"].notna()]
    last = max(
        [
            float(value)
            for value in (ran["start_s"].max(), ran["end_s"].max(), states["end_s"].max() if states is not None else np.nan)
            if value == value
        ],
        default=0.0,
    )
    ran = ran.assign(end_s=ran["end_s"].fillna(last))
    return ran[(ran["end_s"] > ran["start_s"]) & (ran["processors"] > 0)]


def in_spans(placed: pd.DataFrame, spans: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each time of each job at one size, in place of one from its first start to its end."""
    times = spans[["job_id", "start_s", "end_s", "processors"]]
    several = placed["job_id"].isin(times["job_id"]) & (placed["kind"] == "batch")
    cut = placed[several].drop(columns=["start_s", "end_s", "processors"])
    cut = cut.merge(times, on="job_id").merge(placed.loc[several, ["job_id", "end_s"]].rename(columns={"end_s": "_last"}), on="job_id")
    cut = cut.assign(end_s=cut["end_s"].fillna(cut["_last"])).drop(columns="_last")
    return pd.concat([placed[~several], cut[cut["end_s"] > cut["start_s"]]], ignore_index=True)


def _horizon(placed: pd.DataFrame, states: pd.DataFrame | None) -> tuple[float, float]:
    begins, ends = [float(placed["submit_s"].min()), float(placed["start_s"].min())], [float(placed["end_s"].max())]
    if states is not None and len(states):
        begins.append(float(states["start_s"].min()))
        ends.append(float(states["end_s"].max()))
    begin, end = min(begins), max(ends)
    return (0.0 if 0 <= begin <= 0.05 * end else begin), end


def _capacities(placed: pd.DataFrame, states: pd.DataFrame | None) -> dict[str, int]:
    """Return the processors of each group, from the states or, failing those, from what ran at once."""
    needed = {}
    for group, rows in placed.groupby(placed["group"].fillna("").astype(str), sort=True):
        peak = concurrency(rows["start_s"].to_numpy(float), rows["end_s"].to_numpy(float), rows["processors"].to_numpy(float))
        needed[str(group)] = int(peak)
    if states is None or not len(states):
        return needed
    have = (states["busy"] + states["idle"] + states["down"]).groupby(states["group"].astype(str), sort=True).max()
    known = {str(group): int(size) for group, size in have.items()}
    if set(needed) <= set(known):
        return {group: max(size, needed.get(group, 0)) for group, size in known.items()}
    return needed if len(known) > 1 or len(needed) > 1 else {g: max(n, *known.values()) for g, n in needed.items()}


def _job_colours(placed: pd.DataFrame) -> tuple[list[str], list[str], np.ndarray[Any, Any], str]:
    kinds = sorted(placed["kind"].unique())
    if len(kinds) > 1:
        return (
            kinds,
            [PALETTE[i % len(PALETTE)] for i in range(len(kinds))],
            np.searchsorted(kinds, placed["kind"].to_numpy(dtype=object)),
            "kind",
        )
    classes, labels = size_classes(placed["processors"].to_numpy(np.int64))
    spread = np.linspace(0, len(SEQUENTIAL) - 1, len(labels)).round().astype(int) if len(labels) > 1 else [2]
    return labels, [SEQUENTIAL[k] for k in spread], classes, "processors per job"


def _blocks(axes: Axes, placed: pd.DataFrame, groups: dict[str, int], colours: list[str], begin: float, seconds: float) -> None:
    start, end = placed["start_s"].to_numpy(float), placed["end_s"].to_numpy(float)
    size, of = placed["processors"].to_numpy(np.int64), placed["group"].fillna("").astype(str).to_numpy(dtype=object)
    corners, faces, offset, names = [], [], 0, placed["name"].to_numpy(dtype=object)
    for group, capacity in groups.items():
        mine = np.flatnonzero(of == group)
        if len(mine):
            pieces = pack(start[mine], end[mine], size[mine], capacity)
            job = mine[pieces[:, 0]]
            x0, x1, y0, y1 = (start[job] - begin) / seconds, (end[job] - begin) / seconds, pieces[:, 1] + offset, pieces[:, 2] + offset
            corners.append(np.stack([np.stack([x0, x1, x1, x0], 1), np.stack([y0, y0, y1, y1], 1)], 2))
            faces += [colours[k] for k in job]
            if len(placed) <= 12:
                _name_blocks(axes, names[job], x0, x1, y0, y1, sum(groups.values()))
        offset += capacity
    pieces_in_all = sum(map(len, corners))
    few = pieces_in_all <= _VECTOR_PIECES
    blocks = PolyCollection(
        list(np.concatenate(corners)),
        facecolors=faces,
        edgecolors="white" if few else "none",
        linewidths=0.4 if few else 0.0,
        rasterized=not few,
    )
    axes.add_collection(blocks, autolim=False)


def _name_blocks(axes: Axes, names: Any, x0: Any, x1: Any, y0: Any, y1: Any, total: int) -> None:
    width = axes.get_xlim()[1]
    for name, a, b, low, high in zip(names, x0, x1, y0, y1):
        if isinstance(name, str) and (b - a) / width * 4.5 > width_in(name, bold=True) and (high - low) / max(total, 1) > 0.08:
            axes.text((a + b) / 2, (low + high) / 2, name, ha="center", va="center", color="white", fontsize=9.5, fontweight="bold")


def _bands(axes: Axes, placed: pd.DataFrame, classes: Any, colours: list[str], begin: float, finish: float, seconds: float) -> None:
    edges = np.linspace(begin, finish, _BINS + 1)
    start, end, size = (placed[key].to_numpy(float) for key in ("start_s", "end_s", "processors"))
    layers = [means(start[classes == k], end[classes == k], size[classes == k], edges) for k in range(len(colours))]
    stack(axes, (edges - begin) / seconds, layers, colours)


def stack(axes: Axes, edges: Any, layers: list[Any], colours: list[str]) -> None:
    """Draw step functions one on the other; the highest sum first, so that each layer needs its upper edge only."""
    tops = np.cumsum(layers, axis=0)
    for top, face in reversed(list(zip(tops, colours))):
        axes.stairs(top, edges, fill=True, color=face, linewidth=0.0)


def _group_labels(axes: Axes, groups: dict[str, int]) -> None:
    if len(groups) < 2:
        return
    offset = 0
    for group, capacity in groups.items():
        if offset:
            axes.axhline(offset, color=INK, linewidth=0.9)
        axes.annotate(
            wrap(group, 1.2),
            (1.0, offset + capacity / 2),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
        offset += capacity


def pool_unit(jobs: pd.DataFrame) -> str:
    """Return what a pool's processors are: whole nodes where no batch job shares them out."""
    whole = len(jobs) > 0 and bool((jobs["kind"] != "batch").all()) and bool((jobs["processors"] == jobs["nodes"]).all())
    return "nodes" if whole else "processors"


def _gantt_title(jobs: pd.DataFrame, placed: pd.DataFrame, total: int, count: int) -> str:
    if not len(placed):
        return f"{len(jobs):,} jobs, none of which ran"
    work = float(((placed["end_s"] - placed["start_s"]) * placed["processors"]).sum())
    span = float(placed["end_s"].max() - jobs["submit_s"].min())
    busy = work / (total * span) if total and span > 0 else 0.0
    noun = "job" if count == 1 else "jobs"
    keep = "keeps" if count == 1 else "keep"
    return f"{count:,} {noun} {keep} {total:,} {pool_unit(jobs)} {percent(busy, 3)} busy for {brief('makespan_s', span)}"


@drawn
def utilisation(states: pd.DataFrame, *, unit: str = "processors") -> Chart:
    """Draw processors by state over time and, where anything waited, the queue below.

    Parameters
    ----------
    states : DataFrame
        Table ``states``; groups are added up.
    unit : str
        What the pool is counted in.
    """
    start, end = states["start_s"].to_numpy(float), states["end_s"].to_numpy(float)
    if not len(states) or not (end > start).any():
        message = "No time passed"
        figure, (axes,) = sheet(message)
        note(axes, "There is no interval to show.")
        return Chart("utilisation", message, message + ".", figure)
    span = end - start
    time = {key: float((states[key].to_numpy(float) * span).sum()) for key in ("busy", "idle", "down")}
    share = time["busy"] / (sum(time.values()) or 1.0)
    waiting = float(states["queued_jobs"].max()) > 0
    edges = _edges(start, end)
    levels = {
        key: means(start, end, states[key].to_numpy(float), edges) for key in ("busy", "idle", "down", "queued_jobs", "queued_processors")
    }
    peak = concurrency(start, end, states["queued_jobs"].to_numpy(float))
    message = f"{unit.capitalize()} are {percent(share, 3)} busy" + (f"; up to {peak:,.0f} jobs wait" if waiting else "; no job waits")
    figure, axes_list = sheet(message, height=4.2 if waiting else 3.0, rows=2 if waiting else 1, ratios=[3, 2] if waiting else None)
    seconds = time_axis(axes_list[-1], float(edges[-1] - edges[0]))
    x = (edges - edges[0]) / seconds
    keys = [key for key in ("busy", "down", "idle") if time[key] > 0]
    colours = [COMPONENTS[key] if key != "idle" else "#e4e7eb" for key in keys]
    top = axes_list[0]
    stack(top, x, [levels[key] for key in keys], colours)
    top.set_ylabel(unit)
    top.set_ylim(0, max(float((levels["busy"] + levels["idle"] + levels["down"]).max()), 1.0))
    handles = [Patch(color=c) for c in colours]
    if waiting:
        below = axes_list[1]
        below.stairs(levels["queued_jobs"], x, fill=True, color=PALETTE[1], linewidth=0.0)
        below.set_ylabel("jobs waiting")
        below.set_ylim(0, None)
        below.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        handles, keys = [*handles, Patch(color=PALETTE[1])], [*keys, "waiting"]
    legend(figure, handles, keys)
    text = f"{unit.capitalize()} by state over time" + (", and below the jobs that wait." if waiting else ".")
    if len(edges) == _BINS + 1:
        text += f" Means over {_BINS} equal spans of time."
    return Chart("utilisation", message, text, figure)


def _edges(start: Any, end: Any) -> Any:
    """Return the boundaries of all intervals or, where they are too many for a picture, equal spans."""
    exact = np.unique(np.concatenate([start, end]))
    return exact if len(exact) <= _BINS else np.linspace(exact[0], exact[-1], _BINS + 1)


_WAIT_TICKS = (
    (0, "0"),
    (60, "1 min"),
    (600, "10 min"),
    (3600, "1 h"),
    (6 * 3600, "6 h"),
    (86400, "1 day"),
    (7 * 86400, "7 d"),
    (30 * 86400, "30 d"),
)


@drawn
def waits(jobs: pd.DataFrame) -> Chart:
    """Draw the share of jobs that waited at most so long, one line per policy.

    Parameters
    ----------
    jobs : DataFrame
        Table ``jobs``; jobs that never started are left out.
    """
    started = jobs[jobs["wait_s"].notna()]
    by = _by_policy(started)
    if not by:
        message = "No job started"
        figure, (axes,) = sheet(message)
        note(axes, "There is no wait to show.")
        return Chart("waits", message, message + ".", figure)
    message = _waits_title({name: rows["wait_s"].to_numpy(float) for name, rows in by.items()})
    figure, (axes,) = sheet(message)
    longest = float(started["wait_s"].max())
    shares = np.unique(np.concatenate([np.linspace(0, 1, 121), 1 - np.geomspace(1e-3, 0.1, 30)]))
    lines = []
    for i, rows in enumerate(by.values()):
        values = np.quantile(rows["wait_s"].to_numpy(float), shares)
        lines += axes.step(values, shares, where="post", color=PALETTE[i % len(PALETTE)])
    axes.set_xscale("symlog", linthresh=60.0, linscale=0.5)
    ticks = [tick for tick in _WAIT_TICKS if tick[0] == 0 or 1e-5 * longest <= tick[0] <= longest]
    axes.xaxis.set_major_locator(FixedLocator([seconds for seconds, _ in ticks]))
    axes.xaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, max(longest * 1.15, 60.0))
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("wait (logarithmic above 1 min)")
    axes.set_ylabel("share of jobs")
    axes.grid(True)
    if len(by) > 1:
        legend(figure, lines, list(by))
    counts = {len(rows) for rows in by.values()}
    whose = f"the {counts.pop():,} started jobs" if len(counts) == 1 else "the started jobs"
    each = ", for each policy" if len(by) > 1 else ""
    return Chart("waits", message, f"Share of {whose} that waited at most so long{each}.", figure)


def _by_policy(jobs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if "policy" not in jobs.columns:
        return {"": jobs} if len(jobs) else {}
    return {str(name): rows for name, rows in jobs.groupby("policy", sort=False)}


def _waits_title(values: dict[str, Any]) -> str:
    if len(values) == 1:
        wait = next(iter(values.values()))
        if float(wait.max()) == 0:
            return "No job waits"
        middle, late = (brief("wait_s", float(np.quantile(wait, q))) for q in (0.5, 0.95))
        return f"Half of the jobs wait at most {middle}, 95 % at most {late}"
    ranked = sorted(values.items(), key=lambda item: (float(item[1].mean()), item[0]))
    best, worst = ranked[0], ranked[-1]
    return f"Mean wait is shortest under {best[0]} ({brief('wait_s', float(best[1].mean()))}) and longest under {worst[0]} ({brief('wait_s', float(worst[1].mean()))})"


@drawn
def slowdowns(policies: pd.DataFrame) -> Chart:
    """Draw the mean bounded slowdown of each policy.

    Parameters
    ----------
    policies : DataFrame
        Table ``policies``.
    """
    ranked = policies.sort_values(["mean_bounded_slowdown", "policy"], kind="stable")
    values = ranked["mean_bounded_slowdown"].to_numpy(float)
    names = [wrap(name, 1.6) for name in ranked["policy"]]
    message = (
        "No policy ran"
        if not names
        else f"{ranked['policy'].iloc[0]} slows jobs down least: by a factor of {brief('mean_bounded_slowdown', values[0])} on average"
    )
    figure, (axes,) = sheet(message, height=1.3 + 0.36 * len(names))
    if not names:
        note(axes, "There is no policy to show.")
        return Chart("slowdown", message, message + ".", figure)
    places = np.arange(len(names))[::-1]
    divisor = value_axis(axes.xaxis, "mean_bounded_slowdown", float(values.max()), what="mean bounded slowdown (1 = no wait)")
    axes.barh(places, values / divisor, color=PALETTE[0], height=0.62)
    for place, value in zip(places, values):
        axes.annotate(
            brief("mean_bounded_slowdown", value), (value / divisor, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    if values.max() > 20 * values.min() > 0:  # a bar's length would say nothing of the short ones
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, numticks=10))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("mean bounded slowdown (logarithmic; 1 = no wait)")
        axes.set_xlim(1.0, float(values.max()) * 3)
    else:
        axes.set_xlim(0, float(values.max()) * 1.18 or 1.0)
    axes.xaxis.grid(True, color=GRID)
    return Chart("slowdown", message, "Mean of max(1, (wait + run) / max(run, 10 s)) over all jobs, by policy.", figure)
