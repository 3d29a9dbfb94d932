"""Collectives on a network of links: every round's messages as flows that share it max-min, one round after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.devices import Devices
from hpcsim.cluster.routing import Paths, Router
from hpcsim.cost.maxmin import Routes
from hpcsim.cost.patterns import Pattern, Round
from hpcsim.engine.flows import run_flows

__all__ = ["PatternRun", "over_star", "run_pattern", "run_pattern_on"]

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
Route: TypeAlias = Callable[[IntArray, IntArray], Paths]
"""(sources, destinations) → the ways of the messages."""

PLACES = problem_kind(
    "pattern-places", "the pattern has {needed} endpoints, but {found} places are given", "give each a vertex of the network"
)


@dataclass(frozen=True)
class PatternRun:
    """What became of a pattern.

    Attributes
    ----------
    seconds : float
        From the first message to the last.
    round_s : array, shape (rounds,)
        Time of each kind of round, once.
    carried_bytes : array, shape (links,)
        What each link carried in all.
    """

    seconds: float
    round_s: FloatArray
    carried_bytes: FloatArray


def over_star(endpoints: int, *, latency_s: float = 0.0, inside: int | None = None) -> tuple[Route, int]:
    """Return the routes of a star, and its number of links: link 2i leads up from endpoint i, 2i + 1 down to it.

    Parameters
    ----------
    endpoints : int
    latency_s : float
        Of every message.
    inside : int, optional
        Endpoints from here on sit in the switch: their messages take the other end's link alone.
    """
    edge = endpoints if inside is None else inside

    def route(source: IntArray, target: IntArray) -> Paths:
        table = np.stack([np.where(source < edge, 2 * source, -1), np.where(target < edge, 2 * target + 1, -1)], axis=1)
        used = table >= 0
        first = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64)
        pairs = np.arange(source.size)
        return Paths(Routes(first, table[used]), pairs, np.ones(source.size), np.full(source.size, latency_s))

    return route, 2 * endpoints


def _round(step: Round, route: Route, capacities: FloatArray, tolerance_frac: float) -> tuple[float, FloatArray]:
    """Return the time of a round [s] and what each link carries in all its repeats [B]."""
    paths = route(step.src, step.dst)
    size = step.size_bytes[paths.pair] * paths.share
    lengths = np.diff(paths.routes.first)
    carried = np.bincount(paths.routes.links, np.repeat(size, lengths), capacities.size).astype(np.float64) * step.repeat
    ends = run_flows(capacities, paths.routes, 0.0, size, weight=paths.share, latency_s=paths.latency_s, tolerance_frac=tolerance_frac)
    return float(ends.max(initial=0.0)), carried


def run_pattern(pattern: Pattern, route: Route, capacities: npt.ArrayLike, *, tolerance_frac: float = 0.0) -> PatternRun:
    """Run a pattern over links: a round begins when the one before has ended everywhere.

    Parameters
    ----------
    pattern : Pattern
    route : callable
        Ways of messages; see :func:`over_star` and :func:`run_pattern_on`.
    capacities : array, shape (links,)
        [B/s], one way.
    tolerance_frac : float
        As for :func:`hpcsim.engine.flows.run_flows`.

    Raises
    ------
    InputError
        What the flow engine refuses: missing links, capacities not above zero.

    Notes
    -----
    Rounds that repeat, or that come back later as the same object, are run once: the same messages over the same links take the same time.
    """
    capacity = np.asarray(capacities, dtype=np.float64)
    carried = np.zeros(capacity.size)
    ran: dict[int, tuple[float, FloatArray]] = {}
    for step in pattern.rounds:
        if id(step) not in ran:
            ran[id(step)] = _round(step, route, capacity, tolerance_frac)
        carried += ran[id(step)][1]
    each = np.array([ran[id(step)][0] for step in pattern.rounds])
    counts = np.array([step.repeat for step in pattern.rounds], dtype=np.float64)
    return PatternRun(float(each @ counts) if each.size else 0.0, each, carried)


def run_pattern_on(
    router: Router | Devices, places: npt.ArrayLike, pattern: Pattern, *, latency_s: float = 0.0, tolerance_frac: float = 0.0
) -> PatternRun:
    """Run a pattern over a cluster's fabric.

    Parameters
    ----------
    router : Router or Devices
        See :func:`hpcsim.cluster.routing.router` and :class:`hpcsim.cluster.devices.Devices`.
    places : array of int, shape (endpoints,)
        Vertex or device of each endpoint; messages between endpoints of one vertex stay there and take no time.
    pattern : Pattern
    latency_s : float
        Of the software, beside the wires'.

    Raises
    ------
    InputError
        Fewer or more places than endpoints, places that do not exist, or pairs that nothing joins.
    """
    where = np.asarray(places, dtype=np.int64).reshape(-1)
    if where.size != pattern.endpoints:
        raise PLACES.error(path="places", needed=pattern.endpoints, found=where.size)
    capacities = router.capacity_bytes_per_s

    def route(source: IntArray, target: IntArray) -> Paths:
        found = router.routes(source, target)
        return found._replace(latency_s=found.latency_s + latency_s)

    placed: dict[int, Round] = {}
    for step in pattern.rounds:
        if id(step) not in placed:
            src, dst = where[step.src], where[step.dst]
            away = src != dst
            placed[id(step)] = Round(src[away], dst[away], step.size_bytes[away], step.repeat)
    rounds = tuple(placed[id(step)] for step in pattern.rounds)
    return run_pattern(Pattern(pattern.endpoints, rounds), route, capacities, tolerance_frac=tolerance_frac)
