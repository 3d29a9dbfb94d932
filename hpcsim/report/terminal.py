"""The summary for a terminal: plain aligned text, or JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from hpcsim.report.amounts import amount, deviation, named
from hpcsim.report.points import points_shown
from hpcsim.results.failures import TAKEN
from hpcsim.results.quantities import label, show, show_range
from hpcsim.results.record import Results, encode

__all__ = ["as_json", "as_text"]

_MOST_PARTS = 12


def as_json(results: Results, *, timings: bool = True) -> str:
    """Return the summary as one JSON document: what ``summary.json`` holds."""
    return encode(results.document(timings=timings)).decode("utf-8").rstrip("\n")


def as_text(results: Results, *, width: int = 100, folder: str = "") -> str:
    """Return the summary as plain text.

    Parameters
    ----------
    results : Results
    width : int
        Columns of the terminal.
    folder : str
        Where the files are, for a sweep of which not all can be shown.

    Returns
    -------
    str
        The question and its answer; every figure with unit and 80 % range; where time, energy and money go; published figures
        beside the predicted ones; notes; how many facts are from memory. Without a line end at the end.
    """
    blocks = [
        _opening(results, width),
        _points(results, width, folder),
        _figures(results),
        _policies(results),
        _studies(results),
        _split(results),
        _failures(results),
        _comparison(results),
        _notes(results, width),
        _sources(results, width),
    ]
    return "\n\n".join(block for block in blocks if block)


def _opening(results: Results, width: int) -> str:
    seed = f", seed {results.provenance['seed']}" if "seed" in results.provenance else ""
    lines = [f"{results.name} ({results.kind}{seed})"]
    lines += textwrap.wrap(results.question, width)
    lines += textwrap.wrap(results.answer, width, initial_indent="→ ", subsequent_indent="  ")
    return "\n".join(lines)


def _figures(results: Results) -> str:
    rows = []
    for key, value in results.headline().items():
        interval = f"{results.coverage.removesuffix(' range')}: {show_range(key, *results.ranges[key])}" if key in results.ranges else ""
        rows.append((label(key), show(key, value), interval))
    return columns(rows, right=(1,))


def _points(results: Results, width: int, folder: str) -> str:
    if results.kind != "sweep" or "sweep" not in results.tables:
        return ""
    rows, text = points_shown(results, width=width)
    if not rows:
        return ""
    where = f"; the whole table, every figure and seed: {f'{folder}/' if folder else ''}sweep.csv"
    return columns(rows, right=range(1, len(rows[0]))) + "\n" + "\n".join(textwrap.wrap(f"{text}{where}", width))


def _policies(results: Results) -> str:
    table = results.tables.get("policies")
    if table is None or not len(table):
        return ""
    keys = [key for key in table.columns if table[key].notna().any()]
    if len(table) <= 6:  # a column per policy, so that it fits a terminal
        rows = [("", *table["policy"])] + [(label(key), *(show(key, value) for value in table[key])) for key in keys if key != "policy"]
    else:
        rows = [tuple(label(key) for key in keys)] + [tuple(show(key, row[key]) for key in keys) for row in table.to_dict("records")]
    return columns(rows, right=range(1, len(rows[0])))


def _split(results: Results) -> str:
    blocks = []
    for name, part, value, title in (
        ("breakdown", "term", "seconds", "where the time goes"),
        ("energy", "component", "energy_j", "where the energy goes"),
        ("costs", "item", "usd", "where the money goes"),
    ):
        table = results.tables.get(name)
        if table is None or not len(table):
            continue
        key = {"seconds": "time_s", "usd": "cost_usd"}.get(value, value)
        for whole, rows in table.groupby("name", sort=False) if "name" in table.columns else [("", table)]:
            sums = rows.groupby(part, sort=False)[value].sum().sort_values(ascending=False, kind="stable")
            total = float(sums.sum())
            head = f"{title}: {whole}" if whole else title
            most = len(sums) if len(sums) == _MOST_PARTS + 1 else _MOST_PARTS  # one more takes no more room than "1 other"
            lines = [
                (f"  {term}", show(key, size), show("x_frac", size / total) if total > 0 else "") for term, size in sums.head(most).items()
            ]
            if len(sums) > most:
                rest = float(sums.iloc[most:].sum())
                lines.append((f"  {len(sums) - most} others", show(key, rest), show("x_frac", rest / total) if total > 0 else ""))
            blocks.append(head + "\n" + columns(lines, right=(1, 2)))
    return "\n\n".join(blocks)


def _failures(results: Results) -> str:
    """What failures took of the training runs, the worst causes first."""
    table = results.tables.get("failures")
    rows = [] if table is None else table[table["name"] != "jobs"].to_dict("records")
    took: dict[str, tuple[float, float]] = {}
    for row in rows:
        times, seconds = took.get(row["cause"], (0.0, 0.0))
        took[row["cause"]] = (times + row["failures"], seconds + sum(float(row[part]) for part in TAKEN))
    ranked = sorted(took.items(), key=lambda item: (-item[1][1], item[0]))
    total = sum(seconds for _, (_, seconds) in ranked)
    if total <= 0:
        return ""
    lines = [
        (f"  {cause}", f"{times:,.3g} times" if times else "", show("time_s", s), show("x_frac", s / total)) for cause, (times, s) in ranked
    ]
    shown = lines if len(lines) <= _MOST_CAUSES + 1 else lines[:_MOST_CAUSES]
    if len(lines) > len(shown):
        rest = [item for _, item in ranked[len(shown) :]]
        seconds = sum(s for _, s in rest)
        often = f"{sum(t for t, _ in rest):,.3g} times"
        shown.append((f"  {len(rest)} others", often, show("time_s", seconds), show("x_frac", seconds / total)))
    return f"what failures take: {show('time_s', total)}\n" + columns(shown, right=(1, 2, 3))


_MOST_CAUSES = 6
_HEADLINES = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j", "carbon_kg_co2e")
_MOST_INPUTS = 8


def _studies(results: Results) -> str:
    """What a sensitivity study found, for the headline figures."""
    blocks = []
    for name in ("tornado", "sobol", "drivers"):
        table = results.tables.get(name)
        if table is None or not len(table):
            continue
        known = list(dict.fromkeys(table["metric"]))
        chosen = [m for m in _HEADLINES if m in known and not (m == "makespan_s" and "wall_clock_s" in known)] or known
        for metric in chosen[:3]:
            rows = table[table["metric"] == metric].head(_MOST_INPUTS).to_dict("records")
            head: tuple[str, ...]
            lines: list[tuple[str, ...]]
            if name == "tornado":
                head = (f"what moves {label(metric)}", "5th percentile", "95th percentile", "then", "to")
                lines = [
                    (f"  {r['input']}", r["low"], r["high"], show(metric, r["at_low"]), show(metric, r["at_high"]))
                    for r in rows
                    if r["swing"] != 0
                ]
            elif name == "sobol":
                head = (f"shares of the variance of {label(metric)}", "alone", "with others")
                lines = [(f"  {r['input']}", show("x_frac", r["first"]), show("x_frac", r["total"])) for r in rows]
            else:
                head = (f"what {label(metric)} follows", "rank correlation")
                lines = [
                    (f"  {r['input']}", f"{r['rank_correlation']:+.2f}") for r in rows if r["rank_correlation"] == r["rank_correlation"]
                ]
            blocks.append(columns([head, *lines], right=range(1, len(head))))
    return "\n\n".join(blocks)


def _comparison(results: Results) -> str:
    table = results.tables.get("comparison")
    if table is None or not len(table):
        return ""
    rows = [("published and predicted", "published", "predicted", "")]
    for row in table.to_dict("records"):
        far = deviation(row["ratio"]) if row["ratio"] == row["ratio"] and row["ratio"] > 0 else "not predicted"
        metric = row["metric"]
        published, predicted = (amount(row[key], row["unit"], metric=metric) for key in ("published", "predicted"))
        rows.append((f"  {named(metric)}", published, predicted, far))
    return columns(rows, right=(1, 2))


def _notes(results: Results, width: int) -> str:
    lines = [line for note in results.notes for line in textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")]
    return "\n".join(["notes", *lines]) if lines else ""


def _sources(results: Results, width: int) -> str:
    table = results.tables.get("sources")
    if table is None or not len(table):
        return ""
    unverified = table[table["kind"] == "remembered"]
    text = f"{len(table)} facts used, each with its source in sources.csv"
    if len(unverified):
        names = ", ".join(dict.fromkeys(f"{name} {field}" for name, field in zip(unverified["name"], unverified["field"])))
        text += f"; {len(unverified)} from memory, unverified: {names}"
    return "\n".join(textwrap.wrap(text, width, max_lines=6, placeholder=" …"))


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return rows of text in aligned columns.

    >>> columns([("a", "1 s"), ("bcd", "20 s")], right=(1,)).splitlines()
    ['a     1 s', 'bcd  20 s']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    aligned = ("  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows)
    return "\n".join(line.rstrip() for line in aligned)
