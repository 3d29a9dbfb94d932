"""Pipeline schedules walked exactly: fixed orders of operations on every device, uneven stages, hops between them.

Every device works through a fixed list of operations; one starts when the device is free and all that it needs has arrived. That is a
graph without cycles, and its longest paths are the times. The graph depends on the schedule and the sizes alone, so it is built once and
then walked level by level, all durations of all layouts at once. The closed forms of :mod:`hpcsim.cost.pipeline` are checked against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, non_negative, whole
from hpcsim.cost.orders import Operation, order
from hpcsim.cost.pipeline import SCHEDULES, schedule_code

__all__ = [
    "Graph",
    "Operation",
    "Timeline",
    "ddp_bucket_ends_s",
    "fsdp_prefetch_s",
    "graph",
    "graph_of",
    "lengths",
    "order",
    "timeline",
    "walk",
]

DEADLOCK = problem_kind(
    "schedule-deadlock", "the order of operations stops: {operation} on device {device} waits for ever", "put what it needs before it"
)
TWICE = problem_kind(
    "schedule-operation", "{operation} on device {device} is {how}", "every forward, backward and weight gradient once, in that order"
)
BAD_SHAPE = problem_kind(
    "schedule-durations", "{name} has {given} values along its last axis", "give one, one a device ({devices}), or one a place ({places})"
)

_KINDS = ("F", "B", "I", "W", "P")
"""Forward; whole backward; its input-gradient part; its weight-gradient part; a forward paired with a whole backward."""

_SHIFTED = ("zb-h2", "zb-v")
"""Schedules whose devices begin the next step as they end this one, so that a step takes a device's window and not the makespan."""


_LENGTH_STEPS = 8
"""Steps of a forward in which the durations are told to the list scheduling of ZB-V."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations of all devices as arrays, and what each waits for.

    Attributes
    ----------
    schedule : str
    devices, places, micro_batches : int
    device, kind, place, back_place, micro_batch : int array, shape (operations,)
        ``kind`` indexes F, B, I, W, P. Operations of a device follow each other in its order.
    needs : int array, shape (operations, 3)
        The operation before on the device, what the forward needs, what the backward needs; ``operations`` where there is none.
    hops : float array, shape (operations, 3)
        1 where what is needed comes from another device.
    levels : tuple of int array
        Operations by the length of the longest chain that leads to them.
    owner : int array, shape (places,)
        Device of each place; in DualPipe that of the first stream.
    """

    schedule: str
    devices: int
    places: int
    micro_batches: int
    device: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    back_place: npt.NDArray[np.int64]
    micro_batch: npt.NDArray[np.int64]
    needs: npt.NDArray[np.int64]
    hops: Array
    levels: tuple[npt.NDArray[np.int64], ...]
    owner: npt.NDArray[np.int64]

    @property
    def operations(self) -> int:
        """Number of operations on all devices."""
        return len(self.device)

    def in_flight(self) -> Array:
        """Return each device's peak of micro-batches held, in whole stages: from its forward until its weight gradient is done."""
        pieces = 1.0 if self.schedule == "dualpipe" else self.places / self.devices
        change = np.array([1.0, -1.0, 0.0, -1.0, 0.0])[self.kind]
        paired = self.kind == _KINDS.index("P")
        peaks = np.zeros(self.devices)
        for s in range(self.devices):
            mine = self.device == s
            before = np.cumsum(change[mine]) + paired[mine]
            peaks[s] = max(float(before.max()), 0.0)
        return peaks / pieces


class _Builder:
    """Turns lists of operations into arrays: who needs whom, and in which order all can be done."""

    def __init__(self, rows: Sequence[Sequence[Operation]], places: int, micro_batches: int) -> None:
        self.places, self.m = places, micro_batches
        self.flat = [op for row in rows for op in row]
        self.n = len(self.flat)
        code = {kind: k for k, kind in enumerate(_KINDS)}
        kinds = map(code.__getitem__, map(itemgetter(0), self.flat))
        numbers = itertools.chain.from_iterable(map(itemgetter(1, 2, 3, 4), self.flat))
        self.kind = np.fromiter(kinds, dtype=np.int64, count=self.n)
        rest = np.fromiter(numbers, dtype=np.int64, count=4 * self.n).reshape(-1, 4)
        self.place, self.micro_batch, self.back_place, self.back_micro_batch = np.ascontiguousarray(rest.T)
        sizes = [len(row) for row in rows]
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist()
        self.device = np.repeat(np.arange(len(rows)), sizes)
        paired = self.kind == 4
        self.back = (np.where(paired, self.back_place, self.place), np.where(paired, self.back_micro_batch, self.micro_batch))
        self.forward = self._table((self.kind == 0) | paired, self.place, self.micro_batch)
        self.backward = self._table((self.kind == 1) | (self.kind == 2) | paired, *self.back)
        self._check()

    def _table(self, chosen: npt.NDArray[np.bool_], place: npt.NDArray[np.int64], i: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Operation by place and micro-batch: each once, none missing."""
        nodes = np.flatnonzero(chosen)
        outside = (place[nodes] < 0) | (place[nodes] >= self.places) | (i[nodes] < 0) | (i[nodes] >= self.m)
        if outside.any():
            self._refuse(int(nodes[outside][0]), "not of this pipeline")
        cell = place[nodes] * self.m + i[nodes]
        _, first = np.unique(cell, return_index=True)
        if first.size < cell.size:
            self._refuse(int(np.delete(nodes, first)[0]), "given twice")
        if cell.size < self.places * self.m:
            raise TWICE.error(path="schedule", operation="an operation", device="some", how="missing")
        table = np.empty(self.places * self.m, dtype=np.int64)
        table[cell] = nodes
        return table.reshape(self.places, self.m)

    def _refuse(self, node: int, how: str) -> None:
        op = self.flat[node]
        raise TWICE.error(
            path="schedule", operation=f"{op.kind}{op.micro_batch} of place {op.place}", device=int(self.device[node]), how=how
        )

    def _check(self) -> None:
        """A backward follows its forward on the same device, a weight gradient its input gradient."""
        for kinds, before in (((1, 2, 4), self.forward), ((3,), self.backward)):
            nodes = np.flatnonzero(np.isin(self.kind, kinds))
            ahead = before[self.back[0][nodes], self.back[1][nodes]]
            wrong = (ahead > nodes) | (self.device[ahead] != self.device[nodes])
            if wrong.any():
                self._refuse(int(nodes[wrong][0]), "before what it follows")
        weights = self.backward[self.place[self.kind == 3], self.micro_batch[self.kind == 3]]
        whole_before = self.kind[weights] != 2
        if whole_before.any() or np.unique(weights).size < weights.size:
            self._refuse(int(np.flatnonzero(self.kind == 3)[whole_before.argmax()]), "given twice")
        if weights.size < int((self.kind == 2).sum()):
            raise TWICE.error(path="schedule", operation="a weight gradient", device="some", how="missing")

    def needs(self) -> npt.NDArray[np.int64]:
        """The operation before, what the forward needs, what the backward needs; the number of operations where there is none."""
        wanted = np.full((self.n, 3), self.n, dtype=np.int64)
        wanted[:, 0] = np.arange(-1, self.n - 1)
        wanted[[k for k in self.first[:-1] if k < self.n], 0] = self.n
        ahead = np.flatnonzero(np.isin(self.kind, (0, 4)) & (self.place > 0))
        wanted[ahead, 1] = self.forward[self.place[ahead] - 1, self.micro_batch[ahead]]
        behind = np.flatnonzero(np.isin(self.kind, (1, 2, 4)) & (self.back[0] < self.places - 1))
        wanted[behind, 2] = self.backward[self.back[0][behind] + 1, self.back[1][behind]]
        return wanted

    def levels(self, needs: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        """Walk all devices in turn, each as far as it gets."""
        none, level = self.n, [-1] * (self.n + 1)
        level[none] = 0
        one, two, three = (column.tolist() for column in needs.T)
        at, done = list(self.first[:-1]), 0
        while done < none:
            before = done
            for s, stop in enumerate(self.first[1:]):
                node = at[s]
                while node < stop:
                    x, y, z = level[one[node]], level[two[node]], level[three[node]]
                    if x < 0 or y < 0 or z < 0:
                        break
                    level[node] = 1 + max(x, y, z)
                    node += 1
                done += node - at[s]
                at[s] = node
            if done == before:
                stuck = next(s for s, stop in enumerate(self.first[1:]) if at[s] < stop)
                op = self.flat[at[stuck]]
                raise DEADLOCK.error(path="schedule", operation=f"{op.kind}{op.micro_batch} of place {op.place}", device=stuck)
        index = np.asarray(level[:none])
        by_level = np.argsort(index, kind="stable")
        return tuple(np.split(by_level, np.flatnonzero(np.diff(index[by_level])) + 1))


def graph_of(rows: Sequence[Sequence[Operation]], *, places: int, micro_batches: int, schedule: str = "given") -> Graph:
    """Return the graph of any lists of operations, one list a device.

    Raises
    ------
    InputError
        An operation missing, given twice or on another device than what it follows; or an order that stops.
    """
    builder = _Builder(rows, places, micro_batches)
    needs = builder.needs()
    there = np.append(builder.device, -1)[needs]
    return Graph(
        schedule=schedule,
        devices=len(rows),
        places=places,
        micro_batches=micro_batches,
        device=builder.device,
        kind=builder.kind,
        place=builder.place,
        back_place=builder.back_place,
        micro_batch=builder.micro_batch,
        needs=needs,
        hops=np.where((needs < builder.n) & (there != builder.device[:, None]), 1.0, 0.0),
        levels=builder.levels(needs),
        owner=builder.device[builder.forward[:, 0]],
    )


@lru_cache(maxsize=32)
def _graph(name: str, p: int, m: int, v: int, lengths: tuple[int, int, int]) -> Graph:
    rows = order(name, pp=p, micro_batches=m, vpp=v, lengths=lengths)
    places = {"interleaved": p * v, "zb-v": 2 * p}.get(name, p)
    return graph_of(rows, places=places, micro_batches=m, schedule=name)


def graph(schedule: str | int, *, pp: int, micro_batches: int, vpp: int = 1, lengths: tuple[int, int, int] = (1, 1, 1)) -> Graph:
    """Return the graph of a schedule; the latest are kept. See :func:`order`."""
    name = SCHEDULES[int(schedule_code(schedule))]
    p, m, v = int(whole("pp", pp)), int(whole("micro_batches", micro_batches)), int(whole("vpp", vpp))
    return _graph("interleaved" if name == "1f1b" and v > 1 else name, p, m, v, lengths if name == "zb-v" else (1, 1, 1))


@dataclass(frozen=True, eq=False)
class Timeline:
    """When everything happens in one step; leading axes are those of the durations.

    Attributes
    ----------
    makespan_s : array
        From the first start to the last end on any device.
    step_s : array
        Time from step to step: the makespan, or the longest window of a device for ZB-H2 and ZB-V, whose devices begin the next step as
        they end this one (the optimizer's global checks are made afterwards).
    busy_s, idle_s : array, shape (…, devices)
        They add up to the makespan.
    window_s : array, shape (…, devices)
        From a device's first start to its last end.
    in_flight : array, shape (devices,)
        Peak of micro-batches whose activations a device holds, in whole stages.
    start_s, end_s : array, shape (…, operations)
        In the graph's order of operations.
    graph : Graph
    """

    makespan_s: Array
    step_s: Array
    busy_s: Array
    idle_s: Array
    window_s: Array
    in_flight: Array
    start_s: Array
    end_s: Array
    graph: Graph


def _per_place(name: str, value: Numeric, g: Graph) -> Array:
    """Seconds of each place, from one value, one a device (a whole stage) or one a place."""
    given = non_negative(name, value)
    if given.ndim == 0 or given.shape[-1] == 1:
        pieces = 1.0 if g.schedule == "dualpipe" else g.places / g.devices
        return np.asarray(np.broadcast_to(given / pieces, (*given.shape[:-1], g.places)))
    if given.shape[-1] == g.places:
        return given
    if given.shape[-1] == g.devices:
        return np.asarray(given[..., g.owner] * (g.devices / g.places))
    raise BAD_SHAPE.error(path=name, name=name, given=given.shape[-1], devices=g.devices, places=g.places)


def walk(
    g: Graph,
    *,
    forward_s: Numeric,
    backward_s: Numeric,
    weight_s: Numeric | None = None,
    transfer_s: Numeric = 0.0,
    paired_frac: Numeric = 1.0,
) -> Timeline:
    """Return the times of a graph's operations.

    Parameters
    ----------
    g : Graph
    forward_s, backward_s : float or array, shape (…,) + (1, devices or places)
        One micro-batch: one value for every whole stage, one a device (whole stage, shared equally by its places) or one a place.
        ``backward_s`` is the whole backward.
    weight_s : float or array, optional
        Weight-gradient part of the backward; half of it without.
    transfer_s : float or array, shape (…)
        From one device to the next, with neither of them kept busy.
    paired_frac : float or array, shape (…)
        Time of a forward paired with a backward (DualPipe) over the sum of both.

    Returns
    -------
    Timeline

    Notes
    -----
    start = max(device free, ends of what is needed + transfer). With the order fixed, no duration that shrinks makes anything later.
    """
    forward, backward = _per_place("forward_s", forward_s, g), _per_place("backward_s", backward_s, g)
    weight = backward / 2.0 if weight_s is None else np.minimum(_per_place("weight_s", weight_s, g), backward)
    hop, paired = non_negative("transfer_s", transfer_s), non_negative("paired_frac", paired_frac)
    batch = np.broadcast_shapes(forward.shape[:-1], backward.shape[:-1], weight.shape[:-1], hop.shape, paired.shape)
    forward, backward, weight = (np.broadcast_to(x, (*batch, g.places)) for x in (forward, backward, weight))
    by_kind = np.stack([forward, backward, backward - weight, weight, forward], axis=-2)
    length = by_kind[..., g.kind, g.place]
    pairs = g.kind == _KINDS.index("P")
    both = length[..., pairs] + backward[..., g.back_place[pairs]]
    length[..., pairs] = both * np.broadcast_to(paired, batch)[..., None]
    columns = length.reshape(-1, g.operations).T
    hop_s = np.broadcast_to(hop, batch).reshape(-1)
    ends = _ends(g, columns, hop_s)[:-1].T.reshape(*batch, g.operations)
    return _timeline(g, ends - length, ends, length)


def _ends(g: Graph, columns: Array, hop_s: Array) -> Array:
    """Return when every operation ends, shape (operations + 1, columns); the last row stands for what needs nothing.

    Operations are numbered by level meanwhile, so that a level is one slice.
    """
    by_level = np.concatenate(g.levels)
    place = np.empty(g.operations + 1, dtype=np.int64)
    place[by_level], place[-1] = np.arange(g.operations), g.operations
    a, b, c = place[g.needs[by_level]].T
    length = columns[by_level]
    end = np.zeros((g.operations + 1, columns.shape[1]))
    hops = bool(hop_s.any())
    crossed = g.hops[by_level]
    low = 0
    for rows in g.levels:
        high = low + rows.size
        second, third = end.take(b[low:high], axis=0), end.take(c[low:high], axis=0)
        if hops:
            second += crossed[low:high, 1, None] * hop_s
            third += crossed[low:high, 2, None] * hop_s
        np.maximum(second, third, out=second)
        np.maximum(second, end.take(a[low:high], axis=0), out=second)
        np.add(second, length[low:high], out=end[low:high])
        low = high
    return end[place]


def _timeline(g: Graph, start: Array, end: Array, length: Array) -> Timeline:
    makespan = end.max(axis=-1)
    edges = np.flatnonzero(np.diff(g.device, prepend=-1))
    busy = np.add.reduceat(length, edges, axis=-1)
    last = np.append(edges[1:], g.operations) - 1
    window = end[..., last] - start[..., edges]
    step = window.max(axis=-1) if g.schedule in _SHIFTED else makespan
    return Timeline(
        makespan_s=np.asarray(makespan)[()],
        step_s=np.asarray(step)[()],
        busy_s=busy,
        idle_s=makespan[..., None] - busy,
        window_s=window,
        in_flight=g.in_flight(),
        start_s=start,
        end_s=end,
        graph=g,
    )


def lengths(forward_s: Numeric, backward_s: Numeric, weight_s: Numeric) -> tuple[int, int, int]:
    """Return the mean forward, input and weight gradient in eighths of the forward: what :func:`order` takes."""
    f, b, w = (
        float(np.mean(non_negative(n, x))) for n, x in (("forward_s", forward_s), ("backward_s", backward_s), ("weight_s", weight_s))
    )
    unit = f / _LENGTH_STEPS or 1.0
    return _LENGTH_STEPS, max(round((b - w) / unit), 1), max(round(w / unit), 1)


def timeline(
    schedule: str | int,
    *,
    pp: int,
    micro_batches: int,
    forward_s: Numeric,
    backward_s: Numeric,
    weight_s: Numeric | None = None,
    vpp: int = 1,
    transfer_s: Numeric = 0.0,
    paired_frac: Numeric = 1.0,
) -> Timeline:
    """Return the times of one step of a schedule; see :func:`order` and :func:`walk`.

    References
    ----------
    Huang et al. 2019 (GPipe); Narayanan et al. 2021 (1F1B, interleaved); Qi et al. 2024 (zero bubble); DeepSeek-AI 2024 (DualPipe).

    Examples
    --------
    >>> t = timeline("1f1b", pp=8, micro_batches=32, forward_s=1.0, backward_s=2.0)
    >>> float(t.makespan_s), [int(n) for n in t.in_flight]
    (117.0, [8, 7, 6, 5, 4, 3, 2, 1])
    """
    weight = np.asarray(backward_s, float) / 2.0 if weight_s is None else weight_s
    made_for = lengths(forward_s, backward_s, weight)
    g = graph(schedule, pp=pp, micro_batches=micro_batches, vpp=vpp, lengths=made_for)
    return walk(g, forward_s=forward_s, backward_s=backward_s, weight_s=weight_s, transfer_s=transfer_s, paired_frac=paired_frac)


def ddp_bucket_ends_s(ready_s: Numeric, communication_s: Numeric) -> Array:
    """Return when the reduction of each gradient bucket ends: c_i = max(ready_i, c_{i−1}) + comm_i.

    One communication at a time, in order, each at full rate. What the last end has beyond the backward's is exposed.

    Parameters
    ----------
    ready_s, communication_s : array, shape (…, buckets)

    Examples
    --------
    >>> ddp_bucket_ends_s([0.025, 0.05, 0.075, 0.1], [0.04] * 4).tolist()[-1]
    0.185
    """
    ready, send = np.broadcast_arrays(non_negative("ready_s", ready_s), non_negative("communication_s", communication_s))
    sent = np.cumsum(send, axis=-1)
    return np.asarray(np.maximum.accumulate(ready - (sent - send), axis=-1) + sent)


def fsdp_prefetch_s(compute_s: Numeric, gather_s: Numeric) -> Array:
    """Return the time of layers whose weights are gathered one after the other while those before are computed.

    g_l = g_{l−1} + gather_l, c_l = max(g_l, c_{l−1}) + compute_l: no limit on how far gathers run ahead.

    Parameters
    ----------
    compute_s, gather_s : array, shape (…, layers)

    Examples
    --------
    >>> float(fsdp_prefetch_s([10.0] * 4, [6.0] * 4)), float(fsdp_prefetch_s([10.0] * 4, [15.0] * 4))
    (46.0, 70.0)
    """
    compute, gather = np.broadcast_arrays(non_negative("compute_s", compute_s), non_negative("gather_s", gather_s))
    return np.asarray(ddp_bucket_ends_s(np.cumsum(gather, axis=-1), compute)[..., -1])[()]
