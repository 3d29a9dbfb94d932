"""Jobs that change their size, written for the reader: one pool of processors, every job looked at again at every event, every allocation tried.

Jobs are dicts with id, submit, run and estimate (both at the size ``own``), least, most, own, and speed, a function of the processors.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

Job = dict[str, Any]


def rate(job: Job, size: int) -> float:
    """Work done in a second; 1 at the size that was asked for."""
    return 1.0 if size == job["own"] else job["speed"](size) / job["speed"](job["own"])


class Pool:
    """What waits, what runs on how many processors, and how much of each job is done."""

    def __init__(self, processors: int, cost: float) -> None:
        self.processors, self.cost, self.now = processors, cost, 0.0
        self.waiting: list[Job] = []
        self.size: dict[int, int] = {}
        self.jobs: dict[int, Job] = {}
        self.done: dict[int, float] = {}
        self.pause: dict[int, float] = {}
        self.estimated_end: dict[int, float] = {}
        self.history: dict[int, list[tuple[float, int]]] = {}

    def free(self) -> int:
        return self.processors - sum(self.size.values())

    def end_of(self, number: int) -> float:
        job = self.jobs[number]
        return self.now + self.pause[number] + (job["run"] - self.done[number]) / rate(job, self.size[number])

    def pass_time(self, to: float) -> None:
        for number, size in self.size.items():
            passed = to - self.now
            idle = min(passed, self.pause[number])
            self.pause[number] -= idle
            self.done[number] += (passed - idle) * rate(self.jobs[number], size)
        self.now = to

    def begin(self, job: Job, size: int) -> None:
        number = job["id"]
        self.waiting.remove(job)
        self.jobs[number], self.size[number], self.done[number], self.pause[number] = job, size, 0.0, 0.0
        self.estimated_end[number] = self.now + job["estimate"] / rate(job, size)
        self.history[number] = [(self.now, size)]

    def resize(self, number: int, size: int) -> None:
        if size != self.size[number]:
            self.size[number] = size
            if self.history[number][-1][0] < self.now:
                self.pause[number] = self.cost
            self.history[number].append((self.now, size))


# -- moldable ------------------------------------------------------------------------------------------------------------------------


def free_at(pool: Pool, time: float) -> int:
    return pool.processors - sum(size for number, size in pool.size.items() if max(pool.estimated_end[number], pool.now) > time)


def first_time(pool: Pool, size: int) -> float:
    """When so many are free by estimates; those of an overrun job count as free now."""
    times = sorted({pool.now, *(max(end, pool.now) for number, end in pool.estimated_end.items() if number in pool.size)})
    return next((time for time in times if free_at(pool, time) >= size), math.inf)


def options(pool: Pool, job: Job) -> list[tuple[float, int, float]]:
    """(end, size, begin) for every size, the best first."""
    rows = []
    for size in range(job["least"], job["most"] + 1):
        begin = first_time(pool, size)
        rows.append((begin + job["estimate"] / rate(job, size), size, begin))
    return sorted(rows)


def moldable(pool: Pool) -> None:
    head: tuple[float, int] | None = None
    extra = 0
    for job in list(pool.waiting):
        rows = options(pool, job)
        if head is None:
            _, size, begin = rows[0]
            if begin <= pool.now and size <= pool.free():
                pool.begin(job, size)
            else:
                head = (begin, size)
                extra = free_at(pool, begin) - size
            continue
        later = min((end for end, _, begin in rows if begin > pool.now), default=math.inf)
        for end, size, begin in rows:
            if begin > pool.now or size > pool.free() or end > later:
                continue
            if end > head[0]:
                if size > extra:
                    continue
                extra -= size
            pool.begin(job, size)
            break


# -- malleable -----------------------------------------------------------------------------------------------------------------------


def admitted(pool: Pool, others: int) -> list[Job]:
    """The waiting jobs, in order, whose least fits beside ``others`` processors; nobody passes one for whom it does not."""
    chosen: list[Job] = []
    for job in pool.waiting:
        others += job["least"]
        if others > pool.processors:
            break
        chosen.append(job)
    return chosen


def here(pool: Pool) -> list[Job]:
    return sorted((pool.jobs[number] for number in pool.size), key=lambda job: (job["submit"], job["id"]))


def apply(pool: Pool, wanted: dict[int, int]) -> None:
    for number in list(pool.size):
        pool.resize(number, wanted.get(number, pool.size[number]))
    for job in list(pool.waiting):
        if job["id"] in wanted:
            pool.begin(job, wanted[job["id"]])
    assert pool.free() >= 0


def equipartition(pool: Pool) -> None:
    """Processors one by one to whoever has the fewest and may have more, the first of equals."""
    jobs = here(pool)
    jobs = jobs + admitted(pool, sum(job["least"] for job in jobs))
    wanted = {job["id"]: job["least"] for job in jobs}
    while sum(wanted.values()) < pool.processors:
        able = [job for job in jobs if wanted[job["id"]] < job["most"]]
        if not able:
            break
        wanted[min(able, key=lambda job: wanted[job["id"]])["id"]] += 1
    apply(pool, wanted)


def goodput(pool: Pool, gain: float = 0.05) -> None:
    """Every allocation tried: the largest sum of speeds over those on an equal part; running jobs are left alone unless that gains enough, or lets in who waits."""
    running = here(pool)
    fair = pool.processors / max(1, len(running) + len(pool.waiting))

    def worth(job: Job, size: int) -> float:
        return rate(job, size) / rate(job, min(max(job["least"], int(fair)), job["most"]))

    def best(fixed: list[Job], loose: list[Job]) -> tuple[float, dict[int, int]]:
        taken = sum(pool.size[job["id"]] for job in fixed)
        choices = itertools.product(*(range(job["least"], job["most"] + 1) for job in loose))
        fitting = [choice for choice in choices if sum(choice) + taken <= pool.processors]
        base = sum(worth(job, pool.size[job["id"]]) for job in fixed)

        def order(
            choice: tuple[int, ...],
        ) -> tuple[float, int, tuple[int, ...]]:  # of equal sums the most even one, then more for the first
            total = sum(worth(job, size) for job, size in zip(loose, choice, strict=True))
            return round(total, 9), -sum((size - job["least"]) ** 2 for job, size in zip(loose, choice, strict=True)), choice

        top = max(fitting, key=order)
        return base + sum(worth(job, size) for job, size in zip(loose, top, strict=True)), {
            job["id"]: size for job, size in zip(loose, top, strict=True)
        }

    anew = best([], running + admitted(pool, sum(job["least"] for job in running)))
    calm = best(running, admitted(pool, sum(pool.size.values())))
    lets_in = len(admitted(pool, sum(job["least"] for job in running))) > len(admitted(pool, sum(pool.size.values())))
    apply(pool, anew[1] if lets_in or anew[0] > (1 + gain) * calm[0] else calm[1])


POLICIES = {"moldable": moldable, "equipartition": equipartition, "goodput": goodput}


def slow_elastic(
    jobs: list[Job], processors: int, policy: str, *, cost: float = 0.0
) -> dict[int, tuple[float, float, list[tuple[float, int]]]]:
    """Return start, end and sizes (from when on how many) of every job: at one instant all ends, then all arrivals, then one pass."""
    pool = Pool(processors, cost)
    coming = sorted(jobs, key=lambda job: (job["submit"], job["id"]))
    result: dict[int, tuple[float, float, list[tuple[float, int]]]] = {}
    while coming or pool.waiting or pool.size:
        ends = {number: pool.end_of(number) for number in pool.size}
        now = min([job["submit"] for job in coming[:1]] + list(ends.values()))
        pool.pass_time(now)
        for number, end in ends.items():
            if end <= now:
                result[number] = (pool.history[number][0][0], now, pool.history[number])
                del pool.size[number]
        pool.waiting += [job for job in coming if job["submit"] == now]
        coming = [job for job in coming if job["submit"] != now]
        POLICIES[policy](pool)
    return result
