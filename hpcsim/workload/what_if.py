"""What a training step would take if one resource were twice as good: the formulas once more, one argument changed at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import Cluster
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.compute import Device, find_precision
from hpcsim.cost.memory_time import StageMemory, memory_over_time
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.software import Software
from hpcsim.cost.training import StepCost, step
from hpcsim.scenario.workload import TrainingSpec
from hpcsim.workload.calibrated import calibrated_device, calibrated_fabric, stack_of
from hpcsim.workload.devices import cost_device
from hpcsim.workload.networks import cost_model
from hpcsim.workload.training import TrainingPlan, cost_fabric

__all__ = ["Change", "Setup", "setup_of", "stage_memories", "what_if"]


@dataclass(frozen=True)
class Setup:
    """Everything that the step formula takes."""

    model: Model | Work
    device: Device
    fabric: Fabric
    layout: Layout
    software: Software
    global_batch: int
    sequence: int
    precision: str

    def cost(self) -> StepCost:
        """Return the cost of one step."""
        return step(
            self.model,
            self.device,
            self.fabric,
            self.layout,
            global_batch=self.global_batch,
            sequence=self.sequence,
            precision=self.precision,
            software=self.software,
            check=False,
        )


@dataclass(frozen=True)
class Change:
    """One changed resource and what it brings; ``term`` is the part of the step that shrinks most, empty where none does."""

    resource: str
    step_time_s: float
    saved_s: float
    term: str


def setup_of(plan: TrainingPlan, spec: TrainingSpec, cluster: Cluster, catalog: Catalog) -> Setup:
    """Return the arguments from which a plan's step was computed."""
    device = calibrated_device(cost_device(plan.group, catalog), plan.group, catalog)
    return Setup(
        cost_model(plan.network),
        device,
        calibrated_fabric(cost_fabric(plan.group, cluster, plan.nodes, plan.path), plan.group, cluster, catalog),
        Layout(**{key: value for key, value in plan.layout.items() if key != "precision"}),
        stack_of(spec, device, catalog),
        plan.global_batch,
        plan.sequence,
        plan.precision,
    )


def _wider(link: Link) -> Link:
    return dataclasses.replace(link, bytes_per_s=np.asarray(link.bytes_per_s, float) * 2.0)


def _sooner(link: Link) -> Link:
    return dataclasses.replace(link, latency_s=np.asarray(link.latency_s, float) / 2.0, startup_s=np.asarray(link.startup_s, float) / 2.0)


def _twice(rates: Mapping[str, object]) -> dict[str, object]:
    return {key: np.asarray(rate, float) * 2.0 for key, rate in rates.items()}


def _variants(s: Setup) -> dict[str, Setup]:
    device, fabric, stack = s.device, s.fabric, s.software
    faster = dataclasses.replace(
        device, peak_flop_per_s=_twice(device.peak_flop_per_s), sustained_flop_per_s=_twice(device.sustained_flop_per_s)
    )
    wide = dataclasses.replace(device, memory_bytes_per_s=np.asarray(device.memory_bytes_per_s, float) * 2.0)
    found = {
        "compute rate": dataclasses.replace(s, device=faster),
        "memory bandwidth": dataclasses.replace(s, device=wide),
        "scale-up bandwidth": dataclasses.replace(s, fabric=dataclasses.replace(fabric, scale_up=_wider(fabric.scale_up))),
        "scale-out bandwidth": dataclasses.replace(s, fabric=dataclasses.replace(fabric, scale_out=_wider(fabric.scale_out))),
        "network latency (halved)": dataclasses.replace(
            s, fabric=dataclasses.replace(fabric, scale_up=_sooner(fabric.scale_up), scale_out=_sooner(fabric.scale_out))
        ),
        "host speed (launches and step overhead halved)": dataclasses.replace(
            s,
            software=dataclasses.replace(
                stack, launch_s=np.asarray(stack.launch_s, float) / 2.0, step_s=np.asarray(stack.step_s, float) / 2.0
            ),
        ),
        "kernel start-up (halved)": dataclasses.replace(s, device=dataclasses.replace(device, kernel_s=device.ramp_s / 2.0)),
    }
    if bool(np.any(s.layout.offload | s.layout.offload_weights | s.layout.offload_activations)):
        found["link to the host"] = dataclasses.replace(
            s, fabric=dataclasses.replace(fabric, host_bytes_per_s=np.asarray(fabric.host_bytes_per_s, float) * 2.0)
        )
    return found


_RECOMPUTE = ("none", "selective", "full")


def _roomier(s: Setup) -> Setup | None:
    """Return the fastest of the same layout with less recomputation or larger micro-batches that doubled memory holds."""
    if isinstance(s.model, Work):
        return None
    device = dataclasses.replace(s.device, memory_bytes=np.asarray(s.device.memory_bytes, float) * 2.0)
    row = s.layout.row()
    level = _RECOMPUTE.index(str(row["recompute"]))
    best: tuple[float, Setup] | None = None
    for size in (1, 2, 4, 8):
        micro = int(row["micro_batch"]) * size
        if s.global_batch % (int(row["dp"]) * micro):
            break
        for less in _RECOMPUTE[: level + 1]:
            trial = dataclasses.replace(s, device=device, layout=Layout(**{**row, "micro_batch": micro, "recompute": less}))
            cost = trial.cost()
            if bool(cost.fits) and (best is None or float(cost.step_time_s) < best[0]):
                best = (float(cost.step_time_s), trial)
    return best[1] if best else None


def _more_devices(s: Setup) -> Setup | None:
    row = s.layout.row()
    dp, micro = int(row["dp"]) * 2, int(row["micro_batch"])
    while micro > 1 and s.global_batch % (dp * micro):
        micro //= 2
    if s.global_batch % (dp * micro):
        return None
    return dataclasses.replace(s, layout=Layout(**{**row, "dp": dp, "micro_batch": micro}))


def what_if(setup: Setup, cost: StepCost | None = None) -> list[Change]:
    """Return what doubling each resource would bring, the largest saving first.

    Memory capacity is taken to be used for less recomputation or larger micro-batches; twice the devices are twice the replicas at the
    same global batch. Everything else keeps its layout.

    Parameters
    ----------
    setup : Setup
        Scalars.
    cost : StepCost, optional
        The step as it is, where it was computed already.
    """
    before = cost or setup.cost()
    base = {name: float(seconds) for name, seconds in before.terms.items()}
    whole = float(before.step_time_s)
    variants = dict(_variants(setup))
    for name, make in (("memory capacity", _roomier), ("devices (twice the replicas)", _more_devices)):
        try:
            made = make(setup)
        except InputError:
            made = None
        if made is not None:
            variants[name] = made
    changes = []
    for name, variant in variants.items():
        after = variant.cost()
        shrunk = {term: base[term] - float(after.terms[term]) for term in base}
        most = max(shrunk, key=lambda term: shrunk[term])
        seconds = float(after.step_time_s)
        changes.append(Change(name, seconds, whole - seconds, most if shrunk[most] > 1e-9 * whole else ""))
    return sorted(changes, key=lambda change: -change.saved_s)


def stage_memories(setup: Setup, cost: StepCost) -> list[StageMemory]:
    """Return what each pipeline stage of a step holds over time; nothing for a model given by its totals per sample.

    A micro-batch's time on a stage is shared between forward and backward one to two, one to three where the forward is repeated.
    """
    if isinstance(setup.model, Work):
        return []
    layout, stack, format_ = setup.layout, setup.software, find_precision(setup.precision)
    m = int(np.ceil(float(cost.micro_batches)))
    inside = (
        "matmul",
        "attention",
        "elementwise",
        "logits",
        "recompute",
        "launch",
        "tensor_parallel",
        "context_parallel",
        "expert_parallel",
    )
    each = sum(float(cost.terms[name]) for name in inside) / m
    forward = each / (4.0 if int(layout.recompute) == 2 else 3.0)
    given = np.asarray(stack.gradient_bytes, dtype=np.float64)
    return memory_over_time(
        setup.model,
        layout,
        format_,
        micro_batches=m,
        sequence=setup.sequence,
        forward_s=forward,
        backward_s=each - forward,
        fused_attention=stack.fused_attention,
        gradient_bytes=np.where(given > 0, given, format_.gradient_bytes),
        reserve_bytes=setup.device.assumed.reserve_bytes,
        narrow_frozen=stack.narrow_frozen,
        narrow_saved=stack.narrow_saved,
        logit_bytes=stack.logit_bytes,
        boundary_tensors=stack.boundary_tensors,
        bucket_parameters=stack.bucket_parameters,
    )
