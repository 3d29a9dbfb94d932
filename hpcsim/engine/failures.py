"""Failed nodes and the spares that replace them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

__all__ = ["SpareNodes"]


@dataclass(slots=True)
class SpareNodes:
    """The standing-by and repaired nodes of one group, and the record of what was down.

    A failed node goes to repair for a fixed time and then stands by. Whoever lost it takes the node that is ready first.

    Parameters
    ----------
    group : int
        Index of the node group.
    spares : int
        Nodes that stand by from the start.
    repair_s : float
        Time of one repair [s]; there are as many repair crews as broken nodes.
    """

    group: int
    spares: int
    repair_s: float
    down: list[tuple[int, float, float, int]] = field(default_factory=list)
    _ready_s: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._ready_s = [0.0] * self.spares

    def replace(self, now_s: float) -> float:
        """Send one node to repair at ``now_s`` and return how long its job waits for another node [s]."""
        back_s = now_s + self.repair_s
        self.down.append((self.group, now_s, back_s, 1))
        heapq.heappush(self._ready_s, back_s)
        return max(heapq.heappop(self._ready_s) - now_s, 0.0)
