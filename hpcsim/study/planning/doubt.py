"""How sure a plan's figures are: what the catalog, the predictions and the prices may be off by, drawn together and one at a time.

Every cause is one factor, shared by all goals that it moves: the price of an accelerator for all offers of it, the electricity of a site for all
that draws from it. What the scenario gives itself is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.rng import stream
from hpcsim.catalog.doubts import (
    DEFAULT_FACTORS,
    Doubt,
    class_doubt,
    embodied_doubt,
    failure_doubt,
    purchase_doubt,
    rent_doubt,
)
from hpcsim.cost.money import charged_s
from hpcsim.cost.reliability import expected_completion_s
from hpcsim.run.ranges import POWER_SIGMA
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.machines import NodeKind
from hpcsim.study.planning.queue_work import QueueWork
from hpcsim.study.planning.sources import Source
from hpcsim.study.planning.store_work import StoreWork
from hpcsim.study.planning.train import LIFE_S, sigma_of
from hpcsim.study.planning.works import GoalWork, TrainWork

__all__ = ["DRAWS", "Doubts", "doubts_of", "figures_of", "plan_ranges", "plan_tornado"]

DRAWS = 2000
"""Draws from which a plan's ranges are taken."""

Array = npt.NDArray[np.float64]
Factor = Callable[[str], Any]

_TOTALS = ("cost_usd", "outlay_usd", "carbon_kg_co2e", "facility_energy_j", "peak_power_w")
_ALONE = ("wall_clock_s", "device_time_s", "mfu_frac", "cost_per_mtoken_usd")
"""Figures of a plan with a single training goal."""


@dataclass
class Doubts:
    """The causes that a plan's figures hang on, by name."""

    causes: dict[str, Doubt] = field(default_factory=dict)

    def name(self, doubt: Doubt | None) -> str:
        """Note a cause and return its name; nothing for what is certain."""
        if doubt is None:
            return ""
        self.causes.setdefault(doubt.name, doubt)
        return doubt.name


@dataclass(frozen=True)
class _Names:
    """Which causes move a combination; an empty name is certain."""

    price: str
    network: str
    tariff: str
    carbon: str
    pue: str
    embodied: str
    power: str
    failures: str = ""
    interruptions: str = ""
    step: str = ""
    storage: str = ""


def _price(source: Source, kind: NodeKind, doubts: Doubts) -> str:
    """Return the cause that moves the price of nodes: one for all offers of an accelerator; none for a price that the scenario gives."""
    if source.kind != "owned":
        return doubts.name(rent_doubt(kind.accelerator, source.kind))
    if kind.spec.price is not None or kind.entry.price_usd is None:
        return ""
    return doubts.name(purchase_doubt(kind.entry.fact("price_usd"), kind.accelerator or kind.name))


def _place(source: Source, scenario: Scenario, doubts: Doubts) -> dict[str, str]:
    """Return the causes that a place brings: its tariff, grid and building, but for what the scenario says of them."""
    given = scenario.plan.options.sites.get(source.place) if source.provider == "own" else None
    site = scenario.cluster.site
    own = given or (site if source.provider == "own" and not scenario.plan.options.sites else None)
    hourly = own is not None and own.hourly is not None
    where = source.place if source.provider == "own" else f"{source.provider} {source.place}"
    found = {}
    for key, kind, known in (
        ("tariff", "electricity price", source.usd_per_j is None or hourly or (own is not None and own.electricity is not None)),
        ("carbon", "carbon intensity", source.carbon_kg_co2e_per_j is None or hourly or (own is not None and own.carbon is not None)),
        ("pue", "power usage effectiveness", own is not None and own.pue is not None),
    ):
        found[key] = "" if known else doubts.name(class_doubt(f"{kind} of {where}", kind))
    return found


def _causes(work: GoalWork, row: int, doubts: Doubts) -> _Names:
    source, scenario = work.source_of(row), work.scenario
    place = _place(source, scenario, doubts)
    power = doubts.name(
        Doubt("modelled power", math.exp(1.2815515655446004 * POWER_SIGMA), "error of modelled power, docs/models/accounting.md")
    )
    if isinstance(work, StoreWork):
        owned = source.kind == "owned"
        tier = str(work.found.axes["storage"][row])
        option = scenario.plan.options.storage.get(tier)
        told = option is not None and (option.price if owned else option.rent) is not None
        kind = "purchase" if owned else "rented storage"
        price = "" if told else doubts.name(class_doubt(f"{kind} of {tier}", kind))
        return _Names(price=price, network="", embodied="", power=power if owned else "", **place)
    assert isinstance(work, (QueueWork, TrainWork))
    kind_ = work.kind_of(row)
    given_kg = kind_.embodied_from == "given"
    common: dict[str, Any] = {
        "price": _price(source, kind_, doubts),
        "embodied": "" if given_kg or not kind_.embodied_kg_co2e else doubts.name(embodied_doubt(work.catalog)),
        "power": power,
        **place,
    }
    if not isinstance(work, TrainWork):
        return _Names(network="", **common)
    machine = work.machine_of(row)
    step = Doubt(
        f"step time on {kind_.accelerator}",
        math.exp(1.2815515655446004 * sigma_of(machine)),
        "80 % interval of the predicted step, docs/models/training.md",
    )
    option_ = scenario.plan.options.fabrics.get(machine.fabric)
    told = option_ is not None and option_.port is not None
    fails = math.isfinite(machine.mtbf_s)
    return _Names(
        step=doubts.name(step),
        network=""
        if told or not machine.network_usd or source.kind != "owned"
        else doubts.name(class_doubt("price of the network", "network")),
        failures=doubts.name(failure_doubt(work.catalog)) if fails else "",
        interruptions=doubts.name(class_doubt("spot interruptions", "spot interruptions")) if source.interruptions_per_node_s > 0 else "",
        storage=doubts.name(class_doubt("rent of the storage", "rented storage")) if float(work.found.parts["storage"][row]) > 0 else "",
        **common,
    )


def _shares(source: Source) -> tuple[float, float]:
    """Return what of a device's price is bound by the purchase (or is the rent), and what is not: staff, space [USD/s]."""
    if source.kind != "owned":
        return source.usd_per_device_s, 0.0
    capital = min(source.outlay_usd_per_device * source.usd_per_s_of_usd, source.usd_per_device_s)
    return capital, source.usd_per_device_s - capital


def _train(work: TrainWork, row: int, n: _Names, f: Factor) -> dict[str, Array]:
    """Return the figures of a training goal under factors; with all of them 1 those of its combination."""
    machine, source, value = work.machine_of(row), work.source_of(row), {k: float(v[row]) for k, v in work.found.values.items()}
    plan, later = machine.plan, work.scenario.plan.later_use
    seconds = plan.work_s * np.asarray(f(n.step), dtype=np.float64)
    rate = machine.nodes * (f(n.failures) / machine.mtbf_s + f(n.interruptions) * source.interruptions_per_node_s)
    with np.errstate(over="ignore", invalid="ignore"):
        time = expected_completion_s(
            seconds,
            interval_s=np.minimum(value["interval_s"], seconds),
            checkpoint_s=plan.checkpoint_write_s,
            recovery_s=plan.recovery_s,
            failures_per_s=rate,
            downtime_s=0.0,
        )
    time = np.where(np.isfinite(time), time, np.inf)
    bounded = np.where(np.isfinite(time), time, 1e15)
    held, pue = value["held_devices"], np.maximum(source.pue * f(n.pue), 1.0)
    charge = charged_s(bounded, term_s=source.term_s, later_use_frac=later)
    draw = math.nan if plan.draw_w is None else plan.draw_w
    base = machine.nodes * machine.idle_w + machine.network_w + machine.storage_w
    energy = (base * time + draw * np.minimum(seconds, time)) * f(n.power) * pue
    bought, rest = _shares(source)
    before = {name: float(part[row]) for name, part in work.found.parts.items()}
    tariff = 0.0 if source.usd_per_j is None else source.usd_per_j * f(n.tariff)
    network_usd = machine.network_usd * f(n.network)
    cost = held * (bought * f(n.price) + rest) * charge + network_usd * source.usd_per_s_of_usd * charge
    cost = cost + tariff * np.nan_to_num(energy, nan=0.0) + before["storage"] * f(n.storage) * time / value["time_s"]
    owned = source.kind == "owned"
    life, use = (source.term_s, later) if owned else (LIFE_S, 1.0)
    share = charged_s(bounded, term_s=life, later_use_frac=use) / life
    grid = math.nan if source.carbon_kg_co2e_per_j is None else source.carbon_kg_co2e_per_j
    carbon = energy * grid * f(n.carbon) + held * machine.kind.embodied_kg_co2e * f(n.embodied) * share
    outlay = (
        held * source.outlay_usd_per_device * f(n.price) + network_usd
        if owned
        else held * bought * f(n.price) * np.maximum(source.term_s, time)
    )
    tokens = plan.steps * plan.tokens_per_step
    return {
        "cost_usd": cost,
        "outlay_usd": outlay,
        "carbon_kg_co2e": carbon,
        "facility_energy_j": energy,
        "peak_power_w": value["power_w"] * pue / source.pue,
        "wall_clock_s": time,
        "device_time_s": time * machine.devices,
        "mfu_frac": np.minimum(float(plan.cost.mfu_frac) / f(n.step), 1.0),
        "cost_per_mtoken_usd": cost / tokens * 1e6,
    }


def _standing(work: GoalWork, row: int, n: _Names, f: Factor) -> dict[str, Array]:
    """Return the figures of a queue or a store under factors: its parts, each times what moves it."""
    source, value = work.source_of(row), {k: float(v[row]) for k, v in work.found.values.items()}
    parts = {k: float(v[row]) for k, v in work.found.parts.items()}
    bought, rest = _shares(source)
    share = bought / (bought + rest) if bought + rest > 0 else 1.0
    if isinstance(work, StoreWork) and source.kind == "owned":
        share = 1.0
    building = np.maximum(source.pue * f(n.pue), 1.0) / source.pue
    energy = value["energy_j"] * f(n.power) * building
    grid = math.nan if source.carbon_kg_co2e_per_j is None else source.carbon_kg_co2e_per_j
    made = value["carbon_kg_co2e"] - value["energy_j"] * grid if math.isfinite(grid) else 0.0
    operation = energy * grid * f(n.carbon) if math.isfinite(grid) else value["carbon_kg_co2e"]
    electricity = parts["electricity"] * f(n.tariff) * f(n.power) * building
    return {
        "cost_usd": parts["devices"] * (share * f(n.price) + 1.0 - share) + electricity,
        "outlay_usd": value["outlay_usd"] * f(n.price),
        "carbon_kg_co2e": operation + made * f(n.embodied),
        "facility_energy_j": energy,
        "peak_power_w": value["power_w"] * building,
    }


def figures_of(works: Sequence[GoalWork], rows: Sequence[int], names: Sequence[_Names], f: Factor) -> dict[str, Array]:
    """Return the plan's headline figures under factors.

    Parameters
    ----------
    works, rows : sequences
        The goals and the combination chosen for each.
    names : sequence
        Causes of each, as :func:`doubts_of` returned them.
    f : callable
        Factor of a cause by its name, a number or an array of draws; 1 for an empty name.
    """
    found = [(_train if isinstance(w, TrainWork) else _standing)(w, r, n, f) for w, r, n in zip(works, rows, names, strict=True)]  # type: ignore[arg-type]
    total: dict[str, Array] = {}
    for key in _TOTALS:
        known = [part[key] for part in found if np.isfinite(part[key]).any()]
        if known:
            total[key] = np.asarray(sum(known))
    trains = [part for part, work in zip(found, works) if isinstance(work, TrainWork)]
    if len(trains) == 1:
        total |= {key: trains[0][key] for key in _ALONE}
    return total


def doubts_of(works: Sequence[GoalWork], rows: Sequence[int]) -> tuple[Doubts, list[_Names]]:
    """Return the causes of a plan, and which of them move each goal."""
    doubts = Doubts()
    names = [_causes(work, row, doubts) for work, row in zip(works, rows, strict=True)]
    return doubts, names


def plan_ranges(
    works: Sequence[GoalWork], rows: Sequence[int], doubts: Doubts, names: Sequence[_Names], seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 10th and 90th percentile of every headline figure over :data:`DRAWS` draws of all causes together."""
    drawn = {name: np.exp(doubt.sigma * stream(seed, "plan doubts", name).standard_normal(DRAWS)) for name, doubt in doubts.causes.items()}
    figures = figures_of(works, rows, names, lambda name: drawn.get(name, 1.0))
    found = {}
    for key, values in figures.items():
        known = np.broadcast_to(values, (DRAWS,))
        known = known[np.isfinite(known)]
        if known.size:
            low, high = np.quantile(known, [0.1, 0.9])
            if high > low:
                found[key] = (float(low), float(high))
    return found


def plan_tornado(
    works: Sequence[GoalWork], rows: Sequence[int], doubts: Doubts, names: Sequence[_Names]
) -> dict[str, Mapping[str, list[Any]]]:
    """Return the tables ``uncertain`` and ``tornado`` of a plan: its causes, and its figures with one of them at a time at both ends."""
    base = {key: float(value) for key, value in figures_of(works, rows, names, lambda _: 1.0).items()}
    z = NormalDist().inv_cdf(0.95)
    swings: list[tuple[Any, ...]] = []
    for name, doubt in doubts.causes.items():
        ends = [math.exp(sign * z * doubt.sigma) for sign in (-1.0, 1.0)]
        at = [figures_of(works, rows, names, lambda n, e=end, name=name: e if n == name else 1.0) for end in ends]  # type: ignore[misc]
        for key, middle in base.items():
            low, high = (float(figures[key]) for figures in at)
            swing = max(middle, low, high) - min(middle, low, high)
            if swing > 1e-3 * abs(middle):
                swings.append(
                    (
                        key,
                        name,
                        *(f"×{end:.3g}" for end in ends),
                        middle,
                        low,
                        high,
                        swing,
                        swing / abs(middle) if middle else math.nan,
                    )
                )
    order = {key: i for i, key in enumerate(base)}
    swings.sort(key=lambda row: (order[row[0]], -row[7], row[1]))
    columns = ("metric", "input", "low", "high", "base", "at_low", "at_high", "swing", "swing_frac")
    inputs = ("input", "distribution", "base", "low", "high", "origin", "source")
    causes = [
        (name, f"log-normal around the figure, 80 % within a factor of {doubt.factor:.3g}", "×1",
         *(f"×{math.exp(sign * z * doubt.sigma):.3g}" for sign in (-1.0, 1.0)), _origin(doubt), doubt.source)
        for name, doubt in sorted(doubts.causes.items())
    ]  # fmt: skip
    return {
        "uncertain": {key: [row[k] for row in causes] for k, key in enumerate(inputs)},
        "tornado": {key: [row[k] for row in swings] for k, key in enumerate(columns)},
    }


def _origin(doubt: Doubt) -> str:
    if doubt.computed:
        return "catalog"
    return "default" if any(doubt.source == words for _, words in DEFAULT_FACTORS.values()) or "class default" in doubt.source else "model"
