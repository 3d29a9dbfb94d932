"""Batch jobs as arrays, and where they come from: the job table, the trace, the registry of trace readers."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.registry import Registry

__all__ = [
    "Finding",
    "Floats",
    "Integers",
    "JobTable",
    "Trace",
    "TraceOptions",
    "TraceReader",
    "format_of",
    "read_trace",
    "trace_readers",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

COLUMN_LENGTH = problem_kind("job-column-length", "{name} has {got} values, but there are {want} jobs", "give one value per job")
COLUMN_TYPE = problem_kind("job-column-type", "{name} is not an array of numbers", "give one number per job")
COLUMN_VALUE = problem_kind("job-column-value", "{name} of job {job} is {value}; it must be {bound}", "drop or mend the job")
JOB_ID_TWICE = problem_kind("job-id-twice", "the job number {job} is given twice", "give every job a number of its own")
BAD_FACTOR = problem_kind("job-scale-factor", "{name} is {value!r}, but a factor above 0 is needed", "1 changes nothing")
NO_FORMAT = problem_kind("trace-format-unknown", "no trace reader is known for {file!r}", "name the format; known: {known}")
BAD_OPTION = problem_kind("trace-option", "{name} is {value!r}; it must be {bound}", "")

_LARGEST = 2**53
"""Beyond it, float64 does not hold every whole number: times of a simulation stay below."""

_INTEGER_COLUMNS = ("job_id", "processors", "user", "group", "queue")
_FLOAT_COLUMNS = ("submit_s", "run_s", "estimate_s")


def _column(name: str, values: Any, count: int) -> npt.NDArray[Any]:
    try:
        array = np.array(values)
    except (TypeError, ValueError, OverflowError):
        raise COLUMN_TYPE.error(path=name, name=name) from None
    if array.size and array.dtype.kind not in "iuf":
        raise COLUMN_TYPE.error(path=name, name=name)
    if array.ndim != 1 or len(array) != count:
        raise COLUMN_LENGTH.error(path=name, name=name, got=array.size, want=count)
    if name in _FLOAT_COLUMNS:
        return array.astype(np.float64)
    if array.dtype.kind != "i":
        bad = ~(np.abs(array) <= _LARGEST) | (array != np.trunc(array))
        _first_bad(name, np.arange(1, count + 1), array, bad, "a whole number")
    return array.astype(np.int64)


def _first_bad(name: str, jobs: Integers, values: npt.NDArray[Any], bad: npt.NDArray[np.bool_], bound: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise COLUMN_VALUE.error(path=name, name=name, job=int(jobs[row]), value=values[row].item(), bound=bound)


@dataclass(frozen=True, eq=False, slots=True)
class JobTable:
    """Batch jobs, one array per property. Use :meth:`of` to build one; every array is read-only and has shape (jobs,).

    Attributes
    ----------
    job_id : int64 array
        Number of the job, unique; a log's own.
    submit_s, run_s, estimate_s : float64 array [s]
        Time of submission, time on the processors, and the run time that the scheduler is told. All at least 0.
    processors : int64 array
        Processors that the job holds while it runs, at least 1.
    user, group, queue : int64 array
        Numbers of who submitted it and where; -1 unknown.
    names : tuple of str or None
        Names of the jobs, where they have any.
    """

    job_id: Integers
    submit_s: Floats
    run_s: Floats
    estimate_s: Floats
    processors: Integers
    user: Integers
    group: Integers
    queue: Integers
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.job_id))
        for name in (*_INTEGER_COLUMNS, *_FLOAT_COLUMNS):
            array = _column(name, getattr(self, name), count)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.names is not None and len(self.names) != count:
            raise COLUMN_LENGTH.error(path="names", name="names", got=len(self.names), want=count)
        for name in _FLOAT_COLUMNS:
            values = getattr(self, name)
            _first_bad(name, self.job_id, values, ~((values >= 0) & (values <= _LARGEST)), "a finite time, at least 0 s")
        _first_bad("processors", self.job_id, self.processors, self.processors < 1, "at least 1")
        unique, counts = np.unique(self.job_id, return_counts=True)
        if len(unique) != count:
            raise JOB_ID_TWICE.error(path="job_id", job=int(unique[counts > 1][0]))

    @classmethod
    def of(
        cls,
        submit_s: npt.ArrayLike,
        run_s: npt.ArrayLike,
        processors: npt.ArrayLike,
        *,
        estimate_s: npt.ArrayLike | None = None,
        job_id: npt.ArrayLike | None = None,
        user: npt.ArrayLike | None = None,
        group: npt.ArrayLike | None = None,
        queue: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> JobTable:
        """Return a job table; what is left out is filled in.

        Parameters
        ----------
        submit_s, run_s : array-like, shape (jobs,) [s]
            Submission and run time.
        processors : array-like of int, shape (jobs,)
            Processors of each job.
        estimate_s : array-like, optional [s]
            What the scheduler is told; the run time without it.
        job_id : array-like of int, optional
            Unique numbers; counted from 1 without it.
        user, group, queue : array-like of int, optional
            -1 (unknown) without them.
        names : sequence of str, optional
            Names of the jobs.

        Raises
        ------
        InputError
            Columns of different length, values that are not finite or out of range, a number given twice.

        Examples
        --------
        >>> table = JobTable.of([0, 0, 5], [10, 20, 30], [1, 2, 4])
        >>> len(table), table.job_id.tolist(), table.estimate_s.tolist()
        (3, [1, 2, 3], [10.0, 20.0, 30.0])
        """
        count = int(np.size(np.asarray(submit_s, dtype=object)))
        unknown = np.full(count, -1, dtype=np.int64)
        return cls(
            job_id=np.arange(1, count + 1) if job_id is None else job_id,  # type: ignore[arg-type]
            submit_s=submit_s,  # type: ignore[arg-type]
            run_s=run_s,  # type: ignore[arg-type]
            estimate_s=run_s if estimate_s is None else estimate_s,  # type: ignore[arg-type]
            processors=processors,  # type: ignore[arg-type]
            user=unknown if user is None else user,  # type: ignore[arg-type]
            group=unknown if group is None else group,  # type: ignore[arg-type]
            queue=unknown if queue is None else queue,  # type: ignore[arg-type]
            names=None if names is None else tuple(names),
        )

    def __len__(self) -> int:
        return len(self.job_id)

    def subset(self, rows: npt.ArrayLike) -> JobTable:
        """Return the jobs at ``rows``: a boolean mask, or indices, whose order the result has."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        columns = {name: getattr(self, name)[index] for name in (*_INTEGER_COLUMNS, *_FLOAT_COLUMNS)}
        return JobTable(**columns, names=None if self.names is None else tuple(self.names[i] for i in index.tolist()))

    def sorted_by_submit(self) -> JobTable:
        """Return the jobs by time of submission; equal times keep their order."""
        if bool((np.diff(self.submit_s) >= 0).all()):
            return self
        return self.subset(np.argsort(self.submit_s, kind="stable"))

    def scaled(self, *, time: float = 1.0, arrivals: float = 1.0, processors: float = 1.0) -> JobTable:
        """Return the jobs at another scale.

        Parameters
        ----------
        time : float
            Multiplies every time: submission, run and estimate. The schedule scales with it (invariant I30).
        arrivals : float
            Multiplies the time from the first submission on; below 1 the same jobs come faster and the load is higher.
        processors : float
            Multiplies the size, rounded to the nearest whole number and at least 1.
        """
        for name, value in (("time", time), ("arrivals", arrivals), ("processors", processors)):
            if not (np.isfinite(value) and value > 0):
                raise BAD_FACTOR.error(path=name, name=name, value=value)
        first = self.submit_s.min(initial=np.inf) if len(self) else 0.0
        return dataclasses.replace(
            self,
            submit_s=(first + (self.submit_s - first) * arrivals) * time,
            run_s=self.run_s * time,
            estimate_s=self.estimate_s * time,
            processors=np.maximum(1, np.rint(self.processors * processors)).astype(np.int64),
        )

    def with_estimates(self, estimate_s: npt.ArrayLike) -> JobTable:
        """Return the same jobs with other estimates, shape (jobs,) [s]."""
        return dataclasses.replace(self, estimate_s=estimate_s)  # type: ignore[arg-type]


class Finding(NamedTuple):
    """One kind of flaw in a trace and what the reader did about it.

    ``action`` is ``dropped``, ``cut``, ``repaired`` or ``kept``; ``example`` names the first such row.
    """

    issue: str
    rows: int
    action: Literal["dropped", "cut", "repaired", "kept"]
    example: str


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How a trace is read.

    Attributes
    ----------
    processors : {"allocated", "requested"}
        Which count a job takes; the other one stands in where it is not given.
    estimates : {"requested", "actual"}
        What the scheduler is told: the requested time (the run time where there is none), or the run time.
    cut : bool
        Cut a job that ran past its request; without it the job runs on and its run time is the estimate.
    max_jobs : int or None
        Stop after so many usable jobs, in file order.
    capacity : int or None
        Processors of the machine: larger jobs are dropped.
    multiple : int
        Sizes are rounded up to a multiple of it: the cores of a node where jobs take whole nodes.
    """

    processors: Literal["allocated", "requested"] = "allocated"
    estimates: Literal["requested", "actual"] = "requested"
    cut: bool = False
    max_jobs: int | None = None
    capacity: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        for name, known in (("processors", ("allocated", "requested")), ("estimates", ("requested", "actual"))):
            if getattr(self, name) not in known:
                raise BAD_OPTION.error(path=name, name=name, value=getattr(self, name), bound=" or ".join(known))
        for name in ("max_jobs", "capacity", "multiple"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise BAD_OPTION.error(path=name, name=name, value=value, bound="a whole number, at least 1")


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """What a trace reader returns: the jobs in file order, what was wrong with the rest, and the file's own header."""

    jobs: JobTable
    quality: tuple[Finding, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    rows: int = 0
    """Rows of the file that are data, good or bad."""


class TraceReader(Protocol):
    """Reads one format of job log.

    A bad row never stops it: the row is dropped and counted. A file that cannot be read at all is an ``InputError``.
    """

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name endings of the format, without what a compression adds (``(".swf",)``)."""

    def read(self, path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""


trace_readers: Registry[TraceReader] = Registry("trace reader", "trace_readers")

_COMPRESSED = (".gz", ".bz2", ".xz")


_BUILT_IN = ("hpcsim.workload.swf",)
"""Modules that register trace readers; they build on this one, so they are imported when a trace is read."""


def _readers() -> Registry[TraceReader]:
    for module in _BUILT_IN:
        importlib.import_module(module)
    return trace_readers


def format_of(path: str | Path) -> str:
    """Return the name of the trace reader whose file name ending ``path`` has.

    Raises
    ------
    InputError
        No reader claims the ending.

    Examples
    --------
    >>> format_of("KTH-SP2-1996.swf.gz")
    'swf'
    """
    name = Path(path).name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    readers = _readers()
    for known in readers.names():
        if any(name.endswith(suffix) for suffix in readers.get(known).suffixes):
            return known
    raise NO_FORMAT.error(file=str(path), known=", ".join(readers.names()))


def read_trace(path: str | Path, *, format: str | None = None, options: TraceOptions | None = None) -> Trace:
    """Read a job log.

    Parameters
    ----------
    path : path
        The log, plain or compressed (.gz, .bz2, .xz).
    format : str, optional
        Name of a trace reader; found from the file's name without it.
    options : TraceOptions, optional
        How to read it.

    Raises
    ------
    InputError
        Unknown format, or a file that cannot be read as one.
    """
    known = format or (format_of(path) if Path(path).is_file() else "swf")  # what is no file is refused by any reader
    reader = _readers().get(known)
    return reader.read(path, options or TraceOptions())
