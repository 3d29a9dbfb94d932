"""The part of the scheduler that watches energy, money and power."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from hpcsim.base.errors import problem_kind
from hpcsim.scenario.fields import Count, Quantity, Share, Spec

__all__ = ["NodeCapSpec", "SwitchOffSpec", "power_of_hours"]

BAD_HOURS = problem_kind("power-hours", "{text!r} are no hours of a day", "for example 17-21: from 17 h to 21 h, or 22-6 over midnight")
HOURS_TWICE = problem_kind("power-hours-twice", "the hour from {hour} h on is in two keys of power_hours", "let no two overlap")


class SwitchOffSpec(Spec):
    """Idle nodes are switched off, and boot when a job needs them."""

    after: Annotated[float, Quantity("time", zero=True)] = Field(description="a node without a job for so long is switched off")
    boot: Annotated[float, Quantity("time", zero=True)] = Field(description="time to boot; a job starts when its last node has booted")
    shutdown: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="time to shut down, after which a node can boot", validate_default=False
    )
    spares: Annotated[int, Count(0)] = Field(0, description="idle nodes that are left on")
    off_power: Annotated[float, Quantity("power", zero=True)] = Field(
        0.0, description="power of a node that is off, such as its controller's", validate_default=False
    )
    boot_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of a node that boots; its idle power by default"
    )
    shutdown_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of a node that shuts down; its idle power by default"
    )


class NodeCapSpec(Spec):
    """Nodes under batch jobs run slower and draw less, so that none draws more than a cap."""

    power: Annotated[float, Quantity("power")] = Field(description="most that a node may draw")
    compute_bound: Annotated[float, Share(0, 1)] = Field(description="share of the jobs' time that a lower clock makes longer")
    beta: Annotated[float, Share(1, 4)] = Field(3.0, description="power above idle grows with this power of the clock")
    least_clock: Annotated[float, Share(0.05, 1)] = Field(0.3, description="lowest clock, as a share of the highest")


def power_of_hours(hours: Mapping[str, float], other_w: float) -> tuple[float, ...]:
    """Return the power of each hour of a day [W] from a map of hours such as ``17-21``; ``other_w`` in those that it leaves out.

    Raises
    ------
    InputError
        No hours of a day, or an hour in two of them.

    Examples
    --------
    >>> power_of_hours({"22-2": 5.0}, 9.0)[:3], power_of_hours({"22-2": 5.0}, 9.0)[21:]
    ((5.0, 5.0, 9.0), (9.0, 5.0, 5.0))
    """
    day: dict[int, float] = {}
    for text, watts in hours.items():
        match = re.fullmatch(r"\s*(\d{1,2})\s*-\s*(\d{1,2})\s*", text)
        first, last = (int(match[1]), int(match[2])) if match else (0, 0)
        if first == last or first > 23 or last > 24:
            raise BAD_HOURS.error(path=f"scheduler.power_hours.{text}", text=text)
        for hour in range(first, last if last > first else last + 24):
            if hour % 24 in day:
                raise HOURS_TWICE.error(path=f"scheduler.power_hours.{text}", hour=hour % 24)
            day[hour % 24] = watts
    return tuple(day.get(hour, other_w) for hour in range(24))
