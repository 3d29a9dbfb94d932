"""The plan on its page: finalists, and the five steps over the six facets with why and what would flip each value."""

from __future__ import annotations

import html
import math
from typing import Any

from hpcsim.results.planning import machine_words
from hpcsim.results.quantities import show
from hpcsim.results.record import Results

__all__ = ["plan_sections"]


def _text(value: object) -> str:
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode())


def _cell(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else _text(value)


def plan_sections(results: Results) -> str:
    """Return the sections of a plan as HTML, nothing for results that are none."""
    if "plan" not in results.tables:
        return ""
    return f"{_finalists(results)}\n{_steps(results)}"


def _finalists(results: Results) -> str:
    table = results.tables["plan_candidates"]
    rows = []
    for row in table[table["role"].isin(("chosen", "near", "finalist"))].to_dict("records"):
        numbers = [show("time_s", row["time_s"]) if row["time_s"] else "–", show("time_s", row["simulated_s"])]
        numbers += [show("cost_usd", row["cost_usd"]), show("outlay_usd", row["outlay_usd"]), show("carbon_kg_co2e", row["carbon_kg_co2e"])]
        words = [row["role"], row["goal"], machine_words(row), row["owner"], f"{row['provider']} {row['place']}"]
        cells = "".join(f"<td>{_cell(word)}</td>" for word in words) + "".join(f'<td class="n">{_text(number)}</td>' for number in numbers)
        strong = ' class="best"' if row["role"] != "finalist" else ""
        rows.append(f"<tr{strong}>{cells}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in ("", "goal", "machine", "owner", "place"))
    heads += "".join(f'<th class="n">{name}</th>' for name in ("time", "simulated", "cost", "money bound", "carbon"))
    body = "\n".join(rows)
    inner = f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    return f'<section id="finalists">\n<h2>Finalists</h2>\n{inner}\n</section>'


def _steps(results: Results) -> str:
    parts: list[str] = []
    rows: list[str] = []
    step = facet = ""

    def close() -> None:
        if rows:
            heads = "".join(f"<th>{name}</th>" for name in ("facet", "what", "value", "because", "what would flip it"))
            body = "\n".join(rows)
            parts.append(f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>')
            rows.clear()

    for row in results.tables["plan"].to_dict("records"):
        if row["step"] != step:
            close()
            step, facet = row["step"], ""
            parts.append(f"<h3>{_text(step[:1].upper() + step[1:])}</h3>")
        shown = "" if row["facet"] == facet else f"<b>{_text(row['facet'])}</b>"
        facet = row["facet"]
        cells = [shown, *(_cell(row[name]) for name in ("item", "shown", "why", "flips"))]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    close()
    return '<section id="plan">\n<h2>The plan</h2>\n' + "\n".join(parts) + "\n</section>"
