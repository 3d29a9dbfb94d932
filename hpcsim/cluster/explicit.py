"""Fabrics that are written out: cable by cable in the scenario, or as a graph in a GraphML file.

An end of a cable is a node (``gpu/3``), several nodes (``gpu/0-7``, ``gpu/*``), or anything else: the name of a switch. What has several on one side
is joined to the one on the other; two ranges of one length are joined in turn. Nodes pass on for others where a cable joins two of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.units import parse_quantity
from hpcsim.cluster.links import tabulate
from hpcsim.cluster.parts import Cable, FabricSize
from hpcsim.cluster.walks import GraphWalker
from hpcsim.cluster.wiring import Request, Wiring

__all__ = ["ExplicitLinks", "GraphMl", "graphml_cables"]

IntArray = npt.NDArray[np.int64]

NO_LINKS = problem_kind("links-missing", "topology links has no links", "add {path}.links, for example {{up: {{between: [gpu/*, leaf]}}}}")
UNKNOWN_END = problem_kind("link-end", "{end!r} names no node: group {group} has nodes 0 to {last}", "mend the number")
RANGES = problem_kind("link-ranges", "{a!r} stands for {few} nodes and {b!r} for {many}", "ranges of one length, or a switch at one end")
TO_SELF = problem_kind("link-to-itself", "the link joins {end!r} to itself", "two different ends")
LINK_TWICE = problem_kind(
    "link-twice", "{a!r} and {b!r} are joined by two links of unlike kinds", "one link with more cables, or a switch between"
)
TOO_MANY_CABLES = problem_kind("link-ports", "node {name!r} has {cables} cables and {ports} ports", "per_node: {cables}, or fewer cables")
NOT_ALL_JOINED = problem_kind("fabric-apart", "nothing joins {a!r} and {b!r}{more}", "add links between them")
GRAPHML_FILE = problem_kind(
    "graphml-file", "the GraphML file {file!r} cannot be read: {why}", "its path is relative to the scenario's folder"
)
GRAPHML_NODES = problem_kind(
    "graphml-nodes",
    "the graph has {found} vertices of kind node; the cluster has {nodes} nodes, spares included",
    "mark them with kind: node, or change the count",
)
GRAPHML_VALUE = problem_kind("graphml-value", "edge {edge} has {key} = {value!r}", "a positive number in SI, or text with its unit")

_MOST_FLOW = 256
"""Nodes up to which the bandwidth between halves is computed by maximum flow."""
_MOST_FAR = 2048


def _node_ends(end: str, request: Request) -> list[int] | None:
    """Return the nodes that ``end`` stands for, or None for a switch."""
    group, _, numbers = end.partition("/")
    first = 0
    for name, (count, _) in zip(request.names, request.ports):
        if name == group and numbers:
            low, dash, high = numbers.partition("-")
            if numbers == "*":
                return list(range(first, first + count))
            if low.isdecimal() and (not dash or high.isdecimal()):
                last = int(high) if dash else int(low)
                if int(low) <= last < count:
                    return list(range(first + int(low), first + last + 1))
            raise UNKNOWN_END.error(end=end, group=group, last=count - 1)
        first += count
    return None


class ExplicitLinks:
    """The cables that the scenario lists under ``links``."""

    def cables(self, request: Request) -> tuple[Cable, ...]:
        """Return the cables as they are written."""
        if not request.fabric.links:
            raise NO_LINKS.error(path=request.fabric.path)
        return request.fabric.links

    def wire(self, request: Request) -> Wiring:
        """List the cables; switches are numbered as they first occur.

        Raises
        ------
        InputError
            Ends that do not exist, links from a vertex to itself, unlike links between two vertices, a node with more cables than ports, and nodes
            that nothing joins; all of them.
        """
        fabric, n = request.fabric, request.nodes
        problems, switches = Problems(), {}  # type: Problems, dict[str, int]
        found: dict[tuple[int, int], tuple[int, float, float]] = {}
        for cable in self.cables(request):
            path = f"{fabric.path}.links.{cable.name}" if fabric.links else fabric.path
            try:
                ends = [_node_ends(end, request) for end in (cable.a, cable.b)]
            except InputError as error:
                problems.absorb(error, path)
                continue
            sides = [
                nodes if nodes is not None else [n + switches.setdefault(end, len(switches))]
                for nodes, end in zip(ends, (cable.a, cable.b))
            ]
            few, many = sorted(map(len, sides))
            if few > 1 and few != many:
                problems.add(RANGES(path=path, a=cable.a, few=len(sides[0]), b=cable.b, many=len(sides[1])))
                continue
            for a, b in zip(*(side * many if len(side) == 1 else side for side in sides)):
                self._add(found, problems, path, cable, min(a, b), max(a, b), request)
        problems.raise_if_any()
        return self._wiring(request, found, tuple(switches))

    def _add(
        self,
        found: dict[tuple[int, int], tuple[int, float, float]],
        problems: Problems,
        path: str,
        cable: Cable,
        a: int,
        b: int,
        request: Request,
    ) -> None:
        fabric, n = request.fabric, request.nodes
        if a == b:
            problems.add(TO_SELF(path=path, end=cable.a))
            return
        own_s = cable.latency_s
        if own_s is None:
            own_s = fabric.latency_s / 2 if a < n <= b else fabric.hop_s
        known = found.get((a, b))
        if known is not None and known[1:] != (cable.bytes_per_s, own_s):
            problems.add(LINK_TWICE(path=path, a=cable.a, b=cable.b))
            return
        found[a, b] = ((known[0] if known else 0) + cable.cables, cable.bytes_per_s, own_s)

    def _wiring(self, request: Request, found: dict[tuple[int, int], tuple[int, float, float]], labels: tuple[str, ...]) -> Wiring:
        n = request.nodes
        a, b = np.array(list(found), dtype=np.int64).reshape(-1, 2).T
        cables, rate, own_s = (np.array(column) for column in zip(*found.values()))
        attach = n + np.arange(len(labels)) if labels else np.arange(n)
        wiring = Wiring(
            n,
            np.ones(len(labels), np.int64),
            a,
            b,
            cables.astype(np.int64),
            attach.astype(np.int64),
            tier=(a >= n).astype(np.int64),
            bytes_per_s=rate.astype(np.float64),
            latency_s=own_s.astype(np.float64),
            forwards=bool((b < n).any()),
            names=("hosts", "switches"),
            labels=labels,
        )
        self._check(request, wiring)
        return wiring

    def _check(self, request: Request, wiring: Wiring) -> None:
        problems, path = Problems(), request.fabric.path
        links = tabulate(wiring, request, groups=tuple(zip(request.names, (count for count, _ in request.ports))))
        used, ports = np.bincount(links.tail[: 2 * links.cables], minlength=links.vertices), request.ports_of_nodes()
        for node in np.flatnonzero(used[: wiring.nodes] > ports)[:20].tolist():
            problems.add(TOO_MANY_CABLES(path=path, name=links.vertex_name(node), cables=int(used[node]), ports=int(ports[node])))
        far = GraphWalker(links).distances(np.zeros(1, np.int64))[0, : wiring.nodes]
        lost = np.flatnonzero(far == 255)
        if lost.size:
            more = f", nor {lost.size - 1} more" if lost.size > 1 else ""
            problems.add(NOT_ALL_JOINED(path=path, a=links.vertex_name(0), b=links.vertex_name(int(lost[0])), more=more))
        problems.raise_if_any()

    def size(self, request: Request) -> FabricSize:
        """Count switches and cables, and measure what no closed form gives: diameter, bandwidth between halves, and the ratio of what the
        first half of the nodes can send to what reaches the second (up to 256 nodes; 1 beyond)."""
        wiring = self.wire(request)
        by_tier = np.bincount(wiring.tiers(), wiring.cables, 2)
        diameter = None
        if request.nodes <= _MOST_FAR:
            far = GraphWalker(tabulate(wiring, request)).distances(np.arange(request.nodes))
            diameter = int(far[:, : request.nodes].max())
        between, ratio = _halves(wiring, request)
        return FabricSize(
            switches=(len(wiring.levels),) if len(wiring.levels) else (),
            cables=tuple(int(n) for n in by_tier),
            storage_cables=sum(request.storage_ports),
            oversubscription=ratio,
            tiers=wiring.names,
            diameter=diameter,
            bisection_bytes_per_s=between,
        )


def _halves(wiring: Wiring, request: Request) -> tuple[float | None, float]:
    """Return the largest flow from the first half of the nodes to the second [B/s], and what they can send over it."""
    n = request.nodes
    if n < 2 or n > _MOST_FLOW:
        return None, 1.0
    import networkx as nx  # slow to load, and seldom needed

    rates = wiring.rates(request.fabric) * wiring.cables
    flow = nx.DiGraph()
    for a, b, rate in zip(wiring.a.tolist(), wiring.b.tolist(), rates.tolist()):
        flow.add_edge(a, b, capacity=rate)
        flow.add_edge(b, a, capacity=rate)
    half = n // 2
    flow.add_edges_from(("source", node) for node in range(half))
    flow.add_edges_from((node, "sink") for node in range(n - half, n))
    value = float(nx.maximum_flow_value(flow, "source", "sink"))
    ends = [np.bincount(side, rates, wiring.vertices)[:n] for side in (wiring.a, wiring.b)]
    sends = float((ends[0] + ends[1])[:half].sum())
    return value, max(sends / value, 1.0) if value > 0 else math.inf


def _amount(
    edge: Any, data: dict[str, Any], keys: Iterable[str], dimension: str, default: float | None, problems: Problems, path: str
) -> float | None:
    for key in keys:
        if key not in data:
            continue
        value = data[key]
        try:
            number = float(value) if not isinstance(value, str) else parse_quantity(value, dimension)
        except (InputError, ValueError):
            number = math.nan
        if not (number >= 0 and math.isfinite(number)) or (number == 0 and dimension == "data rate"):
            problems.add(GRAPHML_VALUE(path=path, edge=f"{edge[0]} – {edge[1]}", key=key, value=value))
            return None
        return number
    return default


def graphml_cables(file: Path, request: Request) -> tuple[Cable, ...]:
    """Read the cables of a GraphML file.

    Vertices whose ``kind`` is ``node`` or ``host``, or that are named like nodes (``gpu/0``), are the nodes, by name or else in the order of the
    file; all others are switches. An edge has ``bytes_per_s`` (number) or ``bandwidth`` (text with its unit) of one cable, ``cables``,
    and ``latency_s`` or ``latency``; what it leaves out is the fabric's.

    Raises
    ------
    InputError
        No such file, no GraphML, another number of nodes than the cluster has, or values that are no quantities; all of them.
    """
    import networkx as nx  # slow to load, and seldom needed

    fabric, path = request.fabric, f"{request.fabric.path}.file"
    try:
        g = nx.read_graphml(file)
    except FileNotFoundError:
        raise GRAPHML_FILE.error(path=path, file=fabric.file, why="there is no such file") from None
    except Exception as error:  # whatever the XML parser or networkx finds wrong with the text
        raise GRAPHML_FILE.error(path=path, file=fabric.file, why=str(error) or type(error).__name__) from None
    names = [f"{name}/{i}" for name, (count, _) in zip(request.names, request.ports) for i in range(count)]
    own = set(names)
    hosts = [v for v, data in g.nodes(data=True) if str(v) in own or data.get("kind") in ("node", "host")]
    if len(hosts) != request.nodes:
        raise GRAPHML_NODES.error(path=path, found=len(hosts), nodes=request.nodes)
    called = dict(zip(hosts, names)) if not all(str(v) in own for v in hosts) else {v: str(v) for v in hosts}
    problems, cables = Problems(), []
    for number, (a, b, data) in enumerate(g.edges(data=True)):
        rate = _amount((a, b), data, ("bytes_per_s", "bandwidth"), "data rate", fabric.bytes_per_s, problems, path)
        own_s = _amount((a, b), data, ("latency_s", "latency"), "time", None, problems, path)
        count = _amount((a, b), data, ("cables",), "time", 1, problems, path)
        if rate is not None and count is not None:
            ends = (called.get(v, f"graph:{v}") for v in (a, b))
            cables.append(Cable(str(number), next(ends), next(ends), max(int(count), 1), rate, own_s))
    problems.raise_if_any()
    return tuple(cables)


class GraphMl(ExplicitLinks):
    """The graph of a GraphML file."""

    def cables(self, request: Request) -> tuple[Cable, ...]:
        """Read the file."""
        if not request.fabric.file:
            raise GRAPHML_FILE.error(path=f"{request.fabric.path}.file", file="", why="none is named")
        return graphml_cables(Path(request.fabric.file), request)
