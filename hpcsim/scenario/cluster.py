"""The cluster part of a scenario: nodes, fabric, storage, site and prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Count, Frozen, NamedMap, Quantity, Share, Spec

__all__ = ["AcceleratorSpec", "ClusterSpec", "FabricSpec", "NodeGroupSpec", "PriceSpec", "SiteSpec", "StorageSpec"]

PRICE_FORM = problem_kind(
    "price-form",
    "a price is one of three: an hourly price, a purchase, or a catalog price; here {given}",
    "'1.8 USD/h', or {{capex: 300 kUSD, lifetime: 5 years}}, or {{provider: aws, region: us-east-1}}",
)
FAT_TREE_FORM = problem_kind(
    "fat-tree-form",
    "down, up and parallel of a fat tree need one number for each level; here {given}",
    "for example down: [16, 32], up: [1, 8]",
)

Precision = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "mxfp8", "fp4", "nvfp4", "int8"]


class AcceleratorSpec(Spec):
    """An accelerator whose values the user knows better than the catalog."""

    base: str | None = Field(None, description="catalog accelerator whose other values are kept")
    peak: Annotated[dict[Precision, Annotated[float, Quantity("compute rate")]], Frozen] = Field(
        default_factory=dict, description="dense peak rate of one device by precision"
    )
    matmul: Annotated[dict[Precision, Annotated[float, Quantity("compute rate")]], Frozen] = Field(
        default_factory=dict, description="best sustained rate of a large matrix product by precision"
    )
    memory: Annotated[float, Quantity("data size")] | None = Field(None, description="memory of one device")
    memory_bandwidth: Annotated[float, Quantity("data rate")] | None = Field(None, description="memory bandwidth of one device")
    scale_up: Annotated[float, Quantity("data rate")] | None = Field(None, description="scale-up bandwidth of one device, one way")
    tdp: Annotated[float, Quantity("power")] | None = Field(None, description="thermal design power of one device")
    idle: Annotated[float, Quantity("power", zero=True)] | None = Field(None, description="power of one idle device")


class NodeGroupSpec(Spec):
    """A group of equal nodes."""

    type: str | None = Field(None, description="catalog node type; the other keys override it")
    count: Annotated[int, Count(1, 10_000_000)] = Field(description="nodes in the group")
    spares: Annotated[int, Count(0, 10_000_000)] = Field(0, description="further nodes that stand by and replace failed ones")
    accelerator: AcceleratorSpec | None = Field(None, description="catalog accelerator by name, or inline values")
    per_node: Annotated[int, Count(0, 1024)] | None = Field(None, description="accelerators in a node")
    domain: Annotated[int, Count(1, 1_000_000)] | None = Field(
        None, description="accelerators that share the scale-up link; a node's by default"
    )
    cores: Annotated[int, Count(1, 100_000)] | None = Field(None, description="processor cores in a node")
    memory: Annotated[float, Quantity("data size")] | None = Field(None, description="main memory of a node")
    speed: Annotated[float, Quantity("compute rate")] | None = Field(
        None, description="sustained rate of a whole node in decomposed tasks and matrix products; from its devices by default"
    )
    idle_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of an idle node without its accelerators"
    )
    max_power: Annotated[float, Quantity("power")] | None = Field(None, description="power of a fully used node without its accelerators")

    @model_validator(mode="before")
    @classmethod
    def _accelerator_by_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("accelerator"), str):
            return {**data, "accelerator": {"base": data["accelerator"]}}
        return data


class FabricSpec(Spec):
    """The network between the nodes."""

    topology: str = Field("single-switch", description="registered topology, such as single-switch or fat-tree")
    link: str = Field(description="catalog link, or a rate such as '400 Gbit/s'")
    per_node: Annotated[int, Count(1, 1024)] = Field(1, description="network ports of a node")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="one-way latency of a message between nodes; the link's by default"
    )
    radix: Annotated[int, Count(2, 100_000)] | None = Field(
        None, description="ports of a switch; decides the levels of a fat tree where they are not given"
    )
    oversubscription: Annotated[float, Share(0.01, 1000)] = Field(
        1.0, description="capacity down over capacity up of a leaf switch; 1 is non-blocking"
    )
    down: tuple[Annotated[int, Count(1, 1_000_000)], ...] | None = Field(
        None, description="generalised fat tree: children of a switch at each level, leaf level first"
    )
    up: tuple[Annotated[int, Count(1, 1_000_000)], ...] | None = Field(
        None, description="generalised fat tree: parents of a node or switch at each level"
    )
    parallel: tuple[Annotated[int, Count(1, 10_000)], ...] | None = Field(
        None, description="generalised fat tree: parallel links to each parent"
    )
    switch_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of one switch; the link's by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {k: tuple(v) if k in ("down", "up", "parallel") and isinstance(v, list) else v for k, v in data.items()}
        return data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A fat tree has one number for each level."""
        levels = {k: len(given[k]) for k in ("down", "up", "parallel") if isinstance(given.get(k), (list, tuple))}
        if levels and ({"down", "up"} - set(given) or len(set(levels.values())) > 1 or 0 in levels.values()):
            yield FAT_TREE_FORM(given=", ".join(f"{k}: {n} levels" for k, n in levels.items()))


class StorageSpec(Spec):
    """A storage tier."""

    type: str = Field(description="kind (lustre, gpfs, nvme, object, …) or catalog storage")
    capacity: Annotated[float, Quantity("data size")] | None = Field(None, description="usable capacity")
    read: Annotated[float, Quantity("data rate")] | None = Field(None, description="read bandwidth of the whole tier")
    write: Annotated[float, Quantity("data rate")] | None = Field(None, description="write bandwidth of the whole tier")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(None, description="time to the first byte")
    power: Annotated[float, Quantity("power", zero=True)] | None = Field(None, description="power of the whole tier")
    ports: Annotated[int, Count(1, 100_000)] = Field(1, description="fabric ports that connect the tier")


class SiteSpec(Spec):
    """The building: cooling overhead, electricity and its carbon."""

    pue: Annotated[float, Share(1.0, 5.0)] | None = Field(
        None, description="power usage effectiveness: facility power over IT power; 1 without it, and the result says so"
    )
    carbon: Annotated[float, Quantity("carbon intensity", zero=True)] | None = Field(
        None, description="carbon intensity of the electricity"
    )
    electricity: Annotated[float, Quantity("price of energy", zero=True)] | None = Field(None, description="price of electricity")
    region: str | None = Field(
        None, description="catalog region that supplies carbon intensity and electricity price where they are not given"
    )


class PriceSpec(Spec):
    """What one accelerator of a node group costs (one node where the group has none)."""

    hourly: Annotated[float, Quantity("price per time", zero=True)] | None = Field(None, description="price for an hour of one accelerator")
    capex: Annotated[float, Quantity("money", zero=True)] | None = Field(
        None, description="purchase price of one accelerator with its share of the node"
    )
    lifetime: Annotated[float, Quantity("time")] | None = Field(None, description="time over which the purchase is written off")
    interest: Annotated[float, Share(0, 1)] = Field(0.0, description="yearly interest on the purchase")
    salvage: Annotated[float, Share(0, 1)] = Field(0.0, description="share of the purchase price that remains at the end")
    maintenance: Annotated[float, Share(0, 1)] = Field(0.0, description="yearly maintenance as a share of the purchase price")
    provider: str | None = Field(None, description="cloud provider in the catalog")
    region: str | None = Field(None, description="region of the provider; the cheapest without it")
    term: Literal["on-demand", "1-year", "3-year", "spot"] = Field("on-demand", description="contract")
    billing: Literal["reserved", "used"] = Field(
        "reserved", description="reserved: the whole horizon is paid; used: only allocated device-hours are"
    )
    includes_electricity: bool | None = Field(
        None, description="whether the price covers electricity; true for a provider's price, else false"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"hourly": data} if isinstance(data, (str, int, float)) and not isinstance(data, bool) else data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A price has one of its forms."""
        forms = [k for k in ("hourly", "capex", "provider") if k in given]
        if len(forms) != 1 or ("capex" in given) != ("lifetime" in given):
            shown = [k for k in ("hourly", "capex", "lifetime", "provider") if k in given]
            yield PRICE_FORM(given=" and ".join(shown) or "none is given")


class ClusterSpec(Spec):
    """The machine and the place it stands in."""

    nodes: NamedMap[NodeGroupSpec] = Field(min_length=1, description="node groups by name")
    fabric: FabricSpec | None = Field(None, description="network between the nodes; needed when more than one node works on one thing")
    storage: NamedMap[StorageSpec] = Field(default_factory=dict, description="storage tiers by name")
    site: SiteSpec = Field(default_factory=SiteSpec, description="building and electricity")
    prices: NamedMap[PriceSpec] = Field(default_factory=dict, description="prices by node group")
