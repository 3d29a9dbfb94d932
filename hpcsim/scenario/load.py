"""Scenarios in and out: load, check of form, dotted-path variation, round trip."""

from __future__ import annotations

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind, shown
from hpcsim.scenario.fields import plain
from hpcsim.scenario.source import Source, parse_yaml, read_text
from hpcsim.scenario.spec import ScenarioSpec

__all__ = ["Scenario", "assigned", "load", "loads", "parse_setting"]

UNKNOWN_KEY = problem_kind("unknown-key", "unknown key {key!r}", "{near}")
MISSING_KEY = problem_kind("missing-key", "the key {key!r} is missing", "{what}")
WRONG_TYPE = problem_kind("wrong-type", "{message}; here {given}", "{what}")
NOT_A_CHOICE = problem_kind("not-a-choice", "{value!r} is not one of {choices}", "{near}")
NOT_CHANGES = problem_kind("not-changes", "{value!r} is no map of changes", "for example {{'cluster.nodes.gpu.count': 512}}")
BAD_SETTING = problem_kind("bad-setting", "{text!r} is no setting", "write KEY=VALUE, for example cluster.nodes.gpu.count=512")
NO_SUCH_PATH = problem_kind("no-such-path", "the scenario has no {path!r}", "{near}")
NOT_A_SCENARIO = problem_kind("not-a-scenario", "{got} is no scenario", "give a path, a map, or the result of hpcsim.load()")

Path_ = tuple[str | int, ...]


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _inner_model(annotation: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """Return (the model that the annotation holds, the model of its map's values)."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _inner_model(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            found = _inner_model(part)
            if any(found):
                return found
        return None, None
    if origin is dict:
        return None, _inner_model(typing.get_args(annotation)[1])[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    return None, None


def _model_at(path: Path_) -> type[BaseModel] | None:
    model: type[BaseModel] | None = ScenarioSpec
    of_map: type[BaseModel] | None = None
    for part in path:
        if of_map is not None:
            model, of_map = of_map, None
            continue
        fields = {(f.alias or n): f for n, f in model.model_fields.items()} if model else {}
        if part not in fields:
            return None
        model, of_map = _inner_model(fields[str(part)].annotation)
    return model


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [f.alias or n for n, f in model.model_fields.items()] if model else []


def _describe(path: Path_) -> str:
    model = _model_at(path[:-1])
    for name, info in model.model_fields.items() if model and path else ():
        if (info.alias or name) == path[-1]:
            return info.description or ""
    return ""


def _place(error: Any) -> tuple[Path_, bool]:
    """Return the path of a pydantic error, and whether the key itself is wrong (pydantic then ends the path with a mark)."""
    path: Path_ = error["loc"]
    if error["type"] == "extra_forbidden":
        return path, True
    return (path[:-1], True) if path[-1:] == ("[key]",) else (path, False)


def _problem(error: Any) -> Problem:
    """Translate one pydantic error."""
    path, _ = _place(error)
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(_model_at(path[:-1]))
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
        return UNKNOWN_KEY(key=path[-1], near=hint, path=_dotted(path))
    if kind == "missing":
        return MISSING_KEY(key=path[-1], what=_describe(path), path=_dotted(path))
    if kind == "literal_error":
        choices = str(context.get("expected", ""))
        known = choices.replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        return NOT_A_CHOICE(value=value, choices=choices, near="write it without quotes" if value in known else hint, path=_dotted(path))
    if "hint" in context and "message" in context:
        return Problem(kind, str(context["message"]), str(context["hint"]), _dotted(path))
    wanted = _WANTED.get(kind)
    message = f"this should be {wanted}" if wanted else str(error["msg"])
    given = "it is empty" if value is None else shown(value)
    return WRONG_TYPE(message=message, given=given, what=_describe(path), path=_dotted(path))


_WANTED = {
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "dict_type": "a map of keys and values",
    "model_type": "a map of keys and values",
    "tuple_type": "a list",
    "too_short": "a list or map with at least one entry",
    "invalid_key": "a key that is text",
}


def _validated(data: Mapping[str, Any], source: Source | None, problems: Problems) -> ScenarioSpec:
    spec: ScenarioSpec | None = None
    try:
        spec = ScenarioSpec.model_validate(data)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problem = _problem(item)
            if source:
                path, at_key = _place(item)
                line, column = source.place(path, key=at_key)
                problem = problem.located(file=source.file, line=line, column=column)
            problems.add(problem)
    problems.items.sort(key=lambda p: (p.line, p.column))
    problems.raise_if_any()
    assert spec is not None
    return spec


class Scenario:
    """A scenario of sound form, immutable: its data (:attr:`spec`) and where they were read.

    Attributes
    ----------
    spec : ScenarioSpec
        The frozen data; its parts are also attributes of the scenario itself (``scenario.cluster``).
    source : Source or None
        File and positions, for messages.
    """

    __slots__ = ("source", "spec")

    def __init__(self, spec: ScenarioSpec, source: Source | None = None) -> None:
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "source", source)

    spec: ScenarioSpec
    source: Source | None

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("a scenario is never changed in place; use scenario.vary({path: value})")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("spec", "source"):
            raise AttributeError(name)
        return getattr(self.spec, name)

    def __reduce__(self) -> tuple[type[Scenario], tuple[ScenarioSpec, Source | None]]:
        return (type(self), (self.spec, self.source))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self.data(defaults=True) == other.data(defaults=True)

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"<Scenario {self.spec.name!r}: {self.spec.question}>"

    @property
    def folder(self) -> Path:
        """Folder that relative paths inside the scenario refer to."""
        return self.source.folder if self.source else Path()

    def data(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return the scenario as plain data that :func:`load` takes back; ``defaults`` adds what was left out."""
        dumped: dict[str, Any] = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=not defaults)
        return dumped

    def to_yaml(self) -> str:
        """Return YAML text that loads to an equal scenario."""
        return str(yaml.safe_dump(self.data(), sort_keys=False, allow_unicode=True, width=120))

    def digest(self) -> str:
        """Return the SHA-256 of the scenario's full content, defaults included."""
        return hashlib.sha256(json.dumps(self.data(defaults=True), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def vary(self, changes: Mapping[str, Any]) -> Scenario:
        """Return a new scenario with some values replaced.

        Parameters
        ----------
        changes : mapping of str to value
            Dotted paths and new values, in the manner of the file: quantities as text with units, counts as numbers.

        Raises
        ------
        InputError
            A path that the scenario cannot have, or a value that its place refuses; all paths at once, then all values.

        Examples
        --------
        >>> scenario.vary({"cluster.nodes.gpu.count": 512})  # doctest: +SKIP
        """
        if not isinstance(changes, Mapping):
            raise NOT_CHANGES.error(value=changes)
        spec = _validated(assigned(self.data(), changes), None, Problems())
        return Scenario(spec, self.source and self.source.without(str(path) for path in changes))

    def locate(self, problem: Problem) -> Problem:
        """Return ``problem`` with file, line and column of its path filled in."""
        if self.source is None:
            return problem
        line, column = self.source.near(problem.path)
        return problem.located(file=self.source.file, line=line, column=column)


def assigned(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set values in the plain data of a scenario, in place, and return them; what their places accept is checked elsewhere.

    Raises
    ------
    InputError
        Every path that the scenario cannot have.
    """
    problems = Problems()
    for path, value in changes.items():
        try:
            _assign(data, str(path), plain(value))
        except InputError as error:
            problems.absorb(error)
    problems.raise_if_any()
    return data


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".")
    if not all(parts):
        raise NO_SUCH_PATH.error(path=path, near="a dotted path is words with dots between")
    if parts[0] in ("sweep", "uncertain"):  # the names of their entries hold dots
        parts = [parts[0], ".".join(parts[1:])][: len(parts)]
    here: Any = data
    for i, part in enumerate(parts[:-1]):
        if isinstance(here, list):
            here = here[_index(here, part, path)]
            if not isinstance(here, (dict, list)):
                raise NO_SUCH_PATH.error(path=path, near=f"{'.'.join(parts[: i + 1])!r} is a value, it holds nothing else")
            continue
        if not isinstance(here.get(part), (dict, list)):
            model = _model_at(tuple(parts[: i + 1]))
            parent = _model_at(tuple(parts[:i]))
            if parent is not None and part not in _keys(parent):
                near = difflib.get_close_matches(part, _keys(parent), 1)
                hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(_keys(parent))
                raise NO_SUCH_PATH.error(path=path, near=hint)
            if parent is None and model is not None and part not in here and i > 0:
                near = difflib.get_close_matches(part, map(str, here), 1)
                whole = f"to add one, give {'.'.join(parts[: i + 1])!r} as a whole map"
                hint = f"did you mean {near[0]!r}?" if near else f"named here: {', '.join(map(str, here)) or 'nothing'}; {whole}"
                raise NO_SUCH_PATH.error(path=path, near=hint)
            here[part] = {}
        here = here[part]
    last = parts[-1]
    if isinstance(here, list):
        here[_index(here, last, path)] = value
    else:
        here[last] = value


def _index(items: list[Any], part: str, path: str) -> int:
    if not (part.isascii() and part.isdigit() and len(part) < 9) or int(part) >= len(items):
        raise NO_SUCH_PATH.error(path=path, near=f"{part!r} is no index below {len(items)}")
    return int(part)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE`` as given to ``--set``; the value is YAML, so numbers, lists and quantities are as in the file.

    >>> parse_setting("cluster.nodes.gpu.count=512")
    ('cluster.nodes.gpu.count', 512)
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BAD_SETTING.error(text=text)
    problems = Problems()
    try:
        parsed, _ = parse_yaml(f"value: {value.strip()}\n", "--set", Path(), problems)
        problems.raise_if_any()
    except InputError:
        parsed = {"value": value.strip()}
    return key.strip(), parsed.get("value") if set(parsed) == {"value"} else value.strip()


def loads(text: str, name: str = "<text>", folder: Path | None = None) -> Scenario:
    """Read a scenario from YAML text; see :func:`load`."""
    problems = Problems()
    data, source = parse_yaml(text, name, folder or Path(), problems)
    return Scenario(_validated(data, source, problems), source)


def load(scenario: str | Path | Mapping[str, Any] | Scenario) -> Scenario:
    """Read a scenario and check its form.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        Path of a YAML file, its content as plain data, or a scenario, which is returned as it is.

    Returns
    -------
    Scenario

    Raises
    ------
    InputError
        Every mistake of form, with file, line and column.
    """
    if isinstance(scenario, Scenario):
        return scenario
    if isinstance(scenario, Mapping):
        return Scenario(_validated(plain(scenario), None, Problems()))
    if not isinstance(scenario, (str, Path)):
        raise NOT_A_SCENARIO.error(got=repr(type(scenario).__name__))
    path = Path(scenario)
    return loads(read_text(path, str(scenario)), str(scenario), path.parent)
