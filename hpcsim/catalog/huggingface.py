"""A local Hugging Face ``config.json`` as a catalog model: its hyper-parameters in hpcsim's own terms, nothing downloaded, no code run.

The architectures here are read field by field with the defaults that the transformers library gives a field which the file leaves out
(from memory of that library); what hpcsim would count wrongly is refused with the reason rather than guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.models import Model

__all__ = ["ARCHITECTURES", "model_from_config"]

NO_FILE = problem_kind("config-missing", "there is no such file", "name a model's config.json, or the folder that holds it")
UNREADABLE = problem_kind(
    "config-unreadable", "the model's configuration cannot be read: {why}", "it is the config.json of a Hugging Face model"
)
UNKNOWN_TYPE = problem_kind(
    "config-architecture", "models of type {kind!r} are not known", "known: {known}; or describe the model in the scenario"
)
INCOMPLETE = problem_kind("config-incomplete", "the configuration of a {kind} model lacks {field}", "use the whole config.json")
BAD_FIELD = problem_kind("config-value", "{field} is {value!r}", "{hint}")
UNSUPPORTED = problem_kind("config-unsupported", "{what}", "describe the model's hyper-parameters in the scenario instead")


class _Config:
    """The fields of a configuration, with names tried in turn."""

    def __init__(self, data: Mapping[str, Any], kind: str) -> None:
        self.data = data
        self.kind = kind

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first field that is there and not null."""
        return next((self.data[name] for name in names if self.data.get(name) is not None), default)

    def count(self, *names: str, default: int | None = None) -> int:
        """Return a whole number, at least 0; without a default the field is needed."""
        value = self.get(*names)
        if value is None:
            if default is None:
                raise INCOMPLETE.error(kind=self.kind, field=names[0])
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
            raise BAD_FIELD.error(field=names[0], value=value, hint="a whole number is needed")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        value = self.get(name, default=default)
        if not isinstance(value, bool):
            raise BAD_FIELD.error(field=name, value=value, hint="true or false is needed")
        return value

    def refuse(self, wrong: bool, what: str) -> None:
        """Refuse what would be counted wrongly."""
        if wrong:
            raise UNSUPPORTED.error(what=f"a {self.kind} model {what}")


Fields = dict[str, Any]


def _llama(c: _Config) -> Fields:
    return {
        "family": "llama",
        "layers": c.count("num_hidden_layers"),
        "hidden": c.count("hidden_size"),
        "ffn": c.count("intermediate_size"),
        "heads": c.count("num_attention_heads"),
        "kv_heads": c.count("num_key_value_heads", default=0),
        "head_dim": c.count("head_dim", default=0),
        "vocab": c.count("vocab_size"),
        "gated": True,
        "norm": "rmsnorm",
        "bias": c.flag("attention_bias", False),
        "ffn_bias": c.flag("mlp_bias", False),
        "tied": c.flag("tie_word_embeddings", False),
        "sequence": c.count("max_position_embeddings", default=0),
    }


def _qwen2(c: _Config) -> Fields:
    return {**_llama(c), "bias": True, "output_bias": False, "ffn_bias": False}


def _qwen3(c: _Config) -> Fields:
    return {**_llama(c), "query_key_norm": True}


def _routed(c: _Config, base: Fields, *, experts: int, chosen: int, width: int) -> Fields:
    step, dense = c.count("decoder_sparse_step", default=1), c.get("mlp_only_layers", default=[])
    first = list(range(len(dense)))
    c.refuse(step != 1 or list(dense) != first, "with dense layers between its sparse ones")
    return {**base, "family": "moe", "experts": experts, "experts_per_token": chosen, "expert_ffn": width, "dense_layers": len(first)}


def _mixtral(c: _Config) -> Fields:
    base = _llama(c)
    return _routed(
        c, base, experts=c.count("num_local_experts", default=8), chosen=c.count("num_experts_per_tok", default=2), width=base["ffn"]
    )


def _qwen2_moe(c: _Config) -> Fields:
    width, shared = c.count("moe_intermediate_size"), c.count("shared_expert_intermediate_size", default=0)
    c.refuse(shared % width != 0, "whose shared expert is no multiple of a routed one")
    base = _routed(c, _qwen2(c), experts=c.count("num_experts"), chosen=c.count("num_experts_per_tok"), width=width)
    return {**base, "shared_experts": shared // width, "shared_gate": shared > 0}


def _qwen3_moe(c: _Config) -> Fields:
    return _routed(
        c, _qwen3(c), experts=c.count("num_experts"), chosen=c.count("num_experts_per_tok"), width=c.count("moe_intermediate_size")
    )


def _deepseek(c: _Config) -> Fields:
    c.refuse(c.count("moe_layer_freq", default=1) != 1, "with dense layers between its sparse ones")
    base = _llama(c)
    fields: Fields = {
        **base,
        "family": "mla",
        "head_dim": 0,
        "kv_heads": 0,
        "q_rank": c.count("q_lora_rank", default=0),
        "kv_rank": c.count("kv_lora_rank"),
        "nope_dim": c.count("qk_nope_head_dim"),
        "rope_dim": c.count("qk_rope_head_dim"),
        "v_dim": c.count("v_head_dim"),
    }
    if c.get("n_routed_experts"):
        fields |= {
            "experts": c.count("n_routed_experts"),
            "experts_per_token": c.count("num_experts_per_tok"),
            "shared_experts": c.count("n_shared_experts", default=0),
            "expert_ffn": c.count("moe_intermediate_size"),
            "dense_layers": c.count("first_k_dense_replace", default=0),
            "router_bias": c.kind == "deepseek_v3" or c.get("topk_method") == "noaux_tc",
        }
    return fields


def _gpt(c: _Config, **more: Any) -> Fields:
    """A GPT with biases, LayerNorm and four times the width, by either family of field names."""
    hidden = c.count("hidden_size", "n_embd", "d_model")
    return {
        "family": "gpt",
        "layers": c.count("num_hidden_layers", "n_layer", "n_layers"),
        "hidden": hidden,
        "ffn": c.count("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        "heads": c.count("num_attention_heads", "n_head", "n_heads"),
        "vocab": c.count("vocab_size"),
        "bias": True,
        "tied": c.flag("tie_word_embeddings", True),
        "sequence": c.count("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=0),
        **more,
    }


def _gpt2(c: _Config) -> Fields:
    c.refuse(c.flag("add_cross_attention", False), "with cross-attention")
    return _gpt(c, positions=c.count("n_positions", default=1024))


def _gpt_neox(c: _Config) -> Fields:
    return _gpt(c, tied=c.flag("tie_word_embeddings", False))


def _gptj(c: _Config) -> Fields:
    c.refuse(c.flag("tie_word_embeddings", False), "with tied embeddings")
    return _gpt(c, tied=False, bias=False, ffn_bias=True, parallel_block=True, head_bias=True)


def _bloom(c: _Config) -> Fields:
    return _gpt(c, alibi=True, embedding_norm=True)


def _mpt(c: _Config) -> Fields:
    attention = c.get("attn_config", default={})
    c.refuse(
        attention.get("attn_type", "multihead_attention") not in ("multihead_attention", "grouped_query_attention", "multiquery_attention"),
        "with unknown attention",
    )
    hidden, plain = c.count("d_model"), c.flag("no_bias", False)
    alibi, rotary = bool(attention.get("alibi", False)), bool(attention.get("rope", False))
    single = attention.get("attn_type") == "multiquery_attention"
    return {
        **_gpt(c),
        "family": "mpt",
        "ffn": int(c.get("expansion_ratio", default=4) * hidden),
        "kv_heads": 1 if single else int(attention.get("kv_n_heads") or 0),
        "bias": not plain,
        "norm_bias": not plain,
        "alibi": alibi,
        "positions": 0 if alibi or rotary else c.count("max_seq_len"),
        "query_key_norm": False,
    }


def _opt(c: _Config) -> Fields:
    hidden = c.count("hidden_size")
    c.refuse(c.count("word_embed_proj_dim", default=hidden) != hidden, "whose embeddings are narrower than its layers")
    before = c.flag("do_layer_norm_before", True)
    return _gpt(c, positions=c.count("max_position_embeddings") + 2, final_norm=before and not c.flag("_remove_final_layer_norm", False))


def _falcon(c: _Config) -> Fields:
    new = c.flag("new_decoder_architecture", False)
    heads = c.count("num_attention_heads", "n_head")
    single = c.flag("multi_query", True)
    kv = c.count("num_kv_heads", "n_head_kv", default=heads) if new else (1 if single else heads)
    parallel = c.flag("parallel_attn", True)
    norms = c.count("num_ln_in_parallel_attn", default=2) if new else (1 if parallel else 2)
    width = c.count("ffn_hidden_size", default=4 * c.count("hidden_size"))
    return _gpt(c, bias=c.flag("bias", False), kv_heads=kv, ffn=width, parallel_block=norms == 1, alibi=c.flag("alibi", False))


def _phi(c: _Config) -> Fields:
    c.refuse(c.flag("qk_layernorm", False), "with normalised queries and keys")
    kv = c.count("num_key_value_heads", default=0)
    return _gpt(c, tied=False, kv_heads=kv, parallel_block=True, head_bias=True)


def _gemma(c: _Config) -> Fields:
    return {**_llama(c), "head_dim": c.count("head_dim", default=256), "tied": c.flag("tie_word_embeddings", True)}


def _gemma2(c: _Config) -> Fields:
    return {**_gemma(c), "post_norm": True, "window": c.count("sliding_window", default=4096)}


def _gemma3(c: _Config) -> Fields:
    return {**_gemma(c), "post_norm": True, "query_key_norm": True, "window": c.count("sliding_window", default=512)}


def _bert(c: _Config) -> Fields:
    return _gpt(
        c,
        family="bert",
        positions=c.count("max_position_embeddings", default=512),
        type_vocab=c.count("type_vocab_size", default=2),
        embedding_norm=True,
        final_norm=False,
        tied=True,
        pooler=True,
    )


def _t5(c: _Config) -> Fields:
    layers = c.count("num_layers")
    return {
        "family": "encoder-decoder",
        "layers": layers,
        "decoder_layers": c.count("num_decoder_layers", default=layers),
        "hidden": c.count("d_model"),
        "ffn": c.count("d_ff"),
        "heads": c.count("num_heads"),
        "head_dim": c.count("d_kv", default=64),
        "vocab": c.count("vocab_size"),
        "relative_buckets": c.count("relative_attention_num_buckets", default=32),
        "norm": "rmsnorm",
        "gated": str(c.get("feed_forward_proj", default="relu")).startswith("gated"),
        "tied": c.flag("tie_word_embeddings", True),
        "sequence": c.count("n_positions", default=512),
    }


ARCHITECTURES: Mapping[str, Callable[[_Config], Fields]] = {
    "llama": _llama,
    "mistral": _llama,
    "phi3": _llama,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "gptj": _gptj,
    "bloom": _bloom,
    "mpt": _mpt,
    "opt": _opt,
    "falcon": _falcon,
    "phi": _phi,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "bert": _bert,
    "t5": _t5,
}
"""Reader of each ``model_type``."""


def _read(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise NO_FILE.error(file=str(file)) from None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or f"it is no JSON ({error})"
        raise UNREADABLE.error(file=str(file), why=why) from None
    if not isinstance(data, dict):
        raise UNREADABLE.error(file=str(file), why="it is no map")
    return data


def model_from_config(config: str | Path | Mapping[str, Any], *, name: str = "") -> Model:
    """Return the network that a Hugging Face ``config.json`` describes.

    Parameters
    ----------
    config : path or mapping
        The file, the folder that holds it, or its content.
    name : str, optional
        What to call the model; by default what the file says, else its folder.

    Returns
    -------
    Model
        Its parameter count (:func:`hpcsim.catalog.models.parameters`) equals that of the library's model with its head.

    Raises
    ------
    InputError
        No such file, no JSON, an architecture that is not known, fields that are missing or wrong, or a variant that would be
        counted wrongly.

    Examples
    --------
    >>> from hpcsim.catalog.models import parameters
    >>> parameters(model_from_config({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}))
    124439808
    """
    place = Path(config) if isinstance(config, (str, Path)) else None
    data: Mapping[str, Any] = _read(place) if place is not None else config  # type: ignore[assignment]
    kind = data.get("model_type")
    if kind == "gemma3" and isinstance(data.get("text_config"), dict):
        data, kind = {**data["text_config"]}, "gemma3_text"
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise UNKNOWN_TYPE.error(file=str(place or ""), kind=kind, known=", ".join(sorted(ARCHITECTURES)))
    try:
        fields = ARCHITECTURES[kind](_Config(data, kind))
    except InputError as error:
        raise InputError([problem.located(file=str(place or "")) for problem in error.problems]) from None
    title = name or str(data.get("_name_or_path") or "").rstrip("/").rpartition("/")[2] or _folder_name(place) or kind
    source = f"given in {place}" if place is not None else "given as a configuration"
    try:
        return Model.model_validate({"id": title, **fields, "sources": {"all": source}})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BAD_FIELD.error(file=str(place or ""), field=where, value=first.get("input"), hint=str(first["msg"])) from None


def _folder_name(place: Path | None) -> str:
    if place is None:
        return ""
    return place.resolve().name if place.is_dir() else (place.resolve().parent.name if place.name == "config.json" else place.stem)
