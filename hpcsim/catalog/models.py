"""Neural networks as hyper-parameters, and the exact number of their parameters.

The count follows the published definition of each network, tensor by tensor, biases and norms included, without the padding that a
framework adds to the vocabulary (give the padded vocabulary where it is wanted).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.entries import Entry, Listed, Whole

__all__ = ["Model", "active_parameters", "forward_flop_per_sample", "parameters"]

MODEL_GAP = problem_kind(
    "model-incomplete", "the model {name!r} of family {family} lacks {fields}", "give them in the scenario's model or in an overlay catalog"
)
NO_SAMPLE_FLOP = problem_kind(
    "no-flop-per-sample", "a {family} model has no fixed work per sample", "its work depends on the sequence; see hpcsim.cost.compute"
)

Family = Literal["gpt", "llama", "moe", "mla", "bert", "encoder-decoder", "palm", "mpt", "vit", "resnet", "dlrm"]
Positive = Annotated[int, Field(ge=1)]


class Model(Entry):
    """A neural network by its hyper-parameters.

    Transformers of every family share the same fields; ``family`` names the lineage and decides nothing that a field does not say.
    """

    catalog_kind: ClassVar[str] = "model"
    identity: ClassVar[frozenset[str]] = Entry.identity | {"family"}

    family: Family = Field(description="lineage")
    layers: Whole = Field(0, description="layers; of the encoder in an encoder-decoder")
    decoder_layers: Whole = Field(0, description="decoder layers of an encoder-decoder")
    hidden: Whole = Field(0, description="hidden size")
    ffn: Whole = Field(0, description="width of the feed-forward layer")
    heads: Whole = Field(0, description="query heads")
    kv_heads: Whole = Field(0, description="key and value heads; the query heads by default")
    head_dim: Whole = Field(0, description="size of a head; hidden/heads by default")
    vocab: Whole = Field(0, description="size of the vocabulary")
    positions: Whole = Field(0, description="learned positions; 0 for rotary, ALiBi, relative or fixed ones")
    relative_buckets: Whole = Field(0, description="buckets of a learned relative position bias (one set for encoder and decoder each)")
    type_vocab: Whole = Field(0, description="token types")
    alibi: bool = Field(False, description="linear attention biases in place of positions")
    gated: bool = Field(False, description="gated feed-forward layer (SwiGLU, GeGLU): three matrices in place of two")
    bias: bool = Field(False, description="matrix products have biases")
    ffn_bias: bool | None = Field(None, description="those of the feed-forward layer, where they differ from bias")
    output_bias: bool | None = Field(None, description="that of the attention's output, where it differs from bias")
    head_bias: bool = Field(False, description="the output embedding has a bias")
    norm: Literal["layernorm", "rmsnorm", "batchnorm"] = Field("layernorm", description="normalisation")
    norm_bias: bool = Field(True, description="a layernorm has a bias")
    parallel_block: bool = Field(False, description="attention and feed-forward layer read one norm and run side by side")
    post_norm: bool = Field(False, description="the outputs of attention and feed-forward layer are normalised as well as their inputs")
    query_key_norm: bool = Field(False, description="queries and keys are normalised over each head")
    embedding_norm: bool = Field(False, description="the embedding is normalised")
    final_norm: bool = Field(True, description="the last layer's output is normalised")
    tied: bool = Field(False, description="input and output embeddings share their weights")
    head: bool = Field(True, description="the model has an output embedding (else it ends at the last layer)")
    pooler: bool = Field(False, description="a dense layer over the first token")
    experts: Whole = Field(0, description="routed experts of a layer")
    experts_per_token: Whole = Field(0, description="routed experts that a token visits")
    shared_experts: Whole = Field(0, description="experts that every token visits")
    dense_layers: Whole = Field(0, description="first layers without experts")
    expert_ffn: Whole = Field(0, description="width of an expert")
    capacity: float = Field(
        0.0, ge=0.0, description="tokens an expert takes at most, over the mean, its buffers padded to that; 0: no token is dropped"
    )
    imbalance: float = Field(1.0, ge=1.0, description="tokens of the fullest device's experts over the mean, where none is dropped")
    shared_gate: bool = Field(False, description="the shared experts have a gate of their own")
    router_bias: bool = Field(False, description="the router has a bias for each expert")
    q_rank: Whole = Field(0, description="multi-head latent attention: rank of the query")
    kv_rank: Whole = Field(0, description="rank of key and value")
    nope_dim: Whole = Field(0, description="size of a head's part without position")
    rope_dim: Whole = Field(0, description="size of a head's rotary part")
    v_dim: Whole = Field(0, description="size of a head's value")
    window: Whole = Field(0, description="sliding window of attention in every second layer; 0 where there is none")
    sequence: Whole = Field(0, description="sequence length it was trained with")
    image: Whole = Field(0, description="side of the input image")
    patch: Whole = Field(0, description="side of a patch")
    classes: Whole = Field(0, description="classes")
    stages: Listed[Positive] = Field((), description="residual blocks of each stage")
    width: Whole = Field(0, description="channels of the first stage")
    bottom_mlp: Listed[Positive] = Field((), description="sizes of the bottom MLP, input first")
    top_mlp: Listed[Positive] = Field((), description="sizes of the top MLP without its input, which follows from the interaction")
    embedding_rows: Listed[Positive] = Field((), description="rows of each embedding table")
    embedding_dim: Whole = Field(0, description="columns of the embedding tables")
    published_parameters: float | None = Field(None, description="parameters as published, rounded as there")

    @property
    def key_value_heads(self) -> int:
        """Key and value heads of a layer."""
        return self.kv_heads or self.heads

    @property
    def head_size(self) -> int:
        """Size of a head."""
        return self.head_dim or (self.hidden // self.heads if self.heads else 0)


_NEEDS: dict[str, tuple[str, ...]] = {
    "resnet": ("stages", "width", "classes", "image"),
    "dlrm": ("bottom_mlp", "top_mlp", "embedding_rows", "embedding_dim"),
    "vit": ("layers", "hidden", "ffn", "heads", "image", "patch", "classes"),
    "encoder-decoder": ("layers", "decoder_layers", "hidden", "ffn", "heads", "vocab"),
    "moe": ("layers", "hidden", "heads", "vocab", "experts", "experts_per_token", "expert_ffn"),
    "mla": ("layers", "hidden", "heads", "vocab", "kv_rank", "nope_dim", "rope_dim", "v_dim"),
}
_TRANSFORMER = ("layers", "hidden", "ffn", "heads", "vocab")


def _complete(model: Model) -> None:
    missing = [name for name in _NEEDS.get(model.family, _TRANSFORMER) if not getattr(model, name)]
    if missing:
        raise MODEL_GAP.error(name=model.id, family=model.family, fields=", ".join(missing))


def _norm(model: Model, size: int) -> int:
    return 2 * size if model.norm == "layernorm" and model.norm_bias else size


def _attention(model: Model) -> int:
    """Parameters of one attention block, without its norm."""
    h, heads = model.hidden, model.heads
    if model.kv_rank:
        query = h * model.q_rank + model.q_rank + model.q_rank * heads * (model.nope_dim + model.rope_dim)
        if not model.q_rank:
            query = h * heads * (model.nope_dim + model.rope_dim)
        latent = h * (model.kv_rank + model.rope_dim) + model.kv_rank
        return query + latent + model.kv_rank * heads * (model.nope_dim + model.v_dim) + heads * model.v_dim * h
    d, kv = model.head_size, model.key_value_heads
    weights = h * d * (heads + 2 * kv) + heads * d * h
    biases = d * (heads + 2 * kv) if model.bias else 0
    biases += h if (model.bias if model.output_bias is None else model.output_bias) else 0
    return weights + biases + (2 * d if model.query_key_norm else 0)


def _feed_forward(model: Model, width: int) -> int:
    """Parameters of one feed-forward layer of a width."""
    into = 2 if model.gated else 1
    biased = model.bias if model.ffn_bias is None else model.ffn_bias
    return (into + 1) * model.hidden * width + (into * width + model.hidden if biased else 0)


def _experts(model: Model, routed: int) -> int:
    """Parameters of a mixture-of-experts layer that holds ``routed`` experts, its router included."""
    router = model.hidden * model.experts + (model.experts if model.router_bias else 0) + (model.hidden if model.shared_gate else 0)
    return (routed + model.shared_experts) * _feed_forward(model, model.expert_ffn) + router


def _transformer(model: Model, routed: int) -> int:
    h = model.hidden
    sparse = max(model.layers - model.dense_layers, 0) if model.experts else 0
    norms = (1 if model.parallel_block else 2) * (2 if model.post_norm else 1)
    mixers = model.layers * (_attention(model) + norms * _norm(model, h))
    layers = mixers + (model.layers - sparse) * _feed_forward(model, model.ffn)
    if sparse:
        layers += sparse * _experts(model, routed)
    layers += model.decoder_layers * (2 * _attention(model) + _feed_forward(model, model.ffn) + 3 * _norm(model, h))
    stacks = 2 if model.decoder_layers else 1
    ends = (_norm(model, h) * stacks if model.final_norm else 0) + (_norm(model, h) if model.embedding_norm else 0)
    ends += model.relative_buckets * model.heads * stacks
    ends += (h * h + h) if model.pooler else 0
    ends += model.vocab if model.head_bias else 0
    if model.family == "vit":
        tokens = (model.image // model.patch) ** 2 + 1
        return layers + ends + (3 * model.patch**2 * h + h) + h + tokens * h + (h * model.classes + model.classes)
    embeddings = model.vocab * h * (2 if model.head and not model.tied else 1) + (model.positions + model.type_vocab) * h
    return layers + ends + embeddings


def _resnet(model: Model) -> tuple[int, int]:
    """Return (parameters, forward multiply-adds of one image) of a bottleneck residual network.

    The stride of a stage sits in the 3×3 convolution, as in torchvision.
    """
    weights = work = 0

    def convolution(inputs: int, outputs: int, kernel: int, side: int) -> None:
        nonlocal weights, work
        weights += kernel**2 * inputs * outputs + 2 * outputs
        work += kernel**2 * inputs * outputs * side**2

    side = -(-model.image // 2)
    convolution(3, model.width, 7, side)
    side = -(-side // 2)
    channels = model.width
    for stage, blocks in enumerate(model.stages):
        width = model.width * 2**stage
        for block in range(blocks):
            before = side
            side = -(-side // 2) if stage and not block else side
            convolution(channels, width, 1, before)
            convolution(width, width, 3, side)
            convolution(width, 4 * width, 1, side)
            if not block:
                convolution(channels, 4 * width, 1, side)
            channels = 4 * width
    return weights + channels * model.classes + model.classes, work + channels * model.classes


def _mlp(sizes: Sequence[int], *, bias: bool = True) -> int:
    return sum(a * b + (b if bias else 0) for a, b in pairwise(sizes))


def _top_sizes(model: Model) -> tuple[int, ...]:
    vectors = len(model.embedding_rows) + 1
    return (vectors * (vectors - 1) // 2 + model.embedding_dim, *model.top_mlp)


def parameters(model: Model) -> int:
    """Return the exact number of trainable parameters.

    For a GPT of ``L`` layers, width ``h``, vocabulary ``V`` and ``s`` learned positions this is ``L(12h² + 13h) + (V + s)h + 2h``.

    Raises
    ------
    InputError
        The model lacks a hyper-parameter that its family needs.

    Examples
    --------
    >>> size = {"layers": 12, "hidden": 768, "ffn": 3072, "heads": 12, "vocab": 50257, "positions": 1024}
    >>> parameters(Model(id="gpt2", family="gpt", bias=True, tied=True, **size))
    124439808
    """
    _complete(model)
    if model.family == "resnet":
        return _resnet(model)[0]
    if model.family == "dlrm":
        return sum(model.embedding_rows) * model.embedding_dim + _mlp(model.bottom_mlp) + _mlp(_top_sizes(model))
    return _transformer(model, model.experts)


def active_parameters(model: Model) -> int:
    """Return the parameters that one token meets: of the routed experts only those it visits.

    Embedding rows count in full, as the published figures do; of a DLRM's tables one row each.

    Raises
    ------
    InputError
        As :func:`parameters`.
    """
    _complete(model)
    if model.family == "dlrm":
        return len(model.embedding_rows) * model.embedding_dim + _mlp(model.bottom_mlp) + _mlp(_top_sizes(model))
    if model.family == "resnet":
        return _resnet(model)[0]
    return _transformer(model, model.experts_per_token)


def forward_flop_per_sample(model: Model) -> int:
    """Return the FLOP of one sample's forward pass, of a family whose samples all have one size (ResNet, DLRM, ViT).

    A multiply-add counts as two; activations, norms and the interaction's sums are left out, under 1 % of the whole. Attention of a ViT
    is counted with all its ``s²`` scores.

    Raises
    ------
    InputError
        A family whose work depends on the sequence, or a missing hyper-parameter.
    """
    _complete(model)
    if model.family == "resnet":
        return 2 * _resnet(model)[1]
    if model.family == "dlrm":
        vectors = len(model.embedding_rows) + 1
        return 2 * (_mlp(model.bottom_mlp, bias=False) + _mlp(_top_sizes(model), bias=False) + vectors**2 * model.embedding_dim)
    if model.family == "vit":
        h, tokens = model.hidden, (model.image // model.patch) ** 2 + 1
        matrices = 4 * h * h + (3 if model.gated else 2) * h * model.ffn
        layers = model.layers * (2 * tokens * matrices + 4 * tokens**2 * h)
        return layers + 2 * (tokens - 1) * 3 * model.patch**2 * h + 2 * h * model.classes
    raise NO_SAMPLE_FLOP.error(family=model.family)
