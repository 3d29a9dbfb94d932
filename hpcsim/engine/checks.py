"""What is asserted of a machine of nodes while it runs: for those who ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcsim.engine.jobs import PolicyFault
from hpcsim.scheduling.machine import Allocation, Free

if TYPE_CHECKING:
    from hpcsim.engine.machine import MachineSystem

__all__ = ["verify_machine", "verify_place"]


def verify_place(system: MachineSystem, job: int, place: Allocation) -> None:
    """Check an allocation against what is free before it is taken."""
    kind = system._kind[job]
    demand, capacity = system._demands[kind], system.free_nodes.each(kind, system.room.usable(job, system.clock._now))
    name = system.policy.name
    if sum(place.counts) != demand.chunks or len(set(place.nodes)) != len(place.nodes) or list(place.nodes) != sorted(place.nodes):
        raise PolicyFault(f"policy {name!r} places job {job} on {place}; it has {demand.chunks} chunks")
    over = [node for node, count in zip(place.nodes, place.counts, strict=True) if not 1 <= count <= capacity[node]]
    classes = np.unique(system.machine.group[list(place.nodes)])
    if system.machine.ladder and len(classes) > 1:
        raise PolicyFault(f"policy {name!r} places job {job} on {place}, nodes of several classes")
    if over or not system.free_nodes._could(demand):
        raise PolicyFault(f"policy {name!r} places job {job} on {place}, where there is no room")


def verify_machine(system: MachineSystem, started: Sequence[int]) -> None:
    """Assert that what is free and what runs make up the machine."""
    view, free = system._view, Free(system.machine, system._demands)
    for job, place in system.allocations.items():
        free.take(system._kind[job], place)
    for node in system.free_nodes._closed:
        free.close(node)
    assert free == system.free_nodes
    assert free.total == system.free_nodes.total
    assert all(amount >= 0 for amount in system.free_nodes.pools)
    still = np.ones(system.machine.nodes, dtype=np.bool_)
    still[list(system.free_nodes._closed)] = False
    assert (system.free_nodes.free[:, still] >= 0).all()
    assert system._ends == sorted(system._ends)
    assert len(system._ends) == len(system._running) == len(system.allocations)
    assert all(system._start[job] >= system._submit[job] for job in started)
    assert all(system._start[job] != system._start[job] for job in view.waiting())
