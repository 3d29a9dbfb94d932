"""Maximum a posteriori fit of physical terms: log-normal priors, damped Gauss–Newton on logarithms, in numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NOISE", "Fitted", "Predict", "identified", "left_out", "maximum_a_posteriori"]

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats], Floats]

NOISE = 0.04
"""Standard deviation of the logarithm of a measured time around a good model: releases, temperature, neighbours."""
_STEP = 0.02


@dataclass(frozen=True)
class Fitted:
    """A fit.

    Attributes
    ----------
    x : array, shape (terms,)
        Logarithms of value over prior.
    sigma : array, shape (terms,)
        Posterior standard deviation of each, from the Gauss–Newton Hessian.
    jacobian : array, shape (measurements, terms)
        Derivatives of ln(predicted) at the end.
    predicted : array, shape (measurements,)
        Logarithms at the end.
    rounds : int
    """

    x: Floats
    sigma: Floats
    jacobian: Floats
    predicted: Floats
    rounds: int


def _jacobian(predict: Predict, x: Floats, at: Floats, limit: Floats) -> Floats:
    columns = []
    for k in range(len(x)):
        ahead = x.copy()
        sign = -1.0 if x[k] + _STEP > limit[k] else 1.0
        ahead[k] += sign * _STEP
        columns.append((predict(ahead) - at) / (sign * _STEP))
    return np.stack(columns, axis=1) if columns else np.zeros((len(at), 0))


def identified(predict: Predict, prior_sigma: Floats, limit: Floats, measurements: int, *, least: float = 0.01) -> npt.NDArray[np.int64]:
    """Return the terms worth fitting: those whose prior range moves some measurement by ``least``, at most one per measurement."""
    zero = np.zeros(len(prior_sigma))
    effect = np.abs(_jacobian(predict, zero, predict(zero), limit)).max(axis=0) * prior_sigma
    order = np.argsort(-effect, kind="stable")
    return np.sort(order[effect[order] >= least][: max(measurements, 1)])


def maximum_a_posteriori(
    predict: Predict, measured: Floats, prior_sigma: Floats, limit: Floats, *, noise: float = NOISE, rounds: int = 12
) -> Fitted:
    """Return the fit that minimises Σ((ln measured − ln predicted)/noise)² + Σ(x/σ)².

    Parameters
    ----------
    predict : callable
        Logarithms of the predicted times for logarithms x of the terms over their priors.
    measured : array, shape (measurements,)
        Logarithms of the measured times.
    prior_sigma, limit : array, shape (terms,)
        Standard deviation and largest value of each x.
    noise : float
        Standard deviation of a measurement's logarithm.
    rounds : int
        Gauss–Newton steps at most; each is damped until it improves (Levenberg 1944), a step is over at 1e-4.
    """
    x = np.zeros(len(prior_sigma))
    weight = np.diag(1.0 / prior_sigma**2)
    damping = 1e-3
    at = predict(x)

    def cost(point: Floats, logs: Floats) -> float:
        return float(np.sum(((measured - logs) / noise) ** 2) + np.sum((point / prior_sigma) ** 2))

    best, used = cost(x, at), 0
    jacobian = _jacobian(predict, x, at, limit)
    for _ in range(rounds):
        used += 1
        gradient = jacobian.T @ (measured - at) / noise**2 - x / prior_sigma**2
        hessian = jacobian.T @ jacobian / noise**2 + weight
        moved = False
        for _ in range(8):
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            trial = np.minimum(x + np.clip(step, -1.0, 1.0), limit)
            logs = predict(trial)
            value = cost(trial, logs)
            if np.isfinite(value) and value <= best:
                moved = bool(np.abs(trial - x).max(initial=0.0) > 1e-4)
                x, at, best, damping = trial, logs, value, max(damping / 5.0, 1e-9)
                break
            damping *= 5.0
        if not moved:
            break
        jacobian = _jacobian(predict, x, at, limit)
    posterior = np.linalg.inv(jacobian.T @ jacobian / noise**2 + weight) if len(x) else np.zeros((0, 0))
    return Fitted(x, np.sqrt(np.diag(posterior)), jacobian, at, used)


def left_out(fit: Fitted, measured: Floats, prior_sigma: Floats, limit: Floats, *, noise: float = NOISE) -> Floats:
    """Return, for each measurement, the x that fits all others: one Gauss–Newton step from the common fit.

    Returns
    -------
    array, shape (measurements, terms)
    """
    target = measured - fit.predicted + fit.jacobian @ fit.x
    weight = np.diag(1.0 / prior_sigma**2)
    rows = []
    for k in range(len(measured)):
        others = np.arange(len(measured)) != k
        j = fit.jacobian[others]
        solved = np.linalg.solve(j.T @ j / noise**2 + weight, j.T @ target[others] / noise**2)
        rows.append(np.minimum(solved, limit))
    return np.array(rows).reshape(len(measured), len(fit.x))
