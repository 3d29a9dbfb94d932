"""Jobs like those of a given log: drawn from it, scaled to a load, or shaken a little, and bursty arrivals.

Reference: D. Tsafrir, D. G. Feitelson, "Instability in parallel job scheduling simulation: the role of workload flurries", IPDPS 2006, and D. Tsafrir, K. Ouaknine,
D. G. Feitelson, "Reducing performance evaluation sensitivity and variability by input shaking", MASCOTS 2007; W. Fischer, K. Meier-Hellstern, "The
Markov-modulated Poisson process cookbook", Performance Evaluation 18, 1993.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.workload.jobs import Floats, JobTable

__all__ = ["LogModel", "fit_log", "mmpp_dispersion", "mmpp_times", "offered_load", "shaken", "with_load"]

BAD_LIKENESS = problem_kind("likeness-parameter", "{name} is {value!r}; it must be {bound}", "")
FEW_JOBS = problem_kind("likeness-few-jobs", "{jobs} jobs over {hours:.3g} h are too few to be fitted", "at least 100 jobs over a day")

_HOUR_S = 3600.0
_WEEK_HOURS = 168
_WEEK_S = _WEEK_HOURS * _HOUR_S


def offered_load(jobs: JobTable, processors: int) -> float:
    """Return the processor-seconds that jobs ask for over those that the machine has between the first and the last submission.

    >>> offered_load(JobTable.of([0, 100], [50, 50], [2, 2]), 4)
    0.5
    """
    span = float(jobs.submit_s.max() - jobs.submit_s.min())
    return float(np.dot(jobs.run_s, jobs.processors) / (processors * span)) if span > 0 else np.inf


def with_load(jobs: JobTable, load: float, processors: int) -> JobTable:
    """Return the same jobs closer together or farther apart, so that the offered load is ``load``; order and gaps' proportions stay.

    Raises
    ------
    InputError
        A load that is not above 0, or jobs that all come at once.
    """
    now = offered_load(jobs, processors)
    if not (0 < load < 1e3 and np.isfinite(now)):
        raise BAD_LIKENESS.error(path="load", name="load", value=load, bound="above 0, for jobs that do not all come at once")
    return jobs.scaled(arrivals=now / load)


def shaken(jobs: JobTable, *, seed: int, shift_s: float = 60.0, stretch_frac: float = 0.0) -> JobTable:
    """Return the jobs with each submission moved by up to ``shift_s`` either way and each run time stretched by up to ``stretch_frac``.

    A log is one sample of what its users might have done; figures that change much when it is shaken are a property of that sample. Estimates
    stay, except that none is below the run time.

    Parameters
    ----------
    seed : int
    shift_s : float [s]
        At least 0; no submission becomes negative.
    stretch_frac : float
        From 0 to below 1; run times are multiplied by exp of a uniform number within ± ln(1 + stretch_frac).
    """
    for name, value, good, bound in (
        ("shift_s", shift_s, 0 <= shift_s < np.inf, "at least 0"),
        ("stretch_frac", stretch_frac, 0 <= stretch_frac < 1, "from 0 to below 1"),
    ):
        if not good:
            raise BAD_LIKENESS.error(path=name, name=name, value=value, bound=bound)
    move = stream(seed, "shake", "submit").uniform(-shift_s, shift_s, len(jobs))
    factor = np.exp(stream(seed, "shake", "run").uniform(-1, 1, len(jobs)) * np.log1p(stretch_frac))
    run = jobs.run_s * factor
    moved = dataclasses.replace(
        jobs, submit_s=np.maximum(jobs.submit_s + move, 0.0), run_s=run, estimate_s=np.maximum(jobs.estimate_s, run)
    )
    return moved.sorted_by_submit()


@dataclass(frozen=True, eq=False, slots=True)
class LogModel:
    """What a log is like.

    Attributes
    ----------
    jobs : JobTable
        The log itself, by submission: size, run time, estimate and user are drawn from its rows together, so that what belongs together stays.
    weights : float64 array, shape (168,)
        Rate of arrivals in each hour of the week from the log's time 0, mean 1.
    gaps : float64 array, shape (jobs − 1,)
        Gaps between arrivals in units of their mean, with the weekly cycle taken out.
    rate_per_s : float
        Mean rate of arrivals.
    """

    jobs: JobTable
    weights: Floats
    gaps: Floats
    rate_per_s: float

    def draw(self, *, seed: int, jobs: int, rate_frac: float = 1.0, jitter_frac: float = 0.05) -> JobTable:
        """Return new jobs of the same kind.

        Parameters
        ----------
        seed, jobs : int
        rate_frac : float
            Arrivals for each of the log's.
        jitter_frac : float
            Run times are spread by a lognormal of this size, so that none is repeated to the second.

        Raises
        ------
        InputError
            A parameter out of its range.
        """
        for name, value, good, bound in (
            ("jobs", jobs, 1 <= jobs <= 100_000_000, "from 1 to 100,000,000"),
            ("rate_frac", rate_frac, 0 < rate_frac < 1e6, "above 0"),
            ("jitter_frac", jitter_frac, 0 <= jitter_frac < 1, "from 0 to below 1"),
        ):
            if not good:
                raise BAD_LIKENESS.error(path=name, name=name, value=value, bound=bound)
        rows = stream(seed, "like", "rows").integers(0, len(self.jobs), jobs)
        gaps = self.gaps[_blocks(stream(seed, "like", "gaps"), len(self.gaps), jobs)]
        mass = np.cumsum(gaps) / (self.rate_per_s * rate_frac)
        run = self.jobs.run_s[rows] * np.exp(jitter_frac * stream(seed, "like", "jitter").standard_normal(jobs))
        picked = self.jobs.subset(rows[:0])
        columns = {
            name: getattr(self.jobs, name)[rows]
            for name in (
                "user",
                "group",
                "queue",
                "nodes",
                "gpus",
                "memory_bytes",
                "qos",
                "constraint",
                "exclusive",
                "priority",
                "due_s",
                "licences",
                "buffer_bytes",
                "data",
                "data_bytes",
            )
            if getattr(self.jobs, name) is not None
        }
        return JobTable.of(
            _unwarped(mass, self.weights),
            run,
            self.jobs.processors[rows],
            estimate_s=np.maximum(self.jobs.estimate_s[rows], run),
            labels=picked.labels,
            **columns,
        )


def _blocks(draw: np.random.Generator, have: int, want: int) -> npt.NDArray[np.int64]:
    """Return places of gaps: stretches of about a hundred neighbours at a time, so that bursts stay bursts."""
    length = min(100, have)
    starts = draw.integers(0, have, -(-want // length))
    return np.asarray(((starts[:, None] + np.arange(length)) % have).ravel()[:want], dtype=np.int64)


def _cycle(weights: Floats) -> tuple[Floats, Floats]:
    return np.arange(_WEEK_HOURS + 1, dtype=np.float64) * _HOUR_S, np.concatenate([np.zeros(1), np.cumsum(weights * _HOUR_S)])


def _warped(times: Floats, weights: Floats) -> Floats:
    """Return the integral of the weights up to each time."""
    edges, mass = _cycle(weights)
    weeks, left = np.divmod(times, _WEEK_S)
    return np.asarray(weeks * mass[-1] + np.interp(left, edges, mass), dtype=np.float64)


def _unwarped(mass: Floats, weights: Floats) -> Floats:
    """Return the times at which the integral of the weights reaches ``mass``."""
    edges, inside = _cycle(weights)
    weeks, left = np.divmod(mass, inside[-1])
    return np.asarray(weeks * _WEEK_S + np.interp(left, inside, edges), dtype=np.float64)


def fit_log(jobs: JobTable) -> LogModel:
    """Return what a log is like, to draw jobs of the same kind from.

    The weekly cycle is the count of arrivals by hour of the week, drawn towards its mean where the log has few (one pseudo-count an hour and
    week); gaps are those of the arrivals in the time that the cycle makes even.

    Raises
    ------
    InputError
        Fewer than 100 jobs, or less than a day.
    """
    jobs = jobs.sorted_by_submit()
    span = float(jobs.submit_s.max() - jobs.submit_s.min()) if len(jobs) else 0.0
    if len(jobs) < 100 or span < 86400.0:
        raise FEW_JOBS.error(jobs=len(jobs), hours=span / _HOUR_S)
    first, last = float(jobs.submit_s.min()), float(jobs.submit_s.max())
    hour = np.floor(jobs.submit_s / _HOUR_S).astype(np.int64)
    counts = np.bincount(hour % _WEEK_HOURS, minlength=_WEEK_HOURS).astype(np.float64)
    every = np.arange(int(first // _HOUR_S), int(last // _HOUR_S) + 1)
    seen = np.bincount(every % _WEEK_HOURS, minlength=_WEEK_HOURS)
    mean = len(jobs) / len(every)
    rate = (counts + mean) / (seen + 1.0)
    weights = rate / rate.mean()
    even = np.diff(_warped(jobs.submit_s, weights))
    return LogModel(jobs, weights, even / even.mean(), float(1.0 / even.mean()))


def mmpp_times(
    *, seed: int, duration_s: float, rates_per_s: npt.ArrayLike, dwell_s: npt.ArrayLike, weights: Floats | None = None
) -> Floats:
    """Return arrivals of a Markov-modulated Poisson process: phases of different rate follow one another, each exponentially long.

    Parameters
    ----------
    seed : int
    duration_s : float [s]
    rates_per_s, dwell_s : array-like, shape (phases,)
        Rate of arrivals in each phase and its mean length; phases follow in turn.
    weights : float64 array, shape (168,), optional
        A weekly cycle on top, mean 1.

    Returns
    -------
    float64 array [s]
        Ascending, below ``duration_s``.

    Raises
    ------
    InputError
        Rates below 0, lengths that are not above 0, arrays of different length.
    """
    rates, dwell = np.asarray(rates_per_s, dtype=np.float64), np.asarray(dwell_s, dtype=np.float64)
    if rates.ndim != 1 or rates.shape != dwell.shape or not len(rates) or (rates < 0).any() or not rates.any():
        raise BAD_LIKENESS.error(path="rates_per_s", name="rates_per_s", value=rates.tolist(), bound="one rate, at least 0, for each phase")
    if not ((dwell > 0).all() and 0 < duration_s < np.inf):
        raise BAD_LIKENESS.error(path="dwell_s", name="dwell_s", value=dwell.tolist(), bound="above 0, as the duration")
    draw = stream(seed, "mmpp", "phases")
    cycles = max(2, int(np.ceil(2 * duration_s / dwell.sum())) + 10)
    lengths = (draw.exponential(1.0, (cycles, len(dwell))) * dwell).ravel()
    while lengths.sum() < duration_s:
        lengths = np.concatenate([lengths, (draw.exponential(1.0, (cycles, len(dwell))) * dwell).ravel()])
    phase = np.arange(len(lengths)) % len(rates)
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    mass = np.concatenate([[0.0], np.cumsum(lengths * rates[phase])])
    end = float(np.interp(duration_s, edges, mass))
    points = stream(seed, "mmpp", "points")
    total = int(points.poisson(end))
    times = np.interp(np.sort(points.random(total)) * end, mass, edges)
    if weights is None:
        return np.asarray(times, dtype=np.float64)
    whole = float(_warped(np.array([duration_s]), weights)[0])
    return _unwarped(times * (whole / duration_s), weights)


def mmpp_dispersion(rates_per_s: npt.ArrayLike, dwell_s: npt.ArrayLike) -> float:
    """Return the variance over the mean of the counts of long intervals, for two phases: 1 for a Poisson process, more where it is bursty.

    ``1 + 2(λ₁ − λ₂)² r₁r₂ / ((r₁ + r₂)²(λ₁r₂ + λ₂r₁))`` with r = 1/dwell.

    >>> mmpp_dispersion([2.0, 2.0], [10.0, 10.0])
    1.0
    """
    (a, b), (first, second) = np.asarray(rates_per_s, dtype=np.float64), 1.0 / np.asarray(dwell_s, dtype=np.float64)
    return float(1 + 2 * (a - b) ** 2 * first * second / ((first + second) ** 2 * (a * second + b * first)))
