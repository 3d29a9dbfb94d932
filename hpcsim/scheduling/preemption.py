"""Policies that stop running jobs for more urgent ones: by remaining time, attained service, priority, deadline, fairness, or in turns.

All rest on one rule. Jobs have an urgency; a waiting job that does not fit may take the place of running ones that are less urgent, the least
urgent first, as few as will do. A job starts whole or not at all.

References: L. Schrage, "A proof of the optimality of the shortest remaining processing time discipline", 1968; J. Gu et al., "Tiresias: a GPU
cluster manager for distributed deep learning", NSDI 2019 (least attained service); K. Mahajan et al., "Themis: fair and efficient GPU cluster
scheduling", NSDI 2020 (finish-time fairness); J. K. Ousterhout, "Scheduling techniques for concurrent systems", 1982 (gangs in turns).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import Allocation, Free
from hpcsim.scheduling.policies import STOPS, Decision, QueueKey, View, policies
from hpcsim.scheduling.room import Room

__all__ = [
    "Deadline",
    "FinishTimeFairness",
    "LeastAttained",
    "PreemptivePriority",
    "ShortestRemaining",
    "TimeSliced",
    "preempt_in_room",
]

BAD_MODE = problem_kind("stop-mode", "mode of the policy {policy!r} is {mode!r}", "one of {known}")
BAD_OPTION = problem_kind("preemption-option", "{name} of the policy {policy!r} is {value}; it must be {bound}", "")

Urgency = Callable[[int], tuple[float, ...]]
"""How urgent a job is, running or waiting: less is more urgent."""


def remaining_s(view: View, room: Room, job: int) -> float:
    """Return what a job has left by its estimate; at least nothing [s]."""
    start = view.start_s[job]
    return view.estimate_s[job] if start != start else max(0.0, start + view.estimate_s[job] - view.now_s)


def attained_s(view: View, room: Room, job: int) -> float:
    """Return how long a job has worked so far, as far as that was kept [s]."""
    start = view.start_s[job]
    return room.done_s.get(job, 0.0) + (0.0 if start != start else view.now_s - start)


def preempt_in_room(view: View, room: Room, urgency: Urgency, *, how: str, least_run_s: float = 0.0) -> Decision:
    """Decide by urgency, stopping what is less urgent.

    Waiting jobs are gone through from the most urgent on. One that fits starts. One that does not looks at the running jobs that are strictly less
    urgent, have run for ``least_run_s`` since they started, and are no one's but the policy's to stop: the least urgent are counted off until it
    fits; of these, whichever it can do without is spared, and the rest is stopped. If all together would not do, nothing is stopped, and the next
    job is looked at.

    Parameters
    ----------
    view, room : View, Room
        The present.
    urgency : callable
        Urgency of a job.
    how : str
        How jobs are stopped.
    least_run_s : float [s]
        A job that has run for less is left alone.
    """
    now, kinds = view.now_s, room.kind
    free = room.free.copy()
    start: list[int] = []
    places: list[Allocation] = []
    stopped: list[int] = []
    ranked = sorted((urgency(job), job) for job in room.running if job not in room.fixed and now - view.start_s[job] >= least_run_s)
    for mine, job in sorted((urgency(job), job) for job in view.queue[view.head :]):
        kind = int(kinds[job])
        if not room.fits(job, now, free):
            victims = _victims(room, free, job, now, [other for its, other in ranked if its > mine and other not in stopped])
            for other in victims:
                free.give(int(kinds[other]), room.allocations[other])
            stopped += victims
            if not victims:
                continue
        place = room.place(job, now, free)
        assert place is not None
        free.take(kind, place)
        start.append(job)
        places.append(place)
    return Decision(start, places=places, stop=[(job, how) for job in stopped])


def _victims(room: Room, free: Free, job: int, now_s: float, others: list[int]) -> list[int]:
    """Return whom to stop so that a job fits; nobody where that would not do."""
    if not others:
        return []
    kinds, trial = room.kind, free.copy()
    chosen: list[int] = []
    for other in reversed(others):
        trial.give(int(kinds[other]), room.allocations[other])
        chosen.append(other)
        if room.fits(job, now_s, trial):
            break
    else:
        return []
    for other in chosen[:-1]:
        trial.take(int(kinds[other]), room.allocations[other])
        if room.fits(job, now_s, trial):
            chosen.remove(other)
        else:
            trial.give(int(kinds[other]), room.allocations[other])
    return chosen


_IN_TURNS = ("las", "finish-time-fair", "gang")


def _checked(policy: str, mode: str, **times: float) -> None:
    known = [how for how in STOPS if how != "requeue" or policy not in _IN_TURNS]  # in turns, who loses all that it did never ends
    if mode not in known:
        raise BAD_MODE.error(path="options.mode", policy=policy, mode=mode, known=", ".join(known))
    for name, value in times.items():
        if not 0 <= value < math.inf:
            raise BAD_OPTION.error(path=f"options.{name}", policy=policy, name=name, value=value, bound="finite and at least 0")


@policies.register("srpt")
@dataclass(frozen=True, kw_only=True)
class ShortestRemaining:
    """Shortest remaining time first, by estimates: a new job that is shorter than what others have left stops them.

    Parameters
    ----------
    mode : str
        How jobs are stopped.
    least_run_s : float [s]
        A job that started less than that ago is left alone.
    """

    name = "srpt"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    mode: str = "suspend"
    least_run_s: float = 0.0

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, least_run_s=self.least_run_s)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, and who is stopped."""
        room = _room(view)
        return preempt_in_room(
            view, room, lambda job: (remaining_s(view, room, job), view.submit_s[job], job), how=self.mode, least_run_s=self.least_run_s
        )


def _room(view: View) -> Room:
    assert view.room is not None
    return view.room


@policies.register("las")
@dataclass(frozen=True, kw_only=True)
class LeastAttained:
    """Least attained service, in two levels: a job that has used less than ``threshold_s`` processor-seconds goes before all that have used more.

    It needs no estimates. Within a level jobs go by submission.

    Parameters
    ----------
    threshold_s : float [processor-s]
        Service, processors times time, at which a job falls to the second level.
    mode : str
        How jobs are stopped.
    """

    name = "las"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    threshold_s: float = 3600.0
    mode: str = "suspend"

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, threshold_s=self.threshold_s)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, who is stopped, and when the next running job falls."""
        room, size, now = _room(view), view.processors, view.now_s

        def lowered_s(job: int) -> float:
            """How long a job may still work before it falls."""
            return self.threshold_s / size[job] - attained_s(view, room, job)

        def urgency(job: int) -> tuple[float, ...]:
            return (float(now + lowered_s(job) <= now), view.submit_s[job], job)

        decision = preempt_in_room(view, room, urgency, how=self.mode)
        stopped = {job for job, _ in decision.stop}
        going = [job for job in room.running if job not in stopped] + list(decision.start)
        falls = [now + lowered_s(job) for job in going]
        return decision._replace(wake_s=min((time for time in falls if time > now), default=math.inf))


@policies.register("preempt")
@dataclass(frozen=True, kw_only=True)
class PreemptivePriority:
    """Highest priority first, the job table's own column, then submission: a job stops those of lower priority.

    Parameters
    ----------
    mode : str
        How jobs are stopped.
    grace_s : float [s]
        A job that started less than that ago is left alone.
    """

    name = "preempt"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    mode: str = "requeue"
    grace_s: float = 0.0

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, grace_s=self.grace_s)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, and who is stopped: only for a higher priority, never for an earlier submission."""
        room = _room(view)

        def urgency(job: int) -> tuple[float, ...]:
            running = view.start_s[job] == view.start_s[job]
            return (-room.priority[job], -math.inf if running else view.submit_s[job], job)

        decision = preempt_in_room(view, room, urgency, how=self.mode, least_run_s=self.grace_s)
        return decision._replace(wake_s=_after(view, room, decision, self.grace_s))


def _after(view: View, room: Room, decision: Decision, grace_s: float) -> float:
    """Return when the next running job may be stopped, while others wait; infinite where none is protected."""
    if not grace_s or len(view.queue) - view.head - len(decision.start) + len(decision.stop) <= 0:
        return math.inf
    now = view.now_s
    ends = [view.start_s[job] + grace_s for job in room.running] + [now + grace_s for _ in decision.start]
    return min((time for time in ends if time > now), default=math.inf)


@policies.register("deadline")
@dataclass(frozen=True, kw_only=True)
class Deadline:
    """Earliest deadline first; a job's deadline is its own, or its submission and ``slack`` times its estimate. A job stops those whose deadline is later.

    Parameters
    ----------
    slack : float
        How many times its own length a job may take from submission to end, above 0.
    mode : str
        How jobs are stopped.
    """

    name = "deadline"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    slack: float = 4.0
    mode: str = "suspend"

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, slack=self.slack)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, and who is stopped."""
        room = _room(view)

        def urgency(job: int) -> tuple[float, ...]:
            whole = view.estimate_s[job] + room.done_s.get(job, 0.0)
            own = room.deadline_s[job]
            return (own if own < math.inf else view.submit_s[job] + self.slack * whole, view.submit_s[job], job)

        return preempt_in_room(view, room, urgency, how=self.mode)


@policies.register("finish-time-fair")
@dataclass(frozen=True, kw_only=True)
class FinishTimeFairness:
    """Finish-time fairness: whoever is worst off goes first, anew after each lease.

    How badly off a job is: the time from its submission to its end if it ran from now on, over the time that it would take alone on the part of
    the machine that each of the jobs here has, ``estimate·max(1, processors·jobs/capacity)``.

    Parameters
    ----------
    lease_s : float [s]
        A job that started less than that ago is left alone.
    mode : str
        How jobs are stopped.
    """

    name = "finish-time-fair"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    lease_s: float = 1200.0
    mode: str = "suspend"

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, lease_s=self.lease_s)
        if not self.lease_s:
            raise BAD_OPTION.error(path="options.lease_s", policy=self.name, name="lease_s", value=0, bound="above 0")

    def decide(self, view: View, /) -> Decision:
        """Return who starts, who is stopped, and when the next lease ends."""
        room, now = _room(view), view.now_s
        here = len(room.running) + len(view.queue) - view.head

        def urgency(job: int) -> tuple[float, ...]:
            left = remaining_s(view, room, job)
            alone = max(left + attained_s(view, room, job), 1.0) * max(1.0, view.processors[job] * here / max(view.capacity, 1))
            return (-(now - view.submit_s[job] + left) / alone, view.submit_s[job], job)

        decision = preempt_in_room(view, room, urgency, how=self.mode, least_run_s=self.lease_s)
        return decision._replace(wake_s=_after(view, room, decision, self.lease_s))


@policies.register("gang")
@dataclass(frozen=True, kw_only=True)
class TimeSliced:
    """Gangs in turns: every job runs for a quantum, whole or not at all, then those that have had fewer quanta go first.

    Parameters
    ----------
    quantum_s : float [s]
        Length of a turn, above 0.
    mode : str
        How jobs are stopped between turns.
    """

    name = "gang"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    plans = True

    quantum_s: float = 600.0
    mode: str = "suspend"

    def __post_init__(self) -> None:
        _checked(self.name, self.mode, quantum_s=self.quantum_s)
        if not self.quantum_s:
            raise BAD_OPTION.error(path="options.quantum_s", policy=self.name, name="quantum_s", value=0, bound="above 0")

    def decide(self, view: View, /) -> Decision:
        """Return who starts, who is stopped, and when the next turn ends."""
        room, quantum = _room(view), self.quantum_s

        def urgency(job: int) -> tuple[float, ...]:
            return (math.floor(attained_s(view, room, job) / quantum + 1e-9), view.submit_s[job], job)

        decision = preempt_in_room(view, room, urgency, how=self.mode, least_run_s=quantum)
        return decision._replace(wake_s=_after(view, room, decision, quantum))
