"""A million generated jobs: CPU-seconds to draw them and to run them.

python benchmarks/synthetic_jobs.py [--jobs N] [--processors P] [--policy fcfs]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from hpcsim.engine.jobs import run_jobs
from hpcsim.workload.generator import synthetic_jobs


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs (default: a million)")
    parser.add_argument("--processors", type=int, default=16_384, help="processors of the machine (default: 16,384)")
    parser.add_argument("--policy", default="fcfs", help="policies, separated by commas; backfilling an overloaded machine is quadratic")
    parser.add_argument("--load", type=float, default=0.8, help="offered load, by the length of the run (default: 0.8)")
    args = parser.parse_args()
    start = time.process_time()
    sample = synthetic_jobs(seed=1, duration_s=86400.0, jobs=50_000, processors=args.processors)
    work = float(np.dot(sample.processors, sample.run_s)) / len(sample) * args.jobs
    duration_s = work / (args.load * args.processors)
    jobs = synthetic_jobs(seed=1, duration_s=duration_s, jobs=args.jobs, processors=args.processors)
    print(
        f"{len(jobs):,} jobs over {duration_s / 86400:.0f} days on {args.processors:,} processors drawn in {time.process_time() - start:.2f} CPU-s"
    )
    for policy in args.policy.split(","):
        start = time.process_time()
        outcome = run_jobs(jobs, args.processors, policy)
        cpu_s = time.process_time() - start
        print(
            f"{policy:<12}{cpu_s:>8.2f} CPU-s {len(jobs) / cpu_s:>12,.0f} jobs/CPU-s, mean wait {np.mean(outcome.wait_s):,.0f} s",
            flush=True,
        )
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
