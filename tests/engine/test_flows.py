"""Transfers over a network: finish times by hand, and the event-driven network against the stand-alone loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.maxmin import Routes
from hpcsim.engine.clock import Clock
from hpcsim.engine.flows import FlowNetwork, run_flows, simulate_flows


def test_a_flow_alone_takes_latency_and_size_over_the_narrowest_link() -> None:
    finish_s = run_flows([40.0, 10.0, 25.0], Routes.of([[0, 1, 2]]), 3.0, 100.0, latency_s=0.5)
    assert finish_s.tolist() == [3.0 + 0.5 + 10.0]


def test_departures_speed_up_the_rest() -> None:
    """n flows of sizes S, 2S, … on one link: each departure leaves one flow less; the k-th ends after S·Σ (n − i)/B."""
    n, size, rate = 6, 10.0, 2.0
    finish_s = run_flows([rate], Routes.of([[0]] * n), 0.0, [size * (k + 1) for k in range(n)])
    assert finish_s == pytest.approx(np.cumsum([(n - k) * size / rate for k in range(n)]), rel=1e-15)


def test_arrivals_slow_down_the_rest() -> None:
    finish_s = run_flows([10.0], Routes.of([[0], [0]]), [0.0, 4.0], [100.0, 30.0])
    assert finish_s.tolist() == [13.0, 10.0]


def test_latency_comes_before_bandwidth() -> None:
    """The second waits until the first is done, so neither sees the other."""
    finish_s = run_flows([10.0], Routes.of([[0], [0]]), 0.0, 100.0, latency_s=[0.0, 10.0])
    assert finish_s.tolist() == [10.0, 20.0]


def test_weights_share_in_proportion() -> None:
    finish_s = run_flows([4.0], Routes.of([[0], [0]]), 0.0, 30.0, weight=[3.0, 1.0])
    assert finish_s.tolist() == [10.0, 15.0]


def test_flows_of_one_route_are_one_class() -> None:
    """Sizes, starts and weights of their own; by hand: 12 B/s, the weights 1, 2 and 3 begin at 0, 1 and 2 s."""
    # 0–1: flow 0 alone at 12; 1–2: at 4 and 8; from 2: at 2, 4, 6; sizes so that they end at 3, 4 and 5 s with what is left shared again
    sizes = [12.0 + 4.0 + 2.0, 8.0 + 4.0 + 12.0 * 2 / 5, 6.0 + 12.0 * 3 / 5 + 12.0]
    finish_s = run_flows([12.0], Routes.of([[0]] * 3), [0.0, 1.0, 2.0], sizes, weight=[1.0, 2.0, 3.0])
    assert finish_s == pytest.approx([3.0, 4.0, 5.0], rel=1e-15)


def test_equal_flows_end_in_one_step() -> None:
    run = simulate_flows([10.0, 10.0], Routes.of([[0]] * 50 + [[0, 1]] * 50), 0.0, 1.0)
    assert run.finish_s == pytest.approx(np.full(100, 10.0), rel=1e-15)
    assert run.steps == 2


def test_nothing_to_send_ends_with_the_latency() -> None:
    run = simulate_flows([1.0], Routes.of([[0], [0]]), [1.0, 2.0], 0.0, latency_s=0.25)
    assert run.finish_s.tolist() == [1.25, 2.25]
    assert run.steps == 0


def test_no_flows() -> None:
    assert run_flows([1.0], Routes.of([]), np.empty(0), np.empty(0)).size == 0


def _random(seed: int, flows: int, links: int = 40) -> tuple[np.ndarray, Routes, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    routes = Routes.of([rng.permutation(links)[: rng.integers(1, 6)] for _ in range(flows)])
    values = {
        "start_s": rng.choice([0.0, 1.0, 2.5], flows) + np.where(rng.random(flows) < 0.5, rng.random(flows) * 20, 0.0),
        "size_bytes": rng.choice([0.0, 5.0, 20.0], flows, p=[0.05, 0.45, 0.5]) * rng.choice([1.0, 1.7], flows),
        "weight": rng.choice([1.0, 2.0], flows),
        "latency_s": rng.choice([0.0, 0.25], flows),
    }
    return rng.choice([1.0, 4.0, 10.0], links), routes, values


def _slow(capacities: np.ndarray, routes: Routes, values: dict[str, Any]) -> np.ndarray:
    """Run the same flows the obvious way: everything computed from nothing whenever something happens."""
    begin = values["start_s"] + values["latency_s"]
    left, finish = values["size_bytes"].copy(), np.where(values["size_bytes"] > 0, np.inf, begin)
    use = np.zeros((capacities.size, begin.size))
    for i in range(begin.size):
        np.add.at(use[:, i], routes.links[routes.first[i] : routes.first[i + 1]], 1)
    now = 0.0
    while np.isinf(finish).any():
        active = np.isinf(finish) & (begin <= now)
        weight = np.where(active, values["weight"], 0.0)
        level, frozen, room = np.zeros(begin.size), ~active, capacities.copy()
        while not frozen.all():
            mass = use @ np.where(frozen, 0.0, weight)
            share = np.where(mass > 0, room / np.where(mass > 0, mass, 1.0), np.inf)
            link = int(share.argmin())
            fixed = ~frozen & (use[link] > 0)
            level[fixed] = share[link]
            room = room - use[:, fixed] @ (weight[fixed] * share[link])
            frozen |= fixed
        rate = level * weight
        ends = np.where(rate > 0, now + left / np.where(rate > 0, rate, 1.0), np.inf)
        coming = begin[begin > now].min(initial=np.inf)
        then = min(ends.min(), coming)
        left = left - rate * (then - now)
        done = ends <= then * (1 + 1e-13)
        finish[done] = then
        now = then
    return finish


@pytest.mark.parametrize("seed", range(4))
def test_against_the_obvious_way(seed: int) -> None:
    capacities, routes, values = _random(seed, 150)
    finish_s = run_flows(capacities, routes, **values)
    assert finish_s == pytest.approx(_slow(capacities, routes, values), rel=1e-9)


def _on_clock(capacities: np.ndarray, routes: Routes, values: dict[str, Any]) -> tuple[np.ndarray, FlowNetwork, Clock]:
    clock = Clock()
    network = FlowNetwork(clock, capacities)
    finish_s = np.full(routes.flows, np.nan)

    def begin(i: int) -> None:
        links = routes.links[routes.first[i] : routes.first[i + 1]].tolist()

        def arrived(now_s: float) -> None:
            finish_s[i] = now_s

        sent = {key: float(values[key][i]) for key in ("weight", "latency_s")}
        clock.at(float(values["start_s"][i]), lambda _: network.send(links, float(values["size_bytes"][i]), arrived, **sent))

    for i in range(routes.flows):
        begin(i)
    clock.run()
    return finish_s, network, clock


@pytest.mark.parametrize("seed", range(4))
def test_the_clock_and_the_loop_agree(seed: int) -> None:
    capacities, routes, values = _random(seed, 120)
    finish_s, network, clock = _on_clock(capacities, routes, values)
    assert finish_s == pytest.approx(run_flows(capacities, routes, **values), rel=1e-12)
    assert network.delivered_bytes == pytest.approx(values["size_bytes"].sum(), rel=1e-15)
    assert network.flows == 0
    assert (network.load_bytes_per_s == 0).all()
    assert clock.handled < 6 * routes.flows


def test_who_is_told_may_send_again() -> None:
    """A relay of three hops, each after the one before: the sum of the three."""
    clock = Clock()
    network = FlowNetwork(clock, [10.0, 5.0, 2.0])
    ends: list[float] = []

    def relay(hop: int) -> None:
        def arrived(now_s: float) -> None:
            ends.append(now_s)
            if hop < 2:
                relay(hop + 1)

        network.send([hop], 20.0, arrived, latency_s=1.0)

    relay(0)
    clock.run()
    assert ends == pytest.approx([3.0, 8.0, 19.0], rel=1e-15)


def test_a_link_that_degrades_slows_what_is_on_it() -> None:
    clock = Clock()
    network = FlowNetwork(clock, [10.0, 10.0])
    ends: dict[str, float] = {}
    network.send([0], 100.0, lambda t: ends.__setitem__("over", t))
    network.send([1], 100.0, lambda t: ends.__setitem__("beside", t))
    clock.at(5.0, lambda _: network.set_capacity([0], [2.0]))
    clock.at(10.0, lambda _: network.set_capacity([0], [20.0]))
    clock.run()
    assert ends == {"beside": 10.0, "over": 12.0}


def test_steps_are_fewer_with_a_tolerance_and_the_ends_are_near() -> None:
    rng = np.random.default_rng(5)
    routes = Routes.of([rng.permutation(60)[:4] for _ in range(800)])
    size = rng.uniform(1.0, 50.0, 800)
    exact = simulate_flows(np.full(60, 10.0), routes, 0.0, size)
    near = simulate_flows(np.full(60, 10.0), routes, 0.0, size, tolerance_frac=1e-2)
    assert near.steps < 0.4 * exact.steps
    assert np.median(np.abs(near.finish_s / exact.finish_s - 1)) < 1e-2
    assert near.finish_s == pytest.approx(exact.finish_s, rel=5e-2)


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"size_bytes": [1.0, -1.0]}, "flow-size", "size_bytes[1]"),
        ({"size_bytes": [np.nan, 1.0]}, "flow-size", "size_bytes[0]"),
        ({"start_s": [0.0, -1.0]}, "flow-time", "start_s[1]"),
        ({"latency_s": [0.0, np.inf]}, "flow-time", "latency_s[1]"),
        ({"size_bytes": [1.0, 1.0, 1.0]}, "flow-values", "size_bytes"),
        ({"tolerance_frac": 0.5}, "flow-tolerance", "tolerance_frac"),
        ({"weight": -1.0}, "flow-weight", "weight[0]"),
        ({"capacities": [0.0]}, "flow-capacity", "capacities[0]"),
        ({"routes": [[0], [1]]}, "flow-missing-link", "routes[1]"),
        ({"routes": [[0], []]}, "flow-empty-route", "routes[1]"),
    ],
)
def test_each_mistake_is_one_clear_problem(change: dict[str, Any], code: str, place: str) -> None:
    given: dict[str, Any] = {"capacities": [1.0], "routes": [[0], [0]], "start_s": 0.0, "size_bytes": 1.0, **change}
    with pytest.raises(InputError) as raised:
        run_flows(given.pop("capacities"), Routes.of(given.pop("routes")), given.pop("start_s"), given.pop("size_bytes"), **given)
    assert raised.value.problems[0].code == code
    assert raised.value.problems[0].path == place


@pytest.mark.parametrize(
    ("route", "size_bytes", "options", "code"),
    [
        ([], 1.0, {}, "flow-empty-route"),
        ([3], 1.0, {}, "flow-missing-link"),
        ([0], -1.0, {}, "flow-size"),
        ([0], 1.0, {"latency_s": -1.0}, "flow-time"),
        ([0], 1.0, {"weight": 0.0}, "flow-weight"),
    ],
)
def test_a_mistaken_send_is_refused(route: list[int], size_bytes: float, options: dict[str, float], code: str) -> None:
    network = FlowNetwork(Clock(), [1.0])
    with pytest.raises(InputError) as raised:
        network.send(route, size_bytes, lambda _: None, **options)
    assert raised.value.problems[0].code == code
