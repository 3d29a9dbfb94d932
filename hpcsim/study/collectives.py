"""Timed collectives as arguments of the fabric formulas: one reading of the columns, the same for every source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.catalog.architecture import architecture_year
from hpcsim.catalog.lookup import default
from hpcsim.cost.collectives import Fabric, Link, spread_kind
from hpcsim.cost.step_cost import Z80
from hpcsim.evidence.collectives import CollectiveRow

__all__ = ["BYTES_SIGMA", "FIXED_SIGMA", "Timing", "fabric_of", "predict_collectives"]

BYTES_SIGMA, FIXED_SIGMA = 0.07, 0.32
"""Standard deviation of the logarithm of a time that is all bytes, and all start-up and steps: hosts and libraries differ in the latter."""

_EFA_V1_NODE_BYTES_PER_S = 50e9
"""Up to here EFA is its first generation: four ports of 100 Gbit/s a node."""
_PORTS = ((2020.0, 12.5e9), (2022.0, 25e9))
"""Port of a device, one way, by the year of its architecture, where the source does not say what joins the nodes; 400 Gbit/s after."""
_LATER_PORT_BYTES_PER_S, _SOME_PORT_BYTES_PER_S = 50e9, 25e9
_TCP_NODE_BYTES_PER_S = 4.1e9
"""What a node's sockets carry, whatever its ports: a few streams that a core each drives (4×GH200 without its network's plug-in)."""


@dataclass(frozen=True)
class Timing:
    """A predicted time with its 80 % interval, or the reason for none."""

    predicted_s: float = float("nan")
    low_s: float = float("nan")
    high_s: float = float("nan")
    refused: str = ""


@lru_cache(maxsize=256)
def _port_bytes_per_s(accelerator: str) -> float:
    catalog = default()
    try:
        year = architecture_year(catalog.accelerator(accelerator), catalog)
    except InputError:
        return _SOME_PORT_BYTES_PER_S
    if not year:
        return _SOME_PORT_BYTES_PER_S
    return next((rate for before, rate in _PORTS if year < before), _LATER_PORT_BYTES_PER_S)


def _torus_axes(row: CollectiveRow) -> int:
    """Return the axes of the torus that a TPU's links make; two where the device is not known."""
    if not row.scale_up.lower().startswith("ici"):
        return 0
    try:
        return len(default().accelerator(row.accelerator).torus) or 2
    except InputError:
        return 2


def _scale_out(row: CollectiveRow) -> Link:
    rate = row.scale_out_bytes_per_s / row.per_node or _port_bytes_per_s(row.accelerator)
    kind = row.scale_out or "infiniband"
    if "tcp" in row.condition.lower():
        return Link.of("tcp", min(rate, _TCP_NODE_BYTES_PER_S / row.per_node))
    if kind.lower() == "efa" and 0 < row.scale_out_bytes_per_s <= _EFA_V1_NODE_BYTES_PER_S:
        kind = "efa-v1"
    link = Link.of(kind, rate)
    return link if row.scale_out and row.scale_out_bytes_per_s else dataclasses.replace(link, doubt_sigma=0.3)


def fabric_of(row: CollectiveRow) -> Fabric:
    """Return the fabric that a row's columns describe.

    What is not said: a domain is a node; between nodes each device has a port of its generation, of InfiniBand; the library sums in the
    switch where it can.
    """
    domain = row.domain or row.per_node
    up_rate = row.scale_up_bytes_per_s or row.scale_out_bytes_per_s / row.per_node or _SOME_PORT_BYTES_PER_S
    up = Link.of(spread_kind(row.scale_up or "pcie", domain), up_rate)
    if row.in_switch == "nvls-off":
        up = dataclasses.replace(up, in_switch_frac=0.0)
    return Fabric(up, _scale_out(row), domain, torus_axes=_torus_axes(row))


def _timed(row: CollectiveRow) -> Timing:
    fabric = fabric_of(row)
    inside = min(row.domain or row.per_node, row.gpus)
    condition = row.condition.lower()
    if "mpi" in condition:
        on_devices = "cpu" not in condition
        seconds = float(fabric.mpi_s(row.collective, row.size_bytes, row.gpus, inside=inside, on_devices=on_devices))
        fixed = float(fabric.mpi_s(row.collective, 1e-9, row.gpus, inside=inside, on_devices=on_devices))
    else:
        only = "in-switch" if row.in_switch == "nvls-tree" else ""
        found = fabric.timed(row.collective, row.size_bytes, row.gpus, inside=inside, only=only)
        seconds, fixed = float(found.seconds), float(found.fixed_s)
    doubt = float(np.asarray(fabric.scale_out.doubt_sigma if row.gpus > inside else fabric.scale_up.doubt_sigma))
    share = fixed / seconds if seconds > 0 else 0.0
    width = float(np.exp(Z80 * np.hypot(np.hypot(BYTES_SIGMA, FIXED_SIGMA * share), doubt)))
    return Timing(seconds, seconds / width, seconds * width)


def predict_collectives(rows: Sequence[CollectiveRow]) -> list[Timing]:
    """Predict the time of every row, without a look at what was measured."""
    answers = []
    for row in rows:
        try:
            answers.append(_timed(row))
        except InputError as error:
            answers.append(Timing(refused="; ".join(problem.message for problem in error.problems)))
    return answers
