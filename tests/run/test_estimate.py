"""The closed form against the simulation where nothing contends, and against changed devices."""

from __future__ import annotations

from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError

BASE: dict[str, Any] = {
    "schema": 1,
    "name": "m",
    "question": "q",
    "cluster": {
        "nodes": {"g": {"type": "dgx-h100", "count": 4}},
        "fabric": {"topology": "fat-tree", "link": "ndr", "per_node": 8, "radix": 64},
        "storage": {"s": {"type": "lustre", "write": "100 GB/s", "read": "100 GB/s", "power": "2 kW"}},
        "site": {"pue": 1.2},
    },
    "workload": {
        "training": {
            "t": {
                "model": "llama3-8b",
                "tokens": "20 G",
                "global_batch": 256,
                "sequence": 4096,
                "layout": {"tp": 2, "micro_batch": 1, "zero_stage": 1},
                "checkpoint": {"to": "s", "every": "1 h"},
            }
        }
    },
    "failures": {"node": {"mtbf": "40 h", "repair": "6 h"}},
}
TASK: dict[str, Any] = {
    "schema": 1,
    "name": "t",
    "question": "q",
    "cluster": {
        "nodes": {
            "a": {"count": 3, "cores": 8, "speed": "1 TFLOP/s", "idle_power": "100 W", "max_power": "400 W"},
            "b": {"count": 2, "cores": 8, "speed": "3 TFLOP/s", "idle_power": "200 W", "max_power": "900 W"},
        },
        "fabric": {"link": "10 Gbit/s", "latency": "10 us"},
        "site": {"pue": 1.3},
    },
    "workload": {"tasks": {"t": {"data": "100 GB", "work": "1 PFLOP", "split_rate": "5 GB/s", "result": "1 GB", "merge_rate": "1 GB/s"}}},
}


def steady(scenario: hpcsim.Scenario) -> dict[str, Any]:
    return {k: v for k, v in hpcsim.estimate(scenario).summary.items() if k != "wall_s"}


def device(**changes: Any) -> hpcsim.Scenario:
    return hpcsim.load(BASE).vary({"cluster.nodes.g.accelerator": {"base": "h100-sxm", **changes}})


def test_peak_power_of_a_run_with_failures_is_that_of_its_work() -> None:
    closed, events = hpcsim.estimate(BASE), hpcsim.simulate(BASE, seed=1)
    calm = hpcsim.estimate(hpcsim.load(BASE).vary({"failures": {}}))
    assert closed.summary["goodput_frac"] < 0.9
    assert closed.summary["peak_power_w"] == pytest.approx(events.summary["peak_power_w"], rel=0.01)
    assert closed.summary["peak_power_w"] >= calm.summary["peak_power_w"]
    assert closed.energy["energy_j"].sum() == pytest.approx(closed.summary["facility_energy_j"], rel=1e-12)
    power = closed.power
    energy = float((power["total_w"] * (power["end_s"] - power["start_s"])).sum())
    assert energy == pytest.approx(closed.summary["facility_energy_j"], rel=1e-9)


def test_peak_power_of_a_decomposed_task_is_that_of_all_nodes_at_work() -> None:
    closed, events = hpcsim.estimate(TASK).summary, hpcsim.simulate(TASK).summary
    assert closed["peak_power_w"] == pytest.approx(events["peak_power_w"], rel=1e-9)
    assert closed["facility_energy_j"] == pytest.approx(events["facility_energy_j"], rel=1e-6)


def test_the_mean_power_of_batch_jobs_is_said_to_be_one() -> None:
    jobs = {"synthetic": {"jobs": 20, "duration": "1 d"}}
    cluster = {"nodes": {"c": {"count": 4, "cores": 8, "idle_power": "100 W", "max_power": "300 W"}}}
    scenario = {"schema": 1, "name": "b", "question": "q", "cluster": cluster, "workload": {"jobs": jobs}}
    said = "Batch jobs enter the peak power at their mean"
    assert any(said in note for note in hpcsim.estimate(scenario).notes)
    assert not any(said in note for note in hpcsim.simulate(scenario).notes)


def test_a_changed_peak_carries_its_sustained_rate() -> None:
    slow, plain, fast = (steady(device(peak={"bf16": f"{peak} TFLOP/s"})) for peak in (500, 989.4, 2000))
    assert slow["step_time_s"] > 1.5 * plain["step_time_s"] > 2.0 * fast["step_time_s"]
    assert slow["mfu_frac"] < 0.7
    assert plain == steady(device())
    given = steady(device(peak={"bf16": "2 PFLOP/s"}, matmul={"bf16": "600 TFLOP/s"}))
    assert given["step_time_s"] == pytest.approx(steady(device(matmul={"bf16": "600 TFLOP/s"}))["step_time_s"], rel=0.02)


def test_a_sustained_rate_above_the_peak_is_refused() -> None:
    for changes in ({"matmul": {"bf16": "2 PFLOP/s"}}, {"peak": {"bf16": "300 TFLOP/s"}, "matmul": {"bf16": "400 TFLOP/s"}}):
        with pytest.raises(InputError) as caught:
            hpcsim.estimate(device(**changes))
        (problem,) = caught.value.problems
        assert (problem.code, problem.path) == ("rate-above-peak", "cluster.nodes.g.accelerator.matmul.bf16")


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"tdp": "20 W"}, "tdp", "the idle power is that of h100-sxm in the catalog"),
        ({"idle": "900 W"}, "idle", "the design power is that of h100-sxm in the catalog"),
        ({"tdp": "400 W", "idle": "500 W"}, "tdp", "of 400 W is below its idle power of 500 W"),
    ],
)
def test_a_design_power_below_the_idle_power_is_refused_at_its_key(changes: dict[str, str], key: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.estimate(device(**changes))
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("device-power-order", f"cluster.nodes.g.accelerator.{key}")
    assert said in str(problem)


def test_checkpoints_longer_than_the_work_between_them_are_warned_of() -> None:
    scenario = hpcsim.load(BASE).vary({"failures": {}, "workload.training.t.checkpoint.every": "1 s"})
    for result in (hpcsim.estimate(scenario), hpcsim.simulate(scenario)):
        (note,) = (text for text in result.notes if "goes to checkpoints" in text)
        row = result.training.iloc[0]
        share = 1.0 - float(row["steps"] * result.summary["step_time_s"] / result.summary["wall_clock_s"])
        assert share > 0.5
        assert f"so {100 * share:.3g} % of the time goes to checkpoints" in note
        assert "without failures none is needed" in note
        assert "Beware: t writes a checkpoint of " in result.answer
    calm = hpcsim.estimate(BASE)
    assert "Beware" not in calm.answer
    assert not any("goes to checkpoints" in text for text in calm.notes)


def test_the_software_is_said_first_and_how_to_choose_it() -> None:
    notes = hpcsim.estimate({**BASE, "notes": ["mine"]}).notes
    assert notes[0].startswith("Training t: software is taken as eager-fused 20")
    assert ", since none is given: " in notes[0]
    for words in ("--framework megatron-core", "workload.training.t.framework", "hpcsim catalog list software"):
        assert words in notes[0]
    given = hpcsim.estimate(
        hpcsim.load(BASE).vary({"workload.training.t.framework": "megatron-core", "workload.training.t.year": 2024})
    ).notes
    assert given[0] == "Training t: software is taken as megatron-core 2024."


def test_stages_of_equal_layers_that_wait_for_the_logits_are_told_of() -> None:
    """32 layers on 4 stages stand 8, 8, 8, 8 and the logits; 33 stand 8, 9, 9, 7 and the logits, and can be faster: which is said."""

    def run(layers: int, layout: str) -> hpcsim.Results:
        key = "workload.training.t"
        return hpcsim.estimate(
            hpcsim.load(BASE).vary(
                {
                    "failures": {},
                    f"{key}.model": {"base": "llama3-8b", "layers": layers},
                    f"{key}.layout": layout,
                    f"{key}.framework": "megatron-core",
                }
            )
        )

    even, more = run(32, "tp=1,pp=4,micro_batch=1,zero_stage=1"), run(33, "tp=1,pp=4,micro_batch=1,zero_stage=1")
    assert even.summary["step_time_s"] > more.summary["step_time_s"]
    assert any("4 stages have 8 of the 32 layers each" in note for note in even.notes)
    assert not any("layers each" in note for result in (more, run(32, "tp=2,pp=1,micro_batch=1,zero_stage=1")) for note in result.notes)


def test_nodes_under_repair_draw_nothing_in_closed_form_either() -> None:
    scenario = hpcsim.load(BASE).vary({"cluster.nodes.g.spares": 2})

    def mean_w(results: Any) -> float:
        return float(results.summary["facility_energy_j"] / results.summary["wall_clock_s"])

    runs = [hpcsim.simulate(scenario, seed=seed) for seed in range(12)]
    assert mean_w(hpcsim.estimate(scenario)) == pytest.approx(sum(map(mean_w, runs)) / len(runs), rel=0.015)
    assert mean_w(hpcsim.estimate(scenario.vary({"failures.node.repair": "1 s"}))) > 1.02 * mean_w(hpcsim.estimate(scenario))
