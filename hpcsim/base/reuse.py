"""Keep what is computed again and again while one question is asked with many values: switched on by whoever asks, off elsewhere.

Only pure functions may be kept, under a key that holds everything they depend on; a result that was kept equals one computed anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from hpcsim.base.errors import InputError, Problem

__all__ = ["Memory", "kept", "reusing"]

T = TypeVar("T")


class Memory:
    """Results by kind and key; beyond ``most`` entries of a kind, or its own number in ``few``, the oldest are dropped."""

    def __init__(self, most: int = 2048, few: Mapping[str, int] | None = None) -> None:
        self._found: dict[str, dict[Hashable, Any]] = {}
        self._most = most
        self._few = dict(few or {})

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result under ``key``, made by ``make`` the first time; its InputError is kept as well."""
        found = self._found.setdefault(kind, {})
        entry: tuple[Any, tuple[Problem, ...]] | None = found.get(key)
        if entry is None:
            entry = self._made(make)
            while len(found) >= self._few.get(kind, self._most):
                found.pop(next(iter(found)), None)
            found[key] = entry
        if entry[1]:
            raise InputError(list(entry[1]))
        return cast("T", entry[0])

    def put(self, kind: str, key: Hashable, value: object) -> None:
        """Keep a result that was found in another way, in place of what is there."""
        found = self._found.setdefault(kind, {})
        found.pop(key, None)
        while len(found) >= self._few.get(kind, self._most):
            found.pop(next(iter(found)), None)
        found[key] = (value, ())

    @staticmethod
    def _made(make: Callable[[], Any]) -> tuple[Any, tuple[Problem, ...]]:
        try:
            return make(), ()
        except InputError as error:
            return None, tuple(error.problems)


_MEMORY: ContextVar[Memory | None] = ContextVar("hpcsim-reuse", default=None)


@contextlib.contextmanager
def reusing(memory: Memory) -> Iterator[None]:
    """Let :func:`kept` use ``memory`` inside the ``with`` block."""
    before = _MEMORY.set(memory)
    try:
        yield
    finally:
        _MEMORY.reset(before)


def kept(kind: str, key: Callable[[], Hashable], make: Callable[[], T]) -> T:
    """Return ``make()``, or what it returned before for an equal key inside :func:`reusing`.

    Parameters
    ----------
    kind : str
        What is computed; keys of different kinds never meet.
    key : callable
        Returns the key; called only where results are kept.
    make : callable
        Computes the result.
    """
    memory = _MEMORY.get()
    return make() if memory is None else memory.get(kind, key(), make)
