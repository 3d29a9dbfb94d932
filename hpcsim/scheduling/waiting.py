"""The waiting jobs by kind of demand, so that the next one short enough is found without going through the queue.

On one pool of processors the kinds are the sizes.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

__all__ = ["Waiting", "most_s"]

_BLOCK = 64


def most_s(until_s: float, now_s: float) -> float:
    """Return a length that nothing exceeds of what starts now and ends by ``until_s``, as floats are added."""
    return until_s - now_s + 2.0 * math.ulp(until_s)


class _Line:
    """Jobs of one kind in the order in which they joined: estimates, with the least of each block of them."""

    __slots__ = ("by_length", "count", "estimate_s", "first", "jobs", "least_s", "ranks", "size")

    def __init__(self, by_length: bool = False) -> None:
        self.by_length: list[tuple[float, int, int]] | None = [] if by_length else None
        """(estimate, rank, job) of those that wait, ascending."""
        self.jobs: list[int] = []
        self.ranks: list[int] = []
        self.estimate_s: npt.NDArray[np.float64] = np.full(_BLOCK, math.inf)
        self.least_s: npt.NDArray[np.float64] = np.full(1, math.inf)
        self.size = 0
        self.count = 0
        self.first = 0
        """Position before which nobody waits."""

    def append(self, job: int, rank: int, estimate_s: float) -> int:
        at = self.size
        if at == len(self.estimate_s):
            self.estimate_s = np.concatenate([self.estimate_s, np.full(at, math.inf)])
            self.least_s = np.concatenate([self.least_s, np.full(len(self.least_s), math.inf)])
        self.jobs.append(job)
        self.ranks.append(rank)
        self.estimate_s[at] = estimate_s
        block = at // _BLOCK
        if estimate_s < self.least_s[block]:
            self.least_s[block] = estimate_s
        if self.by_length is not None:
            insort(self.by_length, (estimate_s, rank, job))
        self.size += 1
        self.count += 1
        return at

    def remove(self, at: int) -> None:
        estimates = self.estimate_s
        block = at // _BLOCK
        was = estimates[at]
        if self.by_length is not None:
            del self.by_length[bisect_left(self.by_length, (float(was), self.ranks[at], self.jobs[at]))]
        estimates[at] = math.inf
        if was <= self.least_s[block]:
            self.least_s[block] = estimates[block * _BLOCK : (block + 1) * _BLOCK].min()
        self.jobs[at] = -1
        self.count -= 1
        if at == self.first:
            jobs, size = self.jobs, self.size
            at += 1
            while at < size and jobs[at] < 0:
                at += 1
            self.first = at

    def next(self, at: int, most_s: float) -> int:
        """Return the position of the first job from ``at`` on whose estimate is at most ``most_s``; -1 for none."""
        at = max(at, self.first)
        if at >= self.size:
            return -1
        estimates = self.estimate_s
        if most_s == math.inf:
            jobs, size = self.jobs, self.size
            while at < size and jobs[at] < 0:
                at += 1
            return at if at < size else -1
        block = at // _BLOCK
        stop = (block + 1) * _BLOCK
        if self.least_s[block] <= most_s:
            hits = estimates[at:stop] <= most_s
            first = int(hits.argmax())
            if hits[first]:
                return at + first
        blocks = self.least_s[block + 1 : (self.size + _BLOCK - 1) // _BLOCK] <= most_s
        if not len(blocks):
            return -1
        first = int(blocks.argmax())
        if not blocks[first]:
            return -1
        block += 1 + first
        return block * _BLOCK + int((estimates[block * _BLOCK : (block + 1) * _BLOCK] <= most_s).argmax())


class Waiting:
    """Waiting jobs in the order in which they joined the queue, by kind of demand.

    Parameters
    ----------
    by_length : bool
        Also keep each kind by estimate, for :meth:`shortest_passing`.

    Examples
    --------
    >>> waiting = Waiting()
    >>> for job, estimate in enumerate([30.0, 10.0, 20.0]):
    ...     waiting.join(job, 0, estimate)
    >>> waiting.after(0, 0, 15.0), waiting.after(0, 1, 15.0), waiting.after(0, 1, float("inf"))
    (1, -1, 2)
    """

    __slots__ = ("_at", "_by_length", "_joined", "lines")

    def __init__(self, *, by_length: bool = False) -> None:
        self.lines: dict[int, _Line] = {}
        self._at: dict[int, tuple[int, int]] = {}
        self._joined = 0
        self._by_length = by_length

    def __deepcopy__(self, memo: object) -> Waiting:
        other = Waiting(by_length=self._by_length)
        other._at = dict(self._at)
        other._joined = self._joined
        for kind, line in self.lines.items():
            twin = other.lines[kind] = copy.copy(line)
            twin.jobs, twin.ranks = list(line.jobs), list(line.ranks)
            twin.estimate_s, twin.least_s = line.estimate_s.copy(), line.least_s.copy()
            twin.by_length = None if line.by_length is None else line.by_length.copy()
        return other

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Waiting)
            and self._at == other._at
            and all(
                np.array_equal(line.estimate_s[: line.size], other.lines[kind].estimate_s[: line.size])
                and line.by_length == other.lines[kind].by_length
                for kind, line in self.lines.items()
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._at)

    def join(self, job: int, kind: int, estimate_s: float) -> None:
        """Let a job join the end of the queue."""
        line = self.lines.get(kind)
        if line is None:
            line = self.lines[kind] = _Line(self._by_length)
        self._at[job] = kind, line.append(job, self._joined, estimate_s)
        self._joined += 1

    def leave(self, job: int) -> None:
        """Take a job out of the queue."""
        kind, at = self._at.pop(job)
        line = self.lines[kind]
        line.remove(at)
        if not line.count:
            del self.lines[kind]

    def rank(self, job: int) -> int:
        """Return the place of a waiting job in the order of joining."""
        kind, at = self._at[job]
        return self.lines[kind].ranks[at]

    def after(self, kind: int, job: int, most_s: float) -> int:
        """Return the first job of a kind that joined after ``job``, which waits, and whose estimate is at most ``most_s`` [s]; -1 for none."""
        line = self.lines.get(kind)
        if line is None:
            return -1
        of, at = self._at[job]
        if of != kind:
            return self.beyond(kind, self.lines[of].ranks[at], most_s)
        at = line.next(at + 1, most_s)
        return line.jobs[at] if at >= 0 else -1

    def beyond(self, kind: int, rank: int, most_s: float) -> int:
        """Return the first job of a kind that joined after place ``rank`` in the order, and whose estimate is at most ``most_s`` [s]; -1 for none."""
        line = self.lines.get(kind)
        if line is None:
            return -1
        ranks = line.ranks
        low, high = line.first, line.size
        if low < high and ranks[low] > rank:
            high = low
        while low < high:
            middle = (low + high) // 2
            if ranks[middle] <= rank:
                low = middle + 1
            else:
                high = middle
        at = line.next(low, most_s)
        return line.jobs[at] if at >= 0 else -1

    # -- backfilling on one pool of processors ------------------------------------------------------------------------------------

    def may_pass(self, head: int, free: int) -> list[tuple[int, int, int]]:
        """Return (rank, size, job) of the first job of each size up to ``free`` that joined after ``head``, as a heap."""
        found = []
        for size in self.lines:
            if size <= free:
                job = self.after(size, head, math.inf)
                if job >= 0:
                    found.append((self.rank(job), size, job))
        heapify(found)
        return found

    def passing(
        self, ahead: list[tuple[int, int, int]], estimate_s: Sequence[float], now_s: float, free: int, shadow_s: float, extra: int
    ) -> tuple[list[int], int]:
        """Return the jobs that EASY lets pass, in the order of joining, and the processors that they leave the head beyond its need.

        What goes through the whole queue would find the same: as jobs start, ``free`` and ``extra`` only shrink, so whoever is refused stays so.

        Parameters
        ----------
        ahead : list
            Of :meth:`may_pass`; it is used up.
        estimate_s : sequence of float [s]
            By job.
        now_s : float [s]
        free : int
            Processors that are free.
        shadow_s, extra : float [s], int
            What the head is promised.
        """
        started: list[int] = []
        longest_s = most_s(shadow_s, now_s)
        while ahead:
            _, size, job = heappop(ahead)
            if size > free:
                continue
            wide = size > extra
            if not wide or now_s + estimate_s[job] <= shadow_s:
                if now_s + estimate_s[job] > shadow_s:
                    extra -= size
                started.append(job)
                free -= size
                if not free:
                    break
                if size > free:
                    continue
                wide = size > extra
            later = self.after(size, job, longest_s if wide else math.inf)
            if later >= 0:
                heappush(ahead, (self.rank(later), size, later))
        return started, extra

    def shortest_passing(
        self, head: int, heads: Collection[int], estimate_s: Sequence[float], now_s: float, free: int, shadow_s: float, extra: int
    ) -> tuple[list[int], int]:
        """Return what :meth:`passing` does with the candidates by estimate, shortest first; ``heads`` start before them."""
        started: list[int] = []
        not_these = {head, *heads}
        ahead: list[tuple[float, int, int, int]] = []

        def push(size: int, at: int) -> None:
            line = self.lines[size].by_length
            assert line is not None
            while at < len(line) and line[at][2] in not_these:
                at += 1
            if at < len(line):
                heappush(ahead, (*line[at][:2], size, at))

        for size in self.lines:
            if size <= free:
                push(size, 0)
        while ahead:
            estimate, _, size, at = heappop(ahead)
            if size > free:
                continue
            if now_s + estimate > shadow_s:
                if size > extra:
                    continue  # the others of its size are longer
                extra -= size
            line = self.lines[size].by_length
            assert line is not None
            started.append(line[at][2])
            free -= size
            if not free:
                break
            push(size, at + 1)
        return started, extra
