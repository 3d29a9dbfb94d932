"""The event-by-event view: one clock, one pool of processors per node group, jobs, training runs and tasks on it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.base.rng import stream
from hpcsim.cluster.ways import Ways
from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Member
from hpcsim.engine.elastic import system_for
from hpcsim.engine.failures import SpareNodes
from hpcsim.engine.jobs import BatchSystem, Ticket
from hpcsim.engine.machine import MachineSystem
from hpcsim.engine.outages import NodeOutages, PoolOutages
from hpcsim.engine.outcome import Outcome
from hpcsim.engine.pipelines import PipelineRun
from hpcsim.engine.serving import ServiceRun
from hpcsim.engine.tasks import TaskFloor, TaskRun
from hpcsim.engine.training import Cycle, TrainingRun
from hpcsim.run.accounting import Down, Usage
from hpcsim.run.bind import Bound, BoundJobs, bind
from hpcsim.run.communication import BatchTraffic
from hpcsim.run.data import cache_rule, staging_summary
from hpcsim.run.failures import Breakage, RunFaults, counted
from hpcsim.run.holdings import holdings_of, homes
from hpcsim.run.hours import hours_of
from hpcsim.run.jobs import batch_jobs
from hpcsim.run.network import IntArray, Network, NetworkRecord
from hpcsim.run.nodes import asking_of, fitted, numbers_of
from hpcsim.run.pipelines import Staged, pipeline_items, settle
from hpcsim.run.policies import policy_of, stopping_of, unknown_names
from hpcsim.run.pools import ladder_of
from hpcsim.run.record import BatchRecord, Item, Record, batch_usage, devices_per_processor, node_span_w
from hpcsim.run.served import served_in_run, stretches_of_run
from hpcsim.run.standby import sleep_rule, standby_of
from hpcsim.run.wishes import Wishes
from hpcsim.scenario.load import Scenario, load
from hpcsim.scenario.scheduler import SchedulerSpec
from hpcsim.scheduling.machine import Allocation, Demand, Machine, hostlist
from hpcsim.scheduling.placement import LadderFirst, Placement, make_placement
from hpcsim.scheduling.prediction import PREDICTORS
from hpcsim.scheduling.sleeping import AwakeFirst
from hpcsim.workload.jobs import JobTable
from hpcsim.workload.pipeline_parts import PipelinePlan
from hpcsim.workload.pipeline_times import Laid, lay
from hpcsim.workload.requests import draw_requests
from hpcsim.workload.serving import ServingPlan
from hpcsim.workload.tasks import TaskPlan, closed_form
from hpcsim.workload.training import TrainingPlan

if TYPE_CHECKING:
    from hpcsim.catalog.lookup import Catalog
    from hpcsim.results.record import Results

__all__ = ["simulate", "simulate_figures"]


class _Room:
    """The clock and everything on it."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.clock = Clock()
        self.floor = TaskFloor(self.clock)
        self.per_node = {name: 1 for name in bound.cluster.groups}
        if bound.jobs:
            self.per_node |= dict(zip(bound.jobs.names, bound.jobs.per_nodes, strict=True))
        scheduler = bound.scenario.scheduler
        self.source = batch_jobs(bound.jobs, bound.scenario) if bound.jobs else None
        self.demands: tuple[list[Demand], Any] | None = None
        if self.source is not None:
            self.source = dataclasses.replace(self.source, quality=(*self.source.quality, *unknown_names(scheduler, self.source.jobs)))
            if bound.jobs and not scheduler.by_node and not bound.jobs.mixed:
                ignored = Wishes(scheduler, bound.jobs.groups, self.source.jobs, {}).ignored()
                self.source = dataclasses.replace(self.source, quality=(*self.source.quality, *ignored))
        self.hours = hours_of(bound.scenario)
        policy = policy_of(scheduler, self.source.jobs if self.source else None, self.hours)
        only_nodes = bool(getattr(policy, "nodes_only", False))
        self.visits: dict[int, list[Allocation]] = {}
        """Where each batch job was, one time after the other, if there are several groups for it."""
        jobs = bound.jobs
        by_node = jobs is not None and (
            scheduler.by_node or only_nodes or bool(jobs.spec.communication) or jobs.spec.search is not None or jobs.mixed
        )
        nodes = self._nodes(jobs) if jobs is not None and by_node else None
        self.pools: dict[str, BatchSystem] = {
            name: nodes
            if nodes is not None and jobs is not None and name in jobs.names
            else BatchSystem(self.clock, group.count * self.per_node[name], "fcfs" if only_nodes else policy, order=scheduler.order)
            for name, group in bound.cluster.groups.items()
        }
        crew = bound.breakage.crew if bound.breakage else 0
        self.outages: PoolOutages | None = None
        self.spares = {name: SpareNodes(i, group.spares, 0.0, crew) for i, (name, group) in enumerate(bound.cluster.groups.items())}
        self.runs: dict[str, TrainingRun] = {}
        self.laid: dict[tuple[Any, ...], tuple[Laid, Member]] = {}
        shared = (
            bool(bound.pipelines)
            or len(bound.trainings) + len(bound.tasks) > 1
            or (bound.jobs is not None and bool(bound.jobs.spec.communication))
        )
        self.services: dict[str, ServiceRun] = {}
        flows = bound.scenario.simulate.flows and (bound.cluster.fabric is not None or bool(bound.cluster.storage))
        self.network = Network(self.clock, bound.cluster, flows=flows) if shared or flows else None
        self.batch_traffic = self._batch_traffic(bound.jobs) if bound.jobs and bound.jobs.spec.communication else None

    def _nodes(self, jobs: BoundJobs) -> MachineSystem:
        """Return the batch system of the jobs' groups by node; jobs that it cannot hold are dropped and counted."""
        scheduler, source = self.bound.scenario.scheduler, self.source
        assert source is not None
        found = fitted(
            jobs, scheduler, source.jobs, watts=jobs.draw_frac * node_span_w(jobs.group) / jobs.per_node, cluster=self.bound.cluster
        )
        self.source = dataclasses.replace(source, jobs=found.jobs, quality=(*source.quality, *found.findings))
        self.demands = found.demands

        def watch(kind: str, time_s: float, fields: Mapping[str, Any]) -> None:
            if kind == "start":
                self.visits.setdefault(fields["job"], []).append(system.allocations[fields["job"]])

        system = system_for(found.jobs)(
            self.clock,
            found.machine,
            policy_of(scheduler, found.jobs, self.hours),
            placement=_placement(jobs, scheduler, found.machine),
            asking=asking_of(jobs, scheduler),
            size=jobs.processors,
            stopping=stopping_of(scheduler),
            predictor=PREDICTORS[scheduler.estimates]() if scheduler.estimates in PREDICTORS else None,
            sleep=sleep_rule(scheduler.switch_off),
            caches=cache_rule(scheduler, self.bound.cluster, found.jobs),
            order=scheduler.order,
            observers=[watch] if jobs.mixed else (),
        )
        return system

    def _batch_traffic(self, jobs: BoundJobs) -> BatchTraffic:
        """Return the driver of the batch jobs that communicate."""
        assert self.network is not None
        assert self.source is not None
        seed = self.bound.scenario.simulate.seed
        pool = self.pools[jobs.group.name]
        assert isinstance(pool, MachineSystem)
        numbers = numbers_of(self.bound.cluster, jobs.groups)
        traffic = BatchTraffic(self.network, numbers, self.source.jobs, jobs.spec.communication, seed)
        pool.driver = traffic
        return traffic

    def hold(self, item: Item) -> Generator[Any, Any, list[tuple[BatchSystem, Ticket]]]:
        """Wait in the queue of every group for the item's nodes, one after the other, and return the tickets in the order of its groups."""
        found: dict[str, tuple[BatchSystem, Ticket]] = {}
        for group, nodes in sorted(item.share.items()):  # one order for all, so that none waits for another in a circle
            pool = self.pools[group]
            processors = nodes * self.per_node[group]
            if isinstance(pool, MachineSystem):
                whole = Demand(nodes, apart=nodes > 1, exclusive=True, where=self._set_of(group))
                ticket = pool.request(processors, estimate_s=item.estimate_s, name=item.name, demand=whole)
            else:
                ticket = pool.request(processors, estimate_s=item.estimate_s, name=item.name)
            yield ticket
            found[group] = pool, ticket
        item.start_s = self.clock.now
        item.status = "running"
        return [found[group] for group in item.share]

    def _set_of(self, group: str) -> int:
        """Return the set of the nodes of one group in the jobs' machine: the first sets are the groups where there are several."""
        jobs = self.bound.jobs
        return jobs.names.index(group) + 1 if jobs is not None and jobs.mixed else 0

    def train(self, item: Item, plan: TrainingPlan, seed: int) -> Generator[Any, Any, None]:
        """Drive one training run from submission to end."""
        tickets = yield from self.hold(item)
        faults = self.bound.faults.get(plan.name, RunFaults())
        held = self._held(item, tickets)
        run = TrainingRun(
            name=plan.name,
            work_s=plan.work_s,
            cycle=Cycle(plan.checkpoint_interval_s, plan.checkpoint_write_s, plan.checkpoint_lag_s),
            recovery_s=plan.recovery_s,
            failures_per_s=faults.failures_per_s,
            rng=stream(seed, "failures", plan.name),
            spares=self.spares[plan.group.name],
            draw_w=plan.draw_w or 0.0,
            read_s=plan.checkpoint_read_s,
            member=self.network.training(plan, held[plan.group.name]) if self.network else None,
            causes=faults.causes,
            watch=faults.watch,
        )
        self.runs[plan.name] = run
        yield from run.process(self.clock)
        self.finish(item, tickets, held)

    def work(self, item: Item, plan: TaskPlan) -> Generator[Any, Any, None]:
        """Drive one decomposed task or matrix product."""
        tickets = yield from self.hold(item)
        network, held = self.network, self._held(item, tickets)
        if network:
            names = [f"{group}/{i}" for group, nodes in held.items() for i in (nodes - network.ways.offsets[group]).tolist()]
            run = TaskRun(plan, self.floor, nodes=names, member=network.task(plan, np.concatenate(list(held.values()))))
        else:
            run = TaskRun(plan, self.floor)
        item.task_rows = {"run": [run]}
        yield from run.process(self.clock)
        self.finish(item, tickets, held)

    def pipe(self, item: Item, plan: PipelinePlan) -> Generator[Any, Any, None]:
        """Drive one run of a pipeline."""
        tickets = yield from self.hold(item)
        held = self._held(item, tickets)
        assert self.network is not None
        key = (plan.name, *(tuple(nodes.tolist()) for nodes in held.values()))
        if key not in self.laid:  # runs on the same nodes share their loads, and so the paces that were worked out
            laid = lay(plan, self.network.ways, held)
            self.laid[key] = laid, self.network.pipeline(plan.name, laid)
        laid, plain = self.laid[key]
        run = PipelineRun(laid, Member(self.network.contention, plan.name, plain.loads))
        item.staged = run
        yield from run.process(self.clock)
        self.finish(item, tickets, held)

    def serve(self, item: Item, plan: ServingPlan, seed: int) -> Generator[Any, Any, None]:
        """Drive one service until its last request is answered."""
        tickets = yield from self.hold(item)
        held = self._held(item, tickets)
        until_s = self.bound.scenario.simulate.until
        run = ServiceRun(plan, draw_requests(plan.name, plan.spec, seed, servers=plan.apart or plan.replicas, until_s=until_s))
        self.services[plan.name] = run
        yield from run.process(self.clock)
        self.finish(item, tickets, held)

    def _held(self, item: Item, tickets: list[tuple[BatchSystem, Ticket]]) -> dict[str, IntArray]:
        """Return the nodes of each group that the item got, by their numbers in the cluster; nothing where the network is not shared."""
        held: dict[str, IntArray] = {}
        for (group, count), (pool, ticket) in zip(item.share.items(), tickets, strict=True):
            if self.network:
                where = None
                if isinstance(pool, MachineSystem):
                    at = self._set_of(group) - 1
                    before = int(pool.machine.first[at]) if at >= 0 else 0
                    where = [node - before for node in pool.allocations[ticket.job].nodes]
                held[group] = self.network.take(group, count, where)
        return held

    def finish(self, item: Item, tickets: list[tuple[BatchSystem, Ticket]], held: dict[str, IntArray]) -> None:
        """Note the end and give the nodes back."""
        if self.network:
            for group, nodes in held.items():
                self.network.give_back(group, nodes)
        item.end_s = self.clock.now
        item.status = "finished"
        for pool, ticket in tickets:
            pool.release(ticket)


def _placement(jobs: BoundJobs, scheduler: SchedulerSpec, machine: Machine) -> Placement:
    """Return the placement of a scenario: nodes that are on first where idle ones are switched off, and the least capable of several groups."""
    placement = make_placement(scheduler.placement or ("best-fit" if scheduler.switch_off else "first-fit"))
    if scheduler.switch_off:
        placement = AwakeFirst(placement)
    return LadderFirst(placement, machine, ladder_of(jobs.groups)) if jobs.mixed and jobs.spec.span else placement


def batch_machine(bound: Bound) -> tuple[MachineSystem, JobTable, tuple[list[Demand], Any]] | None:
    """Return the machine of nodes that the batch jobs have to themselves, the jobs by submission and what they ask for.

    None where there is none: one pool of processors, or training runs, failures, sleeping nodes, learned run times or communication beside it.
    """
    spec = bound.scenario
    alone = not bound.trainings and not bound.tasks and not bound.pipelines and not spec.failures.any
    if (
        bound.jobs is None
        or not alone
        or spec.scheduler.switch_off
        or bound.jobs.spec.communication
        or spec.scheduler.estimates in PREDICTORS
    ):
        return None
    room = _Room(bound)
    pool = room.pools[bound.jobs.group.name]
    if not isinstance(pool, MachineSystem) or room.source is None or room.demands is None:
        return None
    return pool, room.source.jobs, room.demands


def _items(bound: Bound, ways: Ways | None) -> list[Item]:
    items = [
        Item(
            plan,
            {plan.group.name: plan.nodes},
            plan.submit_s,
            Cycle(plan.checkpoint_interval_s, plan.checkpoint_write_s, plan.checkpoint_lag_s).duration_s(plan.work_s),
        )
        for plan in bound.trainings
    ]
    items += [Item(plan, dict(plan.groups), plan.submit_s, closed_form(plan).makespan_s) for plan in bound.tasks]
    items += [Item(plan, {plan.group.name: plan.nodes}, plan.submit_s, plan.work_s) for plan in bound.services]
    return items + pipeline_items(bound, ways)


def _start(room: _Room, items: list[Item], seed: int) -> None:
    for item in items:

        def begin(_: Any, item: Item = item) -> None:
            if isinstance(item.plan, TrainingPlan):
                room.clock.process(room.train(item, item.plan, seed))
            elif isinstance(item.plan, PipelinePlan):
                room.clock.process(room.pipe(item, item.plan))
            elif isinstance(item.plan, ServingPlan):
                room.clock.process(room.serve(item, item.plan, seed))
            else:
                room.clock.process(room.work(item, item.plan))

        room.clock.at(item.submit_s, begin)


def _close(room: _Room, items: list[Item], now_s: float) -> None:
    """Read the books of what ran, and close those of what the horizon cut off."""
    for item in items:
        if isinstance(item.plan, TrainingPlan):
            run = room.runs.get(item.name)
            if run is None:
                continue
            run.stop(now_s)
            group = item.plan.group.name
            item.stretches = [(group, a, b, w) for a, b, w in run.stretches]
            item.short = [(group, a, b) for a, b in run.short]
            item.done_s, item.lost_s = run.done_s, run.lost_s
            item.failures, item.checkpoints = run.failures, run.checkpoints
            item.causes = counted(room.bound.faults.get(item.name, RunFaults()), run.tallies)
        elif isinstance(item.staged, PipelineRun):
            settle(item, Staged(item.staged.laid, item.staged.begins_s, item.staged.ends_s), now_s)
        elif isinstance(item.plan, ServingPlan):
            service = room.services.get(item.name)
            if service is not None:
                item.served = served_in_run(item.plan, service, now_s)
                item.stretches = stretches_of_run(item.plan, service, item.start_s, item.stop_s(now_s))
        elif item.task_rows:
            task: TaskRun = item.task_rows["run"][0]
            task.stop(now_s)
            item.task_rows = task.columns(until_s=now_s)
            spans = {name: node_span_w(group) for name, group in room.bound.cluster.groups.items()}
            for node, start, end, stage in zip(*(item.task_rows[k] for k in ("node", "start_s", "end_s", "stage")), strict=True):
                if stage == "run" and end > start:
                    group = str(node).rpartition("/")[0]
                    item.stretches.append((group, start, end, spans[group]))


def _usage(room: _Room, items: list[Item], batch: BatchRecord | None, now_s: float) -> Usage:
    names = list(room.bound.cluster.groups)
    first = len(batch.jobs) if batch else 0
    rows: list[tuple[int, int, float, float, int, float, float]] = []
    for k, item in enumerate(items):
        if np.isnan(item.start_s):
            continue
        for group, nodes in item.share.items():
            processors = nodes * room.per_node[group]
            devices = processors * devices_per_processor(room.bound.cluster.groups[group], room.per_node[group])
            rows.append((first + k, names.index(group), item.start_s, item.stop_s(now_s), processors, devices, 0.0))
        rows.extend((first + k, names.index(group), a, b, 0, 0.0, w) for group, a, b, w in item.stretches)
        rows.extend((first + k, names.index(group), a, b, -room.per_node[group], 0.0, 0.0) for group, a, b in item.short)
    parts = [Usage.of(rows)]
    if batch:
        parts.insert(0, batch_usage(batch, names, now_s))
    return Usage.join(parts)


def _submit(room: _Room, jobs: BoundJobs) -> tuple[Any, range]:
    source, pool = room.source, room.pools[jobs.group.name]
    assert source is not None
    if isinstance(pool, MachineSystem):
        return source, pool.submit(source.jobs, room.demands)
    return source, pool.submit(source.jobs)


def _placed(pool: BatchSystem, outcome: Outcome, jobs: range) -> dict[str, Any]:
    """Return on which nodes each job ran, and on how many; nothing in one pool of processors."""
    if not isinstance(pool, MachineSystem):
        return {}
    places = [outcome.places.get(job) for job in jobs]
    hosts = tuple(None if place is None else hostlist(pool.machine, place.nodes) for place in places)
    return {"hosts": hosts, "held": np.array([0 if place is None else len(place.nodes) for place in places], dtype=np.int64)}


def _batch(room: _Room, jobs: BoundJobs, source: Any, numbers: range) -> BatchRecord:
    outcome = room.pools[jobs.group.name].outcome()
    submitted = int(outcome.submitted[numbers.start : numbers.stop].sum())
    rows = slice(numbers.start, numbers.start + submitted)
    return BatchRecord(
        jobs=source.jobs.subset(np.arange(submitted)),
        bound=jobs,
        start_s=outcome.start_s[rows],
        end_s=outcome.end_s[rows],
        status=outcome.status[rows],
        **_placed(room.pools[jobs.group.name], outcome, range(rows.start, rows.stop)),
        **_pieces(outcome, rows),
        **(_held_of_groups(room, jobs, outcome, rows) if jobs.mixed else {}),
        quality=tuple(source.quality),
        file=source.file,
        rows=source.rows,
        communication=tuple(room.batch_traffic.names()[rows]) if room.batch_traffic is not None else None,
    )


def _pieces(outcome: Outcome, rows: slice) -> dict[str, Any]:
    """Return when each job was on the machine, and on how many processors; nothing where none was stopped or changed its size."""
    if not outcome.stretches and not outcome.last_processors:
        return {}
    job, _, start, end, held = outcome.pieces
    mine = (job >= rows.start) & (job < rows.stop)
    stopped = None if outcome.stopped_s is None else outcome.stopped_s[rows]
    return {"pieces": (job[mine] - rows.start, start[mine], end[mine], held[mine]), "stopped_s": stopped}


def _held_of_groups(room: _Room, jobs: BoundJobs, outcome: Outcome, rows: slice) -> dict[str, Any]:
    """Return what each job held of each group, and the group that it ran on last or would have first."""
    pool = room.pools[jobs.group.name]
    assert isinstance(pool, MachineSystem)
    assert room.demands is not None
    demands, kind = room.demands
    job, _, start, end, _ = outcome.pieces
    again = np.arange(len(job)) >= len(job) - len(outcome.stretches)  # all times but the last of jobs that were stopped, in order
    which = np.full(len(job), -1)
    seen: dict[int, int] = {}
    for at in np.flatnonzero(again).tolist():
        which[at] = seen[job[at]] = seen.get(job[at], -1) + 1
    mine = np.flatnonzero(~np.isnan(start) & (job >= rows.start) & (job < rows.stop))
    places = [room.visits[int(job[at])][which[at]] for at in mine.tolist()]
    number = job[mine] - rows.start
    asked = outcome.processors[rows]
    held = holdings_of(jobs, pool.machine, demands, np.asarray(kind), asked, (number, start[mine], end[mine], places))
    home = homes(pool.machine, demands, ladder_of(jobs.groups))[np.asarray(kind)[: len(asked)]]
    last = np.argsort(held.start_s, kind="stable")
    home[held.job[last]] = held.group[last]
    return {"holdings": held, "home": home}


def _fail_nodes(room: _Room, jobs: BoundJobs, numbers: range, breakage: Breakage, seed: int) -> None:
    """Let the nodes under the batch jobs fail."""
    name, rng = jobs.group.name, stream(seed, "failures", "pool", "+".join(jobs.names))
    pool, causes = room.pools[name], breakage.of_node(jobs.group.per_node)
    if not causes:
        return
    if isinstance(pool, MachineSystem):
        spares = [room.spares[each] for each in jobs.names]
        room.outages = NodeOutages(room.clock, pool, numbers, spares=spares, rng=rng, causes=causes)
    else:
        room.outages = PoolOutages(room.clock, pool, numbers, per_node=jobs.per_node, spares=room.spares[name], rng=rng, causes=causes)
    room.outages.begin()


def _run(bound: Bound, seed: int) -> Record:
    scenario = bound.scenario
    room = _Room(bound)
    items = _items(bound, room.network.ways if room.network is not None else None)
    source, numbers = _submit(room, bound.jobs) if bound.jobs else (None, range(0))
    _start(room, items, seed)
    if bound.jobs and bound.breakage:
        _fail_nodes(room, bound.jobs, numbers, bound.breakage, seed)
    began = time.process_time()
    until = scenario.simulate.until
    room.clock.run(until)
    cpu_s = time.process_time() - began
    now_s = float(room.clock.now)
    _close(room, items, now_s)
    if room.batch_traffic is not None:
        room.batch_traffic.close()
    if room.network is not None:
        room.network.contention.close()
    batch = _batch(room, bound.jobs, source, numbers) if bound.jobs else None
    notes = [f"{item.name} is submitted after the horizon and left out." for item in items if item.submit_s > now_s]
    if batch and len(batch.jobs) < len(numbers):
        notes.append(f"{len(numbers) - len(batch.jobs):,} jobs are submitted after the horizon and left out.")
    notes += room.batch_traffic.notes() if room.batch_traffic is not None else []
    items = [item for item in items if item.submit_s <= now_s]
    submits = [item.submit_s for item in items] + ([float(batch.jobs.submit_s[0])] if batch and len(batch.jobs) else [])
    begin_s = min([*submits, now_s])
    down = [row for spare in room.spares.values() for row in spare.down if row[1] < now_s]
    return Record(
        bound=bound,
        kind="simulate",
        seed=seed,
        begin_s=begin_s,
        end_s=now_s,
        items=items,
        batch=batch,
        usage=_usage(room, items, batch, now_s),
        down=Down.of(down),
        standby=standby_of(bound, room.pools),
        staging=staging_summary(room.pools),
        notes=tuple(notes),
        events=room.clock.handled,
        cpu_s=cpu_s,
        network=NetworkRecord(room.network, begin_s, now_s) if room.network else None,
        outages=room.outages.by_cause() if room.outages is not None else {},
    )


def simulate(scenario: str | Path | Mapping[str, Any] | Scenario, *, seed: int | None = None, catalog: Catalog | None = None) -> Results:
    """Run a scenario event by event.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    seed : int, optional
        Seed of every random stream; the scenario's without it.
    catalog : Catalog, optional
        The default one without it.

    Returns
    -------
    Results
        Summary, and the tables ``jobs``, ``states``, ``power``, ``energy``, ``costs``, ``sources`` and, where they apply, ``training``,
        ``breakdown``, ``memory``, ``tasks``, ``stages``, ``comparison``, ``quality``.

    Raises
    ------
    InputError
        Every problem of the scenario, each with its place.
    """
    from hpcsim.run.results import results_of

    began = time.perf_counter()
    scenario = load(scenario)
    if seed is not None:
        scenario = scenario.vary({"simulate.seed": seed})
    record = _run(bind(scenario, catalog=catalog), scenario.simulate.seed)
    return results_of(record, wall_s=time.perf_counter() - began)


def simulate_figures(scenario: Scenario) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """Return summary and ranges of :func:`simulate` alone, without tables: what a sweep needs of a point."""
    from hpcsim.run.results import figures_of

    return figures_of(_run(bind(scenario), scenario.simulate.seed))
