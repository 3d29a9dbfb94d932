"""Bar charts of parts of a whole: time, memory, energy, money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

from hpcsim.report.style import BAR_IN, INK, PALETTE, WIDTH_IN, Chart, colour, drawn, legend, note, sheet, value_axis, width_in, wrap
from hpcsim.results.quantities import brief, quantity, scale, show

__all__ = ["breakdown", "costs", "energy", "memory", "parts", "shares"]

_MOST_PARTS = 9


@drawn
def breakdown(table: pd.DataFrame) -> Chart:
    """Draw where the time of a step or task goes: sorted bars for one, a stacked bar each for several.

    Parameters
    ----------
    table : DataFrame
        Table ``breakdown``.
    """
    names = list(dict.fromkeys(table["name"]))
    if len(names) > 1:
        leading = table.groupby("term", sort=False)["seconds"].sum().sort_values(ascending=False, kind="stable")
        message = f"Most of the time goes to {leading.index[0]}"
        return shares("breakdown", message, _by_name(table, "seconds"), "seconds_s", "Share of each part in the time, by job.")
    values = dict(zip(table["term"], table["seconds"].to_numpy(float)))
    total = sum(values.values())
    first, second = _largest(values)
    message = "No time is spent" if total <= 0 else f"{_capital(first)}: {_percent(values[first], total)} of {brief('time_s', total)}"
    if second and values[second] >= 0.02 * total:
        message += f"; {second}: {_percent(values[second], total)}"
    of = f" of {names[0]}" if names else ""
    return parts(
        "breakdown", message, values, "seconds_s", f"Where the time{of} goes; the parts add up to {show('time_s', total)}.", what="time"
    )


@drawn
def memory(table: pd.DataFrame, training: pd.DataFrame | None = None) -> Chart:
    """Draw where the memory of the fullest device goes, against what it has.

    Parameters
    ----------
    table : DataFrame
        Table ``memory``.
    training : DataFrame, optional
        Table ``training``: gives the capacity.
    """
    capacity = {} if training is None else {n: float(c) for n, c in zip(training["name"], training["memory_capacity_bytes"]) if c == c}
    names = list(dict.fromkeys(table["name"]))
    if len(names) > 1:
        totals = table.groupby("name", sort=False)["size_bytes"].sum()
        fullest = max(names, key=lambda n: totals[n] / capacity.get(n, np.inf) if capacity else totals[n])
        message = f"{fullest} is the fullest: {brief('m_bytes', totals[fullest])}" + _of_capacity(capacity.get(fullest))
        return shares(
            "memory",
            message,
            _by_name(table, "size_bytes"),
            "size_bytes",
            "Share of each part in the memory of the fullest device, by job.",
        )
    values = dict(zip(table["term"], table["size_bytes"].to_numpy(float)))
    total = sum(values.values())
    has = capacity.get(names[0]) if names else None
    message = f"A device needs {brief('m_bytes', total)}{_of_capacity(has)}"
    if has and has > total:
        values["free"] = has - total
    return parts("memory", message, values, "size_bytes", "Where the memory of the fullest device goes.", what="memory")


def _of_capacity(capacity: float | None) -> str:
    return f" of its {brief('m_bytes', capacity)} of memory" if capacity else " of memory"


@drawn
def energy(table: pd.DataFrame) -> Chart:
    """Draw the energy by component.

    Parameters
    ----------
    table : DataFrame
        Table ``energy``.
    """
    values = dict(zip(table["component"], table["energy_j"].to_numpy(float)))
    total = sum(values.values())
    carbon = float(table["carbon_kg_co2e"].sum())
    first, _ = _largest(values)
    message = (
        "No energy is used" if total <= 0 else f"{brief('energy_j', total)} in all, {_percent(values[first], total)} of it for {first}"
    )
    tail = f" {show('carbon_kg_co2e', carbon)} of CO2 equivalent in all." if carbon > 0 else ""
    return parts("energy", message, values, "energy_j", "Energy by component." + tail, what="energy")


@drawn
def costs(table: pd.DataFrame) -> Chart:
    """Draw the bill, largest item first.

    Parameters
    ----------
    table : DataFrame
        Table ``costs``.
    """
    labels = [
        item if group != group or not group else f"{item} ({group})" for item, group in zip(table["item"], table["group"].astype(object))
    ]
    values: dict[str, float] = {}
    for name, usd in zip(labels, table["usd"].to_numpy(float)):
        values[name] = values.get(name, 0.0) + usd
    total = sum(values.values())
    first, _ = _largest(values)
    message = (
        "Nothing is billed" if total <= 0 else f"{brief('cost_usd', total)} in all, {_percent(values[first], total)} of it for {first}"
    )
    return parts("costs", message, values, "cost_usd", "The bill by item.", what="cost")


def parts(name: str, title: str, values: Mapping[str, float], key: str, text: str, *, what: str) -> Chart:
    """Draw the parts of a whole as bars, largest first, each with its share and size.

    Parameters
    ----------
    name, title, text : str
        Of the chart.
    values : mapping of str to float
        Part sizes in SI units.
    key : str
        Name whose unit suffix says what the sizes are (``"energy_j"``).
    what : str
        What is measured, for the axis.
    """
    known = {part: value for part, value in values.items() if value == value}
    total = sum(known.values())
    ranked = sorted(((p, v) for p, v in known.items() if v != 0), key=lambda item: (item[0] == "free", -item[1], item[0]))
    if len(ranked) > _MOST_PARTS:
        rest = ranked[_MOST_PARTS - 1 :]
        ranked = [*ranked[: _MOST_PARTS - 1], (f"{len(rest)} others", sum(v for _, v in rest))]
    labels = [wrap(part, 1.6) for part, _ in ranked]
    height = 1.0 + sum(BAR_IN + 0.14 * label.count("\n") for label in labels)
    figure, (axes,) = sheet(title, height=max(height, 1.5))
    if not ranked:
        note(axes, "There is nothing to show.")
        return Chart(name, title, text, figure)
    sizes = np.array([v for _, v in ranked])
    divisor = value_axis(axes.xaxis, key, float(np.abs(sizes).max()), what=what)
    places = np.arange(len(ranked))[::-1]
    axes.barh(places, sizes / divisor, height=0.62, color=[colour(part, 0) for part, _ in ranked])
    whole = total if total > 0 and (sizes >= 0).all() and len(ranked) > 1 else 0.0
    words = [(f"{_percent(value, whole)} · " if whole else "") + _in_unit(value, key, float(np.abs(sizes).max())) for value in sizes]
    for place, value, word in zip(places, sizes, words):
        axes.annotate(word, (max(value, 0) / divisor, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    _leave_room(axes, sizes / divisor, words, labels)
    axes.xaxis.grid(True)
    return Chart(name, title, text, figure)


def _in_unit(value: float, key: str, largest: float) -> str:
    """Return a value in the unit of the largest beside it, so that bars compare by their numbers too."""
    divisor, unit = scale(key, largest)
    scaled = value / divisor
    if quantity(key).dimension == "money":
        return brief(key, value)
    if 0 < abs(scaled) < 0.005:
        return show(key, value, digits=3)
    text = f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
    return f"{text} {unit}"


def _leave_room(axes: Axes, bars: npt.NDArray[np.float64], words: Sequence[str], labels: Sequence[str]) -> None:
    """Set the limits so that the words behind the bars fit, and take the ticks away that lie beyond the bars."""
    inches = WIDTH_IN - 0.35 - max(width_in(line) for label in labels for line in label.split("\n"))
    free = [max(0.1, 1.0 - (0.1 + width_in(word)) / inches) for word in words]
    low = min(0.0, float(bars.min()))
    right = max(max(float(value), 0.0) / share for value, share in zip(bars, free)) or 1.0
    ticks = [
        tick
        for tick in MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, right)
        if low <= tick <= max(float(bars.max()) * 1.02, 0.0)
    ]
    axes.set_xlim(low * 1.05, right)
    axes.xaxis.set_major_locator(FixedLocator(ticks))


def shares(name: str, title: str, values: Mapping[str, Mapping[str, float]], key: str, text: str) -> Chart:
    """Draw several wholes as stacked bars of 100 %, each with its total.

    Parameters
    ----------
    values : mapping of str to mapping of str to float
        Part sizes in SI units, by whole.
    key : str
        Name whose unit suffix says what the sizes are.
    """
    sums: dict[str, float] = {}
    for whole in values.values():
        for part, value in whole.items():
            sums[part] = sums.get(part, 0.0) + value
    ranked = sorted((p for p, v in sums.items() if v > 0), key=lambda p: (-sums[p], p))
    shown, rest = ranked[: len(PALETTE) - 1], ranked[len(PALETTE) - 1 :]
    labels = [wrap(whole, 1.5) for whole in values]
    figure, (axes,) = sheet(title, height=1.6 + 0.5 * len(labels))
    places = np.arange(len(labels))[::-1]
    left = np.zeros(len(labels))
    totals = np.array([sum(whole.values()) or 1.0 for whole in values.values()])
    handles = []
    for i, part in enumerate([*shown, *(["others"] if rest else [])]):
        inside: Sequence[str] = rest if part == "others" and rest else [part]
        width = np.array([sum(whole.get(p, 0.0) for p in inside) for whole in values.values()]) / totals
        face = colour(part, i) if part != "others" else PALETTE[-1]
        axes.barh(places, width, left=left, height=0.6, color=face, edgecolor="white", linewidth=0.6)
        for place, x, w in zip(places, left, width):
            if w >= 0.1:
                axes.text(
                    x + w / 2, place, f"{100 * w:.0f} %", ha="center", va="center", color="white" if i in (0, 2, 3) else INK, fontsize=9.5
                )
        left = left + width
        handles.append(Patch(color=face))
    axes.set_yticks(places, [f"{label}\n{show(key, total)}" for label, total in zip(labels, totals)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("share")
    legend(figure, handles, [*shown, *([f"{len(rest)} others"] if rest else [])])
    return Chart(name, title, text, figure)


def _by_name(table: pd.DataFrame, value: str) -> dict[str, dict[str, float]]:
    grouped: dict[str, dict[str, float]] = {}
    for name, term, size in zip(table["name"], table["term"], table[value].to_numpy(float)):
        whole = grouped.setdefault(name, {})
        whole[term] = whole.get(term, 0.0) + size
    return grouped


def _largest(values: Mapping[str, float]) -> tuple[str, str]:
    ranked = sorted(values, key=lambda part: (-values[part], part))
    return (ranked[0] if ranked else ""), (ranked[1] if len(ranked) > 1 else "")


def _percent(value: float, total: float) -> str:
    share = 100 * value / total
    if 0 < share < 0.1:
        return "<0.1 %"
    if share >= 99.95:
        return "100 %" if share == 100 else ">99.9 %"
    return f"{share:.1f} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
