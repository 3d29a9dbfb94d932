"""A whole run: the event engine meets the closed form, and its tables add up to its totals."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.units import parse_quantity
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.scheduling.placement import FirstFit

CLUSTER: dict[str, Any] = {
    "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 4}},
    "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40},
    "storage": {"scratch": {"type": "lustre", "capacity": "1 PB", "read": "100 GB/s", "write": "50 GB/s", "power": "1 kW"}},
    "site": {"pue": 1.2, "carbon": "57 g/kWh", "electricity": "0.12 USD/kWh"},
    "prices": {"gpu": "1.8 USD/h"},
}
RUN: dict[str, Any] = {
    "model": "gpt2-xl",
    "tokens": "1 G",
    "global_batch": 384,
    "sequence": 1024,
    "layout": {"tp": 1, "pp": 1, "micro_batch": 2},
}
CPU: dict[str, Any] = {
    "nodes": {"cpu": {"type": "cpu-2s", "count": 4, "cores": 8, "speed": "1 TFLOP/s"}},
    "fabric": {"topology": "single-switch", "link": "100gbe"},
    "storage": {"lake": {"type": "object", "capacity": "1 PB", "read": "5 GB/s", "write": "2 GB/s", "power": "500 W"}},
    "site": {"pue": 1.4, "carbon": "380 g/kWh", "electricity": "0.15 USD/kWh"},
    "prices": {"cpu": {"capex": "15 kUSD", "lifetime": "5 years", "interest": 0.05}},
}
TASK: dict[str, Any] = {
    "data": "100 GB",
    "work": "1 PFLOP",
    "from_storage": "lake",
    "split_rate": "10 GB/s",
    "result": "2 GB",
    "merge_rate": "2 GB/s",
}
JOBS: dict[str, Any] = {"synthetic": {"jobs": 60, "duration": "4 h", "median_run": "20 min", "max_run": "2 h"}}
FAILURES = {"node": {"mtbf": "8 h", "repair": "2 h"}}


def scenario(cluster: dict[str, Any], workload: dict[str, Any], **rest: Any) -> hpcsim.Scenario:
    data = {"schema": 1, "name": "small", "question": "q?", "cluster": cluster, "workload": workload, **rest}
    return hpcsim.load(copy.deepcopy(data))


MIXED = {
    "one training run": scenario(CLUSTER, {"training": {"run": RUN}}),
    "a run with checkpoints": scenario(CLUSTER, {"training": {"run": {**RUN, "checkpoint": {"every": "7 min", "to": "scratch"}}}}),
    "a run on a part of the nodes": scenario(CLUSTER, {"training": {"run": {**RUN, "count": 2}}}),
    "a run that comes late": scenario(CLUSTER, {"training": {"run": {**RUN, "submit": "3 h"}}}),
    "a run whose layout is found": scenario(CLUSTER, {"training": {"run": {**RUN, "layout": "auto"}}}),
    "three runs that queue": scenario(
        CLUSTER,
        {"training": {"a": {**RUN, "count": 2}, "b": {**RUN, "submit": "1 min", "count": 4}, "c": {**RUN, "submit": "2 min", "count": 1}}},
    ),
    "a decomposed task": scenario(CPU, {"tasks": {"images": TASK}}),
    "a task in many parts": scenario(CPU, {"tasks": {"images": {**TASK, "parts_per_node": 7}}}),
    "a task as printed": scenario(CPU, {"tasks": {"images": {**TASK, "partition": "printed"}}}),
    "two tasks that queue": scenario(CPU, {"tasks": {"a": TASK, "b": {**TASK, "submit": "10 s"}}}),
    "a matrix product": scenario(CPU, {"matrix_products": {"square": {"rows": 9001, "inner": 8000, "columns": 7000, "ranks": 3}}}),
    "no electricity price": scenario({**CLUSTER, "site": {"pue": 1.5}}, {"training": {"run": RUN}}),
    "a price that covers electricity": scenario(
        {**CLUSTER, "prices": {"gpu": {"hourly": "2 USD/h", "includes_electricity": True}}}, {"training": {"run": {**RUN, "count": 3}}}
    ),
    "only used time is billed": scenario(
        {**CLUSTER, "prices": {"gpu": {"hourly": "2 USD/h", "billing": "used"}}}, {"training": {"run": {**RUN, "count": 3}}}
    ),
}
BUSY = {
    **MIXED,
    "failures": scenario(CLUSTER, {"training": {"run": {**RUN, "tokens": "20 G", "checkpoint": {"to": "scratch"}}}}, failures=FAILURES),
    "failures and spares": scenario(
        {**CLUSTER, "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 3, "spares": 2}}},
        {"training": {"run": {**RUN, "tokens": "20 G", "checkpoint": {"to": "scratch"}}}},
        failures=FAILURES,
    ),
    "failures, two runs, idle nodes": scenario(
        CLUSTER,
        {
            "training": {
                "a": {**RUN, "tokens": "10 G", "count": 2, "checkpoint": {"to": "scratch"}},
                "b": {**RUN, "tokens": "10 G", "count": 1, "checkpoint": {"to": "scratch"}},
            }
        },
        failures=FAILURES,
    ),
    "failures cut by the horizon": scenario(
        CLUSTER,
        {"training": {"run": {**RUN, "tokens": "20 G", "checkpoint": {"to": "scratch"}}}},
        failures={"node": {"mtbf": "1 h", "repair": "9 h"}},
        simulate={"until": "7 h"},
    ),
    "failures under a price that covers electricity": scenario(
        {**CLUSTER, "prices": {"gpu": {"hourly": "2 USD/h", "includes_electricity": True}}},
        {"training": {"run": {**RUN, "tokens": "20 G", "count": 3, "checkpoint": {"to": "scratch"}}}},
        failures=FAILURES,
    ),
    "batch jobs": scenario(CPU, {"jobs": JOBS}, scheduler={"policy": "easy"}),
    "batch jobs cut by the horizon": scenario(CPU, {"jobs": JOBS}, scheduler={"policy": "sjf"}, simulate={"until": "100 min"}),
    "batch jobs and a run on the same nodes": scenario(
        CLUSTER, {"jobs": JOBS, "training": {"run": {**RUN, "count": 2, "submit": "30 min"}}}, scheduler={"policy": "easy"}
    ),
    "jobs and a task on the same nodes": scenario(
        CPU, {"jobs": JOBS, "tasks": {"t": {**TASK, "submit": "1 h"}}}, scheduler={"policy": "fcfs"}
    ),
    "jobs on nodes that fail": scenario(
        CPU, {"jobs": JOBS}, scheduler={"policy": "easy"}, failures={"node": {"mtbf": "6 h", "repair": "1 h"}}
    ),
    "jobs, failures and spares": scenario(
        {**CPU, "nodes": {"cpu": {**CPU["nodes"]["cpu"], "spares": 2}}},
        {"jobs": JOBS},
        scheduler={"policy": "fcfs"},
        failures={"node": {"mtbf": "3 h", "repair": "5 h"}},
        simulate={"until": "6 h"},
    ),
    "jobs and a run on nodes that fail": scenario(
        CLUSTER,
        {"jobs": JOBS, "training": {"run": {**RUN, "tokens": "5 G", "count": 2, "submit": "30 min", "checkpoint": {"to": "scratch"}}}},
        scheduler={"policy": "easy"},
        failures={"node": {"mtbf": "4 h", "repair": "1 h"}},
    ),
    "two groups": scenario(
        {**CLUSTER, "nodes": {**CLUSTER["nodes"], **CPU["nodes"]}, "prices": {**CLUSTER["prices"], **CPU["prices"]}},
        {"jobs": {**JOBS, "nodes": "cpu"}, "training": {"run": RUN}},
        scheduler={"policy": "easy-sjbf"},
    ),
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return {name: hpcsim.simulate(which) for name, which in BUSY.items()}


def horizon(result: Any) -> tuple[float, float]:
    return float(result.power["start_s"].iloc[0]), float(result.power["end_s"].iloc[-1])


def seconds(table: Any) -> Any:
    return (table["end_s"] - table["start_s"]).to_numpy()


@pytest.mark.parametrize("name", MIXED)
def test_the_estimate_is_the_simulation_where_nothing_fails(name: str) -> None:
    """Time, energy, carbon and money of both views, to rounding; tasks and runs queue first come, first served in both."""
    one, other = hpcsim.estimate(MIXED[name]), hpcsim.simulate(MIXED[name])
    for key, value in one.summary.items():
        if key not in ("wall_s", "cpu_s", "events", "peak_power_w"):
            assert other.summary[key] == pytest.approx(value, rel=1e-9), key
    assert set(one.ranges) == set(other.ranges)
    for key in ("start_s", "end_s", "wait_s", "device_s", "cost_usd"):
        assert one.jobs[key].to_numpy() == pytest.approx(other.jobs[key].to_numpy(), rel=1e-9, nan_ok=True), key
    assert one.energy["energy_j"].to_numpy() == pytest.approx(other.energy["energy_j"].to_numpy(), rel=1e-9)
    if "costs" in one.tables:
        assert one.costs["usd"].to_numpy() == pytest.approx(other.costs["usd"].to_numpy(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", BUSY)
def test_states_tile_the_horizon_and_fill_the_machine(name: str, results: dict[str, Any]) -> None:
    """I1: busy + idle + down processors are the capacity at every instant; none is negative; busy time is the jobs' time."""
    result, which = results[name], BUSY[name]
    begin_s, end_s = horizon(result)
    cluster = resolve(which.cluster, default())
    for group, rows in result.states.groupby("group"):
        assert rows["start_s"].iloc[0] == begin_s
        assert rows["end_s"].iloc[-1] == end_s
        assert (rows["start_s"].to_numpy()[1:] == rows["end_s"].to_numpy()[:-1]).all()
        assert (seconds(rows) > 0).all()
        totals = rows["busy"] + rows["idle"] + rows["down"]
        nodes = cluster.groups[group].total
        assert (totals == totals.iloc[0]).all()
        assert totals.iloc[0] % nodes == 0
        assert (rows[["busy", "idle", "down", "queued_jobs", "queued_processors"]] >= 0).all(axis=None)
    assert set(result.states["group"]) == set(cluster.groups)
    jobs = result.jobs
    held = jobs["processors"] * (jobs["end_s"].fillna(end_s) - jobs["start_s"]).fillna(0.0)
    short = (result.states["down"] * seconds(result.states)).sum()  # a run that waits for a repair has one node less
    busy = (result.states["busy"] * seconds(result.states)).sum()
    assert held.sum() - short - 1e-6 <= busy <= held.sum() * (1 + 1e-12) + 1e-6
    if not short:
        assert busy == pytest.approx(held.sum(), rel=1e-9)


@pytest.mark.parametrize("name", BUSY)
def test_energy_is_the_integral_of_power(name: str, results: dict[str, Any]) -> None:
    """I4, I5, I17: components add to the total at every instant and in sum; the facility draws IT·PUE; carbon follows the energy."""
    result, which = results[name], BUSY[name]
    power, summary = result.power, result.summary
    assert (power["start_s"].to_numpy()[1:] == power["end_s"].to_numpy()[:-1]).all()
    parts = ("compute", "idle", "network", "storage", "cooling")
    assert sum(power[f"{part}_w"] for part in parts).to_numpy() == pytest.approx(power["total_w"].to_numpy(), rel=1e-12)
    assert (power[[f"{part}_w" for part in parts]] >= 0).all(axis=None)
    energy = result.energy.set_index("component")["energy_j"]
    for part in parts:
        assert float(np.dot(power[f"{part}_w"], seconds(power))) == pytest.approx(energy.get(part, 0.0), rel=1e-9, abs=1e-6)
    assert energy.sum() == pytest.approx(summary["facility_energy_j"], rel=1e-9)
    assert energy.drop("cooling", errors="ignore").sum() == pytest.approx(summary["it_energy_j"], rel=1e-9)
    assert summary["facility_energy_j"] == pytest.approx(summary["it_energy_j"] * which.cluster.site.pue, rel=1e-9)
    assert power["total_w"].max() == pytest.approx(summary["peak_power_w"])
    begin_s, end_s = horizon(result)
    cluster = resolve(which.cluster, default())
    standing = sum(g.total * (g.idle_w + g.per_node * (g.accelerator.idle_w if g.accelerator else 0.0)) for g in cluster.groups.values())
    if not result.states["down"].any():
        assert energy["idle"] == pytest.approx(standing * (end_s - begin_s), rel=1e-9)
    if which.cluster.site.carbon is not None:
        assert summary["carbon_kg_co2e"] == pytest.approx(summary["facility_energy_j"] * which.cluster.site.carbon, rel=1e-9)
        assert result.energy["carbon_kg_co2e"].sum() == pytest.approx(summary["carbon_kg_co2e"], rel=1e-9)


@pytest.mark.parametrize("name", BUSY)
def test_bills_add_up(name: str, results: dict[str, Any]) -> None:
    """I6: what the jobs pay, what stands idle and electricity are the cost; used and idle device time is the machine's."""
    result, which = results[name], BUSY[name]
    costs = result.costs
    used = costs[costs["item"] == "devices in use"]
    idle = costs[costs["item"] == "devices idle"]
    electricity = costs[costs["item"].str.startswith("electricity")]
    assert len(used) + len(idle) + len(electricity) == len(costs)
    assert result.jobs["cost_usd"].sum() == pytest.approx(used["usd"].sum(), rel=1e-9)
    assert result.jobs["cost_usd"].sum() + idle["usd"].sum() + electricity["usd"].sum() == pytest.approx(
        result.summary["cost_usd"], rel=1e-9
    )
    assert costs["usd"].sum() == pytest.approx(result.summary["cost_usd"], rel=1e-9)
    begin_s, end_s = horizon(result)
    cluster = resolve(which.cluster, default())
    for group, price in cluster.prices.items():
        devices = cluster.groups[group].total * (cluster.groups[group].per_node or 1)
        hours = costs[costs["group"] == group]["quantity"].sum()
        if price.billing == "used":
            assert idle.empty
        else:
            assert hours == pytest.approx(devices * (end_s - begin_s) / 3600, rel=1e-9)
    if not result.jobs["device_s"].isna().any():
        assert result.jobs["device_s"].sum() / 3600 == pytest.approx(used["quantity"].sum(), rel=1e-9)
    if cluster.prices and all(price.includes_electricity for price in cluster.prices.values()):
        assert set(cluster.prices) == set(cluster.groups)  # all is rented, with its part of network and storage
        assert electricity[electricity["item"] == "electricity"]["quantity"].sum() == 0.0
    if which.cluster.site.electricity is not None:
        assert electricity["quantity"].sum() == pytest.approx(result.summary["facility_energy_j"] / 3.6e6, rel=1e-9)


def test_a_price_by_the_hour_and_a_purchase_are_what_they_say() -> None:
    """The bill of one run, by hand: 32 devices at 1.8 USD/h; a purchase is its annuity over the life."""
    result = hpcsim.simulate(MIXED["one training run"])
    hours = result.summary["wall_clock_s"] / 3600
    paid = result.costs.set_index("item")["usd"]
    assert paid["devices in use"] == pytest.approx(32 * 1.8 * hours, rel=1e-9)
    assert paid["devices idle"] == pytest.approx(0.0, abs=1e-9)
    assert paid["electricity"] == pytest.approx(result.summary["facility_energy_j"] / 3.6e6 * 0.12, rel=1e-9)
    bought = hpcsim.simulate(MIXED["a decomposed task"]).costs.set_index("item")["usd"]
    annuity = 15000 * 0.05 / (1 - 1.05**-5)
    share = hpcsim.simulate(MIXED["a decomposed task"]).summary["makespan_s"] / parse_quantity("1 year", "time")
    assert bought["devices in use"] + bought["devices idle"] == pytest.approx(4 * annuity * share, rel=1e-3)


@pytest.mark.parametrize("name", BUSY)
def test_no_processor_is_given_twice_and_the_head_never_waits_in_vain(name: str, results: dict[str, Any]) -> None:
    """I11, I15, I20, I41, recomputed from the jobs table alone."""
    result, which = results[name], BUSY[name]
    jobs = result.jobs
    assert (jobs["start_s"].dropna() >= jobs["submit_s"][jobs["start_s"].notna()]).all()
    assert (jobs["end_s"] - jobs["start_s"]).dropna().ge(0).all()
    assert (jobs["bounded_slowdown"].dropna() >= 1).all()
    for key, value in result.summary.items():
        if key.endswith("_frac"):
            assert 0 <= value <= 1, key
    cluster = resolve(which.cluster, default())
    for group, rows in jobs.groupby("group"):
        states = result.states[result.states["group"] == group]
        per_node = int((states["busy"] + states["idle"] + states["down"]).iloc[0]) // cluster.groups[group].total
        capacity = per_node * cluster.groups[group].count
        submit, start = rows["submit_s"].to_numpy(), rows["start_s"].fillna(np.inf).to_numpy()
        end = rows["end_s"].fillna(np.inf).to_numpy()
        size = rows["processors"].to_numpy()
        order = np.argsort(submit, kind="stable")
        for at, idle in zip(states["start_s"], states["idle"], strict=True):
            assert int(size[(start <= at) & (at < end)].sum()) <= capacity
            waiting = [j for j in order if submit[j] <= at < start[j]]
            if waiting and cluster.groups[group].spares == 0 and which.scheduler.policy != "sjf":
                assert size[waiting[0]] > idle


@pytest.mark.parametrize("until", ["1 us", "1 min", "30 min", "100 min", "3 h", "4 days"])
@pytest.mark.parametrize("name", ["batch jobs", "batch jobs and a run on the same nodes", "failures"])
def test_a_horizon_splits_the_jobs_into_their_states(name: str, until: str) -> None:
    """I9: what was submitted is finished, running or queued, at any time; what comes later is no part of it."""
    whole = hpcsim.simulate(BUSY[name])
    cut_s = parse_quantity(until, "time")
    result = hpcsim.simulate(BUSY[name].vary({"simulate.until": until}))
    expected = whole.jobs[whole.jobs["submit_s"] <= cut_s]
    assert result.jobs["submit_s"].tolist() == expected["submit_s"].tolist()
    started, ended = expected["start_s"] <= cut_s, expected["end_s"] <= cut_s
    counts = {"finished": int(ended.sum()), "running": int((started & ~ended).sum()), "queued": int((~started).sum())}
    assert result.jobs["status"].value_counts().reindex(list(counts), fill_value=0).to_dict() == counts
    assert {s: result.summary.get(f"jobs_{s}", 0) for s in counts} == counts
    assert sum(counts.values()) == len(result.jobs)
    assert result.jobs["start_s"].tolist() == pytest.approx(expected["start_s"].where(started).tolist(), nan_ok=True)
    if expected.empty:
        assert result.power.empty
        assert result.states.empty
        return
    assert horizon(result)[1] == cut_s
    if name != "failures" and cut_s < whole.states["end_s"].max():
        before = (expected["start_s"] < cut_s) & ~(expected["end_s"] < cut_s)
        last = result.states.groupby("group").last()
        assert last["busy"].sum() == result.jobs["processors"][before.to_numpy()].sum()


def test_splitting_the_horizon_adds() -> None:
    """I4: the energy up to a time is the integral of the whole run's power up to that time."""
    whole = hpcsim.simulate(BUSY["batch jobs"])
    power = whole.power
    for minutes in (7, 61, 200):
        cut_s = minutes * 60.0
        part = hpcsim.simulate(BUSY["batch jobs"].vary({"simulate.until": f"{minutes} min"}))
        span = np.clip(power["end_s"], None, cut_s) - np.clip(power["start_s"], None, cut_s)
        assert part.summary["facility_energy_j"] == pytest.approx(float(np.dot(power["total_w"], span)), rel=1e-9)


def test_what_is_submitted_after_the_horizon_is_left_out_and_said() -> None:
    late = scenario(CLUSTER, {"training": {"now": RUN, "late": {**RUN, "submit": "3 days"}}}, simulate={"until": "1 day"})
    result = hpcsim.simulate(late)
    assert result.jobs["name"].tolist() == ["now"]
    assert any("late is submitted after the horizon" in note for note in result.notes)
    never = hpcsim.simulate(scenario(CLUSTER, {"training": {"late": {**RUN, "submit": "3 days"}}}, simulate={"until": "1 day"}))
    assert never.jobs.empty
    assert never.summary["makespan_s"] == 0.0
    assert "Nothing ran" in never.answer


def test_runs_queue_for_the_same_nodes() -> None:
    """Two runs that need the whole group follow each other; on half of it each, they share it."""
    one = hpcsim.simulate(MIXED["one training run"]).summary["wall_clock_s"]
    both = hpcsim.simulate(scenario(CLUSTER, {"training": {"a": RUN, "b": RUN}}))
    assert both.jobs["start_s"].tolist() == pytest.approx([0.0, one])
    assert both.jobs["end_s"].tolist() == pytest.approx([one, 2 * one])
    assert both.jobs["wait_s"].tolist() == pytest.approx([0.0, one])
    halves = hpcsim.simulate(scenario(CLUSTER, {"training": {"a": {**RUN, "count": 2}, "b": {**RUN, "count": 2}}}))
    assert halves.jobs["start_s"].tolist() == [0.0, 0.0]
    assert halves.jobs["end_s"].nunique() == 1


def test_a_run_and_batch_jobs_share_one_queue() -> None:
    """Under first come, first served a run that needs all nodes stops every later job until it has ended, and waits for the earlier ones."""
    which = scenario(CLUSTER, {"jobs": JOBS, "training": {"run": {**RUN, "submit": "90 min"}}}, scheduler={"policy": "fcfs"})
    jobs = hpcsim.simulate(which).jobs
    run = jobs[jobs["kind"] == "training"].iloc[0]
    batch = jobs[jobs["kind"] == "batch"]
    assert run["processors"] == 32  # four nodes of eight accelerators
    before, after = batch[batch["submit_s"] < run["submit_s"]], batch[batch["submit_s"] > run["submit_s"]]
    assert len(before) > 5
    assert len(after) > 5
    assert run["start_s"] == pytest.approx(max(run["submit_s"], before["end_s"].max()))
    assert (after["start_s"] >= run["end_s"]).all()


def test_names_and_order_of_groups_do_not_matter() -> None:
    """I31: other names for the groups, in another order, permute the rows and change no figure."""
    nodes = {"a": {"type": "dgx-a100-80gb", "count": 3, "spares": 1}, "b": {"type": "dgx-h100", "count": 2}}
    runs = {"x": {**RUN, "nodes": "a", "checkpoint": {"to": "scratch"}}, "y": {**RUN, "nodes": "b"}}
    prices = {"a": "1.8 USD/h", "b": "2.5 USD/h"}
    rename = {"a": "zebra", "b": "ant"}
    one = scenario({**CLUSTER, "nodes": nodes, "prices": prices}, {"training": runs}, failures={"node": {"mtbf": "2 h", "repair": "1 h"}})
    other = scenario(
        {**CLUSTER, "nodes": {rename[k]: nodes[k] for k in ("b", "a")}, "prices": {rename[k]: prices[k] for k in ("b", "a")}},
        {"training": {k: {**v, "nodes": rename[v["nodes"]]} for k, v in runs.items()}},
        failures={"node": {"mtbf": "2 h", "repair": "1 h"}},
    )
    first, second = hpcsim.simulate(one), hpcsim.simulate(other)
    assert first.training["failures"].sum() > 0
    for key, value in first.summary.items():
        if key not in ("wall_s", "cpu_s"):
            assert second.summary[key] == pytest.approx(value, rel=1e-12), key
    for table in ("states", "jobs", "costs", "training"):
        left, right = first.tables[table].copy(), second.tables[table].copy()
        left["group"] = left["group"].replace(rename)
        keys = [k for k in ("group", "name", "item", "start_s") if k in left]
        left, right = (t.sort_values(keys).reset_index(drop=True) for t in (left, right))
        for column in left:
            if left[column].dtype.kind == "f":
                assert right[column].to_numpy() == pytest.approx(left[column].to_numpy(), rel=1e-12, nan_ok=True), (table, column)
            elif column != "job_id":
                assert right[column].fillna("").tolist() == left[column].fillna("").tolist(), (table, column)


def swf(*rows: tuple[float, ...]) -> str:
    return "".join(
        f"{i} {submit} -1 {run} {size} -1 -1 {size} {run} -1 1 1 1 -1 -1 -1 -1 -1\n" for i, (submit, run, size) in enumerate(rows, 1)
    )


def test_jobs_of_no_size_change_nothing(tmp_path: Path) -> None:
    """I35: rows without run time, or larger than the machine, are dropped and counted; nothing else changes."""
    rows = [(0, 600, 8), (10, 300, 32), (20, 50, 4), (400, 100, 16)]
    (tmp_path / "plain.swf").write_text(swf(*rows), encoding="utf-8")
    (tmp_path / "more.swf").write_text(swf(*rows, (401, 0, 4), (402, 10, 33)), encoding="utf-8")
    found = []
    for log in ("plain.swf", "more.swf"):
        which = scenario(CPU, {"jobs": {"trace": {"file": str(tmp_path / log)}}}, scheduler={"policy": "easy"})
        found.append(hpcsim.simulate(which))
    plain, more = found
    assert plain.states.equals(more.states)
    assert plain.power.equals(more.power)
    assert plain.jobs.equals(more.jobs)
    assert "quality" not in plain.tables
    assert more.quality["rows"].sum() == 2
    assert set(more.quality["action"]) == {"dropped"}
    # 8 of 32 run from 0; 32 wait for them until 600; 4 fit beside and end in time; 16 follow
    assert plain.jobs["start_s"].tolist() == [0.0, 600.0, 20.0, 400.0]


def test_the_estimate_of_batch_jobs_is_a_bound() -> None:
    """No policy ends the jobs before their work is done at full use of the machine (I14)."""
    for policy in ("fcfs", "sjf", "easy", "easy-sjbf"):
        which = BUSY["batch jobs"].vary({"scheduler.policy": policy})
        bound, run = hpcsim.estimate(which), hpcsim.simulate(which)
        assert bound.summary["makespan_s"] <= run.summary["makespan_s"] * (1 + 1e-12)
        work = float(np.dot(run.jobs["processors"], run.jobs["run_s"]))
        assert bound.summary["makespan_s"] >= work / 32 * (1 - 1e-12)
        used = run.energy.set_index("component")["energy_j"]["compute"]
        assert bound.energy.set_index("component")["energy_j"]["compute"] == pytest.approx(used, rel=1e-9)


def test_the_seed_is_the_only_chance() -> None:
    """The same seed gives the same tables, another seed other jobs and other failures."""
    for name in ("batch jobs", "failures"):
        first, again, other = (hpcsim.simulate(BUSY[name], seed=seed) for seed in (7, 7, 8))
        for table in first.tables:
            assert first.tables[table].equals(again.tables[table]), (name, table)
        assert not first.jobs["end_s"].equals(other.jobs["end_s"])
        assert first.provenance["seed"] == 7
    assert math.isfinite(first.summary["cost_usd"])


def test_a_task_and_a_run_meet_in_the_tier_and_say_so() -> None:
    """The run reads its checkpoint back while the task fetches its data: the tier's reading is shared, and both are later than alone."""
    cluster = {
        "nodes": {"cpu": CPU["nodes"]["cpu"], "gpu": {"type": "dgx-a100-80gb", "count": 1}},
        "fabric": CPU["fabric"],
        "storage": {"lake": {"type": "object", "capacity": "1 PB", "read": "1 GB/s", "write": "50 GB/s"}},
    }
    run = {**RUN, "tokens": "100 M", "nodes": "gpu", "checkpoint": {"every": "1 s", "to": "lake"}, "restart": "1 s"}
    task = {"data": "400 GB", "work": "1 TFLOP", "from_storage": "lake", "nodes": ["cpu"]}
    failing = {"failures": {"node": {"mtbf": "3 min", "repair": "0 s"}}}
    both = hpcsim.simulate(scenario(cluster, {"training": {"run": run}, "tasks": {"task": task}}, **failing))
    alone = hpcsim.simulate(scenario(cluster, {"tasks": {"task": task}}))
    rows = both.tables["contention"].set_index(["name", "activity"])
    assert set(rows.index) == {("run", "recovery"), ("task", "dispatch")}
    assert (rows["took_s"] > rows["undisturbed_s"]).all()
    assert rows["lost_s"].sum() == pytest.approx(both.summary["contention_s"])
    later = both.jobs.set_index("name")["end_s"]["task"] - alone.jobs["end_s"].iloc[0]
    assert later == pytest.approx(rows["lost_s"]["task"].iloc[0], rel=1e-6)
    assert any(note.startswith("Contention: the dispatch of task took") for note in both.notes)
    carried = both.tables["links"].set_index("link")["carried_bytes"]
    into = {name: carried[name] for name in carried.index if name.split(" → ")[1].startswith(("cpu", "gpu"))}
    out = {name: carried[name] for name in carried.index if name.startswith(("cpu", "gpu"))}
    read, written = carried["storage/lake/servers → storage/lake"], carried["storage/lake → storage/lake/servers"]
    assert sum(into.values()) + written == pytest.approx(sum(out.values()) + read)
    assert read > 400e9


def test_two_products_at_once_have_nodes_of_their_own() -> None:
    product = {"rows": 8000, "inner": 8000, "columns": 8000, "ranks": 2}
    result = hpcsim.simulate(scenario(CPU, {"matrix_products": {"a": product, "b": product}}))
    rows = result.tables["tasks"]
    nodes = {name: set(rows[(rows["name"] == name) & (rows["stage"] == "run")]["node"]) for name in ("a", "b")}
    assert nodes == {"a": {"cpu/0", "cpu/1"}, "b": {"cpu/2", "cpu/3"}}
    assert "contention" not in result.tables
    assert result.jobs["end_s"].nunique() == 1


def test_runs_use_the_links_of_the_nodes_that_the_placement_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A placement from the end of the machine puts both runs under the last leaf switch, and one odd one across the middle."""

    def from_the_end(demand: Any, capacity: Any, free: Any, /) -> Any:
        nodes = np.flatnonzero(capacity)[-demand.chunks :].tolist()
        return nodes, [1] * len(nodes)

    monkeypatch.setattr(FirstFit, "choose", staticmethod(from_the_end))
    cluster = {**CLUSTER, "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 8}}}
    cluster["fabric"] = {"topology": "fat-tree", "link": "hdr", "per_node": 1, "down": [4, 2], "up": [1, 1]}
    run = {**RUN, "tokens": "100 M", "count": 3, "nodes": "gpu"}
    jobs = {"synthetic": {"jobs": 1, "duration": "1 h", "max_processors": 1}, "nodes": "gpu"}
    work = {"training": {"a": run, "b": run}, "jobs": jobs}
    result = hpcsim.simulate(scenario(cluster, work, scheduler={"policy": "easy", "placement": "first-fit"}))
    used = {name.split(" → ")[0] for name in result.tables["links"]["link"] if name.startswith("gpu/")}
    assert used == {f"gpu/{i}" for i in range(2, 8)}
    levels = set(result.tables["links"]["kind"])
    assert levels == {"level-1", "level-2"}
