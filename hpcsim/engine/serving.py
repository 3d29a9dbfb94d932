"""Services, event by event: requests are routed, prefilled, decoded in a batch that changes as they come and go.

A replica works in passes, one after the other. Events are few: the arrival of a request, and the end of a stretch of passes in which nothing
changes – a prefill, a chunk, or as many decode steps as there are until the next request is done or a new one can join. The steps of such a
stretch are an arithmetic series, since every one of them reads one token more of every cache, so its length is a formula.

Routing to the least loaded counts the time that prompts still take at a replica, then the requests there: with one pass a request, that is the
first free server of M/G/c.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from hpcsim.engine.clock import ARRIVAL, PASS, Clock, Due
from hpcsim.workload.requests import Requests
from hpcsim.workload.serving import ServingPlan

__all__ = ["Series", "ServiceRun"]

Floats = npt.NDArray[np.float64]


class Series:
    """Decode steps of one batch: step i takes max(floor, first + (i − 1)·more).

    Parameters
    ----------
    first_s, more_s, floor_s : float
        The first step without the floor; what each further one takes more; the least that a step takes.
    """

    __slots__ = ("_first", "_floor", "_more", "_slow")

    def __init__(self, first_s: float, more_s: float, floor_s: float) -> None:
        self._first, self._more, self._floor = first_s, more_s, floor_s
        below = floor_s - first_s
        self._slow = 0 if below <= 0 else (math.ceil(below / more_s) if more_s > 0 else math.inf)
        """Steps that take the floor."""

    def time_s(self, steps: int) -> float:
        """Return how long so many steps take.

        >>> Series(2.0, 1.0, 3.5).time_s(4)
        16.0
        """
        slow = min(self._slow, steps)
        rest = steps - slow
        first = self._first + slow * self._more if rest else 0.0
        return slow * self._floor + rest * first + self._more * (rest * (rest - 1) / 2.0)

    def steps(self, seconds: float, most: int) -> int:
        """Return the fewest steps, at most ``most``, that take no less than ``seconds``; at least one."""
        if seconds <= 0:
            return 1
        low, high = 0, 1
        while high < most and self.time_s(high) < seconds:
            low, high = high, min(2 * high, most)
        while high - low > 1:
            mid = (low + high) // 2
            low, high = (mid, high) if self.time_s(mid) < seconds else (low, mid)
        return high


class _Replica:
    """One copy of the model: what waits, what is being prefilled, what is being decoded."""

    def __init__(self, run: ServiceRun, number: int, *, prefills: bool, decodes: bool) -> None:
        self.run, self.number, self.prefills, self.decodes = run, number, prefills, decodes
        self.waiting: deque[int] = deque()
        self.queued_s = 0.0
        """Prefill time of what waits [s]."""
        self.chunking: deque[int] = deque()
        self.done: dict[int, int] = {}
        """Tokens of each chunked prompt that are in the cache."""
        self.heap: list[tuple[int, int]] = []
        """(step count at which it is done, request) of what is being decoded."""
        self.context = 0
        """Tokens in the caches of what is being decoded."""
        self.held = 0
        """Tokens that room is kept for."""
        self.count = 0
        self.busy_until_s = 0.0
        self.due: Due | None = None
        self.series: Series | None = None
        self.since_s = 0.0
        self.steps = 0

    @property
    def active(self) -> int:
        """Requests that it has, waiting or not."""
        return len(self.waiting) + len(self.chunking) + len(self.heap)

    def ahead_s(self, now: float) -> float:
        """Return the prefill time that a new request would find before it."""
        ahead = self.queued_s
        if self.series is None and self.due is not None:
            ahead += max(self.busy_until_s - now, 0.0)
        return ahead

    def take(self, request: int, now: float) -> None:
        """Take a request in: begin where nothing runs, when all arrivals of this instant are in; else at the end of the decode step under way."""
        self.waiting.append(request)
        if self.prefills:
            self.queued_s += self.run.alone_s[request]
        if self.due is None:
            self._begin_soon(now)
        elif self.series is not None and self.since_s == now and len(self.waiting) == 1:
            self.due.cancel()
            self._begin_soon(now)
        elif self.series is not None and len(self.waiting) == 1 and self._fits(request):
            steps = self.series.steps(now - self.since_s, self.steps)
            if steps < self.steps:
                self.due.cancel()
                self.steps = steps
                self.due = self.run.clock.at(max(self.since_s + self.series.time_s(steps), now), self._decoded)

    def _begin_soon(self, now: float) -> None:
        self.series, self.busy_until_s = None, now
        self.due = self.run.clock.at(now, self._begun, priority=PASS)

    def _begun(self, _: Due) -> None:
        self._begin(self.run.clock.now)

    def _fits(self, request: int) -> bool:
        run = self.run
        if not self.decodes:
            return True
        return len(self.heap) + len(self.chunking) < run.most and self.held + run.need[request] <= run.room

    def _admit(self) -> int:
        request = self.waiting.popleft()
        if self.prefills:
            self.queued_s = self.queued_s - self.run.alone_s[request] if self.waiting else 0.0
        if self.decodes:
            self.held += self.run.need[request]
        return request

    def _begin(self, now: float) -> None:
        """Start the next stretch: a prefill of what fits, a chunk, decode steps, or nothing."""
        self.series = self.due = None
        run = self.run
        if not self.prefills:
            while self.waiting and self._fits(self.waiting[0]):
                self._join(self._admit())
        elif run.chunk:
            while self.waiting and self._fits(self.waiting[0]):
                request = self._admit()
                self.chunking.append(request)
                self.done[request] = 0
                run.start_s[request] = now
            if self.chunking:
                self._chunk(now)
                return
        elif self.waiting and self._fits(self.waiting[0]):
            self._prefill(now)
            return
        if self.heap:
            self._decode(now)

    def _prefill(self, now: float) -> None:
        run, tokens, attention = self.run, 0, 0.0
        taken: list[int] = []
        room = run.most - len(self.heap) if self.decodes else run.pass_tokens
        while self.waiting and len(taken) < room and self._fits(self.waiting[0]):
            prompt = run.prompts[self.waiting[0]]
            if taken and tokens + prompt > run.pass_tokens:
                break
            request = self._admit()
            tokens += prompt
            attention += run.attention_s[request]
            run.start_s[request] = now
            taken.append(request)
        linear = run.linear_s[tokens] + run.head_s[min(len(taken), len(run.head_s) - 1)]
        seconds = max(linear + attention, run.host_s)
        load = run.linear_load[tokens] + run.head_load[min(len(taken), len(run.head_s) - 1)] + run.attention_load * attention
        run.worked(now, now + seconds, load + run.waiting_load * (seconds - linear - attention))
        self.busy_until_s = now + seconds
        self.due = run.clock.at(self.busy_until_s, lambda _: self._prefilled(taken))

    def _prefilled(self, taken: list[int]) -> None:
        now = self.run.clock.now
        for request in taken:
            self._first_token(request, now)
        self._begin(now)

    def _first_token(self, request: int, now: float) -> None:
        """Note the first token, and go on to the others."""
        run = self.run
        run.first_s[request] = now
        if run.outputs[request] <= 1:
            self.held -= run.need[request] if self.decodes else 0
            run.finished(request, now)
        elif self.decodes:
            self._join(request)
        else:
            run.hand_over(request, now)

    def _join(self, request: int) -> None:
        run = self.run
        heappush(self.heap, (self.count + run.outputs[request] - 1, request))
        self.context += run.prompts[request]

    def _chunk(self, now: float) -> None:
        """A decode step of the batch with the next tokens of prompts beside it."""
        run, left, taken, attention = self.run, self.run.chunk, [], 0.0
        for request in self.chunking:
            before = self.done[request]
            tokens = min(left, run.prompts[request] - before)
            attention += run.passes.attention_s(tokens, before)
            taken.append((request, tokens))
            left -= tokens
            if not left:
                break
        batch, tokens = len(self.heap), run.chunk - left
        done = sum(self.done[request] + part == run.prompts[request] for request, part in taken)
        linear = run.linear_s[batch + tokens] + run.head_s[batch + done]
        cache = run.cache_s * (self.context + batch)
        seconds = max(linear + cache + attention, run.host_s)
        load = (
            run.linear_load[batch + tokens]
            + run.head_load[batch + done]
            + run.cache_load * (self.context + batch)
            + run.attention_load * attention
        )
        run.worked(now, now + seconds, load + run.waiting_load * (seconds - linear - cache - attention))
        self.busy_until_s = now + seconds
        self.due = run.clock.at(self.busy_until_s, lambda _: self._chunked(taken))

    def _chunked(self, taken: list[tuple[int, int]]) -> None:
        now = self.run.clock.now
        self._stepped(1, now)
        for request, tokens in taken:
            self.done[request] += tokens
            if self.done[request] == self.run.prompts[request]:
                self.chunking.popleft()
                del self.done[request]
                self._first_token(request, now)
        self._begin(now)

    def _decode(self, now: float) -> None:
        """Decode steps until the next request is done."""
        run, batch = self.run, len(self.heap)
        first = run.linear_s[batch] + run.head_s[batch] + run.cache_s * (self.context + batch)
        self.series = Series(first, run.cache_s * batch, run.host_s)
        self.since_s = now
        self.steps = self.heap[0][0] - self.count
        self.due = run.clock.at(now + self.series.time_s(self.steps), self._decoded)

    def _decoded(self, _: Due) -> None:
        run, series, steps, batch = self.run, self.series, self.steps, len(self.heap)
        assert series is not None
        now = run.clock.now
        read = steps * (self.context + batch) + batch * steps * (steps - 1) // 2
        device_s = steps * (run.linear_s[batch] + run.head_s[batch]) + run.cache_s * read
        load = steps * (run.linear_load[batch] + run.head_load[batch]) + run.cache_load * read
        run.worked(self.since_s, now, load + run.waiting_load * max(now - self.since_s - device_s, 0.0))
        self._stepped(steps, now)
        self._begin(now)

    def _stepped(self, steps: int, now: float) -> None:
        """Count decode steps, and let go of what is done."""
        run = self.run
        self.count += steps
        self.context += steps * len(self.heap)
        while self.heap and self.heap[0][0] <= self.count:
            _, request = heappop(self.heap)
            self.context -= run.prompts[request] + run.outputs[request] - 1
            self.held -= run.need[request]
            run.finished(request, now)


class ServiceRun:
    """One service on the clock, from its begin until its last request is done.

    Parameters
    ----------
    plan : ServingPlan
    requests : Requests
        By arrival.

    Attributes
    ----------
    start_s, first_s, end_s : array, shape (requests,)
        When each was taken up, had its first token, and was done, at the place where it is served; NaN where that has not come.
    work : list of (float, float, float)
        Stretches of work of any replica: begin, end, and seconds weighted by what the devices draw.
    """

    def __init__(self, plan: ServingPlan, requests: Requests) -> None:
        self.plan, self.requests, self.passes = plan, requests, plan.passes
        n = len(requests.arrival_s)
        self.start_s, self.first_s, self.end_s = (np.full(n, np.nan) for _ in range(3))
        self.work: list[tuple[float, float, float]] = []
        self.prompts, self.outputs = requests.prompts.tolist(), requests.outputs.tolist()
        self.need = (requests.prompts + requests.outputs).tolist()
        self.room, self.most = plan.room_tokens, plan.most_slots
        self.pass_tokens, self.chunk = plan.pass_tokens, plan.chunk
        passes = plan.passes
        self.linear_s, self.head_s = passes.linear_s.tolist(), passes.head_s.tolist()
        self.linear_load, self.head_load = passes.linear_load_s.tolist(), passes.head_load_s.tolist()
        self.cache_s, self.cache_load, self.host_s = passes.cache_s, passes.cache_load_s, passes.host_s
        self.attention_load, self.waiting_load = passes.attention_load_frac, passes.waiting_load_frac
        each = {prompt: passes.attention_s(prompt) for prompt in set(self.prompts)}
        self.attention_s = [each[prompt] for prompt in self.prompts]
        top = len(self.linear_s) - 1
        self.alone_s = [
            max(self.linear_s[min(p, top)] + self.head_s[1] + a, self.host_s) for p, a in zip(self.prompts, self.attention_s, strict=True)
        ]
        self.left = n
        self.begin_s = 0.0
        self._turn = 0
        self._over: simpy.Event | None = None

    def process(self, clock: Clock) -> Generator[Any, Any, None]:
        """Serve from now on until all is done."""
        self.clock, self.begin_s = clock, clock.now
        self._over = clock.event()
        plan = self.plan
        both = not plan.apart
        self.replicas = [_Replica(self, i, prefills=both, decodes=True) for i in range(plan.replicas)]
        self.prefillers = [_Replica(self, i, prefills=True, decodes=False) for i in range(plan.apart)] or self.replicas
        if not self.left:
            return
        self._due_s = (self.begin_s + self.requests.arrival_s).tolist()
        clock.at(self._due_s[0], self._arrive, priority=ARRIVAL, job=0)
        yield self._over

    def _arrive(self, event: Due) -> None:
        request = event.job
        if request + 1 < len(self._due_s):
            self.clock.at(self._due_s[request + 1], self._arrive, priority=ARRIVAL, job=request + 1)
        now = self.clock.now
        self._chosen(self.prefillers, int(self.requests.home[request]), now).take(request, now)

    def _chosen(self, pool: list[_Replica], home: int, now: float) -> _Replica:
        routing = self.plan.spec.routing
        if len(pool) == 1:
            return pool[0]
        if routing == "own":
            return pool[home % len(pool)]
        if routing == "round-robin":
            self._turn += 1
            return pool[(self._turn - 1) % len(pool)]
        return min(pool, key=lambda replica: (replica.ahead_s(now), replica.active, replica.number))

    def hand_over(self, request: int, now: float) -> None:
        """Send a prefilled request's cache to the replica that has the fewest requests to decode."""

        def arrive(_: Due) -> None:
            there = min(self.replicas, key=lambda replica: (replica.active, replica.number))
            there.take(request, self.clock.now)

        self.clock.at(now + self.plan.service.transfer_s * self.prompts[request], arrive)

    def worked(self, begin_s: float, end_s: float, load_s: float) -> None:
        """Note a stretch of work."""
        self.work.append((begin_s, end_s, load_s))

    def finished(self, request: int, now: float) -> None:
        """Note that a request is done."""
        self.end_s[request] = now
        self.left -= 1
        if not self.left and self._over is not None:
            self._over.succeed()
