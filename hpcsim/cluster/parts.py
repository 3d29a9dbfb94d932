"""The parts of a resolved cluster: frozen data in SI units, ready for the cost formulas, the graph and the engine.

A value that neither the scenario nor the catalog knows is ``None``; who needs it asks with ``need`` and so raises a problem that
names the key to add. Nothing is filled in silently.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.cost.compute import DEVICE_CLASSES

__all__ = [
    "Accelerator",
    "BillRow",
    "Cable",
    "Cluster",
    "Fabric",
    "FabricSize",
    "Fault",
    "Location",
    "NodeGroup",
    "Price",
    "Site",
    "SourceRow",
    "StorageTier",
    "missing",
]

MISSING_VALUE = problem_kind(
    "missing-value", "{what} of {name!r} is not known: neither the scenario nor the catalog gives it", "add {key}, for example {example!r}"
)
MISSING_RATE = problem_kind(
    "missing-rate", "the {precision} rate of {name!r} is not known; known: {known}", "add {key}, or choose a precision that is known"
)
UNKNOWN_GROUP = problem_kind("unknown-node-group", "the cluster has no node group {name!r}", "{near}")
UNKNOWN_TIER = problem_kind("unknown-storage-tier", "the cluster has no storage tier {name!r}", "{near}")


class SourceRow(NamedTuple):
    """One value of the catalog that a cluster rests on: a row of the results' table ``sources``."""

    path: str
    """Dotted path in the scenario that asked for it."""
    name: str
    field: str
    value: str
    unit: str
    source: str
    kind: str
    """``read``, ``measured``, ``derived``, ``given`` or ``remembered``."""


class _Missing(NamedTuple):
    what: str
    key: str
    example: str


_KEYS = {
    "idle_w": _Missing("idle power", "idle_power", "600 W"),
    "max_w": _Missing("highest power", "max_power", "1.5 kW"),
    "cores": _Missing("the number of cores", "cores", "64"),
    "memory_bytes": _Missing("main memory", "memory", "512 GB"),
    "accelerator": _Missing("the accelerator", "accelerator", "h100-sxm"),
    "nic_bytes_per_s": _Missing("the network port", "fabric", "{link: ndr}"),
    "accelerator.memory_bytes": _Missing("device memory", "accelerator.memory", "80 GB"),
    "accelerator.memory_bytes_per_s": _Missing("memory bandwidth", "accelerator.memory_bandwidth", "2 TB/s"),
    "accelerator.scale_up_bytes_per_s": _Missing("scale-up bandwidth", "accelerator.scale_up", "300 GB/s"),
    "accelerator.tdp_w": _Missing("thermal design power", "accelerator.tdp", "400 W"),
    "accelerator.idle_w": _Missing("idle power of a device", "accelerator.idle", "60 W"),
    "capacity_bytes": _Missing("capacity", "capacity", "1 PB"),
    "read_bytes_per_s": _Missing("read bandwidth", "read", "100 GB/s"),
    "write_bytes_per_s": _Missing("write bandwidth", "write", "50 GB/s"),
    "power_w": _Missing("power", "power", "10 kW"),
    "switch_w": _Missing("the power of a switch", "switch_power", "700 W"),
    "latency_s": _Missing("latency", "latency", "2 us"),
    "carbon_kg_co2e_per_j": _Missing("carbon intensity", "carbon", "350 g/kWh"),
    "electricity_usd_per_j": _Missing("the price of electricity", "electricity", "0.12 USD/kWh"),
}


def missing(path: str, name: str, field: str) -> InputError:
    """Return the error that says which key of the part at ``path`` has to be added for ``field``."""
    words = _KEYS[field]
    place = "cluster" if field == "nic_bytes_per_s" else path
    return MISSING_VALUE.error(path=place, what=words.what, name=name, key=f"{place}.{words.key}", example=words.example)


def _needed(part: Any, path: str, name: str, field: str) -> Any:
    value: Any = part
    for step in field.split("."):
        value = None if value is None else getattr(value, step)
    if value is None:
        raise missing(path, name, field)
    return value


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device of a node group.

    Attributes
    ----------
    id : str
        Catalog entry, or the node group where the scenario describes the device in line.
    category : str
        ``gpu``, ``tpu``, ``fpga``, ``asic`` or ``cpu``; ``""`` where the scenario describes the device in line.
    peak_flop_per_s, matmul_flop_per_s : mapping of str to float
        Dense peak rate, and best measured rate of a large matrix product, by precision [FLOP/s].
    memory_bytes, memory_bytes_per_s : float or None
        Device memory [B] and its bandwidth [B/s].
    scale_up_bytes_per_s : float or None
        Bandwidth to the other devices of the domain, one way [B/s]; over the host link where there is no other.
    scale_up_link, scale_up_kind : str
        Catalog link and kind of edge: ``nvlink``, ``ici`` or ``pcie``.
    scale_up_latency_s : float or None
        One-way latency of that link [s].
    host_bytes_per_s : float or None
        Bandwidth to the host, one way [B/s].
    tdp_w, idle_w : float or None
        Thermal design power and idle power [W].
    compute_units : int or None
        Units that the tiles of a matrix product are spread over.
    year : int or None
        Year of first shipment.
    """

    id: str
    category: str = ""
    vendor: str = ""
    peak_flop_per_s: Mapping[str, float] = field(default_factory=dict)
    matmul_flop_per_s: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float | None = None
    memory_bytes_per_s: float | None = None
    scale_up_bytes_per_s: float | None = None
    scale_up_link: str = ""
    scale_up_kind: str = "nvlink"
    scale_up_latency_s: float | None = None
    host_bytes_per_s: float | None = None
    tdp_w: float | None = None
    idle_w: float | None = None
    compute_units: int | None = None
    year: int | None = None

    def rate_flop_per_s(self, precision: str) -> float | None:
        """Return the sustained rate of large matrix products [FLOP/s], or None where it is not known.

        The measured rate where there is one; else the peak times the share that devices of the category sustain
        (:data:`hpcsim.cost.compute.DEVICE_CLASSES`, a GPU's where the category is unknown). Matrix units count where the device has them.
        """
        share = DEVICE_CLASSES.get(self.category, DEVICE_CLASSES["gpu"]).matmul_frac
        for table, part in ((self.matmul_flop_per_s, 1.0), (self.peak_flop_per_s, share)):
            known = [table[p] for p in (precision, f"{precision}_tensor") if p in table]
            if known:
                return max(known) * part
        return None


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """A group of equal nodes.

    Attributes
    ----------
    name, path : str
        Name and dotted path of the group in the scenario.
    count, spares : int
        Nodes that work, and further nodes that stand by.
    type : str
        Catalog node type; empty where there is none.
    accelerator : Accelerator or None
        The device; None for nodes without accelerators.
    per_node : int
        Accelerators of a node.
    domain : int
        Accelerators that share the scale-up link; 0 without accelerators.
    cores, memory_bytes : int or None, float or None
        Processor cores and main memory [B] of a node.
    cpu : Accelerator or None
        The processor socket of a node without accelerators, where the catalog knows it.
    cpus : int
        Sockets of a node.
    location : str
        Where the group stands, where the machine has several sites; else empty.
    nics : int
        Network ports of a node.
    nic_bytes_per_s : float or None
        Bandwidth of one port, one way [B/s]; None without a fabric.
    idle_w, max_w : float or None
        Power of an idle and of a fully used node without its accelerators [W].
    given_speed_flop_per_s : float or None
        Sustained rate of a whole node as the scenario gives it [FLOP/s].
    """

    name: str
    path: str
    count: int
    spares: int = 0
    type: str = ""
    accelerator: Accelerator | None = None
    per_node: int = 0
    domain: int = 0
    cores: int | None = None
    memory_bytes: float | None = None
    cpu: Accelerator | None = None
    cpus: int = 1
    location: str = ""
    nics: int = 1
    nic_bytes_per_s: float | None = None
    idle_w: float | None = None
    max_w: float | None = None
    given_speed_flop_per_s: float | None = None

    @property
    def total(self) -> int:
        """Nodes that are installed: those that work and the spares."""
        return self.count + self.spares

    @property
    def device_count(self) -> int:
        """Accelerators of the working nodes."""
        return self.count * self.per_node

    @property
    def injection_bytes_per_s(self) -> float:
        """Bandwidth of all ports of a node together, one way [B/s]; unbounded without a fabric."""
        return math.inf if self.nic_bytes_per_s is None else self.nics * self.nic_bytes_per_s

    def need(self, field: str) -> Any:
        """Return ``field`` (``"idle_w"``, ``"accelerator.memory_bytes"``), or raise the problem that names the key to add."""
        return _needed(self, self.path, self.name, field)

    def speed_flop_per_s(self, precision: str = "fp32") -> float:
        """Return the sustained rate of a whole node in decomposed tasks and matrix products [FLOP/s].

        The scenario's ``speed`` where it is given; else the sum over the node's accelerators, or over its sockets, of their sustained
        rate in ``precision``.

        Raises
        ------
        InputError
            Neither is known.
        """
        if self.given_speed_flop_per_s is not None:
            return self.given_speed_flop_per_s
        device, number = (self.accelerator, self.per_node) if self.accelerator else (self.cpu, self.cpus)
        rate = device.rate_flop_per_s(precision) if device else None
        if rate is None:
            known = ", ".join(sorted({*device.peak_flop_per_s, *device.matmul_flop_per_s})) if device else "none"
            raise MISSING_RATE.error(path=self.path, precision=precision, name=self.name, known=known or "none", key=f"{self.path}.speed")
        return number * rate


class Cable(NamedTuple):
    """A bundle of equal cables that the scenario names one by one."""

    name: str
    a: str
    b: str
    cables: int
    bytes_per_s: float
    """Of one cable, one way."""
    latency_s: float | None = None


class Fault(NamedTuple):
    """Cables that have failed, or run slower."""

    name: str
    path: str
    between: tuple[str, str] | None
    vertex: str | None
    tier: str | None
    share: float
    seed: int
    rate: float | None
    """Share of its rate that a cable still has; None where it has failed."""


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """The network between the nodes.

    Attributes
    ----------
    topology, link : str
        Registered topology; catalog link, or the rate as it was written.
    bytes_per_s : float
        Bandwidth of one port, one way [B/s].
    latency_s : float
        One-way latency of a small message between two nodes through one switch [s].
    hop_s : float
        Further latency of each further switch [s]; 0 where the scenario gives the latency, or the catalog has no figure.
    per_node : int
        Ports of a node as the scenario gives them; groups carry their own number.
    radix : int or None
        Ports of a switch as the scenario gives them.
    switch_ports : int or None
        Ports of the switch that goes with the link, after the catalog.
    oversubscription : float
        Capacity down over capacity up of a leaf switch.
    down, up, parallel : tuple of int, or None
        Shape of a generalised fat tree, leaf level first.
    switch_w : float or None
        Power of a switch [W].
    type : str
        Catalog fabric that the shape is taken from; empty where there is none.
    routing : str
        One of :data:`hpcsim.cluster.routing.ROUTINGS`.
    hash_seed, collides : int, bool
        Seed of the hash that picks ways, and whether it was asked for, so that flows of one job are charged for meeting each other.
    rails, planes : int
        Leaf switches, and separate networks, that a node's ports are spread over.
    taper : tuple of float, or None
        Capacity down over capacity up of a switch, leaf level first; the oversubscription of the leaves alone without it.
    rates_bytes_per_s : tuple of float, or None
        Rate of one cable of each level of a fat tree, hosts first [B/s]; ``bytes_per_s`` throughout without it.
    groups, routers, spines, hosts, local_cables, global_cables : int or None
        Shape of a dragonfly, and of a torus of routers.
    axes, wrap, block, cube, twist
        Shape of a torus: its sizes, whether each axis closes, the devices of a node along each, the cube that optical switches join, the shift of the first axis's closing links.
    links : tuple of Cable
        The cables of the topology ``links``.
    file : str
        The GraphML file of the topology ``graphml``.
    faults : tuple of Fault
        What has failed or runs slower.
    wan, inner : tuple of Cable, str
        Lines between locations, and the shape of the fabric at each; the topology is ``sites`` then.
    """

    topology: str
    link: str
    bytes_per_s: float
    latency_s: float
    hop_s: float = 0.0
    per_node: int = 1
    radix: int | None = None
    switch_ports: int | None = None
    oversubscription: float = 1.0
    down: tuple[int, ...] | None = None
    up: tuple[int, ...] | None = None
    parallel: tuple[int, ...] | None = None
    switch_w: float | None = None
    category: str = ""
    path: str = "cluster.fabric"
    type: str = ""
    routing: str = "d-mod-k"
    hash_seed: int = 0
    collides: bool = False
    rails: int = 1
    planes: int = 1
    taper: tuple[float, ...] | None = None
    rates_bytes_per_s: tuple[float, ...] | None = None
    groups: int | None = None
    routers: int | None = None
    spines: int | None = None
    hosts: int | None = None
    local_cables: int = 1
    global_cables: int | None = None
    axes: tuple[int, ...] | None = None
    wrap: tuple[bool, ...] | None = None
    block: tuple[int, ...] | None = None
    cube: int | None = None
    twist: int = 0
    links: tuple[Cable, ...] = ()
    file: str = ""
    faults: tuple[Fault, ...] = ()
    wan: tuple[Cable, ...] = ()
    inner: str = ""

    def need(self, field: str) -> Any:
        """Return ``field``, or raise the problem that names the key to add."""
        return _needed(self, self.path, self.link, field)


class BillRow(NamedTuple):
    """Equal parts of a fabric; power and price are NaN where nobody knows them."""

    part: str
    item: str
    tier: str
    number: int
    bytes_per_s: float
    each_w: float
    each_usd: float


@dataclass(frozen=True, kw_only=True)
class FabricSize:
    """How much hardware a fabric is made of, in closed form.

    Attributes
    ----------
    switches : tuple of int
        Switches of each level, leaf level first.
    cables : tuple of int
        Cables of each tier, storage apart: in a tree those that arrive from below at each level, from nodes at the leaf switches and so on; in
        other shapes as ``tiers`` names them.
    storage_cables : int
        Cables of the storage tiers.
    oversubscription : float
        Largest ratio, over the levels, of what the nodes can send to what a level can carry upwards; 1 where nothing goes up. In a
        dragonfly, what the nodes of a group can send over what its global cables carry.
    tiers : tuple of str
        Names of the tiers of cables; ``level-1`` and so on without them.
    diameter : int or None
        Links between the two nodes that are farthest apart, by the ways that flows take.
    bisection_bytes_per_s : float or None
        Bandwidth one way between the halves of the nodes [B/s], cut as :func:`hpcsim.cluster.graph.bisection_bytes_per_s` cuts.
    """

    switches: tuple[int, ...]
    cables: tuple[int, ...]
    storage_cables: int = 0
    oversubscription: float = 1.0
    tiers: tuple[str, ...] = ()
    diameter: int | None = None
    bisection_bytes_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class StorageTier:
    """A storage tier on the fabric.

    Attributes
    ----------
    name, kind, path : str
        Name; kind (``lustre``, ``object``, …) or catalog entry; dotted path in the scenario.
    read_bytes_per_s, write_bytes_per_s : float
        Bandwidth of the whole tier [B/s].
    capacity_bytes : float or None
        Usable capacity [B].
    latency_s : float
        Time to the first byte [s]; 0 where neither scenario nor catalog gives it.
    power_w : float or None
        Power of the whole tier [W].
    ports : int
        Fabric ports that connect it.
    location : str
        Where it stands, in a machine of several sites; empty for the first location.
    rent_usd_per_byte_s : float or None
        Price of keeping a raw byte, where the scenario gives it [USD/(B·s)].
    copies, pieces, parity : int
        Copies of what is kept, or pieces of an erasure code; no pieces where it is copies.
    """

    name: str
    kind: str
    path: str
    read_bytes_per_s: float
    write_bytes_per_s: float
    capacity_bytes: float | None = None
    latency_s: float = 0.0
    power_w: float | None = None
    ports: int = 1
    location: str = ""
    rent_usd_per_byte_s: float | None = None
    copies: int = 1
    pieces: int = 0
    parity: int = 0

    def need(self, field: str) -> Any:
        """Return ``field``, or raise the problem that names the key to add."""
        return _needed(self, self.path, self.name, field)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The building: cooling overhead, electricity, its carbon.

    ``pue`` is 1 where neither the scenario nor the catalog gives one; :attr:`Cluster.notes` says so.
    """

    pue: float = 1.0
    pue_known: bool = False
    carbon_kg_co2e_per_j: float | None = None
    electricity_usd_per_j: float | None = None
    region: str = ""
    water_l_per_j: float | None = None
    path: str = "cluster.site"

    def need(self, field: str) -> Any:
        """Return ``field``, or raise the problem that names the key to add."""
        return _needed(self, self.path, "site", field)


@dataclass(frozen=True)
class Location:
    """A place, as rules on data see it.

    Attributes
    ----------
    name : str
        Its name; empty for that of a machine in one place.
    country : str
        ISO code of three letters; empty where it is not known.
    operator : str
        Who runs it: ``own``, or a provider.
    region : str
        Catalog region; empty where there is none.
    """

    name: str = ""
    country: str = ""
    operator: str = "own"
    region: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names under which rules may speak of it."""
        return tuple(name for name in (self.name, self.region) if name)

    @property
    def words(self) -> str:
        """Name and country, for a reader."""
        country = self.country or "country not known"
        return f"{self.name} ({country})" if self.name else f"the site ({country})"


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit of a node group costs: one accelerator, or one node where it has none.

    Either ``usd_per_s`` is set, or ``capex_usd`` and ``lifetime_s`` are.
    """

    group: str
    per: str
    path: str
    usd_per_s: float | None = None
    capex_usd: float | None = None
    lifetime_s: float | None = None
    interest_frac: float = 0.0
    salvage_frac: float = 0.0
    maintenance_frac: float = 0.0
    billing: str = "reserved"
    includes_electricity: bool = False
    provider: str = ""


def _pick(items: Mapping[str, Any], name: str, kind: Any, path: str) -> Any:
    if name in items:
        return items[name]
    near = difflib.get_close_matches(name, items, 1)
    hint = f"did you mean {near[0]!r}?" if near else "named here: " + (", ".join(items) or "none")
    raise kind.error(path=path, name=name, near=hint)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A machine with every value resolved, and where each came from."""

    groups: Mapping[str, NodeGroup]
    fabric: Fabric | None = None
    fabric_size: FabricSize | None = None
    bill: tuple[BillRow, ...] = ()
    storage: Mapping[str, StorageTier] = field(default_factory=dict)
    site: Site = field(default_factory=Site)
    prices: Mapping[str, Price] = field(default_factory=dict)
    locations: Mapping[str, Location] = field(default_factory=dict)
    sources: tuple[SourceRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Installed nodes of all groups, spares included."""
        return sum(group.total for group in self.groups.values())

    def sources_for(self, precisions: Collection[str]) -> tuple[SourceRow, ...]:
        """Return the sources of a result that computes in ``precisions``: rates in other precisions are left out."""
        wanted = {*precisions, *(f"{p}_tensor" for p in precisions)}
        rates = ("peak_flop_per_s.", "measured_matmul_flop_per_s.")
        return tuple(row for row in self.sources if not row.field.startswith(rates) or row.field.partition(".")[2] in wanted)

    @property
    def first_location(self) -> str:
        """Location of the first node group, where storage stands that names none."""
        return next(iter(self.groups.values())).location

    def place_of(self, part: NodeGroup | StorageTier) -> Location:
        """Return where a node group or storage tier stands."""
        name = part.location or (self.first_location if isinstance(part, StorageTier) else "")
        return self.locations.get(name, Location(name))

    def group(self, name: str, path: str = "") -> NodeGroup:
        """Return a node group by name.

        Raises
        ------
        InputError
            The cluster has no such group.
        """
        found: NodeGroup = _pick(self.groups, name, UNKNOWN_GROUP, path)
        return found

    def tier(self, name: str, path: str = "") -> StorageTier:
        """Return a storage tier by name.

        Raises
        ------
        InputError
            The cluster has no such tier.
        """
        found: StorageTier = _pick(self.storage, name, UNKNOWN_TIER, path)
        return found
