"""How fast each of the loads goes that share links: max-min shares among flows that are under way for a part of the time.

A load says which routes it uses and how its pace depends on what it gets of them; undisturbed its pace is 1. :class:`Paces` answers for any
set of active loads. Up to eight of them are taken one by one; more meet as a crowd (:mod:`hpcsim.engine.crowds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin import FairLevels, Routes, fair_levels
from hpcsim.engine.crowds import Crowd, Yarn, components

__all__ = ["Load", "Pace", "Paces", "joined"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_EXACT_UP_TO = 8
"""Loads up to which each sees the others as they are without it."""
_EXACT_OF_MANY = 3
"""The same where one of the loads is one of many, for which companies change all the time."""
_EXACT_OF_STREAMS = 256
"""The same where all are streams, which need no duties."""
_KEPT, _KEPT_OF_MANY = 4096, 64
"""Companies whose answers are kept; fewer where they do not come back."""
_ROUNDS = 60
_SETTLED = 1e-9
_ROUNDS_OF_STREAMS = 300
_SHRINKING, _LONGER, _LEAST_STEP = 0.9, 1.05, 0.02
"""Where the change of a round does not fall by the first factor the next steps are halved, else they are longer by the second."""
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
    among : str
        What it is called in the books of those that it slows, where that is not ``job``: one of many.
    tied : bool
        A stream: its flows go on all the time, at one pace together, and none faster than ``bytes_per_s``, which something outside the
        network allows or the slowest of them leaves to the others.
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
    among: str = ""
    tied: bool = False

    @property
    def called(self) -> str:
        """Its name in the books of those that it slows."""
        return self.among or self.job


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
        self._yarns: dict[Load, Yarn] = {}
        self._duty: dict[Load, float] = {}
        self.solved = 0
        """Sets of loads that were worked out."""

    def links(self, load: Load) -> frozenset[int]:
        """Return the links of a load."""
        if load not in self._links:
            self._links[load] = frozenset(np.unique(load.routes.links).tolist())
        return self._links[load]

    def forget(self, load: Load) -> None:
        """Drop what is kept about a load that does not come back."""
        for kept in (self._alone, self._links, self._yarns, self._duty):
            kept.pop(load, None)

    def of(self, active: Iterable[Load]) -> dict[Load, Pace]:
        """Return the pace of every active load; those that share no link, over others or not, are worked out apart."""
        found: dict[Load, Pace] = {}
        loads = list(active)
        groups: dict[int, list[Load]] = {}
        for load, company in zip(loads, components([self._yarn(load).links for load in loads]).tolist(), strict=True):
            groups.setdefault(company, []).append(load)
        for group in groups.values():
            if len(group) == 1:
                found[group[0]] = _UNDISTURBED
                continue
            key = frozenset(group)
            if key not in self._known:
                many = any(load.among for load in group)
                if len(self._known) >= (_KEPT_OF_MANY if many else _KEPT):
                    self._known.clear()
                ordered = sorted(group, key=lambda load: (load.job, load.activity))
                few = len(group) <= (_EXACT_OF_MANY if many else _EXACT_OF_STREAMS if all(load.tied for load in group) else _EXACT_UP_TO)
                self._known[key] = _Company(self, ordered).solve() if few else self._crowded(ordered)
                self.solved += 1
            found |= self._known[key]
        return found

    def _yarn(self, load: Load) -> Yarn:
        if load not in self._yarns:
            self._yarns[load] = Yarn(load.routes, load.weight, self.alone(load))
        return self._yarns[load]

    def _crowded(self, loads: list[Load]) -> dict[Load, Pace]:
        """Return the paces of many loads; the search for their duties begins with those that they had last."""
        crowd = Crowd(self.capacities, loads, [self._yarn(load) for load in loads])
        duty, seen = crowd.settled(np.array([self._duty.get(load, load.duty_frac(1.0)) for load in loads]))
        self._duty.update(zip(loads, duty.tolist(), strict=True))
        most = crowd.seen(np.ones(len(loads))).slowdown
        parts = crowd.parts(seen, duty)
        answer = {}
        for load, slow, link, others, worst in zip(loads, seen.slowdown.tolist(), seen.link.tolist(), parts, most.tolist(), strict=True):
            if max(slow, worst) == 1.0:
                answer[load] = _UNDISTURBED
                continue
            place = int(crowd.links[link]) if link >= 0 else -1
            answer[load] = Pace(slow, load.stretch(slow), load.stretch(max(worst, slow)), place, others)
        return answer

    def alone(self, load: Load) -> FloatArray:
        """Return the levels of a load's flows without others [B/s]."""
        if load.tied:
            return load.bytes_per_s / load.weight
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
        self.tied = np.array([load.tied for load in loads])
        self._tie()

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

    def _tie(self) -> None:
        """Give every flow of a stream a link of its own, as wide as its rate undisturbed, after those that it shares."""
        own = np.flatnonzero(self.tied[self.owner])
        shared, more = self.links.size, own.size
        if not more:
            return
        table = np.where(self.table == shared, shared + more, self.table)
        row = np.full((1, self.owner.size), shared + more)
        row[0, own] = shared + np.arange(more)
        self.table = np.concatenate([table, row])
        self.capacities = np.concatenate([self.capacities, (self.alone * self.weight)[own]])

    def levels(self, here: IntArray, weight: FloatArray) -> FairLevels:
        """Return the levels of some flows, those of a stream at one pace.

        What a link leaves to one flow of a stream bounds the others too: their own links are narrowed to it, which leaves more to those
        that they share links with, until nothing changes. A flow that is itself the slowest keeps its full width.
        """
        shared, capacities = self.links.size, self.capacities.copy()
        found = fair_levels(capacities, self.table[:, here], weight)
        if capacities.size == shared:
            return found
        stream = np.flatnonzero(self.tied[self.owner[here]])
        owner, width = self.owner[here][stream], (self.alone * self.weight)[here][stream]
        place = self.table[-1, here][stream]
        step, before = 1.0, np.inf
        for _ in range(_ROUNDS_OF_STREAMS):
            least = self.least(here, found)[owner]
            ratio = found.level[stream] / self.alone[here][stream]
            narrow = np.where(ratio > least * (1 + _SETTLED), width * least, width)
            narrow = np.where(found.bottleneck[stream] >= shared, width * least, narrow)
            change = narrow - capacities[place]
            worst = float(np.abs(change / width).max())
            if worst <= _SETTLED:
                break
            step, before = max(step / 2, _LEAST_STEP) if worst > _SHRINKING * before else min(step * _LONGER, 1.0), worst
            capacities[place] += step * change
            found = fair_levels(capacities, self.table[:, here], weight)
        return found

    def least(self, here: IntArray, found: FairLevels) -> FloatArray:
        """Return the pace of each load that its slowest flow has on a link shared with others, 1 where none is slowed there, shape (loads,)."""
        bound = found.bottleneck < self.links.size
        least = np.ones(len(self.loads))
        np.minimum.at(least, self.owner[here][bound], (found.level / self.alone[here])[bound])
        return least

    def solve(self) -> dict[Load, Pace]:
        """Return the pace of each load."""
        every = range(len(self.loads))
        ones = np.ones(len(self.loads))
        answer = {}
        for mine in every:
            duty = self.duties([k for k in every if k != mine])
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
                if self.tied[k]:
                    continue
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
        levels = self.levels(here, weight[here])
        every = self.alone[here] / levels.level
        own = np.flatnonzero((self.owner[here] == mine) & (levels.bottleneck < self.links.size))
        if not own.size:
            return 1.0, -1
        ratio = every[own]
        slowdown = float(every[self.owner[here] == mine].max())  # of a stream that has not settled, what all of its flows get
        worst = int((ratio >= float(ratio.max()) * (1 - _TIE)).argmax())
        return (slowdown, int(levels.bottleneck[own[worst]])) if slowdown > 1.0 + _SAME else (1.0, -1)

    def parts(self, mine: int, link: int, duty: FloatArray) -> dict[str, float]:
        """Return which share of what others put on a link is whose."""
        crossing = (self.table == link).sum(axis=0) * self.weight
        mass = np.bincount(self.owner, crossing, len(self.loads)) * duty
        mass[mine] = 0.0
        parts: dict[str, float] = {}
        for k in np.flatnonzero(mass).tolist():
            name = self.loads[k].called
            parts[name] = parts.get(name, 0.0) + float(mass[k] / mass.sum())
        return parts
