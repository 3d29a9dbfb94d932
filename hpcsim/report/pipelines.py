"""The stages of data pipelines: the data through them, and how long each takes by what bounds it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hpcsim.report.style import INK, PALETTE, WIDTH_IN, Chart, drawn, legend, note, sheet, value_axis, width_in, wrap
from hpcsim.results.quantities import brief, show

__all__ = ["pipelines"]

_BOUNDS = {
    "processor": PALETTE[0],
    "device": PALETTE[4],
    "disk": PALETTE[5],
    "arrival": PALETTE[-1],
    "answers": PALETTE[3],
    "read": PALETTE[1],
    "write": PALETTE[2],
    "network": PALETTE[6],
}
_WORDS = {"answers": "waiting for answers", "read": "reading storage", "write": "writing storage", "arrival": "data to arrive", "device": "devices", "disk": "local disks", "processor": "processors"}  # fmt: skip
_MOST_ROWS = 24


@drawn
def pipelines(table: pd.DataFrame) -> Chart:
    """Draw each stage's data and its time alone, by what bounds it: a row for a stage of a pipeline's first run.

    Parameters
    ----------
    table : DataFrame
        Table ``stages``.
    """
    first = table[table["run"] == table.groupby("name")["run"].transform("min")]
    if not len(first) or not float(first["alone_s"].max()) > 0:
        message = "The pipelines take no time"
        figure, (axes,) = sheet(message, height=1.6)
        note(axes, "There is no stage to show.")
        return Chart("pipelines", message, message + ".", figure)
    shown = first.iloc[:_MOST_ROWS]
    longest = shown.loc[shown["alone_s"].idxmax()]
    bound = str(longest["bound_by"])
    message = (
        f"{longest['stage']} is the longest stage of {longest['name']}: {brief('alone_s', float(longest['alone_s']))}, "
        f"bound by {_WORDS.get(bound, bound)}"
    )
    several = first["name"].nunique() > 1
    labels = [wrap(f"{n}: {s}" if several else s, 1.7) for n, s in zip(shown["name"], shown["stage"])]
    figure, (axes,) = sheet(message, height=1.5 + 0.32 * len(shown))
    _bars(axes, shown, labels)
    present = [name for name in _BOUNDS if (shown["bound_by"] == name).any()]
    legend(figure, [Patch(color=_BOUNDS[name]) for name in present], [_WORDS.get(name, name) for name in present])
    text = "Time of each stage with nothing else on its nodes, tiers and links, by what bounds it; data in and out beside."
    if len(first) > _MOST_ROWS:
        text += f" The first {_MOST_ROWS} of {len(first):,} stages are drawn."
    return Chart("pipelines", message, text, figure)


def _bars(axes: Axes, shown: pd.DataFrame, labels: list[str]) -> None:
    """Draw the time of each stage, with the time and its data in words."""
    places = np.arange(len(shown))[::-1]
    alone = shown["alone_s"].to_numpy(float)
    divisor = value_axis(axes.xaxis, "alone_s", float(alone.max()), what="time alone")
    axes.barh(places, alone / divisor, height=0.62, color=[_BOUNDS.get(name, INK) for name in shown["bound_by"]])
    words = [
        f"{show('alone_s', time, digits=3)} · {show('in_bytes', into, digits=3)} → {show('out_bytes', out, digits=3)}"
        for time, into, out in zip(alone, shown["in_bytes"].to_numpy(float), shown["out_bytes"].to_numpy(float))
    ]
    for place, value, word in zip(places, alone, words):
        axes.annotate(word, (value / divisor, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    inches = WIDTH_IN - 0.35 - max(width_in(line) for label in labels for line in label.split("\n"))
    free = [max(0.15, 1.0 - (0.1 + width_in(word, size=9)) / inches) for word in words]
    axes.set_xlim(0, max(float(value) / divisor / part for value, part in zip(alone, free)))
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.xaxis.grid(True)
