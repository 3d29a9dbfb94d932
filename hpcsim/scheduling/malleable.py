"""Malleable jobs: running jobs shrink and grow as others come and go.

Two rules of who gets what: equal parts for all (equipartition), and the most goodput for all together. Both look at whom there is, set the sizes
anew when something happens, and never stop a job or take it below its least.

References: D. L. Eager, J. Zahorjan and E. D. Lazowska, "Speedup versus efficiency in parallel systems", 1989; C. McCann, R. Vaswani and J. Zahorjan, "A
dynamic processor allocation policy for multiprogrammed shared-memory multiprocessors", ACM TOCS 1993 (equipartition); A. Qiao et al., "Pollux:
co-adaptive cluster scheduling for goodput-optimized deep learning", OSDI 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.machine import Allocation, Free
from hpcsim.scheduling.policies import Decision, QueueKey, View, policies
from hpcsim.scheduling.room import Room
from hpcsim.scheduling.scales import Scale, chunk_room, grown, like, place_chunks, scale_of, shrunk, size_of

__all__ = ["Equipartition", "Goodput", "equal_parts", "greedy_parts"]

BAD_GAIN = problem_kind("goodput-option", "{name} of the policy 'goodput' is {value}; it must be {bound}", "")

Next = Callable[[int, int], tuple[float, int]]
"""From (job, its chunks) to what counts against its getting more, less first, and how many chunks it would take at once; 0 for no more."""


# -- who gets how much, numbers only -------------------------------------------------------------------------------------------------


def equal_parts(least: Sequence[int], most: Sequence[int], chunks: int) -> list[int]:
    """Return equal parts of ``chunks``, each within its ends; what is left over goes to the first.

    Everybody has the same number, the level, but whoever must have more, and whoever may not have as many. Needs at least the sum of ``least``.

    Examples
    --------
    >>> equal_parts([1, 1, 1], [10, 10, 10], 11)
    [4, 4, 3]
    >>> equal_parts([1, 6, 1], [2, 10, 10], 11)
    [2, 6, 3]
    """

    def held(level: int) -> int:
        return sum(min(max(low, level), high) for low, high in zip(least, most, strict=True))

    low, high = 0, max(most, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if held(middle) <= chunks else (low, middle - 1)
    parts = [min(max(a, low), b) for a, b in zip(least, most, strict=True)]
    left = chunks - sum(parts)
    for at, part in enumerate(parts):
        if left > 0 and part == low and part < most[at]:
            parts[at] += 1
            left -= 1
    return parts


def greedy_parts(gains: Sequence[Sequence[float]], chunks: int) -> list[int]:
    """Return how many more chunks than the least each job gets, so that the sum of the gains is largest.

    One chunk after the other goes where it brings the most, of equal ones to who has been given the least. That is the largest sum where every job
    gains less from each chunk than from the one before (B. Fox, "Discrete optimization via marginal analysis", Management Science 1966). A job that gains more from several together than from the first is
    offered them together, at their mean.

    Parameters
    ----------
    gains : sequence of sequence of float
        For each job what it has with 0, 1, … chunks beyond its least.
    chunks : int
        To be given out.

    Examples
    --------
    >>> greedy_parts([[0, 5, 8, 9], [0, 4, 7, 9]], 4)
    [2, 2]
    """
    return _greedy([_offers(tuple(gain)) for gain in gains], gains, [1.0] * len(gains), chunks)


Offers = tuple[tuple[int, float], ...]
"""What is offered to a job one after the other: chunks together, and what each of them brings on average."""


@lru_cache(maxsize=4096)
def _offers(gains: tuple[float, ...]) -> Offers:
    """Return the steps of the least concave function above the gains, as far as they gain anything."""
    corners = [0]
    for at in range(1, len(gains)):
        while len(corners) > 1:
            before, last = corners[-2], corners[-1]
            slope = (gains[last] - gains[before]) / (last - before)
            if not (gains[at] - gains[last]) / (at - last) > slope + 1e-12 * abs(slope):
                break
            corners.pop()
        corners.append(at)
    steps = [(b - a, (gains[b] - gains[a]) / (b - a)) for a, b in pairwise(corners)]
    return tuple((step, mean) for step, mean in steps if mean > 0)


def _rounded(mean: float) -> float:
    """Return a gain to nine digits: what differs by less is equal."""
    return float(f"{mean:.8e}")


def _greedy(offers: Sequence[Offers], gains: Sequence[Sequence[float]], weights: Sequence[float], chunks: int) -> list[int]:
    """Return :func:`greedy_parts` from the offers; what a job gains counts so many times as ``weights`` says."""
    given, taken = [0] * len(offers), [0] * len(offers)
    heap: list[tuple[float, int, int]] = []

    def offer(job: int) -> None:
        if taken[job] < len(offers[job]):
            heappush(heap, (_rounded(-offers[job][taken[job]][1] * weights[job]), given[job], job))

    for job in range(len(offers)):
        offer(job)
    while heap and chunks > 0:
        _, _, job = heappop(heap)
        step = offers[job][taken[job]][0]
        if step > chunks:
            if gains[job][given[job] + chunks] > gains[job][given[job]]:
                given[job] += chunks
                break
            continue
        given[job] += step
        taken[job] += 1
        chunks -= step
        offer(job)
    return given


# -- who is there, and what there is -------------------------------------------------------------------------------------------------


def _waiting(view: View) -> Iterator[int]:
    """Yield the waiting jobs, of which few may be looked at."""
    return (view.queue[at] for at in range(view.head, len(view.queue)))


class Parties:
    """The jobs among which the machine is divided: those that run and may change their size, and of the waiting ones the first that fit.

    Parameters
    ----------
    view, room : View, Room
        The present.
    flexible : bool
        Running jobs give back what they have beyond their least, before anybody is let in.
    """

    def __init__(self, view: View, room: Room, *, flexible: bool = True) -> None:
        self.view, self.room = view, room
        self.jobs: list[int] = []
        self.scales: dict[int, Scale] = {}
        self.parts: dict[int, int] = {}
        self.alike = True
        """Whether every chunk is like every other, so that numbers tell what fits."""
        self.left = 0
        """Chunks to be given out, where all are alike."""
        running = sorted((job for job in room.running if job in room.scales and job not in room.fixed), key=self._age)
        if not self._by_number(running, flexible):
            self.jobs, self.scales, self.parts, self.alike = [], {}, {}, False
            self._by_place(running, flexible)

    def _by_number(self, running: Sequence[int], flexible: bool) -> bool:
        """Find who is there by counting chunks; return whether they are alike."""
        view, room = self.view, self.room
        alike: dict[int, bool] = {}
        first: int | None = None
        for job in chain(running, _waiting(view)):
            kind = int(room.kind[job])
            if first is None:
                first = kind
                self.left = chunk_room(room.free, kind)
            if kind not in alike:
                alike[kind] = like(room.demands[first], room.demands[kind])
            if not alike[kind]:
                return False
            scale = scale_of(view, room, job)
            waits = view.start_s[job] != view.start_s[job]
            if waits and scale.least > self.left:
                break
            part = scale.least if waits or flexible else size_of(room, job)
            self.left += (0 if waits else size_of(room, job)) - part
            self._enter(job, scale, part)
        return True

    def _by_place(self, running: Sequence[int], flexible: bool) -> None:
        """Find who is there by placing chunks on nodes."""
        view, room = self.view, self.room
        self.free = room.free.copy()
        self.places: dict[int, Allocation] = {}
        for job in running:
            self.places[job] = place = self._at_least(job) if flexible else room.allocations[job]
            self._enter(job, room.scales[job], sum(place.counts))
        for job in _waiting(view):
            scale = scale_of(view, room, job)
            placed = place_chunks(room, self.free, scale.kinds[0], scale.least)
            if placed is None:
                if self.free.over_limit(scale.kinds[0]):
                    continue
                break
            self.free.take(scale.kinds[0], placed)
            self.places[job] = placed
            self._enter(job, scale, scale.least)

    def _age(self, job: int) -> tuple[float, int]:
        return self.view.submit_s[job], job

    def _enter(self, job: int, scale: Scale, part: int) -> None:
        self.jobs.append(job)
        self.scales[job], self.parts[job] = scale, part

    def _at_least(self, job: int) -> Allocation:
        room, scale = self.room, self.room.scales[job]
        kind = int(room.kind[job])
        kept, given = shrunk(room.allocations[job], room.demands[kind], scale.least)
        if given.nodes:
            self.free.give(kind, given)
        return kept

    def give_out(self, ask: Next) -> None:
        """Give out what is left, one offer after the other to the job against which the least counts, as far as it fits."""
        heap = [(against, at, step) for at, job in enumerate(self.jobs) for against, step in [ask(job, self.parts[job])] if step]
        heapify(heap)
        while heap:
            _, at, step = heappop(heap)
            job = self.jobs[at]
            kind = self.scales[job].kinds[0]
            more = place_chunks(self.room, self.free, kind, step, beside=self.places[job])
            if more is None:
                continue
            self.free.take(kind, more)
            self.places[job] = grown(self.places[job], more)
            self.parts[job] += step
            against, step = ask(job, self.parts[job])
            if step:
                heappush(heap, (against, at, step))


def realised(view: View, room: Room, parties: Parties) -> Decision:
    """Return the decision that gives each job its part, as far as nodes allow: those that shrink first, then those that start, then those that grow.

    A job whose part is what it has stays where it is; one that shrinks stays on some of its nodes, one that grows on all of them.
    """
    free = room.free.copy()
    placed: dict[int, Allocation] = {}
    start: list[int] = []
    running = set(room.running)
    for job in parties.jobs:
        part, kind = parties.parts[job], int(room.kind[job])
        if job in running and part < size_of(room, job):
            placed[job], given = shrunk(room.allocations[job], room.demands[kind], part)
            free.give(kind, given)
    for job in parties.jobs:
        if job not in running:
            scale = parties.scales[job]
            place = _most_of(room, free, scale, scale.least, parties.parts[job])
            if place is None:
                continue
            placed[job] = place
            start.append(job)
    for job in parties.jobs:
        had = size_of(room, job)
        if job in running and parties.parts[job] > had:
            more = _most_of(room, free, parties.scales[job], 1, parties.parts[job] - had, beside=room.allocations[job])
            if more is not None:
                placed[job] = grown(room.allocations[job], more)
    resize = [(job, sum(place.counts), place) for job, place in placed.items() if job in running]
    places = [placed[job] for job in start]
    return Decision(start, places=places, resize=resize, sizes=[sum(place.counts) for place in places])


def _most_of(room: Room, free: Free, scale: Scale, least: int, chunks: int, *, beside: Allocation | None = None) -> Allocation | None:
    """Take as many chunks as fit, from ``least`` to ``chunks``, and return where; None where not even the least fit."""
    kind = scale.kinds[0]
    place = place_chunks(room, free, kind, chunks, beside=beside)
    low, high = least, chunks - 1
    while place is None and low <= high:
        middle = (low + high + 1) // 2
        if place_chunks(room, free, kind, middle, beside=beside) is None:
            high = middle - 1
        elif middle == high:
            place = place_chunks(room, free, kind, middle, beside=beside)
        else:
            low = middle
    if place is not None:
        free.take(kind, place)
    return place


# -- the policies --------------------------------------------------------------------------------------------------------------------


@policies.register("equipartition")
class Equipartition:
    """Malleable jobs in equal parts: whoever is there has as many processors as any other, within its own least and most.

    Waiting jobs are let in by submission as long as the least of everybody fits; the first for which it does not holds back all behind it. What is
    left is given out evenly; what cannot be divided goes to those who came first. Sizes change when a job comes or goes, at no other time.
    """

    name = "equipartition"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    sizes = True
    resizes = True

    @staticmethod
    def decide(view: View, /) -> Decision:
        """Return who starts, and everybody's size."""
        room = view.room
        assert room is not None
        parties = Parties(view, room)
        if not parties.jobs:
            return Decision(())
        if parties.alike:
            scales = [parties.scales[job] for job in parties.jobs]
            low = [scale.least for scale in scales]
            parts = equal_parts(low, [scale.most for scale in scales], parties.left + sum(low))
            parties.parts = dict(zip(parties.jobs, parts, strict=True))
        else:

            def ask(job: int, chunks: int) -> tuple[float, int]:
                scale = parties.scales[job]
                return chunks * scale.each, int(chunks < scale.most)

            parties.give_out(ask)
        return realised(view, room, parties)


@policies.register("goodput")
@dataclass(frozen=True, kw_only=True)
class Goodput:
    """Sizes by goodput, in the manner of Pollux: the sum over all jobs of how fast each is, over how fast it would be on an equal part, is largest.

    How fast a job is comes from its law; where that is the goodput of training (throughput times statistical efficiency), so are the sizes. Chunks go
    one by one where they bring the most for each processor. Waiting jobs are let in by submission as long as the least of everybody fits. Jobs that run
    change their size only where that lets one in, or where all together gain ``least_gain_frac`` by it, for a change costs time.

    Parameters
    ----------
    least_gain_frac : float
        By how much the sum must be larger than with running jobs left as they are, at least 0.
    """

    name = "goodput"
    key: QueueKey | None = None
    rooms = True
    nodes_only = True
    sizes = True
    resizes = True

    least_gain_frac: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.least_gain_frac < math.inf:
            bound = "finite and at least 0"
            raise BAD_GAIN.error(path="options.least_gain_frac", name="least_gain_frac", value=self.least_gain_frac, bound=bound)

    def decide(self, view: View, /) -> Decision:
        """Return who starts, and everybody's size."""
        room = view.room
        assert room is not None
        anew = Parties(view, room)
        if not anew.jobs:
            return Decision(())
        calm = Parties(view, room, flexible=False)
        worth = _worths(view, room, {**calm.scales, **anew.scales})
        _divide(anew, worth)
        staying = set(room.running)
        _divide(calm, worth, only=[job for job in calm.jobs if job not in staying])
        others = sum(1 for job in room.running if job not in anew.scales)  # each as fast as ever
        gains = others + _sum(anew, worth) > (1.0 + self.least_gain_frac) * (others + _sum(calm, worth))
        return realised(view, room, anew if gains or len(anew.jobs) > len(calm.jobs) else calm)


Worth = tuple[tuple[float, ...], float]
"""The speeds of a job at its sizes, and what they are counted in: one over its speed on an equal part of the machine."""


def _worths(view: View, room: Room, scales: Mapping[int, Scale]) -> dict[int, Worth]:
    """Return how fast each job is at each of its sizes, over how fast it is on an equal part of the machine."""
    all_jobs = len(room.running) + len(view.queue) - view.head
    share = view.capacity / max(1, all_jobs)
    return {
        job: (scale.rates, 1.0 / scale.rate(min(max(scale.least, int(share / scale.each)), scale.most))) for job, scale in scales.items()
    }


def _sum(parties: Parties, worth: Mapping[int, Worth]) -> float:
    return math.fsum(worth[job][0][parties.parts[job] - parties.scales[job].least] * worth[job][1] for job in parties.jobs)


def _divide(parties: Parties, worth: Mapping[int, Worth], only: Sequence[int] | None = None) -> None:
    """Give out what is left where it brings the most; ``only`` to some of the jobs."""
    jobs = parties.jobs if only is None else list(only)
    if not jobs:
        return
    if parties.alike:
        gains = [worth[job][0] for job in jobs]
        given = _greedy([_offers(gain) for gain in gains], gains, [worth[job][1] for job in jobs], parties.left)
        for job, more in zip(jobs, given, strict=True):
            parties.parts[job] += more
        return
    chosen = set(jobs)

    def ask(job: int, chunks: int) -> tuple[float, int]:
        if job not in chosen:
            return 0.0, 0
        (rates, weight), scale = worth[job], parties.scales[job]
        at = chunks - scale.least
        offered = _offers(rates[at:])
        return (_rounded(-offered[0][1] * weight / scale.each), offered[0][0]) if offered else (0.0, 0)

    parties.give_out(ask)
