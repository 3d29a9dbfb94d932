"""What ran: the plain record that the closed form and the event engine both fill, and that results are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.parts import NodeGroup
from hpcsim.engine.failures import Tally
from hpcsim.run.accounting import Down, Usage
from hpcsim.run.bind import Bound, BoundJobs
from hpcsim.run.holdings import Holdings, node_span_w
from hpcsim.run.network import NetworkRecord
from hpcsim.run.served import Served
from hpcsim.run.standby import Standby
from hpcsim.workload.jobs import Finding, JobTable
from hpcsim.workload.pipeline_parts import PipelinePlan
from hpcsim.workload.serving import ServingPlan
from hpcsim.workload.tasks import TaskPlan
from hpcsim.workload.training import TrainingPlan

__all__ = ["BatchRecord", "Item", "Record", "batch_usage", "devices_per_processor", "node_span_w"]

Floats = npt.NDArray[np.float64]


@dataclass
class Item:
    """A training run, task, run of a pipeline or service and what became of it; times in seconds, NaN where they have not come.

    ``share`` maps each node group to the nodes taken there. ``work_s`` is useful work done; ``stretches`` are
    (group, start_s, end_s, draw_w) rows that tile its time; ``short`` are (group, start_s, end_s) rows in which it has one node less;
    ``number`` is that of the run, and ``staged`` its stages, of a pipeline.
    """

    plan: TrainingPlan | TaskPlan | PipelinePlan | ServingPlan
    share: dict[str, int]
    submit_s: float
    estimate_s: float
    start_s: float = math.nan
    end_s: float = math.nan
    status: str = "queued"
    stretches: list[tuple[str, float, float, float]] = field(default_factory=list)
    short: list[tuple[str, float, float]] = field(default_factory=list)
    done_s: float = 0.0
    lost_s: float = 0.0
    failures: float = 0.0
    checkpoints: float = 0.0
    causes: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    """What each cause of failures did to it."""
    task_rows: dict[str, list[Any]] = field(default_factory=dict)
    number: int = 0
    staged: object = None
    served: Served | None = None

    @property
    def name(self) -> str:
        """Its key in the scenario; of a pipeline that repeats, with the number of the run."""
        repeats = isinstance(self.plan, PipelinePlan) and self.plan.times > 1
        return f"{self.plan.name}/{self.number}" if repeats else self.plan.name

    @property
    def kind(self) -> str:
        """``training``, ``task``, ``matrix-product``, ``pattern``, ``pipeline`` or ``serving``."""
        return "training" if isinstance(self.plan, TrainingPlan) else self.plan.kind

    @property
    def nodes(self) -> int:
        """Nodes that it takes."""
        return sum(self.share.values())

    def stop_s(self, now_s: float) -> float:
        """Return when it ended, or ``now_s`` while it runs."""
        return now_s if math.isnan(self.end_s) else self.end_s


@dataclass(frozen=True)
class BatchRecord:
    """Batch jobs and what became of them; ``status`` is in words, ``hosts`` and ``held`` where each ran and on how many nodes,
    ``communication`` what it sends."""

    jobs: JobTable
    bound: BoundJobs
    start_s: Floats
    end_s: Floats
    status: npt.NDArray[np.str_]
    quality: tuple[Finding, ...] = ()
    file: str = ""
    rows: int = 0
    hosts: tuple[str | None, ...] | None = None
    held: npt.NDArray[np.int64] | None = None
    pieces: tuple[npt.NDArray[np.int64], Floats, Floats, npt.NDArray[np.int64]] | None = None
    """Of jobs some of which were stopped or changed their size: (job, start, end, processors) of each time on the machine."""
    holdings: Holdings | None = None
    """What the jobs held of each group; None where they have one."""
    home: npt.NDArray[np.int64] | None = None
    """Index of the group, among the jobs', that each job ran on last, or would have first; None where they have one."""
    stopped_s: Floats | None = None
    """Time that each job stood still between its start and its end [s]; None where none did."""

    @property
    def wait_s(self) -> Floats:
        """Start less submission, and the time that a job stood still since [s]."""
        wait = self.start_s - self.jobs.submit_s
        return wait if self.stopped_s is None else wait + self.stopped_s

    @property
    def run_s(self) -> Floats:
        """Time on the machine [s]; NaN for a job that has not ended."""
        run = self.end_s - self.start_s
        return run if self.stopped_s is None else run - self.stopped_s

    def ran(self, until_s: float) -> tuple[npt.NDArray[np.int64], Floats, Floats, npt.NDArray[np.int64]]:
        """Return job, start, end and processors of each time on the machine, up to ``until_s`` for those that run on."""
        every = (np.arange(len(self.start_s)), self.start_s, self.end_s, self.jobs.processors)
        job, start, end, held = self.pieces or every
        ran = np.flatnonzero(~np.isnan(start))
        return job[ran].astype(np.int64), start[ran], np.where(np.isnan(end[ran]), until_s, end[ran]), held[ran]

    communication: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class Record:
    """Everything that happened between ``begin_s`` and ``end_s``."""

    bound: Bound
    kind: str
    seed: int
    begin_s: float
    end_s: float
    items: list[Item]
    batch: BatchRecord | None
    usage: Usage
    down: Down
    standby: Standby | None = None
    staging: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    events: int = 0
    cpu_s: float = math.nan
    network: NetworkRecord | None = None
    outages: Mapping[str, Tally] = field(default_factory=dict)
    """What each cause of failures did to the batch jobs."""

    @property
    def scheduled(self) -> BatchRecord | None:
        """The batch jobs where a policy placed them; the closed form knows their work only."""
        return None if self.kind == "estimate" else self.batch

    @property
    def jobs(self) -> int:
        """Number of jobs in all: batch jobs first, then items."""
        return (len(self.batch.jobs) if self.batch else 0) + len(self.items)


def devices_per_processor(group: NodeGroup, per_node: int) -> float:
    """Return the billable devices that one processor of a pool stands for."""
    return (group.per_node or 1) / per_node


def batch_usage(batch: BatchRecord, groups: list[str], end_s: float) -> Usage:
    """Return the usage of the batch jobs that started, each at full draw of the processors it holds, while it holds them."""
    if batch.holdings is not None:
        return _usage_of(batch.holdings, np.array([groups.index(name) for name in batch.bound.names]), end_s)
    group, per_node = batch.bound.group, batch.bound.per_node
    ran, start, stop, processors = batch.ran(end_s)
    return Usage(
        job=ran,
        group=np.full(len(ran), groups.index(group.name), dtype=np.int64),
        start_s=start,
        end_s=stop,
        processors=processors,
        devices=np.asarray(processors * devices_per_processor(group, per_node), dtype=np.float64),
        draw_w=np.asarray(processors * (batch.bound.draw_frac * node_span_w(group) / per_node), dtype=np.float64),
    )


def _usage_of(held: Holdings, index: npt.NDArray[np.int64], end_s: float) -> Usage:
    return Usage(
        job=held.job,
        group=index[held.group],
        start_s=held.start_s,
        end_s=np.where(np.isnan(held.end_s), end_s, held.end_s),
        processors=held.processors,
        devices=held.devices,
        draw_w=held.draw_w,
    )
