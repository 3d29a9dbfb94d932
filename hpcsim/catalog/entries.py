"""What every catalog entry has in common: identity, values with units, and the source of each value.

An entry of a data file is a map. Its keys are the aliases of the fields declared here and in :mod:`hpcsim.catalog.hardware`,
:mod:`hpcsim.catalog.models` and :mod:`hpcsim.catalog.economy`; quantities are text with a unit (``"2039 GB/s"``) and become SI floats.
``sources`` maps a key (``tdp``), a dotted key (``peak.fp64``) or ``all`` to ``"<kind> <text>"``, where ``@name`` in the text stands for
an item of the file's ``references``; the longest key that fits a value names its source.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import DIMENSIONS
from hpcsim.scenario.fields import Count, Frozen, Quantity, Share, Spec, fail

__all__ = ["Entry", "Fact", "Listed", "Money", "Number", "Size", "Source", "SourceKind", "Span", "Whole"]

SOURCE_FORM = problem_kind(
    "catalog-source",
    "{text!r} names no source",
    "write 'read TEXT', 'measured TEXT', 'derived TEXT', 'given TEXT', or 'remembered' with or without a text",
)
NO_VALUE = problem_kind(
    "catalog-value-missing", "the catalog has no {field} for {name!r}", "give it in the scenario or in an overlay catalog"
)
NO_FIELD = problem_kind("unknown-catalog-field", "an entry of kind {kind} has no field {field!r}", "its fields: {fields}")

SourceKind = Literal["read", "remembered", "derived", "measured", "given"]
_KINDS: tuple[str, ...] = typing.get_args(SourceKind)
FROM_MEMORY = "from memory, unverified"

T = TypeVar("T")


class Source(NamedTuple):
    """Where a value comes from."""

    source: str
    """Work and place, or for a derived value the derivation."""
    kind: str
    """``read`` in the source, ``measured`` by it, ``derived`` from such values, ``given`` by the user, or ``remembered`` (unverified, or
    derived from something that is)."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of the catalog with its source: a row of the results' table ``sources``.

    Attributes
    ----------
    name, field : str
        Entry and field, such as ``"a100-sxm-80gb"`` and ``"tdp_w"``.
    value : float, int, str, bool or tuple
        In the field's SI unit.
    unit : str
        SI unit symbol; empty for counts, shares and text.
    source, kind : str
        As in :class:`Source`.
    low, high : float or None
        Range of the value over regions or reports, where the catalog has one.
    note : str
        What the reader should know about the value.
    """

    name: str
    field: str
    value: Any
    unit: str
    source: str
    kind: str
    low: float | None = None
    high: float | None = None
    note: str = ""


def _source(value: object) -> Source:
    if isinstance(value, Source):
        return value
    kind, _, text = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    text = text.strip()
    if kind not in _KINDS or (not text and kind != "remembered"):
        fail(SOURCE_FORM(text=value))
    if kind == "remembered":
        text = f"{text}; {FROM_MEMORY}" if text else FROM_MEMORY
    return Source(text, kind)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Listed = Annotated[tuple[T, ...], BeforeValidator(_tuple)]
"""A YAML list that becomes a tuple."""
Number = Annotated[float, Share(-1e30, 1e30)]
"""A dimensionless number."""
Span = Annotated[float, Share(0.0, 1.0)]
"""A share of 0 to 1."""
Whole = Annotated[int, Count(0)]
"""A count."""
Size = Annotated[float, Quantity("data size")]
"""Bytes."""
Money = Annotated[float, Quantity("money", zero=True)]
"""US dollars."""


def unit_of(annotation: Any) -> str:
    """Return the SI symbol of the quantity that a field's annotation holds, or an empty string."""
    if isinstance(annotation, Quantity):
        return DIMENSIONS[annotation.dimension].si
    metadata = getattr(annotation, "__metadata__", ())
    for part in (*metadata, *typing.get_args(annotation)):
        unit = unit_of(part)
        if unit:
            return unit
    return ""


@functools.cache
def _named(entry: type[Entry], field: str) -> tuple[str | None, str, str]:
    """Return the attribute that a field or key names, its key in the data file, and its unit; None and nothing where there is no such field."""
    known = entry.model_fields
    name = field if field in known else next((name for name, info in known.items() if info.alias == field), None)
    return (None, "", "") if name is None else (name, known[name].alias or name, unit_of(known[name].annotation))


class Entry(Spec):
    """One named thing of the catalog, immutable.

    Attributes
    ----------
    id : str
        Canonical name.
    sources : map of str to Source
        See the module's text; :meth:`source_of` reads it.
    """

    model_config = ConfigDict(populate_by_name=False)

    catalog_kind: ClassVar[str] = ""
    identity: ClassVar[frozenset[str]] = frozenset({"id", "title", "aliases", "note", "sources", "category", "vendor", "availability"})
    """Fields that say what the entry is about and need no source."""

    id: str = Field(description="canonical name")
    title: str = Field("", description="name in full")
    aliases: Listed[str] = Field((), description="other names that find the entry")
    note: str = Field("", description="conflicts between sources, conditions, cautions")
    sources: Annotated[dict[str, Annotated[Source, BeforeValidator(_source)]], Frozen] = Field(
        default_factory=dict, description="source of each value, by key"
    )

    @classmethod
    def field_named(cls, field: str) -> str | None:
        """Return the attribute that ``field`` (attribute or key of the data file) names, or None."""
        return _named(cls, field)[0]

    def source_of(self, field: str) -> Source:
        """Return ``(source, kind)`` of a field, or of one item of it (``"peak_flop_per_s.bf16"``).

        Raises
        ------
        InputError
            The entry's kind has no such field.
        """
        head, _, item = field.partition(".")
        name, key, _ = _named(type(self), head)
        if name is None:
            raise NO_FIELD.error(kind=self.catalog_kind, field=field, fields=", ".join(sorted(type(self).model_fields)))
        for place in (f"{key}.{item}", key, "all"):
            if place in self.sources:
                return self.sources[place]
        return Source("", "")

    def fact(self, field: str) -> Fact:
        """Return one value with its unit and source.

        Raises
        ------
        InputError
            No such field, or the catalog has no value for it.
        """
        source = self.source_of(field)
        head, _, item = field.partition(".")
        found, _, unit = _named(type(self), head)
        name = found or head
        value = getattr(self, name)
        if item and isinstance(value, Mapping):
            value = value.get(item)
        if value is None:
            raise NO_VALUE.error(field=field, name=self.id)
        path = f"{name}.{item}" if item else name
        return Fact(self.id, path, value, unit, source.source, source.kind, note=self.note)

    def need(self, field: str) -> float:
        """Return the number in ``field``.

        Raises
        ------
        InputError
            No such field, or the catalog has no value for it.
        """
        return float(self.fact(field).value)

    def facts(self) -> Iterator[Fact]:
        """Yield every value that the entry has, item by item, in the order of declaration."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in self.identity or value is None or value == () or value == {}:
                continue
            if name not in self.model_fields_set:
                continue
            if isinstance(value, Mapping):
                for item in value:
                    yield self.fact(f"{name}.{item}")
            else:
                yield self.fact(name)

    def remembered(self) -> tuple[str, ...]:
        """Return the fields whose values come from memory and are unverified."""
        return tuple(fact.field for fact in self.facts() if fact.kind == "remembered")
