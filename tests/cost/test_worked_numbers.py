"""Worked numbers of the literature that belong to no formula's own test: run lengths, volumes on the wire, when ring attention hides."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.compute import Device, find_precision
from hpcsim.cost.laws import training
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.samples import work_step
from hpcsim.cost.software import Software
from hpcsim.cost.training import step

PLAIN = Link(1e9)
DEVICE = Device("d", "gpu", {"bf16": 1e18}, 1e15, 1e18, {"bf16": 1e18}, kernel_s=0.0)
STACK = Software(launch_s=0.0, step_s=0.0, straggler_cv=0.0, contention_frac=0.0, cp_overlap_frac=0.0)


def ideal(domain: int = 64) -> Fabric:
    return Fabric(PLAIN, PLAIN, domain)


@pytest.mark.parametrize(
    ("tokens", "parameters", "devices", "rate", "days"),
    [(300e9, 175e9, 1024, 140e12, 33.9), (450e9, 1.008e12, 3072, 163e12, 83.9)],
)
def test_run_lengths_of_the_megatron_paper(tokens: float, parameters: float, devices: int, rate: float, days: float) -> None:
    """8·T·P/(n·X): 34 and 84 days (Narayanan et al. 2021; M1.3)."""
    assert 8 * tokens * parameters / (devices * rate) / 86400 == pytest.approx(days, abs=0.05)


def test_tensor_parallel_bytes_on_the_wire() -> None:
    """b 1, s 4096, h 8192, t 8: 0.4698 GB a layer, all-reduces or, with sequence parallelism, their halves (M2.6)."""
    model = Model(layers=1, hidden=8192, ffn=32768, heads=64, vocab=0)
    for sequence_parallel in (False, True):
        layout = Layout(tp=8, sequence_parallel=sequence_parallel)
        cost = step(model, DEVICE, ideal(), layout, global_batch=1, sequence=4096, software=STACK)
        assert cost.terms["tensor_parallel"] * 1e9 == pytest.approx(0.46976e9, rel=1e-4)


@pytest.mark.parametrize(("kv_heads", "shortest"), [(64, 8000), (8, 1000)])
def test_shortest_piece_at_which_ring_attention_hides(kv_heads: int, shortest: int) -> None:
    """400 TFLOP/s and 50 GB/s: pieces of 8,000 tokens, of 1,000 with keys and values of eight heads of 64 (forward, no mask; M2.7)."""
    model = Model(layers=1, hidden=8192, ffn=1, heads=64, kv_heads=kv_heads, vocab=0, causal=False)
    device = dataclasses.replace(DEVICE, sustained_flop_per_s={"bf16": 400e12}, attention_frac=1.0)
    stack = dataclasses.replace(STACK, matmul_frac=1.0, attention_tokens=0.0)
    c = 16
    for tokens, hides in ((0.99 * shortest, False), (1.02 * shortest, True)):
        flop = 4.0 * tokens * tokens * 8192
        sent = 2.0 * tokens * kv_heads * 128 * 2.0
        assert (flop / 400e12 >= sent / 50e9) is hides
    piece = 2 * shortest
    cost = step(model, device, Fabric(Link(50e9), Link(50e9), 64), Layout(cp=c), global_batch=1, sequence=c * piece, software=stack)
    moved = 2.0 * c * piece * kv_heads * 128 * 2.0 * (c - 1) / c
    assert cost.terms["context_parallel"] == pytest.approx(3 * moved / 50e9, rel=0.02)
    assert cost.terms["attention"] > cost.terms["context_parallel"]


def test_dispatched_bytes_and_capacity() -> None:
    """T 4096, k 8, h 7168, 32 ranks: 455.1 MB a direction; capacity 1.25 over 64 experts: 160 tokens of 4096·2 (M2.8)."""
    model = Model(layers=1, hidden=7168, ffn=1, heads=56, vocab=0, experts=64, experts_per_token=8, expert_ffn=1)
    cost = step(model, DEVICE, ideal(), Layout(dp=32, ep=32), global_batch=32, sequence=4096, software=STACK)
    assert cost.terms["expert_parallel"] * 1e9 / 4 == pytest.approx(455.08e6, rel=1e-4)
    assert math.ceil(1.25 * 4096 * 2 / 64) == 160
    padded = dataclasses.replace(model, experts_per_token=2, capacity=1.25)
    assert float(padded.expert_load) * 4096 * 2 / 64 == 160


def test_exchange_of_a_recommender() -> None:
    """B 65536 over 16 devices, 26 tables of 128 columns in 16 bits: 25.56 MB a device and direction (M1.1)."""
    work = Work(parameters=1.0, flop_per_sample=1.0, bytes_per_sample=0.0, exchange_bytes_per_sample=26 * 128 * 2.0)
    cost = work_step(work, DEVICE, ideal(), Layout(dp=16, micro_batch=4096), np.asarray(65536.0), find_precision("bf16"), "bf16", STACK)
    assert cost.terms["expert_parallel"] * 1e9 / 2 == pytest.approx(25.56e6, rel=1e-3)


def test_wall_clock_of_the_largest_llama() -> None:
    """6·P FLOP a token, 400 TFLOP/s, a million tokens: 6087.75 s; 15.6 T tokens on 16,384 devices at 40 %: 67.8 days (M1.3)."""
    assert float(training(6 * 405.85e9 * 1e6, 400e12, n=1).wall_clock_s) == pytest.approx(6087.75)
    assert pytest.approx(67.8, abs=0.05) == 6 * 405.85e9 * 15.6e12 / (16384 * 0.40 * 989e12) / 86400
