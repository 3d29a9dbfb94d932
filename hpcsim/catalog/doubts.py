"""How far the catalog's figures may be off: what its own entries spread by, or a declared class default, each with its source.

Every doubt is a factor on a figure, log-normal around 1: 80 % of the values lie between the figure divided and multiplied by ``factor``. Where
one cause moves several figures (the market for one accelerator) they share one doubt, so that they move together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hpcsim.base.errors import InputError
from hpcsim.base.reuse import kept
from hpcsim.catalog.entries import Fact
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.prices import offers

__all__ = [
    "DEFAULT_FACTORS",
    "Z80",
    "Doubt",
    "class_doubt",
    "embodied_doubt",
    "failure_doubt",
    "of_fact",
    "purchase_doubt",
    "rent_doubt",
    "site_doubt",
]

Z80 = 1.2815515655446004
"""Standard normal quantile of 90 %: two of them bound an 80 % interval."""

DEFAULT_FACTORS: dict[str, tuple[float, str]] = {
    "rent": (1.3, "class default, a judgement: contracts and dates move what is paid away from a list price"),
    "purchase": (1.25, "class default: a published price of one buyer; discounts and options of another"),
    "purchase, from memory": (1.5, "class default: a price from memory, unverified"),
    "network": (1.4, "class default: list prices of switches and optics, of which large buyers pay a part"),
    "rented storage": (1.2, "class default: list prices by region and class"),
    "spot interruptions": (2.0, "class default: published in bins, as a mean of a month, for one provider"),
    "carbon intensity": (1.15, "class default: the yearly mean of a grid against the years beside it"),
    "electricity price": (1.2, "class default: contracts around the mean of a country or state"),
    "power usage effectiveness": (1.05, "class default: a published mean against the hall that is built"),
}
"""What is assumed where the catalog has a single figure: 80 % factor, and on what ground. They are judgements, not measurements."""


@dataclass(frozen=True)
class Doubt:
    """How far a figure may be off.

    Attributes
    ----------
    name : str
        Of the cause: figures under one name move together.
    factor : float
        80 % of the values lie between the figure divided and multiplied by it; at least 1.
    source : str
        What the factor is from.
    computed : bool
        From the spread of the catalog's entries; else a class default, or a prediction's own error.
    """

    name: str
    factor: float
    source: str
    computed: bool = False

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.factor) / Z80


def class_doubt(name: str, kind: str) -> Doubt:
    """Return the class default of a kind of figure, a key of :data:`DEFAULT_FACTORS`."""
    factor, source = DEFAULT_FACTORS[kind]
    return Doubt(name, factor, source)


def _spread(name: str, values: Iterable[float], what: str, otherwise: Doubt | None) -> Doubt | None:
    """Return the doubt of which values are draws: their standard deviation of the logarithm; ``otherwise`` where there are fewer than three."""
    logs = [math.log(value) for value in values if value > 0]
    if len(logs) < 3:
        return otherwise
    return Doubt(name, max(math.exp(Z80 * statistics.stdev(logs)), 1.01), f"catalog: the spread of {len(logs)} {what}", True)


def _regional_spreads(accelerator: str, term: str) -> list[float]:
    """Return the logarithms of each region's cheapest price over its provider's median, over all providers of an accelerator."""
    by_provider: dict[str, dict[str, float]] = {}
    for offer in offers():
        if offer.accelerator == accelerator and term in offer.hourly and offer.accelerators:
            price = offer.hourly[term] / offer.accelerators
            regions = by_provider.setdefault(offer.provider, {})
            regions[offer.region] = min(price, regions.get(offer.region, math.inf))
    found: list[float] = []
    for regions in by_provider.values():
        if len(regions) >= 3:
            middle = statistics.median(regions.values())
            found += [math.log(price / middle) for price in regions.values() if price > 0]
    return found


def rent_doubt(accelerator: str, term: str = "on-demand") -> Doubt:
    """Return the doubt about the hourly price of an accelerator, one for all its offers: the market moves them together.

    The spread between the regions of its providers stands for it, and the class default where that is less: a list price is known, what will be
    paid for the accelerator is not.
    """
    name = f"rent of {accelerator or 'nodes'}"
    otherwise = class_doubt(name, "rent")

    def made() -> Doubt:
        logs = _regional_spreads(accelerator, term)
        if len(logs) < 6:
            return otherwise
        factor = math.exp(Z80 * math.sqrt(statistics.fmean(log * log for log in logs)))
        if factor <= otherwise.factor:
            return otherwise
        return Doubt(name, factor, f"catalog: {len(logs)} regions' {term} prices around their provider's median", True)

    return kept("rent doubt", lambda: (accelerator, term), made)


def purchase_doubt(fact: Fact | None, name: str) -> Doubt:
    """Return the doubt about a purchase price, wider where it is from memory."""
    remembered = fact is not None and fact.kind == "remembered"
    return class_doubt(f"purchase of {name}", "purchase, from memory" if remembered else "purchase")


def failure_doubt(catalog: Catalog) -> Doubt:
    """Return the doubt about a failure rate: how much published fleets and runs differ."""

    def made() -> Doubt:
        rates = [getattr(catalog.find("reliability", name), "failures_per_1000_node_days", None) for name in catalog.names("reliability")]
        found = _spread("failure rate", [float(rate) for rate in rates if rate], "fleets' and runs' failures by node", None)
        return found or Doubt("failure rate", 2.0, "class default: fleets differ by a factor of two")

    return kept("failure doubt", lambda: id(catalog), made)


def embodied_doubt(catalog: Catalog) -> Doubt:
    """Return the doubt about the carbon of making a device: how much published figures of like devices differ."""

    def made() -> Doubt:
        entries: list[Any] = [catalog.find("carbon", name) for name in catalog.names("carbon")]
        figures = [float(e.embodied_kg_co2e) for e in entries if e.category == "embodied" and e.embodied_kg_co2e is not None]
        found = _spread("embodied carbon", figures, "figures of a data-centre GPU", None)
        return found or Doubt("embodied carbon", 1.7, "class default: few makers publish it")

    return kept("embodied doubt", lambda: id(catalog), made)


def of_fact(fact: Fact | None, name: str, kind: str) -> Doubt:
    """Return the doubt about a fact with a range of its own, or else the class default.

    Parameters
    ----------
    fact : Fact or None
        Its ``low`` and ``high`` are taken as the ends of 90 %.
    name : str
        Of the cause.
    kind : str
        A key of :data:`DEFAULT_FACTORS`.
    """
    if fact is not None and isinstance(fact.value, (int, float)) and fact.value > 0:
        low, high = (float(fact.value if end is None else end) for end in (fact.low, fact.high))
        if 0 < low < high:
            return Doubt(name, max((high / low) ** (0.5 * Z80 / 1.6448536269514722), 1.001), f"catalog: {fact.name}, {fact.source}", True)
    return class_doubt(name, kind)


def site_doubt(look_up: Any, region: str, name: str, kind: str) -> Doubt:
    """Return the doubt about a site's figure that is looked up by region."""
    try:
        return of_fact(look_up(region), name, kind)
    except InputError:
        return class_doubt(name, kind)
