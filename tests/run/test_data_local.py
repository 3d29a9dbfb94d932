"""Data sets that nodes keep: staging by hand, and the placement that goes to the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.scheduling.data_local import DataLocal
from hpcsim.scheduling.machine import Demand, Free, Machine, NodeClass

HEAD = "job_id,submit_s,run_s,estimate_s,processors,nodes,data,data_bytes"


def run(
    folder: Path, rows: list[str], *, cache: str = "1 TB", placement: str = "data-local", policy: str = "easy", **scheduler: Any
) -> Any:
    """Rows are submit,run,cores,nodes,data,bytes on four nodes of eight cores, two to a leaf switch; a store of 10 GB/s, ports of 25 GB/s."""
    lines = []
    for number, row in enumerate(rows, 1):
        submit, took, cores, nodes, *data = row.split(",")
        lines.append(f"{number},{submit},{took},{took},{cores},{nodes},{','.join(data)}")
    (folder / "log.csv").write_text(HEAD + "\n" + "\n".join(lines) + "\n")
    data = {
        "schema": 1, "name": "data", "question": "Who goes to the data?",
        "cluster": {
            "nodes": {"n": {"count": 4, "cores": 8, "idle_power": "100 W", "max_power": "300 W"}},
            "fabric": {"topology": "fat-tree", "link": "200 Gbit/s", "radix": 4, "latency": "1 us"},
            "storage": {"store": {"type": "lustre", "capacity": "1 PB", "read": "10 GB/s", "write": "5 GB/s"}},
        },
        "workload": {"jobs": {"trace": {"file": str(folder / "log.csv")}, "unit": "core"}},
        "scheduler": {"policy": policy, "placement": placement, "data": {"store": "store", "cache": cache}, **scheduler},
    }  # fmt: skip
    return hpcsim.simulate(data)


def test_staging_by_hand(tmp_path: Path) -> None:
    """100 GB at 10 GB/s to one node: 10 s; to two at once 20 s; beside a node that has it at 25 GB/s: 4 s; where it lies already: none."""
    rows = ["0,100,8,1,a,1e11", "200,100,8,1,a,1e11", "200,100,8,1,a,1e11", "400,100,16,2,b,1e11", "600,10,8,1,,"]
    done = run(tmp_path, rows)
    jobs = done.jobs
    assert jobs["hosts"].tolist() == ["n0", "n0", "n1", "n[0-1]", "n0"]
    assert jobs["start_s"].tolist() == [10.0, 200.0, 204.0, 420.0, 600.0]
    assert done.summary["data_hit_frac"] == pytest.approx(1 / 5)
    assert done.summary["staged_bytes"] == pytest.approx(4e11)


def test_four_jobs_that_tell_it_from_the_other_placements(tmp_path: Path) -> None:
    """Data b lies on node 3 once the others are taken; the last job goes there, others go to the first node and stage for 10 s."""
    rows = ["0,50,24,3,a,1e11", "0,500,8,1,b,1e11", "600,10,8,1,b,1e11", "700,10,8,1,b,1e11"]
    starts = {
        p: run(tmp_path, rows, placement=p).jobs["start_s"].tolist() for p in ("data-local", "first-fit", "best-fit", "spread", "pack")
    }
    assert starts["data-local"] == [30.0, 10.0, 600.0, 700.0]
    for other in ("first-fit", "best-fit", "spread", "pack"):
        assert starts[other][2] == 610.0  # from the store: its neighbour n1 has it not
    where = run(tmp_path, rows).jobs["hosts"].tolist()
    assert where == ["n[0-2]", "n3", "n3", "n3"]


def test_a_neighbour_is_next_best() -> None:
    """Two leaf switches of two nodes; the node with the data is busy: the job goes beside it, not to the emptier side."""
    machine = Machine.of([NodeClass("n", 4, 8)], switch=[[0, 0, 1, 1]])
    free = Free(machine, [Demand(1, cores=8), Demand(1, cores=4, data=0)])
    free.cached = {0: np.array([False, False, False, True])}
    free.take(0, free.allocate(0, [3], [1]))
    assert DataLocal.choose(free.demands[1], free.capacity(1), free) == ([2], [1])
    free.cached = None
    assert DataLocal.choose(free.demands[1], free.capacity(1), free) == ([0], [1])


def test_the_cache_forgets_what_was_read_longest_ago(tmp_path: Path) -> None:
    """200 GB hold two sets of 100 GB: a, b, a again, then c pushes b out; with no cache every job stages."""
    rows = [
        "0,10,32,4,a,1e11",
        "100,10,32,4,b,1e11",
        "200,10,32,4,a,1e11",
        "300,10,32,4,c,1e11",
        "400,10,32,4,a,1e11",
        "500,10,32,4,b,1e11",
    ]
    waits = run(tmp_path, rows, cache="200 GB").jobs["wait_s"].tolist()
    assert waits == [40.0, 40.0, 0.0, 40.0, 0.0, 40.0]
    assert run(tmp_path, rows, cache="0 B").jobs["wait_s"].tolist() == [40.0] * 6
    assert run(tmp_path, rows, cache="50 GB").jobs["wait_s"].tolist() == [40.0] * 6


def test_the_head_is_not_put_off_by_staging(tmp_path: Path) -> None:
    """The second job is promised 100 s (the first ends there); the third would end at 95 s, but stages for 10 s first and waits."""
    rows = ["0,100,8,1,,", "1,10,32,4,,", "2,93,8,1,a,1e11", "2,80,8,1,b,1e11"]
    assert run(tmp_path, rows).jobs["start_s"].tolist() == [0.0, 100.0, 120.0, 12.0]


@pytest.mark.parametrize("policy", ["easy", "conservative", "fcfs"])
def test_no_policy_starts_a_job_before_its_data_are_there(tmp_path: Path, policy: str) -> None:
    draw = np.random.default_rng(2)
    rows = [
        f"{s},{r},{8 * n},{n},{d},{5e10:g}"
        for s, r, n, d in zip(
            np.sort(draw.integers(0, 2000, 40)), draw.integers(1, 60, 40), draw.integers(1, 4, 40), draw.choice(list("abcdef"), 40)
        )
    ]
    done = run(tmp_path, rows, policy=policy, cache="120 GB", switch_off={"after": "100 s", "boot": "30 s"})
    jobs = done.jobs
    assert (jobs["status"] == "finished").all()
    assert 0 < done.summary["data_hit_frac"] < 1
    assert done.summary["boots"] > 0
    misses = round(done.summary["staged_bytes"] / 5e10)
    assert misses == round((1 - done.summary["data_hit_frac"]) * jobs["nodes"].sum())


def test_synthetic_jobs_read_what_is_drawn_and_an_unknown_store_is_refused(tmp_path: Path) -> None:
    data = {
        "schema": 1, "name": "data", "question": "Who goes to the data?",
        "cluster": {
            "nodes": {"n": {"count": 4, "cores": 8}}, "storage": {"store": {"type": "lustre", "read": "10 GB/s", "write": "5 GB/s"}},
        },
        "workload": {"jobs": {"synthetic": {"duration": "5 days", "load": 0.5, "max_processors": 16}, "unit": "core", "data": {"sets": 5, "size": "100 GB"}}},
        "scheduler": {"policy": "easy", "placement": "data-local", "data": {"store": "store", "cache": "300 GB"}},
    }  # fmt: skip
    found = {
        p: hpcsim.simulate(hpcsim.load(data).vary({"scheduler.placement": p})).summary["data_hit_frac"] for p in ("data-local", "worst-fit")
    }
    assert found["data-local"] > found["worst-fit"]
    with pytest.raises(InputError, match="no storage tier"):
        hpcsim.simulate(hpcsim.load(data).vary({"scheduler.data.store": "tape"}))
