"""``hpcsim sweep``."""

from __future__ import annotations

import argparse
import sys

from hpcsim.cli.scenarios import add_scenario, load_with_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="a value to vary; repeatable (default: the scenario's sweep section)",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="replicates of every point with different seeds (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--mode", choices=("simulate", "estimate"), default="simulate", help="event by event, or closed form (default: simulate)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: reports/<name>-sweep/)")
    parser.add_argument("--no-charts", action="store_true", help="write the table only")


def run(args: argparse.Namespace) -> int:
    """Run every point, write the table and its charts."""
    from hpcsim.cli.output import prepare_folder, print_results, progress_bar, write_results
    from hpcsim.study.sweep import parse_axis, sweep

    scenario = load_with_settings(args.scenario, args.set, args.seed)
    axes = [parse_axis(text) for text in args.axis]
    folder = (
        args.out if args.out is not None else f"reports/{scenario.name if scenario.name.endswith('sweep') else scenario.name + '-sweep'}"
    )
    prepare_folder(folder)
    results = sweep(scenario, axes, seeds=args.seeds, jobs=args.jobs, mode=args.mode, progress=progress_bar(args))
    paths = write_results(results, folder, charts=not args.no_charts)
    for text in dict.fromkeys(results.sweep["problem"]):
        if text:
            count = int((results.sweep["problem"] == text).sum())
            print(f"{count} of {len(results.sweep)} points could not be run: {text}", file=sys.stderr)
    print_results(results, args, folder=folder, files=len(paths))
    return 0
