"""The node groups that run the batch jobs: one, or several that are one machine of nodes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.workload import JobsSpec
from hpcsim.scheduling.machine import Bools
from hpcsim.workload.elastic import Elasticity

__all__ = ["BoundJobs", "check_nodes", "check_pool", "features_of", "groups_of", "ladder_of", "node_set", "pool_of"]

NO_POOL = problem_kind(
    "jobs-nodes", "{count} node groups could run the jobs", "name one or several in workload.jobs.nodes, or all: {known}"
)
TWICE = problem_kind("jobs-nodes-twice", "the group {name!r} is named twice", "each group of the jobs once")
NO_CORES = problem_kind(
    "jobs-without-cores", "jobs count cores, but the cores of {group!r} are not known", "add {key}, or set workload.jobs.unit"
)
NO_DEVICES = problem_kind(
    "jobs-without-accelerators", "jobs count accelerators, but {group!r} has none", "set workload.jobs.unit to core or node"
)
LONGEST_ROUND_S = 3.2e9
ROUND_TOO_LONG = problem_kind(
    "search-too-long",
    "with keep {keep} the last of {rounds} rounds takes over a hundred years",
    "fewer rounds, a smaller keep, or a shorter run",
)
SLICES = problem_kind("jobs-slices", "slices are parts of accelerators, and {why}", "leave out workload.jobs.slices")
NO_MEMORY = problem_kind(
    "jobs-memory-unknown",
    "the memory of a node is known of {known}, not of {group!r}: a job that asks for memory would count it as boundless",
    "add {key}, or leave the memory of the others out",
)
ALIKE_ONLY = problem_kind(
    "jobs-nodes-differ",
    "{what} takes the jobs' nodes to be all alike, and the jobs have the groups {groups}",
    "leave it out, or name one group in workload.jobs.nodes",
)
TOO_WIDE = problem_kind(
    "synthetic-too-wide", "the largest job takes {asked} processors, {group} has {have}", "lower max_processors, or enlarge the group"
)
BAD_NODES = problem_kind("node-numbers", "{text!r} names no nodes of the {count} that {group!r} has", "for example 0-31,40; the first is 0")
WHICH_GROUP = problem_kind(
    "node-numbers-group", "{text!r} names no nodes of the groups {groups}", "a group, or some of its nodes: {example}; the first is 0"
)


@dataclass(frozen=True)
class BoundJobs:
    """Batch jobs and the pool that runs them.

    ``per_nodes`` processors make a node of each group; ``file`` is the job log, None for synthetic jobs; ``elastic`` is how jobs change their size.
    Several groups are in the order of the cluster.
    """

    spec: JobsSpec
    groups: tuple[NodeGroup, ...]
    unit: str
    per_nodes: tuple[int, ...]
    file: Path | None
    draw_frac: float = 1.0
    """What a cap on a node's power leaves of what work adds to its idle power."""
    slowdown: float = 1.0
    """How much longer jobs take under that cap."""
    stage_s_per_byte: float = 0.0
    """What filling and emptying a byte of burst buffer takes [s]."""
    elastic: Elasticity | None = None

    @property
    def mixed(self) -> bool:
        """Whether the jobs have several groups."""
        return len(self.groups) > 1

    @property
    def group(self) -> NodeGroup:
        """The only group, or the first of several."""
        return self.groups[0]

    @property
    def per_node(self) -> int:
        """Processors of a node of :attr:`group`."""
        return self.per_nodes[0]

    @property
    def processors(self) -> int:
        """Processors of the pool."""
        return sum(group.count * each for group, each in zip(self.groups, self.per_nodes, strict=True))

    @property
    def widest(self) -> int:
        """Processors of the largest group; of all, where a job may span them."""
        sizes = [group.count * each for group, each in zip(self.groups, self.per_nodes, strict=True)]
        return sum(sizes) if self.spec.span else max(sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(group.name for group in self.groups)

    def processors_of(self, name: str) -> int:
        """Return the processors of a node of a group; 1 of a group that is not the jobs'."""
        return dict(zip(self.names, self.per_nodes, strict=True)).get(name, 1)


def groups_of(spec: JobsSpec, cluster: Cluster, problems: Problems) -> tuple[NodeGroup, ...]:
    """Return the groups that run the jobs, in the order of the cluster; none, and the problems noted, where they cannot be told."""
    path = "workload.jobs.nodes"
    groups = tuple(cluster.groups.values())
    if spec.nodes is None:
        if len(groups) != 1:
            problems.add(NO_POOL(path="workload.jobs", count=len(groups), known=", ".join(cluster.groups)))
            return ()
        return groups
    if spec.nodes == "all" and "all" not in cluster.groups:
        return groups
    named = [spec.nodes] if isinstance(spec.nodes, str) else list(spec.nodes)
    before = len(problems.items)
    for name in named:
        try:
            cluster.group(name, path)
        except InputError as error:
            problems.absorb(error, path)
    for name in dict.fromkeys(name for name in named if named.count(name) > 1):
        problems.add(TWICE(path=path, name=name))
    return () if len(problems.items) > before else tuple(group for group in groups if group.name in named)


def pool_of(spec: JobsSpec, groups: tuple[NodeGroup, ...], file: Path | None, problems: Problems) -> BoundJobs | None:
    """Return the jobs with the groups that run them; None, and the problems noted, where a group lacks what the jobs count."""
    unit = spec.unit or ("accelerator" if all(group.per_node for group in groups) else "core")
    sizes = tuple({"core": group.cores or 0, "accelerator": group.per_node * spec.slices, "node": 1}[unit] for group in groups)
    if spec.slices > 1:
        why = (
            f"the jobs count {unit}s" if unit != "accelerator"
            else "these jobs run over several groups" if len(groups) > 1
            else "jobs that change their size hold whole accelerators" if spec.elastic is not None
            else ""
        )  # fmt: skip
        if why:
            problems.add(SLICES(path="workload.jobs.slices", why=why))
    for group, size in zip(groups, sizes, strict=True):
        if size < 1:
            kind = NO_CORES if unit == "core" else NO_DEVICES
            problems.add(kind(path="workload.jobs.unit", group=group.name, key=f"{group.path}.cores"))
    return BoundJobs(spec, groups, unit, sizes, file) if min(sizes) > 0 else None


def check_pool(bound: BoundJobs, scenario: Scenario, problems: Problems) -> None:
    """Note what several groups do not go together with, and a job that is larger than any group."""
    search = bound.spec.search
    if search is not None and math.log(search.run) + (search.rounds - 1) * math.log(search.keep) > math.log(LONGEST_ROUND_S):
        problems.add(ROUND_TOO_LONG(path="workload.jobs.search.rounds", keep=search.keep, rounds=search.rounds))
    wide = search.processors if search else bound.spec.synthetic.max_processors if bound.spec.synthetic else None
    if wide is not None and wide > bound.widest:
        one = bound.group.name if not bound.mixed else "all groups together" if bound.spec.span else "the largest group"
        problems.add(
            TOO_WIDE(
                path="workload.jobs.search.processors" if search else "workload.jobs.synthetic.max_processors",
                asked=wide,
                group=one,
                have=bound.widest,
            )
        )
    if not bound.mixed:
        return
    groups, scheduler = ", ".join(bound.names), scenario.scheduler
    for said, path, what in (
        (bound.spec.elastic is not None, "workload.jobs.elastic", "a job that changes its size"),
        (scheduler.node_cap is not None, "scheduler.node_cap", "a cap on the power of a node"),
        (scheduler.power_budget is not None, "scheduler.power_budget", "a power budget"),
    ):
        if said:
            problems.add(ALIKE_ONLY(path=path, what=what, groups=groups))
    known = [group.name for group in bound.groups if group.memory_bytes]
    for group in bound.groups if known else ():
        if not group.memory_bytes:
            problems.add(NO_MEMORY(path=group.path, known=", ".join(known), group=group.name, key=f"{group.path}.memory"))


def check_nodes(bound: BoundJobs, scenario: Scenario, problems: Problems) -> None:
    """Note nodes that partitions, features, reservations and maintenance name and that there are not."""
    scheduler = scenario.scheduler
    named = [(f"partitions.{name}.nodes", part.nodes) for name, part in scheduler.partitions.items()]
    named += [(f"features.{name}", nodes) for name, nodes in scheduler.features.items()]
    named += [(f"reservations.{name}.nodes", window.nodes) for name, window in scheduler.reservations.items()]
    named += [(f"maintenance.{name}.nodes", window.nodes) for name, window in scheduler.maintenance.items()]
    for path, text in named:
        try:
            node_set(text, bound.groups, f"scheduler.{path}")
        except InputError as error:
            problems.absorb(error)


_NUMBERS = re.compile(r"(\d+)(?:\s*-\s*(\d+))?\Z")


def node_set(text: str | None, groups: Sequence[NodeGroup], path: str) -> Bools:
    """Return which nodes of the jobs' groups a text names, shape (nodes,), group after group; all without one.

    Each part, between commas, is a group, some of its nodes as ``gpu/0-31``, or, where there is one group, plain numbers such as ``0-31``.

    Raises
    ------
    InputError
        No such nodes.
    """
    first = dict(zip([group.name for group in groups], np.cumsum([0, *(group.count for group in groups)]).tolist(), strict=False))
    by_name = {group.name: group for group in groups}
    nodes = np.zeros(sum(group.count for group in groups), dtype=np.bool_)
    if text is None:
        return ~nodes
    only = groups[0].name if len(groups) == 1 else ""
    for part in text.split(","):
        name, slash, which = part.strip().partition("/")
        if not slash and name not in by_name:
            name, which = only, name
        elif not slash:
            which = f"0-{by_name[name].count - 1}"
        match = _NUMBERS.match(which.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if name not in by_name or not low <= high < by_name[name].count:
            if only:
                raise BAD_NODES.error(path=path, text=text, count=groups[0].count, group=only)
            example = f"{groups[0].name}, {groups[-1].name}/0-{groups[-1].count - 1}"
            raise WHICH_GROUP.error(path=path, text=text, groups=", ".join(by_name), example=example)
        nodes[first[name] + low : first[name] + high + 1] = True
    return nodes


def features_of(groups: Sequence[NodeGroup]) -> dict[str, Bools]:
    """Return the nodes that have each feature of their own, shape (nodes,): the name of a group, its node type, and its accelerator."""
    group = np.repeat(np.arange(len(groups)), [one.count for one in groups])
    found: dict[str, Bools] = {}
    for at, one in enumerate(groups):
        for name in dict.fromkeys((one.name, one.type, one.accelerator.id if one.accelerator else "")):
            if name:
                found[name] = found.get(name, np.zeros(len(group), dtype=np.bool_)) | (group == at)
    return found


def ladder_of(groups: Sequence[NodeGroup]) -> tuple[int, ...]:
    """Return the groups' indices, least capable first.

    By the accelerators' peak rate of a node (its highest known, in any precision), then their memory, then main memory, then cores; equal ones in
    the order of the cluster. So a job that needs no accelerator takes a node without one while there is one, and one that needs little
    memory leaves the large nodes alone.
    """

    def worth(at: int) -> tuple[bool, float, float, float, int]:
        group, device = groups[at], groups[at].accelerator
        peak = max(device.peak_flop_per_s.values(), default=0.0) if device else 0.0
        memory = (device.memory_bytes or 0.0) if device else 0.0
        return group.per_node > 0, group.per_node * peak, group.per_node * memory, group.memory_bytes or 0.0, group.cores or 0

    return tuple(sorted(range(len(groups)), key=worth))
