"""Planning of a training goal: what was chosen, why it won, and what would flip it."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.base.units import readable
from hpcsim.cost.money import break_even_use_frac
from hpcsim.results.quantities import brief
from hpcsim.study.planning.candidates import OBJECTIVES, order
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.reasons import Rival, deadline_words, flip_words, rivals, why_words
from hpcsim.study.planning.sheet import Sheet

__all__ = ["later_use_flip", "own_break_even", "train_choice"]

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


def _by_axis(c: TrainContext) -> dict[str, Rival]:
    return {rival.axis: rival for rival in rivals(c.found, c.row, c.objective)}


def _axis(c: TrainContext, sheet: Sheet, found: dict[str, Rival], axis: str, facet: str, item: str, value: float | str, only: str) -> None:
    rival = found.get(axis)
    why = why_words(c.found, rival, c.row, c.objective) if rival else only
    sheet.add(STEP, facet, item, value, why=why, flips=flip_words(rival, c.objective) if rival else "further options", goal=c.goal)


def _confirmed(c: TrainContext, sheet: Sheet) -> None:
    done = c.confirmed.get(c.row)
    if done is None or done.why:
        return
    gap = done.time_s / c.value("time_s") - 1.0
    spread = f"{readable(done.low_s, 'time', 4)} to {readable(done.high_s, 'time', 4)} over {done.seeds} seeds"
    sheet.add(
        STEP, "AI platform", "run time, simulated", done.time_s, "time_s", why=f"{spread}; {gap:+.2%} against the closed form", goal=c.goal
    )
    sheet.add(
        STEP,
        "AI platform",
        "goodput, simulated",
        done.goodput_frac,
        "goodput_frac",
        why="share of the run that advances training",
        goal=c.goal,
    )


def _limits(c: TrainContext, sheet: Sheet) -> None:
    for name, ratio in c.found.ratios().items():
        used = float(ratio[c.row])
        if name == "simulated":
            continue
        if name in ("site power", "site racks", "available") and used == 0.0:
            continue
        said = "kept" if used <= 1 + 1e-12 else "broken"
        flips = f"the choice breaks it below {used * 100:.3g} % of the limit" if 0 < used <= 1 else ""
        if name in ("data_in", "operators"):
            sheet.add(
                STEP,
                "governance",
                f"limit {name.replace('_', ' ')}",
                said,
                why=f"{c.source.label}, country {c.source.country or 'unknown'}",
                goal=c.goal,
            )
        else:
            sheet.add(STEP, "governance", f"limit {name} used", used, "used_frac", why=said, flips=flips, goal=c.goal)


def train_choice(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the choice over the six facets."""
    found = _by_axis(c)
    machine, source = c.machine, c.source
    _axis(
        c,
        sheet,
        found,
        "accelerator",
        "compute",
        "accelerator",
        f"{machine.kind.accelerator} ({machine.kind.entry.id})",
        "the only one that can",
    )
    _axis(c, sheet, found, "count", "compute", "nodes", float(machine.nodes), "the only number that can")
    _axis(c, sheet, found, "owner", "compute", "owner", source.label, "the only way to have it")
    flip = later_use_flip(c)
    if flip is not None:
        use, i = flip
        text = "never, at these prices" if use > 1 else "always, at these prices" if use <= 0 else f"from {use:.1%} on"
        sheet.add(
            STEP, "compute", "later use from which owning wins", text if not 0 < use <= 1 else use, "later_use_frac",
            why=f"best owned: {c.found.words(i)}; the plan assumes {c.scenario.plan.later_use:.0%}", goal=c.goal,
        )  # fmt: skip
    even = own_break_even(c)
    if even is not None:
        sheet.add(
            STEP, "compute", "break-even utilisation of the same machine", min(even[0], 1e6), "use_frac",
            why=f"fixed cost over (on-demand − running) of {c.found.words(even[1])} against {c.found.words(even[2])}; above 100 % owning never pays",
            goal=c.goal,
        )  # fmt: skip
    _axis(c, sheet, found, "storage", "storage", "storage tier", machine.storage or "none", "the only tier")
    _axis(
        c,
        sheet,
        found,
        "fabric",
        "network",
        "fabric",
        f"{machine.fabric} ({machine.bound.cluster.fabric.link if machine.bound.cluster.fabric else 'none'})",
        "the only network",
    )
    _axis(c, sheet, found, "place", "data", "place of the data", source.place, "the only place")
    layout = {
        k: v
        for k, v in machine.plan.layout.items()
        if k in ("dp", "tp", "pp", "vpp", "cp", "ep", "micro_batch", "zero_stage", "recompute", "precision")
    }
    words = ", ".join(f"{k} {v}" for k, v in layout.items())
    sheet.add(
        STEP,
        "AI platform",
        "layout",
        words,
        why=f"the fastest of {machine.plan.searched:,} that fit",
        flips="another number of nodes",
        goal=c.goal,
    )
    limit = c.scenario.plan.goals.train[c.run].within or c.deadline_s
    sheet.add(
        STEP,
        "AI platform",
        "run time, expected",
        c.value("time_s"),
        "time_s",
        why="with failures, at the best checkpoint interval",
        flips=deadline_words(c.found, c.row, c.objective, limit),
        goal=c.goal,
    )
    sheet.add(
        STEP,
        "AI platform",
        "run time at the confidence asked for",
        c.value("sure_s"),
        "sure_s",
        why=f"confidence {c.scenario.plan.goals.train[c.run].confidence:.0%} of the step time",
        goal=c.goal,
    )
    _confirmed(c, sheet)
    sheet.add(STEP, "governance", "country", source.country or "unknown", why=source.label, goal=c.goal)
    sheet.add(STEP, "governance", "cost charged to the goal", c.value("cost_usd"), "cost_usd", why=_money(c), goal=c.goal)
    tokens = machine.plan.steps * machine.plan.tokens_per_step
    sheet.add(STEP, "governance", "cost of a million tokens", c.value("cost_usd") / tokens * 1e6, "mtoken_usd", goal=c.goal)
    sheet.add(
        STEP,
        "governance",
        "cost of an accelerator-hour",
        c.value("cost_usd") / (c.value("devices") * c.value("time_s")) * 3600,
        "hour_usd",
        why=source.words,
        goal=c.goal,
    )
    _limits(c, sheet)


def _money(c: TrainContext) -> str:
    parts = [f"{name} {brief('cost_usd', float(p[c.row]))}" for name, p in c.found.parts.items() if p[c.row] > 0]
    bound = f"; {brief('cost_usd', c.value('outlay_usd'))} are bound" if c.value("outlay_usd") > 1.001 * c.value("cost_usd") else ""
    return ", ".join(parts) + bound + f"; least by {c.objective}" * (OBJECTIVES[c.objective] == "cost_usd")
