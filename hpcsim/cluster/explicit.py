"""Fabrics that are written out: cable by cable in the scenario, or as a graph in a GraphML file.

An end of a cable is a node (``gpu/3``), several nodes (``gpu/0-7``, ``gpu/*``), or anything else: the name of a switch. What has several on one side
is joined to the one on the other; two ranges of one length are joined in turn. Nodes pass on for others where a cable joins two of them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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
UNKNOWN_GROUP = problem_kind("link-group", "{end!r} names nodes of the group {group!r}, which the cluster does not have", "groups: {known}")
GRAPHML_FILE = problem_kind(
    "graphml-file", "the GraphML file {name!r} cannot be read: {why}", "its path is relative to the scenario's folder"
)
GRAPHML_VERTEX = problem_kind(
    "graphml-vertex", "edge {edge} ends at {vertex!r}, which the graph has no node for", "add the node, or mend the name"
)
GRAPHML_EDGES = problem_kind("graphml-edges", "the graph has no edges", "join the nodes")
GRAPHML_NODES = problem_kind(
    "graphml-nodes",
    "the graph has {found} vertices of kind node; the cluster has {nodes} nodes, spares included",
    "mark them with kind: node, or change the count",
)
GRAPHML_VALUE = problem_kind("graphml-value", "edge {edge} has {key} = {value!r}{more}", "a positive number in SI, or text with its unit")

_LISTED = 20
"""Problems of one kind that are listed."""
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
    if numbers == "*" or (numbers.replace("-", "", 1).isdecimal() and "-" in numbers[1:]):
        raise UNKNOWN_GROUP.error(end=end, group=group, known=", ".join(request.names))
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


class _Amounts:
    """Reads the values of edges and keeps those that are none, each value with how many edges have it."""

    def __init__(self) -> None:
        self.wrong: dict[tuple[str, str], tuple[str, Any, int]] = {}

    def read(self, edge: str, data: dict[str, Any], keys: Iterable[str], dimension: str, default: float | None) -> float | None:
        """Return what the first of ``keys`` says, ``default`` where there is none, None after noting that it says nothing sensible."""
        key = next((key for key in keys if key in data), None)
        if key is None:
            return default
        value = data[key]
        try:
            number = parse_quantity(value, dimension) if isinstance(value, str) and dimension else float(value)
        except (InputError, ValueError):
            number = math.nan
        if not (number >= 0 and math.isfinite(number)) or (number == 0 and dimension != "time") or (not dimension and number % 1):
            first, value, count = self.wrong.get((key, repr(value)), (edge, value, 0))
            self.wrong[key, repr(value)] = (first, value, count + 1)
            return None
        return number

    def problems(self, path: str) -> Problems:
        """Return a problem for each wrong value."""
        found = Problems()
        for (key, _), (edge, value, count) in list(self.wrong.items())[:_LISTED]:
            more = f", and so {'has 1 other' if count == 2 else f'have {count - 1:,} others'}" if count > 1 else ""
            found.add(GRAPHML_VALUE(path=path, edge=edge, key=key, value=value, more=more))
        return found


def _graph_of(file: Path, name: str | None, path: str) -> Any:
    """Read a GraphML file; the vertices of all edges are there."""
    import networkx as nx  # slow to load, and seldom needed

    try:
        text = file.read_bytes()
        g = nx.read_graphml(io.BytesIO(text))
        declared = {vertex.get("id") for vertex in ElementTree.fromstring(text).iter() if vertex.tag.rpartition("}")[2] == "node"}
    except FileNotFoundError:
        raise GRAPHML_FILE.error(path=path, name=name, why="there is no such file") from None
    except Exception as error:  # whatever the XML parser or networkx finds wrong with the text
        raise GRAPHML_FILE.error(path=path, name=name, why=getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
    problems = Problems()
    unknown = {str(v) for v in g} - declared
    for a, b in list(g.edges()) if unknown else ():
        for end in {str(a), str(b)} & unknown:
            problems.add(GRAPHML_VERTEX(path=path, edge=f"{a} – {b}", vertex=end))
    problems.items = problems.items[:_LISTED]
    problems.raise_if_any()
    if not g.number_of_edges():
        raise GRAPHML_EDGES.error(path=path)
    return g


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
    fabric, path = request.fabric, f"{request.fabric.path}.file"
    g = _graph_of(file, fabric.file, path)
    names = [f"{name}/{i}" for name, (count, _) in zip(request.names, request.ports) for i in range(count)]
    own = set(names)
    hosts = [v for v, data in g.nodes(data=True) if str(v) in own or data.get("kind") in ("node", "host")]
    if len(hosts) != request.nodes:
        raise GRAPHML_NODES.error(path=path, found=len(hosts), nodes=request.nodes)
    called = dict(zip(hosts, names)) if not all(str(v) in own for v in hosts) else {v: str(v) for v in hosts}
    amounts, cables = _Amounts(), []
    for number, (a, b, data) in enumerate(g.edges(data=True)):
        edge = f"{a} – {b}"
        rate = amounts.read(edge, data, ("bytes_per_s", "bandwidth"), "data rate", fabric.bytes_per_s)
        own_s = amounts.read(edge, data, ("latency_s", "latency"), "time", None)
        count = amounts.read(edge, data, ("cables",), "", 1)
        if rate is not None and count is not None:
            ends = (called.get(v, f"graph:{v}") for v in (a, b))
            cables.append(Cable(str(number), next(ends), next(ends), int(count), rate, own_s))
    amounts.problems(path).raise_if_any()
    return tuple(cables)


class GraphMl(ExplicitLinks):
    """The graph of a GraphML file."""

    def cables(self, request: Request) -> tuple[Cable, ...]:
        """Read the file."""
        if not request.fabric.file:
            raise GRAPHML_FILE.error(path=f"{request.fabric.path}.file", name="", why="none is named")
        return graphml_cables(Path(request.fabric.file), request)
