"""``hpcsim run``."""

from __future__ import annotations

import argparse

from hpcsim.cli.scenarios import add_scenario, load_with_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: reports/<name>/)")
    parser.add_argument("--png", action="store_true", help="write every chart as PNG beside the SVG")
    parser.add_argument("--no-charts", action="store_true", help="write summary and tables only")
    parser.add_argument("--flows", action="store_true", help="write down flows and the load of links over time, as simulate.flows does")
    parser.add_argument("--trace", metavar="FILE", help="write jobs, tasks, power and use over time as a trace that ui.perfetto.dev opens")
    parser.add_argument("--parquet", action="store_true", help="write the tables as parquet as well")


def run(args: argparse.Namespace) -> int:
    """Simulate, write the report, print the summary."""
    scenario = load_with_settings(args.scenario, args.set, args.seed)
    if args.flows:
        scenario = scenario.vary({"simulate.flows": True})
    from hpcsim.run.simulate import simulate

    folder = args.out if args.out is not None else f"reports/{scenario.name}"
    from hpcsim.cli.output import prepare_folder, print_results, write_results

    prepare_folder(folder)
    if args.trace is not None:
        from hpcsim.report.trace import trace_may_go

        trace_may_go(args.trace)
    results = simulate(scenario)
    paths = write_results(results, folder, charts=not args.no_charts, png=args.png, parquet=args.parquet)
    if args.trace is not None:
        from hpcsim.report.trace import write_trace

        write_trace(results, args.trace)
    print_results(results, args, folder=folder, files=len(paths))
    return 0
