"""Speed-up laws and the slowest of many."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from hpcsim.base.errors import InputError
from hpcsim.cost import scaling


def test_amdahl_and_gustafson() -> None:
    assert scaling.amdahl(0.95, 1024) == pytest.approx(19.6357, rel=1e-5)
    assert scaling.amdahl(0.95, 1e12) == pytest.approx(20.0)
    assert scaling.gustafson(0.95, 1024) == pytest.approx(972.85)
    assert scaling.amdahl(1.0, 7) == scaling.gustafson(1.0, 7) == 7


def test_usl_peaks_where_it_should() -> None:
    n = np.arange(1, 400)
    x = scaling.usl(n, contention=0.02, coherence=1e-4)
    peak = scaling.usl_peak(contention=0.02, coherence=1e-4)
    assert abs(n[np.argmax(x)] - peak) <= 1
    assert x.max() == pytest.approx(25.191, rel=1e-4)
    assert scaling.usl(5, contention=0, coherence=0, rate=3.0) == 15.0


def test_karp_flatt_recovers_the_serial_share() -> None:
    assert scaling.karp_flatt(scaling.amdahl(0.95, 64), 64) == pytest.approx(0.05, rel=1e-12)


def test_normal_quantile_against_scipy() -> None:
    p = np.linspace(1e-6, 1 - 1e-6, 999)
    assert np.abs(scaling.normal_quantile(p) - stats.norm.ppf(p)).max() < 4.6e-4


@pytest.mark.parametrize("n", [2, 8, 64, 1024, 16384])
def test_expected_maximum_against_its_integral(n: int) -> None:
    exact, _ = integrate.quad(lambda x: x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), -9, 12, limit=200)
    assert scaling.expected_maximum_normal(n) == pytest.approx(exact, rel=0.05 if n == 2 else 8e-3)


def test_one_worker_waits_for_nobody() -> None:
    assert scaling.expected_maximum_normal(1) == 0.0


def test_refusals() -> None:
    with pytest.raises(InputError):
        scaling.amdahl(1.2, 4)
    with pytest.raises(InputError):
        scaling.karp_flatt(1.0, 1)
