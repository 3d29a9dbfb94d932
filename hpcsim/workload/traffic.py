"""What the steps of a training run send between scale-up domains: who to whom, how much, and how a step slows with it.

The closed form of a step says how long its communication takes at the rates of the fabric. The same formulas at lower rates say how long
a step takes that gets a share only; what is hidden behind the computation costs nothing until it no longer fits there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cluster.ways import Ways
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.software import Software
from hpcsim.cost.training import StepCost

__all__ = ["Meeting", "Pairs", "StepTraffic", "met_oversubscription", "node_pairs", "placed_fabric", "step_traffic", "without_overlap"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

KINDS: dict[str, tuple[str, ...]] = {
    "data": ("data_parallel", "parameter_gather"),
    "pipeline": ("pipeline_transfer",),
    "expert": ("expert_parallel",),
    "context": ("context_parallel",),
    "tensor": ("tensor_parallel",),
}
"""Terms of a step by what the groups share that communicate."""

_NEAR = 1.25
"""A slowdown at which the same algorithms are still chosen: how much longer everything takes there says how long it sends."""


@dataclass(frozen=True)
class Pairs:
    """Flows between the nodes of a run, numbered in its own order.

    Attributes
    ----------
    source, target : array of int, shape (flows,)
    bytes_per_step : array, shape (flows,)
    """

    source: IntArray
    target: IntArray
    bytes_per_step: FloatArray


@dataclass(frozen=True)
class StepTraffic:
    """The load that the steps of a run put on the network.

    Attributes
    ----------
    pairs : Pairs
    step_s : float
        Step time undisturbed [s].
    busy_s : float
        Time of a step in which something is sent, undisturbed, hidden or not [s].
    slowed_s : callable
        Takes by what factor the traffic is slower than undisturbed and returns what that adds to a step [s].
    """

    pairs: Pairs
    step_s: float
    busy_s: float
    slowed_s: Callable[[float], float]

    def stretch(self, slowdown: float) -> float:
        """Return by what factor a step is longer when its traffic is slower by ``slowdown``."""
        return 1.0 + self.slowed_s(slowdown) / self.step_s if slowdown > 1.0 else 1.0

    def duty_frac(self, slowdown: float) -> float:
        """Return the share of the time in which something is sent when the traffic is slower by ``slowdown``."""
        return min(self.busy_s * slowdown / (self.step_s * self.stretch(slowdown)), 1.0)


def _ring(block: IntArray, step: int) -> tuple[IntArray, IntArray]:
    """Return the flows of rings over a block of nodes, each to the one ``step`` further."""
    return block, np.roll(block, -step)


def _all_pairs(block: IntArray, domain: int) -> tuple[IntArray, IntArray]:
    source, target = np.repeat(block, block.size), np.tile(block, block.size)
    apart = source // domain != target // domain
    return source[apart], target[apart]


def node_pairs(kind: str, layout: Mapping[str, Any], *, nodes: int, per_node: int, domain: int) -> tuple[IntArray, IntArray]:
    """Return which nodes send to which for one kind of communication of a layout, between scale-up domains only.

    Ranks fill the nodes in the order tensor, context, data, pipeline (Megatron's). Rings go from each domain to the next that has a
    member, for all tensor ranks at once; experts exchange all to all; a pipeline stage sends to the next and back.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    layout : dict
        ``dp tp pp vpp cp ep etp``.
    nodes, per_node, domain : int
        Nodes of the run, devices of a node, and nodes of one scale-up domain.

    Returns
    -------
    (array of int, array of int)
        Nodes of the run, from 0.
    """
    tp, cp, dp, pp = (int(layout[key]) for key in ("tp", "cp", "dp", "pp"))
    none = np.empty(0, np.int64), np.empty(0, np.int64)
    every = np.arange(nodes)
    stage = max(dp * cp * tp // per_node, 1)
    spans = {"data": dp * cp * tp, "context": cp * tp, "tensor": tp, "expert": int(layout["ep"]) * max(int(layout["etp"]), 1)}
    if kind == "pipeline":
        if pp <= 1 or nodes <= 1:
            return none
        source = every if layout.get("vpp", 1) > 1 else every[: nodes - stage]
        source, target = source, (source + stage) % nodes
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    else:
        block = min(max(spans[kind] // per_node, 1), nodes)
        if block <= domain or (kind == "context" and cp <= 1):
            return none
        step = max(tp // per_node, domain) if kind in ("data", "context") else domain
        if step >= block:
            return none
        parts = [every[i : i + block] for i in range(0, nodes - block + 1, block)]
        found = [_all_pairs(part, domain) if kind == "expert" else _ring(part, step) for part in parts]
        source, target = (np.concatenate([f[k] for f in found]) for k in (0, 1))
    apart = source // domain != target // domain
    return source[apart], target[apart]


class Meeting:
    """What the traffic of layouts meets on a cluster's links.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._ways = Ways(cluster)
        fabric = cluster.fabric
        faulty = fabric is not None and bool(fabric.faults)
        self._sound = Ways(dataclasses.replace(cluster, fabric=dataclasses.replace(fabric, faults=()))) if faulty and fabric else self._ways

    def of(self, layout: Mapping[str, Any], *, group: str, nodes: int, per_node: int, domain: int) -> float | None:
        """Return by what factor the links of the fabric slow the flows of a layout that has a group's first nodes to itself; at least 1.

        The worst of its kinds of communication, each by itself: the max-min rate of its slowest pair with nothing but the nodes' ports,
        without faults, in the way, over that with all links as they are. A ring crosses between two leaf switches with one node's traffic
        only, whatever their oversubscription. None where nodes pass on what is meant for others, so that ports and fabric are one.
        """
        links = self._ways.links
        if links is None or links.forwards:
            return None
        worst, first = 1.0, self._ways.offsets[group]
        for kind in KINDS:
            source, target = node_pairs(kind, layout, nodes=nodes, per_node=per_node, domain=domain)
            if source.size:
                seconds, ones = [], np.ones(source.size)
                for over, capacity in ((self._sound, self._sound.port_capacities()), (self._ways, self._ways.capacity_bytes_per_s)):
                    seconds.append(over.slowest_s(over.between(source + first, target + first), ones, capacity))
                worst = max(worst, float((seconds[1] / seconds[0]).max()))
        return worst


def met_oversubscription(
    cluster: Cluster, layout: Mapping[str, Any], *, group: str, nodes: int, per_node: int, domain: int
) -> float | None:
    """Return what :meth:`Meeting.of` says of one layout; None without a fabric too."""
    if cluster.fabric is None:
        return None
    return Meeting(cluster).of(layout, group=group, nodes=nodes, per_node=per_node, domain=domain)


def placed_fabric(
    fabric: Fabric, layout: Mapping[str, Any], cluster: Cluster, group: NodeGroup, *, nodes: int, name: str
) -> tuple[Fabric, tuple[str, ...]]:
    """Return a run's fabric with the oversubscription that its traffic meets on the first nodes in their order, and a note where that is another.

    The fabric as it comes is charged in full, as if all nodes of every leaf sent up at once. Where nodes pass on what is meant for others it
    stays so. Where a hash picks ways (``Fabric.collides``), a run meets itself too, whatever the oversubscription.
    """
    charged = float(np.asarray(fabric.oversubscription))
    if cluster.fabric is None or nodes < 2 or (charged <= 1.0 and not cluster.fabric.collides):
        return fabric, ()
    domain = max(group.domain // group.per_node, 1)
    met = met_oversubscription(cluster, layout, group=group.name, nodes=nodes, per_node=group.per_node, domain=domain)
    if met is None or (met >= charged and not cluster.fabric.collides) or met == charged:
        return fabric, ()
    if cluster.fabric.collides:
        said = (
            f"Training {name}: the hash puts flows of its own on one cable; its traffic, on nodes in their order, goes {met:.3g} times slower "
            "than its ports. cluster.fabric.hash_seed draws anew."
        )
        return dataclasses.replace(fabric, oversubscription=met), (said,)
    said = f"Training {name}: the fabric is oversubscribed {charged:.3g}:1; its traffic, on nodes in their order, meets {met:.3g}:1."
    return dataclasses.replace(fabric, oversubscription=met), (said,)


def without_overlap(stack: Software) -> Software:
    """Return the software as if it hid no communication behind computation."""
    return dataclasses.replace(
        stack, tp_overlap_frac=0.0, cp_overlap_frac=0.0, ep_overlap_frac=0.0, pp_overlap_frac=0.0, dp_overlap_frac=0.0
    )


def step_traffic(
    cost_at: Callable[[Fabric], StepCost],
    bare_at: Callable[[Fabric], StepCost],
    fabric: Fabric,
    layout: Mapping[str, Any],
    *,
    nodes: int,
    per_node: int,
    step_s: float,
) -> StepTraffic | None:
    """Return the traffic of a run's steps between scale-up domains, or None without any.

    Parameters
    ----------
    cost_at, bare_at : callable
        Cost of a step on a fabric, as it is, and with nothing hidden behind computation.
    fabric : Fabric
        The run's fabric, undisturbed.
    layout : dict
        ``dp tp pp vpp cp ep etp``.
    nodes, per_node : int
    step_s : float
        Step time [s].

    Notes
    -----
    With nothing hidden and the scale-out rate lower by a factor s the step's time grows by busy_s for each unit of s: that slope is the time
    in which the step sends, and with the rate it gives the bytes. Each kind of communication has its own.
    """
    base = float(np.asarray(fabric.scale_out.bytes_per_s))

    def terms(slowdown: float, cost: Callable[[Fabric], StepCost] = cost_at) -> dict[str, float]:
        slow = dataclasses.replace(fabric, scale_out=dataclasses.replace(fabric.scale_out, bytes_per_s=base / slowdown))
        return {name: float(seconds) for name, seconds in cost(slow).terms.items()}

    once, near = terms(1.0, bare_at), terms(_NEAR, bare_at)
    slope = {name: (near[name] - once[name]) / (_NEAR - 1.0) for name in once}
    domain = max(int(np.asarray(fabric.domain)) // per_node, 1)
    out_rate = float(fabric.scale_out.rate) / float(np.asarray(fabric.oversubscription))
    rows: list[tuple[IntArray, IntArray, FloatArray]] = []
    busy = 0.0
    for kind, names in KINDS.items():
        seconds = sum(slope[name] for name in names)
        if not seconds > 1e-12 * step_s:
            continue
        source, target = node_pairs(kind, layout, nodes=nodes, per_node=per_node, domain=domain)
        if not source.size:
            continue
        busy += seconds
        sends = np.bincount(source, minlength=nodes)[source]
        rows.append((source, target, seconds * out_rate * per_node / sends))
    if not rows:
        return None
    flat = sum(terms(1.0).values())

    def slowed_s(slowdown: float) -> float:
        return max(sum(terms(slowdown).values()) - flat, 0.0)

    source, target, size = (np.concatenate([row[k] for row in rows]) for k in range(3))
    key, where = np.unique(source * nodes + target, return_inverse=True)
    sums = np.zeros(key.size)
    np.add.at(sums, where, size)
    pairs = Pairs(key // nodes, key % nodes, sums)
    return StepTraffic(pairs, step_s, busy, slowed_s)
