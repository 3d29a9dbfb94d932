"""Speed of a replay: jobs per CPU-second of the simulation itself, without import, reading and writing.

    python benchmarks/replay.py --log FILE --nodes 100 [--reference SCRIPT]

Without ``--log``, jobs are generated. ``--reference`` is another scheduler to run on the same log in turn with this one: a script that takes
``LOG -P PROCESSORS -p POLICY --order ORDER`` and prints a JSON line with ``jobs`` and ``sec``, the seconds of its own loop.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hpcsim.engine.jobs import run_jobs
from hpcsim.workload.generator import synthetic_jobs
from hpcsim.workload.jobs import TraceOptions, read_trace
from hpcsim.workload.swf import write_swf

PEERS = {"pyss": 12_800, "AccaSim": 2_440, "Alea": 1_690, "CQSim": 610, "RAPS (ticks of 60 s)": 71}
"""Jobs per CPU-second, each measured by us on one machine in November 2026, EASY or the nearest that it has, on 3,000 to 28,000 jobs."""


def reference_seconds(script: Path, log: Path, processors: int, policy: str, order: str) -> float:
    """Return the seconds that the reference scheduler reports for its own loop."""
    name = {"easy-sjbf": "easysjf"}.get(policy, policy)
    command = [sys.executable, str(script), str(log), "-P", str(processors), "-p", name, "--order", order]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1])["sec"])


def measure(log: Path, processors: int, policies: list[str], orders: list[str], rounds: int, script: Path | None) -> None:
    """Print one line per policy and order: the best of ``rounds``, taken in turn with the reference."""
    before = time.perf_counter()
    jobs = read_trace(log, options=TraceOptions(capacity=processors)).jobs.sorted_by_submit()
    print(f"{len(jobs):,} jobs on {processors:,} processors, read in {time.perf_counter() - before:.2f} s (with the import of pandas)\n")
    print(f"{'policy':<12}{'order':<8}{'CPU s':>8}{'jobs/CPU-s':>12}{'wait s':>12}" + ("   reference s   times as fast" if script else ""))
    for policy in policies:
        for order in orders:
            own, other = [], []
            for _ in range(rounds):
                start = time.process_time()
                outcome = run_jobs(jobs, processors, policy, order=order)  # type: ignore[arg-type]
                own.append(time.process_time() - start)
                if script:
                    other.append(reference_seconds(script, log, processors, policy, order))
            line = f"{policy:<12}{order:<8}{min(own):>8.3f}{len(jobs) / min(own):>12,.0f}{np.mean(outcome.wait_s):>12,.0f}"
            print(line + (f"{min(other):>14.2f}{min(other) / min(own):>16.2f}" if script else ""), flush=True)
    print("\nothers, jobs/CPU-s: " + ", ".join(f"{name} {speed:,}" for name, speed in PEERS.items()))
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="job log; a year of generated jobs without it")
    parser.add_argument("--nodes", type=int, default=100, help="processors of the machine (default: 100)")
    parser.add_argument("--policy", default="fcfs,sjf,easy,easy-sjbf", help="policies, separated by commas")
    parser.add_argument("--order", default="batch,event", help="orders of events, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best counts (default: 5)")
    parser.add_argument("--reference", type=Path, help="script of a reference scheduler, run in turn on the same log")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = args.log
        if log is None:
            made = synthetic_jobs(seed=1, duration_s=365 * 86400.0, load=0.7, processors=args.nodes, max_processors=args.nodes)
            log = write_swf(made, Path(folder) / "generated.swf")
        measure(log, args.nodes, args.policy.split(","), args.order.split(","), args.rounds, args.reference)


if __name__ == "__main__":
    main()
