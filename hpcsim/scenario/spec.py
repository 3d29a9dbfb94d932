"""The scenario: everything a run needs, as frozen plain data."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from hpcsim.base.errors import problem_kind
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.scenario.failures import FailuresSpec
from hpcsim.scenario.fields import Count, Frozen, Name, NamedMap, Quantity, Share, Spec, fail, frozen, guarded, is_text, plain
from hpcsim.scenario.plan import PlanSpec
from hpcsim.scenario.ranges import is_range, parse_range
from hpcsim.scenario.scheduler import SchedulerSpec
from hpcsim.scenario.uncertain import DISTRIBUTION_KEYS, parse_distribution
from hpcsim.scenario.workload import WorkloadSpec

__all__ = ["AssumeSpec", "PublishedSpec", "ScenarioSpec", "SchedulerSpec", "SimulateSpec"]

SWEEP_AXIS = problem_kind(
    "sweep-axis",
    "{value!r} is no list of values",
    "an axis of a sweep needs at least one, such as [24, 48, 96], or a range, such as 24..96:24",
)
BAD_PATH = problem_kind("bad-path", "{value!r} is no dotted path", "for example cluster.nodes.gpu.count")
BAD_FIGURE = problem_kind("bad-figure", "{value!r} is no figure", "give a number, or text with its unit, such as '117 days'")


def _axis(path: str) -> str:
    """Check a dotted path, or several with commas between: an axis whose values go together."""
    if not all(re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", part.strip(), re.ASCII) for part in path.split(",")):
        fail(BAD_PATH(value=path))
    return path


class _Values:
    """Annotation of the values of a sweep's axis: a list of any plain data, frozen, or a range as text."""

    @staticmethod
    def parse(value: object) -> tuple[Any, ...] | str:
        if isinstance(value, str) and is_range(value):
            parse_range(value)
            return value
        values = plain(value)
        if not isinstance(values, list) or not values:
            raise SWEEP_AXIS.error(value=value)
        return tuple(frozen(item) for item in values)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            guarded(self.parse), serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = {"type": "array", "minItems": 1, "examples": [[24, 48, 96]]}
        spanned = {"type": "string", "pattern": r"\.\.", "examples": ["24..96:24", "log:1 GB/s..100 GB/s:5"]}
        return {"anyOf": [listed, spanned], "description": "values of the axis: a list, or a range a..b:step, lin:a..b:n, log:a..b:n"}


class _Uncertain:
    """Annotation of a distribution: kept as written, checked."""

    @staticmethod
    def parse(value: object) -> Any:
        written = plain(value)
        parse_distribution(written)
        return frozen(written)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            guarded(self.parse), serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = {
            "type": "object",
            "properties": {key: {"description": text} for key, text in DISTRIBUTION_KEYS.items()},
            "additionalProperties": False,
        }
        spanned = {"type": "string", "pattern": r"\.\.", "examples": ["1.1..1.4", "40..80 g/kWh"]}
        return {"anyOf": [spanned, full, {"type": "array", "minItems": 1}], "description": "a distribution"}


def _figure(value: object) -> object:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    elif isinstance(value, str) and is_text(value) and value.strip():
        return value
    fail(BAD_FIGURE(value=value))


def _version(value: object) -> object:
    return repr(value) if isinstance(value, (bool, float)) else value


class PublishedSpec(Spec):
    """A published figure that the result is held against."""

    value: Annotated[str | float, BeforeValidator(_figure)] = Field(description="the figure, with its unit where it has one")
    source: str = Field(description="where it was published")
    note: str = Field("", description="what it counts, where that differs from hpcsim's")


class SimulateSpec(Spec):
    """How the simulation runs."""

    until: Annotated[float, Quantity("time")] | None = Field(None, description="horizon; the end of the last job without it")
    seed: Annotated[int, Count(0, 2**63 - 1)] = Field(1, description="seed of every random stream")
    flows: bool = Field(False, description="write down who sends how much to whom and when, and the load of the links over time")


class AssumeSpec(Spec):
    """Factors on what hpcsim predicts or takes from the catalog: an error of its own as an input like any other."""

    step_time: Annotated[float, Share(0.01, 100)] = Field(1.0, description="factor on the predicted time of a training step")
    power: Annotated[float, Share(0.01, 100)] = Field(1.0, description="factor on the modelled power above idle of nodes that train")
    prices: NamedMap[Annotated[float, Share(0.01, 100)]] = Field(
        default_factory=dict,
        description="factor on the catalog's hourly prices, by accelerator (node type where a group has none): the market moves all offers of one together",
    )


class ScenarioSpec(Spec):
    """One question to hpcsim."""

    schema_: Annotated[Literal[1], BeforeValidator(_version)] = Field(alias="schema", description="version of this format: 1")
    name: Name = Field(description="short name; results go to reports/<name>/")
    question: str = Field(description="the question that the scenario answers", min_length=1)
    notes: tuple[str, ...] = Field((), description="assumptions that the reader should know")
    catalogs: tuple[str, ...] = Field(
        (), description="overlay catalogs, relative to this file; later ones win. hpcsim calibrate writes them"
    )
    cluster: ClusterSpec = Field(description="the machine")
    workload: WorkloadSpec = Field(description="what it has to do")
    scheduler: SchedulerSpec = Field(default_factory=SchedulerSpec, description="how the queue is served")
    failures: FailuresSpec = Field(default_factory=FailuresSpec, description="what breaks; nothing without it")
    simulate: SimulateSpec = Field(default_factory=SimulateSpec, description="horizon and seed")
    sweep: Annotated[dict[Annotated[str, AfterValidator(_axis)], Annotated[tuple[Any, ...] | str, _Values()]], Frozen] = Field(
        default_factory=dict,
        description="axes of a sweep: dotted path and its values, a list or a range such as 24..96:24; paths with commas between take a list of rows",
    )
    plan: PlanSpec | None = Field(None, description="what hpcsim plan has to reach, may choose, and within which limits")
    uncertain: Annotated[dict[Annotated[str, AfterValidator(_axis)], Annotated[Any, _Uncertain()]], Frozen] = Field(
        default_factory=dict,
        description="what is not known exactly: dotted path and its distribution, such as 1.1..1.4 or {lognormal: 6000 h, factor: 2}; "
        "hpcsim sweep --sensitivity draws from them",
    )
    assume: AssumeSpec = Field(default_factory=AssumeSpec, description="factors on what hpcsim predicts; 1 takes it as it is")
    published: NamedMap[PublishedSpec] = Field(default_factory=dict, description="published figures by summary key")

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {k: tuple(v) if k in ("notes", "catalogs") and isinstance(v, list) else v for k, v in data.items()}
