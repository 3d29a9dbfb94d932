"""Quantities with units at the edge, SI floats inside.

The table of units is closed: what is not in it is refused, never guessed. Bits and bytes, SI and IEC prefixes are told apart by
their usual spelling (``Gbit`` or ``Gb`` is 1e9 bits, ``GB`` 1e9 bytes, ``GiB`` 2**30 bytes). Arithmetic is on exact fractions, so
that ``"0.1 GB/s"`` is the float nearest to 1e8 and a round trip through text is exact.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import numbers
import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hpcsim.base.errors import problem_kind

__all__ = ["DIMENSIONS", "Dimension", "exact_text", "markdown", "parse_count", "parse_fraction", "parse_quantity", "percent", "readable"]

UNITLESS = problem_kind("unitless-quantity", "{value!r} has no unit; {what} is needed", "write it with its unit, for example {example!r}")
WRONG_DIMENSION = problem_kind("wrong-dimension", "{value!r} is {got}, but {what} is needed", "for example {example!r}")
UNKNOWN_UNIT = problem_kind("unknown-unit", "unknown unit {unit!r} in {value!r}", "{near}")
NOT_A_QUANTITY = problem_kind("not-a-quantity", "{value!r} is not {what}", "for example {example!r}")
NOT_FINITE = problem_kind(
    "not-finite", "{value!r} is not a finite number that can be computed with", "give a finite value of sensible size"
)
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


class _Row(NamedTuple):
    """Units that differ in their name alone."""

    names: str
    factor: Fraction
    """Value of the first prefix-free name in SI units."""
    exponents: tuple[int, ...]
    prefixes: dict[str, Fraction]


_PLAIN = {"": Fraction(1)}
_ROWS: tuple[_Row, ...] = (
    _Row("B byte bytes", Fraction(1), _exps(byte=1), _SI | _IEC),
    _Row("b bit bits", Fraction(1, 8), _exps(byte=1), _SI | _IEC),
    _Row("Bps", Fraction(1), _exps(byte=1, s=-1), _SI | _IEC),
    _Row("bps", Fraction(1, 8), _exps(byte=1, s=-1), _SI | _IEC),
    _Row("s", Fraction(1), _exps(s=1), _PLAIN | _SMALL),
    _Row("sec second seconds", Fraction(1), _exps(s=1), _PLAIN),
    _Row("min minute minutes", Fraction(60), _exps(s=1), _PLAIN),
    _Row("h hr hour hours", Fraction(3600), _exps(s=1), _PLAIN),
    _Row("d day days", Fraction(86_400), _exps(s=1), _PLAIN),
    _Row("w week weeks", Fraction(7 * 86_400), _exps(s=1), _PLAIN),
    _Row("month months", Fraction(2_629_746), _exps(s=1), _PLAIN),
    _Row("a y yr year years", Fraction(31_556_952), _exps(s=1), _PLAIN),
    _Row("Hz", Fraction(1), _exps(s=-1), _BIG),
    _Row("FLOP flop FLOPs", Fraction(1), _exps(flop=1), _SI),
    _Row("FLOPS FLOPs/s flops", Fraction(1), _exps(flop=1, s=-1), _SI),
    _Row("W", Fraction(1), _exps(j=1, s=-1), _BIG | _SMALL),
    _Row("J", Fraction(1), _exps(j=1), _BIG | _SMALL),
    _Row("Wh", Fraction(3600), _exps(j=1), _BIG),
    _Row("USD $", Fraction(1), _exps(usd=1), _BIG),
    _Row("g gCO2 gCO2e", Fraction(1, 1000), _exps(kg=1), {p: _BIG[p] for p in ("", "k", "M", "G")} | {"m": Fraction(1, 1000)}),
    _Row("t tCO2 tCO2e tonne tonnes", Fraction(1000), _exps(kg=1), {p: _BIG[p] for p in ("", "k", "M")}),
    _Row("L l litre litres", Fraction(1), _exps(l=1), {p: _BIG[p] for p in ("", "k", "M")} | {"m": Fraction(1, 1000)}),
    _Row("m", Fraction(1), _exps(m=1), {p: _BIG[p] for p in ("", "k")}),
    _Row("1", Fraction(1), _exps(), _PLAIN),
)
_UNITS = {
    prefix + name: (scale * row.factor, row.exponents)
    for row in _ROWS
    for name in row.names.split()
    for prefix, scale in row.prefixes.items()
}
_NUMBER = r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*(\S.*)?")
_COUNT = re.compile(rf"({_NUMBER})\s*([kKMGBTPE]?)")
_PERCENT = re.compile(rf"({_NUMBER})\s*(%?)")
_SLURM_TIME = re.compile(
    r"(?:(?P<d>[0-9]+)-(?P<h>[0-9]+)(?::(?P<m>[0-9]+)(?::(?P<s>[0-9]+))?)?|(?P<a>[0-9]+):(?P<b>[0-9]+)(?::(?P<c>[0-9]+))?)"
)
_LONGEST = 600
"""Characters of a quantity: any longer text is a mistake, and matching it would cost time."""
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
    if result == 0 != number:
        raise NOT_FINITE.error(value=value)
    return result


def _slurm_seconds(match: re.Match[str]) -> Fraction:
    g = {k: int(v) if v else 0 for k, v in match.groupdict().items()}
    if match["d"] is not None:
        return Fraction(g["d"] * 86400 + g["h"] * 3600 + g["m"] * 60 + g["s"])
    if match["c"] is not None:
        return Fraction(g["a"] * 3600 + g["b"] * 60 + g["c"])
    return Fraction(g["a"] * 60 + g["b"])


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
    bare = text.strip()
    if len(bare) > _LONGEST:
        raise NOT_A_QUANTITY.error(value=text, what=what, example=want.example)
    if dimension == "time" and (slurm := _SLURM_TIME.fullmatch(bare)):
        return _to_float(_slurm_seconds(slurm), text)
    match = _QUANTITY.fullmatch(bare)
    if not match:
        if bare.lstrip("+-").lower() in {"nan", "inf", "infinity", ".nan", ".inf"}:
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
    if isinstance(text, numbers.Real) and not isinstance(text, bool):
        if isinstance(text, float) and not math.isfinite(text):
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
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if not math.isfinite(number):
            raise NOT_FINITE.error(value=value)
        if not number.is_integer():
            raise NOT_A_COUNT.error(value=value)
        return int(number)
    match = _COUNT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST else None
    if not match or _hopeless(match[1]):
        raise NOT_A_COUNT.error(value=value)
    exact = Fraction(match[1].replace("_", "")) * _COUNT_SUFFIX[match[2]]
    if exact.denominator != 1:
        raise NOT_A_COUNT.error(value=value)
    return int(exact)


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
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST else None
    if isinstance(value, str) and match and not _hopeless(match[1]):
        result = _to_float(Fraction(match[1].replace("_", "")) / (100 if match[2] else 1), value)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            result = float(value)
    if result is None or not math.isfinite(result) or not low <= result <= high:
        raise NOT_A_FRACTION.error(value=value, low=low, high=high)
    return result


def exact_text(value: float, dimension: str) -> str:
    """Return ``value`` as text that :func:`parse_quantity` reads back to the same float.

    >>> exact_text(5e10, "data rate")
    '50000000000.0 B/s'
    """
    return f"{float(value)!r} {DIMENSIONS[dimension].si}"


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
    if dimension == "price of data":
        return f"{value * 1e9:,.4g} USD/GB"
    if dimension == "price of storage":
        return f"{value * 1e9 * 2_629_746:,.4g} USD/GB/month"
    if dimension == "water intensity":
        return f"{value * 3.6e6:,.4g} L/kWh"
    table = _READABLE.get(dimension)
    if not table:
        return f"{value:,.{digits}g} {DIMENSIONS[dimension].si}"
    size = abs(value)
    threshold, unit = next((row for row in table if size >= row[0]), table[-1])
    scaled = value / _SCALE.get(unit, threshold)
    if size == 0:
        unit, scaled = DIMENSIONS[dimension].si, 0.0
    text = f"{scaled:,.{digits}g}"
    if "e" in text and abs(scaled) >= 1:
        text = f"{scaled:,.0f}"
    return f"{text} {unit}"


def percent(share: float, digits: int = 0) -> str:
    """Return a share for a reader in per cent: whole, or with ``digits`` significant digits.

    >>> percent(0.4567), percent(0.4567, 3)
    ('46 %', '45.7 %')
    """
    return f"{100.0 * share:.{digits}g} %" if digits else f"{100.0 * share:.0f} %"


def _prefix_text(prefixes: dict[str, Fraction]) -> str:
    names = [p for p in prefixes if p]
    if not names:
        return "–"
    return " ".join(sorted(names, key=lambda p: (p in _IEC, prefixes[p], p)))


def _si_text(exponents: tuple[int, ...]) -> str:
    names = zip(("B", "s", "J", "USD", "kg", "FLOP", "L", "m"), exponents, strict=True)
    alone = " ".join(name for name, power in names if power == 1)
    return next((d.si for d in DIMENSIONS.values() if d.exponents == exponents), alone)


def markdown() -> str:
    """Return the reference page of quantities, generated from the tables of this module."""
    lines = [
        "# Quantities and units",
        "",
        "Generated from `hpcsim/base/units.py`. Every dimensional quantity of a scenario is text with its unit; the table of units is",
        "closed, and what is not in it is refused. Inside, and in every result, values are floats in the SI unit below.",
        "",
        "## Dimensions",
        "",
        "| dimension | SI unit | example |",
        "|---|---|---|",
    ]
    lines += [f"| {d.name} | {d.si} | `{d.example}` |" for d in DIMENSIONS.values()]
    lines += ["", "## Units", "", "Units of one row mean the same. A prefix is written directly before the unit.", ""]
    lines += ["| units | value in SI | prefixes |", "|---|---|---|"]
    for row in _ROWS:
        value = f"{float(row.factor):.12g} {_si_text(row.exponents)}".strip()
        lines.append(f"| {' '.join(f'`{name}`' for name in row.names.split())} | {value} | {_prefix_text(row.prefixes)} |")
    lines += [
        "",
        "Units combine by division from left to right: `USD/GB/month` is money per data size and per time. A year is 365.2425 days, a",
        "month its twelfth, a week seven days.",
        "",
        "## Prefixes",
        "",
        "| prefix | factor |",
        "|---|---|",
    ]
    lines += [f"| {' '.join(f'`{p}`' for p in group)} | {text} |" for group, text in _prefix_rows()]
    lines += [
        "",
        "## Other forms",
        "",
        "- A time may be written as the batch system Slurm does: `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.",
        "- A count is a plain whole number (`366e9`) or takes a suffix: "
        + ", ".join(f"`{s}` {float(f):g}" for s, f in _COUNT_SUFFIX.items() if s)
        + ".",
        "- A share is a plain number (`0.85`) or a percentage (`85 %`).",
        "- Digits are 0 to 9, with `_` between them where that helps the eye (`1_000`), a point for decimals, and `e` for powers of ten.",
        "- Not finite, beyond the range of a double, or without a unit: refused.",
    ]
    return "\n".join(lines) + "\n"


def _prefix_rows() -> list[tuple[list[str], str]]:
    rows: dict[Fraction, list[str]] = {}
    for prefix, factor in (_SMALL | _BIG | {"K": _SI["K"]} | _IEC).items():
        if prefix:
            rows.setdefault(factor, []).append(prefix)
    texts = {
        factor: f"2^{(factor.numerator.bit_length() - 1)}" if set(names) & set(_IEC) else f"{float(factor):g}"
        for factor, names in rows.items()
    }
    return [(rows[factor], texts[factor]) for factor in sorted(rows)]
