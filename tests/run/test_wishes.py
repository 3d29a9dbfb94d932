"""Features of nodes, licences and burst buffer that jobs ask for: what binds, what is dropped, what is said to be ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.workload.jobs import read_trace
from hpcsim.workload.readers.columns import write_csv

HEAD = "job_id,submit_s,run_s,estimate_s,processors,constraint,licences,buffer_bytes"


def run(folder: Path, rows: list[str], scheduler: dict[str, Any], **cluster: Any) -> Any:
    """Rows are submit,run,processors,constraint,licences,buffer on four nodes of eight cores."""
    lines = []
    for number, row in enumerate(rows, 1):
        submit, took, processors, *rest = row.split(";")
        lines.append(f"{number},{submit},{took},{took},{processors}," + ",".join(f'"{word}"' for word in rest))
    (folder / "log.csv").write_text(HEAD + "\n" + "\n".join(lines) + "\n")
    data = {
        "schema": 1, "name": "wishes", "question": "Who gets what?",
        "cluster": {"nodes": {"n": {"count": 4, "cores": 8, "idle_power": "100 W", "max_power": "300 W"}}, **cluster},
        "workload": {"jobs": {"trace": {"file": str(folder / "log.csv")}, "unit": "core"}}, "scheduler": {"policy": "fcfs", **scheduler},
    }  # fmt: skip
    return hpcsim.simulate(data)


def starts(done: Any) -> list[float]:
    return [float(x) for x in done.jobs["start_s"]]


def test_features_bind(tmp_path: Path) -> None:
    """Nodes 0-1 have ib, 1-2 a100: both are only on node 1, either on 0-2; the name of the group is a feature of all."""
    rows = ["0;10;8;ib&a100;;", "0;10;8;ib,a100;;", "0;10;24;a100|ib;;", "0;10;8;n;;"]
    done = run(tmp_path, rows, {"features": {"ib": "0-1", "a100": "1-2"}})
    assert starts(done) == [0.0, 10.0, 20.0, 20.0]
    assert done.jobs["hosts"].tolist() == ["n1", "n1", "n[0-2]", "n3"]


def test_features_that_no_node_has_and_forms_that_are_not_modelled_are_dropped_and_counted(tmp_path: Path) -> None:
    done = run(tmp_path, ["0;10;8;ib&nothing;;", "0;10;8;[ib*2];;", "0;10;8;;;"], {"features": {"ib": "0-1"}})
    assert done.jobs["job_id"].tolist() == [3]
    issues = dict(zip(done.tables["quality"]["issue"], done.tables["quality"]["rows"], strict=True))
    assert issues["asks for features that no node has"] == 1
    assert issues["asks for features in a way that is not modelled (counts, brackets)"] == 1


@pytest.mark.parametrize("scheduler", [{}, {"placement": "pack"}])
def test_what_binds_nothing_is_said(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    done = run(tmp_path, ["0;10;8;ib;matlab;1e9", "0;10;8;;;"], scheduler)
    assert starts(done) == [0.0, 0.0]
    text = " ".join(done.tables["quality"]["issue"])
    assert all(key in text for key in ("scheduler.features", "scheduler.licences", "scheduler.burst_buffer"))


def test_features_meet_partitions(tmp_path: Path) -> None:
    """The queue has nodes 1-3, the feature nodes 0-1: node 1 is left."""
    text = HEAD + ",queue\n1,0,10,10,8,ib,,,q\n2,0,10,10,8,ib,,,q\n"
    (tmp_path / "log.csv").write_text(text)
    data = {
        "schema": 1, "name": "wishes", "question": "Who gets what?", "cluster": {"nodes": {"n": {"count": 4, "cores": 8}}},
        "workload": {"jobs": {"trace": {"file": str(tmp_path / "log.csv")}, "unit": "core"}},
        "scheduler": {"policy": "fcfs", "features": {"ib": "0-1"}, "partitions": {"q": {"nodes": "1-3"}}},
    }  # fmt: skip
    assert hpcsim.simulate(data).jobs["hosts"].tolist() == ["n1", "n1"]


def test_licences_are_waited_for(tmp_path: Path) -> None:
    rows = ["0;10;1;;matlab:2;", "0;10;1;;matlab;", "0;10;1;;ansys;", "0;10;1;;gaussian;"]
    done = run(tmp_path, rows, {"licences": {"matlab": 2, "ansys": 1}})
    assert starts(done) == [0.0, 10.0, 10.0]  # first come, first served: nobody passes the second
    assert starts(run(tmp_path, rows, {"policy": "easy", "licences": {"matlab": 2, "ansys": 1}})) == [0.0, 10.0, 0.0]
    assert "asks for a licence that there is not" in done.tables["quality"]["issue"].tolist()


def test_burst_buffer_is_held_for_the_life_of_a_job_and_filled_at_the_rate_of_its_tier(tmp_path: Path) -> None:
    """100 GB of buffer; 60 GB take 60 GB/(10 GB/s) to fill and 60 GB/(5 GB/s) to empty: 18 s more. Two do not fit together; 200 GB never."""
    rows = ["0;10;1;;;60e9", "0;10;1;;;60e9", "0;10;1;;;40e9", "0;10;1;;;200e9"]
    plain = run(tmp_path, rows, {"policy": "easy", "burst_buffer": {"capacity": "100 GB"}})
    assert starts(plain) == [0.0, 10.0, 0.0]
    tier = {"scratch": {"type": "lustre", "capacity": "1 PB", "read": "10 GB/s", "write": "5 GB/s"}}
    staged = run(tmp_path, rows, {"policy": "easy", "burst_buffer": {"capacity": "100 GB", "staged_from": "scratch"}}, storage=tier)
    assert starts(staged) == [0.0, 28.0, 0.0]
    assert staged.jobs["run_s"].tolist() == pytest.approx([28.0, 28.0, 22.0])
    with pytest.raises(InputError, match="no storage tier"):
        run(tmp_path, rows, {"burst_buffer": {"capacity": "100 GB", "staged_from": "tape"}}, storage=tier)


def test_sbatch_lines_and_tables_carry_them(tmp_path: Path) -> None:
    line = "-dt 0 -e submit_batch_job | -jobid 1 -sim-walltime 10 -n 4 -t 1 -L matlab:2,ansys --bb=capacity=100G -C ib&a100 job.sh\n"
    (tmp_path / "log.events").write_text(line + line.replace("jobid 1", "jobid 2").replace("-L matlab:2,ansys --bb=capacity=100G", ""))
    jobs = read_trace(tmp_path / "log.events").jobs
    assert jobs.label("licences", int(jobs.filled("licences")[0])) == "matlab:2,ansys"
    assert jobs.filled("buffer_bytes").tolist() == [100 * 2**30, 0.0]
    again = read_trace(write_csv(jobs, tmp_path / "out.csv")).jobs
    assert again.filled("buffer_bytes").tolist() == jobs.filled("buffer_bytes").tolist()
    assert again.label("licences", int(again.filled("licences")[0])) == "matlab:2,ansys"
    due = write_csv(jobs.__class__.of([0, 5], [10, 10], [1, 1], due_s=[100.0, float("inf")]), tmp_path / "due.csv")
    assert read_trace(due).jobs.filled("due_s").tolist() == [100.0, float("inf")]
    (tmp_path / "dated.csv").write_text(
        "submit_time,duration,cpus,deadline\n2026-01-01 00:00:00,60,1,2026-01-01 01:00:00\n2026-01-01 00:10:00,60,1,\n"
    )
    from hpcsim.workload.jobs import TraceOptions

    columns = {"submit": "submit_time", "run": "duration", "processors": "cpus", "deadline": "deadline"}
    dated = read_trace(tmp_path / "dated.csv", options=TraceOptions(columns=columns)).jobs
    assert dated.filled("due_s").tolist() == [3600.0, float("inf")]
