"""Synchrony: the handbook's figures, and what follows from theory alone."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost import synchrony as sy
from hpcsim.cost.laws import share_whole
from hpcsim.cost.scaling import expected_maximum_normal

SPEEDS = [1.0, 1.37, 2.11, 3.3, 5.07]


def test_harmonic_numbers() -> None:
    assert sy.harmonic(64) == pytest.approx(4.7439, abs=5e-5)
    for n in (1, 5, 255, 256, 257, 1000, 100_000):
        assert sy.harmonic(n) == pytest.approx(math.fsum(1.0 / k for k in range(1, n + 1)), rel=1e-13)


def test_the_slowest_of_many_normals() -> None:
    """Exact 2.34373 and 3.24824 (M3.1); known small cases 1/√π and 3/(2√π); Blom within half a per cent, √(2 ln n) far above."""
    assert sy.order_statistic_normal([64, 1024]) == pytest.approx([2.34373, 3.24824], abs=1e-5)
    assert sy.order_statistic_normal([1, 2, 3]) == pytest.approx([0.0, 1 / math.sqrt(math.pi), 1.5 / math.sqrt(math.pi)], abs=1e-12)
    exact = np.asarray(sy.order_statistic_normal([64, 1024]))
    assert sy.order_statistic_normal_blom([64, 1024]) == pytest.approx(exact, rel=5e-3)
    assert expected_maximum_normal([64, 1024]) == pytest.approx(exact, rel=5e-3)
    assert np.sqrt(2 * np.log([64, 1024])) == pytest.approx([2.8841, 3.7233], abs=1e-4)


def test_median_of_normals_is_zero_and_order_statistics_add_up() -> None:
    n = 7
    every = np.asarray(sy.order_statistic_normal(n, dropped=np.arange(n)))
    assert every[3] == pytest.approx(0.0, abs=1e-12)
    assert every.sum() == pytest.approx(0.0, abs=1e-9)
    assert every == pytest.approx(-every[::-1])


def test_backup_workers() -> None:
    """n 100, 4 dropped: 3.104 against 5.187 for exponential times."""
    assert sy.order_statistic_exponential(100, dropped=4) == pytest.approx(3.10404, abs=1e-5)
    assert sy.order_statistic_exponential(100) == pytest.approx(5.18738, abs=1e-5)
    steps = sy.synchronous_step_s(1.0, workers=100, transient_cv=0.1, dropped=np.arange(10))
    assert (np.diff(steps) < 0).all()
    with pytest.raises(InputError, match="dropped"):
        sy.synchronous_step_s(1.0, workers=4, dropped=4)


def test_a_jittery_thousand() -> None:
    """5 % over 1,024 workers: 16.2 % (M3.1)."""
    assert sy.synchronous_step_s(1.0, workers=1024, transient_cv=0.05) == pytest.approx(1.16241, abs=1e-5)
    assert sy.synchronous_step_s(2.0, workers=64, spread="exponential") == pytest.approx(2 * 4.7439, abs=1e-3)
    with pytest.raises(InputError):
        sy.synchronous_step_s(1.0, workers=2, spread="cauchy")


def test_identical_workers_are_one_worker() -> None:
    """I54."""
    assert sy.synchronous_step_s(3.0, workers=[1, 10, 10_000]) == pytest.approx([3.0] * 3)
    assert sy.slowest_of_s([3.0] * 50) == 3.0
    assert sy.asynchronous([3.0]).step_s == pytest.approx(3.0)


def test_both_kinds_of_straggling_against_draws() -> None:
    rng = np.random.default_rng(1)
    delta, epsilon, n = 0.05, 0.03, 64
    slow = 1 + delta * rng.standard_normal((400, 1, n))
    drawn = (slow * (1 + epsilon * rng.standard_normal((400, 40, n)))).max(axis=2)
    assert sy.synchronous_step_s(1.0, workers=n, persistent_cv=delta, transient_cv=epsilon) == pytest.approx(drawn.mean(), rel=5e-3)
    by_run = drawn.mean(axis=1)
    assert by_run.std() > 3 * drawn.std(axis=1).mean() / math.sqrt(40), "a persistent spread does not average out over steps"


def test_workers_with_means_of_their_own() -> None:
    assert sy.slowest_of_s(np.ones(64), transient_cv=0.05) == pytest.approx(1 + 0.05 * 2.34373, rel=1e-5)
    means = np.array([1.0, 1.02, 1.05, 0.9])
    drawn = (means * (1 + 0.04 * np.random.default_rng(2).standard_normal((200_000, 4)))).max(axis=1).mean()
    assert sy.slowest_of_s(means, transient_cv=0.04) == pytest.approx(drawn, rel=1e-3)
    assert sy.slowest_of_s(SPEEDS) == 5.07


def simulated_staleness(times: list[float], updates: int) -> tuple[float, float]:
    """Mean staleness and rate, one update at a time."""
    events = [(t, i, 0) for i, t in enumerate(times)]
    heapq.heapify(events)
    version = total = 0
    now = 0.0
    while version < updates:
        now, i, read = heapq.heappop(events)
        total += version - read
        version += 1
        heapq.heappush(events, (now + times[i], i, version))
    return total / version, version / now


def test_asynchronous_workers() -> None:
    """Mean staleness n−1 (I53, M3.2), rate Σ1/t, against 0.986 updates a second in step."""
    a = sy.asynchronous(SPEEDS)
    assert a.staleness_mean == 4.0
    assert float(np.sum(a.worker_updates_per_s / a.updates_per_s * a.staleness)) == pytest.approx(4.0)
    assert a.updates_per_s == pytest.approx(sum(1 / t for t in SPEEDS))
    assert len(SPEEDS) / sy.slowest_of_s(SPEEDS) == pytest.approx(0.98619, abs=1e-5)
    staleness, rate = simulated_staleness(SPEEDS, 20_000)
    assert staleness == pytest.approx(a.staleness_mean, rel=5e-3)
    assert rate == pytest.approx(a.updates_per_s, rel=5e-3)


def test_servers_bound_the_rate() -> None:
    """16 workers, 400 MB, 4 servers of 12.5 GB/s: 0.128 s (M3.3)."""
    assert sy.server_bound_s(400e6, workers=16, servers=4, server_bytes_per_s=12.5e9) == pytest.approx(0.128)
    bound = sy.asynchronous([0.01] * 16, update_bytes=400e6, servers=4, server_bytes_per_s=12.5e9)
    assert (bound.bound_by, bound.staleness_mean) == ("servers", 15.0)
    assert bound.step_s == pytest.approx(0.128)
    free = sy.asynchronous([1.0] * 16, update_bytes=400e6, servers=4, server_bytes_per_s=12.5e9, worker_bytes_per_s=12.5e9)
    assert free.bound_by == "workers"
    assert free.step_s == pytest.approx(1.0 + 2 * 0.032)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30))
def test_staleness_is_exact_for_any_speeds(times: list[float]) -> None:
    a = sy.asynchronous(times)
    assert float(np.sum(a.worker_updates_per_s * a.staleness) / a.updates_per_s) == pytest.approx(a.staleness_mean)
    assert a.step_s <= max(times) * (1 + 1e-12), "no slower than in step"


@given(st.integers(2, 12), st.integers(0, 6), st.integers(0, 2**31))
def test_staleness_bound_between_in_step_and_free(workers: int, bound: int, seed: int) -> None:
    times = np.random.default_rng(seed).uniform(0.5, 1.5, (60, workers))
    ends = [sy.stale_synchronous_ends_s(times, bound=s)[-1].max() for s in (0, bound, bound + 1, 60)]
    assert ends[0] == pytest.approx(times.max(axis=1).sum())
    assert ends[3] == pytest.approx(times.sum(axis=0).max())
    assert ends[0] >= ends[1] - 1e-9 >= ends[2] - 2e-9 >= ends[3] - 3e-9
    done = sy.stale_synchronous_ends_s(times, bound=bound)
    begin = done - times
    for c in range(bound + 1, 60):
        assert begin[c].min() >= done[c - bound - 1].max() - 1e-9


def test_bounds_of_bounded_staleness_hold_for_draws() -> None:
    rng = np.random.default_rng(3)
    times = 1 + 0.1 * rng.standard_normal((3000, 32))
    for s in (0, 1, 3, 7):
        low, high = sy.stale_synchronous_bounds_s(1.0, workers=32, bound=s, transient_cv=0.1)
        mean = float(sy.stale_synchronous_ends_s(times, bound=s)[-1].max()) / 3000
        assert low * 0.998 <= mean <= high * 1.005
    low, high = sy.stale_synchronous_bounds_s(1.0, workers=32, bound=0, transient_cv=0.1)
    assert low == high == sy.synchronous_step_s(1.0, workers=32, transient_cv=0.1)


def test_a_slow_worker_holds_back_whatever_the_bound() -> None:
    times = np.ones((400, 4))
    times[:, 2] = 2.0
    assert sy.stale_synchronous_ends_s(times, bound=5)[-1].min() / 400 == pytest.approx(2.0, rel=0.02)


def test_local_steps_over_a_wide_area() -> None:
    """1e9 parameters of 2 bytes, 8 sites, 1 Gbit/s: 28 s an average; 1 s steps 3.4 % at H = 1, 94.7 % at H = 500 (M3.4)."""
    exchange = sy.ring_exchange_s(2e9, sites=8, bytes_per_s=1e9 / 8)
    assert exchange == pytest.approx(28.0)
    local = sy.local_steps(1.0, every=[1, 500], exchange_s=exchange)
    assert local.efficiency_frac == pytest.approx([0.034483, 0.94697], abs=1e-5)
    assert local.traffic_frac == pytest.approx([1.0, 1 / 500])
    hidden = sy.local_steps(1.0, every=[1, 500], exchange_s=exchange, overlapped=True)
    assert hidden.step_s == pytest.approx([28.0, 1.0])
    assert sy.ring_exchange_s(2e9, sites=1, bytes_per_s=1e9, latency_s=1.0) == 0.0
    assert sy.ring_exchange_s(0.0, sites=8, bytes_per_s=1e9, latency_s=0.05) == pytest.approx(0.7)


def test_shares_of_unequal_devices() -> None:
    """T 1, 2, 5 and D 800: 100, 200, 500, all done at 100; an equal split ends at 266.7 (M3.5)."""
    rates = np.array([1.0, 2.0, 5.0])
    shares = sy.balanced_shares(rates, 800.0)
    assert shares == pytest.approx([100.0, 200.0, 500.0])
    assert (shares / rates).max() == pytest.approx(100.0)
    assert (800 / 3 / rates).max() == pytest.approx(266.667, abs=1e-3)
    assert share_whole(rates, 7).sum() == 7


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 20)), min_size=1, max_size=12), st.floats(0.1, 1000))
def test_shares_with_overheads_end_together(workers: list[tuple[float, float]], work: float) -> None:
    rates, overhead = np.array(workers).T
    shares = sy.balanced_shares(rates, work, overhead_s=overhead)
    assert shares.sum() == pytest.approx(work)
    taking = shares > 1e-9 * work
    ends = (overhead + shares / rates)[taking]
    assert ends == pytest.approx(np.full(taking.sum(), ends[0]), rel=1e-6)
    assert (overhead[~taking] >= ends[0] * (1 - 1e-6)).all()


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=12), st.integers(0, 500))
def test_whole_shares_cost_at_most_one_unit_more(rates: list[float], units: int) -> None:
    speed = np.array(rates)
    shares = share_whole(speed, units)
    assert shares.sum() == units
    assert (shares / speed).max() <= units / speed.sum() + 1 / speed.min() + 1e-9
