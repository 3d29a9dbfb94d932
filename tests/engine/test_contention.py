"""Jobs that share links: paces by hand, against step-by-step simulation, and what holds whatever the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.rng import stream
from hpcsim.cost.maxmin import Routes
from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Contention, Load, Member, Pace, Paces
from hpcsim.engine.failures import Cause, SpareNodes, Watch
from hpcsim.engine.flows import FlowNetwork
from hpcsim.engine.training import Cycle, TrainingRun


def steps(job: str, routes: list[list[int]], compute_s: float, send_s: float, rate: float = 1.0) -> Load:
    """Steps that compute and then send, one after the other."""
    whole_s = compute_s + send_s

    def stretch(slowdown: float) -> float:
        return (compute_s + send_s * slowdown) / whole_s

    def duty(slowdown: float) -> float:
        return send_s * slowdown / (compute_s + send_s * slowdown)

    return Load(job, "steps", Routes.of(routes), np.full(len(routes), rate * send_s / whole_s), np.ones(len(routes)), stretch, duty)


def transfer(job: str, routes: list[list[int]], rate: float = 1.0) -> Load:
    return Load(job, "checkpoint", Routes.of(routes), np.full(len(routes), rate), np.ones(len(routes)))


def test_two_rings_on_one_level_slow_each_other_by_what_max_min_says() -> None:
    """Each gets half of the level while both send: T = C + X(1 + X′/(C′ + X′)), and C + 2X if they always send together."""
    a, b = steps("a", [[0, 4], [1]], 3.0, 2.0), steps("b", [[2, 4], [3]], 1.0, 3.0)
    found = Paces(np.full(5, 10.0)).of([a, b])
    assert found[a].slowdown == pytest.approx(1 + 3 / 4)
    assert found[a].stretch * 5 == pytest.approx(3 + 2 * (1 + 3 / 4))
    assert found[b].stretch * 4 == pytest.approx(1 + 3 * (1 + 2 / 5))
    assert found[a].most * 5 == pytest.approx(3 + 2 * 2)
    assert found[a].link == found[b].link == 4
    assert (found[a].others, found[b].others) == ({"b": 1.0}, {"a": 1.0})


def test_a_level_that_is_wide_enough_slows_nobody() -> None:
    a, b = steps("a", [[0, 2]], 1.0, 1.0), steps("b", [[1, 2]], 1.0, 1.0)
    assert list(Paces(np.array([5.0, 5.0, 10.0])).of([a, b]).values()) == [Pace(), Pace()]


def test_two_checkpoints_share_the_rate_of_a_tier() -> None:
    """Flow by flow: three nodes beside one get three quarters."""
    a, b = transfer("a", [[0, 4], [1, 4], [2, 4]]), transfer("b", [[3, 4]])
    found = Paces(np.array([9.0, 9.0, 9.0, 9.0, 9.0])).of([a, b])
    assert found[a].stretch == pytest.approx(4 / 3)
    assert found[b].stretch == pytest.approx(4.0)


def test_a_checkpoint_beside_steps() -> None:
    """The steps wait for half the link, X becomes 2X; the transfer gets the rest: exact for any C and X."""
    ring, write = steps("a", [[0]], 3.0, 2.0), transfer("b", [[0]])
    found = Paces(np.array([10.0])).of([ring, write])
    assert found[ring].stretch == pytest.approx((3 + 2 * 2) / 5)
    # in C + 2X seconds the transfer has the link for C and half of it for 2X
    assert found[write].stretch == pytest.approx((3 + 4) / (3 + 2))


def _step_by_step(jobs: list[tuple[list[list[int]], float, float]], capacities: np.ndarray, until_s: float) -> list[float]:
    """Mean step time of jobs that compute for a random time and then send, each flow by itself, event by event."""
    clock = Clock()
    network = FlowNetwork(clock, capacities)
    counts = [0] * len(jobs)
    rng = np.random.default_rng(7)
    alone = [float(Paces(capacities).alone(transfer("x", routes)).min()) for routes, _, _ in jobs]

    def begin(k: int) -> None:
        routes, compute_s, send_s = jobs[k]

        def send(_: Any) -> None:
            left = [len(routes)]

            def arrived(_: float) -> None:
                left[0] -= 1
                if not left[0]:
                    counts[k] += 1
                    begin(k)

            for route in routes:
                network.send(route, send_s * alone[k], arrived)

        clock.at(clock.now + rng.exponential(compute_s), send)

    for k in range(len(jobs)):
        begin(k)
    clock.run(until_s)
    return [until_s / count for count in counts]


@pytest.mark.parametrize(
    ("jobs", "near"),
    [
        ([([[0, 2]], 1.0, 0.5), ([[1, 2]], 0.7, 0.9)], 0.04),
        ([([[0, 3]], 1.0, 1.0), ([[1, 3]], 2.0, 0.5), ([[2, 3]], 0.5, 0.5)], 0.04),
        ([([[0, 3], [1]], 1.0, 1.0), ([[2, 3], [4]], 1.0, 1.0), ([[4]], 0.3, 0.6)], 0.1),
    ],
)
def test_paces_are_the_mean_over_the_phases(jobs: list[tuple[list[list[int]], float, float]], near: float) -> None:
    """Beside jobs that compute for exponential times: exact but for chance where all meet in one link; where the flows of a job have different
    bottlenecks the quick ones are done early in truth, which is left out."""
    capacities = np.ones(5)
    loads = [steps(f"job{k}", routes, compute_s, send_s) for k, (routes, compute_s, send_s) in enumerate(jobs)]
    found = Paces(capacities).of(loads)
    predicted = [found[load].stretch * (jobs[k][1] + jobs[k][2]) for k, load in enumerate(loads)]
    assert predicted == pytest.approx(_step_by_step(jobs, capacities, 2000.0), rel=near)


@st.composite
def companies(draw: st.DrawFn) -> tuple[np.ndarray, list[Load]]:
    links = draw(st.integers(2, 8))
    capacities = np.array(draw(st.lists(st.sampled_from([1.0, 2.0]) | st.floats(0.5, 20.0), min_size=links, max_size=links)))
    loads = []
    for k in range(draw(st.integers(2, 5))):
        routes = draw(st.lists(st.lists(st.integers(0, links - 1), min_size=1, max_size=3, unique=True), min_size=1, max_size=4))
        if draw(st.booleans()):
            loads.append(transfer(f"job{k}", routes))
        else:
            loads.append(steps(f"job{k}", routes, draw(st.floats(0.01, 10.0)), draw(st.floats(0.01, 10.0))))
    return capacities, loads


@settings(max_examples=60, deadline=None)
@given(company=companies())
def test_what_holds_for_any_company(company: tuple[np.ndarray, list[Load]]) -> None:
    """Nobody is faster than alone; who shares nothing is undisturbed; the order makes no difference; scaling all capacities neither."""
    capacities, loads = company
    found = Paces(capacities).of(loads)
    for load, pace in found.items():
        assert pace.most >= pace.stretch >= 1.0
        assert pace.slowdown >= pace.stretch * (1 - 1e-12)
        near = [
            other for other in loads if other is not load and not set(other.routes.links.tolist()).isdisjoint(load.routes.links.tolist())
        ]
        if not near:
            assert pace == Pace()
        if pace.link >= 0 and pace.others:
            assert sum(pace.others.values()) == pytest.approx(1.0)
    again = Paces(capacities * 3.0).of(loads[::-1])
    assert [again[load].stretch for load in loads] == pytest.approx([found[load].stretch for load in loads], rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(company=companies(), data=st.data())
def test_everybody_carries_its_bytes(company: tuple[np.ndarray, list[Load]], data: st.DataObject) -> None:
    """I2: what a link carried is what the loads put on it, whoever slowed whom; and each takes at least its time alone."""
    capacities, loads = company
    clock = Clock()
    network = Contention(clock, capacities)
    ends: dict[str, float] = {}
    expected = np.zeros(capacities.size)
    begins, works = {}, {}
    for load in loads:
        begins[load.job], works[load.job] = data.draw(st.floats(0.0, 20.0)), data.draw(st.floats(0.1, 20.0))
        np.add.at(expected, load.routes.links, np.repeat(load.bytes_per_s * works[load.job], np.diff(load.routes.first)))

        def begin(_: Any, load: Load = load) -> None:
            network.begin(load, works[load.job], lambda: ends.__setitem__(load.job, clock.now))

        clock.at(begins[load.job], begin)
    clock.run()
    assert network.carried_bytes == pytest.approx(expected, rel=1e-9)
    for load in loads:
        assert ends[load.job] - begins[load.job] >= works[load.job] * (1 - 1e-9)
        delay = network.delays[load.job, load.activity]
        assert delay.work_s == pytest.approx(works[load.job], rel=1e-9)
        assert delay.took_s == pytest.approx(ends[load.job] - begins[load.job], rel=1e-9)
        assert sum(delay.by.values()) <= delay.took_s - delay.work_s + 1e-9
    assert clock.now == pytest.approx(max(ends.values()))


Made = Callable[..., TrainingRun]


def _run(network: Contention, job: str, link: int, work_s: float, interval_s: float, **rest: Any) -> TrainingRun:
    """A run whose steps use a link of its own and link 0, and whose checkpoints go over link 1."""
    loads = {"steps": steps(job, [[link, 0]], 1.0, 1.0), "checkpoint": transfer(job, [[link, 1]]), "recovery": transfer(job, [[link, 1]])}
    member = Member(network, job, loads)
    rate, seed = rest.get("rate", 0.0), rest.get("seed", 1)
    cycle = Cycle(interval_s, rest.get("write_s", 5.0), rest.get("lag_s", 0.0))
    causes = (Cause("node", rate, 0.0, 7.0),) if rest.get("watch") and rate else ()
    return TrainingRun(
        job, work_s, cycle, 30.0, rate, stream(seed, job), SpareNodes(0, 1, 0.0), 100.0, 20.0, member, causes, rest.get("watch")
    )


def _go(runs: list[tuple[float, Callable[[Contention], TrainingRun]]], until_s: float | None = None) -> tuple[list[TrainingRun], Clock]:
    clock = Clock()
    network = Contention(clock, np.ones(4))
    made = [make(network) for _, make in runs]
    for (begin_s, _), run in zip(runs, made):
        clock.at(begin_s, lambda _, run=run: clock.process(run.process(clock)) and None)
    clock.run(until_s)
    for run in made:
        run.stop(clock.now)
    return made, clock


def test_two_runs_beside_each_other_and_then_one_alone() -> None:
    """a works 1,000 s and b 100 s with one link between them: for b's time both go at 1/1.25, then a goes on alone."""
    (a, b), clock = _go(
        [(0.0, lambda n: _run(n, "a", 2, 1000.0, np.inf)), (200.0, lambda n: _run(n, "b", 3, 100.0, np.inf))],
    )
    assert b.end_s == pytest.approx(200.0 + 125.0)
    assert a.end_s == pytest.approx(1000.0 + 25.0)
    assert clock.now == a.end_s
    assert clock.handled < 20
    assert a.member is not None
    assert a.member.network.carried_bytes == pytest.approx([550.0, 0.0, 500.0, 50.0])


def test_checkpoints_meet_in_their_tier() -> None:
    """Both write after 100 s of steps (125 s together), 5 s each become 10 s."""
    (a, b), _ = _go([(0.0, lambda n: _run(n, "a", 2, 150.0, 100.0)), (0.0, lambda n: _run(n, "b", 3, 150.0, 100.0))])
    assert (a.checkpoints, b.checkpoints) == (1, 1)
    assert a.end_s == b.end_s == pytest.approx(150 * 1.25 + 10)


@settings(max_examples=60, deadline=None)
@given(
    begin_s=st.floats(0.0, 3000.0),
    works=st.tuples(st.floats(10.0, 3000.0), st.floats(10.0, 3000.0)),
    intervals=st.tuples(st.floats(5.0, 900.0), st.floats(5.0, 900.0)),
    rate=st.sampled_from([0.0, 1e-4, 3e-3]),
    until_s=st.none() | st.floats(1.0, 4000.0),
    seed=st.integers(0, 99),
    lag=st.floats(0.0, 1.0),
    watch=st.none() | st.builds(Watch, st.floats(0.0, 1.0), st.floats(0.2, 1.0), st.floats(0.0, 40.0), st.booleans()),
)
def test_books_of_runs_that_meet(
    begin_s: float,
    works: tuple[float, float],
    intervals: tuple[float, float],
    rate: float,
    until_s: float | None,
    seed: int,
    lag: float,
    watch: Watch | None,
) -> None:
    """Time is tiled, work is conserved, nobody is faster than alone, whenever the other comes, fails or the horizon falls."""
    every = [min(interval, 1 / max(rate, 1e-9)) for interval in intervals]
    makes = [
        lambda n, k=k: _run(n, "ab"[k], 2 + k, works[k], every[k], rate=rate, seed=seed, lag_s=lag * every[k], watch=watch) for k in (0, 1)
    ]
    runs, clock = _go([(0.0, makes[0]), (begin_s, makes[1])], until_s)
    for run, work_s in zip(runs, works):
        if np.isnan(run.start_s):
            continue
        end_s = clock.now if np.isnan(run.end_s) else run.end_s
        if run.stretches:
            assert run.stretches[0][0] == run.start_s
            assert run.stretches[-1][1] == end_s
        for before, after in zip(run.stretches, run.stretches[1:]):
            assert before[1] == after[0]
        worked = sum((b - a) * w for a, b, w in run.stretches) / run.draw_w
        assert worked == pytest.approx(run.done_s + run.lost_s, rel=1e-9, abs=1e-6)
        assert end_s - run.start_s >= worked * (1 - 1e-9)
        if until_s is None:
            assert run.done_s == work_s
            if not rate:
                assert run.end_s - run.start_s >= run.cycle.duration_s(work_s) * (1 - 1e-9)
                assert run.checkpoints == run.cycle.checkpoints(work_s)
        else:
            assert run.done_s <= work_s * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(work_s=st.floats(10.0, 3000.0), interval_s=st.floats(5.0, 900.0), begin_s=st.floats(0.0, 2000.0))
def test_one_that_it_cannot_meet_changes_nothing(work_s: float, interval_s: float, begin_s: float) -> None:
    (alone,), _ = _go([(0.0, lambda n: _run(n, "a", 2, work_s, interval_s))])
    clock = Clock()
    network = Contention(clock, np.ones(6))
    run = _run(network, "a", 2, work_s, interval_s)
    other = Member(network, "b", {"steps": transfer("b", [[4]])})
    clock.process(run.process(clock))
    clock.at(begin_s, lambda _: other.join())
    clock.run()
    assert run.end_s == alone.end_s
    assert run.stretches == alone.stretches
