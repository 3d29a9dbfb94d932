"""The tables of explained waits: one job's, the whole machine's, and that of a job to come."""

from __future__ import annotations

from hpcsim.results.columns import Table, count_column, real_column, text_column

__all__ = ["WAITS"]

_WAIT_SPANS = Table(
    "wait_spans",
    "The wait of one job from its submission to its start, cut where the reason changes.",
    (
        real_column("start_s", "s", "Start of the span."),
        real_column("end_s", "s", "Its end."),
        count_column("free", "Processors that were idle."),
        count_column("needed", "Processors that the job asks for."),
        text_column("cause", "Why it did not start.", values=("too few free", "kept for others")),
        count_column("behind", "Job that was submitted first among those that waited then; null where that is the job itself.", null=True),
    ),
)

_WAIT_JOBS = Table(
    "wait_jobs",
    "The jobs that have to do with one job's wait, those that took most of the machine meanwhile first.",
    (
        count_column("job_id", "Number of the job."),
        text_column(
            "role",
            "held: ran when the job was submitted; ahead: submitted before it, started meanwhile; passed: submitted after it, started before it; "
            "released: its end made room for the start.",
            values=("held", "ahead", "passed", "released"),
        ),
        count_column("processors", "Processors that it holds."),
        real_column("submit_s", "s", "Its submission."),
        real_column("start_s", "s", "Its start."),
        real_column("end_s", "s", "Its end."),
        real_column("processor_s", "s", "Processor-seconds that it took during the wait."),
    ),
)

_WAIT_REASONS = Table(
    "wait_reasons",
    "The wait of one job on a machine of nodes, cut where what it lacks changes.",
    (
        real_column("start_s", "s", "Start of the span."),
        real_column("end_s", "s", "Its end."),
        text_column("reason", "What it lacked, or who kept what was free; several are separated by semicolons."),
    ),
)

_BINDING = Table(
    "binding",
    "For how long the job that had waited longest lacked what, or had it kept from it, on a machine of nodes.",
    (
        text_column("reason", "What it lacked: a resource, a limit, its partition; or who kept what was free."),
        real_column(
            "span_s", "s", "For how long. Where it lacked several things, each counts.", formula="Σ length of the spans that have it"
        ),
        real_column("waiting_frac", "1", "Part of the time in which any job waited.", formula="span/time in which any job waited"),
    ),
)

_ROOM = Table(
    "room",
    "The machine as it is and with one thing changed, all jobs the same: simulated anew.",
    (
        text_column("case", "What is changed."),
        count_column("processors", "Processors."),
        real_column("mean_wait_s", "s", "Mean wait."),
        real_column("p95_wait_s", "s", "95th percentile of the wait."),
        real_column("mean_bounded_slowdown", "1", "Mean bounded slowdown."),
        real_column("utilisation_frac", "1", "Busy processor-seconds over all of them."),
        real_column("saved_wait_frac", "1", "Part of the mean wait that the change saves."),
    ),
)

_START_DRAWS = Table(
    "start_draws",
    "Start of a job that is submitted now, simulated on with drawn run times and arrivals: one row a draw.",
    (
        count_column("draw", "Number of the draw."),
        real_column("start_s", "s", "Start; null where it had not started by the end of the horizon.", null=True),
        real_column("wait_s", "s", "Its wait; null likewise.", null=True),
    ),
)

_REFUSED = Table(
    "refused",
    "Policies that were asked for with all others and not run, or given up.",
    (text_column("policy", "Its name."), text_column("reason", "Why.")),
)

WAITS = (_REFUSED, _WAIT_SPANS, _WAIT_JOBS, _WAIT_REASONS, _BINDING, _ROOM, _START_DRAWS)
