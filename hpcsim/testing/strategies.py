"""Hypothesis strategies that draw scenarios, from the same declarations that check them.

``scenario_data()`` draws plain data of sound form: names need not exist in the catalog, so the second check may refuse it.
Needs the extra ``dev``.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from hpcsim.base.units import DIMENSIONS, exact_text
from hpcsim.scenario.cluster import FABRIC_KEYS, FABRIC_SHAPES, FabricSpec, LocationSpec, PriceSpec, TierSpec
from hpcsim.scenario.communication import CommunicationSpec
from hpcsim.scenario.elastic import KEYS_OF_LAW, ElasticSpec
from hpcsim.scenario.failures import FailureSpec
from hpcsim.scenario.fields import Count, Name, Quantity, Share, Spec
from hpcsim.scenario.serving import ProfileSpec
from hpcsim.scenario.spec import PublishedSpec, ScenarioSpec
from hpcsim.scenario.workload import (
    SYNCHRONY_KEYS,
    SYNCHRONY_NEEDS,
    JobsSpec,
    LayoutSpec,
    SynchronySpec,
    SyntheticSpec,
    TrainingSpec,
    WorkloadSpec,
)

__all__ = ["names", "quantities", "scenario_data", "spec_data", "texts"]

Data = dict[str, Any]


@functools.cache
def names() -> st.SearchStrategy[str]:
    """Draw names that a dotted path can reach."""
    return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,11}", fullmatch=True)


@functools.cache
def texts() -> st.SearchStrategy[str]:
    """Draw text that a scenario file may hold: anything that prints, in any script."""
    return st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20).filter(str.strip)


@functools.cache
def quantities(dimension: str, low: float = 1e-6, high: float = 1e6) -> st.SearchStrategy[str]:
    """Draw quantities of a dimension as text: in the unit of its example, or in SI with every digit."""
    example = DIMENSIONS[dimension].example
    unit = example.partition(" ")[2]
    readable = st.builds(lambda n, gap: f"{n:g}{gap}{unit}", st.floats(0.1, 1000), st.sampled_from(["", " "]))
    return st.one_of(readable, st.floats(low, high).map(lambda x: exact_text(x, dimension)))


def _field(annotation: Any, metadata: typing.Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    for mark in metadata:
        if mark == typing.get_args(Name)[1]:
            return names()
        if isinstance(mark, Quantity):
            limit = {"price of energy": 1.0, "carbon intensity": 1e-5, "water intensity": 1e-3}.get(mark.dimension, 1e6)
            return quantities(mark.dimension, limit * 1e-9, limit)
        if isinstance(mark, Count):
            return st.integers(mark.low, min(mark.high, mark.low + 10_000))
        if isinstance(mark, Share):
            return st.floats(mark.low, mark.high)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _field(args[0], args[1:])
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_field(a) for a in args if a is not type(None)])
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is dict:
        keys = names() if typing.get_origin(args[0]) is not typing.Literal else st.sampled_from(typing.get_args(args[0]))
        return st.dictionaries(keys, _field(args[1]), max_size=2)
    if origin is tuple and args[-1] is not ...:
        return st.tuples(*(_field(one) for one in args)).map(list)
    if origin is tuple:
        return st.lists(_field(args[0]), min_size=1, max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return spec_data(annotation)
    kinds: dict[Any, st.SearchStrategy[Any]] = {str: texts(), bool: st.booleans(), float: st.floats(1, 2), int: st.integers(1, 9)}
    return kinds[annotation]


@functools.cache
def _values(model: type[BaseModel], name: str) -> st.SearchStrategy[Any]:
    """Return the values of a key of a part, made once: a strategy is dear to make."""
    field = model.model_fields[name]
    return _field(field.annotation, field.metadata)


_NOW_AND_THEN = st.integers(0, 3)


@st.composite
def _keys(draw: st.DrawFn, model: type[BaseModel], without: tuple[str, ...] = ()) -> Data:
    data: Data = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in without or not (field.is_required() or draw(_NOW_AND_THEN) == 0):
            continue
        value = draw(_values(model, name))
        if value == {} and field.is_required() and typing.get_origin(field.annotation) is dict:
            value = {"only": draw(_field(typing.get_args(field.annotation)[1]))}
        data[key] = value
    return data


@st.composite
def _one_of(draw: st.DrawFn, model: type[BaseModel], *keys: str) -> Data:
    data = draw(_keys(model, keys))
    chosen = draw(st.sampled_from(keys))
    return {**data, chosen: draw(_values(model, chosen))}


@st.composite
def _fabric(draw: st.DrawFn) -> Data:
    topology = draw(st.sampled_from([*sorted(FABRIC_SHAPES), "mine"]))
    foreign = {key for owners, keys in FABRIC_KEYS.items() if topology not in owners for key in keys}
    data = draw(_keys(FabricSpec, (*foreign, "down", "up", "parallel", "failed", "degraded", "wan")))
    data |= {"topology": topology, "link": draw(texts())}
    places: list[Data] = [{"vertex": draw(texts())}, {"tier": draw(texts()), "share": 0.5}, {"between": [draw(texts()), draw(texts())]}]
    if draw(st.integers(0, 3)) == 0:
        data["failed"] = {draw(names()): draw(st.sampled_from(places))}
        data["degraded"] = {draw(names()): {**draw(st.sampled_from(places)), "rate": draw(st.floats(0.1, 1))}}
    if topology == "fat-tree" and draw(st.booleans()):
        levels = draw(st.integers(1, 3))
        lists = st.lists(st.integers(1, 64), min_size=levels, max_size=levels)
        data |= {"down": draw(lists), "up": draw(lists)}
        if draw(st.booleans()):
            data["parallel"] = draw(lists)
    return data


@st.composite
def _price(draw: st.DrawFn) -> Data | str:
    rest = draw(_keys(PriceSpec, ("hourly", "capex", "lifetime", "provider")))
    forms: list[Data] = [
        {"hourly": draw(quantities("price per time"))},
        {"capex": draw(quantities("money")), "lifetime": draw(quantities("time"))},
        {"provider": draw(names())},
    ]
    choices: list[Data | str] = [forms[0]["hourly"], *({**rest, **form} for form in forms)]
    return draw(st.sampled_from(choices))


@st.composite
def _synchrony(draw: st.DrawFn) -> Data:
    mode = draw(st.sampled_from(["synchronous", *SYNCHRONY_NEEDS]))
    foreign = tuple(key for key, modes in SYNCHRONY_KEYS.items() if mode not in modes)
    data = draw(_keys(SynchronySpec, ("mode", *foreign)))
    for key in SYNCHRONY_NEEDS.get(mode, ()):
        data.setdefault(key, draw(_values(SynchronySpec, key)))
    return {**data, "mode": mode}


@st.composite
def _layout(draw: st.DrawFn) -> Data:
    data = draw(_keys(LayoutSpec))
    return data | {"recompute": "full"} if "recompute_frac" in data else data


@st.composite
def _elastic(draw: st.DrawFn) -> Data:
    law = draw(st.sampled_from(list(KEYS_OF_LAW)))
    data = draw(_keys(ElasticSpec, ("law", "table", *(key for name, keys in KEYS_OF_LAW.items() if name != law for key in keys))))
    if law == "table":
        data["table"] = {str(size): draw(st.floats(0.1, 10)) for size in draw(st.sets(st.integers(1, 64), min_size=1, max_size=3))}
    if law == "training":
        data.setdefault("run", draw(texts()))
    return {**data, "law": law}


@st.composite
def _communication(draw: st.DrawFn) -> Data:
    data = draw(_keys(CommunicationSpec, ("rate", "time", "storage", "write")))
    amounts: list[Data] = [{"rate": draw(quantities("data rate"))}, {"time": draw(st.floats(0.0, 0.99))}]
    amount = draw(st.sampled_from(amounts))
    tier: Data = {"storage": draw(texts()), "write": draw(st.booleans())} if data["pattern"] == "storage" else {}
    return {**data, **amount, **tier}


_PATTERNS: tuple[Data, ...] = (
    {"kind": "halo", "work": "1 PFLOP", "grid": [64, 64]},
    {"kind": "transpose", "work": "2 TFLOP", "grid": [128, 128, 128]},
    {"kind": "ensemble", "work": "5 TFLOP", "tasks": 7},
)
_PIPELINES: tuple[Data, ...] = (
    {"data": "1 TB", "stages": {"read": {"kind": "load", "from": "lake"}, "zip": {"kind": "compress", "method": "lz4", "to": "lake"}}},
    {"data": "2 TB", "records": 10**6, "every": "24 h", "times": 2, "stages": {"copy": {"kind": "backup", "from": "a", "to": "b"}}},
)
_SERVICES: tuple[Data, ...] = (
    {"model": "llama3-8b", "load": "20/s", "prompt": {"mean": 500, "spread": 1}, "output": 100, "objectives": {"ttft": "1 s"}},
    {"model": "resnet-50", "load": "1 kHz", "replicas": 3, "routing": "own", "profile": [1, 2, 3], "access": {"latency": "5 ms"}},
)
_PLANS: tuple[Data, ...] = (
    {"goals": {"train": {"run": {"within": "60 days"}}}},
    {"goals": {"train": {"a": {"by": "90 days"}, "b": {"within": "2 days"}}}, "limits": {"outlay": "9 MUSD"}},
)


@st.composite
def _workload(draw: st.DrawFn) -> Data:
    data = draw(_keys(WorkloadSpec, ("patterns", "pipelines", "serving")))
    if draw(st.integers(0, 3)) == 0:
        data["patterns"] = {draw(names()): draw(st.sampled_from(_PATTERNS))}
    if draw(st.integers(0, 3)) == 0:
        data["pipelines"] = {draw(names()): draw(st.sampled_from(_PIPELINES))}
    if draw(st.integers(0, 3)) == 0:
        data["serving"] = {draw(names()): draw(st.sampled_from(_SERVICES))}
    if not any(data.values()):
        data["training"] = {"run": draw(spec_data(TrainingSpec))}
    return data


def _published() -> st.SearchStrategy[Data]:
    value = st.one_of(texts(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
    return st.fixed_dictionaries({"value": value, "source": texts()}, optional={"note": texts()})


def spec_data(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Draw data that one part of a scenario accepts; needed keys always, others now and then."""
    if model is FabricSpec:
        return _fabric()
    if model is TierSpec:
        return _keys(TierSpec, ("pieces", "parity"))
    if model is LocationSpec:
        return _keys(LocationSpec, ("country",))
    if model is PriceSpec:
        return _price()
    if model is PublishedSpec:
        return _published()
    if model is WorkloadSpec:
        return _workload()
    if model is LayoutSpec:  # a share of recomputed layers goes with full recomputation only
        return _keys(LayoutSpec, ("recompute_frac",))
    if model is SynchronySpec:
        return _synchrony()
    if model is LayoutSpec:
        return _layout()
    if model is CommunicationSpec:
        return _communication()
    if model is ElasticSpec:
        return _elastic()
    if model is ScenarioSpec:
        return scenario_data()
    exclusive = {
        TrainingSpec: ("tokens", "steps", "samples"),
        JobsSpec: ("trace", "synthetic", "search"),
        SyntheticSpec: ("jobs", "load"),
        FailureSpec: ("mtbf", "type"),
    }
    if model in exclusive:
        return _one_of(model, *exclusive[model])
    return _keys(model).filter(lambda data: _sound(model, data))


def _sound(model: type[BaseModel], data: Data) -> bool:
    """Return whether the keys of a part go together, as far as it says so itself."""
    together = not issubclass(model, Spec) or not any(True for _ in model.form(data))
    return together and (model is not ProfileSpec or any(data["parts"]))


@st.composite
def scenario_data(draw: st.DrawFn) -> Data:
    """Draw the plain data of a whole scenario of sound form, as a file would hold it."""
    data = draw(_keys(ScenarioSpec, ("sweep", "uncertain", "schema", "cluster", "plan")))
    if draw(st.integers(0, 3)) == 0:
        data["plan"] = draw(st.sampled_from(_PLANS))
    data["cluster"] = draw(_keys(ScenarioSpec.model_fields["cluster"].annotation))  # type: ignore[arg-type]
    plain = st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), texts(), st.booleans(), st.none())
    values = st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(texts(), plain, max_size=2))
    axes = st.from_regex(r"[a-z]{1,6}(\.[a-z0-9]{1,6}){0,3}", fullmatch=True)
    if draw(st.booleans()):
        data["sweep"] = draw(st.dictionaries(axes, st.lists(values, min_size=1, max_size=3), max_size=2))
    if draw(st.booleans()):
        spread = st.sampled_from(["1.1..1.4", {"low": 1, "high": 9}, {"lognormal": "6000 h", "factor": 2}, ["a", "b"], {"within": "20 %"}])
        data["uncertain"] = draw(st.dictionaries(axes, spread, max_size=2))
    data["schema"] = 1
    shuffled = draw(st.permutations(list(data)))
    return {key: data[key] for key in shuffled}
