"""How sure a run's figures are: 80 % intervals from what its predictions, and the catalog's figures that it rests on, may be off by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcsim.catalog.doubts import rent_doubt, site_doubt
from hpcsim.cost.step_cost import Z80
from hpcsim.results.quantities import quantity
from hpcsim.run.accounting import Account
from hpcsim.run.bind import priced_as
from hpcsim.run.record import Record
from hpcsim.run.service_ranges import service_ranges
from hpcsim.workload.serving import ServingPlan
from hpcsim.workload.training import TrainingPlan

__all__ = ["POWER_SIGMA", "ranges_of", "wide_notes"]

POWER_SIGMA = 0.10
"""Standard deviation of the logarithm of modelled power: activity-based models of accelerators miss measured power by about 10 %."""


WIDE = 3.0
"""From how many times a figure the upper end of its range is told in a note."""


def wide_notes(summary: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say which figures may well be a multiple of what is predicted: in the queue's steep part slow passes cost the most.

    Parameters
    ----------
    summary, ranges : mapping
        Figures and their 80 % intervals.
    """
    wide = {key: high / summary[key] for key, (_, high) in ranges.items() if summary[key] > 0 and high > WIDE * summary[key]}
    if not wide:
        return []
    named = ", ".join(f"{quantity(key).label} (up to {times:.2g} times)" for key, times in wide.items())
    return [f"Beware: within its 80 % range may be over {WIDE:.0f} times the figure: {named}. Plan for the upper end, or for more room."]


def ranges_of(record: Record, summary: Mapping[str, Any], done: Account) -> dict[str, tuple[float, float]]:
    """80 % intervals of a single training run's or service's figures, from the error model of its step and of modelled power, and from what the
    catalog's prices and the grid's carbon may be off by; log-normal, to first order in the parts of the bill."""
    item = record.items[0] if len(record.items) == 1 else None
    if item is not None and isinstance(item.plan, ServingPlan) and not record.batch:
        return _of_service(item.plan, record, summary, done)
    if item is None or not isinstance(item.plan, TrainingPlan) or record.batch:
        return {}
    cost = item.plan.cost
    low, high = float(cost.low_s) / float(cost.step_time_s), float(cost.high_s) / float(cost.step_time_s)
    sigma = math.log(high) / Z80
    energy, carbon = math.hypot(sigma, POWER_SIGMA), math.hypot(sigma, POWER_SIGMA, _carbon_sigma(record))
    money = math.hypot(sigma, *_bill_sigmas(record, done))
    ranges: dict[str, tuple[float, float]] = {}
    for key in ("step_time_s", "wall_clock_s", "node_time_s", "device_time_s"):
        if key in summary:
            ranges[key] = (summary[key] * low, summary[key] * high)
    for key in ("mfu_frac", "tokens_per_s"):
        if key in summary:
            ranges[key] = (summary[key] / high, min(summary[key] / low, 1.0) if key == "mfu_frac" else summary[key] / low)
    spreads = {
        "cost_usd": money,
        "cost_per_mtoken_usd": money,
        "it_energy_j": energy,
        "facility_energy_j": energy,
        "carbon_kg_co2e": carbon,
    }
    for key, spread in spreads.items():
        if key in summary:
            factor = math.exp(Z80 * spread)
            ranges[key] = (summary[key] / factor, summary[key] * factor)
    return ranges


def _of_service(plan: ServingPlan, record: Record, summary: Mapping[str, Any], done: Account) -> dict[str, tuple[float, float]]:
    """80 % intervals of a single service's figures; its devices are paid whether its passes are quick or slow."""
    found, sigma = service_ranges(plan, summary)
    energy, money = math.hypot(sigma, POWER_SIGMA), math.hypot(*_bill_sigmas(record, done))
    spreads = {
        "it_energy_j": energy,
        "facility_energy_j": energy,
        "energy_per_request_j": energy,
        "carbon_kg_co2e": math.hypot(energy, _carbon_sigma(record)),
        "cost_usd": money,
        "cost_per_request_usd": money,
        "cost_per_mtoken_usd": money,
    }
    for key, spread in spreads.items():
        if key in summary and spread > 0:
            factor = math.exp(Z80 * spread)
            found[key] = (summary[key] / factor, summary[key] * factor)
    return found


def _carbon_sigma(record: Record) -> float:
    """Doubt of the grid's carbon intensity where the catalog gives it."""
    site = record.bound.scenario.cluster.site
    given = site.carbon is not None or site.hourly is not None or site.region is None
    return 0.0 if given else site_doubt(record.bound.catalog.carbon_intensity, str(site.region), "carbon", "carbon intensity").sigma


def _bill_sigmas(record: Record, done: Account) -> tuple[float, float]:
    """Return what the bill is off by through the catalog's prices, and through electricity: each part's doubt times its share."""
    cluster, scenario = record.bound.cluster, record.bound.scenario
    parts = dict(zip(done.costs["item"], done.costs["usd"], strict=True))
    total = sum(parts.values())
    if not total > 0:
        return 0.0, 0.0
    doubted = {name: rent_doubt(priced_as(cluster.groups[name]), scenario.cluster.prices[name].term).sigma
               for name, price in cluster.prices.items() if price.provider}  # fmt: skip
    electricity = sum(usd for part, usd in parts.items() if "electricity" in str(part))
    devices = (total - electricity) / total
    site, price = scenario.cluster.site, 0.0
    if site.electricity is None and site.hourly is None and site.region is not None:
        price = site_doubt(record.bound.catalog.electricity_price, site.region, "electricity", "electricity price").sigma
    return devices * max(doubted.values(), default=0.0), electricity / total * math.hypot(POWER_SIGMA, price)
