"""Synthetic batch jobs: arrivals, sizes, run times, estimates and users as job logs show them, seeded and vectorised.

The forms are those of U. Lublin and D. G. Feitelson, "The workload on parallel supercomputers: modeling the characteristics of rigid
jobs", JPDC 63(11), 2003: a share of serial jobs, a two-stage uniform distribution of log2(size) with powers of two emphasised, the
logarithm of the run time hyper-gamma with a mixture that depends on the size, and a daily cycle of arrivals. The typed-in estimates follow
D. Tsafrir, Y. Etsion and D. G. Feitelson, "Modeling user runtime estimates", JSSPP 2005: few round values hold nearly all of them, and
many jobs ask for the limit. What is simpler here: the cycle is a smooth day and a flat weekend, arrivals inside an hour are Poisson, and the median run
time is set rather than fitted. The constants of the run-time form are remembered from the published model, not fitted to a log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.workload.jobs import Floats, Integers, JobTable

__all__ = ["ROUND_ESTIMATES_S", "Shape", "arrival_weights", "synthetic_jobs"]

BAD_PARAMETER = problem_kind("synthetic-parameter", "{name} is {value!r}; it must be {bound}", "")
ONE_AMOUNT = problem_kind(
    "synthetic-amount", "exactly one of jobs and load is needed", "a number of jobs, or an offered load with its processors"
)
NO_LOAD = problem_kind(
    "synthetic-load", "a load of {load:g} over {duration_s:g} s is less than one job", "a longer duration, a higher load or smaller jobs"
)
TOO_MANY = problem_kind("synthetic-too-many", "this load takes more than {most:,} jobs", "a shorter duration, or longer and larger jobs")

_HOUR_S = 3600.0
_DAY_HOURS = 24
_WEEK_HOURS = 7 * _DAY_HOURS
_MOST_JOBS = 100_000_000
_BATCH = 1 << 16

ROUND_ESTIMATES_S: tuple[float, ...] = tuple(
    [60.0 * m for m in (1, 2, 5, 10, 15, 20, 30, 45)]
    + [
        3600.0 * h
        for h in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 30, 36, 48, 60, 72, 96, 120, 144, 168, 240, 336, 504, 720)
    ]
)
"""Run times that people type in [s], ascending."""


class Shape(NamedTuple):
    """The form of the size and run-time distributions; every field has the published model's meaning.

    Attributes
    ----------
    low_log2, middle_below_top, low_share
        Two-stage uniform log2(size): from ``low_log2`` to the top less ``middle_below_top`` with probability ``low_share``, else from there
        to the top, which is log2 of the largest job.
    short_shape, short_scale, long_shape, long_scale
        The two gamma distributions of ln(run).
    slope, intercept
        Probability of the first one: ``slope·size + intercept``, cut to 0 … 1.
    """

    low_log2: float = 0.8
    middle_below_top: float = 2.5
    low_share: float = 0.86
    short_shape: float = 4.2
    short_scale: float = 0.94
    long_shape: float = 312.0
    long_scale: float = 0.03
    slope: float = -0.0054
    intercept: float = 0.78


def _between(name: str, value: float, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not low <= value <= high:
        raise BAD_PARAMETER.error(path=name, name=name, value=value, bound=f"from {low:g} to {high:g}")
    return float(value)


def _count(name: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
        raise BAD_PARAMETER.error(path=name, name=name, value=value, bound=f"a whole number from 1 to {most}")
    return int(value)


def arrival_weights(*, peak_hour: float = 14.0, night_frac: float = 0.2, weekend_frac: float = 0.5) -> Floats:
    """Return the rate of arrivals in each hour of a week that starts on a Monday, shape (168,), with mean 1.

    A raised cosine with its top at ``peak_hour`` and ``night_frac`` of the top twelve hours later; Saturday and Sunday have
    ``weekend_frac`` of a weekday.

    Examples
    --------
    >>> weights = arrival_weights()
    >>> int(weights[:24].argmax()), float(round(weights.mean(), 12))
    (13, 1.0)
    """
    hour = np.arange(_WEEK_HOURS) + 0.5
    day = 0.5 * (1 + np.cos(2 * np.pi * (hour - peak_hour) / _DAY_HOURS))
    rate = night_frac + (1 - night_frac) * day
    rate[5 * _DAY_HOURS :] *= weekend_frac
    weights: Floats = rate / rate.mean()
    return weights


def _arrivals(seed: int, jobs: int, duration_s: float, weights: Floats | None) -> Floats:
    """Return ascending times of a Poisson process of which ``jobs`` points fell into the duration, by inversion of its mean function."""
    uniform = np.sort(stream(seed, "jobs", "arrivals").random(jobs))
    if weights is None:
        return np.floor(uniform * duration_s)
    hours = int(np.ceil(duration_s / _HOUR_S))
    edges = np.minimum(np.arange(hours + 1) * _HOUR_S, duration_s)
    mass = np.diff(edges) * weights[np.arange(hours) % _WEEK_HOURS]
    mean = np.concatenate([[0.0], np.cumsum(mass)])
    return np.asarray(np.floor(np.interp(uniform * mean[-1], mean, edges)), dtype=np.float64)


def _sizes(draw: np.random.Generator, jobs: int, serial_frac: float, power_frac: float, most: int, shape: Shape) -> Integers:
    kind, power, where, place = draw.random((4, jobs))
    top = np.log2(most)
    low = min(shape.low_log2, top)
    middle = max(low, top - shape.middle_below_top)
    first = where < shape.low_share
    log2 = np.where(first, low + place * (middle - low), middle + place * (top - middle))
    rounded = np.where(power < power_frac, 2.0 ** np.rint(log2), np.rint(2.0**log2))
    largest_power = 2.0 ** np.floor(top)
    size = np.where(rounded > most, np.where(power < power_frac, largest_power, most), np.maximum(rounded, min(2, most)))
    return np.where(kind < serial_frac, 1, size).astype(np.int64)


def _raw_runs(draw: np.random.Generator, sizes: Integers, shape: Shape) -> Floats:
    """Return run times in the model's own scale: exp of a hyper-gamma variate."""
    choice = draw.random(len(sizes))
    short = draw.gamma(shape.short_shape, shape.short_scale, len(sizes))
    long = draw.gamma(shape.long_shape, shape.long_scale, len(sizes))
    first = choice < np.clip(shape.slope * sizes + shape.intercept, 0.0, 1.0)
    return np.asarray(np.exp(np.where(first, short, long)), dtype=np.float64)


def _estimates(draw: np.random.Generator, runs: Floats, limit_s: float, limit_frac: float) -> Floats:
    """Return what users typed: the run time over a uniform accuracy, rounded up to a round value; some ask for the limit."""
    values = np.array([value for value in ROUND_ESTIMATES_S if value < limit_s] + [limit_s])
    accuracy = np.maximum(draw.random(len(runs)), 1e-3)
    asked = np.where(draw.random(len(runs)) < limit_frac, limit_s, np.minimum(runs / accuracy, limit_s))
    return np.asarray(values[np.searchsorted(values, asked)], dtype=np.float64)


def _users(draw: np.random.Generator, jobs: int, users: int, exponent: float) -> Integers:
    weight = np.cumsum(1.0 / np.arange(1, users + 1) ** exponent)
    return np.asarray(1 + np.searchsorted(weight, draw.random(jobs) * weight[-1], side="right"), dtype=np.int64)


def _enough(draw: Callable[[int, int], tuple[Integers, Floats]], work: float) -> tuple[Integers, Floats]:
    """Return as many jobs as take ``work`` processor-seconds, to the nearest job; batch ``i`` is ``draw(i, count)``."""
    parts: list[tuple[Integers, Floats]] = []
    total = 0.0
    for batch in range(_MOST_JOBS // _BATCH):
        parts.append(draw(batch, _BATCH))
        total += float(np.dot(*parts[-1]))
        if total >= work:
            sizes, runs = (np.concatenate(column) for column in zip(*parts, strict=True))
            return _nearest(sizes, runs, work)
    raise TOO_MANY.error(path="load", most=_MOST_JOBS)


def _nearest(sizes: Integers, runs: Floats, work: float) -> tuple[Integers, Floats]:
    done = np.concatenate([[0.0], np.cumsum(sizes * runs)])
    at = int(np.searchsorted(done, work))
    if abs(done[at - 1] - work) < abs(done[at] - work):
        at -= 1
    return sizes[:at], runs[:at]


def synthetic_jobs(
    *,
    seed: int,
    duration_s: float,
    jobs: int | None = None,
    load: float | None = None,
    processors: int,
    max_processors: int | None = None,
    serial_frac: float = 0.24,
    power_of_two_frac: float = 0.75,
    median_run_s: float = 1800.0,
    max_run_s: float = 3 * 86400.0,
    limit_frac: float = 0.1,
    users: int = 100,
    user_exponent: float = 1.0,
    daily_cycle: bool = True,
    shape: Shape | None = None,
) -> JobTable:
    """Return jobs drawn from the distributions of the field.

    Parameters
    ----------
    seed : int
        Equal arguments give equal jobs.
    duration_s : float [s]
        Time over which jobs arrive; it starts on a Monday at midnight.
    jobs : int, optional
        Number of jobs.
    load : float, optional
        Instead of ``jobs``: offered load, Σ processors·run / (``processors``·duration), met to the nearest job.
    processors : int
        Processors of the machine.
    max_processors : int, optional
        Largest job; a quarter of the machine without it.
    serial_frac, power_of_two_frac : float
        Share of jobs on one processor, and of the others whose size is a power of two.
    median_run_s, max_run_s : float [s]
        Median of the run times before they are cut at the longest, which is also the limit that users may ask for.
    limit_frac : float
        Share of jobs whose user asks for the limit.
    users : int
        Users; the one of rank k submits in proportion to 1/k^``user_exponent``.
    user_exponent : float
        See ``users``.
    daily_cycle : bool
        More arrivals by day and on weekdays; else a constant rate.
    shape : Shape, optional
        Form of the size and run-time distributions.

    Returns
    -------
    JobTable
        By submission. Times are whole seconds, run times at least 1 s, estimates at least the run times.

    Raises
    ------
    InputError
        A parameter out of range, both or none of ``jobs`` and ``load``, or a load that is less than one job.

    Notes
    -----
    Sizes and run times are correlated through the mixture; arrivals, sizes and users are independent. Logs also show batches of similar
    jobs by one user, which are not modelled.

    Examples
    --------
    >>> table = synthetic_jobs(seed=1, duration_s=7 * 86400.0, load=0.8, processors=128)
    >>> round(float((table.processors * table.run_s).sum()) / (128 * 7 * 86400.0), 1)
    0.8
    """
    if (jobs is None) == (load is None):
        raise ONE_AMOUNT.error(path="jobs")
    total = _count("processors", processors, 10**9)
    most = _count("max_processors", max(1, total // 4) if max_processors is None else max_processors, total)
    duration = _between("duration_s", duration_s, 1.0, 1e10)
    longest = float(np.floor(_between("max_run_s", max_run_s, 1.0, 1e9)))
    median = _between("median_run_s", median_run_s, 1.0, longest)
    serial = _between("serial_frac", serial_frac, 0.0, 1.0)
    power = _between("power_of_two_frac", power_of_two_frac, 0.0, 1.0)
    limit = _between("limit_frac", limit_frac, 0.0, 1.0)
    exponent = _between("user_exponent", user_exponent, 0.0, 10.0)
    form = shape or Shape()
    scale = median / _model_median(serial, power, most, form)

    def batch(number: int, count: int) -> tuple[Integers, Floats]:
        sizes = _sizes(stream(seed, "jobs", "sizes", number), count, serial, power, most, form)
        runs = _raw_runs(stream(seed, "jobs", "runs", number), sizes, form) * scale
        return sizes, np.clip(np.rint(runs), 1.0, longest)

    if jobs is not None:
        sizes, runs = batch(0, _count("jobs", jobs, _MOST_JOBS))
    else:
        sizes, runs = _enough(batch, _between("load", load or 0.0, 1e-9, 1e3) * total * duration)
        if not len(sizes):
            raise NO_LOAD.error(path="load", load=load, duration_s=duration)
    count = len(sizes)
    return JobTable.of(
        _arrivals(seed, count, duration, arrival_weights() if daily_cycle else None),
        runs,
        sizes,
        estimate_s=np.maximum(runs, _estimates(stream(seed, "jobs", "estimates"), runs, longest, limit)),
        user=_users(stream(seed, "jobs", "users"), count, _count("users", users, 10**7), exponent),
    )


def _model_median(serial_frac: float, power_frac: float, most: int, shape: Shape) -> float:
    """Return the median run time in the model's own scale, from a sample of its own that does not depend on the seed."""
    sizes = _sizes(stream(0, "jobs", "median", "sizes"), _BATCH, serial_frac, power_frac, most, shape)
    return float(np.median(_raw_runs(stream(0, "jobs", "median", "runs"), sizes, shape)))
