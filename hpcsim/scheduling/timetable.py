"""What is free on the nodes of a machine from each time on, as far as is planned.

A step function of time whose values are whole states of the machine. A promise fixes nodes, and a job fits from a time on if the chunks that each
node can take *throughout* are enough. Sums over all nodes rule out most times before a node is looked at.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.hourly import HOUR_S
from hpcsim.scheduling.machine import CORES, DEVICE, GPUS, MEMORY, Allocation, Demand, Free, Integers
from hpcsim.scheduling.room import Room

if TYPE_CHECKING:
    pass

__all__ = ["Slot", "Timetable", "Undo", "planned_end_s"]

_BLOCK = 64
_AHEAD_S = 14 * 86400.0
"""Pools that change by the hour are laid out at least so far ahead."""
_NOWHERE = Allocation((), ())


def _of_pool(pool: int, amount: int) -> Demand:
    """Return a demand of a pool alone."""
    return Demand(0, cores=0, pooled=((pool, amount),))


def planned_end_s(start_s: float, estimate_s: float) -> float:
    """Return when a job ends by its estimate: later than it starts, by the least that the clock can tell where the estimate is nil."""
    end = start_s + estimate_s
    return end if end > start_s else math.nextafter(start_s, math.inf)


class Slot(NamedTuple):
    """A place in the timetable: which nodes, from when to when."""

    start_s: float
    end_s: float
    place: Allocation


class Timetable:
    """States of a machine over time.

    Parameters
    ----------
    now_s : float [s]
        Where it begins.
    room : Room
        The machine; what is free now is its first state.

    """

    def __init__(self, now_s: float, room: Room) -> None:
        self.room = room
        free = room.free
        self._wide = 3 * room.machine.nodes
        first = self._flat(free)
        self.times: npt.NDArray[np.float64] = np.array([now_s])
        self.slots: Integers = np.zeros(1, dtype=np.int64)
        self._unused: list[int] = []
        self.cells: Integers = np.empty((_BLOCK, len(first)), dtype=np.int64)
        self.cells[0] = first
        self.pools: Integers = np.empty((_BLOCK, len(free.pools)), dtype=np.int64)
        self.pools[0] = free.pools
        self.sums: Integers = np.empty((_BLOCK, 3), dtype=np.int64)
        self.sums[0] = free.total
        self._unused += range(_BLOCK - 1, 0, -1)
        self.running: dict[int, Slot] = {}
        """Jobs that run, or did a little while ago."""
        self.promised: dict[int, Slot] = {}
        """What every waiting job is promised, in queue order; from infinity on where the machine, as it was, cannot hold it."""
        self._due: list[tuple[float, int]] = []
        self._order: dict[int, int] = {}
        self._started = 0
        self._bounds: dict[int, tuple[list[float], list[float]]] = {}
        self._log: list[Undo] | None = None
        for window in room.machine.windows:
            for time in (window.start_s, window.end_s):
                if now_s < time < math.inf:
                    self._step(time)
        self._laid_s = now_s
        for at, pool in enumerate(room.machine.pools):
            if pool.hours is not None:
                self.take(now_s, math.inf, _of_pool(at, pool.capacity - int(min(pool.hours.values))), _NOWHERE)
        self._lay(now_s)

    def _lay(self, now_s: float) -> None:
        """Let pools whose amount changes by the hour have what they have in the weeks to come; after those they have the least of any hour."""
        pools = [(at, pool.hours) for at, pool in enumerate(self.room.machine.pools) if pool.hours is not None]
        if not pools or now_s + _AHEAD_S < self._laid_s:
            return
        first, last = self._laid_s, (math.floor(now_s / HOUR_S) * HOUR_S) + 2 * _AHEAD_S
        for at, hours in pools:
            least, begin = int(min(hours.values)), first
            while begin < last:
                end = min(hours.change_s(begin), last)
                more = int(hours.at(begin)) - least
                if more:
                    self.take(begin, end, _of_pool(at, more), _NOWHERE, 1)
                begin = end
        self._laid_s = last

    def __deepcopy__(self, memo: object) -> Timetable:
        other = type(self).__new__(type(self))
        other.room, other._wide = self.room, self._wide
        other.times, other.slots = self.times.copy(), self.slots.copy()
        other.cells, other.pools, other.sums = self.cells.copy(), self.pools.copy(), self.sums.copy()
        other._unused, other._due = self._unused.copy(), self._due.copy()
        other._laid_s = self._laid_s
        other.running, other.promised = self.running.copy(), self.promised.copy()
        other._order, other._started = self._order.copy(), self._started
        other._bounds = {kind: (a.copy(), b.copy()) for kind, (a, b) in self._bounds.items()}
        other._log = None
        return other

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Timetable)
            and self.promised == other.promised
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.cells[self.slots], other.cells[other.slots])
        )

    __hash__ = None  # type: ignore[assignment]

    def _flat(self, free: Free) -> Integers:
        flat = free.free.reshape(-1)
        return flat if free.devices is None else np.concatenate([flat, free.devices.reshape(-1)])

    # -- going back --------------------------------------------------------------------------------------------------------------

    def keep_log(self) -> None:
        """Note from now on how what is done is undone."""
        self._log = []

    def end_log(self) -> list[Undo]:
        """Return how what was done since is undone, and note no more."""
        log, self._log = self._log or [], None
        return log

    def undo(self, log: Sequence[Undo]) -> None:
        """Undo, last first, what a log notes; the state is then what it was, its caches empty."""
        for back, values in reversed(log):
            back(self, *values)
        self.promised = {job: self.promised[job] for job in sorted(self.promised, key=self._order.__getitem__)}
        self._due = [(slot.start_s, job) for job, slot in self.promised.items() if slot.start_s < math.inf]
        heapify(self._due)
        self._bounds.clear()

    def _unstep(self, times: npt.NDArray[np.float64], slots: Integers, slot: int, rows: tuple[Integers, Integers, Integers]) -> None:
        self.times, self.slots = times, slots
        self.cells[slot], self.pools[slot], self.sums[slot] = rows
        self._unused.append(slot)

    def _unadvance(self, times: npt.NDArray[np.float64], slots: Integers, freed: int) -> None:
        self.times, self.slots = times, slots
        if freed:
            del self._unused[-freed:]

    def _unput(self, job: int, slot: Slot | None, rank: int | None) -> None:
        if slot is None:
            del self.promised[job]
        else:
            self.promised[job] = slot
        if rank is None:
            del self._order[job]

    def _undrop(self, job: int, slot: Slot, rank: int) -> None:
        self.promised[job], self._order[job] = slot, rank
        self._started -= 1

    def _unbegin(self, job: int, slot: Slot | None) -> None:
        if slot is None:
            del self.running[job]
        else:
            self.running[job] = slot

    def _unforget(self, running: dict[int, Slot]) -> None:
        self.running = running

    # -- steps --------------------------------------------------------------------------------------------------------------------

    def _step(self, time_s: float) -> int:
        """Return the index of the step that begins at ``time_s``, which is made where there is none."""
        times = self.times
        at = int(times.searchsorted(time_s))
        if at < len(times) and times[at] == time_s:
            return at
        if not self._unused:
            size = len(self.cells)
            self.cells = np.concatenate([self.cells, np.empty_like(self.cells)])
            self.pools = np.concatenate([self.pools, np.empty_like(self.pools)])
            self.sums = np.concatenate([self.sums, np.empty_like(self.sums)])
            self._unused = list(range(2 * size - 1, size - 1, -1))
        slot, before = self._unused.pop(), self.slots[at - 1]
        if self._log is not None:
            rows = self.cells[slot].copy(), self.pools[slot].copy(), self.sums[slot].copy()
            self._log.append((Timetable._unstep, (times, self.slots, slot, rows)))
        self.cells[slot], self.pools[slot], self.sums[slot] = self.cells[before], self.pools[before], self.sums[before]
        self.times = np.concatenate([times[:at], [time_s], times[at:]])
        self.slots = np.concatenate([self.slots[:at], [slot], self.slots[at:]])
        return at

    def advance(self, now_s: float) -> None:
        """Forget what lies before ``now_s``."""
        last = int(self.times.searchsorted(now_s, "right")) - 1
        if self._log is not None:
            self._log.append((Timetable._unadvance, (self.times, self.slots, max(0, last))))
        if last > 0:
            self._unused += self.slots[:last].tolist()
            self.times, self.slots = self.times[last:], self.slots[last:]
        if self.times[0] < now_s:
            self.times = self.times.copy()
            self.times[0] = now_s
        self._lay(now_s)

    def take(self, begin_s: float, end_s: float, demand: Demand, place: Allocation, sign: int = -1) -> None:
        """Take what a job holds from ``begin_s`` to ``end_s``; with ``sign`` 1 give it back."""
        if end_s < math.inf:
            self._step(end_s)
        first = self._step(begin_s)
        last = int(self.times.searchsorted(end_s))
        slots = self.slots[first:last]
        if self._log is not None:
            self._log.append((Timetable._move, (slots, demand, place, -sign)))
        self._move(slots, demand, place, sign)
        if sign > 0:
            self._bounds.clear()

    def _move(self, slots: Integers, demand: Demand, place: Allocation, sign: int) -> None:
        """Take what a job holds, or with ``sign`` 1 give it back, in some states."""
        nodes, machine = list(place.nodes), self.room.machine
        counts = np.array(place.counts, dtype=np.int64)
        wide = machine.nodes
        for row, amount in ((CORES, demand.cores), (GPUS, demand.gpus), (MEMORY, demand.memory)):
            if not amount and not demand.exclusive:
                continue
            moved = sign * (machine.total[row, nodes] if demand.exclusive else amount * counts)
            if len(nodes) == 1:
                self.cells[slots, row * wide + nodes[0]] += moved[0]
            else:
                self.cells[slots[:, None], np.array(nodes) + row * wide] += moved
            self.sums[slots, row] += int(moved.sum())
        for pool, amount in demand.pooled:
            self.pools[slots, pool] += sign * amount
        if self.cells.shape[1] > self._wide:
            self._take_devices(slots, demand, place, sign)

    def _take_devices(self, slots: Integers, demand: Demand, place: Allocation, sign: int) -> None:
        machine = self.room.machine
        wide, most = machine.nodes, (self.cells.shape[1] - self._wide) // machine.nodes
        moved = place.devices
        if demand.exclusive:
            moved = tuple((node, device, DEVICE) for node in place.nodes for device in range(int(machine.total[GPUS, node])))
        for node, device, shares in moved:
            self.cells[slots, self._wide + node * most + device] += sign * shares
        for node in {node for node, _, shares in moved if shares < DEVICE}:
            first = self._wide + node * most
            whole = (self.cells[slots, first : first + most] == DEVICE).sum(axis=1)
            self.sums[slots, GPUS] += whole - self.cells[slots, wide + node]
            self.cells[slots, wide + node] = whole

    def scratch(self, cells: Integers, pools: Integers) -> Free:
        """Return a state as what is free."""
        free = self.room.free.copy()
        machine = self.room.machine
        free.free[:] = cells[: self._wide].reshape(3, machine.nodes)
        if free.devices is not None:
            free.devices[:] = cells[self._wide :].reshape(machine.nodes, -1)
        free.pools = pools.tolist()
        free.total = [int(row.sum()) for row in free.free]
        free._yes.clear()
        free._no.clear()
        free._last = None
        return free

    # -- where a job fits ---------------------------------------------------------------------------------------------------------

    def _may(self, slots: Integers, demand: Demand) -> npt.NDArray[np.bool_]:
        """Return in which states the amounts that are free would do if they lay where they are needed."""
        sums, chunks = self.sums[slots], demand.chunks
        may = sums[:, CORES] >= chunks * demand.cores
        if demand.gpus:
            may &= sums[:, GPUS] >= chunks * demand.gpus
        if demand.memory:
            may &= sums[:, MEMORY] >= chunks * demand.memory
        for pool, amount in demand.pooled:
            may &= self.pools[slots, pool] >= amount
        return may

    def _instants(self, slots: Integers, kind: int) -> npt.NDArray[np.bool_]:
        """Return in which states a job could run for an instant."""
        demand, machine = self.room.demands[kind], self.room.machine
        may = self._may(slots, demand)
        if not may.any() or demand.share:
            return may
        held = np.flatnonzero(may)
        cells = self.cells[slots[held], : self._wide].reshape(len(held), 3, machine.nodes)
        chunks = cells[:, CORES] // demand.cores
        if demand.gpus:
            chunks = np.minimum(chunks, cells[:, GPUS] // demand.gpus)
        if demand.memory:
            chunks = np.minimum(chunks, cells[:, MEMORY] // demand.memory)
        if demand.exclusive:
            chunks = np.where(cells[:, CORES] == machine.total[CORES], chunks, 0)
        chunks = np.maximum(chunks, 0)
        if demand.apart:
            chunks = np.minimum(chunks, 1)
        if demand.where:
            chunks = np.where(machine.sets[demand.where], chunks, 0)
        may[held] = machine.enough(chunks, demand.chunks)
        return may

    def first_instant_s(self, kind: int, before_s: float) -> float:
        """Return the earliest time at which a job of a kind could run for an instant, windows aside; ``before_s`` where there is none before."""
        stop = int(self.times.searchsorted(before_s))
        for low in range(0, stop, _BLOCK):
            fits = self._instants(self.slots[low : min(low + _BLOCK, stop)], kind)
            if fits.any():
                return float(self.times[low + int(fits.argmax())])
        return before_s

    def earliest(self, job: int, before_s: float = math.inf) -> tuple[float, Allocation | None]:
        """Return the earliest time from which a job fits for its estimate, and where; (``before_s``, None) where there is none before it."""
        room = self.room
        kind, estimate = int(room.kind[job]), float(room.estimate_s[job])
        demand, windows = room.demands[kind], room.machine.windows
        times, slots = self.times, self.slots
        bound = self._bound(kind, estimate) if not windows else -math.inf
        at = max(0, int(times.searchsorted(bound)))
        steps, ahead = len(times), 4
        while at < steps and times[at] < before_s:
            fits = self._instants(slots[at : at + ahead], kind)
            hit = int(fits.argmax())
            if not fits[hit]:
                at += ahead
                ahead = min(2 * ahead, _BLOCK)
                continue
            at += hit
            ahead = 4
            start = float(times[at])
            if start >= before_s:
                break
            stop = int(times.searchsorted(planned_end_s(start, estimate)))
            inside = slots[at:stop]
            short = np.flatnonzero(~self._may(inside, demand))
            if len(short):
                at += int(short[-1]) + 1
                continue
            place = self._place(job, kind, start, inside)
            if place is not None:
                if not windows:
                    self._learn(kind, estimate, start)
                return start, place
            at += 1
        return before_s, None

    def _place(self, job: int, kind: int, start_s: float, slots: Integers) -> Allocation | None:
        """Return where a job fits throughout some states."""
        room, demand = self.room, self.room.demands[kind]
        if len(slots) == 1:
            free = self.scratch(self.cells[slots[0]], self.pools[slots[0]])
        else:
            free = self.scratch(self.cells[slots].min(axis=0), self.pools[slots].min(axis=0))
        capacity = free.capacity(kind, room.usable(job, start_s) if room.machine.windows else None)
        if int(capacity.sum()) < demand.chunks:
            return None
        nodes, counts = room.placement.choose(demand, capacity, free)
        return free.allocate(kind, nodes, counts)

    def _bound(self, kind: int, estimate_s: float) -> float:
        """Return a time before which a job of a kind and length fits nowhere: found for a shorter one, and only less has been free since."""
        lengths, starts = self._bounds.get(kind, ((), ()))
        at = bisect_right(lengths, estimate_s)
        return starts[at - 1] if at else -math.inf

    def _learn(self, kind: int, estimate_s: float, start_s: float) -> None:
        lengths, starts = self._bounds.setdefault(kind, ([], []))
        at = bisect_right(lengths, estimate_s)
        if at and starts[at - 1] >= start_s:
            return
        stop = at
        while stop < len(starts) and starts[stop] <= start_s:
            stop += 1
        lengths[at:stop], starts[at:stop] = [estimate_s], [start_s]

    # -- promises -----------------------------------------------------------------------------------------------------------------

    def promise(self, job: int) -> None:
        """Promise a job the earliest hole."""
        start, place = self.earliest(job)
        self.put(job, _NEVER if place is None else Slot(start, planned_end_s(start, float(self.room.estimate_s[job])), place))

    def put(self, job: int, slot: Slot) -> None:
        """Promise a job a place that is free."""
        if self._log is not None:
            self._log.append((Timetable._unput, (job, self.promised.get(job), self._order.get(job))))
        self.promised[job] = slot
        self._order.setdefault(job, len(self._order) + self._started)
        if slot.start_s < math.inf:
            self.take(slot.start_s, slot.end_s, self.room.demands[self.room.kind[job]], slot.place)
            heappush(self._due, (slot.start_s, job))

    def withdraw(self, job: int) -> Slot:
        """Give back what a waiting job is promised, and return it; its place in the order of promises stays."""
        slot = self.promised[job]
        if slot.start_s < math.inf:
            self.take(slot.start_s, slot.end_s, self.room.demands[self.room.kind[job]], slot.place, 1)
        return slot

    def drop(self, job: int) -> None:
        """Forget a job that waits no longer."""
        if self._log is not None:
            self._log.append((Timetable._undrop, (job, self.promised[job], self._order[job])))
        del self.promised[job], self._order[job]
        self._started += 1

    def begin(self, job: int, slot: Slot) -> None:
        """Let a job that was promised a place run there."""
        if self._log is not None:
            self._log.append((Timetable._unbegin, (job, self.running.get(job))))
        self.running[job] = slot
        self.drop(job)

    def forget(self, now_s: float) -> None:
        """Forget those that ended as planned."""
        if self._log is not None:
            self._log.append((Timetable._unforget, (self.running,)))
        self.running = {job: slot for job, slot in self.running.items() if slot.end_s > now_s or job in self.room.allocations}

    def first_s(self) -> float:
        """Return the earliest promise; infinite where there is none."""
        due, promised = self._due, self.promised
        while due:
            start, job = due[0]
            slot = promised.get(job)
            if slot is not None and slot.start_s == start:
                return start
            heappop(due)
        return math.inf

    def due(self, now_s: float) -> list[int]:
        """Return the jobs whose time has come, in queue order."""
        jobs = set()
        while self.first_s() <= now_s:
            jobs.add(heappop(self._due)[1])
        return sorted(jobs, key=self._order.__getitem__)

    def return_unused(self, now_s: float) -> None:
        """Give back what jobs that ended early do not need any more."""
        for job in [job for job in self.running if job not in self.room.allocations]:
            slot = self.running.pop(job)
            if self._log is not None:
                self._log.append((Timetable._unbegin, (job, slot)))
            if slot.end_s > now_s:
                self.take(now_s, slot.end_s, self.room.demands[self.room.kind[job]], slot.place, 1)

    def may_move(self, job: int, old: Slot, soonest_s: float) -> bool:
        """Return whether there may be a better place for a job than its own, where its kind first fits for an instant at ``soonest_s``."""
        return soonest_s < old.start_s

    def better(self, job: int, old: Slot) -> Slot | None:
        """Return a better place for a job whose own, ``old``, has been given back: an earlier one; None where there is none."""
        start, place = self.earliest(job, old.start_s)
        return None if place is None else Slot(start, planned_end_s(start, float(self.room.estimate_s[job])), place)

    def compress(self) -> bool:
        """Move promises forward: in queue order, each to the earliest hole that is there with all others in place. Return whether none moved."""
        settled = True
        first: dict[int, float] = {}
        kinds = self.room.kind
        for job, old in list(self.promised.items()):
            kind = int(kinds[job])
            soonest = first.get(kind)
            if soonest is None:
                soonest = first[kind] = self.first_instant_s(kind, math.inf)
            if not self.may_move(job, old, soonest):
                continue
            self.withdraw(job)
            new = self.better(job, old)
            if new is None:
                self.put(job, old)
                continue
            settled = False
            self.put(job, new)
            first = {other: min(time, old.start_s) for other, time in first.items()}
        return settled


Undo = tuple[Callable[..., None], tuple[Any, ...]]
"""A method of the timetable, and what it is called with, that undoes one change."""

_NEVER = Slot(math.inf, math.inf, Allocation((), ()))
