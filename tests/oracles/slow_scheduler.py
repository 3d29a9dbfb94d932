"""The four policies, written for the reader: no incremental state, everything looked up again at every step, O(n²) and worse.

One pool of processors. Jobs are dicts with id, submit, run, estimate, processors, in file order.
"""

from __future__ import annotations

from typing import Any

Job = dict[str, Any]


class Machine:
    """What is queued, what runs, and when each job started."""

    def __init__(self, processors: int) -> None:
        self.processors = processors
        self.queue: list[Job] = []
        self.running: list[Job] = []
        self.start: dict[int, float] = {}

    def free(self) -> int:
        return self.processors - sum(job["processors"] for job in self.running)

    def begin(self, job: Job, now: float) -> None:
        self.queue = [other for other in self.queue if other is not job]
        self.running.append(job)
        self.start[job["id"]] = now

    def end_of(self, job: Job) -> float:
        return self.start[job["id"]] + job["run"]

    def estimated_end_of(self, job: Job) -> float:
        return self.start[job["id"]] + job["estimate"]


def free_at(machine: Machine, time: float, now: float) -> int:
    """Processors that are free at ``time`` if every running job ends at its estimate, or right now where that has passed."""
    return machine.processors - sum(job["processors"] for job in machine.running if max(machine.estimated_end_of(job), now) > time)


def schedule_pass(machine: Machine, policy: str, now: float) -> None:
    """Start what may start at ``now``."""
    if policy == "sjf":
        machine.queue.sort(key=lambda job: (job["estimate"], job["submit"], job["place"]))
    else:
        machine.queue.sort(key=lambda job: (job["submit"], job["place"]))
    while machine.queue and machine.queue[0]["processors"] <= machine.free():
        machine.begin(machine.queue[0], now)
    if not machine.queue or policy in ("fcfs", "sjf"):
        return
    head, *others = machine.queue
    moments = sorted({max(machine.estimated_end_of(job), now) for job in machine.running})
    shadow = next(t for t in moments if free_at(machine, t, now) >= head["processors"])
    spare = free_at(machine, shadow, now) - head["processors"]
    if policy == "easy-sjbf":
        others.sort(key=lambda job: job["estimate"])
    for job in others:
        if job["processors"] > machine.free():
            continue
        if now + job["estimate"] <= shadow:
            machine.begin(job, now)
        elif job["processors"] <= spare:
            spare -= job["processors"]
            machine.begin(job, now)


def batch_order(jobs: list[Job], processors: int, policy: str) -> dict[int, float]:
    """All that happens at an instant, then one pass."""
    machine = Machine(processors)
    pending = sorted(jobs, key=lambda job: (job["submit"], job["place"]))
    while pending or machine.running:
        now = min([job["submit"] for job in pending[:1]] + [machine.end_of(job) for job in machine.running])
        machine.running = [job for job in machine.running if machine.end_of(job) > now]
        machine.queue += [job for job in pending if job["submit"] == now]
        pending = [job for job in pending if job["submit"] > now]
        schedule_pass(machine, policy, now)
    return machine.start


def event_order(jobs: list[Job], processors: int, policy: str) -> dict[int, float]:
    """A pass after every event: first the jobs that end exactly as estimated, together and with the first arrival, then arrival by
    arrival, then the other ends one by one in order of start."""
    machine = Machine(processors)
    pending = sorted(jobs, key=lambda job: (job["submit"], job["place"]))
    while pending or machine.running:
        now = min([job["submit"] for job in pending[:1]] + [machine.end_of(job) for job in machine.running])
        ending = [job for job in machine.running if machine.end_of(job) == now]
        exact = [job for job in ending if machine.estimated_end_of(job) <= now]
        arriving = pending[0] if pending and pending[0]["submit"] == now else None
        gone = exact or ([] if arriving else ending[:1])
        machine.running = [job for job in machine.running if all(job is not other for other in gone)]
        if arriving:
            machine.queue.append(pending.pop(0))
        schedule_pass(machine, policy, now)
    return machine.start


def slow_schedule(jobs: list[Job], processors: int, policy: str, order: str) -> dict[int, float]:
    """Start time of every job by its id."""
    placed = [{**job, "place": place} for place, job in enumerate(jobs)]
    return (batch_order if order == "batch" else event_order)(placed, processors, policy)
