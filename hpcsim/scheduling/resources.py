"""What a machine of nodes is made of, and what jobs ask of it: plain values.

All amounts are whole numbers (cores, accelerators, bytes, shares of a device), so that what is given back is exactly what was taken. A job is a
number of equal *chunks*; a chunk lies on one node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.hourly import Hourly

__all__ = [
    "CORES",
    "DEVICE",
    "GPUS",
    "MEMORY",
    "Allocation",
    "Bools",
    "Demand",
    "Integers",
    "NodeClass",
    "Pool",
    "Window",
    "described",
    "shares_of",
]

CORES, GPUS, MEMORY = range(3)
"""Rows of the arrays of resources."""
DEVICE = 21_000
"""Shares of one accelerator: sevenths, eighths and thousandths of a device are whole numbers of them."""

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class NodeClass:
    """Equal nodes.

    Attributes
    ----------
    name : str
        Name of the group; node i is called ``name`` with its number.
    count, cores : int
        Nodes, and cores of a node; both at least 1.
    gpus : int
        Accelerators of a node.
    memory_bytes : int [bytes]
        Main memory of a node; 0 where it is not known, and then no job is held to it.
    features : tuple of str
        What jobs can ask for; the name of the group is one of them.
    """

    name: str
    count: int
    cores: int
    gpus: int = 0
    memory_bytes: int = 0
    features: tuple[str, ...] = ()


class Pool(NamedTuple):
    """Something of which the whole machine has an amount, wherever a job runs: licences, burst buffer, power; or a limit on what may be used.

    A job that lacks a resource waits for it in its turn; one that is over a limit (``limit``) is passed over as if it did not wait.
    """

    name: str
    capacity: int
    limit: bool = False
    hours: Hourly | None = None
    """What there is of it in each hour, at most ``capacity``; only policies that plan with a timetable keep to it."""


class Window(NamedTuple):
    """A time in which some nodes are kept free: for maintenance, or for the jobs of a reservation.

    Attributes
    ----------
    name : str
        What it is called.
    start_s, end_s : float [s]
        From when until when.
    nodes : bool array, shape (nodes,)
        Which nodes.
    """

    name: str
    start_s: float
    end_s: float
    nodes: Bools


class Demand(NamedTuple):
    """What one job asks for.

    Attributes
    ----------
    chunks : int
        Equal parts, each on one node.
    cores, gpus, memory : int
        Of a chunk: cores (at least 1), whole accelerators, bytes.
    share : int
        Of a chunk: shares of one device, below :data:`DEVICE`, in place of whole accelerators.
    apart : bool
        No two chunks on one node.
    exclusive : bool
        The job has its nodes to itself, and takes all of them.
    where : int
        Which of the machine's sets of nodes it may use.
    pooled : tuple of (pool, amount)
        What it takes of the machine's pools.
    window : int
        The reservation in which it runs; -1 none.
    data : int
        The data set that each of its nodes reads; -1 none.
    """

    chunks: int
    cores: int = 1
    gpus: int = 0
    memory: int = 0
    share: int = 0
    apart: bool = False
    exclusive: bool = False
    where: int = 0
    pooled: tuple[tuple[int, int], ...] = ()
    window: int = -1
    data: int = -1


def described(demand: Demand) -> str:
    """Return a demand in words."""
    parts = [f"{demand.chunks} × {demand.cores} cores"]
    if demand.gpus:
        parts.append(f"{demand.gpus} accelerators")
    if demand.memory:
        parts.append(f"{demand.memory / 1e9:.4g} GB")
    return ", ".join(parts) + (" on nodes of its own" if demand.exclusive else "")


class Allocation(NamedTuple):
    """Where a job runs.

    Attributes
    ----------
    nodes, counts : tuple of int, equally long
        Nodes, ascending, and the chunks on each, at least 1.
    devices : tuple of (node, device, shares)
        Accelerators, where the machine keeps them apart.
    """

    nodes: tuple[int, ...]
    counts: tuple[int, ...]
    devices: tuple[tuple[int, int, int], ...] = ()


def shares_of(gpus: float) -> int:
    """Return a part of a device in shares, rounded up."""
    return math.ceil(gpus * DEVICE - 1e-6)
