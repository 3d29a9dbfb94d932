"""Invariants of the cost formulas: bounds, conservation, monotonicity, scaling."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.cost import carbon, collectives, compute, laws, memory, pipeline, power, reliability, storage
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model, parameters
from hpcsim.cost.parallelism import ORDERS, Layout, stage_layers
from hpcsim.cost.software import Software
from hpcsim.cost.training import StepCost, step
from hpcsim.workload.link_kinds import fabric_of

sizes = st.floats(1.0, 1e12)
rates = st.floats(1e6, 1e13)
latencies = st.floats(0.0, 1e-3)
ranks = st.integers(1, 4096)
forms = st.sampled_from([(c, a) for c in collectives.COLLECTIVES for a in collectives.algorithms(c)])
up_to = 1 + 1e-9


def fabric(up: float = 450e9, out: float = 50e9, domain: int = 8, kind: str = "nvlink3") -> Fabric:
    return fabric_of(scale_up=kind, scale_up_bytes_per_s=up, domain=domain, scale_out="infiniband", scale_out_bytes_per_s=out)


# --- time is bounded from below


@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(1, 20000), st.integers(0, 304), st.floats(0, 1e-4))
def test_i12_no_product_beats_the_roofline(m: int, n: int, k: int, units: int, start: float) -> None:
    t = compute.gemm_s(m, n, k, flop_per_s=3e14, bytes_per_s=2e12, compute_units=units, kernel_s=start)
    floor = compute.roofline_s(2.0 * m * n * k, 2.0 * (m * k + k * n + m * n), flop_per_s=3e14, bytes_per_s=2e12)
    assert t * up_to >= floor
    assert compute.gemm_s(m + 1, n, k, flop_per_s=3e14, bytes_per_s=2e12, compute_units=units, kernel_s=start) * up_to >= t


@given(st.sampled_from(["ring", "recursive", "rabenseifner", "tree", "direct", "one-shot"]), sizes, ranks, rates, latencies)
def test_i13_no_all_reduce_beats_its_bound(algorithm: str, n: float, p: int, rate: float, a: float) -> None:
    t = collectives.textbook("all-reduce", n, p, bytes_per_s=rate, latency_s=a, algorithm=algorithm)
    if algorithm == "recursive":
        assert t * up_to >= np.ceil(np.log2(p)) * n / rate
    else:
        assert t * up_to >= collectives.all_reduce_lower_bound_s(n, p, rate)


@given(sizes, ranks, st.sampled_from([1, 4, 8, 72]))
def test_i13_holds_on_a_fabric(n: float, p: int, inside: int) -> None:
    f = fabric()
    t = f.collective_s("all-reduce", n, p, inside=inside)
    assert t * up_to >= collectives.all_reduce_lower_bound_s(n, p, 450e9)


# --- collectives: symmetry, zero, monotone


@given(forms, sizes, ranks, rates, latencies, st.floats(1e-3, 1e3))
def test_i30_collectives_scale(form: tuple[str, str], n: float, p: int, rate: float, a: float, k: float) -> None:
    def t(**keys: float) -> Any:
        return collectives.textbook(form[0], keys.pop("n"), p, algorithm=form[1], **keys)  # type: ignore[arg-type]

    base = t(n=n, bytes_per_s=rate, latency_s=a)
    assert t(n=n * k, bytes_per_s=rate * k, latency_s=a) == pytest.approx(base, rel=1e-9)
    assert t(n=n, bytes_per_s=rate / k, latency_s=a * k) == pytest.approx(base * k, rel=1e-9)


@given(forms, ranks, rates, latencies)
def test_i35_no_bytes_no_time(form: tuple[str, str], p: int, rate: float, a: float) -> None:
    t = collectives.textbook(form[0], 0.0, p, bytes_per_s=rate, latency_s=a, algorithm=form[1])
    assert t == (0.0 if form[0] != "barrier" else pytest.approx(np.ceil(np.log2(p)) * a))


@given(st.sampled_from(["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "broadcast"]), ranks, st.integers(1, 72))
def test_i35_on_a_fabric(collective: str, p: int, inside: int) -> None:
    assert fabric().collective_s(collective, 0.0, p, inside=inside) == 0.0
    assert fabric().collective_s(collective, 1e6, 1, inside=1) == 0.0
    assert storage.transfer_time_s(0.0, 1e9, 2e9, latency_s=3.0) == 0.0


@given(st.sampled_from(["all-reduce", "all-gather", "all-to-all"]), sizes, st.floats(1.0, 100.0), ranks, st.sampled_from([1, 4, 8]))
def test_i21_faster_links_are_never_slower(collective: str, n: float, factor: float, p: int, inside: int) -> None:
    base = fabric().collective_s(collective, n, p, inside=inside)
    assert fabric(out=50e9 * factor).collective_s(collective, n, p, inside=inside) <= base * up_to
    assert fabric(up=450e9 * factor).collective_s(collective, n, p, inside=inside) <= base * up_to
    assert fabric().collective_s(collective, n * factor, p, inside=inside) * up_to >= base


# --- pipelines


schedules = st.sampled_from(pipeline.SCHEDULES)


@given(schedules, st.integers(1, 32), st.integers(1, 256), st.integers(1, 8))
def test_i28_more_micro_batches_never_raise_the_bubble_fraction(schedule: str, p: int, m: int, v: int) -> None:
    one, more = (pipeline.bubble_fraction(schedule, pp=p, micro_batches=x, vpp=v) for x in (m, m + 1))
    assert 0 <= more <= one < 1


@given(st.integers(1, 32), st.integers(1, 256))
def test_i19_in_flight(p: int, m: int) -> None:
    held = {name: pipeline.in_flight(name, pp=p, micro_batches=m) for name in ("gpipe", "1f1b", "zb-h1", "zb-h2")}
    assert held["1f1b"] <= held["gpipe"]
    assert held["zb-h1"] <= p
    assert held["zb-h2"] <= 2 * p - 1


# --- memory


@given(st.floats(1e6, 1e12), st.integers(1, 4096), st.sampled_from([2.0, 4.0]))
def test_i18_higher_zero_stages_never_need_more(parameters: float, replicas: int, gradient: float) -> None:
    totals = [sum(memory.state_bytes(parameters, zero_stage=z, replicas=replicas, gradient_bytes=gradient)) for z in range(4)]
    assert all(b <= a * up_to for a, b in itertools.pairwise(totals))


# --- energy


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e5)), min_size=1, max_size=20), st.floats(0, 1))
def test_i4_energy_adds_over_any_split(pieces: list[tuple[float, float]], cut: float) -> None:
    watts = np.array([p for p, _ in pieces])
    ends = np.cumsum([d for _, d in pieces])
    starts = np.concatenate([[0.0], ends[:-1]])
    whole = power.energy_j(watts, starts, ends).sum()
    at = cut * ends[-1]
    before = power.energy_j(watts, np.minimum(starts, at), np.minimum(ends, at)).sum()
    after = power.energy_j(watts, np.maximum(starts, at), np.maximum(ends, at)).sum()
    assert before + after == pytest.approx(whole, rel=1e-9, abs=1e-9)


@given(st.floats(0, 500), st.floats(0, 1000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_i17_never_below_idle(idle: float, span: float, a: float, b: float, c: float) -> None:
    scale = max(a + b + c, 1.0)
    drawn = power.activity_power_w(idle, idle + span, compute_frac=a / scale, memory_frac=b / scale, communication_frac=c / scale)
    assert idle - 1e-9 <= drawn <= (idle + span) * up_to
    assert power.facility_pue(np.linspace(-30, 50, 9)).min() >= 1.0


@given(st.floats(0, 1e12), st.floats(0, 1e-3), st.floats(1, 3), st.floats(1, 3))
def test_i5_carbon_is_linear_and_rises_with_overhead(energy: float, intensity: float, pue: float, more: float) -> None:
    one = carbon.operational_kg_co2e(energy, kg_co2e_per_j=intensity, pue=pue)
    assert carbon.operational_kg_co2e(2 * energy, kg_co2e_per_j=intensity, pue=pue) == pytest.approx(2 * one)
    assert carbon.operational_kg_co2e(energy, kg_co2e_per_j=intensity, pue=pue * more) * up_to >= one


# --- failures


@given(st.floats(1, 1e4), st.floats(1e3, 1e7), st.floats(1e-3, 1e3))
def test_i30_intervals_scale_with_time(write: float, mtbf: float, k: float) -> None:
    for interval in (reliability.young_interval_s, reliability.daly_interval_s, reliability.optimal_interval_s):
        assert interval(k * write, k * mtbf) == pytest.approx(k * interval(write, mtbf), rel=1e-9)


@given(st.floats(1, 1e4), st.floats(1e3, 1e7), st.floats(0.3, 3.0))
def test_no_interval_beats_the_optimal_one(write: float, mtbf: float, factor: float) -> None:
    best = reliability.optimal_interval_s(write, mtbf)
    keys = {"checkpoint_s": write, "recovery_s": 10.0, "failures_per_s": 1 / mtbf}
    assert (
        reliability.expected_segment_s(best, **keys) / best
        <= reliability.expected_segment_s(factor * best, **keys) / (factor * best) * up_to
    )


# --- shares


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50), st.floats(0, 1e15))
def test_shares_by_throughput_conserve_and_finish_together(speeds: list[float], total: float) -> None:
    shares = laws.share_by_throughput(speeds, total)
    assert shares.sum() == pytest.approx(total)
    assert np.ptp(laws.finish_times(shares, speeds)) <= 1e-9 * max(total / sum(speeds), 1e-300)


# --- the step


DEVICE = Device("gpu", "gpu", {"bf16": 9.9e14}, 80e9, 3.35e12, {"bf16": 7.9e14}, 132)
STACK = Software(step_s=1e-3)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Model, Layout, int, int]:
    heads = draw(st.sampled_from([8, 16, 32]))
    hidden = heads * draw(st.sampled_from([64, 128]))
    experts = draw(st.sampled_from([0, 0, 8]))
    model = Model(
        layers=draw(st.sampled_from([8, 13, 24])),
        hidden=hidden,
        ffn=4 * hidden,
        heads=heads,
        vocab=draw(st.sampled_from([1000, 50257])),
        gated=draw(st.booleans()),
        experts=experts,
        experts_per_token=2 if experts else 0,
    )
    tp, pp, cp, dp = (draw(st.sampled_from([1, 2, 4])) for _ in range(4))
    v = draw(st.sampled_from([1, 2])) if pp > 1 else 1
    b, rounds = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 4))
    zero = draw(st.sampled_from([0, 1, 3])) if pp == 1 else draw(st.sampled_from([0, 1]))
    swaps = heads % (tp * cp) == 0 and draw(st.booleans())
    layout = Layout(
        dp=dp,
        tp=tp,
        pp=pp,
        vpp=v,
        cp=cp,
        ep=draw(st.sampled_from([1, dp])) if experts else 1,
        micro_batch=b,
        zero_stage=zero,
        replicate=draw(st.sampled_from([1, dp])) if zero else 1,
        cp_all_to_all=swaps,
        offload_weights=draw(st.booleans()),
        offload_activations=draw(st.booleans()),
        order=draw(st.sampled_from(ORDERS)),
        recompute=draw(st.sampled_from(["none", "selective", "full"])),
        sequence_parallel=tp > 1 and draw(st.booleans()),
        schedule=draw(st.sampled_from(["gpipe", "1f1b", "zb-h1"])) if v == 1 else "1f1b",
        overlap=draw(st.booleans()),
    )
    return model, layout, dp * b * pp * rounds, draw(st.sampled_from([512, 2048]))


def cost(
    job: tuple[Model, Layout, int, int], *, device: Device = DEVICE, network: Fabric | None = None, stack: Software = STACK, **keys: Any
) -> StepCost:
    model, layout, batch, sequence = job
    given_keys = {"global_batch": batch, "sequence": sequence, "software": stack, **keys}
    return step(model, device, network or fabric(), layout, **given_keys)


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_i56_terms_sum_and_bounds_hold(job: tuple[Model, Layout, int, int]) -> None:
    c = cost(job)
    assert sum(c.terms.values()) == pytest.approx(c.step_time_s, rel=1e-12)
    assert sum(c.fractions().values()) == pytest.approx(1.0, rel=1e-12)  # I56
    assert all(v >= 0 for v in c.terms.values())
    assert sum(c.activity.values()) == pytest.approx(1.0, rel=1e-12)
    assert c.mfu_frac <= c.hfu_frac * up_to <= up_to  # I16
    assert c.step_time_s >= c.hardware_flop / (c.devices * 9.9e14)  # I12
    assert c.low_s < c.step_time_s < c.high_s


@settings(max_examples=30, deadline=None)
@given(jobs(), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
def test_i3_the_models_work_is_the_same_however_it_is_laid_out(job: tuple[Model, Layout, int, int], tp: int, pp: int) -> None:
    model, layout, batch, sequence = job
    other = Layout(dp=layout.dp, tp=tp, pp=pp, micro_batch=layout.micro_batch)
    assert cost((model, other, batch, sequence)).model_flop == pytest.approx(cost(job).model_flop, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_i10_shards_hold_every_parameter_once(job: tuple[Model, Layout, int, int]) -> None:
    """Over tensor, pipeline and expert groups; the tied output matrix has its own copy on the last stage."""
    model, layout, *_ = job
    spread = stage_layers(model.all_layers, layout.pp, layout.vpp)
    held = memory.stage_parameters(model, layout, spread)
    n = float(model.all_layers)
    last = model.vocab * model.hidden / layout.tp
    first_layers, last_layers = float(spread.first), float(spread.last)
    dense_first = float(held.first) - float(last)
    each = dense_first / first_layers
    if float(layout.pp) > 1:
        assert (float(held.last) - float(last)) / last_layers == pytest.approx(each, rel=1e-9)
    dense = each * n * float(layout.tp) + float(model.vocab * model.hidden)
    experts = float(held.first_expert) / first_layers * n * float(layout.ep * layout.etp)
    final_norm = float(model.norm_vectors * model.hidden)
    assert dense + experts + final_norm == pytest.approx(float(parameters(model)), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(jobs(), st.floats(1.0, 8.0))
def test_i21_better_parts_never_slow_a_fixed_layout(job: tuple[Model, Layout, int, int], factor: float) -> None:
    base = cost(job).step_time_s
    faster = {k: v * factor for k, v in DEVICE.sustained_flop_per_s.items()}
    peak = {k: v * factor for k, v in DEVICE.peak_flop_per_s.items()}
    assert cost(job, network=fabric(out=50e9 * factor)).step_time_s <= base * up_to
    assert cost(job, network=fabric(up=450e9 * factor)).step_time_s <= base * up_to
    assert cost(job, device=dataclasses.replace(DEVICE, memory_bytes_per_s=3.35e12 * factor)).step_time_s <= base * up_to
    assert cost(job, device=dataclasses.replace(DEVICE, sustained_flop_per_s=faster, peak_flop_per_s=peak)).step_time_s <= base * up_to


@settings(max_examples=40, deadline=None)
@given(jobs(), st.integers(2, 4))
def test_i24_a_larger_batch_never_takes_less(job: tuple[Model, Layout, int, int], factor: int) -> None:
    assert cost(job, global_batch=job[2] * factor).step_time_s * up_to >= cost(job).step_time_s


@settings(max_examples=40, deadline=None)
@given(jobs(), st.floats(0.05, 20.0))
def test_i30_all_rates_slower_by_k_make_the_step_k_times_longer(job: tuple[Model, Layout, int, int], k: float) -> None:
    slow = dataclasses.replace(
        DEVICE,
        peak_flop_per_s={n: v / k for n, v in DEVICE.peak_flop_per_s.items()},
        sustained_flop_per_s={n: v / k for n, v in DEVICE.sustained_flop_per_s.items()},
        memory_bytes_per_s=3.35e12 / k,
        kernel_s=float(DEVICE.ramp_s) * k,
    )
    base = fabric()
    links = {
        name: dataclasses.replace(
            link,
            bytes_per_s=link.bytes_per_s / k,
            low_latency_bytes_per_s=link.low_latency_bytes_per_s / k,
            latency_s=link.latency_s * k,
            bare_s=link.bare_s * k,
            startup_s=link.startup_s * k,
            base_s=link.base_s * k,
        )
        for name, link in (("scale_up", base.scale_up), ("scale_out", base.scale_out))
    }
    stack = dataclasses.replace(STACK, launch_s=STACK.launch_s * k, step_s=STACK.step_s * k)
    got = cost(job, device=slow, network=dataclasses.replace(base, **links, host_bytes_per_s=base.host_bytes_per_s / k), stack=stack)
    assert got.step_time_s == pytest.approx(k * cost(job).step_time_s, rel=1e-9)
    assert got.peak_memory_bytes == cost(job).peak_memory_bytes


@settings(max_examples=30, deadline=None)
@given(jobs())
def test_i55_alone_there_is_no_communication(job: tuple[Model, Layout, int, int]) -> None:
    model, layout, _, sequence = job
    alone = (model, Layout(micro_batch=layout.micro_batch, recompute=layout.recompute), int(layout.micro_batch) * 2, sequence)
    terms = cost(alone).terms
    for name in (
        "tensor_parallel",
        "context_parallel",
        "expert_parallel",
        "pipeline_transfer",
        "bubble",
        "parameter_gather",
        "data_parallel",
    ):
        assert terms[name] == 0.0


@settings(max_examples=30, deadline=None)
@given(jobs())
def test_i18_sharding_more_never_needs_more_memory(job: tuple[Model, Layout, int, int]) -> None:
    model, layout, batch, sequence = job
    stages = (0, 1) if float(layout.pp) > 1 else (0, 1, 2, 3)
    plain = dataclasses.replace(layout, replicate=1)
    terms = [cost((model, dataclasses.replace(plain, zero_stage=z), batch, sequence)).memory for z in stages]
    totals = [float(t.weights + t.gradients + t.optimizer) for t in terms]
    assert totals == sorted(totals, reverse=True)
