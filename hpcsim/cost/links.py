"""Links as collectives see them: what a kind of link makes of its line rate, and how long a step over it takes by each protocol.

The terms are physical and belong to a kind of link (a generation of NVLink, a kind of network), never to one system; their values are in the
catalog (``hpcsim.catalog.link_kinds``). A GPU library has three protocols: *low-latency*, which polls a flag in every eight bytes and carries
half of the rate; *line*, whose flag is in every 128 bytes, so that it needs a path that keeps lines whole; and *bulk*, which fills the link
at the largest latency a step. Latencies of the three are in fixed proportion inside a domain; over a network they are those of a bare network
and what the kind adds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, fraction, non_negative, positive

__all__ = ["ALGORITHMS", "NET_STEPS_S", "PROTOCOLS", "STEPS_S", "Link", "LinkClass", "inside_step_s", "outside_step_s"]

PROTOCOLS = ("low-latency", "line", "bulk")
ALGORITHMS = ("ring", "tree")
STEPS_S = {"ring": (0.6e-6, 1.9e-6, 3.4e-6), "tree": (0.6e-6, 1.25e-6, 4.0e-6)}
"""Latency of a step over NVLink by algorithm and protocol: NCCL 2.30, src/graph/tuning.cc, hwLatencies."""
NET_STEPS_S = {"ring": (2.7e-6, 4.0e-6, 14.0e-6), "tree": (5.0e-6, 8.5e-6, 14.0e-6)}
"""The same over a network without latency of its own; a ring's steps overlap, a tree's do not."""


@dataclass(frozen=True, slots=True)
class LinkClass:
    """What a kind of link makes of its line rate; every number can be overridden in :class:`Link`.

    Attributes
    ----------
    efficiency_frac : float
        Bus bandwidth that large ring collectives reach, over the line rate.
    latency_s : float
        Of a tree's step by the low-latency protocol, with the software's part of it: 0.6 µs over NVLink, 5 µs over a bare network.
    startup_s : float
        Least time of a call, whatever it does: how fast a host issues calls.
    base_s : float
        What the library takes before the first step, low-latency protocol: 6.7 µs in NCCL, 12 µs in RCCL. Of a network: 0.
    pipelining : float
        κ of the rise 2κ√(L·B) of a chunked pipeline with latency L and bytes' time B: 1 with ideal chunks and one message in flight.
    in_switch_frac : float
        Share of the line rate that the links carry when the switch sums an all-reduce; 0 without such a switch.
    bulk_factor : float
        Latency of a bulk step over what the library's table has for the latency above.
    low_latency_bytes_per_s : float
        Rate of the low-latency protocol: bus bandwidth inside a domain; over a network, of one hop. 0 where there is no such protocol.
    line_protocol : float
        1 where lines of 128 bytes arrive whole, so that the *line* protocol can be used; else 0.
    bare_s : float
        What of ``latency_s`` the library needs over a network that adds none (NCCL: 5 µs).
    generation : float
        Column of the tuner's tables (0 Volta, 1 Ampere, 2 Hopper, 3 Blackwell); −1 where the library is not NCCL.
    peers : float
        Peers of a full mesh over which the line rate is spread; 0 for a switch.
    device_bytes_per_s : float
        Most that one device can put on the link, where that is less than its node's share may be; infinite where it is not known.
    doubt_sigma : float
        Standard deviation of the logarithm of a time, beyond what measured kinds have: 0 for those.
    """

    efficiency_frac: float
    latency_s: float
    startup_s: float = 0.0
    base_s: float = 0.0
    pipelining: float = 0.55
    in_switch_frac: float = 0.0
    bulk_factor: float = 1.0
    low_latency_bytes_per_s: float = 0.0
    line_protocol: float = 0.0
    bare_s: float = 5e-6
    generation: float = -1.0
    peers: float = 0.0
    device_bytes_per_s: float = float("inf")
    doubt_sigma: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """One level of a fabric as a collective sees it.

    Attributes
    ----------
    bytes_per_s : float or array
        Line rate, one way, per device.
    efficiency_frac, latency_s, startup_s, base_s, pipelining, in_switch_frac, bulk_factor, low_latency_bytes_per_s, line_protocol,
    bare_s, generation, peers, doubt_sigma : float or array
        See :class:`LinkClass`.
    """

    bytes_per_s: Numeric
    efficiency_frac: Numeric = 1.0
    latency_s: Numeric = 0.0
    startup_s: Numeric = 0.0
    base_s: Numeric = 0.0
    pipelining: Numeric = 0.0
    in_switch_frac: Numeric = 0.0
    bulk_factor: Numeric = 1.0
    low_latency_bytes_per_s: Numeric = 0.0
    line_protocol: Numeric = 0.0
    bare_s: Numeric = 5e-6
    generation: Numeric = -1.0
    peers: Numeric = 0.0
    doubt_sigma: Numeric = 0.0

    def __post_init__(self) -> None:
        positive("bytes_per_s", self.bytes_per_s)
        positive("efficiency_frac", fraction("efficiency_frac", self.efficiency_frac))
        fraction("in_switch_frac", self.in_switch_frac)
        fraction("line_protocol", self.line_protocol)
        positive("bare_s", self.bare_s)
        for name in ("latency_s", "startup_s", "base_s", "pipelining", "bulk_factor", "low_latency_bytes_per_s", "peers", "doubt_sigma"):
            non_negative(name, getattr(self, name))

    @classmethod
    def of(cls, kind: LinkClass, bytes_per_s: Numeric) -> Link:
        """Return a link of a kind at ``bytes_per_s``, or at what one device can drive where that is less."""
        rate = np.minimum(np.asarray(bytes_per_s, dtype=np.float64), kind.device_bytes_per_s)[()]
        terms: dict[str, Any] = {f.name: getattr(kind, f.name) for f in fields(kind) if f.name != "device_bytes_per_s"}
        return cls(rate, **terms)

    @property
    def rate(self) -> Array:
        """Rate that large messages reach."""
        return np.asarray(np.asarray(self.bytes_per_s, float) * np.asarray(self.efficiency_frac, float))


def inside_step_s(link: Link, algorithm: str, protocol: int) -> Array:
    """Return the latency of a step inside a domain [s]: the library's table scaled to the link's own latency.

    >>> float(inside_step_s(Link(450e9, latency_s=0.6e-6), "ring", 2))
    3.4e-06
    """
    factor = STEPS_S[algorithm][protocol] / STEPS_S["tree"][0]
    bulk = np.asarray(link.bulk_factor, float) if protocol == 2 else 1.0
    return np.asarray(factor * bulk * np.asarray(link.latency_s, float))


def outside_step_s(link: Link, algorithm: str, protocol: int) -> Array:
    """Return the latency of a step over a network [s]: the library's for a bare network, scaled down where the kind has less than that, and
    what the kind adds; twice by the bulk protocol, which also has to flush.
    """
    bare, lat = np.asarray(link.bare_s, dtype=np.float64), np.asarray(link.latency_s, dtype=np.float64)
    step = NET_STEPS_S[algorithm][protocol] / NET_STEPS_S["tree"][0] * np.minimum(lat, bare)
    more = np.maximum(lat - bare, 0.0)
    if protocol == 2:
        return np.asarray(step * np.asarray(link.bulk_factor, float) + 2.0 * more)
    return np.asarray(step + more)
