"""Training runs: from a scenario to a plan that the closed form and the event engine share.

The plan holds the cost of one step, the number of steps, the checkpoints and the power; what failures and queues add is left to who
runs it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.architecture import ASSUMED_RATE_SIGMA, architecture_year, known_rates
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.catalog.models import parameters
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import EXTRAS, Layout, kept_with, space
from hpcsim.cost.power import activity_power_w
from hpcsim.cost.reliability import young_interval_s
from hpcsim.cost.software import Software
from hpcsim.cost.storage import checkpoint_bytes, checkpoint_time_s
from hpcsim.cost.training import StepCost, step
from hpcsim.scenario.spec import AssumeSpec
from hpcsim.scenario.workload import LayoutSpec, TrainingSpec
from hpcsim.workload.calibrated import calibrated_device, calibrated_fabric, stack_of
from hpcsim.workload.networks import cost_model
from hpcsim.workload.synchrony import synchronised
from hpcsim.workload.traffic import StepTraffic, placed_fabric, step_traffic, without_overlap

__all__ = ["HOST_LOAD_FRAC", "TrainingPlan", "assuming", "cost_device", "cost_fabric", "of_length", "plan_training"]

NO_GROUP = problem_kind("training-nodes", "{what}", "name the node group in {path}.nodes; groups with accelerators: {known}")
TOO_MANY_NODES = problem_kind(
    "training-count", "{asked} nodes are asked for, {group} has {count}", "ask for at most {count}, or enlarge the group"
)
NO_FABRIC = problem_kind(
    "training-without-fabric",
    "{nodes} nodes work on one model, but the cluster has no fabric",
    "add cluster.fabric, for example {{link: ndr}}",
)
WORLD_SIZE = problem_kind(
    "layout-world-size",
    "{devices} devices are not divided by the layout: tp·pp·cp = {tp}·{pp}·{cp} = {group}{with_dp}",
    "{hint}",
)
NO_LAYOUT = problem_kind("no-layout-fits", "no layout of {model} on {devices} × {device} can be found{why}", "{hint}")
DOES_NOT_FIT = problem_kind(
    "model-does-not-fit", "{model} needs {needs} on each device, {device} has {has}: {over} too much; most of it is {most}", "{hint}"
)
NO_MEMORY = problem_kind(
    "device-without-memory",
    "{name} is no device that trains a network: its own memory is not known",
    "choose a GPU or TPU, or add {path}.accelerator.memory",
)

HOST_LOAD_FRAC = 0.43
"""Share of the span between idle and highest power that a node draws besides its accelerators while it trains.

An 8×H100 node rated 10.2 kW was measured at 8.4 kW with all GPUs at their limit of 5.6 kW, so 2.8 kW for the rest, which idles at 1.44 kW
and is rated 4.6 kW: (2.8 − 1.44)/(4.6 − 1.44). The 99th percentile of 8×A100 servers gives the same within a tenth.
Latif et al. 2024, arXiv:2412.08602; Hu et al. 2024 (Acme traces)."""

_HOST_BYTES_PER_S = 25e9
"""Link to the host where the catalog has none; only offloading asks for it."""

_PLAIN = {"tp": 1, "pp": 1, "vpp": 1, "cp": 1, "ep": 1, "etp": 0, "zero_stage": 0, "recompute": "none", "schedule": "1f1b", "overlap": True}
_AUTO_AXES: dict[str, tuple[Any, ...]] = {
    "vpp": (1, 2, 4),
    "cp": (1, 2, 4, 8),
    "ep": (1, 2, 4, 8, 16, 32, 64),
    "micro_batch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    "zero_stage": (0, 1, 3),
    "recompute": (0, 1, 2),
    "sequence_parallel": (False, True),
    "schedule": ("1f1b",),
    "overlap": (True,),
    "offload": (False,),
}


def _no_traffic() -> StepTraffic | None:
    return None


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training run, ready to be estimated or simulated.

    Attributes
    ----------
    name, path : str
        Name and dotted path in the scenario.
    network : Network
        The model.
    group : NodeGroup
        Where it runs.
    nodes, devices : int
    layout : dict
        Every field of the layout, plain values.
    searched : int
        Layouts that were evaluated to choose this one; 0 where it was given.
    cost : StepCost
        Of one step, scalars.
    steps, global_batch, sequence : int
    precision, software : str
    parameters : int
    work_s : float
        Steps times step time [s].
    checkpoint_interval_s : float
        Work between checkpoints [s]; infinite without them.
    checkpoint_write_s, checkpoint_read_s, checkpoint_bytes : float
    restart_s, submit_s : float
    draw_w : float or None
        Power above idle of all its nodes while it trains [W]; None where a power is not known.
    device_w : float or None
        Power of one device while it trains [W].
    notes : tuple of str
    """

    name: str
    path: str
    network: Network
    group: NodeGroup
    nodes: int
    devices: int
    layout: dict[str, Any]
    searched: int
    cost: StepCost
    steps: int
    global_batch: int
    sequence: int
    precision: str
    software: str
    parameters: int
    work_s: float
    checkpoint_interval_s: float
    checkpoint_write_s: float
    checkpoint_read_s: float
    checkpoint_bytes: float
    restart_s: float
    submit_s: float
    draw_w: float | None
    device_w: float | None
    notes: tuple[str, ...] = field(default=())
    checkpoint_tier: str = ""
    """Storage tier that the checkpoints go to."""
    traffic_of: Callable[[], StepTraffic | None] = field(default=_no_traffic, compare=False, repr=False)
    """Works out what its steps send between scale-up domains; None without any."""
    oversubscription: float = 1.0
    """By what factor the fabric slows the flows of its steps."""

    @property
    def recovery_s(self) -> float:
        """Restart and reading of the last checkpoint [s]."""
        return self.restart_s + self.checkpoint_read_s

    @property
    def tokens_per_step(self) -> int:
        """Tokens (samples for a model without sequences) of a step."""
        return self.global_batch * self.sequence


def cost_device(group: NodeGroup, catalog: Catalog) -> Device:
    """Return a node group's accelerator as the cost formulas take it.

    What nobody measured of it is taken from its architecture: the year its kernels had to ripen from, and the share of the peak that a
    sibling sustains; the range is then wider.

    Raises
    ------
    InputError
        Without memory or bandwidth, as for a bare processor.
    """
    a = group.accelerator
    if a is None or a.memory_bytes is None:
        raise NO_MEMORY.error(path=group.path, name=a.id if a else group.name)
    year, sustained, measured = float(a.year or 0.0), dict(a.matmul_flop_per_s), bool(a.matmul_flop_per_s)
    try:
        entry = catalog.accelerator(a.id)
    except InputError:
        pass
    else:
        year = architecture_year(entry, catalog)
        rates, known = known_rates(entry, catalog)
        measured = measured and (known or sustained != rates)
        if not sustained:
            peaks = {str(key): rate for key, rate in entry.peak_flop_per_s.items()}
            sustained = {key: rate * a.peak_flop_per_s.get(key, 0.0) / peaks[key] for key, rate in rates.items()}
    return Device(
        name=a.id,
        category=a.category or "gpu",
        peak_flop_per_s=dict(a.peak_flop_per_s),
        memory_bytes=float(a.memory_bytes),
        memory_bytes_per_s=float(group.need("accelerator.memory_bytes_per_s")),
        sustained_flop_per_s={key: rate for key, rate in sustained.items() if rate > 0},
        compute_units=(a.compute_units or 0) if a.category == "gpu" else 0,
        year=year,
        doubt_sigma=0.0 if measured else ASSUMED_RATE_SIGMA,
    )


def _kind(link: str) -> str:
    return re.sub(r"^nvlink-(?=\d)", "nvlink", link)


def cost_fabric(group: NodeGroup, cluster: Cluster, nodes: int, path: str) -> Fabric:
    """Return the two-level fabric that ``nodes`` nodes of a group work over.

    Raises
    ------
    InputError
        Several scale-up domains, and no fabric between them.
    """
    devices = nodes * group.per_node
    domain = max(group.domain, 1)
    one = devices <= domain
    up_rate = group.accelerator.scale_up_bytes_per_s if group.accelerator else None
    if up_rate is None and min(devices, domain) > 1:
        up_rate = group.need("accelerator.scale_up_bytes_per_s")
    fabric = cluster.fabric
    if not one and (fabric is None or group.nic_bytes_per_s is None):
        raise NO_FABRIC.error(path=path, nodes=nodes)
    out_rate = up_rate or 1.0 if one or fabric is None else group.injection_bytes_per_s / group.per_node
    size = cluster.fabric_size
    host = group.accelerator.host_bytes_per_s if group.accelerator else None
    return Fabric.of(
        scale_up=_kind(group.accelerator.scale_up_link or "none") if group.accelerator else "none",
        scale_up_bytes_per_s=up_rate or 1.0,
        domain=min(domain, devices),
        scale_out="none" if one or fabric is None else _kind(fabric.link if fabric.category else "ethernet"),
        scale_out_bytes_per_s=out_rate,
        oversubscription=max(size.oversubscription, 1.0) if size is not None and not one else 1.0,
        host_bytes_per_s=host or _HOST_BYTES_PER_S,
    )


def _group(name: str, spec: TrainingSpec, cluster: Cluster, path: str) -> NodeGroup:
    able = [g for g in cluster.groups.values() if g.accelerator is not None and g.per_node > 0]
    known = ", ".join(g.name for g in able) or "none"
    if spec.nodes is not None:
        group = cluster.group(spec.nodes, f"{path}.nodes")
        if group not in able:
            raise NO_GROUP.error(path=f"{path}.nodes", what=f"the nodes {group.name!r} have no accelerators", known=known)
        return group
    if len(able) != 1:
        what = "no node group has accelerators" if not able else f"{len(able)} node groups have accelerators"
        raise NO_GROUP.error(path=path, what=what, known=known)
    return able[0]


@dataclass(frozen=True)
class _Setting:
    """What every candidate layout of a run shares."""

    model: Model | Work
    device: Device
    fabric: Fabric
    stack: Software
    devices: int
    global_batch: int
    sequence: int
    precision: str
    splits_sequence: bool = False
    """Whether the software is one that splits activations outside the tensor-parallel products by default."""

    def cost(self, layout: Layout, check: bool = True, fabric: Fabric | None = None) -> StepCost:
        return step(
            self.model,
            self.device,
            fabric or self.fabric,
            layout,
            global_batch=self.global_batch,
            sequence=self.sequence,
            precision=self.precision,
            software=self.stack,
            devices=self.devices,
            check=check,
        )

    def fastest(self, fixed: dict[str, Any], *, devices: int | None = None) -> tuple[Layout | None, int, dict[str, int]]:
        """Return the fastest layout that fits, how many were evaluated, and what removed the others."""
        total = devices or self.devices
        removed: dict[str, int]
        axes: dict[str, Any] = {key: (fixed[key],) if key in fixed else values for key, values in _AUTO_AXES.items()}
        for key in ("tp", "pp"):
            if key in fixed:
                axes[key] = (fixed[key],)
        if isinstance(self.model, Work):
            alone = Layout(dp=total, micro_batch=np.array([b for b in axes["micro_batch"] if self.global_batch % (total * b) == 0]))
            layouts, removed = (
                (alone if alone.shape and alone.shape[0] else None),
                {"batch": len(axes["micro_batch"]) - (alone.shape or (1,))[0]},
            )
        else:
            if self.sequence % 2:
                axes["cp"] = (1,)
            top = int(np.max(np.asarray(self.fabric.domain)))
            found, removed = space(
                self.model,
                devices=total,
                global_batch=self.global_batch,
                sequence=self.sequence,
                axes=axes,
                max_tp=max(top, 1) if top > 1 else 8,
            )
            extra = {key: fixed[key] for key in EXTRAS if key in fixed}
            if extra and found.shape[0]:
                found, gone = kept_with(found, self.model, extra, devices=total, global_batch=self.global_batch, sequence=self.sequence)
                removed.update({"given": gone} if gone else {})
            layouts = found if found.shape and found.shape[0] else None
        if layouts is None:
            return None, 0, removed
        cost = self.cost(layouts, check=False)
        time = np.where(cost.fits, cost.step_time_s, np.inf)
        best = int(np.argmin(time))
        count = int(layouts.shape[0])
        if not np.isfinite(time[best]):
            return None, count, {**removed, "memory": count}
        return layouts.take(best), count, removed


def _given(spec: LayoutSpec) -> dict[str, Any]:
    values = spec.model_dump(exclude_none=True, exclude={"auto"})
    return {k: v for k, v in values.items() if k in spec.model_fields_set}


def _devices_text(setting: _Setting, group: NodeGroup) -> str:
    return f"{setting.devices} × {setting.device.name}"


def _explicit(spec: LayoutSpec, setting: _Setting, path: str) -> Layout:
    given = _given(spec)
    values = {**_PLAIN, **given}
    tp, pp, cp = values["tp"], values["pp"], values["cp"]
    unit = tp * pp * cp
    dp = given.get("dp", setting.devices // unit if setting.devices % unit == 0 else 0)
    if dp * unit != setting.devices:
        with_dp = f", with dp {given['dp']} {given['dp'] * unit}" if "dp" in given else ""
        below, above = setting.devices // unit * unit, -(-setting.devices // unit) * unit
        counts = " or ".join(str(n) for n in (below, above) if n > 0)
        hint = (
            "leave dp out, it follows"
            if "dp" in given and setting.devices % unit == 0
            else f"use {counts} devices, or another tp, pp or cp; layout: auto chooses"
        )
        raise WORLD_SIZE.error(path=f"{path}.layout", devices=setting.devices, tp=tp, pp=pp, cp=cp, group=unit, with_dp=with_dp, hint=hint)
    values["dp"] = dp
    values.setdefault("sequence_parallel", tp > 1 and setting.splits_sequence and setting.sequence % (tp * cp) == 0)
    if "micro_batch" not in given:
        fixed = {k: v for k, v in values.items() if k != "dp"}
        best, _, _ = setting.fastest(fixed)
        values["micro_batch"] = int(np.asarray(best.micro_batch)) if best is not None else 1
    return Layout(**values)


def _what_fits(setting: _Setting) -> str:
    """Say which layout would fit, or how many devices it would take."""
    best, _, _ = setting.fastest({})
    if best is not None:
        row = best.row()
        keys = ("tp", "pp", "vpp", "cp", "ep", "micro_batch", "zero_stage", "recompute", "sequence_parallel")
        shown = [k for k in keys if k in ("tp", "pp", "micro_batch", "sequence_parallel") or row[k] != _PLAIN[k]]
        words = ", ".join(f"{k}: {str(row[k]).lower()}" for k in shown if k != "sequence_parallel" or row["tp"] > 1)
        return f"this fits: {{{words}}}; or layout: auto"
    devices = setting.devices
    for _ in range(12):
        devices *= 2
        if setting.global_batch % 1 == 0 and setting.fastest({}, devices=devices)[0] is not None:
            return f"no layout fits on {setting.devices} devices; {devices} of them would hold it, or devices with more memory"
    return "no layout fits; use devices with more memory, a smaller model, or a shorter sequence"


def _choose(spec: LayoutSpec, setting: _Setting, network: Network, path: str) -> tuple[Layout, StepCost, int]:
    from hpcsim.base.units import readable

    if spec.auto:
        fixed = {k: v for k, v in _given(spec).items() if k not in ("dp", "etp")}
        best, evaluated, removed = setting.fastest(fixed)
        if best is None:
            memory = " that fits its memory" if removed.get("memory") else ""
            causes = ", ".join(f"{n} by {reason}" for reason, n in removed.items())
            hint = _what_fits(setting) if removed.get("memory") else "change the number of devices or the global batch so that they divide"
            name = setting.device.name
            raise NO_LAYOUT.error(
                path=f"{path}.layout",
                model=network.id,
                devices=setting.devices,
                device=name,
                why=memory + (f" (removed: {causes})" if causes else ""),
                hint=hint,
            )
        return best, setting.cost(best), evaluated
    layout = _explicit(spec, setting, path)
    cost = setting.cost(layout)
    if not bool(cost.fits):
        needs, has = float(cost.peak_memory_bytes), float(cost.memory_capacity_bytes)
        terms = {k: float(v) for k, v in cost.memory.terms().items()}
        most = max(terms, key=lambda k: terms[k])
        raise DOES_NOT_FIT.error(
            path=path,
            model=network.id,
            needs=readable(needs, "data size", 3),
            device=setting.device.name,
            has=readable(has, "data size", 3),
            over=readable(needs - has, "data size", 3),
            most=f"{most} ({readable(terms[most], 'data size', 3)})",
            hint=_what_fits(setting),
        )
    return layout, cost, 0


def _settled(
    spec: TrainingSpec, setting: _Setting, network: Network, cluster: Cluster, group: NodeGroup, nodes: int, name: str
) -> tuple[_Setting, Layout, StepCost, int, tuple[str, ...]]:
    """Return the layout and its cost on the fabric as its traffic meets it, how many layouts were evaluated, and notes."""
    path = f"workload.training.{name}"
    try:
        layout, cost, searched = _choose(spec.layout, setting, network, path)
    except InputError as error:
        raise InputError([_under(p, path) for p in error.problems]) from None
    fabric, met = placed_fabric(setting.fabric, layout.row(), cluster, group, nodes=nodes, name=name)
    if met:
        setting = dataclasses.replace(setting, fabric=fabric)
        cost = setting.cost(layout, check=False)
    return setting, layout, cost, searched, met


def _steps(spec: TrainingSpec) -> int:
    if spec.steps is not None:
        return spec.steps
    total = spec.tokens if spec.tokens is not None else (spec.samples or 0) * spec.sequence
    return max(math.ceil(total / (spec.global_batch * spec.sequence)), 1)


def _power(group: NodeGroup, nodes: int, cost: StepCost) -> tuple[float | None, float | None]:
    a = group.accelerator
    if a is None or a.idle_w is None or a.tdp_w is None or group.idle_w is None or group.max_w is None:
        return None, None
    does = cost.activity
    device_w = float(
        activity_power_w(
            a.idle_w, a.tdp_w, compute_frac=does["compute"], memory_frac=does["memory"], communication_frac=does["communication"]
        )
    )
    host_w = HOST_LOAD_FRAC * (group.max_w - group.idle_w)
    return nodes * (group.per_node * (device_w - a.idle_w) + host_w), device_w


def _checkpoints(
    spec: TrainingSpec, group: NodeGroup, cluster: Cluster, nodes: int, count: int, failures_per_s: float, path: str
) -> tuple[float, ...]:
    """Return (interval_s, write_s, read_s, bytes)."""
    if spec.checkpoint is None:
        return math.inf, 0.0, 0.0, 0.0
    tier = cluster.tier(spec.checkpoint.to, f"{path}.checkpoint.to")
    size = float(checkpoint_bytes(count, bytes_per_parameter=spec.checkpoint.bytes_per_parameter))
    port = group.injection_bytes_per_s
    rate = port if math.isfinite(port) else max(tier.read_bytes_per_s, tier.write_bytes_per_s)
    times = [
        float(checkpoint_time_s(size, nodes=nodes, node_bytes_per_s=rate, storage_bytes_per_s=tier_rate, latency_s=tier.latency_s))
        for tier_rate in (tier.write_bytes_per_s, tier.read_bytes_per_s)
    ]
    every = spec.checkpoint.every
    if every is None:
        every = float(young_interval_s(times[0], 1.0 / failures_per_s)) if failures_per_s > 0 else math.inf
    return every, times[0], times[1], size


def plan_training(
    name: str, spec: TrainingSpec, cluster: Cluster, catalog: Catalog, *, node_mtbf_s: float | None = None, folder: str | Path = "."
) -> TrainingPlan:
    """Return the plan of one training run.

    Parameters
    ----------
    name : str
        Its key in the scenario.
    spec : TrainingSpec
    cluster : Cluster
    catalog : Catalog
        Where the model is looked up.
    node_mtbf_s : float, optional
        Mean time between failures of one node [s]; without a given checkpoint interval Young's follows from it.
    folder : path
        Where a model's ``config`` is looked for.

    Raises
    ------
    InputError
        Unknown names, a layout that the devices do not divide or the model cannot have, a model that does not fit – with what would.
    """
    path = f"workload.training.{name}"
    group = _group(name, spec, cluster, path)
    network = resolve_model(spec.model, catalog, name=name, path=f"{path}.model", folder=folder)
    nodes = spec.count or group.count
    if nodes > group.count:
        raise TOO_MANY_NODES.error(path=f"{path}.count", asked=nodes, group=group.name, count=group.count)
    stack = stack_of(spec, catalog)
    model = cost_model(network)
    sequence = 1 if isinstance(model, Work) else spec.sequence
    setting = _Setting(
        model,
        calibrated_device(cost_device(group, catalog), group, catalog),
        calibrated_fabric(cost_fabric(group, cluster, nodes, path), group, cluster, catalog),
        stack,
        nodes * group.per_node,
        spec.global_batch,
        sequence,
        spec.precision,
        _splits_sequence(spec.framework, spec.year or 2024),
    )
    setting, layout, cost, searched, met = _settled(spec, setting, network, cluster, group, nodes, name)
    count = parameters(network)
    replicas = int(np.asarray(layout.dp))
    cost, said = synchronised(
        cost,
        spec.synchrony,
        replicas=replicas,
        parameters=count,
        replica_bytes_per_s=group.injection_bytes_per_s * nodes / replicas,
        path=path,
        name=name,
    )
    failures_per_s = nodes / node_mtbf_s if node_mtbf_s else 0.0
    interval, write, read, size = _checkpoints(spec, group, cluster, nodes, count, failures_per_s, path)
    draw_w, device_w = _power(group, nodes, cost)
    steps = _steps(spec)
    return TrainingPlan(
        name=name,
        path=path,
        network=network,
        group=group,
        nodes=nodes,
        devices=setting.devices,
        layout={**layout.row(), "precision": spec.precision},
        searched=searched,
        cost=cost,
        steps=steps,
        global_batch=spec.global_batch,
        sequence=sequence,
        precision=spec.precision,
        software=stack.name,
        parameters=count,
        work_s=steps * float(cost.step_time_s),
        checkpoint_interval_s=interval,
        checkpoint_write_s=write,
        checkpoint_read_s=read,
        checkpoint_bytes=size,
        checkpoint_tier=spec.checkpoint.to if spec.checkpoint else "",
        restart_s=spec.restart,
        submit_s=spec.submit,
        draw_w=draw_w,
        device_w=device_w,
        notes=_notes(name, spec, group, searched, stack) + met + said,
        traffic_of=partial(_traffic, setting, layout, group, nodes, float(cost.step_time_s)),
        oversubscription=float(np.max(np.asarray(setting.fabric.oversubscription))),
    )


def _traffic(setting: _Setting, layout: Layout, group: NodeGroup, nodes: int, step_s: float) -> StepTraffic | None:
    if nodes * group.per_node <= max(group.domain, 1):
        return None
    bare = dataclasses.replace(setting, stack=without_overlap(setting.stack))
    costs = partial(setting.cost, layout, False), partial(bare.cost, dataclasses.replace(layout, overlap=np.asarray(False)), False)
    return step_traffic(*costs, setting.fabric, layout.row(), nodes=nodes, per_node=group.per_node, step_s=step_s)


def of_length(plan: TrainingPlan, spec: TrainingSpec) -> TrainingPlan:
    """Return a plan for as many steps as ``spec`` asks for: all else of a plan is independent of its length."""
    steps = _steps(spec)
    return plan if steps == plan.steps else dataclasses.replace(plan, steps=steps, work_s=steps * float(plan.cost.step_time_s))


def assuming(plan: TrainingPlan, factors: AssumeSpec) -> TrainingPlan:
    """Return a plan with the predicted step time and power scaled; the terms of the step are scaled alike, so that they still add up."""
    if factors.step_time == 1.0 and factors.power == 1.0:
        return plan
    f, cost = factors.step_time, plan.cost
    slower = dataclasses.replace(
        cost,
        step_time_s=cost.step_time_s * f,
        terms={name: seconds * f for name, seconds in cost.terms.items()},
        low_s=cost.low_s * f,
        high_s=cost.high_s * f,
        mfu_frac=cost.mfu_frac / f,
        hfu_frac=cost.hfu_frac / f,
        tokens_per_s=cost.tokens_per_s / f,
    )
    return dataclasses.replace(
        plan,
        cost=slower,
        work_s=plan.work_s * f,
        draw_w=None if plan.draw_w is None else plan.draw_w * factors.power,
        device_w=None if plan.device_w is None else plan.device_w * factors.power,
    )


def _splits_sequence(framework: str | None, year: int) -> bool:
    """Return whether sequence parallelism is on by default where tensors are split: Megatron-Core and its like, and stacks of today."""
    name = (framework or "").lower()
    if year < 2022 or "deepspeed" in name:
        return False
    return not name or "core" in name or "nemo" in name or ("megatron" in name and year >= 2023)


def _under(problem: Any, path: str) -> Any:
    """Put a cost formula's bare argument name under the run's dotted path."""
    if problem.path.startswith(("workload.", "cluster.")):
        return problem
    return dataclasses.replace(problem, path=f"{path}.{problem.path}" if problem.path else path)


def _notes(name: str, spec: TrainingSpec, group: NodeGroup, searched: int, stack: Software) -> tuple[str, ...]:
    notes = [f"Training {name}: software is taken as {stack.name}" + ("" if spec.framework else " (none is given)") + "."]
    if searched:
        notes.append(f"Training {name}: the layout is the fastest of {searched:,} that were evaluated and fit.")
    return tuple(notes)
