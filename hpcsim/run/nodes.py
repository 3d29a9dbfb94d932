"""The batch jobs' groups of nodes as a machine with several resources, under the rules of the scheduler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.hourly import Hourly
from hpcsim.run.data import reading
from hpcsim.run.pools import BoundJobs, ladder_of, node_set
from hpcsim.run.wishes import Wishes
from hpcsim.scenario.power import power_of_hours
from hpcsim.scenario.scheduler import SchedulerSpec
from hpcsim.scheduling.machine import Bools, Demand, Integers, Machine, NodeClass, Pool, Window
from hpcsim.scheduling.requests import Asking, Extra, demands_of, uses_shares
from hpcsim.workload.jobs import Finding, JobTable

__all__ = ["Fitted", "Rules", "asking_of", "fitted", "node_classes", "numbers_of", "switches_of", "torus_of"]

NO_LICENCE = problem_kind("licence-unknown", "there is no licence {name!r}", "known: {known}")
NO_TORUS = problem_kind(
    "placement-needs-torus",
    "torus-block places jobs on blocks of a torus: {why}",
    "another placement, or a fabric that is a torus of this group",
)
ALL_DROPPED = problem_kind(
    "no-job-fits", "none of the {count} jobs can run on these nodes: {why}", "enlarge the nodes, or loosen the limits"
)


def node_classes(bound: BoundJobs) -> list[NodeClass]:
    """Return what the nodes of each of the jobs' groups are; a slice of an accelerator counts as one, and has a core at least."""
    slices = bound.spec.slices
    return [
        NodeClass(
            group.name,
            group.count,
            max(group.cores or (each if bound.unit != "node" else 1), each if slices > 1 else 1),
            group.per_node * slices,
            int(group.memory_bytes or 0),
        )
        for group, each in zip(bound.groups, bound.per_nodes, strict=True)
    ]


def asking_of(bound: BoundJobs, scheduler: SchedulerSpec) -> Asking:
    """Return how the jobs count what they ask for: an accelerator brings its part of the node's cores, the least of any group; a slice whole ones."""
    parts = [each.cores / each.gpus for each in node_classes(bound) if each.gpus]
    if bound.spec.slices > 1:
        parts = [float(math.floor(part)) for part in parts]
    return Asking(
        unit=bound.unit,  # type: ignore[arg-type]
        cores_per_gpu=min(parts, default=1.0),
        locality=scheduler.locality or "any",
    )


def numbers_of(cluster: Cluster, groups: Sequence[NodeGroup]) -> Integers:
    """Return the numbers that nodes of some groups have in the cluster, spares counted, shape (nodes,), group after group."""
    first, at = {}, 0
    for name, group in cluster.groups.items():
        first[name] = at
        at += group.total
    return np.concatenate([first[group.name] + np.arange(group.count, dtype=np.int64) for group in groups])


def switches_of(cluster: Cluster, groups: Sequence[NodeGroup]) -> Integers:
    """Return under which switch each node of some groups is at each level of the fabric, shape (levels, nodes), the lowest first.

    Two nodes are under one switch of a level if cables up to that level join them: with several rails, the leaf switches of a rail group count
    as one. Levels that put all nodes together are left out.
    """
    from hpcsim.cluster.topologies import TOPOLOGIES, request_of

    fabric, request = cluster.fabric, request_of(cluster)
    numbers = numbers_of(cluster, groups)
    if fabric is None or request is None:
        return np.empty((0, len(numbers)), dtype=np.int64)
    wiring = TOPOLOGIES.get(fabric.topology).wire(request)
    above = list(range(wiring.vertices))

    def top(vertex: int) -> int:
        while above[vertex] != vertex:
            above[vertex] = vertex = above[above[vertex]]
        return vertex

    rows = []
    tiers = wiring.tiers()
    for tier in np.unique(tiers).tolist():
        mine = tiers == tier
        for a, b in zip(wiring.a[mine].tolist(), wiring.b[mine].tolist(), strict=True):
            above[top(a)] = top(b)
        _, row = np.unique([top(node) for node in numbers.tolist()], return_inverse=True)
        if row.max() > 0:
            rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, len(numbers))


def torus_of(cluster: Cluster, groups: Sequence[NodeGroup]) -> tuple[int, ...]:
    """Return the sizes of the torus whose points the nodes of some groups are, the last running fastest.

    Nodes at one switch are one more axis. Spares are not placed on: they must not be a part of the torus.

    Raises
    ------
    InputError
        The fabric is no torus, or the groups do not fill it.
    """
    from hpcsim.cluster.topologies import TOPOLOGIES, request_of
    from hpcsim.cluster.torus import Torus

    fabric, request = cluster.fabric, request_of(cluster)
    shape = TOPOLOGIES.get(fabric.topology) if fabric is not None else None
    if fabric is None or request is None or not isinstance(shape, Torus):
        raise NO_TORUS.error(path="scheduler.placement", why=f"the fabric is {fabric.topology if fabric else 'not given'}")
    grid = shape.grid(request)
    axes = (*grid.axes, grid.hosts) if grid.hosts > 1 else grid.axes
    numbers = numbers_of(cluster, groups)
    if math.prod(axes) != len(numbers):
        whose = f"group {groups[0].name!r}" if len(groups) == 1 else f"groups {', '.join(group.name for group in groups)}"
        why = f"the torus has {math.prod(axes)} places for nodes and the {whose} {len(numbers)} nodes"
        raise NO_TORUS.error(path="scheduler.placement", why=why)
    return axes


@dataclass
class _Pools:
    """Pools as they are met."""

    pools: list[Pool] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)

    def number(self, name: str, capacity: int, *, limit: bool = True, hours: Hourly | None = None) -> int:
        """Return the number of a pool, which is made where it is new."""
        if name not in self.index:
            self.index[name] = len(self.pools)
            self.pools.append(Pool(name, capacity, limit, hours))
        return self.index[name]


class Rules:
    """Partitions, qualities of service, licences, reservations, maintenance and the power budget, for the jobs of one table.

    Parameters
    ----------
    scheduler : SchedulerSpec
        What the scenario says.
    groups : sequence of NodeGroup
        The jobs' nodes. Where there are several, the first sets of nodes are each a group.
    jobs : JobTable
        The jobs.
    watts : float [W]
        Power above idle of one processor.
    per_node : int
        Most processors of a node.

    Raises
    ------
    InputError
        Node numbers or licences that there are not.
    """

    def __init__(
        self, scheduler: SchedulerSpec, groups: Sequence[NodeGroup], jobs: JobTable, *, watts: float = 0.0, per_node: int = 1
    ) -> None:
        self.scheduler, self.jobs, self.watts, self.per_node = scheduler, jobs, watts, per_node
        self._pools = _Pools()
        hours = scheduler.power_hours
        self.power = Hourly(power_of_hours(hours, scheduler.power_budget or 0.0)) if hours else None
        self.sets: list[Bools] = [node_set(group.name, groups, "") for group in groups] if len(groups) > 1 else []
        self._set_of: dict[str, int] = {}
        for name, part in scheduler.partitions.items():
            if part.nodes is not None:
                self.sets.append(node_set(part.nodes, groups, f"scheduler.partitions.{name}.nodes"))
                self._set_of[name] = len(self.sets)
        named = {name: node_set(nodes, groups, f"scheduler.features.{name}") for name, nodes in scheduler.features.items()}
        self.wishes = Wishes(scheduler, groups, jobs, named)
        self._both: dict[tuple[int, bytes], int] = {}
        for name, count in scheduler.licences.items():
            self._pools.number(name, count, limit=False)
        for name, qos in scheduler.qos.items():
            for licence in qos.takes:
                if licence not in scheduler.licences:
                    known = ", ".join(scheduler.licences) or "none"
                    raise NO_LICENCE.error(path=f"scheduler.qos.{name}.takes", name=licence, known=known)
        self.windows = [
            Window(name, spec.start, spec.start + spec.duration, node_set(spec.nodes, groups, f"scheduler.{kind}.{name}.nodes"))
            for kind, specs in (("reservations", scheduler.reservations), ("maintenance", scheduler.maintenance))
            for name, spec in specs.items()
        ]
        self._queue = [jobs.label("queue", number) for number in jobs.queue.tolist()]
        self._qos = [jobs.label("qos", number) for number in jobs.filled("qos").tolist()]
        self._user = [jobs.label("user", number) for number in jobs.user.tolist()]

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Pools met so far: of licences, and one for each limit and whom it counts."""
        return tuple(self._pools.pools)

    def extra(self, row: int) -> Extra:
        """Return set of nodes, pooled amounts and window of a job."""
        queue, qos, user = self._queue[row], self._qos[row], self._user[row]
        processors = int(self.jobs.processors[row])
        pooled: dict[int, int] = {}
        number = self._pools.number
        part = self.scheduler.partitions.get(queue)
        if part is not None and part.max_processors is not None:
            pooled[number(f"partition {queue}", part.max_processors)] = processors
        rule = self.scheduler.qos.get(qos)
        if rule is not None:
            limits = (
                (f"qos {qos} jobs", rule.max_jobs, 1),
                (f"qos {qos} jobs of {user}", rule.max_jobs_per_user, 1),
                (f"qos {qos} processors", rule.max_processors, processors),
                (f"qos {qos} processors of {user}", rule.max_processors_per_user, processors),
            )
            pooled |= {number(name, most): amount for name, most, amount in limits if most is not None}
            pooled |= {self._pools.index[licence]: amount for licence, amount in rule.takes.items()}
        for licence, amount in self.wishes.licences(row).items():
            at = self._pools.index[licence]
            pooled[at] = pooled.get(at, 0) + amount
        buffer = self.wishes.buffer(row)
        if buffer and self.scheduler.burst_buffer is not None:
            pooled[number("burst buffer", int(self.scheduler.burst_buffer.capacity), limit=False)] = buffer
        if self.scheduler.power_budget is not None:
            most = int(max(self.power.values)) if self.power else int(self.scheduler.power_budget)
            pooled[number("power budget", most, limit=False, hours=self.power)] = self.watts_of(processors)
        return self._where(self._set_of.get(queue, 0), self.wishes.nodes(row)), tuple(sorted(pooled.items())), self._window(user, row)

    def _where(self, part: int, nodes: Bools | None) -> int:
        """Return the number of the set of nodes that are in a partition and have the features; the set is made where it is new."""
        if nodes is None:
            return part
        key = (part, nodes.tobytes())
        if key not in self._both:
            self.sets.append(nodes & self.sets[part - 1] if part else nodes)
            self._both[key] = len(self.sets)
        return self._both[key]

    def watts_of(self, processors: int) -> int:
        """Return what a job draws above idle [W], in whole watts, rounded up where the budget changes by the hour."""
        return math.ceil(processors * self.watts - 1e-9) if self.power else round(processors * self.watts)

    def _window(self, user: str, row: int) -> int:
        for at, spec in enumerate(self.scheduler.reservations.values()):
            end = spec.start + spec.duration
            if user in spec.users and self.jobs.submit_s[row] < end and self.jobs.estimate_s[row] <= spec.duration:
                return at
        return -1

    def _least_nodes(self) -> Integers:
        """Return the nodes of each job, or how many it takes at least where the log does not say."""
        said, least = self.jobs.filled("nodes"), -(-self.jobs.processors // self.per_node)
        return np.asarray(np.where(said > 0, said, least), dtype=np.int64)

    def refused(self) -> dict[str, Bools]:
        """Return which jobs break a limit of their partition, by what they break."""
        broken: dict[str, Bools] = {}
        queue, nodes = np.array(self._queue), self._least_nodes()
        for name, part in self.scheduler.partitions.items():
            mine = queue == name
            if part.max_time is not None:
                broken[f"longer than partition {name} allows"] = mine & (self.jobs.estimate_s > part.max_time)
            if part.max_nodes is not None:
                broken[f"more nodes than partition {name} allows"] = mine & (nodes > part.max_nodes)
        broken |= self.wishes.refused()
        if self.power is not None and self.watts:
            longest = {int(size): self.power.longest_s(self.watts_of(int(size))) for size in np.unique(self.jobs.processors)}
            most = np.array([longest[int(size)] for size in self.jobs.processors])
            broken["more power, for longer, than the budget of any hours allows"] = self.jobs.estimate_s > most
        return broken


@dataclass(frozen=True)
class Fitted:
    """A machine, the jobs that it can hold and what they ask for, and what was dropped."""

    machine: Machine
    jobs: JobTable
    demands: tuple[list[Demand], Integers]
    findings: tuple[Finding, ...]


def fitted(bound: BoundJobs, scheduler: SchedulerSpec, jobs: JobTable, *, watts: float = 0.0, cluster: Cluster | None = None) -> Fitted:
    """Return the machine of the jobs' groups and the jobs that may and can run on it.

    Parameters
    ----------
    bound, scheduler : BoundJobs, SchedulerSpec
        The groups, and the rules.
    jobs : JobTable
        The jobs, by submission.
    watts : float [W]
        Power above idle of one processor.
    cluster : Cluster, optional
        Where the switches above the nodes are looked up, for placements.

    Raises
    ------
    InputError
        Rules that name what there is not, or no job is left.
    """
    findings = []
    refused = Rules(scheduler, bound.groups, jobs, watts=watts, per_node=max(bound.per_nodes)).refused()
    for issue, bad in refused.items():
        if bad.any():
            findings.append(Finding(issue, int(bad.sum()), "dropped", f"job {jobs.job_id[bad][0]}"))
    bad = np.any([*refused.values(), np.zeros(len(jobs), dtype=np.bool_)], axis=0)
    jobs = jobs.subset(~bad) if bad.any() else jobs
    rules = Rules(scheduler, bound.groups, jobs, watts=watts, per_node=max(bound.per_nodes))
    findings += rules.wishes.ignored()
    house = (scheduler.partitions, scheduler.qos, scheduler.reservations, scheduler.power_budget, scheduler.features, scheduler.licences)
    needs_extra = any(house) or scheduler.burst_buffer is not None or rules.wishes.places
    extras = [rules.extra(row) for row in range(len(jobs))] if needs_extra else []
    classes = node_classes(bound)
    plain = Machine.of(classes, sets=rules.sets, windows=rules.windows)
    kinds, kind = demands_of(jobs, plain, asking_of(bound, scheduler), extra=extras.__getitem__ if needs_extra else None)
    switch = switches_of(cluster, bound.groups) if cluster is not None and scheduler.placement else None
    machine = Machine.of(
        classes,
        sets=rules.sets,
        windows=rules.windows,
        pools=rules.pools,
        shares=uses_shares(kinds),
        switch=switch,
        torus=torus_of(cluster, bound.groups) if cluster is not None and scheduler.placement == "torus-block" else (),
        ladder=ladder_of(bound.groups) if not bound.spec.span else (),
    )
    cannot = np.array([not machine.holds(demand) for demand in kinds], dtype=np.bool_)[kind] if len(jobs) else np.zeros(0, dtype=np.bool_)
    if cannot.any():
        whose = "any one group of these nodes" if machine.ladder else "these nodes"
        findings.append(
            Finding(f"more than {whose} can give, even when empty", int(cannot.sum()), "dropped", f"job {jobs.job_id[cannot][0]}")
        )
        jobs, kind = jobs.subset(~cannot), kind[~cannot]
    if not len(jobs):
        raise ALL_DROPPED.error(path="scheduler", count=int(bad.sum() + cannot.sum()), why="; ".join(f.issue for f in findings))
    if scheduler.data is not None:
        kinds, kind = reading(jobs, (kinds, kind))
    used = np.unique(kind)
    place = np.zeros(len(kinds), dtype=np.int64)
    place[used] = np.arange(len(used))
    return Fitted(machine, jobs, ([kinds[at] for at in used.tolist()], place[kind]), tuple(findings))
