"""The figures of one schedule: what a replay says of each policy, from the starts and ends alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcsim.base.errors import HpcsimError, InputError
from hpcsim.cost import fairness, metrics
from hpcsim.engine.outcome import Outcome
from hpcsim.run.hours import Hours
from hpcsim.workload.jobs import JobTable

__all__ = ["horizon", "occupancy_of", "policy_metrics", "policy_ranges", "shares", "watched_metrics"]

LITTLE_TOLERANCE = 1e-6
"""By which the integral of the queue may differ from the sum of the waits: rounding alone."""

_FEW_USERS = 2


def horizon(jobs: JobTable, outcome: Outcome) -> tuple[float, float]:
    """Return first submission and last end [s], at least a second apart."""
    first = float(jobs.submit_s.min())
    return first, float(max(outcome.end_s.max(), first + 1.0))


def occupancy_of(jobs: JobTable, outcome: Outcome) -> metrics.Intervals:
    """Return the state of the pool over :func:`horizon`; Little's law is checked on it.

    Raises
    ------
    HpcsimError
        The integral of the queue is not the sum of the waits: a fault of hpcsim.
    """
    states = metrics.occupancy(*outcome.stays, size=outcome.size, window_s=horizon(jobs, outcome))
    gap = metrics.little_gap_frac(states, outcome.wait_s)
    if not abs(gap) <= LITTLE_TOLERANCE:
        raise HpcsimError(f"Little's law is missed by {gap:g}: queue and waits disagree")
    return states


def policy_metrics(
    jobs: JobTable, outcome: Outcome, *, states: metrics.Intervals | None = None, power_w: tuple[float, float] | None = None
) -> dict[str, float | int]:
    """Return the figures of one schedule.

    Parameters
    ----------
    jobs : JobTable
        By submission, as the outcome has them; every job must have ended.
    outcome : Outcome
        What :func:`~hpcsim.engine.jobs.run_jobs` returned.
    states : Intervals, optional
        Of :func:`occupancy_of`, where they are at hand.
    power_w : (float, float), optional [W]
        Power of a busy and of an idle processor; gives the energy per job.

    Returns
    -------
    dict
        The columns of the table ``policies``, without the processor time. Percentiles are nearest ranks; the bound of the slowdown is 10 s.
    """
    wait, run = outcome.wait_s, outcome.run_s
    first, last = float(jobs.submit_s.min()), float(outcome.end_s.max())
    busy = {"capacity": outcome.size}
    window = metrics.steady_window(jobs.submit_s)
    steady = metrics.utilisation(*outcome.busy, **busy, window_s=window) if window[1] > window[0] else np.nan
    whole = metrics.utilisation(*outcome.busy, **busy, window_s=(first, last)) if last > first else 0.0
    slow = metrics.bounded_slowdown(wait, run)
    work = outcome.processor_s
    states = occupancy_of(jobs, outcome) if states is None else states
    idle = metrics.idle_parts(states, jobs.submit_s, outcome.start_s, jobs.processors)
    users = jobs.user[jobs.user >= 0]
    fair = np.nan
    if len(users) and len(np.unique(users)) >= _FEW_USERS:
        known = jobs.user >= 0
        parts = fairness.by_key(users, wait[known], run[known], jobs.processors[known], slow[known])
        fair = metrics.jain_index(parts.mean_bounded_slowdown)
    energy = np.nan
    if power_w is not None:
        each = metrics.job_energy_j(
            outcome.start_s,
            outcome.end_s,
            jobs.processors,
            size=outcome.size,
            busy_w=power_w[0],
            idle_w=power_w[1],
            window_s=horizon(jobs, outcome),
        )
        energy = float(each.mean())
    return {
        "jobs": len(jobs),
        "mean_wait_s": float(wait.mean()),
        "median_wait_s": metrics.nearest_rank(wait, 0.5),
        "p95_wait_s": metrics.nearest_rank(wait, 0.95),
        "max_wait_s": float(wait.max()),
        "mean_bounded_slowdown": float(slow.mean()),
        "makespan_s": metrics.makespan_s(jobs.submit_s, outcome.end_s),
        "utilisation_frac": whole,
        "steady_utilisation_frac": steady,
        "p99_wait_s": metrics.nearest_rank(wait, 0.99),
        "mean_response_s": float((wait + run).mean()),
        "weighted_wait_s": metrics.weighted_mean(wait, work),
        "mean_slowdown": float(metrics.slowdown(wait, run).mean()),
        "median_bounded_slowdown": metrics.nearest_rank(slow, 0.5),
        "p95_bounded_slowdown": metrics.nearest_rank(slow, 0.95),
        "p99_bounded_slowdown": metrics.nearest_rank(slow, 0.99),
        "weighted_bounded_slowdown": metrics.weighted_mean(slow, work),
        "capacity_loss_frac": idle.fits,
        "fragmentation_frac": idle.fragmented,
        "fairness_jain_frac": fair,
        "overtaken_frac": float((fairness.overtaken(jobs.submit_s, outcome.start_s) > 0).mean()),
        "envious_frac": float(fairness.envious(jobs.submit_s, outcome.start_s, jobs.processors).mean()),
        "starved_jobs": int(fairness.starved(wait, jobs.estimate_s).sum()),
        "energy_per_job_j": energy,
    }


def watched_metrics(
    jobs: JobTable, outcome: Outcome, states: metrics.Intervals, *, power_w: tuple[float, float] | None, hours: Hours | None
) -> dict[str, float | int]:
    """Return what a schedule costs by the hour, and the deadlines that it missed; each only where it is known.

    Parameters
    ----------
    jobs, outcome, states
        As of :func:`policy_metrics`.
    power_w : (float, float) or None [W]
        Power of a busy and of an idle processor.
    hours : Hours or None
        Hourly prices and intensities.
    """
    found: dict[str, float | int] = {}
    if jobs.due_s is not None:
        due = jobs.submit_s + jobs.due_s
        found["deadlines_missed"] = int((outcome.end_s > due * (1.0 + 1e-12) + 1e-6).sum())
    if power_w is not None and hours is not None:
        watts = power_w[0] * states.busy + power_w[1] * states.idle
        for key, series in (("electricity_usd", hours.usd_per_j), ("carbon_kg_co2e", hours.carbon_kg_co2e_per_j)):
            if series is not None:
                found[key] = float(np.dot(watts, hours.integral(series, states.start_s, states.end_s)))
    return found


def policy_ranges(jobs: JobTable, outcome: Outcome) -> dict[str, tuple[float, float]]:
    """Return 80 % intervals of the means, from resampled weeks of the log; empty where it has fewer than four."""
    if jobs.submit_s.max() - jobs.submit_s.min() < 4 * fairness.WEEK_S:
        return {}
    slow = metrics.bounded_slowdown(outcome.wait_s, outcome.run_s)
    try:
        return {
            "mean_wait_s": fairness.block_bootstrap(jobs.submit_s, outcome.wait_s),
            "mean_bounded_slowdown": fairness.block_bootstrap(jobs.submit_s, slow),
        }
    except InputError:  # all jobs in one week of a long log
        return {}


def shares(jobs: JobTable, outcome: Outcome, policy: str | None) -> dict[str, list[Any]]:
    """Return the columns of the table ``shares``: by user, group, queue and QOS, the largest users of the machine first."""
    wait, run = outcome.wait_s, outcome.run_s
    slow = metrics.bounded_slowdown(wait, run)
    total = float((run * jobs.processors).sum()) or 1.0
    columns: dict[str, list[Any]] = {
        key: [] for key in ("kind", "name", "jobs", "processor_frac", "mean_wait_s", "max_wait_s", "mean_bounded_slowdown")
    }
    for kind in ("user", "group", "queue", "qos"):
        number = jobs.filled(kind) if kind == "qos" else getattr(jobs, kind)
        known = number >= 0
        if not known.any():
            continue
        parts = fairness.by_key(number[known], wait[known], run[known], jobs.processors[known], slow[known])
        order = np.argsort(-parts.processor_s, kind="stable")
        columns["kind"] += [kind] * len(order)
        columns["name"] += [jobs.label(kind, int(key)) for key in parts.key[order]]
        columns["jobs"] += parts.jobs[order].tolist()
        columns["processor_frac"] += (parts.processor_s[order] / total).tolist()
        columns["mean_wait_s"] += parts.mean_wait_s[order].tolist()
        columns["max_wait_s"] += parts.max_wait_s[order].tolist()
        columns["mean_bounded_slowdown"] += parts.mean_bounded_slowdown[order].tolist()
    return columns if policy is None else {"policy": [policy] * len(columns["kind"]), **columns}
