"""Table ``spans``: every time at one size; together with the other jobs it is what the machine was busy with, and the picture keeps to the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hpcsim
from hpcsim.report.schedule import gantt, in_spans
from hpcsim.results.schedules import spans_of
from hpcsim.study.replay import replay


def log(folder: Path, seed: int, count: int = 40) -> Path:
    rng = np.random.default_rng(seed)
    rows = zip(np.sort(rng.integers(0, 200, count)), rng.integers(5, 60, count), rng.integers(1, 5, count), strict=True)
    path = folder / "log.csv"
    path.write_text("submit,run,processors\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return path


def scenario(path: Path, policy: str) -> hpcsim.Scenario:
    return hpcsim.load(
        {
            "schema": 1, "name": "s", "question": "Who held what, and when?",
            "cluster": {"nodes": {"n": {"count": 2, "cores": 4, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}}},
            "workload": {
                "jobs": {"trace": {"file": str(path), "format": "csv"}, "unit": "core", "elastic": {"law": "amdahl", "least": 0.5, "most": 3}}
            },
            "scheduler": {"policy": policy},
        }
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["equipartition", "goodput", "moldable"])
@pytest.mark.parametrize("seed", [1, 2])
def test_spans_are_what_the_machine_was_busy_with(tmp_path: Path, policy: str, seed: int) -> None:
    results = hpcsim.simulate(scenario(log(tmp_path, seed), policy))
    spans, states, jobs = (results.tables[name] for name in ("spans", "states", "jobs"))
    middles = ((states["start_s"] + states["end_s"]) / 2).to_numpy()
    held = [int(spans.loc[(spans["start_s"] <= t) & (spans["end_s"] > t), "processors"].sum()) for t in middles]
    assert held == states["busy"].tolist()
    work = ((spans["end_s"] - spans["start_s"]) * spans["processors"]).groupby(spans["job_id"]).sum()
    assert (work.loc[jobs["job_id"]] / 4).to_numpy() == pytest.approx(jobs["device_s"].to_numpy())  # nodes of four cores
    assert set(spans["job_id"]) == set(jobs["job_id"])
    assert (spans.groupby("job_id")["start_s"].min() == jobs.set_index("job_id")["start_s"]).all()
    assert (spans.groupby("job_id")["end_s"].max() == jobs.set_index("job_id")["end_s"]).all()


def test_the_picture_keeps_to_the_machine(tmp_path: Path) -> None:
    """A job that grew over the whole machine is not drawn at that size from its first start on."""
    results = hpcsim.simulate(scenario(log(tmp_path, 3), "equipartition"))
    jobs, states, spans = (results.tables[name] for name in ("jobs", "states", "spans"))
    whole, cut = gantt(jobs, states), gantt(jobs, states, spans=spans)
    busy = float((states["busy"] * (states["end_s"] - states["start_s"])).sum())
    share = busy / (8 * (jobs["end_s"].max() - jobs["submit_s"].min()))
    assert cut.title.startswith(f"{len(jobs)} jobs keep 8 processors {100 * share:.3g} % busy")
    assert whole.title != cut.title


def test_side_by_side_policies_have_their_own(tmp_path: Path) -> None:
    results = replay(log(tmp_path, 4), nodes=8, policies=("easy", "srpt"), trace_format="csv")
    spans, jobs = results.tables["spans"], results.tables["jobs"]
    assert set(spans["policy"]) == {"srpt"}
    mine = jobs[jobs["policy"] == "srpt"]
    cut = in_spans(mine, spans)
    assert len(cut) == len(spans) > len(mine)
    assert ((cut["end_s"] - cut["start_s"]) * cut["processors"]).sum() == pytest.approx(float((mine["run_s"] * mine["processors"]).sum()))


def test_what_has_not_begun_is_left_out() -> None:
    nan = np.nan
    columns = spans_of(np.array([7, 9]), np.array([1, 0, 1]), np.array([5.0, nan, 2.0]), np.array([nan, nan, 4.0]), np.array([3, 1, 2]))
    assert columns["job_id"].tolist() == [9, 9]
    assert columns["start_s"].tolist() == [2.0, 5.0]
    assert columns["processors"].tolist() == [2, 3]


def test_accelerator_hours_of_batch_jobs(tmp_path: Path) -> None:
    """Two jobs on an accelerator-hour each of a rented node: its bill over two hours; over two groups with accelerators as well."""
    path = tmp_path / "log.csv"
    path.write_text("submit,run,processors\n0,3600,1\n0,3600,1\n")
    gpu = {"type": "dgx-a100-80gb", "count": 1}
    cpu = {"count": 1, "cores": 4, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}
    trace = {"file": str(path), "format": "csv"}
    both = {"schema": 1, "name": "s", "question": "What is an hour?", "scheduler": {"policy": "easy"}}
    one = hpcsim.simulate({**both, "cluster": {"nodes": {"g": gpu}, "prices": {"g": "16 USD/h"}}, "workload": {"jobs": {"trace": trace}}})
    assert one.summary["cost_per_device_hour_usd"] == pytest.approx(one.summary["cost_usd"] / 2)
    prices = {"c": "1 USD/h", "g": "16 USD/h"}
    jobs = {"trace": trace, "nodes": ["c", "g"], "unit": "node"}
    two = hpcsim.simulate({**both, "cluster": {"nodes": {"c": cpu, "g": gpu}, "prices": prices}, "workload": {"jobs": jobs}})
    assert "cost_per_device_hour_usd" not in two.summary  # the bill has processors in it too
    more = {"nodes": {"c": gpu, "g": gpu}, "prices": prices}
    two = hpcsim.simulate({**both, "cluster": more, "workload": {"jobs": jobs}})
    assert two.summary["cost_per_device_hour_usd"] == pytest.approx(two.summary["cost_usd"] / 16)  # both have a node of eight
