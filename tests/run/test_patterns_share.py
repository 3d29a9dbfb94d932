"""Applications by their pattern share the fabric: what they lose by hand, alone far apart, and beside each other."""

from __future__ import annotations

from typing import Any

import pytest

import hpcsim

HALO = {"kind": "halo", "grid": [12], "element": "15 GB", "work": "6 TFLOP", "iterations": 10, "ranks": 6}
"""A ring of six ranks: an iteration computes 1 s, and each rank sends 15 GB to both neighbours, 3 s at 10 GB/s."""


def run(patterns: dict[str, Any], *, up: int = 1, storage: dict[str, Any] | None = None) -> Any:
    return hpcsim.simulate(
        {
            "schema": 1,
            "name": "share",
            "question": "?",
            "cluster": {
                "nodes": {"cpu": {"cores": 1, "count": 12, "speed": "1 TFLOP/s"}},
                "fabric": {"topology": "fat-tree", "link": "80 Gbit/s", "latency": "0 s", "down": [4, 3], "up": [1, up]},
                "storage": storage or {},
            },
            "workload": {"patterns": patterns},
        }
    )


def test_two_stencils_on_one_cable_lose_what_max_min_says() -> None:
    """C = 1 s, X = 3 s of each iteration: both rings cross the middle leaf, so T = C + X·(1 + X/(C + X))."""
    alone = run({"a": HALO})
    assert alone.jobs["run_s"].tolist() == pytest.approx([10 * 4.0])
    both = run({"a": HALO, "b": HALO})
    assert both.jobs["run_s"].tolist() == pytest.approx([10 * (1 + 3 * (1 + 3 / 4))] * 2)
    assert set(both.tables["contention"]["activity"]) == {"exchange"}
    wide = run({"a": HALO, "b": HALO}, up=4)
    assert wide.jobs["run_s"].tolist() == pytest.approx([40.0, 40.0])
    assert "contention" not in wide.tables


def test_alone_the_engine_and_the_closed_form_agree_far_apart() -> None:
    """A transpose over three leaves of four with one cable up: of 11 partners 8 are elsewhere, so a cable carries 4·8/11 of a port."""
    fft = {"kind": "transpose", "grid": [1200, 1200, 1200], "element": "16 B", "work": "1 TFLOP", "iterations": 3, "transposes": 1}
    narrow, wide = run({"fft": fft}), run({"fft": fft}, up=4)
    send_s = 3 * 1200**3 * 16 / 12 * 11 / 12 / 10e9
    compute_s = 3 / 12
    assert wide.jobs["run_s"].tolist() == pytest.approx([compute_s + send_s])
    assert narrow.jobs["run_s"].tolist() == pytest.approx([compute_s + send_s * 32 / 11])
    beside = run({"fft": fft | {"ranks": 6}, "quiet": {"kind": "ensemble", "tasks": 6, "ranks": 6, "work": "1 TFLOP"}})
    alone = run({"fft": fft | {"ranks": 6}})
    assert beside.jobs["run_s"].tolist()[0] == pytest.approx(float(alone.jobs["run_s"].iloc[0]), rel=1e-12)


def test_two_readers_of_a_tier_share_it() -> None:
    """An iteration reads 40 GB at 10 GB/s and computes 4 s: together each sees half of the tier half of the time."""
    storage = {"home": {"type": "nvme", "capacity": "1 PB", "read": "10 GB/s", "write": "10 GB/s", "latency": "0 s"}}
    reads = {"kind": "storage", "storage": "home", "read": "40 GB", "work": "16 TFLOP", "iterations": 5, "ranks": 4}
    both = run({"a": reads, "b": reads}, storage=storage)
    assert both.jobs["run_s"].tolist() == pytest.approx([5 * (4 + 4 * 1.5)] * 2)
    carried = both.tables["links"].set_index("kind")["carried_bytes"]
    assert carried["server"] == pytest.approx(2 * 5 * 40e9)
