"""Memory of a training device: state, activations, buffers; and the cache of served tokens.

Sizes in bytes. Activations count what a layer keeps for its backward pass in 16-bit formats with 1-byte dropout masks; allocator
fragmentation and the framework's own share are one explicit reserve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, non_negative, positive, whole
from hpcsim.cost.compute import DEVICE_CLASSES, Precision
from hpcsim.cost.models import Model, expert_parameters, layer_kinds, layer_parameters
from hpcsim.cost.parallelism import Layout, StageLayers, stage_layers
from hpcsim.cost.pipeline import SCHEDULES, in_flight, parameter_copies

__all__ = [
    "DEFAULT_RESERVE_BYTES",
    "FRAGMENTATION_FRAC",
    "STREAMED_LAYERS",
    "MemoryTerms",
    "StageFrame",
    "StageParameters",
    "activation_bytes",
    "gpt_activation_bytes",
    "kept_activation_bytes",
    "kv_cache_bytes_per_token",
    "logits_bytes",
    "stage_frame",
    "stage_parameters",
    "state_bytes",
    "training_memory",
]

UNKNOWN_TECHNIQUE = problem_kind("unknown-technique", "unknown activation technique {name!r}", "one of: {known}")

DEFAULT_RESERVE_BYTES = DEVICE_CLASSES["gpu"].reserve_bytes
"""Driver context, communication buffers and library workspaces, where the kind of device is not known."""

FRAGMENTATION_FRAC = 0.10
"""What a caching allocator loses of the activations and buffers: 5–10 % in practice, from memory."""


def gpt_activation_bytes(
    technique: str, *, sequence: Numeric, micro_batch: Numeric, hidden: Numeric, heads: Numeric, tp: Numeric = 1
) -> Array:
    """Return the activations of one GPT layer (f = 4h, dropout, 16 bit) by technique.

    ===================  ==========================
    none                 sbh(10 + 24/t + 5as/(ht))
    sequence             sbh(34/t + 5as/(ht))
    selective            sbh(10 + 24/t)
    sequence-selective   34sbh/t
    full                 2sbh
    ===================  ==========================

    References
    ----------
    Korthikanti et al. 2022 (arXiv:2205.05198), table 2.

    Examples
    --------
    >>> float(gpt_activation_bytes("none", sequence=2048, micro_batch=4, hidden=6144, heads=64, tp=8)) * 48 / 2**30
    59.25
    """
    s, b, h = positive("sequence", sequence), positive("micro_batch", micro_batch), positive("hidden", hidden)
    a, t = positive("heads", heads), whole("tp", tp)
    broadcast(s, b, h, a, t)
    scores = 5.0 * a * s / (h * t)
    per = {
        "none": 10.0 + 24.0 / t + scores,
        "sequence": 34.0 / t + scores,
        "selective": 10.0 + 24.0 / t,
        "sequence-selective": 34.0 / t,
        "full": 2.0 + 0.0 * t,
    }
    if technique not in per:
        raise UNKNOWN_TECHNIQUE.error(path="technique", name=technique, known=", ".join(per))
    return np.asarray(s * b * h * per[technique])[()]


def activation_bytes(
    model: Model,
    kind: str,
    *,
    tokens: Numeric,
    context: Numeric,
    layout: Layout,
    element_bytes: Numeric = 2.0,
    saved_bytes: Numeric | None = None,
    fused_attention: Numeric = True,
    narrow_saved: Numeric = False,
) -> Array:
    """Return what one layer keeps per micro-batch on one device, without full recomputation.

    Counted tensor by tensor, so that grouped attention, gates and experts come out right; equals :func:`gpt_activation_bytes` for a
    GPT layer. Outside the tensor-parallel matrices: two norm inputs, two matrix inputs, dropout masks. Inside: queries, keys, values,
    the attention's output, the feed-forward's inputs; and the score matrix unless a fused kernel recomputes it. Selective
    recomputation drops the score matrix, or with a fused kernel what norms and activation functions put out, what latent attention
    projects up from its latents, and the experts' outputs before they are weighed. Frozen matrices need no input for a gradient: only
    adapters on the attention keep theirs.

    Parameters
    ----------
    tokens : float or array
        Tokens of a micro-batch on the device: b·s/cp.
    context : float or array
        Tokens each of them attends to.
    element_bytes, saved_bytes : float or array
        Bytes of an element, and of one saved as the input of a linear layer where that is narrower (fp8).
    narrow_saved : bool or array
        With selective recomputation, what enters the activation function is saved as narrow as that.
    """
    h, e, t = model.hidden, np.asarray(element_bytes, float), layout.tp
    narrow = e if saved_bytes is None else np.minimum(np.asarray(saved_bytes, float), e)
    n = non_negative("tokens", tokens)
    mask = np.where(model.dropout, 1.0, 0.0)
    fused = np.asarray(fused_attention, dtype=bool)
    redone = fused & (layout.recompute == 1)
    frozen = np.asarray(model.trainable_frac) < 1.0
    kept = np.where(redone | frozen, 0.0, narrow)
    adapters = np.where(frozen & ~redone, narrow, 0.0)
    outside = n * h * (2.0 * e + 2.0 * kept + adapters + 2.0 * mask) / np.where(layout.sequence_parallel, t, 1.0)
    keys = np.where(model.latent, 2.0 * model.heads * model.v_dim, 2.0 * model.kv_heads * model.head_dim)
    projected = np.where(redone & model.latent, 0.0, model.query_dim + keys)
    attention = n * e * (projected + model.value_dim)
    latents = np.where(model.latent, n * e * (model.q_rank + model.kv_rank + model.rope_dim), 0.0)
    scores = np.where(fused | (layout.recompute == 1), 0.0, n * context * model.heads * (2.0 * e + mask))
    width = np.where(model.gated, 2.0, 1.0) * np.where(redone & np.asarray(narrow_saved, bool), narrow, e) + kept
    mlp = n * width * model.ffn
    inside = (attention + scores) / t + latents
    if kind == "decoder":
        return np.asarray(1.5 * outside + 2.0 * inside + mlp / t)
    if kind == "dense":
        return np.asarray(outside + inside + mlp / t)
    sent = n / np.where(layout.sequence_parallel & (layout.etp < t), t, 1.0)
    weighed = np.where(redone, 0.0, e)
    routed = sent * model.expert_load * model.experts_per_token * ((weighed + narrow) * h + width * model.expert_ffn / layout.etp)
    shared = n * width * model.shared_experts * model.expert_ffn / t
    return np.asarray(outside + inside + routed + shared)


BACKWARD_WORKING = 0.5
"""Gradients of a layer's activations that live at once while its backward runs, over the activations themselves; derived: half of what is kept
is an input of a product whose gradient is formed while the other half is still there."""


def logits_bytes(model: Model, *, tokens: Numeric, tp: Numeric = 1, logit_bytes: Numeric = 6.0) -> Array:
    """Return the loss's buffers on the last stage: 4 bytes a logit for 32-bit logits, and 2 for the 16-bit ones they come from.

    A loss that is not fused forms the gradient beside them: 10 bytes.
    """
    return np.asarray(np.asarray(logit_bytes, float) * non_negative("tokens", tokens) * model.logit_frac * model.vocab / whole("tp", tp))[
        ()
    ]


GPIPE = SCHEDULES.index("gpipe")
"""The schedule whose last stage keeps the logits of every micro-batch until the backwards begin."""

STREAMED_LAYERS = 2.0
"""Layers' weights or activations on the device while the others are in the host's memory: the one at work, and the one on its way."""

BUCKET_PARAMETERS = 40e6
"""Parameters reduced at once: the usual bucket of data-parallel communication."""


@dataclass(frozen=True, slots=True)
class StageParameters:
    """Parameters on one device, by what shards them.

    Attributes
    ----------
    dense, expert : float or array
        Of the fullest middle stage: reduced over the data group, and over the smaller group of the experts' replicas.
    first, last : float or array
        Dense parameters of the first and the last stage, embedding and output included.
    first_expert, last_expert : float or array
    """

    dense: Array
    expert: Array
    first: Array
    last: Array
    first_expert: Array
    last_expert: Array


def stage_parameters(model: Model, layout: Layout, stages: StageLayers | None = None) -> StageParameters:
    """Return the parameters a device of each kind of stage holds; experts divided by ep·etp, the rest by tp."""
    spread = stages or stage_layers(model.all_layers, layout.pp, layout.vpp)
    kinds = layer_kinds(model)
    total = model.all_layers
    experts = kinds["sparse"] * model.experts * expert_parameters(model) / total
    dense = sum((count * layer_parameters(model, kind) for kind, count in kinds.items()), np.zeros(())) / total - experts
    dense_each, expert_each = dense / layout.tp, experts / (layout.ep * layout.etp)
    embedding = (model.vocab + model.positions) * model.hidden / layout.tp
    output = model.vocab * model.hidden / layout.tp
    alone = layout.pp <= 1
    first = spread.first * dense_each + embedding + np.where(alone & ~model.tied, output, 0.0)
    last = np.where(alone, first, spread.last * dense_each + output)
    copies = parameter_copies(layout.schedule)
    return StageParameters(
        np.asarray(copies * np.where(alone, first, spread.middle * dense_each)),
        np.asarray(copies * spread.middle * expert_each),
        np.asarray(copies * first),
        np.asarray(copies * last),
        np.asarray(copies * spread.first * expert_each),
        np.asarray(copies * spread.last * expert_each),
    )


def state_bytes(
    parameters: Numeric,
    *,
    zero_stage: Numeric,
    replicas: Numeric,
    weight_bytes: Numeric = 2.0,
    gradient_bytes: Numeric = 2.0,
    optimizer_bytes: Numeric = 12.0,
) -> tuple[Array, Array, Array]:
    """Return weights, gradients and optimizer state on one of ``replicas`` data-parallel devices.

    ZeRO divides by the replicas: nothing (0), the optimizer (1), and the gradients (2), and the weights (3). Adam in mixed precision
    keeps 12 bytes a parameter: master weights and two moments. Rajbhandari et al. 2020.

    >>> [round(float(sum(state_bytes(7.5e9, zero_stage=z, replicas=64))) / 1e9, 2) for z in range(4)]
    [120.0, 31.41, 16.64, 1.88]
    """
    p, z, n = non_negative("parameters", parameters), non_negative("zero_stage", zero_stage), positive("replicas", replicas)
    broadcast(p, z, n)
    weights = p * weight_bytes / np.where(z >= 3, n, 1.0)
    gradients = p * gradient_bytes / np.where(z >= 2, n, 1.0)
    optimizer = p * optimizer_bytes / np.where(z >= 1, n, 1.0)
    return np.asarray(weights)[()], np.asarray(gradients)[()], np.asarray(optimizer)[()]


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """Memory of the fullest device by term [B].

    Attributes
    ----------
    weights, gradients, optimizer, activations, logits, buffers, reserve : float or array
        ``buffers`` holds gathered weights of ZeRO 3 and communication buckets.
    """

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    logits: Array
    buffers: Array
    reserve: Array

    @property
    def total(self) -> Array:
        """Sum of the terms."""
        return np.asarray(sum(self.terms().values(), np.zeros(())))[()]

    def terms(self) -> dict[str, Array]:
        """Return the terms by name."""
        return {name: getattr(self, name) for name in ("weights", "gradients", "optimizer", "activations", "logits", "buffers", "reserve")}


def _where(pick: Numeric, a: dict[str, Array], b: dict[str, Array]) -> dict[str, Array]:
    return {name: np.asarray(np.where(pick, a[name], b[name])) for name in a}


def _all(terms: dict[str, Array]) -> Array:
    return np.asarray(sum(terms.values(), np.zeros(())))


def kept_activation_bytes(
    model: Model,
    layout: Layout,
    precision: Precision,
    tokens: Array,
    sequence: Numeric,
    fused_attention: Numeric,
    narrow_saved: Numeric = False,
) -> Array:
    """Return what the average layer keeps of one micro-batch, without full recomputation; see :func:`activation_bytes`."""
    mean = np.zeros(())
    for kind, count in layer_kinds(model).items():
        layer = activation_bytes(
            model,
            kind,
            tokens=tokens,
            context=sequence,
            layout=layout,
            element_bytes=precision.activation_bytes,
            saved_bytes=precision.input_bytes,
            fused_attention=fused_attention,
            narrow_saved=narrow_saved,
        )
        mean = mean + count / model.all_layers * layer
    return np.asarray(mean)


@dataclass(frozen=True)
class StageFrame:
    """What all stages of a job have in common, and what each holds.

    Attributes
    ----------
    kept, working, boundary : float or array
        Activations a layer keeps of a micro-batch, what a backward works with, and tensors between stages that are kept [B].
    """

    model: Model
    layout: Layout
    precision: Precision
    gradient_bytes: Numeric
    optimizer_bytes: Numeric
    reserve_bytes: Numeric
    micro_batches: Numeric
    weight_bytes: Array
    kept: Array
    working: Array
    boundary: Array
    bucket_parameters: Numeric
    largest_layer: Array
    stages: StageLayers
    held: StageParameters
    end: Array

    def stage_terms(self, index: int) -> dict[str, Array]:
        """Return the terms of one stage of a layout of scalars."""
        h, last = self.held, int(self.layout.pp) - 1
        if index == 0:
            return self.stage(h.first, h.first_expert, self.stages.first, np.zeros(()), self.end if last == 0 else np.zeros(()))
        if index == last:
            return self.stage(h.last, h.last_expert, self.stages.last, np.asarray(float(last)), self.end)
        return self.stage(h.dense, h.expert, self.stages.middle, np.asarray(float(index)), np.zeros(()))

    def stage(self, dense: Array, expert: Array, layers: Array, index: Array, logits: Array) -> dict[str, Array]:
        """Terms of one stage."""
        layout, learns = self.layout, self.model.trainable_frac
        replicas = layout.shards
        expert_replicas = np.maximum(replicas * layout.tp / (layout.ep * layout.etp), 1.0)
        streamed = np.minimum(STREAMED_LAYERS / np.maximum(layers, 1.0), 1.0)
        here = np.where(layout.offload_weights, streamed, 1.0)
        zero = np.where((layout.zero_stage == 2) & (layout.pp > 1), 1.0, layout.zero_stage)
        terms = {name: np.zeros(()) for name in ("weights", "gradients", "optimizer")}
        for count, n in ((dense, replicas), (expert, expert_replicas)):
            weights = state_bytes(count, zero_stage=zero, replicas=n, weight_bytes=self.weight_bytes)[0]
            _, gradients, optimizer = state_bytes(
                count * learns, zero_stage=zero, replicas=n, gradient_bytes=self.gradient_bytes, optimizer_bytes=self.optimizer_bytes
            )
            terms["weights"] = terms["weights"] + here * weights
            terms["gradients"] = terms["gradients"] + here * gradients
            terms["optimizer"] = terms["optimizer"] + np.where(layout.offload, 0.0, optimizer)
        flying = in_flight(layout.schedule, pp=layout.pp, micro_batches=self.micro_batches, vpp=layout.vpp, stage=index)
        resident = np.where(layout.offload_activations, np.minimum(STREAMED_LAYERS, flying * layers), flying * layers)
        terms["activations"] = np.asarray(resident * self.kept + flying * self.boundary + self.working)
        terms["logits"] = np.asarray(logits + 0.0 * terms["activations"])
        gathered = np.where(layout.zero_stage >= 3, 2.0 * self.largest_layer * self.precision.weight_bytes, 0.0)
        bucket = np.where(layout.dp * layout.cp > 1, np.minimum(dense + expert, self.bucket_parameters) * self.gradient_bytes, 0.0)
        terms["buffers"] = np.asarray(gathered + bucket)
        lost = FRAGMENTATION_FRAC * (terms["activations"] + terms["logits"] + terms["buffers"])
        terms["reserve"] = np.asarray(np.asarray(self.reserve_bytes, float) + lost)
        return terms


def stage_frame(
    model: Model,
    layout: Layout,
    precision: Precision,
    *,
    micro_batches: Numeric,
    sequence: Numeric,
    fused_attention: Numeric = True,
    gradient_bytes: Numeric | None = None,
    optimizer_bytes: Numeric | None = None,
    reserve_bytes: Numeric = DEFAULT_RESERVE_BYTES,
    narrow_frozen: Numeric = False,
    narrow_saved: Numeric = False,
    logit_bytes: Numeric = 6.0,
    boundary_tensors: Numeric = 0.0,
    bucket_parameters: Numeric = BUCKET_PARAMETERS,
    stages: StageLayers | None = None,
    held: StageParameters | None = None,
) -> StageFrame:
    """Return what the stages of a job have in common; see :func:`training_memory` for the arguments."""
    spread = stages or stage_layers(model.all_layers, layout.pp, layout.vpp)
    held = held or stage_parameters(model, layout, spread)
    tokens = layout.micro_batch * np.asarray(sequence, float) / layout.cp
    each = kept_activation_bytes(model, layout, precision, tokens, sequence, fused_attention, narrow_saved)
    redone = np.where(layout.recompute == 2, layout.recompute_frac, 0.0)
    waiting = np.where((layout.schedule == GPIPE) & (layout.pp > 1), micro_batches, 1.0)
    return StageFrame(
        model=model,
        layout=layout,
        precision=precision,
        gradient_bytes=precision.gradient_bytes if gradient_bytes is None else gradient_bytes,
        optimizer_bytes=precision.master_bytes + 8.0 if optimizer_bytes is None else optimizer_bytes,
        reserve_bytes=reserve_bytes,
        micro_batches=micro_batches,
        weight_bytes=np.asarray(
            np.where(
                np.asarray(narrow_frozen, bool) & (np.asarray(model.trainable_frac) < 1.0), precision.input_bytes, precision.weight_bytes
            )
        ),
        kept=np.asarray(redone * precision.activation_bytes * tokens * model.hidden + (1.0 - redone) * each),
        working=np.asarray((np.where(redone > 0, 1.0, 0.0) + BACKWARD_WORKING) * each),
        bucket_parameters=bucket_parameters,
        boundary=np.asarray(np.where(layout.pp > 1, boundary_tensors * precision.activation_bytes * tokens * model.hidden, 0.0)),
        largest_layer=np.asarray((held.dense + held.expert) / np.maximum(spread.middle, 1.0)),
        stages=spread,
        held=held,
        end=np.asarray(waiting * logits_bytes(model, tokens=tokens, tp=layout.tp, logit_bytes=logit_bytes)),
    )


def training_memory(
    model: Model, layout: Layout, precision: Precision, *, micro_batches: Numeric, sequence: Numeric, **habits: Any
) -> MemoryTerms:
    """Return the memory of the fullest device: the first stage (most micro-batches in flight) or the last (logits), by total.

    Parameters
    ----------
    micro_batches : float or array
        Per step and pipeline.
    fused_attention : bool or array
        Attention in one kernel that keeps no scores; true by default.
    reserve_bytes : float or array
        What driver and libraries keep, by default :data:`DEFAULT_RESERVE_BYTES`.
    gradient_bytes, optimizer_bytes : float or array, optional
        Per parameter; by default what the precision says (16-bit gradients; Adam with master weights).
    narrow_frozen : bool or array
        Weights that do not learn are stored in the format of the matrix products.
    narrow_saved : bool or array
        See :func:`activation_bytes`.
    logit_bytes : float or array
        See :func:`logits_bytes`.
    boundary_tensors : float or array
        Tensors between stages that an engine keeps of every micro-batch in flight, beside what its layers keep.
    bucket_parameters : float or array
        Parameters that buffers for reducing and gathering hold at once.
    stages, held : StageLayers, StageParameters, optional
        Of the layout, where they are known already.

    Notes
    -----
    Frozen parameters (``trainable_frac`` below 1) have no gradients and no optimizer state. ZeRO 2 with a pipeline keeps whole
    gradients. Offloading moves the optimizer state to the host; of offloaded weights, gradients and activations two layers' stay.
    """
    frame = stage_frame(model, layout, precision, micro_batches=micro_batches, sequence=sequence, **habits)
    spread, held, end = frame.stages, frame.held, frame.end
    alone_end = np.where(layout.pp <= 1, end, 0.0)
    first = frame.stage(held.first, held.first_expert, spread.first, np.zeros_like(layout.pp), alone_end)
    last = frame.stage(held.last, held.last_expert, spread.last, layout.pp - 1.0, end)
    middle = frame.stage(held.dense, held.expert, spread.middle, np.minimum(layout.pp - 1.0, 1.0), alone_end)
    fullest = _where(_all(first) >= _all(last), first, last)
    return MemoryTerms(**_where(_all(fullest) >= np.where(layout.pp > 2, _all(middle), 0.0), fullest, middle))


def kv_cache_bytes_per_token(model: Model, *, element_bytes: Numeric = 2.0) -> Array:
    """Return the cache of one token in serving: 2·L·n_kv·d_h·bytes, or L·(kv_rank + rope_dim)·bytes with latent attention."""
    each = np.where(model.latent, model.kv_rank + model.rope_dim, 2.0 * model.kv_heads * model.head_dim)
    return np.asarray(model.all_layers * each * positive("element_bytes", element_bytes))[()]
