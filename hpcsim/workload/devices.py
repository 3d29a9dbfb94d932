"""A node group's accelerator as the cost formulas of training take it."""

from __future__ import annotations

import math

from hpcsim.base.errors import InputError, problem_kind
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


def cost_device(group: NodeGroup, catalog: Catalog) -> Device:
    """Return a node group's accelerator as the cost formulas take it.

    What nobody measured of it is taken from its architecture: the year its kernels had to ripen from, and the share of the peak that a
    sibling sustains; the range is then wider. The share is of the scenario's peak where that is changed.

    Raises
    ------
    InputError
        Without memory or bandwidth, as for a bare processor.
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
        peaks = {str(key): rate for key, rate in entry.peak_flop_per_s.items()}
        kept = {key: rate * (a.peak_flop_per_s.get(key, 0.0) / peaks[key]) for key, rate in rates.items() if key in peaks}
        own = {key for key, rate in sustained.items() if not math.isclose(rate, kept.get(key, rates.get(key, 0.0)), rel_tol=1e-12)}
        measured = measured and (known or bool(own))
        sustained = sustained or kept
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
