"""What steps send: which nodes talk to which by hand, and how a step slows against its own terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsim.run.bind import bind
from hpcsim.workload.traffic import StepTraffic, node_pairs
from hpcsim.workload.training import TrainingPlan

PLAIN = {"dp": 1, "tp": 1, "pp": 1, "vpp": 1, "cp": 1, "ep": 1, "etp": 1}


def pairs(kind: str, nodes: int, per_node: int, domain: int = 1, **layout: int) -> set[tuple[int, int]]:
    source, target = node_pairs(kind, {**PLAIN, **layout}, nodes=nodes, per_node=per_node, domain=domain)
    return set(zip(source.tolist(), target.tolist()))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pairs("data", 4, 8, dp=32), {(0, 1), (1, 2), (2, 3), (3, 0)}),
        (pairs("data", 4, 8, dp=2, tp=8, pp=2), {(0, 1), (1, 0), (2, 3), (3, 2)}),
        (pairs("data", 4, 4, dp=2, tp=8), {(0, 2), (1, 3), (2, 0), (3, 1)}),
        (pairs("data", 2, 8, dp=1, tp=8, pp=2), set()),
        (pairs("data", 4, 4, domain=2, dp=16), {(0, 2), (1, 3), (2, 0), (3, 1)}),
        (pairs("pipeline", 3, 8, tp=8, pp=3), {(0, 1), (1, 2), (1, 0), (2, 1)}),
        (pairs("pipeline", 3, 8, tp=8, pp=3, vpp=2), {(0, 1), (1, 2), (1, 0), (2, 1), (2, 0), (0, 2)}),
        (pairs("pipeline", 2, 8, tp=4, pp=4), {(0, 1), (1, 0)}),
        (pairs("expert", 4, 8, dp=32, ep=16), {(0, 1), (1, 0), (2, 3), (3, 2)}),
        (pairs("expert", 4, 8, dp=32, ep=8), set()),
        (pairs("tensor", 2, 8, tp=16), {(0, 1), (1, 0)}),
        (pairs("context", 4, 8, tp=8, cp=4), {(0, 1), (1, 2), (2, 3), (3, 0)}),
    ],
)
def test_who_sends_to_whom(found: set[tuple[int, int]], expected: set[tuple[int, int]]) -> None:
    assert found == expected


def plan(layout: dict[str, Any], *, nodes: int = 4, model: str = "gpt2-xl", ports: int = 1) -> TrainingPlan:
    cluster = {
        "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": nodes}},
        "fabric": {"topology": "single-switch", "link": "hdr", "per_node": ports},
    }
    run = {"model": model, "steps": 10, "global_batch": 384, "sequence": 1024, "layout": {"tp": 1, "pp": 1, "micro_batch": 1, **layout}}
    scenario = {"schema": 1, "name": "t", "question": "?", "cluster": cluster, "workload": {"training": {"run": run}}}
    return bind(scenario).trainings[0]


def traffic(made: TrainingPlan) -> StepTraffic:
    found = made.traffic_of()
    assert found is not None
    return found


def test_what_is_not_hidden_takes_its_time_times_the_slowdown() -> None:
    """Without overlap the reduction is all exposed: its bytes take s times as long, its latency and start-up do not."""
    made = plan({"overlap": False})
    found = traffic(made)
    exposed = float(made.cost.terms["data_parallel"])
    assert found.busy_s <= exposed
    assert found.busy_s == pytest.approx(exposed, rel=1e-2)
    for slowdown in (1.0, 1.5, 2.0):
        grown = found.step_s + (slowdown - 1) * found.busy_s
        assert found.step_s * found.stretch(slowdown) == pytest.approx(grown, rel=1e-4)  # at half the rate another protocol may be quicker
        assert found.step_s * found.stretch(slowdown) <= grown * (1 + 1e-9)
        assert found.duty_frac(slowdown) == pytest.approx(slowdown * found.busy_s / grown, rel=1e-4)


def test_what_is_hidden_costs_nothing_until_it_no_longer_fits() -> None:
    hidden, bare = traffic(plan({}, ports=8)), traffic(plan({"overlap": False}, ports=8))
    assert hidden.busy_s == pytest.approx(bare.busy_s, rel=1e-9)
    assert hidden.stretch(1.2) - 1 < 0.7 * (bare.stretch(1.2) - 1)  # what cannot be hidden is one layer's part
    growth = [hidden.stretch(s) for s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)]
    assert growth == sorted(growth)
    assert growth[0] == 1.0


def test_bytes_of_a_ring_are_those_of_the_gradients() -> None:
    """Every node passes on 2(p − 1)/p of the gradients, half precision; the time in which rates rise counts as bytes."""
    made = plan({"overlap": False})
    found = traffic(made)
    gradients = 2.0 * made.parameters
    assert found.pairs.bytes_per_step.size == 4
    assert found.pairs.bytes_per_step == pytest.approx(np.full(4, 2 * 31 / 32 * gradients), rel=0.15)


def test_a_run_inside_one_domain_sends_nothing() -> None:
    assert plan({}, nodes=1).traffic_of() is None
