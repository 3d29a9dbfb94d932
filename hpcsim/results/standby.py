"""The tables of nodes that are switched off while they are idle."""

from __future__ import annotations

from hpcsim.results.columns import Table, count_column, real_column, text_column

__all__ = ["STANDBY", "WATCHED"]

_AWAY = ("booting", "off", "shutting down")

_NODE_POWER = Table(
    "node_power",
    "Times that nodes were switched off, boot or shut down; at all others they are on.",
    (
        text_column("group", "Node group."),
        count_column("node", "Number of the node in its group."),
        text_column("state", "What it does.", values=_AWAY),
        real_column("start_s", "s", "From when."),
        real_column("end_s", "s", "Until when."),
        real_column("power_w", "W", "Its power then, in place of its idle power."),
    ),
)

_NODE_STATES = Table(
    "node_states",
    "Node-seconds and energy by state; what work adds to the idle power of nodes that are on is the component compute of the table energy.",
    (
        text_column("group", "Node group."),
        text_column("state", "State.", values=("on", *_AWAY, "out of service")),
        real_column("node_s", "s", "Node-seconds."),
        real_column("energy_j", "J", "Energy of the nodes in that state, without what work adds."),
    ),
)

WATCHED = (
    count_column("deadlines_missed", "Jobs that ended after their deadline, where jobs have any.", optional=True),
    real_column("electricity_usd", "USD", "Electricity of the pool, by the hour.", optional=True),
    real_column("carbon_kg_co2e", "kg", "Emissions of that electricity, by the hour.", optional=True),
)
"""Columns of the table ``policies`` that are there where something is known of them."""

STANDBY = (_NODE_POWER, _NODE_STATES)
