"""How published cases are read: spellings, absent fields, and predictions that change as they should from one case to the next."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcsim.catalog.lookup import default
from hpcsim.cost.parameters import DEFAULTS
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import Prediction, predict
from hpcsim.study.reading import Reader, Reading

LLAMA: dict[str, Any] = {
    "family": "llama", "layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn_hidden": 14336, "vocab": 128256, "seq_len": 8192,
}  # fmt: skip
GPUS = [
    "V100-16GB",
    "V100-32GB",
    "A100-40GB",
    "A100-80GB",
    "H100",
    "H200",
    "B200",
    "B300",
    "GB200",
    "GB300",
    "L40S",
    "MI300X",
    "MI325X",
    "MI350X",
    "MI355X",
    "H20",
    "H800",
    "A800",
    "GH200",
]
TPUS = ["TPU v4", "TPU v5e", "TPU v5p", "TPU v6e", "TPU7x"]


def case(**changes: Any) -> dict[str, Any]:
    """A run of an 8-billion model on 64 H100 with values changed, by part and key joined with two underscores; None takes a key out."""
    made: dict[str, Any] = {
        "model": dict(LLAMA),
        "hardware": {"accelerator": "H100", "count": 64, "per_node": 8},
        "parallelism": {"tp": 1, "global_batch": 128, "micro_batch": 1, "precision": "bf16", "zero_stage": 3},
        "software": {"framework": "pytorch-fsdp", "year": 2024},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if not key:
            made[part] = value
        elif value is None:
            made[part].pop(key, None)
        else:
            made[part][key] = value
    return made


def answers(*cases: dict[str, Any]) -> list[Prediction]:
    return predict(copy.deepcopy(cases), catalog=default())


def time_of(**changes: Any) -> float:
    (one,) = answers(case(**changes))
    assert not one.refused, one.refused
    return one.predicted_s


def readings(**changes: Any) -> list[Reading]:
    return Reader(default(), DEFAULTS).read(0, case(**changes))


@pytest.mark.parametrize("name", [*GPUS, *TPUS])
def test_every_device_takes_a_plausible_share_of_its_peak(name: str) -> None:
    entry = default().accelerator(name)
    half = entry.peak_flop_per_s.get("bf16") or entry.peak_flop_per_s["fp16"]
    framework = "maxtext" if name in TPUS else "megatron-core"
    (one,) = answers(
        case(hardware__accelerator=name, hardware__per_node=None, parallelism__precision=None, software={"framework": framework})
    )
    flop = 6.0 * 8.03e9 * 128 * 8192 * 1.15
    assert 0.15 < flop / (64 * half * one.predicted_s) < 0.8
    assert 0.0 < one.low_s < one.predicted_s < one.high_s


def test_later_and_larger_devices_are_faster() -> None:
    for slower, faster in (
        ("V100-32GB", "A100-80GB"), ("A100-40GB", "A100-80GB"), ("A100-80GB", "H100"), ("H100", "H200"), ("H200", "B200"),
        ("GB200", "GB300"), ("MI300X", "MI325X"), ("MI325X", "MI350X"), ("MI350X", "MI355X"), ("H20", "H100"), ("TPU v5e", "TPU v4"),
        ("TPU v4", "TPU v5p"), ("TPU v5p", "TPU v6e"), ("TPU v6e", "TPU7x"), ("L40S", "A100-80GB"), ("A800", "H800"),
    ):  # fmt: skip
        year = {"framework": "maxtext" if "TPU" in slower else "megatron-core", "year": 2026}
        keys = {"software": year, "parallelism__precision": None, "parallelism__recompute": "full"}
        assert time_of(hardware__accelerator=slower, **keys) >= 0.995 * time_of(hardware__accelerator=faster, **keys), (slower, faster)


def test_weak_scaling_is_smooth_and_never_gains() -> None:
    """From one device to 16,384 at two sequences a device: no jump of more than a tenth, never faster on more."""
    counts = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
    for keys in ({}, {"parallelism__tp": 8, "parallelism__zero_stage": 1, "software": {"framework": "megatron-core", "year": 2025}}):
        times = [time_of(hardware__count=n, parallelism__global_batch=2 * n, **keys) for n in counts]
        for before, after in itertools.pairwise(times):
            assert 0.995 * before <= after <= 1.1 * before


def test_strong_scaling_never_slows_by_more_than_it_waits() -> None:
    """One batch on more devices takes less time, and never less than in proportion."""
    times = [time_of(hardware__count=n, parallelism__global_batch=2048) for n in (64, 128, 256, 512, 1024)]
    for before, after in itertools.pairwise(times):
        assert before / 2.02 <= after < before


def test_odd_counts_are_predicted() -> None:
    for count in (1, 2, 3, 7, 9, 100, 1000):
        assert time_of(hardware__count=count, parallelism__global_batch=2 * count) > 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("none", ("none", 1.0)), (False, ("none", 1.0)), ("off", ("none", 1.0)), ("full", ("full", 1.0)), (True, ("full", 1.0)),
        ("selective", ("selective", 1.0)), ("selective (core_attn)", ("selective", 1.0)), ("SAC", ("selective", 1.0)),
        ("selective: moe_act, layernorm", ("selective", 1.0)), ("selective (mlp)", ("full", 0.6)), ("full, 8 of 32 layers", ("full", 0.25)),
        ("every 2nd layer", ("full", 0.5)), ("50 %", ("full", 0.5)), ("block 8 layers", ("full", 0.25)),
    ],
)  # fmt: skip
def test_spellings_of_recomputation(said: Any, meant: tuple[str, float]) -> None:
    found = {(r.layout["recompute"], r.layout["recompute_frac"]) for r in readings(parallelism__recompute=said)}
    assert found == {meant}


@pytest.mark.parametrize("said", [None, "?", "unknown"])
def test_recomputation_nobody_tells_falls_back(said: str | None) -> None:
    found = [r.layout["recompute"] for r in readings(parallelism__recompute=said)]
    assert found[0] == "none"
    assert set(found) == {"none", "selective", "full"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("fp8 rowwise", "fp8"), ("FP8-rowwise", "fp8"), ("float8", "fp8"), ("fp8/bf16", "fp8"), ("e4m3", "fp8"), ("mxfp8", "mxfp8"),
        ("BF16", "bf16"), ("bf16-mixed", "bf16"), ("bfloat16", "bf16"), ("amp", "bf16"), ("half", "fp16"), ("float32", "fp32"), (None, "bf16"),
    ],
)  # fmt: skip
def test_spellings_of_precision(said: str | None, meant: str) -> None:
    assert {r.precision for r in readings(parallelism__precision=said)} == {meant}


def test_a_device_without_bf16_takes_its_own_sixteen_bits() -> None:
    for said in (None, "amp"):
        assert readings(hardware__accelerator="V100-16GB", parallelism__precision=said)[0].precision == "fp16"


@pytest.mark.parametrize(
    ("keys", "stage", "groups"),
    [
        ({"zero_stage": "3"}, 3, 1), ({"zero_stage": "zero-1"}, 1, 1), ({"sharding": "SHARD_GRAD_OP"}, 2, 1), ({"fsdp": 64}, 3, 1),
        ({"sharding": "HYBRID_SHARD"}, 3, 8), ({"sharding": "hsdp", "fsdp": 16}, 3, 4), ({"fsdp": 32, "dp_dcn": 2}, 3, 2),
        ({"fsdp": False}, 0, 1), ({"distributed_optimizer": True}, 1, 1), ({}, 3, 1),
    ],
)  # fmt: skip
def test_sharding(keys: dict[str, Any], stage: int, groups: int) -> None:
    given = case(parallelism__zero_stage=None)
    given["parallelism"] |= keys
    first = Reader(default(), DEFAULTS).read(0, given)[0].layout
    assert (first["zero_stage"], first["replicate"]) == (stage, groups)


def test_overrides_of_the_hardware() -> None:
    """Less power slows the arithmetic, less bandwidth the rest; memory decides what must be recomputed."""
    base = time_of()
    assert base < time_of(hardware__power_limit_w=500) < base * 700 / 500
    assert time_of(hardware__power_limit_w=900) == base
    assert base < time_of(hardware__memory_bandwidth_gbyte_s=2400) < 1.2 * base
    assert time_of(hardware__memory_gb=30) > 1.1 * base
    assert readings(hardware__accelerator="A100-64GB")[0].device["memory_bytes"] == 64 * 2**30


def test_a_fabric_nobody_describes_is_that_of_the_devices_years() -> None:
    ports = {
        name: float(
            readings(hardware__accelerator=name, hardware__per_node=None, parallelism__precision=None)[0].fabric.scale_out.bytes_per_s
        )
        for name in ("V100-32GB", "A100-80GB", "H100", "GB300", "TPU v5p")
    }
    assert ports == {"V100-32GB": 12.5e9, "A100-80GB": 25e9, "H100": 50e9, "GB300": 100e9, "TPU v5p": 6.25e9}
    domains = {name: readings(hardware__accelerator=name, hardware__per_node=None, hardware__count=1024)[0].fabric.domain for name in (
        "H100", "GB200", "TPU v5e", "TPU v5p")}  # fmt: skip
    assert domains == {"H100": 8, "GB200": 72, "TPU v5e": 256, "TPU v5p": 1024}


def test_software_nobody_dates_is_as_old_as_its_device() -> None:
    years = {name: float(readings(hardware__accelerator=name, software={"framework": "megatron-core"}, parallelism__precision=None)[0].stack.year)
             for name in ("V100-32GB", "A100-80GB", "H100", "GB300")}  # fmt: skip
    assert years == {"V100-32GB": 2020, "A100-80GB": 2023, "H100": 2025, "GB300": 2026}
    assert time_of(software={}) > 0


def test_unknown_frameworks_are_wider_and_between_the_known() -> None:
    known = [
        time_of(software={"framework": name, "year": 2025})
        for name in ("pytorch-fsdp", "megatron-core", "maxtext", "torchtitan", "deepspeed")
    ]
    for name in ("axolotl", "colossal-ai", "oobleck", ""):
        (one,) = answers(case(software={"framework": name, "year": 2025}))
        assert min(known) <= one.predicted_s <= max(known)
        assert one.high_s / one.low_s > 1.4
    assert time_of(software={"framework": "megatron-core", "year": 2040}) == time_of(software={"framework": "megatron-core", "year": 2030})


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("qwen", {}), ("t5", {}), ("vit", {}), ("bert", {}), ("palm", {"gated_mlp": True}), ("mpt", {}), ("opt", {}), ("mistral", {"sliding_window": 4096}),
        ("moe", {"moe": {"experts": 8, "top_k": 2, "expert_ffn_hidden": 14336}}),
        ("deepseek", {"attention": "mla", "moe": {"experts": 64, "top_k": 6, "expert_ffn_hidden": 1408, "shared_experts": 2}}),
        ("gpt", {"mtp": True}), ("gpt", {"attention": "mqa"}), ("gpt", {"attention": "sliding window 1024"}),
    ],
)  # fmt: skip
def test_families_are_predicted(family: str, extra: dict[str, Any]) -> None:
    model = {**LLAMA, "family": family, **extra}
    assert 0.1 < time_of(model=model) / time_of() < 10


def test_a_whole_step_of_multi_token_prediction_costs_a_layer_and_a_loss() -> None:
    assert 1.02 < time_of(model={**LLAMA, "mtp": True}) / time_of() < 1.15


def test_schedules_by_other_names() -> None:
    keys = {"parallelism__pp": 4, "parallelism__tp": 4, "parallelism__zero_stage": 1}
    one = time_of(**keys, parallelism__schedule="1F1B")
    assert time_of(**keys, parallelism__schedule="zero-bubble") < one
    assert time_of(**keys, parallelism__schedule="DualPipe") > 0
    assert time_of(**keys, parallelism__schedule="something new") == one


def test_true_reasons_alone_refuse() -> None:
    for keys, why in (
        ({"hardware__accelerator": "X9000"}, "no accelerator"),
        ({"parallelism__precision": "nvfp4"}, "no known nvfp4"),
        ({"parallelism__precision": "posit"}, "not known"),
        ({"parallelism__pp": 64}, "without a layer"),
    ):
        (one,) = answers(case(**keys))
        assert why in one.refused


def test_a_file_may_be_json(tmp_path: Path) -> None:
    given = [{**case(), "id": "a", "group": "g", "target": {"iteration_time_s": 2.0}}]
    for name, text in (("cases.json", json.dumps(given)), ("cases.yaml", yaml.safe_dump(given))):
        (tmp_path / name).write_text(text)
        assert read_cases(tmp_path / name)[0]["parallelism"]["global_batch"] == 128


def test_every_program_for_a_tpu_is_compiled() -> None:
    keys = {"hardware__accelerator": "TPU v5p", "parallelism__recompute": "full"}
    times = {time_of(**keys, software={"framework": name, "year": 2025}) for name in ("maxtext", "pathways", "pytorch", "something")}
    assert len(times) == 1
