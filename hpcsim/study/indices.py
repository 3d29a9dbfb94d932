"""The arithmetic of uncertainty: Sobol indices, intervals of quantiles, numbers of samples, rank correlation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["order_ranks", "quantile_interval", "samples_for_maximum", "samples_for_mean", "sobol_indices", "spearman"]

Floats = npt.NDArray[np.float64]


def sobol_indices(a: Floats, b: Floats, mixed: Floats) -> tuple[Floats, Floats]:
    """Return first-order and total Sobol indices of every input.

    Parameters
    ----------
    a, b : array, shape (n,)
        The figure at two independent sets of samples A and B.
    mixed : array, shape (d, n)
        The figure at A with the j-th input taken from B.

    Returns
    -------
    first, total : array, shape (d,)
        NaN where the figure does not vary.

    Notes
    -----
    S_j = E[f(B)·(f(A_B^j) − f(A))]/V and T_j = E[(f(A) − f(A_B^j))²]/2V, with V the variance over A and B together; the figure is
    centred first, which leaves both unchanged in expectation and the first much less noisy. Assumes independent inputs.
    Saltelli et al., Computer Physics Communications 181 (2010) 259; Jansen, ibid. 117 (1999) 35.
    """
    both = np.concatenate([a, b])
    variance = float(both.var())
    if not variance > 1e-24 * float(np.abs(both).max(initial=0.0)) ** 2:
        nothing = np.full(len(mixed), np.nan)
        return nothing, nothing.copy()
    centre = float(both.mean())
    first = ((b - centre) * (mixed - a)).mean(axis=1) / variance
    total = ((a - mixed) ** 2).mean(axis=1) / (2.0 * variance)
    return np.asarray(first), np.asarray(total)


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """Return the smallest k with P(X ≤ k) ≥ probability, X binomial."""
    total = 0.0
    for k in range(n + 1):
        log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(q) + (n - k) * math.log1p(-q)
        total += math.exp(log)
        if total >= probability:
            return k
    return n


def order_ranks(n: int, quantile: float, confidence: float = 0.95) -> tuple[int, int]:
    """Return the ranks (from 1) of the order statistics that enclose a quantile with at least about ``confidence``.

    Ranks 0 and n + 1 mean that n samples are too few for that end. No shape of the distribution is assumed: the number of samples
    below the quantile is binomial.

    >>> order_ranks(200, 0.95)
    (184, 197)
    """
    alpha = 1.0 - confidence
    return _binomial_quantile(alpha / 2, n, quantile), _binomial_quantile(1 - alpha / 2, n, quantile) + 1


def quantile_interval(values: Floats, quantile: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the nearest-rank quantile and the ends of its interval, NaN where there are too few values for an end."""
    ordered = np.sort(values)
    n = len(ordered)
    low, high = order_ranks(n, quantile, confidence)
    value = float(ordered[min(max(math.ceil(quantile * n), 1), n) - 1])
    return value, float(ordered[low - 1]) if low >= 1 else math.nan, float(ordered[high - 1]) if high <= n else math.nan


def samples_for_maximum(quantile: float, confidence: float = 0.95) -> int:
    """Return how many samples it takes until their maximum exceeds a quantile with ``confidence`` (Wilks).

    >>> samples_for_maximum(0.95)
    59
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(quantile))


def samples_for_mean(variation: float, error: float) -> int:
    """Return how many samples bring the 95 % interval of a mean within a relative ``error``, for a coefficient of variation.

    >>> samples_for_mean(0.1, 0.02)
    97
    """
    return math.ceil((1.959963984540054 * variation / error) ** 2)


def _ranks(values: Floats) -> Floats:
    """Return ranks, the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def spearman(x: Floats, y: Floats) -> float:
    """Return Spearman's rank correlation; NaN where either does not vary.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 9.0]))
    1.0
    """
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return round(float(a @ b) / norm, 12) if norm > 0 else math.nan
