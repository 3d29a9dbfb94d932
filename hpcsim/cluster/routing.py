"""Which way a flow takes: one switch, ``routing``, over the same fabric.

=========== ========================================================================================================================
routing     a flow takes
=========== ========================================================================================================================
d-mod-k     the shortest way that its destination's number says: free of collisions for shifts, the same for every flow to a node
minimal     the same, under the name that direct networks have for it
ecmp        one of the shortest ways by a hash of source, destination, port and flow: collisions happen
spray       all shortest ways at once, evenly
adaptive    of some ways (in a dragonfly detours too) the one whose fullest link has least on it, flow by flow
valiant     a shortest way to a node drawn at random, and on from there: twice as long, and no traffic pattern is bad for it
=========== ========================================================================================================================

A pair of nodes goes over all ports of its nodes at once unless a port is named: a sub-flow for each. Sub-flows of one pair have their share of its bytes;
the pair is done when the last one is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.cluster.faults import left_over
from hpcsim.cluster.links import links_of
from hpcsim.cluster.parts import Cluster, missing
from hpcsim.cluster.topologies import TOPOLOGIES
from hpcsim.cluster.walks import GraphWalker, Walker, counted
from hpcsim.cluster.wiring import Routed, request_of
from hpcsim.cost.maxmin import Routes

__all__ = ["ROUTINGS", "Paths", "Router", "router"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ROUTINGS = ("d-mod-k", "minimal", "ecmp", "spray", "adaptive", "valiant")

UNKNOWN_ROUTING = problem_kind("unknown-routing", "unknown routing {name!r}", "one of {known}")
NOT_JOINED = problem_kind("fabric-not-joined", "nothing joins {source} and {target}", "{remedy}")
TO_ITSELF = problem_kind("route-to-itself", "flow {flow} goes from {name} to itself", "what stays on a node is no flow over the fabric")
NO_VERTEX = problem_kind("route-vertex", "flow {flow} ends at vertex {vertex}, which is neither a node nor a storage tier", "{known}")

_LISTED = 20
_CANDIDATES = 4
_MOST_WAYS = 64
"""Sub-flows that one spread flow is divided into at most; more equal ways are taken in even steps."""


class Paths(NamedTuple):
    """The routes of some pairs.

    Attributes
    ----------
    routes : Routes
        Links of every sub-flow.
    pair : array of int, shape (sub-flows,)
        Which pair each belongs to, ascending.
    share : array, shape (sub-flows,)
        Its part of the pair's bytes; they add up to 1 over a pair.
    latency_s : array, shape (sub-flows,)
        Time of its first byte from end to end [s].
    """

    routes: Routes
    pair: IntArray
    share: FloatArray
    latency_s: FloatArray


def _mixed(*parts: IntArray | int) -> IntArray:
    """Return a hash of whole numbers, not negative (SplitMix64, folded over the parts)."""
    state = np.full(1, 0x9E3779B97F4A7C15, dtype=np.uint64)  # scalars would warn where arrays wrap
    for part in parts:
        state = np.asarray(part, dtype=np.int64).astype(np.uint64) + state
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return np.asarray(state >> np.uint64(2)).astype(np.int64)


class Router:
    """Routes of one fabric under one routing; :func:`router` makes it of a cluster.

    Attributes
    ----------
    links : Links
        The links that its routes are made of; with ``spray`` on a regular tree these are pools of cables.
    routing : str
    """

    def __init__(self, walker: Walker, routing: str, *, seed: int = 0) -> None:
        if routing not in ROUTINGS:
            raise UNKNOWN_ROUTING.error(path="cluster.fabric.routing", name=routing, known=", ".join(ROUTINGS))
        self.links, self.routing = walker.links, routing
        self._walker, self._seed = walker, seed
        self._graph = walker if isinstance(walker, GraphWalker) else GraphWalker(walker.links)

    @property
    def capacity_bytes_per_s(self) -> FloatArray:
        """What each link carries [B/s]."""
        return self.links.capacity_bytes_per_s

    def spread(self) -> Router:
        """Return a router over the same links that sends every flow all shortest ways at once."""
        return self if self.routing == "spray" else Router(self._walker, "spray", seed=self._seed)

    def routes(
        self,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        *,
        port: npt.ArrayLike | None = None,
        flow: npt.ArrayLike | None = None,
        load: FloatArray | None = None,
    ) -> Paths:
        """Return the routes of pairs of vertices.

        Parameters
        ----------
        source, target : array of int, shape (pairs,)
            Nodes by number; storage tiers by their vertex (:meth:`Links.vertex`).
        port : array of int, shape (pairs,), optional
            The port that each goes over at both ends; all of them, a sub-flow each, without it.
        flow : array of int, shape (pairs,), optional
            Number of each flow, which tells flows of one pair apart where a hash decides; their place here without it.
        load : array, shape (links,), optional
            What is on the links before, for ``adaptive``, in flows.

        Returns
        -------
        Paths

        Raises
        ------
        InputError
            Pairs that nothing joins, flows from a node to itself, ends that do not exist; each is named.
        """
        source, target = np.broadcast_arrays(np.atleast_1d(source), np.atleast_1d(target))
        source, target = source.astype(np.int64), target.astype(np.int64)
        self._check(source, target)
        number = np.arange(source.size) if flow is None else np.broadcast_to(np.asarray(flow, dtype=np.int64), source.shape)
        inner = (source < self.links.nodes) & (target < self.links.nodes)
        parts = []
        for walker, pairs in ((self._walker, np.flatnonzero(inner)), (self._graph, np.flatnonzero(~inner))):
            if pairs.size:
                own = None if port is None else np.broadcast_to(np.asarray(port, dtype=np.int64), source.shape)[pairs]
                parts.append(self._subflows(walker, source[pairs], target[pairs], own, number[pairs], pairs, load))
        if not parts:
            nothing = np.empty(0, np.int64)
            return Paths(Routes(np.zeros(1, np.int64), nothing), nothing, nothing.astype(float), nothing.astype(float))
        return self._joined(parts, source, target)

    def _check(self, source: IntArray, target: IntArray) -> None:
        problems, links = Problems(), self.links
        last = links.nodes + links.switches
        for ends in (source, target):
            wrong = (ends < 0) | ((ends >= links.nodes) & (ends < last)) | (ends >= last + len(links.storage))
            for i in np.flatnonzero(wrong)[:_LISTED].tolist():
                storage = f", tiers {last} to {last + len(links.storage) - 1}" if links.storage else ""
                problems.add(
                    NO_VERTEX(path=f"routes[{i}]", flow=i, vertex=int(ends[i]), known=f"nodes are 0 to {links.nodes - 1}{storage}")
                )
        problems.raise_if_any()
        for i in np.flatnonzero(source == target)[:_LISTED].tolist():
            problems.add(TO_ITSELF(path=f"routes[{i}]", flow=i, name=links.vertex_name(int(source[i]))))
        problems.raise_if_any()

    def _subflows(
        self,
        walker: Walker,
        source: IntArray,
        target: IntArray,
        port: IntArray | None,
        number: IntArray,
        pairs: IntArray,
        load: FloatArray | None,
    ) -> tuple[IntArray, FloatArray, IntArray]:
        """Return for the sub-flows of some pairs: their pairs, shares, and links as columns."""
        lanes = walker.lanes(source, target)
        if port is None:
            owner, lane = counted(lanes)
            share = 1.0 / lanes[owner]
        else:
            owner, lane = np.arange(source.size), port % lanes
            share = np.ones(source.size)
        a, b, number = source[owner], target[owner], number[owner]
        if self.routing == "spray":
            ways = np.minimum(walker.ways(a, b, lane), 1 << 40)
            taken = np.minimum(ways, _MOST_WAYS)
            split, place = counted(taken)
            choice = place * ways[split] // taken[split]
            return pairs[owner[split]], share[split] / taken[split], walker.walk(a[split], b[split], lane[split], choice)
        return pairs[owner], share, self._chosen(walker, a, b, lane, number, load)

    def _chosen(self, walker: Walker, a: IntArray, b: IntArray, lane: IntArray, number: IntArray, load: FloatArray | None) -> IntArray:
        """Return one way for each sub-flow, links as columns."""
        if self.routing in ("d-mod-k", "minimal"):
            return walker.walk(a, b, lane, walker.toward(b, lane))
        if self.routing == "ecmp":
            return walker.walk(a, b, lane, _mixed(self._seed, a, b, lane, number))
        if self.routing == "valiant":
            return self._detour(walker, a, b, lane, _mixed(self._seed, a, b, lane, number))
        tables = [walker.walk(a, b, lane, _mixed(self._seed, a, b, lane, number, k)) for k in range(_CANDIDATES)]
        if getattr(walker, "detours", False):
            tables += [self._detour(walker, a, b, lane, _mixed(self._seed, a, b, lane, number, ~k)) for k in range(_CANDIDATES // 2)]
        return self._least_loaded(tables, load)

    def _detour(self, walker: Walker, a: IntArray, b: IntArray, lane: IntArray, draw: IntArray) -> IntArray:
        """Return ways over a node drawn at random, which itself is left out unless it passes on."""
        nodes = self.links.nodes
        if nodes < 3 or (max(int(a.max()), int(b.max())) >= nodes):
            return walker.walk(a, b, lane, draw)
        middle = draw % nodes
        while (meets := (middle == a) | (middle == b)).any():
            middle = np.where(meets, (middle + 1) % nodes, middle)
        # where the node has other ports than the ends, the lane is that which lies as far among its own: it stays on its rail and plane
        own, first, second = walker.lanes(a, b), walker.lanes(a, middle), walker.lanes(middle, b)
        one = walker.walk(a, middle, lane * first // own, _mixed(draw))
        two = walker.walk(middle, b, lane * second // own, _mixed(draw, 1))
        if not self.links.forwards:
            heads, tails = self.links.head, self.links.tail
            one = np.where((one >= 0) & (heads[one] == middle), -1, one)
            two = np.where((two >= 0) & (tails[two] == middle), -1, two)
        return np.concatenate([one, two])

    def _least_loaded(self, tables: list[IntArray], load: FloatArray | None) -> IntArray:
        """Return of each sub-flow's ways the one with least on its fullest link, counted as sub-flows are placed, times its length."""
        hops = max(table.shape[0] for table in tables)
        flows, links = tables[0].shape[1], self.links.count
        ways = np.full((len(tables), hops, flows), links, dtype=np.int64)
        for k, table in enumerate(tables):
            ways[k, : table.shape[0]] = np.where(table >= 0, table, links)
        length = (ways < links).sum(axis=1)
        on = np.zeros(links + 1) if load is None else np.append(np.asarray(load, dtype=np.float64), 0.0)
        slow = np.append(1.0 / self.links.capacity_bytes_per_s, 0.0)
        chosen = np.empty(flows, np.int64)
        step = max(1, min(64, flows // 64))
        for low in range(0, flows, step):
            part = ways[:, :, low : low + step]
            score = ((on[part] + 1) * slow[part]).max(axis=1) * length[:, low : low + step]
            best = score.argmin(axis=0)
            chosen[low : low + step] = best
            taken = part[best, :, np.arange(best.size)]
            np.add.at(on, taken.ravel(), 1.0)
            on[links] = 0.0
        table = ways[chosen, :, np.arange(flows)].T
        return np.where(table < links, table, -1)

    def _joined(self, parts: list[tuple[IntArray, FloatArray, IntArray]], source: IntArray, target: IntArray) -> Paths:
        """Put the sub-flows of all parts in the order of their pairs, as routes without gaps."""
        hops = max(table.shape[0] for _, _, table in parts)
        whole = np.concatenate([np.pad(t, ((0, hops - t.shape[0]), (0, 0)), constant_values=-1) for _, _, t in parts], axis=1)
        pair, share = np.concatenate([p for p, _, _ in parts]), np.concatenate([s for _, s, _ in parts])
        if len(parts) > 1:
            order = np.argsort(pair, kind="stable")
            pair, share, whole = pair[order], share[order], whole[:, order]
        columns = np.ascontiguousarray(whole.T)
        used = columns >= 0
        lengths = used.sum(axis=1)
        self._refuse(pair[lengths == 0], source, target)
        routes = Routes(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), columns[used])
        latency_s = np.add.reduceat(self.links.latency_s[routes.links], routes.first[:-1]) if pair.size else np.empty(0)
        return Paths(routes, pair, share, latency_s + self.links.start_s)

    def _refuse(self, lost: IntArray, source: IntArray, target: IntArray) -> None:
        problems = Problems()
        for i in np.unique(lost)[:_LISTED].tolist():
            names = (self.links.vertex_name(int(end)) for end in (source[i], target[i]))
            remedy = "mend the failed links, or keep what has to talk on one side"
            problems.add(NOT_JOINED(path="cluster.fabric", source=next(names), target=next(names), remedy=remedy))
        problems.raise_if_any()


def router(cluster: Cluster, routing: str | None = None, *, seed: int = 0) -> Router:
    """Return the router of a cluster's fabric.

    Parameters
    ----------
    cluster : Cluster
        The resolved cluster.
    routing : str, optional
        One of :data:`ROUTINGS`; the fabric's own without it.
    seed : int
        Of the hash.

    Raises
    ------
    InputError
        No fabric, an unknown routing, or a fabric that does not hold the nodes.
    """
    request = request_of(cluster)
    if request is None:
        raise missing("cluster", "cluster", "nic_bytes_per_s")
    routing = routing or request.fabric.routing
    links = left_over(links_of(cluster), request.fabric.faults)
    topology = TOPOLOGIES.get(request.fabric.topology)
    walker: Walker | None = None
    if isinstance(topology, Routed) and links.usable.all():
        walker = topology.walker(request, links, pooled=routing == "spray" and not request.fabric.faults)
    return Router(walker or GraphWalker(links), routing, seed=seed)
