"""Pictures of fabrics and flows, and the trace that Perfetto opens."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cli.main import main
from hpcsim.cluster.build import resolve
from hpcsim.report.charts import charts
from hpcsim.report.topology import flow_timeline, link_load
from hpcsim.report.trace import trace_events, write_trace
from hpcsim.results.record import Results
from hpcsim.run.traffic import pattern, traffic
from hpcsim.scenario.cluster import ClusterSpec


def run(nodes: int, **fabric: Any) -> Results:
    cluster = resolve(ClusterSpec.model_validate({"nodes": {"gpu": {"cores": 1, "count": nodes}}, "fabric": fabric}), default())
    return traffic(cluster, *pattern("permutation", nodes), 1e9)


CASES = {
    "tree": {"nodes": 16, "link": "100 Gbit/s", "latency": "1 us", "topology": "fat-tree", "down": [4, 4], "up": [1, 4]},
    "pod": {"nodes": 256, "type": "dgx-superpod-h100"},
    "dragonfly": {"nodes": 256, "type": "frontier"},
    "torus": {"nodes": 16, "link": "100 Gbit/s", "latency": "1 us", "topology": "torus", "axes": [4, 4], "per_node": 4},
    "pod of tpu": {"nodes": 64, "type": "tpu-v4-pod"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_fabric_is_drawn(case):
    results = run(**CASES[case])
    drawn = {chart.name: chart for chart in charts(results)}
    assert {"topology", "link-load", "flows"} <= set(drawn)
    shown = results.fabric_map
    picture = drawn["topology"].svg()
    assert picture.count("<use") + picture.count("<path") >= len(set(shown["a"]) | set(shown["b"]))
    whole = {"tree", "torus", "pod of tpu"}
    nodes = len({v for end in ("a", "b") for v in shown[end] if v.startswith("gpu/")})
    assert (nodes == CASES[case]["nodes"]) == (case in whole)
    assert ("Shown are the first" in drawn["topology"].text) == (case not in whole)
    assert str(results.fabric["nodes"].iloc[0]) in drawn["topology"].title


def test_a_part_of_a_large_fabric_is_a_unit_of_it():
    assert len({v for v in run(**CASES["pod"]).fabric_map["a"] if v.startswith("gpu/")}) == 32, "a scalable unit"
    assert len({v for v in run(**CASES["dragonfly"]).fabric_map["a"] if v.startswith("gpu/")}) == 128, "a group"


def test_nothing_to_show_is_said():
    empty = pd.DataFrame({"link": [], "kind": [], "mean_utilisation_frac": []})
    assert "No link was used" in link_load(empty).title
    none = pd.DataFrame({"start_s": [], "end_s": [], "size_bytes": [], "alone_bytes_per_s": []})
    assert "No flow" in flow_timeline(none).title


def test_trace_has_every_job_and_no_overlap_on_a_lane(tmp_path):
    results = hpcsim.simulate(hpcsim.load("scenarios/university-cluster.yaml"))
    events = trace_events(results)
    slices = [event for event in events if event["ph"] == "X"]
    jobs = results.jobs
    assert len(slices) == int((jobs["start_s"].notna() & jobs["end_s"].notna()).sum())
    lanes: dict[tuple[int, int], float] = {}
    for event in sorted(slices, key=lambda e: e["ts"]):
        key = (event["pid"], event["tid"])
        assert event["ts"] >= lanes.get(key, -1.0) - 1e-3
        assert event["dur"] >= 0
        lanes[key] = event["ts"] + event["dur"]
    assert {event["ph"] for event in events} == {"M", "X", "C"}
    path = write_trace(results, tmp_path / "run.json")
    document = json.loads(path.read_text())
    assert len(document["traceEvents"]) == len(events)
    assert all(event["args"] is not None and isinstance(event["pid"], int) for event in document["traceEvents"])
    total = sum(event["dur"] for event in slices) / 1e6
    assert total == pytest.approx((jobs["end_s"] - jobs["start_s"]).sum(), rel=1e-9)


def test_trace_of_flows():
    results = run(**CASES["tree"])
    slices = [event for event in trace_events(results) if event["ph"] == "X"]
    assert len(slices) == 16
    assert slices[0]["args"]["size_bytes"] == 1e9


def test_the_command_writes_a_trace(tmp_path, capsys):
    target = tmp_path / "trace.json"
    assert (
        main(["run", "scenarios/decomposed-task.yaml", "--out", str(tmp_path / "out"), "--no-charts", "--quiet", "--trace", str(target)])
        == 0
    )
    assert any(event["ph"] == "X" for event in json.loads(target.read_text())["traceEvents"])


def test_a_trace_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as error:
        write_trace(run(**CASES["torus"]), tmp_path / "file" / "trace.json")
    assert len(error.value.problems) == 1
