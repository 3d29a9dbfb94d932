"""Distributions of uncertain values, as a scenario writes them.

=========================================== ==================================================================================
``1.1..1.4``, ``{low: 1.1, high: 1.4}``     uniform; whole numbers where both ends are
``{low: 1, mode: 2, high: 5}``              triangular
``{normal: 10 MW, sd: 1 MW}``               normal; ``low`` and ``high`` cut it off
``{lognormal: 6000 h, factor: 2}``          log-normal: median, and the factor that 80 % of the values lie within, both ways
``{factor: 2}``, ``{within: 20 %}``         the same, or uniform ± a share, around the value that the scenario has
``[fcfs, easy]``, ``{values: …, weights: …}`` one of several, equally likely or by weight
=========================================== ==================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import parse_fraction
from hpcsim.scenario.ranges import is_range, parse_range

__all__ = ["DISTRIBUTION_KEYS", "Distribution", "parse_distribution"]

BAD_DISTRIBUTION = problem_kind(
    "uncertain-form",
    "{value!r} is no distribution: {why}",
    "a..b, {{low, high}}, {{low, mode, high}}, {{normal, sd}}, {{lognormal, factor}}, {{factor}}, {{within}}, or {{values, weights}}",
)
NO_BASE = problem_kind(
    "uncertain-base",
    "the scenario gives no number to vary around",
    "give low and high in place of factor or within, or write the value into the scenario",
)

DISTRIBUTION_KEYS = {
    "low": "lower end",
    "mode": "most likely value, for a triangle between low and high",
    "high": "upper end",
    "normal": "mean of a normal distribution",
    "sd": "its standard deviation",
    "lognormal": "median of a log-normal distribution",
    "factor": "80 % of the values lie between the median divided and multiplied by it; the scenario's own value is the median where none is given",
    "within": "share that the value may be off, both ways, around the scenario's own value",
    "values": "one of these",
    "weights": "how likely each of the values is; equally without it",
    "source": "where this is from",
}
"""Keys of a distribution and what they mean."""

_Z80 = NormalDist().inv_cdf(0.9)
_FORMS = (
    {"low", "high"},
    {"low", "mode", "high"},
    {"normal", "sd"},
    {"normal", "sd", "low"},
    {"normal", "sd", "high"},
    {"normal", "sd", "low", "high"},
    {"lognormal", "factor"},
    {"factor"},
    {"within"},
    {"values"},
    {"values", "weights"},
)


@dataclass(frozen=True)
class Distribution:
    """How likely the values of one input are.

    Attributes
    ----------
    kind : str
        ``uniform``, ``triangular``, ``normal``, ``lognormal``, ``factor``, ``within`` or ``values``.
    numbers : dict of str to float
        Parameters, in ``unit``.
    unit : str
        Text behind every number.
    whole : bool
        Whether the values are whole numbers.
    values : tuple
        Those of ``values``.
    weights : tuple of float
    source : str
        Where the range is from.
    """

    kind: str
    numbers: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    whole: bool = False
    values: tuple[Any, ...] = ()
    weights: tuple[float, ...] = ()
    source: str = ""

    def around(self, value: object) -> Distribution:
        """Return the distribution with ``value``, as the scenario has it, for what ``factor`` and ``within`` refer to.

        Raises
        ------
        InputError
            It is no number.
        """
        if self.kind not in ("factor", "within"):
            return self
        try:
            base, unit = _number(value)
        except ValueError:
            raise NO_BASE.error() from None
        if base <= 0:
            raise NO_BASE.error()
        if self.kind == "factor":
            return Distribution("lognormal", {"lognormal": base, **self.numbers}, unit, isinstance(value, int), source=self.source)
        share = self.numbers["within"]
        ends = {"low": base * (1 - share), "high": base * (1 + share)}
        return Distribution("uniform", ends, unit, isinstance(value, int), source=self.source)

    def at(self, u: float) -> Any:
        """Return the quantile of ``u`` in 0 to 1: a number, text with the unit, or one of the values."""
        if self.kind == "values":
            return self.values[_place(self.weights, u)]
        number = self._quantile(min(max(u, 1e-12), 1 - 1e-12))
        if self.whole:
            number = round(number)
        plain = int(number) if self.whole else float(f"{number:.12g}")
        return f"{plain} {self.unit}" if self.unit else plain

    def _quantile(self, u: float) -> float:
        n = self.numbers
        if self.kind == "uniform":
            if self.whole:
                return min(math.floor(n["low"] + u * (n["high"] - n["low"] + 1)), n["high"])
            return n["low"] + u * (n["high"] - n["low"])
        if self.kind == "triangular":
            low, mode, high = n["low"], n["mode"], n["high"]
            if u < (mode - low) / (high - low):
                return low + math.sqrt(u * (high - low) * (mode - low))
            return high - math.sqrt((1 - u) * (high - low) * (high - mode))
        if self.kind == "normal":
            bell = NormalDist(n["normal"], n["sd"])
            a = bell.cdf(n["low"]) if "low" in n else 0.0
            b = bell.cdf(n["high"]) if "high" in n else 1.0
            value = bell.inv_cdf(min(max(a + u * (b - a), 1e-15), 1 - 1e-15))
            return min(max(value, n.get("low", -math.inf)), n.get("high", math.inf))
        return float(n["lognormal"] * n["factor"] ** (NormalDist().inv_cdf(u) / _Z80))


def _place(weights: tuple[float, ...], u: float) -> int:
    passed, total = 0.0, math.fsum(weights)
    for i, weight in enumerate(weights):
        passed += weight / total
        if u < passed:
            return i
    return len(weights) - 1


def _number(value: object) -> tuple[float, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number, unit = float(value), ""
    elif isinstance(value, str) and (match := re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", value)):
        number, unit = float(match[1]), match[2]
    else:
        raise ValueError
    if not math.isfinite(number):
        raise ValueError
    return number, unit


def _refuse(value: object, why: str) -> InputError:
    return BAD_DISTRIBUTION.error(value=value, why=why)


def parse_distribution(value: object) -> Distribution:
    """Read a distribution.

    >>> parse_distribution("1.1..1.4").at(0.5)
    1.25
    >>> parse_distribution({"lognormal": "6000 h", "factor": 2}).at(0.5)
    '6000.0 h'

    Raises
    ------
    InputError
        ``uncertain-form`` or ``bad-range``.
    """
    if isinstance(value, str):
        if not is_range(value):
            raise _refuse(value, "it is neither a range nor a map")
        span = parse_range(value)
        ends = {"low": float(span.low), "high": float(span.high)}
        if span.bounded:
            return Distribution("values", values=span.values(), weights=(1.0,) * len(span.values()))
        if span.log:
            middle = math.sqrt(ends["low"] * ends["high"])
            return Distribution("lognormal", {"lognormal": middle, "factor": ends["high"] / middle}, span.unit, span.whole)
        return Distribution("uniform", ends, span.unit, span.whole)
    if isinstance(value, (list, tuple)):
        value = {"values": list(value)}
    if not isinstance(value, Mapping):
        raise _refuse(value, "a map or a range is needed")
    given = {str(key): item for key, item in value.items() if key != "source"}
    if set(given) not in _FORMS:
        raise _refuse(value, f"it has {', '.join(given) or 'nothing'}")
    source = str(value.get("source", ""))
    return _of_values(value, given, source) if "values" in given else _of_numbers(value, given, source)


def _of_values(value: object, given: Mapping[str, Any], source: str) -> Distribution:
    values, weights = given["values"], given.get("weights")
    if not isinstance(values, (list, tuple)) or not values:
        raise _refuse(value, "values is no list with at least one entry")
    weights = [1.0] * len(values) if weights is None else weights
    sound = isinstance(weights, (list, tuple)) and len(weights) == len(values)
    if not sound or not all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
        raise _refuse(value, "weights are numbers of at least 0, one for each value, and not all 0")
    return Distribution("values", values=tuple(values), weights=tuple(map(float, weights)), source=source)


def _of_numbers(value: object, given: Mapping[str, Any], source: str) -> Distribution:
    numbers: dict[str, float] = {}
    units: dict[str, str] = {}
    for key, item in given.items():
        try:
            if key == "within":
                numbers[key] = parse_fraction(item, 0.0, 0.999)
            else:
                numbers[key], units[key] = _number(item)
        except (ValueError, InputError):
            raise _refuse(value, f"{key} is no number") from None
    factor = units.pop("factor", "")
    if factor or len(set(units.values())) > 1:
        raise _refuse(value, "its numbers have different units")
    why = _disorder(numbers)
    if why:
        raise _refuse(value, why)
    names = {"normal": "normal", "lognormal": "lognormal", "mode": "triangular", "low": "uniform", "factor": "factor", "within": "within"}
    kind = next(name for key, name in names.items() if key in numbers)
    whole = kind == "uniform" and all(isinstance(given[k], int) for k in ("low", "high"))
    return Distribution(kind, numbers, next(iter(units.values()), ""), whole, source=source)


def _disorder(n: Mapping[str, float]) -> str:
    if "low" in n and "high" in n and not n["low"] < n["high"]:
        return "low is not below high"
    if "mode" in n and not n["low"] <= n["mode"] <= n["high"]:
        return "mode is not between low and high"
    if "sd" in n and not n["sd"] > 0:
        return "sd is not above 0"
    if "factor" in n and not n["factor"] > 1:
        return "factor is not above 1"
    if "lognormal" in n and not n["lognormal"] > 0:
        return "lognormal is not above 0"
    if "within" in n and not n["within"] > 0:
        return "within is not above 0"
    return ""
