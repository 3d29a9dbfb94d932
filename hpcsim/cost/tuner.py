"""How NCCL's tuner ranks its algorithms and protocols: by a time of its own, latency and bytes over bandwidth, from tables by generation.

The tables are facts about NCCL 2.30.7 (src/graph/tuning.cc, commit 5067397): largest low-latency rates (``llMaxBws``), rates of a channel
(``perChMax…Bws``), size corrections of trees (``treeCorrectionFactor``), efficiency in the switch (``nvlsEfficiency``). The tuner ranks; it does
not predict: on measured calls its own times are a quarter off in the median, and a third of what small messages over slow networks take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array
from hpcsim.cost.links import NET_STEPS_S, STEPS_S

__all__ = ["SWITCH_NET_S", "SWITCH_S", "Group", "place_of", "tuner_s"]

CHANNELS = 16.0
"""Channels of a ring or tree, which NCCL finds by search: 16 on switched NVLink with a port a device, up to 24 on one node."""
BASE_S = {"tree": (6.8e-6, 14.0e-6, 8.4e-6), "ring": (6.6e-6, 14.0e-6, 8.4e-6)}
SWITCH_S, SWITCH_NET_S = 25e-6, 20.9e-6
"""Latency of a sum in the switch, and of a step between switches."""
_LOW_RATE = np.array([[39.0, 39.0, 20.4], [87.7, 22.5, 19.0], [141.0, 45.0, 35.0], [282.0, 90.0, 70.0]]) * 1e9
"""By generation, and by one, two or more nodes; between nodes the row is the host's, and a host of AMD is assumed."""
_RING_LINE = np.array([20.0, 20.0, 36.7, 40.0]) * 1e9
_TREE_LINE = np.array([[20.0, 20.0, 20.0], [20.0, 20.0, 20.0], [36.7, 36.7, 29.0], [55.6, 31.67, 20.0]]) * 1e9
_TREE = np.array([[26.5, 18.5, 10.0], [24.0, 23.6, 17.8], [38.7, 41.4, 36.0], [70.0, 42.8, 24.0]]) * 1e9
_SWITCH_TREE = np.array([[26.5, 18.5, 10.0], [24.0, 23.6, 17.8], [57.7, 57.7, 45.5], [96.0, 96.0, 80.0]]) * 1e9
_SWITCH_EFFICIENCY = np.array([0.85, 0.85, 0.85, 0.74])
_TREE_SIZES = np.array(
    [
        [1, 1, 1, 1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 1, 1],
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7, 0.8, 0.9, 0.9],
    ]
)
"""Corrections of a tree's rate by ⌊lg(bytes/64)⌋, for each protocol."""
_POST_S = (1e-6, 1e-6, 3e-6)
"""What posting to the network adds to a step of a ring inside a node (``netOverhead``)."""
_PLATEAU = 1.4
"""Latency of a bulk ring between nodes, once every channel has 64 bytes for every rank."""


class Group(NamedTuple):
    """A call as the tuner sees it; every item an array of one shape.

    Attributes
    ----------
    size_bytes, ranks, inside, domains : array
        Bytes, ranks, ranks of a domain, domains.
    up_bytes_per_s, out_bytes_per_s : array
        Bus rate inside a domain, and of a domain's ports.
    extra_s : array
        Latency that the network declares beyond a bare one.
    generation, place, lines : array
        Row and column of the tables (:func:`place_of`); whether the line protocol may cross the network.
    """

    size_bytes: Array
    ranks: Array
    inside: Array
    domains: Array
    up_bytes_per_s: Array
    out_bytes_per_s: Array
    extra_s: Array
    generation: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    lines: Array


def place_of(domains: Array) -> npt.NDArray[np.int64]:
    """Return the column of the tables: one domain, two, more."""
    return np.asarray((domains > 1).astype(np.int64) + (domains > 2))


def _latency_s(g: Group, algorithm: str, protocol: int, passes: float) -> Array:
    net = np.where(g.inside > 1, NET_STEPS_S[algorithm][protocol], NET_STEPS_S["tree"][protocol])
    net = net + g.extra_s * (2.0 if protocol == 2 else 1.0)
    step = STEPS_S[algorithm][protocol]
    many = g.domains > 1
    if algorithm == "tree":
        return np.asarray(BASE_S["tree"][protocol] + 2.0 * ((g.inside - 1.0) * step + np.floor(np.log2(g.domains)) * net))
    outer = passes * (g.domains - 1.0)
    steps = (passes * (g.ranks - 1.0) - outer) * np.where(many, max(step, _POST_S[protocol]), step) + outer * net
    whole = BASE_S["ring"][protocol] + steps
    if protocol == 2 and passes == 2.0:
        whole = whole * np.where(many & (g.size_bytes / (CHANNELS * g.ranks) >= 64.0), _PLATEAU, 1.0)
    return np.asarray(whole)


def _bytes_per_s(g: Group, algorithm: str, protocol: int, passes: float) -> Array:
    many = g.domains > 1
    place = g.place
    if algorithm == "ring":
        bus = np.where(many, np.minimum(g.up_bytes_per_s, g.out_bytes_per_s), g.up_bytes_per_s)
        if protocol == 0:
            bus = np.minimum(_LOW_RATE[np.where(many, 1, g.generation), place], 0.5 * bus)
        elif protocol == 1:
            bus = np.minimum(0.92 * bus, CHANNELS * _RING_LINE[g.generation])
        return np.asarray(bus * g.ranks / (passes * np.maximum(g.ranks - 1.0, 1.0)))
    bus = np.where(many, np.minimum(g.up_bytes_per_s, g.out_bytes_per_s * np.where(g.domains <= 2, 2.0, 1.0)), g.up_bytes_per_s)
    bus = np.minimum(0.92 * bus, CHANNELS * _TREE[g.generation, place])
    if protocol == 0:
        bus = np.minimum(bus / 3.8, _LOW_RATE[np.where(many, 1, g.generation), place])
    elif protocol == 1:
        bus = np.minimum(bus * np.where(many, 120.0 / 128.0, 7.0 / 9.0), CHANNELS * _TREE_LINE[g.generation, place])
    size = np.floor(np.log2(np.maximum(np.floor(g.size_bytes / 64.0), 0.5))).astype(np.int64)
    known = (size >= 0) & (size < _TREE_SIZES.shape[1])
    return np.asarray(0.5 * bus * np.where(known, _TREE_SIZES[protocol][np.clip(size, 0, _TREE_SIZES.shape[1] - 1)], 1.0))


def _switch_s(g: Group) -> Array:
    many, place = g.domains > 1, g.place
    inner = 2.0 * g.up_bytes_per_s * _SWITCH_EFFICIENCY[g.generation] * (CHANNELS - 1.0) / CHANNELS
    outer = np.minimum(g.out_bytes_per_s * np.where(g.domains <= 2, 2.0, 1.0), CHANNELS * _SWITCH_TREE[g.generation, place])
    bus = np.where(many, np.minimum(inner, outer), inner)
    rate = bus * g.ranks / (2.0 * np.maximum(g.ranks - 1.0, 1.0))
    hops = 2.0 * np.floor(np.log2(g.domains)) * (SWITCH_NET_S + 2.0 * g.extra_s)
    return np.asarray(SWITCH_S + np.where(many, hops, 0.0) + g.size_bytes / rate)


def tuner_s(g: Group, algorithm: str, protocol: int, passes: float) -> Array:
    """Return the time by which the tuner ranks an algorithm and protocol [s]; infinite where they cannot be used.

    Parameters
    ----------
    g : Group
    algorithm : {"ring", "tree", "in-switch"}
    protocol : {0, 1, 2}
        Low-latency, line, bulk.
    passes : float
        2 for an all-reduce, 1 for an all-gather or reduce-scatter.

    Notes
    -----
    T = latency + n/rate, both as in tuning.cc. What NCCL searches in the machine's topology is taken from the links: bus rates, and
    :data:`CHANNELS`.
    """
    if algorithm == "in-switch":
        return _switch_s(g)
    time = _latency_s(g, algorithm, protocol, passes) + g.size_bytes / _bytes_per_s(g, algorithm, protocol, passes)
    if protocol == 1:
        time = np.where((g.domains > 1) & (g.lines <= 0), np.inf, time)
    return np.asarray(time)
