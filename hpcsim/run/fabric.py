"""The fabric as a reader sees it: its figures, its parts, and the cables that a picture shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.parts import Cluster
from hpcsim.cluster.topologies import TOPOLOGIES, FatTree, Wiring, request_of
from hpcsim.results.tables import frame

__all__ = ["fabric_tables", "shape_note"]

IntArray = npt.NDArray[np.int64]

_MOST_NODES, _MOST_BUNDLES, _FEW = 128, 700, 8
"""What a picture shows at most; of a larger fabric it shows one part."""
_PLAIN = ("single-switch", "star")


def fabric_tables(cluster: Cluster, links: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the tables ``fabric``, ``fabric_parts`` and ``fabric_map``; none without a fabric, and of a single switch no map.

    Parameters
    ----------
    cluster : Cluster
    links : mapping, optional
        Columns of the table ``links``: what went over the links of the fabric.
    """
    request, size, fabric = request_of(cluster), cluster.fabric_size, cluster.fabric
    if request is None or size is None or fabric is None:
        return {}
    parts = cluster.bill
    known_w = [row.number * row.each_w for row in parts if not math.isnan(row.each_w)]
    known_usd = [row.number * row.each_usd for row in parts if not math.isnan(row.each_usd)]
    unpriced = sorted({f"{row.item}" for row in parts if math.isnan(row.each_usd)})
    figures = {
        "topology": [fabric.topology],
        "design": [fabric.type or None],
        "link": [fabric.link],
        "routing": [fabric.routing],
        "nodes": [request.nodes],
        "switches": [sum(size.switches)],
        "cables": [sum(size.cables) + size.storage_cables],
        "diameter": [size.diameter],
        "bytes_per_s": [fabric.bytes_per_s],
        "bisection_bytes_per_s": [math.nan if size.bisection_bytes_per_s is None else size.bisection_bytes_per_s],
        "oversubscription": [size.oversubscription],
        "power_w": [sum(known_w) if known_w else math.nan],
        "price_usd": [sum(known_usd) if known_usd else math.nan],
        "unpriced": [", ".join(unpriced) or None],
    }
    found = {"fabric": frame("fabric", figures)}
    if parts:
        columns = {
            "part": [row.part for row in parts],
            "item": [row.item for row in parts],
            "tier": [row.tier for row in parts],
            "count": [row.number for row in parts],
            "bytes_per_s": [row.bytes_per_s for row in parts],
            "each_w": [row.each_w for row in parts],
            "power_w": [row.number * row.each_w for row in parts],
            "each_usd": [row.each_usd for row in parts],
            "price_usd": [row.number * row.each_usd for row in parts],
        }
        found["fabric_parts"] = frame("fabric_parts", columns)
    if fabric.topology not in _PLAIN:
        topology, first = TOPOLOGIES.get(fabric.topology), _unit(cluster)
        # of a large tree what lies above the nodes in the picture is enough
        wiring = topology.wire_above(request, first) if isinstance(topology, FatTree) else topology.wire(request)
        found["fabric_map"] = frame("fabric_map", _map(cluster, wiring, first, links))
    return found


def _unit(cluster: Cluster) -> int:
    """Return how many of the first nodes a picture shows: all, or those of a subtree, a group, or a slice of the torus."""
    request, fabric = request_of(cluster), cluster.fabric
    assert request is not None
    assert fabric is not None
    topology, nodes = TOPOLOGIES.get(fabric.topology), request.nodes
    units = [nodes]
    if isinstance(topology, FatTree):
        down, rails = topology.shape(request).down, fabric.rails
        units += [math.prod(down[:i]) // (rails if i > 1 else 1) for i in range(len(down), 0, -1)]
    elif fabric.routers and fabric.hosts:
        units += [fabric.routers * fabric.hosts, fabric.hosts]
    elif fabric.axes:
        hosts, sizes = fabric.hosts or 1, fabric.axes
        blocks = fabric.block or (1,) * len(sizes)
        each = [size // block for size, block in zip(sizes, blocks)]
        units += [math.prod(each[i:]) * hosts for i in range(1, len(each))]
    unit = next((unit for unit in units if unit <= _MOST_NODES), _MOST_NODES)
    return unit if unit >= min(_FEW, nodes) else min(_MOST_NODES // 2, nodes)


def _chosen(wiring: Wiring, first: int) -> npt.NDArray[np.bool_]:
    """Return which bundles are shown: those between the first nodes and the switches above them, level by level, as far as there is room."""
    level = np.concatenate([np.zeros(wiring.nodes, np.int64), wiring.levels])
    shown = np.zeros(wiring.vertices, dtype=np.bool_)
    shown[:first] = True
    for step in range(1, int(level.max(initial=0)) + 1):
        reached = np.concatenate([wiring.b[shown[wiring.a]], wiring.a[shown[wiring.b]]])
        fresh = np.unique(reached[level[reached] == step])
        trial = shown.copy()
        trial[fresh] = True
        if int((trial[wiring.a] & trial[wiring.b]).sum()) > _MOST_BUNDLES and step > 1:
            break
        shown = trial
    return np.asarray(shown[wiring.a] & shown[wiring.b])


def _names(cluster: Cluster, wiring: Wiring, vertices: npt.NDArray[np.int64]) -> dict[int, str]:
    """Return the names of some vertices: a million others need none."""
    groups = list(cluster.groups.values())
    ends = np.cumsum([group.total for group in groups])
    found = {}
    for vertex in vertices[vertices < wiring.nodes].tolist():
        at = int(np.searchsorted(ends, vertex, side="right"))
        found[vertex] = f"{groups[at].name}/{vertex - int(ends[at]) + groups[at].total}"
    switches = vertices[vertices >= wiring.nodes]
    named = wiring.switch_names(switches - wiring.nodes)
    return found | dict(zip(switches.tolist(), named, strict=True))


def _map(cluster: Cluster, wiring: Wiring, first: int, links: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    fabric = cluster.fabric
    assert fabric is not None
    keep = np.flatnonzero(_chosen(wiring, first))
    level = np.concatenate([np.zeros(wiring.nodes, np.int64), wiring.levels])
    a, b = wiring.a[keep], wiring.b[keep]
    names = _names(cluster, wiring, np.unique(np.concatenate([a, b])))
    tiers = wiring.names or tuple(f"level-{i + 1}" for i in range(int(wiring.tiers().max(initial=0)) + 1))
    place = _places(cluster, wiring)
    load = _loads(cluster, wiring, keep, names, links)
    return {
        "a": [names[v] for v in a.tolist()],
        "b": [names[v] for v in b.tolist()],
        "a_level": level[a].tolist(),
        "b_level": level[b].tolist(),
        "a_part": [place(v) for v in a.tolist()],
        "b_part": [place(v) for v in b.tolist()],
        "tier": [tiers[t] for t in wiring.tiers()[keep].tolist()],
        "cables": wiring.cables[keep].tolist(),
        "bytes_per_s": (wiring.cables * wiring.rates(fabric))[keep].tolist(),
        "load_frac": load.tolist(),
    }


def _places(cluster: Cluster, wiring: Wiring) -> Any:
    """Return a function from vertices to the part of the machine that they belong to."""
    request, fabric = request_of(cluster), cluster.fabric
    assert request is not None
    assert fabric is not None
    topology = TOPOLOGIES.get(fabric.topology)
    grid = getattr(topology, "grid", None)
    groups = getattr(topology, "groups", None)
    if grid is not None:
        shape = grid(request)

        def where(vertex: int) -> str | None:
            place = vertex - wiring.nodes if shape.hosts else vertex
            return ",".join(str(int(c)) for c in np.unravel_index(place, shape.axes)) if place >= 0 else None

        return where
    if groups is not None:
        numbers = groups(request)

        def member(vertex: int) -> str | None:
            own = vertex // numbers.hosts // numbers.routers if vertex < wiring.nodes else (vertex - wiring.nodes) // numbers.per_group
            return f"group {own}"

        return member
    return lambda vertex: None


def _loads(
    cluster: Cluster, wiring: Wiring, keep: IntArray, names: Mapping[int, str], links: Mapping[str, Any] | None
) -> npt.NDArray[np.float64]:
    """Return the mean use of the bundles ``keep``, the fuller way; of the pool that it belongs to where traffic is spread."""
    load = np.full(keep.size, np.nan)
    request, fabric = request_of(cluster), cluster.fabric
    if not links or request is None or fabric is None:
        return load
    use: dict[str, float] = {}
    for name, share in zip(links["link"], links["mean_utilisation_frac"]):
        for end in str(name).split(" → "):  # a pool is found by its lower end, a cable by both
            use[end] = max(use.get(end, 0.0), float(share))
        pair = " ".join(sorted(str(name).split(" → ")))
        use[pair] = max(use.get(pair, 0.0), float(share))
    low, high = wiring.a[keep], wiring.b[keep]
    load = np.array([use.get(" ".join(sorted((names[a], names[b]))), 0.0) for a, b in zip(low.tolist(), high.tolist())])
    pooled = any(end.startswith("switches/") for end in use)
    topology = TOPOLOGIES.get(fabric.topology)
    if pooled and isinstance(topology, FatTree):
        plan, first, tiers = topology.plan(request), wiring.nodes, wiring.tiers()[keep]
        at_node = low < wiring.nodes
        load[at_node] = [use.get(names[v], 0.0) for v in low[at_node].tolist()]
        up = {name.partition(" ")[0]: share for name, share in use.items() if name.count("switches/") == 2}
        for tier in range(1, len(plan.down)):
            own = np.flatnonzero(tiers == tier)
            subtree = (low[own] - first) // np.cumprod(plan.up)[tier - 1]
            pools = [[f"switches/{tier}/{i * plan.planes + k}" for k in range(plan.planes)] for i in subtree.tolist()]
            load[own] = [max(up.get(pool, 0.0) for pool in some) for some in pools]
            first += plan.switches[tier - 1]
    return load


def shape_note(cluster: Cluster, *, entered: bool) -> str | None:
    """Return a sentence that says when the shape of the fabric does not enter an answer, or None where it does.

    Parameters
    ----------
    cluster : Cluster
    entered : bool
        Whether anything in the answer was slowed by the fabric beyond the nodes' own ports.
    """
    fabric, size = cluster.fabric, cluster.fabric_size
    if fabric is None or size is None or fabric.topology in _PLAIN or sum(group.total for group in cluster.groups.values()) < 2:
        return None
    if entered:
        return None
    why = (
        "it carries what all nodes send at once"
        if size.oversubscription <= 1.0
        else "nothing here sends enough over the level that is oversubscribed"
    )
    return (
        f"The shape of the fabric ({fabric.topology}) has no effect on this answer: {why}, so that a single switch, and any routing, give the same "
        "times; the parts, their power and their price differ."
    )
