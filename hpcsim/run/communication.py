"""Batch jobs on the network: each that communicates is an activity there for as long as it runs, on the nodes that the scheduler gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.units import percent, readable
from hpcsim.engine.clock import Due
from hpcsim.engine.contention import Activity, Load, Member
from hpcsim.run.network import Network
from hpcsim.scenario.communication import CommunicationSpec
from hpcsim.workload.communication import Beat, assigned, partners
from hpcsim.workload.jobs import JobTable

__all__ = ["BatchTraffic"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MANY = "batch jobs"
"""What they are called together in the books of those that they slow."""


class _Sending(NamedTuple):
    """A job under way: its activity, and its time for each second of the log's."""

    activity: Activity
    member: Member
    load: Load
    beat: Beat


class BatchTraffic:
    """Drives the batch jobs that communicate; see :class:`hpcsim.engine.driver.Driver`.

    Parameters
    ----------
    network : Network
    numbers : int array, shape (nodes,)
        Number in the cluster of each of the jobs' nodes.
    jobs : JobTable
        By submission; job i has number i in the batch system.
    specs : mapping of str to CommunicationSpec
    seed : int
    """

    def __init__(self, network: Network, numbers: IntArray, jobs: JobTable, specs: Mapping[str, CommunicationSpec], seed: int) -> None:
        self._network, self._numbers = network, numbers
        self._names, self._specs = list(specs), list(specs.values())
        self._kind = assigned(jobs, specs, seed)
        self._job_id = jobs.job_id
        self._sending: dict[int, _Sending] = {}
        self._booting: dict[int, Due] = {}
        links = network.ways.links
        self._ports = None if links is None or links.forwards else network.ways.port_capacities()
        self.communicated = 0
        """Jobs that began and communicate."""
        self.log_s = self.placed_s = 0.0
        """Their run times in the log, and alone on the nodes that they got."""
        self.over = 0
        """Jobs whose nodes' ports cannot send in the run time what they are to send."""

    def names(self) -> list[str | None]:
        """Return what each job communicates by, shape (jobs,); None for nothing."""
        return [None if kind < 0 else self._names[kind] for kind in self._kind.tolist()]

    def begin(self, job: int, nodes: tuple[int, ...], at_s: float, run_s: float, done: Callable[[], None]) -> bool:
        """Begin a job at ``at_s``; False where it sends nothing over the fabric."""
        kind = int(self._kind[job]) if job < self._kind.size else -1
        if kind < 0 or run_s <= 0:
            return False
        made = self._load(job, self._specs[kind], self._numbers[np.array(nodes, dtype=np.int64)])
        if made is None:
            return False
        load, beat = made
        work_s = run_s * beat.length()
        self.communicated += 1
        self.log_s += run_s
        self.placed_s += work_s
        member = Member(self._network.contention, load.job, {"run": load})

        def ended() -> None:
            self._drop(job)
            done()

        def start(_: object) -> None:
            self._booting.pop(job, None)
            member.join()
            self._sending[job] = _Sending(member.begin("run", work_s, ended), member, load, beat)

        clock = self._network.contention.clock
        if at_s > clock.now:
            self._booting[job] = clock.at(at_s, start)
        else:
            start(None)
        return True

    def stop(self, job: int) -> float:
        """Stop a job and return what was done of it, in seconds of the log's."""
        if job in self._booting:
            self._booting.pop(job).cancel()
            return 0.0
        sending = self._sending[job]
        left_s = self._network.contention.end(sending.activity)
        self._drop(job)
        return (sending.activity.work_s - left_s) / sending.beat.length()

    def close(self) -> None:
        """Close the books of jobs that the horizon cut off."""
        for job in list(self._sending):
            self.stop(job)

    def _drop(self, job: int) -> None:
        sending = self._sending.pop(job)
        sending.member.leave()
        self._network.contention.forget(sending.load)

    def _load(self, job: int, spec: CommunicationSpec, nodes: IntArray) -> tuple[Load, Beat] | None:
        """Return what a job asks of the network, and how it slows with that."""
        ways = self._network.ways
        if spec.storage is not None:
            way = (ways.to_storage if spec.write else ways.from_storage)(spec.storage, nodes)
            part = np.ones(nodes.size)
        else:
            source, target, part = partners(spec.pattern, nodes.size)
            way = ways.between(nodes[source], nodes[target])
        if not way.pair.size:
            return None
        alone_s = float(ways.slowest_s(way, part, ways.capacity_bytes_per_s).max())  # until each node has sent one byte
        apart = self._ports is not None and spec.storage is None
        port_s = min(float(ways.slowest_s(way, part, self._ports).max()), alone_s) if apart and self._ports is not None else alone_s
        send_frac = spec.time if spec.time is not None else (spec.rate or 0.0) * port_s
        if send_frac > 1.0:
            self.over += 1
            send_frac = 1.0
        if send_frac <= 0.0:
            return None
        beat = Beat(send_frac, alone_s / port_s, spec.overlap)
        each = part * (send_frac / port_s / beat.length())
        load = Load(
            f"job {int(self._job_id[job])}",
            "run",
            way.routes,
            each[way.pair] * way.share,
            way.share,
            lru_cache(beat.stretch),
            lru_cache(beat.duty_frac),
            way.pair,
            MANY,
        )
        return load, beat

    def notes(self) -> list[str]:
        """Return what the reader should know."""
        said = []
        more = self.placed_s / self.log_s - 1 if self.log_s else 0.0
        if self.communicated:
            where = (
                f"on the nodes that they got, their own traffic makes them {percent(more, 3)} longer than under one switch"
                if more > 1e-9
                else "on the nodes that they got, their own traffic costs them nothing"
            )
            said.append(f"{self.communicated:,} of the batch jobs communicate ({readable(self.log_s, 'time', 3)} of run time): {where}.")
        if self.over:
            said.append(f"{self.over:,} of them are to send more than their ports carry in the log's run time; they send all the time.")
        return said
