"""Routes of flows over numbered links, and checks of what flows are given by: capacities, routes and weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind

__all__ = ["Routes", "check_capacities", "check_routes", "check_weights"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

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
