"""Layouts: layers over stages, validity, placement, the space of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.models import Model
from hpcsim.cost.parallelism import Layout, data_parallel_size, divisors, groups, space, stage_layers, validity

GPT = Model(layers=24, hidden=2048, ffn=8192, heads=16, vocab=51200)
MIXTURE = Model(layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=32000, experts=8, experts_per_token=2, gated=True)


def spread_by_hand(layers: int, pp: int, vpp: int) -> list[int] | None:
    """Units dealt to chunks one by one: embedding first, loss last, spare units to the middle stages evenly, then to the first."""
    chunks = pp * vpp
    if layers % chunks == 0:
        return [layers // pp] * pp
    base, left = divmod(layers + 2, chunks)
    if base == 0:
        return None
    units = [base * vpp] * pp
    whole, left = divmod(left, pp)
    units = [u + whole for u in units]
    order = [*range(1, pp - 1), 0]
    for i in range(left):
        units[order[i]] += 1
    units[0] -= 1
    units[-1] -= 1
    return units


@given(st.integers(1, 200), st.integers(2, 40), st.integers(1, 6))
def test_layers_over_stages(layers: int, pp: int, vpp: int) -> None:
    want, got = spread_by_hand(layers, pp, vpp), stage_layers(layers, pp, vpp)
    assert bool(got.possible) == (want is not None)
    if want is not None:
        assert sum(want) == layers
        assert (got.first, got.last) == (want[0], want[-1])
        assert got.middle == (max(want[1:-1]) if pp > 2 else max(want))


def test_single_stage_holds_everything() -> None:
    s = stage_layers(61, 1)
    assert (s.first, s.middle, s.last, s.possible) == (61, 61, 61, True)


def test_validity_names_every_broken_rule() -> None:
    layout = Layout(dp=3, tp=5, pp=2, vpp=2, micro_batch=4, sequence_parallel=True)
    ok, reasons = validity(layout, GPT, devices=32, global_batch=64, sequence=1024)
    assert not ok
    assert {name for name, bad in reasons.items() if bad} == {"world-size", "batch", "heads", "kv-heads", "interleaving", "sequence"}
    ok, reasons = validity(Layout(dp=2, ep=16), GPT, devices=2, global_batch=2)
    assert [name for name, bad in reasons.items() if bad] == ["experts"]
    ok, _ = validity(Layout(dp=4, tp=2, pp=4), GPT, devices=32, global_batch=64, sequence=1024)
    assert ok


def test_key_value_heads_may_be_replicated_but_not_cut_unevenly() -> None:
    ok, _ = validity(Layout(dp=1, tp=np.array([4, 8, 16, 32])), MIXTURE, devices=np.array([4, 8, 16, 32]), global_batch=1)
    assert ok.tolist() == [True] * 4
    odd = Model(layers=2, hidden=768, ffn=1024, heads=12, kv_heads=4, vocab=100)
    assert not validity(Layout(tp=6), odd, devices=6, global_batch=1)[0]


def test_groups_lie_tensor_innermost() -> None:
    g = groups(Layout(dp=4, tp=4, pp=2, cp=2), 8)
    assert g.tensor == (4, 4)
    assert g.context == (2, 2)
    assert g.data == (8, 2)
    assert bool(g.stages_cross)
    assert not groups(Layout(dp=1, tp=4, pp=2), 8).stages_cross


def test_expert_groups_lie_inside_data() -> None:
    g = groups(Layout(dp=16, tp=2, ep=8), 8)
    assert g.expert == (8, 8)
    assert g.expert_data == (4, 1)


def test_data_parallel_size_follows_from_the_devices() -> None:
    assert data_parallel_size(384, tp=4, pp=12) == 8


def test_divisors() -> None:
    assert divisors(360, limit=20) == [d for d in range(1, 21) if 360 % d == 0]


def test_space_holds_exactly_the_layouts_that_can_be() -> None:
    axes = {
        "tp": (1, 2, 3, 4),
        "pp": (1, 2, 5),
        "vpp": (1, 2),
        "cp": (1, 2),
        "micro_batch": (1, 2, 3),
        "zero_stage": (0, 1),
        "recompute": (0,),
    }
    axes["sequence_parallel"] = (False,)
    layouts, removed = space(GPT, devices=8, global_batch=24, sequence=1024, axes=axes)
    got = {tuple(int(layouts.row(i)[k]) for k in ("tp", "pp", "vpp", "cp", "micro_batch", "zero_stage")) for i in range(layouts.shape[0])}
    want = set()
    for tp, pp, v, cp, b, z in itertools.product((1, 2, 3, 4), (1, 2, 5), (1, 2), (1, 2), (1, 2, 3), (0, 1)):
        if 8 % (tp * pp * cp):
            continue
        dp = 8 // (tp * pp * cp)
        m, rest = divmod(24, dp * b)
        if rest or 16 % tp or (v > 1 and (pp == 1 or m % pp)) or (z and dp * cp == 1):
            continue
        want.add((tp, pp, v, cp, b, z))
    assert got == want
    assert len(got) == layouts.shape[0]
    assert layouts.shape[0] + sum(removed.values()) == 4 * 3 * 2 * 2 * 3 * 2


def test_row_is_plain_and_complete() -> None:
    row = Layout(dp=2, tp=4, pp=2, vpp=2, recompute="selective", sequence_parallel=True).row()
    assert row == {
        "dp": 2, "tp": 4, "pp": 2, "vpp": 2, "cp": 1, "ep": 1, "etp": 4, "micro_batch": 1, "zero_stage": 0, "recompute": "selective",
        "sequence_parallel": True, "schedule": "interleaved", "overlap": True, "offload": False,
    }  # fmt: skip
    assert Layout(**row).row() == row
    many = Layout(tp=np.array([1, 2]), recompute=["none", "full"])
    assert many.shape == (2,)
    assert many.take(1).row()["recompute"] == "full"


def test_refusals() -> None:
    for bad in ({"tp": 0}, {"pp": 1.5}, {"zero_stage": 4}, {"zero_stage": 1.5}, {"recompute": "sometimes"}, {"schedule": "later"}):
        with pytest.raises(InputError):
            Layout(**bad)
    with pytest.raises(InputError):
        Layout(tp=np.array([1, 2]), pp=np.array([1, 2, 4]))
