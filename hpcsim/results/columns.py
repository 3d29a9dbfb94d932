"""What a declared column and table are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Column", "Table", "count_column", "real_column", "text_column"]


class Column(NamedTuple):
    """One column of a result table."""

    name: str
    dtype: str
    """``"float64"``, ``"int64"``, ``"str"`` or ``"bool"``; a nullable ``int64`` is held as pandas' ``Int64``."""
    unit: str
    """SI symbol, or empty for names and counts."""
    meaning: str
    nullable: bool = False
    values: tuple[str, ...] = ()
    """The words a text column may hold; empty for free text."""
    optional: bool = False
    """Whether the whole column may be absent."""
    formula: str = ""
    """How it comes about, for ``hpcsim explain``; empty where the register of formulas says so."""


class Table(NamedTuple):
    """One result table; ``columns`` is empty for a free-form table."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def free(self) -> bool:
        """Whether the columns are not declared in advance."""
        return not self.columns

    def column(self, name: str) -> Column | None:
        """Return the declaration of column ``name``, or None."""
        return next((column for column in self.columns if column.name == name), None)


def text_column(name: str, meaning: str, *, null: bool = False, values: tuple[str, ...] = (), optional: bool = False) -> Column:
    """Return a column of text."""
    return Column(name, "str", "", meaning, null, values, optional)


def count_column(name: str, meaning: str, *, unit: str = "", null: bool = False, formula: str = "", optional: bool = False) -> Column:
    """Return a column of whole numbers."""
    return Column(name, "int64", unit, meaning, null, optional=optional, formula=formula)


def real_column(name: str, unit: str, meaning: str, *, null: bool = False, formula: str = "", optional: bool = False) -> Column:
    """Return a column of numbers."""
    return Column(name, "float64", unit, meaning, null, optional=optional, formula=formula)
