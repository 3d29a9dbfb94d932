"""Jobs of whole nodes: they grow over nodes of their own, keep to their partition's limit, and are missed where they are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.scheduling.machine import Machine, NodeClass, hostlist
from hpcsim.study.explain import explain_log


def scenario(
    folder: Path, rows: str, nodes: dict[str, Any] | None = None, jobs: dict[str, Any] | None = None, **rest: Any
) -> hpcsim.Scenario:
    (folder / "t.csv").write_text(rows)
    columns = dict(zip(("submit", "run", "processors", "queue"), rows.split("\n")[0].split(","), strict=False))
    a = {"count": 4, "cores": 16, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}
    return hpcsim.load(
        {
            "schema": 1, "name": "x", "question": "q?",
            "cluster": {"nodes": nodes or {"a": a}},
            "workload": {"jobs": {"trace": {"file": str(folder / "t.csv"), "format": "csv", "columns": columns}, **(jobs or {})}}, **rest,
        }
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["moldable", "equipartition", "goodput"])
def test_a_job_that_grows_gets_nodes_of_its_own(tmp_path: Path, policy: str) -> None:
    """Four jobs of one node each on four nodes: nobody can grow while all are there, and no node is ever held twice."""
    rng = np.random.default_rng(5)
    rows = "s,r,p\n" + "".join(f"{s},{r},{p}\n" for s, r, p in zip(range(0, 300, 10), rng.integers(20, 90, 30), rng.integers(1, 4, 30)))
    elastic = {"unit": "node", "elastic": {"law": "amdahl", "serial": 0, "least": 0.25, "most": 4}}
    for text in ("s,r,p\n" + 4 * "0,4000,1\n", rows):
        results = hpcsim.simulate(scenario(tmp_path, text, jobs=elastic, scheduler={"policy": policy}))
        states = results.tables["states"]
        assert states["busy"].max() <= 4
        assert states["idle"].min() >= 0
    lone = hpcsim.simulate(scenario(tmp_path, "s,r,p\n0,4000,1\n", jobs=elastic, scheduler={"policy": policy}))
    assert lone.tables["jobs"]["end_s"].tolist() == [1000.0]
    assert lone.tables["jobs"]["hosts"].tolist() == ["a[0-3]"]


@pytest.mark.parametrize(
    ("unit", "rows", "left"), [("node", "0,10,2,x\n0,10,1,x\n0,10,2,y\n", 2), ("core", "0,10,64,x\n0,10,16,x\n0,10,64,y\n", 2)]
)
def test_nodes_of_a_partition_are_counted_where_the_log_has_processors_only(tmp_path: Path, unit: str, rows: str, left: int) -> None:
    limits = {"policy": "fcfs", "placement": "pack", "partitions": {"x": {"max_nodes": 1}, "y": {}}}
    results = hpcsim.simulate(scenario(tmp_path, "s,r,p,q\n" + rows, jobs={"unit": unit}, scheduler=limits))
    assert len(results.tables["jobs"]) == left
    assert results.tables["quality"].query("action == 'dropped'")["issue"].tolist() == ["more nodes than partition x allows"]
    assert any(note.startswith("Beware: 1 job is left out of all figures: 1 more nodes than partition x allows") for note in results.notes)


def test_an_explanation_tells_what_it_is_without(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("submit,run,processors\n0,10,1\n0,10,1\n0,10,5\n")
    results = explain_log(tmp_path / "log.csv", nodes=1, trace_format="csv")
    assert any(note.startswith("1 of 3 rows of the log were dropped") for note in results.notes)


def test_a_group_that_ends_in_a_digit_keeps_its_nodes_apart() -> None:
    machine = Machine.of([NodeClass("a", 12, 1), NodeClass("a1", 3, 1)])
    assert hostlist(machine, [10]) == "a10"
    assert hostlist(machine, [12, 13, 14]) == "a1-[0-2]"
    assert hostlist(machine, [12]) == "a1-0"


@pytest.mark.parametrize(
    ("policy", "elastic", "said"),
    [("moldable", False, "no job is elastic"), ("easy", True, "leaves them as they are"), ("easy", False, ""), ("goodput", True, "")],
)
def test_what_changes_no_size_is_told(tmp_path: Path, policy: str, elastic: bool, said: str) -> None:
    jobs = {"unit": "node", **({"elastic": {"law": "amdahl"}} if elastic else {})}
    notes = hpcsim.simulate(scenario(tmp_path, "s,r,p\n0,40,1\n", jobs=jobs, scheduler={"policy": policy})).notes
    assert [("elastic" in note or "their size" in note) and said in note for note in notes].count(True) == bool(said)
