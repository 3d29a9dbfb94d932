"""Batch jobs of a scenario: read from a log, or drawn."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from hpcsim.base.errors import InputError, Problem, problem_kind
from hpcsim.base.reuse import kept
from hpcsim.base.rng import stream
from hpcsim.run.bind import BoundJobs
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.workload import DataSetsSpec, SearchSpec, SlackSpec, SyntheticSpec
from hpcsim.workload.elastic import elastic_jobs
from hpcsim.workload.jobs import Finding, JobTable, Trace, TraceOptions, read_trace
from hpcsim.workload.likeness import shaken, with_load

__all__ = ["batch_jobs"]

NO_JOBS = problem_kind("no-jobs", "no job is left to run", "see what was wrong with the log: hpcsim replay prints it")


_UNITS: dict[str, Literal["processor", "gpu", "node"]] = {"core": "processor", "accelerator": "gpu", "node": "node"}


def batch_jobs(bound: BoundJobs, scenario: Scenario) -> Trace:
    """Return the jobs of a scenario, by submission, with what was wrong with their log.

    Raises
    ------
    InputError
        The log cannot be read, or no job is left.
    """

    def make() -> Trace:
        trace = _batch_jobs(bound, scenario)
        if bound.slowdown != 1.0:
            jobs, slower = trace.jobs, bound.slowdown
            trace = dataclasses.replace(
                trace, jobs=dataclasses.replace(jobs, run_s=jobs.run_s * slower, estimate_s=jobs.estimate_s * slower)
            )
        if bound.stage_s_per_byte and trace.jobs.buffer_bytes is not None:
            jobs, stage = trace.jobs, trace.jobs.buffer_bytes * bound.stage_s_per_byte
            trace = dataclasses.replace(trace, jobs=dataclasses.replace(jobs, run_s=jobs.run_s + stage, estimate_s=jobs.estimate_s + stage))
        if bound.spec.start_up:
            jobs, more = trace.jobs, bound.spec.start_up
            trace = dataclasses.replace(trace, jobs=dataclasses.replace(jobs, run_s=jobs.run_s + more, estimate_s=jobs.estimate_s + more))
        trace = _reading(trace, bound.spec.data, scenario.simulate.seed)
        return _due(trace, bound.spec.slack, scenario.simulate.seed)

    return kept("jobs", lambda: _key(bound, scenario), make)


def _reading(trace: Trace, spec: DataSetsSpec | None, seed: int) -> Trace:
    """Give jobs without a data set of their own one, drawn by how often each is read."""
    if spec is None:
        return trace
    jobs = trace.jobs
    known = jobs.labels.get("data", ()) if jobs.data is not None else ()
    often = np.arange(1, spec.sets + 1, dtype=np.float64) ** -spec.skew
    drawn = len(known) + stream(seed, "jobs", "data").choice(spec.sets, len(jobs), p=often / often.sum())
    own = jobs.filled("data")
    return dataclasses.replace(
        trace,
        jobs=dataclasses.replace(
            jobs,
            data=np.where(own < 0, drawn, own),
            data_bytes=np.where(own < 0, spec.size, jobs.filled("data_bytes")),
            labels={**jobs.labels, "data": (*known, *(f"set {number}" for number in range(1, spec.sets + 1)))},
        ),
    )


def _due(trace: Trace, spec: SlackSpec | None, seed: int) -> Trace:
    """Give jobs without a deadline of their own one, as a scenario says; a name that no job has is noted."""
    if spec is None:
        return trace
    jobs = trace.jobs
    mine = stream(seed, "jobs", "slack").random(len(jobs)) < spec.share
    findings = []
    for column, names in (("queue", spec.queues), ("qos", spec.qos)):
        if names:
            numbers = jobs.queue if column == "queue" else jobs.filled(column)
            labels = np.array([jobs.label(column, number) for number in numbers.tolist()], dtype=np.str_)
            mine &= np.isin(labels, names)
            findings += [Finding(f"slack names a {column} that no job has", 1, "kept", name) for name in names if name not in labels]
    own = jobs.filled("due_s")
    due = np.where(mine & np.isinf(own), jobs.estimate_s + spec.time, own)
    return dataclasses.replace(trace, jobs=dataclasses.replace(jobs, due_s=due), quality=(*trace.quality, *findings))


def _key(bound: BoundJobs, scenario: Scenario) -> tuple[object, ...]:
    """Return what the jobs depend on; a table of jobs is read-only, so many runs may share it."""
    source: object = scenario.simulate.seed
    if bound.file is not None:
        stat = bound.file.stat()
        source = (str(bound.file), stat.st_mtime_ns, stat.st_size)
    return (
        bound.spec.model_dump_json(),
        bound.elastic,
        bound.processors,
        bound.widest,
        bound.unit,
        scenario.scheduler.estimates,
        bound.slowdown,
        bound.stage_s_per_byte,
        source,
    )


def _batch_jobs(bound: BoundJobs, scenario: Scenario) -> Trace:
    spec, estimates = bound.spec, scenario.scheduler.estimates
    if spec.trace is not None and bound.file is not None:
        options = TraceOptions(
            processors=spec.trace.processors,
            estimates="actual" if estimates == "actual" else "requested",
            cut=spec.trace.cut,
            max_jobs=spec.trace.max_jobs,
            capacity=bound.widest,
            unit=_UNITS[bound.unit],
            zone=spec.trace.zone,
            columns=dict(spec.trace.columns) or None,
            dependencies=spec.trace.dependencies,
        )
        trace = read_trace(bound.file, format=spec.trace.format, options=options)
        if not len(trace.jobs):
            raise NO_JOBS.error(path="workload.jobs.trace")
        jobs = trace.jobs
        if spec.trace.shake is not None:
            jobs = shaken(jobs, seed=scenario.simulate.seed, shift_s=spec.trace.shake)
        if spec.trace.load is not None:
            jobs = with_load(jobs, spec.trace.load, bound.processors)
        jobs = _resizable(jobs, bound, scenario)
        return Trace(jobs.sorted_by_submit(), trace.quality, trace.header, spec.trace.file, trace.rows)
    try:
        if spec.search is not None:
            jobs = _searched(spec.search, scenario.simulate.seed)
        else:
            assert spec.synthetic is not None
            jobs = _drawn(spec.synthetic, bound.processors, bound.widest, scenario.simulate.seed)
    except InputError as error:
        raise InputError([scenario.locate(_placed(problem)) for problem in error.problems]) from None
    if estimates == "actual":
        jobs = jobs.with_estimates(jobs.run_s)
    jobs = _resizable(jobs, bound, scenario)
    return Trace(jobs.sorted_by_submit(), (), {}, "", len(jobs))


def _resizable(jobs: JobTable, bound: BoundJobs, scenario: Scenario) -> JobTable:
    """Return the jobs with the sizes that they may have."""
    if bound.elastic is None:
        return jobs
    return elastic_jobs(jobs, bound.elastic, capacity=bound.processors, seed=scenario.simulate.seed)


def _placed(problem: Problem) -> Problem:
    """Put what the generator says of one of its arguments under the scenario's key."""
    key = problem.path.removesuffix("_s").removesuffix("_frac")
    return dataclasses.replace(problem, path=f"workload.jobs.synthetic.{key}" if key else "workload.jobs.synthetic")


def _searched(search: SearchSpec, seed: int) -> JobTable:
    from hpcsim.workload.halving import halving_jobs

    return halving_jobs(
        trials=search.trials,
        keep=search.keep,
        rounds=search.rounds,
        run_s=search.run,
        processors=search.processors,
        spread_frac=search.spread,
        seed=seed,
    )


def _drawn(draw: SyntheticSpec, processors: int, widest: int, seed: int) -> JobTable:
    from hpcsim.workload.generator import synthetic_jobs
    from hpcsim.workload.lublin import lublin_load

    if draw.model == "lublin":
        return lublin_load(seed=seed, processors=processors, duration_s=draw.duration, jobs=draw.jobs, load=draw.load)
    return synthetic_jobs(
        processors=processors,
        duration_s=draw.duration,
        jobs=draw.jobs,
        load=draw.load,
        max_processors=min(max(1, processors // 4), widest) if draw.max_processors is None and widest < processors else draw.max_processors,
        serial_frac=draw.serial,
        power_of_two_frac=draw.power_of_two,
        median_run_s=draw.median_run,
        max_run_s=draw.max_run,
        users=draw.users,
        daily_cycle=draw.daily_cycle,
        seed=seed,
    )
