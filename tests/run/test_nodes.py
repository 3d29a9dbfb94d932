"""Jobs on the nodes of a scenario: partitions, qualities of service, licences, power, windows, failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError

HEAD = "; UnixStartTime: 0\n"


def scenario(folder: Path, rows: list[tuple[int, int, int, int, int]], scheduler: dict[str, Any], **more: Any) -> Any:
    """Rows are (submit, run, processors, user, queue) on four nodes of eight cores."""
    lines = [f"{i} {s} -1 {r} {p} -1 -1 {p} {r} -1 1 {u} 1 -1 {q} -1 -1 -1" for i, (s, r, p, u, q) in enumerate(rows, 1)]
    (folder / "log.swf").write_text(HEAD + "\n".join(lines) + "\n")
    data = {
        "schema": 1, "name": "nodes", "question": "Who gets which node?",
        "cluster": {"nodes": {"n": {"count": 4, "cores": 8, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}}},
        "workload": {"jobs": {"trace": {"file": str(folder / "log.swf")}, "unit": "core"}},
        "scheduler": scheduler, **more,
    }  # fmt: skip
    return hpcsim.simulate(data).jobs


def starts(jobs: Any) -> list[float]:
    return [float(x) for x in jobs["start_s"].tolist()]


def test_a_partition_has_its_nodes_and_its_limit(tmp_path: Path) -> None:
    rows = [(0, 10, 8, 1, 5), (0, 10, 8, 1, 5), (0, 10, 8, 1, 7), (0, 50, 1, 1, 7)]
    parts = {"5": {"nodes": "2-3", "max_processors": 8}, "7": {"nodes": "1-2", "max_time": "20 s"}}
    jobs = scenario(tmp_path, rows, {"policy": "easy", "partitions": parts})
    assert starts(jobs) == [0.0, 10.0, 0.0]
    assert jobs["hosts"].tolist() == ["n2", "n2", "n1"]
    assert jobs["nodes"].tolist() == [1, 1, 1]


def test_whoever_is_over_a_limit_is_passed_over_and_holds_nobody_back(tmp_path: Path) -> None:
    rows = [(0, 10, 8, 1, 0), (1, 10, 8, 1, 0), (2, 10, 8, 2, 0)]
    limit = {"partitions": {"0": {"max_processors": 16}}}
    assert starts(scenario(tmp_path, rows, {"policy": "fcfs", **limit})) == [0.0, 1.0, 10.0]
    (tmp_path / "b").mkdir()
    rows = [(0, 10, 8, 1, 0), (1, 10, 16, 1, 0), (2, 10, 8, 2, 3)]
    limit = {"partitions": {"0": {"max_processors": 16}}}
    assert starts(scenario(tmp_path / "b", rows, {"policy": "fcfs", **limit})) == [0.0, 10.0, 2.0]


def test_power_is_a_resource_that_jobs_wait_for(tmp_path: Path) -> None:
    """A processor draws (300 − 100)/8 W above idle: 400 W are 16 processors."""
    rows = [(0, 10, 8, 1, 0), (0, 10, 8, 1, 0), (0, 10, 8, 1, 0)]
    assert starts(scenario(tmp_path, rows, {"policy": "fcfs", "power_budget": "400 W"})) == [0.0, 0.0, 10.0]


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative"])
def test_nothing_overlaps_maintenance(tmp_path: Path, policy: str) -> None:
    """Job 1 would reach into the window on all nodes and waits for its end; job 2 ends before it begins."""
    rows = [(0, 10, 8, 1, 0), (1, 30, 32, 1, 0), (2, 15, 8, 1, 0), (3, 30, 8, 1, 0)]
    scheduler = {"policy": policy, "maintenance": {"m": {"start": "20 s", "duration": "20 s"}}}
    first, wide, brief, long = starts(scenario(tmp_path, rows, scheduler))
    assert (first, wide) == (0.0, 40.0)
    assert brief == (70.0 if policy == "fcfs" else 2.0)
    assert long == 70.0


@pytest.mark.parametrize("policy", ["easy", "conservative"])
def test_a_reservation_keeps_its_nodes_for_its_users(tmp_path: Path, policy: str) -> None:
    rows = [(0, 30, 8, 1, 0), (0, 30, 16, 2, 0), (0, 30, 8, 1, 0), (0, 5, 8, 1, 0)]
    window = {"start": "10 s", "duration": "40 s", "nodes": "0-1", "users": ["2"]}
    jobs = scenario(tmp_path, rows, {"policy": policy, "reservations": {"r": window}})
    assert starts(jobs) == [0.0, 10.0, 0.0, 0.0]
    assert jobs["hosts"].tolist() == ["n2", "n[0-1]", "n3", "n0"]


def test_a_failed_node_ends_its_jobs_and_takes_no_more(tmp_path: Path) -> None:
    rows = [(0, 100_000, 1, 1, 0)] * 32
    jobs = scenario(tmp_path, rows, {"policy": "fcfs", "placement": "first-fit"}, failures={"node": {"mtbf": "30 h", "repair": "1 h"}})
    failed = jobs[jobs["status"] == "failed"]
    assert len(failed)
    assert len(failed) % 8 == 0
    for _, together in failed.groupby("end_s"):
        assert together["hosts"].nunique() == 1


@pytest.mark.parametrize(
    ("scheduler", "code"),
    [
        ({"partitions": {"a": {"nodes": "2-9"}}}, "node-numbers"),
        ({"maintenance": {"a": {"start": "1 h", "duration": "1 h", "nodes": "x"}}}, "node-numbers"),
        ({"qos": {"a": {"takes": {"matlab": 1}}}}, "licence-unknown"),
        ({"placement": "nowhere"}, "unknown-name"),
        ({"policy": "easy", "options": {"nice": 3}}, "policy-option-unknown"),
        ({"policy": "priority", "options": {"max_age_s": "soon"}}, "policy-option-value"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, scheduler: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as error:
        scenario(tmp_path, [(0, 10, 8, 1, 0)], scheduler)
    assert [problem.code for problem in error.value.problems] == [code]


def test_options_reach_the_policy(tmp_path: Path) -> None:
    """Small first in place of large first."""
    rows = [(0, 10, 32, 1, 0), (1, 10, 24, 1, 0), (2, 10, 16, 1, 0)]
    large = starts(scenario(tmp_path, rows, {"policy": "priority"}))
    small = starts(scenario(tmp_path, rows, {"policy": "priority", "options": {"favor_small": True}}))
    assert np.argsort(large).tolist() == [0, 1, 2]
    assert np.argsort(small).tolist() == [0, 2, 1]


def test_the_fabric_tells_which_nodes_are_near(tmp_path: Path) -> None:
    """Leaves of two nodes: after one node is taken, a job of two nodes goes under the other leaf."""
    fabric = {"topology": "fat-tree", "link": "hdr", "per_node": 1, "down": [2, 2], "up": [1, 1], "parallel": [1, 1]}
    nodes = {"n": {"count": 4, "cores": 8, "idle_power": "100 W", "max_power": "300 W"}}
    rows = [(0, 10, 8, 1, 0), (1, 10, 16, 1, 0)]
    more = {"cluster": {"nodes": nodes, "fabric": fabric}}
    near = scenario(tmp_path, rows, {"policy": "fcfs", "placement": "lowest-switch"}, **more)
    assert near["hosts"].tolist() == ["n0", "n[2-3]"]
    first = scenario(tmp_path, rows, {"policy": "fcfs", "placement": "first-fit"}, **more)
    assert first["hosts"].tolist() == ["n0", "n[1-2]"]


def with_groups(folder: Path, rows: list[tuple[int, int, int, int, int, int]], scheduler: dict[str, Any]) -> Any:
    """As above with (…, group) at the end of a row, and results in place of jobs."""
    lines = [f"{i} {s} -1 {r} {p} -1 -1 {p} {r} -1 1 {u} {g} -1 {q} -1 -1 -1" for i, (s, r, p, u, q, g) in enumerate(rows, 1)]
    (folder / "log.swf").write_text(HEAD + "\n".join(lines) + "\n")
    return hpcsim.simulate(
        {
            "schema": 1, "name": "nodes", "question": "Who goes first?", "cluster": {"nodes": {"n": {"count": 4, "cores": 8}}},
            "workload": {"jobs": {"trace": {"file": str(folder / "log.swf")}, "unit": "core"}}, "scheduler": scheduler,
        }
    )  # fmt: skip


def test_weights_priorities_and_shares_reach_the_policy(tmp_path: Path) -> None:
    """Three whole-machine jobs wait for one: by default age rules; by queue, by group, by shares of users and of accounts each another is first."""
    rows = [(0, 10, 32, 9, 0, 9), (1, 10, 32, 1, 1, 1), (2, 10, 32, 2, 2, 2), (3, 10, 32, 3, 3, 3)]
    none = {"age": 0, "job_size": 0}

    def order(**priority: Any) -> list[int]:
        return np.argsort(starts(with_groups(tmp_path, rows, {"policy": "priority", "priority": priority}).jobs)).tolist()

    assert order() == [0, 1, 2, 3]
    assert order(partitions={"2": 5, "3": 9}) == [0, 3, 2, 1]
    assert order(partitions={"2": 5, "3": 9}, weights={"partition": 0}) == [0, 1, 2, 3]
    assert order(qos={"2": 1}, weights={**none, "qos": 3}) == [0, 2, 1, 3]
    rows = [(0, 10, 32, 1, 0, 1), (1, 10, 32, 2, 0, 2), (2, 10, 32, 1, 0, 1), (12, 10, 32, 2, 0, 2)]
    share = {"weights": {**none, "fair_share": 1}}
    assert order(**share) == [0, 1, 2, 3]
    assert order(**share, user_shares={"1": 100}) == [0, 1, 2, 3]
    rows = [(0, 10, 32, 1, 0, 1), (1, 10, 32, 1, 0, 1), (2, 10, 32, 2, 0, 2), (3, 10, 32, 2, 0, 2), (3, 10, 32, 1, 0, 1)]
    assert order(**share) == [0, 2, 1, 3, 4]
    assert order(**share, user_shares={"2": 100}) == [0, 2, 3, 1, 4]
    tree = with_groups(tmp_path, rows, {"policy": "fair-tree", "priority": {"account_shares": {"2": 100}}})
    assert np.argsort(starts(tree.jobs)).tolist() == [0, 2, 3, 1, 4]


def test_a_name_that_no_job_has_is_reported(tmp_path: Path) -> None:
    scheduler = {"policy": "fairshare", "priority": {"user_shares": {"7": 3, "1": 2}}}
    quality = with_groups(tmp_path, [(0, 10, 8, 1, 0, 1)], scheduler).quality
    assert quality[["issue", "example"]].values.tolist() == [["scheduler.priority names a user that no job has", "7"]]


def test_what_stopping_costs_reaches_the_jobs(tmp_path: Path) -> None:
    """At 20 s the job of 100 s gives way to one of 10 s. Suspended it ends 10 s later; with checkpoints it saves for 2 s and restores for 5 s; without notice it
    has saved 15 s of its work, waits again after 3 s, and restores."""
    rows = [(0, 100, 32, 1, 0), (20, 10, 32, 1, 0)]
    ends = [float(x) for x in scenario(tmp_path, rows, {"policy": "srpt"})["end_s"]]
    assert ends == [110.0, 30.0]
    costs = {"save": "2 s", "restore": "5 s", "interval": "15 s", "resubmit": "3 s"}
    notice = scenario(tmp_path, rows, {"policy": "srpt", "options": {"mode": "checkpoint"}, "stopping": costs})
    assert [float(x) for x in notice["end_s"]] == [30.0 + 100.0 - 18.0 + 5.0, 30.0]
    none = scenario(tmp_path, rows, {"policy": "srpt", "options": {"mode": "checkpoint"}, "stopping": {**costs, "notice": False}})
    assert [float(x) for x in none["end_s"]] == [30.0 + 100.0 - 15.0 + 5.0, 30.0]


def test_blocks_of_a_torus_are_placed_on(tmp_path: Path) -> None:
    """A 4 × 4 torus, a job on every other node of the first two rows ... four nodes go to the 2 × 2 block that is left, not to the first four free ones."""
    nodes = {"n": {"count": 16, "cores": 1}}
    fabric = {"topology": "torus", "link": "hdr", "per_node": 4, "axes": [4, 4]}
    rows = [(0, 100, 1, 1, 0), (1, 10, 4, 1, 0)]
    more = {"cluster": {"nodes": nodes, "fabric": fabric}}
    jobs = scenario(tmp_path, rows, {"policy": "fcfs", "placement": "torus-block"}, **more)
    assert jobs["hosts"].tolist() == ["n0", "n[1-2,5-6]"]
    first = scenario(tmp_path, rows, {"policy": "fcfs", "placement": "first-fit"}, **more)
    assert first["hosts"].tolist() == ["n0", "n[1-4]"]


def test_a_torus_needs_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        scenario(tmp_path, [(0, 10, 8, 1, 0)], {"policy": "fcfs", "placement": "torus-block"})
    assert [problem.code for problem in error.value.problems] == ["placement-needs-torus"]


def test_priorities_are_not_for_every_policy(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        scenario(tmp_path, [(0, 10, 8, 1, 0)], {"policy": "easy", "priority": {"weights": {"age": 1}}})
    assert [problem.code for problem in error.value.problems] == ["priority-of-policy"]
