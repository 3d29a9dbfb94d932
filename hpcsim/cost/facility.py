"""The building: racks, cooling by climate, and when to run by the hours of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array, Numeric, at_least, between, broadcast, non_negative, positive, whole
from hpcsim.cost.power import facility_pue

__all__ = ["Schedule", "climate_pue", "nodes_per_rack", "racks_needed", "shifted"]


def climate_pue(mean_wet_bulb_c: float, *, swing_k: float = 8.0) -> float:
    """Return the mean PUE over a year whose wet-bulb temperature swings by ±``swing_k`` around its mean, as a sine.

    The mean of :func:`hpcsim.cost.power.facility_pue` over the year; a climate of constant temperature has ``swing_k = 0``.

    >>> climate_pue(12.0), round(climate_pue(28.0, swing_k=0.0), 3)
    (1.08, 1.231)
    """
    angle = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    return round(float(np.mean(facility_pue(float(mean_wet_bulb_c) + float(non_negative("swing_k", swing_k)) * np.sin(angle)))), 12)


def nodes_per_rack(node_w: Numeric, *, rack_w: Numeric) -> Array:
    """Return how many nodes of IT power ``node_w`` a rack of ``rack_w`` can cool; 1 where a node alone is above it (a rack-scale system)."""
    return np.asarray(np.maximum(np.floor(positive("rack_w", rack_w) / positive("node_w", node_w) + 1e-9), 1.0))[()]


def racks_needed(nodes: Numeric, per_rack: Numeric) -> Array:
    """Return ⌈nodes/per rack⌉."""
    return np.asarray(np.ceil(non_negative("nodes", nodes) / positive("per_rack", per_rack) - 1e-9))[()]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What choosing the hours of a run does.

    Attributes
    ----------
    flat, contiguous, interruptible : float
        Mean of the series over its whole length, over the best unbroken window, and over the best hours with the cost of each
        interruption counted in.
    hours : int
        Hours of work.
    pieces : int
        Unbroken stretches of the interruptible schedule.
    start : int
        First hour of the unbroken window.
    on : bool array, shape (n,)
        The hours of the interruptible schedule.
    """

    flat: float
    contiguous: float
    interruptible: float
    hours: int
    pieces: int
    start: int
    on: npt.NDArray[np.bool_]


def _pieces(on: npt.NDArray[np.bool_]) -> int:
    return int(np.sum(on & ~np.roll(on, 1))) if not on.all() else 1


def shifted(series: Numeric, hours: int, *, restart_hours: float = 0.0) -> Schedule:
    """Return the best hours for ``hours`` hours of work in a repeating series of hourly intensity or price.

    Unbroken: the least mean of a sliding window. Interruptible: the least hours, and the work that each restart repeats is added at
    their mean; where that is more than the unbroken window costs, the window is returned, so that the interruptible figure is never above
    the contiguous, nor that above the flat one.

    Parameters
    ----------
    series : array, shape (n,)
    hours : int
        1 … n.
    restart_hours : float
        Work lost by a restart [h].
    """
    from hpcsim.cost.carbon import best_hours

    values = np.atleast_1d(non_negative("series", series))
    length = int(whole("hours", between("hours", hours, 1, len(values))))
    lost = float(non_negative("restart_hours", restart_hours))
    found = best_hours(values, length)
    on = np.zeros(len(values), dtype=bool)
    on[np.argsort(values, kind="stable")[:length]] = True
    pieces = _pieces(on)
    mean = found.interruptible * (1.0 + lost * max(pieces - 1, 0) / length)
    if mean > found.contiguous:
        on[:] = False
        on[(found.start + np.arange(length)) % len(values)] = True
        mean, pieces = found.contiguous, _pieces(on)
    return Schedule(found.flat, found.contiguous, float(mean), length, pieces, found.start, on)


def cooling_w(it_w: Numeric, *, pue: Numeric) -> Array:
    """Return the power of cooling and distribution: IT·(PUE − 1)."""
    it, p = non_negative("it_w", it_w), at_least("pue", pue, 1.0)
    broadcast(it, p)
    return np.asarray(it * (p - 1.0))[()]
