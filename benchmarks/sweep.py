"""Speed of sweeps in closed form: 10,000 points of BLOOM-176B in one process, by what the axes change, with and without a store.

    python benchmarks/sweep.py [--points 10000] [--rounds 1]

The processor time is that of the whole call, table and store included. ``alone`` is the plain estimate of one point.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import hpcsim

SCENARIO = Path(__file__).resolve().parent.parent / "scenarios" / "bloom-176b.yaml"


def axes(points: int) -> dict[str, dict[str, Any]]:
    """Return the axes of every case, each with about as many points."""
    side = max(round(points**0.5), 2)
    return {
        "PUE × price": {"cluster.site.pue": f"lin:1.0..2.0:{side}", "cluster.prices.a100": f"lin:1..3 USD/h:{side}"},
        "tokens": {"workload.training.bloom.tokens": f"lin:1000000000..900000000000:{points}"},
        "nodes × price": {
            "cluster.nodes.a100.count, workload.training.bloom.global_batch": [(12 * (i + 1), 32 * (i + 1)) for i in range(side)],
            "cluster.prices.a100": f"lin:1..3 USD/h:{side}",
        },
        "new steps": {
            "cluster.nodes.a100.count, workload.training.bloom.global_batch": [
                (6 * (i // 6 + 1), 16 * (i // 6 + 1) * (i % 6 + 1)) for i in range(points)
            ]
        },
    }


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    scenario = hpcsim.load(SCENARIO)
    hpcsim.estimate(scenario)
    began = time.process_time()
    for _ in range(10):
        hpcsim.estimate(scenario)
    print(f"alone: {(time.process_time() - began) * 100:.1f} ms an estimate\n")
    print("axes            points  stored   CPU s  ms/point  failed")
    for name, chosen in axes(args.points).items():
        for stored in (False, True):
            best = float("inf")
            for _ in range(args.rounds):
                with tempfile.TemporaryDirectory() as folder:
                    began = time.process_time()
                    table = hpcsim.sweep(scenario, chosen, mode="estimate", store=Path(folder) / "s" if stored else None).sweep
                    best = min(best, time.process_time() - began)
            failed = int((table["problem"] != "").sum())
            print(
                f"{name:<15}{len(table):>7}{'yes' if stored else 'no':>8}{best:>8.2f}{best / len(table) * 1e3:>10.3f}{failed:>8}",
                flush=True,
            )


if __name__ == "__main__":
    main()
