"""Measured power and energy beside the predicted, and the file of such cases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.evidence.energy import read_energy_cases
from hpcsim.study.energy import verify_energy

GOOD = """
- {id: one, group: g, what: %s, cluster: {nodes: {n: {type: dgx-a100-80gb, count: 2}}}, activity: {%s}, target: {%s}%s}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    return path


def test_the_shipped_measurements_are_met() -> None:
    answer = hpcsim.verify("energy")
    assert answer["overall"]["refused_frac"] == 0.0
    assert answer["overall"]["median_abs_error_frac"] < 0.10
    for row in answer["cases"]:
        assert abs(row["predicted"] / row["measured"] - 1.0) < 0.25, row
    assert answer["overall"]["informed"] == sum(bool(row["informed"]) for row in answer["cases"]) > 0
    assert answer["overall"]["cases"] == len(answer["cases"]) - answer["overall"]["informed"]


@pytest.mark.parametrize(
    ("what", "activity", "target", "rest", "watts"),
    [
        ("device", "", "power: 60 W", "", 60.0),
        ("device", "compute: 1", "power: 1 kW", "", 60.0 + 0.95 * 340.0),
        ("device", "communication: 0.5", "power: 1 kW", "", 60.0 + (0.35 * 0.5 + 0.10 * 0.5) * 340.0),
        ("node", "", "power: 1 kW", "", 970.0 + 8 * 60.0),
        ("node", "compute: 1", "power: 1 kW", "", 970.0 + 0.43 * 2330.0 + 8 * 383.0),
        ("cluster", "", "energy: 1 kWh", ", duration: 1 h", 2 * (970.0 + 8 * 60.0) * 3600.0),
    ],
)
def test_power_by_hand(tmp_path: Path, what: str, activity: str, target: str, rest: str, watts: float) -> None:
    (row,) = verify_energy(write(tmp_path, GOOD % (what, activity, target, rest)))["cases"]
    assert row["predicted"] == pytest.approx(watts)
    assert row["low"] < row["predicted"] < row["high"]


def test_the_measured_value_is_used_for_the_score_alone(tmp_path: Path) -> None:
    two = [verify_energy(write(tmp_path, GOOD % ("node", "compute: 1", f"power: {w} W", "")))["cases"][0] for w in (1000, 9000)]
    assert two[0]["predicted"] == two[1]["predicted"]
    assert [row["measured"] for row in two] == [1000.0, 9000.0]


def test_what_is_not_known_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = GOOD % ("node", "", "power: 1 W", "") + GOOD.replace("dgx-a100-80gb", "dgx-z") % ("node", "", "power: 1 W", "")
    good, bad = verify_energy(write(tmp_path, text))["cases"]
    assert good["status"] == "ok"
    assert bad["status"] == "refused"
    assert "dgx-z" in bad["reason"]


@pytest.mark.parametrize(
    ("what", "activity", "target", "rest", "says"),
    [
        ("rack", "", "power: 1 W", "", "device, node, cluster"),
        ("node", "computing: 1", "power: 1 W", "", "unknown activity"),
        ("node", "compute: 0.7, memory: 0.7", "power: 1 W", "", "more than 1"),
        ("node", "compute: 2", "power: 1 W", "", "2"),
        ("node", "", "power: 5", "", "unit"),
        ("node", "", "power: 0 W", "", "above zero"),
        ("node", "", "power: 1 W, energy: 1 J", "", "one of them"),
        ("node", "", "energy: 1 J", "", "duration"),
        ("node", "", "power: 1 W", ", duration: 1 h", "no duration"),
        ("node", "", "power: 1 W", ", colour: red", "unknown key"),
    ],
)
def test_bad_cases_name_their_line(tmp_path: Path, what: str, activity: str, target: str, rest: str, says: str) -> None:
    text = GOOD % (what, activity, target, rest)
    with pytest.raises(InputError) as caught:
        read_energy_cases(write(tmp_path, text + text))
    first, second = caught.value.problems
    assert says in f"{first.message} {first.hint}"
    assert (first.line, second.line) == (2, 4)


@pytest.mark.parametrize("text", ["", "a: 1", "[1, 2", "- 5"])
def test_files_that_are_no_list_of_cases(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        read_energy_cases(write(tmp_path, text))


def test_informed_cases_say_so() -> None:
    assert any(case.informed for case in read_energy_cases())
    assert all(math.isfinite(case.measured) and case.kind in ("read", "remembered") for case in read_energy_cases())


@pytest.mark.parametrize("kind", ["energy", "flows"])
def test_a_report_is_written_without_a_warning(kind: str, tmp_path: Path) -> None:
    from hpcsim.report.write import write_report
    from hpcsim.study.accuracy import results_of

    results = results_of(hpcsim.verify(kind))
    write_report(results, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert results.question in page
    if kind == "energy":
        watts = results.verify_cases.set_index("id")["measured_w"]
        assert watts["bloom-idle-energy"] == pytest.approx(256.646e6 / 2820)
        assert results.verify_cases["measured_s"].isna().all()
