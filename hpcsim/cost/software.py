"""What a training framework does with the same hardware: fusion, overlap, launch overhead, by family and year.

What is fused and what overlaps follows from each family's releases. The rates among the numbers are terms of
:class:`hpcsim.cost.parameters.Parameters`, with priors and bounds, fitted to published steps of all families at once. On a stack of one's own
they are the first thing to calibrate.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpcsim.cost.arguments import Array, Numeric, at_least, fraction, non_negative, positive
from hpcsim.cost.parameters import DEFAULTS, Parameters

__all__ = ["FAMILIES", "Software", "family_eras", "software", "with_options"]


@dataclass(frozen=True)
class Software:
    """A training software stack.

    Attributes
    ----------
    fused_attention : bool or array
        Attention core in one kernel that keeps no scores and skips what a causal mask hides (FlashAttention and its like).
    attention_gain : float or array
        Rate of that kernel over the device's ``attention_frac``.
    traffic_factor : float or array
        Memory traffic of norms, residuals, activations over a well-fused implementation's.
    score_elements : float or array
        Elements read or written per attention score and forward pass without a fused kernel, beside the matrix products: 2 for a fused
        scale-mask-softmax, 6 step by step.
    matmul_frac : float or array
        Share of the sustained matrix rate that is left in a training loop: weights laid out in place, mixed shapes, lower clocks.
    launch_s : float or array
        Host time to issue one operation; 0 with captured graphs or compiled programs.
    step_s : float or array
        Host and synchronisation time of an optimizer step.
    tp_overlap_frac, cp_overlap_frac, ep_overlap_frac, pp_overlap_frac : float or array
        Share of tensor, context, expert and pipeline communication hidden behind computation.
    dp_overlap_frac : float or array
        Share of the window of the last backward (and next forward) that can hide gradients (and parameters).
    contention_frac : float or array
        Share of hidden communication that slows the computation beside it (units and bandwidth it takes).
    gradient_bytes : float or array
        Bytes a gradient as accumulated and reduced; 0: as the precision says.
    straggler_cv : float or array
        Coefficient of variation of one device's time of a step.
    split_transfer : bool or array
        Each member of a tensor-parallel group sends its part of what passes between stages; else each sends all of it.
    backward_traffic : float or array
        Memory traffic of the backward of norms, residuals and activations over the forward's.
    attention_tokens : float or array
        Sequence length at which the fused attention kernel reaches half of its rate.
    routing_passes : float or array
        Passes over the routed tokens' hidden states in a layer with experts: permute, pad, weigh, add up.
    grouped_frac : float or array
        Rate of the experts' grouped products over plain ones of the same shape.
    dispatch_once : bool or array
        A token crosses to a domain once, however many of its experts are there.
    interleaves : bool or array
        Pipelines are interleaved unless told otherwise.
    exposed_launch_frac : float or array
        Share of the host's issue time that adds to the device's although the device is the slower, in pipelines that cross nodes: engines
        that wait for every hop cannot issue ahead.
    reduce_factor : float or array
        Time of reducing gradients and gathering parameters with ZeRO 1 or 2 over that of one reduce-scatter and one all-gather at full
        rate.
    narrow_saved : bool or array
        With selective recomputation, gates wait for the backward pass in the format of the matrix products.
    narrow_frozen : bool or array
        Weights that do not learn are stored in the format of the matrix products.
    logit_bytes, boundary_tensors, bucket_parameters : float or array
        Bytes a logit takes in the loss; tensors between stages kept of every micro-batch in flight; parameters in buffers for reducing.
    doubt_sigma : float or array
        Standard deviation of the logarithm of a step's time that is added for a family nobody has compared with measurements.
    year, tuning_years : float or array
        Year of the release (0: not known), and the years after an architecture's first shipment in which this family's kernels reach
        their rate on it.
    eager : bool
        Runs operation by operation, so that a compiler would still find something to fuse.
    untuned_matmul_loss, untuned_attention_loss : float or array
        Share of the rate of matrix products and of fused attention that is missing in an architecture's first year.
    """

    fused_attention: Numeric = True
    attention_gain: Numeric = 1.0
    traffic_factor: Numeric = 1.0
    score_elements: Numeric = 2.0
    matmul_frac: Numeric = 0.95
    launch_s: Numeric = 5e-6
    step_s: Numeric = 5e-3
    tp_overlap_frac: Numeric = 0.0
    cp_overlap_frac: Numeric = 0.7
    ep_overlap_frac: Numeric = 0.0
    pp_overlap_frac: Numeric = 0.0
    dp_overlap_frac: Numeric = 0.9
    contention_frac: Numeric = 0.10
    gradient_bytes: Numeric = 0.0
    straggler_cv: Numeric = 0.01
    split_transfer: Numeric = True
    backward_traffic: Numeric = DEFAULTS.backward_traffic
    attention_tokens: Numeric = DEFAULTS.attention_tokens
    routing_passes: Numeric = DEFAULTS.routing_passes
    grouped_frac: Numeric = DEFAULTS.grouped_matmul_frac
    dispatch_once: Numeric = False
    interleaves: Numeric = False
    exposed_launch_frac: Numeric = 0.0
    reduce_factor: Numeric = 1.0
    narrow_saved: Numeric = False
    narrow_frozen: Numeric = False
    logit_bytes: Numeric = 6.0
    boundary_tensors: Numeric = 0.0
    bucket_parameters: Numeric = 40e6
    doubt_sigma: Numeric = 0.0
    year: Numeric = 0.0
    tuning_years: Numeric = 2.0
    untuned_matmul_loss: Numeric = DEFAULTS.untuned_matmul_loss
    untuned_attention_loss: Numeric = DEFAULTS.untuned_attention_loss
    eager: bool = False
    name: str = "generic"

    def __post_init__(self) -> None:
        for name in (
            "tp_overlap_frac",
            "cp_overlap_frac",
            "ep_overlap_frac",
            "pp_overlap_frac",
            "dp_overlap_frac",
            "contention_frac",
            "exposed_launch_frac",
        ):
            fraction(name, getattr(self, name))
        for name in ("untuned_matmul_loss", "untuned_attention_loss"):
            fraction(name, getattr(self, name))
        for name in (
            "launch_s",
            "step_s",
            "gradient_bytes",
            "score_elements",
            "straggler_cv",
            "year",
            "routing_passes",
            "attention_tokens",
            "logit_bytes",
            "boundary_tensors",
            "doubt_sigma",
        ):
            non_negative(name, getattr(self, name))
        for name in (
            "attention_gain",
            "traffic_factor",
            "matmul_frac",
            "grouped_frac",
            "tuning_years",
            "backward_traffic",
            "reduce_factor",
        ):
            positive(name, getattr(self, name))

    def untuned(self, device_year: Numeric) -> Array:
        """Return how far this release's kernels are from being tuned for an architecture: 1 in its first year, 0 when tuned.

        Linear in between; 0 where either year is not known.
        """
        mine, its = np.asarray(self.year, dtype=np.float64), np.asarray(device_year, dtype=np.float64)
        lag = np.asarray(self.tuning_years, dtype=np.float64)
        return np.asarray(np.where((mine > 0) & (its > 0), np.clip(1.0 - (mine - its) / lag, 0.0, 1.0), 0.0))


def _megatron(year: int, p: Parameters) -> Software:
    """Megatron-LM and what grew from it: hand-fused kernels, 32-bit gradients, no hiding of gradients before 2023."""
    if year <= 2022:
        return Software(
            fused_attention=False,
            traffic_factor=p.legacy_traffic,
            launch_s=p.legacy_launch_s,
            step_s=p.legacy_step_s,
            dp_overlap_frac=0.0,
            gradient_bytes=4.0 if year >= 2021 else 2.0,
            logit_bytes=10.0,
            name="megatron",
        )
    return Software(
        traffic_factor=p.core_traffic,
        launch_s=p.core_launch_s,
        tp_overlap_frac=1.0 - p.core_tp_exposed,
        pp_overlap_frac=0.5,
        ep_overlap_frac=1.0 - p.core_ep_exposed if year >= 2025 else 0.0,
        dispatch_once=year >= 2025,
        gradient_bytes=4.0,
        name="megatron-core",
    )


def _mlperf(year: int, p: Parameters) -> Software:
    """Megatron-Core as submitted to MLPerf: captured graphs, 16-bit gradients, interleaved pipelines."""
    core = _megatron(max(year, 2023), p)
    exposed = 1.0 - float(core.tp_overlap_frac)
    return dataclasses.replace(
        core,
        launch_s=CAPTURED_LAUNCH_FRAC * p.core_launch_s,
        tp_overlap_frac=1.0 - 0.7 * exposed,
        gradient_bytes=2.0,
        step_s=2e-3,
        interleaves=True,
        narrow_frozen=True,
    )


HAI_UNITS_FRAC = 20.0 / 132.0
"""Multiprocessors of an H800 that DeepSeek's framework keeps for communication (arXiv:2412.19437, section 3.2.2)."""


def _hai(year: int, p: Parameters) -> Software:
    """DeepSeek's own: a token sent once to each node, some multiprocessors kept for it, gates saved in 8 bits (arXiv:2412.19437)."""
    core = _megatron(max(year, 2025), p)
    return dataclasses.replace(core, narrow_saved=True, name="hai-llm")


def _xla(year: int, p: Parameters) -> Software:
    """Compiled programs: no launches, collectives beside the products they feed."""
    return Software(
        fused_attention=year >= 2023,
        dp_overlap_frac=0.8,
        launch_s=0.0,
        traffic_factor=p.xla_traffic,
        tp_overlap_frac=1.0 - p.xla_tp_exposed,
        name="xla",
    )


def _eager(name: str, year: int, p: Parameters) -> Software:
    """PyTorch and its like, operation by operation."""
    plain = any(part in name for part in ("deepspeed", "transformers", "hugging", "accelerate", "trl"))
    compiled = "titan" in name or "compile" in name
    if year <= 2022:
        return Software(
            fused_attention=False,
            traffic_factor=0.9 * p.eager_traffic,
            launch_s=1.2 * p.eager_launch_s,
            step_s=10e-3,
            dp_overlap_frac=0.7,
            tuning_years=4.0,
            logit_bytes=10.0,
            eager=True,
            name="eager",
        )
    return Software(
        traffic_factor=p.eager_traffic * (1.5 if plain else COMPILED_TRAFFIC_FRAC if compiled else 1.0),
        launch_s=0.8 * (COMPILED_LAUNCH_FRAC if compiled else 1.0) * p.eager_launch_s,
        dp_overlap_frac=0.3 if plain else 0.9,
        tuning_years=4.0,
        logit_bytes=10.0,
        eager=not compiled,
        name="eager-fused",
    )


UNKNOWN_FAMILY_SIGMA = 0.12
"""What not knowing the framework adds to the logarithm of a step's time: families of one year differ by 10 to 15 % on the same layout."""
_KNOWN_EAGER = ("fsdp", "torch", "deepspeed", "foundry", "nvidia", "composer", "lightning")
_MEGATRONS = ("megatron", "nemo", "primus", "transformer-engine", "bridge")
_DEEPSEEKS = ("hai-llm", "haillm", "hai_llm")
_COMPILERS = ("maxtext", "jax", "xla", "tpu", "axlearn", "t5x", "paxml", "mesh", "pathways", "levanter", "alpa", "flax")


@lru_cache(maxsize=256)
def _stack(name: str, year: int, p: Parameters) -> Software:
    """Stack of a family, by the lower-case name."""
    if "mlperf" in name:
        base = _mlperf(year, p)
    elif "deepspeed" in name and "megatron" in name and year <= 2022:
        base = dataclasses.replace(
            _megatron(year, p),
            gradient_bytes=2.0,
            split_transfer=False,
            exposed_launch_frac=p.deepspeed_launch_exposed,
            reduce_factor=p.deepspeed_reduce_factor,
            boundary_tensors=2.0,
            bucket_parameters=1e9,
        )
    elif any(part in name for part in _DEEPSEEKS):
        base = _hai(year, p)
    elif any(part in name for part in _MEGATRONS):
        base = _megatron(year, p)
    elif any(part in name for part in _COMPILERS) or ("tensorflow" in name and year >= 2019):
        base = _xla(year, p)
    else:
        base = _eager(name, year, p)
        if not any(part in name for part in _KNOWN_EAGER):
            base = dataclasses.replace(base, doubt_sigma=UNKNOWN_FAMILY_SIGMA)
    return dataclasses.replace(
        base,
        matmul_frac=p.loop_matmul_frac * (1.0 - HAI_UNITS_FRAC if base.name == "hai-llm" else 1.0),
        contention_frac=p.contention_frac,
        straggler_cv=p.straggler_cv,
        backward_traffic=p.backward_traffic,
        attention_tokens=p.attention_tokens,
        routing_passes=p.routing_passes,
        grouped_frac=p.grouped_matmul_frac,
        untuned_matmul_loss=p.untuned_matmul_loss,
        untuned_attention_loss=p.eager_untuned_attention_loss if base.name.startswith("eager") else p.untuned_attention_loss,
        year=float(year),
    )


FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "megatron-core": ("Megatron-LM and what grew from it: hand-fused kernels, 32-bit gradients", _MEGATRONS),
    "megatron-deepspeed": ("Megatron-LM on DeepSpeed's pipeline engine; from 2023 on as megatron-core", ("megatron with deepspeed",)),
    "mlperf": ("Megatron-Core as submitted to MLPerf: captured graphs, 16-bit gradients, interleaved pipelines", ("mlperf",)),
    "hai-llm": ("DeepSeek's own framework: a token crosses to a node once, some multiprocessors kept for sending", _DEEPSEEKS),
    "maxtext": ("compiled programs (XLA): no launches, collectives beside the products they feed", (*_COMPILERS, "tensorflow")),
    "torchtitan": ("PyTorch with its compiler: fewer launches, less memory traffic", ("titan", "compile")),
    "pytorch-fsdp": (
        "PyTorch, operation by operation, fused attention from 2023 on",
        tuple(name for name in _KNOWN_EAGER if name != "deepspeed"),
    ),
    "deepspeed": (
        "PyTorch with plain kernels and little overlap of gradients",
        ("deepspeed", "transformers", "hugging", "accelerate", "trl"),
    ),
}
"""Families of software: what they are, and the parts of a framework's name that stand for them."""


def family_eras(name: str, *, first: int = 2017, last: int = 2026) -> list[tuple[int, int, Software]]:
    """Return the spans of years in which a family is taken as one and the same: (first year, last year, stack).

    >>> [(a, b) for a, b, _ in family_eras("pytorch-fsdp")]
    [(2017, 2022), (2023, 2026)]
    """
    eras: list[tuple[int, int, Software]] = []
    for year in range(first, last + 1):
        stack = _stack(name, year, DEFAULTS)
        if eras and dataclasses.replace(stack, year=eras[-1][2].year) == eras[-1][2]:
            eras[-1] = (eras[-1][0], year, eras[-1][2])
        else:
            eras.append((year, year, stack))
    return eras


CAPTURED_LAUNCH_FRAC = 1.0 / 6.0
"""Host time to issue an operation from a captured graph, over issuing it one by one: a graph's nodes launch in about a microsecond."""
COMPILED_LAUNCH_FRAC, COMPILED_TRAFFIC_FRAC = 0.375, 0.7
"""Launches and memory traffic that are left when a compiler fuses what an eager framework runs operation by operation."""


def with_options(stack: Software, *, captured: bool = False, compiled: bool = False) -> Software:
    """Return the stack with its operations captured in graphs (CUDA graphs), or fused by a compiler (torch.compile).

    Parameters
    ----------
    stack : Software
    captured : bool
        Launches take a sixth.
    compiled : bool
        Fewer launches and less memory traffic, where the stack is eager; others are fused already.
    """
    launch, traffic = np.asarray(stack.launch_s, float), np.asarray(stack.traffic_factor, float)
    if compiled and stack.eager:
        launch, traffic = COMPILED_LAUNCH_FRAC * launch, COMPILED_TRAFFIC_FRAC * traffic
    if captured:
        launch = CAPTURED_LAUNCH_FRAC * launch
    return dataclasses.replace(stack, launch_s=launch[()], traffic_factor=traffic[()], eager=stack.eager and not compiled)


def software(framework: str = "", year: int = 2024, *, parameters: Parameters = DEFAULTS) -> Software:
    """Return the stack of a framework family in a year.

    Unknown families fall back to what the year's common frameworks did: eager execution without fused attention until 2022, with it
    and with overlapped data parallelism since.

    Parameters
    ----------
    framework : str
        Such as ``"megatron-core"``, ``"pytorch-fsdp"``, ``"deepspeed"``, ``"maxtext"``; matched by part of the name.
    year : int
    parameters : Parameters
        Terms that belong to families of software.

    Returns
    -------
    Software
    """
    year = int(at_least("year", year, 1990))
    base = _stack(framework.lower(), year, parameters)
    return dataclasses.replace(base, name=f"{framework or base.name} {year}")
