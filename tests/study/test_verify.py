"""Scores, the reading of cases, and what verify answers; the accuracy itself is held in tests/evidence."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog, overlaid
from hpcsim.evidence.collectives import read_collectives
from hpcsim.evidence.training import read_cases
from hpcsim.study.accuracy import results_of
from hpcsim.study.cases import Prediction
from hpcsim.study.collectives import predict_collectives, setting_of
from hpcsim.study.scores import kendall_tau, nearest_rank, ranking, scaling, score
from hpcsim.study.verify import verify, verify_collectives, verify_schedules, verify_training

CASE: dict[str, Any] = {
    "id": "one",
    "group": "mine",
    "model": {"family": "gpt", "layers": 24, "hidden": 2304, "heads": 24, "vocab": 51200, "seq_len": 2048},
    "hardware": {"accelerator": "A100-80GB", "count": 32, "per_node": 8},
    "parallelism": {"global_batch": 512, "precision": "fp16"},
    "target": {"iteration_time_s": 3.5},
}


def case(**changes: Any) -> dict[str, Any]:
    """The case above with changed values, by part and key joined with two underscores."""
    made = copy.deepcopy(CASE)
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            made[part][key] = value
        else:
            made[part] = value
    return made


def write(folder: Path, cases: Any) -> Path:
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump(cases, sort_keys=False))
    return path


def row(group: str, measured: float, predicted: float, width: float = 1.1, status: str = "ok") -> dict[str, Any]:
    return {
        "id": "x",
        "group": group,
        "status": status,
        "measured": measured,
        "predicted": predicted,
        "low": predicted / width,
        "high": predicted * width,
    }


# --- scores


def test_score_by_hand() -> None:
    rows = [row("a", 1.0, 1.0 + e) for e in (0.1, -0.2, 0.3, 0.05, 0.0)]
    rows += [row("b", 1.0, 1.5), row("c", 2.0, 2.0), {"id": "r", "group": "b", "status": "refused", "reason": "why"}]
    groups, overall = score(rows)
    assert groups["a"]["median_abs_error_frac"] == pytest.approx(0.1)
    assert groups["a"]["p90_abs_error_frac"] == pytest.approx(0.3)
    assert groups["a"]["bias_frac"] == pytest.approx(0.05)
    assert (groups["b"]["n"], groups["b"]["ok"]) == (2, 1)
    # b and c are small: together they are one group with the errors 0.5 and 0, whose median by nearest rank is 0
    assert overall["median_of_group_medians"] == pytest.approx(0.0)
    assert overall["median_of_group_p90"] == pytest.approx(0.3)
    assert overall["refused_frac"] == pytest.approx(1 / 8)
    assert overall["interval_coverage_frac"] == pytest.approx(4 / 7)  # 1.0 lies in [0.73, 0.88] and [1.18, 1.43] and [1.36, 1.65] of none


def test_a_score_of_nothing_is_no_number() -> None:
    _, overall = score([{"id": "r", "group": "b", "status": "refused", "reason": "why"}])
    assert overall["median_of_group_medians"] is None
    assert overall["interval_coverage_frac"] is None


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=12, unique=True), st.floats(0.2, 5.0))
def test_kendall_tau_is_one_for_the_same_order_and_minus_one_for_the_opposite(values: list[float], factor: float) -> None:
    assert kendall_tau(values, [factor * v**3 for v in values]) == pytest.approx(1.0)
    assert kendall_tau(values, [-v for v in values]) == pytest.approx(-1.0)


def test_kendall_tau_with_ties() -> None:
    # pairs of (1, 2, 3) against (1, 1, 2): two concordant, one tied on the right; τ-b = 2/√(3·2) (Kendall 1945)
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / np.sqrt(6))
    assert np.isnan(kendall_tau([1, 2], [3, 3]))


def test_ranking_compares_one_job_alone() -> None:
    rows = [row("g", 1.0, 1.0), row("g", 2.0, 2.0), row("g", 10.0, 0.1)]
    assert ranking(rows, ["a", "a", "b"]) == {"g": pytest.approx(1.0)}
    assert ranking(rows, ["a", "b", "c"]) == {}


def test_scaling_takes_the_fastest_of_each_count() -> None:
    rows = [row("g", 8.0, 8.0), row("g", 9.0, 9.0), row("g", 4.0, 5.0)]
    (step,) = scaling(rows, ["j"] * 3, [1, 1, 2], [16, 16, 16])
    assert (step["devices_first"], step["devices_second"]) == (1, 2)
    assert (step["measured"], step["predicted"]) == (pytest.approx(2.0), pytest.approx(1.6))
    assert step["error_frac"] == pytest.approx(-0.2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_nearest_rank_is_a_value_that_the_share_reaches(values: list[float], share: float) -> None:
    found = nearest_rank(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9


# --- training


def test_what_predicts_sees_no_measured_value_name_or_source(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def blind(cases: Sequence[Any], *, catalog: Catalog) -> list[Prediction]:
        seen.extend(set(item) for item in cases)
        return [Prediction(2.0, 1.0, 3.0, "compute", 1e9, True) for _ in cases]

    verify_training(write(tmp_path, [CASE, case(id="two")]), predictor=blind)
    assert seen == [{"model", "hardware", "parallelism", "software"}] * 2


def test_a_measured_value_changes_the_score_alone(tmp_path: Path) -> None:
    one = verify_training(write(tmp_path, [CASE]))
    two = verify_training(write(tmp_path, [case(id="other", group="elsewhere", target={"iteration_time_s": 35.0})]))
    keys = ("predicted", "low", "high", "bound_by", "peak_memory_bytes")
    assert [one["cases"][0][k] for k in keys] == [two["cases"][0][k] for k in keys]
    assert two["cases"][0]["measured"] == 35.0


def test_the_answer_has_the_promised_form(tmp_path: Path) -> None:
    answer = verify_training(write(tmp_path, [CASE, case(id="odd", parallelism__precision="fp8")]))
    good, refused = answer["cases"]
    assert {"id", "group", "status", "measured", "predicted", "low", "high", "bound_by", "peak_memory_bytes"} <= set(good)
    assert good["low"] < good["predicted"] < good["high"]
    assert refused.keys() == {"id", "group", "status", "reason"}
    assert "fp8" in refused["reason"]
    assert {"n", "ok", "median_abs_error_frac", "p90_abs_error_frac", "bias_frac"} <= set(answer["groups"]["mine"])
    assert {"groups", "median_of_group_medians", "median_of_group_p90", "interval_coverage_frac", "refused_frac"} <= set(answer["overall"])


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({"a": 1}, "a dict"),
        ([], "empty"),
        (["x"], "no map"),
        ([case(model=None)], "model missing"),
        ([case(model=3)], "model is no map"),
        ([case(model__layers=None)], "model.layers missing"),
        ([case(model__layers="many")], "model.layers is 'many'"),
        ([case(model__layers=-3)], "model.layers is -3"),
        ([case(model__layers=2.5)], "model.layers is 2.5"),
        ([case(hardware__count=True)], "hardware.count is True"),
        ([case(target={})], "target.iteration_time_s missing"),
        ([case(target={"iteration_time_s": 0})], "target.iteration_time_s is 0"),
        ([case(target={"iteration_time_s": float("nan")})], "target.iteration_time_s is nan"),
    ],
)
def test_mistakes_in_cases_are_said(tmp_path: Path, cases: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_cases(write(tmp_path, cases))
    assert words in str(caught.value)


def test_every_mistake_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, [CASE, case(id="b", model__heads="x", hardware__count=0), case(id="c", parallelism__global_batch=None)])
    with pytest.raises(InputError) as caught:
        read_cases(path)
    lines = path.read_text().splitlines()
    places = [(p.line, p.message) for p in caught.value.problems]
    assert len(places) == 3
    assert "heads" in lines[places[0][0] - 1]
    assert "count" in lines[places[1][0] - 1]


def test_numbers_as_text_are_numbers(tmp_path: Path) -> None:
    (read,) = read_cases(write(tmp_path, [case(parallelism__global_batch="5.12e2")]))
    assert read["parallelism"]["global_batch"] == 512


def test_what_a_source_leaves_out_is_tolerated(tmp_path: Path) -> None:
    bare = case()
    del bare["id"], bare["group"]
    answer = verify_training(write(tmp_path, [bare]))
    assert [(r["id"], r["status"]) for r in answer["cases"]] == [("1", "ok")]


def test_another_catalog_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, [CASE])
    slow = overlaid(Catalog(), [{"accelerators": {"a100-sxm-80gb": {"matmul": {"bf16": "50 TFLOP/s", "fp16": "50 TFLOP/s"}}}}])
    assert verify_training(path, catalog=slow)["cases"][0]["predicted"] > 1.5 * verify_training(path)["cases"][0]["predicted"]


# --- collectives

HEADER = "id,system,gpus,per_node,scale_up,scale_up_gbyte_s_one_way,scale_out,scale_out_gbit_s_per_node,in_switch_reduction,condition,collective,bytes,time_us\n"


def test_collectives_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "timed.csv"
    path.write_text(
        HEADER + "7,box,8,8,nvlink3,300,,,,,all_reduce,8589934592,63900\n8,box,16,8,nvlink3,300,infiniband,1600,,,alltoall,1048576,150\n"
    )
    answer = verify_collectives(path)
    assert [r["id"] for r in answer["cases"]] == ["7", "8"]
    assert answer["groups"].keys() == {"box"}
    first = answer["cases"][0]
    # 8 GiB over eight A100: 235 GB/s of bus bandwidth are measured, 2·7/8·n/235 GB/s
    assert first["predicted"] == pytest.approx(2 * 7 / 8 * 8589934592 / 235e9, rel=0.05)
    assert first["measured"] == pytest.approx(0.0639)


def test_columns_of_collectives_are_read_as_meant() -> None:
    rows = {r.in_switch or r.condition: r for r in read_collectives()}
    assert not setting_of(rows["nvls-off"]).sums
    assert setting_of(rows["nvls"]).sums
    slow = setting_of(rows["tcp fallback"])
    fast = setting_of(next(r for r in read_collectives() if r.scale_out == "slingshot" and not r.condition))
    assert (slow.out, fast.out) == ("tcp", "slingshot")
    assert slow.out_bytes_per_s < fast.out_bytes_per_s


def test_names_of_both_benchmarks_are_known(tmp_path: Path) -> None:
    path = tmp_path / "timed.csv"
    names = ("sendrecv", "bcast", "alltoallv", "reduce_scatter_block", "reduce", "gather", "scatter", "all_gather")
    path.write_text(HEADER + "".join(f"{k},box,16,8,nvlink4,450,infiniband,3200,,,{name},1048576,150\n" for k, name in enumerate(names)))
    assert all(row["status"] == "ok" for row in verify_collectives(path)["cases"])


def test_a_fabric_nobody_states_or_knows_has_a_wider_range(tmp_path: Path) -> None:
    path = tmp_path / "timed.csv"
    path.write_text(
        HEADER
        + "".join(
            f"{k},box,16,8,nvlink4,450,{out},,,all_reduce,1073741824,9000\n"
            for k, out in enumerate(("infiniband,3200", "warpnet,3200", ","))
        )
    )
    known, strange, unsaid = (row["high"] / row["predicted"] for row in verify_collectives(path)["cases"])
    assert known < unsaid
    assert known < strange


def test_an_unknown_collective_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "timed.csv"
    path.write_text(HEADER + "1,box,8,8,nvlink3,300,,,,,gossip,1000,10\n")
    (only,) = predict_collectives(read_collectives(path))
    assert "gossip" in only.refused


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a,b\n1,2\n", "timings-column"),
        (HEADER, "timings-empty"),
        (HEADER + "1,box,8,8,nvlink3,300,,,,,all_reduce,many,10\n", "timings-value"),
        (HEADER + "1,box,8,8,nvlink3,300,,,,,all_reduce,100,-1\n", "timings-value"),
        (None, "timings-missing"),
    ],
)
def test_mistakes_in_timings_are_said(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "timed.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_collectives(path)
    assert {p.code for p in caught.value.problems} == {code}


# --- schedules and the front


def test_every_start_equals_the_slow_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPCSIM_TRACES", raising=False)
    answer = verify_schedules()
    assert answer["overall"]["differing_starts"] == 0
    assert {name: group["ok"] for name, group in answer["groups"].items()} == dict.fromkeys(("fcfs", "sjf", "easy", "easy-sjbf"), 6)
    # the policies do differ on these logs, or the check would be empty
    assert len({r["predicted"] for r in answer["cases"] if r["id"].startswith("generated-1-")}) == 4


def test_what_cannot_be_verified_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        verify("luck")
    assert caught.value.problems[0].code == "verify-kind"


def test_the_verb_and_its_results(tmp_path: Path) -> None:
    path = write(tmp_path, [CASE, case(id="two", hardware__count=64, target={"iteration_time_s": 1.9})])
    document = hpcsim.verify(cases=path)
    results = results_of(document, cases=path)
    assert results.verify_cases["id"].tolist() == ["one", "two"]
    assert results.verify_cases["label"].tolist() == ["A100-80GB"] * 2
    assert results.verify_scaling["devices_second"].tolist() == [64]
    assert results.summary["verified_cases"] == 2
    errors = results.verify_cases["predicted_s"] / results.verify_cases["measured_s"] - 1.0
    assert results.verify_cases["error_frac"].tolist() == pytest.approx(errors.tolist())
