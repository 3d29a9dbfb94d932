"""Idle nodes that are switched off: power states, their energy, and what jobs wait for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.engine.clock import Clock
from hpcsim.engine.machine import MachineSystem
from hpcsim.report.charts import charts
from hpcsim.scheduling.placement import make_placement
from hpcsim.scheduling.sleeping import AwakeFirst, SleepRule
from hpcsim.testing.policies import random_machine

RULE = {"after": "100 s", "boot": "50 s", "shutdown": "10 s", "off_power": "5 W", "boot_power": "150 W", "shutdown_power": "80 W"}


def run(folder: Path, rows: list[tuple[int, int, int]], rule: dict[str, Any] | None, **more: Any) -> Any:
    """Rows are (submit, run, cores) on four nodes of eight cores that draw 100 W idle and 25 W more for each busy core."""
    lines = [f"{i} {s} -1 {r} {p} -1 -1 {p} {r} -1 1 1 1 -1 0 -1 -1 -1" for i, (s, r, p) in enumerate(rows, 1)]
    (folder / "log.swf").write_text("; UnixStartTime: 0\n" + "\n".join(lines) + "\n")
    data = {
        "schema": 1, "name": "off", "question": "What does an idle node draw?",
        "cluster": {"nodes": {"n": {"count": 4, "cores": 8, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}}},
        "workload": {"jobs": {"trace": {"file": str(folder / "log.swf")}, "unit": "core"}},
        "scheduler": {"policy": "easy", "placement": "pack", **({"switch_off": rule} if rule else {}), **more.pop("scheduler", {})}, **more,
    }  # fmt: skip
    return hpcsim.simulate(data)


def test_energy_of_a_day_is_that_of_its_states(tmp_path: Path) -> None:
    """Node 0 works throughout; 1 and 2 sleep, boot for the second job and sleep again; 3 sleeps from 110 s on. See the sums."""
    done = run(tmp_path, [(0, 1000, 8), (500, 100, 16)], RULE)
    assert done.jobs["start_s"].tolist() == [0.0, 550.0]
    node_3 = 100 * 100 + 10 * 80 + 890 * 5
    woken = 100 * 100 + 10 * 80 + 390 * 5 + 50 * 150 + 200 * 100 + 10 * 80 + 240 * 5
    work = 8 * 25 * 1000 + 16 * 25 * 100
    assert done.summary["it_energy_j"] == pytest.approx(100 * 1000 + node_3 + 2 * woken + work, rel=1e-12)
    assert done.summary["boots"] == 2
    assert done.summary["switched_off_frac"] == pytest.approx((890 + 2 * (390 + 240)) / 4000, rel=1e-12)
    states = done.tables["node_states"].set_index("state")
    assert states["node_s"].to_dict() == {"on": 4000 - 2150 - 100 - 50, "booting": 100.0, "off": 2150.0, "shutting down": 50.0}
    energy = done.tables["energy"].set_index("component")["energy_j"]
    assert states["energy_j"].sum() == pytest.approx(energy["idle"], rel=1e-12)
    assert energy["compute"] == pytest.approx(work, rel=1e-12)


def test_spares_stay_on_and_the_last_to_idle_are_kept(tmp_path: Path) -> None:
    """With two spares the second job finds both; node 3 alone is switched off."""
    done = run(tmp_path, [(0, 1000, 8), (500, 100, 16)], {**RULE, "spares": 2})
    assert done.jobs["start_s"].tolist() == [0.0, 500.0]
    assert done.summary["boots"] == 0
    away = done.tables["node_power"]
    assert set(away["node"]) == {3}


def test_a_node_that_shuts_down_must_finish_before_it_boots(tmp_path: Path) -> None:
    """At 105 s the three idle nodes are half-way down: they are off at 110 s and work at 160 s."""
    assert run(tmp_path, [(0, 300, 8), (105, 10, 24)], RULE).jobs["start_s"].tolist() == [0.0, 160.0]


def test_nodes_that_are_on_are_taken_first(tmp_path: Path) -> None:
    """The third job fits beside the first on node 0, which is on; the packed placement alone would say the same, so the base is spread."""
    done = run(tmp_path, [(0, 300, 4), (200, 50, 4)], RULE, scheduler={"placement": "spread"})
    assert done.jobs["start_s"].tolist() == [0.0, 200.0]
    assert done.summary["boots"] == 0


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative", "srpt"])
def test_with_infinite_patience_it_is_as_if_nothing_was_switched(policy: str) -> None:
    machine, jobs = random_machine(5)
    found = []
    for sleep in (None, SleepRule(idle_s=math.inf, boot_s=50.0, shutdown_s=10.0)):
        clock = Clock()
        system = MachineSystem(clock, machine, policy, placement=AwakeFirst(make_placement("pack")), sleep=sleep, check=True)
        system.submit(jobs)
        clock.run()
        found.append(system.outcome())
    assert found[0].start_s.tolist() == found[1].start_s.tolist()
    assert found[0].places == found[1].places


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative", "srpt", "priority"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_schedule_wastes_less_and_books_add_up(tmp_path: Path, policy: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = 30
    rows = [
        (int(s), int(r), int(p))
        for s, r, p in zip(np.sort(draw.integers(0, 9000, count)), draw.integers(1, 400, count), draw.integers(1, 33, count))
    ]
    done = run(tmp_path, rows, RULE, scheduler={"policy": policy, "placement": "pack"})
    jobs, away = done.jobs, done.tables["node_power"]
    assert (jobs["status"] == "finished").all()
    states, energy = done.tables["node_states"], done.tables["energy"].set_index("component")["energy_j"]
    assert states["energy_j"].sum() == pytest.approx(energy["idle"], rel=1e-9)
    assert states["node_s"].sum() == pytest.approx(4 * done.summary["makespan_s"], rel=1e-9)
    power = done.tables["power"]
    assert float(((power["end_s"] - power["start_s"]) * power["idle_w"]).sum()) == pytest.approx(energy["idle"], rel=1e-9)
    held = {node: [] for node in range(4)}  # no job runs on a node that is off, boots or shuts down
    for _, job in jobs.iterrows():
        text = str(job["hosts"]).removeprefix("n").strip("[]")
        for part in text.split(","):
            first, _, last = part.partition("-")
            for node in range(int(first), int(last or first) + 1):
                held[node].append((job["start_s"], job["end_s"]))
    if policy != "srpt":
        for _, row in away.iterrows():
            assert all(end <= row["start_s"] or start >= row["end_s"] for start, end in held[row["node"]])
    for node in range(4):  # what a node does is one thing after the other
        mine = away[away["node"] == node].sort_values("start_s")
        assert (mine["start_s"].to_numpy()[1:] >= mine["end_s"].to_numpy()[:-1]).all()


def test_the_head_of_the_queue_is_not_put_off_by_nodes_that_boot(tmp_path: Path) -> None:
    """Job 3 (32 cores) is promised 600 s. Job 4 would end at 590 s on a node that is on, but must boot one, and would end at 640 s: it waits."""
    rows = [(0, 600, 8), (0, 50, 24), (300, 100, 32), (310, 280, 8)]
    jobs = run(tmp_path, rows, RULE).jobs
    assert jobs["start_s"].tolist() == [0.0, 0.0, 650.0, 750.0]
    assert run(tmp_path, rows, None).jobs["start_s"].tolist() == [0.0, 0.0, 600.0, 310.0]


def test_the_clock_does_not_wait_for_nodes_to_fall_asleep(tmp_path: Path) -> None:
    assert run(tmp_path, [(0, 10, 8)], RULE).summary["makespan_s"] == 10.0


def test_a_rule_out_of_range_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path, [(0, 10, 8)], {**RULE, "after": "-1 s"})
    assert "switch_off.after" in str(caught.value)


def test_a_picture_shows_what_nodes_do(tmp_path: Path) -> None:
    """2,150 of 4,000 node-seconds are off; without the rule there is no such picture."""
    found = {chart.name: chart for chart in charts(run(tmp_path, [(0, 1000, 8), (500, 100, 16)], RULE))}
    assert found["node-power"].title == "Nodes are switched off 54 % of their time"
    assert found["node-power"].svg().lstrip().startswith(("<svg", "<?xml"))
    assert "node-power" not in {chart.name for chart in charts(run(tmp_path, [(0, 1000, 8)], None))}
