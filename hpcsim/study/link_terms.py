"""The terms of links and library fitted to timed collectives, and what they are worth on systems that they were not fitted to.

Every term is a logarithm over its prior, what was known before a timing was looked at: the library's own constants, what a plug-in declares,
or the family's usual value (``prior`` in the catalog's ``link-kinds``). A curve counts as at most fifteen independent timings; a
timing is as uncertain as its share of start-up and steps says; outliers count by their absolute value (Huber 1964). Then every group of rows
is left out in turn, the terms are fitted from their priors without it, and it is predicted. The terms know
nothing of it then; what goes with all machines does: the mechanisms, some priors and spreads, the constants of MPI and the interval's two widths
were settled with left-out errors in view.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from hpcsim.catalog.link_kinds import TERMS, LinkKind
from hpcsim.catalog.lookup import default
from hpcsim.cost.collectives import Library, LinkClass
from hpcsim.evidence.collectives import CollectiveRow, read_collectives
from hpcsim.study.collectives import interval_log, setting_of, times
from hpcsim.study.scores import nearest_rank
from hpcsim.workload.link_kinds import link_class

__all__ = ["GROUPINGS", "Fit", "Left", "fit", "leave_out", "machine_of", "network_of", "priors", "scores", "system_of"]

Floats = npt.NDArray[np.float64]
NOISE_BYTES, NOISE_FIXED = 0.08, 0.30
"""Standard deviation of the logarithm of a timing that is all bytes, and all start-up and steps."""
MOST = 15.0
"""Independent timings that a curve is worth at most: one machine, number of devices and collective."""
_STEP = 0.02


@dataclass(frozen=True)
class _Term:
    """What a fit may move: a field of kinds of links, or of the library."""

    field: str
    kinds: tuple[str, ...]
    sigma: float


_UP = ("nvlink3", "nvlink4", "nvlink5", "nvlink5-nvl72")
_OUT = ("infiniband", "roce", "efa", "efa-v1", "slingshot", "tcp")


def _terms() -> list[_Term]:
    found = [
        _Term("latency_s", _UP, 0.10),
        _Term("base_s", _UP, 0.10),
        _Term("pipelining", _UP, 0.30),
        _Term("pipelining", ("xgmi",), 0.50),
    ]
    found += [_Term("pipelining", _OUT, 0.40), _Term("low_latency_bytes_per_s", _OUT, 0.40)]
    for kind in (*_UP, "xgmi"):
        found.append(_Term("efficiency_frac", (kind,), 0.06))
        found.append(_Term("startup_s", (kind,), 0.35 if kind == "xgmi" else 0.10))
    found.append(_Term("startup_s", ("nvlink3", "nvlink5", "nvlink5-nvl72"), 0.50))  # what hosts of one system take says much of another's
    found += [_Term("in_switch_frac", (kind,), 0.15) for kind in _UP[1:]]
    for kind in _OUT:
        found += [_Term("efficiency_frac", (kind,), 0.05), _Term("latency_s", (kind,), 0.10), _Term("bulk_factor", (kind,), 0.50)]
        found.append(_Term("low_latency_bytes_per_s", (kind,), 0.50))
    spreads = {"tree_frac": 0.05, "spread_switch_frac": 0.04, "exchange_frac": 0.06, "exchange_steps": 0.4, "exchange_peer_steps": 0.5}
    return found + [_Term(name, (), sigma) for name, sigma in {**spreads, "rise_cap_bytes": 0.7}.items()]


_LIBRARY_PRIOR = Library(0.92, 0.92, 0.93, 4.0, 0.09, 3e8, 8.0)


@dataclass(frozen=True)
class Fit:
    """Fitted terms: kinds of links by name, and the library."""

    kinds: Mapping[str, LinkClass]
    library: Library
    x: Floats


def priors() -> Fit:
    """Return every term at its prior."""
    catalog, kinds = default(), {}
    for name in catalog.names("link-kind"):
        entry = cast("LinkKind", catalog.find("link-kind", name))
        kinds[name] = dataclasses.replace(link_class(name), **{key: value for key, value in entry.prior.items() if key in TERMS})
    return Fit(kinds, _LIBRARY_PRIOR, np.zeros(len(_terms())))


def _moved(start: Fit, x: Floats) -> Fit:
    kinds, library = {name: dataclasses.asdict(kind) for name, kind in start.kinds.items()}, dataclasses.asdict(start.library)
    for term, value in zip(_terms(), np.exp(x), strict=True):
        for place in [kinds[name] for name in term.kinds] or [library]:
            place[term.field] *= value
    for place in [*kinds.values(), library]:
        for key in place:
            place[key] = min(place[key], 1.0) if key.endswith("_frac") else place[key]
    return Fit({name: LinkClass(**terms) for name, terms in kinds.items()}, Library(**library), x)


def _logs(rows: Sequence[CollectiveRow], at: Fit) -> tuple[Floats, Floats, Floats]:
    """Return logarithms of the times, shares of what is fixed, and doubts."""
    found = times(rows, terms=at.kinds.__getitem__, library=at.library)
    return np.log(found.seconds), np.clip(found.fixed_s / found.seconds, 0.0, 1.0), found.doubt_sigma


def system_of(row: CollectiveRow) -> str:
    """Return the system of a row, as its source writes it."""
    return row.system


def machine_of(row: CollectiveRow) -> str:
    """Return what tells machines apart whatever their source: device, devices of a node, both links with their rates, and how it was run.

    Rows of one machine in several sources, or with several numbers of devices, are one.
    """
    at = setting_of(row)
    return f"{row.accelerator} {at.up} {row.scale_up_bytes_per_s:.3g} {row.domain} | {row.scale_out} {row.scale_out_bytes_per_s:.3g} {row.condition}"


def network_of(row: CollectiveRow) -> str:
    """Return the generation of the devices and what joins their domains: a node's own links, or a kind of network."""
    at = setting_of(row)
    place = at.out if row.gpus > (row.domain or row.per_node) else "node"
    return f"{re.sub('-nvl72', '', at.up)} / {place}{' mpi' if 'mpi' in row.condition else ''}"


GROUPINGS: Mapping[str, Callable[[CollectiveRow], str]] = {"system": system_of, "machine": machine_of, "network": network_of}
"""What can be left out, from the least to the most."""


def _weights(rows: Sequence[CollectiveRow]) -> Floats:
    names = [f"{machine_of(row)} {row.gpus} {row.collective}" for row in rows]
    count = {name: names.count(name) for name in dict.fromkeys(names)}
    return np.array([min(count[name], MOST) / count[name] for name in names])


def fit(rows: Sequence[CollectiveRow], *, start: Fit | None = None, rounds: int = 12) -> Fit:
    """Fit the terms to timed collectives.

    Parameters
    ----------
    rows : sequence of CollectiveRow
    start : Fit, optional
        Where the search begins; the priors by default. The priors hold either way.
    rounds : int
        Steps at most; each is damped until the objective falls (Levenberg 1944).

    Notes
    -----
    Minimises Σ w·ρ((ln measured − ln predicted)/σ) + ½Σ(x/σ_x)² with ρ of Huber, σ² = 0.08² + (0.30·fixed share)².
    """
    base, sigma = priors(), np.array([term.sigma for term in _terms()])
    measured, weights = np.log([row.measured_s for row in rows]), _weights(rows)
    noise = np.hypot(NOISE_BYTES, NOISE_FIXED * _logs(rows, base)[1])
    x = base.x if start is None else start.x

    def cost(logs: Floats, point: Floats) -> float:
        r = np.abs(measured - logs) / noise
        return float(np.sum(weights * np.where(r < 1.0, 0.5 * r * r, r - 0.5)) + 0.5 * np.sum((point / sigma) ** 2))

    at = _logs(rows, _moved(base, x))[0]
    best, damping = cost(at, x), 1e-2
    for _ in range(rounds):
        slopes = np.stack([(_logs(rows, _moved(base, x + _STEP * unit))[0] - at) / _STEP for unit in np.eye(len(x))], axis=1)
        pull = weights / noise**2 / np.maximum(np.abs(measured - at) / noise, 1.0)
        hessian = (slopes.T * pull) @ slopes + np.diag(1.0 / sigma**2)
        gradient = (slopes.T * pull) @ (measured - at) - x / sigma**2
        gain = 0.0
        for _ in range(6):
            trial = x + np.clip(np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient), -0.5, 0.5)
            logs = _logs(rows, _moved(base, trial))[0]
            value = cost(logs, trial)
            if value < best:
                gain, x, at, best, damping = best - value, trial, logs, value, max(damping / 4.0, 1e-6)
                break
            damping *= 4.0
        if gain < 0.05:
            break
    return _moved(base, x)


@dataclass(frozen=True)
class Left:
    """A row as predicted by terms fitted without its group: relative error, share of what is fixed, and whether the 80 % range holds it."""

    row: CollectiveRow
    group: str
    error_frac: float
    fixed_frac: float
    inside: bool


def leave_out(
    by: Callable[[CollectiveRow], str] = machine_of, rows: Sequence[CollectiveRow] | None = None, *, refit: bool = True, rounds: int = 4
) -> list[Left]:
    """Predict every row by terms that were fitted without its group.

    Parameters
    ----------
    by : callable
        What groups the rows, one of :data:`GROUPINGS`.
    rows : sequence of CollectiveRow, optional
        The shipped timings by default.
    refit : bool
        Without it every term stays at its prior.
    rounds : int
        As in :func:`fit`. The search for the least of the others' objective begins at the fit to every row, which saves half of the steps;
        the objective, priors included, knows nothing of the group.
    """
    given = list(rows or read_collectives())
    found: dict[int, Left] = {}
    common = fit(given) if refit else None
    for name in dict.fromkeys(by(row) for row in given):
        places = [k for k, row in enumerate(given) if by(row) == name]
        rest = [row for row in given if by(row) != name]
        at = fit(rest, start=common, rounds=rounds) if refit and rest else priors()
        logs, share, doubt = _logs([given[k] for k in places], at)
        width = interval_log(share, doubt)
        for place, log, part, most in zip(places, logs, share, width, strict=True):
            ratio = float(log - np.log(given[place].measured_s))
            found[place] = Left(given[place], name, float(np.exp(ratio)) - 1.0, float(part), abs(ratio) <= most)
    return [found[k] for k in range(len(given))]


def scores(left: Sequence[Left], by: Callable[[Left], Any]) -> dict[Any, dict[str, float]]:
    """Return count, median and 90th percentile of the absolute error, signed median and share inside, by any property of a row, and ``all``."""
    groups: dict[Any, list[Left]] = {"all": list(left)}
    for item in left:
        groups.setdefault(by(item), []).append(item)
    return {
        name: {
            "rows": len(items),
            "median_frac": nearest_rank([abs(i.error_frac) for i in items], 0.5),
            "p90_frac": nearest_rank([abs(i.error_frac) for i in items], 0.9),
            "bias_frac": nearest_rank([i.error_frac for i in items], 0.5),
            "inside_frac": sum(i.inside for i in items) / len(items),
        }
        for name, items in groups.items()
    }
