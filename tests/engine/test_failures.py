"""Failures by cause, alarms and repair crews: runs meet the closed form, and every second is accounted for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.rng import stream
from hpcsim.cost.reliability import exposed
from hpcsim.engine.clock import Clock
from hpcsim.engine.failures import Cause, Faults, SpareNodes, Watch
from hpcsim.engine.training import Cycle, TrainingRun

GPU, SOFTWARE = Cause("gpu", 1 / 9000, 0.5, 120.0), Cause("software", 1 / 36000, 0.0, 30.0, foreseen=False)


def go(
    seed=1, *, causes=(GPU, SOFTWARE), watch=None, work_s=36000.0, interval_s=3600.0, write_s=300.0, recovery_s=600.0, nodes=None, lag_s=0.0
):
    run = TrainingRun(
        "run", work_s, Cycle(interval_s, write_s, lag_s), recovery_s, 0.0, stream(seed, "failures"), nodes or SpareNodes(0, 10**5, 0.0), 1.0,
        causes=tuple(causes), watch=watch,
    )  # fmt: skip
    clock = Clock()
    clock.process(run.process(clock))
    clock.run(None)
    return run


def expected(watch, work_s=36000.0):
    rate, known = GPU.per_s + SOFTWARE.per_s, GPU.per_s * watch.recall_frac
    down = (GPU.per_s * GPU.detect_s + SOFTWARE.per_s * SOFTWARE.detect_s) / rate
    return exposed(
        work_s, interval_s=3600.0, checkpoint_s=300.0, recovery_s=600.0, failures_per_s=rate, downtime_s=down, announced_per_s=known,
        false_alarms_per_s=known * (1 / watch.precision_frac - 1), act_s=watch.act_s, migrates=watch.migrates,
    )  # fmt: skip


@pytest.mark.parametrize("watch", [None, Watch(0.5, 0.8, 100.0, False)])
def test_checkpoints_written_beside_the_work_meet_the_closed_form(watch):
    runs = [go(seed, watch=watch, write_s=60.0, lag_s=1800.0) for seed in range(400)]
    rate, known = GPU.per_s + SOFTWARE.per_s, GPU.per_s * watch.recall_frac if watch else 0.0
    down = (GPU.per_s * GPU.detect_s + SOFTWARE.per_s * SOFTWARE.detect_s) / rate
    found = exposed(
        36000.0, interval_s=3600.0, checkpoint_s=60.0, recovery_s=600.0, failures_per_s=rate, downtime_s=down, announced_per_s=known,
        false_alarms_per_s=known * 0.25, act_s=100.0, lag_s=1800.0,
    )  # fmt: skip
    walls, lost = np.array([run.end_s for run in runs]), np.array([run.lost_s for run in runs])
    assert walls.mean() == pytest.approx(float(found.wall_s), abs=4 * walls.std() / math.sqrt(len(walls)))
    assert lost.mean() == pytest.approx(float(found.lost_s), abs=4 * lost.std() / math.sqrt(len(lost)))


@given(st.floats(0, 1), st.floats(1.0, 300.0), st.booleans(), st.integers(0, 10**6))
def test_a_checkpoint_that_is_safe_later_never_saves_time(part, write_s, alarms, seed):
    watch = Watch(0.5, 0.8, 100.0, False) if alarms else None
    soon, late = (go(seed, watch=watch, write_s=write_s, lag_s=lag) for lag in (0.0, part * 3600.0))
    for run in (soon, late):
        worked = sum((b - a) * w for a, b, w in run.stretches)
        assert worked == pytest.approx(run.work_s + run.lost_s, rel=1e-9)
        assert run.done_s == run.work_s
    if soon.failures == 0:
        assert soon.end_s == late.end_s


@pytest.mark.parametrize("migrates", [False, True])
def test_the_mean_of_many_runs_meets_the_closed_form(migrates):
    watch = Watch(0.7, 0.6, 200.0, migrates)
    runs = [go(seed, watch=watch) for seed in range(400)]
    walls = np.array([run.end_s for run in runs])
    found = expected(watch)
    assert walls.mean() == pytest.approx(float(found.wall_s), abs=4 * walls.std() / math.sqrt(len(walls)))
    for got, want in (
        (np.mean([run.failures for run in runs]), found.failures),
        (np.mean([sum(t.announced for t in run.tallies[:-1]) for run in runs]), found.announced),
        (np.mean([run.tallies[-1].announced for run in runs]), found.false_alarms),
        (np.mean([run.lost_s for run in runs]), found.lost_s),
    ):
        assert got == pytest.approx(float(want), rel=0.12)


@given(st.floats(0, 1), st.floats(0.1, 1), st.floats(0, 400), st.booleans(), st.integers(0, 10**6))
def test_every_second_of_a_run_has_a_reason(recall, precision, act_s, migrates, seed):
    run = go(seed, watch=Watch(recall, precision, act_s, migrates), nodes=SpareNodes(0, 1, 0.0, crew=1))
    took = sum(t.detection_s + t.wait_s + t.recovery_s + t.acts_s for t in run.tallies)
    worked = sum((b - a) * w for a, b, w in run.stretches)
    assert worked == pytest.approx(run.work_s + run.lost_s, rel=1e-9)
    assert sum(t.lost_s for t in run.tallies) == pytest.approx(run.lost_s, abs=1e-6)
    assert sum(t.failures for t in run.tallies) == run.failures
    assert sum(t.wait_s for t in run.tallies) == pytest.approx(run.waited_s, abs=1e-6)
    assert run.tallies[-1].failures == 0
    writing = run.end_s - run.start_s - worked - took  # checkpoints, whole and broken off
    assert -1e-6 <= writing <= 300.0 * (run.checkpoints + run.failures + run.tallies[-1].announced) + 1e-6
    assert run.done_s == run.work_s
    for before, after in zip(run.stretches, run.stretches[1:], strict=False):
        assert before[1] == after[0]


def test_what_software_breaks_takes_no_node_and_cannot_be_foreseen():
    nodes = SpareNodes(0, 0, 0.0)
    run = go(causes=[SOFTWARE], watch=Watch(1.0, 0.5, 10.0, False), nodes=nodes, work_s=1e6)
    assert run.failures > 5
    assert nodes.down == []
    assert run.tallies[0].announced == run.tallies[-1].announced == 0


def test_all_failures_announced_lose_nothing():
    run = go(causes=[GPU], watch=Watch(1.0, 1.0, 5.0, True), work_s=1e6, recovery_s=600.0)
    assert run.failures > 50
    assert run.lost_s == 0.0
    assert sum(t.recovery_s for t in run.tallies) == 0.0
    writes = run.end_s - 1e6 - 5.0 * run.failures
    assert writes == pytest.approx(300.0 * run.checkpoints, rel=0.5)


def test_causes_strike_in_proportion_to_their_rates():
    faults = Faults([GPU, SOFTWARE], stream(3, "x"), Watch(0.5, 0.8, 1.0, False))
    drawn = [faults.next() for _ in range(20000)]
    rate = 1 / np.mean([fault.after_s for fault in drawn])
    known = 0.5 * GPU.per_s
    assert rate == pytest.approx(GPU.per_s + SOFTWARE.per_s + known * 0.25, rel=0.03)
    share = {
        key: sum((f.cause, f.announced) == key for f in drawn) / len(drawn)
        for key in ((0, False), (0, True), (1, False), (1, True), (-1, True))
    }
    total = GPU.per_s + SOFTWARE.per_s + known * 0.25
    assert share[0, False] == pytest.approx(known / total, abs=0.015)
    assert share[0, True] == pytest.approx(known / total, abs=0.015)
    assert share[1, False] == pytest.approx(SOFTWARE.per_s / total, abs=0.015)
    assert share[1, True] == 0
    assert share[-1, True] == pytest.approx(0.25 * known / total, abs=0.015)
    assert not any(faults.next(alarms=False).announced for _ in range(200))


def test_one_crew_repairs_one_node_after_the_other():
    nodes = SpareNodes(0, 2, 100.0, crew=1)
    assert [nodes.replace(t) for t in (0.0, 10.0, 20.0)] == [0.0, 0.0, 80.0]
    assert [row[2] for row in nodes.down] == [100.0, 200.0, 300.0]
    ample = SpareNodes(0, 2, 100.0)
    assert [ample.replace(t) for t in (0.0, 10.0, 20.0)] == [0.0, 0.0, 80.0]
    assert [row[2] for row in ample.down] == [100.0, 110.0, 120.0]


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 3))
def test_a_larger_crew_never_keeps_anyone_waiting_longer(times, crew, spares):
    waits = [[SpareNodes(0, spares, 500.0, crew=size)] for size in (crew, crew + 1, 0)]
    for (nodes,) in waits:
        for time in sorted(times):
            nodes.replace(time)
    backs = [np.array([row[2] for row in nodes.down]) for (nodes,) in waits]
    assert (backs[1] <= backs[0] + 1e-9).all()
    assert (backs[2] <= backs[1] + 1e-9).all()
