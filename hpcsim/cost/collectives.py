"""Time of collective communication over a two-level fabric: scale-up domains joined by a scale-out network.

Sizes follow NCCL: for all-gather and reduce-scatter the whole buffer, for all-to-all what one rank sends in all, for scatter and gather the
root's buffer, for the others the message. An algorithm and a protocol take

    base + L + max over levels of (B + 2κ√(L'·B/(1 + n/cap))),

L the latency of its steps, B = load·n/rate the time of its bytes, *load* how often a byte of the message crosses the busiest link, L' the part
of L on that level: the start-up and drain of a pipeline whose chunks balance latency and bandwidth. The quickest algorithm and protocol run, or
those that NCCL's tuner ranks first (:mod:`hpcsim.cost.tuner`). The textbook forms are in
:mod:`hpcsim.cost.algorithms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
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
from hpcsim.cost.links import NET_STEPS_S, PROTOCOLS, STEPS_S, Link, LinkClass, inside_step_s, outside_step_s
from hpcsim.cost.tuner import SWITCH_NET_S, SWITCH_S, Group, place_of, tuner_s

__all__ = [
    "COLLECTIVES",
    "Fabric",
    "LIBRARY",
    "Library",
    "Link",
    "LinkClass",
    "Timed",
    "algorithms",
    "all_reduce_lower_bound_s",
    "bus_factor",
    "members_in_domain",
    "textbook",
    "tree_load",
]

BASE_FACTORS = (1.0, 14.0 / 6.7, 8.4 / 6.7)
"""What a library takes before the first step by each protocol, over the low-latency protocol's (NCCL's tuner, baseLatencies)."""
POST_FACTORS = (1.0 / 0.6, 1.0 / 0.6, 3.0 / 0.6)
"""What a step of a ring inside a domain takes at least, by protocol, when a network is in use too, over the domain's latency (NCCL's
``netOverhead``, 1 µs and 3 µs over NVLink)."""
LINE_FRAC = 0.92
"""Rate of the line protocol over the bulk protocol's: 120 of 128 bytes are data."""
NET_BULK_S = 14e-6
"""Latency of a bulk step over a bare network (NCCL's tuner); a sum in the switch has 20.9 µs there."""

MPI_START_S, MPI_DEVICE_S = 8.5e-6, 10e-6
"""Host time of an MPI collective, and what buffers on a GPU add (OpenMPI over Slingshot: 12 and 22 µs for eight small messages)."""
MPI_RATE_FRAC, MPI_LATENCY_FRAC = 0.76, 0.19
"""Share of a link's rate that MPI's messages reach, and latency of one over that of a step between GPUs."""


@dataclass(frozen=True, slots=True)
class Library:
    """What the algorithms of a GPU library make of any link.

    Attributes
    ----------
    tree_frac : float
        Rate of trees over rings': NCCL's tuner takes 0.92; A100 over EFA 0.84/0.91, GB200 over InfiniBand 0.945/0.98.
    spread_switch_frac : float
        Rate of a sum in the switches of several domains over that in one: two nodes of eight H100 reach 237 to 260 GB/s, one 270.
    exchange_frac : float
        Rate of an all-to-all over a ring's: several senders meet at one port (eight H100 nodes over EFA: 43 of 46 GB/s).
    exchange_steps, exchange_peer_steps : float
        Bulk steps that an all-to-all between domains takes before its first bytes arrive, and that each further peer there costs.
    rise_cap_bytes : float
        Message at which the chunks of a pipeline stop to grow, as buffers are full.
    switch_heads : float
        Ranks up to which a sum in the switch fills in its own latency; above, in proportion to the ranks, one chunk each.
    """

    tree_frac: float = 0.898
    spread_switch_frac: float = 0.904
    exchange_frac: float = 0.905
    exchange_steps: float = 3.26
    exchange_peer_steps: float = 0.077
    rise_cap_bytes: float = 1.2e8
    switch_heads: float = 8.0


LIBRARY = Library()
"""The library that a fabric has unless it is said."""


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


class Timed(NamedTuple):
    """A collective's time and what of it does not depend on the size.

    Attributes
    ----------
    seconds, fixed_s : array
        Whole time; start-up and steps of the algorithm that is fastest, and all of a low-latency call: a host that polls decides its rate.
    algorithm, protocol : array of str
        Its name, and low-latency, line or bulk.
    """

    seconds: Array
    fixed_s: Array
    algorithm: npt.NDArray[np.str_]
    protocol: npt.NDArray[np.str_]


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
    """Latencies and bytes' times of one algorithm and protocol; infinite ``base_s`` where it cannot be used."""

    base_s: Array
    in_s: Array
    out_s: Array
    in_bytes_s: Array
    out_bytes_s: Array
    in_rise: Array
    """(2κ)² times the latency that the rise inside a domain is made of; 0 without a pipeline."""
    out_rise: Array
    polled: bool = False
    """Whether flags in host memory pace the bytes, as by the low-latency protocol."""


class _Option(NamedTuple):
    """An algorithm and protocol: how it is worked out, and by what it is ranked where the library has a tuner."""

    name: str
    protocol: int
    path: Callable[[], _Path]
    rank_s: Array | None = None


class _Chosen(NamedTuple):
    """What was ranked, which of it won, and what it takes."""

    kept: list[_Option]
    choice: npt.NDArray[np.int64]
    fixed_s: Array
    whole_s: Array


def _least(ranks: list[Array]) -> npt.NDArray[np.int64]:
    """Return which of some arrays is least, the first of equals, element by element."""
    first, *others = np.broadcast_arrays(*ranks)
    best, choice = first, np.zeros(first.shape, dtype=np.int64)
    for k, rank in enumerate(others, 1):
        sooner = rank < best
        best, choice = np.where(sooner, rank, best), np.where(sooner, k, choice)
    return np.asarray(choice)


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
    library : Library
        What its algorithms make of the links.
    tuned : bool
        Whether NCCL's tuner chooses where the links have tables of it; else what is quickest runs: only then is a call that grows, or a
        link that slows, never quicker.
    """

    scale_up: Link
    scale_out: Link
    domain: Numeric = 8
    oversubscription: Numeric = 1.0
    torus_axes: int = 0
    host_bytes_per_s: Numeric = 25e9
    notes: Mapping[str, str] = field(default_factory=dict)
    library: Library = LIBRARY
    tuned: bool = False

    @classmethod
    def of(
        cls,
        *,
        scale_up: LinkClass,
        scale_up_bytes_per_s: Numeric,
        domain: Numeric,
        scale_out: LinkClass,
        scale_out_bytes_per_s: Numeric,
        oversubscription: Numeric = 1.0,
        torus_axes: int = 0,
        host_bytes_per_s: Numeric = 25e9,
    ) -> Fabric:
        """Return a fabric from the terms of its two kinds of link and their rates per device, one way.

        :func:`hpcsim.workload.link_kinds.fabric_of` takes the kinds by name.
        """
        return cls(
            Link.of(scale_up, scale_up_bytes_per_s),
            Link.of(scale_out, scale_out_bytes_per_s),
            domain,
            oversubscription,
            torus_axes,
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
        s, options = self._options(collective, size_bytes, ranks, inside, outside_share)
        return np.asarray(self._seconds(s, self._chosen(s, options, ""), collective == "barrier")[1])[()]

    def timed(
        self, collective: str, size_bytes: Numeric, ranks: Numeric, *, inside: Numeric, outside_share: Numeric = 1.0, only: str = ""
    ) -> Timed:
        """Return the time with its fixed part and the algorithm; ``only`` names the algorithm to take where it can be taken.

        Parameters and errors are those of :meth:`collective_s`.
        """
        s, options = self._options(collective, size_bytes, ranks, inside, outside_share)
        chosen = self._chosen(s, options, only)
        fixed, whole = self._seconds(s, chosen, collective == "barrier")
        choice = np.broadcast_to(chosen.choice, np.shape(whole))
        names, protocols = (np.array(words)[choice] for words in zip(*((o.name, PROTOCOLS[o.protocol]) for o in chosen.kept), strict=True))
        return Timed(np.asarray(whole)[()], np.asarray(fixed)[()], names, protocols)

    def _options(
        self, collective: str, size_bytes: Numeric, ranks: Numeric, inside: Numeric, outside_share: Numeric
    ) -> tuple[_Shape, list[_Option]]:
        n, p, q = non_negative("size_bytes", size_bytes), whole("ranks", ranks), whole("inside", inside)
        broadcast(n, p, q)
        q = np.minimum(q, p)
        k = np.ceil(p / q)
        s = _Shape(n, p, p / k, k)
        if collective == "all-reduce":
            options = self._all_reduce(s)
        elif collective in ("all-gather", "reduce-scatter"):
            options = self._rings(s, 1.0, s.share)
        elif collective == "all-to-all":
            options = [_Option("direct", 2, partial(self._all_to_all, s, non_negative("outside_share", outside_share)))]
        elif collective in ("broadcast", "reduce"):
            options = [option._replace(rank_s=None) for option in self._rings(s, 1.0, np.ones_like(p))]
        elif collective in ("scatter", "gather"):
            options = [_Option("direct", 2, partial(self._rooted, s))]
        elif collective == "send":
            options = [_Option("direct", protocol, partial(self._send, s, protocol)) for protocol in (0, 2)]
        elif collective == "barrier":
            options = [_Option("tree", 0, partial(self._barrier, s))]
        else:
            raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm="fabric", known=", ".join(COLLECTIVES))
        return s, options

    def _chosen(self, s: _Shape, options: list[_Option], only: str) -> _Chosen:
        """Rank the options and work out those that win somewhere."""
        kept = [option for option in options if option.name == only and np.isfinite(option.path().base_s).all()] or options
        ranked = (np.asarray(self.scale_up.generation, dtype=np.float64) >= 0) & (self.tuned and not self.torus_axes)
        tuned = kept[0].rank_s is not None and bool(ranked.any())
        if len(kept) == 1:
            fixed, whole = self._total(s, kept[0].path())
            return _Chosen(kept, np.zeros(np.shape(whole), dtype=np.int64), fixed, whole)
        if tuned and bool(ranked.all()):
            choice = _least([np.asarray(option.rank_s) for option in kept])
            found = {k: self._total(s, kept[k].path()) for k in np.unique(choice).tolist()}
        else:
            found = {k: self._total(s, option.path()) for k, option in enumerate(kept)}
            own = [found[k][1] for k in range(len(kept))]
            ranks = [np.where(ranked, np.asarray(o.rank_s), total) for o, total in zip(kept, own, strict=True)] if tuned else own
            choice = _least(ranks)
        fixed = whole = np.asarray(0.0)
        for k, (one_fixed, one_whole) in found.items():
            fixed, whole = np.where(choice == k, one_fixed, fixed), np.where(choice == k, one_whole, whole)
        return _Chosen(kept, choice, fixed, whole)

    def _seconds(self, s: _Shape, chosen: _Chosen, empty: bool) -> tuple[Array, Array]:
        """Return the fixed part and the whole: no call is quicker than a host issues it, and one rank or no byte is silent."""
        floor = np.asarray(self.scale_up.startup_s, dtype=np.float64)
        silent = (s.p <= 1.0) | ((s.n <= 0.0) & (not empty))
        fixed = np.where(silent, 0.0, np.where(chosen.whole_s < floor, floor, chosen.fixed_s))
        return fixed, np.where(silent, 0.0, np.maximum(chosen.whole_s, floor))

    def _total(self, s: _Shape, path: _Path) -> tuple[Array, Array]:
        """Return the fixed part and the whole of a path."""
        steps = path.base_s + path.in_s + path.out_s
        cap = 1.0 + s.n / self.library.rise_cap_bytes
        inner = path.in_bytes_s + np.sqrt(path.in_rise * path.in_bytes_s / cap)
        outer = path.out_bytes_s + np.sqrt(path.out_rise * path.out_bytes_s / cap)
        whole = np.asarray(steps + np.maximum(inner, outer))
        return (whole if path.polled else steps), whole

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
        α is a fifth of a GPU library's step over the same link (no kernel polls it), β that of the slower link at
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
        if not peers.any():
            return rate
        reached = np.where(peers > 0, np.clip((q - 1.0) / np.where(peers > 0, peers, 1.0), 1e-9, 1.0), 1.0)
        return np.asarray(rate * np.where(q > 1.0, reached, 1.0))

    def _out_rate(self) -> Array:
        return np.asarray(self.scale_out.rate / np.asarray(self.oversubscription, dtype=np.float64))

    def _base(self, protocol: int) -> Array:
        return np.asarray(np.asarray(self.scale_up.base_s, float) * BASE_FACTORS[protocol])

    def _across(self, q: Array) -> Array:
        """Steps across a group inside a domain: round a ring, or half way round each axis of a torus."""
        if not self.torus_axes:
            return np.asarray(q - 1.0)
        return np.asarray(self.torus_axes * q ** (1.0 / self.torus_axes) / 2.0)

    def _net_step(self, s: _Shape, algorithm: str, protocol: int) -> Array:
        """Latency of a step between domains; with one rank in a domain nothing hides it, in a ring neither."""
        step = outside_step_s(self.scale_out, algorithm, protocol)
        return step if algorithm == "tree" else np.where(s.q > 1, step, outside_step_s(self.scale_out, "tree", protocol))

    def _low(self, k: Array) -> npt.NDArray[np.bool_]:
        """Tell where the low-latency protocol can be used."""
        up, out = (np.asarray(link.low_latency_bytes_per_s, dtype=np.float64) for link in (self.scale_up, self.scale_out))
        return np.asarray((np.where(k > 1, out, up) > 0) & (self.torus_axes == 0))

    def _low_bytes(self, s: _Shape, inner_load: Array, hops: Array) -> Array:
        """Time of the bytes by the low-latency protocol: one hop after the other over a network, polled in host memory."""
        up, out = (np.asarray(link.low_latency_bytes_per_s, dtype=np.float64) for link in (self.scale_up, self.scale_out))
        inside, between = inner_load * s.n / np.where(up > 0, up, 1.0), hops * s.n / np.where(out > 0, out, 1.0)
        return np.asarray(np.where(s.k > 1, between, inside))

    def _lines(self, k: Array) -> Array:
        up, out = (np.asarray(link.line_protocol, dtype=np.float64) for link in (self.scale_up, self.scale_out))
        return np.asarray(np.where(k > 1, up * out, up) * (0.0 if self.torus_axes else 1.0))

    # --- algorithms

    def _path(
        self, s: _Shape, protocol: int, in_s: Array, out_s: Array, loads: tuple[Array, Array], frac: float = 1.0, low: Array | None = None
    ) -> _Path:
        """Return a path by its latencies and loads: ``loads`` of a byte cross a device's link in its domain and its share of the network."""
        inner = np.where(s.q > 1, loads[0] * s.n / (self._up_rate(s.q) * frac), 0.0)
        outer = np.where(s.k > 1, loads[1] * s.n / (self._out_rate() * frac), 0.0)
        nothing, base = np.asarray(0.0), self._base(protocol)
        if protocol == 0:
            able, slow = self._low(s.k), nothing if low is None else low
            slow = np.where(able, np.maximum(slow, 2.0 * np.maximum(inner, outer)), 0.0)
            return _Path(np.where(able, base, np.inf), in_s, out_s, slow, nothing, nothing, nothing, polled=True)
        if protocol == 1:
            inner, outer = inner / LINE_FRAC, outer / LINE_FRAC
            base = np.where(self._lines(s.k) > 0, base, np.inf)
        rises = [4.0 * np.asarray(link.pipelining, float) ** 2 for link in (self.scale_up, self.scale_out)]
        return _Path(base, in_s, out_s, inner, outer, rises[0] * in_s, rises[1] * np.where(s.k > 1, out_s, 0.0))

    def _ring(self, s: _Shape, protocol: int, passes: float, share: Array) -> _Path:
        step = inside_step_s(self.scale_up, "ring", protocol)
        step = np.where(s.k > 1, np.maximum(step, POST_FACTORS[protocol] * np.asarray(self.scale_up.latency_s, float)), step)
        if self.torus_axes:  # no library between the compiler and the links
            step = np.asarray(np.asarray(self.scale_up.latency_s, dtype=np.float64))
        in_s = passes * self._across(s.q) * s.k * step
        out_s = passes * (s.k - 1.0) * self._net_step(s, "ring", protocol)
        low = self._low_bytes(s, passes * share, passes * (s.k - 1.0) / s.p) if protocol == 0 else None
        return self._path(s, protocol, in_s, out_s, (passes * share, passes * share / s.q), low=low)

    def _rings(self, s: _Shape, passes: float, share: Array) -> list[_Option]:
        ranks = self._ranks(s, "ring", passes)
        return [_Option("ring", k, partial(self._ring, s, k, passes, share), ranks[k]) for k in (0, 1, 2)]

    def _tree(self, s: _Shape, protocol: int) -> _Path:
        """Double tree of an all-reduce: a chain inside a domain, a tree between the domains."""
        in_s = 2.0 * (s.q - 1.0) * inside_step_s(self.scale_up, "tree", protocol)
        out_s = 2.0 * doubling_rounds(s.k) * outside_step_s(self.scale_out, "tree", protocol)
        low = self._low_bytes(s, 2.0 * s.share, doubling_rounds(s.k)) if protocol == 0 else None
        return self._path(s, protocol, in_s, out_s, (np.asarray(2.0), tree_load(s.k) / s.q), self.library.tree_frac, low=low)

    def _can_sum(self, s: _Shape) -> npt.NDArray[np.bool_]:
        return np.asarray((np.asarray(self.scale_up.in_switch_frac, dtype=np.float64) > 0) & (s.q >= 4))

    def _in_switch(self, s: _Shape) -> _Path:
        share = np.asarray(self.scale_up.in_switch_frac, dtype=np.float64)
        spread = np.where(s.k > 1, self.library.spread_switch_frac, 1.0)
        rate = np.asarray(self.scale_up.bytes_per_s, float) * np.where(share > 0, share, 1.0) * spread
        own = SWITCH_S * np.asarray(self.scale_up.latency_s, float) / STEPS_S["tree"][0]
        bare = np.minimum(self.scale_out.latency_s, self.scale_out.bare_s)
        net = (SWITCH_NET_S - NET_BULK_S) / NET_STEPS_S["tree"][0] * bare
        out_s = np.where(s.k > 1, 2.0 * doubling_rounds(s.k) * (outside_step_s(self.scale_out, "tree", 2) + net), 0.0)
        inner = (1.0 + 1.0 / s.q) * s.n / rate
        outer = np.where(s.k > 1, tree_load(s.k) / s.q * s.n / (self._out_rate() * self.library.tree_frac), 0.0)
        rises = [4.0 * np.asarray(link.pipelining, float) ** 2 for link in (self.scale_up, self.scale_out)]
        heads = np.maximum(s.q / self.library.switch_heads, 1.0)
        base = np.where(self._can_sum(s), 0.0, np.inf)
        return _Path(base, own, out_s, inner, outer, rises[0] * own * heads, rises[1] * out_s)

    def _ranks(self, s: _Shape, algorithm: str, passes: float) -> list[Array]:
        """Return the times by which the tuner ranks the three protocols of an algorithm, or the one of a sum in the switch."""
        generation = np.asarray(self.scale_up.generation, dtype=np.float64)
        if not self.tuned or self.torus_axes or bool((generation < 0).all()):
            return [np.zeros_like(s.p)] * 3
        extra = np.maximum(np.asarray(self.scale_out.latency_s, float) - self.scale_out.bare_s, 0.0)
        column = np.maximum(generation, 0.0).astype(np.int64)
        g = Group(s.n, s.p, s.q, s.k, self._up_rate(s.q), self._out_rate() * s.q, extra, column, place_of(s.k), self._lines(s.k))
        if algorithm == "in-switch":
            return [np.where(self._can_sum(s), tuner_s(g, algorithm, 2, passes), np.inf)]
        low = np.where(self._low(s.k), tuner_s(g, algorithm, 0, passes), np.inf)
        return [low, *(tuner_s(g, algorithm, protocol, passes) for protocol in (1, 2))]

    def _all_reduce(self, s: _Shape) -> list[_Option]:
        rings = self._rings(s, 2.0, s.share)
        if self.torus_axes:
            return rings
        trees = [_Option("tree", k, partial(self._tree, s, k), rank) for k, rank in enumerate(self._ranks(s, "tree", 2.0))]
        return [*rings, *trees, _Option("in-switch", 2, partial(self._in_switch, s), self._ranks(s, "in-switch", 2.0)[0])]

    def _all_to_all(self, s: _Shape, outside: Array) -> _Path:
        """Every pair's message at once: no pipeline to fill, but a post for every peer."""
        step = outside_step_s(self.scale_out, "tree", 2)
        inner = inside_step_s(self.scale_up, "ring", 2) if not self.torus_axes else np.asarray(self.scale_up.latency_s, float)
        in_s = np.where(s.k > 1, 0.0, doubling_rounds(s.q) * inner)
        out_s = np.where(s.k > 1, (self.library.exchange_steps + self.library.exchange_peer_steps * (s.p - s.q)) * step, 0.0)
        in_bytes = np.where(s.q > 1, (s.q - 1.0) / s.p * s.n / self._up_rate(s.q), 0.0)
        out_bytes = np.where(s.k > 1, outside * (s.p - s.q) / s.p * s.n / (self._out_rate() * self.library.exchange_frac), 0.0)
        nothing = np.zeros_like(in_s)
        return _Path(self._base(2), in_s, out_s, in_bytes, out_bytes, nothing, nothing)

    def _barrier(self, s: _Shape) -> _Path:
        """An all-reduce of next to nothing: up a tree and down."""
        in_s = 2.0 * doubling_rounds(s.q) * inside_step_s(self.scale_up, "tree", 0)
        out_s = 2.0 * doubling_rounds(s.k) * outside_step_s(self.scale_out, "tree", 0)
        nothing = np.zeros_like(s.p)
        return _Path(self._base(0), in_s, out_s, nothing, nothing, nothing, nothing)

    def _rooted(self, s: _Shape) -> _Path:
        """Scatter and gather: the root's own links carry everyone's part."""
        in_s = doubling_rounds(s.q) * inside_step_s(self.scale_up, "tree", 2)
        out_s = doubling_rounds(s.k) * outside_step_s(self.scale_out, "tree", 2)
        return self._path(s, 2, in_s, out_s, ((s.q - 1.0) / s.p, (s.p - s.q) / s.p))

    def _send(self, s: _Shape, protocol: int) -> _Path:
        one = np.ones_like(s.p)
        in_s = np.where(s.k > 1, 0.0, inside_step_s(self.scale_up, "tree", protocol))
        out_s = np.where(s.k > 1, outside_step_s(self.scale_out, "tree", protocol), 0.0)
        return self._path(s, protocol, in_s, out_s, (one, one), low=self._low_bytes(s, one, one) if protocol == 0 else None)
