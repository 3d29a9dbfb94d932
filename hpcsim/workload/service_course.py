"""What is expected of a service over time: every stretch of its profile as a steady state, with the backlog that full ones leave to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.cost.service import steady
from hpcsim.workload.requests import load_parts
from hpcsim.workload.serving import ServingPlan

__all__ = ["Course", "course_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """What is expected of a service while requests arrive.

    Attributes
    ----------
    edges_s : array, shape (stretches + 1,)
        From the begin of the service.
    draw_w : array, shape (stretches,)
        Power above idle of all replicas.
    requests, answered : float
        Those that come, and those that have been answered when the last one comes.
    batch, busy_frac : float
        Requests that a replica decodes and share of the time in which it works, on average over time.
    """

    edges_s: Floats
    draw_w: Floats
    requests: float
    answered: float
    batch: float
    busy_frac: float


def course_of(plan: ServingPlan) -> Course:
    """Return what is expected of a service while requests arrive.

    Notes
    -----
    A stretch of the profile is in the steady state of its load λ. Above the capacity c what cannot be served queues up; the backlog is
    worked off at c in the stretches behind, over B/(c − λ) each at most, and a replica is full for so long. What is under way at the end of a
    stretch is not carried over: parts that are short against a request's stay are a little too idle.
    """
    edges, loads = load_parts(plan.spec, plan.spec.lasts_s)
    width, capacity = np.diff(edges), plan.steady.capacity_per_s
    total = np.cumsum((loads - capacity) * width)
    behind = total - np.minimum(np.minimum.accumulate(total), 0.0)
    spare = np.where(loads < capacity, capacity - loads, 1.0)
    full_s = np.where(loads < capacity, np.minimum(width, np.append(0.0, behind[:-1]) / spare), width)
    kinds, at = np.unique(loads, return_inverse=True)
    own = np.array([_at_load(plan, float(load)) for load in kinds])[at]
    most = np.array(_at_load(plan, capacity) if full_s.any() else (0.0, 0.0, 0.0))
    share = (full_s / width)[:, None]
    load, busy, batch = (share * most + (1.0 - share) * own).T
    requests = float((loads * width).sum())
    return Course(
        edges_s=edges,
        draw_w=plan.draw_w(load, busy),
        requests=requests,
        answered=requests - float(behind[-1]),
        batch=float(np.average(batch, weights=width)),
        busy_frac=float(np.average(busy, weights=width)) / (plan.replicas + plan.apart),
    )


def _at_load(plan: ServingPlan, load_per_s: float) -> tuple[float, float, float]:
    """Return the mean of what draws power (see ``ServingPlan.draw_w``) and the batch, in the steady state of a load."""
    if not load_per_s > 0:
        return 0.0, 0.0, 0.0
    known = {found.load_per_s: found for found in (plan.steady, plan.peak)}
    found = known.get(load_per_s) or steady(plan.service, plan.demand, load_per_s, most_per_s=plan.steady.capacity_per_s)
    return *plan.mean_work(found), found.batch
