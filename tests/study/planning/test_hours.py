"""Hourly carbon and prices of a site, and runs that are shifted into the best hours."""

from __future__ import annotations

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.run.hours import Hours, read_hours
from tests.study.planning.small import small


def write(tmp_path, rows: list[str], head: str = "hour,carbon_g_per_kwh,usd_per_kwh"):
    path = tmp_path / "site.csv"
    path.write_text("\n".join(["# a day", head, *rows]) + "\n", encoding="utf-8")
    return path


DAY = [f"{h},{400 if h < 8 else 100 if h < 16 else 500},{0.2 if h < 12 else 0.05}" for h in range(24)]


def test_units_and_means(tmp_path) -> None:
    hours = read_hours(write(tmp_path, DAY))
    assert hours.mean_carbon == pytest.approx((400 + 100 + 500) / 3 * 1e-3 / 3.6e6)
    assert hours.mean_price == pytest.approx(0.125 / 3.6e6)
    mwh = read_hours(write(tmp_path, [f"{h},{50}" for h in range(24)], "hour,usd_per_mwh"))
    assert mwh.mean_price == pytest.approx(0.05 / 3.6e6)
    assert mwh.carbon_kg_co2e_per_j is None


def test_the_integral_is_exact_over_any_stretch() -> None:
    draw = np.random.default_rng(1)
    series = draw.random(24)
    hours = Hours(series, None)
    starts = draw.random(200) * 5 * 86_400
    ends = starts + draw.random(200) * 3 * 86_400
    fine = 600.0  # divides the hour
    for a, b in zip(np.floor(starts / fine) * fine, np.ceil(ends / fine) * fine):
        steps = np.arange(a, b, fine)
        expected = float((series[(steps // 3600).astype(int) % 24] * fine).sum())
        assert hours.integral(series, np.array([a]), np.array([b]))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("rows", "head", "code"),
    [
        (DAY, "a,b,c", "hourly-columns"),
        (DAY[:5], "hour,carbon_g_per_kwh,usd_per_kwh", "hourly-rows"),
        ([*DAY[:23], "23,dirty,0.1"], "hour,carbon_g_per_kwh,usd_per_kwh", "hourly-value"),
        ([*DAY[:23], "23,-1,0.1"], "hour,carbon_g_per_kwh,usd_per_kwh", "hourly-value"),
    ],
)
def test_bad_files(tmp_path, rows: list[str], head: str, code: str) -> None:
    with pytest.raises(InputError) as error:
        read_hours(write(tmp_path, rows, head), name="site.csv")
    assert error.value.problems[0].code == code


def test_a_plan_shifts_into_the_clean_hours(tmp_path) -> None:
    path = write(tmp_path, DAY)
    owned = {"owned": {"kind": "owned", "lifetime": "5 years"}}
    site = {"hourly": str(path), "country": "DEU", "pue": 1.2}
    results = hpcsim.plan(small(**{"options.owners": owned, "options.sites": {"here": site}, "goals.train.llama.within": "40 days"}))
    rows = results.tables["plan_savings"].set_index("measure")
    carbon, price = rows.loc["run in the hours of least carbon"], rows.loc["run in the hours of least price"]
    assert carbon["saves_kg_co2e"] > 0
    assert price["saves_usd"] > 0
    energy_kwh = results.summary["facility_energy_j"] / 3.6e6
    assert carbon["saves_kg_co2e"] <= energy_kwh * (1000 / 3 - 100) * 1e-3 * (1 + 1e-9)  # no better than the cleanest hour


def test_a_run_at_an_hourly_site_is_charged_by_the_hour(tmp_path) -> None:
    flat = small().vary({"plan": None, "cluster.site": {"pue": 1.2, "carbon": "100 g/kWh", "electricity": "0.05 USD/kWh"}, "failures": {}})
    path = write(tmp_path, [f"{h},100,0.05" for h in range(24)])
    hourly = flat.vary({"cluster.site": {"pue": 1.2, "hourly": str(path)}})
    a, b = hpcsim.simulate(flat).summary, hpcsim.simulate(hourly).summary
    assert b["carbon_kg_co2e"] == pytest.approx(a["carbon_kg_co2e"], rel=1e-9)
    assert b["cost_usd"] == pytest.approx(a["cost_usd"], rel=1e-9)
    path = write(tmp_path, [f"{h},{200 if h < 12 else 0},{0.1 if h < 12 else 0.0}" for h in range(24)])
    short = hourly.vary({"workload.training.llama.tokens": 4e9})  # hours, from midnight
    clean = hpcsim.simulate(short)
    span = clean.summary["makespan_s"]
    assert span < 12 * 3600
    assert clean.summary["carbon_kg_co2e"] == pytest.approx(clean.summary["facility_energy_j"] * 200e-3 / 3.6e6, rel=1e-9)
    with pytest.raises(InputError) as error:
        hpcsim.simulate(hourly.vary({"cluster.site.hourly": "nowhere.csv"}))
    assert error.value.problems[0].path == "cluster.site.hourly"
