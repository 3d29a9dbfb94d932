"""Published and predicted amounts in words."""

from __future__ import annotations

import math

from hpcsim.base.units import DIMENSIONS, readable
from hpcsim.results.quantities import SUMMARY, label, quantity, show

__all__ = ["amount", "change", "deviation", "fact", "named"]

_BY_UNIT = {dimension.si: key for key, dimension in DIMENSIONS.items()}


def deviation(ratio: float) -> str:
    """Return in words how far a prediction is from what was published.

    >>> deviation(1.034), deviation(0.5), deviation(2.5)
    ('3.4 % above', '50 % below', '2.5 times as high')
    """
    if ratio >= 2:
        return f"{ratio:.3g} times as high"
    off = 100 * (ratio - 1)
    if abs(off) < 0.05:
        return "equal to 0.1 %"
    return f"{abs(off):.2g} % {'above' if off > 0 else 'below'}"


def named(metric: str) -> str:
    """Return what is compared in words: the label of a summary key, other text as it is.

    >>> named("wall_clock_s"), named("accelerator time")
    ('wall clock', 'accelerator time')
    """
    return label(metric) if metric in SUMMARY else metric


def amount(value: float, unit: object, *, metric: str = "") -> str:
    """Return a value with its unit: scaled where ``metric`` is a summary key in its own unit, else as it is.

    >>> amount(1082990.0, "GPU h"), amount(10_108_800.0, "s", metric="wall_clock_s")
    ('1,082,990 GPU h', '117 days')
    """
    if value != value:
        return "–"
    if metric in SUMMARY and (quantity(metric).unit or None) == (unit if isinstance(unit, str) and unit else None):
        return show(metric, value)
    whole = abs(value) >= 1000 or value == int(value)
    text = f"{value:,.0f}" if whole and abs(value) < 1e15 else f"{value:.4g}"
    return f"{text} {unit}" if isinstance(unit, str) and unit and unit != "1" else text


def fact(value: object, unit: object) -> str:
    """Return the text of a fact of the catalog for a reader: a number scaled to its unit, other text as it is.

    >>> fact("25000000000", "B/s"), fact("1e-06", "s"), fact("1.5833333e-08", "kg/J"), fact("hbm3", "")
    ('25 GB/s', '1 µs', '57 g/kWh', 'hbm3')
    """
    unit_text = unit if isinstance(unit, str) else ""
    text = value if isinstance(value, str) else ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and unit_text in _BY_UNIT:
        return readable(number, _BY_UNIT[unit_text])
    return f"{text} {unit_text}".strip()


def change(published: float, predicted: float, unit: object, *, metric: str = "") -> str:
    """Return both values side by side, the unit once where they have the same.

    >>> change(1.0, 2.0, "t")
    '1 → 2 t'
    """
    before, after = amount(published, unit, metric=metric), amount(predicted, unit, metric=metric)
    common = f" {before.partition(' ')[2]}" if " " in before else ""
    return f"{before.removesuffix(common) if common and after.endswith(common) else before} → {after}"
