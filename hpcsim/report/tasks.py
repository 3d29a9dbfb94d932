"""The stages of a decomposed task over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from hpcsim.base.units import percent
from hpcsim.report.style import INK, PALETTE, Chart, drawn, legend, note, sheet, time_axis, wrap
from hpcsim.results.quantities import brief

__all__ = ["tasks"]

_STAGES = ("split", "partition", "dispatch", "run", "merge")
_COLOURS = dict(zip(_STAGES, (PALETTE[3], PALETTE[4], PALETTE[1], PALETTE[0], PALETTE[2])))
_MOST_ROWS = 40


@drawn
def tasks(table: pd.DataFrame) -> Chart:
    """Draw which part is in which stage when, a row per part.

    Parameters
    ----------
    table : DataFrame
        Table ``tasks``, of one task or several.
    """
    begin, end = float(table["start_s"].min()), float(table["end_s"].max())
    if not len(table) or not end > begin:
        message = "The task takes no time"
        figure, (axes,) = sheet(message, height=1.6)
        note(axes, "There is no stage to show.")
        return Chart("tasks", message, message + ".", figure)
    several = table["name"].nunique() > 1
    rows = _rows(table, several)
    shown = dict(list(rows.items())[:_MOST_ROWS])
    message = _title(table, begin, end)
    figure, (axes,) = sheet(message, height=1.3 + max(0.16, min(0.32, 4.0 / len(shown))) * len(shown))
    seconds = time_axis(axes, end - begin)
    for place, chosen in enumerate(reversed(list(shown.values()))):
        for stage, start, stop in zip(chosen["stage"], chosen["start_s"], chosen["end_s"]):
            axes.barh(place, (stop - start) / seconds, left=(start - begin) / seconds, height=0.72, color=_COLOURS[stage])
    every = -(-len(shown) // 16)
    labels = list(reversed(list(shown)))
    ticks = [i for i in range(len(labels)) if (len(labels) - 1 - i) % every == 0]
    axes.set_yticks(ticks, [wrap(labels[i], 1.7) for i in ticks])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.axvline(1.0 * (end - begin) / seconds, color=INK, linewidth=0.8)
    present = [stage for stage in _STAGES if (table["stage"] == stage).any()]
    legend(figure, [Patch(color=_COLOURS[stage]) for stage in present], present)
    text = "Stages of the task over time, a row per part."
    if len(rows) > _MOST_ROWS:
        text += f" The first {_MOST_ROWS} of {len(rows):,} rows are drawn."
    return Chart("tasks", message, text, figure)


def _rows(table: pd.DataFrame, several: bool) -> dict[str, pd.DataFrame]:
    """Return the rows of the picture by label: the whole task first, then its parts."""
    rows: dict[str, pd.DataFrame] = {}
    keys = list(zip(table["name"], table["part"].fillna(-1).astype("int64"), table["node"].astype(object)))
    labels = []
    for name, part, node in keys:
        text = "whole task" if part < 0 else f"part {part}"
        where = f" on {node}" if isinstance(node, str) and node and part >= 0 else ""
        labels.append((f"{name}: " if several else "") + text + where)
    order = sorted(range(len(keys)), key=lambda i: (str(keys[i][0]), int(keys[i][1]), labels[i]))
    for label in dict.fromkeys(labels[i] for i in order):
        rows[label] = table[np.array([one == label for one in labels])]
    return rows


def _title(table: pd.DataFrame, begin: float, end: float) -> str:
    spans = {}
    for stage in _STAGES:
        rows = table[table["stage"] == stage]
        if len(rows):
            spans[stage] = float(rows["end_s"].max() - rows["start_s"].min())
    longest = max(spans, key=lambda stage: (spans[stage], stage))
    return (
        f"{brief('time_s', end - begin)} from split to merge; the {longest} stage spans {percent(spans[longest] / (end - begin), 3)} of it"
    )
