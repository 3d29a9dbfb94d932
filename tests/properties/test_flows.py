"""Invariants of shared networks over random graphs, flows and times (I2, I21, I30, I34, I35, I47, I48)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost.maxmin import Routes, Sharing, fair_rates
from hpcsim.engine.clock import Clock
from hpcsim.engine.flows import FlowNetwork, run_flows

NEAR = 1e-9


class Network(NamedTuple):
    capacities: np.ndarray
    routes: list[list[int]]
    start_s: np.ndarray
    size_bytes: np.ndarray
    weight: np.ndarray
    latency_s: np.ndarray

    def finish_s(self) -> np.ndarray:
        return run_flows(
            self.capacities, Routes.of(self.routes), self.start_s, self.size_bytes, weight=self.weight, latency_s=self.latency_s
        )


def _paths(draw: st.DrawFn, links: int, most: int) -> list[list[int]]:
    """Walks over the edges of a random connected graph: a tree and some more edges."""
    vertices = max(2, links // 2)
    ends = [(draw(st.integers(0, v - 1)), v) for v in range(1, vertices)]
    while len(ends) < links:
        a, b = draw(st.integers(0, vertices - 1)), draw(st.integers(0, vertices - 1))
        ends.append((a, b) if a != b else (a, (a + 1) % vertices))
    at: dict[int, list[int]] = {v: [i for i, e in enumerate(ends) if v in e] for v in range(vertices)}
    walks = []
    for _ in range(draw(st.integers(1, most))):
        vertex, walk = draw(st.integers(0, vertices - 1)), []
        for _ in range(draw(st.integers(1, 5))):
            choice = [i for i in at[vertex] if i not in walk]
            if not choice:
                break
            edge = draw(st.sampled_from(choice))
            walk.append(edge)
            vertex = ends[edge][0] if ends[edge][1] == vertex else ends[edge][1]
        walks.append(walk)
    return walks


@st.composite
def networks(draw: st.DrawFn, most: int = 14) -> Network:
    links = draw(st.integers(1, 12))
    routes = _paths(draw, links, most)
    n = len(routes)

    def some(strategy: st.SearchStrategy[float], count: int) -> np.ndarray:
        return np.array(draw(st.lists(strategy, min_size=count, max_size=count)))

    capacities = some(st.sampled_from([1.0, 2.0, 10.0]) | st.floats(0.5, 50.0), max(links, max(max(r) for r in routes) + 1))
    return Network(
        capacities,
        routes,
        some(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 20.0), n),
        some(st.sampled_from([1.0, 10.0]) | st.floats(0.1, 100.0), n),
        some(st.sampled_from([1.0, 2.0]) | st.floats(0.2, 5.0), n),
        some(st.sampled_from([0.0, 0.5]), n),
    )


@given(networks())
def test_i47_every_flow_has_a_bottleneck(net: Network) -> None:
    """I47: the rates fit, and each flow crosses a full link on which nobody has a higher level. That is the definition."""
    rates = fair_rates(net.capacities, Routes.of(net.routes), weight=net.weight)
    load = np.zeros(net.capacities.size)
    for route, rate in zip(net.routes, rates):
        load[route] += rate
    assert (load <= net.capacities * (1 + NEAR)).all()
    level = rates / net.weight
    for i, route in enumerate(net.routes):
        full = [link for link in route if load[link] >= net.capacities[link] * (1 - NEAR)]
        assert any(all(level[j] <= level[i] * (1 + NEAR) for j, other in enumerate(net.routes) if link in other) for link in full)


@given(networks(most=25), st.data())
def test_i47_kept_up_to_date_it_stays_what_it_is_from_nothing(net: Network, data: st.DataObject) -> None:
    """I47 after every change; and the order in which routes came makes no difference (I32)."""
    n = len(net.routes)
    routes, mass = Routes.of(net.routes), np.zeros(n)
    sharing = Sharing(net.capacities, routes)
    for _ in range(data.draw(st.integers(1, 12))):
        route = data.draw(st.integers(0, n - 1))
        mass[route] = data.draw(st.sampled_from([0.0, net.weight[route], 2 * net.weight[route]]))
        sharing.update(np.array([route]), mass[[route]])
        active = np.flatnonzero(mass)
        assert (sharing.level[mass == 0] == 0).all()
        if active.size:
            expected = fair_rates(net.capacities, Routes.of([net.routes[i] for i in active]), weight=mass[active])
            assert sharing.level[active] * mass[active] == pytest.approx(expected, rel=NEAR)


@settings(max_examples=50)
@given(networks())
def test_i2_bytes_in_are_bytes_out_on_every_link(net: Network) -> None:
    """I2: what a link carried over time is the sum of the flows that crossed it, and nothing is under way at the end."""
    clock = Clock()
    network = FlowNetwork(clock, net.capacities)
    for i in range(len(net.routes)):

        def send(_: object, i: int = i) -> None:
            weight, latency_s = float(net.weight[i]), float(net.latency_s[i])
            network.send(net.routes[i], float(net.size_bytes[i]), lambda _: None, weight=weight, latency_s=latency_s)

        clock.at(float(net.start_s[i]), send)
    carried, since, load = np.zeros(net.capacities.size), 0.0, np.zeros(net.capacities.size)
    while clock.peek() < np.inf:
        carried += load * (clock.peek() - since)
        since = clock.peek()
        clock.step()
        load = network.load_bytes_per_s
        assert (load <= net.capacities * (1 + NEAR)).all()
    expected = np.zeros(net.capacities.size)
    for route, size in zip(net.routes, net.size_bytes):
        expected[route] += size
    assert carried == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert network.delivered_bytes == pytest.approx(net.size_bytes.sum(), rel=NEAR)
    assert network.flows == 0


@given(networks(), st.sampled_from([1e-6, 0.1, 3.0, 1e9]))
def test_i30_times_scale_and_bytes_with_bandwidth_do_nothing(net: Network, k: float) -> None:
    """I30: all times times k; bytes and bandwidth together times k change nothing."""
    finish_s = net.finish_s()
    slower = net._replace(start_s=net.start_s * k, latency_s=net.latency_s * k, size_bytes=net.size_bytes * k)
    assert slower.finish_s() == pytest.approx(finish_s * k, rel=NEAR)
    wider = net._replace(capacities=net.capacities * k, size_bytes=net.size_bytes * k)
    assert wider.finish_s() == pytest.approx(finish_s, rel=NEAR)


@given(networks(), st.floats(0.01, 100.0))
def test_only_the_ratio_of_weights_counts(net: Network, k: float) -> None:
    assert net._replace(weight=net.weight * k).finish_s() == pytest.approx(net.finish_s(), rel=NEAR)


@given(networks(), st.data(), st.integers(2, 5))
def test_i34_a_flow_in_parts_of_its_weight_changes_nothing(net: Network, data: st.DataObject, k: int) -> None:
    """I34: k parts on one path, each with a k-th of the bytes and of the weight."""
    i = data.draw(st.integers(0, len(net.routes) - 1))
    parts = net._replace(
        routes=net.routes + [net.routes[i]] * (k - 1),
        **{
            name: np.concatenate([values, np.full(k - 1, values[i])])
            for name, values in net._asdict().items()
            if name not in ("capacities", "routes")
        },
    )
    for values in (parts.size_bytes, parts.weight):
        values[[i, *range(len(net.routes), len(parts.routes))]] /= k
    finish_s, whole = parts.finish_s(), net.finish_s()
    assert finish_s[: len(net.routes)] == pytest.approx(whole, rel=NEAR)
    assert finish_s[len(net.routes) :] == pytest.approx(np.full(k - 1, whole[i]), rel=NEAR)


@given(st.integers(1, 6), st.floats(1.0, 100.0))
def test_i34_a_flow_in_parts_of_full_weight_takes_more(k: int, rate: float) -> None:
    """I34: under max-min k full flows beside one take k shares of k + 1; that is why opening more connections pays."""
    rates = fair_rates([rate], Routes.of([[0]] * (k + 1)))
    assert rates[:k].sum() == pytest.approx(rate * k / (k + 1), rel=NEAR)


@given(networks(), st.data())
def test_i35_an_empty_message_changes_nothing(net: Network, data: st.DataObject) -> None:
    """I35: and it ends with its latency."""
    i = data.draw(st.integers(0, len(net.routes) - 1))
    start_s = data.draw(st.floats(0.0, 10.0))
    more = Network(
        net.capacities,
        [*net.routes, net.routes[i]],
        np.append(net.start_s, start_s),
        np.append(net.size_bytes, 0.0),
        np.append(net.weight, 1.0),
        np.append(net.latency_s, 0.5),
    )
    finish_s = more.finish_s()
    assert finish_s[:-1].tolist() == net.finish_s().tolist()
    assert finish_s[-1] == start_s + 0.5


@given(networks(most=1))
def test_i48_a_flow_alone_is_latency_and_size_over_bandwidth(net: Network) -> None:
    """I48: α + S/B, exactly."""
    narrowest = min(net.capacities[link] for link in net.routes[0])
    expected = net.start_s[0] + net.latency_s[0] + (net.size_bytes[0] / net.weight[0]) / (narrowest / net.weight[0])
    assert net.finish_s()[0] == pytest.approx(expected, rel=4e-16)


@settings(max_examples=60)
@given(networks(), st.randoms(use_true_random=False))
def test_i31_i32_the_order_of_flows_and_links_makes_no_difference(net: Network, random: object) -> None:
    """I31, I32: relabelling flows and links permutes the answer."""
    n, links = len(net.routes), net.capacities.size
    flows, names = list(range(n)), list(range(links))
    random.shuffle(flows)  # type: ignore[attr-defined]
    random.shuffle(names)  # type: ignore[attr-defined]
    capacities = np.empty(links)
    capacities[names] = net.capacities
    rows = [[names[link] for link in net.routes[i]] for i in flows]
    other = Network(capacities, rows, net.start_s[flows], net.size_bytes[flows], net.weight[flows], net.latency_s[flows])
    assert other.finish_s() == pytest.approx(net.finish_s()[flows], rel=NEAR)


@settings(max_examples=40)
@given(networks())
def test_i12_no_flow_ends_before_it_could_alone(net: Network) -> None:
    alone = [size / min(net.capacities[link] for link in route) for size, route in zip(net.size_bytes, net.routes)]
    assert (net.finish_s() >= (net.start_s + net.latency_s + np.array(alone)) * (1 - NEAR)).all()


@settings(max_examples=60)
@given(networks(), st.data())
def test_i21_a_wider_link_never_lowers_the_least(net: Network, data: st.DataObject) -> None:
    """I21 as far as it holds: a wider link may slow single flows elsewhere (its users press on where they go next), but of the levels in rising
    order the first that changes is higher. That is what max-min means, so the slowest never loses."""
    link = data.draw(st.integers(0, net.capacities.size - 1))
    wider = net.capacities.copy()
    wider[link] *= data.draw(st.floats(1.01, 50.0))
    before, after = (np.sort(fair_rates(c, Routes.of(net.routes), weight=net.weight) / net.weight) for c in (net.capacities, wider))
    apart = np.flatnonzero(np.abs(after - before) > NEAR * before)
    assert apart.size == 0 or after[apart[0]] > before[apart[0]]


@settings(max_examples=40)
@given(networks(), st.floats(0.0, 5.0), st.floats(1.0, 4.0))
def test_i21_all_faster_or_all_later(net: Network, later_s: float, faster: float) -> None:
    """I21: a latency that all have more of delays every end by it; with all links wider by one factor and all bytes there at once all end sooner by it."""
    delayed = net._replace(latency_s=net.latency_s + later_s)
    assert delayed.finish_s() == pytest.approx(net.finish_s() + later_s, rel=1e-8, abs=1e-8)
    at_once = net._replace(start_s=np.zeros_like(net.start_s), latency_s=np.zeros_like(net.latency_s))
    wider = at_once._replace(capacities=net.capacities * faster)
    assert wider.finish_s() * faster == pytest.approx(at_once.finish_s(), rel=NEAR)
