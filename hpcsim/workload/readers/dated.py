"""What every reader of a log with dates ends with: times from the first submission on, and a trace or a refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Trace, TraceOptions
from hpcsim.workload.readers.rows import Rows, jobs_of

__all__ = ["trace_of"]

TRACE_UNUSABLE = problem_kind(
    "trace-unusable", "no row of {rows} is a usable job; first: {first}", "check the format, and the number of processors of the machine"
)


def trace_of(
    rows: Rows, options: TraceOptions, *, file: str, rows_read: int, header: Mapping[str, str] | None = None, dated: bool = True
) -> Trace:
    """Return a trace of cleaned rows; where they are ``dated``, times count from the first submission of a usable job.

    Raises
    ------
    InputError
        No row is a usable job.
    """
    jobs = jobs_of(rows, options)
    findings = tuple(rows.findings)
    if jobs is None or not len(jobs):
        first = f"{findings[0].issue}, {findings[0].example}" if findings else "no row"
        raise TRACE_UNUSABLE.error(file=file, rows=rows_read, first=first)
    zero = None
    if dated:
        zero = float(jobs.submit_s.min())
        jobs = dataclasses.replace(jobs, submit_s=jobs.submit_s - zero)
    return Trace(jobs=jobs, quality=findings, header=dict(header or {}), file=file, rows=rows_read, zero_s=zero, zone=options.zone)
