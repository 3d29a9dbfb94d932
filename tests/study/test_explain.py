"""Every number is explained; a step's explanation adds up, and what would help does help."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cost.step_cost import TERMS
from hpcsim.results.quantities import SUMMARY
from hpcsim.results.tables import TABLES
from hpcsim.run.bind import bind
from hpcsim.run.quick import quick_scenario
from hpcsim.study.explain import explain_run, explain_term, names
from hpcsim.study.formulas import FORMULAS, GIVEN
from hpcsim.workload.what_if import setup_of, what_if


def small(**changes: object) -> hpcsim.Scenario:
    values = {
        "model": "llama3-8b",
        "accelerator": "a100-sxm-80gb",
        "count": 16,
        "global_batch": 64,
        "sequence": 4096,
        "layout": "tp=4,pp=2,micro_batch=1",
    }
    return quick_scenario(**{**values, **changes})  # type: ignore[arg-type]


def test_every_number_has_an_entry() -> None:
    every = names()
    assert set(every) >= {*TERMS, *SUMMARY, *(f"{t.name}.{c.name}" for t in TABLES.values() for c in t.columns)}
    assert [name for name in every if not explain_term(name)["formula"]] == []


def test_no_entry_is_left_over() -> None:
    columns = {c.name for t in TABLES.values() for c in t.columns} | {f"{t.name}.{c.name}" for t in TABLES.values() for c in t.columns}
    memory = {name for name in FORMULAS if name.startswith("memory.")}
    asked = {*TERMS, *SUMMARY, *columns, *memory, "layouts_evaluated", "search_cpu_s"}
    assert set(FORMULAS) - asked == set()
    assert set(GIVEN) - columns == set()


def test_one_name_with_two_meanings() -> None:
    assert explain_term("memory.logits")["unit"] == "B"
    assert explain_term("logits")["unit"] == "s"
    assert explain_term("jobs.start_s")["formula"] != explain_term("states.start_s")["formula"]
    assert explain_term("data parallel") == explain_term("data-parallel") == explain_term("data_parallel")


def test_an_unknown_number_is_refused_with_near_ones() -> None:
    with pytest.raises(InputError, match="bubble"):
        explain_term("buble")
    with pytest.raises(InputError) as caught:
        hpcsim.explain("qwertyuiop")
    assert caught.value.problems[0].code == "unknown-term"


def test_the_parts_add_up_to_the_step() -> None:
    results = explain_run(small())
    step = results.summary["step_time_s"]
    assert results.breakdown["seconds"].sum() == pytest.approx(step)
    assert results.breakdown["fraction"].sum() == pytest.approx(1.0)
    assert results.memory["size_bytes"].sum() == pytest.approx(results.summary["peak_memory_bytes"])
    rows = results.what_if
    assert (rows["step_time_s"] + rows["saved_s"]).tolist() == pytest.approx([step] * len(rows))
    assert (rows["speedup_ratio"] * rows["step_time_s"]).tolist() == pytest.approx([step] * len(rows))


@pytest.mark.parametrize(
    "layout", ["tp=4,pp=2,micro_batch=1", "tp=1,pp=1,micro_batch=1,zero_stage=3,recompute=full", "tp=8,pp=1,micro_batch=1"]
)
def test_more_of_a_resource_never_slows_a_step_and_at_most_halves_it(layout: str) -> None:
    scenario = small(layout=layout)
    bound = bind(scenario)
    (plan,) = bound.trainings
    setup = setup_of(plan, scenario.workload.training[plan.name], bound.cluster, bound.catalog)
    assert float(setup.cost().step_time_s) == pytest.approx(float(plan.cost.step_time_s), rel=1e-12)
    before = float(plan.cost.step_time_s)
    for change in what_if(setup, plan.cost):
        if not change.resource.startswith("devices"):
            assert change.saved_s >= -1e-9 * before, change
        if not change.resource.startswith("memory capacity"):
            assert change.step_time_s >= before / 2 * (1 - 1e-9), change


def test_everything_twice_as_fast_halves_the_step() -> None:
    scenario = small()
    bound = bind(scenario)
    (plan,) = bound.trainings
    s = setup_of(plan, scenario.workload.training[plan.name], bound.cluster, bound.catalog)

    def twice(link: object) -> object:
        half = {key: np.asarray(getattr(link, key)) / 2 for key in ("latency_s", "startup_s", "base_s", "bare_s")}
        double = {key: np.asarray(getattr(link, key)) * 2 for key in ("bytes_per_s", "low_latency_bytes_per_s")}
        return dataclasses.replace(link, **half, **double)  # type: ignore[type-var]

    device = dataclasses.replace(
        s.device,
        peak_flop_per_s={k: np.asarray(v) * 2 for k, v in s.device.peak_flop_per_s.items()},
        sustained_flop_per_s={k: np.asarray(v) * 2 for k, v in s.device.sustained_flop_per_s.items()},
        memory_bytes_per_s=np.asarray(s.device.memory_bytes_per_s) * 2,
        kernel_s=s.device.ramp_s / 2,
    )
    stack = dataclasses.replace(s.software, launch_s=np.asarray(s.software.launch_s) / 2, step_s=np.asarray(s.software.step_s) / 2)
    fabric = dataclasses.replace(s.fabric, scale_up=twice(s.fabric.scale_up), scale_out=twice(s.fabric.scale_out))
    fast = dataclasses.replace(s, device=device, software=stack, fabric=fabric)
    assert float(fast.cost().step_time_s) == pytest.approx(float(plan.cost.step_time_s) / 2, rel=1e-9)


def test_what_trains_nothing_is_refused() -> None:
    job = {"schema": 1, "name": "x", "question": "?", "cluster": {"nodes": {"n": {"type": "dgx-a100-80gb", "count": 2}}}}
    job["workload"] = {"tasks": {"t": {"data": "1 TB", "work": "1 PFLOP"}}}  # type: ignore[dict-item]
    with pytest.raises(InputError) as caught:
        explain_run(job)
    assert caught.value.problems[0].code in ("explain-no-training", "missing-value")


def test_pipelines_are_explained() -> None:
    """100 s of reading beside 80 s of work: with twice the tier 20 % are saved, and the processors bind then; the rest saves nothing."""
    import hpcsim

    stages = {
        "in": {"from": "lake"},
        "work": {"kind": "clean", "rate": "312.5 MB/s"},
        "out": {"kind": "archive", "to": "vault", "ratio": 0.01},
    }
    tier = {"type": "nvme", "read": "10 GB/s", "write": "10 GB/s"}
    cluster = {"nodes": {"a": {"count": 4, "cores": 10}}, "storage": {"lake": tier, "vault": tier}}
    pipe = {"data": "1 TB", "stages": stages, "chunk": "1 MB"}
    found = hpcsim.explain({"schema": 1, "name": "t", "question": "?", "cluster": cluster, "workload": {"pipelines": {"p": pipe}}})
    assert "bound by reading lake; reading lake, doubled, saves 20 %" in found.answer
    rows = found.tables["what_if"]
    assert rows["resource"].tolist() == ["reading lake"]
    assert rows["step_time_s"].tolist() == pytest.approx([80], rel=1e-4)
    assert rows["term"].tolist() == ["the processors of a"]
    assert found.tables["stages"]["alone_s"].tolist() == pytest.approx([100, 80, 1])
