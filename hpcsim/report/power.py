"""Power over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from hpcsim.base.units import percent
from hpcsim.report.intervals import means
from hpcsim.report.schedule import stack
from hpcsim.report.style import COMPONENTS, Chart, drawn, legend, note, sheet, time_axis, value_axis
from hpcsim.results.quantities import brief

__all__ = ["node_power", "power"]

_PARTS = ("idle", "compute", "network", "storage", "cooling")
_BINS = 240


@drawn
def power(table: pd.DataFrame) -> Chart:
    """Draw electrical power over time, its parts one on the other.

    Parameters
    ----------
    table : DataFrame
        Table ``power``.
    """
    start, end = table["start_s"].to_numpy(float), table["end_s"].to_numpy(float)
    total, span = table["total_w"].to_numpy(float), end - start
    if not len(table) or span.sum() <= 0:
        message = "No time passed"
        figure, (axes,) = sheet(message)
        note(axes, "There is no interval to show.")
        return Chart("power", message, message + ".", figure)
    mean, peak = float((total * span).sum() / span.sum()), float(total.max())
    steady = peak - mean < 0.005 * peak
    message = (
        f"Power is about {brief('power_w', mean)} throughout"
        if steady
        else f"Power peaks at {brief('power_w', peak)}; {brief('power_w', mean)} on average"
    )
    exact = np.unique(np.concatenate([start, end]))
    edges = exact if len(exact) <= _BINS else np.linspace(exact[0], exact[-1], _BINS + 1)
    figure, (axes,) = sheet(message)
    seconds = time_axis(axes, float(edges[-1] - edges[0]))
    divisor = value_axis(axes.yaxis, "power_w", peak, what="power")
    present = [part for part in _PARTS if float(table[f"{part}_w"].max()) > 0]
    layers = [means(start, end, table[f"{part}_w"].to_numpy(float), edges) / divisor for part in present]
    x = (edges - edges[0]) / seconds
    if layers:
        stack(axes, x, layers, [COMPONENTS[part] for part in present])
        legend(figure, [Patch(color=COMPONENTS[part]) for part in present], present)
    axes.set_ylim(0, peak / divisor * 1.08 or 1.0)
    binned = len(edges) == _BINS + 1
    if binned and not steady:
        axes.axhline(peak / divisor, color="#52606d", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            "peak",
            (1.0, peak / divisor),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9.5,
        )
    text = "Electrical power by component over time." + (f" Means over {_BINS} equal spans of time." if binned else "")
    return Chart("power", message, text, figure)


@drawn
def node_power(intervals: pd.DataFrame, states: pd.DataFrame, power: pd.DataFrame) -> Chart:
    """Draw how many nodes are on, move between on and off, and are off over time.

    Parameters
    ----------
    intervals, states, power : DataFrame
        Tables ``node_power``, ``node_states`` and ``power``, whose first and last times are those of the picture.
    """
    first, last = float(power["start_s"].iloc[0]), float(power["end_s"].iloc[-1])
    nodes = float(states["node_s"].sum()) / (last - first)
    off = float(states["node_s"][states["state"] == "off"].sum()) / (nodes * (last - first))
    message = f"Nodes are switched off {percent(off)} of their time"
    edges = np.linspace(first, last, _BINS + 1)
    figure, (axes,) = sheet(message)
    seconds = time_axis(axes, last - first)

    def level(*names: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        mine = intervals[intervals["state"].isin(names)]
        return means(mine["start_s"].to_numpy(float), mine["end_s"].to_numpy(float), np.ones(len(mine)), edges)

    moving, away = level("booting", "shutting down"), level("off")
    layers = {"on": nodes - moving - away, "booting or shutting down": moving, "off": away}
    colours = [COMPONENTS["busy"], COMPONENTS["network"], COMPONENTS["free"]]
    stack(axes, (edges - edges[0]) / seconds, list(layers.values()), colours)
    legend(figure, [Patch(color=colour) for colour in colours], list(layers))
    axes.set_ylim(0, nodes * 1.02)
    axes.set_ylabel("nodes")
    return Chart(
        "node-power",
        message,
        f"Nodes by what they do over time, means over {_BINS} equal spans. Nodes that are on have jobs, or are idle.",
        figure,
    )
