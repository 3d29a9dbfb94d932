"""What a policy sees of a machine of nodes, and first-come-first-served and EASY backfilling on it.

The same policies serve one pool of processors and a machine of nodes: where a view has a :class:`Room`, they decide by it. EASY's shadow time is
then the earliest time at which the head of the queue fits *as a placement*; another job may pass if, with it in place, the head still
fits at that time.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import CORES, DEVICE, GPUS, MEMORY, Allocation, Bools, Demand, Free, Integers, Machine
from hpcsim.scheduling.placement import Placement
from hpcsim.scheduling.waiting import Waiting

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View

__all__ = ["Room", "Shadow", "Verdict", "any_fits", "easy_in_room", "heads_in_room", "shadow_of"]

Order = Callable[[Sequence[int]], Sequence[int]]


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
    fixed : set of int
        Jobs that cannot be stopped.
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
    fixed: Collection[int] = frozenset()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Room)
            and self.free == other.free
            and list(self.running) == list(other.running)
            and self.allocations == other.allocations
            and self.done_s == other.done_s
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
        capacity = free.capacity(kind, self.usable(job, now_s) if self.machine.windows else None)
        if within is not None:
            capacity = np.minimum(capacity, within)
            if int(capacity.sum()) < demand.chunks:
                return None
        nodes, counts = self.placement.choose(demand, capacity, free)
        return free.allocate(kind, nodes, counts)


class Shadow(NamedTuple):
    """What EASY remembers: the head, when it will fit, and what is free then, the jobs that were let pass in place.

    ``free`` is None where the machine, as it is now, cannot hold the head.
    """

    job: int
    time_s: float
    free: Free | None


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


def heads_in_room(view: View, room: Room) -> tuple[list[int], list[Allocation], Free, int]:
    """Return the jobs at the head of the queue that fit one after the other, where they go, what is free then, and the position of the first that waits.

    A job over a limit is passed over.
    """
    queue, kind, free, now = view.queue, room.kind, room.free, view.now_s
    windows = bool(room.machine.windows)
    start: list[int] = []
    places: list[Allocation] = []
    at = view.head
    while at < len(queue):
        job = queue[at]
        number = int(kind[job])
        if not (room.fits(job, now, free) if windows else free.fits(number)):
            if not free.over_limit(number):
                break
        else:
            place = room.place(job, now, free)
            assert place is not None
            if at + 1 < len(queue):
                if not start:
                    free = free.copy()
                free.take(number, place)
            start.append(job)
            places.append(place)
        at += 1
    return start, places, free, at


def _releases(view: View, room: Room, started: Sequence[int], places: Sequence[Allocation]) -> Iterator[tuple[float, int, Allocation]]:
    """Yield (estimated end, job, allocation) of the running jobs and of those that ``started`` now, in order of time."""
    mine = sorted((view.now_s + view.estimate_s[job], at) for at, job in enumerate(started))
    at = 0
    for end, job in zip(view.running_end_s, room.running, strict=True):
        while at < len(mine) and mine[at][0] <= end:
            yield mine[at][0], started[mine[at][1]], places[mine[at][1]]
            at += 1
        yield end, job, room.allocations[job]
    for end, index in mine[at:]:
        yield end, started[index], places[index]


class _Growth:
    """What is free as jobs end one after the other, and how many chunks of one demand fit: touches only the nodes of the jobs that end."""

    def __init__(self, room: Room, kind: int, free: Free) -> None:
        self.room = room
        self.kind = kind
        self.demand = room.demands[kind]
        self.free = free
        self.where = room.machine.sets[self.demand.where]
        self.capacity = free.capacity(kind)
        self.chunks = int(self.capacity.sum())
        self.pools = list(free.pools)
        self.rows: dict[int, list[int]] = {}
        self.devices: dict[int, list[int]] = {}

    def enough(self) -> bool:
        """Return whether the job fits."""
        pools = self.pools
        return self.chunks >= self.demand.chunks and all(amount <= pools[pool] for pool, amount in self.demand.pooled)

    def end(self, job: int, allocation: Allocation) -> None:
        """Let a job end."""
        other = self.room.demands[self.room.kind[job]]
        for pool, amount in other.pooled:
            self.pools[pool] += amount
        have, rows, total = self.free.free, self.rows, self.room.machine.total
        for node, count in zip(allocation.nodes, allocation.counts, strict=True):
            row = rows.get(node)
            if row is None:
                row = rows[node] = [int(have[CORES, node]), int(have[GPUS, node]), int(have[MEMORY, node]), int(self.capacity[node])]
            if other.exclusive:
                row[CORES] += int(total[CORES, node])
                row[GPUS] += int(total[GPUS, node])
                row[MEMORY] += int(total[MEMORY, node])
            else:
                row[CORES] += count * other.cores
                row[GPUS] += count * other.gpus
                row[MEMORY] += count * other.memory
        if self.free.devices is not None:
            self._free_devices(other, allocation)
        for node in allocation.nodes:
            row = rows[node]
            now = self._chunks(node, row)
            self.chunks += now - row[3]
            row[3] = now

    def _free_devices(self, other: Demand, allocation: Allocation) -> None:
        assert self.free.devices is not None
        for node in allocation.nodes:
            if node not in self.devices:
                self.devices[node] = self.free.devices[node].tolist()
            if other.exclusive:
                row = self.devices[node]
                row[:] = [left + DEVICE if device < int(self.room.machine.total[GPUS, node]) else left for device, left in enumerate(row)]
        for node, device, shares in allocation.devices if not other.exclusive else ():
            row = self.devices[node]
            row[device] += shares
            if shares < DEVICE and row[device] == DEVICE:
                self.rows[node][GPUS] += 1

    def _chunks(self, node: int, row: list[int]) -> int:
        demand = self.demand
        if not self.where[node]:
            return 0
        if demand.exclusive and row[CORES] != int(self.room.machine.total[CORES, node]):
            return 0
        chunks = row[CORES] // demand.cores
        if demand.gpus:
            chunks = min(chunks, row[GPUS] // demand.gpus)
        elif demand.share:
            devices = self.devices.get(node)
            if devices is None:
                assert self.free.devices is not None
                devices = self.free.devices[node].tolist()
            chunks = min(chunks, sum(max(left, 0) // demand.share for left in devices))
        if demand.memory:
            chunks = min(chunks, row[MEMORY] // demand.memory)
        if demand.apart:
            chunks = min(chunks, 1)
        return max(chunks, 0)

    def state(self) -> Free:
        """Return what is free now, as a whole."""
        after = self.free.copy()
        for node, row in self.rows.items():
            for resource in (CORES, GPUS, MEMORY):
                after.total[resource] += row[resource] - int(after.free[resource, node])
                after.free[resource, node] = row[resource]
        if after.devices is not None:
            for node, devices in self.devices.items():
                after.devices[node] = devices
        after.pools = self.pools
        after._no.clear()
        after._yes.clear()
        after._last = None
        return after


def shadow_of(view: View, room: Room, job: int, free: Free, started: Sequence[int], places: Sequence[Allocation]) -> Shadow:
    """Return the earliest time, by estimates, at which ``job`` fits as a placement, and what is free then.

    All that comes free at that very time counts. A job that outruns its estimate counts as ending now.

    Parameters
    ----------
    view, room : View, Room
        The present.
    job : int
        A job that does not fit now.
    free : Free
        What is free once ``started`` have started at ``places``.
    started, places : sequences of equal length
        Jobs that start now.
    """
    growth = _Growth(room, int(room.kind[job]), free)
    if room.machine.windows:
        return _shadow_between_windows(view, room, job, growth, started, places)
    time = view.now_s
    for end, other, place in _releases(view, room, started, places):
        if end > time:
            if growth.enough():
                break
            time = end
        growth.end(other, place)
    return Shadow(job, time, growth.state()) if growth.enough() else Shadow(job, math.inf, None)


def _shadow_between_windows(
    view: View, room: Room, job: int, growth: _Growth, started: Sequence[int], places: Sequence[Allocation]
) -> Shadow:
    """Return the shadow where nodes are kept free for a time: it may begin when a job ends, when a window ends, or when the job's own begins."""
    kind, now = int(room.kind[job]), view.now_s
    releases = list(_releases(view, room, started, places))
    ends = [end for end, _, _ in releases]
    windows = room.machine.windows
    turns = {now, *(end for end in ends if end > now), *(w.end_s for w in windows if w.end_s > now)}
    mine = room.demands[kind].window
    if mine >= 0 and windows[mine].start_s > now:
        turns.add(windows[mine].start_s)
    done = 0
    for time in sorted(turns):
        upto = bisect_right(ends, time)
        for _, other, place in releases[done:upto]:
            growth.end(other, place)
        done = max(done, upto)
        if growth.enough():
            state = growth.state()
            if state.fits(kind, room.usable(job, time)):
                return Shadow(job, time, state)
    return Shadow(job, math.inf, None)


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
        self, view: View, room: Room, free: Free, start: list[int], places: list[Allocation], shadow: Shadow | None, head: int
    ) -> None:
        self.view, self.room, self.free, self.shadow, self.head = view, room, free, shadow, head
        self.start, self.places = start, places
        self.owned = bool(start)
        self.shadow_owned = False
        self.refused: set[int] = set()

    def run(self, candidates: npt.NDArray[np.int64]) -> None:
        """Start what may start, in the order of the candidates."""
        room, now = self.room, self.view.now_s
        kinds = room.kind[candidates]
        fitting = self._fitting(kinds)
        if not fitting.any():
            return
        candidates, kinds = candidates[fitting], kinds[fitting]
        if self.shadow is None:
            self.shadow = shadow_of(self.view, room, self.head, self.free, self.start, self.places)
        shadow = self.shadow
        short = now + room.estimate_s[candidates] <= shadow.time_s
        windows = bool(room.machine.windows)
        at = 0
        while at < len(candidates):
            job, kind, brief = int(candidates[at]), int(kinds[at]), bool(short[at])
            at += 1
            if not brief and kind in self.refused:
                continue
            if not (room.fits(job, now, self.free) if windows else self.free.fits(kind)):
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

    def run_by_kind(self, waiting: Waiting) -> None:
        """Start what may start of all who joined the queue after the head, in that order, by looking at the next of each kind only."""
        room, now, free = self.room, self.view.now_s, self.free
        # the next job of each kind that may pass, as a heap by rank
        ahead: list[tuple[int, int, int]] = []
        for kind in free.fitting(waiting.lines):
            job = waiting.after(kind, self.head, math.inf)
            if job >= 0:
                ahead.append((waiting.rank(job), kind, job))
        if not ahead:
            return
        if self.shadow is None:
            self.shadow = shadow_of(self.view, room, self.head, free, self.start, self.places)
        left_s = self.shadow.time_s - now
        estimates = self.view.estimate_s
        time = self.shadow.time_s
        windows = bool(room.machine.windows)
        heapify(ahead)
        while ahead:
            _, kind, job = heappop(ahead)
            brief = now + estimates[job] <= time
            if room.fits(job, now, self.free) if windows else self.free.fits(kind):
                place = self._place(job, kind, brief) if brief or kind not in self.refused else None
                if place is not None:
                    self._start(job, kind, place, brief)
                elif not windows:
                    self.refused.add(kind)
            elif not windows:
                continue
            # an estimate that is a rounding error too long is found here and put off above
            later = waiting.after(kind, job, left_s + 1e-6 * abs(time) if kind in self.refused else math.inf)
            if later >= 0:
                heappush(ahead, (waiting.rank(later), kind, later))

    def verdict(self) -> Verdict:
        """Return what was decided; a shadow that nobody needed is computed only for those who record it."""
        if self.shadow is None and self.view.explain:
            self.shadow = shadow_of(self.view, self.room, self.head, self.free, self.start, self.places)
        return Verdict(self.start, self.places, self.shadow, self.head)

    def _fitting(self, kinds: npt.NDArray[np.int64]) -> Bools:
        """Return which candidates are of a kind that fits now: one question a kind."""
        present = np.flatnonzero(np.bincount(kinds, minlength=1))
        fits = np.zeros(len(self.room.demands), dtype=np.bool_)
        free = self.free
        fits[[kind for kind in present.tolist() if free.fits(kind)]] = True
        return fits[kinds]

    def _place(self, job: int, kind: int, brief: bool) -> Allocation | None:
        """Return where a candidate goes; None where it would delay the head."""
        room, now, shadow = self.room, self.view.now_s, self.shadow
        assert shadow is not None
        if brief or shadow.free is None:
            return room.place(job, now, self.free)
        state, head = shadow.free, int(room.kind[shadow.job])
        demand, of_head = room.demands[kind], room.demands[head]
        if not _beside(state, demand, of_head):
            return None
        place = room.place(job, now, self.free)
        assert place is not None
        trial = state.copy()
        trial.take(kind, place)
        if trial.fits(head, room.usable(shadow.job, shadow.time_s)):
            return place
        spare = _spare(room, shadow)
        if spare is None or not spare.fits(kind):
            return None
        return room.place(job, now, self.free, spare.capacity(kind))

    def _start(self, job: int, kind: int, place: Allocation, brief: bool) -> None:
        if not self.owned:
            self.free = self.free.copy()
            self.owned = True
        self.free.take(kind, place)
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
        start, places, free, head = list[int](), list[Allocation](), room.free, queue[view.head]
        fitting = free.fitting({int(room.kind[job]) for job in view.arrived})
        if not fitting and not view.explain:
            return Verdict(start, places, known, head)
        candidates = np.array([job for job in view.arrived if room.kind[job] in fitting], dtype=np.int64)
    else:
        start, places, free, at = heads_in_room(view, room)
        if at >= len(queue):
            return Verdict(start, places, None, -1)
        head = queue[at]
        if start or (known is not None and known.job != head) or (known is not None and known.time_s <= now):
            known = None
        if order is None and room.waiting is not None:
            return _by_kind(view, room, room.waiting, (start, places, free), known, head)
        candidates = np.array(queue[at + 1 :], dtype=np.int64)
    if order is not None and len(candidates):
        candidates = np.array(order(candidates.tolist()), dtype=np.int64)
    work = _Backfill(view, room, free, start, places, known, head)
    if len(candidates):
        work.run(candidates)
    return work.verdict()


def _by_kind(
    view: View, room: Room, waiting: Waiting, heads: tuple[list[int], list[Allocation], Free], known: Shadow | None, head: int
) -> Verdict:
    start, places, free = heads
    if not view.explain and not free.fitting(waiting.lines):
        return Verdict(start, places, known, head)
    work = _Backfill(view, room, free, start, places, known, head)
    work.run_by_kind(waiting)
    return work.verdict()


def _as_foreseen(view: View) -> bool:
    """Return whether nothing has happened, nor is overdue, that estimates did not foretell."""
    return not view.unforeseen and not (view.running_end_s and view.running_end_s[0] <= view.now_s)
