"""Failures, checkpoints and the share of the time that is useful.

Symbols: δ the time a checkpoint blocks, M the mean time between failures *of the job* (node MTBF over nodes), R the restart, τ the
useful work between two checkpoints (without δ), λ = 1/M. Failures are exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, between, broadcast, fraction, non_negative, positive, whole

__all__ = [
    "Exposure",
    "RepairCrew",
    "alarm_interval_s",
    "alarm_waste_frac",
    "availability",
    "availability_interval_s",
    "daly_interval_s",
    "ettr",
    "ettr_interval_s",
    "ettr_renewal",
    "expected_completion_s",
    "expected_segment_s",
    "exposed",
    "job_mtbf_s",
    "optimal_interval_s",
    "repair_crew",
    "replicas_recover_frac",
    "spares_needed",
    "two_level_waste_frac",
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


class Exposure(NamedTuple):
    """What a run among failures and alarms is expected to take, and where its time goes; arrays of the arguments' shape.

    Attributes
    ----------
    wall_s : array
        From start to end: the work and all that follows.
    checkpoints_s, broken_s : array
        Checkpoints that were completed, and those that something broke off.
    lost_s : array
        Work that is done more than once.
    down_s, recovery_s, acts_s : array
        Detection and waits for a node; restarts and reading, those that failed too; what was done at alarms.
    failures, announced, false_alarms, again : array
        Failures in all, those of them that an alarm preceded, alarms without a failure, and the failures that struck a recovery.
    """

    wall_s: Array
    checkpoints_s: Array
    broken_s: Array
    lost_s: Array
    down_s: Array
    recovery_s: Array
    acts_s: Array
    failures: Array
    announced: Array
    false_alarms: Array
    again: Array


class _Odds(NamedTuple):
    """Rates of a run among failures, and what each event takes; arrays."""

    sudden: Array
    announced: Array
    false: Array
    recovery: Array
    down: Array
    again: Array
    wait: Array
    act: Array
    migrates: Array


def _piece(w: Array, c: Array, lag: Array, o: _Odds) -> list[Array]:
    """Return the fields of :class:`Exposure` for work w with a checkpoint c after it, safe ``lag`` later, as derived at :func:`exposed`."""
    rate, alarms = o.sudden + o.announced, o.announced + o.false
    every = o.sudden + alarms
    safe, safe_rate = np.where(every > 0, every, 1.0), np.where(rate > 0, rate, 1.0)
    held = np.exp(-safe * (w + c))
    struck = -np.expm1(-safe * (w + c)) / safe
    in_hand = (-np.expm1(-safe * w) / safe - w * held) / safe
    writing = -np.expm1(-safe * c) * np.exp(-safe * w) / safe
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        undone = -o.sudden * np.expm1(-safe * lag) / safe
        saved = w * held * (1.0 - undone) + alarms * in_hand
        tries = np.where(w > 0, w / np.where(w > 0, saved, 1.0), 0.0)
        each = np.exp(rate * o.recovery)
        sudden, met, vain = (tries * struck * share for share in (o.sudden, o.announced, o.false))
        fails = np.where(o.migrates, 0.0, met)
        chains = sudden + fails
        kept, broken, lost = tries * held * c, tries * (writing - held * c), tries * (o.sudden * in_hand + w * held * undone)
        again = chains * (each - 1.0)
        down = sudden * o.down + again * o.again + met * o.wait
        recovery = chains * np.where(rate > 0, np.expm1(rate * o.recovery) / safe_rate, o.recovery)
        acts = (met + vain) * o.act
        wall = w + kept + broken + lost + down + recovery + acts
    wall = np.where(np.isnan(wall), np.inf, wall)
    found = [wall, kept, broken, lost, down, recovery, acts, chains * each + (met - fails), met, vain, again]
    calm = [w + c, c, *[np.zeros_like(w)] * 9]
    return [np.where(every > 0, value, quiet) for value, quiet in zip(found, calm, strict=True)]


def exposed(
    work_s: Numeric,
    *,
    interval_s: Numeric,
    checkpoint_s: Numeric,
    recovery_s: Numeric,
    failures_per_s: Numeric,
    downtime_s: Numeric = 0.0,
    announced_per_s: Numeric = 0.0,
    false_alarms_per_s: Numeric = 0.0,
    act_s: Numeric = 0.0,
    announced_downtime_s: Numeric = 0.0,
    again_downtime_s: Numeric | None = None,
    migrates: Numeric = False,
    lag_s: Numeric = 0.0,
) -> Exposure:
    """Return what a run with checkpoints is expected to take among failures, some of them announced, and among false alarms.

    Parameters
    ----------
    work_s, interval_s, checkpoint_s, recovery_s, downtime_s : float or array
        As of :func:`expected_completion_s`.
    failures_per_s : float or array
        All failures, λ.
    announced_per_s : float or array
        Those that an alarm precedes, at most λ.
    false_alarms_per_s : float or array
        Alarms that no failure follows.
    act_s : float or array
        What is done at an alarm: it saves the work so far. Done before the failure.
    announced_downtime_s : float or array
        Downtime after an announced failure, which needs no detection.
    again_downtime_s : float or array, optional
        Downtime after a failure that strikes a recovery; ``downtime_s`` without it, which is that of the others that no alarm precedes.
    migrates : bool or array
        Whether an announced failure is evaded: the node is replaced in ``announced_downtime_s`` and nothing is read back.
    lag_s : float or array
        Time from the end of a checkpoint's pause, ``checkpoint_s``, until it is safe: it is written beside the work. At most an interval.

    Notes
    -----
    All events are Poisson. Every save, of a checkpoint or at an alarm, begins a piece anew. With Λ the rate of all events, a of alarms, u of
    failures without one, and L = w + c, a try ends well with q = e^{−ΛL}; min(x, w) of work is in hand when an event comes at x, of which
    J = ∫e^{−Λx}·min(x, w)dx = ((1 − e^{−Λw})/Λ − wq)/Λ. It saves wq + aJ and loses uJ, so w of work take w/(wq + aJ) tries. A failure is
    followed by e^{λR} recoveries of together (e^{λR} − 1)/λ, each after the downtime. Without alarms this is :func:`expected_completion_s`.
    Of checkpoints that are safe only c later, a share s = u(1 − e^{−Λc})/Λ is undone by a failure before: a try saves wq(1 − s) + aJ then.

    >>> plain = exposed(7200.0, interval_s=3600.0, checkpoint_s=300.0, recovery_s=600.0, failures_per_s=1 / 7200)
    >>> watched = exposed(
    ...     7200.0, interval_s=3600.0, checkpoint_s=300.0, recovery_s=600.0, failures_per_s=1 / 7200, announced_per_s=0.8 / 7200, act_s=30.0
    ... )
    >>> bool(watched.wall_s < plain.wall_s)
    True
    """
    work, tau = non_negative("work_s", work_s), positive("interval_s", interval_s)
    rate, known = non_negative("failures_per_s", failures_per_s), non_negative("announced_per_s", announced_per_s)
    between("announced_per_s", known, 0.0, float(np.max(rate)))
    others = [
        non_negative(name, value)
        for name, value in (
            ("checkpoint_s", checkpoint_s),
            ("recovery_s", recovery_s),
            ("downtime_s", downtime_s),
            ("false_alarms_per_s", false_alarms_per_s),
            ("act_s", act_s),
            ("announced_downtime_s", announced_downtime_s),
            ("lag_s", lag_s),
            ("again_downtime_s", downtime_s if again_downtime_s is None else again_downtime_s),
        )
    ]
    work, tau, rate, known, c, r, down, false, act, wait, lag, again = np.broadcast_arrays(work, tau, rate, known, *others)
    odds = _Odds(np.maximum(rate - known, 0.0), known, false, r, down, again, wait, act, np.asarray(migrates, dtype=bool))
    pieces = np.maximum(np.ceil(work / tau) - 1.0, 0.0)
    rest = work - pieces * np.where(pieces > 0, tau, 0.0)
    nothing = np.zeros_like(c)
    whole, last = _piece(np.where(pieces > 0, tau, 0.0), c, lag, odds), _piece(rest, nothing, nothing, odds)
    return Exposure(*(np.asarray(np.where(pieces > 0, pieces * a, 0.0) + b)[()] for a, b in zip(whole, last, strict=True)))


def alarm_interval_s(write_s: Numeric, mtbf_s: Numeric, recall_frac: Numeric) -> Array:
    """Return the interval √(2δM/(1 − r)) between checkpoints where a share r of the failures is announced; infinite where all are.

    Aupy, Robert, Vivien, Zaidouni, *Checkpointing strategies with prediction windows*, 2013.
    """
    d, m, r = non_negative("write_s", write_s), positive("mtbf_s", mtbf_s), fraction("recall_frac", recall_frac)
    broadcast(d, m, r)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.sqrt(2.0 * d * m / (1.0 - r))
    return np.asarray(np.where(d > 0, found, 0.0))[()]


def alarm_waste_frac(
    *,
    interval_s: Numeric,
    write_s: Numeric,
    mtbf_s: Numeric,
    recovery_s: Numeric,
    recall_frac: Numeric,
    precision_frac: Numeric,
    act_s: Numeric,
) -> Array:
    """Return the first-order share of the time that is wasted: C/T + (1 − r)T/2M + r·C_p/(pM) + R/M.

    Good while each term is small; :func:`exposed` is the whole. Recovery includes the downtime. Source as of :func:`alarm_interval_s`.
    """
    t, c, m = positive("interval_s", interval_s), non_negative("write_s", write_s), positive("mtbf_s", mtbf_s)
    r, p = fraction("recall_frac", recall_frac), positive("precision_frac", fraction("precision_frac", precision_frac))
    act, back = non_negative("act_s", act_s), non_negative("recovery_s", recovery_s)
    broadcast(t, c, m, r, p, act, back)
    return np.asarray(c / t + (1.0 - r) * t / (2.0 * m) + r / (p * m) * act + back / m)[()]


def two_level_waste_frac(
    interval_s: Numeric,
    every: Numeric,
    *,
    local_write_s: Numeric,
    write_s: Numeric,
    local_failures_per_s: Numeric,
    failures_per_s: Numeric,
    local_recovery_s: Numeric,
    recovery_s: Numeric,
) -> Array:
    """Return the first-order waste of two levels of checkpoints: c₁/τ + c₂/(kτ) + λ₁(τ/2 + r₁) + λ₂(kτ/2 + r₂).

    Parameters
    ----------
    interval_s : float or array
        τ, work between two local checkpoints.
    every : float or array
        k, local checkpoints for one on shared storage.
    local_write_s, write_s, local_recovery_s, recovery_s : float or array
        c₁, c₂, r₁, r₂.
    local_failures_per_s, failures_per_s : float or array
        λ₁ that a local copy survives, λ₂ that need shared storage.

    Notes
    -----
    Least, where the terms are taken apart, at τ = √(2c₁/λ₁) and kτ = √(2c₂/λ₂). Moody et al., SC'10 (SCR).
    """
    tau, k = positive("interval_s", interval_s), positive("every", every)
    values = [
        non_negative(name, value)
        for name, value in (
            ("local_write_s", local_write_s),
            ("write_s", write_s),
            ("local_failures_per_s", local_failures_per_s),
            ("failures_per_s", failures_per_s),
            ("local_recovery_s", local_recovery_s),
            ("recovery_s", recovery_s),
        )
    ]
    broadcast(tau, k, *values)
    c1, c2, l1, l2, r1, r2 = values
    return np.asarray(c1 / tau + c2 / (k * tau) + l1 * (tau / 2.0 + r1) + l2 * (k * tau / 2.0 + r2))[()]


def replicas_recover_frac(nodes: int, copies: int, lost: int) -> float:
    """Return the probability that memory replicas survive the loss of ``lost`` nodes at once, where each group of ``copies`` nodes holds its
    members' checkpoints.

    At least 1 − (N/m)·C(N − m, k − m)/C(N, k), exact for k < 2m; losses are independent, which racks and power supplies break. Wang et al.,
    SOSP'23 (Gemini).

    >>> round(replicas_recover_frac(16, 2, 2), 4)
    0.9333
    """
    n, m, k = (int(whole(name, value)) for name, value in (("nodes", nodes), ("copies", copies), ("lost", lost)))
    if k < m:
        return 1.0
    if k >= n:
        return 0.0
    return max(1.0 - n / m * math.comb(n - m, k - m) / math.comb(n, k), 0.0)


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
