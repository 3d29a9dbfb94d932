"""A goal at work: its combinations, how one is confirmed, and what its steps write."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import SourceRow
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.build import train_build
from hpcsim.study.planning.candidates import Candidates, front, order
from hpcsim.study.planning.chosen import train_choice, train_prices
from hpcsim.study.planning.confirm import Confirmed, as_scenario, confirm
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.keep import train_keep
from hpcsim.study.planning.machines import Machine, NodeKind, machines_for
from hpcsim.study.planning.needs import train_needs
from hpcsim.study.planning.reasons import rivals
from hpcsim.study.planning.sheet import Sheet
from hpcsim.study.planning.sources import Source, Terms
from hpcsim.study.planning.train import train_candidates
from hpcsim.study.planning.tune import train_tune

__all__ = ["GoalWork", "TrainWork", "train_work"]


class GoalWork(Protocol):
    """What the plan asks of a goal."""

    scenario: Scenario
    catalog: Catalog
    found: Candidates
    confirmed: dict[int, Confirmed]
    notes: list[str]

    def source_of(self, row: int) -> Source:
        """Return where a combination gets what it is made of."""

    def confirm(self, row: int) -> None:
        """Simulate a combination, note the result under ``confirmed``, and let ``found.over["simulated"]`` say whether it holds."""

    def rivals_of(self, found: Candidates, row: int) -> list[int]:
        """Return the combinations that are simulated beside the choice."""

    def price(self, row: int) -> str:
        """Return the price of a combination with its date and source."""

    def write(self, sheet: Sheet, found: Candidates, row: int, *, reached: bool) -> None:
        """Add the five steps to the sheet; ``found`` has the shared limits less what other goals take."""

    def says(self, row: int) -> str:
        """Return what to do to have the combination, in words for the answer."""


@dataclass
class TrainWork:
    """A training goal."""

    scenario: Scenario
    catalog: Catalog
    terms: Terms
    run: str
    objective: str
    found: Candidates
    machines: list[Machine]
    sources: list[Source]
    removed: Counter[str]
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def _of(self, row: int) -> tuple[Machine, Source]:
        return self.machines[int(self.found.extra["machine"][row])], self.sources[int(self.found.extra["source"][row])]

    def source_of(self, row: int) -> Source:
        """Return where a combination gets its nodes."""
        return self._of(row)[1]

    def machine_of(self, row: int) -> Machine:
        """Return the machine of a combination."""
        return self._of(row)[0]

    def kind_of(self, row: int) -> NodeKind:
        """Return the node type of a combination."""
        return self._of(row)[0].kind

    def scenario_of(self, row: int) -> Scenario:
        """Return the scenario that simulates a combination."""
        machine, source = self._of(row)
        return as_scenario(self.scenario, self.run, machine, source, self.found, row, self.catalog)

    def confirm(self, row: int) -> None:
        """Simulate a combination with the plan's seeds."""
        if row in self.confirmed:
            return
        first = self.scenario.simulate.seed
        done = confirm(self.scenario_of(row), seeds=range(first, first + self.scenario.plan.seeds), catalog=self.catalog)
        self.confirmed[row] = done
        goal = self.scenario.plan.goals.train[self.run]
        stretch = float(self.found.values["sure_s"][row] / self.found.values["time_s"][row])
        ratio = 0.0
        if goal.within is not None:
            ratio = done.time_s * stretch / goal.within
        if goal.by is not None:
            delay = float(self.found.values["finish_s"][row] - self.found.values["sure_s"][row])
            ratio = max(ratio, (done.time_s * stretch + delay) / goal.by)
        self.found.over["simulated"][row] = ratio

    def rivals_of(self, found: Candidates, row: int) -> list[int]:
        """Return the best with another accelerator, owner and number, and the fastest and cleanest."""
        rows = np.flatnonzero(found.feasible())
        beside = [rival.row for rival in rivals(found, row, self.objective) if rival.axis in ("accelerator", "owner", "count")]
        ends = [int(order(found, objective, rows)[0]) for objective in ("time", "carbon")] if rows.size else []
        return [i for i in dict.fromkeys([*beside, *ends]) if i != row]

    def facts(self, row: int) -> tuple[SourceRow, ...]:
        """Return the facts of the catalog that a combination's machine rests on."""
        return self._of(row)[0].bound.cluster.sources

    def price(self, row: int) -> str:
        """Return the price of the source."""
        return self._of(row)[1].words

    def write(self, sheet: Sheet, found: Candidates, row: int, *, reached: bool) -> None:
        """Add the five steps."""
        c = TrainContext(
            self.scenario,
            self.catalog,
            self.terms,
            self.run,
            self.objective,
            found,
            self.machines,
            self.sources,
            row,
            self.confirmed,
            reached,
        )
        for step in (train_needs, train_choice, train_prices, train_build, train_tune, train_keep):
            step(c, sheet)
        self.notes += [f"{self.run}: {note}" for note in c.machine.plan.notes]
        if c.source.kind == "spot" and c.source.most == math.inf:
            self.notes.append(
                f"{self.run}: whether {c.value('devices'):,.0f} spot accelerators can be had at once is not predicted; plan.options.owners.….most says how many can."
            )

    def says(self, row: int) -> str:
        """Return what to buy or rent, of whom and where."""
        return self.source_of(row).acquired(self.found.machine(row), self.run)


def train_work(scenario: Scenario, run: str, kinds: tuple[NodeKind, ...], terms: Terms, catalog: Catalog) -> TrainWork:
    """Return a training goal with all its combinations.

    Raises
    ------
    InputError
        No such run, no machine that can run it, no way to have one.
    """
    machines, removed = machines_for(scenario, run, kinds, catalog)
    found, sources = train_candidates(scenario, run, terms, machines)
    found.over["simulated"] = np.zeros(len(found))  # type: ignore[index]
    notes = [f"{run}: {count} of the machines tried cannot run it ({code})." for code, count in sorted(removed.items())]
    return TrainWork(scenario, catalog, terms, run, scenario.plan.objective, found, machines, sources, removed, notes=notes)


def role_rows(work: GoalWork, row: int, reached: bool, besides: int) -> list[tuple[int, str]]:
    """Return the combinations that the table shows, with their roles: the choice, finalists, the front, and the next best."""
    found = work.found
    feasible = np.flatnonzero(found.feasible())
    chosen: dict[int, str] = {row: "chosen" if reached else "near"}
    for i in work.confirmed:
        chosen.setdefault(i, "finalist")
    if feasible.size:
        for i in front(found, feasible)[: 2 * besides]:
            chosen.setdefault(int(i), "front")
    return list(chosen.items())


def columns_of(work: GoalWork, rows: list[tuple[int, str]]) -> dict[str, list[Any]]:
    """Return the rows as columns of the table ``plan_candidates``."""
    found = work.found
    ratios = found.ratios()
    out: list[dict[str, Any]] = []
    for i, role in rows:
        done = work.confirmed.get(i)
        values = {key: float(column[i]) for key, column in found.values.items()}
        text = {axis: str(column[i]) or None for axis, column in found.axes.items()}
        broken = [f"{name} ×{float(ratio[i]):.4g}" for name, ratio in ratios.items() if ratio[i] > 1.0 + 1e-12]
        out.append(
            {
                "goal": found.goal, "role": role, "nodes": text.get("nodes") or "", "accelerator": text.get("accelerator"),
                "count": int(found.axes["count"][i]), "devices": round(values.get("devices", 0.0)), "fabric": text.get("fabric"),
                "storage": text.get("storage"), "owner": text.get("owner") or "", "provider": text.get("provider") or "",
                "place": text.get("place") or "", "country": text.get("country"), "time_s": values["time_s"], "sure_s": values["sure_s"],
                "cost_usd": values["cost_usd"], "outlay_usd": values["outlay_usd"], "carbon_kg_co2e": values["carbon_kg_co2e"],
                "energy_j": values["energy_j"], "power_w": values["power_w"], "racks": values["racks"], "limits": ", ".join(broken) or None,
                "simulated_s": done.time_s if done and not done.why else math.nan, "simulated_usd": done.cost_usd if done and not done.why else math.nan,
                "price": work.price(i),
            }
        )  # fmt: skip
    return {key: [row[key] for row in out] for key in out[0]}
