from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost import metrics

NAN = float("nan")


def test_bounded_slowdown_takes_another_bound() -> None:
    assert metrics.bounded_slowdown([100.0], [1.0], bound_s=1.0).tolist() == [101.0]
    assert metrics.bounded_slowdown([0.0], [3.0]).tolist() == [1.0]


def test_busy_time_in_a_window() -> None:
    start, end, size = [0.0, 5.0, NAN, 8.0], [10.0, 7.0, NAN, NAN], [2, 3, 50, 1]
    assert metrics.busy_processor_s(start[:3], end[:3], size[:3]) == 26.0
    assert metrics.busy_processor_s(start, end, size, window_s=(4.0, 9.0)) == 5 * 2 + 2 * 3 + 1


def test_utilisation_of_an_empty_window_is_refused() -> None:
    with pytest.raises(InputError):
        metrics.utilisation([0.0], [1.0], [1], capacity=1, window_s=(3.0, 3.0))


@pytest.mark.parametrize(
    "call", [lambda: metrics.makespan_s([], []), lambda: metrics.jain_index([]), lambda: metrics.nearest_rank([NAN], 0.5)]
)
def test_nothing_has_no_metric(call: object) -> None:
    with pytest.raises(InputError):
        call()  # type: ignore[operator]


def test_makespan_ignores_what_has_not_ended() -> None:
    assert metrics.makespan_s([3.0, 5.0], [9.0, NAN]) == 6.0


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20))
def test_i15_jain_lies_between_one_over_n_and_one(values: list[float]) -> None:
    assert 1 / len(values) * (1 - 1e-12) <= metrics.jain_index(values) <= 1 + 1e-12


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_nearest_rank_by_its_definition(values: list[float], frac: float) -> None:
    got = metrics.nearest_rank(values, frac)
    ordered = sorted(values)
    below = next(value for at, value in enumerate(ordered, start=1) if at >= frac * len(values) - 1e-9)
    assert got in ordered
    assert abs(ordered.index(got) - ordered.index(below)) <= (1 if abs(frac * len(values) - round(frac * len(values))) < 1e-6 else 0)


def test_occupancy_by_hand() -> None:
    """Four processors; job 0 takes 3 of them 0–10, job 1 asks for 2 at 2 and runs 10–15, job 2 asks for 1 at 4 and is cancelled at 6; one
    processor is down 12–13."""
    states = metrics.occupancy(
        [0.0, 2.0, 4.0], [0.0, 10.0, NAN], [10.0, 15.0, 6.0], [3, 2, 1], size=4, window_s=(0.0, 20.0), down_changes=((12.0, 1), (13.0, 0))
    )
    assert states.start_s.tolist() == [0, 2, 4, 6, 10, 12, 13, 15]
    assert states.end_s.tolist() == [2, 4, 6, 10, 12, 13, 15, 20]
    assert states.busy.tolist() == [3, 3, 3, 3, 2, 2, 2, 0]
    assert states.idle.tolist() == [1, 1, 1, 1, 2, 1, 2, 4]
    assert states.down.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert states.queued_jobs.tolist() == [0, 1, 2, 1, 0, 0, 0, 0]
    assert states.queued_processors.tolist() == [0, 2, 3, 2, 0, 0, 0, 0]


def test_occupancy_of_a_window_inside() -> None:
    states = metrics.occupancy([0.0, 2.0], [0.0, 10.0], [10.0, 15.0], [3, 2], size=4, window_s=(5.0, 12.0))
    assert states.start_s.tolist() == [5, 10]
    assert states.end_s.tolist() == [10, 12]
    assert states.busy.tolist() == [3, 2]
    assert states.queued_jobs.tolist() == [1, 0]


@given(st.data())
def test_i4_splitting_the_horizon_adds(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 10))
    numbers = st.integers(0, 50)
    start = np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), dtype=float)
    length = np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), dtype=float)
    size = np.array(data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)))
    cut = data.draw(st.integers(1, 99))
    whole, left, right = (metrics.busy_processor_s(start, start + length, size, window_s=w) for w in ((0, 100), (0, cut), (cut, 100)))
    assert whole == left + right
