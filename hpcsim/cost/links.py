"""Links as collectives see them: what a kind of link makes of its line rate, and how long its small and bulk messages take.

The terms are physical and belong to a kind of link (a generation of NVLink, a kind of network), never to one system. A message takes one of
two paths, as in NCCL: a *low-latency* protocol that polls flags and keeps a small window in flight, or a *bulk* protocol that fills the link
at a larger latency per step. The bulk path reaches its rate slowly: chunks are made as large as √n until the buffers hold no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, fraction, non_negative, positive

__all__ = ["LINK_CLASSES", "Link", "LinkClass", "link_class"]


@dataclass(frozen=True, slots=True)
class LinkClass:
    """What a kind of link makes of its line rate; every number can be overridden in :class:`Link`.

    Attributes
    ----------
    efficiency_frac : float
        Bus bandwidth that large ring collectives reach, over the line rate.
    latency_s : float
        Of a step by the low-latency protocol, with the software's part of it.
    startup_s : float
        Per call: launch of the kernel and what the host does; of a network what it adds to the devices' own link.
    ramp_bytes : float
        R of the rise √(R·n): start-up and drain of the chunked pipeline, in bytes of the message.
    in_switch_frac : float
        Share of the line rate that the links carry when the switch sums an all-reduce; 0 without such a switch.
    bulk_factor : float
        Latency of a step by the bulk protocol, over ``latency_s``.
    window_bytes : float
        Message that doubles the time of the low-latency path; 0 where it has no such path.
    peers : float
        Peers of a full mesh over which the line rate is spread; 0 for a switch.
    rise_cap_bytes : float
        Message at which chunks stop to grow: the rise is √(R·n/(1 + n/cap)).
    device_bytes_per_s : float
        Most that one device can put on the link, where that is less than its node's share may be; infinite where it is not known.
    doubt_sigma : float
        Standard deviation of the logarithm of a time, beyond what measured kinds have: 0 for those.
    """

    efficiency_frac: float
    latency_s: float
    startup_s: float
    ramp_bytes: float
    in_switch_frac: float = 0.0
    bulk_factor: float = 1.5
    window_bytes: float = 3e5
    peers: float = 0.0
    rise_cap_bytes: float = 600e6
    device_bytes_per_s: float = float("inf")
    doubt_sigma: float = 0.0


def _network(
    efficiency: float,
    latency_s: float,
    startup_s: float,
    ramp: float,
    factor: float,
    window: float,
    *,
    device: float = float("inf"),
    doubt: float = 0.0,
    cap: float = 27e6,
) -> LinkClass:
    return LinkClass(efficiency, latency_s, startup_s, ramp, 0.0, factor, window, 0.0, cap, device, doubt)


LINK_CLASSES: Mapping[str, LinkClass] = MappingProxyType(
    {
        "nvlink": LinkClass(0.78, 0.8e-6, 25e-6, 5e6, doubt_sigma=0.15),
        "nvlink6": LinkClass(0.76, 0.9e-6, 30e-6, 40e6, 0.55, 1.5, 1.5e6, doubt_sigma=0.20),
        "nvlink1": LinkClass(0.75, 1.5e-6, 30e-6, 3e6, doubt_sigma=0.20),
        "nvlink2": LinkClass(0.80, 1.0e-6, 30e-6, 3e6, doubt_sigma=0.15),
        "nvlink3": LinkClass(0.78, 0.77e-6, 37e-6, 4.7e6, 0.0, 1.55, 1.95e6),
        "nvlink4": LinkClass(0.815, 0.55e-6, 13.3e-6, 10.9e6, 0.692, 1.45, 2.8e5),
        "nvlink5": LinkClass(0.763, 0.78e-6, 38e-6, 19.5e6, 0.592, 1.5, 1.7e6),
        "nvlink5-nvl72": LinkClass(0.76, 0.9e-6, 30e-6, 51e6, 0.488, 1.5, 1.2e6),
        "scale-up": LinkClass(0.75, 1.0e-6, 25e-6, 8e6, doubt_sigma=0.25),
        "xgmi": LinkClass(0.715, 0.86e-6, 17e-6, 2.3e6, 0.0, 1.5, 4e5, peers=7.0),
        "pcie": LinkClass(0.70, 3.0e-6, 25e-6, 2e6, 0.0, 2.0, 2e5, doubt_sigma=0.25),
        "ici": LinkClass(0.85, 1.0e-6, 2e-6, 1e6, 0.0, 1.0, 0.0, doubt_sigma=0.15),
        "infiniband": _network(0.97, 2.8e-6, 10e-6, 3.8e6, 3.4, 6e4),
        "roce": _network(0.93, 4.7e-6, 5e-6, 7.6e6, 2.4, 5e4, doubt=0.10),
        "efa": _network(0.93, 22e-6, 10.5e-6, 22e6, 2.4, 5.7e4),
        "efa-v1": _network(0.905, 55e-6, 11.5e-6, 14e6, 1.04, 1.95e5),
        "slingshot": _network(0.96, 4.7e-6, 1.5e-6, 26e6, 6.3, 3.8e4, device=25e9),
        "tcpxo": _network(0.90, 20e-6, 15e-6, 15e6, 2.5, 6e4, doubt=0.20),
        "tcpx": _network(0.85, 30e-6, 15e-6, 15e6, 2.5, 6e4, doubt=0.25),
        "omni-path": _network(0.85, 5.0e-6, 8e-6, 8e6, 3.0, 6e4, doubt=0.20),
        "dcn": _network(0.70, 25e-6, 30e-6, 20e6, 2.0, 6e4, doubt=0.30),
        "ethernet": _network(0.75, 15e-6, 15e-6, 15e6, 3.0, 4e4, doubt=0.35),
        "tcp": _network(0.90, 14e-6, 4e-6, 7e6, 4.6, 1.2e4, doubt=0.15),
        "none": LinkClass(1.0, 0.0, 15e-6, 0.0, window_bytes=3e5),
    }
)
"""Classes of links. Efficiencies are large-message bus bandwidths over line rates as nccl-tests prints them (8×A100 235 of 300 GB/s; 8×H100
by ring 367 of 450; 8×B200 682 of 900; 8×MI300X 313 of 448, and 47.7 of 64 between two; EFA 357 of 400, Slingshot 46 of 50, InfiniBand 197 of
200); in the switch n(1 + 1/p) crosses a link, at 305 of 450 GB/s on four to eight H200. The other terms are fitted to the shipped timings
under priors from NCCL's tuner (tuning.cc of 2.30: hops of 0.6 µs over NVLink, 5 µs over a network, 14 µs and more in bulk). Kinds that no
timing covers (``doubt_sigma`` above zero) have terms by likeness and a wider range."""

_ALIASES = (
    ("omnipath", "omni-path"),
    ("slingshot-", "slingshot"),
    ("aries", "omni-path"),
    ("tofu", "omni-path"),
    ("gpudirect-", ""),
    ("gcp-", ""),
    ("aws-", ""),
    ("tpu-", ""),
    ("fastrak", "tcpxo"),
    ("elastic-fabric-adapter", "efa"),
    ("spectrum-x", "roce"),
    ("infinity-fabric", "xgmi"),
    ("nvl72", "nvlink5-nvl72"),
    ("nvswitch", "nvlink"),
    *((port, "infiniband") for port in ("ib", "fdr", "edr", "hdr", "ndr", "xdr")),
    *((kin, "scale-up") for kin in ("neuronlink", "hccs", "huawei-ub", "ualink", "xe-link", "gaudi")),
)
"""Other beginnings of names: the same kind under another name, or the nearest kind that is known."""


def link_class(kind: str) -> LinkClass:
    """Return the class of a kind of link by its longest known prefix, ``ethernet`` where none fits.

    >>> link_class("nvlink4-switch").in_switch_frac
    0.685
    """
    name = kind.lower().replace("_", "-").replace(" ", "-")
    for said, known in _ALIASES:
        if name.startswith(said) and not name.startswith(known or "\0"):
            name = known + name[len(said) :]
    best = max((known for known in LINK_CLASSES if name.startswith(known)), key=len, default="ethernet")
    return LINK_CLASSES[best]


@dataclass(frozen=True, slots=True)
class Link:
    """One level of a fabric as a collective sees it.

    Attributes
    ----------
    bytes_per_s : float or array
        Line rate, one way, per device.
    efficiency_frac, latency_s, startup_s, ramp_bytes, in_switch_frac, bulk_factor, window_bytes, peers, rise_cap_bytes, doubt_sigma : float or array
        See :class:`LinkClass`.
    """

    bytes_per_s: Numeric
    efficiency_frac: Numeric = 1.0
    latency_s: Numeric = 0.0
    startup_s: Numeric = 0.0
    ramp_bytes: Numeric = 0.0
    in_switch_frac: Numeric = 0.0
    bulk_factor: Numeric = 1.0
    window_bytes: Numeric = 0.0
    peers: Numeric = 0.0
    rise_cap_bytes: Numeric = float("inf")
    doubt_sigma: Numeric = 0.0

    def __post_init__(self) -> None:
        positive("bytes_per_s", self.bytes_per_s)
        positive("efficiency_frac", fraction("efficiency_frac", self.efficiency_frac))
        fraction("in_switch_frac", self.in_switch_frac)
        for name in ("latency_s", "startup_s", "ramp_bytes", "bulk_factor", "window_bytes", "peers", "doubt_sigma"):
            non_negative(name, getattr(self, name))

    @classmethod
    def of(cls, kind: str, bytes_per_s: Numeric) -> Link:
        """Return a link of a known kind at ``bytes_per_s``, or at what one device can drive where that is less."""
        c = link_class(kind)
        rate = np.minimum(np.asarray(bytes_per_s, dtype=np.float64), c.device_bytes_per_s)[()]
        return cls(
            rate, c.efficiency_frac, c.latency_s, c.startup_s, c.ramp_bytes, c.in_switch_frac, c.bulk_factor, c.window_bytes, c.peers,
            c.rise_cap_bytes, c.doubt_sigma,
        )  # fmt: skip

    @property
    def rate(self) -> Array:
        """Rate that large messages reach."""
        return np.asarray(np.asarray(self.bytes_per_s, float) * np.asarray(self.efficiency_frac, float))

    @property
    def step_s(self) -> Array:
        """Latency of a step by the bulk protocol."""
        return np.asarray(np.asarray(self.latency_s, float) * np.asarray(self.bulk_factor, float))

    def rise_bytes(self, size_bytes: Array) -> Array:
        """Return √(R·n/(1 + n/cap)): the bytes' worth of a pipeline's start-up and drain."""
        return np.asarray(np.sqrt(self.ramp_bytes * size_bytes / (1.0 + size_bytes / np.asarray(self.rise_cap_bytes, float))))
