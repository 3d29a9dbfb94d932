"""Piecewise evaluation equals one shot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.chunks import CHUNK_ROWS, in_chunks


def formula(x: npt.NDArray[np.float64], k: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
    return {"sum": x + k, "wide": np.stack([x, x * k], axis=1), "whole": k // 3, "mask": x > k}


@given(st.integers(0, 200), st.integers(1, 250), st.integers(0, 2**32 - 1))
def test_equals_one_shot(n: int, rows: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    columns = {"x": draw.standard_normal(n), "k": draw.integers(-9, 9, n)}
    whole, pieces = formula(**columns), in_chunks(formula, columns, rows)
    assert list(pieces) == list(whole)
    for key in whole:
        assert pieces[key].dtype == whole[key].dtype
        np.testing.assert_array_equal(pieces[key], whole[key])


@pytest.mark.parametrize(("n", "rows", "calls"), [(0, 4, 1), (1, 4, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (9, 4, 3)])
def test_number_of_pieces(n: int, rows: int, calls: int) -> None:
    seen: list[int] = []

    def count(x: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.generic]]:
        seen.append(len(x))
        return {"x": x}

    in_chunks(count, {"x": np.arange(n, dtype=float)}, rows)
    assert len(seen) == calls
    assert sum(seen) == n
    assert max(seen) <= rows


def test_two_dimensional_columns_are_cut_along_the_first_axis() -> None:
    matrix = np.arange(60.0).reshape(20, 3)
    np.testing.assert_array_equal(in_chunks(lambda m: {"s": m.sum(axis=1)}, {"m": matrix}, 7)["s"], matrix.sum(axis=1))


def test_the_default_piece() -> None:
    sizes: list[int] = []
    in_chunks(lambda x: sizes.append(len(x)) or {"x": x}, {"x": np.zeros(CHUNK_ROWS + 1)})
    assert sizes == [CHUNK_ROWS, 1]


@pytest.mark.parametrize("rows", [0, -1])
def test_no_rows_a_piece_is_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        in_chunks(formula, {"x": np.zeros(3), "k": np.zeros(3, int)}, rows)


def test_ragged_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one length.*\[2, 3\]"):
        in_chunks(formula, {"x": np.zeros(3), "k": np.zeros(2, int)})
    with pytest.raises(ValueError, match="one length"):
        in_chunks(formula, {})
