"""The mean wait of the jobs of a simulated scenario as a sum of terms: what each job waited for, from the tables of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["BLOCKED", "CAPACITY", "ORDER", "PASSED", "waits_by_cause"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CAPACITY = "capacity: processors held by jobs that came before"
PASSED = "backfill: processors held by jobs that came later and passed"
ORDER = "order: enough idle, kept for jobs that came before"
BLOCKED = "blocked: enough idle, first in line, held by another resource, a limit or a reservation"
_MOST_JOBS = 40_000
"""In a larger table those who pass are not told apart from those who came before."""


def waits_by_cause(
    submit_s: Floats, start_s: Floats, end_s: Floats, processors: Integers, turn_s: Floats, idle: Integers
) -> dict[str, Floats]:
    """Return what each job waited for [s], shape (jobs,) each; the causes add up to its wait.

    At every instant of a wait exactly one holds. Are fewer processors idle than the job asks for: ``PASSED`` where those that were submitted later
    and started before it hold enough of them, else ``CAPACITY``. Are enough idle: ``ORDER`` while a job that was submitted before it waits, else
    ``BLOCKED``.

    Parameters
    ----------
    submit_s, start_s, end_s : float64 array, shape (jobs,) [s]
        All jobs that started, in the order of their submission; an end is infinite where it has not come.
    processors : int64 array, shape (jobs,)
    turn_s : float64 array, shape (turns,) [s]
        When the number of idle processors changes, ascending; every start and end is among them.
    idle : int64 array, shape (turns,)
        Idle processors from then on.

    Examples
    --------
    Ten processors, six busy until 10 s. Job 1 needs eight; job 2 passes it and holds four until 20 s.

    >>> of = (np.array(x, float) for x in ([0, 1, 2], [0, 20, 2], [10, 30, 20]))
    >>> turns, idle = np.array([0.0, 2.0, 10.0, 20.0, 30.0]), np.array([4, 0, 6, 2, 10])
    >>> found = waits_by_cause(*of, np.array([6, 8, 4]), turns, idle)
    >>> found[CAPACITY].tolist(), found[PASSED].tolist()
    ([0.0, 9.0, 0.0], [0.0, 10.0, 0.0])
    """
    jobs = len(submit_s)
    found = {name: np.zeros(jobs) for name in (CAPACITY, PASSED, ORDER, BLOCKED)}
    started = np.concatenate([[-np.inf], np.maximum.accumulate(start_s)[:-1]]) if jobs else start_s
    first_s = np.clip(started, submit_s, np.maximum(start_s, submit_s))  # from then on nobody before it waits
    near = jobs <= _MOST_JOBS
    for job in np.flatnonzero(start_s > submit_s).tolist():
        low, high, need = submit_s[job], start_s[job], processors[job]
        a, b = int(turn_s.searchsorted(low, "right")) - 1, int(turn_s.searchsorted(high))
        edges = np.concatenate([[low], turn_s[a + 1 : b], [high]])
        length = np.diff(edges)
        free = idle[a:b]
        enough = free >= need
        passed = np.zeros(len(free), dtype=np.bool_)
        if near and not enough.all():
            later = job + 1 + np.flatnonzero(start_s[job + 1 :] < high)
            if len(later):
                taken = np.zeros(len(free) + 1, dtype=np.int64)
                np.add.at(taken, edges.searchsorted(start_s[later]), processors[later])
                np.add.at(taken, np.minimum(edges.searchsorted(end_s[later]), len(free)), -processors[later])
                passed = ~enough & (free + np.cumsum(taken)[:-1] >= need)
        found[PASSED][job] = float(length[passed].sum())
        found[CAPACITY][job] = float(length[~enough & ~passed].sum())
        behind = np.clip(first_s[job] - edges[:-1], 0.0, length)
        found[ORDER][job] = float(behind[enough].sum())
        found[BLOCKED][job] = float((length - behind)[enough].sum())
    return found


def mean_waits(results: Results) -> dict[str, tuple[float, float]]:
    """Return the terms of the mean wait of a run's jobs: for each the share of the jobs that wait so, and their mean time of it [s]."""
    jobs, states = results.tables.get("jobs"), results.tables.get("states")
    if jobs is None or states is None or "policy" in jobs.columns or "submit_s" not in jobs.columns:
        return {}
    sums: dict[str, tuple[int, float]] = {}
    count = 0
    for group, table in jobs[jobs["processors"] > 0].dropna(subset=["start_s"]).groupby("group", sort=False):
        mine = table.sort_values("submit_s", kind="stable")
        levels = states[states["group"] == group]
        if not len(levels):
            continue
        submit, start, end = (mine[name].to_numpy(np.float64) for name in ("submit_s", "start_s", "end_s"))
        turn, idle = levels["start_s"].to_numpy(np.float64), levels["idle"].to_numpy(np.int64)
        end = np.where(np.isnan(end), np.inf, end)
        batch = (mine["kind"] == "batch").to_numpy()
        count += int(batch.sum())
        for name, waits in waits_by_cause(submit, start, end, mine["processors"].to_numpy(np.int64), turn, idle).items():
            hit = waits[batch & (waits > 0)]
            before = sums.get(name, (0, 0.0))
            sums[name] = before[0] + len(hit), before[1] + float(hit.sum())
    return {name: (n / count, total / n) for name, (n, total) in sums.items() if n} if count else {}
