"""The formula behind every number: step and memory terms, summary keys, table columns, in one registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["FORMULAS", "GIVEN", "Formula"]


@dataclass(frozen=True)
class Formula:
    """How a number comes about.

    Attributes
    ----------
    text : str
        The formula, or the rule in words.
    symbols : str
        What its symbols stand for; empty where the words say it.
    source : str
        Work it is from; empty for definitions and bookkeeping.
    """

    text: str
    symbols: str = ""
    source: str = ""


_LAYER = "m micro-batches of a step and pipeline; sums run over the operators of the fullest stage's layers"
_FILL = "dp, tp, pp, cp, vpp: degrees of the layout"

_STEP: dict[str, Formula] = {
    "matmul": Formula(
        "m · Σ max(padded FLOP / sustained rate, bytes / memory bandwidth) + start-up, forward and backward",
        f"FLOP are padded to tiles and to whole waves of tiles over the compute units; {_LAYER}",
        "roofline: Williams, Waterman, Patterson 2009; wave quantisation: NVIDIA, Matrix multiplication background user's guide",
    ),
    "attention": Formula(
        "m · Σ 4·b·s²·n_q·d_h / rate (half of it where a fused kernel skips the mask), backward 2 to 2.5 times; unfused: also its scores' traffic",
        f"b sequences, s tokens, n_q query heads of size d_h; {_LAYER}",
        "Dao et al. 2022 (FlashAttention)",
    ),
    "elementwise": Formula(
        "m · Σ bytes of norms, residuals, activations and gradient accumulation / (memory bandwidth · share reached)", _LAYER
    ),
    "logits": Formula(
        "m · (embedding look-up + 2·b·s·h·V / rate + softmax and loss traffic), thrice over for the backward", "h hidden, V vocabulary"
    ),
    "recompute": Formula(
        "m · layers · forward (full) or attention core (selective)",
        "layers of the fullest stage",
        "Korthikanti et al. 2022, arXiv:2205.05198",
    ),
    "launch": Formula(
        "m · layers · max(0, operations · time to issue one − time on the device)",
        "what the host needs longer to issue the operations than the device to run them; 0 with captured graphs or compiled programs",
    ),
    "tensor_parallel": Formula(
        "m · layers · collectives over the tp group · (1 − share hidden)",
        "two all-reduces a pass, or reduce-scatter and all-gather with sequence parallelism",
        "Shoeybi et al. 2019",
    ),
    "context_parallel": Formula(
        "m · layers · exchange of keys and values over the cp group · (1 − share hidden)",
        "ring or all-to-all",
        "Liu et al. 2023 (ring attention)",
    ),
    "expert_parallel": Formula(
        "m · sparse layers · two all-to-alls a pass over the ep group · (1 − share hidden)",
        "tokens · experts per token · hidden · bytes each way",
        "Lepikhin et al. 2020 (GShard)",
    ),
    "pipeline_transfer": Formula(
        "m · 2·vpp · (latency + b·s·h·bytes / link) · (1 − share hidden)", "the message is divided by tp where members send their parts"
    ),
    "bubble": Formula(
        "idle time of the schedule: (pp − 1)·(F + B)/vpp for 1F1B, less for zero-bubble schedules, plus the hops that fill and drain",
        f"F, B: a stage's forward and backward of one micro-batch; {_FILL}",
        "Narayanan et al. 2021, arXiv:2104.04473; Qi et al. 2023, arXiv:2401.10241",
    ),
    "parameter_gather": Formula(
        "all-gather of the weights over the replicas, less what hides behind the forward pass",
        "ZeRO 1–2: once a step; ZeRO 3 and FSDP: in every pass",
        "Rajbhandari et al. 2020",
    ),
    "data_parallel": Formula(
        "all-reduce or reduce-scatter of the gradients over the replicas, less what hides behind the backward pass",
        "",
        "Li et al. 2020 (PyTorch DDP)",
    ),
    "contention": Formula("hidden communication · share by which it slows the computation beside it"),
    "optimizer": Formula(
        "bytes of weights, gradients, master copy and moments read and written / (memory bandwidth · share reached)",
        "over the replicas with ZeRO 1 and above",
    ),
    "offload": Formula("bytes of gradients and weights / link to the host", "only where the optimizer lives in host memory"),
    "straggler": Formula(
        "work · cv · E[max of n standard normals]", "cv: coefficient of variation of one device's time; n devices", "Blom 1958"
    ),
    "host": Formula("constant of the software stack: host and synchronisation time of an optimizer step"),
}

_MEMORY: dict[str, Formula] = {
    "memory.weights": Formula("parameters of the stage / tp · bytes (/ dp·cp with ZeRO 3)"),
    "memory.gradients": Formula("parameters of the stage / tp · bytes of a gradient (/ dp·cp from ZeRO 2 on)"),
    "memory.optimizer": Formula(
        "parameters of the stage / tp · (4 master + 8 moments) bytes (/ dp·cp from ZeRO 1 on)", "", "Rajbhandari et al. 2020"
    ),
    "memory.activations": Formula(
        "s·b·h·L/pp · in flight · (10 + 24/t + 5·a·s/(h·t)) for GPT in 16 bits; 2·s·b·h a layer with full recomputation",
        "a heads, t tensor-parallel degree; in flight: micro-batches that the schedule holds",
        "Korthikanti et al. 2022",
    ),
    "memory.logits": Formula("b·s·V/t · bytes of scores and their gradient on the last stage"),
    "memory.buffers": Formula("buffers of gathered weights, gradient buckets and messages"),
    "memory.reserve": Formula("constant of the kind of device: driver, libraries, communication buffers"),
}

_LATENCIES: dict[str, Formula] = {
    "ttft_s": Formula(
        "way there and back + wait + prefill",
        "wait: M/G/c for the prefills before, the rest of the step under way, M/G/(c · slots) where all slots may be taken",
        "Kimura 1986; Cosmetatos 1976; Halfin and Whitt 1981",
    ),
    "tpot_s": Formula(
        "(end − first token)/(tokens − 1); on average t(1 + b)/(1 − λ_r · P)",
        "b = λ_r · steps · tpot others in the batch (Little), λ_r load of a replica",
    ),
    "latency_s": Formula("time to the first token + (tokens − 1) · time per token"),
}

_SERVICES: dict[str, Formula] = {
    "requests": Formula("those that came; in an estimate load · duration"),
    "capacity_per_s": Formula(
        "replicas · b/(steps · t(b) + b · P); at most one prompt after the other where they go along in chunks",
        "b slots, t(b) decode step, P what a prefill takes from decode steps",
        "docs/models/serving.md",
    ),
    "requests_finished": Formula("those with an end; in an estimate what came, or what can be served in the time"),
    "replicas": Formula("as given, or the fewest that keep every objective at the peak load over target"),
    "services.slots": Formula("⌊room for the cache / tokens that a request holds on average⌋, at most the slots of the scenario"),
    "kept_load_per_s": Formula("largest load whose steady state keeps every objective, by bisection"),
    "late_frac": Formula("(answers past the deadline + requests without one)/requests"),
    "goodput_per_s": Formula("requests that keep every objective / time"),
    "mean_queue": Formula("Σ (first pass − arrival)/time"),
    "mean_batch": Formula("Σ (end − first token)/(time · replicas)"),
    "cost_per_request_usd": Formula("(device time held · price + energy of its nodes · PUE · tariff)/requests answered"),
    "energy_per_request_j": Formula("energy of its nodes · PUE / requests answered"),
}

_SUMMARY: dict[str, Formula] = {
    **_SERVICES,
    **{f"p{q}_{name}": formula for name, formula in _LATENCIES.items() for q in (50, 95, 99)},
    "makespan_s": Formula("last end − first submission"),
    "wall_clock_s": Formula("end − start of the work"),
    "node_time_s": Formula("Σ nodes · (end − start)"),
    "node_s": Formula("Σ over nodes of the time in that state"),
    "deadlines": Formula("jobs whose submission + due is finite"),
    "deadlines_missed": Formula("jobs with end > submission + due"),
    "due_mean_wait_s": Formula("mean of (start − submission) over the jobs with a deadline"),
    "other_mean_wait_s": Formula("mean of (start − submission) over the jobs without one"),
    "data_hit_frac": Formula("nodes of jobs that had the data set / nodes of jobs that read one"),
    "staged_bytes": Formula("Σ size of the data set over the nodes of jobs that had it not"),
    "electricity_usd": Formula("∫ (busy power · busy processors + idle power · idle ones) · price dt"),
    "resizes": Formula("times that the job changed its size"),
    "boots": Formula("times that a job took a node that was off or shutting down"),
    "switched_off_frac": Formula("Σ over nodes of the time off / (nodes · horizon)"),
    "device_time_s": Formula("Σ accelerators · (end − start)"),
    "step_time_s": Formula(
        "Σ of the step's terms (see matmul, bubble, data_parallel, …)",
        "m·t + bubble + exposed communication + optimizer + stragglers + host",
    ),
    "mfu_frac": Formula(
        "model FLOP / (devices · dense peak · step time)", "recomputation is not counted", "Chowdhery et al. 2022, appendix B"
    ),
    "model_flop": Formula(
        "72·B·s·L·h²·(1 + s/6h + V/12Lh) for GPT; in general 3 · forward FLOP, a multiply-add is two",
        "B sequences of a step",
        "Narayanan et al. 2021, eq. 3",
    ),
    "tokens_per_s": Formula("global batch · sequence / step time"),
    "goodput_frac": Formula("useful work / wall clock", "work done twice, checkpoints, waiting for repair and restarts are not useful"),
    "jobs": Formula("count of the jobs that were submitted"),
    "jobs_finished": Formula("count of the jobs with status finished"),
    "jobs_failed": Formula("count of the jobs with status failed"),
    "jobs_running": Formula("count of the jobs with status running at the end"),
    "jobs_queued": Formula("count of the jobs with status queued at the end"),
    "mean_wait_s": Formula("mean of start − submission over the jobs that started"),
    "median_wait_s": Formula("median of start − submission"),
    "p95_wait_s": Formula("95th percentile of start − submission"),
    "max_wait_s": Formula("largest start − submission"),
    "mean_bounded_slowdown": Formula("mean of max(1, (wait + run) / max(run, 10 s))", "", "Feitelson and Rudolph 1998"),
    "utilisation_frac": Formula("busy processor-seconds / (processors · (last end − first submission))"),
    "steady_utilisation_frac": Formula("the same between the times when the machine first filled and last began to drain"),
    "it_energy_j": Formula("∫ (compute + idle + network + storage) dt", "exact over the intervals of table power"),
    "facility_energy_j": Formula("IT energy · PUE", "PUE: power usage effectiveness of the site"),
    "device_tdp_energy_j": Formula("Σ accelerators · thermal design power · (end − start)"),
    "peak_power_w": Formula("largest total power of any interval"),
    "carbon_kg_co2e": Formula("facility energy · carbon intensity of the site"),
    "device_tdp_carbon_kg_co2e": Formula("energy of the accelerators at TDP · carbon intensity"),
    "embodied_kg_co2e": Formula("Σ node groups: carbon of making a device · devices · (end − start) / life"),
    "water_l": Formula("IT energy · water usage effectiveness of the site"),
    "cost_usd": Formula("Σ of table costs: rented or amortised hardware, electricity, storage"),
    "cost_per_mtoken_usd": Formula("cost / million tokens trained"),
    "cost_per_device_hour_usd": Formula(
        "cost / accelerator-hours in use", "those of runs and tasks, and of batch jobs on nodes with accelerators"
    ),
    "cost_per_job_usd": Formula("cost / batch jobs that finished"),
    "peak_memory_bytes": Formula("weights + gradients + optimizer + activations + logits + buffers + reserve of the fullest stage"),
    "memory_capacity_bytes": Formula("memory of one device, from the catalog or the scenario"),
    "events": Formula("count of the events that the engine handled"),
    "points": Formula("count of the combinations of a sweep"),
    "points_failed": Formula("count of those that were refused"),
    "seeds": Formula("replicates of every combination"),
    "cpu_s": Formula("processor time of this process during the simulation or search"),
    "wall_s": Formula("wall clock of the whole command"),
    "verified_cases": Formula("count of the cases"),
    "verified_groups": Formula("count of the groups"),
    "refused_frac": Formula("cases without a prediction / cases"),
    "median_of_group_medians_frac": Formula(
        "median over the groups of the median of |predicted/measured − 1|", "nearest rank; groups of fewer than five cases as one"
    ),
    "median_of_group_p90_frac": Formula("median over the groups of the 90th percentile of |predicted/measured − 1|", "nearest rank"),
    "interval_coverage_frac": Formula("cases with low ≤ measured ≤ high / cases"),
    "layout_kendall_tau": Formula(
        "(concordant − discordant pairs) / √(pairs untied left · untied right), over pairs of one job", "", "Kendall 1945 (τ-b)"
    ),
    "scaling_median_abs_error_frac": Formula("median of |predicted speed-up / measured speed-up − 1| over neighbouring device counts"),
    "memory_median_abs_error_frac": Formula("median of |predicted/stated peak memory − 1|"),
    "differing_starts": Formula("count of the jobs whose start differs from the reference's"),
    "raw_median_abs_error_frac": Formula("median of |predicted/measured − 1| before the fit"),
    "fitted_median_abs_error_frac": Formula("the same with the fitted terms"),
    "left_out_median_abs_error_frac": Formula("the same, each measurement predicted by a fit to all others"),
    "layouts_evaluated": Formula("layouts whose step time and memory were both computed"),
    "search_cpu_s": Formula("processor time of the search itself"),
}

_COLUMNS: dict[str, Formula] = {
    "jobs.start_s": Formula("first time at which the policy lets the job start"),
    "jobs.end_s": Formula("start + run time"),
    "wait_s": Formula("start − submission + time that a stopped job stood still since"),
    "run_s": Formula("end − start − time that it stood still"),
    "bounded_slowdown": Formula("max(1, (wait + run) / max(run, 10 s))", "", "Feitelson and Rudolph 1998"),
    "device_s": Formula("processors · run time"),
    "jobs.cost_usd": Formula("share of the bill by processor-seconds held"),
    "training.steps": Formula("⌈tokens / (global batch · sequence)⌉, or as given"),
    "checkpoints": Formula(
        "⌊work / interval⌋, the last one left out where it would end with the run", "", "Young 1974 where the interval is not given"
    ),
    "failures": Formula("failures that struck the run; their expectation in an estimate", "exponential times between them"),
    "lost_s": Formula("Σ work since the last checkpoint that failures undid"),
    "dp": Formula("devices / (tp·pp·cp)"),
    "seconds": Formula("time of the part (see the part's own name)"),
    "fraction": Formula("time of the part / sum of all parts"),
    "size_bytes": Formula("size of the part on the fullest device (see memory.<part>)"),
    "busy": Formula("processors that jobs hold in the interval"),
    "idle": Formula("processors − busy − down"),
    "down": Formula("processors of failed nodes"),
    "queued_jobs": Formula("jobs submitted and not started in the interval"),
    "queued_processors": Formula("Σ processors of those jobs"),
    "compute_w": Formula(
        "Σ (idle + (maximum − idle) · activity) − idle of the nodes at work",
        "activity: shares of the time bound by compute, memory, communication",
    ),
    "idle_w": Formula("Σ idle power of the nodes that are up"),
    "network_w": Formula("Σ power of switches and adapters"),
    "storage_w": Formula("Σ power of the storage tiers"),
    "cooling_w": Formula("(PUE − 1) · the above"),
    "total_w": Formula("compute + idle + network + storage + cooling"),
    "groups.accelerators": Formula("nodes · accelerators of a node"),
    "compute_energy_j": Formula(
        "∫ power of its jobs above idle dt", "by the node's and the accelerator's figures of the group that they are on"
    ),
    "idle_energy_j": Formula(
        "∫ idle power of its nodes that are on dt", "nodes that are switched off, boot or shut down with what they then draw"
    ),
    "device_utilisation_frac": Formula("∫ accelerators held dt / (accelerators · (end − begin))"),
    "energy_j": Formula("Σ power · (end − start) over the intervals of table power"),
    "energy.carbon_kg_co2e": Formula("energy · carbon intensity"),
    "quantity": Formula("device-hours, node-hours, energy or capacity-time that is paid for"),
    "usd": Formula("quantity · price"),
    "share_bytes": Formula("D_i = D · rate_i / Σ rate", "shares by throughput, so that all parts end together"),
    "tasks.start_s": Formula("end of the stage before; in dispatch when the link is free"),
    "tasks.end_s": Formula("start + bytes / rate of the stage"),
    "predicted": Formula("the summary's figure of that name"),
    "ratio": Formula("predicted / published"),
    "rows": Formula("count of the rows with the issue"),
    "predicted_s": Formula("Σ of the step's terms, or the collective's formula"),
    "low_s": Formula("predicted / exp(1.2816·σ)", "σ² = Σ(share·σ of the term)² + σ² common to all terms"),
    "high_s": Formula("predicted · exp(1.2816·σ)", "σ² = Σ(share·σ of the term)² + σ² common to all terms"),
    "predicted_w": Formula("P_idle + (P_TDP − P_idle)·Σ activity·share, devices; and the node beside them, switches, storage"),
    "low_w": Formula("predicted / exp(1.2816·σ)", "σ: of modelled power"),
    "high_w": Formula("predicted · exp(1.2816·σ)", "σ: of modelled power"),
    "intervals.mean": Formula("Σ value / seeds"),
    "intervals.low": Formula("mean − t(0.975, seeds − 1)·s/√seeds", "s: standard deviation over the seeds"),
    "intervals.high": Formula("mean + t(0.975, seeds − 1)·s/√seeds", "s: standard deviation over the seeds"),
    "difference": Formula("mean over the seeds of (value − value of the first point at the same seed)", "", "common random numbers"),
    "difference_low": Formula("difference − t(0.975, seeds − 1)·s/√seeds", "s: standard deviation of the differences"),
    "difference_high": Formula("difference + t(0.975, seeds − 1)·s/√seeds", "s: standard deviation of the differences"),
    "change": Formula("after − before; before is the first scenario's"),
    "change_frac": Formula("change / the first scenario's figure"),
    "sweep_ranges.low": Formula("lower end of the 80 % interval that the point has where it is run alone"),
    "sweep_ranges.high": Formula("upper end of the 80 % interval that the point has where it is run alone"),
    "compare_figures.low": Formula("lower end of the scenario's own 80 % interval"),
    "compare_figures.high": Formula("upper end of the scenario's own 80 % interval"),
    "before": Formula("the term in the first scenario"),
    "after": Formula("the term in this scenario"),
    "share_frac": Formula("change of the term / change of the figure"),
    "by_amount": Formula("(amount after − amount before)·(rate before + rate after)/2"),
    "by_rate": Formula("(rate after − rate before)·(amount before + amount after)/2"),
    "error_frac": Formula("predicted / measured − 1"),
    "bound_by": Formula("the largest share of the time: compute, memory, communication or idle"),
    "cases": Formula("count of the group's cases"),
    "predicted_cases": Formula("count of those that were predicted"),
    "median_abs_error_frac": Formula("median of |predicted/measured − 1|, nearest rank"),
    "p90_abs_error_frac": Formula("90th percentile of |predicted/measured − 1|, nearest rank"),
    "bias_frac": Formula("median of predicted/measured − 1, nearest rank"),
    "measured_ratio": Formula("sequences per second of the second case / of the first"),
    "predicted_ratio": Formula("sequences per second of the second case / of the first"),
    "contention_s": Formula("Σ over the jobs of run time less what it would have been alone on links and storage"),
    "p99_wait_s": Formula("nearest-rank 99th percentile of the waits"),
    "mean_response_s": Formula("mean of end − submission over the started jobs"),
    "weighted_wait_s": Formula("Σ wait · processors · run / Σ processors · run"),
    "mean_slowdown": Formula("mean of (wait + run) / run"),
    "median_bounded_slowdown": Formula("median of max(1, (wait + run) / max(run, 10 s))"),
    "p95_bounded_slowdown": Formula("nearest-rank 95th percentile of the bounded slowdowns"),
    "p99_bounded_slowdown": Formula("nearest-rank 99th percentile of the bounded slowdowns"),
    "weighted_bounded_slowdown": Formula("Σ bounded slowdown · processors · run / Σ processors · run"),
    "capacity_loss_frac": Formula("∫ idle processors while some waiting job would fit dt / (processors · horizon)"),
    "fragmentation_frac": Formula("∫ idle processors while jobs wait and none fits dt / (processors · horizon)"),
    "fairness_jain_frac": Formula("(Σx)² / (n Σx²), x the users' mean bounded slowdowns"),
    "overtaken_frac": Formula("jobs that started after a job submitted later / jobs"),
    "envious_frac": Formula("jobs that started after a later job of another user that asked for no fewer processors / jobs"),
    "starved_jobs": Formula("number of jobs whose wait exceeds a day and ten times their estimate"),
    "energy_per_job_j": Formula("energy of the pool / its finished jobs"),
    "goals": Formula("number of goals in the scenario's plan"),
    "goals_reached": Formula("number of goals whose limits the plan keeps"),
    "combinations": Formula("number of combinations of choices that were computed"),
    "combinations_feasible": Formula("number of combinations that keep every limit of a goal"),
    "finalists_simulated": Formula("number of combinations simulated event by event"),
    "simulated_wall_clock_s": Formula("mean wall clock of the chosen combination over its simulations"),
    "outlay_usd": Formula("Σ count · price of what is bought + contracts over their term"),
    "racks": Formula("Σ ⌈nodes / nodes of a rack⌉"),
    "processor_frac": Formula("processor-seconds of the share / all processor-seconds used"),
    "capacity_bytes_per_s": Formula("rate of the link or tier, one way"),
    "carried_bytes": Formula("∫ rate over it dt"),
    "mean_utilisation_frac": Formula("carried bytes / (capacity · (end − first submission))"),
    "peak_utilisation_frac": Formula("max over the spans between changes of rate / capacity"),
    "undisturbed_s": Formula("Σ of the activity's times alone"),
    "took_s": Formula("Σ of the activity's times as simulated"),
    "coincident_s": Formula("Σ of the activity's times with every other sending whenever it does"),
    "count": Formula("number of it in the plan"),
    "time_s": Formula("expected wall clock with failures; the wait of a queue"),
    "sure_s": Formula("the quantile of that at the goal's confidence"),
    "power_w": Formula("highest power of nodes, network and storage · power usage effectiveness"),
    "simulated_s": Formula("mean of the simulated times"),
    "simulated_usd": Formula("mean of the simulated costs"),
    "each_usd": Formula("price of one, from the catalog or the scenario"),
    "month": Formula("months since the order"),
    "purchase_usd": Formula("Σ purchases paid in the month"),
    "rent_usd": Formula("rented nodes and space · their prices"),
    "running_usd": Formula("electricity + maintenance + staff of the month"),
    "cumulative_usd": Formula("Σ of all payments until the month's end"),
    "value_usd": Formula("purchase price less depreciation so far"),
    "saves_usd": Formula("cost without the measure less cost with it"),
    "saves_s": Formula("time without the measure less time with it"),
    "saves_kg_co2e": Formula("emissions without the measure less those with it"),
    "saves_bytes": Formula("capacity without the measure less that with it"),
    "state_bytes": Formula("weights + gradients + optimizer of the stage (see memory.<part>)"),
    "most_bytes": Formula("max over the step of state + buffers + reserve + activations between a forward and the end of its backward"),
    "most_s": Formula("start of the operation with which most_bytes is reached, the schedule walked operation by operation"),
    "what_if.step_time_s": Formula("the step's formula with that resource doubled"),
    "speedup_ratio": Formula("step time / step time with the resource doubled"),
    "saved_s": Formula("step time − step time with the resource doubled"),
    "fitted": Formula(
        "value that minimises Σ((ln measured − ln predicted)/σ)² + Σ((ln value − ln prior)/σ prior)²",
        "",
        "maximum a posteriori; damped Gauss–Newton",
    ),
    "raw_s": Formula("Σ of the step's terms with the catalog's values"),
    "fitted_s": Formula("Σ of the step's terms with the fitted values"),
    "left_out_s": Formula("Σ of the step's terms, fitted to all other measurements (one Gauss–Newton step from the common fit)"),
    "posterior_sigma": Formula(
        "√ of the diagonal of (JᵀJ/σ² + Λ)⁻¹", "J: derivatives of ln predicted by ln value; Λ: inverse variances of the priors"
    ),
}

_RANK = "nearest rank: the smallest value that at least that share does not exceed"
_SLOWDOWN = "max(1, (wait + run) / max(run, 10 s))"

_SCHEDULE: dict[str, Formula] = {
    "p99_wait_s": Formula(_RANK),
    "mean_response_s": Formula("Σ (end − submission) / jobs"),
    "weighted_wait_s": Formula("Σ w · wait / Σ w", "w: processors · run"),
    "mean_slowdown": Formula("Σ (wait + run) / run / jobs"),
    "median_bounded_slowdown": Formula(f"of {_SLOWDOWN}; {_RANK}"),
    "p95_bounded_slowdown": Formula(f"of {_SLOWDOWN}; {_RANK}"),
    "p99_bounded_slowdown": Formula(f"of {_SLOWDOWN}; {_RANK}"),
    "weighted_bounded_slowdown": Formula(f"Σ w · {_SLOWDOWN} / Σ w", "w: processors · run"),
    "capacity_loss_frac": Formula(
        "∫ idle · [the smallest waiting job fits] dt / (processors · makespan)", "", "Leung, Sabin, Sadayappan 2010"
    ),
    "fragmentation_frac": Formula("∫ idle · [jobs wait and none fits] dt / (processors · makespan)"),
    "unasked_frac": Formula("∫ idle · [no job waits] dt / (processors · makespan)"),
    "fairness_jain_frac": Formula("(Σ x)² / (n · Σ x²)", "x: mean bounded slowdown of a user, n users", "Jain, Chiu, Hawe 1984"),
    "overtaken_frac": Formula("jobs before which a later submitted one started / jobs"),
    "envious_frac": Formula("jobs before which a later one on no fewer processors started / jobs"),
    "starved_jobs": Formula("jobs with wait > 1 day and wait > 10 · estimate"),
    "energy_per_job_j": Formula("(busy power · busy processor-s + idle power · idle processor-s) / jobs"),
    "processor_frac": Formula("processor-s of the user, group or queue / processor-s of all"),
    "short_s": Formula("∫ [free < needed] dt over the wait"),
    "kept_s": Formula("∫ [free ≥ needed] dt over the wait"),
    "jobs_ahead": Formula("jobs submitted before it that started during its wait"),
    "jobs_passed": Formula("jobs submitted after it that started before it"),
    "unpassed_wait_s": Formula("unpassed_start_s − its submission"),
    "queued_time_frac": Formula("time in which at least one job waits / time of the log"),
    "busy_waiting_frac": Formula("∫ busy processors over the time in which a job waits / (processors · that time)"),
    "unpassed_start_s": Formula("its start in a simulation without the jobs that passed it"),
    "started_frac": Formula("draws in which it starts within two weeks / draws"),
    "free": Formula("processors − those of running jobs"),
    "needed": Formula("processors that the job asks for"),
    "processor_s": Formula("processors · the part of the job's run inside the wait"),
    "saved_wait_frac": Formula("1 − mean wait with the change / mean wait as it is"),
}

_STUDIES: dict[str, Formula] = {
    **dict.fromkeys(("tornado.base", "uncertainty.base"), Formula("the figure of the scenario as it stands")),
    "at_low": Formula("the figure with the input at its low value and all others as they stand"),
    "at_high": Formula("the figure with the input at its high value and all others as they stand"),
    "swing": Formula("max(base, at low, at high) − min(base, at low, at high)"),
    "swing_frac": Formula("swing / |base|"),
    "sobol.first": Formula(
        "E[f(B)·(f(A_B) − f(A))] / V", "A, B: two sample matrices; A_B: A with the input's column from B", "Saltelli 2010"
    ),
    "sobol.total": Formula("E[(f(A) − f(A_B))²] / 2V", "A, B: two sample matrices; A_B: A with the input's column from B", "Jansen 1999"),
    **dict.fromkeys(
        ("first_low", "first_high", "total_low", "total_high"), Formula("percentiles of the index over resampled rows of the matrices")
    ),
    "sobol.samples": Formula("rows of each sample matrix"),
    "uncertainty.n": Formula("count of the samples that have the figure"),
    "uncertainty.mean": Formula("Σ figure / n"),
    **{f"p{p}": Formula(f"the ⌈n·{p}/100⌉-th smallest of the samples", "", "nearest rank") for p in (5, 50, 95)},
    **{
        f"p{p}_{end}": Formula(
            "order statistic whose rank is a quantile of the binomial distribution", "n samples, share of the percentile"
        )
        for p in (5, 50, 95)
        for end in ("low", "high")
    },
    "rank_correlation": Formula("correlation of the ranks of input and figure", "", "Spearman"),
    "device_hour_usd": Formula("cost of the run / device-hours"),
    "mtoken_usd": Formula("cost of the run / tokens · 10⁶"),
}

_FABRIC: dict[str, Formula] = {
    "fabric.switches": Formula("Σ over the levels; closed form of the shape", "see the page on topologies"),
    "fabric.cables": Formula("closed form of the shape, and a cable for each port of storage", "see the page on topologies"),
    "fabric.diameter": Formula("max over pairs of nodes of the links of a shortest path"),
    "fabric.bytes_per_s": Formula("rate of the link"),
    "fabric.bisection_bytes_per_s": Formula("least cut between two halves of the nodes, in the shape's closed form"),
    "fabric.oversubscription": Formula("max over levels of (rate of the nodes below / rate upwards)"),
    "fabric.price_usd": Formula("Σ count · list price"),
    "fabric_parts.bytes_per_s": Formula("rate of the part"),
    "each_w": Formula("power of one, from the catalog"),
    "fabric_parts.price_usd": Formula("count · list price of one"),
    **dict.fromkeys(("a_level", "b_level"), Formula("0 for nodes, then the switch's level")),
    "fabric_map.cables": Formula("count of the cables between the two ends"),
    "fabric_map.bytes_per_s": Formula("cables · rate of one"),
    "load_frac": Formula("max of both ways of (rate carried / bandwidth)"),
    "flows.links": Formula("count of the links of its longest way"),
    "alone_bytes_per_s": Formula("Σ over its ways of min over links of the capacity"),
    "flows.rate_bytes_per_s": Formula("size / (end − start)"),
}

_PIPELINES: Mapping[str, Formula] = {
    "pipeline_time_s": Formula("max over the runs of end − start"),
    "pipeline_bytes": Formula("Σ own data of the stages that no other feeds, over all runs"),
    "kept_bytes": Formula("Σ bytes written · copies, or · (k + m)/k, of what is still kept at the end"),
    "recovery_point_s": Formula(
        "period + time of a run alone; simulated, end of a backup less begin of the one before where that is longer", "of complete backups"
    ),
    "recovery_time_s": Formula("max over resources of d/v of the way back", "read the backup, decrypt, decompress, write it back, alone"),
    "security_time_s": Formula(
        "Σ over the runs of time alone less time alone without the work and the waiting of security", "the same bytes"
    ),
    "security_node_time_s": Formula("Σ node-time of encrypt, decrypt, anonymise, access-check and audit, and of encryption in flight"),
    "security_cost_usd": Formula("bill · security_time_s / time alone + rent of the audit logs"),
    "stages.start_s": Formula("staged: end of the stage before; streaming: when the first chunk has passed the stages before"),
    "stages.end_s": Formula("start + time alone · slowdown", "slowdown: max-min share alone over that beside the others"),
    "stages.nodes": Formula("count of the stage, of the pipeline, or all of the group"),
    "stages.node_time_s": Formula("core-seconds / cores of a node + nodes · device time", "d/v with v the rate of a whole node"),
    "stages.energy_j": Formula("node-time · (highest − idle power of a node)", "accelerators counted where the rate is that of a node"),
    "stages.cost_usd": Formula("bill of the run · alone_s / Σ alone_s + raw byte-time kept · rent + requests · price"),
}


FORMULAS: Mapping[str, Formula] = MappingProxyType(
    {**_STEP, **_MEMORY, **_SUMMARY, **_COLUMNS, **_SCHEDULE, **_STUDIES, **_FABRIC, **_PIPELINES}
)
"""By name: a term, ``memory.TERM``, a summary key, a column, or ``TABLE.COLUMN`` where a column means different things."""

GIVEN: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("job_id", "user", "submit_s", "submit_time", "estimate_s", "processors"), "read from the job log, or given in the scenario"
        ),
        **dict.fromkeys(
            ("model", "devices", "global_batch", "sequence", "precision", "name", "group", "policy", "node"), "given in the scenario"
        ),
        **dict.fromkeys(
            ("load_per_s", "prefill_replicas", "ttft_limit_s", "tpot_limit_s", "deadline_s", "quantile_frac"), "given in the scenario"
        ),
        **dict.fromkeys(
            ("tp", "pp", "vpp", "cp", "ep", "micro_batch", "zero_stage", "recompute"),
            "given in the layout, or chosen by the search where it is auto",
        ),
        "nodes": "nodes that hold the job's processors: ⌈processors / processors of a node⌉",
        "status": "what became of the job or case",
        "kind": "a label of the row",
        **dict.fromkeys(("start_s", "end_s"), "bounds of the interval: a change of state opens a new one"),
        **dict.fromkeys(
            (
                "term",
                "component",
                "item",
                "unit",
                "part",
                "stage",
                "metric",
                "path",
                "field",
                "label",
                "resource",
                "during",
                "stage_number",
                "stage_layers",
                "entry",
                "scenario",
                "point",
                "row",
            ),
            "a label of the row",
        ),
        **dict.fromkeys(("published", "source", "value"), "from the source that the row names"),
        **dict.fromkeys(("file", "issue", "action", "example"), "what the reader of the log found"),
        **dict.fromkeys(("id", "measured_s", "measured_w", "first", "second", "devices_first", "devices_second"), "from the file of cases"),
        "reason": "why the case was refused",
        "cause": "'too few free' where free < needed, else 'kept for others'",
        **dict.fromkeys(("behind", "role", "case", "draw"), "a label of the row"),
        "prior": "value from the catalog, before the fit",
        "prior_sigma": "stated with the term: how far its value may lie from the catalog's",
    }
)
"""Columns that are no results of a formula, and where they come from."""
