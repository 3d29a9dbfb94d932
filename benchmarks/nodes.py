"""Speed on a machine of nodes with accelerators, cores and memory: jobs per CPU-second of the simulation itself.

python benchmarks/nodes.py LOG [--nodes 105] [--policy easy,conservative] [--locality any] [--too-long 1]

LOG is a GPU job log, such as Philly's. ``--too-long`` makes estimates up to so many times the run times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from hpcsim.base.rng import stream
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.machine import Machine, NodeClass
from hpcsim.scheduling.requests import Asking
from hpcsim.workload.jobs import TraceOptions, read_trace


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--nodes", type=int, default=105)
    parser.add_argument("--policy", default="fcfs,easy,conservative")
    parser.add_argument("--locality", choices=("any", "node"), default="any")
    parser.add_argument("--too-long", type=float, default=1.0)
    args = parser.parse_args()
    machine = Machine.of([NodeClass("gpu", args.nodes, 32, 4, 256 * 2**30)])
    asking = Asking("accelerator", cores_per_gpu=8.0, memory_per_gpu=50.0 * 2**30, locality=args.locality)
    jobs = read_trace(args.log, options=TraceOptions(capacity=4 * args.nodes, unit="gpu")).jobs.sorted_by_submit()
    over = 1.0 + (args.too_long - 1.0) * stream(1, "benchmarks", "nodes").random(len(jobs))
    jobs = jobs.with_estimates(jobs.run_s * over)
    for policy in args.policy.split(","):
        start = time.process_time()
        outcome = run_on_machine(jobs, machine, policy, asking=asking)
        cpu_s = time.process_time() - start
        print(
            f"{policy:<14}{cpu_s:>8.2f} CPU-s {len(jobs) / cpu_s:>9,.0f} jobs/CPU-s, mean wait {np.mean(outcome.wait_s):,.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
