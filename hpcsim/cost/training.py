"""Time of one optimizer step, by term, for one layout or a million.

The step of the fullest pipeline stage is followed: m micro-batches of forward and backward, the pipeline's idle time, the exposed
part of the gradients' and parameters' communication, the optimizer, the host. The terms add up to the step time by construction.

What is assumed: equal devices, balanced experts, data that arrives in time, no failure. What is left out: congestion between jobs,
input pipelines, evaluation, checkpoints (see :mod:`hpcsim.cost.storage`, :mod:`hpcsim.cost.reliability`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, positive
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device, Precision, find_precision
from hpcsim.cost.layers import LayerCost, end_cost, mean_layer_cost
from hpcsim.cost.memory import StageParameters, kept_activation_bytes, stage_parameters, training_memory
from hpcsim.cost.models import Model, Work, flop_per_step
from hpcsim.cost.parallelism import Groups, Layout, StageLayers, groups, stage_layers, validity
from hpcsim.cost.pipeline import bubble_s
from hpcsim.cost.samples import work_step
from hpcsim.cost.scaling import expected_maximum_normal
from hpcsim.cost.software import Software
from hpcsim.cost.step_cost import ACTIVITY, COMMON_SIGMA, TERM_SIGMA, TERMS, StepCost, activity, finish, interval, total

__all__ = ["COMMON_SIGMA", "TERMS", "TERM_SIGMA", "StepCost", "activity", "interval", "step"]

BAD_LAYOUT = problem_kind("layout-invalid", "the layout cannot be: {reasons}", "{hint}")


@dataclass(frozen=True)
class _Job:
    """Everything a step depends on, resolved."""

    model: Model
    device: Device
    fabric: Fabric
    layout: Layout
    software: Software
    precision: Precision
    sequence: Array
    micro_batches: Array
    where: Groups
    stages: StageLayers
    held: StageParameters


def _distinct(layout: Layout, sequence: Array, scalars: bool) -> tuple[Layout, Array, npt.NDArray[np.int64] | None]:
    """Return the layouts that differ in what a layer's cost depends on, and where each layout finds its own."""
    if not scalars or len(layout.shape) != 1 or layout.shape[0] < 256 or np.ndim(sequence):
        return layout, sequence, None
    names = ("micro_batch", "tp", "cp", "ep", "etp", "sequence_parallel", "cp_all_to_all", "order", "dp")
    key = np.zeros(layout.shape[0], dtype=np.int64)
    room = 1.0
    for name in names:
        if np.ndim(getattr(layout, name)) == 0 or (name == "dp" and not (layout.ep > 1).any()):
            continue
        column = layout.column(name).astype(np.int64)
        size = int(column.max()) + 1
        room *= size
        key = key * size + column
    if room > 2.0**62:
        return layout, sequence, None
    _, index, inverse = np.unique(key, return_index=True, return_inverse=True)
    return layout.take(index), sequence, inverse


def _spread(value: Array, inverse: npt.NDArray[np.int64] | None) -> Array:
    array = np.asarray(value)
    return array if inverse is None or array.ndim == 0 else array[inverse]


def _layer(job: _Job) -> tuple[LayerCost, dict[str, Array], dict[str, Array]]:
    """Per-layer and end costs, worked out once for layouts that share them."""
    scalars = all(
        np.ndim(value) == 0
        for owner in (job.model, job.device, job.software, job.fabric.scale_up, job.fabric.scale_out)
        for value in (getattr(owner, f.name) for f in dataclasses.fields(owner))
        if not isinstance(value, (str, Mapping))
    )
    layout, sequence, inverse = _distinct(job.layout, job.sequence, scalars)
    where = groups(layout, job.fabric.domain)
    cost = mean_layer_cost(job.model, job.device, job.fabric, job.software, job.precision, layout, where, sequence)
    embedding, output = end_cost(job.model, job.device, job.software, job.precision, layout, sequence)
    wide = LayerCost(
        {k: _spread(v, inverse) for k, v in cost.forward.items()},
        {k: _spread(v, inverse) for k, v in cost.backward.items()},
        _spread(cost.core, inverse),
        _spread(cost.forward_host, inverse),
        _spread(cost.backward_host, inverse),
    )
    return wide, {k: _spread(v, inverse) for k, v in embedding.items()}, {k: _spread(v, inverse) for k, v in output.items()}


@dataclass(frozen=True)
class _Pass:
    """One micro-batch on the fullest stage, by term; and what the pipeline and the overlap need.

    ``forward_s`` and ``backward_s`` are the layers' passes on the stage with the fewest layers: what can hide communication there.
    """

    terms: dict[str, Array]
    forward_s: Array
    backward_s: Array
    backward_share: Array
    stage_s: Array
    all_stages_s: Array


def _accumulation(job: _Job) -> Array:
    """Time to add one layer's weight gradients to those of the micro-batches before: the sum is read and written, half of it hidden."""
    held = (job.held.dense + job.held.expert) / np.maximum(job.stages.middle, 1.0) * job.model.trainable_frac
    more = np.where((job.micro_batches > 1) & (job.layout.zero_stage < 3), 1.0, 0.0)
    return np.asarray(more * held * _gradient_bytes(job) / job.device.stream_bytes_per_s)


def _slowed(job: _Job, host: Array, device: Array) -> Array:
    """What issuing the operations adds to the device's time: what it takes longer, and what an engine
    that waits for every hop to another node does not hide."""
    exposed = np.asarray(job.software.exposed_launch_frac, float) * np.where(job.where.stages_cross, 1.0, 0.0)
    return np.asarray(np.maximum(host - device, 0.0) + exposed * np.minimum(host, device))


def _micro_batch(job: _Job) -> _Pass:
    """Cost of one micro-batch on the fullest stage."""
    layout = job.layout
    layer, embedding, output = _layer(job)
    forward, backward = total(layer.forward), total(layer.backward)
    full, selective = layout.recompute == 2, layout.recompute == 1
    redone = np.where(full, layout.recompute_frac, 0.0)
    again = np.where(full, redone * forward, np.where(selective, layer.core, 0.0))
    slow_forward = _slowed(job, layer.forward_host, forward)
    slow_backward = _slowed(job, layer.backward_host + redone * layer.forward_host, backward + again)
    ends_first = embedding["forward"] + embedding["backward"]
    ends_last = output["forward"] + output["backward"]
    added = _accumulation(job)
    each = forward + backward + again + slow_forward + slow_backward + added
    alone = layout.pp <= 1
    first = job.stages.first * each + ends_first + np.where(alone, ends_last, 0.0)
    last = np.where(alone, first, job.stages.last * each + ends_last)
    middle = np.where(layout.pp > 2, job.stages.middle * each, 0.0)
    stage = np.maximum(np.maximum(first, last), middle)
    is_first, is_last = first >= stage, (last >= stage)
    count = np.where(is_first, job.stages.first, np.where(is_last, job.stages.last, job.stages.middle))
    ends = np.where(is_first, ends_first + np.where(alone, ends_last, 0.0), np.where(is_last, ends_last, 0.0))
    terms = {name: count * (layer.forward[name] + layer.backward[name]) for name in layer.forward}
    terms["elementwise"] = terms["elementwise"] + count * added
    terms["logits"] = ends
    terms["recompute"] = count * again
    terms["launch"] = count * (slow_forward + slow_backward)
    every = job.model.all_layers * each + ends_first + ends_last
    fewest = np.minimum(job.stages.first, job.stages.last)
    behind = backward + again + slow_backward + added
    return _Pass(
        terms,
        np.asarray(fewest * (forward + slow_forward)),
        np.asarray(fewest * behind),
        np.asarray(behind / each),
        np.asarray(stage),
        np.asarray(every),
    )


def _transfer(job: _Job) -> Array:
    """Exposed time of the activations' and gradients' hops between stages, per micro-batch."""
    layout = job.layout
    split = np.where(np.asarray(job.software.split_transfer, bool) | layout.sequence_parallel, layout.tp, 1.0)
    size = layout.micro_batch * job.sequence / layout.cp * job.model.hidden * job.precision.activation_bytes / split
    inside = np.where(job.where.stages_cross, 1.0, 2.0)
    once = job.fabric.collective_s("send", size, 2.0 + 0.0 * layout.pp, inside=inside)
    return np.asarray(np.where(layout.pp > 1, 2.0 * layout.vpp * once * (1.0 - np.asarray(job.software.pp_overlap_frac, float)), 0.0))


def _pipeline(job: _Job, micro: _Pass, transfer: Array) -> Array:
    """Idle time of the fullest stage: the schedule's bubble over what the other stages take, plus the hops that fill and drain."""
    layout = job.layout
    others = np.maximum(micro.all_stages_s - micro.stage_s, 0.0)
    share = micro.backward_share
    unit = bubble_s(layout.schedule, pp=layout.pp, forward_s=1.0 - share, backward_s=share, weight_s=share / 2.0, vpp=layout.vpp)
    scale = np.where(layout.pp > 1, unit / np.maximum(layout.pp - 1.0, 1.0), 0.0)
    return np.asarray(np.where(layout.pp > 1, scale * others + (layout.pp - 1.0) * transfer / layout.vpp, 0.0))


def _gradient_bytes(job: _Job) -> Array:
    given = np.asarray(job.software.gradient_bytes, dtype=np.float64)
    return np.asarray(np.where(given > 0, given, job.precision.gradient_bytes))


def _most(job: _Job) -> tuple[Array, Array]:
    """Learning dense and expert parameters on the stage that holds most."""
    h = job.held
    learns = job.model.trainable_frac
    dense = np.maximum(np.maximum(h.first, h.last), np.where(job.layout.pp > 2, h.dense, 0.0))
    expert = np.maximum(np.maximum(h.first_expert, h.last_expert), np.where(job.layout.pp > 2, h.expert, 0.0))
    return np.asarray(dense * learns), np.asarray(expert * learns)


def _replicas(job: _Job, micro: _Pass) -> dict[str, Array]:
    """Exposed communication of gradients and parameters, and what hiding the rest costs the computation."""
    layout, fabric, where = job.layout, job.fabric, job.where
    dense, expert = _most(job)
    grad, weight = _gradient_bytes(job), job.precision.weight_bytes

    zero = (layout.zero_stage >= 1) & (layout.zero_stage <= 2)

    def over(collective: str, per_parameter: Numeric) -> Array:
        one = fabric.collective_s(collective, dense * per_parameter, where.data[0], inside=where.data[1])
        two = fabric.collective_s(collective, expert * per_parameter, where.expert_data[0], inside=where.expert_data[1])
        return np.asarray((one + two) * np.where(zero, np.asarray(job.software.reduce_factor, float), 1.0))

    sharded = layout.zero_stage >= 3
    reduce_s = np.where(layout.zero_stage == 0, over("all-reduce", grad), over("reduce-scatter", np.where(sharded, weight, grad)))
    gather_s = np.where(layout.zero_stage == 0, 0.0, over("all-gather", weight))
    can = np.where(layout.overlap, np.asarray(job.software.dp_overlap_frac, float), 0.0)
    layers = np.maximum(job.stages.middle, 1.0)
    m = job.micro_batches

    def exposed(time: Array, window: Array) -> Array:
        return np.asarray(np.maximum(time - can * window, time / layers * np.where(can > 0, 1.0, layers)))

    between = _between(job, dense, expert, grad) if np.any(layout.replicate > 1) else np.zeros(())
    tail = exposed(reduce_s + between, micro.backward_s)
    head = exposed(gather_s, micro.forward_s)
    every_forward = m * exposed(gather_s, micro.forward_s)
    each_backward = exposed(gather_s + reduce_s, micro.backward_s)
    every_backward = (m - 1.0) * each_backward + exposed(gather_s + reduce_s + between, micro.backward_s)
    gathered = m * each_backward * gather_s / np.maximum(gather_s + reduce_s, 1e-300)
    gathers = np.where(sharded, every_forward + gathered, head)
    reduces = np.where(sharded, every_backward - gathered, tail)
    moved = np.where(sharded, m * (2.0 * gather_s + reduce_s), gather_s + reduce_s) + between
    hidden = np.maximum(moved - gathers - reduces, 0.0)
    return {"parameter_gather": gathers, "data_parallel": reduces, "contention": np.asarray(job.software.contention_frac, float) * hidden}


def _between(job: _Job, dense: Array, expert: Array, gradient_bytes: Array) -> Array:
    """All-reduce of each device's shard of the gradients between the groups of replicas that hold all shards, once a step."""
    where = job.where
    shard = dense / where.data[0] + expert / where.expert_data[0]
    return np.asarray(job.fabric.collective_s("all-reduce", shard * gradient_bytes, where.outer[0], inside=where.outer[1]))


def _streamed(job: _Job, micro: _Pass, waits: Mapping[str, Array]) -> Array:
    """Exposed time of a step's traffic to and from the host for offloaded weights, gradients and activations.

    Weights come in for each forward and backward, gradients leave once a micro-batch, activations leave in the forward and come back in
    the backward. The busier direction of the host's link counts; it is hidden behind both passes and what they wait for other devices,
    but for half a layer's share.
    """
    layout = job.layout
    link = np.asarray(job.fabric.host_bytes_per_s, float)
    dense, expert = _most(job)
    layers = np.maximum(job.stages.middle, 1.0)
    weights = (dense / np.maximum(job.model.trainable_frac, 1e-9) / np.where(layout.zero_stage >= 3, job.where.data[0], 1.0)) + (
        expert / np.maximum(job.model.trainable_frac, 1e-9) / np.where(layout.zero_stage >= 3, job.where.expert_data[0], 1.0)
    )
    weights_s = np.where(layout.offload_weights, weights * job.precision.weight_bytes / link, 0.0)
    gradients_s = np.where(layout.offload_weights, weights * job.model.trainable_frac * _gradient_bytes(job) / link, 0.0)
    tokens = layout.micro_batch * job.sequence / layout.cp
    each = kept_activation_bytes(
        job.model, layout, job.precision, tokens, job.sequence, job.software.fused_attention, job.software.narrow_saved
    )
    inputs = job.precision.activation_bytes * tokens * job.model.hidden
    kept = np.where(layout.recompute == 2, layout.recompute_frac * inputs + (1.0 - layout.recompute_frac) * each, each)
    kept_s = np.where(layout.offload_activations, layers * kept / link, 0.0)

    busiest = np.maximum(2.0 * weights_s + kept_s, gradients_s + kept_s)
    waited = (waits["parameter_gather"] + waits["data_parallel"]) / job.micro_batches
    exposed = np.maximum(busiest - micro.forward_s - micro.backward_s - waited, busiest / (2.0 * layers))
    return np.asarray(job.micro_batches * exposed)


def _optimizer(job: _Job) -> tuple[Array, Array]:
    """Time of the update on the device, and on the host where it is offloaded."""
    layout = job.layout
    dense, expert = _most(job)
    grad = _gradient_bytes(job)
    sharded = layout.zero_stage >= 1
    mine = np.where(sharded, dense / job.where.data[0] + expert / job.where.expert_data[0], dense + expert)
    update = mine * (2.0 * (job.precision.master_bytes + 8.0) + grad + job.precision.weight_bytes)
    checks = np.where(layout.zero_stage >= 2, mine, dense + expert) * 2.0 * grad
    everything = np.maximum(np.maximum(job.held.first, job.held.last), job.held.dense) + job.held.expert
    stored_narrow = np.asarray(job.software.narrow_frozen, bool) & (np.asarray(job.model.trainable_frac) < 1.0)
    casts = (job.precision.cast_bytes > 0) & ~stored_narrow
    narrowed = np.where(casts, everything * (job.precision.weight_bytes + 2.0 * job.precision.input_bytes), 0.0)
    on_device = (update + checks + narrowed) / job.device.stream_bytes_per_s
    on_host = mine * (grad + job.precision.weight_bytes) / np.asarray(job.fabric.host_bytes_per_s, float)
    return np.asarray(np.where(layout.offload, checks / job.device.stream_bytes_per_s, on_device)), np.asarray(
        np.where(layout.offload, on_host, 0.0)
    )


def _terms(job: _Job) -> dict[str, Array]:
    micro = _micro_batch(job)
    m = job.micro_batches
    transfer = _transfer(job)
    terms = {name: m * seconds for name, seconds in micro.terms.items()}
    terms["pipeline_transfer"] = m * transfer
    terms["bubble"] = _pipeline(job, micro, transfer)
    terms |= _replicas(job, micro)
    terms["optimizer"], terms["offload"] = _optimizer(job)
    if np.any(job.layout.offload_weights) or np.any(job.layout.offload_activations):
        terms["offload"] = terms["offload"] + _streamed(job, micro, terms)
    working = total({k: v for k, v in terms.items() if k in (*ACTIVITY["compute"], *ACTIVITY["memory"])})
    terms["straggler"] = working * np.asarray(job.software.straggler_cv, float) * expected_maximum_normal(job.layout.devices)
    terms["host"] = np.asarray(job.software.step_s, dtype=np.float64)
    shape = np.broadcast_shapes(*(np.shape(v) for v in terms.values()), job.layout.shape)
    return {name: np.asarray(np.broadcast_to(terms[name], shape), dtype=np.float64) for name in TERMS}


def _numbers(layout: Layout, model: Model | None, global_batch: Array, sequence: Array | None) -> dict[str, str]:
    """Return the numbers behind the rules, for one layout."""

    def of(*names: str) -> str:
        return "·".join(f"{name} {int(np.asarray(getattr(layout, name)))}" for name in names)

    found = {"batch": f"{of('dp', 'micro_batch')}, global batch {int(np.asarray(global_batch))}"}
    if model is not None:
        found |= {
            "layers": f"{of('pp', 'vpp')}, {int(np.asarray(model.all_layers))} layers",
            "heads": f"{of('tp')}, {int(np.asarray(model.heads))} heads",
        }
    if sequence is not None:
        found["sequence"] = f"{of('cp', 'tp')}, sequence {int(np.asarray(sequence))}"
    return found


def _hint(broken: list[str], numbers: Mapping[str, str]) -> str:
    says = {
        "world-size": "dp·tp·pp·cp must equal the devices",
        "batch": "dp·micro_batch must divide the global batch",
        "layers": "fewer stages, so that none is empty",
        "heads": "tp (times cp where heads are exchanged for tokens) must divide the attention heads",
        "kv-heads": "tp must divide the key-value heads or be a multiple of them",
        "experts": "ep must divide the experts, and ep·etp must divide dp·cp·tp",
        "sequence": "cp (times tp with sequence parallelism) must divide the sequence",
        "interleaving": "vpp needs a pipeline, and micro-batches that pp divides",
        "sequence-parallel": "sequence parallelism needs tp above 1",
        "replicas": "replicate must divide dp·cp, and needs a ZeRO stage above 0",
    }
    return "; ".join(says.get(name, name) + (f" – here {numbers[name]}" if name in numbers else "") for name in broken)


def _check(layout: Layout, model: Model | None, devices: Array, global_batch: Array, sequence: Array | None) -> None:
    _, reasons = validity(layout, model, devices=devices, global_batch=global_batch, sequence=sequence)
    broken = [name for name, bad in reasons.items() if np.any(bad)]
    if broken:
        one = not layout.shape and np.ndim(global_batch) == 0 and np.ndim(0 if sequence is None else sequence) == 0
        numbers = _numbers(layout, model, global_batch, sequence) if one else {}
        raise BAD_LAYOUT.error(path="layout", reasons=", ".join(broken), hint=_hint(broken, numbers))


def _transformer_step(
    model: Model,
    device: Device,
    fabric: Fabric,
    layout: Layout,
    stack: Software,
    format_: Precision,
    precision: str,
    batch: Array,
    sequence: Array,
) -> StepCost:
    stages = stage_layers(model.all_layers, layout.pp, layout.vpp)
    m = np.maximum(batch / (layout.dp * layout.micro_batch), 1.0)
    held = stage_parameters(model, layout, stages)
    job = _Job(model, device, fabric, layout, stack, format_, sequence, m, groups(layout, fabric.domain), stages, held)
    flop = flop_per_step(model, global_batch=batch, sequence=sequence, skips_mask=stack.fused_attention)
    learns = np.where(model.trainable_frac < 1.0, 2.0, 3.0)
    forward = flop["matmul"] + flop["attention"]
    model_flop = learns * (flop["matmul"] + flop["logits"]) + 3.0 * flop["attention"]
    repeated = np.where(np.asarray(stack.fused_attention, bool), 0.5, np.where(layout.recompute == 1, 1.0, 0.0))
    again = np.where(layout.recompute == 2, layout.recompute_frac * forward, 0.0) + repeated * flop["attention"]
    memory = training_memory(
        model,
        layout,
        format_,
        micro_batches=np.ceil(m),
        sequence=sequence,
        fused_attention=stack.fused_attention,
        gradient_bytes=_gradient_bytes(job),
        reserve_bytes=device.assumed.reserve_bytes,
        narrow_frozen=stack.narrow_frozen,
        narrow_saved=stack.narrow_saved,
        logit_bytes=stack.logit_bytes,
        boundary_tensors=stack.boundary_tensors,
        bucket_parameters=stack.bucket_parameters,
        stages=stages,
        held=held,
    )
    return finish(
        _terms(job),
        memory,
        device,
        precision,
        devices=layout.devices,
        tokens=batch * sequence,
        micro_batches=m,
        model_flop=model_flop,
        hardware_flop=model_flop + again,
        doubt_sigma=np.hypot(device.doubt_sigma, stack.doubt_sigma),
    )


def step(
    model: Model | Work,
    device: Device,
    fabric: Fabric,
    layout: Layout,
    *,
    global_batch: Numeric,
    sequence: Numeric = 1,
    precision: str = "bf16",
    software: Software | None = None,
    devices: Numeric | None = None,
    check: bool = True,
) -> StepCost:
    """Return the cost of one optimizer step.

    Parameters
    ----------
    model : Model or Work
        A transformer, or totals per sample (then data parallelism only, and ``sequence`` is not used).
    device, fabric, layout : Device, Fabric, Layout
        Their fields and those of the model are scalars or arrays that broadcast together.
    global_batch, sequence : int or array
        Sequences (samples) per step, tokens per sequence.
    precision : str
        Key of :data:`hpcsim.cost.compute.PRECISIONS`.
    software : Software, optional
        What the framework does; a current one by default.
    devices : int or array, optional
        Refuse layouts that take another number.
    check : bool
        Refuse layouts that cannot be; off where the caller filtered them with :func:`hpcsim.cost.parallelism.validity`.

    Returns
    -------
    StepCost

    Raises
    ------
    InputError
        An impossible layout, a precision the device lacks, values out of range.

    Notes
    -----
    T = m·t + bubble + exposed data-parallel communication + optimizer + stragglers + host, t the fullest stage's time of a
    micro-batch. Attention under context parallelism assumes a balanced split of the causal mask. Cross-attention of an
    encoder–decoder is taken at equal lengths.
    """
    stack = software or Software()
    batch, s = positive("global_batch", global_batch), positive("sequence", sequence)
    format_ = find_precision(precision)
    if isinstance(model, Work):
        return work_step(model, device, fabric, layout, batch, format_, precision, stack)
    if check:
        _check(layout, model, layout.devices if devices is None else positive("devices", devices), batch, s)
    return _transformer_step(model, device, fabric, layout, stack, format_, precision, batch, s)
