"""Schedules: closed forms against the exact walk, and what holds for any durations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.cost import pipeline as pl
from hpcsim.cost import schedules as sc

UNEVEN = ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v", "dualpipe")


@st.composite
def sizes(draw: st.DrawFn, names: tuple[str, ...] = UNEVEN) -> tuple[str, int, int, int]:
    name = draw(st.sampled_from(names))
    p = draw(st.integers(1, 6)) if name != "dualpipe" else 2 * draw(st.integers(1, 4))
    m = draw(st.integers(1, 12))
    v = 1
    if name == "interleaved":
        v, m, p = draw(st.integers(2, 4)), p * draw(st.integers(1, 3)), p
    if name == "dualpipe":
        m = 2 * p + 2 * draw(st.integers(0, 4))
    return name, p, m, v


LENGTHS = st.tuples(st.floats(0.2, 4.0), st.floats(0.2, 4.0), st.floats(0.05, 1.0))
"""Forward, input gradient, and the weight gradient as a share of the smaller of both."""


@given(sizes(("gpipe", "1f1b", "interleaved", "zb-h1")), LENGTHS)
def test_closed_forms_that_are_exact(size: tuple[str, int, int, int], lengths: tuple[float, float, float]) -> None:
    """Equal stages without hops; ZB-H1 where the weight gradient is no longer than forward or input gradient, from m = p on."""
    (name, p, m, v), (f, i, share) = size, lengths
    w = share * min(f, i)
    m = max(m, p)
    keys = {"pp": p, "micro_batches": m, "vpp": v, "forward_s": f, "backward_s": i + w, "weight_s": w}
    assert sc.timeline(name, **keys).makespan_s == pytest.approx(float(pl.makespan_s(name, **keys)))


@given(st.integers(1, 6), st.integers(0, 8), LENGTHS)
def test_zb_h2_is_exact_in_steps(p: int, more: int, lengths: tuple[float, float, float]) -> None:
    f, i, share = lengths
    w = share * min(f, i)
    keys = {"pp": p, "micro_batches": 2 * p + more, "forward_s": f, "backward_s": i + w, "weight_s": w}
    assert sc.timeline("zb-h2", **keys).step_s == pytest.approx(float(pl.makespan_s("zb-h2", **keys)))


@given(st.integers(1, 5), st.integers(0, 4), st.floats(0.6, 1.6), st.floats(0.3, 1.0))
def test_dualpipe_within_a_tenth_of_a_plain_bubble(half: int, more: int, i: float, share: float) -> None:
    """Forward 1, input gradient 0.6 to 1.6, weight gradient up to the smaller: within a tenth of (p−1)(F+B), exact where all are equal."""
    w = share * min(1.0, i)
    p, m = 2 * half, 4 * half + 2 * more
    keys = {"pp": p, "micro_batches": m, "forward_s": 1.0, "backward_s": i + w, "weight_s": w}
    plain = float(pl.bubble_s("1f1b", pp=p, forward_s=1.0, backward_s=i + w))
    assert abs(float(sc.timeline("dualpipe", **keys).makespan_s - pl.makespan_s("dualpipe", **keys))) <= 0.12 * plain + 1e-9
    equal = {"pp": p, "micro_batches": m, "forward_s": 1.0, "backward_s": 2.0, "weight_s": 1.0}
    assert sc.timeline("dualpipe", **equal).makespan_s == pytest.approx(float(pl.makespan_s("dualpipe", **equal)))


@given(st.integers(1, 6), st.integers(0, 12))
def test_zb_v_within_a_quarter_of_a_plain_bubble(p: int, more: int) -> None:
    """F = I = W: what the closed form leaves out stays under a quarter of (p−1)(F+B), with no more held than in 1F1B."""
    t = sc.timeline("zb-v", pp=p, micro_batches=2 * p + more, forward_s=1.0, backward_s=2.0, weight_s=1.0)
    work = 3.0 * (2 * p + more)
    assert work - 1e-9 <= t.step_s <= work + 0.25 * 3.0 * (p - 1) + 1e-9
    assert t.in_flight.max() <= p


@given(sizes(), LENGTHS, st.floats(0.0, 0.5), st.integers(0, 2**31))
def test_what_holds_for_uneven_stages(size: tuple[str, int, int, int], lengths: tuple[float, float, float], hop: float, seed: int) -> None:
    """Work is kept, busy and idle tile the makespan, and no schedule beats its busiest device or one micro-batch's way (I14)."""
    (name, p, m, v), (f, i, share) = size, lengths
    rng = np.random.default_rng(seed)
    forward, backward = f * rng.uniform(0.5, 1.5, p), (i + share * i) * rng.uniform(0.5, 1.5, p)
    t = sc.timeline(name, pp=p, micro_batches=m, vpp=v, forward_s=forward, backward_s=backward, transfer_s=hop)
    if name != "dualpipe":
        assert t.busy_s == pytest.approx(m * (forward + backward))
    assert t.busy_s.sum() == pytest.approx(m * (forward.sum() + backward.sum()))
    assert (t.idle_s >= -1e-9).all()
    assert t.makespan_s >= t.busy_s.max() - 1e-9
    weightless = forward.sum() + backward.sum() / 2.0
    assert t.makespan_s >= weightless - 1e-9
    assert (t.end_s >= t.start_s - 1e-12).all()
    assert t.step_s <= t.makespan_s + 1e-9


@given(sizes(), LENGTHS, st.integers(0, 2**31), st.floats(0.1, 1.0))
def test_nothing_faster_makes_a_fixed_order_slower(
    size: tuple[str, int, int, int], lengths: tuple[float, float, float], seed: int, factor: float
) -> None:
    """I21: one graph, durations and hops that shrink; and I30: all times scale."""
    (name, p, m, v), (f, i, share) = size, lengths
    g = sc.graph(name, pp=p, micro_batches=m, vpp=v)
    rng = np.random.default_rng(seed)
    forward, backward, hop = f * rng.uniform(0.5, 1.5, g.places), i * rng.uniform(0.5, 1.5, g.places), rng.uniform(0, 0.5)
    slow = sc.walk(g, forward_s=forward, backward_s=backward, weight_s=share * backward / 2, transfer_s=hop)
    less = rng.uniform(factor, 1.0, g.places)
    fast = sc.walk(g, forward_s=forward * less, backward_s=backward * less, weight_s=share * backward * less / 2, transfer_s=hop * factor)
    assert (fast.end_s <= slow.end_s + 1e-9).all()
    twice = sc.walk(g, forward_s=2 * forward, backward_s=2 * backward, weight_s=share * backward, transfer_s=2 * hop)
    assert twice.makespan_s == pytest.approx(2.0 * float(slow.makespan_s))


@given(sizes(), st.integers(1, 3))
def test_peaks_stay_within_their_closed_forms(size: tuple[str, int, int, int], more: int) -> None:
    """I19: 1F1B holds no more than GPipe; every schedule no more than its closed form says."""
    name, p, m, v = size
    walked = sc.graph(name, pp=p, micro_batches=m, vpp=v).in_flight()
    closed = np.asarray(pl.in_flight(name, pp=p, micro_batches=m, vpp=v, stage=np.arange(p)))
    assert (walked <= closed + 1e-9).all()
    if name == "1f1b":
        assert (walked <= sc.graph("gpipe", pp=p, micro_batches=m).in_flight()).all()
