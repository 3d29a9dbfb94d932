"""From the record of a run to results: declared tables, summary, ranges, the published figures beside."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcsim.cost import metrics
from hpcsim.cost.carbon import embodied_kg_co2e, water_l
from hpcsim.results.provenance import provenance
from hpcsim.results.quantities import quantity
from hpcsim.results.record import Results
from hpcsim.results.schedules import spans_of
from hpcsim.results.tables import frame
from hpcsim.run.accounting import Account, account, pool_states
from hpcsim.run.answer import answer_of
from hpcsim.run.fabric import fabric_tables
from hpcsim.run.failures import failure_rows
from hpcsim.run.group_figures import group_rows
from hpcsim.run.hours import hours_of
from hpcsim.run.notes import notes_of
from hpcsim.run.pipelines import Staged, pipeline_summary, stage_rows, with_keeping
from hpcsim.run.prices import facility_of, group_account
from hpcsim.run.ranges import ranges_of, wide_notes
from hpcsim.run.record import BatchRecord, Item, Record
from hpcsim.run.serving import latency_rows, request_terms, service_memory, service_rows, service_summary, services_of
from hpcsim.run.standby import standby_summary, standby_tables
from hpcsim.workload.pipeline_parts import PipelinePlan
from hpcsim.workload.serving import ServingPlan
from hpcsim.workload.tasks import TaskPlan, closed_form
from hpcsim.workload.training import TrainingPlan

__all__ = ["figures_of", "results_of"]


def results_of(record: Record, *, wall_s: float) -> Results:
    """Return the results of a record.

    Parameters
    ----------
    record : Record
    wall_s : float
        Wall clock of the whole call [s].
    """
    bound = record.bound
    scenario, cluster = bound.scenario, bound.cluster
    done, powered, missing = _accounted(record)
    summary = _summary(record, done, powered)
    tables = _tables(record, done, powered)
    rows = _comparison(record, summary)
    if rows["metric"]:
        tables["comparison"] = frame("comparison", rows)
    summary["events"] = record.events
    if not math.isnan(record.cpu_s):
        summary["cpu_s"] = record.cpu_s
    summary["wall_s"] = wall_s
    ranges = ranges_of(record, summary, done)
    taken = (*cluster.sources, *(row for pipeline in bound.pipelines for row in pipeline.facts))
    entries = {row.name for row in taken} | {plan.network.id for plan in bound.networks}
    return Results(
        name=scenario.name,
        question=scenario.question,
        answer=answer_of(record, summary),
        kind=record.kind,
        summary=summary,
        ranges=ranges,
        tables=tables,
        notes=notes_of(record, missing, powered=powered, billable=_billable(record, done, powered)) + wide_notes(summary, ranges),
        provenance=provenance(scenario_sha256=scenario.digest(), seed=record.seed, catalog=entries),
    )


def figures_of(record: Record) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """Return summary and ranges of a record alone: those of :func:`results_of`, without what hpcsim itself took and without tables."""
    done, powered, _ = _accounted(record)
    summary = _summary(record, done, powered)
    return {**summary, "events": record.events}, ranges_of(record, summary, done)


def _accounted(record: Record) -> tuple[Account, bool, list[str]]:
    """Return the account of a record, whether all power is known, and what is missing, in sentences."""
    cluster = record.bound.cluster
    accounts, gaps = zip(*(group_account(group, cluster) for group in cluster.groups.values()), strict=True)
    facility, missing = facility_of(cluster, hours_of(record.bound.scenario))
    powered = not any(gaps)
    if not powered:
        facility = dataclasses.replace(facility, electricity_usd_per_j=None)
    done = account(
        list(accounts),
        facility,
        record.usage,
        record.down,
        jobs=record.jobs,
        begin_s=record.begin_s,
        end_s=max(record.end_s, record.begin_s),
        standby=record.standby,
    )
    done = with_keeping(record, done)
    return done, powered, missing if powered else [f"Energy is not computed: {gap}." for gap in gaps if gap]


def _single(record: Record) -> Item | None:
    return record.items[0] if len(record.items) == 1 else None


def _summary(record: Record, done: Account, powered: bool) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    ends = [item.stop_s(record.end_s) for item in record.items if not math.isnan(item.start_s)]
    batch = record.scheduled
    if batch:
        ended = batch.end_s[~np.isnan(batch.end_s)]
        ends += [float(ended.max())] if len(ended) else []
        ends += [record.end_s] if (batch.status == "running").any() else []
    elif record.batch:
        ends.append(record.end_s)
    summary["makespan_s"] = max(ends, default=record.begin_s) - record.begin_s
    item = _single(record)
    if item is not None and not math.isnan(item.start_s) and item.status == "finished":
        summary["wall_clock_s"] = item.end_s - item.start_s
    _time_totals(record, summary)
    if item is not None and isinstance(item.plan, TrainingPlan):
        _training_summary(item, item.plan, record, summary)
    statuses = [item.status for item in record.items] + (batch.status.tolist() if batch else [])
    for status in ("finished", "failed", "running", "queued"):
        count = statuses.count(status)
        if count or (status == "finished" and (batch or record.items)):
            summary[f"jobs_{status}"] = count
    if record.batch:
        _batch_summary(record, summary)
    if powered:
        summary.update({k: v for k, v in done.summary.items() if k != "cost_usd"})
    if _billable(record, done, powered):
        summary["cost_usd"] = done.summary["cost_usd"]
        plan = item.plan if item is not None else None
        if isinstance(plan, TrainingPlan) and item is not None and item.status == "finished":
            summary["cost_per_mtoken_usd"] = summary["cost_usd"] / (plan.steps * plan.tokens_per_step) * 1e6
        _unit_costs(record, summary)
    service_summary(record, done, summary)
    _tdp_summary(record, summary)
    summary |= _footprint(record, summary)
    summary |= standby_summary(record.standby, record.begin_s, record.end_s)
    summary |= record.staging
    summary |= pipeline_summary(record, done, billable=_billable(record, done, powered))
    if record.network and record.network.lost_s > 0:
        summary["contention_s"] = record.network.lost_s
    return summary


def _unit_costs(record: Record, summary: dict[str, Any]) -> None:
    """Add the bill by accelerator-hour in use and by finished batch job; the former not where batch jobs may have nodes without any too."""
    batch = record.scheduled
    device_s = summary.get("device_time_s", 0.0) + (_accelerator_s(batch, record.end_s) if batch else 0.0)
    if device_s > 0 and (batch is None or len({group.per_node > 0 for group in batch.bound.groups}) == 1):
        summary["cost_per_device_hour_usd"] = summary["cost_usd"] / (device_s / 3600.0)
    finished = int((batch.status == "finished").sum()) if batch else 0
    if finished:
        summary["cost_per_job_usd"] = summary["cost_usd"] / finished


def _footprint(record: Record, summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the water that cooling takes and the horizon's share of the carbon of making the nodes, where the scenario gives what they rest on."""
    cluster, found = record.bound.cluster, {}
    if cluster.site.water_l_per_j is not None and "it_energy_j" in summary:
        found["water_l"] = float(water_l(summary["it_energy_j"], onsite_l_per_j=cluster.site.water_l_per_j))
    shares = [
        float(embodied_kg_co2e(spec.embodied * (group.total * group.per_node or group.total), used_s=span, life_s=spec.life))
        for name, spec in record.bound.scenario.cluster.nodes.items()
        if spec.embodied is not None and (group := cluster.groups[name]) and (span := max(record.end_s - record.begin_s, 0.0)) >= 0
    ]
    if shares:
        found["embodied_kg_co2e"] = sum(shares)
    return found


def _billable(record: Record, done: Account, powered: bool) -> bool:
    """Whether the bill is whole: something is priced, and electricity is known, covered, or not priced."""
    cluster = record.bound.cluster
    covered = all(price.includes_electricity for price in cluster.prices.values())
    return bool(done.costs["usd"]) and (powered or covered or cluster.site.electricity_usd_per_j is None)


def _time_totals(record: Record, summary: dict[str, Any]) -> None:
    """Node time and device time of training runs and tasks: what is occupied, apart from the wall clock."""
    node_s = device_s = 0.0
    for item in record.items:
        if math.isnan(item.start_s):
            continue
        seconds = item.stop_s(record.end_s) - item.start_s
        node_s += seconds * item.nodes
        device_s += seconds * sum(n * record.bound.cluster.groups[g].per_node for g, n in item.share.items())
    if record.items:
        summary["node_time_s"] = node_s
        if device_s:
            summary["device_time_s"] = device_s


def _training_summary(item: Item, plan: TrainingPlan, record: Record, summary: dict[str, Any]) -> None:
    cost = plan.cost
    summary["step_time_s"] = float(cost.step_time_s)
    summary["mfu_frac"] = float(cost.mfu_frac)
    summary["tokens_per_s"] = float(cost.tokens_per_s)
    seconds = item.stop_s(record.end_s) - item.start_s
    if seconds > 0:
        summary["goodput_frac"] = min(item.done_s / seconds, 1.0)
    summary["model_flop"] = float(cost.model_flop) * plan.steps
    summary["peak_memory_bytes"] = float(cost.peak_memory_bytes)
    summary["memory_capacity_bytes"] = float(cost.memory_capacity_bytes)


def _tdp_summary(record: Record, summary: dict[str, Any]) -> None:
    """Energy of the accelerators at their thermal design power, the way many papers count."""
    joules = 0.0
    for item in record.items:
        if isinstance(item.plan, TrainingPlan) and not math.isnan(item.start_s):
            tdp = item.plan.group.accelerator.tdp_w if item.plan.group.accelerator else None
            if tdp is None:
                return
            joules += item.plan.devices * tdp * (item.stop_s(record.end_s) - item.start_s)
    if joules:
        summary["device_tdp_energy_j"] = joules
        intensity = record.bound.cluster.site.carbon_kg_co2e_per_j
        if intensity is not None:
            summary["device_tdp_carbon_kg_co2e"] = joules * intensity


def _batch_summary(record: Record, summary: dict[str, Any]) -> None:
    batch = record.batch
    assert batch is not None
    summary["jobs"] = len(batch.jobs)
    if record.scheduled is None:
        work = float(np.dot(batch.jobs.processors, batch.jobs.run_s))
        summary["utilisation_frac"] = work / (batch.bound.processors * summary["makespan_s"])
        return
    wait = batch.wait_s[~np.isnan(batch.start_s)]
    if len(wait):
        summary["mean_wait_s"] = float(wait.mean())
        summary["median_wait_s"] = float(metrics.nearest_rank(wait, 0.5))
        summary["p95_wait_s"] = float(metrics.nearest_rank(wait, 0.95))
        summary["max_wait_s"] = float(wait.max())
    ended = ~np.isnan(batch.end_s)
    if ended.any():
        summary["mean_bounded_slowdown"] = float(metrics.bounded_slowdown(batch.wait_s[ended], batch.run_s[ended]).mean())
        if batch.jobs.law is not None or batch.pieces is not None:  # run times are no longer those of the log
            summary["mean_response_s"] = float((batch.wait_s + batch.run_s)[ended].mean())
    due = batch.jobs.submit_s + batch.jobs.filled("due_s")
    if np.isfinite(due).any():
        late = np.where(np.isnan(batch.end_s), record.end_s, batch.end_s) > due * (1.0 + 1e-12) + 1e-6
        summary["deadlines"], summary["deadlines_missed"] = int(np.isfinite(due).sum()), int(late.sum())
        began = ~np.isnan(batch.start_s)
        for key, mine in (("due_mean_wait_s", np.isfinite(due) & began), ("other_mean_wait_s", np.isinf(due) & began)):
            if mine.any():
                summary[key] = float((batch.start_s - batch.jobs.submit_s)[mine].mean())
    groups = list(record.bound.cluster.groups)
    used = np.isin(record.usage.group, [groups.index(name) for name in batch.bound.names])
    busy = float(np.dot(record.usage.processors[used], (record.usage.end_s - record.usage.start_s)[used]))
    if summary["makespan_s"] > 0:
        summary["utilisation_frac"] = busy / (batch.bound.processors * summary["makespan_s"])
    window = metrics.steady_window(batch.jobs.submit_s) if len(batch.jobs) else (0.0, 0.0)
    if window[1] > window[0]:
        _, start, stop, held = batch.ran(record.end_s)
        summary["steady_utilisation_frac"] = float(metrics.utilisation(start, stop, held, capacity=batch.bound.processors, window_s=window))


_PER_STEP = ("step_time_s", "mfu_frac", "tokens_per_s", "peak_memory_bytes")
"""Figures that a run has before it is finished."""


def _comparison(record: Record, summary: Mapping[str, Any]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {k: [] for k in ("metric", "unit", "published", "predicted", "ratio", "source")}
    unfinished = any(item.status != "finished" for item in record.items)
    for figure in record.bound.published:
        predicted = summary.get(figure.metric)
        value = math.nan if predicted is None or (unfinished and figure.metric not in _PER_STEP) else float(predicted)
        rows["metric"].append(figure.metric)
        rows["unit"].append(quantity(figure.metric).unit or None)
        rows["published"].append(figure.value)
        rows["predicted"].append(value)
        rows["ratio"].append(value / figure.value if figure.value else math.nan)
        rows["source"].append(figure.source)
    return rows


def _tables(record: Record, done: Account, powered: bool) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if record.scheduled or record.items or not record.batch:
        tables["jobs"] = frame("jobs", _jobs(record, done))
    if record.scheduled and record.scheduled.pieces is not None:
        job, start, end, held = record.scheduled.pieces
        tables["spans"] = frame("spans", spans_of(record.scheduled.jobs.job_id, job, start, end, held))
    states = _states(record)
    if states:
        tables["states"] = frame("states", states)
    if record.batch and record.batch.bound.mixed:
        priced = done.costs if _billable(record, done, powered) else None
        tables["groups"] = frame("groups", group_rows(record, priced, powered=powered))
    if powered:
        tables["power"] = frame("power", done.power)
        tables["energy"] = frame("energy", _drawn(done.energy))
    if _billable(record, done, powered):
        tables["costs"] = frame("costs", {**done.costs, "group": [g or None for g in done.costs["group"]]})
    trainings = [item for item in record.items if isinstance(item.plan, TrainingPlan)]
    if trainings:
        tables["training"] = frame("training", _training_rows(trainings, record))
    if services := services_of(record):
        tables["services"] = frame("services", service_rows(record, done))
        tables["latencies"] = frame("latencies", latency_rows(record))
    if trainings or services:
        tables["memory"] = frame("memory", _memory_rows(trainings, record))
    terms = _breakdown_rows(record.items)
    if terms["name"] or (record.items and not any(isinstance(item.plan, PipelinePlan) for item in record.items)):
        tables["breakdown"] = frame("breakdown", terms)
    broken = [(item.name, item.causes) for item in trainings if item.causes]
    if broken or record.outages:
        tables["failures"] = frame("failures", failure_rows(broken, record.outages))
    rows = [item.task_rows for item in record.items if item.task_rows]
    if rows:
        tables["tasks"] = frame("tasks", {key: [value for part in rows for value in part[key]] for key in rows[0]})
    stages = stage_rows(record, done, powered=powered, billable=_billable(record, done, powered))
    if stages:
        tables["stages"] = frame("stages", stages)
    if record.network:
        shared = record.network
        for name, columns in (
            ("links", shared.links),
            ("contention", shared.contention),
            ("flows", shared.flows),
            ("link_use", shared.link_use),
        ):
            if columns and len(next(iter(columns.values()))):
                tables[name] = frame(name, columns)
    if record.standby is not None:
        groups = [group_account(group, record.bound.cluster)[0] for group in record.bound.cluster.groups.values()]
        for name, columns in standby_tables(record.standby, groups, record.down, record.begin_s, record.end_s).items():
            tables[name] = frame(name, columns)
    if record.batch and record.batch.quality:
        tables["quality"] = frame("quality", _quality(record))
    if not record.batch or record.items:
        tables |= fabric_tables(record.bound.cluster, record.network.links if record.network else None)
    sources = _sources(record)
    if sources["name"]:
        tables["sources"] = frame("sources", sources)
    return tables


def _drawn(energy: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the rows of the energy table without parts that draw nothing: none there, or their power not known (a note says so)."""
    keep = [i for i, part in enumerate(energy["component"]) if part in ("compute", "idle") or energy["energy_j"][i] > 0]
    return {key: [values[i] for i in keep] for key, values in energy.items()}


def _device_s(batch: BatchRecord, run_s: Any, ended: Any) -> Any:
    """Return the device-seconds of each job, NaN for one that has not ended."""
    if batch.holdings is not None:
        part = batch.holdings
        held_s = np.where(np.isnan(part.end_s), 0.0, part.end_s - part.start_s) * part.devices
        return np.where(ended, np.bincount(part.job, weights=held_s, minlength=len(run_s)), np.nan)
    each = (batch.bound.group.per_node or 1) / batch.bound.per_node
    if batch.pieces is None:
        return np.where(ended, run_s, np.nan) * batch.jobs.processors * each
    job, start, stop, held = batch.ran(np.inf)
    return np.where(ended, np.bincount(job, weights=(stop - start) * held, minlength=len(run_s)), np.nan) * each


def _accelerator_s(batch: BatchRecord, until_s: float) -> float:
    """Return the accelerator-seconds of all jobs up to ``until_s``, where either all of their groups have accelerators or none has."""
    if batch.holdings is not None:
        if not batch.bound.group.per_node:
            return 0.0
        part = batch.holdings
        return float(((np.where(np.isnan(part.end_s), until_s, part.end_s) - part.start_s) * part.devices).sum())
    _, start_s, end_s, held = batch.ran(until_s)
    return float(((end_s - start_s) * held).sum()) * batch.bound.group.per_node / batch.bound.per_node


def _groups_of(batch: BatchRecord) -> list[str]:
    """Return the group of each job, or those of which it has nodes; of a job that has not run, the one that it would have first."""
    names = batch.bound.names
    if batch.holdings is None or batch.home is None:
        return [names[0]] * len(batch.jobs)
    found = [names[at] for at in batch.home.tolist()]
    if batch.bound.spec.span:
        part = batch.holdings
        latest = np.full(len(found), -np.inf)
        np.maximum.at(latest, part.job, part.start_s)
        now = part.start_s == latest[part.job]
        last = np.unique(np.stack([part.job[now], part.group[now]]), axis=1)
        jobs, first, count = np.unique(last[0], return_index=True, return_counts=True)
        for job, at, many in zip(*(x[count > 1].tolist() for x in (jobs, first, count)), strict=True):
            found[job] = "+".join(names[group] for group in last[1, at : at + many].tolist())
    return found


def _jobs(record: Record, done: Account) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    priced = bool(done.costs["usd"])
    batch = record.scheduled
    if batch:
        n = len(batch.jobs)
        run = np.where(np.isnan(batch.end_s), batch.jobs.run_s, batch.run_s)
        wait = batch.wait_s
        per_node = batch.bound.per_node
        ended = ~np.isnan(batch.end_s)
        columns = {
            "job_id": batch.jobs.job_id,
            "name": list(batch.jobs.names) if batch.jobs.names is not None else [None] * n,
            "kind": ["batch"] * n,
            "group": _groups_of(batch),
            "user": [None if user < 0 else str(user) for user in batch.jobs.user.tolist()],
            "submit_s": batch.jobs.submit_s,
            "start_s": batch.start_s,
            "end_s": batch.end_s,
            "wait_s": wait,
            "run_s": run,
            "estimate_s": batch.jobs.estimate_s,
            "processors": batch.jobs.processors,
            "nodes": -(-batch.jobs.processors // per_node) if batch.held is None else batch.held,
            "status": batch.status,
            "bounded_slowdown": np.where(ended, metrics.bounded_slowdown(np.where(ended, wait, 0.0), run), np.nan),
            "device_s": _device_s(batch, run, ended),
            "cost_usd": done.job_usd[:n] if priced else np.full(n, np.nan),
        }
        if batch.hosts is not None:
            columns["hosts"] = list(batch.hosts)
        if batch.communication is not None:
            columns["communication"] = list(batch.communication)
            columns["undisturbed_s"] = batch.jobs.run_s
    rows = _item_rows(record, done, priced)
    for key, value in (("hosts", None), ("communication", None), ("undisturbed_s", math.nan)):
        if key in columns:
            rows[key] = [value] * len(record.items)
    if not columns:
        return rows
    return {key: [*np.asarray(columns[key], dtype=object).tolist(), *rows[key]] if record.items else columns[key] for key in columns}


def _item_rows(record: Record, done: Account, priced: bool) -> dict[str, list[Any]]:
    first = len(record.batch.jobs) if record.batch else 0
    start_id = int(record.batch.jobs.job_id.max()) + 1 if record.batch and first else 1
    keys = (
        "job_id", "name", "kind", "group", "user", "submit_s", "start_s", "end_s", "wait_s", "run_s", "estimate_s", "processors", "nodes",
        "status", "bounded_slowdown", "device_s", "cost_usd",
    )  # fmt: skip
    out: dict[str, list[Any]] = {key: [] for key in keys}
    for k, item in enumerate(record.items):
        wait = item.start_s - item.submit_s
        run = item.end_s - item.start_s
        devices = sum(n * (record.bound.cluster.groups[g].per_node or 1) for g, n in item.share.items())
        processors = sum(n * (record.batch.bound.processors_of(g) if record.batch else 1) for g, n in item.share.items())
        slowdown = float(metrics.bounded_slowdown(wait, run)) if item.status == "finished" else math.nan
        values = (
            start_id + k, item.name, item.kind, "+".join(item.share), None, item.submit_s, item.start_s, item.end_s, wait, run, item.estimate_s,
            processors, item.nodes, item.status, slowdown, run * devices, float(done.job_usd[first + k]) if priced else math.nan,
        )  # fmt: skip
        for key, value in zip(keys, values, strict=True):
            out[key].append(value)
    return out


def _states(record: Record) -> dict[str, Any]:
    parts = []
    for i, (name, group) in enumerate(record.bound.cluster.groups.items()):
        batch = record.batch if record.batch and name in record.batch.bound.names else None
        if batch and record.scheduled is None:
            continue
        per_node = batch.bound.processors_of(name) if batch else 1
        here = np.ones(len(batch.jobs), dtype=np.bool_) if batch else np.zeros(0, dtype=np.bool_)
        if batch and batch.home is not None:
            here = batch.home == batch.bound.names.index(name)
        mine = (record.usage.group == i) & (record.usage.processors != 0)
        waiting = [item for item in record.items if name in item.share]
        submit = [*(batch.jobs.submit_s[here].tolist() if batch else []), *(item.submit_s for item in waiting)]
        start = [*(batch.start_s[here].tolist() if batch else []), *(item.start_s for item in waiting)]
        wanted = [*(batch.jobs.processors[here].tolist() if batch else []), *(item.share[name] * per_node for item in waiting)]
        broken = record.down.group == i
        parts.append(
            pool_states(
                name,
                group.total * per_node,
                record.usage.start_s[mine],
                record.usage.end_s[mine],
                record.usage.processors[mine],
                np.array(submit, dtype=np.float64),
                np.array(start, dtype=np.float64),
                np.array(wanted, dtype=np.int64),
                (record.down.start_s[broken], record.down.end_s[broken], record.down.nodes[broken] * per_node),
                begin_s=record.begin_s,
                end_s=record.end_s,
            )
        )
    keys = parts[0] if parts else {}
    return {key: np.concatenate([np.asarray(part[key], dtype=object if key == "group" else None) for part in parts]) for key in keys}


def _training_rows(items: list[Item], record: Record) -> dict[str, list[Any]]:
    rows = []
    for item in items:
        plan = item.plan
        assert isinstance(plan, TrainingPlan)
        seconds = item.stop_s(record.end_s) - item.start_s
        layout = {k: plan.layout[k] for k in ("dp", "tp", "pp", "vpp", "cp", "ep", "micro_batch", "zero_stage", "recompute")}
        rows.append(
            {
                "name": plan.name,
                "model": plan.network.id,
                "group": plan.group.name,
                "devices": plan.devices,
                **layout,
                "global_batch": plan.global_batch,
                "sequence": plan.sequence,
                "precision": plan.precision,
                "steps": plan.steps,
                "step_time_s": float(plan.cost.step_time_s),
                "tokens_per_s": float(plan.cost.tokens_per_s),
                "mfu_frac": float(plan.cost.mfu_frac),
                "peak_memory_bytes": float(plan.cost.peak_memory_bytes),
                "memory_capacity_bytes": float(plan.cost.memory_capacity_bytes),
                "checkpoints": round(item.checkpoints),
                "checkpoint_interval_s": plan.checkpoint_interval_s if math.isfinite(plan.checkpoint_interval_s) else math.nan,
                "failures": round(item.failures),
                "lost_s": item.lost_s,
                "goodput_frac": min(item.done_s / seconds, 1.0) if seconds > 0 else math.nan,
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _memory_rows(items: list[Item], record: Record) -> dict[str, list[Any]]:
    rows = [
        (item.name, term, float(size))
        for item in items
        if isinstance(item.plan, TrainingPlan)
        for term, size in item.plan.cost.memory.terms().items()
        if float(size) > 0
    ]
    rows += [row for _, plan, _ in services_of(record) for row in service_memory(plan)]
    return {"name": [r[0] for r in rows], "term": [r[1] for r in rows], "size_bytes": [r[2] for r in rows]}


def _breakdown_rows(items: list[Item]) -> dict[str, list[Any]]:
    rows: list[tuple[str, str, float, float]] = []
    for item in items:
        if isinstance(item.plan, TaskPlan):
            times = closed_form(item.plan)
            terms = {"split": times.split_s, "dispatch": times.dispatch_s, "run": times.run_s, "merge": times.merge_s}
        elif isinstance(item.staged, Staged):
            laid = item.staged.laid
            if item.number or laid.plan.streaming:  # stages that run at once do not add up
                continue
            terms = dict(zip((stage.name for stage in laid.plan.stages), laid.alone_s.tolist(), strict=True))
        elif isinstance(item.plan, PipelinePlan):
            continue
        elif isinstance(item.plan, ServingPlan):
            terms = request_terms(item.served) if item.served is not None else {}
        else:
            terms = {term: float(seconds) for term, seconds in item.plan.cost.terms.items()}
        total = sum(terms.values())
        rows += [(item.plan.name, term.replace("_", " "), seconds, seconds / total) for term, seconds in terms.items() if seconds > 0]
    return {key: [row[k] for row in rows] for k, key in enumerate(("name", "term", "seconds", "fraction"))}


def _quality(record: Record) -> dict[str, list[Any]]:
    batch = record.batch
    assert batch is not None
    return {
        "file": [batch.file] * len(batch.quality),
        "issue": [f.issue for f in batch.quality],
        "rows": [f.rows for f in batch.quality],
        "action": [f.action for f in batch.quality],
        "example": [f.example for f in batch.quality],
    }


def _sources(record: Record) -> dict[str, list[Any]]:
    bound = record.bound
    precisions = {plan.precision for plan in bound.trainings} | {
        arithmetic for plan in bound.services for arithmetic in plan.arithmetic
    } or {"fp64"}
    rows = [tuple(row) for row in bound.cluster.sources_for(precisions)]
    rows += [tuple(row) for pipeline in bound.pipelines for row in pipeline.facts]
    for plan in bound.networks:
        for fact in plan.network.facts():
            rows.append(
                (
                    f"{plan.path}.model",
                    fact.name,
                    fact.field,
                    str(fact.value),
                    fact.unit,
                    fact.source or "given in the scenario",
                    fact.kind or "given",
                )
            )
    names = ("path", "name", "field", "value", "unit", "source", "kind")
    return {key: [row[k] if row[k] != "" else None for row in rows] for k, key in enumerate(names)}
