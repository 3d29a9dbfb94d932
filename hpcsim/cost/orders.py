"""The fixed orders in which the devices of a pipeline work: GPipe, 1F1B, interleaved, zero-bubble H1, H2 and V, DualPipe.

Every device has one list of operations. When they happen follows from durations; see :mod:`hpcsim.cost.schedules`.

Places are the model's consecutive pieces: p of them, p·v when interleaved, 2p in ZB-V (down the devices and back up). In DualPipe two
streams of micro-batches enter at the two ends, each device holds two places, and a forward of one stream runs with a backward of the
other.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import whole
from hpcsim.cost.pipeline import SCHEDULES, schedule_code

__all__ = ["Operation", "Order", "order"]

NOT_FOR = problem_kind("schedule-sizes", "the schedule {schedule} cannot have pp = {pp}, micro-batches = {m}, vpp = {v}", "{hint}")


class Operation(NamedTuple):
    """One entry of a device's list.

    ``kind`` is F, B (whole backward), I (input gradient), W (weight gradient) or P: the forward of ``place`` and ``micro_batch`` paired
    with the whole backward of ``back_place`` and ``back_micro_batch``.
    """

    kind: str
    place: int
    micro_batch: int
    back_place: int = -1
    back_micro_batch: int = -1


_NEW = tuple.__new__
"""Makes an :class:`Operation` of all its fields, without the detour over their names."""

Order = tuple[tuple[Operation, ...], ...]


def _refuse(name: str, p: int, m: int, v: int, hint: str) -> None:
    raise NOT_FOR.error(path="schedule", schedule=name, pp=p, m=m, v=v, hint=hint)


def _alternating(warm: int, forwards: list[Operation], backwards: list[Operation]) -> tuple[Operation, ...]:
    """``warm`` forwards, then one forward and one backward in turn, then the backwards that are left."""
    rows, rest = list(forwards[:warm]), forwards[warm:]
    for i, back in enumerate(backwards):
        rows += [*rest[i : i + 1], back]
    return tuple(rows)


def _gpipe(p: int, m: int, v: int) -> Order:
    return tuple(tuple(_NEW(Operation, (kind, s, i, -1, -1)) for kind in "FB" for i in range(m)) for s in range(p))


def _one_f_one_b(p: int, m: int, v: int) -> Order:
    each = [
        ([_NEW(Operation, ("F", s, i, -1, -1)) for i in range(m)], [_NEW(Operation, ("B", s, i, -1, -1)) for i in range(m)])
        for s in range(p)
    ]
    return tuple(_alternating(min(m, p - 1 - s), *each[s]) for s in range(p))


def _interleaved(p: int, m: int, v: int) -> Order:
    if m % p:
        _refuse("interleaved", p, m, v, "the micro-batches must be a multiple of the stages")
    chunk = [((k % (p * v)) // p, (k // (p * v)) * p + k % p) for k in range(m * v)]
    rows = []
    for s in range(p):
        forwards = [_NEW(Operation, ("F", c * p + s, i, -1, -1)) for c, i in chunk]
        backwards = [_NEW(Operation, ("B", (v - 1 - c) * p + s, i, -1, -1)) for c, i in chunk]
        rows.append(_alternating(min(m * v, 2 * (p - s - 1) + (v - 1) * p), forwards, backwards))
    return tuple(rows)


def _zero_bubble(p: int, m: int, *, second: bool) -> Order:
    """H1 delays stage s's weight gradients by s micro-batches; H2 by 2s, with more forwards first."""
    rows = []
    for s in range(p):
        warm, delay = (min(2 * (p - s) - 1, m), 2 * s) if second else (min(p - s, m), s)
        row = [_NEW(Operation, ("F", s, i, -1, -1)) for i in range(warm)]
        for i in range(m):
            row.append(_NEW(Operation, ("I", s, i, -1, -1)))
            if i >= delay:
                row.append(_NEW(Operation, ("W", s, i - delay, -1, -1)))
            if warm + i < m:
                row.append(_NEW(Operation, ("F", s, warm + i, -1, -1)))
        rows.append(tuple(row + [_NEW(Operation, ("W", s, i, -1, -1)) for i in range(max(m - delay, 0), m)]))
    return tuple(rows)


class _Folded:
    """List scheduling of ZB-V: at most 2p chunks held on a device, all devices alike, durations of a forward, input and weight gradient.

    A device that is free takes the forward on the way back, else an input gradient (the later place first), else a forward on the way
    down while one more chunk stays free for its way back, else a weight gradient.
    """

    def __init__(self, p: int, m: int, lengths: tuple[int, int, int]) -> None:
        self.p, self.m, self.places = p, m, 2 * p
        self.length = lengths
        never = np.iinfo(np.int64).max
        self.next_forward, self.next_input = [0] * self.places, [0] * self.places
        self.forward_end: list[list[int]] = np.full((self.places, m), never).tolist()
        self.input_end: list[list[int]] = np.full((self.places + 1, m), never).tolist()
        self.input_end[-1] = [-1] * m  # nothing comes after the last place
        self.waiting: list[deque[tuple[int, int]]] = [deque() for _ in range(p)]
        self.held = [0] * p
        self.rows: list[list[Operation]] = [[] for _ in range(p)]

    def _start(self, s: int, t: int) -> int:
        """Start what device ``s`` takes at ``t``; return when it ends, or -1 where it finds nothing to do."""
        down, up, held, m = s, self.places - 1 - s, self.held[s], self.m
        i = self.next_forward[up]
        if held < self.places and i < m and self.forward_end[up - 1][i] <= t:
            return self._forward(s, up, i, t)
        for k in (up, down):
            i = self.next_input[k]
            if i < m and self.forward_end[k][i] <= t and self.input_end[k + 1][i] <= t:
                self.next_input[k] = i + 1
                stop = self.input_end[k][i] = t + self.length[1]
                self.waiting[s].append((k, i))
                self.rows[s].append(_NEW(Operation, ("I", k, i, -1, -1)))
                return stop
        i = self.next_forward[down]
        if held < self.places - 1 and i < m and (down == 0 or self.forward_end[down - 1][i] <= t):
            return self._forward(s, down, i, t)
        if not self.waiting[s]:
            return -1
        k, i = self.waiting[s].popleft()
        self.held[s] = held - 1
        self.rows[s].append(_NEW(Operation, ("W", k, i, -1, -1)))
        return t + self.length[2]

    def _forward(self, s: int, k: int, i: int, t: int) -> int:
        self.next_forward[k] = i + 1
        self.held[s] += 1
        stop = self.forward_end[k][i] = t + self.length[0]
        self.rows[s].append(_NEW(Operation, ("F", k, i, -1, -1)))
        return stop

    def order(self) -> Order:
        """Let time pass from end to end; what ends at an instant is there for all who start at it."""
        left, t = 3 * self.places * self.m, 0
        free = [0] * self.p
        while left:
            for s, at in enumerate(free):
                if at <= t and (stop := self._start(s, t)) >= 0:
                    free[s] = stop
                    left -= 1
            later = [stop for stop in free if stop > t]
            t = min(later) if later else t + 1
        return tuple(tuple(row) for row in self.rows)


class _Dual:
    """One device of DualPipe: two streams, near (enters at the device's own end) and far, with running counts of what is done."""

    def __init__(self, device: int, p: int) -> None:
        self.near = device if device < p // 2 else p - 1 - device
        """Distance to the nearer end."""
        first = device < p // 2
        self.place = ((device, 0), (p - 1 - device, 1)) if first else ((p - 1 - device, 1), (device, 0))
        self.done = {"F": [0, 0], "B": [0, 0]}
        self.waiting: list[Operation] = []
        self.row: list[Operation] = []

    def _take(self, kind: str, stream: int) -> tuple[int, int]:
        """Place, and micro-batch numbered over both streams: even ones enter at device 0, odd ones at the last."""
        place, parity = self.place[stream]
        index = self.done[kind][stream]
        self.done[kind][stream] += 1
        return place, 2 * index + parity

    def forward(self, stream: int) -> None:
        self.row.append(Operation("F", *self._take("F", stream)))

    def backward(self, stream: int, *, split: bool = False) -> None:
        place, i = self._take("B", stream)
        self.row.append(Operation("I" if split else "B", place, i))
        if split:
            self.waiting.append(Operation("W", place, i))

    def weight(self) -> None:
        self.row.append(self.waiting.pop(0))

    def pair(self, forward: int, backward: int) -> None:
        self.row.append(Operation("P", *self._take("F", forward), *self._take("B", backward)))


def _dualpipe(p: int, m: int, v: int) -> Order:
    """Fill; forwards of both streams; split backwards of the far stream; the paired steady state; and the same mirrored."""
    if p % 2 or m % 2 or m < 2 * p:
        _refuse("dualpipe", p, m, v, "an even number of stages, and an even number of micro-batches of at least twice as many")
    half, rows = p // 2, []
    for device in range(p):
        d = _Dual(device, p)
        inner = half - d.near - 1
        for _ in range(2 * inner):
            d.forward(0)
        for _ in range(d.near + 1):
            d.forward(0)
            d.forward(1)
        for _ in range(inner):
            d.backward(1, split=True)
            d.weight()
            d.forward(1)
        for k in range(m // 2 - p + d.near + 1):
            if k == 0 and inner == 0:
                d.forward(0)
                d.backward(1)
            else:
                d.pair(0, 1)
            d.pair(1, 0)
        for _ in range(inner):
            d.backward(1)
            d.pair(1, 0)
        split = False
        for k in range(d.near + 1):
            middle = k == (d.near + 1) // 2
            split = split or (middle and d.near % 2 == 1)
            d.backward(1, split=split)
            split = split or (middle and d.near % 2 == 0)
            d.backward(0, split=split)
        for _ in range(inner):
            d.weight()
            d.backward(0, split=True)
        while d.waiting:
            d.weight()
        rows.append(tuple(d.row))
    return tuple(rows)


def order(schedule: str | int, *, pp: int, micro_batches: int, vpp: int = 1, lengths: tuple[int, int, int] = (1, 1, 1)) -> Order:
    """Return every device's list of operations.

    Parameters
    ----------
    schedule : str or int
        See :data:`hpcsim.cost.pipeline.SCHEDULES`; 1f1b with vpp > 1 is interleaved.
    pp, micro_batches, vpp : int
    lengths : tuple of int
        Forward, input and weight gradient in any unit: what the order of ZB-V is made for; the others' does not depend on it.

    Raises
    ------
    InputError
        Sizes that the schedule cannot have.

    Examples
    --------
    >>> [f"{op.kind}{op.micro_batch}" for op in order("1f1b", pp=2, micro_batches=3)[0]]
    ['F0', 'F1', 'B0', 'F2', 'B1', 'B2']
    """
    name = SCHEDULES[int(schedule_code(schedule))]
    p, m, v = int(whole("pp", pp)), int(whole("micro_batches", micro_batches)), int(whole("vpp", vpp))
    if name == "1f1b" and v > 1:
        name = "interleaved"
    if v > 1 and name not in ("interleaved", "zb-v"):
        _refuse(name, p, m, v, "chunks (vpp) belong to the interleaved schedule")
    if name == "zb-v":
        return _Folded(p, m, lengths).order()
    if name in ("zb-h1", "zb-h2"):
        return _zero_bubble(p, m, second=name == "zb-h2")
    return {"gpipe": _gpipe, "1f1b": _one_f_one_b, "interleaved": _interleaved, "dualpipe": _dualpipe}[name](p, m, v)
