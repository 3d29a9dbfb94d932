"""The workload model of Lublin and Feitelson, as published: sizes, run times and arrivals of rigid jobs on a parallel machine.

Reference: U. Lublin, D. G. Feitelson, "The workload on parallel supercomputers: modeling the characteristics of rigid jobs", JPDC 63(11), 2003; the
constants are those of the authors' program, by type of job (batch, interactive) and for all jobs together.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.workload.jobs import Floats, Integers, JobTable

__all__ = ["ALL", "BATCH", "INTERACTIVE", "Lublin", "day_weights", "lublin_jobs", "lublin_load"]

BAD_LUBLIN = problem_kind("lublin-parameter", "{name} is {value!r}; it must be {bound}", "")

_LONGEST_LN_S = 12.0
"""Logarithm of the longest run time; larger draws are drawn again."""
_LONGEST_GAP_LN_S = 13.0
"""Logarithm of the longest gap between arrivals; likewise."""
_BUCKETS = 48
_BUCKET_S = 1800.0
_DAY_FROM = 11
"""Half-hour of the day (05:30) at which the gamma distribution of the daily cycle begins."""
_DAY_S = 86400.0


class Lublin(NamedTuple):
    """Constants of one type of job.

    Attributes
    ----------
    serial, power_of_two : float
        Shares of all jobs that are serial, and that are parallel on a power of two.
    low_log2, below_top, low_share : float
        Two-stage uniform log2(size): from ``low_log2`` to the top less ``below_top`` with probability ``low_share``, else from there to the top.
    short_shape, short_scale, long_shape, long_scale : float
        Gamma distributions of ln(run time in s).
    slope, intercept : float
        Probability of the first: slope · size + intercept, within 0 and 1.
    gap_shape, gap_scale : float
        Gamma distribution of ln(gap between arrivals in s), at the mean rate of the day.
    day_shape, day_scale : float
        Gamma distribution of the arrivals over the half-hours of a day that begins at 05:30.
    """

    serial: float
    power_of_two: float
    low_log2: float
    below_top: float
    low_share: float
    short_shape: float
    short_scale: float
    long_shape: float
    long_scale: float
    slope: float
    intercept: float
    gap_shape: float
    gap_scale: float
    day_shape: float
    day_scale: float


ALL = Lublin(0.244, 0.576, 0.8, 2.5, 0.86, 4.2, 0.94, 312.0, 0.03, -0.0054, 0.78, 10.2303 * 1.0225, 0.4871, 8.1737, 3.9631)
BATCH = Lublin(0.2927, 0.6686, 1.2, 2.5, 0.875, 6.57, 0.823, 639.1, 0.0156, -0.003, 0.6986, 6.0415 * 1.0519, 0.8531, 6.1271, 5.2740)
INTERACTIVE = Lublin(
    0.1541, 0.625, 1.0, 1.5, 0.705, 3.8351, 0.6605, 7.073, 0.6856, -0.0118, 0.9156, 6.5510 * 0.9797, 0.6621, 8.9186, 3.6680
)
"""The largest interactive job is 2^-1.5 of the machine."""


def day_weights(shape: float, scale: float) -> Floats:
    """Return the rate of arrivals in each half-hour of the day from midnight, shape (48,), with mean 1.

    Examples
    --------
    >>> weights = day_weights(ALL.day_shape, ALL.day_scale)
    >>> round(float(weights.mean()), 12), int(weights.argmax()) / 2
    (1.0, 13.5)
    """
    steps = 200
    x = _DAY_FROM - 0.5 + (np.arange(_BUCKETS * steps) + 0.5) / steps
    density = np.exp((shape - 1) * np.log(x) - x / scale - shape * math.log(scale) - math.lgamma(shape))
    mass = density.reshape(_BUCKETS, steps).sum(axis=1)
    weights = np.empty(_BUCKETS)
    weights[(np.arange(_BUCKETS) + _DAY_FROM - 1) % _BUCKETS] = mass
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _truncated(draw: np.random.Generator, shape: Floats, scale: Floats, most: float) -> Floats:
    values = draw.gamma(shape, scale)
    while True:
        over = np.flatnonzero(values > most)
        if not len(over):
            return np.asarray(values, dtype=np.float64)
        values[over] = draw.gamma(np.broadcast_to(shape, values.shape)[over], np.broadcast_to(scale, values.shape)[over])


def _sizes(draw: np.random.Generator, count: int, model: Lublin, top: float) -> Integers:
    kind, stage, place = draw.random((3, count))
    middle = max(model.low_log2, top - model.below_top)
    log2 = np.where(stage <= model.low_share, model.low_log2 + place * (middle - model.low_log2), middle + place * (top - middle))
    log2 = np.where(kind <= model.serial + model.power_of_two, np.floor(log2 + 0.5), log2)
    return np.where(kind <= model.serial, 1, np.floor(2.0**log2 + 0.5)).astype(np.int64)


def _runs(draw: np.random.Generator, sizes: Integers, model: Lublin) -> Floats:
    first = draw.random(len(sizes)) <= np.clip(model.slope * sizes + model.intercept, 0.0, 1.0)
    shape, scale = np.where(first, model.short_shape, model.long_shape), np.where(first, model.short_scale, model.long_scale)
    return np.maximum(1.0, np.floor(np.exp(_truncated(draw, shape, scale, _LONGEST_LN_S))))


def _arrivals(draw: np.random.Generator, count: int, model: Lublin, start_hour: float) -> Floats:
    """Return times of arrival: the gaps add up to the integral of the day's weights, which is inverted."""
    gaps = np.exp(_truncated(draw, np.full(count, model.gap_shape), np.full(count, model.gap_scale), _LONGEST_GAP_LN_S))
    weights = day_weights(model.day_shape, model.day_scale)
    inside = np.concatenate([[0.0], np.cumsum(weights * _BUCKET_S)])
    edges = np.arange(_BUCKETS + 1) * _BUCKET_S
    begin = float(np.interp(start_hour * 3600.0, edges, inside))
    mass = begin + np.cumsum(gaps)
    days, left = np.divmod(mass, inside[-1])
    return np.asarray(days * _DAY_S + np.interp(left, inside, edges) - start_hour * 3600.0, dtype=np.float64)


def _of_type(seed: int, name: str, count: int, model: Lublin, processors: int, start_hour: float) -> tuple[Floats, Floats, Integers]:
    top = math.log2(processors) - (1.5 if model is INTERACTIVE else 0.0)
    sizes = np.minimum(_sizes(stream(seed, "lublin", name, "sizes"), count, model, top), processors)
    runs = _runs(stream(seed, "lublin", name, "runs"), sizes, model)
    return _arrivals(stream(seed, "lublin", name, "arrivals"), count, model, start_hour), runs, sizes


def lublin_jobs(*, seed: int, jobs: int, processors: int, kinds: Literal["all", "typed"] = "all", start_hour: float = 0.0) -> JobTable:
    """Return jobs of the model of Lublin and Feitelson.

    Parameters
    ----------
    seed : int
        Equal arguments give equal jobs.
    jobs : int
        How many.
    processors : int
        Of the machine, at least 8: the model's sizes are relative to it.
    kinds : {"all", "typed"}
        One set of constants for all jobs, or batch and interactive jobs apart, as the queues 0 and 1, each with arrivals of its own.
    start_hour : float [h]
        Hour of the day at time 0.

    Returns
    -------
    JobTable
        By submission; estimates are the run times, which the model does not have. Times are whole seconds.

    Raises
    ------
    InputError
        A parameter out of its range.
    """
    for name, value, good, bound in (
        ("jobs", jobs, 1 <= jobs <= 100_000_000, "from 1 to 100,000,000"),
        ("processors", processors, 8 <= processors <= 2**30, "from 8 to 2^30"),
        ("start_hour", start_hour, 0 <= start_hour < 24, "from 0 to below 24"),
        ("kinds", kinds, kinds in ("all", "typed"), "'all' or 'typed'"),
    ):
        if not good:
            raise BAD_LUBLIN.error(path=name, name=name, value=value, bound=bound)
    models = [("all", ALL)] if kinds == "all" else [("batch", BATCH), ("interactive", INTERACTIVE)]
    parts = [_of_type(seed, name, jobs, model, processors, start_hour) for name, model in models]
    submit, run = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    size = np.concatenate([part[2] for part in parts])
    queue = np.repeat(np.arange(len(parts)), jobs)
    first = np.argsort(submit, kind="stable")[:jobs]
    labels = {"queue": tuple(name for name, _ in models)}
    return JobTable.of(np.floor(submit[first]), run[first], size[first], queue=queue[first], labels=labels)


_PROBE = 20_000
_MOST_JOBS = 20_000_000


def lublin_load(*, seed: int, processors: int, duration_s: float, jobs: int | None = None, load: float | None = None) -> JobTable:
    """Return jobs of the model that fill a duration: its arrivals are stretched, their daily cycle with them.

    Parameters
    ----------
    seed, processors : int
    duration_s : float [s]
        Time of the last submission.
    jobs : int, optional
        How many.
    load : float, optional
        Instead: as many as ask for this part of the processors over the duration, to the nearest job.

    Raises
    ------
    InputError
        A parameter out of its range, or a load that asks for too many jobs.

    Notes
    -----
    Where the stretch is far from 1 the day is no longer a day: the model has its own rate of arrivals, of about a hundred jobs a day.
    """
    if jobs is None:
        work = (load or 0.0) * processors * duration_s
        probe = lublin_jobs(seed=seed, jobs=_PROBE, processors=processors)
        each = float(np.dot(probe.run_s, probe.processors)) / _PROBE
        wanted = int(work / each * 1.3) + 1000
        if not 0 < work < np.inf or wanted > _MOST_JOBS:
            raise BAD_LUBLIN.error(path="load", name="load", value=load, bound=f"above 0, and of at most {_MOST_JOBS:,} jobs")
        table = lublin_jobs(seed=seed, jobs=wanted, processors=processors)
        done = np.cumsum(table.run_s * table.processors)
        table = table.subset(np.arange(max(1, int(np.searchsorted(done, work)))))
    else:
        table = lublin_jobs(seed=seed, jobs=jobs, processors=processors)
    last = float(table.submit_s.max())
    return table.scaled(arrivals=duration_s / last) if len(table) > 1 and last > float(table.submit_s.min()) else table
