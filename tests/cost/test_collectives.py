"""Collectives: textbook forms against step-by-step counts, fabric forms against measured bandwidths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.link_kinds import kind_name
from hpcsim.cost import collectives as co
from hpcsim.workload.link_kinds import fabric_of, link_class, link_of


@pytest.mark.parametrize("p", [2, 3, 4, 7, 8, 64])
def test_ring_all_reduce_counts_its_steps(p: int) -> None:
    n, b, a = 1e9, 1e10, 5e-6
    steps = sum(a + n / p / b for _ in range(2 * (p - 1)))
    assert co.textbook("all-reduce", n, p, bytes_per_s=b, latency_s=a) == pytest.approx(steps)
    half = sum(a + n / p / b for _ in range(p - 1))
    assert co.textbook("all-gather", n, p, bytes_per_s=b, latency_s=a) == pytest.approx(half)
    assert co.textbook("reduce-scatter", n, p, bytes_per_s=b, latency_s=a) == pytest.approx(half)


@pytest.mark.parametrize("p", [2, 4, 16])
def test_recursive_forms_count_their_steps(p: int) -> None:
    n, b, a = 1e9, 1e10, 5e-6
    rounds = int(math.log2(p))
    doubling = sum(a + n / b for _ in range(rounds))
    assert co.textbook("all-reduce", n, p, bytes_per_s=b, latency_s=a, algorithm="recursive") == pytest.approx(doubling)
    halving = sum(a + n / 2**r / b for r in range(1, rounds + 1))
    assert co.textbook("reduce-scatter", n, p, bytes_per_s=b, latency_s=a, algorithm="recursive") == pytest.approx(halving)
    assert co.textbook("all-reduce", n, p, bytes_per_s=b, latency_s=a, algorithm="rabenseifner") == pytest.approx(2 * halving)


def test_broadcast_forms() -> None:
    keys = {"bytes_per_s": 1e9, "latency_s": 1e-6}
    assert co.textbook("broadcast", 1e6, 8, algorithm="tree", **keys) == pytest.approx(3 * (1e-6 + 1e-3))
    p, n, a, b = 8, 1e6, 1e-6, 1e-9
    brute = min((p - 2 + m) * (a + n / m * b) for m in range(1, 2000))
    assert co.textbook("broadcast", n, p, algorithm="chain", **keys) == pytest.approx(brute, rel=1e-4)


def test_a_barrier_costs_its_rounds_though_it_moves_nothing() -> None:
    assert co.textbook("barrier", 0, 1024, bytes_per_s=1e9, latency_s=2e-6, algorithm="dissemination") == pytest.approx(20e-6)


def test_one_rank_is_silent_and_no_bytes_are_free() -> None:
    for collective in ("all-reduce", "all-gather", "all-to-all", "broadcast", "gather"):
        for algorithm in co.algorithms(collective):
            keys = {"bytes_per_s": 1e9, "latency_s": 1e-6, "algorithm": algorithm}
            assert co.textbook(collective, 1e6, 1, **keys) == 0.0
            assert co.textbook(collective, 0.0, 8, **keys) == 0.0


def test_bus_factors() -> None:
    assert co.bus_factor("all-reduce", 8) == 1.75
    assert co.bus_factor("all-gather", 8) == 0.875
    assert co.bus_factor("broadcast", 8) == 1.0


def test_groups_fill_domains_in_order() -> None:
    assert co.members_in_domain(8, 1, 8) == 8
    assert co.members_in_domain(64, 4, 8) == 2
    assert co.members_in_domain(64, 8, 8) == 1
    assert co.members_in_domain(4, 2, 72) == 4


def bus(fabric: co.Fabric, collective: str, n: float, p: int, inside: int) -> float:
    return float(co.bus_factor(collective, p) * n / fabric.collective_s(collective, n, p, inside=inside))


def fabric(up: str, up_rate: float, out: str = "none", out_rate: float = 1e9, domain: int = 8) -> co.Fabric:
    return fabric_of(scale_up=up, scale_up_bytes_per_s=up_rate, domain=domain, scale_out=out, scale_out_bytes_per_s=out_rate)


@pytest.mark.parametrize(
    ("link", "rate", "p", "measured"),
    [("nvlink3", 300e9, 8, 235e9), ("nvlink4", 450e9, 8, 480e9), ("nvlink5", 900e9, 8, 840e9), ("xgmi", 448e9, 8, 313e9)],
)
def test_large_all_reduce_inside_a_node(link: str, rate: float, p: int, measured: float) -> None:
    """Bus bandwidths of nccl-tests and rccl-tests at 8 GB and above."""
    assert bus(fabric(link, rate), "all-reduce", 8e9, p, p) == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize(("nodes", "measured"), [(4, 357e9), (8, 355e9)])
def test_large_all_reduce_across_nodes(nodes: int, measured: float) -> None:
    """8×H100 nodes with 3200 Gbit/s of EFA each: the NIC bounds the bus."""
    f = fabric("nvlink4", 450e9, "efa", 50e9)
    assert bus(f, "all-reduce", 16e9, 8 * nodes, 8) == pytest.approx(measured, rel=0.08)


def test_large_all_to_all_across_nodes() -> None:
    """64 ranks on eight such nodes, 2 GiB a rank: 49.6 GB/s of bus bandwidth."""
    f = fabric("nvlink4", 450e9, "efa", 50e9)
    assert bus(f, "all-to-all", 2**31, 64, 8) == pytest.approx(49.6e9, rel=0.15)


def test_oversubscription_slows_only_what_leaves_the_domain() -> None:
    plain = fabric("nvlink4", 450e9, "infiniband", 50e9)
    thin = co.Fabric(plain.scale_up, plain.scale_out, 8, oversubscription=4.0)
    assert thin.collective_s("all-reduce", 1e9, 8, inside=8) == plain.collective_s("all-reduce", 1e9, 8, inside=8)
    assert thin.collective_s("all-reduce", 1e9, 64, inside=8) > 2 * plain.collective_s("all-reduce", 1e9, 64, inside=8)


def test_a_torus_group_drives_the_axes_it_spans() -> None:
    f = fabric("ici", 180e9, domain=256)
    line, plane = (f.collective_s("all-gather", 1e9, p, inside=p) for p in (16, 256))
    assert line / plane == pytest.approx(2.0, rel=0.1)


def test_links_are_known_by_prefix() -> None:
    assert kind_name("NVLink4 + NVSwitch") == "nvlink4"
    assert kind_name("omnipath-100") == "omni-path"
    assert kind_name("slingshot-11") == "slingshot"
    assert kind_name("carrier pigeon") == "ethernet"
    assert kind_name("GPUDirect-TCPXO") == "tcpxo"
    assert kind_name("gcp-tcpx") == "tcpx"
    assert kind_name("NDR 400") == "infiniband"
    assert kind_name("infiniband-hdr") == "infiniband"
    assert kind_name("efa-v3") == "efa"
    assert kind_name("neuronlink-3") == "scale-up"


def test_what_is_less_known_has_a_wider_range() -> None:
    """A kind that no timing covers falls back on its kin, with doubt."""
    measured = ("nvlink3", "nvlink4", "nvlink5", "xgmi", "infiniband", "efa", "slingshot")
    assert all(link_class(kind).doubt_sigma == 0 for kind in measured)
    for kind in ("tcpxo", "roce", "pcie", "nvlink6", "hccs", "a new network"):
        assert link_class(kind).doubt_sigma > 0


def test_two_domains_are_quicker_than_four_for_a_double_tree() -> None:
    assert co.tree_load([1, 2, 3, 4, 64]).tolist() == [0.0, 1.0, 1.5, 2.0, 2.0]
    f = fabric("nvlink4", 450e9, "infiniband", 50e9)
    two, four = (float(f.collective_s("all-reduce", 4e9, 8 * k, inside=8)) for k in (2, 4))
    assert two < 0.8 * four
    assert 4e9 / two > 230e9  # 237 to 260 GB/s are measured on two nodes of eight H100


def test_a_pair_of_a_mesh_has_one_link() -> None:
    f = fabric("xgmi", 448e9)
    assert bus(f, "all-reduce", 4e9, 2, 2) == pytest.approx(47.7e9, rel=0.08)


def test_the_switch_sums_at_one_rate_whatever_the_ranks() -> None:
    """Four to eight H200: n(1 + 1/p) crosses a link at 303 to 311 GB/s."""
    f = fabric("nvlink4", 450e9)
    for p in (5, 6, 7, 8):
        found = f.timed("all-reduce", 8e9, p, inside=p)
        assert str(found.algorithm) == "in-switch"
        assert 8e9 * (1 + 1 / p) / float(found.seconds) == pytest.approx(307e9, rel=0.02)


def test_mpi_takes_host_messages_and_no_pipeline() -> None:
    f = fabric("nvlink4", 450e9, "slingshot", 25e9, domain=4)
    host, device = (float(f.mpi_s("all-to-all", 8, 8, inside=4, on_devices=on)) for on in (False, True))
    assert host == pytest.approx(12e-6, rel=0.2)
    assert device == pytest.approx(22e-6, rel=0.2)
    assert float(f.mpi_s("all-to-all", 2**23, 8, inside=4)) == pytest.approx(500e-6, rel=0.25)
    with pytest.raises(InputError, match="gossip"):
        f.mpi_s("gossip", 8, 8, inside=4)


def test_one_device_drives_its_own_port() -> None:
    """One GPU of a node with four ports of Slingshot reaches 25 GB/s, not 100."""
    assert float(link_of("slingshot", 100e9).bytes_per_s) == 25e9


def test_scalar_equals_array() -> None:
    f = fabric("nvlink4", 450e9, "infiniband", 50e9)
    sizes, ranks = np.array([0.0, 1e3, 1e6, 1e9]), np.array([2, 16, 64, 512])
    for collective in ("all-reduce", "all-gather", "all-to-all", "send"):
        many = f.collective_s(collective, sizes, ranks, inside=8)
        assert many.tolist() == [float(f.collective_s(collective, n, p, inside=8)) for n, p in zip(sizes, ranks, strict=True)]


def test_refusals() -> None:
    with pytest.raises(InputError):
        co.textbook("all-reduce", 1.0, 8, bytes_per_s=1.0, algorithm="magic")
    with pytest.raises(InputError):
        co.textbook("all-reduce", -1.0, 8, bytes_per_s=1.0)
    with pytest.raises(InputError):
        co.textbook("all-reduce", 1.0, 2.5, bytes_per_s=1.0)
    with pytest.raises(InputError):
        co.Link(0.0)
    with pytest.raises(InputError):
        fabric("nvlink4", 450e9).collective_s("gossip", 1.0, 2, inside=2)
