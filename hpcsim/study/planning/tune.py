"""Optimisation of a training goal's plan: measures, each with what it saves by the cost functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.base.units import readable
from hpcsim.cost.facility import shifted
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.power import capped_clock, device_power_w, energy_optimal_clock, slowdown
from hpcsim.cost.reliability import expected_completion_s
from hpcsim.cost.storage import TOKEN_CODEC, WEIGHT_CODEC, deduplicated, encryption_cores, lru_hit_frac, pinned_hit_frac
from hpcsim.results.quantities import brief
from hpcsim.run.bind import bind
from hpcsim.study.planning.candidates import order
from hpcsim.study.planning.confirm import as_scenario
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.machines import network_price
from hpcsim.study.planning.sheet import Sheet
from hpcsim.study.planning.sources import MONTH_S
from hpcsim.study.planning.train import data_bytes, training_bytes
from hpcsim.study.search import layout_search
from hpcsim.workload.training import outset_of

__all__ = ["train_tune"]

STEP = "optimisation"
IMAGE_BYTES = 20e9
"""A container image of a training framework."""
REGISTRY_BYTES_PER_S = 2.5e9
"""What a registry behind a 20 Gbit/s port gives all nodes together."""
HABIT_S = 3600.0
"""Checkpoint interval by habit, with which the computed one is compared."""
CAP_FRAC = 0.8
"""Power cap over the thermal design power."""


def _rate_usd_per_s(c: TrainContext) -> float:
    """Return what a second more of the run costs."""
    return c.value("cost_usd") / c.value("time_s")


def _layout(c: TrainContext, sheet: Sheet) -> None:
    try:
        scenario = as_scenario(c.scenario, c.run, c.machine, c.source, c.found, c.row, c.catalog)
        best = layout_search(scenario, training=c.run, objective="time", top=1, catalog=c.catalog)
    except InputError:
        return
    first = best.best.iloc[0]
    now, then = float(c.machine.plan.cost.step_time_s), float(first["step_time_s"])
    saved = max(now - then, 0.0) * c.machine.plan.steps
    keys = ("tp", "pp", "vpp", "micro_batch", "zero_stage", "recompute", "schedule")
    words = ", ".join(f"{k} {first[k]}" for k in keys)
    said = words if saved > 0 else "the plan's layout stays"
    sheet.save(
        c.goal, "AI platform", "search all layouts and schedules", f"step {readable(now, 'time', 4)}", f"step {readable(min(now, then), 'time', 4)}: {said}",
        f"{best.layouts_evaluated:,} layouts evaluated, {best.exact} schedules walked; time saved × cost of a second",
        s=saved, usd=saved * _rate_usd_per_s(c), kg_co2e=saved / c.value("time_s") * c.value("operation_kg_co2e"),
    )  # fmt: skip


def _power_cap(c: TrainContext, sheet: Sheet) -> None:
    group = c.machine.bound.cluster.groups["nodes"]
    a = group.accelerator
    if a is None or a.idle_w is None or a.tdp_w is None or not math.isfinite(c.value("energy_j")):
        return
    share = min(float(c.machine.plan.cost.activity["compute"]), 1.0)
    watts = c.value("energy_j") / c.value("time_s") / c.source.pue
    device = c.machine.plan.device_w or a.tdp_w
    dynamic = c.machine.devices * (device - a.idle_w)
    for name, clock in (
        (f"cap accelerators at {CAP_FRAC:.0%} of their rated power", float(capped_clock(a.idle_w, a.tdp_w, CAP_FRAC * a.tdp_w).clock_frac)),
        ("run accelerators at the clock of least energy of the whole machine", float(energy_optimal_clock(watts - dynamic, watts, share))),
    ):
        longer = float(slowdown(clock, share))
        time = c.value("time_s")
        after_w = float(device_power_w(watts - dynamic, watts, 1.0, clock_frac=clock))
        energy = (watts - after_w * longer) * time * c.source.pue
        price = c.source.usd_per_j or 0.0
        lost = (longer - 1.0) * time
        carbon = energy * (c.source.carbon_kg_co2e_per_j or 0.0)
        money = energy * price - lost * (c.value("cost_usd") - c.part("electricity")) / time
        sheet.save(
            c.goal, "compute", name, f"clock 1, {readable(watts, 'power', 3)} IT", f"clock {clock:.3g}, {readable(after_w, 'power', 3)} IT",
            f"P = idle + (max − idle)x³, time × ({share:.2f}/x + {1 - share:.2f}): {readable(abs(energy), 'energy', 3)} {'less' if energy > 0 else 'more'}; a longer run is charged in full",
            s=-lost, usd=money, kg_co2e=carbon,
        )  # fmt: skip


def _interval(c: TrainContext, sheet: Sheet) -> None:
    plan, rate = c.machine.plan, c.failures_per_s
    best = c.value("interval_s")
    if not math.isfinite(best) or rate <= 0:
        return
    words: dict[str, Any] = {"checkpoint_s": plan.checkpoint_write_s, "recovery_s": plan.recovery_s, "failures_per_s": rate}
    habit = float(expected_completion_s(plan.work_s, interval_s=HABIT_S, **words))
    saved = habit - c.value("time_s")
    if math.isfinite(saved):
        sheet.save(
            c.goal, "AI platform", "checkpoint at the computed interval", f"every {readable(HABIT_S, 'time', 3)}", f"every {readable(best, 'time', 3)}",
            "expected completion under exponential failures at both intervals", s=saved, usd=saved * _rate_usd_per_s(c),
            kg_co2e=saved / c.value("time_s") * c.value("operation_kg_co2e"),
        )  # fmt: skip


def _data(c: TrainContext, sheet: Sheet) -> None:
    plan = c.machine.plan
    tokens = training_bytes(c.scenario, c.machine)
    rent = c.part("storage") / max(data_bytes(c.scenario, c.machine) * c.value("time_s"), 1e-300)
    span = c.value("time_s")
    saved = tokens * (1.0 - 1.0 / TOKEN_CODEC.ratio)
    goal = c.scenario.plan.goals.train[c.run]
    cores = tokens * goal.passes / plan.work_s / TOKEN_CODEC.decompress_bytes_per_s
    if goal.data is None:
        sheet.save(
            c.goal, "data", f"compress the tokens ({TOKEN_CODEC.name})", readable(tokens, "data size", 3), readable(tokens - saved, "data size", 3),
            f"ratio {TOKEN_CODEC.ratio}; decompressing takes {cores:.2g} cores", bytes=saved, usd=saved * rent * span,
        )  # fmt: skip
    _pinned(c, sheet, tokens, goal.passes)
    if plan.checkpoint_bytes:
        kept = plan.checkpoint_bytes * (1.0 - 1.0 / WEIGHT_CODEC.ratio)
        seconds = plan.checkpoint_bytes / (c.machine.nodes * 32 * WEIGHT_CODEC.compress_bytes_per_s)
        sheet.save(
            c.goal, "storage", f"compress checkpoints ({WEIGHT_CODEC.name})", readable(plan.checkpoint_bytes, "data size", 3),
            readable(plan.checkpoint_bytes - kept, "data size", 3),
            f"ratio {WEIGHT_CODEC.ratio}; 32 cores of each node take {readable(seconds, 'time', 2)} beside a write of {readable(plan.checkpoint_write_s, 'time', 2)}: worth it only where storage is the slower",
            bytes=3 * kept, usd=3 * kept * rent * span,
        )  # fmt: skip
        _archive(c, sheet)
    for name, goal in c.scenario.plan.goals.store.items():
        if goal.duplicate:
            gone, seconds_ = deduplicated(goal.size, goal.duplicate, cores=32)
            sheet.save(
                c.goal,
                "data",
                f"deduplicate {name}",
                readable(goal.size, "data size", 3),
                readable(goal.size - float(gone), "data size", 3),
                f"hash-bound: {readable(float(seconds_), 'time', 3)} on 32 cores",
                bytes=float(gone),
            )


def _pinned(c: TrainContext, sheet: Sheet, size: float, passes: float) -> None:
    """Shard the data over the nodes' own drives: what they hold is read from storage once, and never evicted."""
    local = float(c.machine.kind.entry.local_bytes or 0.0) * c.machine.nodes
    if local <= 0:
        return
    share = min(local / size, 1.0)
    first = size * passes
    pinned = size + (passes - 1.0) * size * (1.0 - float(pinned_hit_frac(share))) if passes > 1 else size * passes
    evicting = size + (passes - 1.0) * size * (1.0 - float(lru_hit_frac(share))) if passes > 1 else size * passes
    sheet.save(
        c.goal, "data", "shard the data over the nodes' own drives and pin them", f"{readable(first, 'data size', 3)} read from storage", f"{readable(pinned, 'data size', 3)}",
        f"{share:.0%} fit; {passes:g} passes, the first is always read; a cache that evicts the least recently used would still read {readable(evicting, 'data size', 3)}",
        bytes=first - pinned,
    )  # fmt: skip


def _archive(c: TrainContext, sheet: Sheet) -> None:
    """Keep the final weights alone, on tape, for five years instead of all checkpoints on the tier."""
    plan = c.machine.plan
    tape = c.catalog.storage("tape-lto-9")
    price = float(tape.price_usd_per_byte or 0.0)
    final = plan.parameters * 2.0
    hot = 3 * plan.checkpoint_bytes
    rent = c.part("storage") / max(data_bytes(c.scenario, c.machine) * c.value("time_s"), 1e-300)
    years = 5.0
    sheet.save(
        c.goal, "storage", "archive the final weights, drop the checkpoints", f"{readable(hot, 'data size', 3)} on {c.machine.storage}", f"{readable(final, 'data size', 3)} on two tapes' copies",
        f"{years:g} years after the run: rent of the tier less {price * 1e9:.3g} USD/GB for each of two copies ({tape.id})",
        bytes=hot - final, usd=hot * rent * years * 12 * MONTH_S - 2 * final * price,
    )  # fmt: skip


def _fabric(c: TrainContext, sheet: Sheet) -> None:
    """Halve the upward capacity of the leaves: what it saves in switches, and what the run loses."""
    machine = c.machine
    if machine.nodes <= 1 or machine.bound.cluster.fabric is None:
        return
    base = machine.bound.scenario
    thin = 2.0 * machine.bound.cluster.fabric.oversubscription
    try:
        layout = {k: v for k, v in machine.plan.layout.items() if k != "precision"}
        other = bind(base.vary({"cluster.fabric.oversubscription": thin, f"workload.training.{c.run}.layout": layout}), catalog=c.catalog)
    except InputError:
        return
    option = c.scenario.plan.options.fabrics.get(machine.fabric)
    usd = sum(n * each for n, each, _ in network_price(other.cluster, c.catalog, option.port if option else None).values())
    longer = other.trainings[0].work_s - machine.plan.work_s
    gain = (machine.network_usd - usd) * c.source.usd_per_s_of_usd * c.value("charge_s")
    sheet.save(
        c.goal, "network", f"oversubscribe the leaf switches {thin:g}:1", f"network for {brief('cost_usd', machine.network_usd)}", f"network for {brief('cost_usd', usd)}",
        "share of the cheaper network that the goal is charged, less the longer run (step recomputed on the thinner network)",
        s=-longer, usd=gain - longer * _rate_usd_per_s(c),
    )  # fmt: skip


def _placement(c: TrainContext, sheet: Sheet) -> None:
    """Put the nodes side by side: the step on the fabric as scattered nodes meet it, against that of the plan."""
    machine = c.machine
    size = machine.bound.cluster.fabric_size
    if machine.nodes <= 1 or size is None:
        return
    spec = machine.bound.scenario.workload.training[c.run]
    start = outset_of(c.run, spec, machine.bound.cluster, c.catalog, folder=machine.bound.scenario.folder)
    layout = Layout(**{k: v for k, v in machine.plan.layout.items() if k != "precision"})
    now, scattered = float(machine.plan.cost.step_time_s), float(start.setting.cost(layout).step_time_s)
    saved = max(scattered - now, 0.0) * machine.plan.steps
    met = machine.plan.oversubscription
    sheet.save(
        c.goal, "network", "place the nodes side by side", f"step {readable(max(scattered, now), 'time', 4)} on scattered nodes", f"step {readable(now, 'time', 4)} on nodes in their order",
        f"the fabric as it is oversubscribed ({max(size.oversubscription, 1.0):.3g}:1) against what the run's own traffic meets there ({met:.3g}:1)"
        + ("" if saved > 0 else "; every placement gets the full rate, and what its hops add is below the model's resolution"),
        s=saved, usd=saved * _rate_usd_per_s(c), kg_co2e=saved / c.value("time_s") * c.value("operation_kg_co2e"),
    )  # fmt: skip


def _platform(c: TrainContext, sheet: Sheet) -> None:
    machine = c.machine
    restarts = c.failures_per_s * c.value("time_s") + 1.0
    cold = machine.nodes * IMAGE_BYTES / REGISTRY_BYTES_PER_S
    port = machine.bound.cluster.groups["nodes"].injection_bytes_per_s
    warm = IMAGE_BYTES / min(port if math.isfinite(port) else 25e9, 25e9) * math.ceil(math.log2(max(machine.nodes, 2)))
    saved = max(cold - warm, 0.0)
    sheet.save(
        c.goal, "AI platform", "hand container images from node to node", f"{readable(cold, 'time', 3)} for all nodes from the registry", f"{readable(warm, 'time', 3)} in a tree of copies",
        f"first start of {machine.nodes:,} nodes: {readable(IMAGE_BYTES, 'data size', 2)} each over {readable(REGISTRY_BYTES_PER_S, 'data rate', 2)}, against log₂ rounds at the ports' rate; the {restarts - 1:.0f} restarts find it in place",
        s=saved, usd=saved * _rate_usd_per_s(c),
    )  # fmt: skip
    slow = float(machine.plan.cost.terms["straggler"]) * machine.plan.steps
    if slow > 0:
        sheet.save(
            c.goal, "compute", "swap the slowest nodes for spares (load balance)", f"{float(machine.plan.cost.terms['straggler']) / float(machine.plan.cost.step_time_s):.2%} of a step waits for the slowest", "as if all were alike",
            "upper bound: the whole straggler term of the step", s=slow, usd=slow * _rate_usd_per_s(c), kg_co2e=slow / c.value("time_s") * c.value("operation_kg_co2e"),
        )  # fmt: skip


def _idle(c: TrainContext, sheet: Sheet) -> None:
    if c.source.kind != "owned" or not math.isfinite(c.machine.idle_w):
        return
    unused = 1.0 - c.scenario.plan.later_use
    year = 12 * MONTH_S
    joules = c.nodes_held * c.machine.idle_w * unused * year * c.source.pue
    sheet.save(
        c.goal, "compute", "switch idle nodes off", f"{readable(c.machine.idle_w, 'power', 3)} a node at rest", "off",
        f"{unused:.0%} of a year unused: nodes × idle power × PUE × price, a year", usd=joules * (c.source.usd_per_j or 0.0),
        kg_co2e=joules * (c.source.carbon_kg_co2e_per_j or 0.0),
    )  # fmt: skip


def _hours(c: TrainContext) -> Iterator[tuple[str, Any, float]]:
    place = c.place
    if place is None or place.hours is None:
        return
    if place.hours.carbon_kg_co2e_per_j is not None:
        yield "carbon", place.hours.carbon_kg_co2e_per_j, c.value("energy_j")
    if place.hours.usd_per_j is not None:
        yield "price", place.hours.usd_per_j, c.value("energy_j")


def _shift(c: TrainContext, sheet: Sheet) -> None:
    """Run in the cleanest or cheapest hours of the site's series; else at the cleanest place that keeps the limits."""
    restart_h = (c.machine.plan.recovery_s + c.machine.plan.checkpoint_write_s) / 3600.0
    work_h = c.value("time_s") / 3600.0
    for what, series, energy in _hours(c):
        hours = max(1, min(math.floor(len(series) * min(work_h / (c.deadline_s / 3600.0), 1.0)), len(series)))
        done = shifted(series, hours, restart_hours=restart_h)
        saved = (done.flat - done.interruptible) * energy
        kept = {"kg_co2e": saved} if what == "carbon" else {"usd": saved}
        unit = 3.6e9 if what == "carbon" else 3.6e6
        name = "g/kWh" if what == "carbon" else "USD/kWh"
        sheet.save(
            c.goal, "governance", f"run in the hours of least {what}", f"mean {done.flat * unit:.4g} {name}", f"{done.interruptible * unit:.4g} {name} in {done.pieces} pieces",
            f"the least {hours} of {len(series)} hours, until the deadline; a restart repeats {readable(restart_h * 3600, 'time', 2)}; unbroken {done.contiguous * unit:.4g}",
            s=-(c.deadline_s - c.value("time_s")), **kept,
        )  # fmt: skip
    rows = np.flatnonzero(c.found.feasible() & np.isfinite(c.found.values["carbon_kg_co2e"]))
    if rows.size and math.isfinite(c.value("carbon_kg_co2e")):
        i = int(order(c.found, "carbon", rows)[0])
        saved = c.value("carbon_kg_co2e") - c.value("carbon_kg_co2e", i)
        if saved > 0:
            sheet.save(
                c.goal, "governance", "run at the cleanest place that keeps all limits", f"{readable(c.value('carbon_kg_co2e'), 'carbon mass', 3)} CO2e", c.found.words(i),
                "best combination by carbon", kg_co2e=saved, usd=c.value("cost_usd") - c.value("cost_usd", i), s=c.value("time_s") - c.value("time_s", i),
            )  # fmt: skip


def train_tune(c: TrainContext, sheet: Sheet) -> None:
    """Add the measures, and the best of each facet as rows of the step."""
    before = len(sheet.savings)
    _layout(c, sheet)
    _power_cap(c, sheet)
    _interval(c, sheet)
    _data(c, sheet)
    _fabric(c, sheet)
    _placement(c, sheet)
    _platform(c, sheet)
    _idle(c, sheet)
    _shift(c, sheet)
    burst = c.machine.plan.checkpoint_bytes / max(c.machine.plan.checkpoint_write_s, 1e-9)
    if burst > 0:
        cores = float(encryption_cores(burst))
        sheet.save(
            c.goal, "governance", "encrypt in the network port", f"{cores:,.1f} cores while a checkpoint is written", "line rate, no cores",
            "d/v of AES-256-GCM against inline offload; a retransmission makes the port read the record again",
        )  # fmt: skip
    for facet in ("compute", "storage", "network", "data", "AI platform", "governance"):
        mine = [row for row in sheet.savings[before:] if row["facet"] == facet]
        if not mine:
            sheet.add(STEP, facet, "measure", "none applies", goal=c.goal, why="no measure of this facet changes this plan")
            continue

        def gain(row: dict[str, Any]) -> tuple[float, float, float]:
            return tuple(-math.inf if math.isnan(row[k]) else row[k] for k in ("saves_usd", "saves_kg_co2e", "saves_bytes"))  # type: ignore[return-value]

        best = max(mine, key=gain)
        usd = best["saves_usd"]
        pays = usd > 0 or (math.isnan(usd) and (best["saves_kg_co2e"] > 0 or best["saves_bytes"] > 0))
        sheet.add(
            STEP, facet, best["measure"], f"{best['before']} → {best['after']}", goal=c.goal,
            why=f"{'saves' if not usd < 0 else 'costs'} {brief('cost_usd', abs(usd))}: {best['formula']}" if math.isfinite(usd) else best["formula"],
            flips="" if pays else "it does not pay here; see plan_savings for when it would",
        )  # fmt: skip
