"""Jobs that change their size in a scenario and in a replay: the laws, the log's own columns, energy while jobs are on the machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cli.replay import stopping_of
from hpcsim.cost.speedup import AmdahlLaw, DowneyLaw
from hpcsim.engine.stopping import Stopping
from hpcsim.run.bind import bind
from hpcsim.study.replay import replay
from hpcsim.workload.jobs import TraceOptions, read_trace

ROWS = "submit,run,processors\n0,8,2\n2,4,2\n"


def scenario(folder: Path, rows: str, scheduler: dict[str, Any], elastic: dict[str, Any] | None) -> Any:
    (folder / "log.csv").write_text(rows)
    jobs: dict[str, Any] = {"trace": {"file": str(folder / "log.csv"), "format": "csv"}, "unit": "core"}
    return hpcsim.load(
        {
            "schema": 1, "name": "elastic", "question": "Who has how many?",
            "cluster": {"nodes": {"n": {"count": 1, "cores": 4, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}}},
            "workload": {"jobs": jobs | ({"elastic": elastic} if elastic else {})}, "scheduler": scheduler,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "ends"), [("moldable", [4.0, 6.0]), ("equipartition", [6.0, 6.0]), ("goodput", [6.0, 6.0]), ("easy", [8.0, 6.0])]
)
def test_a_scenario_says_how_jobs_change(tmp_path: Path, policy: str, ends: list[float]) -> None:
    """The two jobs of the hand-worked case; energy is that of the processor-seconds held, 50 W each: 24 of them in every case."""
    results = hpcsim.simulate(scenario(tmp_path, ROWS, {"policy": policy}, {"law": "amdahl", "serial": 0, "least": 0.5, "most": 2}))
    assert [float(end) for end in results.jobs["end_s"]] == ends
    assert float(results.jobs["device_s"].sum()) == pytest.approx(24 / 4)
    makespan = max(ends)
    assert results.summary["it_energy_j"] == pytest.approx(100 * makespan + 50 * 24)
    assert results.summary["utilisation_frac"] == pytest.approx(24 / (4 * makespan))


def test_a_job_that_stands_still_draws_nothing(tmp_path: Path) -> None:
    """Suspended from 2 to 6 s: it waits four seconds, and holds nothing meanwhile."""
    rows = "submit,run,processors\n0,8,4\n2,4,4\n"
    results = hpcsim.simulate(scenario(tmp_path, rows, {"policy": "srpt"}, None))
    assert results.jobs["end_s"].tolist() == [12.0, 6.0]
    assert results.jobs["wait_s"].tolist() == [4.0, 0.0]
    assert results.jobs["run_s"].tolist() == [8.0, 4.0]
    assert results.summary["it_energy_j"] == pytest.approx(300 * 12)
    assert results.summary["utilisation_frac"] == pytest.approx(1.0)


def test_the_throughput_of_a_training_run_is_a_law() -> None:
    """The cost model's own step times, the batch free up to eight times where the noise scale says how far that pays."""
    data: dict[str, Any] = {
        "schema": 1, "name": "elastic", "question": "What does goodput say?",
        "cluster": {"nodes": {"a": {"type": "dgx-a100-80gb", "count": 4}}, "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8}},
        "workload": {
            "training": {"bert": {"model": "bert-large", "steps": 10, "global_batch": 64, "sequence": 512, "count": 1, "layout": "micro_batch=1,tp=1,pp=1"}},
            "jobs": {"synthetic": {"jobs": 3, "duration": "1 h"}, "elastic": {"law": "training", "run": "bert"}},
        },
        "scheduler": {"policy": "goodput"},
    }  # fmt: skip
    plain = hpcsim.load(data)
    table = dict(bind(plain).jobs.elastic.table)  # type: ignore[union-attr]
    for nodes in (1, 2, 4):
        step_s = float(bind(plain.vary({"workload.training.bert.count": nodes})).trainings[0].cost.step_time_s)
        assert table[8.0 * nodes] == pytest.approx(64 / step_s)
    noisy = dict(bind(plain.vary({"workload.jobs.elastic.noise_scale": 1e6})).jobs.elastic.table)  # type: ignore[union-attr]
    assert noisy[32.0] > 1.05 * table[32.0]
    assert all(noisy[size] >= table[size] for size in table)
    still = dict(bind(plain.vary({"workload.jobs.elastic.noise_scale": 0})).jobs.elastic.table)  # type: ignore[union-attr]
    assert still == pytest.approx(table)


@pytest.mark.parametrize(
    ("elastic", "code"),
    [
        ({"law": "downey", "serial": 0.1}, "elastic-key"),
        ({"law": "table"}, "elastic-missing"),
        ({"law": "table", "table": {"x": 1}}, "elastic-table-key"),
        ({"law": "training", "run": "nobody"}, "elastic-run-unknown"),
        ({"law": "downey", "least": 2}, "not-a-fraction"),
    ],
)
def test_what_is_no_law_is_refused(tmp_path: Path, elastic: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as error:
        hpcsim.simulate(scenario(tmp_path, ROWS, {"policy": "goodput"}, elastic))
    assert [problem.code for problem in error.value.problems] == [code]


def test_a_log_may_say_it_by_column(tmp_path: Path) -> None:
    """Job 1 by Amdahl, job 2 by Downey, job 3 as fast as it has processors, job 4 has one size; what the log says goes before what is said of the log."""
    rows = "submit,run,cpus,lo,hi,s,a,v\n0,8,2,1,4,0.5,,\n0,4,2,,8,,6,0.5\n0,4,2,2,3,,,\n0,4,2,,,,,\n"
    (tmp_path / "log.csv").write_text(rows)
    columns = {
        "submit": "submit",
        "run": "run",
        "processors": "cpus",
        "least": "lo",
        "most": "hi",
        "serial": "s",
        "parallelism": "a",
        "variance": "v",
    }
    trace = read_trace(tmp_path / "log.csv", options=TraceOptions(columns=columns))
    assert trace.jobs.filled("least").tolist() == [1, 2, 2, -1]
    assert trace.jobs.filled("most").tolist() == [4, 8, 3, -1]
    assert [trace.jobs.laws[law] if law >= 0 else None for law in trace.jobs.filled("law").tolist()] == [
        AmdahlLaw(0.5), DowneyLaw(6.0, 0.5), AmdahlLaw(0.0), None,
    ]  # fmt: skip
    results = replay(
        tmp_path / "log.csv", nodes=8, columns=columns, policies=("moldable", "equipartition"), elastic="amdahl:serial=0,most=2", check=True
    )
    assert len(results.jobs) == 8
    assert results.jobs["resizes"].sum() > 0


def test_replay_charges_what_changing_costs(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(ROWS)
    how: dict[str, Any] = {"nodes": 4, "trace_format": "csv", "policies": ("equipartition",), "elastic": "amdahl:serial=0,least=0.5,most=2"}
    free = replay(tmp_path / "log.csv", **how)
    paid = replay(tmp_path / "log.csv", **how, stopping=stopping_of("save=1 s,restore=2 s"))
    assert free.jobs["end_s"].tolist() == [6.0, 6.0]
    assert paid.jobs["end_s"].tolist() == [10.5, 6.0]
    assert paid.jobs["resizes"].tolist() == [2, 0]
    on_nodes = replay(tmp_path / "log.csv", **{**how, "nodes": 2}, cores_per_node=2, placement="pack")
    assert on_nodes.jobs["end_s"].tolist() == [6.0, 6.0]
    assert np.isclose(on_nodes.policies["utilisation_frac"][0], 1.0)


@pytest.mark.parametrize("policy", ["srpt", "equipartition"])
def test_a_log_of_accelerators_is_replayed_on_a_pool(tmp_path: Path, policy: str) -> None:
    """What else a row asks for counts for nothing where jobs take any of a number of accelerators."""
    (tmp_path / "log.csv").write_text("submit,run,gpus,nodes,memory_bytes\n0,8,4,2,1e15\n2,4,4,2,1e15\n")
    results = replay(tmp_path / "log.csv", nodes=2, gpus_per_node=2, trace_format="csv", policies=(policy,))
    assert results.jobs["end_s"].tolist() == ([12.0, 6.0] if policy == "srpt" else [8.0, 12.0])


def test_costs_of_stopping_by_text() -> None:
    assert stopping_of("save=60 s,restore=2 min,interval=1 h,resubmit=30 s,notice=false") == Stopping(60.0, 120.0, 3600.0, 30.0, False)
    assert stopping_of(None) is None
    for text in ("save", "safe=1 s", "save=1", "notice=maybe", "interval=0 s", "save=-1 s"):
        with pytest.raises(InputError):
            stopping_of(text)
