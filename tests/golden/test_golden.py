"""Every shipped scenario runs in both views, and its figures are those of last time (a change detector; see regenerate.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("hpcsim_golden_regenerate", Path(__file__).with_name("regenerate.py"))
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def differences(found: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    out = [f"{key} is {'new' if key in found else 'gone'}" for key in sorted(found.keys() ^ kept.keys())]
    for key in found.keys() & kept.keys():
        new, old = found[key], kept[key]
        same = (
            new == pytest.approx(old, rel=1e-9)
            if isinstance(old, float) and isinstance(new, float)
            else new == old and type(new) is type(old)
        )
        if not same:
            out.append(f"{key}: {old} → {new}")
    return sorted(out)


@pytest.mark.parametrize("name", [path.stem for path in golden.scenarios()])
def test_the_figures_are_those_of_last_time(name: str) -> None:
    path = golden.ROOT / "scenarios" / f"{name}.yaml"
    assert golden.golden(path).exists(), f"run python {Path('tests/golden/regenerate.py')}"
    kept = json.loads(golden.golden(path).read_text(encoding="utf-8"))
    found = golden.summaries(path)
    moved = {view: differences(found[view], kept[view]) for view in found}
    assert moved == {view: [] for view in kept}


def test_there_is_no_golden_of_a_scenario_that_is_gone() -> None:
    assert {p.name for p in golden.HERE.glob("*.json")} == {golden.golden(p).name for p in golden.scenarios()}


def test_a_moved_figure_is_seen() -> None:
    kept = {"a": 1.0, "b": 2, "c": "x"}
    assert differences({"a": 1.0 + 1e-12, "b": 2, "c": "x"}, kept) == []
    assert differences({"a": 1.00001, "b": 2, "c": "x"}, kept) == ["a: 1.0 → 1.00001"]
    assert differences({"a": 1.0, "b": 3, "c": "y"}, kept) == ["b: 2 → 3", "c: x → y"]
    assert differences({"b": 2, "c": "x", "d": 1}, kept) == ["a is gone", "d is new"]
