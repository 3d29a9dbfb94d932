"""The plan part of a scenario: what has to be reached, what may be chosen, and within which limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.cluster import StorageSpec
from hpcsim.scenario.fields import Count, NamedMap, Quantity, Share, Spec, fail

__all__ = [
    "FabricOptionSpec",
    "GoalsSpec",
    "LimitsSpec",
    "NodeOptionSpec",
    "OptionsSpec",
    "OwnerSpec",
    "PlanSpec",
    "QueueGoalSpec",
    "SiteOptionSpec",
    "StorageOptionSpec",
    "StoreGoalSpec",
    "TrainGoalSpec",
]

NO_GOAL = problem_kind("plan-without-goal", "the plan has no goal", "give at least one of train, queue, store")
NO_DEADLINE = problem_kind("plan-without-deadline", "the goal says neither how long the run may take nor by when", "add within, by or both")
REDUNDANCY = problem_kind(
    "plan-redundancy", "redundancy is copies, or data and parity; here {given}", "for example copies: 3, or data: 8, parity: 3"
)
NO_OPTION = problem_kind("plan-without-option", "the list is empty", "name at least one, or leave the key out")

Time = Annotated[float, Quantity("time")]
Money = Annotated[float, Quantity("money", zero=True)]
Watts = Annotated[float, Quantity("power")]
Owner = Literal["owned", "on-demand", "1-year", "3-year", "spot"]


def _some(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        fail(NO_OPTION())
    return value


def _tuples(data: Any, *keys: str) -> Any:
    if not isinstance(data, dict):
        return data
    return {k: tuple(v) if k in keys and isinstance(v, list) else v for k, v in data.items()}


Words = Annotated[tuple[str, ...], AfterValidator(_some)]


class TrainGoalSpec(Spec):
    """Train a model in time. Its name is that of the training run in the workload."""

    within: Time | None = Field(None, description="longest time from start to end of the run")
    by: Time | None = Field(None, description="longest time from the order to the end of the run: delivery counts")
    confidence: Annotated[float, Share(0.5, 0.999)] = Field(
        0.5, description="probability that the predicted step time is not exceeded; 0.5 plans with the prediction itself"
    )

    data: Annotated[float, Quantity("data size")] | None = Field(None, description="size of the training data; 4 bytes a token by default")
    passes: Annotated[float, Share(1e-6, 1e6)] = Field(1.0, description="times that the run reads its data")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A deadline is given."""
        if "within" not in given and "by" not in given:
            yield NO_DEADLINE()


class QueueGoalSpec(Spec):
    """Serve the workload's jobs with short waits while demand grows."""

    wait: Annotated[float, Quantity("time", zero=True)] = Field(description="longest wait that most jobs may have")
    quantile: Annotated[float, Share(0.5, 0.999)] = Field(0.95, description="share of the jobs that may wait no longer")
    growth: Annotated[float, Share(0, 10)] = Field(0.0, description="growth of the demand in a year; 0.2 is a fifth more")
    policies: Words = Field(("fcfs", "easy", "easy-sjbf"), description="policies that are compared")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return _tuples(data, "policies")


class StoreGoalSpec(Spec):
    """Keep data."""

    size: Annotated[float, Quantity("data size")] = Field(description="data to be kept, before redundancy and compression")
    growth: Annotated[float, Share(0, 10)] = Field(0.0, description="growth in a year; 0.3 is three tenths more")
    read: Annotated[float, Quantity("data rate")] | None = Field(None, description="rate at which it has to be read")
    encrypted: bool = Field(False, description="encrypted at rest and on the way")
    copies: Annotated[int, Count(1, 10)] | None = Field(None, description="equal copies that are kept")
    data: Annotated[int, Count(1, 64)] | None = Field(None, description="data pieces of an erasure code")
    parity: Annotated[int, Count(0, 64)] | None = Field(None, description="parity pieces of an erasure code")
    hot: Annotated[float, Share()] = Field(1.0, description="share that is in use; the rest may lie on the cheapest tier")
    duplicate: Annotated[float, Share(0, 0.999)] = Field(0.0, description="share that repeats other data, after chunking")
    compression: Annotated[float, Share(1, 100)] = Field(1.0, description="size before over size after lossless compression")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Redundancy is given in one way."""
        code = [key for key in ("data", "parity") if key in given]
        if len(code) == 1 or (code and "copies" in given):
            yield REDUNDANCY(given=" and ".join(key for key in ("copies", "data", "parity") if key in given))


class GoalsSpec(Spec):
    """What the plan has to reach."""

    train: NamedMap[TrainGoalSpec] = Field(default_factory=dict, description="goals of training runs, by the name of the run")
    queue: QueueGoalSpec | None = Field(None, description="goal of the batch jobs")
    store: NamedMap[StoreGoalSpec] = Field(default_factory=dict, description="data to be kept, by name")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """There is something to plan for."""
        if not any(given.get(key) for key in ("train", "queue", "store")):
            yield NO_GOAL()


class NodeOptionSpec(Spec):
    """A node type that may be chosen."""

    type: str = Field(description="catalog node type")
    price: Money | None = Field(None, description="purchase price of a node; the catalog's by default. Without either it cannot be owned")
    lead: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="time from the order of owned nodes to their delivery", validate_default=False
    )
    mtbf: Time | None = Field(None, description="mean time between failures of a node; that of failures.node by default")
    embodied: Annotated[float, Quantity("carbon mass", zero=True)] | None = Field(
        None, description="carbon of making one accelerator with its share of the node; the catalog's by default"
    )
    per_rack: Annotated[int, Count(1, 1000)] | None = Field(None, description="nodes of a rack; what the rack's power holds by default")
    counts: Annotated[tuple[Annotated[int, Count(1, 10_000_000)], ...], AfterValidator(_some)] | None = Field(
        None, description="numbers of nodes to try; options.counts by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"type": data} if isinstance(data, str) else _tuples(data, "counts")


class FabricOptionSpec(Spec):
    """A network that may be chosen."""

    topology: str = Field("fat-tree", description="registered topology")
    link: str | None = Field(None, description="catalog link or rate; the node type's own ports by default")
    per_node: Annotated[int, Count(1, 1024)] | None = Field(None, description="network ports of a node; the node type's by default")
    oversubscription: Annotated[float, Share(0.01, 1000)] = Field(1.0, description="capacity down over capacity up of a leaf switch")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(None, description="one-way latency; the link's by default")
    radix: Annotated[int, Count(2, 100_000)] | None = Field(None, description="ports of a switch; the link's by default")
    port: Money | None = Field(
        None, description="price of a node's port with its share of switches and cables; from the catalog's components by default"
    )


class StorageOptionSpec(StorageSpec):
    """A storage tier that may be chosen to take checkpoints and data."""

    price: Annotated[float, Quantity("price of data", zero=True)] | None = Field(
        None, description="purchase price of a byte of raw capacity; the catalog's by default"
    )
    rent: Annotated[float, Quantity("price of storage", zero=True)] | None = Field(
        None, description="price of keeping a byte for a time; the catalog's by default"
    )
    provider: str | None = Field(None, description="cloud that rents it out; it is bought and stands at a site without one")
    region: str | None = Field(None, description="region of the cloud, for limits on where data may live")
    drive: str | None = Field(None, description="catalog drive that a bought tier is made of; the type itself where that is a drive")
    per_rack: Annotated[int, Count(1, 100_000)] = Field(500, description="drives of a rack, of a bought tier")


class SiteOptionSpec(Spec):
    """A place where owned nodes may stand."""

    region: str | None = Field(None, description="catalog region that supplies carbon intensity and electricity price where not given")
    country: str | None = Field(None, description="country of the data, as compliance sees it: ISO code of three letters")
    pue: Annotated[float, Share(1.0, 5.0)] | None = Field(
        None, description="measured power usage effectiveness; from the climate without it"
    )
    wet_bulb: Annotated[float, Share(-40, 45)] | None = Field(None, description="mean wet-bulb temperature [°C]")
    carbon: Annotated[float, Quantity("carbon intensity", zero=True)] | None = Field(
        None, description="carbon intensity of the electricity"
    )
    electricity: Annotated[float, Quantity("price of energy", zero=True)] | None = Field(None, description="price of electricity")
    hourly: str | None = Field(None, description="CSV of hourly carbon intensity and price, relative to this file")
    water: Annotated[float, Quantity("water intensity", zero=True)] | None = Field(
        None, description="water evaporated on site per IT energy"
    )
    power: Watts | None = Field(None, description="facility power that the site can give")
    racks: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="racks that the site can hold")
    rack_power: Watts = Field(40e3, description="IT power that a rack can cool", validate_default=False)
    rent: Annotated[float, Quantity("price per time", zero=True)] | None = Field(
        None, description="price of the space for a kilowatt of IT power, as of colocation; the catalog's by default"
    )


class OwnerSpec(Spec):
    """A way to come by the nodes."""

    kind: Owner = Field(description="owned, or a cloud's contract")
    providers: Words | None = Field(None, description="clouds to choose from; every one in the catalog by default")
    regions: Words | None = Field(None, description="their regions, '*' matching anything; every one by default")
    most: Annotated[int, Count(1)] | None = Field(None, description="most accelerators that can be had in this way")
    lifetime: Time = Field(5 * 31_556_952.0, description="owned: time over which the purchase is written off", validate_default=False)
    interest: Annotated[float, Share(0, 1)] | None = Field(None, description="owned: yearly cost of capital; the catalog's by default")
    salvage: Annotated[float, Share(0, 1)] = Field(0.0, description="owned: share of the price that remains at the end")
    maintenance: Annotated[float, Share(0, 1)] | None = Field(
        None, description="owned: yearly maintenance over the price; the catalog's by default"
    )
    staff: Annotated[float, Share(0, 1000)] | None = Field(
        None, description="owned: full-time staff for a thousand accelerators; the catalog's by default"
    )
    discount: Annotated[float, Share(0, 0.99)] | None = Field(
        None,
        description="1-year and 3-year: discount on the on-demand price where no price of the contract is known; else it is not offered",
    )
    interruptions: Annotated[float, Share(0, 1000)] | None = Field(
        None, description="spot: interruptions of one node in a month; the catalog's by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else _tuples(data, "providers", "regions")


def _owners() -> dict[str, Any]:
    return {name: OwnerSpec(kind=kind) for name, kind in (("owned", "owned"), ("on-demand", "on-demand"), ("spot", "spot"))}  # type: ignore[arg-type]


class OptionsSpec(Spec):
    """What may be chosen."""

    nodes: NamedMap[NodeOptionSpec] = Field(default_factory=dict, description="node types by name; those of the cluster by default")
    counts: Annotated[tuple[Annotated[int, Count(1, 10_000_000)], ...], AfterValidator(_some)] | None = Field(
        None, description="numbers of accelerators to try; by default from what could do it at full peak to sixteen times that"
    )
    fabrics: NamedMap[FabricOptionSpec] = Field(default_factory=dict, description="networks by name; the cluster's by default")
    storage: NamedMap[StorageOptionSpec] = Field(default_factory=dict, description="storage tiers by name; the cluster's by default")
    sites: NamedMap[SiteOptionSpec] = Field(default_factory=dict, description="places for owned nodes by name; the cluster's by default")
    owners: NamedMap[OwnerSpec] = Field(
        default_factory=_owners, description="ways to come by the nodes: owned, on-demand and spot by default"
    )
    prices: tuple[str, ...] = Field((), description="price lists (CSV), relative to this file; they come beside the catalog's prices")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return _tuples(data, "counts", "prices")


class LimitsSpec(Spec):
    """What a plan may not exceed."""

    budget: Annotated[float, Quantity("money")] | None = Field(None, description="money that the goals are charged")
    outlay: Annotated[float, Quantity("money")] | None = Field(None, description="money that is bound: purchases and whole contract terms")
    power: Watts | None = Field(None, description="facility power at its highest")
    racks: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="racks")
    carbon: Annotated[float, Quantity("carbon mass")] | None = Field(None, description="emissions: operation and the share of manufacture")
    data_in: Words | None = Field(
        None, description="where data may live: ISO codes of countries, EU, EEA, or names of sites and cloud regions, '*' matching anything"
    )
    operators: Words | None = Field(None, description="who may hold and so could read the data: own, or names of providers")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return _tuples(data, "data_in", "operators")


class PlanSpec(Spec):
    """A plan: goals, options, limits."""

    goals: GoalsSpec = Field(description="what has to be reached")
    options: OptionsSpec = Field(default_factory=OptionsSpec, description="what may be chosen")
    limits: LimitsSpec = Field(default_factory=LimitsSpec, description="what may not be exceeded")
    objective: Literal["cost", "time", "carbon"] = Field("cost", description="what is made least among the plans that reach the goals")
    horizon: Time = Field(3 * 31_556_952.0, description="time over which queues and data are planned", validate_default=False)
    later_use: Annotated[float, Share(0, 1)] = Field(
        0.7, description="share of the time left in a purchase or contract, after a run's end, in which something else uses and pays it"
    )
    seeds: Annotated[int, Count(1, 100)] = Field(3, description="simulations of each finalist")
