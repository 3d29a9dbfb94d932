"""Policies that order the queue: by size and length once, or by priorities that change while jobs wait.

References: the multifactor priority page of the Slurm documentation (SchedMD); W. Tang, Z. Lan, N. Desai and D. Buettner, "Fault-aware,
utility-based job scheduling on Blue Gene/P systems", CLUSTER 2009 (WFP3 and UNICEF).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.fairshare import Ledger, Owner, advance, classic_factor, level_fair_share
from hpcsim.scheduling.policies import Decision, Easy, Fcfs, QueueKey, View, policies, promise_of
from hpcsim.scheduling.room import Room, any_fits, easy_in_room, heads_in_room

__all__ = [
    "FairShare",
    "FairTree",
    "LargestAreaFirst",
    "LongestFirst",
    "Priority",
    "SmallestAreaFirst",
    "Unicef",
    "Weights",
    "Wfp3",
    "in_order",
]

BAD_OPTION = problem_kind("policy-option", "{name} of the policy {policy!r} is {value!r}; it must be {bound}", "")

_WEEK_S = 7 * 86400.0
_LEAST_S = 1.0
"""A shorter estimate counts as this long where a priority divides by it [s]."""


# -- orders that are known at submission ---------------------------------------------------------------------------------------------


def _longest(submit_s: float, estimate_s: float, processors: int) -> float:
    return -estimate_s


def _smallest_area(submit_s: float, estimate_s: float, processors: int) -> float:
    return estimate_s * processors


def _largest_area(submit_s: float, estimate_s: float, processors: int) -> float:
    return -estimate_s * processors


@policies.register("ljf")
class LongestFirst(Fcfs):
    """Longest job first: the queue is ordered by estimate, longest first, and nobody passes its head."""

    name = "ljf"
    key: QueueKey | None = staticmethod(_longest)


@policies.register("smallest-area")
class SmallestAreaFirst(Fcfs):
    """Smallest area first: the queue is ordered by processors · estimate, and nobody passes its head."""

    name = "smallest-area"
    key: QueueKey | None = staticmethod(_smallest_area)


@policies.register("largest-area")
class LargestAreaFirst(Fcfs):
    """Largest area first: the queue is ordered by processors · estimate, largest first, and nobody passes its head."""

    name = "largest-area"
    key: QueueKey | None = staticmethod(_largest_area)


# -- orders that change while jobs wait ----------------------------------------------------------------------------------------------


def in_order(view: View, order: Sequence[int], *, backfill: bool = True) -> Decision:
    """Decide with the waiting jobs in another order, by EASY backfilling or, without it, head by head.

    Parameters
    ----------
    view : View
        The present.
    order : sequence of int
        Every waiting job, most urgent first.
    backfill : bool
        Later jobs may pass the first that does not fit, where that does not delay it.
    """
    if view.room is not None:
        return _in_room(view, view.room, order, backfill)
    seen = View(
        view.now_s,
        view.free,
        view.capacity,
        order,
        view.submit_s,
        view.estimate_s,
        view.processors,
        running_end_s=view.running_end_s,
        running_processors=view.running_processors,
        explain=view.explain,
    )
    return Decision(*(Easy.decide(seen) if backfill else Fcfs.decide(seen)))


def _in_room(view: View, room: Room, order: Sequence[int], backfill: bool) -> Decision:
    seen = replace(view, queue=array("q", order), head=0, only_arrivals=False, memo=None)
    if not backfill:
        start, places, _, _ = heads_in_room(seen, room)
        return Decision(start, None, places=places)
    verdict = easy_in_room(seen, replace(room, waiting=None))  # the room's own index is in the order of joining
    return Decision(verdict.start, promise_of(room, verdict), places=verdict.places)


def _by(view: View, score: Callable[[int], float]) -> list[int]:
    """Return the waiting jobs by score, highest first; equal ones in the order of the queue."""
    return sorted(view.waiting(), key=score, reverse=True)


@policies.register("wfp3")
class Wfp3:
    """Highest ``(wait/estimate)³·processors`` first, with EASY backfilling: large jobs gain, and the more so the longer they wait.

    Estimates below a second count as one.

    Examples
    --------
    Job 1 has waited its own length on four processors, job 0 half of it on eight: 4 against 1.

    >>> view = View(10.0, 8, 8, queue=[0, 1], submit_s=[0, 0], estimate_s=[20, 10], processors=[8, 4])
    >>> Wfp3().decide(view).start
    [1]
    """

    name = "wfp3"
    key: QueueKey | None = None
    rooms = True

    @staticmethod
    def decide(view: View, /) -> Decision:
        """Return the jobs that start, the queue being in today's order."""
        now, submit, estimates, processors = view.now_s, view.submit_s, view.estimate_s, view.processors
        return in_order(view, _by(view, lambda job: ((now - submit[job]) / max(estimates[job], _LEAST_S)) ** 3 * processors[job]))


@policies.register("unicef")
class Unicef:
    """Highest ``wait/(log2(processors)·estimate)`` first, with EASY backfilling: small and short jobs gain.

    Serial jobs count as of two processors, estimates below a second as one.

    Examples
    --------
    >>> view = View(10.0, 8, 8, queue=[0, 1], submit_s=[0, 0], estimate_s=[10, 10], processors=[8, 4])
    >>> Unicef().decide(view).start
    [1]
    """

    name = "unicef"
    key: QueueKey | None = None
    rooms = True

    @staticmethod
    def decide(view: View, /) -> Decision:
        """Return the jobs that start, the queue being in today's order."""
        now, submit, estimates, processors = view.now_s, view.submit_s, view.estimate_s, view.processors
        return in_order(
            view, _by(view, lambda job: (now - submit[job]) / (math.log2(max(processors[job], 2)) * max(estimates[job], _LEAST_S)))
        )


P = TypeVar("P", bound="type[Priority]")


def _register(policy: P) -> P:
    """Register a class of policy under its name."""
    policies.register(policy.name)(policy)
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What each factor of a priority counts for; every factor is from 0 to 1."""

    age: float = 1000.0
    job_size: float = 1000.0
    partition: float = 1000.0
    qos: float = 1000.0
    fair_share: float = 0.0


@_register
@dataclass(frozen=True, kw_only=True)
class Priority:
    """Multifactor priority with ageing, in the manner of Slurm, with EASY backfilling.

    The priority of a waiting job is ``Σ weight·factor``, anew at each pass; equal ones go by submission. Only the job with the highest priority is
    protected from being passed, and only while it has it.

    | factor | value |
    |---|---|
    | age | min(1, wait/``max_age_s``) |
    | job_size | processors/processors in service; 1 less that with ``favor_small`` |
    | partition, qos | what ``partition`` and ``qos`` say for the job's partition and account, over the highest that they say; 0 without |
    | fair_share | classic: ``2^(−U/S)`` by user; tree: rank in the tree of accounts and users |

    Parameters
    ----------
    weights : Weights
        Without any, age, size, partition and QOS count alike, and fair share does not.
    max_age_s : float [s]
        Wait at which the age factor is full.
    favor_small : bool
        Small jobs first in place of large ones.
    partition, qos : mapping of int to float
        Priority of partitions (a log's queue numbers) and of qualities of service, or where no job has one of accounts (a log's group
        numbers), at least 0.
    fair_share : {"classic", "tree"}
        Which factor.
    half_life_s : float [s]
        Half-life of past usage.
    user_shares, account_shares : mapping of int to float
        Shares; whoever is not named has 1. The classic factor takes those of users.
    backfill : bool
        Whether jobs may pass the first.

    Raises
    ------
    InputError
        An option out of range.

    Examples
    --------
    The large job is first while both are new; after a day of ageing, the small one.

    >>> queue = dict(queue=[0, 1], estimate_s=[9, 9], processors=[2, 1])
    >>> policy = Priority(weights=Weights(age=14.0, job_size=1.0))
    >>> policy.decide(View(0.0, 2, 2, submit_s=[0, 0], **queue)).start
    [0]
    >>> policy.decide(View(86400.0, 2, 2, submit_s=[86400.0, 0.0], **queue)).start
    [1]
    """

    name = "priority"
    key = None
    rooms = True

    weights: Weights = Weights()
    max_age_s: float = _WEEK_S
    favor_small: bool = False
    partition: Mapping[int, float] = field(default_factory=dict)
    qos: Mapping[int, float] = field(default_factory=dict)
    fair_share: Literal["classic", "tree"] = "classic"
    half_life_s: float = _WEEK_S
    user_shares: Mapping[int, float] = field(default_factory=dict)
    account_shares: Mapping[int, float] = field(default_factory=dict)
    backfill: bool = True

    def __post_init__(self) -> None:
        for name in ("max_age_s", "half_life_s"):
            value = getattr(self, name)
            if not value > 0:
                raise BAD_OPTION.error(path=name, name=name, policy=self.name, value=value, bound="a time above 0 s")
        if self.fair_share not in ("classic", "tree"):
            raise BAD_OPTION.error(
                path="fair_share", name="fair_share", policy=self.name, value=self.fair_share, bound="'classic' or 'tree'"
            )
        for name in ("partition", "qos", "user_shares", "account_shares"):
            for value in getattr(self, name).values():
                if not 0 <= value < math.inf:
                    raise BAD_OPTION.error(path=name, name=name, policy=self.name, value=value, bound="finite and at least 0")

    def decide(self, view: View, /) -> Decision:
        """Return the jobs that start, the queue being in today's order, and the ledger where fair share counts.

        The ledger is brought up to date only where it can matter: some job fits, and not all are of one owner.
        """
        waiting, processors = view.waiting(), view.processors
        if not self.weights.fair_share:
            return self._start(view, self.priorities(view, None))
        ledger: Ledger | None = view.memo
        fits = min(map(processors.__getitem__, waiting)) <= view.free if view.room is None else any_fits(view, view.room)
        several = len({(view.account[job], view.user[job]) for job in waiting}) > 1
        if ledger is None or (several and (fits or view.explain)):
            now = advance(ledger, view, half_life_s=self.half_life_s)
            score = self.priorities(view, now)
            ledger = now if fits or ledger is None else ledger
        elif fits or view.explain:
            score = self.priorities(view, None)
        else:
            return Decision((), None, ledger)
        decision = self._start(view, score)
        return decision._replace(memo=ledger._replace(running=(*ledger.running, *decision.start)))

    def _start(self, view: View, score: Mapping[int, float]) -> Decision:
        return in_order(view, _by(view, score.__getitem__), backfill=self.backfill)

    def priorities(self, view: View, ledger: Ledger | None) -> dict[int, float]:
        """Return the priority of every waiting job.

        Parameters
        ----------
        view : View
            The present.
        ledger : Ledger or None
            Usage at present; None where fair share does not count, or is that of one owner for all.
        """
        weights, now, submit, processors, capacity = self.weights, view.now_s, view.submit_s, view.processors, max(view.capacity, 1)
        factors = self.fair_shares(ledger, {(view.account[job], view.user[job]): None for job in view.waiting()}) if ledger else {}
        partition, qos = _normalised(self.partition), _normalised(self.qos)
        service = view.qos or view.account
        result = {}
        for job in view.waiting():
            size = min(1.0, processors[job] / capacity)
            score = weights.age * min(1.0, (now - submit[job]) / self.max_age_s)
            score += weights.job_size * (1.0 - size if self.favor_small else size)
            if partition:
                score += weights.partition * partition.get(view.partition[job], 0.0)
            if qos:
                score += weights.qos * qos.get(service[job], 0.0)
            if factors:
                score += weights.fair_share * factors[view.account[job], view.user[job]]
            result[job] = score
        return result

    def fair_shares(self, ledger: Ledger, owners: Iterable[Owner]) -> dict[Owner, float]:
        """Return the fair-share factor of ``owners``, (account, user), among all who are in a ledger."""
        if self.fair_share == "tree":
            factors = self._tree(ledger)
            return {owner: factors[owner] for owner in owners}
        used, shares = ledger.user_s, self.user_shares
        all_used = sum(used.values()) or 1.0
        all_shares = (sum(shares.get(user, 1.0) for user in used) if shares else float(len(used))) or 1.0
        return {
            owner: classic_factor(used[owner[1]] / all_used, (shares.get(owner[1], 1.0) if shares else 1.0) / all_shares)
            for owner in owners
        }

    def _tree(self, ledger: Ledger) -> dict[Owner, float]:
        """Return :func:`~hpcsim.scheduling.fairshare.fair_tree` of a tree with two levels, by one sort: accounts, then users in them.

        Users of accounts with equal S/U are pooled, hence compared by their own S/U.
        """
        users, accounts, usage = self.user_shares, self.account_shares, ledger.account_s
        inside: dict[int, float] = dict.fromkeys(usage, 0.0)
        for account, user in ledger.owner_s:
            inside[account] += users.get(user, 1.0)
        all_used, all_shares = sum(usage.values()) or 1.0, sum(accounts.get(account, 1.0) for account in usage) or 1.0
        level = {account: level_fair_share(accounts.get(account, 1.0) / all_shares, used / all_used) for account, used in usage.items()}
        ranked = []
        for owner, used in ledger.owner_s.items():
            account, user = owner
            own = level_fair_share(users.get(user, 1.0) / (inside[account] or 1.0), used / (usage[account] or 1.0))
            ranked.append((level[account], own, owner))
        ranked.sort(reverse=True)
        count, rank, last = len(ranked), 0, (math.nan, math.nan)
        factors = {}
        for at, (of_account, of_user, owner) in enumerate(ranked):
            if (of_account, of_user) != last:
                rank, last = count - at, (of_account, of_user)
            factors[owner] = rank / count
        return factors


def _normalised(priorities: Mapping[int, float]) -> dict[int, float]:
    most = max(priorities.values(), default=0.0)
    return {name: value / most for name, value in priorities.items()} if most else {}


_SHARE_ALONE = Weights(age=0.0, job_size=0.0, partition=0.0, qos=0.0, fair_share=1.0)


@_register
@dataclass(frozen=True, kw_only=True)
class FairShare(Priority):
    """Classic fair share by user: whose recent usage is least against their share comes first, with EASY backfilling.

    :class:`Priority` with nothing but the fair-share factor. Users are those who have submitted a job so far.
    """

    name = "fairshare"
    weights: Weights = _SHARE_ALONE


@_register
@dataclass(frozen=True, kw_only=True)
class FairTree(Priority):
    """Fair Tree: accounts by recent usage against their shares, users within them likewise, with EASY backfilling.

    :class:`Priority` with nothing but the rank in the tree. Accounts and users are those that have submitted a job so far.
    """

    name = "fair-tree"
    weights: Weights = _SHARE_ALONE
    fair_share: Literal["classic", "tree"] = "tree"
