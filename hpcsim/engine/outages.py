"""Node failures under batch jobs: what runs on a failed node dies, and its processors leave the pool until they are replaced."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.engine.clock import Clock, Due
from hpcsim.engine.failures import Cause, Faults, SpareNodes, Tally
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
    causes : sequence of Cause
        What fails, with rates of one node, in place of ``mtbf_s`` and the spares' time of repair.
    """

    def __init__(
        self,
        clock: Clock,
        pool: BatchSystem,
        jobs: range,
        *,
        per_node: int,
        mtbf_s: float = math.inf,
        spares: SpareNodes,
        rng: np.random.Generator,
        causes: Sequence[Cause] = (),
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._jobs = jobs
        self._per_node = per_node
        self._nodes = pool.size // per_node  # of a machine of nodes too: its size is in the jobs' unit
        self._spares = spares
        self._rng = rng
        self._causes = tuple(causes) or (Cause("node", 1.0 / mtbf_s, spares.repair_s),)
        self._faults = self._over(self._nodes)
        self._cause = 0
        self.tallies = [Tally() for _ in self._causes]
        """What each cause did."""
        self.failures = 0
        """Nodes that failed."""

    def by_cause(self) -> dict[str, Tally]:
        """Return what each cause did."""
        return {cause.name: tally for cause, tally in zip(self._causes, self.tallies, strict=True)}

    def _over(self, nodes: int) -> Faults:
        return Faults([dataclasses.replace(cause, per_s=cause.per_s * max(nodes, 1)) for cause in self._causes], self._rng)

    def begin(self) -> None:
        """Set the first failure."""
        fault = self._faults.next()
        self._cause = fault.cause
        self._clock.at(self._clock.now + fault.after_s, self._fail)

    def _out(self, victims: list[int], spares: SpareNodes) -> float:
        """Count a failure and its jobs, send its node to repair, and return how long it takes no jobs [s]; none where no node is lost."""
        self.failures += 1
        if self.failures > MOST_FAILURES:
            raise TOO_MANY.error(path="failures", most=MOST_FAILURES, day=self._clock.now / 86400.0)
        cause, tally = self._causes[self._cause], self.tallies[self._cause]
        tally.failures += 1
        tally.jobs += len(victims)
        if cause.repair_s <= 0:
            return 0.0
        wait_s = spares.replace(self._clock.now, cause.repair_s)
        tally.repair_s += spares.down[-1][2] - self._clock.now
        tally.wait_s += wait_s
        return wait_s

    def _fail(self, event: Due) -> None:
        if not self._pool.unfinished(self._jobs):
            return
        first = int(self._rng.integers(self._nodes)) * self._per_node
        victims = self._on_node(first)
        if victims is not None:
            wait_s = self._out(victims, self._spares)
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
    clock, pool, jobs, mtbf_s, rng, causes
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
        mtbf_s: float = math.inf,
        spares: Sequence[SpareNodes],
        rng: np.random.Generator,
        causes: Sequence[Cause] = (),
    ) -> None:
        nodes = pool.machine.nodes
        per_node = max(1, pool.size // nodes)
        super().__init__(clock, pool, jobs, per_node=per_node, mtbf_s=mtbf_s, spares=spares[0], rng=rng, causes=causes)
        self._nodes, self._of_class = nodes, tuple(spares)
        self._faults = self._over(nodes)

    def _fail(self, event: Due) -> None:
        system = self._pool
        assert isinstance(system, MachineSystem)
        if not system.unfinished(self._jobs):
            return
        node = int(self._rng.integers(system.machine.nodes))
        victims = system.on_nodes([node])
        if not system.free_nodes.is_closed(node) and all(job in self._jobs for job in victims):
            wait_s = self._out(victims, self._of_class[int(system.machine.group[node])])
            if wait_s > 0:  # before its jobs end, so that none starts there
                system.close([node])
                self._clock.at(self._clock.now + wait_s, lambda _: system.open([node]))
            for job in victims:
                system.kill(job)
        self.begin()
