"""What a policy sees of a machine of nodes, and first-come-first-served and EASY backfilling on it.

The same policies serve one pool of processors and a machine of nodes: where a view has a :class:`Room`, they decide by it. EASY's shadow time is
then the earliest time at which the head of the queue fits *as a placement*; another job may pass if, with it in place, the head still
fits at that time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import CORES, GPUS, MEMORY, Allocation, Bools, Demand, Free, Integers, Machine
from hpcsim.scheduling.placement import Placement
from hpcsim.scheduling.scales import Scale
from hpcsim.scheduling.shadow import Shadow, shadow_of
from hpcsim.scheduling.waiting import Waiting, most_s

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View

__all__ = ["Room", "Shadow", "Verdict", "any_fits", "easy_in_room", "heads_in_room", "shadow_of", "shortest_first"]

Order = Callable[[Integers], Integers]


@dataclass(slots=True, eq=False)
class Room:
    """A machine of nodes as a policy sees it. It must not change it; :meth:`Free.copy` gives one that it may.

    Attributes
    ----------
    machine : Machine
        What there is.
    free : Free
        What is free now.
    demands : list of Demand
        Kinds of demands.
    kind : int64 array, shape (jobs,)
        Kind of demand of each job.
    estimate_s : float64 array, shape (jobs,) [s]
        The estimates of the view.
    running : sequence of int
        Running jobs by estimated end: those of the view's ``running_end_s``.
    allocations : mapping of int to Allocation
        Where each running job is.
    placement : Placement
        Which nodes a job gets.
    waiting : Waiting or None
        The queue by kind of demand, where it is in the order of joining.
    done_s : dict of int to float [s]
        What jobs that were stopped have done and kept; the view's estimates are of the rest. 0 for all others.
    priority : list of float
        What the site or the user adds to the priority of each job.
    deadline_s : list of float [s]
        When each job should have ended; infinite for no such wish.
    fixed : set of int
        Jobs that cannot be stopped.
    scales : mapping of int to Scale
        Sizes of the jobs that may change theirs; ``kind`` is that of the size which they have now, or ask for.
    smallest : int64 array, shape (jobs,), or None
        Kind of demand of each job at the least size that it may have; None where no job may change its size.
    overhead_s : dict of int to float [s]
        How long jobs that were stopped or changed their size work before they are where they were.
    """

    machine: Machine
    free: Free
    demands: list[Demand]
    kind: npt.NDArray[np.int64]
    estimate_s: npt.NDArray[np.float64]
    running: Sequence[int]
    allocations: dict[int, Allocation]
    placement: Placement
    waiting: Waiting | None = None
    done_s: dict[int, float] = field(default_factory=dict)
    priority: list[float] = field(default_factory=list)
    deadline_s: list[float] = field(default_factory=list)
    fixed: Collection[int] = frozenset()
    scales: Mapping[int, Scale] = field(default_factory=dict)
    smallest: npt.NDArray[np.int64] | None = None
    overhead_s: dict[int, float] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Room)
            and self.free == other.free
            and list(self.running) == list(other.running)
            and self.allocations == other.allocations
            and self.done_s == other.done_s
            and self.overhead_s == other.overhead_s
        )

    __hash__ = None  # type: ignore[assignment]

    def copied(self) -> Room:
        """Return an independent copy, for those who check that a policy leaves it alone."""
        return replace(
            self,
            free=self.free.copy(),
            running=tuple(self.running),
            allocations=dict(self.allocations),
            waiting=copy.deepcopy(self.waiting),
            done_s=dict(self.done_s),
            kind=self.kind.copy(),
            overhead_s=dict(self.overhead_s),
        )

    def usable(self, job: int, begin_s: float) -> Bools | None:
        """Return the nodes that no window of others takes from ``begin_s`` until the job's end by its estimate; None for all."""
        windows = self.machine.windows
        if not windows:
            return None
        end = begin_s + self.estimate_s[job]
        mine = self.demands[self.kind[job]].window
        free: Bools | None = None
        for at, window in enumerate(windows):
            if at == mine:
                inside = window.nodes if window.start_s <= begin_s and end <= window.end_s else np.zeros_like(window.nodes)
                free = inside if free is None else free & inside
            elif begin_s < window.end_s and end > window.start_s:
                free = ~window.nodes if free is None else free & ~window.nodes
        return free

    def fits(self, job: int, now_s: float, free: Free) -> bool:
        """Return whether a job could start at ``now_s``."""
        return free.fits(int(self.kind[job]), self.usable(job, now_s))

    def place(self, job: int, now_s: float, free: Free, within: Integers | None = None) -> Allocation | None:
        """Return where the placement puts a job that fits, or None where ``within``, chunks on each node, leaves it no room."""
        kind = int(self.kind[job])
        demand = self.demands[kind]
        capacity = free.capacity(kind, self.usable(job, now_s) if self.machine.windows else None, within)
        if within is not None and int(capacity.sum()) < demand.chunks:
            return None
        nodes, counts = self.placement.choose(demand, capacity, free)
        return free.allocate(kind, nodes, counts)


class Verdict(NamedTuple):
    """What :func:`easy_in_room` decides."""

    start: list[int]
    places: list[Allocation]
    shadow: Shadow | None
    head: int
    """First job that waits on and is not over a limit; -1 none."""


def any_fits(view: View, room: Room) -> bool:
    """Return whether any waiting job could start now, windows aside."""
    kinds = room.kind[np.array(view.queue[view.head :], dtype=np.int64)]
    return any(room.free.fits(kind) for kind in np.flatnonzero(np.bincount(kinds)).tolist())


def shortest_first(room: Room) -> Order:
    """Return the order of candidates by estimate; equal ones stay as they are."""
    return lambda jobs: jobs[np.argsort(room.estimate_s[jobs], kind="stable")]


class Left:
    """What is free as the jobs of one pass start: copied, and taken from, only where the amounts that are left would do for another job."""

    __slots__ = ("_amounts", "_free", "_needs", "_owned", "_untaken")

    def __init__(self, free: Free) -> None:
        self._free = free
        self._owned = False
        self._needs = free.needs()
        self._amounts: Sequence[int] = free.total
        self._untaken: list[tuple[int, Allocation]] = []

    def now(self) -> Free:
        """Return what is free; it must not be changed."""
        if self._untaken:
            if not self._owned:
                self._free = self._free.copy()
                self._owned = True
            for kind, place in self._untaken:
                self._free.take(kind, place)
            self._untaken.clear()
        return self._free

    def could(self, kind: int) -> bool:
        """Return whether the amounts that are left would do for a job of a kind, wherever they lie and whatever else it needs."""
        cores, gpus, memory = self._needs[kind]
        left = self._amounts
        return gpus <= left[GPUS] and cores <= left[CORES] and memory <= left[MEMORY]

    def fitting(self, kinds: Iterable[int]) -> list[int]:
        """Return which of some kinds can start."""
        if self._untaken:
            kinds = [kind for kind in kinds if self.could(kind)]
            if not kinds:
                return kinds
        return self.now().fitting(kinds)

    def take(self, kind: int, place: Allocation) -> None:
        """Let a job of a kind start there."""
        self._untaken.append((kind, place))
        cores, gpus, memory = self._needs[kind]
        left = self._amounts
        self._amounts = left[CORES] - cores, left[GPUS] - gpus, left[MEMORY] - memory


def heads_in_room(view: View, room: Room) -> tuple[list[int], list[Allocation], Left, int]:
    """Return the jobs at the head of the queue that fit one after the other, where they go, what is free then, and the position of the first that waits.

    A job over a limit is passed over.
    """
    queue, kind, now = view.queue, room.kind, view.now_s
    left = Left(room.free)
    windows, pools = bool(room.machine.windows), bool(room.machine.pools)
    start: list[int] = []
    places: list[Allocation] = []
    at = view.head
    while at < len(queue):
        job = queue[at]
        number = int(kind[job])
        if not (left.could(number) and (room.fits(job, now, left.now()) if windows else left.now().fits(number))):
            if not pools or not left.now().over_limit(number):
                break
        else:
            place = room.place(job, now, left.now())
            assert place is not None
            left.take(number, place)
            start.append(job)
            places.append(place)
        at += 1
    return start, places, left, at


def _spare(room: Room, shadow: Shadow) -> Free | None:
    """Return what is free at the time of the shadow beside the head, placed on the first nodes that have room."""
    if shadow.free is None:
        return None
    kind = int(room.kind[shadow.job])
    capacity = shadow.free.capacity(kind, room.usable(shadow.job, shadow.time_s))
    demand = room.demands[kind]
    reach = np.cumsum(capacity)
    if reach[-1] < demand.chunks:
        return None
    last = int(np.searchsorted(reach, demand.chunks))
    used = capacity[: last + 1].copy()
    used[last] -= int(reach[last]) - demand.chunks
    at = np.flatnonzero(used)
    spare = shadow.free.copy()
    spare.take(kind, spare.allocate(kind, at.tolist(), used[at].tolist()))
    return spare


class _Backfill:
    """One pass over the candidates that may pass the head."""

    def __init__(
        self, view: View, room: Room, left: Left, start: list[int], places: list[Allocation], shadow: Shadow | None, head: int
    ) -> None:
        self.view, self.room, self.left, self.shadow, self.head = view, room, left, shadow, head
        self.start, self.places = start, places
        self.shadow_owned = False
        self.refused: set[int] = set()

    def run(self, candidates: npt.NDArray[np.int64]) -> None:
        """Start what may start, in the order of the candidates."""
        room, now, left = self.room, self.view.now_s, self.left
        kinds = room.kind[candidates]
        fitting = self._fitting(kinds)
        if not fitting.any():
            return
        candidates, kinds = candidates[fitting], kinds[fitting]
        time = self._shadow().time_s
        short = now + room.estimate_s[candidates] <= time
        windows = bool(room.machine.windows)
        at = 0
        while at < len(candidates):
            job, kind, brief = int(candidates[at]), int(kinds[at]), bool(short[at])
            at += 1
            if not brief and kind in self.refused:
                continue
            if not (room.fits(job, now, left.now()) if windows else left.could(kind) and left.now().fits(kind)):
                keep = kinds[at:] != kind if not windows else np.ones(len(kinds) - at, dtype=np.bool_)
            else:
                place = self._place(job, kind, brief)
                if place is not None:
                    self._start(job, kind, place, brief)
                    continue
                if not windows:
                    self.refused.add(kind)
                keep = short[at:] | (kinds[at:] != kind) if not windows else np.ones(len(kinds) - at, dtype=np.bool_)
            if not keep.all():
                candidates, kinds, short = candidates[at:][keep], kinds[at:][keep], short[at:][keep]
                at = 0

    def run_by_kind(self, waiting: Waiting, fitting: Sequence[int]) -> None:
        """Start what may start of all who joined the queue after the head, in that order, by looking at the next of each kind that fits only."""
        room, now, left = self.room, self.view.now_s, self.left
        estimates, refused = self.view.estimate_s, self.refused
        first = [(kind, job) for kind in fitting if (job := waiting.after(kind, self.head, math.inf)) >= 0]
        if not first:
            return
        shadow = self._shadow()
        time = shadow.time_s
        longest_s = most_s(time, now)  # of what ends by then; what is longer by rounding alone is found, and put off below
        windows = bool(room.machine.windows)
        ahead: list[tuple[int, int, int]] = []
        for kind, job in first:
            if not windows and now + estimates[job] > time and not self._beside(shadow, kind):
                refused.add(kind)
                job = waiting.after(kind, job, longest_s)
                if job < 0:
                    continue
            ahead.append((waiting.rank(job), kind, job))
        heapify(ahead)
        while ahead:
            _, kind, job = heappop(ahead)
            brief = now + estimates[job] <= time
            if room.fits(job, now, left.now()) if windows else left.could(kind) and left.now().fits(kind):
                place = self._place(job, kind, brief) if brief or kind not in refused else None
                if place is not None:
                    self._start(job, kind, place, brief)
                    if not windows and not left.could(kind):
                        continue
                elif not windows:
                    refused.add(kind)
            elif not windows:
                continue
            later = waiting.after(kind, job, longest_s if kind in refused else math.inf)
            if later >= 0:
                heappush(ahead, (waiting.rank(later), kind, later))

    def verdict(self) -> Verdict:
        """Return what was decided; a shadow that nobody needed is computed only for those who record it."""
        if self.view.explain:
            self._shadow()
        return Verdict(self.start, self.places, self.shadow, self.head)

    def _shadow(self) -> Shadow:
        """Return what the head is promised, found when it is first needed."""
        if self.shadow is None:
            self.shadow = shadow_of(self.view, self.room, self.head, self.left.now(), self.start, self.places)
        return self.shadow

    def _fitting(self, kinds: npt.NDArray[np.int64]) -> Bools:
        """Return which candidates are of a kind that fits now: one question a kind."""
        present = np.flatnonzero(np.bincount(kinds, minlength=1))
        fits = np.zeros(len(self.room.demands), dtype=np.bool_)
        fits[self.left.fitting(present.tolist())] = True
        return fits[kinds]

    def _place(self, job: int, kind: int, brief: bool) -> Allocation | None:
        """Return where a candidate goes; None where it would delay the head."""
        room, now, shadow = self.room, self.view.now_s, self.shadow
        assert shadow is not None
        if brief or shadow.free is None:
            return room.place(job, now, self.left.now())
        if not self._beside(shadow, kind):
            return None
        state, head = shadow.free, int(room.kind[shadow.job])
        place = room.place(job, now, self.left.now())
        assert place is not None
        trial = state.copy()
        trial.take(kind, place)
        if trial.fits(head, room.usable(shadow.job, shadow.time_s)):
            return place
        spare = _spare(room, shadow)
        if spare is None or not spare.fits(kind):
            return None
        return room.place(job, now, self.left.now(), spare.each(kind))

    def _beside(self, shadow: Shadow, kind: int) -> bool:
        """Return whether, at the time of the shadow, the amounts would do for a job of a kind and the head, if they lay where they are needed."""
        if shadow.free is None:
            return True
        demands = self.room.demands
        return _beside(shadow.free, demands[kind], demands[self.room.kind[shadow.job]])

    def _start(self, job: int, kind: int, place: Allocation, brief: bool) -> None:
        self.left.take(kind, place)
        shadow = self.shadow
        assert shadow is not None
        if not brief and shadow.free is not None:
            if not self.shadow_owned:
                self.shadow = shadow = shadow._replace(free=shadow.free.copy())
                self.shadow_owned = True
            assert shadow.free is not None
            shadow.free.take(kind, place)
        self.start.append(job)
        self.places.append(place)


def _beside(state: Free, demand: Demand, head: Demand) -> bool:
    """Return whether the amounts that are free would do for both jobs, if they lay where they are needed."""
    total = state.total
    for row, mine, its in ((CORES, demand.cores, head.cores), (GPUS, demand.gpus, head.gpus), (MEMORY, demand.memory, head.memory)):
        if its and demand.chunks * mine + head.chunks * its > total[row]:
            return False
    if head.pooled:
        taken = dict(demand.pooled)
        return all(amount + taken.get(pool, 0) <= state.pools[pool] for pool, amount in head.pooled)
    return True


def easy_in_room(view: View, room: Room, order: Order | None = None, *, known: Shadow | None = None) -> Verdict:
    """Decide by aggressive backfilling on a machine of nodes.

    Parameters
    ----------
    view, room : View, Room
        The present.
    order : callable, optional
        Order of the candidates; that of the queue without it.
    known : Shadow, optional
        What was remembered of the last decision. It stands while the head is the same and everything went as foreseen: what ended did so at
        its estimate, and what was started was let pass.
    """
    queue, now = view.queue, view.now_s
    stale = known is not None and not (now <= known.time_s and _as_foreseen(view))
    if stale:
        known = None
    if view.only_arrivals and not stale and not room.machine.pools and queue[view.head] not in view.arrived:
        # nothing came free: whoever could not start then cannot now
        start, places, left, head = list[int](), list[Allocation](), Left(room.free), queue[view.head]
        fitting = room.free.fitting({int(room.kind[job]) for job in view.arrived})
        if not fitting and not view.explain:
            return Verdict(start, places, known, head)
        candidates = np.array([job for job in view.arrived if room.kind[job] in fitting], dtype=np.int64)
    else:
        start, places, left, at = heads_in_room(view, room)
        if at >= len(queue):
            return Verdict(start, places, None, -1)
        head = queue[at]
        if start or (known is not None and known.job != head) or (known is not None and known.time_s <= now):
            known = None
        if order is None and room.waiting is not None:
            fitting = left.fitting(room.waiting.lines)
            if not fitting and not view.explain:
                return Verdict(start, places, known, head)
            work = _Backfill(view, room, left, start, places, known, head)
            work.run_by_kind(room.waiting, fitting)
            return work.verdict()
        candidates = np.array(queue[at + 1 :], dtype=np.int64)
        if room.waiting is not None and len(candidates):
            able = np.zeros(len(room.demands), dtype=np.bool_)
            able[left.fitting(room.waiting.lines)] = True
            candidates = candidates[able[room.kind[candidates]]]
    if order is not None and len(candidates):
        candidates = order(candidates)
    work = _Backfill(view, room, left, start, places, known, head)
    if len(candidates):
        work.run(candidates)
    return work.verdict()


def _as_foreseen(view: View) -> bool:
    """Return whether nothing has happened, nor is overdue, that estimates did not foretell."""
    return not view.unforeseen and not (view.running_end_s and view.running_end_s[0] <= view.now_s)
