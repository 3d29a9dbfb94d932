"""The scheduler part of a scenario: policy, placement, and the rules of the house."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcsim.scenario.fields import Count, Frozen, Name, NamedMap, Quantity, Spec

__all__ = ["PartitionSpec", "QosSpec", "SchedulerSpec", "WindowSpec"]

Time = Annotated[float, Quantity("time")]


class PartitionSpec(Spec):
    """A partition: the nodes that the jobs of one queue may use, and its limits. Partitions may overlap."""

    nodes: str | None = Field(None, description="numbers of its nodes, such as 0-31,40; all of the group by default")
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
    nodes: str | None = Field(None, description="numbers of its nodes, such as 0-31,40; all of the group by default")
    users: tuple[str, ...] = Field((), description="users whose jobs run there, and only there and then; none: maintenance")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("users"), list):
            return {**data, "users": tuple(str(user) for user in data["users"])}
        return data


class SchedulerSpec(Spec):
    """How the queue is served."""

    policy: str = Field("fcfs", description="registered policy: fcfs, sjf, easy, easy-sjbf, conservative, priority, …")
    options: Annotated[dict[Name, bool | int | float | str], Frozen] = Field(
        default_factory=dict, description="options of the policy by name"
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
    power_budget: Annotated[float, Quantity("power")] | None = Field(
        None, description="power above idle that running jobs may draw together"
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
            or self.power_budget
            or self.reservations
            or self.maintenance
        )
