"""Conservative backfilling on one pool of processors while the queue is long: promises and what they leave free are carried on from pass to pass.

The decisions are those of planning with a :class:`~hpcsim.scheduling.conservative.Profile` that is made anew at each pass. Here the step function
moves on with time, a hole is looked for from where none of that size and length can lie before, and promises are compressed by looking only at jobs
that can have gained: whose length fits the longest hole that begins where room has come, or whose own place begins there.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpcsim.scheduling.timetable import planned_end_s
from hpcsim.scheduling.waiting import Waiting

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View

__all__ = ["Book", "Booked", "decide_by_book"]

_FEW_STEPS = 32
"""So many steps are gone through one by one before the rest is searched as arrays."""
_CHUNK = 256
"""Steps of the first of these arrays; each next is twice as long."""


class Steps:
    """Processors that are free from each time on: a step function, the last step of which has no end."""

    __slots__ = ("free", "times_s")

    def __init__(self, now_s: float, free: int, changes: Iterable[tuple[float, int]]) -> None:
        self.times_s = array("d", [now_s])
        self.free = array("q", [free])
        last = now_s
        for time, processors in sorted(changes):
            free += processors
            if time > last:
                self.times_s.append(time)
                self.free.append(free)
                last = time
            else:
                self.free[-1] = free

    def advance(self, now_s: float) -> None:
        """Forget what lies before ``now_s``."""
        last = bisect_right(self.times_s, now_s) - 1
        if last > 0:
            del self.times_s[:last], self.free[:last]
        if self.times_s[0] < now_s:
            self.times_s[0] = now_s

    def _step(self, time_s: float) -> int:
        at = bisect_left(self.times_s, time_s)
        if at == len(self.times_s) or self.times_s[at] != time_s:
            self.times_s.insert(at, time_s)
            self.free.insert(at, self.free[at - 1])
        return at

    def take(self, begin_s: float, end_s: float, processors: int) -> None:
        """Take processors from ``begin_s`` to ``end_s``, where neither lies before now; below 0 gives them back."""
        first, last = self._step(begin_s), self._step(end_s)
        free = self.free
        if last - first <= _FEW_STEPS:
            for at in range(first, last):
                free[at] -= processors
        else:
            np.frombuffer(free, dtype=np.int64)[first:last] -= processors

    def at(self, time_s: float) -> int:
        """Return the processors that are free at ``time_s``, now or later."""
        return self.free[bisect_right(self.times_s, time_s) - 1]

    def before(self, time_s: float) -> int:
        """Return the processors that are free just before ``time_s``, after now."""
        return self.free[bisect_left(self.times_s, time_s) - 1]

    def earliest(self, processors: int, estimate_s: float, before_s: float = math.inf, from_s: float = -math.inf) -> float:
        """Return the earliest time from which ``processors`` are free for ``estimate_s``, or until ``before_s``, which is returned where there is none.

        Parameters
        ----------
        processors, estimate_s, before_s
            As of :meth:`~hpcsim.scheduling.conservative.Profile.earliest`.
        from_s : float [s]
            No such hole begins before.
        """
        times, free = self.times_s, self.free
        stop_at = bisect_left(times, before_s)
        at = bisect_left(times, from_s)
        begin = end = math.nan  # no hole is open
        few = min(at + _FEW_STEPS, stop_at)
        while at < few:
            time = times[at]
            if time >= end:
                return begin
            if free[at] < processors:
                begin = end = math.nan
            elif begin != begin:
                begin, end = time, planned_end_s(time, estimate_s)
            at += 1
        if at < stop_at:
            return self._earliest_among(at, stop_at, processors, estimate_s, begin, end, before_s)
        if at < len(times) and times[at] >= end:
            return begin
        return before_s if begin != begin else begin

    def _earliest_among(
        self, at: int, stop_at: int, processors: int, estimate_s: float, begin: float, end: float, before_s: float
    ) -> float:
        """Go on with :meth:`earliest` from step ``at``, as arrays of growing length; a hole may be open since ``begin``."""
        size = _CHUNK
        while at < stop_at:
            upto = min(at + size, stop_at)
            times = np.frombuffer(self.times_s, dtype=np.float64)[at:upto]
            short = (np.frombuffer(self.free, dtype=np.int64)[at:upto] < processors).nonzero()[0]
            if begin != begin and not (len(short) and short.item(0) == 0):
                begin = times.item(0)
                end = planned_end_s(begin, estimate_s)
            if begin == begin and (times.item(short.item(0)) if len(short) else times.item(-1)) >= end:
                return begin
            if len(short):
                begin = end = math.nan
                opens, closing = short[:-1] + 1, short[1:]
                holes = (closing > opens).nonzero()[0]
                if len(holes):
                    starts = times[opens[holes]]
                    ends = np.maximum(starts + estimate_s, np.nextafter(starts, np.inf))
                    fits = times[closing[holes]] >= ends
                    first = int(fits.argmax())
                    if fits[first]:
                        return starts.item(first)
                last = short.item(-1) + 1
                if last < len(times):
                    begin = times.item(last)
                    end = planned_end_s(begin, estimate_s)
            at, size = upto, 2 * size
        return before_s if begin != begin else begin

    def longest_s(self, processors: int, until_s: float) -> float:
        """Return the longest time for which ``processors`` are free on end from before ``until_s`` on."""
        stop_at = bisect_left(self.times_s, until_s)
        longest, at, size, begin = 0.0, 0, _CHUNK, math.nan
        steps = len(self.times_s)
        while at < steps and (at < stop_at or begin == begin):
            upto = min(at + size, steps)
            times = np.frombuffer(self.times_s, dtype=np.float64)[at:upto]
            short = (np.frombuffer(self.free, dtype=np.int64)[at:upto] < processors).nonzero()[0]
            if len(short):
                if begin == begin:
                    longest = max(longest, times.item(short.item(0)) - begin)
                elif short.item(0) > 0:
                    longest = max(longest, times.item(short.item(0)) - times.item(0))
                opens, closing = short[:-1] + 1, short[1:]
                holes = (closing > opens) & (opens + at < stop_at)
                if holes.any():
                    longest = max(longest, float((times[closing[holes]] - times[opens[holes]]).max()))
                last = short.item(-1) + 1
                begin = times.item(last) if last < len(times) and at + last < stop_at else math.nan
            elif begin != begin:
                begin = times.item(0)
            at, size = upto, 2 * size
        return math.inf if begin == begin else longest


class Book:
    """Promises in queue order, and what they and the running jobs leave free. It is changed from decision to decision.

    Parameters
    ----------
    view : View
        The present.
    promised : mapping of int to float [s]
        Promised starts; infinite where the machine, as it was, cannot hold a job.
    """

    __slots__ = ("_bounds", "by_start", "capacity", "open_s", "promised", "stale", "steps", "version")

    def __init__(self, view: View, promised: Mapping[int, float]) -> None:
        self.promised = dict(promised)
        self.by_start = sorted((start, job) for job, start in self.promised.items())
        self.version = 0
        self.open_s = math.inf
        """Before this time room has come since nothing could be moved."""
        self.stale = False
        """The step function has to be made anew."""
        self.resume(view)

    def resume(self, view: View) -> None:
        """Make the step function anew."""
        estimates, processors = view.estimate_s, view.processors
        changes = list(zip(view.running_end_s, view.running_processors, strict=True))
        for job, start in self.promised.items():
            if start < math.inf:
                changes.append((start, -processors[job]))
                changes.append((planned_end_s(start, estimates[job]), processors[job]))
        self.steps = Steps(view.now_s, view.free, changes)
        self.capacity = view.capacity
        self.stale = False
        self._bounds: dict[int, tuple[list[float], list[float]]] = {}

    def first_s(self) -> float:
        """Return the earliest promise; infinite where there is none."""
        return self.by_start[0][0] if self.by_start else math.inf

    def give(self, begin_s: float, end_s: float, processors: int) -> None:
        """Take note of room that has come."""
        self.steps.take(begin_s, end_s, -processors)
        self.open_s = max(self.open_s, end_s)
        self._bounds.clear()

    def forget(self, job: int) -> float:
        """Strike a promise, whose processors stay taken, and return its start."""
        start = self.promised.pop(job)
        del self.by_start[bisect_left(self.by_start, (start, job))]
        return start

    def promise(self, job: int, processors: int, estimate_s: float) -> None:
        """Promise a job that has just come the earliest hole."""
        lengths, starts = self._bounds.setdefault(processors, ([], []))
        at = bisect_right(lengths, estimate_s)
        start = self.steps.earliest(processors, estimate_s, from_s=starts[at - 1] if at else -math.inf)
        self.promised[job] = start
        insort(self.by_start, (start, job))
        if start < math.inf:
            self.steps.take(start, planned_end_s(start, estimate_s), processors)
        if not (at and starts[at - 1] >= start):
            stop = at
            while stop < len(starts) and starts[stop] <= start:
                stop += 1
            lengths[at:stop], starts[at:stop] = [estimate_s], [start]

    def moved(self, job: int, processors: int, estimate_s: float) -> bool:
        """Move a promise to the earliest hole that is there with all others in place; return whether it moved."""
        old = self.promised[job]
        new = self.steps.earliest(processors, estimate_s, old)
        if not new < old:
            return False
        self.promised[job] = new
        del self.by_start[bisect_left(self.by_start, (old, job))]
        insort(self.by_start, (new, job))
        end, steps = planned_end_s(new, estimate_s), self.steps
        if old == math.inf:
            steps.take(new, end, processors)
        else:
            steps.take(new, min(end, old), processors)
            self.give(max(end, old), planned_end_s(old, estimate_s), processors)
        return True

    def compress(self, view: View, index: Waiting) -> bool:
        """Move promises forward in queue order; return whether none moved."""
        if self.open_s == -math.inf:
            return True
        estimates, processors = view.estimate_s, view.processors
        for job in self._may_gain(index):
            if self.moved(job, processors[job], estimates[job]):
                break
        else:
            self.open_s = -math.inf
            return True
        rank = index.rank(job)
        for other in list(self.promised):  # what one leaves, the next may take, and so on
            if index.rank(other) > rank:
                self.moved(other, processors[other], estimates[other])
        return False

    def _may_gain(self, index: Waiting) -> Iterator[int]:
        """Yield, in queue order, the jobs that can have gained by the room that has come, while none has been moved."""
        until = self.open_s
        if until == math.inf:
            yield from list(self.promised)
            return
        near = self.by_start[: bisect_right(self.by_start, (until, math.inf))]
        ahead = [(index.rank(job), -1, job) for _, job in near]
        heapify(ahead)
        by_bit: dict[int, float] = {}
        longest: dict[int, float] = {}

        def offer(size: int, rank: int) -> None:
            job = index.beyond(size, rank, longest[size])
            if job >= 0:
                heappush(ahead, (index.rank(job), size, job))

        for size in sorted(index.lines):
            bit = size.bit_length()
            if bit not in by_bit:  # the smallest of up to twice its size: what is longest for it is for them all
                by_bit[bit] = self.steps.longest_s(size, until) * (1.0 + 1e-12)
            longest[size] = by_bit[bit]
            if longest[size] > 0:
                offer(size, -1)
        last = -1
        while ahead:
            rank, size, job = heappop(ahead)
            if size >= 0:
                offer(size, rank)
            if rank > last and job in self.promised:
                last = rank
                yield job


class Booked(NamedTuple):
    """What conservative backfilling remembers while the queue is long: a book that moves on, so that the memo can be used once.

    Attributes
    ----------
    book : Book
        The promises.
    version : int
        Of the book when this was decided.
    settled : bool
        No job can be moved forward, all others in place, unless room comes that was not foreseen.
    """

    book: Book
    version: int
    settled: bool

    @property
    def start_s(self) -> Mapping[int, float]:
        """Promised start of every waiting job, in queue order [s]."""
        return self.book.promised

    @property
    def first_s(self) -> float:
        """The earliest of them [s]."""
        return self.book.first_s()

    @property
    def capacity(self) -> int:
        """Processors that were in service."""
        return self.book.capacity


def _caught_up(view: View, index: Waiting, book: Book, settled: bool) -> bool:
    """Let a book catch up with what has happened, and return whether nothing can move."""
    now = view.now_s
    waiting = len(view.queue) - view.head
    if view.unforeseen and len(book.promised) + len(view.arrived) != waiting:  # somebody has gone
        still = set(view.queue[view.head :])
        for job in [job for job in book.promised if job not in still]:
            start = book.forget(job)
            if start < math.inf:
                book.steps.advance(now)
                book.give(max(now, start), planned_end_s(start, view.estimate_s[job]), view.processors[job])
    if book.stale or view.capacity != book.capacity:
        book.resume(view)
        book.open_s = math.inf
    elif book.version > 0:  # a new one knows
        book.steps.advance(now)
        if view.unforeseen:
            for job in view.ended:
                end = planned_end_s(view.start_s[job], view.estimate_s[job])
                if end > now:
                    book.give(now, end, view.processors[job])
    if view.unforeseen or not settled:
        settled = book.compress(view, index)
        if len(book.steps.times_s) > 3 * (len(book.promised) + len(view.running_end_s)):  # moves leave steps at which nothing changes
            book.resume(view)
    for job in view.queue[view.head + len(book.promised) :]:
        book.promise(job, view.processors[job], view.estimate_s[job])
    return settled


def decide_by_book(
    view: View, index: Waiting, memo: Booked | None, promised: Mapping[int, float] | None
) -> tuple[list[int], Booked, float]:
    """Return the jobs whose time has come, what to remember, and when to be asked again.

    Parameters
    ----------
    view : View
        The present.
    index : Waiting
        The waiting jobs by size.
    memo : Booked or None
        Of the last decision, where that was made by a book.
    promised : mapping or None
        What had been promised otherwise; None where nothing holds.

    Raises
    ------
    ValueError
        The memo was used before.
    """
    now = view.now_s
    late = bool(view.running_end_s) and view.running_end_s[0] <= now
    settled = True
    if memo is not None and memo.version != memo.book.version:
        raise ValueError("a memo of conservative backfilling with a long queue can be used once")
    known = memo.book if memo is not None else None
    if late or (known is not None and (view.capacity < known.capacity or known.first_s() < now)) or (known is None and promised is None):
        book = Book(view, {})
        for job in view.queue[view.head :]:
            book.promise(job, view.processors[job], view.estimate_s[job])
        book.open_s = -math.inf
    else:
        if known is None:
            assert promised is not None
            still = set(view.queue[view.head :])
            book, settled = Book(view, {job: start for job, start in promised.items() if job in still}), False
        else:
            assert memo is not None
            book, settled = known, memo.settled
        settled = _caught_up(view, index, book, settled)
    start: list[int] = []
    left = view.free
    for job in _due(book, index, now):
        if view.processors[job] <= left:
            left -= view.processors[job]
            book.forget(job)
            start.append(job)
            if not now + view.estimate_s[job] > now:
                late, settled, book.open_s = True, False, math.inf
    book.stale = book.stale or late
    book.version += 1
    first = book.first_s()
    return start, Booked(book, book.version, settled), math.inf if late or first <= now else first


def _due(book: Book, index: Waiting, now_s: float) -> list[int]:
    """Return the jobs whose time has come, in queue order."""
    return sorted((job for _, job in book.by_start[: bisect_right(book.by_start, (now_s, math.inf))]), key=index.rank)
