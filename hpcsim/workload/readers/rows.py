"""The rows of a log on their way to jobs: cleaned issue by issue, each flaw counted once with its first example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.workload.elastic import ELASTIC, laws_of_columns
from hpcsim.workload.jobs import Finding, Floats, Integers, JobTable, TraceOptions, dependency_circles

__all__ = ["LARGEST", "Mask", "Rows", "codes", "jobs_of", "settle_estimates"]

Mask = npt.NDArray[np.bool_]
Action = Literal["dropped", "cut", "repaired", "kept"]

LARGEST = 1e15
"""Numbers beyond it are taken for damage: 30 million years in seconds."""


class Rows:
    """Columns of a log, cleaned issue by issue; a row that is dropped is not looked at again, so each is counted once.

    Parameters
    ----------
    columns : dict of str to array, shape (rows,)
        Numbers with NaN where a value is not known, words with "".
    lines : int64 array, shape (rows,), or callable that returns it
        Line of each row in the file; a callable is asked only when something is to be reported.
    findings : list of Finding
        Is added to.
    name : str
        Column that names a job in an example.
    """

    def __init__(
        self,
        columns: dict[str, Any],
        lines: Integers | Callable[[], Integers],
        findings: list[Finding],
        *,
        name: str = "job",
        unit: str = "line",
    ) -> None:
        self.columns = columns
        self.row = np.arange(len(next(iter(columns.values()))) if columns else 0)
        self.findings = findings
        self._lines = lines
        self._name = name
        self._unit = unit

    def __len__(self) -> int:
        return len(self.row)

    def note(self, bad: Any, issue: str, action: Action) -> None:
        """Count the rows of ``bad`` under ``issue``."""
        bad = np.broadcast_to(bad, self.row.shape)
        count = int(np.count_nonzero(bad))
        if count:
            first = int(np.flatnonzero(bad)[0])
            if callable(self._lines):
                self._lines = self._lines()
            job = self.columns[self._name][first] if self._name in self.columns else ""
            label = f"{job:.15g}" if isinstance(job, (float, np.floating)) else str(job)
            example = f"{self._unit} {self._lines[self.row[first]]}" + (f", job {label}" if label not in ("", "nan") else "")
            self.findings.append(Finding(issue, count, action, example))

    def keep(self, good: Any) -> None:
        """Leave only the rows of ``good``."""
        if not np.all(good):
            self.columns = {name: column[good] for name, column in self.columns.items()}
            self.row = self.row[good]

    def drop(self, bad: Any, issue: str) -> None:
        """Drop and count the rows of ``bad``."""
        bad = np.broadcast_to(bad, self.row.shape)
        self.note(bad, issue, "dropped")
        self.keep(~bad)

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def get(self, name: str, missing: Any) -> Any:
        """Return a column, or one full of ``missing``."""
        return self.columns[name] if name in self.columns else np.full(len(self), missing)


def codes(words: Any) -> tuple[Integers, tuple[str, ...]]:
    """Return numbers for words, by first appearance, -1 for "" and what is no text, and the words.

    >>> codes(["b", "", "a", "b"])
    (array([ 0, -1,  1,  0]), ('b', 'a'))
    """
    import pandas as pd

    values = np.array(words, dtype=object)
    values[values == ""] = None
    numbers, different = pd.factorize(values)
    return numbers.astype(np.int64), tuple(str(word) for word in different)


def _settle_times(rows: Rows) -> None:
    """Settle submission and run time; drop what never ran. Columns submit, start, end, run, active (bool), cancelled (bool)."""
    submit, start = rows.get("submit", np.nan), rows.get("start", np.nan)
    end, run = rows.get("end", np.nan), rows.get("run", np.nan)
    run = np.where(np.isnan(run), end - start, run)
    rows.columns |= {"start": start, "end": end, "run": run}
    wild = np.any([np.abs(rows[name]) > LARGEST for name in ("submit", "start", "run") if name in rows.columns], axis=0)
    rows.drop(wild, "number out of range")
    submit = rows.get("submit", np.nan)
    if np.isnan(submit).any() and "wait" in rows.columns:
        submit = np.where(np.isnan(submit), rows["start"] - rows["wait"], submit)
    rows.columns["submit"] = submit
    if "active" in rows.columns and len(rows):
        latest = np.nanmax(np.concatenate([rows["submit"], rows["start"], rows["end"], [0.0]]))
        open_end = np.isnan(rows["run"]) & ~np.isnan(rows["start"]) & rows["active"]
        rows.columns["run"] = np.where(open_end, latest - rows["start"], rows["run"])
        known = rows["active"] & np.isnan(rows["end"]) & (rows["run"] > 0)
        rows.note(known, "still running at the end of the log: run time up to there", "repaired")
    cancelled = rows.get("cancelled", False)
    rows.drop(cancelled & ~(rows["run"] > 0), "cancelled before it started")
    rows.drop(rows.get("pending", False) & ~(rows["run"] > 0), "never started")
    rows.drop(np.isnan(rows["run"]), "run time unknown")
    rows.drop(rows["run"] < 0, "ends before it starts")
    rows.drop(rows["run"] == 0, "zero run time")
    rows.drop(np.isnan(rows["submit"]), "submission time unknown")
    rows.note(rows["start"] < rows["submit"], "started before its submission: the start counts as submission", "repaired")
    rows.columns["submit"] = np.where(rows["start"] < rows["submit"], rows["start"], rows["submit"])


def _settle_sizes(rows: Rows, options: TraceOptions) -> None:
    """Settle how many processors (or accelerators, or nodes) each job takes; drop what the machine cannot hold."""
    nothing = np.nan
    if options.unit == "gpu" and "gpus" in rows.columns:
        rows.drop(~(rows["gpus"] > 0), "asks for no accelerator")
        rows.columns["processors"] = rows.columns["requested"] = np.ceil(rows["gpus"])
    elif options.unit == "node" and "nodes" in rows.columns:
        rows.columns["processors"] = rows.columns["requested"] = rows["nodes"]
    given = {"allocated": rows.get("processors", nothing), "requested": rows.get("requested", nothing)}
    first, second = ("allocated", "requested") if options.processors == "allocated" else ("requested", "allocated")
    missing = ~(given[first] > 0)
    if not missing.all():
        rows.note(missing & (given[second] > 0), f"{first} processors not given: the {second} ones stand in", "repaired")
    size = np.where(missing, given[second], given[first])
    fallback = rows.get("nodes", nothing)
    rows.note(~(size > 0) & (fallback > 0), "no processors given: the nodes stand in", "repaired")
    size = np.where(size > 0, size, fallback)
    rows.columns["size"] = size
    rows.drop(~(size > 0) | (size > LARGEST), "no processors")
    rows.columns["size"] = np.ceil(np.ceil(rows["size"]) / options.multiple) * options.multiple
    if options.capacity is not None:
        rows.drop(rows["size"] > options.capacity, f"more processors than the machine has ({options.capacity})")


def settle_estimates(rows: Rows, options: TraceOptions, asked: Floats) -> None:
    """Settle run time and estimate: an overrun is cut, or its run time is what the scheduler is told."""
    run = rows["run"]
    known = (asked > 0) & np.isfinite(asked)
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


def _settle_numbers(rows: Rows) -> None:
    """Give every job a number: the log's own where all are whole, else by order with the log's words as names."""
    import pandas as pd

    words = rows.columns.get("job")
    if words is None or not len(rows):
        rows.columns["number"] = np.arange(1, len(rows) + 1, dtype=np.float64)
        return
    text = np.asarray(words, dtype=object)
    compared = ("job", "submit", "start", "run", "processors", "nodes", "gpus", "user")
    frame = pd.DataFrame({name: rows[name] for name in compared if name in rows.columns})
    rows.drop(frame.duplicated().to_numpy() & (text != ""), "row given twice")
    text = np.asarray(rows["job"], dtype=object)
    value = pd.to_numeric(pd.Series(text, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    whole = (value > 0) & (value == np.trunc(value)) & (value < 2**53)
    number = value.copy()
    again = pd.Series(value).duplicated().to_numpy() & whole
    rows.note(again, "job number given twice: renumbered after the largest", "repaired")
    if not whole.any():
        number = np.arange(1, len(rows) + 1, dtype=np.float64)
    else:
        loose = again | ~whole
        number[loose] = value[whole].max() + np.arange(1, loose.sum() + 1)
        if loose.any():
            rows.columns.setdefault("name", np.where(text == "", "", text))
    rows.columns["number"] = number
    if not whole.all():
        rows.columns["name"] = text


def jobs_of(rows: Rows, options: TraceOptions) -> JobTable | None:
    """Return the jobs of cleaned rows, None where none is left.

    The columns a log may have, all of shape (rows,): ``job name user group queue qos constraint licences data after`` as words; ``submit start end run wait
    estimate deadline due`` [s]; ``processors`` (allocated), ``requested``, ``nodes``, ``gpus``, ``memory buffer data_size`` [bytes], ``priority``; ``least``, ``most``, ``serial``,
    ``parallelism``, ``variance`` of jobs that change their size; flags ``exclusive``, ``active`` (runs at
    the end of the log), ``pending``, ``cancelled``.
    """
    _settle_times(rows)
    if not len(rows):
        return None
    _settle_numbers(rows)
    _settle_sizes(rows, options)
    if options.max_jobs is not None and len(rows) > options.max_jobs:
        rows.keep(np.arange(len(rows)) < options.max_jobs)
    if not len(rows):
        return None
    settle_estimates(rows, options, rows.get("estimate", np.nan))
    late = np.diff(rows["submit"], prepend=rows["submit"][:1]) < 0
    rows.note(late, "submitted before the row above it: sorted by submission", "repaired")
    named: dict[str, Any] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for name in ("user", "group", "queue", "qos", "constraint", "licences", "data"):
        if name in rows.columns:
            numbers, words = codes(rows[name])
            if words:
                named[name], labels[name] = numbers, words
    more: dict[str, Any] = {}
    if "nodes" in rows.columns and (rows["nodes"] > 0).any():
        more["nodes"] = np.where(rows["nodes"] > 0, np.ceil(rows["nodes"]), -1).astype(np.int64)
    for column, name in (("gpus", "gpus"), ("memory", "memory_bytes"), ("buffer", "buffer_bytes"), ("data_size", "data_bytes")):
        if column in rows.columns and (rows[column] > 0).any():
            more[name] = np.where(rows[column] > 0, rows[column], 0.0)
    if "exclusive" in rows.columns and np.any(rows["exclusive"]):
        more["exclusive"] = np.asarray(rows["exclusive"], dtype=np.bool_)
    if "priority" in rows.columns and np.isfinite(rows["priority"]).any():
        more["priority"] = np.where(np.isfinite(rows["priority"]), rows["priority"], 0.0)
    due = rows.get("due", np.nan)
    due = np.where(np.isnan(due), rows.get("deadline", np.nan) - rows["submit"], due)
    if np.isfinite(due).any():
        rows.note(due < 0, "due before its submission: counts as due at once", "repaired")
        more["due_s"] = np.where(np.isfinite(due), np.maximum(due, 0.0), np.inf)
    if "after" in rows.columns:
        more["after"] = _dependencies(rows)
    more |= laws_of_columns(rows["size"].astype(np.int64), {name: rows[name] for name in ELASTIC if name in rows.columns})
    names = rows.columns.get("name")
    jobs = JobTable.of(
        rows["submit"],
        rows["run"],
        rows["size"].astype(np.int64),
        estimate_s=rows["estimate"],
        job_id=rows["number"].astype(np.int64),
        names=[str(name) for name in names] if names is not None and np.any(names != "") else None,
        labels=labels,
        **named,
        **{key: value for key, value in more.items() if value is not None},
    )
    return _without_circles(jobs, rows)


def _dependencies(rows: Rows) -> Integers | None:
    """Return the number of the job that each waits for, by its word in the log; one that is not there is forgotten and counted."""
    wanted = np.asarray(rows["after"], dtype=object)
    asked = wanted != ""
    if not asked.any():
        return None
    number = {str(word): int(n) for word, n in zip(rows["job"], rows["number"], strict=True)}
    found = np.array([number.get(word, -1) if word else -1 for word in wanted.tolist()], dtype=np.int64)
    rows.note(asked & (found < 0), "waits for a job that the log does not have: counts as ended", "repaired")
    itself = found == rows["number"]
    rows.note(itself, "waits for itself: dependency forgotten", "repaired")
    return np.where(itself, -1, found)


def _without_circles(jobs: JobTable, rows: Rows) -> JobTable:
    circle = dependency_circles(jobs)
    if not circle.any():
        return jobs
    rows.note(circle, "jobs that wait for each other in a circle: dependencies forgotten", "repaired")
    import dataclasses

    after = np.where(circle, -1, jobs.filled("after"))
    return dataclasses.replace(jobs, after=after if (after >= 0).any() else None)
