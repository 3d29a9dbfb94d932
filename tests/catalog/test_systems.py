"""HPL figures of the systems against published ratios and against what their devices can do."""

from __future__ import annotations

import pytest

from hpcsim.catalog.lookup import Catalog

CATALOG = Catalog()
RANKED = [name for name in CATALOG.names("system") if CATALOG.system(name).rmax_flop_per_s]

# Rmax over Rpeak of the TOP500 entries
RATIOS = {
    "el-capitan": 0.641,
    "frontier": 0.658,
    "aurora": 0.511,
    "jupiter": 0.815,
    "fugaku": 0.823,
    "alps": 0.757,
    "lumi": 0.714,
    "leonardo": 0.787,
    "perlmutter": 0.701,
    "summit": 0.740,
    "selene": 0.801,
    "eos": 0.644,
}


@pytest.mark.parametrize("name", RATIOS)
def test_hpl_ratio_is_the_published_one(name: str) -> None:
    system = CATALOG.system(name)
    assert system.rmax_flop_per_s / system.rpeak_flop_per_s == pytest.approx(RATIOS[name], rel=0.01)


def devices(name: str) -> int:
    system = CATALOG.system(name)
    return system.accelerators or system.nodes * system.accelerators_per_node


# TOP500 counts part of the machine: HPL ran on 87 % of the nodes, at clocks below the maker's peak.
PART_OF_THE_MACHINE = {"aurora"}


@pytest.mark.parametrize("name", RANKED)
def test_reached_is_below_peak_and_peak_is_what_the_devices_have(name: str) -> None:
    """Rpeak lies between the devices' vector and matrix peaks: sites differ in which of the two, and which clock, they count."""
    system = CATALOG.system(name)
    peak = CATALOG.accelerator(system.accelerator).peak_flop_per_s
    vector, most = peak["fp64"], max(peak["fp64"], peak.get("fp64_tensor", 0.0))
    assert system.rmax_flop_per_s < system.rpeak_flop_per_s
    assert system.rmax_flop_per_s < devices(name) * most
    assert system.rpeak_flop_per_s < 1.12 * devices(name) * most  # host processors count too
    if name not in PART_OF_THE_MACHINE:
        assert system.rpeak_flop_per_s > 0.9 * devices(name) * vector


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [
        ("fugaku", "fp64", 0.01),
        ("leonardo", "fp64_tensor", 0.02),
        ("el-capitan", "fp64", 0.05),  # Rpeak holds the processor cores of the APUs
        ("summit", "fp64", 0.08),
        ("lumi", "fp64", 0.08),
        ("frontier", "fp64", 0.1),
        ("selene", "fp64_tensor", 0.1),
        ("titan", "fp64", 0.12),  # Rpeak holds the host processors
    ],
)
def test_rpeak_is_nodes_times_devices_times_peak(name: str, precision: str, tolerance: float) -> None:
    system = CATALOG.system(name)
    peak = CATALOG.accelerator(system.accelerator).peak_flop_per_s[precision]
    assert system.rpeak_flop_per_s == pytest.approx(devices(name) * peak, rel=tolerance)


@pytest.mark.parametrize("name", [n for n in RANKED if CATALOG.system(n).power_w])
def test_efficiency_fits_the_generation(name: str) -> None:
    """Green500: 2 GFLOP/s a watt in 2012, at most 75 in 2025."""
    system = CATALOG.system(name)
    assert 1.5e9 < system.rmax_flop_per_s / system.power_w < 75e9


def test_el_capitan_efficiency_as_listed() -> None:
    system = CATALOG.system("El Capitan")
    assert system.rmax_flop_per_s / system.power_w == pytest.approx(60.9e9, rel=0.005)


@pytest.mark.parametrize("name", [n for n in CATALOG.names("system") if CATALOG.system(n).nodes and CATALOG.system(n).accelerators])
def test_counts_of_devices_agree(name: str) -> None:
    system = CATALOG.system(name)
    assert system.accelerators == system.nodes * system.accelerators_per_node


def test_dragonfly_groups_hold_their_nodes() -> None:
    frontier, aurora = CATALOG.system("frontier"), CATALOG.system("aurora")
    assert frontier.fabric["groups"] * frontier.fabric["nodes_per_group"] == pytest.approx(9408, rel=0.01)
    assert frontier.fabric["nodes_per_group"] * frontier.nics == frontier.fabric["endpoints_per_group"]
    assert aurora.fabric["groups"] * aurora.fabric["nodes_per_group"] == aurora.nodes
    meta = CATALOG.system("meta-24k-roce")
    assert meta.fabric["pods"] * meta.fabric["pod_accelerators"] == meta.nodes * meta.accelerators_per_node == 24576
