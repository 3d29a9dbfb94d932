"""The combinations of a queue goal: pools sized by simulation for each year, owned, rented, or reserved in part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import NodeGroup
from hpcsim.cost import metrics
from hpcsim.cost.facility import nodes_per_rack
from hpcsim.cost.money import YEAR_S, best_reservation
from hpcsim.cost.queues import allen_cunneen_wait_s, mmc_wait_quantile_s
from hpcsim.cost.reliability import expected_segment_s, spares_needed
from hpcsim.engine.jobs import run_jobs
from hpcsim.run.bind import bind
from hpcsim.run.failures import node_figures
from hpcsim.run.jobs import batch_jobs
from hpcsim.run.record import node_span_w
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.candidates import EMPTY, Candidates
from hpcsim.study.planning.machines import SURE_FRAC, NodeKind
from hpcsim.study.planning.sources import Source, Terms, sources_of
from hpcsim.study.planning.train import LIFE_S, admission, shared_limits
from hpcsim.workload.jobs import JobTable

__all__ = ["Demand", "Pool", "QueueModel", "Sized", "queue_model"]

NO_JOBS = problem_kind("plan-queue-jobs", "the plan has a goal for a queue, but the workload has no jobs", "add workload.jobs")
NO_UNIT = problem_kind(
    "plan-queue-nodes",
    "none of the node types says how many {unit}s it has, which the jobs count",
    "choose other node types, or set workload.jobs.unit",
)
MOST_NODES = 200_000


@dataclass(frozen=True)
class Demand:
    """What the jobs ask for.

    Attributes
    ----------
    jobs : JobTable
    unit : str
        What a processor of a job is.
    span_s : float
        First to last submission.
    load : float
        Processor-seconds asked for over the span: processors that are busy on average.
    width : float
        Processors of a job, weighted by its work.
    widest : int
    run_s : float
        Mean run time.
    arrival_scv, service_scv : float
        Squared coefficients of variation of the times between arrivals, and of the run times.
    """

    jobs: JobTable
    unit: str
    span_s: float
    load: float
    width: float
    widest: int
    run_s: float
    arrival_scv: float
    service_scv: float

    @classmethod
    def of(cls, jobs: JobTable, unit: str) -> Demand:
        """Return the demand of a table of jobs."""
        work = jobs.processors * jobs.run_s
        span = max(float(np.ptp(jobs.submit_s)), 1.0)
        gaps = np.diff(np.sort(jobs.submit_s))
        total = max(float(work.sum()), 1e-300)

        def scv(values: npt.NDArray[np.float64]) -> float:
            mean = float(values.mean()) if values.size else 0.0
            return float(values.var() / mean**2) if mean > 0 else 0.0

        width = float((jobs.processors * work).sum() / total)
        return cls(jobs, unit, span, total / span, width, int(jobs.processors.max()), float(jobs.run_s.mean()), scv(gaps), scv(jobs.run_s))

    def grown(self, factor: float) -> Demand:
        """Return the demand when the same jobs come ``factor`` times as often."""
        return Demand.of(self.jobs.scaled(arrivals=1.0 / factor), self.unit)

    def analytic(self, quantile: float, wait_s: float) -> int:
        """Return the processors by queueing theory: jobs of the work-weighted width as servers of G/G/c.

        The wait of M/M/c at the quantile times (c_a² + c_s²)/2 (Allen–Cunneen). Jobs of many widths on one pool are no such queue: a seed
        and a comparison, no answer.
        """
        offered = self.load / self.width
        c = max(math.floor(offered) + 1, math.ceil(self.widest / self.width))
        spread = (self.arrival_scv + self.service_scv) / 2.0
        while float(mmc_wait_quantile_s(quantile, c, offered, service_s=self.run_s)) * spread > wait_s:
            c += max(1, c // 200)
        return max(math.ceil(c * self.width), self.widest)

    def mean_wait_s(self, processors: int) -> float:
        """Return the mean wait by Allen–Cunneen on so many processors; infinite where the queue grows."""
        c, offered = max(int(processors / self.width), 1), self.load / self.width
        if offered >= c:
            return math.inf
        return float(allen_cunneen_wait_s(c, offered, arrival_scv=self.arrival_scv, service_scv=self.service_scv, service_s=self.run_s))


@dataclass(frozen=True)
class Sized:
    """A pool that serves a demand.

    Attributes
    ----------
    nodes : int
    wait_s : float
        Its wait at the quantile, simulated.
    mean_wait_s : float
    busy : float array
        Busy processors of each stretch of the schedule, and
    weights : float array
        its length [s].
    """

    nodes: int
    wait_s: float
    mean_wait_s: float
    busy: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @property
    def mean_busy(self) -> float:
        """Mean busy processors."""
        return float(np.average(self.busy, weights=self.weights))


@dataclass
class Pool:
    """Simulations of the demand on pools of nodes with ``per_node`` processors, each done once."""

    demand: Demand
    per_node: int
    quantile: float
    wait_s: float
    runs: dict[tuple[int, str], Sized] = field(default_factory=dict)

    def run(self, nodes: int, policy: str) -> Sized:
        """Simulate the demand on so many nodes."""
        key = (nodes, policy)
        if key not in self.runs:
            jobs = self.demand.jobs.sorted_by_submit()
            outcome = run_jobs(jobs, nodes * self.per_node, policy)
            window = (float(jobs.submit_s.min()), float(jobs.submit_s.max()) + 1.0)
            states = metrics.occupancy(jobs.submit_s, outcome.start_s, outcome.end_s, jobs.processors, size=outcome.size, window_s=window)
            waits = outcome.start_s - jobs.submit_s
            self.runs[key] = Sized(
                nodes,
                metrics.nearest_rank(waits, self.quantile),
                float(waits.mean()),
                np.asarray(states.busy, dtype=np.float64),
                np.asarray(states.end_s - states.start_s, dtype=np.float64),
            )
        return self.runs[key]

    def size(self, policy: str) -> Sized:
        """Return the fewest nodes whose wait at the quantile is within the goal, by bisection between what is too few and what is enough.

        Assumes that more nodes do not wait longer; backfilling may break that by a node or two.
        """
        least = max(math.ceil(self.demand.widest / self.per_node), math.ceil(self.demand.load / self.per_node), 1)
        high = max(math.ceil(self.demand.analytic(self.quantile, self.wait_s) / self.per_node), least)
        low = least - 1
        while self.run(high, policy).wait_s > self.wait_s:
            low, high = high, min(2 * high, MOST_NODES)
            if low == high:
                break
        while high - low > 1:
            middle = (low + high) // 2
            if self.run(middle, policy).wait_s <= self.wait_s:
                high = middle
            else:
                low = middle
        return self.run(high, policy)


@dataclass(frozen=True)
class QueueModel:
    """A queue goal, its pools by year and its combinations.

    Attributes
    ----------
    demand : Demand
        Today's.
    years : tuple of Demand
        At the end of each year.
    policy : str
    sized : mapping of int to list of Sized
        Pool of each year, by processors of a node.
    pools : mapping of int to list of Pool
    groups : mapping of str to NodeGroup
        Resolved node types by name.
    found : Candidates
    sources : list of Source
    kinds : tuple of NodeKind
    """

    demand: Demand
    years: tuple[Demand, ...]
    policy: str
    sized: Mapping[int, list[Sized]]
    pools: Mapping[int, list[Pool]]
    groups: Mapping[str, NodeGroup]
    per_node: Mapping[str, int]
    found: Candidates
    sources: list[Source]
    kinds: tuple[NodeKind, ...]
    horizon_years: float


def _processors(kind: NodeKind, unit: str) -> int:
    if unit == "node":
        return 1
    return kind.per_node if unit == "accelerator" else int(kind.entry.cores or kind.entry.vcpus or 0)


def _years(horizon_s: float) -> list[float]:
    """Return the lengths of the years of a horizon; the last may be shorter."""
    whole = horizon_s / YEAR_S
    return [min(1.0, whole - y) for y in range(math.ceil(whole - 1e-2))]


@dataclass(frozen=True)
class _Node:
    kind: NodeKind
    group: NodeGroup
    per_node: int
    idle_w: float
    span_w: float
    max_w: float
    mtbf_s: float
    repair_s: float


def _node(kind: NodeKind, scenario: Scenario, catalog: Catalog, unit: str) -> _Node:
    cluster = resolve(ClusterSpec.model_validate({"nodes": {"nodes": {"type": kind.entry.id, "count": 1}}}), catalog)
    group = cluster.groups["nodes"]
    a = group.accelerator
    devices = group.per_node * (a.tdp_w or math.nan) if a else 0.0
    idle = group.per_node * (math.nan if a is None or a.idle_w is None else a.idle_w) if a else 0.0
    mtbf_s, repair_s = node_figures(scenario.failures, catalog, group.per_node)
    return _Node(
        kind,
        group,
        _processors(kind, unit),
        (math.nan if group.idle_w is None else group.idle_w) + idle,
        node_span_w(group),
        (math.nan if group.max_w is None else group.max_w) + devices,
        kind.spec.mtbf or mtbf_s,
        repair_s,
    )


def queue_model(scenario: Scenario, kinds: tuple[NodeKind, ...], terms: Terms, catalog: Catalog) -> QueueModel:
    """Return a queue goal with its pools sized by simulation for the demand at the end of each year, and every way to have them.

    Owned and contract nodes stand for the whole year; on-demand ones are paid while busy; a mix reserves what the newsvendor says of the
    simulated demand and rents the rest on demand; spot ones pay the expected repetition of interrupted jobs.

    Raises
    ------
    InputError
        No jobs, unreadable logs, node types that do not say what the jobs count, no way to have any.
    """
    goal = scenario.plan.goals.queue
    bound = bind(scenario, catalog=catalog).jobs
    if bound is None:
        raise NO_JOBS.error(path="plan.goals.queue")
    demand = Demand.of(batch_jobs(bound, scenario).jobs, bound.unit)
    nodes = [_node(kind, scenario, catalog, bound.unit) for kind in kinds]
    nodes = [node for node in nodes if node.per_node > 0]
    if not nodes:
        raise NO_UNIT.error(path="plan.options.nodes", unit=bound.unit)
    lengths = _years(scenario.plan.horizon)
    years = tuple(demand.grown((1.0 + goal.growth) ** (y + 1)) for y in range(len(lengths)))
    policy = scenario.scheduler.policy
    pools = {n: [Pool(d, n, goal.quantile, goal.wait) for d in years] for n in sorted({node.per_node for node in nodes})}
    sized = {n: [pool.size(policy) for pool in row] for n, row in pools.items()}
    rows: list[dict[str, Any]] = []
    sources: list[Source] = []
    for node in nodes:
        found = list(
            sources_of(
                terms,
                {
                    "name": node.kind.name,
                    "accelerator": node.kind.accelerator,
                    "per_node": node.kind.per_node or 1,
                    "price_usd": node.kind.price_usd,
                    "price_from": node.kind.price_from,
                    "peak_w": node.max_w if math.isfinite(node.max_w) else 0.0,
                    "lead_s": node.kind.spec.lead,
                },
            )
        )
        for k, source in enumerate(found):
            rows.append(_row(scenario, node, source, sized[node.per_node], lengths, len(sources) + k, demand, None))
        for k, other in _mixes(found):
            rows.append(_row(scenario, node, found[k], sized[node.per_node], lengths, len(sources) + k, demand, found[other]))
        sources += found
    if not rows:
        raise EMPTY.error(path="plan.options.owners", goal="the queue", hint="; ".join(terms.notes) or "add owners, or prices of the nodes")
    return QueueModel(
        demand,
        years,
        policy,
        sized,
        pools,
        {node.kind.name: node.group for node in nodes},
        {node.kind.name: node.per_node for node in nodes},
        _candidates(scenario, rows, sources),
        sources,
        tuple(node.kind for node in nodes),
        scenario.plan.horizon / YEAR_S,
    )


def _mixes(found: Sequence[Source]) -> list[tuple[int, int]]:
    """Return pairs of a contract and the on-demand nodes of the same provider and place."""
    on_demand = {(s.provider, s.place): k for k, s in enumerate(found) if s.kind == "on-demand"}
    contracts = [(k, s) for k, s in enumerate(found) if s.kind in ("1-year", "3-year")]
    return [(k, on_demand[s.provider, s.place]) for k, s in contracts if (s.provider, s.place) in on_demand]


def _row(
    scenario: Scenario,
    node: _Node,
    source: Source,
    sized: Sequence[Sized],
    lengths: Sequence[float],
    index: int,
    demand: Demand,
    beside: Source | None,
) -> dict[str, Any]:
    """Return one combination over all years; ``beside`` is what is rented on top of a reserved part."""
    per_node, devices = node.per_node, float(node.kind.per_node or 1)
    owned = source.kind == "owned"
    spares = [
        spares_needed(s.nodes, failures_per_s=1.0 / node.mtbf_s, repair_s=node.repair_s, sure_frac=SURE_FRAC)
        if owned and math.isfinite(node.mtbf_s) and node.repair_s
        else 0
        for s in sized
    ]
    cost = electricity = energy = reserved = 0.0
    for s, length, spare in zip(sized, lengths, spares):
        seconds = length * YEAR_S
        busy_nodes = s.mean_busy / per_node
        if owned or (source.term_s > 0 and beside is None):
            cost += (s.nodes + spare) * devices * source.usd_per_device_s * seconds
            standing = float(s.nodes)
        elif beside is not None:
            split = best_reservation(
                s.busy * devices / per_node,
                reserved_usd_per_s=source.usd_per_device_s,
                on_demand_usd_per_s=beside.usd_per_device_s,
                weights=s.weights,
            )
            cost += split.usd_per_s * seconds
            reserved = split.reserved / devices
            standing = max(reserved, busy_nodes)
        else:
            again = 1.0
            if source.interruptions_per_node_s > 0:
                rate = source.interruptions_per_node_s * demand.width / per_node
                again = float(expected_segment_s(demand.run_s, checkpoint_s=0.0, recovery_s=0.0, failures_per_s=rate)) / demand.run_s
            cost += busy_nodes * devices * source.usd_per_device_s * seconds * again
            standing = busy_nodes * again
        joules = (standing * node.idle_w + busy_nodes * node.span_w) * seconds * source.pue
        energy += joules
        electricity += joules * source.usd_per_j if source.usd_per_j is not None and math.isfinite(joules) else 0.0
    last = sized[-1]
    span = sum(lengths) * YEAR_S
    life = source.term_s if owned else LIFE_S
    held = max(s.nodes + spare for s, spare in zip(sized, spares)) if owned else last.mean_busy / per_node
    embodied = held * devices * node.kind.embodied_kg_co2e * min(span / life, 1.0) if node.kind.accelerator else 0.0
    carbon = energy * source.carbon_kg_co2e_per_j + embodied if source.carbon_kg_co2e_per_j is not None else math.nan
    per_rack = node.kind.spec.per_rack or float(nodes_per_rack(node.max_w, rack_w=source.rack_w)) if math.isfinite(node.max_w) else 4.0
    most = max(s.nodes + spare for s, spare in zip(sized, spares))
    outlay = most * devices * source.outlay_usd_per_device if owned else cost
    owner = source.owner if beside is None else f"{source.owner}+{beside.owner}"
    return {
        "axes": {
            "nodes": node.kind.name, "count": last.nodes, "accelerator": node.kind.accelerator, "fabric": "", "storage": "", "owner": owner,
            "provider": source.provider, "place": source.place, "country": source.country,
        },
        "values": {
            "cost_usd": cost + electricity, "time_s": last.wait_s, "sure_s": last.wait_s, "carbon_kg_co2e": carbon, "energy_j": energy,
            "power_w": most * node.max_w * source.pue, "racks": math.ceil(most / per_rack), "outlay_usd": outlay,
            "devices": last.nodes * float(node.kind.per_node), "reserved_nodes": reserved, "spares": float(spares[-1]),
            "delay_s": source.delay_s, "rate_usd_per_s": source.usd_per_device_s, "per_node": float(per_node),
        },
        "parts": {"devices": cost, "electricity": electricity},
        "source": index,
    }  # fmt: skip


def _candidates(scenario: Scenario, rows: Sequence[Mapping[str, Any]], sources: Sequence[Source]) -> Candidates:
    goal, limits = scenario.plan.goals.queue, scenario.plan.limits

    def table(name: str) -> dict[str, npt.NDArray[np.float64]]:
        return {key: np.array([float(row[name][key]) for row in rows]) for key in rows[0][name]}

    axes = {}
    for key in rows[0]["axes"]:
        column = np.empty(len(rows), dtype=object)
        column[:] = [row["axes"][key] for row in rows]
        axes[key] = column
    index = np.array([row["source"] for row in rows])
    values = table("values")
    over = {name: mask[index] for name, mask in admission(limits, sources).items()}
    over["wait"] = values["time_s"] / goal.wait if goal.wait > 0 else np.where(values["time_s"] > 0, np.inf, 0.0)
    site_w, racks, most = (np.array([getattr(sources[k], name) for k in index]) for name in ("power_w", "racks", "most"))
    over["site power"] = np.where(
        np.isinf(site_w), 0.0, np.nan_to_num(values["power_w"], nan=np.inf) / np.where(np.isinf(site_w), 1.0, site_w)
    )
    over["site racks"] = values["racks"] / racks
    over["available"] = values["devices"] / most
    over["simulated"] = np.zeros(len(rows))
    return Candidates("queue", axes, values, table("parts"), over, shared_limits(limits), {"source": index})
