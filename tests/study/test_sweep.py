"""Sweeps: a point is the scenario run alone, failures are rows, the table does not depend on who ran what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.report.points import points_shown
from hpcsim.report.sweep import axes_of, sweep_chart, sweep_charts
from hpcsim.results.quantities import brief
from hpcsim.study.points import Point, Task, _Bench
from hpcsim.study.sweep import Axis, outcomes_of, parse_axis, rows_of

ROOT = Path(__file__).resolve().parents[2]

BASE: dict[str, Any] = {
    "schema": 1,
    "name": "small",
    "question": "q?",
    "cluster": {
        "nodes": {"cpu": {"type": "cpu-2s", "count": 4, "cores": 8}},
        "site": {"pue": 1.4, "carbon": "380 g/kWh", "electricity": "0.15 USD/kWh"},
    },
    "workload": {"jobs": {"synthetic": {"jobs": 40, "duration": "4 h"}}},
    "scheduler": {"policy": "easy"},
    "simulate": {"seed": 5},
}
TRAINING: dict[str, Any] = {
    **BASE,
    "cluster": {
        "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 2}},
        "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40},
        "site": {"pue": 1.2, "carbon": "57 g/kWh", "electricity": "0.12 USD/kWh"},
    },
    "workload": {"training": {"run": {"model": "gpt2-xl", "tokens": "1 G", "global_batch": 96, "sequence": 1024, "layout": "auto"}}},
}
POLICY, COUNT = "scheduler.policy", "cluster.nodes.cpu.count"


def test_a_point_is_the_scenario_run_alone() -> None:
    """I58, for every figure of every point, with replicates."""
    scenario = hpcsim.load(BASE)
    table = hpcsim.sweep(scenario, {POLICY: ["fcfs", "easy"], COUNT: [3, 4]}, seeds=2).sweep
    assert table[[POLICY, COUNT, "seed"]].to_numpy().tolist() == [[p, c, s] for p in ("fcfs", "easy") for c in (3, 4) for s in (5, 6)]
    assert (table["problem"] == "").all()
    for _, row in table.iterrows():
        alone = hpcsim.simulate(scenario.vary({POLICY: row[POLICY], COUNT: row[COUNT]}), seed=row["seed"]).summary
        for key, value in alone.items():
            if key not in ("wall_s", "cpu_s"):
                assert row[key] == value, key
    assert set(table.columns) == {POLICY, COUNT, "seed", "problem"} | set(alone) - {"wall_s", "cpu_s"}


def test_a_point_in_closed_form_is_the_estimate_alone() -> None:
    scenario = hpcsim.load(TRAINING)
    table = hpcsim.sweep(scenario, {"cluster.nodes.gpu.count": [1, 2]}, mode="estimate").sweep
    for _, row in table.iterrows():
        alone = hpcsim.estimate(scenario.vary({"cluster.nodes.gpu.count": row["cluster.nodes.gpu.count"]})).summary
        assert {key: row[key] for key in alone if key not in ("wall_s", "cpu_s")} == {
            k: v for k, v in alone.items() if k not in ("wall_s", "cpu_s")
        }


def test_the_ranges_of_a_point_are_those_of_the_scenario_alone() -> None:
    """Also through a store, and the answer gives those of the points that it names."""
    scenario = hpcsim.load(TRAINING)
    result = hpcsim.sweep(scenario, {"cluster.nodes.gpu.count": [1, 0, 2]}, mode="estimate")
    alone = {row: hpcsim.estimate(scenario.vary({"cluster.nodes.gpu.count": count})).ranges for row, count in ((0, 1), (2, 2))}
    found: dict[int, dict[str, tuple[float, float]]] = {0: {}, 2: {}}
    for row in result.sweep_ranges.to_dict("records"):
        found[row["row"]][row["metric"]] = (row["low"], row["high"])
    assert found == alone
    assert alone[0]["wall_clock_s"][0] < alone[0]["wall_clock_s"][1]
    for row in (0, 2):
        low, high = (brief("wall_clock_s", end) for end in alone[row]["wall_clock_s"])
        same = low.split()[1] == high.split()[1]
        assert f"(80 %: {low.split()[0] if same else low} – {high})" in result.answer
    jobs = hpcsim.sweep(BASE, {COUNT: [3, 4]})
    assert "sweep_ranges" not in jobs.tables
    assert "80 %" not in jobs.answer


def test_a_turn_is_said_and_a_cost_without_prices_is_that_of_electricity() -> None:
    run = {**TRAINING["workload"]["training"]["run"], "tokens": "20 G", "checkpoint": {"to": "disk", "every": "1 h"}}
    storage = {"disk": {"type": "lustre", "capacity": "1 PB", "read": "1 GB/s", "write": "1 GB/s"}}
    data = {
        **TRAINING,
        "cluster": {**TRAINING["cluster"], "storage": storage},
        "workload": {"training": {"run": run}},
        "failures": {"node": {"mtbf": "2 days", "repair": "1 h"}},
    }
    result = hpcsim.sweep(data, {"workload.training.run.checkpoint.every": ["1 min", "1 h", "40 h"]}, mode="estimate")
    assert "the wall clock is least at 1 h, " in result.answer
    assert ". The cost of electricity is least at 1 h, " in result.answer
    assert any("cost of electricity" in chart.text for chart in sweep_charts(result.sweep, result.provenance))
    chart = sweep_chart(result.sweep, axes_of(result.sweep), "cost_usd", called=result.provenance["called"])
    assert chart.title.startswith("Cost of electricity is least at 1 h, ")
    assert "cost of electricity" in points_shown(result, width=120)[0][0]
    priced = {**BASE, "cluster": {**BASE["cluster"], "prices": {"cpu": {"hourly": "1 USD/h"}}}}
    assert "the cost goes from" in hpcsim.sweep(priced, {COUNT: [3, 4]}).answer


def test_a_point_that_fails_is_a_row_with_its_problem() -> None:
    scenario = hpcsim.load(TRAINING).vary({"workload.training.run.layout": "tp=1,pp=3"})
    result = hpcsim.sweep(scenario, {"cluster.nodes.gpu.count": [6, 2, 0, 3]})
    table = result.sweep
    codes = ["" if not text else text.rpartition("[")[2].rstrip("]") for text in table["problem"]]
    assert codes[0] == codes[3] == ""
    assert codes[1:3] == ["layout-world-size", "out-of-range"]
    assert table["wall_clock_s"].notna().tolist() == [True, False, False, True]
    assert table["wall_clock_s"][3] > table["wall_clock_s"][0]
    assert result.summary["points"] == 4
    assert result.summary["points_failed"] == 2
    assert "2 points could not be run" in result.answer


def test_a_sweep_of_nothing_but_failures_says_what_is_wrong() -> None:
    for axes, codes in (
        ({"cluster.nodes.cpu.count": [-1, 0]}, {"out-of-range"}),
        ({"cluster.nodes.gpu.count": [1, 2]}, {"no-such-path"}),
        ({"scheduler.policy": ["best"], "cluster.nodes.cpu.count": [1, 2, 3]}, {"unknown-name"}),
    ):
        with pytest.raises(InputError) as caught:
            hpcsim.sweep(BASE, axes)
        assert {p.code for p in caught.value.problems} == codes
        assert len({str(p) for p in caught.value.problems}) == len(caught.value.problems)


def test_the_scenarios_own_axes_are_taken_where_none_are_given() -> None:
    data = {**BASE, "sweep": {POLICY: ["sjf", "easy"], "cluster.site.pue": [1.1, 1.2, 1.3]}}
    table = hpcsim.sweep(data).sweep
    assert table[[POLICY, "cluster.site.pue"]].to_numpy().tolist() == [[p, u] for p in ("sjf", "easy") for u in (1.1, 1.2, 1.3)]
    for _, rows in table.groupby(POLICY):
        assert rows["it_energy_j"].nunique() == 1
        assert (rows["facility_energy_j"] / rows["it_energy_j"]).tolist() == pytest.approx([1.1, 1.2, 1.3])
    assert hpcsim.sweep(data, {POLICY: ["fcfs"]}).sweep[POLICY].tolist() == ["fcfs"]


def test_values_of_any_kind_make_an_axis() -> None:
    table = hpcsim.sweep(
        TRAINING,
        [
            Axis("workload.training.run.layout", ({"tp": 1, "pp": 1}, "tp=1,pp=2", "auto")),
            Axis("cluster.site.carbon", ("57 g/kWh", "400 g/kWh")),
        ],
        mode="estimate",
    ).sweep
    assert len(table) == 6
    assert table["workload.training.run.layout"].nunique() == 3
    assert (table["carbon_kg_co2e"][1::2].to_numpy() / table["carbon_kg_co2e"][::2].to_numpy()).tolist() == pytest.approx([400 / 57] * 3)


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("a.b=1,2", "a.b", (1, 2)),
        ("a = 1.5 , x", "a", (1.5, "x")),
        ("a=100 Gbit/s,400 Gbit/s", "a", ("100 Gbit/s", "400 Gbit/s")),
        ("a={tp: 1, pp: 2},auto", "a", ({"tp": 1, "pp": 2}, "auto")),
        ("a='tp=8,pp=4',auto", "a", ("tp=8,pp=4", "auto")),
        ("a=true,null", "a", (True, None)),
        ("a=[1, 2],[3]", "a", ([1, 2], [3])),
        ("a=1,4..8:2", "a", (1, 4, 6, 8)),
        ("a,b=[1,x],[2,y]", "a,b", ([1, "x"], [2, "y"])),
    ],
)
def test_axes_are_read(text: str, path: str, values: tuple[Any, ...]) -> None:
    assert parse_axis(text) == Axis(path, values)


@pytest.mark.parametrize("text", ["", "a", "a=", "=1", " =1", "a=[1", "a={", "a= ", "a=]", "a=1]x["])
def test_bad_axes_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_axis(text)
    assert [p.code for p in caught.value.problems] in (["bad-axis"], ["bad-setting"])


BAD = {
    "no axes": ({}, {}, "sweep-without-axes"),
    "an axis without values": ({POLICY: []}, {}, "sweep-without-axes"),
    "an axis twice": ([Axis(POLICY, ("easy",)), Axis(POLICY, ("fcfs",))], {}, "axis-twice"),
    "the seed as axis": ({"simulate.seed": [1, 2]}, {}, "axis-of-seeds"),
    "no seeds": ({POLICY: ["easy"]}, {"seeds": 0}, "bad-count"),
    "no processes": ({POLICY: ["easy"]}, {"jobs": 0}, "bad-count"),
    "too many points": ({COUNT: list(range(1, 1002)), POLICY: ["easy"]}, {"seeds": 1000}, "sweep-too-large"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sweeps_are_refused_before_they_begin(name: str) -> None:
    axes, options, code = BAD[name]
    with pytest.raises(InputError) as caught:
        hpcsim.sweep(BASE, axes, **options)
    assert [p.code for p in caught.value.problems] == [code]


def test_progress_is_told_point_by_point() -> None:
    seen: list[tuple[int, int]] = []
    hpcsim.sweep(BASE, {COUNT: [1, 2, 3]}, mode="estimate", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_process_and_two_write_the_same_bytes(tmp_path: Path) -> None:
    """I33: the order and the values of the rows do not depend on the number of processes; failing points included."""
    folders = []
    for jobs in (1, 2):
        result = hpcsim.sweep(BASE, {COUNT: [4, 0, 3], POLICY: ["easy", "fcfs"]}, seeds=2, jobs=jobs)
        folders.append(tmp_path / str(jobs))
        result.write(folders[-1])
    names = sorted(p.name for p in folders[0].iterdir())
    assert names == sorted(p.name for p in folders[1].iterdir())
    assert "sweep.csv" in names
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_replicates_give_intervals_at_common_random_numbers() -> None:
    """Mean, interval and paired difference by hand; the paired interval is narrower than that of independent runs."""
    stats = pytest.importorskip("scipy.stats")
    result = hpcsim.sweep(BASE, {COUNT: [3, 4], POLICY: ["easy"]}, seeds=6)
    rows = result.intervals[result.intervals["metric"] == "mean_wait_s"].set_index("point")
    table = result.sweep
    for k, point in enumerate(("3, easy", "4, easy")):
        values = table[table[COUNT] == 3 + k]["mean_wait_s"].to_numpy()
        low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
        assert rows.loc[point, ["mean", "low", "high"]].tolist() == pytest.approx([values.mean(), low, high])
    one, two = (table[table[COUNT] == count]["mean_wait_s"].to_numpy() for count in (3, 4))
    low, high = stats.t.interval(0.95, 5, (two - one).mean(), stats.sem(two - one))
    assert rows.loc["4, easy", ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [(two - one).mean(), low, high]
    )
    assert (two - one).var() < one.var() + two.var()
    assert rows.loc["3, easy", "difference_high"] == 0
    assert result.intervals["seeds"].unique().tolist() == [6]


def test_a_range_and_a_design_make_points() -> None:
    table = hpcsim.sweep(BASE, {COUNT: "2..8:2", "cluster.site.pue": "lin:1.0..1.5:3"}, mode="estimate").sweep
    assert table[COUNT].tolist() == [c for c in (2, 4, 6, 8) for _ in range(3)]
    assert table["cluster.site.pue"].tolist() == [1.0, 1.25, 1.5] * 4
    for design in ("random", "sobol", "halton"):
        axes = {COUNT: "2..9", "cluster.site.carbon": "log:10..1000 g/kWh", POLICY: ["fcfs", "easy"]}
        table = hpcsim.sweep(BASE, axes, design=design, points=32, mode="estimate").sweep
        assert len(table) == 32
        assert set(table[COUNT]) == set(range(2, 10))
        grams = table["cluster.site.carbon"].str.removesuffix(" g/kWh").astype(float)
        assert grams.between(10, 1000).all()
        assert 8 <= (grams < 100).sum() <= 24
        assert set(table[POLICY]) == {"fcfs", "easy"}
    with pytest.raises(InputError) as caught:
        hpcsim.sweep(BASE, {COUNT: "2..9"})
    assert [p.code for p in caught.value.problems] == ["open-range"]


def test_paired_axes_go_together() -> None:
    rows = [(3, "easy"), (4, "fcfs")]
    for axes in ({(COUNT, POLICY): rows}, {f"{COUNT}, {POLICY}": rows}):
        table = hpcsim.sweep(BASE, axes, mode="estimate").sweep
        assert table[[COUNT, POLICY]].to_numpy().tolist() == [[3, "easy"], [4, "fcfs"]]
    written = hpcsim.load({**BASE, "sweep": {f"{COUNT}, {POLICY}": [[3, "easy"], [4, "fcfs"]], "cluster.site.pue": "1.0..1.2:0.1"}})
    assert len(hpcsim.sweep(written, mode="estimate").sweep) == 6
    for wrong in ([3, 4], [(3,)], [(3, "easy", 1)]):
        with pytest.raises(InputError) as caught:
            hpcsim.sweep(BASE, {(COUNT, POLICY): wrong})
        assert {p.code for p in caught.value.problems} == {"paired-axis"}


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "cluster.nodes.gpu.count": st.sampled_from([1, 2, 3]),
        "cluster.site.pue": st.floats(1.0, 2.0),
        "cluster.site.electricity": st.sampled_from(["0.1 USD/kWh", "0.3 USD/kWh"]),
        "cluster.prices.gpu": st.sampled_from(["1 USD/h", {"provider": "aws"}, {"provider": "nobody"}]),
        "cluster.fabric.link": st.sampled_from(["hdr", "ndr", "none-such"]),
        "workload.training.run.tokens": st.sampled_from(["1 G", 2_000_000, 3e9]),
        "workload.training.run.global_batch": st.sampled_from([48, 96, 97]),
        "workload.training.run.sequence": st.sampled_from([512, 1024]),
        "workload.training.run.layout": st.sampled_from(["auto", "tp=2,pp=1", "tp=1,pp=3"]),
        "assume.step_time": st.sampled_from([0.9, 1.0, 1.1]),
        "failures.node": st.sampled_from([{"mtbf": "1000 h", "repair": "1 h"}, {"mtbf": "1 s", "repair": "1 h"}]),
        "simulate.until": st.sampled_from(["1 h", "10 h"]),
    },
)


@given(st.lists(CHANGES.filter(bool), min_size=2, max_size=6), st.sampled_from(["estimate", "simulate"]))
@settings(max_examples=8, deadline=None)
def test_any_point_is_the_scenario_run_alone(points: list[dict[str, Any]], mode: Any) -> None:
    """I58 for any changes in any order: what is kept from one point never shows in another."""
    scenario = hpcsim.load(TRAINING)
    outcomes, _ = outcomes_of(scenario, [Point(changes, 3) for changes in points], mode)
    for changes, outcome in zip(points, outcomes, strict=True):
        assert outcome is not None
        if outcome.problems:
            with pytest.raises(InputError) as caught:
                (hpcsim.estimate if mode == "estimate" else hpcsim.simulate)(scenario.vary({**changes, "simulate.seed": 3}))
            assert list(map(str, outcome.problems)) == list(map(str, caught.value.problems))
            continue
        alone = (hpcsim.estimate if mode == "estimate" else hpcsim.simulate)(scenario.vary({**changes, "simulate.seed": 3})).summary
        assert outcome.summary == {key: value for key, value in alone.items() if key not in ("wall_s", "cpu_s")}


NEW_STEPS: dict[str, list[dict[str, Any]]] = {
    "node counts": [{"cluster.nodes.a100.count": 12 * k, "workload.training.bloom.global_batch": 32 * k + (k == 7)} for k in range(1, 24)],
    "accelerators": [
        {"cluster.nodes.a100.type": kind, "cluster.prices": {}, "workload.training.bloom.sequence": s}
        for kind in ("dgx-a100-80gb", "dgx-h100", "none-such")
        for s in (1024, 2048, 2049)
    ],
    "numbers of a device": [
        {"cluster.nodes.a100.accelerator.memory_bandwidth": f"{1500 + 50 * k} GB/s", "failures.node.mtbf": f"{1000 * k + 1000} h"}
        for k in range(12)
    ],
    "models and layouts": [
        {"workload.training.bloom.model": model, "workload.training.bloom.layout": {"tp": 8, "pp": pp, "recompute": redo}}
        for model in ("bloom-176b", "gpt3-175b")
        for pp in (12, 5, 24)
        for redo in ("full", "none")
    ],
}


@pytest.mark.parametrize("name", NEW_STEPS)
def test_steps_worked_out_together_give_the_table_of_points_alone(name: str, tmp_path: Path) -> None:
    """Points whose training step is new share one evaluation of the cost formulas; the table's bytes do not show it."""
    bloom = hpcsim.load(ROOT / "scenarios" / "bloom-176b.yaml")
    points = [Point(changes, 1) for changes in NEW_STEPS[name]]
    bench = _Bench(Task(bloom, "estimate", None, "together"))
    scenarios = bench.prepare(points)
    together = [bench.run(point, scenarios.get(place)) for place, point in enumerate(points)]
    assert sum(start.cost is not None for start, _ in bench.memory._found["outset"].values() if start) > len(points) // 2
    alone = [_Bench(Task(bloom, "estimate", None, str(place))).run(point) for place, point in enumerate(points)]
    texts = []
    for way, outcomes in (("together", together), ("alone", alone)):
        rows_of(points, outcomes).to_csv(tmp_path / way, index=False)
        texts.append((tmp_path / way).read_bytes())
    assert texts[0] == texts[1]
    good = [outcome for outcome in together if not outcome.problems]
    assert len({outcome.summary["step_time_s"] for outcome in good}) > 1
