"""Serving in closed form: the handbook's worked numbers, bounds of the layered passes, and what grows with what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.memory import kv_cache_bytes_per_token
from hpcsim.cost.models import Model, active_parameters, attention_flop_per_token, parameters, touched_experts
from hpcsim.cost.serving import (
    WEIGHTS,
    Replica,
    cache_bytes,
    crossover_batch,
    decode_bound_s,
    decode_terms,
    largest_batch,
    pass_terms,
    passes_of,
    prefill_attention_s,
    prefill_bound_s,
    replica_rate_per_s,
    replicas_for,
    weight_bytes,
)
from hpcsim.workload.link_kinds import fabric_of

P, KV, FLOP, READ = 70.55e9, 327_680.0, 989e12, 3.35e12
EIGHT: dict[str, Any] = {"weights_bytes": 2 * P, "parameter_count": P, "cache_bytes_per_token": KV, "devices": 8}


def llama70b() -> Model:
    return Model(layers=80, hidden=8192, ffn=28672, heads=64, kv_heads=8, vocab=128256, gated=True, bias=False, tied=False, norm_vectors=1)


def mixture() -> Model:
    return Model(
        layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=32000, gated=True, bias=False, tied=False, norm_vectors=1, experts=8, experts_per_token=2
    )  # fmt: skip


def h100(**changes: Any) -> Device:
    given: dict[str, Any] = {
        "peak_flop_per_s": {"bf16": FLOP, "fp8": 2 * FLOP, "int8": 2 * FLOP},
        "memory_bytes": 80e9,
        "memory_bytes_per_s": READ,
    }
    return Device("H100", "gpu", compute_units=132, **{**given, **changes})


def nvlink(rate: float = 450e9) -> Fabric:
    return fabric_of(scale_up="nvlink", scale_up_bytes_per_s=rate, domain=8, scale_out="none", scale_out_bytes_per_s=1.0)


def replica(model: Model | None = None, **changes: Any) -> Replica:
    given: dict[str, Any] = {"model": model or llama70b(), "device": h100(), "fabric": nvlink(), "tp": 8}
    return Replica(**{**given, **changes})


def test_the_worked_numbers_of_a_decode_step() -> None:
    floor = decode_bound_s(1, 0, **EIGHT, bytes_per_s=READ, flop_per_s=FLOP)
    assert float(floor) * 1e3 == pytest.approx(5.2649, rel=1e-4)
    step = decode_bound_s(64, 2048, **EIGHT, bytes_per_s=0.8 * READ, flop_per_s=0.6 * FLOP)
    assert float(step) * 1e3 == pytest.approx(8.5841, rel=1e-4)
    assert float(largest_batch(8 * 80e9, 2 * P, KV, 4096)) == 324


def test_the_worked_numbers_of_a_prefill_and_of_a_replica() -> None:
    first = prefill_bound_s(2048, P, flop_per_s=0.6 * FLOP, layers=80, hidden=8192, devices=8)
    assert float(first) == pytest.approx(0.062034, rel=1e-3)
    step = decode_bound_s(64, 1024 + 128, **EIGHT, bytes_per_s=0.8 * READ, flop_per_s=0.6 * FLOP)
    rate = replica_rate_per_s(64, 256, step_s=step, prefill_s=prefill_bound_s(1024, P, flop_per_s=0.6 * FLOP, devices=8))
    assert float(rate) == pytest.approx(16.3217, rel=1e-4)
    assert float(replicas_for(100, rate, target=0.7)) == 9


def test_the_worked_numbers_of_the_crossover_and_of_the_edge() -> None:
    assert float(crossover_batch(0.6 * FLOP, 0.8 * READ)) == pytest.approx(221.4, rel=1e-3)
    edge = decode_bound_s(
        1, 0, weights_bytes=8.03e9 * 0.5, parameter_count=8.03e9, cache_bytes_per_token=0, bytes_per_s=0.7 * 100e9, flop_per_s=1e15
    )
    assert 1.0 / float(edge) == pytest.approx(17.43, rel=1e-3)


def test_the_cache_of_a_device_is_its_part_of_the_heads() -> None:
    whole = float(kv_cache_bytes_per_token(llama70b()))
    assert whole == KV
    assert [float(cache_bytes(replica(tp=tp))) * tp / whole for tp in (1, 2, 8, 16)] == [1, 1, 1, 2]
    latent = Model(
        layers=61, hidden=7168, ffn=18432, heads=128, vocab=129280, kv_rank=512, rope_dim=64, nope_dim=128, v_dim=128, q_rank=1536
    )
    assert float(cache_bytes(replica(latent, tp=8))) == float(cache_bytes(replica(latent, tp=1))) == 70_272
    assert float(cache_bytes(replica(cache="fp8"))) == KV / 16


def test_formats_of_the_weights() -> None:
    ends = 2 * 128256 * 8192 + 8192
    body = float(parameters(llama70b())) - ends
    for name, (stored, _) in WEIGHTS.items():
        layers, rest = (float(x) for x in weight_bytes(replica(weights=name)))
        assert layers == pytest.approx(stored * body)
        assert rest == pytest.approx(max(stored, 2.0) * ends)


def test_experts_that_a_batch_meets() -> None:
    rng = np.random.default_rng(1)
    drawn = [len({int(e) for _ in range(5) for e in rng.choice(16, 3, replace=False)}) for _ in range(4000)]
    assert float(touched_experts(5, 16, 3)) == pytest.approx(np.mean(drawn), rel=0.01)
    assert float(touched_experts(0, 16, 3)) == 0
    assert float(touched_experts(4096, 256, 8)) == 256


def test_no_pass_is_quicker_than_its_bounds() -> None:
    batch = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0])
    for model in (llama70b(), mixture()):
        for weights in ("bf16", "fp8", "int4"):
            one = replica(model, weights=weights)
            terms = pass_terms(one, batch)
            matmul = terms["matmul"] + terms["weights"]
            rate = 2 * FLOP if weights == "fp8" else FLOP
            body = float(active_parameters(model)) - 2 * float(model.vocab) * float(model.hidden)
            assert (matmul >= 2 * batch * 0.99 * body / 8 / rate).all()
            met = np.asarray(touched_experts(batch, 8, 2)) / 8 if model.experts else 1.0
            assert (matmul >= 0.8 * met * float(weight_bytes(one)[0]) / 8 / READ).all()
            assert (np.diff(sum(terms.values())) >= -1e-12).all()


def test_a_decode_step_is_no_quicker_than_the_textbook_form() -> None:
    passes = passes_of(replica(), tokens=512, scored=512)
    for batch, context in ((1, 1), (8, 4000), (64, 2048), (256, 1000)):
        least = decode_bound_s(batch, context, **EIGHT, bytes_per_s=READ, flop_per_s=FLOP)
        assert float(passes.decode_s(batch, batch * context)) > float(least)


def test_a_prefill_is_no_quicker_than_the_textbook_form_and_not_twice_as_slow_at_length() -> None:
    passes = passes_of(replica(), tokens=8192, scored=1)
    for prompt in (128, 2048, 8192):
        least = float(prefill_bound_s(prompt, 0.97 * P, flop_per_s=FLOP, layers=80, hidden=8192, devices=8))
        assert least < passes.prefill_s(prompt)
    assert passes.prefill_s(8192) < 2.0 * float(prefill_bound_s(8192, P, flop_per_s=0.75 * FLOP, layers=80, hidden=8192, devices=8))


def test_chunks_of_a_prompt_attend_to_the_same_pairs_as_the_whole() -> None:
    one = replica()
    passes = passes_of(one, tokens=64, scored=1)
    assert passes.attention_s(1000) == pytest.approx(float(prefill_attention_s(one, 1000)))
    assert passes.attention_s(300, 700) == pytest.approx(float(prefill_attention_s(one, 300, 700)))

    def pairs(tokens: float, before: float) -> float:
        share = min(passes.pair_share * tokens / (tokens + passes.pair_tokens), 1.0)
        return passes.attention_s(tokens, before) * share / passes.pair_s

    assert sum(pairs(q, o) for q, o in ((256, 0), (256, 256), (488, 512))) == pytest.approx(1000**2)
    assert passes.pair_s * 1000**2 == pytest.approx(
        1000 * 80 / 8 * float(attention_flop_per_token(llama70b(), 1000, skips_mask=True)) / (0.8 * FLOP * float(one.software.matmul_frac)),
        rel=1e-6,
    )


def test_quicker_hardware_is_never_slower() -> None:
    def step(**changes: Any) -> float:
        return float(passes_of(replica(**changes), tokens=64, scored=64).decode_s(32, 32 * 2000))

    base = step()
    assert step(device=h100(memory_bytes_per_s=4.8e12)) < base
    assert step(device=h100(peak_flop_per_s={"bf16": 2 * FLOP})) <= base
    assert step(fabric=nvlink(900e9)) <= base
    assert step(weights="fp8") < base
    assert step(weights="int4") < step(weights="fp8")
    assert step(cache="fp8") < base


def test_the_terms_of_a_decode_step_are_all_of_it() -> None:
    one = replica()
    passes = passes_of(one, tokens=64, scored=64)
    for batch in (1, 17, 64):
        terms = decode_terms(one, batch, batch * 1500)
        assert sum(terms.values()) == pytest.approx(float(passes.decode_s(batch, batch * 1500)), rel=1e-9)
    assert max(terms, key=lambda term: terms[term]) == "weights"
