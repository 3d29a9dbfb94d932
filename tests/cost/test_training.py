"""The step model: its sum, its limits, published steps, families, refusals."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import Layout, space
from hpcsim.cost.software import Software, software
from hpcsim.cost.training import TERM_SIGMA, TERMS, StepCost, activity, interval, step
from hpcsim.workload.link_kinds import fabric_of

A100 = Device(
    "a100", "gpu", {"fp32": 19.5e12, "tf32": 156e12, "fp16": 312e12, "bf16": 312e12}, 80 * 2.0**30, 2039e9, {"bf16": 271.2e12}, 108
)
H100 = Device("h100", "gpu", {"bf16": 989.4e12, "fp8": 1978.9e12}, 80 * 2.0**30, 3350e9, {"bf16": 794.5e12, "fp8": 1402.6e12}, 132)
SELENE = fabric_of(scale_up="nvlink3", scale_up_bytes_per_s=300e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=25e9)
EOS = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=50e9)
SMALL = Model(layers=24, hidden=2048, ffn=8192, heads=16, vocab=51200, positions=2048)


def gpt(layers: int, hidden: int, heads: int) -> Model:
    return Model(layers=layers, hidden=hidden, ffn=4 * hidden, heads=heads, vocab=51200, positions=2048, dropout=True)


def simple(layout: Layout, **keys: object) -> StepCost:
    given = {"global_batch": 64, "sequence": 2048, "precision": "bf16", **keys}
    return step(SMALL, A100, SELENE, layout, **given)  # type: ignore[arg-type]


# Korthikanti et al. 2022, table 5: layers, hidden, heads, stages, chunks, batch, micro-batch, devices; seconds with full recomputation, and
# with sequence parallelism and selective recomputation
MEGATRON = [
    (48, 6144, 64, 1, 1, 4, 4, 8, 1.42, 1.10),
    (96, 12288, 96, 8, 3, 64, 1, 64, 18.13, 13.75),
    (105, 20480, 128, 35, 3, 280, 1, 280, 49.05, 37.83),
    (128, 25600, 160, 64, 1, 512, 1, 512, 94.42, 71.49),
]


@pytest.mark.parametrize(("layers", "h", "a", "p", "v", "batch", "b", "n", "full", "selective"), MEGATRON)
def test_published_megatron_steps(
    layers: int, h: int, a: int, p: int, v: int, batch: int, b: int, n: int, full: float, selective: float
) -> None:
    for recompute, sp, measured in (("full", False, full), ("selective", True, selective)):
        layout = Layout(tp=8, pp=p, vpp=v, micro_batch=b, recompute=recompute, sequence_parallel=sp, overlap=False)
        cost = step(
            gpt(layers, h, a),
            A100,
            SELENE,
            layout,
            global_batch=batch,
            sequence=2048,
            precision="fp16",
            software=software("megatron-lm", 2022),
            devices=n,
        )
        assert cost.step_time_s == pytest.approx(measured, rel=0.10)
        assert cost.low_s < measured < cost.high_s


def test_published_mfu_follows_from_the_published_time() -> None:
    layout = Layout(tp=8, pp=8, vpp=3, recompute="selective", sequence_parallel=True, overlap=False)
    cost = step(
        gpt(96, 12288, 96), A100, SELENE, layout, global_batch=64, sequence=2048, precision="fp16", software=software("megatron-lm", 2022)
    )
    assert 100 * cost.model_flop / (64 * 312e12 * 13.75) == pytest.approx(51.4, rel=4e-3)


def test_terms_sum_to_the_step() -> None:
    layouts, _ = space(SMALL, devices=32, global_batch=64, sequence=2048)
    cost = step(SMALL, A100, SELENE, layouts, global_batch=64, sequence=2048, check=False)
    assert set(cost.terms) == set(TERMS) == set(TERM_SIGMA)
    assert np.abs(sum(cost.terms.values()) / cost.step_time_s - 1).max() < 1e-12
    assert np.abs(sum(cost.fractions().values()) - 1).max() < 1e-12
    assert np.abs(sum(cost.activity.values()) - 1).max() < 1e-12
    assert all((seconds >= 0).all() for seconds in cost.terms.values())
    assert (cost.low_s < cost.step_time_s).all()
    assert (cost.step_time_s < cost.high_s).all()


def test_one_device_does_not_communicate() -> None:
    cost = simple(Layout(micro_batch=4))
    for name in (
        "tensor_parallel",
        "context_parallel",
        "expert_parallel",
        "pipeline_transfer",
        "bubble",
        "parameter_gather",
        "data_parallel",
    ):
        assert cost.terms[name] == 0.0


def test_scalar_equals_vectorised() -> None:
    layouts, _ = space(SMALL, devices=16, global_batch=64, sequence=2048, axes={"zero_stage": (0, 1, 3)})
    many = step(SMALL, A100, SELENE, layouts, global_batch=64, sequence=2048, check=False)
    assert layouts.shape[0] > 256
    for i in range(0, layouts.shape[0], 97):
        one = step(SMALL, A100, SELENE, layouts.take(i), global_batch=64, sequence=2048)
        assert one.step_time_s == pytest.approx(many.step_time_s[i], rel=1e-12)
        assert one.peak_memory_bytes == pytest.approx(many.peak_memory_bytes[i], rel=1e-12)
        assert bool(one.fits) == bool(many.fits[i])


def test_arrays_in_every_argument() -> None:
    models = Model(
        layers=np.array([12, 24]), hidden=np.array([768, 1024]), ffn=np.array([3072, 4096]), heads=np.array([12, 16]), vocab=50257
    )
    both = step(models, A100, SELENE, Layout(dp=8, micro_batch=4), global_batch=np.array([32, 64]), sequence=np.array([512, 1024]))
    for i, (layers, h, batch, s) in enumerate(((12, 768, 32, 512), (24, 1024, 64, 1024))):
        model = Model(layers=layers, hidden=h, ffn=4 * h, heads=h // 64, vocab=50257)
        one = step(model, A100, SELENE, Layout(dp=8, micro_batch=4), global_batch=batch, sequence=s)
        assert both.step_time_s[i] == pytest.approx(one.step_time_s, rel=1e-12)


def test_never_faster_than_the_hardware() -> None:
    layouts, _ = space(SMALL, devices=64, global_batch=128, sequence=2048)
    cost = step(SMALL, H100, EOS, layouts, global_batch=128, sequence=2048, check=False)
    assert (cost.step_time_s >= cost.hardware_flop / (64 * H100.peak("bf16"))).all()
    assert (cost.mfu_frac <= cost.hfu_frac).all()
    assert (cost.hfu_frac <= 1).all()


def test_longer_sequences_and_batches_take_longer() -> None:
    batches = [float(simple(Layout(dp=8, micro_batch=1), global_batch=b).step_time_s) for b in (8, 16, 64, 256)]
    lengths = [float(simple(Layout(dp=8, micro_batch=1), sequence=s).step_time_s) for s in (512, 1024, 2048, 8192)]
    assert batches == sorted(batches)
    assert lengths == sorted(lengths)


def test_better_hardware_is_never_slower_in_a_fixed_layout() -> None:
    layout = Layout(dp=4, tp=4, pp=2, cp=2, micro_batch=2, zero_stage=1)
    base = simple(layout).step_time_s
    wide = dataclasses.replace(SELENE, scale_out=dataclasses.replace(SELENE.scale_out, bytes_per_s=100e9))
    quick = dataclasses.replace(SELENE, scale_up=dataclasses.replace(SELENE.scale_up, latency_s=0.0, startup_s=0.0))
    streams = dataclasses.replace(A100, memory_bytes_per_s=4e12)
    clocked = dataclasses.replace(A100, sustained_flop_per_s={"bf16": 300e12})
    for device, fabric in ((A100, wide), (A100, quick), (streams, SELENE), (clocked, SELENE)):
        assert step(SMALL, device, fabric, layout, global_batch=64, sequence=2048).step_time_s < base


def test_overlap_hides_and_recomputation_repeats() -> None:
    hidden, shown = (simple(Layout(dp=64, micro_batch=1, overlap=x)) for x in (True, False))
    assert hidden.terms["data_parallel"] < shown.terms["data_parallel"]
    none, full = (simple(Layout(dp=8, micro_batch=4, recompute=x)) for x in ("none", "full"))
    assert none.terms["recompute"] == 0
    assert full.terms["recompute"] > 0.2 * none.step_time_s
    assert full.peak_memory_bytes < none.peak_memory_bytes


def test_eight_bit_products_help_less_than_twice() -> None:
    llama = Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=128256, gated=True, bias=False, tied=False, norm_vectors=1)
    layout = Layout(dp=8, micro_batch=1, zero_stage=1)
    slow, fast = (step(llama, H100, EOS, layout, global_batch=128, sequence=8192, precision=p).step_time_s for p in ("bf16", "fp8"))
    assert 1.15 < slow / fast < 1.7


def test_small_models_are_bound_by_the_host() -> None:
    tiny = Model(layers=24, hidden=256, ffn=1024, heads=4, vocab=1000)
    eager, captured = (
        step(tiny, H100, EOS, Layout(), global_batch=1, sequence=128, software=Software(launch_s=x, step_s=0.0)) for x in (10e-6, 0.0)
    )
    assert eager.terms["launch"] > 0.5 * eager.step_time_s
    assert captured.terms["launch"] == 0.0
    assert eager.bound_by() == "idle"


def test_other_families_take_a_plausible_share_of_the_peak() -> None:
    mixture = Model(
        layers=32,
        hidden=4096,
        ffn=14336,
        heads=32,
        kv_heads=8,
        vocab=32000,
        experts=8,
        experts_per_token=2,
        gated=True,
        bias=False,
        tied=False,
        norm_vectors=1,
    )
    latent = Model(
        layers=61, hidden=7168, ffn=18432, heads=128, vocab=129280, experts=256, experts_per_token=8, shared_experts=1, expert_ffn=2048,
        dense_layers=3, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128, gated=True, bias=False, tied=False, norm_vectors=1,
    )  # fmt: skip
    bert = Model(layers=24, hidden=1024, ffn=4096, heads=16, vocab=30522, causal=False, dropout=True, logit_frac=0.15)
    both = Model(layers=6, decoder_layers=6, hidden=1024, ffn=4096, heads=16, vocab=37000, bias=False)
    for model, layout, batch, s in (
        (mixture, Layout(dp=64, ep=8, zero_stage=1), 256, 4096),
        (latent, Layout(dp=64, pp=16, ep=64, zero_stage=1), 1024, 4096),
        (bert, Layout(dp=8, micro_batch=32), 256, 512),
        (both, Layout(dp=8, micro_batch=32), 256, 256),
    ):
        cost = step(model, H100, EOS, layout, global_batch=batch, sequence=s)
        assert 0.05 < cost.mfu_frac < 0.8
        assert (cost.terms["expert_parallel"] > 0) == bool(model.experts)


def test_old_devices_and_formats() -> None:
    p100 = Device("p100", "gpu", {"fp32": 10.6e12, "fp16": 21.2e12}, 16 * 2.0**30, 732e9, compute_units=56)
    tpu = Device("tpu-v3", "tpu", {"bf16": 123e12}, 32 * 2.0**30, 900e9)
    ring = fabric_of(scale_up="nvlink1", scale_up_bytes_per_s=80e9, domain=8, scale_out="none", scale_out_bytes_per_s=1e9)
    torus = fabric_of(scale_up="ici", scale_up_bytes_per_s=328e9, domain=1024, scale_out="dcn", scale_out_bytes_per_s=6e9)
    both = Model(layers=6, decoder_layers=6, hidden=1024, ffn=4096, heads=16, vocab=37000, bias=False, dropout=True)
    old = step(
        both,
        p100,
        ring,
        Layout(dp=8, micro_batch=98),
        global_batch=784,
        sequence=32,
        precision="fp32",
        software=software("tensorflow", 2017),
    )
    assert 0.3 < old.step_time_s < 1.2
    cost = step(
        SMALL, tpu, torus, Layout(dp=64, micro_batch=2, zero_stage=3), global_batch=128, sequence=2048, software=software("maxtext", 2024)
    )
    assert 0.2 < cost.mfu_frac < 0.9
    with pytest.raises(InputError) as error:
        step(both, p100, ring, Layout(dp=8), global_batch=8, sequence=32, precision="bf16")
    assert error.value.problems[0].code == "precision-unsupported"


def test_work_per_sample() -> None:
    resnet = Work(parameters=25.557e6, flop_per_sample=8.178e9, bytes_per_sample=0.2e9, activation_bytes_per_sample=0.1e9, layers=160)
    cost = step(resnet, A100, SELENE, Layout(dp=8, micro_batch=256), global_batch=2048, precision="bf16")
    assert sum(cost.terms.values()) == pytest.approx(cost.step_time_s, rel=1e-12)
    assert 8 * 1500 < cost.tokens_per_s < 8 * 4000
    assert cost.step_time_s >= 3 * 8.178e9 * 2048 / (8 * 312e12)
    recommender = Work(
        parameters=2.4e6, flop_per_sample=14e6, bytes_per_sample=20e3, exchange_bytes_per_sample=26 * 128 * 2, sharded_bytes=100e9
    )
    shared = step(recommender, A100, SELENE, Layout(dp=16, micro_batch=4096), global_batch=65536)
    assert shared.terms["expert_parallel"] >= 2 * 65536 / 16 * 26 * 128 * 2 * 8 / 16 / 25e9
    assert shared.memory.weights > 100e9 / 16
    with pytest.raises(InputError):
        step(resnet, A100, SELENE, Layout(tp=8), global_batch=8)


def test_adapters_cost_less_than_full_training() -> None:
    full = simple(Layout(dp=8, micro_batch=2))
    part = step(dataclasses.replace(SMALL, trainable_frac=0.001), A100, SELENE, Layout(dp=8, micro_batch=2), global_batch=64, sequence=2048)
    assert 0.5 < part.step_time_s / full.step_time_s < 0.85
    assert part.peak_memory_bytes < full.peak_memory_bytes


def test_interval_of_terms() -> None:
    terms = {"matmul": np.array(1.0), "bubble": np.array(0.0)}
    low, high = interval(terms, sigma={"matmul": 0.3, "bubble": 5.0}, common=0.4)
    assert high == pytest.approx(np.exp(1.2815515655 * 0.5))
    assert low * high == pytest.approx(1.0)
    everything = {name: np.array(1.0) for name in TERMS}
    assert activity(everything)["compute"] == pytest.approx(5 / len(TERMS))


def test_impossible_layouts_are_refused_with_every_reason() -> None:
    with pytest.raises(InputError) as error:
        simple(Layout(dp=3, tp=5), devices=16)
    problem = error.value.problems[0]
    assert problem.code == "layout-invalid"
    for reason in ("world-size", "batch", "heads"):
        assert reason in problem.message
    with pytest.raises(InputError):
        simple(Layout(pp=64))
    with pytest.raises(InputError):
        simple(Layout(), global_batch=0)


def test_frameworks_by_family_and_year() -> None:
    assert not software("megatron-lm", 2020).fused_attention
    assert software("megatron-core", 2025).fused_attention
    assert software("something-new", 2026).launch_s > 0
    assert software("maxtext", 2025).launch_s == 0
    assert software("my-own", 2019).name == "my-own 2019"
    with pytest.raises(InputError):
        Software(tp_overlap_frac=1.5)


def test_speed_of_a_search() -> None:
    """At least 200 thousand layouts a CPU-second; measured 650 thousand on one core of 2026."""
    model = gpt(96, 12288, 96)
    layouts, _ = space(model, devices=1024, global_batch=1536, sequence=2048)
    before = time.process_time()
    cost = step(model, A100, SELENE, layouts, global_batch=1536, sequence=2048, check=False)
    spent = time.process_time() - before
    assert layouts.shape[0] > 30_000
    assert cost.fits.any()
    assert layouts.shape[0] / spent > 200_000
