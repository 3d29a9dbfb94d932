"""Parameter counts against closed forms and published counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model, active_parameters, forward_flop_per_sample, parameters

CATALOG = Catalog()

# Counts of the published implementations
EXACT = {
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "bloom-176b": 176_247_271_424,
    "llama2-7b": 6_738_415_616,
    "llama2-70b": 68_976_648_192,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_630_071_296,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "deepseek-v3": 671_026_419_200,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "t5-11b": 11_307_321_344,
    "resnet-50": 25_557_032,
    "resnet-101": 44_549_160,
    "vit-b-16": 86_567_656,
    "vit-l-16": 304_326_632,
    "vit-h-14": 632_045_800,
}


@pytest.mark.parametrize("name", EXACT)
def test_counts_are_exact(name: str) -> None:
    count = parameters(CATALOG.model(name))
    assert isinstance(count, int)
    assert count == EXACT[name]


@pytest.mark.parametrize(
    ("name", "billions", "tolerance"),
    [
        ("gpt3-175b", 174.616, 1e-5),
        ("palm-540b", 540.35, 2e-5),
        ("transformer-base", 0.06302, 1e-3),
        ("transformer-big", 0.2141, 1e-3),
        ("megatron-1t", 1008.0, 1e-3),
        ("megatron-530b", 529.6, 1e-3),
        ("megatron-22b", 22.07, 1e-3),
        ("nemotron-340b", 340.0, 5e-3),
        ("gpt-oss-120b", 116.83, 1e-3),
        ("dlrm", 24.04, 1e-3),
    ],
)
def test_counts_agree_with_published_roundings(name: str, billions: float, tolerance: float) -> None:
    assert parameters(CATALOG.model(name)) / 1e9 == pytest.approx(billions, rel=tolerance)


@pytest.mark.parametrize("name", [n for n in CATALOG.names("model") if CATALOG.model(n).published_parameters])
def test_counts_are_within_the_rounding_of_the_published_figure(name: str) -> None:
    model = CATALOG.model(name)
    assert parameters(model) == pytest.approx(model.published_parameters, rel=0.04)


@pytest.mark.parametrize(("name", "active"), [("mixtral-8x7b", 12_879_925_248), ("deepseek-v3", 37_552_297_472)])
def test_active_parameters(name: str, active: int) -> None:
    assert active_parameters(CATALOG.model(name)) == active


@pytest.mark.parametrize(("name", "billions"), [("qwen3-30b-a3b", 3.35), ("qwen3-235b-a22b", 22.2), ("mixtral-8x22b", 39.2)])
def test_active_parameters_as_published(name: str, billions: float) -> None:
    assert active_parameters(CATALOG.model(name)) / 1e9 == pytest.approx(billions, rel=5e-3)


def test_dlrm_towers() -> None:
    """Bottom MLP 171,392 and top MLP 2,197,505 parameters, behind 479 inputs of the interaction."""
    model = CATALOG.model("dlrm")
    tables = sum(model.embedding_rows) * model.embedding_dim
    assert parameters(model) - tables == 171_392 + 2_197_505
    assert len(model.embedding_rows) == 26


def test_flop_per_sample() -> None:
    """ResNet-50 v1.5: 4.089 GMAC; ViT-B/16: 17.56 GMAC (torchvision), two FLOP each."""
    assert forward_flop_per_sample(CATALOG.model("resnet50")) / 2e9 == pytest.approx(4.089, rel=1e-3)
    assert forward_flop_per_sample(CATALOG.model("vit-b-16")) / 2e9 == pytest.approx(17.56, rel=2e-3)
    with pytest.raises(InputError, match="no-flop-per-sample"):
        forward_flop_per_sample(CATALOG.model("llama3-8b"))


sizes = {"layers": st.integers(1, 100), "heads": st.integers(1, 64), "size": st.integers(1, 32), "vocab": st.integers(1, 10**6)}


@given(**sizes, positions=st.integers(0, 4096))
def test_gpt_closed_form(layers: int, heads: int, size: int, vocab: int, positions: int) -> None:
    """P = L(12h² + 13h) + (V + s)h + 2h."""
    h = heads * size
    model = Model(
        id="x", family="gpt", layers=layers, hidden=h, ffn=4 * h, heads=heads, vocab=vocab, positions=positions, bias=True, tied=True
    )
    assert parameters(model) == layers * (12 * h * h + 13 * h) + (vocab + positions) * h + 2 * h
    assert active_parameters(model) == parameters(model)


@given(**sizes, groups=st.integers(1, 8), ffn=st.integers(1, 10_000), tied=st.booleans())
def test_llama_closed_form(layers: int, heads: int, size: int, vocab: int, groups: int, ffn: int, tied: bool) -> None:
    """P = Vh(1 or 2) + L(h·d(n_q + 2n_kv) + n_q·d·h + 3hf + 2h) + h."""
    h, queries = heads * size, heads * groups
    model = Model(
        id="x",
        family="llama",
        layers=layers,
        hidden=h,
        ffn=ffn,
        heads=queries,
        kv_heads=heads,
        head_dim=size,
        vocab=vocab,
        gated=True,
        norm="rmsnorm",
        tied=tied,
    )
    attention = h * size * (queries + 2 * heads) + queries * size * h
    assert parameters(model) == vocab * h * (1 if tied else 2) + layers * (attention + 3 * h * ffn + 2 * h) + h


@given(experts=st.integers(1, 64), visits=st.integers(1, 64), shared=st.integers(0, 2), dense=st.integers(0, 4))
def test_experts_add_their_weights_and_the_router(experts: int, visits: int, shared: int, dense: int) -> None:
    visits = min(visits, experts)
    base = {"layers": 4, "hidden": 64, "ffn": 96, "heads": 4, "vocab": 1000, "gated": True, "norm": "rmsnorm"}
    sparse = Model(
        id="x", family="moe", experts=experts, experts_per_token=visits, shared_experts=shared, dense_layers=dense, expert_ffn=96, **base
    )
    plain = Model(id="y", family="llama", **base)
    moe_layers = 4 - dense
    grown = moe_layers * ((experts + shared - 1) * 3 * 64 * 96 + 64 * experts)
    assert parameters(sparse) == parameters(plain) + grown
    assert parameters(sparse) - active_parameters(sparse) == moe_layers * (experts - visits) * 3 * 64 * 96


@pytest.mark.parametrize(("family", "missing"), [("gpt", "ffn"), ("moe", "experts"), ("resnet", "stages"), ("dlrm", "embedding_rows")])
def test_an_incomplete_model_is_refused(family: str, missing: str) -> None:
    model = Model(id="half", family=family, layers=2, hidden=64, heads=4, vocab=100)
    with pytest.raises(InputError, match=missing) as caught:
        parameters(model)
    assert caught.value.problems[0].code == "model-incomplete"
