"""Cables and switches that have failed or run slower: what is left of a fabric's links.

A failed cable is out of use both ways and routes go round it; what has no way left is refused by name. A degraded cable keeps a share of its rate, and the routes
do not know; only ``adaptive`` avoids it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.rng import stream
from hpcsim.cluster.links import Links
from hpcsim.cluster.parts import Fault

__all__ = ["left_over", "worst_share"]

IntArray = npt.NDArray[np.int64]

NOT_JOINED_DIRECTLY = problem_kind(
    "fault-between", "no cable joins {a!r} and {b!r}", "name two neighbours; 'hpcsim explain' lists the tiers"
)
UNKNOWN_TIER = problem_kind("fault-tier", "the fabric has no tier of cables called {name!r}", "its tiers: {known}")


def _cables(links: Links, fault: Fault) -> IntArray:
    """Return the cables that a fault is about."""
    own = slice(0, links.cables)
    tail, head = links.tail[own], links.head[own]
    if fault.between is not None:
        a, b = (links.vertex(name, f"{fault.path}.between") for name in fault.between)
        found = np.flatnonzero(((tail == a) & (head == b)) | ((tail == b) & (head == a)))
        if not found.size:
            raise NOT_JOINED_DIRECTLY.error(path=f"{fault.path}.between", a=fault.between[0], b=fault.between[1])
        return found[: max(1, round(fault.share * found.size))]
    if fault.vertex is not None:
        vertex = links.vertex(fault.vertex, f"{fault.path}.vertex")
        found = np.flatnonzero((tail == vertex) | (head == vertex))
        return found[: max(1, round(fault.share * found.size))]
    if fault.tier not in links.tiers[:-1]:
        known = ", ".join(links.tiers[: -1 if links.storage else -2])
        raise UNKNOWN_TIER.error(path=f"{fault.path}.tier", name=fault.tier, known=known)
    found = np.flatnonzero(links.tier[own] == links.tiers.index(str(fault.tier)))
    drawn = stream(fault.seed, "fabric-faults", fault.name).permutation(found.size)
    return np.sort(found[drawn[: round(fault.share * found.size)]])


def left_over(links: Links, faults: tuple[Fault, ...]) -> Links:
    """Return the links without what has failed, and slower where they are degraded.

    Raises
    ------
    InputError
        Faults of vertices, cables or tiers that do not exist; all of them.
    """
    if not faults:
        return links
    capacity, usable = links.capacity_bytes_per_s.copy(), np.ones(links.count, dtype=np.bool_)
    problems = Problems()
    for fault in faults:
        try:
            cables = _cables(links, fault)
        except InputError as error:
            problems.absorb(error, fault.path)
            continue
        both = np.concatenate([cables, cables + links.cables])
        if fault.rate is None:
            usable[both] = False
        else:
            capacity[both] *= fault.rate
    problems.raise_if_any()
    return dataclasses.replace(links, capacity_bytes_per_s=capacity, usable=usable)


def worst_share(whole: Links, left: Links) -> float:
    """Return the smallest share that any vertex has left of its capacity in a tier, products over the tiers.

    What all send at once is held up by the vertex that has least left; where every tier has lost something, the losses meet at worst. Between two
    levels the lower vertex counts, since routes avoid upper ones with fewer cables. Vertices that have nothing left of a tier do not count.
    """
    product, cables = 1.0, whole.cables
    level = np.zeros(whole.vertices, dtype=np.int64)
    level[whole.nodes : whole.nodes + whole.switches] = whole.levels
    for tier in range(len(whole.tiers) - 2):
        own = np.flatnonzero(whole.tier[:cables] == tier)
        a, b = whole.tail[own], whole.head[own]
        ends = np.concatenate([np.where(level[a] <= level[b], a, b), np.where(level[a] < level[b], a, b)])
        capacity = whole.capacity_bytes_per_s[own], left.capacity_bytes_per_s[own] * left.usable[own]
        before, after = (np.bincount(ends, np.tile(part, 2), whole.vertices) for part in capacity)
        alive = after > 0
        if alive.any():
            product *= float((after[alive] / before[alive]).min())
    return product
