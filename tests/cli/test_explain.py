"""``hpcsim explain``: a number by its name, a scenario, a run described by options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RUN = [
    "--model",
    "llama3-8b",
    "--accelerator",
    "h100-sxm",
    "--count",
    "8",
    "--global-batch",
    "64",
    "--sequence",
    "4096",
    "--layout",
    "tp=8,micro_batch=1",
]


@pytest.mark.parametrize("name", ["bubble", "memory.activations", "mfu_frac", "jobs.wait_s"])
def test_a_number(hpcsim_command: Any, name: str) -> None:
    done = hpcsim_command("explain", name, "--format", "json")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["formula"]
    assert "formula" in hpcsim_command("explain", name).out


def test_a_run(hpcsim_command: Any, tmp_path: Path) -> None:
    done = hpcsim_command("explain", *RUN, "--format", "json", "--out", "why")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert sum(row["fraction"] for row in document["breakdown"]) == pytest.approx(1.0)
    assert {row["resource"] for row in document["what_if"]} >= {
        "compute rate",
        "memory bandwidth",
        "scale-up bandwidth",
        "scale-out bandwidth",
        "memory capacity",
    }
    assert (tmp_path / "why" / "what_if.csv").is_file()
    text = hpcsim_command("explain", *RUN).out
    assert "if it were doubled" in text
    assert "would save" in text


def test_a_log_is_read_by_a_map_of_columns(hpcsim_command: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("when,took,cpus\n0,10,4\n1,10,4\n", encoding="utf-8")
    assert hpcsim_command("explain", "log.csv", "--nodes", "4", "--job", "2").codes == ["trace-headings-unknown"]
    text = hpcsim_command(
        "explain", "log.csv", "--nodes", "4", "--job", "2", "--columns", "submit=when, run=took [min], processors=cpus"
    ).out
    assert "Job 2 asked for 4 of 4 processors and waited 9.983 min" in " ".join(text.split())


def test_mistakes(hpcsim_command: Any) -> None:
    assert hpcsim_command("explain", "bubbles").codes == ["unknown-term"]
    assert hpcsim_command("explain", "nowhere.yaml").codes == ["file-missing"]
    assert set(hpcsim_command("explain").codes) == {"argument-missing"}
