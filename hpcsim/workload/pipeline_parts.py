"""The parts of a planned data pipeline: its moves, what it leaves on storage, its stages, and the whole."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hpcsim.cluster.parts import NodeGroup, SourceRow, StorageTier
from hpcsim.cost.pipelines import processor_s
from hpcsim.cost.storage import erasure_coded, replicated
from hpcsim.scenario.pipelines import PRIVATE

__all__ = ["Move", "PipelinePlan", "StagePlan", "Written", "redundancy_factor"]


@dataclass(frozen=True)
class Move:
    """Bytes of a stage that go over links.

    Attributes
    ----------
    kind : str
        ``read`` and ``write`` of a storage tier, ``shuffle`` among the stage's nodes, ``hand`` from the nodes of another stage.
    size_bytes : float
        On the way, records of encryption included; of a shuffle all that is exchanged, own part included.
    tier : str
        Of ``read`` and ``write``.
    source : int
        Stage that hands on, of ``hand``.
    objects : float
        Objects that are read or written, each asked for by itself; 0 where nobody says how many.
    """

    kind: str
    size_bytes: float
    tier: str = ""
    source: int = -1
    objects: float = 0.0


@dataclass(frozen=True)
class Written:
    """What one run of a stage leaves on a tier; ``keep_s`` is None where it stays to the end of the run."""

    tier: str
    size_bytes: float
    keep_s: float | None
    factor: float
    """Raw bytes of a byte that is kept."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage, ready to be timed.

    Attributes
    ----------
    name, kind : str
    group : NodeGroup
    nodes, cores : int
        Nodes that run it, and cores of each that it may use; 0 cores where it computes nothing.
    after : tuple of int
        Stages before it.
    begin_bytes : float
        Of what comes in, what no stage before it hands on.
    in_bytes, out_bytes, records, objects : float
        What comes in and goes out; records and objects that come in, 0 where nobody says.
    work_bytes, core_bytes_per_s : float
        What its cores work through, and the rate of one; no bytes where it needs no cores.
    flight_bytes, flight_bytes_per_s : float
        What its cores encrypt or decrypt for the way, and the rate of one.
    device_s : float
        Time of each node where its rate is no matter of cores [s].
    disk_s, arrive_s, answer_s, first_s : float
        Time of local disks, of data to arrive, of answers, and to the first byte [s].
    moves : tuple of Move
    written : Written or None
    """

    name: str
    kind: str
    group: NodeGroup
    nodes: int
    cores: int
    after: tuple[int, ...]
    begin_bytes: float
    in_bytes: float
    out_bytes: float
    records: float
    objects: float
    work_bytes: float = 0.0
    core_bytes_per_s: float = 1.0
    flight_bytes: float = 0.0
    flight_bytes_per_s: float = 1.0
    device_s: float = 0.0
    disk_s: float = 0.0
    arrive_s: float = 0.0
    answer_s: float = 0.0
    first_s: float = 0.0
    moves: tuple[Move, ...] = ()
    written: Written | None = None

    @property
    def core_s(self) -> float:
        """Core-seconds of its own work over all nodes."""
        return self.work_bytes / self.core_bytes_per_s

    @property
    def flight_core_s(self) -> float:
        """Core-seconds of encryption on the way over all nodes."""
        return self.flight_bytes / self.flight_bytes_per_s

    def cores_s(self, cores: int) -> float:
        """Return the wall clock of its work and encryption on so many cores of each node: d/v [s]."""
        parts = ((self.work_bytes, self.core_bytes_per_s), (self.flight_bytes, self.flight_bytes_per_s))
        return sum(float(processor_s(size, nodes=self.nodes, cores=cores, core_bytes_per_s=rate)) for size, rate in parts if size > 0)

    @property
    def node_time_s(self) -> float:
        """Node-time that its work takes, d/v with v the rate of a whole node [s]."""
        cores = (self.core_s + self.flight_core_s) / (self.group.cores or 1)
        return cores + self.nodes * self.device_s

    @property
    def private(self) -> bool:
        """Whether it serves security and governance."""
        return self.kind in PRIVATE


@dataclass(frozen=True, kw_only=True)
class PipelinePlan:
    """A pipeline, ready to be laid on nodes.

    Attributes
    ----------
    name, path : str
    stages : tuple of StagePlan
        Each after those that it waits for.
    streaming : bool
        Whether all stages run at once.
    chunks : float
        Pieces that stages hand on.
    groups : tuple of (str, int)
        Node groups and how many of their nodes it takes.
    submit_s, every_s : float
        First submission, and from one run to the next.
    times : int
        Runs.
    restore : PipelinePlan or None
        The way back, of a pipeline that ends in a backup.
    facts : tuple of SourceRow
        What it takes from the catalog.
    """

    name: str
    path: str
    stages: tuple[StagePlan, ...]
    streaming: bool
    chunks: float
    groups: tuple[tuple[str, int], ...]
    submit_s: float = 0.0
    every_s: float = 0.0
    times: int = 1
    restore: PipelinePlan | None = None
    facts: tuple[SourceRow, ...] = ()
    kind: str = "pipeline"

    def without_security(self) -> PipelinePlan:
        """Return the pipeline as it would be if security and governance took no time: the same bytes, read and written alike."""
        stages = []
        for stage in self.stages:
            bare = dataclasses.replace(stage, flight_bytes=0.0)
            if stage.private:
                moves = tuple(m for m in stage.moves if not (stage.kind == "audit" and m.kind == "write"))
                bare = dataclasses.replace(bare, work_bytes=0.0, device_s=0.0, answer_s=0.0, moves=moves)
            stages.append(bare)
        return dataclasses.replace(self, stages=tuple(stages))


def redundancy_factor(tier: StorageTier) -> float:
    """Return the raw bytes of a byte that a tier keeps: its copies, or (k + m)/k of an erasure code."""
    return float((erasure_coded(tier.pieces, tier.parity) if tier.pieces else replicated(tier.copies)).factor)
