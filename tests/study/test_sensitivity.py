"""Sensitivity and uncertainty against closed forms: Ishigami, order statistics, linear figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cli.main import main
from hpcsim.study.axes import unit_points
from hpcsim.study.indices import order_ranks, quantile_interval, samples_for_maximum, samples_for_mean, sobol_indices, spearman
from hpcsim.study.replicates import student_quantile
from hpcsim.study.sensitivity import inputs_of, sensitivity

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
PUE, PRICE, CARBON = "cluster.site.pue", "cluster.prices.a100", "cluster.site.carbon"


@pytest.fixture(scope="module")
def bloom() -> Any:
    return hpcsim.load(SCENARIOS / "bloom-176b.yaml")


def test_the_indices_of_ishigami() -> None:
    """Ishigami and Homma 1990 with a = 7, b = 0.1: closed-form variances."""
    a, b, n = 7.0, 0.1, 2**15

    def f(u: Any) -> Any:
        x = (2 * u - 1) * math.pi
        return np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])

    v1 = 0.5 * (1 + b * math.pi**4 / 5) ** 2
    v2, v13 = a**2 / 8, b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    v = v1 + v2 + v13
    cube = unit_points("sobol", n, 6, seed=1)
    left, right = cube[:, :3], cube[:, 3:]
    mixed = np.array([f(np.where(np.arange(3) == j, right, left)) for j in range(3)])
    first, total = sobol_indices(f(left), f(right), mixed)
    assert first.tolist() == pytest.approx([v1 / v, v2 / v, 0.0], abs=0.01)
    assert total.tolist() == pytest.approx([(v1 + v13) / v, v2 / v, v13 / v], abs=0.01)
    assert [round(v1 / v, 4), round(v2 / v, 4)] == [0.3139, 0.4424]


def test_ranks_and_numbers_of_samples() -> None:
    assert order_ranks(200, 0.95) == (184, 197)
    assert samples_for_maximum(0.95) == 59
    assert 1 - 0.95**58 < 0.95 <= 1 - 0.95**59
    assert samples_for_mean(0.1, 0.02) == 97
    scipy_stats = pytest.importorskip("scipy.stats")
    for n, q in ((10, 0.5), (75, 0.95), (1000, 0.05)):
        assert order_ranks(n, q) == (scipy_stats.binom.ppf(0.025, n, q), scipy_stats.binom.ppf(0.975, n, q) + 1)
    for freedom in (1, 2, 3, 4, 9, 30, 201):
        for p in (0.9, 0.975, 0.995):
            assert student_quantile(p, freedom) == pytest.approx(scipy_stats.t.ppf(p, freedom), rel=1e-9)
    x, y = np.array([3.0, 1, 4, 1, 5, 9]), np.array([2.0, 7, 1, 8, 2, 8])
    assert spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic)


def test_the_interval_of_a_quantile_covers_it() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        _, low, high = quantile_interval(rng.random(200), 0.95)
        covered += low <= 0.95 <= high
    assert covered / 400 >= 0.93
    assert math.isnan(quantile_interval(rng.random(20), 0.95)[2])


def test_a_tornado_of_a_linear_figure(bloom: Any) -> None:
    """Cost is linear in the price, facility energy in PUE; what an input does not touch has no swing."""
    result = sensitivity(bloom, "tornado", {PUE: "1.0..2.0", PRICE: "1..3 USD/h"}, mode="estimate")
    rows = result.tornado.set_index(["metric", "input"])
    base = hpcsim.estimate(bloom).summary
    energy = rows.loc[("facility_energy_j", PUE)]
    assert (energy["at_low"], energy["at_high"]) == pytest.approx((base["it_energy_j"] * 1.05, base["it_energy_j"] * 1.95))
    assert rows.loc[("facility_energy_j", PRICE)]["swing"] == 0
    for end, price in (("at_low", 1.1), ("at_high", 2.9)):
        alone = hpcsim.estimate(bloom.vary({PRICE: f"{price} USD/h"})).summary
        assert rows.loc[("cost_usd", PRICE)][end] == pytest.approx(alone["cost_usd"])
    assert set(result.uncertain["input"]) == {PUE, PRICE, "failures.node.mtbf", "assume.step_time", "assume.power"}
    swings = result.tornado[result.tornado["metric"] == "cost_usd"]["swing"].tolist()
    assert swings == sorted(swings, reverse=True)


def test_monte_carlo_gives_ranges(bloom: Any) -> None:
    """A price uniform on 1 … 3 USD/h: the cost per device-hour is uniform; its percentiles are where they must be."""
    quiet = bloom.vary(
        {"uncertain": {PRICE: "1..3 USD/h", "failures.node.mtbf": ["6000 h"], "assume.step_time": [1.0], "assume.power": [1.0]}}
    )
    result = sensitivity(quiet, "montecarlo", samples=400, mode="estimate")
    row = result.uncertainty.set_index("metric").loc["cost_usd"]
    low, middle, high = (hpcsim.estimate(bloom.vary({PRICE: f"{p} USD/h"})).summary["cost_usd"] for p in (1.1, 2.0, 2.9))
    assert row["p5_low"] <= low <= row["p5_high"]
    assert row["p50_low"] <= middle <= row["p50_high"]
    assert row["p95_low"] <= high <= row["p95_high"]
    assert result.ranges["cost_usd"] == (row["p5"], row["p95"])
    assert result.coverage == "90 % range"
    assert "wall_clock_s" not in set(result.uncertainty["metric"])
    drivers = result.drivers[result.drivers["metric"] == "cost_usd"]
    assert (drivers["input"].iloc[0], drivers["rank_correlation"].iloc[0]) == (PRICE, 1.0)


def test_the_models_own_error_is_in_the_range(bloom: Any) -> None:
    """Without anything else uncertain the 80 % range of the step is the estimate's own."""
    result = sensitivity(bloom, "montecarlo", samples=400, mode="estimate")
    times = result.sweep["step_time_s"][1:].to_numpy()
    low, high = hpcsim.estimate(bloom).ranges["step_time_s"]
    assert np.quantile(times, [0.1, 0.9]).tolist() == pytest.approx([low, high], rel=0.05)


def test_sobol_indices_of_a_product(bloom: Any) -> None:
    """Carbon is a constant times PUE times intensity: the shares of a product of two independent factors are known."""
    quiet = bloom.vary({"uncertain": {"assume.step_time": [1.0], "assume.power": [1.0], PUE: "1.0..2.0", CARBON: "50..150 g/kWh"}})
    result = sensitivity(quiet, "sobol", samples=128, mode="estimate")
    rows = result.sobol[result.sobol["metric"] == "carbon_kg_co2e"].set_index("input")
    a, b = (1 / 12) / 1.5**2, (100**2 / 12) / 100**2  # squared coefficients of variation
    whole = a + b + a * b
    for path, mine in ((PUE, a), (CARBON, b)):
        assert rows.loc[path]["first"] == pytest.approx(mine / whole, abs=0.06)
        assert rows.loc[path]["total"] == pytest.approx((mine + a * b) / whole, abs=0.06)
        assert rows.loc[path]["total_low"] <= rows.loc[path]["total"] <= rows.loc[path]["total_high"]
    assert rows.loc["assume.power"]["total"] == 0


def test_a_study_does_not_depend_on_who_runs_it(bloom: Any, tmp_path: Path) -> None:
    axes = {"failures.node.mtbf": "3000..9000 h"}
    one = sensitivity(bloom, "montecarlo", axes, samples=12)
    for shard in ("1/2", "2/2"):
        last = sensitivity(bloom, "montecarlo", axes, samples=12, shard=shard, store=tmp_path / "store")
    assert last.sweep.equals(one.sweep)
    assert last.uncertainty.equals(one.uncertainty)
    assert one.sweep["seed"].nunique() == 12  # chance is part of the range


def test_points_that_fail_are_left_out_and_counted(bloom: Any) -> None:
    path = "cluster.nodes.a100.count"
    result = sensitivity(bloom, "montecarlo", {path: "46..50"}, samples=60, mode="estimate")
    assert 0 < result.summary["points_failed"] < 60
    assert result.uncertainty["n"].max() == 60 - result.summary["points_failed"]
    assert any("could not be run" in note for note in result.notes)


def test_inputs_around_the_scenarios_own_value(bloom: Any) -> None:
    varied = bloom.vary({"uncertain": {PUE: {"within": "10 %"}, "failures.node.mtbf": {"factor": 2, "source": "a guess"}}})
    found = {one.path: one for one in inputs_of(varied)}
    assert [found[PUE].distribution.at(u) for u in (0, 1)] == pytest.approx([1.08, 1.32])
    mtbf = found["failures.node.mtbf"].distribution
    assert [float(str(mtbf.at(u)).split()[0]) for u in (0.1, 0.5, 0.9)] == pytest.approx([3000 * 3600, 6000 * 3600, 12000 * 3600])
    assert hpcsim.load(varied.data()).uncertain == varied.uncertain
    with pytest.raises(InputError) as caught:
        inputs_of(bloom.vary({"uncertain": {"cluster.site.region": {"factor": 2}}}))
    assert [(p.code, p.path) for p in caught.value.problems] == [("uncertain-base", "uncertain.cluster.site.region")]


BAD = {
    "no map": (5, "uncertain-form"),
    "text": ("maybe", "uncertain-form"),
    "low alone": ({"low": 1}, "uncertain-form"),
    "upside down": ({"low": 2, "high": 1}, "uncertain-form"),
    "mode outside": ({"low": 1, "mode": 5, "high": 2}, "uncertain-form"),
    "two units": ({"low": "1 h", "high": "2 s"}, "uncertain-form"),
    "no spread": ({"normal": 1, "sd": 0}, "uncertain-form"),
    "factor below one": ({"lognormal": 1, "factor": 0.5}, "uncertain-form"),
    "no values": ({"values": []}, "uncertain-form"),
    "weights": ({"values": [1, 2], "weights": [0, 0]}, "uncertain-form"),
    "a word": ({"low": "a", "high": "b"}, "uncertain-form"),
    "unknown": ({"beta": 1}, "uncertain-form"),
    "a range upside down": ("5..1", "bad-range"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_distributions_are_refused_with_their_place(name: str, bloom: Any) -> None:
    value, code = BAD[name]
    with pytest.raises(InputError) as caught:
        bloom.vary({"uncertain": {PUE: value}})
    assert [(p.code, p.path) for p in caught.value.problems] == [(code, f"uncertain.{PUE}")]


def test_an_input_that_the_scenario_cannot_have_is_refused(bloom: Any) -> None:
    with pytest.raises(InputError) as caught:
        sensitivity(bloom, "tornado", {"cluster.site.pu": "1..2", "scheduler.policy": [1, 2]}, mode="estimate")
    assert [p.code for p in caught.value.problems] == ["unknown-key", "wrong-type"]


def test_nothing_uncertain_is_one_message() -> None:
    data = hpcsim.load(SCENARIOS / "decomposed-task.yaml").data()
    with pytest.raises(InputError) as caught:
        sensitivity(data, "tornado")
    assert [p.code for p in caught.value.problems] == ["nothing-uncertain"]


@given(st.floats(1.0, 3.0), st.floats(0.0, 1.5), st.floats(0.01, 5.0), st.floats(0.0, 1.0), st.floats(1e-3, 900.0), st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_dearer_and_dirtier_is_never_cheaper(pue: float, more: float, usd: float, extra: float, grams: float, dirt: float) -> None:
    """I22: higher PUE, price or carbon intensity never lowers energy, money or carbon."""
    bloom = hpcsim.load(SCENARIOS / "bloom-176b.yaml")
    base = {PUE: pue, PRICE: f"{usd} USD/h", CARBON: f"{grams} g/kWh"}
    points = [base, {**base, PUE: pue + more}, {**base, PRICE: f"{usd + extra} USD/h"}, {**base, CARBON: f"{grams + dirt} g/kWh"}]
    rows = [tuple(point.values()) for point in points]
    table = hpcsim.sweep(bloom, {(PUE, PRICE, CARBON): rows}, mode="estimate").sweep
    for key in ("facility_energy_j", "cost_usd", "carbon_kg_co2e"):
        assert (table[key][1:] >= table[key][0] * (1 - 1e-12)).all(), key


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["sweep", str(SCENARIOS / "bloom-176b.yaml"), "--mode", "estimate", "--axis", f"{PUE}=1.1..1.4", "--no-charts"]
    for method, tables in (("tornado", {"tornado"}), ("sobol", {"sobol"}), ("montecarlo", {"uncertainty", "drivers"})):
        assert main([*argv, "--sensitivity", method, "--samples", "8", "--format", "json", "--out", method]) == 0
        document = json.loads(capsys.readouterr().out)
        assert {"uncertain", "sweep", *tables} <= set(document)
        assert {f"{name}.csv" for name in ("uncertain", *tables)} <= {p.name for p in (tmp_path / method).iterdir()}
        assert main([*argv, "--sensitivity", method, "--samples", "8", "--out", method, "--resume"]) == 0
        assert PUE in capsys.readouterr().out


TWO_POOLS = {
    "schema": 1,
    "name": "two-pools",
    "question": "q?",
    "cluster": {
        "nodes": {"a": {"type": "dgx-h100", "count": 2}, "b": {"type": "dgx-h100", "count": 1}, "c": {"type": "dgx-a100-80gb", "count": 1}},
        "fabric": {"topology": "fat-tree", "link": "ndr", "per_node": 8, "radix": 64},
        "site": {"pue": 1.2, "region": "USA"},
        "prices": {"a": {"provider": "aws"}, "b": {"provider": "aws"}, "c": "2 USD/h"},
    },
    "workload": {"training": {"run": {"model": "llama3-8b", "nodes": "a", "tokens": "1 G", "global_batch": 64, "sequence": 4096}}},
}


def test_one_cause_moves_all_offers_of_an_accelerator() -> None:
    """The catalog's price of an H100 is one input for both pools that are paid by it; a price that the scenario gives is none."""
    scenario = hpcsim.load(TWO_POOLS)
    inputs = {one.path: one for one in inputs_of(scenario)}
    assert {"assume.prices.h100-sxm", "cluster.site.carbon", "cluster.site.electricity", "assume.step_time"} <= set(inputs)
    assert not any(path.startswith("cluster.prices") for path in inputs)
    assert all(one.distribution.source for path, one in inputs.items())
    base, twice = (
        hpcsim.estimate(scenario.vary({"assume.prices": {"h100-sxm": f}})).costs.groupby("group")["usd"].sum() for f in (1.0, 2.0)
    )
    assert twice["a"] == pytest.approx(2 * base["a"])
    assert twice["b"] == pytest.approx(2 * base["b"])
    assert twice["c"] == base["c"]
    with pytest.raises(InputError) as caught:
        hpcsim.estimate(scenario.vary({"assume.prices": {"h100-sxn": 1.1}}))
    assert [problem.code for problem in caught.value.problems] == ["assume-price"]
    assert "h100-sxm" in caught.value.problems[0].hint


def test_a_run_is_less_sure_of_its_cost_where_the_catalog_gives_the_price() -> None:
    """The range of the cost holds that of the step, wider by the price's doubt times its share of the bill."""
    one = hpcsim.estimate(hpcsim.load(TWO_POOLS).vary({"cluster.prices": {"a": "10 USD/h"}}))
    two = hpcsim.estimate(hpcsim.load(TWO_POOLS).vary({"cluster.prices": {"a": {"provider": "aws"}}}))
    spread = [r.ranges["cost_usd"][1] / r.summary["cost_usd"] for r in (one, two)]
    step = [r.ranges["wall_clock_s"][1] / r.summary["wall_clock_s"] for r in (one, two)]
    assert spread[0] == pytest.approx(step[0], rel=0.02)
    assert math.log(spread[1]) == pytest.approx(math.hypot(math.log(step[1]), math.log(1.3)), rel=0.02)
