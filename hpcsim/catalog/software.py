"""Entries on software stacks: terms that were fitted to one's own measurements."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hpcsim.catalog.entries import Entry
from hpcsim.scenario.fields import Quantity, Share

__all__ = ["Software"]

Seconds = Annotated[float, Quantity("time", zero=True)]


class Software(Entry):
    """A training software stack on one's own machine; what is left out is assumed by family and year."""

    catalog_kind: ClassVar[str] = "software"

    launch_s: Seconds | None = Field(None, alias="launch", description="host time to issue one operation")
    step_overhead_s: Seconds | None = Field(None, alias="step_overhead", description="host and synchronisation time of an optimizer step")
    memory_traffic: Annotated[float, Share(0.05, 20.0)] | None = Field(
        None, description="memory traffic of norms, residuals and activations over a well-fused implementation's"
    )
