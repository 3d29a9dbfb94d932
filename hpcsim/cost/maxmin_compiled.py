"""The update of max-min shares after a change, compiled: the same steps as :class:`hpcsim.cost.maxmin.Sharing` takes with numpy.

Optional: it needs numba (``pip install hpcsim[numba]``) and is asked for by name. Sums are taken in another order than numpy takes them, so
that levels differ by rounding, some 10⁻¹⁵, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind

__all__ = ["settle_compiled"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NOT_THERE = problem_kind(
    "numba-missing", "compiled flows need numba, which is not installed", "pip install hpcsim[numba], or leave compiled out"
)


def _water_one(capacity: float, demand: FloatArray, mass: FloatArray) -> float:
    """Level of one link: Σ mass · min(demand, level) = capacity; infinite where that fits in."""
    order = np.argsort(demand)
    rest = 0.0
    for i in range(demand.size):
        rest += mass[i]
    wants, taken, best, was_endless = 0.0, 0.0, 0.0, False
    for k in range(order.size):
        i = order[k]
        if mass[i] > 0 and rest > 0 and not was_endless:
            best = max(best, (capacity - taken) / rest)
        if mass[i] > 0:
            wants += demand[i] * mass[i]
        rest -= mass[i]
        if demand[i] < np.inf:
            taken += demand[i] * mass[i]
        else:
            was_endless = True
    return float(np.inf) if wants <= capacity else float(best)


def _level(
    link: int,
    capacity: FloatArray,
    brim: FloatArray,
    level: FloatArray,
    mass: FloatArray,
    bottleneck: IntArray,
    members: IntArray,
    begin: IntArray,
    degree: IntArray,
) -> float:
    """Level of one link from the flows that it limits and those that others limit."""
    weight = elsewhere = 0.0
    first, stop = begin[link], begin[link] + degree[link]
    for k in range(first, stop):
        route = members[k]
        if bottleneck[route] == link:
            weight += mass[route]
        else:
            elsewhere += mass[route] * level[route]
    if weight > 0:
        found = float((capacity[link] - elsewhere) / weight)
        if found > 0:
            return found
    elif elsewhere <= brim[link]:
        return float(np.inf)
    demand, share = np.empty(stop - first), np.empty(stop - first)
    for k in range(first, stop):
        route = members[k]
        demand[k - first] = np.inf if bottleneck[route] == link else level[route]
        share[k - first] = mass[route]
    return _water_one(capacity[link], demand, share)


def _follow(
    route: int,
    table: IntArray,
    pad: int,
    tolerance: float,
    link_level: FloatArray,
    load: FloatArray,
    level: FloatArray,
    used: FloatArray,
    mass: FloatArray,
    bottleneck: IntArray,
    moved: npt.NDArray[np.bool_],
    marked: npt.NDArray[np.bool_],
    following: IntArray,
    count: int,
) -> int:
    """Let a route have the least level of its links and mark these for the next round; return how many are marked."""
    least, place = np.inf, pad
    for hop in range(table.shape[0]):
        link = table[hop, route]
        if link_level[link] < least:
            least, place = link_level[link], link
    slack = least * tolerance
    elsewhere = link_level[bottleneck[route]] > least + slack
    if not elsewhere and not abs(least - level[route]) > slack:
        return count
    if elsewhere:
        bottleneck[route] = place
    change = least * mass[route] - used[route]
    level[route], used[route], moved[route] = least, least * mass[route], True
    for hop in range(table.shape[0]):
        link = table[hop, route]
        load[link] += change
        if link != pad and not marked[link]:
            marked[link] = True
            following[count] = link
            count += 1
    return count


def _settle(
    links: IntArray,
    table: IntArray,
    pad: int,
    tolerance: float,
    most: int,
    enough: int,
    capacity: FloatArray,
    brim: FloatArray,
    link_level: FloatArray,
    load: FloatArray,
    level: FloatArray,
    used: FloatArray,
    mass: FloatArray,
    bottleneck: IntArray,
    moved: npt.NDArray[np.bool_],
    members: IntArray,
    begin: IntArray,
    degree: IntArray,
) -> int:
    """Recompute links and all that follows, round by round; return the rounds, or -1 after ``most`` of them or ``enough`` flows looked at."""
    work = 0
    marked = np.zeros(pad + 1, dtype=np.bool_)
    current, following = np.empty(pad + 1, dtype=np.int64), np.empty(pad + 1, dtype=np.int64)
    fresh, changed = np.empty(pad + 1), np.zeros(pad + 1, dtype=np.bool_)
    todo = links.size
    current[:todo] = links
    for number in range(most):
        kept = 0
        for k in range(todo):
            link = current[k]
            if link_level[link] < np.inf or load[link] > brim[link]:
                current[kept] = link
                kept += 1
        todo = kept
        if todo == 0:
            return number
        for k in range(todo):
            work += degree[current[k]]
        if work > enough:
            return -1
        for k in range(todo):
            link = current[k]
            fresh[k] = _level(link, capacity, brim, level, mass, bottleneck, members, begin, degree)
        for k in range(todo):
            link = current[k]
            old, new = link_level[link], fresh[k]
            changed[k] = abs(new - old) > tolerance * min(new, old) if new < np.inf or old < np.inf else False
            if changed[k]:
                link_level[link] = new
        count = 0
        for k in range(todo):
            if not changed[k]:
                continue
            link = current[k]
            limit = link_level[link] * (1 + tolerance)
            for place in range(begin[link], begin[link] + degree[link]):
                route = members[place]
                if mass[route] > 0 and (bottleneck[route] == link or level[route] > limit):
                    count = _follow(
                        route, table, pad, tolerance, link_level, load, level, used, mass, bottleneck, moved, marked, following, count
                    )
        for k in range(count):
            marked[following[k]] = False
        current, following = following, current
        todo = count
    return -1


@lru_cache(maxsize=1)
def settle_compiled() -> Callable[..., int]:
    """Return the compiled update of shares.

    Raises
    ------
    InputError
        numba is not installed.
    """
    try:
        import numba
    except ImportError:
        raise NOT_THERE.error(path="compiled") from None
    space: dict[str, Any] = dict(globals())
    for function in (_water_one, _level, _follow, _settle):  # each calls those before it by name
        own = FunctionType(function.__code__, space, function.__name__)
        space[function.__name__] = numba.njit(own, cache=True)
    made: Callable[..., int] = space["_settle"]
    return made
