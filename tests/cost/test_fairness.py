"""Metrics of fairness and of a schedule as a whole, held against definitions written out, closed forms and the handbook's values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost import fairness, metrics

JOBS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(1, 4), st.integers(-1, 2), st.integers(1, 6)), min_size=1, max_size=24
)


def arrays(rows: list[tuple[int, int, int, int, int]]) -> tuple[np.ndarray, ...]:
    submit, wait, processors, user, run = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return submit.astype(float), submit + wait.astype(float), processors, user, run.astype(float)


def test_the_handbooks_values() -> None:
    assert metrics.bounded_slowdown([100, 100], [1, 100]).tolist() == [10.1, 2.0]
    assert metrics.jain_index([4, 0, 0, 0]) == 0.25
    assert metrics.jain_index([1, 2, 3]) == pytest.approx(6 / 7)
    assert metrics.slowdown([100], [100]).tolist() == [2.0]


@given(JOBS)
def test_overtaking_is_what_its_definition_says(rows: list[tuple[int, int, int, int, int]]) -> None:
    submit, start, processors, _, _ = arrays(rows)
    count = len(submit)
    later = [[(submit[j], j) > (submit[i], i) and start[j] < start[i] for j in range(count)] for i in range(count)]
    assert fairness.overtaken(submit, start).tolist() == [sum(row) for row in later]
    expected = [any(later[i][j] and processors[j] >= processors[i] for j in range(count)) for i in range(count)]
    assert fairness.envious(submit, start, processors).tolist() == expected


@given(JOBS, st.integers(0, 40))
def test_idle_time_has_one_cause_each(rows: list[tuple[int, int, int, int, int]], spare: int) -> None:
    submit, start, processors, _, run = arrays(rows)
    end = start + run
    moments = np.unique(np.concatenate([submit, start, end]))
    busy = [int(processors[(start <= t) & (end > t)].sum()) for t in moments[:-1]]
    size = max(busy, default=0) + spare
    if size == 0 or len(moments) < 2:
        return
    states = metrics.occupancy(submit, start, end, processors, size=size, window_s=(float(moments[0]), float(moments[-1])))
    parts = metrics.idle_parts(states, submit, start, processors)
    expected = [0.0, 0.0, 0.0]
    for t, until, used in zip(moments[:-1], moments[1:], busy, strict=True):
        waiting = processors[(submit <= t) & (start > t)]
        cause = 0 if not len(waiting) else 1 if waiting.min() <= size - used else 2
        expected[cause] += (size - used) * (until - t)
    whole = size * (moments[-1] - moments[0])
    assert list(parts) == pytest.approx([x / whole for x in expected], abs=1e-12)
    used = metrics.busy_processor_s(start, end, processors)
    assert sum(parts) + used / whole == pytest.approx(1.0)
    assert metrics.little_gap_frac(states, start - submit) == pytest.approx(0.0, abs=1e-12)
    energy = metrics.job_energy_j(
        start, end, processors, size=size, busy_w=7.0, idle_w=2.0, window_s=(float(moments[0]), float(moments[-1]))
    )
    assert energy.sum() == pytest.approx(7.0 * used + 2.0 * (whole - used))
    assert (energy > 0).all()


def test_littles_law_finds_a_queue_that_is_wrong() -> None:
    states = metrics.occupancy([0, 0], [0, 10], [10, 20], [3, 2], size=4, window_s=(0.0, 20.0))
    assert metrics.little_gap_frac(states, [0.0, 10.0]) == 0.0
    assert metrics.little_gap_frac(states, [0.0, 11.0]) == pytest.approx(-1 / 11)
    assert metrics.little_gap_frac(states, [0.0, 0.0]) == np.inf


def test_a_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    inside = 0
    for trial in range(200):
        weeks, a_week = 26, 40
        level = draw.normal(100.0, 20.0, weeks)  # jobs of one week are alike, as in a queue
        values = np.repeat(level, a_week) + draw.normal(0, 5.0, weeks * a_week)
        submit = np.repeat(np.arange(weeks), a_week) * fairness.WEEK_S + np.tile(np.linspace(0, 6e5, a_week), weeks)
        low, high = fairness.block_bootstrap(submit, values, seed=trial, replicates=300)
        inside += low <= 100.0 <= high
    assert 0.70 < inside / 200 < 0.88  # 80 % less what so few weeks cost: four standard deviations
    with pytest.raises(InputError):
        fairness.block_bootstrap([0.0, 1.0], [1.0, 2.0])


def test_weights_and_shares() -> None:
    assert metrics.weighted_mean([1.0, 3.0], [1.0, 1.0]) == 2.0
    with pytest.raises(InputError):
        metrics.weighted_mean([1.0], [0.0])
    parts = fairness.by_key([2, 1, 2], [5.0, 7.0, 15.0], [10.0, 10.0, 20.0], [1, 4, 2], [1.0, 2.0, 5.0])
    assert parts.key.tolist() == [1, 2]
    assert parts.processor_s.tolist() == [40.0, 50.0]
    assert parts.max_wait_s.tolist() == [7.0, 15.0]
    assert parts.mean_bounded_slowdown.tolist() == [2.0, 3.0]
