"""Failures, checkpoints and the share of the time that is useful.

Symbols: δ the time a checkpoint blocks, M the mean time between failures *of the job* (node MTBF over nodes), R the restart, τ the
useful work between two checkpoints (without δ), λ = 1/M. Failures are exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, between, broadcast, non_negative, positive, whole

__all__ = [
    "RepairCrew",
    "availability",
    "availability_interval_s",
    "daly_interval_s",
    "ettr",
    "ettr_interval_s",
    "ettr_renewal",
    "expected_completion_s",
    "expected_segment_s",
    "job_mtbf_s",
    "optimal_interval_s",
    "repair_crew",
    "spares_needed",
    "weibull_failure_frac",
    "weibull_scale_s",
    "young_interval_s",
]


def job_mtbf_s(node_mtbf_s: Numeric, nodes: Numeric) -> Array:
    """Return the mean time between failures of a job that any one of its nodes stops: MTBF/n."""
    m, n = positive("node_mtbf_s", node_mtbf_s), positive("nodes", nodes)
    broadcast(m, n)
    return np.asarray(m / n)[()]


def young_interval_s(write_s: Numeric, mtbf_s: Numeric) -> Array:
    """Return Young's first-order interval √(2δM); good for δ ≪ M. Young, CACM 1974."""
    d, m = non_negative("write_s", write_s), positive("mtbf_s", mtbf_s)
    broadcast(d, m)
    return np.asarray(np.sqrt(2.0 * d * m))[()]


def daly_interval_s(write_s: Numeric, mtbf_s: Numeric) -> Array:
    """Return Daly's interval √(2δM)·(1 + ⅓√(δ/2M) + ⅑·δ/2M) − δ, and M where δ ≥ 2M. Daly, FGCS 2006."""
    d, m = non_negative("write_s", write_s), positive("mtbf_s", mtbf_s)
    broadcast(d, m)
    x = d / (2.0 * m)
    return np.asarray(np.where(x < 1.0, np.sqrt(2.0 * d * m) * (1.0 + np.sqrt(x) / 3.0 + x / 9.0) - d, m))[()]


def _lost(x: Array) -> Array:
    """Return −(x + ln(1−x)) for 0 ≤ x < 1 without cancellation."""
    small = np.minimum(x, 0.02)
    series = np.zeros_like(x)
    for k in range(12, 1, -1):
        series = 1.0 / k + small * series
    with np.errstate(divide="ignore"):
        direct = -(x + np.log1p(-np.minimum(x, 1.0 - 1e-16)))
    return np.asarray(np.where(x < 0.02, small * small * series, direct))


def optimal_interval_s(write_s: Numeric, mtbf_s: Numeric) -> Array:
    """Return the interval that minimises the expected time of work under exponential failures.

    τ = M(1 + W₀(−e^{−δ/M−1})): with x = τ/M, the root of −(x + ln(1−x)) = δ/M, found by Newton's method from above (monotone, because
    the left side is convex). The optimum is flat: ±30 % of τ costs little.

    >>> round(float(optimal_interval_s(300.0, 86400.0)))
    7001
    """
    d, m = non_negative("write_s", write_s), positive("mtbf_s", mtbf_s)
    broadcast(d, m)
    target = np.asarray(d / m, dtype=np.float64)
    x = np.minimum(np.sqrt(2.0 * target), -np.expm1(-(1.0 + target)))
    for _ in range(60):
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.where(x > 0, (_lost(x) - target) * (1.0 - x) / x, 0.0)
        following = np.clip(x - move, 0.0, 1.0)
        if np.allclose(following, x, rtol=1e-15, atol=0.0):
            break
        x = following
    return np.asarray(m * x)[()]


def availability_interval_s(write_s: Numeric, mtbf_s: Numeric, restart_s: Numeric) -> Array:
    """Return the interval *including the save* that maximises availability: T_s + √(2(T_f + T_r)T_s + T_s²). Saxena et al. 2024."""
    s, f, r = non_negative("write_s", write_s), positive("mtbf_s", mtbf_s), non_negative("restart_s", restart_s)
    return np.asarray(s + np.sqrt(2.0 * (f + r) * s + s * s))[()]


def expected_segment_s(
    work_s: Numeric, *, checkpoint_s: Numeric, recovery_s: Numeric, failures_per_s: Numeric, downtime_s: Numeric = 0.0
) -> Array:
    """Return the expected time to finish one segment and its checkpoint: e^{λR}(1/λ + D)(e^{λ(w+c)} − 1).

    Failures strike work, checkpoint and recovery, not the downtime. Tends to w + c as λ → 0. Overflows to infinity where the segment
    is hundreds of MTBFs long: it never finishes.

    Parameters
    ----------
    work_s, checkpoint_s, recovery_s, downtime_s : float or array
        w, c, R, D.
    failures_per_s : float or array
        λ, 0 for a machine that never fails.
    """
    w, c, r = non_negative("work_s", work_s), non_negative("checkpoint_s", checkpoint_s), non_negative("recovery_s", recovery_s)
    down, rate = non_negative("downtime_s", downtime_s), non_negative("failures_per_s", failures_per_s)
    broadcast(w, c, r, down, rate)
    safe = np.where(rate > 0, rate, 1.0)
    with np.errstate(over="ignore"):
        failing = np.exp(safe * r) * (1.0 / safe + down) * np.expm1(safe * (w + c))
    return np.asarray(np.where(rate > 0, failing, w + c))[()]


def expected_completion_s(
    work_s: Numeric,
    *,
    interval_s: Numeric,
    checkpoint_s: Numeric,
    recovery_s: Numeric,
    failures_per_s: Numeric,
    downtime_s: Numeric = 0.0,
) -> Array:
    """Return the expected time of a job of ``work_s`` that checkpoints after each ``interval_s`` of work.

    Whole segments, then what is left over without a closing checkpoint. A job shorter than one interval never saves.
    """
    work, tau = non_negative("work_s", work_s), positive("interval_s", interval_s)
    segments = np.maximum(np.ceil(work / tau) - 1.0, 0.0)
    rest = work - segments * tau
    each = expected_segment_s(tau, checkpoint_s=checkpoint_s, recovery_s=recovery_s, failures_per_s=failures_per_s, downtime_s=downtime_s)
    last = expected_segment_s(rest, checkpoint_s=0.0, recovery_s=recovery_s, failures_per_s=failures_per_s, downtime_s=downtime_s)
    return np.asarray(np.where(segments > 0, segments * each, 0.0) + last)[()]


def ettr_interval_s(write_s: Numeric, failures_per_s: Numeric) -> Array:
    """Return the checkpoint interval √(2w/λ) that goes with :func:`ettr`."""
    w, rate = non_negative("write_s", write_s), positive("failures_per_s", failures_per_s)
    broadcast(w, rate)
    return np.asarray(np.sqrt(2.0 * w / rate))[()]


def ettr(*, failures_per_s: Numeric, restart_s: Numeric, interval_s: Numeric, write_s: Numeric, queue_s: Numeric = 0.0) -> Array:
    """Return the expected effective-training-time ratio (1 − λ(u₀ + Δt/2))/(1 + w/Δt), over 1 + λq where requeueing waits q.

    A first-order form: right to about 1 % while λ(u₀ + Δt/2) is small, and cut at 0 where it is not. Compare :func:`ettr_renewal`.
    After the model in arXiv:2410.21680.
    """
    rate, u = non_negative("failures_per_s", failures_per_s), non_negative("restart_s", restart_s)
    dt, w, q = positive("interval_s", interval_s), non_negative("write_s", write_s), non_negative("queue_s", queue_s)
    broadcast(rate, u, dt, w, q)
    value = (1.0 - rate * (u + dt / 2.0)) / (1.0 + w / dt) / (1.0 + rate * q)
    return np.asarray(np.maximum(value, 0.0))[()]


def ettr_renewal(*, failures_per_s: Numeric, restart_s: Numeric, interval_s: Numeric, write_s: Numeric) -> Array:
    """Return the same ratio without the first-order step: Δt over the expected time of one segment."""
    dt = positive("interval_s", interval_s)
    spent = expected_segment_s(dt, checkpoint_s=write_s, recovery_s=restart_s, failures_per_s=failures_per_s)
    return np.asarray(dt / spent)[()]


def availability(mtbf_s: Numeric, repair_s: Numeric) -> Array:
    """Return MTBF/(MTBF + MTTR)."""
    m, r = positive("mtbf_s", mtbf_s), non_negative("repair_s", repair_s)
    broadcast(m, r)
    return np.asarray(m / (m + r))[()]


def weibull_scale_s(mtbf_s: float, shape: float) -> float:
    """Return the Weibull scale η = MTBF/Γ(1 + 1/k)."""
    return float(positive("mtbf_s", mtbf_s)) / math.gamma(1.0 + 1.0 / float(positive("shape", shape)))


def weibull_failure_frac(time_s: Numeric, *, scale_s: Numeric, shape: Numeric) -> Array:
    """Return the share that has failed by ``time_s``: 1 − e^{−(t/η)^k}; the hazard falls with age for k < 1."""
    t, eta, k = non_negative("time_s", time_s), positive("scale_s", scale_s), positive("shape", shape)
    broadcast(t, eta, k)
    return np.asarray(-np.expm1(-((t / eta) ** k)))[()]


def spares_needed(nodes: float, *, failures_per_s: float, repair_s: float, sure_frac: float = 0.99) -> int:
    """Return the spare nodes that suffice with probability ``sure_frac``: the quantile of Poisson(N·λ·MTTR) nodes in repair.

    Assumes technicians enough and independent failures (see :func:`repair_crew` for few technicians).

    >>> spares_needed(2048, failures_per_s=6.5e-3 / 86400, repair_s=2 * 86400)
    39
    """
    mean = float(non_negative("nodes", nodes)) * float(non_negative("failures_per_s", failures_per_s))
    mean *= float(non_negative("repair_s", repair_s))
    sure = float(between("sure_frac", sure_frac, 0.0, 1.0 - 1e-12))
    if mean > 1e6:  # the normal limit; the sum below would underflow far from its mean
        return math.ceil(mean + NormalDist().inv_cdf(sure) * math.sqrt(mean))
    count, log_term = 0, -mean
    total = math.exp(log_term)
    while total < sure and count < mean + 40.0 * math.sqrt(mean) + 40.0:
        count += 1
        log_term += math.log(mean) - math.log(count)
        total += math.exp(log_term)
    return count


@dataclass(frozen=True, slots=True)
class RepairCrew:
    """What a crew of technicians leaves standing (machine-repair queue).

    Attributes
    ----------
    crew : int
    down : float
        Mean nodes that are down, waiting or in repair.
    waiting : float
        Of them, those that wait for a technician.
    busy_frac : float
        Share of the technicians that work.
    wait_s : float
        Mean wait of a failed node for a technician.
    """

    crew: int
    down: float
    waiting: float
    busy_frac: float
    wait_s: float


def repair_crew(nodes: int, *, mtbf_s: float, repair_s: float, crew: int) -> RepairCrew:
    """Return the steady state of M/M/c//N: N nodes that fail, c technicians who repair one each.

    The birth–death chain of the nodes that are down, p_{k+1}/p_k = (N − k)·λ/(min(k + 1, c)·μ), summed in logarithms.
    """
    n, c = int(whole("nodes", nodes)), int(whole("crew", crew))
    ratio = float(positive("repair_s", repair_s)) / float(positive("mtbf_s", mtbf_s))
    k = np.arange(n)
    steps = np.log((n - k) * ratio / np.minimum(k + 1, c))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    p = np.exp(logs - logs.max())
    p /= p.sum()
    states = np.arange(n + 1)
    down, waiting = float(np.dot(states, p)), float(np.dot(np.maximum(states - c, 0), p))
    rate = (n - down) / float(mtbf_s)
    return RepairCrew(c, down, waiting, (down - waiting) / c, waiting / rate if rate > 0 else 0.0)
