"""The points of a sweep as a short table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpcsim.results.quantities import SUMMARY, label, quantity, show, show_range

if TYPE_CHECKING:
    import pandas as pd

    from hpcsim.results.record import Results

__all__ = ["points_shown"]

MOST_POINTS = 20
MOST_METRICS = 6
_HEADLINES = (
    "wall_clock_s",
    "makespan_s",
    "mean_wait_s",
    "p95_wait_s",
    "utilisation_frac",
    "goodput_frac",
    "mfu_frac",
    "peak_memory_bytes",
    "facility_energy_j",
    "carbon_kg_co2e",
    "cost_usd",
)
_OF_SERVICES = ("replicas", "p95_ttft_s", "p95_tpot_s", "p95_latency_s", "late_frac", "goodput_frac", "cost_per_request_usd")
"""The same of services, which last as long as they are told to."""
_TIMES = ("wall_clock_s", "makespan_s")
"""Of these the first that moves is shown."""
_LEAST_IS_BEST = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j", "carbon_kg_co2e")
_LONGEST_CELL = 28


def points_shown(results: Results, *, width: int, most: int = MOST_POINTS) -> tuple[list[tuple[str, ...]], str]:
    """Return the points of a sweep for a reader.

    Parameters
    ----------
    results : Results
        Of :func:`hpcsim.sweep`.
    width : int
        Columns of the terminal; metrics that do not fit are left out, the cost last.
    most : int
        Points to show.

    Returns
    -------
    rows : list of tuple of str
        A head, then a row a point (the mean over its seeds): the axes, the headline figures that move (the first with its 80 % range
        where the points have one), the cost. Over a single axis in its order, else, or where there are more than ``most``, best first by
        the first headline whose least is best. Empty where no point ran.
    text : str
        What the rows are, and how many are not among them.
    """
    table = results.tables["sweep"]
    axes = [str(axis) for axis in results.provenance.get("axes", {}) if str(axis) in table.columns]
    good = table[table["problem"] == ""]
    if not axes or not len(good):
        return [], ""
    metrics = _metrics(good, axes)
    words = good[axes].map(_word)  # a cell may be a number in one row and a word in another
    keys = [words[axis] for axis in axes]
    means = good[metrics].groupby(keys, sort=False).mean()
    by = next((key for key in _LEAST_IS_BEST if key in metrics and means[key].nunique() > 1), None)
    sort = by is not None and (len(axes) > 1 or len(means) > most)
    if sort:
        means = means.sort_values(by, kind="stable")
    ranges = _range_words(results, metrics[0], words, axes) if metrics else {}
    shown = means.head(most)
    called = results.provenance.get("called") or {}
    head = [*_short(axes), *(called.get(key, label(key)).replace("95th percentile", "95 %") for key in metrics)]
    cells = []
    for at, figures in zip(shown.index, shown.itertuples(index=False), strict=True):
        cells.append([*(at if isinstance(at, tuple) else (at,)), *(show(key, float(x)) for key, x in zip(metrics, figures, strict=True))])
        if ranges:
            cells[-1].insert(len(axes) + 1, ranges.get(at, ""))
    if ranges:
        head.insert(len(axes) + 1, results.coverage.removesuffix(" range"))
    rows = _fitting([head, *cells], len(axes) + 1 + bool(ranges), width)
    points, failed = len(means), len(table[table["problem"] != ""])
    text = f"{len(shown)} of {points:,} points" if len(shown) < points else f"{points} point{'s' * (points != 1)}"
    text += f", least {label(by)} first" if sort and by else ""
    text += ", means over the seeds" if len(good) > points else ""
    return [tuple(row) for row in rows], text + (f"; {failed} could not be run" if failed else "")


def _metrics(good: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return the headline figures that move, the cost in any case; without any, the first declared figures that move."""
    there = [key for key in map(str, good.columns) if key not in axes and key.rpartition(".")[2] in SUMMARY and not quantity(key).machine]
    moving = [key for key in there if _moves(good[key])]
    wanted = _of_services(moving) if "requests" in there else _HEADLINES
    found = [key for key in wanted if key in moving or (key == "cost_usd" and key in there)]
    if all(time in found for time in _TIMES):
        found.remove(_TIMES[1])
    if not moving:  # a single point, or points that agree
        found = [key for key in _HEADLINES if key in there and good[key].notna().any() and not (key == _TIMES[1] and _TIMES[0] in there)]
    elif not any(key in moving for key in found):
        found = [*[key for key in SUMMARY if key in moving and key != "events"][: MOST_METRICS - 1], *found]
    cost = [key for key in found if key == "cost_usd"]
    return [*[key for key in found if key not in cost][: MOST_METRICS - len(cost)], *cost]


def _of_services(moving: Sequence[str]) -> list[str]:
    """Return the headlines of services: of several those of each, in place of what they come to together."""
    own = [key for name in _OF_SERVICES for key in moving if key.endswith(f".{name}")]
    return own or list(_OF_SERVICES)


def _moves(column: Any) -> bool:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").dropna()
    return len(values) > 1 and float(values.max() - values.min()) > 1e-9 * float(values.abs().max())


def _range_words(results: Results, metric: str, words: pd.DataFrame, axes: Sequence[str]) -> dict[Any, str]:
    """Return the range of a figure by point, as words; the ends are means over the seeds."""
    table = results.tables.get("sweep_ranges")
    if table is None:
        return {}
    ends = table[table["metric"] == metric].set_index("row")[["low", "high"]]
    if not len(ends):
        return {}
    mine = words.join(ends, how="inner").groupby(list(axes) if len(axes) > 1 else axes[0], sort=False)[["low", "high"]].mean()
    return {at: show_range(metric, float(low), float(high)) for at, low, high in zip(mine.index, mine["low"], mine["high"], strict=True)}


def _word(value: Any) -> str:
    text = str(value) if isinstance(value, (bool, str)) or not hasattr(value, "__float__") else f"{float(value):,.6g}"
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _short(axes: Sequence[str]) -> list[str]:
    """Return the shortest ends of dotted paths that tell them apart, of at least one part and at most ``…`` and two."""
    parts = [axis.split(".") for axis in axes]
    for length in range(1, max(map(len, parts)) + 1):
        names = [".".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names) and (length > 1 or not {"count", "type"} & set(names)):
            return names
    return list(axes)


def _fitting(rows: list[list[str]], keep: int, width: int) -> list[list[str]]:
    """Leave out columns from the last but one on, until the rows fit; ``keep`` columns and the last one stay."""

    def size() -> int:
        return sum(max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0]))) - 2

    while len(rows[0]) > keep + 1 and size() > width:
        for row in rows:
            del row[-2]
    return rows
