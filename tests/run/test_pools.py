"""Batch jobs over several groups of nodes: who goes where, and what it draws and costs by the figures of its group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.run.bind import bind
from hpcsim.run.jobs import batch_jobs
from hpcsim.run.nodes import fitted, numbers_of

CPU = {"count": 4, "cores": 8, "memory": "64 GB", "idle_power": "100 W", "max_power": "300 W"}
BIG = {**CPU, "count": 2, "memory": "1 TB"}
GPU = {
    "count": 2, "cores": 16, "memory": "128 GB", "per_node": 4, "idle_power": "200 W", "max_power": "600 W",
    "accelerator": {"base": "a100-sxm-80gb", "tdp": "400 W", "idle": "50 W"},
}  # fmt: skip
COLUMNS = {
    "submit": "submit",
    "run": "run",
    "processors": "cores",
    "nodes": "nodes",
    "gpus": "gpus",
    "memory": "mem [GB]",
    "queue": "part",
    "constraint": "feat",
}
Row = tuple[float, float, int, int, int, float, str, str]


def scenario(
    folder: Path, rows: list[Row], jobs: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Rows are (submit, run, cores, nodes or -1, accelerators, GB, partition, constraint)."""
    lines = [",".join("" if value in ("", -1) else str(value) for value in row) for row in rows]
    (folder / "log.csv").write_text("submit,run,cores,nodes,gpus,mem,part,feat\n" + "\n".join(lines) + "\n")
    cluster = {"nodes": {"gpu": GPU, "cpu": CPU, "big": BIG}, **more.pop("cluster", {})}
    log = {"file": str(folder / "log.csv"), "columns": COLUMNS}
    return {
        "schema": 1, "name": "mixed", "question": "Who gets which node?", "cluster": cluster,
        "workload": {"jobs": {"trace": log, "nodes": "all", "unit": "core", **(jobs or {})}, **more.pop("workload", {})},
        "scheduler": scheduler or {"policy": "easy"}, **more,
    }  # fmt: skip


def job(
    submit: float = 0, run: float = 10, cores: int = 8, nodes: int = 1, gpus: int = 0, mem: float = 0, part: str = "", feat: str = ""
) -> Row:
    return submit, run, cores, nodes, gpus, mem, part, feat


def hosts(data: dict[str, Any]) -> list[str]:
    found: list[str] = hpcsim.simulate(data).jobs["hosts"].tolist()
    return found


def test_a_job_takes_the_least_capable_nodes_that_will_do(tmp_path: Path) -> None:
    """Groups are tried cpu, big, gpu, whatever their order in the file: six jobs fill cpu and big, the seventh goes to gpu nodes, and so does one with gpus."""
    rows = [job(), job(gpus=1), job(mem=500), *[job()] * 5]
    assert hosts(scenario(tmp_path, rows)) == ["cpu0", "gpu0", "big0", "cpu1", "cpu2", "cpu3", "big1", "gpu0"]


@pytest.mark.parametrize("placement", ["first-fit", "best-fit", "worst-fit", "pack", "spread", "lowest-switch", "least-fragmentation"])
def test_so_it_is_under_every_placement(tmp_path: Path, placement: str) -> None:
    found = hosts(scenario(tmp_path, [job(cores=1)] * 3 + [job(gpus=2)], scheduler={"policy": "easy", "placement": placement}))
    assert all(host.startswith("cpu") for host in found[:3])
    assert found[3].startswith("gpu")


def test_a_job_keeps_to_one_group_unless_it_may_span(tmp_path: Path) -> None:
    """Five nodes: no group has so many. Four: they wait for the cpu nodes; what may span takes big ones beside those that are free."""
    rows = [job(run=50), job(submit=1, cores=32, nodes=4), job(submit=1, cores=40, nodes=5)]
    kept = hpcsim.simulate(scenario(tmp_path, rows))
    assert kept.jobs["start_s"].tolist() == [0.0, 50.0]
    assert kept.jobs["group"].tolist() == ["cpu", "cpu"]
    quality = kept.tables["quality"]
    assert quality.loc[quality["action"] == "dropped", ["issue", "example"]].values.tolist() == [
        ["more processors than the machine has (32)", "line 4"]
    ]
    free = hpcsim.simulate(scenario(tmp_path, rows, {"span": True}))
    assert free.jobs["hosts"].tolist() == ["cpu0", "cpu[1-3],big0", "cpu[1-3],big[0-1]"]
    assert free.jobs["start_s"].tolist() == [0.0, 1.0, 11.0]
    assert free.jobs["group"].tolist()[1] == "cpu+big"


def test_a_job_that_no_group_holds_is_dropped_and_counted(tmp_path: Path) -> None:
    """500 GB and an accelerator: there is each, on no node both."""
    result = hpcsim.simulate(scenario(tmp_path, [job(), job(gpus=1, mem=500), job(gpus=9, nodes=1)]))
    assert len(result.jobs) == 1
    rows = result.tables["quality"]
    found = rows.loc[rows["action"] == "dropped", ["issue", "rows"]].values.tolist()
    assert found == [["more than any one group of these nodes can give, even when empty", 2]]


def test_partitions_features_and_windows_name_groups(tmp_path: Path) -> None:
    rules = {
        "policy": "easy", "partitions": {"fast": {"nodes": ["gpu/1", "cpu/2-3"]}, "wide": {"nodes": "big"}}, "features": {"new": "cpu/3,big/1"},
        "maintenance": {"m": {"start": "0 s", "duration": "5 s", "nodes": "cpu/0,gpu/0"}},
    }  # fmt: skip
    rows = [job(part="fast"), job(part="fast", gpus=1), job(part="wide"), job(feat="new"), job(feat="new&big"), job(), job(gpus=4)]
    result = hpcsim.simulate(scenario(tmp_path, rows, scheduler=rules))
    assert result.jobs["hosts"].tolist() == ["cpu2", "gpu1", "big0", "cpu3", "big1", "cpu1", "gpu0"]
    assert result.jobs["start_s"].tolist() == [0.0] * 6 + [5.0]


def test_groups_and_accelerators_are_features_by_themselves(tmp_path: Path) -> None:
    """Without any under scheduler.features: a constraint that names nothing else binds, another is reported and binds nobody."""
    rows = [job(feat="big"), job(feat="a100-sxm-80gb"), job(feat="gpu|big"), job(feat="gpu&big"), job(feat="infiniband")]
    result = hpcsim.simulate(scenario(tmp_path, rows))
    assert result.jobs["hosts"].tolist() == ["big0", "gpu0", "big1", "cpu0"]
    issues = dict(result.tables["quality"][["issue", "rows"]].values.tolist())
    assert issues["asks for features that no node has"] == 1
    assert issues["asks for features of nodes, to which it is not held without scheduler.features"] == 1


PRICES = {"prices": {"gpu": "3 USD/h", "cpu": "1 USD/h", "big": "2 USD/h"}}


def test_groups_that_jobs_may_not_run_on_have_a_row_too(tmp_path: Path) -> None:
    """Their idle power and money are in the totals: the rows add up to them."""
    rows = [job(run=100), job(run=50, cores=4)]
    result = hpcsim.simulate(scenario(tmp_path, rows, {"nodes": ["cpu", "big"]}, cluster=PRICES))
    groups = result.tables["groups"].set_index("group")
    assert sorted(groups.index) == ["big", "cpu", "gpu"]
    assert (groups["processors"]["gpu"], groups["jobs"]["gpu"], groups["compute_energy_j"]["gpu"]) == (0, 0, 0.0)
    assert np.isnan(groups["utilisation_frac"]["gpu"])
    energy = result.tables["energy"].set_index("component")["energy_j"]
    assert groups["idle_energy_j"].sum() == pytest.approx(energy["idle"])
    assert groups["cost_usd"].sum() == pytest.approx(result.summary["cost_usd"])


def test_every_group_draws_and_costs_by_its_own_figures(tmp_path: Path) -> None:
    """By hand, over 100 s: cores draw 200/8 W on cpu nodes. Of a gpu job: two devices of 350 W, and eight of sixteen cores of the host's span of 400 W, loaded in part."""
    from hpcsim.workload.training import HOST_LOAD_FRAC

    rows = [job(run=100), job(run=100, cores=4), job(run=100, gpus=2), job(run=100, feat="gpu")]
    result = hpcsim.simulate(scenario(tmp_path, rows, cluster=PRICES))
    groups = result.tables["groups"].set_index("group")
    assert groups["compute_energy_j"].to_dict() == pytest.approx(
        {"gpu": 100 * (2 * 350 + 8 / 16 * 400 * HOST_LOAD_FRAC) + 100 * 8 / 16 * 400, "cpu": 100 * 12 * 25, "big": 0.0}
    )
    assert groups["idle_energy_j"].to_dict() == pytest.approx({"gpu": 2 * 400 * 100, "cpu": 4 * 100 * 100, "big": 2 * 100 * 100})
    assert groups["utilisation_frac"].to_dict() == pytest.approx({"gpu": 0.5, "cpu": 12 / 32, "big": 0.0})
    assert groups["device_utilisation_frac"]["gpu"] == pytest.approx(2 / 8)
    assert groups["cost_usd"].to_dict() == pytest.approx({"gpu": 8 * 3 / 36, "cpu": 4 / 36, "big": 4 / 36})
    assert result.jobs["cost_usd"].tolist() == pytest.approx([1 / 36, 0.5 / 36, 2 * 3 / 36, 0.0])
    assert result.jobs["device_s"].tolist() == pytest.approx([100.0, 50.0, 200.0, 0.0])
    assert result.summary["utilisation_frac"] == pytest.approx(28 / 80)


POLICIES = ["fcfs", "easy", "conservative", "las", "srpt"]


@pytest.mark.parametrize("span", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_groups_add_up_to_the_whole(tmp_path: Path, policy: str, span: bool) -> None:
    """Energy, money, states and jobs, under policies that stop jobs and let them go on in another group too."""
    rng = np.random.default_rng(7)
    rows = [
        job(float(t), float(rng.integers(5, 90)), int(n * rng.integers(1, 9)), int(n), int(rng.integers(0, 3) * (n < 3)), float(rng.choice([0, 0, 200])))
        for t, n in zip(np.sort(rng.integers(0, 300, 60)), rng.integers(1, 5, 60), strict=True)
    ]  # fmt: skip
    options = {"las": {"mode": "suspend", "threshold_s": 100.0}, "srpt": {"mode": "requeue"}}.get(policy, {})
    data = scenario(tmp_path, rows, {"span": span}, {"policy": policy, "options": options}, cluster={**PRICES})
    result = hpcsim.simulate(data)
    groups, energy = result.tables["groups"], result.tables["energy"].set_index("component")["energy_j"]
    assert groups["compute_energy_j"].sum() == pytest.approx(energy["compute"])
    assert groups["idle_energy_j"].sum() == pytest.approx(energy["idle"])
    assert groups["cost_usd"].sum() == pytest.approx(result.summary["cost_usd"])
    assert groups["jobs"].sum() == len(result.jobs) == result.summary["jobs_finished"]
    in_all = (groups["utilisation_frac"] * groups["processors"]).sum() / groups["processors"].sum()
    assert in_all == pytest.approx(result.summary["utilisation_frac"])
    states = result.tables["states"]
    have = dict(zip(groups["group"], groups["processors"], strict=True))
    assert (states["busy"] + states["idle"] + states["down"] == states["group"].astype(str).map(have)).all()
    assert (states["idle"] >= 0).all()
    bills = result.tables["costs"]
    assert (bills["usd"] >= 0).all()
    used = bills.loc[bills["item"] == "devices in use", "usd"].sum()
    assert result.jobs["cost_usd"].sum() == pytest.approx(used)


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative"])
@pytest.mark.parametrize("of", ["cpu", "gpu"])
def test_two_groups_alike_are_one(tmp_path: Path, policy: str, of: str) -> None:
    """The same nodes as one group and as two: the same starts, energy and money, for jobs of one node each."""
    rng = np.random.default_rng(3)
    rows = [
        job(float(t), float(rng.integers(5, 60)), int(rng.integers(1, 9)), 1, int(rng.integers(1, 5)) if of == "gpu" else 0)
        for t in np.sort(rng.integers(0, 200, 80))
    ]
    node = CPU if of == "cpu" else GPU
    unit = {"unit": "core" if of == "cpu" else "accelerator"}
    one = scenario(
        tmp_path,
        rows,
        {**unit, "nodes": "n"},
        {"policy": policy, "placement": "first-fit"},
        cluster={"nodes": {"n": {**node, "count": 5}}, "prices": {"n": "1 USD/h"}},
    )
    halves = {"a": {**node, "count": 2}, "b": {**node, "count": 3}}
    two = scenario(
        tmp_path,
        rows,
        {**unit, "nodes": ["b", "a"]},
        {"policy": policy, "placement": "first-fit"},
        cluster={"nodes": halves, "prices": {"a": "1 USD/h", "b": "1 USD/h"}},
    )
    a, b = hpcsim.simulate(one), hpcsim.simulate(two)
    for column in ("start_s", "end_s", "nodes", "processors", "device_s", "cost_usd"):
        assert a.jobs[column].tolist() == pytest.approx(b.jobs[column].tolist(), rel=1e-12)
    for key in set(a.summary) - {"cpu_s", "wall_s"}:
        assert a.summary[key] == pytest.approx(b.summary[key], rel=1e-12), key
    assert hpcsim.estimate(one).summary["it_energy_j"] == pytest.approx(hpcsim.estimate(two).summary["it_energy_j"], rel=1e-12)


def test_one_group_in_a_list_is_that_group(tmp_path: Path) -> None:
    rows = [job(nodes=-1, cores=12), job(submit=1, cores=20, nodes=-1)]
    a, b = (hpcsim.simulate(scenario(tmp_path, rows, {"nodes": nodes})) for nodes in ("cpu", ["cpu"]))
    assert a.jobs.equals(b.jobs)
    assert "groups" not in b.tables


def test_nodes_have_their_numbers_in_the_cluster(tmp_path: Path) -> None:
    """Spares and groups that are not the jobs' count, so that what jobs send goes over the links of the nodes that they are on."""
    nodes = {"gpu": {**GPU, "spares": 1}, "other": CPU, "cpu": CPU, "big": BIG}
    data = scenario(tmp_path, [job()], {"nodes": ["big", "gpu"]}, cluster={"nodes": nodes})
    bound = bind(data)
    assert bound.jobs is not None
    assert bound.jobs.names == ("gpu", "big")
    assert numbers_of(bound.cluster, bound.jobs.groups).tolist() == [0, 1, 11, 12]


def test_what_jobs_send_meets_the_links_of_their_nodes(tmp_path: Path) -> None:
    """Two halo jobs of two nodes, on the cpu nodes and, since they ask for accelerators, on the gpu nodes: each loads the cables of its own nodes."""
    fabric = {"fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 1, "down": [2, 4], "up": [1, 1]}}
    talk = {"communication": {"all": {"pattern": "ring", "time": "50 %"}}}
    rows = [job(run=100, cores=16, nodes=2), job(run=100, cores=16, nodes=2, gpus=2)]
    result = hpcsim.simulate(scenario(tmp_path, rows, talk, cluster=fabric))
    assert result.jobs["hosts"].tolist() == ["cpu[0-1]", "gpu[0-1]"]
    links = result.tables["links"]
    ends = {
        end.partition("/")[0] + "/" + end.split("/")[1]
        for name in links["link"]
        for end in str(name).split(" → ")
        if end.startswith(("cpu/", "gpu/", "big/"))
    }
    assert ends == {"cpu/0", "cpu/1", "gpu/0", "gpu/1"}


def test_the_placement_sees_the_switches_of_all_groups(tmp_path: Path) -> None:
    """Eight nodes under four leaves, gpu first: cpu nodes 2 and 3 of the cluster are under the second leaf."""
    fabric = {"fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 1, "down": [2, 4], "up": [1, 1]}}
    bound = bind(scenario(tmp_path, [job()], scheduler={"policy": "easy", "placement": "lowest-switch"}, cluster=fabric))
    assert bound.jobs is not None
    found = fitted(bound.jobs, bound.scenario.scheduler, batch_jobs(bound.jobs, bound.scenario).jobs, cluster=bound.cluster)
    assert found.machine.switch.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert found.machine.ladder == (1, 2, 0)


def test_a_training_run_and_jobs_share_the_groups(tmp_path: Path) -> None:
    """The run has both gpu nodes to itself from the start; a job for one of them waits for its end."""
    run = {
        "model": "llama3-8b",
        "nodes": "gpu",
        "steps": 20,
        "global_batch": 8,
        "sequence": 2048,
        "layout": {"tp": 4, "pp": 2, "recompute": "full"},
    }
    rows, fabric = [job(submit=1), job(submit=1, gpus=1)], {"fabric": {"link": "hdr"}}
    result = hpcsim.simulate(scenario(tmp_path, rows, workload={"training": {"t": run}}, cluster=fabric))
    jobs = result.jobs.set_index("job_id")
    assert jobs["hosts"].tolist()[:2] == ["cpu0", "gpu0"]
    assert jobs["start_s"].tolist()[:2] == pytest.approx([1.0, jobs["end_s"].tolist()[2]])
    states = result.tables["states"]
    assert (states["idle"] >= 0).all()


def test_nodes_fail_and_sleep_in_every_group(tmp_path: Path) -> None:
    rows = [job(submit=60.0 * i, run=5000, cores=8, gpus=int(i % 3 == 0)) for i in range(40)]
    failing = {"failures": {"node": {"mtbf": "4 h", "repair": "30 min"}}, "simulate": {"seed": 2}}
    down = hpcsim.simulate(scenario(tmp_path, rows, **failing)).tables["states"]
    assert set(down.loc[down["down"] > 0, "group"].astype(str)) == {"gpu", "cpu", "big"}
    assert (down["idle"] >= 0).all()
    sleepy = {"policy": "easy", "switch_off": {"after": "5 min", "boot": "2 min", "shutdown": "1 min", "off_power": "10 W"}}
    slept = hpcsim.simulate(scenario(tmp_path, [job(submit=1000.0 * i) for i in range(5)], scheduler=sleepy))
    seen = slept.tables["node_power"]
    last = seen.groupby(seen["group"].astype(str))["node"].max().to_dict()
    assert last == {"gpu": 1, "cpu": 3, "big": 1}
    groups, energy = slept.tables["groups"], slept.tables["energy"].set_index("component")["energy_j"]
    assert groups["idle_energy_j"].sum() == pytest.approx(energy["idle"])


def test_an_estimate_counts_each_job_on_the_first_group_that_holds_it(tmp_path: Path) -> None:
    """Work over the pool is a bound; so is the accelerators' work over the accelerators: 2 jobs of 8 for 100 s on 8 take 200 s."""
    rows = [job(run=100), job(run=100, mem=500), job(run=100, gpus=8, cores=16, nodes=2), job(run=100, gpus=8, cores=16, nodes=2)]
    data = scenario(tmp_path, rows)
    result, simulated = hpcsim.estimate(data), hpcsim.simulate(data)
    assert result.summary["makespan_s"] == pytest.approx(200.0) == simulated.summary["makespan_s"]
    a, b = (one.tables["groups"].set_index("group")["compute_energy_j"].to_dict() for one in (result, simulated))
    assert a == pytest.approx(b)


def problems(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in hpcsim.check(data)]


@pytest.mark.parametrize(
    ("jobs", "scheduler", "path", "code"),
    [
        ({"nodes": None}, None, "workload.jobs", "jobs-nodes"),
        ({"nodes": ["cpu", "gup"]}, None, "workload.jobs.nodes", "unknown-node-group"),
        ({"nodes": ["cpu", "big", "cpu"]}, None, "workload.jobs.nodes", "jobs-nodes-twice"),
        ({"nodes": []}, None, "workload.jobs.nodes", "empty-list"),
        ({"nodes": 3}, None, "workload.jobs.nodes", "groups-form"),
        ({"nodes": ["cpu", 3]}, None, "workload.jobs.nodes", "groups-form"),
        ({"unit": "accelerator"}, None, "workload.jobs.unit", "jobs-without-accelerators"),
        ({}, {"power_budget": "1 kW"}, "scheduler.power_budget", "jobs-nodes-differ"),
        ({}, {"node_cap": {"power": "250 W", "compute_bound": 0.5}}, "scheduler.node_cap", "jobs-nodes-differ"),
        ({"elastic": {"law": "amdahl", "serial": 0.1}}, None, "workload.jobs.elastic", "jobs-nodes-differ"),
        ({}, {"partitions": {"p": {"nodes": "0-3"}}}, "scheduler.partitions.p.nodes", "node-numbers-group"),
        ({}, {"features": {"f": "cpu/3-4"}}, "scheduler.features.f", "node-numbers-group"),
        ({}, {"maintenance": {"m": {"start": "0 s", "duration": "1 h", "nodes": "gpus"}}}, "scheduler.maintenance.m.nodes", "node-numbers-group"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_where_it_stands(tmp_path: Path, jobs: dict[str, Any], scheduler: Any, path: str, code: str) -> None:
    found = [
        (place, kind)
        for place, kind in problems(scenario(tmp_path, [job()], jobs, scheduler))
        if place.startswith(("workload", "scheduler"))
    ]
    if (path, code) not in found:
        pytest.fail(f"{found}")
    assert len({place for place, _ in found}) == 1 or code == "jobs-without-accelerators"


def test_memory_is_known_of_all_groups_or_of_none(tmp_path: Path) -> None:
    bare = {key: value for key, value in CPU.items() if key != "memory"}
    nodes = {"gpu": {**GPU}, "cpu": bare, "big": BIG}
    assert problems(scenario(tmp_path, [job()], cluster={"nodes": nodes})) == [("cluster.nodes.cpu", "jobs-memory-unknown")]


def test_a_drawn_job_that_is_larger_than_any_group_is_refused(tmp_path: Path) -> None:
    data = scenario(tmp_path, [job()])
    drawn = {"nodes": "all", "unit": "core", "synthetic": {"jobs": 50, "duration": "1 h", "max_processors": 40}}
    data["workload"] = {"jobs": drawn}
    assert problems(data) == [("workload.jobs.synthetic.max_processors", "synthetic-too-wide")]
    with pytest.raises(InputError, match="the largest group has 32"):
        hpcsim.simulate(data)
    data["workload"] = {"jobs": {**drawn, "span": True}}
    assert not problems(data)
    plain = {**drawn, "synthetic": {"jobs": 50, "duration": "1 h"}}
    data["workload"] = {"jobs": plain}
    assert hpcsim.simulate(data).jobs["processors"].max() <= 20


def test_a_slurm_log_runs_over_all_groups(tmp_path: Path) -> None:
    """As sacct writes it: accelerators among the allocated resources, memory of the job, a partition that is a group, and a group as constraint."""
    rows = [
        "1|2024-01-01T00:00:00|2024-01-01T00:00:00|2024-01-01T01:00:00|02:00:00|8|1|cpu=8,mem=32G,node=1|batch|COMPLETED|32G|",
        "2|2024-01-01T00:00:10|2024-01-01T00:00:10|2024-01-01T01:00:00|02:00:00|4|1|cpu=4,gres/gpu=2,mem=32G,node=1|batch|COMPLETED|32G|",
        "3|2024-01-01T00:00:20|2024-01-01T00:00:20|2024-01-01T01:00:00|02:00:00|8|1|cpu=8,mem=500G,node=1|batch|COMPLETED|500G|",
        "4|2024-01-01T00:00:30|2024-01-01T00:00:30|2024-01-01T01:00:00|02:00:00|8|1|cpu=8,mem=32G,node=1|batch|COMPLETED|32G|gpu",
        "5|2024-01-01T00:00:40|2024-01-01T00:00:40|2024-01-01T01:00:00|02:00:00|8|1|cpu=8,mem=32G,node=1|fat|COMPLETED|32G|",
    ]
    head = "JobID|Submit|Start|End|Timelimit|AllocCPUS|NNodes|AllocTRES|Partition|State|ReqMem|Constraints"
    data = scenario(tmp_path, [job()], scheduler={"policy": "easy", "partitions": {"fat": {"nodes": "big"}}})
    (tmp_path / "sacct.txt").write_text("\n".join([head, *rows]) + "\n")
    data["workload"]["jobs"]["trace"] = {"file": str(tmp_path / "sacct.txt"), "format": "sacct"}
    assert hosts(data) == ["cpu0", "gpu0", "big0", "gpu0", "big1"]
