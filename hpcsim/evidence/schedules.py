"""The batch policies once more, written for the reader: the oracle that every start time of the engine is held against.

No incremental state: everything is looked up again at every step, in O(n²) and worse. One pool of processors; the rules are those of the
schedule verification page (backfilling by shadow time and extra processors; Lifka 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Job", "slow_starts"]


@dataclass(frozen=True)
class Job:
    """A batch job; ``place`` is its position in the log."""

    place: int
    submit_s: float
    run_s: float
    estimate_s: float
    processors: int


@dataclass
class _Machine:
    processors: int
    queue: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    start_s: dict[int, float] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.processors - sum(job.processors for job in self.running)

    def begin(self, job: Job, now: float) -> None:
        self.queue.remove(job)
        self.running.append(job)
        self.start_s[job.place] = now

    def end_of(self, job: Job) -> float:
        return self.start_s[job.place] + job.run_s

    def planned_end_of(self, job: Job, now: float) -> float:
        return max(self.start_s[job.place] + job.estimate_s, now)

    def free_at(self, time: float, now: float) -> int:
        """Processors free at ``time`` if every running job ends at its estimate, or right now where that has passed."""
        return self.processors - sum(job.processors for job in self.running if self.planned_end_of(job, now) > time)


def _start_what_may(machine: _Machine, policy: str, now: float) -> None:
    by_estimate = policy == "sjf"
    machine.queue.sort(key=lambda job: ((job.estimate_s,) if by_estimate else ()) + (job.submit_s, job.place))
    while machine.queue and machine.queue[0].processors <= machine.free:
        machine.begin(machine.queue[0], now)
    if not machine.queue or policy in ("fcfs", "sjf"):
        return
    head, *others = machine.queue
    moments = sorted({machine.planned_end_of(job, now) for job in machine.running})
    shadow = next(t for t in moments if machine.free_at(t, now) >= head.processors)
    spare = machine.free_at(shadow, now) - head.processors
    if policy == "easy-sjbf":
        others.sort(key=lambda job: job.estimate_s)
    for job in others:
        if job.processors > machine.free:
            continue
        if now + job.estimate_s <= shadow:
            machine.begin(job, now)
        elif job.processors <= spare:
            spare -= job.processors
            machine.begin(job, now)


def slow_starts(jobs: Sequence[Job], processors: int, policy: str) -> dict[int, float]:
    """Return the start of every job by its place in the log: all that happens at an instant, then one pass.

    Parameters
    ----------
    jobs : sequence of Job
    processors : int
    policy : str
        ``fcfs``, ``sjf``, ``easy`` or ``easy-sjbf``.

    Examples
    --------
    >>> five = [(0, 6, 10), (1, 8, 10), (2, 4, 20), (3, 2, 30), (4, 2, 5)]
    >>> jobs = [Job(i, s, run, run, p) for i, (s, p, run) in enumerate(five)]
    >>> [slow_starts(jobs, 10, "easy")[i] for i in range(5)]
    [0, 10, 20, 3, 4]
    """
    machine = _Machine(processors)
    pending = sorted(jobs, key=lambda job: (job.submit_s, job.place))
    while pending or machine.running:
        now = min([job.submit_s for job in pending[:1]] + [machine.end_of(job) for job in machine.running])
        machine.running = [job for job in machine.running if machine.end_of(job) > now]
        machine.queue += [job for job in pending if job.submit_s == now]
        pending = [job for job in pending if job.submit_s > now]
        _start_what_may(machine, policy, now)
    return machine.start_s
