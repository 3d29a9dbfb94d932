"""Laws of speed: their own facts, and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.speedup import AmdahlLaw, DowneyLaw, TableLaw, downey, goodput, statistical_efficiency

PARALLELISM = st.floats(1, 500)
VARIANCE = st.floats(0, 10)


def test_downey_by_hand() -> None:
    """A = 9, σ = 1: 9·5/(9 + 2) at 5, 9·9/(9 + 4) at 9, 9·13/(8.5 + 6.5) at 13, 9 at 17; σ = 2: 4·9·3/(2·12 + 9) at 4, 9 from 25 on."""
    np.testing.assert_allclose(downey([5, 9, 13, 17, 40], parallelism=9, variance=1), [45 / 11, 81 / 13, 117 / 15, 9, 9])
    np.testing.assert_allclose(downey([4, 25, 26], parallelism=9, variance=2), [108 / 33, 9, 9])


@given(a=PARALLELISM, s=VARIANCE)
def test_downey_rises_from_one_to_its_parallelism(a: float, s: float) -> None:
    n = np.linspace(1, 4 * a * (1 + s) + 4, 300)
    speed = downey(n, parallelism=a, variance=s)
    assert speed[0] == pytest.approx(1)
    assert speed[-1] == pytest.approx(a)
    assert (np.diff(speed) >= -1e-9 * a).all()
    assert (speed <= np.minimum(n, a) * (1 + 1e-9)).all()


@given(a=PARALLELISM)
def test_the_two_halves_of_downey_meet(a: float) -> None:
    n = np.linspace(1, 3 * a, 50)
    np.testing.assert_allclose(downey(n, parallelism=a, variance=1.0), downey(n, parallelism=a, variance=1.0 + 1e-12), rtol=1e-9)


@given(a=PARALLELISM, s=VARIANCE)
def test_more_variance_is_slower(a: float, s: float) -> None:
    n = np.linspace(1, 3 * a, 50)
    assert (downey(n, parallelism=a, variance=s + 0.1) <= downey(n, parallelism=a, variance=s) * (1 + 1e-9)).all()


def test_goodput_takes_the_batch_that_pays() -> None:
    """Throughput ∝ batch where steps cost the same: the larger batch, worth (φ + m0)/(φ + m) an example, wins as far as noise goes."""
    batch = np.array([32.0, 64, 128, 256])
    rate = np.array([[32.0, 64, 128, 256], [32, 33, 34, 35]])
    np.testing.assert_allclose(goodput(rate, batch, base_batch=32, noise_scale=1e12), [256, 35], rtol=1e-6)
    np.testing.assert_allclose(goodput(rate, batch, base_batch=32, noise_scale=0), [32, 32])
    assert statistical_efficiency(96.0, base_batch=32, noise_scale=32) == 0.5


def test_a_table_says_nothing_beyond_its_ends() -> None:
    law = TableLaw((2, 4), (10, 18))
    assert law.speed([2, 3, 4]).tolist() == [10, 14, 18]
    assert law.range() == (2, 4)
    assert AmdahlLaw(0.5).speed(2) == pytest.approx(4 / 3)
    assert DowneyLaw(9, 1).speed(9) == pytest.approx(81 / 13)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TableLaw((), ()),
        lambda: TableLaw((1, 2), (1,)),
        lambda: TableLaw((2, 1), (1, 2)),
        lambda: TableLaw((0.5, 1), (1, 2)),
        lambda: TableLaw((1, 2), (1, 0)),
        lambda: AmdahlLaw(1.5),
        lambda: DowneyLaw(0.5, 1),
        lambda: downey(0, parallelism=2, variance=1),
    ],
)
def test_what_is_no_law_is_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]
