"""The cluster's network as jobs share it: who holds which nodes, what loads they have, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.units import readable
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.ways import Way, Ways
from hpcsim.cost.maxmin import Routes
from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Contention, Load, Member
from hpcsim.engine.pipelines import ALL
from hpcsim.run.flow_record import FlowRecord
from hpcsim.workload.pipeline_times import Laid
from hpcsim.workload.tasks import Exchange, TaskPlan
from hpcsim.workload.training import TrainingPlan

__all__ = ["Network", "NetworkRecord"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BATCH = "run"
"""The activity of a batch job."""
_SLIGHT = 1e-9
"""Share of an activity's time below which a delay is rounding."""


class NetworkRecord:
    """What went over the links, and who was slowed by whom.

    Attributes
    ----------
    links, contention : dict
        Columns of the results' tables of these names.
    lost_s : float
        Seconds by which activities took longer than undisturbed, over all jobs.
    notes : list of str
    flows, link_use : dict
        Columns of the tables of these names; empty where flows are not written down.
    """

    def __init__(self, network: Network, begin_s: float, end_s: float) -> None:
        record = network.flow_record
        self.flows: dict[str, Any] = record.flows() if record is not None else {}
        self.link_use: dict[str, Any] = record.over_time() if record is not None else {}
        shared = network.contention
        ways = network.ways
        capacity = ways.capacity_bytes_per_s
        used = np.flatnonzero(shared.carried_bytes > 0)
        span_s = max(end_s - begin_s, 0.0)
        mean = shared.carried_bytes[used] / (capacity[used] * span_s) if span_s else np.zeros(used.size)
        self.links: dict[str, Any] = {
            "link": [ways.name(i) for i in used.tolist()],
            "kind": [ways.kind(i) for i in used.tolist()],
            "capacity_bytes_per_s": capacity[used],
            "carried_bytes": shared.carried_bytes[used],
            "mean_utilisation_frac": np.minimum(mean, 1.0),
            "peak_utilisation_frac": np.minimum(shared.peak_bytes_per_s[used] / capacity[used], 1.0),
        }
        keys = ("name", "activity", "undisturbed_s", "took_s", "slowed_by", "link", "lost_s", "coincident_s")
        self.contention: dict[str, list[Any]] = {key: [] for key in keys}
        self.lost_s = 0.0
        self.notes: list[str] = list(record.notes) if record is not None else []
        slowed: list[tuple[float, float, str]] = []
        for (job, activity), delay in sorted(shared.delays.items()):
            lost_s = delay.took_s - delay.work_s
            rows = [(other, ways.name(link), seconds) for (link, other), seconds in delay.by.items() if seconds > _SLIGHT * delay.took_s]
            if not rows or lost_s <= _SLIGHT * delay.took_s:
                continue
            self.lost_s += lost_s
            rows.sort(key=lambda row: (-row[2], row[0], row[1]))
            for other, link, seconds in rows:
                for key, value in zip(keys, (job, activity, delay.work_s, delay.took_s, other, link, seconds, delay.most_s), strict=True):
                    self.contention[key].append(value)
            if activity == BATCH:
                slowed.append((delay.work_s, lost_s, rows[0][1]))
            else:
                self.notes.append(self._note(job, activity, delay.work_s, lost_s, rows[0]))
        if slowed:
            self.notes.append(self._of_batch(slowed))

    @staticmethod
    def _of_batch(slowed: list[tuple[float, float, str]]) -> str:
        """Return one sentence for all batch jobs: how many were slowed, by how much, and where most of it was lost."""
        work_s, lost_s = sum(row[0] for row in slowed), sum(row[1] for row in slowed)
        worst = max(row[1] / row[0] for row in slowed)
        by_link: dict[str, float] = {}
        for _, lost, name in slowed:
            by_link[name] = by_link.get(name, 0.0) + lost
        link = max(sorted(by_link), key=by_link.__getitem__)
        more = f"{readable(lost_s, 'time', 3)} ({100 * lost_s / work_s:.3g} %, {100 * worst:.3g} % at most)"
        return f"Contention: {len(slowed):,} batch jobs took {more} longer than alone on their nodes, most of it on {link}."

    @staticmethod
    def _note(job: str, activity: str, work_s: float, lost_s: float, most: tuple[str, str, float]) -> str:
        other, link, _ = most
        what = {"steps": "the steps", "checkpoint": "the checkpoints", "recovery": "the reading of checkpoints"}.get(
            activity, f"the {activity}"
        )
        more = f"{readable(lost_s, 'time', 3)} ({100 * lost_s / work_s:.3g} %)"
        return f"Contention: {what} of {job} took {more} longer than alone, most of it because {other} used {link}."


class Network:
    """The network of one simulation.

    Where a placement chooses nodes, these are taken; else the lowest free ones, in the order of their numbers. They are kept to the end; a
    spare that replaces a failed node takes its place.

    Parameters
    ----------
    clock : Clock
    cluster : Cluster
    flows : bool
        Write down what is sent, by pair and time.
    """

    def __init__(self, clock: Clock, cluster: Cluster, *, flows: bool = False) -> None:
        self.ways = Ways(cluster)
        self.contention = Contention(clock, self.ways.capacity_bytes_per_s)
        self.flow_record = FlowRecord(self.contention, self.ways) if flows else None
        if self.flow_record is not None:
            self.contention.watch = self.flow_record.note
        self._free = {name: list(range(group.count)) for name, group in cluster.groups.items()}

    def take(self, group: str, count: int, where: Sequence[int] | None = None) -> IntArray:
        """Take nodes of a group, those that a placement chose or the lowest free ones, and return their numbers in the cluster."""
        if where is None:
            free = self._free[group]
            where, self._free[group] = free[:count], free[count:]
        return np.array(where, dtype=np.int64) + self.ways.offsets[group]

    def give_back(self, group: str, nodes: IntArray) -> None:
        """Let others have nodes."""
        self._free[group] = sorted({*self._free[group], *(nodes - self.ways.offsets[group]).tolist()})

    def training(self, plan: TrainingPlan, nodes: IntArray) -> Member:
        """Return a training run as a member of the network."""
        loads = {"steps": self._steps(plan, nodes)}
        for activity, seconds in (("checkpoint", plan.checkpoint_write_s + plan.checkpoint_lag_s), ("recovery", plan.checkpoint_read_s)):
            way = self.ways.between(nodes[:0], nodes[:0])
            if plan.checkpoint_tier:
                way = (self.ways.to_storage if activity == "checkpoint" else self.ways.from_storage)(plan.checkpoint_tier, nodes)
            rate = plan.checkpoint_bytes / nodes.size / seconds if seconds > 0 else 0.0
            loads[activity] = _load(plan.name, activity, way, np.full(nodes.size, rate))
        return Member(self.contention, plan.name, loads)

    def _steps(self, plan: TrainingPlan, nodes: IntArray) -> Load:
        traffic = plan.traffic_of()
        if traffic is None:
            return _load(plan.name, "steps", self.ways.between(nodes[:0], nodes[:0]), np.empty(0))
        pairs = traffic.pairs
        way = self.ways.between(nodes[pairs.source], nodes[pairs.target])
        each = pairs.bytes_per_step / traffic.step_s
        return _load(plan.name, "steps", way, each, stretch=lru_cache(traffic.stretch), duty_frac=lru_cache(traffic.duty_frac))

    def _exchange(self, name: str, exchange: Exchange, nodes: IntArray) -> Load:
        """Return what a plan's nodes send while they compute."""
        source, target = exchange.source, exchange.target
        read, write = np.flatnonzero(source < 0), np.flatnonzero(target < 0)
        between = np.flatnonzero((source >= 0) & (target >= 0))
        ways = [self.ways.between(nodes[source[between]], nodes[target[between]])]
        if exchange.tier:
            ways.append(self.ways.from_storage(exchange.tier, nodes[target[read]]))
            ways.append(self.ways.to_storage(exchange.tier, nodes[source[write]]))
        way, order = _together(ways), np.concatenate([between, read, write])
        rate = exchange.size_bytes[order] / exchange.total_s(1.0)
        weight = exchange.weight[order][way.pair] * way.share
        return Load(
            name, "exchange", way.routes, rate[way.pair] * way.share, weight, lru_cache(exchange.stretch), lru_cache(exchange.duty_frac), way.pair
        )  # fmt: skip

    def pipeline(self, job: str, laid: Laid) -> Member:
        """Return a pipeline as a member of the network: all of its stages as one stream, or one load for each."""
        stages = laid.plan.stages
        if laid.plan.streaming:
            way, sub = _together(list(laid.ways)), np.concatenate(laid.sub_bytes)
            loads = {ALL: _stream(job, way, sub, laid.total_s)}
        else:
            loads = {
                stage.name: _stream(job, laid.ways[k], laid.sub_bytes[k], float(laid.alone_s[k]))
                for k, stage in enumerate(stages)
                if laid.alone_s[k] > 0
            }
        return Member(self.contention, job, loads)

    def task(self, plan: TaskPlan, nodes: IntArray) -> Member:
        """Return a task as a member of the network: what it fetches, from storage or its first node, and the results on their way there."""
        head, others = np.repeat(nodes[:1], nodes.size - 1), nodes[1:]
        if plan.source:
            loads = {"dispatch": _load(plan.name, "dispatch", self.ways.from_storage(plan.source, nodes), np.zeros(nodes.size))}
        else:
            rate = plan.share_bytes[1:] / plan.dispatch_s if plan.dispatch_s > 0 else np.zeros(others.size)
            loads = {"dispatch": _load(plan.name, "dispatch", self.ways.between(head, others), rate)}
        parts = plan.share_bytes[1:] / plan.share_bytes.sum() if plan.share_bytes.any() else np.zeros(others.size)
        rate = plan.result_bytes * parts / plan.merge_flow_s if plan.merge_flow_s > 0 else np.zeros(others.size)
        loads["merge"] = _load(plan.name, "merge", self.ways.between(others, head), rate)
        if plan.exchange is not None:
            loads["exchange"] = self._exchange(plan.name, plan.exchange, nodes)
        return Member(self.contention, plan.name, loads)


def _together(ways: list[Way]) -> Way:
    """Return several ways as one, pairs counted on."""
    lengths = np.concatenate([np.diff(way.routes.first) for way in ways])
    routes = Routes(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.concatenate([way.routes.links for way in ways]))
    pairs = np.cumsum([0, *(int(way.pair.max(initial=-1)) + 1 for way in ways)])
    pair = np.concatenate([way.pair + pairs[k] for k, way in enumerate(ways)])
    return Way(routes, pair, np.concatenate([way.share for way in ways]))


def _stream(job: str, way: Way, sub_bytes: FloatArray, total_s: float) -> Load:
    """Return the load of flows that go at one pace, and undisturbed take so long."""
    rate = sub_bytes / total_s if total_s > 0 else np.zeros(sub_bytes.size)
    return Load(job, "stages", way.routes, rate, way.share, pair=way.pair, tied=True)


def _load(job: str, activity: str, way: Way, bytes_per_s: FloatArray, **rest: Any) -> Load:
    """Return the load of pairs that carry so much each, spread over their sub-flows."""
    return Load(job, activity, way.routes, bytes_per_s[way.pair] * way.share, way.share, pair=way.pair, **rest)
