"""What devices of one architecture share: the year in which it shipped, and matrix rates where only a sibling's were measured."""

from __future__ import annotations

from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.lookup import Catalog

__all__ = ["ASSUMED_RATE_SIGMA", "NEWEST_SOFTWARE", "SOFTWARE_YEARS_AFTER", "architecture_year", "assumed_software_year", "known_rates"]

SOFTWARE_YEARS_AFTER, NEWEST_SOFTWARE = 3, 2026
"""Software nobody dates is taken to be so many years younger than its device's architecture, and no newer than this."""
_LEAST_SOFTWARE = 2024
"""Software of a run to come is not taken to be older."""

ASSUMED_RATE_SIGMA = 0.07
"""Spread of sustained over peak matrix rates between devices of one kind, for those whose rate nobody measured."""
_SAME_CHIP = "the same chip"
"""What the source of a derived rate says where another edition of one chip was measured."""
_SAME_PART_FRAC, _SAME_FAMILY_FRAC = 0.05, 0.12
"""How far the peaks of one maker's devices may lie apart: editions of one part, and clocks of one architecture."""


def _half_peak(entry: Accelerator) -> float:
    return float(entry.peak_flop_per_s.get("bf16") or entry.peak_flop_per_s.get("fp16") or 0.0)


def _siblings(entry: Accelerator, catalog: Catalog, within_frac: float) -> list[Accelerator]:
    """Return the devices of an entry's architecture, itself included: one maker's whose dense 16-bit peaks lie that close together."""
    peak = _half_peak(entry)
    if not peak:
        return [entry]
    every = [catalog.accelerator(name) for name in catalog.names("accelerator")]
    return [other for other in every if other.vendor == entry.vendor and abs(_half_peak(other) / peak - 1.0) <= within_frac]


def architecture_year(entry: Accelerator, catalog: Catalog) -> float:
    """Return the year in which the first device of an entry's architecture shipped; 0 where it is not known.

    A later edition with more memory runs the same kernels as the first.
    """
    years = [float(other.release_year) for other in _siblings(entry, catalog, _SAME_PART_FRAC) if other.release_year]
    return min(years, default=0.0)


def assumed_software_year(architecture: float) -> int:
    """Return the year of the software of a run to come where nobody says: three after the architecture shipped, from 2024 to 2026.

    >>> [assumed_software_year(year) for year in (2017, 2022, 2024, 0)]
    [2024, 2025, 2026, 2024]
    """
    return int(min(max(architecture + SOFTWARE_YEARS_AFTER, _LEAST_SOFTWARE), NEWEST_SOFTWARE))


def known_rates(entry: Accelerator, catalog: Catalog) -> tuple[dict[str, float], bool]:
    """Return the sustained matrix rates of a device, else its peaks times its nearest sibling's shares; and whether they were measured.

    Returns
    -------
    rates : dict of str to float
        By precision [FLOP/s]; empty where no sibling was measured either.
    measured : bool
        Of this device, or another edition of its chip.
    """
    own = {str(key): float(rate) for key, rate in entry.measured_matmul_flop_per_s.items()}
    if own:
        fact = entry.fact("matmul")
        return own, fact.kind != "derived" or _SAME_CHIP in fact.source
    near = [other for other in _siblings(entry, catalog, _SAME_FAMILY_FRAC) if other.measured_matmul_flop_per_s]
    if not near:
        return {}, False
    best = min(near, key=lambda other: abs(_half_peak(other) - _half_peak(entry)))
    shares = {str(key): float(rate) / best.peak_flop_per_s[key] for key, rate in best.measured_matmul_flop_per_s.items()}
    return {key: share * entry.peak_flop_per_s[key] for key, share in shares.items() if key in entry.peak_flop_per_s}, False
