"""``hpcsim search``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ["search", "--model", "gpt2-xl", "--accelerator", "a100-sxm-40gb", "--count", "8", "--global-batch", "64", "--sequence", "1024"]
KEYS = ["dp", "tp", "pp", "vpp", "cp", "ep", "etp", "micro_batch", "zero_stage", "recompute", "sequence_parallel"]
KEYS += ["schedule", "overlap", "offload", "precision"]


def test_json_is_one_document(hpcsim_command: Any) -> None:
    done = hpcsim_command(*WORDS, "--format", "json", "--top", "4")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert len(document["best"]) == 4
    assert list(document["best"][0]["layout"]) == KEYS
    assert document["layouts_evaluated"] == document["feasible"] + document["removed"].get("memory", 0)
    assert document["search_cpu_s"] > 0
    times = [row["step_time_s"] for row in document["best"]]
    assert times == sorted(times)
    assert "pareto" not in document


def test_table_and_front(hpcsim_command: Any) -> None:
    done = hpcsim_command(*WORDS, "--pareto", "--objective", "energy")
    assert done.status == 0
    assert "layouts evaluated" in done.out
    assert "No other is better" in done.out
    assert hpcsim_command(*WORDS, "--quiet").out == ""


def test_files(hpcsim_command: Any, tmp_path: Path) -> None:
    done = hpcsim_command(*WORDS, "--out", "found", "--pareto")
    assert done.status == 0
    assert {p.name for p in (tmp_path / "found").glob("*.*")} == {"search.json", "layouts.csv", "pareto.csv"}
    first = (tmp_path / "found" / "search.json").read_bytes()
    hpcsim_command(*WORDS, "--out", "found", "--pareto")
    assert (tmp_path / "found" / "search.json").read_bytes() == first


def test_a_scenario_with_its_settings(hpcsim_command: Any, tmp_path: Path) -> None:
    text = """schema: 1
name: demo
question: Which layout?
cluster:
  nodes: {gpu: {type: dgx-a100-80gb, count: 2}}
  fabric: {topology: fat-tree, link: hdr, per_node: 8, radix: 40}
workload:
  training:
    run: {model: gpt2-xl, steps: 1, global_batch: 96, sequence: 1024, layout: {auto: true, pp: 2}}
"""
    (tmp_path / "demo.yaml").write_text(text, encoding="utf-8")
    done = hpcsim_command("search", "demo.yaml", "--format", "json", "--top", "2")
    assert done.status == 0, done.err
    assert {row["layout"]["pp"] for row in json.loads(done.out)["best"]} == {2}
    less = hpcsim_command("search", "demo.yaml", "--set", "cluster.nodes.gpu.count=1", "--format", "json")
    assert json.loads(less.out)["devices"] == 8


def test_refusals(hpcsim_command: Any) -> None:
    assert hpcsim_command("search").codes == ["argument-missing"] * 5
    assert hpcsim_command(*WORDS, "--top", "0").codes == ["search-top"]
    assert hpcsim_command(*WORDS, "--layout", "tp=3").status == 2
    assert hpcsim_command(*WORDS, "--layout", "schedule=roundabout").status == 2
    assert hpcsim_command(*WORDS, "--layout", "nonsense=3").status == 2
