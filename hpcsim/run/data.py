"""The data sets of a scenario's jobs: what each demand reads, and how fast it reaches the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hpcsim.cluster.parts import Cluster
from hpcsim.scenario.scheduler import SchedulerSpec
from hpcsim.scheduling.data_local import CacheRule
from hpcsim.scheduling.machine import Demand, Integers
from hpcsim.workload.jobs import JobTable

if TYPE_CHECKING:
    from hpcsim.engine.jobs import BatchSystem

__all__ = ["cache_rule", "reading", "staging_summary"]


def reading(jobs: JobTable, demands: tuple[list[Demand], Integers]) -> tuple[list[Demand], Integers]:
    """Return kinds of demands that tell apart who reads what, and the kind of each job."""
    if jobs.data is None:
        return demands
    kinds, kind = demands
    pairs, index = np.unique(np.stack([kind, jobs.data]), axis=1, return_inverse=True)
    return [kinds[at]._replace(data=data) for at, data in pairs.T.tolist()], np.asarray(index).reshape(-1)


def cache_rule(scheduler: SchedulerSpec, cluster: Cluster, jobs: JobTable) -> CacheRule | None:
    """Return what nodes keep and how fast data reach them; None where the scenario says nothing of it, or no job reads any.

    A data set whose size changes from job to job counts with the largest.
    """
    spec = scheduler.data
    if spec is None or jobs.data is None:
        return None
    sizes = np.zeros(int(jobs.data.max(initial=-1)) + 1)
    named = jobs.data >= 0
    np.maximum.at(sizes, jobs.data[named], jobs.filled("data_bytes")[named])
    fabric = cluster.fabric
    return CacheRule(
        size_bytes=tuple(sizes.tolist()),
        capacity_bytes=spec.cache,
        store_bytes_per_s=cluster.storage[spec.store].read_bytes_per_s,
        node_bytes_per_s=fabric.bytes_per_s * fabric.per_node if fabric is not None else None,
    )


def staging_summary(pools: Mapping[str, BatchSystem]) -> dict[str, float]:
    """Return what a summary says of data that was brought to nodes."""
    from hpcsim.engine.caches import NodeCaches

    found = {id(power): power for pool in pools.values() if isinstance(power := getattr(pool, "power", None), NodeCaches)}.values()
    if not found:
        return {}
    hits, misses = sum(one.hits for one in found), sum(one.misses for one in found)
    result = {"staged_bytes": sum(one.staged_bytes for one in found)}
    return {"data_hit_frac": hits / (hits + misses), **result} if hits + misses else result
