"""Application patterns: surfaces counted by hand, conservation, and a master simulated task by task."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.exchanges import (
    halo_pattern,
    master_worker_s,
    process_grid,
    transpose_bytes,
    transpose_pattern,
    transpose_s,
    transpose_share_bytes,
)
from hpcsim.cost.patterns import star_seconds


def test_ranks_lie_so_that_blocks_have_the_least_surface() -> None:
    assert process_grid(64, (256, 256, 256)) == (4, 4, 4)
    assert process_grid(4, (1000, 10)) == (4, 1)
    assert process_grid(6, (100,)) == (6,)
    with pytest.raises(InputError, match="cannot share"):
        process_grid(7, (6, 6))


def test_faces_counted_by_hand() -> None:
    """2×2 ranks on 6×6 points, open borders: a rank sends a row and a column of 3 points."""
    (moved,) = halo_pattern(4, (6, 6), 8.0, periodic=False).rounds
    assert sorted(zip(moved.src.tolist(), moved.dst.tolist(), moved.size_bytes.tolist(), strict=True)) == sorted(
        [(0, 1, 24.0), (1, 0, 24.0), (2, 3, 24.0), (3, 2, 24.0), (0, 2, 24.0), (2, 0, 24.0), (1, 3, 24.0), (3, 1, 24.0)]
    )
    periodic = halo_pattern(4, (6, 6), 8.0)
    assert periodic.total_bytes == 2 * 192.0
    assert halo_pattern(1, (6, 6), 8.0).rounds == ()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 48),
    st.lists(st.integers(50, 200), min_size=1, max_size=3),
    st.integers(1, 1),
    st.booleans(),
)
def test_what_one_sends_over_a_face_its_neighbour_sends_back(ranks: int, grid: list[int], width: int, periodic: bool) -> None:
    moves = halo_pattern(ranks, tuple(grid), 8.0, width=width, periodic=periodic)
    if not moves.rounds:
        return
    (moved,) = moves.rounds
    pairs = {}
    for s, d, n in zip(moved.src.tolist(), moved.dst.tolist(), moved.size_bytes.tolist(), strict=True):
        pairs[s, d] = pairs.get((s, d), 0) + n
    way = process_grid(ranks, tuple(grid))
    for (s, d), n in pairs.items():
        assert s != d
        assert pairs[d, s] == n
    surface = sum(p * math.prod(grid) / n for p, n in zip(way, grid, strict=True) if p > 1)
    open_ends = 0 if periodic else sum(math.prod(grid) / n for p, n in zip(way, grid, strict=True) if p > 1)
    assert moves.total_bytes == pytest.approx(2 * 8.0 * width * (surface - open_ends))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(30, 99), st.integers(30, 99), st.integers(1, 9))
def test_a_transpose_moves_all_that_does_not_stay(ranks: int, x: int, y: int, z: int) -> None:
    moves = transpose_pattern(ranks, (x, y, z), 16.0)
    rows, columns = (n // ranks + (np.arange(ranks) < n % ranks) for n in (x, y))
    assert moves.total_bytes == pytest.approx(16.0 * z * (x * y - float((rows * columns).sum())))


def by_events(tasks: int, workers: int, service: float, cycle: float) -> float:
    free = [0.0] * workers
    heapq.heapify(free)
    master, last = 0.0, 0.0
    for _ in range(tasks):
        begin = max(master, heapq.heappop(free))
        master = begin + service
        last = begin + cycle
        heapq.heappush(free, last)
    return last


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 20), st.floats(0.01, 3.0), st.floats(0.0, 40.0))
def test_a_master_hands_out_tasks_as_the_recurrence_says(tasks: int, workers: int, service: float, more: float) -> None:
    cycle = service + more
    assert float(master_worker_s(tasks, workers, service, cycle)) == pytest.approx(by_events(tasks, workers, service, cycle), rel=1e-9)


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 30), st.integers(1, 3), st.sampled_from([0.0, 1e-6]))
def test_a_transpose_in_closed_form_is_its_rounds(ranks: int, x: int, y: int, z: int, latency_s: float) -> None:
    moves = transpose_pattern(ranks, (x, y, z), 16.0)
    seconds = transpose_s(ranks, (x, y, z), 16.0, bytes_per_s=2e9, latency_s=latency_s)
    assert seconds == pytest.approx(star_seconds(moves, bytes_per_s=2e9, latency_s=latency_s), rel=1e-12)
    assert transpose_bytes(ranks, (x, y, z), 16.0) == pytest.approx(moves.total_bytes, rel=1e-12)


@given(st.integers(2, 12), st.integers(1, 30), st.integers(1, 30))
def test_no_rank_moves_more_than_its_share(ranks: int, x: int, y: int) -> None:
    """The busiest direction of a rank, from the messages; an even array gives every rank its part."""
    moves = transpose_pattern(ranks, (x, y), 16.0)
    out, into = np.zeros(ranks), np.zeros(ranks)
    for r in moves.rounds:
        out += np.bincount(r.src, r.size_bytes, ranks)
        into += np.bincount(r.dst, r.size_bytes, ranks)
    assert transpose_share_bytes(ranks, (x, y), 16.0) * (ranks - 1) / ranks == pytest.approx(max(out.max(), into.max()), rel=1e-12)
    assert transpose_share_bytes(ranks, (ranks * x, ranks * y), 16.0) == pytest.approx(16.0 * x * y * ranks, rel=1e-12)
