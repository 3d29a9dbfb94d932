"""When the head of the queue will fit on a machine of nodes, by estimates: as running jobs end one after the other."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpcsim.scheduling.machine import CORES, DEVICE, GPUS, MEMORY, Allocation, Demand, Free

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View
    from hpcsim.scheduling.room import Room

__all__ = ["Shadow", "shadow_of"]


class Shadow(NamedTuple):
    """What EASY remembers: the head, when it will fit, and what is free then, the jobs that were let pass in place.

    ``free`` is None where the machine, as it is now, cannot hold the head.
    """

    job: int
    time_s: float
    free: Free | None


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
        self.capacity = free.each(kind)
        machine = room.machine
        self.part = machine.group.tolist() if machine.ladder else None
        """Class of each node, where a job has nodes of one class only."""
        self.chunks = np.add.reduceat(self.capacity, machine.first).tolist() if machine.ladder else [int(self.capacity.sum())]
        self.pools = list(free.pools)
        self.rows: dict[int, list[int]] = {}
        self.devices: dict[int, list[int]] = {}

    def enough(self) -> bool:
        """Return whether the job fits."""
        pools = self.pools
        return max(self.chunks) >= self.demand.chunks and all(amount <= pools[pool] for pool, amount in self.demand.pooled)

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
            self.chunks[self.part[node] if self.part else 0] += now - row[3]
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
