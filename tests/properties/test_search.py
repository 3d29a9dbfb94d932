"""The layout search: what holds for any job."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.parallelism import Layout, validity
from hpcsim.study import search as se
from hpcsim.study.contenders import front_of

JOBS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["gpt2-xl", "llama3-8b", "mixtral-8x7b", "bert-large"]),
        "accelerator": st.sampled_from(["a100-sxm-80gb", "h100-sxm"]),
        "count": st.sampled_from([8, 16, 24, 64]),
        "global_batch": st.sampled_from([24, 32, 60, 96]),
        "sequence": st.sampled_from([512, 768, 2048]),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JOBS, st.sampled_from(["time", "cost", "energy"]))
def test_winners_fit_are_possible_and_counted(words: dict[str, object], objective: se.Objective) -> None:
    axes = {"vpp": [1, 2], "micro_batch": [1, 2, 4], "cp": [1, 2], "overlap": [True]}
    try:
        found = se.layout_search(se.in_words(**words), objective=objective, fixed=axes, top=6)
    except InputError as error:
        assert [problem.code for problem in error.problems] == ["search-nothing-fits"]  # noqa: PT017
        return
    best = found.best
    assert found.layouts_evaluated == found.feasible + found.removed.get("memory", 0)
    assert found.space == found.feasible + sum(found.removed.values())
    assert best[se.OBJECTIVES[objective]].is_monotonic_increasing
    assert (best["peak_memory_bytes"] <= best["memory_capacity_bytes"]).all()
    assert (best["dp"] * best["tp"] * best["pp"] * best["cp"] == words["count"]).all()
    names = [f.name for f in dataclasses.fields(Layout) if f.name in best]
    ok, _ = validity(
        Layout(**{n: best[n].to_numpy() for n in names}),
        None,
        devices=words["count"],
        global_batch=words["global_batch"],
        sequence=words["sequence"],
    )
    assert ok.all()
    assert sum(found.terms.values()) == pytest.approx(float(best["step_time_s"][0]))
    assert (best["mfu_frac"] < 1).all()


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=40))
def test_a_front_is_all_that_nothing_beats(points: list[tuple[int, int, int]]) -> None:
    rows = np.array(points, dtype=float)
    kept = {points[i] for i in front_of(*rows.T)}
    beaten = {p for p in points if any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)}
    assert kept == set(points) - beaten
