"""What a fabric is bought and powered as: switches, cables, transceivers, with power and list price, counted from the closed form.

A cable inside a rack is copper, any other is a fibre with a transceiver at each end. Which are which follows from the shape: cables of nodes to a leaf switch that
takes all ports of its nodes, and cables inside a dragonfly's group, are short; by rail, in planes, between switches and between groups they are long.
"""

from __future__ import annotations

import contextlib
import math

from hpcsim.base.errors import InputError
from hpcsim.base.reuse import kept
from hpcsim.catalog.hardware import Link
from hpcsim.cluster.desk import Desk
from hpcsim.cluster.parts import BillRow, Fabric, FabricSize

__all__ = ["bill_of"]

_COPPER, _FIBRE = "dac-400g-2m", "fibre-mpo-30m"
_TRANSCEIVERS = ("transceiver-100g-sr4", "transceiver-200g-sr4", "transceiver-400g-dr4", "transceiver-800g-2xdr4", "transceiver-1600g")
_SLACK = 1.1
"""A port whose rate is up to a tenth above a transceiver's nominal rate takes that one (line rates and data rates are both in use)."""


def _transceiver(desk: Desk, bytes_per_s: float) -> Link | None:
    """Return the smallest transceiver that carries a port, or the largest there is."""
    known = kept("transceivers", lambda: id(desk.catalog), lambda: [desk.catalog.link(name) for name in _TRANSCEIVERS])
    fitting = [item for item in known if (item.bytes_per_s or 0.0) * _SLACK >= bytes_per_s]
    return fitting[0] if fitting else None


def _short(fabric: Fabric, tier: str, number: int) -> bool:
    """Return whether the cables of a tier stay inside a rack."""
    if fabric.topology.startswith("dragonfly"):
        return tier in ("hosts", "local")
    if fabric.topology in ("torus", "hypercube", "full-mesh"):
        return fabric.cube is None and fabric.topology == "full-mesh"
    return number == 0 and fabric.rails == fabric.planes == 1 and fabric.topology != "single-switch"


def bill_of(desk: Desk, fabric: Fabric, size: FabricSize, prices: tuple[float | None, float | None, float | None]) -> tuple[BillRow, ...]:
    """Return the parts of a fabric.

    Parameters
    ----------
    desk : Desk
        Whose catalog gives power and price, noted with their sources.
    fabric, size : Fabric, FabricSize
        What is counted.
    prices : tuple
        Price of a switch, power and price of a cable with its two ends, as the scenario gives them [USD, W, USD]; None where it does not.

    Returns
    -------
    tuple of BillRow
        Switches by level, then cables and their transceivers by tier, storage last. A power or price that nobody knows is NaN.
    """
    switch_usd, cable_w, cable_usd = prices
    rows: list[BillRow] = []
    path, link = f"{fabric.path}.link", None
    with contextlib.suppress(InputError):
        link = desk.catalog.link(fabric.link)
    if switch_usd is None:
        switch_usd = desk.take(path, link, "switch_price_usd")
    rates = fabric.rates_bytes_per_s or (fabric.bytes_per_s,)
    for level, count in enumerate(size.switches, 1):
        kind = (link.switch if link is not None and link.switch else "") or "switch"
        rows.append(BillRow("switch", kind, f"level {level}", count, math.nan, _known(fabric.switch_w), _known(switch_usd)))
    tiers = list(size.tiers) or [f"level-{i + 1}" for i in range(len(size.cables))]
    counts = [*zip(tiers, size.cables), *([("storage", size.storage_cables)] if size.storage_cables else [])]
    for number, (tier, count) in enumerate(counts):
        rate = rates[min(number, len(rates) - 1)] if tier != "storage" else fabric.bytes_per_s
        if not count:
            continue
        if tier in ("gateway", "wan"):  # rented or built, at prices that no list has
            rows.append(BillRow("cable", "wide-area line" if tier == "wan" else "gateway cable", tier, count, math.nan, math.nan, math.nan))
            continue
        if cable_w is not None or cable_usd is not None:
            rows.append(BillRow("cable", "cable with both ends", tier, count, rate, _known(cable_w), _known(cable_usd)))
            continue
        rows += _cables(desk, fabric, tier, number, count, rate)
    return tuple(rows)


def _cables(desk: Desk, fabric: Fabric, tier: str, number: int, count: int, rate: float) -> list[BillRow]:
    """Return the cables of a tier and, where they are long, their transceivers."""
    if _short(fabric, tier, number):
        copper = desk.catalog.link(_COPPER)
        each_w, each_usd = (desk.fact(fabric.path, copper.fact(name)) for name in ("power_w", "price_usd"))
        return [BillRow("cable", "copper, 2 m", tier, count, rate, each_w, each_usd)]
    optic = _transceiver(desk, rate)
    if optic is None:
        return [BillRow("cable", "fibre", tier, count, rate, math.nan, math.nan)]
    each_w, each_usd = (desk.fact(fabric.path, optic.fact(name)) for name in ("power_w", "price_usd"))
    strand = desk.catalog.link(_FIBRE)
    strand_w, strand_usd = (desk.fact(fabric.path, strand.fact(name)) for name in ("power_w", "price_usd"))
    return [
        BillRow("cable", "fibre", tier, count, rate, strand_w, strand_usd),
        BillRow("transceiver", optic.id, tier, 2 * count, rate, each_w, each_usd),
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
