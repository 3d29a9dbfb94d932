"""Jobs that share links and storage: how fast each goes, brought up to date whenever one begins or ends to use them.

A job has *loads*: its training steps, a checkpoint that it writes or reads, data that it fetches. A load says which routes it uses and how
its pace depends on what it gets of them; undisturbed its pace is 1. Between changes of who is active paces are constant, so a run of a
million steps costs an event for each change around it and none for a step. A job whose links nobody else can use is not followed at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.engine.clock import ARRIVAL, Clock, Due
from hpcsim.engine.paces import Load, Pace, Paces, joined

__all__ = ["Activity", "Contention", "Delay", "Load", "Member", "Pace", "Paces", "joined"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


Watch = Callable[[Load, float, float, FloatArray], None]


class Member:
    """A job in the network: its loads, and who is told when company comes.

    Parameters
    ----------
    network : Contention
    job : str
    loads : dict of str to Load
        By activity.
    """

    def __init__(self, network: Contention, job: str, loads: dict[str, Load]) -> None:
        self.network, self.job, self.loads = network, job, loads
        self.links = frozenset().union(*(network.paces.links(load) for load in loads.values()))
        self.company: Callable[[], None] | None = None
        """Called once when the job is no longer alone, where set."""

    @property
    def alone(self) -> bool:
        """Whether nobody is there who could use a link of this job."""
        return self.network.alone(self)

    def join(self) -> None:
        """Be there from now on."""
        self.network.join(self)

    def leave(self) -> None:
        """Be gone from now on."""
        self.network.leave(self)

    def begin(self, activity: str, work_s: float, done: Callable[[], None]) -> Activity:
        """Begin an activity that takes ``work_s`` undisturbed; ``done`` is called at its end."""
        return self.network.begin(self.loads[activity], work_s, done)

    def credit(self, activity: str, work_s: float) -> None:
        """Count what an activity has carried undisturbed."""
        self.network.credit(self.loads[activity], work_s)


class Activity:
    """A load at work.

    Attributes
    ----------
    load : Load
    work_s, left_s : float
        What there was to do, and what is left of it at ``since_s``, in seconds undisturbed.
    pace : Pace
    told : callable or None
        Called with every new stretch.
    """

    __slots__ = ("done", "due", "left_s", "load", "pace", "since_s", "start_s", "told", "work_s")

    def __init__(
        self, load: Load, work_s: float, now_s: float, done: Callable[[], None], told: Callable[[float], None] | None = None
    ) -> None:
        self.load, self.work_s, self.left_s, self.since_s, self.done, self.told = load, work_s, work_s, now_s, done, told
        self.start_s = now_s
        self.pace: Pace | None = None
        self.due: Due | None = None


@dataclass
class Delay:
    """What an activity of a job met, all times of it together.

    Attributes
    ----------
    work_s, took_s, most_s : float
        Seconds undisturbed, as it was, and if the others' flows had always been under way with its own.
    by : dict of (int, str) to float
        Seconds lost by link and by the other job.
    """

    work_s: float = 0.0
    took_s: float = 0.0
    most_s: float = 0.0
    by: dict[tuple[int, str], float] = field(default_factory=dict)


class Contention:
    """The network on the clock.

    Parameters
    ----------
    clock : Clock
    capacities : array, shape (links,)
        [B/s].
    """

    def __init__(self, clock: Clock, capacities: FloatArray) -> None:
        self.clock = clock
        self.paces = Paces(capacities)
        self.carried_bytes: FloatArray = np.zeros(capacities.size)
        """Bytes over each link so far."""
        self.peak_bytes_per_s: FloatArray = np.zeros(capacities.size)
        """Highest rate over each link, steps at their mean."""
        self.delays: dict[tuple[str, str], Delay] = {}
        self.watch: Watch | None = None
        """Called with a load, two times, and what each of its flows sent between them; with it, jobs are followed even where they are alone."""
        self._members: list[Member] = []
        self._active: list[Activity] = []
        self._use: dict[Load, tuple[IntArray, FloatArray]] = {}
        self._set = False

    def join(self, member: Member) -> None:
        """Let a job be there, and tell those that it can meet."""
        met = [other for other in self._members if not other.links.isdisjoint(member.links)]
        self._members.append(member)
        for other in met:
            call, other.company = other.company, None
            if call is not None:
                call()

    def leave(self, member: Member) -> None:
        """Let a job be gone."""
        self._members.remove(member)

    def alone(self, member: Member) -> bool:
        """Return whether nobody is there who could use a link of a job, and nobody watches."""
        return self.watch is None and all(other is member or other.links.isdisjoint(member.links) for other in self._members)

    def begin(self, load: Load, work_s: float, done: Callable[[], None], *, told: Callable[[float], None] | None = None) -> Activity:
        """Begin an activity that takes ``work_s`` undisturbed, infinite until it is ended; ``done`` is called at its end."""
        activity = Activity(load, work_s, self.clock.now, done, told)
        self._active.append(activity)
        self._changed()
        return activity

    def end(self, activity: Activity) -> float:
        """End an activity before its time and return what is left of it, in seconds undisturbed."""
        self._advance(activity)
        self._drop(activity)
        return activity.left_s

    def close(self) -> None:
        """End what is still under way."""
        for activity in list(self._active):
            self.end(activity)

    def credit(self, load: Load, work_s: float) -> None:
        """Count what a load has carried undisturbed in ``work_s``."""
        if work_s > 0:
            links, rate = self.use(load)
            self.carried_bytes[links] += rate * work_s
            self.peak_bytes_per_s[links] = np.maximum(self.peak_bytes_per_s[links], rate)

    def deliver(self, load: Load, size_bytes: FloatArray, took_s: float) -> None:
        """Count bytes of each flow of a load that does not count them itself, carried over ``took_s``."""
        lengths = np.diff(load.routes.first)
        carried = np.zeros(self.carried_bytes.size)
        np.add.at(carried, load.routes.links, np.repeat(size_bytes, lengths))
        self.carried_bytes += carried
        if self.watch is not None:
            self.watch(load, self.clock.now - took_s, self.clock.now, size_bytes)
        if took_s > 0:
            np.maximum(self.peak_bytes_per_s, carried / took_s, out=self.peak_bytes_per_s)

    def forget(self, load: Load) -> None:
        """Drop what is kept about a load that does not come back."""
        self.paces.forget(load)
        self._use.pop(load, None)

    def use(self, load: Load) -> tuple[IntArray, FloatArray]:
        """Return the links of a load and what it carries over each at pace 1 [B/s]."""
        if load not in self._use:
            links, where = np.unique(load.routes.links, return_inverse=True)
            rate = np.zeros(links.size)
            np.add.at(rate, where, np.repeat(load.bytes_per_s, np.diff(load.routes.first)))
            self._use[load] = links, rate
        return self._use[load]

    def _changed(self) -> None:
        if not self._set:
            self._set = True
            self.clock.at(self.clock.now, self._settle, priority=ARRIVAL)

    def _settle(self, _: Due) -> None:
        """Let everybody go at the pace that they have now."""
        self._set = False
        found = self.paces.of(activity.load for activity in self._active)
        for activity in self._active:
            pace = found[activity.load]
            if pace is not activity.pace:
                self._advance(activity)
                activity.pace = pace
                self._aim(activity)
                if activity.told is not None:
                    activity.told(pace.stretch)
        self._note_peak()

    def _note_peak(self) -> None:
        rate = np.zeros(self.carried_bytes.size)
        for activity in self._active:
            links, use = self.use(activity.load)
            rate[links] += use / (activity.pace.stretch if activity.pace else 1.0)
        np.maximum(self.peak_bytes_per_s, rate, out=self.peak_bytes_per_s)

    def _aim(self, activity: Activity) -> None:
        if activity.due is not None:
            activity.due.cancel()
            activity.due = None
        if activity.pace is None or activity.left_s == math.inf:
            return
        at_s = self.clock.now + activity.left_s * activity.pace.stretch
        activity.due = self.clock.at(at_s, lambda _: self._finish(activity))

    def _finish(self, activity: Activity) -> None:
        activity.due = None
        self._advance(activity, activity.left_s)
        self._drop(activity)
        activity.done()

    def _drop(self, activity: Activity) -> None:
        if activity.due is not None:
            activity.due.cancel()
        self._active.remove(activity)
        if self.watch is not None and activity.work_s < math.inf:
            load = activity.load
            self.watch(load, activity.start_s, self.clock.now, load.bytes_per_s * (activity.work_s - activity.left_s))
        if self._active:
            self._changed()

    def _advance(self, activity: Activity, work_s: float | None = None) -> None:
        """Count what was done since the last time, ``work_s`` where it is known."""
        now, pace = self.clock.now, activity.pace
        took_s, activity.since_s = now - activity.since_s, now
        if pace is None or (took_s <= 0 and not work_s):
            return
        done_s = min(took_s / pace.stretch, activity.left_s) if work_s is None else work_s
        activity.left_s -= done_s
        links, rate = self.use(activity.load)
        self.carried_bytes[links] += rate * done_s
        delay = self.delays.setdefault((activity.load.job, activity.load.activity), Delay())
        delay.work_s += done_s
        delay.took_s += took_s
        delay.most_s += done_s * pace.most
        for other, part in pace.others.items():
            key = (pace.link, other)
            delay.by[key] = delay.by.get(key, 0.0) + (took_s - done_s) * part
