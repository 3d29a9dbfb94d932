"""A machine of nodes whose jobs may change their size while they run.

Work is conserved: a job's progress is the integral of its rate, which is 1 at the size that it asked for. A change of size costs what
:class:`~hpcsim.engine.stopping.Stopping` says of a checkpoint: the time to save and to restore, in which it holds its new nodes and makes no progress.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.engine.checks import verify_place
from hpcsim.engine.jobs import PolicyFault
from hpcsim.engine.machine import MachineSystem, _forget
from hpcsim.engine.outcome import Outcome, Stretch
from hpcsim.scheduling.machine import Allocation, Demand
from hpcsim.scheduling.scales import Scale
from hpcsim.workload.jobs import JobTable

__all__ = ["ElasticSystem", "system_for"]

WINDOWS = problem_kind(
    "elastic-windows",
    "the policy {name!r} changes the sizes of jobs and does not plan around {what}",
    "leave them out, or choose another policy",
)


def system_for(jobs: JobTable) -> type[MachineSystem]:
    """Return which machine runs these jobs."""
    return MachineSystem if jobs.law is None else ElasticSystem


class ElasticSystem(MachineSystem):
    """A machine of nodes under a queueing policy, for a table of jobs some of which may change their size.

    A job changes by whole chunks: from ``least`` to ``most`` processors as far as they are whole chunks and the empty machine holds them. One that takes
    of a pool (a licence, a limit, power) cannot change its size.
    """

    __slots__ = ("_plain_kind", "_scales_of")

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._plain_kind: dict[int, int] = {}
        self._scales_of: dict[tuple[int, ...], Scale | None] = {}
        self.room.scales = {}
        if getattr(self.policy, "sizes", False) and (self.machine.windows or self.power is not None):
            what = "times in which nodes are kept free" if self.machine.windows else "nodes that are switched off"
            raise WINDOWS.error(path="policy", name=self.policy.name, what=what)

    def submit(self, jobs: JobTable, demands: tuple[list[Demand], Any] | None = None) -> range:
        """Let the jobs of a table arrive, with the sizes that they may have; see :meth:`MachineSystem.submit`."""
        jobs = jobs.sorted_by_submit()
        numbers = super().submit(jobs, demands)
        if jobs.law is None:
            return numbers
        scales: dict[int, Scale] = dict(self.room.scales)
        rows = np.flatnonzero(jobs.law >= 0)
        columns = (jobs.processors, jobs.filled("least"), jobs.filled("most"), jobs.law)
        for row, processors, least, most, law in zip(rows.tolist(), *(column[rows].tolist() for column in columns), strict=True):
            job = numbers.start + row
            key = (self._kind[job], processors, least, most, law)
            if key not in self._scales_of:
                self._scales_of[key] = self._scale(jobs, *key)
            scale = self._scales_of[key]
            if scale is not None:
                scales[job] = scale
                self._plain_kind[job] = self._kind[job]
        self.room.scales = scales
        self._smallest()
        return numbers

    def _refresh(self) -> None:
        super()._refresh()
        self._smallest()

    def _smallest(self) -> None:
        smallest = self.room.kind.copy()
        scales = self.room.scales
        smallest[list(scales)] = [scale.kinds[0] for scale in scales.values()]
        self.room.smallest = smallest

    def _scale(self, jobs: JobTable, kind: int, processors: int, least: int, most: int, law: int) -> Scale | None:
        """Return the sizes of a job; None where there is only one."""
        demand = self._demands[kind]
        own = demand.chunks
        each = processors / own
        fewest = min(own, max(1, math.ceil(least / each - 1e-9)))
        largest = max(own, math.floor(most / each + 1e-9))
        if demand.pooled or demand.share or demand.window >= 0:
            return None
        low, high = own, largest
        while low < high:  # the most chunks that the empty machine holds
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.machine.holds(demand._replace(chunks=middle)) else (low, middle - 1)
        if fewest == low:
            return None
        chunks = np.arange(fewest, low + 1)
        speed = np.asarray(jobs.laws[law].speed(np.maximum(1.0, chunks * each)), dtype=np.float64)
        rates = speed / float(np.asarray(jobs.laws[law].speed(max(1.0, own * each))))
        rates[own - fewest] = 1.0
        kinds = tuple(self._number(demand._replace(chunks=int(count)), "") for count in chunks)
        return Scale(fewest, kinds, tuple(rates.tolist()), float(self.machine.processor_equivalents(demand)) / own)

    # -- sizes --------------------------------------------------------------------------------------------------------------------

    def _rate(self, job: int) -> float:
        scale = self.room.scales.get(job)
        return 1.0 if scale is None else scale.rate(self._demands[self._kind[job]].chunks)

    def _held(self, job: int) -> int:
        """Return the processors of a job at its size, as the table counts them."""
        plain = self._plain_kind.get(job)
        if plain is None:
            return self._asked[job]
        return int(self._asked[job] * self._demands[self._kind[job]].chunks / self._demands[plain].chunks + 1e-9)

    def _set_kind(self, job: int, kind: int) -> None:
        self._kind[job] = kind
        self.room.kind[job] = kind

    def _shape(self, job: int, chunks: int) -> None:
        """Set the size of a job that is about to run, whose run and estimate are those of the size that it asked for."""
        scale = self.room.scales.get(job)
        if scale is None or not scale.least <= chunks <= scale.most:
            if scale is None and chunks == self._demands[self._kind[job]].chunks:
                return
            raise PolicyFault(f"policy {self.policy.name!r} gives job {job} {chunks} chunks, which it cannot have")
        overhead, rate = self._stops.overhead_s.get(job, 0.0), scale.rate(chunks)
        self._stops.whole_s.setdefault(job, self._run[job])
        if rate != 1.0:
            self._run[job] = overhead + (self._run[job] - overhead) / rate
            self._estimate[job] = overhead + max(0.0, self._estimate[job] - overhead) / rate
            self.room.estimate_s[job] = self._estimate[job]
        self._set_kind(job, scale.kind(chunks))

    def _reshape(self, resize: Sequence[tuple[int, int, Allocation]], sizes: Iterable[tuple[int, int]]) -> None:
        for job, _, _ in resize:
            if job not in self.allocations or job not in self.room.scales or self._run[job] != self._run[job]:
                raise PolicyFault(f"policy {self.policy.name!r} changes the size of job {job}, which does not run or has one size only")
            self._take_down(job)
        for job, chunks, place in resize:
            self._shape(job, chunks)
            if self._check:
                verify_place(self, job, place)
            self.free_nodes.take(self._kind[job], place)
            self._put_on(job, place)
        if resize:
            self._view.unforeseen = True
        for job, chunks in sizes:
            self._shape(job, chunks)

    def _take_down(self, job: int) -> None:
        """Take a running job off its nodes, to go on at once at another size."""
        now, start, held = self.clock._now, self._start[job], self._held(job)
        _forget(self._heap, self._on_end, job)
        self._take_off(job)
        if now > start:
            self._shorten(job, start, "resize")
            last = self._stops.stretches[-1]
            self._stops.stretches[-1] = Stretch(*last[:-1], processors=held)
        else:  # it has only just begun: nothing is done, nothing is lost, and what it has to make up for stays
            overhead, rate = self._stops.overhead_s.get(job, 0.0), self._rate(job)
            self._run[job] = overhead + (self._run[job] - overhead) * rate
            self._estimate[job] = overhead + (self._estimate[job] - overhead) * rate
            self._start[job] = math.nan
        self._set_kind(job, self._plain_kind[job])

    def _shorten(self, job: int, start: float, how: str, done_s: float | None = None) -> None:
        held = self._held(job)
        super()._shorten(job, start, how, done_s)
        if job in self._plain_kind and how != "resize":
            self._stops.stretches[-1] = Stretch(*self._stops.stretches[-1][:-1], processors=held)
            self._set_kind(job, self._plain_kind[job])

    def outcome(self) -> Outcome:
        """Return what became of every job up to now, and on how many processors."""
        done = super().outcome()
        last = {job: held for job in self._plain_kind if (held := self._held(job)) != self._asked[job]}
        return dataclasses.replace(done, last_processors=last)
