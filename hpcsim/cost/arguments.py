"""What every cost formula demands of its arguments, and the words in which it refuses them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind

__all__ = ["Array", "Numeric", "at_least", "between", "broadcast", "fraction", "non_negative", "number", "positive", "whole"]

Array: TypeAlias = npt.NDArray[np.float64]
"""What a formula returns: an array, or numpy's own scalar where every argument is one."""

Numeric: TypeAlias = Any
"""A number or an array of numbers: whatever ``numpy.asarray(..., dtype=float)`` takes."""

NOT_NUMERIC = problem_kind("argument-not-numeric", "{name} must be a number or an array of numbers, not {value}", "give SI floats")
NOT_FINITE = problem_kind("argument-not-finite", "{name} is not finite", "give finite values")
OUT_OF_RANGE = problem_kind("argument-out-of-range", "{name} is {value:g}, but it must be {bound}", "")
NOT_WHOLE = problem_kind("argument-not-whole", "{name} is {value:g}, but it counts things", "give whole numbers")
SHAPES = problem_kind("argument-shapes", "arguments of the shapes {shapes} cannot be combined", "give scalars, or arrays of one shape")


_HUGE = 1e300
"""Python's own numbers up to here take the short way: they are finite."""


def number(name: str, value: Numeric) -> Array:
    """Return ``value`` as finite float64.

    Raises
    ------
    InputError
        Not numeric, or not finite.
    """
    if type(value) in (float, int) and -_HUGE < value < _HUGE:
        return np.asarray(value, dtype=np.float64)
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise NOT_NUMERIC.error(path=name, name=name, value=repr(value))
    try:
        result: Array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise NOT_NUMERIC.error(path=name, name=name, value=repr(value)[:60]) from None
    if np.count_nonzero(np.isfinite(result)) != result.size:  # half the time of all() and any() for a few numbers
        raise NOT_FINITE.error(path=name, name=name)
    return result


def _refuse(name: str, values: Array, bad: npt.NDArray[np.bool_], bound: str) -> None:
    if np.count_nonzero(bad):
        raise OUT_OF_RANGE.error(path=name, name=name, value=float(values[bad].flat[0] if values.ndim else values), bound=bound)


def positive(name: str, value: Numeric) -> Array:
    """Return ``value`` as float64, refusing what is not above zero."""
    if type(value) in (float, int) and 0 < value < _HUGE:
        return np.asarray(value, dtype=np.float64)
    result = number(name, value)
    _refuse(name, result, np.asarray(result <= 0), "above 0")
    return result


def non_negative(name: str, value: Numeric) -> Array:
    """Return ``value`` as float64, refusing what is below zero."""
    return at_least(name, value, 0.0)


def at_least(name: str, value: Numeric, low: float) -> Array:
    """Return ``value`` as float64, refusing what is below ``low``."""
    if type(value) in (float, int) and low <= value < _HUGE:
        return np.asarray(value, dtype=np.float64)
    result = number(name, value)
    _refuse(name, result, np.asarray(result < low), f"at least {low:g}")
    return result


def between(name: str, value: Numeric, low: float, high: float) -> Array:
    """Return ``value`` as float64, refusing what is outside ``low`` … ``high``."""
    result = number(name, value)
    _refuse(name, result, np.asarray((result < low) | (result > high)), f"between {low:g} and {high:g}")
    return result


def fraction(name: str, value: Numeric) -> Array:
    """Return ``value`` as float64, refusing what is outside 0 … 1."""
    return between(name, value, 0.0, 1.0)


def whole(name: str, value: Numeric, low: float = 1) -> Array:
    """Return ``value`` as float64, refusing what is not a whole number of at least ``low``."""
    if type(value) is int and low <= value < _HUGE:
        return np.asarray(value, dtype=np.float64)
    result = at_least(name, value, low)
    odd = np.asarray(result != np.floor(result))
    if np.count_nonzero(odd):
        raise NOT_WHOLE.error(path=name, name=name, value=float(result[odd].flat[0] if result.ndim else result))
    return result


def broadcast(*arrays: Numeric) -> tuple[int, ...]:
    """Return the common shape of ``arrays``.

    Raises
    ------
    InputError
        They have none.
    """
    try:
        return np.broadcast_shapes(*(np.shape(a) for a in arrays))
    except ValueError:
        raise SHAPES.error(shapes=", ".join(str(np.shape(a)) for a in arrays if np.shape(a))) from None
