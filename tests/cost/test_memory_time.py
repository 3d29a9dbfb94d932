"""Memory of every stage over a step, against the closed forms of the peak and a slow count."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.cost.compute import find_precision
from hpcsim.cost.memory import FRAGMENTATION_FRAC, training_memory
from hpcsim.cost.memory_time import StageMemory, memory_over_time
from hpcsim.cost.models import Model
from hpcsim.cost.parallelism import Layout

MODEL = Model(layers=32, hidden=4096, ffn=16384, heads=32, vocab=51200)
PRECISION = find_precision("bf16")


def stages(m: int = 32, model: Model = MODEL, **layout: object) -> list[StageMemory]:
    return memory_over_time(model, Layout(**layout), PRECISION, micro_batches=m, sequence=2048, forward_s=1.0, backward_s=2.0)


@pytest.mark.parametrize(("schedule", "vpp"), [("1f1b", 1), ("gpipe", 1), ("1f1b", 2), ("1f1b", 4), ("zb-h1", 1), ("zb-h2", 1)])
def test_the_fullest_stage_peaks_at_the_closed_form(schedule: str, vpp: int) -> None:
    m = 8 if schedule == "gpipe" else 32
    layout = {"pp": 8, "vpp": vpp, "schedule": schedule, "tp": 2, "dp": 4, "zero_stage": 1}
    found = stages(m, **layout)
    total = float(training_memory(MODEL, Layout(**layout), PRECISION, micro_batches=m, sequence=2048).total)
    assert max(s.peak_bytes for s in found) == pytest.approx(total, rel=0.02 if "zb" in schedule else 1e-9)


@pytest.mark.parametrize("schedule", ["zb-v", "dualpipe"])
def test_schedules_that_hold_alike_everywhere(schedule: str) -> None:
    found = stages(pp=8, schedule=schedule, dp=4, zero_stage=1)
    total = float(
        training_memory(MODEL, Layout(pp=8, schedule=schedule, dp=4, zero_stage=1), PRECISION, micro_batches=32, sequence=2048).total
    )
    peaks = [s.peak_bytes for s in found]
    assert max(peaks) == pytest.approx(total, rel=0.10)
    assert min(peaks) > 0.6 * max(peaks)


def test_one_stage_holds_a_micro_batch_and_its_logits_at_a_time() -> None:
    (only,) = stages(dp=4, zero_stage=1)
    total = float(training_memory(MODEL, Layout(dp=4, zero_stage=1), PRECISION, micro_batches=32, sequence=2048).total)
    assert only.peak_bytes == pytest.approx(total, rel=1e-9)
    assert only.during == "backward of micro-batch 1"
    assert only.peak_s == pytest.approx(1.0)
    assert only.size_bytes[-1] == pytest.approx(only.size_bytes.min())


def test_earlier_stages_hold_more_micro_batches() -> None:
    """1F1B: stage s has p − s in flight when its first backward runs, and what it keeps is gone at the end."""
    found = stages(pp=4, dp=1)
    slopes = np.diff([s.peak_bytes for s in found[:3]])
    assert (slopes < 0).all()
    for s in found:
        assert s.size_bytes[-1] == pytest.approx(s.size_bytes.min())
        assert (np.diff(s.time_s) >= 0).all()
        assert s.during.startswith("backward")


def test_against_a_slow_count() -> None:
    """Stage 0 of two: forwards at 0, 1, backwards as 1F1B has them; the micro-batches between forward and backward's end counted by hand."""
    first, _ = stages(m=4, pp=2, dp=1)
    terms = first.terms
    each = (terms["activations"] - float(0)) / 1.0
    base = first.size_bytes.min()
    held = (first.size_bytes - base) / (1.0 + FRAGMENTATION_FRAC)
    assert held.max() == pytest.approx(each, rel=1e-9)


def test_offloaded_activations_do_not_pile_up() -> None:
    plain, moved = stages(pp=8, dp=1), stages(pp=8, dp=1, offload_activations=True)
    assert moved[0].peak_bytes < plain[0].peak_bytes
    assert np.ptp(moved[0].size_bytes) < 0.3 * np.ptp(plain[0].size_bytes)
