"""What a model is made of: parameters, FLOP and bytes, layer by layer.

One description (:class:`Model`) covers the transformer families by numbers, not by cases: grouped and multi-head latent attention,
gated and plain feed-forward, mixtures of experts with shared ones, encoders, decoders and both. What is no transformer is described
by its totals per sample (:class:`Work`). Every number may be an array.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, at_least, fraction, non_negative, positive

__all__ = [
    "Model",
    "Work",
    "active_parameters",
    "attention_flop_per_token",
    "expert_parameters",
    "flop_per_step",
    "layer_kinds",
    "layer_parameters",
    "parameters",
    "touched_experts",
]

NO_HEADS = problem_kind(
    "model-heads",
    "the model has neither head_dim nor hidden and heads to derive it from",
    "give heads, and head_dim where it is not hidden/heads",
)


@dataclass(frozen=True)
class Model:
    """A transformer.

    Attributes
    ----------
    layers, hidden, ffn, heads, vocab : int or array
        In an encoder–decoder ``layers`` counts the encoder's.
    kv_heads, head_dim : int or array
        0: as many as heads, hidden/heads.
    gated : bool or array
        Feed-forward with a gate (SwiGLU): three matrices instead of two.
    bias, tied, dropout, causal : bool or array
        Biases in linear layers; output matrix shared with the embedding; dropout in training; a causal mask.
    norm_vectors : int or array
        Vectors of size hidden a norm learns: 2 for LayerNorm, 1 for RMSNorm.
    positions, token_types : int or array
        Learned position and type embeddings.
    embedding_norm, pooler : bool or array
    experts, experts_per_token, shared_experts, expert_ffn : int or array
        Mixture of experts; 0 experts for a dense model. ``expert_ffn`` 0: as ``ffn``.
    dense_layers : int or array
        Leading layers of a mixture that are dense.
    capacity, imbalance : float or array
        Tokens an expert takes over the mean: its buffers are padded to ``capacity`` times the mean, and what exceeds it is dropped; 0:
        nothing is dropped, and the fullest device's experts get ``imbalance`` times the mean (1: balanced).
    q_rank, kv_rank, nope_dim, rope_dim, v_dim : int or array
        Multi-head latent attention; kv_rank 0 for none.
    decoder_layers : int or array
        Decoder layers with cross-attention beside the encoder; 0 for none.
    logit_frac : float or array
        Losses computed a position: 1 for language models, about 0.15 for masked ones, 2 with one more token predicted.
    trainable_frac : float or array
        Share of the parameters that learn: 1, or the adapters' share.
    window, window_frac : float or array
        Tokens that a layer with a sliding window attends to (0: all), and the share of the layers that have one.
    """

    layers: Numeric
    hidden: Numeric
    ffn: Numeric
    heads: Numeric
    vocab: Numeric
    kv_heads: Numeric = 0
    head_dim: Numeric = 0
    gated: Numeric = False
    bias: Numeric = True
    tied: Numeric = True
    dropout: Numeric = False
    causal: Numeric = True
    norm_vectors: Numeric = 2
    positions: Numeric = 0
    token_types: Numeric = 0
    embedding_norm: Numeric = False
    pooler: Numeric = False
    experts: Numeric = 0
    experts_per_token: Numeric = 0
    shared_experts: Numeric = 0
    expert_ffn: Numeric = 0
    dense_layers: Numeric = 0
    q_rank: Numeric = 0
    kv_rank: Numeric = 0
    nope_dim: Numeric = 0
    rope_dim: Numeric = 0
    v_dim: Numeric = 0
    decoder_layers: Numeric = 0
    logit_frac: Numeric = 1.0
    trainable_frac: Numeric = 1.0
    window: Numeric = 0
    window_frac: Numeric = 1.0
    capacity: Numeric = 0.0
    imbalance: Numeric = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        flags = {"gated", "bias", "tied", "dropout", "causal", "embedding_norm", "pooler"}
        for item in fields(self):
            if item.name in flags:
                object.__setattr__(self, item.name, np.asarray(getattr(self, item.name), dtype=bool))
            elif item.name in ("layers", "hidden", "heads", "imbalance"):
                object.__setattr__(self, item.name, at_least(item.name, getattr(self, item.name), 1))
            elif item.name in ("trainable_frac", "window_frac"):
                object.__setattr__(self, item.name, fraction(item.name, getattr(self, item.name)))
            elif item.name != "name":
                object.__setattr__(self, item.name, non_negative(item.name, getattr(self, item.name)))
        object.__setattr__(self, "kv_heads", np.where(self.kv_heads > 0, self.kv_heads, self.heads))
        derived = self.hidden / self.heads
        object.__setattr__(self, "head_dim", np.where(self.head_dim > 0, self.head_dim, derived))
        object.__setattr__(self, "expert_ffn", np.where(self.expert_ffn > 0, self.expert_ffn, self.ffn))
        if (np.asarray(self.head_dim) <= 0).any():
            raise NO_HEADS.error()

    @property
    def latent(self) -> Numeric:
        """Whether attention is multi-head latent."""
        return np.asarray(self.kv_rank) > 0

    @property
    def expert_load(self) -> Array:
        """Tokens that the fullest device's experts work on, over the mean."""
        return np.asarray(np.where(self.capacity > 0, self.capacity, self.imbalance))

    @property
    def query_dim(self) -> Array:
        """Width of all queries together, as the attention core sees it."""
        latent = self.heads * (self.nope_dim + self.rope_dim)
        return np.asarray(np.where(self.latent, latent, self.heads * self.head_dim))

    @property
    def value_dim(self) -> Array:
        """Width of all heads' outputs together."""
        return np.asarray(np.where(self.latent, self.heads * self.v_dim, self.heads * self.head_dim))

    @property
    def all_layers(self) -> Array:
        """Encoder and decoder layers."""
        return np.asarray(self.layers + self.decoder_layers)

    def context(self, sequence: Numeric) -> Array:
        """Return the length of context whose causal attention costs what the average layer's does.

        A window of w in a sequence of s takes w(2s−w)/2 pairs of the s²/2: as much as a context of w(2 − w/s).
        """
        s = np.asarray(sequence, dtype=np.float64)
        w = np.where(self.window > 0, np.minimum(self.window, s), s)
        return np.asarray(s + self.window_frac * (w * (2.0 - w / s) - s))

    @property
    def sparse_layers(self) -> Array:
        """Layers with experts."""
        return np.asarray(np.where(self.experts > 0, np.maximum(self.layers - self.dense_layers, 0.0), 0.0))


@dataclass(frozen=True)
class Work:
    """A model as totals per sample, for what is no transformer (ResNet, DLRM).

    Attributes
    ----------
    parameters : float or array
        Dense parameters, reduced over data-parallel replicas.
    flop_per_sample : float or array
        Forward FLOP (a multiply-add is two).
    bytes_per_sample : float or array
        Memory traffic of the forward pass [B].
    activation_bytes_per_sample : float or array
        Kept for the backward pass.
    exchange_bytes_per_sample : float or array
        All-to-all traffic of the forward pass (sharded embedding tables); the backward sends it back.
    sharded_bytes : float or array
        State sharded over all devices, such as embedding tables [B in all].
    layers : int or array
        Kernels' worth of launches: operations of the forward pass.
    matmul_frac : float or array
        Rate of the arithmetic over that of large products (convolutions 0.5–0.7).
    """

    parameters: Numeric
    flop_per_sample: Numeric
    bytes_per_sample: Numeric
    activation_bytes_per_sample: Numeric = 0.0
    exchange_bytes_per_sample: Numeric = 0.0
    sharded_bytes: Numeric = 0.0
    layers: Numeric = 1
    matmul_frac: Numeric = 0.6
    name: str = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name != "name":
                object.__setattr__(self, item.name, non_negative(item.name, getattr(self, item.name)))
        positive("flop_per_sample", self.flop_per_sample)
        positive("matmul_frac", fraction("matmul_frac", self.matmul_frac))


def layer_kinds(model: Model) -> dict[str, Array]:
    """Return how many layers there are of each kind: dense, sparse (with experts), decoder (with cross-attention)."""
    sparse = model.sparse_layers
    return {"dense": np.asarray(model.layers - sparse), "sparse": sparse, "decoder": np.asarray(model.decoder_layers)}


def _attention_matrices(model: Model) -> Array:
    h, hd = model.hidden, model.head_dim
    plain = h * hd * (model.heads + 2.0 * model.kv_heads) + model.heads * hd * h
    q = np.where(model.q_rank > 0, h * model.q_rank + model.q_rank * model.query_dim, h * model.query_dim)
    latent = q + h * (model.kv_rank + model.rope_dim) + model.kv_rank * model.heads * (model.nope_dim + model.v_dim) + model.value_dim * h
    return np.asarray(np.where(model.latent, latent, plain))


def _attention_vectors(model: Model) -> Array:
    biases = np.where(model.bias & ~model.latent, model.head_dim * (model.heads + 2.0 * model.kv_heads) + model.hidden, 0.0)
    return np.asarray(biases + np.where(model.latent, model.q_rank + model.kv_rank, 0.0))


def expert_parameters(model: Model) -> Array:
    """Return the parameters of one expert."""
    return np.asarray(np.where(model.gated, 3.0, 2.0) * model.hidden * model.expert_ffn)


def layer_parameters(model: Model, kind: str) -> Array:
    """Return the parameters of one layer of a kind of :func:`layer_kinds`, biases and norms included.

    GPT: 12h²+13h; LLaMA: h·d_h(n_q+2n_kv) + n_q·d_h·h + 3hf + 2h.
    """
    h = model.hidden
    attention = _attention_matrices(model) + _attention_vectors(model)
    norms = 2.0 * model.norm_vectors * h
    matrices = np.where(model.gated, 3.0, 2.0) * h * model.ffn
    dense = matrices + np.where(model.bias, np.where(model.gated, 2.0, 1.0) * model.ffn + h, 0.0)
    if kind == "dense":
        return np.asarray(attention + norms + dense)
    if kind == "decoder":
        return np.asarray(2.0 * attention + 1.5 * norms + dense)
    experts = (model.experts + model.shared_experts) * expert_parameters(model) + h * model.experts
    return np.asarray(attention + norms + experts)


def _ends(model: Model) -> tuple[Array, Array]:
    """Parameters of the embedding and of what follows the last layer."""
    h, norm = model.hidden, model.norm_vectors * model.hidden
    embedding = (model.vocab + model.positions + model.token_types) * h + np.where(model.embedding_norm, norm, 0.0)
    encoder_only = ~model.causal & (model.decoder_layers <= 0)
    final = np.where(encoder_only, 0.0, norm) + np.where(model.tied, 0.0, model.vocab * h) + np.where(model.pooler, h * h + h, 0.0)
    return np.asarray(embedding), np.asarray(final)


def parameters(model: Model | Work) -> Array:
    """Return the parameters of a model.

    >>> gpt2 = Model(layers=12, hidden=768, ffn=3072, heads=12, vocab=50257, positions=1024)
    >>> int(parameters(gpt2))
    124439808
    """
    if isinstance(model, Work):
        return np.asarray(model.parameters)[()]
    embedding, final = _ends(model)
    body = sum((count * layer_parameters(model, kind) for kind, count in layer_kinds(model).items()), np.zeros(()))
    return np.asarray(embedding + final + body)[()]


def touched_experts(tokens: Numeric, experts: Numeric, experts_per_token: Numeric) -> Array:
    """Return how many experts of a layer are expected to get at least one of some tokens: E·(1 − (1 − k/E)^n).

    Every token takes k different experts, independently of the others and each equally likely. All E are met where n is large.

    >>> float(touched_experts(1, 256, 8)), float(touched_experts(2, 8, 2))
    (8.0, 3.5)
    """
    n, e, k = non_negative("tokens", tokens), positive("experts", experts), non_negative("experts_per_token", experts_per_token)
    return np.asarray(e * (1.0 - (1.0 - np.minimum(k / e, 1.0)) ** n))[()]


def active_parameters(model: Model) -> Array:
    """Return the parameters that one token meets: all but the experts it is not sent to."""
    unused = model.sparse_layers * np.maximum(model.experts - model.experts_per_token, 0.0) * expert_parameters(model)
    return np.asarray(parameters(model) - unused)[()]


def matrix_parameters(model: Model, kind: str) -> Array:
    """Return the matrix elements that one token is multiplied with in a layer: what 2 FLOP a token and element follow from."""
    attention = _attention_matrices(model)
    dense = np.where(model.gated, 3.0, 2.0) * model.hidden * model.ffn
    if kind == "dense":
        return np.asarray(attention + dense)
    if kind == "decoder":
        return np.asarray(2.0 * attention + dense)
    chosen = (model.experts_per_token + model.shared_experts) * expert_parameters(model)
    return np.asarray(attention + chosen + model.hidden * model.experts)


def attention_flop_per_token(model: Model, context: Numeric, *, skips_mask: Numeric = False) -> Array:
    """Return the FLOP of QKᵀ and PV for one token and layer over ``context`` tokens: 2·context·(width of queries + of values).

    ``skips_mask``: the kernel leaves out what a causal mask hides, half of it; only then may a count be halved.
    """
    half = np.where(np.asarray(skips_mask, bool) & model.causal, 0.5, 1.0)
    return np.asarray(half * 2.0 * np.asarray(context, float) * (model.query_dim + model.value_dim))[()]


def flop_per_step(
    model: Model, *, global_batch: Numeric, sequence: Numeric, target_sequence: Numeric | None = None, skips_mask: Numeric = False
) -> dict[str, Array]:
    """Return the forward FLOP of one step by part: ``matmul``, ``attention``, ``logits``; the backward costs twice as much.

    For GPT three times their sum is 72BsLh²(1 + s/6h + V/12Lh). Narayanan et al. 2021, eq. 3.
    """
    batch, s = positive("global_batch", global_batch), positive("sequence", sequence)
    target = s if target_sequence is None else positive("target_sequence", target_sequence)
    kinds = layer_kinds(model)
    tokens, out = batch * s, batch * target
    linear = 2.0 * tokens * (kinds["dense"] * matrix_parameters(model, "dense") + kinds["sparse"] * matrix_parameters(model, "sparse"))
    linear = linear + 2.0 * out * kinds["decoder"] * matrix_parameters(model, "decoder")
    plain = attention_flop_per_token(model, model.context(s), skips_mask=skips_mask & (model.decoder_layers <= 0))
    crossed = attention_flop_per_token(model, target, skips_mask=skips_mask) + attention_flop_per_token(model, s)
    attention = tokens * (kinds["dense"] + kinds["sparse"]) * plain + out * kinds["decoder"] * crossed
    has_decoder = model.decoder_layers > 0
    logits = 2.0 * np.where(has_decoder, out, tokens) * model.logit_frac * model.hidden * model.vocab
    return {"matmul": np.asarray(linear), "attention": np.asarray(attention), "logits": np.asarray(logits)}
