"""``hpcsim replay``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("trace", metavar="TRACE", help="job log, plain or compressed")
    parser.add_argument("--format-in", metavar="NAME", help="format of the log (default: found from the file)")
    parser.add_argument("--nodes", type=int, required=True, metavar="N", help="nodes of the machine")
    parser.add_argument("--cores-per-node", type=int, default=1, metavar="C", help="processors of a node (default: 1)")
    parser.add_argument("--policy", default="easy", metavar="P[,P…]", help="scheduling policies, side by side (default: easy)")
    parser.add_argument(
        "--estimates", choices=("requested", "actual"), default="requested", help="run times that policies plan with (default: requested)"
    )
    parser.add_argument(
        "--order", choices=("batch", "event"), default="batch", help="a pass after all events of an instant, or after each (default: batch)"
    )
    parser.add_argument(
        "--procs", choices=("requested", "allocated"), default="allocated", help="processors a job takes (default: allocated)"
    )
    parser.add_argument("--whole-nodes", action="store_true", help="round a job's processors up to whole nodes")
    parser.add_argument("--cut", action="store_true", help="cut jobs at their requested time (default: they run on)")
    parser.add_argument("--max-jobs", type=int, metavar="N", help="read no more than so many jobs")
    parser.add_argument("--out", metavar="DIR", help="write jobs.csv, tables and report there (default: nothing is written)")
    parser.add_argument("--no-charts", action="store_true", help="with --out: tables only")


def run(args: argparse.Namespace) -> int:
    """Replay the log under every policy."""
    from hpcsim.cli.output import prepare_folder, print_results, write_results
    from hpcsim.study.replay import replay

    if args.out is not None:
        prepare_folder(args.out)
    results = replay(
        args.trace,
        trace_format=args.format_in,
        nodes=args.nodes,
        cores_per_node=args.cores_per_node,
        policies=tuple(name.strip() for name in args.policy.split(",") if name.strip()),
        estimates=args.estimates,
        order=args.order,
        processors=args.procs,
        whole_nodes=args.whole_nodes,
        cut=args.cut,
        max_jobs=args.max_jobs,
    )
    paths = write_results(results, args.out, charts=not args.no_charts) if args.out else []
    print_results(results, args, folder=args.out or "", files=len(paths))
    return 0
