"""Why a job waited: what was free meanwhile, who stood before it, who passed it, whose end let it start. From starts and ends alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import percent, readable
from hpcsim.engine.jobs import EventOrder, run_jobs
from hpcsim.engine.outcome import Outcome
from hpcsim.study.binding import KEPT, SCATTERED, WINDOW, House, binding_spans, lacking, run_in, with_more, with_nodes
from hpcsim.workload.jobs import JobTable

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["Wait", "explain_simulated_wait", "explain_wait", "house_room", "house_wait", "wait_of"]

NO_JOB = problem_kind("explain-no-job", "there is no job {job}", "{near}")
NEVER_STARTED = problem_kind("explain-never-started", "job {job} never started", "simulate longer")

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Wait(NamedTuple):
    """The reasons of one job's wait.

    Attributes
    ----------
    row : int
        Row of the job in the table.
    begin_s, start_s : float [s]
        Submission and start.
    spans : dict
        Columns of the table ``wait_spans``; the spans tile the wait.
    held, ahead, passed, released : int64 array
        Rows of the jobs with that part, see the table ``wait_jobs``.
    """

    row: int
    begin_s: float
    start_s: float
    spans: dict[str, Any]
    held: Integers
    ahead: Integers
    passed: Integers
    released: Integers

    def span_s(self, cause: str) -> float:
        """Return the part of the wait with that cause [s]."""
        mine = np.array([c == cause for c in self.spans["cause"]], dtype=np.bool_)
        return float((self.spans["end_s"] - self.spans["start_s"])[mine].sum()) if len(mine) else 0.0


def wait_of(job: int, job_id: Integers, submit_s: Floats, start_s: Floats, end_s: Floats, processors: Integers, *, size: int) -> Wait:
    """Return why a job waited.

    Parameters
    ----------
    job : int
        Its number.
    job_id, submit_s, start_s, end_s, processors : array, shape (jobs,)
        All jobs of the pool, in the order of their submission; NaN where something has not happened.
    size : int
        Processors of the pool.

    Raises
    ------
    InputError
        There is no such job, or it never started.

    Examples
    --------
    Job 2 asks for 8 of 10 processors; job 3 passes it, and job 1's end lets it start:

    >>> of = (np.array(x, float) for x in ([0, 1, 2], [0, 10, 2], [10, 20, 12]))
    >>> wait = wait_of(2, np.array([1, 2, 3]), *of, np.array([6, 8, 2]), size=10)
    >>> wait.spans["free"].tolist(), wait.passed.tolist(), wait.released.tolist()
    ([4, 2], [2], [0])
    """
    found = np.flatnonzero(job_id == job)
    if not len(found):
        near = job_id[np.argsort(np.abs(job_id - job), kind="stable")[:3]]
        raise NO_JOB.error(path="job", job=job, near="near ones: " + ", ".join(str(int(n)) for n in near))
    row = int(found[0])
    begin, start, need = float(submit_s[row]), float(start_s[row]), int(processors[row])
    if np.isnan(start):
        raise NEVER_STARTED.error(path="job", job=job)
    at = np.arange(len(job_id))
    began, ended = np.where(np.isnan(start_s), np.inf, start_s), np.where(np.isnan(end_s), np.inf, end_s)
    before = (submit_s < begin) | ((submit_s == begin) & (at < row))
    held = np.flatnonzero((began <= begin) & (ended > begin) & (at != row))
    meanwhile = (began <= start) & (began > begin) if start > begin else np.zeros(len(at), dtype=np.bool_)
    ahead = np.flatnonzero(before & meanwhile & (at != row))
    passed = np.flatnonzero(~before & (at != row) & (began < start))
    released = np.flatnonzero((ended == start) & (began < start) & (at != row)) if start > begin else np.empty(0, dtype=np.int64)
    spans = _spans(row, begin, start, need, submit_s, began, ended, processors, size, before)
    return Wait(row, begin, start, spans, held, ahead, passed, released)


def _spans(
    row: int,
    begin: float,
    start: float,
    need: int,
    submit: Floats,
    began: Floats,
    ended: Floats,
    processors: Integers,
    size: int,
    before: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Return the columns of ``wait_spans``: neighbours with the same cause, free processors and first job in the queue are one span."""
    if not start > begin:
        empty = np.empty(0)
        return {"start_s": empty, "end_s": empty, "free": [], "needed": [], "cause": [], "behind": []}
    near = (began < start) & (ended > begin)
    changes = np.concatenate([began[near], ended[near]])
    waiting = before & (began > begin) & (submit <= begin)
    changes = np.concatenate([changes, began[waiting]])
    edges = np.unique(np.concatenate([[begin, start], changes[(changes > begin) & (changes < start)]]))
    steps = np.concatenate([processors[near], -processors[near]])
    times = np.concatenate([began[near], ended[near]])
    order = np.argsort(times, kind="stable")
    level = np.concatenate([[0], np.cumsum(steps[order])])
    busy = level[np.searchsorted(times[order], edges[:-1], side="right")]
    free = size - busy
    first = _first_waiting(edges[:-1], np.flatnonzero(waiting), began)
    enough = free >= need
    new = np.ones(len(free), dtype=np.bool_)
    new[1:] = (free[1:] != free[:-1]) | (first[1:] != first[:-1])
    at = np.flatnonzero(new)
    return {
        "start_s": edges[:-1][at],
        "end_s": np.append(edges[:-1][at[1:]], start),
        "free": free[at],
        "needed": np.full(len(at), need, dtype=np.int64),
        "cause": ["kept for others" if flag else "too few free" for flag in enough[at].tolist()],
        "behind": first[at],
    }


def _first_waiting(moments: Floats, waiting: Integers, began: Floats) -> Integers:
    """Return the row of the first in line among those that wait at each moment; -1 where nobody stands before the job."""
    first = np.full(len(moments), -1, dtype=np.int64)
    open_ = np.ones(len(moments), dtype=np.bool_)
    for row in waiting.tolist():  # in the order of submission: the first that still waits is the one
        mine = open_ & (moments < began[row])
        first[mine] = row
        open_ &= ~mine
        if not open_.any():
            break
    return first


def _without(jobs: JobTable, rows: Integers, processors: int, policy: str, order: EventOrder, job: int) -> float:
    """Return the start of a job had those rows never been submitted."""
    kept = jobs.subset(~np.isin(np.arange(len(jobs)), rows))
    outcome = run_jobs(kept, processors, policy, order=order, until_s=None)
    return float(outcome.start_s[kept.job_id == job][0])


def _answer(job: int, jobs: JobTable, wait: Wait, size: int, policy: str, alone: float | None, why: Sequence[str] | None = None) -> str:
    need, span = int(jobs.processors[wait.row]), wait.start_s - wait.begin_s
    parts = [f"Job {job} asked for {need:,} of {size:,} processors"]
    if span <= 0:
        return f"{parts[0]} and started at once: that many were free and nobody kept them."
    parts[0] += f" and waited {readable(span, 'time')} under {policy}."
    at_first = int(wait.spans["free"][0])
    parts += [
        f"When it was submitted {at_first:,} {'was' if at_first == 1 else 'were'} free.",
        *_over_the_wait(jobs, wait, need, span, why),
    ]
    if len(wait.ahead):
        parts.append(f"While it waited {len(wait.ahead):,} {'jobs' if len(wait.ahead) > 1 else 'job'} that came before it started.")
    if len(wait.passed):
        largest = wait.passed[np.argmax(jobs.processors[wait.passed])]
        one = len(wait.passed) == 1
        who = f"{'' if one else 'the largest '}job {jobs.job_id[largest]} on {jobs.processors[largest]:,}"
        text = f"{len(wait.passed):,} that came later passed it, {who}"
        if alone is not None:
            gain = wait.start_s - alone
            text += (
                f"; without {'it' if one else 'them'} this one would have started {readable(gain, 'time')} earlier"
                if gain > 0
                else f"; without {'it' if one else 'them'} this one would have started {readable(-gain, 'time')} later"
                if gain < 0
                else f"; without {'it' if one else 'them'} this one would have started no earlier"
            )
        parts.append(text + ".")
    if len(wait.released):
        freed = int(jobs.processors[wait.released].sum())
        names = ", ".join(str(int(number)) for number in jobs.job_id[wait.released[:3]])
        more = f" and {len(wait.released) - 3} more" if len(wait.released) > 3 else ""
        parts.append(
            f"It started at the instant when job{'s' if len(wait.released) > 1 else ''} {names}{more} ended and gave back {freed:,} processors."
        )
    else:
        parts.append("At the instant when it started no job ended: the policy let it go then.")
    return " ".join(parts)


def _over_the_wait(jobs: JobTable, wait: Wait, need: int, span: float, why: Sequence[str] | None) -> list[str]:
    """Return for how much of the wait a job lacked what, as sentences; ``why`` where it is known by resource."""
    if why is not None:
        return list(why)
    parts = []
    short, kept = wait.span_s("too few free"), wait.span_s("kept for others")
    if short > 0:
        parts.append(f"For {readable(short, 'time')} of the wait ({percent(short / span)}) fewer than {need:,} were free.")
    if kept > 0:
        behind = [int(b) for b, c in zip(wait.spans["behind"], wait.spans["cause"], strict=True) if c == "kept for others" and b >= 0]
        who = f", at the end for job {jobs.job_id[behind[-1]]}, which asks for {jobs.processors[behind[-1]]:,}" if behind else ""
        parts.append(f"For {readable(kept, 'time')} of it ({percent(kept / span)}) enough were free but kept for others{who}.")
    return parts


def explain_wait(jobs: JobTable, processors: int, policy: str, job: int, *, order: EventOrder = "batch", name: str = "replay") -> Results:
    """Replay jobs and return why one of them waited.

    Parameters
    ----------
    jobs : JobTable
    processors : int
        Of the machine.
    policy : str
    job : int
        Number of the job.
    order : {"batch", "event"}
    name : str
        Of the log.

    Returns
    -------
    Results
        Of kind ``"explain"``, with the tables ``wait_spans`` and ``wait_jobs``. Its summary has ``wait_s, short_s`` (too few were free), ``kept_s``
        (enough were, but kept for others), ``jobs_ahead, jobs_passed`` and, where any passed it, ``unpassed_start_s`` and ``unpassed_wait_s``: its start
        (seconds of the log) and its wait had these jobs not been there, simulated anew.

    Raises
    ------
    InputError
        There is no such job.
    """
    jobs = jobs.sorted_by_submit()
    outcome = run_jobs(jobs, processors, policy, order=order)
    wait = wait_of(job, jobs.job_id, jobs.submit_s, outcome.start_s, outcome.end_s, jobs.processors, size=outcome.size)
    alone = _without(jobs, wait.passed, processors, policy, order, job) if len(wait.passed) and wait.start_s > wait.begin_s else None
    return _results(job, jobs, outcome, wait, policy, alone, name)


def _results(
    job: int,
    jobs: JobTable,
    outcome: Outcome,
    wait: Wait,
    policy: str,
    alone: float | None,
    name: str,
    why: Sequence[str] | None = None,
) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    rows = np.concatenate([wait.held, wait.ahead, wait.passed, wait.released])
    roles = ["held"] * len(wait.held) + ["ahead"] * len(wait.ahead) + ["passed"] * len(wait.passed) + ["released"] * len(wait.released)
    taken = (np.minimum(outcome.end_s[rows], wait.start_s) - np.maximum(outcome.start_s[rows], wait.begin_s)).clip(min=0) * jobs.processors[
        rows
    ]
    ranked = np.argsort(-taken, kind="stable")
    table = {
        "job_id": jobs.job_id[rows][ranked],
        "role": [roles[i] for i in ranked.tolist()],
        "processors": jobs.processors[rows][ranked],
        "submit_s": jobs.submit_s[rows][ranked],
        "start_s": outcome.start_s[rows][ranked],
        "end_s": outcome.end_s[rows][ranked],
        "processor_s": taken[ranked],
    }
    behind = [None if b < 0 else int(jobs.job_id[b]) for b in np.asarray(wait.spans["behind"], dtype=np.int64).tolist()]
    summary: dict[str, float | int | str] = {
        "wait_s": wait.start_s - wait.begin_s,
        "short_s": wait.span_s("too few free"),
        "kept_s": wait.span_s("kept for others"),
        "jobs_ahead": len(wait.ahead),
        "jobs_passed": len(wait.passed),
    }
    if alone is not None:
        summary |= {"unpassed_wait_s": alone - wait.begin_s, "unpassed_start_s": alone}
    return Results(
        name=f"{name} job {job}",
        question=f"Why did job {job} wait under {policy}?",
        answer=_answer(job, jobs, wait, outcome.size, policy, alone, why),
        kind="explain",
        summary=summary,
        tables={"wait_spans": frame("wait_spans", {**wait.spans, "behind": behind}), "wait_jobs": frame("wait_jobs", table)},
        notes=["Seen from starts and ends; which reservation a policy held in between is not looked at."],
        provenance=provenance(log=name, policy=policy, job=job),
    )


def house_wait(house: House, policy: str, job: int, *, name: str = "replay") -> Results:
    """Return why a job waited on a machine of nodes: which resource, limit, partition or reservation held it; see :func:`explain_wait`.

    Returns
    -------
    Results
        Those of :func:`explain_wait` with the table ``wait_reasons``; ``short_s`` is the time in which it lacked something, ``kept_s`` that in
        which others kept what it needed.

    Raises
    ------
    InputError
        There is no such job, or it never started.
    """
    from hpcsim.results.tables import frame

    jobs = house.jobs
    outcome = run_in(house)
    wait = wait_of(job, jobs.job_id, jobs.submit_s, outcome.start_s, outcome.end_s, jobs.processors, size=outcome.size)
    alone = None
    if len(wait.passed) and wait.start_s > wait.begin_s:
        kept = np.ones(len(jobs), dtype=np.bool_)
        kept[wait.passed] = False
        without = dataclasses.replace(house, jobs=jobs.subset(kept), demands=(house.demands[0], house.demands[1][kept]))
        alone = float(run_in(without).start_s[without.jobs.job_id == job][0])
    spans = [] if outcome.stretches else lacking(house, outcome, wait.row)
    sums: dict[tuple[str, ...], float] = {}
    for low, high, reasons in spans:
        sums[reasons] = sums.get(reasons, 0.0) + high - low
    whole = wait.start_s - wait.begin_s
    why = [
        f"For {readable(span, 'time')} of the wait ({percent(span / whole)}) {_because(reasons)}."
        for reasons, span in sorted(sums.items(), key=lambda s: -s[1])
    ]
    found = _results(job, jobs, outcome, wait, policy, alone, name, why if spans else None)
    if not spans:
        return found
    held = sum(span for reasons, span in sums.items() if set(reasons) <= {KEPT, WINDOW})
    table = {
        "start_s": [low for low, _, _ in spans],
        "end_s": [high for _, high, _ in spans],
        "reason": ["; ".join(reasons) for _, _, reasons in spans],
    }
    return dataclasses.replace(
        found,
        summary=found.summary | {"short_s": whole - held, "kept_s": held},
        tables={"wait_reasons": frame("wait_reasons", table), **found.tables},
        notes=["Seen from starts, ends and places; which reservation a policy held in between is not looked at."],
    )


def _because(reasons: tuple[str, ...]) -> str:
    """Return a reason as the rest of a sentence."""
    said = {KEPT: "all it needs was free but kept for others", WINDOW: "a reservation or maintenance kept the nodes from it"}
    first = reasons[0]
    if first in said:
        return said[first]
    if first == SCATTERED:
        return "there was enough in all, but not together on nodes"
    return "it lacked " + ", ".join(reasons)


def house_room(house: House, policy: str, *, rack: int, name: str = "replay") -> Results:
    """Return which resource binds the jobs of a machine of nodes, for how long, and what more of each would change: simulated anew.

    Parameters
    ----------
    house : House
    policy : str
        Its name.
    rack : int
        Nodes of a rack.
    name : str
        Of the log or scenario.

    Returns
    -------
    Results
        Of kind ``"explain"``, with the tables ``binding`` and ``room``.
    """
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame
    from hpcsim.study.figures import policy_metrics

    exact = dataclasses.replace(house, jobs=house.jobs.with_estimates(house.jobs.run_s))
    cases: list[tuple[str, House]] = [("as it is", house)]
    if not house.machine.torus:
        cases.append((f"one more rack ({rack:,} node{'s' * (rack != 1)})", with_nodes(house, rack)))
    cases += [*with_more(house), ("exact estimates", exact)]
    rows: list[dict[str, float | int]] = []
    binding: dict[str, float] = {}
    for at, (_, one) in enumerate(cases):
        outcome = run_in(one)
        rows.append(policy_metrics(one.jobs, outcome) | {"processors": one.size})
        if at == 0 and not outcome.stretches:
            binding = binding_spans(one, outcome)
    waiting = binding.pop("any", 0.0)
    now = float(rows[0]["mean_wait_s"])
    saved = [1.0 - float(row["mean_wait_s"]) / now if now > 0 else 0.0 for row in rows]
    keys = ("processors", "mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "utilisation_frac")
    labels = [case for case, _ in cases]
    columns = {"case": labels, **{key: [row[key] for row in rows] for key in keys}, "saved_wait_frac": saved}
    ranked = sorted(binding.items(), key=lambda item: -item[1])
    table = {
        "reason": [reason for reason, _ in ranked],
        "span_s": [span for _, span in ranked],
        "waiting_frac": [span / waiting if waiting else 0.0 for _, span in ranked],
    }
    return Results(
        name=f"{name} room",
        question=f"What do the jobs wait for under {policy}, and what would one more rack change?",
        answer=_house_answer(now, ranked, waiting, labels, saved),
        kind="explain",
        summary={"mean_wait_s": now, "utilisation_frac": float(rows[0]["utilisation_frac"])},
        tables={"binding": frame("binding", table), "room": frame("room", columns)},
        notes=["The same jobs at the same times: users would send more to a machine that lets them wait less."],
        provenance=provenance(log=name, policy=policy, rack=rack),
    )


def _house_answer(now: float, ranked: list[tuple[str, float]], waiting: float, cases: list[str], saved: list[float]) -> str:
    if now <= 0:
        return "No job waits: the machine is large enough for this log."
    text = f"Jobs wait {readable(now, 'time')} on average."
    if ranked and waiting > 0:
        what = "; ".join(f"{_lacked(reason)} for {percent(span / waiting)} of that time" for reason, span in ranked[:3])
        several = " (several at once count each)" if sum(span for _, span in ranked) > waiting * (1.0 + 1e-9) else ""
        text += f" Jobs waited in {readable(waiting, 'time')} of the log: the first in line {what}{several}."
    best = int(np.argmax(saved))
    for at in dict.fromkeys([1, best]):
        if 0 < at < len(cases):
            verb = "would save" if saved[at] >= 0 else "would add"
            text += f" {cases[at][0].upper()}{cases[at][1:]} {verb} {percent(abs(saved[at]))} of the mean wait."
    return text


def _lacked(reason: str) -> str:
    """Return a reason as the rest of a sentence about the past."""
    said = {KEPT: "had all it needs free but kept for others", WINDOW: "was kept from nodes by a reservation or maintenance"}
    if reason in said:
        return said[reason]
    if reason == SCATTERED:
        return "had enough in all, but not together on nodes"
    return f"lacked {reason}"


def explain_simulated_wait(results: Results, job: int, *, policy: str = "its policy") -> Results:
    """Return why a job of a simulated scenario waited, from the tables of its results; see :func:`explain_wait`.

    Raises
    ------
    InputError
        There is no such job, or it never started.
    """
    table = results.tables["jobs"]
    found = table[table["job_id"] == job]
    if not len(found):
        raise NO_JOB.error(path="job", job=job, near="see jobs.csv of the run")
    if "policy" in table.columns:
        table = table[table["policy"] == found["policy"].iloc[0]]
    group = found["group"].iloc[0]
    mine = table[(table["group"] == group) & (table["processors"] > 0)].sort_values("submit_s", kind="stable")
    levels = results.tables["states"]
    levels = levels[levels["group"] == group]
    size = int((levels["busy"] + levels["idle"] + levels["down"]).max())
    jobs = JobTable.of(mine["submit_s"], mine["run_s"].fillna(0.0), mine["processors"].astype(np.int64), job_id=mine["job_id"])
    start, end = mine["start_s"].to_numpy(np.float64), mine["end_s"].to_numpy(np.float64)
    wait = wait_of(job, jobs.job_id, jobs.submit_s, start, end, jobs.processors, size=size)
    outcome = Outcome(float(levels["end_s"].max()), jobs.processors, jobs.submit_s, start, end, np.zeros(len(jobs), dtype=np.int8), size)
    return _results(job, jobs, outcome, wait, policy, None, results.name)
