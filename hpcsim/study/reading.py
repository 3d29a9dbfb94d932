"""Published training cases as arguments of the cost model: one reading of the fields, the same for every source.

What a case leaves out is assumed as the table of the training model page says. Nothing here reads a case's id, group or target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.catalog.architecture import ASSUMED_RATE_SIGMA, NEWEST_SOFTWARE, SOFTWARE_YEARS_AFTER, architecture_year, known_rates
from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.naming import described_accelerator
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import PRECISIONS
from hpcsim.cost.models import Model, parameters
from hpcsim.cost.parallelism import divisors, stage_layers
from hpcsim.cost.parameters import Parameters
from hpcsim.cost.power import capped_clock
from hpcsim.cost.software import Software, software, with_options
from hpcsim.workload.link_kinds import fabric_of

__all__ = ["Reader", "Reading", "read_all"]

REFUSED = problem_kind("case-refused", "{why}", "")

_MICRO_BATCHES = (1, 2, 4, 8, 16, 32)
_LEVELS = (("none", 1.0), ("selective", 1.0), ("full", 0.25), ("full", 0.5), ("full", 0.75), ("full", 1.0))
"""Recomputation a case that does not say is taken to fall back through: kind, and share of the layers."""
_FEED_FORWARD_FRAC = 0.6
"""Share of a layer's forward that its feed-forward part is, where that part is named as recomputed."""
_PRECISIONS = {
    "bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "single": "fp32", "half": "fp16", "int8": "fp8", "float8": "fp8",
    "e4m3": "fp8", "e5m2": "fp8", "mixed": "", "amp": "", "16-bit": "",
}  # fmt: skip
"""Other words for a format; empty: the 16-bit one that the device has."""
_PORTS: tuple[tuple[float, float], ...] = ((2025.0, 100e9), (2022.0, 50e9), (2020.0, 25e9), (0.0, 12.5e9))
"""What a device has to the scale-out network where nobody says: the port of the year its architecture shipped [B/s]."""
_UNKNOWN_UP_BYTES_PER_S = 25e9
_DCN_BYTES_PER_S = 6.25e9
"""A TPU host's 25 GB/s to the data-centre network over its four chips (How to scale your model, 2025)."""
_LORA_FRAC = 1e-3
"""Share of the parameters that adapters of small rank add."""
_LLAMAS = ("llama", "mistral", "mixtral", "qwen", "deepseek", "gemma", "phi", "yi", "moe", "palm", "nemotron", "olmo")
"""Families without biases, with one vector a norm."""
_LATENT = {"q_rank": 1536, "kv_rank": 512, "nope_dim": 128, "rope_dim": 64, "v_dim": 128}
"""Multi-head latent attention as DeepSeek-V3 has it."""


_SHARDING = ("fsdp", "titan", "maxtext", "foundry")
"""Frameworks that shard everything unless told otherwise."""


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()


def _said_no(value: Any) -> bool:
    return value is False or _text(value) in ("no", "off", "false", "none", "0", "disabled")


@dataclass(frozen=True)
class Reading:
    """One way to read a case; ``rank`` orders the ways, the least first.

    ``network``, ``device`` and ``layout`` hold keyword arguments of the cost model's classes.
    """

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


def _network(model: Mapping[str, Any], year: int) -> dict[str, Any]:
    moe = model.get("moe") or {}
    family = _text(model.get("family")) or "gpt"
    attention = _text(model.get("attention"))
    dense_ffn = model.get("ffn_hidden") or moe.get("dense_ffn_hidden") or moe.get("expert_ffn_hidden") or 4 * model["hidden"]
    out: dict[str, Any] = {
        "layers": model["layers"],
        "hidden": model["hidden"],
        "heads": model["heads"],
        "kv_heads": model.get("kv_heads") or (1 if "mqa" in attention or "multi-query" in attention else model["heads"]),
        "vocab": model["vocab"],
        "ffn": dense_ffn,
        "head_dim": model.get("head_dim") or 0,
    }
    if any(name in family for name in _LLAMAS):
        out.update(bias=False, norm_vectors=1, tied="palm" in family or "gemma" in family)
    elif "bert" in family or "vit" in family:
        out.update(causal=False, dropout="bert" in family, logit_frac=0.15 if "bert" in family else 1.0 / model["seq_len"])
        out.update(positions=512, token_types=2 if "bert" in family else 0)
    elif "t5" in family or "encoder" in family:
        out.update(bias=False, norm_vectors=1, decoder_layers=model.get("decoder_layers") or model["layers"])
    else:
        out.update(positions=model["seq_len"], dropout=year <= 2022 and family == "gpt")
    if moe.get("experts"):
        out.update(
            experts=moe["experts"],
            experts_per_token=moe.get("top_k") or 1,
            expert_ffn=moe.get("expert_ffn_hidden") or 0,
            shared_experts=moe.get("shared_experts") or 0,
            dense_layers=moe.get("dense_layers") or 0,
            capacity=moe.get("capacity_factor") or 0.0,
        )
    if "mla" in attention:
        out.update(_LATENT)
    window = re.search(r"(\d+)-token sliding window|sliding[ -]window\D*(\d+)", attention)
    if window or model.get("sliding_window"):
        out["window"] = int((window[1] or window[2]) if window else model["sliding_window"])
        out["window_frac"] = 0.5 if "alternat" in attention else 1.0
    if "lora" in _text(model.get("task")):
        out["trainable_frac"] = _LORA_FRAC
    if model.get("mtp") and not _said_no(model["mtp"]):
        more = 1 if model["mtp"] is True or not str(model["mtp"]).isdigit() else int(model["mtp"])
        out.update(layers=out["layers"] + more, logit_frac=1.0 + more)
    gated = model.get("gated_mlp")
    if gated is None:
        gated = _gated(out, model.get("params"), family)
    return {**out, "gated": bool(gated)}


def _gated(fields_: Mapping[str, Any], count: float | None, family: str) -> bool:
    """Tell a gated feed-forward layer by the published number of parameters, else by the family."""
    if not count:
        return any(name in family for name in _LLAMAS)
    gaps = {g: abs(float(parameters(Model(**{**fields_, "gated": g, "logit_frac": 1.0}))) - count) for g in (False, True)}
    return min(gaps, key=lambda g: gaps[g])


@dataclass(frozen=True)
class _Part:
    """An accelerator and what its architecture is known for."""

    entry: Accelerator
    year: float
    rates: dict[str, float]
    measured: bool


def _memory(entry: Accelerator, hardware: Mapping[str, Any]) -> float:
    """Return the memory: overridden, told by the device's name, or the catalog's."""
    said = re.search(r"(\d+)\s*gi?b\b", _text(hardware.get("accelerator")))
    size = hardware.get("memory_gb") or (float(said[1]) if said else 0.0)
    return size * 2**30 if size else (entry.memory_bytes or math.nan)


def _device(part: _Part, hardware: Mapping[str, Any], precision: str) -> dict[str, Any]:
    entry = part.entry
    peaks, sustained = dict(entry.peak_flop_per_s), part.rates
    if entry.category == "tpu":
        half = peaks.get("bf16", 0.0)
        peaks = {"fp8": peaks.get("int8", half), "fp16": half, "fp32": half, "tf32": half, **peaks}
    limit = hardware.get("power_limit_w")
    if limit and entry.tdp_w and limit < entry.tdp_w:
        clock = float(capped_clock(entry.idle_w or 0.1 * entry.tdp_w, entry.tdp_w, limit).clock_frac)
        peaks = {k: v * clock for k, v in peaks.items()}
        sustained = {k: v * clock for k, v in sustained.items()}
    if PRECISIONS[precision].matmul not in peaks:
        raise REFUSED.error(why=f"{entry.id} has no known {precision} arithmetic")
    rate = hardware["memory_bandwidth_gbyte_s"] * 1e9 if hardware.get("memory_bandwidth_gbyte_s") else entry.memory_bytes_per_s
    return {
        "category": entry.category,
        "peak": peaks,
        "sustained": sustained,
        "memory_bytes": _memory(entry, hardware),
        "memory_bytes_per_s": rate or math.nan,
        "compute_units": (entry.compute_units or 0) if entry.category == "gpu" else 0,
        "year": part.year,
        "doubt_sigma": 0.0 if part.measured else ASSUMED_RATE_SIGMA,
    }


def _format(said: str, entry: Accelerator) -> str:
    """Return the format a source means: scalings within eight or four bits, and mixtures with the master weights' format, aside."""
    half = "bf16" if "bf16" in entry.peak_flop_per_s or "fp16" not in entry.peak_flop_per_s else "fp16"
    if not said:
        return half
    if said in PRECISIONS:
        return said
    for part, name in (("mxfp8", "mxfp8"), ("fp4", "nvfp4"), ("fp8", "fp8"), *_PRECISIONS.items()):
        if part in said:
            return name or half
    known = next((name for name in ("bf16", "fp16", "tf32", "fp32") if name in said), None)
    if known is None:
        raise REFUSED.error(why=f"the precision {said!r} is not known; known are {', '.join(PRECISIONS)}")
    return known


def _superchip(entry: Accelerator) -> bool:
    return entry.host_link == "nvlink-c2c-grace" and entry.scale_up_link == "nvlink-5"


def _node(entry: Accelerator, hardware: Mapping[str, Any]) -> int:
    """Return the devices of a node: as said, else four to a board of superchips or TPUs, else eight."""
    said = hardware.get("per_node")
    return int(said) if said else 4 if _superchip(entry) or entry.category == "tpu" else 8


def _domain(entry: Accelerator, hardware: Mapping[str, Any], per_node: int) -> int:
    """Return the devices of a scale-up domain: as said, else a TPU's slice (at most a pod), a rack of superchips, or the node."""
    fabric = hardware.get("fabric") or {}
    slices = hardware.get("slices") or fabric.get("slices")
    said = fabric.get("domain") or fabric.get("chips_per_slice") or hardware.get("chips_per_slice")
    if said:
        return int(said)
    if entry.torus:
        return min(int(hardware["count"]) // int(slices or 1) or 1, math.prod(entry.torus))
    return 72 if _superchip(entry) else per_node


def _port(year: float) -> float:
    return next(rate for since, rate in _PORTS if year >= since)


def _fabric(part: _Part, hardware: Mapping[str, Any]) -> Fabric:
    f, entry = hardware.get("fabric") or {}, part.entry
    per_node = _node(entry, hardware)
    kind = str(f.get("scale_up") or entry.scale_up_link or "none").replace("nvlink-", "nvlink")
    said = f.get("scale_up_gbyte_s_one_way")
    up = float(said) * 1e9 if said else entry.scale_up_bytes_per_s or _UNKNOWN_UP_BYTES_PER_S
    out_kind = str(f.get("scale_out") or ("dcn" if entry.torus else "infiniband"))
    gbit = f.get("scale_out_gbit_s_per_node")
    out = gbit / 8e0 / per_node * 1e9 if gbit else (_DCN_BYTES_PER_S if out_kind == "dcn" else _port(part.year))
    axes = len(entry.torus) if kind.startswith("ici") and entry.torus else None
    domain = _domain(entry, hardware, per_node)
    return fabric_of(scale_up=kind, scale_up_bytes_per_s=up, domain=domain, scale_out=out_kind, scale_out_bytes_per_s=out, torus_axes=axes)


def _dated(case: Mapping[str, Any], architecture: float) -> tuple[str, int]:
    """Return framework and year of a case's software."""
    said = case.get("software") or {}
    framework = str(said.get("framework") or case["parallelism"].get("framework") or "")
    return framework, int(said.get("year") or (min(architecture + SOFTWARE_YEARS_AFTER, NEWEST_SOFTWARE) if architecture else 2024))


def _software(case: Mapping[str, Any], framework: str, year: int, parameters: Parameters) -> Software:
    said = case.get("software") or {}
    stack = software(framework, year, parameters=parameters)
    stack = with_options(
        stack,
        captured=bool(said.get("cuda_graphs")) and not _said_no(said.get("cuda_graphs")),
        compiled=bool(said.get("compile")) and not _said_no(said.get("compile")),
    )
    attention = _text(case["model"].get("attention"))
    overlap = case["parallelism"].get("overlap")
    changes: dict[str, Any] = {}
    if any(word in attention for word in ("flash", "sdpa", "xformers", "splash", "cudnn")):
        changes["fused_attention"] = True
    if "unfused" in attention or "eager" in attention:
        changes["score_elements"] = 6.0
    if overlap is not None and _said_no(overlap):
        changes["dp_overlap_frac"] = 0.0
    elif overlap and "grad" in _text(overlap) and float(stack.dp_overlap_frac) == 0:
        changes["dp_overlap_frac"] = 0.9
    if "qlora" in _text(case["model"].get("task")):
        changes["narrow_frozen"] = True
    return replace(stack, **changes) if changes else stack


def _zero_stages(p: Mapping[str, Any], framework: str, spread: int) -> tuple[int, ...]:
    """Return the ZeRO stage, or those to try in turn where the case does not say."""
    digit = re.search(r"[0-3]", str(p["zero_stage"])) if p.get("zero_stage") is not None else None
    if digit:
        return (int(digit[0]),)
    sharding = _text(p.get("sharding")) + _text(p.get("zero_stage"))
    if "grad_op" in sharding:
        return (2,)
    fsdp = p.get("fsdp") is not None and not _said_no(p["fsdp"]) and p["fsdp"] != 1
    if fsdp or "fsdp" in sharding or "hsdp" in sharding or "hybrid" in sharding or "full" in sharding:
        return (3,)
    if p.get("distributed_optimizer") and not _said_no(p["distributed_optimizer"]):
        return (1,)
    name = framework.lower()
    if spread <= 1 or "no_shard" in sharding or _said_no(p.get("fsdp", "")):
        return (0,)
    if any(part in name for part in _SHARDING):
        return (3,)
    return (0, 1) if "core" in name else (0,) if "megatron" in name else (0, 3)


def _replicate(p: Mapping[str, Any], dp: int, tp: int, per_node: int) -> int:
    """Return the groups of replicas that each hold all shards: what is said, a node's devices with hybrid sharding, else one group."""
    said = p.get("dp_replicate") or p.get("replicate")
    if not said and any(word in _text(p.get("sharding")) for word in ("hybrid", "hsdp")):
        said = dp // max(min(int(p["fsdp"]) if str(p.get("fsdp") or "").isdigit() else per_node // tp, dp), 1)
    if not said and p.get("dp_dcn") and "dcn_fsdp" not in _text(p.get("sharding")):
        said = p["dp_dcn"]
    n = int(said or 1)
    return n if n > 0 and dp % n == 0 else 1


def _share(text: str, layers: float) -> float:
    """Return the share of the layers that a text about full recomputation names; 1 where it names none."""
    if found := re.search(r"(\d+)\s*(?:of|out of|/)\s*(\d+)", text):
        return min(int(found[1]) / max(int(found[2]), 1), 1.0)
    if found := re.search(r"(\d+(?:\.\d+)?)\s*%", text):
        return min(float(found[1]) / 100.0, 1.0)
    if found := re.search(r"every (\d+)", text):
        return 1.0 / max(int(found[1]), 1)
    if found := re.search(r"(\d+)\s*(?:layers|blocks)", text):
        return min(int(found[1]) / max(layers, 1.0), 1.0)
    return 1.0


def _levels(said: Any, layers: float) -> tuple[tuple[str, float], ...]:
    """Return the recomputation, or the levels to fall back through where the case does not say."""
    text = _text(said)
    if said is None or text in ("?", "unknown", ""):
        return _LEVELS
    if _said_no(said) or "none" in text:
        return _LEVELS[:1]
    if said is True or text in ("true", "yes", "on") or any(word in text for word in ("full", "block", "every", "uniform", "%")):
        return (("full", _share(text, layers)),)
    if "sel" in text or text.startswith("sac"):
        parts = re.split(r"[^a-z_]+", text)
        return (("full", _FEED_FORWARD_FRAC),) if {"mlp", "moe", "experts", "ffn"} & set(parts) else _LEVELS[1:2]
    if "offload" in text or "custom" in text:
        return (_LEVELS[1], _LEVELS[-1])
    return _LEVELS[:2] if "minimal" in text or "save" in text else _LEVELS


_SCHEDULES = (
    ("gpipe", "gpipe"), ("afab", "gpipe"), ("dualpipe", "dualpipe"), ("zb-v", "zb-v"), ("zbv", "zb-v"), ("h2", "zb-h2"),
    ("zero", "zb-h1"), ("zb", "zb-h1"),
)  # fmt: skip


def _schedule(said: Any, pp: int) -> str:
    text = _text(said)
    name = next((name for part, name in _SCHEDULES if part in text), "1f1b")
    return "1f1b" if name == "dualpipe" and pp % 2 else name


def _chunks(p: Mapping[str, Any], layers: int, stack: Software, pp: int) -> tuple[int, ...]:
    """Return the virtual stages a case may mean: those given, one, or what a stack that interleaves by default may have chosen."""
    said = p.get("vpp")
    if said or pp <= 1 or not bool(stack.interleaves):
        return (int(said or 1) if pp > 1 else 1,)
    return tuple(divisors(max(layers // pp, 1)))


def _layouts(case: Mapping[str, Any], framework: str, year: int, stack: Software, layers: int, per_node: int) -> list[dict[str, Any]]:
    """Return the layouts that a case may mean, in order of preference: recomputation and ZeRO as little as fits."""
    p, count = case["parallelism"], int(case["hardware"]["count"])
    tp, pp, cp, ep = (int(p.get(key) or 1) for key in ("tp", "pp", "cp", "ep"))
    dp = max(count // (tp * pp * cp), 1)
    parallel = p.get("sp") if p.get("sp") is not None else "core" in framework.lower() and year >= 2022
    batch = int(p["global_batch"])
    micro = p.get("micro_batch")
    sizes = [int(micro)] if micro else [m for m in _MICRO_BATCHES if batch % (dp * m) == 0] or [1]
    schedule = _schedule(p.get("schedule"), pp)
    zeros = _zero_stages(p, framework, dp * cp)
    base = {
        "dp": dp, "tp": tp, "pp": pp, "cp": cp, "ep": ep, "sequence_parallel": not _said_no(parallel) and tp > 1,
        "schedule": schedule, "overlap": True, "replicate": _replicate(p, dp * cp, tp, per_node) if zeros[0] > 0 else 1,
        "offload": bool(p.get("cpu_offload")) and not _said_no(p["cpu_offload"]),
    }  # fmt: skip
    return [
        {**base, "vpp": vpp, "micro_batch": size, "zero_stage": zero, "recompute": level, "recompute_frac": share, "rank": (i, k)}
        for i, (level, share) in enumerate(_levels(p.get("recompute"), layers / pp))
        for k, zero in enumerate(zeros)
        for size in sizes
        for vpp in _chunks(p, layers, stack, pp)
        if vpp == 1 or p.get("vpp") or batch // (dp * size) % pp == 0
    ]


class Reader:
    """Reads cases against one catalog.

    Parameters
    ----------
    catalog : Catalog
        Where accelerators are looked up, by any of the ways people write them.
    parameters : Parameters
        Tunable terms of the step model.
    """

    def __init__(self, catalog: Catalog, parameters: Parameters) -> None:
        self.catalog, self.parameters = catalog, parameters
        self._parts: dict[str, _Part] = {}

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            entry = described_accelerator(name, self.catalog)
            if entry.memory_bytes is None or not entry.peak_flop_per_s:
                raise REFUSED.error(why=f"of {entry.id} the catalog knows no memory or no arithmetic rate")
            rates, measured = known_rates(entry, self.catalog)
            self._parts[name] = _Part(entry, architecture_year(entry, self.catalog), rates, measured)
        return self._parts[name]

    def read(self, index: int, case: Mapping[str, Any]) -> list[Reading]:
        """Return the ways to read a case, numbered ``index``.

        Raises
        ------
        InputError
            It cannot be predicted, and why.
        """
        hardware, p = case["hardware"], case["parallelism"]
        part = self._part(str(hardware["accelerator"]))
        precision = _format(_text(p.get("precision")), part.entry)
        device = _device(part, hardware, precision)
        framework, year = _dated(case, part.year)
        network = _network(case["model"], year)
        # whatever a program for a TPU is written in, XLA compiles it
        stack = _software(case, "xla" if part.entry.category == "tpu" else framework, year, self.parameters)
        layouts = _layouts(case, framework, year, stack, int(network["layers"]), _node(part.entry, hardware))
        if not bool(stage_layers(network["layers"] + network.get("decoder_layers", 0), layouts[0]["pp"], layouts[0]["vpp"]).possible):
            raise REFUSED.error(why=f"{layouts[0]['pp']} stages of {layouts[0]['vpp']} chunks leave one without a layer")
        fabric = _fabric(part, hardware)
        batch, sequence = float(p["global_batch"]), float(case["model"]["seq_len"])
        return [
            Reading(index, layout.pop("rank"), network, device, fabric, layout, stack, precision, batch, sequence) for layout in layouts
        ]


def read_all(cases: Sequence[Mapping[str, Any]], reader: Reader) -> tuple[list[Reading], dict[int, str]]:
    """Return the readings of all cases, and why some have none, by number."""
    rows: list[Reading] = []
    refused: dict[int, str] = {}
    for index, case in enumerate(cases):
        try:
            rows += reader.read(index, case)
        except InputError as error:
            refused[index] = "; ".join(problem.message for problem in error.problems)
    return rows, refused
