"""Training runs: from a scenario to a plan that the closed form and the event engine share.

The plan holds the cost of one step, the number of steps, the checkpoints and the power; what failures and queues add is left to who
runs it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.reuse import kept
from hpcsim.base.units import readable
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.link_kinds import spread_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.catalog.models import parameters
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.power import activity_power_w
from hpcsim.cost.reliability import young_interval_s
from hpcsim.cost.software import Software
from hpcsim.cost.storage import checkpoint_bytes, checkpoint_time_s
from hpcsim.cost.together import StepRequest
from hpcsim.cost.training import StepCost
from hpcsim.scenario.spec import AssumeSpec
from hpcsim.scenario.workload import TrainingSpec
from hpcsim.workload.calibrated import calibrated_device, calibrated_fabric, software_year, stack_of
from hpcsim.workload.devices import cost_device
from hpcsim.workload.layouts import Setting, choose, explicit, layout_words
from hpcsim.workload.link_kinds import fabric_of
from hpcsim.workload.networks import cost_model
from hpcsim.workload.synchrony import synchronised
from hpcsim.workload.traffic import StepTraffic, placed_fabric, step_traffic, without_overlap

__all__ = ["HOST_LOAD_FRAC", "Outset", "TrainingPlan", "assuming", "cost_fabric", "of_length", "outset_of", "plan_training"]

SAVES_OVERLAP = problem_kind(
    "checkpoints-overlap",
    "a checkpoint is written for {write} in all, and the next begins after {interval}",
    "checkpoint less often, or to faster storage",
)
NO_GROUP = problem_kind("training-nodes", "{what}", "name the node group in {path}.nodes; groups with accelerators: {known}")
TOO_MANY_NODES = problem_kind(
    "training-count", "{asked} nodes are asked for, {group} has {count}", "ask for at most {count}, or enlarge the group"
)
NO_SEQUENCE = problem_kind(
    "model-without-sequence",
    "{model} has no sequences, and sequence is {sequence}",
    "leave sequence out, or say 1, and give samples rather than tokens",
)
NO_FABRIC = problem_kind(
    "training-without-fabric",
    "{nodes} nodes work on one model, but the cluster has no fabric",
    "add cluster.fabric, for example {{link: ndr}}",
)

HOST_LOAD_FRAC = 0.43
"""Share of the span between idle and highest power that a node draws besides its accelerators while it trains.

An 8×H100 node rated 10.2 kW was measured at 8.4 kW with all GPUs at their limit of 5.6 kW, so 2.8 kW for the rest, which idles at 1.44 kW
and is rated 4.6 kW: (2.8 − 1.44)/(4.6 − 1.44). The 99th percentile of 8×A100 servers gives the same within a tenth.
Latif et al. 2024, arXiv:2412.08602; Hu et al. 2024 (Acme traces)."""

_HOST_BYTES_PER_S = 25e9
"""Link to the host where the catalog has none; only offloading asks for it."""


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
        Time that one stops the work [s], to read it back, size.
    restart_s, submit_s : float
    draw_w : float or None
        Power above idle of all its nodes while it trains [W]; None where a power is not known.
    device_w : float or None
        Power of one device while it trains [W].
    checkpoint_lag_s : float
        Time for which a checkpoint is written beside the work before it is safe [s].
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
    checkpoint_lag_s: float = 0.0

    @property
    def recovery_s(self) -> float:
        """Restart and reading of the last checkpoint [s]."""
        return self.restart_s + self.checkpoint_read_s

    @property
    def tokens_per_step(self) -> int:
        """Tokens (samples for a model without sequences) of a step."""
        return self.global_batch * self.sequence


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
    terms: dict[str, Any] = {
        "scale_up": spread_kind(group.accelerator.scale_up_link or "none", domain) if group.accelerator else "none",
        "scale_up_bytes_per_s": up_rate or 1.0,
        "domain": min(domain, devices),
        "scale_out": "none" if one or fabric is None else (fabric.link if fabric.category else "ethernet"),
        "scale_out_bytes_per_s": out_rate,
        "oversubscription": max(size.oversubscription, 1.0) if size is not None and not one else 1.0,
        "host_bytes_per_s": host or _HOST_BYTES_PER_S,
    }
    return kept("fabric", lambda: tuple(terms.values()), lambda: fabric_of(**terms))


def _fabric(group: NodeGroup, cluster: Cluster, nodes: int, path: str, catalog: Catalog) -> Fabric:
    plain = cost_fabric(group, cluster, nodes, path)
    inner = group.accelerator.scale_up_link if group.accelerator else ""
    outer = cluster.fabric.link if cluster.fabric else ""
    _, found = kept(
        "calibrated fabric",
        lambda: (id(plain), inner, outer, id(catalog)),
        lambda: (plain, calibrated_fabric(plain, group, cluster, catalog)),
    )
    return found


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
class Outset:
    """What a run is planned from, before its step is worked out.

    Attributes
    ----------
    group, network, nodes, parameters :
        As in :class:`TrainingPlan`.
    setting : Setting
    layout : Layout or None
        As it is given; None where it is searched for.
    cost : StepCost or None
        Of one step in that layout, where it is known already.
    """

    group: NodeGroup
    network: Network
    nodes: int
    parameters: int
    setting: Setting
    layout: Layout | None
    cost: StepCost | None = None

    @property
    def request(self) -> StepRequest | None:
        """The step that the run asks for; None where its layout is searched for."""
        s = self.setting
        if self.layout is None:
            return None
        return StepRequest(s.model, s.device, s.fabric, self.layout, s.stack, s.global_batch, s.sequence, s.precision, s.devices)


def outset_of(name: str, spec: TrainingSpec, cluster: Cluster, catalog: Catalog, *, folder: str | Path = ".") -> Outset:
    """Return what a run is planned from.

    Parameters and errors are those of :func:`plan_training`, but that nothing is said about whether the model fits.
    """
    path = f"workload.training.{name}"
    group = _group(name, spec, cluster, path)

    def read() -> tuple[Network, Model | Work, int]:
        network = resolve_model(spec.model, catalog, name=name, path=f"{path}.model", folder=folder)
        return network, cost_model(network), parameters(network)

    said = spec.model if isinstance(spec.model, str) else spec.model.model_dump_json()
    network, model, count = kept("network", lambda: (name, said, id(catalog), str(folder)), read)
    if isinstance(model, Work) and spec.sequence != 1:
        raise NO_SEQUENCE.error(path=f"{path}.sequence", model=network.id, sequence=spec.sequence)
    nodes = spec.count or group.count
    if nodes > group.count:
        raise TOO_MANY_NODES.error(path=f"{path}.count", asked=nodes, group=group.name, count=group.count)
    _, device = kept(  # the entry holds the accelerator, so that its id stays its own
        "device",
        lambda: (id(group.accelerator), group.path, id(catalog)),
        lambda: (group.accelerator, calibrated_device(cost_device(group, catalog), group, catalog)),
    )
    software = kept(
        "stack",
        lambda: (spec.framework, software_year(spec, device), spec.captured, spec.compiled, id(catalog)),
        lambda: stack_of(spec, device, catalog),
    )
    setting = Setting(
        model,
        device,
        _fabric(group, cluster, nodes, path, catalog),
        software,
        nodes * group.per_node,
        spec.global_batch,
        1 if isinstance(model, Work) else spec.sequence,
        spec.precision,
        _splits_sequence(spec.framework, software_year(spec, device)),
    )
    try:
        layout = None if spec.layout.auto else explicit(spec.layout, setting, path)
    except InputError as error:
        raise InputError([_under(p, path) for p in error.problems]) from None
    return Outset(group, network, nodes, count, setting, layout)


def _settled(spec: TrainingSpec, start: Outset, cluster: Cluster, name: str) -> tuple[Setting, Layout, StepCost, int, tuple[str, ...]]:
    """Return the layout and its cost on the fabric as its traffic meets it, how many layouts were evaluated, and notes."""
    path = f"workload.training.{name}"
    setting = start.setting
    try:
        layout, cost, searched = choose(spec.layout, setting, start.network, path, start.layout, start.cost)
    except InputError as error:
        raise InputError([_under(p, path) for p in error.problems]) from None
    fabric, met = placed_fabric(setting.fabric, layout.row(), cluster, start.group, nodes=start.nodes, name=name)
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
    """Return (interval_s, write_s, read_s, bytes, lag_s).

    Raises
    ------
    InputError
        A checkpoint that is still written when the next begins.
    """
    if spec.checkpoint is None:
        return math.inf, 0.0, 0.0, 0.0, 0.0
    tier = cluster.tier(spec.checkpoint.to, f"{path}.checkpoint.to")
    size = float(checkpoint_bytes(count, bytes_per_parameter=spec.checkpoint.bytes_per_parameter))
    port = group.injection_bytes_per_s
    rate = port if math.isfinite(port) else max(tier.read_bytes_per_s, tier.write_bytes_per_s)
    times = [
        float(checkpoint_time_s(size, nodes=nodes, node_bytes_per_s=rate, storage_bytes_per_s=tier_rate, latency_s=tier.latency_s))
        for tier_rate in (tier.write_bytes_per_s, tier.read_bytes_per_s)
    ]
    every, blocking = spec.checkpoint.every, spec.checkpoint.blocking
    stop = times[0] if blocking is None else min(blocking, times[0])
    lag = times[0] - stop
    if every is None:
        every = max(float(young_interval_s(stop, 1.0 / failures_per_s)), lag) if failures_per_s > 0 else math.inf
    if lag > every:
        write, interval = (readable(t, "time", 3) for t in (times[0], every))
        raise SAVES_OVERLAP.error(path=f"{path}.checkpoint.every", write=write, interval=interval)
    return every, stop, times[1], size, lag


def plan_training(
    name: str,
    spec: TrainingSpec,
    cluster: Cluster,
    catalog: Catalog,
    *,
    sudden_per_s: Callable[[int, int], float] | None = None,
    folder: str | Path = ".",
    outset: Outset | None = None,
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
    sudden_per_s : callable, optional
        Rate of the failures that no alarm precedes, from nodes and accelerators [1/s]; without a given checkpoint interval Young's follows
        from it.
    folder : path
        Where a model's ``config`` is looked for.
    outset : Outset, optional
        What :func:`outset_of` returned for the same run.

    Raises
    ------
    InputError
        Unknown names, a layout that the devices do not divide or the model cannot have, a model that does not fit – with what would.
    """
    path = f"workload.training.{name}"
    start = outset or outset_of(name, spec, cluster, catalog, folder=folder)
    group, network, nodes, count = start.group, start.network, start.nodes, start.parameters
    setting, layout, cost, searched, met = _settled(spec, start, cluster, name)
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
    failures_per_s = sudden_per_s(nodes, setting.devices) if sudden_per_s else 0.0
    interval, write, read, size, lag = _checkpoints(spec, group, cluster, nodes, count, failures_per_s, path)
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
        sequence=setting.sequence,
        precision=spec.precision,
        software=setting.stack.name,
        parameters=count,
        work_s=steps * float(cost.step_time_s),
        checkpoint_interval_s=interval,
        checkpoint_write_s=write,
        checkpoint_read_s=read,
        checkpoint_bytes=size,
        checkpoint_tier=spec.checkpoint.to if spec.checkpoint else "",
        checkpoint_lag_s=lag,
        restart_s=spec.restart,
        submit_s=spec.submit,
        draw_w=draw_w,
        device_w=device_w,
        notes=_notes(name, spec, layout, searched, setting.stack)
        + _checkpoint_note(name, spec, interval, write, failures_per_s)
        + _even_stages_note(name, network, layout, cost)
        + met
        + said,
        traffic_of=partial(_traffic, setting, layout, group, nodes, float(cost.step_time_s)),
        oversubscription=float(np.max(np.asarray(setting.fabric.oversubscription))),
    )


def _traffic(setting: Setting, layout: Layout, group: NodeGroup, nodes: int, step_s: float) -> StepTraffic | None:
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


def _checkpoint_note(name: str, spec: TrainingSpec, interval_s: float, write_s: float, failures_per_s: float) -> tuple[str, ...]:
    """Say how often checkpoints are written where nobody gave it, and warn of those that take longer than the work between them."""
    if spec.checkpoint is None:
        return ()
    if not write_s > interval_s:
        if spec.checkpoint.every is not None or math.isinf(interval_s):
            return ()
        stop = readable(write_s, "time", 3)
        return (
            f"Training {name}: a checkpoint after every {readable(interval_s, 'time', 3)} of work, Young's interval for an unannounced failure every "
            f"{readable(1.0 / failures_per_s, 'time', 3)}; each stops the work for {stop} (workload.training.{name}.checkpoint.every).",
        )
    if failures_per_s > 0:
        better = f"Young's interval for these failures is {readable(float(young_interval_s(write_s, 1.0 / failures_per_s)), 'time', 3)}"
    else:
        better = "without failures none is needed"
    return (
        f"Training {name}: a checkpoint takes {readable(write_s, 'time', 3)} and is written after every {readable(interval_s, 'time', 3)} of work, "
        f"so {100.0 * write_s / (write_s + interval_s):.3g} % of the time goes to checkpoints; {better} "
        f"(workload.training.{name}.checkpoint.every).",
    )


MUCH_LOGITS_FRAC = 0.05
"""Share of a step from which the last stage's logits are worth a word where all stages have as many layers."""


def _even_stages_note(name: str, network: Network, layout: Layout, cost: StepCost) -> tuple[str, ...]:
    """Say that stages of equal numbers of layers wait for the one that computes the logits too, where that is much."""
    stages, share = int(np.asarray(layout.pp)), float(cost.terms.get("logits", 0.0)) / float(cost.step_time_s)
    layers = network.layers or 0
    if stages <= 1 or not layers or layers % (stages * int(np.asarray(layout.vpp))) or share < MUCH_LOGITS_FRAC:
        return ()
    return (
        f"Training {name}: {stages} stages have {layers // stages} of the {layers} layers each, as frameworks split what divides, and the others wait "
        f"for the last, which computes the logits too ({100.0 * share:.0f} % of the step). Numbers of layers that {stages} does not divide are spread with "
        "embedding and logits counted as a layer each, so a layer more can be faster.",
    )


def _notes(name: str, spec: TrainingSpec, layout: Layout, searched: int, stack: Software) -> tuple[str, ...]:
    notes = [
        f"Training {name}: software is taken as {stack.name}"
        + (
            ""
            if spec.framework
            else ", since none is given: families differ by 10 to 20 % in a step. Choose with --framework megatron-core (pytorch-fsdp, maxtext, …) and --year, or "
            f"workload.training.{name}.framework and .year; hpcsim catalog list software says what there is"
        )
        + "."
    ]
    if stack.doubt_sigma and spec.framework:
        notes.append(
            f"Training {name}: {spec.framework!r} is no software that hpcsim was compared with; it is taken as PyTorch, operation by operation, "
            "and the ranges are wider. Compared were megatron-core, nemo, pytorch-fsdp, llm-foundry, deepspeed, maxtext and jax."
        )
    if searched:
        notes.append(f"Training {name}: the layout is the fastest that fits of {searched:,} evaluated: {layout_words(layout.row())}.")
    return tuple(notes)
