"""A training run as a process: few events, one for each stretch of steps, failure and recovery."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Activity, Member
from hpcsim.engine.failures import Cause, Fault, Faults, SpareNodes, Tally, Watch

__all__ = ["Cycle", "TrainingRun"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Cycle:
    """Work with a checkpoint after every ``interval_s`` of it, none after the last.

    Attributes
    ----------
    interval_s : float
        Work between checkpoints [s]; infinite without checkpoints.
    write_s : float
        Time of one checkpoint, in which no step is made [s].
    lag_s : float
        Time for which it is then written beside the work before it is safe [s]; at most ``interval_s``.
    """

    interval_s: float
    write_s: float
    lag_s: float = 0.0

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


def _wake(sleeper: simpy.Event, value: bool) -> None:
    """Let a process go on, unless something else at this instant already has."""
    if not sleeper.triggered:
        sleeper.succeed(value)


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
    read_s : float
        Part of ``recovery_s`` in which the checkpoint is read [s].
    member : Member, optional
        Its loads ``steps``, ``checkpoint`` and ``recovery`` on a network that others use too.
    causes : tuple of Cause
        What fails, in place of ``failures_per_s`` and the spares' time of repair.
    watch : Watch, optional
        Alarms before failures.

    Notes
    -----
    Failures are exponential and strike work, checkpoints and recovery, not detection and the wait for a node; alarms come in work and checkpoints
    and save what was done, and the next checkpoint is an interval away, as in the closed form :func:`hpcsim.cost.reliability.exposed`. Work is counted in seconds undisturbed. While nobody is there whom it could meet a
    stretch of steps and checkpoints is one event; among others each checkpoint and each stretch between two of them is one.
    """

    name: str
    work_s: float
    cycle: Cycle
    recovery_s: float
    failures_per_s: float
    rng: np.random.Generator
    spares: SpareNodes
    draw_w: float
    read_s: float = 0.0
    member: Member | None = None
    causes: tuple[Cause, ...] = ()
    watch: Watch | None = None
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
    tallies: list[Tally] = field(init=False)
    """What each cause did, and last the false alarms."""
    _faults: Faults = field(init=False)
    _fault: Fault = field(init=False)
    _open: tuple[float, str] | None = None
    _unsaved_s: float = 0.0
    _safe_s: float = 0.0
    """Work that no failure takes away."""
    _pending: tuple[float, float] | None = None
    """When the last checkpoint will be safe, and the work in it; None where it is."""
    _written_s: float = 0.0
    _under_way: Activity | None = None

    def __post_init__(self) -> None:
        causes = self.causes or (Cause("node", self.failures_per_s, self.spares.repair_s),)
        self.tallies = [Tally() for _ in range(len(causes) + 1)]
        self._faults = Faults(causes, self.rng, self.watch)
        self._fault = Fault(math.inf, 0, False)

    def process(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Run on ``clock`` from now to the end."""
        self.start_s = clock.now
        if self.member is not None:
            self.member.join()
        while True:
            self._fault = self._faults.next()
            struck = yield from self._attempt(clock, self._fault.after_s)
            if not struck:
                break
            if self._fault.announced:
                yield from self._act(clock)
            else:
                yield from self._recover(clock)
        self.end_s = clock.now
        if self.member is not None:
            self.member.leave()

    def _attempt(self, clock: Clock, failure_s: float) -> Generator[simpy.Event, Any, bool]:
        """Work from the last save on until all is done or the fault comes that does so after ``failure_s``; return whether it came."""
        while True:
            if self.member is None or (self.member.alone and not self._unsaved_s):
                left_s = self.work_s - self.done_s
                need_s = self.cycle.duration_s(left_s)
                began = self._begin(clock.now, "alone")
                met = yield from self._sleep(clock, min(need_s, failure_s))
                if met:
                    failure_s -= self._pause(began, clock.now)
                elif failure_s >= need_s:
                    self.checkpoints += self.cycle.checkpoints(left_s)
                    self.done_s = self.work_s
                    self._credit(left_s, self.cycle.checkpoints(left_s) * self.cycle.write_s)
                    self._close(began, clock.now, left_s)
                    return False
                elif self._fault.announced:
                    self._pause(began, clock.now)
                    return True
                else:
                    self._lose(began, clock.now, failure_s)
                    return True
            else:
                began = clock.now
                failed = yield from self._among_others(clock, failure_s)
                failure_s -= clock.now - began
                if failed or self.done_s == self.work_s:
                    return failed

    def _among_others(self, clock: Clock, failure_s: float) -> Generator[simpy.Event, Any, bool]:
        """Go on to the end of the next checkpoint, or of the work, at the pace that others leave; return whether a node failed."""
        whole_s = self.work_s - self.done_s
        last = whole_s <= self.cycle.interval_s * (1 + _ROUNDING)
        goal_s = whole_s if last else self.cycle.interval_s
        if self._unsaved_s < goal_s and not self._written_s:
            began = self._begin(clock.now, "steps")
            did_s, failed = yield from self._do(clock, "steps", goal_s - self._unsaved_s, failure_s)
            self._unsaved_s += did_s
            self._close(began, clock.now, did_s)
            if failed:
                return self._fail(clock.now)
            failure_s -= clock.now - began
        if last:
            self.done_s, self._unsaved_s = self.work_s, 0.0
            return False
        began = self._begin(clock.now, "checkpoint")
        _, failed = yield from self._do(clock, "checkpoint", self.cycle.write_s - self._written_s, failure_s)
        self._close(began, clock.now, 0.0)
        if failed:
            return self._fail(clock.now)
        self.checkpoints += 1
        self.done_s += goal_s
        self._unsaved_s = self._written_s = 0.0
        self._saved(clock.now, goal_s)
        return False

    def _fail(self, now_s: float) -> bool:
        if not self._fault.announced:
            self._count()
            self._note_lost(self.done_s + self._unsaved_s - self._back(now_s))
            self._unsaved_s = self._written_s = 0.0
        return True

    def _saved(self, at_s: float, held_s: float) -> None:
        """Note that a checkpoint of all work done was taken at ``at_s``, ``held_s`` of work after the one before, which is safe by now."""
        lag_s = self.cycle.lag_s
        self._safe_s = self.done_s - held_s if lag_s > 0 else self.done_s
        self._pending = (at_s + lag_s, self.done_s) if lag_s > 0 else None

    def _back(self, now_s: float) -> float:
        """Go back to the last checkpoint that is safe at ``now_s`` and return the work in it [s]."""
        if self._pending is not None and self._pending[0] <= now_s:
            self._safe_s = self._pending[1]
        self._pending = None
        self.done_s = self._safe_s
        return self._safe_s

    def _count(self) -> None:
        self.failures += 1
        self.tallies[self._fault.cause].failures += 1

    def _note_lost(self, work_s: float) -> None:
        self.lost_s += work_s
        self.tallies[self._fault.cause].lost_s += work_s

    def _do(self, clock: Clock, activity: str, work_s: float, failure_s: float) -> Generator[simpy.Event, Any, tuple[float, bool]]:
        """Do some work on the network, unless a node fails after ``failure_s``; return what was done, undisturbed, and whether one failed."""
        assert self.member is not None
        woken = simpy.Event(clock)
        self._under_way = under_way = self.member.begin(activity, work_s, lambda: _wake(woken, False))
        fails = clock.at(clock.now + failure_s, lambda _: _wake(woken, True)) if failure_s < math.inf else None
        failed = yield woken
        self._under_way = None
        if failed:
            return work_s - self.member.network.end(under_way), True
        if fails is not None:
            fails.cancel()
        return work_s, False

    def _sleep(self, clock: Clock, time_s: float) -> Generator[simpy.Event, Any, bool]:
        """Wait, and return whether company came before the time was over."""
        sleep = clock.sleep(time_s)
        if self.member is not None:
            self.member.company = lambda: clock.wake(sleep)
        met: bool = yield sleep
        if self.member is not None:
            self.member.company = None
        return met

    def _begin(self, now_s: float, doing: str) -> float:
        self._open = (now_s, doing)
        return now_s

    def _close(self, began_s: float, now_s: float, working_s: float) -> None:
        self._open = None
        if now_s > began_s:
            self.stretches.append((began_s, now_s, self.draw_w * working_s / (now_s - began_s)))

    def _credit(self, work_s: float, write_s: float) -> None:
        if self.member is not None:
            self.member.credit("steps", work_s)
            self.member.credit("checkpoint", write_s)

    def _pause(self, began_s: float, now_s: float) -> float:
        """Take stock of a stretch alone that company ends, and return how long it was [s]."""
        elapsed_s = now_s - began_s
        checkpoints, saved_s, worked_s = self.cycle.interrupted(elapsed_s)
        written_s = elapsed_s - worked_s - checkpoints * self.cycle.write_s if checkpoints or self.cycle.interval_s < math.inf else 0.0
        self.checkpoints += checkpoints
        self.done_s += saved_s
        if checkpoints:
            self._saved(began_s + checkpoints * (self.cycle.interval_s + self.cycle.write_s), self.cycle.interval_s)
        self._unsaved_s = min(worked_s - saved_s, self.work_s - self.done_s)
        self._written_s = max(written_s, 0.0) if self._unsaved_s >= self.cycle.interval_s * (1 - _ROUNDING) else 0.0
        self._credit(worked_s, checkpoints * self.cycle.write_s + self._written_s)
        self._close(began_s, now_s, worked_s)
        return elapsed_s

    def _lose(self, began_s: float, now_s: float, elapsed_s: float) -> None:
        checkpoints, saved_s, worked_s = self.cycle.interrupted(elapsed_s)
        self._count()
        self.checkpoints += checkpoints
        self.done_s += saved_s
        if checkpoints:
            self._saved(began_s + checkpoints * (self.cycle.interval_s + self.cycle.write_s), self.cycle.interval_s)
        self._note_lost(self.done_s + worked_s - saved_s - self._back(now_s))
        self._credit(worked_s, max(elapsed_s - worked_s, 0.0))
        self._close(began_s, now_s, worked_s)

    def _swap(self, clock: Clock, begins_s: float) -> float:
        """Send the node of the fault to repair at ``begins_s`` and return the wait for another [s]; none where no node is lost."""
        cause = self._faults.causes[self._fault.cause]
        if cause.repair_s <= 0 and self.causes:
            return 0.0
        wait_s = self.spares.replace(begins_s, cause.repair_s)
        tally = self.tallies[self._fault.cause]
        tally.repair_s += self.spares.down[-1][2] - begins_s
        tally.wait_s += wait_s
        self.waited_s += wait_s
        if wait_s > 0:
            self.short.append((begins_s, begins_s + wait_s))
        return wait_s

    def _act(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Do what is done at an alarm: save the work so far; then the node fails, is replaced, or the alarm was false."""
        assert self.watch is not None
        began = self._begin(clock.now, "alarm")
        cause, act_s = self._fault.cause, self.watch.act_s
        if self.member is None or act_s <= 0:
            yield clock.timeout(act_s)
        else:
            yield from self._do(clock, "checkpoint", act_s, math.inf)
        self.done_s += self._unsaved_s
        self._unsaved_s = self._written_s = 0.0
        self._safe_s, self._pending = self.done_s, None
        self.tallies[cause].acts_s += clock.now - began
        if self.watch.migrates and cause >= 0:
            yield clock.timeout(self._swap(clock, clock.now))
        self._close(began, clock.now, 0.0)
        if cause < 0:
            self.tallies[cause].announced += 1
            return
        self.tallies[cause].announced += 1
        if self.watch.migrates:
            self._count()
        else:
            self._count()
            yield from self._recover(clock)

    def _recover(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        while True:
            began = self._begin(clock.now, "recovery")
            tally = self.tallies[self._fault.cause]
            unseen_s = 0.0 if self._fault.announced else self._faults.causes[self._fault.cause].detect_s
            tally.detection_s += unseen_s
            wait_s = unseen_s + self._swap(clock, clock.now + unseen_s)
            strikes = self._faults.next(alarms=False)
            failure_s = strikes.after_s
            if self.member is None:
                yield clock.timeout(wait_s + min(self.recovery_s, failure_s))
                failed = failure_s < self.recovery_s
            else:
                restart_s = self.recovery_s - self.read_s
                yield clock.timeout(wait_s + min(restart_s, failure_s))
                failed = failure_s < restart_s
                if not failed and self.read_s > 0:
                    _, failed = yield from self._do(clock, "recovery", self.read_s, failure_s - restart_s)
            self._close(began, clock.now, 0.0)
            tally.recovery_s += clock.now - began - wait_s
            if not failed:
                return
            self._fault = strikes
            self._count()

    def stop(self, now_s: float) -> None:
        """Close the books of a run that the horizon cut off."""
        if self._open is None:
            return
        began_s, doing = self._open
        worked_s = 0.0
        if doing == "alone":
            checkpoints, _, worked_s = self.cycle.interrupted(now_s - began_s)
            self.checkpoints += checkpoints
            self.done_s += worked_s
            self._credit(worked_s, max(now_s - began_s - worked_s, 0.0))
        else:
            if self._under_way is not None and self.member is not None:
                did_s = self._under_way.work_s - self.member.network.end(self._under_way)
                worked_s = did_s if doing == "steps" else 0.0
            self.done_s += self._unsaved_s + worked_s
        self._close(began_s, now_s, worked_s)
