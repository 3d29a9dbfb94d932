"""Several sites: a fabric of one shape at each location, a gateway in each, and wide-area lines between the gateways."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.cluster.links import tabulate
from hpcsim.cluster.parts import FabricSize
from hpcsim.cluster.walks import GraphWalker
from hpcsim.cluster.wiring import TOPOLOGIES, Request, Topology, Wiring

__all__ = ["Sites"]

IntArray = npt.NDArray[np.int64]

NO_LOCATION = problem_kind(
    "location-missing", "node group {name!r} stands nowhere, and the fabric has wide-area lines", "add cluster.nodes.{name}.location"
)
UNKNOWN_LOCATION = problem_kind("unknown-location", "no node group stands in {name!r}", "locations: {known}")
LOCATIONS_APART = problem_kind("locations-apart", "no line joins {a!r} and {b!r}, directly or over others", "add one under {path}.wan")
WAN_ENDS = problem_kind("wan-to-itself", "the line joins {name!r} to itself", "two different locations")

_MOST_FAR = 2048


class Sites:
    """The shape of the scenario's fabric at each location, joined by gateways and the lines of ``wan``.

    A gateway is a router with a cable to every switch that storage could be plugged in at, each as wide as all lines of its location, so that
    the lines are what limits. Storage stands where it says, at the first location where it says nothing.
    """

    def _locations(self, request: Request) -> dict[str, list[int]]:
        """Return the node groups of each location, checked with the lines."""
        problems, found = Problems(), {}  # type: Problems, dict[str, list[int]]
        for number, location in enumerate(request.locations):
            if not location:
                problems.add(NO_LOCATION(path=f"cluster.nodes.{request.names[number]}", name=request.names[number]))
            found.setdefault(location, []).append(number)
        path = f"{request.fabric.path}.wan"
        for line in request.fabric.wan:
            for end in {line.a, line.b} - set(found):
                problems.add(UNKNOWN_LOCATION(path=f"{path}.{line.name}", name=end, known=", ".join(found)))
            if line.a == line.b:
                problems.add(WAN_ENDS(path=f"{path}.{line.name}", name=line.a))
        problems.raise_if_any()
        reached, first = {next(iter(found))}, next(iter(found))
        for _ in found:
            reached |= {end for line in request.fabric.wan if {line.a, line.b} & reached for end in (line.a, line.b)}
        for location in found:
            if location not in reached:
                problems.add(LOCATIONS_APART(path=path, a=first, b=location))
        problems.raise_if_any()
        return found

    def _parts(self, request: Request) -> list[tuple[str, Topology, Request, IntArray]]:
        """Return of each location: its name, its shape, what that has to connect, and the numbers of its nodes."""
        counts = [count for count, _ in request.ports]
        first = np.concatenate([[0], np.cumsum(counts)])
        fabric = dataclasses.replace(request.fabric, topology=request.fabric.inner, wan=())
        parts = []
        for place, (location, groups) in enumerate(self._locations(request).items()):
            own = Request(
                fabric,
                tuple(request.ports[i] for i in groups),
                tuple(ports for tier, ports in enumerate(request.storage_ports) if _stands(request, tier, location, place)),
                tuple(request.names[i] for i in groups),
            )
            nodes = np.concatenate([np.arange(first[i], first[i + 1]) for i in groups])
            parts.append((location, TOPOLOGIES.get(fabric.topology), own, nodes))
        return parts

    def size(self, request: Request) -> FabricSize:
        """Add up what the locations have; the largest oversubscription counts, that of the lines included."""
        parts = self._parts(request)
        sizes = [topology.size(own) for _, topology, own, _ in parts]
        wiring = self._wire(request, parts)
        lines = {location: 0.0 for location, *_ in parts}
        for line in request.fabric.wan:
            for end in (line.a, line.b):
                lines[end] += line.cables * line.bytes_per_s
        everywhere = request.node_ports * request.fabric.bytes_per_s
        ratios = [size.oversubscription for size in sizes]
        for location, _, own, _ in parts:
            if len(parts) > 1:
                sends = own.node_ports * request.fabric.bytes_per_s
                ratios.append(min(sends, everywhere - sends) / lines[location])
        diameter = None
        if request.nodes <= _MOST_FAR:
            far = GraphWalker(tabulate(wiring, dataclasses.replace(request, storage_ports=()))).distances(np.arange(request.nodes))
            diameter = int(far[:, : request.nodes].max())
        return FabricSize(
            switches=tuple(int(n) for n in np.bincount(wiring.levels)[1:]),
            cables=tuple(int(n) for n in np.bincount(wiring.tiers(), wiring.cables, len(wiring.names))),
            storage_cables=sum(request.storage_ports),
            oversubscription=max(ratios),
            tiers=wiring.names,
            diameter=diameter,
        )

    def wire(self, request: Request) -> Wiring:
        """List the cables of every location, then those of the gateways, then the lines."""
        return self._wire(request, self._parts(request))

    @staticmethod
    def _attach(request: Request, locations: list[str], attach: list[IntArray]) -> IntArray:
        """Return the vertex of every storage cable, those of a location in turn; of the first one where there is no storage."""
        used, found = [0] * len(attach), []
        for tier, ports in enumerate(request.storage_ports):
            at = next((place for place, name in enumerate(locations) if _stands(request, tier, name, place)), 0)
            turn = used[at] + np.arange(ports)
            used[at] += ports
            found.append(attach[at][turn % attach[at].size])
        return np.concatenate(found) if found and sum(request.storage_ports) else attach[0]

    def _wire(self, request: Request, parts: list[tuple[str, Topology, Request, IntArray]]) -> Wiring:
        fabric, n = request.fabric, request.nodes
        wirings = [topology.wire(own) for _, topology, own, _ in parts]
        names = max((_tier_names(w) for w in wirings), key=len)
        top = max(int(w.levels.max(initial=0)) for w in wirings) + 1
        a, b, cables, tier, rate, own_s, levels, labels, attach = [], [], [], [], [], [], [], [], []  # type: ignore[var-annotated]
        base, gates = n, {}
        for (location, _, _, nodes), wiring in zip(parts, wirings):
            number = np.concatenate([nodes, base + np.arange(len(wiring.levels))])
            base += len(wiring.levels)
            rows = number[wiring.a], number[wiring.b], wiring.cables, wiring.tiers(), wiring.rates(fabric), wiring.latencies(fabric)
            for column, row in zip((a, b, cables, tier, rate, own_s), rows):
                column.append(row)
            levels.append(wiring.levels)
            labels += [f"{location}/{name.removeprefix('switch/')}" for name in wiring.switch_names()]
            attach.append(number[wiring.attach])
        for i, (location, *_) in enumerate(parts):
            gates[location] = base + i
            mine = np.unique(attach[i])
            wide = sum(line.cables * line.bytes_per_s for line in fabric.wan if location in (line.a, line.b))
            rows = mine, np.full(mine.size, base + i), np.ones(mine.size, np.int64), np.full(mine.size, len(names)), np.full(mine.size, wide), np.full(mine.size, fabric.hop_s)  # fmt: skip
            for column, row in zip((a, b, cables, tier, rate, own_s), rows):
                column.append(row)
        lines = [(gates[w.a], gates[w.b], w.cables, len(names) + 1, w.bytes_per_s, w.latency_s or 0.0) for w in fabric.wan]
        for column, values in zip((a, b, cables, tier, rate, own_s), zip(*lines)):
            column.append(np.array(values))
        whole = [np.concatenate(column) for column in (a, b, cables, tier)]
        return Wiring(
            n,
            np.concatenate([*levels, np.full(len(parts), top)]).astype(np.int64),
            whole[0].astype(np.int64),
            whole[1].astype(np.int64),
            whole[2].astype(np.int64),
            self._attach(request, [location for location, *_ in parts], attach),
            tier=whole[3].astype(np.int64),
            bytes_per_s=np.concatenate(rate).astype(np.float64),
            latency_s=np.concatenate(own_s).astype(np.float64),
            forwards=any(w.forwards for w in wirings),
            names=(*names, "gateway", "wan"),
            labels=(*labels, *(f"{location}/gateway" for location in gates)),
        )


def _stands(request: Request, tier: int, location: str, place: int) -> bool:
    """Return whether a storage tier stands at a location, the ``place``-th one."""
    named = request.storage_locations[tier] if request.storage_locations else ""
    return named == location if named else place == 0


def _tier_names(wiring: Wiring) -> tuple[str, ...]:
    return wiring.names or tuple(f"level-{i + 1}" for i in range(int(wiring.tiers().max(initial=-1)) + 1))
