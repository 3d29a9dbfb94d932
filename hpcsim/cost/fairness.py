"""Who waits for whom: overtaking, envy, starvation, figures by user; and how far a mean is known from the weeks that it was taken over.

Reference: R. Jain, D. Chiu and W. Hawe, DEC TR-301, 1984 (fairness index); G. Sabin et al., "Assessment and enhancement of fairness in parallel job
scheduling", JSSPP 2005 (jobs that later ones pass); B. Efron and R. Tibshirani, An introduction to the bootstrap, 1993 (resampled blocks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream

__all__ = ["Shares", "block_bootstrap", "by_key", "envious", "overtaken", "starved"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FEW_BLOCKS = problem_kind("bootstrap-blocks", "{blocks} block of {length:g} s is too few to resample", "a longer log, or shorter blocks")

DAY_S = 86400.0
WEEK_S = 7 * DAY_S


def overtaken(submit_s: npt.ArrayLike, start_s: npt.ArrayLike) -> Integers:
    """Return how many later submitted jobs started before each job, shape (jobs,).

    Equal submissions count in the order given; jobs that never started (NaN) start after all others.

    Examples
    --------
    Job 2 waits while 3 and 4 pass it:

    >>> overtaken([0, 1, 2, 3], [0, 9, 3, 4]).tolist()
    [0, 2, 0, 0]
    """
    submit = np.asarray(submit_s, dtype=np.float64)
    start = np.where(np.isnan(np.asarray(start_s, dtype=np.float64)), np.inf, np.asarray(start_s, dtype=np.float64))
    order = np.argsort(submit, kind="stable")
    _, rank = np.unique(start[order], return_inverse=True)
    counts = np.zeros(len(order), dtype=np.int64)
    place, values = np.arange(len(order)), rank.astype(np.int64)  # merge sort from below: the right half's smaller values pass the left
    span = int(values.max(initial=0)) + 1
    width = 1
    while width < len(order):
        block = np.arange(len(order)) // width
        right = block % 2 == 1
        keys = (block // 2) * span + values
        ahead = np.searchsorted(keys[right], keys[~right])
        first = np.searchsorted(keys[right], (block[~right] // 2) * span)
        counts[place[~right]] += ahead - first
        merged = np.argsort(keys, kind="stable")
        place, values = place[merged], values[merged]
        width *= 2
    found = np.empty(len(order), dtype=np.int64)
    found[order] = counts
    return found


def envious(submit_s: npt.ArrayLike, start_s: npt.ArrayLike, processors: npt.ArrayLike) -> Bools:
    """Return which jobs have reason to complain, shape (jobs,): a later one that asked for no fewer processors started before.

    To pass a large job with a small one can be good backfilling; to pass it with one as large is a choice between the two. Equal submissions
    count in the order given; jobs that never started (NaN) start after all others.

    Examples
    --------
    Job 2 asks for 4 processors; a later one with 6 passes it, one with 2 would be no reason:

    >>> envious([0, 1, 2], [0, 9, 3], [4, 4, 6]).tolist(), envious([0, 1], [9, 3], [4, 2]).tolist()
    ([False, True, False], [False, False])
    """
    submit, start = np.asarray(submit_s, dtype=np.float64), np.asarray(start_s, dtype=np.float64)
    size = np.asarray(processors, dtype=np.int64)
    count = len(submit)
    if count < 2:
        return np.zeros(count, dtype=np.bool_)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(submit, kind="stable")] = np.arange(count)
    order = np.lexsort((-rank, -size))  # whom a job may envy stands before it: larger, or as large and later
    padded = 1 << (count - 1).bit_length()
    ranks, starts = np.arange(padded), np.full(padded, np.inf)
    ranks[:count], starts[:count] = rank[order], np.where(np.isnan(start), np.inf, start)[order]
    rows, best = np.arange(padded), np.full(padded, np.inf)
    width = 1
    while width < padded:  # merge sort by submission: the right halves look for earlier starts among later jobs of the left
        left, right = (part.reshape(-1, width) for part in (ranks.reshape(-1, 2, width)[:, 0], ranks.reshape(-1, 2, width)[:, 1]))
        earliest = np.full((len(left), width + 1), np.inf)
        earliest[:, :width] = np.minimum.accumulate(starts.reshape(-1, 2, width)[:, 0, ::-1], axis=1)[:, ::-1]
        block = np.arange(len(left))[:, None]
        before = np.searchsorted((block * padded + left).ravel(), (block * padded + right).ravel()).reshape(right.shape) - block * width
        mine = rows.reshape(-1, 2, width)[:, 1]
        best[mine] = np.minimum(best[mine], np.take_along_axis(earliest, before, axis=1))
        merged = np.argsort(ranks.reshape(-1, 2 * width), axis=1, kind="stable")
        ranks, starts, rows = (np.take_along_axis(part.reshape(-1, 2 * width), merged, axis=1).ravel() for part in (ranks, starts, rows))
        width *= 2
    found = np.empty(count, dtype=np.bool_)
    found[order] = best[:count] < np.where(np.isnan(start), np.inf, start)[order]
    return found


def starved(wait_s: npt.ArrayLike, estimate_s: npt.ArrayLike, *, least_s: float = DAY_S, times: float = 10.0) -> Bools:
    """Return which jobs waited both longer than ``least_s`` and longer than ``times`` their own estimate, shape (jobs,).

    >>> starved([2 * 86400.0, 2 * 86400.0, 100.0], [3600.0, 86400.0, 1.0]).tolist()
    [True, False, False]
    """
    wait = np.asarray(wait_s, dtype=np.float64)
    return np.asarray((wait > least_s) & (wait > times * np.asarray(estimate_s, dtype=np.float64)))


class Shares(NamedTuple):
    """Figures by user (or group, or queue); arrays have shape (keys,), keys ascending.

    Attributes
    ----------
    key : int64 array
    jobs : int64 array
    processor_s : float64 array [s]
        Processor-seconds used.
    mean_wait_s, max_wait_s : float64 array [s]
    mean_bounded_slowdown : float64 array
    """

    key: Integers
    jobs: Integers
    processor_s: Floats
    mean_wait_s: Floats
    max_wait_s: Floats
    mean_bounded_slowdown: Floats


def by_key(key: npt.ArrayLike, wait_s: npt.ArrayLike, run_s: npt.ArrayLike, processors: npt.ArrayLike, slowdown: npt.ArrayLike) -> Shares:
    """Return figures by user, group or queue; all arguments have shape (jobs,).

    >>> by_key([7, 3, 7], [10, 0, 30], [5, 5, 5], [1, 2, 1], [2, 1, 4]).mean_wait_s.tolist()
    [0.0, 20.0]
    """
    keys, at = np.unique(np.asarray(key, dtype=np.int64), return_inverse=True)
    wait, run = np.asarray(wait_s, dtype=np.float64), np.asarray(run_s, dtype=np.float64)
    jobs = np.bincount(at, minlength=len(keys))
    longest = np.zeros(len(keys))
    np.maximum.at(longest, at, wait)
    used = np.bincount(at, weights=run * np.asarray(processors, dtype=np.float64), minlength=len(keys)).astype(np.float64)
    mean = np.bincount(at, weights=wait, minlength=len(keys)) / jobs
    slow = np.bincount(at, weights=np.asarray(slowdown, dtype=np.float64), minlength=len(keys)) / jobs
    return Shares(keys, jobs.astype(np.int64), used, mean, longest, slow)


def block_bootstrap(
    submit_s: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    block_s: float = WEEK_S,
    confidence: float = 0.8,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval for the mean of ``values``, from weeks (or other blocks) of submission drawn again and again with replacement.

    Jobs of one week stand in one queue and are not independent; whole weeks nearly are. The interval says how much the mean would differ had
    other weeks of the same kind come; it knows nothing of weeks of another kind.

    Parameters
    ----------
    submit_s, values : array-like, shape (jobs,)
        Times of submission [s] and what is averaged.
    block_s : float [s]
    confidence : float
        Share of the resampled means that lies inside.
    replicates, seed : int

    Raises
    ------
    InputError
        Fewer than two blocks have jobs.

    Examples
    --------
    >>> block_bootstrap([0.0, 8 * 86400.0], [1.0, 1.0])
    (1.0, 1.0)
    """
    submit, number = np.asarray(submit_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    known = ~np.isnan(number)
    submit, number = submit[known], number[known]
    block = np.floor((submit - submit.min(initial=np.inf)) / block_s).astype(np.int64) if len(submit) else np.empty(0, dtype=np.int64)
    _, at = np.unique(block, return_inverse=True)
    blocks = int(at.max(initial=-1)) + 1
    if blocks < 2:
        raise FEW_BLOCKS.error(blocks=blocks, length=block_s)
    sums, counts = np.bincount(at, weights=number, minlength=blocks), np.bincount(at, minlength=blocks)
    draws = stream(seed, "bootstrap").integers(0, blocks, (replicates, blocks))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
