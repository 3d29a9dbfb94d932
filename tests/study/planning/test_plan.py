"""The plan of a training goal: choices flip where arithmetic says, nothing gets worse with more room, simulation agrees."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.results.planning import FACETS, STEPS
from hpcsim.study.planning.candidates import OBJECTIVES, order
from hpcsim.study.planning.choose import choose
from hpcsim.study.planning.chosen import later_use_flip
from hpcsim.study.planning.context import TrainContext
from hpcsim.study.planning.document import plan_document
from hpcsim.study.planning.machines import kinds_of
from hpcsim.study.planning.reasons import deadline_flips, rivals
from hpcsim.study.planning.sources import terms_of
from hpcsim.study.planning.works import TrainWork, train_work
from tests.study.planning.small import small


def work(scenario: hpcsim.Scenario) -> TrainWork:
    catalog = default()
    return train_work(scenario, "llama", kinds_of(scenario, catalog), terms_of(scenario, catalog), catalog)


def best(scenario: hpcsim.Scenario, objective: str = "cost") -> tuple[TrainWork, int]:
    made = work(scenario)
    found = choose([made.found], objective)
    assert found is not None
    return made, found.rows[0]


def value(made: TrainWork, row: int, name: str) -> float:
    return float(made.found.values[name][row])


def axes(made: TrainWork, row: int) -> dict[str, object]:
    return {name: column[row] for name, column in made.found.axes.items()}


@pytest.fixture(scope="module")
def planned() -> hpcsim.results.Results:  # type: ignore[name-defined]
    return hpcsim.plan(small())


def test_every_step_speaks_of_every_facet(planned) -> None:
    table = planned.tables["plan"]
    assert {(s, f) for s, f in zip(table["step"], table["facet"])} == {(s, f) for s in STEPS for f in FACETS}
    assert table["why"].notna().mean() > 0.9


def test_finalists_are_confirmed_by_simulation(planned) -> None:
    rows = planned.tables["plan_candidates"]
    done = rows[rows["simulated_s"].notna()]
    assert set(done["role"]) >= {"chosen", "finalist"}
    assert np.abs(done["simulated_s"] / done["time_s"] - 1).max() < 0.03
    assert np.abs(done["simulated_usd"] / done["cost_usd"] - 1).max() < 0.05


def test_the_parts_of_the_cost_add_up_and_the_bill_is_the_cost_of_a_rented_plan() -> None:
    made, row = best(small())
    total = sum(float(part[row]) for part in made.found.parts.values())
    assert total == pytest.approx(value(made, row, "cost_usd"))
    rented = hpcsim.plan(small(**{"options.owners": {"on-demand": {"kind": "on-demand", "providers": ["nebius"]}}}))
    assert rented.tables["plan_bill"]["usd"].sum() == pytest.approx(rented.summary["cost_usd"])
    months = rented.tables["plan_months"]
    assert months["cumulative_usd"].iloc[-1] == pytest.approx(rented.summary["cost_usd"], rel=1e-6)


def test_payments_of_a_purchase_are_its_outlay_and_its_value_falls_to_nothing() -> None:
    owned = hpcsim.plan(small(**{"options.owners": {"owned": {"kind": "owned", "lifetime": "1 years"}}}))
    months = owned.tables["plan_months"]
    assert months["purchase_usd"].sum() == pytest.approx(owned.summary["outlay_usd"])
    bill = owned.tables["plan_bill"]
    assert bill[bill["unit"] != "kWh"]["usd"].sum() == pytest.approx(owned.summary["outlay_usd"])
    assert months["value_usd"].iloc[-1] == pytest.approx(0.0, abs=1e-6 * owned.summary["outlay_usd"])
    assert (months["value_usd"].diff().dropna() <= 1e-6).all()


def test_a_price_flips_the_choice_where_the_margin_says() -> None:
    scenario = small(**{"options.owners": {"owned": {"kind": "owned", "lifetime": "5 years", "maintenance": 0, "staff": 0}}})
    # all that is bound is in proportion to the price of the nodes, but for space: none here
    scenario = scenario.vary({f"plan.options.sites.{name}.rent": "0 USD/h" for name in ("here", "there")})
    made, row = best(scenario)
    winner = axes(made, row)["nodes"]
    rival = next(r for r in rivals(made.found, row, "cost") if r.axis == "accelerator")
    loser = made.found.axes["nodes"][rival.row]
    price = {"h100": 310e3, "a100": 199e3}[str(loser)]
    assert 0 < rival.cheaper_frac < 1
    for step, expected in ((0.98, winner), (1.02, loser)):
        cheaper = price * (1 - rival.cheaper_frac * step)
        moved = scenario.vary({f"plan.options.nodes.{loser}.price": f"{cheaper!r} USD"})
        assert axes(*best(moved))["nodes"] == expected


def test_a_rent_flips_the_choice_where_the_margin_says(tmp_path) -> None:
    def prices(h100: float, a100: float) -> hpcsim.Scenario:
        (tmp_path / "mine.csv").write_text(
            "provider,region,instance,accelerator,accelerators,on_demand\n"
            f"mine,x,eight-h100,h100-sxm,8,{8 * h100!r}\nmine,x,eight-a100,A100-80GB,8,{8 * a100!r}\n"
        )
        owners = {"on-demand": {"kind": "on-demand", "providers": ["mine"]}}
        return small(**{"options.prices": [str(tmp_path / "mine.csv")], "options.owners": owners})

    made, row = best(prices(3.0, 1.8))
    rival = next(r for r in rivals(made.found, row, "cost") if r.axis == "accelerator")
    winner, loser = axes(made, row)["nodes"], made.found.axes["nodes"][rival.row]
    assert (winner, loser) == ("h100", "a100")
    for step, expected in ((0.99, winner), (1.01, loser)):
        assert axes(*best(prices(3.0, 1.8 * (1 - step * rival.cheaper_frac))))["nodes"] == expected
        assert axes(*best(prices(3.0 * (1 + step * rival.dearer_frac), 1.8)))["nodes"] == expected


def test_a_deadline_flips_the_choice_where_the_times_say() -> None:
    made, row = best(small())
    flips = deadline_flips(made.found, row, "cost")
    assert set(flips) >= {"tighter"}
    for name, (factor, expected) in flips.items():
        for step in (0.999, 1.001):
            moved, other = best(small(**{"goals.train.llama.within": f"{20 * factor * step!r} days"}))
            flipped = (step < 1) if name == "tighter" else (step > 1)
            assert axes(moved, other) == axes(made, expected if flipped else row)


def test_later_use_flips_owning_where_the_closed_form_says() -> None:
    changes = {"options.owners.on-demand.regions": ["eu-*"], "options.owners.spot": {"kind": "on-demand", "providers": ["nebius"]}}
    made, row = best(small(**changes))
    scenario = small(**changes)
    c = TrainContext(scenario, default(), made.terms, "llama", "cost", made.found, made.machines, made.sources, row, {}, True)
    flip = later_use_flip(c)
    assert flip is not None
    use, _ = flip
    assert 0 < use < 1
    for step, expected in ((0.98, False), (1.02, True)):
        owned = axes(*best(small(**changes, later_use=use * step)))["provider"] == "own"
        assert owned == expected


def test_a_looser_deadline_never_costs_more_and_more_budget_is_never_worse() -> None:
    costs = []
    for days in (9, 12, 16, 22, 30, 60):
        made = work(small(**{"goals.train.llama.within": f"{days} days"}))
        found = choose([made.found], "cost")
        costs.append(math.inf if found is None else value(made, found.rows[0], "cost_usd"))
    assert costs == sorted(costs, reverse=True)
    assert math.isfinite(costs[-1])
    times = []
    for budget in (50e3, 150e3, 250e3, 400e3, 1e6, 1e7):
        made = work(small(**{"limits.budget": f"{budget!r} USD", "goals.train.llama.within": "90 days"}))
        found = choose([made.found], "time")
        times.append(math.inf if found is None else value(made, found.rows[0], "time_s"))
    assert times == sorted(times, reverse=True)
    assert math.isfinite(times[-1])


@settings(deadline=None, max_examples=12)
@given(
    days=st.tuples(st.integers(5, 60), st.integers(0, 60)),
    thousand_usd=st.tuples(st.integers(50, 2000), st.integers(0, 2000)),
    more=st.fixed_dictionaries(
        {},
        optional={
            "options.nodes.h100.price": st.sampled_from(["200 kUSD", "400 kUSD"]),
            "options.sites.here.electricity": st.sampled_from(["0.05 USD/kWh", "0.4 USD/kWh"]),
            "options.sites.there.carbon": st.sampled_from(["20 g/kWh", "700 g/kWh"]),
            "limits.power": st.sampled_from(["200 kW", "1 MW"]),
            "limits.carbon": st.sampled_from(["5 t", "50 t"]),
            "limits.data_in": st.sampled_from([["EU"], ["SWE"]]),
            "limits.operators": st.just(["own"]),
            "later_use": st.sampled_from([0.1, 0.7, 1.0]),
        },
    ),
    objective=st.sampled_from(["cost", "time", "carbon"]),
)
def test_more_time_and_money_never_make_a_random_plan_worse(
    days: tuple[int, int], thousand_usd: tuple[int, int], more: dict[str, object], objective: str
) -> None:
    """Whatever the prices, places and limits: a looser deadline and a larger budget only let more in."""
    bests = []
    for late, rich in ((0, 0), (1, 0), (0, 1), (1, 1)):
        within, budget = days[0] + late * days[1], thousand_usd[0] + rich * thousand_usd[1]
        made = work(small(**more, **{"goals.train.llama.within": f"{within} days", "limits.budget": f"{budget} kUSD"}))
        found = choose([made.found], objective)
        bests.append(math.inf if found is None else value(made, found.rows[0], OBJECTIVES[objective]))
    tight, later, richer, both = bests
    assert both <= min(later, richer)
    assert max(later, richer) <= tight


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("options.sites.here.pue", 1.1, 1.6),
        ("options.sites.here.electricity", "0.05 USD/kWh", "0.3 USD/kWh"),
        ("options.nodes.h100.price", "200 kUSD", "400 kUSD"),
        ("options.sites.here.rent", "10 USD/month", "300 USD/month"),
        ("later_use", 0.9, 0.2),
    ],
)
def test_dearer_inputs_are_never_cheaper(key: str, low: object, high: object) -> None:
    cheap, dear = work(small(**{key: low})).found, work(small(**{key: high})).found
    assert (cheap.values["cost_usd"] <= dear.values["cost_usd"] * (1 + 1e-12)).all()
    assert (cheap.values["cost_usd"] < dear.values["cost_usd"] * (1 - 1e-12)).any()


def test_dirtier_power_and_more_failures_never_help() -> None:
    clean, dirty = (work(small(**{"options.sites.here.carbon": c})).found for c in ("30 g/kWh", "600 g/kWh"))
    assert (clean.values["carbon_kg_co2e"] <= dirty.values["carbon_kg_co2e"]).all()
    sound = work(small()).found
    frail = work(small().vary({"failures.node.mtbf": "600 h"})).found
    assert (sound.values["time_s"] <= frail.values["time_s"] * (1 + 1e-9)).all()


def test_compliance_keeps_data_where_it_may_live() -> None:
    made, row = best(small(**{"limits.data_in": ["SWE"]}))
    assert made.found.axes["country"][row] == "SWE"
    made, row = best(small(**{"limits.operators": ["own"]}))
    assert made.found.axes["provider"][row] == "own"
    made, row = best(small(**{"limits.data_in": ["EU"], "limits.operators": ["nebius"]}))
    assert made.found.axes["country"][row] in ("FIN", "FRA")
    with pytest.raises(InputError) as error:
        hpcsim.plan(small(**{"limits.data_in": ["ISL"]}))
    assert [p.code for p in error.value.problems] == ["plan-ruled-out"]
    assert "data in" in str(error.value)


def test_an_impossible_goal_is_answered_with_the_nearest_and_what_binds() -> None:
    results = hpcsim.plan(small(**{"goals.train.llama.within": "16 hours", "limits.budget": "100 kUSD"}))
    assert results.summary["goals_reached"] == 0
    assert "within" in results.summary["binding_limits"]
    assert results.answer.startswith("Nothing reaches the goals. The nearest is")
    near = plan_document(results)["chosen"][0]
    assert near["role"] == "near"
    # the nearest keeps the limits once they are as wide as it says
    factors = [float(part.split("×")[1]) for part in str(results.summary["binding_limits"]).split(", ")]
    wide = max(factors) * 1.001
    again = hpcsim.plan(small(**{"goals.train.llama.within": f"{16 * wide!r} h", "limits.budget": f"{100 * wide} kUSD"}))
    assert again.summary["goals_reached"] == 1


def test_one_limit_alone_would_do_at_the_factor_given() -> None:
    made = work(small(**{"goals.train.llama.within": "12 h"}))
    from hpcsim.study.planning.choose import nearest

    found = nearest([made.found], "cost")
    assert found is not None
    factor = found.alone["within"]
    for step, reached in ((0.999, False), (1.001, True)):
        again = work(small(**{"goals.train.llama.within": f"{12 * factor * step!r} h"}))
        assert (choose([again.found], "cost") is not None) == reached


def test_availability_and_sites_limit_what_can_be_had() -> None:
    found = work(small()).found
    spot = found.axes["owner"] == "spot"
    assert (found.values["devices"][spot & found.feasible()] <= 128).all()
    there = found.axes["place"] == "there"
    assert (found.values["racks"][there & found.feasible()] <= 60).all()


def test_objectives_choose_the_fastest_and_the_cleanest() -> None:
    made = work(small())
    rows = np.flatnonzero(made.found.feasible())
    for objective, key in (("time", "sure_s"), ("carbon", "carbon_kg_co2e"), ("cost", "cost_usd")):
        row = int(order(made.found, objective, rows)[0])
        assert value(made, row, key) == made.found.values[key][rows].min()


def test_the_same_plan_twice_is_the_same_bytes(tmp_path, planned) -> None:
    again = hpcsim.plan(small())
    for folder, results in (("a", planned), ("b", again)):
        results.write(tmp_path / folder, timings=False)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_document_is_json(planned) -> None:
    document = json.loads(json.dumps(plan_document(planned), allow_nan=False))
    assert document["reached"] is True
    assert set(document["steps"]) == set(STEPS)
    assert all(set(facets) == set(FACETS) for facets in document["steps"].values())
    assert document["summary"]["cost_usd"] == pytest.approx(document["chosen"][0]["cost_usd"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"goals": {"train": {"lama": {"within": "3 days"}}}}, "plan-run"),
        ({"options.nodes": {"x": "dgx-h1000"}}, "unknown-catalog-name"),
        ({"options.owners": {"spot": {"kind": "spot", "providers": ["nebulous"]}}}, "plan-provider"),
        ({"options.counts": [7]}, "plan-without-machine"),
        ({"options.prices": ["no-such-list.csv"]}, "file-missing"),
        ({"options.owners": {"spot": {"kind": "spot", "providers": ["lambda"]}}}, "plan-without-candidate"),
    ],
)
def test_bad_input_names_its_place(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as error:
        hpcsim.plan(small(**changes))
    assert code in [p.code for p in error.value.problems]
    assert all(p.path or p.file for p in error.value.problems)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"goals": {}}, "plan-without-goal"),
        ({"goals": {"train": {"llama": {}}}}, "plan-without-deadline"),
        ({"limits.data_in": []}, "plan-without-option"),
        ({"limits.budget": "100"}, "unitless-quantity"),
        ({"objective": "fun"}, "not-a-choice"),
        ({"goals": {"store": {"d": {"size": "1 PB", "data": 8}}}}, "plan-redundancy"),
    ],
)
def test_bad_form_is_refused_on_load(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as error:
        small(**changes)
    assert code in [p.code for p in error.value.problems]


def test_a_scenario_without_a_plan_is_refused() -> None:
    with pytest.raises(InputError) as error:
        hpcsim.plan(small().vary({"plan": None}))
    assert error.value.problems[0].code == "no-plan"
