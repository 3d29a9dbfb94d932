"""Queueing policies: which waiting jobs start now.

A policy is pure. It is given a :class:`View` of the queue and the machine, and returns a :class:`Decision`; it has no clock, no engine
and no memory of its own. What it decided last time comes back in the view, together with what has happened since, so that a policy
may look at the new jobs only. A policy that keeps promises or accounts puts them into its decision as a memo, which comes back too.

References: D. G. Feitelson and A. M. Weil, "Utilization and predictability in scheduling the IBM SP2 with backfilling", IPPS 1998;
D. Tsafrir, Y. Etsion and D. G. Feitelson, "Backfilling using system-generated predictions rather than user runtime estimates", TPDS 2007
(shortest job backfilled first).
"""

from __future__ import annotations

import inspect
import math
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from hpcsim.base.errors import problem_kind
from hpcsim.base.registry import Registry
from hpcsim.scheduling.machine import CORES, Allocation
from hpcsim.scheduling.room import Order, Room, Shadow, Verdict, easy_in_room, heads_in_room, shortest_first
from hpcsim.scheduling.waiting import Waiting

__all__ = [
    "STOPS",
    "Decision",
    "Easy",
    "EasyShortestFirst",
    "Fcfs",
    "Policy",
    "QueueKey",
    "Reservation",
    "ShortestFirst",
    "View",
    "make_policy",
    "policies",
    "promise_of",
]

OPTION_FORM = problem_kind(
    "policy-option-form", "{part!r} is no option of the policy {name!r}", "options are key=value, separated by commas"
)
NO_OPTION = problem_kind("policy-option-unknown", "the policy {name!r} has no option {key!r}", "known: {known}")
OPTION_VALUE = problem_kind("policy-option-value", "{value!r} is no value of the option {key!r} of {name!r}", "for example {example!r}")

QueueKey = Callable[[float, float, int], float]
"""A job's place in the queue from (submit_s, estimate_s, processors): lower first; ties by submission, then file order."""


class Reservation(NamedTuple):
    """What is promised to the job at the head of the queue.

    Attributes
    ----------
    job : int
        The head.
    shadow_s : float [s]
        Earliest time at which enough processors are free for it, judged by estimates; infinite where the machine, as it is now, cannot
        hold it.
    extra : int
        Processors that are free at that time beyond what the head needs.
    """

    job: int
    shadow_s: float
    extra: int


class Decision(NamedTuple):
    """What to do now.

    Attributes
    ----------
    start : sequence of int
        Jobs to start, in this order.
    reservation : Reservation or None
        What was promised to the head of the queue, if anything.
    memo : object
        What the policy needs to know next time; the next view hands it back. Nobody else looks into it. It must compare equal to an equal
        one, and be treated as immutable.
    wake_s : float [s]
        Ask again at this time, after ``now_s``, even if nothing happens until then; infinite for no such wish.
    places : sequence of Allocation or None
        On a machine of nodes, where each of ``start`` goes; without it the placement puts one after the other.
    stop : sequence of (job, how)
        On a machine of nodes, running jobs to stop before the others start, each in one of the ways of :data:`STOPS`.
    resize : sequence of (job, chunks, Allocation)
        Running jobs that go on at another size, and where: all at once, after those that stop and before those that start.
    sizes : sequence of int or None
        Chunks of each of ``start``; without it, what they ask for.
    """

    start: Sequence[int]
    reservation: Reservation | None = None
    memo: Any = None
    wake_s: float = math.inf
    places: Sequence[Allocation] | None = None
    stop: Sequence[tuple[int, str]] = ()
    resize: Sequence[tuple[int, int, Allocation]] = ()
    sizes: Sequence[int] | None = None


STOPS = ("suspend", "checkpoint", "requeue", "cancel")
"""Ways to stop a running job: keep all that it has done, or what it has saved, or nothing, and let it wait again; or end it for good."""

Pair = tuple[Sequence[int], Reservation | None]
"""A decision as a plain pair, which is a third of the cost of a :class:`Decision` to make."""


@dataclass(slots=True)
class View:
    """What a policy sees. It must not change it, nor keep it: the engine hands out the same object, updated, at the next pass.

    Jobs are numbers; ``submit_s``, ``estimate_s`` and ``processors`` are indexed by them.

    Attributes
    ----------
    now_s : float [s]
        The time.
    free, capacity : int
        Processors that are free, and those that are in service.
    queue : sequence of int
        Waiting jobs in the order of the policy, from position ``head`` on; what is before it has started.
    head : int
        Position of the first waiting job.
    submit_s, estimate_s, processors : sequence
        Properties of the jobs.
    user, account, partition : sequence of int
        Who submitted each job, under which account (a log's group) and to which partition (a log's queue); -1 unknown.
    qos : sequence of int
        Quality of service of each job; -1 none. Empty where no job has any.
    start_s, end_s : sequence of float [s]
        When each job started and ended; NaN while it has not.
    running_end_s, running_processors : sequences of equal length
        Estimated ends of the running jobs, ascending, and their processors. An end before ``now_s`` is that of a job that outruns its
        estimate.
    arrived : sequence of int
        Jobs that joined the queue since the last decision, in order of arrival.
    ended : sequence of int
        On one pool, jobs that ran and have ended since the last decision.
    only_arrivals : bool
        Nothing else has happened since: what was decided then was done, no processor was freed or lost.
    reservation : Reservation or None
        The reservation of the last decision.
    memo : object
        The memo of the last decision; None at first.
    unforeseen : bool
        Since the last decision room has come that no estimate foretold: a running job ended before its estimate, a waiting one was
        cancelled, or processors came back into service.
    explain : bool
        Someone records reservations: make them even where no candidate could use what is left over.
    by_size : Waiting or None
        On one pool, the waiting jobs by size in the order of joining, for a policy that asks for it (``indexes``) and while the queue is long.
    room : Room or None
        The machine of nodes; None for one pool of processors. With it ``processors`` are processor equivalents
        (:meth:`~hpcsim.scheduling.machine.Machine.processor_equivalents`), ``free`` and ``capacity`` cores, and ``running_processors`` is empty.
    """

    now_s: float
    free: int
    capacity: int
    queue: Sequence[int]
    submit_s: Sequence[float]
    estimate_s: Sequence[float]
    processors: Sequence[int]
    running_end_s: Sequence[float] = ()
    running_processors: Sequence[int] = ()
    head: int = 0
    arrived: Sequence[int] = ()
    only_arrivals: bool = False
    reservation: Reservation | None = None
    explain: bool = False
    memo: Any = None
    unforeseen: bool = False
    user: Sequence[int] = ()
    account: Sequence[int] = ()
    partition: Sequence[int] = ()
    start_s: Sequence[float] = ()
    end_s: Sequence[float] = ()
    room: Room | None = None
    qos: Sequence[int] = ()
    by_size: Waiting | None = None
    ended: Sequence[int] = ()

    def waiting(self) -> Sequence[int]:
        """Return the waiting jobs in the order of the policy."""
        return self.queue[self.head :]


class Policy(Protocol):
    """Decides which waiting jobs start.

    ``key`` orders the queue, once for each job; None is the order of submission. A policy that has an attribute ``plans`` which is true is
    asked after every event while jobs wait, even where no processor is free; others only where some are. One with an attribute ``rooms`` which is
    true decides on machines of nodes, too; others see one pool of processors only. With ``nodes_only`` it needs one: a pool then is one node. One
    with ``indexes`` is given ``by_size`` where the queue is long: ``"joined"``, or ``"length"`` where each size is needed by estimate, too.
    One with ``sizes`` chooses the sizes of jobs that may have several; with ``resizes`` it also changes those of running jobs, and is asked after every
    event, whether or not anybody waits.
    """

    @property
    def name(self) -> str:
        """The name under which it is registered."""

    @property
    def key(self) -> QueueKey | None:
        """Order of the queue."""

    def decide(self, view: View, /) -> Decision | Pair:
        """Return which jobs start now, and what the head of the queue is promised."""


policies: Registry[Callable[..., Policy]] = Registry("policy", "policies")
"""Policies by name: what is registered is a class, or another callable that makes a policy."""


def make_policy(name: str, options: Mapping[str, Any] | None = None) -> Policy:
    """Return the policy called ``name``.

    Parameters
    ----------
    name : str
        Its name; options may follow as ``name:key=value,key=value`` (``priority:age=2000,favor_small=true``).
    options : mapping of str to value, optional
        Further options.

    Raises
    ------
    InputError
        No policy has that name, or it has no such option, or the option is out of range.

    Examples
    --------
    >>> make_policy("easy").name
    'easy'
    >>> make_policy("priority:max_age_s=3600,favor_small=true").max_age_s
    3600.0
    """
    plain, colon, text = name.partition(":")
    make = policies.get(plain)
    given = dict(options or {})
    if colon:
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise OPTION_FORM.error(path="policy", part=part, name=plain)
            given[key.strip()] = value.strip()
    return make(**_options(plain, make, given)) if given else make()


def _options(name: str, make: Callable[..., Policy], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the types that the policy declares."""
    known = inspect.signature(make).parameters
    result = {}
    for key, value in given.items():
        if key not in known:
            raise NO_OPTION.error(path=f"options.{key}", key=key, name=name, known=", ".join(known) or "none")
        default = known[key].default
        try:
            result[key] = _converted(value, default)
        except (TypeError, ValueError):
            raise OPTION_VALUE.error(path=f"options.{key}", key=key, name=name, value=value, example=default) from None
    return result


def _converted(value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return words[str(value).lower()] if str(value).lower() in words else int("no")
    if isinstance(default, (int, float)):
        number = float(value)
        if isinstance(default, int) and number == int(number):
            return int(number)
        if isinstance(default, int) or number != number:
            raise ValueError
        return number
    if isinstance(default, str):
        return str(value)
    raise TypeError


_NOTHING: Pair = ((), None)


def _heads(view: View) -> tuple[list[int], int]:
    """Return the jobs at the head of the queue that fit one after the other, and the processors left."""
    queue, processors, free = view.queue, view.processors, view.free
    start: list[int] = []
    for at in range(view.head, len(queue)):
        job = queue[at]
        need = processors[job]
        if need > free:
            break
        free -= need
        start.append(job)
    return start, free


@policies.register("fcfs")
class Fcfs:
    """First come, first served: the head of the queue starts when it fits, and nobody passes it.

    Examples
    --------
    >>> view = View(0.0, 4, 8, queue=[0, 1, 2], submit_s=[0, 0, 0], estimate_s=[9, 9, 9], processors=[3, 2, 1])
    >>> Fcfs().decide(view)
    ([0], None)
    """

    name = "fcfs"
    key: QueueKey | None = None

    rooms = True

    @staticmethod
    def decide(view: View, /) -> Decision | Pair:
        """Return the jobs at the head that fit."""
        if view.room is not None:
            return _heads_in(view, view.room)
        if view.processors[view.queue[view.head]] > view.free:
            return _NOTHING
        return _heads(view)[0], None


def _heads_in(view: View, room: Room) -> Decision:
    start, places, _, _ = heads_in_room(view, room)
    return Decision(start, None, places=places)


def _easy_in(view: View, room: Room, order: Order | None = None) -> Decision:
    known = view.memo if isinstance(view.memo, Shadow) else None
    start, places, shadow, _ = verdict = easy_in_room(view, room, order, known=known)
    same = shadow is known and known is not None and view.reservation is not None
    return Decision(start, view.reservation if same else promise_of(room, verdict), shadow, math.inf, places)


def promise_of(room: Room, verdict: Verdict) -> Reservation | None:
    """Return the reservation that a verdict makes: its extra is what is free of the cores beside the head."""
    shadow = verdict.shadow
    if shadow is None:
        return None
    if shadow.free is None:
        return Reservation(shadow.job, math.inf, 0)
    head = room.demands[room.kind[shadow.job]]
    return Reservation(shadow.job, shadow.time_s, max(0, shadow.free.total[CORES] - head.chunks * head.cores))


def _estimate(submit_s: float, estimate_s: float, processors: int) -> float:
    return estimate_s


@policies.register("sjf")
class ShortestFirst(Fcfs):
    """Shortest job first: the queue is ordered by estimate, and nobody passes its head."""

    name = "sjf"
    key: QueueKey | None = staticmethod(_estimate)


def _releases(view: View, started: Iterable[int]) -> Iterator[tuple[float, int]]:
    """Yield (estimated end, processors) of the running jobs and of those that ``started`` now, in order of time."""
    mine: list[tuple[float, int]] = []
    for job in started:
        insort(mine, (view.now_s + view.estimate_s[job], view.processors[job]))
    at = 0
    for end, size in zip(view.running_end_s, view.running_processors, strict=True):
        while at < len(mine) and mine[at][0] <= end:
            yield mine[at]
            at += 1
        yield end, size
    yield from mine[at:]


def _reserve(view: View, job: int, free: int, started: Sequence[int]) -> Reservation:
    """Return the earliest time, by estimates, at which ``job`` fits, and what is left over then.

    All processors that come free at that very time count. A job that outruns its estimate counts as ending now.
    """
    need = view.processors[job]
    shadow = view.now_s
    for end, size in _releases(view, started) if started else zip(view.running_end_s, view.running_processors):
        if end > shadow:
            if free >= need:
                break
            shadow = end
        free += size
    if free < need:
        return Reservation(job, math.inf, 0)
    return Reservation(job, shadow, free - need)


def _easy(view: View, *, shortest: bool = False) -> Pair:
    """Decide by aggressive backfilling, with the candidates in queue order or by estimate, ``shortest`` first.

    While only arrivals have happened, and the time of the reservation has not passed, the last decision stands: the head still does
    not fit, processors came neither free nor away, and a candidate that was refused then has less time and no more room now. So only
    the new jobs are tested. Nothing is promised while no candidate fits, unless it is asked for.
    """
    now, free, estimates, processors = view.now_s, view.free, view.estimate_s, view.processors
    queue, head, promised = view.queue, view.head, view.reservation
    started: list[int] = []
    candidates: Sequence[int]
    if view.only_arrivals and queue[head] not in view.arrived and (promised is None or now <= promised[1]):
        candidates = view.arrived
    else:
        promised = None
        if processors[queue[head]] <= free:
            started, free = _heads(view)
            head += len(started)
            if head == len(queue):
                return started, None
        index = view.by_size
        if index is not None and len(queue) - head > _SIZES_COST * len(index.lines):
            return _easy_by_size(view, index, started, head, free, shortest)
        candidates = queue[head + 1 :] if free else ()
    if shortest:
        candidates = sorted((job for job in candidates if processors[job] <= free), key=estimates.__getitem__)
    shadow, extra = (math.nan, 0) if promised is None else promised[1:]
    for job in candidates:
        need = processors[job]
        if need > free:
            continue
        if promised is None:
            promised = _reserve(view, queue[head], free, started)
            _, shadow, extra = promised
        if now + estimates[job] > shadow:
            if need > extra:
                continue
            extra -= need
        started.append(job)
        free -= need
        if not free:
            break
    if promised is None:
        return started, _reserve(view, queue[head], free, started) if view.explain else None
    return started, promised if extra == promised[2] else Reservation(queue[head], shadow, extra)


_SIZES_COST = 4
"""How many waiting jobs are looked at one by one in the time in which the next of one size is found."""


def _easy_by_size(view: View, index: Waiting, started: list[int], head: int, free: int, shortest: bool) -> Pair:
    """Decide what :func:`_easy` does of all that wait behind the head, once ``started`` have started, by size."""
    job = view.queue[head]
    ahead = index.may_pass(job, free) if free else []
    if not ahead:
        return started, _reserve(view, job, free, started) if view.explain else None
    promised = _reserve(view, job, free, started)
    _, shadow, extra = promised
    if shortest:
        more, left = index.shortest_passing(job, started, view.estimate_s, view.now_s, free, shadow, extra)
    else:
        more, left = index.passing(ahead, view.estimate_s, view.now_s, free, shadow, extra)
    return started + more, promised if left == extra else Reservation(job, shadow, left)


@policies.register("easy")
class Easy:
    """EASY backfilling: a later job may pass the head of the queue where that does not delay it, judged by estimates.

    The head is promised the earliest time at which it fits by the estimates of the running jobs. Another job starts now if it fits
    now, and either ends by that time by its own estimate or takes only processors that the head leaves over. Only the head is
    protected: the others can be put off again and again.

    Examples
    --------
    Ten processors, six of them until 10 s: job 1 needs eight, job 2 would end too late, job 3 fits beside it, job 4 ends in time.

    >>> view = View(4.0, 4, 10, queue=[1, 2, 3, 4], submit_s=[0, 1, 2, 3, 4], estimate_s=[10, 10, 20, 30, 5],
    ...             processors=[6, 8, 4, 2, 2], running_end_s=[10.0], running_processors=[6])
    >>> Easy().decide(view)
    ([3, 4], Reservation(job=1, shadow_s=10.0, extra=0))
    """

    name = "easy"
    key: QueueKey | None = None
    rooms = True
    indexes = "joined"

    @staticmethod
    def decide(view: View, /) -> Decision | Pair:
        """Return the heads that fit, and those that may pass the first that does not."""
        return _easy(view) if view.room is None else _easy_in(view, view.room)


@policies.register("easy-sjbf")
class EasyShortestFirst:
    """EASY backfilling that tries the candidates by estimate, shortest first; the queue itself stays in order of submission."""

    name = "easy-sjbf"
    key: QueueKey | None = None
    rooms = True
    indexes = "length"

    @staticmethod
    def decide(view: View, /) -> Decision | Pair:
        """Return the heads that fit, and those that may pass the first that does not."""
        if view.room is None:
            return _easy(view, shortest=True)
        return _easy_in(view, view.room, shortest_first(view.room))
