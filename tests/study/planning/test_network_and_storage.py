"""The network's bill is the fabric's own; placement pays where the fabric is thin; rented storage emits."""

from __future__ import annotations

import math

import pytest

import hpcsim
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.study.planning.machines import network_price
from tests.study.planning.small import small

OWN = {"options.owners": {"own": {"kind": "owned"}}}


def test_the_network_is_billed_part_by_part_as_the_fabric_is_built() -> None:
    plan = hpcsim.plan(small(**OWN))
    bill = plan.tables["plan_bill"]
    mine = bill[bill["facet"] == "network"]
    chosen = plan.plan_candidates.iloc[0]
    scenario = small().vary(
        {
            "cluster.nodes.h100.count": int(chosen["count"]),
            "cluster.nodes.h100.type": {"h100": "dgx-h100", "a100": "dgx-a100-80gb"}[chosen["nodes"]],
        }
    )
    parts = hpcsim.estimate(scenario).tables["fabric_parts"]
    parts = parts[parts["count"] > 0]
    assert len(mine) == len(parts)
    assert sorted(mine["count"]) == sorted(parts["count"])
    known = parts[parts["price_usd"].notna()]["price_usd"].sum()
    assert mine["usd"].sum() == pytest.approx(known)


def test_a_fabric_of_the_scenarios_own_prices_costs_what_it_says() -> None:
    cluster = resolve(small().vary({"cluster.fabric.switch_price": "10 kUSD", "cluster.fabric.cable_price": "1 kUSD"}).cluster, default())
    price = sum(n * each for n, each, _ in network_price(cluster, default()).values())
    size = cluster.fabric_size
    assert size is not None
    assert price == pytest.approx(1e4 * sum(size.switches) + 1e3 * (sum(size.cables) + size.storage_cables))


@pytest.mark.parametrize(("thin", "gains"), [(1, False), (4, True)])
def test_placement_saves_where_the_fabric_is_oversubscribed(thin: int, gains: bool) -> None:
    scenario = small(
        **{"options.fabrics": {"leaf": {"link": "infiniband-ndr", "oversubscription": thin, "radix": 32, "topology": "fat-tree"}}, **OWN}
    )
    rows = hpcsim.plan(scenario).plan_savings.set_index("measure")
    saved = float(rows.loc["place the nodes side by side"]["saves_usd"])
    assert saved >= 0
    assert (saved > 0) == gains


def test_rented_storage_emits_what_its_drives_draw() -> None:
    """Watts a byte × copies × PUE × the region's grid, over the years; with a limit on carbon it can be chosen."""
    scenario = small(
        goals={"store": {"lake": {"size": "1 PB"}}},
        horizon="1 year",
        **{"options.storage": {"s3": {"type": "s3-standard", "provider": "aws", "region": "eu-west-1"}}, "limits.carbon": "100 t"},
    )
    plan = hpcsim.plan(scenario)
    joules = 1e15 * 0.65e-12 * 3 * 365.25 * 86400
    pue = float(default().pue("aws").value)
    assert plan.summary["facility_energy_j"] == pytest.approx(joules * pue, rel=0.01)
    grid = plan.summary["carbon_kg_co2e"] / plan.summary["facility_energy_j"]
    assert grid == pytest.approx(float(default().carbon_intensity("IRL").value), rel=0.5)
    assert plan.summary["goals_reached"] == 1
    assert any("estimate" in note for note in plan.notes)
    assert not math.isnan(plan.plan_candidates["carbon_kg_co2e"][0])


def test_every_name_of_a_plan_is_looked_up_at_once() -> None:
    """check tells all of them, each with its place and the nearest name that is known; planning refuses with the same."""
    wrong = small(
        **{
            "options.nodes": {"h": {"type": "dgx-h10"}},
            "options.fabrics": {"f": {"topology": "fat-tre", "link": "infiniband-nrd"}, "g": {"link": "400 Gbit/s"}},
            "options.storage": {"s": {"type": "lustr", "drive": "hdd-20t"}},
            "options.sites": {"here": {"region": "germny", "country": "Germany", "pue": 1.2}},
            "options.owners": {"cloud": {"kind": "on-demand", "regions": ["eu-wst-1"]}},
            "limits.data_in": ["EEU"],
            "limits.operators": ["nebios"],
        }
    ).vary({"plan.goals.train": {"lama": {"within": "20 days"}}})
    problems = {problem.path: problem for problem in hpcsim.check(wrong)}
    assert set(problems) == {
        "plan.goals.train.lama", "plan.options.nodes.h.type", "plan.options.fabrics.f.topology", "plan.options.fabrics.f.link",
        "plan.options.storage.s.type", "plan.options.storage.s.drive", "plan.options.sites.here.region", "plan.options.sites.here.country",
        "plan.options.owners.cloud.regions.0", "plan.limits.data_in.0", "plan.limits.operators.0",
    }  # fmt: skip
    near = {path: problem.hint for path, problem in problems.items()}
    for path, name in (("plan.goals.train.lama", "llama"), ("plan.limits.operators.0", "nebius"), ("plan.options.owners.cloud.regions.0", "eu-west1"),
                       ("plan.options.nodes.h.type", "dgx-h100"), ("plan.options.fabrics.f.topology", "fat-tree")):  # fmt: skip
        assert name in near[path], path
    with pytest.raises(hpcsim.InputError) as caught:
        hpcsim.plan(wrong)
    assert {problem.path for problem in caught.value.problems} == set(problems)
    assert hpcsim.check(small()) == []
