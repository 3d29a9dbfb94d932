"""What it costs a job to be stopped and to go on, or to change its size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.base.units import readable
from hpcsim.engine.outcome import Outcome, Stretch

__all__ = ["Headway", "Stopping", "Stops", "short_turn"]

SHORT_TURN = problem_kind(
    "turn-without-headway",
    "a turn of {turn} under the policy {policy!r} is too short for any headway: {why}",
    "longer turns ({option}), quicker checkpoints, or mode: suspend",
)
NO_END = problem_kind(
    "stops-without-headway",
    "the jobs come to no end under the policy {policy!r}: since {when} none has ended, and {stops:,} times in a row jobs were stopped before "
    "they kept any new work (it takes {save} to save and {restore} to go on{interval})",
    "longer turns, quicker or more frequent checkpoints, or mode: suspend",
)


def short_turn(stopping: Stopping, mode: str, policy: str, option: str, turn_s: float) -> Problem | None:
    """Return the problem of turns after which a job that is stopped and goes on is no further than before; None where it is."""
    if mode != "checkpoint" or math.isinf(turn_s):
        return None
    if stopping.notice:
        spent_s = stopping.save_s + stopping.restore_s
        if turn_s > spent_s:
            return None
        why = f"going on takes {readable(stopping.restore_s, 'time')} of it and saving {readable(stopping.save_s, 'time')}"
    else:
        if turn_s >= stopping.restore_s + stopping.interval_s:
            return None
        first, every = readable(stopping.restore_s, "time"), readable(stopping.interval_s, "time")
        why = f"going on takes {first} of it, and a checkpoint is written after {every} of work only"
    return SHORT_TURN(path=f"scheduler.options.{option}", turn=readable(turn_s, "time"), policy=policy, why=why, option=option)


@dataclasses.dataclass(frozen=True, slots=True)
class Stopping:
    """What it costs a job to be stopped and to go on.

    A checkpoint is written at the end of each ``interval_s`` of work, or, with ``notice``, when the job is told to stop. What was done since is lost.

    Attributes
    ----------
    save_s, restore_s : float [s]
        Time to write a checkpoint at notice, and to read one.
    interval_s : float [s]
        Work between checkpoints, for a job that is stopped without notice.
    resubmit_s : float [s]
        Time until a job that is requeued waits again.
    notice : bool
        Whether jobs are told before they are stopped.

    Examples
    --------
    With notice a stop costs the time to save and to restore; without it, half an interval on average, and the time to restore:

    >>> Stopping(save_s=120.0, restore_s=60.0).cost_s("checkpoint")
    180.0
    >>> Stopping(restore_s=60.0, interval_s=900.0, resubmit_s=30.0, notice=False).cost_s("checkpoint")
    540.0
    """

    save_s: float = 0.0
    restore_s: float = 0.0
    interval_s: float = 3600.0
    resubmit_s: float = 0.0
    notice: bool = True

    def kept_s(self, how: str, before_s: float, worked_s: float) -> float:
        """Return what a job keeps that had done ``before_s`` and worked for ``worked_s`` since: never more than it has done, nor less than it kept."""
        if how in ("suspend", "resize"):
            return before_s + worked_s
        if how == "requeue":
            return 0.0
        if self.notice:
            return before_s + max(0.0, worked_s - self.save_s)
        return max(before_s, (before_s + worked_s) // self.interval_s * self.interval_s)

    def restart_s(self, how: str) -> float:
        """Return how long a job works to be where it was when it goes on; one that changes its size saves first, on its new nodes."""
        if how == "resize":
            return self.save_s + self.restore_s
        return self.restore_s if how == "checkpoint" else 0.0

    def cost_s(self, how: str) -> float:
        """Return what a stop costs on average, beside the wait: work done twice, saving, restoring and, without notice, coming back."""
        if how != "checkpoint":
            return 0.0
        return self.save_s + self.restore_s if self.notice else self.restore_s + self.resubmit_s + self.interval_s / 2.0


MOST_FRUITLESS = 1000
"""So many stops in a row that keep nothing, or four a job, are a reason to look whether anything goes on."""


class Headway:
    """Watches that jobs which are stopped again and again get on."""

    __slots__ = ("_before", "_since_s", "_stops")

    def __init__(self) -> None:
        self._stops = 0
        self._before: tuple[int, int] = (-1, -1)
        self._since_s = 0.0

    def note(
        self, fruitless: bool, stopping: Stopping, policy: str, now_s: float, submit_s: Sequence[float], end_s: Sequence[float]
    ) -> None:
        """Note a stop, ``fruitless`` where the job kept nothing new; jobs by their submissions and ends (NaN while there is none).

        Raises
        ------
        InputError
            Between two looks no job came, none ended, and no stop found more work kept than the one before: it would go on for ever.
        """
        self._stops = self._stops + 1 if fruitless else 0
        if self._stops < max(MOST_FRUITLESS, 4 * len(submit_s)):
            return
        here = (sum(submit <= now_s for submit in submit_s), sum(end == end for end in end_s))
        if here == self._before:
            interval = "" if stopping.notice else f", with a checkpoint after {readable(stopping.interval_s, 'time')} of work"
            save, restore = readable(stopping.save_s, "time"), readable(stopping.restore_s, "time")
            since = readable(self._since_s, "time")
            raise NO_END.error(
                path="scheduler.stopping", policy=policy, when=since, stops=self._stops, save=save, restore=restore, interval=interval
            )
        self._before, self._since_s, self._stops = here, now_s, 0


class Stops:
    """The jobs that were stopped: when, what each of them keeps, and what it has left to do.

    Parameters
    ----------
    stopping : Stopping
        What it costs a job to be stopped.

    Attributes
    ----------
    stretches : list of Stretch
        The times on the machine that ended so, in order.
    first_s : dict of int to float [s]
        When a job that was stopped had started first.
    whole_s, overhead_s : dict of int to float [s]
        Its run time in all, and what it does when it goes on before it works.
    since_s, stood_s : dict of int to float [s]
        Since when a job stands that was stopped, and how long it stood in all before.
    """

    __slots__ = ("first_s", "overhead_s", "since_s", "stood_s", "stopping", "stretches", "whole_s")

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.stretches: list[Stretch] = []
        self.first_s: dict[int, float] = {}
        self.whole_s: dict[int, float] = {}
        self.overhead_s: dict[int, float] = {}
        self.since_s: dict[int, float] = {}
        self.stood_s: dict[int, float] = {}

    def note(
        self,
        job: int,
        how: str,
        *,
        start_s: float,
        now_s: float,
        rate: float,
        run_s: float,
        estimate_s: float,
        before_s: float,
        done_s: float | None,
    ) -> tuple[float, float, float]:
        """Note that a job was taken off, and return what it keeps, and its run time and estimate when it goes on [s].

        Parameters
        ----------
        job, how : int and str
            The job, and how it was stopped.
        start_s, now_s : float [s]
            When it had started, or gone on, and when it was stopped.
        rate : float
            Work that it does in a second.
        run_s, estimate_s : float [s]
            Its run time and estimate since ``start_s``, at that rate.
        before_s : float [s]
            What it had kept before.
        done_s : float or None [s]
            What of its run was done, for a job whose progress depends on others; all the time since ``start_s`` without it.
        """
        overhead = self.overhead_s.pop(job, 0.0)
        whole_run = self.whole_s.setdefault(job, run_s)
        left = max(0.0, start_s + estimate_s - max(now_s, start_s + overhead)) * rate
        worked = max(0.0, (now_s - start_s if done_s is None else done_s) - overhead) * rate
        kept = self.stopping.kept_s(how, before_s, worked)
        self.stretches.append(Stretch(job, start_s, now_s, how, kept, before_s + worked - kept))
        self.first_s.setdefault(job, start_s)
        self.since_s[job] = now_s
        again = self.overhead_s[job] = self.stopping.restart_s(how)
        return kept, whole_run - kept + again, left + (before_s + worked - kept) + again

    def resume(self, job: int, now_s: float) -> None:
        """Note that a job that was stopped, if it was, starts again."""
        since_s = self.since_s.pop(job, None)
        if since_s is not None:
            self.stood_s[job] = self.stood_s.get(job, 0.0) + (now_s - since_s)

    def told(self, done: Outcome, start_s: Sequence[float]) -> Outcome:
        """Return what became of every job, with what became of those that were stopped; by when each started last."""
        if not self.stretches:
            return done
        start, stood = done.start_s.copy(), np.zeros(len(done.start_s))
        for job, first in self.first_s.items():
            start[job], stood[job] = first, self.stood_s.get(job, 0.0)
        resumed = {job: start_s[job] for job in self.first_s}
        return dataclasses.replace(done, start_s=start, stopped_s=stood, stretches=tuple(self.stretches), resumed_s=resumed)
