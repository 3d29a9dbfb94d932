"""Finalists are simulated: the same run on the same machine, event by event, with failures and interruptions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsim.base.errors import InputError
from hpcsim.base.units import exact_text
from hpcsim.catalog.lookup import Catalog
from hpcsim.run.simulate import simulate
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.candidates import Candidates
from hpcsim.study.planning.machines import Machine, fabric_of, varied
from hpcsim.study.planning.sources import Source

__all__ = ["Confirmed", "as_scenario", "confirm"]


@dataclass(frozen=True)
class Confirmed:
    """What the simulations of a finalist gave.

    Attributes
    ----------
    time_s, low_s, high_s : float
        Mean, least and most of the run times.
    cost_usd, goodput_frac, failures : float
        Means.
    seeds : int
    why : str
        Why there is no result; empty where there is one.
    """

    time_s: float
    low_s: float
    high_s: float
    cost_usd: float
    goodput_frac: float
    failures: float
    seeds: int
    why: str = ""


def as_scenario(scenario: Scenario, run: str, machine: Machine, source: Source, found: Candidates, row: int, catalog: Catalog) -> Scenario:
    """Return the scenario of a combination: what ``hpcsim run`` takes to simulate it.

    The price is what the goal is charged by accelerator and hour, spares and network in it. Nodes that a cloud takes back or that fail
    there are replaced at once; owned ones by spares, and are repaired.
    """
    options = scenario.plan.options
    owned = source.kind == "owned"
    rate = 1.0 / machine.mtbf_s + source.interruptions_per_node_s
    charged = float(found.parts["devices"][row] + found.parts["network"][row])
    spares = machine.spares if owned else 0
    held = (machine.nodes + spares) * machine.kind.per_node
    site = {
        "pue": source.pue,
        "carbon": exact_text(source.carbon_kg_co2e_per_j or 0.0, "carbon intensity"),
        "electricity": exact_text(source.usd_per_j or 0.0, "price of energy"),
    }
    price = {
        "hourly": exact_text(charged / (held * float(found.values["time_s"][row])), "price per time"),
        "includes_electricity": source.usd_per_j is None,
    }
    interval = float(found.values["interval_s"][row])
    layout = {k: v for k, v in machine.plan.layout.items() if k != "precision"}
    fabric = fabric_of(options.fabrics.get(machine.fabric), machine.kind, scenario, catalog)
    tier = options.storage.get(machine.storage)
    made = varied(
        scenario,
        run,
        machine.kind,
        machine.nodes,
        fabric,
        (machine.storage, tier) if tier is not None else None,
        spares=spares,
        site=site,
        price=price,
        mtbf_s=1.0 / rate if rate > 0 else math.inf,
        repair_s=machine.repair_s if owned else 0.0,
        layout=layout,
        every_s=interval if math.isfinite(interval) else None,
    )
    return made.vary({"name": f"{scenario.name}-{run}"[:64], "plan": None, "simulate.until": None})


def confirm(scenario: Scenario, *, seeds: Sequence[int], catalog: Catalog) -> Confirmed:
    """Return the simulated figures of a combination's scenario over several seeds; a run that cannot end is given back with its reason."""
    summaries = []
    try:
        summaries = [simulate(scenario, seed=seed, catalog=catalog).summary for seed in seeds]
    except InputError as error:
        problem = error.problems[0]
        return Confirmed(math.inf, math.inf, math.inf, math.nan, 0.0, math.inf, 0, f"{problem.message} [{problem.code}]")
    times = [float(s["wall_clock_s"]) for s in summaries]

    def mean(key: str) -> float:
        values = [float(s[key]) for s in summaries if key in s]
        return sum(values) / len(values) if values else math.nan

    return Confirmed(sum(times) / len(times), min(times), max(times), mean("cost_usd"), mean("goodput_frac"), mean("failures"), len(seeds))
