"""Jobs that share links and storage: how fast each goes, brought up to date whenever one begins or ends to use them.

A job has *loads*: its training steps, a checkpoint that it writes or reads, data that it fetches. A load says which routes it uses and how
its pace depends on what it gets of them; undisturbed its pace is 1. Between changes of who is active paces are constant, so a run of a
million steps costs an event for each change around it and none for a step. A job whose links nobody else can use is not followed at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin import Routes, fair_levels
from hpcsim.engine.clock import ARRIVAL, Clock, Due

__all__ = ["Activity", "Contention", "Delay", "Load", "Member", "Pace", "Paces", "joined"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_EXACT_UP_TO = 8
"""Loads up to which each sees the others as they are without it."""
_ROUNDS = 60
_SETTLED = 1e-9
_SAME = 1e-12
_TIE = 1e-9


def _whole(slowdown: float) -> float:
    return slowdown


def _always(_: float) -> float:
    return 1.0


@dataclass(frozen=True, eq=False)
class Load:
    """What one activity of a job asks of the network.

    Attributes
    ----------
    job, activity : str
        Whose, and what: ``steps``, ``checkpoint``, ``recovery``, ``dispatch``, ``merge``.
    routes : Routes
        Its flows.
    bytes_per_s : array, shape (flows,)
        What each carries at pace 1 [B/s].
    weight : array, shape (flows,)
        Shares are in proportion to it.
    pair : array of int, shape (flows,), or None
        Which transfer each flow is a part of, where several are.
    stretch : callable
        Takes by what factor its slowest flow is slower than undisturbed, and returns by what factor the activity is longer.
    duty_frac : callable
        Takes the same, and returns the share of the time in which its flows are under way.
    """

    job: str
    activity: str
    routes: Routes
    bytes_per_s: FloatArray
    weight: FloatArray
    stretch: Callable[[float], float] = _whole
    duty_frac: Callable[[float], float] = _always
    pair: IntArray | None = None


def joined(loads: list[Load]) -> Load:
    """Return loads that send all the time as one."""
    if len(loads) == 1:
        return loads[0]
    first = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(load.routes.first) for load in loads]))]).astype(np.int64)
    routes = Routes(first, np.concatenate([load.routes.links for load in loads]))
    job = " + ".join(sorted(load.job for load in loads))
    rate, weight = (np.concatenate([getattr(load, name) for load in loads]) for name in ("bytes_per_s", "weight"))
    return Load(job, loads[0].activity, routes, rate, weight)


@dataclass(frozen=True)
class Pace:
    """How a load fares among others.

    Attributes
    ----------
    slowdown : float
        By what factor its slowest flow is slower than undisturbed.
    stretch : float
        By what factor the activity is longer.
    most : float
        The same if the others' flows were under way whenever its own are.
    link : int
        Bottleneck of that flow; -1 where nothing slows it.
    others : dict of str to float
        Jobs that share this link, with their part of it.
    """

    slowdown: float = 1.0
    stretch: float = 1.0
    most: float = 1.0
    link: int = -1
    others: dict[str, float] = field(default_factory=dict)


_UNDISTURBED = Pace()


class Paces:
    """Solves who goes how fast for any set of active loads, and remembers the answers.

    A load's flows are under way for its duty, a share of the time. What one flow gets while it is under way is its max-min fair share
    where each flow of the others counts with their duty as its weight, and its own with one: the mean number that it meets. The others'
    duty is what they would have without it (the arrival theorem of closed queueing networks with processor sharing); for two loads that is
    exact, above that the duty of the remaining ones among themselves is found by iteration.

    Parameters
    ----------
    capacities : array, shape (links,)
        [B/s].
    """

    def __init__(self, capacities: FloatArray) -> None:
        self.capacities = capacities
        self._alone: dict[Load, FloatArray] = {}
        self._links: dict[Load, frozenset[int]] = {}
        self._known: dict[frozenset[Load], dict[Load, Pace]] = {}
        self.solved = 0
        """Sets of loads that were worked out."""

    def links(self, load: Load) -> frozenset[int]:
        """Return the links of a load."""
        if load not in self._links:
            self._links[load] = frozenset(np.unique(load.routes.links).tolist())
        return self._links[load]

    def of(self, active: Iterable[Load]) -> dict[Load, Pace]:
        """Return the pace of every active load; those that share no link, over others or not, are worked out apart."""
        found: dict[Load, Pace] = {}
        left = list(active)
        while left:
            group = [left.pop()]
            links = set(self.links(group[0]))
            while near := [load for load in left if not links.isdisjoint(self.links(load))]:
                left = [load for load in left if load not in near]
                group += near
                links.update(*(self.links(load) for load in near))
            if len(group) == 1:
                found[group[0]] = _UNDISTURBED
                continue
            key = frozenset(group)
            if key not in self._known:
                self._known[key] = _Company(self, sorted(group, key=lambda load: (load.job, load.activity))).solve()
                self.solved += 1
            found |= self._known[key]
        return found

    def alone(self, load: Load) -> FloatArray:
        """Return the levels of a load's flows without others [B/s]."""
        if load not in self._alone:
            links, local = np.unique(load.routes.links, return_inverse=True)
            table = Routes(load.routes.first, local).table(links.size)
            self._alone[load] = fair_levels(self.capacities[links], table, load.weight).level
        return self._alone[load]


class _Company:
    """Loads that share links, and the pace of each."""

    def __init__(self, paces: Paces, loads: list[Load]) -> None:
        self.paces, self.loads = paces, loads
        self.owner = np.repeat(np.arange(len(loads)), [load.routes.flows for load in loads])
        first = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(load.routes.first) for load in loads]))])
        self.links, local = np.unique(np.concatenate([load.routes.links for load in loads]), return_inverse=True)
        self.capacities = paces.capacities[self.links]
        self.table = Routes(first.astype(np.int64), local).table(self.links.size)
        self.alone = np.concatenate([paces.alone(load) for load in loads])
        self.weight = np.concatenate([load.weight for load in loads])
        self._keep(self._meeting())

    def _meeting(self) -> BoolArray:
        """Return which flows share a link with another load, or with a flow of their own that does, and so on."""
        links, loads = self.links.size, len(self.loads)
        used = np.zeros((loads, links + 1), dtype=np.bool_)
        used[np.broadcast_to(self.owner, self.table.shape), self.table] = True
        reached = used.sum(axis=0) > 1
        while True:
            reached[links] = False
            meets: BoolArray = reached[self.table].any(axis=0)
            before = int(reached.sum())
            reached[self.table[:, meets]] = True
            reached[links] = False
            if int(reached.sum()) == before:
                return meets

    def _keep(self, flows: BoolArray) -> None:
        self.table, self.owner = self.table[:, flows], self.owner[flows]
        self.alone, self.weight = self.alone[flows], self.weight[flows]

    def solve(self) -> dict[Load, Pace]:
        """Return the pace of each load."""
        every = range(len(self.loads))
        together = self.duties(list(every)) if len(self.loads) > _EXACT_UP_TO else None
        ones = np.ones(len(self.loads))
        answer = {}
        for mine in every:
            duty = together if together is not None else self.duties([k for k in every if k != mine])
            slowdown, link = self.view(mine, duty)
            most, _ = self.view(mine, ones)
            load = self.loads[mine]
            if max(most, slowdown) == 1.0:
                answer[load] = _UNDISTURBED
                continue
            parts = self.parts(mine, link, duty) if link >= 0 else {}
            place = int(self.links[link]) if link >= 0 else -1
            answer[load] = Pace(slowdown, load.stretch(slowdown), load.stretch(max(most, slowdown)), place, parts)
        return answer

    def duties(self, among: list[int]) -> FloatArray:
        """Return the share of the time in which each of some loads sends when only they are there; 0 for the others."""
        duty = np.zeros(len(self.loads))
        duty[among] = [self.loads[k].duty_frac(1.0) for k in among]
        if len(among) == 1:
            return duty
        for _ in range(_ROUNDS):
            change = 0.0
            for k in among:
                new = self.loads[k].duty_frac(self.view(k, duty)[0])
                change = max(change, abs(new - duty[k]))
                duty[k] = new
            if change < _SETTLED:
                break
        return duty

    def view(self, mine: int, duty: FloatArray) -> tuple[float, int]:
        """Return the slowdown of a load's slowest flow among others with a duty, and which of the links is its bottleneck; -1 where none."""
        presence = duty.copy()
        presence[mine] = 1.0
        weight = presence[self.owner] * self.weight
        here = np.flatnonzero(weight > 0)
        levels = fair_levels(self.capacities, self.table[:, here], weight[here])
        own = np.flatnonzero(self.owner[here] == mine)
        if not own.size:
            return 1.0, -1
        ratio = self.alone[here[own]] / levels.level[own]
        slowdown = float(ratio.max())
        worst = int((ratio >= slowdown * (1 - _TIE)).argmax())
        return (slowdown, int(levels.bottleneck[own[worst]])) if slowdown > 1.0 + _SAME else (1.0, -1)

    def parts(self, mine: int, link: int, duty: FloatArray) -> dict[str, float]:
        """Return which share of what others put on a link is whose."""
        crossing = (self.table == link).sum(axis=0) * self.weight
        mass = np.bincount(self.owner, crossing, len(self.loads)) * duty
        mass[mine] = 0.0
        parts: dict[str, float] = {}
        for k in np.flatnonzero(mass).tolist():
            parts[self.loads[k].job] = parts.get(self.loads[k].job, 0.0) + float(mass[k] / mass.sum())
        return parts


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

    __slots__ = ("done", "due", "left_s", "load", "pace", "since_s", "told", "work_s")

    def __init__(
        self, load: Load, work_s: float, now_s: float, done: Callable[[], None], told: Callable[[float], None] | None = None
    ) -> None:
        self.load, self.work_s, self.left_s, self.since_s, self.done, self.told = load, work_s, work_s, now_s, done, told
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
        """Return whether nobody is there who could use a link of a job."""
        return all(other is member or other.links.isdisjoint(member.links) for other in self._members)

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
        if took_s > 0:
            np.maximum(self.peak_bytes_per_s, carried / took_s, out=self.peak_bytes_per_s)

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
