"""Max-min fair rates: against textbook networks, and a share that is kept up to date against one from nothing."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.maxmin import Routes, Sharing, fair_rates


def test_one_link_is_shared_by_weight() -> None:
    rates = fair_rates([12.0], Routes.of([[0], [0], [0]]), weight=[1.0, 2.0, 3.0])
    assert rates == pytest.approx([2.0, 4.0, 6.0], rel=1e-15)


def test_parking_lot() -> None:
    """One flow over n links of unequal capacity with one cross flow each: the long one gets half of the narrowest."""
    capacities = [10.0, 4.0, 7.0, 20.0]
    rates = fair_rates(capacities, Routes.of([[0, 1, 2, 3], [0], [1], [2], [3]]))
    assert rates == pytest.approx([2.0, 8.0, 2.0, 5.0, 18.0], rel=1e-15)


def test_bottlenecks_at_two_levels() -> None:
    """Bertsekas and Gallager, Data Networks, figure 6.10: three flows share a unit link, the fourth takes what one of them leaves."""
    rates = fair_rates([1.0, 1.0, 1.0], Routes.of([[0], [0, 1], [0, 1, 2], [2]]))
    assert rates == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3], rel=1e-15)


def test_a_chain_of_bottlenecks() -> None:
    """Link k has capacity 2^k and flows k and k+1: each pair waits for the one before it."""
    n = 12
    capacities = [2.0**k for k in range(n)]
    routes = [[0], *([k - 1, k] for k in range(1, n)), [n - 1]]
    expected = [0.5]
    for k in range(n):
        expected.append(capacities[k] - expected[-1])
    assert fair_rates(capacities, Routes.of(routes)) == pytest.approx(expected, rel=1e-14)


def test_a_link_used_twice_counts_twice() -> None:
    assert fair_rates([10.0], Routes.of([[0, 0]])).tolist() == [5.0]
    assert fair_rates([9.0], Routes.of([[0, 0], [0]])).tolist() == [3.0, 3.0]


def test_weights_far_apart_leave_nobody_without() -> None:
    rates = fair_rates([1.0, 1.0], Routes.of([[0], [0, 1], [1]]), weight=[1.0, 1e-13, 1.0])
    assert (rates > 0).all()
    assert rates[0] == pytest.approx(1.0, rel=1e-9)


def test_no_flows() -> None:
    assert fair_rates([1.0], Routes.of([])).size == 0


def test_the_table_of_routes_is_padded() -> None:
    table = Routes.of([[3], [1, 2]]).table(9)
    assert table.tolist() == [[3, 1], [9, 2]]


@pytest.mark.parametrize(
    ("capacities", "routes", "weight", "code", "place"),
    [
        ([1.0, 0.0], [[0]], 1.0, "flow-capacity", "capacities[1]"),
        ([-2.0], [[0]], 1.0, "flow-capacity", "capacities[0]"),
        ([np.nan], [[0]], 1.0, "flow-capacity", "capacities[0]"),
        ([np.inf], [[0]], 1.0, "flow-capacity", "capacities[0]"),
        ([1.0], [[0], [0, 1]], 1.0, "flow-missing-link", "routes[1]"),
        ([1.0], [[-1]], 1.0, "flow-missing-link", "routes[0]"),
        ([1.0], [[0], []], 1.0, "flow-empty-route", "routes[1]"),
        ([1.0], [[0], [0]], [1.0, 0.0], "flow-weight", "weight[1]"),
        ([1.0], [[0], [0]], [1.0], "flow-shape", "weight"),
    ],
)
def test_each_mistake_is_one_clear_problem(
    capacities: list[float], routes: list[list[int]], weight: float | list[float], code: str, place: str
) -> None:
    with pytest.raises(InputError) as raised:
        fair_rates(capacities, Routes.of(routes), weight=weight)
    assert [(p.code, p.path) for p in raised.value.problems] == [(code, place)]


def test_every_mistake_of_a_kind_is_named() -> None:
    with pytest.raises(InputError) as raised:
        fair_rates([0.0, 1.0, -1.0], Routes.of([[0]]))
    assert [p.path for p in raised.value.problems] == ["capacities[0]", "capacities[2]"]


def _network(seed: int, links: int, routes: int) -> tuple[np.ndarray, Routes]:
    rng = np.random.default_rng(seed)
    capacities = rng.choice([1.0, 2.5, 10.0, 40.0], links) * rng.choice([1.0, 1.0, 1.1], links)
    return capacities, Routes.of([rng.permutation(links)[: rng.integers(1, 6)] for _ in range(routes)])


@pytest.mark.parametrize("seed", range(4))
def test_kept_up_to_date_it_stays_what_it_is_from_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single routes come, go and change their mass among many: never computed anew where that is too much work, always the same."""
    monkeypatch.setattr("hpcsim.cost.maxmin._ANEW_NS", (1e12, 0.0))
    capacities, routes = _network(seed, 60, 300)
    rng = np.random.default_rng(seed + 100)
    sharing = Sharing(capacities, routes)
    mass = np.where(rng.random(300) < 0.6, rng.choice([1.0, 2.0, 0.3], 300), 0.0)
    sharing.update(np.arange(300), mass)
    assert sharing.fills == 1
    for _ in range(60):
        chosen = rng.permutation(300)[: rng.integers(1, 8)]
        before = sharing.level.copy()
        mass[chosen] = np.where(rng.random(chosen.size) < 0.5, 0.0, rng.choice([1.0, 2.0, 0.3], chosen.size))
        moved = sharing.update(chosen, mass[chosen])
        active = np.flatnonzero(mass)
        table = Routes.of([routes.links[routes.first[i] : routes.first[i + 1]] for i in active])
        expected = fair_rates(capacities, table, weight=mass[active]) / mass[active]
        assert sharing.level[active] == pytest.approx(expected, rel=1e-11)
        assert (sharing.level[mass == 0] == 0).all()
        untouched = np.setdiff1d(np.arange(300), moved)
        assert (sharing.level[untouched] == before[untouched]).all()
    assert sharing.fills <= 3
    assert sharing.rounds > 60


def test_only_the_part_that_a_change_reaches_is_touched() -> None:
    """Two networks that share no link: what happens in one is nothing to the other."""
    capacities, routes = _network(7, 30, 100)
    both = Routes(np.concatenate([routes.first, routes.first[-1] + routes.first[1:]]), np.concatenate([routes.links, routes.links + 30]))
    sharing = Sharing(np.concatenate([capacities, capacities]), both)
    sharing.update(np.arange(200), np.ones(200))
    assert sharing.update(np.array([5]), np.zeros(1)).max() < 100
    assert sharing.update(np.array([105]), np.zeros(1)).min() >= 100
    assert sharing.level[:100] == pytest.approx(sharing.level[100:], rel=1e-12)


def test_a_capacity_changes_under_way() -> None:
    capacities, routes = _network(3, 40, 150)
    sharing = Sharing(capacities, routes)
    sharing.update(np.arange(150), np.ones(150))
    for link, value in ((0, 0.01), (7, 100.0), (0, 5.0)):
        capacities = capacities.copy()
        capacities[link] = value
        sharing.set_capacity(np.array([link]), np.array([value]))
        assert sharing.level == pytest.approx(fair_rates(capacities, routes), rel=1e-11)
    load = sharing.load_bytes_per_s
    assert (load <= capacities * (1 + 1e-12)).all()


def test_a_capacity_changes_where_nobody_sends() -> None:
    sharing = Sharing(np.array([1.0, 1.0]), Routes.of([[0], [1]]))
    assert sharing.set_capacity(np.array([1]), np.array([3.0])).size == 0
    sharing.update(np.array([1]), np.ones(1))
    assert sharing.level.tolist() == [0.0, 3.0]


@pytest.mark.parametrize("dear", [True, False])
def test_the_lesser_work_is_done(dear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where filling from nothing is much work changes are taken in by updating, where it is little by filling; the levels are the same."""
    monkeypatch.setattr("hpcsim.cost.maxmin._ANEW_NS", (1e12 if dear else 0.0, 0.0))
    monkeypatch.setattr("hpcsim.cost.maxmin._FILL_NS", (0.0, 0.0))
    capacities, routes = _network(2, 60, 300)
    sharing = Sharing(capacities, routes)
    sharing.update(np.arange(300), np.ones(300))
    sharing.index(np.arange(300))
    for gone in range(150):
        sharing.update(np.array([gone]), np.zeros(1))
    assert sharing.fills <= 3 if dear else sharing.fills > 120
    left = np.arange(150, 300)
    assert sharing.level[left] == pytest.approx(fair_rates(capacities, routes.take(left)), rel=1e-11)


def test_a_loose_tolerance_stays_near() -> None:
    capacities, routes = _network(11, 60, 300)
    sharing = Sharing(capacities, routes, tolerance=1e-3)
    sharing.update(np.arange(300), np.ones(300))
    left = np.arange(300)
    for gone in range(40):
        sharing.update(np.array([gone]), np.zeros(1))
        left = left[1:]
        table = Routes.of([routes.links[routes.first[i] : routes.first[i + 1]] for i in left])
        assert sharing.level[left] == pytest.approx(fair_rates(capacities, table), rel=0.05)


def test_what_a_link_limits_is_kept_by_sums_that_agree_with_a_count() -> None:
    """Through starts, ends and several flows on one route, in whole numbers exactly."""
    capacities, routes = _network(5, 40, 200)
    sharing, rng = Sharing(capacities, routes), np.random.default_rng(5)
    sharing.update(np.arange(150), np.ones(150))
    for _ in range(60):
        some = rng.choice(200, 4, replace=False)
        sharing.update(some, rng.integers(0, 4, 4).astype(float))
        mass = np.bincount(sharing._bottleneck, sharing.mass, capacities.size + 1)[:-1]
        assert sharing._own_mass[:-1].tolist() == mass.tolist()
        used = np.bincount(sharing._bottleneck, sharing.mass * sharing.level, capacities.size + 1)[:-1]
        assert sharing._own_used[:-1] == pytest.approx(used, rel=1e-12, abs=1e-12)
