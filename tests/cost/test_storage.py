"""Transfers, checkpoints, redundancy, durability."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import storage


def test_the_slowest_rate_decides() -> None:
    assert storage.transfer_time_s(1e13, 6e9, 5.26e9, 3.1e9) == pytest.approx(3225.8, rel=1e-4)
    assert storage.transfer_time_s(1e9, 1e9, latency_s=0.5) == 1.5


def test_nothing_costs_nothing() -> None:
    assert storage.transfer_time_s(0.0, 1e9, latency_s=0.5) == 0.0


def test_compression_moves_the_bottleneck() -> None:
    """zstd-1: 2.877 times smaller, 0.33 GB/s a core in, 0.94 GB/s a core out; link 1.25 GB/s."""
    for cores, rate in ((1, 0.33e9), (8, 2.64e9)):
        stages = [0.33e9 * cores, 1.25e9, 0.94e9 * cores / 2.877]
        time = storage.pipeline_time_s(1e12, stages, [1 / 2.877, 1.0, 2.877])
        assert 1e12 / time == pytest.approx(rate, rel=1e-9)


def test_cache_rate() -> None:
    hit = 0.5 + 0.5 * np.log(0.5)
    assert storage.effective_rate(hit, 50e9, 2e9) == pytest.approx(2.3455e9, rel=1e-4)
    assert storage.effective_rate(1.0, 50e9, 2e9) == 50e9


def test_checkpoint_of_a_large_model() -> None:
    size = storage.checkpoint_bytes(176e9, bytes_per_parameter=13.1)
    assert size == pytest.approx(2.3e12, rel=0.01)
    assert storage.checkpoint_time_s(2.3e12, nodes=48, node_bytes_per_s=50e9, storage_bytes_per_s=57.5e9) == pytest.approx(40.0)
    assert storage.checkpoint_time_s(2.3e12, nodes=2, node_bytes_per_s=10e9, storage_bytes_per_s=57.5e9) == pytest.approx(115.0)


def test_redundancy() -> None:
    assert storage.replicated(3).factor == 3.0
    assert storage.replicated(3).losses == 2.0
    for k, m, factor in ((6, 3, 1.5), (10, 4, 1.4), (4, 2, 1.5)):
        code = storage.erasure_coded(k, m)
        assert (code.factor, code.losses, code.repair_read_factor) == (factor, m, k)
    assert storage.replicated(3).usable_bytes(10e15, fill_frac=0.85) == pytest.approx(2.8333e15, rel=1e-4)
    assert storage.erasure_coded(6, 3).usable_bytes(10e15, fill_frac=0.85) == pytest.approx(5.6667e15, rel=1e-4)
    assert storage.erasure_coded(6, 3).repair_read_factor * 16e12 == 96e12


def exact_mttdl(copies: int, mttf: float, repairs: dict[int, float]) -> float:
    """Mean absorption time of the birth–death chain of copies alive."""
    a = np.zeros((copies, copies))
    for alive in range(1, copies + 1):
        rate = repairs.get(alive, 0.0)
        a[alive - 1, alive - 1] = alive / mttf + rate
        if rate:
            a[alive - 1, alive] -= rate
        if alive > 1:
            a[alive - 1, alive - 2] -= alive / mttf
    return float(np.linalg.solve(a, np.ones(copies))[copies - 1])


def test_durability_against_the_chain() -> None:
    assert storage.mttdl_s(1.0, 1e-4, copies=1) == 1.0
    assert storage.mttdl_s(1.0, 1e-4, copies=2) == pytest.approx(exact_mttdl(2, 1.0, {1: 1e4}), rel=1e-3)
    assert storage.mttdl_s(1.0, 1e-4, copies=3) == pytest.approx(exact_mttdl(3, 1.0, {1: 2e4, 2: 1e4}), rel=1e-3)
    assert storage.mttdl_s(1.0, 1e-4, copies=3, parallel_repair=False) == pytest.approx(exact_mttdl(3, 1.0, {1: 1e4, 2: 1e4}), rel=1e-3)


def test_refusals() -> None:
    with pytest.raises(InputError):
        storage.transfer_time_s(1.0)
    with pytest.raises(InputError):
        storage.transfer_time_s(1.0, 0.0)
    with pytest.raises(InputError):
        storage.erasure_coded(2.5, 1)
