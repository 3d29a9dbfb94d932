"""Steps of many runs at once are, bit for bit, the steps of each alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cost.compute import Device
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.software import software
from hpcsim.cost.step_cost import StepCost
from hpcsim.cost.together import StepRequest, steps_together
from hpcsim.cost.training import step
from hpcsim.workload.link_kinds import fabric_of
from hpcsim.workload.networks import cost_model

MODELS = {name: cost_model(default().model(name)) for name in ("gpt2-xl", "llama3-8b", "mixtral-8x7b", "deepseek-v3", "resnet-50")}
ONE_OR_MORE = st.sampled_from([1, 2, 4])
LAYOUTS = st.fixed_dictionaries(
    {
        "dp": st.sampled_from([1, 2, 8, 64]),
        "tp": ONE_OR_MORE,
        "pp": ONE_OR_MORE,
        "vpp": st.sampled_from([1, 2]),
        "cp": st.sampled_from([1, 2]),
        "ep": st.sampled_from([1, 2, 8]),
        "micro_batch": ONE_OR_MORE,
        "zero_stage": st.integers(0, 3),
        "recompute": st.sampled_from(["none", "selective", "full"]),
        "sequence_parallel": st.booleans(),
        "schedule": st.sampled_from(["1f1b", "gpipe", "zb-h1"]),
        "overlap": st.booleans(),
        "offload": st.booleans(),
        "replicate": ONE_OR_MORE,
        "offload_activations": st.booleans(),
    }
)


@st.composite
def _kin(draw: st.DrawFn) -> list[StepRequest]:
    """Requests that share model, software, links and number format, and differ in every number."""
    shared = [
        draw(st.sampled_from(values))
        for values in (sorted(MODELS), ["megatron", "deepspeed"], [2021, 2024], ["infiniband", "ethernet"], ["bf16", "bf16", "fp16", "fp8"])
    ]
    return draw(st.lists(_request(*shared), min_size=2, max_size=12))


@st.composite
def _request(draw: st.DrawFn, model: str, framework: str, year: int, link: str, precision: str) -> StepRequest:
    layout = Layout(**draw(LAYOUTS))
    device = Device(
        "d",
        "gpu",
        {"bf16": draw(st.floats(1e14, 1e15)), "fp16": 3e14},
        memory_bytes=8e10,
        memory_bytes_per_s=draw(st.floats(1e12, 4e12)),
        sustained_flop_per_s={"bf16": 2e14} if draw(st.booleans()) else {},
        compute_units=draw(st.sampled_from([0, 108, 132])),
    )
    fabric = fabric_of(
        scale_up="nvlink4",
        scale_up_bytes_per_s=draw(st.floats(1e11, 9e11)),
        domain=draw(st.sampled_from([4, 8])),
        scale_out=link,
        scale_out_bytes_per_s=draw(st.floats(1e9, 5e10)),
        oversubscription=draw(st.sampled_from([1.0, 2.0])),
    )
    return StepRequest(
        MODELS[model],
        device,
        fabric,
        layout,
        software(framework, year),
        global_batch=draw(st.sampled_from([512, 1024, 1536, 97])),
        sequence=draw(st.sampled_from([1024, 2048, 1027])),
        precision=precision,
        devices=int(layout.devices) if draw(st.integers(0, 9)) else 64,
    )


def _alone(r: StepRequest) -> StepCost | None:
    try:
        return step(
            r.model,
            r.device,
            r.fabric,
            r.layout,
            global_batch=r.global_batch,
            sequence=r.sequence,
            precision=r.precision,
            software=r.software,
            devices=r.devices,
        )
    except InputError:
        return None


def _figures(cost: StepCost) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for item in dataclasses.fields(cost):
        value = getattr(cost, item.name)
        parts = value.terms() if item.name == "memory" else value if isinstance(value, dict) else {"": value}
        rows |= {f"{item.name}.{name}": np.asarray(part, dtype=np.float64).item().hex() for name, part in parts.items()}
    return rows


@given(st.lists(_kin(), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_steps_together_are_the_steps_alone(kin: list[list[StepRequest]]) -> None:
    requests = [request for members in kin for request in members]
    found = steps_together(requests)
    assert len(found) == len(requests)
    for cost, request in zip(found, requests, strict=True):
        alone = _alone(request)
        if cost is None:  # left to be asked for alone, where a mistake is put into words
            continue
        assert alone is not None
        assert _figures(cost) == _figures(alone)


def test_all_that_can_be_is_worked_out_together() -> None:
    """Layouts that cannot be do not keep the others of their kind from being stacked."""
    layouts = [Layout(dp=8, tp=tp, micro_batch=b) for tp in (1, 2, 3, 4) for b in (1, 2, 3)]
    fabric = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=4.5e11, domain=8, scale_out="infiniband", scale_out_bytes_per_s=5e10)
    device = Device("d", "gpu", {"bf16": 1e15}, memory_bytes=8e10, memory_bytes_per_s=3e12)
    requests = [StepRequest(MODELS["llama3-8b"], device, fabric, w, software("", 2024), 64, 2048, "bf16", int(w.devices)) for w in layouts]
    assert [cost is not None for cost in steps_together(requests)] == [_alone(request) is not None for request in requests]
    assert sum(cost is not None for cost in steps_together(requests)) == 6
