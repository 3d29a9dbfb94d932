"""The table of data pipelines: every stage of every run."""

from __future__ import annotations

from hpcsim.results.columns import Table
from hpcsim.results.columns import count_column as _count
from hpcsim.results.columns import real_column as _real
from hpcsim.results.columns import text_column as _text

__all__ = ["BOUNDS", "STAGES"]

BOUNDS = ("processor", "device", "disk", "arrival", "answers", "read", "write", "network", "nothing")
"""What may bound a stage."""

STAGES = Table(
    "stages",
    "The stages of data pipelines: what each made of the data, how fast, what bounds it, and what it took.",
    (
        _text("name", "Pipeline."),
        _count("run", "Number of the run, from 0.", formula="given in the scenario: 0 … times − 1"),
        _text("stage", "Stage, in an order in which each stands after those that it waits for."),
        _text("kind", "What it does."),
        _text("group", "Node group that runs it."),
        _count("nodes", "Nodes of it."),
        _real("in_bytes", "B", "Data that came in.", formula="own data + Σ out of the stages before it"),
        _real("out_bytes", "B", "Data that it handed on or wrote; of an audit those that pass.", formula="ratio · in"),
        _real("written_bytes", "B", "What it wrote to a storage tier, before copies.", formula="out, or records · log of an audit"),
        _real("bytes_per_s", "B/s", "Data that came in over its time.", null=True, formula="in / (end − start)"),
        _text("bound_by", "What it needs longest by itself.", values=BOUNDS),
        _text("bound_at", "Which node group, storage tier or link that is.", null=True),
        _real(
            "alone_s", "s", "Time by itself, with nothing else on its nodes, tiers and links.",
            formula="max over resources of d/v, and the time to the first byte",
        ),
        _real("start_s", "s", "Start."),
        _real("end_s", "s", "End, or that of the simulation."),
        _real("node_time_s", "s", "Node-time of its work: d/v with v the rate of a whole node.", formula="core-seconds / cores of a node + nodes · device time"),
        _real("energy_j", "J", "What its work draws above the idle power of the nodes; empty where that is not known.", null=True, formula="node-time · (highest − idle power of a node)"),
        _real(
            "cost_usd", "USD", "Its part of the run's bill, by its time alone, and what keeping its data and asking for objects costs.", null=True,
            formula="bill · alone / Σ alone + raw byte-time · rent + requests · price",
        ),
    ),
)  # fmt: skip
