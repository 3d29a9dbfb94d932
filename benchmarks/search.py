"""Speed of the layout search: GPT-3 175B on 1,024 and 4,096 A100, in one process on one core.

    python benchmarks/search.py [--rounds 3]

A layout counts as evaluated where its step time and its memory were computed. The processor time is that of the whole search: listing
the space, evaluating it, ranking, walking the best schedules operation by operation; not import, reading and tables.
"""

from __future__ import annotations

import argparse
import resource
import time

from hpcsim.study.search import in_words, layout_search

CALCULON = 250
"""Layouts per processor-second of Calculon's exhaustive search as measured once in November 2026, 20 to 27 ms a feasible layout; not run here."""


def measure(devices: int, rounds: int, *, pareto: bool) -> None:
    """Print one line: the fastest of ``rounds``."""
    scenario = in_words(model="gpt3-175b", accelerator="a100-sxm-80gb", count=devices, global_batch=1536, sequence=2048)
    best, wall = None, float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        found = layout_search(scenario, pareto=pareto)
        wall = min(wall, time.perf_counter() - began)
        if best is None or found.search_cpu_s < best.search_cpu_s:
            best = found
    assert best is not None
    speed = best.layouts_evaluated / best.search_cpu_s
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{devices:>6,}{'  front' if pareto else '':>7}{best.space:>12,}{best.layouts_evaluated:>12,}{best.feasible:>12,}{best.exact:>8}"
        f"{best.search_cpu_s:>9.2f}{wall:>9.2f}{speed:>14,.0f}{speed / CALCULON:>12,.0f}×{memory:>9.0f}",
        flush=True,
    )


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: 3)")
    args = parser.parse_args()
    print("  GPUs              space   evaluated        fit  walked    CPU s   wall s  layouts/CPU-s  × Calculon       MB")
    for devices in (1024, 4096):
        for pareto in (False, True):
            measure(devices, args.rounds, pareto=pareto)
    print(f"\nCalculon: {CALCULON} layouts per processor-second")


if __name__ == "__main__":
    main()
