"""Where nodes can come from: owned at a site, or rented of a cloud, each with its price, place, term and dangers."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.catalog.economy import Price as PriceEntry
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.markets import country_in, country_of, read_price_list, sold
from hpcsim.catalog.prices import Offer, offers
from hpcsim.cost.facility import climate_pue
from hpcsim.cost.money import YEAR_S, annual_capital
from hpcsim.run.hours import Hours, read_hours
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.plan import OwnerSpec, SiteOptionSpec

__all__ = ["MONTH_S", "Place", "Source", "Terms", "cloud_place", "places_of", "sources_of", "terms_of"]

NO_PROVIDER = problem_kind("plan-provider", "no price list names the provider {name!r}", "{hint}")

MONTH_S = 2_629_746.0
"""A twelfth of the mean year, as the unit ``month`` counts it."""

COMMITTED_S: Mapping[str, float] = {"1-year": YEAR_S, "3-year": 3 * YEAR_S}
_INDUSTRY_PUE = "industry"


@dataclass(frozen=True)
class Place:
    """A site of one's own.

    Attributes
    ----------
    name, country : str
    pue : float
    pue_from : str
        Where it is from: measured, climate, or the catalog entry.
    carbon_kg_co2e_per_j, electricity_usd_per_j : float or None
    water_l_per_j : float
    power_w, racks : float
        What the site can give; infinite where no limit is given.
    rack_w : float
        IT power of a rack.
    rent_usd_per_w_s : float
        Space, by IT power.
    hours : Hours or None
        Hourly intensities and prices.
    """

    name: str
    country: str
    pue: float
    pue_from: str
    carbon_kg_co2e_per_j: float | None
    electricity_usd_per_j: float | None
    water_l_per_j: float
    power_w: float
    racks: float
    rack_w: float
    rent_usd_per_w_s: float
    hours: Hours | None = None


@dataclass(frozen=True)
class Source:
    """One way to come by the nodes of one type, at one place.

    Attributes
    ----------
    owner, kind : str
        Name of the option; owned, on-demand, 1-year, 3-year or spot.
    provider, place, country : str
        ``own`` or the cloud; site or region; ISO code, "" where unknown.
    usd_per_device_s : float
        Rent; for owned nodes what is bound: capital, maintenance, staff and space, by accelerator.
    outlay_usd_per_device : float
        Purchase price; 0 for rented ones.
    usd_per_s_of_usd : float
        What a dollar of further purchase (network, storage) binds a second: capital and maintenance; 0 for rented ones.
    term_s : float
        Time for which is paid at least.
    interruptions_per_node_s : float
    pue, water_l_per_j : float
    carbon_kg_co2e_per_j : float or None
    usd_per_j : float or None
        Price of the electricity that comes on top; None where the price covers it.
    power_w, racks, rack_w : float
        Limits of the place.
    delay_s : float
        Time from the order to use.
    words : str
        The price with its date and source.
    most : float
        Accelerators that can be had.
    """

    owner: str
    kind: str
    provider: str
    place: str
    country: str
    usd_per_device_s: float
    outlay_usd_per_device: float
    usd_per_s_of_usd: float
    term_s: float
    interruptions_per_node_s: float
    pue: float
    water_l_per_j: float
    carbon_kg_co2e_per_j: float | None
    usd_per_j: float | None
    power_w: float
    racks: float
    rack_w: float
    delay_s: float
    words: str
    most: float = math.inf

    @property
    def names(self) -> tuple[str, ...]:
        """Names under which limits may speak of the place."""
        return (self.place, f"{self.provider}-{self.place}")

    @property
    def label(self) -> str:
        """Owner and place, for a reader."""
        return f"{self.owner} at {self.place}" if self.provider == "own" else f"{self.owner} of {self.provider} in {self.place}"

    def acquired(self, machine: str, use: str, owner: str | None = None) -> str:
        """Return what to do to have a machine from here, for a reader: buy or rent it.

        Parameters
        ----------
        machine : str
            Its nodes in words, for
        use : str
            the goal.
        owner : str, optional
            Way to come by it, where it is not this source's alone.
        """
        how = owner or self.owner
        if self.provider == "own":
            return f"{'buy' if self.kind == 'owned' else 'rent'} {machine} for {use}, {how} at {self.place}"
        place = "on the market" if self.provider == "market" else f"from {self.provider} in {self.place}"
        return f"rent {machine} for {use} {place}, {how}"


@dataclass(frozen=True)
class Terms:
    """What all sources share: the catalog's figures of ownership, price lists, notes."""

    catalog: Catalog
    rows: tuple[Offer, ...]
    sites: tuple[Place, ...]
    owners: Mapping[str, OwnerSpec]
    interest: float
    maintenance: float
    staff_per_device: float
    staff_usd: float
    cited: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


def _fact(catalog: Catalog, name: str, key: str, notes: list[str]) -> float:
    entry = catalog.find("price", name)
    fact = entry.fact(key)
    if fact.kind == "remembered":
        notes.append(f"{entry.title} ({key.replace('_', ' ')}): {fact.value:g}, from memory and unverified.")
    return float(fact.value)


def _pue(spec: SiteOptionSpec, catalog: Catalog) -> tuple[float, str]:
    if spec.pue is not None:
        return spec.pue, "measured"
    if spec.wet_bulb is not None:
        return climate_pue(spec.wet_bulb), f"climate, {spec.wet_bulb:g} °C wet bulb"
    for name in (spec.region, _INDUSTRY_PUE):
        try:
            return float(catalog.pue(str(name)).value), f"catalog, {name}"
        except InputError:
            continue
    return 1.0, "unknown"


def _known(look_up: Any, name: str | None) -> float | None:
    if not name:
        return None
    try:
        return float(look_up(name).value)
    except InputError:
        return None


def _first_known(look_up: Any, *names: str | None) -> float | None:
    return next((value for name in names if (value := _known(look_up, name)) is not None), None)


def places_of(scenario: Scenario, catalog: Catalog, notes: list[str]) -> tuple[Place, ...]:
    """Return the sites of a plan; the cluster's own where the plan names none.

    Raises
    ------
    InputError
        An hourly file that cannot be read.
    """
    specs = dict(scenario.plan.options.sites)
    if not specs:
        site = scenario.cluster.site
        specs = {
            "site": SiteOptionSpec(region=site.region, pue=site.pue, carbon=site.carbon, electricity=site.electricity, hourly=site.hourly)
        }
    rent = _fact(catalog, "colocation", "usd_per_kw_month", notes) / 1e3 / MONTH_S if specs else 0.0
    found, problems = [], Problems()
    for name, spec in specs.items():
        hours = None
        if spec.hourly is not None:
            try:
                hours = read_hours(scenario.folder / spec.hourly, name=spec.hourly)
            except InputError as error:
                problems.absorb(error, f"plan.options.sites.{name}.hourly")
        pue, origin = _pue(spec, catalog)
        country = (spec.country or country_in(catalog, spec.region)).upper()
        carbon = spec.carbon if spec.carbon is not None else hours.mean_carbon if hours else None
        price = spec.electricity if spec.electricity is not None else hours.mean_price if hours else None
        found.append(
            Place(
                name=name,
                country=country,
                pue=pue,
                pue_from=origin,
                carbon_kg_co2e_per_j=carbon if carbon is not None else _first_known(catalog.carbon_intensity, spec.region, country),
                electricity_usd_per_j=price if price is not None else _first_known(catalog.electricity_price, spec.region, country),
                water_l_per_j=spec.water or 0.0,
                power_w=spec.power or math.inf,
                racks=float(spec.racks or math.inf),
                rack_w=spec.rack_power,
                rent_usd_per_w_s=spec.rent / 1e3 if spec.rent is not None else rent,
                hours=hours,
            )
        )
    problems.raise_if_any()
    return tuple(found)


def terms_of(scenario: Scenario, catalog: Catalog) -> Terms:
    """Return what all sources of a plan share.

    Raises
    ------
    InputError
        Unreadable price lists or hourly files; providers that no list names.
    """
    notes: list[str] = []
    plan, problems = scenario.plan, Problems()
    rows: list[Offer] = list(offers())
    for i, file in enumerate(plan.options.prices):
        try:
            rows += read_price_list(scenario.folder / file, catalog, name=file)
        except InputError as error:
            problems.absorb(error, f"plan.options.prices.{i}")
    known = {o.provider.casefold() for o in rows}
    for name, spec in plan.options.owners.items():
        for provider in spec.providers or ():
            if provider.casefold() not in known:
                hint = "known: " + ", ".join(sorted(known))
                problems.add(NO_PROVIDER(path=f"plan.options.owners.{name}.providers", name=provider, hint=hint))
    sites: tuple[Place, ...] = ()
    try:
        sites = places_of(scenario, catalog, notes)
    except InputError as error:
        problems.absorb(error)
    problems.raise_if_any()
    return Terms(
        catalog=catalog,
        rows=tuple(rows),
        sites=sites,
        owners=plan.options.owners,
        interest=_fact(catalog, "capital-cost", "rate_frac", notes),
        maintenance=_fact(catalog, "maintenance", "rate_frac", notes),
        staff_per_device=_fact(catalog, "staff", "staff_per_1000_accelerators", notes) / 1000.0,
        staff_usd=_fact(catalog, "staff", "staff_usd", notes),
        cited=catalog.price_sources(),
        notes=notes,
    )


def _interruptions_per_s(terms: Terms, owner: OwnerSpec, accelerator: str, offer: Offer) -> float:
    """Return how often a spot node is taken [1/s], from the share p of nodes taken in a month: −ln(1 − p)/month."""
    if owner.interruptions is not None:
        return owner.interruptions / MONTH_S
    region = offer.region if offer.provider == "aws" else None
    for words in ({"accelerator": accelerator, "region": region}, {"accelerator": accelerator}, {}):
        try:
            fact = terms.catalog.spot_interruption(**words)
        except InputError:
            continue
        if offer.provider != "aws" or not words:
            terms.note(f"Spot interruptions of {offer.provider} are not published; those of AWS stand in ({fact.name}).")
        return -math.log1p(-min(float(fact.value), 0.99)) / MONTH_S
    return 0.0


def cloud_place(terms: Terms, provider: str, region: str) -> tuple[str, float, float | None]:
    """Return country, PUE and carbon intensity of a cloud's region."""
    country = country_of(provider, region)
    pue = None
    for name in (f"{provider}-{region}", provider, _INDUSTRY_PUE):
        pue = _known(terms.catalog.pue, name)
        if pue is not None:
            if name == _INDUSTRY_PUE:
                terms.note(f"The PUE of {provider} is not known; the industry's mean, {pue:g}, stands in.")
            break
    carbon = None
    for name in (f"{provider}-{region}", region if provider == "azure" else "", country, "world-average"):
        carbon = _known(terms.catalog.carbon_intensity, name)
        if carbon is not None:
            break
    return country, pue or 1.0, carbon


def _rented(terms: Terms, name: str, owner: OwnerSpec, accelerator: str, per_node: int) -> list[Source]:
    rows = [o for o in terms.rows if owner.providers is None or o.provider.casefold() in {p.casefold() for p in owner.providers}]
    found = [(price, offer, "") for price, offer in sold(rows, accelerator, owner.kind, per_node)]
    if owner.kind in COMMITTED_S and owner.discount is not None:
        have = {(offer.provider, offer.region) for _, offer, _ in found}
        share = f", less the assumed discount of {owner.discount:.0%}"
        rest = sold(rows, accelerator, "on-demand", per_node)
        found += [(p * (1 - owner.discount), o, share) for p, o in rest if (o.provider, o.region) not in have]
    sources = []
    for price, offer, extra in found:
        names = (offer.region.casefold(), f"{offer.provider}-{offer.region}".casefold())
        if owner.regions and not any(fnmatch.fnmatchcase(n, w.casefold()) for n in names for w in owner.regions):
            continue
        country, pue, carbon = cloud_place(terms, offer.provider, offer.region)
        rate = _interruptions_per_s(terms, owner, accelerator, offer) if owner.kind == "spot" else 0.0
        words = f"{offer.instance}, {price * 3600:.3f} USD an accelerator-hour{extra}; {offer.date or 'undated'}; {terms.cited.get(offer.source, offer.source)}"
        sources.append(
            Source(
                name, owner.kind, offer.provider, offer.region, country, price, 0.0, 0.0, COMMITTED_S.get(owner.kind, 0.0), rate,
                pue, 0.0, carbon, None, math.inf, math.inf, 40e3, 0.0, words,
            )
        )  # fmt: skip
    return sources


def _market(terms: Terms, name: str, owner: OwnerSpec, accelerator: str) -> list[Source]:
    """Return what entries of the catalog sell without a table: prices that go with no region."""
    if owner.providers is not None or owner.regions is not None:
        return []
    sources = []
    for entry_name in terms.catalog.names("price"):
        entry = terms.catalog.find("price", entry_name)
        if not isinstance(entry, PriceEntry) or entry.provider != "market" or entry.accelerator != accelerator:
            continue
        if owner.kind in entry.usd_per_s:
            fact = entry.fact(f"usd_per_s.{owner.kind}")
            price = float(fact.value) / entry.devices
            pue, carbon = _known(terms.catalog.pue, _INDUSTRY_PUE) or 1.0, _known(terms.catalog.carbon_intensity, "world-average")
            words = f"{entry.title}, {price * 3600:.3f} USD an accelerator-hour; {entry.date or 'undated'}; {fact.source}"
            sources.append(
                Source(
                    name, owner.kind, "market", "anywhere", "", price, 0.0, 0.0, COMMITTED_S.get(owner.kind, 0.0), 0.0,
                    pue, 0.0, carbon, None, math.inf, math.inf, 40e3, 0.0, words,
                )
            )  # fmt: skip
    return sources


def _owned(terms: Terms, name: str, owner: OwnerSpec, node: Mapping[str, Any]) -> list[Source]:
    if node["price_usd"] is None:
        terms.note(f"{node['name']}: no purchase price is known, so it cannot be owned; add plan.options.nodes.{node['name']}.price.")
        return []
    per_node, years = node["per_node"] or 1, owner.lifetime / YEAR_S
    capex = node["price_usd"] / per_node
    rate = owner.interest if owner.interest is not None else terms.interest
    upkeep = owner.maintenance if owner.maintenance is not None else terms.maintenance
    staff = (owner.staff / 1000.0 if owner.staff is not None else terms.staff_per_device) * terms.staff_usd
    each = (float(annual_capital(1.0, rate_frac=rate, years=years, salvage_frac=owner.salvage)) + upkeep) / YEAR_S
    sources = []
    for site in terms.sites:
        fixed = each * capex + staff / YEAR_S + site.rent_usd_per_w_s * node["peak_w"] / per_node
        words = (
            f"{node['price_usd']:,.0f} USD a node over {years:.3g} years at {rate:.3g} interest, maintenance {upkeep:.3g} a year, "
            f"staff {staff:,.0f} USD and space {site.rent_usd_per_w_s * 1e3 * MONTH_S:,.0f} USD/kW/month; {node['price_from']}"
        )
        sources.append(
            Source(
                name, "owned", "own", site.name, site.country, fixed, capex, each, owner.lifetime, 0.0, site.pue, site.water_l_per_j,
                site.carbon_kg_co2e_per_j, site.electricity_usd_per_j or 0.0, site.power_w, site.racks, site.rack_w, node["lead_s"], words,
            )
        )  # fmt: skip
        if site.electricity_usd_per_j is None:
            terms.note(f"Site {site.name}: no price of electricity is known, so none is counted.")
    return sources


def sources_of(terms: Terms, node: Mapping[str, Any]) -> Sequence[Source]:
    """Return every source of a node type.

    Parameters
    ----------
    node : mapping
        ``name``, ``accelerator``, ``per_node``, ``price_usd`` (or None), ``price_from``, ``peak_w`` (IT power of a node) and ``lead_s``.
    """
    found: list[Source] = []
    for name, owner in terms.owners.items():
        if owner.kind == "owned":
            found += _owned(terms, name, owner, node)
        elif node["accelerator"]:
            got = _rented(terms, name, owner, node["accelerator"], node["per_node"])
            got = got or _market(terms, name, owner, node["accelerator"])
            if not got:
                terms.note(f"{node['name']}: no {owner.kind} price of {node['accelerator']} is known for {name}.")
            found += got
    return [dataclasses.replace(s, most=float(most)) if (most := terms.owners[s.owner].most) else s for s in found]
