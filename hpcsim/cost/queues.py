"""Queues with closed forms: M/M/c (Erlang B and C) and the Kingman and Allen–Cunneen approximations."""

from __future__ import annotations

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, between, broadcast, non_negative, positive, whole

__all__ = ["allen_cunneen_wait_s", "erlang_b", "erlang_c", "kingman_wait_s", "mmc_wait_quantile_s", "mmc_wait_s", "servers_for"]

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
