"""The serving engine against a slow one pass by pass, against queues with closed forms, and what it must conserve."""

from __future__ import annotations

import dataclasses
import itertools
import json
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cost.queues import mdc_wait_s, mg1_wait_s
from hpcsim.engine.clock import Clock
from hpcsim.engine.serving import Series, ServiceRun
from hpcsim.scenario.load import load
from hpcsim.workload.requests import Requests, draw_requests
from hpcsim.workload.serving import ServingPlan, plan_serving
from tests.oracles.slow_serving import serve_slowly


@lru_cache(maxsize=64)
def _plan(text: str) -> ServingPlan:
    spec = json.loads(text)
    scenario = load(
        {
            "schema": 1,
            "name": "x",
            "question": "?",
            "cluster": {"nodes": {"gpu": {"type": "dgx-h100", "count": 16}}, "fabric": {"link": "ndr"}},
            "workload": {"serving": {"one": spec}},
        }
    )
    cluster = resolve(scenario.cluster, default())
    return plan_serving("one", scenario.workload.serving["one"], cluster, default())


def plan(**changes: Any) -> ServingPlan:
    base = {"model": "llama3-8b", "load": "1/s", "prompt": 500, "output": 100, "replicas": 1, "duration": "100 s"}
    return _plan(json.dumps({**base, **changes}, sort_keys=True))


def serve(made: ServingPlan, requests: Requests | None = None, seed: int = 1) -> ServiceRun:
    asked = requests or draw_requests(made.name, made.spec, seed, servers=made.apart or made.replicas)
    run, clock = ServiceRun(made, asked), Clock()
    clock.process(run.process(clock))
    clock.run()
    assert not run.left
    return run


def asked(arrivals: list[float], prompts: list[int], outputs: list[int]) -> Requests:
    n = len(arrivals)
    return Requests(np.array(arrivals), np.array(prompts), np.array(outputs), np.zeros(n), np.arange(n), float(np.max(arrivals)))


@given(st.floats(1e-3, 1.0), st.floats(0.0, 0.1), st.floats(0.0, 2.0), st.integers(1, 200))
def test_the_steps_of_a_batch_are_a_series(first: float, more: float, floor: float, count: int) -> None:
    steps = [max(floor, first + i * more) for i in range(count)]
    series = Series(first, more, floor)
    assert series.time_s(count) == pytest.approx(sum(steps), rel=1e-9)
    ends = np.cumsum(steps)
    for seconds in (0.0, 0.3 * ends[-1], ends[-1]):
        found = series.steps(seconds * (1 - 1e-9), count)
        assert found == min(int(np.searchsorted(ends, seconds * (1 - 1e-9))) + 1, count)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.0, 0.4), st.integers(1, 900), st.integers(1, 40)), min_size=1, max_size=12),
    st.sampled_from([0, 64, 200]),
    st.sampled_from([1, 600, 2048]),
    st.integers(1, 4),
    st.sampled_from([950, 1500, 10**6]),
)
def test_the_engine_agrees_with_one_pass_by_pass(
    rows: list[tuple[float, int, int]], chunk: int, pass_tokens: int, most: int, room: int
) -> None:
    gaps, prompts, outputs = (list(column) for column in zip(*rows, strict=True))
    arrivals = np.cumsum(gaps).tolist()
    made = plan(**({"prefill": "chunked"} if chunk else {}), prompt=900)
    made = dataclasses.replace(made, chunk=chunk, pass_tokens=pass_tokens, most_slots=most, room_tokens=float(room))
    run = serve(made, asked(arrivals, prompts, outputs))
    start, first, end = serve_slowly(made.passes, arrivals, prompts, outputs, room=room, most=most, pass_tokens=pass_tokens, chunk=chunk)
    assert run.start_s.tolist() == pytest.approx(start, rel=1e-9, abs=1e-9)
    assert run.first_s.tolist() == pytest.approx(first, rel=1e-9, abs=1e-9)
    assert run.end_s.tolist() == pytest.approx(end, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("mode", [{}, {"prefill": "chunked"}, {"prefill": "apart", "prefill_replicas": 2, "replicas": 2}])
def test_every_token_is_worked_on_once(mode: dict[str, Any]) -> None:
    made = plan(load="8/s", prompt={"mean": 400, "spread": 1}, output={"mean": 60, "spread": 0.8}, **mode)
    every = np.arange(len(made.passes.linear_s), dtype=float)
    none = np.zeros(len(made.passes.head_s))
    counting = dataclasses.replace(
        made.passes, linear_load_s=every, head_load_s=none, cache_load_s=0.0, attention_load_frac=0.0, waiting_load_frac=0.0
    )
    run = serve(dataclasses.replace(made, passes=counting))
    tokens = sum(load for _, _, load in run.work)
    assert tokens == pytest.approx(run.requests.prompts.sum() + (run.requests.outputs - 1).sum(), rel=1e-12)
    assert (run.start_s >= run.requests.arrival_s - 1e-12).all()
    assert (run.first_s > run.start_s).all()
    assert (run.end_s >= run.first_s).all()


def test_a_service_of_one_pass_is_a_queue_of_fixed_service_times() -> None:
    for replicas, rate in ((1, 900), (3, 3000)):
        made = plan(model="resnet-50", prompt=1, output=1, replicas=replicas, load=f"{rate}/s", duration="20 s", pass_tokens=1)
        run = serve(made)
        service = float((run.first_s - run.start_s).mean())
        wait = float((run.start_s - run.requests.arrival_s).mean())
        seen = len(run.start_s) / 20.0
        assert wait == pytest.approx(mdc_wait_s(replicas, seen * service, service_s=service), rel=0.05)
        assert float(made.steady.wait_s.mean()) == pytest.approx(wait, rel=0.1)


def test_a_service_of_prefills_is_a_queue_of_their_times() -> None:
    made = plan(model="bert-large", prompt={"mean": 300, "spread": 1.0}, output=1, load="450/s", duration="60 s", pass_tokens=1)
    run = serve(made)
    service = run.first_s - run.start_s
    rho = 450 * float(service.mean())
    assert 0.5 < rho < 0.9
    theory = mg1_wait_s(rho, service_scv=float(service.var() / service.mean() ** 2), service_s=float(service.mean()))
    assert float((run.start_s - run.requests.arrival_s).mean()) == pytest.approx(float(theory), rel=0.07)


def test_requests_there_on_average_are_their_rate_times_their_stay() -> None:
    run = serve(plan(load="6/s", prompt={"mean": 400, "spread": 1}, output={"mean": 100, "spread": 0.5}, duration="200 s"))
    times = np.linspace(20.0, 180.0, 4001)
    there = (run.requests.arrival_s[:, None] <= times) & (run.end_s[:, None] > times)
    inside = (run.requests.arrival_s >= 20) & (run.requests.arrival_s <= 180)
    rate, stay = inside.sum() / 160.0, float((run.end_s - run.requests.arrival_s)[inside].mean())
    assert there.sum(axis=0).mean() == pytest.approx(rate * stay, rel=0.03)


def test_more_replicas_are_no_worse_for_the_same_requests() -> None:
    requests = draw_requests(
        "one", plan(load="30/s", prompt={"mean": 600, "spread": 1}, output={"mean": 80, "spread": 1}, duration="40 s").spec, 3, servers=1
    )
    stays = [
        float((serve(plan(replicas=c, prompt={"mean": 600, "spread": 1}), requests).end_s - requests.arrival_s).mean())
        for c in (1, 2, 4, 8)
    ]
    assert all(a >= b for a, b in itertools.pairwise(stays))


def test_pools_apart_hold_up_no_decode_step() -> None:
    spec: dict[str, Any] = {"load": "12/s", "prompt": {"mean": 1500, "spread": 0.5}, "output": 100, "duration": "40 s"}
    stall, apart = serve(plan(**spec, replicas=2)), serve(plan(**spec, replicas=1, prefill="apart", prefill_replicas=1))

    def slowest(run: ServiceRun) -> float:
        return float(np.quantile((run.end_s - run.first_s) / 99.0, 0.99))

    assert slowest(apart) < slowest(stall)
    sent = apart.plan.service.transfer_s * apart.requests.prompts
    assert (sent > 0).all()
    assert (apart.end_s - apart.first_s > sent).all()


def test_who_goes_where() -> None:
    turn = serve(plan(load="20/s", replicas=4, routing="round-robin", duration="10 s"))
    assert turn._turn == len(turn.requests.arrival_s)
    own = serve(plan(model="resnet-50", prompt=1, output=1, load="2000/s", replicas=4, routing="own", duration="5 s"))
    shared = serve(plan(model="resnet-50", prompt=1, output=1, load="2000/s", replicas=4, duration="5 s"))
    assert own.start_s.tolist() != shared.start_s.tolist()
    assert float((own.start_s - own.requests.arrival_s).mean()) > float((shared.start_s - shared.requests.arrival_s).mean())


def test_the_same_seed_gives_the_same_requests_and_a_new_consumer_moves_none() -> None:
    spec = plan(load="5/s", prompt={"mean": 300, "spread": 1}).spec
    a, b = (draw_requests("one", spec, 7, servers=n) for n in (1, 5))
    assert a.arrival_s.tolist() == b.arrival_s.tolist()
    assert a.prompts.tolist() == b.prompts.tolist()
    assert draw_requests("two", spec, 7, servers=1).arrival_s.tolist() != a.arrival_s.tolist()


def test_arrivals_follow_the_profile() -> None:
    spec = plan(load="50/s", profile={"parts": [1, 3], "period": "20 s"}, duration="200 s").spec
    arrival = draw_requests("one", spec, 1, servers=1).arrival_s
    busy = ((arrival // 10) % 2 == 1).mean()
    assert busy == pytest.approx(0.75, abs=0.02)
    assert len(arrival) == pytest.approx(10_000, rel=0.05)
    even = draw_requests("one", plan(load="50/s", arrivals="even", duration="10 s").spec, 1, servers=1).arrival_s
    assert np.diff(even).tolist() == pytest.approx([0.02] * 499)
