"""Max-min fair sharing of links among flows: all at once, and brought up to date after a change.

A flow has a route over links and a weight. A rate vector is *max-min fair* when no flow's rate over its weight, its *level*, can grow
without lowering one that is as low or lower. It is the only one that fits into the capacities and gives each flow a *bottleneck*: a full
link of its route on which no other flow has a higher level. Storage servers and network ports are links like any other.

:func:`fair_rates` computes it from nothing. :class:`Sharing` keeps it while flows come and go, and touches only what a change reaches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin_compiled import settle_compiled
from hpcsim.cost.routes import Routes, check_capacities, check_routes, check_weights

__all__ = ["FairLevels", "Routes", "Sharing", "check_capacities", "check_routes", "check_weights", "fair_levels", "fair_rates"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_TIE = 1e-12
"""Relative difference below which two levels are one, and a link is full."""
_ROUNDING = 1e-14
"""Relative change of a level that may be rounding."""
_NEVER = float(np.finfo(np.float64).max)
_NARROW = 0.05
"""Share of a link that its own routes have left, below which what others take is added up anew."""
_ROUNDS = 64
"""Rounds of updating after which it is cheaper to begin anew."""
_UPDATE_NS = (80e3, 20.0, 14.0)
"""Work of a round of updating: once, for each route that is looked at on a link, and for each place of the table of those that may follow."""
_FILL_NS = (50e3, 22.0)
"""Work of a round of filling: once, and for each place of the table. Measured once; only the ratio to the above counts."""
_ANEW_NS = (1e5, 15.0)
"""Work beside the filling when all is computed anew: once, and for each route and link."""
_SHORT, _LONG = 64, 512
"""Changes that are filled from nothing before updating is tried again: at first, and at most."""
_RECENT = 32
"""Changes over which the work of updating is averaged, the latest most."""


class _Filled(NamedTuple):
    """Levels of flows, the place in its route of each flow's bottleneck, the levels of the links (infinite where not full), and the work it took."""

    level: FloatArray
    hop: IntArray
    link_level: FloatArray
    rounds: int
    places: int


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
    rounds = places = 0
    while ids.size:
        rounds, places = rounds + 1, places + table.size
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
    return _Filled(level, hop, link_level, rounds, places)


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
        self._fixed_work, self._route_work, self._update_work = np.inf, 0.0, 0.0  # of filling, once and for a route; of the latest updates
        self._pause, self._fills_to_come, self._work = _SHORT, 0, 0.0
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
        if routes.size * 4 > self._active or self._fills_to_come:
            self._fills_to_come = max(self._fills_to_come - 1, 0)
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
        mass = self.mass[active]
        filled = _fill(self._capacity, table, mass)
        self._fixed_work = _ANEW_NS[0] + _ANEW_NS[1] * (self.routes + self._pad) + _FILL_NS[0] * filled.rounds
        self._route_work = _FILL_NS[1] * filled.places / max(active.size, 1)
        self._stale = not self._indexed[active].all()
        level, bottleneck, limits = np.zeros(self.routes), np.full(self.routes, self._pad), table[filled.hop, np.arange(active.size)]
        level[active], bottleneck[active] = filled.level, limits
        self._moved |= level != self.level
        self.level, self._bottleneck, self._link_level = level, bottleneck, filled.link_level
        self._used = self.mass * level
        self._whole = bool((mass == np.rint(mass)).all())
        used = self._used[active]
        self._load = np.bincount(table.ravel(), np.broadcast_to(used, table.shape).ravel(), self._pad + 1).astype(np.float64)
        self._own_mass = np.bincount(limits, mass, self._pad + 1).astype(np.float64)
        self._own_used = np.bincount(limits, used, self._pad + 1).astype(np.float64)
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
        self._work += _UPDATE_NS[1] * owner.size
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
        self._work, enough = 0.0, 1.5 * self._filling
        with np.errstate(invalid="ignore", divide="ignore"):
            for _ in range(_ROUNDS):
                full = (self._link_level.take(links) < np.inf) | (self._load.take(links) > self._brim.take(links))
                links = links[full]
                if not links.size:
                    self._weigh(self._work)
                    return self._reported()
                self.rounds += 1
                following = self._press(links)
                self._work += _UPDATE_NS[0] + _UPDATE_NS[2] * following.size * self._table.shape[0]
                links = self._move(following)
                if self._work > enough:
                    break
        self._weigh(self._work + self._filling)
        return self._anew()

    @property
    def _filling(self) -> float:
        """Work of filling from nothing [ns], by the last time."""
        return self._fixed_work + self._route_work * self._active

    def _weigh(self, work: float) -> None:
        """Choose how the next changes are taken in: where updating has been more work of late than filling, by filling, for a while."""
        self._update_work += (work - self._update_work) / _RECENT
        if self._update_work > self._filling:
            self._fills_to_come, self._pause = self._pause, min(2 * self._pause, _LONG)
            self._update_work = 0.8 * self._filling
        else:
            self._pause = max(self._pause - 1, _SHORT)

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
