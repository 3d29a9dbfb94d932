"""The table of what failures did, by cause."""

from __future__ import annotations

from hpcsim.results.columns import Table, real_column, text_column

__all__ = ["FAILURES", "TAKEN"]

TAKEN = {
    "lost_s": "work done again",
    "recovery_s": "restart and reading",
    "detection_s": "until noticed",
    "wait_s": "wait for a node",
    "alarms_s": "at alarms",
}
"""Columns of the time that failures take of a training run, in words."""

_FAILURES = Table(
    "failures",
    "What each cause of failures did to each training run, and to the batch jobs together; expectations in an estimate.",
    (
        text_column("name", "Training run; jobs for the batch jobs."),
        text_column(
            "cause", "What failed, as the scenario or its catalog entry names it; false alarm for alarms that no failure followed."
        ),
        real_column("failures", "1", "How often, announced ones too.", formula="expectation: rate · time at risk"),
        real_column("announced", "1", "Failures that an alarm preceded; of false alarms their number.", formula="recall · failures"),
        real_column(
            "lost_s",
            "s",
            "Work that was done again.",
            null=True,
            formula="Σ work since the last save (checkpoint or alarm) that failures undid",
        ),
        real_column("detection_s", "s", "Standstill until a failure was noticed.", null=True, formula="Σ time until it is noticed"),
        real_column(
            "wait_s", "s", "Wait for a node to take the failed one's place.", null=True, formula="Σ wait for a spare or a repaired node"
        ),
        real_column("recovery_s", "s", "Restarts and reading of checkpoints.", null=True, formula="Σ restart + read, broken-off ones too"),
        real_column("alarms_s", "s", "What was done at its alarms.", null=True, formula="Σ time that acting on an alarm takes"),
        real_column(
            "repair_node_s", "s", "Node-seconds out of service.", null=True, formula="Σ time from the failure until the node is back"
        ),
        real_column("jobs_killed", "1", "Batch jobs that it ended.", null=True, formula="jobs with a part on a failed node"),
    ),
)

FAILURES = (_FAILURES,)
