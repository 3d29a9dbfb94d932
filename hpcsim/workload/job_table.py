"""Batch jobs as arrays: the job table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.speedup import SpeedLaw

__all__ = ["Bools", "Floats", "Integers", "JobTable", "dependency_circles"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COLUMN_LENGTH = problem_kind("job-column-length", "{name} has {got} values, but there are {want} jobs", "give one value per job")
COLUMN_TYPE = problem_kind("job-column-type", "{name} is not an array of numbers", "give one number per job")
COLUMN_VALUE = problem_kind("job-column-value", "{name} of job {job} is {value}; it must be {bound}", "drop or mend the job")
UNKNOWN_LABELS = problem_kind("job-labels", "{name} has labels, but it is no column of numbers that name something", "known: {known}")
JOB_ID_TWICE = problem_kind("job-id-twice", "the job number {job} is given twice", "give every job a number of its own")
BAD_FACTOR = problem_kind("job-scale-factor", "{name} is {value!r}, but a factor above 0 is needed", "1 changes nothing")


_LARGEST = 2**53
"""Beyond it, float64 does not hold every whole number: times of a simulation stay below."""

_MOST = 2.0**80
"""More bytes or accelerators than that are taken for damage."""

_INTEGER_COLUMNS = ("job_id", "processors", "user", "group", "queue")
_FLOAT_COLUMNS = ("submit_s", "run_s", "estimate_s")
_OPTIONAL: Mapping[str, tuple[type[Any], Any]] = {
    "nodes": (np.int64, -1),
    "gpus": (np.float64, 0.0),
    "memory_bytes": (np.float64, 0.0),
    "qos": (np.int64, -1),
    "constraint": (np.int64, -1),
    "exclusive": (np.bool_, False),
    "after": (np.int64, -1),
    "priority": (np.float64, 0.0),
    "due_s": (np.float64, np.inf),
    "licences": (np.int64, -1),
    "buffer_bytes": (np.float64, 0.0),
    "data": (np.int64, -1),
    "data_bytes": (np.float64, 0.0),
    "least": (np.int64, -1),
    "most": (np.int64, -1),
    "law": (np.int64, -1),
}
"""Columns that a table need not have: their type, and what a job has where the column is missing."""
_NUMBERED = ("user", "group", "queue", "qos", "constraint", "licences", "data")
"""Columns whose numbers may have labels."""


def _column(name: str, values: Any, count: int) -> npt.NDArray[Any]:
    try:
        array = np.array(values)
    except (TypeError, ValueError, OverflowError):
        raise COLUMN_TYPE.error(path=name, name=name) from None
    kind = _OPTIONAL[name][0] if name in _OPTIONAL else np.float64 if name in _FLOAT_COLUMNS else np.int64
    if array.size and array.dtype.kind not in ("b" if kind is np.bool_ else "iuf"):
        raise COLUMN_TYPE.error(path=name, name=name)
    if array.ndim != 1 or len(array) != count:
        raise COLUMN_LENGTH.error(path=name, name=name, got=array.size, want=count)
    if kind is not np.int64:
        return array.astype(kind)
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
    nodes : int64 array or None
        Nodes that the job asks for; -1 not stated. This and what follows is None where no job has it; :meth:`filled` gives the column.
    gpus : float64 array or None
        Accelerators of the whole job, at least 0; parts of one are shares of a device.
    memory_bytes : float64 array or None [bytes]
        Memory of the whole job; 0 unknown.
    qos, constraint : int64 array or None
        Numbers of the quality of service and of the features that its nodes must have; -1 none.
    exclusive : bool array or None
        Whether the job shares its nodes with no other.
    after : int64 array or None
        Number of the job whose end it waits for; -1 none. One that is not in the table counts as ended.
    priority : float64 array or None
        What the site or the user adds to its priority.
    due_s : float64 array or None [s]
        Time after its submission by which it should have ended; infinite for none.
    licences : int64 array or None
        Number of the licences that it takes, whose label lists them (``matlab:2,ansys``); -1 none.
    buffer_bytes : float64 array or None [bytes]
        Burst buffer that it takes while it runs.
    data, data_bytes : int64 and float64 array or None
        Number of the data set that it reads, -1 none, and its size [bytes].
    least, most : int64 array or None
        Fewest and most processors on which a job may run that can change its size; -1 for one that cannot.
    law : int64 array or None
        Index into ``laws``: how fast it is on how many; -1 for a job that cannot change its size. Its times are those on ``processors``.
    laws : tuple of SpeedLaw
        Laws of speed, see :mod:`hpcsim.cost.speedup`.
    labels : mapping of str to tuple of str
        Names behind the numbers of ``user``, ``group``, ``queue``, ``qos``, ``constraint``, ``licences`` and ``data``: number i has the i-th.
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
    nodes: Integers | None = None
    gpus: Floats | None = None
    memory_bytes: Floats | None = None
    qos: Integers | None = None
    constraint: Integers | None = None
    exclusive: Bools | None = None
    after: Integers | None = None
    priority: Floats | None = None
    due_s: Floats | None = None
    licences: Integers | None = None
    buffer_bytes: Floats | None = None
    data: Integers | None = None
    data_bytes: Floats | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    least: Integers | None = None
    most: Integers | None = None
    law: Integers | None = None
    laws: tuple[SpeedLaw, ...] = ()

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.job_id))
        optional = [name for name in _OPTIONAL if getattr(self, name) is not None]
        for name in (*_INTEGER_COLUMNS, *_FLOAT_COLUMNS, *optional):
            array = _column(name, getattr(self, name), count)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.names is not None and len(self.names) != count:
            raise COLUMN_LENGTH.error(path="names", name="names", got=len(self.names), want=count)
        for name in _FLOAT_COLUMNS:
            values = getattr(self, name)
            _first_bad(name, self.job_id, values, ~((values >= 0) & (values <= _LARGEST)), "a finite time, at least 0 s")
        _first_bad("processors", self.job_id, self.processors, self.processors < 1, "at least 1")
        self._check_optional(optional)
        unique, counts = np.unique(self.job_id, return_counts=True)
        if len(unique) != count:
            raise JOB_ID_TWICE.error(path="job_id", job=int(unique[counts > 1][0]))

    def _check_optional(self, names: Iterable[str]) -> None:
        for name in names:
            values = getattr(self, name)
            if name == "nodes":
                _first_bad(name, self.job_id, values, (values < 1) & (values != -1), "at least 1, or -1 where it is not stated")
            elif name in ("gpus", "memory_bytes", "buffer_bytes", "data_bytes"):
                _first_bad(name, self.job_id, values, ~((values >= 0) & (values <= _MOST)), "finite and at least 0")
            elif name == "priority":
                _first_bad(name, self.job_id, values, ~np.isfinite(values), "finite")
            elif name == "due_s":
                _first_bad(name, self.job_id, values, ~(values >= 0), "at least 0 s, or infinite for none")
            elif name == "law":
                _first_bad(
                    name, self.job_id, values, (values < -1) | (values >= len(self.laws)), f"the number of one of {len(self.laws)} laws"
                )
                for end in ("least", "most"):
                    sizes = self.filled(end)
                    _first_bad(end, self.job_id, sizes, (values >= 0) & (sizes < 1), "at least 1 for a job that changes its size")
                _first_bad("most", self.job_id, self.filled("most"), self.filled("most") < self.filled("least"), "at least the fewest")
            elif name == "after":
                _first_bad(name, self.job_id, values, values == self.job_id, "the number of another job")
        for name, labels in self.labels.items():
            if name not in _NUMBERED:
                raise UNKNOWN_LABELS.error(path=f"labels.{name}", name=name, known=", ".join(_NUMBERED))
            values = getattr(self, name)
            if values is not None:
                _first_bad(name, self.job_id, values, values >= len(labels), f"below {len(labels)}, the number of labels")

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
        nodes: npt.ArrayLike | None = None,
        gpus: npt.ArrayLike | None = None,
        memory_bytes: npt.ArrayLike | None = None,
        qos: npt.ArrayLike | None = None,
        constraint: npt.ArrayLike | None = None,
        exclusive: npt.ArrayLike | None = None,
        after: npt.ArrayLike | None = None,
        priority: npt.ArrayLike | None = None,
        due_s: npt.ArrayLike | None = None,
        licences: npt.ArrayLike | None = None,
        buffer_bytes: npt.ArrayLike | None = None,
        data: npt.ArrayLike | None = None,
        data_bytes: npt.ArrayLike | None = None,
        labels: Mapping[str, Sequence[str]] | None = None,
        least: npt.ArrayLike | None = None,
        most: npt.ArrayLike | None = None,
        law: npt.ArrayLike | None = None,
        laws: Sequence[SpeedLaw] = (),
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
        nodes, gpus, memory_bytes, qos, constraint, exclusive, after, priority, due_s, licences, buffer_bytes, data, data_bytes : array-like, shape (jobs,), optional
            What else a job asks for or has: see the attributes.
        labels : mapping of str to sequence of str, optional
            Names behind the numbers of a column.
        least, most, law : array-like of int, shape (jobs,), optional
            Of jobs that may change their size: see the attributes.
        laws : sequence of SpeedLaw
            Laws of speed.

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
            nodes=nodes,  # type: ignore[arg-type]
            gpus=gpus,  # type: ignore[arg-type]
            memory_bytes=memory_bytes,  # type: ignore[arg-type]
            qos=qos,  # type: ignore[arg-type]
            constraint=constraint,  # type: ignore[arg-type]
            exclusive=exclusive,  # type: ignore[arg-type]
            after=after,  # type: ignore[arg-type]
            priority=priority,  # type: ignore[arg-type]
            due_s=due_s,  # type: ignore[arg-type]
            licences=licences,  # type: ignore[arg-type]
            buffer_bytes=buffer_bytes,  # type: ignore[arg-type]
            data=data,  # type: ignore[arg-type]
            data_bytes=data_bytes,  # type: ignore[arg-type]
            labels={name: tuple(given) for name, given in (labels or {}).items()},
            least=least,  # type: ignore[arg-type]
            most=most,  # type: ignore[arg-type]
            law=law,  # type: ignore[arg-type]
            laws=tuple(laws),
        )

    def filled(self, name: str) -> npt.NDArray[Any]:
        """Return an optional column, shape (jobs,): its own, or what every job has where the table has no such column.

        Examples
        --------
        >>> JobTable.of([0, 0], [10, 20], [1, 2]).filled("nodes").tolist()
        [-1, -1]
        """
        values: npt.NDArray[Any] | None = getattr(self, name)
        if values is not None:
            return values
        kind, missing = _OPTIONAL[name]
        return np.full(len(self), missing, dtype=kind)

    def label(self, name: str, number: int) -> str:
        """Return the name behind a number of ``user``, ``group``, ``queue``, ``qos`` or ``constraint``; without one, the number; "" below 0."""
        if number < 0:
            return ""
        known = self.labels.get(name)
        return known[number] if known else str(number)

    def __len__(self) -> int:
        return len(self.job_id)

    def subset(self, rows: npt.ArrayLike) -> JobTable:
        """Return the jobs at ``rows``: a boolean mask, or indices, whose order the result has."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        present = (*_INTEGER_COLUMNS, *_FLOAT_COLUMNS, *(name for name in _OPTIONAL if getattr(self, name) is not None))
        columns = {name: getattr(self, name)[index] for name in present}
        names = None if self.names is None else tuple(self.names[i] for i in index.tolist())
        return JobTable(**columns, names=names, labels=self.labels, laws=self.laws)

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
            Multiplies the size, rounded to the nearest whole number and at least 1; nodes likewise, and accelerators and memory in proportion.
        """
        for name, value in (("time", time), ("arrivals", arrivals), ("processors", processors)):
            if not (np.isfinite(value) and value > 0):
                raise BAD_FACTOR.error(path=name, name=name, value=value)
        first = self.submit_s.min(initial=np.inf) if len(self) else 0.0
        more: dict[str, Any] = {}
        if processors != 1.0:
            more = {name: values * processors for name in ("gpus", "memory_bytes") if (values := getattr(self, name)) is not None}
            if self.nodes is not None:
                more["nodes"] = np.where(self.nodes < 0, -1, np.maximum(1, np.rint(self.nodes * processors))).astype(np.int64)
            for name in ("least", "most"):
                if (sizes := getattr(self, name)) is not None:
                    more[name] = np.where(sizes < 0, -1, np.maximum(1, np.rint(sizes * processors))).astype(np.int64)
        if self.due_s is not None:
            more["due_s"] = self.due_s * time
        return dataclasses.replace(
            self,
            submit_s=(first + (self.submit_s - first) * arrivals) * time,
            run_s=self.run_s * time,
            estimate_s=self.estimate_s * time,
            processors=np.maximum(1, np.rint(self.processors * processors)).astype(np.int64),
            **more,
        )

    def with_estimates(self, estimate_s: npt.ArrayLike) -> JobTable:
        """Return the same jobs with other estimates, shape (jobs,) [s]."""
        return dataclasses.replace(self, estimate_s=estimate_s)  # type: ignore[arg-type]


def dependency_circles(jobs: JobTable) -> Bools:
    """Return which jobs can never start, since they wait, directly or through others, for a job that waits for itself; shape (jobs,).

    Examples
    --------
    Jobs 1 and 2 wait for each other, and 3 for 2:

    >>> dependency_circles(JobTable.of([0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], after=[2, 1, 2, -1])).tolist()
    [True, True, True, False]
    """
    if jobs.after is None or not len(jobs):
        return np.zeros(len(jobs), dtype=np.bool_)
    order = np.argsort(jobs.job_id, kind="stable")
    at = np.minimum(np.searchsorted(jobs.job_id, jobs.after, sorter=order), len(jobs) - 1)
    before = np.where(jobs.job_id[order[at]] == jobs.after, order[at], -1)
    step = 1
    while step <= len(jobs):  # double the reach each time: after it, `before` is the ancestor 2^k back, -1 past the first
        before = np.where(before >= 0, before[before], -1)
        step *= 2
    return np.asarray(before >= 0)
