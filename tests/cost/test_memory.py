"""Memory: published activation sizes, ZeRO, caches."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import memory as mem
from hpcsim.cost.compute import PRECISIONS
from hpcsim.cost.models import Model, Work, parameters
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.pipeline import in_flight

GIB = 2.0**30
# Korthikanti et al. 2022, figure 1: hidden, heads, layers, micro-batch, stages, chunks; GiB with all kept, and with sequence parallelism
# and selective recomputation
PUBLISHED = [
    (6144, 64, 48, 4, 1, 1, 59.25, 9.5625),
    (12288, 96, 96, 1, 8, 3, 66.84375, 12.3515625),
    (20480, 128, 105, 1, 35, 3, 114.0234375, 23.076171875),
    (25600, 160, 128, 1, 64, 1, 131.25, 26.5625),
]


@pytest.mark.parametrize(("h", "a", "layers", "b", "p", "v", "kept", "reduced"), PUBLISHED)
def test_published_activations(h: int, a: int, layers: int, b: int, p: int, v: int, kept: float, reduced: float) -> None:
    flying = in_flight("interleaved" if v > 1 else "1f1b", pp=p, micro_batches=512, vpp=v)
    for technique, gib in (("none", kept), ("sequence-selective", reduced)):
        each = mem.gpt_activation_bytes(technique, sequence=2048, micro_batch=b, hidden=h, heads=a, tp=8)
        assert each * layers / p * flying / GIB == pytest.approx(gib, rel=1e-6)


@pytest.mark.parametrize(
    ("technique", "sequence_parallel", "recompute"),
    [("none", False, "none"), ("sequence", True, "none"), ("selective", False, "selective"), ("sequence-selective", True, "selective")],
)
@pytest.mark.parametrize("tp", [2, 8])
def test_tensor_by_tensor_count_equals_the_formula_for_gpt(technique: str, sequence_parallel: bool, recompute: str, tp: int) -> None:
    h, a, s, b = 6144, 64, 2048, 4
    model = Model(layers=48, hidden=h, ffn=4 * h, heads=a, vocab=51200, dropout=True)
    layout = Layout(tp=tp, micro_batch=b, sequence_parallel=sequence_parallel, recompute=recompute)
    got = mem.activation_bytes(model, "dense", tokens=b * s, context=s, layout=layout, fused_attention=False)
    assert got == pytest.approx(mem.gpt_activation_bytes(technique, sequence=s, micro_batch=b, hidden=h, heads=a, tp=tp))


def test_relative_sizes_of_the_techniques() -> None:
    """Figure 7 of the same paper for 22B: 66.84, 49.42, 16.18, 7.64 % of all kept, read off a chart."""
    keys = {"sequence": 2048, "micro_batch": 4, "hidden": 6144, "heads": 64, "tp": 8}
    base = mem.gpt_activation_bytes("none", **keys)
    for technique, percent in (("sequence", 66.84), ("selective", 49.42), ("sequence-selective", 16.18), ("full", 7.64)):
        assert 100 * mem.gpt_activation_bytes(technique, **keys) / base == pytest.approx(percent, rel=1.2e-2)


def test_eighteen_bytes_a_parameter() -> None:
    """12h²L/t parameters at 18 bytes are the 45.5625 GiB printed for 22B."""
    state = mem.state_bytes(12 * 6144**2 * 48 / 8, zero_stage=0, replicas=1, gradient_bytes=4.0)
    assert sum(state) / GIB == pytest.approx(45.5625, rel=1e-12)


def test_zero_stages_of_the_paper() -> None:
    totals = [sum(mem.state_bytes(7.5e9, zero_stage=z, replicas=64)) / 1e9 for z in range(4)]
    assert totals == pytest.approx([120, 31.41, 16.64, 1.875], rel=1e-3)


def test_key_value_cache() -> None:
    llama = Model(layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8, vocab=128256)
    large = Model(layers=126, hidden=16384, ffn=53248, heads=128, kv_heads=8, vocab=128256)
    latent = Model(layers=61, hidden=7168, ffn=18432, heads=128, vocab=129280, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128)
    assert [int(mem.kv_cache_bytes_per_token(m)) for m in (llama, large, latent)] == [327_680, 516_096, 70_272]


def test_stages_hold_all_parameters_once() -> None:
    model = Model(layers=24, hidden=2048, ffn=8192, heads=16, vocab=51200, positions=2048, tied=False)
    one = mem.stage_parameters(model, Layout())
    assert one.first == pytest.approx(float(parameters(model)), rel=1e-5)
    four = mem.stage_parameters(model, Layout(pp=4, tp=2))
    assert 2 * (four.first + 2 * four.dense + four.last) == pytest.approx(float(parameters(model)), rel=1e-4)
    sparse = Model(
        layers=8, hidden=1024, ffn=4096, heads=16, vocab=32000, experts=16, experts_per_token=2, gated=True, bias=False, tied=False
    )
    spread = mem.stage_parameters(sparse, Layout(dp=8, ep=8))
    assert spread.expert == pytest.approx(8 * 2 * 3 * 1024 * 4096)


def test_fits_measured_peak_of_a_large_run() -> None:
    """BLOOM-like 181-billion model, dp 8, tp 8, pp 6, micro-batch 4, ZeRO 1, full recomputation: 56 GiB a device as measured."""
    model = Model(layers=72, hidden=14336, ffn=57344, heads=64, vocab=250880, dropout=True)
    layout = Layout(dp=8, tp=8, pp=6, micro_batch=4, zero_stage=1, recompute="full")
    got = mem.training_memory(model, layout, PRECISIONS["fp16"], micro_batches=49, sequence=2048, fused_attention=False)
    assert got.total / GIB == pytest.approx(56.0, rel=0.35)


def test_terms_add_up_and_refuse() -> None:
    model = Model(layers=4, hidden=512, ffn=2048, heads=8, vocab=1000)
    terms = mem.training_memory(model, Layout(dp=np.array([1, 4])), PRECISIONS["bf16"], micro_batches=2, sequence=128)
    assert terms.total == pytest.approx(sum(terms.terms().values()))
    assert terms.total.shape == (2,)
    with pytest.raises(InputError):
        mem.gpt_activation_bytes("hope", sequence=1, micro_batch=1, hidden=1, heads=1)
    with pytest.raises(InputError):
        Work(parameters=-1.0, flop_per_sample=1.0, bytes_per_sample=1.0)
