"""A neural network in a scenario."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from hpcsim.scenario.fields import Count, Share, Spec

__all__ = ["ModelSpec"]

_Dim = Annotated[int, Count(1, 10_000_000)] | None


class ModelSpec(Spec):
    """A neural network: a catalog model, its changed hyper-parameters, or all of them inline."""

    base: str | None = Field(None, description="catalog model whose other values are kept")
    config: str | None = Field(
        None, description="a Hugging Face config.json instead, relative to the scenario's file; its other values are kept"
    )
    family: str | None = Field(None, description="gpt, llama, moe, mla, bert, encoder-decoder, …")
    layers: _Dim = Field(None, description="layers (encoder layers of an encoder-decoder)")
    decoder_layers: _Dim = Field(None, description="decoder layers of an encoder-decoder")
    hidden: _Dim = Field(None, description="hidden size")
    ffn: _Dim = Field(None, description="width of the feed-forward layer")
    heads: _Dim = Field(None, description="query heads")
    kv_heads: _Dim = Field(None, description="key and value heads")
    head_dim: _Dim = Field(None, description="size of a head")
    vocab: _Dim = Field(None, description="size of the vocabulary")
    gated: bool | None = Field(None, description="gated feed-forward layer (SwiGLU)")
    tied: bool | None = Field(None, description="input and output embeddings share their weights")
    experts: _Dim = Field(None, description="routed experts of a layer")
    experts_per_token: _Dim = Field(None, description="routed experts that a token visits")
    shared_experts: Annotated[int, Count(0, 1000)] | None = Field(None, description="experts that every token visits")
    expert_ffn: _Dim = Field(None, description="width of an expert")
    dense_layers: Annotated[int, Count(0, 10_000)] | None = Field(None, description="first layers without experts")
    capacity: Annotated[float, Share(0, 100)] | None = Field(
        None, description="tokens an expert takes at most, over the mean, its buffers padded to that; 0 (the default): no token is dropped"
    )
    imbalance: Annotated[float, Share(1, 1000)] | None = Field(
        None, description="tokens of the fullest device's experts over the mean, where none is dropped; 1 (the default): balanced"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"base": data} if isinstance(data, str) else data
