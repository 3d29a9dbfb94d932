"""The tables of a schedule: jobs, policies, users, processors by state, and what was wrong with the logs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.results.columns import Table, count_column, real_column, text_column
from hpcsim.results.node_groups import STATES
from hpcsim.results.standby import WATCHED

__all__ = ["SCHEDULES", "spans_of"]

_POLICY = text_column("policy", "Scheduling policy of this row; present where several policies ran side by side.", optional=True)

_JOBS = Table(
    "jobs",
    "Every job that was submitted, one row each; also those that never started.",
    (
        _POLICY,
        count_column("job_id", "Number of the job: the log's own, or counted from 1."),
        text_column("name", "Name of the job.", null=True),
        text_column("kind", "What the job does.", values=("batch", "training", "task", "matrix-product", "pattern", "pipeline", "serving")),
        text_column("group", "Node group that the job asks for or ran on.", null=True),
        text_column("user", "Who submitted it.", null=True),
        real_column("submit_s", "s", "Time of submission."),
        real_column("start_s", "s", "Time of start; empty if it never started.", null=True),
        real_column("end_s", "s", "Time of end; empty if it had not ended.", null=True),
        real_column(
            "wait_s", "s", "Start less submission, and the time that a stopped job stood still since; empty if it never started.", null=True
        ),
        real_column(
            "run_s",
            "s",
            "Time on the machine: end less start, and less the time that it stood still; for a job that has not ended, the run time it would need where that is known.",
            null=True,
        ),
        real_column("estimate_s", "s", "Run time that the scheduler was told.", null=True),
        count_column("processors", "Processors that the job asks for, and holds while it runs if it cannot change its size."),
        count_column("nodes", "Nodes that the job holds while it runs.", null=True),
        text_column("hosts", "Nodes that it ran on, in compact form, where jobs get nodes.", null=True, optional=True),
        text_column("communication", "What a batch job sends while it runs, where some do.", null=True, optional=True),
        real_column("undisturbed_s", "s", "Run time that the log or the model gives, where jobs communicate.", null=True, optional=True),
        text_column(
            "status", "What became of it by the end of the simulation.", values=("finished", "running", "queued", "failed", "cancelled")
        ),
        real_column("bounded_slowdown", "1", "max(1, (wait + run) / max(run, 10 s)); empty if it has not ended.", null=True),
        real_column("device_s", "s", "Processors times run time, over all sizes that it had.", null=True),
        real_column("cost_usd", "USD", "What the job is billed.", null=True),
        text_column("submit_time", "Date and time of submission (ISO 8601), for logs with dates.", null=True, optional=True),
        count_column("resizes", "How often it changed its size, where jobs may.", null=True, optional=True),
    ),
)

_POLICIES = Table(
    "policies",
    "One row per scheduling policy of a replay, over all its jobs.",
    (
        text_column("policy", "Scheduling policy."),
        count_column("jobs", "Jobs replayed."),
        real_column("mean_wait_s", "s", "Mean wait."),
        real_column("median_wait_s", "s", "Median wait."),
        real_column("p95_wait_s", "s", "95th percentile of the wait."),
        real_column("max_wait_s", "s", "Longest wait."),
        real_column("mean_bounded_slowdown", "1", "Mean bounded slowdown, bound 10 s."),
        real_column("makespan_s", "s", "Last end less first submission."),
        real_column("utilisation_frac", "1", "Busy processor-seconds over processors times makespan."),
        real_column("steady_utilisation_frac", "1", "The same without the run-in and the drain.", null=True),
        real_column("p99_wait_s", "s", "99th percentile of the wait.", null=True),
        real_column("mean_response_s", "s", "Mean of wait and run together.", null=True),
        real_column("weighted_wait_s", "s", "Mean wait, each job weighted by its processor-seconds.", null=True),
        real_column("mean_slowdown", "1", "Mean of (wait + run) / run, unbounded.", null=True),
        real_column("median_bounded_slowdown", "1", "Median of the bounded slowdown.", null=True),
        real_column("p95_bounded_slowdown", "1", "95th percentile of the bounded slowdown.", null=True),
        real_column("p99_bounded_slowdown", "1", "99th percentile of the bounded slowdown.", null=True),
        real_column("weighted_bounded_slowdown", "1", "Mean bounded slowdown, each job weighted by its processor-seconds.", null=True),
        real_column(
            "capacity_loss_frac", "1", "Idle processor-seconds while a waiting job would have fitted, over all of them.", null=True
        ),
        real_column(
            "fragmentation_frac", "1", "Idle processor-seconds while jobs waited and none would have fitted, over all of them.", null=True
        ),
        real_column("fairness_jain_frac", "1", "Jain's index of the users' mean bounded slowdowns: 1 where all fare alike.", null=True),
        real_column("overtaken_frac", "1", "Share of the jobs that some later one passed.", null=True),
        real_column("envious_frac", "1", "Share of the jobs that a later one passed that asked for no fewer processors.", null=True),
        count_column("starved_jobs", "Jobs that waited over a day and over ten times their own estimate.", null=True),
        real_column("energy_per_job_j", "J", "Energy of the pool over its jobs, where the power of a processor is given.", null=True),
        real_column("cpu_s", "s", "Processor seconds of the simulation itself; differs between machines and runs.", null=True),
        *WATCHED,
    ),
)

_SHARES = Table(
    "shares",
    "Figures by user, group and queue, where the log tells them apart.",
    (
        _POLICY,
        text_column("kind", "What the row stands for.", values=("user", "group", "queue", "qos")),
        text_column("name", "Which one."),
        count_column("jobs", "Jobs."),
        real_column("processor_frac", "1", "Part of all processor-seconds that were used."),
        real_column("mean_wait_s", "s", "Mean wait."),
        real_column("max_wait_s", "s", "Longest wait."),
        real_column("mean_bounded_slowdown", "1", "Mean bounded slowdown."),
    ),
)

_QUALITY = Table(
    "quality",
    "What was wrong with the input logs and what was done about it.",
    (
        text_column("file", "File that was read."),
        text_column("issue", "What is wrong."),
        count_column("rows", "How many rows have it."),
        text_column("action", "What was done with them, such as dropped, cut, repaired or kept."),
        text_column("example", "One such row, by line or job number.", null=True),
    ),
)

_SPANS = Table(
    "spans",
    "Times on the machine of the batch jobs, where any of them was stopped or changed its size: one row for each time at one size.",
    (
        _POLICY,
        count_column("job_id", "Number of the job."),
        real_column("start_s", "s", "From when."),
        real_column("end_s", "s", "Until when; empty if it was still at work at the end of the simulation.", null=True),
        count_column("processors", "Processors that it held."),
    ),
)

SCHEDULES = (_JOBS, _POLICIES, _SHARES, STATES, _SPANS, _QUALITY)


def spans_of(
    job_id: npt.NDArray[np.int64],
    job: npt.NDArray[np.int64],
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    held: npt.NDArray[np.int64],
    policy: str | None = None,
) -> dict[str, Any]:
    """Return the columns of table ``spans``, by job and start.

    Parameters
    ----------
    job_id : int array, shape (jobs,)
    job, held : int array, shape (spans,)
        Row of the job in ``job_id``, and the processors that it held.
    start_s, end_s : array, shape (spans,) [s]
        NaN where it has not happened; one that has not begun is left out.
    policy : str, optional
        Policy of the rows, where several ran side by side.
    """
    order = np.lexsort((start_s, job))
    order = order[~np.isnan(start_s[order])]
    columns = {"job_id": job_id[job[order]], "start_s": start_s[order], "end_s": end_s[order], "processors": held[order]}
    return columns if policy is None else {"policy": np.full(len(order), policy), **columns}
