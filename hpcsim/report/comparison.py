"""Published figures beside predicted ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hpcsim.report.amounts import change, deviation, named
from hpcsim.report.style import FAINT, GRID, PALETTE, Chart, drawn, note, sheet, wrap

__all__ = ["comparison"]


@drawn
def comparison(table: pd.DataFrame) -> Chart:
    """Draw predicted over published, one row per metric, with the published and the predicted value beside its name.

    Parameters
    ----------
    table : DataFrame
        Table ``comparison``; rows without a prediction are left out.
    """
    known = table[table["ratio"].notna() & (table["ratio"] > 0)]
    ratios = known["ratio"].to_numpy(float)
    if not len(known):
        message = "Nothing published is predicted here"
        figure, (axes,) = sheet(message, height=1.6)
        note(axes, "There is no ratio to show.")
        return Chart("comparison", message, message + ".", figure)
    worst = int(np.argmax(np.abs(np.log(ratios))))
    message = (
        f"The prediction is {deviation(ratios[0])} for {named(known['metric'].iloc[0])}"
        if len(known) == 1
        else f"Predictions against {len(known)} published figures: farthest is {named(known['metric'].iloc[worst])}, {deviation(ratios[worst])}"
    )
    labels = [
        f"{wrap(named(metric), 1.8)}\n{change(published, predicted, unit, metric=metric)}"
        for metric, published, predicted, unit in zip(known["metric"], known["published"], known["predicted"], known["unit"].astype(object))
    ]
    figure, (axes,) = sheet(message, height=1.25 + sum(0.3 + 0.17 * label.count("\n") for label in labels))
    places = np.arange(len(known))[::-1]
    axes.axvspan(0.9, 1.1, color="#e9eef3", linewidth=0)
    axes.axvline(1.0, color=FAINT, linewidth=1.0)
    axes.hlines(places, 1.0, ratios, color=GRID, linewidth=2.0)
    axes.plot(ratios, places, "o", color=PALETTE[0], markersize=7)
    for place, ratio in zip(places, ratios):
        axes.annotate(f"×{ratio:.3g}", (max(ratio, 1.0), place), xytext=(8, 0), textcoords="offset points", va="center")
    _ratio_axis(axes, ratios)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.set_xlabel("predicted / published")
    return Chart(
        "comparison", message, "Predicted over published value; under each name: published → predicted. Shaded: within 10 %.", figure
    )


def _ratio_axis(axes: Axes, ratios: npt.NDArray[np.float64]) -> None:
    low, high = min(0.85, float(ratios.min())), max(1.15, float(ratios.max()))
    if high / low > 3:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.9)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.28 * (high - low)
        axes.set_xlim(low - 0.3 * room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
