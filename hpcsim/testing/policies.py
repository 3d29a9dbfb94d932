"""Conformance check for scheduling policies, for those who write one.

In a plug-in's own tests::

    from hpcsim.testing.policies import check_policy

    def test_mine():
        check_policy(MyPolicy)
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np

from hpcsim.base.rng import stream
from hpcsim.cost.speedup import AmdahlLaw, DowneyLaw
from hpcsim.engine.jobs import EventOrder, PolicyFault, run_jobs
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.machine import Machine, NodeClass
from hpcsim.scheduling.policies import Decision, Policy, QueueKey, View
from hpcsim.workload.jobs import JobTable

__all__ = ["check_policy", "random_elastic", "random_jobs", "random_machine"]

_ORDERS: tuple[EventOrder, ...] = ("batch", "event")


def random_jobs(seed: int, *, jobs: int = 60, processors: int = 16) -> JobTable:
    """Return seeded jobs that bring out corner cases: many equal times, exact estimates, jobs as large as the machine."""
    draw = stream(seed, "testing", "policies")
    run = draw.integers(1, 30, jobs).astype(np.float64)
    over = np.where(draw.random(jobs) < 0.4, 1.0, draw.integers(1, 5, jobs))
    return JobTable.of(
        np.sort(draw.integers(0, 2 * jobs, jobs)).astype(np.float64),
        run,
        np.minimum(processors, np.rint(2.0 ** (draw.random(jobs) * np.log2(processors + 1)))).astype(np.int64),
        estimate_s=run * over,
        user=draw.integers(0, 5, jobs),
        group=draw.integers(0, 3, jobs),
        queue=draw.integers(0, 2, jobs),
    )


class _Guarded:
    """Hands a policy copies that cannot be changed, asks twice, and compares.

    ``forget`` hides the last reservation, and that only arrivals have happened since. The memo always comes back: it is the policy's own.
    """

    def __init__(self, policy: Policy, *, forget: bool) -> None:
        self.policy = policy
        self.forget = forget

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def plans(self) -> bool:
        return bool(getattr(self.policy, "plans", False))

    @property
    def rooms(self) -> bool:
        return bool(getattr(self.policy, "rooms", False))

    @property
    def nodes_only(self) -> bool:
        return bool(getattr(self.policy, "nodes_only", False))

    @property
    def indexes(self) -> str | None:
        return getattr(self.policy, "indexes", None)

    @property
    def sizes(self) -> bool:
        return bool(getattr(self.policy, "sizes", False))

    @property
    def resizes(self) -> bool:
        return bool(getattr(self.policy, "resizes", False))

    @property
    def key(self) -> QueueKey | None:
        return self.policy.key

    def decide(self, view: View, /) -> Decision:
        start_s, end_s = tuple(view.start_s), tuple(view.end_s)
        copies = [
            dataclasses.replace(
                view,
                queue=tuple(view.queue),
                submit_s=tuple(view.submit_s),
                estimate_s=tuple(view.estimate_s),
                processors=tuple(view.processors),
                running_end_s=tuple(view.running_end_s),
                running_processors=tuple(view.running_processors),
                arrived=tuple(view.arrived),
                only_arrivals=view.only_arrivals and not self.forget,
                reservation=None if self.forget else view.reservation,
                memo=copy.deepcopy(view.memo),
                user=tuple(view.user),
                account=tuple(view.account),
                partition=tuple(view.partition),
                qos=tuple(view.qos),
                start_s=start_s,
                end_s=end_s,
                room=None if view.room is None else view.room.copied(),
                by_size=copy.deepcopy(view.by_size),
            )
            for _ in range(3)
        ]
        first = Decision(*self.policy.decide(copies[0]))
        second = Decision(*self.policy.decide(copies[1]))
        if (list(first.start), *first[1:]) != (list(second.start), *second[1:]):
            raise PolicyFault(f"policy {self.name!r} answers the same view differently: {first} and {second}")
        if copies[0] != copies[2]:
            raise PolicyFault(f"policy {self.name!r} changes the view that it is given")
        return first


def check_policy(make: Callable[[], Policy], *, seeds: int = 8, processors: int = 16) -> None:
    """Run a policy on generated jobs and check what every policy owes.

    It must leave the view alone, answer equal views equally, start only jobs that wait and fit, start every job in the end, and decide
    the same whether or not it is told what it decided before. One that decides on machines of nodes (``rooms``) is also run on such machines, where
    it must not overbook a node, and must leave jobs that it stops no more than they had done. One that chooses ``sizes`` is run with jobs that may
    change theirs, and must give each only sizes that it may have.

    Parameters
    ----------
    make : callable
        Makes the policy: what the registry holds.
    seeds : int
        Generated traces.
    processors : int
        Size of the machine.

    Raises
    ------
    PolicyFault
        With what the policy did.
    """
    for seed in range(seeds):
        jobs = random_jobs(seed, processors=processors)
        for order in _ORDERS:
            plain = run_jobs(jobs, processors, make(), order=order, check=True)
            if np.isnan(plain.end_s).any():
                job = int(jobs.job_id[np.isnan(plain.end_s)][0])
                raise PolicyFault(f"policy {make().name!r} never starts job {job} of {len(jobs)} (seed {seed}, {order} order)")
            for forget in (False, True):
                guarded = run_jobs(jobs, processors, _Guarded(make(), forget=forget), order=order)
                if not np.array_equal(plain.start_s, guarded.start_s):
                    how = "without what it decided before" if forget else "from a copy of the view"
                    raise PolicyFault(f"policy {make().name!r} decides differently {how} (seed {seed}, {order} order)")
            if getattr(make(), "rooms", False):
                _check_on_nodes(make, seed, order)
            if getattr(make(), "sizes", False):
                _check_on_nodes(make, seed, order, random_elastic)


def random_machine(seed: int) -> tuple[Machine, JobTable]:
    """Return a seeded machine of unequal nodes and jobs on it that ask for cores, accelerators, memory, whole nodes and more than one node."""
    draw = stream(seed, "testing", "machines")
    machine = Machine.of([NodeClass("gpu", 3, 8, 4, 64), NodeClass("cpu", 2, 12, 0, 96)])
    jobs = random_jobs(seed, jobs=40, processors=12)
    gpus = np.where(draw.random(40) < 0.4, draw.integers(1, 7, 40), 0).astype(np.float64)
    return machine, dataclasses.replace(
        jobs,
        processors=np.where(gpus > 0, np.maximum(gpus, 1), jobs.processors).astype(np.int64),
        gpus=gpus,
        memory_bytes=draw.choice([0.0, 8.0, 40.0], 40),
        nodes=np.where((gpus == 0) & (draw.random(40) < 0.2), draw.integers(1, 4, 40), -1),
        exclusive=draw.random(40) < 0.1,
        priority=draw.integers(0, 3, 40).astype(np.float64),
    )


def random_elastic(seed: int) -> tuple[Machine, JobTable]:
    """Return :func:`random_machine` with jobs most of which may change their size, under three laws of speed."""
    machine, jobs = random_machine(seed)
    draw = stream(seed, "testing", "elastic")
    size, rigid = jobs.processors, draw.random(len(jobs)) < 0.3
    return machine, dataclasses.replace(
        jobs,
        laws=(AmdahlLaw(0.0), AmdahlLaw(0.2), DowneyLaw(6.0, 1.5)),
        law=np.where(rigid, -1, draw.integers(0, 3, len(jobs))),
        least=np.where(rigid, -1, draw.integers(1, size + 1)),
        most=np.where(rigid, -1, draw.integers(size, 2 * size + 4)),
    )


def _check_on_nodes(
    make: Callable[[], Policy], seed: int, order: EventOrder, generate: Callable[[int], tuple[Machine, JobTable]] = random_machine
) -> None:
    machine, jobs = generate(seed)
    name = make().name
    plain = run_on_machine(jobs, machine, make(), order=order, check=True)
    if np.isnan(plain.end_s).any():
        raise PolicyFault(f"policy {name!r} never ends a job on nodes (seed {seed}, {order} order)")
    for stretch in plain.stretches:
        if not 0 <= stretch.kept_s <= jobs.run_s[stretch.job] * (1 + 1e-12) or stretch.lost_s < 0:
            raise PolicyFault(f"policy {name!r} leaves a stopped job with more than it has done (seed {seed}, {order} order)")
    guarded = run_on_machine(jobs, machine, _Guarded(make(), forget=False), order=order)
    if not np.array_equal(plain.end_s, guarded.end_s):
        raise PolicyFault(f"policy {name!r} decides differently from a copy of the view of nodes (seed {seed}, {order} order)")
