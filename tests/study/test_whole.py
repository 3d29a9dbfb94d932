"""Whole logs: every policy that the log can tell apart, the smallest machine, and what was left out with the reason."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cli.main import main
from hpcsim.scheduling.machine import Machine
from hpcsim.scheduling.policies import policies
from hpcsim.scheduling.requests import Asking, demands_of
from hpcsim.study.replay import replay
from hpcsim.study.whole import every_policy, smallest_nodes
from hpcsim.testing.policies import random_jobs
from hpcsim.workload.jobs import JobTable
from hpcsim.workload.swf import write_swf

TRACES = Path(os.environ.get("HPCSIM_TRACES", Path(__file__).resolve().parents[3] / "shared" / "evidence" / "traces"))
WEEK = TRACES / "slurmsim_ubccr_workload_week.events.gz"
needs_week = pytest.mark.skipif(not WEEK.is_file(), reason="the job log is not here")


@st.composite
def tables(draw: st.DrawFn) -> JobTable:
    count = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[int]) -> np.ndarray:  # type: ignore[type-arg]
        return np.array(draw(st.lists(values, min_size=count, max_size=count)))

    return JobTable.of(
        np.zeros(count),
        np.ones(count),
        column(st.integers(1, 40)),
        nodes=column(st.sampled_from([-1, 1, 2, 3, 7])),
        gpus=column(st.sampled_from([0, 0, 1, 3, 5])).astype(float),
        memory_bytes=column(st.sampled_from([0, 1, 5, 100, 12345])).astype(float),
    )


@given(jobs=tables())
@settings(max_examples=150, deadline=None)
def test_the_smallest_machine_holds_every_job_and_none_smaller_does(jobs: JobTable) -> None:
    node = smallest_nodes(jobs)

    def holds(of: object) -> bool:
        machine = Machine.of([of])  # type: ignore[list-item]
        return all(machine.holds(demand) for demand in demands_of(jobs, machine, Asking())[0])

    assert holds(node)
    stated = jobs.filled("nodes") > 0
    if stated.all():  # each amount is some job's own
        for name in ("count", "cores", "gpus", "memory_bytes"):
            less = getattr(node, name) - 1
            if less >= (1 if name in ("count", "cores", "memory_bytes") else 0) and not (name == "cores" and less < node.gpus):
                assert not holds(dataclasses.replace(node, **{name: less})), name


def test_all_policies_but_those_that_the_log_cannot_tell_apart() -> None:
    jobs = random_jobs(1)
    names, refused = every_policy(jobs)
    assert set(names) | {one.policy for one in refused} == set(policies.names())
    assert not set(names) & {one.policy for one in refused}
    assert {"fcfs", "easy", "conservative", "fairshare", "srpt", "gang"} <= set(names)
    alone, left = every_policy(dataclasses.replace(jobs, user=np.full(len(jobs), 3)))
    assert "fairshare" not in alone
    assert {one.reason for one in left if one.policy == "fairshare"} == {"the log does not say whose the jobs are"}
    due = dataclasses.replace(jobs, due_s=np.full(len(jobs), 100.0))
    assert "deadline" in every_policy(due)[0]


def test_the_command_names_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.swf"
    write_swf(random_jobs(2), log)
    assert main(["replay", str(log), "--nodes", "16", "--policy", "all", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"fcfs", "easy", "conservative", "srpt", "fair-tree"} <= set(found["policies"])
    assert any(note.startswith("Not run: ") and "no job has a deadline" in note for note in found["notes"])


def test_what_takes_too_long_is_given_up() -> None:
    jobs = random_jobs(2)
    with pytest.raises(InputError, match="no policy was done"):
        replay(jobs, nodes=16, policies="all", give_up_s=0.0)  # type: ignore[arg-type]


def test_a_word_that_is_no_number_of_nodes() -> None:
    with pytest.raises(InputError, match="smallest"):
        replay(random_jobs(1), nodes="small")  # type: ignore[arg-type]


@needs_week
def test_the_slurm_week_runs_whole_on_the_smallest_machine_that_its_requests_allow() -> None:
    results = replay(WEEK, nodes="smallest", policies=("fcfs",))
    assert results.summary["jobs"] == 19_552  # 27 of 19,579 ran for no time
    assert any("16 nodes of 40 cores, 2 accelerators and 786.4 GB" in note for note in results.notes)
    quality = results.quality.set_index("issue")["rows"]
    assert quality["zero run time"] == 27
    assert not quality.index.str.contains("more than these nodes").any()


@pytest.mark.slow
@needs_week
@pytest.mark.parametrize("policy", ["easy", "sjf"])
def test_the_slurm_week_under_others(policy: str) -> None:
    assert replay(WEEK, nodes="smallest", policies=(policy,)).summary["jobs"] == 19_552
