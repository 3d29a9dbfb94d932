"""Parts of the step model one at a time: windows, partial recomputation, dispatch, tuning, frozen weights, doubt."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model, flop_per_step
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.parameters import DEFAULTS, TERMS, Parameters
from hpcsim.cost.software import Software, software
from hpcsim.cost.training import StepCost, step
from hpcsim.workload.link_kinds import fabric_of

H100 = Device(
    "h100", "gpu", {"bf16": 989.4e12, "fp8": 1978.9e12}, 80 * 2.0**30, 3350e9, {"bf16": 794.5e12, "fp8": 1402.6e12}, 132, year=2022
)
EOS = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=50e9)
LLAMA = Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=128256, gated=True, bias=False, norm_vectors=1)
MIXTURE = Model(
    layers=24, hidden=2048, ffn=8192, heads=16, vocab=32000, gated=True, experts=64, experts_per_token=8, expert_ffn=1024, bias=False
)


def run(
    model: Model = LLAMA, layout: Layout | None = None, *, device: Device = H100, stack: Software | None = None, **keys: object
) -> StepCost:
    given = {"global_batch": 64, "sequence": 4096, "precision": "bf16", **keys}
    return step(model, device, EOS, layout or Layout(dp=8, zero_stage=3), software=stack, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sequence", "window"), [(64, 8), (64, 64), (64, 200), (128, 1)])
def test_window_counts_the_pairs_it_leaves(sequence: int, window: int) -> None:
    """Against counting the pairs of a continuous causal mask: ∫ min(x, w) dx over the sequence."""
    model = dataclasses.replace(LLAMA, window=window)
    fine = (np.arange(sequence * 1000) + 0.5) / 1000
    pairs = np.minimum(fine, window).sum() / 1000
    assert float(model.context(sequence)) * sequence / 2 == pytest.approx(pairs, rel=1e-6)


def test_alternating_windows_lie_in_between() -> None:
    whole, half, every = (
        float(flop_per_step(m, global_batch=1, sequence=8192)["attention"])
        for m in (LLAMA, dataclasses.replace(LLAMA, window=128, window_frac=0.5), dataclasses.replace(LLAMA, window=128))
    )
    assert half == pytest.approx((whole + every) / 2)


def test_partial_recomputation_lies_between_none_and_full() -> None:
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    cost = run(layout=Layout(dp=8, zero_stage=3, recompute="full", recompute_frac=shares))
    assert (np.diff(cost.step_time_s) > 0).all()
    assert (np.diff(cost.memory.activations) < 0).all()
    none = run()
    assert cost.step_time_s[0] == pytest.approx(none.step_time_s, rel=1e-12)
    assert cost.memory.activations[0] == pytest.approx(none.memory.activations, rel=1e-12)


def test_recomputed_share_is_a_fraction() -> None:
    with pytest.raises(InputError):
        Layout(recompute="full", recompute_frac=1.5)


def test_one_copy_a_domain_is_never_slower_and_changes_nothing_inside() -> None:
    often, once = Software(dispatch_once=False), Software(dispatch_once=True)
    for ep, same in ((8, True), (32, False)):
        layout = Layout(dp=32, ep=ep, zero_stage=1)
        many, few = (run(MIXTURE, layout, stack=s, global_batch=256).terms["expert_parallel"] for s in (often, once))
        assert (few == many) if same else (few < many)


def test_software_older_than_the_architecture_is_slower() -> None:
    years = np.array([2022, 2023, 2024, 2030])
    times = [float(run(stack=dataclasses.replace(Software(), year=float(y))).step_time_s) for y in years]
    assert times[0] > times[1] > times[2] == times[3]
    unknown = dataclasses.replace(H100, year=0.0)
    assert run(device=unknown, stack=dataclasses.replace(Software(), year=2022.0)).step_time_s == pytest.approx(times[3], rel=1e-12)


def test_head_sizes_that_do_not_fill_the_matrix_units_are_slow_without_a_fused_kernel() -> None:
    plain = dataclasses.replace(Software(), fused_attention=False)
    aligned, odd = (Model(layers=8, hidden=h, ffn=4 * h, heads=64, vocab=32000) for h in (64 * 112, 64 * 108))
    assert run(odd, stack=plain).terms["attention"] > 1.2 * run(aligned, stack=plain).terms["attention"]


def test_frozen_weights_need_less_memory_and_time() -> None:
    adapters = dataclasses.replace(LLAMA, trainable_frac=1e-3)
    learned, frozen = run(), run(adapters)
    assert frozen.step_time_s < learned.step_time_s
    for name in ("gradients", "optimizer", "activations"):
        assert getattr(frozen.memory, name) < getattr(learned.memory, name)
    narrow = run(adapters, precision="fp8", stack=dataclasses.replace(Software(), narrow_frozen=True))
    assert narrow.memory.weights == pytest.approx(frozen.memory.weights / 2)


def test_ring_attention_costs_its_joins() -> None:
    alone, ring = (run(layout=Layout(dp=8 // cp, cp=cp)).terms["attention"] for cp in (1, 8))
    assert ring > alone / 8 * 1.05


def test_an_unknown_framework_widens_the_range() -> None:
    known, unknown = (run(stack=software(name, 2025)) for name in ("pytorch-fsdp", "a-framework-of-one's-own"))
    assert unknown.step_time_s == pytest.approx(known.step_time_s)
    assert unknown.high_s / unknown.low_s > known.high_s / known.low_s


def test_four_bits_are_not_faster_than_power_allows() -> None:
    wide = dataclasses.replace(H100, peak_flop_per_s={**H100.peak_flop_per_s, "fp4": 8e15})
    assert float(wide.sustained("fp4")) <= 1.1 * 4.0 * 794.5e12
    assert float(wide.sustained("fp4")) > float(wide.sustained("fp8"))


APPLIED_TO_DEVICES = {"gpu_attention_frac", "tpu_attention_frac", "tpu_matmul_frac"}
TRIALS = (
    ("megatron-lm", 2021), ("megatron-deepspeed", 2022), ("megatron-core", 2023), ("megatron-core", 2026), ("pytorch-fsdp", 2023), ("maxtext", 2025),
)  # fmt: skip


def test_every_tunable_term_moves_a_step() -> None:
    """No term is dead: each changes some step of a spread of stacks and layouts, at one of its bounds."""
    small = Model(layers=8, hidden=256, ffn=1024, heads=8, vocab=32000, experts=16, experts_per_token=2)
    jobs = (
        (LLAMA, Layout(dp=8, tp=2, pp=4, zero_stage=1)),
        (LLAMA, Layout(dp=64, zero_stage=3)),
        (small, Layout(dp=64, ep=16)),
        (MIXTURE, Layout(dp=64, ep=16, micro_batch=8)),
    )

    def times(parameters: Parameters, trial: tuple[str, int]) -> list[float]:
        stack = software(*trial, parameters=parameters)
        return [float(run(model, layout, stack=stack, sequence=512, global_batch=512).step_time_s) for model, layout in jobs]

    before = {trial: times(DEFAULTS, trial) for trial in TRIALS}
    for name, term in TERMS.items():
        if name not in APPLIED_TO_DEVICES:
            ends = (DEFAULTS.varied(**{name: bound}) for bound in (term.high, term.low))
            assert any(times(moved, trial) != before[trial] for moved in ends for trial in TRIALS), name
