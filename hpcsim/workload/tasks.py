"""The decomposed task: split, partition, dispatch, run, merge – planned, and timed in closed form.

A :class:`TaskPlan` holds what each node gets and at which rates the stages go; :func:`closed_form` times it with nothing else on the
machine, and the engine (:mod:`hpcsim.engine.tasks`) runs the same plan event by event. The stages:

1. *split*: one node cuts the data D at its split rate;
2. *partition*: shares of data and, in proportion, of work; takes no time;
3. *dispatch*: every node reads its share from storage, all at once; the tier's bandwidth is shared max-min, each node limited by its
   ports. Without a tier the data lie on the nodes already;
4. *run*: each node works through its parts in order, a part as soon as it has arrived;
5. *merge*: when all are done, results flow to one node over its ports, which then merges them: a node of the group where that takes
   least, whatever the order in which groups are written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import readable
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.laws import LawResult, distributed, share_by_throughput, share_literal, transfer
from hpcsim.scenario.workload import TaskSpec

__all__ = [
    "PARTS_LIMIT",
    "Exchange",
    "FluidTransfer",
    "TaskPlan",
    "TaskTimes",
    "closed_form",
    "fluid_transfer",
    "max_min_rates",
    "plan_task",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NO_FABRIC = problem_kind(
    "fabric-missing", "{what} needs a fabric between the nodes, and the cluster has none", "add cluster.fabric, for example {{link: hdr}}"
)
REPEATED_GROUP = problem_kind("repeated-node-group", "the node group {name!r} is named twice", "name each group once")
TOO_MANY_PARTS = problem_kind(
    "too-many-parts", "{parts} sub-tasks are more than the {limit} that are followed one by one", "lower parts_per_node"
)

PARTS_LIMIT = 2_000_000
"""Sub-tasks of one task; each is a row of the results."""


def max_min_rates(caps: FloatArray, counts: FloatArray, capacity: float) -> FloatArray:
    """Return max-min fair rates of flows through one shared resource, each flow with a limit of its own.

    Everybody gets the same, except that who is limited to less leaves the rest to the others.

    Parameters
    ----------
    caps : array, shape (classes,)
        Limit of each flow of a class [B/s]; may be infinite where ``capacity`` is not.
    counts : array, shape (classes,)
        Flows in each class.
    capacity : float
        What all share [B/s]; may be infinite.

    Returns
    -------
    array, shape (classes,)
        Rate of each flow of a class [B/s].

    References
    ----------
    D. Bertsekas, R. Gallager, Data Networks, 2nd ed., section 6.5.2.

    Examples
    --------
    >>> max_min_rates(np.array([1.0, 8.0]), np.array([2.0, 2.0]), 10.0).tolist()
    [1.0, 4.0]
    """
    if math.isinf(capacity):
        return np.array(caps, dtype=np.float64)
    order = np.argsort(caps, kind="stable")
    sorted_caps, sorted_counts = caps[order], counts[order]
    left_flows = sorted_counts.sum() - np.concatenate([[0.0], np.cumsum(sorted_counts)[:-1]])
    finite = np.where(np.isinf(sorted_caps), 0.0, sorted_caps)
    left_capacity = capacity - np.concatenate([[0.0], np.cumsum(finite * sorted_counts)[:-1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(left_flows > 0, left_capacity / left_flows, np.inf)
    limited = sorted_caps <= level
    first = int(np.argmin(limited)) if not limited.all() else len(order)
    rates = np.empty(len(order))
    rates[order] = np.where(np.arange(len(order)) < first, sorted_caps, level[min(first, len(order) - 1)])
    return rates


@dataclass(frozen=True)
class FluidTransfer:
    """Progress of flows that start together at time 0, by classes of equal flows.

    Attributes
    ----------
    times_s : array, shape (steps + 1,)
        Times between which the rates are constant.
    sent_bytes : array, shape (steps + 1, classes)
        What each flow of a class has received by then.
    finish_s : array, shape (classes,)
        When it has received everything; 0 for an empty flow.
    """

    times_s: FloatArray
    sent_bytes: FloatArray
    finish_s: FloatArray

    def arrival_s(self, klass: int, parts: int) -> FloatArray:
        """Return when each of ``parts`` equal parts of a flow has arrived, in order, shape (parts,)."""
        last = int(np.argmax(self.sent_bytes[:, klass] >= self.sent_bytes[-1, klass]))
        marks = self.sent_bytes[-1, klass] * np.arange(1, parts + 1) / parts
        arrivals = np.interp(marks, self.sent_bytes[: last + 1, klass], self.times_s[: last + 1])
        arrivals[-1] = self.finish_s[klass]
        return np.asarray(arrivals)


def fluid_transfer(
    amounts_bytes: FloatArray, caps_bytes_per_s: FloatArray, counts: FloatArray, capacity_bytes_per_s: float
) -> FluidTransfer:
    """Return how flows that start together share one resource max-min until all are done; exact, one step for each finish.

    Equal amounts d and limits p finish together at d/min(p, B/n). Assumes a fluid: no packets, no start-up, instant redistribution.

    Parameters
    ----------
    amounts_bytes, caps_bytes_per_s, counts : array, shape (classes,)
        Bytes of each flow of a class, its limit, and flows in the class.
    capacity_bytes_per_s : float
        What all share; may be infinite.
    """
    left = np.array(amounts_bytes, dtype=np.float64)
    now = 0.0
    times, sent, finish = [0.0], [np.zeros_like(left)], np.zeros_like(left)
    active = left > 0
    while active.any():
        rates = np.zeros_like(left)
        rates[active] = max_min_rates(caps_bytes_per_s[active], counts[active], capacity_bytes_per_s)
        with np.errstate(invalid="ignore", divide="ignore"):
            need = np.where(active, left / rates, np.inf)
            need = np.where(np.isinf(rates), 0.0, need)
        step = float(need.min())
        done = active & (need <= step * (1 + 1e-13))
        now += step
        with np.errstate(invalid="ignore"):
            left = np.where(done, 0.0, np.where(active & np.isfinite(rates), left - rates * step, left))
        finish[done] = now
        active &= ~done
        times.append(now)
        sent.append(amounts_bytes - left)
    return FluidTransfer(np.array(times), np.array(sent), finish)


@dataclass(frozen=True, eq=False)
class Exchange:
    """What the nodes of a plan send each other while they compute.

    Attributes
    ----------
    source, target : array of int, shape (flows,)
        Nodes of the plan, in its order; -1 is the storage tier.
    size_bytes : array, shape (flows,)
        Over the whole run.
    weight : array, shape (flows,)
        Part of the sending time in which each is under way.
    tier : str
        The storage tier, where one is read or written.
    total_s : callable
        Takes by what factor it is sent slower than alone, and returns how long computing and sending take [s].
    busy_s : float
        Time in which something is sent, alone, hidden or not [s].
    """

    source: IntArray
    target: IntArray
    size_bytes: FloatArray
    weight: FloatArray
    tier: str
    total_s: Callable[[float], float]
    busy_s: float

    def stretch(self, slowdown: float) -> float:
        """Return by what factor it all takes longer."""
        return self.total_s(slowdown) / self.total_s(1.0) if slowdown > 1.0 else 1.0

    def duty_frac(self, slowdown: float) -> float:
        """Return the share of the time in which something is sent."""
        return min(self.busy_s * slowdown / self.total_s(slowdown), 1.0)


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A decomposed task or matrix product, ready to be timed or run.

    Attributes
    ----------
    name, kind : str
        ``kind`` is ``task``, ``matrix-product`` or ``pattern``.
    groups : tuple of (str, int)
        Node groups and how many of their nodes take part, in order; the first node of the first group splits and merges.
    speed_flop_per_s, share_bytes, work_flop, port_bytes_per_s : array, shape (nodes,)
        Speed, data, work and port bandwidth of each node.
    parts_per_node : int
        Equal sub-tasks of a node's share.
    submit_s, split_s, merge_s : float
        Submission; time to cut the data; time to bring the results together, flow and merging.
    merge_flow_s : float
        The part of ``merge_s`` in which results flow.
    source : str
        Storage tier that is read; empty where the dispatch is not limited by storage.
    source_bytes_per_s : float
        Its bandwidth [B/s].
    dispatch_latency_s : float
        Before a node's first byte [s].
    dispatch_s : float
        Fixed time of the dispatch, for plans that know it: all nodes have their parts after it.
    result_bytes, unassigned_bytes : float
        Merged result; data that the partition assigns to nobody.
    partition : str
        How shares were chosen.
    laws : tuple of LawResult
        The documents' laws that bear on it, in every reading.
    notes : tuple of str
        What the reader should know.
    exchange : Exchange or None
        What the nodes send while they run, where they do; ``merge_s`` is what they wait for it.
    """

    name: str
    kind: str
    groups: tuple[tuple[str, int], ...]
    speed_flop_per_s: FloatArray
    share_bytes: FloatArray
    work_flop: FloatArray
    port_bytes_per_s: FloatArray
    parts_per_node: int = 1
    submit_s: float = 0.0
    split_s: float = 0.0
    merge_s: float = 0.0
    merge_flow_s: float = 0.0
    source: str = ""
    source_bytes_per_s: float = math.inf
    dispatch_latency_s: float = 0.0
    dispatch_s: float = 0.0
    data_bytes: float = 0.0
    result_bytes: float = 0.0
    unassigned_bytes: float = 0.0
    partition: str = "throughput"
    laws: tuple[LawResult, ...] = ()
    notes: tuple[str, ...] = ()
    exchange: Exchange | None = None

    @property
    def nodes(self) -> int:
        """Nodes that take part."""
        return len(self.share_bytes)

    def node_names(self) -> list[str]:
        """Return the name of every node, such as ``worker/0``."""
        return [f"{group}/{i}" for group, count in self.groups for i in range(count)]

    def run_s(self) -> FloatArray:
        """Return the time that each node computes, shape (nodes,) [s]."""
        return np.where(self.work_flop > 0, self.work_flop / np.where(self.work_flop > 0, self.speed_flop_per_s, 1.0), 0.0)


@dataclass(frozen=True)
class TaskTimes:
    """Times of a plan with nothing else on the machine, from its start.

    Attributes
    ----------
    split_s, dispatch_s, run_s, merge_s : float
        Where the time goes on the way to the end: the waiting for data and the computing are those of the node that is last. They sum
        to ``makespan_s``.
    makespan_s : float
        Wall clock from start to merged result.
    node_time_s : float
        Sum over the nodes of the time that each computes.
    finish_s : array, shape (nodes,)
        When each node has run its last part.
    """

    split_s: float
    dispatch_s: float
    run_s: float
    merge_s: float
    makespan_s: float
    node_time_s: float
    finish_s: FloatArray


def closed_form(plan: TaskPlan) -> TaskTimes:
    """Time a plan by max and min rules alone.

    A node's part k ends at F_k = max(A_k, F_{k−1}) + w/v, with A_k its arrival; the task ends with the last node's last part, and the
    merge after it. Holds while nothing else uses the nodes, the ports or the storage tier.
    """
    rows = np.stack([plan.share_bytes, plan.port_bytes_per_s, plan.run_s()], axis=1)
    classes, where, counts = _classes(rows)
    parts = plan.parts_per_node
    ready_s = plan.split_s + plan.dispatch_s
    flow = fluid_transfer(classes[:, 0], classes[:, 1], counts.astype(np.float64), plan.source_bytes_per_s) if plan.source else None
    finish = np.empty(len(classes))
    for k, (share, _, run_s) in enumerate(classes):
        arrivals = np.full(parts, ready_s)
        if flow is not None and share > 0:
            arrivals = ready_s + (plan.dispatch_latency_s + flow.arrival_s(k, parts))
        finish[k] = _queue_s(arrivals, run_s / parts)
    last = int(np.argmax(finish))
    run_s = float(classes[last, 2])
    makespan_s = float(finish[last]) + plan.merge_s
    return TaskTimes(
        split_s=plan.split_s,
        dispatch_s=max(float(finish[last]) - plan.split_s - run_s, 0.0),
        run_s=run_s,
        merge_s=plan.merge_s,
        makespan_s=makespan_s,
        node_time_s=float(plan.run_s().sum()),
        finish_s=finish[where],
    )


def _classes(rows: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the distinct rows, in order, which of them each row is, and how often each stands there.

    Equal nodes stand side by side, so that runs of equal rows are sorted in place of the rows.
    """
    heads = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)]))
    lengths = np.diff(np.append(heads, len(rows)))
    classes, kind = np.unique(rows[heads], axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    counts = np.zeros(len(classes), dtype=np.int64)
    np.add.at(counts, kind, lengths)
    return classes, np.repeat(kind, lengths), counts


def _queue_s(arrivals_s: FloatArray, service_s: float) -> float:
    """Return when the last of the parts ends that arrive in order and run one after another: max over k of A_k + (m−k)·s."""
    after = np.arange(len(arrivals_s), 0, -1)
    return float((arrivals_s + after * service_s).max())


def _groups(name: str, spec: TaskSpec, cluster: Cluster) -> list[NodeGroup]:
    path = f"workload.tasks.{name}.nodes"
    names = spec.nodes if spec.nodes is not None else tuple(cluster.groups)
    for i, group in enumerate(names):
        if group in names[:i]:
            raise REPEATED_GROUP.error(path=path, name=group)
    return [cluster.group(group, path) for group in sorted(names)]  # the order in a file is no part of the task


def _shares(spec: TaskSpec, speeds: FloatArray) -> tuple[FloatArray, float]:
    """Return the share of each node [B] and what is left over."""
    n = len(speeds)
    if spec.partition == "equal":
        return np.full(n, spec.data / n), 0.0
    if spec.partition == "throughput":
        return np.asarray(share_by_throughput(speeds, spec.data)).reshape(-1), 0.0
    literal = share_literal((spec.work or 1.0) / n / speeds, np.full(n, spec.data / n))
    return np.asarray(literal.shares).reshape(-1), float(literal.unassigned)


def _merging(spec: TaskSpec, groups: list[NodeGroup], shares: FloatArray, cluster: Cluster) -> tuple[list[int], float, float]:
    """Return the order of the groups, that of the merging node first; the time to bring the results there and merge them; that of the flow [s].

    Results flow to a node of the group where that takes least; of equals, the first by name. ``shares`` are by group: of one of its nodes.
    """
    places = list(range(len(groups)))
    merged_s = spec.result / spec.merge_rate if spec.merge_rate else 0.0
    counts = np.array([group.count for group in groups], dtype=np.float64)
    if spec.result <= 0 or cluster.fabric is None or counts.sum() <= 1:
        return places, merged_s if spec.result > 0 else 0.0, 0.0
    results = spec.result * shares / float(np.dot(shares, counts))
    ports = np.array([group.injection_bytes_per_s for group in groups])
    times = []
    for at in places:
        senders = counts - (np.arange(len(groups)) == at)
        sends = senders > 0
        flow = fluid_transfer(results[sends], ports[sends], senders[sends], float(ports[at]))
        times.append(cluster.fabric.latency_s + float(flow.finish_s.max()))
    least = int(np.argmin(times))
    return [least, *(at for at in places if at != least)], times[least] + merged_s, times[least]


def _laws(spec: TaskSpec, shares: FloatArray, speeds: FloatArray, ports: FloatArray, source_bytes_per_s: float) -> tuple[LawResult, ...]:
    """Return the laws that the stages follow when all nodes are equal; of the run alone where they are not (with their mean speed)."""
    n = len(shares)
    laws = [distributed(float(speeds.mean()), n, c=spec.work)]
    rate = min(float(ports.min()), source_bytes_per_s / n)
    alike = float(shares.max() - shares.min()) <= 1e-12 * float(shares.max()) and bool((ports == ports[0]).all())
    if math.isfinite(rate) and alike:
        laws.append(transfer(float(shares[0]), rate, n=n, part="storage"))
    return tuple(laws)


def _notes(spec: TaskSpec, groups: list[NodeGroup], unassigned_bytes: float) -> tuple[str, ...]:
    notes = []
    if unassigned_bytes > 0:
        lost, data = readable(unassigned_bytes, "data size"), readable(spec.data, "data size")
        notes.append(f"The printed share C_i = T_i/ΣT_j · D_i assigns {lost} of {data} to nobody; their work is not done.")
    if spec.from_storage is None:
        notes.append("No storage is named, so the data lie on the nodes already and their dispatch takes no time.")
    for group in groups:
        if group.given_speed_flop_per_s is None:
            source = group.accelerator.id if group.accelerator else group.cpu.id if group.cpu else ""
            notes.append(f"The speed of a node of {group.name} is the sustained fp32 rate of its {source}.")
    return tuple(notes)


def plan_task(name: str, spec: TaskSpec, cluster: Cluster) -> TaskPlan:
    """Plan a decomposed task on a cluster.

    Work goes with the data: a node with a share of the data does that share of the work. Node speeds are the groups' ``speed``, or
    the sustained fp32 rate of their devices. The dispatch sees the tier's read bandwidth, its ports and the nodes' ports; what switches
    between them share is left out.

    Parameters
    ----------
    name : str
        Name of the task in the scenario.
    spec : TaskSpec
        The task.
    cluster : Cluster
        Where it runs.

    Raises
    ------
    InputError
        Unknown or repeated group, unknown tier, no speed known, no fabric where data have to move, too many parts.
    """
    path = f"workload.tasks.{name}"
    groups = _groups(name, spec, cluster)
    speeds = np.repeat([g.speed_flop_per_s() for g in groups], [g.count for g in groups])
    ports = np.repeat([g.injection_bytes_per_s for g in groups], [g.count for g in groups])
    if len(speeds) * spec.parts_per_node > PARTS_LIMIT:
        raise TOO_MANY_PARTS.error(path=f"{path}.parts_per_node", parts=len(speeds) * spec.parts_per_node, limit=PARTS_LIMIT)
    tier = cluster.tier(spec.from_storage, f"{path}.from_storage") if spec.from_storage else None
    if cluster.fabric is None and len(speeds) > 1 and (tier or spec.result > 0):
        raise NO_FABRIC.error(path=f"{path}.{'from_storage' if tier else 'result'}", what="a task whose data move between nodes")
    source_bytes_per_s, latency_s = math.inf, 0.0
    if tier:
        wire = cluster.fabric.bytes_per_s * tier.ports if cluster.fabric else math.inf
        source_bytes_per_s = min(tier.read_bytes_per_s, wire)
        latency_s = tier.latency_s + (cluster.fabric.latency_s if cluster.fabric else 0.0)
    shares, unassigned = _shares(spec, speeds)
    counts = np.array([group.count for group in groups])
    firsts = np.cumsum(counts) - counts
    order, merge_s, merge_flow_s = _merging(spec, groups, shares[firsts], cluster)
    speeds, ports, shares = (np.repeat(each[firsts[order]], counts[order]) for each in (speeds, ports, shares))
    groups = [groups[at] for at in order]
    return TaskPlan(
        name=name,
        kind="task",
        groups=tuple((g.name, g.count) for g in groups),
        speed_flop_per_s=speeds,
        share_bytes=shares,
        work_flop=spec.work * shares / spec.data,
        port_bytes_per_s=ports,
        parts_per_node=spec.parts_per_node,
        submit_s=spec.submit,
        split_s=spec.data / spec.split_rate if spec.split_rate else 0.0,
        merge_s=merge_s,
        merge_flow_s=merge_flow_s,
        source=tier.name if tier else "",
        source_bytes_per_s=source_bytes_per_s,
        dispatch_latency_s=latency_s,
        data_bytes=spec.data,
        result_bytes=spec.result,
        unassigned_bytes=unassigned,
        partition=spec.partition,
        laws=_laws(spec, shares, speeds, ports, source_bytes_per_s),
        notes=_notes(spec, groups, unassigned),
    )
