"""Data pipelines explained: what each stage takes alone, what bounds it, and what twice as much of each resource would bring."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hpcsim.base.units import readable
from hpcsim.cluster.ways import Ways
from hpcsim.results.tables import frame
from hpcsim.run.bind import Bound
from hpcsim.run.pipelines import in_words
from hpcsim.workload.pipeline_times import Laid, Resource, lay_first

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["explain_pipelines"]

_SLIGHT = 1e-3
"""Share of the time below which what is saved is not told."""


def _rows(own: Laid) -> list[tuple[str, str, float, float, float, str | None]]:
    """Return the rows of the table ``what_if`` of one pipeline, the most that is saved first; what saves next to nothing is left out."""
    rows = []
    for resource in own.kinds():
        wider = own.doubled(resource)
        binds = wider.narrowest
        rows.append(
            (own.plan.name, _named(resource), wider.total_s, own.total_s / wider.total_s, own.total_s - wider.total_s, in_words(binds))
        )
    rows.sort(key=lambda row: -row[4])
    return [row for k, row in enumerate(rows) if k == 0 or row[4] > _SLIGHT * own.total_s]


def _named(resource: Resource) -> str:
    """Return what is doubled, for a reader: the network as a whole."""
    return "the network" if resource.kind == "network" else in_words(resource)


def explain_pipelines(bound: Bound, results: Results) -> Results:
    """Return an estimate of a scenario with data pipelines as an explanation.

    Parameters
    ----------
    bound : Bound
    results : Results
        Those of :func:`hpcsim.estimate`.

    Returns
    -------
    Results
        With the tables ``stages`` of each pipeline's first run, and ``what_if``.
    """
    ways = Ways(bound.cluster)
    rows: list[tuple[Any, ...]] = []
    sentences = []
    for plan in bound.pipelines:
        own = lay_first(plan, ways)
        mine = _rows(own) if own.total_s > 0 else []
        rows += mine
        best = f"; {mine[0][1]}, doubled, saves {100 * mine[0][4] / own.total_s:.3g} %" if mine else ""
        sentences.append(f"{plan.name} takes {readable(own.total_s, 'time', 3)} alone, bound by {in_words(own.narrowest)}{best}.")
    names = ("name", "resource", "step_time_s", "speedup_ratio", "saved_s", "term")
    stages = results.tables["stages"]
    return dataclasses.replace(
        results,
        kind="explain",
        question=f"What bounds the data pipelines, and what would shorten them? ({results.name})",
        answer=" ".join(sentences),
        tables={
            "stages": stages[stages["run"] == 0].reset_index(drop=True),
            "what_if": frame("what_if", {name: [row[k] for row in rows] for k, name in enumerate(names)}),
        },
    )
