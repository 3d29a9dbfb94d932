"""Run times learned from history."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.rng import stream
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.machine import Machine, NodeClass
from hpcsim.scheduling.prediction import LastTwo, Regression, corrected_s
from hpcsim.workload.jobs import JobTable

ONE = Machine.of([NodeClass("n", 1, 4)])


def test_the_last_two_by_hand() -> None:
    """100 and 300 s give 200 s; what is asked for is the limit, and the answer without history."""
    predictor = LastTwo()
    assert predictor.predict_s(1, 1, 900.0) == 900.0
    for run in (500.0, 100.0, 300.0):
        predictor.learn(1, 1, 900.0, run)
    assert predictor.predict_s(1, 1, 900.0) == 200.0
    assert predictor.predict_s(1, 1, 50.0) == 50.0


def test_a_prediction_lets_a_job_pass_that_asks_for_too_much() -> None:
    """User 1 asks for 100 s and takes 5: after two such jobs the third is let pass the head, which the request forbids."""
    jobs = JobTable.of([0, 0, 10, 11, 12], [5, 5, 20, 20, 5], [1, 1, 3, 4, 1], estimate_s=[100, 100, 20, 20, 100], user=[1, 1, 2, 3, 1])
    assert run_on_machine(jobs, ONE, "easy").start_s.tolist()[-1] == 50.0
    assert run_on_machine(jobs, ONE, "easy", predictor=LastTwo(), check=True).start_s.tolist()[-1] == 12.0


def test_a_prediction_that_proves_too_short_is_raised() -> None:
    assert corrected_s(100.0, 100.0, 10_000.0) == 160.0
    assert corrected_s(100.0, 100.0, 130.0) == 130.0
    jobs = JobTable.of([0, 0, 10, 11], [5, 5, 200, 10], [1, 1, 4, 4], estimate_s=[300] * 4, user=[1, 1, 1, 2])
    outcome = run_on_machine(jobs, ONE, "easy", predictor=LastTwo(), check=True, record=True)
    assert outcome.start_s.tolist() == [0.0, 0.0, 10.0, 210.0]
    shadows = [promise.shadow_s for _, promise in outcome.reservations if promise.job == 3]
    assert shadows == sorted(shadows)
    assert shadows[0] == 15.0
    assert shadows[-1] >= 210.0


def test_regression_learns_what_part_of_their_request_users_take() -> None:
    """Users who take a tenth of what they ask for, whatever that is: after 200 jobs the prediction is within 15 % in the median."""
    draw = stream(1, "tests", "regression")
    predictor = Regression()
    errors = []
    for at in range(400):
        asked = float(np.exp(draw.uniform(5, 11)))
        run = asked / 10.0 * float(np.exp(draw.normal(0, 0.1)))
        if at >= 200:
            errors.append(abs(np.log(predictor.predict_s(at % 7, 1, asked) / run)))
        predictor.learn(at % 7, 1, asked, run)
    assert float(np.median(errors)) < 0.15


@pytest.mark.parametrize("make", [LastTwo, Regression])
@pytest.mark.parametrize("policy", ["easy", "conservative", "easy-sjbf", "srpt", "fairshare"])
def test_every_job_ends_whatever_is_predicted(make: type[LastTwo], policy: str) -> None:
    from hpcsim.testing.policies import random_jobs

    for seed in range(3):
        jobs = random_jobs(seed)
        outcome = run_on_machine(jobs, Machine.of([NodeClass("n", 1, 16)]), policy, predictor=make(), check=True)
        assert not np.isnan(outcome.end_s).any()
        np.testing.assert_allclose(outcome.run_s, jobs.run_s)
