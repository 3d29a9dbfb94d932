"""Moldable jobs: the size is chosen when a job starts, and stays; on top of EASY backfilling.

Reference: W. Cirne and F. Berman, "Using moldability to improve the performance of supercomputer jobs", JPDC 2002 (the size of the least predicted
completion); D. A. Lifka, JSSPP 1995 (EASY).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import CORES, Allocation, Free
from hpcsim.scheduling.policies import Decision, QueueKey, Reservation, View, policies
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.scales import Scale, estimated_s, place_chunks, scale_of, shape_of, size_of, work_left_s
from hpcsim.scheduling.shadow import _Growth

__all__ = ["Moldable"]

BAD_EFFICIENCY = problem_kind("moldable-option", "least_efficiency_frac of the policy 'moldable' is {value}; it must be from 0 to 1", "")

Floats = npt.NDArray[np.float64]


class _Steps(NamedTuple):
    """From when on at least so many chunks of a shape are free, by estimates: times ascend, chunks never fall."""

    times_s: Floats
    chunks: npt.NDArray[np.int64]


class Choice(NamedTuple):
    """When a job would end, begin, and at which size."""

    end_s: float
    start_s: float
    chunks: int


class _Pass:
    """One decision: what is free, who starts, and when what comes free."""

    def __init__(self, view: View, room: Room, least_efficiency: float) -> None:
        self.view, self.room, self.least_efficiency = view, room, least_efficiency
        self.free = room.free.copy()
        self.start: list[int] = []
        self.places: list[Allocation] = []
        self.sizes: list[int] = []
        self.releases = [(end, job, room.allocations[job]) for end, job in zip(view.running_end_s, room.running, strict=True)]
        self._steps: dict[tuple[int, ...], _Steps] = {}

    def begin(self, job: int, scale: Scale, chunks: int, place: Allocation) -> None:
        """Let a job start now."""
        room, now = self.room, self.view.now_s
        self.free.take(scale.kind(chunks), place)
        self.start.append(job)
        self.places.append(place)
        self.sizes.append(chunks)
        self.releases.append((now + estimated_s(room, scale, job, work_left_s(self.view, room, job), chunks), job, place))
        self.releases.sort(key=lambda release: release[0])
        self._steps.clear()

    def steps(self, kind: int) -> _Steps:
        """Return from when on how many chunks of a kind are free."""
        shape = (*shape_of(self.room.demands[kind]), *(number for pool in self.room.demands[kind].pooled for number in pool))
        found = self._steps.get(shape)
        if found is None:
            found = self._steps[shape] = self._sweep(kind)
        return found

    def _sweep(self, kind: int) -> _Steps:
        growth = _Growth(self.room, kind, self.free)
        demand = self.room.demands[kind]
        now = self.view.now_s

        def chunks() -> int:
            enough = all(amount <= growth.pools[pool] for pool, amount in demand.pooled)
            return max(growth.chunks) if enough else 0

        times, counts = [now], [chunks()]
        for end, job, place in self.releases:
            growth.end(job, place)
            if end > times[-1]:
                times.append(end)
                counts.append(chunks())
            else:
                counts[-1] = chunks()
        return _Steps(np.array(times), np.array(counts, dtype=np.int64))

    def choices(self, job: int) -> tuple[Scale, Floats, Floats]:
        """Return the sizes of a job, and when it would begin and end at each if nobody else waited; infinite where it never fits."""
        scale = scale_of(self.view, self.room, job)
        steps = self.steps(scale.kinds[0])
        sizes = np.arange(scale.least, scale.most + 1)
        at = np.searchsorted(steps.chunks, sizes)
        begins = np.where(at < len(steps.times_s), steps.times_s[np.minimum(at, len(steps.times_s) - 1)], math.inf)
        rates = np.array(scale.rates)
        if self.least_efficiency > 0 and len(rates) > 1:
            own = size_of(self.room, job)
            begins = np.where((rates * own < self.least_efficiency * sizes) & (sizes > own), math.inf, begins)
        work = work_left_s(self.view, self.room, job)
        return scale, begins, begins + (self.room.overhead_s.get(job, 0.0) + work / rates)

    def state_at(self, time_s: float) -> Free:
        """Return what is free at a time by estimates."""
        after = self.free.copy()
        for end, job, place in self.releases:
            if max(end, self.view.now_s) <= time_s:
                after.give(int(self.room.kind[job]), place)
        return after


def _best(scale: Scale, begins: Floats, ends: Floats) -> Choice:
    """Return the choice of the least end; of equal ones the fewest chunks."""
    at = int(ends.argmin())
    return Choice(float(ends[at]), float(begins[at]), scale.least + at)


def _may_pass(work: _Pass, job: int, head: Choice, head_kind: int, after: Free | None, choices: tuple[Scale, Floats, Floats]) -> bool:
    """Start a job behind the head now if that is what ends it first, at a size that does not delay the head; return whether it started."""
    scale, begins, ends = choices
    now, room = work.view.now_s, work.room
    later = ends[begins > now]
    soonest = float(later.min()) if len(later) else math.inf
    for at in np.argsort(ends, kind="stable").tolist():
        if ends[at] > soonest:
            return False
        if begins[at] > now:
            continue
        chunks = scale.least + at
        kind = scale.kind(chunks)
        place = place_chunks(room, work.free, kind, chunks)
        if place is None:
            continue
        if after is not None and ends[at] > head.start_s:
            after.take(kind, place)
            if not after.fits(head_kind):
                after.give(kind, place)
                continue
        work.begin(job, scale, chunks, place)
        return True
    return False


@policies.register("moldable")
@dataclass(frozen=True, kw_only=True)
class Moldable:
    """Moldable jobs under EASY backfilling: each starts at the size at which it ends first, by estimates, and keeps that size.

    The first in the queue looks, for every size that it may have, when so much will be free, and how long it will take then; it waits for the size
    that ends first, of equal ones the smallest. That time is its promise: another job may start now, at the size that ends it first of those that
    fit now, unless that puts off the head, or unless it would end sooner if it waited. Jobs that have one size are treated as under EASY.

    Each job looks after itself alone: where many wait, sizes at which processors do little harm all. ``least_efficiency_frac`` rules such sizes out.

    Parameters
    ----------
    least_efficiency_frac : float
        Sizes beyond the one asked for at which a processor does less than this part of what it does there are left out; from 0 (all sizes) to 1.
    """

    name = "moldable"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    sizes = True

    least_efficiency_frac: float = 0.0

    def __post_init__(self) -> None:
        value = self.least_efficiency_frac
        if not 0 <= value <= 1:
            raise BAD_EFFICIENCY.error(path="options.least_efficiency_frac", value=value)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, and at which size."""
        room = view.room
        assert room is not None
        work = _Pass(view, room, self.least_efficiency_frac)
        head: Choice | None = None
        head_job, head_kind, after = -1, -1, None
        waiting = np.array(view.queue[view.head :], dtype=np.int64)
        at = 0
        while at < len(waiting):
            job = int(waiting[at])
            at += 1
            kind = int(room.kind[job])
            if head is not None and not work.free.fits(scale_of(view, room, job).kinds[0]):
                continue
            scale, begins, ends = choices = work.choices(job)
            if head is not None:
                _may_pass(work, job, head, head_kind, after, choices)
                continue
            best = _best(scale, begins, ends)
            place = place_chunks(room, work.free, scale.kind(best.chunks), best.chunks) if best.start_s <= view.now_s else None
            if place is not None:
                work.begin(job, scale, best.chunks, place)
            elif not work.free.over_limit(kind):
                head, head_job, head_kind = best, job, scale.kind(best.chunks)
                after = work.state_at(best.start_s) if best.start_s < math.inf else None
                waiting, at = _fitting(room, work.free, waiting[at:]), 0
        promised = _promise(room, head_job, head, head_kind, after)
        memo = None if head is None else (head_job, head)  # what is promised: nobody needs it, but who checks that it is kept
        return Decision(work.start, promised, memo, places=work.places, sizes=work.sizes)


def _fitting(room: Room, free: Free, jobs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return which of some waiting jobs fit now at the least size that they may have."""
    kinds = (room.kind if room.smallest is None else room.smallest)[jobs]
    fits = np.zeros(len(room.demands), dtype=np.bool_)
    fits[free.fitting(np.flatnonzero(np.bincount(kinds, minlength=1)).tolist())] = True
    result: npt.NDArray[np.int64] = jobs[fits[kinds]]
    return result


def _promise(room: Room, job: int, head: Choice | None, kind: int, after: Free | None) -> Reservation | None:
    if head is None:
        return None
    spare = 0 if after is None else after.total[CORES] - head.chunks * room.demands[kind].cores
    return Reservation(job, head.start_s, max(0, spare))
