"""Queue and store goals, and goals that share what may be bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cost.queues import mmc_wait_quantile_s
from hpcsim.engine.jobs import run_jobs
from hpcsim.results.planning import FACETS, STEPS
from hpcsim.study.planning.machines import kinds_of
from hpcsim.study.planning.queue import Demand, Pool, QueueModel, queue_model
from hpcsim.study.planning.sources import terms_of
from hpcsim.workload.jobs import JobTable
from tests.study.planning.small import small

JOBS = {
    "synthetic": {"load": 0.6, "duration": "10 days", "max_processors": 32, "median_run": "30 min", "max_run": "1 day"},
    "unit": "accelerator",
}


def queued(**changes: object) -> hpcsim.Scenario:
    scenario = small(goals={"queue": {"wait": "1 h", "growth": 0.3}}, horizon="2 years", **changes)
    return scenario.vary({"workload": {"jobs": JOBS}, "scheduler.policy": "easy"})


def model(scenario: hpcsim.Scenario) -> QueueModel:
    catalog = default()
    return queue_model(scenario, kinds_of(scenario, catalog), terms_of(scenario, catalog), catalog)


@pytest.fixture(scope="module")
def made() -> QueueModel:
    return model(queued())


def poisson(seed: int, n: int, load: float) -> Demand:
    """Jobs of one processor whose run times are exponential, arriving at random: M/M/c."""
    draw = np.random.default_rng(seed)
    return Demand.of(JobTable.of(np.cumsum(draw.exponential(1.0 / load, n)), draw.exponential(1.0, n), np.ones(n, dtype=int)), "core")


def test_pools_of_a_poisson_queue_are_those_of_erlang() -> None:
    demand = poisson(1, 20_000, 8.0)
    pool = Pool(demand, 1, 0.95, 1.0)
    found = pool.size("fcfs")
    theory = next(c for c in range(9, 40) if float(mmc_wait_quantile_s(0.95, c, demand.load)) <= 1.0)
    assert abs(found.nodes - theory) <= 1
    assert abs(demand.analytic(0.95, 1.0) - theory) <= 1
    assert pool.run(theory, "fcfs").mean_wait_s == pytest.approx(demand.mean_wait_s(theory), rel=0.25)


def test_one_node_less_waits_too_long(made: QueueModel) -> None:
    for per_node, years in made.sized.items():
        for demand, sized in zip(made.years, years):
            jobs = demand.jobs.sorted_by_submit()
            waits = {n: run_jobs(jobs, n * per_node, "easy").start_s - jobs.submit_s for n in (sized.nodes - 1, sized.nodes)}
            rank = math.ceil(0.95 * len(jobs)) - 1
            assert np.sort(waits[sized.nodes])[rank] <= 3600.0 < np.sort(waits[sized.nodes - 1])[rank]


def test_growth_needs_more_nodes_each_year(made: QueueModel) -> None:
    assert [d.load for d in made.years] == pytest.approx([made.demand.load * 1.3, made.demand.load * 1.69], rel=0.02)
    for years in made.sized.values():
        assert [s.nodes for s in years] == sorted(s.nodes for s in years)


def test_a_reserved_part_is_never_dearer_than_all_or_nothing(made: QueueModel) -> None:
    scenario = queued(
        **{
            "options.owners": {
                "r": {"kind": "1-year", "discount": 0.4, "providers": ["nebius"]},
                "o": {"kind": "on-demand", "providers": ["nebius"]},
            }
        }
    )
    found = model(scenario).found
    cost = {str(owner): found.values["cost_usd"][found.axes["owner"] == owner].min() for owner in set(found.axes["owner"])}
    assert cost["r+o"] <= min(cost["r"], cost["o"]) * (1 + 1e-9)


def test_the_plan_of_a_queue_speaks_of_every_facet() -> None:
    results = hpcsim.plan(queued())
    table = results.tables["plan"]
    assert {(s, f) for s, f in zip(table["step"], table["facet"])} == {(s, f) for s in STEPS for f in FACETS}
    chosen = results.tables["plan_candidates"].iloc[0]
    assert chosen["simulated_s"] <= 3600.0
    bill = results.tables["plan_bill"]
    nodes = bill[bill["unit"] == "nodes"]["count"].sum()
    if chosen["provider"] == "own":
        assert nodes >= chosen["count"]


STORE = {
    "plan.goals": {"store": {"images": {"size": "1 PB", "growth": 0.2, "read": "2 GB/s", "encrypted": True, "copies": 3, "hot": 0.5}}},
    "plan.options.storage": {
        "disks": {"type": "hdd-20tb", "read": "20 GB/s", "write": "10 GB/s"},
        "cloud": {"type": "s3-standard", "provider": "aws", "region": "eu-central-1", "read": "5 GB/s", "write": "5 GB/s"},
    },
    "plan.horizon": "3 years",
}


def stored(**changes: object) -> hpcsim.results.Results:  # type: ignore[name-defined]
    return hpcsim.plan(small().vary({**STORE, **{f"plan.{k}": v for k, v in changes.items()}}))


def test_data_kept_grow_and_are_kept_three_times() -> None:
    results = stored()
    rows = results.tables["plan"].set_index("item")["value"]
    assert rows["data at the end of year 3"] == pytest.approx(1e15 * 1.2**3)
    assert rows["raw capacity at the end"] == pytest.approx(1e15 * 1.2**3 * 3 / 0.85)
    assert rows["drives"] == math.ceil(1e15 * 1.2**3 * 3 / 0.85 / 20e12)
    assert rows["cores that encrypt what is read"] == pytest.approx(2e9 / 5.15e9)
    table = results.tables["plan"]
    assert {(s, f) for s, f in zip(table["step"], table["facet"])} == {(s, f) for s in STEPS for f in FACETS}


def test_a_rent_below_the_cost_of_drives_wins() -> None:
    dear, cheap = (stored(**{"options.storage.cloud.rent": f"{rent} USD/GB/month"}) for rent in (0.02, 0.0001))
    assert dear.tables["plan_candidates"].iloc[0]["provider"] == "own"
    assert cheap.tables["plan_candidates"].iloc[0]["provider"] == "aws"


def test_rented_storage_pays_its_size_over_the_horizon() -> None:
    results = stored(**{"options.storage": {"cloud": STORE["plan.options.storage"]["cloud"]}})  # type: ignore[index]
    rent = 0.023e-9 / 2_629_746
    expected = sum(1e15 * 1.2**y for y in (1, 2, 3)) * rent * 8760 * 3600
    assert results.summary["cost_usd"] == pytest.approx(expected)
    assert results.tables["plan_bill"]["usd"].sum() == pytest.approx(expected)


def test_goals_that_share_what_may_be_bound_are_divided() -> None:
    both = {
        **STORE,
        "plan.later_use": 1.0,
        "plan.options.owners.spot": {"kind": "on-demand", "providers": ["aws"]},
        "plan.goals": {"train": {"llama": {"within": "20 days"}}, "store": STORE["plan.goals"]["store"]},  # type: ignore[index]
    }
    free = hpcsim.plan(small().vary(both))
    assert free.provenance["how"] == "exhaustive"
    chosen = free.tables["plan_candidates"]
    bound = float(chosen[chosen["role"] == "chosen"]["outlay_usd"].max()) * 1.0001  # each goal's choice fits alone, the two do not
    tight = hpcsim.plan(small().vary({**both, "plan.limits.outlay": f"{bound!r} USD"}))
    assert tight.provenance["how"] == "mixed-integer"
    assert tight.summary["outlay_usd"] <= bound * (1 + 1e-9)
    assert tight.summary["cost_usd"] >= free.summary["cost_usd"] * (1 - 1e-12)
    none = hpcsim.plan(small().vary({**both, "plan.limits.outlay": "1 kUSD"}))
    assert none.summary["goals_reached"] < 2
    assert "outlay" in none.summary["binding_limits"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"plan.goals": {"queue": {"wait": "1 h"}}}, "plan-queue-jobs"),
        ({"plan.goals": {"store": {"d": {"size": "1 PB"}}}}, "plan-without-tier"),
        (
            {
                "plan.goals": {"queue": {"wait": "1 h"}},
                "workload": {"jobs": {**JOBS, "unit": "core"}},
                "plan.options.nodes": {"t": "tpu-v5p-host"},
            },
            "plan-queue-nodes",
        ),
    ],
)
def test_bad_input(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as error:
        hpcsim.plan(small().vary(changes))
    assert code in [p.code for p in error.value.problems]
    assert all(p.path for p in error.value.problems)
