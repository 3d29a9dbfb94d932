"""Kinds of links as collectives see them: their terms (:class:`hpcsim.cost.links.LinkClass`) with a source each.

A name finds the kind whose longest beginning fits it, ``ethernet`` where none does. An overlay catalog may give a kind other terms
(``link_kinds: {nvlink4: {latency: 0.7 us}}``), and a link of a scenario's terms of its own (see :mod:`hpcsim.workload.calibrated`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from hpcsim.catalog.entries import Entry, Listed, Span
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.scenario.fields import Frozen, Quantity, Share

__all__ = ["TERMS", "LinkKind", "kind_name", "link_terms", "spread_kind"]

Seconds = Annotated[float, Quantity("time", zero=True)]
Rate = Annotated[float, Quantity("data rate", zero=True)]
Factor = Annotated[float, Share(0.0, 100.0)]
TERMS = (
    "efficiency_frac", "latency_s", "startup_s", "base_s", "pipelining", "in_switch_frac", "bulk_factor", "low_latency_bytes_per_s",
    "line_protocol", "generation", "peers", "device_bytes_per_s", "doubt_sigma",
)  # fmt: skip
RACK_DEVICES = 16
"""NVLink 5 over more devices goes through a rack's switches."""
_SELLERS = ("gpudirect-", "gcp-", "aws-", "tpu-")
_FALLBACK = "ethernet"


class LinkKind(Entry):
    """A kind of link: what a collective makes of its line rate, and how long its steps take."""

    catalog_kind: ClassVar[str] = "link-kind"

    category: Literal["scale-up", "network", "none"] = Field(description="inside a domain, or between domains")
    begins: Listed[str] = Field((), description="other beginnings of names of this kind")
    efficiency_frac: Span = Field(alias="efficiency", description="bus bandwidth of large rings over the line rate")
    latency_s: Seconds = Field(alias="latency", description="step of a tree by the low-latency protocol")
    startup_s: Seconds | None = Field(None, alias="startup", description="least time of a call")
    base_s: Seconds | None = Field(None, alias="base", description="what the library takes before the first step")
    pipelining: Factor = Field(0.0, description="κ of the rise 2κ√(latency · bytes' time)")
    in_switch_frac: Span = Field(0.0, alias="in_switch", description="share of the line rate when the switch sums")
    bulk_factor: Factor = Field(1.0, alias="bulk", description="latency of a bulk step over the library's table")
    low_latency_bytes_per_s: Rate | None = Field(None, alias="low_latency_rate", description="rate of the low-latency protocol")
    line_protocol: Span = Field(0.0, alias="lines", description="1 where lines of 128 bytes arrive whole")
    generation: Annotated[float, Share(-1.0, 3.0)] = Field(-1.0, description="column of the tuner's tables; -1 without a tuner")
    peers: Factor = Field(0.0, description="peers of a full mesh")
    device_bytes_per_s: Rate | None = Field(None, alias="device_rate", description="most that one device drives")
    doubt_sigma: Factor = Field(0.0, alias="doubt", description="σ of the logarithm of a time beyond that of measured kinds")
    prior: Annotated[dict[str, float], Frozen] = Field(
        default_factory=dict, description="terms before a timing was looked at, SI, where they differ"
    )


def kind_name(link: str, catalog: Catalog | None = None) -> str:
    """Return the kind of a link by its longest known beginning.

    >>> kind_name("NDR 400"), kind_name("nvlink-4"), kind_name("carrier pigeon")
    ('infiniband', 'nvlink4', 'ethernet')
    """
    name = re.sub(r"^nvlink-(?=\d)", "nvlink", link.lower().replace("_", "-").replace(" ", "-"))
    for seller in _SELLERS:
        name = name.removeprefix(seller)
    found = {(start, kind) for start, kind in _beginnings(catalog or default()) if name.startswith(start)}
    return max(found, default=("", _FALLBACK), key=lambda pair: (len(pair[0]), pair))[1]


def _beginnings(catalog: Catalog) -> list[tuple[str, str]]:
    pairs = []
    for kind in catalog.names("link-kind"):
        entry = cast("LinkKind", catalog.find("link-kind", kind))
        pairs += [(start, kind) for start in (kind, *entry.begins)]
    return pairs


def link_terms(link: str, catalog: Catalog | None = None) -> dict[str, float]:
    """Return the terms that the catalog has for the kind that a link is of, by the names of :class:`hpcsim.cost.links.LinkClass`.

    >>> link_terms("nvlink4-switch")["generation"]
    2.0
    """
    where = catalog or default()
    entry = where.find("link-kind", kind_name(link, where))
    terms: dict[str, Any] = {name: getattr(entry, name) for name in TERMS}
    return {name: value for name, value in terms.items() if value is not None}


def spread_kind(scale_up: str, domain: Any) -> str:
    """Return the kind of a scale-up link by the size of its domain: NVLink 5 over more than sixteen devices goes through a rack's switches.

    >>> spread_kind("nvlink-5", 72), spread_kind("nvlink-5", 8)
    ('nvlink5-nvl72', 'nvlink-5')
    """
    rack = np.ndim(domain) == 0 and float(domain) > RACK_DEVICES and kind_name(scale_up) == "nvlink5"
    return "nvlink5-nvl72" if rack else scale_up
