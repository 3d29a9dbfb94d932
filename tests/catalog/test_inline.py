"""Models that a scenario changes or describes: what no network can be is refused where it stands."""

from __future__ import annotations

from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.lookup import default
from hpcsim.scenario.workload import ModelSpec

PLAIN = {"family": "llama", "layers": 2, "hidden": 128, "ffn": 256, "heads": 4, "vocab": 1000}


def resolve(**values: Any) -> Any:
    return resolve_model(ModelSpec.model_validate(values), default(), name="mine", path="model")


@pytest.mark.parametrize(
    ("values", "path", "said"),
    [
        ({**PLAIN, "heads": 3}, "model.heads", "3 heads do not divide the hidden size of 128"),
        ({**PLAIN, "kv_heads": 3}, "model.kv_heads", "4 query heads do not share 3"),
        ({"base": "llama3-8b", "heads": 30, "head_dim": 128}, "model.kv_heads", "30 query heads"),
        ({**PLAIN, "experts": 8}, "model", "expert_ffn"),
        ({**PLAIN, "experts": 8, "expert_ffn": 64}, "model", "experts_per_token"),
        ({**PLAIN, "experts": 8, "expert_ffn": 64, "experts_per_token": 9}, "model.experts_per_token", "9 of 8"),
        ({"base": "mixtral-8x7b", "dense_layers": 32}, "model.dense_layers", "32 of 32 layers"),
        ({**PLAIN, "shared_experts": 1}, "model.shared_experts", "there are none"),
        ({**PLAIN, "capacity": 1.25}, "model.capacity", "there are none"),
        ({"base": "resnet-50", "layers": 3}, "model", "resnet"),
    ],
)
def test_what_no_network_can_be(values: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(**values)
    assert any(problem.path == path and said in problem.message and problem.hint for problem in caught.value.problems)


def test_what_can_be() -> None:
    assert resolve(**PLAIN, head_dim=48).head_size == 48
    assert resolve(**PLAIN, kv_heads=2).kv_heads == 2
    moe = resolve(**PLAIN, experts=8, expert_ffn=64, experts_per_token=2, dense_layers=1)
    assert (moe.experts, moe.dense_layers) == (8, 1)
    assert resolve(base="mixtral-8x7b", capacity=1.25).capacity == 1.25
    assert resolve(base="resnet-50").family == "resnet"


def test_images_have_no_tokens() -> None:
    run = {"model": "resnet-50", "samples": 10_000, "global_batch": 256, "layout": "auto"}
    cluster = {"nodes": {"g": {"type": "dgx-a100-80gb", "count": 1}}}
    scenario = hpcsim.load({"schema": 1, "name": "i", "question": "q", "cluster": cluster, "workload": {"training": {"t": run}}})
    assert hpcsim.estimate(scenario).training.iloc[0]["steps"] == 40
    with pytest.raises(InputError, match=r"workload\.training\.t\.sequence: resnet-50 has no sequences"):
        hpcsim.estimate(scenario.vary({"workload.training.t.sequence": 224}))
