"""Calibration: a user's own measurements → physical terms → an overlay catalog that any scenario can name.

Terms belong to an accelerator, a link or a software stack; each has a log-normal prior around the catalog's value, so that what the
measurements say nothing about stays where it was. Raw, fitted and left-out errors are reported side by side: the last is what to expect
of a run that was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.study.fitting import Predict, identified, left_out, maximum_a_posteriori
from hpcsim.study.measurements import Group, Term, read_steps
from hpcsim.study.products import fit_products, measured_sources

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["Calibration", "calibrate", "results_of_fit"]

NOTHING = problem_kind("calibrate-nothing", "there is nothing to calibrate from", "name a file of measurements, or use --machine")
TOO_FEW = problem_kind(
    "calibrate-too-few",
    "{count} of the measurements can be predicted",
    "two are needed; five with different batches, layouts and node counts are better",
)
_HEAD = "# Written by hpcsim calibrate. "
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes
    ----------
    results : Results
        Tables ``fit`` and ``fit_cases``; raw, fitted and left-out errors in the summary.
    overlay : dict
        The catalog overlay as plain data; :meth:`write` puts it into a file.
    """

    results: Results
    overlay: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return the overlay as YAML."""
        return f"{_HEAD}Name it in a scenario with  catalogs: [this file]\n" + str(
            yaml.safe_dump(self.overlay, sort_keys=False, allow_unicode=True, width=120)
        )

    def write(self, path: str | Path) -> Path:
        """Write the overlay whole or not at all.

        Raises
        ------
        InputError
            It cannot be written there, or a file is there that is no such overlay.
        """
        from hpcsim.results.store import write_whole

        overlay_may_go(path)
        file = Path(path)
        return write_whole(file.parent, {file.name: self.text().encode("utf-8")})[0]


def overlay_may_go(path: str | Path) -> None:
    """Refuse to write an overlay over a file that is no overlay of an earlier calibration.

    Raises
    ------
    InputError
        ``not-to-overwrite``.
    """
    from hpcsim.results.store import refuse_others_file

    refuse_others_file(path, _HEAD, what="overlay of an earlier calibration", option="--overlay")


def _median(values: Floats) -> float:
    from hpcsim.study.scores import nearest_rank

    return nearest_rank([abs(float(v)) for v in values], 0.5)


@dataclass(frozen=True)
class _Outcome:
    names: list[str]
    measured_s: Floats
    raw_s: Floats
    fitted_s: Floats
    left_out_s: Floats
    terms: list[Term]
    x: Floats
    sigma: Floats


def _fit_steps(groups: Sequence[Group]) -> _Outcome:
    everything = list(dict.fromkeys(term for group in groups for term in group.terms))
    measured = np.log([seconds for group in groups for seconds in group.measured_s])

    def predict_with(terms: Sequence[Term]) -> Predict:
        def predict(x: Floats) -> Floats:
            factors = {term: float(np.exp(value)) for term, value in zip(terms, x, strict=True)}
            return np.log([seconds for group in groups for seconds in group.predict(factors)])

        return predict

    def of(terms: Sequence[Term]) -> tuple[Floats, Floats]:
        return np.array([term.sigma for term in terms], dtype=np.float64), np.array([term.limit for term in terms], dtype=np.float64)

    sigma, limit = of(everything)
    terms = [everything[k] for k in identified(predict_with(everything), sigma, limit, len(measured))]
    predict = predict_with(terms)
    sigma, limit = of(terms)
    fit = maximum_a_posteriori(predict, measured, sigma, limit)
    others = left_out(fit, measured, sigma, limit)
    without = np.array([predict(others[k])[k] for k in range(len(measured))])
    names = [name for group in groups for name in group.names]
    return _Outcome(
        names, np.exp(measured), np.exp(predict(np.zeros(len(terms)))), np.exp(fit.predicted), np.exp(without), terms, fit.x, fit.sigma
    )


def _overlay(terms: Sequence[Term], x: Floats, source: str) -> dict[str, Any]:
    """Return fitted terms as overlay entries, each value with its source."""
    overlay: dict[str, Any] = {"references": {"calibration": source}}
    for term, value in zip(terms, x, strict=True):
        entry = overlay.setdefault(term.kind, {}).setdefault(term.entry, {})
        for key, content in term.written(float(np.exp(value))).items():
            entry[key] = {**entry.get(key, {}), **content} if isinstance(content, dict) else content
    for kind, entries in overlay.items():
        if kind != "references":
            for entry in entries.values():
                entry["sources"] = measured_sources(dict(entry))
    return overlay


def results_of_fit(fit: Mapping[str, Any], cases: Mapping[str, Any], file: str, notes: list[str]) -> Results:
    """Return the results of a fit from the columns of its tables ``fit`` and ``fit_cases``."""
    from hpcsim.results.provenance import provenance
    from hpcsim.results.quantities import show
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    measured = np.asarray(cases["measured_s"])
    medians = {name: _median(np.asarray(cases[f"{name}_s"]) / measured - 1.0) for name in ("raw", "fitted", "left_out")}
    text = (
        f"{len(fit['term'])} terms fitted to {len(measured)} measurements: the median error is {show('x_frac', medians['raw'])} before, "
        f"{show('x_frac', medians['fitted'])} after, and {show('x_frac', medians['left_out'])} for measurements that the fit did not see."
    )
    return Results(
        name="calibration",
        question="What do my measurements say about the model's terms?",
        answer=text,
        kind="calibrate",
        summary={f"{name}_median_abs_error_frac": value for name, value in medians.items()},
        tables={"fit": frame("fit", fit), "fit_cases": frame("fit_cases", cases)},
        notes=[*_NOTES, *notes],
        provenance=provenance(measurements=file),
    )


def _results(outcome: _Outcome, file: str, notes: list[str]) -> Results:
    fit = {
        "term": [term.name for term in outcome.terms],
        "entry": [term.entry for term in outcome.terms],
        "prior": [term.prior for term in outcome.terms],
        "fitted": [term.prior * float(np.exp(value)) for term, value in zip(outcome.terms, outcome.x, strict=True)],
        "unit": [term.unit or None for term in outcome.terms],
        "prior_sigma": [term.sigma for term in outcome.terms],
        "posterior_sigma": outcome.sigma.tolist(),
    }
    cases = {
        "id": outcome.names,
        "measured_s": outcome.measured_s,
        "raw_s": outcome.raw_s,
        "fitted_s": outcome.fitted_s,
        "left_out_s": outcome.left_out_s,
    }
    return results_of_fit(fit, cases, file, notes)


_NOTES = [
    "A term that the measurements say little about stays near its prior: compare its two standard deviations.",
    "Left-out errors are what to expect of a run like the measured ones; other batch sizes, layouts and node counts widen what they cover.",
]


def _fit_log(path: Path, accelerator: str | None, catalog: Catalog) -> Calibration:
    from hpcsim.study.fabric_fit import fit_log

    found = fit_log(path, catalog, accelerator=accelerator)
    overlay: dict[str, Any] = {"references": {"calibration": f"hpcsim calibrate, {len(found.cases['id'])} timed sizes of {path.name}"}}
    entries = {name: {**fields, "sources": measured_sources(dict(fields))} for name, fields in found.overlay.items()}
    if entries:
        overlay["links"] = entries
    return Calibration(results_of_fit(found.fit, found.cases, path.name, found.notes), overlay)


def calibrate(
    file: str | Path | None = None, *, machine: bool = False, accelerator: str | None = None, catalog: Catalog | None = None
) -> Calibration:
    """Fit the model's terms to measurements and return them as an overlay catalog.

    Parameters
    ----------
    file : path, optional
        ``.yaml``: a list of measured steps, each a case as ``hpcsim verify training`` takes it, or ``{scenario: FILE, measured: "3.2 s"}``
        with optional ``set`` (changes by dotted path) and ``training`` (which run). ``.csv``: timed matrix products with the columns
        m, n, k, seconds and, where it is not bf16, precision. ``.txt``, ``.log``, ``.out``: what nccl-tests, rccl-tests or an OSU
        benchmark printed.
    machine : bool
        Measure the machine that this runs on: matrix products and memory, with PyTorch also its GPU.
    accelerator : str, optional
        Whose matrix products a CSV file holds, or whose links a log timed where it does not say.
    catalog : Catalog, optional
        The default one without it.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        No file, a file that cannot be read, wrong values with their place, too few measurements, or none that can be predicted.
    """
    where = catalog or default()
    if machine:
        from hpcsim.study.machine import measure_machine

        return measure_machine(where)
    if file is None:
        raise NOTHING.error()
    path = Path(file)
    if path.suffix.lower() in (".txt", ".log", ".out"):
        return _fit_log(path, accelerator, where)
    if path.suffix.lower() == ".csv":
        return fit_products(path, accelerator, where)
    groups, notes = read_steps(path, where)
    count = sum(len(group.names) for group in groups)
    if count < 2:
        raise TOO_FEW.error(file=str(file), count=count)
    outcome = _fit_steps(groups)
    source = f"hpcsim calibrate, {count} measured steps of {path.name}"
    return Calibration(_results(outcome, path.name, notes), _overlay(outcome.terms, outcome.x, source))
