"""Results in a notebook: figures, the tables that carry the answer, and small charts – plain HTML and SVG, no other library."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpcsim.results.quantities import SUMMARY, label, quantity, scale, show, show_range

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["notebook"]

_SPLITS = (
    ("breakdown", "term", "seconds", "time_s", "where the time goes"),
    ("energy", "component", "energy_j", "energy_j", "where the energy goes"),
    ("costs", "item", "usd", "cost_usd", "where the money goes"),
)
_HEADLINES = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j", "carbon_kg_co2e")
_MOST_BARS, _MOST_ROWS = 8, 20
_BLUE, _LINE = "#0072B2", "#8A8F98"


def notebook(results: Results) -> str:
    """Return the results as HTML for a notebook."""
    title = html.escape(results.question or results.name)
    parts = [f"<p><b>{title}</b><br>{html.escape(results.answer)}</p>"]
    if "compare_figures" in results.tables:
        parts += [_compared(results)]
    else:
        parts += [_figures(results)]
    if results.kind == "sweep" and "sweep" in results.tables:
        parts += [_line(results), _frame(results.tables["sweep"])]
    elif "tornado" in results.tables:
        parts += [_bars_of(results.tables["tornado"], "swing"), _frame(results.tables["tornado"])]
    elif "sobol" in results.tables:
        parts += [_bars_of(results.tables["sobol"], "total"), _frame(results.tables["sobol"])]
    elif "compare_terms" in results.tables:
        parts += [_frame(results.tables["compare_terms"])]
    else:
        parts += [_split(results, *split) for split in _SPLITS]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _figures(results: Results) -> str:
    rows = [
        (quantity(key).label, show(key, value), show_range(key, *results.ranges[key]) if key in results.ranges else "")
        for key, value in results.figures().items()
    ]
    return _table(("figure", "value", results.coverage), rows)


def _compared(results: Results) -> str:
    table = results.tables["compare_figures"]
    names = list(dict.fromkeys(table["scenario"]))
    rows = []
    for metric, part in table.groupby("metric", sort=False):
        cells = [label(str(metric))]
        for k, row in enumerate(part.to_dict("records")):
            frac = row["change_frac"]
            more = f" ({100 * frac:+.3g} %)" if k and frac == frac and frac else ""
            cells.append(show(str(metric), row["value"]) + more)
        rows.append(cells)
    return _table(("figure", *names), rows)


def _frame(table: pd.DataFrame) -> str:
    kept = table.head(_MOST_ROWS)
    rows = [[_cell(value) for value in row] for row in kept.astype(object).to_numpy().tolist()]
    more = f"<p>the first {_MOST_ROWS} of {len(table):,} rows</p>" if len(table) > _MOST_ROWS else ""
    return _table([str(key) for key in table.columns], rows) + more


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _split(results: Results, name: str, part: str, value: str, key: str, title: str) -> str:
    table = results.tables.get(name)
    if table is None or not len(table):
        return ""
    sums = table.groupby(part, sort=False)[value].sum().sort_values(ascending=False, kind="stable").head(_MOST_BARS)
    return _bars(title, [str(term) for term in sums.index], [float(v) for v in sums], [show(key, v) for v in sums])


def _bars_of(table: pd.DataFrame, key: str) -> str:
    metric = next((m for m in _HEADLINES if m in set(table["metric"])), None)
    if metric is None:
        return ""
    rows = table[(table["metric"] == metric) & table[key].notna()].head(_MOST_BARS)
    shown = "x_frac" if key == "total" else metric
    return _bars(f"{key} of {label(metric)}", list(rows["input"]), [max(v, 0.0) for v in rows[key]], [show(shown, v) for v in rows[key]])


def _bars(title: str, names: Sequence[str], values: Sequence[float], texts: Sequence[str]) -> str:
    """Return horizontal bars as SVG."""
    most = max(values, default=0.0)
    if not most > 0:
        return ""
    rows = []
    for i, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        y, width = 24 + 20 * i, 260 * value / most
        rows.append(
            f'<text x="195" y="{y + 12}" text-anchor="end">{html.escape(name[:32])}</text>'
            f'<rect x="200" y="{y}" width="{width:.1f}" height="15" fill="{_BLUE}"/><text x="{206 + width:.1f}" y="{y + 12}">{html.escape(text)}</text>'
        )
    return _svg(560, 30 + 20 * len(rows), f'<text x="0" y="14" font-weight="bold">{html.escape(title)}</text>' + "".join(rows))


def _line(results: Results) -> str:
    """Return the first headline that changes over the first axis, where that is of numbers, as SVG."""
    table = results.tables["sweep"]
    axes = [str(axis) for axis in results.provenance.get("axes", {}) if str(axis) in table.columns]
    x = pd.to_numeric(table[axes[0]], errors="coerce") if axes else pd.Series(dtype=float)
    metric = next((m for m in (*_HEADLINES, *SUMMARY) if m in table.columns and m not in axes and _varies(table[m])), None)
    if metric is None or not len(x) or x.isna().any() or x.nunique() < 2:
        return ""
    means = pd.to_numeric(table[metric], errors="coerce").groupby(x).mean().dropna()
    if len(means) < 2:
        return ""
    divisor, unit = scale(metric, float(means.abs().max()))
    low, high = float(means.min()), float(means.max())
    left, right = float(means.index[0]), float(means.index[-1])
    points = [(70 + 450 * (float(a) - left) / (right - left), 160 - 120 * (v - low) / ((high - low) or 1.0)) for a, v in means.items()]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{_BLUE}"/>' for a, b in points)
    words = (
        f'<text x="0" y="14" font-weight="bold">{html.escape(label(metric))} ({html.escape(unit)}) over {html.escape(axes[0])}</text>'
        f'<text x="62" y="164" text-anchor="end">{low / divisor:.4g}</text><text x="62" y="44" text-anchor="end">{high / divisor:.4g}</text>'
        f'<text x="70" y="188">{left:.6g}</text><text x="520" y="188" text-anchor="end">{right:.6g}</text>'
        f'<line x1="70" y1="170" x2="520" y2="170" stroke="{_LINE}"/>'
    )
    return _svg(560, 195, words + f'<polyline points="{line}" fill="none" stroke="{_BLUE}" stroke-width="2"/>{dots}')


def _varies(column: pd.Series) -> bool:
    number = pd.to_numeric(column, errors="coerce").dropna()
    return len(number) > 1 and float(number.max() - number.min()) > 1e-9 * float(number.abs().max())


def _svg(width: int, height: int, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%" '
        f'font-family="sans-serif" font-size="12" fill="currentColor">{content}</svg>'
    )
