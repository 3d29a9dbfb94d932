"""Trials of a hyper-parameter search: who goes on, for how long, after whom."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.run.estimate import _soonest_s
from hpcsim.workload.halving import halving_jobs, survivors
from hpcsim.workload.job_table import JobTable


@given(st.integers(1, 400), st.integers(2, 5), st.integers(1, 6), st.floats(0, 0.5), st.integers(0, 99))
def test_rounds_are_chains_of_fewer_and_longer_jobs(trials: int, keep: int, rounds: int, spread: float, seed: int) -> None:
    jobs = halving_jobs(trials=trials, keep=keep, rounds=rounds, run_s=60.0, processors=2, spread_frac=spread, seed=seed)
    counts = survivors(trials, keep=keep, rounds=rounds)
    assert len(jobs) == sum(counts)
    assert counts == sorted(counts, reverse=True)
    after = jobs.after
    assert after is not None
    first = np.cumsum([0, *counts])
    assert (after[: counts[0]] == -1).all()
    for k in range(1, rounds):
        mine = after[first[k] : first[k + 1]]
        assert len(set(mine.tolist())) == counts[k]
        assert ((mine > first[k - 1]) & (mine <= first[k])).all()
        # a trial's next round is keep times as long
        assert jobs.run_s[first[k] : first[k + 1]] == pytest.approx(keep * jobs.run_s[mine - 1])


def search(**more: Any) -> hpcsim.Scenario:
    return hpcsim.load(
        {
            "schema": 1, "name": "search", "question": "q?",
            "cluster": {"nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 1}}, "fabric": {"topology": "single-switch", "link": "hdr", "per_node": 8}},
            "workload": {"jobs": {"search": {"trials": 16, "keep": 2, "rounds": 3, "run": "10 min", **more}, "unit": "accelerator"}},
        }
    )  # fmt: skip


def test_a_search_by_hand() -> None:
    """16 trials on 8 devices: two waves of 10 min, then 8 of 20, then 4 of 40; who was in the first wave may begin its second round at 10 min."""
    results = hpcsim.simulate(search())
    assert results.summary["jobs"] == 16 + 8 + 4
    assert 70 * 60 <= results.summary["makespan_s"] <= 90 * 60
    table = results.jobs.set_index("job_id")
    jobs = halving_jobs(trials=16, keep=2, rounds=3, run_s=600.0)
    assert jobs.after is not None
    for job, before in zip(jobs.job_id.tolist(), jobs.after.tolist(), strict=True):
        if before >= 0:
            assert table.loc[job, "start_s"] >= table.loc[before, "end_s"]


def test_the_estimate_knows_that_rounds_follow_each_other() -> None:
    which = search(trials=4, rounds=3)
    both = hpcsim.estimate(which), hpcsim.simulate(which)
    assert both[0].summary["makespan_s"] == both[1].summary["makespan_s"] == 600.0 * 7


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(0, 30)), min_size=1, max_size=30))
def test_ends_along_chains_are_those_of_one_job_after_the_other(rows: list[tuple[int, int, int]]) -> None:
    after = [before if 0 < before <= k else -1 for k, (_, _, before) in enumerate(rows)]
    submit, run, _ = zip(*rows, strict=True)
    ends: dict[int, float] = {}
    for k, before in enumerate(after):
        ends[k + 1] = max(float(submit[k]), ends.get(before, 0.0)) + run[k]
    jobs = JobTable.of(submit, run, [1] * len(rows), job_id=np.arange(1, len(rows) + 1), after=after)
    assert _soonest_s(jobs).tolist() == list(ends.values())


def test_a_search_in_bad_form_is_refused() -> None:
    with pytest.raises(InputError, match="processors"):
        hpcsim.simulate(search(processors=9))
    with pytest.raises(InputError) as caught:
        search(keep=1)
    assert caught.value.problems[0].path == "workload.jobs.search.keep"
    with pytest.raises(InputError, match="over a hundred years"):
        hpcsim.simulate(search(keep=1000, rounds=20))
