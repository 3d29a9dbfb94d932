"""Flows through a cluster's fabric, from pairs of nodes to finish times: what routing and shape make of a traffic pattern."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.routing import Router, router
from hpcsim.engine.flows import simulate_flows
from hpcsim.results.provenance import provenance
from hpcsim.results.quantities import brief
from hpcsim.results.record import Results
from hpcsim.results.tables import frame
from hpcsim.run.fabric import fabric_tables

__all__ = ["PATTERNS", "pattern", "traffic"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

PATTERNS = ("permutation", "shift", "bisection", "all-to-all", "incast", "neighbours")
UNKNOWN_PATTERN = problem_kind("unknown-pattern", "unknown traffic pattern {name!r}", "one of {known}")
TOO_FEW_NODES = problem_kind("pattern-nodes", "a {name} needs at least two nodes; here {nodes}", "more nodes")


def pattern(name: str, nodes: int, *, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Return the sources and targets of a traffic pattern over ``nodes`` nodes, none to itself.

    ``permutation``: everyone sends to one other, drawn at random, and receives from one; ``shift``: to the node half the machine further; ``bisection``: the first
    half to the second, in order; ``all-to-all``: everyone to every other; ``incast``: everyone to node 0; ``neighbours``: to the next node, a ring.

    Raises
    ------
    InputError
        No such pattern, or fewer than two nodes.
    """
    if name not in PATTERNS:
        raise UNKNOWN_PATTERN.error(name=name, known=", ".join(PATTERNS))
    if nodes < 2:
        raise TOO_FEW_NODES.error(name=name, nodes=nodes)
    every = np.arange(nodes)
    if name == "permutation":  # one cycle through all nodes in random order, so that nobody sends to itself
        order = stream(seed, "traffic", "permutation").permutation(nodes)
        return order, np.roll(order, -1)
    if name == "shift":
        return every, (every + nodes // 2) % nodes
    if name == "neighbours":
        return every, (every + 1) % nodes
    if name == "bisection":
        return every[: nodes // 2], every[: nodes // 2] + nodes - nodes // 2
    if name == "incast":
        return every[1:], np.zeros(nodes - 1, dtype=np.int64)
    source = np.repeat(every, nodes - 1)
    return source, (source + 1 + np.tile(np.arange(nodes - 1), nodes)) % nodes


def traffic(
    cluster: Cluster,
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    size_bytes: npt.ArrayLike,
    *,
    start_s: npt.ArrayLike = 0.0,
    routing: str | None = None,
    seed: int = 0,
    tolerance_frac: float = 0.0,
    question: str = "",
) -> Results:
    """Send flows through the fabric of a cluster.

    Parameters
    ----------
    cluster : Cluster
    source, target : array of int, shape (flows,)
        Nodes by number, or storage tiers by vertex; see :meth:`hpcsim.cluster.routing.Router.routes`.
    size_bytes, start_s : array, shape (flows,), or one number for all
        Bytes [B] and start [s] of each.
    routing : str, optional
        One of :data:`hpcsim.cluster.routing.ROUTINGS`; the fabric's own without it.
    seed : int
        Of the hash and of detours.
    tolerance_frac : float
        As of :func:`hpcsim.engine.flows.simulate_flows`.
    question : str

    Returns
    -------
    Results
        Summary (``makespan_s``, ``mean_rate_bytes_per_s``, ``slowest_rate_bytes_per_s``) and the tables ``flows``, ``links`` and those of the fabric.

    Raises
    ------
    InputError
        As the router and the flow engine.
    """
    began = time.monotonic()
    r = router(cluster, routing, seed=seed)
    a, b = (np.atleast_1d(np.asarray(end, dtype=np.int64)) for end in (source, target))
    a, b = np.broadcast_arrays(a, b)
    size, start = (np.broadcast_to(np.asarray(v, dtype=np.float64), a.shape) for v in (size_bytes, start_s))
    paths = r.routes(a, b)
    parts = simulate_flows(
        r.links.capacity_bytes_per_s,
        paths.routes,
        start[paths.pair],
        size[paths.pair] * paths.share,
        latency_s=paths.latency_s,
        tolerance_frac=tolerance_frac,
    )
    end = np.zeros(a.size)
    np.maximum.at(end, paths.pair, parts.finish_s)
    length = np.zeros(a.size, dtype=np.int64)
    np.maximum.at(length, paths.pair, np.diff(paths.routes.first))
    narrow = np.minimum.reduceat(r.links.capacity_bytes_per_s[paths.routes.links], paths.routes.first[:-1])
    alone = np.full(a.size, np.inf)
    np.minimum.at(alone, paths.pair, narrow / paths.share)
    rate = size / np.maximum(end - start, 1e-300)
    columns = _flow_rows(r, a, b, size, start, end, length, alone, rate)
    links = _link_rows(r, paths.routes.first, paths.routes.links, size[paths.pair] * paths.share, float(end.max() - start.min()))
    span_s = float(end.max() - start.min())
    summary: dict[str, float | int | str] = {
        "makespan_s": span_s,
        "flows": int(a.size),
        "mean_rate_bytes_per_s": float(rate.mean()),
        "slowest_rate_bytes_per_s": float(rate.min()),
        "wall_s": time.monotonic() - began,
    }
    tables = {"flows": frame("flows", columns), "links": frame("links", links), **fabric_tables(cluster, links)}
    share = float(np.minimum(rate / alone, 1.0).mean())
    answer = f"{a.size:,} flows take {brief('makespan_s', span_s)} under {r.routing}; on average each gets {100 * share:.0f} % of its rate alone."
    return Results(
        name="traffic",
        question=question,
        answer=answer,
        kind="traffic",
        summary=summary,
        ranges={},
        tables=tables,
        notes=list(cluster.notes),
        provenance=provenance(scenario_sha256="", seed=seed, catalog={row.name for row in cluster.sources}),
    )


def _flow_rows(
    r: Router,
    a: IntArray,
    b: IntArray,
    size: FloatArray,
    start: FloatArray,
    end: FloatArray,
    length: IntArray,
    alone: FloatArray,
    rate: FloatArray,
) -> dict[str, Sequence[Any]]:
    names = {int(v): r.links.vertex_name(int(v)) for v in np.unique(np.concatenate([a, b]))}
    source, target = [names[v] for v in a.tolist()], [names[v] for v in b.tolist()]
    return {
        "flow": [f"{i}: {s} → {t}" for i, (s, t) in enumerate(zip(source, target))],
        "source": source,
        "target": target,
        "size_bytes": size.tolist(),
        "start_s": start.tolist(),
        "end_s": end.tolist(),
        "links": length.tolist(),
        "alone_bytes_per_s": alone.tolist(),
        "rate_bytes_per_s": rate.tolist(),
    }


def _link_rows(r: Router, first: IntArray, links: IntArray, size: FloatArray, span_s: float) -> dict[str, Sequence[Any]]:
    """Return the use of every link: what went over it over what it could have carried from the first start to the last end."""
    carried = np.bincount(links, np.repeat(size, np.diff(first)), r.links.count)
    used = np.flatnonzero(carried > 0)
    capacity = r.links.capacity_bytes_per_s[used]
    mean = np.minimum(carried[used] / (capacity * span_s), 1.0) if span_s > 0 else np.zeros(used.size)
    ends = r.links.tail[used], r.links.head[used]
    names = {int(v): r.links.vertex_name(int(v)) for v in np.unique(np.concatenate(ends))}
    return {
        "link": [f"{names[a]} → {names[b]}" for a, b in zip(ends[0].tolist(), ends[1].tolist())],
        "kind": [r.links.tiers[t] for t in r.links.tier[used].tolist()],
        "capacity_bytes_per_s": capacity.tolist(),
        "carried_bytes": carried[used].tolist(),
        "mean_utilisation_frac": mean.tolist(),
        "peak_utilisation_frac": mean.tolist(),
    }
