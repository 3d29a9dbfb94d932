"""Transfers that share a network: max-min fair rates, brought up to date whenever one begins or ends.

:class:`Traffic` is the core: what has been carried, what ends next. :func:`run_flows` runs it over arrays of flows that are all known at
the start, without an event engine; :class:`FlowNetwork` runs it on the :class:`~hpcsim.engine.clock.Clock` for processes that send as they
go. A link, a network port and a storage server are alike: a capacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.cost.maxmin import Sharing
from hpcsim.cost.routes import EMPTY_ROUTE, Routes, check_capacities, check_routes, check_weights
from hpcsim.engine.clock import ARRIVAL, Clock, Due

__all__ = ["FlowNetwork", "FlowRun", "Traffic", "run_flows", "simulate_flows"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIZE = problem_kind("flow-size", "flow {flow} has {value:g} bytes", "a size is finite and not negative")
TIME = problem_kind("flow-time", "flow {flow} has {name} of {value:g}", "a {name} is finite and not negative")
VALUES = problem_kind("flow-values", "{name} has {found} entries, but there are {needed} flows", "give one for each flow, or one for all")
TOLERANCE = problem_kind("flow-tolerance", "the tolerance is {value:g}", "a fraction from 0, exact, to 0.1")

_LISTED = 20
_INSTANT = 4e-15
"""Relative difference of two times below which they are one instant."""
_AHEAD = 1024
"""Flows to come whose routes are prepared together."""


def _distinct(numbers: IntArray) -> IntArray:
    """Return each number once, in order; :func:`numpy.unique` builds a hash table for that, which is slow for many."""
    ordered = np.sort(numbers)
    keep = np.ones(ordered.size, dtype=np.bool_)
    keep[1:] = ordered[1:] != ordered[:-1]
    return ordered[keep]


class Traffic:
    """Flows under way over the routes of a network.

    Flows of one route have one level; each gets its weight times that. A route therefore carries a *service* that grows by the level, the
    same for all its flows, and a flow of ``size`` bytes ends when the service has grown by ``size/weight`` since it began. Of a route's
    flows only the one that ends next is looked at.

    Parameters
    ----------
    capacities : array, shape (links,)
        [B/s], above zero.
    routes : Routes, optional
        Routes known at the start.
    tolerance : float
        Relative change of a rate that is not passed on.
    compiled : bool
        Share by :mod:`hpcsim.cost.maxmin_compiled`.

    Attributes
    ----------
    sharing : Sharing
        The rates.
    due_s : array, shape (routes,)
        When the next flow of each route ends as things are [s]; infinite without one.
    since_s : array, shape (routes,)
        When that flow began [s].
    """

    def __init__(self, capacities: FloatArray, routes: Routes | None = None, *, tolerance: float = 0.0, compiled: bool = False) -> None:
        self.sharing = Sharing(capacities, tolerance=max(tolerance, 1e-13), compiled=compiled)
        self.due_s: FloatArray = np.empty(0)
        self.since_s: FloatArray = np.empty(0)
        self._mass: FloatArray = np.empty(0)
        self._level: FloatArray = np.empty(0)
        self._served: FloatArray = np.empty(0)
        self._at_s: FloatArray = np.empty(0)
        self._goal: FloatArray = np.empty(0)
        self._weight: FloatArray = np.empty(0)
        self._front: IntArray = np.empty(0, dtype=np.int64)
        self._queue: dict[int, list[tuple[float, int, float, float]]] = {}
        if routes is not None:
            self.extend(routes)

    def extend(self, routes: Routes) -> int:
        """Add routes and return the number of the first."""
        first = self.sharing.extend(routes)
        zeros, never = np.zeros(routes.flows), np.full(routes.flows, np.inf)
        self._mass, self._level, self._served, self._at_s, self._weight, self.since_s = (
            np.concatenate([old, zeros]) for old in (self._mass, self._level, self._served, self._at_s, self._weight, self.since_s)
        )
        self.due_s, self._goal = np.concatenate([self.due_s, never]), np.concatenate([self._goal, never])
        self._front = np.concatenate([self._front, np.full(routes.flows, -1, dtype=np.int64)])
        return first

    def step(
        self, now_s: float, ended: IntArray, flows: IntArray, routes: IntArray, needs: FloatArray, weights: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """End the next flow of some routes, begin others, and share anew.

        Parameters
        ----------
        now_s : float
            Present [s].
        ended : array of int
            Routes whose next flow ends now, each once.
        flows, routes, needs, weights : array
            Number, route, bytes per unit of weight, and weight of the flows that begin.

        Returns
        -------
        (array of int, array)
            Flows that ended and when [s]: where a flow ends at ``due_s``, whatever the present.
        """
        done, done_s = self._front[ended], self.due_s[ended]
        if ended.size:
            more, which = self._end(ended)
            done, done_s = np.concatenate([done, more]), np.concatenate([done_s, done_s[which]])
        if flows.size:
            self._start(now_s, flows, routes, needs, weights)
        touched = _distinct(np.concatenate([ended, routes])) if flows.size else ended
        self._follow(now_s, self.sharing.update(touched, self._mass[touched]))
        return done, done_s

    def set_capacity(self, now_s: float, links: IntArray, bytes_per_s: FloatArray) -> None:
        """Give links another capacity from now on."""
        self._follow(now_s, self.sharing.set_capacity(links, bytes_per_s))

    def _follow(self, now_s: float, routes: IntArray) -> None:
        """Carry what was carried at the old levels of some routes, and say when their next flows end at the new ones."""
        served = self._served[routes] + self._level[routes] * (now_s - self._at_s[routes])
        level = self.sharing.level[routes]
        self._served[routes], self._at_s[routes], self._level[routes] = served, now_s, level
        with np.errstate(divide="ignore", invalid="ignore"):
            due_s = now_s + np.maximum(self._goal[routes] - served, 0.0) / level
        self.due_s[routes] = np.where(self._front[routes] >= 0, due_s, np.inf)

    def _end(self, ended: IntArray) -> tuple[IntArray, IntArray]:
        """End the next flow of some routes, and return the flows that end with one of them, and with which."""
        waiting = [r for r in ended.tolist() if r in self._queue] if self._queue else []
        self._mass[ended] -= self._weight[ended]
        alone = ended if not waiting else ended[~np.isin(ended, waiting)]
        self._clear(alone)
        more: list[int] = []
        owner: list[int] = []
        for route in waiting:
            queue, limit = self._queue[route], float(self._goal[route]) * (1 + _INSTANT)
            while queue and queue[0][0] <= limit:
                _, flow, weight, _ = heappop(queue)
                more.append(flow)
                owner.append(route)
                self._mass[route] -= weight
            if queue:
                self._place(route, *heappop(queue))
            else:
                self._clear(np.array([route]))
            if not queue:
                del self._queue[route]
                self._mass[route] = self._weight[route] if self._front[route] >= 0 else 0.0
        return np.array(more, dtype=np.int64), np.searchsorted(ended, np.array(owner, dtype=np.int64))

    def _clear(self, routes: IntArray) -> None:
        """Leave routes without flows."""
        self._mass[routes] = self._level[routes] = self._served[routes] = 0.0
        self._front[routes] = -1
        self._goal[routes] = self.due_s[routes] = np.inf

    def _place(self, route: int, goal: float, flow: int, weight: float, since_s: float) -> None:
        self._goal[route], self._front[route], self._weight[route], self.since_s[route] = goal, flow, weight, since_s

    def _start(self, now_s: float, flows: IntArray, routes: IntArray, needs: FloatArray, weights: FloatArray) -> None:
        _, first = np.unique(routes, return_index=True)
        idle = first[self._front[routes[first]] < 0]
        free = routes[idle]
        self._served[free] = self._level[free] = 0.0
        self._at_s[free] = self.since_s[free] = now_s
        self._goal[free], self._front[free], self._weight[free] = needs[idle], flows[idle], weights[idle]
        self._mass[free] = weights[idle]
        if idle.size == flows.size:
            return
        rest = np.ones(flows.size, dtype=np.bool_)
        rest[idle] = False
        for i in rest.nonzero()[0].tolist():
            route = int(routes[i])
            goal = float(self._served[route] + self._level[route] * (now_s - self._at_s[route]) + needs[i])
            entry = (goal, int(flows[i]), float(weights[i]), now_s)
            if goal < self._goal[route]:
                own = (float(self._goal[route]), int(self._front[route]), float(self._weight[route]), float(self.since_s[route]))
                self._place(route, *entry)
                entry = own
            heappush(self._queue.setdefault(route, []), entry)
            self._mass[route] += weights[i]


@dataclass(frozen=True)
class FlowRun:
    """What became of flows.

    Attributes
    ----------
    finish_s : array, shape (flows,)
        When the last byte of each arrives [s].
    steps : int
        Instants at which rates changed.
    """

    finish_s: FloatArray
    steps: int


def _values(name: str, given: npt.ArrayLike, flows: int) -> FloatArray:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim and values.shape != (flows,):
        raise VALUES.error(path=name, name=name, found=values.size, needed=flows)
    values = np.broadcast_to(values, (flows,))
    problems = Problems()
    for i in np.flatnonzero(~((values >= 0) & np.isfinite(values)))[:_LISTED].tolist():
        words = {"path": f"{name}[{i}]", "flow": i, "value": float(values[i])}
        problems.add(SIZE(**words) if name == "size_bytes" else TIME(name={"start_s": "start", "latency_s": "latency"}[name], **words))
    problems.raise_if_any()
    return values


def _classes(routes: Routes, links: int) -> tuple[Routes, IntArray]:
    """Return the different routes, and which of them each flow has."""
    table = routes.table(links)
    key = np.zeros(routes.flows, dtype=np.uint64)
    for row in table:
        key = (key ^ (row.astype(np.uint64) + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    if first.size == routes.flows:
        return routes, np.arange(routes.flows)
    if not all(np.array_equal(row, row[first][which]) for row in table):  # two routes with one key
        _, first, which = np.unique(table, axis=1, return_index=True, return_inverse=True)
        which = which.ravel()
    order = np.argsort(first)  # as they first come, whatever their keys
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return routes.take(first[order]), place[which]


def run_flows(
    capacities: npt.ArrayLike,
    routes: Routes | tuple[npt.ArrayLike, npt.ArrayLike],
    start_s: npt.ArrayLike,
    size_bytes: npt.ArrayLike,
    *,
    weight: npt.ArrayLike = 1.0,
    latency_s: npt.ArrayLike = 0.0,
    tolerance_frac: float = 0.0,
    compiled: bool = False,
) -> FloatArray:
    """Return when each of many flows ends; see :func:`simulate_flows`, whose arguments and problems it has."""
    return simulate_flows(
        capacities,
        routes,
        start_s,
        size_bytes,
        weight=weight,
        latency_s=latency_s,
        tolerance_frac=tolerance_frac,
        compiled=compiled,
    ).finish_s


def simulate_flows(
    capacities: npt.ArrayLike,
    routes: Routes | tuple[npt.ArrayLike, npt.ArrayLike],
    start_s: npt.ArrayLike,
    size_bytes: npt.ArrayLike,
    *,
    weight: npt.ArrayLike = 1.0,
    latency_s: npt.ArrayLike = 0.0,
    tolerance_frac: float = 0.0,
    compiled: bool = False,
) -> FlowRun:
    """Run flows that are all known at the start through a network.

    A flow waits its latency from its start, then takes its max-min fair share until its bytes are done.

    Parameters
    ----------
    capacities : array, shape (links,)
        What each link carries [B/s], one way.
    routes : Routes
        Links of each flow; ``(first, links)``.
    start_s, size_bytes, weight, latency_s : array, shape (flows,), or one number for all
        Start [s], bytes, share in proportion to it, and time before the first byte takes bandwidth [s].
    tolerance_frac : float
        0: exact to rounding; only what happens at one instant is one step. Above it, flows whose ends lie within twice this share of their
        own durations end in one step, and changes of a rate below that are not passed on.
    compiled : bool
        Share by compiled code, with the extra ``numba``: quicker, and equal to rounding.

    Returns
    -------
    FlowRun

    Raises
    ------
    InputError
        A capacity or weight not above zero, a negative size, start or latency, an empty route, a route over a missing link: all of a kind.

    Examples
    --------
    Two flows of 100 bytes share 10 B/s; the second begins when half of the first is done:

    >>> run_flows([10.0], Routes.of([[0], [0]]), [0.0, 5.0], 100.0).tolist()
    [15.0, 20.0]
    """
    if not 0 <= tolerance_frac <= 0.1:
        raise TOLERANCE.error(path="tolerance_frac", value=tolerance_frac)
    capacity = check_capacities(capacities)
    checked = check_routes(routes, capacity.size)
    weights = check_weights(weight, checked.flows)
    size = _values("size_bytes", size_bytes, checked.flows)
    begin_s = _values("start_s", start_s, checked.flows) + _values("latency_s", latency_s, checked.flows)
    finish_s = begin_s.copy()
    sent = np.flatnonzero(size > 0)
    if not sent.size:
        return FlowRun(finish_s, 0)
    used = checked if sent.size == size.size else checked.take(sent)
    distinct, classes = _classes(used, capacity.size)
    which = np.zeros(size.size, dtype=np.int64)
    which[sent] = classes
    steps = _Run(Traffic(capacity, distinct, tolerance=2 * tolerance_frac, compiled=compiled), capacity, distinct, which, tolerance_frac)
    return FlowRun(finish_s, steps.run(sent, begin_s, size / weights, weights, finish_s))


class _Run:
    """The loop of :func:`simulate_flows`."""

    def __init__(self, traffic: Traffic, capacity: FloatArray, routes: Routes, which: IntArray, tolerance: float) -> None:
        self.traffic, self.which, self.tolerance = traffic, which, tolerance
        self.narrowest = np.minimum.reduceat(capacity[routes.links], routes.first[:-1])

    def run(self, sent: IntArray, begin_s: FloatArray, needs: FloatArray, weights: FloatArray, finish_s: FloatArray) -> int:
        """Run the flows ``sent`` to their ends, write these to ``finish_s``, and return the steps it took."""
        order = sent[np.argsort(begin_s[sent], kind="stable")]
        starts = begin_s[order]
        alone = needs[order] * weights[order] / self.narrowest[self.which[order]]
        traffic, sharing, which = self.traffic, self.traffic.sharing, self.which
        next_one = prepared = steps = 0
        while True:
            due_s = traffic.due_s
            now = min(float(due_s.min()), float(starts[next_one]) if next_one < order.size else math.inf)
            if now == math.inf:
                return steps
            steps += 1
            now, ended, stop = self._window(now, starts, alone, next_one)
            flows = order[next_one:stop]
            late = stop > prepared or sharing.indexed > 1.25 * (sharing.active + prepared - stop) + 256
            if late and 4 * (flows.size + ended.size) <= sharing.active:
                prepared = max(prepared, stop + _AHEAD) if stop > prepared else prepared
                sharing.index(which[order[next_one:prepared]])
            routes = which[flows]
            done, done_s = traffic.step(now, ended, flows, routes, needs[flows], weights[flows])
            finish_s[done] = done_s
            next_one = stop

    def _window(self, now: float, starts: FloatArray, alone: FloatArray, next_one: int) -> tuple[float, IntArray, int]:
        """Return the time of this step, the routes whose next flow ends in it, and the first flow that does not begin in it."""
        due_s, since_s = self.traffic.due_s, self.traffic.since_s
        limit = now + abs(now) * _INSTANT
        stop = int(np.searchsorted(starts, limit, side="right")) if next_one < starts.size else next_one
        if not self.tolerance:
            return now, (due_s <= limit).nonzero()[0], stop
        width = 2 * self.tolerance
        far = max(limit, (now - width * float(starts[0])) / (1 - width))
        near = (due_s <= far).nonzero()[0]
        inside = (due_s[near] <= limit) | (due_s[near] - now <= width * (due_s[near] - since_s[near]))
        ended = near[inside]
        wide = starts[stop : stop + 256] - now <= width * alone[stop : stop + 256]
        stop += int(wide.size if wide.all() else wide.argmin())
        last = max(float(due_s[ended].max(initial=now)), float(starts[stop - 1]) if stop > next_one else now)
        other = min(float(due_s[near[~inside]].min(initial=math.inf)), float(starts[stop]) if stop < starts.size else math.inf)
        return min(now + (last - now) / 2, max(other, now)), ended, stop


class FlowNetwork:
    """A network on a clock: whoever sends is called back when the last byte has arrived.

    Two events for each instant at which flows begin or end, however many they are.

    Parameters
    ----------
    clock : Clock
        The clock.
    capacities : array, shape (links,)
        What each link, port or server carries [B/s].
    """

    def __init__(self, clock: Clock, capacities: npt.ArrayLike) -> None:
        self._clock = clock
        self._capacities = check_capacities(capacities)
        self._traffic = Traffic(self._capacities)
        self._known: dict[tuple[int, ...], int] = {}
        self._fresh: list[tuple[int, ...]] = []
        self._waiting: list[tuple[int, int, float, float]] = []
        self._calls: dict[int, tuple[Callable[[float], None], float]] = {}
        self._sent = 0
        self._set = False
        self._next: Due | None = None
        self.delivered_bytes = 0.0
        """Bytes of all flows that are complete."""

    @property
    def load_bytes_per_s(self) -> FloatArray:
        """What goes over each link now [B/s], shape (links,)."""
        return self._traffic.sharing.load_bytes_per_s

    @property
    def flows(self) -> int:
        """Flows under way, those in their latency included."""
        return len(self._calls)

    def send(
        self,
        route: Sequence[int],
        size_bytes: float,
        arrived: Callable[[float], None],
        *,
        weight: float = 1.0,
        latency_s: float = 0.0,
    ) -> None:
        """Begin a flow now; ``arrived`` is called with the time when its last byte is there.

        Raises
        ------
        InputError
            As :func:`simulate_flows`.
        """
        number, self._sent = self._sent, self._sent + 1
        key = tuple(route)
        if key not in self._known:
            if not key:
                raise EMPTY_ROUTE.error(path=f"routes[{number}]", flow=number)
            check_routes(Routes.of([key]), self._capacities.size)
            self._known[key] = len(self._known)
            self._fresh.append(key)
        if not (size_bytes >= 0 and math.isfinite(size_bytes)):
            raise SIZE.error(path="size_bytes", flow=number, value=size_bytes)
        if not (latency_s >= 0 and math.isfinite(latency_s)):
            raise TIME.error(path="latency_s", flow=number, name="latency", value=latency_s)
        check_weights(weight, 1)
        self._calls[number] = (arrived, size_bytes)
        entry = (number, self._known[key], size_bytes / weight, weight)
        if latency_s > 0:
            self._clock.at(self._clock.now + latency_s, lambda _: self._begin(entry))
        else:
            self._begin(entry)

    def set_capacity(self, links: Sequence[int], bytes_per_s: Sequence[float]) -> None:
        """Give links another capacity from now on; flows under way feel it at once."""
        self._settle_now()
        self._traffic.set_capacity(self._clock.now, np.asarray(links, dtype=np.int64), np.asarray(bytes_per_s, dtype=np.float64))
        self._aim()

    def _begin(self, entry: tuple[int, int, float, float]) -> None:
        if entry[2] == 0.0:
            self._deliver(entry[0], self._clock.now)
            return
        self._waiting.append(entry)
        if not self._set:
            self._set = True
            self._clock.at(self._clock.now, self._settle, priority=ARRIVAL)

    def _deliver(self, number: int, now_s: float) -> None:
        arrived, size_bytes = self._calls.pop(number)
        self.delivered_bytes += size_bytes
        arrived(now_s)

    def _settle(self, _: Due) -> None:
        if self._set:
            self._settle_now()
            self._aim()

    def _settle_now(self) -> None:
        """End what ends now, begin what waits, and tell those whose flows ended; what they begin in turn is settled by itself."""
        now = self._clock.now
        self._set = False
        if self._fresh:
            self._traffic.extend(Routes.of(self._fresh))
            self._fresh = []
        ended = (self._traffic.due_s <= now + abs(now) * _INSTANT).nonzero()[0]
        if not (self._waiting or ended.size):
            return
        entries, self._waiting = self._waiting, []
        flows, routes = np.array([e[:2] for e in entries], dtype=np.int64).reshape(-1, 2).T
        needs, weights = np.array([e[2:] for e in entries], dtype=np.float64).reshape(-1, 2).T
        done, _ = self._traffic.step(now, ended, flows, routes, needs, weights)
        for number in done.tolist():
            self._deliver(number, now)

    def _aim(self) -> None:
        """Set the event of the next end, if it is another than the one that is set."""
        due_s = float(self._traffic.due_s.min(initial=math.inf))
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if due_s < math.inf:
            self._next = self._clock.at(max(due_s, self._clock.now), self._end, priority=ARRIVAL)

    def _end(self, _: Due) -> None:
        self._next = None
        self._settle_now()
        self._aim()
