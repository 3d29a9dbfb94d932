"""What jobs wait for on nodes: every reason by a case made for it, and against the sums of what runs."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

import hpcsim
from hpcsim.cli.main import main
from hpcsim.scheduling.machine import CORES, GPUS, MEMORY, Machine, NodeClass
from hpcsim.scheduling.requests import Asking, demands_of
from hpcsim.study.binding import House, binding_spans, lacking, run_in, with_nodes
from hpcsim.study.explain import explain_log
from hpcsim.study.forecast import start_draws
from hpcsim.study.waits import house_room, house_wait
from hpcsim.testing.policies import random_machine
from hpcsim.workload.jobs import JobTable
from hpcsim.workload.readers.columns import write_csv

GB = 10**9


def house(jobs: JobTable, policy: str = "easy", nodes: int = 2, gpus: int = 4) -> House:
    machine = Machine.of([NodeClass("n", nodes, 8, gpus, 8 * GB)])
    jobs = jobs.sorted_by_submit()
    return House(machine, jobs, demands_of(jobs, machine, Asking()), policy, "first-fit", Asking(), machine.cores)


def reasons(jobs: JobTable, job: int, **of: str) -> list[tuple[float, float, str]]:
    spans = house_wait(house(jobs, **of), of.get("policy", "easy"), job).wait_reasons  # type: ignore[arg-type]
    return [tuple(row) for row in spans[["start_s", "end_s", "reason"]].astype(object).to_numpy().tolist()]


def test_memory_and_what_is_kept_for_others() -> None:
    """Job 1 holds all memory until 10 s, job 2 a little of it until 40 s; job 5 fits then, but stands behind job 4, which takes all until 45 s."""
    jobs = JobTable.of(
        [0, 0, 1, 2, 3], [10, 30, 5, 5, 50], [2, 2, 2, 2, 1], memory_bytes=[16 * GB, 2.0, 2 * GB, 16 * GB, GB], nodes=[2, 2, 2, 2, 1]
    )
    assert reasons(jobs, 3) == [(1.0, 10.0, "memory")]
    assert reasons(jobs, 5, policy="fcfs") == [(3.0, 10.0, "memory"), (10.0, 40.0, "kept for others"), (40.0, 45.0, "memory")]


def test_accelerators_that_lie_apart() -> None:
    jobs = JobTable.of([0, 0, 1], [10, 20, 5], [1, 1, 1], gpus=[3, 3, 2], nodes=[1, 1, 1])
    found = house_wait(house(jobs), "easy", 3)
    assert found.wait_reasons["reason"].tolist() == ["accelerators together on nodes"]
    assert found.summary["short_s"] == found.summary["wait_s"] == 9.0
    assert "it lacked accelerators together on nodes" in found.answer


def scenario(**scheduler: object) -> hpcsim.Scenario:  # type: ignore[name-defined]
    return hpcsim.load(
        {
            "schema": 1,
            "name": "rules",
            "question": "Why do they wait?",
            "cluster": {"nodes": {"n": {"type": "cpu-2s", "count": 4, "cores": 8}}},
            "workload": {"jobs": {"trace": {"file": "jobs.csv"}, "nodes": "n", "unit": "core"}},
            "scheduler": {"policy": "easy", "placement": "first-fit", **scheduler},
        }
    )


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"qos": {"small": {"max_jobs": 1}}}, "limit: qos small jobs"),
        ({"licences": {"solver": 1}, "qos": {"small": {"takes": {"solver": 1}}}}, "solver"),
        ({"partitions": {"short": {"nodes": "0-0"}}}, "its partition or features: other nodes have room"),
        ({"maintenance": {"disks": {"start": "50 s", "duration": "100 s"}}}, "kept for a reservation or maintenance"),
    ],
)
def test_rules_of_a_scenario(rules: dict[str, object], reason: str, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.csv").write_text(
        "job_id,submit_s,run_s,processors,estimate_s,queue,qos\n1,0,20,8,20,short,small\n2,1,60,8,60,short,small\n"
    )
    (tmp_path / "rules.yaml").write_text(json.dumps(scenario(**rules).data()))
    found = explain_log(str(tmp_path / "rules.yaml"), job=2)
    assert found.wait_reasons["reason"].tolist()[0] == reason
    assert found.summary["wait_s"] > 0


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative"])
def test_what_is_said_to_lack_is_what_the_running_jobs_leave_too_little_of(policy: str) -> None:
    names = {"cores": CORES, "accelerators": GPUS, "memory": MEMORY}
    seen = set()
    for seed in range(12):
        machine, jobs = random_machine(seed)
        jobs = jobs.sorted_by_submit()
        one = House(machine, jobs, demands_of(jobs, machine, Asking()), policy, "first-fit", Asking(), machine.cores)
        outcome = run_in(one)
        kinds, kind = one.demands
        for row in np.flatnonzero(outcome.start_s > jobs.submit_s).tolist():
            spans = lacking(one, outcome, row)
            assert (spans[0][0], spans[-1][1]) == (jobs.submit_s[row], outcome.start_s[row])
            assert all(a[1] == b[0] for a, b in pairwise(spans))
            mine = kinds[kind[row]]
            turns = np.unique(np.concatenate([outcome.start_s, outcome.end_s, jobs.submit_s[row : row + 1]]))
            for now in turns[(turns >= jobs.submit_s[row]) & (turns < outcome.start_s[row])].tolist():
                why = next(why for low, high, why in spans if low <= now < high)
                left = machine.total.sum(axis=1)
                for other in np.flatnonzero((outcome.start_s <= now) & (outcome.end_s > now)).tolist():
                    its, nodes = kinds[kind[other]], list(outcome.places[other].nodes)
                    taken = its.chunks * np.array([its.cores, its.gpus, its.memory])
                    left = left - (machine.total[:, nodes].sum(axis=1) if its.exclusive else taken)
                need = mine.chunks * np.array([mine.cores, mine.gpus, mine.memory])
                assert {name for name in why if name in names} == {name for name, at in names.items() if need[at] > left[at]}
                seen.update(why)
    assert {"cores", "accelerators"} <= seen


def test_the_room_says_which_resource_binds_and_what_more_of_it_brings() -> None:
    """Each job takes all memory of a node and one of its eight cores: memory binds, and twice of it lets two run at once."""
    jobs = JobTable.of([0] * 6, [10] * 6, [1] * 6, memory_bytes=[8 * GB] * 6, nodes=[1] * 6)
    one = house(jobs)
    spans = binding_spans(one, run_in(one))
    assert spans == {"any": 20.0, "memory": 20.0}
    found = house_room(one, "easy", rack=2)
    assert found.binding["reason"].tolist() == ["memory"]
    rows = found.room.set_index("case")["mean_wait_s"]
    assert rows["as it is"] == 10.0
    assert rows["one more rack (2 nodes)"] == rows["twice the memory on each node"] == pytest.approx(20 / 6)
    assert rows["one more rack (2 nodes)"] == run_in(with_nodes(one, 2)).wait_s.mean()
    assert "the first in line lacked memory for 100 % of that time" in found.answer


def test_a_forecast_on_nodes_counts_what_a_pool_does_not_see() -> None:
    """One core is free, but the memory is taken until 100 s: on nodes the job waits, on a pool it does not."""
    jobs = JobTable.of([0], [100], [1], memory_bytes=[8 * GB], nodes=[1])
    one = house(jobs, nodes=1)
    ask = {"processors": 8, "estimate_s": 10.0, "at_s": 50.0, "draws": 3}
    on_nodes = start_draws(jobs, 8, "easy", house=one, **ask)  # type: ignore[arg-type]
    assert (on_nodes > 50).all()
    assert start_draws(jobs, 16, "easy", **ask).tolist() == [50.0] * 3  # type: ignore[arg-type]


def test_the_command_tells_the_resource(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    jobs = JobTable.of([0] * 6, [10] * 6, [1] * 6, memory_bytes=[8 * GB] * 6, nodes=[1] * 6)
    log = tmp_path / "jobs.csv"
    write_csv(jobs, log)
    assert main(["explain", str(log), "--nodes", "2", "--cores-per-node", "8", "--memory-per-node", "8 GB"]) == 0
    text = capsys.readouterr().out
    assert "what the first in line was short of" in text
    assert "memory" in text
