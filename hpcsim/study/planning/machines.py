"""The machines that a training goal may choose: node type, count, fabric and storage, each bound and its best layout found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import exact_text
from hpcsim.catalog.hardware import Node
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import BillRow, Cluster, Fabric
from hpcsim.cost.facility import nodes_per_rack
from hpcsim.cost.models import Work, flop_per_step
from hpcsim.cost.reliability import spares_needed
from hpcsim.run.bind import Bound, bind
from hpcsim.run.failures import node_figures
from hpcsim.run.prices import facility_of
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.plan import FabricOptionSpec, NodeOptionSpec, StorageOptionSpec
from hpcsim.workload.networks import cost_model
from hpcsim.workload.training import TrainingPlan
from hpcsim.workload.training import _steps as run_steps

__all__ = ["GROUP", "UNKNOWN_RUN", "Machine", "NodeKind", "fabric_of", "kinds_of", "machines_for", "network_price", "varied"]

UNKNOWN_RUN = problem_kind("plan-run", "the workload has no training run {name!r}", "{hint}")
NO_MACHINE = problem_kind("plan-without-machine", "none of {tried} machines can run {name}: {why}", "{hint}")
NO_NODES = problem_kind("plan-without-nodes", "nothing says which nodes may be chosen", "name node types under plan.options.nodes")

GROUP = "nodes"
"""Node group of a varied scenario."""
_LATENCY, _RADIX = "20 us", 64
_SPAN = 16
"""Largest number of accelerators tried over what could do it at full peak."""
SURE_FRAC = 0.99
"""Probability with which the spares suffice."""


@dataclass(frozen=True)
class NodeKind:
    """A node type that may be chosen, resolved.

    Attributes
    ----------
    name, type : str
    spec : NodeOptionSpec
    entry : Node
        Of the catalog.
    accelerator : str
    per_node : int
    price_usd : float or None
    price_from : str
    embodied_kg_co2e : float
        Of one accelerator with its share of the node.
    embodied_from : str
    """

    name: str
    spec: NodeOptionSpec
    entry: Node
    accelerator: str
    per_node: int
    price_usd: float | None
    price_from: str
    embodied_kg_co2e: float
    embodied_from: str


@dataclass(frozen=True)
class Machine:
    """A machine that can run the goal.

    Attributes
    ----------
    kind : NodeKind
    fabric, storage : str
        Names of the options.
    nodes, spares : int
    bound : Bound
    plan : TrainingPlan
    network_w, storage_w, network_usd : float
        Power of switches, and of storage; price of switches and transceivers.
    node_w : float
        Highest IT power of a node; NaN where unknown.
    idle_w : float
        Of a node with its devices; NaN where unknown.
    racks_per_node : float
    mtbf_s, repair_s : float
        Of a node; infinite where nothing fails.
    """

    kind: NodeKind
    fabric: str
    storage: str
    nodes: int
    spares: int
    bound: Bound
    plan: TrainingPlan
    network_w: float
    storage_w: float
    network_usd: float
    node_w: float
    idle_w: float
    mtbf_s: float
    repair_s: float
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def devices(self) -> int:
        """Accelerators that work."""
        return self.plan.devices

    def per_rack(self, rack_w: float) -> float:
        """Return the nodes of a rack that can cool ``rack_w``."""
        if self.kind.spec.per_rack:
            return float(self.kind.spec.per_rack)
        return float(nodes_per_rack(self.node_w, rack_w=rack_w)) if math.isfinite(self.node_w) else 4.0


def _embodied(name: str, spec: NodeOptionSpec, accelerator: str, catalog: Catalog) -> tuple[float, str]:
    if spec.embodied is not None:
        return spec.embodied, "given"
    family = accelerator.split("-")[0]
    for entry_name in catalog.names("carbon"):
        if family and family in entry_name.split("-"):
            entry: Any = catalog.find("carbon", entry_name)
            if entry.category == "embodied" and entry.embodied_kg_co2e is not None:
                return float(entry.embodied_kg_co2e), f"catalog, {entry_name}"
    entry = catalog.find("carbon", "a100-hotcarbon")
    return float(entry.embodied_kg_co2e), f"no figure of {name}; that of an A100 stands in"


def kinds_of(scenario: Scenario, catalog: Catalog) -> tuple[NodeKind, ...]:
    """Return the node types that may be chosen; those of the cluster that have a type where the plan names none.

    Raises
    ------
    InputError
        Unknown types.
    """
    specs: dict[str, NodeOptionSpec] = dict(scenario.plan.options.nodes)
    if not specs:
        specs = {name: NodeOptionSpec(type=group.type) for name, group in scenario.cluster.nodes.items() if group.type}
    if not specs:
        raise NO_NODES.error(path="plan.options.nodes")
    kinds, problems = [], []
    for name, spec in specs.items():
        try:
            entry = catalog.node(spec.type)
        except InputError as error:
            problems += [p.located(path=f"plan.options.nodes.{name}.type") for p in error.problems]
            continue
        price, source = spec.price, "given in the scenario"
        if price is None and entry.price_usd is not None:
            fact = entry.fact("price_usd")
            price, source = float(fact.value), f"{entry.price_date or 'undated'}, {fact.source}"
        accelerator = entry.accelerator or ""
        kg, kg_from = _embodied(name, spec, accelerator, catalog)
        kinds.append(NodeKind(name, spec, entry, accelerator, entry.accelerators, price, source, kg, kg_from))
    if problems:
        raise InputError(problems)
    return tuple(kinds)


def fabric_of(option: FabricOptionSpec | None, kind: NodeKind, scenario: Scenario, catalog: Catalog) -> dict[str, Any]:
    """Return the fabric section for a node type: the option's, or the cluster's with the node type's own ports."""
    base: dict[str, Any] = {}
    if option is None and scenario.cluster.fabric is not None:
        base = {"topology": scenario.cluster.fabric.topology, "oversubscription": scenario.cluster.fabric.oversubscription}
        same = scenario.cluster.nodes
        if any(group.type and catalog.node(group.type).id == kind.entry.id for group in same.values()):
            dumped: dict[str, Any] = scenario.cluster.fabric.model_dump(mode="json", exclude_unset=True)
            return dumped
    elif option is not None:
        base = option.model_dump(mode="json", exclude_unset=True, exclude={"port"})
    link = base.get("link") or kind.entry.nic
    fabric = {"topology": "fat-tree", **base, "link": link or "ethernet-400g"}
    if "per_node" not in fabric:
        fabric["per_node"] = kind.entry.nics or 1
    try:
        entry = catalog.link(fabric["link"])
    except InputError:
        return fabric
    if "latency" not in fabric and entry.latency_s is None and entry.tcp_latency_s is None:
        fabric["latency"] = _LATENCY
    if "radix" not in fabric and entry.switch_ports is None:
        fabric["radix"] = _RADIX
    return fabric


def _default_counts(scenario: Scenario, name: str, kind: NodeKind, flop: float, peak: float) -> list[int]:
    """Return numbers of nodes from what could do the run at full peak in time to sixteen times that, two to an octave."""
    goal = scenario.plan.goals.train[name]
    limit_s = min(x for x in (goal.within, goal.by) if x is not None)
    least = flop / (peak * limit_s) / kind.per_node
    low = 2.0 ** math.floor(math.log2(max(least, 1.0)))
    steps = [low * step * 2.0**k for k in range(int(math.log2(_SPAN)) + 1) for step in (1.0, 1.5)]
    return sorted({max(round(n), 1) for n in steps if n <= _SPAN * max(least, 1.0) * 1.001})


def _counts(scenario: Scenario, name: str, kind: NodeKind, flop: float, peak: float, removed: Counter[str]) -> list[int]:
    if kind.spec.counts:
        return sorted(set(kind.spec.counts))
    if not scenario.plan.options.counts:
        return _default_counts(scenario, name, kind, flop, peak)
    nodes = []
    for devices in sorted(set(scenario.plan.options.counts)):
        if devices % kind.per_node:
            removed["nodes"] += 1
        else:
            nodes.append(devices // kind.per_node)
    return nodes


def varied(
    scenario: Scenario,
    run: str,
    kind: NodeKind,
    nodes: int,
    fabric: Mapping[str, Any],
    storage: tuple[str, StorageOptionSpec] | None,
    *,
    spares: int = 0,
    site: Mapping[str, Any] | None = None,
    price: Mapping[str, Any] | None = None,
    mtbf_s: float | None = None,
    repair_s: float | None = None,
    layout: Mapping[str, Any] | None = None,
    every_s: float | None = None,
) -> Scenario:
    """Return the scenario of one run on one machine: everything else of the scenario stays as it is."""
    data = scenario.data()
    training = {k: v for k, v in data["workload"]["training"][run].items() if k not in ("nodes", "count")}
    spec = scenario.workload.training[run].layout
    if layout is not None:
        training["layout"] = dict(layout)
    elif not spec.auto:
        training["layout"] = "auto"
    cluster: dict[str, Any] = {k: v for k, v in data["cluster"].items() if k not in ("nodes", "fabric", "prices")}
    cluster["nodes"] = {GROUP: {"type": kind.entry.id, "count": nodes, **({"spares": spares} if spares else {})}}
    if nodes > 1:
        cluster["fabric"] = dict(fabric)
    if storage is not None:
        name, option = storage
        tier = option.model_dump(mode="json", exclude_unset=True, exclude={"price", "rent"})
        cluster["storage"] = {**cluster.get("storage", {}), name: tier}
        if "checkpoint" in training:
            training["checkpoint"] = {**training["checkpoint"], "to": name}
    if every_s is not None and "checkpoint" in training:
        training["checkpoint"] = {**training["checkpoint"], "every": exact_text(every_s, "time")}
    if site is not None:
        cluster["site"] = dict(site)
    if price is not None:
        cluster["prices"] = {GROUP: dict(price)}
    changes: dict[str, Any] = {"cluster": cluster, "workload": {"training": {run: training}}, "published": {}, "sweep": {}}
    if mtbf_s is not None:
        failure = {"mtbf": exact_text(mtbf_s, "time"), "repair": exact_text(repair_s or 0.0, "time")} if math.isfinite(mtbf_s) else None
        changes["failures"] = {"node": failure} if failure else {}
    return scenario.vary(changes)


def network_price(cluster: Cluster, catalog: Catalog, port_usd: float | None = None) -> dict[str, tuple[int, float, str]]:
    """Return the parts of a fabric's bill of materials: count, price of one [USD] and where that is from.

    Switches, cables and transceivers are counted from the fabric's own wiring (``cluster.bill``, table ``fabric_parts``), at their list prices. A
    switch without one costs what the catalog's NDR switch costs by port and rate; fibre without one counts for nothing. ``port_usd`` replaces
    all of it by a price for each port of a node.
    """
    fabric, size = cluster.fabric, cluster.fabric_size
    if fabric is None or size is None:
        return {}
    if port_usd is not None:
        return {"network, by port of a node": (size.cables[0] if size.cables else 0, port_usd, "given in the scenario")}
    found: dict[str, tuple[int, float, str]] = {}
    for row in cluster.bill:
        each, words = row.each_usd, _price_source(row, catalog)
        if math.isnan(each) and row.part == "switch":
            each, words = _switch_price(fabric, catalog)
        if row.number and not (math.isnan(each) and row.item == "wide-area line"):
            name = f"{row.part} {row.item}, {row.tier}" if row.part != row.item else f"{row.part}, {row.tier}"
            found[name] = (
                row.number,
                0.0 if math.isnan(each) else each,
                words if not math.isnan(each) else "no list price; counts for nothing",
            )
    return found


def _price_source(row: BillRow, catalog: Catalog) -> str:
    """Return where the list price of a part is from."""
    for name in (row.item, "dac-400g-2m" if row.item.startswith("copper") else ""):
        try:
            return f"{name}: {catalog.link(name).fact('price_usd').source}"
        except InputError:
            continue
    return "list price of the link's entry, or given in the scenario"


def _switch_price(fabric: Fabric, catalog: Catalog) -> tuple[float, str]:
    switch = catalog.link("switch-ndr-64p")
    each = float(switch.price_usd or 0.0) / float(switch.switch_ports or 1) / float(switch.bytes_per_s or 1.0)
    ports = fabric.switch_ports or fabric.radix or _RADIX
    return each * ports * fabric.bytes_per_s, f"{switch.id}, by port and rate: {switch.fact('price_usd').source}"


def _one(
    scenario: Scenario,
    run: str,
    kind: NodeKind,
    nodes: int,
    fabric: tuple[str, FabricOptionSpec | None],
    storage: tuple[str, StorageOptionSpec] | None,
    catalog: Catalog,
) -> Machine:
    mtbf_s, repair_s = node_figures(scenario.failures, catalog, kind.entry.accelerators or 0)
    mtbf_s = kind.spec.mtbf or mtbf_s
    built = varied(scenario, run, kind, nodes, fabric_of(fabric[1], kind, scenario, catalog), storage, mtbf_s=math.inf)
    bound = bind(built, catalog=catalog)
    group = bound.cluster.groups[GROUP]
    a = group.accelerator
    facility, _ = facility_of(bound.cluster)
    devices_w = group.per_node * (a.tdp_w or math.nan) if a else 0.0
    idle_w = group.per_node * (math.nan if a is None or a.idle_w is None else a.idle_w)
    spares = spares_needed(nodes, failures_per_s=1.0 / mtbf_s, repair_s=repair_s, sure_frac=SURE_FRAC) if repair_s else 0
    network = network_price(bound.cluster, catalog, fabric[1].port if fabric[1] else None)
    return Machine(
        kind=kind,
        fabric=fabric[0],
        storage=storage[0] if storage else _tier(scenario, run),
        nodes=nodes,
        spares=spares,
        bound=bound,
        plan=bound.trainings[0],
        network_w=facility.network_w,
        storage_w=facility.storage_w,
        network_usd=sum(count * price for count, price, _ in network.values()),
        node_w=(math.nan if group.max_w is None else group.max_w) + devices_w,
        idle_w=(math.nan if group.idle_w is None else group.idle_w) + idle_w,
        mtbf_s=mtbf_s,
        repair_s=repair_s,
    )


def _tier(scenario: Scenario, run: str) -> str:
    checkpoint = scenario.workload.training[run].checkpoint
    return checkpoint.to if checkpoint else ""


def _space(scenario: Scenario) -> Iterator[tuple[tuple[str, FabricOptionSpec | None], tuple[str, StorageOptionSpec] | None]]:
    options = scenario.plan.options
    fabrics: list[tuple[str, FabricOptionSpec | None]] = list(options.fabrics.items()) or [("own ports", None)]
    tiers: list[tuple[str, StorageOptionSpec] | None] = list(options.storage.items()) or [None]
    for fabric in fabrics:
        for tier in tiers:
            yield fabric, tier


def _flop(scenario: Scenario, run: str, catalog: Catalog) -> float:
    """Return the FLOP of a whole run: those of the model's passes over every token."""
    spec = scenario.workload.training[run]
    network = resolve_model(spec.model, catalog, name=run, path=f"workload.training.{run}.model", folder=scenario.folder)
    model = cost_model(network)
    if isinstance(model, Work):
        return float(3.0 * float(np.asarray(model.flop_per_sample)) * spec.global_batch * run_steps(spec))
    forward = flop_per_step(model, global_batch=spec.global_batch, sequence=spec.sequence)
    return float(3.0 * sum(float(part) for part in forward.values()) * run_steps(spec))


def machines_for(scenario: Scenario, run: str, kinds: tuple[NodeKind, ...], catalog: Catalog) -> tuple[list[Machine], Counter[str]]:
    """Return every machine that can run a training goal, and why others cannot: counts by the code of the problem.

    Raises
    ------
    InputError
        No such run, or not one machine.
    """
    if run not in scenario.workload.training:
        known = ", ".join(scenario.workload.training) or "none"
        raise UNKNOWN_RUN.error(path=f"plan.goals.train.{run}", name=run, hint=f"its runs: {known}")
    precision = scenario.workload.training[run].precision
    flop = _flop(scenario, run, catalog)
    found: list[Machine] = []
    removed: Counter[str] = Counter()
    first: dict[str, InputError] = {}
    tried = 0
    for kind in kinds:
        if not kind.accelerator:
            continue
        peaks = catalog.accelerator(kind.accelerator).peak_flop_per_s
        peak = max((float(peaks[p]) for p in (precision, f"{precision}_tensor") if p in peaks), default=0.0)
        if not peak:
            removed["precision"] += 1
            continue
        for nodes in _counts(scenario, run, kind, flop, peak, removed):
            for fabric, tier in _space(scenario):
                tried += 1
                try:
                    found.append(_one(scenario, run, kind, nodes, fabric, tier, catalog))
                except InputError as error:
                    removed[error.problems[0].code] += 1
                    first.setdefault(error.problems[0].code, error)
    if not found:
        why = ", ".join(f"{n} by {code}" for code, n in removed.most_common()) or "no node type has an accelerator"
        if first:
            problem = next(iter(first.values())).problems[0]
            raise NO_MACHINE.error(
                path=f"plan.goals.train.{run}", tried=tried, name=run, why=f"{why}: {problem.message}", hint=problem.hint
            )
        raise NO_MACHINE.error(path=f"plan.goals.train.{run}", tried=tried, name=run, why=why, hint="add node types that can")
    return found, removed
