"""A training step under another way of keeping its replicas together than a full barrier."""

from __future__ import annotations

import dataclasses

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import percent
from hpcsim.cost.step_cost import ACTIVITY, StepCost, activity, interval
from hpcsim.cost.synchrony import asynchronous, local_steps, order_statistic_normal, ring_exchange_s
from hpcsim.scenario.workload import SynchronySpec

__all__ = ["synchronised"]

TOO_FEW = problem_kind("synchrony-replicas", "{what} needs more than the {replicas} replicas (dp) of this layout", "{hint}")
SITES = problem_kind("synchrony-sites", "{replicas} replicas (dp) cannot be spread evenly over {sites} sites", "let the sites divide dp")

_BYTES = 2.0
"""Bytes a parameter of an update: 16-bit gradients and weights on the wire."""

_GRADIENTS = ("data_parallel", "parameter_gather", "contention")


def synchronised(
    cost: StepCost, spec: SynchronySpec | None, *, replicas: int, parameters: int, replica_bytes_per_s: float, path: str, name: str
) -> tuple[StepCost, tuple[str, ...]]:
    """Return the cost of a step under a synchrony, and what to say about it.

    A step is the work on one global batch throughout, by all replicas together.

    Parameters
    ----------
    cost : StepCost
        Of a synchronous step, scalars.
    spec : SynchronySpec or None
        None leaves the cost as it is.
    replicas, parameters : int
    replica_bytes_per_s : float
        What one replica's network ports carry, one way.
    path, name : str
        Of the run.

    Raises
    ------
    InputError
        More backup workers than replicas, one replica alone, sites that do not divide them.
    """
    if spec is None:
        return cost, ()
    terms = {key: float(value) for key, value in cost.terms.items()}
    working = sum(terms[key] for kind in ("compute", "memory") for key in ACTIVITY[kind])
    devices = float(np.asarray(cost.devices))
    mode = spec.mode
    notes: list[str] = []
    if mode != "synchronous" and replicas < 2:
        raise TOO_FEW.error(path=f"{path}.synchrony.mode", what=mode, replicas=replicas, hint="use a layout with dp of at least 2")
    given = spec.persistent is not None or spec.jitter is not None
    slow, jitter = spec.persistent or 0.0, spec.jitter or 0.0
    if mode == "synchronous" and given:
        terms["straggler"] = working * _cv(slow, jitter) * float(order_statistic_normal(devices))
    elif mode == "backup":
        terms["straggler"], note = _backup(spec, terms, working, replicas, _cv(slow, jitter), path)
        notes.append(note)
    elif mode == "stale":
        bound = spec.bound or 0
        terms["straggler"] = working * float(order_statistic_normal(devices)) * _cv(slow, jitter / (bound + 1.0) ** 0.5)
        notes.append(f"no replica is more than {bound} steps ahead; the step given is the upper bound of what that saves")
    elif mode == "asynchronous":
        notes.append(_asynchronous(spec, terms, replicas, parameters * _BYTES, replica_bytes_per_s))
    elif mode == "local":
        notes.append(_local(spec, terms, replicas, parameters * _BYTES, path))
    said = tuple(f"Training {name}: {note}; what it costs in accuracy is not predicted." for note in notes)
    return _with_terms(cost, terms), said


def _cv(persistent: float, jitter: float) -> float:
    return float(np.sqrt(persistent**2 + jitter**2 + (persistent * jitter) ** 2))


def _backup(spec: SynchronySpec, terms: dict[str, float], working: float, replicas: int, cv: float, path: str) -> tuple[float, str]:
    """Waiting for the first n − b of n replicas, and the work of the others, which is thrown away."""
    dropped = spec.backup or 1
    if dropped >= replicas:
        raise TOO_FEW.error(
            path=f"{path}.synchrony.backup", what=f"dropping {dropped}", replicas=replicas, hint=f"drop at most {replicas - 1}"
        )
    waits = working * cv * float(order_statistic_normal(replicas, dropped=dropped))
    whole = sum(terms.values()) - terms["straggler"] + waits
    lost = whole * dropped / (replicas - dropped)
    return waits + lost, f"the slowest {dropped} of {replicas} replicas are not waited for, and their work is thrown away"


def _asynchronous(spec: SynchronySpec, terms: dict[str, float], replicas: int, size: float, replica_bytes_per_s: float) -> str:
    """Writing and reading over the servers take the place of the gradients' reduction; nobody waits for a straggler."""
    alone = sum(terms.values()) - terms["straggler"] - sum(terms[key] for key in _GRADIENTS)
    found = asynchronous(
        np.full(replicas, alone),
        update_bytes=spec.update if spec.update is not None else size,
        worker_bytes_per_s=spec.worker_rate if spec.worker_rate is not None else replica_bytes_per_s,
        servers=spec.servers or 1,
        server_bytes_per_s=spec.server_rate if spec.server_rate is not None else replica_bytes_per_s,
    )
    for key in (*_GRADIENTS, "straggler"):
        terms[key] = 0.0
    terms["data_parallel"] = found.step_s - alone
    bound = "the servers bound the rate" if found.bound_by == "servers" else "the servers have room"
    return f"a gradient is {found.staleness_mean:g} updates old on average, and {bound}"


def _local(spec: SynchronySpec, terms: dict[str, float], replicas: int, size: float, path: str) -> str:
    """An average over the sites after every so many steps; inside a site all is as before."""
    sites = spec.sites or 2
    if replicas % sites:
        raise SITES.error(path=f"{path}.synchrony.sites", replicas=replicas, sites=sites)
    exchange = float(
        ring_exchange_s(
            spec.update if spec.update is not None else size, sites=sites, bytes_per_s=spec.link or 125e6, latency_s=spec.latency or 0.0
        )
    )
    whole = sum(terms.values())
    local = local_steps(whole, every=spec.every or 1, exchange_s=exchange, overlapped=spec.overlapped)
    terms["data_parallel"] += float(local.step_s) - whole
    every = spec.every or 1
    return f"{sites} sites average every {every} steps, which takes {exchange:.3g} s; {percent(float(local.efficiency_frac), 3)} of the time is steps"


def _with_terms(cost: StepCost, terms: dict[str, float]) -> StepCost:
    """Return the cost with other terms, and all that follows from them."""
    arrays = {key: np.asarray(value) for key, value in terms.items()}
    total = float(sum(terms.values()))
    ratio = float(np.asarray(cost.step_time_s)) / total
    low, high = interval(arrays)
    return dataclasses.replace(
        cost,
        step_time_s=np.asarray(total)[()],
        terms={key: value[()] for key, value in arrays.items()},
        low_s=low,
        high_s=high,
        mfu_frac=cost.mfu_frac * ratio,
        hfu_frac=cost.hfu_frac * ratio,
        tokens_per_s=cost.tokens_per_s * ratio,
        activity=activity(arrays),
    )
