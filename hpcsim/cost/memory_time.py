"""Memory of every pipeline stage over a step: what a device holds all the time, what micro-batches add to it, when and where most.

The micro-batches come and go as the schedule's operations do: a forward adds what its layers keep, the backward (or the weight gradient, where
that is apart) takes it away, and adds what it works with while it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcsim.cost.arguments import Array, Numeric
from hpcsim.cost.compute import Precision
from hpcsim.cost.memory import FRAGMENTATION_FRAC, STREAMED_LAYERS, StageFrame, stage_frame
from hpcsim.cost.models import Model
from hpcsim.cost.parallelism import Layout, stage_layers
from hpcsim.cost.pipeline import SCHEDULES
from hpcsim.cost.schedules import Graph, Timeline, graph, lengths, walk

__all__ = ["StageMemory", "memory_over_time"]

MOST_ROUNDS = 4
"""Rounds of p micro-batches that are followed: what a stage holds repeats itself from the second on."""

_KINDS = {"F": "forward", "B": "backward", "I": "input gradient", "W": "weight gradient", "P": "forward and backward"}


@dataclass(frozen=True)
class StageMemory:
    """One pipeline stage's device over a step.

    Attributes
    ----------
    stage : int
    layers : float
    terms : dict of str to float
        As :class:`hpcsim.cost.memory.MemoryTerms`, at the peak of the schedule's closed form [B].
    time_s, size_bytes : array, shape (events,)
        From each of these times on the device holds so much.
    peak_bytes, peak_s : float
        Most, and when first.
    during : str
        The operation that runs then, such as ``"backward of micro-batch 3"``.
    """

    stage: int
    layers: float
    terms: dict[str, float]
    time_s: Array
    size_bytes: Array
    peak_bytes: float
    peak_s: float
    during: str


def _changes(g: Graph, t: Timeline, s: int, amount: float, working: float, logits: float) -> tuple[Array, Array, Any]:
    """Times, changes and operations of one device, releases before additions at one instant."""
    mine = np.flatnonzero(g.device == s)
    kind, start, end = g.kind[mine], np.asarray(t.start_s)[mine], np.asarray(t.end_s)[mine]
    forward, back = np.isin(kind, (0, 4)), np.isin(kind, (1, 2, 4))
    frees = np.isin(kind, (1, 3, 4))
    final = g.places - 1
    scored = np.where(forward & (g.place[mine] == final), logits, 0.0)
    done = np.where((np.isin(kind, (1, 2)) & (g.place[mine] == final)) | ((kind == 4) & (g.back_place[mine] == final)), logits, 0.0)
    times = np.concatenate([start, end])
    change = np.concatenate([forward * amount + back * working + scored, -(frees * amount) - back * working - done])
    order = np.lexsort((np.concatenate([np.ones_like(start), np.zeros_like(end)]), times))
    return times[order], change[order], np.concatenate([mine, mine])[order]


def _stage(frame: StageFrame, g: Graph, t: Timeline, s: int, layers: float, offloads: bool) -> StageMemory:
    terms = {name: float(value) for name, value in frame.stage_terms(s).items()}
    pieces = 1.0 if g.schedule == "dualpipe" else g.places / g.devices
    kept = float(frame.kept)
    amount = (0.0 if offloads else layers * kept / pieces) + float(frame.boundary) / pieces
    waiting = g.micro_batches if g.schedule == "gpipe" and g.devices > 1 else 1
    times, change, operations = _changes(g, t, s, amount, float(frame.working), float(frame.end) / waiting)
    fixed = terms["weights"] + terms["gradients"] + terms["optimizer"] + float(frame.reserve_bytes)
    fixed += (1.0 + FRAGMENTATION_FRAC) * terms["buffers"]
    streamed = STREAMED_LAYERS * kept if offloads else 0.0
    size = fixed + (1.0 + FRAGMENTATION_FRAC) * (streamed + np.cumsum(change))
    top = int(np.argmax(size > size.max() * (1.0 - 1e-12)))
    name = _KINDS["FBIWP"[int(g.kind[operations[top]])]]
    during = f"{name} of micro-batch {int(g.micro_batch[operations[top]]) + 1}"
    return StageMemory(s, layers, terms, times, size, float(size[top]), float(times[top]), during)


def memory_over_time(
    model: Model,
    layout: Layout,
    precision: Precision,
    *,
    micro_batches: int,
    sequence: int,
    forward_s: float,
    backward_s: float,
    weight_s: float | None = None,
    **habits: Numeric,
) -> list[StageMemory]:
    """Return what every pipeline stage holds over a step.

    Parameters
    ----------
    model, layout, precision : Model, Layout, Precision
        Of scalars.
    micro_batches, sequence : int
    forward_s, backward_s, weight_s : float
        One micro-batch on a stage of average depth: forward, whole backward, and its weight-gradient part (half of it by default).
    **habits
        The other arguments of :func:`hpcsim.cost.memory.training_memory`.

    Notes
    -----
    With more than four times as many micro-batches as stages so many are followed. The peak agrees with that function's total where the
    schedule's closed form of micro-batches in flight is exact.
    """
    p, v = int(layout.pp), int(layout.vpp)
    name = SCHEDULES[int(layout.schedule)]
    m = min(micro_batches, MOST_ROUNDS * p + micro_batches % p) if p > 1 else min(micro_batches, 2)
    spread = stage_layers(model.all_layers, layout.pp, layout.vpp)
    counts = np.full(p, float(spread.middle))
    counts[0], counts[-1] = float(spread.first), float(spread.last)
    share = counts / counts.mean()
    weight = backward_s / 2.0 if weight_s is None else weight_s
    g = graph(name, pp=p, micro_batches=m, vpp=v, lengths=lengths(forward_s, backward_s, weight))
    t = walk(g, forward_s=forward_s * share, backward_s=backward_s * share, weight_s=weight * share)
    frame = stage_frame(model, layout, precision, micro_batches=micro_batches, sequence=sequence, **habits)
    return [_stage(frame, g, t, s, float(counts[s]), bool(layout.offload_activations)) for s in range(p)]
