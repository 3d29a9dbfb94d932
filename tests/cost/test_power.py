"""Power, caps, facility, exact energy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from hpcsim.base.errors import InputError
from hpcsim.cost import power


def node(cpu: float, gpu: float) -> float:
    """A Frontier node by the figures of ExaDigiT's RAPS: one processor, four accelerators, memory, four NICs, two drives."""
    return float(power.device_power_w(90, 280, cpu) + 4 * power.device_power_w(88, 560, gpu) + 74.26 + 4 * 20 + 30)


def test_node_and_conversion_chain() -> None:
    assert node(0, 0) == pytest.approx(626.26)
    assert node(1, 1) == pytest.approx(2704.26)
    dc, ac = power.Conversion(13, 0.98), power.Conversion(17, 0.96)
    drawn = [float(ac.input_w(4 * dc.input_w(node(u, u)))) / 4 for u in (0, 1)]
    assert drawn == pytest.approx([683.91, 2892.67], rel=1e-5)
    system = [(74 * 128 * d + 74 * 8 * 4 * 250 + 25 * 8473.47) / 1e6 for d in drawn]
    assert system == pytest.approx([7.2817, 28.2033], rel=1e-4)


def test_cap_inverts_the_power_law() -> None:
    cap = power.capped_clock(100, 700, 500, utilisation=0.9)
    assert cap.clock_frac == pytest.approx(0.904806, rel=1e-5)
    assert cap.power_w == pytest.approx(500)
    assert not cap.saturated
    assert power.capped_clock(100, 700, 50).saturated
    assert power.capped_clock(100, 700, 900).clock_frac == 1.0
    assert power.capped_clock(100, 700, 500, utilisation=0.0).clock_frac == 1.0


def test_slowdown_under_caps() -> None:
    x = power.capped_clock(200, 700, 500).clock_frac
    assert x == pytest.approx(0.84343, rel=1e-4)
    assert power.slowdown(x, 0.7) == pytest.approx(1.12994, rel=1e-4)
    assert power.slowdown(power.capped_clock(200, 700, 600).clock_frac, 1.0) - 1 == pytest.approx(0.07722, rel=1e-3)
    assert power.slowdown(0.5, 0.0) == 1.0


def test_energy_optimal_clock_against_scipy() -> None:
    best = power.energy_optimal_clock(200, 700, 0.7)
    assert best == pytest.approx(0.53033, rel=1e-4)
    for idle, share in ((100, 0.9), (400, 0.5)):
        found = optimize.minimize_scalar(
            lambda x, i=idle, s=share: (i + (700 - i) * x**3) * (s / x + 1 - s), bounds=(0.3, 1), method="bounded", options={"xatol": 1e-9}
        )
        assert power.energy_optimal_clock(idle, 700, share) == pytest.approx(found.x, rel=1e-5)


def test_lower_cap_never_faster() -> None:
    caps = np.linspace(150, 800, 40)
    times = power.slowdown(power.capped_clock(100, 700, caps).clock_frac, 0.6)
    assert (np.diff(times) <= 1e-12).all()


def test_facility() -> None:
    assert power.facility_pue(15.0) == pytest.approx(1.08)
    assert power.facility_pue(28.0) == pytest.approx(1.23114, rel=1e-4)
    assert (np.asarray(power.facility_pue(np.linspace(-20, 45, 50))) >= 1).all()


def test_energy_is_exact_for_constant_power() -> None:
    assert power.energy_j(np.array([100.0, 250.0]), np.array([0.0, 60.0]), np.array([60.0, 90.0])).tolist() == [6000.0, 7500.0]
    assert power.energy_j(500.0, -5.0, 5.0) == 5000.0


def test_activity_moves_between_idle_and_most() -> None:
    keys = ("compute_frac", "memory_frac", "communication_frac")
    rest = power.activity_power_w(60, 400, **dict.fromkeys(keys, 0.0))
    busy = power.activity_power_w(60, 400, compute_frac=1.0, memory_frac=0.0, communication_frac=0.0)
    mixed = power.activity_power_w(60, 400, compute_frac=0.6, memory_frac=0.1, communication_frac=0.1)
    assert 60 <= rest < mixed < busy <= 400


def test_refusals() -> None:
    with pytest.raises(InputError):
        power.energy_j(1.0, 5.0, 4.0)
    with pytest.raises(InputError):
        power.device_power_w(100, 50, 0.5)
    with pytest.raises(InputError):
        power.device_power_w(50, 100, 1.5)
