"""Schedules walked exactly: every row of the published tables, uneven stages, hops, and orders that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import pipeline as pl
from hpcsim.cost import schedules as sc
from hpcsim.cost.schedules import Operation


def walked(rows: list[list[Operation]], lengths: dict[str, float], hop: float, places: int) -> float:
    """Makespan by relaxation over a dictionary: slow, and written without a look at levels or arrays."""
    owner = {(op.kind, op.place, op.micro_batch): s for s, row in enumerate(rows) for op in row}
    end = dict.fromkeys(owner, 0.0)
    for _ in range(len(owner)):
        before = dict(end)
        for s, row in enumerate(rows):
            free = 0.0
            for op in row:
                key = (op.kind, op.place, op.micro_batch)
                start = free
                step = {"F": -1, "B": 1, "I": 1}.get(op.kind, 0)
                for kind in {"F": "F", "B": "BI", "I": "BI"}.get(op.kind, ""):
                    other = (kind, op.place + step, op.micro_batch)
                    if other in owner:
                        start = max(start, end[other] + (hop if owner[other] != s else 0.0))
                free = end[key] = start + lengths[op.kind]
        if end == before:
            break
    return max(end.values())


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("p", "m"), [(1, 3), (4, 8), (8, 32), (5, 2)])
def test_plain_rows(name: str, p: int, m: int) -> None:
    """(m+p−1)(F+B); GPipe holds all, 1F1B min(m, p−s) (M2.1)."""
    t = sc.timeline(name, pp=p, micro_batches=m, forward_s=1.0, backward_s=2.0)
    assert t.makespan_s == pytest.approx((m + p - 1) * 3.0)
    assert list(t.in_flight) == [m if name == "gpipe" else min(m, p - s) for s in range(p)]
    assert t.idle_s == pytest.approx(np.full(p, (p - 1) * 3.0))


def test_bubble_fraction_of_the_whole() -> None:
    t = sc.timeline("1f1b", pp=8, micro_batches=32, forward_s=1.0, backward_s=2.0)
    assert t.idle_s.max() / t.makespan_s == pytest.approx(7 / 39)
    assert t.idle_s.max() / t.makespan_s == pytest.approx(0.1795, abs=5e-5)


@pytest.mark.parametrize(("p", "m", "v"), [(4, 8, 2), (8, 32, 3), (4, 16, 4)])
def test_interleaved_row(p: int, m: int, v: int) -> None:
    """m(F+B) + (p−1)(F+B)/v, and p(1+(p−1)/(pv)) held on stage 0 (M2.2)."""
    t = sc.timeline("interleaved", pp=p, micro_batches=m, vpp=v, forward_s=1.0, backward_s=2.0)
    assert t.makespan_s == pytest.approx(3.0 * m + (p - 1) * 3.0 / v)
    assert t.in_flight[0] == pytest.approx(p * (1 + (p - 1) / (p * v)))


def test_zero_bubble_rows() -> None:
    """p 4, m 12: H1 39 units and 4 held, H2 a window of 36 and 7 held (M2.3)."""
    first = sc.timeline("zb-h1", pp=4, micro_batches=12, forward_s=1.0, backward_s=2.0, weight_s=1.0)
    assert (float(first.makespan_s), float(first.step_s)) == (39.0, 39.0)
    assert list(first.in_flight) == [4.0] * 4
    second = sc.timeline("zb-h2", pp=4, micro_batches=12, forward_s=1.0, backward_s=2.0, weight_s=1.0)
    assert list(second.window_s) == [36.0] * 4
    assert second.step_s == 36.0
    assert list(second.in_flight) == [7.0] * 4


@pytest.mark.parametrize(("p", "m"), [(2, 8), (4, 8), (4, 16)])
def test_zb_v_reaches_the_shortest_makespan_that_can_be(p: int, m: int) -> None:
    """The last device starts after p−1 forwards of a chunk and then works 6m chunk operations: no order is shorter."""
    t = sc.timeline("zb-v", pp=p, micro_batches=m, forward_s=2.0, backward_s=4.0, weight_s=2.0)
    assert t.makespan_s == 6 * m + p - 1
    assert t.in_flight.max() <= p


@pytest.mark.parametrize("p", [2, 4, 8, 16])
def test_dualpipe_row(p: int) -> None:
    """Bubble (p/2−1)(F&B + B − 3W), p+1 held (M2.4 at p = 8: 6)."""
    t = sc.timeline("dualpipe", pp=p, micro_batches=2 * p + 4, forward_s=1.0, backward_s=2.0, weight_s=1.0)
    assert t.idle_s == pytest.approx(np.full(p, (p / 2 - 1) * (3.0 + 2.0 - 3.0)))
    assert list(t.in_flight) == [p + 1.0] * p


def test_bubbles_side_by_side() -> None:
    """p 8, F 1, B 2, W 1: 21, 7 and 6 as the DualPipe page has them (M2.4), walked and in closed form."""
    keys = {"forward_s": 1.0, "backward_s": 2.0, "weight_s": 1.0}
    walked_idle = [float(sc.timeline(n, pp=8, micro_batches=24, **keys).idle_s.max()) for n in ("1f1b", "zb-h1", "dualpipe")]
    assert walked_idle == pytest.approx([21.0, 7.0, 6.0])


def test_pairing_shortens_dualpipe() -> None:
    slow = sc.timeline("dualpipe", pp=8, micro_batches=20, forward_s=1.0, backward_s=2.0, weight_s=1.0)
    fast = sc.timeline("dualpipe", pp=8, micro_batches=20, forward_s=1.0, backward_s=2.0, weight_s=1.0, paired_frac=0.8)
    assert fast.makespan_s < slow.makespan_s


@pytest.mark.parametrize(("name", "v"), [("gpipe", 1), ("1f1b", 1), ("interleaved", 2), ("zb-h1", 1), ("zb-h2", 1), ("zb-v", 1)])
def test_against_a_slow_walk(name: str, v: int) -> None:
    p, m, hop = 4, 8, 0.3
    places = {"interleaved": p * v, "zb-v": 2 * p}.get(name, p)
    rows = [list(row) for row in sc.order(name, pp=p, micro_batches=m, vpp=v, lengths=(16, 24, 16))]
    share = places / p
    expected = walked(rows, {"F": 1.0 / share, "B": 2.5 / share, "I": 1.5 / share, "W": 1.0 / share}, hop, places)
    t = sc.timeline(name, pp=p, micro_batches=m, vpp=v, forward_s=1.0, backward_s=2.5, weight_s=1.0, transfer_s=hop)
    assert t.makespan_s == pytest.approx(expected)


def test_hops_add_up_in_a_single_micro_batch() -> None:
    t = sc.timeline("1f1b", pp=5, micro_batches=1, forward_s=1.0, backward_s=2.0, transfer_s=0.25)
    assert t.makespan_s == pytest.approx(5 * 3.0 + 2 * 4 * 0.25)


def test_the_slowest_stage_sets_the_pace() -> None:
    """Stage 2 of 4 is slow: it waits for two forwards before it, once for the last stage behind its second forward, and for two backwards."""
    forward = np.array([1.0, 1.0, 1.5, 1.0])
    m = 40
    t = sc.timeline("1f1b", pp=4, micro_batches=m, forward_s=forward, backward_s=2.0 * forward)
    before, behind, after = 2 * 1.0, (1.0 + 2.0) - 1.5, 2 * 2.0
    assert t.makespan_s == pytest.approx(before + m * 4.5 + behind + after)
    assert t.busy_s == pytest.approx(3.0 * m * forward)
    assert t.idle_s[2] == pytest.approx(t.makespan_s - 4.5 * m)


def test_one_value_a_place() -> None:
    even = sc.timeline("interleaved", pp=2, micro_batches=4, vpp=2, forward_s=1.0, backward_s=2.0)
    by_place = sc.timeline("interleaved", pp=2, micro_batches=4, vpp=2, forward_s=[0.5] * 4, backward_s=[1.0] * 4)
    by_device = sc.timeline("interleaved", pp=2, micro_batches=4, vpp=2, forward_s=[1.0, 1.0], backward_s=[2.0, 2.0])
    assert even.makespan_s == by_place.makespan_s == by_device.makespan_s
    with pytest.raises(InputError, match="last axis"):
        sc.timeline("1f1b", pp=3, micro_batches=4, forward_s=[1.0, 1.0], backward_s=2.0)


def test_many_at_once_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    forward, hop = rng.uniform(0.5, 2.0, (6, 4)), rng.uniform(0.0, 0.2, 6)
    together = sc.timeline("1f1b", pp=4, micro_batches=6, forward_s=forward, backward_s=2.0 * forward, transfer_s=hop)
    for i in range(6):
        alone = sc.timeline("1f1b", pp=4, micro_batches=6, forward_s=forward[i], backward_s=2.0 * forward[i], transfer_s=hop[i])
        assert together.makespan_s[i] == pytest.approx(float(alone.makespan_s))
        assert together.start_s[i] == pytest.approx(alone.start_s)


@pytest.mark.parametrize(
    ("name", "p", "m", "v"),
    [("interleaved", 4, 6, 2), ("dualpipe", 3, 8, 1), ("dualpipe", 4, 6, 1), ("dualpipe", 4, 9, 1), ("gpipe", 2, 4, 2)],
)
def test_sizes_that_cannot_be(name: str, p: int, m: int, v: int) -> None:
    with pytest.raises(InputError) as caught:
        sc.timeline(name, pp=p, micro_batches=m, vpp=v, forward_s=1.0, backward_s=2.0)
    assert caught.value.problems[0].code == "schedule-sizes"


def test_an_order_that_stops() -> None:
    f, b = (lambda k, i: Operation("F", k, i)), (lambda k, i: Operation("B", k, i))
    good = [[f(0, 0), f(0, 1), b(0, 0), b(0, 1)], [f(1, 0), b(1, 0), f(1, 1), b(1, 1)]]
    assert sc.walk(sc.graph_of(good, places=2, micro_batches=2), forward_s=2.0, backward_s=4.0).makespan_s == pytest.approx(3 * 6.0)
    stops = [[f(0, 0), b(0, 0), f(0, 1), b(0, 1)], [f(1, 0), f(1, 1), b(1, 0), b(1, 1)]]
    with pytest.raises(InputError) as caught:
        sc.graph_of(stops, places=2, micro_batches=2)
    assert caught.value.problems[0].code == "schedule-deadlock"


@pytest.mark.parametrize("rows", [
    [[Operation("F", 0, 0)]],
    [[Operation("B", 0, 0), Operation("F", 0, 0)]],
    [[Operation("F", 0, 0), Operation("F", 0, 0), Operation("B", 0, 0)]],
    [[Operation("F", 0, 0), Operation("I", 0, 0)]],
    [[Operation("F", 0, 0), Operation("B", 0, 0), Operation("W", 0, 0)]],
    [[Operation("F", 0, 0), Operation("B", 0, 0), Operation("F", 1, 0)]],
])  # fmt: skip
def test_orders_that_are_incomplete(rows: list[list[Operation]]) -> None:
    with pytest.raises(InputError) as caught:
        sc.graph_of(rows, places=1, micro_batches=1)
    assert caught.value.problems[0].code == "schedule-operation"


def test_buckets_of_gradients() -> None:
    """Ready at 25, 50, 75, 100 ms: 20 ms each leave 20 exposed, 40 ms each 85 (M2.5)."""
    ready = np.array([0.025, 0.05, 0.075, 0.1])
    assert sc.ddp_bucket_ends_s(ready, 0.02)[-1] - 0.1 == pytest.approx(0.02)
    assert sc.ddp_bucket_ends_s(ready, 0.04)[-1] - 0.1 == pytest.approx(0.085)
    assert sc.ddp_bucket_ends_s(ready, 0.04)[-1] >= max(0.1 + 0.04, 0.025 + 4 * 0.04)


def test_prefetch_of_weights() -> None:
    """Four layers of 10: gathers of 6 end at 46, of 15 at 70 (M2.5)."""
    assert sc.fsdp_prefetch_s([10.0] * 4, 6.0) == 46.0
    assert sc.fsdp_prefetch_s([10.0] * 4, 15.0) == 70.0


def test_closed_forms_of_the_peak() -> None:
    for name, m in (("gpipe", 9), ("1f1b", 9), ("zb-h1", 9), ("zb-h2", 15), ("dualpipe", 12)):
        p = 6
        walked_peak = sc.graph(name, pp=p, micro_batches=m).in_flight()
        closed = pl.in_flight(name, pp=p, micro_batches=m, stage=np.arange(p))
        assert walked_peak == pytest.approx(closed)
