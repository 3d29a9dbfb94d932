"""Jobs that are stopped in turns get on, or are refused: never a run without end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.engine.stopping import Stopping, short_turn


def scenario(policy: str, options: dict[str, Any], stopping: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "turns",
        "question": "q?",
        "cluster": {"nodes": {"cpu": {"type": "cpu-2s", "count": 4, "cores": 8}}},
        "workload": {"jobs": {"synthetic": {"jobs": 12, "duration": "1 h"}}},
        "scheduler": {"policy": policy, "options": {"mode": "checkpoint", **options}, "stopping": stopping, "placement": "first-fit"},
        "simulate": {"seed": 5},
    }


@pytest.mark.parametrize(
    ("policy", "option", "turn_s", "stopping"),
    [
        ("gang", "quantum_s", 60.0, {"save": "40 s", "restore": "30 s"}),
        ("gang", "quantum_s", 70.0, {"save": "40 s", "restore": "30 s"}),
        ("finish-time-fair", "lease_s", 100.0, {"save": "2 min"}),
        ("gang", "quantum_s", 600.0, {"interval": "1 h", "notice": False}),
    ],
)
def test_turns_too_short_for_headway_are_refused_by_check(policy: str, option: str, turn_s: float, stopping: dict[str, Any]) -> None:
    problems = hpcsim.check(scenario(policy, {option: turn_s}, stopping))
    assert [(p.code, p.path) for p in problems] == [("turn-without-headway", f"scheduler.options.{option}")]


def test_turns_that_are_long_enough_come_to_an_end() -> None:
    for options, stopping in (
        ({"quantum_s": 400.0}, {"save": "40 s", "restore": "30 s"}),
        ({"quantum_s": 60.0, "mode": "suspend"}, {"save": "40 s"}),
    ):
        assert hpcsim.simulate(scenario("gang", options, stopping)).summary["jobs_finished"] == 12


def test_a_run_that_gets_nowhere_ends_with_its_reason() -> None:
    """Least attained service: a job falls, is stopped, keeps less than makes it fall, and is first again: no turn says so beforehand."""
    data = scenario("las", {}, {"save": "40 s", "restore": "30 s"})
    data["workload"] = {"jobs": {"synthetic": {"jobs": 40, "duration": "4 h"}}}
    with pytest.raises(InputError) as caught:
        hpcsim.simulate(data)
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("stops-without-headway", "scheduler.stopping")
    assert "40 s to save and 30 s to go on" in str(problem)


@given(st.floats(0.1, 500), st.floats(0, 200), st.floats(0, 200), st.floats(1, 300), st.booleans())
@settings(max_examples=200)
def test_a_turn_is_refused_where_a_job_would_keep_nothing_of_it(
    turn: float, save: float, restore: float, interval: float, notice: bool
) -> None:
    """Against the engine's own rule of what is kept: of a turn, less the time to go on, from nothing."""
    stopping = Stopping(save_s=save, restore_s=restore, interval_s=interval, notice=notice)
    kept = stopping.kept_s("checkpoint", 0.0, max(0.0, turn - stopping.restart_s("checkpoint")))
    refused = short_turn(stopping, "checkpoint", "gang", "quantum_s", turn) is not None
    slack = abs(turn - (save + restore if notice else restore + interval))
    assert refused == (kept <= 0.0) or slack < 1e-6
    assert short_turn(stopping, "suspend", "gang", "quantum_s", turn) is None
