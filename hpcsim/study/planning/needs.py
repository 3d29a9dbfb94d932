"""Requirement analysis of a training goal: what it takes, as numbers, before anything is chosen."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.base.units import readable
from hpcsim.cost.storage import CHECKPOINT_BYTES_PER_PARAMETER, encryption_cores
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.sheet import Sheet
from hpcsim.study.planning.train import BYTES_PER_TOKEN, CHECKPOINTS_KEPT, data_bytes

__all__ = ["train_needs"]

STEP = "requirement analysis"
CHECKPOINT_WASTE = 0.02
"""Share of the time that checkpoints and their lost work may take together, for the rate that storage needs."""
GRADIENT_BYTES = 2.0


def train_needs(c: TrainContext, sheet: Sheet) -> None:
    """Add the rows of the requirement analysis over the six facets."""
    plan, machine = c.machine.plan, c.machine
    flop = float(plan.cost.model_flop) * plan.steps

    def add(facet: str, item: str, value: float | str, key: str = "", why: str = "", flips: str = "") -> None:
        sheet.add(STEP, facet, item, value, key, why=why, flips=flips, goal=c.goal)

    add("compute", "work of the run", flop, "work_flop", "FLOP of the model's passes over all tokens; recomputation is not counted")
    rate = flop / c.deadline_s
    add(
        "compute",
        "rate that the deadline asks for",
        rate,
        "need_flop_per_s",
        "work over the deadline, failures left out",
        "inverse in the deadline",
    )
    hours = plan.work_s * plan.devices
    mfu = f"at the predicted model FLOP utilisation of {c.value('mfu_frac'):.1%}"
    add("compute", f"device time on {machine.kind.accelerator}", hours, "device_time_s", f"steps × step time × accelerators, {mfu}")
    need = hours / c.deadline_s
    add(
        "compute",
        f"{machine.kind.accelerator} that would just do",
        math.ceil(need),
        why="device time over the deadline: a lower bound, without failures and divisibility",
    )
    states = plan.parameters * 18.0
    add(
        "compute",
        "weights, gradients and optimizer",
        states,
        "states_bytes",
        "18 bytes a parameter: bf16 weights, fp32 gradients, master weights and two moments",
    )
    add(
        "compute",
        "memory of the fullest device",
        float(plan.cost.peak_memory_bytes),
        "peak_memory_bytes",
        f"of {readable(float(plan.cost.memory_capacity_bytes), 'data size', 3)} in the chosen layout",
    )
    tokens = plan.steps * plan.tokens_per_step
    add(
        "storage",
        "capacity",
        data_bytes(machine),
        "capacity_bytes",
        f"tokens × {BYTES_PER_TOKEN:g} B and {CHECKPOINTS_KEPT} checkpoints of {CHECKPOINT_BYTES_PER_PARAMETER:g} B a parameter",
    )
    size = plan.checkpoint_bytes or plan.parameters * CHECKPOINT_BYTES_PER_PARAMETER
    if c.failures_per_s > 0:
        write = CHECKPOINT_WASTE**2 / (2.0 * c.failures_per_s)
        add(
            "storage",
            "checkpoint write rate",
            size / write,
            "write_bytes_per_s",
            f"so that √(2δλ) ≤ {CHECKPOINT_WASTE:.0%}: a checkpoint in δ = {readable(write, 'time', 3)} at one interruption in {readable(1 / c.failures_per_s, 'time', 3)}",
            "more nodes or a shorter time between failures raise it in proportion",
        )
    layout = plan.layout
    shard = int(layout["tp"]) * int(layout["pp"])
    dp = int(layout["dp"]) * int(layout["cp"])
    passes = 3.0 if int(layout["zero_stage"]) == 3 else 2.0
    unique = min(int(layout["tp"]), machine.kind.per_node)
    volume = passes * GRADIENT_BYTES * plan.parameters / shard * unique * (dp - 1) / dp if dp > 1 else 0.0
    port = volume / float(plan.cost.step_time_s)
    add(
        "network",
        "injection of a node",
        port,
        "injection_bytes_per_s",
        f"{passes:g} × 2 B × the parameters that a node holds × (dp−1)/dp, reduced inside the node first, spread over the step; {readable(machine.bound.cluster.groups['nodes'].injection_bytes_per_s, 'data rate', 3)} are there",
    )
    add(
        "network",
        "bisection",
        port * machine.nodes / 2.0,
        "bisection_bytes_per_s",
        "half the nodes inject into the other half: enough for any placement of the ranks",
    )
    read = float(plan.cost.tokens_per_s) * BYTES_PER_TOKEN
    add("data", "tokens", tokens, why="steps × batch × sequence")
    add("data", "read rate of the tokens", read, "read_bytes_per_s", f"{BYTES_PER_TOKEN:g} B a token at the predicted rate")
    move = read + (size / c.value("interval_s") if math.isfinite(c.value("interval_s")) else 0.0)
    add(
        "governance",
        "cores that encrypt what moves",
        float(encryption_cores(move)),
        "",
        "d/v: tokens read and checkpoints written on average, over AES-256-GCM of one core",
    )
    burst = size / max(plan.checkpoint_write_s, 1e-9) if plan.checkpoint_write_s else read
    add(
        "governance",
        "cores that encrypt a checkpoint at full rate",
        float(encryption_cores(burst)),
        "",
        "checkpoint over its write time, over the same rate; spread over all nodes",
    )
    add("AI platform", "steps", plan.steps, why=f"tokens over {plan.tokens_per_step:,} a step")
    expected = c.failures_per_s * c.value("time_s")
    add(
        "AI platform",
        "interruptions to survive",
        expected,
        "",
        "nodes × (failures + nodes taken back) × run time",
        "a shorter run or fewer nodes",
    )
    masks = {name: int(np.isinf(c.found.over[name]).sum()) for name in ("data_in", "operators") if name in c.found.over}
    limits = c.scenario.plan.limits
    if masks:
        said = "; ".join(f"{name.replace('_', ' ')} rules out {count:,}" for name, count in masks.items())
        where = ", ".join((*(limits.data_in or ()), *(limits.operators or ())))
        add("governance", "combinations that compliance rules out", sum(masks.values()), why=said, flips=f"another list than {where}")
    else:
        add(
            "governance",
            "combinations that compliance rules out",
            0.0,
            why="no limit on where data may live or who may hold it",
            flips="plan.limits.data_in, plan.limits.operators",
        )
