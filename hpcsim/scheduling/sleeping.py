"""Nodes that are switched off while they are idle: the rule, and which nodes a job gets so that few must be woken.

Reference: SchedMD, Slurm documentation, power saving guide (suspend time, resume timeout, idle nodes that stay on). What booting takes is a property
of the site and an input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import Demand, Free, Integers
from hpcsim.scheduling.placement import Choice, Placement, by_level

__all__ = ["AwakeFirst", "SleepRule"]

BAD_RULE = problem_kind("switch-off-value", "{name} is {value}; it must be {bound}", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepRule:
    """When nodes are switched off, and what it takes to switch them on again.

    Attributes
    ----------
    idle_s : float [s]
        A node without a job for so long is switched off; infinite for never.
    boot_s, shutdown_s : float [s]
        Time to boot, and to shut down. A node that shuts down must finish before it can boot.
    spares : int
        Idle nodes that are left on.

    Raises
    ------
    InputError
        A time that is negative or not finite (``idle_s`` may be infinite), or a negative count.
    """

    idle_s: float
    boot_s: float = 0.0
    shutdown_s: float = 0.0
    spares: int = 0

    def __post_init__(self) -> None:
        if not self.idle_s >= 0:
            raise BAD_RULE.error(path="after", name="the idle time", value=self.idle_s, bound="at least 0 s")
        for path, name, value in (("boot", "the time to boot", self.boot_s), ("shutdown", "the time to shut down", self.shutdown_s)):
            if not 0 <= value < math.inf:
                raise BAD_RULE.error(path=path, name=name, value=value, bound="finite and at least 0 s")
        if self.spares < 0:
            raise BAD_RULE.error(path="spares", name="the number of spares", value=self.spares, bound="at least 0")

    @property
    def pad_s(self) -> float:
        """Longest that a job may wait for its nodes [s]: what policies add to every estimate, so that promises hold."""
        most = self.boot_s + self.shutdown_s
        return most + 1e-3 if most and self.idle_s < math.inf else 0.0  # the last is for rounding


class AwakeFirst:
    """Nodes that are on first, then those that boot, then those that are off, then those that shut down; among equals as another placement says.

    Parameters
    ----------
    base : Placement
        Chooses among equals.

    Examples
    --------
    Three nodes of two cores, the first switched off: three chunks take what is on and only then wake one.

    >>> import numpy as np
    >>> from hpcsim.scheduling.machine import Machine, NodeClass
    >>> from hpcsim.scheduling.placement import FirstFit
    >>> free = Free(Machine.of([NodeClass("n", 3, 2)]), [Demand(3), Demand(5)])
    >>> free.asleep = np.array([2, 0, 0], dtype=np.int8)
    >>> place = AwakeFirst(FirstFit())
    >>> place.choose(free.demands[0], free.capacity(0), free), place.choose(free.demands[1], free.capacity(1), free)
    (([1, 2], [2, 1]), ([0, 1, 2], [1, 2, 2]))
    """

    def __init__(self, base: Placement) -> None:
        self.base = base
        self.name = base.name

    def choose(self, demand: Demand, capacity: Integers, free: Free, /) -> Choice:
        """Return the nodes that wake the fewest."""
        asleep = free.asleep
        if asleep is None or not asleep.any():
            return self.base.choose(demand, capacity, free)
        return by_level(self.base, asleep, demand, capacity, free)
