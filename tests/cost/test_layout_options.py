"""Hybrid sharding, exchange of heads for tokens, offloading, the order of the devices, capacity and imbalance, graphs and compilers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model
from hpcsim.cost.parallelism import ORDERS, Layout, groups, kept_with, space, validity
from hpcsim.cost.software import Software, software, with_options
from hpcsim.cost.training import StepCost, step
from hpcsim.workload.link_kinds import fabric_of

H100 = Device("h100", "gpu", {"bf16": 989.4e12, "fp8": 1978.9e12}, 80 * 2.0**30, 3350e9, {"bf16": 794.5e12, "fp8": 1402.6e12}, 132)
LLAMA = Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=128256, gated=True, bias=False, norm_vectors=1)
MIXTURE = Model(
    layers=24, hidden=2048, ffn=8192, heads=16, vocab=32000, gated=True, experts=64, experts_per_token=8, expert_ffn=1024, bias=False
)


def eos(out: float = 50e9, up: float = 450e9, host: float = 25e9) -> Fabric:
    return fabric_of(
        scale_up="nvlink4",
        scale_up_bytes_per_s=up,
        domain=8,
        scale_out="infiniband",
        scale_out_bytes_per_s=out,
        host_bytes_per_s=host,
    )


def run(
    layout: Layout,
    model: Model = LLAMA,
    *,
    fabric: Fabric | None = None,
    stack: Software | None = None,
    batch: int = 256,
    sequence: int = 4096,
) -> StepCost:
    return step(model, H100, fabric or eos(), layout, global_batch=batch, sequence=sequence, software=stack)


def test_hybrid_sharding_keeps_gathers_inside_and_takes_more_memory() -> None:
    """One group a node: nothing but the shard's gradients leaves it, and each device holds an eighth of the state."""
    whole, hybrid = Layout(dp=64, zero_stage=3), Layout(dp=64, zero_stage=3, replicate=8)
    assert float(hybrid.shards) == 8
    where = groups(hybrid, 8)
    assert (float(where.data[0]), float(where.data[1]), float(where.outer[0]), float(where.outer[1])) == (8, 8, 8, 1)
    over = {name: float(run(layout).memory.optimizer) for name, layout in (("whole", whole), ("hybrid", hybrid))}
    assert over["hybrid"] == pytest.approx(8 * over["whole"])
    slow = eos(out=1e9)
    assert run(hybrid, fabric=slow).terms["parameter_gather"] < 0.1 * run(whole, fabric=slow).terms["parameter_gather"]
    assert run(hybrid, fabric=slow).step_time_s < run(whole, fabric=slow).step_time_s


def test_hybrid_sharding_over_all_replicas_is_sharding_none() -> None:
    """As many groups as replicas: each device holds everything, and gradients are reduced over all of them."""
    hybrid, plain = run(Layout(dp=8, zero_stage=3, replicate=8)), run(Layout(dp=8, zero_stage=0))
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(hybrid.memory, name) == pytest.approx(float(getattr(plain.memory, name)))
    assert hybrid.terms["parameter_gather"] == 0.0


@pytest.mark.parametrize(("replicate", "zero"), [(3, 3), (2, 0)])
def test_hybrid_sharding_that_cannot_be(replicate: int, zero: int) -> None:
    with pytest.raises(InputError, match="replicas"):
        run(Layout(dp=8, zero_stage=zero, replicate=replicate))


def test_heads_for_tokens_need_no_joins_and_more_heads() -> None:
    ring, swap = Layout(dp=2, cp=4), Layout(dp=2, cp=4, cp_all_to_all=True)
    assert run(swap, sequence=32768, batch=4).terms["attention"] < run(ring, sequence=32768, batch=4).terms["attention"]
    assert run(swap).terms["context_parallel"] > 0
    assert run(Layout(dp=8, cp_all_to_all=True)).terms["context_parallel"] == 0
    ok, reasons = validity(Layout(tp=8, cp=8, cp_all_to_all=True), LLAMA, devices=64, global_batch=64)
    assert not ok
    assert reasons["heads"]


def test_exchanged_bytes_are_four_tensors_of_a_layer() -> None:
    """Queries, keys, values in and outputs back, (c−1)/c of each, twice a step direction: on a fabric without start-up and latency."""
    link = dataclasses.replace(eos().scale_up, efficiency_frac=1.0, latency_s=0.0, startup_s=0.0, base_s=0.0)
    plain = dataclasses.replace(eos(), scale_up=link)
    cost = run(Layout(cp=4, cp_all_to_all=True), fabric=plain, batch=1)
    elements = 1024 * (4096 + 2 * 1024 + 4096)
    assert cost.terms["context_parallel"] == pytest.approx(32 * 2 * 0.75 * 2.0 * elements / 450e9, rel=1e-9)


def test_offloading_trades_memory_for_the_hosts_link() -> None:
    layout = Layout(dp=8, zero_stage=1, recompute="selective")
    base = run(layout)
    for name, term in (("offload_weights", "weights"), ("offload_activations", "activations")):
        moved = dataclasses.replace(layout, **{name: True})
        assert getattr(run(moved).memory, term) < 0.5 * getattr(base.memory, term)
        times = [float(run(moved, fabric=eos(host=rate)).terms["offload"]) for rate in (5e9, 25e9, 1e15)]
        assert times[0] > times[1] > times[2]
        assert times[2] < 1e-3 * float(base.step_time_s)
    assert base.terms["offload"] == 0.0


def test_a_slow_host_is_paced_by_its_link() -> None:
    """All that is hidden aside, weights cross twice a micro-batch: never faster than their bytes over the link."""
    layout = Layout(dp=8, zero_stage=1, offload_weights=True)
    cost = run(layout, fabric=eos(host=1e9))
    bytes_in = 2 * 2.0 * 7.5e9
    assert cost.step_time_s >= 0.99 * float(cost.micro_batches) * bytes_in / 1e9


def test_the_order_of_devices_decides_what_shares_a_domain() -> None:
    usual = groups(Layout(tp=2, dp=4, pp=8, order="tp-cp-dp-pp"), 8)
    deep = groups(Layout(tp=2, dp=4, pp=8, order="tp-cp-pp-dp"), 8)
    outer = groups(Layout(tp=8, dp=8, order="dp-tp-cp-pp"), 8)
    assert (float(usual.data[1]), bool(usual.stages_cross)) == (4, True)
    assert (float(deep.data[1]), bool(deep.stages_cross)) == (1, True)
    assert not groups(Layout(tp=2, dp=16, pp=4, order="tp-pp-cp-dp"), 8).stages_cross
    assert (float(outer.tensor[1]), float(outer.data[1])) == (1, 8)
    assert run(Layout(tp=8, dp=8, order="dp-tp-cp-pp")).terms["tensor_parallel"] > 3 * run(Layout(tp=8, dp=8)).terms["tensor_parallel"]
    assert ORDERS[0] == "tp-cp-dp-pp"
    with pytest.raises(InputError, match="order"):
        Layout(order="tp-tp-dp-pp")


def test_every_order_of_one_domain_is_the_same() -> None:
    """Within one domain it does not matter who is next to whom."""
    times = {float(run(Layout(tp=2, dp=2, pp=2, order=name)).step_time_s) for name in ORDERS}
    assert max(times) == pytest.approx(min(times), rel=1e-12)


def test_capacity_pads_and_imbalance_waits() -> None:
    layout = Layout(dp=32, ep=8, zero_stage=1)
    base = run(layout, MIXTURE)
    padded = run(layout, dataclasses.replace(MIXTURE, capacity=1.25))
    uneven = run(layout, dataclasses.replace(MIXTURE, imbalance=1.25))
    for cost in (padded, uneven):
        assert base.terms["expert_parallel"] < cost.terms["expert_parallel"] <= 1.25 * base.terms["expert_parallel"]
        assert base.terms["matmul"] < cost.terms["matmul"] <= 1.25 * base.terms["matmul"]
        assert cost.memory.activations > base.memory.activations
    assert padded.step_time_s == pytest.approx(uneven.step_time_s)
    dropping = run(layout, dataclasses.replace(MIXTURE, capacity=0.5))
    assert dropping.terms["expert_parallel"] < base.terms["expert_parallel"]


def test_latent_projections_are_repeated_in_place_of_kept() -> None:
    latent = Model(
        layers=8, hidden=7168, ffn=18432, heads=128, vocab=129280, gated=True, bias=False, norm_vectors=1, q_rank=1536, kv_rank=512,
        nope_dim=128, rope_dim=64, v_dim=128,
    )  # fmt: skip
    none, again = (run(Layout(dp=8, zero_stage=3, recompute=r), latent, batch=8) for r in ("none", "selective"))
    assert again.memory.activations < 0.5 * none.memory.activations
    products = 2 * 4096 * (1536 * 128 * 192 + 512 * 128 * 256) * 8 / 794.5e12
    assert again.terms["recompute"] > products


def test_dualpipe_hides_exchanges_behind_the_other_direction() -> None:
    plain, dual = (run(Layout(dp=32, ep=32, pp=4, zero_stage=1, schedule=s), MIXTURE, batch=1024) for s in ("1f1b", "dualpipe"))
    assert dual.terms["expert_parallel"] < plain.terms["expert_parallel"]


def test_captured_graphs_and_compilers() -> None:
    small = Model(layers=12, hidden=512, ffn=2048, heads=8, vocab=32000)
    eager = software("pytorch-ddp", 2024)
    base, captured, compiled = (
        run(Layout(dp=8), small, stack=stack, batch=8, sequence=256)
        for stack in (eager, with_options(eager, captured=True), with_options(eager, compiled=True))
    )
    assert captured.terms["launch"] < base.terms["launch"]
    assert compiled.terms["elementwise"] < base.terms["elementwise"]
    fused = software("megatron-core", 2024)
    assert with_options(fused, compiled=True) == fused
    twice = with_options(with_options(eager, compiled=True), compiled=True)
    assert twice == with_options(eager, compiled=True)


def test_hidden_tensor_traffic_is_bounded_by_the_products() -> None:
    """On a link a thousand times slower nearly all is exposed, whatever share a stack overlaps."""
    stack = dataclasses.replace(Software(), tp_overlap_frac=0.9)
    fast, slow = (run(Layout(tp=8), stack=stack, fabric=eos(up=rate), batch=8).terms for rate in (450e9, 450e6))
    none = run(Layout(tp=8), stack=dataclasses.replace(stack, tp_overlap_frac=0.0), fabric=eos(up=450e6), batch=8).terms
    assert slow["tensor_parallel"] >= none["tensor_parallel"] - slow["matmul"]
    assert slow["tensor_parallel"] > 0.9 * none["tensor_parallel"]
    assert fast["tensor_parallel"] > 0


def test_fields_set_for_a_whole_space() -> None:
    found, _ = space(LLAMA, devices=64, global_batch=64, sequence=4096, axes={"pp": (1,), "zero_stage": (0, 3), "micro_batch": (1,)})
    made, gone = kept_with(found, LLAMA, {"replicate": 2}, devices=64, global_batch=64, sequence=4096)
    assert made.shape[0] + gone == found.shape[0]
    assert (made.zero_stage > 0).all()
    assert set(np.unique(made.replicate)) == {2.0}


def test_a_row_shows_unusual_fields_alone() -> None:
    assert "replicate" not in Layout(dp=8).row()
    row = Layout(dp=8, zero_stage=3, replicate=2, order="dp-tp-cp-pp", offload_activations=True).row()
    assert (row["replicate"], row["order"], row["offload_activations"]) == (2, "dp-tp-cp-pp", True)
    assert Layout(**row).row() == row
