"""Explanations: where a step's time goes, what binds it and what would shorten it; and the formula behind any number."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpcsim.base.errors import problem_kind
from hpcsim.study.formulas import FORMULAS, GIVEN

if TYPE_CHECKING:
    from hpcsim.catalog.lookup import Catalog
    from hpcsim.results.record import Results
    from hpcsim.scenario.load import Scenario
    from hpcsim.study.binding import House
    from hpcsim.workload.jobs import JobTable, Trace

__all__ = ["explain", "explain_log", "explain_run", "explain_term", "names"]

NO_TERM = problem_kind("unknown-term", "no number is called {name!r}", "{near}")
NO_MACHINE = problem_kind(
    "explain-no-machine", "waits are explained on a machine, and none is given", "give its nodes, for example --nodes 100"
)
NO_JOB_NAMED = problem_kind("explain-no-job-named", "of a scenario, the wait of one job is explained", "name it with --job")
NO_TRAINING = problem_kind(
    "explain-no-training",
    "the scenario {name!r} has neither a training run nor a data pipeline",
    "their time is explained; other numbers by their name",
)


def names() -> list[str]:
    """Return every name that :func:`explain_term` takes: step terms, memory terms, summary keys, table columns."""
    from hpcsim.cost.step_cost import TERMS
    from hpcsim.results.quantities import SUMMARY
    from hpcsim.results.tables import TABLES

    columns = [f"{table.name}.{column.name}" for table in TABLES.values() for column in table.columns]
    memory = [name for name in FORMULAS if name.startswith("memory.") and name not in columns]
    return [*TERMS, *memory, *SUMMARY, *columns]


def _declared(name: str) -> dict[str, Any]:
    """Return what the declarations say of a name: kind, unit, meaning."""
    from hpcsim.cost.step_cost import TERMS
    from hpcsim.results.quantities import SUMMARY, quantity
    from hpcsim.results.tables import TABLES

    table, _, column = name.rpartition(".")
    if table in TABLES and (declared := TABLES[table].column(column)) is not None:
        return {"kind": "column", "unit": declared.unit, "meaning": declared.meaning}
    if name in TERMS:
        return {"kind": "term of a step", "unit": "s", "meaning": "Time that this part adds to a training step."}
    if table == "memory":
        return {"kind": "term of memory", "unit": "B", "meaning": "Size of this part on the fullest device."}
    if name in SUMMARY:
        what = quantity(name)
        return {"kind": "summary key", "unit": what.unit, "meaning": what.meaning}
    for declared_table in TABLES.values():
        declared = declared_table.column(name)
        if declared is not None:
            return {"kind": "column", "unit": declared.unit, "meaning": declared.meaning}
    return {"kind": "number", "unit": quantity(name).unit, "meaning": quantity(name).meaning}


def explain_term(name: str) -> dict[str, str]:
    """Return what a number is and how it comes about.

    Parameters
    ----------
    name : str
        A step's term (``bubble``), ``memory.TERM``, a summary key (``mfu_frac``) or ``TABLE.COLUMN`` (``jobs.wait_s``); blanks and hyphens
        count as underscores.

    Returns
    -------
    dict
        ``name``, ``kind``, ``unit``, ``meaning``, ``formula``, ``symbols``, ``source``.

    Raises
    ------
    InputError
        There is no such number; the hint names near ones.

    Examples
    --------
    >>> explain_term("breakdown.fraction")["formula"]
    'time of the part / sum of all parts'
    """
    known = str(name).strip().replace(" ", "_").replace("-", "_")
    whole = set(names()) | set(FORMULAS) | set(GIVEN)
    if known not in whole:
        candidates = {**{n.rpartition(".")[2]: n for n in sorted(whole, reverse=True)}, **{n: n for n in sorted(whole)}}
        near = sorted((n for n in candidates if n.startswith(f"{known}_") and "." not in n), key=len) + difflib.get_close_matches(
            known, candidates, 3, 0.7
        )
        words = " or ".join(list(dict.fromkeys(candidates[n] for n in near))[:3])
        hint = (f"did you mean {words}? " if words else "") + "The names are those of docs/reference/tables.md and of a step's terms"
        raise NO_TERM.error(name=name, near=hint)
    column = known.rpartition(".")[2]
    table = known.rpartition(".")[0]
    entry = {"name": known, **{k: str(v) for k, v in _declared(known).items()}}
    for place in (known, "" if table == "memory" and f"memory.{column}" in FORMULAS else column):
        if place in FORMULAS:
            formula = FORMULAS[place]
            return {**entry, "formula": formula.text, "symbols": formula.symbols, "source": formula.source}
        if place in GIVEN:
            return {**entry, "formula": GIVEN[place], "symbols": "", "source": ""}
    return {**entry, "formula": _own_formula(table, column), "symbols": "", "source": ""}


def _own_formula(table: str, column: str) -> str:
    """Return the formula that a column is declared with; a column of text is a label."""
    from hpcsim.results.tables import TABLES

    declared = TABLES[table].column(column) if table in TABLES else None
    if declared is None:
        return ""
    return declared.formula or ("a label of the row" if declared.dtype == "str" else "")


def explain_run(scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None) -> Results:
    """Return where the time and memory of a scenario's training steps go, what binds them, and what doubling each resource would bring.

    Returns
    -------
    Results
        Those of :func:`hpcsim.estimate` with the tables ``breakdown``, ``memory``, ``what_if`` and ``memory_stages`` in front; without a
        training run what bounds the data pipelines, with the tables ``stages`` and ``what_if``.

    Raises
    ------
    InputError
        Every problem of the scenario, or it has neither a training run nor a data pipeline.
    """
    import dataclasses

    from hpcsim.results.quantities import show
    from hpcsim.results.tables import frame
    from hpcsim.run.bind import bind
    from hpcsim.run.estimate import estimate
    from hpcsim.scenario.load import load
    from hpcsim.workload.what_if import setup_of, stage_memories, what_if

    scenario = load(scenario)
    bound = bind(scenario, catalog=catalog)
    if not bound.trainings and not bound.pipelines:
        raise NO_TRAINING.error(name=scenario.name)
    results = estimate(scenario, catalog=catalog)
    if not bound.trainings:
        from hpcsim.study.pipelines import explain_pipelines

        return explain_pipelines(bound, results)
    rows: dict[str, list[Any]] = {key: [] for key in ("name", "resource", "step_time_s", "speedup_ratio", "saved_s", "term")}
    held: dict[str, list[Any]] = {
        key: [] for key in ("name", "stage_number", "stage_layers", "state_bytes", "most_bytes", "most_s", "during")
    }
    sentences = []
    for plan in bound.trainings:
        cost = plan.cost
        changes = what_if(setup_of(plan, scenario.workload.training[plan.name], bound.cluster, bound.catalog), cost)
        whole = float(cost.step_time_s)
        for change in changes:
            values = (
                plan.name,
                change.resource,
                change.step_time_s,
                whole / change.step_time_s,
                change.saved_s,
                change.term.replace("_", " ") or None,
            )
            for key, value in zip(rows, values, strict=True):
                rows[key].append(value)
        for stage in stage_memories(setup_of(plan, scenario.workload.training[plan.name], bound.cluster, bound.catalog), cost):
            state = stage.terms["weights"] + stage.terms["gradients"] + stage.terms["optimizer"]
            of_stage: tuple[Any, ...] = (plan.name, stage.stage + 1, stage.layers, state, stage.peak_bytes, stage.peak_s, stage.during)
            for key, entry in zip(held, of_stage, strict=True):
                held[key].append(entry)
        largest = max(cost.terms, key=lambda term: float(cost.terms[term]))
        share = float(cost.terms[largest]) / whole
        resources = [change for change in changes if not change.resource.startswith("devices")]
        best = resources[0]
        verb, what = ("halving", best.resource.replace(" (halved)", "")) if "halved" in best.resource else ("doubling", best.resource)
        sentences.append(
            f"A step of {plan.name} takes {show('step_time_s', whole)} and is bound by {cost.bound_by()}: {show('x_frac', share)} is "
            f"{largest.replace('_', ' ')}; {verb} the {what} would save {show('x_frac', max(best.saved_s, 0.0) / whole)}."
        )
    shown = ("training", "breakdown", "memory")
    kept: dict[str, Any] = {name: results.tables[name] for name in shown if name in results.tables}
    return dataclasses.replace(
        results,
        kind="explain",
        question=f"Where does the time of a step go, and what would shorten it? ({scenario.name})",
        answer=" ".join(sentences),
        tables={**kept, "what_if": frame("what_if", rows), "memory_stages": frame("memory_stages", held)},
    )


def explain_log(
    log: str | Path | JobTable | Trace | Results,
    *,
    job: int | None = None,
    submit: tuple[int, float] | None = None,
    at_s: float | None = None,
    nodes: int | None = None,
    cores_per_node: int = 1,
    gpus_per_node: int | None = None,
    policy: str = "easy",
    rack: int | None = None,
    trace_format: str | None = None,
    draws: int = 20,
    seed: int = 0,
    placement: str | None = None,
    locality: Literal["any", "node"] | None = None,
    memory_per_node: int | None = None,
    **reading: Any,
) -> Results:
    """Explain the waits of a job log on a machine, or the wait of one job of a scenario.

    Parameters
    ----------
    log : path, JobTable, Trace or Results
        A job log; a scenario's file, or the results of a run or replay, with ``job``.
    job : int, optional
        Why this job waited. Without it and without ``submit``: what all jobs wait for, and what would change it.
    submit : (int, float), optional
        Processors and estimate [s] of a job that is submitted now: when it would start, and in which range.
    at_s : float, optional [s]
        Now; the last submission of the log without it.
    nodes, cores_per_node, gpus_per_node
        The machine, as in :func:`hpcsim.replay`.
    policy : str
    rack : int, optional
        Nodes of one more rack; a tenth of the machine without it.
    trace_format : str, optional
    draws, seed : int
        With ``submit``: drawn futures.
    placement, locality, memory_per_node
        As in :func:`hpcsim.replay`: with any of them jobs get nodes, and the reasons are told by resource.
    reading : columns, zone, processors, dependencies, whole_nodes, cut, max_jobs
        How the log is read, as in :func:`hpcsim.replay`.

    Raises
    ------
    InputError
        No such job, no machine for a log, a log that cannot be read.
    """
    from hpcsim.results.record import Results as Whole
    from hpcsim.scheduling.machine import NodeClass
    from hpcsim.study.binding import House
    from hpcsim.study.floor import floor_of
    from hpcsim.study.forecast import forecast_start
    from hpcsim.study.log_notes import column_notes
    from hpcsim.study.pool_waits import explain_room
    from hpcsim.study.replay import dropped_notes, load_log
    from hpcsim.study.waits import explain_simulated_wait, explain_wait, house_room, house_wait

    if isinstance(log, Whole) or (isinstance(log, (str, Path)) and str(log).endswith((".yaml", ".yml"))):
        from hpcsim.run.simulate import simulate
        from hpcsim.scenario.load import load

        if isinstance(log, Whole):
            if job is None:
                raise NO_JOB_NAMED.error(path="job")
            return explain_simulated_wait(log, job)
        scenario = load(log)
        house = _house_of(scenario)
        if house is not None:
            called = scenario.scheduler.policy
            if job is not None:
                return house_wait(house, called, job, name=scenario.name)
            return house_room(house, called, rack=rack or max(1, round(house.machine.nodes / 10)), name=scenario.name)
        if job is None:
            raise NO_JOB_NAMED.error(path="job")
        return explain_simulated_wait(simulate(scenario), job, policy=scenario.scheduler.policy)
    if nodes is None:
        raise NO_MACHINE.error(path="nodes")
    setup = load_log(
        log,
        nodes=nodes,
        cores_per_node=cores_per_node,
        gpus_per_node=gpus_per_node,
        trace_format=trace_format,
        **reading,
    )
    jobs, name = setup.trace.jobs, Path(setup.trace.file).name.partition(".")[0] or "replay"
    house, quality = None, list(setup.trace.quality)
    if placement or locality or memory_per_node:
        floor, jobs, more = floor_of(
            jobs.sorted_by_submit(),
            NodeClass("node", nodes, cores_per_node, gpus_per_node or 0, memory_per_node or 0),
            placement=placement or "first-fit",
            locality=locality or "any",
        )
        house = House(floor.machine, jobs, floor.demands, policy, floor.placement, floor.asking, setup.processors)
        quality += more
    ahead = rack or max(1, round(nodes / 10))
    if house is not None and submit is None:
        found = house_wait(house, policy, job, name=name) if job is not None else house_room(house, policy, rack=ahead, name=name)
    elif job is not None:
        found = explain_wait(jobs, setup.processors, policy, job, name=name)
    elif submit is not None:
        found = forecast_start(
            jobs,
            setup.processors,
            policy,
            processors=submit[0],
            estimate_s=submit[1],
            at_s=at_s,
            draws=draws,
            seed=seed,
            name=name,
            house=house,
        )
    else:
        found = explain_room(jobs, setup.processors, policy, rack=ahead, per_node=setup.per_node, name=name)
    return dataclasses.replace(found, notes=[*found.notes, *column_notes(setup.trace), *dropped_notes(quality, setup.trace.rows)])


def _house_of(scenario: Scenario) -> House | None:
    """Return the machine of nodes of a scenario's batch jobs, where they have it to themselves."""
    from hpcsim.run.bind import bind
    from hpcsim.run.simulate import batch_machine
    from hpcsim.study.binding import House as Of

    found = batch_machine(bind(scenario))
    if found is None:
        return None
    system, jobs, demands = found
    return Of(
        system.machine, jobs, demands, system.policy, system.placement, system.asking, system.size, "event" if system.by_event else "batch"
    )


def explain(
    what: str | Path | Mapping[str, Any] | Scenario | JobTable | Trace | Results, *, catalog: Catalog | None = None, **waits: Any
) -> Results | dict[str, str]:
    """Explain a number by its name, a scenario's training step, or the waits of jobs.

    A text that ends in ``.yaml`` or ``.yml`` is a scenario, one that names another file a job log; any other text is the name of a number. With the
    arguments of :func:`explain_log` (``job``, ``nodes``, …) the waits are explained.
    """
    from hpcsim.results.record import Results as Whole
    from hpcsim.workload.jobs import JobTable as Table
    from hpcsim.workload.jobs import Trace as Log

    if waits or isinstance(what, (Table, Log, Whole)):
        return explain_log(what, **waits)  # type: ignore[arg-type]
    if isinstance(what, str) and not what.endswith((".yaml", ".yml")) and "\n" not in what and not Path(what).is_file():
        return explain_term(what)
    return explain_run(what, catalog=catalog)
