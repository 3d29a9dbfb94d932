"""The layout search: against a plain loop over all layouts, one at a time, and what must hold of any winner."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cost import schedules
from hpcsim.cost.parallelism import Layout, validity
from hpcsim.study import candidates
from hpcsim.study import search as se
from hpcsim.study.contenders import front_of

WORDS: dict[str, Any] = {"model": "gpt3-175b", "accelerator": "a100-sxm-80gb", "count": 64, "global_batch": 64, "sequence": 2048}
SMALL: dict[str, Any] = {
    "tp": [8, 3, 4],
    "pp": [1, 4, 8],
    "cp": [1, 2],
    "vpp": [1, 3],
    "micro_batch": [1, 2],
    "zero_stage": [1, 3],
    "recompute": ["none", "full"],
    "sequence_parallel": [True],
    "schedule": ["1f1b", "gpipe", "zb-h1", "zb-h2", "zb-v", "dualpipe"],
    "overlap": [True],
    "ep": [1],
}


def job_of(words: dict[str, Any]) -> candidates.Job:
    scenario = se.in_words(**words)
    return candidates.job_of("run", scenario.workload.training["run"], resolve(scenario.cluster, default()), default())


def one_by_one(job: candidates.Job, axes: dict[str, Any]) -> tuple[list[tuple[float, float, Layout]], Counter[str]]:
    """Every combination on its own: (exact seconds, bytes, layout) of those that fit, and why the others are gone."""
    fit, gone = [], Counter[str]()
    names = list(axes)
    for values in itertools.product(*axes.values()):
        choice = dict(zip(names, values, strict=True))
        group = choice["tp"] * choice["pp"] * choice["cp"]
        if job.devices % group:
            gone["world-size"] += 1
            continue
        layout = Layout(dp=job.devices // group, **choice)
        possible, reasons = validity(layout, job.model, devices=job.devices, global_batch=job.global_batch, sequence=job.sequence)
        m = job.global_batch // max(int(layout.dp) * choice["micro_batch"], 1)
        if not possible:
            gone[next(name for name, broken in reasons.items() if broken)] += 1
        elif repeats(choice, int(layout.dp)):
            gone["redundant"] += 1
        elif unschedulable(choice, m):
            gone["schedule"] += 1
        else:
            cost = job.cost(layout)
            if not cost.fits:
                gone["memory"] += 1
                continue
            exact, _ = candidates.exact_steps(
                job, layouts := Layout(**{k: v[None] for k, v in layout.columns().items()}), job.cost(layouts)
            )
            fit.append((float(exact[0]), float(cost.peak_memory_bytes), layout))
    return fit, gone


def repeats(choice: dict[str, Any], dp: int) -> bool:
    sharded_alone = choice["zero_stage"] > 0 and dp * choice["cp"] == 1
    return sharded_alone or (choice["zero_stage"] > 1 and choice["pp"] > 1) or (choice["pp"] == 1 and choice["schedule"] != "1f1b")


def unschedulable(choice: dict[str, Any], m: int) -> bool:
    name, p = choice["schedule"], choice["pp"]
    if choice["vpp"] > 1 and name != "1f1b":
        return True
    least = {"zb-h1": p, "zb-h2": 2 * p, "zb-v": 2 * p, "dualpipe": 2 * p}.get(name, 1)
    return m < least or (name == "dualpipe" and (p % 2 > 0 or m % 2 > 0))


@pytest.fixture(scope="module")
def small() -> tuple[candidates.Job, list[tuple[float, float, Layout]], Counter[str]]:
    job = job_of(WORDS)
    return job, *one_by_one(job, SMALL)


def test_equal_to_a_plain_loop(small: Any) -> None:
    """The same counts by reason, and the same best layouts with the same times."""
    _, fit, gone = small
    found = se.layout_search(se.in_words(**WORDS), fixed=SMALL, top=12)
    assert found.removed == dict(gone)
    assert found.feasible == len(fit) > 30
    assert found.space == math.prod(len(v) for v in SMALL.values())
    best = sorted(fit, key=lambda row: row[:2])[:12]
    assert found.best["step_time_s"].to_numpy() == pytest.approx([row[0] for row in best], rel=1e-9)
    assert found.best["peak_memory_bytes"][0] == pytest.approx(best[0][1])
    assert dict(found.best.iloc[0][["tp", "pp", "schedule"]]) == {k: best[0][2].row()[k] for k in ("tp", "pp", "schedule")}


def test_counts_add_up_and_winners_are_possible() -> None:
    found = se.layout_search(se.in_words(**WORDS), top=40)
    assert found.layouts_evaluated == found.feasible + found.removed["memory"]
    assert found.space == found.layouts_evaluated + sum(n for reason, n in found.removed.items() if reason != "memory")
    assert (found.best["peak_memory_bytes"] <= found.best["memory_capacity_bytes"]).all()
    assert found.best["step_time_s"].is_monotonic_increasing
    job = job_of(WORDS)
    names = [f.name for f in dataclasses.fields(Layout) if f.name in found.best]
    layouts = Layout(**{name: found.best[name].to_numpy() for name in names})
    ok, reasons = validity(layouts, job.model, devices=64, global_batch=64, sequence=2048)
    assert ok.all(), reasons
    assert len(found.best.drop_duplicates(subset=names)) == len(found.best)
    assert sum(found.terms.values()) == pytest.approx(float(found.best["step_time_s"][0]))
    assert (found.best["low_s"] < found.best["step_time_s"]).all()
    assert (found.best["high_s"] > found.best["step_time_s"]).all()


def test_the_same_twice() -> None:
    first, second = (se.layout_search(se.in_words(**WORDS), top=15, pareto=True).document() for _ in range(2))
    for document in (first, second):
        document.pop("search_cpu_s"), document.pop("layouts_per_cpu_s")
    assert first == second


def test_the_front_and_its_corner() -> None:
    found = se.layout_search(se.in_words(**WORDS), pareto=True)
    front = found.front
    assert front is not None
    figures = front[["step_time_s", "peak_memory_bytes", "cost_usd"]].to_numpy()
    for row in figures:
        better = (figures <= row).all(axis=1) & (figures < row).any(axis=1)
        assert not better.any()
    assert front["step_time_s"].min() == pytest.approx(float(found.best["step_time_s"][0]))
    assert len(front) > 1


def test_a_front_of_points() -> None:
    rng = np.random.default_rng(5)
    points = rng.integers(0, 12, (3, 200)).astype(float)
    kept = set(front_of(*points).tolist())
    rows = points.T
    beaten = [bool(((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any()) for row in rows]
    assert {tuple(rows[i]) for i in kept} == {tuple(rows[i]) for i in range(200) if not beaten[i]}
    assert not any(beaten[i] for i in kept)


def test_more_memory_never_gives_a_slower_best() -> None:
    job = job_of(WORDS)
    best, count = [], []
    for gigabytes in (30, 40, 60, 80, 141, 400):
        roomier = dataclasses.replace(job, device=dataclasses.replace(job.device, memory_bytes=gigabytes * 1e9))
        scan = se._scan(roomier, SMALL, offload=False, key="step_time_s", most=60, pareto=False)
        count.append(scan.feasible)
        best.append(
            math.inf if scan.best is None else float(se._refined(roomier, scan.best, "step_time_s", 1)[0].values["step_time_s"].min())
        )
    assert all(a >= b for a, b in itertools.pairwise(best))
    assert count == sorted(count)
    assert math.isfinite(best[-1])


@pytest.mark.parametrize("objective", ["cost", "energy"])
def test_other_objectives(objective: Any) -> None:
    found = se.layout_search(se.in_words(**WORDS), objective=objective, top=5)
    column = se.OBJECTIVES[objective]
    assert found.best[column].is_monotonic_increasing
    fastest = se.layout_search(se.in_words(**WORDS), top=5)
    assert found.best[column][0] <= fastest.best[column].min() * (1 + 1e-9)


def test_money_and_energy_are_those_of_the_estimate() -> None:
    """A layout without a pipeline, whose exact and closed times agree."""
    words = {"model": "llama3-8b", "accelerator": "h100-sxm", "count": 16, "global_batch": 64, "sequence": 4096}
    layout = {"tp": 2, "pp": 1, "cp": 1, "micro_batch": 1, "zero_stage": 1, "recompute": "full", "sequence_parallel": True}
    row = se.layout_search(se.in_words(**words), fixed={**layout, "vpp": 1, "overlap": True}).best.iloc[0]
    text = ",".join(f"{k}={str(v).lower()}" for k, v in layout.items())
    summary = hpcsim.estimate(hpcsim.run.quick.quick_scenario(**words, layout=text)).summary  # type: ignore[attr-defined]
    assert row["step_time_s"] == pytest.approx(summary["step_time_s"])
    assert row["energy_j"] == pytest.approx(summary["facility_energy_j"], rel=1e-6)
    assert row["cost_usd"] == pytest.approx(summary["cost_usd"], rel=1e-6)
    assert row["peak_memory_bytes"] == pytest.approx(summary["peak_memory_bytes"])


def test_the_verb_gives_a_table() -> None:
    table = hpcsim.search(**WORDS, layout="tp=8,pp=8,schedule=1f1b", top=3)
    assert len(table) == 3
    assert set(table["tp"]) == {8}
    assert set(table["pp"]) == {8}
    assert table.attrs["layouts_evaluated"] > 0
    assert table.attrs["why"]


def test_given_sizes_are_kept() -> None:
    table = hpcsim.search(**WORDS, layout={"dp": 2, "tp": 8}, top=3)
    assert set(table["dp"]) == {2}
    assert set(table["tp"]) == {8}
    experts = hpcsim.search(
        model="mixtral-8x7b", accelerator="h100-sxm", count=32, global_batch=64, sequence=4096, layout="ep=4,tp=2,etp=2", top=2
    )
    assert set(experts["etp"]) == {2}


def test_a_network_without_layers_has_data_parallelism_alone() -> None:
    found = se.layout_search(se.in_words(model="resnet-50", accelerator="v100-sxm-32gb", count=8, global_batch=512, sequence=1))
    assert set(found.best["dp"]) == {8}
    assert found.removed["batch"] > 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"objective": "fun"}, "search-objective"),
        ({"top": 0}, "search-top"),
        ({"top": True}, "search-top"),
        ({"training": "other"}, "search-without-training"),
    ],
)
def test_wrong_questions(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.search(se.in_words(**WORDS), **changes)
    assert caught.value.problems[0].code == code


def test_a_scenario_and_words() -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.search(se.in_words(**WORDS), count=8)
    assert caught.value.problems[0].code == "search-both"


def test_nothing_fits_and_why() -> None:
    with pytest.raises(InputError, match="leanest needs") as caught:
        hpcsim.search(**{**WORDS, "count": 8})
    assert caught.value.problems[0].code == "search-nothing-fits"


def test_exact_steps_of_equal_stages_are_the_closed_form() -> None:
    """Where ends weigh nothing, 1F1B walked and in closed form agree: their difference is a small part of the bubble."""
    job = job_of({**WORDS, "global_batch": 128})
    layouts = Layout(dp=np.full(3, 2), tp=8, pp=4, micro_batch=[1, 2, 4], sequence_parallel=True, recompute="full", zero_stage=1)
    cost = job.cost(layouts)
    exact, idle = candidates.exact_steps(job, layouts, cost)
    assert exact == pytest.approx(np.asarray(cost.step_time_s), rel=0.01)
    assert exact - idle == pytest.approx(np.asarray(cost.step_time_s) - cost.terms["bubble"])


@pytest.mark.parametrize(
    ("name", "v", "loose"), [("gpipe", 1, 1e-12), ("1f1b", 1, 0.01), ("zb-h1", 1, 0.01), ("dualpipe", 1, 1e-12), ("zb-v", 1, 0.1)]
)
def test_continued_schedules_are_near_those_walked_whole(name: str, v: int, loose: float) -> None:
    rng = np.random.default_rng(6)
    p, m, made_for = 4, 64, (8, 9, 6)
    places = 2 * p if name == "zb-v" else p
    forward, backward = rng.uniform(0.9, 1.1, (4, places)), 2 * rng.uniform(0.9, 1.1, (4, places))
    seconds = (forward, backward, 0.4 * backward)
    g = schedules.graph(name, pp=p, micro_batches=m, vpp=v, lengths=made_for)
    whole = schedules.walk(g, forward_s=forward, backward_s=backward, weight_s=seconds[2]).step_s
    assert candidates._walked_s(name, p, v, m, made_for, seconds, 1) == pytest.approx(whole, rel=loose)
    assert candidates._walked_s(name, p, v, m, made_for, seconds) == pytest.approx(whole, rel=1e-12)


def test_the_best_on_an_oversubscribed_fabric_are_charged_what_their_traffic_meets() -> None:
    """As :func:`hpcsim.estimate` charges the same layout, not the 4:1 of the fabric; the answer says both."""
    scenario = hpcsim.load(
        {
            "schema": 1,
            "name": "narrow",
            "question": "?",
            "cluster": {
                "nodes": {"a100": {"type": "dgx-a100-80gb", "count": 16}},
                "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 1, "down": [4, 4], "up": [1, 1]},
            },
            "workload": {
                "training": {
                    "t": {
                        "model": "llama2-7b",
                        "steps": 10,
                        "global_batch": 128,
                        "sequence": 2048,
                        "layout": {"auto": True, "schedule": "1f1b", "vpp": 1, "cp": 1},
                    }
                }
            },
        }
    )
    found = se.layout_search(scenario, top=3)
    assert any("oversubscribed 4:1" in note for note in found.notes)
    best = found.best.iloc[0]
    assert best["met_oversubscription"] < 4.0
    assert (found.best["step_time_s"].diff().dropna() >= 0).all()
    keys = ("tp", "pp", "micro_batch", "zero_stage", "recompute", "sequence_parallel", "overlap")
    layout = {key: best[key].item() if hasattr(best[key], "item") else best[key] for key in keys} | {"schedule": "1f1b", "vpp": 1, "cp": 1}
    same = hpcsim.estimate(scenario.vary({"workload.training.t.layout": layout}))
    assert best["closed_form_s"] == pytest.approx(same.summary["step_time_s"], rel=1e-9)
