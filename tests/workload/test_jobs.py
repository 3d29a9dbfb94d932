from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.workload.jobs import JobTable, TraceOptions, dependency_circles, format_of, read_trace


def codes(error: InputError) -> list[str]:
    return [problem.code for problem in error.problems]


def test_what_is_left_out_is_filled_in() -> None:
    table = JobTable.of([3, 1], [10, 20], [1, 2])
    assert table.job_id.tolist() == [1, 2]
    assert table.estimate_s.tolist() == [10.0, 20.0]
    assert table.user.tolist() == table.group.tolist() == table.queue.tolist() == [-1, -1]
    assert (table.submit_s.dtype, table.processors.dtype) == (np.float64, np.int64)


def test_arrays_are_read_only_and_its_own() -> None:
    submit = np.array([0.0, 1.0])
    table = JobTable.of(submit, [1, 1], [1, 1])
    submit[0] = 99.0
    assert table.submit_s.tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        table.submit_s[0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.submit_s = submit  # type: ignore[misc]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"submit_s": [0, 1, 2]}, "job-column-length"),
        ({"submit_s": [0, -1]}, "job-column-value"),
        ({"submit_s": [0, np.nan]}, "job-column-value"),
        ({"run_s": [1, np.inf]}, "job-column-value"),
        ({"run_s": [1, 1e300]}, "job-column-value"),
        ({"run_s": ["long", "short"]}, "job-column-type"),
        ({"processors": [1, 0]}, "job-column-value"),
        ({"processors": [1, 1.5]}, "job-column-value"),
        ({"processors": [1, 1e30]}, "job-column-value"),
        ({"estimate_s": [1, -5]}, "job-column-value"),
        ({"job_id": [4, 4]}, "job-id-twice"),
        ({"names": ["one"]}, "job-column-length"),
    ],
)
def test_bad_columns_are_refused(columns: dict[str, list[float]], code: str) -> None:
    sound = {"submit_s": [0, 1], "run_s": [1, 1], "processors": [1, 1]}
    with pytest.raises(InputError) as caught:
        JobTable.of(**{**sound, **columns})  # type: ignore[arg-type]
    assert code in codes(caught.value)


def test_an_empty_table_is_a_table() -> None:
    table = JobTable.of([], [], [])
    assert len(table) == len(table.sorted_by_submit()) == len(table.scaled(time=2)) == 0


@given(st.lists(st.integers(0, 5), max_size=30))
def test_sorting_is_stable(submit: list[int]) -> None:
    table = JobTable.of(submit, [1] * len(submit), [1] * len(submit)).sorted_by_submit()
    want = [place for _, place in sorted((time, place) for place, time in enumerate(submit, start=1))]
    assert table.job_id.tolist() == want


def test_subsets_by_mask_and_by_index() -> None:
    table = JobTable.of([0, 1, 2], [5, 6, 7], [1, 2, 3], names=["a", "b", "c"])
    assert table.subset(np.array([True, False, True])).names == ("a", "c")
    assert table.subset([2, 0]).run_s.tolist() == [7.0, 5.0]


def test_scales() -> None:
    table = JobTable.of([10, 14], [5, 6], [1, 3])
    assert table.scaled(time=2).submit_s.tolist() == [20.0, 28.0]
    assert table.scaled(arrivals=0.5).submit_s.tolist() == [10.0, 12.0]
    assert table.scaled(arrivals=0.5).run_s.tolist() == [5.0, 6.0]
    assert table.scaled(processors=0.1).processors.tolist() == [1, 1]
    with pytest.raises(InputError):
        table.scaled(time=0)


def test_formats_by_name_of_the_file() -> None:
    assert format_of("a/KTH.swf") == format_of("KTH.SWF.gz") == format_of("x.swf.xz") == "swf"
    with pytest.raises(InputError) as caught:
        format_of("jobs.txt")
    assert codes(caught.value) == ["trace-format-unknown"]
    assert "swf" in str(caught.value)


def test_an_unknown_format_is_refused_before_reading() -> None:
    with pytest.raises(InputError) as caught:
        read_trace("no-such-file.swf", format="swg")
    assert codes(caught.value) == ["unknown-name"]


@pytest.mark.parametrize("options", [{"processors": "all"}, {"estimates": "guessed"}, {"max_jobs": 0}, {"capacity": -1}, {"multiple": 1.5}])
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        TraceOptions(**options)  # type: ignore[arg-type]


def test_what_else_a_job_asks_for_is_absent_until_given() -> None:
    plain = JobTable.of([0, 1], [5, 5], [1, 2])
    assert plain.gpus is None
    assert plain.labels == {}
    assert plain.filled("gpus").tolist() == [0.0, 0.0]
    assert plain.filled("exclusive").tolist() == [False, False]
    full = JobTable.of(
        [1, 0], [5, 5], [1, 2],
        nodes=[1, -1], gpus=[0.5, 8], memory_bytes=[1e9, 0], qos=[1, -1], exclusive=[True, False], after=[2, -1], priority=[0, 3.5],
        labels={"qos": ("normal", "high")},
    )  # fmt: skip
    turned = full.sorted_by_submit()
    assert turned.job_id.tolist() == [2, 1]
    assert turned.filled("gpus").tolist() == [8.0, 0.5]
    assert turned.filled("after").tolist() == [-1, 2]
    assert turned.filled("nodes").tolist() == [-1, 1]
    assert turned.filled("exclusive").tolist() == [False, True]
    assert [turned.label("qos", number) for number in turned.filled("qos").tolist()] == ["", "high"]
    double = full.scaled(processors=2)
    assert double.filled("gpus").tolist() == [1.0, 16.0]
    assert double.filled("nodes").tolist() == [2, -1]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("nodes", [0, 1]), ("gpus", [-1, 1]), ("gpus", [np.inf, 1]), ("memory_bytes", [np.nan, 1]), ("exclusive", [2, 1]), ("after", [1, -1]),
        ("priority", [np.inf, 0]), ("qos", [0.5, 1]), ("qos", [2, 0]), ("gpus", [1]),
    ],
)  # fmt: skip
def test_a_bad_optional_column_is_named(column: str, values: list[float]) -> None:
    with pytest.raises(InputError) as error:
        JobTable.of([0, 1], [5, 5], [1, 2], labels={"qos": ("normal", "high")}, **{column: values})
    assert error.value.problems[0].path == column


def test_circles_of_dependencies_are_found() -> None:
    jobs = JobTable.of([0] * 7, [1] * 7, [1] * 7, job_id=[10, 20, 30, 40, 50, 60, 70], after=[-1, 10, 20, 50, 60, 40, 99])
    assert dependency_circles(jobs).tolist() == [False, False, False, True, True, True, False]
    chain = JobTable.of([0] * 9, [1] * 9, [1] * 9, after=[-1, *range(1, 9)])
    assert not dependency_circles(chain).any()
