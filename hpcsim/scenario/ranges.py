"""Ranges of values in one text: ``24..96:24``, ``log:1 GB/s..100 GB/s:5``, ``0.1..0.9``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hpcsim.base.errors import problem_kind

__all__ = ["Range", "is_range", "parse_range"]

BAD_RANGE = problem_kind(
    "bad-range", "{text!r} is no range: {why}", "write a..b:step, lin:a..b:n, log:a..b:n, or a..b where a design or distribution fills it"
)

_MOST_VALUES = 1_000_000
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?:(log|lin):)?\s*({_NUMBER})\s*([^\d.:]*?)\s*\.\.\s*({_NUMBER})\s*([^\d.:]*?)\s*(?::\s*(\S.*))?\s*\Z")


def is_range(value: object) -> bool:
    """Return whether a value is text that is meant as a range."""
    return isinstance(value, str) and bool(re.match(rf"\s*(?:(?:log|lin):|{_NUMBER}[^.]*\.\.)", value)) and ".." in value


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, with one unit.

    Attributes
    ----------
    low, high : Decimal
        As written.
    unit : str
        Text behind every number; empty for plain numbers.
    step : Decimal or None
        Distance of neighbours.
    count : int or None
        Number of values, evenly or, with ``log``, geometrically spaced.
    log : bool
        Whether equal ratios take the place of equal distances.
    """

    low: Decimal
    high: Decimal
    unit: str
    step: Decimal | None = None
    count: int | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers: there is no unit, and both ends, and the step where there is one, are written as such."""
        return not self.unit and all(_is_whole(x) for x in (self.low, self.high, self.step) if x is not None)

    @property
    def bounded(self) -> bool:
        """Whether it names single values, not only its ends."""
        return self.step is not None or self.count is not None

    def values(self) -> tuple[Any, ...]:
        """Return the values: numbers, or text with the unit."""
        if self.step is not None:
            number = int((self.high - self.low) / self.step) + 1
            return tuple(self._written(self.low + k * self.step) for k in range(number))
        if self.count is None:
            return (self._written(self.low), self._written(self.high))
        places = [k / max(self.count - 1, 1) for k in range(self.count)]
        return tuple(dict.fromkeys(self.at(u) for u in places))

    def at(self, share: float, *, spread: bool = False) -> Any:
        """Return the value at a share of 0 to 1 of the range; ``spread`` gives every whole number an equal part of it."""
        low, high = float(self.low), float(self.high)
        if self.whole and spread and not self.log:
            return self._written(Decimal(min(int(low + share * (high - low + 1)), int(high))))
        number = low * (high / low) ** share if self.log else low + share * (high - low)
        if self.whole:
            return self._written(Decimal(round(number)))
        return self._written(Decimal(f"{number:.12g}"))

    def _written(self, number: Decimal) -> Any:
        if self.unit:
            return f"{int(number) if number == int(number) else float(number)} {self.unit}"
        return int(number) if self.whole else float(number)


def _is_whole(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= 0


def parse_range(text: str) -> Range:
    """Read a range.

    Examples
    --------
    >>> parse_range("24..96:24").values()
    (24, 48, 72, 96)
    >>> parse_range("log:1..100 GB/s:3").values()
    ('1 GB/s', '10 GB/s', '100 GB/s')

    Raises
    ------
    InputError
        It is none, or it has no values.
    """
    match = _RANGE.match(text.strip())
    if match is None:
        raise BAD_RANGE.error(text=text, why="two numbers with '..' between are needed")
    kind, a, unit_a, b, unit_b, rest = match.groups()
    low, high = Decimal(a), Decimal(b)
    if unit_a and unit_b and unit_a != unit_b:
        raise BAD_RANGE.error(text=text, why=f"its ends are in {unit_a} and {unit_b}; write both in one unit")
    unit = unit_b or unit_a
    if not low < high:
        raise BAD_RANGE.error(text=text, why="its first number is not below the second")
    if kind == "log" and low <= 0:
        raise BAD_RANGE.error(text=text, why="a log range begins above zero")
    if kind is not None:
        count = None if rest is None else _count(text, rest)
        return Range(low, high, unit, count=count, log=kind == "log")
    step = None if rest is None else _step(text, rest, unit, high - low)
    return Range(low, high, unit, step=step)


def _count(text: str, rest: str) -> int:
    if not re.fullmatch(r"\d{1,7}", rest) or not 2 <= int(rest) <= _MOST_VALUES:
        raise BAD_RANGE.error(text=text, why=f"{rest!r} is no number of values from 2 to {_MOST_VALUES:,}")
    return int(rest)


def _step(text: str, rest: str, unit: str, span: Decimal) -> Decimal:
    match = re.fullmatch(rf"({_NUMBER})\s*(.*)", rest)
    step = Decimal(match[1]) if match else Decimal(0)
    if match is None or not step > 0 or (match[2] and match[2] != unit):
        raise BAD_RANGE.error(text=text, why=f"{rest!r} is no step above zero in the unit of the ends")
    if not math.isfinite(float(span / step)) or span / step > _MOST_VALUES:
        raise BAD_RANGE.error(text=text, why=f"it has more than {_MOST_VALUES:,} values")
    return step
