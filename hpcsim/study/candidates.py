"""The layouts of one training run: all that can be, what each takes, and the exact schedule of the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.chunks import CHUNK_ROWS
from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.arguments import Array
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device, find_precision
from hpcsim.cost.layers import end_cost, mean_layer_cost
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import EXTRAS, Layout, divisors, groups, kept_with, space, stage_layers, validity
from hpcsim.cost.pipeline import SCHEDULES
from hpcsim.cost.power import activity_power_w
from hpcsim.cost.schedules import graph, lengths, walk
from hpcsim.cost.software import Software
from hpcsim.cost.step_cost import StepCost
from hpcsim.cost.training import step
from hpcsim.run.accounting import covered_frac
from hpcsim.run.prices import facility_of, group_account, usd_per_device_s
from hpcsim.scenario.workload import TrainingSpec
from hpcsim.workload.calibrated import calibrated_device, calibrated_fabric, stack_of
from hpcsim.workload.devices import cost_device
from hpcsim.workload.networks import cost_model
from hpcsim.workload.training import HOST_LOAD_FRAC, TOO_MANY_NODES, cost_fabric
from hpcsim.workload.training import _group as group_of

__all__ = ["AXES", "MOST_OPERATIONS", "Job", "Passes", "evaluate", "exact_steps", "job_of", "joined", "located", "passes_of", "pieces"]

UNKNOWN_AXIS = problem_kind("search-axis", "{name!r} is no axis of the search", "axes: {known}")

AXES: Mapping[str, tuple[Any, ...]] = {
    "vpp": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    "cp": (1, 2, 4, 8, 16),
    "ep": (1, 2, 4, 8, 16, 32, 64),
    "micro_batch": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    "zero_stage": (0, 1, 2, 3),
    "recompute": ("none", "selective", "full"),
    "sequence_parallel": (False, True),
    "schedule": ("gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v", "dualpipe"),
    "overlap": (False, True),
    "offload": (False,),
}
"""What is tried along each axis, beside tp and pp, which take the divisors of the devices. 1f1b with vpp above 1 is the interleaved
schedule; dp follows from the devices."""

_IN_STAGE = (
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
"""Terms of a step that are a micro-batch's time on the fullest stage, times the micro-batches."""

_CODE = {name: code for code, name in enumerate(SCHEDULES)}


MOST_OPERATIONS = 40_000
"""Operations of a schedule up to which all of it is walked."""


@dataclass(frozen=True)
class Job:
    """What every layout of one training run shares.

    Attributes
    ----------
    name, path : str
        Key of the run, and its dotted path in the scenario.
    network : Network
    model : Model or Work
    device, fabric, stack : Device, Fabric, Software
    group : NodeGroup
    nodes, devices, global_batch, sequence : int
    precision : str
    base_w, network_w, pue : float
        Idle power of the nodes, power of switches and storage, of the building.
    usd_per_s, usd_per_j : float or None
        What all devices cost a second, and electricity; None where they are not known.
    covered : bool
        The price includes the nodes' electricity.
    shared_frac : float
        Share of the network's and the storage's electricity that prices include.
    powered : bool
        Whether all powers are known.
    cluster : Cluster
    """

    name: str
    path: str
    network: Network
    model: Model | Work
    device: Device
    fabric: Fabric
    stack: Software
    group: NodeGroup
    nodes: int
    devices: int
    global_batch: int
    sequence: int
    precision: str
    base_w: float
    network_w: float
    pue: float
    usd_per_s: float | None
    usd_per_j: float | None
    covered: bool
    shared_frac: float
    powered: bool
    cluster: Cluster

    def cost(self, layouts: Layout) -> StepCost:
        """Return the steps of layouts that are known to be possible."""
        return step(
            self.model,
            self.device,
            self.fabric,
            layouts,
            global_batch=self.global_batch,
            sequence=self.sequence,
            precision=self.precision,
            software=self.stack,
            check=False,
        )

    def energy_j(self, step_time_s: Array, activity: Mapping[str, Array]) -> Array:
        """Return the energy of a step at the facility's meter: all nodes, their part of switches and storage, cooling; NaN if unknown."""
        a = self.group.accelerator
        if not self.powered or a is None:
            return np.full(np.shape(step_time_s), np.nan)
        device_w = activity_power_w(
            a.idle_w,
            a.tdp_w,
            compute_frac=np.minimum(activity["compute"], 1.0),
            memory_frac=activity["memory"],
            communication_frac=activity["communication"],
        )
        host_w = HOST_LOAD_FRAC * ((self.group.max_w or 0.0) - (self.group.idle_w or 0.0))
        draw_w = self.nodes * (self.group.per_node * (device_w - (a.idle_w or 0.0)) + host_w)
        return np.asarray((self.base_w + draw_w + self.network_w) * self.pue * step_time_s)

    def cost_usd(self, step_time_s: Array, energy_j: Array) -> Array:
        """Return what a step costs: the devices' time, and electricity where the price leaves it out; NaN if no price is known."""
        if self.usd_per_s is None:
            return np.full(np.shape(step_time_s), np.nan)
        shared_w = self.network_w * self.pue
        metered_j = (
            (1.0 - self.shared_frac) * shared_w * step_time_s
            if self.covered
            else np.nan_to_num(energy_j - self.shared_frac * shared_w * step_time_s)
        )
        return np.asarray(self.usd_per_s * step_time_s + (self.usd_per_j or 0.0) * metered_j)


def job_of(name: str, spec: TrainingSpec, cluster: Cluster, catalog: Catalog, *, folder: Any = ".") -> Job:
    """Return the job of a scenario's training run.

    Raises
    ------
    InputError
        Unknown names, a device that cannot train, nodes without a fabric.
    """
    path = f"workload.training.{name}"
    group = group_of(name, spec, cluster, path)
    network = resolve_model(spec.model, catalog, name=name, path=f"{path}.model", folder=folder)
    nodes = spec.count or group.count
    if nodes > group.count:
        raise TOO_MANY_NODES.error(path=f"{path}.count", asked=nodes, group=group.name, count=group.count)
    model = cost_model(network)
    facility, _ = facility_of(cluster)
    price = cluster.prices.get(group.name)
    a = group.accelerator
    powered = None not in (group.idle_w, group.max_w, a.idle_w if a else None, a.tdp_w if a else None)
    devices = nodes * group.per_node
    idle_w = (group.idle_w or 0.0) + group.per_node * ((a.idle_w if a else None) or 0.0)
    device = calibrated_device(cost_device(group, catalog), group, catalog)
    return Job(
        name=name,
        path=path,
        network=network,
        model=model,
        device=device,
        fabric=calibrated_fabric(cost_fabric(group, cluster, nodes, path), group, cluster, catalog),
        stack=stack_of(spec, device, catalog),
        group=group,
        nodes=nodes,
        devices=devices,
        global_batch=spec.global_batch,
        sequence=1 if isinstance(model, Work) else spec.sequence,
        precision=spec.precision,
        base_w=nodes * idle_w,
        network_w=facility.network_w + facility.storage_w,
        pue=facility.pue,
        usd_per_s=devices * usd_per_device_s(price) if price else None,
        usd_per_j=facility.electricity_usd_per_j,
        covered=price is not None and price.includes_electricity,
        shared_frac=covered_frac([group_account(one, cluster)[0] for one in cluster.groups.values()]),
        powered=powered,
        cluster=cluster,
    )


def _count(removed: dict[str, int], reason: str, rows: int) -> None:
    if rows:
        removed[reason] = removed.get(reason, 0) + rows


def _axes(job: Job, fixed: Mapping[str, Any], offload: bool) -> dict[str, tuple[Any, ...]]:
    axes = dict(AXES)
    model = job.model
    most = int(np.max(np.asarray(job.fabric.domain)))
    axes["tp"] = tuple(divisors(job.devices, limit=max(2 * most, 8)))
    axes["pp"] = tuple(divisors(job.devices, limit=int(float(np.asarray(model.all_layers))) + 2)) if isinstance(model, Model) else (1,)
    if isinstance(model, Model) and not float(np.asarray(model.experts)):
        axes["ep"] = (1,)
    if offload:
        axes["offload"] = (False, True)
    for name, value in fixed.items():
        if name in ("dp", "etp", *EXTRAS):
            continue
        if name not in axes:
            raise UNKNOWN_AXIS.error(path=f"{job.path}.layout.{name}", name=name, known=", ".join(sorted([*axes, *EXTRAS])))
        axes[name] = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    axes["schedule"] = tuple(dict.fromkeys("1f1b" if name == "interleaved" else name for name in axes["schedule"]))
    return axes


def _schedules(layouts: Layout, job: Job) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which layouts a schedule rules out, and which only repeat another."""
    model, code = job.model, layouts.schedule
    plain = (code == _CODE["1f1b"]) | (code == _CODE["interleaved"])
    m = job.global_batch / (layouts.dp * layouts.micro_batch)
    dual, folded, half = code == _CODE["dualpipe"], code == _CODE["zb-v"], code == _CODE["zb-h1"]
    second = folded | (code == _CODE["zb-h2"])
    assert isinstance(model, Model)
    halves, pairs = 2.0 * layouts.pp <= model.all_layers + 2.0, 0.5 * m
    odd = (0.5 * layouts.pp != np.floor(0.5 * layouts.pp)) | (pairs != np.floor(pairs))
    return {
        "redundant": ((layouts.pp <= 1) & ~plain) | (~layouts.overlap & (layouts.dp * layouts.cp <= 1)),
        "schedule": ((layouts.vpp > 1) & ~plain)
        | (dual & odd)
        | (half & (m < layouts.pp))
        | ((dual | second) & (m < 2 * layouts.pp))
        | (folded & ~halves),
    }


def _given(layouts: Layout, job: Job, fixed: Mapping[str, Any], removed: dict[str, int]) -> Layout:
    """Keep the layouts with a given dp and put a given etp in."""
    if "dp" in fixed and layouts.shape[0]:
        keep = layouts.dp == float(fixed["dp"])
        _count(removed, "given", int((~keep).sum()))
        layouts = layouts.take(keep)
    if "etp" in fixed and layouts.shape[0]:
        columns = layouts.columns()
        layouts = Layout(**{**columns, "etp": np.full(layouts.shape, float(fixed["etp"]))})
        ok, _ = validity(layouts, job.model if isinstance(job.model, Model) else None, devices=job.devices, global_batch=job.global_batch)
        _count(removed, "experts", int((~ok).sum()))
        layouts = layouts.take(ok)
    extra = {name: fixed[name] for name in EXTRAS if name in fixed}
    if extra and layouts.shape[0] and isinstance(job.model, Model):
        layouts, gone = kept_with(layouts, job.model, extra, devices=job.devices, global_batch=job.global_batch, sequence=job.sequence)
        _count(removed, "given", gone)
    return layouts


def pieces(job: Job, fixed: Mapping[str, Any], *, offload: bool, removed: dict[str, int]) -> Iterator[Layout]:
    """Yield the layouts of a job in pieces, always in the same order; count those that cannot be under ``removed``, by the first reason.

    One tensor-parallel size after the other is enumerated, so that memory stays small whatever the size of the space.

    Parameters
    ----------
    fixed : mapping
        Axes that have one value, or the values to try; ``dp`` and ``etp`` too.
    offload : bool
        Try offloading of the optimizer as well.
    removed : dict
        Is added to.
    """
    axes = _axes(job, fixed, offload)
    if isinstance(job.model, Work):
        sizes = np.array([b for b in axes["micro_batch"] if job.global_batch % (job.devices * b) == 0], dtype=float)
        _count(removed, "batch", len(axes["micro_batch"]) - sizes.size)
        if sizes.size:
            yield Layout(dp=job.devices, micro_batch=sizes)
        return
    for tp in axes["tp"]:
        found, gone = space(
            job.model,
            devices=job.devices,
            global_batch=job.global_batch,
            sequence=job.sequence,
            axes={**axes, "tp": (tp,)},
        )
        for reason, rows in gone.items():
            _count(removed, reason, rows)
        if not found.shape[0]:
            continue
        left = np.ones(found.shape[0], dtype=bool)
        for reason, broken in _schedules(found, job).items():
            hit = left & broken
            _count(removed, reason, int(hit.sum()))
            left &= ~hit
        found = _given(found.take(left), job, fixed, removed)
        for at in range(0, found.shape[0] if found.shape else 0, CHUNK_ROWS):
            yield found.take(slice(at, at + CHUNK_ROWS))


@dataclass(frozen=True)
class Passes:
    """Seconds of a micro-batch: a layer's forward, backward and weight gradient, and the two ends', all layouts side by side."""

    forward: Array
    backward: Array
    weight: Array
    embedding: tuple[Array, Array]
    output: tuple[Array, Array]


def passes_of(job: Job, layouts: Layout) -> Passes:
    """Return the passes of layouts, all side by side."""
    model = job.model
    assert isinstance(model, Model)
    format_ = find_precision(job.precision)
    where = groups(layouts, job.fabric.domain)
    layer = mean_layer_cost(model, job.device, job.fabric, job.stack, format_, layouts, where, job.sequence)
    first, last = end_cost(model, job.device, job.stack, format_, layouts, job.sequence)
    forward, backward = sum(layer.forward.values(), np.zeros(())), sum(layer.backward.values(), np.zeros(()))
    full, selective = layouts.recompute == 2, layouts.recompute == 1
    again = np.where(full, layouts.recompute_frac * forward, np.where(selective, layer.core, 0.0))
    late = np.maximum(layer.forward_host - forward, 0.0)
    late_back = np.maximum(layer.backward_host + np.where(full, layouts.recompute_frac * layer.forward_host, 0.0) - backward - again, 0.0)
    learns = np.where(np.asarray(model.trainable_frac) < 1.0, 0.0, 0.5)

    def wide(value: Any) -> Array:
        return np.broadcast_to(np.asarray(value, dtype=np.float64), layouts.shape)

    return Passes(
        wide(forward + late),
        wide(backward + again + late_back),
        wide(learns * layer.backward["matmul"]),
        (wide(first["forward"]), wide(first["backward"])),
        (wide(last["forward"]), wide(last["backward"])),
    )


def _layers_of(total: int, pp: int, vpp: int, folded: bool) -> Array:
    """Layers of each place in the order of the model: the stages' own numbers, shared equally by the chunks of a stage."""
    if folded:
        spread = _layers_of(total, 2 * pp, 1, False)
        return spread
    counts = stage_layers(total, pp, vpp)
    stages = np.full(pp, float(counts.middle))
    stages[0], stages[-1] = float(counts.first), float(counts.last)
    extra = int(np.rint(stages.sum() - total))
    for s in range(pp - 2, max(pp - 2 - extra, 0), -1):
        stages[s] -= 1.0
    stages *= total / stages.sum()
    return np.tile(stages / vpp, vpp)


def exact_steps(
    job: Job,
    layouts: Layout,
    cost: StepCost,
    *,
    most_operations: int = MOST_OPERATIONS,
    periods: int = 3,
    only: Sequence[int] | None = None,
    passes: Passes | None = None,
) -> tuple[Array, Array]:
    """Return the step times with the schedule walked exactly, and the idle time that takes the place of the closed form's bubble.

    Durations of every place are its layers' and ends', scaled so that the fullest stage takes what the closed form says; what of the
    hops is exposed keeps both ends busy. Schedules of more than ``most_operations`` are walked for ``periods`` times p micro-batches, and
    for p more, and continued. ``only`` names the layouts to walk, the others keep their closed form; ``passes`` is what :func:`passes_of`
    returned for all of them.
    """
    n = layouts.shape[0]
    exact, idle = np.asarray(cost.step_time_s, dtype=np.float64).copy(), np.asarray(cost.terms["bubble"], dtype=np.float64).copy()
    if isinstance(job.model, Work):
        return exact, idle
    passes = passes or passes_of(job, layouts)
    m = np.broadcast_to(cost.micro_batches, (n,))
    stage = np.broadcast_to(sum((cost.terms[name] for name in _IN_STAGE), np.zeros(())) / m, (n,))
    hop = np.broadcast_to(cost.terms["pipeline_transfer"] / m, (n,))
    total = int(float(np.asarray(job.model.all_layers)))
    alike: dict[tuple[str, int, int, int, tuple[int, int, int]], list[tuple[int, Array, Array, Array]]] = {}
    stages, chunks_each, codes = (layouts.column(name) for name in ("pp", "vpp", "schedule"))
    for i in range(n) if only is None else only:
        p, v, name = int(stages[i]), int(chunks_each[i]), SCHEDULES[int(codes[i])]
        if p <= 1:
            continue
        chunks = 2 if name == "zb-v" else v
        forward, backward, weight = _places(passes, i, _layers_of(total, p, v, name == "zb-v"))
        scale = stage[i] / _fullest(passes, i, _layers_of(total, p, 1, False))
        half = hop[i] / (2.0 * chunks)
        seconds = forward * scale + half, backward * scale + half, weight * scale
        made_for = lengths(*seconds) if name == "zb-v" else (1, 1, 1)
        alike.setdefault((name, p, v, int(m[i]), made_for), []).append((i, *seconds))
    for (name, p, v, count, made_for), members in alike.items():
        index = np.array([member[0] for member in members])
        durations = tuple(np.array([member[k] for member in members]) for k in (1, 2, 3))
        waits = _walked_s(name, p, v, count, made_for, durations, most_operations, periods) - count * (stage[index] + hop[index])
        exact[index] += waits - idle[index]
        idle[index] = waits
    return exact, idle


def _walked_s(
    name: str,
    p: int,
    v: int,
    m: int,
    made_for: tuple[int, int, int],
    seconds: tuple[Array, ...],
    most: int = MOST_OPERATIONS,
    periods: int = 3,
) -> Array:
    """Return the step of a schedule; with more operations than ``most`` two shorter ones are walked and continued.

    A fixed order repeats itself after p micro-batches at the latest and then grows by the same time, the slowest stage's; with stages
    that are nearly but not quite alike the slowest may take over later, which is then left out: up to 1 % of a step in plain schedules,
    a few per cent in the interleaved one and ZB-V.
    """

    def walked(count: int) -> Array:
        g = graph(name, pp=p, micro_batches=count, vpp=v, lengths=made_for)
        return np.asarray(walk(g, forward_s=seconds[0], backward_s=seconds[1], weight_s=seconds[2]).step_s)

    if m < (periods + 2) * p or 3 * m * p * v <= most:
        return walked(m)
    short = m % p + periods * p
    first, second = walked(short), walked(short + p)
    return np.asarray(second + (second - first) * ((m - short - p) / p))


def _places(passes: Passes, i: int, layers: Array) -> tuple[Array, Array, Array]:
    forward, backward = layers * passes.forward[i], layers * passes.backward[i]
    forward[0] += passes.embedding[0][i]
    backward[0] += passes.embedding[1][i]
    forward[-1] += passes.output[0][i]
    backward[-1] += passes.output[1][i]
    return forward, backward, layers * passes.weight[i]


def _fullest(passes: Passes, i: int, stages: Array) -> float:
    forward, backward, _ = _places(passes, i, stages)
    return float((forward + backward).max())


def evaluate(job: Job, layouts: Layout) -> dict[str, Array]:
    """Return step time, memory, energy and money of layouts, and whether they fit."""
    cost = job.cost(layouts)
    n = layouts.shape[0]
    seconds = np.broadcast_to(cost.step_time_s, (n,))
    energy = np.broadcast_to(job.energy_j(seconds, cost.activity), (n,))
    return {
        "step_time_s": np.asarray(seconds, dtype=np.float64),
        "peak_memory_bytes": np.asarray(np.broadcast_to(cost.peak_memory_bytes, (n,)), dtype=np.float64),
        "fits": np.broadcast_to(cost.fits, (n,)),
        "energy_j": np.asarray(energy, dtype=np.float64),
        "cost_usd": np.asarray(job.cost_usd(seconds, energy), dtype=np.float64),
    }


def joined(layouts: Sequence[Layout]) -> Layout:
    """Return layouts of several pieces as one."""
    columns = [piece.columns() for piece in layouts]
    return Layout(**{name: np.concatenate([np.atleast_1d(c[name]) for c in columns]) for name in columns[0]})


def located(error: InputError, path: str) -> InputError:
    """Return the error with bare argument names put under a run's dotted path."""
    known = ("workload.", "cluster.")
    return InputError(
        [p if p.path.startswith(known) else dataclasses.replace(p, path=f"{path}.{p.path}" if p.path else path) for p in error.problems]
    )
