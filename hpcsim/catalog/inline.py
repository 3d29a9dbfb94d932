"""A scenario's model against the catalog: a catalog model, one with changed hyper-parameters, or one described in line."""

from __future__ import annotations

from pydantic import ValidationError

from hpcsim.base.errors import Problem, Problems, problem_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.scenario.workload import ModelSpec

__all__ = ["resolve_model"]

MODEL_NEEDS = problem_kind(
    "model-needs", "an inline model needs {key}", "give a catalog model by name, or family, layers, hidden, ffn, heads and vocab"
)
BAD_MODEL = problem_kind("model-value", "{message}", "")

_INLINE = ("family", "layers", "hidden", "heads", "vocab")
_LABEL = {"id", "title", "aliases", "note", "sources"}


def resolve_model(spec: ModelSpec, catalog: Catalog, *, name: str, path: str) -> Network:
    """Return the network that a scenario describes: a catalog model, its changed hyper-parameters, or all of them in line.

    Parameters
    ----------
    spec : ModelSpec
    catalog : Catalog
    name : str
        Name of an inline model.
    path : str
        Dotted path of the model in the scenario.

    Raises
    ------
    InputError
        An unknown catalog model, or hyper-parameters that are missing or impossible.
    """
    given = spec.model_dump(exclude_unset=True, exclude_none=True, exclude={"base"})
    if spec.base is not None:
        base = catalog.model(spec.base)
        if not given:
            return base
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
        return Network.model_validate({"id": name, **given})
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
