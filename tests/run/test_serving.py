"""Services through every layer: both views agree, what is promised is sized for, what cannot be is refused, and the books add up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.engine.clock import Clock
from hpcsim.engine.serving import ServiceRun
from hpcsim.results.quantities import brief
from hpcsim.run.bind import bind
from hpcsim.run.ranges import wide_notes
from hpcsim.workload.requests import draw_requests
from hpcsim.workload.service_course import course_of


def scenario(spec: dict[str, Any], *, nodes: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    group = nodes or {"type": "dgx-h100", "count": 4}
    cluster = {
        "nodes": {"gpu": group},
        "fabric": {"link": "ndr", "per_node": 8},
        "site": {"pue": 1.2, "electricity": "0.1 USD/kWh"},
        "prices": {"gpu": "2 USD/h"},
    }
    base = {"model": "llama3-8b", "load": "4/s", "prompt": 500, "output": 100, "duration": "60 s"}
    return {"schema": 1, "name": "s", "question": "?", "cluster": cluster, "workload": {"serving": {"chat": {**base, **spec}}}, **more}


def code_of(spec: dict[str, Any], **more: Any) -> tuple[str, str, str]:
    with pytest.raises(InputError) as caught:
        bind(scenario(spec, **more))
    (problem,) = caught.value.problems
    return problem.code, problem.path, str(problem)


@settings(max_examples=10)
@given(
    st.sampled_from(["llama3-8b", "mixtral-8x7b", "qwen3-30b-a3b"]),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["bf16", "fp8", "int4"]),
    st.integers(1, 3000),
    st.integers(1, 300),
    st.sampled_from(["stall", "chunked"]),
)
def test_both_views_agree_where_nothing_queues(model: str, tp: int, weights: str, prompt: int, output: int, prefill: str) -> None:
    spec = {"model": model, "tp": tp, "weights": weights, "prompt": prompt, "output": output, "prefill": prefill, "replicas": 1}
    plan = bind(scenario({**spec, "load": "1/hour", "duration": "3 hours", "arrivals": "even"})).services[0]
    run, clock = ServiceRun(plan, draw_requests("chat", plan.spec, 1, servers=1)), Clock()
    clock.process(run.process(clock))
    clock.run()
    stay, first = run.end_s - run.requests.arrival_s, run.first_s - run.requests.arrival_s
    for found, times in ((stay, plan.steady.latency_s), (first, plan.steady.ttft_s)):
        assert len(found) == 3
        assert np.quantile(times, [0.05, 0.95]) == pytest.approx(found[:2], rel=1e-3)


@pytest.mark.parametrize(("more", "near"), [({}, 0.1), ({"prefill": "chunked"}, 0.12), ({"routing": "own", "replicas": 3}, 0.12)])
def test_both_views_are_close_where_requests_meet(more: dict[str, Any], near: float) -> None:
    spec = {
        "load": "25/s",
        "prompt": {"mean": 600, "spread": 0.8},
        "output": {"mean": 120, "spread": 0.6},
        "replicas": 2,
        "duration": "120 s",
        **more,
    }
    run, closed = hpcsim.simulate(scenario(spec)).summary, hpcsim.estimate(scenario(spec)).summary
    for key in (
        "p50_ttft_s",
        "p95_ttft_s",
        "p50_tpot_s",
        "p95_tpot_s",
        "p50_latency_s",
        "p95_latency_s",
        "tokens_per_s",
        "energy_per_request_j",
    ):
        assert run[key] == pytest.approx(closed[key], rel=near), key


def test_a_deadline_across_a_jittery_line() -> None:
    """Alone on the replica an answer is late with P(jitter > what is left) = exp(−left/mean)."""
    access = {"latency": "5 ms", "jitter": "4 ms", "rate": "100 Mbit/s", "request": "100 kB"}
    spec = {"model": "vit-b-16", "prompt": 197, "output": 1, "load": "40/s", "duration": "500 s", "replicas": 4, "access": access, "objectives": {"deadline": "25 ms"}}  # fmt: skip
    run, closed = hpcsim.simulate(scenario(spec)), hpcsim.estimate(scenario(spec))
    alone = float(run.latencies["time_s"].min()) - 0.010 - 8e5 / 1e8
    left = 0.025 - 0.010 - 8e5 / 1e8 - min(alone, 0.002)
    expected = math.exp(-left / 0.004)
    assert closed.summary["late_frac"] == pytest.approx(expected, rel=0.05)
    assert run.summary["late_frac"] == pytest.approx(expected, rel=0.07)
    assert run.summary["goodput_frac"] == pytest.approx(1.0 - run.summary["late_frac"])


def test_as_many_replicas_as_keep_the_objectives_and_no_more() -> None:
    spec = {"load": "60/s", "prompt": {"mean": 600, "spread": 0.8}, "output": {"mean": 120, "spread": 0.6}, "objectives": {"ttft": "150 ms", "tpot": "14 ms"}, "target": 0.9}  # fmt: skip
    sized = bind(scenario(spec)).services[0]
    assert sized.replicas > 1
    assert sized.kept_load_per_s * 0.9 >= 60 * (1 - 1e-3)
    fewer = bind(scenario({**spec, "replicas": sized.replicas - 1})).services[0]
    assert fewer.kept_load_per_s * 0.9 < 60
    assert hpcsim.simulate(scenario(spec)).summary["goodput_frac"] >= 0.95


def test_the_peak_of_the_profile_decides() -> None:
    spec = {"load": "60/s", "objectives": {"tpot": "12 ms"}}
    level = bind(scenario(spec)).services[0]
    peaky = bind(scenario({**spec, "profile": {"parts": [1, 1, 1, 5], "period": "20 s"}})).services[0]
    assert peaky.peak.load_per_s == pytest.approx(150)
    assert peaky.replicas > level.replicas


def test_the_books_add_up() -> None:
    results = hpcsim.simulate(scenario({"replicas": 8}))
    row = results.services.iloc[0]
    energy = results.energy.set_index("component")["energy_j"]
    span = float(results.jobs["run_s"].iloc[0])
    assert row["requests"] == row["requests_finished"]
    assert row["cost_usd"] == pytest.approx(8 * 2 / 3600 * span + row["energy_j"] / 3.6e6 * 0.1)
    held = float(energy["compute"]) + float(energy["idle"]) / 4
    assert row["energy_j"] == pytest.approx(1.2 * held, rel=1e-6)
    assert row["cost_per_request_usd"] * row["requests"] == pytest.approx(row["cost_usd"])
    assert results.summary["cost_per_request_usd"] == row["cost_per_request_usd"]
    assert results.breakdown["fraction"].sum() == pytest.approx(1)
    mean = float(results.breakdown["seconds"].sum())
    assert row["p50_latency_s"] < 2 * mean
    assert (results.latencies.groupby("measure")["time_s"].diff().dropna() >= 0).all()


def test_a_horizon_cuts_and_what_is_under_way_is_late() -> None:
    spec = {"objectives": {"deadline": "10 s"}, "output": 400, "replicas": 1}
    results = hpcsim.simulate(scenario(spec, simulate={"until": "30 s"}))
    row = results.services.iloc[0]
    assert results.jobs["status"].tolist() == ["running"]
    assert 0 < row["requests_finished"] < row["requests"] < 4 * 30 * 1.4
    assert row["late_frac"] == pytest.approx(1 - row["requests_finished"] / row["requests"])


def test_the_same_seed_gives_the_same_figures() -> None:
    spec = scenario({"prompt": {"mean": 300, "spread": 1}, "access": {"jitter": "1 ms"}})
    one, two, other = (hpcsim.simulate(spec, seed=seed) for seed in (3, 3, 4))
    assert one.latencies.equals(two.latencies)
    assert not one.latencies.equals(other.latencies)


def test_too_much_load_is_told_and_simulated_all_the_same() -> None:
    spec = scenario({"load": "200/s", "replicas": 1, "duration": "10 s"})
    closed, run = hpcsim.estimate(spec), hpcsim.simulate(spec)
    assert any("the queue grows" in note for note in closed.notes)
    assert "p95_ttft_s" not in closed.summary
    assert "grows without end" in closed.answer
    assert run.summary["requests_finished"] == run.summary["requests"]
    assert run.summary["p95_ttft_s"] > 1.0


def test_what_does_not_fit_says_what_would() -> None:
    code, path, text = code_of({"model": "llama3-70b", "tp": 1})
    assert (code, path) == ("serving-memory", "workload.serving.chat")
    assert "tp: 4 or weights: int4" in text
    code, _, text = code_of({"model": "llama3-70b", "tp": 2, "weights": "fp8", "prompt": 300_000, "prefill": "chunked"})
    assert code == "serving-cache"
    assert "room for" in text


def test_objectives_out_of_reach_say_so() -> None:
    code, path, text = code_of({"objectives": {"tpot": "1 ms"}})
    assert (code, path) == ("serving-objective", "workload.serving.chat.objectives.tpot")
    assert "alone on a replica it is 6." in text
    kept = bind(scenario({"objectives": {"tpot": "1 ms"}, "replicas": 1})).services[0]
    assert kept.kept_load_per_s == 0
    assert any("expected to miss the time per token" in note for note in kept.notes)


@pytest.mark.parametrize(
    ("spec", "code", "where"),
    [
        ({"load": "5000/s", "duration": "10 s"}, "serving-capacity", "replicas"),
        ({"replicas": 33}, "serving-replicas", "replicas"),
        ({"tp": 3}, "serving-split", "tp"),
        ({"tp": 32, "model": "gpt2-xl"}, "serving-split", "tp"),
        ({"model": "resnet-50", "tp": 2, "output": 1}, "serving-split", "tp"),
        ({"model": "bert-large"}, "serving-model", "output"),
        ({"model": "transformer-big"}, "serving-model", "model"),
        ({"model": "dlrm", "output": 1}, "serving-model", "model"),
        ({"load": "1e6/s"}, "serving-requests", "load"),
        ({"nodes": "cpu"}, "unknown-node-group", "nodes"),
    ],
)
def test_what_cannot_be_is_refused(spec: dict[str, Any], code: str, where: str) -> None:
    found, path, text = code_of(spec)
    assert found == code, text
    assert path == f"workload.serving.chat.{where}"
    assert "(" in text


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"chunk": 256}, "serving-chunk"),
        ({"prefill_replicas": 2}, "serving-apart"),
        ({"prefill": "apart"}, "serving-apart-missing"),
        ({"replicas": "many"}, "serving-replicas-form"),
        ({"replicas": 0}, "serving-replicas-form"),
        ({"profile": [0, 0]}, "serving-profile"),
        ({"load": "20"}, "unitless-quantity"),
        ({"prompt": 0}, "out-of-range"),
    ],
)
def test_the_form_is_checked(spec: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.load(scenario(spec))
    assert [problem.code for problem in caught.value.problems] == [code]


def test_two_services_share_a_group_or_are_told_that_they_cannot() -> None:
    given_ = scenario({"replicas": 8})
    given_["workload"]["serving"]["other"] = {"model": "bert-large", "prompt": 200, "load": "50/s", "replicas": 9, "duration": "20 s"}
    results = hpcsim.simulate(given_)
    assert results.services["nodes"].tolist() == [1, 2]
    assert results.jobs["wait_s"].tolist() == [0, 0]
    assert results.summary["requests"] == results.services["requests"].sum()
    given_["workload"]["serving"]["other"]["replicas"] = 32
    with pytest.raises(InputError) as caught:
        bind(given_)
    assert [problem.code for problem in caught.value.problems] == ["serving-together"]


def test_a_small_device_of_ones_own() -> None:
    """At the edge an answer's tokens come at the rate at which the weights are read."""
    box = {"count": 1, "accelerator": {"peak": {"fp16": "40 TFLOP/s"}, "memory": "32 GB", "memory_bandwidth": "100 GB/s", "tdp": "40 W", "idle": "5 W"}, "per_node": 1}  # fmt: skip
    spec = {
        "model": "llama3-8b",
        "weights": "int4",
        "load": "1/min",
        "replicas": 1,
        "slots": 1,
        "prompt": 100,
        "output": 50,
        "duration": "10 min",
    }
    plan = bind(scenario(spec, nodes=box)).services[0]
    read = (float(plan.memory["weights"]) - 2 * 128256 * 4096) / (0.85 * 100e9)
    assert read < plan.steady.step_s < 1.2 * read
    assert plan.binds == "weights"
    assert np.isfinite(plan.steady.tpot_s).all()


def test_rates_are_written_as_people_say_them() -> None:
    loads = [hpcsim.load(scenario({"load": text})).workload.serving["chat"].load for text in ("20/s", "1200/min", "20 Hz", "20 1/s")]
    assert loads == pytest.approx([20.0] * 4)


def test_ranges_widen_with_the_load() -> None:
    """Slow passes are the worse the more a replica has to do; what stands fast on the way does not move."""
    far = {"latency": "500 ms"}
    widths = []
    for load in ("1/s", "25/s"):
        results = hpcsim.estimate(scenario({"load": load, "replicas": 1}))
        for key in ("p95_ttft_s", "p50_tpot_s", "p99_latency_s", "capacity_per_s"):
            low, high = results.ranges[key]
            assert low < results.summary[key] < high
        low, high = results.ranges["p50_tpot_s"]
        widths.append(high / low)
    assert 1.2 < widths[0] < widths[1]
    near, away = (hpcsim.estimate(scenario({"replicas": 1, "access": access})) for access in ({}, far))
    assert away.summary["p95_ttft_s"] == pytest.approx(near.summary["p95_ttft_s"] + 1.0)
    spans = [np.diff(results.ranges["p95_ttft_s"])[0] for results in (near, away)]
    assert spans[0] == pytest.approx(spans[1])
    overloaded = hpcsim.estimate(scenario({"load": "200/s", "replicas": 1, "duration": "10 s"}))
    assert "p95_ttft_s" not in overloaded.ranges


def test_a_profile_without_a_duration_lasts_one_period() -> None:
    profile = {"parts": [1, 2, 3, 2], "period": "40 s"}
    given_ = scenario({"load": "5/s", "profile": profile, "replicas": 1})
    del given_["workload"]["serving"]["chat"]["duration"]
    assert bind(given_).services[0].spec.lasts_s == 40
    closed, run = hpcsim.estimate(given_), hpcsim.simulate(given_)
    assert closed.summary["requests"] == 200
    assert run.summary["load_per_s"] == closed.summary["load_per_s"] == 5
    assert not any("of a profile" in note for note in closed.notes)


def test_a_duration_that_cuts_the_profile_is_told() -> None:
    spec = scenario({"load": "20/s", "profile": [1, 2, 3, 2], "duration": "40 s", "replicas": 4})
    closed, run = hpcsim.estimate(spec), hpcsim.simulate(spec)
    assert closed.summary["requests"] == 400
    for results in (closed, run):
        assert results.summary["load_per_s"] == pytest.approx(10)
        assert "to 10 requests a second" in results.answer
        (note,) = [note for note in results.notes if "of a profile" in note]
        assert "the first of the 4 parts: 10 requests a second on average there and 10 at most, 20 and 30 over all of it" in note
    code, path, _ = code_of({"profile": [0, 1]})
    assert (code, path) == ("serving-no-load", "workload.serving.chat.duration")


def test_energy_sums_over_the_parts_of_a_profile() -> None:
    """A service with nothing to do in three of four parts draws what it draws at four times the load, a quarter of the time."""
    spec = {"load": "5/s", "profile": {"parts": [0, 0, 0, 1], "period": "2 min"}, "duration": "2 min", "replicas": 1}
    closed, run = hpcsim.estimate(scenario(spec)).services.iloc[0], hpcsim.simulate(scenario(spec)).services.iloc[0]
    level = bind(scenario({"load": "20/s", "replicas": 1})).services[0]
    assert closed["utilisation_frac"] == pytest.approx(level.mean_work(level.steady)[1] / 4)
    assert closed["mean_batch"] == pytest.approx(level.steady.batch / 4)
    for key, near in (("energy_j", 0.02), ("utilisation_frac", 0.05)):
        assert run[key] == pytest.approx(closed[key], rel=near)


def test_a_backlog_is_worked_off_in_the_parts_behind() -> None:
    """Full until what came above the capacity c is done: a first half at 3/2 c and a second at 1/2 c leave nothing, and no idle time."""
    most = bind(scenario({"replicas": 1})).services[0].steady.capacity_per_s
    spec = {"replicas": 1, "load": f"{most!r}/s", "duration": "20 s", "profile": {"parts": [3, 1], "period": "20 s"}}
    course = course_of(bind(scenario(spec)).services[0])
    assert course.answered == pytest.approx(course.requests)
    assert course.busy_frac == 1
    half = course_of(bind(scenario({**spec, "duration": "10 s"})).services[0])
    assert half.answered == pytest.approx(10 * most)
    eased = course_of(bind(scenario({**spec, "profile": {"parts": [3, 0, 0, 0], "period": "20 s"}})).services[0])
    assert eased.busy_frac == pytest.approx(1)
    assert course_of(bind(scenario({**spec, "load": f"{most / 2!r}/s", "profile": {"parts": [3, 0, 0, 0], "period": "20 s"}})).services[0]).busy_frac == pytest.approx(0.5)  # fmt: skip


def test_the_answer_says_over_what_its_figures_are_taken() -> None:
    """Of one service its tokens, period and idle nodes; of two no figure of tokens; nothing of idle nodes where none idle."""
    one = hpcsim.estimate(scenario({"replicas": 1}))
    tokens = brief("cost_per_mtoken_usd", one.summary["cost_per_mtoken_usd"])
    assert f" USD ({tokens} per million output tokens) and " in one.answer
    assert "on the nodes of the service an answer takes" in one.answer
    assert " J with cooling. In 60 s the machine, 1 of its 4 nodes in use, draws " in one.answer
    full = hpcsim.estimate(scenario({"replicas": 1}, nodes={"type": "dgx-h100", "count": 1}))
    assert ". In 60 s the machine draws " in full.answer


def test_a_range_that_ends_far_above_its_figure_is_told() -> None:
    notes = wide_notes({"p95_ttft_s": 0.1, "p99_ttft_s": 0.1}, {"p95_ttft_s": (0.05, 0.3), "p99_ttft_s": (0.05, 0.42)})
    assert [("95th" in note, "99th percentile (up to 4.2 times)" in note) for note in notes] == [(False, True)]
    assert wide_notes({"p95_ttft_s": 0.1}, {"p95_ttft_s": (0.05, 0.3)}) == []


def test_unanswered_requests_are_later_than_any_time() -> None:
    spec = {"load": "50/s", "prompt": 800, "output": 300, "replicas": 1, "objectives": {"deadline": "60 s"}}
    results = hpcsim.simulate(scenario(spec, simulate={"until": "20 s"}))
    row, came, done = results.summary, results.summary["requests"], results.summary["requests_finished"]
    assert 0 < done < 0.5 * came
    assert "p50_latency_s" not in row
    assert "not within the time simulated" in results.answer
    assert any(f"{came - done:,} of {came:,} requests were not answered" in note for note in results.notes)
    assert row["goodput_frac"] == pytest.approx(done / came) == 1 - row["late_frac"]
    latency = results.latencies[results.latencies["measure"] == "latency"]
    assert latency["quantile_frac"].max() <= done / came


@pytest.mark.parametrize("load", ["0/s", "20", "inf/s", "-1/s"])
def test_a_load_that_is_none_is_told_in_its_own_words(load: str) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.load(scenario({"load": load}))
    (problem,) = caught.value.problems
    assert repr(load) in problem.message
    assert "'20/s'" in problem.hint


def test_nodes_without_accelerators_are_refused_where_they_are_named() -> None:
    code, path, text = code_of({}, nodes={"count": 2, "cores": 8})
    assert (code, path) == ("serving-nodes", "workload.serving.chat")
    assert "in workload.serving.chat.nodes;" in text
    code, path, text = code_of({"nodes": "gpu"}, nodes={"count": 2, "cores": 8})
    assert (code, path) == ("serving-nodes", "workload.serving.chat.nodes")
    assert "nodes.nodes" not in text
