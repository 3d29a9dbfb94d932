"""Calibration: the fit against closed forms, known truths found again, published products, overlays that scenarios read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog
from hpcsim.evidence.training import read_cases
from hpcsim.run.bind import bind
from hpcsim.scenario.load import load
from hpcsim.study.calibrate import calibrate
from hpcsim.study.fitting import identified, left_out, maximum_a_posteriori
from hpcsim.study.machine import median_s, processor_name, stream_bytes_per_s

SCENARIO = """\
schema: 1
name: mine
question: How long?
cluster:
  nodes: {gpu: {type: dgx-a100-80gb, count: 8}}
  fabric: {topology: fat-tree, link: hdr, per_node: 8, radix: 40}
workload:
  training:
    run: {model: megatron-22b, steps: 10, global_batch: 64, sequence: 2048, framework: megatron-core, year: 2024, layout: {tp: 8, pp: 1, micro_batch: 1}}
"""
LAYOUTS = (
    {"tp": 8, "pp": 1, "micro_batch": 1},
    {"tp": 8, "pp": 4, "micro_batch": 1},
    {"tp": 4, "pp": 4, "micro_batch": 1},
    {"tp": 8, "pp": 2, "micro_batch": 2},
)

# M, N, K, ms of an A100: PrincetonUniversity/LLMCompass, ae/figure5/ab/real_hardware/matmul_A100.csv
PRODUCTS = (
    (64, 12288, 12288, 0.19), (128, 12288, 12288, 0.2003), (256, 12288, 12288, 0.3185), (512, 12288, 12288, 0.6118), (1024, 12288, 12288, 1.199),
    (2048, 12288, 12288, 2.3586), (4096, 12288, 12288, 4.4576), (8192, 12288, 12288, 8.6216), (16384, 12288, 12288, 17.0307),
    (32768, 12288, 12288, 35.4407), (8192, 64, 64, 0.0296), (8192, 128, 128, 0.031), (8192, 256, 256, 0.0356), (8192, 512, 512, 0.0471),
    (8192, 1024, 1024, 0.0927), (8192, 2048, 2048, 0.2818), (8192, 4096, 4096, 1.021), (8192, 8192, 8192, 3.9614), (8192, 16384, 16384, 15.0087),
    (8192, 32768, 32768, 61.1346),
)  # fmt: skip


# --- the fit itself


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=8), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_a_linear_fit_is_the_bayesian_one(rows: list[tuple[float, float]], a: float, b: float) -> None:
    j = np.array(rows)
    sigma, noise = np.array([0.2, 0.3]), 0.04
    measured = 1.0 + j @ np.array([a, b])
    fit = maximum_a_posteriori(lambda x: 1.0 + j @ x, measured, sigma, np.array([9.0, 9.0]), noise=noise, rounds=60)
    hessian = j.T @ j / noise**2 + np.diag(sigma**-2)
    assert fit.x == pytest.approx(np.linalg.solve(hessian, j.T @ (measured - 1.0) / noise**2), abs=2e-3)
    assert fit.sigma == pytest.approx(np.sqrt(np.diag(np.linalg.inv(hessian))), rel=1e-3)
    assert (fit.sigma <= sigma + 1e-9).all()


def test_left_out_is_the_fit_without_it() -> None:
    j = np.array([[1.0, 0.0], [0.5, 0.5], [0.1, 0.9], [0.7, 0.2]])
    sigma, limit = np.array([0.2, 0.3]), np.array([9.0, 9.0])
    measured = j @ np.array([0.1, -0.2]) + np.array([0.05, -0.02, 0.0, 0.03])
    fit = maximum_a_posteriori(lambda x: j @ x, measured, sigma, limit, rounds=60)
    others = left_out(fit, measured, sigma, limit)
    for k in range(4):
        rest = np.arange(4) != k
        alone = maximum_a_posteriori(lambda x, r=rest: j[r] @ x, measured[rest], sigma, limit, rounds=60)  # type: ignore[misc]
        assert others[k] == pytest.approx(alone.x, abs=2e-3)


def test_only_what_the_data_can_tell_is_fitted() -> None:
    j = np.array([[1.0, 0.0, 0.001], [0.9, 0.0, 0.0]])
    assert identified(lambda x: j @ x, np.array([0.2, 0.2, 0.2]), np.full(3, 9.0), 2).tolist() == [0]


def test_a_limit_is_kept() -> None:
    fit = maximum_a_posteriori(lambda x: x, np.array([1.0]), np.array([5.0]), np.array([0.3]), rounds=40)
    assert fit.x.tolist() == [0.3]


# --- measured steps


def steps(folder: Path, seconds: list[float]) -> Path:
    (folder / "mine.yaml").write_text(SCENARIO)
    rows = [
        {"scenario": "mine.yaml", "set": {"workload.training.run.layout": layout}, "measured": f"{s} s"}
        for layout, s in zip(LAYOUTS, seconds, strict=True)
    ]
    path = folder / "steps.yaml"
    path.write_text(yaml.safe_dump(rows))
    return path


def step_s(folder: Path, layout: dict[str, Any], **changes: Any) -> float:
    scenario = load(folder / "mine.yaml").vary({"workload.training.run.layout": layout, **changes})
    return float(bind(scenario).trainings[0].cost.step_time_s)


def test_a_known_truth_is_found_again_and_a_scenario_reads_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    truth = {"accelerators": {"a100-sxm-80gb": {"matmul": {"bf16": "215 TFLOP/s", "fp16": "215 TFLOP/s", "tf32": "107 TFLOP/s"}}}}
    (tmp_path / "truth.yaml").write_text(yaml.safe_dump(truth))
    seconds = [step_s(tmp_path, layout, catalogs=["truth.yaml"]) for layout in LAYOUTS]
    found = calibrate(steps(tmp_path, seconds))
    summary = found.results.summary
    assert summary["raw_median_abs_error_frac"] > 0.08
    assert summary["fitted_median_abs_error_frac"] < 0.02
    assert summary["left_out_median_abs_error_frac"] < 0.03
    rate = Catalog([found.overlay]).accelerator("a100-sxm-80gb").measured_matmul_flop_per_s["bf16"]
    assert rate == pytest.approx(215e12, rel=0.06)
    found.write(tmp_path / "fitted.yaml")
    for row, layout in zip(found.results.fit_cases.itertuples(), LAYOUTS, strict=True):
        assert step_s(tmp_path, layout, catalogs=["fitted.yaml"]) == pytest.approx(row.fitted_s, rel=2e-3)
        assert step_s(tmp_path, layout) == pytest.approx(row.raw_s, rel=1e-9)


def test_steps_as_predicted_move_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    found = calibrate(steps(tmp_path, [step_s(tmp_path, layout) for layout in LAYOUTS]))
    fit = found.results.fit
    assert fit["fitted"].tolist() == pytest.approx(fit["prior"].tolist(), rel=1e-4)
    assert (fit["posterior_sigma"] <= fit["prior_sigma"] + 1e-9).all()


def test_software_and_links_of_an_overlay_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    layout = LAYOUTS[2]
    before = step_s(tmp_path, layout)
    for entries in (
        {"software": {"megatron-core": {"memory_traffic": 3.0}}},
        {"software": {"Megatron-Core": {"step_overhead": "400 ms"}}},
        {"links": {"nvlink-3": {"sustained": 0.2}}},
        {"links": {"hdr": {"sustained": 0.02}}},
        {"link-kinds": {"nvlink3": {"efficiency": 0.2}}},
        {"accelerators": {"a100-sxm-80gb": {"memory_efficiency": 0.3}}},
        {"accelerators": {"a100-sxm-80gb": {"attention_efficiency": 0.1}}},
    ):
        (tmp_path / "over.yaml").write_text(yaml.safe_dump(entries))
        assert step_s(tmp_path, layout, catalogs=["over.yaml"]) > before * 1.002, entries


def test_cases_are_measured_steps_too(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump([c for c in read_cases() if c["group"] == "korthikanti22"]))
    found = hpcsim.calibrate(path)
    summary = found.results.summary
    assert summary["fitted_median_abs_error_frac"] <= summary["raw_median_abs_error_frac"] + 0.005
    assert summary["left_out_median_abs_error_frac"] < 0.08
    assert set(found.overlay["accelerators"]) == {"a100-sxm-80gb"}
    Catalog([found.overlay])


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "measurements-not-a-list"),
        ({"a": 1}, "measurements-not-a-list"),
        ([{"scenario": "mine.yaml"}], "measurements-form"),
        ([{"scenario": "mine.yaml", "measured": "3 W"}], "wrong-dimension"),
        ([{"scenario": "mine.yaml", "measured": -1}], "measurements-form"),
        ([{"scenario": "mine.yaml", "measured": "3 s", "training": "other"}], "measurements-which-run"),
        ([{"scenario": "mine.yaml", "measured": "3 s"}, 7], "measurements-form"),
        ([{"scenario": "nowhere.yaml", "measured": "3 s"}], "file-missing"),
        ([{"scenario": "mine.yaml", "measured": "3 s"}], "calibrate-too-few"),
    ],
)
def test_wrong_measurements_are_said(tmp_path: Path, rows: Any, code: str) -> None:
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    path = tmp_path / "steps.yaml"
    path.write_text(yaml.safe_dump(rows))
    with pytest.raises(InputError) as caught:
        calibrate(path)
    assert code in {p.code for p in caught.value.problems}


# --- matrix products


def products(folder: Path, rows: Any = PRODUCTS) -> Path:
    path = folder / "products.csv"
    path.write_text("m,n,k,seconds,precision\n" + "".join(f"{m},{n},{k},{ms / 1e3},fp16\n" for m, n, k, ms in rows))
    return path


def test_twenty_published_products_of_an_a100(tmp_path: Path) -> None:
    found = calibrate(products(tmp_path), accelerator="a100-sxm-40gb")
    summary = found.results.summary
    assert summary["fitted_median_abs_error_frac"] < 0.03
    assert summary["left_out_median_abs_error_frac"] < 0.04
    values = dict(zip(found.results.fit["term"], found.results.fit["fitted"], strict=True))
    assert values["matrix products, fp16"] == pytest.approx(290e12, rel=0.05)  # 61.1346 ms of 8192·32768²·2 FLOP are 288 TFLOP/s
    assert values["start-up of a product timed alone"] == pytest.approx(28.7e-6, rel=0.1)
    assert found.overlay["accelerators"].keys() == {"a100-sxm-40gb"}
    Catalog([found.overlay])


@pytest.mark.parametrize(
    ("text", "accelerator", "code"),
    [
        ("m,n\n1,2\n", "a100-sxm-40gb", "products-column"),
        ("m,n,k,seconds\n1,2,x,4\n", "a100-sxm-40gb", "products-value"),
        ("m,n,k,seconds\n1,2,3,4\n", "a100-sxm-40gb", "products-too-few"),
        ("m,n,k,seconds\n" + "64,64,64,1e-5\n" * 4, None, "products-accelerator"),
        ("m,n,k,seconds,precision\n" + "64,64,64,1e-5,fp8\n" * 4, "a100-sxm-40gb", "products-precision"),
        (None, "a100-sxm-40gb", "products-missing"),
    ],
)
def test_wrong_products_are_said(tmp_path: Path, text: str | None, accelerator: str | None, code: str) -> None:
    path = tmp_path / "products.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        calibrate(path, accelerator=accelerator)
    assert code in {p.code for p in caught.value.problems}


def test_what_is_no_measurement_is_refused(tmp_path: Path) -> None:
    for argument, code in (
        (None, "calibrate-nothing"),
        (tmp_path / "nccl.log", "collective-log-missing"),
        (tmp_path / "x.yaml", "measurements-missing"),
    ):
        with pytest.raises(InputError) as caught:
            calibrate(argument)
        assert caught.value.problems[0].code == code


# --- this machine


def test_timing_and_streaming_give_plausible_figures() -> None:
    assert median_s(lambda: sum(range(1000)), least_s=0.0) > 0
    assert 1e8 < stream_bytes_per_s(1 << 20) < 1e13
    name = processor_name()
    assert name == name.lower()
    assert not math.isnan(len(name))


@pytest.mark.slow
def test_this_machine_becomes_an_overlay() -> None:
    found = calibrate(machine=True)
    name = processor_name()
    entry = Catalog([found.overlay]).accelerator(name)
    assert entry.measured_matmul_flop_per_s["fp32"] > 1e8
    assert entry.source_of("memory_bytes_per_s").kind == "measured"
