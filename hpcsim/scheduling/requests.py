"""From the columns of a job table to demands on a machine: how many chunks, and what each takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hpcsim.scheduling.machine import CORES, DEVICE, GPUS, Demand, Machine, shares_of
from hpcsim.workload.jobs import JobTable

__all__ = ["Asking", "demand_of", "demands_of", "uses_shares"]

Integers = npt.NDArray[np.int64]
Extra = tuple[int, tuple[tuple[int, int], ...], int]
"""(set of nodes, pooled, window) of a job: what partitions, limits and reservations make of it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the columns of a job table are meant.

    Attributes
    ----------
    unit : {"core", "accelerator", "node"}
        What ``processors`` counts. A job of whole nodes has them to itself.
    cores_per_gpu : float
        Cores that go with each accelerator where ``unit`` is the accelerator, at least 0; a chunk has one core at least.
    memory_per_gpu, memory_per_core : float [bytes]
        Memory of a job that states none, by its accelerators or, without any, by its cores.
    locality : {"any", "node"}
        Where a job does not say on how many nodes it runs: every core or accelerator of it may lie anywhere, or it takes as few nodes as can
        hold it in equal parts.
    """

    unit: Literal["core", "accelerator", "node"] = "core"
    cores_per_gpu: float = 1.0
    memory_per_gpu: float = 0.0
    memory_per_core: float = 0.0
    locality: Literal["any", "node"] = "any"


def _ceil(value: float) -> int:
    return int(-(-value // 1))


def _parts(amount: int, most: int) -> int:
    """Return the fewest equal parts of an amount of which none exceeds ``most``."""
    parts = max(1, -(-amount // max(most, 1)))
    while amount % parts:
        parts += 1
    return parts


def demand_of(
    machine: Machine,
    asking: Asking,
    *,
    processors: int,
    gpus: float = 0.0,
    memory_bytes: float = 0.0,
    nodes: int = -1,
    exclusive: bool = False,
    extra: Extra = (0, (), -1),
) -> Demand:
    """Return what one job asks for, as equal chunks.

    What does not divide evenly is rounded up on each chunk, as is memory to the byte and a part of a device to its shares. A job on a
    stated number of nodes has one chunk on each; accelerators otherwise make a chunk each (``locality`` any), cores likewise.

    Examples
    --------
    Twelve accelerators on nodes of eight, with as few nodes as can hold equal parts: two of six.

    >>> from hpcsim.scheduling.machine import NodeClass
    >>> machine = Machine.of([NodeClass("gpu", 4, 64, 8)])
    >>> demand = demand_of(machine, Asking("accelerator", cores_per_gpu=4, locality="node"), processors=12)
    >>> demand.chunks, demand.gpus, demand.cores
    (2, 6, 24)
    """
    where, pooled, window = extra
    inside = machine.total[:, machine.sets[where]]
    cores = float(processors)
    if asking.unit == "accelerator":
        gpus = gpus or float(processors)
        cores = gpus * asking.cores_per_gpu
    elif asking.unit == "node":
        nodes, exclusive, cores = processors, True, float(processors)
    memory = memory_bytes or (gpus * asking.memory_per_gpu if gpus else cores * asking.memory_per_core)
    if nodes > 0:
        chunks, apart = nodes, True
    elif 0 < gpus < 1:
        chunks, apart = 1, False
    elif asking.locality == "any":
        chunks, apart = _ceil(gpus) or max(1, _ceil(cores)), False
    else:
        most = int(inside[GPUS if gpus else CORES].max(initial=1))
        chunks, apart = _parts(_ceil(gpus) or max(1, _ceil(cores)), most), False
    each = gpus / chunks
    share = shares_of(each) if 0 < each < 1 else 0
    whole = 0 if share and share < DEVICE else _ceil(each - 1e-9)
    return Demand(
        chunks=chunks,
        cores=max(1, _ceil(cores / chunks - 1e-9)),
        gpus=whole,
        memory=_ceil(memory / chunks),
        share=share if not whole else 0,
        apart=apart,
        exclusive=exclusive,
        where=where,
        pooled=pooled,
        window=window,
    )


def demands_of(
    jobs: JobTable, machine: Machine, asking: Asking, *, extra: Callable[[int], Extra] | None = None
) -> tuple[list[Demand], Integers]:
    """Return the kinds of demands of a job table, and the kind of each job, shape (jobs,).

    Parameters
    ----------
    jobs, machine, asking
        The jobs, the machine, and how the columns are meant.
    extra : callable, optional
        Gives the set of nodes, what is pooled, and the window of the job in a row; all nodes and nothing without it.
    """
    names = ("gpus", "memory_bytes", "nodes", "exclusive")
    columns = [jobs.processors.astype(np.float64), *(jobs.filled(name).astype(np.float64) for name in names)]
    extras: list[Extra] = [(0, (), -1)]
    if extra is not None:
        known: dict[Extra, int] = {}
        numbers = np.array([known.setdefault(extra(row), len(known)) for row in range(len(jobs))], dtype=np.float64)
        extras = list(known)
    else:
        numbers = np.zeros(len(jobs))
    rows, kind = np.unique(np.stack([*columns, numbers]), axis=1, return_inverse=True)
    found: dict[Demand, int] = {}
    index = np.empty(rows.shape[1], dtype=np.int64)
    for at, (processors, gpus, memory, nodes, exclusive, number) in enumerate(rows.T.tolist()):
        demand = demand_of(
            machine,
            asking,
            processors=int(processors),
            gpus=gpus,
            memory_bytes=memory,
            nodes=int(nodes),
            exclusive=bool(exclusive),
            extra=extras[int(number)],
        )
        index[at] = found.setdefault(demand, len(found))
    return list(found), index[np.asarray(kind).reshape(-1)]


def uses_shares(demands: list[Demand]) -> bool:
    """Return whether any demand takes a part of a device, so that devices must be kept apart."""
    return any(demand.share for demand in demands)
