"""Conservative backfilling on a machine of nodes, by a timetable that is changed from decision to decision and yet stays what it was for who looks back."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from heapq import heappush
from typing import TYPE_CHECKING, NamedTuple

from hpcsim.scheduling.machine import Allocation, Free
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.timetable import Slot, Timetable, Undo

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View

__all__ = ["Make", "Planned", "Plans", "conservative_in_room"]


class Plans:
    """What conservative backfilling remembers on a machine of nodes; it never changes for those who look at it.

    A decision changes the one timetable that there is, and hands it on to the plans that it makes, with a note in the old ones of how to go back. So the
    newest plans cost nothing, and older ones a copy of the timetable when somebody looks at them again (H. G. Baker, "Shallow binding makes functional
    arrays fast", ACM SIGPLAN Notices 1991).

    Parameters
    ----------
    table : Timetable
        Who is promised what.
    closed : tuple of int
        Nodes that were closed.
    settled : bool
        No job can be moved forward, all others in place, unless room comes that was not foreseen.
    """

    __slots__ = ("_back", "_next", "_table", "closed", "settled")

    def __init__(self, table: Timetable, closed: tuple[int, ...], settled: bool) -> None:
        self._table: Timetable | None = table
        self._next: Plans | None = None
        self._back: list[Undo] = []
        self.closed = closed
        self.settled = settled

    @property
    def table(self) -> Timetable:
        """Who is promised what. It must not be changed."""
        if self._table is None:
            chain: list[Plans] = [self]
            while chain[-1]._table is None:
                following = chain[-1]._next
                assert following is not None
                chain.append(following)
            newest = chain.pop()._table
            table = deepcopy(newest)
            assert table is not None
            for plans in reversed(chain):
                table.undo(plans._back)
            self._table, self._next, self._back = table, None, []
        return self._table

    def holds(self, table: Timetable) -> bool:
        """Return whether a timetable is the one of these plans."""
        return self._table is table

    def pass_on(self, plans: Plans) -> None:
        """Leave the timetable, which has changed since :meth:`Timetable.keep_log`, to the plans that follow from these."""
        assert self._table is not None
        self._back, self._table, self._next = self._table.end_log(), None, plans

    def __deepcopy__(self, memo: object) -> Plans:
        return Plans(deepcopy(self.table), self.closed, self.settled)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plans) and (self.closed, self.settled) == (other.closed, other.settled) and self.table == other.table

    __hash__ = None  # type: ignore[assignment]


Make = Callable[[float, Room], Timetable]


def _anew(view: View, room: Room, make: Make) -> Timetable:
    """Return a timetable of what runs, with all promises made anew in queue order; a job that outran its estimate ends now."""
    table = make(view.now_s, room)
    now = view.now_s
    for end, job in zip(view.running_end_s, room.running, strict=True):
        table.take(max(end, now), math.inf, room.demands[room.kind[job]], room.allocations[job], 1)
        table.running[job] = Slot(now, max(end, now), room.allocations[job])
    for job in view.queue[view.head :]:
        table.promise(job)
    return table


def _runs_longer(view: View, room: Room, table: Timetable) -> bool:
    """Return whether a running job is now told to end later than was planned with."""
    return any(job in table.running and end > table.running[job].end_s for end, job in zip(view.running_end_s, room.running, strict=True))


def _moved_on(view: View, room: Room, memo: Plans | None, make: Make) -> tuple[Timetable, bool]:
    """Return the timetable with what has happened since, and whether nothing can move."""
    now = view.now_s
    late = bool(view.running_end_s) and view.running_end_s[0] <= now
    longer = memo is not None and view.unforeseen and _runs_longer(view, room, memo.table)
    if memo is None or late or longer or tuple(sorted(room.free._closed)) != memo.closed or memo.table.first_s() < now:
        return _anew(view, room, make), True
    table = memo.table
    table.keep_log()
    table.room = room
    table.advance(now)
    settled = True
    if view.unforeseen:
        table.return_unused(now)
        waiting = view.queue[view.head :]
        gone = set(table.promised).difference(waiting) if len(table.promised) + len(view.arrived) != len(waiting) else ()
        for job in sorted(gone):
            table.withdraw(job)
            table.drop(job)
    if view.unforeseen or not memo.settled:
        settled = table.compress()
    for job in view.arrived:
        if job not in table.promised:
            table.promise(job)
    return table, settled


class Planned(NamedTuple):
    """What :func:`conservative_in_room` decides."""

    start: list[int]
    places: list[Allocation]
    plans: Plans
    wake_s: float


def conservative_in_room(view: View, room: Room, memo: Plans | None, make: Make = Timetable) -> Planned:
    """Decide by conservative backfilling on a machine of nodes; see :class:`~hpcsim.scheduling.conservative.Conservative`.

    ``make`` makes the timetable anew: one that promises other places than the earliest plans otherwise.
    """
    now = view.now_s
    late = bool(view.running_end_s) and view.running_end_s[0] <= now
    table, settled = _moved_on(view, room, memo, make)
    start: list[int] = []
    places: list[Allocation] = []
    due = table.due(now)
    free = room.free.copy() if due else room.free
    for job in due:
        kind, slot = int(room.kind[job]), table.promised[job]
        if not _holds(free, kind, slot.place):
            heappush(table._due, (slot.start_s, job))
            continue
        free.take(kind, slot.place)
        start.append(job)
        places.append(slot.place)
        table.begin(job, slot)
        if not now + view.estimate_s[job] > now:
            late, settled = True, False
    if len(table.running) > 2 * len(room.allocations) + 64:
        table.forget(now)
    first = table.first_s()
    wake = math.inf if late or first <= now else first
    plans = Plans(table, tuple(sorted(room.free._closed)), settled)
    if memo is not None and memo.holds(table):
        memo.pass_on(plans)
    return Planned(start, places, plans, wake)


def _holds(free: Free, kind: int, place: Allocation) -> bool:
    """Return whether a place is free now."""
    demand = free.demands[kind]
    if not free._could(demand):
        return False
    capacity = free.each(kind)
    if any(capacity[node] < count for node, count in zip(place.nodes, place.counts, strict=True)):
        return False
    devices = free.devices
    return devices is None or all(devices[node, device] >= shares for node, device, shares in place.devices)
