"""The tables of a capacity plan, as declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcsim.results.columns import Table
from hpcsim.results.columns import count_column as count
from hpcsim.results.columns import real_column as real
from hpcsim.results.columns import text_column as text

__all__ = ["FACETS", "PLAN_TABLES", "STEPS", "machine_words"]

STEPS = ("requirement analysis", "planning", "construction", "optimisation", "maintenance")
"""The steps of a plan, in their order."""
FACETS = ("compute", "storage", "network", "data", "AI platform", "governance")
"""What each step looks at."""

_PLAN = Table(
    "plan",
    "The plan: five steps over six facets, each value computed, with why and what would change it.",
    (
        text("step", "Step of the plan.", values=STEPS),
        text("facet", "What it is about.", values=FACETS),
        text("goal", "Goal that it serves; empty where it serves all.", null=True),
        text("item", "What the value is."),
        text("shown", "The value for a reader."),
        real("value", "", "The value in SI units; empty where it is a choice.", null=True),
        text("unit", "SI unit of the value.", null=True),
        text("why", "Formula, or why this was chosen.", null=True),
        text("flips", "What would change it.", null=True),
    ),
)

_CANDIDATES = Table(
    "plan_candidates",
    "The combinations that were looked at: those on the front of cost, time and carbon, and the next best.",
    (
        text("goal", "Goal that the combination serves."),
        text("role", "chosen, finalist, front (no other is better in cost, time and carbon at once), or near (the nearest to infeasible goals).",
             values=("chosen", "finalist", "front", "near")),
        text("nodes", "Node type, by the name of the option."),
        text("accelerator", "Catalog accelerator.", null=True),
        count("count", "Nodes that work."),
        count("devices", "Accelerators that work."),
        text("fabric", "Network.", null=True),
        text("storage", "Storage tier.", null=True),
        text("owner", "Way to come by it."),
        text("provider", "Who owns it."),
        text("place", "Site or region."),
        text("country", "ISO code of the country; empty where unknown.", null=True),
        real("time_s", "s", "Expected time of the run with failures; of a queue the wait; of data nothing.", null=True),
        real("sure_s", "s", "The same at the confidence of the goal.", null=True),
        real("cost_usd", "USD", "What the goal is charged."),
        real("outlay_usd", "USD", "What is bound: purchase or the whole contract."),
        real("carbon_kg_co2e", "kg", "Operation and the share of manufacture.", null=True),
        real("energy_j", "J", "Energy at the facility's meter.", null=True),
        real("power_w", "W", "Highest power of the facility.", null=True),
        real("racks", "", "Racks."),
        text("limits", "Limits that it breaks; empty where it breaks none.", null=True),
        real("simulated_s", "s", "Mean of the simulated times, of finalists.", null=True),
        real("simulated_usd", "USD", "Mean of the simulated costs, of finalists.", null=True),
        text("price", "The price with its date and source.", null=True),
    ),
)  # fmt: skip

_BILL = Table(
    "plan_bill",
    "Bill of materials and services of the chosen plan.",
    (
        text("goal", "Goal that it serves."),
        text("item", "What is bought or rented."),
        text("facet", "Facet it belongs to.", values=FACETS),
        real("count", "", "How many."),
        text("unit", "Of what."),
        real("each_usd", "USD", "Price of one."),
        real("usd", "USD", "Count times price."),
        text("source", "Where the price is from.", null=True),
    ),
)

_MONTHS = Table(
    "plan_months",
    "Month by month: money, nodes and power.",
    (
        text("goal", "Goal that it serves."),
        count("month", "Month from the order, counted from 0."),
        real("purchase_usd", "USD", "Paid for hardware in the month."),
        real("rent_usd", "USD", "Paid for rented nodes and space."),
        real("running_usd", "USD", "Electricity, maintenance and staff."),
        real("cumulative_usd", "USD", "All payments so far."),
        real("value_usd", "USD", "Book value of what is owned at the end of the month."),
        real("nodes", "", "Nodes in service at the end of the month."),
        real("power_w", "W", "Mean power of the facility in the month.", null=True),
    ),
)

_SAVINGS = Table(
    "plan_savings",
    "What could be done better, each with what it saves by the cost functions.",
    (
        text("goal", "Goal that it concerns."),
        text("facet", "Facet it belongs to.", values=FACETS),
        text("measure", "What is done."),
        text("before", "As it is in the plan."),
        text("after", "With the measure."),
        real("saves_usd", "USD", "Money saved over the plan; negative where it costs.", null=True),
        real("saves_s", "s", "Time saved; negative where it takes longer.", null=True),
        real("saves_kg_co2e", "kg", "Emissions saved.", null=True),
        real("saves_bytes", "B", "Capacity saved.", null=True),
        text("formula", "How it is computed, and what was assumed."),
    ),
)

_PRICES = Table(
    "plan_prices",
    "What a training goal costs at every source of every accelerator: its cheapest machine there that keeps the deadline, else its cheapest.",
    (
        text("goal", "Goal that is priced."),
        text("accelerator", "Catalog accelerator."),
        text("owner", "Way to come by it."),
        text("provider", "Who owns it."),
        text("place", "Site or region."),
        text("country", "ISO code of the country; empty where unknown.", null=True),
        count("devices", "Accelerators of the machine."),
        real("time_s", "s", "Expected run time."),
        real("device_hour_usd", "USD", "What an accelerator-hour of the run is charged, all parts of the cost in it."),
        real("mtoken_usd", "USD", "What a million tokens (or samples) cost."),
        real("cost_usd", "USD", "What the goal is charged."),
        real("carbon_kg_co2e", "kg", "Emissions of the goal.", null=True),
        text("limits", "Limits that it breaks; empty where it breaks none.", null=True),
        text("price", "The price with its date and source."),
    ),
)

PLAN_TABLES: tuple[Table, ...] = (_PLAN, _CANDIDATES, _BILL, _MONTHS, _SAVINGS, _PRICES)
"""Every table of a plan."""


def machine_words(row: Mapping[str, Any]) -> str:
    """Return the machine of a combination in words: nodes with their accelerators, or drives of a tier.

    Parameters
    ----------
    row : mapping
        ``goal nodes accelerator count devices`` of a row of ``plan_candidates``.
    """
    number, name = int(row["count"]), str(row["nodes"])
    if str(row["goal"]).startswith("store"):
        return f"{number:,} drive{'s' * (number != 1)} of {name}" if number else name
    devices, accelerator = int(row["devices"]), row["accelerator"]
    inside = f" ({devices:,} {accelerator})" if isinstance(accelerator, str) and accelerator and devices else ""
    return f"{number:,} {name} node{'s' * (number != 1)}{inside}"
