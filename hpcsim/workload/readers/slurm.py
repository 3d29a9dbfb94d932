"""Slurm's accounting: ``sacct -P`` (or ``-p``) with any choice of columns, and ``sacct --json``.

Reference: SchedMD, manual pages of sacct and slurm.conf; the accounting fields and job states of Slurm 17.11 to 24.05.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Finding, Trace, TraceOptions, trace_readers
from hpcsim.workload.readers.amounts import counts, durations_s, memory, minutes_s, numbers, tres
from hpcsim.workload.readers.dated import trace_of
from hpcsim.workload.readers.moments import moments
from hpcsim.workload.readers.rows import Rows
from hpcsim.workload.readers.text import TRACE_NO_ROWS, Words, decoded, table, unpacked

__all__ = ["STATES", "SacctJsonReader", "SacctReader"]

JSON_DAMAGED = problem_kind("trace-json", "this is no JSON: {why}", "export it again; the file may be cut off")
JSON_SHAPE = problem_kind("trace-json-shape", "this JSON holds no {what}", "{hint}")

STATES: dict[str, str] = {
    "BOOT_FAIL": "BF",
    "CANCELLED": "CA",
    "COMPLETED": "CD",
    "COMPLETING": "CG",
    "CONFIGURING": "CF",
    "DEADLINE": "DL",
    "FAILED": "F",
    "NODE_FAIL": "NF",
    "OUT_OF_MEMORY": "OOM",
    "PENDING": "PD",
    "PREEMPTED": "PR",
    "REQUEUED": "RQ",
    "RESIZING": "RS",
    "REVOKED": "RV",
    "RUNNING": "R",
    "SPECIAL_EXIT": "SE",
    "STOPPED": "ST",
    "SUSPENDED": "S",
    "TIMEOUT": "TO",
}
"""Job states and their short forms."""

_SHORT = {short: state for state, short in STATES.items()}
_KNOWN = (
    "JobID",
    "JobIDRaw",
    "State",
    "Submit",
    "Start",
    "End",
    "Elapsed",
    "ElapsedRaw",
    "AllocCPUS",
    "NCPUS",
    "NNodes",
    "Timelimit",
    "User",
)
_FREE = ("SubmitLine", "Constraints", "JobName", "Comment", "AdminComment", "SystemComment", "WorkDir", "WCKey", "Reason", "Extra")
"""Columns in which a bar may stand unquoted, the likeliest first."""
_JOB = re.compile(r"(\d+)(?:_(\d+|\[.*\]))?(?:\+(\d+))?(\..+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*|Unknown|None|\d*")
_ACTIVE = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING")
_DEPENDENCY = re.compile(r"(?:--dependency[= ]|\s-d\s*)['\"]?after\w*:(\d+)")
_AGAIN = ("REQUEUED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL")


def _state(word: str) -> str:
    """Return the full name of a state: ``CANCELLED by 75200``, ``CANCELLED+``, ``OUT_OF_ME+`` and ``CD`` are understood; "" where it is none."""
    stem = re.match(r"[A-Z_]*", word.strip())
    name = stem[0] if stem else ""
    if name in STATES:
        return name
    if name in _SHORT:
        return _SHORT[name]
    near = [state for state in STATES if name and state.startswith(name)]
    return near[0] if len(near) == 1 and word.strip()[len(name) :].startswith("+") else ""


def _states(words: Any) -> Any:
    import pandas as pd

    numbers_, different = pd.factorize(np.asarray(words, dtype=object))
    return np.array([_state(word) for word in different] or [""], dtype=object)[numbers_]


def _sound(heading: list[str]) -> Any:
    """Return a check of a row's cells: job number, dates and state are where they belong."""
    checks: list[tuple[int, Any]] = [(heading.index(c), _JOB.fullmatch) for c in ("JobID", "JobIDRaw") if c in heading]
    checks += [(heading.index(c), _DATE.fullmatch) for c in ("Submit", "Start", "End", "Eligible") if c in heading]
    checks += [(heading.index(c), _state) for c in ("State",) if c in heading]
    checks += [
        (heading.index(c), re.compile(r"\d*").fullmatch) for c in ("NNodes", "NCPUS", "ElapsedRaw", "UID", "TimelimitRaw") if c in heading
    ]
    span = re.compile(r"(?:\d+-)?\d+:\d+(?::\d+)?(?:\.\d+)?|UNLIMITED|Partition_Limit|")
    checks += [(heading.index(c), span.fullmatch) for c in ("Elapsed", "Timelimit", "Suspended", "TotalCPU") if c in heading]
    return lambda cells: all(check(cells[at]) for at, check in checks)


def _parts(words: Words, given: Any) -> tuple[Words, Any]:
    """Leave the rows of whole jobs; steps are counted apart. Returns the words and the parsed job numbers (base, task, offset)."""
    import pandas as pd

    found = pd.Series(given, dtype=str).str.extract(r"^(\d+)(?:_(\d+|\[.*\]))?(?:\+(\d+))?(\..+)?$")
    steps = found[3].notna().to_numpy()
    if steps.any():
        example = f"line {words.lines[steps][0]}, {given[steps][0]}"
        words.findings.append(Finding("job step: its job has a row of its own", int(steps.sum()), "dropped", example))
    whole = ~steps
    return Words(words.frame[whole], words.lines[whole], words.findings, words.rows), found[whole].reset_index(drop=True)


def _columns(words: Words, rows: Rows, options: TraceOptions) -> dict[str, Any]:
    """Return the columns of :func:`jobs_of` from sacct's words."""
    state = _states(words.column("State"))
    nodes = counts(words.column("AllocNodes", "NNodes"))
    nodes = np.where(nodes > 0, nodes, counts(words.column("ReqNodes", "NNodes")))
    nodes = np.where(nodes > 0, nodes, tres(words.column("AllocTRES", "ReqTRES"), "node"))
    allocated = counts(words.column("AllocCPUS"))
    for other in (tres(words.column("AllocTRES"), "cpu"), counts(words.column("NCPUS"))):
        allocated = np.where(allocated > 0, allocated, other)
    requested = counts(words.column("ReqCPUS"))
    requested = np.where(requested > 0, requested, tres(words.column("ReqTRES"), "cpu"))
    cores = np.where(allocated > 0, allocated, requested)
    gpus = tres(words.column("AllocTRES"), "gres/gpu")
    gpus = np.where(np.isnan(gpus), tres(words.column("ReqTRES"), "gres/gpu"), gpus)
    size = tres(words.column("ReqTRES"), "mem")
    for other in (memory(words.column("ReqMem"), nodes, cores), tres(words.column("AllocTRES"), "mem")):
        size = np.where(np.isnan(size), other, size)
    elapsed = numbers(words.column("ElapsedRaw"))
    elapsed = np.where(np.isnan(elapsed), durations_s(words.column("Elapsed")), elapsed)
    limit = minutes_s(words.column("TimelimitRaw"))
    limit = np.where(np.isnan(limit), durations_s(words.column("Timelimit")), limit)
    dates = {
        name: moments(rows, words.column(name.capitalize()), zone=options.zone, what=f"{name} time") for name in ("submit", "start", "end")
    }
    never = np.isnan(dates["start"]) & ~(elapsed > 0)
    return {
        **dates,
        "run": np.where(never, np.nan, elapsed),
        "estimate": limit,
        "processors": allocated,
        "requested": requested,
        "nodes": nodes,
        "gpus": gpus,
        "memory": size,
        "state": state,
        "user": words.column("User"),
        "group": words.column("Account"),
        "queue": words.column("Partition"),
        "qos": words.column("QOS"),
        "name": words.column("JobName"),
        "constraint": words.column("Constraints"),
        "after": _after(words.column("SubmitLine"), options),
        "exclusive": np.array(["--exclusive" in line for line in words.column("SubmitLine")], dtype=np.bool_),
        "priority": np.full(len(words.frame), np.nan),
    }


def _after(lines: Any, options: TraceOptions) -> Any:
    if options.dependencies is False:
        return np.full(len(lines), "", dtype=object)
    found = [match[1] if "-d" in line and (match := _DEPENDENCY.search(line)) else "" for line in lines]
    return np.array(found, dtype=object)


def _attempts(rows: Rows) -> None:
    """Give the earlier runs of a requeued job (``sacct -D``) a name of their own, so that each counts as the job that it was."""
    import pandas as pd

    earlier = np.isin(rows["state"], _AGAIN) & pd.Series(rows["job"], dtype=object).duplicated(keep="last").to_numpy()
    rows.note(earlier & (rows["run"] > 0), "earlier run of a requeued job: counts as a job of its own", "repaired")
    rows.drop(earlier & ~(rows["run"] > 0), "requeued before it ran")
    earlier = np.isin(rows["state"], _AGAIN) & pd.Series(rows["job"], dtype=object).duplicated(keep="last").to_numpy()
    if earlier.any():
        rank = pd.Series(rows["job"], dtype=object).groupby(rows["job"]).cumcount().to_numpy()
        rows.columns["job"] = np.where(earlier, [f"{job}#{n + 1}" for job, n in zip(rows["job"], rank, strict=True)], rows["job"])


def _together(rows: Rows) -> None:
    """Put the components of a heterogeneous job into one job: they start together."""
    het = rows["offset"] != ""
    if not het.any():
        return
    import pandas as pd

    key = pd.Series(np.where(het, rows["base"], "")).to_numpy(dtype=object)
    numbers_, _ = pd.factorize(key)
    first = het & ~(pd.Series(key).duplicated().to_numpy())
    rows.note(het & ~first, "component of a heterogeneous job: put together with the first", "repaired")
    for name in ("processors", "requested", "nodes", "gpus", "memory"):
        sums = np.bincount(numbers_[het], weights=np.nan_to_num(rows[name][het]), minlength=int(numbers_.max()) + 1)
        rows.columns[name] = np.where(first, sums[numbers_], rows[name])
    longest = np.full(int(numbers_.max()) + 1, -np.inf)
    np.maximum.at(longest, numbers_[het], np.nan_to_num(rows["run"][het], nan=-np.inf))
    rows.columns["run"] = np.where(first & np.isfinite(longest[numbers_]), longest[numbers_], rows["run"])
    rows.columns["job"] = np.where(first, rows["base"], rows["job"])
    rows.keep(~het | first)


def slurm_trace(words: Words, options: TraceOptions, file: str, header: dict[str, str]) -> Trace:
    """Return the jobs of sacct's rows."""
    given = words.column("JobID", "JobIDRaw").astype(object)
    words, found = _parts(words, given)
    base, task, offset = (found[i].fillna("").to_numpy(dtype=object) for i in range(3))
    rows = Rows({"job": words.column("JobID", "JobIDRaw")}, words.lines, words.findings)
    rows.columns |= _columns(words, rows, options) | {"base": base, "task": task, "offset": offset}
    rows.drop(base == "", "no job number")
    rows.drop(rows["state"] == "", "no job state that is known")
    bracket = np.array([task.startswith("[") for task in rows["task"]], dtype=np.bool_)
    rows.drop(bracket, "tasks of a job array that had not started")
    rows.columns["active"] = np.isin(rows["state"], _ACTIVE)
    rows.columns["pending"] = np.isin(rows["state"], ("PENDING", "REQUEUED", "REVOKED"))
    rows.columns["cancelled"] = rows["state"] == "CANCELLED"
    _together(rows)
    _attempts(rows)
    raw = words.column("JobIDRaw")[rows.row] if words.has("JobIDRaw") else None
    if raw is not None:  # tasks of arrays have a number of their own there
        plain = np.array([a.isdigit() and "#" not in j for a, j in zip(raw, rows["job"], strict=True)], dtype=np.bool_)
        arrays = plain & (rows["task"] != "")
        rows.columns["job"] = np.where(arrays, raw, rows["job"])
    return trace_of(rows, options, file=file, rows_read=words.rows, header=header)


@trace_readers.register("sacct")
class SacctReader:
    """``sacct -P`` or ``-p``: one row a job, parts between bars, the first line a heading."""

    suffixes = (".sacct",)

    @staticmethod
    def sniff(opening: str) -> bool:
        """Return whether a file that begins so is of this format."""
        heading = set(opening.partition("\n")[0].rstrip("\r").split("|"))
        return bool(heading & {"JobID", "JobIDRaw"}) and len(heading & set(_KNOWN)) >= 4

    @staticmethod
    def read(path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""
        name = str(path)
        text, findings = decoded(unpacked(path), name)
        heading = text.lstrip("\ufeff").partition("\n")[0].rstrip("\r").split("|")
        words = table(
            text,
            name=name,
            what="sacct",
            known=_KNOWN,
            needed=4,
            hint="export with sacct -P and at least JobID, State, Submit, Start, End, AllocCPUS and Timelimit",
            quoted=False,
            free=_FREE,
            sound=_sound(heading),
        )
        words.findings[:0] = findings
        return slurm_trace(words, options, name, {})


def _set(value: Any) -> Any:
    """Return what Slurm wraps as {set, infinite, number}; None where it is not set."""
    if isinstance(value, dict):
        if value.get("infinite"):
            return "UNLIMITED"
        return value.get("number") if value.get("set", True) else None
    return value


def _resources(listed: Any) -> str:
    parts = []
    for item in listed or ():
        kind, name, count = item.get("type", ""), item.get("name") or "", item.get("count")
        if count is not None and count >= 0:
            parts.append(f"{kind}{'/' + name if name else ''}={count}{'M' if kind == 'mem' else ''}")
    return ",".join(parts)


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _json_row(job: dict[str, Any]) -> dict[str, str]:
    """Return one job of ``sacct --json`` as the words that ``sacct -P`` has for it."""
    time, array, het, need = (job.get(key) or {} for key in ("time", "array", "het", "required"))
    state = job.get("state") or {}
    current = state.get("current", "") if isinstance(state, dict) else state
    current = current[0] if isinstance(current, list) and current else current
    task = _set(array.get("task_id")) if array.get("job_id") else None
    if array.get("task"):
        task = f"[{array['task']}]"
    base = array["job_id"] if task is not None else job.get("job_id")
    number = f"{base}_{task}" if task is not None else f"{base}"
    if het.get("job_id"):
        number = f"{het['job_id']}+{_word(_set(het.get('job_offset')) or 0)}"
    wanted = job.get("tres") or {}
    return {
        "JobID": number,
        "JobIDRaw": _word(job.get("job_id")),
        "State": _word(current or ""),
        "Submit": _word(time.get("submission") or ""),
        "Start": _word(time.get("start") or ""),
        "End": _word(time.get("end") or ""),
        "ElapsedRaw": _word(time.get("elapsed")),
        "TimelimitRaw": _word(_set(time.get("limit"))),
        "NNodes": _word(job.get("allocation_nodes")),
        "ReqCPUS": _word(_set(need.get("CPUs", need.get("cpus")))),
        "AllocTRES": _resources(wanted.get("allocated")),
        "ReqTRES": _resources(wanted.get("requested")),
        "User": _word(job.get("user") or (job.get("association") or {}).get("user")),
        "Account": _word(job.get("account")),
        "Partition": _word(job.get("partition")),
        "QOS": _word(job.get("qos")),
        "JobName": _word(job.get("name")),
        "Constraints": _word(job.get("constraints")),
        "SubmitLine": _word(job.get("submit_line")),
    }


def parsed_json(text: str, name: str) -> Any:
    """Return a JSON document.

    Raises
    ------
    InputError
        It is none, with the line and column where that shows.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise JSON_DAMAGED.error(file=name, line=error.lineno, column=error.colno, why=error.msg) from None
    except RecursionError:
        raise JSON_DAMAGED.error(file=name, line=1, column=1, why="it is nested too deeply") from None


def listed(document: Any, key: str, name: str, hint: str) -> list[Any]:
    """Return the list under ``key`` of a document.

    Raises
    ------
    InputError
        There is no such list, or it is empty.
    """
    items = document.get(key) if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise JSON_SHAPE.error(file=name, what=f"list {key!r}", hint=hint)
    if not items:
        raise TRACE_NO_ROWS.error(file=name)
    return items


def words_of(rows: Iterable[dict[str, str]], findings: list[Finding], total: int, numbers_: Any) -> Words:
    """Return rows of words as a table."""
    import pandas as pd

    return Words(pd.DataFrame(list(rows), dtype=str), np.asarray(numbers_, dtype=np.int64), findings, total)


@trace_readers.register("sacct-json")
class SacctJsonReader:
    """``sacct --json``: one document with a list of jobs. Line numbers in its findings are places in that list, from 1."""

    suffixes = ()

    @staticmethod
    def sniff(opening: str) -> bool:
        """Return whether a file that begins so is of this format."""
        return opening.lstrip().startswith("{") and '"jobs"' in opening and ('"slurm"' in opening.lower() or '"job_id"' in opening)

    @staticmethod
    def read(path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""
        name = str(path)
        text, findings = decoded(unpacked(path), name)
        document = parsed_json(text, name)
        jobs = listed(document, "jobs", name, "export with sacct --json")
        good, places, bad = [], [], []
        for at, job in enumerate(jobs, start=1):
            try:
                good.append(_json_row(job))
                places.append(at)
            except (AttributeError, TypeError, KeyError, IndexError):
                bad.append(at)
        if bad:
            findings.append(Finding("entry that is no job", len(bad), "dropped", f"entry {bad[0]}"))
        words = words_of(good, findings, len(jobs), places)
        return slurm_trace(words, options, name, {})
