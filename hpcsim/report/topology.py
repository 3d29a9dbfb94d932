"""The fabric drawn: its cables, how full they are, and who sends when."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from hpcsim.report.style import FAINT, GRID, INK, PALETTE, SEQUENTIAL, Chart, drawn, legend, note, sheet, time_axis
from hpcsim.results.quantities import brief

__all__ = ["flow_timeline", "link_load", "link_use", "topology"]

_LOAD = LinearSegmentedColormap.from_list("load", ["#d9dee4", *SEQUENTIAL])
_FULL = Normalize(0.0, 1.0)
_HALO = [Stroke(linewidth=2.5, foreground="white"), Normal()]  # names stay legible over cables
_MOST_LABELS = 16
_MOST_FLOWS = 60


def _names(table: pd.DataFrame) -> dict[str, tuple[int, str]]:
    """Return the vertices in the order in which they occur: level and part."""
    found: dict[str, tuple[int, str]] = {}
    for end in ("a", "b"):
        parts = table[f"{end}_part"].where(table[f"{end}_part"].notna(), "")
        for name, level, part in zip(table[end], table[f"{end}_level"], parts):
            found.setdefault(str(name), (int(level), str(part)))
    return dict(sorted(found.items(), key=lambda item: (item[1][0], _natural(item[0]))))


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _layered(names: dict[str, tuple[int, str]]) -> dict[str, tuple[float, float]]:
    """Place every level on a row of its own, evenly."""
    levels = sorted({level for level, _ in names.values()})
    rows = {level: [name for name, (own, _) in names.items() if own == level] for level in levels}
    return {name: ((i + 0.5) / len(row), float(y)) for y, row in enumerate(rows[level] for level in levels) for i, name in enumerate(row)}


def _gridded(names: dict[str, tuple[int, str]]) -> dict[str, tuple[float, float]]:
    """Place the places of a torus by their coordinates: the last axis across, the one before down, others as panes aside of each other."""
    places = {name: tuple(int(c) for c in part.split(",")) for name, (_, part) in names.items() if part}
    wide = max((at[-1] for at in places.values()), default=0) + 1
    panes = sorted({at[:-2] for at in places.values()})
    shown: dict[str, tuple[float, float]] = {}
    for name, at in places.items():
        pane = panes.index(at[:-2])
        row = at[-2] if len(at) > 1 else 0
        shown[name] = (at[-1] + pane * (wide + 0.8), -float(row))
    return shown


def _round(names: dict[str, tuple[int, str]], table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Place switches on a circle and the nodes of each outside of it."""
    inner = [name for name, (level, _) in names.items() if level > 0] or list(names)
    angle = {name: 2 * math.pi * i / len(inner) for i, name in enumerate(inner)}
    shown = {name: (math.cos(a), math.sin(a)) for name, a in angle.items()}
    hung: dict[str, list[str]] = {}
    for a, b in zip(table["a"].astype(str), table["b"].astype(str)):
        if a not in shown and b in angle:
            hung.setdefault(b, []).append(a)
    for switch, nodes in hung.items():
        for k, node in enumerate(nodes):
            turn = angle[switch] + (k - (len(nodes) - 1) / 2) * 2 * math.pi / len(inner) / (len(nodes) + 0.6)
            shown[node] = (1.35 * math.cos(turn), 1.35 * math.sin(turn))
    return shown


def _placed(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    names = _names(table)
    if table["tier"].astype(str).str.startswith("axis-").any() and (table["tier"].astype(str) != "hosts").all():
        return _gridded(names)
    levels = {level for level, _ in names.values()}
    level_pairs = (table["a_level"] == table["b_level"]).any()
    return _layered(names) if len(levels) > 1 and not level_pairs else _round(names, table)


@drawn
def topology(table: pd.DataFrame, figures: Mapping[str, object]) -> Chart:
    """Draw the cables of a fabric: of a small one all, of a large one one part, with the figures of the whole above.

    Parameters
    ----------
    table : DataFrame
        Table ``fabric_map``.
    figures : mapping
        The one row of the table ``fabric``.
    """
    names, placed = _names(table), _placed(table)
    nodes = int(str(figures["nodes"]))
    drawn_nodes = sum(level == 0 for level, _ in names.values())
    ratio = float(str(figures["oversubscription"]))
    switches, cables = int(str(figures["switches"])), int(str(figures["cables"]))
    of = f"{switches:,} switches and {cables:,} cables join {nodes:,} nodes" if switches else f"{cables:,} cables join {nodes:,} nodes"
    message = of + (f", oversubscribed {ratio:.3g} to 1" if ratio > 1 + 1e-9 else "")
    message += "" if drawn_nodes == nodes else f"; here the first {drawn_nodes:,}"
    tall = 3.1 if len({y for _, y in placed.values()}) < 5 else 4.4
    figure, (axes,) = sheet(message, height=tall)
    _cables(axes, table, placed, figure)
    xs, ys = np.array([placed[n] for n in names if n in placed]).T
    node = np.array([names[n][0] == 0 for n in names if n in placed])
    small = 26 if len(xs) <= 60 else 12
    axes.scatter(xs[node], ys[node], s=small, marker="s", color=INK, zorder=3, linewidths=0)
    axes.scatter(xs[~node], ys[~node], s=small * 2.2, marker="o", facecolor="white", edgecolor=INK, linewidths=1.1, zorder=3)
    _rows(axes, names, placed)
    axes.set_axis_off()
    if len({y for _, y in placed.values()}) >= 5:
        axes.set_aspect("equal")
    axes.margins(0.06, 0.16)
    part = "" if drawn_nodes == nodes else f" Shown are the first {drawn_nodes:,} nodes and the switches above them; the rest repeats them."
    known = table["load_frac"].notna().any()
    text = f"The fabric ({figures['topology']}): squares are nodes, circles switches, lines bundles of cables." + part
    text += " Colour: mean use, the fuller way." if known else ""
    return Chart("topology", message, text, figure)


def _cables(axes: Axes, table: pd.DataFrame, placed: dict[str, tuple[float, float]], figure: object) -> None:
    """Draw the bundles: coloured by use where it is known, else by tier; closing cables of a torus as arcs out of the way."""
    seen = [(str(a) in placed and str(b) in placed) for a, b in zip(table["a"], table["b"])]
    table = table[seen]
    most = float(table["cables"].max())
    width = 0.7 + 1.6 * np.log1p(table["cables"].to_numpy(float)) / np.log1p(max(most, 2.0))
    lines = [_line(placed[str(a)], placed[str(b)]) for a, b in zip(table["a"], table["b"])]
    tiers = list(dict.fromkeys(table["tier"].astype(str)))
    load = table["load_frac"].to_numpy(float)
    if np.isfinite(load).any():
        collection = LineCollection(lines, linewidths=width, colors=[_LOAD(_FULL(x)) if math.isfinite(x) else GRID for x in load], zorder=1)
        axes.add_collection(collection)
        bar = axes.figure.colorbar(ScalarMappable(_FULL, _LOAD), ax=axes, fraction=0.03, pad=0.01, format=lambda x, _: f"{100 * x:.0f} %")
        bar.outline.set_visible(False)
        bar.set_label("mean use")
        return
    colours = {tier: PALETTE[i % len(PALETTE)] for i, tier in enumerate(tiers)}
    axes.add_collection(
        LineCollection(
            lines,
            linewidths=width,
            colors=[colours[t] for t in table["tier"].astype(str)],
            alpha=max(0.2, min(0.8, 90 / len(lines))),
            zorder=1,
        )
    )
    each = table.groupby("tier", sort=False)["cables"].agg(["min", "max"])
    labels = [
        f"{tier}: {row['min']:.0f} cable{'s' if row['min'] != 1 else ''} a line"
        if row["min"] == row["max"]
        else f"{tier}: {row['min']:.0f}–{row['max']:.0f} cables a line"
        for tier, row in each.iterrows()
    ]
    legend(axes.figure, [Line2D([], [], color=colours[str(t)], linewidth=2.2) for t in each.index], labels)  # type: ignore[arg-type]


def _line(a: tuple[float, float], b: tuple[float, float]) -> list[tuple[float, float]]:
    """Return a straight line, or for a long way along a row or column an arc beside what lies between."""
    far = math.dist(a, b)
    flat = abs(a[1] - b[1]) < 0.3 or abs(a[0] - b[0]) < 0.3
    if far <= 1.5 or not flat or (abs(a[0]) <= 1.4 and abs(b[0]) <= 1.4 and far < 2.8):
        return [a, b]
    bend = 0.34
    across = abs(a[1] - b[1]) < 0.3
    turn = np.linspace(0, math.pi, 20)
    x = a[0] + (b[0] - a[0]) * (1 - np.cos(turn)) / 2 + (0 if across else bend * np.sin(turn))
    y = a[1] + (b[1] - a[1]) * (1 - np.cos(turn)) / 2 + (bend * np.sin(turn) if across else 0)
    return list(zip(x.tolist(), y.tolist()))


def _rows(axes: Axes, names: dict[str, tuple[int, str]], placed: dict[str, tuple[float, float]]) -> None:
    """Name the levels at the side, and the vertices where there is room."""
    levels = sorted({level for level, _ in names.values()})
    rows = {level: [n for n, (own, _) in names.items() if own == level and n in placed] for level in levels}
    if all(len({placed[n][1] for n in row}) == 1 for row in rows.values()):
        for level, row in rows.items():
            y = placed[row[0]][1]
            what = f"{len(row)} nodes" if level == 0 else f"level {level}: {len(row)}"
            axes.text(-0.015, y, what, ha="right", va="center", fontsize=9.5, color=FAINT, transform=axes.get_yaxis_transform())
            if len(row) <= _MOST_LABELS and max(len(n) for n in row) * len(row) <= 70:
                for name in row:
                    axes.annotate(name.removeprefix("switch/"), placed[name], (0, -9 if level == 0 else 8), textcoords="offset points",
                                  ha="center", va="top" if level == 0 else "bottom", fontsize=8, color=INK, path_effects=_HALO)  # fmt: skip


def _way(link: str) -> str:
    """Return whether a link leads up or down the levels; empty where it stays on one, or leads between nodes."""

    def level(name: str) -> int:
        parts = name.split("/")
        return int(parts[1]) if parts[0] in ("switch", "switches") and len(parts) > 2 and parts[1].isdecimal() else 0

    a, _, b = link.partition(" → ")
    low, high = level(a), level(b)
    return "up" if low < high else "down" if low > high else ""


@drawn
def link_load(table: pd.DataFrame) -> Chart:
    """Draw how full the links are as a heat map: a row for each kind of link and way, a cell for each link.

    Parameters
    ----------
    table : DataFrame
        Table ``links``.
    """
    if not len(table):
        message = "No link was used"
        figure, (axes,) = sheet(message)
        note(axes, "Nothing went over the fabric.")
        return Chart("link-load", message, message + ".", figure)
    rows: dict[tuple[str, str], list[tuple[list[tuple[int, int, str]], str, float]]] = {}
    columns = (table["link"].astype(str), table["kind"].astype(str), table["mean_utilisation_frac"].astype(float))
    for name, kind, use in zip(*columns):
        rows.setdefault((kind, _way(name)), []).append((_natural(name), name, use))
    most, fullest, kind = max(zip(columns[2], columns[0], columns[1]), key=lambda row: row[0])
    message = f"{fullest} ({kind}) is the fullest link, used {brief('utilisation_frac', most)} of the time"
    figure, (axes,) = sheet(message, height=0.9 + 0.34 * len(rows))
    for y, cells in enumerate(rows.values()):
        values = [use for _, _, use in sorted(cells)]
        axes.imshow([values], aspect="auto", cmap=_LOAD, norm=_FULL, extent=(0, 1, y + 0.42, y - 0.42), interpolation="nearest")
        if len(values) <= 10:
            for i, use in enumerate(values):
                axes.text((i + 0.5) / len(values), y, f"{100 * use:.0f} %", ha="center", va="center", fontsize=9,
                          color="white" if use > 0.6 else INK)  # fmt: skip
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_yticks(range(len(rows)), [f"{kind} {way} ({len(cells)})".replace("  ", " ") for (kind, way), cells in rows.items()])
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(ScalarMappable(_FULL, _LOAD), ax=axes, fraction=0.04, pad=0.02, format=lambda x, _: f"{100 * x:.0f} %")
    bar.outline.set_visible(False)
    text = (
        "Mean use of every link that was used, one way each: a row for each kind, its links from left to right in order of their numbers."
    )
    return Chart("link-load", message, text, figure)


@drawn
def link_use(table: pd.DataFrame) -> Chart:
    """Draw how full links are over time: a row for each link, a cell for each interval.

    Parameters
    ----------
    table : DataFrame
        Table ``link_use``.
    """
    links = list(dict.fromkeys(table["link"]))
    share = table["utilisation_frac"].to_numpy(float).reshape(len(links), -1)
    start, end = float(table["start_s"].min()), float(table["end_s"].max())
    fullest = int(share.mean(axis=1).argmax())
    message = f"The fullest link, {links[fullest]}, is used to {100 * share[fullest].mean():.0f} % on average and {100 * share[fullest].max():.0f} % at most"
    figure, (axes,) = sheet(message, height=min(1.1 + 0.16 * len(links), 6.0))
    seconds = time_axis(axes, end - start)
    edges = np.linspace(0.0, (end - start) / seconds, share.shape[1] + 1)
    axes.pcolormesh(edges, np.arange(len(links) + 1), share, cmap=_LOAD, norm=_FULL, rasterized=True)
    axes.set_ylim(len(links), 0)
    axes.set_yticks(np.arange(len(links)) + 0.5, [_short(name) for name in links], fontsize=7 if len(links) > 20 else 9)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    bar = figure.colorbar(ScalarMappable(_FULL, _LOAD), ax=axes, fraction=0.04, pad=0.02, format=lambda x, _: f"{100 * x:.0f} %")
    bar.outline.set_visible(False)
    text = (
        "Use of the links that carried most, one way each, over time; what an activity sends is spread evenly over the time that it lasts."
    )
    return Chart("link-use", message, text, figure)


def _short(name: str) -> str:
    """Return a link as a label that fits."""
    return name.replace("switches/", "").replace("switch/", "").replace("storage/", "")


@drawn
def flow_timeline(table: pd.DataFrame) -> Chart:
    """Draw flows over time, a bar each; where there are many, an even sample from the shortest to the longest.

    Parameters
    ----------
    table : DataFrame
        Table ``flows``.
    """
    start, end = table["start_s"].to_numpy(float), table["end_s"].to_numpy(float)
    if not len(table) or end.max() <= start.min():
        message = "No flow took any time"
        figure, (axes,) = sheet(message)
        note(axes, "There is nothing to show.")
        return Chart("flows", message, message + ".", figure)
    order = np.lexsort((np.arange(len(table)), end - start))
    keep = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_FLOWS)).round().astype(int))]
    kept = keep[np.lexsort((end[keep], start[keep]))]
    rate = table["size_bytes"].to_numpy(float) / np.maximum(end - start, 1e-300)
    best = table["alone_bytes_per_s"].to_numpy(float)
    share = np.clip(rate / best, 0, 1)
    slowest = brief("mean_wait_s", float(end.max() - start.min()))
    message = (
        f"{len(table):,} flows take {slowest}; on average each goes at {100 * share.mean():.0f} % of the rate that it could have alone"
    )
    figure, (axes,) = sheet(message, height=min(1.1 + 0.07 * len(kept), 4.5))
    seconds = time_axis(axes, float(end.max() - start.min()))
    zero = start.min()
    axes.barh(range(len(kept)), (end - start)[kept] / seconds, left=(start[kept] - zero) / seconds, height=0.8, color=_LOAD(share[kept]))
    axes.set_ylim(len(kept) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_ylabel("flows" if len(kept) == len(table) else f"{len(kept)} of the flows, short to long")
    bar = figure.colorbar(ScalarMappable(_FULL, _LOAD), ax=axes, fraction=0.04, pad=0.02, format=lambda x, _: f"{100 * x:.0f} %")
    bar.outline.set_visible(False)
    bar.set_label("share of its rate alone")
    text = "Every bar is a flow from its start to the arrival of its last byte; colour is its mean rate over that time, pauses included, over the rate that it would have alone."
    return Chart("flows", message, text, figure)
