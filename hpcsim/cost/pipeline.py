"""Pipeline schedules in closed form: idle time and micro-batches in flight.

Uniform stages: forward F, backward B (with its weight-gradient part W, so that B is the whole backward) per stage and micro-batch; p
stages, m micro-batches, v chunks a stage. Communication between stages is not in these forms. The exact times of uneven stages
follow from the schedule's dependency graph; these forms are its tests.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, non_negative, whole

__all__ = ["SCHEDULES", "bubble_fraction", "bubble_s", "in_flight", "makespan_s", "parameter_copies", "schedule_code"]

UNKNOWN_SCHEDULE = problem_kind("unknown-schedule", "unknown pipeline schedule {name!r}", "one of: {known}")

SCHEDULES = ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v", "dualpipe")
"""Schedules by code: index in this tuple."""

_SPELLINGS = {
    "interleaved-1f1b": "interleaved",
    "1f1b-interleaved": "interleaved",
    "zbh1": "zb-h1",
    "zbh2": "zb-h2",
    "zbv": "zb-v",
    "": "1f1b",
}


def schedule_code(schedule: object) -> npt.NDArray[np.int64]:
    """Return the code(s) of one schedule or an array of them, given by name or already by code.

    Raises
    ------
    InputError
        An unknown name.
    """
    values = np.asarray(schedule)
    if values.dtype.kind in "iuf":
        codes = values.astype(np.int64)
        if ((codes < 0) | (codes >= len(SCHEDULES))).any():
            raise UNKNOWN_SCHEDULE.error(path="schedule", name=str(schedule), known=", ".join(SCHEDULES))
        return codes
    out = np.zeros(values.shape, dtype=np.int64)
    for name in np.unique(values.astype(str)):
        plain = _SPELLINGS.get(name.lower(), name.lower())
        if plain not in SCHEDULES:
            raise UNKNOWN_SCHEDULE.error(path="schedule", name=str(name), known=", ".join(SCHEDULES))
        out[values.astype(str) == name] = SCHEDULES.index(plain)
    return out


def bubble_s(
    schedule: object, *, pp: Numeric, forward_s: Numeric, backward_s: Numeric, weight_s: Numeric | None = None, vpp: Numeric = 1
) -> Array:
    """Return the idle time of a stage in one step.

    =============  =========================================
    gpipe, 1f1b    (p−1)(F+B)
    interleaved    (p−1)(F+B)/v
    zb-h1          (p−1)(F+B−2W)
    zb-h2          (p−1)(F+B−3W)
    zb-v           0
    dualpipe       (p/2−1)(F+2B−3W), forward and backward paired
    =============  =========================================

    Never below zero. Zero-bubble forms need the optimizer's global checks to be bypassed.

    Parameters
    ----------
    schedule : str, int or array
    pp, vpp : float or array
        Stages, chunks a stage.
    forward_s, backward_s : float or array
        Whole stage, one micro-batch.
    weight_s : float or array, optional
        Weight-gradient part of the backward; half of it where absent.

    References
    ----------
    Huang et al. 2019 (GPipe); Narayanan et al. 2021 (1F1B, interleaved); Qi et al. 2024 (zero bubble); DeepSeek-AI 2024 (DualPipe).
    """
    code = schedule_code(schedule)
    p, v, f, b = whole("pp", pp), whole("vpp", vpp), non_negative("forward_s", forward_s), non_negative("backward_s", backward_s)
    w = b / 2.0 if weight_s is None else non_negative("weight_s", weight_s)
    broadcast(code, p, v, f, b, w)
    plain = (p - 1.0) * (f + b)
    first, second = (p - 1.0) * (f + b - 2.0 * w), (p - 1.0) * (f + b - 3.0 * w)
    choices = [plain, plain, plain / v, first, second, 0.0 * plain, (p / 2.0 - 1.0) * (f + 2.0 * b - 3.0 * w)]
    shape = np.broadcast_shapes(code.shape, np.shape(plain), np.shape(v), np.shape(w))
    value = np.zeros(shape)
    for i, choice in enumerate(choices):
        value = np.where(code == i, choice, value)
    return np.asarray(np.maximum(value, 0.0))[()]


def makespan_s(
    schedule: object,
    *,
    pp: Numeric,
    micro_batches: Numeric,
    forward_s: Numeric,
    backward_s: Numeric,
    weight_s: Numeric | None = None,
    vpp: Numeric = 1,
) -> Array:
    """Return m(F+B) plus the bubble. The interleaved form needs m to be a multiple of p, as the schedule does."""
    m = whole("micro_batches", micro_batches)
    work = m * (np.asarray(forward_s, float) + np.asarray(backward_s, float))
    bubble = bubble_s(schedule, pp=pp, forward_s=forward_s, backward_s=backward_s, weight_s=weight_s, vpp=vpp)
    return np.asarray(work + bubble)[()]


def bubble_fraction(
    schedule: object,
    *,
    pp: Numeric,
    micro_batches: Numeric,
    forward_s: Numeric = 1.0,
    backward_s: Numeric = 2.0,
    weight_s: Numeric | None = None,
    vpp: Numeric = 1,
) -> Array:
    """Return the bubble's share of the *whole* step, (p−1)/(m+p−1) for 1F1B; others quote it over the ideal time, (p−1)/m.

    >>> round(float(bubble_fraction("1f1b", pp=8, micro_batches=32)), 4)
    0.1795
    """
    bubble = bubble_s(schedule, pp=pp, forward_s=forward_s, backward_s=backward_s, weight_s=weight_s, vpp=vpp)
    total = makespan_s(schedule, pp=pp, micro_batches=micro_batches, forward_s=forward_s, backward_s=backward_s, weight_s=weight_s, vpp=vpp)
    return np.asarray(bubble / np.where(total > 0, total, 1.0))[()]


def in_flight(schedule: object, *, pp: Numeric, micro_batches: Numeric, vpp: Numeric = 1, stage: Numeric = 0) -> Array:
    """Return the peak of micro-batches whose activations a stage holds, in whole-stage units.

    =============  ==========================================================
    gpipe          m
    1f1b           min(m, p−s)
    interleaved    min(mv, 2(p−s−1)+(v−1)p+1)/v, on stage 0 p(1+(p−1)/(pv))
    zb-h1, zb-v    min(m, p)
    zb-h2          min(m, 2p−1)
    dualpipe       min(m, p+1)
    =============  ==========================================================

    The zero-bubble rows count a micro-batch until its weight gradient is done.
    """
    code = schedule_code(schedule)
    p, m, v, s = whole("pp", pp), whole("micro_batches", micro_batches), whole("vpp", vpp), whole("stage", stage, low=0)
    broadcast(code, p, m, v, s)
    interleaved = np.minimum(m * v, 2.0 * (p - s - 1.0) + (v - 1.0) * p + 1.0) / v
    held = [m, np.minimum(m, p - s), interleaved, np.minimum(m, p), np.minimum(m, 2.0 * p - 1.0), np.minimum(m, p), np.minimum(m, p + 1.0)]
    value = np.zeros(np.broadcast_shapes(code.shape, *(np.shape(h) for h in held)))
    for i, choice in enumerate(held):
        value = np.where(code == i, choice, value)
    return np.asarray(value)[()]


def parameter_copies(schedule: object) -> Array:
    """Return how many stages' parameters a device holds: 2 in DualPipe, which runs the pipeline from both ends, else 1."""
    return np.asarray(np.where(schedule_code(schedule) == SCHEDULES.index("dualpipe"), 2.0, 1.0))[()]
