"""Hash collisions of a run with itself: as many flows on a cable as the router's own routes say, and none when sprayed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.routing import router
from hpcsim.run.bind import bind


def scenario(seed: int, routing: str | None = "ecmp", **workload: Any) -> Any:
    fabric = {
        "topology": "fat-tree",
        "link": "ethernet-400g",
        "per_node": 8,
        "down": [4, 2],
        "up": [1, 8],
        "parallel": [8, 4],
        "hash_seed": seed,
    }
    return hpcsim.load(
        {
            "schema": 1,
            "name": "hash",
            "question": "?",
            "cluster": {"nodes": {"h100": {"type": "dgx-h100", "count": 8, "speed": "1 TFLOP/s"}}, "fabric": fabric | ({"routing": routing} if routing else {})},
            "workload": workload
            or {
                "training": {
                    "t": {
                        "model": "llama2-7b",
                        "steps": 20,
                        "global_batch": 256,
                        "sequence": 2048,
                        "layout": {"tp": 1, "pp": 1, "micro_batch": 1, "recompute": "full", "zero_stage": 3, "overlap": False},
                    }
                }
            },
        }
    )  # fmt: skip


def most_on_a_cable(loaded: Any) -> int:
    """Count the flows of a ring over all nodes and ports on the fullest cable."""
    cluster = resolve(loaded.cluster, default())
    assert cluster.fabric is not None
    routes = router(cluster, "ecmp", seed=cluster.fabric.hash_seed).routes(np.arange(8), (np.arange(8) + 1) % 8).routes
    return int(np.bincount(routes.links).max())


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_a_step_waits_for_the_fullest_cable(seed: int) -> None:
    """A step is as long as on a sprayed fabric whose traffic is slower by the number of flows on that cable."""
    loaded, sprayed = scenario(seed), scenario(seed, "spray")
    crowd = most_on_a_cable(loaded)
    traffic = bind(sprayed).trainings[0].traffic_of()
    assert traffic is not None
    slow_s, quick_s = (hpcsim.estimate(run).summary["step_time_s"] for run in (loaded, sprayed))
    assert crowd > 1
    assert slow_s == pytest.approx(quick_s + traffic.slowed_s(crowd), rel=1e-9)
    assert slow_s > 1.05 * quick_s


def test_equal_seeds_collide_alike_and_engine_and_closed_form_agree() -> None:
    one, other = hpcsim.simulate(scenario(3)), hpcsim.simulate(scenario(3))
    assert one.summary["step_time_s"] == other.summary["step_time_s"]
    assert one.summary["wall_clock_s"] == pytest.approx(hpcsim.estimate(scenario(3)).summary["wall_clock_s"], rel=1e-9)
    assert any("hash puts flows of its own" in note for note in one.notes)


def test_a_hash_nobody_asked_for_is_charged_between_jobs_only() -> None:
    """Ethernet hashes by default; how many connections a library opens to even that out is not known."""
    quiet = hpcsim.estimate(scenario(0, None)).summary["step_time_s"]
    assert quiet == hpcsim.estimate(scenario(0, "spray")).summary["step_time_s"]


def test_a_pattern_meets_itself_too() -> None:
    """A transpose over all nodes and ports is slower by its fullest cable than sprayed."""
    fft = {"kind": "transpose", "grid": [4096, 4096], "element": "16 kB", "work": "0 FLOP", "iterations": 1, "transposes": 1}
    runs = {routing: hpcsim.estimate(scenario(1, routing, patterns={"fft": fft})).jobs["run_s"].iloc[0] for routing in ("ecmp", "spray")}
    assert 1.2 * runs["spray"] < runs["ecmp"] < 6 * runs["spray"]
