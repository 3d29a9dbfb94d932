"""A hyper-parameter search by successive halving, as batch jobs."""

from __future__ import annotations

import numpy as np

from hpcsim.base.rng import stream
from hpcsim.workload.jobs import JobTable

__all__ = ["halving_jobs", "survivors"]


def survivors(trials: int, *, keep: int, rounds: int) -> list[int]:
    """Return how many trials take part in each round: of each round one in ``keep`` goes on, rounded down, and one at least.

    >>> survivors(81, keep=3, rounds=4)
    [81, 27, 9, 3]
    """
    return [max(trials // keep**k, 1) for k in range(rounds)]


def halving_jobs(
    *,
    trials: int,
    keep: int,
    rounds: int,
    run_s: float,
    processors: int = 1,
    spread_frac: float = 0.0,
    submit_s: float = 0.0,
    seed: int = 1,
) -> JobTable:
    """Return the jobs of a search: one for each round of each trial, which waits for the round before of the same trial.

    Parameters
    ----------
    trials, keep, rounds : int
        Configurations at first; one in ``keep`` goes on after each round; rounds.
    run_s : float
        Time of a trial's first round [s]; each round after is ``keep`` times as long, so that all rounds are equal work.
    processors : int
        Of each job.
    spread_frac : float
        Standard deviation of the logarithm of the trials' speeds: other widths and depths take other times.
    submit_s : float
    seed : int
        Draws who is good and who is slow.

    Notes
    -----
    Which trials go on is drawn beforehand, and one goes on as soon as its own round is done: the asynchronous form with perfect ranking (Li et
    al., *A system for massively parallel hyperparameter tuning*, MLSys 2020). Waiting for a whole round, as the synchronous form does, takes longer.

    >>> table = halving_jobs(trials=9, keep=3, rounds=3, run_s=60.0)
    >>> len(table), float((table.run_s * table.processors).sum())
    (13, 1620.0)
    """
    rng = stream(seed, "jobs", "halving")
    rank, speed = rng.permutation(trials), np.exp(spread_frac * rng.standard_normal(trials))
    runs, after, trial = [], [], []
    last = np.full(trials, -1, dtype=np.int64)
    number = 1
    for at, count in enumerate(survivors(trials, keep=keep, rounds=rounds)):
        who = np.flatnonzero(rank < count)
        runs.append(run_s * float(keep) ** at * speed[who])
        after.append(last[who].copy())
        trial.append(who)
        last[who] = np.arange(number, number + count)
        number += count
    total = number - 1
    return JobTable.of(
        np.full(total, submit_s),
        np.concatenate(runs),
        np.full(total, processors, dtype=np.int64),
        job_id=np.arange(1, total + 1),
        user=np.ones(total, dtype=np.int64),
        after=np.concatenate(after),
    )
