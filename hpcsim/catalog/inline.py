"""A scenario's model against the catalog: a catalog model, one with changed hyper-parameters, or one described in line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.scenario.workload import ModelSpec

__all__ = ["resolve_model"]

MODEL_NEEDS = problem_kind(
    "model-needs", "an inline model needs {key}", "give a catalog model by name, or family, layers, hidden, ffn, heads and vocab"
)
TWO_MODELS = problem_kind("model-twice", "the model has both base and config", "keep one of them")
UNLIKE = problem_kind("model-shape", "{what}", "{hint}")
BAD_MODEL = problem_kind("model-value", "{message}", "")

_INLINE = ("family", "layers", "hidden", "heads", "vocab")
_FIXED = ("resnet", "dlrm")
_OF_EXPERTS = ("experts_per_token", "shared_experts", "expert_ffn", "dense_layers", "capacity", "imbalance")
_LABEL = {"id", "title", "aliases", "note", "sources"}


def resolve_model(spec: ModelSpec, catalog: Catalog, *, name: str, path: str, folder: str | Path = ".") -> Network:
    """Return the network that a scenario describes: a catalog model, its changed hyper-parameters, or all of them in line.

    Parameters
    ----------
    spec : ModelSpec
    catalog : Catalog
    name : str
        Name of an inline model.
    path : str
        Dotted path of the model in the scenario.
    folder : path
        Where a ``config`` is looked for.

    Raises
    ------
    InputError
        An unknown catalog model, or hyper-parameters that are missing or impossible.
    """
    given = spec.model_dump(exclude_unset=True, exclude_none=True, exclude={"base", "config"})
    if spec.base is not None and spec.config is not None:
        raise TWO_MODELS.error(path=path)
    if spec.base is not None or spec.config is not None:
        base = catalog.model(spec.base) if spec.base is not None else _imported(spec, path, folder)
        if not given:
            return base
        if base.family in _FIXED:
            what = f"{', '.join(given)}: a network of the family {base.family} is not changed in a scenario"
            raise UNLIKE.error(path=path, what=what, hint="describe it in an overlay catalog")
        values = {k: getattr(base, k) for k in base.model_fields_set if k not in _LABEL}
        if "heads" in given and "head_dim" not in given:
            values.pop("head_dim", None)
        given = {**values, **given}
        name = f"{base.id} (changed)"
    problems = Problems()
    for key in _INLINE:
        if key not in given:
            problems.add(MODEL_NEEDS(path=path, key=key))
    problems.raise_if_any()
    try:
        # built past the aliases of data files: hyper-parameters have none
        network = Network.model_validate({"id": name, **given})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            where = ".".join([path, *map(str, item["loc"])])
            context = item.get("ctx", {})
            message = str(context.get("message", item["msg"]))
            problems.add(
                Problem(BAD_MODEL.code, f"{item['loc'][-1] if item['loc'] else 'model'}: {message}", str(context.get("hint", "")), where)
            )
        problems.raise_if_any()
        raise
    _check_shape(network, path, given)
    return network


def _check_shape(network: Network, path: str, given: Mapping[str, object]) -> None:
    """Refuse heads and experts that no network can have."""
    problems = Problems()
    heads, pairs, hidden = network.heads, network.key_value_heads, network.hidden
    if heads and heads % pairs:
        what = f"{heads} query heads do not share {pairs} key and value heads evenly"
        problems.add(UNLIKE(path=f"{path}.kv_heads", what=what, hint="kv_heads has to divide heads"))
    if heads and not network.head_dim and not network.kv_rank and hidden % heads:
        what = f"{heads} heads do not divide the hidden size of {hidden} evenly"
        problems.add(UNLIKE(path=f"{path}.heads", what=what, hint="another number of heads, or the size of a head as head_dim"))
    if network.experts:
        for key in ("experts_per_token", "expert_ffn"):
            if not getattr(network, key):
                problems.add(MODEL_NEEDS(path=path, key=f"{key}, since it has experts", hint=f"add {key}"))
        if network.dense_layers >= network.layers:
            what = f"{network.dense_layers} of {network.layers} layers are without experts, so that none is left for them"
            problems.add(UNLIKE(path=f"{path}.dense_layers", what=what, hint="fewer than the layers, or a model without experts"))
        if network.dense_layers and not network.ffn:
            problems.add(MODEL_NEEDS(path=path, key="ffn, since some of its layers are without experts", hint="add ffn"))
        if network.experts_per_token > network.experts:
            what = f"a token visits {network.experts_per_token} of {network.experts} experts"
            problems.add(UNLIKE(path=f"{path}.experts_per_token", what=what, hint="at most as many as there are"))
    else:
        for key in _OF_EXPERTS:
            if given.get(key, Network.model_fields[key].default) != Network.model_fields[key].default:
                problems.add(UNLIKE(path=f"{path}.{key}", what=f"{key} says something of experts, and there are none", hint="add experts"))
    problems.raise_if_any()


def _imported(spec: ModelSpec, path: str, folder: str | Path) -> Network:
    """Return the network of a ``config.json``, its problems placed in the scenario."""
    from hpcsim.catalog.huggingface import model_from_config

    try:
        return model_from_config(Path(folder) / str(spec.config))
    except InputError as error:
        raise InputError(
            [dataclasses.replace(p, path=f"{path}.config", file="", message=f"{spec.config}: {p.message}") for p in error.problems]
        ) from None
