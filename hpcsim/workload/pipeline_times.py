"""Data pipelines laid on nodes: how long each stage would need each resource alone, and what follows for the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.ways import Way, Ways
from hpcsim.cost.maxmin import Routes
from hpcsim.cost.pipelines import bottleneck, lead_s, staged_s, streamed_s
from hpcsim.workload.pipeline_parts import Move, PipelinePlan, StagePlan

__all__ = ["Laid", "Resource", "lay", "lay_first"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resource:
    """What a stage needs.

    Attributes
    ----------
    kind : str
        ``processor``, ``device``, ``disk``, ``arrival``, ``answers``, ``read``, ``write`` or ``network``.
    name : str
        Node group, tier or link.
    link : int
        Number of the link, where it is one: cables side by side have one name.
    """

    kind: str
    name: str
    link: int = -1


@dataclass(frozen=True)
class Laid:
    """A pipeline on nodes, with nothing else there.

    Attributes
    ----------
    plan : PipelinePlan
    resources : tuple of Resource
    use_s : array, shape (stages, resources)
        Time for which each stage needs each resource alone.
    ways : tuple of Way
        Routes of each stage's moves.
    sub_bytes : tuple of array
        Bytes of each of their sub-flows.
    """

    plan: PipelinePlan
    resources: tuple[Resource, ...]
    use_s: FloatArray
    ways: tuple[Way, ...]
    sub_bytes: tuple[FloatArray, ...]

    @cached_property
    def first_s(self) -> FloatArray:
        """Time to the first byte of each stage, shape (stages,) [s]."""
        return np.array([stage.first_s for stage in self.plan.stages])

    @cached_property
    def alone_s(self) -> FloatArray:
        """Time of each stage by itself, shape (stages,) [s]."""
        return np.asarray(self.use_s.max(axis=1, initial=0.0) + self.first_s)

    @cached_property
    def total_s(self) -> float:
        """Time of the whole pipeline [s]."""
        if not self.resources:
            return float(self.first_s.sum())
        times = streamed_s(self.use_s, self.plan.chunks) if self.plan.streaming else staged_s(self.use_s)
        return float(times) + float(self.first_s.sum())

    @cached_property
    def bound_by(self) -> list[Resource | None]:
        """What each stage needs longest; None where it takes no time."""
        if not self.resources:
            return [None] * len(self.plan.stages)
        most = bottleneck(self.use_s)
        return [self.resources[k] if self.use_s[i, k] > 0 else None for i, k in enumerate(most.tolist())]

    @cached_property
    def narrowest(self) -> Resource | None:
        """What decides the time of the whole: the resource that all stages together need longest, or that of the longest stage."""
        if not self.resources or not self.use_s.any():
            return None
        if self.plan.streaming:
            return self.resources[int(self.use_s.sum(axis=0).argmax())]
        return self.bound_by[int(self.alone_s.argmax())]

    def doubled(self, what: Resource | None = None) -> Laid:
        """Return it with twice as much of a resource, by default what decides its time: of a link, twice the network; of cores, all of the group."""
        wide = self.narrowest if what is None else what
        if wide is None:
            return self
        same = [r == wide or (r.kind == wide.kind and (r.kind == "network" or r.name.endswith(f" of {wide.name}"))) for r in self.resources]
        return replace(self, use_s=self.use_s / np.where(same, 2.0, 1.0))

    def kinds(self) -> list[Resource]:
        """Return the resources that can be doubled, each once: the network as one, its narrowest link first."""
        order = np.argsort(-self.use_s.sum(axis=0), kind="stable").tolist() if self.resources else []
        found: dict[tuple[str, str], Resource] = {}
        for k in order:
            one = self.resources[k]
            name = "" if one.kind == "network" else one.name.rpartition(" cores of ")[2]
            found.setdefault((one.kind, name), one)
        return list(found.values())

    def windows_s(self) -> tuple[FloatArray, FloatArray]:
        """Return when each stage begins and ends, from the begin of the pipeline and alone, shape (stages,) [s]."""
        if not self.plan.streaming:
            ends = np.cumsum(self.alone_s)
            return ends - self.alone_s, ends
        if not self.resources:
            ends = np.cumsum(self.first_s)
            return ends - self.first_s, ends
        lead = lead_s(self.use_s, self.plan.chunks) + np.cumsum(self.first_s) - self.first_s
        each = self.use_s.max(axis=1) / self.plan.chunks
        after = (each.sum() - np.cumsum(each)) + (self.first_s.sum() - np.cumsum(self.first_s))
        return lead, self.total_s - after


def lay_first(plan: PipelinePlan, ways: Ways) -> Laid:
    """Return a pipeline laid on the first nodes of its groups."""
    return lay(plan, ways, {group: ways.offsets[group] + np.arange(count) for group, count in plan.groups})


def lay(plan: PipelinePlan, ways: Ways, nodes: Mapping[str, IntArray]) -> Laid:
    """Return a pipeline laid on nodes.

    Parameters
    ----------
    plan : PipelinePlan
    ways : Ways
        The cluster's links.
    nodes : mapping of str to array of int
        Nodes of each group that it takes, by their numbers in the cluster.

    Notes
    -----
    Data are spread evenly over a stage's nodes. Every link is charged with the bytes that the stage sends over it, over its capacity.
    """
    found: dict[Resource, FloatArray] = {}

    def charge(kind: str, name: str, stage: int, seconds: float, link: int = -1) -> None:
        if seconds > 0:
            found.setdefault(Resource(kind, name, link), np.zeros(len(plan.stages)))[stage] += seconds

    laid_ways, laid_bytes = [], []
    for k, stage in enumerate(plan.stages):
        _own(stage, k, charge)
        parts = [_move(move, plan, stage, ways, nodes) for move in stage.moves if move.size_bytes > 0]
        way, sub = _together(parts)
        laid_ways.append(way)
        laid_bytes.append(sub)
        over = np.bincount(way.routes.links, np.repeat(sub, np.diff(way.routes.first)), ways.capacity_bytes_per_s.size)
        for link in _named_first(ways, np.flatnonzero(over > 0)).tolist():
            kind, name = _link(ways, link)
            charge(kind, name, k, float(over[link] / ways.capacity_bytes_per_s[link]), link)
    use = np.stack(list(found.values()), axis=1) if found else np.zeros((len(plan.stages), 0))
    return Laid(plan, tuple(found), use, tuple(laid_ways), tuple(laid_bytes))


def _own(stage: StagePlan, k: int, charge: Callable[[str, str, int, float], None]) -> None:
    """Charge what a stage needs besides links."""
    group = stage.group
    if stage.work_bytes + stage.flight_bytes > 0:
        charge("processor", group.name, k, stage.cores_s(group.cores or 1))
        if stage.cores < (group.cores or 1):
            charge("processor", f"{stage.cores} cores of {group.name}", k, stage.cores_s(stage.cores))
    charge("device", f"{group.name}, {stage.name}", k, stage.device_s)
    charge("disk", group.name, k, stage.disk_s)
    charge("arrival", stage.name, k, stage.arrive_s)
    charge("answers", stage.name, k, stage.answer_s)


def _named_first(ways: Ways, links: IntArray) -> IntArray:
    """Return links so that of equally narrow ones the first is the one to be named: servers, then lines between sites, then down to ports."""
    return links if ways.links is None else links[np.argsort(-ways.links.tier[links], kind="stable")]


def _link(ways: Ways, link: int) -> tuple[str, str]:
    """Return the kind and the name of a link as a resource."""
    name = ways.name(link)
    if ways.kind(link) != "server":
        return "network", name
    if ways.links is None:
        tier, _, verb = name.removeprefix("storage/").rpartition(" ")
        return verb, tier
    tail, _, head = name.partition(" → ")
    tier = min(tail, head, key=len).removeprefix("storage/")
    return "read" if tail.endswith("/servers") and tail != f"storage/{tier}" else "write", tier


def _move(move: Move, plan: PipelinePlan, stage: StagePlan, ways: Ways, nodes: Mapping[str, IntArray]) -> tuple[Way, FloatArray]:
    """Return the routes of a move and the bytes of its sub-flows."""
    mine = nodes[stage.group.name][: stage.nodes]
    if move.kind == "read":
        way = ways.from_storage(move.tier, mine)
    elif move.kind == "write":
        way = ways.to_storage(move.tier, mine)
    else:
        other = plan.stages[move.source] if move.kind == "hand" else stage
        theirs = nodes[other.group.name][: other.nodes]
        source, target = np.repeat(theirs, mine.size), np.tile(mine, theirs.size)
        apart = source != target
        way = ways.between(source[apart], target[apart])
        return way, move.size_bytes / source.size * way.share
    return way, move.size_bytes / mine.size * way.share


def _together(parts: list[tuple[Way, FloatArray]]) -> tuple[Way, FloatArray]:
    """Return several ways as one, pairs counted on, and their bytes."""
    lengths = [np.diff(way.routes.first) for way, _ in parts]
    first = np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))]).astype(np.int64)
    routes = Routes(first, np.concatenate([np.empty(0, np.int64), *(way.routes.links for way, _ in parts)]).astype(np.int64))
    pairs = np.cumsum([0, *(int(way.pair.max(initial=-1)) + 1 for way, _ in parts)])
    pair = np.concatenate([np.empty(0, np.int64), *(way.pair + pairs[k] for k, (way, _) in enumerate(parts))]).astype(np.int64)
    share = np.concatenate([np.empty(0), *(way.share for way, _ in parts)])
    return Way(routes, pair, share), np.concatenate([np.empty(0), *(size for _, size in parts)])
