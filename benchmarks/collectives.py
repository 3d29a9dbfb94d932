"""Speed of collectives: closed forms, fabric forms, and messages as flows, in CPU-seconds.

    python benchmarks/collectives.py [--ranks N] [--rounds N]

The bar: a hierarchical all-reduce of 16,384 devices, from its messages to its time, in 50 ms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from hpcsim.cost.algorithms import pattern, textbook
from hpcsim.cost.patterns import star_seconds
from hpcsim.engine.collectives import over_star, run_pattern
from hpcsim.workload.link_kinds import fabric_of

RATE, LATENCY = 50e9, 5e-6


def timed(work: Callable[[], object], rounds: int) -> tuple[float, object]:
    """Return the least CPU-seconds of some rounds and what the last returned."""
    best, answer = float("inf"), None
    for _ in range(rounds):
        begin = time.process_time()
        answer = work()
        best = min(best, time.process_time() - begin)
    return best, answer


def flows(ranks: int) -> float:
    """Return the time of a hierarchical all-reduce of 1 GB by its flows on a star."""
    moves = pattern("all-reduce", "hierarchical", ranks, 1e9, bytes_per_s=RATE, latency_s=LATENCY)
    route, links = over_star(moves.endpoints, latency_s=LATENCY)
    return run_pattern(moves, route, np.full(links, RATE)).seconds


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--ranks", type=int, default=16384)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    n, r = given.ranks, given.rounds
    key = {"bytes_per_s": RATE, "latency_s": LATENCY}
    fabric = fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=8, scale_out="infiniband", scale_out_bytes_per_s=RATE)
    sizes = np.geomspace(8, 1e10, 100_000)
    cases: list[tuple[str, Callable[[], object]]] = [
        (
            f"hierarchical all-reduce of {n:,} devices, closed form",
            lambda: float(textbook("all-reduce", 1e9, n, algorithm="hierarchical", **key)),
        ),
        (
            f"hierarchical all-reduce of {n:,} devices, messages on a star",
            lambda: star_seconds(pattern("all-reduce", "hierarchical", n, 1e9, **key), **key),
        ),
        (f"hierarchical all-reduce of {n:,} devices, flows on a star", lambda: flows(n)),
        (f"fabric form of an all-reduce of {n:,} devices", lambda: float(fabric.collective_s("all-reduce", 1e9, n, inside=8))),
        ("fabric form, 100,000 sizes at once", lambda: fabric.collective_s("all-reduce", sizes, n, inside=8).sum()),
    ]
    for name, work in cases:
        seconds, answer = timed(work, r)
        print(f"{name:72} {1e3 * seconds:9.2f} ms   {answer:.6g}")


if __name__ == "__main__":
    main()
