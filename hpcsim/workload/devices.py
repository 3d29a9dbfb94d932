"""A node group's accelerator as the cost formulas of training take it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.architecture import ASSUMED_RATE_SIGMA, architecture_year, known_rates
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import NodeGroup
from hpcsim.cost.compute import Device

__all__ = ["cost_device"]

NO_MEMORY = problem_kind(
    "device-without-memory",
    "{name} is no device that trains a network: its own memory is not known",
    "choose a GPU or TPU, or add {path}.accelerator.memory",
)
ABOVE_PEAK = problem_kind(
    "rate-above-peak",
    "matrix products are to run at {rate}, above the peak of {peak}",
    "correct one of them, or leave matmul out: the share of the peak is then the catalog's",
)


def _below_peak(sustained: Mapping[str, float], peaks: Mapping[str, float], path: str) -> None:
    """Refuse a sustained rate that no device reaches: one above its peak."""
    problems = Problems()
    for key, rate in sustained.items():
        peak = peaks.get(key, math.inf)
        if rate > peak:
            given, most = readable(rate, "compute rate", 4), readable(peak, "compute rate", 4)
            problems.add(ABOVE_PEAK(path=f"{path}.accelerator.matmul.{key}", rate=given, peak=most))
    problems.raise_if_any()


def cost_device(group: NodeGroup, catalog: Catalog) -> Device:
    """Return a node group's accelerator as the cost formulas take it.

    What nobody measured of it is taken from its architecture: the year its kernels had to ripen from, and the share of the peak that a
    sibling sustains; the range is then wider. A scenario that changes a peak rate and not the sustained one keeps the share of the peak
    that the catalog's device sustains.

    Raises
    ------
    InputError
        Without memory or bandwidth, as for a bare processor; a sustained rate above the peak.
    """
    a = group.accelerator
    if a is None or a.memory_bytes is None:
        raise NO_MEMORY.error(path=group.path, name=a.id if a else group.name)
    year, sustained, measured = float(a.year or 0.0), dict(a.matmul_flop_per_s), bool(a.matmul_flop_per_s)
    try:
        entry = catalog.accelerator(a.id)
    except InputError:
        pass
    else:
        year = architecture_year(entry, catalog)
        rates, known = known_rates(entry, catalog)
        measured = measured and (known or sustained != rates)
        peaks = {str(key): rate for key, rate in entry.peak_flop_per_s.items()}
        kept = {key: rate * a.peak_flop_per_s.get(key, 0.0) / peaks[key] for key, rate in rates.items() if key in peaks}
        sustained = {key: kept.get(key, rate) if rate == rates.get(key) else rate for key, rate in sustained.items()} if sustained else kept
    _below_peak(sustained, a.peak_flop_per_s, group.path)
    return Device(
        name=a.id,
        category=a.category or "gpu",
        peak_flop_per_s=dict(a.peak_flop_per_s),
        memory_bytes=float(a.memory_bytes),
        memory_bytes_per_s=float(group.need("accelerator.memory_bytes_per_s")),
        sustained_flop_per_s={key: rate for key, rate in sustained.items() if rate > 0},
        compute_units=(a.compute_units or 0) if a.category == "gpu" else 0,
        year=year,
        doubt_sigma=0.0 if measured else ASSUMED_RATE_SIGMA,
    )
