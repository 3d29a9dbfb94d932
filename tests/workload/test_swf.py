from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.workload.jobs import JobTable, Trace, TraceOptions, read_trace
from hpcsim.workload.swf import FIELDS, read_swf, write_swf


def row(**values: object) -> str:
    """One sound row, with changes."""
    sound = {name: "-1" for name in FIELDS} | {
        "job": "1",
        "submit": "0",
        "run": "60",
        "allocated": "4",
        "requested": "4",
        "requested_time": "100",
        "status": "1",
        "user": "7",
    }
    return " ".join(str(values.get(name, text)) for name, text in sound.items())


def read(folder: Path, *rows: str, head: str = "; Version: 2.2\n", **options: object) -> Trace:
    path = folder / "log.swf"
    path.write_text(head + "\n".join(rows) + "\n")
    return read_swf(path, TraceOptions(**options))  # type: ignore[arg-type]


def found(trace: Trace) -> dict[str, tuple[int, str, str]]:
    return {finding.issue: (finding.rows, finding.action, finding.example) for finding in trace.quality}


def test_fields_and_header(tmp_path: Path) -> None:
    head = "; Version: 2.2\n;   MaxProcs: 128\n; Note: one\n; Note: two\n;\n"
    trace = read(tmp_path, row(job=5, submit=12.5, run=60, user=3, group=2, queue=1), head=head)
    jobs = trace.jobs
    assert (jobs.job_id[0], jobs.submit_s[0], jobs.run_s[0], jobs.estimate_s[0]) == (5, 12.5, 60.0, 100.0)
    assert (jobs.processors[0], jobs.user[0], jobs.group[0], jobs.queue[0]) == (4, 3, 2, 1)
    assert trace.header == {"Version": "2.2", "MaxProcs": "128", "Note": "one\ntwo"}
    assert trace.quality == ()
    assert trace.rows == 1


def test_processors_and_estimates_by_option(tmp_path: Path) -> None:
    rows = row(allocated=4, requested=8, run=60, requested_time=100)
    assert read(tmp_path, rows).jobs.processors.tolist() == [4]
    assert read(tmp_path, rows, processors="requested").jobs.processors.tolist() == [8]
    assert read(tmp_path, rows, estimates="actual").jobs.estimate_s.tolist() == [60.0]
    assert read(tmp_path, rows, processors="requested", multiple=3).jobs.processors.tolist() == [9]


@pytest.mark.parametrize(("choice", "other"), [("allocated", "requested"), ("requested", "allocated")])
def test_the_other_count_stands_in(tmp_path: Path, choice: str, other: str) -> None:
    trace = read(tmp_path, row(**{choice: -1, other: 8}), processors=choice)
    assert trace.jobs.processors.tolist() == [8]
    assert found(trace) == {f"{choice} processors not given: the {other} ones stand in": (1, "repaired", "line 2, job 1")}


@pytest.mark.parametrize(
    ("bad", "issue"),
    [
        (row(job=2, run=0), "zero run time"),
        (row(job=2, run=-1), "run time unknown"),
        (row(job=2, run=-1, status=5), "cancelled before it started"),
        (row(job=2, run=0, status=5), "cancelled before it started"),
        (row(job=2, status=3), "part of a job that its summary row has whole"),
        (row(job=2, submit=-1), "submission time unknown"),
        (row(job=2, allocated=-1, requested=0), "no processors"),
        (row(job=2, allocated=17, requested=17), "more processors than the machine has (16)"),
        (row(job=2, submit="1e300"), "number out of range"),
        (row(job=2, run="inf"), "number out of range"),
        (row(job=2, allocated=2.5), "count or number that is not whole"),
        (row(job=2, submit="soon"), "row with a field that is no number"),
        (row(job=2, submit="nan"), "row with a field that is no number"),
        (row(job=2) + " 99", "row without 18 fields"),
        ("2 0 -1 60 4", "row without 18 fields"),
        (row(), "row given twice"),
    ],
)
def test_a_bad_row_is_dropped_counted_and_located(tmp_path: Path, bad: str, issue: str) -> None:
    trace = read(tmp_path, row(), bad, "; a remark", "", row(job=3, submit=5), capacity=16)
    assert trace.jobs.job_id.tolist() == [1, 3]
    assert trace.rows == 3
    ((got, (rows, action, example)),) = found(trace).items()
    assert (got, rows, action) == (issue, 1, "dropped")
    assert example.startswith("line 3")


def test_each_bad_row_is_counted_once(tmp_path: Path) -> None:
    trace = read(tmp_path, row(), row(job=2, run=-1, submit=-1, allocated=0, requested=0), row(job=3, run=0, submit=-1))
    assert sum(finding.rows for finding in trace.quality) == 2


def test_a_cancelled_job_that_ran_is_a_job(tmp_path: Path) -> None:
    assert len(read(tmp_path, row(status=5, run=3)).jobs) == 1


def test_an_overrun_runs_on_or_is_cut(tmp_path: Path) -> None:
    rows = row(run=150, requested_time=100)
    runs_on, cut = read(tmp_path, rows), read(tmp_path, rows, cut=True)
    assert (runs_on.jobs.run_s[0], runs_on.jobs.estimate_s[0]) == (150.0, 150.0)
    assert (cut.jobs.run_s[0], cut.jobs.estimate_s[0]) == (100.0, 100.0)
    assert [finding.action for finding in runs_on.quality] == ["repaired"]
    assert [finding.action for finding in cut.quality] == ["cut"]


def test_a_missing_request_is_the_run_time(tmp_path: Path) -> None:
    trace = read(tmp_path, row(requested_time=-1))
    assert trace.jobs.estimate_s.tolist() == [60.0]
    assert list(found(trace)) == ["no requested time: the run time stands in as estimate"]


def test_rows_out_of_order_stay_and_are_counted(tmp_path: Path) -> None:
    trace = read(tmp_path, row(job=1, submit=10), row(job=2, submit=5), row(job=3, submit=20))
    assert trace.jobs.job_id.tolist() == [1, 2, 3]
    assert trace.jobs.sorted_by_submit().job_id.tolist() == [2, 1, 3]
    assert found(trace) == {"submitted before the row above it: sorted by submission": (1, "repaired", "line 3, job 2")}


def test_another_job_under_a_used_number_gets_a_new_one(tmp_path: Path) -> None:
    trace = read(tmp_path, row(job=1), row(job=9), row(job=1, submit=5), row(job=1, submit=6))
    assert trace.jobs.job_id.tolist() == [1, 9, 10, 11]
    assert found(trace) == {"job number given twice: renumbered after the largest": (2, "repaired", "line 4, job 1")}


def test_max_jobs_counts_usable_ones(tmp_path: Path) -> None:
    trace = read(tmp_path, row(job=1, run=0), row(job=2), row(job=3), row(job=4), max_jobs=2)
    assert trace.jobs.job_id.tolist() == [2, 3]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_packed_logs_are_told_by_their_first_bytes(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "log.swf"
    path.write_bytes(pack(f"; x\n{row()}\n".encode()))  # type: ignore[operator]
    assert len(read_trace(path).jobs) == 1


def refusal(path: Path, **options: object) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read_swf(path, TraceOptions(**options))  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem.code, problem.message


def test_files_that_are_no_log(tmp_path: Path) -> None:
    path = tmp_path / "log.swf"
    assert refusal(path)[0] == "trace-missing"
    assert refusal(tmp_path)[0] == "trace-is-a-folder"
    path.write_bytes(b"")
    assert refusal(path)[0] == "trace-empty"
    path.write_text("; only: a header\n\n")
    assert refusal(path)[0] == "trace-empty"
    path.write_bytes(bytes(range(256)) * 10)
    assert refusal(path)[0] == "trace-binary"
    path.write_bytes(gzip.compress(row().encode())[:-9])
    assert refusal(path)[0] == "trace-unreadable"
    path.write_text("name: not a log\nkeys: [1, 2]\n")
    code, message = refusal(path)
    assert code == "trace-unusable"
    assert "line 1" in message
    path.write_text(row(allocated=64, requested=64))
    assert refusal(path, capacity=8)[0] == "trace-unusable"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=60), st.just(row()), st.binary(max_size=40).map(lambda b: b.decode("latin-1"))), max_size=8))
def test_whatever_the_lines_hold_the_reader_answers_or_refuses(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("swf") / "log.swf"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(InputError):
        trace = read_swf(path)
        assert 1 <= len(trace.jobs) <= trace.rows


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    times = st.one_of(st.integers(0, 10**9).map(float), st.floats(0, 1e9))
    submit, run, more = (data.draw(st.lists(times, min_size=count, max_size=count)) for _ in range(3))
    run = [max(value, 1e-3) for value in run]
    jobs = JobTable.of(
        submit,
        run,
        data.draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count)),
        estimate_s=np.add(run, more),
        job_id=data.draw(st.lists(st.integers(0, 10**12), min_size=count, max_size=count, unique=True)),
        user=data.draw(st.lists(st.integers(-1, 10**6), min_size=count, max_size=count)),
    )
    path = write_swf(jobs, tmp_path_factory.mktemp("swf") / "log.swf.gz", header={"Computer": "test"})
    trace = read_swf(path)
    assert trace.header["Computer"] == "test"
    for name in ("job_id", "submit_s", "run_s", "estimate_s", "processors", "user", "group", "queue"):
        assert np.array_equal(getattr(trace.jobs, name), getattr(jobs, name)), name


def test_writing_gives_equal_bytes_and_the_waits(tmp_path: Path) -> None:
    jobs = JobTable.of([0, 5], [10, 10], [1, 1])
    first = write_swf(jobs, tmp_path / "a.swf.gz").read_bytes()
    assert write_swf(jobs, tmp_path / "a.swf.gz").read_bytes() == first
    write_swf(jobs, tmp_path / "b.swf", start_s=[3.0, np.nan])
    waits = [line.split()[2] for line in (tmp_path / "b.swf").read_text().splitlines() if not line.startswith(";")]
    assert waits == ["3", "-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.swf.gz", "b.swf"]


def test_writing_where_one_cannot(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_swf(JobTable.of([0], [1], [1]), tmp_path / "none" / "a.swf")
    assert [problem.code for problem in caught.value.problems] == ["trace-unwritable"]


def test_half_a_million_jobs_are_read_quickly(tmp_path: Path) -> None:
    path = tmp_path / "log.swf"
    rest = row().partition(" ")[2]
    path.write_text("".join(f"{job} {rest}\n" for job in range(500_000)))
    before = time.process_time()
    assert len(read_swf(path).jobs) == 500_000
    assert time.process_time() - before < 3.0
