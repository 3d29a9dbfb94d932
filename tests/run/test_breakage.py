"""What breaks in a scenario: causes, catalog entries, alarms, jobs, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.run.bind import bind
from hpcsim.run.failures import node_figures
from hpcsim.run.simulate import _run

PARTS = ["lost_s", "detection_s", "wait_s", "recovery_s", "alarms_s"]


def scenario(failures: dict[str, Any], *, jobs: bool = False, spares: int = 100, checkpoint: bool = True) -> hpcsim.Scenario:
    run: dict[str, Any] = {
        "model": "gpt2-xl", "tokens": "20 G", "global_batch": 384, "sequence": 1024, "layout": {"tp": 1, "pp": 1, "micro_batch": 2},
        **({"checkpoint": {"every": "1 h", "to": "slow"}} if checkpoint else {}),
    }  # fmt: skip
    work: dict[str, Any] = {"training": {"run": run}}
    if jobs:
        work = {"jobs": {"synthetic": {"load": 0.6, "duration": "5 days", "max_processors": 16}, "unit": "accelerator"}}
    return hpcsim.load(
        {
            "schema": 1, "name": "breaking", "question": "q?",
            "cluster": {
                "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 4, "spares": spares}},
                "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40},
                "storage": {"slow": {"type": "lustre", "capacity": "1 PB", "read": "1 GB/s", "write": "200 MB/s", "latency": "0 s"}},
            },
            "workload": work, "failures": failures,
        }
    )  # fmt: skip


CAUSES = {
    "gpu": {"mtbf": "500 h", "of": "accelerator", "repair": "3 h"},
    "software": {"mtbf": "40 h", "of": "run", "detect": "2 min"},
}


def test_the_mean_of_many_simulations_meets_the_estimate_cause_by_cause() -> None:
    often = CAUSES | {"gpu": CAUSES["gpu"] | {"mtbf": "100 h"}}
    which = scenario({"causes": often, "detect": "10 min", "prediction": {"recall": 0.6, "precision": 0.7, "lead": "10 min"}})
    estimate = hpcsim.estimate(which)
    want = estimate.tables["failures"].set_index("cause")
    bound = bind(which)
    runs = [_run(bound, seed).items[0] for seed in range(600)]
    wall = np.array([item.end_s - item.start_s for item in runs])
    assert wall.mean() == pytest.approx(estimate.summary["wall_clock_s"], rel=0.02)
    assert list(want.index) == ["gpu", "software", "false alarm"]
    for cause in want.index:
        rows = [dict(item.causes)[cause] for item in runs]
        for part, key in (("failures", "failures"), ("announced", "announced"), ("lost_s", "lost_s"), ("acts_s", "alarms_s")):
            assert np.mean([row[part] for row in rows]) == pytest.approx(float(want.loc[cause, key]), rel=0.15, abs=0.02), (cause, part)


def test_the_table_of_a_simulation_adds_up_to_the_wall_clock() -> None:
    results = hpcsim.simulate(scenario({"causes": CAUSES, "detect": "10 min", "crew": 1}, spares=0), seed=3)
    table, row = results.tables["failures"], results.training.iloc[0]
    took = float(table[PARTS].sum().sum())
    assert row["lost_s"] == pytest.approx(float(table["lost_s"].sum()))
    assert row["failures"] == table["failures"].sum() > 0
    work = float(row["steps"]) * float(row["step_time_s"])
    writing = results.summary["wall_clock_s"] - work - took
    write = bind(scenario({"causes": CAUSES})).trainings[0].checkpoint_write_s
    assert -1e-3 <= writing - write * row["checkpoints"] <= write * row["failures"]
    assert "Failures take" in results.answer


def test_a_cause_of_every_node_is_the_failure_of_a_node() -> None:
    plain = scenario({"node": {"mtbf": "20 h", "repair": "2 h"}})
    named = scenario({"causes": {"node": {"mtbf": "20 h", "repair": "2 h"}}})
    each = scenario({"causes": {"gpu": {"mtbf": "160 h", "of": "accelerator", "repair": "2 h"}}})
    ends = [hpcsim.simulate(which, seed=2).summary["wall_clock_s"] for which in (plain, named, each)]
    assert ends[0] == ends[1] == pytest.approx(ends[2], rel=1e-12)


def test_a_catalog_entry_gives_rate_and_causes() -> None:
    typed = scenario({"node": {"type": "llama3-405b", "repair": "1 day"}})
    entry = default().find("reliability", "llama3-405b")
    faults = bind(typed).faults["run"]
    assert faults.failures_per_s == pytest.approx(4 * 3.788 / (1000 * 86400), rel=1e-9)
    assert len(faults.causes) == len(entry.causes)  # type: ignore[attr-defined]
    by = {cause.name: cause for cause in faults.causes}
    assert by["faulty-gpu"].per_s / by["nic"].per_s == pytest.approx(148 / 7)
    assert by["software"].repair_s == 0.0
    assert by["nic"].repair_s == 86400.0
    mtbf_s, repair_s = node_figures(typed.failures, default(), 8)
    assert mtbf_s == pytest.approx(1000 * 86400 / 3.788)
    assert repair_s == pytest.approx(86400.0 * (419 - 54 - 7 - 2) / 419)


def test_better_alarms_save_time_and_a_longer_hang_costs_it() -> None:
    def wall(recall: float, act: str = "checkpoint", detect: str = "10 min") -> float:
        alarms = {"recall": recall, "precision": 0.9, "lead": "10 min", "act": act, "time": "1 min"}
        found = hpcsim.estimate(scenario({"causes": CAUSES, "detect": detect, "prediction": alarms}))
        return float(found.summary["wall_clock_s"])

    walls = [wall(recall) for recall in (0.0, 0.4, 0.8, 1.0)]
    assert walls == sorted(walls, reverse=True)
    assert wall(0.8, "migrate") < wall(0.8)
    assert wall(0.8, detect="1 h") > wall(0.8)


def test_alarms_that_come_too_late_are_of_no_use_and_it_is_said() -> None:
    late = scenario({"causes": CAUSES, "prediction": {"recall": 0.9, "precision": 0.9, "lead": "1 s"}})
    none = scenario({"causes": CAUSES})
    one, other = hpcsim.estimate(late), hpcsim.estimate(none)
    assert one.summary["wall_clock_s"] == other.summary["wall_clock_s"]
    assert any("alarms are of no use" in note for note in one.notes)


def test_jobs_die_by_cause_and_faults_of_runs_do_not_concern_them() -> None:
    results = hpcsim.simulate(scenario({"causes": CAUSES | {"network": {"mtbf": "300 h", "repair": "1 h"}}}, jobs=True), seed=1)
    table = results.tables["failures"].set_index("cause")
    assert list(table.index) == ["gpu", "network"]
    assert table["jobs_killed"].sum() == (results.jobs["status"] == "failed").sum() > 0
    assert table.loc["gpu", "failures"] > table.loc["network", "failures"]
    only = hpcsim.simulate(scenario({"causes": {"software": CAUSES["software"]}}, jobs=True), seed=1)
    assert "failures" not in only.tables
    assert not (only.jobs["status"] == "failed").any()


@pytest.mark.parametrize(
    ("failures", "path", "code"),
    [
        ({"node": {"repair": "1 h"}}, "failures.node", "failure-rate-twice"),
        ({"node": {"type": "llama3-405b", "mtbf": "1 h", "repair": "1 h"}}, "failures.node", "failure-rate-twice"),
        ({"node": {"type": "lama3", "repair": "1 h"}}, "failures.node.type", "unknown-catalog-name"),
        ({"node": {"type": "optics", "repair": "1 h"}}, "failures.node.type", ""),
        ({"node": {"mtbf": "9 h", "repair": "1 h"}, "causes": {"node": {"mtbf": "9 h"}}}, "failures.causes.node", "failure-cause-twice"),
        ({"causes": CAUSES, "prediction": {"recall": 1.2, "precision": 0.5, "lead": "1 h"}}, "failures.prediction.recall", ""),
        ({"causes": CAUSES, "prediction": {"recall": 0.2, "precision": 0, "lead": "1 h"}}, "failures.prediction.precision", ""),
        ({"causes": CAUSES, "crew": 0}, "failures.crew", ""),
        ({"causes": {"gpu": {"mtbf": "0 s"}}}, "failures.causes.gpu.mtbf", ""),
        ({"causes": {"gpu": {"mtbf": "1 h", "of": "rack"}}}, "failures.causes.gpu.of", ""),
    ],
)
def test_bad_failures_are_refused_in_their_place(failures: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        bind(scenario(failures))
    assert path in [problem.path for problem in caught.value.problems]
    assert not code or code in [problem.code for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("causes", "spares"),
    [
        ({"hw": {"mtbf": "20 h", "repair": "5 min", "detect": "0 s"}, "hang": {"mtbf": "6 h", "of": "run", "detect": "1 h"}}, 100),
        ({"hw": {"mtbf": "40 h", "repair": "2 h"}, "software": {"mtbf": "3 h", "of": "run"}}, 0),
    ],
)
def test_what_is_not_announced_decides_how_long_a_run_stands_still(causes: dict[str, Any], spares: int) -> None:
    which = scenario({"causes": causes, "prediction": {"recall": 0.95, "precision": 1, "lead": "1 h"}}, spares=spares)
    estimate, bound = hpcsim.estimate(which), bind(which)
    walls = np.array([item.end_s - item.start_s for item in (_run(bound, seed).items[0] for seed in range(300))])
    assert walls.mean() == pytest.approx(estimate.summary["wall_clock_s"], abs=4 * walls.std() / np.sqrt(len(walls)))
    took = float(estimate.tables["failures"][PARTS].sum().sum())
    row = estimate.training.iloc[0]
    rest = estimate.summary["wall_clock_s"] - float(row["steps"]) * float(row["step_time_s"]) - took
    write = bound.trainings[0].checkpoint_write_s
    assert -write / 2 <= rest - write * row["checkpoints"] <= write / 2 + write * float(estimate.tables["failures"]["failures"].sum())


def test_left_out_failures_and_chosen_intervals_are_told() -> None:
    long = scenario({}).vary(
        {"workload.training.run.tokens": "20 T", "workload.training.run.global_batch": 768, "cluster.nodes.gpu.count": 48}
    )
    assert any("no failures are counted" in note for note in hpcsim.estimate(long).notes)
    assert not any("no failures are counted" in note for note in hpcsim.estimate(scenario({})).notes)
    chosen = hpcsim.estimate(scenario({"causes": CAUSES}).vary({"workload.training.run.checkpoint": {"to": "slow"}}))
    every = float(chosen.training.iloc[0]["checkpoint_interval_s"])
    assert every == pytest.approx(np.sqrt(2 * 109.032784 / (32 / 1.8e6 + 1 / 144000)), rel=1e-6)
    assert any("Young's interval" in note for note in chosen.notes)


def test_a_checkpoint_may_be_written_beside_the_work() -> None:
    def run(**more: Any) -> Any:
        which = scenario({"causes": CAUSES}).vary({"workload.training.run.checkpoint": {"every": "10 min", "to": "slow", **more}})
        return bind(which), hpcsim.estimate(which).summary["wall_clock_s"], hpcsim.simulate(which, seed=4).summary["wall_clock_s"]

    whole, beside, all_of_it = run(), run(blocking="5 s"), run(blocking="1 day")
    plan = beside[0].trainings[0]
    assert plan.checkpoint_write_s == 5.0
    assert plan.checkpoint_write_s + plan.checkpoint_lag_s == pytest.approx(whole[0].trainings[0].checkpoint_write_s)
    assert beside[1] < whole[1] == all_of_it[1]
    assert beside[2] < whole[2] == all_of_it[2]
    with pytest.raises(InputError, match="the next begins after"):
        bind(scenario({}).vary({"workload.training.run.checkpoint": {"every": "1 min", "to": "slow", "blocking": "1 s"}}))


def test_an_alarm_needs_something_to_save_to() -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        bind(
            scenario(
                {"causes": {"gpu": {"mtbf": "5000 h"}}, "prediction": {"recall": 0.5, "precision": 0.5, "lead": "1 h"}}, checkpoint=False
            )
        )
