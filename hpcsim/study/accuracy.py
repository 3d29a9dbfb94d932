"""A verification as results: declared tables and a sentence, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsim.results.provenance import provenance
from hpcsim.results.quantities import show
from hpcsim.results.record import Results
from hpcsim.results.tables import frame

__all__ = ["results_of"]

_SUMMARY = (
    ("cases", "verified_cases"),
    ("groups", "verified_groups"),
    ("refused_frac", "refused_frac"),
    ("median_of_group_medians", "median_of_group_medians_frac"),
    ("median_of_group_p90", "median_of_group_p90_frac"),
    ("interval_coverage_frac", "interval_coverage_frac"),
    ("median_layout_kendall_tau", "layout_kendall_tau"),
    ("scaling_median_abs_error_frac", "scaling_median_abs_error_frac"),
    ("memory_median_abs_error_frac", "memory_median_abs_error_frac"),
    ("differing_starts", "differing_starts"),
)
_QUESTIONS = {
    "training": "How close do predicted training steps come to published ones?",
    "collectives": "How close do predicted collectives come to measured ones?",
    "schedules": "Does every job start when the rules say?",
    "flows": "Do transfers that share a network end when an independent simulator says?",
    "energy": "How close do predicted power and energy come to measured ones?",
}
_NOTES = {
    "training": [
        "Error: predicted over measured step time, less one. A group is a source; its median weighs as much as any other's, and sources of "
        "fewer than five cases count together as one.",
        "The measured value serves the score alone: the model sees neither it nor the case's name or source. Its parameters belong to "
        "accelerators, links and software stacks, none to a source or a model.",
        "Steps of one software release share a bias of a few percent: equal layouts differ by 6 % between releases.",
        "What a source leaves out is assumed by one table, the same for all (training model page).",
    ],
    "collectives": ["A group is a system. Sizes count as nccl-tests counts them."],
    "energy": [
        "The share of the time that is bound by compute, memory and communication is given with each case.",
        "Cases with a look at which a constant of the model was set are shown and not counted.",
    ],
    "schedules": ["The reference looks everything up again at every step and shares no code with the engine."],
}


def _label(case: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    if "collective" in row:
        return str(row["collective"])
    if "what" in row:
        return str(row["what"])
    accelerator = (case.get("hardware") or {}).get("accelerator")
    return str(accelerator) if accelerator else None


_VALUES = ("measured", "predicted", "low", "high")


def _watts(row: Mapping[str, Any], name: str) -> float | None:
    """Return a value of an energy case as power [W]; None of other kinds."""
    value = row.get(name) if "unit" in row else None
    return None if value is None else float(value) / (row.get("duration_s") or 1.0)


def _cases(rows: list[dict[str, Any]], given: list[Any]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}

    def put(key: str, values: list[Any]) -> None:
        out[key] = values

    put("id", [row["id"] for row in rows])
    put("group", [row["group"] for row in rows])
    put("label", [_label(case, row) for case, row in zip(given, rows, strict=True)])
    put("status", [row["status"] for row in rows])
    put("reason", [row.get("reason") for row in rows])
    for name in _VALUES:
        put(f"{name}_s", [None if "unit" in row else row.get(name) for row in rows])
        put(f"{name}_w", [_watts(row, name) for row in rows])
    put("error_frac", [row["predicted"] / row["measured"] - 1.0 if row["status"] == "ok" else None for row in rows])
    put("bound_by", [row.get("bound_by") for row in rows])
    put("peak_memory_bytes", [row.get("peak_memory_bytes") for row in rows])
    reals = {"error_frac", "peak_memory_bytes", *(f"{name}_{unit}" for name in _VALUES for unit in "sw")}
    return {key: [float("nan") if v is None else float(v) for v in values] if key in reals else values for key, values in out.items()}


def _real(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    keys = ("median_abs_error_frac", "p90_abs_error_frac", "bias_frac", "interval_coverage_frac", "layout_kendall_tau")
    return {
        "group": list(groups),
        "cases": [g["n"] for g in groups.values()],
        "predicted_cases": [g["ok"] for g in groups.values()],
        **{key: [_real(g.get(key)) for g in groups.values()] for key in keys},
        "differing_starts": [g.get("differing_starts") for g in groups.values()],
    }


def _answer(kind: str, overall: Mapping[str, Any]) -> str:
    if kind == "schedules":
        wrong, jobs = overall["differing_starts"], overall["jobs"]
        return (
            f"All {jobs:,} jobs start at the very time of the reference."
            if not wrong
            else f"{wrong:,} of {jobs:,} jobs start at another time."
        )
    if overall["median_of_group_medians"] is None:
        return f"None of the {overall['cases']} cases could be predicted."
    text = f"The median error is {show('x_frac', overall['median_of_group_medians'])} over {overall['groups']} groups of {overall['cases']} cases"
    text += f", the 90th percentile {show('x_frac', overall['median_of_group_p90'])}"
    if overall["interval_coverage_frac"] is not None:
        text += f"; {show('x_frac', overall['interval_coverage_frac'])} of the measurements lie inside the 80 % interval"
    return text + "."


def results_of(document: Mapping[str, Any], *, cases: str | Path | None = None) -> Results:
    """Return a verification as results with the tables ``verify_groups``, ``verify_scaling`` and ``verify_cases``.

    Parameters
    ----------
    document : mapping
        As :func:`hpcsim.study.verify.verify` returns it.
    cases : path, optional
        The file that was verified; the shipped evidence without it.
    """
    kind = str(document["kind"])
    rows = list(document["cases"])
    given: list[Any] = [{}] * len(rows)
    if kind == "training":
        from hpcsim.evidence.training import read_cases

        given = list(read_cases(cases))
    overall = document["overall"]
    summary = {key: overall[name] for name, key in _SUMMARY if overall.get(name) is not None}
    tables = {"verify_groups": frame("verify_groups", _groups(document["groups"]))}
    steps = document.get("scaling") or []
    if steps:
        columns: dict[str, list[Any]] = {
            key: [s[key] for s in steps] for key in ("group", "first", "second", "devices_first", "devices_second")
        }
        columns |= {f"{key}_ratio": [s[key] for s in steps] for key in ("measured", "predicted")}
        tables["verify_scaling"] = frame("verify_scaling", {**columns, "error_frac": [s["error_frac"] for s in steps]})
    tables["verify_cases"] = frame("verify_cases", _cases(rows, given))
    return Results(
        name=f"verify-{kind}",
        question=_QUESTIONS.get(kind, f"How good are predictions of {kind}?"),
        answer=_answer(kind, overall),
        kind="verify",
        summary=summary,
        tables=tables,
        notes=list(_NOTES.get(kind, [])),
        provenance=provenance(evidence=Path(cases).name if cases is not None else "shipped with the package"),
    )
