"""The file of flow cases and what is said of it: shipped finish times of SimGrid, cases built from theory, mistaken files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpcsim.base.errors import InputError
from hpcsim.evidence.flows import read_flow_cases
from hpcsim.study.flows import AGREES, verify_flows


def test_every_finish_time_of_the_shipped_cases_agrees() -> None:
    document = verify_flows()
    assert {row["name"] for row in document["cases"] if row["max_relative_difference"] > AGREES} == set()
    assert document["overall"]["cases"] == len(document["cases"]) == 35
    assert document["overall"]["flows"] == sum(group["flows"] for group in document["groups"].values())
    json.dumps(document, allow_nan=False)


def test_the_other_programs_times_are_for_the_score_alone(tmp_path: Path) -> None:
    cases = _ring(5)
    cases[0]["finish"] = [t * 1.01 for t in cases[0]["finish"]]
    row = verify_flows(_file(tmp_path, cases))["cases"][0]
    assert row["max_relative_difference"] == pytest.approx(0.01 / 1.01, rel=1e-9)
    assert row["predicted"] == pytest.approx(_ring(5)[0]["finish"][0], rel=1e-12)


def _file(folder: Path, cases: Any) -> Path:
    path = folder / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    return path


def _ring(n: int) -> list[dict[str, Any]]:
    """Every host of a one-way ring sends S over two links of B: each link carries two flows, all end after α + 2S/B."""
    links = [{"id": f"l{i}", "bw": 5e9, "lat": 1e-6} for i in range(n)]
    flows = [{"start": 0, "bytes": 10**9, "route": [f"l{i}", f"l{(i + 1) % n}"]} for i in range(n)]
    return [{"name": "ring", "links": links, "flows": flows, "finish": [2e-6 + 2 * 10**9 / 5e9] * n}]


def _incast(n: int) -> dict[str, Any]:
    """The k-th of n senders to one port has k·S bytes: the k-th departure is at S·Σ (n − i)/B."""
    flows = [{"start": 0.0, "bytes": 1e6 * (k + 1), "route": [f"up{k}", "down"]} for k in range(n)]
    finish, now = [], 0.0
    for k in range(n):
        now += (n - k) * 1e6 / 1e9
        finish.append(now)
    links = [{"id": f"up{k}", "bw": 1e9} for k in range(n)] + [{"id": "down", "bw": 1e9}]
    return {"name": "incast", "topology": {"kind": "star"}, "links": links, "flows": flows, "finish": finish}


def test_cases_from_theory(tmp_path: Path) -> None:
    document = verify_flows(_file(tmp_path, [*_ring(64), _incast(300)]))
    assert [row["name"] for row in document["cases"]] == ["ring", "incast"]
    assert all(row["max_relative_difference"] < 1e-12 for row in document["cases"])
    assert list(document["groups"]) == ["network", "star"]


def test_a_case_may_give_figures_of_its_finish_times_alone(tmp_path: Path) -> None:
    case = _incast(100)
    finish = case.pop("finish")
    case |= {"makespan": finish[-1], "finish_sum": sum(finish), "finish_quantiles": {"0.1": finish[10], "0.99": finish[99], "x": 1.0}}
    row = verify_flows(_file(tmp_path, [case]))["cases"][0]
    assert row["max_relative_difference"] < 1e-12
    case["finish_quantiles"]["0.1"] *= 1.1
    row = verify_flows(_file(tmp_path, [case]))["cases"][0]
    assert row["max_relative_difference"] == pytest.approx(0.1 / 1.1, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        (lambda c: c["links"][1].update(bw=0), "flow-case-capacity", "cases[0].links[1].bw"),
        (lambda c: c["links"][1].update(bw=-1.0), "flow-case-capacity", "cases[0].links[1].bw"),
        (lambda c: c["links"][1].update(bw="fast"), "flow-case-capacity", "cases[0].links[1].bw"),
        (lambda c: c["links"][1].update(bw=1e-320), "flow-case-capacity", "cases[0].links[1].bw"),
        (lambda c: c["links"][0].update(id={"a": 1}), "flow-case-form", "cases[0].links[0]"),
        (lambda c: c["links"][1].update(lat=-1), "flow-case-form", "cases[0].links[1].lat"),
        (lambda c: c["links"][1].update(id="l0"), "flow-case-link-twice", "cases[0].links[1]"),
        (lambda c: c["links"][1].pop("id"), "flow-case-form", "cases[0].links[1]"),
        (lambda c: c["flows"][2]["route"].append("nowhere"), "flow-case-link", "cases[0].flows[2].route"),
        (lambda c: c["flows"][2].update(route=[]), "flow-case-route", "cases[0].flows[2].route"),
        (lambda c: c["flows"][2].pop("route"), "flow-case-form", "cases[0].flows[2]"),
        (lambda c: c["flows"][2].update(bytes=-5), "flow-case-size", "cases[0].flows[2].bytes"),
        (lambda c: c["flows"][2].update(bytes=float("nan")), "flow-case-size", "cases[0].flows[2].bytes"),
        (lambda c: c["flows"][2].update(start=-1), "flow-case-form", "cases[0].flows[2].start"),
        (lambda c: c["flows"][2].update(weight=0), "flow-case-form", "cases[0].flows[2].weight"),
        (lambda c: c["finish"].pop(), "flow-case-times", "cases[0].finish"),
        (lambda c: c["finish"].__setitem__(1, "soon"), "flow-case-form", "cases[0].finish[1]"),
        (lambda c: c.pop("finish"), "flow-case-times", "cases[0]"),
        (lambda c: c.pop("links"), "flow-case-form", "cases[0].links"),
        (lambda c: c.update(flows=[]), "flow-case-form", "cases[0].flows"),
    ],
)
def test_a_mistaken_case_is_one_clear_problem(tmp_path: Path, change: Any, code: str, place: str) -> None:
    cases = _ring(4)
    change(cases[0])
    path = _file(tmp_path, cases)
    with pytest.raises(InputError) as raised:
        read_flow_cases(path)
    first = raised.value.problems[0]
    assert (first.code, first.path, first.file) == (code, place, str(path))


def test_every_mistaken_case_is_named(tmp_path: Path) -> None:
    cases = [_ring(3)[0] for _ in range(4)]
    cases[1]["links"][0]["bw"] = 0
    cases[3]["flows"][0]["bytes"] = -1
    with pytest.raises(InputError) as raised:
        read_flow_cases(_file(tmp_path, cases))
    assert [p.path for p in raised.value.problems] == ["cases[1].links[0].bw", "cases[3].flows[0].bytes"]


@pytest.mark.parametrize(
    ("text", "code"), [("{", "flow-cases-unreadable"), ("{}", "flow-cases-empty"), ("[]", "flow-cases-empty"), ("3", "flow-cases-empty")]
)
def test_a_file_that_is_none(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_flow_cases(path)
    assert raised.value.problems[0].code == code


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_flow_cases(tmp_path / "none.json")
    assert raised.value.problems[0].code == "flow-cases-missing"
