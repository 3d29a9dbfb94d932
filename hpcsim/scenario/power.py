"""The part of the scheduler that watches energy, money and power."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hpcsim.scenario.fields import Count, Quantity, Spec

__all__ = ["SwitchOffSpec"]


class SwitchOffSpec(Spec):
    """Idle nodes are switched off, and boot when a job needs them."""

    after: Annotated[float, Quantity("time", zero=True)] = Field(description="a node without a job for so long is switched off")
    boot: Annotated[float, Quantity("time", zero=True)] = Field(description="time to boot; a job starts when its last node has booted")
    shutdown: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time to shut down, after which a node can boot")
    spares: Annotated[int, Count(0)] = Field(0, description="idle nodes that are left on")
    off_power: Annotated[float, Quantity("power", zero=True)] = Field(
        0.0, description="power of a node that is off, such as its controller's"
    )
    boot_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of a node that boots; its idle power by default"
    )
    shutdown_power: Annotated[float, Quantity("power", zero=True)] | None = Field(
        None, description="power of a node that shuts down; its idle power by default"
    )
