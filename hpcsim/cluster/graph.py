"""The cluster as a networkx graph with typed vertices and edges, and what can be read off it.

Vertices are named ``gpu/0`` (node 0 of group gpu), ``gpu/0/device/3``, ``gpu/0/cpu``, ``gpu/0/nic/1``, ``gpu/scale-up/0``,
``switch/1/0`` (level 1, number 0) and ``storage/scratch``; their ``kind`` is ``node``, ``device``, ``cpu``, ``nic``, ``scale-up``,
``switch`` or ``storage``. An edge has ``bytes_per_s`` (one way, all its cables together), ``latency_s``, ``cables`` and a ``kind``:

========== ==========================================================================================
kind       joins
========== ==========================================================================================
pcie       a node's root complex to its devices, its processors and its network ports
nvlink, …  a device to the switch of its scale-up domain, or to another device: xGMI domains are full meshes, the TPU chips of a host are
           neighbours on their torus; the kind is the link's: nvlink, ici, xgmi, …
nic        a node's ports to the fabric
fabric     two switches
storage    a storage tier to the fabric
========== ==========================================================================================

The latency of a path is the sum over its edges: half of the fabric's latency on each ``nic`` and ``storage`` edge, one hop on each
``fabric`` edge, so that two nodes at one switch see exactly the fabric's latency.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import networkx as nx

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.devices import inside_of
from hpcsim.cluster.parts import Accelerator, Cluster, Fabric, NodeGroup
from hpcsim.cluster.topologies import TOPOLOGIES, Wiring, request_of

__all__ = ["Counts", "bisection_bytes_per_s", "counts", "graph", "oversubscription", "path_bandwidth", "path_latency_s"]

UNKNOWN_VERTEX = problem_kind("unknown-vertex", "the graph has no vertex {name!r}", "for example {example!r}")

FABRIC_KINDS = ("nic", "fabric", "storage")


def _node_names(cluster: Cluster) -> list[str]:
    return [f"{group.name}/{i}" for group in cluster.groups.values() for i in range(group.total)]


def _add_nodes(g: Any, group: NodeGroup) -> None:
    shared = {
        "kind": "node",
        "group": group.name,
        "cores": group.cores or 0,
        "memory_bytes": group.memory_bytes or 0.0,
        "devices": group.per_node,
    }
    names = [f"{group.name}/{i}" for i in range(group.total)]
    g.add_nodes_from((name, {**shared, "spare": i >= group.count}) for i, name in enumerate(names))


def _scale_up_edge(device: Accelerator, devices: int) -> dict[str, Any]:
    rate = device.scale_up_bytes_per_s
    assert rate is not None
    return {
        "kind": device.scale_up_kind,
        "bytes_per_s": devices * rate,
        "latency_s": (device.scale_up_latency_s or 0.0) / 2,
        "cables": devices,
    }


def _add_domains(g: Any, group: NodeGroup) -> None:
    """Join whole nodes by the scale-up domains that span several of them."""
    if group.accelerator is None or group.domain <= group.per_node or group.accelerator.scale_up_bytes_per_s is None:
        return
    wide = group.domain // group.per_node
    switches = [f"{group.name}/scale-up/{j}" for j in range(-(-group.total // wide))]
    g.add_nodes_from(switches, kind="scale-up", group=group.name)
    edge = _scale_up_edge(group.accelerator, group.per_node)
    g.add_edges_from((f"{group.name}/{i}", switches[i // wide], dict(edge)) for i in range(group.total))


def _add_mesh(g: Any, group: NodeGroup, devices: list[str], fabric: Fabric | None) -> bool:
    """Join devices by links of their own where they have no switch: xGMI domains pair by pair, TPU chips of a host to their neighbours."""
    device, inside = group.accelerator, inside_of(group)
    assert device is not None
    latency_s = device.scale_up_latency_s or 0.0
    if inside.kind == "mesh":
        edge = {"kind": device.scale_up_kind, "bytes_per_s": inside.bytes_per_s, "latency_s": latency_s, "cables": 1}
        for first in range(0, len(devices), inside.domain):
            g.add_edges_from((a, b, dict(edge)) for a, b in combinations(devices[first : first + inside.domain], 2))
        return True
    if fabric is None or fabric.topology != "torus" or not fabric.block or math.prod(fabric.block) != group.per_node:
        return False
    edge = {"kind": device.scale_up_kind, "bytes_per_s": fabric.bytes_per_s, "latency_s": fabric.hop_s, "cables": 1}
    for host in range(0, len(devices), group.per_node):
        for place in product(*(range(size) for size in fabric.block)):
            for axis, size in enumerate(fabric.block):
                if place[axis] + 1 < size:
                    other = (*place[:axis], place[axis] + 1, *place[axis + 1 :])
                    ends = (devices[host + _number(end, fabric.block)] for end in (place, other))
                    g.add_edge(*ends, **edge)
    return True


def _number(place: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    """Return the number of a place, the last axis fastest."""
    found = 0
    for at, size in zip(place, sizes, strict=True):
        found = found * size + at
    return found


def _add_devices(g: Any, group: NodeGroup, fabric: Fabric | None) -> None:
    """Add processors, accelerators, scale-up switches or meshes, and network ports inside the nodes."""
    names = [f"{group.name}/{i}" for i in range(group.total)]
    g.add_nodes_from((f"{n}/cpu", {"kind": "cpu", "cores": group.cores or 0, "sockets": group.cpus}) for n in names)
    inside = {"kind": "pcie", "bytes_per_s": math.inf, "latency_s": 0.0, "cables": 1}
    g.add_edges_from((n, f"{n}/cpu", dict(inside)) for n in names)
    if group.nic_bytes_per_s is not None:
        port = {**inside, "bytes_per_s": group.nic_bytes_per_s}
        nics = [(n, f"{n}/nic/{k}") for n in names for k in range(group.nics)]
        g.add_nodes_from((nic for _, nic in nics), kind="nic", group=group.name)
        g.add_edges_from((n, nic, dict(port)) for n, nic in nics)
    device = group.accelerator
    if device is None:
        return
    own = {"kind": "device", "group": group.name, "accelerator": device.id, "memory_bytes": device.memory_bytes or 0.0}
    devices = [(n, f"{n}/device/{k}") for n in names for k in range(group.per_node)]
    g.add_nodes_from((d for _, d in devices), **own)
    host = {**inside, "bytes_per_s": math.inf if device.host_bytes_per_s is None else device.host_bytes_per_s}
    g.add_edges_from((n, d, dict(host)) for n, d in devices)
    if device.scale_up_bytes_per_s is None or device.scale_up_kind == "pcie":
        return
    if _add_mesh(g, group, [name for _, name in devices], fabric):
        return
    switches = [f"{group.name}/scale-up/{j}" for j in range(-(-len(devices) // group.domain))]
    g.add_nodes_from(switches, kind="scale-up", group=group.name)
    edge = _scale_up_edge(device, 1)
    g.add_edges_from((d, switches[j // group.domain], dict(edge)) for j, (_, d) in enumerate(devices))


def _add_fabric(g: Any, cluster: Cluster, fabric: Fabric, wiring: Wiring, *, devices: bool) -> None:
    nodes = _node_names(cluster)
    levels = wiring.levels.tolist()
    switches = wiring.switch_names()
    g.add_nodes_from((name, {"kind": "switch", "level": level}) for name, level in zip(switches, levels))
    names = nodes + switches
    used = [0] * wiring.nodes
    edges = []
    columns = (wiring.a, wiring.b, wiring.cables, wiring.tiers() + 1, wiring.rates(fabric), wiring.latencies(fabric))
    for a, b, cables, level, rate, each_s in zip(*(column.tolist() for column in columns)):
        edge = {"kind": "fabric", "bytes_per_s": cables * rate, "latency_s": each_s, "cables": cables, "level": level}
        if a >= wiring.nodes:
            edges.append((names[a], names[b], edge))
            continue
        edge["kind"] = "nic"
        if not devices or b < wiring.nodes:
            edges.append((names[a], names[b], edge))
            continue
        for k in range(used[a], used[a] + cables):
            edges.append((f"{names[a]}/nic/{k}", names[b], edge | {"bytes_per_s": rate, "cables": 1}))
        used[a] += cables
    g.add_edges_from(edges)
    _add_storage(g, cluster, fabric, [names[v] for v in wiring.attach.tolist()])


def _add_storage(g: Any, cluster: Cluster, fabric: Fabric, attach: list[str]) -> None:
    turn = 0
    for tier in cluster.storage.values():
        name = f"storage/{tier.name}"
        g.add_node(name, kind="storage", read_bytes_per_s=tier.read_bytes_per_s, write_bytes_per_s=tier.write_bytes_per_s, type=tier.kind)
        ports = Counter(attach[(turn + k) % len(attach)] for k in range(tier.ports))
        turn += tier.ports
        for switch, cables in ports.items():
            rate = cables * fabric.bytes_per_s
            g.add_edge(name, switch, kind="storage", bytes_per_s=rate, latency_s=fabric.latency_s / 2, cables=cables)


def graph(cluster: Cluster, *, devices: bool = True) -> Any:
    """Return the cluster as a graph.

    Parameters
    ----------
    cluster : Cluster
        The resolved cluster.
    devices : bool
        With processors, accelerators, scale-up switches and network ports; without, nodes are single vertices (scale-up domains
        that span nodes stay), which keeps large clusters small.

    Returns
    -------
    networkx.Graph
        Undirected; every edge carries ``bytes_per_s`` in each direction. Without a fabric the nodes are not joined.

    Raises
    ------
    InputError
        The topology does not hold the nodes.
    """
    g = nx.Graph(devices=devices)
    for group in cluster.groups.values():
        _add_nodes(g, group)
    for group in cluster.groups.values():
        if devices:
            _add_devices(g, group, cluster.fabric)
        else:
            _add_domains(g, group)
    request = request_of(cluster)
    if request is not None:
        _add_fabric(g, cluster, request.fabric, TOPOLOGIES.get(request.fabric.topology).wire(request), devices=devices)
    else:
        g.add_nodes_from((f"storage/{t.name}", {"kind": "storage", "type": t.kind}) for t in cluster.storage.values())
    return g


@dataclass(frozen=True)
class Counts:
    """What a graph consists of.

    Attributes
    ----------
    vertices : dict of str to int
        Vertices by kind.
    cables : dict of str to int
        Cables by kind of edge.
    switches : tuple of int
        Fabric switches of each level, leaf level first.
    fabric_cables : tuple of int
        Cables of the fabric by tier, storage apart: in a tree those that arrive from below at each level, the nodes' at the leaves, and so on.
    """

    vertices: dict[str, int]
    cables: dict[str, int]
    switches: tuple[int, ...]
    fabric_cables: tuple[int, ...]


def counts(g: Any) -> Counts:
    """Count vertices and cables of a graph by kind, and the fabric's by level."""
    vertices = Counter(kind for _, kind in g.nodes(data="kind"))
    levels = Counter(level for _, level in g.nodes(data="level") if level is not None)
    cables: Counter[str] = Counter()
    below: Counter[int] = Counter()
    for _, _, edge in g.edges(data=True):
        cables[edge["kind"]] += edge["cables"]
        if "level" in edge:
            below[edge["level"]] += edge["cables"]
    return Counts(
        dict(sorted(vertices.items())),
        dict(sorted(cables.items())),
        tuple(levels[i] for i in sorted(levels)),
        tuple(below[i] for i in sorted(below)),
    )


def oversubscription(g: Any) -> float:
    """Return how far the fabric is oversubscribed: 1 is non-blocking, 2 means half of what the nodes can send gets to the top.

    For every level but the top, what comes up to its switches is divided by what they pass on, at the worst switch; the ratios of
    the levels multiply, and the largest product counts. A fabric in which nothing goes up has 1. A level that passes on more than it
    takes has a ratio below 1. Cables between switches of one level do not count.
    """
    down: Counter[str] = Counter()
    up: Counter[str] = Counter()
    level_of = dict(g.nodes(data="level"))
    for a, b, edge in g.edges(data=True):
        if edge["kind"] not in ("nic", "fabric"):
            continue
        low, high = sorted((a, b), key=lambda v: level_of[v] or 0)
        if level_of[low] == level_of[high]:
            continue
        down[high] += edge["bytes_per_s"]
        up[low] += edge["bytes_per_s"]
    worst: dict[int, float] = {}
    for switch, level in level_of.items():
        if level is not None and up[switch] > 0:
            worst[level] = max(worst.get(level, 0.0), down[switch] / up[switch])
    ratio, most = 1.0, 0.0
    for level in sorted(worst):
        ratio *= worst[level]
        most = max(most, ratio)
    return most if worst else 1.0


def _flow_graph(g: Any) -> Any:
    flow = nx.DiGraph()
    for a, b, edge in g.edges(data=True):
        capacity = {} if math.isinf(edge["bytes_per_s"]) else {"capacity": edge["bytes_per_s"]}
        flow.add_edge(a, b, **capacity)
        flow.add_edge(b, a, **capacity)
    return flow


def bisection_bytes_per_s(g: Any) -> float:
    """Return the bandwidth one way between the first and the second half of the nodes [B/s].

    It is the largest flow over the fabric from the nodes of the first half to those of the second, in the order of their numbers (the
    middle one left out of an odd number). For a single switch and for a fat tree whose top has an even number of full subtrees no
    other halving has less; for other fabrics it is one cut of many, and an upper bound of the smallest.
    """
    nodes = [name for name, kind in g.nodes(data="kind") if kind == "node"]
    kinds = (*FABRIC_KINDS, "pcie") if g.graph.get("devices") else FABRIC_KINDS
    flow = _flow_graph(nx.edge_subgraph(g, [(a, b) for a, b, kind in g.edges(data="kind") if kind in kinds]))
    half = len(nodes) // 2
    joined = [name for name in nodes if name in flow]
    if half == 0 or not joined:
        return 0.0
    flow.add_edges_from(("source", name) for name in nodes[:half])
    flow.add_edges_from((name, "sink") for name in nodes[len(nodes) - half :])
    value, _ = nx.maximum_flow(flow, "source", "sink")
    return float(value)


def _vertex(g: Any, name: str) -> None:
    if name not in g:
        raise UNKNOWN_VERTEX.error(name=name, example=next(iter(g), ""))


def path_bandwidth(g: Any, a: str, b: str) -> float:
    """Return the bandwidth from ``a`` to ``b`` over all paths together [B/s], nothing else on the way.

    A storage tier at either end gives no more than its read, and takes no more than its write bandwidth. One path alone, such as that
    of a single unsprayed flow, may carry less.

    Raises
    ------
    InputError
        The graph has no such vertex.
    """
    _vertex(g, a)
    _vertex(g, b)
    if a == b:
        return math.inf
    if not nx.has_path(g, a, b):
        return 0.0
    flow = _flow_graph(g)
    ends = (g.nodes[a].get("read_bytes_per_s", math.inf), g.nodes[b].get("write_bytes_per_s", math.inf))
    try:
        value = float(nx.maximum_flow_value(flow, a, b))
    except nx.NetworkXUnbounded:
        value = math.inf
    return float(min(value, *ends))


def path_latency_s(g: Any, a: str, b: str) -> float:
    """Return the latency of the quickest path from ``a`` to ``b`` [s]; infinite where there is none.

    Raises
    ------
    InputError
        The graph has no such vertex.
    """
    _vertex(g, a)
    _vertex(g, b)
    try:
        return float(nx.dijkstra_path_length(g, a, b, weight="latency_s"))
    except nx.NetworkXNoPath:
        return math.inf
