"""Speed of the flow engine: CPU-seconds of the solver and of whole runs, without making the flows and their routes.

    python benchmarks/flows.py [--flows N] [--rounds N] [--quick] [--compiled]

The network is a 16-port fat tree of three levels: 1,024 hosts, 6,144 links one way each, up to six hops. Random flows have sizes between
10 MB and 1 GB and take a random way up; the all-to-all takes the way that the destination says (D-mod-k).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.topologies import FatTreeShape
from hpcsim.cost.maxmin import Routes, Sharing, fair_rates
from hpcsim.engine.flows import FlowRun, simulate_flows

IntArray = npt.NDArray[np.int64]

TREE = FatTreeShape(down=(8, 8, 16), up=(1, 8, 8), parallel=(1, 1, 1))
LINK_BYTES_PER_S = 25e9
SIMGRID_S = 152.0
"""SimGrid 3.32 on 10,000 random flows of such a tree, measured by us in 2026."""


def tree_routes(
    shape: FatTreeShape, source: IntArray, target: IntArray, *, random: np.random.Generator | None = None
) -> tuple[Routes, int]:
    """Return routes up from the sources and down to the targets, and the number of links.

    Link ``v·up + j`` of a level goes from vertex v to its parent j; the links down follow all links up. Without ``random`` the parent is
    the one that the target's number says, digit by digit.
    """
    below = (shape.room, *shape.switches)
    first = np.concatenate([[0], np.cumsum([below[i] * up for i, up in enumerate(shape.up)])])
    half = int(first[-1])
    levels = len(shape.down)
    table = np.full((2 * levels, source.size), -1, dtype=np.int64)
    a, b, digit, position, positions = source, target, target, np.zeros_like(source), 1
    for i in range(levels):
        up = shape.up[i]
        parent = random.integers(0, up, source.size) if random is not None else digit % up
        apart = a != b
        table[i] = np.where(apart, first[i] + (a * positions + position) * up + parent, -1)
        table[2 * levels - 1 - i] = np.where(apart, half + first[i] + (b * positions + position) * up + parent, -1)
        position, positions, digit = position * up + parent, positions * up, digit // up
        a, b = a // shape.down[i], b // shape.down[i]
    used = table.T >= 0
    return Routes(np.concatenate([[0], np.cumsum(used.sum(axis=1))]), table.T[used]), 2 * half


def timed(work: Callable[[], FlowRun | object], rounds: int) -> tuple[float, FlowRun | object]:
    """Return the least CPU-seconds of some rounds and what the last returned."""
    best, answer = float("inf"), None
    for _ in range(rounds):
        start = time.process_time()
        answer = work()
        best = min(best, time.process_time() - start)
    return best, answer


def random_flows(
    flows: int, *, spread_s: float, seed: int = 1
) -> tuple[npt.NDArray[np.float64], Routes, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return capacities, routes, starts and sizes of random flows, none to itself."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, TREE.room, flows)
    target = (source + rng.integers(1, TREE.room, flows)) % TREE.room
    routes, links = tree_routes(TREE, source, target, random=rng)
    return np.full(links, LINK_BYTES_PER_S), routes, rng.uniform(0, spread_s, flows), rng.integers(10**7, 10**9, flows).astype(np.float64)


def line(what: str, seconds: float, note: str = "") -> None:
    """Print one row."""
    print(f"{what:<62}{seconds:>10.4f} s  {note}", flush=True)


def measure_sharing(flows: int, rounds: int) -> None:
    """One share computation from nothing, and one change among many flows."""
    capacity, routes, _, _ = random_flows(flows, spread_s=0.0)
    hops = routes.links.size / flows
    line(
        f"shares of {flows:,} flows, {hops:.1f} hops, from nothing, checks included", timed(lambda: fair_rates(capacity, routes), rounds)[0]
    )
    sharing = Sharing(capacity, routes)
    every = np.arange(flows)
    sharing.update(every, np.ones(flows))
    sharing.index(every)
    changed = np.random.default_rng(2).permutation(flows)[:100]

    def change() -> None:
        for route in changed:
            sharing.update(np.array([route]), np.zeros(1))
            sharing.update(np.array([route]), np.ones(1))

    line("the same after one flow came or went, mean of 200", timed(change, rounds)[0] / 200)


def measure_runs(flows: int, rounds: int, compiled: bool) -> None:
    """Whole runs of random flows."""
    if compiled:
        simulate_flows([1.0], Routes.of([[0], [0]]), [0.0, 1.0], 9.0, compiled=True)  # numba compiles or loads once
    for spread_s, word in ((0.0, "at once"), (0.5, "over 0.5 s")):
        capacity, routes, start_s, size = random_flows(flows, spread_s=spread_s)
        exact = None
        for tolerance in (0.0, 1e-3):
            seconds, run = timed(
                partial(simulate_flows, capacity, routes, start_s, size, tolerance_frac=tolerance, compiled=compiled), rounds
            )
            assert isinstance(run, FlowRun)
            exact = run.finish_s if exact is None else exact
            off = np.abs(run.finish_s / exact - 1)
            note = f"{run.steps:,} steps; finish times off by {np.median(off):.1g} median, {off.max():.1g} at most"
            line(
                f"{flows:,} random flows {word}, {'exact' if not tolerance else f'to {tolerance:.1%}'}{', compiled' * compiled}",
                seconds,
                note,
            )
    print(f"{'  SimGrid 3.32 on 10,000 (CM02, exact)':<62}{SIMGRID_S:>10.1f} s")


def measure_all_to_all(rounds: int) -> None:
    """Every host sends to every other at once."""
    hosts = TREE.room
    source, target = np.repeat(np.arange(hosts), hosts), np.tile(np.arange(hosts), hosts)
    source, target = source[source != target], target[source != target]
    start = time.process_time()
    routes, links = tree_routes(TREE, source, target)
    made = time.process_time() - start
    capacity = np.full(links, LINK_BYTES_PER_S)
    seconds, run = timed(lambda: simulate_flows(capacity, routes, 0.0, 1e6), rounds)
    assert isinstance(run, FlowRun)
    theory = (hosts - 1) * 1e6 / LINK_BYTES_PER_S
    note = f"off theory by {abs(run.finish_s.max() / theory - 1):.1g}; the routes took {made:.2f} s more"
    line(f"all-to-all of {hosts:,} hosts, {source.size:,} flows", seconds, note)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=10_000, help="random flows (default: 10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: 3)")
    parser.add_argument("--quick", action="store_true", help="leave the all-to-all out")
    parser.add_argument("--compiled", action="store_true", help="share by compiled code (extra numba)")
    args = parser.parse_args()
    measure_sharing(args.flows, args.rounds)
    measure_runs(args.flows, args.rounds, args.compiled)
    if not args.quick:
        measure_all_to_all(args.rounds)
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
