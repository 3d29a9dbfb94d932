"""Flows through a network, written for the reader: at every event all shares from nothing, then time goes on to the next.

Nothing is kept from one event to the next but the bytes that are left. Two ways to share: :func:`exact_finish` one link per round in
rational numbers, which is the definition and leaves no rounding; :func:`slow_finish` in floats, all links that no flow of theirs can do
worse on per round, for thousands of flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def exact_levels(capacities: Sequence[Fraction], routes: Sequence[Sequence[int]], weights: Sequence[Fraction]) -> list[Fraction]:
    """Water filling by its definition: the link with the least share per unit of weight freezes its flows, and again."""
    room, level = list(capacities), [Fraction(0)] * len(routes)
    open_flows = set(range(len(routes)))
    while open_flows:
        mass = [sum((weights[i] * routes[i].count(k) for i in open_flows), Fraction(0)) for k in range(len(room))]
        share, link = min((room[k] / mass[k], k) for k in range(len(room)) if mass[k])
        for i in [i for i in open_flows if link in routes[i]]:
            level[i] = share
            open_flows.remove(i)
            for k in routes[i]:
                room[k] -= share * weights[i]
    return level


def exact_finish(
    capacities: Sequence[float],
    routes: Sequence[Sequence[int]],
    start_s: Sequence[float],
    size_bytes: Sequence[float],
    weight: Sequence[float],
    latency_s: Sequence[float],
) -> list[float]:
    """Return when each flow ends, computed in rational numbers."""
    room = [Fraction(c) for c in capacities]
    mass = [Fraction(w) for w in weight]
    begin = [Fraction(a) + Fraction(b) for a, b in zip(start_s, latency_s)]
    left = [Fraction(s) for s in size_bytes]
    finish = [b if not s else None for b, s in zip(begin, left)]
    now = Fraction(0)
    while None in finish:
        under_way = [i for i, end in enumerate(finish) if end is None and begin[i] <= now]
        levels = exact_levels(room, [routes[i] for i in under_way], [mass[i] for i in under_way])
        rate = {i: level * mass[i] for i, level in zip(under_way, levels)}
        coming = [b for b, end in zip(begin, finish) if end is None and b > now]
        then = min([now + left[i] / rate[i] for i in under_way] + coming)
        for i in under_way:
            left[i] -= rate[i] * (then - now)
            if not left[i]:
                finish[i] = then
        now = then
    return [float(end) for end in finish if end is not None]


def slow_levels(capacities: Floats, owner: Ints, links: Ints, flows: int, weights: Floats) -> Floats:
    """Water filling in floats; entry k says that flow ``owner[k]`` uses link ``links[k]``. Flows of weight zero stand aside."""
    room, level, is_open = capacities.copy(), np.zeros(flows), weights > 0
    while is_open.any():
        used = is_open[owner]
        flow, link = owner[used], links[used]
        mass = np.bincount(link, weights[flow], room.size)
        share = np.divide(room, mass, out=np.full(room.size, np.inf), where=mass > 0)
        worst = np.full(flows, np.inf)  # the least share on each flow's route
        np.minimum.at(worst, flow, share[link])
        lowest = np.full(room.size, np.inf)  # the least that a flow of each link gets anywhere
        np.minimum.at(lowest, link, worst[flow])
        bottleneck = (mass > 0) & (share <= lowest)
        frozen = np.zeros(flows, dtype=bool)
        frozen[flow[bottleneck[link]]] = True
        level[frozen] = worst[frozen]
        gone = frozen[flow]
        room -= np.bincount(link[gone], weights[flow[gone]] * worst[flow[gone]], room.size)
        is_open &= ~frozen
    return level


def slow_finish(
    capacities: npt.ArrayLike,
    first: Ints,
    links: Ints,
    start_s: npt.ArrayLike,
    size_bytes: npt.ArrayLike,
    weight: npt.ArrayLike = 1.0,
    latency_s: npt.ArrayLike = 0.0,
) -> Floats:
    """Return when each flow ends; flow i goes over ``links[first[i]:first[i + 1]]``."""
    flows = first.size - 1
    room = np.asarray(capacities, dtype=float)
    owner = np.repeat(np.arange(flows), np.diff(first))
    begin = np.asarray(np.broadcast_to(start_s, flows) + np.broadcast_to(latency_s, flows), dtype=float)
    weights, left = np.broadcast_to(weight, flows).astype(float), np.broadcast_to(size_bytes, flows).astype(float)
    finish = np.where(left > 0, np.inf, begin)
    now = float(begin.min(initial=0.0))
    while np.isinf(finish).any():
        under_way = np.isinf(finish) & (begin <= now)
        mine = under_way[owner]
        rate = slow_levels(room, owner[mine], links[mine], flows, np.where(under_way, weights, 0.0)) * weights
        need = np.divide(left, rate, out=np.full(flows, np.inf), where=rate > 0)
        coming = float(begin[np.isinf(finish) & (begin > now)].min(initial=np.inf))
        step = min(float(need.min(initial=np.inf)), coming - now)
        now = coming if coming - now <= step else now + step
        done = under_way & (need <= step)
        finish[done] = now
        left = np.where(done, 0.0, np.maximum(left - rate * step, 0.0))
    return finish
