"""Textbook collectives: the time of one algorithm on full-duplex links that nobody else uses, with free arithmetic.

α is the latency of a step, β = 1/B the time of a byte, one way and per rank. Sizes follow NCCL: for all-gather and reduce-scatter the whole
buffer, for all-to-all what one rank sends in all, for scatter and gather the root's buffer, for the others the message.

Each algorithm is a closed form and the steps behind it (:mod:`hpcsim.cost.patterns`): run alone, the steps take exactly the closed form's
time. Packages add their own through the entry-point group ``hpcsim.collectives``, under a name like ``all-reduce/ring``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.registry import Registry
from hpcsim.cost import patterns as steps
from hpcsim.cost.arguments import Array, Numeric, broadcast, non_negative, positive, whole
from hpcsim.cost.patterns import Pattern, Rounds, chunk_count, near_square, star_seconds

__all__ = [
    "ALGORITHMS",
    "COLLECTIVES",
    "UNKNOWN_ALGORITHM",
    "Algorithm",
    "algorithms",
    "all_reduce_lower_bound_s",
    "bus_factor",
    "doubling_rounds",
    "fastest",
    "pattern",
    "star_seconds",
    "textbook",
]

UNKNOWN_ALGORITHM = problem_kind("unknown-collective", "there is no {algorithm!r} form of {collective!r}", "known: {known}")

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "broadcast",
    "reduce",
    "scatter",
    "gather",
    "send",
    "barrier",
)
"""Names of the collectives; ``send`` is one point-to-point message."""

_Form = Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True)
class Algorithm:
    """One algorithm of one collective: what plug-ins of ``hpcsim.collectives`` provide.

    Attributes
    ----------
    time : callable
        (n, p, α, β) → seconds; broadcasts; p at least 2.
    rounds : callable
        (p, n, α·B) → the rounds of messages; see :class:`hpcsim.cost.patterns.Round`.
    endpoints : callable
        p → endpoints of the star, more than p where switches or servers take part.
    """

    time: _Form
    rounds: Callable[[int, float, float], Rounds]
    endpoints: Callable[[int], int] = int


ALGORITHMS: Registry[Algorithm] = Registry("collective algorithm", "collectives")
"""Every algorithm, by ``collective/name``."""


def _lg(p: Array) -> Array:
    return np.asarray(np.ceil(np.log2(np.maximum(p, 1.0)) - 1e-12))


def doubling_rounds(ranks: Numeric) -> Array:
    """Return ⌈lg p⌉: the rounds in which what a group knows doubles until it is everything."""
    return _lg(np.asarray(ranks, dtype=np.float64))


def _share(p: Array) -> Array:
    return np.asarray((p - 1.0) / p)


def _floor_lg(p: Array) -> Array:
    return np.asarray(np.floor(np.log2(np.maximum(p, 1.0)) + 1e-12))


def _rabenseifner(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Halving and doubling on the largest power of two, after the others have folded in and before they are told."""
    power = 2.0 ** _floor_lg(p)
    folded = np.where(power < p, 2.0 * a + 2.0 * n * b, 0.0)
    return np.asarray(2.0 * _floor_lg(p) * a + 2.0 * _share(power) * n * b + folded)


def _doubling(n: Array, p: Array, a: Array, b: Array) -> Array:
    rounds = _floor_lg(p) + np.where(2.0 ** _floor_lg(p) < p, 2.0, 0.0)
    return np.asarray(rounds * (a + n * b))


def _chain(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Pipelined chain with its best number of chunks m ≈ √(nβ(p−2)/α)."""
    m = chunk_count(n, p - 2.0, a / b)
    return np.asarray((p - 2.0 + m) * (a + n / m * b))


def _one_way_tree(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Two binary trees, half the message each, in m chunks: D + m − 1 rounds, in each of which some rank sends two half-chunks.

    The deepest level of 2^D ranks is one rank, so that the last round has half of that; two ranks never have two children.
    """
    depth = _floor_lg(p)
    m = chunk_count(n, depth - 1.0, a / b)
    rounds = depth + m - 1.0
    halves = np.where(p <= 2.0, rounds, 2.0 * rounds - np.where(2.0**depth == p, 1.0, 0.0))
    return np.asarray(rounds * a + halves * n / (2.0 * m) * b)


def _bruck(n: Array, p: Array, a: Array, b: Array) -> Array:
    """Round j sends every block whose distance has bit j set: Σ over the distances below p of their set bits, n/p each."""
    bits = np.zeros_like(p)
    for j in range(int(np.max(_lg(p), initial=0.0))):
        period, half = 2.0 ** (j + 1), 2.0**j
        bits = bits + np.floor(p / period) * half + np.maximum(np.mod(p, period) - half, 0.0)
    return np.asarray(_lg(p) * a + bits / p * n * b)


def _torus_steps(p: Array) -> Array:
    sides = np.vectorize(lambda size: float(sum(near_square(int(size))) - 2), otypes=[np.float64])
    return np.asarray(sides(p))


def _hierarchy_steps(p: Array) -> Array:
    inside = np.vectorize(lambda size: float(steps.inside_of(int(size))), otypes=[np.float64])(p)
    return np.asarray(inside - 1.0 + p / inside - 1.0)


def _ring(n: Array, p: Array, a: Array, b: Array) -> Array:
    return np.asarray((p - 1.0) * a + _share(p) * n * b)


def _doubled(n: Array, p: Array, a: Array, b: Array) -> Array:
    return np.asarray(_lg(p) * a + _share(p) * n * b)


def _binomial(n: Array, p: Array, a: Array, b: Array) -> Array:
    return np.asarray(_lg(p) * (a + n * b))


_BUILT_IN: dict[str, Algorithm] = {
    "send/direct": Algorithm(lambda n, p, a, b: a + n * b, steps.send),
    "broadcast/tree": Algorithm(_binomial, steps.binomial_broadcast),
    "broadcast/double-tree": Algorithm(_one_way_tree, steps.double_tree),
    "broadcast/scatter-all-gather": Algorithm(
        lambda n, p, a, b: (_lg(p) + p - 1.0) * a + 2.0 * _share(p) * n * b, steps.scatter_all_gather
    ),
    "broadcast/chain": Algorithm(_chain, steps.chain),
    "reduce/tree": Algorithm(_binomial, steps.reverse(steps.binomial_broadcast)),
    "reduce/double-tree": Algorithm(_one_way_tree, steps.reverse(steps.double_tree)),
    "reduce/chain": Algorithm(_chain, steps.reverse(steps.chain)),
    "all-gather/ring": Algorithm(_ring, steps.ring),
    "all-gather/recursive": Algorithm(_doubled, steps.doubling_gather),
    "all-gather/direct": Algorithm(lambda n, p, a, b: a + _share(p) * n * b, steps.everyone),
    "all-gather/torus": Algorithm(lambda n, p, a, b: _torus_steps(p) * a + _share(p) * n * b, steps.torus_gather),
    "reduce-scatter/ring": Algorithm(_ring, steps.ring),
    "reduce-scatter/recursive": Algorithm(_doubled, steps.reverse(steps.doubling_gather)),
    "reduce-scatter/direct": Algorithm(lambda n, p, a, b: a + _share(p) * n * b, steps.everyone),
    "reduce-scatter/torus": Algorithm(lambda n, p, a, b: _torus_steps(p) * a + _share(p) * n * b, steps.reverse(steps.torus_gather)),
    "all-reduce/ring": Algorithm(lambda n, p, a, b: 2.0 * _ring(n, p, a, b), steps.twice(steps.ring)),
    "all-reduce/recursive": Algorithm(_doubling, steps.doubling_reduce),
    "all-reduce/rabenseifner": Algorithm(_rabenseifner, steps.rabenseifner),
    "all-reduce/tree": Algorithm(
        lambda n, p, a, b: 2.0 * _one_way_tree(n, p, a, b), steps.after(steps.reverse(steps.double_tree), steps.double_tree)
    ),
    "all-reduce/direct": Algorithm(lambda n, p, a, b: 2.0 * a + 2.0 * _share(p) * n * b, steps.twice(steps.everyone)),
    "all-reduce/one-shot": Algorithm(lambda n, p, a, b: a + (p - 1.0) * n * b, steps.one_shot),
    "all-reduce/torus": Algorithm(
        lambda n, p, a, b: 2.0 * _torus_steps(p) * a + 2.0 * _share(p) * n * b,
        steps.after(steps.reverse(steps.torus_gather), steps.torus_gather),
    ),
    "all-reduce/hierarchical": Algorithm(lambda n, p, a, b: 2.0 * _hierarchy_steps(p) * a + 2.0 * _share(p) * n * b, steps.hierarchical),
    "all-reduce/in-switch": Algorithm(lambda n, p, a, b: 2.0 * a + (1.0 + 1.0 / p) * n * b, steps.in_switch, steps.one_more),
    "all-reduce/parameter-server": Algorithm(lambda n, p, a, b: 2.0 * (a + p * n * b), steps.parameter_server, steps.one_more),
    "all-to-all/direct": Algorithm(_ring, steps.pairwise),
    "all-to-all/bruck": Algorithm(_bruck, steps.bruck_exchange),
    "scatter/tree": Algorithm(_doubled, steps.binomial_scatter),
    "gather/tree": Algorithm(_doubled, steps.reverse(steps.binomial_scatter)),
    "scatter/direct": Algorithm(_ring, steps.root_to_each),
    "gather/direct": Algorithm(_ring, steps.reverse(steps.root_to_each)),
    "barrier/dissemination": Algorithm(lambda n, p, a, b: _lg(p) * a, steps.dissemination),
}
for _name, _algorithm in _BUILT_IN.items():
    ALGORITHMS.register(_name)(_algorithm)


def algorithms(collective: str) -> list[str]:
    """Return the names of the algorithms of one collective, plug-ins included."""
    return [name.partition("/")[2] for name in ALGORITHMS.names() if name.partition("/")[0] == collective]


def _find(collective: str, algorithm: str) -> Algorithm:
    name = f"{collective}/{algorithm}"
    if name not in ALGORITHMS.names():
        raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm=algorithm, known=", ".join(ALGORITHMS.names()))
    return ALGORITHMS.get(name)


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
    form = _find(collective, algorithm)
    n, p = non_negative("size_bytes", size_bytes), whole("ranks", ranks)
    rate, a = positive("bytes_per_s", bytes_per_s), non_negative("latency_s", latency_s)
    broadcast(n, p, rate, a)
    time = form.time(n, np.maximum(p, 2.0), a, 1.0 / rate)
    silent = (p <= 1.0) if collective != "send" else np.zeros_like(p, dtype=bool)
    if collective != "barrier":
        silent = silent | (n <= 0.0)
    return np.asarray(np.where(silent, 0.0, time))[()]


def fastest(collective: str, size_bytes: float, ranks: int, *, bytes_per_s: float, latency_s: float = 0.0) -> str:
    """Return the algorithm whose closed form is least among those that need nothing but the ranks' own links.

    Raises
    ------
    InputError
        No such collective, or a value out of range.

    Examples
    --------
    >>> fastest("all-reduce", 8.0, 64, bytes_per_s=1e10, latency_s=1e-6)
    'one-shot'
    >>> fastest("all-reduce", 1e9, 64, bytes_per_s=1e10, latency_s=1e-6)
    'direct'
    """
    names = [name for name in algorithms(collective) if ALGORITHMS.get(f"{collective}/{name}").endpoints(ranks) == ranks]
    if not names:
        raise UNKNOWN_ALGORITHM.error(collective=collective, algorithm="fastest", known=", ".join(ALGORITHMS.names()))
    key = {"bytes_per_s": bytes_per_s, "latency_s": latency_s}
    return min(names, key=lambda name: float(textbook(collective, size_bytes, ranks, algorithm=name, **key)))


def pattern(collective: str, algorithm: str, ranks: int, size_bytes: float, *, bytes_per_s: float = 1.0, latency_s: float = 0.0) -> Pattern:
    """Return the messages of one collective, round by round.

    Parameters
    ----------
    collective, algorithm : str
        As in :func:`textbook`.
    ranks : int
    size_bytes : float
    bytes_per_s, latency_s : float
        Of the links it will run over: pipelined algorithms choose their chunks by them.

    Raises
    ------
    InputError
        An unknown form, or a value out of range.
    """
    form = _find(collective, algorithm)
    p, n = int(whole("ranks", ranks)), float(non_negative("size_bytes", size_bytes))
    bytes_in_latency = float(non_negative("latency_s", latency_s) * positive("bytes_per_s", bytes_per_s))
    quiet = p <= 1 or (n <= 0.0 and collective != "barrier")
    return Pattern(form.endpoints(p), () if quiet else tuple(form.rounds(p, n, bytes_in_latency)))


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
