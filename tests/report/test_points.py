"""The points of a sweep on a terminal: what moves, best first, never too wide, nothing left out in silence."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.report.points import points_shown
from hpcsim.report.terminal import as_text, columns
from hpcsim.results.record import Results

A, B = "cluster.nodes.gpu.count", "cluster.nodes.cpu.count"


def _swept(rows: list[dict[str, Any]], axes: list[str], ranges: tuple[tuple[int, str, float, float], ...] = ()) -> Results:
    table = pd.DataFrame([{"seed": 1, "problem": "", **row} for row in rows])
    tables = {"sweep": table}
    if ranges:
        tables["sweep_ranges"] = pd.DataFrame(ranges, columns=["row", "metric", "low", "high"])
    return Results("s", "q?", "a.", "sweep", {"points": len(rows)}, tables=tables, provenance={"axes": {axis: [] for axis in axes}})


def test_one_axis_keeps_its_order_and_the_cost_is_there_even_if_it_stays() -> None:
    rows = [{A: n, "wall_clock_s": 7200.0 / n, "makespan_s": 7200.0 / n, "mfu_frac": 0.5, "cost_usd": 10.0} for n in (1, 4, 2)]
    shown, text = points_shown(_swept(rows, [A], ((0, "wall_clock_s", 7200.0, 14400.0),)), width=100)
    assert shown[0] == ("gpu.count", "wall clock", "80 %", "cost")
    assert shown[1:] == [("1", "2 h", "2 – 4 h", "10.00 USD"), ("4", "30 min", "", "10.00 USD"), ("2", "60 min", "", "10.00 USD")]
    assert text == "3 points"


def test_the_only_point_that_ran_is_shown_with_its_figures() -> None:
    """One of two failed: nothing moves over a single point, and what it came to is what was asked."""
    rows = [{A: 1, "wall_clock_s": 60.0, "makespan_s": 60.0, "cost_usd": 5.0}, {A: 99, "problem": "no nodes"}]
    shown, text = points_shown(_swept(rows, [A]), width=100)
    assert shown == [("gpu.count", "wall clock", "cost"), ("1", "60 s", "5.00 USD")]
    assert text == "1 point; 1 could not be run"


def test_several_axes_come_best_first_as_means_over_the_seeds_without_what_failed() -> None:
    rows = [
        {A: a, B: b, "seed": seed, "mean_wait_s": 60.0 * (a + b + seed), "cost_usd": 1.0 * b, "problem": ""}
        for a in (3, 1, 2) for b in (1, 2) for seed in (0, 2)
    ]  # fmt: skip
    rows.append({A: 0, B: 1, "seed": 0, "problem": "no nodes"})
    shown, text = points_shown(_swept(rows, [A, B]), width=100)
    assert shown[0] == ("gpu.count", "cpu.count", "mean wait", "cost")
    assert [row[:2] for row in shown[1:]] == [("1", "1"), ("1", "2"), ("2", "1"), ("3", "1"), ("2", "2"), ("3", "2")]
    assert shown[1][2] == "3 min"
    assert text == "6 points, least mean wait first, means over the seeds; 1 could not be run"


def test_more_points_than_are_shown_are_counted_and_their_place_is_said() -> None:
    result = _swept([{A: n, "wall_clock_s": float(n)} for n in range(50, 0, -1)], [A])
    shown, text = points_shown(result, width=100)
    assert [row[0] for row in shown[1:]] == [str(n) for n in range(1, 21)]
    assert text == "20 of 50 points, least wall clock first"
    assert "somewhere/sweep.csv" in as_text(result, folder="somewhere")


@given(
    st.lists(
        st.fixed_dictionaries(
            {A: st.sampled_from([1, 2, "many, and a long word for it that goes on"]), B: st.sampled_from([1, "auto"])},
            optional={
                "wall_clock_s": st.floats(0, 1e9) | st.none(),
                "cost_usd": st.floats(0, 1e12),
                "mfu_frac": st.floats(0, 1),
                "problem": st.sampled_from(["", "x"]),
                "peak_memory_bytes": st.floats(0, 1e15),
            },
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(20, 120),
)
@settings(max_examples=60, deadline=None)
def test_any_sweep_can_be_shown(rows: list[dict[str, Any]], width: int) -> None:
    shown, _ = points_shown(_swept([{"problem": "", **row} for row in rows], [A, B]), width=width)
    good = {(str(row[A])[:20], row[B]) for row in rows if not row.get("problem")}
    assert len(shown) == (min(len(good), 20) + 1 if good else 0)
    if shown:
        assert len({len(row) for row in shown}) == 1
        assert len(shown[0]) <= 4 or max(map(len, columns(shown).splitlines())) <= width
