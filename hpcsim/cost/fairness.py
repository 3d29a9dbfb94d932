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


def envious(submit_s: npt.ArrayLike, start_s: npt.ArrayLike, processors: npt.ArrayLike, user: npt.ArrayLike) -> Bools:
    """Return which jobs have reason to complain, shape (jobs,): a later job of another user that asked for no fewer processors started before.

    A job whose user is not known (below 0) is its own user.

    Examples
    --------
    Job 2 asks for 4 processors; a later one with 6 passes job 1, one with 2 would be no reason:

    >>> envious([0, 1, 2], [9, 9, 3], [4, 4, 6], [1, 1, 2]).tolist(), envious([0, 1], [9, 3], [4, 2], [1, 2]).tolist()
    ([True, True, False], [False, False])
    """
    submit, start = np.asarray(submit_s, dtype=np.float64), np.asarray(start_s, dtype=np.float64)
    start = np.where(np.isnan(start), np.inf, start)
    order = np.argsort(submit, kind="stable")
    start, size = start[order], np.asarray(processors, dtype=np.int64)[order]
    who = np.asarray(user, dtype=np.int64)[order]
    who = np.where(who < 0, -1 - np.arange(len(who)), who)
    complains = np.zeros(len(order), dtype=np.bool_)
    for need in np.unique(size)[::-1].tolist():
        rivals = size >= need
        first, first_of, second = _two_smallest_after(np.where(rivals, start, np.inf), who)
        best = np.where(first_of == who, second, first)
        mine = size == need
        complains[mine] = best[mine] < start[mine]
    found = np.empty(len(order), dtype=np.bool_)
    found[order] = complains
    return found


def _two_smallest_after(start: Floats, user: Integers) -> tuple[Floats, Integers, Floats]:
    """Return the smallest start among later jobs, whose it is, and the smallest among those of other users than that one."""
    count = len(start)
    first = np.append(np.minimum.accumulate(start[::-1])[::-1], np.inf)
    holder = np.zeros(count + 1, dtype=np.int64)
    new = first[:-1] < first[1:]  # the job itself is the new smallest of the suffix
    at = np.where(new, np.arange(count), count)
    at = np.minimum.accumulate(at[::-1])[::-1]
    holder[:-1] = np.where(at < count, user[np.minimum(at, count - 1)], -count - 1)
    holder[-1] = -count - 1
    other = np.full(count + 1, np.inf)
    changes = np.flatnonzero(np.diff(holder) != 0)
    low = count
    for begin in [*changes[::-1].tolist(), -1]:  # within a run of one holder, the others' smallest is a running minimum
        piece = slice(begin + 1, low + 1)
        mine = holder[low]
        after = min(other[low + 1], first[low + 1] if holder[low + 1] != mine else np.inf) if low < count else np.inf
        values = np.where(user[begin + 1 : low + 1] != mine, start[begin + 1 : low + 1], np.inf) if low < count else start[begin + 1 : low]
        if low < count:
            other[piece] = np.minimum(np.minimum.accumulate(values[::-1])[::-1], after)
        low = begin
    return first[1:], holder[1:], other[1:]


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
