"""A training run as a process: few events, one for each stretch of steps, failure and recovery."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from hpcsim.engine.failures import SpareNodes

__all__ = ["Cycle", "TrainingRun"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """Work with a checkpoint after every ``interval_s`` of it, none after the last.

    Attributes
    ----------
    interval_s : float
        Work between checkpoints [s]; infinite without checkpoints.
    write_s : float
        Time of one checkpoint, in which no step is made [s].
    """

    interval_s: float
    write_s: float

    def checkpoints(self, work_s: float) -> int:
        """Return the checkpoints written while ``work_s`` of work is done."""
        return 0 if math.isinf(self.interval_s) else max(math.ceil(work_s / self.interval_s) - 1, 0)

    def duration_s(self, work_s: float) -> float:
        """Return the time that ``work_s`` of work takes with its checkpoints, undisturbed [s]."""
        return work_s + self.checkpoints(work_s) * self.write_s

    def interrupted(self, elapsed_s: float) -> tuple[int, float, float]:
        """Return (checkpoints complete, work that they hold, work done) after ``elapsed_s`` of undisturbed running."""
        if math.isinf(self.interval_s):
            return 0, 0.0, elapsed_s
        whole = math.floor(elapsed_s / (self.interval_s + self.write_s))
        rest = min(elapsed_s - whole * (self.interval_s + self.write_s), self.interval_s)
        return whole, whole * self.interval_s, whole * self.interval_s + rest


@dataclass(slots=True)
class TrainingRun:
    """One run and what became of it.

    Parameters
    ----------
    name : str
    work_s : float
        Steps times step time [s].
    cycle : Cycle
    recovery_s : float
        Restart and reading of the checkpoint after a failure [s].
    failures_per_s : float
        Rate at which any of its nodes fails.
    rng : numpy Generator
        Draws the times between failures.
    spares : SpareNodes
    draw_w : float
        Power above idle while steps are made, all nodes together [W].

    Notes
    -----
    Failures are exponential and strike work, checkpoints and recovery, not the wait for a node, as in the closed form
    :func:`hpcsim.cost.reliability.expected_completion_s`.
    """

    name: str
    work_s: float
    cycle: Cycle
    recovery_s: float
    failures_per_s: float
    rng: np.random.Generator
    spares: SpareNodes
    draw_w: float
    start_s: float = math.nan
    end_s: float = math.nan
    done_s: float = 0.0
    lost_s: float = 0.0
    waited_s: float = 0.0
    failures: int = 0
    checkpoints: int = 0
    stretches: list[tuple[float, float, float]] = field(default_factory=list)
    """(start_s, end_s, mean draw_w), tiling start to end."""
    short: list[tuple[float, float]] = field(default_factory=list)
    """(start_s, end_s) of the waits for a node, in which it has one less."""
    _open: tuple[float, bool] | None = None

    def process(self, clock: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        """Run on ``clock`` from now to the end."""
        self.start_s = clock.now
        while True:
            left_s = self.work_s - self.done_s
            need_s = self.cycle.duration_s(left_s)
            failure_s = self._next_failure_s()
            began = self._begin(clock.now, working=True)
            if failure_s >= need_s:
                yield clock.timeout(need_s)
                self.checkpoints += self.cycle.checkpoints(left_s)
                self.done_s = self.work_s
                self._close(began, clock.now, left_s)
                self.end_s = clock.now
                return
            yield clock.timeout(failure_s)
            self._lose(began, clock.now, failure_s)
            yield from self._recover(clock)

    def _next_failure_s(self) -> float:
        return float(self.rng.exponential(1.0 / self.failures_per_s)) if self.failures_per_s > 0 else math.inf

    def _begin(self, now_s: float, *, working: bool) -> float:
        self._open = (now_s, working)
        return now_s

    def _close(self, began_s: float, now_s: float, working_s: float) -> None:
        self._open = None
        if now_s > began_s:
            self.stretches.append((began_s, now_s, self.draw_w * working_s / (now_s - began_s)))

    def _lose(self, began_s: float, now_s: float, elapsed_s: float) -> None:
        checkpoints, saved_s, worked_s = self.cycle.interrupted(elapsed_s)
        self.failures += 1
        self.checkpoints += checkpoints
        self.done_s += saved_s
        self.lost_s += worked_s - saved_s
        self._close(began_s, now_s, worked_s)

    def _recover(self, clock: simpy.Environment) -> Generator[simpy.Event, Any, None]:
        while True:
            began = self._begin(clock.now, working=False)
            wait_s = self.spares.replace(clock.now)
            self.waited_s += wait_s
            if wait_s > 0:
                self.short.append((clock.now, clock.now + wait_s))
            failure_s = self._next_failure_s()
            yield clock.timeout(wait_s + min(self.recovery_s, failure_s))
            self._close(began, clock.now, 0.0)
            if failure_s >= self.recovery_s:
                return
            self.failures += 1

    def stop(self, now_s: float) -> None:
        """Close the books of a run that the horizon cut off."""
        if self._open is None:
            return
        began_s, working = self._open
        if working:
            checkpoints, _, worked_s = self.cycle.interrupted(now_s - began_s)
            self.checkpoints += checkpoints
            self.done_s += worked_s
            self._close(began_s, now_s, worked_s)
        else:
            self._close(began_s, now_s, 0.0)
