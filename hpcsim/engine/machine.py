"""The batch system of a machine of nodes: several resources, placements, and what is closed for a time.

The queue, the order of events and the policies are those of one pool of processors (:class:`~hpcsim.engine.jobs.BatchSystem`); a view here has a
room, by which the policy decides, and a job that starts gets nodes.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from heapq import heapify, heappush
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.engine.caches import readiness
from hpcsim.engine.checks import verify_machine, verify_place
from hpcsim.engine.clock import ARRIVAL, COMPLETION, LATE_COMPLETION, Clock, Due
from hpcsim.engine.driver import Driver
from hpcsim.engine.jobs import BatchSystem, EventOrder, Observer, PolicyFault, Ticket
from hpcsim.engine.outcome import CANCELLED, Outcome
from hpcsim.engine.sleep import granted
from hpcsim.engine.stopping import Headway, Stopping, Stops
from hpcsim.scheduling.data_local import CacheRule
from hpcsim.scheduling.machine import CORES, Allocation, Demand, Free, Machine, described
from hpcsim.scheduling.placement import Placement, make_placement
from hpcsim.scheduling.policies import STOPS, Policy
from hpcsim.scheduling.prediction import Predictor, corrected_s
from hpcsim.scheduling.requests import Asking, demand_of, demands_of
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.sleeping import SleepRule
from hpcsim.scheduling.waiting import Waiting
from hpcsim.workload.jobs import JobTable, dependency_circles

__all__ = ["MachineSystem"]

NEVER_FITS = problem_kind(
    "job-never-fits", "job {name} asks for {what}, which the machine cannot give even when it is empty", "ask for less, or add nodes"
)
CIRCLE = problem_kind(
    "job-dependency-circle", "job {job} can never start: it waits, by way of others, for itself", "drop one of the dependencies"
)
POOL_ONLY = problem_kind(
    "policy-pool-only",
    "the policy {name!r} plans with one pool of processors, not with nodes",
    "choose another policy, or leave out what makes nodes differ",
)


class MachineSystem(BatchSystem):
    """A machine of nodes under a queueing policy.

    Parameters
    ----------
    clock : Clock
        The clock that it lives on.
    machine : Machine
        The nodes.
    policy : Policy or str
        Which waiting jobs start.
    placement : Placement or str
        Which nodes they get.
    asking : Asking
        How the columns of a job table are meant.
    size : int, optional
        Processors of the machine, in the unit in which jobs count theirs; its cores without it.
    stopping : Stopping
        What it costs a job to be stopped.
    predictor : Predictor, optional
        Foretells run times: what policies are told in place of the estimates of the jobs, which stay their limits.
    sleep : SleepRule, optional
        When idle nodes are switched off. Policies are then told estimates that are longer by the time to boot.
    caches : CacheRule, optional
        What nodes keep of the data of jobs. Policies are then told estimates that are longer by the most that staging can take.
    order, observers, record, check
        As in :class:`~hpcsim.engine.jobs.BatchSystem`; ``check`` also asserts that no node is overbooked.

    Raises
    ------
    InputError
        An unknown policy, placement or order, or a policy that knows one pool of processors only.
    """

    __slots__ = (
        "_after", "_always", "_asked", "_demands", "_driven", "_headway", "_kind", "_known", "_limit", "_running", "_stops", "_waits_for",
        "allocations", "asking", "driver", "free_nodes", "machine", "placement", "places", "power", "predictor", "room", "stopping",
    )  # fmt: skip

    def __init__(
        self,
        clock: Clock,
        machine: Machine,
        policy: Policy | str,
        *,
        placement: Placement | str = "first-fit",
        asking: Asking | None = None,
        size: int | None = None,
        stopping: Stopping | None = None,
        predictor: Predictor | None = None,
        sleep: SleepRule | None = None,
        caches: CacheRule | None = None,
        order: EventOrder = "batch",
        observers: Sequence[Observer] = (),
        record: bool = False,
        check: bool = False,
    ) -> None:
        super().__init__(clock, size or machine.cores, policy, order=order, observers=observers, record=record, check=check)
        if not getattr(self.policy, "rooms", False):
            raise POOL_ONLY.error(path="policy", name=self.policy.name)
        self._always = bool(getattr(self.policy, "resizes", False))
        self.machine = machine
        self.placement = make_placement(placement) if isinstance(placement, str) else placement
        self.asking = asking or Asking()
        self._demands: list[Demand] = []
        self._known: dict[Demand, int] = {}
        self.free_nodes = Free(machine, self._demands)
        """What is free now."""
        self.allocations: dict[int, Allocation] = {}
        """Where each running job is."""
        self.places: dict[int, Allocation] = {}
        """Where each job that has started is, or was last."""
        self._asked: list[int] = []
        self._kind: list[int] = []
        self._running: list[int] = []
        self._after: dict[int, list[int]] = {}
        self._waits_for: dict[int, int] = {}
        self.stopping = stopping or Stopping()
        self._stops = Stops(self.stopping)
        self._headway = Headway()
        self.predictor = predictor
        self.power = readiness(clock, self.free_nodes, sleep, caches, lambda job: self._demands[self._kind[job]])
        self.driver: Driver | None = None
        """Who says when jobs end whose run time depends on others."""
        self._driven: set[int] = set()
        self._limit: dict[int, float] = {}
        self._queue = array("q")  # type: ignore[assignment]
        self._plain = False
        self.room = Room(
            machine,
            self.free_nodes,
            self._demands,
            np.empty(0, dtype=np.int64),
            np.empty(0),
            self._running,
            self.allocations,
            self.placement,
            Waiting() if self._key is None else None,
            {},
            [],
            overhead_s=self._stops.overhead_s,
        )
        view = self._view
        view.queue = self._queue
        view.running_processors = ()
        view.free = view.capacity = machine.cores
        view.room = self.room

    # -- what the rest of the engine calls ---------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Cores that are free on nodes that are open."""
        return int(np.maximum(self.free_nodes.free[0], 0).sum())

    def _number(self, demand: Demand, name: object) -> int:
        """Return the number of a kind of demand, which must fit on the empty machine."""
        number = self._known.get(demand)
        if number is None:
            if demand.share and not self.machine.shares:
                raise ValueError("jobs take shares of devices: make the machine with shares=True")
            if not self.machine.holds(demand):
                raise NEVER_FITS.error(name=name, what=described(demand))
            number = self._known[demand] = len(self._demands)
            self._demands.append(demand)
        return number

    def submit(self, jobs: JobTable, demands: tuple[list[Demand], Any] | None = None) -> range:
        """Let the jobs of a table arrive at their times of submission, and return their numbers here, by submission.

        Parameters
        ----------
        jobs : JobTable
            The jobs.
        demands : (list of Demand, int64 array of shape (jobs,)), optional
            What they ask for, by submission; from the columns of the table without it.

        Raises
        ------
        InputError
            A job that the empty machine could not hold, or jobs that wait for each other.
        """
        jobs = jobs.sorted_by_submit()
        first = len(self._submit)
        if not len(jobs):
            return range(first, first)
        circles = dependency_circles(jobs)
        if circles.any():
            raise CIRCLE.error(job=int(jobs.job_id[circles][0]))
        kinds, kind = demands_of(jobs, self.machine, self.asking) if demands is None else demands
        numbers = np.empty(len(kinds), dtype=np.int64)
        for at, demand in enumerate(kinds):
            numbers[at] = self._number(demand, int(jobs.job_id[int(np.argmax(kind == at))]))
        equivalents = np.array([self.machine.processor_equivalents(demand) for demand in kinds])
        entered = self._enter(jobs, equivalents[kind].tolist())
        self._asked += jobs.processors.tolist()
        self._kind += numbers[kind].tolist()
        self.room.priority += jobs.filled("priority").tolist()
        self.room.deadline_s += (jobs.submit_s + jobs.filled("due_s")).tolist()
        self._refresh()
        if jobs.after is not None:
            index = {int(job): first + row for row, job in enumerate(jobs.job_id.tolist())}
            self._waits_for |= {first + row: index[before] for row, before in enumerate(jobs.after.tolist()) if before in index}
        self.clock.push(self._submit[first], ARRIVAL, Due(self.clock, self._on_arrival, first))
        return entered

    def _refresh(self) -> None:
        self.room.kind = np.array(self._kind, dtype=np.int64)
        self.room.estimate_s = np.array(self._estimate, dtype=np.float64)

    def request(self, processors: int, *, estimate_s: float, name: str = "", demand: Demand | None = None) -> Ticket:
        """Put a job into the queue now, and return the event of its start; see :meth:`BatchSystem.request`.

        Parameters
        ----------
        processors : int
            Processors, as a job of a table counts them.
        estimate_s : float [s]
            What the policy is told.
        name : str
            What the job is called.
        demand : Demand, optional
            What it asks for in full; ``processors`` anywhere without it.
        """
        demand = demand or demand_of(self.machine, self.asking, processors=processors)
        number = self._number(demand, name or "without a name")
        ticket = self._enter_one(self.machine.processor_equivalents(demand), estimate_s, name)
        job = ticket.job
        self._asked.append(int(processors))
        self._kind.append(number)
        self.room.priority.append(0.0)
        self.room.deadline_s.append(math.inf)
        self.room.fixed = {*self.room.fixed, job}
        self._refresh()
        self._enqueue(job)
        self._settle()
        return ticket

    def processors_of(self, job: int) -> int:
        """Return the processors that a job asks for, as the table counts them."""
        return self._asked[job]

    def close(self, nodes: Sequence[int]) -> None:
        """Let nodes take no new jobs; those on them run on."""
        for node in nodes:
            self.free_nodes.close(node)
        if self.power is not None:
            self.power.close(nodes)
        self._reopened(nodes, "withdraw")

    def open(self, nodes: Sequence[int]) -> None:
        """Undo one :meth:`close` of each node."""
        for node in nodes:
            self.free_nodes.open(node)
        if self.power is not None:
            self.power.open([node for node in nodes if not self.free_nodes.is_closed(node)])
        self._reopened(nodes, "restore")

    def _reopened(self, nodes: Sequence[int], kind: str) -> None:
        view = self._view
        closed = [node for node in self.free_nodes._closed]
        self.down = int(self.machine.total[0, closed].sum()) if closed else 0
        view.capacity = self.machine.cores - self.down
        view.only_arrivals = False
        view.unforeseen = True
        self.down_changes.append((float(self.clock.now), self.down))
        for observer in self._observers:
            observer(kind, self.clock.now, {"nodes": tuple(nodes), "down": self.down})
        self._settle()

    def on_nodes(self, nodes: Sequence[int]) -> list[int]:
        """Return the running jobs that have a chunk on any of ``nodes``, by start."""
        wanted = set(nodes)
        jobs = [job for job, place in self.allocations.items() if wanted.intersection(place.nodes)]
        return sorted(jobs, key=lambda job: (self._start[job], job))

    def outcome(self) -> Outcome:
        """Return what became of every job up to now."""
        done = dataclasses.replace(super().outcome(), processors=np.array(self._asked, dtype=np.int64), places=self.places)
        return self._stops.told(done, self._start)

    # -- events -------------------------------------------------------------------------------------------------------------------

    def _enqueue(self, job: int) -> None:
        before = self._waits_for.get(job)
        if before is not None and self._end[before] != self._end[before]:
            self._after.setdefault(before, []).append(job)
            return
        self._join(job)

    def _join(self, job: int) -> None:
        if self.predictor is not None and job not in self._limit and self._run[job] == self._run[job]:
            self._limit[job] = asked = self._estimate[job]
            told = self.predictor.predict_s(self._user[job], self._processors[job], asked)
            self._estimate[job] = self.room.estimate_s[job] = told
        if self.power is not None:
            self._estimate[job] = self.room.estimate_s[job] = self.power.padded_s(job, self._estimate[job])
        super()._enqueue(job)
        if self.room.waiting is not None:
            self.room.waiting.join(job, self._kind[job], self._estimate[job])

    def _dequeue(self, job: int) -> None:
        super()._dequeue(job)
        if self.room.waiting is not None:
            self.room.waiting.leave(job)

    def _leave(self, job: int) -> None:
        """Free what a running job holds, and let those that waited for its end join the queue."""
        end = self._unlist(job)
        self._end[job] = now = self.clock._now
        if job in self._limit:
            assert self.predictor is not None
            worked = (now - self._start[job]) * self._rate(job) + self.room.done_s.get(job, 0.0)
            self.predictor.learn(self._user[job], self._processors[job], self._limit[job], worked)
        self._give_back(job)
        view = self._view
        view.only_arrivals = False
        if end != now:
            view.unforeseen = True
        if self._watched:
            self._tell("end", job)
        for waiting in self._after.pop(job, ()):
            self._join(waiting)

    def _pass(self) -> None:
        """Ask the policy, and start what it says where it says.

        With no core free there is nothing to ask, but for a policy that plans ahead: what has happened is kept for later.
        """
        view, queue = self._view, self._queue
        needless = view.head >= len(queue) or not (self.free_nodes.total[CORES] > 0 or self._plans or view.explain or self.power)
        if needless and not self._always:
            if self._wake is not None:
                self._wake_at(math.inf)
            return
        view.now_s = self.clock._now
        if self.power is not None:
            self.power.refresh()
        decision = self._decide(view)
        places: Sequence[Allocation] | None = None
        again: Sequence[int] = ()
        wake_s = math.inf
        if len(decision) == 2:
            start, view.reservation = decision
        else:
            start, view.reservation, view.memo, wake_s, places, stops, resize, sizes = decision
            if stops or resize or sizes is not None:
                again = [job for job, how in stops if self._stop_now(job, how)]
                self._reshape(resize, () if sizes is None else zip(start, sizes, strict=True))
        for at, job in enumerate(start):
            self._begin(job, None if places is None else places[at])
        self._arrived.clear()
        view.only_arrivals = True
        view.unforeseen = self.power is not None and bool(start)  # what need not boot ends before the policy was told
        for job in again:
            self._join(job)
        if self.power is not None:
            self.power.arm()
        if self.machine.windows:
            wake_s = min(wake_s, self._next_turn())
        if wake_s < math.inf or self._wake is not None:
            self._wake_at(wake_s)
        if view.head > 512 and 2 * view.head > len(queue):
            del queue[: view.head], self._keys[: view.head]
            view.head = 0
        if self._watched:
            self._inspect(start)

    def _next_turn(self) -> float:
        """Return when a window next begins or ends, while jobs wait; infinite for never."""
        if self._view.head >= len(self._queue):
            return math.inf
        now = self.clock._now
        turns = (time for window in self.machine.windows for time in (window.start_s, window.end_s) if time > now)
        return min(turns, default=math.inf)

    def _woken(self, event: Due) -> None:
        self._view.only_arrivals = False
        super()._woken(event)

    def _begin(self, job: int, place: Allocation | None) -> None:
        """Start a waiting job."""
        view, now, kind = self._view, self.clock._now, self._kind[job]
        free = self.free_nodes
        if place is None:
            if not self.room.fits(job, now, free):
                raise PolicyFault(f"policy {self.policy.name!r} starts job {job}, which does not fit")
            place = self.room.place(job, now, free)
            assert place is not None
        if self._check:
            verify_place(self, job, place)
        free.take(kind, place)
        head = view.head
        if head < len(self._queue) and self._queue[head] == job:
            view.head = head + 1
            if self.room.waiting is not None:
                self.room.waiting.leave(job)
        else:
            self._dequeue(job)
        if self.power is not None:
            self._estimate[job] = self.room.estimate_s[job] = self.power.plain_s(job)
        self._put_on(job, place)

    def _put_on(self, job: int, place: Allocation) -> None:
        """Let a job run where its nodes have been taken for it."""
        now = self.clock._now
        self.allocations[job] = self.places[job] = place
        begin = now
        if self.power is not None:
            begin = self.power.hold(place.nodes, job)
        self._start[job] = begin
        estimated = self._list(job)
        run = self._run[job]
        if run == run:
            end = begin + run
            self._stops.resume(job, now)
            driven = self.driver is not None and self.driver.begin(job, place.nodes, begin, run, lambda: self._arrive_at_end(job))
            if driven:
                self._driven.add(job)
            if job in self._limit and (estimated < end or driven):
                self.clock.at(estimated, self._overran, priority=ARRIVAL, job=job)
            if not driven:
                priority = LATE_COMPLETION if self.by_event and estimated > end else COMPLETION
                heappush(self._heap, (end, priority, next(self._eid), Due(self.clock, self._on_end, job)))
        else:
            ticket = self._tickets[job]
            if begin > now:
                self.clock.at(begin, lambda _: granted(ticket))
            else:
                ticket.succeed(ticket)
        if self._watched:
            self._tell("start", job)

    def _list(self, job: int) -> float:
        """Enter a running job by its estimated end, and return it [s]."""
        end = self._start[job] + self._estimate[job]
        at = bisect_right(self._ends, end)
        self._ends.insert(at, end)
        self._running.insert(at, job)
        return end

    def _unlist(self, job: int) -> float:
        """Undo :meth:`_list`."""
        end = self._start[job] + self._estimate[job]
        at = bisect_left(self._ends, end)
        while self._running[at] != job:
            at += 1
        del self._ends[at], self._running[at]
        return end

    def _arrive_at_end(self, job: int) -> None:
        """End a job whose driver says so; in event order after the arrivals where that is before its estimate, as the others."""
        self._driven.discard(job)
        event = Due(self.clock, [], job)
        if self.by_event and self._start[job] + self._estimate[job] > self.clock._now:
            self.clock.at(self.clock._now, self._complete, priority=LATE_COMPLETION, job=job)
        else:
            self._complete(event)

    def kill(self, job: int) -> None:
        """End a running trace job now, as failed."""
        self._undrive(job)
        super().kill(job)

    def _undrive(self, job: int) -> float | None:
        """Take a job from its driver and return what was done of it; None for one that has none."""
        if job not in self._driven:
            return None
        self._driven.discard(job)
        assert self.driver is not None
        return self.driver.stop(job)

    # -- jobs that are stopped and go on ------------------------------------------------------------------------------------------

    def _reshape(self, resize: Sequence[tuple[int, int, Allocation]], sizes: Iterable[tuple[int, int]]) -> None:
        """Let running jobs go on at another size, and set that of those which are about to start: (job, chunks)."""
        for job in [job for job, *_ in resize] + [job for job, chunks in sizes if chunks != self._demands[self._kind[job]].chunks]:
            raise PolicyFault(f"policy {self.policy.name!r} changes the size of job {job}, which has one size only")

    def _rate(self, job: int) -> float:
        """Return the work that a running job does in a second."""
        return 1.0

    def _stop_now(self, job: int, how: str) -> bool:
        """Stop a running job, and return whether it waits again at once."""
        name, now = self.policy.name, self.clock._now
        if job not in self.allocations or how not in STOPS:
            raise PolicyFault(f"policy {name!r} stops job {job} by {how!r}: it does not run, or there is no such way")
        if self._run[job] != self._run[job]:
            raise PolicyFault(f"policy {name!r} stops job {job}, which something else drives")
        _forget(self._heap, self._on_end, job)
        start = self._start[job]
        done_s = self._undrive(job)
        self._take_off(job)
        start = min(start, now)  # its nodes may still boot
        self._view.unforeseen = True
        if how == "cancel":
            self._end[job] = now
            self._fate[job] = CANCELLED
            return False
        self._shorten(job, start, how, done_s)
        delay = 0.0 if how == "suspend" or (how == "checkpoint" and self.stopping.notice) else self.stopping.resubmit_s
        if delay > 0:
            self.clock.at(now + delay, self._come_back, priority=ARRIVAL, job=job)
        return delay <= 0

    def _shorten(self, job: int, start: float, how: str, done_s: float | None = None) -> None:
        """Note what a job that was taken off keeps, and what it has left."""
        now, before = self.clock._now, self.room.done_s.get(job, 0.0)
        kept, self._run[job], self._estimate[job] = self._stops.note(
            job,
            how,
            start_s=start,
            now_s=now,
            rate=self._rate(job),
            run_s=self._run[job],
            estimate_s=self._estimate[job],
            before_s=before,
            done_s=done_s,
        )
        self.room.done_s[job] = kept
        self._headway.note(how == "checkpoint" and kept <= before, self.stopping, self.policy.name, now, self._submit, self._end)
        self.room.estimate_s[job] = self._estimate[job]
        self._start[job] = math.nan

    def _overran(self, event: Due) -> None:
        """Raise the prediction of a job that goes on past it, and plan anew."""
        job, now = event.job, self.clock._now
        if job not in self.allocations or self._start[job] + self._estimate[job] > now:
            return
        self._unlist(job)
        told = corrected_s(self._estimate[job], now - self._start[job], self._limit[job])
        if not self._start[job] + told > now:  # its request has passed, but for rounding
            told = corrected_s(self._estimate[job], now - self._start[job], 0.0)
        self._estimate[job] = self.room.estimate_s[job] = told
        end = self._list(job)
        self._view.only_arrivals = False
        self._view.unforeseen = True
        if job in self._driven or end < self._start[job] + self._run[job]:
            self.clock.at(end, self._overran, priority=ARRIVAL, job=job)
        self._settle()

    def _come_back(self, event: Due) -> None:
        self._join(event.job)
        self._settle()

    def _take_off(self, job: int) -> None:
        """Take a running job off its nodes."""
        self._unlist(job)
        self._give_back(job)
        if self._watched:
            self._tell("stop", job)

    def _give_back(self, job: int) -> None:
        place = self.allocations.pop(job)
        self.free_nodes.give(self._kind[job], place)
        if self.power is not None:
            self.power.release(place.nodes)

    # -- for those who watch ------------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, job: int) -> None:
        if self._observers:
            fields: dict[str, Any] = {"job": job, "processors": self._asked[job], "name": self._names.get(job, "")}
            if kind == "start":
                fields["nodes"] = self.allocations[job].nodes
            for observer in self._observers:
                observer(kind, self.clock.now, fields)

    def _verify(self, started: Sequence[int]) -> None:
        verify_machine(self, started)


def _forget(heap: list[Any], callbacks: Any, job: int) -> None:
    """Take the end of a job off the schedule."""
    heap[:] = [entry for entry in heap if entry[3].callbacks is not callbacks or entry[3].job != job]
    heapify(heap)
