"""NCCL's ranking by hand, protocols against the library's own latencies, and what a choice may not do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost.collectives import Fabric
from hpcsim.cost.links import Link, inside_step_s, outside_step_s
from hpcsim.cost.tuner import Group, place_of, tuner_s
from hpcsim.workload.link_kinds import fabric_of

BUS, PORTS = 367e9, 400e9


def group(size: float, ranks: int, inside: int, *, extra_s: float = 0.0, lines: float = 1.0, generation: int = 2) -> Group:
    domains = np.array([ranks / inside])
    one = np.ones(1)
    return Group(
        size * one, ranks * one, inside * one, domains, BUS * one, PORTS * one, extra_s * one,
        np.full(1, generation), place_of(domains), lines * one,
    )  # fmt: skip


def us(g: Group, algorithm: str, protocol: int, passes: float = 2.0) -> float:
    return 1e6 * float(tuner_s(g, algorithm, protocol, passes)[0])


def test_one_node_s_ring_by_hand() -> None:
    """Eight H100, 1 MiB: 6.6 + 14·0.6 µs and n over min(141, 367/2)·8/14 GB/s; 14 + 14·1.9; 8.4 + 14·3.4."""
    n = 2.0**20
    g = group(n, 8, 8)
    assert us(g, "ring", 0) == pytest.approx(6.6 + 14 * 0.6 + n / (141e3 * 8 / 14), rel=1e-9)
    assert us(g, "ring", 1) == pytest.approx(14.0 + 14 * 1.9 + n / (0.92 * 367e3 * 8 / 14), rel=1e-9)
    assert us(g, "ring", 2) == pytest.approx(8.4 + 14 * 3.4 + n / (367e3 * 8 / 14), rel=1e-9)
    assert us(g, "in-switch", 2) == pytest.approx(25.0 + n / (2 * 367e3 * 0.85 * 15 / 16 * 8 / 14), rel=1e-9)


def test_a_tree_between_nodes_by_hand() -> None:
    """Four nodes of eight, 64 KiB: chains of seven steps and two levels, size corrected by 0.7, 0.8 and 0.6."""
    n = 65536.0
    g = group(n, 32, 8, extra_s=20e-6)
    bus = min(0.92 * 367, 16 * 36.0)
    assert us(g, "tree", 0) == pytest.approx(6.8 + 2 * (7 * 0.6 + 2 * 25.0) + n / (0.5 * 0.6 * min(bus / 3.8, 19.0) * 1e3), rel=1e-9)
    assert us(g, "tree", 1) == pytest.approx(14 + 2 * (7 * 1.25 + 2 * 28.5) + n / (0.5 * 0.6 * bus * 120 / 128 * 1e3), rel=1e-9)
    assert us(g, "tree", 2) == pytest.approx(8.4 + 2 * (7 * 4.0 + 2 * 54.0) + n / (0.5 * 0.6 * bus * 1e3), rel=1e-9)


def test_a_ring_between_nodes_posts_and_has_a_plateau() -> None:
    n = 2.0**24
    whole = 8.4 + (62 - 6) * 3.4 + 6 * 14.0
    assert us(group(n, 32, 8), "ring", 2) == pytest.approx(1.4 * whole + n / (367e3 * 32 / 62), rel=1e-9)
    assert us(group(n, 32, 8), "ring", 0) == pytest.approx(6.6 + 56 * 1.0 + 6 * 2.7 + n / (19e3 * 32 / 62), rel=1e-9)
    assert us(group(1e4, 32, 8), "ring", 2) == pytest.approx(whole + 1e4 / (367e3 * 32 / 62), rel=1e-9)
    assert us(group(n, 2, 1), "ring", 0, 1.0) == pytest.approx(6.6 + 5.0 + n / (22.5e3 * 2), rel=1e-9)  # one rank a node: the tree's step


def test_lines_do_not_cross_a_network_that_breaks_them() -> None:
    assert np.isinf(us(group(1e6, 16, 8, lines=0.0), "tree", 1))
    assert np.isfinite(us(group(1e6, 8, 8, lines=0.0), "ring", 1))


def test_small_calls_take_the_library_s_latencies() -> None:
    """A process a device: 13 to 17 µs are measured on one H100 node of two operators, 64 to 71 µs on 32 nodes of A100 over InfiniBand, 18 µs
    on two nodes of four GH200 over Slingshot; all three follow from NCCL's constants."""
    bare = dataclasses.replace
    one = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=50e9)
    one = bare(one, scale_up=bare(one.scale_up, startup_s=0.0))
    assert float(one.collective_s("all-reduce", 128, 8, inside=8)) == pytest.approx(15.5e-6, rel=0.1)
    many = fabric_of(scale_up="nvlink3", scale_up_bytes_per_s=300e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=12.5e9)
    assert float(many.collective_s("all-reduce", 128, 256, inside=8)) == pytest.approx(67e-6, rel=0.15)
    alps = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=4, scale_out="slingshot", scale_out_bytes_per_s=25e9)
    assert float(alps.collective_s("all-reduce", 128, 8, inside=4)) == pytest.approx(18.9e-6, rel=0.3)


def test_steps_are_the_table_scaled() -> None:
    link = Link(1e9, latency_s=1.2e-6, bulk_factor=0.5)
    assert [float(inside_step_s(link, "ring", k)) for k in (0, 1, 2)] == pytest.approx([1.2e-6, 3.8e-6, 3.4e-6])
    net = Link(1e9, latency_s=25e-6)
    assert [float(outside_step_s(net, "tree", k)) for k in (0, 1, 2)] == pytest.approx([25e-6, 28.5e-6, 54e-6])
    quick = Link(1e9, latency_s=2.5e-6)
    assert float(outside_step_s(quick, "tree", 2)) == pytest.approx(7e-6)


sizes = st.floats(1.0, 1e11)
shapes = st.tuples(st.integers(1, 64), st.integers(1, 8)).map(lambda pair: (pair[0] * pair[1], pair[1]))
kinds = st.sampled_from([("nvlink4", 450e9, "efa", 50e9), ("nvlink3", 300e9, "infiniband", 25e9), ("xgmi", 448e9, "roce", 50e9)])


def fabric(kind: tuple[str, float, str, float]) -> Fabric:
    return fabric_of(scale_up=kind[0], scale_up_bytes_per_s=kind[1], domain=8, scale_out=kind[2], scale_out_bytes_per_s=kind[3])


@settings(max_examples=60, deadline=None)
@given(sizes, shapes, kinds, st.sampled_from(["all-reduce", "all-gather", "broadcast", "send"]))
def test_the_quickest_is_never_slower_than_what_the_tuner_takes(
    n: float, shape: tuple[int, int], kind: tuple[str, float, str, float], collective: str
) -> None:
    quick, tuned = (
        float(dataclasses.replace(fabric(kind), tuned=on).collective_s(collective, n, shape[0], inside=shape[1])) for on in (False, True)
    )
    assert quick <= tuned * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(sizes, st.floats(1.0, 100.0), shapes, kinds, st.sampled_from(["all-reduce", "reduce-scatter", "all-to-all", "broadcast", "send"]))
def test_more_bytes_or_a_slower_link_never_take_less(
    n: float, factor: float, shape: tuple[int, int], kind: tuple[str, float, str, float], collective: str
) -> None:
    f = fabric(kind)
    base = float(f.collective_s(collective, n, shape[0], inside=shape[1]))
    assert float(f.collective_s(collective, n * factor, shape[0], inside=shape[1])) >= base * (1 - 1e-12)
    slow = dataclasses.replace(f, scale_out=dataclasses.replace(f.scale_out, bytes_per_s=kind[3] / factor))
    assert float(slow.collective_s(collective, n, shape[0], inside=shape[1])) >= base * (1 - 1e-12)
