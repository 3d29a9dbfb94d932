"""Run times learned from history: what the scheduler plans with in place of what users ask for.

A predictor is asked when a job joins the queue, and learns when one ends. The user's own request stays the limit. A job that outruns its
prediction gets a longer one.

References: D. Tsafrir, Y. Etsion and D. G. Feitelson, "Backfilling using system-generated predictions rather than user runtime estimates",
TPDS 2007 (mean of the user's last two run times, and its correction); E. Gaussier et al., "Improving backfilling by using machine learning to
predict running times", SC 2015 (online regression).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Protocol

import numpy as np

__all__ = ["PREDICTORS", "LastTwo", "Predictor", "Regression", "corrected_s"]

STEPS_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 18000.0, 36000.0, 54000.0, 72000.0, 90000.0, 180000.0, 360000.0)
"""By how much a prediction that proved too short is raised, one after the other [s]."""
_LEAST_S = 1.0


class Predictor(Protocol):
    """Foretells run times."""

    def predict_s(self, user: int, processors: float, requested_s: float) -> float:
        """Return the run time of a job that its user limits to ``requested_s`` [s]; at most that."""

    def learn(self, user: int, processors: float, requested_s: float, run_s: float) -> None:
        """Take note of a job that has ended."""


def corrected_s(predicted_s: float, elapsed_s: float, requested_s: float) -> float:
    """Return the next prediction for a job that has run for ``elapsed_s`` and goes on; at most its request, unless that has passed too.

    Examples
    --------
    >>> corrected_s(100.0, 100.0, 10_000.0), corrected_s(160.0, 160.0, 10_000.0), corrected_s(100.0, 100.0, 120.0)
    (160.0, 460.0, 120.0)
    """
    added = STEPS_S[min(bisect_right(STEPS_S, elapsed_s / 2.0), len(STEPS_S) - 1)]
    raised = max(predicted_s, elapsed_s) + added
    return min(raised, requested_s) if requested_s > elapsed_s else raised


class LastTwo:
    """The mean of the last two run times of the user, at most what is asked for; what is asked for while there is no history.

    Examples
    --------
    >>> predictor = LastTwo()
    >>> for run in (100.0, 300.0):
    ...     predictor.learn(7, 1, 3600.0, run)
    >>> predictor.predict_s(7, 1, 3600.0), predictor.predict_s(7, 1, 150.0), predictor.predict_s(8, 1, 3600.0)
    (200.0, 150.0, 3600.0)
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, ...]] = {}

    def predict_s(self, user: int, processors: float, requested_s: float) -> float:
        """Return the prediction."""
        runs = self._last.get(user) if user >= 0 else None
        return min(sum(runs) / len(runs), requested_s) if runs else requested_s

    def learn(self, user: int, processors: float, requested_s: float, run_s: float) -> None:
        """Keep the last two."""
        self._last[user] = (*self._last.get(user, ())[-1:], run_s)


class Regression:
    """Least squares on the logarithms, over all jobs so far: ``ln run = w·(1, ln request, ln processors, ln mean of the user's last two)``.

    Solved anew with each job that ends (recursive least squares with a weak prior towards the user's mean). At most what is asked for.
    """

    def __init__(self) -> None:
        self._last = LastTwo()
        self._weights = np.array([0.0, 0.0, 0.0, 1.0])
        self._spread = np.eye(4) * 10.0
        self._seen = 0

    def _features(self, user: int, processors: float, requested_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        mean = self._last.predict_s(user, processors, requested_s)
        return np.array([1.0, math.log(max(requested_s, _LEAST_S)), math.log(max(processors, 1.0)), math.log(max(mean, _LEAST_S))])

    def predict_s(self, user: int, processors: float, requested_s: float) -> float:
        """Return the prediction."""
        if not self._seen:
            return requested_s
        log = float(self._weights @ self._features(user, processors, requested_s))
        return min(math.exp(min(max(log, 0.0), 30.0)), requested_s)

    def learn(self, user: int, processors: float, requested_s: float, run_s: float) -> None:
        """Take one step of recursive least squares."""
        x = self._features(user, processors, requested_s)
        gain = self._spread @ x / (1.0 + x @ self._spread @ x)
        self._weights = self._weights + gain * (math.log(max(run_s, _LEAST_S)) - x @ self._weights)
        self._spread = self._spread - np.outer(gain, x @ self._spread)
        self._last.learn(user, processors, requested_s, run_s)
        self._seen += 1


PREDICTORS: dict[str, Callable[[], Predictor]] = {"predicted": LastTwo, "regression": Regression}
"""Predictors by the name of the kind of estimates."""
