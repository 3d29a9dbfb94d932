"""The desk on which a cluster is resolved: values of the catalog with their sources, problems, and notes to the reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsim.base.errors import InputError, Problems
from hpcsim.catalog.entries import Entry, Fact
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import SourceRow

__all__ = ["Desk", "first_of"]


@dataclass
class Desk:
    """What is collected on the way: problems, the catalog's values that were used, and what the reader should know."""

    catalog: Catalog
    problems: Problems = field(default_factory=Problems)
    rows: list[SourceRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folder: Path = field(default_factory=Path)
    """Where the scenario lies."""

    def fact(self, path: str, fact: Fact) -> Any:
        """Note that ``fact`` is used at ``path``, and return its value."""
        value = f"{fact.value:.12g}" if isinstance(fact.value, float) else str(fact.value)
        self.rows.append(SourceRow(path, fact.name, fact.field, value, fact.unit, fact.source, fact.kind))
        return fact.value

    def take(self, path: str, entry: Entry | None, *fields: str) -> Any:
        """Return the first of ``fields`` that ``entry`` has, noted, or None."""
        for name in fields:
            if entry is not None and getattr(entry, name) is not None:
                return self.fact(path, entry.fact(name))
        return None

    def known(self, path: str, look_up: Callable[[], Fact]) -> Any:
        """Return the value of a fact, noted, or None where the catalog has none."""
        try:
            fact = look_up()
        except InputError:
            return None
        return self.fact(path, fact)

    def find(self, path: str, look_up: Callable[[], Any]) -> Any:
        """Return the result of a look-up, or None after noting its problems at ``path``."""
        try:
            return look_up()
        except InputError as error:
            self.problems.absorb(error, path)
            return None


def first_of(given: Any, otherwise: Callable[[], Any]) -> Any:
    """Return what is given, or else what ``otherwise`` finds."""
    return given if given is not None else otherwise()
