"""Published training steps: the step model's error by source, its ranges, its ranking of layouts, its memory, and what refitting is worth.

The tolerances are what the model reaches today with some room, so that a change that makes a source worse is seen.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from hpcsim.catalog.architecture import architecture_year
from hpcsim.catalog.lookup import default
from hpcsim.cost.parameters import DEFAULTS, TERMS, Parameters
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import predict
from hpcsim.study.validation import fit, leave_one_group_out, priors
from hpcsim.study.verify import verify_training

GROUPS = {
    "sc21-table1": (0.05, 0.08),
    "mlm-readme-2021": (0.07, 0.11),
    "mlm-2020": (0.05, 0.10),
    "korthikanti22": (0.0365, 0.088),
    "mcore-weak": (0.10, 0.34),
    "megatron-bridge": (0.11, 0.34),
    "nemo-24.07": (0.08, 0.38),
    "llm-foundry": (0.07, 0.18),
    "maxtext": (0.08, 0.22),
    "tpu-recipes": (0.06, 0.24),
    "bloom-tuneup": (0.06, 0.18),
    "dle-bert": (0.11, 0.75),
    "mlperf-gpt3": (0.04, 0.09),
    "mlperf-llama2_70b_lora": (0.16, 0.40),
    "mlperf-llama31_405b": (0.05, 0.10),
    "vtrain-single": (0.10, 0.20),
}
"""Median and 90th percentile of the absolute relative error that a source may have."""


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    return verify_training()


@pytest.mark.parametrize("group", list(GROUPS))
def test_error_by_source(answer: dict[str, Any], group: str) -> None:
    median, tail = GROUPS[group]
    assert answer["groups"][group]["median_abs_error_frac"] <= median
    assert answer["groups"][group]["p90_abs_error_frac"] <= tail


def test_every_large_source_has_a_tolerance(answer: dict[str, Any]) -> None:
    assert {name for name, group in answer["groups"].items() if group["n"] >= 5} == set(GROUPS)


def test_over_all_sources(answer: dict[str, Any]) -> None:
    overall = answer["overall"]
    assert overall["median_of_group_medians"] <= 0.06
    assert overall["median_of_group_p90"] <= 0.18
    assert overall["refused_frac"] < 0.03
    assert 0.75 <= overall["interval_coverage_frac"] <= 0.88


def test_the_eight_korthikanti_steps_beat_calculon(answer: dict[str, Any]) -> None:
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in answer["cases"] if row["group"] == "korthikanti22"]
    assert len(errors) == 8
    assert np.mean(errors) <= 0.0365
    assert max(errors) <= 0.088


def test_layouts_of_one_job_are_ranked(answer: dict[str, Any]) -> None:
    assert answer["groups"]["bloom-tuneup"]["layout_kendall_tau"] >= 0.65


def test_peak_memory(answer: dict[str, Any]) -> None:
    assert answer["overall"]["memory_cases"] >= 20
    assert answer["overall"]["memory_median_abs_error_frac"] <= 0.10


def test_the_whole_file_in_three_seconds() -> None:
    cases, catalog = read_cases(), default()
    began = time.process_time()
    predict(cases, catalog=catalog)
    assert time.process_time() - began < 3.0


def test_knowledge_before_looking_is_worth_most() -> None:
    """With every term at the median of its prior, nothing fitted, the sources are already predicted within a tenth in the median."""
    cases, catalog = read_cases(), default()
    by_group: dict[str, list[float]] = {}
    for case, prediction in zip(cases, predict(cases, catalog=catalog, parameters=priors()), strict=True):
        by_group.setdefault(case["group"], []).append(abs(prediction.predicted_s / case["target"]["iteration_time_s"] - 1))
    assert np.median([np.median(errors) for errors in by_group.values()]) <= 0.10


def test_terms_lie_within_their_bounds_and_near_their_priors() -> None:
    for name, term in TERMS.items():
        assert term.low <= getattr(DEFAULTS, name) <= term.high
        assert abs(np.log(getattr(DEFAULTS, name) / term.prior)) <= 3.5 * term.sigma


def test_a_term_out_of_bounds_is_held() -> None:
    assert DEFAULTS.varied(loop_matmul_frac=9.0).loop_matmul_frac == TERMS["loop_matmul_frac"].high


def test_an_architecture_is_as_old_as_its_first_edition() -> None:
    catalog = default()
    assert architecture_year(catalog.accelerator("H200"), catalog) == architecture_year(catalog.accelerator("H100"), catalog)


def _planted(truth: Parameters) -> list[dict[str, Any]]:
    """Cases whose measured time is what the model says with other terms."""
    some = [case for case in read_cases() if case["group"] in ("llm-foundry", "sc21-table1", "maxtext")][::8]
    answers = predict(some, catalog=default(), parameters=truth)
    return [{**case, "target": {"iteration_time_s": a.predicted_s}} for case, a in zip(some, answers, strict=True)]


def test_a_fit_finds_planted_terms() -> None:
    truth = priors().varied(loop_matmul_frac=0.88, eager_traffic=1.9)
    found = fit(_planted(truth), free=("loop_matmul_frac", "eager_traffic"), rounds=4).parameters
    assert found.loop_matmul_frac == pytest.approx(truth.loop_matmul_frac, rel=0.02)
    assert found.eager_traffic == pytest.approx(truth.eager_traffic, rel=0.06)


def test_fp32_and_unknown_formats() -> None:
    case = next(case for case in read_cases() if case["group"] == "sc21-table1")
    variants = [{**case, "parallelism": {**case["parallelism"], "precision": p}} for p in ("fp16", "bf16-mixed", "fp8-rowwise", "nvfp4")]
    fp16, mixed, fp8, fp4 = predict(variants, catalog=default())
    assert fp16.predicted_s == pytest.approx(mixed.predicted_s, rel=1e-12)
    assert "fp8" in fp8.refused
    assert "fp4" in fp4.refused


@pytest.mark.slow
def test_sources_left_out() -> None:
    left = leave_one_group_out(rounds=1)
    assert left.median_of_group_medians <= 0.12
    assert left.median_of_group_p90 <= 0.27
    assert 0.70 <= left.coverage_frac <= 0.90
