"""Latencies of services against what was promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from hpcsim.base.units import readable
from hpcsim.report.style import FAINT, GRID, PALETTE, Chart, drawn, legend, note, sheet
from hpcsim.results.quantities import brief

__all__ = ["latencies"]

_WORDS = {"ttft": "to the first token", "tpot": "per further token", "latency": "to the whole answer"}
_LIMITS = {"ttft": "ttft_limit_s", "tpot": "tpot_limit_s", "latency": "deadline_s"}
_STYLES = ("-", "--", ":", "-.")


@drawn
def latencies(table: pd.DataFrame, services: pd.DataFrame) -> Chart:
    """Draw the share of the requests that are served within a time, a line a measure and service, and the objectives.

    Parameters
    ----------
    table, services : DataFrame
        Tables ``latencies`` and ``services``.
    """
    rows = services.astype(object).to_dict("records")
    shown = {row["name"]: _measures(table[table["name"] == row["name"]], row) for row in rows}
    message = _title(rows, table)
    figure, (axes,) = sheet(message, height=3.6)
    if not len(table):
        note(axes, "No request was answered.")
        return Chart("latencies", message, "No request was answered.", figure)
    several, lines, labels, seen = len(rows) > 1, [], [], []
    for i, (name, measures) in enumerate(shown.items()):
        for k, measure in enumerate(measures):
            part = table[(table["name"] == name) & (table["measure"] == measure)]
            tint = PALETTE[i % len(PALETTE)] if several else PALETTE[k % len(PALETTE)]
            style = _STYLES[k % len(_STYLES)] if several else "-"
            times = part["time_s"].to_numpy(float)
            lines += axes.plot(times, part["quantile_frac"].to_numpy(float), color=tint, linestyle=style)
            labels.append(f"{name}: {_WORDS[measure]}" if several else _WORDS[measure])
            seen += [float(times[0]), float(times[-1])]
            limit = rows[i][_LIMITS[measure]]
            if limit is not None and limit == limit:
                axes.axvline(limit, color=tint, linewidth=1.0, linestyle=(0, (2, 2)))
                seen.append(float(limit))
    axes.set_xscale("log")
    _seconds(axes, max(min(seen), 1e-7) / 1.3, max(seen) * 1.3)
    axes.set_ylim(0, 1.005)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("requests")
    axes.grid(True, color=GRID)
    promised = [row for row in rows if any(row[key] is not None and row[key] == row[key] for key in _LIMITS.values())]
    if promised:
        lines.append(Line2D([], [], color=FAINT, linewidth=1.0, linestyle=(0, (2, 2))))
        labels.append("objective, in the colour of its line")
    legend(figure, lines, labels)
    return Chart("latencies", message, "Share of the requests that are served within a time, as their users see it.", figure)


def _measures(table: pd.DataFrame, row: dict[str, Any]) -> list[str]:
    """Return the measures of a service that are worth a line: one where an answer is one pass, else all three."""
    there = [measure for measure in _WORDS if (table["measure"] == measure).any()]
    return there if "tpot" in there else [measure for measure in there if measure == "latency"]


def _title(rows: list[dict[str, Any]], table: pd.DataFrame) -> str:
    parts = []
    for row in rows:
        part = table[table["name"] == row["name"]]
        if not len(part):
            parts.append(f"{row['name']} answers nothing")
            continue
        key = "p95_ttft_s" if (part["measure"] == "tpot").any() else "p95_latency_s"
        what = "first tokens" if key == "p95_ttft_s" else "answers"
        late = row["late_frac"]
        missing = row[key] is None or row[key] != row[key]
        within = "not within the time simulated" if missing else f"within {brief('t_s', row[key])}"
        tail = f" ({100 * late:.3g} % past the deadline)" if late is not None and late == late else ""
        parts.append(f"95 % of the {what} {'of ' + row['name'] + ' ' if len(rows) > 1 else ''}come {within}{tail}")
        if key == "p95_ttft_s" and row["p95_tpot_s"] is not None and row["p95_tpot_s"] == row["p95_tpot_s"]:
            parts[-1] += f", further ones every {brief('t_s', row['p95_tpot_s'])}"
    return "; ".join(parts)


def _seconds(axes: Any, low: float, high: float) -> None:
    """Label a logarithmic axis of times, each tick with its own unit."""
    axes.set_xlim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [step * 10.0**k for k in decades for step in steps if low <= step * 10.0**k <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(float(f"{value:.6g}"), "time", 3)))
    axes.set_xlabel("time")
