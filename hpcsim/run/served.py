"""What became of a service: the figures that the closed form and the event engine both fill."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.engine.serving import ServiceRun
from hpcsim.workload.requests import mean_load_per_s
from hpcsim.workload.service_course import Course
from hpcsim.workload.serving import ServingPlan

__all__ = ["Served", "served_in_estimate", "served_in_run", "stretches_of_course", "stretches_of_run"]

Floats = npt.NDArray[np.float64]

PIECES = 96
"""Stretches of constant mean power into which a service's time is cut."""


@dataclass(frozen=True)
class Served:
    """What became of a service.

    Attributes
    ----------
    requests, finished : int
        Those that came (that are expected), and those that were answered.
    load_per_s : float
        Requests a second that are expected on average in the time that was looked at.
    tokens : float
        Tokens of all answers.
    ttft_s, tpot_s, latency_s : array
        Of the requests that came, as their users see them, or of equally likely requests; ``tpot_s`` NaN where one pass is the answer.
        Infinite where it did not come before the end: an unanswered request is later than any time, and so is its pace. Empty where the load is
        above what can be served, in an estimate.
    in_flight : int
        Requests that came and were not answered before the end.
    mean_wait_s, mean_queue : float
        From arrival at the place to the first pass; requests that wait, on average over the time of arrivals.
    mean_batch : float
        Requests that a replica decodes at once, on average.
    busy_frac : float
        Share of the time in which a replica works.
    way_s, prefill_s, decode_s : float
        Means of a request's time on the way, in its own prefill, and from first to last token.
    """

    requests: int
    finished: int
    load_per_s: float
    tokens: float
    ttft_s: Floats
    tpot_s: Floats
    latency_s: Floats
    in_flight: int
    mean_wait_s: float
    mean_queue: float
    mean_batch: float
    busy_frac: float
    way_s: float
    prefill_s: float
    decode_s: float

    def share(self, plan: ServingPlan) -> float:
        """Return the share of the requests that are answered and keep every objective; NaN where nothing is known."""
        goals = plan.spec.objectives
        if not len(self.latency_s):
            return math.nan
        kept = np.isfinite(self.latency_s)
        for limit, times in ((goals.ttft, self.ttft_s), (goals.tpot, self.tpot_s), (goals.deadline, self.latency_s)):
            if limit is not None:
                kept &= np.isnan(times) | (times <= limit * (1.0 + 1e-12))
        return float(kept.mean())

    def late_frac(self, plan: ServingPlan) -> float:
        """Return the share of the answers that come after the deadline, or not at all; NaN without one."""
        limit = plan.spec.objectives.deadline
        if limit is None or not len(self.latency_s):
            return math.nan
        return float((self.latency_s > limit * (1.0 + 1e-12)).mean())


def served_in_estimate(plan: ServingPlan, course: Course) -> Served:
    """Return what is expected of a service: latencies at its highest load, the rest over its course."""
    peak = plan.peak
    none = np.empty(0)
    waits = float(peak.wait_s.mean()) if peak.stable else math.nan
    return Served(
        requests=round(course.requests),
        finished=round(course.answered),
        load_per_s=plan.steady.load_per_s,
        tokens=course.answered * float(plan.demand.outputs.mean()),
        ttft_s=peak.ttft_s if peak.stable else none,
        tpot_s=peak.tpot_s if peak.stable else none,
        latency_s=peak.latency_s if peak.stable else none,
        in_flight=0,
        mean_wait_s=waits,
        mean_queue=waits * peak.load_per_s,
        mean_batch=course.batch,
        busy_frac=course.busy_frac,
        way_s=plan.service.way_s + plan.spec.access.jitter,
        prefill_s=peak.prefilled_s,
        decode_s=peak.decoded_s if peak.stable else math.nan,
    )


def served_in_run(plan: ServingPlan, run: ServiceRun, until_s: float) -> Served:
    """Return what became of a service by a time of the clock."""
    came = run.begin_s + run.requests.arrival_s <= until_s
    arrival = run.begin_s + run.requests.arrival_s
    done = ~np.isnan(run.end_s)
    way = plan.service.way_s + run.requests.delay_s
    outputs = run.requests.outputs
    decoded = (run.end_s - run.first_s)[done]
    tpot = np.where(outputs > 1, (run.end_s - run.first_s) / np.maximum(outputs - 1, 1), np.nan)
    tpot[~done & (outputs > 1)] = np.inf
    started = ~np.isnan(run.start_s)
    wait = np.where(started, run.start_s, until_s) - arrival
    last = float(np.nanmax(run.end_s)) if done.any() else until_s
    span = max((until_s if run.left else last) - run.begin_s, 1e-300)
    copies = plan.replicas + plan.apart
    busy = sum(min(end, until_s) - begin for begin, end, _ in run.work if begin < until_s)
    return Served(
        requests=int(came.sum()),
        finished=int(done.sum()),
        load_per_s=mean_load_per_s(plan.spec, run.requests.span_s),
        tokens=float(outputs[done].sum()),
        ttft_s=_or_never(run.first_s - arrival + way)[came],
        tpot_s=tpot[came],
        latency_s=_or_never(run.end_s - arrival + way)[came],
        in_flight=int((came & ~done).sum()),
        mean_wait_s=float(wait[started].mean()) if started.any() else math.nan,
        mean_queue=float(wait[came].sum()) / span,
        mean_batch=float(decoded.sum()) / span / plan.replicas,
        busy_frac=busy / (span * copies),
        way_s=float(way[done].mean()) if done.any() else plan.service.way_s,
        prefill_s=float((run.first_s - run.start_s)[done].mean()) if done.any() else math.nan,
        decode_s=float(decoded.mean()) if done.any() else math.nan,
    )


def _or_never(times: Floats) -> Floats:
    return np.where(np.isnan(times), np.inf, times)


def stretches_of_run(plan: ServingPlan, run: ServiceRun, begin_s: float, end_s: float) -> list[tuple[str, float, float, float]]:
    """Return rows (group, begin, end, power above idle [W]) that tile a service's time; each has the mean power of its stretch, so that the
    energy is exact."""
    if not end_s > begin_s:
        return []
    edges = np.linspace(begin_s, end_s, PIECES + 1)
    work = np.array(run.work, dtype=np.float64).reshape(-1, 3)
    seconds = np.maximum(work[:, 1] - work[:, 0], 1e-300)
    load, busy = (_upto(edges, work[:, 0], work[:, 1], weight) for weight in (work[:, 2] / seconds, np.ones(len(work))))
    width = np.diff(edges)
    watts = plan.draw_w(np.maximum(np.diff(load), 0.0) / width, np.maximum(np.diff(busy), 0.0) / width)
    return [(plan.group.name, float(a), float(b), float(w)) for a, b, w in zip(edges[:-1], edges[1:], watts, strict=True)]


def stretches_of_course(plan: ServingPlan, course: Course, begin_s: float) -> list[tuple[str, float, float, float]]:
    """Return the same rows of what is expected: those of the profile, or as many as there are of a run where they are fewer."""
    edges, watts = course.edges_s, course.draw_w
    if len(watts) > PIECES:
        energy = np.append(0.0, np.cumsum(watts * np.diff(edges)))
        few = np.linspace(0.0, edges[-1], PIECES + 1)
        edges, watts = few, np.diff(np.interp(few, edges, energy)) / np.diff(few)
    return [
        (plan.group.name, begin_s + float(a), begin_s + float(b), float(w)) for a, b, w in zip(edges[:-1], edges[1:], watts, strict=True)
    ]


def _upto(edges: Floats, begin_s: Floats, end_s: Floats, rate: Floats) -> Floats:
    """Return the integral up to each edge of what goes at a rate from begin to end."""
    times = np.concatenate([begin_s, end_s])
    order = np.argsort(times, kind="stable")
    times = times[order]
    rates = np.cumsum(np.concatenate([rate, -rate])[order])
    if not len(times):
        return np.zeros(len(edges))
    total = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(times))])
    return np.asarray(np.interp(edges, times, total))
