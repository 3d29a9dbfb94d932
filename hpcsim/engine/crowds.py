"""Many loads that share links, each as it meets the mean of the others.

What a load sees of the rest is taken at the rest's duties with the load among them, not without it, as for a few; the more they are the less
that matters. One water filling serves all: it says where each flow of the others is limited, and every load's own view follows link by link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin import Routes, fair_levels

if TYPE_CHECKING:
    from hpcsim.engine.paces import Load

__all__ = ["Crowd", "Seen", "Strands", "Yarn", "components"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ROUNDS = 40
_SETTLED = 1e-3
_FACTOR = 0.9
_SAME = 1e-12


def components(links: Sequence[IntArray]) -> IntArray:
    """Return for loads with these links which company each belongs to: the number of its first load.

    Loads are in one company if they share a link, over others or not.
    """
    sizes = np.array([part.size for part in links], dtype=np.int64)
    owner = np.repeat(np.arange(len(links)), sizes)
    _, link = np.unique(np.concatenate([np.empty(0, np.int64), *links]), return_inverse=True)
    label = np.arange(len(links))
    while link.size:
        least = np.full(int(link.max()) + 1, len(links))
        np.minimum.at(least, link, label[owner])
        new = label.copy()
        np.minimum.at(new, owner, least[link])
        new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    return label


class Strands(NamedTuple):
    """Flows of one load that cross the same shared links at the same rate alone, as one.

    Attributes
    ----------
    table : array of int, shape (longest, strands)
        Links that others use too, filled up with -1.
    mass : array, shape (strands,)
        Sum of their weights.
    alone : array, shape (strands,)
        Level of each alone [B/s].
    """

    table: IntArray
    mass: FloatArray
    alone: FloatArray


class Yarn:
    """The flows of a load, bundled into strands for whatever company it has.

    Parameters
    ----------
    routes : Routes
    weight, alone : array, shape (flows,)
        Weight of each flow, and its level without others [B/s].
    """

    def __init__(self, routes: Routes, weight: FloatArray, alone: FloatArray) -> None:
        self.links, local = np.unique(routes.links, return_inverse=True)
        self._table = Routes(routes.first, local).table(self.links.size)
        self._weight, self._alone = weight, alone
        self._known: dict[bytes, Strands] = {}

    def strands(self, shared: BoolArray) -> Strands:
        """Return the strands where some of the links, shape (links,), are used by others."""
        key = np.packbits(shared).tobytes()
        if key not in self._known:
            if len(self._known) > 16:
                self._known.clear()
            self._known[key] = self._bundle(shared)
        return self._known[key]

    def _bundle(self, shared: BoolArray) -> Strands:
        number = np.append(np.where(shared, self.links, -1), -1)
        table = number[self._table]
        meets = (table >= 0).any(axis=0)
        table, weight, alone = -np.sort(-table[:, meets], axis=0), self._weight[meets], self._alone[meets]
        rows = np.concatenate([table, np.round(np.log(alone) * 1e9).astype(np.int64)[None]])
        _, first, which = np.unique(rows, axis=1, return_index=True, return_inverse=True)
        return Strands(table[:, first], np.bincount(which.ravel(), weight, first.size).astype(np.float64), alone[first])


class Seen(NamedTuple):
    """What each load of a crowd sees: by what factor its slowest strand is slower, and on which link; shape (loads,)."""

    slowdown: FloatArray
    link: IntArray


class Crowd:
    """Loads that share links.

    Parameters
    ----------
    capacities : array, shape (links,)
        [B/s].
    loads : list of Load
    yarns : list of Yarn
        The flows of each.
    """

    def __init__(self, capacities: FloatArray, loads: Sequence[Load], yarns: Sequence[Yarn]) -> None:
        self.loads = loads
        every = np.concatenate([yarn.links for yarn in yarns])
        links, counts = np.unique(every, return_counts=True)
        common = links[counts > 1]
        parts = [yarn.strands(np.isin(yarn.links, common, assume_unique=True)) for yarn in yarns]
        hops = max(part.table.shape[0] for part in parts)
        table = np.concatenate([np.pad(p.table, ((0, hops - p.table.shape[0]), (0, 0)), constant_values=-1) for p in parts], axis=1)
        self.owner = np.repeat(np.arange(len(loads)), [part.mass.size for part in parts])
        self.mass, self.alone = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
        self.links = common
        self.table = np.where(table >= 0, np.searchsorted(common, table), common.size)
        self.capacity = capacities[common]
        self._pair_up()

    def _pair_up(self) -> None:
        """List every strand on each link, and each load on each link, a *view*."""
        pad = self.links.size
        flat, strand = self.table.ravel(), np.tile(np.arange(self.mass.size), self.table.shape[0])
        on = np.flatnonzero(flat < pad)
        self._link, self._strand = flat[on], strand[on]
        views, self._view = np.unique(self._link * len(self.loads) + self.owner[self._strand], return_inverse=True)
        self._view_link, self._viewer = views // len(self.loads), views % len(self.loads)
        self._own_mass = np.bincount(self._view, self.mass[self._strand], views.size)
        self._degree = np.bincount(self._link, minlength=pad)
        self._begin = np.cumsum(self._degree) - self._degree

    def seen(self, duty: FloatArray) -> Seen:
        """Return what each load sees while the others have a duty, shape (loads,)."""
        presence = duty[self.owner] * self.mass
        here = presence > 1e-12 * self.mass
        level, bottleneck = self.alone.copy(), np.full(self.mass.size, -1)
        own = np.flatnonzero(here)
        if own.size:
            pad, none = self.links.size, self.links.size + own.size
            table = self.table[:, own]
            # a link of its own holds each strand to what it has alone
            table = np.concatenate([np.where(table == pad, none, table), pad + np.arange(own.size)[None]])
            capacity = np.concatenate([self.capacity, presence[own] * self.alone[own]])
            found = fair_levels(capacity, table, presence[own])
            level[own], bottleneck[own] = found.level, found.bottleneck
        offered = self._offers(presence, level, bottleneck, duty)
        least = np.full(self.mass.size, np.inf)
        np.minimum.at(least, self._strand, offered[self._view])
        ratio = self.alone / np.minimum(least, self.alone)
        slowdown = np.ones(len(self.loads))
        np.maximum.at(slowdown, self.owner, ratio)
        slowdown[slowdown <= 1 + _SAME * 10] = 1.0
        return Seen(slowdown, self._worst(slowdown, ratio, offered, least))

    def _offers(self, presence: FloatArray, level: FloatArray, bottleneck: IntArray, duty: FloatArray) -> FloatArray:
        """Return the level that each link has for each load whose flows are all under way; infinite where it does not fill.

        The link is filled by itself: with what flows limited elsewhere take, Σ presence · min(level, L) + (1 − duty) · own mass · L = capacity.
        """
        here = bottleneck[self._strand] == self._link
        demand = np.where(here, np.inf, level[self._strand])
        order = np.lexsort((demand, self._link))
        demand, weight = demand[order], presence[self._strand][order]
        begin, degree, view_link = self._begin, self._degree, self._view_link
        taken = np.where(np.isinf(demand), 0.0, demand) * weight
        zero = np.zeros(1)
        below, mass = np.concatenate([zero, np.cumsum(taken)]), np.concatenate([zero, np.cumsum(weight)])
        extra = (1.0 - duty[self._viewer]) * self._own_mass
        first, end = begin[view_link], begin[view_link] + degree[view_link]
        room, total = self.capacity[view_link] + below[first], mass[end]
        # the number of flows that the level leaves as they are: the last demand that fits below it
        low, high = first.copy(), end.copy()
        for _ in range(int(degree.max()).bit_length()):
            middle = (low + high) // 2
            at = demand[np.minimum(middle, demand.size - 1)]
            with np.errstate(invalid="ignore"):
                fits = (middle < high) & (below[middle] + (total - mass[middle] + extra) * at <= room)
            low, high = np.where(fits, middle + 1, low), np.where(fits, high, middle)
        rest = total - mass[low] + extra
        with np.errstate(divide="ignore", invalid="ignore"):
            offered = (room - below[low]) / rest
        return np.where(rest > 1e-12 * self._own_mass, offered, np.inf)

    def _worst(self, slowdown: FloatArray, ratio: FloatArray, offered: FloatArray, least: FloatArray) -> IntArray:
        worst = np.full(len(self.loads), -1)
        slow = (ratio >= slowdown[self.owner] * (1 - 1e-9)) & (slowdown[self.owner] > 1)
        at = np.flatnonzero(slow[self._strand] & (offered[self._view] <= least[self._strand] * (1 + 1e-12)))
        worst[self.owner[self._strand[at[::-1]]]] = self._link[at[::-1]]
        return worst

    def settled(self, duty: FloatArray) -> tuple[FloatArray, Seen]:
        """Return the duties that agree with what the loads see at them, and that, from a first guess of shape (loads,).

        More of the others slows a load and makes it send for longer, so that duties move one way and converge.
        """
        before = np.zeros_like(duty)
        for round_ in range(_ROUNDS):
            seen = self.seen(duty)
            new = np.array([load.duty_frac(s) for load, s in zip(self.loads, seen.slowdown.tolist(), strict=True)])
            change = new - duty
            if float(np.abs(change).max()) < _SETTLED:
                return new, seen
            if round_ % 2:  # as if the changes went on to fall by the same factor (Aitken)
                factor = np.clip(change / np.where(before != 0.0, before, np.inf), 0.0, _FACTOR)
                new = np.clip(new + change * factor / (1.0 - factor), 0.0, 1.0)
            duty, before = new, change
        return duty, seen

    def parts(self, seen: Seen, duty: FloatArray) -> list[dict[str, float]]:
        """Return for each load which share of what others put on its worst link is whose."""
        count = len(self.loads)
        mass = np.bincount(self._link * count + self.owner[self._strand], self.mass[self._strand], self.links.size * count)
        on = mass.reshape(-1, count) * duty
        found: list[dict[str, float]] = []
        for k, link in enumerate(seen.link.tolist()):
            parts: dict[str, float] = {}
            if link >= 0:
                row = on[link].copy()
                row[k] = 0.0
                total = float(row.sum())
                for other in np.flatnonzero(row).tolist() if total > 0 else ():
                    name = self.loads[other].called
                    parts[name] = parts.get(name, 0.0) + float(row[other]) / total
            found.append(parts)
        return found
