"""Logs that are tables: any CSV by a map of its columns, and the maps of the published GPU-cluster logs.

A map gives for each property the column that holds it, with a unit in brackets where it is not seconds, bytes or a count::

    {"submit": "submit_time", "run": "duration [min]", "memory": "mem [GiB]", "processors": "cpus"}

Reference: M. Jeon et al., ATC 2019 (Philly, here in the form of the Sia artifact, SOSP 2023); Q. Hu et al., SC 2021 (Helios); Q. Weng et al., ATC 2023
(Alibaba GPU 2023, "openb"); Q. Hu et al., NSDI 2024 (Acme).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import parse_quantity
from hpcsim.workload.elastic import ELASTIC
from hpcsim.workload.jobs import Floats, JobTable, Trace, TraceOptions, trace_readers
from hpcsim.workload.readers.amounts import bytes_of, durations_s, each, numbers
from hpcsim.workload.readers.dated import trace_of
from hpcsim.workload.readers.moments import moments
from hpcsim.workload.readers.rows import Rows
from hpcsim.workload.readers.text import Words, decoded, table, unpacked

__all__ = ["FIELDS", "LAYOUTS", "Layout", "TableReader", "check_headings", "usual_map", "write_csv"]

UNKNOWN_FIELD = problem_kind("column-map-key", "a column map has no key {key!r}", "known: {known}")
NO_COLUMN = problem_kind(
    "column-map-column", "{key} is mapped to the column {name!r}, which the heading lacks", "the heading has: {heading}"
)
BAD_UNIT = problem_kind("column-map-unit", "{key}: {unit!r} is no unit of {dimension}", "for example {example}")
NO_SUBMIT = problem_kind("column-map-needs", "the map names no column for {what}", "give {what}")
NO_HEADINGS = problem_kind(
    "trace-headings-unknown",
    "no heading is understood as {what}; the headings are: {heading}",
    "rename columns ({wanted}), or say which is which: --columns '{option}'",
)
TABLE_UNWRITABLE = problem_kind("trace-unwritable-csv", "the job log cannot be written: {why}", "check the folder and its permissions")

FIELDS: Mapping[str, str] = {
    "job": "number or name of the job",
    "name": "name",
    "submit": "time of submission: a date, or seconds",
    "start": "time of start",
    "end": "time of end",
    "run": "run time; end less start without it",
    "wait": "wait; gives the submission where only the start is known",
    "estimate": "run time that the user asked for",
    "processors": "processors that it got",
    "requested": "processors that it asked for",
    "processors_per_node": "processors on each node, where it has no count of all",
    "nodes": "nodes",
    "gpus": "accelerators",
    "gpus_per_node": "accelerators on each node",
    "gpu_share": "part of each accelerator",
    "memory": "memory of the whole job",
    "memory_per_node": "memory on each node",
    "memory_per_processor": "memory for each processor",
    "user": "who submitted it",
    "group": "account or project",
    "queue": "queue, partition or virtual cluster",
    "qos": "quality of service",
    "constraint": "features of its nodes",
    "state": "what became of it: completed, failed, cancelled, running, pending, …",
    "exclusive": "whether it has its nodes alone",
    "after": "job that it waits for",
    "priority": "priority",
    "deadline": "time by which it should have ended: a date, or seconds",
    "licences": "licences: matlab:2,ansys",
    "data": "name of the data set that it reads",
    "data_size": "size of that data set",
    "buffer": "burst buffer of the whole job",
    "due": "time after its submission by which it should have ended",
    "least": "fewest processors, of a job that can change its size",
    "most": "most processors, of a job that can change its size",
    "serial": "Amdahl's serial share of such a job",
    "parallelism": "average parallelism of such a job, by Downey's model",
    "variance": "variance in it, by Downey's model",
}
"""What a column can hold."""

_TIMES = ("submit", "start", "end", "deadline")
_SPANS = ("run", "wait", "estimate", "due")
_SIZES = ("buffer", "data_size", "memory", "memory_per_node", "memory_per_processor")
_COUNTS = ("processors", "requested", "processors_per_node", "nodes", "gpus", "gpus_per_node", "gpu_share", "priority", *ELASTIC)
_EPOCH_S = 1e8
"""Seconds from here on count from 1970; smaller ones from the log's own start."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A known table: its map, the headings that tell it, and what its words for lost jobs are."""

    name: str
    columns: Mapping[str, str]
    telling: tuple[str, ...]
    never: tuple[str, ...] = field(default=())
    """States of jobs whose run time means nothing."""


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "hpcsim",
        {
            "job": "job_id",
            "name": "name",
            "submit": "submit_s",
            "run": "run_s",
            "estimate": "estimate_s",
            "processors": "processors",
            "nodes": "nodes",
            "gpus": "gpus",
            "memory": "memory_bytes",
            "user": "user",
            "group": "group",
            "queue": "queue",
            "qos": "qos",
            "constraint": "constraint",
            "exclusive": "exclusive",
            "after": "after",
            "priority": "priority",
            "due": "due_s",
            "licences": "licences",
            "buffer": "buffer_bytes",
            "data": "data",
            "data_size": "data_bytes",
        },
        ("job_id", "submit_s", "run_s", "estimate_s", "processors"),
    ),
    Layout(
        "philly",
        {"submit": "timestamp", "run": "duration", "processors": "num_gpus", "gpus": "num_gpus", "queue": "cluster"},
        ("timestamp", "duration", "num_gpus", "gpu_time"),
    ),
    Layout(
        "helios",
        {
            "job": "job_id",
            "user": "user",
            "queue": "vc",
            "gpus": "gpu_num",
            "processors": "cpu_num",
            "nodes": "node_num",
            "state": "state",
            "submit": "submit_time",
            "start": "start_time",
            "end": "end_time",
            "run": "duration",
        },
        ("job_id", "vc", "gpu_num", "cpu_num", "node_num", "submit_time", "duration"),
    ),
    Layout(
        "acme",
        {
            "job": "job_id",
            "user": "user",
            "gpus": "gpu_num",
            "processors": "cpu_num",
            "nodes": "node_num",
            "queue": "type",
            "state": "state",
            "submit": "submit_time",
            "start": "start_time",
            "end": "end_time",
            "run": "duration",
        },
        ("job_id", "type", "gpu_num", "cpu_num", "node_num", "submit_time", "gpu_time"),
    ),
    Layout(
        "alibaba-gpu-2023",
        {
            "job": "name",
            "processors": "cpu_milli [milli]",
            "memory": "memory_mib [MiB]",
            "gpus": "num_gpu",
            "gpu_share": "gpu_milli [milli]",
            "constraint": "gpu_spec",
            "qos": "qos",
            "state": "pod_phase",
            "submit": "creation_time",
            "start": "scheduled_time",
            "end": "deletion_time",
        },
        ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "pod_phase", "creation_time"),
    ),
)
"""The known tables, tried in this order."""

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "job": ("job_id", "jobid", "job", "id"),
    "name": ("name", "job_name"),
    "submit": ("submit", "submit_time", "submission_time", "submitted", "created", "timestamp"),
    "start": ("start", "start_time", "started"),
    "end": ("end", "end_time", "finish_time", "ended"),
    "run": ("run", "run_time", "runtime", "duration", "elapsed"),
    "wait": ("wait", "wait_time"),
    "estimate": ("estimate", "requested_time", "time_limit", "walltime", "req_time", "timelimit", "limit", "wall_time"),
    "processors": ("processors", "procs", "cpus", "cores", "ncpus", "cpu_num"),
    "nodes": ("nodes", "nnodes", "node_num", "num_nodes"),
    "gpus": ("gpus", "num_gpus", "gpu_num", "ngpus"),
    "memory": ("memory_bytes", "memory", "mem"),
    "user": ("user", "user_id", "uid"),
    "group": ("group", "account", "project"),
    "queue": ("queue", "partition", "vc"),
    "qos": ("qos",),
    "state": ("state", "status"),
}
"""Headings that a table without a map is read by, in small letters with "_" for a space."""

_BRACKET = re.compile(r"(.*\S)\s*\[([^\]]+)\]")


def _split(key: str, text: str) -> tuple[str, float, bool]:
    """Return column, factor to the inside unit, and whether a unit was given."""
    match = _BRACKET.fullmatch(text)
    if not match:
        return text, 1.0, False
    column, unit = match[1], match[2].strip()
    if key in _COUNTS and unit == "milli":
        return column, 1e-3, True
    dimension = "time" if key in (*_TIMES, *_SPANS) else "data size" if key in _SIZES else ""
    try:
        if not dimension:
            raise InputError([])
        return column, parse_quantity(f"1 {unit}", dimension), True
    except InputError:
        example = {"time": "[min]", "data size": "[GiB]"}.get(dimension, "[milli], for a count")
        raise BAD_UNIT.error(path=f"columns.{key}", key=key, unit=unit, dimension=dimension or "a count", example=example) from None


def _checked(columns: Mapping[str, str], heading: list[str], name: str) -> dict[str, tuple[str, float, bool]]:
    parts: dict[str, tuple[str, float, bool]] = {}
    for key, text in columns.items():
        if key not in FIELDS:
            raise UNKNOWN_FIELD.error(path=f"columns.{key}", key=key, known=", ".join(FIELDS))
        column = str(text) if str(text) in heading else _split(key, str(text))[0]
        if column not in heading:
            raise NO_COLUMN.error(path=f"columns.{key}", file=name, key=key, name=column, heading=", ".join(heading))
        parts[key] = (column, 1.0, False) if str(text) in heading else _split(key, str(text))
    return parts


def _flag(word: str) -> float:
    return float(word.strip().lower() in ("1", "1.0", "true", "yes", "y"))


def _state_flags(words: Any) -> dict[str, npt.NDArray[np.bool_]]:
    states = np.array([str(word).strip().lower() for word in words], dtype=object)

    def starts(*stems: str) -> npt.NDArray[np.bool_]:
        return np.array([state.startswith(stems) for state in states], dtype=np.bool_)

    return {
        "active": starts("running", "completing"),
        "pending": starts("pending", "queued", "waiting"),
        "cancelled": starts("cancel", "killed", "stopped"),
    }


def _times(rows: Rows, key: str, words: Any, factor: float, given: bool, zone: str) -> tuple[Floats, bool]:
    """Return times in seconds and whether they count from 1970."""
    plain = numbers(words)
    known = ~np.isnan(plain)
    if given or known.sum() >= 0.5 * max(1, int((np.asarray(words, dtype=object) != "").sum())):
        seconds = plain * factor
        largest = float(np.max(seconds[known], initial=0.0))
        return seconds, largest >= _EPOCH_S
    return moments(rows, words, zone=zone, what=f"{key} time"), True


def _columns(rows: Rows, words: Words, parts: Mapping[str, tuple[str, float, bool]], options: TraceOptions) -> bool:
    """Fill in the columns of :func:`jobs_of`; returns whether times are dates."""
    dated = False
    for key, (column, factor, given) in parts.items():
        cells = words.frame[column].to_numpy(dtype=object)
        if key in _TIMES:
            rows.columns[key], epoch = _times(rows, key, cells, factor, given, options.zone)
            dated |= epoch
        elif key in _SPANS:
            plain = numbers(cells)
            rows.columns[key] = plain * factor if given or not np.isnan(plain).all() else durations_s(cells)
        elif key in (*_SIZES, *_COUNTS):
            plain = numbers(cells)
            words_ = key in _SIZES and not given and np.isnan(plain).all()
            rows.columns[key] = each(cells, bytes_of) if words_ else plain * factor
        elif key == "exclusive":
            rows.columns[key] = each(cells, _flag) > 0
        elif key == "state":
            rows.columns |= {"state": cells} | _state_flags(cells)
        elif not (key == "after" and options.dependencies is False):
            rows.columns[key] = cells
    nan = np.full(len(rows), np.nan)
    nodes, cores = rows.columns.get("nodes", nan), rows.columns.get("processors", rows.columns.get("requested", nan))
    for key, times in (
        ("processors_per_node", nodes),
        ("gpus_per_node", nodes),
        ("gpu_share", rows.columns.get("gpus", nan)),
        ("memory_per_node", nodes),
        ("memory_per_processor", cores),
    ):
        if key in rows.columns:
            whole = "gpus" if key == "gpu_share" else key.partition("_per_")[0]
            product = rows.columns.pop(key) * times
            old = rows.columns.get(whole, nan)
            rows.columns[whole] = product if key == "gpu_share" else np.where(np.isnan(old), product, old)
    if "processors" not in rows.columns and "requested" not in rows.columns and "gpus" in rows.columns:
        rows.columns["processors"] = np.ceil(rows.columns["gpus"])
    return dated


def usual_map(heading: list[str]) -> dict[str, str]:
    """Return the map of columns that usual headings stand for.

    >>> usual_map(["Submit Time", "elapsed", "cores", "colour"])
    {'submit': 'Submit Time', 'run': 'elapsed', 'processors': 'cores'}
    """
    lower = {column.lower().replace(" ", "_"): column for column in heading}
    found = {key: next((lower[alias] for alias in aliases if alias in lower), None) for key, aliases in _ALIASES.items()}
    return {key: column for key, column in found.items() if column is not None}


def check_headings(opening: str, name: str) -> None:
    """Refuse a table whose usual headings do not tell when jobs came, how long they ran and on what.

    Parameters
    ----------
    opening : str
        How the file begins.
    name : str
        Its name, for the message.

    Raises
    ------
    InputError
        Such headings are missing; the message names those there are and gives the option that maps them.
    """
    first = opening.lstrip("\ufeff").replace("\r", "\n").partition("\n")[0]
    ways = [[cell.strip().strip('"') for cell in first.split(mark)] for mark in (",", ";", "\t", "|")]
    heading = max(ways, key=lambda cells: (len(usual_map(cells)), len(cells)))
    found = usual_map(heading)
    has_run, has_submit = "run" in found or {"start", "end"} <= set(found), "submit" in found or {"start", "wait"} <= set(found)
    has_size = bool({"processors", "nodes", "gpus"} & set(found))
    missing = [key for key, there in (("submit", has_submit), ("run", has_run), ("processors", has_size)) if not there]
    if missing:
        raise NO_HEADINGS.error(
            file=name,
            what=" or ".join(missing),
            heading=shorten(", ".join(heading), 200, placeholder=" …"),
            wanted="; ".join(", ".join(_ALIASES[key][:3]) for key in missing),
            option=", ".join([f"{key}={column}" for key, column in found.items()] + [f"{key}=COLUMN" for key in missing]),
        )


def _sized(parts: Mapping[str, Any]) -> None:
    if not {"submit", "start"} & set(parts) or ("submit" not in parts and "wait" not in parts):
        raise NO_SUBMIT.error(path="columns", what="submit, or start and wait")
    if "run" not in parts and not {"start", "end"} <= set(parts):
        raise NO_SUBMIT.error(path="columns", what="run, or start and end")
    if not {"processors", "requested", "processors_per_node", "nodes", "gpus", "gpus_per_node"} & set(parts):
        raise NO_SUBMIT.error(path="columns", what="processors, nodes or gpus")


def _read_of(words: Words, chosen: Mapping[str, str], *, guessed: bool) -> tuple[Mapping[str, str], dict[str, str]]:
    """Return the map of a table without layout and the columns that are not read; a guessed size in plain numbers has no unit and is none."""
    unread: dict[str, str] = {}
    if guessed and chosen.get("memory", "").lower() in ("memory", "mem"):
        plain = numbers(words.frame[chosen["memory"]].to_numpy(dtype=object))
        if (plain > 0).any():
            unread = {chosen["memory"]: f"memory={chosen['memory']} [GB]"}
            chosen = {key: column for key, column in chosen.items() if key != "memory"}
    used = {str(text) for text in chosen.values()} | {_split(key, str(text))[0] for key, text in chosen.items() if key in FIELDS}
    left = [str(column) for column in words.frame.columns if column not in used and column not in unread]
    return chosen, unread | {column: f"KEY={column}" if guessed else "" for column in left}


@dataclass(frozen=True)
class TableReader:
    """Reads tables of one layout; without one, by the options' map of columns or by usual headings."""

    layout: Layout | None = None

    @property
    def suffixes(self) -> tuple[str, ...]:
        """None: a table is told by its heading."""
        return ()

    def sniff(self, opening: str) -> bool:
        """Return whether a file that begins so is of this format."""
        if self.layout is None:
            return False
        heading = {cell.strip().strip('"') for cell in re.split(r"[,;\t|]", opening.partition("\n")[0])}
        return set(self.layout.telling) <= heading

    def read(self, path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""
        name = str(path)
        text, findings = decoded(unpacked(path), name)
        if options.columns:
            known = [str(column) for column in options.columns.values()]
            known += [_split(key, str(column))[0] for key, column in options.columns.items() if key in FIELDS]
            needed = 1
        elif self.layout is not None:
            known, needed = list(self.layout.telling), len(self.layout.telling)
        else:
            known, needed = [alias for aliases in _ALIASES.values() for alias in aliases], 2
        what = f"a log of the kind {self.layout.name}" if self.layout else "a table of jobs"
        hint = (
            "check the delimiter and the names of the columns"
            if options.columns
            else "name its columns, for example submit=…,run=…,processors=…"
        )
        words = table(text, name=name, what=what, known=known, needed=needed, hint=hint)
        words.findings[:0] = findings
        chosen = self._map(options, list(words.frame.columns))
        unread: dict[str, str] = {}
        if self.layout is None:
            chosen, unread = _read_of(words, chosen, guessed=not options.columns)
        parts = _checked(chosen, list(words.frame.columns), name)
        _sized(parts)
        rows = Rows({}, words.lines, words.findings)
        rows.row = np.arange(len(words.frame))
        dated = _columns(rows, words, parts, options)
        trace = trace_of(rows, options, file=name, rows_read=words.rows, dated=dated)
        return replace(trace, columns=dict(chosen), unread=unread) if self.layout is None else trace

    def _map(self, options: TraceOptions, heading: list[str]) -> Mapping[str, str]:
        if options.columns:
            return options.columns
        if self.layout is not None:
            return {key: text for key, text in self.layout.columns.items() if _split(key, text)[0] in heading}
        return usual_map(heading)


for _layout in LAYOUTS:
    trace_readers.register(_layout.name)(TableReader(_layout))
trace_readers.register("csv")(TableReader())


def write_csv(jobs: JobTable, path: str | Path) -> Path:
    """Write jobs as a table that hpcsim reads back as it is; the file appears whole or not at all.

    Parameters
    ----------
    jobs : JobTable
        Columns that no job has are left out; numbers with names are written by name.
    path : path
        The file; ``.gz`` at its end packs it.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import gzip

    import pandas as pd

    target = Path(path)
    columns: dict[str, Any] = {"job_id": jobs.job_id}
    if jobs.names is not None:
        columns["name"] = list(jobs.names)
    columns |= {"submit_s": jobs.submit_s, "run_s": jobs.run_s, "estimate_s": jobs.estimate_s, "processors": jobs.processors}
    for name in ("nodes", "gpus", "memory_bytes", "exclusive", "after", "priority", "due_s", "buffer_bytes", "data_bytes"):
        values = getattr(jobs, name)
        if values is not None:
            missing = (
                values == np.inf if name == "due_s" else values < 0 if name in ("nodes", "after") else np.zeros(len(jobs), dtype=np.bool_)
            )
            columns[name] = [None if lacks else value for value, lacks in zip(values.tolist(), missing.tolist(), strict=True)]
    for name in ("user", "group", "queue", "qos", "constraint", "licences", "data"):
        numbers_ = getattr(jobs, name)
        if numbers_ is not None and (numbers_ >= 0).any():
            columns[name] = [jobs.label(name, number) for number in numbers_.tolist()]
    frame = pd.DataFrame({name: pd.Series(list(values), dtype=object) for name, values in columns.items()})
    data = frame.to_csv(index=False, lineterminator="\n").encode("utf-8")
    if target.suffix == ".gz":
        data = gzip.compress(data, 6, mtime=0)
    staged = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with staged.open("xb") as out:
            out.write(data)
        staged.replace(target)
    except OSError as error:
        raise TABLE_UNWRITABLE.error(file=str(target), why=error.strerror or str(error)) from None
    finally:
        staged.unlink(missing_ok=True)
    return target
