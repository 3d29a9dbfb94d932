"""Who runs the points of a sweep: this process, local processes, dask, or any executor of ``concurrent.futures``."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.results.provenance import code_fingerprint
from hpcsim.scenario.load import Scenario
from hpcsim.study.points import Mode, Outcome, Point, Task, each, work
from hpcsim.study.store import Store

__all__ = ["run_points"]

NO_DASK = problem_kind("no-dask", "--dask needs dask.distributed", "pip install 'hpcsim-planner[dask]'")
DEAD_DASK = problem_kind(
    "dask-address",
    "no dask scheduler answers at {address!r}: {why}",
    "start one with 'dask scheduler', and check the address and the firewall",
)
WORKER_LOST = problem_kind("worker-lost", "a process that ran points was lost: {why}", "{kept}; fewer --jobs need less memory")
OTHER_CODE = problem_kind(
    "other-hpcsim-on-worker",
    "a worker has another hpcsim (code {other}) than this one (code {own})",
    "install the same hpcsim on all workers",
)

_CHUNK_S = 0.2
_WAIT_S = 8.0
Numbered = tuple[int, str, Point]


def _pool(jobs: int) -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["hpcsim.run.simulate", "hpcsim.run.estimate", "hpcsim.study.points"])
    return ProcessPoolExecutor(jobs, mp_context=context)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        import distributed
    except ImportError:
        raise NO_DASK.error() from None
    try:
        library: Any = distributed
        client = library.Client(address, timeout=_WAIT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DEAD_DASK.error(address=address, why=why) from None
    try:
        threads = sum(client.nthreads().values())
        yield client.get_executor(pure=False), max(threads, 1)
    finally:
        client.close()


class _Chunks:
    """Hands out points in order, as many at a time as take about ``seconds``."""

    def __init__(self, points: Sequence[Numbered], workers: int, seconds: float = _CHUNK_S) -> None:
        self._chunk_s = seconds
        self._points, self._at, self._workers = points, 0, workers
        self._done, self._spent_s = 0, 0.0

    def learn(self, points: int, seconds: float) -> None:
        self._done, self._spent_s = self._done + points, self._spent_s + seconds

    def take(self) -> list[Numbered]:
        left = len(self._points) - self._at
        size = max(1, round(self._chunk_s * self._done / self._spent_s)) if self._spent_s > 0 else 1
        size = min(size, max(1, left // (2 * self._workers)), 500)
        chunk = list(self._points[self._at : self._at + size])
        self._at += len(chunk)
        return chunk


def _timed(task: Task, points: Sequence[Numbered]) -> tuple[float, str, list[tuple[int, Outcome]]]:
    began = time.perf_counter()
    code, done = work(task, points)
    return time.perf_counter() - began, code, done


def _through(executor: Executor, workers: int, task: Task, points: Sequence[Numbered], take: Callable[[int, Outcome], None]) -> None:
    chunks = _Chunks(points, workers)
    running: dict[Future[Any], int] = {}

    def feed() -> None:
        while len(running) < 2 * workers and (chunk := chunks.take()):
            running[executor.submit(_timed, task, chunk)] = len(chunk)

    try:
        feed()
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                size = running.pop(future)
                seconds, code, outcomes = future.result()
                if task.foreign and code != code_fingerprint():
                    raise OTHER_CODE.error(other=code[:12], own=code_fingerprint()[:12])
                chunks.learn(size, seconds)
                for number, outcome in outcomes:
                    take(number, outcome)
            feed()
    finally:
        for future in running:
            future.cancel()


def run_points(
    scenario: Scenario,
    points: Sequence[Numbered],
    mode: Mode,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    dask: str | None = None,
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Outcome]:
    """Run points and return their outcomes by number; where there is a store, each is kept as soon as it is known.

    Raises
    ------
    InputError
        No dask scheduler, a lost process, a store that cannot be written.
    """
    found: dict[int, Outcome] = {}
    keys = {number: key for number, key, _ in points}
    local = executor is None and dask is None
    task = Task(scenario, mode, store if local else None, uuid.uuid4().hex, foreign=not local)

    def take(number: int, outcome: Outcome) -> None:
        found[number] = outcome
        if store is not None and task.store is None:
            store.put(outcome.record(keys[number]))
        if progress:
            progress(len(found), len(points))

    try:
        if dask is not None:
            with _dask(dask) as (client, threads):
                _through(client, threads, task, points, take)
        elif executor is not None:
            _through(executor, getattr(executor, "_max_workers", None) or os.cpu_count() or 1, task, points, take)
        elif jobs == 1 or len(points) <= 1:
            chunks = _Chunks(points, 1, 0.5)
            while chunk := chunks.take():
                began = time.perf_counter()
                for number, outcome in each(task, chunk):
                    take(number, outcome)
                chunks.learn(len(chunk), time.perf_counter() - began)
        else:
            workers = min(jobs, len(points))
            with _pool(workers) as pool:
                try:
                    _through(pool, workers, task, points, take)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    except InputError:
        raise
    except (BrokenProcessPool, Exception) as error:
        if not _lost(error):
            raise
        kept = "what was done is kept, go on with --resume" if store is not None else "nothing was kept; give --out, or store="
        raise WORKER_LOST.error(why=" ".join(str(error).split())[:200] or type(error).__name__, kept=kept) from error
    finally:
        if store is not None:
            store.close()
    return found


def _lost(error: BaseException) -> bool:
    """Whether an error means that a worker or the connection to it is gone, and not that hpcsim is at fault."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, BrokenProcessPool) or bool(
        names & {"KilledWorker", "CommClosedError", "FutureCancelledError", "CancelledError"}
    )
