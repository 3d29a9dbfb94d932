"""Messages of parallel applications: halo exchange of a stencil, transpose of a distributed array, master and workers.

Pure arithmetic on arrays: who sends how much to whom, and closed forms where there are some. Ranks are numbered with the last axis fastest.
"""

from __future__ import annotations

import itertools
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, non_negative, whole
from hpcsim.cost.patterns import Pattern, Round

__all__ = [
    "halo_pattern",
    "master_worker_s",
    "process_grid",
    "transpose_bytes",
    "transpose_pattern",
    "transpose_s",
    "transpose_share_bytes",
]

IntArray: TypeAlias = npt.NDArray[np.int64]

TOO_THIN = problem_kind(
    "grid-too-thin",
    "{ranks} ranks cannot share a grid of {grid}: some would be thinner than the halo of {width}",
    "fewer ranks, or a larger grid",
)


def process_grid(ranks: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many ranks lie along each axis: the factors of ``ranks`` whose blocks have the least surface, and fit into the grid.

    Parameters
    ----------
    ranks : int
    grid : tuple of int
        Points along one to three axes.

    Raises
    ------
    InputError
        No factors fit.

    Examples
    --------
    >>> process_grid(12, (400, 300))
    (4, 3)
    """
    divisors = [d for d in range(1, ranks + 1) if ranks % d == 0]
    ways = [way for way in itertools.product(divisors, repeat=len(grid) - 1) if ranks % math.prod(way) == 0]
    full = [(*way, ranks // math.prod(way)) for way in ways]
    fitting = [way for way in full if all(p <= n for p, n in zip(way, grid, strict=True))]
    if not fitting:
        raise TOO_THIN.error(ranks=ranks, grid="×".join(map(str, grid)), width=0)

    def surface(way: tuple[int, ...]) -> float:
        block = [n / p for p, n in zip(way, grid, strict=True)]
        return sum(math.prod(block) / side for side, p in zip(block, way, strict=True) if p > 1)

    return min(fitting, key=lambda way: (surface(way), max(way), way[::-1]))


def _parts(points: int, ranks: int) -> IntArray:
    """Return the points of each rank along an axis: as even as possible, the rest to the first."""
    return points // ranks + (np.arange(ranks) < points % ranks).astype(np.int64)


def halo_pattern(ranks: int, grid: tuple[int, ...], element_bytes: float, *, width: int = 1, periodic: bool = True) -> Pattern:
    """Return one exchange of the faces between neighbours on a grid of ranks, all at once.

    Parameters
    ----------
    ranks : int
    grid : tuple of int
        Points along one to three axes, spread by :func:`process_grid`.
    element_bytes : float
        Of all fields of a point.
    width : int
        Points of the halo on each side.
    periodic : bool
        Opposite borders are neighbours. A rank that is its own neighbour sends nothing.

    Raises
    ------
    InputError
        Blocks thinner than the halo.

    Notes
    -----
    Corners are left out: edges and corners go with the faces of the axes before, as codes that exchange axis by axis do, or are not needed
    (star-shaped stencils).
    """
    way = process_grid(ranks, grid)
    parts = [_parts(n, p) for n, p in zip(grid, way, strict=True)]
    if any(p > 1 and int(part.min()) < width for part, p in zip(parts, way, strict=True)):
        raise TOO_THIN.error(ranks=ranks, grid="×".join(map(str, grid)), width=width)
    place = np.stack(np.unravel_index(np.arange(ranks), way))
    block = np.stack([part[place[axis]] for axis, part in enumerate(parts)]).astype(np.float64)
    src: list[IntArray] = []
    dst: list[IntArray] = []
    size: list[Array] = []
    for axis, p in enumerate(way):
        face = np.asarray(width * np.delete(block, axis, axis=0).prod(axis=0) * element_bytes, dtype=np.float64)
        for side in (-1, 1):
            there = place.copy()
            there[axis] += side
            kept = np.full(ranks, periodic) if periodic else (there[axis] >= 0) & (there[axis] < p)
            there[axis] %= p
            other = np.ravel_multi_index(tuple(there), way)
            kept &= other != np.arange(ranks)
            src.append(np.flatnonzero(kept))
            dst.append(other[kept])
            size.append(face[kept])
    moved = Round(np.concatenate(src).astype(np.int64), np.concatenate(dst).astype(np.int64), np.concatenate(size).astype(np.float64))
    return Pattern(ranks, (moved,) if moved.src.size else ())


def transpose_pattern(ranks: int, grid: tuple[int, ...], element_bytes: float) -> Pattern:
    """Return one transpose of an array spread by slabs of its first axis to slabs of its second: every rank sends to every other.

    Parameters
    ----------
    ranks : int
        At most as many as the shorter of the two axes, or some have nothing.
    grid : tuple of int
        Points along two or three axes.
    element_bytes : float

    Notes
    -----
    Rank i holds a_i rows and gets b_i columns, each spread evenly with the rest to the first: a_i·b_j·(rest) points go from i to j, in
    p − 1 rounds, in each of which every rank sends to one other.
    """
    rows, columns = _parts(grid[0], ranks), _parts(grid[1], ranks)
    rest = math.prod(grid[2:]) * element_bytes
    src = np.arange(ranks, dtype=np.int64)
    return Pattern(
        ranks,
        tuple(
            Round(src, (src + r) % ranks, np.asarray(rows * columns[(src + r) % ranks] * rest, dtype=np.float64)) for r in range(1, ranks)
        ),
    )


def transpose_bytes(ranks: int, grid: tuple[int, ...], element_bytes: float) -> float:
    """Return the bytes of one transpose: of the whole array, less what stays where it is.

    Parameters
    ----------
    ranks, grid, element_bytes
        As of :func:`transpose_pattern`.
    """
    rows, columns = _parts(grid[0], ranks), _parts(grid[1], ranks)
    moved = float(rows.sum()) * float(columns.sum()) - float((rows * columns).sum())
    return moved * math.prod(grid[2:]) * element_bytes


def transpose_share_bytes(ranks: int, grid: tuple[int, ...], element_bytes: float) -> float:
    """Return what a rank would hold of an array spread evenly over the ranks whose every rank moves as much as the busiest one here [B].

    Of p ranks with n bytes each, each sends and receives n·(p − 1)/p. With as many rows and columns on every rank this is its part of the
    array; with uneven ones no rank is done before the one that sends or receives most.

    Parameters
    ----------
    ranks, grid, element_bytes
        As of :func:`transpose_pattern`.

    Examples
    --------
    >>> transpose_share_bytes(4, (8, 8), 1.0), transpose_share_bytes(4, (5, 5), 1.0)
    (16.0, 8.0)
    """
    if ranks < 2:
        return 0.0
    rows, columns = _parts(grid[0], ranks).astype(np.float64), _parts(grid[1], ranks).astype(np.float64)
    most = max(float((rows * (grid[1] - columns)).max()), float((columns * (grid[0] - rows)).max()))
    return most * ranks / (ranks - 1) * math.prod(grid[2:]) * element_bytes


def transpose_s(ranks: int, grid: tuple[int, ...], element_bytes: float, *, bytes_per_s: float, latency_s: float = 0.0) -> float:
    """Return the time of one transpose in rounds, each rank on a full-duplex link of its own into one switch that never blocks [s].

    Parameters
    ----------
    ranks, grid, element_bytes
        As of :func:`transpose_pattern`.
    bytes_per_s : float
        One way, of each link.
    latency_s : float
        Of a round.

    Notes
    -----
    That of :func:`hpcsim.cost.patterns.star_seconds` for the pattern, in time and memory proportional to the ranks. A round takes as long
    as its largest message. Rows and columns have two sizes each, the larger on the first ranks: in round r those with more rows send to the
    ranks r further, an arc of the ring of ranks, which meets those with more columns or not.
    """
    if ranks < 2:
        return 0.0
    (few, x), (low, y) = (divmod(points, ranks) for points in grid[:2])
    r = np.arange(1, ranks)
    largest = np.zeros(r.size)
    for start, length, height in ((r, x, few + 1), ((r + x) % ranks, ranks - x, few)):
        for first, last, width in ((0, y, low + 1), (y, ranks, low)):
            if length and last > first:
                meets = ((start >= first) & (start < last)) | ((first - start) % ranks < length)
                largest = np.where(meets, np.maximum(largest, float(height * width)), largest)
    return float(latency_s * r.size + largest.sum() * math.prod(grid[2:]) * element_bytes / bytes_per_s)


def master_worker_s(tasks: Numeric, workers: Numeric, service_s: Numeric, cycle_s: Numeric) -> Array:
    """Return when the last of equal tasks is back that a master hands out one at a time to whoever is free.

    Parameters
    ----------
    tasks, workers : float or array
        T and W, at least 1.
    service_s : float or array
        s, what the master takes for a task.
    cycle_s : float or array
        c, from a task's dispatch to its result.

    Returns
    -------
    array
        d_{T−1} + c, where task i leaves at d_i = max(d_{i−1} + s, d_{i−W} + c): ⌊i/W⌋·c + (i mod W)·s where the workers are the bound
        (c ≥ W·s), else i·s.

    Examples
    --------
    >>> float(master_worker_s(10, 4, 1.0, 20.0))
    61.0
    """
    t, w = whole("tasks", tasks), whole("workers", workers)
    s, c = non_negative("service_s", service_s), non_negative("cycle_s", cycle_s)
    broadcast(t, w, s, c)
    last = t - 1.0
    return np.asarray(np.where(c >= w * s, np.floor(last / w) * c + np.mod(last, w) * s, last * s) + c)[()]
