"""Layouts of a search that are still of interest: their order, the best of them, and their front of time, memory and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.pipeline import SCHEDULES
from hpcsim.study.candidates import Job, joined
from hpcsim.study.placed import few_of_each

__all__ = ["KEYS", "Pool", "front_of", "front_pool", "fronts_by_schedule", "kept", "merged", "money_of", "ordered", "reduced", "taken"]

KEYS = (
    "dp",
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "etp",
    "micro_batch",
    "zero_stage",
    "recompute",
    "sequence_parallel",
    "schedule",
    "overlap",
    "offload",
    "precision",
)
"""Keys of a layout, in the order in which they are shown and ties are broken."""


@dataclass
class Pool:
    """Feasible layouts that are still of interest, and what they take."""

    layouts: Layout
    values: dict[str, Array]


def ordered(layouts: Layout, values: Mapping[str, Array], key: str) -> npt.NDArray[np.int64]:
    """Return indices from best to worst: the objective, then time, memory, and the declared fields, smaller first."""
    columns = layouts.columns()
    fields = [columns[name] for name in reversed(KEYS) if name in columns]
    return np.lexsort([*fields, values["peak_memory_bytes"], values["step_time_s"], values[key]])


def kept(layouts: Layout, values: dict[str, Array], key: str, most: int) -> npt.NDArray[np.int64]:
    """Return indices of the best ``most`` layouts of every schedule; with 0 the best few of every way to divide the devices."""
    if not most:
        return few_of_each(layouts, ordered(layouts, values, key))
    codes = layouts.schedule
    chosen = []
    for code in range(len(SCHEDULES)):
        mine = np.flatnonzero(codes == code)
        if mine.size > 4 * most:
            limit = np.partition(values[key][mine], most)[most]
            mine = mine[values[key][mine] <= limit]
        if mine.size:
            order = ordered(layouts.take(mine), {k: v[mine] for k, v in values.items()}, key)
            chosen.append(mine[order[:most]])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def front_of(time_s: Array, memory: Array, money: Array) -> npt.NDArray[np.int64]:
    """Return indices of the points that no other is as good as in all three and better in one, by time."""
    order = np.lexsort([money, memory, time_s])
    left, front = order, []
    while left.size:
        first = left[0]
        front.append(int(first))
        rest = left[1:]
        left = rest[(memory[rest] < memory[first]) | (money[rest] < money[first])]
    points = np.array(front, dtype=np.int64)
    better = (time_s[points] <= time_s[points, None]) & (memory[points] <= memory[points, None]) & (money[points] <= money[points, None])
    np.fill_diagonal(better, False)
    return points[~better.any(axis=1)]


def taken(pool: Pool, index: Any) -> Pool:
    """Return the layouts at an index: numbers or a mask."""
    return Pool(pool.layouts.take(index), {name: values[index] for name, values in pool.values.items()})


def merged(pools: list[Pool]) -> Pool:
    """Return the layouts of all of them, one after the other."""
    return Pool(joined([p.layouts for p in pools]), {k: np.concatenate([p.values[k] for p in pools]) for k in pools[0].values})


def money_of(job: Job, values: Mapping[str, Array]) -> Array:
    """Return what the front calls money: the price of a step, or its energy where no price is known, or nothing."""
    for name in ("cost_usd", "energy_j"):
        if not np.isnan(values[name]).any():
            return values[name]
    return np.zeros_like(values["step_time_s"])


def reduced(pools: list[Pool], key: str, most: int) -> Pool:
    """Return those of all of them that :func:`kept` keeps."""
    pool = merged(pools)
    return taken(pool, kept(pool.layouts, pool.values, key, most))


def fronts_by_schedule(job: Job, pool: Pool) -> Pool:
    """Return the front of each schedule: their closed forms are not equally exact."""
    v, money, codes = pool.values, money_of(job, pool.values), np.asarray(pool.layouts.schedule)
    rows = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    fronts = [mine[front_of(v["step_time_s"][mine], v["peak_memory_bytes"][mine], money[mine])] for mine in rows]
    return taken(pool, np.sort(np.concatenate(fronts)))


def front_pool(job: Job, pool: Pool) -> Pool:
    """Return the front of time, memory and money, whatever the schedule."""
    v = pool.values
    return taken(pool, front_of(v["step_time_s"], v["peak_memory_bytes"], money_of(job, v)))
