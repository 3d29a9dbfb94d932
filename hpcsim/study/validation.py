"""What the step model's terms are worth on sources they were not fitted to.

The terms of :class:`hpcsim.cost.parameters.Parameters` are fitted to measured steps by maximum a posteriori: the absolute logarithm of
predicted over measured, every group of cases weighing the same, against the terms' log-normal priors. Then every group is left out in turn,
the terms are refitted without it and it is predicted: the honest figure for a machine or a paper that nobody has fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.catalog.lookup import Catalog, default
from hpcsim.cost.parameters import DEFAULTS, TERMS, Parameters
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import predict
from hpcsim.study.scores import SMALL_GROUP, nearest_rank

__all__ = ["Fit", "GroupError", "LeftOut", "accelerator_of", "fit", "leave_one_group_out", "priors", "source_of"]

_Floats = npt.NDArray[np.float64]
ERROR_SCALE = 0.06
"""Logarithmic error of a case that counts as one: what repeated publications of one configuration differ by."""
EFFECTIVE_CASES = 8.0
"""Independent observations a group is worth at most: cases of one source share its release, its clocks, its reading."""
MOST_CASES = 30
"""Cases of one group that a fit looks at, evenly spread."""
_STEP = 0.05


@dataclass(frozen=True)
class Fit:
    """Fitted terms.

    Attributes
    ----------
    parameters : Parameters
    free : tuple of str
        Terms that were fitted.
    objective : float
        Robust misfit and prior, at the end.
    """

    parameters: Parameters
    free: tuple[str, ...]
    objective: float


@dataclass(frozen=True)
class GroupError:
    """Errors of one group: signed median, median and 90th percentile of the absolute relative error, and cases inside the interval."""

    cases: int
    median_frac: float
    p90_frac: float
    bias_frac: float
    inside_frac: float


@dataclass(frozen=True)
class LeftOut:
    """A leave-one-group-out run.

    Attributes
    ----------
    groups : dict of str to GroupError
        Every group as predicted by terms fitted without it.
    fits : dict of str to Fit
    median_of_group_medians, median_of_group_p90, coverage_frac : float
        Over the groups as :func:`hpcsim.study.verify.score` counts them.
    """

    groups: dict[str, GroupError]
    fits: dict[str, Fit]
    median_of_group_medians: float
    median_of_group_p90: float
    coverage_frac: float


def priors() -> Parameters:
    """Return the terms at the medians of their priors: what was known before looking at a measured step."""
    return DEFAULTS.varied(**{name: term.prior for name, term in TERMS.items()})


def _thinned(cases: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        by_group.setdefault(str(case.get("group", "")), []).append(case)
    kept: list[Mapping[str, Any]] = []
    for members in by_group.values():
        kept += members[:: max(math.ceil(len(members) / most), 1)]
    return kept


def _residuals(cases: Sequence[Mapping[str, Any]], catalog: Catalog, parameters: Parameters) -> _Floats:
    answers = predict(cases, catalog=catalog, parameters=parameters)
    measured = np.array([float(case["target"]["iteration_time_s"]) for case in cases])
    return np.asarray(np.log(np.array([a.predicted_s for a in answers]) / measured), dtype=np.float64)


def _weights(cases: Sequence[Mapping[str, Any]]) -> _Floats:
    names = [str(case.get("group", "")) for case in cases]
    count = {name: names.count(name) for name in dict.fromkeys(names)}
    return np.array([min(count[name], EFFECTIVE_CASES) / count[name] for name in names])


def _vector(parameters: Parameters, free: Sequence[str]) -> _Floats:
    return np.log(np.array([getattr(parameters, name) for name in free], dtype=np.float64))


def _slopes(cases: Sequence[Mapping[str, Any]], catalog: Catalog, at: Parameters, free: Sequence[str], now: _Floats) -> _Floats:
    """Derivative of the residuals by the logarithm of each term, one-sided."""
    columns = []
    for name in free:
        value = getattr(at, name)
        up = value * math.exp(_STEP) <= TERMS[name].high
        moved = at.varied(**{name: value * math.exp(_STEP if up else -_STEP)})
        columns.append((_residuals(cases, catalog, moved) - now) / (_STEP if up else -_STEP))
    return np.nan_to_num(np.clip(np.array(columns).T, -3.0, 3.0))


def _objective(residuals: _Floats, weights: _Floats, vector: _Floats, prior: _Floats, sigma: _Floats) -> float:
    return float(np.nansum(weights * np.abs(residuals)) / ERROR_SCALE + 0.5 * np.sum(((vector - prior) / sigma) ** 2))


def _solved(slopes: _Floats, residuals: _Floats, weights: _Floats, vector: _Floats, prior: _Floats, sigma: _Floats) -> _Floats:
    """Step of the linearised problem: least absolute residuals by reweighting, priors as they are."""
    move: _Floats = np.zeros_like(vector)
    known = np.isfinite(residuals)
    j, r, w = slopes[known], residuals[known], weights[known]
    for _ in range(25):
        left = r + j @ move
        pull = w / (ERROR_SCALE * np.maximum(np.abs(left), 0.3 * ERROR_SCALE))
        hessian = (j.T * pull) @ j + np.diag(1.0 / sigma**2)
        gradient = (j.T * pull) @ r + (vector - prior) / sigma**2
        move = np.asarray(-np.linalg.solve(hessian, gradient), dtype=np.float64)
    return np.asarray(np.clip(move, -0.5, 0.5))


@dataclass(frozen=True)
class _Problem:
    """Residuals and slopes at one point, so that fits without a group can share them."""

    cases: list[Mapping[str, Any]]
    at: Parameters
    free: tuple[str, ...]
    residuals: _Floats
    slopes: _Floats


def _linearised(cases: Sequence[Mapping[str, Any]], catalog: Catalog, at: Parameters, free: tuple[str, ...]) -> _Problem:
    now = _residuals(cases, catalog, at)
    return _Problem(list(cases), at, free, now, _slopes(cases, catalog, at, free, now))


def _improved(problem: _Problem, keep: npt.NDArray[np.bool_], catalog: Catalog) -> tuple[Parameters, float]:
    """Take the linearised step, halved until the objective falls."""
    cases = [case for case, kept in zip(problem.cases, keep, strict=True) if kept]
    weights = _weights(cases)
    prior = np.log(np.array([TERMS[name].prior for name in problem.free], dtype=np.float64))
    sigma = np.array([TERMS[name].sigma for name in problem.free])
    vector = _vector(problem.at, problem.free)
    here = _objective(problem.residuals[keep], weights, vector, prior, sigma)
    move = _solved(problem.slopes[keep], problem.residuals[keep], weights, vector, prior, sigma)
    for share in (1.0, 0.5, 0.25):
        tried = problem.at.varied(**dict(zip(problem.free, np.exp(vector + share * move), strict=True)))
        value = _objective(_residuals(cases, catalog, tried), weights, _vector(tried, problem.free), prior, sigma)
        if value < here:
            return tried, value
    return problem.at, here


def fit(
    cases: Sequence[Mapping[str, Any]],
    *,
    catalog: Catalog | None = None,
    free: Sequence[str] | None = None,
    start: Parameters | None = None,
    rounds: int = 4,
    most_cases: int = MOST_CASES,
) -> Fit:
    """Fit terms of the step model to measured steps.

    Parameters
    ----------
    cases : sequence of mappings
        As :func:`hpcsim.evidence.training.read_cases` returns them.
    free : sequence of str, optional
        Terms to fit; all by default.
    start : Parameters, optional
        Where to start, and the value of the terms that are not free; the priors by default.
    rounds : int
        Linearisations.
    most_cases : int
        Cases of one group that are looked at.
    """
    where = catalog or default()
    names = tuple(free or TERMS)
    thin = _thinned(cases, most_cases)
    at, value = start or priors(), math.inf
    for _ in range(rounds):
        problem = _linearised(thin, where, at, names)
        following, now = _improved(problem, np.ones(len(thin), dtype=bool), where)
        settled = following == at or value - now < 0.05
        at, value = following, now
        if settled:
            break
    return Fit(at, names, value)


def _scored(cases: Sequence[Mapping[str, Any]], catalog: Catalog, parameters: Parameters) -> tuple[list[float], int]:
    answers = predict(cases, catalog=catalog, parameters=parameters)
    pairs = [(a, float(c["target"]["iteration_time_s"])) for c, a in zip(cases, answers, strict=True) if not a.refused]
    return [a.predicted_s / t - 1.0 for a, t in pairs], sum(a.low_s <= t <= a.high_s for a, t in pairs)


def _group(errors: Sequence[float], inside: int) -> GroupError:
    sizes = [abs(e) for e in errors]
    return GroupError(
        len(errors), nearest_rank(sizes, 0.5), nearest_rank(sizes, 0.9), nearest_rank(errors, 0.5), inside / max(len(errors), 1)
    )


def source_of(case: Mapping[str, Any]) -> str:
    """Return the group of a case: its source."""
    return str(case.get("group", ""))


def accelerator_of(case: Mapping[str, Any]) -> str:
    """Return the accelerator of a case, as its source writes it."""
    return str(case["hardware"]["accelerator"])


def leave_one_group_out(
    cases: Sequence[Mapping[str, Any]] | None = None,
    *,
    catalog: Catalog | None = None,
    free: Sequence[str] | None = None,
    rounds: int = 1,
    by: Callable[[Mapping[str, Any]], str] = source_of,
) -> LeftOut:
    """Refit the terms without each group and score them on it.

    Parameters
    ----------
    cases : sequence of mappings, optional
        The shipped evidence by default.
    free : sequence of str, optional
        Terms that are refitted; all by default.
    rounds : int
        Linearisations of each refit: the first is shared, at the priors; every further one is the refit's own.
    by : callable
        What groups the cases: :func:`source_of`, :func:`accelerator_of`, or any other name of a case. In a fit sources weigh the same
        however the cases are grouped to be left out.

    Notes
    -----
    Refits start from the priors, so that nothing of the left-out group is in them.
    """
    given, where, names = list(cases or read_cases()), catalog or default(), tuple(free or TERMS)
    thin = _thinned(given, MOST_CASES)
    shared = _linearised(thin, where, priors(), names)
    groups: dict[str, GroupError] = {}
    fits: dict[str, Fit] = {}
    small: list[float] = []
    inside = total = 0
    for name in dict.fromkeys(by(case) for case in given):
        keep = np.array([by(case) != name for case in thin])
        at, value = _improved(shared, keep, where)
        rest = [case for case, kept in zip(thin, keep, strict=True) if kept]
        for _ in range(rounds - 1):
            at, value = _improved(_linearised(rest, where, at, names), np.ones(len(rest), dtype=bool), where)
        fits[name] = Fit(at, names, value)
        errors, within = _scored([case for case in given if by(case) == name], where, at)
        groups[name] = _group(errors, within)
        inside, total = inside + within, total + len(errors)
        if len(errors) < SMALL_GROUP:
            small += errors
    counted = [g for g in groups.values() if g.cases >= SMALL_GROUP] + ([_group(small, 0)] if small else [])
    return LeftOut(
        groups,
        fits,
        nearest_rank([g.median_frac for g in counted], 0.5),
        nearest_rank([g.p90_frac for g in counted], 0.5),
        inside / max(total, 1),
    )
