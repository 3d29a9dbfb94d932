"""Flows written down while a simulation runs: bytes, times, and that the answer stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
import hpcsim.run.flow_record as flow_record
from hpcsim.report.charts import charts
from hpcsim.report.trace import trace_events

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def both() -> tuple[Any, Any]:
    scenario = hpcsim.load(ROOT / "scenarios/two-jobs-one-spine.yaml").vary(
        {
            "workload.training.first.tokens": 200_000_000,
            "workload.training.second.tokens": 200_000_000,
            "workload.training.second.submit": "5 min",
        }
    )
    return hpcsim.simulate(scenario), hpcsim.simulate(scenario.vary({"simulate.flows": True}))


def test_writing_down_changes_no_answer(both: tuple[Any, Any]) -> None:
    plain, flows = both
    for key, value in plain.figures().items():
        if key not in ("events", "wall_s", "cpu_s"):
            assert flows.figures()[key] == pytest.approx(value, rel=1e-9), key
    assert "flows" not in plain.tables


def test_bytes_of_flows_and_of_links_agree(both: tuple[Any, Any]) -> None:
    """What leaves the nodes' ports is what flows carry from them; over time the links carry what they carry in all."""
    results = both[1]
    flows, links, use = (results.tables[name] for name in ("flows", "links", "link_use"))
    sent = flows.groupby("source")["size_bytes"].sum()
    for link, carried in links.set_index("link")["carried_bytes"].items():
        node, _, end = str(link).partition(" → ")
        if node.startswith("a100/") and end.startswith("switch"):
            assert sent[node] == pytest.approx(carried, rel=1e-9)
    seconds = use["end_s"] - use["start_s"]
    carried = (use["utilisation_frac"] * seconds).groupby(use["link"]).sum()
    whole = links.set_index("link")
    span_s = use["end_s"].max() - use["start_s"].min()
    for link, share in carried.items():
        assert share == pytest.approx(whole["carried_bytes"][link] / whole["capacity_bytes_per_s"][link], rel=1e-6)
        assert share <= span_s
    assert (flows["end_s"] > flows["start_s"]).all()
    assert (flows["rate_bytes_per_s"] <= flows["alone_bytes_per_s"] * (1 + 1e-9)).all()


def test_flows_are_drawn_and_traced(both: tuple[Any, Any]) -> None:
    assert {"flows", "link-use", "link-load"} <= {chart.name for chart in charts(both[1])}
    events = trace_events(both[1])
    json.dumps(events, allow_nan=False)
    named = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"flows", "use of links"} <= named


def test_a_run_alone_is_written_down_too() -> None:
    scenario = hpcsim.load(ROOT / "scenarios/two-jobs-one-spine.yaml").vary(
        {
            "workload.training.second.submit": "10 days",
            "workload.training.first.tokens": 50_000_000,
            "simulate": {"flows": True, "until": "1 h"},
        }
    )
    flows = hpcsim.simulate(scenario).tables["flows"]
    assert set(flows["source"]) == {f"a100/{i}" for i in range(6)}


def test_too_many_rows_become_one_for_each_activity(both: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_record, "MOST_FLOWS", 20)
    scenario = hpcsim.load(ROOT / "scenarios/two-jobs-one-spine.yaml").vary(
        {"workload.training.first.tokens": 200_000_000, "workload.training.second.tokens": 200_000_000, "workload.training.second.submit": "5 min", "simulate.flows": True}
    )  # fmt: skip
    few = hpcsim.simulate(scenario)
    assert len(few.tables["flows"]) == 20
    assert any("one row for each pair" in note for note in few.notes)
    assert any("carry most" in note for note in few.notes)
    assert few.tables["flows"]["size_bytes"].min() > 0
    largest = np.sort(both[1].tables["flows"]["size_bytes"])[-1]
    assert few.tables["flows"]["size_bytes"].max() >= largest


def test_several_cables_between_two_switches_are_told_apart() -> None:
    """Two cables of one trunk: each has its own row over time and its own name, and the picture is drawn."""
    links = {
        "left": {"between": ["cpu/0-3", "leaf-a"]},
        "right": {"between": ["cpu/4-7", "leaf-b"]},
        "trunk": {"between": ["leaf-a", "leaf-b"], "cables": 2},
    }
    scenario = hpcsim.load(
        {
            "schema": 1,
            "name": "trunk",
            "question": "How full is a trunk of two cables?",
            "cluster": {
                "nodes": {"cpu": {"type": "cpu-2s", "count": 8, "speed": "3 TFLOP/s"}},
                "fabric": {"topology": "links", "link": "hdr", "per_node": 1, "links": links},
            },
            "workload": {
                "patterns": {"p": {"kind": "transpose", "grid": [64, 64, 64], "element": "16 B", "work": "1 GFLOP", "iterations": 2}}
            },
            "simulate": {"flows": True},
        }
    )
    results = hpcsim.simulate(scenario)
    use = results.tables["link_use"]
    trunk = [name for name in use["link"].unique() if "leaf-a → switch/leaf-b" in name]
    assert trunk == [f"switch/leaf-a → switch/leaf-b (cable {k})" for k in (1, 2)]
    assert use.groupby("link").size().nunique() == 1
    assert "link-use" in {chart.name for chart in charts(results)}
