"""Water, the carbon of making the nodes, and the bill by hour and by job."""

from __future__ import annotations

from pathlib import Path

import pytest

import hpcsim

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
YEAR_S = 31_556_952.0


def test_water_and_embodied_carbon_are_told_where_they_are_given() -> None:
    """E_IT·WUE, and devices·m·t/life with all nodes that stand there."""
    bloom = hpcsim.load(SCENARIOS / "bloom-176b.yaml")
    plain = hpcsim.estimate(bloom).summary
    assert not {"water_l", "embodied_kg_co2e"} & set(plain)
    given = hpcsim.estimate(
        bloom.vary({"cluster.site.water": "1.8 L/kWh", "cluster.nodes.a100.embodied": "150 kg", "cluster.nodes.a100.life": "6 years"})
    )
    figures = given.summary
    assert figures["water_l"] == pytest.approx(figures["it_energy_j"] / 3.6e6 * 1.8)
    devices = 8 * sum(getattr(bloom.cluster.nodes["a100"], key) for key in ("count", "spares"))
    assert figures["embodied_kg_co2e"] == pytest.approx(devices * 150 * figures["makespan_s"] / (6 * YEAR_S), rel=1e-6)
    assert figures["carbon_kg_co2e"] == plain["carbon_kg_co2e"]  # that of electricity, apart


def test_the_bill_by_hour_and_by_job() -> None:
    one = hpcsim.estimate(SCENARIOS / "bloom-176b.yaml").summary
    assert one["cost_per_device_hour_usd"] == pytest.approx(one["cost_usd"] / (one["device_time_s"] / 3600))
    campus = hpcsim.load(SCENARIOS / "university-cluster.yaml")
    pool = next(iter(campus.cluster.nodes))
    priced = hpcsim.simulate(campus.vary({"cluster.prices": {pool: "0.5 USD/h"}})).summary
    assert priced["cost_per_job_usd"] == pytest.approx(priced["cost_usd"] / priced["jobs_finished"])
