"""Look-up: by kind and name, without regard to case, spaces, hyphens and underscores."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from hpcsim.base.errors import problem_kind
from hpcsim.base.registry import Registry
from hpcsim.catalog.entries import Entry, Fact
from hpcsim.catalog.files import KINDS, UNKNOWN_NAME, Index, Overlay, cited, kind_named, loose, read_overlay
from hpcsim.catalog.prices import Term, hourly, interruption, offers

if TYPE_CHECKING:
    from hpcsim.catalog.economy import Electricity, Power, Price, Pue, Reliability
    from hpcsim.catalog.hardware import Accelerator, FabricDesign, Link, Node, Storage, System
    from hpcsim.catalog.methods import DataMethod
    from hpcsim.catalog.models import Model

__all__ = ["CATALOGS", "Catalog", "NodePower", "Shown", "default", "overlaid"]

QUANTUM = problem_kind(
    "quantum-refused",
    "{name!r} is a quantum accelerator: no throughput model exists to predict with",
    "circuits per second say nothing of the time to a solution; model the classical part of the work on a GPU or CPU",
)

OverlayLike = str | Path | Mapping[str, Any]
CATALOGS: Registry[OverlayLike | Callable[[], OverlayLike]] = Registry("catalog", "catalogs")
"""Plug-in catalogs: each an overlay, or a function that returns one."""

_QUANTUM_WORDS = ("quantum", "qpu", "qubit", "dwave", "ionq", "quantinuum", "rigetti", "xanadu", "pasqal", "quera", "iqm")


class NodePower(NamedTuple):
    """Power of a node without its accelerators [W], each with its source."""

    base_idle: Fact
    base_max: Fact


def _derived(*inputs: Fact) -> str:
    """Return the kind of a value that follows from ``inputs``: it is no better known than the least known of them."""
    return "remembered" if any(fact.kind == "remembered" for fact in inputs) else "derived"


class Shown(NamedTuple):
    """An entry as a reader sees it."""

    kind: str
    entry: Entry
    facts: tuple[Fact, ...]
    also: tuple[str, ...]
    """Entries of other kinds that the name finds too, as ``kind/name``."""


class Catalog:
    """The facts of hpcsim, with overlays on top.

    Each kind's file is read when it is first asked for.

    Parameters
    ----------
    overlays : iterable of path or mapping
        YAML files or plain data that add entries or override fields of entries; later ones win.

    Raises
    ------
    InputError
        An overlay is unreadable or wrong; every mistake with its place.
    """

    def __init__(self, overlays: Iterable[OverlayLike | Overlay] = ()) -> None:
        self._overlays: tuple[Overlay, ...] = tuple(o if isinstance(o, Overlay) else read_overlay(o) for o in overlays)
        self._indexes: dict[str, Index] = {}
        for overlay in self._overlays:
            for key in overlay.data:
                if key not in ("schema", "references"):
                    self._index(key)

    def _index(self, kind: str) -> Index:
        known = kind_named(kind)
        if known.name not in self._indexes:
            self._indexes[known.name] = Index(known, self._overlays)
        return self._indexes[known.name]

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """Return the kinds of entry, plural, as ``listing`` takes them."""
        return tuple(kind.plural for kind in KINDS.values())

    def names(self, kind: str) -> list[str]:
        """Return the canonical names of a kind."""
        return self._index(kind).names()

    def find(self, kind: str, name: str) -> Entry:
        """Return an entry.

        Parameters
        ----------
        kind : str
            Singular or plural, such as ``"accelerator"``.
        name : str
            Canonical name or alias; case, spaces, hyphens and underscores do not matter.

        Raises
        ------
        InputError
            Unknown kind or name (with the nearest known ones), an ambiguous name, or a quantum accelerator.
        """
        index = self._index(kind)
        devices = index.kind.name in ("accelerator", "node")
        if devices and index.known(str(name)) is None and any(word in loose(str(name)) for word in _QUANTUM_WORDS):
            raise QUANTUM.error(name=name)
        entry = index.entry(name)
        if getattr(entry, "category", "") == "quantum":
            raise QUANTUM.error(name=name)
        return entry

    def accelerator(self, name: str) -> Accelerator:
        """Return an accelerator (see :meth:`find`)."""
        return cast("Accelerator", self.find("accelerator", name))

    def link(self, name: str) -> Link:
        """Return a link (see :meth:`find`)."""
        return cast("Link", self.find("link", name))

    def storage(self, name: str) -> Storage:
        """Return a storage entry (see :meth:`find`)."""
        return cast("Storage", self.find("storage", name))

    def node(self, name: str) -> Node:
        """Return a node type (see :meth:`find`)."""
        return cast("Node", self.find("node", name))

    def model(self, name: str) -> Model:
        """Return a neural network (see :meth:`find`)."""
        return cast("Model", self.find("model", name))

    def fabric(self, name: str) -> FabricDesign:
        """Return a published network design (see :meth:`find`)."""
        return cast("FabricDesign", self.find("fabric", name))

    def system(self, name: str) -> System:
        """Return a system (see :meth:`find`)."""
        return cast("System", self.find("system", name))

    def power(self, name: str) -> Power:
        """Return a power distribution or coefficient (see :meth:`find`)."""
        return cast("Power", self.find("power", name))

    def data_method(self, name: str) -> DataMethod:
        """Return a cipher, checksum or compressor (see :meth:`find`)."""
        return cast("DataMethod", self.find("data-method", name))

    def reliability(self, name: str) -> Reliability:
        """Return a reliability entry (see :meth:`find`)."""
        return cast("Reliability", self.find("reliability", name))

    def price(
        self,
        *,
        provider: str,
        accelerator: str | None = None,
        instance: str | None = None,
        region: str | None = None,
        term: Term = "on-demand",
    ) -> Fact:
        """Return an hourly price [USD/s].

        Parameters
        ----------
        provider : str
            Such as ``"aws"``, ``"gcp"``, ``"azure"``, ``"lambda"``.
        accelerator : str, optional
            The price is for one of them, with its share of the instance.
        instance : str, optional
            An instance type; without ``accelerator`` the price is for the whole instance.
        region : str, optional
            Without it the median over the provider's regions, whose range is in ``low`` and ``high``.
        term : {"on-demand", "1-year", "3-year", "spot"}
            How it is bought.

        Raises
        ------
        InputError
            Nothing fits; the hint says what there is.
        """
        device = self._device(accelerator)
        index = self._index("price")
        entries = [cast("Price", index.entry(name)) for name in index.names()]
        sources = cited(index.settings["row_sources"], index.references)
        return hourly(entries, sources, provider=provider, accelerator=device, instance=instance, region=region, term=term)

    def price_sources(self) -> dict[str, str]:
        """Return what the words in the column ``source`` of the table of prices stand for."""
        index = self._index("price")
        return {name: text.partition(" ")[2] for name, text in cited(index.settings["row_sources"], index.references).items()}

    def _device(self, accelerator: str | None) -> str | None:
        if accelerator is None:
            return None
        known = self._index("accelerator").known(accelerator)
        if known is None:  # a device that is sold, but of which the catalog knows no more than the price
            known = next((offer.accelerator for offer in offers() if loose(offer.accelerator) == loose(accelerator)), None)
        return known or self.accelerator(accelerator).id

    def spot_interruption(self, *, instance: str | None = None, accelerator: str | None = None, region: str | None = None) -> Fact:
        """Return the share of spot instances that are interrupted in a month: middle of the published bin, median over what fits.

        Raises
        ------
        InputError
            Nothing fits.
        """
        return interruption(self._index("reliability").references, instance=instance, accelerator=self._device(accelerator), region=region)

    def carbon_intensity(self, region: str) -> Fact:
        """Return the carbon intensity of a region's or country's electricity [kg/J].

        Parameters
        ----------
        region : str
            A cloud region (``"us-central1"``, ``"gcp-us-central1"``), a country's name or ISO code, or a fuel.

        Raises
        ------
        InputError
            Unknown, ambiguous (``US_EAST1`` is two clouds' region), or an entry without an intensity.
        """
        return self.find("carbon", region).fact("carbon_kg_co2e_per_j")

    def _by_region(self, kind: str, region: str) -> Entry:
        index = self._index(kind)
        place = self._index("carbon").known(region)
        for name in (place, region) if place else (region,):
            known = index.known(name)
            if known:
                return index.entry(known)
        return index.entry(region)

    def electricity_price(self, region: str, *, sector: Literal["industrial", "commercial"] | None = None) -> Fact:
        """Return the price of electricity in a region [USD/J].

        Parameters
        ----------
        region : str
            A country, a US state (``"US-VA"``), or a cloud region that lies in one.
        sector : {"industrial", "commercial"}, optional
            Industrial by default, or business customers in general where the sectors are not told apart.

        Raises
        ------
        InputError
            Unknown region, or no price for that sector.
        """
        entry = cast("Electricity", self._by_region("electricity", region))
        if sector:
            return entry.fact(f"{sector}_usd_per_j")
        if entry.industrial_usd_per_j is not None:
            return entry.fact("industrial_usd_per_j")
        if entry.business_usd_per_j is None and entry.eur_per_kwh is not None:
            return self._from_euros(entry)
        return replace(entry.fact("business_usd_per_j"), high=entry.high_usd_per_j)

    def _from_euros(self, entry: Electricity) -> Fact:
        settings = self._index("electricity").settings["euro"]
        fact = entry.fact("eur_per_kwh")
        rate = float(settings["usd"])
        source = f"{fact.source}; {fact.value:g} EUR/kWh at {rate:g} USD/EUR ({settings['source']})"
        value = fact.value * rate / 3.6e6
        return replace(fact, field="business_usd_per_j", value=value, unit="USD/J", source=source, kind=_derived(fact))

    def pue(self, name: str) -> Fact:
        """Return the power usage effectiveness of an operator, a site or a cloud region.

        Raises
        ------
        InputError
            Unknown.
        """
        entry = cast("Pue", self._by_region("pue", name))
        return replace(entry.fact("pue"), low=entry.best)

    def host_rate(self, accelerator: str) -> Fact:
        """Return the bandwidth between an accelerator and its host [B/s], one way.

        Raises
        ------
        InputError
            Unknown accelerator, or one without a host link.
        """
        device = self.accelerator(accelerator)
        return self.link(str(device.fact("host_link").value)).fact("bytes_per_s")

    def idle_power(self, accelerator: str) -> Fact:
        """Return the idle power of an accelerator [W].

        Where the catalog has none, the share of the thermal design power that others of its category draw (``power`` entry
        ``idle-share``); the fact then is ``derived``, or ``remembered`` where what it follows from is,
        and says so.

        Raises
        ------
        InputError
            Unknown accelerator, or neither an idle nor a thermal design power.
        """
        device = self.accelerator(accelerator)
        if device.idle_w is not None:
            return device.fact("idle_w")
        tdp = device.fact("tdp_w")
        share = self.power("idle-share").fact(f"idle_share_frac.{device.category}")
        source = f"{share.value:g} of the thermal design power of {tdp.value:g} W: {share.source}"
        return replace(tdp, field="idle_w", value=share.value * tdp.value, source=source, kind=_derived(share, tdp), note=share.note)

    def node_power(self, node: str) -> NodePower:
        """Return what a node draws without its accelerators [W], idle and at most.

        Where the catalog has no value: that of the node type that ``power_as`` names; else at most, the rated power less the devices'
        thermal design power; idle, the share of the rated power that measured nodes draw (``power`` entry ``idle-share``). Such facts
        are ``derived``, or ``remembered`` where what they follow from is, and say so.

        Raises
        ------
        InputError
            Unknown node, or no rated power to derive from.
        """
        entry = self.node(node)
        if entry.power_as and entry.base_max_w is None and entry.max_w is None:
            twin = self.node_power(entry.power_as)
            source = f"taken to be that of the {entry.power_as}: "
            idle, most = (replace(fact, name=entry.id, source=source + fact.source, kind=_derived(fact)) for fact in twin)
            return NodePower(idle, most)
        if entry.base_max_w is not None:
            most = entry.fact("base_max_w")
        else:
            rated = entry.fact("max_w")
            tdp = [self.accelerator(entry.accelerator).fact("tdp_w")] if entry.accelerator and entry.accelerators else []
            devices = entry.accelerators * sum(float(fact.value) for fact in tdp)
            value = max(float(rated.value) - devices, 0.0)
            source = f"rated {rated.value:g} W less {devices:g} W of accelerators ({rated.source})"
            most = replace(rated, field="base_max_w", value=value, source=source, kind=_derived(rated, *tdp))
        if entry.base_idle_w is not None:
            return NodePower(entry.fact("base_idle_w"), most)
        share = self.power("idle-share").fact("base_idle_share_frac")
        rated = entry.fact("max_w")
        value = min(share.value * rated.value, float(most.value))
        source = f"{share.value:g} of the rated {rated.value:g} W: {share.source}"
        return NodePower(
            replace(rated, field="base_idle_w", value=value, source=source, kind=_derived(share, rated), note=share.note), most
        )

    def listing(self, kind: str) -> list[dict[str, Any]]:
        """Return one row for each entry of a kind: name, title, the fields that tell entries apart, and how many values are unverified.

        Values are SI; the unit is in the field's name.
        """
        index = self._index(kind)
        rows = []
        for name in index.names():
            entry = index.entry(name)
            row: dict[str, Any] = {"id": name, "title": entry.title}
            for field in index.kind.headline:
                head, _, item = field.partition(".")
                value = getattr(entry, head)
                row[field] = value.get(item) if item else value
            rows.append(row | {"remembered": len(entry.remembered())})
        return rows

    def show(self, name: str, kind: str | None = None) -> Shown:
        """Return an entry with every value, unit, source and kind of source.

        Parameters
        ----------
        name : str
            Canonical name or alias, or ``"kind/name"``.
        kind : str, optional
            Where to look; every kind by default, the first that has it in the order of :meth:`kinds`.

        Raises
        ------
        InputError
            Unknown in that kind, or in every kind.
        """
        head, slash, tail = str(name).partition("/")
        if kind is None and slash and head in {n for k in KINDS.values() for n in (k.name, k.plural)}:
            kind, name = head, tail
        if kind is not None:
            entry = self.find(kind, name)
            return Shown(kind_named(kind).name, entry, tuple(entry.facts()), ())
        places = [k.name for k in KINDS.values() if self._index(k.name).known(str(name))]
        if not places:
            return self._unknown(name)
        entry = self.find(places[0], name)
        also = tuple(f"{k}/{self._index(k).known(str(name))}" for k in places[1:])
        return Shown(places[0], entry, tuple(entry.facts()), also)

    def _unknown(self, name: str) -> Shown:
        if any(word in loose(name) for word in _QUANTUM_WORDS):
            raise QUANTUM.error(name=name)
        known = {loose(n): f"{k}/{n}" for k in KINDS for n in self._index(k).names()}
        near = [known[n] for n in difflib.get_close_matches(loose(name), known, 3, 0.6)]
        hint = (
            "did you mean " + " or ".join(map(repr, near)) + "?"
            if near
            else "see 'hpcsim catalog list KIND'; kinds: " + ", ".join(self.kinds())
        )
        raise UNKNOWN_NAME.error(kind="entry", name=name, near=hint)


def overlaid(catalog: Catalog, overlays: Iterable[OverlayLike]) -> Catalog:
    """Return a catalog with further overlays on top of another's.

    Raises
    ------
    InputError
        As :class:`Catalog`.
    """
    return Catalog([*catalog._overlays, *overlays])


@cache
def default() -> Catalog:
    """Return the catalog of hpcsim with the overlays of installed plug-ins (entry-point group ``hpcsim.catalogs``)."""
    overlays: list[OverlayLike] = []
    for name in CATALOGS.names():
        item = CATALOGS.get(name)
        overlays.append(item() if callable(item) else item)
    return Catalog(overlays)
