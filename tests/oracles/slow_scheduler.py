"""The policies, written for the reader: no incremental state, everything looked up again at every step, O(n²) and worse.

One pool of processors. Jobs are dicts with id, submit, run, estimate, processors, in file order; user and group where a policy looks at them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]


class Machine:
    """What is queued, what runs, and when each job started."""

    def __init__(self, processors: int) -> None:
        self.processors = processors
        self.queue: list[Job] = []
        self.running: list[Job] = []
        self.start: dict[int, float] = {}
        self.ended: list[Job] = []
        self.promise: dict[int, float] = {}

    def free(self) -> int:
        return self.processors - sum(job["processors"] for job in self.running)

    def begin(self, job: Job, now: float) -> None:
        self.queue = [other for other in self.queue if other is not job]
        self.promise.pop(job["id"], None)
        self.running.append(job)
        self.start[job["id"]] = now

    def end_of(self, job: Job) -> float:
        return self.start[job["id"]] + job["run"]

    def estimated_end_of(self, job: Job) -> float:
        return self.start[job["id"]] + job["estimate"]


def free_at(machine: Machine, time: float, now: float) -> int:
    """Processors that are free at ``time`` if every running job ends at its estimate, or right now where that has passed."""
    return machine.processors - sum(job["processors"] for job in machine.running if max(machine.estimated_end_of(job), now) > time)


def leave(machine: Machine, gone: list[Job]) -> None:
    """End jobs."""
    machine.running = [job for job in machine.running if all(job is not other for other in gone)]
    machine.ended += gone


def usage_by(machine: Machine, field: str, now: float) -> dict[int, float]:
    """Processor-seconds so far of whoever has submitted a job, without any fading."""
    used = {job[field]: 0.0 for job in machine.queue}
    for job in machine.running + machine.ended:
        end = machine.end_of(job) if any(job is other for other in machine.ended) else now
        used[job[field]] = used.get(job[field], 0.0) + job["processors"] * (end - machine.start[job["id"]])
    return used


def fair_share(machine: Machine, now: float) -> Callable[[Job], float]:
    """Least usage first; every user has the same share."""
    used = usage_by(machine, "user", now)
    return lambda job: used[job["user"]]


def fair_tree_by_two_levels(machine: Machine, now: float) -> Callable[[Job], tuple[float, float]]:
    """Highest shares over usage first: of the account, then of the user within the account; all shares are equal."""
    accounts = usage_by(machine, "group", now)
    owners = {(job["group"], job["user"]) for job in machine.queue + machine.running + machine.ended}
    used = {owner: 0.0 for owner in owners}
    for job in machine.running + machine.ended:
        end = machine.end_of(job) if any(job is other for other in machine.ended) else now
        used[job["group"], job["user"]] += job["processors"] * (end - machine.start[job["id"]])

    def level(share: float, part: float, whole: float) -> float:
        return share / (part / whole) if part else math.inf

    def key(job: Job) -> tuple[float, float]:
        account = job["group"]
        of_account = level(1 / len(accounts), accounts[account], sum(accounts.values()))
        mates = sum(1 for other in owners if other[0] == account)
        return -of_account, -level(1 / mates, used[account, job["user"]], accounts[account])

    return key


def order_of(policy: str, machine: Machine, now: float) -> Callable[[Job], Any]:
    """What the queue is sorted by, lowest first; equal ones go by submission."""
    if policy == "fairshare":
        return fair_share(machine, now)
    if policy == "fair-tree":
        return fair_tree_by_two_levels(machine, now)
    week = 7 * 86400.0
    return {
        "sjf": lambda job: job["estimate"],
        "ljf": lambda job: -job["estimate"],
        "smallest-area": lambda job: job["estimate"] * job["processors"],
        "largest-area": lambda job: -job["estimate"] * job["processors"],
        "wfp3": lambda job: -(((now - job["submit"]) / max(job["estimate"], 1.0)) ** 3) * job["processors"],
        "unicef": lambda job: -(now - job["submit"]) / (math.log2(max(job["processors"], 2)) * max(job["estimate"], 1.0)),
        "priority": lambda job: -(1000 * min(1.0, (now - job["submit"]) / week) + 1000 * (job["processors"] / machine.processors)),
    }.get(policy, lambda job: 0.0)


NO_BACKFILL = ("fcfs", "sjf", "ljf", "smallest-area", "largest-area")


def planned_free(machine: Machine, time: float, now: float, *, but: Job | None = None) -> int:
    """Processors that are free at ``time`` beside what runs, by estimates, and what has been promised to all but one job."""
    taken = 0
    for job in machine.queue:
        if job is not but and job["id"] in machine.promise:
            begin = machine.promise[job["id"]]
            end = max(begin + job["estimate"], math.nextafter(begin, math.inf))
            taken += job["processors"] if begin <= time < end else 0
    return free_at(machine, time, now) - taken


def earliest_hole(machine: Machine, job: Job, now: float) -> float:
    """First instant from which ``job`` fits for the length of its estimate, all others in place."""
    others = [other for other in machine.queue if other is not job and other["id"] in machine.promise]
    begins = [machine.promise[other["id"]] for other in others]
    ends = [max(begin + other["estimate"], math.nextafter(begin, math.inf)) for begin, other in zip(begins, others, strict=True)]
    instants = sorted({now, *(t for t in begins + ends + [machine.estimated_end_of(other) for other in machine.running] if t > now)})
    for begin in instants:
        end = max(begin + job["estimate"], math.nextafter(begin, math.inf))
        if all(planned_free(machine, t, now, but=job) >= job["processors"] for t in instants if begin <= t < end):
            return begin
    raise AssertionError("the job is larger than the machine")


def conservative_pass(machine: Machine, now: float, *, compress: bool = True) -> None:
    """Plan, and start whoever's time has come: re-fit every job in queue order with all others in place; without ``compress``, plan all anew."""
    machine.queue.sort(key=lambda job: (job["submit"], job["place"]))
    overrun = any(machine.estimated_end_of(job) <= now for job in machine.running)
    missed = any(time < now for time in machine.promise.values())
    if overrun or missed or not compress:
        machine.promise = {}
    for job in machine.queue:
        machine.promise[job["id"]] = earliest_hole(machine, job, now)
    for job in list(machine.queue):
        if machine.promise[job["id"]] <= now and job["processors"] <= machine.free():
            machine.begin(job, now)


def schedule_pass(machine: Machine, policy: str, now: float) -> None:
    """Start what may start at ``now``."""
    if policy in ("conservative", "rebuild"):
        conservative_pass(machine, now, compress=policy == "conservative")
        return
    first = order_of(policy, machine, now)
    machine.queue.sort(key=lambda job: (first(job), job["submit"], job["place"]))
    while machine.queue and machine.queue[0]["processors"] <= machine.free():
        machine.begin(machine.queue[0], now)
    if not machine.queue or policy in NO_BACKFILL:
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


def next_instant(machine: Machine, pending: list[Job], now: float) -> float:
    """The next arrival or end, or the next promised start where the plan is not held up by one who outruns an estimate."""
    held_up = any(machine.estimated_end_of(job) <= now for job in machine.running) or any(time <= now for time in machine.promise.values())
    promised = [] if held_up else list(machine.promise.values())
    return min([job["submit"] for job in pending[:1]] + [machine.end_of(job) for job in machine.running] + promised)


def batch_order(jobs: list[Job], processors: int, policy: str) -> dict[int, float]:
    """All that happens at an instant, then one pass."""
    machine = Machine(processors)
    pending = sorted(jobs, key=lambda job: (job["submit"], job["place"]))
    now = -math.inf
    while pending or machine.queue or machine.running:
        now = next_instant(machine, pending, now)
        leave(machine, [job for job in machine.running if machine.end_of(job) == now])
        machine.queue += [job for job in pending if job["submit"] == now]
        pending = [job for job in pending if job["submit"] > now]
        schedule_pass(machine, policy, now)
    return machine.start


def event_order(jobs: list[Job], processors: int, policy: str) -> dict[int, float]:
    """A pass after every event: first the jobs that end exactly as estimated, together and with the first arrival, then arrival by
    arrival, then the other ends one by one in order of start."""
    machine = Machine(processors)
    pending = sorted(jobs, key=lambda job: (job["submit"], job["place"]))
    now = -math.inf
    while pending or machine.queue or machine.running:
        now = next_instant(machine, pending, now)
        ending = [job for job in machine.running if machine.end_of(job) == now]
        exact = [job for job in ending if machine.estimated_end_of(job) <= now]
        arriving = pending[0] if pending and pending[0]["submit"] == now else None
        gone = exact or ([] if arriving else ending[:1])
        leave(machine, gone)
        if arriving:
            machine.queue.append(pending.pop(0))
        schedule_pass(machine, policy, now)
    return machine.start


def slow_schedule(jobs: list[Job], processors: int, policy: str, order: str) -> dict[int, float]:
    """Start time of every job by its id."""
    placed = [{**job, "place": place} for place, job in enumerate(jobs)]
    return (batch_order if order == "batch" else event_order)(placed, processors, policy)
