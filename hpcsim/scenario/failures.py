"""What breaks, who notices it and when, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Count, NamedMap, Quantity, Share, Spec

__all__ = ["CauseSpec", "FailureSpec", "FailuresSpec", "PredictionSpec"]

ONE_RATE = problem_kind(
    "failure-rate-twice", "{count} of mtbf and type are given", "give mtbf, or type: a catalog entry that has the rate, and not both"
)


class FailureSpec(Spec):
    """Failures of nodes, with exponential times between them."""

    mtbf: Annotated[float, Quantity("time")] | None = Field(None, description="mean time between failures of one node; needed without type")
    type: str | None = Field(
        None,
        description="catalog entry of kind reliability whose rate of node failures is taken, and their causes where it has them",
    )
    repair: Annotated[float, Quantity("time", zero=True)] = Field(description="time until a failed node is back")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """The rate is given once."""
        count = sum(given.get(key) is not None for key in ("mtbf", "type"))
        if count != 1:
            yield ONE_RATE(count="both" if count else "neither")


class CauseSpec(Spec):
    """One cause of failures, with exponential times between them."""

    mtbf: Annotated[float, Quantity("time")] = Field(description="mean time between failures of one of them")
    of: Literal["node", "accelerator", "run"] = Field(
        "node",
        description="of what: a node, an accelerator, or a whole training run, such as faults of its software; jobs have none of the last",
    )
    repair: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="time until the failed node is back; zero where no node is lost and a restart mends it", validate_default=False
    )
    detect: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="time until it is noticed; failures.detect by default"
    )


class PredictionSpec(Spec):
    """Alarms before failures that cost a node, and what is done at one."""

    recall: Annotated[float, Share(0, 1)] = Field(description="share of the failures that are announced")
    precision: Annotated[float, Share(0.001, 1)] = Field(description="share of the alarms that are true")
    lead: Annotated[float, Quantity("time")] = Field(description="time from an alarm to the failure")
    act: Literal["checkpoint", "migrate"] = Field(
        "checkpoint",
        description="checkpoint: what was done is saved before the node fails; migrate: a spare takes the node's place and nothing fails",
    )
    time: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="time that this stops the work; that of a checkpoint by default, with migrate twice that: save and read"
    )


class FailuresSpec(Spec):
    """What breaks."""

    node: FailureSpec | None = Field(None, description="failures of nodes")
    causes: NamedMap[CauseSpec] = Field(default_factory=dict, description="further failures by cause")
    detect: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="time from a failure until it is noticed, in which training stands still", validate_default=False
    )
    crew: Annotated[int, Count(1, 1_000_000)] | None = Field(
        None, description="nodes of a group that can be under repair at once; the others wait. All by default"
    )
    prediction: PredictionSpec | None = Field(None, description="alarms before failures of nodes that train; none without it")

    @property
    def any(self) -> bool:
        """Whether anything breaks."""
        return self.node is not None or bool(self.causes)
