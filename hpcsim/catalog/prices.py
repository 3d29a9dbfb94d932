"""Hourly prices and spot interruptions from the long tables: what a provider asks, by instance and region."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.economy import Price
from hpcsim.catalog.entries import Fact
from hpcsim.catalog.files import loose, rows_of

__all__ = ["Offer", "Term", "hourly", "interruption", "offers"]

NO_PRICE = problem_kind("no-catalog-price", "the catalog has no {term} price of {what}", "{there_is}")
NO_SPOT = problem_kind("no-spot-record", "the catalog has no spot interruption rate of {what}", "{there_is}")

Term = Literal["on-demand", "1-year", "3-year", "spot"]
_COLUMNS: dict[str, str] = {"on-demand": "on_demand", "1-year": "one_year", "3-year": "three_year", "spot": "spot"}
_HOUR = 3600.0


class Offer(NamedTuple):
    """An instance in a region: USD per hour of the whole instance, by term."""

    provider: str
    region: str
    instance: str
    accelerator: str
    accelerators: int
    vcpus: str
    memory_gb: str
    hourly: dict[str, float]
    date: str
    source: str
    spot_source: str


@cache
def offers() -> tuple[Offer, ...]:
    """Return every row of ``cloud_prices.csv``."""
    found = []
    for row in rows_of("cloud_prices.csv"):
        prices = {term: float(row[column]) for term, column in _COLUMNS.items() if row[column]}
        fixed = (row["provider"], row["region"], row["instance"], row["accelerator"], int(row["accelerators"] or 0), row["vcpus"], row["memory_gb"])
        found.append(Offer(*fixed, prices, row["date"], row["source"], row["spot_source"]))
    return tuple(found)


def _cited(provenance: str, sources: Mapping[str, str]) -> tuple[str, str]:
    kind, _, text = sources[provenance].partition(" ")
    return text, kind


def _what(**parts: str | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value) or "anything"


def _there_is(fitting: Sequence[Offer], entries: Iterable[Price], provider: str, accelerator: str | None, region: str | None, term: str) -> str:
    """Say what could be had instead, by the first part of the question that fails."""
    table = offers()
    providers = sorted({o.provider for o in table} | {e.provider for e in entries if e.provider})
    if loose(provider) not in {loose(p) for p in providers}:
        return "providers: " + ", ".join(providers)
    terms = sorted({t for o in fitting for t in o.hourly})
    if region and not any(loose(o.region) == loose(region) for o in fitting) and fitting:
        regions = sorted({o.region for o in fitting})
        return f"{len(regions)} regions have it: " + ", ".join(regions[:12]) + (" …" if len(regions) > 12 else "")
    if fitting and term not in terms:
        return "terms: " + ", ".join(terms)
    sellers = sorted({o.provider for o in table if accelerator and o.accelerator == accelerator})
    sellers += sorted({str(e.provider) for e in entries if accelerator and e.accelerator == accelerator and e.provider} - set(sellers))
    return "sold by: " + ", ".join(sellers) if sellers else "give the price in the scenario"


def hourly(
    entries: Sequence[Price], *, provider: str, accelerator: str | None, instance: str | None, region: str | None, term: Term
) -> Fact:
    """Return a price [USD/s]; see :meth:`hpcsim.catalog.lookup.Catalog.price`."""
    fitting = [
        offer
        for offer in offers()
        if loose(offer.provider) == loose(provider)
        and (accelerator is None or offer.accelerator == accelerator)
        and (instance is None or loose(offer.instance) == loose(instance))
        and (accelerator is not None or instance is not None)
    ]
    cheapest: dict[str, tuple[float, Offer]] = {}
    exact = {offer.region for offer in fitting if region and offer.region.casefold() == region.casefold()}
    for offer in fitting:
        if term not in offer.hourly or (region and (offer.region not in exact if exact else loose(offer.region) != loose(region))):
            continue
        price = offer.hourly[term] / (offer.accelerators if accelerator else 1) / _HOUR
        if offer.region not in cheapest or price < cheapest[offer.region][0]:
            cheapest[offer.region] = (price, offer)
    if cheapest:
        return _from_offers(cheapest, term, region)
    own = [e for e in entries if e.provider and loose(e.provider) == loose(provider) and e.accelerator == accelerator and term in e.usd_per_s]
    if own and accelerator and not region:
        entry, fact = own[0], own[0].fact(f"usd_per_s.{term}")
        low, high = entry.low_usd_per_s.get(term), entry.high_usd_per_s.get(term)
        n = entry.devices
        return Fact(fact.name, fact.field, fact.value / n, fact.unit, fact.source, fact.kind, low and low / n, high and high / n, entry.note)
    hint = _there_is(fitting, entries, provider, accelerator, region, term)
    raise NO_PRICE.error(term=term, what=_what(provider=provider, accelerator=accelerator, instance=instance, region=region), there_is=hint)


def _from_offers(cheapest: Mapping[str, tuple[float, Offer]], term: Term, region: str | None) -> Fact:
    ranked = sorted(((price, name, offer) for name, (price, offer) in cheapest.items()), key=lambda item: item[:2])
    prices = [price for price, _, _ in ranked]
    offer = ranked[len(ranked) // 2][2]
    source, kind = _cited(offer.spot_source if term == "spot" else offer.source, _row_sources())
    place = f"in {ranked[0][1]}" if region or len(prices) == 1 else f"median of {len(prices)} regions"
    note = f"{offer.instance}, {place}, {offer.date}"
    name = f"{offer.provider}/{offer.accelerator or offer.instance}"
    value = statistics.median(prices)
    return Fact(name, f"usd_per_s.{term}", value, "USD/s", source, kind, prices[0], prices[-1], note)


@cache
def _row_sources() -> dict[str, str]:
    from hpcsim.catalog.files import KINDS, Index, _cited as full

    index = Index(KINDS["price"])
    rows: dict[str, str] = full(index.settings["row_sources"], index.references)
    return rows


@cache
def _spot_rows() -> tuple[dict[str, str], ...]:
    return tuple(rows_of("spot_interruption.csv"))


def interruption(references: Mapping[str, str], *, instance: str | None, accelerator: str | None, region: str | None) -> Fact:
    """Return the monthly interruption share of AWS spot instances; see :meth:`hpcsim.catalog.lookup.Catalog.spot_interruption`."""
    rows = [
        row
        for row in _spot_rows()
        if (instance is None or row["instance"] == instance)
        and (accelerator is None or row["accelerator"] == accelerator)
        and (region is None or row["region"] == region)
    ]
    if not rows:
        known = sorted({row["accelerator"] for row in _spot_rows()})
        what = _what(instance=instance, accelerator=accelerator, region=region)
        raise NO_SPOT.error(what=what, there_is="AWS publishes it for instances with " + ", ".join(known))
    middles = [(float(row["low"]) + float(row["high"])) / 2 for row in rows]
    low, high = min(float(row["low"]) for row in rows), max(float(row["high"]) for row in rows)
    note = f"median of {len(rows)} rows, each the middle of its published bin; the bin over 20 % is taken to end at 100 %"
    name = f"aws/{instance or accelerator or 'all'}"
    return Fact(name, "spot_interruption_frac_per_month", statistics.median(middles), "", references["spot-advisor"], "read", low, high, note)
