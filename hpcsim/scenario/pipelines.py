"""Data pipelines of a scenario: named stages over data, what each does to them, where it reads and writes, and who may see what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.fields import Count, NamedMap, Quantity, Share, Spec

__all__ = ["COMPUTING", "METHODS", "PRIVATE", "InFlightSpec", "PipelineSpec", "StageKind", "StageSpec"]

NOT_OF_STAGE = problem_kind("stage-key", "{key} says nothing about a stage of kind {kind}", "it belongs to: {kinds}")
MISSING_OF_STAGE = problem_kind("stage-missing", "a stage of kind {kind} needs {key}", "add {key}, for example {example}")
TWO_RATES = problem_kind("stage-rates", "a stage has one rate; here rate (of a core) and node_rate (of a node)", "keep one of them")
NO_STAGES = problem_kind("pipeline-empty", "the pipeline has no stage", "add at least one under stages")
NO_NAMES = problem_kind(
    "pipeline-rule-empty", "{key} is empty, so that the data could be nowhere", "name at least one, or leave the key out"
)
ONE_TIME = problem_kind("pipeline-times", "times says how often a pipeline repeats, and every says when; here {given} alone", "give both")

StageKind = Literal[
    "stage", "collect", "label", "clean", "normalise", "deduplicate", "compress", "decompress", "encrypt", "decrypt", "anonymise",
    "access-check", "audit", "shuffle", "shard", "archive", "load", "backup", "restore",
]  # fmt: skip

COMPUTING = ("label", "clean", "normalise", "anonymise")
"""Kinds whose rate nobody but the user knows."""
METHODS = {"compress": "zstd-1", "decompress": "zstd-1", "encrypt": "aes-256-gcm", "decrypt": "aes-256-gcm", "deduplicate": "sha-256"}
"""Kinds that work by a method of the catalog, with an example."""
PRIVATE = ("encrypt", "decrypt", "anonymise", "access-check", "audit")
"""Kinds that serve security and governance."""
_CODECS = ("compress", "decompress")
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "method": tuple(METHODS),
    "content": _CODECS,
    "duplicate": ("deduplicate",),
    "leaves": ("anonymise",),
    "latency": ("access-check",),
    "batch": ("access-check",),
    "per": ("access-check",),
    "log": ("audit",),
    "sample": ("audit",),
    "spill": ("shuffle",),
    "shard": ("shard",),
    "restores": ("backup",),
    "arrives": ("collect",),
}
"""Keys that belong to some kinds alone."""
_OWN_RATIO = (*_CODECS, "deduplicate", "encrypt", "decrypt", "access-check", "audit", "shuffle")
"""Kinds that change the bytes by what they are, if at all."""


class StageSpec(Spec):
    """One stage of a pipeline."""

    kind: StageKind = Field("stage", description="what is done; stage is anything else, with rate and ratio of your own")
    after: tuple[str, ...] | None = Field(
        None, description="stages whose output it takes; the one before it by default, none for one that begins with data of its own"
    )
    data: Annotated[float, Quantity("data size")] | None = Field(None, description="data that it begins with; the pipeline's by default")
    from_storage: str | None = Field(
        None, alias="from", description="storage tier that it reads; by default it takes what the stage before hands on"
    )
    to: str | None = Field(None, description="storage tier that it writes; by default it hands on what it made")
    nodes: str | None = Field(None, description="node group that runs it; the pipeline's by default")
    count: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="nodes of the group; the pipeline's by default")
    cores: Annotated[int, Count(1, 100_000)] | None = Field(None, description="most cores of a node that it uses; all by default")
    rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate of one core, in data that come in; the method's by default"
    )
    node_rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate of one node where it is no matter of cores (an accelerator, a card)"
    )
    ratio: Annotated[float, Share(1e-9, 1e6)] | None = Field(None, description="bytes out over bytes in; 1 by default, or the method's")
    method: str | None = Field(None, description="cipher, checksum or compressor of the catalog (data-methods)")
    content: str | None = Field(None, description="what is compressed, of which the catalog has a ratio; mixed by default")
    duplicate: Annotated[float, Share(0, 0.999)] | None = Field(None, description="share that repeats other data and goes")
    leaves: bool = Field(False, description="what comes out is no longer bound to the pipeline's data_in and operators")
    latency: Annotated[float, Quantity("time")] | None = Field(None, description="time to the answer of one access check")
    batch: Annotated[int, Count(1, 1_000_000_000)] | None = Field(None, description="checks that are asked for together; 1 by default")
    per: Literal["object", "record"] | None = Field(None, description="what is checked; each object by default")
    sample: Annotated[float, Share(1e-9, 1)] | None = Field(
        None, description="share of the data that an audit looks through; all by default"
    )
    log: Annotated[float, Quantity("data size")] | None = Field(None, description="log written for a record")
    spill: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate of a node's local disks, to which a shuffle writes once and reads once; it stays in memory without"
    )
    shard: Annotated[float, Quantity("data size")] | None = Field(None, description="size of an object that it makes")
    restores: Annotated[float, Quantity("data size")] | None = Field(
        None, description="data that a restore would bring back; those of one run by default"
    )
    arrives: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate at which data arrive from outside; not limited by default"
    )
    streams: Annotated[int, Count(1, 1_000_000)] | None = Field(
        None, description="requests that a node has under way at once; one a core by default"
    )
    keep: Annotated[float, Quantity("time")] | None = Field(
        None, description="time for which what it writes is kept and paid for; to the end of the run by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"kind": data}
        if isinstance(data, dict) and isinstance(data.get("after"), str):
            return {**data, "after": (data["after"],)}
        return {**data, "after": tuple(data["after"])} if isinstance(data, dict) and isinstance(data.get("after"), list) else data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Keys belong to the kind, and what a kind needs is there."""
        kind = given.get("kind", "stage")
        if "rate" in given and "node_rate" in given:
            yield TWO_RATES(path="node_rate")
        for key, kinds in _OF_KIND.items():
            if given.get(key, False) is not False and kind not in kinds:
                yield NOT_OF_STAGE(path=key, key=key, kind=kind, kinds=", ".join(kinds))
        if "ratio" in given and kind in _OWN_RATIO and kind not in _CODECS:
            yield NOT_OF_STAGE(path="ratio", key="ratio", kind=kind, kinds="stages that change the size of the data by it")
        yield from _needs(kind, given)


def _needs(kind: Any, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what a kind of stage needs and has not."""
    if kind in COMPUTING and "rate" not in given and "node_rate" not in given:
        yield MISSING_OF_STAGE(kind=kind, key="rate", example="rate: 50 MB/s (of a core), or node_rate")
    if kind in METHODS and "method" not in given:
        yield MISSING_OF_STAGE(kind=kind, key="method", example=f"method: {METHODS[kind]}")
    examples = {
        "access-check": ("latency", "2 ms"),
        "audit": ("log", "200 B"),
        "shard": ("shard", "256 MB"),
        "deduplicate": ("duplicate", "0.2"),
    }
    if kind in examples and examples[kind][0] not in given:
        yield MISSING_OF_STAGE(kind=kind, key=examples[kind][0], example=f"{examples[kind][0]}: {examples[kind][1]}")
    if kind in ("audit", "archive", "backup") and "to" not in given:
        yield MISSING_OF_STAGE(kind=kind, key="to", example="to: the storage tier that takes it")


class InFlightSpec(Spec):
    """Encryption of data on their way between locations."""

    method: str = Field(description="cipher of the catalog (data-methods); an inline one costs no cores")
    everywhere: bool = Field(False, description="on every way, not only between locations")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"method": data} if isinstance(data, str) else data


class PipelineSpec(Spec):
    """Stages over data, one after the other or all at once."""

    stages: NamedMap[StageSpec] = Field(description="stages by name, in their order")
    data: Annotated[float, Quantity("data size")] | None = Field(None, description="data into each stage that no other feeds")
    records: Annotated[int, Count(1)] | None = Field(None, description="records in these data")
    objects: Annotated[int, Count(1)] | None = Field(None, description="files or objects that they lie in")
    mode: Literal["streaming", "staged"] = Field(
        "streaming", description="streaming: all stages at once, the slowest decides; staged: one after the other"
    )
    chunk: Annotated[float, Quantity("data size")] = Field(
        128 * 2.0**20, description="what a stage hands on at once in streaming", validate_default=False
    )
    nodes: str | None = Field(None, description="node group; the only one by default")
    count: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="nodes of it; the whole group by default")
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time of submission", validate_default=False)
    every: Annotated[float, Quantity("time")] | None = Field(None, description="time from one run to the next; it runs once without")
    times: Annotated[int, Count(1, 100_000)] | None = Field(None, description="number of runs, with every")
    in_flight: InFlightSpec | None = Field(None, description="cipher for data between locations; they go as they are without")
    data_in: tuple[str, ...] | None = Field(
        None, description="where the data may be: ISO codes of countries, EU, EEA, or names of locations, '*' matching anything"
    )
    operators: tuple[str, ...] | None = Field(None, description="who may hold and so could read the data: operators of cluster.locations")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {k: tuple(v) if k in ("data_in", "operators") and isinstance(v, list) else v for k, v in data.items()}

    @model_validator(mode="after")
    def _chained(self) -> Self:
        """Have each stage say what it follows, so that their order is content and not only the order of a file.

        What is filled in does not count as given: a stage that is varied gets it anew, as if the file had been edited.
        """
        before: tuple[str, ...] = ()
        for name, stage in self.stages.items():
            if stage.after is None:
                stage.__dict__["after"] = before if stage.data is None else ()
                stage.model_fields_set.discard("after")
            before = (name,)
        return self

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """There are stages, and repetition is said in full."""
        if not given.get("stages") and "stages" in given:
            yield NO_STAGES(path="stages")
        for key in ("data_in", "operators"):
            if key in given and not given[key]:
                yield NO_NAMES(path=key, key=key)
        if ("every" in given) != ("times" in given):
            yield ONE_TIME(path="every" if "every" in given else "times", given="every" if "every" in given else "times")
