"""The six printed laws of distributed processing, each in its literal form and in the readings that hold.

The laws come from general articles on clusters for large models. As printed they mix three quantities that differ by factors of the
node count, so each function here returns all of them under separate names:

- ``literal_s``: the formula exactly as printed;
- ``wall_clock_s``: how long the work takes when all nodes share it perfectly and nothing else costs time;
- ``node_time_s``: node-seconds, the sum over the nodes of the time each is busy; what is billed.

All of them assume perfect division, equal nodes, no communication, no start-up: lower bounds of what really happens. The event
engine reproduces the wall-clock forms when nothing contends.

Sizes and speeds are SI floats of matching kind (FLOP with FLOP/s, bytes with bytes/s, tasks with tasks/s), or text with a unit
(``"100 GB"``, ``"2 GB/s"``), in which case the dimensions are checked against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problem, problem_kind
from hpcsim.base.units import DIMENSIONS, parse_quantity
from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, non_negative, positive, whole

__all__ = [
    "TRANSFER_PARTS",
    "LawResult",
    "LiteralShares",
    "distributed",
    "finish_times",
    "preprocessing",
    "share_by_throughput",
    "share_literal",
    "share_whole",
    "total",
    "training",
    "transfer",
]

MISMATCH = problem_kind(
    "law-dimensions", "{law}: {size!r} divided by {speed!r} is not a time", "a size over its own rate, such as '100 GB' over '2 GB/s'"
)
UNKNOWN_PART = problem_kind("law-unknown-part", "there is no transfer law for {part!r}", "one of: {known}")
NOTHING_TO_SHARE = problem_kind("law-nothing-to-share", "{name} sum to zero, so no share follows from them", "at least one must be above 0")

_RATE_OF = {"data size": "data rate", "work": "compute rate"}

TRANSFER_PARTS = ("storage", "network", "encryption", "governance")
"""The four places where the articles print d/v."""


@dataclass(frozen=True, slots=True)
class LawResult:
    """One law's value in every reading.

    Attributes
    ----------
    law : str
        Name and printed form.
    literal_s : float or array
        The printed formula.
    wall_clock_s : float or array
        Elapsed time.
    node_time_s : float or array
        Node-seconds.
    divided_wall_s : float or array
        Elapsed time if the size is that of one job divided over all nodes; equals ``wall_clock_s`` where the law already means that.
    reading : str
        How the literal value relates to the other two.
    """

    law: str
    literal_s: Array
    wall_clock_s: Array
    node_time_s: Array
    divided_wall_s: Array
    reading: str


@dataclass(frozen=True, slots=True)
class LiteralShares:
    """What the printed share formula assigns.

    Attributes
    ----------
    shares : array, shape (..., n)
        C_i as printed, in the unit of the data.
    assigned, unassigned : array, shape (...)
        Sum of the shares, and what of the data goes to nobody.
    """

    shares: Array
    assigned: Array
    unassigned: Array


def _dimension(text: str) -> tuple[str, float]:
    problems: list[Problem] = []
    for dimension in ("data size", "work", "data rate", "compute rate", "time", "frequency"):
        try:
            return dimension, parse_quantity(text, dimension)
        except InputError as error:
            problems.extend(error.problems)
    raise InputError(problems[:1])


def _size_and_speed(law: str, size: Numeric, speed: Numeric) -> tuple[Numeric, Numeric]:
    """Return both as SI numbers, refusing a size whose rate the speed is not."""
    size_text, speed_text = isinstance(size, str), isinstance(speed, str)
    if not size_text and not speed_text:
        return size, speed
    unit_task = not size_text and np.ndim(size) == 0 and size == 1.0 and speed_text
    if unit_task:
        kind, value = _dimension(speed)
        if kind != "frequency":
            raise MISMATCH.error(path="v", law=law, size="1 task", speed=speed, hint="a whole task over tasks per second, such as '0.5 Hz'")
        return 1.0, value
    if not (size_text and speed_text):
        raise MISMATCH.error(law=law, size=str(size), speed=str(speed), hint="give both with units, or both as SI numbers")
    size_kind, size_value = _dimension(size)
    speed_kind, speed_value = _dimension(speed)
    if _RATE_OF.get(size_kind) != speed_kind:
        example = DIMENSIONS[_RATE_OF.get(size_kind, "data rate")].example
        raise MISMATCH.error(law=law, size=size, speed=speed, hint=f"a speed such as {example!r} goes with a size")
    return size_value, speed_value


def _law(law: str, size: Numeric, v: Numeric, n: Numeric) -> tuple[Array, Array]:
    size, v = _size_and_speed(law, size, v)
    size, v, n = non_negative("size", size), positive("v", v), at_least("n", n, 1)
    broadcast(size, v, n)
    return size / v, n


def distributed(v: Numeric, n: Numeric, *, c: Numeric = 1.0) -> LawResult:
    """Return the law of distributed processing, printed as T = (1/v)·n.

    Parameters
    ----------
    v : float, array or text
        Speed of one node [units of c per second].
    n : float or array
        Nodes, at least 1; each does 1/n of the task.
    c : float, array or text
        Size of the whole task; the printed 1 is one task.

    Returns
    -------
    LawResult
        ``literal_s`` = n·c/v, which is n times the node-time and n² times the wall clock; ``node_time_s`` = c/v;
        ``wall_clock_s`` = c/(v·n).

    Raises
    ------
    InputError
        n below 1, v not above 0, a negative or non-finite value, or units that do not make a time.

    Examples
    --------
    >>> r = distributed(2.0, 4, c=80.0)
    >>> float(r.literal_s), float(r.node_time_s), float(r.wall_clock_s)
    (160.0, 40.0, 10.0)
    """
    node_time, nodes = _law("distributed", c, v, n)
    wall = node_time / nodes
    reading = "the literal value is n times the node-time and n² times the wall clock of one task shared by n nodes"
    return LawResult("distributed: T = (1/v)·n", node_time * nodes, wall, node_time + 0 * nodes, wall, reading)


def training(c: Numeric, v: Numeric, *, n: Numeric) -> LawResult:
    """Return the law of training, printed as T = (c/v)·n.

    Parameters
    ----------
    c : float, array or text
        Work of one node; the articles say "training time cost", but time over speed is no time, so it is taken as work.
    v : float, array or text
        Speed of one node [units of c per second].
    n : float or array
        Nodes (or repetitions, such as tokens with c per token), at least 1.

    Returns
    -------
    LawResult
        ``literal_s`` = ``node_time_s`` = n·c/v: n nodes that each do c; ``wall_clock_s`` = c/v; ``divided_wall_s`` = c/(v·n) is the
        wall clock of one job of size c over n nodes.

    Raises
    ------
    InputError
        As :func:`distributed`.

    Examples
    --------
    Six FLOP per parameter and token, a million tokens on one device:

    >>> float(training(6 * 405.85e9, 400e12, n=1e6).literal_s)
    6087.75
    """
    one, nodes = _law("training", c, v, n)
    reading = "the literal value is the node-time of n nodes that each do c: what is billed; each of them is busy for c/v"
    return LawResult("training: T = (c/v)·n", one * nodes, one + 0 * nodes, one * nodes, one / nodes, reading)


def preprocessing(v: Numeric, n: Numeric, *, d: Numeric = 1.0) -> LawResult:
    """Return the law of preprocessing, printed as (1/v)·n with no size given.

    Parameters
    ----------
    v : float, array or text
        Speed of one node [units of d per second].
    n : float or array
        Nodes, at least 1.
    d : float, array or text
        All the data; the printed 1 is one data set.

    Returns
    -------
    LawResult
        As :func:`distributed`, with d for c.

    Raises
    ------
    InputError
        As :func:`distributed`.
    """
    node_time, nodes = _law("preprocessing", d, v, n)
    wall = node_time / nodes
    reading = "the literal value is n times the node-time and n² times the wall clock of one data set shared by n nodes"
    return LawResult("preprocessing: T = (1/v)·n", node_time * nodes, wall, node_time + 0 * nodes, wall, reading)


def transfer(d: Numeric, v: Numeric, *, n: Numeric = 1, part: str = "storage") -> LawResult:
    """Return the law of storage, network, encryption or governance, printed as d/v.

    Parameters
    ----------
    d : float, array or text
        Data *per node*.
    v : float, array or text
        Rate at which one node stores, sends, encrypts or audits.
    n : float or array
        Nodes that do so side by side, at least 1.
    part : str
        One of :data:`TRANSFER_PARTS`.

    Returns
    -------
    LawResult
        ``literal_s`` = ``wall_clock_s`` = d/v; ``node_time_s`` = n·d/v; ``divided_wall_s`` = d/(v·n) if d were all the data.

    Raises
    ------
    InputError
        As :func:`distributed`, or an unknown part.
    """
    if part not in TRANSFER_PARTS:
        raise UNKNOWN_PART.error(path="part", part=part, known=", ".join(TRANSFER_PARTS))
    one, nodes = _law(part, d, v, n)
    wall = one + 0 * nodes
    return LawResult(
        f"{part}: T = d/v", wall, wall, one * nodes, one / nodes, "the literal value is the wall clock; d is the data of each node"
    )


def total(parts: Numeric) -> Array:
    """Return the whole from its parts: T = ΣT_i of a decomposed task, D = ΣD_i of partitioned data, over the last axis.

    Raises
    ------
    InputError
        A negative or non-finite part.
    """
    values = np.atleast_1d(non_negative("parts", parts))
    return np.asarray(values.sum(axis=-1))[()]


def share_literal(times: Numeric, data: Numeric) -> LiteralShares:
    """Return the printed share C_i = T_i/ΣT_j · D_i, which does not conserve the data.

    The formula multiplies each part's own data by its share of the time, so the shares sum to the data only when one part holds
    everything. Kept to show what the formula says; use :func:`share_by_throughput` to divide work.

    Parameters
    ----------
    times : array, shape (..., n)
        T_i of the sub-tasks.
    data : array, shape (..., n)
        D_i of the sub-tasks.

    Raises
    ------
    InputError
        Negative or non-finite values, times that sum to zero, shapes that differ.

    Examples
    --------
    The articles' example, 100 GB over five nodes:

    >>> r = share_literal([20.0] * 5, [20e9] * 5)
    >>> float(r.shares[0]), float(r.unassigned)
    (4000000000.0, 80000000000.0)
    """
    t, d = np.atleast_1d(non_negative("times", times)), np.atleast_1d(non_negative("data", data))
    broadcast(t, d)
    whole_time = t.sum(axis=-1, keepdims=True)
    if (whole_time <= 0).any():
        raise NOTHING_TO_SHARE.error(path="times", name="times")
    shares = t / whole_time * d
    assigned = shares.sum(axis=-1)
    return LiteralShares(shares, assigned, np.broadcast_to(d, shares.shape).sum(axis=-1) - assigned)


def share_by_throughput(rates: Numeric, total: Numeric) -> Array:
    """Return the shares r_i/Σr_j · D that let every worker finish at the same time D/Σr_j.

    Parameters
    ----------
    rates : array, shape (..., n)
        Work per second of each worker.
    total : float or array, shape (...)
        What is to be divided.

    Returns
    -------
    array, shape (..., n)
        Shares that sum to ``total``.

    Raises
    ------
    InputError
        Negative or non-finite values, or rates that sum to zero.

    Examples
    --------
    >>> share_by_throughput([1, 2, 5], 800).tolist()
    [100.0, 200.0, 500.0]
    """
    r, d = np.atleast_1d(non_negative("rates", rates)), non_negative("total", total)
    whole_rate = r.sum(axis=-1, keepdims=True)
    if (whole_rate <= 0).any():
        raise NOTHING_TO_SHARE.error(path="rates", name="rates")
    return np.asarray(r / whole_rate * d[..., np.newaxis])


def share_whole(rates: Numeric, total: Numeric) -> npt.NDArray[np.int64]:
    """Return whole shares by largest remainder; equal remainders go to the lower index.

    The makespan exceeds the ideal total/Σrates by at most one item on the slowest worker.

    Parameters
    ----------
    rates : array, shape (n,)
        Work per second of each worker.
    total : int
        Items to divide.

    Examples
    --------
    >>> share_whole([1, 1, 1, 1], 10).tolist()
    [3, 3, 2, 2]
    """
    items = int(whole("total", total, low=0))
    ideal = share_by_throughput(rates, float(items))
    shares = np.floor(ideal).astype(np.int64)
    left = items - int(shares.sum())
    order = np.argsort(-(ideal - shares), kind="stable")
    busy = order[np.asarray(rates, dtype=np.float64)[order] > 0]
    shares[busy[:left]] += 1
    return shares


def finish_times(shares: Numeric, rates: Numeric) -> Array:
    """Return when each worker is done with its share: share over rate.

    Raises
    ------
    InputError
        Negative shares or a rate not above zero.
    """
    s, r = non_negative("shares", shares), positive("rates", rates)
    broadcast(s, r)
    return np.asarray(s / r)
