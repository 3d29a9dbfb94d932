"""The scheduler part of a scenario: policy, placement, and the rules of the house."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from hpcsim.scenario.fields import Count, Frozen, Name, NamedMap, Quantity, Share, Spec
from hpcsim.scenario.power import NodeCapSpec, SwitchOffSpec
from hpcsim.scenario.staging import BurstBufferSpec, NodeCacheSpec

__all__ = ["PartitionSpec", "PrioritySpec", "QosSpec", "SchedulerSpec", "StoppingSpec", "WeightsSpec", "WindowSpec"]

Time = Annotated[float, Quantity("time")]


def _joined(value: Any) -> Any:
    return ",".join(value) if isinstance(value, (list, tuple)) and value and all(isinstance(part, str) for part in value) else value


_Nodes = Annotated[
    str,
    BeforeValidator(_joined),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""Nodes as text; a list is joined."""


class PartitionSpec(Spec):
    """A partition: the nodes that the jobs of one queue may use, and its limits. Partitions may overlap."""

    nodes: _Nodes | None = Field(
        None, description="its nodes: numbers such as 0-31,40, groups, or some of a group's as gpu/0-31; all by default"
    )
    max_time: Time | None = Field(None, description="jobs that ask for more are dropped and counted")
    max_nodes: Annotated[int, Count(1)] | None = Field(None, description="jobs that take more nodes are dropped and counted")
    max_processors: Annotated[int, Count(1)] | None = Field(None, description="processors that all its jobs together may use")


class QosSpec(Spec):
    """A quality of service: what its jobs together, and those of one user, may use at a time."""

    max_jobs: Annotated[int, Count(1)] | None = Field(None, description="jobs that run at a time")
    max_jobs_per_user: Annotated[int, Count(1)] | None = Field(None, description="jobs of one user that run at a time")
    max_processors: Annotated[int, Count(1)] | None = Field(None, description="processors in use at a time")
    max_processors_per_user: Annotated[int, Count(1)] | None = Field(None, description="processors of one user in use at a time")
    takes: NamedMap[Annotated[int, Count(1)]] = Field(default_factory=dict, description="licences, by name, that each of its jobs takes")


class WindowSpec(Spec):
    """A time in which nodes are kept free: for maintenance, or for the jobs of some users."""

    start: Annotated[float, Quantity("time", zero=True)] = Field(description="when it begins")
    duration: Time = Field(description="how long it lasts")
    nodes: _Nodes | None = Field(
        None, description="its nodes: numbers such as 0-31,40, groups, or some of a group's as gpu/0-31; all by default"
    )
    users: tuple[str, ...] = Field((), description="users whose jobs run there, and only there and then; none: maintenance")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("users"), list):
            return {**data, "users": tuple(str(user) for user in data["users"])}
        return data


class StoppingSpec(Spec):
    """What it costs a job to be stopped, and to go on or to change its size."""

    save: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time to write a checkpoint", validate_default=False)
    restore: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time to read one", validate_default=False)
    interval: Time = Field(3600.0, description="work between checkpoints, where jobs are stopped without notice", validate_default=False)
    resubmit: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="time until a job that is requeued, or stopped without notice, waits again", validate_default=False
    )
    notice: bool = Field(
        True, description="jobs are told before they are stopped, and save then; without it they lose what came after the last checkpoint"
    )


_Weight = Annotated[float, Share(0, 1e12)]


class WeightsSpec(Spec):
    """What each factor of a priority counts for; factors are from 0 to 1. Those that are left out keep the policy's own weight."""

    age: _Weight | None = Field(None, description="how long a job has waited, over the age at which it counts in full")
    job_size: _Weight | None = Field(None, description="the part of the machine that it asks for")
    partition: _Weight | None = Field(None, description="the priority of its partition, over the highest")
    qos: _Weight | None = Field(None, description="the priority of its quality of service, over the highest")
    fair_share: _Weight | None = Field(None, description="how little its owner has used, by shares")


class PrioritySpec(Spec):
    """Weights, priorities and shares of the policies priority, fairshare and fair-tree; names are those of the job log."""

    weights: WeightsSpec = Field(default_factory=WeightsSpec, description="what each factor counts for")
    partitions: NamedMap[_Weight] = Field(default_factory=dict, description="priority of partitions, a log's queues, by name; 0 for others")
    qos: NamedMap[_Weight] = Field(
        default_factory=dict,
        description="priority of qualities of service by name (of groups, where the log has no such column); 0 for others",
    )
    user_shares: NamedMap[_Weight] = Field(default_factory=dict, description="shares of users by name; 1 for others")
    account_shares: NamedMap[_Weight] = Field(default_factory=dict, description="shares of accounts, a log's groups, by name; 1 for others")


class SchedulerSpec(Spec):
    """How the queue is served."""

    policy: str = Field("fcfs", description="registered policy: fcfs, sjf, easy, easy-sjbf, conservative, priority, …")
    options: Annotated[dict[Name, bool | int | float | str], Frozen] = Field(
        default_factory=dict, description="options of the policy by name"
    )
    priority: PrioritySpec | None = Field(None, description="weights and shares of the policies priority, fairshare and fair-tree")
    stopping: StoppingSpec = Field(
        default_factory=StoppingSpec, description="what it costs a job to be stopped, under policies that stop jobs, and to change its size"
    )
    order: Literal["batch", "event"] = Field(
        "batch", description="batch: one pass after all events of an instant; event: a pass after each"
    )
    estimates: Literal["requested", "actual", "predicted", "regression"] = Field(
        "requested",
        description="run times that the policy plans with; predicted: the mean of the user's last two; regression: learned from all",
    )
    placement: str | None = Field(
        None,
        description="registered placement: first-fit, best-fit, pack, …; with it, or a key below, jobs get nodes with cores, accelerators and memory",
    )
    locality: Literal["any", "node"] | None = Field(
        None, description="a job that states no nodes: its parts lie anywhere, or on as few nodes as hold equal parts"
    )
    partitions: NamedMap[PartitionSpec] = Field(default_factory=dict, description="partitions by name: the queue of a job log")
    qos: NamedMap[QosSpec] = Field(default_factory=dict, description="qualities of service by name")
    licences: NamedMap[Annotated[int, Count(1)]] = Field(default_factory=dict, description="licences of the whole machine by name")
    features: NamedMap[_Nodes] = Field(
        default_factory=dict,
        description="nodes that have a feature, by its name: numbers such as 0-31,40, groups, or some of a group's as gpu/0-31",
    )
    burst_buffer: BurstBufferSpec | None = Field(
        None, description="burst buffer of the whole machine, of which jobs take what they ask for"
    )
    data: NodeCacheSpec | None = Field(None, description="where the data sets of jobs lie; see the placement data-local")
    power_budget: Annotated[float, Quantity("power")] | None = Field(
        None, description="power above idle that running jobs may draw together"
    )
    power_hours: NamedMap[Annotated[float, Quantity("power", zero=True)]] = Field(
        default_factory=dict, description="the same in some hours of every day, such as 17-21; the first hour is that of second 0"
    )
    node_cap: NodeCapSpec | None = Field(None, description="cap on the power of a node: batch jobs run slower and draw less")
    switch_off: SwitchOffSpec | None = Field(
        None, description="switch idle nodes off; jobs then get nodes, by best-fit unless placement says else"
    )
    reservations: NamedMap[WindowSpec] = Field(default_factory=dict, description="nodes that are kept for users for a time")
    maintenance: NamedMap[WindowSpec] = Field(default_factory=dict, description="nodes that are kept free for a time")

    @property
    def by_node(self) -> bool:
        """Whether jobs get nodes, instead of processors of a pool."""
        return bool(
            self.estimates in ("predicted", "regression")
            or self.placement
            or self.locality
            or self.partitions
            or self.qos
            or self.licences
            or self.features
            or self.burst_buffer
            or self.data
            or self.power_budget
            or self.switch_off
            or self.reservations
            or self.maintenance
        )
