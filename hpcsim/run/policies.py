"""From the scheduler part of a scenario to a policy, and to what it costs to stop a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.cost.hourly import Hourly
from hpcsim.run.hours import Hours
from hpcsim.scenario.power import power_of_hours
from hpcsim.scenario.scheduler import PrioritySpec, SchedulerSpec
from hpcsim.scheduling.policies import Policy, make_policy
from hpcsim.scheduling.priority import Priority
from hpcsim.scheduling.shift import Shift
from hpcsim.workload.jobs import Finding, JobTable

if TYPE_CHECKING:
    from hpcsim.engine.stopping import Stopping

__all__ = ["policy_of", "stopping_of", "unknown_names", "watching"]

NO_PRIORITIES = problem_kind(
    "priority-of-policy", "the policy {name!r} knows no weights, priorities and shares", "they are of priority, fairshare and fair-tree"
)

NO_BUDGET = problem_kind("power-hours-alone", "power_hours say nothing of the other hours", "add power_budget")
NOT_AHEAD = problem_kind(
    "power-hours-policy",
    "the policy {name!r} does not plan ahead, so no job would end before a budget falls",
    "conservative, or shift with backfill: conservative",
)
OUTRUN = problem_kind(
    "power-hours-estimates",
    "jobs outrun {estimates} run times, and would still draw when the budget has fallen",
    "estimates: requested or actual",
)
NO_SERIES = problem_kind(
    "policy-without-hours",
    "the policy {name!r} watches the hourly {signal}, and the site has no such series",
    "give cluster.site.hourly a file with that column (for a replay, --hourly), or set the option signal",
)


def policy_of(scheduler: SchedulerSpec, jobs: JobTable | None = None, hours: Hours | None = None, *, watched: bool = True) -> Policy:
    """Return the policy of a scenario with its options.

    Parameters
    ----------
    scheduler : SchedulerSpec
        What the scenario says.
    jobs : JobTable, optional
        The jobs, whose labels say which numbers the names of users, accounts, queues and qualities of service stand for. Without it,
        priorities and shares by name are left out: enough to check the rest.
    hours : Hours, optional
        The site's hourly series, for a policy that watches one.
    watched : bool
        Without it nothing is watched: the series could not be read, which is said elsewhere.

    Raises
    ------
    InputError
        An unknown policy, an option that it does not have, priorities for a policy that knows none, or a series that the site does not have.
    """
    policy = make_policy(scheduler.policy, scheduler.options)
    _turns(scheduler, policy)
    policy = watching(policy, hours) if watched else policy
    if scheduler.power_hours:
        _hourly_power(scheduler, policy)
    spec = scheduler.priority
    if spec is None:
        return policy
    if not isinstance(policy, Priority):
        raise NO_PRIORITIES.error(path="scheduler.priority", name=policy.name)
    weights = {name: value for name, value in spec.weights.model_dump().items() if value is not None}
    named: dict[str, Any] = {}
    if jobs is not None:
        for key, column, given in _by_name(spec, jobs):
            named[key] = {number: value for name, value in given.items() if (number := _number(jobs, column, name)) is not None}
    return dataclasses.replace(policy, weights=dataclasses.replace(policy.weights, **weights), **named)


def _turns(scheduler: SchedulerSpec, policy: Policy) -> None:
    """Refuse turns in which no job gets on.

    Raises
    ------
    InputError
        A turn is not longer than what a stop costs.
    """
    from hpcsim.engine.stopping import short_turn

    for option in ("quantum_s", "lease_s"):
        turn_s = getattr(policy, option, None)
        if turn_s is not None:
            problem = short_turn(stopping_of(scheduler), str(getattr(policy, "mode", "")), policy.name, option, float(turn_s))
            if problem is not None:
                raise InputError([problem])


def _hourly_power(scheduler: SchedulerSpec, policy: Policy) -> None:
    """Refuse a power budget by the hour that nobody keeps.

    Raises
    ------
    InputError
        There is no budget for the other hours, the policy does not plan ahead, jobs may outrun what is planned, or the hours are none.
    """
    if scheduler.power_budget is None:
        raise NO_BUDGET.error(path="scheduler.power_hours")
    if not getattr(policy, "keeps_hours", False):
        raise NOT_AHEAD.error(path="scheduler.power_hours", name=policy.name)
    if scheduler.estimates in ("predicted", "regression"):
        raise OUTRUN.error(path="scheduler.power_hours", estimates=scheduler.estimates)
    power_of_hours(scheduler.power_hours, scheduler.power_budget)


def watching(policy: Policy, hours: Hours | None) -> Policy:
    """Return a policy with the hourly series that it watches; any other as it is.

    Raises
    ------
    InputError
        The site has no such series.
    """
    if not isinstance(policy, Shift):
        return policy
    series = None if hours is None else hours.usd_per_j if policy.signal == "price" else hours.carbon_kg_co2e_per_j
    if series is None:
        raise NO_SERIES.error(name=policy.name, signal=policy.signal)
    return dataclasses.replace(policy, hours=Hourly(tuple(series.tolist())))


def _by_name(spec: PrioritySpec, jobs: JobTable) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield (option of the policy, column of the job table, value by name)."""
    yield "partition", "queue", spec.partitions
    yield "qos", "group" if jobs.qos is None else "qos", spec.qos
    yield "user_shares", "user", spec.user_shares
    yield "account_shares", "group", spec.account_shares


def _number(jobs: JobTable, column: str, name: str) -> int | None:
    """Return the number behind a name in a column; a column without labels holds the numbers themselves. None where no job has it."""
    labels = jobs.labels.get(column)
    number = (labels.index(name) if name in labels else -1) if labels else int(name) if name.isdecimal() else -1
    return number if number >= 0 and bool((jobs.filled(column) == number).any()) else None


def unknown_names(scheduler: SchedulerSpec, jobs: JobTable) -> list[Finding]:
    """Return a finding for every priority or share of a name that no job has: it changes nothing."""
    if scheduler.priority is None:
        return []
    return [
        Finding(f"scheduler.priority names a {column} that no job has", 1, "kept", name)
        for _, column, given in _by_name(scheduler.priority, jobs)
        for name in given
        if _number(jobs, column, name) is None
    ]


def stopping_of(scheduler: SchedulerSpec) -> Stopping:
    """Return what it costs to stop a job."""
    from hpcsim.engine.stopping import Stopping

    spec = scheduler.stopping
    return Stopping(save_s=spec.save, restore_s=spec.restore, interval_s=spec.interval, resubmit_s=spec.resubmit, notice=spec.notice)
