"""Node failures under batch jobs: what runs on a failed node dies, and its processors leave the pool until they are replaced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.engine.clock import Clock, Due
from hpcsim.engine.failures import SpareNodes
from hpcsim.engine.jobs import BatchSystem
from hpcsim.engine.machine import MachineSystem

__all__ = ["NodeOutages", "PoolOutages"]


TOO_MANY = problem_kind(
    "too-many-failures",
    "more than {most:,} nodes failed by {day:.0f} days, and jobs still wait",
    "give simulate.until, or a longer failures.node.mtbf",
)
MOST_FAILURES = 100_000


class PoolOutages:
    """Failures of the nodes of one pool while batch jobs are about.

    Every node fails with exponential times between failures. Jobs are taken to fill nodes one after another in the order of their
    start, so a failed node is a run of ``per_node`` processors in that order, and every job with a processor there ends as failed; it is
    not queued again. A node of the training runs that stand in the same pool is left to them: they draw failures of their own.

    Parameters
    ----------
    clock, pool : Clock, BatchSystem
    jobs : range
        Numbers of the batch jobs in the pool.
    per_node : int
        Processors of a node.
    mtbf_s : float
        Mean time between failures of one node [s].
    spares : SpareNodes
        Where a replacement comes from, and the record of what is down.
    rng : numpy Generator
        Draws times and nodes.
    """

    def __init__(
        self, clock: Clock, pool: BatchSystem, jobs: range, *, per_node: int, mtbf_s: float, spares: SpareNodes, rng: np.random.Generator
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._jobs = jobs
        self._per_node = per_node
        self._nodes = pool.size // per_node  # of a machine of nodes too: its size is in the jobs' unit
        self._mean_s = mtbf_s / max(self._nodes, 1)
        self._spares = spares
        self._rng = rng
        self.failures = 0
        """Nodes that failed."""

    def begin(self) -> None:
        """Set the first failure."""
        self._clock.at(self._clock.now + float(self._rng.exponential(self._mean_s)), self._fail)

    def _fail(self, event: Due) -> None:
        if not self._pool.unfinished(self._jobs):
            return
        first = int(self._rng.integers(self._nodes)) * self._per_node
        victims = self._on_node(first)
        if victims is not None:
            self.failures += 1
            if self.failures > MOST_FAILURES:
                raise TOO_MANY.error(path="failures.node.mtbf", most=MOST_FAILURES, day=self._clock.now / 86400.0)
            wait_s = self._spares.replace(self._clock.now)
            if wait_s > 0:  # before its jobs end, so that none starts where they were
                self._pool.withdraw(self._per_node)
                self._clock.at(self._clock.now + wait_s, lambda _: self._pool.restore(self._per_node))
            for job in victims:
                self._pool.kill(job)
        self.begin()

    def _on_node(self, first: int) -> list[int] | None:
        """Return the batch jobs on the processors from ``first`` on; None where the node is a training run's or out of service already."""
        last = first + self._per_node
        at, victims = 0, []
        running = self._pool.running()
        for job in (job for job in running if job in self._jobs):
            end = at + self._pool.processors_of(job)
            if at < last and end > first:
                victims.append(job)
            at = end
        held = sum(self._pool.processors_of(job) for job in running if job not in self._jobs)
        if not victims and (first < at + held or first >= self._pool.size - self._pool.down - self._pool.owed):
            return None
        return victims


class NodeOutages(PoolOutages):
    """Failures of the nodes of a machine: every job with a part on a failed node ends as failed, and the node takes no jobs until it is replaced.

    Parameters
    ----------
    clock, pool, jobs, mtbf_s, rng
        As of :class:`PoolOutages`; the pool is a machine of nodes.
    spares : sequence of SpareNodes
        Where a replacement comes from, for each class of its nodes.
    """

    def __init__(
        self,
        clock: Clock,
        pool: MachineSystem,
        jobs: range,
        *,
        mtbf_s: float,
        spares: Sequence[SpareNodes],
        rng: np.random.Generator,
    ) -> None:
        nodes = pool.machine.nodes
        super().__init__(clock, pool, jobs, per_node=max(1, pool.size // nodes), mtbf_s=mtbf_s, spares=spares[0], rng=rng)
        self._nodes, self._mean_s, self._of_class = nodes, mtbf_s / nodes, tuple(spares)

    def _fail(self, event: Due) -> None:
        system = self._pool
        assert isinstance(system, MachineSystem)
        if not system.unfinished(self._jobs):
            return
        node = int(self._rng.integers(system.machine.nodes))
        victims = system.on_nodes([node])
        if not system.free_nodes.is_closed(node) and all(job in self._jobs for job in victims):
            self.failures += 1
            if self.failures > MOST_FAILURES:
                raise TOO_MANY.error(path="failures.node.mtbf", most=MOST_FAILURES, day=self._clock.now / 86400.0)
            wait_s = self._of_class[int(system.machine.group[node])].replace(self._clock.now)
            if wait_s > 0:  # before its jobs end, so that none starts there
                system.close([node])
                self._clock.at(self._clock.now + wait_s, lambda _: system.open([node]))
            for job in victims:
                system.kill(job)
        self.begin()
