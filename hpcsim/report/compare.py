"""A comparison of scenarios: as text, as tables side by side, and in two charts."""

from __future__ import annotations

import html
import textwrap
from typing import Any

from hpcsim.report.terminal import columns
from hpcsim.results.quantities import brief, label, show
from hpcsim.results.record import Results

__all__ = ["as_text", "side_by_side"]

_MOST_TERMS = 6
_MOST_FACTS = 12
_UNSEEN_FRAC = 1e-5
"""Changes below this share do not show in the four digits of a figure."""


def changed_by(value: float, frac: float, change: float, metric: str) -> str:
    """Return a change in words, empty where there is none."""
    if change != change or value != value or change == 0 or abs(frac) < _UNSEEN_FRAC:
        return ""
    if frac == frac and abs(frac) < 2:
        return f"{100 * frac:+.3g} %".replace("-", "−")
    if frac == frac and frac > 0:
        return f"×{1 + frac:.3g}"
    return f"{'+' if change > 0 else '−'}{show(metric, abs(change), digits=3)}"


def side_by_side(results: Results) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Return the names of the scenarios, the rows of inputs that differ, and the rows of figures: label, a value for each
    scenario, and behind every one but the first its change."""
    figures, inputs = results.tables["compare_figures"], results.tables["compare_inputs"]
    names = list(dict.fromkeys(figures["scenario"]))
    given = inputs[inputs["kind"] == "given"]
    input_rows = [
        [path, *("–" if not isinstance(v, str) else v for v in rows.set_index("scenario")["value"].astype(object).reindex(names))]
        for path, rows in given.groupby("path", sort=False)
    ]
    figure_rows = []
    for metric, rows in figures.groupby("metric", sort=False):
        records = rows.to_dict("records")
        cells = [label(str(metric)), show(str(metric), records[0]["value"])]
        for row in records[1:]:
            cells += [show(str(metric), row["value"]), changed_by(row["value"], row["change_frac"], row["change"], str(metric))]
        figure_rows.append(cells)
    return names, input_rows, figure_rows


def side_by_side_html(results: Results) -> tuple[str, str]:
    """Return the table of inputs that differ and that of figures as HTML."""
    names, inputs, figures = side_by_side(results)

    def table(head: list[str], rows: list[list[str]], kinds: str) -> str:
        top = "".join(f"<th{k}>{html.escape(cell)}</th>" for cell, k in zip(head, _classes(head, kinds)))
        body = "\n".join(
            "<tr>" + "".join(f"<td{k}>{html.escape(cell)}</td>" for cell, k in zip(row, _classes(row, kinds))) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"

    head = ["", names[0], *(cell for name in names[1:] for cell in (name, ""))]
    return table(["", *names], inputs, "") if inputs else "<p>Nothing differs.</p>", table(head, figures, " class=n")


def _classes(row: list[str], kind: str) -> list[str]:
    return ["", *(kind for _ in row[1:])]


def as_text(results: Results, *, width: int = 100) -> str:
    """Return a comparison as plain text for a terminal."""
    names, inputs, figures = side_by_side(results)
    blocks = [
        "\n".join(textwrap.wrap(results.question, width)),
        "\n".join(textwrap.wrap(results.answer, width, initial_indent="→ ", subsequent_indent="  ")),
    ]
    short = [textwrap.shorten(name, 30, placeholder="…") for name in names]
    if inputs:
        cut = [[row[0], *(textwrap.shorten(cell, 40, placeholder="…") for cell in row[1:])] for row in inputs]
        facts = results.tables["compare_inputs"]
        count = facts[facts["kind"] == "catalog"]["path"].nunique()
        more = f"\n{count} facts of the catalog differ as well (table compare_inputs)" if count else ""
        blocks.append("what differs\n" + columns([["", *short], *cut]) + more)
    head = ["", short[0], *(cell for name in short[1:] for cell in (name, ""))]
    blocks.append("what changes\n" + columns([head, *figures], right=range(1, len(head))))
    metrics = list(dict.fromkeys(results.tables["compare_terms"]["metric"]))
    said = [metric for metric in metrics if metric != "step_time_s" or "wall_clock_s" not in metrics]
    blocks += [text for metric in said if (text := _terms_text(results, metric))]
    notes = [line for note in results.notes[:1] if note.startswith("No figure changes") for line in textwrap.wrap(note, width)]
    return "\n\n".join([*blocks, *notes])


def _terms_text(results: Results, metric: str) -> str:
    table = results.tables["compare_terms"]
    blocks = []
    for scenario, rows in table[table["metric"] == metric].groupby("scenario", sort=False):
        moved = rows[rows["change"].abs() > 1e-9 * max(float(rows["after"].abs().sum()), 1e-300)]
        if not len(moved):
            continue
        lines = [
            (
                f"  {row['term']}",
                show(metric, row["before"]),
                "→",
                show(metric, row["after"]),
                _signed(metric, row["change"]),
                _through(row, metric),
            )
            for row in moved.head(_MOST_TERMS).to_dict("records")
        ]
        total = float(moved["change"].sum())
        blocks.append(
            f"what explains the change of {label(metric)} ({_signed(metric, total)}), {scenario}\n" + columns(lines, right=(1, 3, 4))
        )
    return "\n\n".join(blocks)


_WORDS = {
    "wall_clock_s": ("steps", "time of a step"),
    "facility_energy_j": ("longer or shorter", "power"),
    "carbon_kg_co2e": ("energy", "grid"),
    "cost_usd": ("quantity", "price"),
    "mean_wait_s": ("jobs that wait so", "time of each"),
}


def _through(row: dict[Any, Any], metric: str) -> str:
    """Say whether amount or rate moved a term; empty where only one can."""
    if metric not in _WORDS or (abs(row["by_amount"]) < 1e-9 * abs(row["change"]) and metric == "wall_clock_s"):
        return ""
    parts = [
        f"{word} {_signed(metric, row[key])}"
        for word, key in zip(_WORDS[metric], ("by_amount", "by_rate"))
        if abs(row[key]) > 1e-6 * abs(row["change"])
    ]
    return "; ".join(parts)


def _signed(metric: str, change: float) -> str:
    return f"{'+' if change > 0 else '−' if change < 0 else '±'}{brief(metric, abs(change))}"
