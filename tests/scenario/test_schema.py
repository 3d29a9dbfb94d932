"""JSON Schema and reference page: both come from the declarations, and both say what the reader needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel

from hpcsim.base.errors import InputError
from hpcsim.base.units import DIMENSIONS
from hpcsim.scenario import schema
from hpcsim.scenario.fields import Quantity, Spec
from hpcsim.scenario.load import load, loads
from hpcsim.scenario.spec import ScenarioSpec
from hpcsim.testing.strategies import scenario_data

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = schema.json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MODELS = schema._models(ScenarioSpec, [])
SAMPLE = yaml.safe_load((Path(__file__).parent / "contract.yaml").read_text(encoding="utf-8"))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_the_scenario_of_the_contract_is_valid() -> None:
    VALIDATOR.validate(SAMPLE)
    assert load(SAMPLE).name == "bloom-176b"


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_scenarios_are_valid(path: Path) -> None:
    VALIDATOR.validate(load(path).data())
    VALIDATOR.validate(load(path).data(defaults=False))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(scenario_data())
def test_what_loads_is_valid(data: dict[str, Any]) -> None:
    VALIDATOR.validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("schema",), None),
        (("colour",), "red"),
        (("question",), 5),
        (("cluster", "nodes"), [1]),
        (("cluster", "nodes"), {}),
        (("cluster", "nodes", "a100", "count"), 0),
        (("cluster", "nodes", "a100", "count"), 1.5),
        (("cluster", "nodes", "a100", "count"), True),
        (("cluster", "nodes", "a100", "cuont"), 5),
        (("cluster", "storage", "scratch", "capacity"), 5),
        (("cluster", "prices", "a100"), 1.8),
        (("cluster", "site", "pue"), 0.5),
        (("workload", "training", "bloom", "precision"), "bf61"),
        (("workload", "training", "bloom", "layout"), ["tp"]),
        (("workload", "training", "bloom", "layout", "tp"), -1),
        (("scheduler", "order"), "never"),
        (("sweep", "a"), []),
        (("sweep", "a"), 5),
    ],
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else "",
)
def test_what_the_schema_refuses_the_loader_refuses(path: tuple[str, ...], value: object) -> None:
    data = json.loads(json.dumps(SAMPLE))
    here = data
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(InputError):
        load(data)


def described(node: object, path: str = "") -> list[str]:
    """Return the paths of every property without a description of its own or of what it refers to."""
    found: list[str] = []
    if isinstance(node, dict):
        for name, value in node.get("properties", {}).items():
            if not value.get("description", "").strip():
                found.append(f"{path}.{name}")
        for key, value in node.items():
            found += described(value, f"{path}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            found += described(value, f"{path}.{i}")
    return found


def test_every_property_of_the_schema_is_described() -> None:
    assert len(MODELS) > 20
    assert described(SCHEMA) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert issubclass(model, Spec)
    assert (model.__doc__ or "").strip().endswith(".")
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.description.strip() == field.description
        assert not field.description.endswith("."), name
        assert "|" not in field.description, name


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_part_refuses_unknown_keys_and_changes(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]
    assert model.model_config["strict"]


def test_every_quantity_has_a_limit_and_shows_an_example_that_it_takes() -> None:
    seen = set()
    for model in MODELS:
        for field in model.model_fields.values():
            stack: list[Any] = [field.annotation, *field.metadata]
            while stack:
                part = stack.pop()
                if isinstance(part, Quantity):
                    seen.add(part.dimension)
                    assert part.parse(DIMENSIONS[part.dimension].example) > 0
                stack.extend(getattr(part, "__metadata__", ()))
                stack.extend(getattr(part, "__args__", ()) or ())
    assert {"data size", "data rate", "time", "power", "money", "price per time", "carbon intensity", "compute rate"} <= seen


def test_every_default_is_shown_as_it_is() -> None:
    page = schema.markdown()
    for model in MODELS:
        for name, field in model.model_fields.items():
            row = next(
                line
                for line in page.split(f"## {model.__name__.removesuffix('Spec')}\n")[1].splitlines()
                if line.startswith(f"| `{field.alias or name}` |")
            )
            if field.is_required():
                assert "**needed**" in row
            elif isinstance(field.default, bool):
                assert f"`{str(field.default).lower()}`" in row
            elif isinstance(field.default, (int, float)):
                assert f"`{field.default:g}" in row or f"`{field.default}`" in row


def test_links_of_the_reference_lead_somewhere() -> None:
    page = schema.markdown()
    headings = {line[3:].strip().lower() for line in page.splitlines() if line.startswith("## ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links
    assert links <= headings


def test_the_defaults_that_the_declarations_give_are_accepted_as_data() -> None:
    s = loads((Path(__file__).parent / "contract.yaml").read_text(encoding="utf-8"))
    full = s.data(defaults=True)
    assert (
        full["scheduler"].items()
        >= {"policy": "easy", "order": "batch", "estimates": "requested", "placement": None, "options": {}}.items()
    )
    assert load(full) == s


def test_the_rules_of_a_part_are_asked_beside_the_mistakes_inside() -> None:
    """Wherever a part has rules of its own, in whatever file, also where its fields are wrong at once."""
    from collections.abc import Iterator, Mapping

    from pydantic import ValidationError

    from hpcsim.base.errors import Problem, problem_kind
    from hpcsim.scenario.fields import Spec

    kind = problem_kind("test-rule", "a and b together", "one of them")

    class Ruled(Spec):
        a: int | None = None
        b: int | None = None

        @classmethod
        def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
            if {"a", "b"} <= set(given):
                yield kind(path="")

    class Derived(Ruled):
        c: int | None = None

    for part in (Ruled, Derived):
        assert part.model_validate({"a": 1}).a == 1
        with pytest.raises(ValidationError) as caught:
            part.model_validate({"a": 1, "b": "two"})
        assert len(caught.value.errors()) == 2
