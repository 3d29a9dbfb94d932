"""Calibration of links from a user's collective log: latency, start-up, rise, window and rate under priors, as an overlay catalog."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.hardware import Link as LinkEntry
from hpcsim.catalog.link_kinds import spread_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.evidence.collective_logs import CollectiveLog, read_collective_log
from hpcsim.study.fitting import identified, left_out, maximum_a_posteriori
from hpcsim.workload.link_kinds import link_of

__all__ = ["LogFit", "fit_log"]

NO_ACCELERATOR = problem_kind(
    "collective-log-accelerator",
    "whose links these are is not known",
    "add --accelerator NAME, or a line such as  # hpcsim: accelerator=h100-sxm",
)
NO_LINK = problem_kind(
    "collective-log-network", "what joins the nodes is not known", "add a line such as  # hpcsim: link=infiniband-ndr ports=8"
)
FEW_SIZES = problem_kind("collective-log-few", "{count} sizes are too few to fit from", "time at least four, from small to large")

Floats = npt.NDArray[np.float64]

NOISE = 0.06
"""Standard deviation of the logarithm of one timed size: neighbouring sizes use other channels and protocols."""
_PORT_LINKS = {
    "infiniband": "infiniband-ndr",
    "efa": "efa-v2",
    "slingshot": "slingshot-11",
    "roce": "gcp-roce",
    "tcpxo": "gcp-tcpxo",
    "tcpx": "gcp-tcpx",
}


@dataclass(frozen=True)
class _Term:
    """A field of a link that the log can move: its overlay key, prior and limits."""

    outer: bool
    field: str
    key: str
    label: str
    unit: str
    sigma: float


_TERMS = (
    ("efficiency_frac", "sustained", "share of the line rate", "", 0.15),
    ("startup_s", "startup", "start-up of a call", "s", 0.5),
    ("latency_s", "step_latency", "latency of a step", "s", 0.5),
    ("pipelining", "pipelining", "pipelining", "", 0.5),
    ("low_latency_bytes_per_s", "low_latency_rate", "low-latency rate", "B/s", 0.5),
    ("in_switch_frac", "in_switch", "share in the switch", "", 0.10),
)


@dataclass(frozen=True)
class LogFit:
    """A fit of a log.

    Attributes
    ----------
    fit, cases : dict
        Columns of the tables ``fit`` and ``fit_cases``.
    overlay : dict
        Entries of links with the fitted fields.
    notes : list of str
    """

    fit: dict[str, Any]
    cases: dict[str, Any]
    overlay: dict[str, Any]
    notes: list[str]


def _spellings(device: str) -> Iterator[str]:
    yield device
    plain = re.sub(r"^(NVIDIA|AMD|Instinct)\s+", "", device.strip(), flags=re.I)
    yield plain
    name = re.match(r"(?:AMD\s+)?(?:Instinct\s+)?(GH\d+|GB\d+|[AHBVL]\d+S?|MI\d+[A-Z]?)\b", plain, re.I)
    memory = re.search(r"(\d+)\s*GB", plain, re.I)
    if name:
        if memory:
            yield f"{name[1]}-{memory[1]}GB"
        yield from (name[1], f"{name[1]}-sxm", f"{name[1]}-sxm-{memory[1] if memory else 80}gb")


def _accelerator(log: CollectiveLog, named: str | None, catalog: Catalog, file: str) -> Accelerator:
    for name in (named,) if named else tuple(_spellings(log.device)) if log.device else ():
        try:
            return catalog.accelerator(name)
        except InputError:
            if named:
                raise
    raise NO_ACCELERATOR.error(file=file)


def _entry(catalog: Catalog, name: str) -> LinkEntry | None:
    try:
        return catalog.link(name) if name else None
    except InputError:
        return None


def _set_up(log: CollectiveLog, named: str | None, catalog: Catalog, file: str) -> tuple[Fabric, dict[bool, str]]:
    """Return the fabric before the fit and the catalog names of its inner and outer link."""
    names: dict[bool, str] = {}
    domain = max(log.domain, log.per_node)
    spread = log.ranks > domain
    up = Link(1e12)
    if domain > 1:
        device = _accelerator(log, named, catalog, file)
        inner = _entry(catalog, spread_kind(device.scale_up_link or "", domain).replace("nvlink5-", "nvlink-5-"))
        if inner is None or not (device.scale_up_bytes_per_s or inner.bytes_per_s):
            raise NO_ACCELERATOR.error(file=file)
        names[False] = inner.id
        up = link_of(inner.id, device.scale_up_bytes_per_s or inner.bytes_per_s)
    out = link_of("none", 1e12)
    if spread:
        outer = _entry(catalog, log.network) or _entry(catalog, _PORT_LINKS.get(log.network, ""))
        if outer is None or not (outer.bytes_per_s or outer.node_bytes_per_s):
            raise NO_LINK.error(file=file)
        names[True] = outer.id
        node = float(outer.node_bytes_per_s or 0.0) if not log.ports else 0.0
        ports = log.ports or outer.nics or log.per_node
        out = link_of(outer.id, (node or ports * float(outer.bytes_per_s or 0.0)) / log.per_node)
    return Fabric(up, out, domain), names


def _terms(fabric: Fabric, names: Mapping[bool, str]) -> list[_Term]:
    found = []
    for outer in names:
        link = fabric.scale_out if outer else fabric.scale_up
        for field, key, label, unit, sigma in _TERMS:
            if float(np.asarray(getattr(link, field))) > 0:
                found.append(_Term(outer, field, key, label, unit, sigma))
    return found


def _changed(fabric: Fabric, terms: list[_Term], x: Floats) -> Fabric:
    links = {False: fabric.scale_up, True: fabric.scale_out}
    for term, value in zip(terms, x, strict=True):
        before = float(np.asarray(getattr(links[term.outer], term.field)))
        links[term.outer] = replace(links[term.outer], **{term.field: before * float(np.exp(value))})
    return replace(fabric, scale_up=links[False], scale_out=links[True])


def _limit(fabric: Fabric, term: _Term) -> float:
    """Return the largest logarithm of value over prior: shares end at 1, the rest at a factor of twenty."""
    before = float(np.asarray(getattr(fabric.scale_out if term.outer else fabric.scale_up, term.field)))
    return math.log(1.0 / before) if term.field.endswith("_frac") and before < 1 else 0.0 if term.field.endswith("_frac") else 3.0


def _shown(value: float, unit: str) -> Any:
    if unit == "s":
        return readable(value, "time", 4)
    return readable(value, "data rate", 4) if unit == "B/s" else float(f"{value:.4g}")


def fit_log(path: str | Path, catalog: Catalog, *, accelerator: str | None = None) -> LogFit:
    """Fit the links of a log of nccl-tests, rccl-tests or an OSU benchmark.

    Parameters
    ----------
    path : path
    catalog : Catalog
        Where devices and links are looked up; its values and the terms of the links' kinds are the priors.
    accelerator : str, optional
        Whose links they are; by default as the log says.

    Raises
    ------
    InputError
        A log that cannot be read or does not say what ran where, an unknown device or network, too few sizes.

    Notes
    -----
    Terms are logarithms over their priors with the standard deviations of :data:`_TERMS`; those that move no timed size by 1 % are left
    alone. The fit minimises Σ((ln measured − ln predicted)/0.06)² + Σ(x/σ)².
    """
    log = read_collective_log(path)
    if len(log.times) < 4:
        raise FEW_SIZES.error(file=str(path), count=len(log.times))
    fabric, names = _set_up(log, accelerator, catalog, str(path))
    every = _terms(fabric, names)
    sizes = np.array([t.size_bytes for t in log.times])
    measured = np.log([t.seconds for t in log.times])
    mpi = log.tool == "osu"

    def predict_with(terms: list[_Term]) -> Any:
        def predict(x: Floats) -> Floats:
            found = _changed(fabric, terms, x)
            key = {"inside": min(max(log.domain, log.per_node), log.ranks)}
            if mpi:
                return np.log(found.mpi_s(log.collective, sizes, log.ranks, on_devices=log.on_devices, **key))
            return np.log(found.collective_s(log.collective, sizes, log.ranks, **key))

        return predict

    def bounds(terms: list[_Term]) -> tuple[Floats, Floats]:
        return np.array([t.sigma for t in terms]), np.array([_limit(fabric, t) for t in terms])

    sigma, limit = bounds(every)
    kept = [every[k] for k in identified(predict_with(every), sigma, limit, len(sizes) - 1)]
    sigma, limit = bounds(kept)
    predict = predict_with(kept)
    fit = maximum_a_posteriori(predict, measured, sigma, limit, noise=NOISE, rounds=25)
    others = left_out(fit, measured, sigma, limit, noise=NOISE)
    priors = [float(np.asarray(getattr(fabric.scale_out if t.outer else fabric.scale_up, t.field))) for t in kept]
    values = [prior * float(np.exp(x)) for prior, x in zip(priors, fit.x, strict=True)]
    overlay: dict[str, Any] = {}
    for term, value in zip(kept, values, strict=True):
        overlay.setdefault(names[term.outer], {})[term.key] = _shown(value, term.unit)
    return LogFit(
        fit={
            "term": [t.label for t in kept],
            "entry": [names[t.outer] for t in kept],
            "prior": priors,
            "fitted": values,
            "unit": [t.unit or None for t in kept],
            "prior_sigma": sigma.tolist(),
            "posterior_sigma": fit.sigma.tolist(),
        },
        cases={
            "id": [f"{log.collective} {readable(t.size_bytes, 'data size', 4)}" for t in log.times],
            "measured_s": np.exp(measured),
            "raw_s": np.exp(predict(np.zeros(len(kept)))),
            "fitted_s": np.exp(fit.predicted),
            "left_out_s": np.exp(np.array([predict(others[k])[k] for k in range(len(sizes))])),
        },
        overlay=overlay,
        notes=[
            f"{log.collective} of {log.ranks} ranks, {log.per_node} on a node, by {log.tool}: the terms of {' and '.join(names.values())} "
            "hold for this machine and library."
        ],
    )
