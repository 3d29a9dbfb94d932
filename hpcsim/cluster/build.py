"""From the scenario's cluster to resolved parts: inline values first, then the catalog, and every problem at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.base.reuse import kept
from hpcsim.base.units import readable
from hpcsim.catalog.entries import Fact
from hpcsim.catalog.hardware import Accelerator as AcceleratorEntry
from hpcsim.catalog.hardware import Link, Node, Storage
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.markets import country_in
from hpcsim.cluster.bill import bill_of
from hpcsim.cluster.desk import Desk, first_of
from hpcsim.cluster.fabrics import resolve_fabric
from hpcsim.cluster.faults import left_over, worst_share
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import (
    UNKNOWN_GROUP,
    Accelerator,
    BillRow,
    Cluster,
    FabricSize,
    Location,
    NodeGroup,
    Price,
    Site,
    StorageTier,
    missing,
)
from hpcsim.cluster.routing import NOT_JOINED
from hpcsim.cluster.topologies import TOPOLOGIES, request_of
from hpcsim.cluster.walks import GraphWalker
from hpcsim.scenario.cluster import AcceleratorSpec, ClusterSpec, NodeGroupSpec, PriceSpec, SiteSpec, StorageSpec, TierSpec

__all__ = ["GENERIC_STORAGE", "resolve"]

EMPTY_GROUP = problem_kind(
    "node-group-empty",
    "nothing says what a node of {name!r} is",
    "give its type, its accelerator, its cores or its speed; see 'hpcsim catalog list nodes'",
)
PER_NODE = problem_kind("per-node-missing", "the number of accelerators in a node of {name!r} is not known", "add {path}.per_node")
SCALE_UP_DOMAIN = problem_kind(
    "scale-up-domain",
    "a scale-up domain of {domain} accelerators does not fit nodes of {per_node}",
    "a multiple of {per_node}, or a number that divides it",
)
DEVICE_POWER_ORDER = problem_kind(
    "device-power-order",
    "an accelerator's design power of {most} is below its idle power of {idle}{whose}",
    "give both idle and tdp, the first not above the second",
)
ABOVE_PEAK = problem_kind(
    "rate-above-peak",
    "matrix products are to run at {rate}, above the peak of {peak}",
    "correct one of them, or leave matmul out: the share of the peak is then the catalog's",
)
POWER_ORDER = problem_kind("power-order", "the highest power, {most}, is below the idle power, {idle}", "swap them, or mend the unit")
NO_WAN = problem_kind(
    "wan-missing",
    "node groups stand in several places ({places}), and no line joins them",
    "add lines, for example {{a: {{between: [x, y], link: wan-metro}}}}",
)
UNKNOWN_PLACE = problem_kind("storage-location", "no node group stands in {name!r}", "a location of cluster.nodes; there are: {known}")
UNKNOWN_STORAGE = problem_kind("unknown-storage", "unknown kind of storage {name!r}", "{near}")

T = TypeVar("T")

GENERIC_STORAGE = (
    "beegfs", "ceph", "daos", "disk", "gpfs", "hdd", "hdfs", "lustre", "memory", "nfs", "nvme", "object", "ssd", "tape", "vast", "weka",
)  # fmt: skip
"""Kinds of storage that need no catalog entry: their rates are in the scenario."""


def _rates(desk: Desk, path: str, entry: AcceleratorEntry | None, field_name: str, given: Mapping[str, float]) -> dict[str, float]:
    """Return rates by precision: the given ones, which also stand in for a matrix unit's of that precision, and the catalog's others."""
    table = getattr(entry, field_name) if entry is not None else {}
    rates = {}
    if entry is not None:
        rates = {p: desk.fact(path, entry.fact(f"{field_name}.{p}")) for p in table if p.removesuffix("_tensor") not in given}
    return dict(sorted({**rates, **given}.items()))


def _sustained(
    desk: Desk, path: str, entry: AcceleratorEntry | None, spec: AcceleratorSpec, peaks: Mapping[str, float]
) -> dict[str, float]:
    """Return the sustained rates of matrix products: a peak that is changed carries the rate that was measured below the catalog's peak with it."""
    given: dict[str, float] = {str(p): rate for p, rate in spec.matmul.items()}
    for precision, rate in given.items():
        peak = max((peaks[p] for p in (precision, f"{precision}_tensor") if p in peaks), default=math.inf)
        if rate > peak:
            said, most = readable(rate, "compute rate"), readable(peak, "compute rate")
            desk.problems.add(ABOVE_PEAK(path=f"{path}.matmul.{precision}", rate=said, peak=most))
    for key, peak in spec.peak.items():
        precision = str(key)
        names = (precision, f"{precision}_tensor")
        if entry is None or precision in given or not any(p in entry.measured_matmul_flop_per_s for p in names):
            continue
        measured = max(float(desk.fact(path, entry.fact(f"measured_matmul_flop_per_s.{p}"))) for p in names if p in entry.measured_matmul_flop_per_s)  # fmt: skip
        full = max((float(rate) for p, rate in entry.peak_flop_per_s.items() if str(p) in names), default=0.0)
        given[precision] = measured * (peak / full) if full > 0 else measured
    return _rates(desk, path, entry, "measured_matmul_flop_per_s", given)


def _scale_up(desk: Desk, path: str, entry: AcceleratorEntry | None, node: Node | None) -> dict[str, Any]:
    """Return rate, name, kind and latency of the link between the devices; the host link where there is no other."""
    name = (node.scale_up_link if node else None) or (entry.scale_up_link if entry else None)
    link: Link | None = desk.find(path, lambda: desk.catalog.link(str(name))) if name else None
    rate = desk.take(path, entry, "scale_up_bytes_per_s") or desk.take(path, link, "bytes_per_s")
    if rate is None and entry is not None and entry.host_link:
        link = desk.find(path, lambda: desk.catalog.link(str(entry.host_link)))
        rate = desk.take(path, link, "bytes_per_s")
    kind = re.match("[a-z]+", link.id.lower()) if link else None
    return {
        "scale_up_bytes_per_s": rate,
        "scale_up_link": link.id if link else "",
        "scale_up_kind": kind.group() if kind else "scale-up",
        "scale_up_latency_s": desk.take(path, link, "latency_s", "hop_s"),
    }


def _accelerator(desk: Desk, group: str, path: str, spec: AcceleratorSpec | None, node: Node | None) -> Accelerator | None:
    base = (spec.base if spec else None) or (node.accelerator if node else None)
    if base is None and spec is None:
        return None
    place = f"{path}.accelerator" if spec else f"{path}.type"
    entry: AcceleratorEntry | None = desk.find(place, lambda: desk.catalog.accelerator(base)) if base else None
    if base and entry is None:
        return None
    spec = spec or AcceleratorSpec.model_validate({})
    link = _scale_up(desk, place, entry, node)
    if spec.scale_up is not None:
        desk.rows = [row for row in desk.rows if row.path != place or row.field not in ("scale_up_bytes_per_s", "bytes_per_s")]
        link["scale_up_bytes_per_s"] = spec.scale_up
    tdp_w = first_of(spec.tdp, lambda: desk.take(place, entry, "tdp_w"))
    idle_w = first_of(spec.idle, lambda: desk.known(place, lambda: desk.catalog.idle_power(str(base))) if entry else None)
    if tdp_w is not None and idle_w is not None and tdp_w < idle_w:
        key, theirs = ("tdp", spec.idle) if spec.tdp is not None else ("idle", spec.tdp)
        whose = "" if theirs is not None else f"; the {'idle' if key == 'tdp' else 'design'} power is that of {base} in the catalog"
        most, least = readable(tdp_w, "power"), readable(idle_w, "power")
        desk.problems.add(DEVICE_POWER_ORDER(path=f"{place}.{key}", most=most, idle=least, whose=whose))
    peaks = _rates(desk, place, entry, "peak_flop_per_s", {str(p): v for p, v in spec.peak.items()})
    return Accelerator(
        id=entry.id if entry else group,
        category=entry.category if entry else "",
        vendor=entry.vendor if entry else "",
        peak_flop_per_s=peaks,
        matmul_flop_per_s=_sustained(desk, place, entry, spec, peaks),
        memory_bytes=first_of(spec.memory, lambda: desk.take(place, entry, "memory_bytes")),
        memory_bytes_per_s=first_of(spec.memory_bandwidth, lambda: desk.take(place, entry, "memory_bytes_per_s")),
        host_bytes_per_s=desk.known(place, lambda: desk.catalog.host_rate(str(base))) if entry else None,
        tdp_w=tdp_w,
        idle_w=idle_w,
        compute_units=desk.take(place, entry, "compute_units"),
        year=entry.release_year if entry else None,
        **link,
    )


def _processor(desk: Desk, path: str, node: Node | None) -> Accelerator | None:
    """Return the processor socket of a node type where the catalog knows it by name."""
    if node is None or not node.cpu:
        return None
    try:
        entry = desk.catalog.accelerator(node.cpu)
    except InputError:
        return None
    return Accelerator(
        id=entry.id,
        category=entry.category,
        vendor=entry.vendor,
        peak_flop_per_s=_rates(desk, path, entry, "peak_flop_per_s", {}),
        matmul_flop_per_s=_rates(desk, path, entry, "measured_matmul_flop_per_s", {}),
        memory_bytes_per_s=desk.take(path, entry, "memory_bytes_per_s"),
        tdp_w=entry.tdp_w,
        year=entry.release_year,
    )


def _node_power(desk: Desk, path: str, spec: NodeGroupSpec, node: Node | None) -> tuple[float | None, float | None]:
    """Return idle and highest power of a node without its accelerators [W]."""
    idle, most = spec.idle_power, spec.max_power
    if node is not None and (idle is None or most is None):
        try:
            known = desk.catalog.node_power(node.id)
        except InputError:
            return idle, most
        if idle is None:
            idle = desk.fact(f"{path}.type", known.base_idle)
        if most is None:
            most = desk.fact(f"{path}.type", known.base_max)
    if idle is not None and most is not None and most < idle:
        if spec.idle_power is not None and spec.max_power is not None:
            desk.problems.add(POWER_ORDER(path=f"{path}.max_power", most=readable(most, "power"), idle=readable(idle, "power")))
        desk.notes.append(f"{path}: idle and highest power come from different places and cross; the given one is taken for both.")
        idle = most = spec.idle_power if spec.idle_power is not None else most
    return idle, most


def _domain(desk: Desk, path: str, spec: NodeGroupSpec, node: Node | None, per_node: int) -> int:
    if per_node == 0:
        return 0
    known = node.domain if node and node.domain else per_node
    domain = spec.domain if spec.domain is not None else known
    if domain % per_node and per_node % domain:
        if spec.domain is not None:
            desk.problems.add(SCALE_UP_DOMAIN(path=f"{path}.domain", domain=domain, per_node=per_node))
        return per_node
    if spec.domain is None and domain != per_node:
        desk.take(path, node, "domain")
    return domain


def _group(desk: Desk, name: str, spec: NodeGroupSpec, ports: int | None, port_bytes_per_s: float | None) -> NodeGroup:
    path = f"cluster.nodes.{name}"
    node: Node | None = desk.find(f"{path}.type", lambda: desk.catalog.node(str(spec.type))) if spec.type else None
    if spec.type is None and spec.accelerator is None and spec.cores is None and spec.speed is None:
        desk.problems.add(EMPTY_GROUP(path=path, name=name))
    place = f"{path}.type"
    accelerator, per_node = None, spec.per_node
    if per_node != 0:
        accelerator = _accelerator(desk, name, path, spec.accelerator, node)
        if per_node is None and accelerator is not None:
            per_node = desk.take(place, node, "accelerators") or None
            if per_node is None and not (spec.type and node is None):
                desk.problems.add(PER_NODE(path=path, name=name))
    per_node = per_node or 0 if accelerator else 0
    nics = ports if ports is not None else desk.take(place, node, "nics") or 1
    idle_w, max_w = _node_power(desk, path, spec, node)
    cpu = None if per_node else _processor(desk, place, node)
    return NodeGroup(
        name=name,
        path=path,
        count=spec.count,
        spares=spec.spares,
        type=node.id if node else "",
        accelerator=accelerator if per_node else None,
        per_node=per_node,
        domain=_domain(desk, path, spec, node, per_node),
        cores=first_of(spec.cores, lambda: desk.take(place, node, "cores", "vcpus")),
        memory_bytes=first_of(spec.memory, lambda: desk.take(place, node, "memory_bytes")),
        cpu=cpu,
        cpus=(desk.take(place, node, "cpus") or 1) if cpu else 1,
        location=spec.location or "",
        nics=nics,
        nic_bytes_per_s=port_bytes_per_s,
        idle_w=idle_w,
        max_w=max_w,
        given_speed_flop_per_s=spec.speed,
    )


def _one_node(desk: Desk, name: str, spec: NodeGroupSpec, ports: int | None, port_bytes_per_s: float | None) -> NodeGroup:
    """Return a node group; what a node is, is looked up once however often its number changes."""

    said = (name, spec.model_dump_json(exclude={"count", "spares"}), ports, port_bytes_per_s)
    group = _once(desk, "node group", said, lambda own: _group(own, name, spec, ports, port_bytes_per_s))
    return dataclasses.replace(group, count=spec.count, spares=spec.spares)


def _once(desk: Desk, kind: str, key: Hashable, make: Callable[[Desk], T]) -> T:
    """Return what ``make`` finds on a desk of its own, or found there before under an equal key; what it noted is noted each time."""

    def fresh() -> tuple[T, Desk]:
        own = Desk(desk.catalog, folder=desk.folder)
        return make(own), own

    found, own = kept(kind, lambda: (id(desk.catalog), str(desk.folder), key), fresh)
    desk.problems.items += own.problems.items
    desk.rows += own.rows
    desk.notes += own.notes
    return found


def _size(desk: Desk, cluster: Cluster) -> FabricSize | None:
    """Let the topology check the request and count its hardware."""
    request = request_of(cluster)
    if request is None or cluster.fabric is None:
        return None
    topology = desk.find("cluster.fabric.topology", lambda: TOPOLOGIES.get(request.fabric.topology))
    size: FabricSize | None = desk.find("cluster.fabric", lambda: topology.size(request)) if topology else None
    if size is None or not cluster.fabric.faults:
        return size
    left: FabricSize | None = desk.find("cluster.fabric", lambda: _faulty(desk, cluster, size))
    return left


def _faulty(desk: Desk, cluster: Cluster, size: FabricSize) -> FabricSize:
    """Return the size of a fabric with faults: what the nodes can send over what gets through where most is missing."""
    assert cluster.fabric is not None
    whole = links_of(cluster)
    left = left_over(whole, cluster.fabric.faults)
    lost = int(np.count_nonzero(~left.usable)) // 2
    slow = int(np.count_nonzero(left.capacity_bytes_per_s < whole.capacity_bytes_per_s)) // 2
    far = GraphWalker(left).distances(np.zeros(1, np.int64))[0, : whole.nodes]
    apart = np.flatnonzero(far == 255)
    if apart.size:
        a, b = whole.vertex_name(0), whole.vertex_name(int(apart[0]))
        more = f" (nor {apart.size - 1} other nodes)" if apart.size > 1 else ""
        raise NOT_JOINED.error(
            path="cluster.fabric.failed", source=a, target=b + more, remedy="take fewer cables out, or the nodes as well"
        )
    share = worst_share(whole, left)
    desk.notes.append(
        f"Of {whole.cables:,} cables of the fabric {lost:,} have failed and {slow:,} are degraded; where most is missing "
        f"{100 * share:.3g} % of the capacity is left, which is what collectives over all nodes get."
    )
    return dataclasses.replace(size, oversubscription=size.oversubscription / share, bisection_bytes_per_s=None)


def _storage_entry(desk: Desk, path: str, kind: str) -> Storage | None:
    if kind.lower() in GENERIC_STORAGE:
        return None
    try:
        return desk.catalog.storage(kind)
    except InputError as error:
        near = difflib.get_close_matches(kind.lower(), GENERIC_STORAGE, 1, 0.7)
        hint = f"did you mean {near[0]!r}?" if near else error.problems[0].hint or "kinds that need no entry: " + ", ".join(GENERIC_STORAGE)
        desk.problems.add(UNKNOWN_STORAGE(path=f"{path}.type", name=kind, near=hint))
        return None


def _ports(desk: Desk, name: str, spec: StorageSpec, bytes_per_s: float, port_bytes_per_s: float | None, node_ports: int) -> int:
    """Return the fabric ports of a tier: where they are not given, what its bandwidth needs, and no more than all nodes have."""
    if "ports" in spec.model_fields_set or port_bytes_per_s is None:
        return spec.ports
    ports = min(math.ceil(bytes_per_s / port_bytes_per_s), max(node_ports, 1))
    desk.notes.append(
        f"Storage {name}: its fabric ports are not given; as many are counted as its bandwidth, or that of all nodes, needs: {ports}."
    )
    return ports


def _tier(desk: Desk, name: str, spec: TierSpec, port_bytes_per_s: float | None, node_ports: int) -> StorageTier | None:
    path = f"cluster.storage.{name}"
    before = len(desk.problems.items)
    entry = _storage_entry(desk, path, spec.type)
    if len(desk.problems.items) > before:
        return None
    place = f"{path}.type"
    read = first_of(spec.read, lambda: desk.take(place, entry, "read_bytes_per_s", "sustained_bytes_per_s"))
    write = first_of(spec.write, lambda: desk.take(place, entry, "write_bytes_per_s", "sustained_bytes_per_s"))
    latency_s = first_of(spec.latency, lambda: desk.take(place, entry, "latency_s"))
    for value, key in ((read, "read_bytes_per_s"), (write, "write_bytes_per_s")):
        if value is None:
            desk.problems.absorb(missing(path, name, key))
    if read is None or write is None:
        return None
    if latency_s is None:
        desk.notes.append(f"Storage {name}: no time to the first byte is known, so none is counted.")
    return StorageTier(
        name=name,
        kind=entry.id if entry else spec.type.lower(),
        path=path,
        read_bytes_per_s=read,
        write_bytes_per_s=write,
        capacity_bytes=first_of(spec.capacity, lambda: desk.take(place, entry, "capacity_bytes")),
        latency_s=latency_s or 0.0,
        power_w=first_of(spec.power, lambda: desk.take(place, entry, "active_w") if entry and entry.category == "device" else None),
        ports=_ports(desk, name, spec, max(read, write), port_bytes_per_s, node_ports),
        location=spec.location or "",
        rent_usd_per_byte_s=spec.rent,
        copies=spec.copies or 1,
        pieces=spec.pieces or 0,
        parity=spec.parity or 0,
    )


def _region_is_known(catalog: Catalog, region: str) -> bool:
    for look_up in (catalog.carbon_intensity, catalog.electricity_price, catalog.pue):
        try:
            look_up(region)
        except InputError:
            continue
        return True
    return False


def _site(desk: Desk, spec: SiteSpec) -> Site:
    path = "cluster.site.region"
    carbon, electricity, pue = spec.carbon, spec.electricity, spec.pue
    if spec.region is not None:
        region = spec.region
        if carbon is None:
            carbon = desk.known(path, lambda: desk.catalog.carbon_intensity(region))
        if electricity is None:
            electricity = desk.known(path, lambda: desk.catalog.electricity_price(region))
        if pue is None:
            pue = desk.known(path, lambda: desk.catalog.pue(region))
        if not _region_is_known(desk.catalog, region):
            desk.find(path, lambda: desk.catalog.carbon_intensity(region))
    if pue is None:
        desk.notes.append("No power usage effectiveness is given: 1 is taken, so cooling counts for nothing.")
    return Site(
        pue=1.0 if pue is None else pue,
        pue_known=pue is not None,
        carbon_kg_co2e_per_j=carbon,
        electricity_usd_per_j=electricity,
        region=spec.region or "",
        water_l_per_j=spec.water,
    )


def _price(desk: Desk, name: str, spec: PriceSpec, group: NodeGroup) -> Price | None:
    path = f"cluster.prices.{name}"
    usd_per_s = spec.hourly
    if spec.provider is not None:
        provider = spec.provider
        device = group.accelerator.id if group.accelerator else None
        instance = None if device else group.type or name
        fact: Fact | None = desk.find(
            path,
            lambda: desk.catalog.price(provider=provider, accelerator=device, instance=instance, region=spec.region, term=spec.term),
        )
        if fact is None:
            return None
        if spec.region is None and fact.low is not None and fact.low < fact.value:
            fact = dataclasses.replace(fact, value=fact.low, source=f"{fact.source}; the cheapest region")
        usd_per_s = desk.fact(path, fact)
    covered = spec.includes_electricity
    return Price(
        group=name,
        per="accelerator" if group.accelerator else "node",
        path=path,
        usd_per_s=usd_per_s,
        capex_usd=spec.capex,
        lifetime_s=spec.lifetime,
        interest_frac=spec.interest,
        salvage_frac=spec.salvage,
        maintenance_frac=spec.maintenance,
        billing=spec.billing,
        includes_electricity=spec.provider is not None if covered is None else covered,
        provider=spec.provider or "",
    )


def _locations(desk: Desk, spec: ClusterSpec, site: Site) -> dict[str, Location]:
    """Return the places of a cluster by name; a machine in one place has that of its site."""
    found = {
        name: Location(name, (place.country or country_in(desk.catalog, place.region)).upper(), place.operator, place.region or "")
        for name, place in spec.locations.items()
    }
    return {"": Location("", country_in(desk.catalog, site.region), "own", site.region), **found}


def _unknown_locations(desk: Desk, spec: ClusterSpec) -> None:
    """Note storage that stands where no node group does, in a machine of several sites, and locations that nothing names."""
    places = {group.location for group in spec.nodes.values() if group.location}
    for name, tier in spec.storage.items():
        if tier.location and tier.location not in places:
            desk.problems.add(
                UNKNOWN_PLACE(path=f"cluster.storage.{name}.location", name=tier.location, known=", ".join(sorted(places)) or "none")
            )
    for name, place in spec.locations.items():
        region = place.region
        if region is not None and not _region_is_known(desk.catalog, region):
            desk.find(f"cluster.locations.{name}.region", lambda region=region: desk.catalog.carbon_intensity(region))  # type: ignore[misc]
        if name not in places:
            desk.problems.add(UNKNOWN_PLACE(path=f"cluster.locations.{name}", name=name, known=", ".join(sorted(places)) or "none"))


def _unknown_prices(desk: Desk, spec: ClusterSpec) -> None:
    for name in spec.prices:
        if name not in spec.nodes:
            near = difflib.get_close_matches(name, spec.nodes, 1)
            hint = f"did you mean {near[0]!r}?" if near else "named here: " + ", ".join(spec.nodes)
            desk.problems.add(UNKNOWN_GROUP(path=f"cluster.prices.{name}", name=name, near=hint))


def resolve(spec: ClusterSpec, catalog: Catalog, *, folder: Path | None = None) -> Cluster:
    """Resolve a cluster: every value from the scenario or else from the catalog.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster of a scenario.
    catalog : Catalog
        Where names and missing values are looked up.
    folder : Path, optional
        Where the scenario lies, from which files are named; the current one without it.

    Returns
    -------
    Cluster
        With ``sources``, a row for every value of the catalog that it rests on.

    Raises
    ------
    InputError
        All problems at once, each with its dotted path: unknown names, values that nobody gives and that the cluster cannot be
        without (node type, rates of storage, rate and latency of the fabric), a fabric that does not hold the nodes. Values that
        only some questions need (power, prices, memory) stay None and are asked for by ``need``.
    """
    _, said = kept("machine key", lambda: id(spec), lambda: (spec, spec.model_dump_json(exclude={"site", "prices"})))
    machine = kept(
        "machine",
        lambda: (id(catalog), str(folder or ""), said),
        lambda: _machine(Desk(catalog, folder=folder or Path()), spec),
    )
    desk = Desk(catalog, Problems(list(machine.desk.problems.items)), list(machine.desk.rows), list(machine.desk.notes))
    groups = machine.cluster.groups
    site = _site(desk, spec.site)
    _unknown_prices(desk, spec)
    _unknown_locations(desk, spec)
    sound = {name for name, group in groups.items() if group.type or not spec.nodes[name].type}
    priced = {name: price for name, price in spec.prices.items() if name in sound}
    prices = {name: found for name, item in priced.items() if (found := _price(desk, name, item, groups[name])) is not None}
    desk.problems.items += machine.later
    desk.problems.raise_if_any()
    rows = tuple(dict.fromkeys(desk.rows))
    places = _locations(desk, spec, site)
    return dataclasses.replace(machine.cluster, site=site, prices=prices, locations=places, sources=rows, notes=tuple(desk.notes))


@dataclass(frozen=True)
class _Machine:
    """A cluster without its site and prices, what was noted on the way, and the problems that come after those of site and prices."""

    cluster: Cluster
    desk: Desk
    later: list[Problem]


def _machine(desk: Desk, spec: ClusterSpec) -> _Machine:
    named = spec.fabric
    fabric = _once(desk, "fabric of the cluster", named.model_dump_json(), lambda own: resolve_fabric(own, named)) if named else None
    rate = fabric.bytes_per_s if fabric else None
    explicit = fabric is not None and spec.fabric is not None and bool(fabric.type or "per_node" in spec.fabric.model_fields_set)
    ports = fabric.per_node if fabric is not None and explicit else None
    groups = {name: _one_node(desk, name, group, ports, rate) for name, group in spec.nodes.items()}
    node_ports = sum(group.total * group.nics for group in groups.values())
    tiers = {name: tier for name, item in spec.storage.items() if (tier := _tier(desk, name, item, rate, node_ports)) is not None}
    site = Site(pue=1.0, pue_known=False, carbon_kg_co2e_per_j=None, electricity_usd_per_j=None, region="")
    cluster = Cluster(groups=groups, fabric=fabric, storage=tiers, site=site, prices={})
    before = len(desk.problems.items)
    places = {group.location for group in groups.values()}
    if fabric is not None and not fabric.wan and len(places) > 1:
        desk.problems.add(NO_WAN(path="cluster.fabric.wan", places=", ".join(sorted(places - {""}))))
    size = _size(desk, cluster)
    later = desk.problems.items[before:]
    del desk.problems.items[before:]
    bill: tuple[BillRow, ...] = ()
    if spec.fabric is not None and fabric is not None and size is not None:
        bill = bill_of(desk, fabric, size, (spec.fabric.switch_price, spec.fabric.cable_power, spec.fabric.cable_price))
    return _Machine(dataclasses.replace(cluster, fabric_size=size, bill=bill), desk, later)
