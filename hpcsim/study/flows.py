"""Finish times of flows beside those of another program, flow by flow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin import Routes
from hpcsim.engine.flows import run_flows
from hpcsim.evidence.flows import FlowCase, read_flow_cases
from hpcsim.study.scores import nearest_rank

__all__ = ["AGREES", "predict_flows", "verify_flows"]

FloatArray = npt.NDArray[np.float64]

AGREES = 1e-9
"""Relative difference up to which two finish times are one."""


def predict_flows(case: FlowCase) -> FloatArray:
    """Return the finish time of every flow of a case [s]; what the other program found is not looked at."""
    return run_flows(
        case.capacity_bytes_per_s,
        Routes(case.first, case.links),
        case.start_s,
        case.size_bytes,
        weight=case.weight,
        latency_s=case.latency_s,
    )


def _difference(found: FloatArray, given: FloatArray) -> float:
    """Return the largest relative difference; 1 where the given is zero and the other is not."""
    apart = np.abs(found - given)
    return float(np.max(np.divide(apart, np.abs(given), out=np.where(apart > 0, 1.0, 0.0), where=given != 0)))


def _row(case: FlowCase) -> dict[str, Any]:
    finish_s = predict_flows(case)
    if case.finish_s is not None:
        measured, difference, compared = float(case.finish_s.max()), _difference(finish_s, case.finish_s), "finish times"
    else:
        ordered = np.sort(finish_s)
        own = {"makespan": ordered[-1], "sum": math.fsum(finish_s.tolist())}
        found = [own[key] if key in own else ordered[min(int(float(key) * ordered.size), ordered.size - 1)] for key in case.figures]
        difference = _difference(np.array(found), np.array(list(case.figures.values())))
        measured, compared = case.figures.get("makespan", math.nan), "makespan, sum and quantiles"
    row = {"id": case.name, "name": case.name, "group": case.group, "status": "ok", "flows": int(finish_s.size)}
    row |= {"links": int(case.capacity_bytes_per_s.size), "compared": compared, "max_relative_difference": difference}
    return {**row, "measured": measured if math.isfinite(measured) else None, "predicted": float(finish_s.max())}


def _scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    apart = [row["max_relative_difference"] for row in rows]
    return {
        "n": len(rows),
        "ok": sum(row["status"] == "ok" for row in rows),
        "flows": sum(row["flows"] for row in rows),
        "agree": sum(a <= AGREES for a in apart),
        "max_relative_difference": max(apart),
        "median_abs_error_frac": nearest_rank(apart, 0.5),
        "p90_abs_error_frac": nearest_rank(apart, 0.9),
    }


def verify_flows(cases: str | Path | None = None) -> dict[str, Any]:
    """Run the flows of every case and hold the finish times against those of the other program.

    Parameters
    ----------
    cases : path, optional
        A file as :mod:`hpcsim.evidence.flows` describes it; the shipped one without it.

    Returns
    -------
    dict
        ``cases``: a row for each, by ``name``, with ``max_relative_difference`` of its finish times, and the makespan [s] as ``measured`` and
        ``predicted``. ``groups`` by kind of network, and ``overall``; errors there are the rows' largest differences, and ``agree`` counts
        the cases that differ by no more than 1e-9.

    Raises
    ------
    InputError
        The file is not there or wrong.
    """
    rows = [_row(case) for case in read_flow_cases(cases)]
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(row["group"], []).append(row)
    groups = {name: _scores(members) for name, members in by_group.items()}
    total = _scores(rows)
    overall = {
        "groups": len(groups),
        "cases": len(rows),
        "flows": total["flows"],
        "agree": total["agree"],
        "max_relative_difference": total["max_relative_difference"],
        "median_of_group_medians": nearest_rank([g["median_abs_error_frac"] for g in groups.values()], 0.5),
        "median_of_group_p90": nearest_rank([g["p90_abs_error_frac"] for g in groups.values()], 0.5),
        "interval_coverage_frac": None,
        "refused_frac": 0.0,
    }
    return {"kind": "flows", "cases": rows, "groups": groups, "overall": overall}
