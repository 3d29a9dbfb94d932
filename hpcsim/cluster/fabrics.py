"""The fabric of a scenario resolved: what it says itself, then the catalog's design of its type, then its link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import parse_quantity
from hpcsim.catalog.hardware import FabricDesign, Link
from hpcsim.cluster.desk import Desk, first_of
from hpcsim.cluster.parts import Cable, Fabric, Fault, missing
from hpcsim.scenario.cluster import DegradedSpec, FabricSpec, FaultSpec, LinkSpec

__all__ = ["default_routing", "resolve_fabric"]

NO_PORT_RATE = problem_kind(
    "link-rate-missing", "the catalog knows no port rate of the link {name!r}", "give the rate itself, such as '400 Gbit/s'"
)
NO_RATE = problem_kind("link-rate", "the link has a rate of {name!r}", "a rate above zero, such as '400 Gbit/s', or a link of the catalog")

_DIRECT = ("torus", "hypercube", "full-mesh")


def default_routing(topology: str, category: str) -> str:
    """Return the routing that a fabric is usually run with: adaptive in dragonflies, a hash on Ethernet, the destination's number elsewhere."""
    if topology.startswith("dragonfly"):
        return "adaptive"
    if topology in _DIRECT:
        return "minimal"
    return "ecmp" if category in ("ethernet", "cloud") else "d-mod-k"


def _link(desk: Desk, name: str, path: str) -> tuple[Link | None, float] | None:
    """Return a catalog link and the rate of one port [B/s], or the rate that ``name`` writes; None after noting a problem."""
    link: Link | None = None
    rate: float | None = None
    try:
        link = desk.catalog.link(name)
    except InputError as unknown:
        try:
            rate = parse_quantity(name, "data rate")
        except InputError as unreadable:
            written_as_rate = "/" in name or name.rstrip().lower().endswith("bps")
            desk.problems.absorb(unreadable if written_as_rate else unknown, path)
            return None
        if rate <= 0:
            desk.problems.add(NO_RATE(path=path, name=name))
            return None
    if link is not None:
        port = "link_bytes_per_s" if link.category == "scale-up" else "bytes_per_s"  # as a fabric between nodes each link is a port
        rate = desk.take(path, link, port)
        if rate is None and link.node_bytes_per_s and link.nics:
            rate = desk.take(path, link, "node_bytes_per_s") / desk.take(path, link, "nics")
    if rate is None:
        desk.problems.add(NO_PORT_RATE(path=path, name=name))
        return None
    return link, rate


class _Choice:
    """A key of the fabric: the scenario's value where it is given, else that of the catalog design, noted, else the default."""

    def __init__(self, desk: Desk, spec: FabricSpec, design: FabricDesign | None, path: str) -> None:
        self.desk, self.spec, self.design, self.path = desk, spec, design, path
        self.own_shape = spec.topology is not None and design is not None and spec.topology != design.topology

    def __call__(self, key: str, default: Any = None, *, shape: bool = True) -> Any:
        if key in self.spec.model_fields_set and getattr(self.spec, key) is not None:
            return getattr(self.spec, key)
        if shape and self.own_shape:  # another topology than the design's takes its links and not its numbers
            return default
        found = self.desk.take(f"{self.path}.type", self.design, key)
        return default if found is None or found == () else found

    def rates(self) -> tuple[float, ...] | None:
        """Return the rates of a tree's levels [B/s]."""
        if self.spec.rates is not None:
            return self.spec.rates
        found = None if self.own_shape else self.desk.take(f"{self.path}.type", self.design, "rates_bytes_per_s")
        return found or None


def _cables(desk: Desk, given: Mapping[str, LinkSpec], rate: float, path: str) -> tuple[Cable, ...]:
    """Return named cables; the rate of a wide-area path is the fabric's where it has none, its latency half of its round trip.

    A rate that cannot be read is noted, and the fabric's stands for it, so that what else is wrong is found too.
    """
    found = []
    for name, item in given.items():
        place = f"{path}.{name}.link"
        own: tuple[Link | None, float] = (None, rate)
        if item.link is not None:
            line = _wan_path(desk, item.link)
            own = (line, rate) if line is not None else _link(desk, item.link, place) or own
        latency_s = item.latency
        if latency_s is None and own[0] is not None and own[0].round_trip_s is not None:
            latency_s = desk.take(place, own[0], "round_trip_s") / 2
        found.append(Cable(name, item.between[0], item.between[1], item.cables, own[1], latency_s))
    return tuple(found)


def _wan_path(desk: Desk, name: str) -> Link | None:
    """Return a wide-area path of the catalog that has a round trip and no rate of its own."""
    try:
        link = desk.catalog.link(name)
    except InputError:
        return None
    return link if link.category == "wan" and link.bytes_per_s is None and link.round_trip_s is not None else None


def _faults(given: Mapping[str, FaultSpec], path: str) -> Iterator[Fault]:
    for name, item in given.items():
        rate = item.rate if isinstance(item, DegradedSpec) else None
        yield Fault(name, f"{path}.{name}", item.between, item.vertex, item.tier, item.share, item.seed, rate)


def resolve_fabric(desk: Desk, spec: FabricSpec) -> Fabric | None:
    """Resolve the fabric of a scenario; None after noting problems on the desk."""
    path = "cluster.fabric"
    design: FabricDesign | None = None
    if spec.type is not None:
        name = spec.type
        design = desk.find(f"{path}.type", lambda: desk.catalog.fabric(name))
        if design is None:
            return None
    value = _Choice(desk, spec, design, path)
    named = value("link", shape=False)
    place = f"{path}.link" if spec.link is not None else f"{path}.type"
    own = _link(desk, named, place) if named is not None else None
    if own is None:
        return None
    link, rate = own
    latency_s = first_of(spec.latency, lambda: desk.take(place, link, "latency_s", "tcp_latency_s", "hop_s"))
    if latency_s is None:
        desk.problems.absorb(missing(path, named, "latency_s"))
        return None
    topology, category = value("topology", "single-switch"), link.category if link else ""
    down, radix = value("down"), value("radix")
    cables, wan = _cables(desk, spec.links, rate, f"{path}.links"), _cables(desk, spec.wan, rate, f"{path}.wan")
    shaped = down is not None or radix is not None or topology in ("single-switch", "star", "links", "graphml", *_DIRECT)
    return Fabric(
        topology="sites" if wan else topology,
        link=link.id if link else named,
        bytes_per_s=rate,
        latency_s=latency_s,
        hop_s=0.0 if spec.latency is not None else desk.take(place, link, "hop_s") or 0.0,
        per_node=value("per_node", spec.per_node),
        radix=radix,
        switch_ports=None if shaped else desk.take(place, link, "switch_ports"),
        oversubscription=value("oversubscription", spec.oversubscription),
        down=down,
        up=value("up"),
        parallel=value("parallel"),
        switch_w=first_of(spec.switch_power, lambda: desk.take(place, link, "switch_w", "switch_max_w")),
        category=category,
        path=path,
        type=design.id if design is not None and not value.own_shape else "",
        routing=value("routing", default_routing(topology, category)),
        hash_seed=spec.hash_seed,
        collides=spec.routing == "ecmp",
        rails=value("rails", 1),
        planes=value("planes", 1),
        taper=value("taper"),
        rates_bytes_per_s=value.rates(),
        groups=value("groups"),
        routers=value("routers"),
        spines=value("spines"),
        hosts=value("hosts"),
        local_cables=value("local_cables", 1),
        global_cables=value("global_cables"),
        axes=value("axes"),
        wrap=value("wrap"),
        cube=value("cube"),
        block=value("block"),
        twist=spec.twist or 0,
        links=cables,
        file=str(desk.folder / spec.file) if spec.file else "",
        wan=wan,
        inner=topology if wan else "",
        faults=(*_faults(spec.failed, f"{path}.failed"), *_faults(spec.degraded, f"{path}.degraded")),
    )
