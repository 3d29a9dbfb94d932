"""A table of jobs on a machine of nodes, from the first submission to the last end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hpcsim.engine.clock import Clock
from hpcsim.engine.elastic import system_for
from hpcsim.engine.jobs import EventOrder, Observer
from hpcsim.engine.outcome import Outcome
from hpcsim.engine.stopping import Stopping
from hpcsim.scheduling.machine import Machine, NodeClass
from hpcsim.scheduling.placement import Placement
from hpcsim.scheduling.policies import Policy
from hpcsim.scheduling.prediction import Predictor
from hpcsim.scheduling.requests import Asking, demands_of, uses_shares
from hpcsim.workload.jobs import JobTable

__all__ = ["run_as_pool", "run_on_machine"]


def run_on_machine(
    jobs: JobTable,
    machine: Machine,
    policy: Policy | str,
    *,
    placement: Placement | str = "first-fit",
    asking: Asking | None = None,
    stopping: Stopping | None = None,
    predictor: Predictor | None = None,
    order: EventOrder = "batch",
    until_s: float | None = None,
    record: bool = False,
    check: bool = False,
    observers: Sequence[Observer] = (),
) -> Outcome:
    """Run a table of jobs on a machine of nodes.

    Parameters
    ----------
    jobs : JobTable
        The jobs; the outcome has them by submission.
    machine, policy, placement, asking, stopping, predictor, order, record, check, observers
        As in :class:`~hpcsim.engine.machine.MachineSystem`.
    until_s : float, optional [s]
        Stop after the events of this time; until the last job has ended without it.

    Examples
    --------
    Two nodes of four accelerators: the third job fits in all, but not on one node, and waits.

    >>> from hpcsim.scheduling.machine import NodeClass
    >>> machine = Machine.of([NodeClass("gpu", 2, 16, 4)])
    >>> jobs = JobTable.of([0, 0, 1], [10, 20, 5], [1, 1, 1], gpus=[3, 3, 2], nodes=[1, 1, 1])
    >>> outcome = run_on_machine(jobs, machine, "easy", placement="first-fit")
    >>> outcome.start_s.tolist(), outcome.places[2].nodes
    ([0.0, 0.0, 10.0], (0,))
    """
    clock = Clock()
    jobs = jobs.sorted_by_submit()
    demands = demands_of(jobs, machine, asking or Asking())
    if uses_shares(demands[0]):
        machine = dataclasses.replace(machine, shares=True)
    system = system_for(jobs)(
        clock,
        machine,
        policy,
        placement=placement,
        asking=asking,
        stopping=stopping,
        predictor=predictor,
        order=order,
        record=record,
        check=check,
        observers=observers,
    )
    system.submit(jobs, demands)
    clock.run(until_s)
    return system.outcome()


def run_as_pool(jobs: JobTable, processors: int, policy: Policy | str, **how: Any) -> Outcome:
    """Run jobs on one pool of processors, as one node, for a policy that needs nodes: all else that jobs ask for counts for nothing.

    Parameters
    ----------
    jobs, policy
        As of :func:`run_on_machine`.
    processors : int
        Size of the pool.
    how
        Further arguments of :func:`run_on_machine`.
    """
    plain = dataclasses.replace(jobs, gpus=None, memory_bytes=None, nodes=None, exclusive=None)
    return run_on_machine(plain, Machine.of([NodeClass("pool", 1, processors)]), policy, **how)
