"""A whole log under every policy that it can tell apart, on a given machine or on the smallest that its requests allow."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from hpcsim.base.errors import HpcsimError, problem_kind
from hpcsim.base.units import readable
from hpcsim.scheduling.machine import NodeClass
from hpcsim.scheduling.policies import Decision, Pair, Policy, View, make_policy, policies
from hpcsim.workload.jobs import JobTable

__all__ = ["GaveUp", "Patient", "Refused", "every_policy", "smallest_nodes", "spoken"]

NOT_SMALLEST = problem_kind(
    "nodes-option", "nodes is {given!r}", "a whole number, or 'smallest' for the smallest machine that the requests allow"
)

_RESIZES = ("equipartition", "goodput", "moldable")
_BY_HOUR = ("shift",)


class Refused(NamedTuple):
    """A policy that was not run, and why."""

    policy: str
    reason: str


def every_policy(jobs: JobTable, *, elastic: bool = False, hours: bool = False) -> tuple[list[str], list[Refused]]:
    """Return the policies that a log can tell apart, and why the others are left out.

    Parameters
    ----------
    jobs : JobTable
        The log.
    elastic : bool
        Some jobs can change their size.
    hours : bool
        Prices or carbon by the hour are given.
    """
    several = len(np.unique(jobs.user[jobs.user >= 0])) > 1
    lacks = {
        "fairshare": None if several else "the log does not say whose the jobs are",
        "fair-tree": None if several else "the log does not say whose the jobs are",
        "deadline": None if jobs.due_s is not None else "no job has a deadline",
        "edf": None if jobs.due_s is not None else "no job has a deadline",
        "preempt": None if jobs.priority is not None and np.ptp(jobs.priority) > 0 else "all jobs have one priority",
    }
    lacks |= {name: None if elastic else "no job can change its size" for name in _RESIZES}
    lacks |= {name: None if hours else "prices or carbon by the hour are not given" for name in _BY_HOUR}
    names, refused = [], []
    for name in policies.names():
        reason = lacks.get(name)
        if reason is None:
            try:
                make_policy(name)
            except HpcsimError as error:
                reason = str(error)
        if reason is None:
            names.append(name)
        else:
            refused.append(Refused(name, reason))
    return names, refused


class GaveUp(HpcsimError):
    """A policy took longer than it was given."""


class Patient:
    """A policy that is given a limited time [CPU s].

    Parameters
    ----------
    policy : Policy
    limit_s : float [s]
    """

    def __init__(self, policy: Policy, limit_s: float) -> None:
        self._policy, self._limit_s = policy, limit_s
        self._until_s = time.process_time() + limit_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def decide(self, view: View, /) -> Decision | Pair:
        """Return what the policy decides.

        Raises
        ------
        GaveUp
            The time is over.
        """
        if time.process_time() > self._until_s:
            share = 1.0 - sum(start != start for start in view.start_s) / max(len(view.start_s), 1)
            raise GaveUp(f"given up after {readable(self._limit_s, 'time')} of processor time, with {share:.0%} of the jobs started")
        return self._policy.decide(view)


def smallest_nodes(jobs: JobTable) -> NodeClass:
    """Return the fewest and smallest equal nodes that hold each job of a log alone: cores, accelerators and memory by the largest requests.

    As many nodes as the job with most of them asks for, one where no job says; on each node the largest part that any job asks of one. Jobs that
    do not say on how many nodes they run are spread over all of them. Such a machine can run every job, not all of them in time.

    Parameters
    ----------
    jobs : JobTable

    Examples
    --------
    >>> jobs = JobTable.of([0, 0], [9, 9], [64, 8], nodes=[2, 1], memory_bytes=[64e9, 100e9], gpus=[0, 2])
    >>> node = smallest_nodes(jobs)
    >>> node.count, node.cores, node.gpus, node.memory_bytes
    (2, 32, 2, 100000000000)
    """
    asked = jobs.filled("nodes")
    count = max(1, int(asked.max(initial=1)))
    spread = np.where(asked > 0, asked, count).astype(np.float64)
    gpus = jobs.filled("gpus")
    parts = np.where(asked > 0, asked, np.maximum(np.ceil(gpus), np.where(gpus > 0, 1, jobs.processors)))
    on_one = np.ceil(parts / spread - 1e-9)
    each_gpus = np.ceil(gpus / parts - 1e-9) * on_one
    cores = np.maximum(np.ceil(jobs.processors / parts - 1e-9) * on_one, each_gpus)
    memory = np.ceil(jobs.filled("memory_bytes") / parts) * on_one
    return NodeClass("node", count, int(cores.max(initial=1)), int(each_gpus.max(initial=0)), int(memory.max(initial=0)))


def spoken(node: NodeClass) -> str:
    """Return a machine of equal nodes in words.

    >>> spoken(NodeClass("node", 2, 32, 2, 10**11))
    '2 nodes of 32 cores, 2 accelerators and 100 GB'
    """
    parts = [f"{node.cores:,} core{'s' if node.cores != 1 else ''}"]
    if node.gpus:
        parts.append(f"{node.gpus} accelerator{'s' if node.gpus != 1 else ''}")
    if node.memory_bytes:
        parts.append(readable(node.memory_bytes, "data size", 4))
    each = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{node.count:,} node{'s' if node.count != 1 else ''} of {each}"
