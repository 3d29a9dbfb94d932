"""Batch jobs that communicate: what they lose by hand, where placement and company matter, and that bytes are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError

CLUSTER = {
    "nodes": {"cpu": {"cores": 1, "count": 12}},
    "fabric": {"topology": "fat-tree", "link": "80 Gbit/s", "latency": "1 us", "per_node": 1, "down": [4, 3], "up": [1, 1]},
}
"""Three leaves of four nodes with a 10 GB/s port each, and one cable of that rate up from each leaf."""


def swf(path: Path, jobs: list[tuple[float, float, int]]) -> Path:
    """Write jobs (submit, run, nodes) as a log."""
    rows = [f"{i} {submit:g} -1 {run:g} {n} -1 -1 {n} {run:g} -1 1 1 1 -1 1 -1 -1 -1" for i, (submit, run, n) in enumerate(jobs, start=1)]
    path.write_text("; MaxNodes: 12\n" + "\n".join(rows) + "\n")
    return path


def run(tmp_path: Path, jobs: list[tuple[float, float, int]], communication: dict[str, Any], **rest: Any) -> Any:
    """Simulate jobs with a communication; ``rest`` are dotted paths of the scenario, with __ for dots."""
    file = swf(tmp_path / "jobs.swf", jobs)
    scenario = hpcsim.load(
        {
            "schema": 1,
            "name": "talk",
            "question": "?",
            "cluster": CLUSTER,
            "workload": {"jobs": {"trace": {"file": str(file)}, "unit": "node", "communication": communication}},
        }
    )
    return hpcsim.simulate(scenario.vary({key.replace("__", "."): value for key, value in rest.items()}))


def test_two_jobs_that_share_a_cable_lose_what_max_min_says(tmp_path: Path) -> None:
    """Rings of six nodes cross the middle leaf with one node's traffic each: T = C + X·(1 + X′/(C′ + X′)) as long as both run."""
    results = run(tmp_path, [(0, 1000, 6), (0, 1000, 6)], {"ring": {"pattern": "ring", "time": "40 %"}})
    assert results.jobs["run_s"].tolist() == pytest.approx([600 + 400 * (1 + 0.4)] * 2, rel=1e-9)
    assert results.jobs["undisturbed_s"].tolist() == [1000, 1000]
    assert results.jobs["communication"].tolist() == ["ring", "ring"]
    assert results.summary["contention_s"] == pytest.approx(2 * 400 * 0.4)
    row = results.tables["contention"].iloc[0]
    assert (row["name"], row["activity"], row["slowed_by"]) == ("job 1", "run", "batch jobs")
    assert row["coincident_s"] == pytest.approx(600 + 2 * 400)


def test_a_job_alone_takes_the_time_of_the_log_to_the_last_bit(tmp_path: Path) -> None:
    results = run(tmp_path, [(7, 1234.5, 6)], {"ring": {"pattern": "ring", "rate": "1 GB/s"}})
    assert results.jobs["end_s"].tolist() == [7 + 1234.5]
    assert "contention" not in results.tables


def test_bytes_on_the_links_are_what_the_jobs_send(tmp_path: Path) -> None:
    """Twelve flows of 1 GB/s on ports, of which two rings cross leaves; the company that slows them changes no byte."""
    results = run(tmp_path, [(0, 1000, 6), (100, 500, 6)], {"ring": {"pattern": "ring", "rate": "1 GB/s"}})
    links = results.tables["links"].set_index("link")["carried_bytes"]
    ports = links[[name for name in links.index if name.startswith("cpu/")]]
    assert ports.to_numpy() == pytest.approx([1e12] * 6 + [5e11] * 6, rel=1e-9)


def test_nodes_far_apart_cost_a_job_its_own_traffic(tmp_path: Path) -> None:
    """All to all on 8 nodes of two leaves, a cable up each: 4 nodes send 4/7 of their bytes over it, 16/7 of a port, sending takes 16/7 as long."""
    far = run(tmp_path, [(0, 1000, 8)], {"fft": {"pattern": "all-to-all", "time": "35 %"}})
    assert far.jobs["run_s"].tolist() == pytest.approx([650 + 350 * 16 / 7], rel=1e-9)
    near = run(tmp_path, [(0, 1000, 4)], {"fft": {"pattern": "all-to-all", "time": "35 %"}})
    assert near.jobs["run_s"].tolist() == pytest.approx([1000], rel=1e-12)
    said = [note for note in far.notes if "communicate" in note]
    assert len(said) == 1
    assert "45 % longer" in said[0]


def test_hidden_traffic_costs_nothing_until_it_takes_longer(tmp_path: Path) -> None:
    jobs = [(0.0, 1000.0, 6), (0.0, 1000.0, 6)]
    hidden = run(tmp_path, jobs, {"ring": {"pattern": "ring", "time": "40 %", "overlap": True}})
    assert hidden.jobs["run_s"].tolist() == [1000.0, 1000.0]
    full = run(tmp_path, jobs, {"ring": {"pattern": "ring", "time": "90 %", "overlap": True}})
    assert full.jobs["run_s"].tolist() == pytest.approx([900 * 1.9] * 2, rel=1e-9)


def test_jobs_that_read_one_tier_share_it(tmp_path: Path) -> None:
    """Two jobs of three nodes read 1 GB/s a node of 4 GB/s: alone they read 3/4 of the time, beside the other 6/4."""
    storage = {"home": {"type": "nvme", "capacity": "1 PB", "read": "4 GB/s", "write": "4 GB/s"}}
    talk = {"io": {"pattern": "storage", "storage": "home", "rate": "1 GB/s"}}
    alone = run(tmp_path, [(0, 1000, 3)], talk, cluster__storage=storage)
    assert alone.jobs["run_s"].tolist() == [1000.0]
    both = run(tmp_path, [(0, 1000, 3), (0, 1000, 3)], talk, cluster__storage=storage)
    assert both.jobs["run_s"].tolist() == pytest.approx([250 + 750 * 1.75] * 2, rel=1e-9)


def test_shares_and_queues_say_who_communicates(tmp_path: Path) -> None:
    talk = {"a": {"pattern": "ring", "time": "10 %", "share": "50 %"}, "b": {"pattern": "halo", "time": "10 %", "share": "30 %"}}
    results = run(tmp_path, [(10.0 * i, 5.0, 2) for i in range(400)], talk)
    count = results.jobs["communication"].value_counts(dropna=False)
    assert 160 < count["a"] < 240
    assert 85 < count["b"] < 155
    none = run(tmp_path, [(0, 5, 2)], {"q": {"pattern": "ring", "time": "10 %", "queue": "elsewhere"}})
    assert none.jobs["communication"].isna().all()


def test_a_training_run_and_batch_jobs_slow_each_other(tmp_path: Path) -> None:
    """The ring of a run that sends all the time beside a job's ring on one cable."""
    file = swf(tmp_path / "jobs.swf", [(0, 3000, 6)])
    scenario = hpcsim.load(
        {
            "schema": 1,
            "name": "mixed",
            "question": "?",
            "cluster": {"nodes": {"a100": {"type": "dgx-a100-80gb", "count": 12}}, "fabric": {**CLUSTER["fabric"], "link": "hdr"}},
            "workload": {
                "jobs": {"trace": {"file": str(file)}, "unit": "node", "communication": {"r": {"pattern": "ring", "time": "50 %"}}},
                "training": {
                    "t": {
                        "model": "llama2-7b",
                        "steps": 20,
                        "global_batch": 96,
                        "sequence": 2048,
                        "count": 6,
                        "layout": {"tp": 1, "pp": 1, "micro_batch": 1, "recompute": "full", "zero_stage": 1, "overlap": False},
                    }
                },
            },
        }
    )
    results = hpcsim.simulate(scenario)
    who = results.tables["contention"].set_index("name")["slowed_by"]
    assert who["t"] == "batch jobs"
    assert who["job 1"] == "t"
    assert results.jobs.set_index("kind")["run_s"]["batch"] > 3000


def test_jobs_that_die_or_are_cut_off_leave_the_network(tmp_path: Path) -> None:
    talk = {"ring": {"pattern": "ring", "time": "40 %"}}
    cut = run(tmp_path, [(0, 1000, 6), (0, 1000, 6)], talk, simulate__until="600 s")
    assert set(cut.jobs["status"]) == {"running"}
    dead = run(tmp_path, [(0, 1e5, 6), (0, 1e5, 6)], talk, failures__node={"mtbf": "100 h", "repair": "1 h"}, simulate__until="40 h")
    assert "failed" in set(dead.jobs["status"])


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        ({"pattern": "ring"}, "communication-amount"),
        ({"pattern": "ring", "time": "10 %", "rate": "1 GB/s"}, "communication-amount"),
        ({"pattern": "storage", "time": "10 %"}, "communication-storage"),
        ({"pattern": "ring", "time": "10 %", "storage": "home"}, "communication-storage"),
        ({"pattern": "ring", "rate": "11 GB/s"}, "communication-rate"),
        ({"pattern": "storage", "storage": "nowhere", "rate": "1 GB/s"}, "unknown-storage-tier"),
    ],
)
def test_bad_communication_is_refused(tmp_path: Path, talk: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path, [(0, 10, 2)], {"x": talk})
    assert code in {problem.code for problem in caught.value.problems}


def test_shares_of_more_than_all_jobs_are_refused(tmp_path: Path) -> None:
    half = {"pattern": "ring", "time": "10 %", "share": "60 %"}
    with pytest.raises(InputError, match=r"add up to 1\.2"):
        run(tmp_path, [(0, 10, 2)], {"x": half, "y": half})


def test_a_queue_of_many_jobs_has_few_events(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    jobs = [(float(30 * i), float(rng.integers(50, 400)), int(rng.integers(1, 6))) for i in range(300)]
    results = run(tmp_path, jobs, {"x": {"pattern": "halo", "time": "30 %", "share": "70 %"}}, scheduler__policy="easy")
    assert results.summary["jobs_finished"] == 300
    assert results.summary["events"] < 6 * 300
