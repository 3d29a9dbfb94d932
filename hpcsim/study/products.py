"""Timed matrix products → sustained rates and the share of the memory bandwidth: a fit of the product formula itself."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.compute import DEVICE_CLASSES, PRECISIONS, Device, gemm_s
from hpcsim.study.fitting import NOISE, Predict, left_out, maximum_a_posteriori

if TYPE_CHECKING:
    from hpcsim.catalog.hardware import Accelerator
    from hpcsim.study.calibrate import Calibration

__all__ = ["Product", "fit_products", "fitted_products", "measured_sources", "read_products"]

NO_FILE = problem_kind("products-missing", "there is no such file of matrix products", "check the path")
UNREADABLE = problem_kind("products-unreadable", "the file of matrix products cannot be read: {why}", "it is CSV with a header line")
NO_COLUMN = problem_kind("products-column", "the column {name!r} is missing", "needed: m, n, k, seconds; precision where it is not bf16")
BAD_VALUE = problem_kind("products-value", "{name} is {value!r}", "a number above zero is needed")
NO_DEVICE = problem_kind(
    "products-accelerator", "whose matrix products these are is not said", "add --accelerator NAME, such as a100-sxm-80gb"
)
NO_PEAK = problem_kind("products-precision", "{name} has no known {precision} arithmetic", "it has: {known}")
TOO_FEW = problem_kind("products-too-few", "the file has {count} products", "give a dozen of them, small and large")

Floats = npt.NDArray[np.float64]
_SIZES = ("m", "n", "k", "seconds")
_START_S = 10e-6
"""Prior of a product's own start-up when it is timed alone: launch and synchronisation included."""


@dataclass(frozen=True)
class Product:
    """One timed product of an m×k and a k×n matrix."""

    m: float
    n: float
    k: float
    precision: str
    seconds: float


def read_products(path: Path) -> list[Product]:
    """Return the products of a CSV file.

    Raises
    ------
    InputError
        No such file, missing columns, values that are no numbers above zero; every one with its line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines = [dict(line) for line in reader]
            header = [str(name).strip() for name in reader.fieldnames or []]
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or "it is no CSV text") from None
    problems = Problems()
    for column in _SIZES:
        if column not in header:
            problems.add(NO_COLUMN(file=str(path), name=column))
    problems.raise_if_any()
    products = []
    for place, line in enumerate(lines):
        values = []
        for column in _SIZES:
            try:
                value = float(line[column])
            except (TypeError, ValueError):
                value = math.nan
            if not (value > 0 and math.isfinite(value)):
                problems.add(BAD_VALUE(file=str(path), line=place + 2, path=column, name=column, value=line[column]))
            values.append(value)
        products.append(Product(values[0], values[1], values[2], (line.get("precision") or "bf16").strip().lower(), values[3]))
    problems.raise_if_any()
    if len(products) < 3:
        raise TOO_FEW.error(file=str(path), count=len(products))
    return products


def fit_products(path: Path, accelerator: str | None, catalog: Catalog) -> Calibration:
    """Fit the products of a file for a catalog accelerator.

    Raises
    ------
    InputError
        The file is wrong, no accelerator is named, or it lacks a precision.
    """
    products = read_products(path)
    if not accelerator:
        raise NO_DEVICE.error(file=str(path))
    return fitted_products(
        products, catalog.accelerator(accelerator), f"hpcsim calibrate, {len(products)} matrix products of {path.name}", path.name
    )


def _peaks(products: Sequence[Product], entry: Accelerator) -> dict[str, str]:
    """Return the key of the peak table for each precision."""
    keys: dict[str, str] = {}
    for name in dict.fromkeys(product.precision for product in products):
        key = PRECISIONS[name].matmul if name in PRECISIONS else name
        if key not in entry.peak_flop_per_s:
            raise NO_PEAK.error(name=entry.id, precision=name, known=", ".join(entry.peak_flop_per_s))
        keys[name] = key
    return keys


@dataclass(frozen=True)
class _Terms:
    """What is fitted: the rates, one a precision, the share of the memory bandwidth where it is known, the start-up."""

    names: list[str]
    priors: Floats
    sigma: Floats
    limit: Floats
    units: list[str | None]


def _terms(keys: Mapping[str, str], entry: Accelerator) -> _Terms:
    peaks = {str(key): float(rate) for key, rate in entry.peak_flop_per_s.items()}
    best = {str(key): float(rate) for key, rate in entry.measured_matmul_flop_per_s.items()}
    device = Device(entry.id, entry.category, peaks, 1.0, 1.0, best)
    share = DEVICE_CLASSES.get(entry.category, DEVICE_CLASSES["gpu"]).memory_frac
    rows: list[tuple[str, float, float, float, str | None]] = []
    for name, key in keys.items():
        rate = float(device.sustained(key))
        rows.append((f"matrix products, {name}", rate, 0.5, max(math.log(peaks[key] / rate), 0.0), "FLOP/s"))
    if entry.memory_bytes_per_s:
        rows.append(("memory bandwidth", share, 0.3, math.log(1.0 / share), None))
    rows.append(("start-up of a product timed alone", _START_S, 1.5, 6.0, "s"))
    names, priors, sigma, limit, units = zip(*rows, strict=True)
    return _Terms(list(names), np.array(priors), np.array(sigma), np.array(limit), list(units))


def _element_bytes(precision: str) -> float:
    if precision in PRECISIONS:
        return PRECISIONS[precision].input_bytes
    return 8.0 if precision == "fp64" else 4.0


def _predictor(products: Sequence[Product], order: list[str], terms: _Terms, entry: Accelerator) -> Predict:
    m, n, k = (np.array([getattr(p, axis) for p in products]) for axis in ("m", "n", "k"))
    which = np.array([order.index(p.precision) for p in products])
    size = np.array([_element_bytes(p.precision) for p in products])
    units = (entry.compute_units or 0) if entry.category == "gpu" else 0

    def predict(x: Floats) -> Floats:
        values = terms.priors * np.exp(x)
        width = entry.memory_bytes_per_s * values[len(order)] if entry.memory_bytes_per_s else 1e30
        times = gemm_s(
            m,
            n,
            k,
            flop_per_s=values[: len(order)][which],
            bytes_per_s=width,
            compute_units=units,
            input_bytes=size,
            output_bytes=np.maximum(size, 2.0),
            kernel_s=values[-1],
        )
        return np.asarray(np.log(times))

    return predict


def fitted_products(products: Sequence[Product], entry: Accelerator, source: str, file: str) -> Calibration:
    """Fit t = t₀ + max(FLOP/rate, bytes/(bandwidth·share)) to timed products, one rate a precision.

    t₀ is that of a product timed alone, with launch and synchronisation; it is fitted and not written, since a training loop hides it.
    """
    from hpcsim.study.calibrate import Calibration, results_of_fit

    keys = _peaks(products, entry)
    order, terms = list(keys), _terms(keys, entry)
    predict = _predictor(products, order, terms, entry)
    measured = np.log([p.seconds for p in products])
    fit = maximum_a_posteriori(predict, measured, terms.sigma, terms.limit, noise=NOISE, rounds=40)
    others = left_out(fit, measured, terms.sigma, terms.limit)
    values = terms.priors * np.exp(fit.x)
    rows = {
        "term": terms.names,
        "entry": [entry.id] * len(terms.names),
        "prior": terms.priors,
        "fitted": values,
        "unit": terms.units,
        "prior_sigma": terms.sigma,
        "posterior_sigma": fit.sigma,
    }
    cases = {
        "id": [f"{p.m:g}×{p.k:g}×{p.n:g} {p.precision}" for p in products],
        "measured_s": np.exp(measured),
        "raw_s": np.exp(predict(np.zeros(len(values)))),
        "fitted_s": np.exp(fit.predicted),
        "left_out_s": np.exp(np.array([predict(others[row])[row] for row in range(len(products))])),
    }
    fields: dict[str, Any] = {"matmul": {keys[name]: readable(float(values[i]), "compute rate", 4) for i, name in enumerate(order)}}
    if entry.memory_bytes_per_s:
        fields["memory_efficiency"] = float(f"{values[len(order)]:.4g}")
    note = f"A product timed alone takes {readable(float(values[-1]), 'time', 3)} to start; that is not written, a training loop hides most of it."
    return Calibration(results_of_fit(rows, cases, file, [note]), overlay_of(entry.id, fields, source))


def measured_sources(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the source of each value of an overlay's entry, item by item where a field is a map."""
    names = [f"{key}.{item}" for key, value in fields.items() if isinstance(value, Mapping) for item in value]
    names += [key for key, value in fields.items() if not isinstance(value, Mapping)]
    return dict.fromkeys(names, "measured @calibration")


def overlay_of(name: str, fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the overlay of one accelerator's measured fields."""
    return {
        "references": {"calibration": source},
        "accelerators": {name: {**fields, "sources": measured_sources(fields)}},
    }
