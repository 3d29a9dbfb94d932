"""How good a schedule is: waits, slowdowns, utilisation, fairness. Arrays in, numbers out.

Reference: D. G. Feitelson, "Metrics for parallel job scheduling and their convergence", JSSPP 2001 (bounded slowdown);
R. Jain, D. Chiu and W. Hawe, "A quantitative measure of fairness and discrimination", DEC TR-301, 1984.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind

__all__ = [
    "BOUND_S",
    "Intervals",
    "bounded_slowdown",
    "busy_processor_s",
    "IdleParts",
    "idle_parts",
    "jain_index",
    "job_energy_j",
    "little_gap_frac",
    "makespan_s",
    "nearest_rank",
    "occupancy",
    "slowdown",
    "steady_window",
    "utilisation",
    "weighted_mean",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BOUND_S = 10.0
"""Run times below it count as this long in a bounded slowdown: the field's usual bound."""

NO_VALUES = problem_kind("metric-of-nothing", "{what} of no jobs is not defined", "give at least one job")
BAD_WINDOW = problem_kind("metric-window", "the window from {start} s to {stop} s is empty", "its end must lie after its start")


def bounded_slowdown(wait_s: npt.ArrayLike, run_s: npt.ArrayLike, *, bound_s: float = BOUND_S) -> Floats:
    """Return how many times longer than its run a job took, short runs counted as ``bound_s``.

    ``max(1, (wait + run) / max(run, bound))``.

    Parameters
    ----------
    wait_s, run_s : array-like, one shape [s]
        Wait and run time; NaN gives NaN.
    bound_s : float [s]
        Above 0.

    Examples
    --------
    >>> bounded_slowdown([100.0, 100.0], [1.0, 100.0]).tolist()
    [10.1, 2.0]
    """
    run = np.asarray(run_s, dtype=np.float64)
    slowdown: Floats = np.maximum(1.0, (np.asarray(wait_s, dtype=np.float64) + run) / np.maximum(run, bound_s))
    return slowdown


def slowdown(wait_s: npt.ArrayLike, run_s: npt.ArrayLike) -> Floats:
    """Return how many times longer than its run a job took, ``(wait + run) / run``; run times above 0.

    >>> slowdown([100.0], [50.0]).tolist()
    [3.0]
    """
    run = np.asarray(run_s, dtype=np.float64)
    return np.asarray((np.asarray(wait_s, dtype=np.float64) + run) / run)


def weighted_mean(values: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return ``Σ w·x / Σ w``; with processor-seconds as weights a large job counts as much as the many small ones that would take its place.

    Raises
    ------
    InputError
        The weights add up to nothing.

    Examples
    --------
    >>> weighted_mean([10.0, 40.0], [3.0, 1.0])
    17.5
    """
    weight = np.asarray(weights, dtype=np.float64)
    total = float(weight.sum())
    if not total > 0:
        raise NO_VALUES.error(what="a weighted mean")
    return float(np.dot(np.asarray(values, dtype=np.float64), weight) / total)


def makespan_s(submit_s: npt.ArrayLike, end_s: npt.ArrayLike) -> float:
    """Return the last end less the first submission [s].

    Raises
    ------
    InputError
        No job.
    """
    submit, end = np.asarray(submit_s, dtype=np.float64), np.asarray(end_s, dtype=np.float64)
    if not submit.size or not end.size:
        raise NO_VALUES.error(what="the makespan")
    return float(np.nanmax(end) - submit.min())


def busy_processor_s(
    start_s: npt.ArrayLike, end_s: npt.ArrayLike, processors: npt.ArrayLike, *, window_s: tuple[float, float] | None = None
) -> float:
    """Return the processor-seconds that jobs used, of a window where one is given.

    Jobs that never started (NaN) use none; one that has not ended (NaN end) is busy to the end of the window, and needs one.
    """
    start, end = np.asarray(start_s, dtype=np.float64), np.asarray(end_s, dtype=np.float64)
    if window_s is not None:
        low, high = window_s
        end = np.clip(np.where(np.isnan(end), high, end), low, high)
        start = np.clip(start, low, high)
    held = np.where(np.isnan(start), 0.0, end - start)
    return float(np.dot(held, np.asarray(processors, dtype=np.float64)))


def utilisation(
    start_s: npt.ArrayLike, end_s: npt.ArrayLike, processors: npt.ArrayLike, *, capacity: int, window_s: tuple[float, float]
) -> float:
    """Return the busy processor-seconds of a window over those it has.

    Raises
    ------
    InputError
        An empty window.

    Examples
    --------
    >>> utilisation([0.0, 5.0], [10.0, 10.0], [1, 2], capacity=4, window_s=(0.0, 10.0))
    0.5
    """
    low, high = window_s
    if not high > low:
        raise BAD_WINDOW.error(start=low, stop=high)
    return busy_processor_s(start_s, end_s, processors, window_s=window_s) / (capacity * (high - low))


def steady_window(submit_s: npt.ArrayLike, *, trim_frac: float = 0.1) -> tuple[float, float]:
    """Return the time in which the machine is neither filling nor draining.

    The span of the submissions less ``trim_frac`` of it at both ends: after the last submission a machine can only drain, and before
    the first jobs have ended it has not filled.

    Examples
    --------
    >>> steady_window([0.0, 70.0, 100.0])
    (10.0, 90.0)
    """
    submit = np.asarray(submit_s, dtype=np.float64)
    if not submit.size:
        raise NO_VALUES.error(what="the steady window")
    first, last = float(submit.min()), float(submit.max())
    cut = trim_frac * (last - first)
    return first + cut, last - cut


def nearest_rank(values: npt.ArrayLike, frac: float) -> float:
    """Return the smallest value that at least ``frac`` of all values do not exceed; NaN are left out.

    Examples
    --------
    >>> nearest_rank([15.0, 20.0, 35.0, 40.0, 50.0], 0.3)
    20.0
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if not array.size:
        raise NO_VALUES.error(what="a percentile")
    return float(np.quantile(array, frac, method="inverted_cdf"))


def jain_index(values: npt.ArrayLike) -> float:
    """Return Jain's fairness index, ``(Σx)² / (n·Σx²)``: 1 where all are equal, 1/n where one has everything.

    All zero counts as equal.

    Examples
    --------
    >>> jain_index([4, 0, 0, 0]), round(jain_index([1, 2, 3]), 3)
    (0.25, 0.857)
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise NO_VALUES.error(what="the fairness index")
    largest = float(np.abs(array).max())
    if largest == 0:
        return 1.0
    scaled = array / largest
    return float(scaled.sum() ** 2 / (array.size * np.dot(scaled, scaled)))


class Intervals(NamedTuple):
    """The state of a pool of processors, as intervals that tile a horizon; every array has shape (intervals,).

    Attributes
    ----------
    start_s, end_s : float64 array [s]
        Each interval ends where the next one starts.
    busy, idle, down : int64 array
        Processors; their sum is the pool.
    queued_jobs, queued_processors : int64 array
        Jobs that wait, and what they ask for.
    """

    start_s: Floats
    end_s: Floats
    busy: Integers
    idle: Integers
    down: Integers
    queued_jobs: Integers
    queued_processors: Integers


def occupancy(
    submit_s: npt.ArrayLike,
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    processors: npt.ArrayLike,
    *,
    size: int,
    window_s: tuple[float, float],
    down_changes: tuple[tuple[float, int], ...] = (),
) -> Intervals:
    """Return who is busy, idle, down and waiting over time.

    Parameters
    ----------
    submit_s, start_s, end_s : array-like, shape (jobs,) [s]
        NaN where it has not happened; a job with an end and no start was cancelled in the queue.
    processors : array-like of int, shape (jobs,)
        Processors of each job.
    size : int
        Processors of the pool.
    window_s : (float, float) [s]
        The horizon that the intervals tile.
    down_changes : tuple of (time_s, processors)
        Processors out of service from each time on.

    Raises
    ------
    InputError
        An empty window.
    """
    low, high = window_s
    if not high > low:
        raise BAD_WINDOW.error(start=low, stop=high)
    submit, start, end = (np.asarray(x, dtype=np.float64) for x in (submit_s, start_s, end_s))
    need = np.asarray(processors, dtype=np.int64)
    gone = np.where(np.isnan(start), end, start)
    end = np.where(np.isnan(start), np.nan, end)
    down_at = np.array([time for time, _ in down_changes], dtype=np.float64)
    down_by = np.diff(np.array([0, *(down for _, down in down_changes)], dtype=np.int64))
    one = np.ones(len(need), dtype=np.int64)
    zero = np.zeros(len(need), dtype=np.int64)
    idle = np.zeros(len(down_by), dtype=np.int64)
    times = np.concatenate([submit, gone, start, end, down_at])
    changes = np.concatenate(
        [
            np.column_stack([zero, zero, one, need]),
            np.column_stack([zero, zero, -one, -need]),
            np.column_stack([need, zero, zero, zero]),
            np.column_stack([-need, zero, zero, zero]),
            np.column_stack([idle, down_by, idle, idle]),
        ]
    )
    seen = times <= high
    times, changes = np.maximum(times[seen], low), changes[seen]
    moments, at = np.unique(np.concatenate([[low], times]), return_inverse=True)
    levels = np.zeros((len(moments), 4), dtype=np.int64)
    np.add.at(levels, at[1:], changes)
    levels = np.cumsum(levels, axis=0)
    last = moments < high
    moments, levels = moments[last], levels[last]
    changed = np.ones(len(moments), dtype=np.bool_)
    changed[1:] = (np.diff(levels, axis=0) != 0).any(axis=1)
    moments, levels = moments[changed], levels[changed]
    busy, down, jobs, queued = levels.T
    return Intervals(moments, np.append(moments[1:], high), busy, size - busy - down, down, jobs, queued)


def little_gap_frac(states: Intervals, wait_s: npt.ArrayLike) -> float:
    """Return how far Little's law is missed: the integral of the queue's length over the sum of the waits, less one; 0 where both are 0.

    Over a horizon in which every job arrives and starts, ``∫ N dt = Σ wait`` holds exactly (J. D. C. Little, Operations Research 9, 1961).
    """
    queue = float(np.dot(states.queued_jobs, states.end_s - states.start_s))
    waits = float(np.sum(np.asarray(wait_s, dtype=np.float64)))
    return 0.0 if queue == waits else queue / waits - 1.0 if waits > 0 else float("inf")


class IdleParts(NamedTuple):
    """Why processors stood idle, as shares of all processor-seconds of the horizon; with the busy and the down they add up to one.

    Attributes
    ----------
    nothing_waits : float
        Nobody waited.
    fits : float
        Loss of capacity: some waiting job would have fitted, and the policy held it back.
    fragmented : float
        Jobs waited, and the smallest needs more than was idle.
    """

    nothing_waits: float
    fits: float
    fragmented: float


def idle_parts(states: Intervals, submit_s: npt.ArrayLike, start_s: npt.ArrayLike, processors: npt.ArrayLike) -> IdleParts:
    """Return the parts of the idle processor-seconds, for a pool whose processors are all alike.

    Reference for the loss of capacity: V. J. Leung, G. Sabin, P. Sadayappan, "Parallel job scheduling policies to improve fairness", 2010.

    Parameters
    ----------
    states : Intervals
        Of :func:`occupancy`.
    submit_s, start_s : array-like, shape (jobs,) [s]
    processors : array-like of int, shape (jobs,)

    Examples
    --------
    Four processors, a job on 3, and one on 2 that waits for it: one processor is idle and too few.

    >>> states = occupancy([0, 0], [0, 10], [10, 20], [3, 2], size=4, window_s=(0.0, 20.0))
    >>> idle_parts(states, [0, 0], [0, 10], [3, 2])
    IdleParts(nothing_waits=0.25, fits=0.0, fragmented=0.125)
    """
    submit, start = np.asarray(submit_s, dtype=np.float64), np.asarray(start_s, dtype=np.float64)
    need = np.asarray(processors, dtype=np.int64)
    smallest = _smallest_waiting(states.start_s, submit, np.where(np.isnan(start), np.inf, start), need)
    length = states.end_s - states.start_s
    whole = float(length.sum()) * float((states.busy + states.idle + states.down)[0]) if len(length) else 0.0
    idle = states.idle * length
    waiting = states.queued_jobs > 0
    fits = waiting & (smallest <= states.idle)
    parts = (idle[~waiting].sum(), idle[fits].sum(), idle[waiting & ~fits].sum())
    return IdleParts(*(float(part / whole) if whole else 0.0 for part in parts))


def _smallest_waiting(moments: Floats, submit: Floats, start: Floats, need: Integers) -> Floats:
    """Return the fewest processors that a waiting job asks for in each interval, infinite where none waits.

    Each wait is covered by two stretches of a power of two, whose smallest values are handed down to their halves.
    """
    waits = start > submit
    low, high = np.searchsorted(moments, submit[waits]), np.searchsorted(moments, start[waits])
    sizes = need[waits].astype(np.float64)
    kept = high > low
    low, high, sizes = low[kept], high[kept], sizes[kept]
    level = np.frexp(high - low)[1] - 1
    smallest = np.full(len(moments), np.inf)
    for k in range(int(level.max(initial=-1)), -1, -1):
        span, mine = 1 << k, level == k
        if k < int(level.max()):
            lower = smallest.copy()  # the stretches of this level inherit from those twice as long
            lower[span:] = np.minimum(lower[span:], smallest[: len(moments) - span])
            smallest = lower
        np.minimum.at(smallest, low[mine], sizes[mine])
        np.minimum.at(smallest, high[mine] - span, sizes[mine])
    return smallest


def job_energy_j(
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    processors: npt.ArrayLike,
    *,
    size: int,
    busy_w: float,
    idle_w: float,
    window_s: tuple[float, float],
) -> Floats:
    """Return the energy of each job [J]: its own processors at ``busy_w``, and its part of the idle ones at ``idle_w`` by processor-seconds.

    The sum over all jobs is the energy of the pool over the window: ``busy_w·busy + idle_w·idle``.

    Parameters
    ----------
    start_s, end_s, processors : array-like, shape (jobs,)
    size : int
        Processors of the pool.
    busy_w, idle_w : float [W]
        Power of one processor.
    window_s : (float, float) [s]

    Examples
    --------
    >>> job_energy_j([0.0, 0.0], [10.0, 5.0], [1, 2], size=4, busy_w=100.0, idle_w=10.0, window_s=(0.0, 10.0)).tolist()
    [1100.0, 1100.0]
    """
    low, high = window_s
    if not high > low:
        raise BAD_WINDOW.error(start=low, stop=high)
    start, end = np.clip(np.asarray(start_s, dtype=np.float64), low, high), np.clip(np.asarray(end_s, dtype=np.float64), low, high)
    used = np.nan_to_num(end - start) * np.asarray(processors, dtype=np.float64)
    total = float(used.sum())
    idle = size * (high - low) - total
    share = used / total if total > 0 else np.zeros_like(used)
    return np.asarray(used * busy_w + share * idle * idle_w)
