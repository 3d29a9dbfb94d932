"""The cluster part of a scenario: nodes, fabric, storage, site and prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Count, Frozen, Name, NamedMap, Quantity, Share, Spec

__all__ = [
    "FABRIC_KEYS",
    "FABRIC_SHAPES",
    "AcceleratorSpec",
    "ClusterSpec",
    "DegradedSpec",
    "FabricSpec",
    "FaultSpec",
    "LinkSpec",
    "LocationSpec",
    "NodeGroupSpec",
    "PriceSpec",
    "SiteSpec",
    "StorageSpec",
    "TierSpec",
]

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
NO_LINK = problem_kind(
    "fabric-link-missing", "nothing says what the fabric is made of", "add link, such as ndr or '400 Gbit/s', or a catalog type"
)
FOREIGN_KEY = problem_kind(
    "fabric-foreign-key", "{key} does not go with topology {topology}: it belongs to {owners}", "remove it, or change the topology"
)
TIER_REDUNDANCY = problem_kind(
    "tier-redundancy", "redundancy is copies, or pieces and parity; here {given}", "for example copies: 3, or pieces: 8, parity: 3"
)
COUNTRY = problem_kind("location-country", "{value!r} is no code of a country", "the ISO 3166-1 code of three letters, such as DEU")
FAULT_FORM = problem_kind(
    "fault-form",
    "a fault has one place: between two ends, a vertex, or a tier; here {given}",
    "for example {{between: [switch/1/0, switch/2/0]}}",
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
    location: Name | None = Field(None, description="where the group stands, in a machine of several sites; fabric.wan joins them")
    cores: Annotated[int, Count(1, 100_000)] | None = Field(None, description="processor cores in a node")
    memory: Annotated[float, Quantity("data size")] | None = Field(None, description="main memory of a node")
    speed: Annotated[float, Quantity("compute rate")] | None = Field(
        None, description="sustained rate of a whole node in decomposed tasks and matrix products; from its devices by default"
    )
    idle_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of an idle node without its accelerators"
    )
    max_power: Annotated[float, Quantity("power")] | None = Field(None, description="power of a fully used node without its accelerators")
    embodied: Annotated[float, Quantity("carbon mass", zero=True)] | None = Field(
        None,
        description="carbon of making one accelerator with its share of the node (a node where it has none); the run's share is told where this is given",
    )
    life: Annotated[float, Quantity("time")] = Field(
        5 * 31_556_952.0, description="use over which that carbon is spread", validate_default=False
    )

    @model_validator(mode="before")
    @classmethod
    def _accelerator_by_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("accelerator"), str):
            return {**data, "accelerator": {"base": data["accelerator"]}}
        return data


Routing = Literal["d-mod-k", "minimal", "ecmp", "spray", "adaptive", "valiant"]
Positive = Annotated[int, Count(1, 1_000_000)]
Ends = tuple[str, str]


class LinkSpec(Spec):
    """Cables of an explicit fabric."""

    between: Ends = Field(
        description="the two ends: nodes as group/number, several as group/0-7 or group/*, anything else names a switch; two ranges are joined in turn"
    )
    cables: Annotated[int, Count(1, 100_000)] = Field(1, description="equal cables side by side")
    link: str | None = Field(None, description="catalog link, or the rate of one cable; the fabric's by default")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="latency of the cable; half of the fabric's at a node, one hop between switches by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("between"), list):
            return {**data, "between": tuple(data["between"])}
        return data


class FaultSpec(Spec):
    """Cables or a switch that have failed: out of use, and routed around."""

    between: Ends | None = Field(None, description="the two ends of a bundle of cables, by their names in the graph (gpu/0, switch/1/0)")
    vertex: str | None = Field(None, description="a switch, or a node's connection, with all its cables")
    tier: str | None = Field(None, description="name of a tier of cables, such as level-2 or global, of which a share has failed")
    share: Annotated[float, Share(0, 1)] = Field(1.0, description="share of the cables; drawn by seed where a tier is named")
    seed: Annotated[int, Count(0)] = Field(1, description="of that draw")

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("between"), list):
            return {**data, "between": tuple(data["between"])}
        return data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A fault has one place."""
        places = [key for key in ("between", "vertex", "tier") if key in given]
        if len(places) != 1:
            yield FAULT_FORM(given=" and ".join(places) or "none")


class DegradedSpec(FaultSpec):
    """Cables that are slower than they should be."""

    rate: Annotated[float, Share(0.0001, 1)] = Field(description="share of its rate that a cable still has")


_LISTS = ("down", "up", "parallel", "taper", "rates", "axes", "wrap", "block")


class FabricSpec(Spec):
    """The network between the nodes."""

    type: str | None = Field(None, description="catalog fabric, such as dgx-superpod-h100; the other keys override it")
    topology: str | None = Field(
        None,
        description="registered shape: single-switch (star) by default, fat-tree, dragonfly, dragonfly+, torus, hypercube, full-mesh, links, graphml",
    )
    link: str | None = Field(None, description="catalog link, or a rate such as '400 Gbit/s'; needed without type")
    routing: Routing | None = Field(
        None, description="which way flows take; by default the type's, else what the link and the shape are usually run with"
    )
    hash_seed: Annotated[int, Count(0, 2**31)] = Field(
        0,
        description="seed of the hash by which ecmp, adaptive and valiant pick ways; with routing: ecmp a run meets collisions of its own flows",
    )
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
    taper: tuple[Annotated[float, Share(0.01, 1000)], ...] | None = Field(
        None, description="the same for each level, leaf level first, in place of oversubscription; below 1 a level has more up than down"
    )
    rails: Annotated[int, Count(1, 1024)] | None = Field(
        None, description="fat tree: leaf switches that a node's ports are spread over, port i on rail i"
    )
    planes: Annotated[int, Count(1, 64)] | None = Field(None, description="fat tree: separate networks that a node's ports are spread over")
    rates: tuple[Annotated[float, Quantity("data rate")], ...] | None = Field(
        None, description="fat tree: rate of one cable of each level, hosts first; the link's throughout by default, the last holds above"
    )
    down: tuple[Positive, ...] | None = Field(
        None, description="generalised fat tree: children of a switch at each level, leaf level first"
    )
    up: tuple[Positive, ...] | None = Field(None, description="generalised fat tree: parents of a node or switch at each level")
    parallel: tuple[Annotated[int, Count(1, 10_000)], ...] | None = Field(
        None, description="parallel links to each parent of a fat tree at each level, or to the neighbours along each axis of a torus"
    )
    groups: Positive | None = Field(None, description="dragonfly: groups; as many as the nodes need by default")
    routers: Annotated[int, Count(1, 10_000)] | None = Field(
        None, description="dragonfly: switches of a group (leaf switches in a dragonfly+)"
    )
    spines: Annotated[int, Count(1, 10_000)] | None = Field(None, description="dragonfly+: spine switches of a group")
    hosts: Annotated[int, Count(1, 10_000)] | None = Field(
        None, description="nodes at each switch of a dragonfly or torus; without it the nodes of a torus are joined directly"
    )
    local_cables: Annotated[int, Count(1, 1000)] | None = Field(None, description="dragonfly: cables between two switches of a group")
    global_cables: Annotated[int, Count(1, 100_000)] | None = Field(None, description="dragonfly: cables between two groups")
    axes: tuple[Annotated[int, Count(1, 100_000)], ...] | None = Field(
        None, description="torus: size of each axis; three near-equal ones by default"
    )
    wrap: tuple[bool, ...] | None = Field(None, description="torus: whether each axis closes; one answer holds for all, true by default")
    block: tuple[Annotated[int, Count(1, 1000)], ...] | None = Field(
        None, description="torus of devices: those of a node along each axis; axes and cube then count devices"
    )
    cube: Annotated[int, Count(2, 64)] | None = Field(
        None, description="torus of optically joined cubes: an axis closes where it is a multiple of this"
    )
    twist: Annotated[int, Count(1, 100_000)] | None = Field(
        None, description="torus: shift along the last axis of the cables that close the first one"
    )
    links: NamedMap[LinkSpec] = Field(default_factory=dict, description="topology links: every cable by name")
    file: str | None = Field(None, description="topology graphml: the file, relative to the scenario's folder")
    wan: NamedMap[LinkSpec] = Field(
        default_factory=dict,
        description="lines between the locations of node groups, each of which has a fabric of this shape; link a rate, or a wide-area path of the catalog",
    )
    failed: NamedMap[FaultSpec] = Field(default_factory=dict, description="cables and switches that are out of use")
    degraded: NamedMap[DegradedSpec] = Field(default_factory=dict, description="cables that run slower")
    switch_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of one switch; the link's by default"
    )
    switch_price: Annotated[float, Quantity("money", zero=True)] | None = Field(
        None, description="price of one switch; the link's by default"
    )
    cable_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of the two transceivers of one cable; by the cable's rate from the catalog by default"
    )
    cable_price: Annotated[float, Quantity("money", zero=True)] | None = Field(
        None, description="price of one cable with its two transceivers; by the cable's rate from the catalog by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:
        if isinstance(data, dict):
            data = {k: tuple(v) if k in _LISTS and isinstance(v, list) else v for k, v in data.items()}
            if isinstance(data.get("wrap"), bool):
                data["wrap"] = (data["wrap"],)
        return data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A fabric has a link or a type; a fat tree has one number for each level; keys of other shapes do not mix."""
        if "link" not in given and "type" not in given:
            yield NO_LINK()
        topology = given.get("topology")
        levels = {k: len(given[k]) for k in ("down", "up", "parallel") if isinstance(given.get(k), (list, tuple))}
        tree = topology in (None, "fat-tree", "single-switch", "star") and not {"axes", "cube"} & set(given)
        if (
            tree
            and levels
            and "type" not in given
            and ({"down", "up"} - set(given) or len(set(levels.values())) > 1 or 0 in levels.values())
        ):
            yield FAT_TREE_FORM(given=", ".join(f"{k}: {n} levels" for k, n in levels.items()))
        for names, keys in FABRIC_KEYS.items():
            if (
                isinstance(topology, str)
                and topology in FABRIC_SHAPES
                and topology not in names
                and (wrong := sorted(k for k in keys if given.get(k)))
            ):
                yield FOREIGN_KEY(key=wrong[0], topology=topology, owners=" or ".join(names))


FABRIC_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("fat-tree",): ("down", "up", "rails", "planes", "taper", "rates"),
    ("dragonfly", "dragonfly+"): ("groups", "routers", "local_cables", "global_cables"),
    ("dragonfly+",): ("spines",),
    ("torus",): ("axes", "wrap", "cube", "twist", "block"),
    ("dragonfly", "dragonfly+", "torus", "hypercube"): ("hosts",),
    ("links",): ("links",),
    ("graphml",): ("file",),
}
"""Keys that belong to some topologies alone."""
FABRIC_SHAPES = {"single-switch", "star", "fat-tree", "dragonfly", "dragonfly+", "torus", "hypercube", "full-mesh", "links", "graphml"}
"""Built-in topologies."""


class StorageSpec(Spec):
    """A storage tier."""

    type: str = Field(description="kind (lustre, gpfs, nvme, object, …) or catalog storage")
    capacity: Annotated[float, Quantity("data size")] | None = Field(None, description="usable capacity")
    read: Annotated[float, Quantity("data rate")] | None = Field(None, description="read bandwidth of the whole tier")
    write: Annotated[float, Quantity("data rate")] | None = Field(None, description="write bandwidth of the whole tier")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(None, description="time to the first byte")
    power: Annotated[float, Quantity("power", zero=True)] | None = Field(None, description="power of the whole tier")
    ports: Annotated[int, Count(1, 100_000)] = Field(1, description="fabric ports that connect the tier")


class TierSpec(StorageSpec):
    """A storage tier of the cluster: where it stands, and what keeping data there costs."""

    location: Name | None = Field(None, description="where it stands, in a machine of several sites; the first location by default")
    rent: Annotated[float, Quantity("price of storage", zero=True)] | None = Field(
        None, description="price of keeping a raw byte that data pipelines wrote; the catalog's by default"
    )
    copies: Annotated[int, Count(1, 10)] | None = Field(None, description="equal copies that are kept of what data pipelines write")
    pieces: Annotated[int, Count(1, 64)] | None = Field(None, description="data pieces of an erasure code, in place of copies")
    parity: Annotated[int, Count(0, 64)] | None = Field(None, description="parity pieces of that code")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Redundancy is given in one way."""
        code = [key for key in ("pieces", "parity") if key in given]
        if len(code) == 1 or (code and "copies" in given):
            yield TIER_REDUNDANCY(path=code[0], given=" and ".join(key for key in ("copies", "pieces", "parity") if key in given))


class LocationSpec(Spec):
    """A place where node groups and storage stand, as rules on data see it."""

    region: str | None = Field(None, description="catalog region, from which the country follows")
    country: str | None = Field(None, description="country: ISO code of three letters; the region's by default")
    operator: str = Field("own", description="who runs it and so could read what lies there: own, or the name of a provider")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """A country is a code of three letters."""
        country = given.get("country")
        if isinstance(country, str) and not (len(country) == 3 and country.isascii() and country.isalpha()):
            yield COUNTRY(path="country", value=country)


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
    hourly: str | None = Field(
        None, description="CSV of hourly carbon intensity and electricity price, relative to this file; it wins over the constant ones"
    )
    water: Annotated[float, Quantity("water intensity", zero=True)] | None = Field(
        None, description="water evaporated on site per IT energy; its use is told where this is given"
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
        None,
        description="whether the price covers electricity, with its part of the network's and storage's; true for a provider's price, else false",
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
    storage: NamedMap[TierSpec] = Field(default_factory=dict, description="storage tiers by name")
    locations: NamedMap[LocationSpec] = Field(
        default_factory=dict, description="places that node groups and storage tiers name as their location, for rules on where data may be"
    )
    site: SiteSpec = Field(default_factory=SiteSpec, description="building and electricity")
    prices: NamedMap[PriceSpec] = Field(default_factory=dict, description="prices by node group")
