"""Many loads that share links: the mean view against loads taken one by one, by hand, and in random companies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost.maxmin import Routes
from hpcsim.engine.crowds import components
from hpcsim.engine.paces import Load, Paces, _Company


def steps(name: str, routes: list[list[int]], send_frac: float, among: str = "batch jobs") -> Load:
    def stretch(s: float) -> float:
        return 1 - send_frac + send_frac * s

    def duty(s: float) -> float:
        return send_frac * s / stretch(s)

    ones = np.ones(len(routes))
    return Load(name, "run", Routes.of(routes), ones * send_frac, ones, stretch, duty, None, among)


@pytest.mark.parametrize(("count", "send_frac"), [(5, 0.1), (12, 0.3), (40, 0.05)])
def test_equal_loads_on_one_link_settle_where_their_duty_agrees(count: int, send_frac: float) -> None:
    """s = 1 + (n − 1)·φ(s), φ = f·s/(1 − f + f·s): a quadratic in s."""
    loads = [steps(f"j{i:02}", [[i, count]], send_frac) for i in range(count)]
    found = Paces(np.ones(count + 1)).of(loads)
    f, others = send_frac, count - 1
    b = (1 - f) - f * (1 + others)
    slowdown = (-b + np.sqrt(b * b + 4 * f * (1 - f))) / (2 * f)
    for load in loads:
        assert found[load].slowdown == pytest.approx(slowdown, rel=5e-3)
        assert found[load].most == pytest.approx(1 - f + f * count)
        assert found[load].link == count
        assert found[load].others == {"batch jobs": pytest.approx(1.0)}


def test_a_crowd_that_fits_slows_nobody() -> None:
    loads = [steps(f"j{i}", [[i, 9]], 0.5) for i in range(9)]
    assert all(pace.stretch == 1.0 for pace in Paces(np.append(np.ones(9), 9.0)).of(loads).values())


def _rings(seed: int, jobs: int, wide: float) -> tuple[np.ndarray, list[Load]]:
    """Rings of random nodes over leaves of four, with one pool of cables up and one down each."""
    rng = np.random.default_rng(seed)
    leaves, size = 8, 4
    nodes = rng.permutation(leaves * size)
    loads = []
    for k in range(jobs):
        mine = np.sort(nodes[k * 4 : k * 4 + 4])
        routes = []
        for a, b in zip(mine.tolist(), np.roll(mine, -1).tolist(), strict=True):
            up = [64 + a // size, 72 + b // size] if a // size != b // size else []
            routes.append([a, *up, 32 + b])
        loads.append(steps(f"j{k}", routes, float(rng.uniform(0.05, 0.6))))
    return np.concatenate([np.ones(64), np.full(16, wide)]), loads


@given(st.integers(0, 10**6), st.integers(4, 7), st.sampled_from([1.0, 1.5, 2.0]))
@settings(max_examples=15, deadline=None)
def test_the_mean_view_is_near_the_one_without_oneself(seed: int, jobs: int, wide: float) -> None:
    """The others are taken with the load among them: never quicker than exact, by a tenth of the time at most."""
    capacity, loads = _rings(seed, jobs, wide)
    mean = Paces(capacity)._crowded(loads)
    exact = _Company(Paces(capacity), loads).solve()
    for load in loads:
        assert mean[load].stretch >= exact[load].stretch * (1 - 5e-3)
        assert mean[load].stretch <= exact[load].stretch * 1.1
        assert mean[load].most == pytest.approx(exact[load].most, rel=0.02)


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3, unique=True), max_size=12))
@settings(max_examples=60, deadline=None)
def test_companies_are_those_that_a_search_finds(links: list[list[int]]) -> None:
    label = components([np.array(part) for part in links])
    for i, own in enumerate(links):
        reached = set(own)
        while more := {k for part in links if reached & set(part) for k in part} - reached:
            reached |= more
        assert label[i] == min(j for j, part in enumerate(links) if reached & set(part))
