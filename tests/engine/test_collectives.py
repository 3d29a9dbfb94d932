"""Collectives as flows: alone they take the closed form; over a shared level what max-min says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cluster import topologies  # noqa: F401  registers them
from hpcsim.cluster.parts import Cluster, Fabric, NodeGroup
from hpcsim.cluster.routing import Paths, router
from hpcsim.cost.algorithms import ALGORITHMS, pattern, textbook
from hpcsim.cost.maxmin import Routes
from hpcsim.cost.patterns import Pattern, Round
from hpcsim.engine.collectives import over_star, run_pattern, run_pattern_on

NAMES = ALGORITHMS.names()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(p=st.integers(2, 21), n=st.floats(1.0, 1e9), latency=st.sampled_from([0.0, 2e-6, 1e-3]))
def test_i48_flows_alone_take_the_closed_form(name: str, p: int, n: float, latency: float) -> None:
    collective, _, algorithm = name.partition("/")
    keys = {"bytes_per_s": 1e10, "latency_s": latency}
    moves = pattern(collective, algorithm, p, n, **keys)
    route, links = over_star(moves.endpoints, latency_s=latency, inside=p if algorithm == "in-switch" else None)
    found = run_pattern(moves, route, np.full(links, 1e10))
    assert found.seconds == pytest.approx(float(textbook(collective, n, p, algorithm=algorithm, **keys)), rel=1e-9)
    up = found.carried_bytes[0::2]
    assert up[:p].sum() == pytest.approx(moves.sent_bytes()[:p].sum(), rel=1e-12)


def machine(nodes: int, **values: Any) -> Cluster:
    group = NodeGroup(name="g", path="p", count=nodes, nics=1, nic_bytes_per_s=1e9)
    shape = {"topology": "fat-tree", "link": "t", "bytes_per_s": 1e9, "latency_s": 0.0, "hop_s": 0.0, **values}
    return Cluster(groups={"g": group}, fabric=Fabric(**shape), storage={})


def side_by_side(one: Pattern, other: Pattern) -> Pattern:
    """Return two patterns of equally many rounds at once, the second on endpoints of its own."""
    rounds = []
    for a, b in zip(one.rounds, other.rounds, strict=True):
        assert a.repeat == b.repeat
        sizes = np.concatenate([a.size_bytes, b.size_bytes])
        rounds.append(
            Round(np.concatenate([a.src, b.src + one.endpoints]), np.concatenate([a.dst, b.dst + one.endpoints]), sizes, a.repeat)
        )
    return Pattern(one.endpoints + other.endpoints, tuple(rounds))


@pytest.mark.parametrize("trunk", [4.0, 1.0, 0.5])
def test_two_rings_over_one_trunk_slow_each_other_as_max_min_says(trunk: float) -> None:
    """Pairs (0, 1) and (2, 3), each across a trunk of one link each way: 2 B/s are asked of it, 1 B/s a ring."""

    def route(source: np.ndarray, target: np.ndarray) -> Paths:
        lines = np.stack([2 * source, 8 + source % 2, 2 * target + 1], axis=1)
        return Paths(
            Routes(np.arange(source.size + 1) * 3, lines.ravel()), np.arange(source.size), np.ones(source.size), np.zeros(source.size)
        )

    capacities = np.array([1.0] * 8 + [trunk] * 2)
    ring = pattern("all-reduce", "ring", 2, 100.0)
    alone = run_pattern(ring, route, capacities).seconds
    both = run_pattern(side_by_side(ring, ring), route, capacities).seconds
    assert alone == pytest.approx(100.0 / min(1.0, trunk))
    assert both == pytest.approx(100.0 / min(1.0, trunk / 2.0))


def test_a_ring_in_order_takes_the_closed_form_on_a_full_fat_tree_and_longer_on_a_thin_one() -> None:
    moves = pattern("all-reduce", "ring", 32, 32e9)
    form = float(textbook("all-reduce", 32e9, 32, bytes_per_s=1e9))
    full = run_pattern_on(router(machine(32, radix=8), "d-mod-k"), np.arange(32), moves)
    assert full.seconds == pytest.approx(form, rel=1e-9)
    far = np.arange(32).reshape(4, 8).T.ravel()
    thin = run_pattern_on(router(machine(32, radix=8, oversubscription=4.0), "spray"), far, moves)
    assert thin.seconds > 1.5 * form


def test_messages_on_one_node_take_no_time_and_places_are_counted() -> None:
    way = router(machine(8, radix=8))
    moves = pattern("all-gather", "ring", 4, 1e9)
    assert run_pattern_on(way, [3, 3, 3, 3], moves).seconds == 0.0
    with pytest.raises(InputError, match="4 endpoints"):
        run_pattern_on(way, [0, 1], moves)
    assert run_pattern(Pattern(2, ()), over_star(2)[0], np.ones(4)).seconds == 0.0
