"""Hugging Face configurations: parameter counts of the library's own models, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.huggingface import ARCHITECTURES, model_from_config
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import active_parameters, parameters


def llama(kind: str = "llama", **changes: Any) -> dict[str, Any]:
    base = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    }
    return {"model_type": kind, **base, **changes}


V3 = llama(
    "deepseek_v3", hidden_size=7168, num_hidden_layers=61, num_attention_heads=128, num_key_value_heads=128, intermediate_size=18432,
    vocab_size=129280, n_routed_experts=256, num_experts_per_tok=8, n_shared_experts=1, moe_intermediate_size=2048, first_k_dense_replace=3,
    q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
)  # fmt: skip

KNOWN: dict[str, tuple[dict[str, Any], int]] = {
    "llama-3-8b": (llama(), 8_030_261_248),
    "llama-2-7b": (llama(num_key_value_heads=32, intermediate_size=11008, vocab_size=32000), 6_738_415_616),
    "mistral-7b": (llama("mistral", vocab_size=32000), 7_241_732_096),
    "mixtral-8x7b": (llama("mixtral", vocab_size=32000, num_local_experts=8, num_experts_per_tok=2), 46_702_792_704),
    "phi-3-mini": (llama("phi3", hidden_size=3072, num_key_value_heads=32, intermediate_size=8192, vocab_size=32064), 3_821_079_552),
    "qwen2-7b": (
        llama(
            "qwen2",
            hidden_size=3584,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            intermediate_size=18944,
            vocab_size=152064,
        ),
        7_615_616_512,
    ),
    "qwen2.5-0.5b": (
        llama(
            "qwen2",
            hidden_size=896,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            intermediate_size=4864,
            vocab_size=151936,
            tie_word_embeddings=True,
        ),
        494_032_768,
    ),
    "qwen1.5-moe-a2.7b": (
        llama(
            "qwen2_moe",
            hidden_size=2048,
            num_hidden_layers=24,
            num_attention_heads=16,
            num_key_value_heads=16,
            intermediate_size=5632,
            vocab_size=151936,
            num_experts=60,
            num_experts_per_tok=4,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
        ),
        14_315_784_192,
    ),
    "qwen3-8b": (llama("qwen3", num_hidden_layers=36, head_dim=128, intermediate_size=12288, vocab_size=151936), 8_190_735_360),
    "qwen3-30b-a3b": (
        llama(
            "qwen3_moe",
            hidden_size=2048,
            num_hidden_layers=48,
            num_key_value_heads=4,
            head_dim=128,
            intermediate_size=6144,
            vocab_size=151936,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
        ),
        30_532_122_624,
    ),
    "deepseek-v3": (V3, 671_026_419_200),
    "deepseek-v2-lite": (
        {
            **V3,
            "model_type": "deepseek_v2",
            "hidden_size": 2048,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "intermediate_size": 10944,
            "vocab_size": 102400,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "n_shared_experts": 2,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
        },
        15_706_484_224,
    ),
    "gpt2": ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}, 124_439_808),
    "gpt2-xl": (
        {"model_type": "gpt2", "n_layer": 48, "n_embd": 1600, "n_head": 25, "n_positions": 1024, "vocab_size": 50257},
        1_557_611_200,
    ),
    "gpt-j-6b": (
        {"model_type": "gptj", "n_layer": 28, "n_embd": 4096, "n_head": 16, "vocab_size": 50400, "tie_word_embeddings": False},
        6_050_882_784,
    ),
    "gpt-neox-20b": (
        {
            "model_type": "gpt_neox",
            "num_hidden_layers": 44,
            "hidden_size": 6144,
            "num_attention_heads": 64,
            "intermediate_size": 24576,
            "vocab_size": 50432,
        },
        20_554_567_680,
    ),
    "bloom-560m": ({"model_type": "bloom", "n_layer": 24, "hidden_size": 1024, "n_head": 16, "vocab_size": 250880}, 559_214_592),
    "mpt-7b": (
        {
            "model_type": "mpt",
            "d_model": 4096,
            "n_layers": 32,
            "n_heads": 32,
            "vocab_size": 50432,
            "max_seq_len": 2048,
            "no_bias": True,
            "attn_config": {"alibi": True},
        },
        6_649_286_656,
    ),
    "opt-125m": (
        {
            "model_type": "opt",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "ffn_dim": 3072,
            "vocab_size": 50272,
            "max_position_embeddings": 2048,
        },
        125_239_296,
    ),
    "falcon-7b": (
        {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "vocab_size": 65024},
        6_921_720_704,
    ),
    "phi-2": (
        {
            "model_type": "phi",
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "intermediate_size": 10240,
            "vocab_size": 51200,
        },
        2_779_683_840,
    ),
    "gemma-2b": (
        llama(
            "gemma",
            hidden_size=2048,
            num_hidden_layers=18,
            num_attention_heads=8,
            num_key_value_heads=1,
            head_dim=256,
            intermediate_size=16384,
            vocab_size=256000,
        ),
        2_506_172_416,
    ),
    "gemma-2-9b": (
        llama(
            "gemma2",
            hidden_size=3584,
            num_hidden_layers=42,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=256,
            intermediate_size=14336,
            vocab_size=256000,
        ),
        9_241_705_984,
    ),
    "gemma-3-1b": (
        llama(
            "gemma3_text",
            hidden_size=1152,
            num_hidden_layers=26,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=256,
            intermediate_size=6912,
            vocab_size=262144,
        ),
        999_885_952,
    ),
    "bert-base": (
        {
            "model_type": "bert",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": 30522,
        },
        109_482_240,
    ),
    "t5-small": (
        {"model_type": "t5", "num_layers": 6, "d_model": 512, "d_ff": 2048, "num_heads": 8, "d_kv": 64, "vocab_size": 32128},
        60_506_624,
    ),
}
"""Counts of the published checkpoints (tied weights once)."""


@pytest.mark.parametrize("name", KNOWN)
def test_counts_are_those_of_the_checkpoints(name: str) -> None:
    config, count = KNOWN[name]
    assert parameters(model_from_config(config)) == count


def test_every_architecture_is_counted() -> None:
    assert {config["model_type"] for config, _ in KNOWN.values()} == set(ARCHITECTURES)


def test_active_parameters_follow() -> None:
    assert active_parameters(model_from_config(KNOWN["mixtral-8x7b"][0])) == 12_879_925_248


def test_a_file_and_its_folder_are_read_alike(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(llama()))
    by_file, by_folder = model_from_config(folder / "config.json"), model_from_config(folder)
    assert parameters(by_file) == parameters(by_folder) == 8_030_261_248
    assert by_file.id == "my-llama"
    assert by_file.source_of("layers").kind == "given"


def test_imported_equals_the_catalog() -> None:
    ours = Catalog().model("deepseek-v3")
    theirs = model_from_config(V3)
    keys = (
        "layers",
        "hidden",
        "ffn",
        "heads",
        "experts",
        "experts_per_token",
        "shared_experts",
        "dense_layers",
        "expert_ffn",
        "q_rank",
        "kv_rank",
    )
    assert [getattr(ours, key) for key in keys] == [getattr(theirs, key) for key in keys]


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"model_type": "mamba"}, "config-architecture", "'mamba'"),
        ({}, "config-architecture", "None"),
        (llama(num_hidden_layers=None), "config-incomplete", "num_hidden_layers"),
        (llama(num_hidden_layers="many"), "config-value", "'many'"),
        (llama(num_hidden_layers=1.5), "config-value", "1.5"),
        (llama(attention_bias=3), "config-value", "attention_bias"),
        (
            llama("qwen3_moe", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64, decoder_sparse_step=2),
            "config-unsupported",
            "sparse",
        ),
        ({**KNOWN["opt-125m"][0], "word_embed_proj_dim": 512}, "config-unsupported", "narrower"),
        ({**V3, "moe_layer_freq": 2}, "config-unsupported", "sparse"),
    ],
)
def test_what_cannot_be_read_is_refused(config: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        model_from_config(config)
    assert caught.value.problems[0].code == code
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "code"), [("{", "config-unreadable"), ("[1]", "config-unreadable"), (None, "config-missing")])
def test_unreadable_files_are_refused(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        model_from_config(path)
    assert caught.value.problems[0].code == code
    assert caught.value.problems[0].file == str(path)


SCENARIO = """\
schema: 1
name: mine
question: How long?
cluster: {nodes: {gpu: {type: dgx-h100, count: 1}}}
workload: {training: {run: {model: MODEL, steps: 1, global_batch: 64, sequence: 4096, layout: auto}}}
"""


def scenario(folder: Path, model: str) -> Path:
    (folder / "config.json").write_text(json.dumps(llama()))
    path = folder / "mine.yaml"
    path.write_text(SCENARIO.replace("MODEL", model))
    return path


def test_a_scenario_names_a_configuration_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcsim.run.bind import bind

    monkeypatch.chdir("/")  # the path is the scenario's, not the caller's
    (plan,) = bind(scenario(tmp_path, "{config: config.json}")).trainings
    assert plan.parameters == 8_030_261_248
    (plan,) = bind(scenario(tmp_path, "{config: config.json, layers: 16}")).trainings
    assert plan.network.layers == 16
    assert plan.network.kv_heads == 8


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("{config: nowhere.json}", "config-missing"),
        ("{config: config.json, base: llama3-8b}", "model-twice"),
        ("{config: mine.yaml}", "config-unreadable"),
    ],
)
def test_a_wrong_configuration_is_placed_in_the_scenario(tmp_path: Path, model: str, code: str) -> None:
    from hpcsim.run.bind import bind

    with pytest.raises(InputError) as caught:
        bind(scenario(tmp_path, model))
    (problem,) = caught.value.problems
    assert problem.code == code
    assert problem.line == 5
    assert problem.file.endswith("mine.yaml")
