"""Failures of a whole run: their mean meets the closed form, spares and checkpoints matter as they should, a hopeless run is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cost.reliability import young_interval_s
from hpcsim.run.bind import bind
from hpcsim.run.estimate import _record
from hpcsim.run.simulate import _run

HOUR = 3600.0


def scenario(
    *, mtbf: str | None = "20 h", repair: str = "2 h", spares: int = 0, checkpoint: Any = None, **training: Any
) -> hpcsim.Scenario:
    run: dict[str, Any] = {
        "model": "gpt2-xl",
        "tokens": "20 G",
        "global_batch": 384,
        "sequence": 1024,
        "layout": {"tp": 1, "pp": 1, "micro_batch": 2},
    }
    if checkpoint:
        run["checkpoint"] = checkpoint
    return hpcsim.load(
        {
            "schema": 1,
            "name": "failing",
            "question": "q?",
            "cluster": {
                "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 4, "spares": spares}},
                "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40},
                "storage": {
                    "slow": {"type": "lustre", "capacity": "1 PB", "read": "1 GB/s", "write": "200 MB/s", "power": "1 kW", "latency": "0 s"}
                },
                "site": {"pue": 1.2, "carbon": "57 g/kWh", "electricity": "0.12 USD/kWh"},
                "prices": {"gpu": "1.8 USD/h"},
            },
            "workload": {"training": {"run": {**run, **training}}},
            **({"failures": {"node": {"mtbf": mtbf, "repair": repair}}} if mtbf else {}),
        }
    )


EVERY = {"every": "1 h", "to": "slow"}


def many(which: hpcsim.Scenario, seeds: int) -> list[Any]:
    bound = bind(which)
    return [_run(bound, seed) for seed in range(seeds)]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), 4 * float(np.std(values)) / math.sqrt(len(values))


@pytest.mark.parametrize(("spares", "repair"), [(0, "2 h"), (0, "0 s"), (400, "1000 h")])
def test_the_mean_of_many_runs_meets_the_estimate(spares: int, repair: str) -> None:
    """Time, failures and lost work of 800 runs, each within four standard errors of the closed form.

    Without spares the run waits for the repair; with more spares than failures it never does.
    """
    which = scenario(mtbf="12 h", repair=repair, spares=spares, checkpoint=EVERY)
    expected = hpcsim.estimate(which)
    runs = many(which, 800)
    walls = [record.items[0].end_s - record.items[0].start_s for record in runs]
    mean, error = mean_and_error(walls)
    assert mean == pytest.approx(expected.summary["wall_clock_s"], abs=error)
    assert error < 0.05 * mean
    row = expected.training.iloc[0]
    failures = _record(bind(which), 0).items[0].failures  # the table shows whole ones
    assert row["failures"] == round(failures)
    mean, error = mean_and_error([float(record.items[0].failures) for record in runs])
    assert mean == pytest.approx(failures, abs=error)
    assert error < 0.15 * mean
    mean, error = mean_and_error([record.items[0].lost_s for record in runs])
    assert mean == pytest.approx(row["lost_s"], abs=error)
    checkpoints = {record.items[0].checkpoints for record in runs}
    assert checkpoints == {row["checkpoints"]}  # each is written once: what a failure takes away was not saved


def test_a_simulation_is_the_record_with_its_figures() -> None:
    which = scenario(mtbf="12 h", spares=1, checkpoint=EVERY)
    record = _run(bind(which), 5)
    result = hpcsim.simulate(which, seed=5)
    item = record.items[0]
    row = result.training.iloc[0]
    assert result.summary["wall_clock_s"] == item.end_s - item.start_s
    assert row["failures"] == item.failures > 0
    assert row["lost_s"] == item.lost_s
    assert row["goodput_frac"] == result.summary["goodput_frac"] == pytest.approx(item.plan.work_s / result.summary["wall_clock_s"])


def test_energy_in_the_mean_is_the_estimate() -> None:
    """Nodes draw while they work, also work that is lost; a node in repair draws nothing, which the closed form leaves out."""
    which = scenario(mtbf="12 h", repair="0 s", spares=1, checkpoint=EVERY)
    expected = hpcsim.estimate(which).energy.set_index("component")["energy_j"]["compute"]
    joules = []
    for record in many(which, 400):
        usage = record.usage
        joules.append(float(np.dot(usage.draw_w, usage.end_s - usage.start_s)))
    mean, error = mean_and_error(joules)
    assert mean == pytest.approx(expected, abs=error)


def test_more_failures_never_shorten_the_run() -> None:
    """I23: in the closed form, and in the mean of coupled runs."""
    estimates, means = [], []
    for mtbf in (None, "2000 h", "200 h", "50 h", "20 h", "10 h"):
        which = scenario(mtbf=mtbf, spares=2, checkpoint=EVERY)
        estimates.append(hpcsim.estimate(which).summary["wall_clock_s"])
        means.append(np.mean([record.items[0].end_s for record in many(which, 100)]))
    assert estimates == sorted(estimates)
    assert means == sorted(means)
    assert estimates[-1] > 1.1 * estimates[0]


def test_without_an_interval_it_is_youngs() -> None:
    """√(2δM), from the time of one checkpoint and the mean time between failures of the run."""
    open_ = scenario(mtbf="20 h", checkpoint={"to": "slow"})
    plan = bind(open_).trainings[0]
    assert plan.checkpoint_write_s == pytest.approx(plan.parameters * 14 / 200e6, rel=1e-9)
    tau = float(young_interval_s(plan.checkpoint_write_s, 20 * HOUR / 4))
    assert plan.checkpoint_interval_s == pytest.approx(tau) == pytest.approx(math.sqrt(2 * plan.checkpoint_write_s * 5 * HOUR))
    given = scenario(mtbf="20 h", checkpoint={"to": "slow", "every": f"{tau!r} s"})
    one, other = hpcsim.simulate(open_), hpcsim.simulate(given)
    assert one.summary["wall_clock_s"] == pytest.approx(other.summary["wall_clock_s"], rel=1e-12)
    assert one.training["checkpoints"].iloc[0] == math.ceil(plan.work_s / tau) - 1
    for factor in (0.2, 5.0):
        worse = scenario(mtbf="20 h", checkpoint={"to": "slow", "every": f"{factor * tau!r} s"})
        assert hpcsim.estimate(worse).summary["wall_clock_s"] > hpcsim.estimate(open_).summary["wall_clock_s"]


def test_without_failures_and_interval_nothing_is_written() -> None:
    result = hpcsim.simulate(scenario(mtbf=None, checkpoint={"to": "slow"}))
    assert result.training["checkpoints"].iloc[0] == 0
    assert result.summary["goodput_frac"] == 1.0


def test_checkpoints_that_never_end_a_segment_cost_nothing() -> None:
    """A run shorter than the interval saves nothing, so its time is its work."""
    result = hpcsim.simulate(scenario(mtbf=None, checkpoint={"to": "slow", "every": "100 days"}))
    plan = bind(scenario(mtbf=None)).trainings[0]
    assert result.summary["wall_clock_s"] == pytest.approx(plan.work_s, rel=1e-12)


def test_spares_save_exactly_the_waits_for_repair() -> None:
    """With the same failures, no spares cost one repair for every failure."""
    for seed in range(5):
        without = hpcsim.simulate(scenario(mtbf="12 h", repair="2 h", checkpoint=EVERY), seed=seed)
        enough = hpcsim.simulate(scenario(mtbf="12 h", repair="2 h", spares=200, checkpoint=EVERY), seed=seed)
        failures = without.training["failures"].iloc[0]
        assert failures == enough.training["failures"].iloc[0]
        wait = without.summary["wall_clock_s"] - enough.summary["wall_clock_s"]
        assert wait == pytest.approx(failures * 2 * HOUR, rel=1e-9)
        few = hpcsim.simulate(scenario(mtbf="12 h", repair="2 h", spares=1, checkpoint=EVERY), seed=seed)
        assert enough.summary["wall_clock_s"] - 1e-6 <= few.summary["wall_clock_s"] <= without.summary["wall_clock_s"] + 1e-6


def test_a_node_in_repair_is_down_for_the_repair() -> None:
    """Node-seconds out of service are failures times repair, cut at the end of the run."""
    result = hpcsim.simulate(scenario(mtbf="12 h", repair="30 min", spares=3, checkpoint=EVERY), seed=3)
    states = result.states
    down = float(np.dot(states["down"], states["end_s"] - states["start_s"]))
    failures = result.training["failures"].iloc[0]
    assert failures > 3
    assert (failures - 1) * 1800 <= down <= failures * 1800 * (1 + 1e-12)
    assert states["down"].max() <= failures


def test_work_is_conserved() -> None:
    """I8: work, lost work, checkpoints, recoveries and waits are the whole time of the run, to the second."""
    which = scenario(mtbf="12 h", repair="2 h", spares=1, checkpoint=EVERY)
    plan = bind(which).trainings[0]
    for record in many(which, 20):
        item = record.items[0]
        worked = sum((b - a) * w for _, a, b, w in item.stretches) / plan.draw_w
        assert worked == pytest.approx(item.done_s + item.lost_s, rel=1e-9)
        waits = sum(b - a for _, a, b in item.short)
        rest = item.end_s - item.start_s - worked - item.checkpoints * plan.checkpoint_write_s - waits
        assert -1e-6 <= rest <= item.failures * (plan.recovery_s + plan.checkpoint_write_s) + 1e-6


@pytest.mark.parametrize("verb", [hpcsim.estimate, hpcsim.simulate])
@pytest.mark.parametrize(
    ("mtbf", "checkpoint"),
    [("1 min", None), ("1 ns", EVERY), ("10 min", {"every": "10 h", "to": "slow"})],
    ids=["bare", "at once", "seldom saved"],
)
def test_a_run_that_never_ends_is_refused(verb: Any, mtbf: str, checkpoint: Any) -> None:
    with pytest.raises(InputError) as caught:
        verb(scenario(mtbf=mtbf, checkpoint=checkpoint))
    (problem,) = caught.value.problems
    assert problem.code == "never-finishes"
    assert problem.path == "workload.training.run"
    said = ("checkpoint: {to: TIER}" in str(problem), "is saved on the way" in str(problem), "checkpoint more often" in str(problem))
    assert said == ((False, False, True) if checkpoint else (True, True, False))


def test_a_horizon_ends_a_run_that_never_would() -> None:
    result = hpcsim.simulate(scenario(mtbf="1 min").vary({"simulate.until": "5 h"}))
    row = result.training.iloc[0]
    assert result.jobs["status"].tolist() == ["running"]
    assert "wall_clock_s" not in result.summary
    assert row["failures"] > 2
    assert 0 <= result.summary["goodput_frac"] < 0.1
    assert result.power["end_s"].iloc[-1] == 5 * HOUR
    assert "still runs" in result.answer


def test_two_runs_fail_on_their_own() -> None:
    """Named random streams: a second run beside the first changes nothing about the first."""
    alone = scenario(mtbf="12 h", checkpoint=EVERY, count=2)
    runs = alone.data()["workload"]["training"]
    beside = alone.vary({"workload.training": {**runs, "other": runs["run"]}})
    first, both = hpcsim.simulate(alone), hpcsim.simulate(beside)
    ends = both.jobs.set_index("name")["end_s"]
    assert ends["run"] == pytest.approx(first.jobs["end_s"].iloc[0], rel=1e-12)
    assert ends["other"] != ends["run"]
