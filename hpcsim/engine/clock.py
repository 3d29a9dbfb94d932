"""The clock: SimPy's environment with absolute times, an order among simultaneous events, and a lean loop."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import NORMAL, Event, EventPriority

__all__ = ["AFTER", "ARRIVAL", "COMPLETION", "LATE_COMPLETION", "PASS", "Clock", "Due"]

COMPLETION = NORMAL
"""Completions come first at an instant, together with what processes do."""
ARRIVAL = EventPriority(2)
"""Then arrivals."""
PASS = EventPriority(3)
"""Then the scheduling pass over all of it."""
LATE_COMPLETION = EventPriority(4)
"""In event order: completions of jobs that end before their estimate, each with a pass of its own."""
AFTER = EventPriority(5)
"""What looks at an instant when all passes are over."""

_STOP = EventPriority(1_000_000)
_GC_THRESHOLD = 200_000
_CANCELLED: list[Callable[[Any], None]] = []


class Due(simpy.Event):
    """An event that happens at a time that is known from the start, and calls back.

    ``job`` is for the one who is called.
    """

    _ok = True
    _value: Any = None

    def __init__(self, clock: Clock, callbacks: list[Callable[[Any], None]], job: int = -1) -> None:
        self.env = clock
        self.callbacks = callbacks
        self.job = job

    def cancel(self) -> None:
        """Let it not happen: the clock passes over it, and its time does not come for its sake."""
        self.callbacks = _CANCELLED


class Clock(simpy.Environment):
    """A SimPy environment whose events can be set at absolute times.

    SimPy adds a delay to the present time, which rounds; a completion that is set to ``start + run`` here happens at exactly that
    float. Time is in seconds and starts at ``start_s``.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        super().__init__(start_s)
        self.handled = 0
        """Events that have happened."""

    def at(self, time_s: float, call: Callable[[Due], None], *, priority: EventPriority = NORMAL, job: int = -1) -> Due:
        """Set an event that calls ``call`` at ``time_s``, at or after the present, and return it.

        At one instant lower priorities come first, equal ones in the order in which they were set.
        """
        event = Due(self, [call], job)
        self.push(time_s, priority, event)
        return event

    def sleep(self, time_s: float) -> Due:
        """Return an event for a process to wait for, ``time_s`` from now; its value is False, or True where :meth:`wake` came before."""
        event = Due(self, [])
        event._value = False
        self.push(self._now + time_s, NORMAL, event)
        return event

    def wake(self, event: Due) -> None:
        """Let what waits for a sleep that is not over go on now."""
        waiting = event.callbacks
        if waiting is None or waiting is _CANCELLED:
            return
        event.cancel()
        now = Due(self, waiting)
        now._value = True
        self.push(self._now, NORMAL, now)

    def push(self, time_s: float, priority: EventPriority, event: Event) -> None:
        """Put a triggered event on the schedule at ``time_s``."""
        if not time_s >= self._now:
            raise ValueError(f"an event at {time_s} s lies before the present, {self._now} s")
        heappush(self._queue, (time_s, priority, next(self._eid), event))

    def run(self, until: float | Event | None = None) -> Any:
        """Let events happen until none is left, or up to and including those at the time ``until``; then it is ``until``.

        An event as ``until`` is SimPy's own form. Python's cycle collector runs rarely meanwhile: events are freed by count.
        """
        thresholds = gc.get_threshold()
        gc.set_threshold(_GC_THRESHOLD, *thresholds[1:])
        try:
            if isinstance(until, Event):
                return super().run(until)
            horizon = math.inf if until is None else float(until)
            self._loop(horizon)
        finally:
            gc.set_threshold(*thresholds)
        return None

    def _loop(self, horizon: float) -> None:
        """Pop and call, as SimPy's ``step`` does, until an event of this loop's own, after all others at ``horizon``, says stop."""
        heap = self._queue
        stop: Event | None = None
        if horizon < math.inf:
            stop = Due(self, [])
            heappush(heap, (max(horizon, self._now), _STOP, next(self._eid), stop))
        handled = 0
        try:
            while heap:
                time_s, _, _, event = heappop(heap)
                callbacks = event.callbacks
                if callbacks is _CANCELLED:
                    continue
                self._now = time_s
                if event is stop:
                    break
                handled += 1
                event.callbacks = None  # type: ignore[assignment]
                for callback in callbacks:
                    callback(event)
                if not event._ok and not hasattr(event, "_defused"):
                    raise event._value
        finally:
            self.handled += handled
