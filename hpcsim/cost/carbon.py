"""Carbon and water of computing: operation, manufacture, and when to run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, at_least, between, broadcast, fraction, non_negative, positive, whole

__all__ = ["Shift", "best_hours", "embodied_kg_co2e", "operational_kg_co2e", "water_l"]


def operational_kg_co2e(it_energy_j: Numeric, *, kg_co2e_per_j: Numeric, pue: Numeric = 1.0) -> Array:
    """Return the emissions of the electricity: ΣE_IT·PUE·CI, elementwise [kg].

    For a carbon intensity that changes over time give arrays of energy per interval and sum the result. Average and marginal
    intensity answer different questions; say which one was used.
    """
    e, ci, p = non_negative("it_energy_j", it_energy_j), non_negative("kg_co2e_per_j", kg_co2e_per_j), at_least("pue", pue, 1.0)
    broadcast(e, ci, p)
    return np.asarray(e * p * ci)[()]


def embodied_kg_co2e(manufacture_kg_co2e: Numeric, *, used_s: Numeric, life_s: Numeric, utilisation_frac: Numeric = 1.0) -> Array:
    """Return the share of the manufacture that falls on ``used_s`` device-seconds: m·t/(life·utilisation).

    Idle time's share is carried by the used hours, hence the division by the utilisation over the device's life.
    """
    used = positive("utilisation_frac", fraction("utilisation_frac", utilisation_frac))
    kg, t, life = non_negative("manufacture_kg_co2e", manufacture_kg_co2e), non_negative("used_s", used_s), positive("life_s", life_s)
    broadcast(kg, t, life, used)
    return np.asarray(kg * t / (life * used))[()]


def water_l(it_energy_j: Numeric, *, onsite_l_per_j: Numeric, pue: Numeric = 1.0, grid_l_per_j: Numeric = 0.0) -> Array:
    """Return the water used on site and by the power plants: E_IT·(WUE + PUE·EWIF) [L]."""
    e, on, grid = (
        non_negative("it_energy_j", it_energy_j),
        non_negative("onsite_l_per_j", onsite_l_per_j),
        non_negative("grid_l_per_j", grid_l_per_j),
    )
    return np.asarray(e * (on + at_least("pue", pue, 1.0) * grid))[()]


@dataclass(frozen=True, slots=True)
class Shift:
    """What choosing the hours does to the mean carbon intensity.

    Attributes
    ----------
    flat : float
        Mean over the whole horizon.
    contiguous : float
        Least mean of one unbroken window.
    start : int
        Where that window starts.
    interruptible : float
        Mean of the cleanest hours, wherever they lie; never above ``contiguous``.
    """

    flat: float
    contiguous: float
    start: int
    interruptible: float


def best_hours(intensity: Numeric, hours: int, *, wrap: bool = True) -> Shift:
    """Return the cleanest ``hours`` of a series of hourly carbon intensities, unbroken and in pieces.

    Parameters
    ----------
    intensity : array, shape (n,)
        Any unit; the result is in the same.
    hours : int
        1 … n.
    wrap : bool
        Whether the series repeats, such as a typical day.
    """
    series = np.atleast_1d(non_negative("intensity", intensity))
    length = int(whole("hours", between("hours", hours, 1, len(series))))
    doubled = np.concatenate([series, series[: length - 1]]) if wrap else series
    sums = np.concatenate([[0.0], np.cumsum(doubled)])
    means = (sums[length:] - sums[:-length]) / length
    start = int(np.argmin(means))
    return Shift(float(series.mean()), float(means[start]), start, float(np.sort(series)[:length].mean()))
