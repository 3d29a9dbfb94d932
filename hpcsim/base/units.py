"""Quantities with units at the edge, SI floats inside.

The table of units is closed: what is not in it is refused, never guessed. Bits and bytes, SI and IEC prefixes are told apart by
their usual spelling (``Gbit`` or ``Gb`` is 1e9 bits, ``GB`` 1e9 bytes, ``GiB`` 2**30 bytes). Arithmetic is on exact fractions, so
that ``"0.1 GB/s"`` is the float nearest to 1e8 and a round trip through text is exact.
"""

from __future__ import annotations

import difflib
import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hpcsim.base.errors import problem_kind

__all__ = ["DIMENSIONS", "Dimension", "exact_text", "parse_count", "parse_fraction", "parse_quantity", "readable"]

UNITLESS = problem_kind("unitless-quantity", "{value!r} has no unit; {what} is needed", "write it with its unit, for example {example!r}")
WRONG_DIMENSION = problem_kind("wrong-dimension", "{value!r} is {got}, but {what} is needed", "for example {example!r}")
UNKNOWN_UNIT = problem_kind("unknown-unit", "unknown unit {unit!r} in {value!r}", "{near}")
NOT_A_QUANTITY = problem_kind("not-a-quantity", "{value!r} is not {what}", "for example {example!r}")
NOT_FINITE = problem_kind("not-finite", "{value!r} is not a finite number", "give a finite value")
NOT_A_COUNT = problem_kind(
    "not-a-count", "{value!r} is not a whole number", "a plain number or one with an SI suffix, such as 366e9 or '366 G'"
)
NOT_A_FRACTION = problem_kind(
    "not-a-fraction", "{value!r} is not a number from {low:g} to {high:g}", "a plain number or a percentage, such as 0.85 or '85 %'"
)


class Dimension(NamedTuple):
    """A physical dimension that scenarios use."""

    name: str
    si: str
    """Unit symbol of the SI float that is kept inside; :func:`parse_quantity` reads it back."""
    example: str
    exponents: tuple[int, ...]
    """Powers of byte, second, joule, dollar, kilogram, FLOP, litre, metre."""


def _exps(**powers: int) -> tuple[int, ...]:
    return tuple(powers.get(base, 0) for base in ("byte", "s", "j", "usd", "kg", "flop", "l", "m"))


DIMENSIONS: dict[str, Dimension] = {
    d.name: d
    for d in (
        Dimension("data size", "B", "80 GB", _exps(byte=1)),
        Dimension("data rate", "B/s", "400 Gbit/s", _exps(byte=1, s=-1)),
        Dimension("time", "s", "3 h", _exps(s=1)),
        Dimension("frequency", "1/s", "1.4 GHz", _exps(s=-1)),
        Dimension("work", "FLOP", "1 PFLOP", _exps(flop=1)),
        Dimension("compute rate", "FLOP/s", "312 TFLOP/s", _exps(flop=1, s=-1)),
        Dimension("power", "W", "700 W", _exps(j=1, s=-1)),
        Dimension("energy", "J", "25 MWh", _exps(j=1)),
        Dimension("money", "USD", "300 kUSD", _exps(usd=1)),
        Dimension("price per time", "USD/s", "2.5 USD/h", _exps(usd=1, s=-1)),
        Dimension("price of energy", "USD/J", "0.12 USD/kWh", _exps(usd=1, j=-1)),
        Dimension("price of data", "USD/B", "0.09 USD/GB", _exps(usd=1, byte=-1)),
        Dimension("price of storage", "USD/B/s", "0.02 USD/GB/month", _exps(usd=1, byte=-1, s=-1)),
        Dimension("carbon mass", "kg", "150 kg", _exps(kg=1)),
        Dimension("carbon intensity", "kg/J", "57 g/kWh", _exps(kg=1, j=-1)),
        Dimension("water intensity", "L/J", "1.8 L/kWh", _exps(l=1, j=-1)),
        Dimension("length", "m", "80 km", _exps(m=1)),
    )
}

_SI = {
    "": Fraction(1),
    "k": Fraction(10**3),
    "K": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Z": Fraction(10**21),
}
_IEC = {f"{p}i": Fraction(1024) ** n for n, p in enumerate("KMGTPE", start=1)} | {"ki": Fraction(1024)}
_SMALL = {"m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "µ": Fraction(1, 10**6), "μ": Fraction(1, 10**6), "n": Fraction(1, 10**9)}
_BIG = {p: f for p, f in _SI.items() if p != "K"}


def _unit_table() -> dict[str, tuple[Fraction, tuple[int, ...]]]:
    table: dict[str, tuple[Fraction, tuple[int, ...]]] = {}

    def put(names: str, factor: Fraction | int, exponents: tuple[int, ...], prefixes: dict[str, Fraction] | None = None) -> None:
        for name in names.split():
            for prefix, scale in (prefixes or {"": Fraction(1)}).items():
                table[prefix + name] = (scale * factor, exponents)

    byte, second, joule, watt = _exps(byte=1), _exps(s=1), _exps(j=1), _exps(j=1, s=-1)
    byte_rate = _exps(byte=1, s=-1)
    put("B byte bytes", 1, byte, _SI | _IEC)
    put("b bit bits", Fraction(1, 8), byte, _SI | _IEC)
    put("Bps", 1, byte_rate, _SI | _IEC)
    put("bps", Fraction(1, 8), byte_rate, _SI | _IEC)
    put("s sec second seconds", 1, second)
    put("s", 1, second, _SMALL)
    for names, length in (
        ("min minute minutes", 60),
        ("h hr hour hours", 3600),
        ("d day days", 86400),
        ("w week weeks", 7 * 86400),
        ("month months", 2_629_746),
        ("a y yr year years", 31_556_952),
    ):
        put(names, length, second)
    put("Hz", 1, _exps(s=-1), _BIG)
    put("FLOP flop", 1, _exps(flop=1), _SI)
    put("FLOPS FLOPs/s flops", 1, _exps(flop=1, s=-1), _SI)
    put("FLOPs", 1, _exps(flop=1), _SI)
    put("W", 1, watt, _BIG | _SMALL)
    put("J", 1, joule, _BIG | _SMALL)
    put("Wh", 3600, joule, _BIG)
    put("USD $", 1, _exps(usd=1), _BIG)
    put("g gCO2 gCO2e", Fraction(1, 1000), _exps(kg=1), {p: _BIG[p] for p in ("", "k", "M", "G")} | {"m": Fraction(1, 1000)})
    put("t tCO2 tCO2e tonne tonnes", 1000, _exps(kg=1), {p: _BIG[p] for p in ("", "k", "M")})
    put("L l litre litres", 1, _exps(l=1), {p: _BIG[p] for p in ("", "k", "M")} | {"m": Fraction(1, 1000)})
    put("m", 1, _exps(m=1), {"": Fraction(1), "k": Fraction(1000)})
    put("1", 1, _exps())
    return table


_UNITS = _unit_table()
_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_QUANTITY = re.compile(rf"^\s*({_NUMBER})\s*(\S.*?)?\s*$")
_SLURM_TIME = re.compile(r"^\s*(?:(?P<d>\d+)-(?P<h>\d+)(?::(?P<m>\d+)(?::(?P<s>\d+))?)?|(?P<a>\d+):(?P<b>\d+)(?::(?P<c>\d+))?)\s*$")
_COUNT_SUFFIX = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}


def _unit(text: str, value: str) -> tuple[Fraction, tuple[int, ...]]:
    if text in _UNITS:
        return _UNITS[text]
    factor, exponents = Fraction(1), _exps()
    for i, part in enumerate(text.split("/")):
        name = part.strip()
        if name not in _UNITS:
            near = difflib.get_close_matches(name, _UNITS, 3, 0.5) or [u for u in _UNITS if u.lower() == name.lower()][:3]
            near = [u for u in _UNITS if u.lower() == name.lower() and u not in near][:2] + near
            hint = "did you mean " + " or ".join(map(repr, near[:3])) + "?" if near else "see the table of units in the reference"
            raise UNKNOWN_UNIT.error(unit=name, value=value, near=hint)
        f, e = _UNITS[name]
        sign = 1 if i == 0 else -1
        factor *= f**sign
        exponents = tuple(a + sign * b for a, b in zip(exponents, e, strict=True))
    return factor, exponents


def _to_float(number: Fraction, value: object) -> float:
    try:
        result = float(number)
    except OverflowError:
        raise NOT_FINITE.error(value=value) from None
    return result


def _slurm_seconds(match: re.Match[str]) -> float:
    g = {k: int(v) if v else 0 for k, v in match.groupdict().items()}
    if match["d"] is not None:
        return float(g["d"] * 86400 + g["h"] * 3600 + g["m"] * 60 + g["s"])
    if match["c"] is not None:
        return float(g["a"] * 3600 + g["b"] * 60 + g["c"])
    return float(g["a"] * 60 + g["b"])


def _named(dimension: Dimension) -> str:
    if dimension.name == "money":
        return "an amount of money"
    return f"{'an' if dimension.name[0] in 'aeiou' else 'a'} {dimension.name}"


def _hopeless(number: str) -> bool:
    exponent = re.search(r"[eE]([-+]?\d+)$", number)
    return len(number) > 400 or (exponent is not None and (len(exponent[1]) > 4 or abs(int(exponent[1])) > 400))


@lru_cache(maxsize=4096)
def _parse(text: str, dimension: str) -> float:
    want = DIMENSIONS[dimension]
    what = _named(want)
    if dimension == "time" and (slurm := _SLURM_TIME.match(text)):
        return _slurm_seconds(slurm)
    match = _QUANTITY.match(text)
    if not match:
        if text.strip().lstrip("+-").lower() in {"nan", "inf", "infinity", ".nan", ".inf"}:
            raise NOT_FINITE.error(value=text)
        raise NOT_A_QUANTITY.error(value=text, what=what, example=want.example)
    number, unit = match.groups()
    if _hopeless(number):
        raise NOT_FINITE.error(value=text)
    if not unit:
        raise UNITLESS.error(value=text, what=what, example=want.example)
    factor, exponents = _unit(unit, text)
    if exponents != want.exponents:
        got = next((_named(d) for d in DIMENSIONS.values() if d.exponents == exponents), "of another kind")
        raise WRONG_DIMENSION.error(value=text, got=got, what=what, example=want.example)
    return _to_float(Fraction(number.replace("_", "")) * factor, text)


def parse_quantity(text: object, dimension: str) -> float:
    """Read a quantity with its unit.

    Parameters
    ----------
    text : str
        Number and unit, such as ``"400 Gbit/s"``, ``"57 g/kWh"`` or, for a time, Slurm's ``"1-12:00:00"``.
    dimension : str
        Key of :data:`DIMENSIONS`.

    Returns
    -------
    float
        The value in the dimension's SI unit.

    Raises
    ------
    InputError
        Unitless, of the wrong dimension, an unknown unit, or not a finite number.

    Examples
    --------
    >>> parse_quantity("400 Gbit/s", "data rate")
    50000000000.0
    >>> parse_quantity("1-12:00:00", "time")
    129600.0
    """
    if isinstance(text, str):
        return _parse(text, dimension)
    want = DIMENSIONS[dimension]
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        if not math.isfinite(text):
            raise NOT_FINITE.error(value=text)
        raise UNITLESS.error(value=text, what=_named(want), example=want.example)
    raise NOT_A_QUANTITY.error(value=text, what=_named(want), example=want.example)


def parse_count(value: object) -> int:
    """Read a count: a whole number, plain (``366e9``) or with an SI suffix (``"366 G"``; ``B`` counts as G).

    Raises
    ------
    InputError
        Not a number, not whole, or not finite.

    Examples
    --------
    >>> parse_count("366 G"), parse_count(366e9)
    (366000000000, 366000000000)
    """
    if isinstance(value, bool):
        raise NOT_A_COUNT.error(value=value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NOT_FINITE.error(value=value)
        if value != int(value):
            raise NOT_A_COUNT.error(value=value)
        return int(value)
    match = re.match(rf"^\s*({_NUMBER})\s*([kKMGBTPE]?)\s*$", value) if isinstance(value, str) else None
    if not match or _hopeless(match[1]):
        raise NOT_A_COUNT.error(value=value)
    number = Fraction(match[1].replace("_", "")) * _COUNT_SUFFIX[match[2]]
    if number.denominator != 1:
        raise NOT_A_COUNT.error(value=value)
    return int(number)


def parse_fraction(value: object, low: float = 0.0, high: float = 1.0) -> float:
    """Read a dimensionless share, as a number or with ``%``.

    Raises
    ------
    InputError
        Not a number, or outside ``low`` … ``high``.

    Examples
    --------
    >>> parse_fraction("85 %")
    0.85
    """
    result: float | None = None
    if isinstance(value, str) and (match := re.match(rf"^\s*({_NUMBER})\s*(%?)\s*$", value)) and not _hopeless(match[1]):
        result = _to_float(Fraction(match[1].replace("_", "")) / (100 if match[2] else 1), value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = float(value)
    if result is None or not math.isfinite(result) or not low <= result <= high:
        raise NOT_A_FRACTION.error(value=value, low=low, high=high)
    return result


def exact_text(value: float, dimension: str) -> str:
    """Return ``value`` as text that :func:`parse_quantity` reads back to the same float.

    >>> exact_text(5e10, "data rate")
    '50000000000.0 B/s'
    """
    return f"{value!r} {DIMENSIONS[dimension].si}"


_READABLE: dict[str, list[tuple[float, str]]] = {
    "data size": [(1e18, "EB"), (1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")],
    "data rate": [(1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s")],
    "time": [(2 * 86400, "days"), (2 * 3600, "h"), (2 * 60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
    "work": [(1e21, "ZFLOP"), (1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1, "FLOP")],
    "compute rate": [(1e18, "EFLOP/s"), (1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1, "FLOP/s")],
    "power": [(1e9, "GW"), (1e6, "MW"), (1e3, "kW"), (1, "W")],
    "energy": [(3.6e12, "GWh"), (3.6e9, "MWh"), (3.6e6, "kWh"), (3.6e3, "Wh"), (1, "J")],
    "carbon mass": [(1e6, "kt"), (1e3, "t"), (1, "kg"), (1e-3, "g")],
}
_SCALE = {"days": 86400.0, "h": 3600.0, "min": 60.0}


def readable(value: float, dimension: str, digits: int = 4) -> str:
    """Return ``value`` for a reader: scaled, rounded to ``digits`` significant digits, with its unit.

    >>> readable(10109000.0, "time")
    '117 days'
    """
    if not math.isfinite(value):
        return "–"
    if dimension == "money":
        return f"{value:,.2f} USD" if abs(value) < 1000 else f"{value:,.0f} USD"
    if dimension == "price per time":
        return f"{value * 3600:,.4g} USD/h"
    if dimension == "carbon intensity":
        return f"{value * 3.6e9:,.4g} g/kWh"
    if dimension == "price of energy":
        return f"{value * 3.6e6:,.4g} USD/kWh"
    table = _READABLE.get(dimension)
    if not table:
        return f"{value:,.{digits}g} {DIMENSIONS[dimension].si}"
    size = abs(value)
    threshold, unit = next((row for row in table if size >= row[0]), table[-1])
    scaled = value / _SCALE.get(unit, threshold)
    if size == 0:
        unit, scaled = DIMENSIONS[dimension].si, 0.0
    text = f"{scaled:,.{digits}g}"
    if "e" in text:
        text = f"{scaled:,.0f}"
    return f"{text} {unit}"
