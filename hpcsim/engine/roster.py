"""What a batch system knows of each job, and what has become of it: one list per property, by number of the job.

A job of a trace and one that another part of the engine drives stand in the same lists; NaN is what is not known yet.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import simpy

from hpcsim.engine.clock import Clock
from hpcsim.engine.outcome import FINISHED, QUEUED, RUNNING, Outcome
from hpcsim.scheduling.policies import Reservation
from hpcsim.workload.jobs import JobTable

__all__ = ["Roster", "Ticket"]


class Ticket(simpy.Event):
    """A place in the queue of a job that a process drives; it succeeds, with itself as value, when the job starts."""

    def __init__(self, clock: Clock, job: int) -> None:
        super().__init__(clock)
        self.job = job


class Roster:
    """The jobs of a pool of processors, in the order in which they were made known.

    Parameters
    ----------
    clock : Clock
        The clock that the pool lives on.
    size : int
        Processors of the pool.
    """

    __slots__ = (
        "_account", "_end", "_estimate", "_fate", "_names", "_partition", "_processors", "_qos", "_run", "_start", "_stop", "_submit", "_tables", "_tickets", "_user",
        "clock", "down_changes", "reservations", "size",
    )  # fmt: skip

    def __init__(self, clock: Clock, size: int) -> None:
        self.clock = clock
        self.size = size
        self.down_changes: list[tuple[float, int]] = []
        """(time, processors out of service from then on)."""
        self.reservations: list[tuple[float, Reservation]] = []
        self._submit: list[float] = []
        self._run: list[float] = []
        self._estimate: list[float] = []
        self._processors: list[int] = []
        self._user: list[int] = []
        self._account: list[int] = []
        self._partition: list[int] = []
        self._qos: list[int] = []
        self._start: list[float] = []
        self._end: list[float] = []
        self._fate: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._tickets: dict[int, Ticket] = {}
        self._stop: list[int] = []
        self._tables: list[JobTable] = []

    def _enter(self, jobs: JobTable, processors: list[Any]) -> range:
        """Enter the jobs of a table, which hold these processors, and return their numbers."""
        first, count = len(self._submit), len(jobs)
        if jobs.qos is not None and not self._qos:
            self._qos += [-1] * first
        if jobs.qos is not None or self._qos:
            self._qos += jobs.filled("qos").tolist()
        self._submit += jobs.submit_s.tolist()
        self._run += jobs.run_s.tolist()
        self._estimate += jobs.estimate_s.tolist()
        self._processors += processors
        self._user += jobs.user.tolist()
        self._account += jobs.group.tolist()
        self._partition += jobs.queue.tolist()
        self._start += [math.nan] * count
        self._end += [math.nan] * count
        self._stop.append(first + count)
        self._tables.append(jobs)
        return range(first, first + count)

    def _enter_one(self, processors: Any, estimate_s: float, name: str) -> Ticket:
        """Enter a job that is submitted now and that a process drives, and return its ticket."""
        job = len(self._submit)
        self._submit.append(self.clock.now)
        self._run.append(math.nan)
        self._estimate.append(float(estimate_s))
        self._processors.append(processors)
        for column in (self._user, self._account, self._partition, *([self._qos] if self._qos else ())):
            column.append(-1)
        self._start.append(math.nan)
        self._end.append(math.nan)
        self._names[job] = name
        ticket = self._tickets[job] = Ticket(self.clock, job)
        return ticket

    def _runs(self, job: int) -> bool:
        return self._start[job] == self._start[job] and self._end[job] != self._end[job]

    def running(self) -> list[int]:
        """Return the numbers of the running jobs, by start."""
        jobs = [job for job in range(len(self._start)) if self._runs(job)]
        return sorted(jobs, key=lambda job: self._start[job])

    def processors_of(self, job: int) -> int:
        """Return the processors that a job asks for."""
        return self._processors[job]

    def unfinished(self, jobs: range) -> bool:
        """Return whether any of ``jobs`` has not ended yet."""
        return any(end != end for end in self._end[jobs.start : jobs.stop])

    def outcome(self) -> Outcome:
        """Return what became of every job up to now."""
        start, end = np.array(self._start, dtype=np.float64), np.array(self._end, dtype=np.float64)
        state = np.where(np.isnan(start), QUEUED, np.where(np.isnan(end), RUNNING, FINISHED)).astype(np.int8)
        for job, fate in self._fate.items():
            state[job] = fate
        table = self._tables[0] if [len(table) for table in self._tables] == [len(start)] else None
        return Outcome(
            now_s=float(self.clock.now),
            processors=np.array(self._processors, dtype=np.int64) if table is None else table.processors,
            submit_s=np.array(self._submit, dtype=np.float64) if table is None else table.submit_s,
            start_s=start,
            end_s=end,
            state=state,
            size=self.size,
            down_changes=tuple(self.down_changes),
            reservations=tuple(self.reservations),
            names=dict(self._names),
        )
