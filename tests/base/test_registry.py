"""Registries: built-ins, plug-ins of other distributions, and what goes wrong with both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcsim.base.errors import InputError
from hpcsim.base.registry import Registry

Install = Callable[..., None]


@pytest.fixture
def registry() -> Registry[object]:
    made: Registry[object] = Registry("policy", "test_policies")
    made.register("fcfs")("first come")
    made.register("easy")("backfill")
    return made


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with entry points on the path, as an installer would."""

    def make(name: str, source: str, **points: str) -> None:
        (tmp_path / f"{name}_plugin.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = "".join(f"{point} = {name}_plugin:{target}\n" for point, target in points.items())
        (info / "entry_points.txt").write_text(f"[hpcsim.test_policies]\n{lines}", encoding="utf-8")

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield make  # type: ignore[misc]
    for module in set(sys.modules) - before:
        if module.endswith("_plugin"):
            del sys.modules[module]


def problem(registry: Registry[object], name: str) -> object:
    with pytest.raises(InputError) as caught:
        registry.get(name)
    return caught.value.problems[0]


def test_built_ins(registry: Registry[object]) -> None:
    assert registry.names() == ["easy", "fcfs"]
    assert registry.get("fcfs") == "first come"
    assert registry.group == "hpcsim.test_policies"


def test_a_name_is_registered_once(registry: Registry[object]) -> None:
    with pytest.raises(ValueError, match="'fcfs' is registered twice"):
        registry.register("fcfs")("another")
    assert registry.get("fcfs") == "first come"


def test_register_returns_what_it_decorates(registry: Registry[object]) -> None:
    @registry.register("mine")
    def mine() -> int:
        return 3

    assert mine() == 3
    assert registry.get("mine") is mine


@pytest.mark.parametrize(
    ("name", "hint"),
    [("esay", "did you mean 'easy'?"), ("FCFS", "known: easy, fcfs"), ("zzz", "known: easy, fcfs"), ("", "known: easy, fcfs")],
)
def test_unknown(registry: Registry[object], name: str, hint: str) -> None:
    found = problem(registry, name)
    assert (found.code, found.hint) == ("unknown-name", hint)  # type: ignore[attr-defined]
    assert repr(name) in str(found)


def test_plug_in(registry: Registry[object], install: Install) -> None:
    install("third", "LOADED = []\ndef policy(): return 'third party'\nLOADED.append(1)\n", mine="policy")
    assert registry.names() == ["easy", "fcfs", "mine"]
    assert "third_plugin" not in sys.modules  # naming it does not load it
    assert registry.get("mine")() == "third party"  # type: ignore[operator]
    assert registry.get("mine") is registry.get("mine")
    assert problem(registry, "mien").hint == "did you mean 'mine'?"  # type: ignore[attr-defined]


def test_a_plug_in_cannot_take_the_name_of_a_built_in(registry: Registry[object], install: Install) -> None:
    install("third", "policy = 'another'\n", fcfs="policy")
    assert registry.get("fcfs") == "first come"
    assert registry.names() == ["easy", "fcfs"]


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('no licence')", "import a_module_that_does_not_exist", "def broken(:", "x = 1"],
    ids=["raises", "imports", "syntax", "lacks-the-name"],
)
def test_a_broken_plug_in_is_named(registry: Registry[object], install: Install, source: str) -> None:
    install("third", source, mine="policy")
    found = problem(registry, "mine")
    assert found.code == "broken-plugin"  # type: ignore[attr-defined]
    assert "'mine' of hpcsim.test_policies" in str(found)
    assert registry.get("fcfs") == "first come"  # the others still work


def test_two_distributions_with_one_name_give_one_answer(install: Install) -> None:
    install("aaa", "policy = 'a'\n", mine="policy")
    install("bbb", "policy = 'b'\n", mine="policy")
    answers = {str(Registry("policy", "test_policies").get("mine")) for _ in range(3)}
    assert len(answers) == 1
