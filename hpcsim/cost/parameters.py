"""Every tunable term of the step model in one place, with what it means, what was known before looking, and between which bounds.

A term belongs to a kind of accelerator or to a family of software, never to a source of measurements or to a model. Its prior is log-normal:
the median is what literature or a maker's document says, sigma how well that is known. :mod:`hpcsim.study.validation` fits them and asks what
they are worth on sources that were left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from hpcsim.base.errors import problem_kind

__all__ = ["DEFAULTS", "TERMS", "Parameters", "Term"]

UNKNOWN_TERM = problem_kind("unknown-parameter", "the step model has no parameter {name!r}", "one of: {known}")


class Term(NamedTuple):
    """One tunable term: its median before looking, the standard deviation of its logarithm, its bounds, its meaning."""

    prior: float
    sigma: float
    low: float
    high: float
    meaning: str


def _term(value: float, prior: float, sigma: float, low: float, high: float, meaning: str) -> float:
    given: float = field(default=value, metadata={"term": Term(prior, sigma, low, high, meaning)})
    return given


@dataclass(frozen=True)
class Parameters:
    """The tunable terms; the defaults are fitted to the shipped evidence under the priors.

    Three are not where the fit leaves them: DeepSpeed's are set a little higher, where the layouts of its one source are ranked best; and
    the TPUs' share of peak, which only TPU v4 takes since others' products were measured, between the fit (0.81) and what PaLM's published
    utilisation on that chip asks for (0.88).
    """

    gpu_attention_frac: float = _term(0.528, 0.65, 0.15, 0.3, 1.0, "rate of a tuned fused attention kernel over a large product's, GPUs")
    tpu_attention_frac: float = _term(0.54, 0.50, 0.25, 0.2, 1.0, "the same on TPUs")
    tpu_matmul_frac: float = _term(0.83, 0.90, 0.10, 0.5, 1.0, "rate that long products sustain over the peak, TPUs")
    loop_matmul_frac: float = _term(0.94, 0.95, 0.05, 0.7, 1.0, "share of the sustained matrix rate left in a training loop")
    untuned_matmul_loss: float = _term(0.0977, 0.15, 0.5, 0.01, 0.5, "matrix rate that libraries lack in an architecture's first year")
    untuned_attention_loss: float = _term(0.284, 0.60, 0.3, 0.1, 0.9, "rate that fused attention kernels lack then")
    eager_untuned_attention_loss: float = _term(0.7, 0.6, 0.3, 0.1, 0.7, "the same where kernels come from the community")
    backward_traffic: float = _term(1.71, 1.6, 0.15, 1.0, 2.5, "memory traffic of the backward of norms and activations over the forward's")
    attention_tokens: float = _term(270, 256.0, 0.5, 32.0, 2048.0, "sequence at which a fused attention kernel reaches half its rate")
    contention_frac: float = _term(0.219, 0.10, 0.5, 0.01, 0.5, "share of hidden communication that slows the work beside it")
    straggler_cv: float = _term(0.0116, 0.01, 0.5, 0.001, 0.05, "coefficient of variation of a device's step")
    routing_passes: float = _term(12.5, 10.0, 0.3, 4.0, 30.0, "passes over the routed tokens' hidden states, mixtures of experts, forward")
    grouped_matmul_frac: float = _term(0.736, 0.80, 0.15, 0.3, 1.0, "rate of grouped products over plain ones of the same shape")
    legacy_launch_s: float = _term(2.35e-05, 20e-6, 0.3, 5e-6, 60e-6, "host time to issue an operation, Megatron until 2022")
    legacy_step_s: float = _term(0.0121, 20e-3, 0.4, 1e-3, 0.1, "host and synchronisation time of a step, Megatron until 2022")
    legacy_traffic: float = _term(1, 1.1, 0.2, 0.7, 3.0, "memory traffic over well-fused code's, Megatron until 2022")
    deepspeed_launch_exposed: float = _term(
        0.9, 0.8, 0.4, 0.05, 1.0, "share of issue time that adds to the device's, pipelines of DeepSpeed until 2022"
    )
    deepspeed_reduce_factor: float = _term(
        5.0, 4.5, 0.3, 1.0, 8.0, "time of ZeRO 1's reductions, slice by slice to each owner, over a reduce-scatter's, DeepSpeed until 2022"
    )
    core_launch_s: float = _term(6e-06, 6e-6, 0.4, 1e-6, 20e-6, "host time to issue an operation, Megatron-Core")
    core_traffic: float = _term(1.34, 1.2, 0.2, 0.7, 3.0, "memory traffic over well-fused code's, Megatron-Core")
    core_tp_exposed: float = _term(0.38, 0.6, 0.3, 0.05, 1.0, "share of tensor-parallel communication left exposed, Megatron-Core")
    core_ep_exposed: float = _term(
        0.755, 0.7, 0.3, 0.1, 1.0, "share of expert-parallel communication left exposed, Megatron-Core from 2025"
    )
    eager_launch_s: float = _term(1e-05, 10e-6, 0.3, 2e-6, 30e-6, "host time to issue an operation, eager frameworks")
    eager_traffic: float = _term(1.54, 1.4, 0.2, 0.7, 4.0, "memory traffic over well-fused code's, eager frameworks")
    xla_traffic: float = _term(0.841, 0.9, 0.2, 0.4, 3.0, "memory traffic over well-fused code's, XLA programs")
    xla_tp_exposed: float = _term(0.261, 0.3, 0.4, 0.02, 1.0, "share of tensor-parallel communication left exposed, XLA programs")

    def varied(self, **changes: float) -> Parameters:
        """Return a copy with some terms changed, each kept within its bounds.

        Raises
        ------
        InputError
            A term that is not there.
        """
        for name in changes:
            if name not in TERMS:
                raise UNKNOWN_TERM.error(path="parameters", name=name, known=", ".join(TERMS))
        kept = {name: min(max(float(value), TERMS[name].low), TERMS[name].high) for name, value in changes.items()}
        return dataclasses.replace(self, **kept)


TERMS: Mapping[str, Term] = MappingProxyType({item.name: item.metadata["term"] for item in dataclasses.fields(Parameters)})
"""The declaration of every term, by name."""

DEFAULTS = Parameters()
"""Terms as fitted to the shipped evidence."""
