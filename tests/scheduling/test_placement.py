"""Placements by hand: who gets which node."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.scheduling.machine import Allocation, Demand, Free, Machine, NodeClass
from hpcsim.scheduling.placement import make_placement, placements


def chosen(name: str, machine: Machine, kinds: list[Demand], *before: tuple[int, Allocation]) -> tuple[list[int], list[int]]:
    """Where the first kind goes after what was placed before."""
    free = Free(machine, kinds)
    for kind, place in before:
        free.take(kind, place)
    return make_placement(name).choose(kinds[0], free.capacity(0), free)


FOUR = Machine.of([NodeClass("n", 4, 8)])
BUSY = [(1, Allocation((0,), (3,))), (1, Allocation((1,), (6,))), (1, Allocation((2,), (5,)))]
"""Free cores: 5, 2, 3, 8."""


@pytest.mark.parametrize(
    ("name", "two", "eleven"),
    [
        ("first-fit", ([0], [2]), ([0, 1, 2, 3], [5, 2, 3, 1])),
        ("best-fit", ([1], [2]), ([2, 3], [3, 8])),
        ("worst-fit", ([3], [2]), ([0, 3], [3, 8])),
        ("pack", ([1], [2]), ([0, 1, 2, 3], [5, 2, 3, 1])),
        ("spread", ([0, 3], [1, 1]), ([0, 1, 2, 3], [3, 2, 3, 3])),
        ("balanced", ([3], [2]), ([0, 3], [3, 8])),
    ],
)
def test_each_by_hand(name: str, two: tuple[list[int], list[int]], eleven: tuple[list[int], list[int]]) -> None:
    assert chosen(name, FOUR, [Demand(2), Demand(1)], *BUSY) == two
    assert chosen(name, FOUR, [Demand(11), Demand(1)], *BUSY) == eleven


@pytest.mark.parametrize(("need", "leaves"), [(5, {1}), (12, {0, 2}), (7, {2}), (4, {0}), (15, {0, 1, 2})])
def test_m88_lowest_switch_and_best_fit_over_its_leaves(need: int, leaves: set[int]) -> None:
    leaf = np.repeat([0, 1, 2], [4, 6, 8])
    machine = Machine.of([NodeClass("n", 18, 1)], switch=[leaf])
    nodes, counts = chosen("lowest-switch", machine, [Demand(need, apart=True)])
    assert {int(leaf[node]) for node in nodes} == leaves
    assert counts == [1] * need


def test_the_lowest_switch_of_two_levels_keeps_a_job_together() -> None:
    """Leaves of two nodes, two leaves to a spine; with a node of the first spine taken, four nodes lie under the second."""
    machine = Machine.of([NodeClass("n", 8, 1)], switch=[np.arange(8) // 2, np.arange(8) // 4])
    nodes, _ = chosen("lowest-switch", machine, [Demand(4, apart=True), Demand(1)], (1, Allocation((1,), (1,))))
    assert nodes == [4, 5, 6, 7]
    nodes, _ = chosen("lowest-switch", machine, [Demand(3, apart=True), Demand(1)], (1, Allocation((1,), (1,))))
    assert nodes == [0, 2, 3]


def test_rails_have_equal_parts() -> None:
    """Twelve accelerators on nodes with 8, 8, 6, 6 free: two times six, not eight and four."""
    machine = Machine.of([NodeClass("g", 4, 64, 8)])
    kinds = [Demand(12, gpus=1), Demand(1, gpus=2)]
    taken = [(1, Allocation((2,), (1,))), (1, Allocation((3,), (1,)))]
    assert chosen("rail", machine, kinds, *taken) == ([0, 1], [6, 6])
    assert chosen("first-fit", machine, kinds, *taken) == ([0, 1], [8, 4])


def test_a_block_of_a_torus_is_compact_and_may_wrap_around() -> None:
    machine = Machine.of([NodeClass("n", 16, 1)], torus=(4, 4))
    nodes, _ = chosen("torus-block", machine, [Demand(4, apart=True)])
    assert nodes == [0, 1, 4, 5]
    middle = [(1, Allocation((5,), (1,))), (1, Allocation((10,), (1,)))]
    nodes, _ = chosen("torus-block", machine, [Demand(4, apart=True), Demand(1)], *middle)
    rows, columns = {node // 4 for node in nodes}, {node % 4 for node in nodes}
    assert (len(rows), len(columns)) == (2, 2)
    assert not {5, 10} & set(nodes)


def test_fragmentation_counts_what_others_could_no_longer_use() -> None:
    """A job of one accelerator: on the node with all eight free it would spoil the place of a job of eight; with three free it spoils nothing."""
    machine = Machine.of([NodeClass("g", 2, 64, 8)])
    kinds = [Demand(1, gpus=1), Demand(1, gpus=8), Demand(1, gpus=5)]
    assert chosen("least-fragmentation", machine, kinds, (2, Allocation((1,), (1,)))) == ([1], [1])
    assert chosen("first-fit", machine, kinds, (2, Allocation((1,), (1,)))) == ([0], [1])


def test_every_placement_is_here_or_in_the_properties() -> None:
    assert set(placements.names()) >= {
        "first-fit",
        "best-fit",
        "worst-fit",
        "pack",
        "spread",
        "lowest-switch",
        "rail",
        "torus-block",
        "balanced",
        "least-fragmentation",
    }
