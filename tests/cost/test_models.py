"""Parameters and FLOP of known models."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.models import Model, Work, active_parameters, flop_per_step, parameters

LLAMA = {"bias": False, "gated": True, "tied": False, "norm_vectors": 1}
BERT = {"positions": 512, "token_types": 2, "embedding_norm": True, "pooler": True, "causal": False, "vocab": 30522}
MIXTRAL = Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=32000, experts=8, experts_per_token=2, **LLAMA)
DEEPSEEK = Model(
    layers=61, hidden=7168, ffn=18432, heads=128, vocab=129280, experts=256, experts_per_token=8, shared_experts=1, expert_ffn=2048,
    dense_layers=3, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128, **LLAMA,
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (Model(layers=12, hidden=768, ffn=3072, heads=12, vocab=50257, positions=1024), 124_439_808),
        (Model(layers=48, hidden=1600, ffn=6400, heads=25, vocab=50257, positions=1024), 1_557_611_200),
        (Model(layers=32, hidden=4096, ffn=11008, heads=32, vocab=32000, **LLAMA), 6_738_415_616),
        (Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=128256, **LLAMA), 8_030_261_248),
        (Model(layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8, vocab=128256, **LLAMA), 70_553_706_496),
        (Model(layers=126, hidden=16384, ffn=53248, heads=128, kv_heads=8, vocab=128256, **LLAMA), 405_853_388_800),
        (Model(layers=12, hidden=768, ffn=3072, heads=12, **BERT), 109_482_240),
        (Model(layers=24, hidden=1024, ffn=4096, heads=16, **BERT), 335_141_888),
        (Model(layers=70, hidden=14336, ffn=57344, heads=112, vocab=250880, embedding_norm=True), 176_247_271_424),
        (MIXTRAL, 46_702_792_704),
        # the published count adds a correction term per expert and sparse layer, which is no weight
        (DEEPSEEK, 671_026_419_200 - 58 * 256),
    ],
)
def test_parameter_counts(model: Model, count: int) -> None:
    assert int(parameters(model)) == count


def test_active_parameters() -> None:
    assert int(active_parameters(MIXTRAL)) == 12_879_925_248
    assert active_parameters(DEEPSEEK) == pytest.approx(37.55e9, rel=1e-3)


def test_encoder_decoder_of_the_transformer_paper() -> None:
    keys = {"decoder_layers": 6, "vocab": 37000, "bias": False}
    base = parameters(Model(layers=6, hidden=512, ffn=2048, heads=8, **keys))
    big = parameters(Model(layers=6, hidden=1024, ffn=4096, heads=16, **keys))
    assert base == pytest.approx(63e6, rel=2e-3)
    assert big == pytest.approx(214e6, rel=2e-3)


@pytest.mark.parametrize(("layers", "h", "s", "v"), [(48, 6144, 2048, 51200), (96, 12288, 2048, 51200), (24, 1024, 512, 50257)])
def test_gpt_flop_per_step(layers: int, h: int, s: int, v: int) -> None:
    model = Model(layers=layers, hidden=h, ffn=4 * h, heads=h // 64, vocab=v)
    got = 3 * sum(flop_per_step(model, global_batch=4, sequence=s).values())
    assert got == pytest.approx(72 * 4 * s * layers * h**2 * (1 + s / (6 * h) + v / (12 * layers * h)))


def test_full_recomputation_over_model_flop() -> None:
    """96BsLh²(1+s/6h+V/16Lh) over 72BsLh²(1+s/6h+V/12Lh) for the 175-billion model: 1.332164."""
    model = Model(layers=96, hidden=12288, ffn=49152, heads=96, vocab=51200)
    f = flop_per_step(model, global_batch=64, sequence=2048)
    body = f["matmul"] + f["attention"]
    assert (4 * body + 3 * f["logits"]) / (3 * (body + f["logits"])) == pytest.approx(1.332164, rel=1e-6)


def test_a_skipped_mask_halves_the_scores_only() -> None:
    model = Model(layers=2, hidden=64, ffn=256, heads=4, vocab=100)
    plain, skipped = (flop_per_step(model, global_batch=1, sequence=32, skips_mask=x) for x in (False, True))
    assert skipped["attention"] == plain["attention"] / 2
    assert skipped["matmul"] == plain["matmul"]
    both_ways = Model(layers=2, hidden=64, ffn=256, heads=4, vocab=100, causal=False)
    assert flop_per_step(both_ways, global_batch=1, sequence=32, skips_mask=True)["attention"] == plain["attention"]


def test_six_flop_per_active_parameter_and_token() -> None:
    for model in (MIXTRAL, DEEPSEEK):
        f = flop_per_step(model, global_batch=1, sequence=1)
        embedding = float(model.vocab * model.hidden)
        assert 3 * (f["matmul"] + f["logits"]) == pytest.approx(6 * (active_parameters(model) - embedding), rel=1e-3)


def test_fields_may_be_arrays() -> None:
    model = Model(layers=np.array([12, 24]), hidden=np.array([768, 1024]), ffn=np.array([3072, 4096]), heads=np.array([12, 16]), **BERT)
    assert parameters(model).tolist() == [109_482_240, 335_141_888]


def test_refusals() -> None:
    with pytest.raises(InputError):
        Model(layers=0, hidden=64, ffn=256, heads=4, vocab=10)
    with pytest.raises(InputError):
        Model(layers=2, hidden=-64, ffn=256, heads=4, vocab=10)
    with pytest.raises(InputError):
        Work(parameters=1.0, flop_per_sample=0.0, bytes_per_sample=1.0)
