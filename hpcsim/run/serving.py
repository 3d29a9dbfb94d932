"""Services in the results: their tables, their keys of the summary, their part of the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcsim.base.units import readable
from hpcsim.results.quantities import SUMMARY, brief
from hpcsim.run.accounting import Account
from hpcsim.run.prices import group_account
from hpcsim.run.record import Item, Record
from hpcsim.run.served import Served
from hpcsim.workload.serving import ServingPlan

__all__ = [
    "latency_rows",
    "request_terms",
    "service_answer",
    "service_machine",
    "service_memory",
    "service_rows",
    "service_summary",
    "services_of",
    "unanswered_notes",
]

QUANTILES = np.concatenate([np.arange(1, 100) / 100.0, [0.995, 0.999]])
_TIMES = ("ttft", "tpot", "latency")


def services_of(record: Record) -> list[tuple[Item, ServingPlan, Served]]:
    """Return the services that have begun, each with its plan and what became of it."""
    return [(item, item.plan, item.served) for item in record.items if isinstance(item.plan, ServingPlan) and item.served is not None]


def _quantile(times: Any, q: float) -> float:
    """Return what a share of the requests stay within: infinite where it falls among those that were not answered, NaN of none."""
    some = times[~np.isnan(times)]
    return float(np.quantile(some, q, method="inverted_cdf")) if len(some) else math.nan


def _times(served: Served, plan: ServingPlan, name: str) -> Any:
    """Return a measure of a service's requests; no first tokens where one pass gives the whole answer."""
    times = getattr(served, f"{name}_s")
    return times if plan.demand.steps or name == "latency" else times[:0]


def _figures(served: Served, plan: ServingPlan, span_s: float) -> dict[str, Any]:
    """Return the figures of a service that need no account."""
    found: dict[str, Any] = {"requests": served.requests, "requests_finished": served.finished}
    found["replicas"], found["load_per_s"], found["capacity_per_s"] = plan.replicas, served.load_per_s, plan.steady.capacity_per_s
    found["kept_load_per_s"] = plan.kept_load_per_s
    for name in _TIMES:
        for q in (50, 95, 99):
            reached = _quantile(_times(served, plan, name), q / 100)
            found[f"p{q}_{name}_s"] = reached if math.isfinite(reached) else math.nan
    share = served.share(plan)
    rate = served.finished / span_s if span_s > 0 else math.nan
    found |= {
        "goodput_frac": share,
        "goodput_per_s": share * rate,
        "late_frac": served.late_frac(plan),
        "mean_wait_s": served.mean_wait_s,
        "mean_queue": served.mean_queue,
        "mean_batch": served.mean_batch if plan.demand.steps else math.nan,
        "utilisation_frac": served.busy_frac,
        "tokens_per_s": served.tokens / span_s if span_s > 0 and plan.demand.steps else math.nan,
        "peak_memory_bytes": sum(plan.memory.values()),
        "memory_capacity_bytes": plan.memory_capacity_bytes,
    }
    return found


def _energy_j(item: Item, plan: ServingPlan, record: Record) -> float:
    """Return the energy of the nodes of a service while it holds them, with cooling; NaN where power is not known."""
    account, gap = group_account(plan.group, record.bound.cluster)
    if gap or plan.span_w is None:
        return math.nan
    span = item.stop_s(record.end_s) - item.start_s
    drawn = sum(watts * (end - begin) for _, begin, end, watts in item.stretches) + plan.nodes * account.idle_w * span
    return record.bound.cluster.site.pue * drawn


def _own_bill(item: Item, plan: ServingPlan, record: Record, done: Account, energy_j: float) -> float:
    """Return the bill of a service: its devices while it holds them, and their electricity with cooling where the price does not cover that."""
    cluster = record.bound.cluster
    price = cluster.prices.get(plan.group.name)
    site = cluster.site
    first = len(record.batch.jobs) if record.batch else 0
    usd = float(done.job_usd[first + record.items.index(item)]) if price is not None else 0.0
    if price is not None and price.includes_electricity:
        return usd
    if site.electricity_usd_per_j is None:
        return usd if price is not None else math.nan
    return usd + energy_j * site.electricity_usd_per_j


def service_rows(record: Record, done: Account) -> dict[str, list[Any]]:
    """Return the columns of the table of services."""
    rows = []
    for item, plan, served in services_of(record):
        span = plan.spec.lasts_s if record.kind == "estimate" else item.stop_s(record.end_s) - item.start_s
        energy = _energy_j(item, plan, record)
        usd = _own_bill(item, plan, record, done, energy)
        answered = served.finished or math.nan
        rows.append(
            {
                "name": plan.name,
                "model": plan.network.id,
                "group": plan.group.name,
                "nodes": plan.nodes,
                "prefill_replicas": plan.apart,
                "tp": plan.tp,
                "weights": plan.replica.weights,
                "slots": plan.slots,
                **_figures(served, plan, span),
                "ttft_limit_s": plan.spec.objectives.ttft,
                "tpot_limit_s": plan.spec.objectives.tpot,
                "deadline_s": plan.spec.objectives.deadline,
                "binds": plan.binds.replace("_", " "),
                "energy_j": energy,
                "energy_per_request_j": energy / answered,
                "cost_usd": usd,
                "cost_per_request_usd": usd / answered,
                "cost_per_mtoken_usd": usd / served.tokens * 1e6 if served.tokens and plan.demand.steps else math.nan,
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def latency_rows(record: Record) -> dict[str, list[Any]]:
    """Return the columns of the table of latency quantiles."""
    rows = []
    for _, plan, served in services_of(record):
        for name in _TIMES:
            times = _times(served, plan, name)
            some = times[~np.isnan(times)]
            if len(some):
                found = np.quantile(some, QUANTILES, method="inverted_cdf")
                rows += [(plan.name, name, q, t) for q, t in zip(QUANTILES.tolist(), found.tolist(), strict=True) if math.isfinite(t)]
    return {key: [row[k] for row in rows] for k, key in enumerate(("name", "measure", "quantile_frac", "time_s"))}


def service_memory(plan: ServingPlan) -> list[tuple[str, str, float]]:
    """Return rows (name, term, bytes) of what one device of a service holds."""
    return [(plan.name, term, size) for term, size in plan.memory.items() if size > 0]


def request_terms(served: Served) -> dict[str, float]:
    """Return where the time of a mean request goes [s]."""
    terms = {"way": served.way_s, "wait": served.mean_wait_s, "prefill": served.prefill_s, "decode": served.decode_s}
    return {key: value for key, value in terms.items() if value > 0}


def service_summary(record: Record, done: Account, summary: dict[str, Any]) -> None:
    """Add what services did: of a single one all its figures, of several their sums and shares."""
    found = services_of(record)
    if not found:
        return
    if len(found) == 1 and len(record.items) == 1 and not record.batch:
        rows = {key: column[0] for key, column in service_rows(record, done).items()}
        kept = [key for key in rows if key in SUMMARY and key not in ("cost_usd", "energy_j")]
        summary |= {
            key: rows[key] for key in kept if rows[key] is not None and not (isinstance(rows[key], float) and math.isnan(rows[key]))
        }
        if "cost_usd" not in summary:
            for key in ("cost_per_request_usd", "cost_per_mtoken_usd"):
                summary.pop(key, None)
        return
    rows = service_rows(record, done)
    for k, name in enumerate(rows["name"]):
        for key in ("replicas", "p95_ttft_s", "p95_latency_s", "late_frac", "energy_per_request_j", "cost_per_request_usd"):
            value = rows[key][k]
            if not (isinstance(value, float) and math.isnan(value)):
                summary[f"{name}.{key}"] = value
    came = sum(served.requests for _, _, served in found)
    summary["requests"], summary["requests_finished"] = came, sum(served.finished for _, _, served in found)
    for key, shares in (
        ("goodput_frac", [(served.share(plan), served.requests) for _, plan, served in found]),
        ("late_frac", [(served.late_frac(plan), served.requests) for _, plan, served in found]),
    ):
        known = [(share, n) for share, n in shares if not math.isnan(share) and n]
        if known:
            summary[key] = sum(share * n for share, n in known) / sum(n for _, n in known)


def service_answer(plan: ServingPlan, served: Served, summary: Mapping[str, Any]) -> str:
    """Return a service's part of the answer, with what an answer takes where the summary has that."""
    device = plan.group.accelerator.id if plan.group.accelerator else plan.group.name
    copies = f"{plan.replicas} replica{'s' * (plan.replicas != 1)}"
    copies += f" and {plan.apart} for prefills" if plan.apart else ""
    text = f"{plan.name} serves {plan.network.id} to {served.load_per_s:.4g} requests a second on {copies} of {plan.tp} {device}"
    if not len(served.latency_s):
        return f"{text}, which can serve {plan.steady.capacity_per_s:.4g}: the queue grows without end"
    parts = []
    if plan.demand.steps:
        first, further = (_quantile(times, 0.95) for times in (served.ttft_s, served.tpot_s))
        parts.append(f"95 % get their first token {_within(first)}")
        if math.isfinite(further):
            parts.append(f"further ones every {readable(further, 'time', 3)}")
        elif math.isfinite(first):
            parts.append("and all further ones not within the time simulated")
    else:
        parts.append(f"95 % get their answer {_within(_quantile(served.latency_s, 0.95))}")
    if served.in_flight:
        parts.append(f"{served.in_flight:,} of {served.requests:,} are unanswered at the end")
    late = served.late_frac(plan)
    goals = plan.spec.objectives
    if not math.isnan(late):
        parts.append(f"{_share(late)} come after their deadline of {readable(goals.deadline or 0.0, 'time', 3)}")
    elif goals.ttft is not None or goals.tpot is not None:
        parts.append(f"{_share(served.share(plan))} keep the objectives")
    return f"{text}: " + ", ".join(parts) + _takes(plan, summary)


def _takes(plan: ServingPlan, summary: Mapping[str, Any]) -> str:
    """Return what an answer takes, and of a service that is alone a million output tokens, on the nodes that the service holds."""
    known = {
        key: brief(key, float(value))
        for key in ("cost_per_request_usd", "energy_per_request_j")
        if (value := summary.get(f"{plan.name}.{key}", summary.get(key))) is not None
    }
    if not known:
        return ""
    dear = summary.get("cost_per_mtoken_usd") if "cost_per_request_usd" in known else None
    tokens = f" ({brief('cost_per_mtoken_usd', float(dear))} per million output tokens)" if dear is not None else ""
    parts = [words + (tokens if key == "cost_per_request_usd" else " with cooling") for key, words in known.items()]
    return f"; on the nodes of the service an answer takes {' and '.join(parts)}"


def service_machine(record: Record) -> str:
    """Return over which time a machine of nothing but services draws, and how many of its nodes they hold where some idle all the time.

    Ends with a comma and a space where something follows the machine.
    """
    span = readable(record.end_s - record.begin_s, "time", 3)
    there = sum(group.count for group in record.bound.cluster.groups.values())
    held = sum(plan.nodes for _, plan, _ in services_of(record))
    idle = f", {held:,} of its {there:,} nodes in use," if held < there else ""
    return f"In {span} the machine{idle}"


def _within(seconds: float) -> str:
    return f"within {readable(seconds, 'time', 3)}" if math.isfinite(seconds) else "not within the time simulated"


def unanswered_notes(record: Record) -> list[str]:
    """Say of services whose requests are not all answered how these count."""
    return [
        f"{plan.name}: {served.in_flight:,} of {served.requests:,} requests were not answered before the end. They count as later than any time "
        "(a first token that came counts), and quantiles that fall among them are left out."
        for _, plan, served in services_of(record)
        if served.in_flight
    ]


def _share(value: float) -> str:
    return f"{100.0 * value:.3g} %"
