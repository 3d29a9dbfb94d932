"""Layouts on the links that their traffic meets: the best of a search again, on the nodes in their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array
from hpcsim.cost.parallelism import Layout
from hpcsim.study.candidates import Job
from hpcsim.workload.traffic import Meeting

__all__ = ["MET", "Meetings", "at_oversubscription", "charged_in_full", "collides", "divided", "few_of_each"]

_EACH = 3
"""Layouts of each way to divide the devices, and each schedule, that an oversubscribed fabric is tried with."""
MET = "met_oversubscription"
"""The column of what each layout meets."""


def charged_in_full(job: Job) -> float:
    """Return the oversubscription that the search charges every layout: the fabric's, as if all nodes sent up at once; 1 for none."""
    return float(np.max(np.asarray(job.fabric.oversubscription)))


def collides(job: Job) -> bool:
    """Return whether a hash was asked for, so that flows of one job meet each other."""
    fabric = job.cluster.fabric
    return fabric is not None and fabric.collides and job.nodes > 1


def at_oversubscription(job: Job, ratio: float) -> Job:
    """Return the job on a fabric that is so much oversubscribed."""
    return dataclasses.replace(job, fabric=dataclasses.replace(job.fabric, oversubscription=ratio))


def divided(layouts: Layout) -> Array:
    """Return how layouts divide the devices, shape (layouts, 7): what their traffic between nodes depends on."""
    columns = layouts.columns()
    return np.column_stack([np.broadcast_to(columns[name], layouts.shape) for name in ("dp", "tp", "pp", "vpp", "cp", "ep", "etp")])


def few_of_each(layouts: Layout, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the first few in ``order`` of every way to divide the devices, by schedule."""
    _, group = np.unique(np.column_stack([divided(layouts), layouts.schedule]), axis=0, return_inverse=True)
    order = order[np.argsort(group.ravel()[order], kind="stable")]
    own = group.ravel()[order]
    first = np.flatnonzero(np.diff(own, prepend=-1))
    place = np.arange(order.size) - np.repeat(first, np.diff(np.append(first, order.size)))
    return np.sort(order[place < _EACH])


class Meetings:
    """What layouts of a job meet on the first nodes in their order."""

    def __init__(self, job: Job) -> None:
        self._job, self._charged = job, charged_in_full(job)
        self._meeting = Meeting(job.cluster)

    def of(self, row: Mapping[str, Any]) -> float:
        """Return the oversubscription that the traffic of a layout meets; at most what is charged, but for collisions."""
        group = self._job.group
        domain = max(group.domain // group.per_node, 1)
        met = self._meeting.of(row, group=group.name, nodes=self._job.nodes, per_node=group.per_node, domain=domain)
        return self._charged if met is None else met if collides(self._job) else min(met, self._charged)
