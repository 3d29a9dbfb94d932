"""Power of devices and nodes by what they do, clocks and caps, the facility around them, and exact energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, at_least, between, broadcast, fraction, non_negative, positive

__all__ = [
    "ActivityShares",
    "Cap",
    "Conversion",
    "activity_power_w",
    "capped_clock",
    "device_power_w",
    "energy_j",
    "energy_optimal_clock",
    "facility_pue",
    "slowdown",
]

BACKWARD = problem_kind("power-interval-backward", "an interval ends before it starts", "order start and end")
IDLE_ABOVE_MAX = problem_kind("power-idle-above-max", "the idle power is above the maximum power", "swap them, or correct one")


def device_power_w(
    idle_w: Numeric, max_w: Numeric, utilisation: Numeric, *, clock_frac: Numeric = 1.0, alpha: Numeric = 1.0, beta: Numeric = 3.0
) -> Array:
    """Return P = P_idle + (P_max − P_idle)·u^α·x^β.

    Parameters
    ----------
    idle_w, max_w : float or array
        At rest, and fully busy at full clock.
    utilisation : float or array
        u, 0 … 1.
    clock_frac : float or array
        x = f/f_max, above 0.
    alpha, beta : float or array
        α = 1 for a linear rise; β ≈ 3 near the top, where the voltage falls with the clock, towards 1 at the least voltage.
    """
    low, high, u = non_negative("idle_w", idle_w), non_negative("max_w", max_w), fraction("utilisation", utilisation)
    x, a, b = between("clock_frac", clock_frac, 0.0, 1.0), positive("alpha", alpha), positive("beta", beta)
    broadcast(low, high, u, x, a, b)
    if (low > high).any():
        raise IDLE_ABOVE_MAX.error()
    return np.asarray(low + (high - low) * u**a * x**b)[()]


@dataclass(frozen=True, slots=True)
class Cap:
    """What a power cap does.

    Attributes
    ----------
    clock_frac, power_w : float or array
        Clock under the cap, and the power drawn with it.
    saturated : bool or array
        The lowest clock still draws more than the cap.
    """

    clock_frac: Array
    power_w: Array
    saturated: npt.NDArray[np.bool_]


def capped_clock(
    idle_w: Numeric,
    max_w: Numeric,
    cap_w: Numeric,
    *,
    utilisation: Numeric = 1.0,
    alpha: Numeric = 1.0,
    beta: Numeric = 3.0,
    min_clock_frac: Numeric = 0.3,
) -> Cap:
    """Return the clock at which a device stays within ``cap_w``: x = ((cap − P_idle)/((P_max − P_idle)u^α))^{1/β}, cut to its range."""
    low, high, cap = non_negative("idle_w", idle_w), non_negative("max_w", max_w), positive("cap_w", cap_w)
    u, least = fraction("utilisation", utilisation), between("min_clock_frac", min_clock_frac, 1e-9, 1.0)
    broadcast(low, high, cap, u, least)
    dynamic = (high - low) * u ** np.asarray(alpha, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(dynamic > 0, np.maximum(cap - low, 0.0) / np.where(dynamic > 0, dynamic, 1.0), np.inf)
    clock = np.clip(np.minimum(wanted, 1.0) ** (1.0 / np.asarray(beta, float)), least, 1.0)
    drawn = device_power_w(low, high, u, clock_frac=clock, alpha=alpha, beta=beta)
    return Cap(np.asarray(clock)[()], drawn, np.asarray(drawn > cap * (1.0 + 1e-12))[()])


def slowdown(clock_frac: Numeric, compute_bound_frac: Numeric) -> Array:
    """Return how much longer work takes at a lower clock: β_c/x + 1 − β_c; only the compute-bound share β_c feels it."""
    x, share = positive("clock_frac", clock_frac), fraction("compute_bound_frac", compute_bound_frac)
    broadcast(x, share)
    return np.asarray(share / x + 1.0 - share)[()]


def energy_optimal_clock(
    idle_w: Numeric, max_w: Numeric, compute_bound_frac: Numeric, *, beta: Numeric = 3.0, min_clock_frac: Numeric = 0.3
) -> Array:
    """Return the clock of least energy (P_idle + (P_max − P_idle)x^β)(β_c/x + 1 − β_c), by golden-section search."""
    low, high, share = non_negative("idle_w", idle_w), non_negative("max_w", max_w), fraction("compute_bound_frac", compute_bound_frac)
    shape = broadcast(low, high, share, beta, min_clock_frac)
    b = np.asarray(beta, float)

    def spent(x: Array) -> Array:
        return np.asarray((low + (high - low) * x**b) * (share / x + 1.0 - share))

    left, right = np.broadcast_to(np.asarray(min_clock_frac, float), shape).copy(), np.ones(shape)
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(80):
        x1, x2 = right - golden * (right - left), left + golden * (right - left)
        lower = spent(x1) < spent(x2)
        left, right = np.where(lower, left, x1), np.where(lower, x2, right)
    return np.asarray((left + right) / 2.0)[()]


@dataclass(frozen=True, slots=True)
class ActivityShares:
    """How much of the span between idle and maximum power each activity draws.

    Dense matrix work draws nearly all of it; streaming memory, driving links and waiting draw less. A model with one number per
    activity: input data alone moves a matrix kernel's power by tens of percent, so ±10 % is what it can promise.
    """

    compute: float = 0.95
    memory: float = 0.65
    communication: float = 0.35
    idle: float = 0.10


def activity_power_w(
    idle_w: Numeric,
    max_w: Numeric,
    *,
    compute_frac: Numeric,
    memory_frac: Numeric,
    communication_frac: Numeric,
    shares: ActivityShares | None = None,
) -> Array:
    """Return the mean power of a device that spends these fractions of its time so, and waits for the rest.

    Raises
    ------
    InputError
        Fractions outside 0 … 1.
    """
    s = shares or ActivityShares()
    c, m, n = (
        fraction("compute_frac", compute_frac),
        fraction("memory_frac", memory_frac),
        fraction("communication_frac", communication_frac),
    )
    rest = np.maximum(1.0 - c - m - n, 0.0)
    busy = np.minimum(s.compute * c + s.memory * m + s.communication * n + s.idle * rest, 1.0)
    return device_power_w(idle_w, max_w, busy)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A power converter: P_in = (P_out + loss)/efficiency.

    Attributes
    ----------
    loss_w : float
        Fixed loss.
    efficiency_frac : float
        Of what passes through.
    """

    loss_w: float = 0.0
    efficiency_frac: float = 1.0

    def input_w(self, output_w: Numeric) -> Array:
        """Return the power drawn to deliver ``output_w``."""
        useful = positive("efficiency_frac", fraction("efficiency_frac", self.efficiency_frac))
        return np.asarray((non_negative("output_w", output_w) + non_negative("loss_w", self.loss_w)) / useful)[()]


def facility_pue(
    wet_bulb_c: Numeric,
    *,
    fixed_frac: float = 0.06,
    fan_frac: float = 0.02,
    supply_c: float = 27.0,
    approach_k: float = 5.0,
    chilled_water_c: float = 18.0,
    lift_k: float = 12.0,
    carnot_frac: float = 0.5,
) -> Array:
    """Return facility over IT power at a wet-bulb temperature.

    Outside air cools for free while wet bulb plus approach stays below the supply temperature; else a chiller runs with
    COP = η·T_c/(T_h − T_c) in kelvin. Fixed and fan shares of the IT power come on top. Part-load curves are left out.
    """
    t = between("wet_bulb_c", wet_bulb_c, -60.0, 60.0)
    span = np.maximum(t + lift_k - chilled_water_c, 1e-9)
    chiller = span / (carnot_frac * (chilled_water_c + 273.15))
    return np.asarray(1.0 + fixed_frac + fan_frac + np.where(t + approach_k <= supply_c, 0.0, chiller))[()]


def energy_j(power_w: Numeric, start_s: Numeric, end_s: Numeric) -> Array:
    """Return the energy of piecewise constant power, each interval exactly: P·(end − start) [J]; sum for the total.

    Raises
    ------
    InputError
        Negative power, or an interval that ends before it starts.
    """
    p, a, b = non_negative("power_w", power_w), at_least("start_s", start_s, -np.inf), at_least("end_s", end_s, -np.inf)
    broadcast(p, a, b)
    if (b < a).any():
        raise BACKWARD.error()
    return np.asarray(p * (b - a))[()]
