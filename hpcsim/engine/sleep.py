"""The power state of every node: idle ones are switched off after a while, and boot when a job needs them.

A node that is off still takes jobs; the job then starts when its last node has booted. There are no ticks: one timer is set for the next node whose
time is up, and it never outlasts everything else that happens. What draws how much is integrated afterwards from the intervals that are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from simpy import Event

from hpcsim.engine.clock import _CANCELLED, AFTER, Clock, Due
from hpcsim.scheduling.machine import Free
from hpcsim.scheduling.sleeping import SleepRule

__all__ = ["STATES", "NodePower", "PowerInterval", "granted"]

ON, BOOTING, OFF, STOPPING, CLOSED = range(5)
STATES = {BOOTING: "booting", OFF: "off", STOPPING: "shutting down"}
"""States other than on and out of service, in words."""


class PowerInterval(NamedTuple):
    """A time that a node spent neither on nor out of service: ``end_s`` is infinite where it has not ended."""

    node: int
    state: str
    start_s: float
    end_s: float


class NodePower:
    """Switches nodes off and on.

    Parameters
    ----------
    clock : Clock
        The clock.
    free : Free
        What is free of the machine; it is told how far each node is from working.
    rule : SleepRule
        When nodes are switched off. All are on at first.
    """

    def __init__(self, clock: Clock, free: Free, rule: SleepRule) -> None:
        nodes = free.machine.nodes
        self.rule = rule
        self._clock = clock
        self._state = np.zeros(nodes, dtype=np.int8)
        free.asleep = self._state
        self._jobs = np.zeros(nodes, dtype=np.int64)
        self._since = np.full(nodes, clock.now, dtype=np.float64)
        self._ready = np.zeros(nodes)
        self._moving: set[int] = set()
        self._timer: Due | None = None
        self._due_s = math.inf
        self._told: dict[int, float] = {}
        self._rows: list[list[float]] = []
        self._own: list[list[int]] = [[] for _ in range(nodes)]
        self.boots = 0
        """Nodes that were switched on again."""

    def intervals(self) -> list[PowerInterval]:
        """Return the times that nodes spent booting, off or shutting down, in the order in which they were decided."""
        return [PowerInterval(int(node), STATES[int(state)], start, end) for node, state, start, end in self._rows if end > start]

    # -- what the policy is told --------------------------------------------------------------------------------------------------

    def padded_s(self, job: int, estimate_s: float) -> float:
        """Return the estimate that a policy plans with while a job waits, and keep the plain one."""
        self._told[job] = estimate_s
        self.arm()
        return estimate_s + self.rule.pad_s

    def plain_s(self, job: int) -> float:
        """Return the plain estimate of a job that starts."""
        return self._told.pop(job)

    # -- what the batch system does -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Note which nodes have booted or shut down by now."""
        now = self._clock._now
        for node in [node for node in self._moving if self._ready[node] <= now]:
            self._moving.discard(node)
            self._state[node] = ON if self._state[node] == BOOTING else OFF

    def hold(self, nodes: Iterable[int], job: int = -1) -> float:
        """Give nodes to a job, switch on what is off, and return when the last of them works [s]."""
        now = begin = float(self._clock._now)
        for node in nodes:
            state = self._state[node]
            if state == OFF:
                self._end(node, now)
                self._boot(node, now)
            elif state == STOPPING:
                after = float(self._ready[node])
                self._end(node, after)
                self._boot(node, after)
            if self._state[node] == BOOTING:
                begin = max(begin, float(self._ready[node]))
            self._jobs[node] += 1
        return begin

    def release(self, nodes: Iterable[int]) -> None:
        """Take nodes back from a job."""
        now = self._clock._now
        for node in nodes:
            self._jobs[node] -= 1
            if not self._jobs[node]:
                self._since[node] = max(now, self._ready[node]) if self._state[node] == BOOTING else now
        self.arm()

    def close(self, nodes: Iterable[int]) -> None:
        """Leave nodes that go out of service alone; whatever they were doing ends."""
        for node in nodes:
            self._end(node, self._clock._now)
            self._moving.discard(node)
            self._state[node] = CLOSED

    def open(self, nodes: Iterable[int]) -> None:
        """Nodes come back into service, switched on."""
        for node in nodes:
            self._state[node] = ON
            self._since[node] = self._clock._now
        self.arm()

    # -- switching ----------------------------------------------------------------------------------------------------------------

    def _note(self, node: int, state: int, start_s: float, end_s: float) -> None:
        self._own[node].append(len(self._rows))
        self._rows.append([node, state, start_s, end_s])

    def _end(self, node: int, time_s: float) -> None:
        """Cut short what a node would do after ``time_s``."""
        for at in reversed(self._own[node]):
            row = self._rows[at]
            if row[3] <= time_s:
                break
            row[2], row[3] = min(row[2], time_s), time_s

    def _boot(self, node: int, time_s: float) -> None:
        self.boots += 1
        ready = time_s + self.rule.boot_s
        self._state[node], self._ready[node] = BOOTING, ready
        self._moving.add(node)
        self._note(node, BOOTING, time_s, ready)

    def _switch_off(self, node: int) -> None:
        now = self._clock._now
        ready = now + self.rule.shutdown_s
        self._state[node], self._ready[node] = STOPPING, ready
        self._moving.add(node)
        self._note(node, STOPPING, now, ready)
        self._note(node, OFF, ready, math.inf)

    def _idle(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the nodes that are on and have no job."""
        self.refresh()
        return np.flatnonzero((self._state == ON) & (self._jobs == 0))

    def arm(self) -> None:
        """Set the timer for the next node whose time is up; none where nothing else is to come."""
        if self.rule.idle_s == math.inf:
            return
        idle = self._idle()
        due = math.inf
        if len(idle) > self.rule.spares and self._busy():
            due = max(float(self._since[idle].min()) + self.rule.idle_s, float(self._clock._now))
        if self._timer is not None:
            if due == self._due_s:
                return
            self._timer.cancel()
            self._timer = None
        self._due_s = due
        if due < math.inf:
            self._timer = self._clock.at(due, self._expire, priority=AFTER)

    def _busy(self) -> bool:
        """Return whether anything but the timer is to come."""
        return any(event is not self._timer and event.callbacks is not _CANCELLED for _, _, _, event in self._clock._queue)

    def _expire(self, event: Due) -> None:
        self._timer = None
        idle, now = self._idle(), self._clock._now
        late = idle[self._since[idle] + self.rule.idle_s <= now]
        order = late[np.lexsort((-late, self._since[late]))]
        for node in order[: max(0, len(idle) - self.rule.spares)].tolist():
            self._switch_off(node)
        self.arm()


def granted(ticket: Event) -> None:
    """Let what waits for a ticket go on, with the ticket as value."""
    ticket.succeed(ticket)
