"""Hourly prices and spot interruptions from the long tables: what a provider asks, by instance and region."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.entries import Fact
from hpcsim.catalog.files import loose, rows_of

if TYPE_CHECKING:
    from hpcsim.catalog.economy import Price

__all__ = ["Offer", "Term", "hourly", "interruption", "offers", "summaries"]

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
    accelerators: float
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
        fixed = (
            row["provider"],
            row["region"],
            row["instance"],
            row["accelerator"],
            float(row["accelerators"] or 0),
            row["vcpus"],
            row["memory_gb"],
        )
        found.append(Offer(*fixed, prices, row["date"], row["source"], row["spot_source"]))
    return tuple(found)


def _what(**parts: str | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value) or "anything"


def _there_is(
    fitting: Sequence[Offer], entries: Iterable[Price], provider: str, accelerator: str | None, region: str | None, term: str
) -> str:
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


@cache
def _by_provider() -> dict[str, list[Offer]]:
    found: dict[str, list[Offer]] = {}
    for offer in offers():
        found.setdefault(loose(offer.provider), []).append(offer)
    return found


def _fitting(provider: str, accelerator: str | None, instance: str | None) -> list[Offer]:
    if accelerator is None and instance is None:
        return []
    wanted = loose(instance) if instance else ""
    return [
        offer
        for offer in _by_provider().get(loose(provider), [])
        if (accelerator is None or offer.accelerator == accelerator) and (instance is None or loose(offer.instance) == wanted)
    ]


def _in_region(fitting: list[Offer], region: str | None) -> list[Offer]:
    if region is None:
        return fitting
    exact = [offer for offer in fitting if offer.region.casefold() == region.casefold()]
    return exact or [offer for offer in fitting if loose(offer.region) == loose(region)]


def _cheapest(fitting: Iterable[Offer], term: str, *, each: bool) -> dict[str, tuple[float, Offer]]:
    """Return price [USD/s] and offer of the cheapest instance in each region; of one accelerator with ``each``."""
    found: dict[str, tuple[float, Offer]] = {}
    for offer in fitting:
        if term not in offer.hourly:
            continue
        price = offer.hourly[term] / (offer.accelerators if each else 1) / _HOUR
        if offer.region not in found or price < found[offer.region][0]:
            found[offer.region] = (price, offer)
    return found


def hourly(
    entries: Sequence[Price],
    row_sources: Mapping[str, str],
    *,
    provider: str,
    accelerator: str | None,
    instance: str | None,
    region: str | None,
    term: Term,
) -> Fact:
    """Return a price [USD/s]; see :meth:`hpcsim.catalog.lookup.Catalog.price`."""
    fitting = _fitting(provider, accelerator, instance)
    cheapest = _cheapest(_in_region(fitting, region), term, each=accelerator is not None)
    if cheapest:
        return _from_offers(cheapest, row_sources, term, region)
    own = [
        e for e in entries if e.provider and loose(e.provider) == loose(provider) and e.accelerator == accelerator and term in e.usd_per_s
    ]
    if own and accelerator and not region:
        entry, fact = own[0], own[0].fact(f"usd_per_s.{term}")
        low, high = entry.low_usd_per_s.get(term), entry.high_usd_per_s.get(term)
        n = entry.devices
        return Fact(
            fact.name, fact.field, fact.value / n, fact.unit, fact.source, fact.kind, low and low / n, high and high / n, entry.note
        )
    hint = _there_is(fitting, entries, provider, accelerator, region, term)
    raise NO_PRICE.error(term=term, what=_what(provider=provider, accelerator=accelerator, instance=instance, region=region), there_is=hint)


def _from_offers(cheapest: Mapping[str, tuple[float, Offer]], row_sources: Mapping[str, str], term: str, region: str | None) -> Fact:
    ranked = sorted(((price, name, offer) for name, (price, offer) in cheapest.items()), key=lambda item: item[:2])
    prices = [price for price, _, _ in ranked]
    offer = ranked[len(ranked) // 2][2]
    kind, _, source = row_sources[offer.spot_source if term == "spot" else offer.source].partition(" ")
    place = f"in {ranked[0][1]}" if region or len(prices) == 1 else f"median of {len(prices)} regions"
    note = f"{offer.instance}, {place}, {offer.date}"
    name = f"{offer.provider}/{offer.accelerator or offer.instance}"
    value = statistics.median(prices)
    return Fact(name, f"usd_per_s.{term}", value, "USD/s", source, kind, prices[0], prices[-1], note)


def summaries(row_sources: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Return an entry for each provider and accelerator of the table: median, cheapest and dearest region, by term."""
    pairs = sorted({(offer.provider, offer.accelerator) for offer in offers() if offer.accelerator})
    found: dict[str, dict[str, object]] = {}
    for provider, accelerator in pairs:
        facts: dict[str, Fact] = {}
        fitting = _fitting(provider, accelerator, None)
        for term in _COLUMNS:
            cheapest = _cheapest(fitting, term, each=True)
            if cheapest:
                facts[term] = _from_offers(cheapest, row_sources, term, None)
        found[f"{provider}-{accelerator}"] = {
            "title": f"{provider} {accelerator}, an hour of one",
            "category": "hourly",
            "provider": provider,
            "accelerator": accelerator,
            "hourly": {term: f"{fact.value * _HOUR:.6g} USD/h" for term, fact in facts.items()},
            "low": {term: f"{(fact.low or 0.0) * _HOUR:.6g} USD/h" for term, fact in facts.items()},
            "high": {term: f"{(fact.high or 0.0) * _HOUR:.6g} USD/h" for term, fact in facts.items()},
            "note": "; ".join(f"{term}: {fact.note}" for term, fact in facts.items()),
            "sources": {"all": f"{facts['on-demand'].kind} {facts['on-demand'].source}"}
            | {f"{key}.{term}": f"{fact.kind} {fact.source}" for term, fact in facts.items() for key in ("hourly", "low", "high")},
        }
    return found


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
    middles = [(float(row["low"]) + float(row["high"])) / 2 if row["high"] else float(row["low"]) for row in rows]
    low = min(float(row["low"]) for row in rows)
    high = max(float(row["high"]) if row["high"] else 1.0 for row in rows)
    note = f"median of {len(rows)} rows, each the middle of its published bin; of the open bin its lower end"
    name = f"aws/{instance or accelerator or 'all'}"
    return Fact(
        name, "spot_interruption_frac_per_month", statistics.median(middles), "", references["spot-advisor"], "read", low, high, note
    )
