"""Published training cases as arguments of the cost model: one reading of the fields, the same for every source.

What a case leaves out is assumed as the table of the training model page says. Nothing here reads a case's id, group or target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.architecture import ASSUMED_RATE_SIGMA, architecture_year, known_rates
from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.compute import PRECISIONS, Device
from hpcsim.cost.models import Model, parameters
from hpcsim.cost.parallelism import Layout, divisors, stage_layers
from hpcsim.cost.parameters import DEFAULTS, Parameters
from hpcsim.cost.power import capped_clock
from hpcsim.cost.software import Software, software
from hpcsim.cost.training import StepCost, step

__all__ = ["Prediction", "predict"]

REFUSED = problem_kind("case-refused", "{why}", "")

_MICRO_BATCHES = (1, 2, 4, 8, 16, 32)
_LEVELS = (("none", 1.0), ("selective", 1.0), ("full", 0.25), ("full", 0.5), ("full", 0.75), ("full", 1.0))
"""Recomputation a case that does not say is taken to fall back through: kind, and share of the layers."""
_SLACK = 1.03
"""What may be missing for a layout to count as fitting: the memory model is not better than that."""
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "half": "fp16", "int8": "fp8", "float8": "fp8"}
_UNKNOWN_OUT_BYTES_PER_S = 25e9
_DCN_BYTES_PER_S = 6.25e9
"""A TPU host's 25 GB/s to the data-centre network over its four chips (How to scale your model, 2025)."""
_LORA_FRAC = 1e-3
"""Share of the parameters that adapters of small rank add."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one case: seconds with their 80 % interval, or the reason for none."""

    predicted_s: float = math.nan
    low_s: float = math.nan
    high_s: float = math.nan
    bound_by: str = ""
    peak_memory_bytes: float = math.nan
    fits: bool = False
    terms: Mapping[str, float] | None = None
    refused: str = ""


def _network(model: Mapping[str, Any], year: int) -> dict[str, Any]:
    moe = model.get("moe") or {}
    family = str(model.get("family", "gpt"))
    dense_ffn = model.get("ffn_hidden") or moe.get("dense_ffn_hidden") or moe.get("expert_ffn_hidden") or 4 * model["hidden"]
    out: dict[str, Any] = {
        "layers": model["layers"],
        "hidden": model["hidden"],
        "heads": model["heads"],
        "kv_heads": model.get("kv_heads") or model["heads"],
        "vocab": model["vocab"],
        "ffn": dense_ffn,
        "head_dim": model.get("head_dim") or 0,
    }
    if family in ("llama", "moe", "palm"):
        out.update(bias=False, norm_vectors=1, tied=family == "palm")
    elif family == "bert":
        out.update(causal=False, dropout=True, logit_frac=0.15, positions=512, token_types=2)
    else:
        out.update(positions=model["seq_len"], dropout=year <= 2022 and family == "gpt")
    if moe:
        out.update(
            experts=moe.get("experts", 0),
            experts_per_token=moe.get("top_k", 1),
            expert_ffn=moe.get("expert_ffn_hidden", 0),
            shared_experts=moe.get("shared_experts", 0),
            dense_layers=moe.get("dense_layers", 0),
        )
    if "mla" in str(model.get("attention", "")):
        out.update(q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128)
    window = re.search(r"(alternating )?(\d+)-token sliding window", str(model.get("attention", "")))
    if window or model.get("sliding_window"):
        out["window"] = int(window[2] if window else model["sliding_window"])
        out["window_frac"] = 0.5 if window and window[1] else 1.0
    if str(model.get("task", "")).startswith("lora"):
        out["trainable_frac"] = _LORA_FRAC
    gated = model.get("gated_mlp")
    if gated is None:
        gated = _gated(out, model.get("params"), family)
    return {**out, "gated": bool(gated)}


def _gated(fields_: Mapping[str, Any], count: float | None, family: str) -> bool:
    """Tell a gated feed-forward layer by the published number of parameters, else by the family."""
    if not count:
        return family in ("llama", "moe", "palm")
    gaps = {g: abs(float(parameters(Model(**{**fields_, "gated": g}))) - count) for g in (False, True)}
    return min(gaps, key=lambda g: gaps[g])


def _accelerator(catalog: Catalog, name: str, cache: dict[str, Accelerator]) -> Accelerator:
    if name not in cache:
        cache[name] = catalog.accelerator(name)
    return cache[name]


def _device(entry: Accelerator, hardware: Mapping[str, Any], year: float, rates: tuple[dict[str, float], bool]) -> dict[str, Any]:
    peaks = dict(entry.peak_flop_per_s)
    sustained, measured = rates
    if entry.category == "tpu" and "fp8" not in peaks:
        peaks["fp8"] = peaks.get("int8", peaks.get("bf16", 0.0))
    limit = hardware.get("power_limit_w")
    if limit and entry.tdp_w and limit < entry.tdp_w:
        clock = float(capped_clock(entry.idle_w or 0.1 * entry.tdp_w, entry.tdp_w, limit).clock_frac)
        peaks = {k: v * clock for k, v in peaks.items()}
        sustained = {k: v * clock for k, v in sustained.items()}
    memory = hardware["memory_gb"] * 2**30 if hardware.get("memory_gb") else (entry.memory_bytes or math.nan)
    rate = hardware["memory_bandwidth_gbyte_s"] * 1e9 if hardware.get("memory_bandwidth_gbyte_s") else entry.memory_bytes_per_s
    return {
        "category": entry.category,
        "peak": peaks,
        "sustained": sustained,
        "memory_bytes": memory,
        "memory_bytes_per_s": rate or math.nan,
        "compute_units": (entry.compute_units or 0) if entry.category == "gpu" else 0,
        "year": year,
        "doubt_sigma": 0.0 if measured else ASSUMED_RATE_SIGMA,
    }


def _rack(entry: Accelerator, per_node: int) -> int:
    """Return the devices of a scale-up domain nobody states: a node's, or a rack's where boards of four superchips share its switches."""
    return 72 if entry.host_link == "nvlink-c2c-grace" and entry.scale_up_link == "nvlink-5" else per_node


def _fabric(entry: Accelerator, hardware: Mapping[str, Any]) -> Fabric:
    f = hardware.get("fabric") or {}
    per_node = int(hardware.get("per_node") or f.get("domain") or 8)
    kind = str(f.get("scale_up") or entry.scale_up_link or "none")
    up = (
        float(f["scale_up_gbyte_s_one_way"]) * 1e9
        if f.get("scale_up_gbyte_s_one_way")
        else entry.scale_up_bytes_per_s or _UNKNOWN_OUT_BYTES_PER_S
    )
    out_kind = str(f.get("scale_out") or "infiniband")
    gbit = f.get("scale_out_gbit_s_per_node")
    out = gbit / 8e0 / per_node * 1e9 if gbit else (_DCN_BYTES_PER_S if out_kind == "dcn" else _UNKNOWN_OUT_BYTES_PER_S)
    domain = f.get("domain") or f.get("chips_per_slice") or (int(hardware["count"]) if entry.torus else _rack(entry, per_node))
    axes = len(entry.torus) if kind.startswith("ici") and entry.torus else None
    return Fabric.of(scale_up=kind, scale_up_bytes_per_s=up, domain=domain, scale_out=out_kind, scale_out_bytes_per_s=out, torus_axes=axes)


def _software(case: Mapping[str, Any], parameters: Parameters) -> Software:
    said = case.get("software") or {}
    stack = software(str(said.get("framework") or ""), int(said.get("year") or 2024), parameters=parameters)
    attention = str(case["model"].get("attention", ""))
    overlap = case["parallelism"].get("overlap")
    changes: dict[str, Any] = {}
    if "flash" in attention:
        changes["fused_attention"] = True
    if "unfused" in attention:
        changes["score_elements"] = 6.0
    if overlap == "none":
        changes["dp_overlap_frac"] = 0.0
    elif overlap and overlap != "yes" and "grad" in str(overlap) and float(stack.dp_overlap_frac) == 0:
        changes["dp_overlap_frac"] = 0.9
    return replace(stack, **changes) if changes else stack


def _zero_stages(case: Mapping[str, Any], spread: int) -> tuple[int, ...]:
    """Return the ZeRO stage, or those to try in turn where the case does not say."""
    p = case["parallelism"]
    if p.get("zero_stage") is not None:
        return (int(p["zero_stage"]),)
    sharding = str(p.get("sharding", "")).lower()
    if "fsdp" in p or "fsdp" in sharding or "full" in sharding:
        return (3,)
    if p.get("distributed_optimizer"):
        return (1,)
    core = "core" in str((case.get("software") or {}).get("framework") or "")
    return (0, 1) if core and spread > 1 else (0,)


def _levels(case: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the recomputation, or the levels to fall back through where the case does not say."""
    said = case["parallelism"].get("recompute")
    if said is None:
        return _LEVELS
    text = str(said).lower()
    if "full" in text:
        return _LEVELS[-1:]
    if "sel" in text:
        return _LEVELS[1:2]
    if "offload" in text or "custom" in text:
        return (_LEVELS[1], _LEVELS[-1])
    return _LEVELS[:1] if "none" in text or text == "no" else _LEVELS


def _format(said: str) -> str:
    """Return the format a source means: scalings within eight or four bits, and mixtures with the master weights' format, aside."""
    if said in PRECISIONS:
        return said
    for part, name in (("mxfp8", "mxfp8"), ("fp4", "nvfp4"), ("fp8", "fp8")):
        if part in said:
            return name
    return _PRECISIONS.get(said, next((known for known in ("bf16", "fp16", "tf32", "fp32") if known in said), said))


def _chunks(case: Mapping[str, Any], stack: Software, pp: int) -> tuple[int, ...]:
    """Return the virtual stages a case may mean: those given, one, or what a stack that interleaves by default may have chosen."""
    said = case["parallelism"].get("vpp")
    if said or pp <= 1 or not bool(stack.interleaves):
        return (int(said or 1),)
    return tuple(divisors(max(int(case["model"]["layers"]) // pp, 1)))


def _layouts(case: Mapping[str, Any], stack: Software) -> list[dict[str, Any]]:
    """Return the layouts that a case may mean, in order of preference: recomputation and ZeRO as little as fits."""
    p, count = case["parallelism"], int(case["hardware"]["count"])
    tp, pp, cp, ep = (int(p.get(key) or 1) for key in ("tp", "pp", "cp", "ep"))
    dp = max(count // (tp * pp * cp), 1)
    said = case.get("software") or {}
    parallel = p.get("sp")
    if parallel is None:
        parallel = "core" in str(said.get("framework") or "") and int(said.get("year") or 2024) >= 2022
    batch = int(p["global_batch"])
    micro = p.get("micro_batch")
    sizes = [int(micro)] if micro else [m for m in _MICRO_BATCHES if batch % (dp * m) == 0] or [1]
    schedule = str(p.get("schedule") or "1f1b")
    base = {
        "dp": dp, "tp": tp, "pp": pp, "cp": cp, "ep": ep, "sequence_parallel": bool(parallel) and tp > 1,
        "schedule": "gpipe" if "gpipe" in schedule else "1f1b", "overlap": True,
    }  # fmt: skip
    return [
        {**base, "vpp": vpp, "micro_batch": size, "zero_stage": zero, "recompute": level, "recompute_frac": share, "rank": (i, k)}
        for i, (level, share) in enumerate(_levels(case))
        for k, zero in enumerate(_zero_stages(case, dp * cp))
        for size in sizes
        for vpp in _chunks(case, stack, pp)
        if vpp == 1 or p.get("vpp") or batch // (dp * size) % pp == 0
    ]


@dataclass(frozen=True)
class _Row:
    case: int
    rank: tuple[int, int]
    network: dict[str, Any]
    device: dict[str, Any]
    fabric: Fabric
    layout: dict[str, Any]
    stack: Software
    precision: str
    batch: float
    sequence: float


def _rows(cases: Sequence[Mapping[str, Any]], catalog: Catalog, answers: list[Prediction], parameters: Parameters) -> list[_Row]:
    rows: list[_Row] = []
    cache: dict[str, Accelerator] = {}
    years: dict[str, tuple[float, tuple[dict[str, float], bool]]] = {}
    for index, case in enumerate(cases):
        try:
            entry = _accelerator(catalog, str(case["hardware"]["accelerator"]), cache)
            precision = str(case["parallelism"].get("precision") or "bf16").lower()
            precision = _format(precision)
            if entry.id not in years:
                years[entry.id] = (architecture_year(entry, catalog), known_rates(entry, catalog))
            device = _device(entry, case["hardware"], *years[entry.id])
            if precision not in PRECISIONS or PRECISIONS[precision].matmul not in device["peak"]:
                raise REFUSED.error(why=f"{entry.id} has no known {precision} arithmetic")
            network = _network(case["model"], int((case.get("software") or {}).get("year") or 2024))
            fabric, stack = _fabric(entry, case["hardware"]), _software(case, parameters)
            layouts = _layouts(case, stack)
            if not bool(stage_layers(network["layers"], layouts[0]["pp"], layouts[0]["vpp"]).possible):
                raise REFUSED.error(why=f"{layouts[0]['pp']} stages of {layouts[0]['vpp']} chunks leave one without a layer")
        except InputError as error:
            answers[index] = Prediction(refused="; ".join(problem.message for problem in error.problems))
            continue
        batch, sequence = float(case["parallelism"]["global_batch"]), float(case["model"]["seq_len"])
        rows += [
            _Row(index, layout.pop("rank"), network, device, fabric, layout, stack, precision, batch, sequence)
            for layout in (dict(item) for item in layouts)
        ]
    return rows


def _column(values: Sequence[Any]) -> Any:
    return np.array(values)


def _stacked(kind: type, objects: Sequence[Any], skip: tuple[str, ...] = ("name", "notes")) -> Any:
    """Return one object of ``kind`` whose fields are arrays of the objects' fields."""
    names = [f.name for f in fields(kind) if f.name not in skip]
    return kind(**{name: _column([getattr(o, name) for o in objects]) for name in names})


def _evaluate(rows: Sequence[_Row], parameters: Parameters) -> StepCost:
    first = rows[0]
    keys = sorted({key for row in rows for key in row.network})
    blank = {"bias": True, "tied": True, "norm_vectors": 2, "causal": True, "logit_frac": 1.0, "trainable_frac": 1.0, "window_frac": 1.0}
    model = Model(**{key: _column([row.network.get(key, blank.get(key, 0)) for row in rows]) for key in keys})
    wanted = {PRECISIONS[first.precision].matmul, PRECISIONS[first.precision].attention}
    peak = {k: _column([row.device["peak"][k] for row in rows]) for k in sorted(wanted) if all(k in row.device["peak"] for row in rows)}
    sustained = {k: _column([_sustained(row.device, k, parameters) for row in rows]) for k in peak}
    device = Device(
        name="cases",
        category=first.device["category"],
        peak_flop_per_s=peak,
        memory_bytes=_column([row.device["memory_bytes"] for row in rows]),
        memory_bytes_per_s=_column([row.device["memory_bytes_per_s"] for row in rows]),
        sustained_flop_per_s=sustained,
        compute_units=_column([row.device["compute_units"] for row in rows]),
        attention_frac=_ATTENTION[first.device["category"]](parameters) if first.device["category"] in _ATTENTION else None,
        year=_column([row.device["year"] for row in rows]),
        doubt_sigma=_column([row.device["doubt_sigma"] for row in rows]),
    )
    fabric = Fabric(
        scale_up=_stacked(Link, [row.fabric.scale_up for row in rows]),
        scale_out=_stacked(Link, [row.fabric.scale_out for row in rows]),
        domain=_column([row.fabric.domain for row in rows]),
        oversubscription=_column([row.fabric.oversubscription for row in rows]),
        torus_axes=first.fabric.torus_axes,
        host_bytes_per_s=_column([row.fabric.host_bytes_per_s for row in rows]),
    )
    layout = Layout(**{key: _column([row.layout[key] for row in rows]) for key in first.layout})
    stack = _stacked(Software, [row.stack for row in rows])
    return step(
        model,
        device,
        fabric,
        layout,
        global_batch=_column([row.batch for row in rows]),
        sequence=_column([row.sequence for row in rows]),
        precision=first.precision,
        software=stack,
        check=False,
    )


_ATTENTION: Mapping[str, Callable[[Parameters], float]] = {"gpu": lambda p: p.gpu_attention_frac, "tpu": lambda p: p.tpu_attention_frac}


def _sustained(device: Mapping[str, Any], key: str, parameters: Parameters) -> float:
    share = parameters.tpu_matmul_frac if device["category"] == "tpu" else None
    one = Device("", device["category"], device["peak"], 1.0, 1.0, device["sustained"], matmul_frac=share)
    return float(one.sustained(key))


def predict(cases: Sequence[Mapping[str, Any]], *, catalog: Catalog, parameters: Parameters = DEFAULTS) -> list[Prediction]:
    """Predict the step time of every case.

    Parameters
    ----------
    cases : sequence of mappings
        As :func:`hpcsim.evidence.training.read_cases` returns them.
    catalog : Catalog
        Where accelerators are looked up.
    parameters : Parameters
        Tunable terms of the step model.

    Returns
    -------
    list of Prediction
        In the order of the cases.

    Notes
    -----
    Every layout that a case may mean is a row; the rows of one precision and kind of device are evaluated in one call. Of a case's
    rows the least recomputation and sharding that fits wins, and of those the fastest micro-batch.
    """
    answers = [Prediction(refused="not evaluated")] * len(cases)
    rows = _rows(cases, catalog, answers, parameters)
    batches: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        key = (row.precision, row.device["category"], row.fabric.torus_axes, "experts" in row.network, "kv_rank" in row.network)
        batches.setdefault(key, []).append(row)
    best: dict[int, tuple[Any, ...]] = {}
    for batch in batches.values():
        cost = _evaluate(batch, parameters)
        time = np.broadcast_to(cost.step_time_s, len(batch))
        fits = np.broadcast_to(cost.peak_memory_bytes <= _SLACK * np.asarray(cost.memory_capacity_bytes), len(batch))
        peak = np.broadcast_to(cost.peak_memory_bytes, len(batch))
        for i, row in enumerate(batch):
            order = (not fits[i], row.rank if fits[i] else (0, 0), float(time[i]) if fits[i] else float(peak[i]))
            if row.case not in best or order < best[row.case][0]:
                best[row.case] = (order, cost, i)
    for case, (_, cost, i) in best.items():
        answers[case] = Prediction(
            predicted_s=_at(cost.step_time_s, i),
            low_s=_at(cost.low_s, i),
            high_s=_at(cost.high_s, i),
            bound_by=max(cost.activity, key=lambda name: _at(cost.activity[name], i)),
            peak_memory_bytes=_at(cost.peak_memory_bytes, i),
            fits=bool(np.asarray(cost.fits).reshape(-1)[i if np.ndim(cost.fits) else 0]),
            terms={name: _at(value, i) for name, value in cost.terms.items()},
        )
    return answers


def _at(values: Any, index: int) -> float:
    array = np.asarray(values)
    return float(array[index] if array.ndim else array)
