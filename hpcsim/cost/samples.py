"""A step of a model that is given as totals per sample: convolutional networks, recommenders, anything with known FLOP and bytes."""

from __future__ import annotations

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device, Precision
from hpcsim.cost.memory import FRAGMENTATION_FRAC, MemoryTerms, state_bytes
from hpcsim.cost.models import Work
from hpcsim.cost.parallelism import Layout, groups
from hpcsim.cost.scaling import expected_maximum_normal
from hpcsim.cost.software import Software
from hpcsim.cost.step_cost import TERMS, StepCost, finish

__all__ = ["work_step"]

DATA_PARALLEL_ONLY = problem_kind(
    "work-data-parallel-only",
    "a model given by its totals per sample has no layers to split",
    "use data parallelism only, or describe its layers",
)


def _terms(
    work: Work, device: Device, fabric: Fabric, layout: Layout, global_batch: Array, precision: Precision, software: Software, grad: Array
) -> dict[str, Array]:
    """Every term of the step, of one shape."""
    local = global_batch / layout.dp
    rate = device.sustained(precision.matmul) * work.matmul_frac * np.asarray(software.matmul_frac, float)
    moved = local * work.bytes_per_sample * np.asarray(software.traffic_factor, float)
    arithmetic, streamed = 3.0 * local * work.flop_per_sample / rate, 3.0 * moved / device.stream_bytes_per_s
    busy = np.maximum(arithmetic, streamed)
    m = np.maximum(local / layout.micro_batch, 1.0)
    inside = groups(layout, fabric.domain).data[1]
    exchange = fabric.collective_s("all-to-all", local * work.exchange_bytes_per_sample, layout.dp, inside=inside)
    reduce = fabric.collective_s("all-reduce", work.parameters * grad, layout.dp, inside=inside)
    can = np.where(layout.overlap, np.asarray(software.dp_overlap_frac, float), 0.0)
    exposed = np.maximum(reduce - can * busy * 2.0 / 3.0 / m, reduce * np.where(can > 0, 0.1, 1.0))
    state = _state(work, layout, precision, grad)
    given = {
        "matmul": np.where(arithmetic >= streamed, busy, 0.0),
        "elementwise": np.where(arithmetic >= streamed, 0.0, busy),
        "launch": np.maximum(3.0 * m * work.layers * np.asarray(software.launch_s, float) - busy, 0.0),
        "expert_parallel": 2.0 * exchange,
        "data_parallel": exposed,
        "contention": np.asarray(software.contention_frac, float) * (reduce - exposed),
        "optimizer": 2.0 * (state[2] + state[1]) / device.stream_bytes_per_s,
        "straggler": busy * np.asarray(software.straggler_cv, float) * expected_maximum_normal(layout.dp),
        "host": np.asarray(software.step_s, float),
    }
    shape = np.broadcast_shapes(*(np.shape(v) for v in given.values()), layout.shape)
    return {name: np.asarray(np.broadcast_to(given.get(name, 0.0), shape), dtype=np.float64) for name in TERMS}


def _state(work: Work, layout: Layout, precision: Precision, grad: Array) -> tuple[Array, Array, Array]:
    return state_bytes(
        work.parameters, zero_stage=layout.zero_stage, replicas=layout.dp, gradient_bytes=grad, optimizer_bytes=precision.master_bytes + 8.0
    )


def work_step(
    work: Work,
    device: Device,
    fabric: Fabric,
    layout: Layout,
    global_batch: Array,
    precision: Precision,
    precision_name: str,
    software: Software,
) -> StepCost:
    """Return the cost of one step: roofline per sample, all-to-all of sharded state, gradients reduced behind the backward.

    The backward is twice the forward. Small local batches are bound by launching ``layers`` operations.

    Raises
    ------
    InputError
        A layout that splits the model.
    """
    if np.any(layout.tp * layout.pp * layout.cp > 1):
        raise DATA_PARALLEL_ONLY.error(path="layout")
    given = np.asarray(software.gradient_bytes, dtype=np.float64)
    grad = np.asarray(np.where(given > 0, given, precision.gradient_bytes))
    state = _state(work, layout, precision, grad)
    kept = np.asarray(layout.micro_batch * work.activation_bytes_per_sample)
    memory = MemoryTerms(
        weights=np.asarray(state[0] + work.sharded_bytes / layout.dp),
        gradients=state[1],
        optimizer=state[2],
        activations=kept,
        logits=np.zeros_like(kept),
        buffers=np.zeros_like(kept),
        reserve=np.asarray(device.assumed.reserve_bytes + FRAGMENTATION_FRAC * kept),
    )
    total_flop = np.asarray(3.0 * global_batch * work.flop_per_sample)
    return finish(
        _terms(work, device, fabric, layout, global_batch, precision, software, grad),
        memory,
        device,
        precision_name,
        devices=layout.dp,
        tokens=global_batch,
        micro_batches=np.maximum(global_batch / layout.dp / layout.micro_batch, 1.0),
        model_flop=total_flop,
        hardware_flop=total_flop,
        doubt_sigma=np.hypot(device.doubt_sigma, software.doubt_sigma),
    )
