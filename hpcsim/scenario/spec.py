"""The scenario: everything a run needs, as frozen plain data."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcsim.base.errors import problem_kind
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.scenario.fields import Count, Frozen, Name, NamedMap, Quantity, Spec, fail
from hpcsim.scenario.workload import WorkloadSpec

__all__ = ["FailureSpec", "FailuresSpec", "PublishedSpec", "ScenarioSpec", "SchedulerSpec", "SimulateSpec"]

SWEEP_AXIS = problem_kind("sweep-axis", "the axis {axis!r} of the sweep has no values", "give a list, such as [24, 48, 96]")
BAD_PATH = problem_kind("bad-path", "{path!r} is no dotted path", "for example cluster.nodes.gpu.count")
EMPTY_WORKLOAD = problem_kind("empty-workload", "the workload is empty", "give at least one of training, jobs, tasks, matrix_products")


class PublishedSpec(Spec):
    """A published figure that the result is held against."""

    value: str | float = Field(description="the figure, with its unit where it has one")
    source: str = Field(description="where it was published")
    note: str = Field("", description="what it counts, where that differs from hpcsim's")


class SchedulerSpec(Spec):
    """How the queue is served."""

    policy: str = Field("fcfs", description="registered policy: fcfs, sjf, easy, easy-sjbf, …")
    order: Literal["batch", "event"] = Field(
        "batch", description="batch: one pass after all events of an instant; event: a pass after each"
    )
    estimates: Literal["requested", "actual"] = Field("requested", description="run times that the policy plans with")


class FailureSpec(Spec):
    """Failures of one kind of part, with exponential times between them."""

    mtbf: Annotated[float, Quantity("time")] = Field(description="mean time between failures of one node")
    repair: Annotated[float, Quantity("time", zero=True)] = Field(description="time until a failed node is back")


class FailuresSpec(Spec):
    """What breaks."""

    node: FailureSpec | None = Field(None, description="failures of nodes")


class SimulateSpec(Spec):
    """How the simulation runs."""

    until: Annotated[float, Quantity("time")] | None = Field(None, description="horizon; the end of the last job without it")
    seed: Annotated[int, Count(0, 2**63 - 1)] = Field(1, description="seed of every random stream")


class ScenarioSpec(Spec):
    """One question to hpcsim."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format: 1")
    name: Name = Field(description="short name; results go to reports/<name>/")
    question: str = Field(description="the question that the scenario answers", min_length=1)
    notes: tuple[str, ...] = Field((), description="assumptions that the reader should know")
    cluster: ClusterSpec = Field(description="the machine")
    workload: WorkloadSpec = Field(description="what it has to do")
    scheduler: SchedulerSpec = Field(default_factory=SchedulerSpec, description="how the queue is served")
    failures: FailuresSpec = Field(default_factory=FailuresSpec, description="what breaks; nothing without it")
    simulate: SimulateSpec = Field(default_factory=SimulateSpec, description="horizon and seed")
    sweep: Annotated[dict[str, tuple[Any, ...]], Frozen] = Field(
        default_factory=dict, description="axes of a sweep: dotted path and its values"
    )
    published: NamedMap[PublishedSpec] = Field(default_factory=dict, description="published figures by summary key")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("notes"), list):
            data["notes"] = tuple(data["notes"])
        if isinstance(data.get("sweep"), dict):
            data["sweep"] = {k: tuple(v) if isinstance(v, list) else v for k, v in data["sweep"].items()}
        return data

    @model_validator(mode="after")
    def _meaning(self) -> ScenarioSpec:
        for axis, values in self.sweep.items():
            if not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", axis):
                fail(BAD_PATH(path=axis))
            if not values:
                fail(SWEEP_AXIS(axis=axis))
        w = self.workload
        if not (w.training or w.jobs or w.tasks or w.matrix_products):
            fail(EMPTY_WORKLOAD())
        return self
