"""What a training framework does with the same hardware: fusion, overlap, launch overhead, by family and year.

What is fused and what overlaps follows from each family's releases. The rates among the numbers were set by hand while looking at
published steps of that family and time: the issue time of an operation until 2022 from small Megatron models that the host bounds (3.5 ms a
layer with full recomputation), traffic and attention of early fully sharded data parallelism from MosaicML's tables of 2023. Others are
round numbers. On a stack of one's own they are the first thing to calibrate.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hpcsim.cost.arguments import Numeric, at_least, fraction, non_negative, positive

__all__ = ["Software", "software"]


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
    name: str = "generic"

    def __post_init__(self) -> None:
        for name in ("tp_overlap_frac", "cp_overlap_frac", "ep_overlap_frac", "pp_overlap_frac", "dp_overlap_frac", "contention_frac"):
            fraction(name, getattr(self, name))
        for name in ("launch_s", "step_s", "gradient_bytes", "score_elements", "straggler_cv"):
            non_negative(name, getattr(self, name))
        for name in ("attention_gain", "traffic_factor", "matmul_frac"):
            positive(name, getattr(self, name))


_COMPILED = {"launch_s": 0.0, "traffic_factor": 0.9}


def _megatron(year: int) -> Software:
    """Megatron-LM and what grew from it: hand-fused kernels, 32-bit gradients, no hiding of gradients before 2023."""
    if year <= 2022:
        return Software(
            fused_attention=False,
            traffic_factor=1.1,
            launch_s=22e-6,
            step_s=20e-3,
            dp_overlap_frac=0.0,
            gradient_bytes=4.0 if year >= 2021 else 2.0,
            name="megatron",
        )
    return Software(
        launch_s=6e-6,
        tp_overlap_frac=0.4 if year >= 2024 else 0.2,
        pp_overlap_frac=0.5,
        ep_overlap_frac=0.3 if year >= 2025 else 0.0,
        gradient_bytes=4.0,
        name="megatron-core",
    )


def software(framework: str = "", year: int = 2024) -> Software:
    """Return the stack of a framework family in a year.

    Unknown families fall back to what the year's common frameworks did: eager execution without fused attention until 2022, with it
    and with overlapped data parallelism since.

    Parameters
    ----------
    framework : str
        Such as ``"megatron-core"``, ``"pytorch-fsdp"``, ``"deepspeed"``, ``"maxtext"``; matched by part of the name.
    year : int

    Returns
    -------
    Software
    """
    year = int(at_least("year", year, 1990))
    name = framework.lower()
    if "mlperf" in name:
        base = dataclasses.replace(_megatron(max(year, 2023)), launch_s=1e-6, tp_overlap_frac=0.6, gradient_bytes=2.0, step_s=2e-3)
    elif "deepspeed" in name and "megatron" in name and year <= 2022:
        base = dataclasses.replace(_megatron(year), gradient_bytes=2.0, split_transfer=False)
    elif "megatron" in name or "nemo" in name:
        base = _megatron(year)
    elif any(part in name for part in ("maxtext", "jax", "xla", "tpu", "axlearn", "t5x", "paxml", "mesh")) or (
        "tensorflow" in name and year >= 2019
    ):
        base = Software(fused_attention=year >= 2023, dp_overlap_frac=0.8, name="xla", **_COMPILED)
    elif year <= 2022:
        base = Software(fused_attention=False, traffic_factor=1.3, launch_s=12e-6, step_s=10e-3, dp_overlap_frac=0.7, name="eager")
    else:
        early = year <= 2023
        base = Software(traffic_factor=1.6 if early else 1.2, attention_gain=0.7 if early else 1.0, launch_s=8e-6, name="eager-fused")
    return dataclasses.replace(base, name=f"{framework or base.name} {year}")
