"""Conservative backfilling: every job is promised a start when it arrives, and no promise is ever put off.

References: D. G. Feitelson and A. M. Weil, "Utilization and predictability in scheduling the IBM SP2 with backfilling", IPPS 1998;
A. W. Mu'alem and D. G. Feitelson, "Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with
backfilling", TPDS 2001 (compression).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hpcsim.scheduling.book import Booked, decide_by_book
from hpcsim.scheduling.policies import Decision, QueueKey, Reservation, View, policies
from hpcsim.scheduling.promises import Plans, conservative_in_room
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.timetable import planned_end_s
from hpcsim.scheduling.waiting import Waiting

__all__ = ["Conservative", "Plan", "Profile"]


class Plan(NamedTuple):
    """What has been promised.

    Attributes
    ----------
    start_s : mapping of int to float [s]
        Promised start of every waiting job, in queue order; infinite where the machine, as it was, cannot hold it.
    first_s : float [s]
        The earliest of them.
    capacity : int
        Processors that were in service.
    settled : bool
        No job can be moved forward, all others in place, unless room comes that was not foreseen.
    """

    start_s: Mapping[int, float]
    first_s: float
    capacity: int
    settled: bool = True


class Profile:
    """Processors that are free from each time on, as far as is planned: a step function.

    Parameters
    ----------
    now_s : float [s]
        Where it begins.
    free : int
        Processors that are free now.
    changes : iterable of (time_s, processors)
        Processors that come free (below 0: are taken) at each time, in any order; a time before ``now_s`` counts as now. Equal times
        are one step, so that what comes free and what is taken at one instant balance.

    Examples
    --------
    Four of ten processors are free, six more at 10 s: eight fit at 10 s, three for 5 s at once.

    >>> profile = Profile(0.0, 4, [(10.0, 6)])
    >>> profile.earliest(8, 20.0), profile.earliest(3, 5.0)
    (10.0, 0.0)
    >>> profile.take(10.0, 30.0, 8)
    >>> profile.earliest(3, 11.0), profile.earliest(3, 10.0), profile.earliest(11, 1.0)
    (30.0, 0.0, inf)
    """

    __slots__ = ("free", "times_s")

    def __init__(self, now_s: float, free: int, changes: Iterable[tuple[float, int]]) -> None:
        self.times_s = times = [now_s]
        self.free = steps = [free]
        last = now_s
        for time, processors in sorted(changes):
            free += processors
            if time > last:
                times.append(time)
                steps.append(free)
                last = time
            else:
                steps[-1] = free

    def earliest(self, processors: int, estimate_s: float, before_s: float = math.inf) -> float:
        """Return the earliest time from which ``processors`` are free for ``estimate_s``, or until ``before_s``.

        Parameters
        ----------
        processors, estimate_s : int, float [s]
            What is asked for.
        before_s : float [s]
            Nothing later is of interest: what holds ``processors`` from then on is the job itself, in the place that it has now. It is
            returned where there is nothing earlier.
        """
        begin = stop = math.nan  # no hole is open
        for time, free in zip(self.times_s, self.free):
            if time >= before_s:
                break
            if time >= stop:
                return begin
            if free < processors:
                begin = stop = math.nan
            elif begin != begin:
                begin, stop = time, planned_end_s(time, estimate_s)
        return before_s if begin != begin else begin

    def take(self, begin_s: float, end_s: float, processors: int) -> None:
        """Take processors out from ``begin_s`` to ``end_s``, where neither lies before now; below 0 gives them back."""
        steps = self.free
        first, last = self._step(begin_s), self._step(end_s)
        for at in range(first, last):
            steps[at] -= processors

    def _step(self, time_s: float) -> int:
        """Return the index of the step that begins at ``time_s``, which is made where there is none."""
        times = self.times_s
        at = bisect_left(times, time_s)
        if at == len(times) or times[at] != time_s:
            times.insert(at, time_s)
            self.free.insert(at, self.free[at - 1])
        return at

    def at(self, time_s: float) -> int:
        """Return the processors that are free at ``time_s``, now or later."""
        at = bisect_left(self.times_s, time_s)
        return self.free[at] if at < len(self.times_s) and self.times_s[at] == time_s else self.free[at - 1]


def _profile(view: View, promised: Mapping[int, float]) -> Profile:
    """Return what the running jobs and the promises leave free, by estimates."""
    estimates, processors = view.estimate_s, view.processors
    changes = list(zip(view.running_end_s, view.running_processors, strict=True))
    for job, start in promised.items():
        if start < math.inf:
            size = processors[job]
            changes.append((start, -size))
            changes.append((planned_end_s(start, estimates[job]), size))
    return Profile(view.now_s, view.free, changes)


def _promise(view: View, jobs: Iterable[int], promised: dict[int, float], profile: Profile) -> None:
    """Promise each of ``jobs`` the earliest hole, one after the other."""
    estimates, processors = view.estimate_s, view.processors
    for job in jobs:
        estimate, size = estimates[job], processors[job]
        promised[job] = start = profile.earliest(size, estimate)
        if start < math.inf:
            profile.take(start, planned_end_s(start, estimate), size)


def _compress(view: View, promised: dict[int, float], profile: Profile) -> bool:
    """Move promises forward: in queue order, each to the earliest hole that is there with all others in place. Return whether none moved.

    A job that frees its own place may slide forward by less than its length, so the search takes the place that it has as free.
    """
    estimates, processors = view.estimate_s, view.processors
    settled = True
    for job, old in promised.items():
        estimate, size = estimates[job], processors[job]
        new = profile.earliest(size, estimate, old)
        if new < old:
            settled = False
            promised[job] = new
            end = planned_end_s(new, estimate)
            if old == math.inf:
                profile.take(new, end, size)
            else:
                profile.take(new, min(end, old), size)
                profile.take(max(end, old), planned_end_s(old, estimate), -size)
    return settled


def _decide(view: View) -> Decision:
    now, waiting, memo = view.now_s, view.waiting(), view.memo
    if view.by_size is not None:
        return _decide_by_book(view, view.by_size)
    late = bool(view.running_end_s) and view.running_end_s[0] <= now
    promised: dict[int, float]
    profile: Profile | None = None
    settled = True
    if memo is None or late or view.capacity < memo.capacity or memo.first_s < now:
        promised = {}
        profile = _profile(view, promised)
        _promise(view, waiting, promised, profile)
    else:
        old: Mapping[int, float] = memo.start_s
        promised = {job: old[job] for job in waiting if job in old} if view.unforeseen else dict(old)
        if view.unforeseen or not memo.settled:
            profile = _profile(view, promised)
            settled = _compress(view, promised, profile)
        if len(promised) < len(waiting):
            profile = profile or _profile(view, promised)
            _promise(view, waiting[len(promised) :], promised, profile)
    if view.explain and profile is None:
        profile = _profile(view, promised)
    start: list[int] = []
    first = min(promised.values())
    if first <= now:
        start = _due(view, promised)
        for job in start:
            del promised[job]
            if not now + view.estimate_s[job] > now:
                late, settled = True, False  # it ends at once or outruns its estimate; who comes after it can move up by that little
        first = min(promised.values(), default=math.inf)
    wake = math.inf if late or first <= now else first  # where something is late its end decides, not the plan
    reservation = _head(promised, profile) if view.explain and promised and profile else None
    return Decision(start, reservation, Plan(promised, first, view.capacity, settled), wake)


def _decide_by_book(view: View, index: Waiting) -> Decision:
    """Decide while the queue is long."""
    memo = view.memo if isinstance(view.memo, Booked) else None
    plan = view.memo if isinstance(view.memo, Plan) else None
    holds = plan is not None and view.capacity >= plan.capacity and plan.first_s >= view.now_s
    start, booked, wake = decide_by_book(view, index, memo, plan.start_s if plan is not None and holds else None)
    reservation = None
    if view.explain and booked.start_s:
        job, time = next(iter(booked.start_s.items()))
        reservation = Reservation(job, time, max(0, booked.book.steps.at(time)) if time < math.inf else 0)
    return Decision(start, reservation, booked, wake)


def _due(view: View, promised: Mapping[int, float]) -> list[int]:
    """Return the jobs whose time has come, in queue order, as far as they fit."""
    start: list[int] = []
    free = view.free
    for job, time in promised.items():
        if time <= view.now_s and view.processors[job] <= free:
            start.append(job)
            free -= view.processors[job]
    return start


def _head(promised: Mapping[int, float], profile: Profile) -> Reservation:
    """Return the promise to the first job that waits on; what is left over then is what all plans leave free."""
    job = next(iter(promised))
    time = promised[job]
    if time == math.inf:
        return Reservation(job, time, 0)
    return Reservation(job, time, max(0, profile.at(time)))


def _decide_in(view: View, room: Room) -> Decision:
    planned = conservative_in_room(view, room, view.memo if isinstance(view.memo, Plans) else None)
    promised = planned.plans.table.promised
    reservation = None
    if view.explain and promised:
        job, slot = next(iter(promised.items()))
        reservation = Reservation(job, slot.start_s, 0)
    return Decision(planned.start, reservation, planned.plans, planned.wake_s, planned.places)


@policies.register("conservative")
class Conservative:
    """Conservative backfilling: a later job may pass where that delays nobody who came before it, judged by estimates.

    Every job is promised a start when it arrives: the earliest hole, by estimates, beside what runs and what was promised before. It starts at
    that time, or earlier: when a running job ends before its estimate, the promises are compressed – in queue order, each job is taken out
    and put back at the earliest hole with all others in place; at the next events again, until nothing moves. That never makes a promise
    worse, which planning all anew would.

    Promises hold while running jobs keep to their estimates and no processor goes out of service. While a job outruns its estimate (it
    counts as ending now), after such a promise was missed, and when the machine shrinks, all promises are made anew in queue order.

    Examples
    --------
    Ten processors, six of them until 10 s: job 1 needs eight, so job 3 would delay job 2 and waits; under EASY it would not.

    >>> view = View(3.0, 4, 10, queue=[1, 2, 3], submit_s=[0, 1, 2, 3], estimate_s=[10, 10, 10, 40],
    ...             processors=[6, 8, 9, 2], running_end_s=[10.0], running_processors=[6])
    >>> decision = Conservative().decide(view)
    >>> decision.start, decision.memo.start_s
    ([], {1: 10.0, 2: 20.0, 3: 30.0})
    """

    name = "conservative"
    key: QueueKey | None = None
    plans = True
    indexes = "joined"
    rooms = True
    keeps_hours = True

    @staticmethod
    def decide(view: View, /) -> Decision:
        """Return the jobs whose time has come, and what the others are promised."""
        return _decide(view) if view.room is None else _decide_in(view, view.room)
