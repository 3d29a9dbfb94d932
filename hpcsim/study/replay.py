"""Replay of a job log under one or several queueing policies, side by side."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import readable
from hpcsim.cost import metrics
from hpcsim.engine.clock import Clock
from hpcsim.engine.elastic import system_for
from hpcsim.engine.jobs import EventOrder, run_jobs
from hpcsim.engine.on_nodes import run_as_pool
from hpcsim.engine.outcome import Outcome
from hpcsim.engine.stopping import Stopping
from hpcsim.run.hours import Hours, read_hours
from hpcsim.run.notes import dropped_of
from hpcsim.run.policies import watching
from hpcsim.scheduling.machine import Machine, NodeClass, hostlist
from hpcsim.scheduling.policies import make_policy
from hpcsim.scheduling.prediction import PREDICTORS, Predictor
from hpcsim.study.figures import occupancy_of, policy_metrics, policy_ranges, shares, watched_metrics
from hpcsim.study.floor import Floor, floor_of
from hpcsim.study.log_notes import column_notes, held_notes, left_out
from hpcsim.study.whole import NOT_SMALLEST, GaveUp, Patient, Refused, every_policy, smallest_nodes, spoken
from hpcsim.workload.elastic import Elasticity, elastic_jobs, parse_elasticity
from hpcsim.workload.jobs import Finding, JobTable, Trace, TraceOptions, read_trace

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["Setup", "dropped_notes", "load_log", "policy_metrics", "replay"]

NO_POLICY = problem_kind("no-policy", "no policy is named", "for example 'easy' or 'fcfs,easy'")
POLICY_TWICE = problem_kind("policy-twice", "the policy {name!r} is named twice", "name each once")
BAD_MACHINE = problem_kind("machine-size", "{name} is {value!r}; it must be a whole number from 1 to {most}", "")
NONE_DONE = problem_kind("policies-given-up", "no policy was done within {limit} of processor time", "give more time")
NO_JOBS_LEFT = problem_kind(
    "no-jobs-left", "none of the {jobs} jobs fits on {processors} processors", "give the number of processors of the log's machine"
)

_MOST_PROCESSORS = 10**9


def _size(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
        raise BAD_MACHINE.error(path=name, name=name, value=value, most=most)
    return int(value)


def _fitted(trace: Trace, options: TraceOptions) -> Trace:
    """Return a trace that is in memory, sized to the machine as a log is when it is read."""
    jobs, quality = trace.jobs, list(trace.quality)
    if options.unit == "gpu" and jobs.gpus is not None:
        without = jobs.gpus <= 0
        if without.any():
            quality.append(Finding("asks for no accelerator", int(without.sum()), "dropped", f"job {jobs.job_id[without][0]}"))
            jobs = jobs.subset(~without)
        jobs = dataclasses.replace(jobs, processors=np.ceil(jobs.filled("gpus")).astype(np.int64))
    size = -(-jobs.processors // options.multiple) * options.multiple
    large = size > (options.capacity or _MOST_PROCESSORS)
    if large.all():
        raise NO_JOBS_LEFT.error(jobs=len(jobs), processors=options.capacity)
    if large.any():
        issue = f"more processors than the machine has ({options.capacity})"
        quality.append(Finding(issue, int(large.sum()), "dropped", f"job {jobs.job_id[large][0]}"))
    estimate = jobs.run_s if options.estimates == "actual" else np.maximum(jobs.estimate_s, jobs.run_s)
    jobs = dataclasses.replace(jobs, processors=size, estimate_s=estimate).subset(~large)
    if options.max_jobs is not None:
        jobs = jobs.subset(np.arange(min(len(jobs), options.max_jobs)))
    return dataclasses.replace(trace, jobs=jobs, quality=tuple(quality), rows=trace.rows or len(trace.jobs))


def _jobs_columns(jobs: JobTable, outcome: Outcome, policy: str | None, cores: int, machine: Machine | None) -> dict[str, Any]:
    run = outcome.run_s
    columns: dict[str, Any] = {
        "job_id": jobs.job_id,
        "kind": np.full(len(jobs), "batch"),
        "group": np.full(len(jobs), "machine"),
        "user": [jobs.label("user", user) or None for user in jobs.user.tolist()],
        "submit_s": jobs.submit_s,
        "start_s": outcome.start_s,
        "end_s": outcome.end_s,
        "wait_s": outcome.wait_s,
        "run_s": run,
        "estimate_s": jobs.estimate_s,
        "processors": jobs.processors,
        "nodes": -(-jobs.processors // cores),
        "status": outcome.status,
        "bounded_slowdown": metrics.bounded_slowdown(outcome.wait_s, run),
        "device_s": outcome.processor_s,
    }
    if jobs.law is not None:
        columns["resizes"] = np.bincount([s.job for s in outcome.stretches if s.how == "resize"], minlength=len(jobs)).astype(np.int64)
    if jobs.names is not None:
        columns["name"] = list(jobs.names)
    if machine is not None:
        columns["hosts"] = [hostlist(machine, outcome.places[job].nodes) for job in range(len(jobs))]
        columns["nodes"] = np.array([len(outcome.places[job].nodes) for job in range(len(jobs))], dtype=np.int64)
    return columns if policy is None else {"policy": np.full(len(jobs), policy), **columns}


def _dates(jobs: JobTable, trace: Trace) -> dict[str, Any]:
    if trace.zero_s is None:
        return {}
    from hpcsim.workload.readers.moments import iso

    return {"submit_time": iso(jobs.submit_s + trace.zero_s, trace.zone)}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    return {
        key: [x for part in parts for x in part[key]] if isinstance(parts[0][key], list) else np.concatenate([p[key] for p in parts])
        for key in parts[0]
    }


def _question(names: Sequence[str], trace: Trace, processors: int, of: int) -> str:
    log = Path(trace.file).name or "these jobs"
    under = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    jobs = f"the {len(trace.jobs):,}" if of == len(trace.jobs) else f"{len(trace.jobs):,} of the {of:,}"
    return f"How long do {jobs} jobs of {log} wait on {processors:,} processors under {under}?"


def _answer(rows: dict[str, dict[str, float | int]], without: str) -> str:
    best = min(rows, key=lambda name: (rows[name]["mean_bounded_slowdown"], name))
    figures = rows[best]
    lead = f"Of these, {best} has the lowest mean bounded slowdown" if len(rows) > 1 else f"Under {best} the mean bounded slowdown is"
    return (
        f"{lead}{': ' if len(rows) > 1 else ' '}{figures['mean_bounded_slowdown']:.4g}; jobs wait {readable(figures['mean_wait_s'], 'time')} on average "
        f"({readable(figures['median_wait_s'], 'time')} in the median) and {figures['utilisation_frac']:.1%} of the machine is used.{without}"
    )


def _estimates(trace: Trace, estimates: str) -> str:
    """Return what the policies were told of run times, in words; jobs without a requested time are counted."""
    if estimates != "requested":
        return f"{estimates} run times"
    stands = ["requested run times"]
    for issue, which in (
        ("no requested time: the run time", "without one"),
        ("ran past its request: the run time", "that ran past theirs"),
    ):
        count = sum(finding.rows for finding in trace.quality if finding.issue.startswith(issue))
        if count:
            stands.append(f"for {count:,} job{'s' if count > 1 else ''} {which} the run time stands in")
    return ", ".join(stands)


def _notes(trace: Trace, estimates: str, options: TraceOptions, order: str, placement: str | None) -> list[str]:
    notes = [
        "A job takes any processors: no placement, no communication between jobs, run times as logged."
        if placement is None
        else f"Jobs get nodes by {placement}: no communication between jobs, run times as logged.",
        f"Estimates: {_estimates(trace, estimates)}; processors: {options.processors}; {order} order of simultaneous events.",
        *column_notes(trace),
    ]
    return notes + dropped_notes(trace.quality, trace.rows)


def dropped_notes(quality: Sequence[Finding], rows: int) -> list[str]:
    """Return how many rows of a log were dropped, and why; nothing where none was."""
    count, causes = dropped_of(quality)
    return [f"{count:,} of {rows:,} rows of the log were dropped: {causes}."] if count else []


class Setup(NamedTuple):
    """A log and the machine that it is replayed on: the trace, the processors in all and of a node, and how it was read."""

    trace: Trace
    processors: int
    per_node: int
    options: TraceOptions


def load_log(
    log: str | Path | JobTable | Trace,
    *,
    nodes: int,
    cores_per_node: int = 1,
    gpus_per_node: int | None = None,
    estimates: Literal["requested", "actual"] = "requested",
    processors: Literal["allocated", "requested"] = "allocated",
    cut: bool = False,
    whole_nodes: bool = False,
    max_jobs: int | None = None,
    trace_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    zone: str = "UTC",
    dependencies: bool | None = None,
    load: float | None = None,
    shake_s: float | None = None,
    seed: int = 0,
) -> Setup:
    """Return a log as it is replayed on a machine; the arguments are those of :func:`replay`.

    Raises
    ------
    InputError
        An unreadable log, a machine of no processors, no job that fits.
    """
    per_node = ("cores_per_node", cores_per_node) if gpus_per_node is None else ("gpus_per_node", gpus_per_node)
    cores = _size(*per_node, _MOST_PROCESSORS)
    total = _size("nodes", nodes, _MOST_PROCESSORS // cores) * cores
    options = TraceOptions(
        processors=processors,
        estimates=estimates,
        cut=cut,
        max_jobs=max_jobs,
        capacity=total,
        multiple=cores if whole_nodes else 1,
        unit="processor" if gpus_per_node is None else "gpu",
        zone=zone,
        columns=columns,
        dependencies=dependencies,
    )
    if isinstance(log, (JobTable, Trace)):
        trace = _fitted(Trace(log) if isinstance(log, JobTable) else log, options)
    else:
        trace = read_trace(log, format=trace_format, options=options)
    return Setup(_changed(trace, total, load, shake_s, seed), total, cores, options)


def _changed(trace: Trace, processors: int, load: float | None, shake_s: float | None, seed: int) -> Trace:
    """Return a log with its submissions moved at random, and then apart or together until the load is met."""
    from hpcsim.workload.likeness import BAD_LIKENESS, shaken, with_load

    jobs = trace.jobs
    if shake_s is not None:
        if not 0 <= shake_s < math.inf:
            raise BAD_LIKENESS.error(path="shake", name="shake", value=shake_s, bound="at least 0 s")
        jobs = shaken(jobs, seed=seed, shift_s=shake_s)
    if load is not None:
        jobs = with_load(jobs, load, processors)
    return trace if jobs is trace.jobs else dataclasses.replace(trace, jobs=jobs)


def _names_of(policies: Sequence[str], hours: Hours | None) -> tuple[list[str], bool]:
    """Return the names of the policies, and whether all that the log can tell apart are meant."""
    names = [policies] if isinstance(policies, str) else list(policies)
    if not names:
        raise NO_POLICY.error(path="policies")
    if names == ["all"]:
        return names, True
    for at, name in enumerate(names):
        if name in names[:at]:
            raise POLICY_TWICE.error(path="policies", name=name)
        watching(make_policy(name), hours)
    return names, False


def replay(
    log: str | Path | JobTable | Trace,
    *,
    nodes: int | Literal["smallest"],
    cores_per_node: int = 1,
    gpus_per_node: int | None = None,
    policies: Sequence[str] = ("easy",),
    estimates: Literal["requested", "actual", "predicted", "regression"] = "requested",
    order: EventOrder = "batch",
    processors: Literal["allocated", "requested"] = "allocated",
    cut: bool = False,
    whole_nodes: bool = False,
    max_jobs: int | None = None,
    trace_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    zone: str = "UTC",
    dependencies: bool | None = None,
    load: float | None = None,
    shake_s: float | None = None,
    seed: int = 0,
    power_w: tuple[float, float] | None = None,
    placement: str | None = None,
    locality: Literal["any", "node"] | None = None,
    memory_per_node: int | None = None,
    elastic: Elasticity | str | None = None,
    stopping: Stopping | None = None,
    hours: str | Path | None = None,
    give_up_s: float | None = None,
    check: bool = False,
) -> Results:
    """Replay a job log under one or several queueing policies.

    Parameters
    ----------
    log : path, JobTable or Trace
        The log; of a table or trace that is given, ``processors`` and ``cut`` are settled already.
    nodes, cores_per_node : int
        The machine: ``nodes·cores_per_node`` processors, of which a job takes any. Larger jobs are dropped and counted. ``"smallest"``: the smallest
        equal nodes that hold every job of the log (:func:`~hpcsim.study.whole.smallest_nodes`), with cores, accelerators and memory.
    gpus_per_node : int, optional
        Count accelerators instead: the machine has ``nodes·gpus_per_node``, a job takes as many as it asks for, and jobs without any are
        dropped and counted.
    policies : sequence of str
        Names of policies; ``"all"`` for all that the log can tell apart, the others are in the table ``refused`` with the reason.
    give_up_s : float, optional [s]
        With ``"all"``: a policy that takes more processor time is given up, and named in the table ``refused``.
    estimates : {"requested", "actual", "predicted", "regression"}
        What the policies are told of the run time: what was asked for, what it will be, or what is learned from the jobs that have ended: the mean
        of the user's last two, or a regression (:mod:`hpcsim.scheduling.prediction`).
    order : {"batch", "event"}
        A scheduling pass after all events of an instant, or after each.
    processors : {"allocated", "requested"}
        Which count of the log a job takes.
    cut : bool
        Cut jobs that ran past their request; without it they run on, and their run time is the estimate.
    whole_nodes : bool
        Round sizes up to whole nodes.
    max_jobs : int, optional
        Take no more than so many jobs.
    trace_format : str, optional
        Name of a trace reader; found from the file's name and content without it.
    columns : mapping of str to str, optional
        Which column of a table holds what: ``{"submit": "submit_time", "run": "duration [min]", "processors": "cpus"}``.
    zone : str
        Time zone of dates that state none; dates are also shown in it.
    dependencies : bool, optional
        Whether jobs wait for those that the log names; without it, they do except in SWF.
    load : float, optional
        Move submissions apart or together until the jobs ask for this part of the machine.
    shake_s : float, optional [s]
        Move each submission at random by up to so much either way, to see whether a figure is a property of the log or of this sample.
    seed : int
        Of the shaking, and of the draw of elastic jobs.
    power_w : (float, float), optional [W]
        Power of a busy and of an idle processor: gives the energy per job.
    placement : str, optional
        Name of a placement. With it, or one of the next two, jobs get nodes with cores, accelerators and memory instead of any processors;
        what they ask for is in the log's columns. Jobs that the empty nodes cannot hold are dropped and counted.
    locality : {"any", "node"}, optional
        Where a job states no number of nodes: its parts lie anywhere, or on as few nodes as hold equal parts.
    memory_per_node : int, optional [bytes]
        Memory of a node; without it no job is held to what it asks for.
    elastic : Elasticity or str, optional
        Which jobs may change their size, and how fast they are then, such as ``"downey:parallelism=2,variance=1,least=0.25,most=4"``
        (:class:`~hpcsim.workload.elastic.Elasticity`). Jobs for which the log says so itself keep what it says.
    stopping : Stopping, optional
        What it costs a job to be stopped or to change its size; nothing without it.
    hours : path, optional
        CSV of hourly prices and carbon intensities (:func:`hpcsim.run.hours.read_hours`), for a policy that watches them; second 0 of the log is its
        beginning. With ``power_w`` the electricity of each policy is priced.
    check : bool
        Assert the engine's invariants meanwhile; slow.

    Returns
    -------
    Results
        Of kind ``"replay"``: tables ``policies``, ``jobs`` and ``states`` and ``shares`` (with a column ``policy`` where there are several) and
        ``quality``. ``cpu_s`` of each policy is the processor time of the simulation itself, without reading and writing. The summary is
        that of the first policy.

    Raises
    ------
    InputError
        An unreadable log, an unknown policy, a machine of no processors, no job that fits.
    """
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results

    begun = time.perf_counter()
    series = read_hours(hours) if hours is not None else None
    names, every = _names_of(policies, series)
    if isinstance(nodes, str) and nodes != "smallest":
        raise NOT_SMALLEST.error(path="nodes", given=nodes)
    setup = load_log(
        log,
        nodes=_MOST_PROCESSORS // max(1, cores_per_node) if isinstance(nodes, str) else nodes,
        cores_per_node=cores_per_node,
        gpus_per_node=gpus_per_node,
        estimates="requested" if estimates == "predicted" or estimates == "regression" else estimates,
        processors=processors,
        cut=cut,
        whole_nodes=whole_nodes,
        max_jobs=max_jobs,
        trace_format=trace_format,
        columns=columns,
        zone=zone,
        dependencies=dependencies,
        load=load,
        shake_s=shake_s,
        seed=seed,
    )
    trace, total, cores, options = setup
    jobs = trace.jobs.sorted_by_submit()
    floor, asked = None, jobs
    node: NodeClass | None = None
    if isinstance(nodes, str) or placement or locality or memory_per_node:
        given = None if isinstance(nodes, str) else NodeClass("node", nodes, cores_per_node, gpus_per_node or 0, memory_per_node or 0)
        node = smallest_nodes(jobs) if given is None else given
        total, cores = (total, cores) if given is not None else (node.count * node.cores, node.cores)
        floor, jobs, dropped = floor_of(
            jobs, node, placement=placement or "first-fit", locality=locality or "any", unit="core" if given is None else None
        )
        trace = dataclasses.replace(trace, jobs=jobs, quality=(*trace.quality, *dropped))
    if elastic is not None:
        jobs = elastic_jobs(jobs, parse_elasticity(elastic) if isinstance(elastic, str) else elastic, capacity=total, seed=seed)
    names, refused = every_policy(jobs, elastic=jobs.law is not None, hours=series is not None) if every else (names, [])
    stage = _Stage(total, order, check, floor, cores, PREDICTORS.get(estimates), stopping, series, give_up_s if every else None, refused)
    rows, ranges, tables = _side_by_side(trace, jobs, names, stage, power_w)
    names = list(rows)
    of, without = left_out(trace, options.max_jobs)
    wall_s = time.perf_counter() - begun
    return Results(
        name=Path(trace.file).name.partition(".")[0] or "replay",
        question=_question(names, trace, total, of),
        answer=_answer(rows, without),
        kind="replay",
        summary={**rows[names[0]], "wall_s": wall_s},
        ranges=ranges,
        tables=tables,
        notes=[
            *_notes(trace, estimates, options, order, floor.placement if floor else None),
            *held_notes(asked, node, by_gpus=gpus_per_node is not None),
            *_least(jobs),
            *_left_out(refused),
        ],
        provenance=provenance(log=trace.file, log_header=dict(trace.header), options=dataclasses.asdict(options), order=order),
    )


def _least(jobs: JobTable) -> list[str]:
    """Return what the smallest machine for a log is, where its jobs ask for nodes, memory or accelerators."""
    if jobs.nodes is None and jobs.memory_bytes is None:
        return []
    return [f"The smallest equal nodes that hold every job alone: {spoken(smallest_nodes(jobs))}."]


def _left_out(refused: Sequence[Refused]) -> list[str]:
    return ["Not run: " + "; ".join(f"{one.policy}, {one.reason}" for one in refused) + "."] if refused else []


class _Stage(NamedTuple):
    """What a log is replayed on and how, under every policy."""

    processors: int
    order: EventOrder
    check: bool
    floor: Floor | None
    cores: int
    learner: Callable[[], Predictor] | None
    stopping: Stopping | None
    hours: Hours | None
    give_up_s: float | None
    refused: list[Refused]


def _side_by_side(
    trace: Trace, jobs: JobTable, names: list[str], stage: _Stage, power_w: tuple[float, float] | None
) -> tuple[dict[str, dict[str, float | int]], dict[str, tuple[float, float]], dict[str, Any]]:
    """Run the jobs under every policy; return the figures, the ranges of the first, and the tables."""
    from hpcsim.results.schedules import spans_of
    from hpcsim.results.tables import frame

    rows: dict[str, dict[str, float | int]] = {}
    parts: list[dict[str, Any]] = []
    by_user: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    pieces: list[dict[str, Any]] = []
    ranges: dict[str, tuple[float, float]] = {}
    for name in names:
        try:
            outcome, cpu_s = _timed(jobs, name, stage)
        except GaveUp as error:
            stage.refused.append(Refused(name, str(error)))
            continue
        states = occupancy_of(jobs, outcome)
        rows[name] = policy_metrics(jobs, outcome, states=states, power_w=power_w) | {"cpu_s": cpu_s}
        rows[name] |= watched_metrics(jobs, outcome, states, power_w=power_w, hours=stage.hours)
        ranges = ranges or policy_ranges(jobs, outcome)
        by_user.append(shares(jobs, outcome, name if len(names) > 1 else None))
        levels.append(_states(states, name if len(names) > 1 else None))
        if outcome.stretches or outcome.last_processors:
            job, _, start, end, held = outcome.pieces
            pieces.append(spans_of(jobs.job_id, job, start, end, held, name if len(names) > 1 else None))
        parts.append(
            _jobs_columns(jobs, outcome, name if len(names) > 1 else None, stage.cores, stage.floor.machine if stage.floor else None)
            | _dates(jobs, trace)
        )
    names = list(rows)
    if not names:
        raise NONE_DONE.error(path="policies", limit=readable(stage.give_up_s or 0.0, "time"))
    tables = {
        "policies": frame("policies", {"policy": names} | {key: [row[key] for row in rows.values()] for key in next(iter(rows.values()))}),
        "jobs": frame("jobs", _joined(parts)),
        "quality": frame("quality", _quality(trace)),
    }
    tables["states"] = frame("states", _joined(levels))
    if pieces:
        tables["spans"] = frame("spans", _joined(pieces))
    if stage.refused:
        left = {"policy": [one.policy for one in stage.refused], "reason": [one.reason for one in stage.refused]}
        tables["refused"] = frame("refused", left)
    if by_user[0]["kind"]:
        tables["shares"] = frame("shares", {key: [x for part in by_user for x in part[key]] for key in by_user[0]})
    return rows, ranges, tables


def _timed(jobs: JobTable, name: str, stage: _Stage) -> tuple[Outcome, float]:
    policy = watching(make_policy(name), stage.hours)
    how: dict[str, Any] = {"order": stage.order, "check": stage.check}
    learner, floor = stage.learner, stage.floor
    before = time.process_time()
    chosen: Any = policy if stage.give_up_s is None else Patient(policy, stage.give_up_s)
    if floor is None and learner is None and not getattr(policy, "nodes_only", False):
        outcome = run_jobs(jobs, stage.processors, chosen, **how)
        return outcome, time.process_time() - before
    how |= {"predictor": learner() if learner else None, "stopping": stage.stopping}
    if floor is None:
        outcome = run_as_pool(jobs, stage.processors, chosen, **how)
    else:
        clock = Clock()
        system = system_for(jobs)(
            clock, floor.machine, chosen, placement=floor.placement, asking=floor.asking, size=stage.processors, **how
        )
        system.submit(jobs, floor.demands)
        clock.run()
        outcome = system.outcome()
    return outcome, time.process_time() - before


def _quality(trace: Trace) -> dict[str, Any]:
    return {
        "file": [trace.file for _ in trace.quality],
        "issue": [finding.issue for finding in trace.quality],
        "rows": np.array([finding.rows for finding in trace.quality], dtype=np.int64),
        "action": [finding.action for finding in trace.quality],
        "example": [finding.example for finding in trace.quality],
    }


def _states(states: metrics.Intervals, policy: str | None) -> dict[str, Any]:
    columns = {"group": np.full(len(states.start_s), "machine"), **states._asdict()}
    return columns if policy is None else {"policy": np.full(len(states.start_s), policy), **columns}
