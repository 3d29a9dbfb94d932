"""A plan's ranges: certain inputs give the plan's own figures, one cause moves all that hangs on it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.catalog.doubts import DEFAULT_FACTORS, embodied_doubt, failure_doubt, rent_doubt
from hpcsim.catalog.lookup import default
from hpcsim.study.planning.doubt import doubts_of, figures_of
from tests.study.planning.small import small
from tests.study.planning.test_plan import best
from tests.study.planning.test_queue_and_store import queued

SCENARIOS = Path(__file__).resolve().parents[3] / "scenarios"
KEYS = {
    "cost_usd": "cost_usd",
    "outlay_usd": "outlay_usd",
    "carbon_kg_co2e": "carbon_kg_co2e",
    "facility_energy_j": "energy_j",
    "wall_clock_s": "time_s",
}


@pytest.mark.parametrize("objective", ["cost", "time", "carbon"])
def test_without_doubt_the_figures_are_the_plans_own(objective: str) -> None:
    made, _ = best(small(), objective)
    for row in range(0, len(made.found), 7):
        _, names = doubts_of([made], [row])
        figures = figures_of([made], [row], names, lambda _: 1.0)
        for key, name in KEYS.items():
            if np.isfinite(made.found.values[name][row]):
                assert float(figures[key]) == pytest.approx(float(made.found.values[name][row]), rel=1e-12), (row, key)


@given(st.floats(1.01, 3.0), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_dearer_slower_and_dirtier_never_helps(factor: float, pick: int) -> None:
    made, _ = best(small())
    row = pick % len(made.found)
    doubts, names = doubts_of([made], [row])
    base = figures_of([made], [row], names, lambda _: 1.0)
    for cause in doubts.causes:
        moved = figures_of([made], [row], names, lambda n, cause=cause: factor if n == cause else 1.0)  # type: ignore[misc]
        for key in ("cost_usd", "carbon_kg_co2e", "facility_energy_j", "wall_clock_s"):
            if key in base and np.isfinite(base[key]):
                assert float(moved[key]) >= float(base[key]) * (1 - 1e-12), (cause, key)


def test_a_price_moves_the_devices_part_alone_and_given_prices_are_certain() -> None:
    made, row = best(small(**{"options.owners": {"cloud": {"kind": "on-demand"}}}))
    doubts, names = doubts_of([made], [row])
    rent = next(name for name in doubts.causes if name.startswith("rent of"))
    base = figures_of([made], [row], names, lambda _: 1.0)["cost_usd"]
    dear = figures_of([made], [row], names, lambda n: 1.5 if n == rent else 1.0)["cost_usd"]
    assert float(dear - base) == pytest.approx(0.5 * float(made.found.parts["devices"][row]))
    owned, at = best(small(**{"options.owners": {"own": {"kind": "owned"}}}))
    causes, _ = doubts_of([owned], [at])
    assert not any(
        name.startswith(("purchase", "rent of a", "rent of h", "power usage", "carbon intensity", "electricity")) for name in causes.causes
    )
    assert {"modelled power", "failure rate", "embodied carbon", "price of the network"} <= set(causes.causes)


def test_a_plan_gives_ranges_and_names_what_decides() -> None:
    plan = hpcsim.plan(queued())
    low, high = plan.ranges["cost_usd"]
    assert low < plan.summary["cost_usd"] < high
    assert plan.coverage_frac == 0.8
    rows = plan.tornado[plan.tornado["metric"] == "cost_usd"]
    assert set(rows["input"]) <= set(plan.uncertain["input"])
    assert plan.uncertain["source"].notna().all()
    assert rows["swing"].is_monotonic_decreasing
    again = hpcsim.plan(queued())
    assert again.ranges == plan.ranges


def test_ranges_are_those_of_a_product_of_causes() -> None:
    """An on-demand run that pays for devices alone: cost is price times time, so its log-variances add."""
    quiet = small(**{"options.owners": {"cloud": {"kind": "on-demand"}}}).vary({"failures": {}, "workload.training.llama.checkpoint": None})
    made, row = best(quiet)
    from hpcsim.study.planning.doubt import plan_ranges

    doubts, names = doubts_of([made], [row])
    share = float(made.found.parts["devices"][row] / made.found.values["cost_usd"][row])
    low, high = plan_ranges([made], [row], doubts, names, 1)["cost_usd"]
    sigmas = [doubt.sigma for name, doubt in doubts.causes.items() if name.startswith(("rent of h", "rent of a", "step time"))]
    assert len(sigmas) == 2
    assert share > 0.9
    assert math.log(high / low) == pytest.approx(2 * 1.2816 * math.hypot(*sigmas), rel=0.08)


def test_declared_doubts_have_sources() -> None:
    catalog = default()
    rates = [3.788, 15.6, 3.0, 6.5, 2.34]  # llama3-405b, opt-175b, bloom, rsc-1, rsc-2: failures in 1,000 node-days
    assert failure_doubt(catalog).factor == pytest.approx(math.exp(1.2816 * np.std(np.log(rates), ddof=1)), rel=1e-3)
    assert embodied_doubt(catalog).factor == pytest.approx(math.exp(1.2816 * np.std(np.log([318.0, 150.0, 164.0]), ddof=1)), rel=1e-3)
    assert rent_doubt("h100-sxm").factor >= DEFAULT_FACTORS["rent"][0]
    assert rent_doubt("h100-sxm", "spot").computed
    assert all(factor > 1 and "class default" in source for factor, source in DEFAULT_FACTORS.values())
