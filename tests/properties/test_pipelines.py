"""Invariants of data pipelines: bytes, the bounds of streaming, agreement of both views, monotony, and shares against a slow reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.cost.maxmin import Routes
from hpcsim.cost.pipelines import staged_s, streamed_s, through
from hpcsim.engine.paces import Load, Paces

_rate = st.floats(0.05, 50.0)
_kinds = st.sampled_from(["stage", "clean", "deduplicate", "compress", "shard", "audit"])


@st.composite
def pipelines(draw: Any, group: str = "a") -> dict[str, Any]:
    stages: dict[str, Any] = {"in": {"kind": "load", "from": draw(st.sampled_from(["lake", "fast"]))}}
    for k in range(draw(st.integers(1, 4))):
        kind = draw(_kinds)
        stage: dict[str, Any] = {"kind": kind}
        if kind in ("stage", "clean"):
            stage |= {"rate": f"{draw(_rate)!r} GB/s", "ratio": draw(st.floats(0.1, 3.0))}
        if kind == "deduplicate":
            stage |= {"method": "sha-256", "duplicate": draw(st.floats(0, 0.9))}
        if kind == "compress":
            stage |= {"method": "lz4"}
        if kind == "shard":
            stage |= {"shard": "100 MB"}
        if kind == "audit":
            stage |= {"log": "1 kB", "to": "slow"}
        elif draw(st.booleans()):
            stage |= {"to": draw(st.sampled_from(["slow", "fast"]))}
        stages[f"s{k}"] = stage
    return {
        "data": f"{draw(st.floats(1, 500))!r} GB", "records": draw(st.integers(1, 10**9)), "objects": draw(st.integers(1, 10**5)),
        "mode": draw(st.sampled_from(["streaming", "staged"])), "chunk": f"{draw(st.floats(0.01, 100))!r} GB", "nodes": group,
        "count": draw(st.integers(1, 4)), "stages": stages,
    }  # fmt: skip


def scenario(pipes: dict[str, Any], *, wider: float = 1.0, fabric: bool = False) -> dict[str, Any]:
    def tier(read: float, write: float) -> dict[str, Any]:
        return {"type": "nvme", "read": f"{read * wider!r} GB/s", "write": f"{write * wider!r} GB/s", "latency": "1 ms"}

    nodes = {name: {"count": 4, "cores": 8} for name in ("a", "b")}
    machine: dict[str, Any] = {"nodes": nodes, "storage": {"lake": tier(10, 8), "fast": tier(40, 30), "slow": tier(5, 2)}}
    if fabric:
        machine["fabric"] = {"topology": "single-switch", "link": "100 Gbit/s", "latency": "1 us"}
    return {"schema": 1, "name": "t", "question": "?", "cluster": machine, "workload": {"pipelines": pipes}}


@given(pipe=pipelines(), fabric=st.booleans())
@settings(max_examples=15)
def test_alone_both_views_agree_and_bytes_are_conserved(pipe: dict[str, Any], fabric: bool) -> None:
    raw = scenario({"p": pipe}, fabric=fabric)
    closed, run = hpcsim.estimate(raw), hpcsim.simulate(raw)
    assert run.summary["makespan_s"] == pytest.approx(closed.summary["makespan_s"], rel=1e-9)
    for key in ("start_s", "end_s", "in_bytes", "out_bytes", "node_time_s", "energy_j"):
        assert run.stages[key].to_numpy() == pytest.approx(closed.stages[key].to_numpy(), rel=1e-9, abs=1e-6, nan_ok=True)
    assert run.stages["in_bytes"].iloc[1:].to_numpy() == pytest.approx(run.stages["out_bytes"].iloc[:-1].to_numpy())
    assert (run.stages["end_s"] >= run.stages["start_s"]).all()
    alone = run.stages["alone_s"].to_numpy()
    assert alone.max() * (1 - 1e-9) <= run.summary["makespan_s"] <= alone.sum() * (1 + 1e-9)
    if pipe["mode"] == "staged":
        assert run.summary["makespan_s"] == pytest.approx(alone.sum())
    links = run.links.set_index("link")["carried_bytes"]
    written = sum(carried for link, carried in links.items() if str(link).endswith(("slow write", "storage/slow/servers")))
    to_slow = run.stages[[pipe["stages"][name].get("to") == "slow" for name in run.stages["stage"]]]
    assert written == pytest.approx(to_slow["written_bytes"].sum(), rel=1e-6)


@given(pipe=pipelines(), wider=st.floats(1.0, 10.0))
@settings(max_examples=10)
def test_more_bandwidth_is_never_slower(pipe: dict[str, Any], wider: float) -> None:
    slow = hpcsim.estimate(scenario({"p": pipe})).summary["makespan_s"]
    assert hpcsim.estimate(scenario({"p": pipe}, wider=wider)).summary["makespan_s"] <= slow * (1 + 1e-9)


@given(first=pipelines("a"), second=pipelines("b"))
@settings(max_examples=10)
def test_company_slows_and_no_tier_carries_more_than_it_can(first: dict[str, Any], second: dict[str, Any]) -> None:
    both = hpcsim.simulate(scenario({"p": first, "q": second}))
    alone = {name: hpcsim.estimate(scenario({name: pipe})).summary["makespan_s"] for name, pipe in (("p", first), ("q", second))}
    took = both.stages.groupby("name")["end_s"].max()
    for name, seconds in alone.items():
        assert seconds * (1 - 1e-6) <= took[name] <= sum(alone.values()) * (1 + 1e-6)
    assert (both.links["peak_utilisation_frac"] <= 1.0).all()
    assert both.summary["pipeline_bytes"] == pytest.approx(both.stages[both.stages["stage"] == "in"]["in_bytes"].sum())


@given(
    use=st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=1, max_size=6),
    chunks=st.floats(1, 1e6),
    more=st.floats(1, 1e3),
)
def test_streaming_lies_between_the_bottleneck_and_one_after_the_other(use: list[list[float]], chunks: float, more: float) -> None:
    times = np.array(use)
    streamed, staged = float(streamed_s(times, chunks)), float(staged_s(times))
    assert times.sum(axis=0).max() * (1 - 1e-12) <= streamed <= staged * (1 + 1e-12)
    assert float(streamed_s(times, chunks * more)) <= streamed * (1 + 1e-12)
    assert float(streamed_s(times, 1.0)) == pytest.approx(staged)


@given(own=st.lists(st.floats(0, 1e15), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_bytes_through_any_graph(own: list[float], seed: int) -> None:
    """Into a stage goes what begins there and what comes out of those before it, and nothing else."""
    rng = np.random.default_rng(seed)
    after = [sorted(rng.choice(k, rng.integers(0, k + 1), replace=False).tolist()) if k else [] for k in range(len(own))]
    ratios = rng.uniform(0.1, 2.0, len(own))
    into, out = through(own, ratios, after)
    for k, before in enumerate(after):
        assert into[k] == pytest.approx(own[k] + sum(out[b] for b in before))
        assert out[k] == pytest.approx(ratios[k] * into[k])


def reference(capacities: Any, streams: list[tuple[list[list[int]], list[float]]]) -> list[float]:
    """Return the paces of streams, slowly: each in turn goes as fast as the water level of its links allows, until nothing changes.

    ``streams`` are the routes of each stream's flows and their rates at pace 1.
    """
    pace = [1.0] * len(streams)
    for _ in range(400):
        worst = 0.0
        for k, (routes, rates) in enumerate(streams):
            best = 1.0
            for link in sorted({link for route in routes for link in route}):
                others = [r * pace[j] for j, (ways, own) in enumerate(streams) if j != k for way, r in zip(ways, own) if link in way]
                mine = [r for way, r in zip(routes, rates) if link in way]
                best = min(best, level(float(capacities[link]), others, mine))
            new = 0.5 * (pace[k] + best)
            worst, pace[k] = max(worst, abs(new - pace[k])), new
        if worst < 1e-8:
            break
    return pace


def level(capacity: float, others: list[float], mine: list[float]) -> float:
    """Return the greatest pace at which a stream's flows, the others as they ask, get their max-min shares of one link; by bisection."""
    low, high = 0.0, 1.0
    for _ in range(45):
        middle = (low + high) / 2
        left, water = capacity, 0.0
        asks = sorted([*others, *(middle * r for r in mine)])
        for k, ask in enumerate(asks):  # the smallest get what they ask for, as long as it is less than an equal part of what is left
            water = left / (len(asks) - k)
            if ask > water:
                break
            left -= ask
            water = asks[-1]
        low, high = (middle, high) if max(mine) * middle <= water * (1 + 1e-13) else (low, middle)
    return low


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_streams_share_as_the_slow_reference_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    links = int(rng.integers(1, 5))
    capacities = rng.uniform(1, 10, links)
    streams, loads = [], []
    for k in range(int(rng.integers(2, 5))):
        routes = [sorted(rng.choice(links, rng.integers(1, links + 1), replace=False).tolist()) for _ in range(int(rng.integers(1, 4)))]
        rates = rng.uniform(0.5, 5, len(routes))
        carried = np.zeros(links)
        for route, rate in zip(routes, rates):
            carried[route] += rate
        rates = rates / max(float((carried / capacities).max()), 1.0)  # undisturbed it fits
        streams.append((routes, rates.tolist()))
        loads.append(Load(f"j{k}", "stages", Routes.of(routes), rates, np.ones(len(routes)), tied=True))
    found = Paces(capacities).of(loads)
    got = np.array([1.0 / found[load].stretch for load in loads])
    used = np.zeros(links)
    for pace, (routes, rates) in zip(got, streams):
        for route, rate in zip(routes, rates):
            used[route] += rate * pace
    assert (used <= capacities * (1 + 1e-6)).all()
    assert got == pytest.approx(reference(capacities, streams), rel=1e-4)
