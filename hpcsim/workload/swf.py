"""The Standard Workload Format: 18 numbers a job, ``;`` before comments, -1 for what is not known.

Reference: S. J. Chapin et al., "Benchmarks and standards for the evaluation of parallel job schedulers", JSSPP 1999, and the format's
page at the Parallel Workloads Archive.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Finding, Floats, JobTable, Trace, TraceOptions, trace_readers

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

NO_TRACE = problem_kind("trace-missing", "there is no such file", "check the path of the job log")
TRACE_IS_FOLDER = problem_kind("trace-is-a-folder", "this is a folder, a job log is needed", "name the file inside it")
TRACE_UNREADABLE = problem_kind("trace-unreadable", "the job log cannot be read: {why}", "check its permissions, and that it is whole")
TRACE_EMPTY = problem_kind("trace-empty", "the job log holds no rows", "a row of a log in the Standard Workload Format has 18 numbers")
TRACE_BINARY = problem_kind(
    "trace-binary", "this is a binary file, not a job log", "plain text is needed, or text packed with gzip, bzip2 or xz"
)
TRACE_UNUSABLE = problem_kind(
    "trace-unusable", "no row of {rows} is a usable job; first: {first}", "check the format, and the number of processors of the machine"
)
TRACE_UNWRITABLE = problem_kind("trace-unwritable", "the job log cannot be written: {why}", "check the folder and its permissions")

_LARGEST = 1e15
"""Numbers beyond it are taken for damage: 30 million years in seconds."""

_NEEDED = ("job", "submit", "run", "allocated", "requested", "requested_time", "status", "user", "group", "queue")

Columns = dict[str, Floats]
Mask = npt.NDArray[np.bool_]


def _bytes(path: str | Path) -> bytes:
    """Return the unpacked content of a file; what packs it is told from its first bytes."""
    name = str(path)
    try:
        raw = Path(path).read_bytes()
        if raw[:2] == b"\x1f\x8b":
            return gzip.decompress(raw)
        if raw[:3] == b"BZh":
            return bz2.decompress(raw)
        if raw[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(raw)
    except FileNotFoundError:
        raise NO_TRACE.error(file=name) from None
    except IsADirectoryError:
        raise TRACE_IS_FOLDER.error(file=name) from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise TRACE_UNREADABLE.error(file=name, why=str(error) or type(error).__name__) from None
    return raw


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


class _Cleaner:
    """Goes through the rows issue by issue; a row that is dropped is not looked at again, so each is counted once."""

    def __init__(self, values: Floats, data: bytes, lines: npt.NDArray[np.int64] | None, findings: list[Finding]) -> None:
        self.columns: Columns = {name: np.ascontiguousarray(values[:, FIELDS.index(name)]) for name in _NEEDED}
        self.row = np.arange(len(values))
        self.data = data
        self.lines = lines
        self.total = len(values)
        self.findings = findings

    def note(self, bad: Mask, issue: str, action: Literal["dropped", "cut", "repaired", "kept"]) -> None:
        """Count the rows of ``bad`` under ``issue``."""
        count = int(bad.sum())
        if count:
            first = int(np.flatnonzero(bad)[0])
            if self.lines is None:
                self.lines = _line_numbers(self.data, self.total)
            example = f"line {self.lines[self.row[first]]}, job {self.columns['job'][first]:.15g}"
            self.findings.append(Finding(issue, count, action, example))

    def keep(self, good: Mask) -> None:
        """Leave only the rows of ``good``."""
        if not good.all():
            self.columns = {name: column[good] for name, column in self.columns.items()}
            self.row = self.row[good]

    def drop(self, bad: Mask, issue: str) -> None:
        """Drop and count the rows of ``bad``."""
        self.note(bad, issue, "dropped")
        self.keep(~bad)

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]


def _drop_broken(rows: _Cleaner, options: TraceOptions) -> None:
    """Drop the rows that are no job at all."""
    columns = rows.columns
    rows.drop(~np.all([np.abs(column) <= _LARGEST for column in columns.values()], axis=0), "number out of range")
    whole = ("job", "allocated", "requested", "user", "group", "queue")
    rows.drop(np.any([rows[name] != np.trunc(rows[name]) for name in whole], axis=0), "count or number that is not whole")
    rows.drop(np.isin(rows["status"], (2, 3, 4)), "part of a job that its summary row has whole")
    rows.drop((rows["status"] == 5) & (rows["run"] <= 0), "cancelled before it started")
    rows.drop(rows["run"] < 0, "run time unknown")
    rows.drop(rows["run"] == 0, "zero run time")
    rows.drop(rows["submit"] < 0, "submission time unknown")
    first, second = ("allocated", "requested") if options.processors == "allocated" else ("requested", "allocated")
    rows.drop((rows[first] <= 0) & (rows[second] <= 0), "no processors")


def _sizes(rows: _Cleaner, options: TraceOptions) -> None:
    """Settle how many processors each job takes, and drop what the machine cannot hold."""
    first, second = ("allocated", "requested") if options.processors == "allocated" else ("requested", "allocated")
    rows.note(rows[first] <= 0, f"{first} processors not given: the {second} ones stand in", "repaired")
    size = np.where(rows[first] > 0, rows[first], rows[second])
    rows.columns["size"] = np.ceil(size / options.multiple) * options.multiple
    if options.capacity is not None:
        rows.drop(rows["size"] > options.capacity, f"more processors than the machine has ({options.capacity})")


def _times(rows: _Cleaner, options: TraceOptions) -> None:
    """Settle run time and estimate: an overrun is cut, or its run time is what the scheduler is told."""
    asked, run = rows["requested_time"], rows["run"]
    known = asked > 0
    over = known & (run > asked)
    if options.cut:
        rows.note(over, "ran past its request: cut there", "cut")
        run = np.where(over, asked, run)
    if options.estimates == "actual":
        estimate = run
    else:
        if not options.cut:
            rows.note(over, "ran past its request: the run time stands in as estimate", "repaired")
        rows.note(~known, "no requested time: the run time stands in as estimate", "repaired")
        estimate = np.where(known, np.maximum(asked, run), run)
    rows.columns["run"], rows.columns["estimate"] = run, estimate


def _numbers(rows: _Cleaner) -> None:
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


def _jobs(rows: _Cleaner, options: TraceOptions) -> JobTable:
    _drop_broken(rows, options)
    _numbers(rows)
    _sizes(rows, options)
    if options.max_jobs is not None and len(rows["job"]) > options.max_jobs:
        rows.keep(np.arange(len(rows["job"])) < options.max_jobs)
    _times(rows, options)
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
    )


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
    data = _bytes(path)
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
    rows = _Cleaner(values, data, lines, findings)
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
