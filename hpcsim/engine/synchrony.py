"""A parameter server event by event: workers that compute, write and read at their own pace, and links that serve one after the other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from hpcsim.base.rng import stream
from hpcsim.engine.clock import Clock

__all__ = ["ServerRun", "run_parameter_server"]


@dataclass(frozen=True)
class ServerRun:
    """What happened after the first updates, which fill the pipe, were left out.

    Attributes
    ----------
    updates : int
    updates_per_s : float
    staleness_mean : float
        Updates by others between the beginning of a worker's read and the end of its next write, mean over all updates.
    staleness : array, shape (workers,)
        The same by worker; NaN for one that made no update.
    busy_frac : float
        Share of the time in which the servers took updates.
    """

    updates: int
    updates_per_s: float
    staleness_mean: float
    staleness: npt.NDArray[np.float64]
    busy_frac: float


@dataclass(slots=True)
class _Server:
    """All shards as one link each way: an update is spread over them evenly, so they work in step."""

    clock: Clock
    transfer_s: float
    write: simpy.Resource
    read: simpy.Resource
    version: int = 0
    busy_s: float = 0.0
    written: list[tuple[float, int, int]] = field(default_factory=list)
    """(time, worker, staleness) of every update."""

    def worker(self, index: int, compute_s: float, jitter: float, rng: np.random.Generator) -> Generator[simpy.Event, Any, None]:
        read = self.version
        while True:
            factor = max(1.0 + jitter * float(rng.standard_normal()), 0.0) if jitter > 0 else 1.0
            yield self.clock.timeout(compute_s * factor)
            yield from self._pass(self.write, counts=True)
            self.written.append((self.clock.now, index, self.version - read))
            self.version += 1
            read = self.version
            yield from self._pass(self.read, counts=False)

    def _pass(self, link: simpy.Resource, *, counts: bool) -> Generator[simpy.Event, Any, None]:
        if self.transfer_s <= 0:
            return
        with link.request() as turn:
            yield turn
            yield self.clock.timeout(self.transfer_s)
        if counts:
            self.busy_s += self.transfer_s


def run_parameter_server(
    compute_s: npt.ArrayLike,
    *,
    updates: int,
    update_bytes: float = 0.0,
    servers: int = 1,
    server_bytes_per_s: float = float("inf"),
    jitter: float = 0.0,
    seed: int = 0,
) -> ServerRun:
    """Let asynchronous workers make a number of updates.

    Parameters
    ----------
    compute_s : array, shape (workers,)
        Time of one gradient on each.
    updates : int
        In all, besides as many at the beginning that are not counted.
    update_bytes, server_bytes_per_s : float
        Size of an update, and rate of one server each way.
    servers : int
        Shards that hold equal parts of the parameters.
    jitter : float
        Coefficient of variation of every gradient's time.
    seed : int

    Notes
    -----
    The check of :func:`hpcsim.cost.synchrony.asynchronous`: staleness n − 1, the sum of the workers' rates while the servers have room,
    the servers' rate where they have not.
    """
    times = np.atleast_1d(np.asarray(compute_s, dtype=np.float64))
    clock = Clock()
    server = _Server(clock, update_bytes / (servers * server_bytes_per_s), simpy.Resource(clock), simpy.Resource(clock))
    for i, seconds in enumerate(times):
        clock.process(server.worker(i, float(seconds), jitter, stream(seed, "worker", str(i))))
    while len(server.written) < 2 * updates:
        clock.step()
    kept = server.written[updates : 2 * updates]
    span_s = kept[-1][0] - server.written[updates - 1][0]
    by_worker = np.full(times.size, np.nan)
    owner = np.array([row[1] for row in kept])
    stale = np.array([row[2] for row in kept], dtype=np.float64)
    for i in np.unique(owner):
        by_worker[i] = stale[owner == i].mean()
    return ServerRun(updates, updates / span_s, float(stale.mean()), by_worker, server.busy_s / clock.now)
