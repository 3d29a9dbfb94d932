"""Closed forms of pipeline schedules against their dependency graphs, walked operation by operation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import pipeline as pl

Op = tuple[str, int, int, int]  # kind, stage, chunk, micro-batch


def walk(orders: list[list[Op]], duration: Callable[[Op], float], needs: Callable[[Op], list[Op]]) -> dict[Op, float]:
    """End time of every operation: each stage works through its list, each operation waits for what it needs."""
    end: dict[Op, float] = {}
    at, free = [0] * len(orders), [0.0] * len(orders)
    while len(end) < sum(map(len, orders)):
        before = len(end)
        for s, order in enumerate(orders):
            while at[s] < len(order) and all(d in end for d in needs(order[at[s]])):
                op = order[at[s]]
                free[s] = end[op] = max([free[s], *(end[d] for d in needs(op))]) + duration(op)
                at[s] += 1
        assert len(end) > before, "deadlock"
    return end


def chain_needs(p: int, v: int) -> Callable[[Op], list[Op]]:
    last = p * v - 1

    def needs(op: Op) -> list[Op]:
        kind, s, c, i = op
        if kind == "W":
            return [("B", s, c, i)]
        place = c * p + s
        if kind == "F":
            return [] if place == 0 else [("F", (place - 1) % p, (place - 1) // p, i)]
        follows = [] if place == last else [("B", (place + 1) % p, (place + 1) // p, i)]
        return [("F", s, c, i), *follows]

    return needs


def gpipe(p: int, m: int) -> list[list[Op]]:
    return [[("F", s, 0, i) for i in range(m)] + [("B", s, 0, i) for i in range(m)] for s in range(p)]


def alternate(warm: list[Op], forwards: list[Op], backwards: list[Op]) -> list[Op]:
    order, rest = list(warm), forwards[len(warm) :]
    for i, back in enumerate(backwards):
        order += [*rest[i : i + 1], back]
    return order


def one_f_one_b(p: int, m: int) -> list[list[Op]]:
    out = []
    for s in range(p):
        f, b = [("F", s, 0, i) for i in range(m)], [("B", s, 0, i) for i in range(m)]
        out.append(alternate(f[: min(m, p - 1 - s)], f, b))
    return out


def interleaved(p: int, m: int, v: int) -> list[list[Op]]:
    out = []
    for s in range(p):
        order = [((k % (p * v)) // p, (k // (p * v)) * p + k % p) for k in range(m * v)]
        f = [("F", s, c, i) for c, i in order]
        b = [("B", s, v - 1 - c, i) for c, i in order]
        out.append(alternate(f[: min(m * v, 2 * (p - s - 1) + (v - 1) * p)], f, b))
    return out


def zero_bubble(p: int, m: int, second: bool) -> list[list[Op]]:
    out = []
    for s in range(p):
        warm, delay = (min(2 * (p - s) - 1, m), 2 * s) if second else (min(p - s, m), s)
        order: list[Op] = [("F", s, 0, i) for i in range(warm)]
        for i in range(m):
            order.append(("B", s, 0, i))
            if i >= delay:
                order.append(("W", s, 0, i - delay))
            if warm + i < m:
                order.append(("F", s, 0, warm + i))
        out.append(order + [("W", s, 0, i) for i in range(max(m - delay, 0), m)])
    return out


def peak(order: list[Op], until: str) -> int:
    held = most = 0
    for op in order:
        held += (op[0] == "F") - (op[0] == until)
        most = max(most, held)
    return most


@pytest.mark.parametrize(("p", "m", "f", "b"), [(4, 8, 1.0, 2.0), (8, 32, 1.0, 2.0), (3, 7, 0.7, 1.9), (1, 4, 1.0, 2.0)])
def test_plain_schedules(p: int, m: int, f: float, b: float) -> None:
    for name, orders in (("gpipe", gpipe(p, m)), ("1f1b", one_f_one_b(p, m))):
        end = walk(orders, lambda op: f if op[0] == "F" else b, chain_needs(p, 1))
        assert pl.makespan_s(name, pp=p, micro_batches=m, forward_s=f, backward_s=b) == pytest.approx(max(end.values()))
        for s in range(p):
            assert pl.in_flight(name, pp=p, micro_batches=m, stage=s) == peak(orders[s], "B")


@pytest.mark.parametrize(("p", "m", "v"), [(4, 8, 2), (8, 32, 3), (4, 16, 4)])
def test_interleaved(p: int, m: int, v: int) -> None:
    orders = interleaved(p, m, v)
    end = walk(orders, lambda op: (1 if op[0] == "F" else 2) / v, chain_needs(p, v))
    assert pl.makespan_s("interleaved", pp=p, micro_batches=m, forward_s=1, backward_s=2, vpp=v) == pytest.approx(max(end.values()))
    for s in range(p):
        assert pl.in_flight("interleaved", pp=p, micro_batches=m, vpp=v, stage=s) == pytest.approx(peak(orders[s], "B") / v)
    assert pl.in_flight("interleaved", pp=p, micro_batches=m, vpp=v) == pytest.approx(p * (1 + (p - 1) / (p * v)))


@pytest.mark.parametrize(("p", "m"), [(4, 12), (8, 32)])
def test_zero_bubble(p: int, m: int) -> None:
    first, second = zero_bubble(p, m, False), zero_bubble(p, m, True)
    end = walk(first, lambda op: 1.0, chain_needs(p, 1))
    assert pl.makespan_s("zb-h1", pp=p, micro_batches=m, forward_s=1, backward_s=2, weight_s=1) == pytest.approx(max(end.values()))
    assert max(peak(o, "W") for o in first) == pl.in_flight("zb-h1", pp=p, micro_batches=m)
    end = walk(second, lambda op: 1.0, chain_needs(p, 1))
    window = max(max(end[o] for o in order) - min(end[o] - 1 for o in order) for order in second)
    assert pl.makespan_s("zb-h2", pp=p, micro_batches=m, forward_s=1, backward_s=2) == pytest.approx(window)
    assert max(peak(o, "W") for o in second) == pl.in_flight("zb-h2", pp=p, micro_batches=m)


def test_dualpipe_beside_the_others() -> None:
    """Bubbles as DeepSeek's DualPipe page prints them, p = 8, F 1, B 2 of which W 1, no gain from pairing: 21, 7, 6."""
    keys = {"pp": 8, "forward_s": 1.0, "backward_s": 2.0, "weight_s": 1.0}
    assert [float(pl.bubble_s(name, **keys)) for name in ("1f1b", "zb-h1", "dualpipe")] == [21.0, 7.0, 6.0]
    assert pl.parameter_copies("dualpipe") == 2
    assert pl.parameter_copies("1f1b") == 1


def test_bubble_fraction_and_its_limits() -> None:
    assert pl.bubble_fraction("1f1b", pp=8, micro_batches=32) == pytest.approx(7 / 39)
    assert pl.bubble_fraction("gpipe", pp=1, micro_batches=5) == 0.0
    m = np.arange(1, 200)
    for name in pl.SCHEDULES:
        assert (np.diff(pl.bubble_fraction(name, pp=8, micro_batches=m, vpp=2)) <= 0).all()


def test_codes_and_names() -> None:
    assert [pl.SCHEDULES[int(c)] for c in pl.schedule_code(["interleaved-1f1b", "ZBV", ""])] == ["interleaved", "zb-v", "1f1b"]
    with pytest.raises(InputError):
        pl.schedule_code("roundabout")
    with pytest.raises(InputError):
        pl.schedule_code(99)
