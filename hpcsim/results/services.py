"""Declarations of the tables of services: what each did, and its latencies by quantile."""

from __future__ import annotations

from hpcsim.results.columns import Table
from hpcsim.results.columns import count_column as _count
from hpcsim.results.columns import real_column as _real
from hpcsim.results.columns import text_column as _text

__all__ = ["SERVICES"]

_OF = {"ttft": "time to the first token", "tpot": "time per further token", "latency": "time from request to whole answer"}

SERVICES = (
    Table(
        "services",
        "One row per service: its layout, its latencies as users see them, and what it took.",
        (
            _text("name", "Name of the service."),
            _text("model", "Model that is served."),
            _text("group", "Node group."),
            _count("nodes", "Nodes that it holds."),
            _count("prefill_replicas", "Copies that do prefills alone."),
            _count("tp", "Devices of a copy (tensor parallel)."),
            _text("weights", "Format of the layers' weights."),
            _count("slots", "Requests of mean length that a copy works on at once at most."),
            _count("requests", "Requests that came; in an estimate, that are expected."),
            _count("requests_finished", "Requests that were answered."),
            _count("replicas", "Copies of the model that decode."),
            _real(
                "load_per_s",
                "1/s",
                "Requests per second that are expected on average in the time looked at: as given, where that is whole periods of the profile.",
            ),
            _real(
                "capacity_per_s", "1/s", "Load above which the queue grows without end.", formula="c·b/(steps·t(b) + b·prefill), b slots"
            ),
            _real("kept_load_per_s", "1/s", "Largest load at which every objective is expected to be kept."),
            *(
                _real(
                    f"p{q}_{key}_s",
                    "s",
                    f"{q} % of the requests that came: {text} at most; none where it was not reached before the end.",
                    null=True,
                )
                for key, text in _OF.items()
                for q in (50, 95, 99)
            ),
            _real("goodput_frac", "1", "Requests that keep every objective, over those that came.", null=True),
            _real("goodput_per_s", "1/s", "Requests a second that keep every objective.", null=True),
            _real("late_frac", "1", "Answers that come after the deadline or not at all.", null=True),
            _real("mean_wait_s", "s", "Mean time from arrival at the place to the first pass.", null=True),
            _real("mean_queue", "1", "Requests that wait, on average over time.", null=True),
            _real("mean_batch", "1", "Requests that a copy decodes at once, on average over time.", null=True),
            _real("utilisation_frac", "1", "Share of the time in which a copy works.", null=True),
            _real("tokens_per_s", "tokens/s", "Tokens of answers a second, all copies together.", null=True),
            _real("peak_memory_bytes", "B", "What one device holds when all slots are taken."),
            _real("memory_capacity_bytes", "B", "Memory of one device."),
            _real("ttft_limit_s", "s", "Objective: time to the first token.", null=True),
            _real("tpot_limit_s", "s", "Objective: time per further token.", null=True),
            _real("deadline_s", "s", "Objective: time to the whole answer.", null=True),
            _text("binds", "What a decode step (a pass, where one is the answer) spends most of its time on."),
            _real("energy_j", "J", "Energy of its nodes while it holds them, with cooling; network and storage left out.", null=True),
            _real("energy_per_request_j", "J", "The same by answer.", null=True),
            _real("cost_usd", "USD", "Its devices while it holds them, with their electricity.", null=True),
            _real("cost_per_request_usd", "USD", "The same by answer.", null=True),
            _real("cost_per_mtoken_usd", "USD", "The same by million tokens of answers.", null=True),
        ),
    ),
    Table(
        "latencies",
        "Latencies of every service by quantile, as users see them.",
        (
            _text("name", "Name of the service."),
            _text(
                "measure",
                "ttft: to the first token; tpot: per further token; latency: to the whole answer.",
                values=("ttft", "tpot", "latency"),
            ),
            _real("quantile_frac", "1", "Share of the requests."),
            _real("time_s", "s", "What they stay within; rows that were not reached before the end are left out."),
        ),
    ),
)
