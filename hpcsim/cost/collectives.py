"""Time of collective communication over a two-level fabric: scale-up domains joined by a scale-out network.

Sizes follow NCCL: for all-gather and reduce-scatter the whole buffer, for all-to-all what one rank sends in all, for scatter and gather the
root's buffer, for the others the message. A time is

    start-up + steps · latency + (load · (n + √(R·n/(1 + n/cap)))) / rate,

the least over the algorithms a library has (rings, double trees, sums in the switch, and a low-latency protocol for small messages), where
*load* is how often a byte of the message crosses the busiest link. The textbook forms are in :mod:`hpcsim.cost.algorithms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.algorithms import (
    COLLECTIVES,
    UNKNOWN_ALGORITHM,
    algorithms,
    all_reduce_lower_bound_s,
    bus_factor,
    doubling_rounds,
    textbook,
)
from hpcsim.cost.arguments import Array, Numeric, broadcast, non_negative, whole
from hpcsim.cost.links import LINK_CLASSES, Link, LinkClass, link_class

__all__ = [
    "COLLECTIVES",
    "LINK_CLASSES",
    "Fabric",
    "Link",
    "LinkClass",
    "Timed",
    "algorithms",
    "all_reduce_lower_bound_s",
    "bus_factor",
    "link_class",
    "members_in_domain",
    "spread_kind",
    "textbook",
    "tree_load",
]

TREE_FRAC = 0.895
"""Rate of tree algorithms over rings': NCCL's tuner takes 0.92; A100 over EFA 0.84/0.91, GB200 over InfiniBand 0.945/0.98."""
SPREAD_SWITCH_FRAC = 0.92
"""Rate of a sum in the switches of several domains over that in one: two nodes of eight H100 reach 237 to 260 GB/s, one 270."""
EXCHANGE_FRAC = 0.93
"""Rate of an all-to-all over a ring's: several senders meet at one port (eight H100 nodes over EFA: 43 of 46 GB/s)."""
EXCHANGE_STEPS = 4.0
"""Bulk steps that an all-to-all between domains takes before its first bytes arrive."""
EXCHANGE_PEER_STEPS = 0.09
"""Bulk steps that each further peer in another domain costs a sender."""
PROXY_SHARE = 0.1
"""Share of the start-up that the host adds to each step inside a domain when a network is in use (NCCL's ``netOverhead``)."""
SWITCH_STEPS = 4.0
"""Bulk steps that a sum in the switch takes: post, reduce, multicast, wait."""

MPI_START_S, MPI_DEVICE_S = 8.5e-6, 10e-6
"""Host time of an MPI collective, and what buffers on a GPU add (OpenMPI over Slingshot: 12 and 22 µs for eight small messages)."""
MPI_RATE_FRAC, MPI_LATENCY_FRAC = 0.76, 0.25
"""Share of a link's rate that MPI's messages reach, and latency of one over that of a step between GPUs."""


def tree_load(domains: Numeric) -> Array:
    """Return how often a byte of an all-reduce crosses the busiest domain's network ports by a double binary tree.

    Each tree carries half the message up and down; a domain has a parent and two children in one tree and is a leaf in the other. Between two
    domains every byte crosses once, among three 1.5 times, else twice. Sanders, Speck, Träff 2009; NCCL's ``ncclGetDtree``.

    >>> tree_load([1, 2, 3, 8]).tolist()
    [0.0, 1.0, 1.5, 2.0]
    """
    k = whole("domains", domains)
    return np.asarray(np.select([k <= 1, k == 2, k == 3], [0.0, 1.0, 1.5], 2.0))[()]


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


def spread_kind(scale_up: str, domain: Numeric) -> str:
    """Return the kind of a scale-up link by the size of its domain: NVLink 5 over more than sixteen devices goes through a rack's switches."""
    rack = link_class(scale_up) is LINK_CLASSES["nvlink5"] and np.ndim(domain) == 0 and float(domain) > 16
    return "nvlink5-nvl72" if rack else scale_up


class Timed(NamedTuple):
    """A collective's time and what of it does not depend on the size.

    Attributes
    ----------
    seconds, fixed_s : array
        Whole time; start-up and steps of the algorithm that is fastest.
    algorithm : array of str
        Its name.
    """

    seconds: Array
    fixed_s: Array
    algorithm: npt.NDArray[np.str_]


class _Shape(NamedTuple):
    """Size and group of a collective: bytes, ranks, ranks in a domain, domains."""

    n: Array
    p: Array
    q: Array
    k: Array

    @property
    def share(self) -> Array:
        return np.asarray((self.p - 1.0) / self.p)


class _Path(NamedTuple):
    """One algorithm: what it takes before and beside the bytes, and the bytes' time."""

    name: str
    fixed_s: Array
    bytes_s: Array


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
            Link.of(spread_kind(scale_up, domain), scale_up_bytes_per_s),
            Link.of(scale_out, scale_out_bytes_per_s),
            domain,
            oversubscription,
            axes,
            host_bytes_per_s,
        )

    def collective_s(self, collective: str, size_bytes: Numeric, ranks: Numeric, *, inside: Numeric, outside_share: Numeric = 1.0) -> Array:
        """Return the time of a collective over ``ranks`` devices of which ``inside`` share a domain.

        Traffic inside and between the domains is pipelined, so the slower of the two decides.

        Parameters
        ----------
        collective : str
            all-reduce, all-gather, reduce-scatter, all-to-all, broadcast, reduce, scatter, gather, send or barrier.
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
        return self.timed(collective, size_bytes, ranks, inside=inside, outside_share=outside_share).seconds

    def timed(
        self, collective: str, size_bytes: Numeric, ranks: Numeric, *, inside: Numeric, outside_share: Numeric = 1.0, only: str = ""
    ) -> Timed:
        """Return the time with its fixed part and the algorithm; ``only`` names the algorithm to take where it can be taken.

        Parameters and errors are those of :meth:`collective_s`.
        """
        n, p, q = non_negative("size_bytes", size_bytes), whole("ranks", ranks), whole("inside", inside)
        broadcast(n, p, q)
        q = np.minimum(q, p)
        k = np.ceil(p / q)
        s = _Shape(n, p, p / k, k)
        if collective == "all-reduce":
            paths = self._all_reduce(s)
        elif collective in ("all-gather", "reduce-scatter"):
            paths = [self._ring(s, 1.0, s.share)]
        elif collective == "all-to-all":
            paths = [self._all_to_all(s, non_negative("outside_share", outside_share))]
        elif collective in ("broadcast", "reduce"):
            paths = [self._ring(s, 1.0, np.ones_like(p)), self._tree(s, 1.0, np.ones_like(p), np.ones_like(p)), self._small(s, 1.0)]
        elif collective in ("scatter", "gather"):
            paths = [self._rooted(s)]
        elif collective == "send":
            paths = [self._send(s), self._small(s, 1.0)]
        elif collective == "barrier":
            fixed = self._startup(k) + self._hops(s, 2.0, self.scale_up.latency_s, self.scale_out.latency_s)
            paths = [_Path("low-latency", fixed, 0.0 * n)]
        else:
            raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm="fabric", known=", ".join(COLLECTIVES))
        return self._best(s, paths, collective == "barrier", only)

    def _best(self, s: _Shape, paths: list[_Path], empty: bool, only: str) -> Timed:
        kept = [path for path in paths if path.name == only] or paths
        fixed = np.stack(np.broadcast_arrays(*(path.fixed_s for path in kept), s.n)[:-1])
        moved = np.stack(np.broadcast_arrays(*(path.bytes_s for path in kept), s.n)[:-1])
        axes = max(fixed.ndim, moved.ndim)
        fixed, moved = (part.reshape(len(kept), *(1,) * (axes - part.ndim), *part.shape[1:]) for part in (fixed, moved))
        shape = np.broadcast_shapes(fixed.shape, moved.shape)
        fixed, total = np.broadcast_to(fixed, shape), fixed + moved
        choice = np.argmin(total, axis=0)
        silent = (s.p <= 1.0) | ((s.n <= 0.0) & (not empty))
        seconds = np.where(silent, 0.0, np.take_along_axis(total, choice[None], 0)[0])
        constant = np.where(silent, 0.0, np.take_along_axis(fixed, choice[None], 0)[0])
        return Timed(np.asarray(seconds)[()], np.asarray(constant)[()], np.array([path.name for path in kept])[choice])

    def mpi_s(self, collective: str, size_bytes: Numeric, ranks: Numeric, *, inside: Numeric, on_devices: bool = False) -> Array:
        """Return the time of a collective of an MPI library: host messages, the fastest textbook algorithm, no GPU pipelines.

        Parameters
        ----------
        collective, size_bytes, ranks, inside
            As in :meth:`collective_s`.
        on_devices : bool
            Buffers in device memory, which adds the copy or the GPU-direct set-up.

        Raises
        ------
        InputError
            An unknown collective, or values out of range.

        Notes
        -----
        α is a quarter of a GPU library's step over the same link (no kernel polls it), β that of the slower link at
        :data:`MPI_RATE_FRAC` of its rate: OpenMPI's ``osu_alltoall`` over Slingshot, host and device buffers.
        """
        n, p, q = non_negative("size_bytes", size_bytes), whole("ranks", ranks), whole("inside", inside)
        broadcast(n, p, q)
        spread = p > q
        rate = MPI_RATE_FRAC * np.where(spread, self._out_rate(), self.scale_up.rate)
        alpha = MPI_LATENCY_FRAC * np.asarray(np.where(spread, self.scale_out.latency_s, self.scale_up.latency_s), dtype=np.float64)
        known = algorithms(collective)
        if not known:
            raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm="MPI", known=", ".join(COLLECTIVES))
        host = [name for name in known if name != "in-switch"]
        forms = [textbook(collective, n, p, bytes_per_s=rate, latency_s=alpha, algorithm=name) for name in host]
        best = np.min(np.stack(np.broadcast_arrays(*forms)), axis=0)
        start = MPI_START_S + (MPI_DEVICE_S if on_devices else 0.0)
        return np.asarray(np.where(best > 0.0, start + best, 0.0))[()]

    # --- rates and latencies

    def _up_rate(self, q: Array) -> Array:
        rate = self.scale_up.rate
        if self.torus_axes:
            spanned = np.log(np.maximum(q, 2.0)) / np.log(np.maximum(np.asarray(self.domain, float), 2.0))
            return np.asarray(rate * np.clip(np.maximum(spanned, 1.0 / self.torus_axes), 0.0, 1.0))
        peers = np.asarray(self.scale_up.peers, dtype=np.float64)
        reached = np.where(peers > 0, np.clip((q - 1.0) / np.where(peers > 0, peers, 1.0), 1e-9, 1.0), 1.0)
        return np.asarray(rate * np.where(q > 1.0, reached, 1.0))

    def _out_rate(self) -> Array:
        return np.asarray(self.scale_out.rate / np.asarray(self.oversubscription, dtype=np.float64))

    def _startup(self, k: Array) -> Array:
        return np.asarray(np.where(k > 1, np.asarray(self.scale_up.startup_s, float) + self.scale_out.startup_s, self.scale_up.startup_s))

    def _step_in(self, k: Array) -> Array:
        """Latency of a bulk step inside a domain; where a network is in use too, the host has a part in it."""
        return np.asarray(self.scale_up.step_s + np.where(k > 1, PROXY_SHARE * np.asarray(self.scale_up.startup_s, float), 0.0))

    def _hops(self, s: _Shape, passes: float, inner: Numeric, outer: Numeric) -> Array:
        """Latency of ``passes`` trees: inside the domains and between them."""
        return np.asarray(passes * (doubling_rounds(s.q) * inner + doubling_rounds(s.k) * outer))

    def _across(self, q: Array) -> Array:
        """Steps across a group inside a domain: round a ring, or half way round each axis of a torus."""
        if not self.torus_axes:
            return np.asarray(q - 1.0)
        return np.asarray(self.torus_axes * q ** (1.0 / self.torus_axes) / 2.0)

    def _bytes(self, s: _Shape, up_load: Array, out_load: Array, *, up_rate: Array | None = None, out_frac: float = 1.0) -> Array:
        """Time of the bytes: ``up_load`` of them cross a device's link in its domain, ``out_load`` of them its share of the network."""
        rate = self._up_rate(s.q) if up_rate is None else up_rate
        inner = np.where(s.q > 1, up_load * (s.n + self.scale_up.rise_bytes(s.n)) / rate, 0.0)
        outer = np.where(s.k > 1, out_load * (s.n + self.scale_out.rise_bytes(s.n)) / (self._out_rate() * out_frac), 0.0)
        return np.asarray(np.maximum(inner, outer))

    # --- algorithms

    def _ring(self, s: _Shape, passes: float, share: Array) -> _Path:
        steps = passes * (self._across(s.q) * s.k * self._step_in(s.k) + (s.k - 1.0) * self.scale_out.step_s)
        return _Path("ring", self._startup(s.k) + steps, self._bytes(s, passes * share, passes * share / s.q))

    def _tree(self, s: _Shape, passes: float, up_load: Array, out_load: Array) -> _Path:
        fixed = self._startup(s.k) + self._hops(s, passes, self._step_in(s.k), self.scale_out.step_s)
        moved = self._bytes(s, up_load, out_load / s.q, up_rate=self._up_rate(s.q) * TREE_FRAC, out_frac=TREE_FRAC)
        return _Path("tree", np.where(self.torus_axes > 0, np.inf, fixed), moved)

    def _small(self, s: _Shape, passes: float) -> _Path:
        """Low-latency protocol: a window in flight, so that its rate falls with its latency."""
        fixed = self._startup(s.k) + self._hops(s, passes, self.scale_up.latency_s, self.scale_out.latency_s)
        up, out = np.asarray(self.scale_up.window_bytes, float), np.asarray(self.scale_out.window_bytes, float)
        window = np.where(s.k > 1, np.where(s.q > 1, np.minimum(up, out), out), up)
        usable = (window > 0) & (self.torus_axes == 0)
        moved = np.where(usable, fixed * s.n / np.where(window > 0, window, 1.0), np.inf)
        floor = self._bytes(s, np.ones_like(s.p), 1.0 / s.q)
        return _Path("low-latency", fixed, np.maximum(moved, floor))

    def _in_switch(self, s: _Shape) -> _Path:
        share = np.asarray(self.scale_up.in_switch_frac, dtype=np.float64)
        able = (share > 0) & (s.q >= 4)
        rate = np.asarray(self.scale_up.bytes_per_s, float) * np.where(share > 0, share, 1.0) * np.where(s.k > 1, SPREAD_SWITCH_FRAC, 1.0)
        moved = self._bytes(s, 1.0 + 1.0 / s.q, tree_load(s.k) / s.q, up_rate=rate, out_frac=TREE_FRAC)
        steps = SWITCH_STEPS * self.scale_up.step_s + 2.0 * doubling_rounds(s.k) * self.scale_out.step_s
        return _Path("in-switch", np.where(able, self._startup(s.k) + steps, np.inf), moved)

    def _all_reduce(self, s: _Shape) -> list[_Path]:
        tree = self._tree(s, 2.0, 2.0 + 0.0 * s.p, tree_load(s.k))
        return [self._ring(s, 2.0, s.share), tree, self._in_switch(s), self._small(s, 2.0)]

    def _all_to_all(self, s: _Shape, outside: Array) -> _Path:
        """Every pair's message at once: no pipeline to fill, but a post for every peer."""
        step = self.scale_out.step_s
        fixed = self._startup(s.k) + np.where(
            s.k > 1, (EXCHANGE_STEPS + EXCHANGE_PEER_STEPS * (s.p - s.q)) * step, doubling_rounds(s.q) * self._step_in(s.k)
        )
        inner = np.where(s.q > 1, (s.q - 1.0) / s.p * s.n / self._up_rate(s.q), 0.0)
        outer = np.where(s.k > 1, outside * (s.p - s.q) / s.p * s.n / (self._out_rate() * EXCHANGE_FRAC), 0.0)
        return _Path("direct", fixed, np.maximum(inner, outer))

    def _rooted(self, s: _Shape) -> _Path:
        """Scatter and gather: the root's own links carry everyone's part."""
        fixed = self._startup(s.k) + self._hops(s, 1.0, self._step_in(s.k), self.scale_out.step_s)
        moved = self._bytes(s, (s.q - 1.0) / s.p, (s.p - s.q) / s.p)
        return _Path("direct", fixed, moved)

    def _send(self, s: _Shape) -> _Path:
        fixed = self._startup(s.k) + np.where(s.k > 1, self.scale_out.step_s, self.scale_up.step_s)
        return _Path("direct", fixed, self._bytes(s, np.ones_like(s.p), np.ones_like(s.p)))
