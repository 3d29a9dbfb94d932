"""Conformance check for collective algorithms, for the authors of plug-ins."""

from __future__ import annotations

import math

import numpy as np

from hpcsim.cost.algorithms import Algorithm
from hpcsim.cost.patterns import Pattern, star_seconds

__all__ = ["check_collective"]

_SIZES = (1.0, 4096.0, 1e6, 3e8)
_LATENCIES = (0.0, 1e-6, 1e-4)


def check_collective(algorithm: Algorithm, *, ranks: tuple[int, ...] = (2, 3, 4, 7, 8, 16, 33), bytes_per_s: float = 1e10) -> None:
    """Assert that an algorithm's messages are well formed and take its closed form's time on a star.

    Parameters
    ----------
    algorithm : Algorithm
    ranks : tuple of int
        Numbers of ranks to try; those that the algorithm is made for.
    bytes_per_s : float
        Of each rank's link; endpoints beyond the ranks are servers with links of their own if the closed form says so, else switches.

    Raises
    ------
    AssertionError
        With what is wrong.
    """
    for p in ranks:
        ends = algorithm.endpoints(p)
        assert ends >= p, "the ranks are endpoints"
        for n in _SIZES:
            for latency in _LATENCIES:
                moves = Pattern(ends, tuple(algorithm.rounds(p, n, latency * bytes_per_s)))
                for r in moves.rounds:
                    assert r.src.shape == r.dst.shape == r.size_bytes.shape, "a message has a source, a destination and a size"
                    assert r.repeat >= 1, "a round happens at least once"
                    assert ((r.src >= 0) & (r.src < ends) & (r.dst >= 0) & (r.dst < ends)).all(), "messages end at endpoints"
                    assert (r.src != r.dst).all(), "nobody sends to itself"
                    assert (np.isfinite(r.size_bytes) & (r.size_bytes >= 0)).all(), "sizes are finite and not negative"
                form = float(np.asarray(algorithm.time(*(np.asarray(v, float) for v in (n, p, latency, 1.0 / bytes_per_s)))))
                timed = {star_seconds(moves, bytes_per_s=bytes_per_s, latency_s=latency, ranks=inside) for inside in (None, p)}
                assert any(math.isclose(form, t, rel_tol=1e-9, abs_tol=1e-18) for t in timed), (
                    f"{p} ranks, {n:g} bytes: the closed form says {form:g} s, the messages take {' or '.join(f'{t:g}' for t in timed)} s"
                )
