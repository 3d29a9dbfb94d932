"""A service in its steady state: batches, waits, latencies and the share of requests that keep their objectives, in closed form.

Requests come at a rate λ to c replicas; each is prefilled, then decoded in a batch with the others of its replica. Per replica:

- decode steps get the time that prefills leave: τ = t(1 + b)/(1 − λ_r·E[P]), with t(n) the step of n requests and P a prefill;
- others in the batch, by Little's law: b = λ_r·E[steps]·τ;
- a prefill waits as in M/G/c for the prefills before it, for the rest of the decode step under way, and, where all slots are taken, as in M/M/c.

Quantiles and shares are those of a fixed set of points spread evenly over all that varies (8,192 of a Kronecker sequence), so the same input gives
the same figures, and the figures move little when the input does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hpcsim.cost.arguments import Array, Numeric, non_negative, positive
from hpcsim.cost.queues import allen_cunneen_wait_s, erlang_c, halfin_whitt_share, mg1_wait_s, mgc_wait_s
from hpcsim.cost.serving import Passes, replica_rate_per_s

__all__ = ["Demand", "Service", "Steady", "capacity_per_s", "length_nodes", "lognormal_lengths", "steady"]

POINTS = 8192
_NODES = 64
_CROWD = 300
"""Slots from which the limit of many servers takes the place of Erlang's formula."""


def lognormal_lengths(mean: float, spread: float, uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return whole lengths of at least 1 at given places between 0 and 1: log-normal of this mean and coefficient of variation.

    >>> lognormal_lengths(100.0, 0.0, np.array([0.1, 0.9])).tolist()
    [100, 100]
    """
    m, cv = float(positive("mean", mean)), float(non_negative("spread", spread))
    if cv == 0:
        return np.full(np.shape(uniform), max(round(m), 1), dtype=np.int64)
    sigma = math.sqrt(math.log1p(cv * cv))
    z = np.array([NormalDist().inv_cdf(float(u)) for u in np.ravel(uniform)]).reshape(np.shape(uniform))
    return np.maximum(np.rint(np.exp(math.log(m) - sigma * sigma / 2.0 + sigma * z)), 1.0).astype(np.int64)


def length_nodes(mean: float, spread: float) -> npt.NDArray[np.int64]:
    """Return lengths of equal weight that stand for the distribution: its quantiles at the middles of equal parts."""
    return lognormal_lengths(mean, spread, (np.arange(_NODES) + 0.5) / _NODES if spread else np.array([0.5]))


@lru_cache(maxsize=1)
def _points() -> npt.NDArray[np.float64]:
    """Return the places between 0 and 1 of every point, shape (dimensions, points), the last dimension as normal deviates."""
    roots = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 19.0, 17.0]))
    places = np.mod(0.5 + np.outer(roots, np.arange(1, POINTS + 1)), 1.0)
    places = np.clip(places, 0.5 / POINTS, 1.0 - 0.5 / POINTS)
    places[-1] = [NormalDist().inv_cdf(float(u)) for u in places[-1]]
    return places


@dataclass(frozen=True)
class Demand:
    """What requests ask for.

    Attributes
    ----------
    prompts, outputs : array of int, shape (n,)
        Lengths of equal weight, independent of each other.
    tokens, attention_s, owner : array, shape (pieces,)
        Pieces of prompts that are passed over one at a time: tokens, time of the attention core, index of the prompt. One piece each, unless
        prompts go along in chunks.
    """

    prompts: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    attention_s: Array
    owner: npt.NDArray[np.int64]

    @classmethod
    def of(cls, passes: Passes, prompts: npt.NDArray[np.int64], outputs: npt.NDArray[np.int64], chunk: int | None = None) -> Demand:
        """Return the demand of prompts and answers, the prompts cut into pieces of ``chunk`` tokens at most."""
        rows = [
            (min(chunk or p, p - at), passes.attention_s(min(chunk or p, p - at), at), k)
            for k, p in enumerate(prompts.tolist())
            for at in range(0, p, chunk or p)
        ]
        tokens, attention, owner = zip(*rows, strict=True)
        return cls(prompts, outputs, np.array(tokens), np.array(attention), np.array(owner))

    @property
    def steps(self) -> float:
        """Mean number of decode steps: the prefill yields the first token."""
        return float((self.outputs - 1.0).mean())

    @property
    def context(self) -> float:
        """Mean tokens in the cache of a request that is being decoded."""
        n, o = self.outputs - 1.0, self.outputs.astype(np.float64)
        return float(self.prompts.mean() + (n * o).mean() / (2.0 * n.mean())) if n.any() else float(self.prompts.mean())

    @property
    def held(self) -> float:
        """Mean tokens that a request being decoded has room for: prompt and whole answer."""
        n, o = self.outputs - 1.0, self.outputs.astype(np.float64)
        return float(self.prompts.mean() + ((n * o).mean() / n.mean() if n.any() else o.mean()))


@dataclass(frozen=True)
class Service:
    """How requests are served.

    Attributes
    ----------
    passes : Passes
    replicas, slots : int
        Copies, and requests that each works on at once.
    beside : bool
        Pieces of prompts go along with decode steps; else they stall them.
    apart : int
        Copies that do prefills alone, beside ``replicas`` that only decode; 0 where each does both.
    routing : str
        least-loaded, round-robin or own.
    way_s, jitter_s : float
        Fixed time on the way there and back; mean of the exponential delay that is added.
    transfer_s : float
        From prefill to decode replica, for every token of a prompt.
    """

    passes: Passes
    replicas: int
    slots: int
    beside: bool = False
    apart: int = 0
    routing: str = "least-loaded"
    way_s: float = 0.0
    jitter_s: float = 0.0
    transfer_s: float = 0.0


@dataclass(frozen=True)
class Steady:
    """The steady state.

    Attributes
    ----------
    load_per_s, capacity_per_s : float
        Requests per second that come, and that would fill every slot.
    batch : float
        Requests that a replica decodes on average.
    step_s : float
        Decode step that a request sees, without what prefills hold it up.
    prefill_frac, busy_frac : float
        Share of a replica's time that prefills take (of one for prefills, where they are apart), and share in which it works at all.
    ttft_s, tpot_s, latency_s, wait_s : array, shape (points,)
        Of equally likely requests; ``tpot_s`` NaN where one pass is the whole answer. All infinite where the load is above the capacity.
    decoded_s, prefilled_s : float
        Mean time of a request from first to last token, and in its own prefill.
    """

    load_per_s: float
    capacity_per_s: float
    batch: float
    step_s: float
    prefill_frac: float
    busy_frac: float
    ttft_s: Array
    tpot_s: Array
    latency_s: Array
    wait_s: Array
    decoded_s: float
    prefilled_s: float

    @property
    def stable(self) -> bool:
        """Whether the queue does not grow without end."""
        return self.load_per_s < self.capacity_per_s


def _prefills(service: Service, demand: Demand, others: float) -> tuple[Array, Array]:
    """Return how long each prompt's own passes take, and what of it decode steps lose [s]."""
    passes, b = service.passes, others if service.beside else 0.0
    at = np.arange(len(passes.linear_s), dtype=np.float64)
    last = np.append(np.diff(demand.owner) > 0, True)  # the piece that yields the first token
    heads = np.interp(last + b, at[: len(passes.head_s)], passes.head_s)
    each = np.interp(demand.tokens + b, at, passes.linear_s) + heads + passes.cache_s * b * demand.context + demand.attention_s
    own: Array = np.bincount(demand.owner, weights=np.maximum(each, passes.host_s), minlength=len(demand.prompts)).astype(np.float64)
    if not b:
        return own, own
    along = -math.expm1(-b) * float(passes.decode_s(max(b, 1.0), max(b, 1.0) * demand.context))
    pieces = np.bincount(demand.owner, minlength=len(demand.prompts))
    return own, np.asarray(np.maximum(own - along * pieces, 0.0))


def capacity_per_s(service: Service, demand: Demand) -> float:
    """Return the largest load of all replicas, above which the queue grows without end.

    Every slot full, prefills and decode steps sharing the time (:func:`hpcsim.cost.serving.replica_rate_per_s`); of pools apart the narrower;
    and no more prompts than go through one after the other beside the decode steps.
    """
    own, taken = _prefills(service, demand, 0.0)
    if service.apart:
        full = float(service.passes.decode_s(service.slots, service.slots * demand.context)) if demand.steps else 0.0
        decode = service.slots / (demand.steps * full) if full else math.inf
        return min(service.apart / float(own.mean()), service.replicas * decode)
    if not demand.steps:
        return service.replicas / float(own.mean())
    low, high = 0.0, float(service.slots)
    for _ in range(40 if service.beside else 0):
        mid = (low + high) / 2.0
        own, taken = _prefills(service, demand, mid)
        crowded = _rate(service, demand, mid, float(taken.mean())) * float(own.mean()) >= 1.0
        low, high = (low, mid) if crowded else (mid, high)
    most = high if service.beside else float(service.slots)
    own, taken = _prefills(service, demand, most)
    return service.replicas * _rate(service, demand, most, float(taken.mean()))


def _step_s(service: Service, demand: Demand, others: float) -> float:
    size = min(1.0 + others, float(service.slots))
    return float(service.passes.decode_s(size, size * demand.context))


def _rate(service: Service, demand: Demand, others: float, taken_s: float) -> float:
    """Return the load of a replica at which so many others are in a request's batch: b = λ·steps·t/(1 − λ·taken), solved for λ."""
    return float(replica_rate_per_s(max(others, 1e-12), demand.steps, step_s=_step_s(service, demand, others), prefill_s=taken_s))


def _others(service: Service, demand: Demand, rate: float) -> tuple[float, float, float]:
    """Return how many others are in a replica's batch, the decode step that a request sees, and the share of the time that is left for
    decode steps: the fixed point by bisection."""

    def taken(b: float) -> float:
        return 0.0 if service.apart else float(_prefills(service, demand, b)[1].mean())

    if not demand.steps:
        return 0.0, 0.0, 1.0 - rate * taken(0.0)
    low, high = 0.0, float(service.slots)
    for _ in range(40):
        mid = (low + high) / 2.0
        low, high = (mid, high) if _rate(service, demand, mid, taken(mid)) < rate else (low, mid)
    return high, _step_s(service, demand, high), 1.0 - rate * taken(high)


def _prefill_wait(service: Service, rate: float, times: Array) -> tuple[float, float]:
    """Return the share of prefills that wait for others, and their mean wait over all [s]."""
    servers = service.apart or service.replicas
    mean, square = float(times.mean()), float((times**2).mean())
    load, scv = rate * mean, max(square / mean**2 - 1.0, 0.0)
    if service.routing == "own" or servers == 1:
        rho = load / servers
        return rho, float(mg1_wait_s(rho, service_scv=scv, service_s=mean))
    if service.routing == "round-robin":
        rho = load / servers
        wait = float(allen_cunneen_wait_s(1, rho, arrival_scv=1.0 / servers, service_scv=scv, service_s=mean))
        return rho ** math.sqrt(servers), wait
    return float(erlang_c(servers, load)), mgc_wait_s(servers, load, service_scv=scv, service_s=mean, quick=True)


def _exponential(share: float, mean: float, places: Array) -> Array:
    """Return waits at given places: none for all but a share of the requests, exponential for those, of this mean over all."""
    if share < 1.0 / POINTS**2 or mean <= 0:
        return np.zeros(len(places))
    wait = -np.log(np.maximum((1.0 - places) / share, 1e-300)) * (mean / share)
    return np.asarray(np.where(places > 1.0 - share, wait, 0.0))


def _full_house(service: Service, demand: Demand, load: float, hold_s: float) -> tuple[float, float]:
    """Return the share of the requests that find every slot taken, and their mean wait over all [s]."""
    pools = 1 if service.routing == "least-loaded" else service.replicas
    slots, offered = service.slots * service.replicas // pools, load / pools * hold_s
    if offered >= slots:
        return 0.0, 0.0
    n = demand.outputs - 1.0
    scv = float(n.var() / n.mean() ** 2) if n.any() else 0.0
    share = float(erlang_c(slots, offered)) if slots <= _CROWD else halfin_whitt_share(slots, offered)
    return share, share * hold_s / (slots - offered) * (1.0 + scv) / 2.0


def steady(service: Service, demand: Demand, load_per_s: Numeric, *, most_per_s: float | None = None) -> Steady:
    """Return the steady state of a service under a load of Poisson arrivals.

    Parameters
    ----------
    service : Service
    demand : Demand
    load_per_s : float
        Requests per second of all users together.
    most_per_s : float, optional
        What :func:`capacity_per_s` returns for it, where that is known.
    """
    load = float(positive("load_per_s", load_per_s))
    most = capacity_per_s(service, demand) if most_per_s is None else most_per_s
    rate = load / service.replicas
    places = _points()
    others, step, left = _others(service, demand, rate)
    own, taken = _prefills(service, demand, others)
    servers = service.apart or service.replicas
    prefill_frac = load * float((own if service.apart else taken).mean()) / servers
    if load >= most or left <= 0 or load * float(own.mean()) >= servers:
        none = np.full(POINTS, np.inf)
        return Steady(
            load, most, float(service.slots), math.inf, min(prefill_frac, 1.0), 1.0, none, none, none, none, math.inf, float(own.mean())
        )
    at_prompt = (places[0] * len(demand.prompts)).astype(np.int64)
    at_output = (places[1] * len(demand.outputs)).astype(np.int64)
    prompt, output = demand.prompts[at_prompt].astype(np.float64), demand.outputs[at_output].astype(np.float64)
    own_s = own[at_prompt]
    wait = _exponential(*_prefill_wait(service, load, own), places[2])
    decoding = -math.expm1(-others)
    if not service.apart:
        wait += np.where(places[3] < decoding, places[3] / max(decoding, 1e-300) * step, 0.0)
    stalls = (0.0, 0.0) if service.apart else (rate, float((taken**2).mean()))
    decoded, tpot = _decoded(service, demand, stalls, left, others, prompt, output, places[-2:])
    hold_s = float(decoded.mean()) + (0.0 if service.apart else float(own_s.mean()))
    full = _exponential(*_full_house(service, demand, load, hold_s), places[4])
    way = service.way_s + (-np.log1p(-places[5]) * service.jitter_s if service.jitter_s else 0.0)
    moved = service.transfer_s * prompt
    ttft = way + wait + own_s + (0.0 if service.apart else full)
    latency = ttft + decoded + (full + moved if service.apart else 0.0)
    tpot = np.where(output > 1, (latency - ttft) / np.maximum(output - 1.0, 1.0), np.nan) if service.apart else tpot
    busy = prefill_frac + (1.0 - prefill_frac) * _active(service, others)
    return Steady(
        load_per_s=load,
        capacity_per_s=most,
        batch=others,
        step_s=step,
        prefill_frac=prefill_frac,
        busy_frac=_active(service, others) if service.apart else busy,
        ttft_s=ttft,
        tpot_s=tpot,
        latency_s=latency,
        wait_s=wait + full,
        decoded_s=float((latency - ttft).mean()),
        prefilled_s=float(own_s.mean()),
    )


def _active(service: Service, others: float) -> float:
    """Return the share of the replicas that have something to decode: the requests in all are Poisson, and spread where they can be."""
    if service.routing != "least-loaded" or others > 50.0:
        return -math.expm1(-others)
    total, chance, mean = service.replicas * others, math.exp(-service.replicas * others), 0.0
    if not chance:
        return 1.0
    for k in range(service.replicas):
        mean += (service.replicas - k) * chance
        chance *= total / (k + 1)
    return 1.0 - mean / service.replicas


def _decoded(
    service: Service,
    demand: Demand,
    stalls: tuple[float, float],
    left: float,
    others: float,
    prompt: Array,
    output: Array,
    places: Array,
) -> tuple[Array, Array]:
    """Return the time from first to last token of every point, and per further token.

    The others in the batch are Poisson; averaged over a request's stay their number has two thirds of its variance, none where nobody comes. The prefills that fall
    into the stay (``stalls``: their rate, and the mean square of what each takes) are a compound Poisson sum: nothing where none does, else
    normal with its first two moments.
    """
    n = output - 1.0
    if not n.any():
        return np.zeros(len(n)), np.full(len(n), np.nan)
    passes, (rate, square) = service.passes, stalls
    size = min(1.0 + others, float(service.slots))
    context = (size - 1.0) * demand.context + prompt + output / 2.0
    step = passes.decode_s(size, context)
    more = (passes.decode_s(min(size + 1.0, float(service.slots)), context + demand.context) - step) / left
    some = np.maximum(n, 1.0)
    count = rate * some * step / left
    hit = -np.expm1(-count)
    held, chance = some * step * (1.0 / left - 1.0), np.maximum(hit, 1e-300)
    mean = held / chance
    variance = np.maximum((square * count + held**2) / chance - mean**2, 0.0)
    met = places[0] < hit
    company = -math.expm1(-2.0 * others)
    varied = np.where(1.0 - places[0] < company, more**2 * 2.0 / 3.0 * others / max(company, 1e-300), 0.0)
    spread = np.sqrt(varied + np.where(met, variance, 0.0) / some**2)
    tpot = np.maximum(step + np.where(met, mean, 0.0) / some + places[1] * spread, passes.decode_s(1.0, prompt + output / 2.0))
    return np.asarray(n * tpot), np.asarray(np.where(n > 0, tpot, np.nan))
