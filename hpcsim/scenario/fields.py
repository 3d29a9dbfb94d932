"""Field types of a scenario: quantities with units, counts, shares and names, each with its range and its JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Generic, NoReturn, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from hpcsim.base.errors import InputError, Problem, problem_kind
from hpcsim.base.units import DIMENSIONS, exact_text, parse_count, parse_fraction, parse_quantity, readable

__all__ = [
    "Count",
    "Frozen",
    "FrozenMap",
    "Name",
    "NamedMap",
    "Quantity",
    "Share",
    "Spec",
    "fail",
    "frozen",
    "guarded",
    "is_text",
    "plain",
]

OUT_OF_RANGE = problem_kind("out-of-range", "{value!r} is out of range: {rule}", "{remedy}")
NOT_PLAIN = problem_kind("not-plain-data", "{value!r} cannot stand in a scenario", "use text, numbers, true or false, lists and maps")
BAD_NAME = problem_kind("bad-name", "{value!r} is no name", "letters, digits, '-' and '_', beginning with a letter or digit, at most 64")

_LIMIT = {
    "data size": 1e24,
    "data rate": 1e21,
    "time": 3.2e11,
    "frequency": 1e12,
    "work": 1e33,
    "compute rate": 1e27,
    "power": 1e13,
    "energy": 1e21,
    "money": 1e15,
    "price per time": 1e9,
    "price of energy": 1.0,
    "carbon intensity": 1e-5,
    "water intensity": 1e-3,
}
_COUNT_LIMIT = 10**19


def fail(problem: Problem) -> NoReturn:
    """Raise ``problem`` inside a pydantic validator, so that it is collected with all others."""
    raise _custom(problem)


def _custom(problem: Problem) -> PydanticCustomError:
    return PydanticCustomError(problem.code, "{message}", {"message": problem.message, "hint": problem.hint})


def guarded(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """Return ``parse`` for use in a pydantic validator: its InputError is collected with all others."""

    def inner(value: object) -> Any:
        try:
            return parse(value)
        except InputError as error:
            fail(error.problems[0])

    return inner


class Quantity:
    """Annotation of a float that is written with its unit: ``Annotated[float, Quantity("time")]``.

    Parameters
    ----------
    dimension : str
        Key of :data:`hpcsim.base.units.DIMENSIONS`.
    zero : bool
        Whether zero is allowed; negative values never are.
    """

    def __init__(self, dimension: str, *, zero: bool = False) -> None:
        self.dimension = dimension
        self.zero = zero

    def parse(self, value: object) -> float:
        """Return the SI value of ``value`` or raise InputError."""
        number = parse_quantity(value, self.dimension)
        limit = _LIMIT.get(self.dimension, 1e30)
        if number < 0 or (number == 0 and not self.zero):
            rule = "it must not be negative" if self.zero else "it must be greater than zero"
            raise OUT_OF_RANGE.error(value=value, rule=rule, remedy=f"for example {DIMENSIONS[self.dimension].example!r}")
        if number > limit:
            most = readable(limit, self.dimension)
            raise OUT_OF_RANGE.error(value=value, rule=f"it must be at most {most}", remedy="check the unit and its prefix")
        return number

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            guarded(self.parse),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda v: exact_text(v, self.dimension)),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        dimension = DIMENSIONS[self.dimension]
        return {"type": "string", "description": f"{dimension.name} with its unit", "examples": [dimension.example]}


class Count:
    """Annotation of a whole number, plain or with an SI suffix: ``Annotated[int, Count(1)]``."""

    def __init__(self, low: int = 0, high: int = _COUNT_LIMIT) -> None:
        self.low = low
        self.high = high

    def parse(self, value: object) -> int:
        """Return the whole number or raise InputError."""
        number = parse_count(value)
        if not self.low <= number <= self.high:
            most = f" and at most {self.high:,}" if self.high != _COUNT_LIMIT or number > self.high else ""
            raise OUT_OF_RANGE.error(value=value, rule=f"it must be at least {self.low}{most}", remedy="")
        return number

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            guarded(self.parse), serialization=core_schema.plain_serializer_function_ser_schema(int)
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        text = "a whole number, plain or with an SI suffix"
        return {"anyOf": [number, {"type": "string", "examples": ["366 G"]}], "description": text}


class Share:
    """Annotation of a dimensionless number in a range, plain or with ``%``: ``Annotated[float, Share(0, 1)]``."""

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = low
        self.high = high

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            guarded(lambda v: parse_fraction(v, self.low, self.high)),
            serialization=core_schema.plain_serializer_function_ser_schema(float),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": "%$"}], "description": f"a number from {self.low:g} to {self.high:g}"}


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def _name(value: str) -> str:
    if not _NAME.match(value):
        fail(BAD_NAME(value=value))
    return value


Name = Annotated[str, AfterValidator(_name)]
"""A name that a dotted path can reach."""

K = TypeVar("K")
V = TypeVar("V")


class FrozenMap(dict[K, V], Generic[K, V]):
    """A dict that refuses to be changed; scenarios are data, a what-if is a new scenario."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("a scenario is never changed in place; use scenario.vary({path: value})")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> tuple[type[FrozenMap[K, V]], tuple[dict[K, V]]]:
        return (type(self), (dict(self),))


def _frozen(value: Mapping[K, V]) -> FrozenMap[K, V]:
    return FrozenMap(value)


Frozen = AfterValidator(_frozen)
T = TypeVar("T")
NamedMap = Annotated[dict[Name, T], Frozen]
"""A map from names to specs that cannot be changed in place."""


_DEEPEST = 20


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of ``value`` made of plain data: frozen maps and tuples become dicts and lists, numpy values Python's own.

    What is no plain data stays as it is; the field that takes it refuses it.
    """
    if depth > _DEEPEST:
        raise NOT_PLAIN.error(value=value)
    if isinstance(value, Mapping):
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def is_text(value: object) -> bool:
    """Return whether ``value`` is text that a file in UTF-8 can hold (half a surrogate pair cannot be written)."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def frozen(value: Any) -> Any:
    """Return plain data as a value that cannot be changed: maps and lists as :class:`FrozenMap` and tuples.

    Raises
    ------
    InputError
        Something that a scenario file cannot hold, such as an object or a number that is not finite.
    """
    if isinstance(value, Mapping) and all(map(is_text, value)):
        return FrozenMap({key: frozen(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if value is None or isinstance(value, (bool, int)) or is_text(value) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise NOT_PLAIN.error(value=value)


class Spec(BaseModel):
    """Base of every part of a scenario: frozen, unknown keys refused, defaults checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True, defer_build=True)

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with the keys together; ``given`` are those that are not null, with their values as written."""
        return iter(())

    def __init_subclass__(cls, **options: Any) -> None:
        """Have :meth:`form` asked where a part has one of its own; the others are checked by pydantic alone, which is quicker."""
        super().__init_subclass__(**options)
        if "form" in vars(cls):
            asked: Any = model_validator(mode="wrap")
            cls._whole = asked(classmethod(Spec._all_at_once.__func__))  # type: ignore[attr-defined]

    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report what :meth:`form` finds beside the mistakes inside, not after they were mended."""
        if not isinstance(data, Mapping):
            return handler(data)
        found = cls.form({key: value for key, value in data.items() if value is not None})
        lines = [InitErrorDetails(type=_custom(problem), loc=(), input=data) for problem in found]
        try:
            spec = handler(data)
        except ValidationError as error:
            lines = [_again(line) for line in error.errors(include_url=False)] + lines
        if lines:
            raise ValidationError.from_exception_data(cls.__name__, lines)
        return spec


def _again(line: ErrorDetails) -> InitErrorDetails:
    text = PydanticCustomError(line["type"], "{text}", {**line.get("ctx", {}), "text": line["msg"]})
    return InitErrorDetails(type=text, loc=line["loc"], input=line["input"])
