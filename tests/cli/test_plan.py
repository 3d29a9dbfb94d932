"""``hpcsim plan`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcsim.cli.main import main
from hpcsim.results.planning import FACETS, STEPS

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
HOSPITAL = str(SCENARIOS / "plan-hospital.yaml")


def test_json_is_one_document_and_files_are_written(tmp_path, capsys) -> None:
    assert main(["plan", HOSPITAL, "--format", "json", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reached"] is True
    assert set(document["steps"]) == set(STEPS)
    assert all(set(facets) == set(FACETS) for facets in document["steps"].values())
    assert [row["goal"] for row in document["chosen"]] == ["train xray", "store images"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "summary.json",
        "report.html",
        "plan.csv",
        "plan_candidates.csv",
        "plan_bill.csv",
        "plan_months.csv",
        "plan_savings.csv",
        "plan_prices.csv",
        "charts",
    }
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "capacity plan" in page
    assert "<svg" in page


def test_the_text_has_the_answer_the_finalists_and_the_steps(tmp_path, capsys) -> None:
    assert main(["plan", HOSPITAL, "--no-charts", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    for word in ("Finalists", "chosen", "Requirement analysis", "Maintenance", "because:", "flips:"):
        assert word in text
    assert "Buy 1 a100 node (8 a100-sxm-80gb) for xray, owned at basement; keep images" in " ".join(text.split())
    assert " × a100" not in text


def test_an_impossible_goal_is_answered(tmp_path, capsys) -> None:
    arguments = [
        "plan",
        HOSPITAL,
        "--set",
        "plan.goals.train.xray.within=10 min",
        "--no-charts",
        "--format",
        "json",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reached"] is False
    assert "within" in document["summary"]["binding_limits"]
    assert "The nearest is" in document["answer"]


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("plan.goals.train.xrays.within=1 day", "no-such-path"),
        ("plan.limits.budget=3", "unitless-quantity"),
        ("plan.options.nodes.h100.type=dgx-h1000", "unknown-catalog-name"),
        ("plan.limits.data_in=[ATA]", "plan-region"),
        ("plan.options.prices=[nowhere.csv]", "file-missing"),
        ("plan=null", "no-plan"),
    ],
)
def test_wrong_input_is_one_clear_message(tmp_path, capsys, setting: str, code: str) -> None:
    assert main(["plan", HOSPITAL, "--set", setting, "--no-charts", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"[{code}]" in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_reference_plan_takes_less_than_a_minute(tmp_path) -> None:
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "hpcsim",
        "plan",
        str(SCENARIOS / "plan-llama3-70b.yaml"),
        "--format",
        "json",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert time.perf_counter() - began < 60.0
    document = json.loads(done.stdout)
    assert document["reached"]
    assert len({row["accelerator"] for row in document["prices"]}) >= 5
    assert {row["owner"] for row in document["prices"]} >= {"owned", "reserved", "on-demand", "spot"}
    assert sum(row["simulated_s"] is not None for row in document["candidates"]) >= 3
