"""The printed laws: literal values, honest readings, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost import laws

sizes = st.floats(1e-3, 1e15)
speeds = st.floats(1e-3, 1e15)
counts = st.integers(1, 10_000)


def code(error: pytest.ExceptionInfo[InputError]) -> str:
    return error.value.problems[0].code


def test_example_literal_share_leaves_four_fifths_unassigned() -> None:
    r = laws.share_literal([20.0] * 5, [20e9] * 5)
    assert r.shares.tolist() == [4e9] * 5
    assert r.assigned == pytest.approx(20e9)
    assert r.unassigned == pytest.approx(80e9)


def test_example_by_throughput_gives_twenty_each() -> None:
    assert laws.share_by_throughput([1.0] * 5, 100e9).tolist() == pytest.approx([20e9] * 5)


def test_unequal_workers_finish_together() -> None:
    shares = laws.share_by_throughput([1, 2, 5], 800)
    assert shares.tolist() == [100, 200, 500]
    assert laws.finish_times(shares, [1, 2, 5]).tolist() == pytest.approx([100] * 3)
    assert laws.finish_times(np.full(3, 800 / 3), [1, 2, 5]).max() == pytest.approx(266.667, rel=1e-5)


def test_training_law_of_a_million_tokens() -> None:
    assert float(laws.training(6 * 405.85e9, 400e12, n=1e6).literal_s) == pytest.approx(6087.75)


@given(sizes, speeds, counts)
def test_distributed_readings_differ_by_powers_of_n(c: float, v: float, n: int) -> None:
    r = laws.distributed(v, n, c=c)
    assert r.node_time_s == pytest.approx(c / v)
    assert r.literal_s == pytest.approx(n * r.node_time_s)
    assert r.literal_s == pytest.approx(n**2 * r.wall_clock_s)
    assert r.wall_clock_s == pytest.approx(r.divided_wall_s)


@given(speeds, counts)
def test_printed_form_is_one_task(v: float, n: int) -> None:
    assert laws.distributed(v, n).literal_s == pytest.approx(1 / v * n)
    assert laws.preprocessing(v, n).literal_s == pytest.approx(1 / v * n)


@given(sizes, speeds, counts)
def test_training_and_transfer_readings(c: float, v: float, n: int) -> None:
    t = laws.training(c, v, n=n)
    assert (t.literal_s, t.node_time_s) == (pytest.approx(n * c / v),) * 2
    assert t.wall_clock_s == pytest.approx(c / v)
    assert t.divided_wall_s == pytest.approx(c / v / n)
    for part in laws.TRANSFER_PARTS:
        d = laws.transfer(c, v, n=n, part=part)
        assert d.literal_s == d.wall_clock_s == pytest.approx(c / v)
        assert d.node_time_s == pytest.approx(n * c / v)
        assert part in d.law


@given(sizes, speeds, counts, counts)
def test_laws_scale_and_add(c: float, v: float, n1: int, n2: int) -> None:
    one, two = laws.training(c, v, n=n1), laws.training(c, v, n=n2)
    assert laws.training(c, v, n=n1 + n2).literal_s == pytest.approx(one.literal_s + two.literal_s)
    assert laws.training(c, 2 * v, n=n1).literal_s == pytest.approx(one.literal_s / 2)
    assert laws.training(2 * c, v, n=n1).literal_s == pytest.approx(2 * one.literal_s)


def test_parts_add_to_the_whole() -> None:
    assert float(laws.total([10.0, 20.0, 5.0])) == 35.0


def test_units_are_checked_against_each_other() -> None:
    r = laws.transfer("100 GB", "2 GB/s", n=5)
    assert float(r.wall_clock_s) == 50.0
    assert float(laws.training("1 PFLOP", "100 TFLOP/s", n=2).node_time_s) == pytest.approx(20.0)
    assert float(laws.distributed("0.5 Hz", 4).literal_s) == pytest.approx(8.0)
    for size, speed in (("100 GB", "2 TFLOP/s"), ("1 PFLOP", "2 GB/s"), ("3 h", "2 GB/s"), ("100 GB", 2e9), (100e9, "2 GB/s")):
        with pytest.raises(InputError) as error:
            laws.transfer(size, speed)
        assert code(error) == "law-dimensions"


@pytest.mark.parametrize("n", [0, -1, 0.5, float("nan"), float("inf"), "three", None, True])
def test_bad_counts_are_refused(n: object) -> None:
    with pytest.raises(InputError):
        laws.distributed(1.0, n)


@pytest.mark.parametrize("v", [0.0, -2.0, float("nan"), float("inf")])
def test_bad_speeds_are_refused(v: float) -> None:
    with pytest.raises(InputError):
        laws.training(1.0, v, n=1)


def test_refusals_carry_codes() -> None:
    with pytest.raises(InputError) as error:
        laws.transfer(-1.0, 1.0)
    assert code(error) == "argument-out-of-range"
    with pytest.raises(InputError) as error:
        laws.transfer(1.0, 1.0, part="teleport")
    assert code(error) == "law-unknown-part"
    with pytest.raises(InputError) as error:
        laws.share_by_throughput([0.0, 0.0], 1.0)
    assert code(error) == "law-nothing-to-share"
    with pytest.raises(InputError) as error:
        laws.share_literal([1.0, 2.0], [1.0, 2.0, 3.0])
    assert code(error) == "argument-shapes"


def test_arrays_broadcast() -> None:
    n = np.array([1, 2, 4, 8])
    r = laws.distributed(2.0, n, c=np.array([[8.0], [16.0]]))
    assert r.wall_clock_s.shape == (2, 4)
    for i, c in enumerate((8.0, 16.0)):
        for j, nodes in enumerate(n):
            assert r.wall_clock_s[i, j] == laws.distributed(2.0, nodes, c=c).wall_clock_s


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.integers(0, 10_000))
def test_whole_shares_conserve_and_stay_within_one(rates: list[float], total: int) -> None:
    shares, ideal = laws.share_whole(rates, total), laws.share_by_throughput(rates, total)
    assert shares.sum() == total
    assert (np.abs(shares - ideal) < 1 + 1e-9 * total).all()
    assert laws.finish_times(shares, rates).max() <= total / sum(rates) + 1 / min(rates) + 1e-6


def test_whole_shares_give_ties_to_the_first() -> None:
    assert laws.share_whole([1, 1, 1, 1], 10).tolist() == [3, 3, 2, 2]
    assert laws.share_whole([0, 1, 0], 5).tolist() == [0, 5, 0]
