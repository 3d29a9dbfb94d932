"""Data pipelines: bytes through stages, the time of stages one after the other or all at once, what bounds them, and recovery.

A stage is described by how long it would need each resource alone: the processors of its nodes, a storage tier's reads and writes, links,
answers that it waits for. Each such time is the documents' law d/v (:func:`hpcsim.cost.laws.transfer`), with d the bytes that the resource
has to carry and v its rate. A stage by itself takes the longest of them, since reading, working and writing go on side by side; stages
that run at once add up on what they share.

All functions take arrays; ``use`` has shape (..., stages, resources) in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, non_negative, positive
from hpcsim.cost.laws import transfer

__all__ = [
    "answers_s",
    "bottleneck",
    "in_flight_bytes",
    "kept_byte_s",
    "lead_s",
    "processor_s",
    "recovery_point_s",
    "shuffled_bytes",
    "staged_s",
    "streamed_s",
    "through",
]

IntArray = npt.NDArray[np.int64]


def through(own: Numeric, ratios: Numeric, after: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Return what goes into every stage and what comes out of it, bytes, records or objects alike.

    A stage takes all that the stages before it make: into stage k go own_k + Σ out_j over its predecessors, and out_k = ratio_k · in_k.
    What several stages take is handed to each of them in full.

    Parameters
    ----------
    own : array, shape (..., stages)
        What begins at each stage.
    ratios : array, shape (..., stages)
        Out over in, of each stage.
    after : sequence of sequences of int
        Predecessors of each stage; each stands before it.

    Returns
    -------
    (array, array), shape (..., stages)

    Examples
    --------
    >>> into, out = through([100.0, 0.0, 0.0], [0.5, 0.2, 1.0], [[], [0], [0, 1]])
    >>> into.tolist(), out.tolist()
    ([100.0, 50.0, 60.0], [50.0, 10.0, 60.0])
    """
    begins, ratio = np.broadcast_arrays(non_negative("own", own), positive("ratios", ratios))
    into, out = np.array(begins, dtype=np.float64), np.zeros(begins.shape)
    for stage, before in enumerate(after):
        for one in before:
            into[..., stage] += out[..., one]
        out[..., stage] = into[..., stage] * ratio[..., stage]
    return into, out


def processor_s(size_bytes: Numeric, *, nodes: Numeric, cores: Numeric, core_bytes_per_s: Numeric) -> Array:
    """Return the wall clock of work that the cores of equal nodes share: d/v with d = size/nodes and v = cores · rate.

    >>> float(processor_s(100e12, nodes=1, cores=32, core_bytes_per_s=1.75e9)) / 3600 < 0.5
    True
    """
    n, c, rate = positive("nodes", nodes), at_least("cores", cores, 1), positive("core_bytes_per_s", core_bytes_per_s)
    size = non_negative("size_bytes", size_bytes)
    broadcast(size, n, c, rate)
    return np.asarray(transfer(size / n, c * rate, n=n, part="governance").wall_clock_s)[()]


def answers_s(requests: Numeric, latency_s: Numeric, *, nodes: Numeric, streams: Numeric, batch: Numeric = 1) -> Array:
    """Return the time to wait for answers: requests/batch · latency over the streams of all nodes. Assumes that the other side keeps up.

    >>> float(answers_s(1e6, 0.002, nodes=4, streams=16, batch=100))
    0.3125
    """
    n, k, b = positive("nodes", nodes), at_least("streams", streams, 1), at_least("batch", batch, 1)
    asked, each = non_negative("requests", requests), non_negative("latency_s", latency_s)
    broadcast(asked, each, n, k, b)
    return np.asarray(asked / b * each / (n * k))[()]


def shuffled_bytes(size_bytes: Numeric, nodes: Numeric) -> Array:
    """Return what crosses between nodes when everybody sends to everybody alike: (n−1)/n of the data; the rest is at home already.

    >>> float(shuffled_bytes(8e12, 8)) / 1e12
    7.0
    """
    size, n = non_negative("size_bytes", size_bytes), at_least("nodes", nodes, 1)
    broadcast(size, n)
    return np.asarray(size * (n - 1.0) / n)[()]


def in_flight_bytes(size_bytes: Numeric, record_frac: Numeric) -> Array:
    """Return the bytes on the way of encrypted data: headers and tags on top."""
    size, share = non_negative("size_bytes", size_bytes), fraction("record_frac", record_frac)
    broadcast(size, share)
    return np.asarray(size * (1.0 + share))[()]


def staged_s(use: Numeric) -> Array:
    """Return the time of stages one after the other, each as long as what it needs most of: Σ over stages of max over resources.

    >>> float(staged_s([[3.0, 1.0], [2.0, 4.0]]))
    7.0
    """
    times = np.atleast_2d(non_negative("use", use))
    return np.asarray(times.max(axis=-1).sum(axis=-1))[()]


def lead_s(use: Numeric, chunks: Numeric) -> Array:
    """Return how long after the first stage each begins in streaming: the first chunk has to pass those before it, shape (..., stages)."""
    times = np.atleast_2d(non_negative("use", use)).max(axis=-1)
    n = at_least("chunks", chunks, 1)
    return np.asarray((np.cumsum(times, axis=-1) - times) / n[..., np.newaxis])[()]


def streamed_s(use: Numeric, chunks: Numeric) -> Array:
    """Return the time of stages that all run at once: what is shared adds up, and the first chunk has to go through all of them.

    With b = max over resources of Σ over stages (the bottleneck) and s the time one after the other, b + (s − b)/chunks: the steady state
    and the filling. One chunk is no overlap, many are none but the bottleneck. Lies between the longest stage and their sum.

    Parameters
    ----------
    use : array, shape (..., stages, resources)
        Seconds for which each stage needs each resource alone.
    chunks : float or array, shape (...)
        Pieces that stages hand on, at least 1.

    Examples
    --------
    >>> float(streamed_s([[3.0, 1.0], [2.0, 4.0]], 1)), float(streamed_s([[3.0, 1.0], [2.0, 4.0]], 100))
    (7.0, 5.02)
    """
    times = np.atleast_2d(non_negative("use", use))
    least = times.sum(axis=-2).max(axis=-1)
    return np.asarray(least + (staged_s(times) - least) / at_least("chunks", chunks, 1))[()]


def bottleneck(use: Numeric) -> IntArray:
    """Return which resource each stage needs longest, shape (..., stages); the first of equals."""
    return np.asarray(np.atleast_2d(non_negative("use", use)).argmax(axis=-1))


def recovery_point_s(period_s: Numeric, transfer_s: Numeric) -> Array:
    """Return what may be lost at worst, as time: all since the last backup that is complete began, period + transfer.

    >>> float(recovery_point_s(86400.0, 7200.0)) / 3600
    26.0
    """
    period, moved = non_negative("period_s", period_s), non_negative("transfer_s", transfer_s)
    broadcast(period, moved)
    return np.asarray(period + moved)[()]


def kept_byte_s(size_bytes: Numeric, *, factor: Numeric, kept_s: Numeric) -> Array:
    """Return the raw byte-seconds of data that are kept: size · redundancy · time; times the rent it is what keeping them costs."""
    size, raw, time = non_negative("size_bytes", size_bytes), at_least("factor", factor, 1), non_negative("kept_s", kept_s)
    broadcast(size, raw, time)
    return np.asarray(size * raw * time)[()]
