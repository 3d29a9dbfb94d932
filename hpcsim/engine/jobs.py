"""The batch system: one pool of processors, its queue, and the jobs that run on it, as events on the clock.

A job of a trace is two callbacks on the clock's heap (its arrival shares an event with the others of that instant); a job that another
part of the engine drives is a :class:`Ticket` that its process waits for and gives back. Both stand in one queue under one policy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappush
from typing import Any, Literal

import numpy as np

from hpcsim.base.errors import HpcsimError, problem_kind
from hpcsim.engine.clock import ARRIVAL, COMPLETION, LATE_COMPLETION, PASS, Clock, Due
from hpcsim.engine.outcome import CANCELLED, FAILED, Outcome
from hpcsim.engine.roster import Roster, Ticket
from hpcsim.scheduling.policies import Policy, View, make_policy
from hpcsim.scheduling.waiting import Waiting
from hpcsim.workload.jobs import JobTable

__all__ = ["BatchSystem", "EventOrder", "Observer", "PolicyFault", "Ticket", "run_jobs"]

EventOrder = Literal["batch", "event"]
Observer = Callable[[str, float, Mapping[str, Any]], None]
"""Called with (kind, time_s, fields); kinds: submit, start, end, withdraw, restore, reserve."""

TOO_LARGE = problem_kind(
    "job-too-large", "job {name} asks for {processors} processors, the machine has {capacity}", "ask for fewer, or add nodes"
)
BAD_ORDER = problem_kind("event-order-unknown", "{order!r} is no order of events", "'batch' or 'event'")
BAD_POOL = problem_kind("pool-size", "a pool of {processors!r} processors is not possible", "at least 1 processor is needed")

_COMPACT_AFTER = 512
_INDEX_FROM, _INDEX_UNTIL = 192, 64
"""Jobs that wait when they begin, and cease, to be kept by size for a policy that asks for it."""


class PolicyFault(HpcsimError):
    """A policy decided what cannot be done: a job that does not fit, or one that does not wait."""


class BatchSystem(Roster):
    """A pool of processors under a queueing policy.

    Parameters
    ----------
    clock : Clock
        The clock that it lives on.
    processors : int
        Size of the pool, at least 1.
    policy : Policy or str
        Which waiting jobs start.
    order : {"batch", "event"}
        ``batch``: at one instant all completions, then all arrivals, then one scheduling pass. ``event``: a pass after each event; jobs that
        end exactly at their estimate come first, with the first arrival; then the other arrivals one by one, then the other
        completions one by one.
    observers : sequence of Observer
        Called at every change; none cost nothing.
    record : bool
        Keep every reservation that is made: ``outcome().reservations``.
    check : bool
        Assert after every pass that processors are conserved and time runs forward.

    Raises
    ------
    InputError
        An unknown policy or order, or an empty pool.
    """

    __slots__ = (
        "_arrived", "_check", "_decide", "_eid", "_ended", "_heap", "_on_arrival", "_ends", "_key", "_keys", "_observers", "_indexes", "_on_end", "_pending", "_plain", "_plans", "_wake",
        "_queue", "_record", "_sizes", "_view", "_watched", "by_event", "down", "owed", "policy",
    )  # fmt: skip

    def __init__(
        self,
        clock: Clock,
        processors: int,
        policy: Policy | str,
        *,
        order: EventOrder = "batch",
        observers: Sequence[Observer] = (),
        record: bool = False,
        check: bool = False,
    ) -> None:
        if order not in ("batch", "event"):
            raise BAD_ORDER.error(path="order", order=order)
        if isinstance(processors, bool) or not isinstance(processors, (int, np.integer)) or processors < 1:
            raise BAD_POOL.error(path="processors", processors=processors)
        super().__init__(clock, int(processors))
        self.policy = make_policy(policy) if isinstance(policy, str) else policy
        self.by_event = order == "event"
        self.down = 0
        """Processors out of service."""
        self.owed = 0
        """Processors that leave service as soon as they come free."""
        self._observers = tuple(observers)
        self._record = record
        self._check = check
        self._watched = bool(self._observers) or record or check
        self._queue: list[int] = []
        self._keys: list[tuple[float, float, int]] = []
        self._ends: list[float] = []
        self._sizes: list[int] = []
        self._arrived: list[int] = []
        self._ended: list[int] = []
        self._pending = False
        self._wake: Due | None = None
        self._plans = bool(getattr(self.policy, "plans", False))
        self._decide = self.policy.decide
        self._key = self.policy.key
        self._plain = self._key is None and not self._watched
        self._indexes = getattr(self.policy, "indexes", None) if self._key is None else None
        self._on_end: list[Callable[[Any], None]] = [self._complete]
        self._on_arrival: list[Callable[[Any], None]] = [self._arrive]
        self._heap = clock._queue
        self._eid = clock._eid
        self._view = self._first_view()

    def _first_view(self) -> View:
        """Return the view, which refers to the lists that are kept up to date."""
        return View(
            self.clock.now,
            self.size,
            self.size,
            self._queue,
            self._submit,
            self._estimate,
            self._processors,
            running_end_s=self._ends,
            running_processors=self._sizes,
            arrived=self._arrived,
            explain=self._record or bool(self._observers),
            user=self._user,
            account=self._account,
            partition=self._partition,
            qos=self._qos,
            start_s=self._start,
            end_s=self._end,
            ended=self._ended,
        )

    # -- what the rest of the engine calls ---------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Processors that are in service and not in use."""
        return self._view.free

    @property
    def capacity(self) -> int:
        """Processors in service."""
        return self.size - self.down

    def submit(self, jobs: JobTable) -> range:
        """Let the jobs of a table arrive at their times of submission, and return their numbers here, by submission.

        Raises
        ------
        InputError
            A job asks for more processors than the pool has, or was submitted before the present.
        """
        jobs = jobs.sorted_by_submit()
        if not len(jobs):
            return range(len(self._submit), len(self._submit))
        large = np.flatnonzero(jobs.processors > self.size)
        if len(large):
            row = int(large[0])
            raise TOO_LARGE.error(name=int(jobs.job_id[row]), processors=int(jobs.processors[row]), capacity=self.size)
        numbers = self._enter(jobs, jobs.processors.tolist())
        self.clock.push(self._submit[numbers.start], ARRIVAL, Due(self.clock, self._on_arrival, numbers.start))
        return numbers

    def request(self, processors: int, *, estimate_s: float, name: str = "") -> Ticket:
        """Put a job into the queue now, and return the event of its start.

        The job holds its processors until :meth:`release`. Its estimate is what the policy is told; it may outrun it.

        Raises
        ------
        InputError
            More processors than the pool has.
        """
        if processors > self.size or processors < 1:
            raise TOO_LARGE.error(name=name or "without a name", processors=processors, capacity=self.size)
        ticket = self._enter_one(int(processors), estimate_s, name)
        self._enqueue(ticket.job)
        self._settle()
        return ticket

    def release(self, ticket: Ticket, *, failed: bool = False) -> None:
        """End the job of ``ticket`` now; a job that still waits is cancelled."""
        job = ticket.job
        if self._runs(job):
            self._leave(job)
            if failed:
                self._fate[job] = FAILED
        elif self._start[job] != self._start[job] and job not in self._fate:
            self._dequeue(job)
            self._fate[job] = CANCELLED
            self._end[job] = self.clock.now
            self._view.only_arrivals = False
            self._view.unforeseen = True
        else:
            return
        self._settle()

    def kill(self, job: int) -> None:
        """End a running trace job now, as failed."""
        if not self._runs(job):
            raise ValueError(f"job {job} does not run")
        self._heap[:] = [entry for entry in self._heap if entry[3].callbacks is not self._on_end or entry[3].job != job]  # type: ignore[attr-defined]
        heapify(self._heap)
        self._leave(job)
        self._fate[job] = FAILED
        self._settle()

    def withdraw(self, processors: int) -> int:
        """Take processors out of service: the free ones now, the rest as they come free. Return how many went now.

        Whoever wants them at once ends jobs first; which ones is not decided here.
        """
        processors = min(processors, self.size - self.down - self.owed)
        now = min(processors, self._view.free)
        self.owed += processors - now
        self._out_of_service(now)
        self._view.only_arrivals = False
        self._settle()
        return now

    def restore(self, processors: int) -> None:
        """Bring processors back into service; those that had not left yet stay."""
        spared = min(processors, self.owed)
        self.owed -= spared
        back = min(processors - spared, self.down)
        self._out_of_service(-back)
        self._view.only_arrivals = False
        self._view.unforeseen = True
        self._settle()

    # -- events -------------------------------------------------------------------------------------------------------------------

    def _enqueue(self, job: int) -> None:
        self._arrived.append(job)
        if self._key is None:
            self._queue.append(job)
            if self._view.by_size is not None:
                self._view.by_size.join(job, self._processors[job], self._estimate[job])
        else:
            submit = self._submit[job]
            key = (self._key(submit, self._estimate[job], self._processors[job]), submit, job)
            at = bisect_right(self._keys, key, self._view.head)
            self._keys.insert(at, key)
            self._queue.insert(at, job)
        if self._watched:
            self._tell("submit", job)

    def _arrive(self, event: Due) -> None:
        """Let the jobs of this instant join the queue (in event order: one of them), and set the next arrival of their table."""
        submit = self._submit
        at = event.job
        now = submit[at]
        stop = self._stop[0] if len(self._stop) == 1 else self._stop[bisect_right(self._stop, at)]
        plain, index = self._plain, self._view.by_size
        while True:
            if plain:
                self._arrived.append(at)
                self._queue.append(at)
                if index is not None:
                    index.join(at, self._processors[at], self._estimate[at])
            else:
                self._enqueue(at)
            at += 1
            if at == stop or submit[at] != now or self.by_event:
                break
        heap = self._heap
        if at < stop:
            event.job = at
            event.callbacks = self._on_arrival
            heappush(heap, (submit[at], ARRIVAL, next(self._eid), event))
        if self.by_event or not heap or heap[0][0] != now:
            self._pass()
        else:
            self._settle()

    def _complete(self, event: Due) -> None:
        """End a job; in event order, one that ends before its estimate has a pass of its own."""
        job = event.job
        self._leave(job)
        now = self.clock._now
        heap = self._heap
        if not heap or heap[0][0] != now or (self.by_event and self._start[job] + self._estimate[job] > now):
            self._pass()
        else:
            self._settle()

    def _leave(self, job: int) -> None:
        """Free the processors of a running job."""
        size = self._processors[job]
        end = self._start[job] + self._estimate[job]
        ends, sizes = self._ends, self._sizes
        at = bisect_left(ends, end)
        while sizes[at] != size:
            at += 1
        del ends[at], sizes[at]
        self._end[job] = self.clock._now
        self._ended.append(job)
        view = self._view
        view.free += size
        view.only_arrivals = False
        if end > self.clock._now:
            view.unforeseen = True
        if self._watched:
            self._tell("end", job)
        if self.owed:
            gone = min(self.owed, view.free)
            self.owed -= gone
            self._out_of_service(gone)

    def _settle(self) -> None:
        """Run the scheduling pass, now if nothing else happens at this instant, else after it."""
        heap = self._heap
        if heap and heap[0][0] == self.clock._now:
            if not self._pending:
                self._pending = True
                self.clock.at(heap[0][0], self._late_pass, priority=PASS)
        elif not self._pending:
            self._pass()

    def _late_pass(self, event: Due) -> None:
        self._pending = False
        view = self._view
        if self._arrived or not view.only_arrivals or view.now_s != self.clock._now:
            self._pass()

    def _pass(self) -> None:
        """Ask the policy, and start what it says.

        With no processor free there is nothing to ask, but for a policy that plans ahead: what has happened is kept for later.
        """
        view, queue, ends = self._view, self._queue, self._ends
        if not (view.free or self._plans) or view.head >= len(queue):
            if self._wake is not None:
                self._wake_at(math.inf)
            return
        view.now_s = now = self.clock._now
        index = self._index() if self._indexes else None
        decision = self._decide(view)
        if len(decision) == 2:
            start, view.reservation = decision
            wake_s = math.inf
        else:
            start, view.reservation, view.memo, wake_s = decision[:4]
        for job in start:
            size = self._processors[job]
            free = view.free - size
            if free < 0:
                raise PolicyFault(f"policy {self.policy.name!r} starts job {job} on {size} processors; {view.free} are free")
            view.free = free
            head = view.head
            if head < len(queue) and queue[head] == job:
                view.head = head + 1
                if index is not None:
                    index.leave(job)
            else:
                self._dequeue(job)
            self._start[job] = now
            estimated = now + self._estimate[job]
            at = bisect_right(ends, estimated)
            ends.insert(at, estimated)
            self._sizes.insert(at, size)
            run = self._run[job]
            if run == run:
                end = now + run
                priority = LATE_COMPLETION if self.by_event and estimated > end else COMPLETION
                heappush(self._heap, (end, priority, next(self._eid), Due(self.clock, self._on_end, job)))
            else:
                ticket = self._tickets[job]
                ticket.succeed(ticket)
            if self._watched:
                self._tell("start", job)
        self._arrived.clear()
        self._ended.clear()
        view.only_arrivals = True
        view.unforeseen = False
        if wake_s < math.inf or self._wake is not None:
            self._wake_at(wake_s)
        if view.head > _COMPACT_AFTER and 2 * view.head > len(queue):
            del queue[: view.head], self._keys[: view.head]
            view.head = 0
        if self._watched:
            self._inspect(start)

    def _wake_at(self, time_s: float) -> None:
        """Have a pass at ``time_s``, unless the arrival or the end of a trace job brings one until then. An earlier wish is forgotten."""
        heap = self._heap
        if self._wake is not None:
            heap[:] = [entry for entry in heap if entry[3] is not self._wake]
            heapify(heap)
            self._wake = None
        if time_s == math.inf:
            return
        if not time_s > self.clock._now:
            raise PolicyFault(f"policy {self.policy.name!r} wants to be asked again at {time_s} s, which is not in the future")
        ours = (id(self._on_end), id(self._on_arrival))
        if not any(entry[0] <= time_s and id(entry[3].callbacks) in ours for entry in heap):
            self._wake = self.clock.at(time_s, self._woken, priority=PASS)

    def _woken(self, event: Due) -> None:
        self._wake = None
        if not self._pending:
            self._pass()

    def _dequeue(self, job: int) -> None:
        """Take a waiting job out of the queue, from wherever it stands."""
        queue, head = self._queue, self._view.head
        at = head
        if self._key is None:
            at = bisect_left(queue, job, head)
        if at == len(queue) or queue[at] != job:
            try:
                at = queue.index(job, head)
            except ValueError:
                raise PolicyFault(f"policy {self.policy.name!r} starts job {job}, which does not wait") from None
        del queue[at]
        if self._key is not None:
            del self._keys[at]
        elif self._view.by_size is not None:
            self._view.by_size.leave(job)

    def _index(self) -> Waiting | None:
        """Return the waiting jobs by size, while the queue is long."""
        view, queue = self._view, self._queue
        index, waiting = view.by_size, len(queue) - view.head
        if index is None and waiting >= _INDEX_FROM:
            index = view.by_size = Waiting(by_length=self._indexes == "length")
            for job in queue[view.head :]:
                index.join(job, self._processors[job], self._estimate[job])
        elif index is not None and waiting < _INDEX_UNTIL:
            index = view.by_size = None
        return index

    # -- for those who watch ------------------------------------------------------------------------------------------------------

    def _out_of_service(self, processors: int) -> None:
        """Move free processors out of service (or back in, where negative)."""
        if not processors:
            return
        self.down += processors
        view = self._view
        view.free -= processors
        view.capacity = self.size - self.down
        self.down_changes.append((float(self.clock.now), self.down))
        for observer in self._observers:
            observer("withdraw" if processors > 0 else "restore", self.clock.now, {"processors": abs(processors), "down": self.down})

    def _tell(self, kind: str, job: int) -> None:
        if self._observers:
            fields = {"job": job, "processors": self._processors[job], "name": self._names.get(job, "")}
            for observer in self._observers:
                observer(kind, self.clock.now, fields)

    def _inspect(self, started: Sequence[int]) -> None:
        view = self._view
        promised = view.reservation
        if promised is not None:
            if self._record:
                self.reservations.append((view.now_s, promised))
            for observer in self._observers:
                observer("reserve", view.now_s, promised._asdict())
        if self._check:
            self._verify(started)

    def _verify(self, started: Sequence[int]) -> None:
        """Assert that what is free and what runs make up the pool."""
        view = self._view
        assert view.free >= 0
        assert view.free + sum(self._sizes) + self.down == self.size
        assert self._ends == sorted(self._ends)
        assert all(self._start[job] >= self._submit[job] for job in started)
        assert all(self._start[job] != self._start[job] for job in view.waiting())


def run_jobs(
    jobs: JobTable,
    processors: int,
    policy: Policy | str,
    *,
    order: EventOrder = "batch",
    until_s: float | None = None,
    record: bool = False,
    check: bool = False,
    observers: Sequence[Observer] = (),
) -> Outcome:
    """Run a table of jobs on a pool of processors.

    Parameters
    ----------
    jobs : JobTable
        The jobs; the outcome has them by submission (``jobs.sorted_by_submit()``).
    processors : int
        Size of the pool.
    policy : Policy or str
        Which waiting jobs start.
    order, record, check, observers
        As in :class:`BatchSystem`.
    until_s : float, optional [s]
        Stop after the events of this time; until the last job has ended without it.

    Returns
    -------
    Outcome
        Start and end of every job.

    Examples
    --------
    >>> jobs = JobTable.of([0, 1, 2, 3, 4], [10, 10, 20, 30, 5], [6, 8, 4, 2, 2])
    >>> run_jobs(jobs, 10, "fcfs").start_s.tolist()
    [0.0, 10.0, 20.0, 20.0, 20.0]
    >>> run_jobs(jobs, 10, "easy").start_s.tolist()
    [0.0, 10.0, 20.0, 3.0, 4.0]
    """
    chosen = make_policy(policy) if isinstance(policy, str) else policy
    if getattr(chosen, "nodes_only", False):
        return _on_one_node(jobs, processors, chosen, order=order, until_s=until_s, record=record, check=check, observers=observers)
    clock = Clock()
    system = BatchSystem(clock, processors, chosen, order=order, record=record, check=check, observers=observers)
    system.submit(jobs)
    clock.run(until_s)
    return system.outcome()


def _on_one_node(jobs: JobTable, processors: int, policy: Policy, **how: Any) -> Outcome:
    """Run jobs on a machine of one node, for a policy that needs nodes."""
    from hpcsim.engine.on_nodes import run_as_pool

    return run_as_pool(jobs, processors, policy, **how)
