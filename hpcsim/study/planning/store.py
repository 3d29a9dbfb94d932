"""The combinations of a store goal: every tier that may be chosen, bought at each site or rented, over the horizon."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.hardware import Storage
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.money import YEAR_S, annual_capital
from hpcsim.cost.storage import Redundancy, erasure_coded, replicated
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.plan import StorageOptionSpec, StoreGoalSpec
from hpcsim.study.planning.candidates import Candidates
from hpcsim.study.planning.sources import Source, Terms, cloud_place
from hpcsim.study.planning.train import admission, shared_limits

__all__ = ["FILL_FRAC", "StoreModel", "Tier", "redundancy_of", "sizes_of", "store_model"]

NO_TIER = problem_kind(
    "plan-without-tier",
    "no storage option can hold {name}: {why}",
    "name tiers under plan.options.storage with a price or a rent, such as {{type: hdd-20tb}} or {{type: s3-standard, provider: aws, region: eu-west-1}}",
)

FILL_FRAC = 0.85
"""How full a bought tier is kept."""
LIFE_YEARS = 5.0
RENTED_W_PER_BYTE = {"hdd": 0.65e-12, "ssd": 1.2e-12}
"""Power of a stored byte with a provider [W/B]: 0.65 and 1.2 Wh/TBh, of Cloud Carbon Footprint's constants for AWS, Azure and Google."""
RENTED_COPIES = 3.0
"""Copies that a provider keeps; what Cloud Carbon Footprint takes for object stores (from memory, unverified)."""


@dataclass(frozen=True)
class Tier:
    """A storage option, resolved.

    Attributes
    ----------
    name : str
    spec : StorageOptionSpec
    drive : Storage or None
        What a bought tier is made of.
    price_usd_per_byte, rent_usd_per_byte_s : float or None
    words : str
        Where they are from.
    """

    name: str
    spec: StorageOptionSpec
    drive: Storage | None
    price_usd_per_byte: float | None
    rent_usd_per_byte_s: float | None
    words: str


@dataclass(frozen=True)
class StoreModel:
    """A store goal with its sizes by year and its combinations."""

    name: str
    goal: StoreGoalSpec
    sizes: tuple[float, ...]
    redundancy: Redundancy
    tiers: tuple[Tier, ...]
    sources: list[Source]
    found: Candidates


def redundancy_of(goal: StoreGoalSpec) -> Redundancy:
    """Return what a goal's redundancy costs; three copies where it says nothing."""
    if goal.data is not None:
        return erasure_coded(goal.data, goal.parity or 0)
    return replicated(goal.copies or 3)


def sizes_of(goal: StoreGoalSpec, horizon_s: float) -> tuple[float, ...]:
    """Return the bytes that are kept at the end of each year: size·(1+g)^y·(1 − duplicates)/compression."""
    years = max(math.ceil(horizon_s / YEAR_S - 1e-2), 1)
    each = (1.0 - goal.duplicate) / goal.compression
    return tuple(goal.size * (1.0 + goal.growth) ** (y + 1) * each for y in range(years))


def _tier(name: str, spec: StorageOptionSpec, catalog: Catalog) -> Tier:
    entry: Storage | None = None
    with contextlib.suppress(InputError):
        entry = catalog.storage(spec.type)
    drive = entry if entry is not None and entry.category == "device" else None
    if spec.drive is not None:
        try:
            drive = catalog.storage(spec.drive)
        except InputError as error:
            raise InputError([p.located(path=f"plan.options.storage.{name}.drive") for p in error.problems]) from None
    price, rent, words = spec.price, spec.rent, "given in the scenario"
    if price is None and drive is not None and drive.price_usd_per_byte is not None:
        fact = drive.fact("price_usd_per_byte")
        price, words = float(fact.value), f"{drive.id}: {fact.source}"
    if rent is None and entry is not None and entry.rent_usd_per_byte_s is not None:
        fact = entry.fact("rent_usd_per_byte_s")
        rent, words = float(fact.value), f"{entry.id}: {fact.source}"
    return Tier(name, spec, drive, price, rent, words)


def _bought(scenario: Scenario, terms: Terms, tier: Tier, sizes: Sequence[float], redundancy: Redundancy) -> list[dict[str, Any]]:
    """Return the tier at every site: drives for the largest year so far, bought as they are needed."""
    assert tier.price_usd_per_byte is not None
    drive = tier.drive
    capacity = float(drive.capacity_bytes) if drive is not None and drive.capacity_bytes else 20e12
    watts = float(drive.active_w or 0.0) if drive is not None else 0.0
    rate = float(drive.read_bytes_per_s or 0.0) if drive is not None else 0.0
    raw = [size * float(redundancy.factor) / FILL_FRAC for size in sizes]
    drives = [math.ceil(max(raw[: y + 1]) / capacity) for y in range(len(raw))]
    owner = next((o for o in terms.owners.values() if o.kind == "owned"), None)
    interest = owner.interest if owner is not None and owner.interest is not None else terms.interest
    upkeep = owner.maintenance if owner is not None and owner.maintenance is not None else terms.maintenance
    each = capacity * tier.price_usd_per_byte
    yearly = float(annual_capital(each, rate_frac=interest, years=LIFE_YEARS)) + upkeep * each
    rows = []
    for site in terms.sites:
        power = [n * watts for n in drives]
        energy = sum(w * YEAR_S * site.pue for w in power)
        devices = sum(n * yearly for n in drives) + sum(power) * site.rent_usd_per_w_s * YEAR_S
        electricity = energy * (site.electricity_usd_per_j or 0.0)
        carbon = energy * site.carbon_kg_co2e_per_j if site.carbon_kg_co2e_per_j is not None else math.nan
        source = Source(
            "owned", "owned", "own", site.name, site.country, yearly / YEAR_S, each, 0.0, LIFE_YEARS * YEAR_S, 0.0, site.pue, 0.0,
            site.carbon_kg_co2e_per_j, site.electricity_usd_per_j or 0.0, site.power_w, site.racks, site.rack_w, 0.0,
            f"{each:,.0f} USD a drive of {capacity / 1e12:g} TB; {tier.words}",
        )  # fmt: skip
        values = {
            "cost_usd": devices + electricity, "outlay_usd": drives[-1] * each, "carbon_kg_co2e": carbon, "energy_j": energy,
            "power_w": power[-1] * site.pue, "racks": float(math.ceil(drives[-1] / tier.spec.per_rack)), "drives": float(drives[-1]), "raw_bytes": raw[-1],
            "read_bytes_per_s": tier.spec.read or drives[-1] * rate / float(redundancy.factor),
        }  # fmt: skip
        rows.append(
            {"tier": tier, "source": source, "values": values, "parts": {"devices": devices, "electricity": electricity}, "drives": drives}
        )
    return rows


def _rented(tier: Tier, terms: Terms, sizes: Sequence[float]) -> dict[str, Any]:
    """Return the tier rented: the provider's redundancy is in the price; its energy and carbon are estimated, since nobody publishes them."""
    assert tier.rent_usd_per_byte_s is not None
    provider, region = tier.spec.provider or "cloud", tier.spec.region or "anywhere"
    country, pue, carbon = cloud_place(terms, provider, region)
    cost = sum(size * tier.rent_usd_per_byte_s * YEAR_S for size in sizes)
    watts = RENTED_W_PER_BYTE["ssd" if _is_solid(tier) else "hdd"] * RENTED_COPIES
    energy = sum(size * watts * pue * YEAR_S for size in sizes)
    terms.note(
        f"Energy and carbon of storage rented of {provider} in {region} are an estimate: {watts * 1e12 / RENTED_COPIES:g} W/TB, {RENTED_COPIES:g} copies, PUE {pue:g}."
    )
    source = Source(
        "rented", "on-demand", provider, region, country, 0.0, 0.0, 0.0, 0.0, 0.0, pue, 0.0, carbon, None, math.inf, math.inf, 40e3, 0.0,
        f"{tier.rent_usd_per_byte_s * 1e9 * 2_629_746:.4g} USD/GB/month; {tier.words}",
    )  # fmt: skip
    values = {
        "cost_usd": cost, "outlay_usd": cost, "carbon_kg_co2e": math.nan if carbon is None else energy * carbon, "energy_j": energy,
        "power_w": 0.0, "racks": 0.0, "drives": 0.0,
        "raw_bytes": sizes[-1], "read_bytes_per_s": tier.spec.read if tier.spec.read is not None else math.inf,
    }  # fmt: skip
    return {"tier": tier, "source": source, "values": values, "parts": {"devices": cost, "electricity": 0.0}, "drives": [0] * len(sizes)}


def _is_solid(tier: Tier) -> bool:
    words = f"{tier.spec.type} {tier.spec.drive or ''}".casefold()
    return any(word in words for word in ("ssd", "nvme", "gp3", "io2", "filestore", "fsx", "lustre"))


def store_model(scenario: Scenario, name: str, terms: Terms, catalog: Catalog) -> StoreModel:
    """Return a store goal with every way to keep its data.

    A bought tier is made of drives: raw = size × redundancy / fill, drives for the largest year so far. A rented one pays its size; what it
    draws and emits is estimated from watts a byte of such drives, copies, the provider's PUE and the region's grid.

    Raises
    ------
    InputError
        Unknown drives; no option with a price or a rent.
    """
    goal = scenario.plan.goals.store[name]
    specs = dict(scenario.plan.options.storage)
    tiers = tuple(_tier(key, spec, catalog) for key, spec in specs.items())
    sizes, redundancy = sizes_of(goal, scenario.plan.horizon), redundancy_of(goal)
    rows: list[dict[str, Any]] = []
    for tier in tiers:
        if tier.spec.provider is None and tier.price_usd_per_byte is not None:
            rows += _bought(scenario, terms, tier, sizes, redundancy)
        elif tier.rent_usd_per_byte_s is not None:
            rows.append(_rented(tier, terms, sizes))
    if not rows:
        why = "there is none" if not tiers else "none of " + ", ".join(specs) + " has a price or a rent"
        raise NO_TIER.error(path=f"plan.goals.store.{name}", name=name, why=why)
    sources = [row["source"] for row in rows]
    return StoreModel(name, goal, sizes, redundancy, tiers, sources, _candidates(scenario, name, goal, rows, sources))


def _candidates(
    scenario: Scenario, name: str, goal: StoreGoalSpec, rows: Sequence[Mapping[str, Any]], sources: Sequence[Source]
) -> Candidates:
    n = len(rows)

    def words(get: Any) -> npt.NDArray[Any]:
        column = np.empty(n, dtype=object)
        column[:] = [get(row) for row in rows]
        return column

    axes = {
        "nodes": words(lambda r: r["tier"].name),
        "count": words(lambda r: round(r["values"]["drives"])),
        "accelerator": words(lambda r: ""),
        "fabric": words(lambda r: ""),
        "storage": words(lambda r: r["tier"].name),
        "owner": words(lambda r: r["source"].owner),
        "provider": words(lambda r: r["source"].provider),
        "place": words(lambda r: r["source"].place),
        "country": words(lambda r: r["source"].country),
    }
    values = {key: np.array([float(row["values"][key]) for row in rows]) for key in rows[0]["values"]}
    values |= {"time_s": np.zeros(n), "sure_s": np.zeros(n), "devices": np.zeros(n)}
    parts = {key: np.array([float(row["parts"][key]) for row in rows]) for key in rows[0]["parts"]}
    over = admission(scenario.plan.limits, sources)
    if goal.read is not None:
        over["read"] = goal.read / np.maximum(values["read_bytes_per_s"], 1e-9)
    site_w, site_racks = (np.array([getattr(s, key) for s in sources]) for key in ("power_w", "racks"))
    over["site power"] = values["power_w"] / site_w
    over["site racks"] = values["racks"] / site_racks
    over["simulated"] = np.zeros(n)
    return Candidates(f"store {name}", axes, values, parts, over, shared_limits(scenario.plan.limits), {"source": np.arange(n)})
