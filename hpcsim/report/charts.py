"""The charts of a result: every one that its tables can give, in the order in which a reader asks."""

from __future__ import annotations

import pandas as pd

from hpcsim.report import bars
from hpcsim.report.accuracy import accuracy_charts
from hpcsim.report.changes import change_charts
from hpcsim.report.comparison import comparison
from hpcsim.report.failures import failures
from hpcsim.report.pipelines import pipelines
from hpcsim.report.plan import plan_charts
from hpcsim.report.policies import busiest_stretch, by_size, detail, over_time, users
from hpcsim.report.power import node_power, power
from hpcsim.report.schedule import gantt, pool_unit, slowdowns, utilisation, waits
from hpcsim.report.sensitivity import sensitivity_charts
from hpcsim.report.services import latencies
from hpcsim.report.style import Chart
from hpcsim.report.sweep import sweep_charts
from hpcsim.report.tasks import tasks
from hpcsim.report.topology import flow_timeline, link_load, link_use, topology
from hpcsim.results.record import Results

__all__ = ["charts"]


def charts(results: Results) -> list[Chart]:
    """Return the charts of a result; a table that is missing or empty gives none.

    Parameters
    ----------
    results : Results

    Returns
    -------
    list of Chart
        Published against predicted first; then time, memory, energy, money; then the schedule. A replay under several policies has
        its waits, slowdowns, use, queues and users side by side, and the same stretch of the schedule under the best and the worst of them.
        Utilisation is drawn where it changes or anything waits.
    """
    tables = {name: table for name, table in results.tables.items() if len(table)}
    found: list[Chart] = []
    if "comparison" in tables:
        found.append(comparison(tables["comparison"]))
    found += plan_charts(tables)
    if "compare_figures" in tables and "compare_terms" in results.tables:
        found += change_charts(results)
    if "uncertain" in tables:
        found += sensitivity_charts(results)
    elif "sweep" in tables:
        found += sweep_charts(tables["sweep"], results.provenance)
    if "verify_cases" in tables and "verify_groups" in tables:
        found += accuracy_charts(tables["verify_cases"], tables["verify_groups"], tables.get("verify_scaling"))
    if "services" in tables and "latencies" in results.tables:
        found.append(latencies(results.tables["latencies"], tables["services"]))
    if "breakdown" in tables:
        found.append(bars.breakdown(tables["breakdown"]))
    if "memory" in tables:
        found.append(bars.memory(tables["memory"], _capacities(tables)))
    if "failures" in tables and (tables["failures"]["name"] != "jobs").any():
        found.append(failures(tables["failures"]))
    if "tasks" in tables:
        found.append(tasks(tables["tasks"]))
    if "stages" in tables:
        found.append(pipelines(tables["stages"]))
    found += _of_schedule(results)
    if "power" in tables:
        found.append(power(tables["power"]))
        if "node_power" in tables and len(tables["node_power"]) and len(tables["power"]):
            found.append(node_power(tables["node_power"], tables["node_states"], tables["power"]))
    if "energy" in tables and len(tables["energy"]) > 1:
        found.append(bars.energy(tables["energy"]))
    if "costs" in tables:
        found.append(bars.costs(tables["costs"]))
    found += _of_fabric(results)
    return found


def _capacities(tables: dict[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Return the memory that a device has, by training job and service."""
    keys = ["name", "memory_capacity_bytes"]
    found = [tables[name][keys] for name in ("training", "services") if name in tables]
    return pd.concat(found, ignore_index=True) if found else None


def _of_fabric(results: Results) -> list[Chart]:
    found: list[Chart] = []
    tables = {name: table for name, table in results.tables.items() if len(table)}
    if "fabric_map" in tables and "fabric" in tables:
        found.append(topology(tables["fabric_map"], tables["fabric"].iloc[0].to_dict()))
    if "links" in tables and len(tables["links"]) > 1:
        found.append(link_load(tables["links"]))
    if "link_use" in tables:
        found.append(link_use(tables["link_use"]))
    if "flows" in tables:
        found.append(flow_timeline(tables["flows"]))
    return found


def _of_schedule(results: Results) -> list[Chart]:
    jobs, states = results.tables.get("jobs"), results.tables.get("states")
    policies, shares, spans = (results.tables.get(name) for name in ("policies", "shares", "spans"))
    several = policies is not None and len(policies) > 1
    found: list[Chart] = []
    if jobs is not None and len(jobs):
        if policies is not None and several:
            found.append(slowdowns(policies))
        batch = jobs[jobs["kind"] == "batch"]
        if len(batch) > 1 and not (batch["wait_s"] == 0).all():
            found.append(waits(batch))
        if policies is not None and len(batch) > 1 and batch["processors"].nunique() > 1:
            found.append(by_size(batch))
    if policies is not None and several and jobs is not None and states is not None and "policy" in states.columns and len(states):
        found.append(over_time(states))
        if shares is not None and (shares["kind"] == "user").any():
            found.append(users(shares, policies))
        ranked = policies.sort_values(["mean_bounded_slowdown", "policy"], kind="stable")["policy"].astype(str).tolist()
        span = busiest_stretch(jobs, states, ranked[-1])
        return [*found, *(detail(jobs, states, name, span, spans) for name in (ranked[0], ranked[-1]))]
    if jobs is not None and len(jobs):
        policy = "" if policies is None or "policy" not in jobs.columns else str(jobs["policy"].iloc[0])
        found.append(gantt(jobs, states, policy=policy, spans=spans))
    if states is not None and not _steady(states):
        found.append(utilisation(states, unit=pool_unit(jobs) if jobs is not None else "processors"))
    return found


def _steady(states: pd.DataFrame) -> bool:
    """Return whether nothing ever changes: all groups busy alike throughout, and no job waits."""
    same = states.groupby("group")[["busy", "idle", "down"]].nunique().max().max() if len(states) else 1
    return bool(same <= 1 and not states["queued_jobs"].any())
