"""Chart of what failures take, by cause."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from hpcsim.report.style import PALETTE, WIDTH_IN, Chart, drawn, legend, sheet, value_axis, width_in, wrap
from hpcsim.results.failures import TAKEN
from hpcsim.results.quantities import brief

__all__ = ["failures"]

_MOST = 10


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return time by cause and part, most first, the least causes together."""
    sums = table.groupby("cause", sort=False)[["failures", *TAKEN]].sum()
    order = sums[list(TAKEN)].sum(axis=1).sort_values(ascending=False, kind="stable").index
    sums = sums.loc[order]
    if len(sums) <= _MOST:
        return sums
    rest = sums.iloc[_MOST - 1 :].sum().to_frame(f"{len(sums) - _MOST + 1} others").T
    return pd.concat([sums.iloc[: _MOST - 1], rest])


@drawn
def failures(table: pd.DataFrame) -> Chart:
    """Draw the time that each cause of failures takes of the training runs, a bar each, in its parts.

    Parameters
    ----------
    table : DataFrame
        Table ``failures``; rows of the batch jobs are left out, whose lost time it does not have.
    """
    rows = _ranked(table[table["name"] != "jobs"])
    total = rows[list(TAKEN)].sum(axis=1)
    whole, worst = float(total.sum()), str(total.idxmax())
    several = len(rows) > 1 and whole > 0
    message = f"Failures take {brief('time_s', whole)}" + (f", {worst} most: {100 * float(total[worst]) / whole:.0f} %" if several else "")
    labels = [wrap(str(cause), 1.6) for cause in rows.index]
    figure, (axes,) = sheet(message, height=1.5 + 0.32 * max(len(rows), 2))
    divisor = value_axis(axes.xaxis, "time_s", float(total.max()), what="time of the training runs")
    places, left, handles, named = np.arange(len(rows))[::-1], np.zeros(len(rows)), [], []
    for face, part in zip(PALETTE, (part for part in TAKEN if rows[part].sum() > 0), strict=False):
        width = rows[part].to_numpy(float) / divisor
        axes.barh(places, width, left=left, height=0.62, color=face, edgecolor="white", linewidth=0.6)
        left = left + width
        handles.append(Patch(color=face))
        named.append(TAKEN[part])
    words = [f"{count:,.3g} times" if count > 0 else "" for count in rows["failures"].to_numpy(float)]
    for place, end, word in zip(places, left, words, strict=True):
        axes.annotate(word, (float(end), float(place)), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
    room = max(width_in(word) for word in words) / WIDTH_IN
    axes.set_xlim(0, (float(left.max()) or 1.0) * (1.05 + 1.6 * room))
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    legend(figure, handles, named)
    text = "What each cause of failures takes of the training runs, and how often it strikes; checkpoints themselves are left out."
    return Chart("failures", message, text, figure)
