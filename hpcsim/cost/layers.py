"""Time of one transformer layer on one device, forward and backward, with the communication inside it.

Everything here is per micro-batch and per layer. Rates come from the device, habits from the software, distances from the fabric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.cost.arguments import Array, Numeric
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device, Precision, gemm_s
from hpcsim.cost.models import Model, attention_flop_per_token, layer_kinds, touched_experts
from hpcsim.cost.parallelism import Groups, Layout
from hpcsim.cost.pipeline import SCHEDULES
from hpcsim.cost.software import Software

__all__ = ["LayerCost", "end_cost", "layer_cost", "matmul_rate", "mean_layer_cost"]

ALIGNED = 8
"""Matrix units of GPUs want inner sizes that are multiples of 16 bytes: 8 elements of 16 bits (NVIDIA's guide to matrix products)."""

MISALIGNED_FRAC = 0.25
"""Rate of a product whose inner size is none, over an aligned one's."""

DUALPIPE = SCHEDULES.index("dualpipe")

RING_KERNELS = 5.0
"""Kernels of one step of ring attention in each direction: attention, and joining its part with what came before in 32 bits."""

FORWARD_OPERATIONS, BACKWARD_OPERATIONS = 40.0, 60.0
"""Operations a dense layer issues in each direction, with layout changes and casts, in eager frameworks; from memory."""


@dataclass(frozen=True)
class LayerCost:
    """Device seconds of one layer and micro-batch.

    Attributes
    ----------
    forward, backward : dict of str to array
        ``matmul``, ``attention``, ``elementwise``, ``tensor_parallel``, ``context_parallel``, ``expert_parallel``.
    core : array
        The forward that selective recomputation repeats: the attention core where its scores would be kept, else norms, activations and
        what latent attention projects up.
    forward_host, backward_host : array
        Host time to issue the operations.
    """

    forward: dict[str, Array]
    backward: dict[str, Array]
    core: Array
    forward_host: Array
    backward_host: Array

    def scaled(self, factor: Numeric) -> LayerCost:
        """Return every part times ``factor``."""
        f = np.asarray(factor, dtype=np.float64)
        return LayerCost(
            {k: v * f for k, v in self.forward.items()},
            {k: v * f for k, v in self.backward.items()},
            self.core * f,
            self.forward_host * f,
            self.backward_host * f,
        )

    def plus(self, other: LayerCost) -> LayerCost:
        """Return the sum of two costs."""
        return LayerCost(
            {k: v + other.forward[k] for k, v in self.forward.items()},
            {k: v + other.backward[k] for k, v in self.backward.items()},
            self.core + other.core,
            self.forward_host + other.forward_host,
            self.backward_host + other.backward_host,
        )


def matmul_rate(device: Device, software: Software, key: str) -> Array:
    """Return the rate of large products in a training loop: sustained, less what the loop leaves and what is not tuned yet.

    A TPU's programs are compiled as a whole, and its clock stays: what a product alone sustains, the loop does.
    """
    missing = np.asarray(software.untuned_matmul_loss, float) * software.untuned(device.year)
    left = 1.0 if device.category == "tpu" else np.asarray(software.matmul_frac, float)
    return np.asarray(device.sustained(key) * left * (1.0 - missing))


@dataclass(frozen=True)
class _Products:
    """Adds up matrix products: forward, gradient of the input, gradient of the weights."""

    device: Device
    precision: Precision
    software: Software
    learns: Array

    def times(self, m: Numeric, n: Numeric, k: Numeric, *, batch: Numeric = 1.0, share: Numeric = 1.0) -> tuple[Array, Array]:
        """Forward and backward of tokens M times a weight K×N, at a share of the rate."""
        rate = matmul_rate(self.device, self.software, self.precision.matmul)
        keywords = {
            "flop_per_s": rate * np.asarray(share, float),
            "bytes_per_s": self.device.stream_bytes_per_s,
            "compute_units": self.device.compute_units,
            "batch": batch,
            "input_bytes": self.precision.input_bytes,
            "output_bytes": self.precision.activation_bytes,
            "kernel_s": self.device.ramp_s,
        }
        stored = self.precision.stored_bytes
        forward = gemm_s(m, n, k, **keywords, weight_bytes=stored or None)
        backward = gemm_s(m, k, n, **keywords) + self.learns * gemm_s(k, n, m, **keywords)
        return forward, backward


def _linear(model: Model, kind: str, tokens: Array, layout: Layout, products: _Products) -> tuple[Array, Array]:
    """All linear layers of one layer: forward and backward."""
    h, t = model.hidden, layout.tp
    forward, backward = np.zeros(()), np.zeros(())

    def add(use: Numeric, m: Numeric, n: Numeric, k: Numeric, batch: Numeric = 1.0, share: Numeric = 1.0) -> None:
        nonlocal forward, backward
        on = np.asarray(use, dtype=np.float64)
        if not on.any():
            return
        safe = [np.where(on > 0, x, 1.0) for x in (m, n, k)]
        f, b = products.times(*safe, batch=batch, share=share)
        forward, backward = forward + on * f, backward + on * b

    repeat = 2.0 if kind == "decoder" else 1.0
    latent = np.asarray(model.latent)
    kv = np.maximum(model.kv_heads, t) * model.head_dim
    add(repeat * ~latent, tokens, (model.heads * model.head_dim + 2.0 * kv) / t, h)
    low_rank = latent & (model.q_rank > 0)
    add(low_rank, tokens, model.q_rank, h)
    add(low_rank, tokens, model.query_dim / t, model.q_rank)
    add(latent & ~low_rank, tokens, model.query_dim / t, h)
    add(latent, tokens, model.kv_rank + model.rope_dim, h)
    add(latent, tokens, model.heads * (model.nope_dim + model.v_dim) / t, model.kv_rank)
    add(repeat, tokens, h, model.value_dim / t)
    up = np.where(model.gated, 2.0, 1.0)
    if kind != "sparse":
        add(1.0, tokens, up * model.ffn / t, h)
        add(1.0, tokens, h, model.ffn / t)
        return forward, backward
    width = model.expert_ffn / layout.etp
    met = touched_experts(tokens * layout.ep * layout.etp / t, np.maximum(model.experts, 1.0), model.experts_per_token)
    local = np.maximum(met / layout.ep, 1.0)
    sent = tokens * model.expert_load * model.experts_per_token * layout.etp / t / local
    grouped = products.software.grouped_frac
    add(1.0, sent, up * width, h, local, grouped)
    add(1.0, sent, h, width, local, grouped)
    add(model.shared_experts > 0, tokens, up * model.shared_experts * model.expert_ffn / t, h)
    add(model.shared_experts > 0, tokens, h, np.maximum(model.shared_experts, 1.0) * model.expert_ffn / t)
    return forward, backward


def _projected_up(model: Model, tokens: Array, layout: Layout, products: _Products) -> Array:
    """Forward of the products that make queries, keys and values from their latents; nothing without latent attention."""
    latent = np.asarray(model.latent)
    if not latent.any():
        return np.zeros(())
    ranks = [np.where(latent & (rank > 0), rank, 1.0) for rank in (model.q_rank, model.kv_rank)]
    widths = [np.where(latent, width / layout.tp, 1.0) for width in (model.query_dim, model.heads * (model.nope_dim + model.v_dim))]
    seconds = [products.times(tokens, width, rank)[0] for width, rank in zip(widths, ranks, strict=True)]
    return np.asarray(np.where(latent, np.where(model.q_rank > 0, seconds[0], 0.0) + seconds[1], 0.0))


def _attention(
    model: Model, device: Device, software: Software, precision: Precision, tokens: Array, context: Array, layout: Layout, crossed: Numeric
) -> tuple[Array, Array]:
    """Attention core: forward and backward."""
    fused = np.asarray(software.fused_attention, dtype=bool)
    rate = matmul_rate(device, software, precision.attention)
    flop = tokens / layout.tp * attention_flop_per_token(model, context, skips_mask=fused & ~np.asarray(crossed, bool))
    chunk = np.where(layout.cp_all_to_all, context, context / layout.cp)
    tuned = 1.0 - np.asarray(software.untuned_attention_loss, float) * software.untuned(device.year)
    share = device.attention_share * np.asarray(software.attention_gain, float) * tuned
    share = share * chunk / (chunk + np.asarray(software.attention_tokens, float))
    joined = tokens * model.value_dim / layout.tp * (8.0 + precision.activation_bytes) / device.stream_bytes_per_s
    ring = np.where((layout.cp > 1) & ~layout.cp_all_to_all, layout.cp * (RING_KERNELS * device.ramp_s + joined), 0.0)
    whole = flop / (rate * np.minimum(share, 1.0)) + device.ramp_s + ring
    heads = np.maximum(model.heads / layout.tp, 1.0)
    odd = np.where((np.mod(model.query_dim / model.heads, ALIGNED) > 0) & (np.asarray(device.compute_units) > 0), MISALIGNED_FRAC, 1.0)
    keywords = {
        "flop_per_s": rate * odd,
        "bytes_per_s": device.stream_bytes_per_s,
        "compute_units": device.compute_units,
        "batch": np.maximum(heads * layout.micro_batch, 1.0),
        "input_bytes": precision.activation_bytes,
        "output_bytes": precision.activation_bytes,
        "kernel_s": device.ramp_s,
    }
    rows = tokens / layout.micro_batch
    scores = gemm_s(rows, context, model.query_dim / model.heads, **keywords)
    values = gemm_s(rows, model.value_dim / model.heads, context, **keywords)
    element = precision.activation_bytes
    dropped = np.where(model.dropout, 2.0 * element + 1.0, 0.0)
    moved = tokens * context * heads * (np.asarray(software.score_elements, float) * element + dropped)
    stepwise = scores + values + moved / device.stream_bytes_per_s + 3.0 * device.ramp_s
    stepwise_back = 2.0 * (scores + values) + 1.5 * moved / device.stream_bytes_per_s + 3.0 * device.ramp_s
    forward = np.where(fused, whole, stepwise)
    backward = np.where(fused, 2.5 * flop / (rate * np.minimum(share, 1.0)) + device.ramp_s + 1.5 * ring, stepwise_back)
    return np.asarray(forward), np.asarray(backward)


def _elementwise(
    model: Model, kind: str, device: Device, software: Software, precision: Precision, tokens: Array, layout: Layout
) -> tuple[Array, Array]:
    """Norms, residuals, activations, casts, routing: forward and backward."""
    e, t, h = precision.activation_bytes, layout.tp, model.hidden
    outer = tokens / np.where(layout.sequence_parallel, t, 1.0)
    mask = np.where(model.dropout, 2.0, 0.0)
    extra = 1.5 if kind == "decoder" else 1.0
    outside = outer * h * (10.0 * e + mask) * extra
    qkv = 2.0 * e * tokens * (model.query_dim + 2.0 * model.kv_heads * model.head_dim) / t
    spread = np.where(model.gated, 3.0, 2.0)
    if kind == "sparse":
        each = model.expert_load * model.experts_per_token / t * layout.etp
        act = tokens * e * spread * (each * model.expert_ffn / layout.etp + model.shared_experts * model.expert_ffn / t)
        routed = tokens * each * h * np.asarray(software.routing_passes, float) * e
        shared = tokens * (h + model.shared_experts * model.expert_ffn / t)
        fed = tokens * each * (h + model.expert_ffn / layout.etp) + np.where(model.shared_experts > 0, shared, 0.0)
    else:
        act = tokens * e * spread * model.ffn / t
        routed = np.zeros(())
        fed = tokens * (h + model.ffn / t)
    inputs = tokens * (h + model.value_dim / t) + fed
    casts = precision.cast_bytes * inputs
    width = device.stream_bytes_per_s
    kernels = np.where(np.asarray(kind == "sparse"), 12.0, 6.0) * device.ramp_s
    moved = (outside + qkv + act) * np.asarray(software.traffic_factor, float) + routed
    forward = (moved + casts) / width + kernels
    backward = (moved * np.asarray(software.backward_traffic, float) + 1.5 * casts) / width + 1.5 * kernels
    return np.asarray(forward), np.asarray(backward)


def _exposed(seconds: Array, overlap_frac: Numeric, windows: tuple[Array, Array]) -> tuple[Array, Array]:
    """What of a transfer stays exposed in each direction: all but the share that is overlapped, of as much as the window is long."""
    f = np.asarray(overlap_frac, float)
    return np.asarray(seconds - f * np.minimum(seconds, windows[0])), np.asarray(seconds - f * np.minimum(seconds, windows[1]))


def _communication(
    model: Model,
    kind: str,
    fabric: Fabric,
    software: Software,
    precision: Precision,
    tokens: Array,
    layout: Layout,
    where: Groups,
    core: tuple[Array, Array],
    linear: tuple[Array, Array],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Exposed communication inside a layer: forward and backward.

    Nothing hides longer than what it hides behind: keys and values behind the attention core, the rest behind the linear layers. In
    DualPipe a layer's exchanges of tokens run beside the other direction's work of another micro-batch.
    """
    e, t = precision.activation_bytes, layout.tp
    message = tokens * model.hidden * e
    reduce = fabric.collective_s("all-reduce", message, where.tensor[0], inside=where.tensor[1])
    gather = fabric.collective_s("all-gather", message, where.tensor[0], inside=where.tensor[1])
    once = np.where(layout.sequence_parallel, 2.0 * gather, reduce)
    times = {"dense": 2.0, "sparse": 1.0, "decoder": 3.0}[kind] + np.where(np.asarray(kind == "sparse") & (layout.etp > 1), 1.0, 0.0)
    tensor = _exposed(times * once, software.tp_overlap_frac, linear)
    keys = np.where(model.latent, 2.0 * model.heads * (model.nope_dim + model.rope_dim), 2.0 * model.kv_heads * model.head_dim)
    kv_bytes = tokens * layout.cp * e * np.maximum(keys / t, 2.0 * model.head_dim)
    ring = fabric.collective_s("all-gather", kv_bytes, where.context[0], inside=where.context[1])
    hidden = np.asarray(software.cp_overlap_frac, float)
    context = np.maximum(ring - hidden * core[0], 0.1 * ring)
    context_back = np.maximum(2.0 * ring - hidden * core[1], 0.2 * ring)
    if np.any(layout.cp_all_to_all):
        swapped = tokens * e * (model.query_dim + keys + model.value_dim) / t
        both = fabric.collective_s("all-to-all", swapped, where.context[0], inside=where.context[1])
        context = np.where(layout.cp_all_to_all, both, context)
        context_back = np.where(layout.cp_all_to_all, both, context_back)
    expert = (np.zeros(()), np.zeros(()))
    if kind == "sparse":
        sent = tokens * model.expert_load * model.experts_per_token * model.hidden * e / t * layout.etp
        domains = np.maximum(np.ceil(where.expert[0] / where.expert[1]), 1.0)
        chosen = np.maximum(model.experts_per_token, 1.0)
        met = domains * (1.0 - (1.0 - 1.0 / domains) ** chosen) / chosen
        copies = np.where(np.asarray(software.dispatch_once, bool), np.minimum(met, 1.0), 1.0)
        exchange = fabric.collective_s("all-to-all", sent, where.expert[0], inside=where.expert[1], outside_share=copies)
        paired = layout.schedule == DUALPIPE
        beside = np.where(paired, linear[1] + core[1], linear[0]), np.where(paired, linear[0] + core[0], linear[1])
        expert = _exposed(2.0 * exchange, np.where(paired, 1.0, np.asarray(software.ep_overlap_frac, float)), beside)
    forward = {"tensor_parallel": tensor[0], "context_parallel": context, "expert_parallel": expert[0]}
    backward = {"tensor_parallel": tensor[1], "context_parallel": context_back, "expert_parallel": expert[1]}
    return forward, backward


def layer_cost(
    model: Model,
    kind: str,
    device: Device,
    fabric: Fabric,
    software: Software,
    precision: Precision,
    layout: Layout,
    where: Groups,
    sequence: Numeric,
) -> LayerCost:
    """Return the cost of one layer of a kind of :func:`hpcsim.cost.models.layer_kinds`."""
    s = np.asarray(sequence, dtype=np.float64)
    tokens = np.asarray(layout.micro_batch * s / layout.cp)
    products = _Products(device, precision, software, np.where(model.trainable_frac < 1.0, 0.02, 1.0))
    linear, linear_back = _linear(model, kind, tokens, layout, products)
    core, core_back = _attention(model, device, software, precision, tokens, model.context(s), layout, False)
    if kind == "decoder":
        cross, cross_back = _attention(model, device, software, precision, tokens, s, layout, True)
        core, core_back = core + cross, core_back + cross_back
    moved, moved_back = _elementwise(model, kind, device, software, precision, tokens, layout)
    sent, sent_back = _communication(
        model, kind, fabric, software, precision, tokens, layout, where, (core, core_back), (linear, linear_back)
    )
    again = np.where(np.asarray(software.fused_attention, bool), 0.5 * moved + _projected_up(model, tokens, layout, products), core)
    more = {"dense": 0.0, "sparse": 25.0, "decoder": 14.0}[kind] + np.where(np.asarray(software.fused_attention, bool), 0.0, 6.0)
    issue = np.asarray(software.launch_s, dtype=np.float64)
    return LayerCost(
        {"matmul": linear, "attention": core, "elementwise": moved, **sent},
        {"matmul": linear_back, "attention": core_back, "elementwise": moved_back, **sent_back},
        np.asarray(again),
        (FORWARD_OPERATIONS + more) * issue,
        (BACKWARD_OPERATIONS + 1.6 * more) * 0.7 * issue,
    )


def mean_layer_cost(
    model: Model, device: Device, fabric: Fabric, software: Software, precision: Precision, layout: Layout, where: Groups, sequence: Numeric
) -> LayerCost:
    """Return the cost of the average layer: kinds weighted by how many there are."""
    parts = []
    for kind, count in layer_kinds(model).items():
        if np.any(count > 0):
            cost = layer_cost(model, kind, device, fabric, software, precision, layout, where, sequence)
            parts.append(cost.scaled(count / model.all_layers))
    mean = parts[0]
    for part in parts[1:]:
        mean = mean.plus(part)
    return mean


def end_cost(
    model: Model, device: Device, software: Software, precision: Precision, layout: Layout, sequence: Numeric
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the time of the two ends per micro-batch: the embedding's, and the output matrix with its loss.

    Each as ``forward`` and ``backward``. The output's logits are split over the tensor-parallel group.
    """
    tokens = np.asarray(layout.micro_batch * np.asarray(sequence, float) / layout.cp)
    width, e = device.stream_bytes_per_s, precision.activation_bytes
    looked_up = tokens * model.hidden * 3.0 * e / width + 2.0 * device.ramp_s
    embedding = {"forward": np.asarray(looked_up), "backward": np.asarray(2.0 * looked_up)}
    plain = Precision(precision.attention, precision.attention, e, e, e, e, 0.0)
    products = _Products(device, plain, software, np.asarray(np.where(model.trainable_frac < 1.0, 0.0, 1.0)))
    scored = np.maximum(tokens * model.logit_frac, 1.0)
    has = np.where(model.vocab > 0, 1.0, 0.0)
    forward, backward = products.times(scored, np.maximum(model.vocab / layout.tp, 1.0), model.hidden)
    logits = scored * model.vocab / layout.tp
    softmax = logits * (e + 12.0) / width
    output = {"forward": np.asarray(has * (forward + softmax)), "backward": np.asarray(has * (backward + 0.7 * softmax))}
    return embedding, output
