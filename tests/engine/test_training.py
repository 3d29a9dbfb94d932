"""A training run as a process: undisturbed it is the closed form, disturbed it meets the expectation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.rng import stream
from hpcsim.cost.reliability import expected_completion_s
from hpcsim.engine.clock import Clock
from hpcsim.engine.failures import SpareNodes
from hpcsim.engine.training import Cycle, TrainingRun


def make(work_s, interval_s, write_s, *, rate=0.0, recovery_s=10.0, spares=10**9, repair_s=0.0, seed=1):
    nodes = SpareNodes(0, min(spares, 1), repair_s)
    return TrainingRun("run", work_s, Cycle(interval_s, write_s), recovery_s, rate, stream(seed, "failures"), nodes, 1000.0)


def go(run, until=None):
    clock = Clock()
    clock.process(run.process(clock))
    clock.run(until)
    if until is not None:
        run.stop(until)
    return run


@given(st.floats(1, 1e6), st.floats(1, 1e5), st.floats(0, 100))
def test_without_failures_it_is_the_closed_form(work_s, interval_s, write_s):
    run = go(make(work_s, interval_s, write_s))
    expected = expected_completion_s(work_s, interval_s=interval_s, checkpoint_s=write_s, recovery_s=10.0, failures_per_s=0.0)
    assert run.end_s == pytest.approx(float(expected), rel=1e-9)
    assert run.done_s == work_s
    assert run.failures == 0


@given(st.floats(100, 1e5), st.floats(10, 1e4), st.floats(0, 50), st.floats(1e-6, 1e-3), st.integers(0, 1000))
def test_stretches_tile_the_run_and_work_is_conserved(work_s, interval_s, write_s, rate, seed):
    run = go(make(work_s, min(interval_s, 1 / rate), write_s, rate=rate, seed=seed, repair_s=30.0))
    assert run.stretches[0][0] == run.start_s
    assert run.stretches[-1][1] == run.end_s
    for before, after in zip(run.stretches, run.stretches[1:], strict=False):
        assert before[1] == after[0]
    worked = sum((b - a) * w for a, b, w in run.stretches) / run.draw_w
    assert worked == pytest.approx(run.work_s + run.lost_s, rel=1e-9)
    assert run.done_s == run.work_s
    overhead = run.end_s - run.start_s - worked
    assert overhead >= -1e-6


def test_mean_over_many_runs_meets_the_expectation():
    # a node is always at hand (repair takes no time), so the closed form's downtime is zero
    work, interval, write, recovery, rate = 36000.0, 3600.0, 300.0, 600.0, 1 / 7200
    ends = np.array([go(make(work, interval, write, rate=rate, recovery_s=recovery, seed=s)).end_s for s in range(3000)])
    expected = float(expected_completion_s(work, interval_s=interval, checkpoint_s=write, recovery_s=recovery, failures_per_s=rate))
    assert ends.mean() == pytest.approx(expected, abs=4 * ends.std() / math.sqrt(len(ends)))


def test_spares_run_out_and_the_run_waits_for_the_repair():
    nodes = SpareNodes(0, 1, 1000.0)
    assert nodes.replace(0.0) == 0.0
    assert nodes.replace(100.0) == 900.0  # the node that failed at 0 is back at 1000
    assert nodes.replace(2000.0) == 0.0
    assert nodes.down == [(0, 0.0, 1000.0, 1), (0, 100.0, 1100.0, 1), (0, 2000.0, 3000.0, 1)]


def test_a_horizon_cuts_the_run_and_counts_what_was_done():
    run = go(make(1000.0, 100.0, 10.0), until=255.0)
    assert run.done_s == pytest.approx(100.0 + 100.0 + 35.0)
    assert run.checkpoints == 2
    assert run.stretches[-1][1] == 255.0
    assert math.isnan(run.end_s)


def test_more_failures_never_shorten_the_expectation():
    ends = [np.mean([go(make(3e4, 3000.0, 60.0, rate=r, seed=s)).end_s for s in range(300)]) for r in (0.0, 1e-5, 1e-4)]
    assert ends == sorted(ends)
