"""The parameter server event by event against its closed form."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.cost.synchrony import asynchronous
from hpcsim.engine.synchrony import run_parameter_server

SPEEDS = [1.0, 1.37, 2.11, 3.3, 5.07]


def test_staleness_and_rate_of_free_workers() -> None:
    """I53: n−1, and the sum of the rates."""
    ran, said = run_parameter_server(SPEEDS, updates=4000), asynchronous(SPEEDS)
    assert ran.staleness_mean == pytest.approx(said.staleness_mean, rel=5e-3)
    assert ran.updates_per_s == pytest.approx(said.updates_per_s, rel=5e-3)
    assert ran.staleness == pytest.approx(said.staleness, rel=0.02)


def test_servers_that_are_full() -> None:
    """16 workers of 0.01 s, 400 MB on 4 servers of 12.5 GB/s: 16 updates in 0.128 s, staleness still 15."""
    keys = {"update_bytes": 400e6, "servers": 4, "server_bytes_per_s": 12.5e9}
    ran, said = run_parameter_server([0.01] * 16, updates=2000, **keys), asynchronous([0.01] * 16, **keys)
    assert said.bound_by == "servers"
    assert 16 / ran.updates_per_s == pytest.approx(0.128, rel=1e-6)
    assert ran.staleness_mean == pytest.approx(15.0, rel=1e-3)
    assert ran.busy_frac == pytest.approx(1.0, abs=0.01)


def test_chance_costs_a_little_near_the_limit_and_never_gains() -> None:
    keys = {"update_bytes": 100e6, "servers": 1, "server_bytes_per_s": 10e9}
    for compute_s in (0.02, 0.08, 0.3):
        said = asynchronous([compute_s] * 8, **keys, worker_bytes_per_s=10e9)
        ran = run_parameter_server([compute_s] * 8, updates=3000, jitter=0.2, seed=3, **keys)
        assert ran.updates_per_s <= said.updates_per_s * 1.01
        assert ran.updates_per_s >= said.updates_per_s * 0.85
        assert ran.staleness_mean == pytest.approx(7.0, rel=0.02)


def test_the_same_seed_the_same_run() -> None:
    a, b, c = (run_parameter_server(SPEEDS, updates=200, jitter=0.1, seed=s) for s in (1, 1, 2))
    assert a.updates_per_s == b.updates_per_s != c.updates_per_s
    assert np.array_equal(a.staleness, b.staleness)


def test_one_worker_is_never_stale() -> None:
    assert run_parameter_server([0.5], updates=20).staleness_mean == 0.0
