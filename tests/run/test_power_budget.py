"""Power budgets that change by the hour, and caps on nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError


def run(
    folder: Path, rows: list[tuple[int, int, int]], scheduler: dict[str, Any], *, nodes: int = 4, idle: int = 100, most: int = 300
) -> Any:
    """Rows are (submit, run, cores) on nodes of eight cores."""
    lines = [f"{i} {s} -1 {r} {p} -1 -1 {p} {r} -1 1 1 1 -1 0 -1 -1 -1" for i, (s, r, p) in enumerate(rows, 1)]
    (folder / "log.swf").write_text("; UnixStartTime: 0\n" + "\n".join(lines) + "\n")
    group = {"count": nodes, "cores": 8, "memory": "64 GB", "idle_power": f"{idle} W", "max_power": f"{most} W"}
    data = {
        "schema": 1, "name": "budget", "question": "Who waits for power?", "cluster": {"nodes": {"n": group}},
        "workload": {"jobs": {"trace": {"file": str(folder / "log.swf")}, "unit": "core"}}, "scheduler": scheduler,
    }  # fmt: skip
    return hpcsim.simulate(data)


HOURS = {"policy": "conservative", "power_budget": "800 W", "power_hours": {"1-2": "200 W"}}


def test_a_job_starts_only_if_its_power_is_there_to_its_end(tmp_path: Path) -> None:
    """25 W a core. From 3,600 to 7,200 s there are 200 W: eight cores for an hour and a half may begin, sixteen must wait, 24 end just before."""
    done = run(tmp_path, [(0, 5400, 16), (0, 5400, 8), (0, 3600, 24)], HOURS)
    assert done.jobs["start_s"].tolist() == [7200.0, 0.0, 0.0]
    flat = run(tmp_path, [(0, 5400, 16), (0, 5400, 8), (0, 3600, 24)], {"policy": "conservative", "power_budget": "800 W"})
    assert flat.jobs["start_s"].tolist() == [0.0, 0.0, 5400.0]


@pytest.mark.parametrize("policy", ["conservative", "shift"])
@pytest.mark.parametrize("seed", range(4))
def test_the_budget_is_never_exceeded(tmp_path: Path, policy: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = 60
    rows = sorted(
        zip(draw.integers(0, 2 * 86400, count).tolist(), draw.integers(60, 9000, count).tolist(), draw.integers(1, 25, count).tolist())
    )
    options = {"options": {"backfill": "conservative", "slack_s": 20000}} if policy == "shift" else {}
    (tmp_path / "hours.csv").write_text("usd_per_kwh\n" + "\n".join(str(x) for x in draw.integers(1, 9, 24)) + "\n")
    budget = {"power_budget": "700 W", "power_hours": {"7-9": "450 W", "17-21": "300 W", "23-2": "620 W"}}
    site = {"cluster.site": {"hourly": str(tmp_path / "hours.csv")}} if policy == "shift" else {}
    lines = [f"{i} {s} -1 {r} {p} -1 -1 {p} {r} -1 1 1 1 -1 0 -1 -1 -1" for i, (s, r, p) in enumerate(rows, 1)]
    (tmp_path / "log.swf").write_text("; UnixStartTime: 0\n" + "\n".join(lines) + "\n")
    group = {"count": 4, "cores": 8, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}
    data = {
        "schema": 1, "name": "budget", "question": "Who waits for power?", "cluster": {"nodes": {"n": group}},
        "workload": {"jobs": {"trace": {"file": str(tmp_path / "log.swf")}, "unit": "core"}},
        "scheduler": {"policy": policy, **budget, **options},
    }  # fmt: skip
    done = hpcsim.simulate(hpcsim.load(data).vary(site) if site else data)
    jobs = done.jobs
    assert len(jobs) > 30
    assert (jobs["status"] == "finished").all()
    edges = np.unique(np.concatenate([jobs["start_s"], jobs["end_s"], 3600.0 * np.arange(int(jobs["end_s"].max() // 3600) + 2)]))
    middle = (edges[:-1] + edges[1:]) / 2
    drawn = np.array([25.0 * jobs["processors"][(jobs["start_s"] < t) & (jobs["end_s"] > t)].sum() for t in middle])
    hour = (middle // 3600).astype(int) % 24
    allowed = np.where(
        (hour >= 7) & (hour < 9), 450, np.where((hour >= 17) & (hour < 21), 300, np.where((hour == 23) | (hour < 2), 620, 700))
    )
    assert (drawn <= allowed).all()
    assert drawn.max() > 450  # it binds somewhere


def test_a_job_that_no_hours_can_feed_is_dropped_and_counted(tmp_path: Path) -> None:
    """Sixteen cores (400 W) for 24 h cannot avoid the hour with 200 W."""
    done = run(tmp_path, [(0, 24 * 3600, 16), (0, 100, 8)], HOURS)
    assert len(done.jobs) == 1
    assert "more power" in " ".join(done.tables["quality"]["issue"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"policy": "easy"}, "power-hours-policy"),
        ({"power_budget": None}, "power-hours-alone"),
        ({"estimates": "predicted"}, "power-hours-estimates"),
        ({"power_hours": {"25-3": "1 W"}}, "power-hours"),
        ({"power_hours": {"1-5": "100 W", "4-6": "100 W"}}, "power-hours-twice"),
    ],
)
def test_what_nobody_could_keep_is_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path, [(0, 10, 8)], {key: value for key, value in {**HOURS, **change}.items() if value is not None})
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_capped_node_is_slower_and_saves_energy(tmp_path: Path) -> None:
    """Handbook's figures: 200 W + 500 W·x³, 70 % of the time bound by the clock, 500 W cap: x 0.843, 13.0 % longer, 19.3 % less energy."""
    cap = {"power": "500 W", "compute_bound": 0.7}
    rows = [(0, 1000, 8)]
    plain = run(tmp_path, rows, {"policy": "fcfs"}, nodes=1, idle=200, most=700)
    capped = run(tmp_path, rows, {"policy": "fcfs", "node_cap": cap}, nodes=1, idle=200, most=700)
    assert plain.summary["it_energy_j"] == pytest.approx(700_000, rel=1e-12)
    assert capped.summary["makespan_s"] == pytest.approx(1130.0, abs=0.6)
    assert capped.summary["peak_power_w"] == pytest.approx(500.0, rel=1e-9)
    assert capped.summary["it_energy_j"] / plain.summary["it_energy_j"] == pytest.approx(1 - 0.193, abs=6e-4)
    # under a budget of one busy node above idle, two capped nodes still do not fit, but a lower cap lets both run
    both = {"policy": "fcfs", "power_budget": "500 W"}
    two = [(0, 1000, 8), (0, 1000, 8)]
    assert run(tmp_path, two, both, nodes=2, idle=200, most=700).jobs["start_s"].tolist() == [0.0, 1000.0]
    low = {**both, "node_cap": {**cap, "power": "450 W"}}
    assert run(tmp_path, two, low, nodes=2, idle=200, most=700).jobs["start_s"].tolist() == [0.0, 0.0]


def test_a_cap_below_the_lowest_clock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path, [(0, 10, 8)], {"policy": "fcfs", "node_cap": {"power": "105 W", "compute_bound": 1.0}})
    assert [problem.code for problem in caught.value.problems] == ["node-cap-low"]


def test_lower_caps_never_make_jobs_faster(tmp_path: Path) -> None:
    times = [
        run(tmp_path, [(0, 1000, 8)], {"policy": "fcfs", "node_cap": {"power": f"{watts} W", "compute_bound": 0.6}}).summary["makespan_s"]
        for watts in (300, 260, 220, 180, 140)
    ]
    assert times == sorted(times)
    assert times[0] == 1000.0
