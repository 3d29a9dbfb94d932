"""Policies that watch the clock: flexible jobs wait for hours of low price or low carbon intensity, and jobs with deadlines go by them.

References: P. Wiesner et al., "Let's wait awhile: how temporal workload shifting can reduce carbon emissions in the cloud", Middleware 2021 (delaying
flexible work within a bound); C. L. Liu and J. W. Layland, 1973 (earliest deadline first). The plan of promises is conservative backfilling
(:mod:`hpcsim.scheduling.conservative`); what is new is that a flexible job is promised its cheapest place, not its earliest.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.hourly import Hourly
from hpcsim.scheduling.policies import Decision, Easy, QueueKey, Reservation, View, policies
from hpcsim.scheduling.priority import in_order
from hpcsim.scheduling.promises import Plans, conservative_in_room
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.timetable import Slot, Timetable

__all__ = ["EarliestDeadline", "Shift", "ShiftedTimetable"]

BAD_SIGNAL = problem_kind("shift-signal", "signal of the policy shift is {value!r}", "price or carbon")
BAD_BACKFILL = problem_kind("shift-backfill", "backfill of the policy shift is {value!r}", "conservative or easy")
BAD_SLACK = problem_kind("slack-value", "{name} of the policy {policy} is {value}; it must be {bound}", "")

Latest = Callable[[int], float]
"""Latest wanted start of a job [s]; at or before the present for one that is to start as soon as it can."""


def _never(job: int) -> float:
    return -math.inf


class ShiftedTimetable(Timetable):
    """A timetable that promises a flexible job the cheapest place that begins by its latest wanted start; any other, the earliest.

    Parameters
    ----------
    now_s, room
        As of :class:`~hpcsim.scheduling.timetable.Timetable`.
    hours : Hourly
        What a second costs.
    latest : callable
        Latest wanted start of a job.
    """

    def __init__(self, now_s: float, room: Room, hours: Hourly, latest: Latest) -> None:
        super().__init__(now_s, room)
        self.hours = hours
        self.latest = latest
        self.best: set[int] = set()
        """Jobs whose place is the cheapest that there is, whatever comes free."""

    def __deepcopy__(self, memo: object) -> ShiftedTimetable:
        other = super().__deepcopy__(memo)
        assert isinstance(other, ShiftedTimetable)
        other.hours, other.latest, other.best = self.hours, self.latest, set(self.best)
        return other

    def _mark(self, job: int, best: bool) -> None:
        if (job in self.best) == best:
            return
        if self._log is not None:
            self._log.append((ShiftedTimetable._mark, (job, not best)))
        (self.best.add if best else self.best.discard)(job)

    def promise(self, job: int) -> None:
        """Promise a flexible job its cheapest place, any other the earliest."""
        slot = self._cheapest(job)
        if slot is None:
            super().promise(job)
        else:
            self.put(job, slot)

    def drop(self, job: int) -> None:
        """Forget a job that waits no longer."""
        super().drop(job)
        self._mark(job, False)

    def due(self, now_s: float) -> list[int]:
        """Return the jobs whose time has come; where nodes are switched off, each on the nodes that wake the fewest now, not when it was promised."""
        jobs = super().due(now_s)
        if self.room.free.asleep is None:
            return jobs
        for job in jobs:
            slot = self.withdraw(job)
            stop = int(self.times.searchsorted(slot.end_s))
            place = self._place(job, int(self.room.kind[job]), now_s, self.slots[:stop])
            self.put(job, slot if place is None else slot._replace(place=place))
        return jobs

    def may_move(self, job: int, old: Slot, soonest_s: float) -> bool:
        """Return whether there may be a better place: for a flexible job a cheaper one."""
        if job in self.best:
            return False
        return self.latest(job) > self.times[0] if old.start_s > self.times[0] else super().may_move(job, old, soonest_s)

    def better(self, job: int, old: Slot) -> Slot | None:
        """Return a cheaper place for a flexible job, or one that is as cheap and earlier; an earlier one for any other."""
        if not self.latest(job) > self.times[0]:
            return super().better(job, old)
        new = self._cheapest(job)
        if new is None or new.start_s == old.start_s:
            return None
        if old.start_s == math.inf:
            return new
        estimate = float(self.room.estimate_s[job])
        starts = np.array([old.start_s, new.start_s])
        return new if int(self.hours.ranked(starts, estimate)[0]) == 1 else None

    def _cheapest(self, job: int) -> Slot | None:
        """Return the cheapest place that begins now or by the latest wanted start; None where there is none, or the job is not flexible."""
        now, latest = float(self.times[0]), self.latest(job)
        if not latest > now:
            return None
        estimate, kind = float(self.room.estimate_s[job]), int(self.room.kind[job])
        starts = np.unique(np.concatenate([self.times[self.times <= latest], self.hours.turns(now, latest, estimate)]))
        starts = starts[self.hours.ranked(starts, estimate)]
        ends = starts + estimate
        ends = np.where(ends > starts, ends, np.nextafter(starts, np.inf))
        first = self.times.searchsorted(starts, "right") - 1
        stop = self.times.searchsorted(ends)
        short = np.concatenate([[0], np.cumsum(~self._may(self.slots, self.room.demands[kind]))])
        for at in np.flatnonzero(short[stop] == short[first]).tolist():
            place = self._place(job, kind, float(starts[at]), self.slots[first[at] : stop[at]])
            if place is not None:
                if at == 0:
                    self._mark(job, True)
                return Slot(float(starts[at]), float(ends[at]), place)
        return None


class Held(NamedTuple):
    """What holding jobs back remembers: what the policy behind it does, and from when on each waiting job may start."""

    inner: Any
    release_s: Mapping[int, float]


@policies.register("shift")
@dataclass(frozen=True, kw_only=True)
class Shift:
    """Flexible jobs run in hours of low price or low carbon intensity, by estimates, within their bounds.

    A job is flexible whose deadline (of the job table) leaves it room, or, where it has none, if ``slack_s`` is given. Its bound is the latest start that
    keeps the deadline by its estimate, or submission plus slack.

    ``backfill=easy``: a flexible job is held back until the start that would be cheapest on an empty machine, and then joins the queue of
    EASY backfilling at its end: no one is held back past the bound, but waiting may follow. ``backfill=conservative``: every job is promised a place at
    arrival, a flexible one the cheapest that begins by its bound beside all that was promised before, any other the earliest. Promises are kept as by
    ``conservative``, so whoever was promised a start by its bound starts by it; where there is no such place, a flexible job gets the earliest.

    Parameters
    ----------
    signal : str
        ``price`` or ``carbon``: which hourly series of the site counts.
    slack_s : float [s]
        How long a job may be put off that has no deadline of its own, at least 0.
    backfill : str
        ``easy`` or ``conservative``.
    hours : Hourly, optional
        The series; the scenario or the replay supplies it. Without it nothing is shifted.
    """

    name = "shift"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    signal: str = "price"
    slack_s: float = 0.0
    backfill: str = "easy"
    hours: Hourly | None = None

    def __post_init__(self) -> None:
        if self.signal not in ("price", "carbon"):
            raise BAD_SIGNAL.error(path="options.signal", value=self.signal)
        if self.backfill not in ("conservative", "easy"):
            raise BAD_BACKFILL.error(path="options.backfill", value=self.backfill)
        if not 0 <= self.slack_s < math.inf:
            raise BAD_SLACK.error(
                path="options.slack_s", name="slack_s", policy=self.name, value=self.slack_s, bound="finite and at least 0"
            )

    @property
    def keeps_hours(self) -> bool:
        """Whether it keeps to a power budget that changes by the hour."""
        return self.backfill == "conservative"

    def decide(self, view: View, /) -> Decision:
        """Return the jobs whose time has come."""
        room = view.room
        assert room is not None
        if self.backfill == "easy":
            return self._held(view, room)
        latest = self._latest(view, room)
        memo = view.memo if isinstance(view.memo, Plans) else None
        if memo is not None and isinstance(memo.table, ShiftedTimetable):
            memo.table.latest = latest
        hours = self.hours or Hourly((1.0,))
        planned = conservative_in_room(view, room, memo, lambda now, at: ShiftedTimetable(now, at, hours, latest))
        promised = planned.plans.table.promised
        reservation = None
        if view.explain and promised:
            job, slot = next(iter(promised.items()))
            reservation = Reservation(job, slot.start_s, 0)
        return Decision(planned.start, reservation, planned.plans, planned.wake_s, planned.places)

    def _latest(self, view: View, room: Room) -> Latest:
        if self.hours is None:
            return _never
        submit, estimates, deadlines, fixed, slack = view.submit_s, view.estimate_s, room.deadline_s, room.fixed, self.slack_s

        def latest(job: int) -> float:
            if job in fixed:
                return -math.inf
            deadline = deadlines[job]
            return deadline - estimates[job] if deadline < math.inf else submit[job] + slack

        return latest

    def _held(self, view: View, room: Room) -> Decision:
        """Hold flexible jobs back until their hour, and let EASY decide about the others."""
        now, memo = view.now_s, view.memo if isinstance(view.memo, Held) else Held(None, {})
        latest, known = self._latest(view, room), memo.release_s
        release: dict[int, float] = {}
        fresh: list[int] = []
        for job in view.queue[view.head :]:
            time = known.get(job)
            if time is None:
                time = now
                if self.hours is not None and latest(job) > now:
                    time = self.hours.cheapest(now, latest(job), float(view.estimate_s[job]))
                if time <= now:
                    fresh.append(job)
            release[job] = time
        ready = sorted((job for job in release if release[job] <= now), key=lambda job: (release[job], job))
        wake = min((time for time in release.values() if time > now), default=math.inf)
        if not ready:
            return Decision((), None, Held(memo.inner, release), wake)
        seen = replace(
            view,
            queue=array("q", ready),
            head=0,
            arrived=fresh,
            only_arrivals=False,
            memo=None,
            room=replace(room, waiting=None),
        )
        inner = Decision(*Easy.decide(seen))
        return Decision(inner.start, inner.reservation, Held(None, release), min(wake, inner.wake_s), inner.places)


@policies.register("edf")
@dataclass(frozen=True, kw_only=True)
class EarliestDeadline:
    """Earliest deadline first with EASY backfilling: the job whose deadline is next is protected, others may pass where that does not delay it.

    Nobody is stopped (the policy ``deadline`` does that). A job that has no deadline of its own counts as due at its submission and ``slack``
    times its estimate.

    Parameters
    ----------
    slack : float
        How many times its own length a job without a deadline may take, above 0; infinite: such jobs come after all others, by submission.
    backfill : bool
        Later ones may pass.
    """

    name = "edf"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True

    slack: float = 4.0
    backfill: bool = True

    def __post_init__(self) -> None:
        if not self.slack > 0:
            raise BAD_SLACK.error(path="options.slack", name="slack", policy=self.name, value=self.slack, bound="above 0")

    def decide(self, view: View, /) -> Decision:
        """Return the jobs that start, by deadline."""
        room = view.room
        assert room is not None

        def due(job: int) -> tuple[float, float, int]:
            own = room.deadline_s[job]
            return (own if own < math.inf else view.submit_s[job] + self.slack * view.estimate_s[job], view.submit_s[job], job)

        return in_order(view, sorted(view.queue[view.head :], key=due), backfill=self.backfill)
