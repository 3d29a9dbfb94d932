"""What-if: the terms of a change add up to it, and say truly whether amount or rate moved them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cli.main import main
from hpcsim.engine.jobs import run_jobs
from hpcsim.study.compare import explained, terms_of
from hpcsim.study.wait_terms import BLOCKED, CAPACITY, ORDER, PASSED, waits_by_cause
from hpcsim.testing.policies import random_jobs

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
COUNT, PRICE, PUE = "cluster.nodes.a100.count", "cluster.prices.a100.hourly", "cluster.site.pue"
TERMS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.floats(0, 1e6, allow_subnormal=False), st.floats(0, 1e6, allow_subnormal=False)), max_size=6
)


@pytest.fixture(scope="module")
def bloom() -> Any:
    return hpcsim.load(SCENARIOS / "bloom-176b.yaml")


@given(TERMS, TERMS)
def test_amount_and_rate_add_up_to_the_change(before: dict[str, Any], after: dict[str, Any]) -> None:
    rows = explained(before, after)
    for term, one, two, amount, rate in rows:
        assert amount + rate == pytest.approx(two - one, rel=1e-9, abs=1e-3)
        if term in before and term in after:
            if before[term][0] == after[term][0]:
                assert amount == 0
            if before[term][1] == after[term][1]:
                assert rate == 0
    total = math.fsum(a * r for a, r in after.values()) - math.fsum(a * r for a, r in before.values())
    assert math.fsum(two - one for _, one, two, _, _ in rows) == pytest.approx(total, rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("mode", ["estimate", "simulate"])
def test_the_terms_add_up_to_the_figures(bloom: Any, mode: Any) -> None:
    other = bloom.vary({COUNT: 96, PRICE: "1.2 USD/h", PUE: 1.1})
    result = hpcsim.compare(bloom, other, mode=mode)
    verb = hpcsim.estimate if mode == "estimate" else hpcsim.simulate
    one, two = verb(bloom), verb(other)
    metrics = set(result.compare_terms["metric"])
    assert metrics == {"wall_clock_s", "step_time_s", "facility_energy_j", "carbon_kg_co2e", "cost_usd", "peak_memory_bytes"}
    for metric in metrics:
        rows = result.compare_terms[result.compare_terms["metric"] == metric]
        assert rows["before"].sum() == pytest.approx(one.summary[metric], rel=1e-9)
        assert rows["after"].sum() == pytest.approx(two.summary[metric], rel=1e-9)
        assert rows["change"].sum() == pytest.approx(two.summary[metric] - one.summary[metric], rel=1e-6)
        assert (rows["by_amount"] + rows["by_rate"]).tolist() == pytest.approx(rows["change"].tolist(), rel=1e-9, abs=1e-6)
        assert rows["share_frac"].sum() == pytest.approx(1.0)
        assert sum(a * r for a, r in terms_of(one, metric).values()) == pytest.approx(one.summary[metric], rel=1e-9)
    figures = result.compare_figures.set_index(["metric", "scenario"])["value"]
    for metric in ("wall_clock_s", "cost_usd", "mfu_frac"):
        assert figures[metric].tolist() == [one.summary[metric], two.summary[metric]]


def test_a_price_alone_moves_money_through_the_price_alone(bloom: Any) -> None:
    result = hpcsim.compare(bloom, bloom.vary({PRICE: "3.6 USD/h"}), mode="estimate")
    figures = result.compare_figures[result.compare_figures["scenario"] != bloom.name]
    moved = set(figures["metric"][figures["change"] != 0])
    assert moved == {"cost_usd", "cost_per_mtoken_usd", "cost_per_device_hour_usd"}
    rows = result.compare_terms[(result.compare_terms["metric"] == "cost_usd") & (result.compare_terms["change"] != 0)]
    assert set(rows["term"]) == {"devices in use", "devices idle"}
    assert (rows["by_amount"] == 0).all()
    assert (rows["after"] / rows["before"]).tolist() == pytest.approx([2.0, 2.0])
    inputs = result.compare_inputs
    assert inputs["path"].tolist() == [PRICE] * 2
    assert inputs["value"].tolist() == ["1.8 USD/h", "3.6 USD/h"]
    assert "1.8 USD/h → 3.6 USD/h" in result.answer
    assert "cost" in result.answer


def test_twice_the_tokens_is_twice_the_steps(bloom: Any) -> None:
    path = "workload.training.bloom.tokens"
    result = hpcsim.compare(bloom, bloom.vary({path: bloom.workload.training["bloom"].tokens * 2}), mode="estimate")
    rows = result.compare_terms[result.compare_terms["metric"] == "wall_clock_s"]
    terms = rows[rows["term"] != "checkpoints, failures and recovery"]
    assert (terms["by_rate"] == 0).all()
    assert (terms["after"] / terms["before"]).tolist() == pytest.approx([2.0] * len(terms), rel=1e-4)


def test_a_chain_of_changes(bloom: Any) -> None:
    result = hpcsim.compare(bloom, vary=[{COUNT: 96}, {PUE: 1.1}], mode="estimate")
    figures = result.compare_figures.pivot(index="metric", columns="scenario", values="value")
    names = list(dict.fromkeys(result.compare_figures["scenario"]))
    assert len(names) == 3
    last = hpcsim.estimate(bloom.vary({COUNT: 96}).vary({PUE: 1.1})).summary
    assert figures.loc["facility_energy_j", names[2]] == last["facility_energy_j"]
    assert figures.loc["facility_energy_j", names[1]] == pytest.approx(last["facility_energy_j"] / 1.1 * 1.2)


def test_a_change_without_effect_is_named(bloom: Any) -> None:
    result = hpcsim.compare(bloom, bloom.vary({"scheduler.policy": "fcfs"}), mode="estimate")
    assert result.notes[0] == "No figure changes, although 1 input differs: scheduler.policy."
    assert result.summary["figures_changed"] == 0
    assert "no headline figure changes" in result.answer


def test_different_catalog_entries_show_the_facts_that_differ(bloom: Any) -> None:
    result = hpcsim.compare(bloom, bloom.vary({"cluster.nodes.a100.type": "dgx-h100"}), mode="estimate")
    facts = result.compare_inputs[result.compare_inputs["kind"] == "catalog"]
    assert any(path.endswith("tdp_w") for path in facts["path"])


def test_one_scenario_is_none_to_compare(bloom: Any) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.compare(bloom)
    assert [p.code for p in caught.value.problems] == ["compare-one"]


def test_every_scenario_that_cannot_be_run_says_why(bloom: Any) -> None:
    wrong = [{"cluster.fabric": {"link": "nolink"}}, {COUNT: 7}]
    with pytest.raises(InputError) as caught:
        hpcsim.compare(bloom, *(bloom.vary(changes) for changes in wrong), mode="estimate")
    assert {p.code for p in caught.value.problems} >= {"unknown-catalog-name", "layout-world-size"}
    assert all(p.file for p in caught.value.problems)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["compare", str(SCENARIOS / "bloom-176b.yaml"), "--vary", f"{COUNT}=96", "--mode", "estimate"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    for words in ("what differs", "what changes", "what explains the change of wall clock", "matmul", "devices in use"):
        assert words in text
    assert main([*argv, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"inputs", "figures", "terms", "answer", "summary"} <= set(document)
    assert not list(tmp_path.iterdir())
    assert main([*argv, "--quiet", "--out", "report"]) == 0
    assert {"report.html", "compare_terms.csv", "summary.json"} <= {p.name for p in (tmp_path / "report").iterdir()}
    assert main(["compare", str(SCENARIOS / "bloom-176b.yaml")]) == 2
    assert "[compare-one]" in capsys.readouterr().err


def _slowly(jobs: Any, size: int) -> list[dict[str, float]]:
    """Count for every job the seconds of its wait by cause, instant by instant, by the definitions; all times are whole seconds."""
    found = []
    for row in range(len(jobs["start"])):
        own = dict.fromkeys(("capacity", "passed", "order", "blocked"), 0.0)
        for second in range(int(jobs["submit"][row]), int(jobs["start"][row])):
            runs = [k for k in range(len(jobs["start"])) if jobs["start"][k] <= second < jobs["end"][k]]
            idle = size - sum(jobs["processors"][k] for k in runs)
            need = jobs["processors"][row]
            later = sum(jobs["processors"][k] for k in runs if k > row)
            before = any(jobs["submit"][k] <= second < jobs["start"][k] for k in range(row))
            if idle < need:
                own["passed" if idle + later >= need else "capacity"] += 1
            else:
                own["order" if before else "blocked"] += 1
        found.append(own)
    return found


@pytest.mark.parametrize("policy", ["fcfs", "easy", "sjf"])
def test_causes_of_waits_are_what_they_say_second_by_second(policy: str) -> None:
    seen = dict.fromkeys(("capacity", "passed", "order", "blocked"), 0.0)
    for seed in range(6):
        jobs = random_jobs(seed).sorted_by_submit()
        outcome = run_jobs(jobs, 16, policy)
        columns = {"submit": jobs.submit_s, "start": outcome.start_s, "end": outcome.end_s, "processors": jobs.processors}
        turns = np.unique(np.concatenate([outcome.start_s, outcome.end_s]))
        busy = [int(jobs.processors[(outcome.start_s <= turn) & (outcome.end_s > turn)].sum()) for turn in turns]
        found = waits_by_cause(jobs.submit_s, outcome.start_s, outcome.end_s, jobs.processors, turns, 16 - np.array(busy))
        for row, want in enumerate(_slowly(columns, 16)):
            got = {name: found[key][row] for name, key in zip(want, (CAPACITY, PASSED, ORDER, BLOCKED), strict=True)}
            assert got == want
            seen = {name: seen[name] + want[name] for name in seen}
        assert sum(waits.sum() for waits in found.values()) == pytest.approx(outcome.wait_s.sum(), rel=1e-12)
    assert seen["capacity"] > 0
    assert seen["order"] > 0
    assert (seen["passed"] > 0) == (policy != "fcfs")


def test_a_policy_that_lets_nobody_pass_waits_for_the_order_of_the_queue() -> None:
    scenario = {
        "schema": 1,
        "name": "queue",
        "question": "What does backfilling save?",
        "cluster": {"nodes": {"n": {"type": "cpu-2s", "count": 8, "cores": 8}}},
        "workload": {"jobs": {"synthetic": {"load": 0.9, "duration": "2 days", "max_processors": 64}, "nodes": "n", "unit": "core"}},
        "scheduler": {"policy": "easy"},
    }
    results = hpcsim.compare(scenario, vary=[{"scheduler.policy": "fcfs"}])
    terms = results.compare_terms[results.compare_terms["metric"] == "mean_wait_s"]
    figures = results.compare_figures[results.compare_figures["metric"] == "mean_wait_s"].set_index("scenario")
    assert terms["change"].sum() == pytest.approx(figures["change"].iloc[1], rel=1e-9)
    assert terms["before"].sum() == pytest.approx(figures["value"].iloc[0], rel=1e-9)
    assert (terms["by_amount"] + terms["by_rate"]).tolist() == pytest.approx(terms["change"].tolist(), rel=1e-9)
    change = terms.set_index("term")["change"]
    assert change[ORDER] > 0
    assert "mean wait" in results.answer
    assert "most through order" in results.answer
