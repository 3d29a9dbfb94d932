"""Money: capital recovery, cost of ownership, net present value, price of a device-hour, spot and tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, non_negative, number, positive, whole

__all__ = [
    "YEAR_S",
    "Ownership",
    "annual_capital",
    "Reservation",
    "best_reservation",
    "bill",
    "break_even_use_frac",
    "depreciation",
    "capital_recovery_factor",
    "charged_s",
    "electricity_cost",
    "months_until_full",
    "npv",
    "ownership",
    "price_per_useful_s",
    "refresh_years",
    "usd_per_mtoken",
]

YEAR_S = 8760 * 3600.0
"""Seconds of the accounting year of 8760 hours."""


def capital_recovery_factor(rate_frac: Numeric, years: Numeric) -> Array:
    """Return the yearly payment per unit of capital: r/(1 − (1+r)^−n), which tends to 1/n as r → 0.

    >>> round(float(capital_recovery_factor(0.08, 5)), 6)
    0.250456
    """
    r, n = non_negative("rate_frac", rate_frac), positive("years", years)
    broadcast(r, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = r / -np.expm1(-n * np.log1p(r))
    return np.asarray(np.where(r > 0, factor, 1.0 / n))[()]


def annual_capital(capex_usd: Numeric, *, rate_frac: Numeric, years: Numeric, salvage_frac: Numeric = 0.0) -> Array:
    """Return the yearly cost of capital [USD/a]: (capex − salvage/(1+r)^n)·CRF, with salvage as a share of capex."""
    capex, salvage = non_negative("capex_usd", capex_usd), fraction("salvage_frac", salvage_frac)
    crf = capital_recovery_factor(rate_frac, years)
    return np.asarray(capex * (1.0 - salvage / (1.0 + np.asarray(rate_frac, float)) ** np.asarray(years, float)) * crf)[()]


@dataclass(frozen=True, slots=True)
class Ownership:
    """Yearly cost of owned machines and what it makes of a device-second.

    Attributes
    ----------
    capital_usd_per_year, electricity_usd_per_year, maintenance_usd_per_year : float or array
    usd_per_s : float or array
        Price of one device for one second of use at the stated utilisation.
    """

    capital_usd_per_year: Array
    electricity_usd_per_year: Array
    maintenance_usd_per_year: Array
    usd_per_s: Array

    @property
    def usd_per_year(self) -> Array:
        """Sum of the three parts."""
        return self.capital_usd_per_year + self.electricity_usd_per_year + self.maintenance_usd_per_year

    @property
    def usd_per_h(self) -> Array:
        """Price of a device-hour."""
        return self.usd_per_s * 3600.0


def ownership(
    capex_usd: Numeric,
    *,
    devices: Numeric,
    years: Numeric,
    rate_frac: Numeric,
    power_w: Numeric,
    usd_per_j: Numeric,
    pue: Numeric = 1.0,
    salvage_frac: Numeric = 0.0,
    maintenance_frac: Numeric = 0.0,
    utilisation_frac: Numeric = 1.0,
) -> Ownership:
    """Return the cost of ownership of ``devices`` bought for ``capex_usd``.

    Parameters
    ----------
    capex_usd : float or array
        Price of all the devices with what houses them.
    power_w : float or array
        Mean power of all the devices, without the facility's overhead ``pue``.
    usd_per_j : float or array
        Price of electricity.
    maintenance_frac : float or array
        Yearly maintenance as a share of capex.
    utilisation_frac : float or array
        Share of the device-hours that someone uses; the price of a used hour carries the unused ones. Above 0.

    Returns
    -------
    Ownership
    """
    used = positive("utilisation_frac", fraction("utilisation_frac", utilisation_frac))
    capital = annual_capital(capex_usd, rate_frac=rate_frac, years=years, salvage_frac=salvage_frac)
    energy_j = non_negative("power_w", power_w) * at_least("pue", pue, 1.0) * YEAR_S
    electricity = energy_j * non_negative("usd_per_j", usd_per_j)
    maintenance = non_negative("maintenance_frac", maintenance_frac) * np.asarray(capex_usd, float)
    per_s = (capital + electricity + maintenance) / (positive("devices", devices) * YEAR_S * used)
    return Ownership(capital, np.asarray(electricity)[()], np.asarray(maintenance)[()], np.asarray(per_s)[()])


def npv(cash_usd: Numeric, *, rate_frac: Numeric) -> Array:
    """Return the net present value Σ CF_t/(1+r)^t; the last axis of ``cash_usd`` is t = 0, 1, 2, … [years].

    >>> round(float(npv([-1e6, 300e3, 300e3, 300e3, 300e3, 300e3], rate_frac=0.08)))
    197813
    """
    cash, r = np.atleast_1d(number("cash_usd", cash_usd)), non_negative("rate_frac", rate_frac)
    years = np.arange(cash.shape[-1])
    return np.asarray((cash / (1.0 + r[..., np.newaxis]) ** years).sum(axis=-1))[()]


def bill(device_s: Numeric, usd_per_s: Numeric) -> Array:
    """Return what ``device_s`` device-seconds cost at ``usd_per_s`` each."""
    s, price = non_negative("device_s", device_s), non_negative("usd_per_s", usd_per_s)
    broadcast(s, price)
    return np.asarray(s * price)[()]


def electricity_cost(it_energy_j: Numeric, *, usd_per_j: Numeric, pue: Numeric = 1.0) -> Array:
    """Return the price of the facility's energy: E_IT·PUE·price."""
    return np.asarray(non_negative("it_energy_j", it_energy_j) * at_least("pue", pue, 1.0) * non_negative("usd_per_j", usd_per_j))[()]


def usd_per_mtoken(usd_per_s: Numeric, tokens_per_s: Numeric) -> Array:
    """Return the price of a million tokens from the price and the rate of the same set of devices."""
    price, rate = non_negative("usd_per_s", usd_per_s), positive("tokens_per_s", tokens_per_s)
    broadcast(price, rate)
    return np.asarray(price / rate * 1e6)[()]


def price_per_useful_s(
    usd_per_s: Numeric, *, work_s: Numeric, checkpoint_s: Numeric, restart_s: Numeric, interruptions_per_s: Numeric
) -> Array:
    """Return the price of a second of useful work on interruptible machines.

    The price is charged for the expected time of a segment of ``work_s`` between checkpoints (see
    :func:`hpcsim.cost.reliability.expected_segment_s`), interruptions being exponential; waiting for a new machine is not charged.
    """
    from hpcsim.cost.reliability import expected_segment_s

    spent = expected_segment_s(work_s, checkpoint_s=checkpoint_s, recovery_s=restart_s, failures_per_s=interruptions_per_s)
    return np.asarray(non_negative("usd_per_s", usd_per_s) * spent / positive("work_s", work_s))[()]


def months_until_full(used_frac: Numeric, limit_frac: Numeric, *, growth_frac: Numeric) -> Array:
    """Return ln(limit/used)/ln(1+g): months until a load that grows by ``growth_frac`` a month reaches the limit; 0 when it has."""
    used, limit = positive("used_frac", used_frac), positive("limit_frac", limit_frac)
    growth = positive("growth_frac", growth_frac)
    return np.asarray(np.maximum(np.log(limit / used), 0.0) / np.log1p(growth))[()]


def charged_s(used_s: Numeric, *, term_s: Numeric, later_use_frac: Numeric = 1.0) -> Array:
    """Return the seconds of a commitment that its first use is charged: max(t, T)·t/(t + u·(T − t)₊).

    Whoever buys for T and uses it for t < T shares the cost of T with whatever uses it for a share u of the rest, in proportion to the
    hours of use. With u = 1 only t is charged; with u = 0 the whole term; without a commitment (T = 0) it is t. Falls as u rises, and
    rises with t, so that a longer run is never cheaper.

    >>> float(charged_s(60.0, term_s=365.0, later_use_frac=0.0)), float(charged_s(60.0, term_s=365.0))
    (365.0, 60.0)
    """
    t, term, later = non_negative("used_s", used_s), non_negative("term_s", term_s), fraction("later_use_frac", later_use_frac)
    broadcast(t, term, later)
    with np.errstate(invalid="ignore"):
        share = np.where(t > 0, t / (t + later * np.maximum(term - t, 0.0)), 0.0)
    return np.asarray(np.maximum(t, term) * share)[()]


def break_even_use_frac(fixed_usd_per_s: Numeric, *, rented_usd_per_s: Numeric, running_usd_per_s: Numeric = 0.0) -> Array:
    """Return the share of the time in use from which owning is cheaper than renting by use: fixed/(rented − running).

    Above 1, or infinite where renting costs no more than running one's own: owning never pays.
    """
    fixed, rent = non_negative("fixed_usd_per_s", fixed_usd_per_s), non_negative("rented_usd_per_s", rented_usd_per_s)
    gap = rent - non_negative("running_usd_per_s", running_usd_per_s)
    broadcast(fixed, gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gap > 0, fixed / np.where(gap > 0, gap, 1.0), np.inf))[()]


@dataclass(frozen=True, slots=True)
class Reservation:
    """How much of a varying demand to reserve.

    Attributes
    ----------
    reserved : float
        Units that are reserved.
    usd_per_s : float
        Mean cost with them.
    all_on_demand_usd_per_s, all_reserved_usd_per_s : float
        Mean cost with none, and with the largest demand reserved.
    """

    reserved: float
    usd_per_s: float
    all_on_demand_usd_per_s: float
    all_reserved_usd_per_s: float


def best_reservation(
    demand: Numeric, *, reserved_usd_per_s: float, on_demand_usd_per_s: float, weights: Numeric | None = None
) -> Reservation:
    """Return the reservation of least mean cost r·q + o·E[(D − q)₊]: the least q with P(D > q) ≤ r/o (newsvendor).

    Parameters
    ----------
    demand : array, shape (n,)
        Samples of the demand [units], or its values with ``weights``.
    reserved_usd_per_s, on_demand_usd_per_s : float
        r, paid for every reserved unit whether used or not, and o, paid for what demand is above.
    weights : array, shape (n,), optional
        Share of the time of each value; equal without them.
    """
    d = np.atleast_1d(non_negative("demand", demand)).ravel()
    r, o = float(non_negative("reserved_usd_per_s", reserved_usd_per_s)), float(positive("on_demand_usd_per_s", on_demand_usd_per_s))
    w = np.ones_like(d) if weights is None else np.atleast_1d(non_negative("weights", weights)).ravel()
    broadcast(d, w)
    order = np.argsort(d, kind="stable")
    d, w = d[order], w[order] / w.sum()
    above = 1.0 - np.cumsum(w)
    fitting = np.flatnonzero(above <= r / o + 1e-12)
    q = float(d[fitting[0]]) if r < o else 0.0

    def mean(units: float) -> float:
        return r * units + o * float(np.dot(w, np.maximum(d - units, 0.0)))

    return Reservation(q, mean(q), mean(0.0), mean(float(d[-1])))


def depreciation(capex_usd: float, *, years: int, salvage_frac: float = 0.0, declining: bool = False) -> Array:
    """Return the write-off of each year [USD], shape (years,): in equal parts, or double declining until equal parts are more.

    The parts add up to capex less salvage.
    """
    capex, n = float(non_negative("capex_usd", capex_usd)), int(whole("years", years))
    floor = capex * float(fraction("salvage_frac", salvage_frac))
    if not declining:
        return np.full(n, (capex - floor) / n)
    left, parts = capex, []
    for year in range(n):
        part = min(max(2.0 / n * left, (left - floor) / (n - year)), left - floor)
        parts.append(part)
        left -= part
    return np.array(parts)


def refresh_years(*, running_usd_per_year: Numeric, new_usd_per_work: Numeric, work_per_year: Numeric, growth_frac: Numeric) -> Array:
    """Return after how many years new machines do the same work for less than the old ones cost to run.

    The old ones cost ``running`` a year (electricity, maintenance, space; their price is sunk) for ``work_per_year``. New ones do a unit
    of work for ``new_usd_per_work``, all costs in, and that falls by ``growth_frac`` a year as machines improve:
    t = ln(new·work/running)/ln(1 + g), 0 where replacing pays at once.
    """
    running, new = positive("running_usd_per_year", running_usd_per_year), positive("new_usd_per_work", new_usd_per_work)
    work, g = positive("work_per_year", work_per_year), positive("growth_frac", growth_frac)
    broadcast(running, new, work, g)
    return np.asarray(np.maximum(np.log(new * work / running), 0.0) / np.log1p(g))[()]
