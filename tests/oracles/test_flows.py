"""The flow engine beside the obvious way: rational numbers for few flows, everything from nothing at each event for many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost.maxmin import Routes, fair_rates
from hpcsim.engine.flows import run_flows
from hpcsim.study.flows import verify_flows
from tests.oracles.flow_cases import KINDS, Case, build
from tests.oracles.slow_flows import exact_finish, slow_finish, slow_levels

NEAR = 1e-9


def _both(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rest: dict[str, Any] = {"weight": case.weight, "latency_s": case.latency_s}
    fast = run_flows(case.capacity, case.routes, case.start_s, case.size_bytes, **rest)
    return fast, slow_finish(case.capacity, case.routes.first, case.routes.links, case.start_s, case.size_bytes, **rest)


@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_flows(kind: str) -> None:
    fast, slow = _both(build(kind, 250))
    assert fast == pytest.approx(slow, rel=NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_flows(kind: str) -> None:
    fast, slow = _both(build(kind, 2000, seed=2))
    assert fast == pytest.approx(slow, rel=NEAR)


@pytest.mark.slow
def test_verify_flows_on_a_large_file(tmp_path: Path) -> None:
    """The command's own way: cases of 1,000 flows written to a file with the slow reference's finish times."""
    cases = [build(kind, 1000, seed=3) for kind in KINDS]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": [case.document(_both(case)[1]) for case in cases]}))
    overall = verify_flows(path)["overall"]
    assert overall["agree"] == len(KINDS)
    assert overall["flows"] == 1000 * len(KINDS)


_SIZES = st.sampled_from([0.0, 1.0, 3.0, 1e6, 1e15]) | st.floats(1.0, 1e15)
_TIMES = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1e4)


@st.composite
def _few(draw: st.DrawFn) -> dict[str, Any]:
    """A handful of flows of any size, on links of any width; a route may come back to a link."""
    links, flows = draw(st.integers(1, 5)), draw(st.integers(1, 6))

    def some(values: st.SearchStrategy[float], count: int = flows) -> list[float]:
        return draw(st.lists(values, min_size=count, max_size=count))

    routes = draw(st.lists(st.lists(st.integers(0, links - 1), min_size=1, max_size=4), min_size=flows, max_size=flows))
    return {
        "capacities": some(st.sampled_from([1.0, 1e9]) | st.floats(1.0, 1e11), links),
        "routes": routes,
        "start_s": some(_TIMES),
        "size_bytes": some(_SIZES),
        "weight": some(st.sampled_from([1.0, 2.0]) | st.floats(1e-3, 1e3)),
        "latency_s": some(st.sampled_from([0.0, 1e-6, 0.5])),
    }


@settings(max_examples=150, deadline=None)
@given(net=_few())
def test_against_rational_numbers(net: dict[str, Any]) -> None:
    """From a byte to a petabyte on one link: what the floats lose stays below 1e-9 of every finish time."""
    rest = {key: net[key] for key in ("weight", "latency_s")}
    found = run_flows(net["capacities"], Routes.of(net["routes"]), net["start_s"], net["size_bytes"], **rest)
    assert found == pytest.approx(exact_finish(**net), rel=NEAR)


@pytest.mark.parametrize("kind", ["tree", "mesh", "mesh-weights", "chain"])
def test_shares_of_thousands(kind: str) -> None:
    case = build(kind, 2000)
    flows = case.routes.flows
    owner = np.repeat(np.arange(flows), np.diff(case.routes.first))
    levels = slow_levels(case.capacity, owner, case.routes.links, flows, case.weight)
    assert fair_rates(case.capacity, case.routes, weight=case.weight) == pytest.approx(levels * case.weight, rel=NEAR)
