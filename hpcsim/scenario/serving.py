"""The part of a scenario that says which models are served, to whom, and how well."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from hpcsim.base.errors import InputError, Problem, problem_kind
from hpcsim.base.units import DIMENSIONS, parse_count
from hpcsim.scenario.fields import Count, Quantity, Share, Spec, fail
from hpcsim.scenario.models import ModelSpec

__all__ = ["AccessSpec", "LengthSpec", "ObjectivesSpec", "ProfileSpec", "ServingSpec"]

BAD_REPLICAS = problem_kind("serving-replicas-form", "{value!r} is no number of replicas", "a whole number of at least 1, or auto")
CHUNK_MODE = problem_kind("serving-chunk", "chunk says nothing about prefills that {mode}", "it belongs to prefill: chunked")
APART_MODE = problem_kind("serving-apart", "{key} says nothing about prefills that {mode}", "it belongs to prefill: apart")
APART_NEEDS = problem_kind("serving-apart-missing", "prefill: apart needs prefill_replicas", "say how many replicas do prefills alone")
EMPTY_PROFILE = problem_kind("serving-profile", "the profile has no load", "at least one of its parts above zero")

_STEADY_S = 600.0
"""Time in which requests arrive where nothing is said and the load is steady [s]."""
_MODES = {"stall": "stall the decode steps", "chunked": "go along in chunks", "apart": "are done apart"}


def _replicas(value: object) -> int | None:
    if value is None or (isinstance(value, str) and value.strip() == "auto"):
        return None
    try:
        number = parse_count(value)
    except InputError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= 1_000_000:
        fail(BAD_REPLICAS(value=value))
    return number


_PER = re.compile(r"\s*([-+]?[0-9][0-9._]*(?:[eE][+-]?[0-9]+)?)\s*/\s*([A-Za-z]+)\s*\Z")


class Rate(Quantity):
    """Annotation of a rate of requests: ``20/s``, ``1200/min`` or any frequency."""

    def __init__(self) -> None:
        super().__init__("frequency")

    def parse(self, value: object) -> float:
        """Return requests per second or raise InputError."""
        found = _PER.match(value) if isinstance(value, str) else None
        read = f"{found[1]} 1/{found[2]}" if found else value
        try:
            return super().parse(read)
        except InputError as error:
            (problem,) = error.problems
            words = problem.message.replace(repr(read), repr(value)).replace("a frequency", "a rate of requests")
            hint = problem.hint.replace(DIMENSIONS["frequency"].example, "20/s")
            raise InputError([dataclasses.replace(problem, message=words, hint=hint)]) from None

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "description": "rate with its unit", "examples": ["20/s", "1200/min"]}


if TYPE_CHECKING:
    Replicas = int | None
else:
    Replicas = Annotated[
        int | None,
        BeforeValidator(_replicas),
        PlainSerializer(lambda v: "auto" if v is None else v),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "examples": ["auto"]}, {"type": "null"}]}),
    ]


class LengthSpec(Spec):
    """Tokens of prompts or answers: log-normal, or all alike."""

    mean: Annotated[int, Count(1, 10_000_000)] = Field(description="mean")
    spread: Annotated[float, Share(0, 10)] = Field(0.0, description="standard deviation over the mean; 0: all are alike")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"mean": data} if isinstance(data, (int, str)) and not isinstance(data, bool) else data


class ProfileSpec(Spec):
    """How the load goes up and down around its mean, again and again."""

    parts: tuple[Annotated[float, Share(0, 1e6)], ...] = Field(
        description="load of equal parts of the period, in any unit: 24 of them are hours of a day"
    )
    period: Annotated[float, Quantity("time")] = Field(86_400.0, description="time after which it repeats", validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if isinstance(data, (list, tuple)):
            data = {"parts": data}
        if isinstance(data, dict) and isinstance(data.get("parts"), list):
            return {**data, "parts": tuple(data["parts"])}
        return data

    @model_validator(mode="after")
    def _some(self) -> ProfileSpec:
        if not sum(self.parts) > 0:
            fail(EMPTY_PROFILE())
        return self


class ObjectivesSpec(Spec):
    """What the users were promised."""

    ttft: Annotated[float, Quantity("time")] | None = Field(None, description="time to the first token at most, at the quantile")
    tpot: Annotated[float, Quantity("time")] | None = Field(
        None, description="time per further token of a request at most, at the quantile"
    )
    deadline: Annotated[float, Quantity("time")] | None = Field(
        None, description="time from request to whole answer at most: an answer that is later is worth nothing"
    )
    quantile: Annotated[float, Share(0.5, 0.9999)] = Field(0.95, description="share of the requests that have to keep them")


class AccessSpec(Spec):
    """The way between a user and the place where the model is served; every user has one alone."""

    latency: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="one way", validate_default=False)
    jitter: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0, description="mean of an exponential delay that is added once a request", validate_default=False
    )
    rate: Annotated[float, Quantity("data rate")] | None = Field(None, description="rate of the user's line; unbounded without it")
    request: Annotated[float, Quantity("data size", zero=True)] = Field(0.0, description="size of a request", validate_default=False)
    answer: Annotated[float, Quantity("data size", zero=True)] = Field(0.0, description="size of an answer", validate_default=False)


class ServingSpec(Spec):
    """A model that is served."""

    model: ModelSpec = Field(description="catalog model by name, or inline hyper-parameters")
    load: Annotated[float, Rate()] = Field(description="requests per second, on average")
    prompt: LengthSpec = Field(LengthSpec(mean=1), description="tokens of a prompt; leave it out for models whose requests are samples")
    output: LengthSpec = Field(LengthSpec(mean=1), description="tokens of an answer; 1, the default: one pass gives the whole answer")
    nodes: str | None = Field(None, description="node group; the only one with accelerators by default")
    tp: Annotated[int, Count(1, 100_000)] = Field(1, description="devices of a replica, which share every matrix (tensor parallel)")
    replicas: Replicas = Field(
        None, description="copies of the model; auto, the default: the fewest that keep the objectives with what target leaves free"
    )
    weights: Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"] = Field("bf16", description="format of the layers' weights")
    cache: Literal["fp32", "bf16", "fp16", "fp8", "int8"] = Field("bf16", description="format of the cache of keys and values")
    memory: Annotated[float, Share(0.05, 1)] = Field(0.9, description="share of a device's memory for weights, cache and buffers")
    slots: Annotated[int, Count(1, 100_000)] | None = Field(
        None, description="requests that a replica works on at once at most; as many as the memory holds without it, up to 1,024"
    )
    prefill: Literal["stall", "chunked", "apart"] = Field(
        "stall",
        description="prefills stall: they hold up the decode steps; chunked: in pieces beside them; apart: on replicas of their own",
    )
    pass_tokens: Annotated[int, Count(1, 10_000_000)] | None = Field(
        None, description="prompts are taken together up to so many tokens (samples); 2,048 by default (1 sample)"
    )
    chunk: Annotated[int, Count(1, 1_000_000)] | None = Field(
        None, description="tokens of prompts beside a decode step, if chunked; 512 by default"
    )
    prefill_replicas: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="replicas that do prefills alone, if apart")
    routing: Literal["least-loaded", "round-robin", "own"] = Field(
        "least-loaded", description="replica of a request: that with the least to do; in turn; or own: the one where its user is"
    )
    objectives: ObjectivesSpec = Field(default_factory=ObjectivesSpec, description="what the users were promised")
    target: Annotated[float, Share(0.05, 1)] = Field(
        0.8, description="auto plans for this share, at most, of the load at which the objectives are still kept"
    )
    profile: ProfileSpec | None = Field(None, description="how the load goes up and down; steady without it")
    arrivals: Literal["poisson", "even"] = Field("poisson", description="independent users, or a beat")
    access: AccessSpec = Field(default_factory=AccessSpec, description="the way to the users; none without it")
    duration: Annotated[float, Quantity("time")] | None = Field(
        None, description="time in which requests arrive; one period of the profile by default, 10 minutes where the load is steady"
    )
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time at which it begins", validate_default=False)

    @property
    def lasts_s(self) -> float:
        """Time in which requests arrive [s]."""
        if self.duration is not None:
            return self.duration
        return _STEADY_S if self.profile is None else self.profile.period

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Keys belong to the way in which prefills are done."""
        mode = given.get("prefill", "stall")
        if mode not in _MODES:
            return
        if "chunk" in given and mode != "chunked":
            yield CHUNK_MODE(path="chunk", mode=_MODES[str(mode)])
        if "prefill_replicas" in given and mode != "apart":
            yield APART_MODE(path="prefill_replicas", key="prefill_replicas", mode=_MODES[str(mode)])
        if mode == "apart" and "prefill_replicas" not in given:
            yield APART_NEEDS()
