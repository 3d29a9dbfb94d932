"""Names become objects, and what a scenario means is checked: the second phase, with every problem at once.

Nothing here reads a job log or builds a graph, so that ``hpcsim check`` stays quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.base.reuse import kept
from hpcsim.base.units import parse_fraction, parse_quantity, readable
from hpcsim.catalog.lookup import Catalog, default, overlaid
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.results.quantities import quantity
from hpcsim.run.failures import NOTHING_TO_SAVE, Breakage, RunFaults, breakage_of, expected_loss
from hpcsim.run.hours import Hours, hours_of
from hpcsim.run.pools import BoundJobs, check_nodes, check_pool, groups_of, pool_of
from hpcsim.scenario.load import Scenario, load
from hpcsim.scenario.power import NodeCapSpec
from hpcsim.scenario.spec import AssumeSpec
from hpcsim.scenario.workload import JobsSpec, TrainingSpec
from hpcsim.workload.communication import check_communication
from hpcsim.workload.elastic import Elasticity
from hpcsim.workload.matrix import plan_matrix
from hpcsim.workload.patterns import plan_pattern
from hpcsim.workload.pipeline_parts import PipelinePlan
from hpcsim.workload.pipelines import check_tiers, plan_pipeline
from hpcsim.workload.serving import ServingPlan, check_room, plan_serving
from hpcsim.workload.tasks import TaskPlan, plan_task
from hpcsim.workload.training import Outset, TrainingPlan, assuming, of_length, outset_of, plan_training

__all__ = [
    "MOST_FAILURES",
    "Bound",
    "BoundJobs",
    "Published",
    "bind",
    "catalog_of",
    "check",
    "never_finishes",
    "outsets_of",
    "priced_as",
]

NO_LOG = problem_kind("job-log-missing", "there is no job log {file!r}", "the path is relative to the scenario's folder, {folder}")
LOG_IS_FOLDER = problem_kind("job-log-is-a-folder", "the job log {file!r} is a folder", "name the file inside it")
LOG_EMPTY = problem_kind("job-log-empty", "the job log {file!r} is empty", "a row of a log is a job")
LOG_UNREADABLE = problem_kind("job-log-unreadable", "the job log {file!r} cannot be read: {why}", "check the path and its permissions")
ELASTIC_TALK = problem_kind(
    "communication-elastic",
    "jobs that change their size cannot communicate",
    "leave out workload.jobs.elastic or workload.jobs.communication",
)
UNKNOWN_METRIC = problem_kind("unknown-metric", "no figure {name!r} is computed", "known: {known}")
BAD_FIGURE = problem_kind("published-value", "{value!r} is no {what}", "{hint}")
CAP_BLIND = problem_kind(
    "node-cap-power", "the power of a node of {group!r} is not known, so no cap can hold it", "add {key}.idle_power and {key}.max_power"
)
NO_TIER = problem_kind("stage-tier-unknown", "there is no storage tier {name!r}", "known: {known}")
CAP_LOW = problem_kind("node-cap-low", "at its lowest clock a busy node still draws {least}", "raise the cap")
FAILURES_WITHOUT_WORK = problem_kind(
    "failures-without-work",
    "node failures strike training runs and batch jobs, and this workload has neither",
    "leave failures out; how they strike decomposed tasks and services is not modelled",
)

NOT_PRICED = problem_kind("assume-price", "the catalog prices no {name!r} in this scenario", "{near}")

NO_HEADWAY = problem_kind(
    "never-finishes",
    "{name} makes no headway: something on its {nodes} nodes fails every {mtbf} on average, {saved}, "
    "and to recover takes {recovery}: more than {most:,} failures are to be expected",
    "{save}, recover faster, or take fewer or sounder nodes",
)

MOST_FAILURES = 1_000_000
"""Failures of one training run that are followed one by one."""

PUBLISHED_KEYS = (
    "makespan_s", "wall_clock_s", "node_time_s", "device_time_s", "step_time_s", "mfu_frac", "tokens_per_s", "goodput_frac", "jobs_finished",
    "mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "utilisation_frac", "it_energy_j", "facility_energy_j", "peak_power_w",
    "carbon_kg_co2e", "cost_usd", "peak_memory_bytes", "device_tdp_energy_j", "device_tdp_carbon_kg_co2e", "model_flop",
)  # fmt: skip
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """A published figure in SI."""

    metric: str
    value: float
    source: str
    note: str


@dataclass(frozen=True)
class Bound:
    """A scenario whose every name is an object: ready to be estimated or simulated."""

    scenario: Scenario
    catalog: Catalog
    cluster: Cluster
    trainings: tuple[TrainingPlan, ...]
    jobs: BoundJobs | None
    tasks: tuple[TaskPlan, ...]
    pipelines: tuple[PipelinePlan, ...]
    services: tuple[ServingPlan, ...]
    published: tuple[Published, ...]
    breakage: Breakage | None
    faults: Mapping[str, RunFaults]
    """Failures of each training run."""

    @property
    def networks(self) -> tuple[TrainingPlan | ServingPlan, ...]:
        """Everything that works on a neural network: training runs, then services."""
        return (*self.trainings, *self.services)


def _kept(problems: Problems, make: Callable[[], T], path: str) -> T | None:
    """Return what ``make`` returns; its problems are noted, under ``path`` where they have none of their own."""
    try:
        return make()
    except InputError as error:
        problems.absorb(error, path)
        return None


def _planned(problems: Problems, kind: str, specs: Mapping[str, S], plan: Callable[[str, S], T]) -> list[T]:
    plans = [_kept(problems, lambda n=name, s=spec: plan(n, s), f"workload.{kind}.{name}") for name, spec in specs.items()]  # type: ignore[misc]
    return [made for made in plans if made is not None]


def _jobs(scenario: Scenario, cluster: Cluster, problems: Problems) -> BoundJobs | None:
    spec = scenario.workload.jobs
    if spec is None:
        return None
    groups = groups_of(spec, cluster, problems)
    bound = pool_of(spec, groups, _log(scenario, spec, problems), problems) if groups else None
    if bound is None:
        return None
    if spec.communication and spec.elastic is not None:
        problems.add(ELASTIC_TALK(path="workload.jobs.communication"))
    check_communication(spec.communication, cluster, groups, problems)
    store = scenario.scheduler.data
    if store is not None and store.store not in cluster.storage:
        problems.add(NO_TIER(path="scheduler.data.store", name=store.store, known=", ".join(cluster.storage) or "none"))
    buffer = scenario.scheduler.burst_buffer
    if buffer is not None and buffer.staged_from is not None:
        tier = cluster.storage.get(buffer.staged_from)
        if tier is None:
            problems.add(
                NO_TIER(path="scheduler.burst_buffer.staged_from", name=buffer.staged_from, known=", ".join(cluster.storage) or "none")
            )
        else:
            bound = dataclasses.replace(bound, stage_s_per_byte=1.0 / tier.read_bytes_per_s + 1.0 / tier.write_bytes_per_s)
    cap = scenario.scheduler.node_cap
    if cap is not None and not bound.mixed:
        plain = bound
        bound = _kept(problems, lambda: _capped(plain, cap), "scheduler.node_cap") or bound
    check_pool(bound, scenario, problems)
    check_nodes(bound, scenario, problems)
    return bound


def _elastic(jobs: BoundJobs, trainings: Mapping[str, TrainingSpec], plan: Callable[[str, TrainingSpec], TrainingPlan]) -> Elasticity:
    from hpcsim.run.elastic import elasticity_of

    assert jobs.spec.elastic is not None
    try:
        return elasticity_of(jobs.spec.elastic, jobs.group, jobs.per_node, dict(trainings), plan)
    except InputError as error:
        raise InputError(
            [dataclasses.replace(p, path=f"workload.jobs.{p.path}" if p.path.startswith("elastic") else p.path) for p in error.problems]
        ) from None


def _capped(bound: BoundJobs, cap: NodeCapSpec) -> BoundJobs:
    """Return batch jobs whose nodes draw no more than a cap.

    Raises
    ------
    InputError
        The power of a node is not known, or its lowest clock still draws more.
    """
    from hpcsim.cost.power import capped_clock, slowdown
    from hpcsim.run.record import node_span_w

    group, span = bound.group, node_span_w(bound.group)
    if group.idle_w is None or not span:
        raise CAP_BLIND.error(path="scheduler.node_cap", group=group.name, key=group.path)
    idle = group.idle_w + group.per_node * ((group.accelerator.idle_w or 0.0) if group.accelerator else 0.0)
    found = capped_clock(idle, idle + span, cap.power, beta=cap.beta, min_clock_frac=cap.least_clock)
    if found.saturated:
        raise CAP_LOW.error(path="scheduler.node_cap.power", least=readable(float(found.power_w), "power", 3))
    clock = float(found.clock_frac)
    return dataclasses.replace(bound, draw_frac=clock**cap.beta, slowdown=float(slowdown(clock, cap.compute_bound)))


def _log(scenario: Scenario, spec: JobsSpec, problems: Problems) -> Path | None:
    if spec.trace is None:
        return None
    file = scenario.folder / spec.trace.file
    path = "workload.jobs.trace.file"
    before = len(problems.items)
    try:
        if file.is_dir():
            problems.add(_plain(LOG_IS_FOLDER, path, spec.trace.file))
        elif not file.exists():
            problems.add(_plain(NO_LOG, path, spec.trace.file, folder=str(scenario.folder.resolve())))
        elif file.stat().st_size == 0:
            problems.add(_plain(LOG_EMPTY, path, spec.trace.file))
    except OSError as error:
        problems.add(_plain(LOG_UNREADABLE, path, spec.trace.file, why=error.strerror or str(error)))
    try:
        if len(problems.items) == before:
            _find_reader(file, spec.trace.format or ("csv" if spec.trace.columns else None))
    except InputError as error:
        for problem in error.problems:
            problems.add(dataclasses.replace(problem, path=path if spec.trace.format is None else "workload.jobs.trace.format", file=""))
    return file


def _find_reader(file: Path, name: str | None) -> None:
    """Make sure that some trace reader takes a job log, before the log is read."""
    from hpcsim.workload.jobs import format_of, known_readers

    known_readers().get(name or format_of(file))


def _plain(kind: Any, path: str, file: str, **fields: object) -> Problem:
    """Return a problem that names a file in its words; its place is the scenario's."""
    problem: Problem = kind(path=path, file=file, **fields)
    return dataclasses.replace(problem, file="")


def _figure(name: str, value: str | float, path: str) -> float:
    if name not in PUBLISHED_KEYS:
        raise UNKNOWN_METRIC.error(path=path, name=name, known=", ".join(PUBLISHED_KEYS))
    what = quantity(name)
    if what.dimension == "fraction":
        return parse_fraction(value)
    if what.dimension in ("count", "ratio"):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise BAD_FIGURE.error(path=path, value=value, what="number", hint="a plain number is needed")
        return number
    return parse_quantity(value, what.dimension)


def _headway(plan: TrainingPlan, faults: RunFaults, until_s: float | None, problems: Problems) -> None:
    """Refuse a run that failures keep from its end, unless a horizon ends it."""
    found = expected_loss(plan, faults)
    events = float(found.failures) + float(found.false_alarms)
    if until_s is not None:
        rate = faults.failures_per_s + faults.false_alarms_per_s
        events = rate * min(float(found.wall_s), max(until_s - plan.submit_s, 0.0))
    if not events <= MOST_FAILURES:
        problems.add(never_finishes(plan, faults.failures_per_s))


def never_finishes(plan: TrainingPlan, failures_per_s: float) -> Problem:
    """Return the problem of a run that failures keep from its end."""
    work = readable(min(plan.checkpoint_interval_s, plan.work_s), "time", 3)
    bare = f"save it with checkpoint: {{to: TIER}} in {plan.path}, TIER one of cluster.storage"
    return NO_HEADWAY(
        path=plan.path,
        name=plan.name,
        nodes=plan.nodes,
        mtbf=readable(1.0 / failures_per_s, "time", 3),
        saved=f"{work} of work lie between checkpoints" if plan.checkpoint_tier else f"none of its {work} of work is saved on the way",
        recovery=readable(plan.recovery_s, "time", 3),
        most=MOST_FAILURES,
        save="checkpoint more often" if plan.checkpoint_tier else bare,
    )


def _struck(plans: list[TrainingPlan], breakage: Breakage | None, scenario: Scenario, problems: Problems) -> dict[str, RunFaults]:
    """Return the failures of each run; those that keep a run from its end are problems."""
    if breakage is None:
        return {}
    faults = {plan.name: breakage.faults_of(plan) for plan in plans}
    for plan in plans:
        _headway(plan, faults[plan.name], scenario.simulate.until, problems)
        if breakage.prediction is not None and not plan.checkpoint_tier:
            problems.add(NOTHING_TO_SAVE(path="failures.prediction", run=plan.name))
    return faults


def _published(scenario: Scenario, problems: Problems) -> tuple[Published, ...]:
    rows = []
    for name, spec in scenario.published.items():
        path = f"published.{name}"
        try:
            rows.append(Published(name, _figure(name, spec.value, path), spec.source, spec.note))
        except InputError as error:
            problems.absorb(error, f"{path}.value")
    return tuple(rows)


def _policy(scenario: Scenario, hours: Hours | None, problems: Problems) -> None:
    from hpcsim.run.policies import policy_of
    from hpcsim.scheduling.placement import make_placement

    unread = hours is None and scenario.cluster.site.hourly is not None
    _kept(problems, lambda: policy_of(scenario.scheduler, hours=hours, watched=not unread), "scheduler.policy")
    if scenario.scheduler.placement is not None:
        _kept(problems, lambda: make_placement(scenario.scheduler.placement or ""), "scheduler.placement")


def _machine_key(scenario: Scenario) -> str:
    spec = scenario.cluster  # the entry holds it, so that its id stays its own
    said: str = kept("machine key", lambda: id(spec), lambda: (spec, spec.model_dump_json(exclude={"site", "prices"})))[1]
    return said


def _run_key(name: str, spec: TrainingSpec, machine: str, catalog: Catalog, scenario: Scenario) -> tuple[Hashable, ...]:
    """Return what a run's outset depends on: all but its length, site and prices."""
    return name, spec.model_dump_json(exclude={"tokens", "samples", "steps"}), machine, id(catalog), scenario.folder


def catalog_of(scenario: Scenario, catalog: Catalog | None = None) -> Catalog:
    """Return the catalog with the scenario's own overlays on top."""
    plain = catalog or default()
    if not scenario.catalogs:
        return plain
    names = [scenario.folder / name for name in scenario.catalogs]
    return kept("catalog", lambda: (id(plain), *map(str, names)), lambda: overlaid(plain, names))


def outsets_of(scenario: Scenario) -> list[tuple[Hashable, Outset]]:
    """Return what the training runs of a scenario are planned from, each under the key that :func:`bind` keeps it by; none where it is wrong."""
    runs = scenario.workload.training
    if not runs:
        return []
    found: list[tuple[Hashable, Outset]] = []
    with contextlib.suppress(InputError):
        catalog, machine = catalog_of(scenario), _machine_key(scenario)
        for name, spec in runs.items():
            key = _run_key(name, spec, machine, catalog, scenario)

            def make(name: str = name, spec: TrainingSpec = spec, catalog: Catalog = catalog) -> Outset:
                cluster = resolve(scenario.cluster, catalog, folder=scenario.folder)
                return outset_of(name, spec, cluster, catalog, folder=scenario.folder)

            found.append((key, kept("outset", lambda k=key: k, make)))  # type: ignore[misc]
    return found


def bind(scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None) -> Bound:
    """Bind a scenario's names to objects and check what it means.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    catalog : Catalog, optional
        The default one without it.

    Raises
    ------
    InputError
        Every problem of the scenario's form, or else every problem of its meaning, each with its place.
    """
    scenario = load(scenario)
    catalog = catalog_of(scenario, catalog)
    problems = Problems()
    hours = None
    try:
        hours = hours_of(scenario)
    except InputError as error:
        problems.absorb(error)
    try:
        bound = _bind(scenario, catalog, hours, problems)
        problems.raise_if_any()
    except InputError as error:
        raise InputError(sorted((scenario.locate(p) for p in error.problems), key=lambda p: (p.line, p.column))) from None
    return bound


def priced_as(group: NodeGroup) -> str:
    """Return the name under which a group's catalog price moves with others': its accelerator, or its node type."""
    return group.accelerator.id if group.accelerator else group.type or group.name


def _repriced(cluster: Cluster, assume: AssumeSpec, problems: Problems) -> Cluster:
    """Return the cluster with its catalog prices scaled by what is assumed of them."""
    if not assume.prices:
        return cluster
    from_catalog = {name: price for name, price in cluster.prices.items() if price.provider and price.usd_per_s is not None}
    names = sorted({priced_as(cluster.groups[name]) for name in from_catalog})
    for name in assume.prices:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else "priced by the catalog here: " + (", ".join(names) or "nothing")
            problems.add(NOT_PRICED(path=f"assume.prices.{name}", name=name, near=hint))
    scaled = {
        name: dataclasses.replace(price, usd_per_s=(price.usd_per_s or 0.0) * assume.prices.get(priced_as(cluster.groups[name]), 1.0))
        for name, price in from_catalog.items()
    }
    return dataclasses.replace(cluster, prices={**cluster.prices, **scaled})


def _bind(scenario: Scenario, catalog: Catalog, hours: Hours | None, problems: Problems) -> Bound:
    _policy(scenario, hours, problems)
    published = _published(scenario, problems)
    try:
        cluster = resolve(scenario.cluster, catalog, folder=scenario.folder)
    except InputError as error:
        problems.absorb(error)
        problems.raise_if_any()
        raise
    cluster = _repriced(cluster, scenario.assume, problems)
    breakage = _kept(problems, lambda: breakage_of(scenario.failures, catalog), "failures")
    work = scenario.workload
    machine = _machine_key(scenario)

    def run_of(name: str, spec: TrainingSpec) -> TrainingPlan:
        """Plan a run; what it is planned with does not depend on site and prices, and its length only scales it."""
        key = _run_key(name, spec, machine, catalog, scenario)
        found = kept(
            "training",
            lambda: (key, breakage),
            lambda: plan_training(
                name,
                spec,
                cluster,
                catalog,
                sudden_per_s=breakage.sudden_per_s if breakage else None,
                folder=scenario.folder,
                outset=kept("outset", lambda: key, lambda: outset_of(name, spec, cluster, catalog, folder=scenario.folder)),
            ),
        )
        return assuming(of_length(found, spec), scenario.assume)

    trainings = _planned(problems, "training", work.training, run_of)
    tasks = _planned(problems, "tasks", work.tasks, lambda n, s: plan_task(n, s, cluster))
    tasks += _planned(problems, "matrix_products", work.matrix_products, lambda n, s: plan_matrix(n, s, cluster))
    tasks += _planned(problems, "patterns", work.patterns, lambda n, s: plan_pattern(n, s, cluster))
    pipelines = _planned(problems, "pipelines", work.pipelines, lambda n, s: plan_pipeline(n, s, cluster, catalog))
    check_tiers(pipelines, cluster, problems)
    services = _planned(problems, "serving", work.serving, lambda n, s: plan_serving(n, s, cluster, catalog, folder=scenario.folder))
    check_room(services, problems)
    faults = _struck(trainings, breakage, scenario, problems)
    if breakage is not None:
        trainings = [dataclasses.replace(plan, notes=plan.notes + breakage.note(plan)) for plan in trainings]
    jobs = _jobs(scenario, cluster, problems)
    if jobs is not None and jobs.spec.elastic is not None and not jobs.mixed:
        plain = jobs
        elastic = _kept(problems, lambda: _elastic(plain, work.training, run_of), "workload.jobs.elastic")
        jobs = dataclasses.replace(jobs, elastic=elastic)
    if scenario.failures.any and not work.training and not work.jobs:
        problems.add(FAILURES_WITHOUT_WORK(path="failures"))
    problems.raise_if_any()
    return Bound(
        scenario=scenario,
        catalog=catalog,
        cluster=cluster,
        trainings=tuple(trainings),
        jobs=jobs,
        tasks=tuple(tasks),
        pipelines=tuple(pipelines),
        services=tuple(services),
        published=published,
        breakage=breakage,
        faults=faults,
    )


def check(scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None) -> list[Problem]:
    """Return every problem of a scenario; an empty list means that it can be run."""
    try:
        bind(scenario, catalog=catalog)
    except InputError as error:
        return error.problems
    return []
