"""The closed-form view: every training run and task alone, every job log by its work, no clock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError
from hpcsim.cluster.ways import Ways
from hpcsim.engine.training import Cycle
from hpcsim.run.accounting import Down, Usage
from hpcsim.run.bind import MOST_FAILURES, Bound, bind, never_finishes
from hpcsim.run.failures import RunFaults, expected_loss, tallied
from hpcsim.run.holdings import holdings_of, homes
from hpcsim.run.jobs import batch_jobs
from hpcsim.run.nodes import fitted
from hpcsim.run.pipelines import Staged, closed_items
from hpcsim.run.pools import BoundJobs, ladder_of
from hpcsim.run.record import BatchRecord, Item, Record, devices_per_processor, node_span_w
from hpcsim.run.served import served_in_estimate, stretches_of_course
from hpcsim.scenario.load import Scenario, load
from hpcsim.scheduling.machine import Allocation
from hpcsim.workload.jobs import JobTable, Trace
from hpcsim.workload.service_course import course_of
from hpcsim.workload.serving import ServingPlan
from hpcsim.workload.tasks import TaskPlan, closed_form
from hpcsim.workload.training import TrainingPlan

if TYPE_CHECKING:
    from hpcsim.catalog.lookup import Catalog
    from hpcsim.results.record import Results

__all__ = ["estimate", "estimate_figures"]


def _training_item(plan: TrainingPlan, bound: Bound) -> Item:
    faults, spares = bound.faults.get(plan.name, RunFaults()), plan.group.spares > 0
    found = expected_loss(plan, faults, spares=spares)
    wall_s = float(found.wall_s)
    if not float(found.failures) + float(found.false_alarms) <= MOST_FAILURES:
        raise InputError([bound.scenario.locate(never_finishes(plan, faults.failures_per_s))])
    item = Item(plan, {plan.group.name: plan.nodes}, plan.submit_s, wall_s)
    item.start_s, item.end_s, item.status = plan.submit_s, plan.submit_s + wall_s, "finished"
    item.done_s = plan.work_s
    write_s = plan.checkpoint_write_s
    item.checkpoints = (
        float(found.checkpoints_s) / write_s if write_s > 0 else Cycle(plan.checkpoint_interval_s, 0.0).checkpoints(plan.work_s)
    )
    item.failures, item.lost_s = float(found.failures), float(found.lost_s)
    item.causes = tallied(faults, found, spares=spares)
    working = (plan.work_s + item.lost_s) / wall_s if wall_s > 0 else 0.0
    item.stretches = _at_work(item, plan.group.name, 0.0, working * wall_s, plan.draw_w or 0.0)
    return item


def _at_work(item: Item, group: str, after_s: float, busy_s: float, draw_w: float) -> list[tuple[str, float, float, float]]:
    """Return rows that tile an item's time: ``draw_w`` for as long as it works, nothing above idle before and after.

    Its energy is as if the draw were spread over all of its time, and its highest power is that of work.
    """
    begin_s, end_s = item.start_s + after_s, min(item.start_s + after_s + busy_s, item.end_s)
    rows = [(group, item.start_s, begin_s, 0.0), (group, begin_s, end_s, draw_w), (group, end_s, item.end_s, 0.0)]
    return [row for row in rows if row[2] > row[1]]


def _down(items: list[Item], bound: Bound, names: list[str]) -> Down:
    """Return the nodes that are expected to be under repair: failures times repair, at the end of each run, as few at once as that takes."""
    rows: list[tuple[int, float, float, int]] = []
    for item in items:
        out_s, wall_s = sum(row.get("repair_s", 0.0) for _, row in item.causes), item.end_s - item.start_s
        if out_s > 0 and isinstance(item.plan, TrainingPlan):
            group = item.plan.group
            nodes = min(math.ceil(out_s / wall_s), group.count + group.spares)
            rows.append((names.index(group.name), item.end_s - min(out_s / nodes, wall_s), item.end_s, nodes))
    return Down.of(rows)


def _task_item(plan: TaskPlan, bound: Bound) -> Item:
    times = closed_form(plan)
    item = Item(plan, dict(plan.groups), plan.submit_s, times.makespan_s)
    item.start_s, item.end_s, item.status = plan.submit_s, plan.submit_s + times.makespan_s, "finished"
    item.done_s = times.makespan_s
    run_s = plan.run_s()
    at = 0
    for name, count in plan.groups:
        mine = run_s[at : at + count]
        at += count
        longest = float(mine.max()) if mine.size else 0.0
        if longest > 0:
            draw_w = node_span_w(bound.cluster.groups[name]) * float(mine.sum()) / longest
            item.stretches += _at_work(item, name, max(times.makespan_s - times.merge_s - longest, 0.0), longest, draw_w)
    return item


def _service_item(plan: ServingPlan) -> Item:
    item = Item(plan, {plan.group.name: plan.nodes}, plan.submit_s, plan.work_s)
    item.start_s, item.end_s, item.status = plan.submit_s, plan.submit_s + plan.work_s, "finished"
    item.done_s = plan.work_s
    course = course_of(plan)
    item.stretches = stretches_of_course(plan, course, item.start_s)
    item.served = served_in_estimate(plan, course)
    return item


def _queued(items: list[Item], bound: Bound) -> None:
    """Shift items that need the same nodes behind each other, in order of submission: first come, first served without gaps."""
    free: dict[str, list[float]] = {name: [0.0] * group.count for name, group in bound.cluster.groups.items()}
    for item in sorted(items, key=lambda i: i.submit_s):
        start = item.submit_s
        for group, nodes in item.share.items():
            start = max(start, sorted(free[group])[nodes - 1])
        shift = start - item.start_s
        item.start_s, item.end_s = item.start_s + shift, item.end_s + shift
        item.stretches = [(g, a + shift, b + shift, w) for g, a, b, w in item.stretches]
        if isinstance(item.staged, Staged):
            item.staged = Staged(item.staged.laid, item.staged.begins_s + shift, item.staged.ends_s + shift)
        for group, nodes in item.share.items():
            times = sorted(free[group])
            free[group] = [item.end_s] * nodes + times[nodes:]


def _batch(bound: Bound) -> BatchRecord | None:
    if bound.jobs is None:
        return None
    source = batch_jobs(bound.jobs, bound.scenario)
    if bound.jobs.mixed:
        return _over_groups(bound, bound.jobs, source)
    n = len(source.jobs)
    none = np.full(n, np.nan)
    return BatchRecord(source.jobs, bound.jobs, none, none, np.full(n, "queued"), tuple(source.quality), source.file, source.rows)


def _over_groups(bound: Bound, pool: BoundJobs, source: Trace) -> BatchRecord:
    """Return batch jobs over several groups, each taken to run on the first group of the ladder that can hold it."""
    found = fitted(pool, bound.scenario.scheduler, source.jobs)
    kinds, kind = found.demands
    n = len(found.jobs)
    none = np.full(n, np.nan)
    home = homes(found.machine, kinds, ladder_of(pool.groups))[kind]
    quality = (*source.quality, *found.findings)
    whole = [Allocation((int(node),), (kinds[k].chunks,)) for node, k in zip(found.machine.first[home], kind.tolist(), strict=True)]
    held = holdings_of(pool, found.machine, kinds, kind, found.jobs.processors, (np.arange(n), none, none, whole))
    return BatchRecord(found.jobs, pool, none, none, np.full(n, "queued"), quality, source.file, source.rows, holdings=held, home=home)


def _bound_on_makespan(batch: BatchRecord, begin_s: float) -> float:
    """Return a time before which no policy ends the jobs: their work over the pool, or the latest that a job can end at best."""
    jobs = batch.jobs
    work = float(np.dot(jobs.processors, jobs.run_s)) / batch.bound.processors
    devices = sum(group.device_count for group in batch.bound.groups)
    if batch.bound.mixed and devices and jobs.gpus is not None:
        work = max(work, float(np.dot(jobs.gpus, jobs.run_s)) / devices)
    return max(begin_s + work, float(_soonest_s(jobs).max()))


def _soonest_s(jobs: JobTable) -> npt.NDArray[np.float64]:
    """Return when each job ends if it never waits for processors, only for the job that it comes after [s].

    A job ends at max(e, x + r), x the end of the one before, r its run time, e its end without it. Such steps compose to one of their kind, so
    chains of n jobs take lg n rounds.
    """
    ends = np.asarray(jobs.submit_s + jobs.run_s, dtype=np.float64)
    if jobs.after is None:
        return ends
    order = np.argsort(jobs.job_id, kind="stable")
    at = np.clip(np.searchsorted(jobs.job_id[order], jobs.after), 0, len(order) - 1)
    before = order[at]
    waits, took = (jobs.after >= 0) & (jobs.job_id[before] == jobs.after), np.asarray(jobs.run_s, dtype=np.float64)
    for _ in range(len(jobs).bit_length()):
        if not waits.any():
            break
        ends = np.where(waits, np.maximum(ends, ends[before] + took), ends)
        took, waits, before = np.where(waits, took + took[before], took), waits & waits[before], before[before]
    return ends


def _at_their_mean(
    batch: BatchRecord, names: list[str], begin_s: float, end_s: float
) -> list[tuple[int, int, float, float, int, float, float]]:
    """Return the usage of batch jobs of which only the work is known, spread over the whole time."""
    part = batch.jobs.run_s / (end_s - begin_s)
    held = batch.holdings
    if held is not None:
        at = [names.index(batch.bound.names[group]) for group in held.group.tolist()]
        devices_each, draw, jobs = part[held.job] * held.devices, part[held.job] * held.draw_w, held.job.tolist()
    else:
        group, share = batch.bound.group, batch.jobs.processors * part
        at, jobs = [names.index(group.name)] * len(share), list(range(len(share)))
        devices_each = share * devices_per_processor(group, batch.bound.per_node)
        draw = share * (batch.bound.draw_frac * node_span_w(group) / batch.bound.per_node)
    return [(j, g, begin_s, end_s, 0, float(d), float(w)) for j, g, d, w in zip(jobs, at, devices_each, draw, strict=True)]


def _record(bound: Bound, seed: int) -> Record:
    items: list[Item] = [_training_item(plan, bound) for plan in bound.trainings]
    items += [_task_item(plan, bound) for plan in bound.tasks]
    items += closed_items(bound, Ways(bound.cluster) if bound.pipelines else None)
    items += [_service_item(plan) for plan in bound.services]
    _queued(items, bound)
    batch = _batch(bound)
    names = list(bound.cluster.groups)
    first = len(batch.jobs) if batch else 0
    submits = [item.submit_s for item in items] + ([float(batch.jobs.submit_s.min())] if batch else [])
    begin_s = min(submits)
    ends = [item.end_s for item in items] + ([_bound_on_makespan(batch, begin_s)] if batch else [])
    end_s = max(ends)
    rows: list[tuple[int, int, float, float, int, float, float]] = []
    per_node = dict(zip(bound.jobs.names, bound.jobs.per_nodes, strict=True)) if bound.jobs else {}
    for k, item in enumerate(items):
        for name, nodes in item.share.items():
            processors = nodes * per_node.get(name, 1)
            devices = processors * devices_per_processor(bound.cluster.groups[name], per_node.get(name, 1))
            rows.append((first + k, names.index(name), item.start_s, item.end_s, processors, devices, 0.0))
        rows += [(first + k, names.index(g), a, b, 0, 0.0, w) for g, a, b, w in item.stretches]
    if batch and end_s > begin_s:
        rows += _at_their_mean(batch, names, begin_s, end_s)
    notes = (
        ("Batch jobs enter the peak power at their mean; hpcsim run says how many work at once.",)
        if batch and any(node_span_w(group) > 0 for group in batch.bound.groups)
        else ()
    )
    return Record(bound, "estimate", seed, begin_s, end_s, items, batch, Usage.of(rows), _down(items, bound, names), notes=notes)


def estimate(scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None) -> Results:
    """Estimate a scenario in closed form.

    Training runs and tasks are taken alone (those that need the same nodes follow each other), failures by their expectation, batch
    jobs by their work: the makespan is then a bound that no policy beats, and waits are left to :func:`hpcsim.simulate`.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    catalog : Catalog, optional
        The default one without it.

    Returns
    -------
    Results
        As of :func:`hpcsim.simulate`, without events.

    Raises
    ------
    InputError
        Every problem of the scenario, each with its place.
    """
    from hpcsim.run.results import results_of

    began = time.perf_counter()
    scenario = load(scenario)
    record = _record(bind(scenario, catalog=catalog), scenario.simulate.seed)
    return results_of(record, wall_s=time.perf_counter() - began)


def estimate_figures(scenario: Scenario) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """Return summary and ranges of :func:`estimate` alone, without tables: what a sweep needs of a point."""
    from hpcsim.run.results import figures_of

    return figures_of(_record(bind(scenario), scenario.simulate.seed))
