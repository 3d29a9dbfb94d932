"""The package that docs/plugins.md describes: installed as an installer would, used, and held to its own tests."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcsim.base import errors
from hpcsim.base.registry import Registry
from hpcsim.catalog import lookup
from hpcsim.cluster.topologies import TOPOLOGIES
from hpcsim.scheduling.policies import policies
from hpcsim.workload.jobs import trace_readers
from tests.golden.doc_blocks import Block, blocks, commands, run_sh

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
REGISTRIES: tuple[Registry[object], ...] = (policies, TOPOLOGIES, trace_readers, lookup.CATALOGS)  # type: ignore[assignment]
BLOCKS = blocks(PAGE)


def _install(folder: Path) -> dict[str, dict[str, str]]:
    """Write the page's files and what an installer would make of its pyproject.toml; return its entry points."""
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    groups: dict[str, dict[str, str]] = project["entry-points"]
    text = "".join(f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items()) for group, points in groups.items())
    (info / "entry_points.txt").write_text(text, encoding="utf-8")
    return groups


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, str]]]:
    """The package, installed; everything that was registered is forgotten afterwards."""
    groups = _install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errors, "_KINDS", dict(errors._KINDS))
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_items", dict(registry._items))
        monkeypatch.setattr(registry, "_plugins", None)
    lookup.default.cache_clear()
    before = set(sys.modules)
    yield groups
    lookup.default.cache_clear()
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or ".").parent == tmp_path:
            del sys.modules[name]


def test_every_registry_knows_its_plug_in(package: dict[str, dict[str, str]]) -> None:
    assert set(package) == {registry.group for registry in REGISTRIES}
    for registry in REGISTRIES:
        for name, place in package[registry.group].items():
            module, _, attribute = place.partition(":")
            assert name in registry.names()
            assert registry.get(name) is getattr(importlib.import_module(module), attribute)


def test_its_own_tests_pass(package: dict[str, dict[str, str]]) -> None:
    module = importlib.import_module("test_my_plugins")
    tests = [getattr(module, name) for name in dir(module) if name.startswith("test_")]
    assert len(tests) == len(REGISTRIES)
    for test in tests:
        test()


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=lambda b: " ".join(commands(b)[0][:2]))
def test_its_commands_run(package: dict[str, dict[str, str]], block: Block) -> None:
    run_sh(block)


def test_the_scenario_uses_all_of_them(package: dict[str, dict[str, str]]) -> None:
    run_sh(Block("sh", "", "hpcsim run our-cluster.yaml --out answer --no-charts --quiet", 0))
    summary = json.loads(Path("answer", "summary.json").read_text(encoding="utf-8"))["summary"]
    assert summary["jobs_finished"] == 6  # five rows of the log and the training run
    sources = Path("answer", "sources.csv").read_text(encoding="utf-8")
    assert "our-node" in sources
    assert "vendor's quotation" in sources


def test_nothing_is_left_behind() -> None:
    assert "first-fit" not in policies.names()
    assert "our-node" not in lookup.default().names("node")
