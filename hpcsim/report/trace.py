"""A run as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open: jobs, tasks and flows as slices, power and queues as counters.

The format is the JSON of the Trace Event Format: complete events (``X``) with start and length in microseconds, counters (``C``), and names
of processes and threads (``M``). Slices of one thread never overlap, so that viewers stack nothing: jobs are put on the first free lane.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hpcsim.results.record import Results
from hpcsim.results.store import refuse_others_file, write_whole

__all__ = ["trace_events", "trace_may_go", "write_trace"]

Event = dict[str, Any]
_MICRO = 1e6


def _lanes(start: Sequence[float], end: Sequence[float]) -> list[int]:
    """Return a lane for each interval, the lowest that is free when it begins; intervals in order of their starts."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = []
    for begin, stop in zip(start, end):
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (stop, lane))
        lanes.append(lane)
    return lanes


def _named(process: int, name: str) -> Event:
    return {"name": "process_name", "ph": "M", "pid": process, "tid": 0, "args": {"name": name}}


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it; what is missing or not finite as None."""
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _slices(table: pd.DataFrame, process: int, name: str, label: str, details: Iterable[str]) -> list[Event]:
    """Return the rows of a table with ``start_s`` and ``end_s`` as slices."""
    rows = table[table["start_s"].notna() & table["end_s"].notna()].sort_values(["start_s", "end_s"], kind="stable")
    if not len(rows):
        return []
    lanes = _lanes(rows["start_s"].tolist(), rows["end_s"].tolist())
    columns = [column for column in details if column in rows.columns]
    events = [_named(process, name)]
    for lane, (_, row) in zip(lanes, rows.iterrows()):
        begin, end = float(row["start_s"]), float(row["end_s"])
        title = row[label] if label in rows.columns and pd.notna(row[label]) else row.iloc[0]
        args = {column: _plain(row[column]) for column in columns}
        events.append(
            {"name": str(title), "ph": "X", "pid": process, "tid": lane, "ts": begin * _MICRO, "dur": (end - begin) * _MICRO, "args": args}
        )
    return events


def _counters(table: pd.DataFrame, process: int, name: str, series: dict[str, str]) -> list[Event]:
    """Return columns of a table of intervals as counters that change at their starts, and end with the last."""
    shown = {column: text for column, text in series.items() if column in table.columns}
    if not len(table) or not shown:
        return []
    events = [_named(process, name)]
    for start, *values in zip(table["start_s"].tolist(), *(table[column].tolist() for column in shown)):
        for text, value in zip(shown.values(), values):
            events.append({"name": text, "ph": "C", "pid": process, "tid": 0, "ts": float(start) * _MICRO, "args": {text: _plain(value)}})
    last = float(table["end_s"].max())
    return events + [{"name": t, "ph": "C", "pid": process, "tid": 0, "ts": last * _MICRO, "args": {t: 0}} for t in shown.values()]


def trace_events(results: Results) -> list[Event]:
    """Return the events of a run: its jobs by group, tasks by node, flows, and power and use over time; times in microseconds.

    A table that the results lack gives none.
    """
    events: list[Event] = []
    process = 0
    jobs = results.tables.get("jobs")
    if jobs is not None and len(jobs):
        where = jobs["group"].where(jobs["group"].notna(), "jobs")
        if "policy" in jobs.columns:
            where = jobs["policy"].astype(str) + ": " + where.astype(str)
        for group in dict.fromkeys(where.tolist()):
            process += 1
            details = ("job_id", "kind", "user", "status", "processors", "nodes", "wait_s", "bounded_slowdown", "cost_usd")
            events += _slices(jobs[where == group], process, f"jobs on {group}", "name", details)
    slices: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("tasks", "stage", ("name", "part", "node", "share_bytes")),
        ("stages", "stage", ("name", "run", "kind", "group", "in_bytes", "out_bytes", "bound_by", "bound_at")),
        ("flows", "flow", ("source", "target", "size_bytes", "links", "alone_bytes_per_s")),
    )
    for name, label, columns in slices:
        table = results.tables.get(name)
        if table is not None and len(table) and {"start_s", "end_s"} <= set(table.columns):
            process += 1
            events += _slices(table, process, name, label, columns)
    use = results.tables.get("link_use")
    if use is not None and len(use):
        process += 1
        events.append(_named(process, "use of links"))
        rows = zip(use["link"], use["start_s"].tolist(), use["utilisation_frac"].tolist())
        events += [
            {"name": str(link), "ph": "C", "pid": process, "tid": 0, "ts": float(start) * _MICRO, "args": {"used": share}}
            for link, start, share in rows
        ]
    for name, series in (
        ("power", {"total_w": "power (W)", "compute_w": "compute (W)", "network_w": "network (W)", "cooling_w": "cooling (W)"}),
        ("states", {"busy": "busy", "idle": "idle", "down": "down", "queued_jobs": "queued jobs"}),
    ):
        table = results.tables.get(name)
        if table is None or not len(table):
            continue
        keys = [key for key in ("policy", "group") if name == "states" and key in table.columns]
        for key, part in table.groupby(keys, sort=False) if keys else [((), table)]:
            process += 1
            words = " ".join(str(k) for k in (key if isinstance(key, tuple) else (key,)))
            events += _counters(part, process, f"{name} {words}".strip(), series)
    return events


def trace_may_go(path: str | Path) -> None:
    """Refuse to write a trace over a file that is no such trace.

    Raises
    ------
    InputError
        ``not-to-overwrite``.
    """
    refuse_others_file(path, '{"displayTimeUnit": ', what="trace of an earlier run", option="--trace")


def write_trace(results: Results, path: str | Path) -> Path:
    """Write a run as a trace, whole or not at all.

    Raises
    ------
    InputError
        The file cannot be written, or is there and no trace of an earlier run.
    """
    document = {
        "displayTimeUnit": "ms",
        "otherData": {"name": results.name, "question": results.question},
        "traceEvents": trace_events(results),
    }
    target = Path(path)
    trace_may_go(target)
    write_whole(target.parent, {target.name: json.dumps(document, allow_nan=False).encode()})
    return target
