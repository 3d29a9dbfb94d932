"""Invariants of whole runs on drawn scenarios: closed form and engine agree, tables add up, prices and carbon are linear."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError, Problem

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NODE_TYPES = {"dgx-a100-80gb": 8, "dgx-h100": 8, "dgx-1v-32gb": 8}


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Any]:
    price = draw(
        st.sampled_from(
            [
                "2 USD/h",
                {"hourly": "2 USD/h", "billing": "used"},
                {"hourly": "2 USD/h", "includes_electricity": True},
                {"capex": "30 kUSD", "lifetime": "4 years"},
            ]
        )
    )
    return {
        "nodes": {
            "gpu": {"type": draw(st.sampled_from(sorted(NODE_TYPES))), "count": draw(st.integers(1, 4)), "spares": draw(st.integers(0, 2))}
        },
        "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 4, "radix": 40},
        "storage": {"disk": {"type": "lustre", "capacity": "1 PB", "read": "100 GB/s", "write": "50 GB/s", "power": "3 kW"}},
        "site": {
            "pue": draw(st.floats(1, 2)),
            "carbon": f"{draw(st.floats(1, 900))} g/kWh",
            "electricity": f"{draw(st.floats(0.01, 0.5))} USD/kWh",
        },
        "prices": {"gpu": price},
    }


@st.composite
def trainings(draw: st.DrawFn, nodes: int) -> dict[str, Any]:
    run: dict[str, Any] = {
        "model": "gpt2-xl",
        "steps": draw(st.integers(1, 20_000)),
        "global_batch": 384,
        "sequence": draw(st.sampled_from([256, 512])),
        "precision": "fp16",
        "layout": {"tp": 1, "pp": 1, "micro_batch": 1, "recompute": "full", "zero_stage": 1},
        "count": draw(st.integers(1, nodes)),
        "submit": f"{draw(st.floats(0, 1e5))} s",
    }
    if draw(st.booleans()):
        run["checkpoint"] = {"to": "disk", "every": f"{draw(st.floats(10, 1e6))} s"}
    return run


@st.composite
def runs(draw: st.DrawFn) -> hpcsim.Scenario:
    cluster = draw(clusters())
    count = cluster["nodes"]["gpu"]["count"]
    work = {name: draw(trainings(count)) for name in ("a", "b", "c")[: draw(st.integers(1, 3))]}
    data = {"schema": 1, "name": "drawn", "question": "q?", "cluster": cluster, "workload": {"training": work}}
    return hpcsim.load(data)


@FEW
@given(which=runs())
def test_estimate_and_simulation_agree_where_nothing_fails(which: hpcsim.Scenario) -> None:
    one, other = hpcsim.estimate(which), hpcsim.simulate(which)
    if "contention_s" in other.summary:  # checkpoints that meet in the disk, which the closed form does not see
        assert other.summary["makespan_s"] >= one.summary["makespan_s"] * (1 - 1e-9)
        assert {"a", "b", "c"} >= set(other.tables["contention"]["name"])
        return
    for key, value in one.summary.items():
        if key not in ("wall_s", "cpu_s", "events", "peak_power_w"):
            assert other.summary[key] == pytest.approx(value, rel=1e-9), key
    assert one.jobs["start_s"].to_numpy() == pytest.approx(other.jobs["start_s"].to_numpy(), rel=1e-9, abs=1e-6)
    assert one.energy["energy_j"].to_numpy() == pytest.approx(other.energy["energy_j"].to_numpy(), rel=1e-9)
    assert one.costs["usd"].to_numpy() == pytest.approx(other.costs["usd"].to_numpy(), rel=1e-9, abs=1e-6)


@st.composite
def busy(draw: st.DrawFn) -> hpcsim.Scenario:
    cluster = draw(clusters())
    count = cluster["nodes"]["gpu"]["count"]
    work: dict[str, Any] = {}
    rest: dict[str, Any] = {"scheduler": {"policy": draw(st.sampled_from(["fcfs", "sjf", "easy", "easy-sjbf"]))}}
    if draw(st.booleans()):
        work["jobs"] = {"synthetic": {"jobs": draw(st.integers(1, 40)), "duration": "1 day", "max_processors": 8 * count}}
    if draw(st.booleans()):
        rest["failures"] = {"node": {"mtbf": f"{draw(st.floats(20, 2000))} h", "repair": f"{draw(st.floats(0, 50))} h"}}
    names = ("a", "b")[: draw(st.integers(0 if work else 1, 2))]
    work["training"] = {name: draw(trainings(count)) | {"steps": draw(st.integers(1, 3000))} for name in names}
    if draw(st.booleans()):
        rest["simulate"] = {"until": f"{draw(st.floats(1, 3e5))} s", "seed": draw(st.integers(0, 99))}
    return hpcsim.load({"schema": 1, "name": "drawn", "question": "q?", "cluster": cluster, "workload": work, **rest})


@FEW
@given(which=busy())
def test_tables_add_up_to_the_totals(which: hpcsim.Scenario) -> None:
    """I1, I4–I6, I9, I11, I15, I17 on anything that can be drawn."""
    result = hpcsim.simulate(which)
    states, power, summary = result.states, result.power, result.summary
    nodes = which.cluster.nodes["gpu"]
    per_node = 8 if which.workload.jobs else 1
    assert (states["busy"] + states["idle"] + states["down"] == (nodes.count + nodes.spares) * per_node).all()
    assert (states[["busy", "idle", "down", "queued_jobs", "queued_processors"]] >= 0).all(axis=None)
    assert (states["busy"] <= nodes.count * per_node).all()
    span = (power["end_s"] - power["start_s"]).to_numpy()
    assert float(np.dot(power["total_w"], span)) == pytest.approx(summary["facility_energy_j"], rel=1e-9)
    assert result.energy["energy_j"].sum() == pytest.approx(summary["facility_energy_j"], rel=1e-9)
    assert summary["facility_energy_j"] == pytest.approx(summary["it_energy_j"] * which.cluster.site.pue, rel=1e-9)
    costs = result.costs
    assert costs["usd"].sum() == pytest.approx(summary["cost_usd"], rel=1e-9)
    assert result.jobs["cost_usd"].sum() == pytest.approx(costs[costs["item"] == "devices in use"]["usd"].sum(), rel=1e-9, abs=1e-12)
    counts = result.jobs["status"].value_counts()
    assert counts.sum() == len(result.jobs)
    assert {f"jobs_{status}": count for status, count in counts.items()}.items() <= summary.items()
    ended = result.jobs["end_s"].notna()
    assert result.jobs["status"].isin(["finished", "failed"]).equals(ended)
    assert all(0 <= value <= 1 for key, value in summary.items() if key.endswith("_frac"))


@FEW
@given(which=busy(), factor=st.floats(1.01, 3))
def test_dearer_is_dearer_and_in_proportion(which: hpcsim.Scenario, factor: float) -> None:
    """I22: carbon and the electricity bill are linear in their intensity and price, facility energy in the PUE; nothing else moves."""
    site = which.cluster.site
    base = hpcsim.simulate(which)
    dear = hpcsim.simulate(
        which.vary(
            {
                "cluster.site.carbon": f"{site.carbon * factor!r} kg/J",
                "cluster.site.electricity": f"{site.electricity * factor!r} USD/J",
            }
        )
    )
    assert dear.summary["facility_energy_j"] == base.summary["facility_energy_j"]
    assert dear.summary["carbon_kg_co2e"] == pytest.approx(base.summary["carbon_kg_co2e"] * factor, rel=1e-9)
    bills = [r.costs[r.costs["item"] == "electricity"]["usd"].sum() for r in (base, dear)]
    assert bills[1] == pytest.approx(bills[0] * factor, rel=1e-9, abs=1e-9)
    assert dear.jobs.equals(base.jobs)
    hot = hpcsim.simulate(which.vary({"cluster.site.pue": min(site.pue * factor, 5.0)}))
    assert hot.summary["it_energy_j"] == pytest.approx(base.summary["it_energy_j"], rel=1e-12)
    assert hot.summary["facility_energy_j"] >= base.summary["facility_energy_j"]
    assert hot.states.equals(base.states)


EVERYTHING: dict[str, Any] = {
    "schema": 1,
    "name": "everything",
    "question": "q?",
    "cluster": {
        "nodes": {
            "gpu": {"type": "dgx-a100-80gb", "count": 2, "spares": 1},
            "cpu": {
                "type": "cpu-2s",
                "count": 4,
                "cores": 8,
                "speed": "1 TFLOP/s",
                "memory": "100 GB",
                "idle_power": "100 W",
                "max_power": "500 W",
            },
        },
        "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40, "latency": "2 us", "oversubscription": 1.5},
        "storage": {
            "disk": {"type": "lustre", "capacity": "1 PB", "read": "100 GB/s", "write": "50 GB/s", "power": "1 kW", "latency": "1 ms"}
        },
        "site": {"pue": 1.2, "carbon": "57 g/kWh", "electricity": "0.12 USD/kWh"},
        "prices": {
            "gpu": "1.8 USD/h",
            "cpu": {"capex": "15 kUSD", "lifetime": "5 years", "interest": 0.05, "salvage": 0.1, "maintenance": 0.1},
        },
    },
    "workload": {
        "training": {
            "run": {
                "model": {"base": "gpt2-xl", "layers": 12},
                "tokens": "1 G",
                "global_batch": 96,
                "sequence": 1024,
                "precision": "bf16",
                "layout": {"tp": 1, "pp": 1, "micro_batch": 1, "recompute": "full"},
                "nodes": "gpu",
                "submit": "10 s",
                "checkpoint": {"every": "10 min", "to": "disk", "bytes_per_parameter": 14},
                "restart": "5 min",
                "framework": "megatron-lm",
                "year": 2023,
            }
        },
        "tasks": {
            "t": {"data": "10 GB", "work": "1 TFLOP", "nodes": ["cpu"], "parts_per_node": 2, "from_storage": "disk", "split_rate": "1 GB/s"}
        },
        "matrix_products": {"m": {"rows": 100, "inner": 100, "columns": 100, "ranks": 3, "nodes": "cpu", "submit": "1 s"}},
        "jobs": {"synthetic": {"jobs": 10, "duration": "1 h", "serial": 0.2, "max_processors": 8, "median_run": "10 min"}, "nodes": "cpu"},
    },
    "scheduler": {"policy": "easy", "order": "batch", "estimates": "requested"},
    "failures": {"node": {"mtbf": "100 h", "repair": "1 h"}},
    "simulate": {"until": "3 days", "seed": 1},
}
HOSTILE: list[Any] = [
    0, -1, 1, 3, 97, 10**4, 10**7, 10**30, 0.5, -0.5, 1e-9, 1e300, float("nan"), float("inf"), None, True, "", "x", "auto", "a" * 300, "../x", "a.b",
    [], [1], {}, {"a": 1}, "quantum", "gpu", "cpu", "full", "h100-sxm", "mixtral-8x7b", "resnet-50", "deepseek-v3", "dgx-h100", "single-switch", "fp8",
    "0 s", "-1 h", "1e-12 s", "1e15 days", "nan GB", "1e999 GB", "1e-6 GB/s", "1e9 GB/s", "5 GB", "1e30 W", "3 USD", "1 GFLOP/s", "1e40 FLOP",
]  # fmt: skip


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from leaves(value, (*path, key))


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    """A sound scenario with one or two values replaced by nonsense, by another size of the same unit, or by nothing."""
    data = copy.deepcopy(EVERYTHING)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([p for p in leaves(data) if "simulate" not in p]))
        here = data
        for key in path[:-1]:
            here = here[key]
        old = here[path[-1]]
        kind = draw(st.sampled_from(["scaled", "scaled", "nonsense", "gone"]))
        number, gap, unit = str(old).partition(" ")
        if kind == "gone" and isinstance(here, dict):
            del here[path[-1]]
        elif kind == "scaled" and number.replace(".", "").isdigit():
            factor = 10.0 ** draw(st.sampled_from([-12, -6, -3, -2, -1, 1, 2, 3, 6] if gap else [-3, -2, -1, 1, 2, 3]))  # jobs are counts
            here[path[-1]] = f"{float(number) * factor!r}{gap}{unit}" if gap else type(old)(old * factor)
        else:
            here[path[-1]] = draw(st.sampled_from(HOSTILE))
    return data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=hostile())
def test_nonsense_is_refused_or_runs_but_never_breaks(data: dict[str, Any]) -> None:
    """Either every problem has a code and a place, or both views answer with figures that are numbers."""
    for verb in (hpcsim.estimate, hpcsim.simulate):
        problems: list[Problem] = []
        summary: dict[str, Any] = {}
        try:
            summary = verb(data).summary
        except InputError as error:
            problems = error.problems
        assert bool(summary) != bool(problems)
        assert all(problem.code and problem.path for problem in problems), problems
        for key, value in summary.items():
            assert np.isfinite(value), key
            assert value >= 0, key


def test_the_scenario_that_is_spoilt_is_sound() -> None:
    assert hpcsim.check(EVERYTHING) == []
    assert hpcsim.simulate(EVERYTHING).summary["jobs_finished"] == 13
