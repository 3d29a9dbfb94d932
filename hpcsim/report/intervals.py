"""Arithmetic on intervals for charts: many intervals become as many as a picture can show, with exact means; jobs become rectangles."""

from __future__ import annotations

import heapq
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

__all__ = ["concurrency", "means", "pack", "size_classes"]

Array = npt.NDArray[np.float64]


def means(start: Array, end: Array, values: Array, edges: Array) -> Array:
    """Return the time-weighted mean of a piecewise constant function between consecutive edges.

    Parameters
    ----------
    start, end, values : array, shape (n,)
        Intervals and the value on each; overlapping intervals add up, gaps count as zero.
    edges : array, shape (m + 1,)
        Increasing.

    Returns
    -------
    array, shape (m,)

    Examples
    --------
    >>> means(np.array([0.0, 1.0]), np.array([1.0, 3.0]), np.array([6.0, 3.0]), np.array([0.0, 2.0, 4.0])).tolist()
    [4.5, 1.5]
    """
    times = np.concatenate([start, end])
    steps = np.concatenate([values, -values])
    order = np.argsort(times, kind="stable")
    times, levels = times[order], np.cumsum(steps[order])
    if not len(times):
        return np.zeros(len(edges) - 1)
    integral = np.concatenate([[0.0], np.cumsum(levels[:-1] * np.diff(times))])
    return np.asarray(np.diff(np.interp(edges, times, integral)) / np.diff(edges), dtype=np.float64)


def concurrency(start: Array, end: Array, weight: Array) -> float:
    """Return the largest sum of the weights of intervals that overlap; an interval that ends makes room for one that starts then.

    >>> concurrency(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    4.0
    """
    if not len(start):
        return 0.0
    times = np.concatenate([end, start])
    change = np.concatenate([-weight, weight])
    order = np.argsort(times, kind="stable")  # ends come first in the array and so first among equals
    return float(np.cumsum(change[order]).max(initial=0.0))


def pack(start: Array, end: Array, processors: npt.NDArray[np.int64], capacity: int) -> npt.NDArray[np.int64]:
    """Give every job rows of its own while it runs, first fit from below.

    A job lies in one piece where a gap is wide enough, else in the lowest gaps.

    Parameters
    ----------
    start, end : array, shape (n,)
        ``end > start``.
    processors : array of int, shape (n,)
    capacity : int
        At least what runs at once at any time.

    Returns
    -------
    array of int, shape (m, 3)
        A piece per row: job, first row, last row + 1.
    """
    low, high = [0], [int(capacity)]  # free rows, sorted, never touching
    running: list[tuple[float, int]] = []
    held: dict[int, list[tuple[int, int]]] = {}
    pieces: list[tuple[int, int, int]] = []
    begins, ends, sizes = start.tolist(), end.tolist(), processors.tolist()
    for job in np.lexsort((-processors, start)).tolist():
        while running and running[0][0] <= begins[job]:
            for first, last in held.pop(heapq.heappop(running)[1]):
                _release(low, high, first, last)
        held[job] = _take(low, high, sizes[job])
        pieces += [(job, first, last) for first, last in held[job]]
        heapq.heappush(running, (ends[job], job))
    return np.array(pieces, dtype=np.int64).reshape(-1, 3)


def _take(low: list[int], high: list[int], size: int) -> list[tuple[int, int]]:
    for i, (first, last) in enumerate(zip(low, high)):
        if last - first >= size:
            low[i] = first + size
            if low[i] == last:
                del low[i], high[i]
            return [(first, first + size)]
    taken: list[tuple[int, int]] = []
    while size > 0:
        if not low:
            raise ValueError("more processors are held at once than the capacity")
        first, last = low[0], min(high[0], low[0] + size)
        taken.append((first, last))
        size -= last - first
        low[0] = last
        if low[0] == high[0]:
            del low[0], high[0]
    return taken


def _release(low: list[int], high: list[int], first: int, last: int) -> None:
    i = bisect_left(low, first)
    joins_below = i > 0 and high[i - 1] == first
    joins_above = i < len(low) and low[i] == last
    if joins_below and joins_above:
        high[i - 1] = high[i]
        del low[i], high[i]
    elif joins_below:
        high[i - 1] = last
    elif joins_above:
        low[i] = first
    else:
        low.insert(i, first)
        high.insert(i, last)


def size_classes(processors: npt.NDArray[np.int64], *, most: int = 5) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Sort job sizes into at most ``most`` classes.

    Returns
    -------
    array of int, shape (n,), and list of str
        The class of each job and the classes in words, smallest first. Few different sizes are a class each; many are put together
        by powers of two.
    """
    sizes = np.unique(processors)
    if len(sizes) <= most:
        return np.searchsorted(sizes, processors).astype(np.int64), [f"{size:,}" for size in sizes.tolist()]
    top = int(np.floor(np.log2(max(1, int(sizes[-1]))))) + 1
    width = -(-top // most)
    edges = [2**i for i in range(0, top + width, width)]
    classes = np.digitize(processors, edges[1:-1]).astype(np.int64)
    present = np.unique(classes)
    labels = []
    for k in present.tolist():
        inside = processors[classes == k]
        a, b = int(inside.min()), int(inside.max())
        labels.append(f"{a:,}" if a == b else f"{a:,}–{b:,}")
    return np.searchsorted(present, classes).astype(np.int64), labels
