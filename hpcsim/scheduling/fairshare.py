"""Fair share: who has had how much of the machine, and what that makes of their next job.

All of it is arithmetic on past usage: no clock, no queue. Usage is in processor-seconds that fade with a half-life.

References: the multifactor priority, classic fair-share and Fair Tree pages of the Slurm documentation (SchedMD); J. Kay and P. Lauder,
"A fair share scheduler", CACM 1988.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

from hpcsim.scheduling.policies import View

__all__ = [
    "Association",
    "Ledger",
    "advance",
    "billing",
    "classic_factor",
    "decay_frac",
    "decayed_usage",
    "fair_tree",
    "level_fair_share",
]

K = TypeVar("K")

Owner = tuple[int, int]
"""(account, user) of a job."""


def decay_frac(elapsed_s: float, *, half_life_s: float) -> float:
    """Return what is left of past usage: ``2^(−t/h)``.

    Parameters
    ----------
    elapsed_s, half_life_s : float [s]
        Time since, and the half-life; infinite for usage that never fades.

    Examples
    --------
    Five minutes at a half-life of a week:

    >>> round(decay_frac(300.0, half_life_s=7 * 86400.0), 6)
    0.999656
    """
    return float(0.5 ** (elapsed_s / half_life_s))


def decayed_usage(start_s: float, end_s: float, now_s: float, *, processors: float, half_life_s: float) -> float:
    """Return what a job that ran from ``start_s`` to ``end_s`` counts for at ``now_s`` [processor-s].

    ``p·∫ 2^(−(now − t)/h) dt``: usage fades continuously from the moment of use. Slurm fades it in steps (every 5 minutes), to which this is the
    limit. Constant use of one processor saturates at h/ln 2.

    Parameters
    ----------
    start_s, end_s, now_s : float [s]
        With start ≤ end. Of a ``now_s`` before the end, the worth is that by the prices of then, which later usage exceeds.
    processors : float
        Processors held, or another billing weight.
    half_life_s : float [s]
        Half-life; infinite for none.

    Examples
    --------
    One processor for ever, in days, at a half-life of 7 days:

    >>> day = 86400.0
    >>> round(decayed_usage(-1e12, 0.0, 0.0, processors=1, half_life_s=7 * day) / day, 4)
    10.0989
    """
    if half_life_s == math.inf:
        return processors * (end_s - start_s)
    rate = math.log(2.0) / half_life_s
    return processors * math.exp(-rate * (now_s - end_s)) * -math.expm1(-rate * (end_s - start_s)) / rate


def billing(quantities: Mapping[str, float], weights: Mapping[str, float], *, highest: bool = False) -> float:
    """Return the billing weight of a job: the sum of its weighted resources, or with ``highest`` the largest of them.

    Examples
    --------
    >>> job, weights = {"cpu": 1, "memory_gb": 60}, {"cpu": 1.0, "memory_gb": 0.25}
    >>> billing(job, weights), billing(job, weights, highest=True)
    (16.0, 15.0)
    """
    parts = [quantity * weights.get(name, 0.0) for name, quantity in quantities.items()]
    return float(max(parts, default=0.0) if highest else sum(parts))


def classic_factor(usage_frac: float, share_frac: float, *, dampening: float = 1.0) -> float:
    """Return the classic fair-share factor ``F = 2^(−(U/S)/d)``: 1 with no usage, 0.5 with as much as the share, 0 with no share.

    Parameters
    ----------
    usage_frac, share_frac : float
        Part of all usage, and part of all shares, from 0 to 1.
    dampening : float
        d, above 0.

    Examples
    --------
    >>> classic_factor(0.2, 0.1)
    0.25
    """
    if share_frac <= 0.0:
        return 0.0
    return float(2.0 ** (-usage_frac / share_frac / dampening))


def level_fair_share(share_frac: float, usage_frac: float) -> float:
    """Return S/U of one association among its siblings; infinite with no usage, 0 with no share.

    Examples
    --------
    >>> level_fair_share(0.4, 0.5), level_fair_share(0.6, 0.5)
    (0.8, 1.2)
    """
    if share_frac <= 0.0:
        return 0.0
    return share_frac / usage_frac if usage_frac > 0.0 else math.inf


class Association(NamedTuple):
    """A user, or an account with users and accounts in it.

    Attributes
    ----------
    name : hashable
        Unique among its siblings.
    shares : float
        Shares against those of its siblings, at least 0.
    usage_s : float [processor-s]
        Usage of a user; that of an account is the sum of what is in it.
    children : sequence of Association
        What is in an account; nothing makes it a user.
    """

    name: Hashable
    shares: float = 1.0
    usage_s: float = 0.0
    children: Sequence[Association] = ()


Path = tuple[Hashable, ...]


class _Ranked(NamedTuple):
    level: float
    path: Path
    association: Association


def _used(association: Association) -> float:
    return sum(_used(child) for child in association.children) if association.children else association.usage_s


def _siblings(children: Sequence[Association], path: Path) -> list[_Ranked]:
    """Return siblings with their level fair share."""
    shares, usage = sum(child.shares for child in children), [_used(child) for child in children]
    total = sum(usage)
    return [
        _Ranked(
            level_fair_share(child.shares / shares if shares else 0.0, used / total if total else 0.0),
            (*path, child.name),
            child,
        )
        for child, used in zip(children, usage, strict=True)
    ]


def _count(children: Sequence[Association]) -> int:
    return sum(_count(child.children) if child.children else 1 for child in children)


def fair_tree(children: Sequence[Association]) -> dict[Path, float]:
    """Return the Fair Tree factor of every user by the path to them: rank over number of users, the best 1.

    At each level siblings are sorted by S/U, highest first, and the tree is walked depth first; users are ranked as they are met. So all
    users of an account come before all users of a sibling with less S/U. Among siblings with equal S/U users have one rank, and what is in
    the accounts is pooled and comes after them.

    Parameters
    ----------
    children : sequence of Association
        What is at the top.

    Examples
    --------
    Account a has 40 of 100 shares and half of the usage, b the other 60 and the other half:

    >>> a = Association("a", 40, children=[Association("u", 1, 20.0), Association("v", 1, 30.0)])
    >>> b = Association("b", 60, children=[Association("w", 1, 10.0), Association("x", 1, 40.0)])
    >>> fair_tree([a, b])
    {('b', 'w'): 1.0, ('b', 'x'): 0.75, ('a', 'u'): 0.5, ('a', 'v'): 0.25}
    """
    count = _count(children)
    factors: dict[Path, float] = {}

    def walk(level: list[_Ranked]) -> None:
        for _, tied in groupby(sorted(level, key=lambda item: -item.level), key=lambda item: item.level):
            group = list(tied)
            rank = count - len(factors)
            factors.update({item.path: rank / count for item in group if not item.association.children})
            pooled = [one for item in group for one in _siblings(item.association.children, item.path)]
            if pooled:
                walk(pooled)

    walk(_siblings(children, ()))
    return factors


class Ledger(NamedTuple):
    """Usage up to now, as a policy carries it from decision to decision.

    Usage is kept at its worth at ``epoch_s``, later use being worth more then: all amounts fade alike, so that only their ratios matter
    and nothing needs to be touched while time goes by.

    Attributes
    ----------
    epoch_s, as_of_s : float [s]
        Time at whose worth the amounts are, and up to which they count.
    owner_s : mapping of (account, user) to float [processor-s]
        Usage of everyone who has submitted a job.
    user_s, account_s : mapping of int to float [processor-s]
        The same by user, and by account.
    running : tuple of int
        Jobs that ran then.
    """

    epoch_s: float
    as_of_s: float
    owner_s: Mapping[Owner, float]
    user_s: Mapping[int, float]
    account_s: Mapping[int, float]
    running: tuple[int, ...]


_EPOCH_HALF_LIVES = 64.0
"""After so many half-lives the amounts are restated at their present worth, long before they could overflow."""


def _times(amounts: Mapping[K, float], factor: float) -> dict[K, float]:
    return {name: amount * factor for name, amount in amounts.items()}


def advance(ledger: Ledger | None, view: View, *, half_life_s: float) -> Ledger:
    """Return the ledger at the time of a view, with what ran since then. Without one, all the past is looked up.

    Parameters
    ----------
    ledger : Ledger or None
        Of an earlier time, with every job that ran then or was started then.
    view : View
        The present.
    half_life_s : float [s]
        Half-life of usage.
    """
    now, starts, ends, accounts, users = view.now_s, view.start_s, view.end_s, view.account, view.user
    if ledger is None:
        ledger = Ledger(now, -math.inf, {}, {}, {}, tuple(job for job, start in enumerate(starts) if start == start))
    epoch, since = ledger.epoch_s, ledger.as_of_s
    owner_s, user_s, account_s = dict(ledger.owner_s), dict(ledger.user_s), dict(ledger.account_s)
    if now - epoch > _EPOCH_HALF_LIVES * half_life_s:
        left = decay_frac(now - epoch, half_life_s=half_life_s)
        owner_s, user_s, account_s = _times(owner_s, left), _times(user_s, left), _times(account_s, left)
        epoch = now
    running = []
    for job in view.waiting():
        owner_s.setdefault((accounts[job], users[job]), 0.0)
        user_s.setdefault(users[job], 0.0)
        account_s.setdefault(accounts[job], 0.0)
    for job in ledger.running:
        end = ends[job]
        if end != end:
            end = now
            running.append(job)
        begin, account, user = max(starts[job], since), accounts[job], users[job]
        used = decayed_usage(begin, end, epoch, processors=view.processors[job], half_life_s=half_life_s) if end > begin else 0.0
        owner_s[account, user] = owner_s.get((account, user), 0.0) + used
        user_s[user] = user_s.get(user, 0.0) + used
        account_s[account] = account_s.get(account, 0.0) + used
    return Ledger(epoch, now, owner_s, user_s, account_s, tuple(running))
