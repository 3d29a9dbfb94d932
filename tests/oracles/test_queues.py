"""The engine against queueing theory: M/M/c, M/D/c, M/G/1 and M/G/c within the confidence interval, Little's law, any policy of serial jobs."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.rng import stream
from hpcsim.cost import metrics
from hpcsim.cost.queues import mdc_wait_s, mg1_wait_s, mgc_wait_s, mmc_wait_s
from hpcsim.engine.jobs import run_jobs
from hpcsim.workload.jobs import JobTable

JOBS = 100_000


def serial(seed: int, service: np.ndarray, load: float) -> JobTable:
    """Poisson arrivals that offer ``load`` erlang of the given service times, whose mean is 1."""
    gaps = stream(seed, "gaps").exponential(1.0 / load, len(service))
    return JobTable.of(np.cumsum(gaps), service, np.ones(len(service), dtype=int), estimate_s=service)


def mean_and_error(wait: np.ndarray, blocks: int = 50) -> tuple[float, float]:
    """Return the mean and its standard error from means of long blocks, which are nearly independent; the first tenth is run-in."""
    means = wait[len(wait) // 10 :]
    means = means[: len(means) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def service_of(name: str, seed: int) -> tuple[np.ndarray, float]:
    draw = stream(seed, "service", name)
    if name == "exponential":
        return draw.exponential(1.0, JOBS), 1.0
    if name == "deterministic":
        return np.ones(JOBS), 0.0
    if name == "erlang":
        return draw.gamma(2.0, 0.5, JOBS), 0.5
    slow = draw.random(JOBS) < 0.1127017  # two exponentials with balanced means: squared coefficient of variation 4
    return np.where(slow, draw.exponential(0.5 / 0.1127017, JOBS), draw.exponential(0.5 / 0.8872983, JOBS)), 4.0


@pytest.mark.parametrize(
    ("name", "servers", "load"),
    [("exponential", 4, 3.2), ("deterministic", 4, 3.4), ("deterministic", 1, 0.8), ("erlang", 1, 0.7), ("hyper", 1, 0.6)],
)
def test_exact_waits_lie_within_the_interval(name: str, servers: int, load: float) -> None:
    service, scv = service_of(name, 11)
    outcome = run_jobs(serial(12, service, load), servers, "fcfs")
    mean, error = mean_and_error(outcome.wait_s)
    theory = (
        float(mg1_wait_s(load, service_scv=scv))
        if servers == 1
        else mdc_wait_s(servers, load)
        if scv == 0
        else float(mmc_wait_s(servers, load))
    )
    assert abs(mean - theory) < 4 * error
    assert error < 0.06 * theory


@pytest.mark.parametrize(("name", "servers", "load"), [("erlang", 8, 6.8), ("hyper", 8, 6.4)])
def test_approximate_waits_lie_within_the_interval_and_what_the_approximation_is_known_for(name: str, servers: int, load: float) -> None:
    service, scv = service_of(name, 21)
    outcome = run_jobs(serial(22, service, load), servers, "easy")
    mean, error = mean_and_error(outcome.wait_s)
    theory = mgc_wait_s(servers, load, service_scv=scv)
    assert abs(mean - theory) < 4 * error + (0.02 if scv <= 1 else 0.06) * theory


@pytest.mark.parametrize("policy", ["fcfs", "easy", "sjf", "conservative"])
def test_littles_law_holds_for_every_policy(policy: str) -> None:
    service, _ = service_of("exponential", 31)
    jobs = serial(32, service[:4000], 3.0)
    outcome = run_jobs(jobs, 4, policy)
    states = metrics.occupancy(
        jobs.submit_s,
        outcome.start_s,
        outcome.end_s,
        jobs.processors,
        size=4,
        window_s=(float(jobs.submit_s[0]), float(outcome.end_s.max())),
    )
    assert metrics.little_gap_frac(states, outcome.wait_s) == pytest.approx(0.0, abs=1e-9)


def test_the_closed_forms_agree_where_they_must() -> None:
    for load in (0.1, 0.5, 0.9):
        assert mdc_wait_s(1, load) == pytest.approx(float(mg1_wait_s(load, service_scv=0.0)), rel=1e-8)
        assert float(mg1_wait_s(load, service_scv=1.0)) == pytest.approx(float(mmc_wait_s(1, load)), rel=1e-12)
    for servers, load in ((3, 2.1), (20, 18.0)):
        assert mgc_wait_s(servers, load, service_scv=1.0) == pytest.approx(float(mmc_wait_s(servers, load)))
        assert mgc_wait_s(servers, load, service_scv=0.0) == pytest.approx(mdc_wait_s(servers, load))
        assert mdc_wait_s(servers, load) < mgc_wait_s(servers, load, service_scv=0.5) < float(mmc_wait_s(servers, load))
