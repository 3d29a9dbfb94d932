"""Carbon and water."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import carbon

DAY = np.array(
    [450, 430, 400, 380, 370, 360, 380, 420, 350, 280, 220, 180, 160, 150, 170, 210, 290, 380, 460, 490, 500, 490, 480, 460], dtype=float
)
KWH = 3.6e6


def test_operation_is_linear() -> None:
    one = carbon.operational_kg_co2e(8e3 * KWH, kg_co2e_per_j=0.3525 / KWH, pue=1.2)
    assert one == pytest.approx(3384.0)
    assert carbon.operational_kg_co2e(16e3 * KWH, kg_co2e_per_j=0.3525 / KWH, pue=1.2) == pytest.approx(2 * one)


def test_best_hours_of_a_day() -> None:
    shift = carbon.best_hours(DAY, 8)
    assert (shift.flat, shift.contiguous, shift.interruptible) == (pytest.approx(352.5), pytest.approx(207.5), pytest.approx(207.5))
    assert DAY[shift.start : shift.start + 8].mean() == pytest.approx(shift.contiguous)


@pytest.mark.parametrize("hours", [1, 5, 12, 24])
def test_shifting_never_hurts(hours: int) -> None:
    series = np.roll(DAY, 5)
    series[3] = 90.0
    shift = carbon.best_hours(series, hours)
    assert shift.interruptible <= shift.contiguous <= shift.flat + 1e-9


def test_embodied_share() -> None:
    kg = carbon.embodied_kg_co2e(150.0, used_s=3600.0, life_s=5 * 8760 * 3600.0, utilisation_frac=0.7)
    assert kg * 1000 == pytest.approx(4.8924, rel=1e-4)


def test_water() -> None:
    assert carbon.water_l(1e6 * KWH, onsite_l_per_j=1.8 / KWH, pue=1.2, grid_l_per_j=3.1 / KWH) == pytest.approx(5.52e6)


def test_refusals() -> None:
    with pytest.raises(InputError):
        carbon.operational_kg_co2e(1.0, kg_co2e_per_j=1.0, pue=0.99)
    with pytest.raises(InputError):
        carbon.best_hours(DAY, 25)
