"""What a reader must know beside the figures of a run: its software, what they are without, what is paid on top, what had no effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpcsim.run.fabric import shape_note
from hpcsim.run.pipelines import pipeline_notes
from hpcsim.run.record import Record
from hpcsim.run.serving import unanswered_notes
from hpcsim.scheduling.policies import make_policy
from hpcsim.workload.jobs import Finding

__all__ = ["dropped_of", "notes_of"]


def notes_of(record: Record, missing: Sequence[str], *, powered: bool, billable: bool) -> list[str]:
    """Return the notes of a record, each once.

    Parameters
    ----------
    record : Record
    missing : sequence of str
        What of the energy could not be computed, in sentences.
    powered, billable : bool
        Whether all power is known, and whether the bill is whole.
    """
    bound = record.bound
    notes = [note for plan in bound.trainings for note in plan.notes]  # on which software all else rests
    notes += [*bound.scenario.notes, *bound.cluster.notes] + [note for task in bound.tasks for note in task.notes]
    notes += pipeline_notes(record)
    notes += [note for plan in bound.services for note in plan.notes] + unanswered_notes(record)
    notes += _failure_notes(record)
    notes += [*missing, *_dropped(record), *_size_notes(record), *record.notes]
    if record.network:
        notes += record.network.notes
    notes += _money_notes(record, powered, billable)
    met = max((plan.oversubscription for plan in bound.trainings), default=1.0)
    shape = shape_note(bound.cluster, entered=met > 1.0 or (record.network is not None and bool(record.network.contention["name"])))
    notes += [shape] if shape else []
    notes += [f"{p.metric}: {p.note}." for p in bound.published if p.note]
    return list(dict.fromkeys(notes))


def dropped_of(quality: Iterable[Finding]) -> tuple[int, str]:
    """Return how many rows of a log were dropped, and why, in words.

    Parameters
    ----------
    quality : iterable of Finding
    """
    dropped = [finding for finding in quality if finding.action == "dropped"]
    return sum(finding.rows for finding in dropped), ", ".join(f"{finding.rows:,} {finding.issue}" for finding in dropped)


def _dropped(record: Record) -> list[str]:
    """Say how many jobs the figures are without, and why."""
    count, causes = dropped_of(record.batch.quality if record.batch else ())
    return [f"Beware: {count:,} job{'s are' if count > 1 else ' is'} left out of all figures: {causes} (table quality)."] if count else []


RATE_ENTRY = "llama3-405b"
"""Run whose rate of node failures tells how many are left out where a scenario gives none."""


def _failure_notes(record: Record) -> list[str]:
    """Say what failures leave alone, and about how many are left out where none are given."""
    bound = record.bound
    if bound.breakage is not None:
        spared = [kind for kind, any_ in (("services", bound.services), ("pipelines", bound.pipelines), ("tasks", bound.tasks)) if any_]
        return [f"Failures strike training runs and batch jobs only: {' and '.join(spared)} go on."] if spared else []
    mtbf_s = bound.catalog.reliability(RATE_ENTRY).node_mtbf_s
    notes = []
    for item in record.items:
        span_s = item.stop_s(record.end_s) - item.start_s
        count = item.nodes * span_s / mtbf_s if item.kind == "training" and mtbf_s and span_s > 0 else 0.0
        if count >= MANY_FAILURES:
            notes.append(
                f"Training {item.name}: no failures are counted. At the rate of {RATE_ENTRY} ({1000 * 86400 / (mtbf_s or 1.0):.3g} in 1,000 "
                f"node-days) about {count:,.2g} would interrupt it; add failures and workload.training.{item.name}.checkpoint."
            )
    return notes


MANY_FAILURES = 2.0
"""Failures left out from which they are worth a word."""


def _size_notes(record: Record) -> list[str]:
    """Say where jobs may change their size and the policy leaves them as they are, or the other way round."""
    scheduler = record.bound.scenario.scheduler
    if not record.scheduled or not record.scheduled.jobs:
        return []
    policy = make_policy(scheduler.policy, scheduler.options)
    chooses = bool(getattr(policy, "sizes", False) or getattr(policy, "resizes", False))
    if chooses and record.scheduled.jobs.law is None:
        return [
            f"{scheduler.policy} chooses the sizes of elastic jobs, and no job is elastic: all keep theirs. workload.jobs.elastic says how they may change."
        ]
    if record.bound.jobs and record.bound.jobs.spec.elastic is not None and not chooses:
        return [f"Jobs may change their size, and {scheduler.policy} leaves them as they are; moldable, equipartition and goodput do not."]
    return []


def _money_notes(record: Record, powered: bool, billable: bool) -> list[str]:
    """Say what a price does not cover, and why there is no bill."""
    notes = []
    site = record.bound.cluster.site
    prices = record.bound.cluster.prices
    if prices and site.electricity_usd_per_j is not None and powered:
        extra = [name for name, price in prices.items() if not price.includes_electricity]
        if extra:
            notes.append(
                f"Electricity is paid on top of the price of {', '.join(extra)}; set cluster.prices.<group>.includes_electricity if the price covers it."
            )
    if prices and not billable:
        notes.append(
            "The cost is left out: electricity is to be paid for, and the energy is not known. Give the power that is missing, or set "
            "cluster.prices.<group>.includes_electricity to true if the price covers it."
        )
    return notes
