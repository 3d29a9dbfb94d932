"""Data pipelines on the clock: hand arithmetic, shares by max-min, backups that repeat, energy and money, security."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.cost.laws import transfer
from hpcsim.cost.storage import AES_BYTES_PER_S, TEXT_CODEC, compressed_rate
from hpcsim.results.quantities import brief

TIERS = {
    "lake": {"type": "object", "read": "10 GB/s", "write": "10 GB/s"},
    "fast": {"type": "nvme", "read": "100 GB/s", "write": "100 GB/s"},
    "slow": {"type": "nvme", "read": "100 GB/s", "write": "4 GB/s"},
}
POWER = {"idle_power": "100 W", "max_power": "300 W"}


def scenario(pipelines: dict[str, Any], *, cluster: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    nodes = {name: {"count": 4, "cores": 10, **POWER} for name in ("a", "b", "c")}
    machine = {"nodes": nodes, "storage": TIERS, **(cluster or {})}
    return {"schema": 1, "name": "t", "question": "?", "cluster": machine, "workload": {"pipelines": pipelines}, **rest}


def one(group: str, data: str, **stage: Any) -> dict[str, Any]:
    return {"data": data, "nodes": group, "stages": {"x": {"from": "lake", **stage}}}


def ends(pipelines: dict[str, Any], **rest: Any) -> dict[str, float]:
    table = hpcsim.simulate(scenario(pipelines, **rest)).stages
    return dict(zip(table["name"], table["end_s"]))


def test_a_stage_takes_d_over_v() -> None:
    """Each alone, by hand: 100 GB at the tier's 10 GB/s; at 4 nodes · 10 cores · 50 MB/s; and written at 4 GB/s."""
    assert ends({"p": one("a", "100 GB")}) == {"p": pytest.approx(10.0)}
    assert ends({"p": one("a", "100 GB", rate="50 MB/s")}) == {"p": pytest.approx(50.0)}
    assert ends({"p": one("a", "100 GB", cores=5, rate="50 MB/s")}) == {"p": pytest.approx(100.0)}
    assert ends({"p": one("a", "100 GB", to="slow", ratio=0.6)}) == {"p": pytest.approx(15.0)}
    assert ends({"p": one("a", "100 GB", node_rate="1 GB/s")}) == {"p": pytest.approx(25.0)}


@pytest.mark.parametrize(
    ("part", "stage"),
    [("encryption", {"kind": "encrypt", "method": "aes-256-gcm"}), ("governance", {"kind": "anonymise", "rate": "20 MB/s"})],
)
def test_stages_are_the_law_of_encryption_and_governance(part: str, stage: dict[str, Any]) -> None:
    """d/v with d the data of a node and v its ten cores; n·d/v node-time."""
    pipe = {"data": "4 TB", "nodes": "a", "stages": {"in": {"kind": "collect", "arrives": "1 EB/s"}, "work": stage}}
    row = hpcsim.simulate(scenario({"p": pipe})).stages.iloc[1]
    core = 20e6 if "rate" in stage else AES_BYTES_PER_S
    law = transfer(1e12, 10 * core, n=4, part=part)
    assert row["alone_s"] == pytest.approx(float(law.wall_clock_s), rel=1e-12)
    assert row["node_time_s"] == pytest.approx(float(law.node_time_s), rel=1e-12)


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_a_compressed_line_is_as_fast_as_the_formula_says(cores: int) -> None:
    """min(n·C, ratio·B, n·D) over a line of 10 Gbit/s: one core of zstd hurts, eight carry twice the line."""
    cluster = {
        "nodes": {"here": {"count": 1, "cores": cores, "location": "x"}, "there": {"count": 1, "cores": cores, "location": "y"}},
        "fabric": {
            "link": "100 Gbit/s",
            "latency": "2 us",
            "wan": {"line": {"between": ["x", "y"], "link": "10 Gbit/s", "latency": "10 ms"}},
        },
        "storage": {},
    }
    stages = {
        "in": {"kind": "collect", "arrives": "1 PB/s", "nodes": "here"},
        "zip": {"kind": "compress", "method": "zstd-1", "nodes": "here"},
        "unzip": {"kind": "decompress", "method": "zstd-1", "nodes": "there"},
    }
    found = hpcsim.simulate(scenario({"p": {"data": "10 TB", "stages": stages, "chunk": "1 MB"}}, cluster=cluster))
    rate = float(compressed_rate(cores, TEXT_CODEC, link_bytes_per_s=1.25e9))
    assert found.summary["makespan_s"] == pytest.approx(10e12 / rate, rel=1e-4)


@pytest.mark.parametrize(
    ("pipelines", "expected"),
    [
        ({"p": one("a", "100 GB"), "q": one("b", "100 GB")}, {"p": 20, "q": 20}),  # halves
        ({"p": one("a", "20 GB", rate="50 MB/s"), "q": one("b", "160 GB")}, {"p": 10, "q": 18}),  # p asks for 2 of 10: q gets 8
        ({"p": one("a", "40 GB", to="slow"), "q": one("b", "120 GB")}, {"p": 10, "q": 16}),  # p is held to 4 by what it writes: q gets 6
        # both write slow, 2 each; q writes a quarter of what it reads and so would read 8, which with p's 2 is just what lake has
        ({"p": one("a", "40 GB", to="slow"), "q": one("b", "60 GB", to="slow", ratio=0.25)}, {"p": 13.75, "q": 7.5}),
        # a third each; then halves
        ({"p": one("a", "10 GB"), "q": one("b", "20 GB"), "r": one("c", "20 GB")}, {"p": 3, "q": 5, "r": 5}),
    ],
)  # fmt: skip
def test_pipelines_share_a_tier_max_min(pipelines: dict[str, Any], expected: dict[str, float]) -> None:
    found = ends(pipelines)
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}


def test_a_shuffle_goes_through_the_ports() -> None:
    """7/8 of 8 TB leave 8 nodes of 12.5 GB/s each: 70 s; half the nodes take 6/4 · 70… of 8 TB: 3/4 over 4 ports."""
    fabric = {"fabric": {"topology": "single-switch", "link": "100 Gbit/s", "latency": "1 us"}, "nodes": {"n": {"count": 8, "cores": 1}}}
    for count, seconds in ((8, 7 / 8 * 8e12 / (8 * 12.5e9)), (4, 3 / 4 * 8e12 / (4 * 12.5e9)), (1, 0.0)):
        pipe = {"data": "8 TB", "count": count, "stages": {"in": {"kind": "collect", "arrives": "1 PB/s"}, "mix": "shuffle"}}
        found = hpcsim.simulate(scenario({"p": pipe}, cluster=fabric)).stages
        assert found["alone_s"].iloc[1] == pytest.approx(seconds)
        assert found["bound_by"].iloc[1] == ("network" if seconds else "nothing")


def test_a_shuffle_that_spills_writes_and_reads_all_of_it() -> None:
    """2 · 8 TB over the disks of n nodes at 1 GB/s each: 16,000 s / n, one node included; half the time on twice the nodes."""
    fabric = {"fabric": {"topology": "single-switch", "link": "100 Gbit/s", "latency": "1 us"}, "nodes": {"n": {"count": 2, "cores": 1}}}
    for count in (1, 2):
        stages = {"in": {"kind": "collect", "arrives": "1 PB/s"}, "mix": {"kind": "shuffle", "spill": "1 GB/s"}}
        row = hpcsim.estimate(scenario({"p": {"data": "8 TB", "count": count, "stages": stages}}, cluster=fabric)).stages.iloc[1]
        assert (row["bound_by"], row["alone_s"]) == ("disk", pytest.approx(16_000 / count))


def test_cables_side_by_side_are_told_apart() -> None:
    """Two leaves of four nodes and two cables up from each: a quarter of 8 TB goes from one leaf to the other, evenly or as a hash has it."""
    nodes = {"n": {"count": 8, "cores": 1}}
    pipe = {"data": "8 TB", "stages": {"in": {"kind": "collect", "arrives": "1 PB/s"}, "mix": "shuffle"}}
    across = 8e12 * (4 * 4) / 64  # of the 64 pairs with oneself, 16 lead from one leaf to the other
    for routing, most in (("spray", 1.0), ("ecmp", 2.5)):
        fabric = {
            "topology": "fat-tree",
            "link": "100 Gbit/s",
            "latency": "1 us",
            "down": [4, 2],
            "up": [1, 1],
            "parallel": [1, 2],
            "routing": routing,
        }
        found = hpcsim.estimate(scenario({"p": pipe}, cluster={"fabric": fabric, "nodes": nodes})).stages
        least = across / (2 * 12.5e9)
        assert least * (1 - 1e-9) <= found["alone_s"].iloc[1] <= most * least * (1 + 1e-9)


def test_staged_and_streaming() -> None:
    stages = {
        "in": {"kind": "load", "from": "lake"},  # 100 s
        "work": {"kind": "clean", "rate": "50 MB/s", "ratio": 0.4},  # 500 s
        "out": {"kind": "archive", "to": "slow"},  # 100 s
    }
    staged = hpcsim.simulate(scenario({"p": {"data": "1 TB", "nodes": "a", "mode": "staged", "stages": stages}}))
    assert staged.stages["end_s"].tolist() == pytest.approx([100, 600, 700])
    streamed = hpcsim.simulate(scenario({"p": {"data": "1 TB", "nodes": "a", "chunk": "10 GB", "stages": stages}}))
    assert streamed.summary["makespan_s"] == pytest.approx(500 + 200 / 100)
    assert streamed.stages["start_s"].tolist() == pytest.approx([0, 1, 6])
    assert streamed.stages["end_s"].tolist() == pytest.approx([502 - 6, 502 - 1, 502])
    both = {"p": {"data": "1 TB", "nodes": "a", "stages": {**stages, "more": {"kind": "clean", "rate": "100 MB/s"}}}}
    assert hpcsim.estimate(scenario(both)).summary["makespan_s"] == pytest.approx(500 + 0.4 * 250, rel=1e-2)  # they share the cores


def test_a_backup_competes_with_work_and_may_come_late() -> None:
    """100 s of work on the tier; a backup every 30 s that takes 10 alone. Both read half while both are there."""
    backup = {
        "data": "100 GB",
        "nodes": "b",
        "every": "30 s",
        "times": 3,
        "stages": {"copy": {"kind": "backup", "from": "lake", "to": "fast"}},
    }
    found = hpcsim.simulate(scenario({"work": one("a", "1 TB"), "nightly": backup}))
    table = found.stages
    nightly = table[table["name"] == "nightly"]
    assert nightly["start_s"].tolist() == [0, 30, 60]
    assert nightly["end_s"].tolist() == pytest.approx([20, 50, 80])
    assert table[table["name"] == "work"]["end_s"].tolist() == pytest.approx([130])
    assert found.summary["recovery_point_s"] == pytest.approx(50)  # begin of one to end of the next
    assert found.summary["recovery_time_s"] == pytest.approx(10, rel=1e-3)  # 100 GB back onto lake, which writes 10 GB/s
    alone = hpcsim.estimate(scenario({"nightly": backup}))
    assert alone.summary["recovery_point_s"] == pytest.approx(40)
    assert found.contention["lost_s"].sum() == pytest.approx(60)


def test_a_pipeline_and_training_checkpoints_share_a_tier() -> None:
    """What the pipeline reads of a tier is missing to the one that writes there only where one link serves both; reads and writes are apart."""
    run = {
        "model": "bert-large",
        "steps": 200,
        "global_batch": 256,
        "sequence": 128,
        "nodes": "g",
        "checkpoint": {"every": "5 s", "to": "slow"},
    }
    cluster = {
        "nodes": {"g": {"type": "dgx-a100-80gb", "count": 1}, "a": {"count": 4, "cores": 10, **POWER}},
        "fabric": {"link": "hdr", "topology": "single-switch"},
    }
    pipe = {"data": "400 GB", "nodes": "a", "stages": {"x": {"from": "lake", "to": "slow"}}}
    raw = scenario({"p": pipe}, cluster=cluster)
    raw["workload"]["training"] = {"run": run}
    found = hpcsim.simulate(raw)
    assert {(a, b) for a, b in zip(found.contention["name"], found.contention["slowed_by"])} == {("run", "p"), ("p", "run")}
    assert "slow" in found.contention["link"].iloc[0]
    alone = hpcsim.simulate(scenario({"p": pipe}, cluster=cluster))
    assert found.stages["end_s"].iloc[0] > alone.stages["end_s"].iloc[0]


def test_energy_and_money_add_up() -> None:
    cluster = {
        "storage": {
            **TIERS,
            "lake": {**TIERS["lake"], "power": "2 kW"},
            "fast": {**TIERS["fast"], "rent": "0.02 USD/GB/month", "copies": 3},
        },
        "prices": {"a": {"hourly": "3.6 USD/h", "billing": "used"}},
        "nodes": {"a": {"count": 4, "cores": 10, **POWER}},
    }
    stages = {
        "in": {"from": "lake"},
        "work": {"kind": "clean", "rate": "50 MB/s"},
        "keep": {"kind": "archive", "to": "fast", "keep": "60 days"},
    }
    found = hpcsim.simulate(scenario({"p": {"data": "1 TB", "nodes": "a", "stages": stages}}, cluster=cluster))
    table, energy = found.stages, found.energy.set_index("component")["energy_j"]
    assert table["node_time_s"].tolist() == pytest.approx([0, 1e12 / 50e6 / 10, 0])  # d/v, v a node's ten cores
    assert table["energy_j"].sum() == pytest.approx(2000 * 200)
    assert energy["compute"] == pytest.approx(2000 * 200)
    assert energy["storage"] == pytest.approx(2000 * found.summary["makespan_s"])
    rent = 1000 * 3 * 0.02 * 60 * 86400 / 2_629_746
    cost = found.costs.set_index("item")["usd"]
    assert cost["data kept"] == pytest.approx(rent)
    assert cost["devices in use"] == pytest.approx(4 * found.summary["makespan_s"] * 0.001)
    assert table["cost_usd"].sum() == pytest.approx(found.summary["cost_usd"]) == pytest.approx(cost.sum())
    assert found.summary["kept_bytes"] == pytest.approx(3e12)


def test_without_power_no_energy_is_claimed() -> None:
    found = hpcsim.simulate(scenario({"p": one("a", "1 GB", rate="1 GB/s")}, cluster={"nodes": {"a": {"count": 1, "cores": 1}}}))
    assert found.stages["energy_j"].isna().all()
    assert found.stages["node_time_s"].tolist() == [1.0]


def test_requests_are_paid_where_the_catalog_prices_them() -> None:
    """A million objects read and 4,000 written on S3 by eight streams of 100 ms: 12,550 s of waiting, and the catalog's prices."""
    from hpcsim.catalog.lookup import default

    s3 = default().storage("s3-standard")
    cluster = {
        "nodes": {"a": {"count": 2, "cores": 4, **POWER}},
        "storage": {"s3": {"type": "s3-standard", "read": "10 GB/s", "write": "10 GB/s"}},
        "prices": {"a": "1 USD/h"},
    }
    stages = {"in": {"from": "s3"}, "cut": {"kind": "shard", "shard": "250 MB", "to": "s3"}}
    found = hpcsim.simulate(scenario({"p": {"data": "1 TB", "objects": 10**6, "stages": stages, "mode": "staged"}}, cluster=cluster))
    assert found.stages["alone_s"].tolist() == pytest.approx([1e6 * 0.1 / 8 + 0.1, 100 + 0.1])
    assert found.stages["bound_by"].tolist() == ["answers", "write"]
    costs = found.costs.set_index("item")
    assert costs.loc["requests", "quantity"] == pytest.approx(1e6 + 4000)
    assert costs.loc["requests", "usd"] == pytest.approx(1e6 * s3.need("read_price_usd") + 4000 * s3.need("write_price_usd"))
    assert found.stages["cost_usd"].sum() + costs.loc["devices idle", "usd"] == pytest.approx(found.summary["cost_usd"])


def test_what_security_takes() -> None:
    """200 s of cleaning; anonymising takes 100 s of the same processors more, and the log is kept."""
    stages = {
        "in": {"from": "lake"},
        "clean": {"kind": "clean", "rate": "125 MB/s"},
        "hide": {"kind": "anonymise", "rate": "250 MB/s"},
        "log": {"kind": "audit", "log": "100 B", "to": "fast", "keep": "365 days"},
    }
    cluster = {
        "prices": {"a": {"hourly": "3.6 USD/h", "billing": "used"}},
        "storage": {**TIERS, "fast": {**TIERS["fast"], "rent": "1 USD/GB/month"}},
    }
    found = hpcsim.simulate(
        scenario({"p": {"data": "1 TB", "records": 10**9, "nodes": "a", "stages": stages, "chunk": "1 MB"}}, cluster=cluster)
    )
    assert found.summary["makespan_s"] == pytest.approx(300, rel=1e-4)
    assert found.summary["security_time_s"] == pytest.approx(100, rel=1e-3)
    assert found.summary["security_node_time_s"] == pytest.approx(400, rel=1e-9)
    log = 100 * 365 * 86400 / 2_629_746
    assert found.summary["security_cost_usd"] == pytest.approx(0.4 + log, rel=1e-3)
    rent, rest = brief("cost_usd", log), brief("cost_usd", found.summary["cost_usd"] - log)
    assert f"({rest} for processing, {rent} for keeping data: what log wrote to fast, for 365 days)" in found.answer
    assert f"({rent} of it rent of the logs)" in found.answer


def test_the_gap_between_two_runs_is_not_work() -> None:
    stages = {"in": {"from": "lake"}, "out": {"kind": "archive", "to": "fast"}}
    found = hpcsim.simulate(scenario({"p": {"data": "1 TB", "nodes": "a", "stages": stages, "every": "24 h", "times": 3}}))
    assert found.answer.startswith("3 runs of p are done after 2.001 days, ")
    assert ", 2 days of it from the first to the last of 3 runs of p" in found.answer
    assert "P takes 100 s a run, bound by" in found.answer


def test_twice_as_much_of_what_binds() -> None:
    """100 s of reading and 80 s of work at once: with twice the tier the processors bind, and 20 % are saved."""
    stages = {"in": {"from": "lake"}, "work": {"kind": "clean", "rate": "312.5 MB/s"}}
    found = hpcsim.simulate(scenario({"p": {"data": "1 TB", "nodes": "a", "stages": stages, "chunk": "1 MB"}}))
    assert any("twice as much of it saves 20 %, and the processors of a would bind then" in note for note in found.notes)
    assert found.summary["pipeline_time_s"] == pytest.approx(100, rel=1e-4)


def test_the_line_between_two_sites_bounds_what_crosses_it() -> None:
    cluster = {
        "nodes": {"here": {"count": 2, "cores": 8, "location": "x"}, "there": {"count": 2, "cores": 8, "location": "y"}},
        "fabric": {
            "link": "100 Gbit/s",
            "latency": "2 us",
            "wan": {"line": {"between": ["x", "y"], "link": "10 Gbit/s", "latency": "10 ms"}},
        },
        "storage": {"near": {**TIERS["lake"], "location": "x"}, "far": {**TIERS["lake"], "location": "y"}},
    }

    def end(source: str, group: str) -> float:
        pipe = {"data": "1 TB", "nodes": group, "stages": {"x": {"from": source}}}
        return float(hpcsim.simulate(scenario({"p": pipe}, cluster=cluster)).summary["makespan_s"])

    assert end("near", "here") == end("far", "there") == pytest.approx(100)
    assert end("near", "there") == end("far", "here") == pytest.approx(800)
    handed = {
        "data": "1 TB",
        "stages": {"in": {"from": "near", "nodes": "here"}, "use": {"kind": "load", "nodes": "there"}},
        "chunk": "1 MB",
    }
    result = hpcsim.simulate(scenario({"p": handed}, cluster=cluster))
    assert result.summary["makespan_s"] == pytest.approx(800, rel=1e-3)
    assert result.stages["bound_by"].tolist() == ["read", "network"]


def test_a_horizon_cuts_a_pipeline_off() -> None:
    found = hpcsim.simulate(scenario({"p": one("a", "100 GB")}, simulate={"until": "4 s"}))
    row = found.stages.iloc[0]
    assert (row["start_s"], row["end_s"]) == (0, 4)
    assert row["in_bytes"] == pytest.approx(40e9)
    assert found.summary["jobs_running"] == 1


def test_runs_that_overlap_wait_for_nodes() -> None:
    pipe = {**one("a", "100 GB"), "every": "4 s", "times": 3}
    assert hpcsim.simulate(scenario({"p": pipe})).stages["start_s"].tolist() == pytest.approx([0, 10, 20])
    assert hpcsim.estimate(scenario({"p": pipe})).stages["start_s"].tolist() == pytest.approx([0, 10, 20])
    wide = {**pipe, "count": 2}  # two at once, half the tier each
    table = hpcsim.simulate(scenario({"p": wide})).stages
    assert table["start_s"].tolist() == pytest.approx([0, 4, 16])
    assert np.diff(table["end_s"]).min() > 0


def test_a_horizon_counts_what_is_done() -> None:
    """Archive by 100 s, anonymise by 300, backup by 310: cut at 210 s, 110 s of the hiding are done, the archive is kept, and no backup is complete."""
    stages = {
        "in": {"kind": "archive", "from": "lake", "to": "fast"},
        "hide": {"kind": "anonymise", "rate": "125 MB/s"},
        "copy": {"kind": "backup", "to": "fast"},
    }
    cluster = {
        "prices": {"a": {"hourly": "3.6 USD/h", "billing": "used"}},
        "storage": {**TIERS, "fast": {**TIERS["fast"], "rent": "1 USD/GB/month"}},
    }
    pipe = {"data": "1 TB", "nodes": "a", "mode": "staged", "every": "1000 s", "times": 1, "stages": stages}
    whole = hpcsim.simulate(scenario({"p": pipe}, cluster=cluster)).summary
    assert whole["makespan_s"] == pytest.approx(310)
    assert whole["security_time_s"] == pytest.approx(190)  # without hiding, what it reads takes 10 s all the same
    assert whole["kept_bytes"] == pytest.approx(2e12)
    assert whole["recovery_point_s"] == pytest.approx(1310)
    cut = hpcsim.simulate(scenario({"p": pipe}, cluster=cluster, simulate={"until": "210 s"}))
    assert cut.stages["written_bytes"].tolist() == pytest.approx([1e12, 0])
    assert cut.summary["kept_bytes"] == pytest.approx(1e12)
    assert cut.costs.set_index("item").loc["data kept", "usd"] == pytest.approx(1000 * 110 / 2_629_746)
    assert cut.summary["security_time_s"] == pytest.approx(190 * 110 / 200)
    assert cut.summary["security_cost_usd"] == pytest.approx(104.5 * 4 * 0.001, rel=1e-6)
    assert not {"recovery_point_s", "recovery_time_s"} & set(cut.summary)
    assert any("nothing to restore" in note for note in cut.notes)
    streamed = hpcsim.simulate(scenario({"p": {**pipe, "mode": "streaming", "chunk": "1 MB"}}, simulate={"until": "50 s"})).summary
    assert streamed["security_time_s"] == pytest.approx(25, rel=1e-3)  # a quarter of the 100 s that it adds to 100
