"""The requests of a service: when they come, how long they are, where their users are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.rng import stream
from hpcsim.cost.service import lognormal_lengths
from hpcsim.scenario.serving import LengthSpec, ServingSpec

__all__ = ["LONGEST", "Requests", "draw_requests", "drawn_lengths", "load_parts", "mean_load_per_s"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LONGEST = 0.9999
"""Quantile at which lengths are cut: what one request in ten thousand asks for beyond it, no service promises."""


@dataclass(frozen=True)
class Requests:
    """The requests of a service, by arrival.

    Attributes
    ----------
    arrival_s : array
        At the place where they are served, from the begin of the service.
    prompts, outputs : array of int
    delay_s : array
        Random part of the way.
    home : array of int
        Replica where the user is.
    span_s : float
        Time in which they come, counted from the begin.
    """

    arrival_s: Floats
    prompts: Ints
    outputs: Ints
    delay_s: Floats
    home: Ints
    span_s: float


def draw_requests(name: str, spec: ServingSpec, seed: int, *, servers: int, until_s: float | None = None) -> Requests:
    """Draw the requests of a service: arrivals, lengths, delays, each from a stream of its own.

    Parameters
    ----------
    name : str
        Of the service: its streams are its own.
    spec : ServingSpec
    seed : int
    servers : int
        Replicas among which the users' homes are.
    until_s : float, optional
        Time at which the simulation ends.

    Notes
    -----
    Arrivals are Poisson with the rate of the profile (unit exponentials laid along the integral of the rate), or a beat along that integral.
    """
    duration = spec.lasts_s if until_s is None else min(spec.lasts_s, max(until_s - spec.submit, 0.0))
    times, rates = load_parts(spec, duration)
    total = np.concatenate([[0.0], np.cumsum(rates * np.diff(times))])
    rng = stream(seed, "serving", name, "arrivals")
    expected = float(total[-1])
    if spec.arrivals == "even":
        marks = np.arange(1, math.floor(expected + 1e-9) + 1) - 0.5
    else:
        draws = np.cumsum(rng.standard_exponential(math.ceil(expected + 8.0 * math.sqrt(expected) + 32.0)))
        marks = draws[draws < expected]
    arrival = np.interp(marks, total, times)
    n = len(arrival)

    jitter = spec.access.jitter
    delay = stream(seed, "serving", name, "delays").standard_exponential(n) * jitter if jitter else np.zeros(n)
    home = stream(seed, "serving", name, "homes").integers(0, servers, n)
    prompts, outputs = (
        drawn_lengths(length, stream(seed, "serving", name, what).random(n))
        for what, length in (("prompts", spec.prompt), ("outputs", spec.output))
    )
    return Requests(arrival, prompts, outputs, delay, home, duration)


def drawn_lengths(length: LengthSpec, places: Floats) -> Ints:
    """Return lengths at places between 0 and 1; beyond :data:`LONGEST`, and as near to 0, the distribution is cut."""
    return lognormal_lengths(length.mean, length.spread, np.clip(places, 1.0 - LONGEST, LONGEST))


def load_parts(spec: ServingSpec, duration_s: float) -> tuple[Floats, Floats]:
    """Return the edges of the stretches of steady load in a time from the begin [s], and the load in each of them [1/s]."""
    if spec.profile is None:
        return np.array([0.0, duration_s]), np.array([spec.load])
    parts = np.array(spec.profile.parts)
    width = spec.profile.period / len(parts)
    count = max(math.ceil(duration_s / width - 1e-9), 1)
    edges = np.append(np.arange(count) * width, duration_s)
    return edges, spec.load * parts[np.arange(count) % len(parts)] / parts.mean()


def mean_load_per_s(spec: ServingSpec, duration_s: float) -> float:
    """Return the load that is expected on average in a time from the begin [1/s]: the one that is given, over whole periods of its profile."""
    if spec.profile is None or not duration_s > 0:
        return spec.load
    periods = duration_s / spec.profile.period
    if round(periods) and math.isclose(periods, round(periods), rel_tol=1e-9):
        return spec.load
    edges, rates = load_parts(spec, duration_s)
    return float((rates * np.diff(edges)).sum()) / duration_s
