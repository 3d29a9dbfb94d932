"""Machines do not depend on deadlines, limits, owners and sites: tests that vary those share them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hpcsim.study.planning import works

_MADE: dict[str, Any] = {}
_machines_for = works.machines_for


@pytest.fixture(autouse=True)
def shared_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(scenario: Any, run: str, kinds: Any, catalog: Any) -> Any:
        data = scenario.data()
        options = data["plan"].get("options", {})
        parts = [run, data["cluster"], data["workload"], data.get("failures")]
        parts += [options.get(key) for key in ("nodes", "counts", "fabrics", "storage")]
        if not options.get("counts"):  # numbers follow from the deadline
            parts.append(data["plan"]["goals"])
        key = json.dumps(parts, sort_keys=True)
        if key not in _MADE:
            _MADE[key] = _machines_for(scenario, run, kinds, catalog)
        return _MADE[key]

    monkeypatch.setattr(works, "machines_for", shared)
