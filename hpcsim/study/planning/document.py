"""A plan as one document of plain data."""

from __future__ import annotations

from typing import Any

from hpcsim.results.planning import FACETS, STEPS
from hpcsim.results.record import Results, plain

__all__ = ["plan_document"]


def plan_document(results: Results) -> dict[str, Any]:
    """Return a plan as ``hpcsim plan --format json`` prints it.

    ``reached`` says whether every goal is reached; ``steps`` holds the rows by step and facet; ``candidates``, ``bill``, ``months``,
    ``savings`` and ``prices`` are the tables of these names.
    """

    def rows(name: str) -> list[dict[str, Any]]:
        table = results.tables.get(name)
        return [] if table is None else [{str(k): plain(v) for k, v in row.items()} for row in table.to_dict("records")]

    steps: dict[str, dict[str, list[dict[str, Any]]]] = {step: {facet: [] for facet in FACETS} for step in STEPS}
    for row in rows("plan"):
        steps[row.pop("step")][row.pop("facet")].append(row)
    candidates = rows("plan_candidates")
    document = results.document()
    notes = document.pop("notes")
    return document | {
        "reached": results.summary["goals_reached"] == results.summary["goals"],
        "chosen": [row for row in candidates if row["role"] in ("chosen", "near")],
        "steps": steps,
        "candidates": candidates,
        "bill": rows("plan_bill"),
        "months": rows("plan_months"),
        "savings": rows("plan_savings"),
        "prices": rows("plan_prices"),
        "notes": notes,
    }
