"""Failures by cause, alarms before them, and the spares that replace failed nodes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["Cause", "Fault", "Faults", "SpareNodes", "Tally", "Watch"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause of failures, as it strikes one run or one node.

    Parameters
    ----------
    name : str
    per_s : float
        Rate [1/s].
    repair_s : float
        Time until a failed node is back [s]; zero where no node is lost.
    detect_s : float
        Time until a failure is noticed [s].
    foreseen : bool
        Whether alarms can precede it.
    """

    name: str
    per_s: float
    repair_s: float
    detect_s: float = 0.0
    foreseen: bool = True


@dataclass(frozen=True, slots=True)
class Watch:
    """Alarms before failures.

    Parameters
    ----------
    recall_frac, precision_frac : float
        Share of the failures that are announced, and of the alarms that are true.
    act_s : float
        Time that is spent at an alarm [s]; what was done until then is saved.
    migrates : bool
        Whether another node takes the place of the one that would fail.
    """

    recall_frac: float
    precision_frac: float
    act_s: float
    migrates: bool


class Fault(NamedTuple):
    """The next thing that happens to a run: after how long [s], of which cause, and whether an alarm comes first; −1 is a false alarm."""

    after_s: float
    cause: int
    announced: bool


@dataclass(slots=True)
class Tally:
    """What one cause did: failures, those announced, jobs that ended, and time [s]; node-seconds under repair in ``repair_s``."""

    failures: int = 0
    announced: int = 0
    jobs: int = 0
    lost_s: float = 0.0
    detection_s: float = 0.0
    wait_s: float = 0.0
    recovery_s: float = 0.0
    acts_s: float = 0.0
    repair_s: float = 0.0


class Faults:
    """The failures and alarms of one run, all of them Poisson.

    With one cause and no alarms every failure is one draw. Failures of several causes are told apart by a second draw.

    Parameters
    ----------
    causes : sequence of Cause
    rng : numpy Generator
    watch : Watch, optional
    """

    def __init__(self, causes: Sequence[Cause], rng: np.random.Generator, watch: Watch | None = None) -> None:
        self.causes = tuple(causes)
        self.watch = watch
        self._rng = rng
        recall = watch.recall_frac if watch else 0.0
        known = [cause.per_s * recall if cause.foreseen else 0.0 for cause in self.causes]
        false = sum(known) * (1.0 / watch.precision_frac - 1.0) if watch else 0.0
        self._per_s = sum(cause.per_s for cause in self.causes)
        self._all_s = self._per_s + false
        self._kinds = [(k, False) for k in range(len(self.causes))]
        odds = [cause.per_s - part for cause, part in zip(self.causes, known, strict=True)]
        if watch:
            self._kinds += [(k, True) for k in range(len(self.causes))] + [(-1, True)]
            odds += [*known, false]
        self._odds = np.cumsum(odds)

    def next(self, *, alarms: bool = True) -> Fault:
        """Draw what happens next; without ``alarms`` only failures, none of them announced."""
        rate = self._all_s if alarms else self._per_s
        if rate <= 0:
            return Fault(math.inf, 0, False)
        after_s = float(self._rng.exponential(1.0 / rate))
        if len(self._odds) == 1:
            return Fault(after_s, 0, False)
        while True:
            at = int(np.searchsorted(self._odds, self._rng.random() * self._odds[-1], side="right"))
            cause, announced = self._kinds[min(at, len(self._kinds) - 1)]
            if alarms:
                return Fault(after_s, cause, announced)
            if cause >= 0:
                return Fault(after_s, cause, False)


@dataclass(slots=True)
class SpareNodes:
    """The standing-by and repaired nodes of one group, and the record of what was down.

    A failed node goes to repair and then stands by. Whoever lost it takes the node that is ready first.

    Parameters
    ----------
    group : int
        Index of the node group.
    spares : int
        Nodes that stand by from the start.
    repair_s : float
        Time of one repair [s], where a failure does not say.
    crew : int
        Repairs that go on at once, the others wait in order; 0 for as many as there are broken nodes.
    """

    group: int
    spares: int
    repair_s: float
    crew: int = 0
    down: list[tuple[int, float, float, int]] = field(default_factory=list)
    _ready_s: list[float] = field(init=False)
    _free_s: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._ready_s = [0.0] * self.spares
        self._free_s = [0.0] * self.crew

    def replace(self, now_s: float, repair_s: float | None = None) -> float:
        """Send one node to repair at ``now_s`` and return how long its job waits for another node [s]."""
        took_s = self.repair_s if repair_s is None else repair_s
        begin_s = max(now_s, heapq.heappop(self._free_s)) if self.crew else now_s
        back_s = begin_s + took_s
        if self.crew:
            heapq.heappush(self._free_s, back_s)
        self.down.append((self.group, now_s, back_s, 1))
        heapq.heappush(self._ready_s, back_s)
        return max(heapq.heappop(self._ready_s) - now_s, 0.0)
