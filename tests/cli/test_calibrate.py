"""``hpcsim calibrate``: from a file to an overlay that the catalog reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from hpcsim.catalog.lookup import Catalog
from hpcsim.evidence.training import read_cases


def measured(folder: Path) -> None:
    (folder / "steps.yaml").write_text(yaml.safe_dump([c for c in read_cases() if c["group"] == "korthikanti22"]))


def test_an_overlay_is_written_and_read(hpcsim_command: Any, tmp_path: Path) -> None:
    measured(tmp_path)
    done = hpcsim_command("calibrate", "steps.yaml", "--out", "fit", "--format", "json")
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert {"raw_median_abs_error_frac", "fitted_median_abs_error_frac", "left_out_median_abs_error_frac"} == set(document["summary"])
    assert document["file"] == "calibrated.yaml"
    entry = Catalog([tmp_path / "calibrated.yaml"]).accelerator("a100-sxm-80gb")
    assert entry.source_of("measured_matmul_flop_per_s.bf16").kind == "measured"
    assert (tmp_path / "fit" / "report.html").is_file()


def test_what_is_printed(hpcsim_command: Any, tmp_path: Path) -> None:
    measured(tmp_path)
    done = hpcsim_command("calibrate", "steps.yaml", "--overlay", "mine.yaml")
    assert done.status == 0
    assert "matrix products" in done.out
    assert "catalogs: [mine.yaml]" in done.out
    assert (tmp_path / "mine.yaml").is_file()
    assert hpcsim_command("calibrate", "steps.yaml", "--quiet").out == ""


def test_mistakes_leave_nothing_behind(hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    measured(tmp_path)
    before = on_disk()
    for words, code in (
        ((), "calibrate-nothing"),
        (("nowhere.yaml",), "measurements-missing"),
        (("nccl.log",), "collective-log-missing"),
    ):
        done = hpcsim_command("calibrate", *words)
        assert (done.status, done.out, done.codes) == (2, "", [code])
    assert on_disk() == before
