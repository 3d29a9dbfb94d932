"""Serving a model: what a pass over some tokens takes, what fits into memory, and the textbook forms of both.

A *pass* is one run through the layers. A prefill passes over all tokens of a prompt and yields the first token of the answer; a decode step
passes over one token of every request in the batch, and reads the weights once and the cache of every request. A pass takes

    max(host, linear(m) + head(k) + c·S + attention of prompts),

with m tokens, k of them scored, and S the tokens in the caches that are read. ``linear`` and ``head`` are the forward passes of the training
model (:mod:`hpcsim.cost.layers`) with the tensor-parallel collectives inside, so the rates that were fitted to training hold here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, between, fraction, non_negative, positive
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import PRECISIONS, Device, Precision
from hpcsim.cost.layers import end_cost, layer_cost, matmul_rate
from hpcsim.cost.models import Model, Work, attention_flop_per_token, layer_kinds, layer_parameters, parameters
from hpcsim.cost.parallelism import Layout, groups
from hpcsim.cost.parameters import DEFAULTS
from hpcsim.cost.power import ActivityShares
from hpcsim.cost.software import CAPTURED_LAUNCH_FRAC, Software

__all__ = [
    "CACHES",
    "MEMORY_FRAC",
    "SERVING",
    "WEIGHTS",
    "Passes",
    "Replica",
    "cache_bytes",
    "crossover_batch",
    "decode_bound_s",
    "decode_terms",
    "host_s",
    "largest_batch",
    "pass_terms",
    "passes_of",
    "prefill_attention_s",
    "prefill_bound_s",
    "replica_rate_per_s",
    "replicas_for",
    "serving_precision",
    "weight_bytes",
    "working_bytes",
]

NO_ARITHMETIC = problem_kind(
    "serving-arithmetic",
    "{device} has no rate in which {weights} weights can be worked with",
    "give accelerator.peak in bf16, fp16 or fp32",
)

WEIGHTS: Mapping[str, tuple[float, tuple[str, ...]]] = MappingProxyType(
    {
        "fp32": (4.0, ("fp32",)),
        "bf16": (2.0, ()),
        "fp16": (2.0, ()),
        "fp8": (1.0, ("fp8",)),
        "int8": (1.0, ("int8",)),
        "int4": (0.5 + 2.5 / 128.0, ()),
        "fp4": (0.5 + 1.0 / 16.0, ("fp4",)),
    }
)
"""Formats of the weights: bytes of a weight with its scales, and the arithmetic that is used where the device has it; else 16 bits.

int4: a scale of 16 and a zero of 4 bits for every 128 weights, and products in 16 bits, as GPTQ and AWQ do; fp4: a scale of 8 bits for every
16 weights (NVFP4). fp8 and int8: activations in 8 bits too, scales left out."""

CACHES: Mapping[str, float] = MappingProxyType({"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0})
"""Formats of the cache: bytes of an element."""

MEMORY_FRAC = 0.90
"""Share of a device's memory that weights, cache and buffers may take; the rest is the driver's and the allocator's."""

SERVING = Software(
    traffic_factor=1.0,
    matmul_frac=DEFAULTS.loop_matmul_frac,
    launch_s=CAPTURED_LAUNCH_FRAC * DEFAULTS.core_launch_s,
    tp_overlap_frac=0.0,
    ep_overlap_frac=0.0,
    straggler_cv=0.0,
    name="serving",
)
"""A serving stack: captured graphs, well-fused kernels, collectives that nothing hides."""

_SHARES = ActivityShares()
_FINE, _STEP, _COARSE = 512, 64, 512
"""Passes are worked out for every number of tokens up to here, then in steps of 64, and of 512 beyond 16,384; between them linearly."""


@dataclass(frozen=True)
class Replica:
    """One copy of a model on the devices that serve it.

    Attributes
    ----------
    model : Model or Work
        ``Work``: a network whose requests are samples, one pass each.
    device, fabric : Device, Fabric
    tp : int
        Devices that share every matrix (tensor parallel); experts are split like other matrices.
    weights, cache : str
        Formats: keys of :data:`WEIGHTS` and :data:`CACHES`.
    memory_frac : float
        Share of the memory that may be used.
    """

    model: Model | Work
    device: Device
    fabric: Fabric
    tp: int = 1
    weights: str = "bf16"
    cache: str = "bf16"
    memory_frac: float = MEMORY_FRAC
    software: Software = SERVING


@dataclass(frozen=True)
class Passes:
    """What passes of one replica take, ready for millions of look-ups.

    Attributes
    ----------
    linear_s, head_s : array
        By tokens in the pass, and by tokens scored; entry 0 is 0 [s].
    linear_load_s, head_load_s : array
        The same weighted by what the activity draws of the span between idle and maximum power [s].
    cache_s, cache_load_s : float
        For every token of context in a decode step.
    host_s : float
        Time to launch a pass: none is shorter.
    pair_s, pair_tokens, pair_share, causal, window, window_frac
        Of the attention core over prompts: seconds of a query and key at the rate of large products, the run at which half of the core's own
        share of that rate is reached, that share, whether later tokens are hidden, and the model's window.
    attention_load_frac, waiting_load_frac : float
        What prompts' attention, and waiting for launches, draw of that span.
    """

    linear_s: Array
    head_s: Array
    linear_load_s: Array
    head_load_s: Array
    cache_s: float
    cache_load_s: float
    host_s: float
    pair_s: float = 0.0
    pair_tokens: float = 0.0
    pair_share: float = 1.0
    causal: bool = True
    window: float = 0.0
    window_frac: float = 1.0
    attention_load_frac: float = _SHARES.compute
    waiting_load_frac: float = _SHARES.idle

    def decode_s(self, batch: Numeric, context: Numeric) -> Array:
        """Return the time of a decode step over ``batch`` requests whose caches hold ``context`` tokens together; fractions are interpolated."""
        b = np.asarray(batch, float)
        at = np.arange(len(self.head_s), dtype=np.float64)
        fixed = np.interp(b, at, self.linear_s[: len(at)] + self.head_s)
        return np.asarray(np.maximum(fixed + self.cache_s * np.asarray(context, float), self.host_s))[()]

    def decode_load_s(self, batch: Numeric, context: Numeric) -> Array:
        """Return the time of a decode step weighted by what its activities draw of the span between idle and highest power [s]."""
        b, at = np.asarray(batch, float), np.arange(len(self.head_s), dtype=np.float64)
        device = np.interp(b, at, self.linear_s[: len(at)] + self.head_s) + self.cache_s * np.asarray(context, float)
        load = np.interp(b, at, self.linear_load_s[: len(at)] + self.head_load_s) + self.cache_load_s * np.asarray(context, float)
        return np.asarray(load + self.waiting_load_frac * np.maximum(self.host_s - device, 0.0))[()]

    def attention_s(self, tokens: float, before: float = 0.0) -> float:
        """Return the time of the attention core over a run of a prompt's tokens, with ``before`` of them in the cache already.

        Scalars; :func:`prefill_attention_s` is the same for arrays.
        """
        if not self.pair_s:
            return 0.0
        pairs = self._pairs(tokens + before) - self._pairs(before) if self.causal else self._pairs(tokens)
        return self.pair_s * pairs / min(self.pair_share * tokens / (tokens + self.pair_tokens), 1.0)

    def _pairs(self, length: float) -> float:
        if length <= 0:
            return 0.0
        seen = length
        if self.window:
            w = min(self.window, length)
            seen = length + self.window_frac * (w * (2.0 - w / length) - length)
        return length * seen

    def prefill_s(self, prompt: int) -> float:
        """Return the time of a pass over one whole prompt."""
        return max(float(self.linear_s[prompt] + self.head_s[1]) + self.attention_s(prompt), self.host_s)


def serving_precision(weights: str, device: Device) -> Precision:
    """Return how a device works with weights of a format: in their own arithmetic where it has it, else in 16 bits, else in 32.

    Raises
    ------
    InputError
        The device has none of them.
    """
    stored, wanted = WEIGHTS[weights]
    plain = next((key for key in ("bf16", "fp16", "fp32") if key in device.peak_flop_per_s), "")
    if weights in ("fp16", "bf16") and weights in device.peak_flop_per_s:
        plain = weights
    key = next((key for key in wanted if key in device.peak_flop_per_s), plain)
    if not key:
        raise NO_ARITHMETIC.error(device=device.name, weights=weights)
    core = plain or key
    wide = {"fp32": 4.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5}
    element = PRECISIONS[core].activation_bytes if core in PRECISIONS else 2.0
    return Precision(key, core, wide.get(key, 2.0), element, stored, 0.0, 0.0, stored_bytes=stored)


def weight_bytes(replica: Replica) -> tuple[Array, Array]:
    """Return the bytes of all layers' weights, and of embedding and output, which stay in 16 bits when the layers are quantised."""
    stored = WEIGHTS[replica.weights][0]
    if isinstance(replica.model, Work):
        return np.asarray(stored * np.asarray(replica.model.parameters, float)), np.zeros(())
    body = sum((n * layer_parameters(replica.model, kind) for kind, n in layer_kinds(replica.model).items()), np.zeros(()))
    ends = parameters(replica.model) - body
    return np.asarray(stored * body)[()], np.asarray(max(stored, 2.0) * ends)[()]


def cache_bytes(replica: Replica) -> Array:
    """Return the cache of one token on one device [B].

    Keys and values are split by heads: over tp devices, or as many as there are heads of them, the rest holding copies. The latents of
    multi-head latent attention have no heads, so every device holds all of them.
    """
    model = replica.model
    if isinstance(model, Work) or not np.any(model.causal):
        return np.zeros(())
    element = CACHES[replica.cache]
    plain = 2.0 * np.maximum(model.kv_heads / replica.tp, 1.0) * model.head_dim
    each = np.where(model.latent, model.kv_rank + model.rope_dim, plain)
    return np.asarray(model.all_layers * each * element)[()]


def working_bytes(replica: Replica, tokens: Numeric, scored: Numeric) -> Array:
    """Return the buffers of a pass on one device: activations between two layers and inside one, and 32-bit logits [B]."""
    model, m, k = replica.model, non_negative("tokens", tokens), non_negative("scored", scored)
    if isinstance(model, Work):
        layers = np.maximum(model.layers, 1.0)
        return np.asarray(2.0 * m * model.activation_bytes_per_sample / layers)[()]
    width = np.where(
        model.experts > 0, np.maximum(model.ffn, model.expert_ffn * (model.experts_per_token + model.shared_experts)), model.ffn
    )
    inside = (np.where(model.gated, 3.0, 2.0) * width + model.query_dim + 2.0 * model.kv_heads * model.head_dim) / replica.tp
    return np.asarray(2.0 * m * (4.0 * model.hidden + inside) + 4.0 * k * model.vocab / replica.tp)[()]


def _attention_rate(replica: Replica, tokens: Numeric) -> Array:
    """Rate of the attention core over a run of queries."""
    assert isinstance(replica.model, Model)
    precision = serving_precision(replica.weights, replica.device)
    rate = matmul_rate(replica.device, replica.software, precision.attention)
    q = np.maximum(np.asarray(tokens, float), 1.0)
    share = replica.device.attention_share * np.asarray(replica.software.attention_gain, float)
    return np.asarray(rate * np.minimum(share * q / (q + np.asarray(replica.software.attention_tokens, float)), 1.0))


def prefill_attention_s(replica: Replica, tokens: Numeric, before: Numeric = 0.0) -> Array:
    """Return the time of the attention core over a run of a prompt's tokens.

    Parameters
    ----------
    tokens : int or array
        Tokens of the run.
    before : int or array
        Tokens of the prompt that are in the cache already; all of them are attended to.
    """
    model = replica.model
    if isinstance(model, Work):
        return np.zeros(np.broadcast_shapes(np.shape(tokens), np.shape(before)))[()]
    q, o = non_negative("tokens", tokens), non_negative("before", before)

    def pairs_flop(length: Array) -> Array:
        some = np.maximum(length, 1.0)
        return np.asarray(length * attention_flop_per_token(model, model.context(some), skips_mask=True))

    flop = np.where(model.causal, pairs_flop(q + o) - pairs_flop(o), pairs_flop(q)) * model.all_layers / replica.tp
    return np.asarray(flop / _attention_rate(replica, q))[()]


def _cache_second(replica: Replica) -> float:
    """Seconds of a decode step for every token of context: reading it, or the arithmetic on it where that takes longer."""
    model = replica.model
    if isinstance(model, Work) or not np.any(model.causal):
        return 0.0
    read = float(cache_bytes(replica)) / float(replica.device.stream_bytes_per_s)
    latent = 2.0 * model.heads * (2.0 * model.kv_rank + model.rope_dim)
    flop = float(np.where(model.latent, latent, 2.0 * (model.query_dim + model.value_dim)) * model.all_layers / replica.tp)
    precision = serving_precision(replica.weights, replica.device)
    rate = matmul_rate(replica.device, replica.software, precision.attention) * replica.device.attention_share
    return max(read, flop / float(rate))


def pass_terms(replica: Replica, tokens: Numeric) -> dict[str, Array]:
    """Return where the device time of a pass over some tokens goes, attention over cache and prompts left out.

    Returns
    -------
    dict of str to array
        ``matmul`` (arithmetic of products that are bound by it), ``weights`` (time of products that wait for their weights), ``elementwise``,
        ``tensor_parallel``; [s].
    """
    m = positive("tokens", tokens)
    precision = serving_precision(replica.weights, replica.device)
    if isinstance(replica.model, Work):
        return _work_terms(replica, m, precision)
    model, layout = replica.model, Layout(tp=replica.tp)
    where = groups(layout, replica.fabric.domain)
    out = {key: np.zeros(m.shape) for key in ("matmul", "weights", "elementwise", "tensor_parallel")}
    arithmetic = matmul_rate(replica.device, replica.software, precision.matmul)
    for kind, count in layer_kinds(model).items():
        if not np.any(count > 0):
            continue
        cost = layer_cost(model, kind, replica.device, replica.fabric, replica.software, precision, layout, where, m).forward
        least = 2.0 * m * _active_elements(model, kind) / replica.tp / arithmetic
        waits = least < 0.5 * cost["matmul"]
        out["matmul"] = out["matmul"] + count * np.where(waits, 0.0, cost["matmul"])
        out["weights"] = out["weights"] + count * np.where(waits, cost["matmul"], 0.0)
        out["elementwise"] = out["elementwise"] + count * (cost["elementwise"] + replica.device.ramp_s)
        out["tensor_parallel"] = out["tensor_parallel"] + count * cost["tensor_parallel"]
    return out


def _active_elements(model: Model, kind: str) -> Array:
    """Matrix elements that a token is multiplied with in a layer."""
    unused = np.maximum(model.experts - model.experts_per_token, 0.0) if kind == "sparse" else 0.0
    spare = unused * np.where(model.gated, 3.0, 2.0) * model.hidden * model.expert_ffn
    return np.asarray(layer_parameters(model, kind) - spare)


def _work_terms(replica: Replica, samples: Array, precision: Precision) -> dict[str, Array]:
    work, device = replica.model, replica.device
    assert isinstance(work, Work)
    rate = device.sustained(precision.matmul) * work.matmul_frac * np.asarray(replica.software.matmul_frac, float)
    arithmetic = samples * work.flop_per_sample / rate
    moved = samples * work.bytes_per_sample + WEIGHTS[replica.weights][0] * work.parameters
    streamed = moved / device.stream_bytes_per_s
    zero = np.zeros(samples.shape)
    start = np.asarray(work.layers * device.ramp_s)
    return {
        "matmul": np.where(arithmetic >= streamed, arithmetic, 0.0),
        "weights": np.where(arithmetic >= streamed, 0.0, streamed),
        "elementwise": zero + start,
        "tensor_parallel": zero,
    }


def _head_terms(replica: Replica, scored: Array) -> Array:
    if isinstance(replica.model, Work):
        return np.zeros(scored.shape)
    precision = serving_precision(replica.weights, replica.device)
    layout = Layout(tp=replica.tp)
    return np.asarray(end_cost(replica.model, replica.device, replica.software, precision, layout, scored)[1]["forward"])


def host_s(replica: Replica) -> float:
    """Return the time that the host takes to launch a pass [s]."""
    if isinstance(replica.model, Work):
        return float(np.asarray(replica.model.layers * np.asarray(replica.software.launch_s, float)))
    model, layout = replica.model, Layout(tp=replica.tp)
    where = groups(layout, replica.fabric.domain)
    precision = serving_precision(replica.weights, replica.device)
    total = 0.0
    for kind, count in layer_kinds(model).items():
        if np.any(count > 0):
            cost = layer_cost(model, kind, replica.device, replica.fabric, replica.software, precision, layout, where, 1.0)
            total += float(count * cost.forward_host)
    return total


def decode_terms(replica: Replica, batch: float, context: float) -> dict[str, float]:
    """Return where the time of a decode step goes [s]: the parts of :func:`pass_terms`, ``cache``, ``head``, and ``launch`` that is exposed."""
    b = np.asarray(max(batch, 1.0))
    found = {key: float(value) for key, value in pass_terms(replica, b).items()}
    found["cache"] = _cache_second(replica) * context
    found["head"] = float(_head_terms(replica, b))
    found["launch"] = max(host_s(replica) - sum(found.values()), 0.0)
    return found


def passes_of(replica: Replica, *, tokens: int, scored: int) -> Passes:
    """Return what passes of up to ``tokens`` tokens take, of which up to ``scored`` are scored."""
    most = max(int(tokens), int(scored), 1)
    fine = np.arange(1, min(most, _FINE) + 1)
    grid = np.unique(np.concatenate([fine, np.arange(_FINE, min(most, 16_384), _STEP), np.arange(16_384, most, _COARSE), [most]]))
    grid = grid[grid <= most]
    terms = pass_terms(replica, grid.astype(np.float64))
    loads = {"matmul": _SHARES.compute, "weights": _SHARES.memory, "elementwise": _SHARES.memory, "tensor_parallel": _SHARES.communication}
    every = np.arange(most + 1)
    seconds = sum((terms[key] for key in loads), np.zeros(len(grid)))
    weighted = sum((share * terms[key] for key, share in loads.items()), np.zeros(len(grid)))
    heads = np.concatenate([[0.0], _head_terms(replica, np.arange(1.0, scored + 1))])
    linear, load = (np.interp(every, np.concatenate([[0], grid]), np.concatenate([[0.0], column])) for column in (seconds, weighted))
    cache = _cache_second(replica)
    return Passes(linear, heads, load, _SHARES.memory * heads, cache, _SHARES.memory * cache, host_s(replica), **_pair_terms(replica))


def _pair_terms(replica: Replica) -> dict[str, Any]:
    model = replica.model
    if isinstance(model, Work):
        return {}
    rate = matmul_rate(replica.device, replica.software, serving_precision(replica.weights, replica.device).attention)
    flop = attention_flop_per_token(model, 1.0, skips_mask=True) * model.all_layers / replica.tp
    return {
        "pair_s": float(flop / rate),
        "pair_tokens": float(np.asarray(replica.software.attention_tokens)),
        "pair_share": float(replica.device.attention_share * np.asarray(replica.software.attention_gain, float)),
        "causal": bool(model.causal),
        "window": float(model.window),
        "window_frac": float(model.window_frac),
    }


def prefill_bound_s(
    prompt: Numeric, parameter_count: Numeric, *, flop_per_s: Numeric, layers: Numeric = 0, hidden: Numeric = 0, devices: Numeric = 1
) -> Array:
    """Return the textbook time of a prefill: (2P·s + 4L·s²·h/2)/(n·rate), all compute.

    Parameters
    ----------
    prompt : int or array
        s, tokens.
    parameter_count : float or array
        P, those that a token meets.
    flop_per_s : float or array
        Sustained rate of one device.
    layers, hidden : int or array
        L and h; 0 leaves attention out.
    devices : int or array
        n.
    """
    s, p, rate, n = (
        non_negative("prompt", prompt),
        positive("parameter_count", parameter_count),
        positive("flop_per_s", flop_per_s),
        devices,
    )
    attention = 2.0 * np.asarray(layers, float) * s**2 * np.asarray(hidden, float)
    return np.asarray((2.0 * p * s + attention) / (positive("devices", n) * rate))[()]


def decode_bound_s(
    batch: Numeric,
    context: Numeric,
    *,
    weights_bytes: Numeric,
    parameter_count: Numeric,
    cache_bytes_per_token: Numeric,
    bytes_per_s: Numeric,
    flop_per_s: Numeric,
    devices: Numeric = 1,
) -> Array:
    """Return the textbook time of a decode step: max((W + b·ctx·kv)/(n·BW), 2P·b/(n·rate)), communication left out.

    >>> eight = {"weights_bytes": 2 * 70.55e9, "parameter_count": 70.55e9, "cache_bytes_per_token": 327680, "devices": 8}
    >>> round(float(decode_bound_s(64, 2048, **eight, bytes_per_s=0.8 * 3.35e12, flop_per_s=0.6 * 989e12)) * 1e3, 3)
    8.584
    """
    b, ctx, n = positive("batch", batch), non_negative("context", context), positive("devices", devices)
    read = positive("weights_bytes", weights_bytes) + b * ctx * non_negative("cache_bytes_per_token", cache_bytes_per_token)
    work = 2.0 * positive("parameter_count", parameter_count) * b
    return np.asarray(np.maximum(read / (n * positive("bytes_per_s", bytes_per_s)), work / (n * positive("flop_per_s", flop_per_s))))[()]


def largest_batch(
    memory_bytes: Numeric, weights_bytes: Numeric, cache_bytes_per_token: Numeric, tokens: Numeric, *, used: Numeric = MEMORY_FRAC
) -> Array:
    """Return how many requests of so many tokens fit: ⌊(mem·used − W)/(kv·tokens)⌋, none where the weights do not fit.

    >>> float(largest_batch(8 * 80e9, 2 * 70.55e9, 327680, 4096))
    324.0
    """
    room = positive("memory_bytes", memory_bytes) * fraction("used", used) - non_negative("weights_bytes", weights_bytes)
    each = positive("cache_bytes_per_token", cache_bytes_per_token) * positive("tokens", tokens)
    return np.asarray(np.maximum(np.floor(room / each), 0.0))[()]


def crossover_batch(flop_per_s: Numeric, bytes_per_s: Numeric, *, bytes_per_weight: Numeric = 2.0) -> Array:
    """Return the batch from which a decode step is bound by arithmetic and not by reading the weights: rate·bytes/(2·BW)."""
    return np.asarray(
        positive("flop_per_s", flop_per_s) * positive("bytes_per_weight", bytes_per_weight) / (2.0 * positive("bytes_per_s", bytes_per_s))
    )[()]


def replica_rate_per_s(batch: Numeric, output: Numeric, *, step_s: Numeric, prefill_s: Numeric) -> Array:
    """Return the requests per second of a replica whose ``batch`` slots are always full: b/(out·TPOT(b) + b·prefill).

    Prefills stall the decode steps of all others.

    Parameters
    ----------
    batch : int or array
        b, slots.
    output : float or array
        Decode steps of a request.
    step_s : float or array
        Time of a decode step of that batch.
    prefill_s : float or array
        Time of a request's prefill.
    """
    b, out = positive("batch", batch), non_negative("output", output)
    return np.asarray(b / (out * non_negative("step_s", step_s) + b * non_negative("prefill_s", prefill_s)))[()]


def replicas_for(load_per_s: Numeric, rate_per_s: Numeric, *, target: Numeric = 1.0) -> Array:
    """Return ⌈load/(rate·target)⌉: replicas that are used to ``target`` at most."""
    return np.asarray(
        np.ceil(positive("load_per_s", load_per_s) / (positive("rate_per_s", rate_per_s) * between("target", target, 1e-9, 1.0)) - 1e-9)
    )[()]
