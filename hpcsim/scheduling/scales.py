"""Sizes that a running or waiting job may have, how fast it is at each, and how it comes by more nodes or gives some back.

A job that may change its size is a number of equal chunks, and changes by whole chunks. Its *work* is counted in seconds at the size that it asked
for: at another size it does ``rate`` of them in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpcsim.scheduling.machine import Allocation, Demand, Free, Integers

if TYPE_CHECKING:
    from hpcsim.scheduling.policies import View
    from hpcsim.scheduling.room import Room

__all__ = ["Scale", "estimated_s", "grown", "like", "place_chunks", "scale_of", "shape_of", "shrunk", "size_of", "work_left_s"]


class Scale(NamedTuple):
    """The sizes that a job may have, in chunks: ``least`` and on.

    Attributes
    ----------
    least : int
        The fewest.
    kinds : tuple of int
        Kind of demand at each size.
    rates : tuple of float
        Work done in a second at each size; 1 at the size that was asked for.
    each : float
        Processor equivalents of a chunk.
    """

    least: int
    kinds: tuple[int, ...]
    rates: tuple[float, ...]
    each: float

    @property
    def most(self) -> int:
        """The most chunks."""
        return self.least + len(self.kinds) - 1

    def rate(self, chunks: int) -> float:
        """Return the work done in a second at a size."""
        return self.rates[chunks - self.least]

    def kind(self, chunks: int) -> int:
        """Return the kind of demand at a size."""
        return self.kinds[chunks - self.least]


def scale_of(view: View, room: Room, job: int) -> Scale:
    """Return the sizes of a job: its own alone, if it cannot change it or must not be touched."""
    scale = room.scales.get(job)
    if scale is not None:
        return scale
    kind = int(room.kind[job])
    chunks = room.demands[kind].chunks
    return Scale(chunks, (kind,), (1.0,), view.processors[job] / chunks)


def size_of(room: Room, job: int) -> int:
    """Return the chunks that a job has, or asks for where it waits."""
    return room.demands[int(room.kind[job])].chunks


def work_left_s(view: View, room: Room, job: int) -> float:
    """Return the work that a job has left by its estimate; at least nothing [s at the size that it asked for]."""
    start, estimate = view.start_s[job], view.estimate_s[job]
    overhead = room.overhead_s.get(job, 0.0)
    if start != start:
        return max(0.0, estimate - overhead)
    scale = room.scales.get(job)
    rate = 1.0 if scale is None else scale.rate(size_of(room, job))
    return max(0.0, start + estimate - max(view.now_s, start + overhead)) * rate


def estimated_s(room: Room, scale: Scale, job: int, work_s: float, chunks: int) -> float:
    """Return how long a waiting job takes at a size: what it works to be where it was, and its work."""
    overhead = room.overhead_s.get(job, 0.0)
    return overhead + work_s / scale.rate(chunks)


# -- chunks on nodes -----------------------------------------------------------------------------------------------------------------


def shape_of(demand: Demand) -> tuple[int, ...]:
    """Return what a chunk is: demands that differ only in the number of chunks are of one shape."""
    return (demand.cores, demand.gpus, demand.memory, demand.share, demand.apart, demand.exclusive, demand.where, demand.window)


def like(a: Demand, b: Demand) -> bool:
    """Return whether the chunks of two jobs are the same, and each may lie beside any other."""
    return shape_of(a) == shape_of(b) and not (a.apart or a.exclusive or a.pooled or b.pooled)


def place_chunks(room: Room, free: Free, kind: int, chunks: int, *, beside: Allocation | None = None) -> Allocation | None:
    """Return where ``chunks`` more of a kind go, as the placement says; None where they do not fit.

    ``beside`` is what the job has: chunks that are kept apart do not go there.
    """
    demand = room.demands[kind]._replace(chunks=chunks)
    if not free._could(demand):
        return None
    capacity = free.capacity(kind)
    if beside is not None and demand.apart:
        capacity = capacity.copy()
        capacity[list(beside.nodes)] = 0
    if int(capacity.sum()) < chunks:
        return None
    nodes, counts = room.placement.choose(demand, capacity, free)
    return free.allocate(kind, nodes, counts)


def grown(place: Allocation, more: Allocation) -> Allocation:
    """Return an allocation with that of further chunks added.

    >>> grown(Allocation((1, 3), (2, 1)), Allocation((0, 3), (1, 1))).counts
    (1, 2, 2)
    """
    counts = dict(zip(place.nodes, place.counts, strict=True))
    for node, count in zip(more.nodes, more.counts, strict=True):
        counts[node] = counts.get(node, 0) + count
    nodes = tuple(sorted(counts))
    return Allocation(nodes, tuple(counts[node] for node in nodes), (*place.devices, *more.devices))


def shrunk(place: Allocation, demand: Demand, chunks: int) -> tuple[Allocation, Allocation]:
    """Return what a job keeps that gives chunks back, and what it gives back: first where it has the fewest, so that whole nodes come free.

    Equal nodes are given back from the last on.

    >>> kept, given = shrunk(Allocation((1, 3, 4), (2, 1, 2)), Demand(5), 3)
    >>> kept.nodes, kept.counts, given.nodes, given.counts
    ((1, 4), (2, 1), (3, 4), (1, 1))
    """
    keep = dict(zip(place.nodes, place.counts, strict=True))
    gone: dict[int, int] = {}
    spare = sum(place.counts) - chunks
    for node in sorted(place.nodes, key=lambda node: (keep[node], -node)):
        taken = min(spare, keep[node])
        if taken:
            gone[node] = taken
            keep[node] -= taken
            spare -= taken
    devices = _split_devices(place, demand, keep)
    return _of(keep, devices[0]), _of(gone, devices[1])


def _of(counts: Mapping[int, int], devices: tuple[tuple[int, int, int], ...]) -> Allocation:
    nodes = tuple(sorted(node for node, count in counts.items() if count))
    return Allocation(nodes, tuple(counts[node] for node in nodes), devices)


def _split_devices(
    place: Allocation, demand: Demand, keep: Mapping[int, int]
) -> tuple[tuple[tuple[int, int, int], ...], tuple[tuple[int, int, int], ...]]:
    """Return the devices that are kept and those that are given back: the first on each node are kept."""
    each = demand.gpus or 1
    kept: list[tuple[int, int, int]] = []
    gone: list[tuple[int, int, int]] = []
    seen: dict[int, int] = {}
    for device in place.devices:
        node = device[0]
        seen[node] = seen.get(node, 0) + 1
        (kept if seen[node] <= keep[node] * each else gone).append(device)
    return tuple(kept), tuple(gone)


def chunk_room(free: Free, kind: int) -> int:
    """Return how many chunks of a kind fit now, in all."""
    capacity: Integers = free.capacity(kind)
    return int(np.sum(capacity))
