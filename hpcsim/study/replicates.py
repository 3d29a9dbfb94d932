"""What replicates with different seeds say: means with intervals, and differences at equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcsim.results.tables import frame

__all__ = ["intervals", "student_quantile"]

_NOT_FIGURES = ("seed", "problem")
CONFIDENCE = 0.95


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
    good = table[table["problem"] == ""]
    figures = [str(key) for key in table.columns if key not in (*paths, *_NOT_FIGURES) and np.issubdtype(good[key].dtype, np.number)]
    labels = good[list(paths)].astype(str).agg(", ".join, axis=1) if len(paths) > 1 else good[paths[0]].astype(str)
    columns: dict[str, list[Any]] = {
        key: [] for key in ("point", "metric", "seeds", "mean", "low", "high", "difference", "difference_low", "difference_high")
    }
    groups = list(good.groupby(labels, sort=False))
    base = groups[0][1].set_index("seed") if groups else None
    for label, rows in groups:
        here = rows.set_index("seed")
        for metric in figures:
            values = here[metric].dropna()
            if not len(values):
                continue
            change = (here[metric] - base[metric]).dropna() if base is not None else values
            mean, low, high = _interval(values.to_numpy(float))
            difference, difference_low, difference_high = _interval(change.to_numpy(float))
            row = (label, metric, len(values), mean, low, high, difference, difference_low, difference_high)
            for key, value in zip(columns, row, strict=True):
                columns[key].append(value)
    return frame("intervals", columns)


def _interval(values: Any) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % interval; the ends are NaN with a single value."""
    if not len(values):
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = student_quantile(0.5 + CONFIDENCE / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half
