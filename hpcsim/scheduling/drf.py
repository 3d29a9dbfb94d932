"""Dominant resource fairness: several resources shared among users who want them in different proportions.

Reference: A. Ghodsi, M. Zaharia, B. Hindman, A. Konwinski, S. Shenker and I. Stoica, "Dominant resource fairness: fair allocation of
multiple resource types", NSDI 2011.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind

__all__ = ["dominant_shares", "drf_tasks"]

BAD_INPUT = problem_kind("drf-input", "{name} is {value}; it must be {bound}", "")

_SLACK = 1e-9


def _checked(name: str, values: npt.ArrayLike, bound: str, *, positive: bool, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise BAD_INPUT.error(path=name, name=name, value=f"of shape {array.shape}", bound=f"of shape {shape}")
    good = np.isfinite(array) & ((array > 0) if positive else (array >= 0))
    if not good.all():
        raise BAD_INPUT.error(path=name, name=name, value=array[~good][0], bound=bound)
    return array


def dominant_shares(capacity: npt.ArrayLike, demands: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the part of the machine that one task of each user takes of the resource of which it takes the largest part.

    Parameters
    ----------
    capacity : array-like, shape (resources,)
        What there is of each resource, above 0.
    demands : array-like, shape (users, resources)
        What one task of each user needs, at least 0.

    Examples
    --------
    >>> dominant_shares([9, 18], [[1, 4], [3, 1]]).round(4).tolist()
    [0.2222, 0.3333]
    """
    have = _checked("capacity", capacity, "above 0 and finite", positive=True, shape=np.shape(capacity)[:1])
    want = _checked("demands", demands, "at least 0 and finite", positive=False, shape=(len(np.atleast_1d(demands)), len(have)))
    return np.asarray((want / have).max(axis=1), dtype=np.float64)


def drf_tasks(
    capacity: npt.ArrayLike,
    demands: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    limits: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int64]:
    """Return how many whole tasks each user runs under dominant resource fairness.

    One task after another goes to the user whose dominant share, over their weight, is least, as long as it fits; equal ones in order. A
    user whose next task does not fit is done, and the others go on with what is left.

    Parameters
    ----------
    capacity : array-like, shape (resources,)
        What there is of each resource, above 0.
    demands : array-like, shape (users, resources)
        What one task of each user needs, at least 0 and not all 0.
    weights : array-like, shape (users,), optional
        Above 0; equal without it.
    limits : array-like, shape (users,), optional
        Tasks that each user has to run at most; any number without it.

    Raises
    ------
    InputError
        An argument of the wrong shape or out of range.

    Examples
    --------
    Nine CPUs and 18 GB; tasks of the first user take 1 CPU and 4 GB, of the second 3 CPUs and 1 GB. Both end with two thirds.

    >>> drf_tasks([9, 18], [[1, 4], [3, 1]]).tolist()
    [3, 2]
    """
    each = dominant_shares(capacity, demands)
    have, want = np.asarray(capacity, dtype=np.float64), np.asarray(demands, dtype=np.float64)
    users = len(want)
    if (each <= 0).any():
        raise BAD_INPUT.error(path="demands", name="a demand", value="0 of every resource", bound="above 0 of one at least")
    weight = _checked("weights", np.ones(users) if weights is None else weights, "above 0 and finite", positive=True, shape=(users,))
    most = (have.sum() / want.sum(axis=1)).astype(np.int64) + 1
    if limits is not None:
        most = np.minimum(most, _checked("limits", limits, "at least 0 and finite", positive=False, shape=(users,)).astype(np.int64))
    tasks = np.zeros(users, dtype=np.int64)
    used = np.zeros(len(have))
    heap = [(0.0, user) for user in range(users) if most[user] > 0]
    heapify(heap)
    while heap:
        _, user = heappop(heap)
        if (used + want[user] > have * (1.0 + _SLACK)).any():
            continue
        used += want[user]
        tasks[user] += 1
        if tasks[user] < most[user]:
            heappush(heap, (float(tasks[user] * each[user] / weight[user]), user))
    return tasks
