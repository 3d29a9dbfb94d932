"""How sure the figures of a service are: its steady state with passes that are as much quicker and slower as their error model allows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcsim.cost.service import Steady, steady
from hpcsim.cost.software import UNKNOWN_FAMILY_SIGMA
from hpcsim.cost.step_cost import COMMON_SIGMA, Z80, interval
from hpcsim.workload.serving import ServingPlan

__all__ = ["service_ranges"]

_AS_TRAINED = {"weights": "matmul", "cache": "attention", "head": "logits"}
"""Terms of a pass whose error is that of a term of a training step."""
_TIMES = ("ttft", "tpot", "latency")


def service_ranges(plan: ServingPlan, summary: Mapping[str, Any]) -> tuple[dict[str, tuple[float, float]], float]:
    """Return 80 % intervals of a service's latencies and largest load, and the deviation of the logarithm of its passes.

    The terms of a pass are as doubtful as those of a training step, and all of them by what not knowing the serving stack adds. The steady
    state is worked out again with passes at either end; latencies move by the ratio of its quantiles. What has no end above – a load that
    slow passes could not carry – has no interval.
    """
    terms: dict[str, Any] = {}
    for term, seconds in plan.step_terms.items():
        name = _AS_TRAINED.get(term, term)
        terms[name] = np.asarray(terms.get(name, 0.0) + seconds)
    _, high = interval(terms, common=math.hypot(COMMON_SIGMA, UNKNOWN_FAMILY_SIGMA))
    factor = float(high) / sum(plan.step_terms.values())
    quick, slow = (_scaled(plan, x) for x in (1.0 / factor, factor))
    found: dict[str, tuple[float, float]] = {}
    if "capacity_per_s" in summary:
        found["capacity_per_s"] = (slow.capacity_per_s, quick.capacity_per_s)
    if plan.peak.stable and slow.stable:
        for name in _TIMES:
            for q in (50, 95, 99):
                key = f"p{q}_{name}_s"
                if key in summary:
                    low_s, base_s, high_s = (_quantile(state, name, q / 100.0) for state in (quick, plan.peak, slow))
                    found[key] = (summary[key] * min(low_s / base_s, 1.0), summary[key] * max(high_s / base_s, 1.0))
    return found, math.log(factor) / Z80


def _quantile(state: Steady, name: str, q: float) -> float:
    times = getattr(state, f"{name}_s")
    return float(np.quantile(times[~np.isnan(times)], q, method="inverted_cdf"))


def _scaled(plan: ServingPlan, factor: float) -> Steady:
    """Return the steady state at the highest load with every pass longer by a factor."""
    p = plan.passes
    passes = dataclasses.replace(
        p, linear_s=p.linear_s * factor, head_s=p.head_s * factor, cache_s=p.cache_s * factor, host_s=p.host_s * factor, pair_s=p.pair_s * factor
    )  # fmt: skip
    demand = dataclasses.replace(plan.demand, attention_s=plan.demand.attention_s * factor)
    return steady(dataclasses.replace(plan.service, passes=passes), demand, plan.peak.load_per_s)
