"""When a job that is submitted now would start: the machine simulated on, with run times and arrivals drawn from the log's own past."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.base.units import readable
from hpcsim.cost.metrics import nearest_rank
from hpcsim.engine.jobs import EventOrder, run_jobs
from hpcsim.engine.outcome import Outcome
from hpcsim.scheduling.requests import demands_of
from hpcsim.study.binding import House, run_in
from hpcsim.workload.jobs import JobTable

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["forecast_start", "start_draws"]

Floats = npt.NDArray[np.float64]

NOT_POSITIVE = problem_kind("forecast-value", "{name} is {value!r}; it must be {bound}", "")
NO_PAST = problem_kind("forecast-no-past", "nothing was submitted before {at:g} s", "a later time, within the log")

_WEEK_S = 7 * 86400.0
_HORIZON_S = 14 * 86400.0
_FEW_PAST = 20


def _accuracies(jobs: JobTable, start_s: Floats, now_s: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return run time over estimate of the jobs that had ended by now, and their users."""
    ended = start_s + jobs.run_s <= now_s
    ratio = jobs.run_s[ended] / jobs.estimate_s[ended]
    return (ratio, jobs.user[ended]) if len(ratio) >= _FEW_PAST else (np.linspace(0.05, 1.0, 20), np.full(20, -1))


def _drawn_runs(
    draw: np.random.Generator,
    estimate: Floats,
    elapsed: Floats,
    user: npt.NDArray[np.int64],
    past: Floats,
    past_user: npt.NDArray[np.int64],
) -> Floats:
    """Return run times: the estimate times an accuracy of the past – the same user's where there are enough – above what has passed.

    A user's jobs are of one kind for a while: in one draw they all have the accuracy of the same rank among those that are possible.
    """
    rank = dict(zip(np.unique(user).tolist(), draw.random(len(np.unique(user))), strict=True))
    runs = np.empty(len(estimate))
    for k in range(len(estimate)):
        own = past[past_user == user[k]] if user[k] >= 0 else past[:0]
        pool = own if len(own) >= _FEW_PAST else past
        longer = np.sort(pool[pool * estimate[k] > elapsed[k]])
        place = rank[int(user[k])] if user[k] >= 0 else draw.random()
        runs[k] = float(longer[int(place * len(longer))]) * estimate[k] if len(longer) else max(estimate[k], elapsed[k] * 1.1 + 1.0)
    return np.maximum(runs, 1.0)


def _arrivals(draw: np.random.Generator, jobs: JobTable, now_s: float, horizon_s: float) -> JobTable | None:
    """Return what may arrive: the jobs that came in the same hours of an earlier week, taken at random, again and again."""
    past = now_s - float(jobs.submit_s.min())
    weeks = int(past // _WEEK_S)
    if weeks < 1:
        return None
    parts = []
    for ahead in range(int(np.ceil(horizon_s / _WEEK_S))):
        back = float(draw.integers(1, weeks + 1)) * _WEEK_S
        chosen = (jobs.submit_s > now_s - back) & (jobs.submit_s <= now_s - back + _WEEK_S)
        if chosen.any():
            mine = jobs.subset(chosen)
            parts.append((mine, mine.submit_s + back + ahead * _WEEK_S))
    if not parts:
        return None
    present = [name for name in _ASKED if getattr(jobs, name) is not None]
    asked: dict[str, Any] = {name: np.concatenate([part.filled(name) for part, _ in parts]) for name in present}
    return JobTable.of(
        np.concatenate([times for _, times in parts]),
        np.concatenate([part.run_s for part, _ in parts]),
        np.concatenate([part.processors for part, _ in parts]),
        estimate_s=np.concatenate([part.estimate_s for part, _ in parts]),
        user=np.concatenate([part.user for part, _ in parts]),
        group=np.concatenate([part.group for part, _ in parts]),
        queue=np.concatenate([part.queue for part, _ in parts]),
        **asked,
    )


def start_draws(
    jobs: JobTable,
    capacity: int,
    policy: str,
    *,
    processors: int,
    estimate_s: float,
    at_s: float,
    user: int = -1,
    draws: int = 20,
    seed: int = 0,
    order: EventOrder = "batch",
    arrivals: bool = True,
    house: House | None = None,
) -> Floats:
    """Return drawn starts [s] of a job that is submitted at ``at_s``, shape (draws,); NaN where it had not started two weeks later.

    Up to ``at_s`` the schedule is that of the log. What ran or waited then gets run times of its estimate times an accuracy (run over estimate)
    of the jobs that had ended by then, of the same user where there are 20, conditioned on being longer than what has passed. What arrives later is
    a randomly chosen earlier week of the log, hour by hour. Policies go on planning with the estimates.

    Parameters
    ----------
    jobs : JobTable
        The log; only what was known at ``at_s`` is used.
    capacity : int
        Processors of the machine.
    policy : str
    processors, estimate_s, user
        Of the new job.
    at_s : float [s]
        Time of submission.
    draws, seed : int
    arrivals : bool
        Whether more jobs arrive.
    house : House, optional
        The machine of nodes; the new job asks for its processors or accelerators by the house's rules, and for no memory of its own.

    Raises
    ------
    InputError
        Numbers that no job can have, or no past.
    """
    for name, value, good, bound in (
        ("processors", processors, 1 <= processors <= capacity, f"from 1 to {capacity}"),
        ("estimate_s", estimate_s, 0 < estimate_s < np.inf, "a time above 0"),
        ("draws", draws, draws >= 1, "at least 1"),
    ):
        if not good:
            raise NOT_POSITIVE.error(path=name, name=name, value=value, bound=bound)
    jobs = jobs.sorted_by_submit()
    known = jobs.subset(jobs.submit_s <= at_s)
    if not len(known):
        raise NO_PAST.error(path="at", at=at_s)
    so_far = _run(known, capacity, policy, order, at_s, house)
    begun = np.where(np.isnan(so_far.start_s), np.inf, so_far.start_s)
    open_ = np.flatnonzero(begun + known.run_s > at_s)
    past, past_user = _accuracies(known, begun, at_s)
    elapsed = np.where(np.isfinite(begun[open_]), at_s - begun[open_], 0.0)
    number = int(known.job_id.max()) + 1
    found = np.full(draws, np.nan)
    for k in range(draws):
        draw = stream(seed, "forecast", k)
        run = known.run_s.copy()
        run[open_] = _drawn_runs(draw, known.estimate_s[open_], elapsed, known.user[open_], past, past_user)
        table = _with_new(
            known, run, number, at_s, processors, estimate_s, user, _arrivals(draw, known, at_s, _HORIZON_S) if arrivals else None
        )
        outcome = _run(table, capacity, policy, order, at_s + _HORIZON_S, house)
        found[k] = outcome.start_s[np.flatnonzero(table.job_id == number)[0]]
    return found


def _run(jobs: JobTable, capacity: int, policy: str, order: EventOrder, until_s: float, house: House | None) -> Outcome:
    """Run jobs on one pool, or on the nodes of a house."""
    if house is None:
        return run_jobs(jobs, capacity, policy, order=order, until_s=until_s)
    demands = demands_of(jobs, house.machine, house.asking)
    return run_in(dataclasses.replace(house, jobs=jobs, demands=demands, order=order), until_s=until_s)


_ASKED = ("nodes", "gpus", "memory_bytes", "exclusive")


def _asked(known: JobTable, more: JobTable | None) -> dict[str, Any]:
    """Return what else the jobs ask for of a machine of nodes; the new one, between those known and those that follow, for nothing more."""
    found: dict[str, Any] = {}
    for name in _ASKED:
        if getattr(known, name) is not None:
            none = known.subset(np.arange(1)).filled(name)[:1] * 0 + (-1 if name == "nodes" else 0)
            parts = [known.filled(name), none.astype(known.filled(name).dtype), *([more.filled(name)] if more is not None else [])]
            found[name] = np.concatenate(parts)
    return found


def _with_new(
    known: JobTable, run: Floats, number: int, at_s: float, processors: int, estimate_s: float, user: int, more: JobTable | None
) -> JobTable:
    """Return the known jobs with drawn run times, the new one, and what arrives after."""
    later = np.empty(0, dtype=np.int64) if more is None else np.arange(number + 1, number + 1 + len(more))

    def joined(name: str, own: float) -> npt.NDArray[np.float64]:
        parts = [getattr(known, name), [own]] + ([] if more is None else [getattr(more, name)])
        return np.concatenate(parts)

    estimate = joined("estimate_s", estimate_s)
    runs = np.concatenate([run, [estimate_s], [] if more is None else more.run_s])
    return JobTable.of(
        joined("submit_s", at_s),
        runs,
        joined("processors", processors).astype(np.int64),
        estimate_s=np.concatenate([known.estimate_s, estimate[len(known) :]]),
        job_id=np.concatenate([known.job_id, [number], later]),
        user=joined("user", user).astype(np.int64),
        group=joined("group", -1).astype(np.int64),
        queue=joined("queue", -1).astype(np.int64),
        **_asked(known, more),
    ).sorted_by_submit()


def forecast_start(
    jobs: JobTable,
    capacity: int,
    policy: str,
    *,
    processors: int,
    estimate_s: float,
    at_s: float | None = None,
    draws: int = 20,
    seed: int = 0,
    order: EventOrder = "batch",
    name: str = "replay",
    house: House | None = None,
) -> Results:
    """Return when a job that is submitted now would start, with its 80 % range; see :func:`start_draws`.

    Parameters
    ----------
    at_s : float, optional [s]
        Now; the last submission of the log without it.
    house : House, optional
        As in :func:`start_draws`.

    Returns
    -------
    Results
        Of kind ``"explain"``, with the table ``start_draws``; summary ``median_wait_s``, with its range, and ``started_frac``.
    """
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    now = float(jobs.submit_s.max()) if at_s is None else at_s
    starts = start_draws(
        jobs, capacity, policy, processors=processors, estimate_s=estimate_s, at_s=now, draws=draws, seed=seed, order=order, house=house
    )
    wait = starts - now
    started = ~np.isnan(starts)
    what = f"A job on {processors:,} of {capacity:,} processors that asks for {readable(estimate_s, 'time')}"
    summary: dict[str, float | int | str] = {"started_frac": float(started.mean())}
    ranges: dict[str, tuple[float, float]] = {}
    if started.any():
        low, middle, high = (nearest_rank(np.where(started, wait, np.inf), q) for q in (0.1, 0.5, 0.9))
        summary["median_wait_s"] = middle
        if np.isfinite(high):
            ranges["median_wait_s"] = (low, high)
        until = readable(high, "time") if np.isfinite(high) else "over two weeks"
        first = readable(low, "time") if low > 0 else "at once"
        answer = f"{what} would wait {readable(middle, 'time') if np.isfinite(middle) else 'over two weeks'} under {policy}; in eight of ten draws from {first} to {until}."
    else:
        answer = f"{what} would not start within two weeks under {policy}."
    return Results(
        name=f"{name} start",
        question=f"When would a job submitted {readable(now, 'time') if now > 0 else 'at once'} into the log start?",
        answer=answer,
        kind="explain",
        summary=summary,
        ranges=ranges,
        tables={"start_draws": frame("start_draws", {"draw": np.arange(1, draws + 1), "start_s": starts, "wait_s": wait})},
        notes=[
            "Run times are drawn from how the log's users kept to their estimates, arrivals from its earlier weeks; jobs of another kind are not foreseen."
        ],
        provenance=provenance(log=name, policy=policy, seed=seed, at_s=now),
    )
