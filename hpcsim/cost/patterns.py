"""Collectives as messages: for each algorithm the rounds of (source, destination, bytes) that carry it out.

A round begins when the one before has ended everywhere. Rounds that repeat are kept once, with a count: a ring of 16,384 ranks is one round.
Messages of a round are arrays; nothing here loops over ranks. :func:`star_seconds` times a pattern on full-duplex links into one switch that
never blocks; on a graph the flow engine does (:mod:`hpcsim.engine.collectives`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array, Numeric

__all__ = ["MAX_CHUNKS", "Pattern", "Round", "Rounds", "chunk_count", "inside_of", "near_square", "star_seconds"]

IntArray: TypeAlias = npt.NDArray[np.int64]

MAX_CHUNKS = 1024
"""Most chunks that a pipelined algorithm cuts a message into."""
HIERARCHY_INSIDE = 8
"""Ranks of a domain that the hierarchical algorithm takes, or the largest divisor of p below."""


class Round(NamedTuple):
    """Messages that are under way together.

    Attributes
    ----------
    src, dst : array of int, shape (messages,)
        Endpoints.
    size_bytes : array, shape (messages,)
    repeat : int
        How often the round follows itself.
    """

    src: IntArray
    dst: IntArray
    size_bytes: Array
    repeat: int = 1


Rounds: TypeAlias = list[Round]
_Maker: TypeAlias = Callable[[int, float, float], Rounds]


@dataclass(frozen=True)
class Pattern:
    """The messages of a collective or of an application's step.

    Attributes
    ----------
    endpoints : int
        Numbers of the endpoints are below it; the ranks come first, then switches or servers that take part.
    rounds : tuple of Round
    """

    endpoints: int
    rounds: tuple[Round, ...]

    @property
    def messages(self) -> int:
        """Number of messages, repeats included."""
        return sum(r.src.size * r.repeat for r in self.rounds)

    @property
    def total_bytes(self) -> float:
        """Bytes of all messages, repeats included."""
        return float(sum(float(r.size_bytes.sum()) * r.repeat for r in self.rounds))

    def sent_bytes(self) -> Array:
        """Return what each endpoint sends in all, shape (endpoints,) [B]."""
        out = np.zeros(self.endpoints)
        for r in self.rounds:
            out += np.bincount(r.src, r.size_bytes, self.endpoints) * r.repeat
        return out


def star_seconds(pattern: Pattern, *, bytes_per_s: Numeric, latency_s: float = 0.0, ranks: int | None = None) -> float:
    """Return the time of a pattern on a star: every rank has one full-duplex link to a switch that never blocks.

    Parameters
    ----------
    pattern : Pattern
    bytes_per_s : float or array, shape (endpoints,)
        One way, of each link.
    latency_s : float
        Of a round.
    ranks : int, optional
        Endpoints from here on are inside the switch and have no link; all have one without it.

    Notes
    -----
    A round takes its latency and the time of the busiest direction of a link: with max-min fair sharing that direction is full until its
    last byte wherever the messages of a round share one size, or one link alone is busy; all algorithms here are such.
    """
    rate = np.broadcast_to(np.asarray(bytes_per_s, dtype=np.float64), (pattern.endpoints,)).copy()
    rate[pattern.endpoints if ranks is None else ranks :] = np.inf
    total = 0.0
    for r in pattern.rounds:
        out = np.bincount(r.src, r.size_bytes, pattern.endpoints) / rate
        into = np.bincount(r.dst, r.size_bytes, pattern.endpoints) / rate
        total += r.repeat * (latency_s + float(max(out.max(), into.max())))
    return total


def chunk_count(size_bytes: Numeric, further_rounds: Numeric, latency_bytes: Numeric) -> Array:
    """Return the number of chunks m that makes (h + m)(α + nβ/m) least: √(n·h/αB), a whole number from 1 to :data:`MAX_CHUNKS`.

    Parameters
    ----------
    size_bytes : float or array
        n.
    further_rounds : float or array
        h, rounds that a chunk takes beyond its first.
    latency_bytes : float or array
        α·B, bytes that a link carries in a latency.
    """
    n, h, c = (np.asarray(value, dtype=np.float64) for value in (size_bytes, further_rounds, latency_bytes))
    h = np.maximum(h, 0.0)
    best = np.sqrt(n * h / np.where(c > 0, c, 1.0))
    best = np.where(c > 0, best, np.where(h > 0, float(MAX_CHUNKS), 1.0))
    low = np.clip(np.floor(best), 1.0, MAX_CHUNKS)
    high = np.clip(low + 1.0, 1.0, MAX_CHUNKS)
    return np.asarray(np.where((h + high) * (c + n / high) < (h + low) * (c + n / low), high, low))


def near_square(ranks: int) -> tuple[int, int]:
    """Return two factors of ``ranks`` as close together as they come, the smaller first."""
    side = math.isqrt(ranks)
    while ranks % side:
        side -= 1
    return side, ranks // side


def inside_of(ranks: int) -> int:
    """Return how many ranks share a domain in the hierarchical algorithm: the largest divisor of ``ranks`` up to eight."""
    return max(q for q in range(1, min(HIERARCHY_INSIDE, ranks) + 1) if ranks % q == 0)


def one_more(ranks: int) -> int:
    """Return the endpoints of a pattern with one switch or server beside the ranks."""
    return ranks + 1


def _round(src: IntArray, dst: IntArray, size: Numeric, repeat: int = 1) -> Round:
    return Round(src, dst, np.broadcast_to(np.asarray(size, dtype=np.float64), src.shape).copy(), repeat)


def _ranks(p: int) -> IntArray:
    return np.arange(p, dtype=np.int64)


# --- combinations


def reverse(make: _Maker) -> _Maker:
    """Return the algorithm that runs another backwards: a broadcast becomes a reduction, a gather a scatter."""

    def turned(p: int, n: float, c: float) -> Rounds:
        return [Round(r.dst, r.src, r.size_bytes, r.repeat) for r in reversed(make(p, n, c))]

    return turned


def after(*makers: _Maker) -> _Maker:
    """Return the algorithm that runs others one after the other."""

    def joined(p: int, n: float, c: float) -> Rounds:
        return [r for make in makers for r in make(p, n, c)]

    return joined


def twice(make: _Maker) -> _Maker:
    """Return the algorithm that runs another twice: reduce-scatter, then all-gather."""
    return after(make, make)


# --- collectives: p ranks, n bytes, c = α·B bytes


def send(p: int, n: float, c: float) -> Rounds:
    """One message from the first rank to the last."""
    return [_round(np.array([0]), np.array([p - 1]), n)]


def ring(p: int, n: float, c: float) -> Rounds:
    """Every rank passes a block of n/p on to the next, p − 1 times."""
    return [_round(_ranks(p), (_ranks(p) + 1) % p, n / p, p - 1)]


def everyone(p: int, n: float, c: float) -> Rounds:
    """Every rank sends a block of n/p to every other at once."""
    src, dst = (axis.ravel() for axis in np.meshgrid(_ranks(p), _ranks(p), indexing="ij"))
    kept = src != dst
    return [_round(src[kept], dst[kept], n / p)]


def one_shot(p: int, n: float, c: float) -> Rounds:
    """Every rank sends everything to every other at once."""
    return everyone(p, n * p, c)


def binomial_broadcast(p: int, n: float, c: float) -> Rounds:
    """Who has the message sends it on: 1, 2, 4, … senders."""
    found = []
    for j in range((p - 1).bit_length()):
        src = _ranks(min(2**j, p - 2**j))
        found.append(_round(src, src + 2**j, n))
    return found


def binomial_scatter(p: int, n: float, c: float) -> Rounds:
    """Who holds blocks sends half of them on, the far half first."""
    found = []
    for j in reversed(range((p - 1).bit_length())):
        src = np.arange(0, p, 2 ** (j + 1), dtype=np.int64)
        src = src[src + 2**j < p]
        found.append(_round(src, src + 2**j, np.minimum(2**j, p - src - 2**j) * n / p))
    return found


def scatter_all_gather(p: int, n: float, c: float) -> Rounds:
    """Broadcast by scatter and ring: van de Geijn."""
    return [*binomial_scatter(p, n, c), *ring(p, n, c)]


def chain(p: int, n: float, c: float) -> Rounds:
    """Broadcast in chunks along a chain."""
    m = int(chunk_count(n, p - 2.0, c))
    found = []
    for r in range(p - 2 + m):
        src = np.arange(max(r - m + 1, 0), min(r, p - 2) + 1, dtype=np.int64)
        found.append(_round(src, src + 1, n / m))
    return found


def double_tree(p: int, n: float, c: float) -> Rounds:
    """Broadcast by two binary trees, each of half the message in chunks; who is inside one is a leaf of the other."""
    m = int(chunk_count(n, math.floor(math.log2(p)) - 1.0, c))
    child = np.arange(1, p, dtype=np.int64)
    parent = (child - 1) // 2
    level = np.floor(np.log2(parent + 1) + 1e-9).astype(np.int64)
    found = []
    for r in range(int(level.max()) + m):
        now = (r - level >= 0) & (r - level < m)
        src, dst = parent[now], child[now]
        found.append(_round(np.concatenate([src, p - 1 - src]), np.concatenate([dst, p - 1 - dst]), n / (2.0 * m)))
    return found


def doubling_gather(p: int, n: float, c: float) -> Rounds:
    """Bruck's all-gather: what a rank has doubles each round, for any p."""
    return [_round(_ranks(p), (_ranks(p) - 2**j) % p, min(2**j, p - 2**j) * n / p) for j in range((p - 1).bit_length())]


def _folded(p: int, n: float, middle: Rounds) -> Rounds:
    power = 1 << (p.bit_length() - 1)
    if power == p:
        return middle
    extra = np.arange(power, p, dtype=np.int64)
    return [_round(extra, extra - power, n), *middle, _round(extra - power, extra, n)]


def doubling_reduce(p: int, n: float, c: float) -> Rounds:
    """All-reduce of the whole message with a partner at distance 1, 2, 4, …; ranks beyond a power of two fold in first."""
    power = 1 << (p.bit_length() - 1)
    return _folded(p, n, [_round(_ranks(power), _ranks(power) ^ (1 << j), n) for j in range(power.bit_length() - 1)])


def rabenseifner(p: int, n: float, c: float) -> Rounds:
    """All-reduce by recursive halving and doubling; ranks beyond a power of two fold in first."""
    power = 1 << (p.bit_length() - 1)
    half = [_round(_ranks(power), _ranks(power) ^ (power >> j), n / 2**j) for j in range(1, power.bit_length())]
    return _folded(p, n, [*half, *reversed(half)])


def torus_gather(p: int, n: float, c: float) -> Rounds:
    """All-gather in buckets: round the rings of one axis of a near-square torus, then of the other with what was gathered."""
    x, y = near_square(p)
    ranks = _ranks(p)
    row, column = ranks // x, ranks % x
    found = [_round(ranks, row * x + (column + 1) % x, n / p, x - 1)] if x > 1 else []
    return [*found, _round(ranks, (row + 1) % y * x + column, x * n / p, y - 1)]


def hierarchical(p: int, n: float, c: float, inside: int | None = None) -> Rounds:
    """All-reduce: reduce-scatter in the domains, all-reduce between them rail by rail, all-gather in the domains; rings throughout."""
    q = inside or inside_of(p)
    k = p // q
    ranks = _ranks(p)
    node, place = ranks // q, ranks % q
    near = [_round(ranks, node * q + (place + 1) % q, n / q, q - 1)] if q > 1 else []
    far = [_round(ranks, (node + 1) % k * q + place, n / p, 2 * (k - 1))] if k > 1 else []
    return [*near, *far, *near]


def in_switch(p: int, n: float, c: float) -> Rounds:
    """All-reduce summed by the switch, endpoint p: a post, then each rank's data up, its share of the sums down, up and down to all."""
    ranks, switch = _ranks(p), np.full(p, p, dtype=np.int64)
    post = _round(ranks, switch, 0.0)
    return [post, _round(np.concatenate([ranks, switch]), np.concatenate([switch, ranks]), n + n / p)]


def parameter_server(p: int, n: float, c: float) -> Rounds:
    """All-reduce by one server, endpoint p: everyone pushes, everyone pulls."""
    ranks, server = _ranks(p), np.full(p, p, dtype=np.int64)
    return [_round(ranks, server, n), _round(server, ranks, n)]


def pairwise(p: int, n: float, c: float) -> Rounds:
    """All-to-all in p − 1 rounds, in each a partner one further on."""
    return [_round(_ranks(p), (_ranks(p) + r) % p, n / p) for r in range(1, p)]


def bruck_exchange(p: int, n: float, c: float) -> Rounds:
    """All-to-all in ⌈lg p⌉ rounds: round j carries every block whose distance has bit j set."""
    found = []
    for j in range((p - 1).bit_length()):
        blocks = int(((_ranks(p) >> j) & 1).sum())
        found.append(_round(_ranks(p), (_ranks(p) + 2**j) % p, blocks * n / p))
    return found


def root_to_each(p: int, n: float, c: float) -> Rounds:
    """Scatter, a block to one rank after the other."""
    return [_round(np.array([0]), np.array([r]), n / p) for r in range(1, p)]


def dissemination(p: int, n: float, c: float) -> Rounds:
    """Barrier: everyone tells the rank at distance 1, 2, 4, …."""
    return [_round(_ranks(p), (_ranks(p) + 2**j) % p, 0.0) for j in range((p - 1).bit_length())]


def merged(rounds: Iterable[Round]) -> Round:
    """Return the messages of several rounds as one round: all at once."""
    kept = list(rounds)
    return Round(
        np.concatenate([np.tile(r.src, r.repeat) for r in kept]),
        np.concatenate([np.tile(r.dst, r.repeat) for r in kept]),
        np.concatenate([np.tile(r.size_bytes, r.repeat) for r in kept]),
    )
