"""How speed-up falls behind the number of processors: Amdahl, Gustafson, the universal law, Karp–Flatt; the slowest of many."""

from __future__ import annotations

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, non_negative, positive

__all__ = ["amdahl", "expected_maximum_normal", "gustafson", "karp_flatt", "normal_quantile", "usl", "usl_peak"]


def amdahl(parallel_frac: Numeric, n: Numeric) -> Array:
    """Return the speed-up of a fixed job: 1/((1−p) + p/n).

    Assumes that a share p divides perfectly and the rest not at all. Amdahl, AFIPS 1967.

    >>> round(float(amdahl(0.95, 1024)), 3)
    19.636
    """
    p, n = fraction("parallel_frac", parallel_frac), at_least("n", n, 1)
    broadcast(p, n)
    return np.asarray(1.0 / ((1.0 - p) + p / n))[()]


def gustafson(parallel_frac: Numeric, n: Numeric) -> Array:
    """Return the scaled speed-up of a job that grows with n: n − (1−p)(n−1). Gustafson, CACM 1988.

    >>> round(float(gustafson(0.95, 1024)), 2)
    972.85
    """
    p, n = fraction("parallel_frac", parallel_frac), at_least("n", n, 1)
    broadcast(p, n)
    return np.asarray(n - (1.0 - p) * (n - 1.0))[()]


def usl(n: Numeric, *, contention: Numeric, coherence: Numeric, rate: Numeric = 1.0) -> Array:
    """Return the throughput of the universal scalability law: λn/(1 + σ(n−1) + κn(n−1)). Gunther, 1993.

    σ is waiting for what is shared, κ the cost of keeping n workers agreed; κ > 0 makes throughput fall beyond :func:`usl_peak`.
    """
    n, s, k, r = at_least("n", n, 1), non_negative("contention", contention), non_negative("coherence", coherence), positive("rate", rate)
    broadcast(n, s, k, r)
    return np.asarray(r * n / (1.0 + s * (n - 1.0) + k * n * (n - 1.0)))[()]


def usl_peak(*, contention: Numeric, coherence: Numeric) -> Array:
    """Return the n at which :func:`usl` is largest: √((1−σ)/κ).

    >>> round(float(usl_peak(contention=0.02, coherence=1e-4)), 2)
    98.99
    """
    s, k = fraction("contention", contention), positive("coherence", coherence)
    return np.asarray(np.sqrt((1.0 - s) / k))[()]


def karp_flatt(speedup: Numeric, n: Numeric) -> Array:
    """Return the serial share that a measured speed-up implies: (1/S − 1/n)/(1 − 1/n). Karp and Flatt, CACM 1990."""
    s, n = positive("speedup", speedup), at_least("n", n, 2)
    broadcast(s, n)
    return np.asarray((1.0 / s - 1.0 / n) / (1.0 - 1.0 / n))[()]


def normal_quantile(p: Numeric) -> Array:
    """Return the standard normal quantile, within 4.5e-4 (Abramowitz and Stegun 26.2.23)."""
    p = np.clip(fraction("p", p), 1e-12, 1.0 - 1e-12)
    t = np.sqrt(-2.0 * np.log(np.minimum(p, 1.0 - p)))
    tail = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    return np.asarray(np.where(p < 0.5, -tail, tail))[()]


def expected_maximum_normal(n: Numeric) -> Array:
    """Return the expected largest of n standard normal draws by Blom's formula Φ⁻¹((n−3/8)/(n+1/4)).

    Within 0.8 % from n = 8 on, 5 % too high at n = 2.

    A synchronous step waits for the slowest of n workers: with a coefficient of variation c it takes 1 + c times this longer.
    """
    n = at_least("n", n, 1)
    return np.asarray(np.where(n <= 1.0, 0.0, normal_quantile((n - 0.375) / (n + 0.25))))[()]
