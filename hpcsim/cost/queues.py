"""Queues with closed forms: M/M/c (Erlang B and C), M/G/1, M/D/c, and approximations of M/G/c and G/G/c."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, between, broadcast, non_negative, positive, whole

__all__ = [
    "allen_cunneen_wait_s",
    "cosmetatos_wait_s",
    "erlang_b",
    "erlang_c",
    "halfin_whitt_share",
    "kingman_wait_s",
    "mdc_wait_s",
    "mg1_wait_s",
    "mgc_wait_s",
    "mmc_wait_quantile_s",
    "mmc_wait_s",
    "servers_for",
]

OVERLOADED = problem_kind(
    "queue-overloaded", "the offered load {load:g} is not below the {servers:g} servers: the queue grows without end", "add servers"
)


def _stable(servers: Array, load: Array) -> None:
    over = np.asarray(load >= servers)
    if over.any():
        a, c = np.broadcast_arrays(load, servers)
        raise OVERLOADED.error(load=float(a[over].flat[0] if a.ndim else a), servers=float(c[over].flat[0] if c.ndim else c))


def erlang_b(servers: Numeric, load: Numeric) -> Array:
    """Return the share of arrivals that find all of c servers busy and are lost.

    Recursion B_i = aB_{i−1}/(i + aB_{i−1}), B_0 = 1; Poisson arrivals, any service distribution. Erlang 1917.

    Parameters
    ----------
    servers : int or array
        c, at least 1.
    load : float or array
        a = arrival rate × mean service time [erlang].
    """
    c, a = whole("servers", servers), non_negative("load", load)
    broadcast(c, a)
    c, a = np.broadcast_arrays(c, a)
    blocked, result = np.ones(c.shape), np.ones(c.shape)
    for i in range(1, int(c.max(initial=0)) + 1):
        blocked = a * blocked / (i + a * blocked)
        result = np.where(c == i, blocked, result)
    return np.asarray(result)[()]


def erlang_c(servers: Numeric, load: Numeric) -> Array:
    """Return the share of arrivals that must wait in M/M/c: B/(1 − ρ(1−B)).

    Raises
    ------
    InputError
        ``load`` is not below ``servers``.
    """
    c, a = whole("servers", servers), non_negative("load", load)
    _stable(c, a)
    b = erlang_b(c, a)
    return np.asarray(b / (1.0 - a / c * (1.0 - b)))[()]


def halfin_whitt_share(servers: float, load: float) -> float:
    """Return the share of arrivals that must wait in M/M/c with many servers: 1/(1 + βΦ(β)/φ(β)), β = (c − a)/√c.

    The limit of :func:`erlang_c`, without its recursion: a few percent off for hundreds of servers where waiting is
    no rarity. S. Halfin, W. Whitt, "Heavy-traffic
    limits for queues with many exponential servers", Operations Research 29(3), 1981.
    """
    c, a = float(positive("servers", servers)), float(non_negative("load", load))
    _stable(np.asarray(c), np.asarray(a))
    beta = (c - a) / math.sqrt(c)
    if beta > 30.0:
        return 0.0
    normal = NormalDist()
    return 1.0 / (1.0 + beta * normal.cdf(beta) / normal.pdf(beta))


def mmc_wait_s(servers: Numeric, load: Numeric, *, service_s: Numeric = 1.0) -> Array:
    """Return the mean wait in M/M/c: C/(cμ − λ), with μ = 1/``service_s``."""
    c, a = whole("servers", servers), non_negative("load", load)
    return np.asarray(erlang_c(c, a) * positive("service_s", service_s) / (c - a))[()]


def mmc_wait_quantile_s(quantile: Numeric, servers: Numeric, load: Numeric, *, service_s: Numeric = 1.0) -> Array:
    """Return the wait that a share ``quantile`` of the arrivals stays below: ln(C/(1−q))/(cμ−λ), 0 where fewer have to wait."""
    q, c, a = between("quantile", quantile, 0.0, 1.0 - 1e-12), whole("servers", servers), non_negative("load", load)
    with np.errstate(divide="ignore"):
        wait = np.log(erlang_c(c, a) / (1.0 - q)) * positive("service_s", service_s) / (c - a)
    return np.asarray(np.maximum(wait, 0.0))[()]


def kingman_wait_s(utilisation: Numeric, *, arrival_scv: Numeric, service_scv: Numeric, service_s: Numeric = 1.0) -> Array:
    """Return Kingman's heavy-traffic wait of G/G/1: ρ/(1−ρ)·(c_a² + c_s²)/2·τ, exact for M/M/1.

    ``arrival_scv`` and ``service_scv`` are squared coefficients of variation. Kingman 1961.
    """
    rho = non_negative("utilisation", utilisation)
    _stable(np.asarray(1.0), rho)
    spread = (non_negative("arrival_scv", arrival_scv) + non_negative("service_scv", service_scv)) / 2.0
    return np.asarray(rho / (1.0 - rho) * spread * positive("service_s", service_s))[()]


def allen_cunneen_wait_s(servers: Numeric, load: Numeric, *, arrival_scv: Numeric, service_scv: Numeric, service_s: Numeric = 1.0) -> Array:
    """Return the G/G/c approximation: the M/M/c wait times (c_a² + c_s²)/2."""
    spread = (non_negative("arrival_scv", arrival_scv) + non_negative("service_scv", service_scv)) / 2.0
    return np.asarray(mmc_wait_s(servers, load, service_s=service_s) * spread)[()]


def servers_for(load: float, *, quantile: float, wait_s: float, service_s: float = 1.0) -> int:
    """Return the fewest servers of M/M/c whose ``quantile`` of the wait is at most ``wait_s``."""
    a, limit = float(non_negative("load", load)), float(non_negative("wait_s", wait_s))
    c = int(np.floor(a)) + 1
    while float(mmc_wait_quantile_s(quantile, c, a, service_s=service_s)) > limit:
        c += 1
    return c


def mg1_wait_s(load: Numeric, *, service_scv: Numeric, service_s: Numeric = 1.0) -> Array:
    """Return the mean wait in M/G/1, exact: ρ(1 + c_s²)/(2(1 − ρ))·τ. F. Pollaczek 1930, A. Khinchin 1932.

    >>> float(mg1_wait_s(0.5, service_scv=1.0)), float(mg1_wait_s(0.5, service_scv=0.0))
    (1.0, 0.5)
    """
    rho = non_negative("load", load)
    _stable(np.asarray(1.0), rho)
    return np.asarray(rho * (1.0 + non_negative("service_scv", service_scv)) / (2.0 * (1.0 - rho)) * positive("service_s", service_s))[()]


def mdc_wait_s(servers: int, load: float, *, service_s: float = 1.0) -> float:
    """Return the mean wait in M/D/c, exact: Σ_i [P(X_i ≥ ic) − (c/a)·P(X_i > ic)]·τ with X_i Poisson of mean ia. C. D. Crommelin 1932.

    The series is summed until its terms no longer count; it converges slowly where the load is close to the servers.

    Parameters
    ----------
    servers : int
        c, at least 1.
    load : float
        a = arrival rate × service time [erlang], below c.

    Examples
    --------
    >>> round(mdc_wait_s(1, 0.5), 9)
    0.5
    """
    c, a = int(whole("servers", servers)), float(non_negative("load", load))
    _stable(np.asarray(float(c)), np.asarray(a))
    if a == 0:
        return 0.0
    total = 0.0
    for i in range(1, 200_000):
        at_least, more = _poisson_tails(i * a, i * c)
        term = at_least - c / a * more
        total += term
        if term < 1e-11 * max(total, 1e-300) or at_least < 1e-300:
            break
    return total * float(positive("service_s", service_s))


def cosmetatos_wait_s(servers: Numeric, load: Numeric, *, service_s: Numeric = 1.0) -> Array:
    """Return an approximation of the mean wait in M/D/c: half of M/M/c's times 1 + (1 − ρ)(c − 1)(√(4 + 5c) − 2)/(16ρc).

    The last term is taken as a quarter at most. Within a percent of :func:`mdc_wait_s` at ρ of 0.8 and more, and quick at any load; below that too low for many servers, whose waits are
    then next to nothing.
    G. P. Cosmetatos, "Some approximate equilibrium results for the multi-server queue (M/G/r)", Operational Research Quarterly 27(3), 1976.

    >>> float(cosmetatos_wait_s(1, 0.5))
    0.5
    """
    c, a = whole("servers", servers), non_negative("load", load)
    waits = mmc_wait_s(c, a, service_s=service_s)
    rho = np.maximum(a / c, 1e-300)
    more = np.minimum((1.0 - rho) * (c - 1.0) * (np.sqrt(4.0 + 5.0 * c) - 2.0) / (16.0 * rho * c), 0.25)
    return np.asarray(0.5 * waits * (1.0 + more))[()]


def _poisson_tails(mean: float, least: int) -> tuple[float, float]:
    """Return P(X ≥ least) and P(X > least) of a Poisson variable; its mean is below ``least``, so the terms fall from there on."""
    log_first = least * math.log(mean) - mean - math.lgamma(least + 1)
    first = math.exp(log_first) if log_first > -745 else 0.0
    total, term, k = 0.0, first, least
    while term > 1e-17 * first and term > 0:
        total += term
        k += 1
        term *= mean / k
    return total, total - first


def mgc_wait_s(servers: int, load: float, *, service_scv: float, service_s: float = 1.0, quick: bool = False) -> float:
    """Return Kimura's approximation of the mean wait in M/G/c: (1 + c_s²)/(2c_s²/W_M + (1 − c_s²)/W_D), for c_s² ≤ 1; exact at 0 and 1.

    W_M and W_D are the waits in M/M/c and M/D/c; ``quick`` takes the latter from :func:`cosmetatos_wait_s`. For c_s² above 1, (1 + c_s²)/2 · W_M (Lee and Longton 1959). T. Kimura, "A two-moment approximation for the
    mean waiting time in the GI/G/s queue", Management Science 32(6), 1986: errors of a percent or two.
    """
    scv = float(non_negative("service_scv", service_scv))
    exponential = float(mmc_wait_s(servers, load, service_s=service_s))
    if scv > 1 or exponential == 0:
        return (1.0 + scv) / 2.0 * exponential
    fixed = float(cosmetatos_wait_s(servers, load, service_s=service_s)) if quick else mdc_wait_s(servers, load, service_s=service_s)
    return (1.0 + scv) / (2.0 * scv / exponential + (1.0 - scv) / fixed)
