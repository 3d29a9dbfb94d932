"""Decomposed tasks and matrix products, event by event: shared storage, parts that queue on their node, the merge at the end.

Events are few: one for each change of stage, and one for each instant at which data arrive. A node serves its parts in the order of
their arrival and is never interrupted, so the end of a part is known when it arrives and needs no event of its own. With nothing else
on the machine a run ends when :func:`hpcsim.workload.tasks.closed_form` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from hpcsim.engine.clock import ARRIVAL, Clock, Due
from hpcsim.engine.contention import Activity, Contention, Load, Member, joined
from hpcsim.workload.tasks import TaskPlan, max_min_rates

__all__ = ["SharedSource", "TaskFloor", "TaskRun"]

FloatArray = npt.NDArray[np.float64]

_DONE = 1e-12
"""Share of a flow below which what is left of it is rounding."""


class SharedSource:
    """A storage tier that is read by several flows at once, max-min shared, each flow limited by its node's ports.

    Parameters
    ----------
    clock : Clock
        The clock.
    bytes_per_s : float
        Bandwidth of the tier [B/s].
    """

    def __init__(self, clock: Clock, bytes_per_s: float) -> None:
        self._clock = clock
        self._capacity = bytes_per_s
        self._left: FloatArray = np.empty(0)
        self._size: FloatArray = np.empty(0)
        self._cap: FloatArray = np.empty(0)
        self._rate: FloatArray = np.empty(0)
        self._call: list[Callable[[float], None]] = []
        self._new: list[tuple[float, float, Callable[[float], None]]] = []
        self._since_s = clock.now
        self._next: Due | None = None
        self._settling = False
        self._pace = 1.0
        self.delivered_bytes = 0.0
        """Bytes of all flows that are complete."""

    def go_at(self, pace: float) -> None:
        """Let all flows go at a share of their rates from now on, which others on their way leave them."""
        if pace != self._pace:
            now = self._clock.now
            if self._left.size:
                self._left -= self._rate * (self._pace * (now - self._since_s))
            self._since_s, self._pace = now, pace
            self._share(now)

    def read(self, size_bytes: float, cap_bytes_per_s: float, arrived: Callable[[float], None]) -> None:
        """Start a flow now; ``arrived`` is called with the time when all of it is there. No bytes are there at once."""
        if size_bytes <= 0:
            arrived(self._clock.now)
            return
        self._new.append((size_bytes, cap_bytes_per_s, arrived))
        if not self._settling:
            self._settling = True
            self._clock.at(self._clock.now, self._settle, priority=ARRIVAL)

    def _settle(self, _: Due) -> None:
        """Bring the flows up to date, let those that are done arrive, share anew, and set the next arrival."""
        self._settling = True
        now = self._clock.now
        if self._left.size:
            self._left -= self._rate * (self._pace * (now - self._since_s))
        self._since_s = now
        done = self._left <= self._size * _DONE
        arrived = [self._call[i] for i in np.flatnonzero(done)]
        if arrived:
            self.delivered_bytes += float(self._size[done].sum())
            self._keep(~done)
        for call in arrived:
            call(now)
        self._admit()
        self._settling = False
        self._share(now)

    def _keep(self, keep: npt.NDArray[np.bool_]) -> None:
        self._call = [self._call[i] for i in np.flatnonzero(keep)]
        self._left, self._size, self._cap = self._left[keep], self._size[keep], self._cap[keep]

    def _admit(self) -> None:
        if self._new:
            sizes, caps, calls = zip(*self._new)
            self._left = np.concatenate([self._left, sizes])
            self._size = np.concatenate([self._size, sizes])
            self._cap = np.concatenate([self._cap, caps])
            self._call.extend(calls)
            self._new = []

    def _share(self, now: float) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if not self._left.size:
            self._rate = np.empty(0)
            return
        self._rate = max_min_rates(self._cap, np.ones_like(self._cap), self._capacity)
        due_s = now + max(float((self._left / self._rate).min()) / self._pace, 0.0)
        self._next = self._clock.at(due_s, self._arrive, priority=ARRIVAL)

    def _arrive(self, event: Due) -> None:
        """Settle at the time that was set for the next arrival: the flows nearest to their end end now, whatever the rounding."""
        self._next = None
        elapsed = (self._clock.now - self._since_s) * self._pace
        left = self._left - self._rate * elapsed
        nearest = left / self._rate <= (left / self._rate).min() + elapsed * _DONE
        self._left[nearest] = self._rate[nearest] * elapsed
        self._settle(event)


class _Readers:
    """The tasks that read one tier at once, as one load of the network: how they share the tier among themselves is the source's."""

    def __init__(self, source: SharedSource) -> None:
        self._source = source
        self._loads: list[Load] = []
        self._member: Member | None = None
        self._activity: Activity | None = None

    def change(self, network: Contention, *, come: Load | None = None, go: Load | None = None) -> None:
        """Let a task's load come or go."""
        if self._activity is not None and self._member is not None:
            network.end(self._activity)
            self._member.leave()
        self._loads = [load for load in self._loads if load is not go] + ([come] if come else [])
        self._activity = self._member = None
        if self._loads:
            load = joined(self._loads)
            self._member = Member(network, load.job, {load.activity: load})
            self._member.join()
            self._activity = network.begin(load, math.inf, _never, told=lambda stretch: self._source.go_at(1.0 / stretch))
        else:
            self._source.go_at(1.0)


class TaskFloor:
    """What tasks share on one clock: the storage tiers they read and the nodes they run on."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._sources: dict[str, SharedSource] = {}
        self._readers: dict[str, _Readers] = {}
        self._free_s: dict[str, float] = {}

    def reads(self, tier: str, network: Contention, *, come: Load | None = None, go: Load | None = None) -> None:
        """Let a task begin or end to read a tier over a network that others use too."""
        if tier not in self._readers:
            self._readers[tier] = _Readers(self._sources[tier])
        self._readers[tier].change(network, come=come, go=go)

    def source(self, name: str, bytes_per_s: float) -> SharedSource:
        """Return the storage tier called ``name``, made when first asked for."""
        if name not in self._sources:
            self._sources[name] = SharedSource(self.clock, bytes_per_s)
        return self._sources[name]

    def occupy(self, node: str, now_s: float, run_s: float) -> tuple[float, float]:
        """Queue a part on a node and return when it starts and ends."""
        start_s = max(now_s, self._free_s.get(node, 0.0))
        end_s = start_s + run_s
        self._free_s[node] = end_s
        return start_s, end_s


_Row = tuple[int | None, str | None, float | None, float, float, str]


class TaskRun:
    """One task or matrix product and what became of it.

    Parameters
    ----------
    plan : TaskPlan
        What to run.
    floor : TaskFloor
        Where, shared with other tasks of the same clock.
    nodes : list of str, optional
        Names of the nodes that it was given; those of the plan by default.
    member : Member, optional
        Its loads ``dispatch`` and ``merge`` on a network that others use too.

    Attributes
    ----------
    start_s, end_s : float
        Begin and end [s]; NaN until they are known.
    """

    def __init__(self, plan: TaskPlan, floor: TaskFloor, *, nodes: list[str] | None = None, member: Member | None = None) -> None:
        self.plan = plan
        self.floor = floor
        self.member = member
        self.nodes = plan.node_names() if nodes is None else nodes
        if len(self.nodes) != plan.nodes:
            raise ValueError(f"{plan.nodes} nodes are planned, {len(self.nodes)} given")
        self.start_s = math.nan
        self.end_s = math.nan
        self.busy_s = 0.0
        """Sum over the nodes of the time that each computes [s]."""
        self._rows: list[_Row] = []
        self._run_s = plan.run_s() / plan.parts_per_node
        self._waiting = 0
        self._fetched = np.zeros(plan.nodes)
        self._since_s = math.inf
        self._last_s = 0.0
        self._arrived: simpy.Event | None = None

    def process(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Run on ``clock`` from now to the merged result."""
        plan, head = self.plan, self.nodes[0]
        self.start_s = clock.now
        split_s = self.start_s + plan.split_s
        assigned = plan.data_bytes - plan.unassigned_bytes
        if plan.kind == "task":
            self._rows.append((None, head, plan.data_bytes, self.start_s, split_s, "split"))
            yield clock.at(split_s, _nothing)
        self._rows.append((None, None, assigned, split_s, split_s, "partition"))
        yield from self._dispatch(clock, split_s)
        if self.member is not None and "exchange" in self.member.loads:
            yield from self._exchange(clock)
            return
        yield clock.at(max(self._last_s, clock.now), _nothing)
        begun_s = clock.now
        self._rows.append((None, head, plan.result_bytes, begun_s, begun_s + plan.merge_s, "merge"))
        yield from self._move(clock, "merge", plan.merge_flow_s)
        yield clock.at(
            max(begun_s + plan.merge_s if self.member is None else clock.now + plan.merge_s - plan.merge_flow_s, clock.now), _nothing
        )
        self._rows[-1] = (None, head, plan.result_bytes, begun_s, clock.now, "merge")
        self.end_s = clock.now

    def _exchange(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Compute and send at once on the network; what it takes beyond the computing is booked after it, as the wait for messages."""
        head, plan = self.nodes[0], self.plan
        last_s = max(self._last_s, clock.now)
        yield from self._move(clock, "exchange", last_s - clock.now + plan.merge_s)
        self._rows.append((None, head, plan.result_bytes, min(last_s, clock.now), clock.now, "merge"))
        self.end_s = clock.now

    def _move(self, clock: Clock, activity: str, time_s: float) -> Generator[simpy.Event, Any, None]:
        """Wait while data move that take ``time_s`` with nobody else on their way; without a network the caller waits."""
        if self.member is None or time_s <= 0:
            return
        self.member.join()
        moved = simpy.Event(clock)

        def done() -> None:
            moved.succeed()

        self.member.begin(activity, time_s, done)
        yield moved
        self.member.leave()

    def _dispatch(self, clock: Clock, split_s: float) -> Generator[simpy.Event, Any, None]:
        """Bring the parts to their nodes and queue each as it arrives."""
        plan = self.plan
        if not plan.source:
            yield from self._move(clock, "dispatch", plan.dispatch_s)
            ready_s = split_s + plan.dispatch_s if self.member is None else clock.now
            yield clock.at(ready_s, _nothing)
            for node in range(plan.nodes):
                for k in range(plan.parts_per_node):
                    self._queue(node, k, split_s, ready_s)
            return
        self._waiting = plan.nodes
        self._arrived = simpy.Event(clock)
        yield clock.at(split_s + plan.dispatch_latency_s, _nothing)
        source = self.floor.source(plan.source, plan.source_bytes_per_s)
        load = self.member.loads["dispatch"] if self.member is not None else None
        if load is not None and self.member is not None:
            self.floor.reads(plan.source, self.member.network, come=load)
        self._since_s = clock.now
        for node in range(plan.nodes):
            self._fetch(source, node, 0, split_s)
        yield self._arrived
        if load is not None and self.member is not None:
            self.floor.reads(plan.source, self.member.network, go=load)
            self._deliver(clock.now)

    def _deliver(self, now_s: float) -> None:
        """Count on the network what has arrived."""
        if self.member is not None and self._since_s < math.inf:
            load = self.member.loads["dispatch"]
            each = self._fetched * self.plan.share_bytes / self.plan.parts_per_node
            self.member.network.deliver(load, (each[load.pair] if load.pair is not None else each) * load.weight, now_s - self._since_s)
            self._since_s = math.inf

    def stop(self, now_s: float) -> None:
        """Close the books of a task that the horizon cut off."""
        self._deliver(now_s)

    def _fetch(self, source: SharedSource, node: int, part: int, since_s: float) -> None:
        """Read one part of a node and then the next; parts without data are there at once."""

        def arrived(now_s: float) -> None:
            self._fetched[node] += 1
            self._queue(node, part, since_s, now_s)
            if part + 1 < self.plan.parts_per_node:
                self._fetch(source, node, part + 1, now_s)
            else:
                self._waiting -= 1
                if self._waiting == 0 and self._arrived is not None:
                    self._arrived.succeed()

        source.read(float(self.plan.share_bytes[node]) / self.plan.parts_per_node, float(self.plan.port_bytes_per_s[node]), arrived)

    def _queue(self, node: int, part: int, sent_s: float, arrived_s: float) -> None:
        plan, name = self.plan, self.nodes[node]
        number = node * plan.parts_per_node + part
        share = float(plan.share_bytes[node]) / plan.parts_per_node
        start_s, end_s = self.floor.occupy(name, arrived_s, float(self._run_s[node]))
        self.busy_s += end_s - start_s
        self._last_s = max(self._last_s, end_s)
        self._rows.append((number, name, share, sent_s, arrived_s, "dispatch"))
        self._rows.append((number, name, share, start_s, end_s, "run"))

    def columns(self, *, until_s: float = math.inf) -> dict[str, list[Any]]:
        """Return the columns of the results' table ``tasks``: a row for each stage of each part, in the order of their start.

        Parameters
        ----------
        until_s : float
            Horizon [s]; stages that begin after it are left out, those under way end there.
        """
        stages = ("split", "partition", "dispatch", "run", "merge")
        rows = [row for row in self._rows if row[3] <= until_s]
        rows.sort(key=lambda row: (stages.index(row[5]), -1 if row[0] is None else row[0]))
        part, node, share, start, end, stage = (list(column) for column in zip(*rows)) if rows else ([], [], [], [], [], [])
        return {
            "name": [self.plan.name] * len(rows),
            "part": part,
            "node": node,
            "share_bytes": share,
            "start_s": start,
            "end_s": [min(float(t), until_s) for t in end],
            "stage": stage,
        }


def _never() -> None:
    """Stand in for the end of what is ended from outside."""


def _nothing(_: Due) -> None:
    """Stand in where only the process waits for the time."""
