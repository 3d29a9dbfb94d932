"""The capacity plan of a scenario: five steps over six facets, from goals to a machine that reaches them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog, default, overlaid
from hpcsim.results.quantities import brief
from hpcsim.scenario.load import Scenario, load
from hpcsim.study.planning.choose import Choice, Nearest, choose, nearest, residual
from hpcsim.study.planning.doubt import doubts_of, plan_ranges, plan_tornado
from hpcsim.study.planning.machines import kinds_of
from hpcsim.study.planning.names import plan_problems
from hpcsim.study.planning.queue_work import QueueWork, queue_work
from hpcsim.study.planning.sheet import Sheet
from hpcsim.study.planning.sources import terms_of
from hpcsim.study.planning.store_work import store_work
from hpcsim.study.planning.works import GoalWork, TrainWork, columns_of, role_rows, train_work

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["plan"]

NO_PLAN = problem_kind("no-plan", "the scenario has no plan", "add a section plan with goals, options and limits")
RULED_OUT = problem_kind(
    "plan-ruled-out", "no combination of {goal} is allowed at all: {why}", "allow more places or operators, or name options that can do it"
)
MOST_STRUCK = 60
"""Combinations that simulations may refuse before the plan stops at the nearest."""
BESIDES = 12
"""Finalists and points of the front that the table of candidates shows, at least."""
TIMED = ("within", "by", "simulated")


def _works(scenario: Scenario, catalog: Catalog, notes: list[str]) -> list[GoalWork]:
    kinds = kinds_of(scenario, catalog) if scenario.plan.goals.train or scenario.plan.goals.queue else ()
    terms = terms_of(scenario, catalog)
    works: list[GoalWork] = [train_work(scenario, run, kinds, terms, catalog) for run in scenario.plan.goals.train]
    if scenario.plan.goals.queue is not None:
        works.append(queue_work(scenario, kinds, terms, catalog))
    works += [store_work(scenario, name, terms, catalog) for name in scenario.plan.goals.store]
    notes += terms.notes
    return works


def _decide(works: Sequence[GoalWork], objective: str, step: Callable[[str], None]) -> tuple[Choice | None, Nearest | None]:
    """Choose, simulate, and choose again without what the simulation refuses."""
    goals = [work.found for work in works]
    for _ in range(MOST_STRUCK):
        choice = choose(goals, objective)
        if choice is None:
            break
        step("simulating the best")
        for work, row in zip(works, choice.rows):
            work.confirm(row)
        if all(float(work.found.over["simulated"][row]) <= 1.0 + 1e-12 for work, row in zip(works, choice.rows)):
            return choice, None
    return None, nearest(goals, objective)


def plan(
    scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None, progress: Callable[[str], None] | None = None
) -> Results:
    """Plan the capacity that reaches a scenario's goals.

    Every combination of node type, number, fabric, storage, owner and place is computed in closed form, as arrays; the best that keeps
    all limits is simulated, and the next one taken where the simulation misses a goal. Goals that share a limit are divided by a
    mixed-integer program. Where nothing reaches the goals, the nearest combination is given with the limits that bind.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        With a section ``plan``.
    catalog : Catalog, optional
    progress : callable, optional
        Is told in a few words what is being done.

    Returns
    -------
    Results
        Tables ``plan`` (five steps over six facets), ``plan_candidates``, ``plan_bill``, ``plan_months``, ``plan_savings``. The summary's
        ``goals_reached`` says how many goals the plan reaches.

    Raises
    ------
    InputError
        Every problem of the scenario with its place; goals that nothing can reach because compliance rules everything out.
    """
    began = time.perf_counter()
    scenario = load(scenario)
    if scenario.plan is None:
        raise InputError([scenario.locate(NO_PLAN(path="plan"))])
    catalog = catalog or default()
    try:
        return _plan(scenario, catalog, progress or (lambda _: None), began)
    except InputError as error:
        raise InputError([scenario.locate(p) for p in error.problems]) from None


def _plan(scenario: Scenario, catalog: Catalog, step: Callable[[str], None], began: float) -> Results:
    if scenario.catalogs:
        catalog = overlaid(catalog, [scenario.folder / name for name in scenario.catalogs])
    notes: list[str] = []
    if wrong := plan_problems(scenario, catalog):
        raise InputError(wrong)
    step("computing every combination")
    works = _works(scenario, catalog, notes)
    choice, near = _decide(works, scenario.plan.objective, step)
    if choice is None and near is None:
        raise _ruled_out(works)
    rows = choice.rows if choice else near.rows  # type: ignore[union-attr]
    sheet = Sheet()
    goals = [work.found for work in works]
    for k, (work, row) in enumerate(zip(works, rows)):
        found = residual(goals, rows, k)
        if choice:
            step("simulating the finalists")
            for rival in work.rivals_of(found, row):
                work.confirm(rival)
        step("writing the steps")
        work.write(sheet, found, row, reached=choice is not None)
    return _results(scenario, works, rows, choice, near, sheet, notes, time.perf_counter() - began)


def _ruled_out(works: Sequence[GoalWork]) -> InputError:
    for work in works:
        hard = {name: bool(np.isinf(ratio).all()) for name, ratio in work.found.over.items()}
        if not np.isfinite(np.maximum.reduce([work.found.values["cost_usd"], *work.found.over.values()])).any():
            why = (
                " and ".join(name.replace("_", " ") for name, all_ in hard.items() if all_)
                or "limits that cannot be moved exclude each other"
            )
            return RULED_OUT.error(path="plan.limits", goal=work.found.goal, why=why)
    return RULED_OUT.error(path="plan.limits", goal=works[0].found.goal, why="limits exclude each other")


def _limit_words(scenario: Scenario, works: Sequence[GoalWork], name: str, factor: float) -> str:
    """Return a limit and what it would have to be, in words."""
    goal, _, limit = name.rpartition(": ")
    limits = scenario.plan.limits
    train = [w for w in works if isinstance(w, TrainWork) and (not goal or w.found.goal == goal)]
    if limit in TIMED and train:
        spec = scenario.plan.goals.train[train[0].run]
        given = spec.within if limit != "by" and spec.within is not None else spec.by
        return f"{name} {readable(float(given or 0.0) * factor, 'time', 3)} instead of {readable(float(given or 0.0), 'time', 3)}"
    shown = {"budget": "cost_usd", "outlay": "cost_usd", "power": "peak_power_w", "carbon": "carbon_kg_co2e"}
    value = getattr(limits, limit, None)
    if limit in shown and value is not None:
        needed, had = brief(shown[limit], value * factor), brief(shown[limit], value)
        return f"{name} {needed} instead of {had}" if needed != had else f"{name} {had} and {100 * (factor - 1):.2g} % more"
    if limit == "racks" and value is not None:
        return f"{name} {math.ceil(value * factor - 1e-9):,} instead of {value:,}"
    return f"{name} × {factor:.4g}"


def _answer(
    scenario: Scenario,
    works: Sequence[GoalWork],
    rows: Sequence[int],
    choice: Choice | None,
    near: Nearest | None,
    ranges: Mapping[str, tuple[float, float]],
) -> str:
    said = "; ".join(work.says(row) for work, row in zip(works, rows))
    cost = sum(float(w.found.values["cost_usd"][r]) for w, r in zip(works, rows))
    carbon = sum(np.nan_to_num(float(w.found.values["carbon_kg_co2e"][r])) for w, r in zip(works, rows))
    ends = ranges.get("cost_usd")
    spread = f" ({brief('cost_usd', ends[0])} to {brief('cost_usd', ends[1])})" if ends else ""
    takes = f"{brief('cost_usd', cost)}{spread}" + (f", {readable(carbon, 'carbon mass', 3)} CO2e" if math.isfinite(carbon) else "")
    times = [float(w.found.values["time_s"][r]) for w, r in zip(works, rows) if isinstance(w, TrainWork)]
    if len(times) == 1:
        takes = f"{readable(times[0], 'time', 3)}, {takes}"
    if choice:
        done = [w.confirmed[r] for w, r in zip(works, rows) if r in w.confirmed and not w.confirmed[r].why and isinstance(w, TrainWork)]
        seen = f"; simulated: {readable(done[0].time_s, 'time', 3)}" if len(done) == 1 else ""
        waits = [w.confirmed[r].high_s for w, r in zip(works, rows) if isinstance(w, QueueWork) and r in w.confirmed]
        seen += f"; wait at the quantile, simulated: {readable(waits[0], 'time', 3)} at most" if waits else ""
        return f"{said[:1].upper()}{said[1:]}: {takes}{seen}."
    assert near is not None
    binds = ", ".join(_limit_words(scenario, works, name, factor) for name, factor in near.binding.items())
    alone = [(n, f) for n, f in near.alone.items() if math.isfinite(f)]
    lead = "; any one of these alone would do: " if len(works) == 1 else "; each goal without the others would need one of: "
    would = lead + ", ".join(_limit_words(scenario, works, n, f) for n, f in alone) if alone else ""
    return f"Nothing reaches the goals. The nearest is to {said}: {takes}; it needs {binds}{would}."


def _summary(works: Sequence[GoalWork], rows: Sequence[int], choice: Choice | None, near: Nearest | None) -> dict[str, Any]:
    def total(name: str) -> float:
        known = [value for w, r in zip(works, rows) if math.isfinite(value := float(w.found.values[name][r]))]
        return sum(known) if known else math.nan

    summary: dict[str, Any] = {
        "goals": len(works),
        "goals_reached": len(works) if choice else sum(bool(w.found.feasible()[r]) for w, r in zip(works, rows)),
        "combinations": sum(len(w.found) for w in works),
        "combinations_feasible": sum(int(w.found.feasible().sum()) for w in works),
        "finalists_simulated": sum(len(w.confirmed) for w in works),
        "cost_usd": total("cost_usd"),
        "outlay_usd": total("outlay_usd"),
        "racks": total("racks"),
    }
    for key, name in (("carbon_kg_co2e", "carbon_kg_co2e"), ("peak_power_w", "power_w"), ("facility_energy_j", "energy_j")):
        if math.isfinite(value := total(name)):
            summary[key] = value
    trains = [(w, r) for w, r in zip(works, rows) if isinstance(w, TrainWork)]
    if len(trains) == 1:
        work, row = trains[0]
        machine = work.machines[int(work.found.extra["machine"][row])]
        time_s = float(work.found.values["time_s"][row])
        summary["wall_clock_s"] = time_s
        summary["device_time_s"] = time_s * machine.devices
        summary["mfu_frac"] = float(machine.plan.cost.mfu_frac)
        summary["cost_per_mtoken_usd"] = (
            float(work.found.values["cost_usd"][row]) / (machine.plan.steps * machine.plan.tokens_per_step) * 1e6
        )
        done = work.confirmed.get(row)
        if done and not done.why:
            summary["simulated_wall_clock_s"] = done.time_s
            summary["goodput_frac"] = done.goodput_frac
    if near:
        summary["binding_limits"] = ", ".join(f"{name} ×{factor:.4g}" for name, factor in near.binding.items())
    return summary


def _results(
    scenario: Scenario,
    works: Sequence[GoalWork],
    rows: Sequence[int],
    choice: Choice | None,
    near: Nearest | None,
    sheet: Sheet,
    notes: list[str],
    wall_s: float,
) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    columns: dict[str, list[Any]] = {}
    for work, row in zip(works, rows):
        for key, values in columns_of(work, role_rows(work, row, choice is not None, BESIDES)).items():
            columns.setdefault(key, []).extend(values)
    tables = {"plan": frame("plan", sheet.columns("rows")), "plan_candidates": frame("plan_candidates", columns)}
    for name in ("bill", "months", "savings", "prices"):
        if rows_of := sheet.columns(name):
            tables[f"plan_{name}"] = frame(f"plan_{name}", rows_of)
    known = [fact for w, r in zip(works, rows) if isinstance(w, TrainWork) for fact in w.facts(r)]
    if known:
        tables["sources"] = frame(
            "sources", {key: [getattr(fact, key) or None for fact in dict.fromkeys(known)] for key in known[0]._fields}
        )
    summary = _summary(works, rows, choice, near)
    doubts, names = doubts_of(works, rows)
    ranges = {key: ends for key, ends in plan_ranges(works, rows, doubts, names, scenario.simulate.seed).items() if key in summary}
    for name, content in plan_tornado(works, rows, doubts, names).items():
        if content["input"]:
            tables[name] = frame(name, content)
    summary["wall_s"] = wall_s
    said = [*scenario.notes, *notes, *(note for work in works for note in work.notes)]
    if near and near.alone:
        lead = "Alone" if len(works) == 1 else "For that goal without the others"
        said += [f"{lead}, {_limit_words(scenario, works, n, f)} would do." for n, f in near.alone.items() if math.isfinite(f)]
    return Results(
        name=scenario.name,
        question=scenario.question,
        answer=_answer(scenario, works, rows, choice, near, ranges),
        kind="plan",
        summary=summary,
        ranges=ranges,
        tables=tables,
        notes=list(dict.fromkeys(said)),
        provenance=provenance(scenario_sha256=scenario.digest(), seed=scenario.simulate.seed, how=choice.how if choice else "nearest"),
    )
