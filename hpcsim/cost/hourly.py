"""A quantity that is constant in each hour and repeats: price or carbon intensity of electricity, a power budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import non_negative

__all__ = ["HOUR_S", "Hourly", "hourly_integral"]

HOUR_S = 3600.0
Floats = npt.NDArray[np.float64]


def hourly_integral(series: Floats, start_s: npt.ArrayLike, end_s: npt.ArrayLike) -> Floats:
    """Return ∫ s(t) dt over each stretch, exactly, of a series that is constant in each hour and repeats.

    Parameters
    ----------
    series : float array, shape (hours,)
        Values, of any unit; second 0 is the beginning of the first hour.
    start_s, end_s : array-like, broadcastable [s]
        Stretches, at or after second 0.

    Examples
    --------
    Two prices by turns, for an hour and a half from the middle of the first hour on:

    >>> float(hourly_integral(np.array([1.0, 3.0]), 1800.0, 7200.0))
    12600.0
    """
    sums = np.concatenate([[0.0], np.cumsum(series)]) * HOUR_S

    def until(t: Floats) -> Floats:
        periods, rest = np.divmod(t, len(series) * HOUR_S)
        hour = np.minimum((rest // HOUR_S).astype(np.int64), len(series) - 1)
        return np.asarray(periods * sums[-1] + sums[hour] + series[hour] * (rest - hour * HOUR_S))

    return np.asarray(until(np.asarray(end_s, dtype=np.float64)) - until(np.asarray(start_s, dtype=np.float64)))


@dataclass(frozen=True, slots=True)
class Hourly:
    """A series of hourly values that repeats from second 0 on.

    Attributes
    ----------
    values : tuple of float
        One for each hour, at least 0; any unit.

    Raises
    ------
    InputError
        No value, or one that is negative or not finite.

    Examples
    --------
    Work of an hour that may begin until 4 h: the third hour is the cheapest.

    >>> price = Hourly((5.0, 4.0, 1.0, 3.0, 9.0))
    >>> price.cheapest(0.0, 4 * 3600.0, 3600.0)
    7200.0
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(np.atleast_1d(non_negative("values", np.asarray(self.values, dtype=np.float64))).tolist()))

    def integral(self, start_s: npt.ArrayLike, end_s: npt.ArrayLike) -> Floats:
        """Return the integral over each stretch; see :func:`hourly_integral`."""
        return hourly_integral(np.array(self.values), start_s, end_s)

    def at(self, time_s: float) -> float:
        """Return the value at a time; at the turn of the hour that of the new one."""
        return self.values[int(time_s // HOUR_S) % len(self.values)]

    def change_s(self, time_s: float) -> float:
        """Return when the value next changes after ``time_s``; infinite where it never does.

        Examples
        --------
        >>> Hourly((5.0, 5.0, 2.0)).change_s(100.0), Hourly((5.0, 5.0, 2.0)).change_s(7200.0), Hourly((5.0,)).change_s(0.0)
        (7200.0, 10800.0, inf)
        """
        hour = int(time_s // HOUR_S)
        count = len(self.values)
        for ahead in range(1, count + 1):
            if self.values[(hour + ahead) % count] != self.values[hour % count]:
                return (hour + ahead) * HOUR_S
        return math.inf

    def longest_s(self, least: float) -> float:
        """Return the longest stretch throughout which the value is at least ``least`` [s]; infinite where it always is."""
        enough = [value >= least for value in self.values]
        if all(enough):
            return math.inf
        most = run = 0
        for good in (*enough, *enough):
            run = run + 1 if good else 0
            most = max(most, run)
        return most * HOUR_S

    def turns(self, first_s: float, last_s: float, length_s: float = 0.0) -> Floats:
        """Return the times in ``first_s … last_s``, both included, at which a stretch of ``length_s`` may begin to cost the least.

        Its cost is linear between the times at which it begins or ends at the turn of an hour, so the least is at one of these, or at an end.
        """
        marks = [np.array([first_s, last_s])]
        for offset in {0.0, -length_s % HOUR_S}:
            low = np.ceil((first_s - offset) / HOUR_S)
            marks.append(offset + HOUR_S * np.arange(low, np.floor((last_s - offset) / HOUR_S) + 1))
        every = np.unique(np.concatenate(marks))
        inside: Floats = every[(every >= first_s) & (every <= last_s)]
        return inside

    def ranked(self, starts_s: Floats, length_s: float) -> npt.NDArray[np.int64]:
        """Return the order of some starts of a stretch by what it costs, equal ones (to nine digits) by time."""
        cost = self.integral(starts_s, starts_s + length_s)
        most = float(cost.max(initial=0.0)) or 1.0
        return np.lexsort((starts_s, np.round(cost / most, 9)))

    def cheapest(self, first_s: float, last_s: float, length_s: float) -> float:
        """Return the earliest of the cheapest starts of a stretch from ``first_s`` to ``last_s`` [s]."""
        starts = self.turns(first_s, last_s, length_s)
        return float(starts[self.ranked(starts, length_s)[0]])
