"""Planning of a training goal: what was chosen, why it won, and what would flip it."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.base.units import percent, readable
from hpcsim.cost.money import break_even_use_frac
from hpcsim.results.quantities import brief
from hpcsim.study.planning.candidates import OBJECTIVES, order
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.reasons import deadline_words, flip_words, rivals, why_words
from hpcsim.study.planning.sheet import Pen, Sheet

__all__ = ["later_use_flip", "own_break_even", "train_choice", "train_prices"]

STEP = "planning"


def later_use_flip(c: TrainContext) -> tuple[float, int] | None:
    """Return from which later use on the best owned combination costs no more than the best rented one, and that combination.

    The charge F·T·t/(t + u(T − t)) of a purchase that is bound for T and used for t falls with u; it equals what the rented one leaves
    for it at u = (F·T·t/(C − rest) − t)/(T − t). Below 0 it always pays, above 1 never.
    """
    feasible = c.found.feasible()
    owners = c.found.axes["provider"]
    own = np.flatnonzero(feasible & (owners == "own"))
    rented = np.flatnonzero(feasible & (owners != "own"))
    if not own.size or not rented.size:
        return None
    i, j = (int(order(c.found, "cost", rows)[0]) for rows in (own, rented))
    source = c.sources[int(c.found.extra["source"][i])]
    t, term = float(c.found.values["time_s"][i]), source.term_s
    bound = float(c.found.parts["devices"][i] + c.found.parts["network"][i])
    rate = bound / float(c.found.values["charge_s"][i])
    left = float(c.found.values["cost_usd"][j]) - (float(c.found.values["cost_usd"][i]) - bound)
    if left <= 0 or term <= t:
        return math.inf, i
    return (rate * term * t / left - t) / (term - t), i


def own_break_even(c: TrainContext) -> tuple[float, int, int] | None:
    """Return the utilisation from which owning the chosen kind of machine is cheaper by the hour than renting it, and both combinations."""
    node = c.found.axes["nodes"] == c.machine.kind.name
    same = node & (c.found.extra["machine"] == c.found.extra["machine"][c.row]) & np.isfinite(c.found.values["cost_usd"])
    for name in ("data_in", "operators"):
        if name in c.found.over:
            same &= np.isfinite(c.found.over[name])
    own = np.flatnonzero(same & (c.found.axes["provider"] == "own"))
    kinds = np.array([c.sources[k].kind for k in c.found.extra["source"]])
    rented = np.flatnonzero(same & (kinds == "on-demand"))
    if not own.size or not rented.size:
        return None
    i, j = (int(order(c.found, "cost", rows)[0]) for rows in (own, rented))
    time = float(c.found.values["time_s"][i])
    fixed = float(c.found.parts["devices"][i] + c.found.parts["network"][i]) / float(c.found.values["charge_s"][i])
    running = float(c.found.parts["electricity"][i]) / time
    rent = float(c.found.values["cost_usd"][j]) / float(c.found.values["time_s"][j])
    return float(break_even_use_frac(fixed, rented_usd_per_s=rent, running_usd_per_s=running)), i, j


def _limits(c: TrainContext, add: Pen) -> None:
    for name, ratio in c.found.ratios().items():
        used = float(ratio[c.row])
        if name == "simulated" or (name in ("site power", "site racks", "available") and used == 0.0):
            continue
        said = "kept" if used <= 1 + 1e-12 else "broken"
        if name in ("data_in", "operators"):
            add(f"limit {name.replace('_', ' ')}", said, why=f"{c.source.label}, country {c.source.country or 'unknown'}")
        else:
            flips = f"the choice breaks it below {percent(used, 3)} of the limit" if 0 < used <= 1 else ""
            add(f"limit {name} used", used, "used_frac", said, flips)


def _owner(c: TrainContext, add: Pen) -> None:
    flip = later_use_flip(c)
    if flip is not None:
        use, i = flip
        why = f"best owned: {c.found.words(i)}; the plan assumes {c.scenario.plan.later_use:.0%}"
        item = "later use from which owning wins"
        if 0 < use <= 1:
            add(item, use, "later_use_frac", why)
        else:
            add(item, "never, at these prices" if use > 1 else "always, at these prices", why=why)
    even = own_break_even(c)
    if even is not None:
        own, rented = c.found.words(even[1]), c.found.words(even[2])
        why = f"fixed cost over (on-demand − running) of {own} against {rented}; above 100 % owning never pays"
        add("break-even utilisation of the same machine", min(even[0], 1e6), "use_frac", why)


def _platform(c: TrainContext, add: Pen) -> None:
    plan, goal = c.machine.plan, c.scenario.plan.goals.train[c.run]
    keys = ("dp", "tp", "pp", "vpp", "cp", "ep", "micro_batch", "zero_stage", "recompute", "precision")
    words = ", ".join(f"{k} {plan.layout[k]}" for k in keys)
    add("layout", words, why=f"the fastest of {plan.searched:,} that were evaluated", flips="another number of nodes")
    flips = deadline_words(c.found, c.row, c.objective, goal.within or c.deadline_s)
    add("run time, expected", c.value("time_s"), "time_s", "with failures, at the best checkpoint interval", flips)
    add("run time at the confidence asked for", c.value("sure_s"), "sure_s", f"confidence {goal.confidence:.0%} of the step time")
    done = c.confirmed.get(c.row)
    if done is not None and not done.why:
        spread = f"{readable(done.low_s, 'time', 4)} to {readable(done.high_s, 'time', 4)} over {done.seeds} seeds"
        gap = done.time_s / c.value("time_s") - 1.0
        add("run time, simulated", done.time_s, "time_s", f"{spread}; {gap:+.2%} against the closed form")
        add("goodput, simulated", done.goodput_frac, "goodput_frac", "share of the run that advances training")


def _governance(c: TrainContext, add: Pen) -> None:
    tokens = c.machine.plan.steps * c.machine.plan.tokens_per_step
    add("country", c.source.country or "unknown", why=c.source.label)
    add("cost charged to the goal", c.value("cost_usd"), "cost_usd", _money(c))
    add("cost of a million tokens", c.value("cost_usd") / tokens * 1e6, "mtoken_usd", "cost over the tokens of the run")
    hours = c.value("devices") * c.value("time_s") / 3600.0
    add("cost of an accelerator-hour", c.value("cost_usd") / hours, "hour_usd", c.source.words)
    if c.value("water_l") > 0:
        add("water evaporated on site", c.value("water_l"), "water_l", "IT energy × the site's water use")
    _limits(c, add)


def train_choice(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the choice over the six facets."""
    found = {rival.axis: rival for rival in rivals(c.found, c.row, c.objective)}
    machine, source = c.machine, c.source
    link = machine.bound.cluster.fabric.link if machine.bound.cluster.fabric else "none"
    compute = sheet.pen(STEP, c.goal, "compute")
    for pen, axis, item, value in (
        (compute, "accelerator", "accelerator", f"{machine.kind.accelerator} ({machine.kind.entry.id})"),
        (compute, "count", "nodes", float(machine.nodes)),
        (compute, "owner", "owner", source.label),
        (sheet.pen(STEP, c.goal, "storage"), "storage", "storage tier", machine.storage or "none"),
        (sheet.pen(STEP, c.goal, "network"), "fabric", "fabric", f"{machine.fabric} ({link})"),
        (sheet.pen(STEP, c.goal, "data"), "place", "place of the data", source.place),
    ):
        rival = found.get(axis)
        why = why_words(c.found, rival, c.row, c.objective) if rival else "no other that keeps the limits"
        pen(item, value, why=why, flips=flip_words(rival, c.objective) if rival else "further options")
    _owner(c, compute)
    _platform(c, sheet.pen(STEP, c.goal, "AI platform"))
    _governance(c, sheet.pen(STEP, c.goal, "governance"))


def train_prices(c: TrainContext, sheet: Sheet) -> None:
    """Add what the goal costs at every source: its cheapest machine there that keeps the deadline, else its cheapest."""
    ratios = c.found.ratios()
    timed = [ratios[name] for name in ("within", "by") if name in ratios]
    late = np.maximum.reduce(timed) > 1.0 + 1e-12
    cost, source = c.found.values["cost_usd"], c.found.extra["source"]
    ranked = np.lexsort([cost, late, source])
    _, first = np.unique(source[ranked], return_index=True)
    for i in ranked[first]:
        if not np.isfinite(cost[i]):
            continue
        plan = c.machines[int(c.found.extra["machine"][i])].plan
        axes = {name: str(column[i]) for name, column in c.found.axes.items()}
        broken = [f"{name} ×{float(ratio[i]):.4g}" for name, ratio in ratios.items() if ratio[i] > 1.0 + 1e-12]
        hours = float(c.found.values["devices"][i] * c.found.values["time_s"][i]) / 3600.0
        sheet.prices.append(
            {
                "goal": c.goal, "accelerator": axes["accelerator"], "owner": axes["owner"], "provider": axes["provider"], "place": axes["place"],
                "country": axes["country"] or None, "devices": round(float(c.found.values["devices"][i])), "time_s": float(c.found.values["time_s"][i]),
                "device_hour_usd": float(cost[i]) / hours, "mtoken_usd": float(cost[i]) / (plan.steps * plan.tokens_per_step) * 1e6,
                "cost_usd": float(cost[i]), "carbon_kg_co2e": float(c.found.values["carbon_kg_co2e"][i]), "limits": ", ".join(broken) or None,
                "price": c.sources[int(source[i])].words,
            }
        )  # fmt: skip


def _money(c: TrainContext) -> str:
    parts = [f"{name} {brief('cost_usd', float(p[c.row]))}" for name, p in c.found.parts.items() if p[c.row] > 0]
    bound = f"; {brief('cost_usd', c.value('outlay_usd'))} are bound" if c.value("outlay_usd") > 1.001 * c.value("cost_usd") else ""
    return ", ".join(parts) + bound + f"; least by {c.objective}" * (OBJECTIVES[c.objective] == "cost_usd")
