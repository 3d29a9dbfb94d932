"""Layouts on the links that their traffic meets: the best of a search again, on the nodes in their order."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hpcsim.cost.parallelism import Layout
from hpcsim.study.candidates import Job
from hpcsim.workload.traffic import Meeting

__all__ = ["charged_in_full", "met_by"]


def charged_in_full(job: Job) -> float:
    """Return the oversubscription that the search charges every layout: the fabric's, as if all nodes sent up at once; 1 for none."""
    return float(np.max(np.asarray(job.fabric.oversubscription)))


def met_by(job: Job, layouts: Layout) -> dict[float, tuple[Job, list[int]]]:
    """Return layouts by the oversubscription that their traffic meets on the first nodes in their order, where that is less than charged.

    Parameters
    ----------
    job : Job
    layouts : Layout
        One axis.

    Returns
    -------
    dict of float to (Job, list of int)
        The job on a fabric that is so much oversubscribed, and which of the layouts meet it.
    """
    charged = charged_in_full(job)
    meeting = Meeting(job.cluster)
    domain = max(job.group.domain // job.group.per_node, 1)
    known: dict[tuple[Any, ...], float | None] = {}
    found: dict[float, tuple[Job, list[int]]] = {}
    for i in range(layouts.shape[0]):
        row = layouts.row(i)
        key = tuple(row[k] for k in ("dp", "tp", "pp", "vpp", "cp", "ep", "etp"))
        if key not in known:
            known[key] = meeting.of(row, group=job.group.name, nodes=job.nodes, per_node=job.group.per_node, domain=domain)
        met = known[key]
        if met is None or met >= charged:
            continue
        if met not in found:
            found[met] = (dataclasses.replace(job, fabric=dataclasses.replace(job.fabric, oversubscription=met)), [])
        found[met][1].append(i)
    return found
