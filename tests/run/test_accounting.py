"""Accounting: exact integrals, conservation, linearity (I1, I4, I5, I6, I17)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.run.accounting import Down, Facility, GroupAccount, Usage, account, pool_states

HORIZON = 1000.0
FACILITY = Facility(network_w=50.0, storage_w=20.0, pue=1.25, carbon_kg_co2e_per_j=1e-7, electricity_usd_per_j=3e-8)


def groups(price=0.001, billed_when_used=False):
    return [
        GroupAccount("gpu", nodes=10, idle_w=100.0, devices=80, usd_per_device_s=price, billed_when_used=billed_when_used),
        GroupAccount("cpu", nodes=4, idle_w=40.0, devices=4),
    ]


@st.composite
def usages(draw):
    rows = []
    for job in range(draw(st.integers(0, 8))):
        start = draw(st.floats(0, HORIZON))
        end = draw(st.floats(start, HORIZON))
        group = draw(st.integers(0, 1))
        processors = draw(st.integers(0, 10))
        rows.append((job, group, start, end, processors, float(processors), draw(st.floats(0, 5000))))
    return Usage.of(rows)


@st.composite
def downs(draw):
    rows = []
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.floats(0, HORIZON))
        rows.append((0, start, draw(st.floats(start, 2 * HORIZON)), 1))
    return Down.of(rows)


def run(usage, down=None, facility=FACILITY, gs=None, begin=0.0, end=HORIZON):
    jobs = int(usage.job.max()) + 1 if len(usage.job) else 0
    return account(gs or groups(), facility, usage, down or Down.of([]), jobs=jobs, begin_s=begin, end_s=end)


def test_hand_worked_hour():
    # one job draws 1 kW above idle for 600 s on an otherwise idle room: 1160 W idle, 70 W network and storage, PUE 1.25
    usage = Usage.of([(0, 0, 100.0, 700.0, 8, 8.0, 1000.0)])
    a = run(usage)
    assert a.summary["it_energy_j"] == pytest.approx(1000.0 * 600 + (1160.0 + 70.0) * 1000, rel=1e-12)
    assert a.summary["facility_energy_j"] == pytest.approx(1.25 * a.summary["it_energy_j"], rel=1e-12)
    assert a.summary["peak_power_w"] == pytest.approx(1.25 * 2230.0)
    assert a.summary["carbon_kg_co2e"] == pytest.approx(1e-7 * a.summary["facility_energy_j"], rel=1e-12)
    assert list(a.power["start_s"]) == [0.0, 100.0, 700.0]
    assert a.job_usd[0] == pytest.approx(8 * 600 * 0.001)
    devices_usd = 80 * 1000 * 0.001
    assert a.summary["cost_usd"] == pytest.approx(devices_usd + 3e-8 * a.summary["facility_energy_j"], rel=1e-12)


@given(usages(), downs())
def test_power_tiles_the_horizon_and_integrates_to_the_energy(usage, down):
    a = run(usage, down)
    p = a.power
    assert p["start_s"][0] == 0.0
    assert p["end_s"][-1] == HORIZON
    assert (p["start_s"][1:] == p["end_s"][:-1]).all()
    assert (p["end_s"] > p["start_s"]).all()
    seconds = p["end_s"] - p["start_s"]
    for component, joules in zip(a.energy["component"], a.energy["energy_j"], strict=True):
        assert joules == pytest.approx(float(np.dot(p[f"{component}_w"], seconds)), rel=1e-12)
    assert a.summary["facility_energy_j"] == pytest.approx(float(np.dot(p["total_w"], seconds)), rel=1e-9)
    direct = float(np.dot(usage.draw_w, usage.end_s - usage.start_s))
    assert a.energy["energy_j"][0] == pytest.approx(direct, rel=1e-9, abs=1e-6)
    lost = float(np.dot(np.clip(down.end_s, 0, HORIZON) - np.clip(down.start_s, 0, HORIZON), down.nodes)) * 100.0
    assert a.energy["energy_j"][1] == pytest.approx(1160.0 * HORIZON - lost, rel=1e-9)
    assert (p["compute_w"] >= 0).all()


@given(usages(), st.floats(1, HORIZON - 1))
def test_splitting_the_horizon_adds(usage, cut):
    whole = run(usage)
    first, second = run(usage, end=cut), run(usage, begin=cut)
    for key in ("it_energy_j", "facility_energy_j", "carbon_kg_co2e", "cost_usd"):
        assert whole.summary[key] == pytest.approx(first.summary[key] + second.summary[key], rel=1e-9)
    assert whole.summary["peak_power_w"] == pytest.approx(max(first.summary["peak_power_w"], second.summary["peak_power_w"]), rel=1e-9)


@given(usages(), st.booleans())
def test_bills_and_idle_cost_add_up(usage, billed_when_used):
    a = run(usage, gs=groups(billed_when_used=billed_when_used))
    rows = list(zip(a.costs["item"], a.costs["usd"], strict=True))
    idle = sum(usd for item, usd in rows if item == "devices idle")
    electricity = sum(usd for item, usd in rows if item.startswith("electricity"))
    assert a.summary["cost_usd"] == pytest.approx(a.job_usd.sum() + idle + electricity, rel=1e-9)
    if not billed_when_used:
        assert a.job_usd.sum() + idle == pytest.approx(80 * HORIZON * 0.001, rel=1e-9)


@given(usages(), st.floats(1.0, 3.0), st.floats(0, 1e-6))
def test_pue_and_carbon_are_linear_and_never_cheaper(usage, pue, intensity):
    base = run(usage, facility=Facility(50.0, 20.0, 1.0, intensity, 3e-8))
    more = run(usage, facility=Facility(50.0, 20.0, pue, intensity, 3e-8))
    assert more.summary["facility_energy_j"] == pytest.approx(pue * base.summary["it_energy_j"], rel=1e-9)
    assert more.summary["carbon_kg_co2e"] == pytest.approx(pue * base.summary["carbon_kg_co2e"], rel=1e-9)
    assert more.summary["cost_usd"] >= base.summary["cost_usd"] - 1e-9


def test_a_price_that_covers_electricity_covers_its_part_of_network_and_storage():
    """All rented: nothing is left to pay. Seven of ten nodes owned: their own, and seven tenths of what all have in common."""
    usage = Usage.of([(0, 0, 0.0, HORIZON, 8, 8.0, 1000.0)])

    def electricity(rented, owned):
        groups = (
            [GroupAccount("gpu", rented, idle_w=100.0, devices=80, usd_per_device_s=0.001, includes_electricity=True)] if rented else []
        )
        groups += [GroupAccount("own", owned, idle_w=60.0, devices=8, usd_per_device_s=0.001)] if owned else []
        a = run(usage, gs=groups)
        bought = dict(zip(a.costs["item"], a.costs["usd"], strict=True))
        assert sum(a.costs["usd"]) == pytest.approx(a.summary["cost_usd"])
        kwh = {item: q for item, q in zip(a.costs["item"], a.costs["quantity"], strict=True) if item.startswith("electricity")}
        assert sum(kwh.values()) * 3.6e6 == pytest.approx(a.summary["facility_energy_j"], rel=1e-9)
        assert bought.get("electricity that the price covers", 0.0) == 0.0
        return bought["electricity"] / (3e-8 * 1.25 * HORIZON)

    assert electricity(10, 0) == 0.0
    assert electricity(3, 7) == pytest.approx(7 * 60.0 + 0.7 * 70.0, rel=1e-9)
    assert electricity(0, 10) == pytest.approx(10 * 60.0 + 1000.0 + 70.0, rel=1e-9)


def test_no_price_and_no_intensity_give_no_totals():
    a = run(Usage.of([]), facility=Facility(0.0, 0.0, 1.0, None, None), gs=[GroupAccount("x", 1, 10.0, 1)])
    assert "cost_usd" not in a.summary
    assert "carbon_kg_co2e" not in a.summary
    assert np.isnan(a.energy["carbon_kg_co2e"]).all()


@given(usages())
def test_states_conserve_processors(usage):
    mine = usage.group == 0
    capacity = 80
    none = (np.array([]), np.array([]), np.array([], dtype=np.int64))
    submit = np.maximum(usage.start_s[mine] - 5.0, 0.0)
    s = pool_states(
        "gpu", capacity, usage.start_s[mine], usage.end_s[mine], usage.processors[mine], submit, usage.start_s[mine],
        usage.processors[mine], none, begin_s=0.0, end_s=HORIZON,
    )  # fmt: skip
    assert (s["busy"] + s["idle"] + s["down"] == capacity).all()
    seconds = s["end_s"] - s["start_s"]
    used = float(np.dot(usage.processors[mine], (usage.end_s - usage.start_s)[mine]))
    assert float(np.dot(s["busy"], seconds)) == pytest.approx(used, rel=1e-9, abs=1e-9)
    assert seconds.sum() == pytest.approx(HORIZON)
    waited = float((usage.start_s[mine] - submit).sum())
    assert float(np.dot(s["queued_jobs"], seconds)) == pytest.approx(waited, rel=1e-9, abs=1e-9)  # Little's law, summed
