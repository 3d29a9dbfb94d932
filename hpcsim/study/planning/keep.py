"""Maintenance of a training goal's machine: spares, repair, checkpoints, windows, goodput, refresh."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.base.units import readable
from hpcsim.catalog.hardware import Node
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.money import YEAR_S, refresh_years
from hpcsim.cost.reliability import (
    availability,
    daly_interval_s,
    ettr,
    ettr_renewal,
    optimal_interval_s,
    repair_crew,
    spares_needed,
    young_interval_s,
)
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.machines import SURE_FRAC
from hpcsim.study.planning.sheet import MONTH_S, Sheet
from hpcsim.study.planning.train import data_bytes

__all__ = ["progress_of_nodes", "train_keep"]

STEP = "maintenance"
WINDOW_S = 8 * 3600.0
"""A regular maintenance window in each month."""
RESTOCK_S = 14 * 86400.0
"""Time in which a spare part is replaced in the store."""
DRIVE_BYTES = 30.72e12


def progress_of_nodes(catalog: Catalog, precision: str) -> float:
    """Return by how much the work for a dollar grows in a year: the slope of log(peak FLOP/s over price) over the release year.

    Least squares over the catalog's node types that have a price, a release year and the precision (fp16 where bf16 was not yet).
    """
    points = []
    for name in catalog.names("node"):
        node = catalog.find("node", name)
        if not isinstance(node, Node) or not node.price_usd or not node.accelerator or not node.accelerators:
            continue
        device = catalog.accelerator(node.accelerator)
        peak = next((float(device.peak_flop_per_s[p]) for p in (precision, "bf16", "fp16") if p in device.peak_flop_per_s), 0.0)
        if peak and device.release_year:
            points.append((float(device.release_year), math.log(peak * node.accelerators / node.price_usd)))
    years, logs = np.array(points).T
    return float(np.expm1(np.polyfit(years, logs, 1)[0]))


def _annual(catalog: Catalog, name: str) -> float:
    try:
        return float(catalog.reliability(name).annual_failure_frac or 0.0)
    except InputError:
        return 0.0


def _compute(c: TrainContext, sheet: Sheet) -> None:
    machine = c.machine

    def add(item: str, value: float | str, key: str = "", why: str = "", flips: str = "") -> None:
        sheet.add(STEP, "compute", item, value, key, why=why, flips=flips, goal=c.goal)

    if not math.isfinite(machine.mtbf_s):
        add("spares", 0.0, why="no failures are given", flips="failures.node")
        return
    rate = 1.0 / machine.mtbf_s
    add("node failures in a month", machine.nodes * rate * MONTH_S, why=f"nodes over {readable(machine.mtbf_s, 'time', 4)}")
    if not machine.repair_s:
        add("spares", 0.0, why="repair takes no time", flips="failures.node.repair")
        return
    spares = spares_needed(machine.nodes, failures_per_s=rate, repair_s=machine.repair_s, sure_frac=SURE_FRAC)
    mean = machine.nodes * rate * machine.repair_s
    longer = spares_needed(machine.nodes, failures_per_s=rate, repair_s=2 * machine.repair_s, sure_frac=SURE_FRAC)
    add(
        "spares",
        float(spares),
        why=f"{SURE_FRAC:.0%} quantile of Poisson({mean:.3g} nodes in repair)",
        flips=f"{longer} if a repair takes twice as long",
    )
    add("availability of a node", float(availability(machine.mtbf_s, machine.repair_s)), "availability_frac", "MTBF/(MTBF + repair)")
    crew = max(math.ceil(mean), 1)
    done = repair_crew(machine.nodes, mtbf_s=machine.mtbf_s, repair_s=machine.repair_s, crew=crew)
    while done.wait_s > 0.1 * machine.repair_s:
        crew += 1
        done = repair_crew(machine.nodes, mtbf_s=machine.mtbf_s, repair_s=machine.repair_s, crew=crew)
    add(
        "repairs that must go on at once",
        float(crew),
        why=f"machine-repair queue: a failed node waits {readable(done.wait_s, 'time', 2)}, {done.busy_frac:.0%} busy",
        flips="a tenth of the repair time is the wait allowed",
    )


def _platform(c: TrainContext, sheet: Sheet) -> None:
    plan, rate = c.machine.plan, c.failures_per_s

    def add(item: str, value: float | str, key: str = "", why: str = "", flips: str = "") -> None:
        sheet.add(STEP, "AI platform", item, value, key, why=why, flips=flips, goal=c.goal)

    if rate <= 0 or not plan.checkpoint_write_s:
        add("goodput", plan.work_s / c.value("time_s"), "goodput_frac", "work over the run time")
        return
    write, mtbf = plan.checkpoint_write_s, 1.0 / rate
    for name, function in (("Young", young_interval_s), ("Daly", daly_interval_s), ("exact", optimal_interval_s)):
        add(
            f"checkpoint interval, {name}",
            float(function(write, mtbf)),
            "interval_s",
            f"write {readable(write, 'time', 3)}, an interruption every {readable(mtbf, 'time', 3)}",
            "grows with the root of both",
        )
    interval = c.value("interval_s")
    words = {"failures_per_s": rate, "restart_s": plan.recovery_s, "interval_s": interval, "write_s": write}
    first = float(ettr(**words))
    renewal = float(ettr_renewal(**words))
    add(
        "expected goodput (ETTR)",
        renewal,
        "ettr_frac",
        f"renewal form; the first-order form gives {first:.2%}",
        "faster checkpoints, shorter restarts, fewer failures",
    )


def _parts(c: TrainContext, sheet: Sheet) -> None:
    size = c.machine.bound.cluster.fabric_size
    optics = 2.0 * (sum(size.cables) + size.storage_cables) if size else 0.0
    fails = _annual(c.catalog, "transceiver")
    switches = float(sum(size.switches)) if size else 0.0
    dead = _annual(c.catalog, "switch")
    if optics:
        sheet.add(STEP, "network", "transceivers that fail in a year", optics * fails, why=f"{optics:,.0f} × {fails:.3g}", goal=c.goal)
        spare = spares_needed(optics, failures_per_s=fails / YEAR_S, repair_s=RESTOCK_S)
        sheet.add(
            STEP,
            "network",
            "transceivers in store",
            float(spare),
            why=f"99 % quantile over {readable(RESTOCK_S, 'time', 3)} of restocking",
            goal=c.goal,
        )
        spare = spares_needed(switches, failures_per_s=dead / YEAR_S, repair_s=RESTOCK_S)
        sheet.add(STEP, "network", "switches in store", float(spare), why=f"{switches:,.0f} × {dead:.3g} a year", goal=c.goal)
    else:
        sheet.add(STEP, "network", "transceivers in store", 0.0, why="the fabric is part of the rented machine or of the node", goal=c.goal)
    drives = math.ceil(data_bytes(c.scenario, c.machine) / DRIVE_BYTES)
    annual = _annual(c.catalog, "nvme")
    sheet.add(
        STEP,
        "storage",
        "drives that fail in a year",
        drives * annual,
        why=f"{drives:,} drives of {readable(DRIVE_BYTES, 'data size', 4)} × {annual:.3g}",
        goal=c.goal,
    )


def _governance(c: TrainContext, sheet: Sheet) -> None:
    share = WINDOW_S / MONTH_S
    sheet.add(
        STEP, "governance", "cost of a window of 8 h in each month", share * c.value("cost_usd"), "window_usd",
        why=f"{share:.2%} of the time is charged and does not train", flips="a rolling update over spares needs none", goal=c.goal,
    )  # fmt: skip
    if c.source.kind != "owned":
        sheet.add(
            STEP,
            "governance",
            "refresh year",
            "the provider's",
            why="rented: a newer type is a new contract",
            flips="the end of the term",
            goal=c.goal,
        )
        return
    growth = progress_of_nodes(c.catalog, c.machine.plan.precision)
    capital = c.source.outlay_usd_per_device * c.source.usd_per_s_of_usd * c.value("held_devices") * YEAR_S
    fixed = c.source.usd_per_device_s * c.value("held_devices") * YEAR_S
    power = c.part("electricity") / c.value("time_s") * YEAR_S
    years = float(
        refresh_years(
            running_usd_per_year=max(fixed - capital, 0.0) + power, new_usd_per_work=fixed + power, work_per_year=1.0, growth_frac=growth
        )
    )
    sheet.add(
        STEP, "governance", "refresh after", years, "years",
        why=f"when a new machine's whole cost of the same work falls below the running cost of this one, at {growth:.0%} more work for a dollar a year (the catalog's nodes)",
        flips="dearer electricity or faster progress brings it forward", goal=c.goal,
    )  # fmt: skip


def train_keep(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the maintenance over the six facets."""
    plan = c.machine.plan
    _compute(c, sheet)
    _parts(c, sheet)
    interval = c.value("interval_s")
    lost = min(interval, plan.work_s) / 2.0
    sheet.add(
        STEP,
        "data",
        "work that a failure repeats (recovery point)",
        lost,
        "lost_s",
        why="half a checkpoint interval on average",
        goal=c.goal,
    )
    sheet.add(
        STEP,
        "data",
        "time to work again (recovery time)",
        plan.recovery_s,
        "recovery_s",
        why=f"restart {readable(plan.restart_s, 'time', 3)} and reading the checkpoint {readable(plan.checkpoint_read_s, 'time', 3)}",
        goal=c.goal,
    )
    _platform(c, sheet)
    _governance(c, sheet)
