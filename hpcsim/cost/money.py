"""Money: capital recovery, cost of ownership, net present value, price of a device-hour, spot and tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, non_negative, number, positive

__all__ = [
    "YEAR_S",
    "Ownership",
    "annual_capital",
    "bill",
    "capital_recovery_factor",
    "electricity_cost",
    "months_until_full",
    "npv",
    "ownership",
    "price_per_useful_s",
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
