"""Keep what is computed again and again while one question is asked with many values: switched on by whoever asks, off elsewhere.

Only pure functions may be kept, under a key that holds everything they depend on; a result that was kept equals one computed anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from hpcsim.base.errors import InputError

__all__ = ["Memory", "kept", "reusing"]

T = TypeVar("T")


class Memory:
    """Results by kind and key; the oldest are dropped beyond ``most`` entries."""

    def __init__(self, most: int = 4096) -> None:
        self._found: dict[Hashable, Any] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result under ``key``, made by ``make`` the first time; its InputError is kept as well."""
        if key not in self._found:
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
            try:
                self._found[key] = (make(), None)
            except InputError as error:
                self._found[key] = (None, error.problems)
        result, problems = self._found[key]
        if problems is not None:
            raise InputError(list(problems))
        return result  # type: ignore[no-any-return]


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
    return make() if memory is None else memory.get((kind, key()), make)
