"""What batch jobs send while they run, so that they share the fabric with each other and with training runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Quantity, Share, Spec

__all__ = ["CommunicationSpec"]

RATE_OR_TIME = problem_kind(
    "communication-amount", "what is sent is given by rate or by time; here {given}", "give exactly one of rate and time"
)
TIER_OF_STORAGE = problem_kind(
    "communication-storage", "{key} and the pattern {pattern} do not go together", "storage needs {key}; other patterns go between nodes"
)


class CommunicationSpec(Spec):
    """How some of the batch jobs communicate: a pattern between their nodes, and how much."""

    pattern: Literal["ring", "halo", "all-to-all", "master-worker", "storage"] = Field(
        description="ring: to the next node; halo: to the neighbours on a grid of three axes; all-to-all: transposes, FFT; "
        "master-worker: with the job's first node; storage: reads or writes a tier"
    )
    rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="bytes that each node sends a second, as a mean over the run"
    )
    time: Annotated[float, Share(0.0, 0.99)] | None = Field(
        None, description="instead: part of the run time in which it sends, where only its nodes' ports limit it"
    )
    share: Annotated[float, Share()] = Field(1.0, description="part of the jobs, drawn by the simulation's seed", validate_default=False)
    queue: str | None = Field(None, description="only jobs of this queue of the log; the share is then one of them")
    overlap: bool = Field(False, description="what is sent runs beside the computation and costs nothing until it takes longer")
    storage: str | None = Field(None, description="storage tier of the pattern storage")
    write: bool = Field(False, description="the tier is written; read without it")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """The amount is given once, and a tier where one is needed."""
        found = [key for key in ("rate", "time") if given.get(key) is not None]
        if len(found) != 1:
            yield RATE_OR_TIME(given=" and ".join(found) or "neither is")
        pattern = given.get("pattern")
        for key in ("storage", "write"):
            if given.get(key) and pattern != "storage":
                yield TIER_OF_STORAGE(path=key, key=key, pattern=pattern)
        if pattern == "storage" and not given.get("storage"):
            yield TIER_OF_STORAGE(key="storage", pattern=pattern)
