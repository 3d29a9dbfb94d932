"""A queue goal at work: its five steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.facility import cooling_w
from hpcsim.cost.money import YEAR_S, months_until_full, refresh_years
from hpcsim.cost.reliability import availability, repair_crew, spares_needed
from hpcsim.results.quantities import brief
from hpcsim.run.failures import node_figures
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.candidates import Candidates, order
from hpcsim.study.planning.confirm import Confirmed
from hpcsim.study.planning.keep import progress_of_nodes
from hpcsim.study.planning.machines import SURE_FRAC, NodeKind
from hpcsim.study.planning.queue import Demand, QueueModel, Sized, queue_model
from hpcsim.study.planning.reasons import flip_words, rivals, why_words
from hpcsim.study.planning.sheet import MONTH_S, Pen, Sheet
from hpcsim.study.planning.sources import Source, Terms

__all__ = ["QueueWork", "queue_work"]

NEEDS, CHOICE, BUILD, TUNE, KEEP = "requirement analysis", "planning", "construction", "optimisation", "maintenance"
FULL_FRAC = 0.85
"""Utilisation above which waits grow out of hand."""
RECORD_BYTES = 1000.0
"""A job's line in the accounting log and in the audit trail."""


@dataclass
class QueueWork:
    """The queue of the batch jobs."""

    scenario: Scenario
    catalog: Catalog
    terms: Terms
    objective: str
    model: QueueModel
    found: Candidates
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def source_of(self, row: int) -> Source:
        """Return where a combination gets its nodes."""
        return self.model.sources[int(self.found.extra["source"][row])]

    def kind_of(self, row: int) -> NodeKind:
        """Return the node type of a combination."""
        return next(kind for kind in self.model.kinds if kind.name == self.found.axes["nodes"][row])

    def _sized(self, row: int) -> list[Sized]:
        return self.model.sized[int(self.found.values["per_node"][row])]

    def confirm(self, row: int) -> None:
        """Note the simulated wait: pools are sized by simulation."""
        sized = self._sized(row)[-1]
        waits = [s.wait_s for s in self._sized(row)]
        cost = float(self.found.values["cost_usd"][row])
        self.confirmed[row] = Confirmed(sized.wait_s, min(waits), max(waits), cost, 1.0, 0.0, len(waits))

    def rivals_of(self, found: Candidates, row: int) -> list[int]:
        """Return the best with other nodes and another owner."""
        return [rival.row for rival in rivals(found, row, self.objective) if rival.axis in ("accelerator", "owner")]

    def price(self, row: int) -> str:
        """Return the price of the source."""
        return self.source_of(row).words

    def says(self, row: int) -> str:
        """Return what to buy or rent for the pool, of whom and where."""
        first, last = (sized.nodes for sized in (self._sized(row)[0], self._sized(row)[-1]))
        machine = f"{first:,} nodes growing to {self.found.machine(row)}" if first != last else self.found.machine(row)
        return self.source_of(row).acquired(machine, "the queue", str(self.found.axes["owner"][row]))

    def write(self, sheet: Sheet, found: Candidates, row: int, *, reached: bool) -> None:
        """Add the five steps."""
        for step in (_needs, _choice, _build, _tune, _keep):
            step(self, sheet, found, row)
        self.notes.append(
            "queue: run times are those of the log on whatever node type is chosen; spot nodes restart an interrupted job from its beginning."
        )


def queue_work(scenario: Scenario, kinds: tuple[NodeKind, ...], terms: Terms, catalog: Catalog) -> QueueWork:
    """Return the queue goal with all its combinations."""
    model = queue_model(scenario, kinds, terms, catalog)
    return QueueWork(scenario, catalog, terms, scenario.plan.objective, model, model.found)


def _growth(w: QueueWork) -> float:
    return float((1.0 + w.scenario.plan.goals.queue.growth) ** (1 / 12) - 1.0)


def _needs(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    demand, goal, unit = w.model.demand, w.scenario.plan.goals.queue, w.model.demand.unit
    per_node, sized = int(found.values["per_node"][row]), w._sized(row)
    last = w.model.years[-1]
    add = sheet.pen(NEEDS, "queue", "compute")
    add(
        f"{unit}s busy on average, today",
        demand.load,
        why="Σ processors × run time over the time of the submissions",
        flips="in proportion to the demand",
    )
    add(f"{unit}s busy on average, at the end", last.load, why=f"{goal.growth:.0%} more a year over {w.model.horizon_years:.3g} years")
    mean = f"M/M/c at the quantile × (c_a² {demand.arrival_scv:.2f} + c_s² {demand.service_scv:.2f})/2, jobs of the work-weighted width {demand.width:.3g}"
    add("nodes at the end, by queueing theory", math.ceil(last.analytic(goal.quantile, goal.wait) / per_node), why=mean)
    why = f"fewest whose wait at {goal.quantile:.0%} is within {readable(goal.wait, 'time', 3)} under {w.model.policy}, jobs replayed"
    add("nodes at the end, by simulation", float(sized[-1].nodes), why=why)
    share = demand.load / (sized[0].nodes * per_node)
    add("load ρ of the first year's pool", share, "rho_frac", "busy over all processors")
    if goal.growth > 0:
        months = float(months_until_full(share, FULL_FRAC, growth_frac=_growth(w)))
        add(
            f"months until that pool is {FULL_FRAC:.0%} full",
            months,
            why="ln(limit/ρ)/ln(1 + g)",
            flips="order lead time subtracts from it",
        )
    memory = w.kind_of(row).entry.memory_bytes
    add = sheet.pen(NEEDS, "queue", "storage")
    if memory:
        add(
            "room to save everything that runs",
            sized[-1].nodes * memory,
            "capacity_bytes",
            "main memory of all nodes: a checkpoint of every job at once",
        )
    else:
        add("room to save everything that runs", "unknown", why="the catalog has no main memory of the node type")
    widest = math.ceil(demand.widest / per_node)
    sheet.pen(NEEDS, "queue", "network")(
        "nodes of the widest job", float(widest), why=f"{demand.widest:,} {unit}s; the fabric has to serve a job of that width"
    )
    rate = len(demand.jobs) / demand.span_s * last.load / demand.load
    sheet.pen(NEEDS, "queue", "data")(
        "records of jobs in a year",
        rate * YEAR_S * RECORD_BYTES,
        "log_bytes",
        f"{rate * 86400:,.0f} jobs a day at {RECORD_BYTES:g} B for accounting and audit",
    )
    sheet.pen(NEEDS, "queue", "AI platform")(
        "mean run time of a job", demand.run_s, "run_s", f"{len(demand.jobs):,} jobs in {readable(demand.span_s, 'time', 3)}"
    )
    users = len(np.unique(demand.jobs.user)) if demand.jobs.user is not None else 0
    sheet.pen(NEEDS, "queue", "governance")("users to be kept apart", float(users), why="accounts of the log")


def _choice(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    by_axis = {rival.axis: rival for rival in rivals(found, row, w.objective)}
    source, sized, goal = w.source_of(row), w._sized(row), w.scenario.plan.goals.queue
    compute = sheet.pen(CHOICE, "queue", "compute")
    for pen, axis, item, value in (
        (compute, "accelerator", "nodes", f"{found.axes['nodes'][row]} ({w.kind_of(row).entry.id})"),
        (compute, "owner", "owner", f"{found.axes['owner'][row]} of {source.provider}"),
        (sheet.pen(CHOICE, "queue", "data"), "place", "place", source.place),
    ):
        rival = by_axis.get(axis)
        why = why_words(found, rival, row, w.objective) if rival else "no other that keeps the limits"
        pen(item, value, why=why, flips=flip_words(rival, w.objective) if rival else "further options")
    for year, s in enumerate(sized, 1):
        compute(
            f"nodes in year {year}",
            float(s.nodes),
            why=f"simulated: {readable(s.wait_s, 'time', 3)} at {goal.quantile:.0%}, mean {readable(s.mean_wait_s, 'time', 3)}",
            flips=f"one node fewer waits longer than {readable(goal.wait, 'time', 3)}; more demand, or a shorter wait, takes more",
        )
    reserved = float(found.values["reserved_nodes"][row])
    if reserved > 0:
        compute(
            "of them reserved in the last year",
            reserved,
            why="newsvendor: as much as is used for a share reserved/on-demand price of the time",
            flips="the ratio of the two prices",
        )
    sheet.pen(CHOICE, "queue", "storage")(
        "tier", next(iter(w.scenario.cluster.storage), "none"), why="that of the cluster: the jobs of a log do not say what they read"
    )
    sheet.pen(CHOICE, "queue", "network")(
        "nodes on one fabric", float(sized[-1].nodes), why="all of the pool, so that any job can have any nodes"
    )
    w_wait = w.confirmed.get(row)
    platform = sheet.pen(CHOICE, "queue", "AI platform")
    platform("policy", w.model.policy, why="the scenario's scheduler", flips="see optimisation: the nodes that other policies need")
    if w_wait:
        platform(
            "longest of the years' waits at the quantile, simulated", w_wait.high_s, "wait_s", f"goal {readable(goal.wait, 'time', 3)}"
        )
    governance = sheet.pen(CHOICE, "queue", "governance")
    governance(
        "cost over the horizon",
        float(found.values["cost_usd"][row]),
        "cost_usd",
        ", ".join(f"{n} {brief('cost_usd', float(p[row]))}" for n, p in found.parts.items() if p[row] > 0),
    )
    jobs = sum(len(w.model.demand.jobs) / w.model.demand.span_s * d.load / w.model.demand.load * YEAR_S for d in w.model.years)
    governance("cost of a job", float(found.values["cost_usd"][row]) / jobs, "job_usd", f"{jobs:,.0f} jobs over the horizon")
    governance("country", source.country or "unknown", why=source.words)


def _devices(w: QueueWork, row: int) -> float:
    return float(w.kind_of(row).per_node or 1)


def _yearly_w(w: QueueWork, found: Candidates, row: int) -> list[float]:
    """Return the mean facility power of each year: the energy of the horizon, shared by the busy processors of the years."""
    sized = w._sized(row)
    busy = [s.mean_busy for s in sized]
    mean = float(found.values["energy_j"][row]) / w.scenario.plan.horizon
    return [mean * b / (sum(busy) / len(busy)) for b in busy]


def _build(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    source, sized, kind = w.source_of(row), w._sized(row), w.kind_of(row)
    owned = source.kind == "owned"
    spares = int(found.values["spares"][row])
    peak = max(s.nodes for s in sized)
    if owned:
        price = float(kind.price_usd or 0.0)
        before = 0
        purchase: dict[int, float] = {}
        for year, s in enumerate(sized):
            more = max(s.nodes + (spares if year == 0 else 0) - before, 0)
            before = max(before, s.nodes + (spares if year == 0 else 0))
            sheet.buy("queue", "compute", f"{kind.entry.id}, year {year + 1}", more, "nodes", price, kind.price_from)
            if more:
                purchase[12 * year] = more * price
    else:
        purchase = {}
        rate = source.usd_per_device_s * 3600
        sheet.buy(
            "queue",
            "compute",
            f"{found.axes['owner'][row]} {kind.entry.id}",
            float(found.parts["devices"][row]) / rate,
            "device-hours",
            rate,
            source.words,
        )
    horizon = w.scenario.plan.horizon
    fixed = 0.0
    if owned:
        capital = source.outlay_usd_per_device * source.usd_per_s_of_usd
        fixed = max(source.usd_per_device_s - capital, 0.0) * (peak + spares) * _devices(w, row)
    sheet.flow(
        "queue", horizon_s=horizon, start_s=source.delay_s, end_s=horizon, purchase=purchase, life_years=max(round(source.term_s / YEAR_S), 1) if owned else 1,
        rent_usd_per_s=0.0 if owned else float(found.parts["devices"][row]) / horizon, rent_end_s=horizon, fixed_usd_per_s=fixed, fixed_end_s=horizon,
        running_usd_per_s=float(found.parts["electricity"][row]) / horizon, nodes=[float(s.nodes + spares) for s in sized], power_w=_yearly_w(w, found, row),
    )  # fmt: skip
    add = sheet.pen(BUILD, "queue", "compute")
    add("nodes with spares, at the end", float(peak + spares), why=f"{spares} spare")
    add("racks", float(found.values["racks"][row]), why=f"racks of {readable(source.rack_w, 'power', 3)}")
    it_w = float(found.values["power_w"][row]) / source.pue
    add("IT power at its highest", it_w, "it_w", "all nodes fully used")
    add(
        "cooling and distribution",
        float(cooling_w(it_w, pue=source.pue)) if math.isfinite(it_w) else math.nan,
        "cooling_w",
        f"PUE {source.pue:.3g}",
    )
    sheet.pen(BUILD, "queue", "storage")(
        "local storage of the nodes", peak * float(kind.entry.local_bytes or 0.0), "capacity_bytes", "as the node type has it"
    )
    ports = peak * (kind.entry.nics or 1)
    sheet.pen(BUILD, "queue", "network")(
        "fabric ports", float(ports), why=f"{kind.entry.nics or 1} a node ({kind.entry.nic or 'the cluster’s link'})"
    )
    sheet.pen(BUILD, "queue", "data")("home of the logs", source.place, why="accounting and audit stay where the pool is")
    ramp = ", ".join(f"year {y + 1}: {s.nodes:,}" for y, s in enumerate(sized))
    sheet.pen(BUILD, "queue", "AI platform")(
        "ramp", ramp, why="nodes for the demand at the end of each year stand from its beginning", flips="growth of the demand"
    )
    sheet.pen(BUILD, "queue", "governance")(
        "money bound",
        float(found.values["outlay_usd"][row]),
        "outlay_usd",
        "purchases over the horizon" if owned else "rent over the horizon",
    )


def _policies(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    """Size the last year's pool under every policy of the goal."""
    pool = w.model.pools[int(found.values["per_node"][row])][-1]
    now = w._sized(row)[-1]
    share = float(found.values["cost_usd"][row]) / max(sum(s.nodes for s in w._sized(row)), 1)
    for policy in w.scenario.plan.goals.queue.policies:
        if policy == w.model.policy:
            continue
        other = pool.size(policy)
        sheet.save(
            "queue", "AI platform", f"policy {policy} instead of {w.model.policy}", f"{now.nodes:,} nodes", f"{other.nodes:,} nodes",
            f"pool of the last year sized by simulation for the same wait: {readable(other.wait_s, 'time', 3)} at the quantile, mean {readable(other.mean_wait_s, 'time', 3)}",
            usd=(now.nodes - other.nodes) * share, s=now.mean_wait_s - other.mean_wait_s,
        )  # fmt: skip


def _tune(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    before = len(sheet.savings)
    source, sized = w.source_of(row), w._sized(row)
    _policies(w, sheet, found, row)
    pool = w.model.pools[int(found.values["per_node"][row])][-1]
    exact = Demand.of(pool.demand.jobs.with_estimates(pool.demand.jobs.run_s), pool.demand.unit)
    told = type(pool)(exact, pool.per_node, pool.quantile, pool.wait_s).run(sized[-1].nodes, w.model.policy)
    sheet.save(
        "queue", "AI platform", "run times predicted exactly (upper bound of learning them)", f"mean wait {readable(sized[-1].mean_wait_s, 'time', 3)}", f"{readable(told.mean_wait_s, 'time', 3)}",
        "the same pool and policy, told the actual run times", s=sized[-1].mean_wait_s - told.mean_wait_s,
    )  # fmt: skip
    idle = [(s.nodes - s.mean_busy / pool.per_node) for s in sized]
    group = w.model.groups[str(found.axes["nodes"][row])]
    a = group.accelerator
    idle_w = (group.idle_w or math.nan) + (group.per_node * (a.idle_w or math.nan) if a else 0.0)
    joules = sum(idle) * YEAR_S * idle_w * source.pue
    if source.kind == "owned" and math.isfinite(joules):
        sheet.save(
            "queue", "compute", "switch idle nodes off (consolidate)", f"{sum(idle) / len(idle):,.3g} nodes idle on average", "off",
            f"idle nodes × {readable(idle_w, 'power', 3)} × PUE over the horizon", usd=joules * (source.usd_per_j or 0.0), kg_co2e=joules * (source.carbon_kg_co2e_per_j or 0.0),
        )  # fmt: skip
    rows = np.flatnonzero(found.feasible() & np.isfinite(found.values["carbon_kg_co2e"]))
    if rows.size and math.isfinite(float(found.values["carbon_kg_co2e"][row])):
        i = int(order(found, "carbon", rows)[0])
        sheet.save(
            "queue", "governance", "run at the cleanest place that keeps all limits", readable(float(found.values["carbon_kg_co2e"][row]), "carbon mass", 3), found.words(i),
            "best combination by carbon", kg_co2e=float(found.values["carbon_kg_co2e"][row] - found.values["carbon_kg_co2e"][i]), usd=float(found.values["cost_usd"][row] - found.values["cost_usd"][i]),
        )  # fmt: skip
    for facet in ("compute", "storage", "network", "data", "AI platform", "governance"):
        mine = [s for s in sheet.savings[before:] if s["facet"] == facet]
        pen = sheet.pen(TUNE, "queue", facet)
        if not mine:
            pen("measure", "none applies", why="the jobs of a log say nothing of it")
        for best in mine[:2]:
            usd = best["saves_usd"]
            pen(
                best["measure"],
                f"{best['before']} → {best['after']}",
                why=(f"saves {brief('cost_usd', usd)}: " if usd > 0 else "") + best["formula"],
            )


def _keep(w: QueueWork, sheet: Sheet, found: Candidates, row: int) -> None:
    source, kind, sized = w.source_of(row), w.kind_of(row), w._sized(row)
    mtbf, repair = node_figures(w.scenario.failures, w.catalog, kind.entry.accelerators or 0)
    mtbf = kind.spec.mtbf or mtbf
    add: Pen = sheet.pen(KEEP, "queue", "compute")
    nodes = sized[-1].nodes
    if math.isfinite(mtbf) and repair > 0:
        add("node failures in a month", nodes / mtbf * MONTH_S, why=f"nodes over {readable(mtbf, 'time', 4)}")
        spare = spares_needed(nodes, failures_per_s=1 / mtbf, repair_s=repair, sure_frac=SURE_FRAC)
        add(
            "spares",
            float(spare),
            why=f"99 % quantile of Poisson({nodes * repair / mtbf:.3g} in repair)",
            flips="the repair time, in proportion",
        )
        add("availability of a node", float(availability(mtbf, repair)), "availability_frac", "MTBF/(MTBF + repair)")
        crew = repair_crew(nodes, mtbf_s=mtbf, repair_s=repair, crew=max(math.ceil(nodes * repair / mtbf), 1))
        add(
            "repairs that must go on at once",
            float(crew.crew),
            why=f"a failed node waits {readable(crew.wait_s, 'time', 2)} for one of them",
        )
    else:
        add("spares", 0.0, why="no failures are given", flips="failures.node")
    sheet.pen(KEEP, "queue", "storage")("drives of the nodes", "replaced with their node", why="local storage is part of the node type")
    sheet.pen(KEEP, "queue", "network")(
        "ports that a failed leaf switch takes along", float(min(nodes * (kind.entry.nics or 1), 64)), why="a leaf of at most 64 ports"
    )
    sheet.pen(KEEP, "queue", "data")(
        "logs to keep for seven years",
        7 * len(w.model.demand.jobs) / w.model.demand.span_s * YEAR_S * RECORD_BYTES,
        "log_bytes",
        "accounting and audit trail",
    )
    share = 8 * 3600.0 / MONTH_S
    sheet.pen(KEEP, "queue", "AI platform")(
        "load ρ with a window of 8 h in each month",
        w.model.years[-1].load / (nodes * found.values["per_node"][row] * (1 - share)),
        "rho_frac",
        f"{share:.2%} of the time is lost, unless updates roll over spares",
    )
    governance = sheet.pen(KEEP, "queue", "governance")
    if source.kind == "owned" and kind.accelerator:
        growth = progress_of_nodes(w.catalog, "bf16")
        total = source.usd_per_device_s
        running = max(total - source.outlay_usd_per_device * source.usd_per_s_of_usd, 0.0) + float(
            found.parts["electricity"][row]
        ) / w.scenario.plan.horizon / max(nodes * _devices(w, row), 1)
        years = float(refresh_years(running_usd_per_year=running, new_usd_per_work=total, work_per_year=1.0, growth_frac=growth))
        governance(
            "refresh after",
            years,
            "years",
            f"when new nodes do the same work for less than these cost to run, at {growth:.0%} more work for a dollar a year",
            "dearer electricity brings it forward",
        )
    else:
        governance(
            "refresh",
            "at the end of the contract" if source.term_s else "with the provider's next type",
            why="rented" if source.kind != "owned" else "no progress of such nodes is in the catalog",
        )
