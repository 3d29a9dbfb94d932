"""What all waits of a log on a pool of processors are bound by, and what would shorten them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpcsim.base.units import percent, readable
from hpcsim.cost import metrics
from hpcsim.engine.jobs import EventOrder, run_jobs
from hpcsim.workload.jobs import JobTable

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["explain_room"]


def explain_room(
    jobs: JobTable, processors: int, policy: str, *, rack: int, order: EventOrder = "batch", name: str = "replay", per_node: int = 1
) -> Results:
    """Return what the waits of a log are bound by, and what one more rack, exact estimates or smaller jobs would change: simulated anew.

    Parameters
    ----------
    jobs, processors, policy, order, name
        As in :func:`hpcsim.study.waits.explain_wait`.
    rack : int
        Nodes of a rack.
    per_node : int
        Processors of a node.

    Returns
    -------
    Results
        Of kind ``"explain"``, with the table ``room``; its summary has the causes of idle processors as shares of all processor-seconds,
        ``queued_time_frac``: the share of the time in which any job waits, and ``busy_waiting_frac``: how busy the processors are in that time.
    """
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame
    from hpcsim.study.figures import occupancy_of, policy_metrics

    jobs = jobs.sorted_by_submit()
    half = dataclasses.replace(
        jobs, processors=np.maximum(1, -(-jobs.processors // 2)), run_s=jobs.run_s * 2, estimate_s=jobs.estimate_s * 2
    )
    cases: list[tuple[str, JobTable, int]] = [
        ("as it is", jobs, processors),
        (f"one more rack ({rack:,} node{'s' * (rack != 1)})", jobs, processors + rack * per_node),
        ("exact estimates", jobs.with_estimates(jobs.run_s), processors),
        ("jobs half as wide, twice as long", half, processors),
    ]
    rows: list[dict[str, float | int]] = []
    parts: _WhileWaiting | None = None
    for _, table, size in cases:
        outcome = run_jobs(table, size, policy, order=order)
        states = occupancy_of(table, outcome)
        rows.append(policy_metrics(table, outcome, states=states) | {"processors": size})
        if parts is None:
            parts = _while_waiting(states, metrics.idle_parts(states, table.submit_s, outcome.start_s, table.processors))
    assert parts is not None
    now = float(rows[0]["mean_wait_s"])
    saved = [1.0 - float(row["mean_wait_s"]) / now if now > 0 else 0.0 for row in rows]
    keys = ("processors", "mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "utilisation_frac")
    labels = [case for case, *_ in cases]
    columns = {"case": labels, **{key: [row[key] for row in rows] for key in keys}, "saved_wait_frac": saved}
    summary: dict[str, float | int | str] = {
        "mean_wait_s": now,
        "utilisation_frac": float(rows[0]["utilisation_frac"]),
        "capacity_loss_frac": parts.idle.fits,
        "fragmentation_frac": parts.idle.fragmented,
        "unasked_frac": parts.idle.nothing_waits,
        "queued_time_frac": parts.time,
    }
    if parts.time > 0:
        summary["busy_waiting_frac"] = parts.busy
    return Results(
        name=f"{name} room",
        question=f"What do the jobs wait for under {policy}, and what would one more rack change?",
        answer=_room_answer(now, saved, parts, rack, labels),
        kind="explain",
        summary=summary,
        tables={"room": frame("room", columns)},
        notes=["The same jobs at the same times: users would send more to a machine that lets them wait less."],
        provenance=provenance(log=name, policy=policy, rack=rack),
    )


class _WhileWaiting(NamedTuple):
    """What the processors do while any job waits.

    Attributes
    ----------
    idle : metrics.IdleParts
        Shares of all processor-seconds of the log.
    time : float
        Share of the log's time in which any job waits.
    busy, fits, fragmented : float
        Shares of the processor-seconds of that time: at work; idle where a waiting job would fit; idle and too few for any.
    """

    idle: metrics.IdleParts
    time: float
    busy: float
    fits: float
    fragmented: float


def _while_waiting(states: metrics.Intervals, idle: metrics.IdleParts) -> _WhileWaiting:
    length = states.end_s - states.start_s
    waiting = states.queued_jobs > 0
    whole, span = float(length.sum()), float(length[waiting].sum())
    if not span > 0:
        return _WhileWaiting(idle, 0.0, 0.0, 0.0, 0.0)
    size = float((states.busy + states.idle + states.down)[0])
    time, busy = span / whole, float((states.busy * length)[waiting].sum()) / (size * span)
    return _WhileWaiting(idle, time, busy, idle.fits / time, idle.fragmented / time)


def _room_answer(now: float, saved: list[float], parts: _WhileWaiting, rack: int, cases: list[str]) -> str:
    if now <= 0:
        return "No job waits: the machine is large enough for this log."
    causes = {
        "the number of processors": parts.busy,
        "the order of the queue": parts.fits,
        "jobs too wide for what is left over": parts.fragmented,
    }
    bound = max(causes, key=lambda cause: causes[cause])
    lead = (
        f"Jobs wait {readable(now, 'time')} on average, held up most by {bound}. Some job waits in {percent(parts.time)} of the time; "
        f"in that time {percent(parts.busy)} of the processors are busy, {percent(parts.fits)} are idle and would fit a waiting job "
        f"but are kept for others, and {percent(parts.fragmented)} are idle and too few for any waiting job."
    )
    best = int(np.argmax(saved))
    more = f" One more rack of {rack:,} node{'s' * (rack != 1)} would {'save' if saved[1] >= 0 else 'add'} {percent(abs(saved[1]))} of the mean wait"
    other = f"; most would bring {cases[best]} ({percent(saved[best])})." if best not in (0, 1) and saved[best] > saved[1] else "."
    return lead + more + other
