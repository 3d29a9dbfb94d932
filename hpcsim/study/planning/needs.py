"""Requirement analysis of a training goal: what it takes, as numbers, before anything is chosen."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.base.units import readable
from hpcsim.cost.storage import CHECKPOINT_BYTES_PER_PARAMETER, encryption_cores
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.sheet import Pen, Sheet
from hpcsim.study.planning.train import BYTES_PER_TOKEN, CHECKPOINTS_KEPT, data_bytes, training_bytes

__all__ = ["train_needs"]

STEP = "requirement analysis"
CHECKPOINT_WASTE = 0.02
"""Share of the time that checkpoints and their lost work may take together, for the rate that storage needs."""
GRADIENT_BYTES = 2.0


def _size(c: TrainContext) -> float:
    """Return the size of a checkpoint, of a run that writes none what it would have."""
    return c.machine.plan.checkpoint_bytes or c.machine.plan.parameters * CHECKPOINT_BYTES_PER_PARAMETER


def _compute(c: TrainContext, add: Pen) -> None:
    plan, device = c.machine.plan, c.machine.kind.accelerator
    flop, hours = float(plan.cost.model_flop) * plan.steps, plan.work_s * plan.devices
    add("work of the run", flop, "work_flop", "FLOP of the model's passes over all tokens; recomputation is not counted")
    why = "work over the deadline, failures left out"
    add("rate that the deadline asks for", flop / c.deadline_s, "need_flop_per_s", why, "inverse in the deadline")
    why = f"steps × step time × accelerators, at the predicted model FLOP utilisation of {c.value('mfu_frac'):.1%}"
    add(f"device time on {device}", hours, "device_time_s", why)
    why = "device time over the deadline: a lower bound, without failures and divisibility"
    add(f"{device} that would just do", math.ceil(hours / c.deadline_s), why=why)
    why = "18 bytes a parameter: bf16 weights, fp32 gradients, master weights and two moments"
    add("weights, gradients and optimizer", plan.parameters * 18.0, "states_bytes", why)
    why = f"of {readable(float(plan.cost.memory_capacity_bytes), 'data size', 3)} in the chosen layout"
    add("memory of the fullest device", float(plan.cost.peak_memory_bytes), "peak_memory_bytes", why)


def _storage(c: TrainContext, add: Pen) -> None:
    data = "training data" if c.scenario.plan.goals.train[c.run].data is not None else f"tokens × {BYTES_PER_TOKEN:g} B"
    why = f"{data} and {CHECKPOINTS_KEPT} checkpoints of {CHECKPOINT_BYTES_PER_PARAMETER:g} B a parameter"
    add("capacity", data_bytes(c.scenario, c.machine), "capacity_bytes", why)
    if c.failures_per_s > 0:
        write = CHECKPOINT_WASTE**2 / (2.0 * c.failures_per_s)
        every = readable(1 / c.failures_per_s, "time", 3)
        why = f"so that √(2δλ) ≤ {CHECKPOINT_WASTE:.0%}: a checkpoint in δ = {readable(write, 'time', 3)} at one interruption in {every}"
        flips = "more nodes or a shorter time between failures raise it in proportion"
        add("checkpoint write rate", _size(c) / write, "write_bytes_per_s", why, flips)


def _network(c: TrainContext, add: Pen) -> None:
    plan, machine = c.machine.plan, c.machine
    layout = plan.layout
    dp = int(layout["dp"]) * int(layout["cp"])
    passes = 3.0 if int(layout["zero_stage"]) == 3 else 2.0
    held = plan.parameters / (int(layout["tp"]) * int(layout["pp"])) * min(int(layout["tp"]), machine.kind.per_node)
    volume = passes * GRADIENT_BYTES * held * (dp - 1) / dp if dp > 1 else 0.0
    port = volume / float(plan.cost.step_time_s)
    there = machine.bound.cluster.groups["nodes"].injection_bytes_per_s
    have = readable(there, "data rate", 3) if math.isfinite(there) else "no network"
    why = f"{passes:g} × 2 B × the parameters that a node holds × (dp−1)/dp, reduced inside the node first, spread over the step"
    add("injection of a node", port, "injection_bytes_per_s", f"{why}; {have} are there")
    why = "half the nodes inject into the other half: enough for any placement of the ranks"
    add("bisection", port * machine.nodes / 2.0, "bisection_bytes_per_s", why)


def _platform(c: TrainContext, add: Pen) -> None:
    plan = c.machine.plan
    add("steps", plan.steps, why=f"tokens over {plan.tokens_per_step:,} a step")
    why = "nodes × (failures + nodes taken back) × run time"
    add("interruptions to survive", c.failures_per_s * c.value("time_s"), "", why, "a shorter run or fewer nodes")


def _governance(c: TrainContext, add: Pen, read: float) -> None:
    size, interval, write = _size(c), c.value("interval_s"), c.machine.plan.checkpoint_write_s
    move = read + (size / interval if math.isfinite(interval) else 0.0)
    why = "d/v: tokens read and checkpoints written on average, over AES-256-GCM of one core"
    add("cores that encrypt what moves", float(encryption_cores(move)), "", why)
    why = "checkpoint over its write time, over the same rate; spread over all nodes"
    add("cores that encrypt a checkpoint at full rate", float(encryption_cores(size / write if write else read)), "", why)
    masks = {name: int(np.isinf(c.found.over[name]).sum()) for name in ("data_in", "operators") if name in c.found.over}
    limits = c.scenario.plan.limits
    item = "combinations that compliance rules out"
    if masks:
        said = "; ".join(f"{name.replace('_', ' ')} rules out {count:,}" for name, count in masks.items())
        where = ", ".join((*(limits.data_in or ()), *(limits.operators or ())))
        add(item, sum(masks.values()), why=said, flips=f"another list than {where}")
    else:
        why = "no limit on where data may live or who may hold it"
        add(item, 0.0, why=why, flips="plan.limits.data_in, plan.limits.operators")


def train_needs(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the requirement analysis over the six facets."""
    plan = c.machine.plan
    goal = c.scenario.plan.goals.train[c.run]
    size = training_bytes(c.scenario, c.machine)
    read = size * goal.passes / plan.work_s
    _compute(c, sheet.pen(STEP, c.goal, "compute"))
    _storage(c, sheet.pen(STEP, c.goal, "storage"))
    _network(c, sheet.pen(STEP, c.goal, "network"))
    add = sheet.pen(STEP, c.goal, "data")
    add("tokens", plan.steps * plan.tokens_per_step, why="steps × batch × sequence")
    add("training data", size, "data_bytes", "as the goal states" if goal.data is not None else f"{BYTES_PER_TOKEN:g} B a token")
    add("read rate", read, "read_bytes_per_s", f"read {goal.passes:g} times over the predicted run")
    _platform(c, sheet.pen(STEP, c.goal, "AI platform"))
    _governance(c, sheet.pen(STEP, c.goal, "governance"), read)
