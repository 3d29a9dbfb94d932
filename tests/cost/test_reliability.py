"""Checkpoint intervals, expected times, effective training time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

from hpcsim.base.errors import InputError
from hpcsim.cost import reliability as rel


def lambert(d: float, m: float) -> float:
    return m * (1 + float(special.lambertw(-math.exp(-d / m - 1)).real))


def test_young_daly_exact() -> None:
    assert rel.young_interval_s(300, 86400) == pytest.approx(7200.0)
    assert rel.daly_interval_s(300, 86400) == pytest.approx(7001.39, rel=1e-6)
    assert rel.young_interval_s(600, 3600) == pytest.approx(2078.46, rel=1e-5)
    assert rel.daly_interval_s(600, 3600) == pytest.approx(1697.71, rel=1e-5)
    assert rel.daly_interval_s(8000, 3600) == 3600


@pytest.mark.parametrize(("d", "m"), [(300.0, 86400.0), (600.0, 3600.0), (1.0, 1.0), (100.0, 10.0), (1.0, 1e5)])
def test_exact_interval_against_lambert_w(d: float, m: float) -> None:
    assert rel.optimal_interval_s(d, m) == pytest.approx(lambert(d, m), rel=1e-9)


def test_exact_interval_minimises_the_expected_time() -> None:
    d, m = 300.0, 86400.0
    found = optimize.minimize_scalar(
        lambda t: (math.exp((t + d) / m) - 1) / t, bounds=(100, 50000), method="bounded", options={"xatol": 1e-6}
    )
    assert rel.optimal_interval_s(d, m) == pytest.approx(found.x, rel=1e-5)


def test_tiny_and_zero_writes_stay_accurate() -> None:
    d = np.array([0.0, 1e-8, 1e-4, 1.0])
    tau = rel.optimal_interval_s(d, 1e6)
    assert tau[0] == 0.0
    assert tau[1:] == pytest.approx(np.sqrt(2 * d[1:] * 1e6), rel=1e-3)
    x = tau[1:3] / 1e6
    assert x**2 / 2 + x**3 / 3 == pytest.approx(d[1:3] / 1e6, rel=1e-7)


def test_availability_optimum() -> None:
    assert rel.availability_interval_s(300, 86400, 600) == pytest.approx(7531.18, rel=1e-5)


def test_expected_segment() -> None:
    keys = {"checkpoint_s": 300.0, "recovery_s": 600.0, "downtime_s": 60.0}
    assert rel.expected_segment_s(3600, failures_per_s=1 / 7200, **keys) == pytest.approx(5672.54, rel=1e-6)
    day = rel.expected_segment_s(86400, checkpoint_s=0, recovery_s=0, failures_per_s=1 / 86400)
    assert day / 3600 == pytest.approx(24 * (math.e - 1), rel=1e-9)


def test_no_failures_means_no_cost_and_the_limit_is_continuous() -> None:
    keys = {"checkpoint_s": 300.0, "recovery_s": 600.0}
    assert rel.expected_segment_s(3600, failures_per_s=0.0, **keys) == 3900.0
    assert rel.expected_segment_s(3600, failures_per_s=1e-15, **keys) == pytest.approx(3900.0, rel=1e-9)
    assert rel.ettr(failures_per_s=0.0, restart_s=300, interval_s=900, write_s=100) == pytest.approx(0.9)


def test_expected_completion_matches_simulation() -> None:
    rng = np.random.default_rng(5)
    rate, w, c, r = 1 / 7200, 3600.0, 300.0, 600.0

    def one(work: float) -> float:
        spent = 0.0
        while (f := rng.exponential(1 / rate)) < work:
            spent += f
            while (g := rng.exponential(1 / rate)) < r:
                spent += g
            spent += r
        return spent + work

    mean = np.mean([one(w + c) + one(w + c) + one(w / 2) for _ in range(4000)])
    got = rel.expected_completion_s(2.5 * w, interval_s=w, checkpoint_s=c, recovery_s=r, failures_per_s=rate)
    assert got == pytest.approx(mean, rel=0.04)


def test_more_failures_never_help() -> None:
    rates = np.geomspace(1e-9, 1e-3, 30)
    times = rel.expected_completion_s(86400, interval_s=3600, checkpoint_s=60, recovery_s=120, failures_per_s=rates)
    assert (np.diff(times) >= 0).all()


def test_faster_checkpoints_never_raise_the_best_waste() -> None:
    writes = np.linspace(1, 3000, 40)
    tau = rel.optimal_interval_s(writes, 36000.0)
    spent = rel.expected_segment_s(tau, checkpoint_s=writes, recovery_s=60, failures_per_s=1 / 36000) / tau
    assert (np.diff(spent) > 0).all()


def test_effective_training_time_of_large_jobs() -> None:
    rate = 1500 * 6.5e-3 / 86400
    dt = rel.ettr_interval_s(300, rate)
    assert dt == pytest.approx(2305.85, rel=1e-5)
    keys = {"failures_per_s": rate, "restart_s": 300.0}
    assert rel.ettr(interval_s=dt, write_s=300, **keys) == pytest.approx(0.739792, rel=1e-5)
    assert rel.ettr_renewal(interval_s=dt, write_s=300, **keys) == pytest.approx(0.735801, rel=1e-5)
    quick = rel.ettr_interval_s(10, rate)
    assert rel.ettr(interval_s=quick, write_s=10, **keys) == pytest.approx(0.920526, rel=1e-5)
    assert rel.job_mtbf_s(86400 / 6.5e-3, 2048) / 3600 == pytest.approx(1.8029, rel=1e-4)


def test_weibull_and_availability() -> None:
    eta = rel.weibull_scale_s(100.0, 0.7)
    assert eta == pytest.approx(79.0, rel=1e-4)
    assert rel.weibull_failure_frac(10.0, scale_s=eta, shape=0.7) == pytest.approx(0.209683, rel=1e-5)
    assert rel.weibull_failure_frac(10.0, scale_s=100.0, shape=1.0) == pytest.approx(0.095163, rel=1e-5)
    assert rel.availability(1 / 6.5e-3, 2) == pytest.approx(0.98717, rel=1e-5)


def test_refusals() -> None:
    with pytest.raises(InputError):
        rel.optimal_interval_s(1.0, 0.0)
    with pytest.raises(InputError):
        rel.expected_segment_s(1.0, checkpoint_s=-1.0, recovery_s=0.0, failures_per_s=0.0)
