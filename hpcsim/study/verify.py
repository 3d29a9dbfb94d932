"""Predictions beside measurements: case by case, by group, and over all groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcsim.catalog.lookup import Catalog, default
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import Prediction, predict

__all__ = ["nearest_rank", "score", "verify_training"]

SMALL_GROUP = 5
"""Groups of fewer cases count together as one."""


def nearest_rank(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that ``share`` of all are at or below; NaN of none.

    >>> nearest_rank([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def _group(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    errors = [row["predicted"] / row["measured"] - 1.0 for row in rows if row["status"] == "ok"]
    sizes = [abs(e) for e in errors]
    return {
        "n": len(rows),
        "ok": len(errors),
        "median_abs_error_frac": _plain(nearest_rank(sizes, 0.5)),
        "p90_abs_error_frac": _plain(nearest_rank(sizes, 0.9)),
        "bias_frac": _plain(nearest_rank(errors, 0.5)),
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def score(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the scores by group and over all groups.

    Parameters
    ----------
    rows : sequence of mappings
        ``group``, ``status`` and, where it is ``ok``, ``measured``, ``predicted``, ``low``, ``high``.

    Returns
    -------
    groups : dict of str to dict
        ``n``, ``ok``, median and 90th percentile of the absolute relative error, and its median with sign (``bias_frac``).
    overall : dict
        Medians over the groups, so that a large source weighs no more than a small one; groups of fewer than five cases count together
        as one. ``interval_coverage_frac`` is over all cases.
    """
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(str(row["group"]), []).append(row)
    groups = {name: _group(members) for name, members in by_group.items()}
    large = {name: groups[name] for name, members in by_group.items() if len(members) >= SMALL_GROUP}
    small = [row for members in by_group.values() if len(members) < SMALL_GROUP for row in members]
    counted = [*large.values(), *([_group(small)] if small else [])]
    medians = [g["median_abs_error_frac"] for g in counted if g["median_abs_error_frac"] is not None]
    tails = [g["p90_abs_error_frac"] for g in counted if g["p90_abs_error_frac"] is not None]
    ok = [row for row in rows if row["status"] == "ok"]
    inside = sum(row["low"] <= row["measured"] <= row["high"] for row in ok)
    overall = {
        "cases": len(rows),
        "groups": len(groups),
        "refused_frac": 1.0 - len(ok) / len(rows) if rows else 0.0,
        "median_of_group_medians": _plain(nearest_rank(medians, 0.5)),
        "median_of_group_p90": _plain(nearest_rank(tails, 0.5)),
        "interval_coverage_frac": inside / len(ok) if ok else None,
    }
    return groups, overall


def _row(case: Mapping[str, Any], answer: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {"id": str(case.get("id", "")), "group": str(case.get("group", ""))}
    if answer.refused:
        return {**row, "status": "refused", "reason": answer.refused}
    return {
        **row,
        "status": "ok",
        "measured": float(case["target"]["iteration_time_s"]),
        "predicted": answer.predicted_s,
        "low": answer.low_s,
        "high": answer.high_s,
        "bound_by": answer.bound_by,
        "peak_memory_bytes": answer.peak_memory_bytes,
    }


def verify_training(
    cases: str | Path | None = None,
    *,
    catalog: Catalog | None = None,
    predictor: Callable[..., list[Prediction]] = predict,
) -> dict[str, Any]:
    """Hold predicted against measured training steps.

    Parameters
    ----------
    cases : path, optional
        A file of cases; the shipped evidence without it.
    catalog : Catalog, optional
        The default one without it.
    predictor : callable
        What predicts; the cost model by default.

    Returns
    -------
    dict
        ``cases`` (a row each), ``groups`` and ``overall`` (see :func:`score`).

    Raises
    ------
    InputError
        The file is not there or wrong.
    """
    given = read_cases(cases)
    answers = predictor(given, catalog=catalog or default())
    rows = [_row(case, answer) for case, answer in zip(given, answers, strict=True)]
    groups, overall = score(rows)
    return {"cases": rows, "groups": groups, "overall": overall}
