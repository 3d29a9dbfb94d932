"""Every reader: what is read, what is counted, what is refused."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError, Problem
from hpcsim.workload.jobs import JobTable, Trace, TraceOptions, format_of, known_readers, read_trace
from hpcsim.workload.readers.columns import _ALIASES, FIELDS, LAYOUTS, write_csv
from hpcsim.workload.readers.slurm import STATES, _state
from hpcsim.workload.swf import write_swf

TRACES = Path(os.environ.get("HPCSIM_TRACES", Path(__file__).resolve().parents[3] / "shared" / "evidence" / "traces"))

HEAD = "JobID|JobIDRaw|JobName|User|Account|Partition|QOS|State|Submit|Start|End|ElapsedRaw|Timelimit|NNodes|AllocCPUS|ReqMem|AllocTRES|SubmitLine"
SOUND = {
    "JobID": "7",
    "JobIDRaw": "",
    "JobName": "solve",
    "User": "ada",
    "Account": "physics",
    "Partition": "batch",
    "QOS": "normal",
    "State": "COMPLETED",
    "Submit": "2024-01-01T00:00:00",
    "Start": "2024-01-01T00:10:00",
    "End": "2024-01-01T01:10:00",
    "ElapsedRaw": "3600",
    "Timelimit": "1-00:00:00",
    "NNodes": "2",
    "AllocCPUS": "64",
    "ReqMem": "4Gn",
    "AllocTRES": "billing=64,cpu=64,gres/gpu:a100=8,mem=8G,node=2",
    "SubmitLine": "sbatch run.sh",
}


def bars(**changes: object) -> str:
    values = SOUND | {"JobIDRaw": str(changes.get("JobID", "7"))} | {key: str(value) for key, value in changes.items()}
    return "|".join(values[key] for key in HEAD.split("|"))


def sacct(folder: Path, *rows: str, end: str = "\n", name: str = "log.sacct", **options: Any) -> Trace:
    path = folder / name
    path.write_text("\n".join([HEAD, *rows]) + end)
    return read_trace(path, options=TraceOptions(**options))


def found(trace: Trace) -> dict[str, tuple[int, str, str]]:
    return {finding.issue: (finding.rows, finding.action, finding.example) for finding in trace.quality}


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_trace(path, options=TraceOptions(**options))
    (problem,) = caught.value.problems
    assert problem.file or problem.path
    return problem.code


def test_a_row_of_sacct(tmp_path: Path) -> None:
    trace = sacct(tmp_path, bars())
    jobs = trace.jobs
    assert (jobs.job_id[0], jobs.submit_s[0], jobs.run_s[0], jobs.estimate_s[0], jobs.processors[0]) == (7, 0.0, 3600.0, 86400.0, 64)
    assert jobs.nodes is not None
    assert jobs.nodes[0] == 2
    assert jobs.gpus is not None
    assert jobs.gpus[0] == 8
    assert jobs.memory_bytes is not None
    assert jobs.memory_bytes[0] == 8 * 2**30
    assert [jobs.label(name, 0) for name in ("user", "group", "queue", "qos")] == ["ada", "physics", "batch", "normal"]
    assert jobs.names == ("solve",)
    assert trace.zero_s == 1704067200.0
    assert trace.quality == ()


@pytest.mark.parametrize(
    ("word", "state"),
    [(state, state) for state in STATES]
    + [(short, state) for state, short in STATES.items()]
    + [("CANCELLED by 75200", "CANCELLED"), ("CANCELLED+", "CANCELLED"), ("OUT_OF_ME+", "OUT_OF_MEMORY"), ("NODE_FAIL|x", "NODE_FAIL")]
    + [("BANANA", ""), ("", ""), ("COMPL+", "")],
)
def test_every_form_of_a_state(word: str, state: str) -> None:
    assert _state(word) == state


@pytest.mark.parametrize(
    ("row", "issue", "kept"),
    [
        ({"State": "PENDING", "Start": "Unknown", "End": "Unknown", "ElapsedRaw": "0"}, "never started", 1),
        ({"State": "CANCELLED by 7", "Start": "None", "End": "2024-01-01T00:05:00", "ElapsedRaw": "0"}, "cancelled before it started", 1),
        ({"State": "COMPLETED", "ElapsedRaw": "0"}, "zero run time", 1),
        ({"Submit": "Unknown", "Start": "Unknown"}, "submission time unknown", 1),
        ({"State": "NONSENSE"}, "no job state that is known", 1),
        ({"JobID": "abc"}, "no job number", 1),
        ({"JobID": "9_[3-8%2]", "State": "PENDING", "Start": "Unknown"}, "tasks of a job array that had not started", 1),
        ({"JobID": "7.batch", "State": "COMPLETED"}, "job step: its job has a row of its own", 1),
        ({"JobID": "7.0", "State": "FAILED"}, "job step: its job has a row of its own", 1),
        ({"AllocCPUS": "0", "AllocTRES": "", "NNodes": "0"}, "no processors", 1),
        ({"AllocCPUS": "5000"}, "more processors than the machine has (512)", 1),
        ({"JobID": "7"}, "row given twice", 1),
    ],
)
def test_rows_that_are_no_job_are_counted_and_located(tmp_path: Path, row: dict[str, str], issue: str, kept: int) -> None:
    trace = sacct(tmp_path, bars(), bars(**({"JobID": "8"} | row)), capacity=512)
    assert len(trace.jobs) == kept
    count, action, example = found(trace)[issue]
    assert (count, action) == (1, "dropped")
    assert example.startswith("line 3")
    assert trace.rows == 2


def test_one_that_still_runs_a_requeue_and_a_heterogeneous_job(tmp_path: Path) -> None:
    trace = sacct(
        tmp_path,
        bars(JobID="1", State="RUNNING", End="Unknown", ElapsedRaw="120"),
        bars(JobID="2", State="NODE_FAIL", ElapsedRaw="100", End="2024-01-01T00:11:40"),
        bars(JobID="2", State="COMPLETED", Submit="2024-01-01T00:12:00", Start="2024-01-01T00:20:00", ElapsedRaw="500"),
        bars(JobID="3+0", AllocCPUS="8", NNodes="1", ReqMem="1Gn", AllocTRES="cpu=8,gres/gpu=2", ElapsedRaw="50"),
        bars(JobID="3+1", AllocCPUS="4", NNodes="1", ReqMem="1Gn", AllocTRES="cpu=4", ElapsedRaw="60"),
        bars(JobID="3+1.batch", AllocCPUS="4"),
    )
    by = {name: row for row, name in enumerate(trace.jobs.names or ())} if trace.jobs.names else {}
    assert len(trace.jobs) == 4
    assert sorted(trace.jobs.run_s.tolist()) == [60.0, 100.0, 120.0, 500.0]
    het = trace.jobs.run_s.tolist().index(60.0)
    assert (trace.jobs.processors[het], trace.jobs.filled("nodes")[het], trace.jobs.filled("gpus")[het]) == (12, 2, 2.0)
    issues = found(trace)
    assert issues["still running at the end of the log: run time up to there"][:2] == (1, "repaired")
    assert issues["earlier run of a requeued job: counts as a job of its own"][:2] == (1, "repaired")
    assert issues["component of a heterogeneous job: put together with the first"][:2] == (1, "repaired")
    assert len(set(trace.jobs.job_id.tolist())) == 4
    assert not by or "2#1" in by


def test_arrays_take_their_own_numbers_where_they_are_given(tmp_path: Path) -> None:
    trace = sacct(tmp_path, bars(JobID="10_1", JobIDRaw="11"), bars(JobID="10_2", JobIDRaw="12"), bars(JobID="10_3", JobIDRaw="10"))
    assert trace.jobs.job_id.tolist() == [11, 12, 10]


def test_a_bar_in_a_text_is_mended_only_where_that_is_certain(tmp_path: Path) -> None:
    trace = sacct(
        tmp_path, bars(SubmitLine="sbatch --wrap=env | grep SLURM"), bars(JobID="8", JobName="a|b"), bars(JobID="9") + "|x|y|z|" * 9
    )
    assert found(trace)["delimiter inside a text field: put together again"][:2] == (2, "repaired")
    assert trace.jobs.processors.tolist() == [64, 64]
    assert found(trace)["row with too many fields"][:2] == (1, "dropped")


def test_durations_memory_and_limits(tmp_path: Path) -> None:
    trace = sacct(
        tmp_path,
        bars(JobID="1", Timelimit="UNLIMITED", ReqMem="4000Mc", AllocTRES=""),
        bars(JobID="2", Timelimit="Partition_Limit", ReqMem="16G", AllocTRES=""),
        bars(JobID="3", Timelimit="02:30:00", ReqMem="?", AllocTRES="cpu=64,mem=1.5T"),
    )
    assert trace.jobs.estimate_s.tolist() == [3600.0, 3600.0, 9000.0]
    assert trace.jobs.filled("memory_bytes").tolist() == [4000 * 2**20 * 64, 16 * 2**30, 1.5 * 2**40]
    assert found(trace)["no requested time: the run time stands in as estimate"][0] == 2


def test_an_overrun_by_option(tmp_path: Path) -> None:
    row = bars(ElapsedRaw="4000", Timelimit="01:00:00")
    assert sacct(tmp_path, row).jobs.estimate_s.tolist() == [4000.0]
    assert sacct(tmp_path, row, cut=True).jobs.run_s.tolist() == [3600.0]


def test_zones_and_what_daylight_saving_does(tmp_path: Path) -> None:
    berlin = {"zone": "Europe/Berlin"}
    winter = sacct(tmp_path, bars(), **berlin)
    assert winter.zero_s == 1704067200.0 - 3600
    trace = sacct(
        tmp_path,
        bars(JobID="1", Submit="2024-03-31T01:30:00", Start="2024-03-31T02:30:00", ElapsedRaw="60"),  # the clocks skip 02:00 to 03:00
        bars(JobID="2", Submit="2024-10-27T02:30:00", Start="2024-10-27T05:00:00", ElapsedRaw="60"),  # and show this hour twice
        **berlin,
    )
    issues = found(trace)
    assert issues["start time that the clocks of Europe/Berlin skip: read as an hour later"][:2] == (1, "repaired")
    assert issues["submit time that the clocks of Europe/Berlin show twice: the first is taken"][:2] == (1, "repaired")
    assert trace.zero_s == 1711845000.0  # 2024-03-31T00:30:00Z
    mixed = sacct(tmp_path, bars(JobID="1", Submit="2024-01-01T02:00:00+02:00"), bars(JobID="2", Submit="2024-01-01T00:05:00"))
    assert mixed.jobs.submit_s.tolist() == [0.0, 300.0]
    assert found(mixed)["submit time without a zone beside others with one: read as of UTC"] == (1, "kept", "line 3, job 2")
    assert refused(tmp_path / "log.sacct", zone="Mars/Olympus") == "time-zone-unknown"


def test_dependencies_in_a_circle_are_forgotten_and_counted(tmp_path: Path) -> None:
    rows = [
        bars(JobID=a, SubmitLine=f"sbatch --dependency=afterok:{b} x.sh")
        for a, b in (("1", "2"), ("2", "1"), ("3", "1"), ("4", "3"), ("5", "99"))
    ]
    trace = sacct(tmp_path, *rows)
    assert trace.jobs.after is None
    assert found(trace)["jobs that wait for each other in a circle: dependencies forgotten"] == (4, "repaired", "line 2, job 1")
    assert found(trace)["waits for a job that the log does not have: counts as ended"][:2] == (1, "repaired")
    chain = sacct(tmp_path, bars(JobID="1"), bars(JobID="2", SubmitLine="sbatch -d afterany:1 x.sh"))
    assert chain.jobs.filled("after").tolist() == [-1, 1]
    assert sacct(tmp_path, bars(JobID="1"), bars(JobID="2", SubmitLine="sbatch -d afterany:1 x.sh"), dependencies=False).jobs.after is None


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    trace = sacct(tmp_path, bars(), bars(JobID="8")[:60], end="")
    assert len(trace.jobs) == 1
    assert found(trace)["last row cut off: the file is not whole"] == (1, "dropped", "line 3")
    packed = gzip.compress((tmp_path / "log.sacct").read_bytes())
    (tmp_path / "cut.sacct.gz").write_bytes(packed[: len(packed) // 2])
    assert refused(tmp_path / "cut.sacct.gz") == "trace-unreadable"


def test_wrong_delimiter_and_encoding(tmp_path: Path) -> None:
    path = tmp_path / "log.sacct"
    path.write_text(HEAD.replace("|", "~") + "\n" + bars().replace("|", "~") + "\n")
    assert refused(path) == "trace-no-table"
    path.write_bytes("\n".join([HEAD, bars(User="Müller")]).encode("latin-1") + b"\n")
    trace = read_trace(path)
    assert found(trace)["not in UTF-8: read as Latin-1"] == (1, "kept", "line 2")
    assert trace.jobs.label("user", 0) == "Müller"
    path.write_bytes("\n".join([HEAD, bars(User="Müller")]).encode("utf-16"))
    trace = read_trace(path)
    assert trace.jobs.label("user", 0) == "Müller"
    assert "file in UTF-16" in found(trace)
    path.write_bytes(b"\0\1\2" * 100)
    assert refused(path) == "trace-binary"
    path.write_text(HEAD + "\n")
    assert refused(path) == "trace-no-rows"


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    texts = {"sacct": "\n".join([HEAD, bars()]), "sbatch-events": EVENT, "sacct-json": json.dumps(DOCUMENT), "kubernetes": json.dumps(PODS)}
    texts |= {layout.name: ",".join(dict.fromkeys([*layout.telling])) + "\n" for layout in LAYOUTS}
    for name, text in texts.items():
        for ending, pack in ((".txt", lambda b: b), (".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)):
            path = tmp_path / f"unnamed{ending}"
            path.write_bytes(pack(text.encode()))
            assert format_of(path) == name, (name, ending)
    path.write_bytes(b"hello")
    assert refused(path) == "trace-format-unknown"


EVENT = "-dt 10.5 -e submit_batch_job | -sim-walltime 100.0 --uid=u1 -J jobid_00003 -N 2 -n 8 -t 0-01:00:00 -q fast -p main --mem=4G --gres=gpu:2 x.job\n"


def test_simulator_events(tmp_path: Path) -> None:
    path = tmp_path / "log.events"
    path.write_text(
        EVENT
        + "-dt 20 -e submit_batch_job | -sim-walltime -1 --uid=u2 -jobid 9 -n 4 -c 8 -t 90 --mem-per-cpu=1000 -C 'a&b' --exclusive -d afterok:3 y.job\n"
        + "-dt 21 -e cancel_job | -jobid 9\n"
        + "something else\n"
        + "-dt 30 -e submit_batch_job | -sim-wallti"
    )
    trace = read_trace(path)
    jobs = trace.jobs
    assert jobs.job_id.tolist() == [3, 9]
    assert jobs.submit_s.tolist() == [10.5, 20.0]
    assert jobs.run_s.tolist() == [100.0, 5400.0]
    assert jobs.processors.tolist() == [8, 32]
    assert jobs.filled("nodes").tolist() == [2, -1]
    assert jobs.filled("gpus").tolist() == [4.0, 0.0]
    assert jobs.filled("memory_bytes").tolist() == [8 * 2.0**30, 32 * 1000 * 2.0**20]
    assert jobs.filled("exclusive").tolist() == [False, True]
    assert jobs.filled("after").tolist() == [-1, 3]
    assert jobs.label("constraint", int(jobs.filled("constraint")[1])) == "a&b"
    issues = found(trace)
    assert issues["event that submits nothing"] == (1, "dropped", "line 3, job 9")
    assert issues["row that is no event"][:2] == (1, "dropped")
    assert issues["lasts to its limit"][:2] == (1, "kept")
    assert trace.zero_s is None


DOCUMENT: dict[str, Any] = {
    "meta": {"Slurm": {"version": {"major": 23}}},
    "jobs": [
        {
            "job_id": 5,
            "name": "solve",
            "user": "ada",
            "account": "physics",
            "partition": "batch",
            "qos": "normal",
            "allocation_nodes": 2,
            "array": {"job_id": 0, "task_id": {"set": False, "infinite": False, "number": 0}},
            "het": {"job_id": 0, "job_offset": {"set": False, "number": 0}},
            "state": {"current": ["COMPLETED"], "reason": "None"},
            "time": {
                "submission": 1704067200,
                "start": 1704067260,
                "end": 1704070860,
                "elapsed": 3600,
                "limit": {"set": True, "infinite": False, "number": 1440},
            },
            "required": {"CPUs": 32},
            "tres": {
                "allocated": [
                    {"type": "cpu", "name": "", "count": 64},
                    {"type": "mem", "name": "", "count": 8192},
                    {"type": "gres", "name": "gpu", "count": 8},
                ],
                "requested": [],
            },
            "steps": [],
        },
        {
            "job_id": 7,
            "array": {"job_id": 6, "task_id": 1},
            "state": {"current": "TIMEOUT"},
            "time": {"submission": 1704067300, "start": 1704067360, "end": 0, "elapsed": 60, "limit": {"infinite": True}},
            "required": {"CPUs": 4},
            "tres": {"allocated": [{"type": "cpu", "count": 4}]},
        },
        "no job",
    ],
}


def test_sacct_as_json(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(DOCUMENT))
    trace = read_trace(path)
    jobs = trace.jobs
    assert jobs.job_id.tolist() == [5, 7]
    assert jobs.run_s.tolist() == [3600.0, 60.0]
    assert jobs.estimate_s.tolist() == [86400.0, 60.0]
    assert jobs.processors.tolist() == [64, 4]
    assert read_trace(path, options=TraceOptions(processors="requested")).jobs.processors.tolist() == [32, 4]
    assert jobs.filled("gpus").tolist() == [8.0, 0.0]
    assert jobs.filled("memory_bytes").tolist() == [8192 * 2.0**20, 0.0]
    assert found(trace)["entry that is no job"] == (1, "dropped", "entry 3")
    path.write_text(json.dumps(DOCUMENT)[:-40])
    assert refused(path) == "trace-json"
    path.write_text(json.dumps({"jobs": [], "meta": {"slurm": {}}}))
    assert refused(path) == "trace-no-rows"


def pod(
    name: str, phase: str, *, cpu: str = "1500m", memory: str = "2Gi", gpu: str | None = "2", end: str | None = "2024-01-01T01:00:00Z"
) -> dict[str, Any]:
    asks = {"cpu": cpu, "memory": memory} | ({"nvidia.com/gpu": gpu} if gpu else {})
    return {
        "metadata": {"name": name, "namespace": "team", "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {
            "containers": [{"resources": {"requests": asks}}],
            "initContainers": [{"resources": {"limits": {"cpu": "4"}}}],
            "priority": 10,
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2024-01-01T00:10:00Z"}]
            if phase != "Pending"
            else [],
            "containerStatuses": [{"state": {"terminated": {"finishedAt": end}}}] if end else [],
        },
    }


PODS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        pod("a", "Succeeded"),
        pod("b", "Running", end=None),
        pod("c", "Pending", end=None),
        pod("d", "Failed", gpu=None),
        {"metadata": 3},
    ],
}
PODS["items"][3]["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/mig-3g.20gb"] = "1"  # type: ignore[index]


def test_pods(tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(PODS))
    trace = read_trace(path)
    jobs = trace.jobs
    assert jobs.names == ("team/a", "team/b", "team/d")
    assert jobs.processors.tolist() == [4, 4, 4]  # the init container asks for more than the others
    assert jobs.filled("gpus").tolist() == [2.0, 2.0, 3 / 7]
    assert jobs.filled("memory_bytes").tolist() == [2.0**31] * 3
    assert jobs.run_s.tolist() == [3000.0, 3000.0, 3000.0]
    issues = found(trace)
    assert issues["never started"] == (1, "dropped", "entry 3, job team/c")
    assert issues["entry that is no pod"] == (1, "dropped", "entry 5")
    assert issues["still running at the end of the log: run time up to there"][:2] == (1, "repaired")
    assert jobs.filled("priority").tolist() == [10.0] * 3


def test_a_table_by_a_map_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("when;took [min];cpus;who;ram\n2024-01-01 10:00:00;2;4;ada;1.5\n2024-01-01 11:00:00;3;8;bob;2\n")
    columns = {"submit": "when", "run": "took [min]", "processors": "cpus", "user": "who", "memory": "ram [GiB]"}
    trace = read_trace(path, options=TraceOptions(columns=columns | {"run": "took [min] [min]"}))
    assert trace.jobs.run_s.tolist() == [120.0, 180.0]
    assert trace.jobs.filled("memory_bytes").tolist() == [1.5 * 2**30, 2.0**31]
    assert trace.jobs.submit_s.tolist() == [0.0, 3600.0]
    assert trace.jobs.label("user", 1) == "bob"
    for change, code in (
        ({"colour": "who"}, "column-map-key"),
        ({"user": "nobody"}, "column-map-column"),
        ({"memory": "ram [parsec]"}, "column-map-unit"),
        ({"processors": "cpus [GiB]"}, "column-map-unit"),
    ):
        assert refused(path, columns=columns | change) == code
    assert refused(path, columns={"run": "took [min]", "processors": "cpus"}) == "column-map-needs"
    assert refused(path, columns={"submit": "when", "processors": "cpus"}) == "column-map-needs"
    assert refused(path, columns={"submit": "when", "run": "cpus"}) == "column-map-needs"


def test_a_table_by_usual_headings(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,submit_time,start_time,end_time,cpus\n1,10,20,50,4\n1,11,21,52,4\n3,12,"30",20,1\n')
    trace = read_trace(path, format="csv")
    assert trace.jobs.run_s.tolist() == [30.0, 31.0]
    assert trace.jobs.submit_s.tolist() == [10.0, 11.0]  # no dates: the log's own seconds
    assert found(trace)["ends before it starts"] == (1, "dropped", "line 4, job 3")
    assert found(trace)["job number given twice: renumbered after the largest"][:2] == (1, "repaired")


def test_columns_that_are_not_understood_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("submit,run,Limit,cores,mem,colour\n0,100,900,4,16,red\n5,200,,8,32,blue\n")
    trace = read_trace(path, format="csv")
    assert trace.columns == {"submit": "submit", "run": "run", "estimate": "Limit", "processors": "cores"}
    assert trace.unread == {"mem": "memory=mem [GB]", "colour": "KEY=colour"}
    assert trace.jobs.estimate_s.tolist() == [900, 200]
    assert trace.jobs.memory_bytes is None
    mapped = {**trace.columns, "memory": "mem [GB]"}
    named = read_trace(path, options=TraceOptions(columns=mapped))
    assert (named.columns, named.unread) == (mapped, {"colour": ""})
    assert named.jobs.filled("memory_bytes").tolist() == [16e9, 32e9]
    path.write_text("submit,run,timelimit,cores,memory\n0,100,00:10:00,4,16 GiB\n5,200,01:00:00,8,512M\n")
    united = read_trace(path, format="csv")
    assert not united.unread
    assert united.jobs.filled("memory_bytes").tolist() == [16 * 2**30, 512 * 2**20]
    assert united.jobs.estimate_s.tolist() == [600, 3600]


def test_a_csv_is_taken_for_a_table_where_its_headings_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"Submit Time;elapsed;ncpus\n0;100;4\n"))
    assert format_of(path) == "csv"
    assert read_trace(path).jobs.processors.tolist() == [4]
    path = tmp_path / "log.csv"
    path.write_text("when,took,cpus\n0,100,4\n")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert caught.value.problems[0].code == "trace-headings-unknown"
    assert "the headings are: when, took, cpus" in str(caught.value)
    assert "--columns 'processors=cpus, submit=COLUMN, run=COLUMN'" in str(caught.value)
    path.write_text(",".join(LAYOUTS[1].telling) + "\n")
    assert format_of(path) == LAYOUTS[1].name


def test_the_page_lists_the_usual_headings() -> None:
    page = (Path(__file__).parents[2] / "docs/models/logs.md").read_text(encoding="utf-8")
    rows = "; ".join(line for line in page.splitlines() if line.startswith("| `"))
    for aliases in _ALIASES.values():
        assert "; ".join(aliases) in rows or ", ".join(aliases) in rows or aliases[0] == "memory_bytes"


def test_alibaba_shares_and_helios_zones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
        "p0,1500,1024,1,460,V100,LS,Running,0,500,10\np1,2000,1024,4,1000,,BE,Succeeded,5,600,\n"
    )
    trace = read_trace(path)
    assert trace.jobs.filled("gpus").tolist() == [0.46]
    assert trace.jobs.processors.tolist() == [2]
    assert trace.jobs.filled("memory_bytes").tolist() == [2.0**30]
    assert len(read_trace(path, options=TraceOptions(unit="gpu")).jobs) == 1
    path.write_text(
        "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue\n"
        "1,u,vcA,8,32,1,COMPLETED,2020-04-01 00:00:00+08:00,2020-04-01 00:01:00+08:00,2020-04-01 00:02:00+08:00,60,60\n"
        "2,u,vcA,0,4,1,FAILED,2020-04-01 00:00:00+08:00,2020-04-01 00:01:00+08:00,2020-04-01 00:02:00+08:00,60,60\n"
    )
    trace = read_trace(path, options=TraceOptions(unit="gpu"))
    assert trace.zero_s == 1585670400.0
    assert trace.jobs.processors.tolist() == [8]
    assert found(trace)["asks for no accelerator"] == (1, "dropped", "line 3, job 2")


# ---- properties ---------------------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> JobTable:
    count = draw(st.integers(1, 12))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    seconds = st.floats(0.001, 1e7, allow_nan=False) | st.integers(1, 10**6).map(float)
    run = np.array(column(seconds))
    words = draw(
        st.lists(st.text("abcxyz ,;|\"'äß-", min_size=1, max_size=8).filter(lambda w: w.strip() == w), min_size=1, max_size=4, unique=True)
    )
    user = np.array(column(st.integers(0, len(words) - 1)))
    return JobTable.of(
        np.sort(column(st.floats(0, 1e7, allow_nan=False))),
        run,
        column(st.integers(1, 512)),
        estimate_s=run * np.array(column(st.floats(1, 10))),
        job_id=draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count, unique=True)),
        user=user,
        labels={"user": words},
        nodes=column(st.integers(1, 64) | st.just(-1)),
        gpus=column(st.floats(0, 64)),
        memory_bytes=column(st.just(0.0) | st.floats(1, 1e13)),
        exclusive=column(st.booleans()),
        priority=column(st.integers(-100, 100).map(float)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=tables())
def test_what_is_written_as_csv_is_read_back(jobs: JobTable, tmp_path: Path) -> None:
    back = read_trace(write_csv(jobs, tmp_path / "jobs.csv"))
    assert format_of(tmp_path / "jobs.csv") == "hpcsim"
    for name in ("job_id", "submit_s", "run_s", "estimate_s", "processors"):
        assert getattr(back.jobs, name).tolist() == getattr(jobs, name).tolist(), name
    for name in ("nodes", "gpus", "memory_bytes", "exclusive", "priority"):
        assert back.jobs.filled(name).tolist() == jobs.filled(name).tolist(), name
    assert [back.jobs.label("user", u) for u in back.jobs.user.tolist()] == [jobs.label("user", u) for u in jobs.user.tolist()]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=tables())
def test_what_is_written_as_swf_keeps_its_memory(jobs: JobTable, tmp_path: Path) -> None:
    back = read_trace(write_swf(jobs, tmp_path / "jobs.swf"))
    assert back.jobs.run_s.tolist() == jobs.run_s.tolist()
    np.testing.assert_allclose(back.jobs.filled("memory_bytes"), jobs.filled("memory_bytes"), rtol=1e-12)


FORMATS = ("sacct", "sacct-json", "sbatch-events", "csv", "kubernetes", *(layout.name for layout in LAYOUTS))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FORMATS), data=st.data())
def test_whatever_is_in_a_file_there_are_jobs_or_one_message(name: str, data: st.DataObject, tmp_path: Path) -> None:
    sound = {
        "sacct": "\n".join([HEAD, bars(), bars(JobID="8")]),
        "sbatch-events": EVENT * 2,
        "sacct-json": json.dumps(DOCUMENT),
        "kubernetes": json.dumps(PODS),
    }
    layout = next((layout for layout in LAYOUTS if layout.name == name), None)
    heading = ",".join(dict.fromkeys(layout.telling)) if layout else "id,submit_time,run_time,cpus"
    text = sound.get(name, heading + "\n" + "1,2,3,4,5,6,7,8,9\n" * 2).encode()
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text)))
        kind = data.draw(st.integers(0, 2))
        text = text[:at] if kind == 0 and at > 10 else text[:at] + data.draw(st.binary(max_size=6)) + text[at + (kind == 1) :]
    path = tmp_path / "any"
    path.write_bytes(text)
    problems: list[Problem] = []
    try:
        trace = read_trace(path, format=name)
    except InputError as error:
        problems = error.problems
    if problems:
        assert len(problems) == 1
        return
    dropped = sum(f.rows for f in trace.quality if f.action == "dropped")
    assert len(trace.jobs) + dropped <= trace.rows + 4  # components put together are counted once more
    assert len(trace.jobs) >= 1


def test_every_reader_and_every_key_has_words() -> None:
    names = known_readers().names()
    assert {"swf", "sacct", "sacct-json", "sbatch-events", "csv", "kubernetes", "philly", "helios", "acme", "alibaba-gpu-2023"} <= set(
        names
    )
    assert all(FIELDS.values())
    for layout in LAYOUTS:
        assert set(layout.columns) <= set(FIELDS)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the logs are not at hand")
def test_real_logs_are_read_whole() -> None:
    philly = read_trace(TRACES / "philly_sia.csv.gz")
    assert len(philly.jobs) == philly.rows == 82247
    week = read_trace(TRACES / "slurmsim_ubccr_workload_week.events.gz")
    assert week.rows == 19579
    assert len(week.jobs) == 19552
    assert found(week)["zero run time"][:2] == (27, "dropped")
    assert (week.jobs.filled("memory_bytes") > 0).sum() == 19154 - 27
    assert len(week.jobs.labels["qos"]) == 5
    pods = read_trace(TRACES / "alibaba_gpu-v2023_openb_pod_list_default.csv.gz")
    assert pods.rows == 8152
    assert len(pods.jobs) + found(pods)["never started"][0] == 8152
    sample = read_trace(TRACES / "slurmsim_sacct_dump2110_sample.log.gz")
    assert len(sample.jobs) == 1
    assert sample.jobs.estimate_s.tolist() == [86400.0]


def test_a_long_log_is_read_fast(tmp_path: Path) -> None:
    rows = [bars(JobID=str(n), User=f"u{n % 50}", ElapsedRaw=str(60 + n % 977)) for n in range(1, 50_001)]
    begun = time.process_time()
    trace = sacct(tmp_path, *rows)
    assert len(trace.jobs) == 50_000
    assert time.process_time() - begun < 6.0  # about 1.5 s
