"""Batch jobs that may change their size: which, from what to what, and how fast they are then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Count, NamedMap, Share, Spec

__all__ = ["KEYS_OF_LAW", "ElasticSpec"]

NOT_OF_LAW = problem_kind("elastic-key", "{key} says nothing about the law {law}", "it belongs to: {laws}")
MISSING_OF_LAW = problem_kind("elastic-missing", "the law {law} needs {key}", "add {key}")
NO_NUMBER = problem_kind("elastic-table-key", "{key!r} is no number of processors", "whole numbers, such as {{1: 1, 2: 1.9, 4: 3.5}}")

KEYS_OF_LAW = {
    "amdahl": ("serial",),
    "downey": ("parallelism", "variance"),
    "table": ("table",),
    "training": ("run", "noise_scale", "max_batch"),
}
"""Keys of an elastic part that belong to one law only."""


class ElasticSpec(Spec):
    """Jobs that may change their size. A job's run time is that on the processors that it asks for."""

    law: Literal["amdahl", "downey", "table", "training"] = Field(
        "downey",
        description="speed on so many processors: Amdahl's law, Downey's model, a table, or the goodput of a training run by the cost model",
    )
    serial: Annotated[float, Share(0, 1)] | None = Field(None, description="amdahl: serial share; 5% by default")
    parallelism: Annotated[float, Share(0.001, 1e9)] | None = Field(
        None, description="downey: average parallelism, over the processors that a job asks for; 2 by default"
    )
    variance: Annotated[float, Share(0, 1e9)] | None = Field(None, description="downey: variance of the parallelism; 1 by default")
    table: NamedMap[Annotated[float, Share(1e-12, 1e18)]] = Field(
        default_factory=dict, description="table: speed by processors, in any unit, such as {1: 1, 2: 1.9, 4: 3.5}"
    )
    run: str | None = Field(
        None, description="training: the run of workload.training whose throughput on so many nodes is computed, the layout searched anew"
    )
    noise_scale: Annotated[float, Share(0, 1e15)] | None = Field(
        None, description="training: gradient noise scale in sequences, which says how far larger batches pay; without it the batch stays"
    )
    max_batch: Annotated[int, Count(1, 10**9)] | None = Field(
        None, description="training: largest global batch, reached by doubling; with noise_scale eight times the run's by default"
    )
    least: Annotated[float, Share(0, 1)] = Field(0.25, description="fewest processors, over those that a job asks for")
    most: Annotated[float, Share(1, 1e9)] = Field(4.0, description="most processors, over those that a job asks for")
    part: Annotated[float, Share(0, 1)] = Field(1.0, description="part of the jobs, drawn at random, that may change their size")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Keys belong to the law."""
        law = str(given.get("law", "downey"))
        if law not in KEYS_OF_LAW:
            return
        for name, keys in KEYS_OF_LAW.items():
            for key in keys:
                if name != law and given.get(key) not in (None, {}):
                    yield NOT_OF_LAW(path=key, key=key, law=law, laws=name)
        needed = {"table": "table", "training": "run"}.get(law)
        if needed is not None and not given.get(needed):
            yield MISSING_OF_LAW(law=law, key=needed)
        table = given.get("table")
        for key in table if isinstance(table, Mapping) else ():
            if not str(key).isdecimal() or int(key) < 1:
                yield NO_NUMBER(path=f"table.{key}", key=key)
