"""What a training step costs: its terms, their uncertainty, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array, Numeric
from hpcsim.cost.compute import Device
from hpcsim.cost.memory import MemoryTerms

__all__ = ["ACTIVITY", "COMMON_SIGMA", "TERMS", "TERM_SIGMA", "StepCost", "activity", "finish", "interval", "total"]

TERMS = (
    "matmul",
    "attention",
    "elementwise",
    "logits",
    "recompute",
    "launch",
    "tensor_parallel",
    "context_parallel",
    "expert_parallel",
    "pipeline_transfer",
    "bubble",
    "parameter_gather",
    "data_parallel",
    "contention",
    "optimizer",
    "offload",
    "straggler",
    "host",
)
"""Names of the parts of a step, in the order of reading."""

TERM_SIGMA: Mapping[str, float] = MappingProxyType(
    {
        "matmul": 0.08,
        "attention": 0.20,
        "elementwise": 0.25,
        "logits": 0.15,
        "recompute": 0.12,
        "launch": 0.40,
        "tensor_parallel": 0.30,
        "context_parallel": 0.40,
        "expert_parallel": 0.45,
        "pipeline_transfer": 0.40,
        "bubble": 0.20,
        "parameter_gather": 0.40,
        "data_parallel": 0.40,
        "contention": 0.60,
        "optimizer": 0.30,
        "offload": 0.40,
        "straggler": 0.60,
        "host": 0.60,
    }
)
"""Standard deviation of the logarithm of each term: how well each formula is known."""

COMMON_SIGMA = 0.078
"""Standard deviation of the logarithm common to all terms: clocks, software release, what a configuration does not say. Set so that
four in five of the published steps used in development lie inside."""

Z80 = 1.2815515655446004
"""Standard normal quantile of 90 %: two of them bound an 80 % interval."""


@dataclass(frozen=True)
class StepCost:
    """One optimizer step.

    Attributes
    ----------
    step_time_s : array
    terms : dict of str to array
        Seconds by name of :data:`TERMS`; they sum to ``step_time_s``.
    low_s, high_s : array
        80 % interval.
    model_flop, hardware_flop : array
        FLOP of the model's forward and backward, and with what recomputation repeats; masked attention is counted where the kernel
        works on it.
    mfu_frac, hfu_frac : array
        Over the dense peak of all devices at the step's precision.
    tokens_per_s : array
        Samples per second for a model given as :class:`hpcsim.cost.models.Work`.
    memory : MemoryTerms
        Of the fullest device.
    peak_memory_bytes, memory_capacity_bytes : array
    fits : bool array
    activity : dict of str to array
        Share of the time that a device is bound by ``compute``, ``memory``, ``communication``, or is ``idle``; they sum to 1.
    micro_batches : array
        Per step and pipeline.
    devices : array
    """

    step_time_s: Array
    terms: dict[str, Array]
    low_s: Array
    high_s: Array
    model_flop: Array
    hardware_flop: Array
    mfu_frac: Array
    hfu_frac: Array
    tokens_per_s: Array
    memory: MemoryTerms
    peak_memory_bytes: Array
    memory_capacity_bytes: Array
    fits: npt.NDArray[np.bool_]
    activity: dict[str, Array]
    micro_batches: Array
    devices: Array

    def fractions(self) -> dict[str, Array]:
        """Return each term over the step time; they sum to 1."""
        return {name: seconds / self.step_time_s for name, seconds in self.terms.items()}

    def bound_by(self, index: Any = ()) -> str:
        """Return what the step spends most of its time on: compute, memory, communication or idle."""
        return max(self.activity, key=lambda name: float(np.asarray(self.activity[name])[index]))


def total(terms: Mapping[str, Array]) -> Array:
    """Return the sum of the terms."""
    return np.asarray(sum(terms.values(), np.zeros(())))


def interval(terms: Mapping[str, Array], *, sigma: Mapping[str, float] = TERM_SIGMA, common: Numeric = COMMON_SIGMA) -> tuple[Array, Array]:
    """Return the 80 % interval of the sum of the terms.

    Each term is log-normal with its own σ, independent of the others, and all share one factor: σ² = Σ(w_i σ_i)² + σ_common², with
    w_i the term's share of the sum, to first order.
    """
    whole = total(terms)
    spread = np.zeros_like(whole)
    for name, seconds in terms.items():
        spread = spread + (sigma.get(name, 0.3) * seconds / whole) ** 2
    width = np.exp(Z80 * np.sqrt(spread + np.asarray(common, dtype=np.float64) ** 2))
    return np.asarray(whole / width)[()], np.asarray(whole * width)[()]


ACTIVITY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "compute": ("matmul", "attention", "logits", "recompute", "contention"),
        "memory": ("elementwise", "optimizer"),
        "communication": (
            "tensor_parallel",
            "context_parallel",
            "expert_parallel",
            "pipeline_transfer",
            "parameter_gather",
            "data_parallel",
            "offload",
        ),
        "idle": ("launch", "bubble", "straggler", "host"),
    }
)
"""Which terms count as what bounds a device."""


def activity(terms: Mapping[str, Array]) -> dict[str, Array]:
    """Return the shares of the time by what bounds a device; they sum to 1."""
    whole = total(terms)
    return {name: np.asarray(sum((terms[t] for t in parts), np.zeros(())) / whole)[()] for name, parts in ACTIVITY.items()}


def finish(
    terms: dict[str, Array],
    memory: MemoryTerms,
    device: Device,
    precision: str,
    *,
    devices: Array,
    tokens: Array,
    micro_batches: Array,
    model_flop: Array,
    hardware_flop: Array,
    doubt_sigma: Array | float = 0.0,
) -> StepCost:
    """Return the step's cost from its terms: totals, ranges (wider by ``doubt_sigma`` of stack and device), rates."""
    seconds_s = total(terms)
    low, high = interval(terms, common=np.hypot(COMMON_SIGMA, doubt_sigma))
    capacity = np.asarray(device.memory_bytes, dtype=np.float64)
    peak = memory.total
    scale = devices * device.peak(precision) * seconds_s
    return StepCost(
        step_time_s=seconds_s[()],
        terms={name: seconds[()] for name, seconds in terms.items()},
        low_s=low,
        high_s=high,
        model_flop=np.asarray(model_flop)[()],
        hardware_flop=np.asarray(hardware_flop)[()],
        mfu_frac=np.asarray(model_flop / scale)[()],
        hfu_frac=np.asarray(hardware_flop / scale)[()],
        tokens_per_s=np.asarray(tokens / seconds_s)[()],
        memory=memory,
        peak_memory_bytes=peak,
        memory_capacity_bytes=capacity[()],
        fits=np.asarray(peak <= capacity)[()],
        activity=activity(terms),
        micro_batches=np.asarray(micro_batches)[()],
        devices=np.asarray(devices)[()],
    )
