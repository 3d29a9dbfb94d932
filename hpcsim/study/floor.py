"""The nodes that a log is replayed on, where jobs get nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import Demand, Integers, Machine, NodeClass
from hpcsim.scheduling.placement import make_placement
from hpcsim.scheduling.requests import Asking, demands_of, uses_shares
from hpcsim.workload.jobs import Finding, JobTable

__all__ = ["Floor", "floor_of"]

NOTHING_FITS = problem_kind(
    "no-job-fits-nodes",
    "none of the {count} jobs fits on {nodes} nodes of {each}",
    "give the nodes of the log's machine, or --locality any",
)


@dataclass(frozen=True)
class Floor:
    """A machine of nodes, how jobs ask for it and get it, and what each job asks for, by submission."""

    machine: Machine
    placement: str
    asking: Asking
    demands: tuple[list[Demand], Integers]


def floor_of(
    jobs: JobTable,
    node: NodeClass,
    *,
    placement: str,
    locality: Literal["any", "node"],
    unit: Literal["core", "accelerator"] | None = None,
) -> tuple[Floor, JobTable, list[Finding]]:
    """Return equal nodes for a replay, the jobs that they can hold, and what was dropped.

    An accelerator brings its part of the node's cores; a node has at least a core for each accelerator.

    Parameters
    ----------
    jobs : JobTable
        By submission.
    node : NodeClass
        The nodes; without accelerators jobs count cores.
    unit : {"core", "accelerator"}, optional
        What ``processors`` of the jobs counts; accelerators where the nodes have any without it.
    placement, locality : str
        As of :func:`~hpcsim.study.replay.replay`.

    Raises
    ------
    InputError
        An unknown placement, or no job that fits.
    """
    make_placement(placement)
    gpus, nodes = node.gpus, node.count
    cores = max(node.cores, gpus)
    node = replace(node, cores=cores)
    asking = Asking(unit or ("accelerator" if gpus else "core"), cores_per_gpu=cores / gpus if gpus else 1.0, locality=locality)
    machine = Machine.of([node])
    kinds, kind = demands_of(jobs, machine, asking)
    if uses_shares(kinds):
        machine = Machine.of([node], shares=True)
    holds = np.array([machine.holds(demand) for demand in kinds], dtype=np.bool_)
    good = holds[kind]
    findings = []
    if not good.any():
        each = f"{cores} cores" + (f" and {gpus} accelerators" if gpus else "")
        raise NOTHING_FITS.error(count=len(jobs), nodes=nodes, each=each)
    if not good.all():
        findings.append(
            Finding("more than these nodes can give, even when empty", int((~good).sum()), "dropped", f"job {jobs.job_id[~good][0]}")
        )
        number = np.cumsum(holds) - 1
        jobs, kind, kinds = jobs.subset(good), number[kind[good]], [demand for demand, fits in zip(kinds, holds, strict=True) if fits]
    return Floor(machine, placement, asking, (kinds, kind)), jobs, findings
