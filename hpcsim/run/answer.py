"""The answer in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcsim.base.units import percent, readable
from hpcsim.results.quantities import brief
from hpcsim.run.failures import taken_s
from hpcsim.run.pipelines import answer_of_pipelines, keeping_words, repeats_words
from hpcsim.run.record import Item, Record
from hpcsim.run.serving import service_answer, service_machine, services_of
from hpcsim.workload.training import TrainingPlan

__all__ = ["answer_of"]


def answer_of(record: Record, summary: Mapping[str, Any]) -> str:
    """Return one or two sentences that answer the scenario's question with its figures."""
    parts = []
    items = record.items
    served = services_of(record)
    if served and len(served) == len(items):
        parts += [service_answer(plan, found, summary) for _, plan, found in served]
    elif len(items) == 1:
        parts.append(_item(items[0], record, summary))
    elif items:
        known = list(dict.fromkeys(item.plan.name for item in items))
        names = " and ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else [f"{len(items)} runs of {known[0]}"])
        gaps, span = repeats_words(record), readable(summary["makespan_s"], "time")
        parts.append(f"{names} are done after {span}, {gaps}" if gaps else f"{names} take {span} in all")
    if record.batch:
        parts.append(_jobs(record, summary))
    sentence = "; ".join(part for part in parts if part)
    draw = _draw(summary, priced=bool(record.bound.cluster.prices), apart=keeping_words(record, summary))
    if record.batch or len(items) > 1 or served:  # many subjects: the machine is what draws
        machine = service_machine(record) if served and len(served) == len(items) and not record.batch else "The machine"
        text = sentence + (f". {machine} {draw}." if draw else ".")
    else:
        text = f"{sentence or 'Nothing ran'}{', ' if draw else ''}{draw}."
    lost = summary.get("contention_s", 0.0)
    shared = f" Sharing links and storage costs them {readable(lost, 'time', 3)} in all." if lost > 0 else ""
    shared += answer_of_pipelines(record, summary)
    return text[0].upper() + text[1:] + shared + _failures(record) + _checkpoints(record) + _published(record, summary)


def _failures(record: Record) -> str:
    """Return how much of one training run failures take, and which cause most."""
    if len(record.items) != 1 or not record.items[0].causes:
        return ""
    item = record.items[0]
    took = {cause: taken_s(row) for cause, row in item.causes}
    whole, span = sum(took.values()), item.stop_s(record.end_s) - item.start_s
    if not whole > 0.0005 * span:
        return ""
    worst = max(took, key=lambda cause: (took[cause], cause))
    most = f", {worst.replace('-', ' ')} most" if sum(seconds > 0 for seconds in took.values()) > 1 else ""
    return f" Failures take {readable(whole, 'time', 3)} of that time ({100.0 * whole / span:.3g} %){most}."


def _checkpoints(record: Record) -> str:
    """Return a warning of runs that spend more time on checkpoints than on work."""
    plans = [item.plan for item in record.items if isinstance(item.plan, TrainingPlan)]
    bad = [plan for plan in plans if plan.checkpoint_write_s > plan.checkpoint_interval_s]
    return "".join(
        f" Beware: {plan.name} writes a checkpoint of {readable(plan.checkpoint_write_s, 'time', 3)} after every "
        f"{readable(plan.checkpoint_interval_s, 'time', 3)} of work."
        for plan in bad
    )


def _item(item: Item, record: Record, summary: Mapping[str, Any]) -> str:
    if math.isnan(item.start_s):
        return f"{item.name} did not start before the horizon"
    seconds = item.stop_s(record.end_s) - item.start_s
    if item.status == "running":
        share = item.done_s / item.plan.work_s if isinstance(item.plan, TrainingPlan) else math.nan
        part = f", {percent(share)} of it done" if not math.isnan(share) else ""
        return f"{item.name} still runs when the horizon ends after {readable(seconds, 'time')}{part}"
    if isinstance(item.plan, TrainingPlan):
        plan = item.plan
        device = plan.group.accelerator.id if plan.group.accelerator else plan.group.name
        step = f"{readable(float(plan.cost.step_time_s), 'time', 3)} a step, {percent(float(plan.cost.mfu_frac))} of peak"
        return f"Training {plan.network.id} takes {readable(seconds, 'time')} on {plan.devices:,} {device} ({step})"
    return f"The {item.kind.replace('-', ' ')} {item.name} takes {readable(seconds, 'time')} on {item.nodes} nodes"


def _jobs(record: Record, summary: Mapping[str, Any]) -> str:
    if record.scheduled is None and record.batch:
        least = readable(summary["makespan_s"], "time")
        used = f"{percent(summary['utilisation_frac'])} used; waits take a simulation"
        return f"the work of {summary['jobs']:,} jobs takes at least {least} on {record.batch.bound.processors:,} processors ({used})"
    policy = record.bound.scenario.scheduler.policy
    text = f"{summary['jobs']:,} jobs under {policy}"
    if "mean_wait_s" in summary:
        median = readable(summary["median_wait_s"], "time", 3)
        text += f" wait {readable(summary['mean_wait_s'], 'time', 3)} on average ({median} in the median, 95 % less than {readable(summary['p95_wait_s'], 'time', 3)})"
    if "utilisation_frac" in summary:
        text += f" at {percent(summary['utilisation_frac'])} utilisation"
    if summary.get("jobs_queued") or summary.get("jobs_running"):
        text += f"; {summary.get('jobs_queued', 0)} still wait and {summary.get('jobs_running', 0)} still run at the end"
    return text


def _draw(summary: Mapping[str, Any], *, priced: bool, apart: str) -> str:
    parts = []
    if "facility_energy_j" in summary:
        parts.append(f"draws {readable(summary['facility_energy_j'], 'energy')} with cooling")
    if "carbon_kg_co2e" in summary:
        parts.append(f"emits {readable(summary['carbon_kg_co2e'], 'carbon mass')} CO2e")
    if "cost_usd" in summary:
        parts.append(f"{'costs' if priced else 'its electricity costs'} {brief('cost_usd', summary['cost_usd'])}{apart}")
    if not parts:
        return ""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _published(record: Record, summary: Mapping[str, Any]) -> str:
    if any(item.status != "finished" for item in record.items):
        return ""
    for figure in record.bound.published:
        predicted = summary.get(figure.metric)
        if figure.metric.endswith("_s") and isinstance(predicted, (int, float)) and figure.value > 0:
            gap = predicted / figure.value - 1.0
            return f" Published: {readable(figure.value, 'time')}; the prediction is {percent(abs(gap))} {'below' if gap < 0 else 'above'}."
    return ""
