"""What replicates with different seeds say: means with intervals, and differences at equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from hpcsim.results.tables import frame

__all__ = ["intervals", "student_quantile"]

_NOT_FIGURES = ("seed", "problem")
CONFIDENCE = 0.95


@cache
def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution, by bisection of its distribution function.

    Parameters
    ----------
    probability : float
        Above 0.5 and below 1.
    freedom : int
        Degrees of freedom, at least 1.

    Notes
    -----
    F(t) = 1 − I_x(ν/2, 1/2)/2 with x = ν/(ν + t²); for whole ν this is a finite sum in θ = arctan(t/√ν)
    (Abramowitz and Stegun 26.7.3 and 26.7.4).

    >>> round(student_quantile(0.975, 4), 4)
    2.7764
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2.0 * probability - 1.0:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if _within(middle, freedom) < 2.0 * probability - 1.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _within(t: float, freedom: int) -> float:
    """Return P(|T| ≤ t)."""
    theta = math.atan2(t, math.sqrt(freedom))
    cosine, term, total = math.cos(theta), 1.0, 0.0
    if freedom % 2:
        for k in range(1, (freedom - 1) // 2 + 1):
            term = math.cos(theta) if k == 1 else term * cosine**2 * (2 * k - 2) / (2 * k - 1)
            total += term
        return 2.0 / math.pi * (theta + math.sin(theta) * total)
    for k in range(freedom // 2):
        term = 1.0 if k == 0 else term * cosine**2 * (2 * k - 1) / (2 * k)
        total += term
    return math.sin(theta) * total


def intervals(table: Any, paths: Sequence[str]) -> Any:
    """Return mean and 95 % interval of every figure at every point, and of its difference from the first point.

    Parameters
    ----------
    table : DataFrame
        Table ``sweep``.
    paths : sequence of str
        Its varied columns.

    Returns
    -------
    DataFrame
        Table ``intervals``. Student's t over the seeds; the difference pairs equal seeds (common random numbers), so its interval is
        the narrower the more alike chance strikes both points: its variance is that of a single point times 2·(1 − ρ).
    """
    import pandas as pd

    good = table[table["problem"] == ""]
    figures = [str(key) for key in table.columns if key not in (*paths, *_NOT_FIGURES) and np.issubdtype(good[key].dtype, np.number)]
    labels = good[list(paths)].astype(str).agg(", ".join, axis=1) if len(paths) > 1 else good[paths[0]].astype(str)
    codes, points = pd.factorize(labels)
    values = good[figures].to_numpy(float)
    first = good[codes == 0].set_index("seed")[figures] if len(good) else good[figures]
    base = first.reindex(good["seed"]).to_numpy(float)
    shape = (len(points), len(figures))
    count, mean, low, high = (x.reshape(shape) for x in _grouped(values, codes, len(points)))
    _, change, change_low, change_high = (x.reshape(shape) for x in _grouped(values - base, codes, len(points)))
    known = count > 0
    at, metric = np.nonzero(known)
    columns = {
        "point": np.asarray(points, dtype=object)[at],
        "metric": np.asarray(figures, dtype=object)[metric],
        "seeds": count[known].astype(np.int64),
        "mean": mean[known],
        "low": low[known],
        "high": high[known],
        "difference": change[known],
        "difference_low": change_low[known],
        "difference_high": change_high[known],
    }
    return frame("intervals", columns)


def _grouped(values: Any, codes: Any, groups: int) -> tuple[Any, Any, Any, Any]:
    """Return count, mean and the ends of its 95 % interval, by group and column; the ends are NaN with a single value."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    shape = (groups, values.shape[1])
    count, total = np.zeros(shape), np.zeros(shape)
    np.add.at(count, codes, known.astype(float))
    np.add.at(total, codes, filled)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        squares = np.zeros(shape)
        np.add.at(squares, codes, np.where(known, (values - mean[codes]) ** 2, 0.0))
        error = np.sqrt(squares / (count - 1) / count)
    quantiles = {n: student_quantile(0.5 + CONFIDENCE / 2, n - 1) if n > 1 else math.nan for n in np.unique(count).astype(int).tolist()}
    half = error * np.vectorize(quantiles.__getitem__, otypes=[float])(count.astype(int))
    return count, mean, mean - half, mean + half
