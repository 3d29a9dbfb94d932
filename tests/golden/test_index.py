"""The index of the scenarios names every one of them, once."""

from __future__ import annotations

import re
from pathlib import Path

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"


def test_every_scenario_is_in_the_index_once() -> None:
    named = re.findall(r"^\| `([\w-]+)` \|", (SCENARIOS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
