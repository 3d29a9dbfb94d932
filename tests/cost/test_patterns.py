"""Collectives as messages: alone on a star they take the closed form's time, for every algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.algorithms import ALGORITHMS, COLLECTIVES, Algorithm, algorithms, fastest, pattern, textbook
from hpcsim.cost.patterns import MAX_CHUNKS, chunk_count, near_square, star_seconds
from hpcsim.testing.collectives import check_collective

NAMES = ALGORITHMS.names()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(p=st.integers(1, 70), n=st.floats(1.0, 1e10), latency=st.sampled_from([0.0, 1e-7, 1e-6, 1e-4]), rate=st.floats(1e8, 1e12))
def test_i47_messages_alone_take_the_closed_form(name: str, p: int, n: float, latency: float, rate: float) -> None:
    collective, _, algorithm = name.partition("/")
    if p == 1 and collective == "send":
        return
    keys = {"bytes_per_s": rate, "latency_s": latency}
    moves = pattern(collective, algorithm, p, n, **keys)
    inside = p if algorithm == "in-switch" else None
    timed = star_seconds(moves, ranks=inside, **keys)
    assert timed == pytest.approx(float(textbook(collective, n, p, algorithm=algorithm, **keys)), rel=1e-9, abs=1e-18)


def _know(p: int, name: str) -> np.ndarray:
    """Return who has whose block in the end, if every message carries all that its sender has."""
    has = np.eye(p, dtype=bool)
    collective, _, algorithm = name.partition("/")
    for r in pattern(collective, algorithm, p, 1e6, bytes_per_s=1e9, latency_s=1e-6).rounds:
        for _ in range(r.repeat):
            before = has.copy()
            for s, d in zip(r.src, r.dst, strict=True):
                has[d] |= before[s]
    return has


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n.startswith(("all-", "barrier", "reduce-scatter")) and "server" not in n and "switch" not in n]
)
@pytest.mark.parametrize("p", [2, 3, 6, 8, 13])
def test_everyone_hears_of_everyone(name: str, p: int) -> None:
    assert _know(p, name).all()


@pytest.mark.parametrize("algorithm", algorithms("broadcast"))
@pytest.mark.parametrize("p", [2, 3, 6, 8, 13])
def test_a_broadcast_reaches_everyone_and_a_reduction_starts_from_everyone(algorithm: str, p: int) -> None:
    known = _know(p, f"broadcast/{algorithm}")
    roots = [0, p - 1] if algorithm == "double-tree" else [0]
    for root in roots:
        assert known[:, root].all()
    if algorithm in algorithms("reduce"):
        assert all(_know(p, f"reduce/{algorithm}")[root].all() for root in roots)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("all-gather", "reduce-scatter"))])
def test_gathers_and_scatters_send_no_byte_twice(name: str) -> None:
    """Each rank sends the p − 1 blocks that it must."""
    collective, _, algorithm = name.partition("/")
    for p in (2, 5, 12, 16):
        sent = pattern(collective, algorithm, p, p * 10.0).sent_bytes()
        assert sent.sum() == pytest.approx(p * (p - 1) * 10.0)


def test_every_collective_has_an_algorithm() -> None:
    assert {name.partition("/")[0] for name in NAMES} == set(COLLECTIVES)


def test_chunks_are_the_best_whole_number() -> None:
    rng = np.random.default_rng(4)
    m = np.arange(1, MAX_CHUNKS + 1)
    for n, h, c in zip(10 ** rng.uniform(0, 9, 50), rng.integers(0, 40, 50), 10 ** rng.uniform(1, 6, 50), strict=True):
        cost = (h + m) * (c + n / m)
        got = float(chunk_count(n, h, c))
        assert (h + got) * (c + n / got) == pytest.approx(cost.min(), rel=1e-12)


def test_squares() -> None:
    assert near_square(36) == (6, 6)
    assert near_square(24) == (4, 6)
    assert near_square(7) == (1, 7)


def test_fastest_goes_from_latency_to_bandwidth() -> None:
    key = {"bytes_per_s": 1e10, "latency_s": 5e-6}
    assert fastest("all-reduce", 8, 64, **key) in ("recursive", "direct", "one-shot")
    large = fastest("all-reduce", 1e9, 64, **key)
    best = min(float(textbook("all-reduce", 1e9, 64, algorithm=a, **key)) for a in algorithms("all-reduce") if a != "in-switch")
    assert float(textbook("all-reduce", 1e9, 64, algorithm=large, **key)) == best


def test_sixteen_thousand_ranks_are_four_rounds() -> None:
    moves = pattern("all-reduce", "hierarchical", 16384, 1e9)
    assert len(moves.rounds) == 3
    assert moves.messages == 16384 * (7 + 2 * 2047 + 7)


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(InputError, match="gossip"):
        pattern("gossip", "ring", 4, 1.0)
    with pytest.raises(InputError, match="fastest"):
        fastest("gossip", 1.0, 4, bytes_per_s=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_built_ins_conform(name: str) -> None:
    check_collective(ALGORITHMS.get(name))


def test_conformance_finds_a_closed_form_that_flatters() -> None:
    ring = ALGORITHMS.get("all-gather/ring")
    with pytest.raises(AssertionError, match="closed form"):
        check_collective(Algorithm(lambda n, p, a, b: 0.9 * ring.time(n, p, a, b), ring.rounds))


def test_an_algorithm_of_another_package_is_found_and_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast in one step, as a switch that multicasts would do it."""
    quick = Algorithm(lambda n, p, a, b: a + n * b, lambda p, n, c: [])
    monkeypatch.setitem(ALGORITHMS._items, "broadcast/multicast", quick)
    assert "multicast" in algorithms("broadcast")
    assert fastest("broadcast", 1e6, 64, bytes_per_s=1e9, latency_s=1e-6) == "multicast"
    with pytest.raises(AssertionError, match="closed form"):
        check_collective(quick)
