"""What became of the jobs of a batch system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import Allocation
from hpcsim.scheduling.policies import Reservation

__all__ = ["CANCELLED", "FAILED", "FINISHED", "QUEUED", "RUNNING", "STATUS", "Outcome"]

QUEUED, RUNNING, FINISHED, FAILED, CANCELLED = range(5)
STATUS = ("queued", "running", "finished", "failed", "cancelled")

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


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
        """Start less submission [s]; NaN for a job that never started."""
        return self.start_s - self.submit_s
