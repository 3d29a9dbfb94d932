"""Made-up results of every kind, as a run would give them, for the tests of the report."""

from __future__ import annotations

import heapq

import numpy as np

from hpcsim.results import Results, frame
from hpcsim.results.provenance import fingerprint, provenance

HOUR, DAY = 3600.0, 86400.0


def _provenance(seed=1, **extra):
    return provenance(scenario_sha256=fingerprint({"name": "sample"}), seed=seed, catalog=["a100-sxm-80gb", "bloom-176b"], **extra)


def first_come(jobs=400, processors=128, seed=7):
    """Return (submit, start, run, size) of jobs served first come, first served on one pool."""
    random = np.random.default_rng(seed)
    submit = np.cumsum(random.exponential(900.0, jobs))
    run = np.exp(random.normal(7.6, 1.4, jobs))
    size = np.minimum(2 ** random.integers(0, 7, jobs), processors)
    start = np.zeros(jobs)
    free, now, running = processors, 0.0, []
    for i in range(jobs):
        now = max(now, submit[i])
        while running and running[0][0] <= now:
            free += heapq.heappop(running)[1]
        while free < size[i]:
            now, back = heapq.heappop(running)
            free += back
        start[i] = now
        free -= size[i]
        heapq.heappush(running, (now + run[i], size[i]))
    return submit, start, run, size


def jobs_table(count=400, processors=128, seed=7, **extra):
    submit, start, run, size = first_come(count, processors, seed)
    wait = start - submit
    return frame(
        "jobs",
        {
            "job_id": np.arange(1, count + 1),
            "kind": "batch",
            "group": "cpu",
            "user": [f"user{i % 9}" for i in range(count)],
            "submit_s": submit,
            "start_s": start,
            "end_s": start + run,
            "wait_s": wait,
            "run_s": run,
            "estimate_s": run * 2,
            "processors": size,
            "nodes": size,
            "status": "finished",
            "bounded_slowdown": np.maximum(1, (wait + run) / np.maximum(run, 10)),
            "device_s": run * size,
            "cost_usd": run * size / HOUR * 0.04,
            **extra,
        },
    )


def states_table(jobs, processors=128, group="cpu"):
    submit, start, end = (jobs[key].to_numpy(float) for key in ("submit_s", "start_s", "end_s"))
    size = jobs["processors"].to_numpy(float)
    edges = np.unique(np.concatenate([[0.0], submit, start, end]))
    at = edges[:-1, None]
    busy = ((start <= at) & (end > at)) @ size
    waiting = (submit <= at) & (start > at)
    return frame(
        "states",
        {
            "group": group,
            "start_s": edges[:-1],
            "end_s": edges[1:],
            "busy": busy.astype(int),
            "idle": (processors - busy).astype(int),
            "down": np.zeros(len(busy), dtype=int),
            "queued_jobs": waiting.sum(axis=1),
            "queued_processors": (waiting @ size).astype(int),
        },
    )


def power_table(states, busy_w=210.0, idle_w=120.0):
    busy, idle = states["busy"].to_numpy(float), states["idle"].to_numpy(float)
    compute, standing = busy * busy_w, (busy + idle) * idle_w
    network, storage = np.full(len(busy), 900.0), np.full(len(busy), 1400.0)
    cooling = 0.25 * (compute + standing + network + storage)
    return frame(
        "power",
        {
            "start_s": states["start_s"],
            "end_s": states["end_s"],
            "compute_w": compute,
            "idle_w": standing,
            "network_w": network,
            "storage_w": storage,
            "cooling_w": cooling,
            "total_w": compute + standing + network + storage + cooling,
        },
    )


def energy_table(power):
    span = (power["end_s"] - power["start_s"]).to_numpy(float)
    names = ["compute", "idle", "network", "storage", "cooling"]
    joules = np.array([float((power[f"{name}_w"].to_numpy(float) * span).sum()) for name in names])
    return frame("energy", {"component": names, "energy_j": joules, "carbon_kg_co2e": joules / 3.6e6 * 0.2})


def sources_table():
    rows = [
        ("cluster.nodes.a100", "a100-sxm-80gb", "peak, bf16", "312", "TFLOP/s", "NVIDIA A100 datasheet, 2020", "read"),
        ("cluster.nodes.a100", "a100-sxm-80gb", "idle power", "55", "W", "typical reading of nvidia-smi", "remembered"),
        ("workload.training.bloom", "bloom-176b", "layers", "70", None, "BigScience, BLOOM, arXiv:2211.05100, table 3", "read"),
        ("cluster.site.carbon", "site", "carbon intensity", "57", "g/kWh", "given in the scenario", "given"),
    ]
    keys = ("path", "name", "field", "value", "unit", "source", "kind")
    return frame("sources", {key: [row[i] for row in rows] for i, key in enumerate(keys)})


BREAKDOWN = {
    "matrix products": 61.2,
    "recomputation": 18.4,
    "pipeline bubble": 9.7,
    "attention": 6.2,
    "tensor-parallel communication": 5.1,
    "data-parallel communication": 2.4,
    "optimizer step": 1.1,
    "pipeline communication": 0.6,
    "embedding and loss": 0.5,
}


def training_results():
    step = sum(BREAKDOWN.values())
    steps, devices = 87_264, 384
    span = step * steps
    terms = {"weights": 14.7e9, "gradients": 14.7e9, "optimizer state": 22.0e9, "activations": 7.9e9, "logits": 1.2e9, "reserve": 1.5e9}
    training = frame(
        "training",
        {
            "name": ["bloom"],
            "model": "bloom-176b",
            "group": "a100",
            "devices": devices,
            "dp": 8,
            "tp": 4,
            "pp": 12,
            "vpp": 1,
            "cp": 1,
            "ep": 1,
            "micro_batch": 2,
            "zero_stage": 1,
            "recompute": "full",
            "global_batch": 2048,
            "sequence": 2048,
            "precision": "bf16",
            "steps": steps,
            "step_time_s": step,
            "tokens_per_s": 2048 * 2048 / step,
            "mfu_frac": 0.372,
            "peak_memory_bytes": sum(terms.values()),
            "memory_capacity_bytes": 80e9,
            "checkpoints": 940,
            "failures": 14,
            "lost_s": 31 * HOUR,
            "goodput_frac": 0.988,
        },
    )
    jobs = frame(
        "jobs",
        {
            "job_id": [1],
            "name": "bloom",
            "kind": "training",
            "group": "a100",
            "submit_s": 0.0,
            "start_s": 0.0,
            "end_s": span,
            "wait_s": 0.0,
            "run_s": span,
            "processors": devices,
            "nodes": 48,
            "status": "finished",
            "device_s": span * devices,
        },
    )
    states = frame(
        "states",
        {"group": ["a100"], "start_s": 0.0, "end_s": span, "busy": devices, "idle": 0, "down": 0, "queued_jobs": 0, "queued_processors": 0},
    )
    power = power_table(states, busy_w=330.0, idle_w=95.0)
    energy = energy_table(power)
    total_j, carbon = float(energy["energy_j"].sum()), float(energy["carbon_kg_co2e"].sum())
    costs = frame(
        "costs",
        {
            "item": ["accelerators", "electricity", "storage", "network"],
            "group": ["a100", None, "scratch", None],
            "quantity": [span * devices / HOUR, total_j / 3.6e6, 10_000.0, 48.0],
            "unit": ["GPU h", "kWh", "TB month", "ports"],
            "usd": [span * devices / HOUR * 1.8, total_j / 3.6e6 * 0.12, 42_000.0, 9_300.0],
        },
    )
    comparison = frame(
        "comparison",
        {
            "metric": ["accelerator time", "wall clock", "energy (accelerators, by TDP)", "carbon (dynamic)"],
            "unit": ["GPU h", "days", "MWh", "t"],
            "published": [1_082_990.0, 117.0, 433.0, 24.7],
            "predicted": [span * devices / HOUR, span / DAY, total_j / 3.6e9, carbon / 1e3],
            "ratio": [span * devices / HOUR / 1_082_990.0, span / DAY / 117.0, total_j / 3.6e9 / 433.0, carbon / 1e3 / 24.7],
            "source": "Luccioni et al. 2022, arXiv:2211.02001, table 2",
        },
    )
    tables = {
        "training": training,
        "breakdown": frame(
            "breakdown",
            {
                "name": "bloom",
                "term": list(BREAKDOWN),
                "seconds": list(BREAKDOWN.values()),
                "fraction": [v / step for v in BREAKDOWN.values()],
            },
        ),
        "memory": frame("memory", {"name": "bloom", "term": list(terms), "size_bytes": list(terms.values())}),
        "jobs": jobs,
        "states": states,
        "power": power,
        "energy": energy,
        "costs": costs,
        "comparison": comparison,
        "sources": sources_table(),
    }
    return Results(
        name="bloom-176b",
        question="How long, how much energy and money does BLOOM-176B take on 384 A100?",
        answer=f"About {span / DAY:.0f} days on 384 A100, {total_j / 3.6e9:.0f} MWh and {float(costs['usd'].sum()) / 1e6:.2f} million USD.",
        kind="simulate",
        summary={
            "facility_energy_j": total_j,
            "wall_clock_s": span,
            "node_time_s": span * 48,
            "step_time_s": step,
            "mfu_frac": 0.372,
            "tokens_per_s": 2048 * 2048 / step,
            "goodput_frac": 0.988,
            "peak_power_w": float(power["total_w"].max()),
            "carbon_kg_co2e": carbon,
            "cost_usd": float(costs["usd"].sum()),
            "peak_memory_bytes": sum(terms.values()),
            "events": 1022,
            "wall_s": 0.412,
        },
        ranges={"step_time_s": (0.9 * step, 1.12 * step), "wall_clock_s": (0.9 * span, 1.12 * span)},
        tables=tables,
        notes=[
            "The published energy counts accelerators at their TDP.",
            "Checkpoints are written synchronously <every 3 h> & block the step.",
        ],
        provenance=_provenance(),
    )


def batch_results(count=400):
    jobs = jobs_table(count)
    states = states_table(jobs)
    power = power_table(states)
    energy = energy_table(power)
    end = float(jobs["end_s"].max())
    quality = frame("quality", {"file": ["night.swf"], "issue": "run time of zero", "rows": 3, "action": "dropped", "example": "line 77"})
    return Results(
        name="campus",
        question="How long do the jobs of a month wait on a campus cluster of 128 processors?",
        answer="Half of them start at once; one in twenty waits more than a day.",
        kind="simulate",
        summary={
            "makespan_s": end,
            "jobs_finished": count,
            "mean_wait_s": float(jobs["wait_s"].mean()),
            "mean_bounded_slowdown": float(jobs["bounded_slowdown"].mean()),
            "utilisation_frac": 0.62,
            "facility_energy_j": float(energy["energy_j"].sum()),
            "wall_s": 0.2,
        },
        tables={"jobs": jobs, "states": states, "power": power, "energy": energy, "quality": quality, "sources": sources_table()},
        provenance=_provenance(),
    )


def replay_results(count=300):
    parts, rows = [], []
    for policy, seed in (("fcfs", 7), ("easy", 8)):
        jobs = jobs_table(count, seed=seed, policy=policy)
        parts.append(jobs)
        wait = jobs["wait_s"]
        rows.append(
            (
                policy,
                count,
                wait.mean(),
                wait.median(),
                wait.quantile(0.95),
                wait.max(),
                jobs["bounded_slowdown"].mean(),
                9e5,
                0.71,
                0.74,
                0.05,
            )
        )
    keys = (
        "policy",
        "jobs",
        "mean_wait_s",
        "median_wait_s",
        "p95_wait_s",
        "max_wait_s",
        "mean_bounded_slowdown",
        "makespan_s",
        "utilisation_frac",
    )
    keys = (*keys, "steady_utilisation_frac", "cpu_s")
    both = {key: np.concatenate([part[key].to_numpy(dtype=object) for part in parts]) for key in parts[0].columns}
    tables = {"policies": frame("policies", {key: [row[i] for row in rows] for i, key in enumerate(keys)}), "jobs": frame("jobs", both)}
    tables["policies"]["fairness_jain_frac"] = [0.31, 0.62]
    levels = [states_table(part).assign(policy=part["policy"].iloc[0]) for part in parts]
    tables["states"] = frame("states", {key: np.concatenate([level[key].to_numpy() for level in levels]) for key in levels[0].columns})
    names = [f"user{n}" for n in range(40)]
    spread = np.random.default_rng(2).lognormal(2.0, 1.5, (2, 40)) + 1.0
    tables["shares"] = frame(
        "shares",
        {
            "policy": ["fcfs"] * 40 + ["easy"] * 40,
            "kind": "user",
            "name": names * 2,
            "jobs": [count // 40] * 80,
            "processor_frac": [1 / 40] * 80,
            "mean_wait_s": [100.0] * 80,
            "max_wait_s": [900.0] * 80,
            "mean_bounded_slowdown": spread.ravel(),
        },
    )
    return Results(
        "night", "Which policy waits least?", "EASY waits least.", "replay", {"jobs": count, "wall_s": 0.3}, {}, tables, [], _provenance()
    )


def sweep_results():
    random = np.random.default_rng(3)
    rows = [(nodes, link, seed) for nodes in (24, 48, 96, 192) for link in ("100 Gbit/s", "400 Gbit/s") for seed in (1, 2, 3)]
    nodes, link = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=object)
    step = 105.0 * 48 / nodes * np.where(link == "100 Gbit/s", 1 + nodes / 400, 1.0) * random.normal(1, 0.02, len(rows))
    table = frame(
        "sweep",
        {
            "cluster.nodes.a100.count": nodes,
            "cluster.fabric.link": link,
            "seed": [row[2] for row in rows],
            "step_time_s": step,
            "cost_usd": step * nodes * 8 * 87_264 / HOUR * 1.8,
            "mfu_frac": 0.37 * 105 * 48 / nodes / step,
            "jobs_finished": 1,
            "problem": "",
        },
    )
    answer = "The step time falls almost in proportion up to 96 nodes."
    axes = {"cluster.nodes.a100.count": [24, 48, 96, 192], "cluster.fabric.link": ["100 Gbit/s", "400 Gbit/s"]}
    return Results(
        "bloom-sweep", "How far does BLOOM scale?", answer, "sweep", {"runs": len(rows)}, {}, {"sweep": table}, [], _provenance(axes=axes)
    )


def task_results():
    random = np.random.default_rng(5)
    run = random.uniform(30, 60, 5)
    rows = [(None, None, 100e9, 0.0, 2.0, "split"), (None, None, 100e9, 2.0, 6.0, "partition")]
    rows += [(i, f"node{i}", 20e9, 6.0 + i, 10.0 + i, "dispatch") for i in range(5)]
    rows += [(i, f"node{i}", 20e9, 10.0 + i, 10.0 + i + run[i], "run") for i in range(5)]
    end = float(max(10.0 + i + run[i] for i in range(5)))
    rows.append((None, None, 100e9, end, end + 5.0, "merge"))
    keys = ("part", "node", "share_bytes", "start_s", "end_s", "stage")
    table = frame("tasks", {"name": "documents"} | {key: [row[i] for row in rows] for i, key in enumerate(keys)})
    seconds = {"split": 2.0, "partition": 4.0, "dispatch": 8.0, "run": end - 14.0, "merge": 5.0}
    breakdown = frame(
        "breakdown",
        {
            "name": "documents",
            "term": list(seconds),
            "seconds": list(seconds.values()),
            "fraction": [v / (end + 5) for v in seconds.values()],
        },
    )
    return Results(
        "task",
        "How long does a task of 100 GB take on five nodes?",
        f"It takes {end + 5:.0f} s.",
        "simulate",
        {"wall_clock_s": end + 5, "node_time_s": 5 * (end + 5)},
        {},
        {"tasks": table, "breakdown": breakdown},
        [],
        _provenance(),
    )


ALL = {"training": training_results, "batch": batch_results, "replay": replay_results, "sweep": sweep_results, "task": task_results}
