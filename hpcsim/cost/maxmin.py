"""Max-min fair sharing of links among flows: all at once, and brought up to date after a change.

A flow has a route over links and a weight. A rate vector is *max-min fair* when no flow's rate over its weight, its *level*, can grow
without lowering one that is as low or lower. It is the only one that fits into the capacities and gives each flow a *bottleneck*: a full
link of its route on which no other flow has a higher level. Storage servers and network ports are links like any other.

:func:`fair_rates` computes it from nothing. :class:`Sharing` keeps it while flows come and go, and touches only what a change reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.cost.maxmin_compiled import settle_compiled

__all__ = ["FairLevels", "Routes", "Sharing", "check_capacities", "check_routes", "check_weights", "fair_levels", "fair_rates"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CAPACITY = problem_kind("flow-capacity", "link {link} has a capacity of {value:g} B/s", "a capacity is finite and above zero")
MISSING_LINK = problem_kind(
    "flow-missing-link", "the route of flow {flow} goes over link {link}, which does not exist", "links are {known}"
)
EMPTY_ROUTE = problem_kind(
    "flow-empty-route", "flow {flow} has a route without links", "a route has at least one link; local copies are no flows"
)
WEIGHT = problem_kind("flow-weight", "flow {flow} has a weight of {value:g}", "a weight is finite and above zero")
SHAPE = problem_kind("flow-shape", "{name} has {found} entries, but there are {needed} flows", "give one for each flow, or one for all")

_LISTED = 20
"""Problems of one kind that are listed; a wrong file repeats its mistake."""
_TIE = 1e-12
"""Relative difference below which two levels are one, and a link is full."""
_ROUNDING = 1e-14
"""Relative change of a level that may be rounding."""
_NEVER = float(np.finfo(np.float64).max)
_NARROW = 0.05
"""Share of a link that its own routes have left, below which what others take is added up anew."""
_ROUNDS = 64
"""Rounds of updating after which it is cheaper to begin anew."""


class Routes(NamedTuple):
    """The links of every flow, one after the other.

    Flow ``i`` goes over ``links[first[i]:first[i + 1]]``. A link that occurs twice in a route is used twice.

    Attributes
    ----------
    first : array of int, shape (flows + 1,)
    links : array of int
    """

    first: IntArray
    links: IntArray

    @classmethod
    def of(cls, routes: Iterable[Sequence[int]]) -> Routes:
        """Return the routes of a list of lists of links."""
        rows = [np.asarray(route, dtype=np.int64) for route in routes]
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        return cls(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.concatenate([np.empty(0, np.int64), *rows]))

    @property
    def flows(self) -> int:
        """Number of flows."""
        return int(self.first.size - 1)

    def take(self, flows: IntArray) -> Routes:
        """Return the routes of some flows, in their order."""
        lengths = np.diff(self.first)[flows]
        first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        place = np.arange(int(first[-1])) + np.repeat(self.first[flows] - first[:-1], lengths)
        return Routes(first, self.links[place])

    def table(self, pad: int) -> IntArray:
        """Return the routes as columns of a table, shape (longest, flows), short ones filled up with ``pad``."""
        lengths = np.diff(self.first)
        hops = int(lengths.max(initial=0))
        if lengths.size and (lengths == hops).all():
            return np.ascontiguousarray(self.links.reshape(-1, hops).T)
        table = np.full((hops, lengths.size), pad, dtype=np.int64)
        owner = np.repeat(np.arange(lengths.size), lengths)
        table[np.arange(self.links.size) - np.repeat(self.first[:-1], lengths), owner] = self.links
        return table


def check_capacities(capacities: npt.ArrayLike) -> FloatArray:
    """Return the capacities of links [B/s] as an array.

    Raises
    ------
    InputError
        One is zero, negative or not finite; each is named.
    """
    values = np.atleast_1d(np.asarray(capacities, dtype=np.float64))
    problems = Problems()
    for i in np.flatnonzero(~((values > 0) & np.isfinite(values)))[:_LISTED].tolist():
        problems.add(CAPACITY(path=f"capacities[{i}]", link=i, value=float(values[i])))
    problems.raise_if_any()
    return values


def check_routes(routes: Routes | tuple[npt.ArrayLike, npt.ArrayLike], links: int) -> Routes:
    """Return ``routes`` as arrays, each route with a link and each link one of ``links``.

    Raises
    ------
    InputError
        Empty routes, and routes over links that do not exist; each is named.
    """
    checked = Routes(np.asarray(routes[0], dtype=np.int64), np.asarray(routes[1], dtype=np.int64))
    problems = Problems()
    for flow in np.flatnonzero(np.diff(checked.first) <= 0)[:_LISTED].tolist():
        problems.add(EMPTY_ROUTE(path=f"routes[{flow}]", flow=flow))
    known = f"numbered 0 to {links - 1}" if links else "none"
    for place in np.flatnonzero((checked.links < 0) | (checked.links >= links))[:_LISTED].tolist():
        flow = int(np.searchsorted(checked.first, place, side="right")) - 1
        problems.add(MISSING_LINK(path=f"routes[{flow}]", flow=flow, link=int(checked.links[place]), known=known))
    problems.raise_if_any()
    return checked


def check_weights(weight: npt.ArrayLike, flows: int) -> FloatArray:
    """Return one weight for each flow.

    Raises
    ------
    InputError
        A weight that is zero, negative or not finite, or another number of them.
    """
    values = np.asarray(weight, dtype=np.float64)
    if values.ndim and values.shape != (flows,):
        raise SHAPE.error(path="weight", name="weight", found=values.size, needed=flows)
    values = np.broadcast_to(values, (flows,)).copy()
    problems = Problems()
    for i in np.flatnonzero(~((values > 0) & np.isfinite(values)))[:_LISTED].tolist():
        problems.add(WEIGHT(path=f"weight[{i}]", flow=i, value=float(values[i])))
    problems.raise_if_any()
    return values


class _Filled(NamedTuple):
    """Levels of flows, the place in its route of each flow's bottleneck, and the levels of the links (infinite where not full)."""

    level: FloatArray
    hop: IntArray
    link_level: FloatArray


def _fill(capacity: FloatArray, table: IntArray, weight: FloatArray) -> _Filled:
    """Water filling by rounds; the last link is the one that pads short routes.

    In a round every link offers what is left of it over the weight that is left on it, and a flow can have the least offer on its route.
    A link on which *no* flow is offered less elsewhere is a bottleneck: whatever else freezes first leaves it alone, since the rest of a
    link only gains by flows that freeze below its offer. All such links freeze their flows in one round.
    """
    pad = capacity.size - 1
    hops, flows = table.shape
    level, hop = np.zeros(flows), np.zeros(flows, dtype=np.int64)
    link_level = np.full(pad + 1, np.inf)
    left = capacity.copy()
    ids = np.arange(flows)
    least_offers = np.zeros(pad + 1)  # offers never fall; what is left may, by rounding
    while ids.size:
        flat = table.ravel()
        spread = np.broadcast_to(weight, table.shape).ravel()
        on_link = np.bincount(flat, spread, pad + 1)
        offers = np.full(pad + 1, np.inf)
        np.divide(left, on_link, out=offers, where=on_link > 0)
        offers[pad] = np.inf
        least_offers = offers = np.maximum(offers, least_offers)
        offered = offers.take(table)
        least = offered.min(axis=0)
        content = least >= offered * (1 - _TIE)
        content_weight = np.bincount(flat, spread * content.ravel(), pad + 1)
        full = (content_weight == on_link) & (on_link > 0)
        full[pad] = False
        link_level[full] = offers[full]
        at = full.take(table)
        frozen = at.any(axis=0)
        done = np.flatnonzero(frozen)
        level[ids[done]] = least[done]
        hop[ids[done]] = at[:, done].argmax(axis=0)
        if done.size == ids.size:
            break
        used = np.broadcast_to(weight[done] * least[done], (hops, done.size)).ravel()
        left -= np.bincount(table[:, done].ravel(), used, pad + 1)
        left[pad] = np.inf
        keep = np.flatnonzero(~frozen)
        ids, table, weight = ids[keep], table.take(keep, axis=1), weight[keep]
    return _Filled(level, hop, link_level)


def fair_rates(
    capacities: npt.ArrayLike, routes: Routes | tuple[npt.ArrayLike, npt.ArrayLike], *, weight: npt.ArrayLike = 1.0
) -> FloatArray:
    """Return the max-min fair rate of every flow.

    Parameters
    ----------
    capacities : array, shape (links,)
        What each link carries [B/s], one way.
    routes : Routes
        The links of every flow; :meth:`Routes.of` makes it of lists.
    weight : array, shape (flows,), optional
        Shares are in proportion to it; all equal without it.

    Returns
    -------
    array, shape (flows,)
        Rates [B/s].

    Raises
    ------
    InputError
        A capacity or a weight that is not above zero, an empty route, a route over a link that does not exist.

    Notes
    -----
    A fluid: no packets, no queues, no slow start; every flow takes its share at once. It takes as many rounds as the longest chain of
    bottlenecks that wait for one another, each linear in the sum of the routes' lengths.

    References
    ----------
    D. Bertsekas, R. Gallager, Data Networks, 2nd ed., section 6.5.2.

    Examples
    --------
    Links of 10 and 4 B/s; the first flow uses both, the others one each:

    >>> fair_rates([10.0, 4.0], Routes.of([[0, 1], [0], [1]])).tolist()
    [2.0, 8.0, 2.0]
    """
    capacity = check_capacities(capacities)
    checked = check_routes(routes, capacity.size)
    weights = check_weights(weight, checked.flows)
    filled = _fill(np.append(capacity, np.inf), checked.table(capacity.size), weights)
    return filled.level * weights


class FairLevels(NamedTuple):
    """Levels of flows, rate over weight [B/s], and the link that limits each."""

    level: FloatArray
    bottleneck: IntArray


def fair_levels(capacities: FloatArray, table: IntArray, weight: FloatArray) -> FairLevels:
    """Return the max-min fair level of every flow and its bottleneck; all is checked by the caller.

    Parameters
    ----------
    capacities : array, shape (links,)
    table : array of int, shape (longest, flows)
        Links of each flow, short routes filled up with the number of links; see :meth:`Routes.table`.
    weight : array, shape (flows,)
    """
    filled = _fill(np.append(capacities, np.inf), table, weight)
    return FairLevels(filled.level, table[filled.hop, np.arange(weight.size)])


def _water(capacity: FloatArray, demand: FloatArray, weight: FloatArray, owner: IntArray, begin: IntArray) -> FloatArray:
    """Return the level of links that are filled each by itself: Σ weight · min(demand, level) = capacity, infinite where that fits in.

    With the demands in rising order the level is the largest of (capacity − what the first k take)/(weight of the others) over k.
    Flows come link by link; ``owner`` is the link of each and ``begin`` the place of each link's first flow.
    """
    order = np.lexsort((demand, owner))
    sorted_demand, mass = demand[order], weight[order]
    endless = np.isinf(sorted_demand)
    taken = np.where(endless, 0.0, sorted_demand) * mass
    # sums inside each link, so that a link's rounding is its own
    total = np.add.reduceat(mass, begin)
    before, taken_before = np.cumsum(mass) - mass, np.cumsum(taken) - taken
    rest = (total + before[begin])[owner] - before
    with np.errstate(invalid="ignore", divide="ignore"):
        level = (capacity[owner] - taken_before + taken_before[begin][owner]) / rest
    level[(mass == 0) | (rest <= 0)] = 0.0
    level[1:][endless[1:] & endless[:-1] & (owner[1:] == owner[:-1])] = 0.0  # one of these takes all that is left: no k goes beyond it
    best: FloatArray = np.maximum.reduceat(level, begin)
    wants = np.add.reduceat(np.where(mass > 0, sorted_demand, 0.0) * mass, begin)
    best[wants <= capacity] = np.inf
    return best


class Sharing:
    """The max-min fair levels of routes whose traffic changes.

    Flows on one route are one class: what counts is the sum of their weights, the route's *mass*. A flow's rate is its weight times the
    level of its route. After a change, links whose level may be another are recomputed from the flows that they limit and the flows that
    others limit; flows that this moves make the other links of their routes candidates in turn, until nothing moves. What is then reached
    fits all capacities and gives every flow a bottleneck, which is the definition: the same levels as from nothing, to rounding.

    Parameters
    ----------
    capacities : array, shape (links,)
        [B/s], above zero; see :func:`check_capacities`.
    routes : Routes, optional
        Routes known at the start, without traffic; checked by :func:`check_routes`.
    tolerance : float
        Relative change of a level that is not passed on.
    compiled : bool
        Update by :mod:`hpcsim.cost.maxmin_compiled`.

    Attributes
    ----------
    level : array, shape (routes,)
        Bytes per second and unit of weight; 0 where a route has no traffic.
    mass : array, shape (routes,)
    """

    def __init__(self, capacities: FloatArray, routes: Routes | None = None, *, tolerance: float = 1e-13, compiled: bool = False) -> None:
        self._compiled = settle_compiled() if compiled else None
        self._pad = int(capacities.size)
        self._capacity = np.append(capacities, np.inf)
        self._link_level = np.full(self._pad + 1, np.inf)
        self._load = np.zeros(self._pad + 1)
        self._own_mass, self._own_used = np.zeros(self._pad + 1), np.zeros(self._pad + 1)  # of the routes that a link limits
        self._whole = self._once_each = True  # masses are whole numbers; no route goes over a link twice
        self._marked = np.zeros(self._pad + 1, dtype=np.bool_)
        self._tolerance = max(tolerance, _ROUNDING)
        self._brim = self._capacity * (1 + max(_TIE, tolerance))
        self._table: IntArray = np.empty((0, 0), dtype=np.int64)
        self.level: FloatArray = np.empty(0)
        self.mass: FloatArray = np.empty(0)
        self._used: FloatArray = np.empty(0)
        self._bottleneck: IntArray = np.empty(0, dtype=np.int64)
        self._indexed: BoolArray = np.empty(0, dtype=np.bool_)
        self._moved: BoolArray = np.empty(0, dtype=np.bool_)
        self._once: IntArray = np.empty(0, dtype=np.int64)
        self._active = 0
        self._stale = False
        self._members: IntArray = np.empty(0, dtype=np.int64)
        self._degree: IntArray = np.zeros(self._pad + 1, dtype=np.int64)
        self._begin: IntArray = np.zeros(self._pad + 1, dtype=np.int64)
        self.rounds = 0
        """Rounds of updating so far."""
        self.indexed = 0
        """Routes that are prepared for changes."""
        self.fills = 0
        """Times that the levels were computed from nothing."""
        if routes is not None:
            self.extend(routes)

    @property
    def routes(self) -> int:
        """Routes that are known."""
        return int(self.level.size)

    @property
    def active(self) -> int:
        """Routes with traffic."""
        return self._active

    @property
    def load_bytes_per_s(self) -> FloatArray:
        """What goes over each link now [B/s], shape (links,)."""
        load = np.bincount(self._table.ravel(), np.broadcast_to(self._used, self._table.shape).ravel(), self._pad + 1)
        return load[:-1].astype(np.float64)

    def extend(self, routes: Routes) -> int:
        """Add routes, without traffic as yet, and return the number of the first."""
        first, table = self.routes, routes.table(self._pad)
        hops = max(table.shape[0], self._table.shape[0])
        grown = np.full((hops, first + table.shape[1]), self._pad, dtype=np.int64)
        grown[: self._table.shape[0], :first] = self._table
        grown[: table.shape[0], first:] = table
        self._table = grown
        ordered = np.sort(table, axis=0)
        self._once_each &= not bool(((ordered[1:] == ordered[:-1]) & (ordered[1:] != self._pad)).any())
        zeros, new = np.zeros(table.shape[1]), np.zeros(table.shape[1], dtype=np.bool_)
        self.level, self.mass, self._used = (np.concatenate([old, zeros]) for old in (self.level, self.mass, self._used))
        self._indexed, self._moved = np.concatenate([self._indexed, new]), np.concatenate([self._moved, new])
        self._bottleneck = np.concatenate([self._bottleneck, np.full(table.shape[1], self._pad, dtype=np.int64)])
        self._once = np.zeros(self.routes, dtype=np.int64)
        return first

    def index(self, routes: IntArray) -> None:
        """Prepare for changes of these routes and of those with traffic; what else has no traffic is forgotten until it has."""
        wanted = self.mass > 0
        wanted[routes] = True
        ids = np.flatnonzero(wanted)
        flat = self._table[:, ids].T.ravel()
        owner = np.repeat(ids, self._table.shape[0])
        inside = np.flatnonzero(flat < self._pad)
        flat, owner = flat[inside], owner[inside]
        self._members = owner[np.argsort(flat, kind="stable")]
        self._degree = np.bincount(flat, minlength=self._pad + 1)
        self._begin = np.cumsum(self._degree) - self._degree
        self._indexed, self._stale = wanted, False
        self.indexed = int(ids.size)
        self._count()

    def update(self, routes: IntArray, mass: FloatArray) -> IntArray:
        """Set the mass of some routes, each named once, and return the routes whose level is another than before."""
        before = self.mass[routes]
        self.mass[routes] = mass
        self._active += int(np.count_nonzero(mass)) - int(np.count_nonzero(before))
        if routes.size * 4 > self._active:
            self._moved[routes] = True
            return self._anew()
        np.add.at(self._own_mass, self._bottleneck[routes], mass - before)
        new = routes[(before == 0) & (mass > 0)]
        if self._stale or not self._indexed[new].all():
            recent = np.flatnonzero(self._indexed)
            self.index(np.concatenate([recent, routes]) if recent.size < 2 * self._active + 1024 else routes)
        table = self._table.take(routes, axis=1)
        gone = mass == 0
        if self._whole and not (mass == np.rint(mass)).all():
            self._whole = False
        self._set(routes, np.where(gone, 0.0, self.level[routes]), np.where(gone, self._pad, self._bottleneck[routes]), table)
        if new.size:
            self._seed(new)
        self._moved[routes] = True
        return self._settle(self._links_of(table))

    def set_capacity(self, links: IntArray, bytes_per_s: FloatArray) -> IntArray:
        """Give some links another capacity, above zero, and return the routes whose level is another than before."""
        self._capacity[links] = check_capacities(bytes_per_s)
        self._brim = self._capacity * (1 + max(_TIE, self._tolerance))
        if self._stale:
            self.index(np.empty(0, dtype=np.int64))
        touched = np.unique(links[self._degree[links] > 0])
        self._link_level[touched] = 0.0
        return self._settle(touched)

    def _anew(self) -> IntArray:
        """Compute all levels from nothing and return the routes whose level is another."""
        self.fills += 1
        active = np.flatnonzero(self.mass)
        table = self._table[:, active] if active.size < self.routes else self._table
        filled = _fill(self._capacity, table, self.mass[active])
        self._stale = not self._indexed[active].all()
        level, bottleneck = np.zeros(self.routes), np.full(self.routes, self._pad)
        level[active] = filled.level
        bottleneck[active] = table[filled.hop, np.arange(active.size)]
        self._moved |= level != self.level
        self.level, self._bottleneck, self._link_level = level, bottleneck, filled.link_level
        self._used = self.mass * level
        self._whole = bool((self.mass == np.rint(self.mass)).all())
        self._count()
        return self._reported()

    def _count(self) -> None:
        """Add up anew what is on each link, and what of it the link limits: kept up to date by sums, they gather rounding."""
        self._load[:-1] = self.load_bytes_per_s
        self._own_mass = np.bincount(self._bottleneck, self.mass, self._pad + 1).astype(np.float64)
        self._own_used = np.bincount(self._bottleneck, self._used, self._pad + 1).astype(np.float64)

    def _reported(self) -> IntArray:
        moved = np.flatnonzero(self._moved)
        self._moved[moved] = False
        return moved

    def _links_of(self, table: IntArray) -> IntArray:
        """Return the links of some routes, each once."""
        marked = self._marked
        marked[table.ravel()] = True
        marked[self._pad] = False
        links = marked.nonzero()[0]
        marked[links] = False
        return links

    def _set(self, routes: IntArray, level: FloatArray, bottleneck: IntArray, table: IntArray) -> None:
        """Set level and bottleneck of some routes and keep the books of the links."""
        mass = self.mass.take(routes)
        used, before, old = level * mass, self._used.take(routes), self._bottleneck.take(routes)
        np.add.at(self._load, table.ravel(), np.concatenate([used - before] * table.shape[0]))
        np.subtract.at(self._own_used, old, before)
        np.add.at(self._own_used, bottleneck, used)
        moved = (old != bottleneck).nonzero()[0]
        if moved.size:
            part = mass.take(moved)
            np.subtract.at(self._own_mass, old.take(moved), part)
            np.add.at(self._own_mass, bottleneck.take(moved), part)
        self.level[routes], self._used[routes], self._bottleneck[routes] = level, used, bottleneck

    def _entries(self, links: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return the routes on some links one after the other, which of the links each belongs to, and where each link begins."""
        degree = self._degree.take(links)
        begin = degree.cumsum() - degree
        owner = np.arange(links.size).repeat(degree)
        place = np.arange(owner.size)
        place += (self._begin.take(links) - begin).take(owner)
        return self._members.take(place), owner, begin

    def _seed(self, new: IntArray) -> None:
        """Give routes that get traffic the level that the links of each would let them have as things are."""
        table = self._table.take(new, axis=1)
        links = self._links_of(table)
        routes, owner, begin = self._entries(links)
        demand = self.level[routes].copy()
        demand[(self._bottleneck[routes] == links[owner]) | ((demand == 0) & (self.mass[routes] > 0))] = np.inf
        offers = np.full(self._pad + 1, np.inf)
        offers[links] = _water(self._capacity[links], demand, self.mass[routes], owner, begin)
        offered = offers[table]
        hop = offered.argmin(axis=0)
        level, bottleneck = offered[hop, np.arange(new.size)], self._table[hop, new]
        self._set(new, level, bottleneck, table)
        self._link_level[bottleneck[self._link_level[bottleneck] == np.inf]] = _NEVER  # full now, at a level yet to be computed

    def _settle(self, links: IntArray) -> IntArray:
        """Recompute the levels of ``links`` and of all that follows, and return the routes whose level is another."""
        if self._compiled is not None:
            return self._settle_compiled(links)
        work, enough = 0, 6 * self._members.size + 1000
        with np.errstate(invalid="ignore", divide="ignore"):
            for _ in range(_ROUNDS):
                full = (self._link_level.take(links) < np.inf) | (self._load.take(links) > self._brim.take(links))
                links = links[full]
                if not links.size:
                    return self._reported()
                self.rounds += 1
                following = self._press(links)
                links = self._move(following)
                work += following.size + links.size
                if work > enough:
                    break
        return self._anew()

    def _settle_compiled(self, links: IntArray) -> IntArray:
        assert self._compiled is not None
        rounds = self._compiled(
            links, self._table, self._pad, self._tolerance, 4 * _ROUNDS, 12 * self._members.size + 1000, self._capacity, self._brim, self._link_level, self._load,
            self.level, self._used, self.mass, self._bottleneck, self._moved, self._members, self._begin, self._degree,
        )  # fmt: skip
        self.rounds += abs(rounds)
        return self._reported() if rounds >= 0 else self._anew()

    def _press(self, links: IntArray) -> IntArray:
        """Bring the levels of ``links`` up to date and return the routes that may have to follow."""
        capacity, weight = self._capacity.take(links), self._own_mass.take(links)
        left = capacity - (self._load.take(links) - self._own_used.take(links))
        level = left / weight
        # what others take nearly all of is added up anew: the difference of two sums is all rounding there
        doubtful = ((left < _NARROW * capacity) | (weight <= 0)).nonzero()[0] if self._whole and self._once_each else np.arange(links.size)
        if doubtful.size:
            level[doubtful] = self._levels(links.take(doubtful))
        old = self._link_level.take(links)
        changed: IntArray = (np.abs(level - old) > self._tolerance * np.minimum(level, old)).nonzero()[0]
        # what goes over unchanged links alone has nothing to follow
        if not changed.size:
            return changed
        links, level = links.take(changed), level.take(changed)
        self._link_level[links] = level
        routes, owner, _ = self._entries(links)
        follow = self.level.take(routes) > (level * (1 + self._tolerance)).take(owner)
        follow |= self._bottleneck.take(routes) == links.take(owner)
        following: IntArray = routes.take(follow.nonzero()[0])
        return following

    def _levels(self, links: IntArray) -> FloatArray:
        """Return the levels of some links from the routes on each."""
        routes, owner, begin = self._entries(links)
        demand, mass = self.level.take(routes), self.mass.take(routes)
        here = self._bottleneck.take(routes) == links.take(owner)
        capacity = self._capacity.take(links)
        mass_here = mass * here
        weight = np.add.reduceat(mass_here, begin)
        mass -= mass_here
        mass *= demand
        elsewhere = np.add.reduceat(mass, begin)
        level: FloatArray = (capacity - elsewhere) / weight
        odd = ((level <= 0) | (weight == 0)).nonzero()[0]
        if odd.size:
            over = (weight.take(odd) > 0) | (elsewhere.take(odd) > self._brim.take(links[odd]))
            level[odd[~over]] = np.inf
            odd = odd[over]
            if odd.size:
                level[odd] = self._odd(odd, capacity, demand, here, routes, owner, begin)
        return level

    def _odd(
        self, odd: IntArray, capacity: FloatArray, demand: FloatArray, here: BoolArray, routes: IntArray, owner: IntArray, begin: IntArray
    ) -> FloatArray:
        """Return the levels of links that are overfull by the flows that others limit: fill them by themselves."""
        place = np.full(capacity.size, -1)
        place[odd] = np.arange(odd.size)
        mine = np.flatnonzero(place[owner] >= 0)
        sub = place[owner[mine]]
        starts = np.flatnonzero(np.diff(sub, prepend=-1))
        asked = np.where(here[mine], np.inf, demand[mine])
        return _water(capacity[odd], asked, self.mass[routes[mine]], sub, starts)

    def _move(self, routes: IntArray) -> IntArray:
        """Let routes have the least level of their links and return the links of those that this moves."""
        if not routes.size:
            return routes
        table = self._table.take(routes, axis=1)
        offered = self._link_level.take(table)
        least = offered.min(axis=0)
        old = self._bottleneck.take(routes)
        slack = least * self._tolerance
        elsewhere = self._link_level.take(old) > least + slack
        moves = (elsewhere | (np.abs(least - self.level.take(routes)) > slack)).nonzero()[0]
        count = np.arange(moves.size)
        self._once[routes[moves]] = count
        moves = moves[self._once[routes[moves]] == count]  # a route on two of the links is here twice
        routes, least, old, table = routes[moves], least[moves], old[moves], table.take(moves, axis=1)
        switch = elsewhere[moves].nonzero()[0]
        if switch.size:
            old[switch] = table[offered[:, moves[switch]].argmin(axis=0), switch]
        self._moved[routes] = True
        self._set(routes, least, old, table)
        return self._links_of(table)
