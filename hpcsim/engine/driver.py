"""What the batch system asks of those who drive jobs whose run time depends on what else runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Driver"]


class Driver(Protocol):
    """Drives jobs of a table whose run time depends on what else runs."""

    def begin(self, job: int, nodes: tuple[int, ...], at_s: float, run_s: float, done: Callable[[], None]) -> bool:
        """Begin a job at ``at_s``, now or when its nodes are up, that takes ``run_s`` undisturbed and call ``done`` at its end; return False to leave it to its run time."""
        ...

    def stop(self, job: int) -> float:
        """Stop a job before its end and return what was done of it, in seconds undisturbed."""
        ...
