"""Schedules of the engine against an independent, slow one, start by start, on generated logs; and against a published one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.base.rng import stream
from hpcsim.cost.metrics import bounded_slowdown
from hpcsim.engine.jobs import run_jobs
from hpcsim.evidence.schedules import Job, slow_starts
from hpcsim.workload.jobs import JobTable, TraceOptions, read_trace

__all__ = ["verify_schedules"]

POLICIES = ("fcfs", "sjf", "easy", "easy-sjbf")
_PROCESSORS, _JOBS, _LOGS = 64, 120, 6

KTH_LOG = "KTH-SP2-1996-pyss.swf.gz"
KTH_BOUNDED_SLOWDOWN = 92.5765397336
"""Mean bounded slowdown of EASY on the log of the KTH SP2, 100 processors, as pyss publishes it."""


def _generated(number: int) -> JobTable:
    """Return a made-up log: bursts, powers of two among the sizes, estimates from too short to fivefold, whole seconds so that events tie."""
    draw = stream(2026, "verify", "schedules", number)
    submit = np.cumsum(draw.integers(0, 40, _JOBS) * draw.integers(0, 2, _JOBS)).astype(float)
    run = np.maximum(np.round(np.exp(draw.normal(4.0, 1.2, _JOBS))), 1.0)
    size = np.where(draw.random(_JOBS) < 0.7, 2 ** draw.integers(0, 7, _JOBS), draw.integers(1, _PROCESSORS + 1, _JOBS))
    factor = draw.choice([0.5, 1.0, 1.0, 2.0, 5.0], _JOBS)
    return JobTable.of(submit.tolist(), run.tolist(), size.tolist(), estimate_s=np.maximum(np.round(run * factor), 1.0))


def _row(name: str, policy: str, measured: float, predicted: float, differing: int, jobs: int) -> dict[str, Any]:
    return {
        "id": name,
        "group": policy,
        "status": "ok",
        "measured": measured,
        "predicted": predicted,
        "jobs": jobs,
        "differing_starts": differing,
    }


def _slowdown(jobs: JobTable, start_s: Any) -> float:
    return float(np.mean(bounded_slowdown(np.asarray(start_s) - jobs.submit_s, jobs.run_s)))


def _published() -> list[dict[str, Any]]:
    """Replay the KTH log where ``HPCSIM_TRACES`` holds it: it may not be shipped."""
    folder = os.environ.get("HPCSIM_TRACES", "")
    log = Path(folder) / KTH_LOG
    if not folder or not log.is_file():
        return []
    trace = read_trace(log, options=TraceOptions(processors="requested"))
    jobs = trace.jobs
    outcome = run_jobs(jobs, 100, "easy", order="event")
    predicted = _slowdown(jobs, outcome.start_s)
    return [
        _row(
            "kth-sp2-easy", "published easy", KTH_BOUNDED_SLOWDOWN, predicted, int(abs(predicted - KTH_BOUNDED_SLOWDOWN) > 1e-9), len(jobs)
        )
    ]


def verify_schedules() -> dict[str, Any]:
    """Run generated logs under every policy with the engine and with the slow reference, and compare every start time.

    ``measured`` and ``predicted`` are the mean bounded slowdown of the reference and of the engine; ``differing_starts`` counts the jobs
    whose starts differ at all. Where the environment variable ``HPCSIM_TRACES`` names a folder with the log of the KTH SP2, EASY's
    published figure is held against the engine's as well.
    """
    rows = []
    for number in range(_LOGS):
        jobs = _generated(number)
        listed = [
            Job(i, *values)
            for i, values in enumerate(
                zip(jobs.submit_s.tolist(), jobs.run_s.tolist(), jobs.estimate_s.tolist(), jobs.processors.tolist(), strict=True)
            )
        ]
        for policy in POLICIES:
            outcome = run_jobs(jobs, _PROCESSORS, policy)
            slow = slow_starts(listed, _PROCESSORS, policy)
            reference = np.array([slow[i] for i in range(len(listed))])
            differing = int(np.sum(reference != outcome.start_s))
            name = f"generated-{number + 1}-{policy}"
            rows.append(_row(name, policy, _slowdown(jobs, reference), _slowdown(jobs, outcome.start_s), differing, len(listed)))
    rows += _published()
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault(row["group"], {"n": 0, "ok": 0, "jobs": 0, "differing_starts": 0})
        group["n"] += 1
        group["ok"] += 1
        group["jobs"] += row["jobs"]
        group["differing_starts"] += row["differing_starts"]
    overall = {"groups": len(groups), "cases": len(rows), "refused_frac": 0.0}
    overall |= {key: sum(group[key] for group in groups.values()) for key in ("jobs", "differing_starts")}
    return {"kind": "schedules", "cases": rows, "groups": groups, "overall": overall}
