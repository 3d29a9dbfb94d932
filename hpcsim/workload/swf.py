"""The Standard Workload Format: 18 numbers a job, ``;`` before comments, -1 for what is not known.

Reference: S. J. Chapin et al., "Benchmarks and standards for the evaluation of parallel job schedulers", JSSPP 1999, and the format's
page at the Parallel Workloads Archive.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Finding, Floats, JobTable, Trace, TraceOptions, dependency_circles, trace_readers
from hpcsim.workload.readers.dated import TRACE_UNUSABLE
from hpcsim.workload.readers.rows import LARGEST, Rows, settle_estimates
from hpcsim.workload.readers.text import TRACE_BINARY, unpacked

__all__ = ["FIELDS", "SwfReader", "read_swf", "write_swf"]

FIELDS = (
    "job",
    "submit",
    "wait",
    "run",
    "allocated",
    "cpu",
    "memory",
    "requested",
    "requested_time",
    "requested_memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding_job",
    "think_time",
)
"""The fields of a row, in order."""

TRACE_EMPTY = problem_kind("trace-empty", "the job log holds no rows", "a row of a log in the Standard Workload Format has 18 numbers")
TRACE_UNWRITABLE = problem_kind("trace-unwritable", "the job log cannot be written: {why}", "check the folder and its permissions")

_NEEDED = ("job", "submit", "run", "allocated", "requested", "requested_time", "status", "user", "group", "queue")

_ALSO = ("requested_memory", "preceding_job")
"""Read where they are sound; a row is not dropped for them."""


def _header(data: bytes) -> dict[str, str]:
    """Return the ``; Key: value`` lines before the first row; the values of a key that comes again are joined."""
    header: dict[str, str] = {}
    for raw in io.BytesIO(data):
        line = raw.decode("latin-1").strip()
        if line and not line.startswith(";"):
            break
        key, colon, value = line.lstrip("; ").partition(":")
        if colon and key.strip():
            old = header.get(key.strip())
            header[key.strip()] = value.strip() if old is None else f"{old}\n{value.strip()}"
    return header


def _parse(data: bytes) -> Floats:
    """Return the rows as an array, shape (rows, 18); raises where one is ragged or not numeric."""
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.BytesIO(data),
            sep=r"\s+",
            header=None,
            names=list(range(len(FIELDS))),
            dtype=np.float64,
            comment=";",
            encoding="latin-1",
            index_col=False,
        )
    except pd.errors.EmptyDataError:
        return np.empty((0, len(FIELDS)))
    except pd.errors.ParserError as error:
        raise ValueError(str(error)) from None
    values: Floats = frame.to_numpy()
    if np.isnan(values).any():
        raise ValueError("a row is short or has text")
    return values


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _sift(data: bytes) -> tuple[Floats, npt.NDArray[np.int64], list[Finding]]:
    """Return what is left of a damaged file: good rows, their line numbers, and what was dropped."""
    ragged: list[int] = []
    wordy: list[int] = []
    rows: list[list[float]] = []
    lines: list[int] = []
    for at, raw in enumerate(data.splitlines(), start=1):
        words = raw.partition(b";")[0].decode("latin-1").split()
        if not words:
            continue
        if len(words) != len(FIELDS):
            ragged.append(at)
            continue
        try:
            row = list(map(float, words))
        except ValueError:
            wordy.append(at)
            continue
        if any(x != x for x in row):
            wordy.append(at)
            continue
        rows.append(row)
        lines.append(at)
    findings = []
    if ragged:
        findings.append(Finding("row without 18 fields", len(ragged), "dropped", f"line {ragged[0]}"))
    if wordy:
        findings.append(Finding("row with a field that is no number", len(wordy), "dropped", f"line {wordy[0]}"))
    return np.array(rows, dtype=np.float64).reshape(-1, len(FIELDS)), np.array(lines, dtype=np.int64), findings


def _line_numbers(data: bytes, rows: int) -> npt.NDArray[np.int64]:
    """Return the line number of every row of an undamaged file."""
    numbers = [at for at, line in enumerate(data.splitlines(), start=1) if line.partition(b";")[0].strip()]
    return np.array(numbers[:rows], dtype=np.int64)


def _drop_broken(rows: Rows, options: TraceOptions) -> None:
    """Drop the rows that are no job at all."""
    columns = rows.columns
    rows.drop(~np.all([np.abs(columns[name]) <= LARGEST for name in _NEEDED], axis=0), "number out of range")
    whole = ("job", "allocated", "requested", "user", "group", "queue")
    rows.drop(np.any([rows[name] != np.trunc(rows[name]) for name in whole], axis=0), "count or number that is not whole")
    rows.drop(np.isin(rows["status"], (2, 3, 4)), "part of a job that its summary row has whole")
    rows.drop((rows["status"] == 5) & (rows["run"] <= 0), "cancelled before it started")
    rows.drop(rows["run"] < 0, "run time unknown")
    rows.drop(rows["run"] == 0, "zero run time")
    rows.drop(rows["submit"] < 0, "submission time unknown")
    first, second = ("allocated", "requested") if options.processors == "allocated" else ("requested", "allocated")
    rows.drop((rows[first] <= 0) & (rows[second] <= 0), "no processors")


def _sizes(rows: Rows, options: TraceOptions) -> None:
    """Settle how many processors each job takes, and drop what the machine cannot hold."""
    first, second = ("allocated", "requested") if options.processors == "allocated" else ("requested", "allocated")
    rows.note(rows[first] <= 0, f"{first} processors not given: the {second} ones stand in", "repaired")
    size = np.where(rows[first] > 0, rows[first], rows[second])
    rows.columns["size"] = np.ceil(size / options.multiple) * options.multiple
    if options.capacity is not None:
        rows.drop(rows["size"] > options.capacity, f"more processors than the machine has ({options.capacity})")


def _numbers(rows: Rows) -> None:
    """Give every job a number of its own: an equal row is dropped, another job under a used number gets a new one."""
    number = rows["job"]
    if len(np.unique(number)) == len(number):
        return
    table = np.column_stack([rows.columns[name] for name in _NEEDED])
    _, first = np.unique(table, axis=0, return_index=True)
    again = np.ones(len(number), dtype=np.bool_)
    again[first] = False
    rows.drop(again, "row given twice")
    number = rows["job"]
    _, first = np.unique(number, return_index=True)
    again = np.ones(len(number), dtype=np.bool_)
    again[first] = False
    rows.note(again, "job number given twice: renumbered after the largest", "repaired")
    rows.columns["job"] = number.copy()
    rows.columns["job"][again] = number.max() + np.arange(1, again.sum() + 1)


def _jobs(rows: Rows, options: TraceOptions) -> JobTable:
    _drop_broken(rows, options)
    _numbers(rows)
    _sizes(rows, options)
    if options.max_jobs is not None and len(rows["job"]) > options.max_jobs:
        rows.keep(np.arange(len(rows["job"])) < options.max_jobs)
    settle_estimates(rows, options, rows["requested_time"])
    late = np.diff(rows["submit"], prepend=rows["submit"][:1]) < 0
    rows.note(late, "submitted before the row above it: sorted by submission", "repaired")
    whole = {name: rows[name].astype(np.int64) for name in ("job", "size", "user", "group", "queue")}
    return JobTable(
        job_id=whole["job"],
        submit_s=rows["submit"],
        run_s=rows["run"],
        estimate_s=rows["estimate"],
        processors=whole["size"],
        user=np.maximum(whole["user"], -1),
        group=np.maximum(whole["group"], -1),
        queue=np.maximum(whole["queue"], -1),
        memory_bytes=_memory(rows),
        after=_after(rows, options),
    )


def _memory(rows: Rows) -> Floats | None:
    """Return the memory of whole jobs [bytes]: the format has KiB for each processor."""
    asked = rows["requested_memory"] * 1024.0 * rows["size"]
    sound = (asked > 0) & (asked <= 2.0**80)
    return np.where(sound, asked, 0.0) if sound.any() else None


def _after(rows: Rows, options: TraceOptions) -> npt.NDArray[np.int64] | None:
    """Return whom each job waits for, where that is asked for; jobs that wait in a circle do not wait."""
    named = rows["preceding_job"]
    named = np.where((named > 0) & (named == np.trunc(named)) & (named <= LARGEST), named, -1.0).astype(np.int64)
    if not (named >= 0).any():
        return None
    if not options.dependencies:
        rows.note(named >= 0, "names a preceding job: not waited for", "kept")
        return None
    number = rows["job"].astype(np.int64)
    rows.note(named == number, "waits for itself: dependency forgotten", "repaired")
    named = np.where(named == number, -1, named)
    once = np.ones(len(named))
    circle = dependency_circles(JobTable.of(once, once, once.astype(np.int64), job_id=number, after=named))
    rows.note(circle, "jobs that wait for each other in a circle: dependencies forgotten", "repaired")
    return np.where(circle, -1, named)


def read_swf(path: str | Path, options: TraceOptions | None = None) -> Trace:
    """Read a log in the Standard Workload Format.

    Parameters
    ----------
    path : path
        The log: text, or text packed with gzip, bzip2 or xz.
    options : TraceOptions, optional
        How to read it.

    Returns
    -------
    Trace
        The jobs in file order, what was dropped, cut and repaired, and the header.

    Raises
    ------
    InputError
        The file is missing, a folder, unreadable, binary, empty, or has no usable row.
    """
    options = options or TraceOptions()
    name = str(path)
    data = unpacked(path)
    if b"\0" in data[:65536]:
        raise TRACE_BINARY.error(file=name)
    lines: npt.NDArray[np.int64] | None = None
    findings: list[Finding] = []
    try:
        values = _parse(data)
    except ValueError:
        values, lines, findings = _sift(data)
    bad = sum(finding.rows for finding in findings)
    if not len(values) + bad:
        raise TRACE_EMPTY.error(file=name)
    columns = {name: np.ascontiguousarray(values[:, FIELDS.index(name)]) for name in (*_NEEDED, *_ALSO)}
    rows = Rows(columns, (lambda: _line_numbers(data, len(values))) if lines is None else lines, findings)
    total = len(values) + bad
    jobs = _jobs(rows, options) if len(values) else None
    if not jobs:
        first = findings[0]
        raise TRACE_UNUSABLE.error(file=name, rows=total, first=f"{first.issue}, {first.example}")
    return Trace(jobs=jobs, quality=tuple(findings), header=_header(data), file=name, rows=total)


@trace_readers.register("swf")
class SwfReader:
    """The Standard Workload Format, as a trace reader."""

    suffixes = (".swf",)

    @staticmethod
    def read(path: str | Path, options: TraceOptions) -> Trace:
        """See :func:`read_swf`."""
        return read_swf(path, options)


def _as_written(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    whole = values.astype(np.int64)
    return whole if bool((whole == values).all()) else values


def write_swf(jobs: JobTable, path: str | Path, *, start_s: npt.ArrayLike | None = None, header: Mapping[str, str] | None = None) -> Path:
    """Write jobs as a log in the Standard Workload Format; the file appears whole or not at all.

    Parameters
    ----------
    jobs : JobTable
        The jobs; requested and allocated processors are both its ``processors``, the requested time its ``estimate_s``.
    path : path
        The file; ``.gz`` at its end packs it.
    start_s : array-like, shape (jobs,), optional [s]
        Start times, for the field of the wait; NaN where a job never started.
    header : mapping, optional
        ``Key: value`` lines for the head of the file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The file cannot be written.

    Notes
    -----
    Whole numbers are written without a decimal point, others so that reading gives the same float. Names are not part of the format.
    """
    import pandas as pd

    target = Path(path)
    count = len(jobs)
    columns: dict[str, Any] = {name: np.full(count, -1, dtype=np.int64) for name in FIELDS}
    columns |= {"job": jobs.job_id, "submit": jobs.submit_s, "run": jobs.run_s, "requested_time": jobs.estimate_s}
    columns |= {"allocated": jobs.processors, "requested": jobs.processors, "user": jobs.user, "group": jobs.group, "queue": jobs.queue}
    columns["status"] = np.ones(count, dtype=np.int64)
    if jobs.memory_bytes is not None:
        columns["requested_memory"] = np.where(jobs.memory_bytes > 0, jobs.memory_bytes / 1024.0 / jobs.processors, -1.0)
    if jobs.after is not None:
        columns["preceding_job"] = np.where(jobs.after > 0, jobs.after, -1)
    if start_s is not None:
        wait = np.asarray(start_s, dtype=np.float64) - jobs.submit_s
        columns["wait"] = np.where(np.isnan(wait), -1.0, wait)
    columns = {name: _as_written(column) for name, column in columns.items()}
    head = "; Version: 2.2\n" + "".join(f"; {key}: {line}\n" for key, value in (header or {}).items() for line in value.split("\n"))
    text = head + pd.DataFrame(columns).to_csv(sep=" ", header=False, index=False, lineterminator="\n")
    data = text.encode("utf-8")
    if target.suffix == ".gz":
        data = gzip.compress(data, 6, mtime=0)
    staged = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with staged.open("xb") as out:
            out.write(data)
        staged.replace(target)
    except OSError as error:
        raise TRACE_UNWRITABLE.error(file=str(target), why=error.strerror or str(error)) from None
    finally:
        staged.unlink(missing_ok=True)
    return target
