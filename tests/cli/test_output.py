"""What a command prints and writes when all is well."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

import hpcsim
from hpcsim.cli.main import COMMANDS

SCENARIO = """schema: 1
name: demo
question: How long does it take?
cluster:
  nodes: {gpu: {type: dgx-a100-80gb, count: 2}}
  fabric: {topology: fat-tree, link: hdr, per_node: 8, radix: 40}
  site: {pue: 1.2, carbon: 57 g/kWh, electricity: 0.12 USD/kWh}
  prices: {gpu: 1.8 USD/h}
workload:
  training:
    run: {model: gpt2-xl, tokens: 1 G, global_batch: 96, sequence: 1024, layout: {tp: 1, pp: 1}}
published:
  wall_clock_s: {value: 1 h, source: a guess}
"""
LOG = "".join(f"{i} {10 * i} -1 {100 * i} {i} -1 -1 {i} {200 * i} -1 1 1 1 -1 -1 -1 -1 -1\n" for i in range(1, 9))
QUICK = ["estimate", "--model", "gpt2-xl", "--accelerator", "h100-sxm", "--count", "16", "--global-batch", "64", "--sequence", "1024"]
AXIS = ["--axis", "cluster.nodes.gpu.count=1,2", "--mode", "estimate", "--no-charts"]
GOOD: dict[str, list[str]] = {
    "run": ["run", "demo.yaml", "--no-charts"],
    "check": ["check", "demo.yaml"],
    "estimate": ["estimate", "demo.yaml"],
    "estimate from options": QUICK,
    "replay": ["replay", "log.swf", "--nodes", "10"],
    "replay of several": ["replay", "log.swf", "--nodes", "10", "--policy", "fcfs,easy"],
    "sweep": ["sweep", "demo.yaml", *AXIS],
    "sweep of what is uncertain": ["sweep", "demo.yaml", "--sensitivity", "tornado", *AXIS[2:]],
    "compare": ["compare", "demo.yaml", "--vary", "cluster.nodes.gpu.count=1", "--mode", "estimate"],
    "catalog": ["catalog"],
    "catalog list": ["catalog", "list", "links"],
    "catalog show": ["catalog", "show", "a100-80gb"],
    "schema": ["schema"],
    "reference": ["schema", "--reference"],
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "log.swf").write_text(LOG, encoding="utf-8")


def only(text: str) -> Any:
    """Parse one JSON document with nothing around it and no number that JSON lacks."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_command_is_tried() -> None:
    assert {argv[0] for argv in GOOD.values()} >= {"run", "check", "estimate", "replay", "sweep", "catalog", "schema"}
    assert {argv[0] for argv in GOOD.values()} <= set(COMMANDS)


@pytest.mark.parametrize("name", GOOD)
def test_json_is_one_document_and_nothing_else(name: str, hpcsim_command: Any) -> None:
    done = hpcsim_command(*GOOD[name], "--format", "json")
    assert (done.status, done.err) == (0, "")
    assert only(done.out)
    quiet = hpcsim_command(*GOOD[name], "--format", "json", "--quiet")
    assert quiet.status == 0
    assert only(quiet.out).keys() == only(done.out).keys() if isinstance(only(done.out), dict) else only(quiet.out)


@pytest.mark.parametrize("name", GOOD)
def test_quiet_prints_nothing(name: str, hpcsim_command: Any) -> None:
    assert hpcsim_command(*GOOD[name], "--quiet") == (0, "", "")


@pytest.mark.parametrize("name", GOOD)
def test_the_table_is_for_readers(name: str, hpcsim_command: Any) -> None:
    done = hpcsim_command(*GOOD[name])
    assert (done.status, done.err) == (0, "")
    assert done.out.strip()
    assert "nan" not in done.out.lower().split()


def test_json_of_a_run_has_its_summary_units_and_ranges(hpcsim_command: Any) -> None:
    document = only(hpcsim_command(*GOOD["run"], "--format", "json").out)
    alone = hpcsim.simulate("demo.yaml")
    for key, value in alone.summary.items():
        if key not in ("wall_s", "cpu_s"):
            assert document["summary"][key] == pytest.approx(value), key
    assert document["units"]["wall_clock_s"] == "s"
    low, high = document["ranges"]["wall_clock_s"]
    assert low < document["summary"]["wall_clock_s"] < high
    assert document["question"] == "How long does it take?"
    assert document["folder"] == "reports/demo"
    assert sum(part["fraction"] for part in document["breakdown"]) == pytest.approx(1.0)
    assert document["comparison"][0]["ratio"] == pytest.approx(alone.summary["wall_clock_s"] / 3600)


def test_a_run_writes_its_report(hpcsim_command: Any, tmp_path: Path) -> None:
    done = hpcsim_command("run", "demo.yaml")
    folder = tmp_path / "reports" / "demo"
    names = {p.name for p in folder.iterdir()}
    assert {
        "summary.json",
        "provenance.json",
        "report.html",
        "jobs.csv",
        "states.csv",
        "power.csv",
        "energy.csv",
        "costs.csv",
        "charts",
    } <= names
    assert sum(1 for p in folder.rglob("*") if p.is_file()) == int(done.out.splitlines()[-1].split(" files")[0])
    summary = only((folder / "summary.json").read_text(encoding="utf-8"))["summary"]
    assert "wall_s" not in summary
    assert math.isfinite(summary["wall_clock_s"])
    rows = list(csv.DictReader(io.StringIO((folder / "power.csv").read_text(encoding="utf-8"))))
    joules = sum(float(r["total_w"]) * (float(r["end_s"]) - float(r["start_s"])) for r in rows)
    assert joules == pytest.approx(summary["facility_energy_j"], rel=1e-9)
    assert "How long does it take?" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["estimate", "replay"])
def test_nothing_is_written_unless_asked(name: str, hpcsim_command: Any, on_disk: Any) -> None:
    before = on_disk()
    assert hpcsim_command(*GOOD[name]).status == 0
    assert on_disk() == before
    assert hpcsim_command(*GOOD[name], "--out", "here").status == 0
    assert "here/summary.json" in on_disk()


def test_a_second_run_replaces_the_first_and_keeps_what_is_not_its_own(hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    assert hpcsim_command("run", "demo.yaml", "--out", "here", "--no-charts").status == 0
    first = on_disk()
    (tmp_path / "here" / "mine.txt").write_text("mine", encoding="utf-8")
    assert hpcsim_command("run", "demo.yaml", "--out", "here", "--no-charts").status == 0
    assert on_disk() == {**first, "here/mine.txt": b"mine"}


def test_set_and_seed_are_as_in_the_file(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(SCENARIO.replace("count: 2", "count: 1") + "simulate: {seed: 9}\n", encoding="utf-8")
    there = only(hpcsim_command("run", "other.yaml", "--no-charts", "--out", "a", "--format", "json").out)
    here = only(
        hpcsim_command(
            "run", "demo.yaml", "--set", "cluster.nodes.gpu.count=1", "--seed", "9", "--no-charts", "--out", "b", "--format", "json"
        ).out
    )
    for machine in ("wall_s", "cpu_s"):
        there["summary"].pop(machine, None)
        here["summary"].pop(machine, None)
    assert here["summary"] == there["summary"]
    records = [json.loads((tmp_path / folder / "provenance.json").read_text(encoding="utf-8")) for folder in "ab"]
    assert records[0]["scenario_sha256"] == records[1]["scenario_sha256"]
    assert records[0]["seed"] == records[1]["seed"] == 9


def test_help_and_version(hpcsim_command: Any) -> None:
    bare, asked = hpcsim_command(), hpcsim_command("--help")
    assert bare.status == asked.status == 0
    assert bare.out == asked.out
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", asked.out, re.MULTILINE)
        one = hpcsim_command(command, "--help")
        assert one.status == 0
        assert "--format" in one.out
    assert hpcsim_command("--version").out == f"hpcsim {hpcsim.__version__}\n"


def test_replay_names_each_policy(hpcsim_command: Any) -> None:
    document = only(hpcsim_command(*GOOD["replay of several"], "--format", "json").out)
    assert list(document["policies"]) == ["fcfs", "easy"]
    keys = {"jobs", "mean_wait_s", "max_wait_s", "mean_bounded_slowdown", "makespan_s", "utilisation_frac", "cpu_s"}
    for figures in document["policies"].values():
        assert keys <= figures.keys()
        assert figures["jobs"] == 8
    one = only(hpcsim_command(*GOOD["replay"], "--policy", "fcfs", "--format", "json").out)
    assert one["policies"]["fcfs"]["mean_wait_s"] == document["policies"]["fcfs"]["mean_wait_s"]


def test_check_lists_every_file(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(SCENARIO.replace("count: 2", "count: 0"), encoding="utf-8")
    done = hpcsim_command("check", "demo.yaml", "bad.yaml", "--format", "json")
    rows = only(done.out)["scenarios"]
    assert done.status == 2
    assert [(row["scenario"], row["ok"], len(row["problems"])) for row in rows] == [("demo.yaml", True, 0), ("bad.yaml", False, 1)]
    assert rows[1]["problems"][0] == done.err.strip()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    from hpcsim.cli import output

    now, terminal = [100.0], _Terminal()
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(output.sys, "stderr", terminal)
    assert output.progress_bar(Namespace(quiet=True)) is None
    show = output.progress_bar(Namespace(quiet=False))
    assert show is not None
    now[0] = 101.9
    show(1, 400)
    assert terminal.getvalue() == ""
    now[0] = 110.0
    show(10, 400)
    assert "10 of 400, 6 min 30 s left" in terminal.getvalue()
    length = len(terminal.getvalue())
    show(11, 400)  # at the same instant: not drawn again
    assert len(terminal.getvalue()) == length
    now[0] = 200.0
    show(400, 400)
    assert terminal.getvalue().endswith("\r" + " " * 78 + "\r")
    monkeypatch.setattr(output.sys, "stderr", io.StringIO())
    assert output.progress_bar(Namespace(quiet=False)) is None
