"""Registries: the built-ins of hpcsim and the plug-ins of other packages under one look-up.

The name of a registry is at once its entry-point group (``hpcsim.policies``) and the scenario key that selects from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from hpcsim.base.errors import problem_kind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Registry"]

T = TypeVar("T")

UNKNOWN_NAME = problem_kind("unknown-name", "unknown {what} {name!r}", "{near}")
BROKEN_PLUGIN = problem_kind(
    "broken-plugin", "the plug-in {name!r} of {group} cannot be loaded: {why}", "mend or uninstall the package that provides it"
)


class Registry(Generic[T]):
    """Named objects of one kind.

    Parameters
    ----------
    what : str
        The kind in words, singular, for messages (``"policy"``).
    group : str
        Plural name; the entry-point group is ``hpcsim.<group>``.
    """

    def __init__(self, what: str, group: str) -> None:
        self.what = what
        self.group = f"hpcsim.{group}"
        self._items: dict[str, T] = {}
        self._plugins: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers an object under ``name``."""

        def keep(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            self._items[name] = item
            return item

        return keep

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            from importlib import metadata  # 30 ms, and most runs meet built-ins only

            found = metadata.entry_points(group=self.group)
            self._plugins = {point.name: point for point in sorted(found, key=lambda p: (p.name, p.value))}
        return self._plugins

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted({*self._items, *self._entry_points()})

    def get(self, name: str) -> T:
        """Return the object called ``name``.

        Raises
        ------
        InputError
            The name is unknown, or the plug-in behind it cannot be loaded.
        """
        if name in self._items:
            return self._items[name]
        points = self._entry_points()
        if name in points:
            try:
                item: T = points[name].load()
            except Exception as error:  # a plug-in may fail in any way; the user needs to know which one
                raise BROKEN_PLUGIN.error(name=name, group=self.group, why=error) from error
            self._items[name] = item
            return item
        near = difflib.get_close_matches(str(name), self.names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(self.names())
        raise UNKNOWN_NAME.error(what=self.what, name=name, near=hint)
