"""Named quantities: the unit, label and meaning of every summary key, and how a value is shown to a reader.

The declared keys (:data:`SUMMARY`) come first; any other name is read by its unit suffix (``_s``, ``_bytes_per_s``, ``_usd`` …).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hpcsim.base.units import parse_quantity, readable

__all__ = ["SUMMARY", "Quantity", "brief", "label", "quantity", "scale", "show", "show_range"]


class Quantity(NamedTuple):
    """What a named number is."""

    name: str
    unit: str
    """SI symbol; ``"1"`` for a ratio, empty for a count."""
    dimension: str
    """Key of :data:`hpcsim.base.units.DIMENSIONS`, ``"fraction"``, ``"ratio"`` or ``"count"``."""
    label: str
    meaning: str
    machine: bool = False
    """Whether the value depends on the machine that ran hpcsim and so differs from run to run."""


_DECLARED = (
    ("makespan_s", "makespan", "First submission to last end."),
    ("wall_clock_s", "wall clock", "Time from start to end of the work."),
    ("node_time_s", "node time", "Wall clock times nodes: what is occupied and billed."),
    ("device_time_s", "device time", "Wall clock times accelerators."),
    ("step_time_s", "step time", "Wall clock of one optimizer step."),
    ("mfu_frac", "model FLOP utilisation", "Model FLOP over peak FLOP in the same time."),
    ("model_flop", "model FLOP", "Floating-point operations that the model itself needs, recomputation left out."),
    ("tokens_per_s", "throughput", "Tokens (or samples) trained per second; of services, tokens of answers per second."),
    (
        "goodput_frac",
        "goodput",
        "Share of the wall clock that advances the work; of services, share of the requests that keep every objective.",
    ),
    ("requests", "requests", "Requests that came; in an estimate, that are expected."),
    ("requests_finished", "requests answered", "Requests that got their whole answer."),
    ("replicas", "replicas", "Copies of the model that serve."),
    ("load_per_s", "load", "Requests per second, on average."),
    ("capacity_per_s", "largest load", "Requests per second above which the queue grows without end."),
    ("kept_load_per_s", "load that keeps the objectives", "Largest load at which every objective is expected to be kept."),
    ("p50_ttft_s", "first token, median", "Half of the requests get their first token sooner (TTFT)."),
    ("p95_ttft_s", "first token, 95th percentile", "95 % of the requests get their first token sooner (TTFT)."),
    ("p99_ttft_s", "first token, 99th percentile", "99 % of the requests get their first token sooner (TTFT)."),
    ("p50_tpot_s", "further tokens, median", "Half of the requests get each further token sooner, on their own average (TPOT)."),
    ("p95_tpot_s", "further tokens, 95th percentile", "95 % of the requests get each further token sooner, on their own average (TPOT)."),
    ("p99_tpot_s", "further tokens, 99th percentile", "99 % of the requests get each further token sooner, on their own average (TPOT)."),
    ("p50_latency_s", "whole answer, median", "Half of the requests get their whole answer sooner."),
    ("p95_latency_s", "whole answer, 95th percentile", "95 % of the requests get their whole answer sooner."),
    ("p99_latency_s", "whole answer, 99th percentile", "99 % of the requests get their whole answer sooner."),
    ("goodput_per_s", "goodput, requests", "Requests a second that keep every objective."),
    ("late_frac", "answers past their deadline", "Share of the answers that come after the deadline, or not at all."),
    ("mean_queue", "requests that wait", "On average over time."),
    ("mean_batch", "batch", "Requests that a replica decodes at once, on average over time."),
    ("contention_s", "lost to contention", "Seconds by which jobs took longer because they shared links or storage, summed over the jobs."),
    ("pipeline_time_s", "longest run of a pipeline", "Wall clock of the longest run of any data pipeline that ended."),
    ("pipeline_bytes", "data into pipelines", "Data that pipelines began with, all runs together."),
    ("kept_bytes", "data kept by pipelines", "What pipelines wrote to storage and still keep at the end, copies counted."),
    (
        "recovery_point_s",
        "recovery point",
        "What may be lost at worst, as time: since the begin of the last backup that is complete; of several pipelines the worst.",
    ),
    ("recovery_time_s", "recovery time", "Time to bring a backup back, alone; of several pipelines the longest."),
    ("security_time_s", "time for security", "What security and governance stages add to the pipelines' time, each run alone."),
    ("security_node_time_s", "node time for security", "Node-time of the work of security and governance stages, added time or not."),
    ("security_cost_usd", "cost of security", "Bill of the time that security adds, and of keeping its logs."),
    ("jobs", "jobs", "Jobs submitted."),
    ("jobs_finished", "jobs finished", "Jobs that ended as they should."),
    ("jobs_failed", "jobs failed", "Jobs that a failure ended."),
    ("jobs_running", "jobs still running", "Jobs that had not ended when the simulation did."),
    ("jobs_queued", "jobs still waiting", "Jobs that had not started when the simulation ended."),
    ("mean_wait_s", "mean wait", "Mean time from submission to start."),
    ("median_wait_s", "median wait", "Median time from submission to start."),
    ("p95_wait_s", "wait, 95th percentile", "95 % of the jobs wait less."),
    ("max_wait_s", "longest wait", "Longest time from submission to start."),
    ("mean_bounded_slowdown", "mean bounded slowdown", "Mean of max(1, (wait + run) / max(run, 10 s))."),
    ("utilisation_frac", "utilisation", "Busy processor-seconds over all processor-seconds of the makespan."),
    ("deadlines", "jobs with a deadline", "Jobs that should have ended by a time of their own."),
    ("deadlines_missed", "deadlines missed", "Jobs that ended after their deadline, or had not ended when the simulation did."),
    ("due_mean_wait_s", "mean wait, jobs with a deadline", "Mean wait of the jobs that have a deadline."),
    ("other_mean_wait_s", "mean wait, jobs without a deadline", "Mean wait of the jobs that have none."),
    ("steady_utilisation_frac", "steady utilisation", "Utilisation without the run-in and the drain."),
    ("p99_wait_s", "wait, 99th percentile", "99 % of the jobs wait less."),
    ("mean_response_s", "mean response", "Mean time from submission to end."),
    ("weighted_wait_s", "mean wait by processor time", "Mean wait, each job weighted by its processor-seconds."),
    ("mean_slowdown", "mean slowdown", "Mean of (wait + run) / run, unbounded."),
    ("median_bounded_slowdown", "bounded slowdown, median", "Median of max(1, (wait + run) / max(run, 10 s))."),
    ("p95_bounded_slowdown", "bounded slowdown, 95th percentile", "95 % of the jobs are slowed down less."),
    ("p99_bounded_slowdown", "bounded slowdown, 99th percentile", "99 % of the jobs are slowed down less."),
    ("weighted_bounded_slowdown", "mean bounded slowdown by processor time", "Mean, each job weighted by its processor-seconds."),
    ("capacity_loss_frac", "loss of capacity", "Idle processor-seconds while a waiting job would have fitted."),
    ("fragmentation_frac", "too few left over", "Idle processor-seconds while jobs waited and none would have fitted."),
    ("fairness_jain_frac", "fairness over users", "Jain's index of the users' mean bounded slowdowns."),
    ("overtaken_frac", "jobs overtaken", "Share of the jobs that some later one passed."),
    ("envious_frac", "jobs with reason for envy", "Passed by a later job that asked for no fewer processors."),
    ("starved_jobs", "starved jobs", "Waited over a day and over ten times their own estimate."),
    ("energy_per_job_j", "energy per job", "Energy of the pool over its jobs."),
    ("wait_s", "wait", "Time from submission to start."),
    ("short_s", "too few free", "Part of the wait in which fewer processors were free than the job asked for."),
    ("kept_s", "kept for others", "Part of the wait in which enough were free, and the policy kept them."),
    ("jobs_ahead", "jobs ahead", "Jobs submitted before it that started during its wait."),
    ("jobs_passed", "jobs that passed it", "Jobs submitted after it that started before it."),
    ("unpassed_wait_s", "wait had none passed it", "Wait of the job had the jobs that passed it not been there."),
    (
        "unpassed_start_s",
        "start had none passed it, log time",
        "Start of the job had the jobs that passed it not been there; seconds of the log.",
    ),
    ("unasked_frac", "idle while nobody waits", "Idle processor-seconds while no job waited."),
    ("queued_time_frac", "time in which jobs wait", "Share of the time in which at least one job waited."),
    ("busy_waiting_frac", "busy while jobs wait", "Busy processor-seconds over all processor-seconds of the time in which a job waited."),
    ("started_frac", "draws in which it starts", "Share of the draws in which the job starts within two weeks."),
    ("it_energy_j", "energy, IT", "Energy of nodes, network and storage."),
    ("facility_energy_j", "energy, facility", "Energy with cooling and power distribution."),
    ("switched_off_frac", "node time switched off", "Node-seconds in which nodes were off, over all node-seconds of their group."),
    (
        "data_hit_frac",
        "data found on the node",
        "Nodes of jobs that had the data set that the job reads, over all nodes of jobs that read one.",
    ),
    ("staged_bytes", "data staged", "Bytes that were brought to nodes before jobs worked."),
    ("boots", "boots", "Times that a node was switched on again."),
    ("device_tdp_energy_j", "accelerators at TDP", "Energy of the accelerators if each drew its thermal design power throughout."),
    ("peak_power_w", "peak power", "Largest power of the facility."),
    ("carbon_kg_co2e", "carbon", "Emissions of the electricity used."),
    ("device_tdp_carbon_kg_co2e", "carbon of accelerators at TDP", "Emissions of the accelerators' energy by thermal design power."),
    (
        "embodied_kg_co2e",
        "carbon of making the nodes",
        "The horizon's share of the carbon of making all nodes, over their life; beside that of electricity.",
    ),
    ("water_l", "water", "Water that cooling evaporates."),
    ("cost_usd", "cost", "Sum of the bill."),
    ("electricity_usd", "electricity", "Electricity of the pool, by the hour."),
    (
        "cost_per_mtoken_usd",
        "cost per million tokens",
        "Bill over millions of tokens trained; of a service, its own bill over those of its answers.",
    ),
    (
        "cost_per_device_hour_usd",
        "cost per accelerator-hour",
        "Bill, all its parts, over the accelerator-hours in use: those of runs, tasks and batch jobs.",
    ),
    ("cost_per_request_usd", "cost per request", "Devices of the service and their electricity, over the requests that were answered."),
    (
        "energy_per_request_j",
        "energy per request",
        "Energy of the nodes of the service with cooling, over the requests that were answered.",
    ),
    ("cost_per_job_usd", "cost per job", "Bill over the batch jobs that finished."),
    ("peak_memory_bytes", "peak memory per device", "Memory use of the fullest device."),
    ("memory_capacity_bytes", "memory of a device", "Memory that one device has."),
    ("goals", "goals", "Goals of the plan."),
    ("goals_reached", "goals reached", "Goals that the plan reaches within its limits."),
    ("combinations", "combinations", "Combinations that were computed."),
    ("combinations_feasible", "combinations that keep every limit", "Each goal taken alone."),
    ("finalists_simulated", "finalists simulated", "Combinations that were also simulated event by event."),
    ("simulated_wall_clock_s", "wall clock, simulated", "Mean run time of the choice over the simulations."),
    ("outlay_usd", "money bound", "Purchases, and contracts over their whole term."),
    ("racks", "racks", "Racks of the plan."),
    ("verified_cases", "cases", "Cases that were held against a prediction."),
    ("verified_groups", "groups", "Sources or systems that they come from."),
    ("refused_frac", "refused", "Share of the cases that hpcsim does not model."),
    ("median_of_group_medians_frac", "median error over groups", "Median over the groups of their median absolute relative error."),
    (
        "median_of_group_p90_frac",
        "90th percentile over groups",
        "Median over the groups of the 90th percentile of their absolute relative error.",
    ),
    ("interval_coverage_frac", "inside the 80 % interval", "Share of the measurements inside the predicted 80 % interval."),
    ("layout_kendall_tau", "ranking of layouts", "Median over the groups of Kendall's rank correlation of the layouts of one job."),
    (
        "scaling_median_abs_error_frac",
        "median error of the speed-up",
        "Median absolute error of the speed-up from one device count to the next.",
    ),
    ("memory_median_abs_error_frac", "median error of the peak memory", "Over the cases that state it."),
    ("differing_starts", "differing starts", "Jobs that start at another time than in the reference."),
    ("raw_median_abs_error_frac", "median error before", "Median absolute relative error of the measurements before the fit."),
    ("fitted_median_abs_error_frac", "median error after", "The same after the fit, on the measurements that were fitted."),
    ("left_out_median_abs_error_frac", "median error, left out", "The same, each measurement predicted by a fit to the others."),
    ("events", "events", "Events that the simulation handled."),
    ("points", "points", "Combinations that were run, each with every seed."),
    ("points_failed", "points that failed", "Combinations that could not be run; the table says why."),
    ("seeds", "seeds", "Replicates of every combination."),
    ("cpu_s", "processor time of hpcsim", "Processor seconds of the simulation itself."),
    ("wall_s", "run time of hpcsim", "Wall clock of the whole command."),
)

_OCCUPANCY = {"node_time_s": "node-h", "device_time_s": "device-h"}
"""What is billed is counted in hours, not in days."""

_MACHINE = frozenset({"cpu_s", "wall_s", "search_cpu_s"})

_SUFFIXES: tuple[tuple[str, str, str], ...] = (
    ("_flop_per_s", "FLOP/s", "compute rate"),
    ("_bytes_per_s", "B/s", "data rate"),
    ("_usd_per_s", "USD/s", "price per time"),
    ("_tokens_per_s", "tokens/s", "ratio"),
    ("_samples_per_s", "samples/s", "ratio"),
    ("_per_s", "1/s", "ratio"),
    ("_kg_co2e_per_j", "kg/J", "carbon intensity"),
    ("_usd_per_j", "USD/J", "price of energy"),
    ("_kg_co2e", "kg", "carbon mass"),
    ("_bytes", "B", "data size"),
    ("_frac", "1", "fraction"),
    ("_flop", "FLOP", "work"),
    ("_usd", "USD", "money"),
    ("_w", "W", "power"),
    ("_j", "J", "energy"),
    ("_l", "L", "litres"),
    ("_s", "s", "time"),
    ("slowdown", "1", "ratio"),
    ("ratio", "1", "ratio"),
)


def _by_suffix(name: str) -> tuple[str, str, str]:
    for suffix, unit, dimension in _SUFFIXES:
        if f"_{name}".endswith(suffix):
            stem = name.removesuffix(suffix) if suffix.startswith("_") else name
            return unit, dimension, stem.replace("_", " ") or name
    return "", "count", name.replace("_", " ")


def _declare(name: str, text: str, meaning: str) -> Quantity:
    unit, dimension, _ = _by_suffix(name)
    return Quantity(name, unit, dimension, text, meaning, name in _MACHINE)


SUMMARY: dict[str, Quantity] = {row[0]: _declare(*row) for row in _DECLARED}
"""The summary keys in the order in which they are shown."""


def quantity(name: str) -> Quantity:
    """Return what ``name`` is: declared, or read by the unit suffix of its last dotted part.

    >>> quantity("network_w").dimension
    'power'
    """
    if name in SUMMARY:
        return SUMMARY[name]
    of, _, last = name.rpartition(".")
    if last in SUMMARY:
        return SUMMARY[last]._replace(name=name, label=f"{of}: {SUMMARY[last].label}")
    unit, dimension, text = _by_suffix(last)
    return Quantity(name, unit, dimension, text, "", name in _MACHINE)


def label(name: str) -> str:
    """Return the name for a reader.

    >>> label("mean_wait_s")
    'mean wait'
    """
    return quantity(name).label


def show(name: str, value: Any, *, digits: int = 4) -> str:
    """Return a value for a reader, scaled to ``digits`` significant digits and with its unit.

    >>> show("mean_wait_s", 7200.0), show("mfu_frac", 0.412), show("jobs_finished", 28481)
    ('2 h', '41.2 %', '28,481')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    number = float(value)
    if math.isnan(number):
        return "–"
    what = quantity(name)
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if what.dimension == "fraction":
        return f"{100 * number:.3g} %" if abs(number) < 0.9995 else f"{100 * number:.4g} %"
    if name in _OCCUPANCY and number >= 36_000:
        hours = number / 3600
        return f"{hours:,.0f} {_OCCUPANCY[name]}" if hours >= 1000 else f"{hours:.{digits}g} {_OCCUPANCY[name]}"
    if what.dimension == "money" and 0 < abs(number) < 0.1:
        return f"{number:.3g} USD"
    if what.dimension in ("count", "ratio", "litres"):
        unit = "" if what.unit in ("", "1") else f" {what.unit}"
        return f"{_plain(number, digits)}{unit}"
    return readable(number, what.dimension, digits)


def brief(name: str, value: float) -> str:
    """Return a value as a headline says it: three significant digits, large sums of money in words.

    >>> brief("cost_usd", 1_877_198.0), brief("wall_clock_s", 9_184_000.0)
    ('1.88 million USD', '106 days')
    """
    if quantity(name).dimension == "money" and abs(value) >= 999_500:
        divisor, word = (1e9, "billion") if abs(value) >= 999_500_000 else (1e6, "million")
        scaled = value / divisor
        return f"{scaled:,.0f} {word} USD" if abs(scaled) >= 1000 else f"{scaled:.3g} {word} USD"
    if quantity(name).dimension == "money" and abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f} USD"
    return show(name, value, digits=3)


def show_range(name: str, low: float, high: float) -> str:
    """Return an interval for a reader, the unit once where both ends have the same.

    >>> show_range("step_time_s", 3.2, 3.9)
    '3.2 – 3.9 s'
    """
    first, last = show(name, low, digits=3), show(name, high, digits=3)
    (a, _, unit), (_, _, other) = first.rpartition(" "), last.rpartition(" ")
    return f"{a if a and unit == other else first} – {last}"


def scale(name: str, largest: float) -> tuple[float, str]:
    """Return the divisor and the unit symbol in which values up to ``largest`` read well.

    >>> scale("total_w", 2.4e6)
    (1000000.0, 'MW')
    """
    what = quantity(name)
    if what.dimension == "fraction":
        return 0.01, "%"
    if what.dimension in ("count", "ratio", "litres"):
        return 1.0, "" if what.unit == "1" else what.unit
    if what.dimension == "money":
        return next(
            ((divisor, f"{word} USD") for divisor, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")) if largest >= divisor),
            (1.0, "USD"),
        )
    if not math.isfinite(largest) or largest <= 0:
        return 1.0, what.unit
    if name in _OCCUPANCY and largest >= 36_000:
        return 3600.0, _OCCUPANCY[name]
    unit = readable(largest, what.dimension).rpartition(" ")[2]
    return parse_quantity(f"1 {unit}", what.dimension), unit


def _plain(number: float, digits: int) -> str:
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    text = f"{number:,.{digits}g}"
    return text if "e" not in text or abs(number) < 1 else f"{number:,.0f}"
