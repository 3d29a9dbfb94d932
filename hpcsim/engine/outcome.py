"""What became of the jobs of a batch system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import Allocation
from hpcsim.scheduling.policies import Reservation

__all__ = ["CANCELLED", "FAILED", "FINISHED", "QUEUED", "RUNNING", "STATUS", "Outcome", "Stretch"]

QUEUED, RUNNING, FINISHED, FAILED, CANCELLED = range(5)
STATUS = ("queued", "running", "finished", "failed", "cancelled")

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Stretch(NamedTuple):
    """A time on the machine that ended when the job was stopped, or changed its size.

    Attributes
    ----------
    job : int
        The job.
    start_s, end_s : float [s]
        From when until when.
    how : str
        How it was stopped; ``resize`` where it went on at once at another size.
    kept_s : float [s]
        What it has done, in all, and keeps.
    lost_s : float [s]
        What it did and must do again, and what stopping cost.
    processors : int
        Processors that it held; 0 for as many as it asked for.
    """

    job: int
    start_s: float
    end_s: float
    how: str
    kept_s: float
    lost_s: float
    processors: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Outcome:
    """Start and end of every job, and the state of the pool.

    Attributes
    ----------
    now_s : float [s]
        Time at which the simulation stands.
    processors : int64 array, shape (jobs,)
        Processors of each job.
    submit_s, start_s, end_s : float64 array, shape (jobs,) [s]
        NaN where it has not happened. A cancelled job has an end and no start.
    state : int8 array, shape (jobs,)
        Index into :data:`STATUS`.
    size : int
        Processors of the pool, in service or not.
    down_changes : tuple of (time_s, processors)
        Processors out of service from each time on.
    reservations : tuple of (time_s, Reservation)
        Every reservation made, where that was asked for.
    names : mapping of int to str
        Names of the jobs that processes drove.
    places : mapping of int to Allocation
        On a machine of nodes, where each job that has started is, or was last.
    stopped_s : float64 array, shape (jobs,) or None [s]
        Time that each job stood still between its start and its end; None where no job was ever stopped.
    stretches : tuple of Stretch
        The times on the machine of the jobs that were stopped, all but the last of each.
    resumed_s : mapping of int to float [s]
        When each of those jobs started last.
    last_processors : mapping of int to int
        Processors that a job held last, where it did not have as many as it asked for.
    """

    now_s: float
    processors: Integers
    submit_s: Floats
    start_s: Floats
    end_s: Floats
    state: npt.NDArray[np.int8]
    size: int
    down_changes: tuple[tuple[float, int], ...] = ()
    reservations: tuple[tuple[float, Reservation], ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    places: Mapping[int, Allocation] = field(default_factory=dict)
    stopped_s: Floats | None = None
    stretches: tuple[Stretch, ...] = ()
    resumed_s: Mapping[int, float] = field(default_factory=dict)
    last_processors: Mapping[int, int] = field(default_factory=dict)

    @property
    def status(self) -> npt.NDArray[np.str_]:
        """Status of each job in words."""
        return np.array(STATUS)[self.state]

    @property
    def submitted(self) -> npt.NDArray[np.bool_]:
        """Whether each job had been submitted by ``now_s``."""
        return self.submit_s <= self.now_s

    @property
    def wait_s(self) -> Floats:
        """Start less submission, and the time that a job stood still since [s]; NaN for a job that never started."""
        wait = self.start_s - self.submit_s
        return wait if self.stopped_s is None else wait + self.stopped_s

    @property
    def run_s(self) -> Floats:
        """Time on the machine [s]; NaN for a job that has not ended."""
        run = self.end_s - self.start_s
        return run if self.stopped_s is None else run - self.stopped_s

    @property
    def stays(self) -> tuple[Floats, Floats, Floats, Integers]:
        """When each wait began, when it ended in a start, when that time on the machine ended [s], and the processors held.

        A job has one of each, and one more for each time that it was stopped.
        """
        _, waited, started, ended, held = self.pieces
        return waited, started, ended, held

    @property
    def pieces(self) -> tuple[Integers, Floats, Floats, Floats, Integers]:
        """The job of each of :attr:`stays`, and :attr:`stays`."""
        jobs, last_held = np.arange(len(self.submit_s)), self.processors
        if self.last_processors:
            last_held = last_held.copy()
            last_held[list(self.last_processors)] = list(self.last_processors.values())
        if not self.stretches:
            return jobs, self.submit_s, self.start_s, self.end_s, last_held
        begin = self.submit_s.copy()
        rows: list[tuple[float, float, float, float, int]] = []
        for stretch in self.stretches:
            held = stretch.processors or int(self.processors[stretch.job])
            rows.append((stretch.job, begin[stretch.job], stretch.start_s, stretch.end_s, held))
            begin[stretch.job] = stretch.end_s
        start = self.start_s.copy()
        for job, time in self.resumed_s.items():
            start[job] = time
        gone = begin == self.end_s  # ended for good when it was stopped
        last = np.array([jobs, begin, start, self.end_s, last_held]).T[~gone]
        job_of, waited, started, ended, processors = np.concatenate([last, np.array(rows)]).T
        return job_of.astype(np.int64), waited, started, ended, processors.astype(np.int64)

    @property
    def processor_s(self) -> Floats:
        """Processor-seconds that each job held [processor-s]; NaN for one that has not ended."""
        if not self.stretches and not self.last_processors:
            return self.run_s * self.processors
        jobs, _, start, end, held = self.pieces
        held_s: Floats = np.bincount(jobs, weights=(end - start) * held, minlength=len(self.submit_s)).astype(np.float64)
        return held_s

    @property
    def busy(self) -> tuple[Floats, Floats, Integers]:
        """Start and end of every time on the machine, and the processors held."""
        return self.stays[1:]
