"""Money."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import money


def test_capital_recovery() -> None:
    assert money.capital_recovery_factor(0.08, 5) == pytest.approx(0.250456, rel=1e-5)
    assert money.capital_recovery_factor(0.0, 4) == 0.25
    assert money.capital_recovery_factor(1e-9, 4) == pytest.approx(0.25, rel=1e-6)
    payments = np.full(5, money.capital_recovery_factor(0.08, 5) * 1000)
    assert money.npv(np.concatenate([[-1000.0], payments]), rate_frac=0.08) == pytest.approx(0.0, abs=1e-9)


def test_eight_device_node_per_hour() -> None:
    own = money.ownership(
        300e3,
        devices=8,
        years=5,
        rate_frac=0.08,
        power_w=10.2e3 * 0.76,
        usd_per_j=0.10 / 3.6e6,
        pue=1.2,
        salvage_frac=0.1,
        maintenance_frac=0.05,
        utilisation_frac=0.7,
    )
    assert own.capital_usd_per_year == pytest.approx(70023.1, rel=1e-5)
    assert own.electricity_usd_per_year + own.maintenance_usd_per_year == pytest.approx(23149.0, rel=1e-4)
    assert own.usd_per_h == pytest.approx(1.89924, rel=1e-4)
    assert own.usd_per_year == pytest.approx(own.usd_per_s * 8 * money.YEAR_S * 0.7)


def test_net_present_value() -> None:
    assert money.npv([-1e6] + [300e3] * 5, rate_frac=0.08) == pytest.approx(197813, rel=1e-5)
    assert money.npv([-10.0, 4.0, 6.0], rate_frac=0.0) == 0.0


def test_spot_price_of_useful_work() -> None:
    hour = 3600.0
    price = money.price_per_useful_s(
        1 / hour, work_s=0.5 * hour, checkpoint_s=0.02 * hour, restart_s=0.1 * hour, interruptions_per_s=1 / (6 * hour)
    )
    assert price * hour == pytest.approx(1.10466, rel=1e-5)


def test_price_of_tokens() -> None:
    rate = 400e12 / (6 * 405.85e9)
    assert money.usd_per_mtoken(2 / 3600, rate) == pytest.approx(3.3821, rel=1e-4)


def test_growth() -> None:
    assert money.months_until_full(0.6, 0.85, growth_frac=0.05) == pytest.approx(7.139, rel=1e-3)
    assert money.months_until_full(0.9, 0.85, growth_frac=0.05) == 0.0


def test_higher_price_never_cheaper() -> None:
    prices = np.array([0.0, 1.0, 5.0])
    assert (np.diff(money.bill(100.0, prices)) > 0).all()
    assert (np.diff(money.electricity_cost(1e9, usd_per_j=3e-8, pue=np.array([1.0, 1.2, 2.0]))) > 0).all()


def test_refusals() -> None:
    with pytest.raises(InputError):
        money.electricity_cost(1.0, usd_per_j=1.0, pue=0.9)
    with pytest.raises(InputError):
        money.bill(-1.0, 1.0)
