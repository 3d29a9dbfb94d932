"""One HTML page that holds the whole report: no other file, no network, no script needed to read it."""

from __future__ import annotations

import html
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from hpcsim.report.amounts import amount, deviation, fact, named
from hpcsim.report.compare import side_by_side_html
from hpcsim.report.explorer import EXPLORER_SCRIPT, explorer
from hpcsim.report.page import SCRIPT, STYLESHEET
from hpcsim.report.steps import plan_sections
from hpcsim.report.style import Chart
from hpcsim.results.quantities import label, quantity, show, show_range
from hpcsim.results.record import Results, plain
from hpcsim.results.tables import TABLES

__all__ = ["page"]

MOST_ROWS = 200
"""Rows of a table that the page shows; the file beside it has them all."""
SVG_LIMIT = 150_000
"""Characters beyond which a chart is put in as PNG where that is smaller."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The page can load nothing from outside."""
_OWN_SECTION = ("comparison", "plan", "sources", "uncertain")


def page(results: Results, charts: Sequence[Chart], *, timings: bool = True) -> str:
    """Return the report as one HTML document.

    Parameters
    ----------
    results : Results
    charts : sequence of Chart
        In the order in which they are to stand.
    timings : bool
        Whether to show how long hpcsim itself took.
    """
    title = results.question or results.name
    sections = [
        _header(results),
        _headline(results, timings=timings),
        _compared(results),
        explorer(results),
        _comparison(results),
        _policies(results, timings=timings),
        _charts(charts),
        plan_sections(results),
        _uncertain(results),
        _notes(results),
        _tables(results, timings=timings),
        _sources(results),
        _provenance(results, timings=timings),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{_text(title)}</title>\n<style>\n{STYLESHEET}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>\n{SCRIPT}{EXPLORER_SCRIPT if results.kind == 'sweep' else ''}</script>\n</body>\n</html>\n"
    )


def _compared(results: Results) -> str:
    if "compare_figures" not in results.tables:
        return ""
    inputs, figures = (_scrolling(table) for table in side_by_side_html(results))
    return _section("differs", "What differs", inputs) + "\n" + _section("changes", "What changes", figures)


def _uncertain(results: Results) -> str:
    """The inputs of a sensitivity study, with where their ranges are from."""
    table = results.tables.get("uncertain")
    if table is None or not len(table):
        return ""
    rows = []
    for row in table.astype(object).to_dict("records"):
        cells = [row["input"], row["distribution"], row["base"], row["low"], row["high"], row["source"] or _ORIGINS[row["origin"]]]
        rows.append("<tr>" + "".join(f"<td>{_text(cell if isinstance(cell, str) else '–')}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>input</th><th>distribution</th><th>as it stands</th><th>5th percentile</th><th>95th percentile</th><th>source</th></tr>"
    return _section(
        "uncertain",
        "What is uncertain",
        _scrolling(f'<table class="data"><thead>{head}</thead><tbody>\n{chr(10).join(rows)}\n</tbody></table>'),
    )


_ORIGINS = {
    "scenario": "the scenario",
    "axis": "given for this study",
    "model": "hpcsim's own error",
    "catalog": "the catalog",
    "default": "class default",
}


def _text(value: object) -> str:
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode())


def _section(name: str, title: str, content: str) -> str:
    return f'<section id="{name}">\n<h2>{_text(title)}</h2>\n{content}\n</section>' if content else ""


_KINDS = {
    "simulate": "simulated event by event",
    "estimate": "estimated in closed form",
    "replay": "job log replayed",
    "sweep": "parameter sweep",
    "plan": "capacity plan",
    "sensitivity": "sensitivity study",
    "compare": "comparison",
    "verify": "held against measurements",
    "calibrate": "fitted to measurements",
}


def _header(results: Results) -> str:
    seed = f" · seed {results.provenance['seed']}" if "seed" in results.provenance else ""
    above = f"{results.name} · {_KINDS.get(results.kind, results.kind)}{seed}"
    question = results.question or results.name
    return f'<header>\n<p class="above">{_text(above)}</p>\n<h1>{_text(question)}</h1>\n<p class="answer">{_text(results.answer)}</p>\n</header>'


def _headline(results: Results, *, timings: bool) -> str:
    cards = []
    for key, value in results.headline(timings=timings).items():
        if quantity(key).machine:
            continue
        interval = (
            f'<span class="range">{results.coverage} {_text(show_range(key, *results.ranges[key]))}</span>' if key in results.ranges else ""
        )
        meaning = quantity(key).meaning
        hint = f' title="{_text(meaning)}"' if meaning else ""
        cards.append(f'<div class="card"{hint}><dt>{_text(label(key))}</dt><dd>{_text(show(key, value))}{interval}</dd></div>')
    return _section("figures", "In figures", f'<dl class="cards">\n{chr(10).join(cards)}\n</dl>') if cards else ""


def _comparison(results: Results) -> str:
    table = results.tables.get("comparison")
    if table is None or not len(table):
        return ""
    rows = []
    for row in table.to_dict("records"):
        ratio = row["ratio"]
        far = f"{deviation(ratio)} (×{ratio:.3g})" if ratio == ratio and ratio > 0 else "not predicted"
        values = (amount(row["published"], row["unit"], metric=row["metric"]), amount(row["predicted"], row["unit"], metric=row["metric"]))
        numbers = "".join(f'<td class="n">{_text(value)}</td>' for value in values)
        rows.append(f"<tr><td>{_text(named(row['metric']))}</td>{numbers}<td>{_text(far)}</td><td>{_text(row['source'])}</td></tr>")
    head = "<tr><th>figure</th><th class='n'>published</th><th class='n'>predicted</th><th>the prediction is</th><th>published in</th></tr>"
    return _section(
        "comparison", "Published and predicted", _scrolling(f"<table><thead>{head}</thead><tbody>\n{chr(10).join(rows)}\n</tbody></table>")
    )


def _charts(charts: Sequence[Chart]) -> str:
    figures = []
    for chart in charts:
        picture = chart.inline_svg()
        if len(picture) > SVG_LIMIT:
            encoded = b64encode(chart.png()).decode("ascii")
            if len(encoded) < len(picture):
                picture = f'<img alt="{_text(chart.title)}" src="data:image/png;base64,{encoded}">'
        figures.append(f'<figure id="chart-{_text(chart.name)}">\n{picture}\n<figcaption>{_text(chart.text)}</figcaption>\n</figure>')
    return _section("charts", "In pictures", f'<div class="charts">\n{chr(10).join(figures)}\n</div>') if figures else ""


def _policies(results: Results, *, timings: bool) -> str:
    table = results.tables.get("policies")
    if table is None or not len(table):
        return ""
    keys = [
        str(key) for key in table.columns if key != "policy" and table[key].notna().any() and (timings or not quantity(str(key)).machine)
    ]
    head = "<th></th>" + "".join(f'<th class="n">{_text(policy)}</th>' for policy in table["policy"])
    rows = [
        f"<tr><td>{_text(label(key))}</td>" + "".join(f'<td class="n">{_text(show(key, value))}</td>' for value in table[key]) + "</tr>"
        for key in keys
    ]
    return _section(
        "policies",
        "Policies side by side",
        _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>\n{chr(10).join(rows)}\n</tbody></table>"),
    )


def _notes(results: Results) -> str:
    items = "\n".join(f"<li>{_text(note)}</li>" for note in results.notes)
    return _section("notes", "Assumptions and notes", f"<ul>\n{items}\n</ul>") if items else ""


def _tables(results: Results, *, timings: bool) -> str:
    parts = []
    for name, table in results.tables.items():
        if name in _OWN_SECTION or name == "policies":
            continue
        kept = [
            key for key in table.columns if (timings or not quantity(str(key)).machine) and (table[key].notna().any() or not len(table))
        ]
        left_out = "; columns without any value are left out" if len(kept) < table.shape[1] else ""
        declared = TABLES[name]
        shown = min(len(table), MOST_ROWS)
        some = (
            f"the first {MOST_ROWS} of {len(table):,} rows; all are in {name}.csv"
            if shown < len(table)
            else f"{len(table):,} row{'s' * (len(table) != 1)}"
        )
        parts.append(
            f'<details id="table-{name}"><summary><b>{name}</b> <span class="faint">{_text(declared.meaning)} ({_text(some + left_out)})</span></summary>\n'
            f"{_data_table(name, table[kept].head(MOST_ROWS))}\n</details>"
        )
    return _section("tables", "Tables", "\n".join(parts))


def _data_table(name: str, table: pd.DataFrame) -> str:
    heads, columns = [], []
    for key in map(str, table.columns):
        declared = TABLES[name].column(key)
        numeric = pd.api.types.is_numeric_dtype(table[key].dtype) and not pd.api.types.is_bool_dtype(table[key].dtype)
        unit = declared.unit if declared else quantity(key).unit
        beside = f' <span class="unit">{_text(unit)}</span>' if unit not in ("", "1") else ""
        hint = f' title="{_text(declared.meaning)}"' if declared else ""
        heads.append(f"<th{' class=n' if numeric else ''}{hint}>{_text(key)}{beside}</th>")
        columns.append([_cell(value, numeric=numeric) for value in table[key].astype(object)])
    rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns))
    return _scrolling(f'<table class="data"><thead><tr>{"".join(heads)}</tr></thead><tbody>\n{rows}\n</tbody></table>')


def _cell(value: Any, *, numeric: bool) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "<td></td>"
    if not numeric:
        return f"<td>{_text(value)}</td>"
    return f"<td class=n>{_text(_number(value))}</td>"


def _number(value: float) -> str:
    """Return a number in six significant digits, whole parts in full."""
    number = float(value)
    if math.isfinite(number) and number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    if 1e6 <= abs(number) < 1e15:
        return f"{number:,.0f}"
    return f"{number:,.6g}"


def _sources(results: Results) -> str:
    table = results.tables.get("sources")
    if table is None or not len(table):
        return ""
    rows = []
    remembered = 0
    for row in table.to_dict("records"):
        unverified = row["kind"] == "remembered"
        remembered += unverified
        value = fact(row["value"], row["unit"])
        kind = '<span class="mark">from memory, unverified</span>' if unverified else _text(row["kind"])
        path = f' <span class="faint">{_text(row["path"])}</span>' if isinstance(row["path"], str) else ""
        cells = f"<td>{_text(row['name'])}{path}</td><td>{_text(row['field'])}</td><td>{_text(value)}</td><td>{_text(row['source'])}</td><td>{kind}</td>"
        rows.append(f"<tr>{cells}</tr>")
    head = "<tr><th>of</th><th>fact</th><th>value</th><th>source</th><th>how known</th></tr>"
    verb = "is" if remembered == 1 else "are"
    mark = f'<span class="mark">{remembered} of them {verb} from memory and unverified</span>: what rests on that may be off.'
    some = f"{len(rows)} fact{'s' * (len(rows) != 1)}, each with where it is from. " + (mark if remembered else "None is from memory.")
    return _section(
        "sources",
        "Sources",
        f"<p>{some}</p>\n" + _scrolling(f'<table class="data"><thead>{head}</thead><tbody>\n{chr(10).join(rows)}\n</tbody></table>'),
    )


def _provenance(results: Results, *, timings: bool) -> str:
    entries = list(_flat(results.provenance))
    if timings:
        entries += [(label(key), show(key, value)) for key, value in results.figures().items() if quantity(key).machine]
    items = "\n".join(f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in entries)
    return _section("provenance", "Where this comes from", f'<dl class="facts">\n{items}\n</dl>') if items else ""


_NAMES = {"hpcsim": "hpcsim version", "scenario_sha256": "scenario (SHA-256)", "catalog": "catalog entries", "plugins": "plug-ins"}


def _flat(provenance: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in provenance.items():
        if isinstance(value, (list, tuple)):
            text = ", ".join(map(str, value)) or "none"
        elif isinstance(value, dict):
            text = json.dumps(plain(value), ensure_ascii=False)
        else:
            text = "none" if value is None else str(value)
        yield _NAMES.get(key, key.replace("_", " ")), text


def _scrolling(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'
