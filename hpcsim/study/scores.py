"""Scores of predictions against measurements: by group, over groups, ranking of layouts, scaling, coverage.

Rows are plain maps with ``group``, ``status`` and, where that is ``ok``, ``measured``, ``predicted``, ``low`` and ``high``. Measured values
enter here and nowhere else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["SMALL_GROUP", "kendall_tau", "nearest_rank", "ranking", "scaling", "score"]

SMALL_GROUP = 5
"""Groups of fewer cases count together as one."""

Row = Mapping[str, Any]


def nearest_rank(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that ``share`` of all are at or below; NaN of none.

    >>> nearest_rank([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _good(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == "ok"]


def _error(row: Row) -> float:
    return float(row["predicted"]) / float(row["measured"]) - 1.0


def _group(rows: Sequence[Row]) -> dict[str, Any]:
    errors = [_error(row) for row in _good(rows)]
    sizes = [abs(e) for e in errors]
    return {
        "n": len(rows),
        "ok": len(errors),
        "median_abs_error_frac": _plain(nearest_rank(sizes, 0.5)),
        "p90_abs_error_frac": _plain(nearest_rank(sizes, 0.9)),
        "bias_frac": _plain(nearest_rank(errors, 0.5)),
    }


def score(rows: Sequence[Row]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the scores by group and over all groups.

    Returns
    -------
    groups : dict of str to dict
        ``n``, ``ok``, median and 90th percentile (nearest rank) of the absolute relative error, its median with sign (``bias_frac``), and
        the share of measurements inside the 80 % interval.
    overall : dict
        Medians over the groups, so that a large source weighs no more than a small one; groups of fewer than five cases count together
        as one. ``interval_coverage_frac`` is over all cases. A refused case has no error and counts in ``refused_frac`` alone.
    """
    by_group: dict[str, list[Row]] = {}
    for row in rows:
        by_group.setdefault(str(row["group"]), []).append(row)
    groups = {name: {**_group(members), "interval_coverage_frac": _coverage(members)} for name, members in by_group.items()}
    large = [groups[name] for name, members in by_group.items() if len(members) >= SMALL_GROUP]
    small = [row for members in by_group.values() if len(members) < SMALL_GROUP for row in members]
    counted = [*large, *([_group(small)] if small else [])]
    medians = [g["median_abs_error_frac"] for g in counted if g["median_abs_error_frac"] is not None]
    tails = [g["p90_abs_error_frac"] for g in counted if g["p90_abs_error_frac"] is not None]
    ok = _good(rows)
    overall = {
        "groups": len(groups),
        "cases": len(rows),
        "ok": len(ok),
        "refused_frac": 1.0 - len(ok) / len(rows) if rows else 0.0,
        "median_of_group_medians": _plain(nearest_rank(medians, 0.5)),
        "median_of_group_p90": _plain(nearest_rank(tails, 0.5)),
        "median_abs_error_frac": _plain(nearest_rank([abs(_error(row)) for row in ok], 0.5)),
        "interval_coverage_frac": _coverage(rows),
    }
    return groups, overall


def _coverage(rows: Iterable[Row]) -> float | None:
    ok = [row for row in _good(rows) if row.get("low") is not None]
    return sum(row["low"] <= row["measured"] <= row["high"] for row in ok) / len(ok) if ok else None


def _pairs(measured: Sequence[float], predicted: Sequence[float]) -> tuple[int, int, int, int]:
    """Return concordant and discordant pairs, and pairs that are no tie on the measured and on the predicted side."""
    agree = differ = left = right = 0
    for (m1, p1), (m2, p2) in itertools.combinations(zip(measured, predicted, strict=True), 2):
        a, b = (m1 > m2) - (m1 < m2), (p1 > p2) - (p1 < p2)
        agree += a * b > 0
        differ += a * b < 0
        left += a != 0
        right += b != 0
    return agree, differ, left, right


def _tau(counts: Iterable[tuple[int, int, int, int]]) -> float:
    agree, differ, left, right = (sum(part) for part in zip(*counts, strict=True)) if (counts := list(counts)) else (0, 0, 0, 0)
    return (agree - differ) / math.sqrt(left * right) if left and right else math.nan


def kendall_tau(measured: Sequence[float], predicted: Sequence[float]) -> float:
    """Return Kendall's τ-b, which allows for ties: 1 for the same order, −1 for the opposite; NaN where one side is constant.

    >>> kendall_tau([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.3333333333333333
    """
    return _tau([_pairs(measured, predicted)])


def ranking(rows: Sequence[Row], jobs: Sequence[Hashable]) -> dict[str, float]:
    """Return Kendall's τ-b of the layouts by group, over the pairs of cases that do the same job.

    Parameters
    ----------
    rows : sequence of maps
    jobs : sequence of hashable
        What each row trains on what, its layout left out: only rows of one group and one job are compared.
    """
    sets: dict[str, dict[Hashable, list[Row]]] = {}
    for row, job in zip(rows, jobs, strict=True):
        if row["status"] == "ok":
            sets.setdefault(str(row["group"]), {}).setdefault(job, []).append(row)
    out: dict[str, float] = {}
    for group, members in sets.items():
        tau = _tau([_pairs([r["measured"] for r in same], [r["predicted"] for r in same]) for same in members.values() if len(same) > 1])
        if math.isfinite(tau):
            out[group] = tau
    return out


def scaling(rows: Sequence[Row], jobs: Sequence[Hashable], counts: Sequence[int], batches: Sequence[float]) -> list[dict[str, Any]]:
    """Return how well the change from one number of devices to the next is predicted.

    Of every count of a job the fastest measured case stands for it. The speed-up is that of sequences per second.

    Parameters
    ----------
    rows : sequence of maps
    jobs : sequence of hashable
        What each row trains on which device, devices, batch and layout left out.
    counts, batches : sequences
        Devices and sequences of a step.

    Returns
    -------
    list of dict
        ``group``, ``first``, ``second`` (ids), ``devices_first``, ``devices_second``, ``measured`` and ``predicted`` speed-up, ``error_frac``.
    """
    best: dict[Hashable, dict[int, tuple[float, Row, float]]] = {}
    for row, job, count, batch in zip(rows, jobs, counts, batches, strict=True):
        if row["status"] != "ok":
            continue
        at = best.setdefault((row["group"], job), {})
        each = row["measured"] / batch
        if count not in at or each < at[count][0]:
            at[count] = (each, row, batch)
    out = []
    for at in best.values():
        for (n1, (_, one, b1)), (n2, (_, two, b2)) in itertools.pairwise(sorted(at.items(), key=lambda item: item[0])):
            measured = one["measured"] / b1 / (two["measured"] / b2)
            predicted = one["predicted"] / b1 / (two["predicted"] / b2)
            out.append(
                {
                    "group": one["group"],
                    "first": one["id"],
                    "second": two["id"],
                    "devices_first": n1,
                    "devices_second": n2,
                    "measured": measured,
                    "predicted": predicted,
                    "error_frac": predicted / measured - 1.0,
                }
            )
    return out
