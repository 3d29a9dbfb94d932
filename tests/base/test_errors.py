"""Problems: registered once, complete, formatted whatever the value is – and used right everywhere in the package (read with ``ast``)."""

from __future__ import annotations

import ast
import functools
import pickle
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base import errors
from hpcsim.base.errors import CheckFailure, HpcsimError, InputError, Problem, Problems, problem_kind, problem_kinds
from hpcsim.testing import reference

PACKAGE = Path(errors.__file__).parent.parent
PLACE = {"path", "file", "line", "column", "hint"}


@pytest.fixture
def kind() -> Iterator[errors.ProblemKind]:
    made = problem_kind("made-for-a-test", "{value!r} is {what}", "write {better!r}")
    yield made
    errors._KINDS.pop(made.code)


# The classes


def test_tree() -> None:
    assert issubclass(InputError, HpcsimError)
    assert issubclass(CheckFailure, HpcsimError)
    assert not issubclass(InputError, CheckFailure)


def test_a_kind_is_registered_once(kind: errors.ProblemKind) -> None:
    assert problem_kinds()[kind.code] is kind
    with pytest.raises(ValueError, match="twice"):
        problem_kind(kind.code, "again")


@pytest.mark.parametrize("code", ["", "Upper", "with space", "under_score", "ü", "dot.ted", "a\n"])
def test_a_malformed_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        problem_kind(code, "message")
    assert code not in problem_kinds()


def test_the_registry_cannot_be_changed_from_outside(kind: errors.ProblemKind) -> None:
    problem_kinds().clear()
    assert problem_kinds()[kind.code] is kind


def test_a_problem_reads_as_promised(kind: errors.ProblemKind) -> None:
    problem = kind(value="x", what="wrong", better="y", path="a.b", file="s.yaml", line=3, column=7)
    assert str(problem) == "s.yaml:3:7: a.b: 'x' is wrong (write 'y') [made-for-a-test]"
    assert str(kind(value=1, what="w", better=2)) == "1 is w (write 2) [made-for-a-test]"
    assert str(kind(value=1, what="w", better=2, line=2, column=1)).startswith("<text>:2:1: 1 is w")
    assert kind(value=1, what="w", hint="another remedy").hint == "another remedy"
    assert kind(value=1, what="w", hint="").hint == ""


def test_a_missing_field_is_the_programmers_mistake(kind: errors.ProblemKind) -> None:
    with pytest.raises(KeyError):
        kind(value=1)


def test_located_fills_in_only_what_is_empty() -> None:
    assert Problem("c", "m", line=5, column=1).located(file="f", line=9, column=9, path="p") == Problem("c", "m", "", "p", "f", 5, 1)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, ["y"] * 10**5, 10**5000, Hostile(), b"\0" * 10**5, float("nan"), {"k": "v" * 10**5}],
    ids=lambda v: type(v).__name__,
)
def test_any_value_can_be_shown(value: object, kind: errors.ProblemKind) -> None:
    assert len(str(kind(value=value, what="wrong", better=value))) < 400


@given(st.text(), st.text())
def test_a_problem_is_one_line_that_any_terminal_prints(text: str, path: str) -> None:
    shown = str(Problem("code", text, text, path, text, 1, 1))
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x1b[31mred", "\u2028", "\ud800", "\u202eabc", "\0", "\x85"])
def test_what_does_not_print_is_written_out(text: str) -> None:
    assert str(Problem("code", text)).isprintable()


def test_a_path_is_cut_where_it_is_endless() -> None:
    assert len(str(Problem("code", "m", path="a" * 10**6))) < 400


def test_input_errors_keep_every_problem_in_order(kind: errors.ProblemKind) -> None:
    problems = [kind(value=i, what="w", better="b") for i in range(5)]
    error = InputError(iter(problems))
    assert error.problems == problems
    assert str(error).splitlines() == [str(p) for p in problems]
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == problems
    assert str(again) == str(error)


def test_problems_collects(kind: errors.ProblemKind) -> None:
    problems = Problems()
    problems.raise_if_any()
    problems.add(kind(value=1, what="w", better="b"))
    problems.absorb(kind.error(value=2, what="w", better="b"), path="here")
    problems.absorb(kind.error(value=3, what="w", better="b", path="there"), path="here")
    with pytest.raises(InputError) as caught:
        problems.raise_if_any()
    assert [p.path for p in caught.value.problems] == ["", "here", "there"]


# Their use in the package


def fields(template: str) -> set[str]:
    return {name.partition(".")[0].partition("[")[0] for _, name, _, _ in string.Formatter().parse(template) if name is not None}


SEEN = (ast.Assign, ast.Call, ast.ImportFrom, ast.Name)


class Use:
    """Kinds that a module registers or imports, by the names they have there."""

    def __init__(self) -> None:
        self.nodes = {
            "hpcsim." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts): [
                node for node in ast.walk(ast.parse(p.read_text(encoding="utf-8"))) if isinstance(node, SEEN)
            ]
            for p in sorted(PACKAGE.rglob("*.py"))
        }
        self.registered: dict[tuple[str, str], tuple[str, str, str]] = {}
        self.places: dict[str, list[str]] = {}
        for module, nodes in self.nodes.items():
            for node in nodes:
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem_kind":
                    texts = [ast.literal_eval(a) for a in node.args] + [ast.literal_eval(k.value) for k in node.keywords]
                    self.places.setdefault(texts[0], []).append(f"{module}:{node.lineno}")
                if (
                    isinstance(node, ast.Assign)
                    and isinstance(node.value, ast.Call)
                    and getattr(node.value.func, "id", "") == "problem_kind"
                ):
                    texts = [ast.literal_eval(a) for a in node.value.args] + [ast.literal_eval(k.value) for k in node.value.keywords]
                    code, message, hint = (*texts, "")[:3]
                    self.registered[(module, node.targets[0].id)] = (code, message, hint)  # type: ignore[attr-defined]

    @functools.cache  # noqa: B019 (one instance, as long as these tests run)
    def names_in(self, module: str) -> dict[str, tuple[str, str, str]]:
        known = {name: kind for (where, name), kind in self.registered.items() if where == module}
        for node in self.nodes[module]:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if (node.module, alias.name) in self.registered:
                        known[alias.asname or alias.name] = self.registered[(node.module, alias.name)]
        return known

    def calls(self) -> Iterator[tuple[str, ast.Call, str]]:
        """Yield place, call and name of everything written ``NAME(…)`` or ``NAME.error(…)`` with a name in capitals."""
        for module, nodes in self.nodes.items():
            for node in nodes:
                if isinstance(node, ast.Call):
                    target = node.func
                    if isinstance(target, ast.Attribute) and target.attr == "error":
                        target = target.value
                    if isinstance(target, ast.Name) and target.id.isupper():
                        yield f"{module}:{node.lineno}", node, target.id


@pytest.fixture(scope="module")
def use() -> Use:
    return Use()


def test_every_code_is_registered_in_one_place(use: Use) -> None:
    assert len(use.places) > 20
    assert {code: places for code, places in use.places.items() if len(places) > 1} == {}


def test_every_registration_is_a_constant_of_its_module(use: Use) -> None:
    assert {code for code, _, _ in use.registered.values()} == set(use.places)


def test_every_raised_problem_is_registered(use: Use) -> None:
    unknown = []
    for place, node, name in use.calls():
        module = place.rpartition(":")[0]
        raised = isinstance(node.func, ast.Attribute)
        if raised and name not in use.names_in(module):
            unknown.append(f"{place}: {name}.error")
    assert unknown == []


def test_problems_are_made_by_kinds_alone(use: Use) -> None:
    found = []
    for module, nodes in use.nodes.items():
        for node in nodes:
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Problem"
                and module != "hpcsim.base.errors"
            ):
                first = node.args[0] if node.args else None
                if not isinstance(first, (ast.Name, ast.Attribute)):
                    found.append(f"{module}:{node.lineno}")
    assert found == []


def test_every_use_gives_every_field_and_no_other(use: Use) -> None:
    faults = []
    for place, node, name in use.calls():
        kind = use.names_in(place.rpartition(":")[0]).get(name)
        if kind is None or any(k.arg is None for k in node.keywords):
            continue
        given = {k.arg for k in node.keywords}
        needed = fields(kind[1]) | (set() if "hint" in given else fields(kind[2]))
        faults += [f"{place}: {name} lacks {field}" for field in sorted(needed - given - {"path", "file"})]
        faults += [f"{place}: {name} has no use for {field}" for field in sorted(given - PLACE - fields(kind[1]) - fields(kind[2]))]
        faults += [f"{place}: {name} takes no positional argument"] if node.args else []
    assert faults == []


def test_every_kind_is_used(use: Use) -> None:
    used = {(use.names_in(place.rpartition(":")[0]).get(name) or ("",))[0] for place, _, name in use.calls()}
    bare = {
        kind[0]
        for module, nodes in use.nodes.items()
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and (kind := use.names_in(module).get(node.id))
    }
    assert sorted(set(use.places) - used - bare) == []


def test_every_kind_says_something(use: Use) -> None:
    reference.problems()
    kinds = problem_kinds()
    assert set(kinds) >= set(use.places)
    for code, kind in kinds.items():
        assert kind.message.strip(), code
        assert not kind.message.rstrip().endswith("."), code
        words = dict.fromkeys(fields(kind.message) | fields(kind.hint), 1.0)
        remedy = "given by the caller" if "hint" in words else None
        problem = kind(hint=remedy, **{k: v for k, v in words.items() if k not in PLACE})  # type: ignore[arg-type]
        assert problem.message
        assert "{" not in fields_free(kind.message)


def fields_free(template: str) -> str:
    return "".join(text for text, *_ in string.Formatter().parse(template))
