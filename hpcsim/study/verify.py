"""Predictions beside measurements: case by case, by group, and over all groups.

A measured value is read when a row is scored, never before: what predicts is handed the configuration alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import problem_kind
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.evidence.collectives import read_collectives
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import Prediction, predict
from hpcsim.study.collectives import predict_collectives
from hpcsim.study.schedules import verify_schedules
from hpcsim.study.scores import nearest_rank, ranking, scaling, score

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["KINDS", "nearest_rank", "score", "verify", "verify_collectives", "verify_schedules", "verify_training"]

UNKNOWN_KIND = problem_kind("verify-kind", "nothing is known to verify under {kind!r}", "one of: {known}")
NO_CASES = problem_kind("verify-no-cases", "schedules take no file of cases", "leave --cases out; logs are looked for in $HPCSIM_TRACES")

_LABELS = ("name", "params")
"""What of a model in a case is no hyper-parameter."""


def _row(case: Mapping[str, Any], answer: Prediction, place: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": str(case.get("id", place + 1)), "group": str(case.get("group", ""))}
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
        "fits": answer.fits,
    }


def _network(case: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in case["model"].items() if key not in _LABELS}


def _same(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _job(case: Mapping[str, Any]) -> str:
    """Return what a case trains on what, its layout left out."""
    h, p = case["hardware"], case["parallelism"]
    return _same(_network(case), h["accelerator"], h["count"], p["global_batch"], p.get("precision"), case.get("software"))


def _family(case: Mapping[str, Any]) -> str:
    """Return the same without the number of devices and the batch."""
    return _same(_network(case), case["hardware"]["accelerator"], case["parallelism"].get("precision"), case.get("software"))


def _blind(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration alone: neither id nor group nor what was measured."""
    return {key: value for key, value in case.items() if key in ("model", "hardware", "parallelism", "software")}


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
        What predicts; the cost model by default. It is handed neither ids, groups nor measured values.

    Returns
    -------
    dict
        ``cases`` (a row each), ``groups`` and ``overall`` (see :func:`hpcsim.study.scores.score`), with Kendall's τ of the layouts of one
        job (``layout_kendall_tau``) and the errors of the speed-up between two counts of one job (``scaling``); where cases state the
        peak memory, its median error.

    Raises
    ------
    InputError
        The file is not there or wrong.
    """
    given = read_cases(cases)
    answers = predictor([_blind(case) for case in given], catalog=catalog or default())
    rows = [_row(case, answer, place) for place, (case, answer) in enumerate(zip(given, answers, strict=True))]
    groups, overall = score(rows)
    for name, tau in ranking(rows, [_job(case) for case in given]).items():
        groups[name]["layout_kendall_tau"] = tau
    taus = [group["layout_kendall_tau"] for group in groups.values() if "layout_kendall_tau" in group]
    overall["median_layout_kendall_tau"] = nearest_rank(taus, 0.5) if taus else None
    counts = [int(case["hardware"]["count"]) for case in given]
    steps = scaling(rows, [_family(case) for case in given], counts, [float(case["parallelism"]["global_batch"]) for case in given])
    overall["scaling_pairs"] = len(steps)
    overall["scaling_median_abs_error_frac"] = nearest_rank([abs(s["error_frac"]) for s in steps], 0.5) if steps else None
    overall |= _memory(given, rows)
    return {"kind": "training", "cases": rows, "groups": groups, "overall": overall, "scaling": steps}


def _memory(cases: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stated = [
        abs(row["peak_memory_bytes"] / (case["target"]["peak_mem_gib"] * 2.0**30) - 1.0)
        for case, row in zip(cases, rows, strict=True)
        if row["status"] == "ok" and case["target"].get("peak_mem_gib")
    ]
    return {"memory_cases": len(stated), "memory_median_abs_error_frac": nearest_rank(stated, 0.5)} if stated else {}


def verify_collectives(cases: str | Path | None = None) -> dict[str, Any]:
    """Hold predicted against measured collectives.

    Parameters
    ----------
    cases : path, optional
        A CSV file of timed collectives; the shipped rows without it.

    Returns
    -------
    dict
        As :func:`verify_training`; a group is a system.

    Raises
    ------
    InputError
        The file is not there or wrong.
    """
    given = read_collectives(cases)
    rows: list[dict[str, Any]] = []
    for item, answer in zip(given, predict_collectives(given), strict=True):
        row: dict[str, Any] = {"id": item.id, "group": item.system, "collective": item.collective, "size_bytes": item.size_bytes}
        if answer.refused:
            rows.append({**row, "status": "refused", "reason": answer.refused})
        else:
            times = {"measured": item.measured_s, "predicted": answer.predicted_s, "low": answer.low_s, "high": answer.high_s}
            rows.append({**row, "status": "ok", **times})
    groups, overall = score(rows)
    return {"kind": "collectives", "cases": rows, "groups": groups, "overall": overall}


KINDS = ("training", "collectives", "flows", "schedules", "energy")
"""What can be asked for."""


def verify(kind: str = "training", cases: str | Path | None = None, *, catalog: Catalog | None = None) -> dict[str, Any]:
    """Hold predictions against what was measured, or what an independent program computes.

    Parameters
    ----------
    kind : {"training", "collectives", "schedules", "flows", "energy"}
    cases : path, optional
        A file of cases of that kind; the shipped evidence without it.
    catalog : Catalog, optional
        The default one without it.

    Returns
    -------
    dict
        ``cases``, ``groups`` and ``overall``, plain data.

    Raises
    ------
    InputError
        An unknown kind, or a file of cases that is wrong.
    """
    if kind == "training":
        return verify_training(cases, catalog=catalog)
    if kind == "collectives":
        return verify_collectives(cases)
    if kind == "schedules":
        if cases is not None:
            raise NO_CASES.error(file=str(cases))
        return verify_schedules()
    if kind == "flows":
        from hpcsim.study.flows import verify_flows

        return verify_flows(cases)
    if kind == "energy":
        from hpcsim.study.energy import verify_energy

        return verify_energy(cases, catalog=catalog)
    raise UNKNOWN_KIND.error(kind=kind, known=", ".join(KINDS))


def results_of_verification(document: Mapping[str, Any], *, cases: str | Path | None = None) -> Results:
    """Return a verification as results with the tables ``verify_cases``, ``verify_groups`` and ``verify_scaling``."""
    from hpcsim.study.accuracy import results_of

    return results_of(document, cases=cases)
