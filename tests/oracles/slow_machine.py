"""First come, first served and EASY backfilling on nodes, written for the reader: everything looked up again at every step.

Nodes are lists [cores, accelerators, memory, pools…], jobs are dicts with id, submit, run, estimate and ask, a dict of chunks, cores, gpus, memory, apart,
exclusive, nodes (those that it may use) and pools. Chunks go to the first nodes that have room; where there are groups of nodes, all to the first group
that can take the whole job.
"""

from __future__ import annotations

import copy
import math
from typing import Any

Job = dict[str, Any]
Place = dict[int, int]


class Floor:
    """What is free."""

    def __init__(self, nodes: list[list[int]], pools: list[int], limits: list[bool], groups: list[list[int]] | None = None) -> None:
        self.groups = groups or [list(range(len(nodes)))]
        self.whole = copy.deepcopy(nodes)
        self.nodes = copy.deepcopy(nodes)
        self.pools = list(pools)
        self.limits = limits

    def room(self, node: int, ask: dict[str, Any]) -> int:
        if node not in ask["nodes"] or (ask["exclusive"] and self.nodes[node] != self.whole[node]):
            return 0
        have = self.nodes[node]
        chunks = min(have[i] // ask[name] for i, name in enumerate(("cores", "gpus", "memory")) if ask[name])
        return min(chunks, 1) if ask["apart"] else chunks

    def place(self, ask: dict[str, Any], most: dict[int, int] | None = None) -> Place | None:
        if any(ask["pools"][i] > left for i, left in enumerate(self.pools)):
            return None
        for group in self.groups:
            rest, place = ask["chunks"], {}
            for node in group:
                chunks = min(self.room(node, ask), rest, rest if most is None else most[node])
                if chunks:
                    place[node] = chunks
                    rest -= chunks
            if not rest:
                return place
        return None

    def over_limit(self, ask: dict[str, Any]) -> bool:
        return any(limit and ask["pools"][i] > self.pools[i] for i, limit in enumerate(self.limits))

    def move(self, ask: dict[str, Any], place: Place, sign: int) -> None:
        for node, chunks in place.items():
            for i, name in enumerate(("cores", "gpus", "memory")):
                self.nodes[node][i] += sign * (self.whole[node][i] if ask["exclusive"] else chunks * ask[name])
        for i, amount in enumerate(ask["pools"]):
            self.pools[i] += sign * amount


def later(floor: Floor, running: list[tuple[float, Job, Place]], now: float, time: float) -> Floor:
    """What is free at ``time`` by estimates; a job that outran its own ends now."""
    after = copy.deepcopy(floor)
    for end, job, place in running:
        if max(end, now) <= time:
            after.move(job["ask"], place, 1)
    return after


def shadow(floor: Floor, running: list[tuple[float, Job, Place]], now: float, head: Job) -> tuple[float, Floor | None]:
    for time in sorted({now, *(max(end, now) for end, _, _ in running)}):
        after = later(floor, running, now, time)
        if after.place(head["ask"]) is not None:
            return time, after
    return math.inf, None


def one_pass(
    floor: Floor, queue: list[Job], running: list[tuple[float, Job, Place]], now: float, backfill: bool
) -> list[tuple[Job, Place]]:
    started: list[tuple[Job, Place]] = []

    def begin(job: Job, place: Place) -> None:
        floor.move(job["ask"], place, -1)
        running.append((now + job["estimate"], job, place))
        started.append((job, place))

    rest = list(queue)
    while rest:
        place = floor.place(rest[0]["ask"])
        if place is not None:
            begin(rest[0], place)
        elif not floor.over_limit(rest[0]["ask"]):
            break
        rest.pop(0)
    if not rest or not backfill:
        return started
    head, *others = rest
    time, after = shadow(floor, running, now, head)
    for job in others:
        place = floor.place(job["ask"])
        if place is None:
            continue
        if after is not None and now + job["estimate"] > time:
            trial = copy.deepcopy(after)
            trial.move(job["ask"], place, -1)
            if trial.place(head["ask"]) is None:
                beside = copy.deepcopy(after)
                its = beside.place(head["ask"])
                assert its is not None
                beside.move(head["ask"], its, -1)
                most = {node: beside.room(node, job["ask"]) for node in range(len(beside.nodes))}
                if any(amount > left for amount, left in zip(job["ask"]["pools"], beside.pools, strict=True)):
                    continue
                place = floor.place(job["ask"], most)
                if place is None:
                    continue
            after.move(job["ask"], place, -1)
        begin(job, place)
    return started


def slow_machine(
    jobs: list[Job],
    nodes: list[list[int]],
    *,
    backfill: bool,
    pools: list[int] | None = None,
    limits: list[bool] | None = None,
    groups: list[list[int]] | None = None,
) -> dict[int, tuple[float, Place]]:
    """Return start and place of every job: at one instant all ends, then all arrivals, then one pass."""
    floor = Floor(nodes, pools or [], limits or [], groups)
    queue: list[Job] = []
    running: list[tuple[float, Job, Place]] = []
    start: dict[int, tuple[float, Place]] = {}
    ends: list[tuple[float, Job, Place]] = []
    coming = sorted(jobs, key=lambda job: job["submit"])
    while coming or ends or queue:
        times = [job["submit"] for job in coming] + [end for end, _, _ in ends]
        if not times:
            break
        now = min(times)
        for end, job, place in list(ends):
            if end == now:
                floor.move(job["ask"], place, 1)
                ends = [other for other in ends if other[1] is not job]
                running = [other for other in running if other[1] is not job]
        queue += [job for job in coming if job["submit"] == now]
        coming = [job for job in coming if job["submit"] != now]
        for job, place in one_pass(floor, queue, running, now, backfill):
            start[job["id"]] = now, place
            ends.append((now + job["run"], job, place))
            queue = [other for other in queue if other is not job]
    return start
