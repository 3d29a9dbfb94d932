"""The waiting jobs by kind of demand, so that the next one short enough is found without going through the queue."""

from __future__ import annotations

import copy
import math

import numpy as np
import numpy.typing as npt

__all__ = ["Waiting"]

_BLOCK = 64


class _Line:
    """Jobs of one kind in the order in which they joined: estimates, with the least of each block of them."""

    __slots__ = ("count", "estimate_s", "first", "jobs", "least_s", "ranks", "size")

    def __init__(self) -> None:
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
        self.size += 1
        self.count += 1
        return at

    def remove(self, at: int) -> None:
        estimates = self.estimate_s
        block = at // _BLOCK
        was = estimates[at]
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

    Examples
    --------
    >>> waiting = Waiting()
    >>> for job, estimate in enumerate([30.0, 10.0, 20.0]):
    ...     waiting.join(job, 0, estimate)
    >>> waiting.after(0, 0, 15.0), waiting.after(0, 1, 15.0), waiting.after(0, 1, float("inf"))
    (1, -1, 2)
    """

    __slots__ = ("_at", "_joined", "lines")

    def __init__(self) -> None:
        self.lines: dict[int, _Line] = {}
        self._at: dict[int, tuple[int, int]] = {}
        self._joined = 0

    def __deepcopy__(self, memo: object) -> Waiting:
        other = Waiting()
        other._at = dict(self._at)
        other._joined = self._joined
        for kind, line in self.lines.items():
            twin = other.lines[kind] = copy.copy(line)
            twin.jobs, twin.ranks = list(line.jobs), list(line.ranks)
            twin.estimate_s, twin.least_s = line.estimate_s.copy(), line.least_s.copy()
        return other

    def join(self, job: int, kind: int, estimate_s: float) -> None:
        """Let a job join the end of the queue."""
        line = self.lines.get(kind)
        if line is None:
            line = self.lines[kind] = _Line()
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
        if of == kind:
            at = line.next(at + 1, most_s)
            return line.jobs[at] if at >= 0 else -1
        rank = self.lines[of].ranks[at]
        ranks = line.ranks
        low, high = line.first, line.size
        if low < high and ranks[low] > rank:
            high = low
        while low < high:
            middle = (low + high) // 2
            if ranks[middle] < rank:
                low = middle + 1
            else:
                high = middle
        at = line.next(low, most_s)
        return line.jobs[at] if at >= 0 else -1
