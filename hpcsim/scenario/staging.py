"""The part of the scheduler that stages the data of jobs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hpcsim.scenario.fields import Quantity, Spec

__all__ = ["BurstBufferSpec", "NodeCacheSpec"]


class BurstBufferSpec(Spec):
    """A burst buffer of the whole machine: a job holds the bytes that it asks for from its start to its end."""

    capacity: Annotated[float, Quantity("data size")] = Field(description="bytes that all running jobs together may hold")
    staged_from: str | None = Field(
        None,
        description="storage tier that it is filled from before a job works and emptied to after; both take the tier's bandwidth, and no time without it",
    )


class NodeCacheSpec(Spec):
    """Data sets that jobs read are brought from a store to their nodes before they work, and kept there."""

    store: str = Field(description="storage tier that has all data sets")
    cache: Annotated[float, Quantity("data size", zero=True)] = Field(
        description="what a node keeps, the least recently read goes first; 0 for nothing"
    )
