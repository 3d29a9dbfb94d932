"""Policies that stop jobs, and conservative backfilling, on nodes, written for the reader: everything looked up again at every step.

Jobs are those of :mod:`tests.oracles.slow_machine`, with a priority and a size (the largest part that they take of any resource, in cores). Chunks go to
the first nodes that have room.
"""

from __future__ import annotations

import math
from typing import Any

from tests.oracles.slow_machine import Floor, Job, Place

Row = tuple[float, float, str]
"""From when, until when, and how it ended: ``end`` or the way in which the job was stopped."""


class Costs:
    """What it costs to be stopped."""

    def __init__(
        self, save: float = 0.0, restore: float = 0.0, interval: float = 3600.0, resubmit: float = 0.0, notice: bool = True
    ) -> None:
        self.save, self.restore, self.interval, self.resubmit, self.notice = save, restore, interval, resubmit, notice

    def kept(self, how: str, before: float, worked: float) -> float:
        if how == "requeue":
            return 0.0
        if how == "suspend":
            return before + worked
        if self.notice:
            return before + max(0.0, worked - self.save)
        checkpoints = math.floor((before + worked) / self.interval)
        return max(before, checkpoints * self.interval)


class Room:
    """What runs where, what waits, and what is done of each job."""

    def __init__(self, jobs: list[Job], floor: Floor, cores: int, costs: Costs) -> None:
        self.floor, self.cores, self.costs = floor, cores, costs
        self.now = 0.0
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.rows: dict[int, list[Row]] = {job["id"]: [] for job in jobs}
        for job in jobs:
            job |= {"left": job["run"], "told": job["estimate"], "done": 0.0, "overhead": 0.0, "start": None, "place": None}

    def attained(self, job: Job) -> float:
        return job["done"] + (0.0 if job["start"] is None else self.now - job["start"])

    def remaining(self, job: Job) -> float:
        return job["told"] if job["start"] is None else max(0.0, job["start"] + job["told"] - self.now)

    def begin(self, job: Job, place: Place) -> None:
        self.waiting.remove(job)
        self.running.append(job)
        job["start"], job["place"] = self.now, place

    def stop(self, job: Job, how: str) -> None:
        self.running.remove(job)
        self.rows[job["id"]].append((job["start"], self.now, how))
        if how == "cancel":
            return
        worked = max(0.0, self.now - job["start"] - job["overhead"])
        left = max(0.0, job["start"] + job["told"] - max(self.now, job["start"] + job["overhead"]))
        kept = self.costs.kept(how, job["done"], worked)
        again = self.costs.restore if how == "checkpoint" else 0.0
        job["left"] = job["run"] - kept + again
        job["told"] = left + (job["done"] + worked - kept) + again
        job["done"], job["overhead"], job["start"] = kept, again, None


# -- how urgent a job is: less is more -----------------------------------------------------------------------------------------------


def urgency(room: Room, policy: str, option: float, job: Job) -> tuple[float, ...]:
    submit = job["submit"]
    if policy == "srpt":
        return (room.remaining(job), submit, job["id"])
    if policy == "las":
        falls_s = option / job["size"] - room.attained(job)  # what is less than the clock can tell is nothing
        return (float(room.now + falls_s <= room.now), submit, job["id"])
    if policy == "preempt":
        return (-job["priority"], -math.inf if job["start"] is not None else submit, job["id"])
    if policy == "deadline":
        return (submit + option * (job["told"] + job["done"]), submit, job["id"])
    if policy == "finish-time-fair":
        here = len(room.running) + len(room.waiting)
        left = room.remaining(job)
        alone = max(left + room.attained(job), 1.0) * max(1.0, job["size"] * here / room.cores)
        return (-(room.now - submit + left) / alone, submit, job["id"])
    assert policy == "gang"
    return (math.floor(room.attained(job) / option + 1e-9), submit, job["id"])


def protected(policy: str, option: float) -> float:
    """How long a job that has started is left alone."""
    return option if policy in ("gang", "finish-time-fair", "preempt") else 0.0


def one_pass(room: Room, policy: str, option: float, how: str) -> float:
    """Start and stop jobs, and return when to look again."""
    floor, now, shield = room.floor, room.now, protected(policy, option)
    rank = {job["id"]: urgency(room, policy, option, job) for job in room.running + room.waiting}
    old = list(room.running)
    stopped: list[Job] = []
    started: list[tuple[Job, Place]] = []
    for job in sorted(room.waiting, key=lambda job: rank[job["id"]]):
        place = floor.place(job["ask"])
        if place is None:
            others = [
                other for other in old
                if other not in stopped and now - other["start"] >= shield and rank[other["id"]] > rank[job["id"]]
            ]  # fmt: skip
            chosen: list[Job] = []
            for other in sorted(others, key=lambda other: rank[other["id"]], reverse=True):
                chosen.append(other)
                floor.move(other["ask"], other["place"], 1)
                if floor.place(job["ask"]) is not None:
                    break
            if floor.place(job["ask"]) is None:
                for other in chosen:
                    floor.move(other["ask"], other["place"], -1)
                continue
            for other in chosen[:-1]:  # whom it can do without is spared
                floor.move(other["ask"], other["place"], -1)
                if floor.place(job["ask"]) is None:
                    floor.move(other["ask"], other["place"], 1)
                else:
                    chosen = [one for one in chosen if one is not other]
            stopped += chosen
            place = floor.place(job["ask"])
            assert place is not None
        floor.move(job["ask"], place, -1)
        started.append((job, place))
    starts = [job["start"] for job in old]
    for job in stopped:
        room.stop(job, how)
    for job, place in started:
        room.begin(job, place)
    still = len(room.waiting) + len(stopped)
    if policy == "las":
        falls = [now + (option / job["size"] - room.attained(job)) for job in room.running]
        wake = min((time for time in falls if time > now), default=math.inf)
    elif shield and still:
        wake = min((time + shield for time in starts + [now for _ in started] if time + shield > now), default=math.inf)
    else:
        wake = math.inf
    at_once = how == "suspend" or (how == "checkpoint" and room.costs.notice) or not room.costs.resubmit
    room.waiting += stopped if at_once and how != "cancel" else []
    return wake


def slow_stopping(
    jobs: list[Job], nodes: list[list[int]], policy: str, *, option: float, how: str, cores: int, costs: Costs | None = None,
    pools: list[int] | None = None, limits: list[bool] | None = None,
) -> dict[int, list[Row]]:  # fmt: skip
    """Return every time that each job was on the machine: at one instant all ends, then all arrivals, then one pass."""
    costs = costs or Costs()
    room = Room(jobs, Floor(nodes, pools or [], limits or []), cores, costs)
    coming = [(job["submit"], job) for job in jobs]
    wake = math.inf
    while coming or room.running or room.waiting:
        ends = [(job["start"] + job["left"], job) for job in room.running]
        room.now = now = min([time for time, _ in coming] + [time for time, _ in ends] + [wake])
        if now == math.inf:
            break
        for end, job in ends:
            if end == now:
                room.running.remove(job)
                room.floor.move(job["ask"], job["place"], 1)
                room.rows[job["id"]].append((job["start"], now, "end"))
        room.waiting += [job for time, job in coming if time == now]
        coming = [(time, job) for time, job in coming if time != now]
        wake = math.inf
        if room.waiting:
            before = {id(job) for job in room.waiting} | {id(job) for job in room.running}
            wake = one_pass(room, policy, option, how)
            gone = [job for job in jobs if id(job) in before and job not in room.running and job not in room.waiting and how != "cancel"]
            coming += [(now + costs.resubmit, job) for job in gone]
    return room.rows


# -- conservative backfilling --------------------------------------------------------------------------------------------------------


def planned_end(start: float, estimate: float) -> float:
    end = start + estimate
    return end if end > start else math.nextafter(start, math.inf)


class Plan:
    """Promises: a start, an end and nodes for every waiting job, in queue order."""

    def __init__(self, nodes: list[list[int]], pools: list[int], limits: list[bool]) -> None:
        self.make = lambda: Floor(nodes, pools, limits)
        self.running: list[tuple[float, Job, Place]] = []
        self.promised: dict[int, tuple[float, float, Place, Job]] = {}

    def at(self, time: float, now: float) -> Floor:
        """What is free at a time by estimates, promises kept; a job that outran its estimate ends now."""
        floor = self.make()
        for end, job, place in self.running:
            if max(end, now) > time:
                floor.move(job["ask"], place, -1)
        for start, end, place, job in self.promised.values():
            if start <= time < end:
                floor.move(job["ask"], place, -1)
        return floor

    def earliest(self, job: Job, now: float) -> tuple[float, float, Place, Job]:
        """The first instant from which the job fits throughout, on the first nodes that have room throughout."""
        turns = {now, *(end for end, _, _ in self.running), *(time for slot in self.promised.values() for time in slot[:2])}
        instants = sorted(time for time in turns if time >= now)
        for start in instants:
            end = planned_end(start, job["estimate"])
            states = [self.at(time, now) for time in instants if start <= time < end]
            ask, rest, place = job["ask"], job["ask"]["chunks"], {}
            if any(amount > state.pools[i] for state in states for i, amount in enumerate(ask["pools"])):
                continue
            for node in range(len(states[0].nodes)):
                whole = Floor(states[0].whole, [], [])
                whole.nodes[node] = [min(state.nodes[node][i] for state in states) for i in range(3)]
                chunks = min(whole.room(node, ask), rest)
                if chunks:
                    place[node] = chunks
                    rest -= chunks
            if not rest:
                return start, end, place, job
        raise AssertionError("the job is larger than the machine")


def slow_conservative(
    jobs: list[Job], nodes: list[list[int]], *, pools: list[int] | None = None, limits: list[bool] | None = None
) -> dict[int, tuple[float, Place]]:
    """Return start and nodes of every job under conservative backfilling with compression."""
    pools, limits = pools or [], limits or []
    plan = Plan(nodes, pools, limits)
    coming = sorted(jobs, key=lambda job: job["submit"])
    waiting: list[Job] = []
    start: dict[int, tuple[float, Place]] = {}
    ends: list[tuple[float, Job]] = []
    wake = math.inf
    while coming or ends or waiting:
        now = min([job["submit"] for job in coming] + [end for end, _ in ends] + [wake])
        gone = [job for end, job in ends if end == now]
        ends = [(end, job) for end, job in ends if end != now]
        plan.running = [row for row in plan.running if all(row[1] is not job for job in gone)]
        waiting += [job for job in coming if job["submit"] == now]
        coming = [job for job in coming if job["submit"] != now]
        if not waiting:
            wake = math.inf
            continue
        late = any(end <= now for end, _, _ in plan.running)
        if late or any(slot[0] < now for slot in plan.promised.values()):
            plan.promised = {}
        for number, old in list(plan.promised.items()):  # compress: each to the first hole, all others in place
            order = list(plan.promised)
            del plan.promised[number]
            new = plan.earliest(old[3], now)
            plan.promised[number] = new if new[0] < old[0] else old
            plan.promised = {key: plan.promised[key] for key in order}
        for job in waiting:
            if job["id"] not in plan.promised:
                plan.promised[job["id"]] = plan.earliest(job, now)
        held = plan.make()
        for _, job, place in plan.running:
            held.move(job["ask"], place, -1)
        for number, (begin, _, place, job) in list(plan.promised.items()):
            if begin > now:
                continue
            if any(held.room(node, job["ask"]) < chunks for node, chunks in place.items()) or any(
                amount > held.pools[i] for i, amount in enumerate(job["ask"]["pools"])
            ):
                continue
            held.move(job["ask"], place, -1)
            start[number] = now, place
            plan.running.append((now + job["estimate"], job, place))
            ends.append((now + job["run"], job))
            waiting = [other for other in waiting if other is not job]
            del plan.promised[number]
            late = late or not now + job["estimate"] > now
        first = min((slot[0] for slot in plan.promised.values()), default=math.inf)
        wake = math.inf if late or first <= now else first
    return start


__all__: list[Any] = ["Costs", "slow_conservative", "slow_stopping"]
