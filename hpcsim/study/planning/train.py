"""The combinations of a training goal: every machine with every source of its nodes, vectorised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.markets import lives_in
from hpcsim.cost.money import charged_s
from hpcsim.cost.reliability import exposed, optimal_interval_s
from hpcsim.cost.step_cost import Z80
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.plan import LimitsSpec
from hpcsim.study.planning.candidates import EMPTY, Candidates, joined
from hpcsim.study.planning.machines import Machine
from hpcsim.study.planning.sources import Source, Terms, sources_of

__all__ = ["CHECKPOINTS_KEPT", "data_bytes", "shared_limits", "sigma_of", "train_candidates", "training_bytes"]

CHECKPOINTS_KEPT = 3
"""Full checkpoints that are kept at a time."""
BYTES_PER_TOKEN = 4.0
LIFE_S = 5 * 31_556_952.0
"""Life over which the manufacture of rented devices is spread."""


def sigma_of(machine: Machine) -> float:
    """Return the standard deviation of the logarithm of the step time, from its 80 % interval."""
    cost = machine.plan.cost
    return math.log(float(cost.high_s) / float(cost.low_s)) / (2.0 * Z80)


def training_bytes(scenario: Scenario, machine: Machine) -> float:
    """Return the size of the training data: what the goal says, else its tokens as stored."""
    given = scenario.plan.goals.train[machine.plan.name].data
    return float(given) if given is not None else machine.plan.steps * machine.plan.tokens_per_step * BYTES_PER_TOKEN


def data_bytes(scenario: Scenario, machine: Machine) -> float:
    """Return the capacity that a run needs: the training data, and the checkpoints that are kept."""
    return training_bytes(scenario, machine) + CHECKPOINTS_KEPT * machine.plan.checkpoint_bytes


def shared_limits(limits: LimitsSpec) -> dict[str, float]:
    """Return the limits that all goals share, by name."""
    given = {name: getattr(limits, name) for name in ("budget", "outlay", "power", "racks", "carbon")}
    return {name: float(value) for name, value in given.items() if value is not None}


def admission(limits: LimitsSpec, sources: Sequence[Source]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the limits that a place keeps or breaks for good: 0 or infinite, by source."""
    found = {}
    if limits.data_in is not None:
        allowed = limits.data_in
        inside = [lives_in(allowed, country=s.country, names=s.names) for s in sources]
        found["data_in"] = np.where(inside, 0.0, np.inf)
    if limits.operators is not None:
        names = {word.casefold() for word in limits.operators}
        found["operators"] = np.where([s.provider.casefold() in names for s in sources], 0.0, np.inf)
    return found


def _column(items: Sequence[Any], name: str) -> npt.NDArray[np.float64]:
    return np.array([math.nan if (v := getattr(item, name)) is None else float(v) for item in items])


def _rent(scenario: Scenario, catalog: Catalog, machine: Machine) -> float:
    """Return what the tier of a run costs a byte and second [USD/B/s]: its rent, or nothing where none is known."""
    option = scenario.plan.options.storage.get(machine.storage)
    if option is not None and option.rent is not None:
        return float(option.rent)
    tier = machine.bound.cluster.storage.get(machine.storage)
    try:
        return float(catalog.storage(tier.kind).rent_usd_per_byte_s or 0.0) if tier else 0.0
    except InputError:
        return 0.0


def _times(
    machines: Sequence[Machine], sources: Sequence[Source], confidence: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return expected run time, run time at the confidence, and checkpoint interval [s], each of shape (machines, sources)."""
    work = np.array([m.plan.work_s for m in machines])[:, None]
    nodes = np.array([m.nodes for m in machines])[:, None]
    own = np.array([1.0 / m.mtbf_s for m in machines])[:, None]
    rate = nodes * (own + _column(sources, "interruptions_per_node_s")[None, :])
    write = np.array([m.plan.checkpoint_write_s for m in machines])[:, None]
    recovery = np.array([m.plan.recovery_s for m in machines])[:, None]
    given = np.array([m.plan.checkpoint_interval_s for m in machines])[:, None]
    lag = np.array([m.plan.checkpoint_lag_s for m in machines])[:, None]
    saves = np.array([m.plan.checkpoint_bytes > 0 for m in machines])[:, None]
    safe = np.where(rate > 0, rate, 1.0)
    best = np.where((rate > 0) & saves, optimal_interval_s(np.maximum(write, 1e-9), 1.0 / safe), np.inf)
    interval = np.where(np.isfinite(given) & saves, given, np.maximum(best, lag))
    z = NormalDist().inv_cdf(confidence)
    slow = np.exp(z * np.array([sigma_of(m) for m in machines]))[:, None]

    def wall(factor: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):
            span = np.minimum(interval, work * factor)
            found = exposed(
                work * factor, interval_s=span, checkpoint_s=write, recovery_s=recovery, failures_per_s=rate, lag_s=np.minimum(lag, span)
            ).wall_s
        return np.where(np.isnan(found), np.inf, found)

    return wall(1.0), wall(slow), interval


def _of_kind(
    scenario: Scenario, run: str, terms: Terms, machines: Sequence[Machine], sources: Sequence[Source], index: Sequence[int], first: int
) -> Candidates:
    """Return the combinations of the machines of one node type."""
    goal, limits, plan = scenario.plan.goals.train[run], scenario.plan.limits, scenario.plan
    time_s, sure_s, interval_s = _times(machines, sources, goal.confidence)
    shape = time_s.shape
    devices = np.array([m.devices for m in machines])[:, None]
    nodes, spares = (np.array([getattr(m, name) for m in machines])[:, None] for name in ("nodes", "spares"))
    owned = np.array([s.kind == "owned" for s in sources])[None, :]
    held = np.where(owned, 1.0 + spares / nodes, 1.0) * devices
    pue = _column(sources, "pue")[None, :]
    term = _column(sources, "term_s")[None, :]
    charge = charged_s(np.where(np.isfinite(time_s), time_s, 1e15), term_s=term, later_use_frac=plan.later_use)
    work = np.array([m.plan.work_s for m in machines])[:, None]
    draw = np.array([math.nan if m.plan.draw_w is None else m.plan.draw_w for m in machines])[:, None]
    base = np.array([m.nodes * m.idle_w + m.network_w + m.storage_w for m in machines])[:, None]
    with np.errstate(invalid="ignore"):
        energy = (base * time_s + draw * np.minimum(work, time_s)) * pue
    usd_per_j = _column(sources, "usd_per_j")[None, :]
    network = np.array([m.network_usd for m in machines])[:, None]
    rent = np.array([_rent(scenario, terms.catalog, m) * data_bytes(scenario, m) for m in machines])[:, None]
    parts = {
        "devices": held * _column(sources, "usd_per_device_s")[None, :] * charge,
        "network": network * _column(sources, "usd_per_s_of_usd")[None, :] * charge,
        "electricity": np.where(np.isnan(usd_per_j), 0.0, np.nan_to_num(usd_per_j) * np.nan_to_num(energy, nan=0.0)),
        "storage": np.broadcast_to(rent * time_s, shape),
    }
    cost = np.where(np.isfinite(time_s), sum(parts.values()), np.inf)
    embodied = np.array([m.kind.embodied_kg_co2e for m in machines])[:, None]
    life = np.where(owned, term, LIFE_S)
    later = np.where(owned, plan.later_use, 1.0)
    share = charged_s(np.where(np.isfinite(time_s), time_s, 1e15), term_s=life, later_use_frac=later) / life
    operation = energy * _column(sources, "carbon_kg_co2e_per_j")[None, :]
    peak = np.array([(m.nodes + 0.0) * m.node_w + m.network_w + m.storage_w for m in machines])[:, None] * pue
    per_rack = np.array([[m.per_rack(s.rack_w) for s in sources] for m in machines])
    racks = np.ceil((nodes + np.where(owned, spares, 0)) / per_rack)
    values = {
        "cost_usd": cost,
        "time_s": time_s,
        "sure_s": sure_s,
        "finish_s": sure_s + _column(sources, "delay_s")[None, :],
        "interval_s": interval_s,
        "carbon_kg_co2e": operation + held * embodied * share,
        "operation_kg_co2e": operation,
        "energy_j": energy,
        "power_w": peak,
        "racks": racks,
        "outlay_usd": np.where(
            owned,
            held * _column(sources, "outlay_usd_per_device")[None, :] + network,
            held * _column(sources, "usd_per_device_s")[None, :] * np.maximum(term, np.where(np.isfinite(time_s), time_s, np.inf)),
        ),
        "charge_s": charge,
        "held_devices": held,
        "devices": np.broadcast_to(devices, shape),
        "work_s": np.broadcast_to(work, shape),
        "rate_usd_per_s": np.broadcast_to(_column(sources, "usd_per_device_s")[None, :], shape),
        "mfu_frac": np.broadcast_to(np.array([float(m.plan.cost.mfu_frac) for m in machines])[:, None], shape),
        "water_l": energy / pue * _column(sources, "water_l_per_j")[None, :],
    }
    over = {name: np.broadcast_to(mask[None, :], shape) for name, mask in admission(limits, sources).items()}
    if goal.within is not None:
        over["within"] = sure_s / goal.within
    if goal.by is not None:
        over["by"] = values["finish_s"] / goal.by
    site_w = _column(sources, "power_w")[None, :]
    with np.errstate(invalid="ignore"):
        over["site power"] = np.where(np.isinf(site_w), 0.0, np.nan_to_num(peak, nan=np.inf) / site_w)
    over["site racks"] = racks / _column(sources, "racks")[None, :]
    over["available"] = devices / _column(sources, "most")[None, :]
    return _flat(run, machines, sources, values, parts, over, shared_limits(limits), index, first)


def _flat(
    run: str,
    machines: Sequence[Machine],
    sources: Sequence[Source],
    values: Mapping[str, Any],
    parts: Mapping[str, Any],
    over: Mapping[str, Any],
    limits: Mapping[str, float],
    index: Sequence[int],
    first: int,
) -> Candidates:
    shape = (len(machines), len(sources))
    m, s = (grid.ravel() for grid in np.indices(shape))

    def of(items: Sequence[Any], at: npt.NDArray[Any], get: Any) -> npt.NDArray[Any]:
        column = np.empty(len(items), dtype=object)
        column[:] = [get(item) for item in items]
        return np.asarray(column[at])

    def ravel(table: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.broadcast_to(np.asarray(column, dtype=float), shape).ravel() for name, column in table.items()}

    axes = {
        "nodes": of(machines, m, lambda x: x.kind.name),
        "count": of(machines, m, lambda x: x.nodes),
        "accelerator": of(machines, m, lambda x: x.kind.accelerator),
        "fabric": of(machines, m, lambda x: x.fabric),
        "storage": of(machines, m, lambda x: x.storage),
        "owner": of(sources, s, lambda x: x.owner),
        "provider": of(sources, s, lambda x: x.provider),
        "place": of(sources, s, lambda x: x.place),
        "country": of(sources, s, lambda x: x.country),
    }
    extra = {"machine": np.asarray(index)[m], "source": first + s}
    return Candidates(f"train {run}", axes, ravel(values), ravel(parts), ravel(over), limits, extra)


def train_candidates(scenario: Scenario, run: str, terms: Terms, machines: Sequence[Machine]) -> tuple[Candidates, list[Source]]:
    """Return every combination of a training goal, and the sources that they index.

    Time is the expected time of the run with failures and interruptions at the best checkpoint interval; at the goal's confidence it is
    stretched by the uncertainty of the step. Cost is what the goal is charged: the rent, or its share of what is bound for longer
    (:func:`hpcsim.cost.money.charged_s`), electricity where the price leaves it out, the network and the data.

    Raises
    ------
    InputError
        No node type can be had in any way.
    """
    parts: list[Candidates] = []
    sources: list[Source] = []
    for kind in dict.fromkeys(m.kind.name for m in machines):
        index = [i for i, m in enumerate(machines) if m.kind.name == kind]
        mine = [machines[i] for i in index]
        power = max((m.node_w for m in mine if math.isfinite(m.node_w)), default=0.0)
        node = mine[0].kind
        found = sources_of(
            terms,
            {
                "name": node.name,
                "accelerator": node.accelerator,
                "per_node": node.per_node,
                "price_usd": node.price_usd,
                "price_from": node.price_from,
                "peak_w": power,
                "lead_s": node.spec.lead,
            },
        )
        if found:
            parts.append(_of_kind(scenario, run, terms, mine, found, index, len(sources)))
            sources += found
    if not parts:
        raise EMPTY.error(path="plan.options.owners", goal=run, hint="; ".join(terms.notes) or "add owners, or prices of the nodes")
    return joined(parts), sources
