from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.workload.generator import ROUND_ESTIMATES_S, arrival_weights, synthetic_jobs

WEEK_S = 7 * 86400.0


def draw(**changes: Any) -> Any:
    return synthetic_jobs(**{"seed": 3, "duration_s": 4 * WEEK_S, "jobs": 20_000, "processors": 256, **changes})


def test_equal_seeds_equal_jobs_and_others_differ() -> None:
    first, second, third = draw(), draw(), draw(seed=4)
    for name in ("submit_s", "run_s", "estimate_s", "processors", "user"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(third, name))


def test_ranges() -> None:
    jobs = draw(max_run_s=7200.0, median_run_s=600.0, max_processors=32, users=5)
    assert (np.diff(jobs.submit_s) >= 0).all()
    assert jobs.submit_s.min() >= 0
    assert jobs.submit_s.max() < 4 * WEEK_S
    assert (jobs.run_s.min(), jobs.run_s.max()) >= (1.0, 1.0)
    assert jobs.run_s.max() <= 7200.0
    assert (jobs.estimate_s >= jobs.run_s).all()
    assert jobs.processors.min() == 1
    assert jobs.processors.max() == 32
    assert set(jobs.user.tolist()) == {1, 2, 3, 4, 5}
    assert (jobs.run_s == np.rint(jobs.run_s)).all()


def test_shares_and_median_are_those_asked_for() -> None:
    """Standard deviation of a share over 20,000 jobs: at most 0.0035; four of them are allowed."""
    jobs = draw(serial_frac=0.3, power_of_two_frac=0.6, median_run_s=900.0)
    assert float((jobs.processors == 1).mean()) == pytest.approx(0.3, abs=0.015)
    parallel = jobs.processors[jobs.processors > 1]
    powers = float(((parallel & (parallel - 1)) == 0).mean())
    assert powers >= 0.6 - 0.015  # sizes that are rounded to whole numbers hit a power of two now and then
    assert draw(power_of_two_frac=1.0).processors.tolist() == [
        2 ** int(np.log2(p)) for p in draw(power_of_two_frac=1.0).processors.tolist()
    ]
    below = float((jobs.run_s < 900.0).mean())
    assert below == pytest.approx(0.5, abs=0.02)


def test_estimates_are_round_values() -> None:
    jobs = draw(max_run_s=86400.0)
    known = np.array([*[value for value in ROUND_ESTIMATES_S if value < 86400.0], 86400.0])
    assert np.isin(jobs.estimate_s, known).all()
    assert float((jobs.estimate_s == 86400.0).mean()) > 0.1


def test_large_jobs_run_longer_in_the_median() -> None:
    jobs = draw(processors=1024)
    small, large = jobs.run_s[jobs.processors <= 2], jobs.run_s[jobs.processors >= 128]
    assert np.median(large) > np.median(small)


@pytest.mark.parametrize("load", [0.3, 0.85, 1.5])
def test_the_offered_load_is_met_to_half_a_job(load: float) -> None:
    jobs = draw(jobs=None, load=load)
    work = jobs.processors * jobs.run_s
    capacity = 256 * 4 * WEEK_S
    assert abs(float(work.sum()) - load * capacity) <= float(work.max())


def test_a_load_of_many_batches_does_not_depend_on_their_size() -> None:
    few, many = draw(jobs=None, load=0.5), draw(jobs=None, load=1.0)
    assert np.array_equal(few.run_s, many.run_s[: len(few)])


def test_more_arrivals_by_day_and_on_weekdays() -> None:
    submit = draw(jobs=200_000).submit_s
    hour = (submit // 3600).astype(int) % 168
    counts = np.bincount(hour, minlength=168)
    expected = arrival_weights() * 200_000 / 168
    assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()
    flat = np.bincount((draw(jobs=200_000, daily_cycle=False).submit_s // 3600).astype(int) % 168, minlength=168)
    assert (np.abs(flat - 200_000 / 168) < 6 * np.sqrt(200_000 / 168)).all()


def test_users_follow_zipf() -> None:
    jobs = draw(users=50, user_exponent=1.0, jobs=100_000)
    counts = np.bincount(jobs.user, minlength=51)[1:]
    weights = 1 / np.arange(1, 51)
    expected = weights / weights.sum() * 100_000
    assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": None},
        {"load": 0.5},
        {"jobs": 0},
        {"jobs": None, "load": 0.0},
        {"jobs": None, "load": float("nan")},
        {"processors": 0},
        {"max_processors": 257},
        {"serial_frac": 1.5},
        {"median_run_s": 1e9},
        {"duration_s": float("inf")},
        {"users": 0},
        {"duration_s": 1.0, "jobs": None, "load": 1e-9},
    ],
)
def test_bad_parameters_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        draw(**changes)


def test_one_processor_and_one_job() -> None:
    jobs = draw(processors=1, jobs=1, max_processors=None)
    assert jobs.processors.tolist() == [1]


def test_a_million_jobs_are_drawn_quickly() -> None:
    before = time.process_time()
    assert len(draw(jobs=1_000_000)) == 1_000_000
    assert time.process_time() - before < 6.0
