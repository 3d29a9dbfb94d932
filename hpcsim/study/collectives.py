"""Timed collectives as arguments of the fabric formulas: one reading of the columns, the same for every source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.step_cost import Z80
from hpcsim.evidence.collectives import CollectiveRow

__all__ = ["SIGMA", "Timing", "fabric_of", "predict_collectives"]

SIGMA = 0.45
"""Standard deviation of the logarithm of a collective's time at any size: start-up and library choices are what is known least."""

_UNKNOWN_OUT_BYTES_PER_S = 25e9
"""One way and device, where the source does not say what joins the nodes: a 200 Gbit/s port each."""
_TCP_SHARE = 0.1
"""Share of a fast link's rate that a collective over TCP sockets reaches: one or two streams a device."""


@dataclass(frozen=True)
class Timing:
    """A predicted time with its 80 % interval, or the reason for none."""

    predicted_s: float = float("nan")
    low_s: float = float("nan")
    high_s: float = float("nan")
    refused: str = ""


def fabric_of(row: CollectiveRow) -> Fabric:
    """Return the fabric that a row's columns describe.

    What is not said: a domain is a node; between nodes each device has 200 Gbit/s of InfiniBand; the library sums in the switch where
    it can.
    """
    domain = row.domain or row.per_node
    up_rate = row.scale_up_bytes_per_s or row.scale_out_bytes_per_s / row.per_node or _UNKNOWN_OUT_BYTES_PER_S
    up = Link.of(row.scale_up or "pcie", up_rate)
    if row.in_switch == "nvls-off":
        up = dataclasses.replace(up, in_switch_gain=1.0)
    rate = row.scale_out_bytes_per_s / row.per_node or _UNKNOWN_OUT_BYTES_PER_S
    out = Link.of(row.scale_out or "infiniband", rate)
    if "tcp" in row.condition.lower():
        out = Link.of("ethernet", rate * _TCP_SHARE)
    return Fabric(up, out, domain)


def predict_collectives(rows: Sequence[CollectiveRow]) -> list[Timing]:
    """Predict the time of every row, without a look at what was measured."""
    answers = []
    width = float(np.exp(Z80 * SIGMA))
    for row in rows:
        fabric = fabric_of(row)
        inside = min(row.domain or row.per_node, row.gpus)
        try:
            seconds = float(fabric.collective_s(row.collective, row.size_bytes, row.gpus, inside=inside))
        except InputError as error:
            answers.append(Timing(refused="; ".join(problem.message for problem in error.problems)))
            continue
        answers.append(Timing(seconds, seconds / width, seconds * width))
    return answers
