"""The row-partitioned matrix product: partition, proof on numbers, what the listing does wrong, time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.scenario.load import load
from hpcsim.workload.matrix import coverage, multiply, multiply_as_printed, partition, plan_matrix, printed_partition
from hpcsim.workload.tasks import TaskPlan, closed_form

NODES = {"cpu": {"count": 12, "speed": "1 TFLOP/s", "memory": "256 GB"}}
FABRIC = {"link": "80 Gbit/s", "latency": "1 us"}


def plan(product: dict[str, Any], nodes: dict[str, Any] | None = None, fabric: dict[str, Any] | None = FABRIC) -> TaskPlan:
    data = {"rows": 1000, "inner": 500, "columns": 800, "ranks": 4, **product}
    cluster = {"nodes": nodes or NODES, **({"fabric": fabric} if fabric else {})}
    scenario = load({"schema": 1, "name": "t", "question": "?", "cluster": cluster, "workload": {"matrix_products": {"x": data}}})
    return plan_matrix("x", scenario.workload.matrix_products["x"], resolve(scenario.cluster, default()))


@given(rows=st.integers(0, 200), ranks=st.integers(1, 60))
def test_partition_covers_every_row_once(rows, ranks):
    parts = partition(rows, ranks)
    assert parts.counts.sum() == rows
    assert parts.counts.max() - parts.counts.min() <= 1
    assert (np.diff(parts.counts) <= 0).all()
    seen = coverage(rows, parts)
    assert len(seen.never) == len(seen.repeated) == 0


def test_the_listing_on_ten_rows_and_four_ranks():
    """Two rows are computed twice and two never."""
    seen = coverage(10, printed_partition(10, 4))
    assert len(seen.never) == 2
    assert len(seen.repeated) == 2


@given(rows=st.integers(1, 100), ranks=st.integers(1, 40))
def test_the_listing_is_right_only_where_ranks_divide_the_rows(rows, ranks):
    """Else as many rows are missed as are left over; with fewer rows than ranks, every rank that has one has the first."""
    seen = coverage(rows, printed_partition(rows, ranks))
    assert len(seen.never) == (rows % ranks if rows >= ranks else rows - 1)


_entries = st.integers(-3, 3)


@st.composite
def matrices(draw):
    rows, inner, columns = (draw(st.integers(1, 9)) for _ in range(3))
    a = draw(st.lists(_entries, min_size=rows * inner, max_size=rows * inner))
    b = draw(st.lists(_entries, min_size=inner * columns, max_size=inner * columns))
    return np.array(a, float).reshape(rows, inner), np.array(b, float).reshape(inner, columns)


@given(ab=matrices(), ranks=st.integers(1, 20))
def test_multiply_is_the_product_for_any_ranks(ab, ranks):
    a, b = ab
    assert (multiply(a, b, ranks) == a @ b).all()


def test_multiply_of_no_rows():
    assert multiply(np.empty((0, 3)), np.ones((3, 2)), 4).shape == (0, 2)


def test_multiply_as_printed_goes_wrong_and_where():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(10, 6)), rng.normal(size=(6, 5))
    right, printed = a @ b, multiply_as_printed(a, b, 4)
    assert np.isnan(printed[8:]).all(), "the last two rows never arrive"
    assert np.allclose(printed[:8], right[:8]), "the first eight happen to fall into place"
    assert np.allclose(multiply_as_printed(a, b, 5), right), "five ranks divide ten rows"


@pytest.mark.parametrize(("a", "b"), [(np.ones((2, 3)), np.ones((2, 3))), (np.ones(3), np.ones((3, 1)))])
def test_shapes_that_do_not_fit(a, b):
    with pytest.raises(InputError):
        multiply(a, b, 2)


@pytest.mark.parametrize(("rows", "ranks"), [(-1, 2), (3, 0)])
def test_bad_sizes(rows, ranks):
    with pytest.raises(InputError):
        partition(rows, ranks)


def test_time_by_hand():
    """4 ranks, 250 rows each, 8-byte elements, α 1 µs, 10 GB/s. B 3.2 MB: by tree 2(α + 320 µs) = 642 µs, by scatter and all-gather
    (2 + 3)α + 2·3/4·320 µs = 485 µs, by a pipelined chain (2 + m)(α + 320/m µs) with m = √(320·2/1) ≈ 25: 372.6 µs, by two trees of depth 2
    with half the message each in m = √320 ≈ 18 chunks: m + 1 rounds of α, 2(m + 1) − 1 half-chunks of 320/36 µs: 347.9 µs, the best.
    A: 3/4 of 4 MB = 300 µs + 2α. Product: 2·250·500·800 FLOP on 1 TFLOP/s = 200 µs. C: 3/4 of 6.4 MB = 480 µs + 2α."""
    p = plan({})
    trees_s = (19 * 1.0 + 37 * 320 / 36) * 1e-6
    t = closed_form(p)
    assert t.dispatch_s == pytest.approx(trees_s + 302e-6)
    assert t.run_s == pytest.approx(200e-6)
    assert t.merge_s == pytest.approx(482e-6)
    assert p.work_flop.sum() == 2 * 1000 * 500 * 800


def test_uneven_rows_are_timed_by_the_longest():
    p = plan({"rows": 10, "ranks": 4})
    assert (p.work_flop / (2 * 500 * 800)).tolist() == [3, 3, 2, 2]
    assert closed_form(p).run_s == pytest.approx(3 * 2 * 500 * 800 / 1e12)
    # 7 of 10 rows of A leave the first rank, 4 kB each
    even = plan({"rows": 12, "ranks": 4})
    broadcast_s = closed_form(even).dispatch_s - (9 * 4000 / 10e9 + 2e-6)
    assert closed_form(p).dispatch_s == pytest.approx(broadcast_s + 7 * 4000 / 10e9 + 2e-6)


def test_ranks_without_rows_do_nothing():
    p = plan({"rows": 2, "ranks": 4})
    assert p.work_flop[2:].tolist() == [0, 0]
    assert closed_form(p).makespan_s > 0


def test_one_rank_sends_nothing():
    t = closed_form(plan({"ranks": 1}, fabric=None))
    assert (t.dispatch_s, t.merge_s) == (0.0, 0.0)


def test_the_law_gives_the_run():
    p = plan({"rows": 1000, "ranks": 4})
    (law,) = p.laws
    assert float(law.wall_clock_s) == pytest.approx(closed_form(p).run_s)
    assert float(law.node_time_s) == pytest.approx(closed_form(p).node_time_s)


@pytest.mark.parametrize(
    ("product", "nodes", "fabric", "expected"),
    [
        ({"ranks": 13}, None, FABRIC, "too-many-ranks"),
        ({"nodes": "gpu"}, None, FABRIC, "unknown-node-group"),
        ({}, {**NODES, "b": NODES["cpu"]}, FABRIC, "node-group-needed"),
        ({}, None, None, "fabric-missing"),
        ({"rows": 120_000, "inner": 120_000, "columns": 120_000}, None, FABRIC, "matrix-memory"),
        ({}, {"cpu": {"count": 12, "cores": 4}}, FABRIC, "missing-rate"),
    ],
)
def test_refusals(product, nodes, fabric, expected):
    with pytest.raises(InputError) as error:
        plan(product, nodes, fabric)
    assert error.value.problems[0].code == expected


def test_the_refusal_says_by_how_much():
    """A of 2·10¹⁰ doubles is 160 GB and lies on the first rank as a whole; the other ranks' rows would fit."""
    with pytest.raises(InputError) as error:
        plan({"rows": 200_000, "inner": 100_000, "columns": 10, "ranks": 12}, {"cpu": {**NODES["cpu"], "memory": "100 GB"}})
    text = str(error.value.problems[0])
    whole = 8 * (200_000 * 100_000 + 100_000 * 10 + 200_000 * 10)
    assert "the first rank" in text
    assert f"{(whole - 100e9) / 1e9:.4g} GB" in text


@pytest.mark.parametrize(("precision", "accelerator"), [("bf16", "h100-sxm"), ("fp64", "h100-sxm"), ("fp64", "a100-sxm-80gb")])
def test_a_changed_peak_carries_the_rate_of_products(precision: str, accelerator: str) -> None:
    """Also where matrix units have a peak of their own in that precision, and where the sustained rate was measured."""

    def run_s(**changes: Any) -> float:
        nodes = {
            "g": {
                "type": "dgx-h100" if "h100" in accelerator else "dgx-a100-80gb",
                "count": 1,
                "accelerator": {"base": accelerator, **changes},
            }
        }
        product = {"rows": 40_000, "inner": 40_000, "columns": 40_000, "ranks": 1, "precision": precision}
        data = {"schema": 1, "name": "p", "question": "q?", "cluster": {"nodes": nodes}, "workload": {"matrix_products": {"p": product}}}
        return float(hpcsim.estimate(data).summary["wall_clock_s"])

    entry = default().accelerator(accelerator)
    peak = max(float(entry.peak_flop_per_s[p]) for p in (precision, f"{precision}_tensor") if p in entry.peak_flop_per_s)
    plain = run_s()
    assert run_s(peak={precision: f"{2 * peak / 1e12} TFLOP/s"}) == pytest.approx(plain / 2)
    assert run_s(peak={precision: f"{peak / 4e12} TFLOP/s"}) == pytest.approx(4 * plain)
    assert run_s(peak={"int8": "1 TFLOP/s"}) == plain
    half = f"{peak / 2e12} TFLOP/s"
    assert run_s(matmul={precision: half}) == run_s(peak={precision: f"{peak / 1e12} TFLOP/s"}, matmul={precision: half})
    with pytest.raises(InputError) as caught:
        run_s(peak={precision: half}, matmul={precision: f"{peak / 1e12} TFLOP/s"})
    assert [(p.code, p.path) for p in caught.value.problems] == [("rate-above-peak", f"cluster.nodes.g.accelerator.matmul.{precision}")]
