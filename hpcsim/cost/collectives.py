"""Time of collective communication: textbook forms per algorithm, and what a two-level fabric makes of them.

Sizes follow NCCL: for all-gather and reduce-scatter the whole buffer, for all-to-all what one rank sends in all, for the others the
message. α is the latency of a step, β = 1/B the time of a byte, one way and per rank.

The textbook forms (:func:`textbook`) assume full-duplex links that nobody else uses and free arithmetic. The fabric forms
(:class:`Fabric`) add what measured curves show: a start-up per call, a share of the line rate, and a slow rise to it that follows the
square root of the size, as chunked pipelining gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, fraction, non_negative, positive, whole

__all__ = [
    "COLLECTIVES",
    "LINK_CLASSES",
    "Fabric",
    "Link",
    "LinkClass",
    "algorithms",
    "all_reduce_lower_bound_s",
    "bus_factor",
    "link_class",
    "members_in_domain",
    "textbook",
]

UNKNOWN_ALGORITHM = problem_kind("unknown-collective", "there is no {algorithm!r} form of {collective!r}", "known: {known}")

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "broadcast",
    "scatter",
    "gather",
    "send",
    "barrier",
)
"""Names of the collectives; ``send`` is one point-to-point message."""

_Form = Callable[[Array, Array, Array, Array], Array]


def _lg(p: Array) -> Array:
    return np.asarray(np.ceil(np.log2(np.maximum(p, 1.0)) - 1e-12))


def _share(p: Array) -> Array:
    return np.asarray((p - 1.0) / p)


def _rabenseifner(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Halving and doubling on the largest power of two, after the others have folded in and before they are told."""
    power = 2.0 ** np.floor(np.log2(p) + 1e-12)
    folded = np.where(power < p, 2.0 * a + 2.0 * n * b, 0.0)
    return np.asarray(2.0 * np.log2(power) * a + 2.0 * _share(power) * n * b + folded)


def _chain(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Pipelined chain with its best number of chunks m = √(nβ(p−2)/α)."""
    hops = np.maximum(p - 2.0, 0.0)
    chunks = np.maximum(np.sqrt(n * b * hops / np.where(a > 0, a, 1.0)), 1.0)
    timed = (hops + chunks) * (a + n / chunks * b)
    return np.asarray(np.where(a > 0, timed, n * b))


_FORMS: dict[tuple[str, str], _Form] = {
    ("send", "direct"): lambda n, p, a, b: a + n * b,
    ("broadcast", "tree"): lambda n, p, a, b: _lg(p) * (a + n * b),
    ("broadcast", "scatter-all-gather"): lambda n, p, a, b: (_lg(p) + p - 1.0) * a + 2.0 * _share(p) * n * b,
    ("broadcast", "chain"): _chain,
    ("all-gather", "ring"): lambda n, p, a, b: (p - 1.0) * a + _share(p) * n * b,
    ("all-gather", "recursive"): lambda n, p, a, b: _lg(p) * a + _share(p) * n * b,
    ("all-gather", "direct"): lambda n, p, a, b: a + _share(p) * n * b,
    ("reduce-scatter", "ring"): lambda n, p, a, b: (p - 1.0) * a + _share(p) * n * b,
    ("reduce-scatter", "recursive"): lambda n, p, a, b: _lg(p) * a + _share(p) * n * b,
    ("reduce-scatter", "direct"): lambda n, p, a, b: a + _share(p) * n * b,
    ("all-reduce", "ring"): lambda n, p, a, b: 2.0 * (p - 1.0) * a + 2.0 * _share(p) * n * b,
    ("all-reduce", "recursive"): lambda n, p, a, b: _lg(p) * (a + n * b),
    ("all-reduce", "rabenseifner"): _rabenseifner,
    ("all-reduce", "tree"): lambda n, p, a, b: 2.0 * _lg(p) * a + 2.0 * n * b,
    ("all-reduce", "direct"): lambda n, p, a, b: 2.0 * a + 2.0 * _share(p) * n * b,
    ("all-reduce", "one-shot"): lambda n, p, a, b: a + (p - 1.0) * n * b,
    ("all-reduce", "in-switch"): lambda n, p, a, b: 2.0 * a + (1.0 + 1.0 / p) * n * b,
    ("all-to-all", "direct"): lambda n, p, a, b: (p - 1.0) * a + _share(p) * n * b,
    ("all-to-all", "bruck"): lambda n, p, a, b: _lg(p) * (a + n / 2.0 * b),
    ("scatter", "tree"): lambda n, p, a, b: _lg(p) * a + _share(p) * n * b,
    ("gather", "tree"): lambda n, p, a, b: _lg(p) * a + _share(p) * n * b,
    ("scatter", "direct"): lambda n, p, a, b: (p - 1.0) * a + _share(p) * n * b,
    ("gather", "direct"): lambda n, p, a, b: (p - 1.0) * a + _share(p) * n * b,
    ("barrier", "dissemination"): lambda n, p, a, b: _lg(p) * a,
}


def algorithms(collective: str) -> list[str]:
    """Return the names of the textbook algorithms of one collective."""
    return [algorithm for name, algorithm in _FORMS if name == collective]


def textbook(
    collective: str, size_bytes: Numeric, ranks: Numeric, *, bytes_per_s: Numeric, latency_s: Numeric = 0.0, algorithm: str = "ring"
) -> Array:
    """Return the time of one collective by its textbook form.

    Parameters
    ----------
    collective : str
        One of :data:`COLLECTIVES`.
    size_bytes : float or array
        Message in NCCL's meaning; a message of no bytes costs nothing (but a barrier has none and costs its steps).
    ranks : float or array
        p, at least 1; one rank communicates with nobody and takes no time.
    bytes_per_s, latency_s : float or array
        One way per rank, and per step.
    algorithm : str
        One of :func:`algorithms`.

    Returns
    -------
    array
        Seconds.

    Raises
    ------
    InputError
        An unknown form, or a value out of range.

    References
    ----------
    Thakur, Rabenseifner, Gropp 2005; Hockney 1994; Bruck 1997; Sanders, Speck, Träff 2009 (double tree).

    Examples
    --------
    >>> float(textbook("all-reduce", 8e9, 8, bytes_per_s=1e9))
    14.0
    """
    if (collective, algorithm) not in _FORMS:
        known = ", ".join(f"{c}/{a}" for c, a in _FORMS)
        raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm=algorithm, known=known)
    n, p = non_negative("size_bytes", size_bytes), whole("ranks", ranks)
    rate, a = positive("bytes_per_s", bytes_per_s), non_negative("latency_s", latency_s)
    broadcast(n, p, rate, a)
    time = _FORMS[collective, algorithm](n, p, a, 1.0 / rate)
    silent = (p <= 1.0) if collective != "send" else np.zeros_like(p, dtype=bool)
    if collective != "barrier":
        silent = silent | (n <= 0.0)
    return np.asarray(np.where(silent, 0.0, time))[()]


def all_reduce_lower_bound_s(size_bytes: Numeric, ranks: Numeric, bytes_per_s: Numeric) -> Array:
    """Return 2(p−1)/p·n/B: no all-reduce that sums on the ranks themselves is faster. Patarasuk and Yuan 2009."""
    n, p, rate = non_negative("size_bytes", size_bytes), whole("ranks", ranks), positive("bytes_per_s", bytes_per_s)
    broadcast(n, p, rate)
    return np.asarray(2.0 * _share(p) * n / rate)[()]


def bus_factor(collective: str, ranks: Numeric) -> Array:
    """Return bus bandwidth over algorithm bandwidth n/t: 2(p−1)/p, (p−1)/p or 1, as nccl-tests prints it."""
    p = whole("ranks", ranks)
    if collective == "all-reduce":
        return np.asarray(2.0 * _share(p))[()]
    if collective in ("all-gather", "reduce-scatter", "all-to-all"):
        return np.asarray(_share(p))[()]
    return np.ones_like(p)[()]


@dataclass(frozen=True, slots=True)
class LinkClass:
    """What a kind of link makes of its line rate; every number can be overridden in :class:`Link`.

    Attributes
    ----------
    efficiency_frac : float
        Bus bandwidth that large ring collectives reach, over the line rate.
    latency_s : float
        Per step of a collective, with the software's part of it.
    startup_s : float
        Per call.
    ramp_bytes : float
        Size at which the rise to full rate doubles the time of the bytes.
    in_switch_gain : float
        Bus bandwidth of an all-reduce summed in the switch over that of a ring; 1 without such a switch.
    """

    efficiency_frac: float
    latency_s: float
    startup_s: float
    ramp_bytes: float
    in_switch_gain: float = 1.0


LINK_CLASSES: Mapping[str, LinkClass] = MappingProxyType(
    {
        "nvlink": LinkClass(0.80, 2.0e-6, 12e-6, 5e6),
        "nvlink1": LinkClass(0.75, 3.0e-6, 15e-6, 4e6),
        "nvlink2": LinkClass(0.80, 2.5e-6, 15e-6, 4e6),
        "nvlink3": LinkClass(0.79, 2.0e-6, 12e-6, 5e6),
        "nvlink4": LinkClass(0.82, 1.5e-6, 12e-6, 8e6, 1.30),
        "nvlink5": LinkClass(0.76, 1.5e-6, 12e-6, 25e6, 1.25),
        "xgmi": LinkClass(0.70, 3.0e-6, 15e-6, 8e6),
        "pcie": LinkClass(0.70, 5.0e-6, 15e-6, 2e6),
        "ici": LinkClass(0.85, 1.0e-6, 2e-6, 1e6),
        "infiniband": LinkClass(0.90, 6.0e-6, 15e-6, 10e6),
        "roce": LinkClass(0.85, 8.0e-6, 15e-6, 15e6),
        "efa": LinkClass(0.93, 20e-6, 40e-6, 40e6),
        "slingshot": LinkClass(0.90, 10e-6, 20e-6, 20e6),
        "omni-path": LinkClass(0.85, 8.0e-6, 15e-6, 10e6),
        "dcn": LinkClass(0.70, 50e-6, 50e-6, 20e6),
        "ethernet": LinkClass(0.75, 30e-6, 40e-6, 20e6),
        "none": LinkClass(1.0, 0.0, 0.0, 0.0),
    }
)
"""Classes of links. Efficiencies are large-message bus bandwidths over line rates as nccl-tests prints them (8×A100 235 of 300 GB/s;
8×H100 by ring 367 of 450 and 480 in the switch; 8×B200 682 and 840 of 900; 8×MI300X 313 of 448; two to eight nodes over EFA 355 of
400); start-up, step latency and ramp follow the small and middle sizes of the same curves. InfiniBand's 0.90 is Calculon's."""


TWO_DOMAIN_PASSES = 1.4
"""How often a byte of an all-reduce crosses between two domains by trees: once in theory, a ring 2(p−1)/p times. Measured on two nodes
of eight H100 over EFA and InfiniBand 1.4 to 1.5, of eight A100 1.2, of four GH200 1.4."""


def link_class(kind: str) -> LinkClass:
    """Return the class of a kind of link by its longest known prefix, ``ethernet`` where none fits.

    >>> link_class("nvlink4-switch").in_switch_gain
    1.3
    """
    name = kind.lower().replace("_", "-").replace("omnipath", "omni-path").replace("slingshot-", "slingshot")
    best = max((known for known in LINK_CLASSES if name.startswith(known)), key=len, default="ethernet")
    return LINK_CLASSES[best]


@dataclass(frozen=True, slots=True)
class Link:
    """One level of a fabric as a collective sees it.

    Attributes
    ----------
    bytes_per_s : float or array
        Line rate, one way, per device.
    efficiency_frac, latency_s, startup_s, ramp_bytes, in_switch_gain : float or array
        See :class:`LinkClass`.
    """

    bytes_per_s: Numeric
    efficiency_frac: Numeric = 1.0
    latency_s: Numeric = 0.0
    startup_s: Numeric = 0.0
    ramp_bytes: Numeric = 0.0
    in_switch_gain: Numeric = 1.0

    def __post_init__(self) -> None:
        positive("bytes_per_s", self.bytes_per_s)
        positive("efficiency_frac", fraction("efficiency_frac", self.efficiency_frac))
        for name in ("latency_s", "startup_s", "ramp_bytes"):
            non_negative(name, getattr(self, name))
        positive("in_switch_gain", self.in_switch_gain)

    @classmethod
    def of(cls, kind: str, bytes_per_s: Numeric) -> Link:
        """Return a link of a known kind at ``bytes_per_s``."""
        c = link_class(kind)
        return cls(bytes_per_s, c.efficiency_frac, c.latency_s, c.startup_s, c.ramp_bytes, c.in_switch_gain)

    @property
    def rate(self) -> Array:
        """Rate that large messages reach."""
        return np.asarray(np.asarray(self.bytes_per_s, float) * np.asarray(self.efficiency_frac, float))

    def message_s(self, size_bytes: Numeric) -> Array:
        """Return the time of one message: latency + (n + √(n·ramp))/rate; no bytes, no time."""
        n = np.asarray(size_bytes, dtype=np.float64)
        return np.asarray(np.where(n > 0, self.latency_s + (n + np.sqrt(n * self.ramp_bytes)) / self.rate, 0.0))


def members_in_domain(group: Numeric, stride: Numeric, domain: Numeric) -> Array:
    """Return how many members of a group share one scale-up domain.

    Parameters
    ----------
    group : float or array
        Members, placed ``stride`` devices apart.
    stride : float or array
        Product of the parallel dimensions inside this one.
    domain : float or array
        Devices in a scale-up domain, filled in order.
    """
    g, s, d = whole("group", group), whole("stride", stride), whole("domain", domain)
    broadcast(g, s, d)
    return np.asarray(np.clip(np.floor(d / s), 1.0, g))[()]


@dataclass(frozen=True, slots=True)
class Fabric:
    """A two-level fabric: scale-up domains joined by a scale-out network.

    Attributes
    ----------
    scale_up, scale_out : Link
        Inside a domain, and between domains; the latter's rate is per *device* (a node's rate over its devices).
    domain : int or array
        Devices in one scale-up domain; 1 without a scale-up link.
    oversubscription : float or array
        How much less than the sum of the devices' rates the scale-out network carries; at least 1.
    torus_axes : int
        0 for a switch; else the axes of the torus that ``scale_up`` is, over which its rate is spread: a group inside the domain
        drives only the axes it spans.
    host_bytes_per_s : float or array
        One device's link to its host, for offloading.
    """

    scale_up: Link
    scale_out: Link
    domain: Numeric = 8
    oversubscription: Numeric = 1.0
    torus_axes: int = 0
    host_bytes_per_s: Numeric = 25e9
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        scale_up: str,
        scale_up_bytes_per_s: Numeric,
        domain: Numeric,
        scale_out: str,
        scale_out_bytes_per_s: Numeric,
        oversubscription: Numeric = 1.0,
        torus_axes: int | None = None,
        host_bytes_per_s: Numeric = 25e9,
    ) -> Fabric:
        """Return a fabric from the kinds of its two links and their rates per device, one way."""
        axes = (2 if scale_up.lower().startswith("ici") else 0) if torus_axes is None else torus_axes
        return cls(
            Link.of(scale_up, scale_up_bytes_per_s),
            Link.of(scale_out, scale_out_bytes_per_s),
            domain,
            oversubscription,
            axes,
            host_bytes_per_s,
        )

    def _up_rate(self, inside: Array) -> Array:
        if not self.torus_axes:
            return self.scale_up.rate
        spanned = np.log(np.maximum(inside, 2.0)) / np.log(np.maximum(np.asarray(self.domain, float), 2.0))
        return np.asarray(self.scale_up.rate * np.clip(np.maximum(spanned, 1.0 / self.torus_axes), 0.0, 1.0))

    def _out_rate(self) -> Array:
        return np.asarray(self.scale_out.rate / np.asarray(self.oversubscription, dtype=np.float64))

    def collective_s(self, collective: str, size_bytes: Numeric, ranks: Numeric, *, inside: Numeric, outside_share: Numeric = 1.0) -> Array:
        """Return the time of a collective over ``ranks`` devices of which ``inside`` share a domain.

        Traffic inside and between the domains is pipelined, so the slower of the two decides. Rings are used for volume and trees
        for latency, whichever is faster; an all-reduce within one domain of four or more may be summed in the switch.

        Parameters
        ----------
        collective : str
            all-reduce, all-gather, reduce-scatter, all-to-all, broadcast or send.
        size_bytes : float or array
            In NCCL's meaning.
        ranks, inside : float or array
            Members in all, and in one domain (see :func:`members_in_domain`).
        outside_share : float or array
            All-to-all only: share of the bytes for other domains that is sent, where copies for one domain travel once.

        Raises
        ------
        InputError
            An unknown collective, or values out of range.
        """
        n, p, q = non_negative("size_bytes", size_bytes), whole("ranks", ranks), whole("inside", inside)
        broadcast(n, p, q)
        q = np.minimum(q, p)
        k = np.ceil(p / q)
        if collective == "all-to-all":
            time = self._all_to_all(n, p, q, k, non_negative("outside_share", outside_share))
        elif collective == "all-reduce":
            time = self._all_reduce(n, p, q, k)
        elif collective in ("all-gather", "reduce-scatter"):
            time = self._ring(n, p, q, k, 1.0)
        elif collective in ("broadcast", "send"):
            time = self._ring(n, p, q, k, 1.0, factor=np.ones_like(p))
        else:
            raise UNKNOWN_ALGORITHM.error(
                collective=collective, algorithm="fabric", known="all-reduce, all-gather, reduce-scatter, all-to-all"
            )
        return np.asarray(np.where((p <= 1.0) | (n <= 0.0), 0.0, time))[()]

    def _volume(self, n: Array, q: Array, k: Array, up_share: Array, out_share: Array) -> Array:
        """Time of the bytes: ``up_share`` and ``out_share`` of n cross the links of one device."""
        up, out = self.scale_up, self.scale_out
        rise_up, rise_out = np.sqrt(n * np.asarray(up.ramp_bytes, float)), np.sqrt(n * np.asarray(out.ramp_bytes, float))
        inner = np.where(q > 1, up_share * (n + rise_up) / self._up_rate(q), 0.0)
        outer = np.where(k > 1, out_share * (n + rise_out) / self._out_rate(), 0.0)
        return np.asarray(np.maximum(inner, outer))

    def _startup(self, k: Array) -> Array:
        return np.asarray(np.where(k > 1, self.scale_out.startup_s, self.scale_up.startup_s))

    def _steps(self, k: Array, steps_up: Array, steps_out: Array) -> Array:
        hop = np.where(self.torus_axes > 0, 0.5, 1.0)
        return np.asarray(steps_up * self.scale_up.latency_s * hop + np.where(k > 1, steps_out * self.scale_out.latency_s, 0.0))

    def _ring(self, n: Array, p: Array, q: Array, k: Array, passes: float, *, factor: Array | None = None) -> Array:
        share = passes * (_share(p) if factor is None else factor)
        volume = self._volume(n, q, k, share, share / q)
        inner = np.minimum(q - 1.0, _lg(q) + 4.0)
        ring = self._steps(k, passes * inner, passes * (k - 1.0))
        grouped = self._steps(k, passes * inner, passes * (_lg(k) + 2.0))
        return np.asarray(self._startup(k) + volume + np.minimum(ring, grouped))

    def _all_reduce(self, n: Array, p: Array, q: Array, k: Array) -> Array:
        ring = self._ring(n, p, q, k, 2.0)
        twice = np.where((k == 2) & (q > 1), TWO_DOMAIN_PASSES, 2.1)
        volume = self._volume(n, q, k, np.full_like(p, 2.1), twice / q)
        tree = self._startup(k) + volume + self._steps(k, 2.0 * _lg(q), 2.0 * _lg(k))
        best = np.minimum(ring, tree)
        gain = np.asarray(self.scale_up.in_switch_gain, dtype=np.float64)
        switched = (
            self._startup(k) + self._volume(n, q, k, 2.0 * _share(p) / gain, 2.0 * _share(p) / q) + self._steps(k, 2.0 + 0 * q, 0 * k)
        )
        return np.asarray(np.where((k <= 1) & (q >= 4) & (gain > 1), np.minimum(best, switched), best))

    def _all_to_all(self, n: Array, p: Array, q: Array, k: Array, outside: Array) -> Array:
        volume = self._volume(n, np.ones_like(q), k, (q - 1.0) / p, outside * (p - q) / p)
        inner = np.where(q > 1, (q - 1.0) / p * (n + np.sqrt(n * np.asarray(self.scale_up.ramp_bytes, float))) / self._up_rate(q), 0.0)
        return np.asarray(self._startup(k) + np.maximum(volume, inner) + self._steps(k, _lg(q), _lg(k)))
