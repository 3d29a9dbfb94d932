"""Who waits for whom: synchronous steps with stragglers, backup workers, bounded staleness, parameter servers, local steps over slow links.

Throughput and staleness only. What a stale or rarely averaged gradient costs in accuracy is not predicted; where a user knows a factor,
it multiplies the steps that are needed.

Two kinds of unevenness are kept apart. A *persistent* one belongs to the device (silicon, cooling) and is there at every step; a
*transient* one is drawn anew at every step: t_i = t·(1+δ_i)·(1+ε_it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, non_negative, number, positive, whole
from hpcsim.cost.scaling import normal_quantile

__all__ = [
    "Asynchronous",
    "LocalSteps",
    "asynchronous",
    "balanced_shares",
    "harmonic",
    "local_steps",
    "order_statistic_exponential",
    "order_statistic_normal",
    "order_statistic_normal_blom",
    "ring_exchange_s",
    "server_bound_s",
    "slowest_of_s",
    "stale_synchronous_bounds_s",
    "stale_synchronous_ends_s",
    "synchronous_step_s",
]

TOO_MANY_DROPPED = problem_kind("synchrony-dropped", "{dropped:g} of {workers:g} workers cannot be dropped", "keep at least one worker")
UNKNOWN_SPREAD = problem_kind("synchrony-spread", "unknown distribution {name!r} of step times", "normal or exponential")

_EULER = 0.5772156649015329
_HALF_WIDTH = 14.0
_NODES = 5601


def _survivors(workers: Numeric, dropped: Numeric) -> tuple[Array, Array]:
    n, b = whole("workers", workers), whole("dropped", dropped, low=0)
    broadcast(n, b)
    bad = np.asarray(b >= n)
    if bad.any():
        n_, b_ = np.broadcast_arrays(n, b)
        raise TOO_MANY_DROPPED.error(path="dropped", dropped=float(b_[bad].flat[0]), workers=float(n_[bad].flat[0]))
    return n, b


def harmonic(n: Numeric) -> Array:
    """Return H_n = 1 + 1/2 + … + 1/n.

    Summed up to 256, then ln n + γ + 1/(2n) − 1/(12n²) + 1/(120n⁴), which is exact to the last digit there.

    >>> round(float(harmonic(64)), 4)
    4.7439
    """
    k = whole("n", n, low=0)
    table = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1.0, 257.0))])
    far = np.maximum(k, 256.0)
    series = np.log(far) + _EULER + 0.5 / far - 1.0 / (12.0 * far**2) + 1.0 / (120.0 * far**4)
    return np.asarray(np.where(k <= 256, table[np.minimum(k, 256.0).astype(np.int64)], series))[()]


def order_statistic_exponential(workers: Numeric, *, dropped: Numeric = 0) -> Array:
    """Return the expected (n−b)-th smallest of n exponential draws of mean 1: H_n − H_b.

    >>> round(float(order_statistic_exponential(100, dropped=4)), 3)
    3.104
    """
    n, b = _survivors(workers, dropped)
    return np.asarray(np.asarray(harmonic(n)) - np.asarray(harmonic(b)))[()]


@lru_cache(maxsize=1)
def _normal_grid() -> tuple[Array, Array, Array]:
    """Abscissae, ln Φ and ln(1−Φ), each accurate in its own tail."""
    x = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, _NODES)
    upper = np.array([0.5 * math.erfc(v / math.sqrt(2.0)) for v in x])
    return x, np.log(upper[::-1]), np.log(upper)


@lru_cache(maxsize=4096)
def _one_order_statistic(n: int, rank: int) -> float:
    x, below, above = _normal_grid()
    front = math.lgamma(n + 1) - math.lgamma(rank) - math.lgamma(n - rank + 1)
    density = np.exp(front + (rank - 1) * below + (n - rank) * above - 0.5 * x**2) / math.sqrt(2.0 * math.pi)
    return float(np.sum(x * density) * (x[1] - x[0]))


def order_statistic_normal(workers: Numeric, *, dropped: Numeric = 0) -> Array:
    """Return the expected (n−b)-th smallest of n standard normal draws, by quadrature.

    ∫ x·n!/((r−1)!(n−r)!)·φ(x)·Φ(x)^{r−1}·(1−Φ(x))^{n−r} dx with r = n − b; the integrand vanishes with all its derivatives at both
    ends, so that equal steps converge faster than any power.

    >>> round(float(order_statistic_normal(64)), 5), round(float(order_statistic_normal(1024)), 5)
    (2.34373, 3.24824)
    """
    n, b = np.broadcast_arrays(*_survivors(workers, dropped))
    values = [_one_order_statistic(int(i), int(i - j)) for i, j in zip(n.ravel(), b.ravel(), strict=True)]
    return np.asarray(np.asarray(values).reshape(n.shape))[()]


def order_statistic_normal_blom(workers: Numeric, *, dropped: Numeric = 0) -> Array:
    """Return Blom's approximation Φ⁻¹((r − 3/8)/(n + 1/4)) of :func:`order_statistic_normal`, r = n − b: quick, within 0.5 % of the largest
    of 64 or more. Blom 1958."""
    n, b = _survivors(workers, dropped)
    return np.asarray(np.where(n <= 1, 0.0, normal_quantile((n - b - 0.375) / (n + 0.25))))[()]


def synchronous_step_s(
    step_s: Numeric,
    *,
    workers: Numeric,
    persistent_cv: Numeric = 0.0,
    transient_cv: Numeric = 0.0,
    dropped: Numeric = 0,
    spread: str = "normal",
) -> Array:
    """Return the mean time of a step in which all workers, or all but the slowest few, wait for each other.

    Normal spread: t·(1 + c·z), z the expected (n−b)-th of n standard normals and c² = δ² + ε² + δ²ε² of both coefficients of variation.
    Exponential spread: t·(H_n − H_b), c is then 1 by nature.

    Parameters
    ----------
    step_s : float or array
        Mean time of one worker.
    workers : int or array
    persistent_cv, transient_cv : float or array
        Between devices, and from step to step. Over many steps both lengthen the mean step alike; a persistent one does so in every
        run by the same amount, a transient one averages out. ``transient_cv`` alone is what a cure at run time can win back.
    dropped : int or array
        Backup workers: the step ends when all but so many have finished, and their work is thrown away.
    spread : str
        ``"normal"`` or ``"exponential"``.

    Notes
    -----
    One worker waits for nobody and takes its mean. Step times above 0 are assumed, so c well below 1/3 in the normal case.

    References
    ----------
    Chen et al. 2016 (arXiv:1604.00981), backup workers.

    Examples
    --------
    >>> round(float(synchronous_step_s(1.0, workers=1024, transient_cv=0.05)), 4)
    1.1624
    """
    t = positive("step_s", step_s)
    if spread == "exponential":
        return np.asarray(t * order_statistic_exponential(workers, dropped=dropped))[()]
    if spread != "normal":
        raise UNKNOWN_SPREAD.error(path="spread", name=spread)
    d, e = non_negative("persistent_cv", persistent_cv), non_negative("transient_cv", transient_cv)
    cv = np.sqrt(d**2 + e**2 + (d * e) ** 2)
    return np.asarray(t * (1.0 + cv * order_statistic_normal(workers, dropped=dropped)))[()]


def slowest_of_s(mean_s: Numeric, *, transient_cv: Numeric = 0.0) -> float:
    """Return the expected slowest of workers with means of their own: ∫ (1 − ΠΦ((x−μ_i)/σ_i)) dx above the least; max μ_i without jitter.

    Parameters
    ----------
    mean_s : array, shape (workers,)
    transient_cv : float
        Standard deviation of each step over its worker's mean.
    """
    means = np.atleast_1d(positive("mean_s", mean_s))
    cv = float(non_negative("transient_cv", transient_cv))
    if cv == 0.0 or means.size == 1:
        return float(means.max())
    kinds, counts = np.unique(means, return_counts=True)
    low, high = float(kinds[0] * (1 - 9 * cv)), float(kinds[-1] * (1 + 9 * cv))
    x = np.linspace(low, high, 4001)
    grid, below, _ = _normal_grid()
    logs = np.zeros_like(x)
    for mean, count in zip(kinds, counts, strict=True):
        logs += count * np.interp((x - mean) / (mean * cv), grid, below)
    rest = 1.0 - np.exp(logs)
    return low + float(np.sum((rest[1:] + rest[:-1]) / 2.0) * (x[1] - x[0]))


def stale_synchronous_bounds_s(step_s: Numeric, *, workers: Numeric, bound: Numeric, transient_cv: Numeric = 0.0) -> tuple[Array, Array]:
    """Return what the mean step of equal workers lies between, when none may be more than ``bound`` steps ahead of the slowest.

    Not below the mean t of one worker, and not above t·(1 + ε·z_n/√(s+1)): a full barrier after every s+1 steps keeps the bound too and
    is stricter, and the sum of s+1 steps has a coefficient of variation of ε/√(s+1). Equal for s = 0, which is the synchronous step.
    Workers that differ persistently all end up at the pace of the slowest, whatever the bound.

    References
    ----------
    Ho et al. 2013 (stale synchronous parallel).
    """
    t, s, e = positive("step_s", step_s), whole("bound", bound, low=0), non_negative("transient_cv", transient_cv)
    upper = t * (1.0 + e * order_statistic_normal(workers) / np.sqrt(s + 1.0))
    return np.asarray(np.where(s > 0, t + 0.0 * upper, upper))[()], np.asarray(upper)[()]


def stale_synchronous_ends_s(times_s: Numeric, *, bound: int) -> Array:
    """Return when every worker ends every step under a staleness bound s, exactly.

    Worker i begins step c when it has ended c−1 and all have ended c−s−1: e_i(c) = max(e_i(c−1), max_j e_j(c−s−1)) + t_i(c).

    Parameters
    ----------
    times_s : array, shape (steps, workers)
    bound : int
        0 is the synchronous step.

    Returns
    -------
    array, shape (steps, workers)
    """
    times = non_negative("times_s", times_s)
    s = int(whole("bound", bound, low=0))
    ends = np.zeros_like(times)
    before = np.zeros(times.shape[1])
    for c in range(times.shape[0]):
        gate = float(ends[c - s - 1].max()) if c > s else 0.0
        before = ends[c] = np.maximum(before, gate) + times[c]
    return ends


def server_bound_s(update_bytes: Numeric, *, workers: Numeric, servers: Numeric, server_bytes_per_s: Numeric) -> Array:
    """Return the least time in which ``servers`` shards take one update of every worker: n·S/(k·B), each direction on its own.

    >>> float(server_bound_s(400e6, workers=16, servers=4, server_bytes_per_s=12.5e9))
    0.128
    """
    size, n = non_negative("update_bytes", update_bytes), whole("workers", workers)
    k, rate = whole("servers", servers), positive("server_bytes_per_s", server_bytes_per_s)
    broadcast(size, n, k, rate)
    return np.asarray(n * size / (k * rate))[()]


@dataclass(frozen=True)
class Asynchronous:
    """A parameter server whose workers do not wait for each other.

    Attributes
    ----------
    updates_per_s : float
        Of all workers together.
    worker_updates_per_s : array, shape (workers,)
    staleness_mean : float
        Updates by others between a worker's read and its own write, averaged over all updates: n − 1 exactly, whatever the speeds.
    staleness : array, shape (workers,)
        The same seen by each worker: (R − r_i)/r_i.
    bound_by : str
        ``"workers"`` or ``"servers"``.
    step_s : float
        Time in which as many updates are made as there are workers: what compares with a synchronous step.
    """

    updates_per_s: float
    worker_updates_per_s: Array
    staleness_mean: float
    staleness: Array
    bound_by: str
    step_s: float


def asynchronous(
    compute_s: Numeric,
    *,
    update_bytes: Numeric = 0.0,
    worker_bytes_per_s: Numeric = math.inf,
    servers: Numeric = 1,
    server_bytes_per_s: Numeric = math.inf,
) -> Asynchronous:
    """Return rate and staleness of asynchronous workers on a sharded parameter server.

    A worker computes, writes its update and reads the parameters, S bytes each way over its own link; it alone makes
    1/(t_i + 2S/b) updates a second. All together make the sum of that, or what the servers take, k·B/S, if that is less; then every
    worker is held back in proportion.

    Parameters
    ----------
    compute_s : array, shape (workers,)
    update_bytes, worker_bytes_per_s, server_bytes_per_s : float
        Size of an update (and of the parameters), the links' rates, one way.
    servers : int
        Shards, each of the same size.

    Notes
    -----
    An upper bound near the servers' limit, where requests queue by chance before it is reached; the event-driven check shows by how much.
    Staleness counts whole updates; with n workers each update is followed, before its worker's next, by all that others make meanwhile:
    Σ (r_i/R)·(R − r_i)/r_i = n − 1.

    Examples
    --------
    >>> a = asynchronous([1.0, 1.37, 2.11, 3.3, 5.07])
    >>> a.staleness_mean, round(a.updates_per_s, 4)
    (4.0, 2.7041)
    """
    t = np.atleast_1d(positive("compute_s", compute_s))
    size = float(non_negative("update_bytes", update_bytes))
    k = float(whole("servers", servers))
    own, server = float(worker_bytes_per_s), float(server_bytes_per_s)
    if not math.isinf(own):
        positive("worker_bytes_per_s", own)
    if not math.isinf(server):
        positive("server_bytes_per_s", server)
    rates = 1.0 / (t + 2.0 * size / own)
    whole_rate = float(rates.sum())
    most = k * server / size if size > 0 else math.inf
    held = min(1.0, most / whole_rate)
    rates = rates * held
    total = float(rates.sum())
    return Asynchronous(
        updates_per_s=total,
        worker_updates_per_s=rates,
        staleness_mean=float(t.size - 1),
        staleness=(total - rates) / rates,
        bound_by="servers" if held < 1.0 else "workers",
        step_s=t.size / total,
    )


def ring_exchange_s(size_bytes: Numeric, *, sites: Numeric, bytes_per_s: Numeric, latency_s: Numeric = 0.0) -> Array:
    """Return the time of an average over sites by a ring: 2(n−1)/n·S/B + 2(n−1)·latency; nothing for one site.

    >>> float(ring_exchange_s(2e9, sites=8, bytes_per_s=1e9 / 8))
    28.0
    """
    s, n = non_negative("size_bytes", size_bytes), whole("sites", sites)
    rate, a = positive("bytes_per_s", bytes_per_s), non_negative("latency_s", latency_s)
    broadcast(s, n, rate, a)
    return np.asarray(2.0 * (n - 1.0) / n * s / rate + 2.0 * (n - 1.0) * a)[()]


@dataclass(frozen=True, slots=True)
class LocalSteps:
    """Workers that average every so many steps.

    Attributes
    ----------
    step_s : float or array
        Mean time of a step, the averaging included.
    efficiency_frac : float or array
        Time of the steps alone over that.
    traffic_frac : float or array
        Bytes over those of averaging at every step: 1/H.
    """

    step_s: Array
    efficiency_frac: Array
    traffic_frac: Array


def local_steps(step_s: Numeric, *, every: Numeric, exchange_s: Numeric, overlapped: Numeric = False) -> LocalSteps:
    """Return what local steps with an average after every H of them take (local SGD, DiLoCo).

    H·t + t_sync for H steps; with the exchange hidden behind the next H steps (streaming or eager variants) max(H·t, t_sync).

    Parameters
    ----------
    step_s : float or array
        One local step t.
    every : int or array
        H.
    exchange_s : float or array
        One average, :func:`ring_exchange_s` over a WAN.
    overlapped : bool or array

    References
    ----------
    Stich 2019 (local SGD); Douillard et al. 2023 (DiLoCo, arXiv:2311.08105).

    Examples
    --------
    >>> [round(float(local_steps(1.0, every=h, exchange_s=28.0).efficiency_frac), 4) for h in (1, 500)]
    [0.0345, 0.947]
    """
    t, h, x = positive("step_s", step_s), whole("every", every), non_negative("exchange_s", exchange_s)
    hidden = np.asarray(overlapped, dtype=bool)
    broadcast(t, h, x, hidden)
    cycle = np.where(hidden, np.maximum(h * t, x), h * t + x)
    return LocalSteps(np.asarray(cycle / h)[()], np.asarray(h * t / cycle)[()], np.asarray(1.0 / h)[()])


def balanced_shares(rates: Numeric, work: float, *, overhead_s: Numeric = 0.0) -> Array:
    """Return the shares of divisible work with which all workers that take part finish together.

    Solves o_i + C_i/T_i = λ with Σ C_i = D, leaving out workers whose overhead alone exceeds λ; without overheads C_i = D·T_i/ΣT.

    Parameters
    ----------
    rates : array, shape (workers,)
        T_i, work per second.
    work : float
        D.
    overhead_s : float or array, shape (workers,)
        o_i, before a worker begins.

    Examples
    --------
    >>> balanced_shares([1.0, 2.0, 5.0], 800.0).tolist()
    [100.0, 200.0, 500.0]
    """
    t = np.atleast_1d(positive("rates", rates))
    d = float(at_least("work", work, 0.0))
    o = np.broadcast_to(non_negative("overhead_s", number("overhead_s", overhead_s)), t.shape)
    by_overhead = np.argsort(o, kind="stable")
    speed, fixed = np.cumsum(t[by_overhead]), np.cumsum((t * o)[by_overhead])
    levels = (d + fixed) / speed
    following = np.append(o[by_overhead][1:], math.inf)
    takes_part = int(np.argmax(levels <= following))
    shares: npt.NDArray[np.float64] = np.maximum(levels[takes_part] - o, 0.0) * t
    return shares
