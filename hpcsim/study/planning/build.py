"""Construction of a training goal's machine: bill of materials, racks, power, cooling, cables, delivery, ramp and cash."""

from __future__ import annotations

import math

from hpcsim.base.units import readable
from hpcsim.cost.facility import cooling_w
from hpcsim.cost.money import YEAR_S, npv
from hpcsim.results.quantities import brief
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.machines import network_price
from hpcsim.study.planning.sheet import MONTH_S, Pen, Sheet
from hpcsim.study.planning.train import data_bytes

__all__ = ["train_build"]

STEP = "construction"
WAN_BYTES_PER_S = 100e9 / 8
"""Wide-area port over which the data arrive: 100 Gbit/s."""


def _bill(c: TrainContext, sheet: Sheet) -> None:
    machine, source, goal = c.machine, c.source, c.goal
    charge_h = c.value("charge_s") / 3600.0
    if source.kind == "owned":
        price = float(machine.kind.price_usd or 0.0)
        sheet.buy(goal, "compute", f"{machine.kind.entry.id}, in work", machine.nodes, "nodes", price, machine.kind.price_from)
        sheet.buy(goal, "compute", f"{machine.kind.entry.id}, spare", machine.spares, "nodes", price, machine.kind.price_from)
        option = c.scenario.plan.options.fabrics.get(machine.fabric)
        for item, (count, each, words) in network_price(machine.bound.cluster, c.catalog, option.port if option else None).items():
            sheet.buy(goal, "network", item, count, "pieces", each, words)
        kwh = c.value("energy_j") / 3.6e6
        sheet.buy(goal, "governance", "electricity of the run", kwh, "kWh", (source.usd_per_j or 0.0) * 3.6e6, f"site {source.place}")
    else:
        device_h = c.value("held_devices") * charge_h
        sheet.buy(
            goal,
            "compute",
            f"{source.kind} {machine.kind.accelerator}",
            device_h,
            "accelerator-hours",
            source.usd_per_device_s * 3600.0,
            source.words,
        )
    if c.part("storage") > 0:
        held = data_bytes(c.scenario, machine) / 1e12 * c.value("time_s") / MONTH_S
        sheet.buy(goal, "storage", f"storage {machine.storage}", held, "TB-months", c.part("storage") / held, "rent of the tier")


def _months(c: TrainContext, sheet: Sheet) -> None:
    source = c.source
    owned = source.kind == "owned"
    start = source.delay_s
    end = start + c.value("time_s")
    life = max(round(source.term_s / YEAR_S), 1) if owned else 1
    horizon = max(end, start + (source.term_s if not owned else 0.0), 12 * MONTH_S if owned else MONTH_S)
    rent = 0.0 if owned else source.usd_per_device_s * c.value("held_devices")
    fixed = 0.0
    if owned:
        bound = source.usd_per_device_s * c.value("held_devices")
        capital = source.outlay_usd_per_device * c.value("held_devices") * source.usd_per_s_of_usd
        upkeep = _upkeep(c) * c.value("outlay_usd") / YEAR_S
        fixed = max(bound - capital, 0.0) + upkeep
    sheet.flow(
        c.goal,
        horizon_s=horizon,
        start_s=start,
        end_s=end,
        purchase={0: c.value("outlay_usd")} if owned else {},
        life_years=life,
        rent_usd_per_s=rent,
        rent_end_s=max(end, start + (0.0 if owned else source.term_s)),
        fixed_usd_per_s=fixed,
        fixed_end_s=horizon if owned else start,
        running_usd_per_s=c.part("electricity") / c.value("time_s") + c.part("storage") / c.value("time_s"),
        nodes=[c.nodes_held],
        power_w=[c.value("energy_j") / c.value("time_s") if math.isfinite(c.value("energy_j")) else math.nan],
    )
    _present_value(c, sheet, rent, fixed)


def _upkeep(c: TrainContext) -> float:
    owner = c.terms.owners[c.source.owner]
    return owner.maintenance if owner.maintenance is not None else c.terms.maintenance


def _present_value(c: TrainContext, sheet: Sheet, rent: float, fixed: float) -> None:
    """Add the net present value of owning the machine for its life and letting its useful hours at the cheapest on-demand price."""
    if c.source.kind != "owned":
        return
    same = [s for s in c.sources if s.kind == "on-demand"]
    device = c.machine.kind.accelerator
    prices = [s.usd_per_device_s for k, s in enumerate(c.sources) if s in same and device in _device_of(c, k)]
    if not prices:
        return
    owner = c.terms.owners[c.source.owner]
    years = max(round(c.source.term_s / YEAR_S), 1)
    rate = owner.interest if owner.interest is not None else c.terms.interest
    use = c.scenario.plan.later_use
    income = min(prices) * c.value("devices") * use * YEAR_S
    running = fixed * YEAR_S + c.part("electricity") / c.value("time_s") * use * YEAR_S
    value = float(npv([-c.value("outlay_usd"), *[income - running] * years], rate_frac=rate))
    sheet.add(STEP, "governance", "net present value of owning over its life", value, "npv_usd", why=f"{years} years at {rate:.1%}, {use:.0%} of the hours valued at the cheapest on-demand price of {min(prices) * 3600:.2f} USD", flips=f"positive while an accelerator-hour rents above {_even_price(c, running, years, rate, use):.2f} USD", goal=c.goal)  # fmt: skip


def _even_price(c: TrainContext, running: float, years: int, rate: float, use: float) -> float:
    factor = float(npv([0.0, *[1.0] * years], rate_frac=rate))
    return (c.value("outlay_usd") / factor + running) / (c.value("devices") * use * YEAR_S) * 3600.0


def _device_of(c: TrainContext, source: int) -> set[str]:
    mask = c.found.extra["source"] == source
    return set(c.found.axes["accelerator"][mask][:1])


def _compute(c: TrainContext, add: Pen) -> None:
    machine, source = c.machine, c.source
    extra = f", {machine.spares} spare" if source.kind == "owned" else "; the cloud replaces what fails"
    add("nodes with spares", c.nodes_held, why=f"{machine.nodes:,} in work{extra}")
    each = machine.per_rack(source.rack_w)
    why = f"{each:g} node{'s' * (each != 1)} a rack of {readable(source.rack_w, 'power', 3)}"
    add("racks", c.value("racks"), why=why, flips="rack_power of the site, per_rack of the node type")
    it_w = c.value("power_w") / source.pue
    add("IT power at its highest", it_w, "it_w", "all nodes fully used, switches, storage")
    cooling = float(cooling_w(it_w, pue=source.pue)) if math.isfinite(it_w) else math.nan
    origin = f" ({c.place.pue_from})" if c.place else ""
    add("cooling and distribution", cooling, "cooling_w", f"IT × (PUE − 1) with PUE {source.pue:.3g}{origin}")


def _storage(c: TrainContext, add: Pen) -> None:
    need = data_bytes(c.scenario, c.machine)
    add("capacity to provide", need, "capacity_bytes", f"on tier {c.machine.storage or 'none'}")
    tier = c.machine.bound.cluster.storage.get(c.machine.storage)
    if tier is not None and tier.capacity_bytes:
        add("tier filled", need / tier.capacity_bytes, "used_frac", f"of {readable(tier.capacity_bytes, 'data size', 3)}")


def _network(c: TrainContext, add: Pen) -> None:
    machine, size = c.machine, c.machine.bound.cluster.fabric_size
    if size is None:
        add("switches", 0.0, why="one node, or one scale-up domain")
        return
    add("switches", float(sum(size.switches)), why=" + ".join(f"{n}" for n in size.switches) + ", leaf level first")
    cables = float(sum(size.cables) + size.storage_cables)
    add("cables", cables, why="node to leaf, and from level to level; two transceivers each")
    add("network purchase", machine.network_usd, "network_usd", f"{machine.network_usd / machine.devices:,.0f} USD an accelerator")


def _governance(c: TrainContext, add: Pen, sheet: Sheet) -> None:
    owned = c.source.kind == "owned"
    why = "purchase of nodes, spares and network" if owned else "rent over the run, or the contract's term where that is longer"
    add("money bound", c.value("outlay_usd"), "outlay_usd", why)
    rows = [row for row in sheet.months if row["goal"] == c.goal]
    peak = max((row["purchase_usd"] + row["rent_usd"] + row["running_usd"] for row in rows), default=0.0)
    why = f"{brief('cost_usd', rows[-1]['cumulative_usd'])} in {len(rows)} months, month by month in plan_months" if rows else ""
    add("largest payment in a month", peak, "month_usd", why)


def train_build(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the construction over the six facets, the bill and the months."""
    source = c.source
    _bill(c, sheet)
    _months(c, sheet)
    _compute(c, sheet.pen(STEP, c.goal, "compute"))
    _storage(c, sheet.pen(STEP, c.goal, "storage"))
    _network(c, sheet.pen(STEP, c.goal, "network"))
    arrive = data_bytes(c.scenario, c.machine) / WAN_BYTES_PER_S
    why = f"d/v over a port of {readable(WAN_BYTES_PER_S, 'data rate', 3)}"
    sheet.pen(STEP, c.goal, "data")("time for the data to arrive", arrive, "arrive_s", why, "a wider port, in proportion")
    add = sheet.pen(STEP, c.goal, "AI platform")
    why = "from the order to use" if source.kind == "owned" else "rented: when there is capacity, which is not predicted"
    add("delivery", source.delay_s, "delay_s", why, "plan.options.nodes.….lead")
    why = "delivery, arrival of the data, run, one after the other"
    add("order to result", source.delay_s + arrive + c.value("sure_s"), "finish_s", why)
    _governance(c, sheet.pen(STEP, c.goal, "governance"), sheet)
