"""Networks with many flows, of the kinds that trip solvers: shared trees, long chains, equal ends, sizes from a byte to a petabyte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.cost.maxmin import Routes

Floats = npt.NDArray[np.float64]

KINDS = (
    *("tree", "tree-staggered", "tree-classes", "tree-equal", "tree-spread", "mesh", "mesh-weights", "mesh-empty", "mesh-dense"),
    *("incast", "chain", "torus", "dragonfly", "one-link"),
)


@dataclass(frozen=True)
class Case:
    """Flows through a network; arrays as :func:`hpcsim.engine.flows.run_flows` takes them."""

    kind: str
    capacity: Floats
    link_latency_s: Floats
    routes: Routes
    start_s: Floats
    size_bytes: Floats
    weight: Floats

    @property
    def latency_s(self) -> Floats:
        return np.add.reduceat(self.link_latency_s[self.routes.links], self.routes.first[:-1])

    def document(self, finish_s: Floats) -> dict[str, Any]:
        """The case as the file of flow cases has it."""
        first, links = self.routes
        flows = [
            {"start": a, "bytes": b, "weight": w, "route": [f"l{k}" for k in links[i:j].tolist()]}
            for a, b, w, i, j in zip(
                self.start_s.tolist(), self.size_bytes.tolist(), self.weight.tolist(), first[:-1].tolist(), first[1:].tolist()
            )
        ]
        table = zip(self.capacity.tolist(), self.link_latency_s.tolist())
        named = [{"id": f"l{k}", "bw": rate, "lat": delay} for k, (rate, delay) in enumerate(table)]
        return {"name": self.kind, "links": named, "flows": flows, "finish": finish_s.tolist()}


def _tree(rng: np.random.Generator, flows: int) -> tuple[Floats, list[list[int]]]:
    """Three levels of eight, a random one of four ways up at each, half the bandwidth above the leaves."""
    hosts, ways = 512, 4
    source = rng.integers(0, hosts, flows)
    target = (source + rng.integers(1, hosts, flows)) % hosts
    capacity = np.concatenate([np.full(2 * hosts, 25e9), np.full(2 * 64 * ways, 25e9), np.full(2 * 8 * ways * ways, 12.5e9)])
    leaf, pod = 2 * hosts, 2 * hosts + 2 * 64 * ways
    rows = []
    for a, b, one, two in zip(
        source.tolist(), target.tolist(), rng.integers(0, ways, flows).tolist(), rng.integers(0, ways, flows).tolist()
    ):
        row = [2 * a]
        if a // 8 != b // 8:
            row.append(leaf + 2 * (a // 8 * ways + one))
            if a // 64 != b // 64:
                row += [pod + 2 * ((at // 64 * ways + one) * ways + two) + way for way, at in enumerate((a, b))]
            row.append(leaf + 2 * (b // 8 * ways + one) + 1)
        rows.append([*row, 2 * b + 1])
    return capacity, rows


def _torus(rng: np.random.Generator, flows: int) -> tuple[Floats, list[list[int]]]:
    """Six by six by six, one axis after the other, the shorter way round; link 6v + 2·axis + way leaves vertex v."""
    side, rows = 6, []
    for a, b in zip(rng.integers(0, side**3, flows).tolist(), rng.integers(1, side**3, flows).tolist()):
        at, row = [a % side, a // side % side, a // side**2], []
        b = (a + b) % side**3
        for axis, goal in enumerate((b % side, b // side % side, b // side**2)):
            ahead = (goal - at[axis]) % side
            for _ in range(min(ahead, side - ahead)):
                row.append(6 * (at[0] + side * at[1] + side**2 * at[2]) + 2 * axis + (ahead > side - ahead))
                at[axis] = (at[axis] + (-1 if ahead > side - ahead else 1)) % side
        rows.append(row)
    return np.full(6 * side**3, 50e9), rows


def _dragonfly(rng: np.random.Generator, flows: int) -> tuple[Floats, list[list[int]]]:
    """Nine groups of eight routers of four hosts; all routers of a group joined, a link between any two groups; the minimal way."""
    groups, routers, hosts = 9, 8, 4
    count = groups * routers * hosts
    local, remote = 2 * count, 2 * count + groups * routers * routers
    capacity = np.concatenate([np.full(local + groups * routers * routers, 25e9), np.full(groups * groups, 50e9)])
    rows = []
    for a, b in zip(rng.integers(0, count, flows).tolist(), rng.integers(1, count, flows).tolist()):
        b = (a + b) % count
        (g, r), (h, s) = divmod(a // hosts, routers), divmod(b // hosts, routers)
        out, into = (h - g - 1) % groups % routers, (g - h - 1) % groups % routers  # routers at the ends of the link between the groups
        hops = [(g, r, out), (h, into, s)] if g != h else [(g, r, s)]
        row = [local + (group * routers + x) * routers + y for group, x, y in hops if x != y]
        rows.append([2 * a, *row, *([remote + g * groups + h] if g != h else []), 2 * b + 1])
    return capacity, rows


def build(kind: str, flows: int, seed: int = 1) -> Case:
    """Return a case of one of the :data:`KINDS`."""
    rng = np.random.default_rng(seed)
    size = rng.integers(10**6, 10**9, flows).astype(float)
    start, weight = np.zeros(flows), np.ones(flows)
    if kind.startswith("tree"):
        capacity, rows = _tree(rng, flows)
        latency = np.full(capacity.size, 1e-6)
        if kind == "tree-staggered":
            start = rng.uniform(0, 0.05, flows)
        elif kind == "tree-classes":
            size = rng.choice([1e6, 1e7, 1e8], flows)
        elif kind == "tree-equal":
            size[:] = 1e8
        elif kind == "tree-spread":
            size = np.ceil(10.0 ** rng.uniform(0, 15, flows))
    elif kind in ("torus", "dragonfly"):
        capacity, rows = (_torus if kind == "torus" else _dragonfly)(rng, flows)
        latency, start = 10.0 ** rng.uniform(-6, -5, capacity.size), rng.choice([0.0, 0.01, 0.02], flows)
        weight = 1 / np.array([latency[row].sum() for row in rows])  # as TCP shares
    elif kind == "one-link":
        capacity, latency, rows = np.array([1e10]), np.array([1e-6]), [[0]] * flows
        size[rng.random(flows) < 0.1] = 0.0
        start = rng.choice([0.0, 1.0], flows) * rng.uniform(0, 1, flows)
    elif kind.startswith("mesh"):
        links = 30 if kind == "mesh-dense" else max(20, flows // 8)
        capacity, latency = 10.0 ** rng.uniform(8, 11, links), 10.0 ** rng.uniform(-7, -4, links)
        rows = [rng.permutation(links)[: rng.integers(1, 8)].tolist() for _ in range(flows)]
        size, start = rng.choice([1e6, 1e7, 3e8], flows), rng.choice([0.0, 0.5, 1.0], flows)
        if kind == "mesh-weights":
            base = rows[: max(flows // 10, 1)]
            rows = [base[k] for k in rng.integers(0, len(base), flows)]
            weight, start = 10.0 ** rng.uniform(-3, 3, flows), rng.uniform(0, 2, flows)
        elif kind == "mesh-empty":
            rows = [row + row[: rng.integers(0, 2)] for row in rows]
            size[rng.random(flows) < 0.1] = 0.0
    elif kind == "incast":
        capacity, latency = np.append(np.full(flows, 1e10), 5e10), np.full(flows + 1, 1e-6)
        rows, start = [[k, flows] for k in range(flows)], rng.uniform(0, 1, flows)
    else:
        links = max(flows // 4, 2)
        capacity, latency = rng.uniform(1e9, 2e9, links), np.zeros(links)
        begin, length = rng.integers(0, links, flows).tolist(), rng.integers(1, 60, flows).tolist()
        rows = [list(range(a, min(links, a + n))) for a, n in zip(begin, length)]
        start, weight = rng.uniform(0, 0.2, flows), rng.choice([1.0, 2.0, 3.0], flows)
    return Case(kind, capacity, latency, Routes.of(rows), start, size, weight)
