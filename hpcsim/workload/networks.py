"""Neural networks: from the catalog's description to what the cost formulas take."""

from __future__ import annotations

from hpcsim.catalog import models as catalog_models
from hpcsim.catalog.models import Model as Network
from hpcsim.cost.models import Model, Work

__all__ = ["cost_model"]


def cost_model(network: Network) -> Model | Work:
    """Return a network as the cost formulas take it.

    A family whose samples all have one size (ResNet, DLRM) becomes totals per sample: work and parameters exactly, traffic as the
    published layer shapes imply (see the training model page).
    """
    if network.family in ("resnet", "dlrm"):
        return _work(network)
    vit = network.family == "vit"
    return Model(
        layers=network.layers,
        hidden=network.hidden,
        ffn=network.ffn,
        heads=network.heads,
        vocab=network.classes if vit else network.vocab,
        kv_heads=network.kv_heads,
        head_dim=network.head_dim,
        gated=network.gated,
        bias=network.bias,
        tied=network.tied and not vit,
        dropout=network.family in ("bert", "encoder-decoder"),
        causal=network.family not in ("bert", "vit"),
        norm_vectors=2 if network.norm == "layernorm" and network.norm_bias else 1,
        positions=network.positions,
        token_types=network.type_vocab,
        embedding_norm=network.embedding_norm,
        pooler=network.pooler,
        experts=network.experts,
        experts_per_token=network.experts_per_token,
        shared_experts=network.shared_experts,
        expert_ffn=network.expert_ffn,
        dense_layers=network.dense_layers,
        q_rank=network.q_rank,
        kv_rank=network.kv_rank,
        nope_dim=network.nope_dim,
        rope_dim=network.rope_dim,
        v_dim=network.v_dim,
        decoder_layers=network.decoder_layers,
        window=network.window,
        window_frac=0.5,
        capacity=network.capacity,
        imbalance=network.imbalance,
        logit_frac=0.15 if network.family == "bert" else (1.0 / _vit_tokens(network) if vit else 1.0),
        name=network.id,
    )


def _vit_tokens(network: Network) -> int:
    return (network.image // network.patch) ** 2 + 1


def _work(network: Network) -> Work:
    flop = catalog_models.forward_flop_per_sample(network)
    parameters = catalog_models.parameters(network)
    if network.family == "dlrm":
        tables = sum(network.embedding_rows) * network.embedding_dim
        row = len(network.embedding_rows) * network.embedding_dim
        return Work(
            parameters=parameters - tables,
            flop_per_sample=flop,
            bytes_per_sample=4.0 * row * 2.0,
            activation_bytes_per_sample=4.0 * (row + sum(network.bottom_mlp) + sum(network.top_mlp)),
            exchange_bytes_per_sample=4.0 * row,
            sharded_bytes=4.0 * tables,
            layers=len(network.bottom_mlp) + len(network.top_mlp) + 2,
            name=network.id,
        )
    elements = _resnet_elements(network)
    return Work(
        parameters=parameters,
        flop_per_sample=flop,
        bytes_per_sample=2.0 * _RESNET_PASSES * elements,
        activation_bytes_per_sample=2.0 * elements,
        layers=3 * 3 * sum(network.stages),
        name=network.id,
    )


_RESNET_PASSES = 5.0
"""Passes over a convolution's output, forward: it writes, the batch's statistics read, normalisation with the activation reads and writes, the next
convolution reads."""


def _resnet_elements(network: Network) -> float:
    """Return the elements that the convolutions of one image put out."""
    side = -(-network.image // 2)
    total = float(network.width * side * side)
    side = -(-side // 2)
    for stage, blocks in enumerate(network.stages):
        width = network.width * 2**stage
        for block in range(blocks):
            before = side
            side = -(-side // 2) if stage and not block else side
            total += width * before**2 + width * side**2 + 4 * width * side**2 + (4 * width * side**2 if not block else 0)
    return total
