"""Values of a scenario in a reader's words: exactly, or roughly."""

from __future__ import annotations

import math
import re
from typing import Any

from hpcsim.base.errors import InputError
from hpcsim.base.units import DIMENSIONS, parse_quantity, readable

__all__ = ["exactly", "roughly"]


def exactly(value: Any) -> str:
    """Return a value as a reader writes it: quantities in the unit of their size where that loses nothing, true and false in YAML's words.

    >>> exactly("3.3333333333333334e-08 USD/J"), exactly("0.0005 USD/s"), exactly("dgx-h100")
    ('0.12 USD/kWh', '1.8 USD/h', 'dgx-h100')
    """
    if isinstance(value, bool):
        return str(value).lower()
    number, _, unit = str(value).partition(" ")
    dimension = next((d.name for d in DIMENSIONS.values() if d.si == unit), None)
    if not isinstance(value, str) or dimension is None:
        return str(value)
    try:
        text = readable(float(number), dimension, 6)
        return text if math.isclose(parse_quantity(text, dimension), float(number), rel_tol=1e-12) else str(value)
    except (ValueError, InputError):
        return value


def roughly(value: Any) -> str:
    """Return a value in four digits, quantities in the unit of their size.

    >>> roughly("8873315.72481 s"), roughly("1.06969956927 USD/h"), roughly(0.847114638806), roughly(48)
    ('102.7 days', '1.07 USD/h', '0.8471', '48')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    match = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?) (\S.*)", value) if isinstance(value, str) else None
    if match is None:
        return exactly(value)
    dimension = next((d.name for d in DIMENSIONS.values() if d.si == match[2]), None)
    return readable(float(match[1]), dimension, 4) if dimension else f"{float(match[1]):.4g} {match[2]}"
