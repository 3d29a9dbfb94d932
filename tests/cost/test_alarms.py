"""Alarms before failures, two levels of checkpoints, replicas in memory."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.cost.reliability import (
    alarm_interval_s,
    alarm_waste_frac,
    expected_completion_s,
    exposed,
    replicas_recover_frac,
    two_level_waste_frac,
)

RUNS = {
    "work_s": st.floats(1e3, 1e6),
    "interval_s": st.floats(100, 1e4),
    "checkpoint_s": st.floats(0, 300),
    "recovery_s": st.floats(0, 900),
    "failures_per_s": st.floats(1e-7, 2e-4),
    "downtime_s": st.floats(0, 900),
}


@given(st.fixed_dictionaries(RUNS))
def test_exposure_without_alarms_is_the_expected_completion(run):
    found = exposed(**run)
    assert float(found.wall_s) == pytest.approx(float(expected_completion_s(**run)), rel=1e-9)
    assert float(found.failures) == pytest.approx(
        float(found.wall_s) * run["failures_per_s"] / (1 + run["failures_per_s"] * run["downtime_s"]), rel=1e-9
    )
    assert found.announced == found.false_alarms == found.acts_s == 0


@given(st.fixed_dictionaries(RUNS), st.floats(0, 1), st.floats(0.05, 1), st.floats(0, 300), st.booleans())
def test_the_parts_of_an_exposure_add_up(run, recall, precision, act, migrates):
    announced = recall * run["failures_per_s"]
    found = exposed(
        **run,
        announced_per_s=announced,
        false_alarms_per_s=announced * (1 / precision - 1),
        act_s=act,
        announced_downtime_s=5.0,
        migrates=migrates,
    )
    parts = (found.checkpoints_s, found.broken_s, found.lost_s, found.down_s, found.recovery_s, found.acts_s)
    assert run["work_s"] + sum(float(part) for part in parts) == pytest.approx(float(found.wall_s), rel=1e-9)
    assert min(float(part) for part in parts) >= -1e-9 * float(found.wall_s)
    assert float(found.announced + found.false_alarms) * act == pytest.approx(float(found.acts_s), rel=1e-9, abs=1e-9)


@given(st.fixed_dictionaries(RUNS), st.floats(0, 0.5), st.floats(0, 0.5))
def test_free_and_true_alarms_never_lengthen_a_run(run, recall, more):
    walls = [
        float(exposed(**run, announced_per_s=r * run["failures_per_s"], migrates=migrates).wall_s)
        for migrates in (False, True)
        for r in (recall, recall + more)
    ]
    assert walls[1] <= walls[0] * (1 + 1e-9)
    assert walls[3] <= walls[2] * (1 + 1e-9)
    assert walls[3] <= walls[1] * (1 + 1e-9)


def test_an_exposure_is_an_array_like_its_arguments_and_infinite_where_nothing_gets_done():
    found = exposed(1e6, interval_s=1e6, checkpoint_s=0.0, recovery_s=60.0, failures_per_s=[0.0, 1e-6, 1.0])
    assert found.wall_s.shape == (3,)
    assert found.wall_s[0] == 1e6
    assert math.isinf(found.wall_s[2])


def test_announced_failures_worked_by_hand():
    # M 6 h, C 120 s, R + D 360 s, recall 0.85, precision 0.82, C_p 30 s; first order, Aupy et al. 2013
    common = {"write_s": 120.0, "mtbf_s": 21600.0, "recovery_s": 360.0, "precision_frac": 0.82, "act_s": 30.0}
    before, after = alarm_interval_s(120.0, 21600.0, 0.0), alarm_interval_s(120.0, 21600.0, 0.85)
    assert [round(float(t)) for t in (before, after)] == [2277, 5879]
    wastes = [alarm_waste_frac(interval_s=t, recall_frac=r, **common) for t, r in ((before, 0.0), (after, 0.85))]
    assert [round(float(w), 4) for w in wastes] == [0.1221, 0.0589]
    assert math.isinf(float(alarm_interval_s(120.0, 21600.0, 1.0)))
    rate, alarms = 1 / 21600, 0.85 / 21600
    whole = exposed(
        1e7, interval_s=float(after), checkpoint_s=120.0, recovery_s=360.0, failures_per_s=rate, announced_per_s=alarms,
        false_alarms_per_s=alarms * (1 / 0.82 - 1), act_s=30.0,
    )  # fmt: skip
    # a save at an alarm puts the next checkpoint off, which the first order leaves out
    assert float(wastes[1]) - 0.008 < 1 - 1e7 / float(whole.wall_s) < float(wastes[1])


def test_two_levels_of_checkpoints_worked_by_hand():
    rates = {"local_write_s": 5.0, "write_s": 120.0, "local_failures_per_s": 1 / 7200, "failures_per_s": 1 / 86400}
    rates |= {"local_recovery_s": 10.0, "recovery_s": 600.0}
    assert float(two_level_waste_frac(268.0, 17, **rates)) == pytest.approx(0.0983, abs=5e-5)
    tau, k = np.meshgrid(np.arange(200.0, 340.0, 2.0), np.arange(10.0, 26.0))
    waste = two_level_waste_frac(tau, k, **rates)
    best = np.unravel_index(np.argmin(waste), waste.shape)
    assert abs(tau[best] - 268) <= 4
    assert abs(k[best] - 17) <= 1


@pytest.mark.parametrize(("copies", "lost"), [(2, 1), (2, 2), (2, 3), (3, 3), (3, 4), (4, 6)])
def test_replicas_in_memory_survive_as_often_as_counting_says(copies, lost):
    nodes = 12
    groups = [set(range(first, first + copies)) for first in range(0, nodes, copies)]
    every = list(itertools.combinations(range(nodes), lost))
    alive = sum(not any(group <= set(gone) for group in groups) for gone in every)
    assert replicas_recover_frac(nodes, copies, lost) == pytest.approx(alive / len(every), rel=1e-12)


def test_replicas_bound_what_is_beyond_their_exactness():
    assert [round(replicas_recover_frac(16, 2, k), 4) for k in (2, 3, 4)] == [0.9333, 0.8, 0.6]
    assert replicas_recover_frac(16, 2, 16) == 0.0
