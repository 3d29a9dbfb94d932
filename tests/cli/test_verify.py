"""``hpcsim verify``: the promised JSON, the report, the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASE = """\
- id: one
  group: mine
  model: {family: gpt, layers: 24, hidden: 2304, heads: 24, vocab: 51200, seq_len: 2048}
  hardware: {accelerator: A100-80GB, count: 32, per_node: 8}
  parallelism: {global_batch: 512, precision: fp16, tp: 1, micro_batch: 16, recompute: full}
  target: {iteration_time_s: 3.528}
  software: {framework: megatron-lm, year: 2021}
"""


def test_json_is_one_document(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(CASE)
    done = hpcsim_command("verify", "training", "--cases", "cases.yaml", "--format", "json")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    (row,) = document["cases"]
    assert (row["id"], row["group"], row["status"], row["measured"]) == ("one", "mine", "ok", 3.528)
    assert row["low"] < row["predicted"] < row["high"]
    assert document["overall"]["groups"] == 1


def test_the_shipped_evidence_and_its_page(hpcsim_command: Any, tmp_path: Path) -> None:
    done = hpcsim_command("verify", "--out", "accuracy", "--format", "json")
    assert done.status == 0
    assert json.loads(done.out)["overall"]["cases"] > 900
    names = {path.name for path in (tmp_path / "accuracy" / "charts").iterdir()}
    assert {name.rpartition(".")[0] for name in names} == {
        f"accuracy-{part}" for part in ("scatter", "groups", "ranking", "scaling", "coverage")
    }
    page = (tmp_path / "accuracy" / "report.html").read_text()
    assert "How close do predicted training steps come" in page
    assert sum(path.stat().st_size for path in (tmp_path / "accuracy").rglob("*") if path.is_file()) < 2e6


@pytest.mark.parametrize("kind", ["collectives", "schedules"])
def test_other_kinds(hpcsim_command: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPCSIM_TRACES", raising=False)
    done = hpcsim_command("verify", kind)
    assert (done.status, done.err) == (0, "")
    assert "group" in done.out


def test_quiet_and_refusals(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(CASE.replace("fp16", "fp8"))
    done = hpcsim_command("verify", "--cases", "cases.yaml")
    assert done.status == 0
    assert "refused: one" in done.out
    assert hpcsim_command("verify", "--cases", "cases.yaml", "--quiet").out == ""
    for words, code in (
        (("--cases", "nowhere.yaml"), "cases-missing"),
        (("schedules", "--cases", "x"), "verify-no-cases"),
    ):
        done = hpcsim_command("verify", *words)
        assert (done.status, done.out, done.codes) == (2, "", [code])


def test_mistakes_have_their_line(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(CASE.replace("count: 32", "count: none"))
    done = hpcsim_command("verify", "--cases", "cases.yaml")
    assert done.status == 2
    assert done.err.startswith("cases.yaml:4:")
