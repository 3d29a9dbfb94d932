"""Declarations of the tables of node groups: their processors by state over time, and what each of several did."""

from __future__ import annotations

from hpcsim.results.columns import Table
from hpcsim.results.columns import count_column as _count
from hpcsim.results.columns import real_column as _real
from hpcsim.results.columns import text_column as _text

__all__ = ["GROUPS", "STATES"]

STATES = Table(
    "states",
    "Processors by state and the queue, as intervals that tile the horizon of each group.",
    (
        _text("policy", "Scheduling policy of this row; present where several policies ran side by side.", optional=True),
        _text("group", "Node group."),
        _real("start_s", "s", "Start of the interval."),
        _real("end_s", "s", "End of the interval."),
        _count("busy", "Processors at work."),
        _count("idle", "Processors that are up and free."),
        _count("down", "Processors that are out of service."),
        _count("queued_jobs", "Jobs that wait for this group."),
        _count("queued_processors", "Processors that those jobs ask for."),
    ),
)

GROUPS = Table(
    "groups",
    "Every node group of a machine whose batch jobs have several: what ran there, and what that drew and cost.",
    (
        _text("group", "Node group."),
        _count("nodes", "Nodes, spares left out."),
        _count(
            "processors",
            "Processors that batch jobs may have, in the unit in which they count them; 0 in a group that they may not run on.",
        ),
        _count("accelerators", "Accelerators."),
        _count("jobs", "Jobs that ran there, the last time that they did; in an estimate, those that it would be tried first for."),
        _real("mean_wait_s", "s", "Mean wait of those jobs; empty where there are none.", null=True),
        _real(
            "utilisation_frac",
            "1",
            "Processors held, on average from begin to end, over all of the group; empty where batch jobs may have none.",
            null=True,
        ),
        _real("device_utilisation_frac", "1", "Accelerators held likewise; empty where it has none.", null=True),
        _real("compute_energy_j", "J", "What work added above idle power; empty where power is not known.", null=True),
        _real("idle_energy_j", "J", "Idle power of its nodes while they were on.", null=True),
        _real("cost_usd", "USD", "Its part of the bill, electricity left out; empty where it has no price.", null=True),
    ),
)
