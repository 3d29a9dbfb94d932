"""The links of a fabric as arrays, one way each: what flows share and routes are made of.

A cable is two links. Cables come in the order of the wiring's bundles, then those of the storage tiers: link ``i`` leads from the bundle's first end
to its second, link ``i + cables`` back. After them every storage tier has two links of its own, what its servers read and what they write.
No graph is made, so a fabric of ten thousand nodes takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cluster.parts import Cluster, missing
from hpcsim.cluster.wiring import Request, Wiring, request_of

__all__ = ["Links", "links_of", "tabulate"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

UNKNOWN_NODE = problem_kind("unknown-fabric-vertex", "the fabric has no vertex {name!r}", "for example {example!r}")


@dataclass(frozen=True)
class Links:
    """Links of a fabric, one way each.

    Attributes
    ----------
    tail, head : array of int, shape (links,)
        Where each link comes from and leads to: nodes from 0, then switches, then storage tiers, then their servers.
    capacity_bytes_per_s, latency_s : array, shape (links,)
        What each carries [B/s] and its latency [s].
    tier : array of int, shape (links,)
        Which of ``tiers`` each belongs to.
    tiers : tuple of str
        Names of the tiers, hosts first; ``storage`` and ``server`` last.
    bundle : array of int, shape (bundles + 1,)
        First link of each bundle of cables, the way from its first end.
    cables : int
        Cables; link ``i`` and link ``i + cables`` are the two ways of one.
    nodes, switches : int
        Vertices of each kind.
    levels : array of int, shape (switches,)
        Level of each switch.
    usable : array of bool, shape (links,)
        False where a cable has failed.
    switch_names : tuple of str
        Names of the switches as the graph has them.
    groups : tuple of (str, int)
        Node groups and their nodes.
    storage : tuple of str
        Storage tiers; vertex ``nodes + switches + i`` is tier i.
    forwards : bool
        Whether nodes pass on what is meant for others.
    start_s : float
        Latency that a message has besides that of its links [s].
    """

    tail: IntArray
    head: IntArray
    capacity_bytes_per_s: FloatArray
    latency_s: FloatArray
    tier: IntArray
    tiers: tuple[str, ...]
    bundle: IntArray
    cables: int
    nodes: int
    switches: int
    levels: IntArray
    usable: BoolArray
    switch_names: tuple[str, ...]
    groups: tuple[tuple[str, int], ...] = ()
    storage: tuple[str, ...] = ()
    forwards: bool = False
    start_s: float = 0.0

    @property
    def count(self) -> int:
        """Links."""
        return int(self.tail.size)

    @property
    def vertices(self) -> int:
        """Nodes, switches and storage tiers, and a vertex for each tier's servers."""
        return self.nodes + self.switches + 2 * len(self.storage)

    def vertex_name(self, vertex: int) -> str:
        """Return the name of a vertex as the graph has it: ``gpu/0``, ``switch/1/0``, ``storage/scratch``."""
        if vertex < self.nodes:
            for name, count in self.groups:
                if vertex < count:
                    return f"{name}/{vertex}"
                vertex -= count
            return f"node/{vertex}"
        vertex -= self.nodes
        if vertex < self.switches:
            return self.switch_names[vertex]
        vertex -= self.switches
        tiers = len(self.storage)
        return f"storage/{self.storage[vertex]}" if vertex < tiers else f"storage/{self.storage[vertex - tiers]}/servers"

    def vertex(self, name: str, path: str = "") -> int:
        """Return the number of a vertex by its name.

        Raises
        ------
        InputError
            There is no such vertex.
        """
        kind, _, rest = name.partition("/")
        numbers = [int(part) if part.isdecimal() else -1 for part in rest.split("/")]
        found, first = -1, 0
        for group, count in self.groups:
            if kind == group and len(numbers) == 1 and 0 <= numbers[0] < count:
                found = first + numbers[0]
            first += count
        if found < 0 and (named := name if kind == "switch" else f"switch/{name}") in self.switch_names:
            found = self.nodes + self.switch_names.index(named)
        if kind == "storage" and rest in self.storage:
            found = self.nodes + self.switches + self.storage.index(rest)
        if found < 0:
            raise UNKNOWN_NODE.error(path=path, name=name, example=self.vertex_name(self.nodes if self.switches else 0))
        return found

    def link_name(self, link: int) -> str:
        """Return the two ends of a link in words."""
        return f"{self.vertex_name(int(self.tail[link]))} → {self.vertex_name(int(self.head[link]))}"


def tabulate(wiring: Wiring, request: Request, *, groups: tuple[tuple[str, int], ...] = (), storage: tuple[str, ...] = ()) -> Links:
    """Return the links of a wiring, storage cables included; ``storage`` names the tiers of the request.

    Server links have no capacity of their own here (infinite); :func:`links_of` fills in what the tiers read and write.
    """
    fabric = request.fabric
    tiers = len(request.storage_ports)
    turn = np.arange(sum(request.storage_ports))
    owner = np.repeat(np.arange(tiers), request.storage_ports)
    at = wiring.attach[turn % len(wiring.attach)] if turn.size else turn
    vertices = wiring.vertices
    a = np.concatenate([np.repeat(wiring.a, wiring.cables), owner + vertices])
    b = np.concatenate([np.repeat(wiring.b, wiring.cables), at])
    level = wiring.tiers()
    last = int(level.max(initial=-1)) + 1
    tier = np.concatenate([np.repeat(level, wiring.cables), np.full(turn.size, last)])
    rate = np.concatenate([np.repeat(wiring.rates(fabric), wiring.cables), np.full(turn.size, fabric.bytes_per_s)])
    each_s = np.repeat(wiring.latencies(fabric), wiring.cables)
    half_s = np.full(turn.size, fabric.latency_s / 2)
    latency_s = np.concatenate([each_s, half_s])
    tails = np.arange(tiers) + vertices
    servers = tails + tiers
    names = wiring.names or tuple(f"level-{i + 1}" for i in range(last))
    return Links(
        tail=np.concatenate([a, b, servers, tails]),
        head=np.concatenate([b, a, tails, servers]),
        capacity_bytes_per_s=np.concatenate([rate, rate, np.full(2 * tiers, np.inf)]),
        latency_s=np.concatenate([latency_s, latency_s, np.zeros(2 * tiers)]),
        tier=np.concatenate([tier, tier, np.full(2 * tiers, last + 1)]),
        tiers=(*names, "storage", "server"),
        bundle=np.concatenate([[0], np.cumsum(wiring.cables)]).astype(np.int64),
        cables=int(a.size),
        nodes=wiring.nodes,
        switches=len(wiring.levels),
        levels=wiring.levels,
        usable=np.ones(2 * (a.size + tiers), dtype=np.bool_),
        switch_names=tuple(wiring.switch_names()),
        groups=groups,
        storage=storage or tuple(str(i) for i in range(tiers)),
        forwards=wiring.forwards,
        start_s=max(fabric.latency_s - fabric.hop_s, 0.0) if wiring.forwards else 0.0,
    )


def links_of(cluster: Cluster) -> Links:
    """Return the links of a cluster's fabric: cables one way each, then what each storage tier's servers read and write.

    Raises
    ------
    InputError
        The cluster has no fabric, or the fabric does not hold the nodes.
    """
    request = request_of(cluster)
    if request is None:
        raise missing("cluster", "cluster", "nic_bytes_per_s")
    from hpcsim.cluster.topologies import TOPOLOGIES  # the shapes, which themselves need this table

    wiring = TOPOLOGIES.get(request.fabric.topology).wire(request)
    groups = tuple((group.name, group.total) for group in cluster.groups.values())
    links = tabulate(wiring, request, groups=groups, storage=tuple(cluster.storage))
    tiers = list(cluster.storage.values())
    links.capacity_bytes_per_s[2 * links.cables :] = [t.read_bytes_per_s for t in tiers] + [t.write_bytes_per_s for t in tiers]
    return links
