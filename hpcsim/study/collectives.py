"""Timed collectives as arguments of the fabric formulas: one reading of the columns, the same for every source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError
from hpcsim.catalog.architecture import architecture_year
from hpcsim.catalog.link_kinds import kind_name, spread_kind
from hpcsim.catalog.lookup import default
from hpcsim.cost.collectives import LIBRARY, Fabric, Library, Link, LinkClass
from hpcsim.cost.step_cost import Z80
from hpcsim.evidence.collectives import CollectiveRow
from hpcsim.workload.link_kinds import link_class

__all__ = ["BYTES_SIGMA", "FIXED_SIGMA", "Setting", "Times", "Timing", "interval_log", "predict_collectives", "setting_of", "times"]

BYTES_SIGMA, FIXED_SIGMA = 0.06, 0.43
"""Standard deviation of the logarithm of a time that is all bytes, and all start-up and steps: hosts and libraries differ in the latter. In
between the variances add in proportion to the share; they were set so that at least four in five timings of machines left out lie inside."""

_EFA_V1_NODE_BYTES_PER_S = 50e9
"""Up to here EFA is its first generation: four ports of 100 Gbit/s a node."""
_PORTS = ((2020.0, 12.5e9), (2022.0, 25e9))
"""Port of a device, one way, by the year of its architecture, where the source does not say what joins the nodes; 400 Gbit/s after."""
_LATER_PORT_BYTES_PER_S, _SOME_PORT_BYTES_PER_S = 50e9, 25e9
_TCP_NODE_BYTES_PER_S = 4.1e9
"""What a node's sockets carry, whatever its ports: a few streams that a core each drives (4×GH200 without its network's plug-in)."""
UNSAID_SIGMA = 0.3
"""The same of a time over a network that is not said."""


Floats = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]


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


@dataclass(frozen=True)
class Setting:
    """What a row's columns say of its fabric: kinds and rates of the two links, and what goes with them.

    What is not said: a domain is a node; between nodes each device has a port of its generation, of InfiniBand; the library sums in the
    switch where it can.

    Attributes
    ----------
    up, out : str
        Kinds of link.
    up_bytes_per_s, out_bytes_per_s : float
        Of one device.
    domain, torus_axes : int
    sums : bool
        The switch may sum.
    assumed : bool
        The network is not said.
    """

    up: str
    out: str
    up_bytes_per_s: float
    out_bytes_per_s: float
    domain: int
    torus_axes: int
    sums: bool
    assumed: bool


def setting_of(row: CollectiveRow) -> Setting:
    """Return what a row's columns say."""
    domain = row.domain or row.per_node
    up_rate = row.scale_up_bytes_per_s or row.scale_out_bytes_per_s / row.per_node or _SOME_PORT_BYTES_PER_S
    rate = row.scale_out_bytes_per_s / row.per_node or _port_bytes_per_s(row.accelerator)
    kind, assumed = row.scale_out or "infiniband", not (row.scale_out and row.scale_out_bytes_per_s)
    if "tcp" in row.condition.lower():
        kind, rate, assumed = "tcp", min(rate, _TCP_NODE_BYTES_PER_S / row.per_node), False
    elif kind.lower() == "efa" and 0 < row.scale_out_bytes_per_s <= _EFA_V1_NODE_BYTES_PER_S:
        kind = "efa-v1"
    up = kind_name(spread_kind(row.scale_up or "pcie", domain))
    return Setting(up, kind_name(kind), up_rate, rate, domain, _torus_axes(row), row.in_switch != "nvls-off", assumed)


def _links(kinds: tuple[str, ...], place: _Places, rates: Floats, terms: Callable[[str], LinkClass]) -> Link:
    """Return one link whose fields are arrays."""
    known = [terms(kind) for kind in kinds]
    columns: dict[str, Any] = {
        f.name: np.array([getattr(kind, f.name) for kind in known])[place] for f in fields(LinkClass) if f.name != "device_bytes_per_s"
    }
    return Link(np.minimum(rates, np.array([kind.device_bytes_per_s for kind in known])[place]), **columns)


@dataclass(frozen=True)
class _Group:
    """Rows that one call of the formulas answers, as arrays."""

    places: _Places
    collective: str
    mpi: bool
    how: Any
    torus_axes: int
    ups: tuple[str, ...]
    up: _Places
    up_bytes_per_s: Floats
    outs: tuple[str, ...]
    out: _Places
    out_bytes_per_s: Floats
    domain: Floats
    sums: Floats
    unsaid: Floats
    size_bytes: Floats
    ranks: Floats


def _numbered(words: Sequence[str]) -> tuple[tuple[str, ...], _Places]:
    known = tuple(dict.fromkeys(words))
    return known, np.array([known.index(word) for word in words])


@lru_cache(maxsize=128)
def _groups(rows: tuple[CollectiveRow, ...]) -> tuple[_Group, ...]:
    members: dict[tuple[Any, ...], list[int]] = {}
    settings = [setting_of(row) for row in rows]
    for place, (row, at) in enumerate(zip(rows, settings, strict=True)):
        mpi = "mpi" in row.condition.lower()
        how = ("cpu" not in row.condition.lower()) if mpi else ("in-switch" if row.in_switch == "nvls-tree" else "")
        members.setdefault((row.collective, mpi, how, at.torus_axes), []).append(place)
    found = []
    for (collective, mpi, how, axes), places in members.items():
        at_each = [settings[k] for k in places]

        def column(name: str, of: Sequence[Any]) -> Floats:
            return np.array([float(getattr(item, name)) for item in of])

        found.append(
            _Group(
                np.array(places), collective, mpi, how, axes,
                *_numbered([at.up for at in at_each]), column("up_bytes_per_s", at_each),
                *_numbered([at.out for at in at_each]), column("out_bytes_per_s", at_each),
                column("domain", at_each), column("sums", at_each), UNSAID_SIGMA * column("assumed", at_each),
                column("size_bytes", [rows[k] for k in places]), column("gpus", [rows[k] for k in places]),
            )
        )  # fmt: skip
    return tuple(found)


@dataclass(frozen=True)
class Times:
    """Times of rows [s], the part of each that is fixed or polled [s], and the doubt of the links that bear them; NaN where a row is refused."""

    seconds: Floats
    fixed_s: Floats
    doubt_sigma: Floats
    refused: Mapping[int, str]


def times(
    rows: Sequence[CollectiveRow], *, terms: Callable[[str], LinkClass] = link_class, library: Library = LIBRARY, tuned: bool = False
) -> Times:
    """Return the time of every row, without a look at what was measured.

    Parameters
    ----------
    rows : sequence of CollectiveRow
    terms : callable
        Terms of a kind of link; the catalog's by default.
    library : Library
    tuned : bool
        NCCL's own tuner chooses, where its tables are known. By default the quickest runs: tuners are corrected by timings, and plug-ins of
        networks bring their own; on machines left out that was nearer in the median and in the tail.
    """
    found = np.full((3, len(rows)), np.nan)
    refused: dict[int, str] = {}
    for group in _groups(tuple(rows)):
        try:
            found[:, group.places] = _answered(group, terms, library, tuned)
        except InputError as error:
            refused |= dict.fromkeys(group.places.tolist(), "; ".join(problem.message for problem in error.problems))
    return Times(found[0], found[1], found[2], refused)


def _answered(g: _Group, terms: Callable[[str], LinkClass], library: Library, tuned: bool) -> Floats:
    up = _links(g.ups, g.up, g.up_bytes_per_s, terms)
    up = dataclasses.replace(up, in_switch_frac=up.in_switch_frac * g.sums)
    out = _links(g.outs, g.out, g.out_bytes_per_s, terms)
    fabric = Fabric(up, out, g.domain, torus_axes=g.torus_axes, library=library, tuned=tuned)
    inside = np.minimum(g.domain, g.ranks)
    if g.mpi:
        whole, fixed = (
            fabric.mpi_s(g.collective, n, g.ranks, inside=inside, on_devices=g.how) for n in (g.size_bytes, np.full(g.ranks.shape, 1e-9))
        )
    else:
        timed = fabric.timed(g.collective, g.size_bytes, g.ranks, inside=inside, only=g.how)
        whole, fixed = timed.seconds, timed.fixed_s
    network = np.maximum(out.doubt_sigma, g.unsaid)
    return np.stack([whole, fixed, np.where(g.ranks > inside, np.hypot(network, up.doubt_sigma), up.doubt_sigma)])


def interval_log(fixed_frac: Floats, doubt_sigma: Floats) -> Floats:
    """Return half of the 80 % range of the logarithm of a time by its share of start-up and steps and its links' doubt."""
    return np.asarray(Z80 * np.sqrt(BYTES_SIGMA**2 + FIXED_SIGMA**2 * fixed_frac + doubt_sigma**2))


def predict_collectives(rows: Sequence[CollectiveRow]) -> list[Timing]:
    """Predict the time of every row with its 80 % interval, without a look at what was measured."""
    found = times(rows)
    share = np.clip(found.fixed_s / found.seconds, 0.0, 1.0)
    width = np.exp(interval_log(share, found.doubt_sigma))
    return [
        Timing(refused=found.refused[k])
        if k in found.refused
        else Timing(float(found.seconds[k]), float(found.seconds[k] / width[k]), float(found.seconds[k] * width[k]))
        for k in range(len(rows))
    ]
