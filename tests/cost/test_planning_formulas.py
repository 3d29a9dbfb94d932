"""Money, spares, cooling and hours of a plan, against the handbook's numbers, closed forms and brute force."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from hpcsim.base.errors import InputError
from hpcsim.cost.facility import climate_pue, nodes_per_rack, racks_needed, shifted
from hpcsim.cost.money import best_reservation, break_even_use_frac, charged_s, depreciation, refresh_years
from hpcsim.cost.power import facility_pue
from hpcsim.cost.reliability import repair_crew, spares_needed
from hpcsim.cost.storage import TEXT_CODEC, compressed_rate, deduplicated, encryption_cores, lru_hit_frac, pinned_hit_frac

DAY = [NormalDist(100, 20).inv_cdf((i + 0.5) / 20_000) for i in range(20_000)]


def test_newsvendor_of_a_normal_demand() -> None:
    found = best_reservation(DAY, reserved_usd_per_s=1.2, on_demand_usd_per_s=3.0)
    assert found.reserved == pytest.approx(105.07, abs=0.01)
    assert found.usd_per_s == pytest.approx(143.2, abs=0.1)
    assert found.all_on_demand_usd_per_s == pytest.approx(300.0, rel=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30), st.floats(0.01, 5), st.floats(0.01, 5))
def test_no_other_reservation_is_cheaper(demand: list[float], reserved: float, on_demand: float) -> None:
    found = best_reservation(demand, reserved_usd_per_s=reserved, on_demand_usd_per_s=on_demand)
    for q in {0.0, *demand}:
        cost = reserved * q + on_demand * np.mean(np.maximum(np.array(demand) - q, 0.0))
        assert found.usd_per_s <= cost * (1 + 1e-9) + 1e-9


def test_weights_are_shares_of_time() -> None:
    plain = best_reservation([1, 1, 1, 5], reserved_usd_per_s=1.0, on_demand_usd_per_s=3.0)
    weighted = best_reservation([1, 5], reserved_usd_per_s=1.0, on_demand_usd_per_s=3.0, weights=[3, 1])
    assert plain == weighted


def test_charge_of_a_commitment() -> None:
    assert float(charged_s(60.0, term_s=365.0, later_use_frac=0.0)) == 365.0
    assert float(charged_s(60.0, term_s=365.0, later_use_frac=1.0)) == pytest.approx(60.0)
    assert float(charged_s(400.0, term_s=365.0, later_use_frac=0.3)) == 400.0
    assert float(charged_s(60.0, term_s=0.0)) == 60.0


@settings(deadline=None)
@given(st.floats(1, 1e8), st.floats(1, 1e8), st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1))
def test_a_longer_run_and_less_later_use_are_never_cheaper(a: float, b: float, term: float, u: float, v: float) -> None:
    t, longer = sorted((a, b))
    low, high = sorted((u, v))
    assert charged_s(t, term_s=term, later_use_frac=u) <= charged_s(longer, term_s=term, later_use_frac=u) * (1 + 1e-12)
    assert charged_s(t, term_s=term, later_use_frac=high) <= charged_s(t, term_s=term, later_use_frac=low) * (1 + 1e-12)


def test_break_even() -> None:
    use = float(break_even_use_frac(1.329, rented_usd_per_s=2.5, running_usd_per_s=0.1))
    assert use == pytest.approx(1.329 / 2.4)
    assert use * (2.5 - 0.1) == pytest.approx(1.329)
    assert math.isinf(float(break_even_use_frac(1.0, rented_usd_per_s=0.5, running_usd_per_s=0.6)))


@settings(deadline=None)
@given(st.floats(1, 1e9), st.integers(1, 20), st.floats(0, 0.9), st.booleans())
def test_depreciation_adds_up(capex: float, years: int, salvage: float, declining: bool) -> None:
    parts = depreciation(capex, years=years, salvage_frac=salvage, declining=declining)
    assert len(parts) == years
    assert parts.sum() == pytest.approx(capex * (1 - salvage))
    assert (parts >= -1e-9 * capex).all()


def test_refresh_is_where_the_curves_cross() -> None:
    years = float(refresh_years(running_usd_per_year=20.0, new_usd_per_work=1.0, work_per_year=80.0, growth_frac=0.3))
    assert 80.0 * 1.3**-years == pytest.approx(20.0)
    assert float(refresh_years(running_usd_per_year=100.0, new_usd_per_work=1.0, work_per_year=80.0, growth_frac=0.3)) == 0.0


def test_spares_of_a_large_cluster() -> None:
    assert spares_needed(2048, failures_per_s=6.5e-3 / 86_400, repair_s=2 * 86_400) == 39


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 400), st.floats(0.5, 0.9999))
def test_spares_are_the_poisson_quantile(mean: float, sure: float) -> None:
    assert spares_needed(1, failures_per_s=mean, repair_s=1.0, sure_frac=sure) in {
        int(poisson.ppf(sure * (1 - 1e-12), mean)),
        int(poisson.ppf(min(sure * (1 + 1e-12), 1 - 1e-15), mean)),
    }


def test_a_crew_of_one_against_the_finite_queue() -> None:
    # M/M/1//N: p0 = 1/Σ N!/(N−k)! r^k
    n, r = 5, 0.2
    weights = [math.factorial(n) / math.factorial(n - k) * r**k for k in range(n + 1)]
    down = sum(k * w for k, w in enumerate(weights)) / sum(weights)
    found = repair_crew(n, mtbf_s=10.0, repair_s=2.0, crew=1)
    assert found.down == pytest.approx(down)
    assert found.busy_frac == pytest.approx(1 - weights[0] / sum(weights))
    ample = repair_crew(100, mtbf_s=100.0, repair_s=2.0, crew=100)
    assert ample.down == pytest.approx(100 * 2 / 102)
    assert ample.waiting == pytest.approx(0.0, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 10))
def test_more_technicians_never_leave_more_down(nodes: int, crew: int) -> None:
    one, more = (repair_crew(nodes, mtbf_s=50.0, repair_s=5.0, crew=c) for c in (crew, crew + 1))
    assert more.down <= one.down * (1 + 1e-12)
    assert more.wait_s <= one.wait_s * (1 + 1e-9) + 1e-12


def test_climate() -> None:
    assert climate_pue(28.0, swing_k=0.0) == pytest.approx(float(facility_pue(28.0)))
    assert climate_pue(4.0) < climate_pue(18.0) < climate_pue(26.0)


def test_racks() -> None:
    assert float(nodes_per_rack(10.2e3, rack_w=40e3)) == 3
    assert float(nodes_per_rack(120e3, rack_w=40e3)) == 1
    assert float(racks_needed(10, 3)) == 4


HOURS = st.lists(st.floats(0, 1000), min_size=2, max_size=60)


@settings(deadline=None)
@given(HOURS, st.data(), st.floats(0, 3))
def test_shifting_never_hurts(series: list[float], data: st.DataObject, restart: float) -> None:
    hours = data.draw(st.integers(1, len(series)))
    done = shifted(series, hours, restart_hours=restart)
    assert done.contiguous <= done.flat * (1 + 1e-9) + 1e-9
    assert done.interruptible <= done.contiguous * (1 + 1e-9) + 1e-9
    assert int(done.on.sum()) == hours


def test_restarts_that_cost_too_much_keep_the_run_whole() -> None:
    series = [1.0, 9.0] * 12
    free, dear = shifted(series, 12), shifted(series, 12, restart_hours=50.0)
    assert (free.interruptible, free.pieces) == (1.0, 12)
    assert (dear.interruptible, dear.pieces) == (5.0, 1)


def test_data_stages() -> None:
    assert float(encryption_cores(400e9 / 8, core_bytes_per_s=5.26e9)) == pytest.approx(9.5, abs=0.01)
    assert compressed_rate([1, 8], TEXT_CODEC, link_bytes_per_s=1.25e9).tolist() == pytest.approx([330e6, 2.64e9])
    saved, seconds = deduplicated(100e12, 0.2, cores=32)
    assert (float(saved), float(seconds) / 3600) == (pytest.approx(20e12), pytest.approx(0.496, abs=1e-3))
    assert lru_hit_frac([0.35, 0.5, 0.8, 1.0]).tolist() == pytest.approx([0.070, 0.153, 0.478, 1.0], abs=5e-4)
    assert (lru_hit_frac(np.linspace(0, 1, 50)) <= pinned_hit_frac(np.linspace(0, 1, 50)) + 1e-12).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: charged_s(-1.0, term_s=1.0),
        lambda: best_reservation([1.0], reserved_usd_per_s=1.0, on_demand_usd_per_s=0.0),
        lambda: repair_crew(0, mtbf_s=1.0, repair_s=1.0, crew=1),
        lambda: spares_needed(1, failures_per_s=1.0, repair_s=1.0, sure_frac=1.0),
        lambda: shifted([1.0, 2.0], 3),
        lambda: depreciation(1.0, years=0),
    ],
)
def test_refusals(call) -> None:
    with pytest.raises(InputError):
        call()
