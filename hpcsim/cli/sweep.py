"""``hpcsim sweep``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hpcsim.cli.scenarios import add_scenario, load_with_settings

if TYPE_CHECKING:
    from hpcsim.results.record import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    what = parser.add_argument_group("what is varied")
    what.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="a value to vary; repeatable. Also KEY=a..b:step, KEY=lin:a..b:n, KEY=log:a..b:n, and KEY1,KEY2=[V1,W1],[V2,W2] for values "
        "that go together (default: the scenario's sweep section)",
    )
    what.add_argument(
        "--design",
        choices=("grid", "random", "sobol", "halton"),
        default="grid",
        help="every combination, or --points of them spread over the axes (default: grid)",
    )
    what.add_argument("--points", type=int, default=64, metavar="N", help="points of a design that is no grid (default: 64)")
    what.add_argument("--seeds", type=int, default=1, metavar="K", help="replicates of every point with different seeds (default: 1)")
    what.add_argument(
        "--mode", choices=("simulate", "estimate"), default="simulate", help="event by event, or closed form (default: simulate)"
    )
    what.add_argument(
        "--sensitivity",
        choices=("tornado", "sobol", "montecarlo"),
        help="vary the scenario's uncertain inputs (and --axis KEY=a..b) instead: one at a time, shares of the variance, or ranges of every figure",
    )
    what.add_argument(
        "--samples", type=int, metavar="N", help="samples of --sensitivity (default: sobol 64, or 512 in closed form; montecarlo 200)"
    )
    who = parser.add_argument_group("who runs it")
    who.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    who.add_argument("--dask", metavar="ADDRESS", help="dask scheduler whose workers run the points")
    who.add_argument("--shard", metavar="i/n", help="run every n-th point only, as a job array does; the last shard writes the table")
    who.add_argument("--resume", action="store_true", help="take over the points that an earlier, interrupted sweep left in the folder")
    who.add_argument("--merge", action="append", default=[], metavar="DIR", help="take over the points of another folder; repeatable")
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: reports/<name>-sweep/)")
    parser.add_argument("--png", action="store_true", help="write every chart as PNG beside the SVG")
    parser.add_argument("--no-charts", action="store_true", help="write the table only")


def run(args: argparse.Namespace) -> int:
    """Run every point, write the table and its charts."""
    from pathlib import Path

    from hpcsim.cli.output import prepare_folder, print_results, progress_bar, write_results
    from hpcsim.study.sweep import parse_axis, sweep

    scenario = load_with_settings(args.scenario, args.set, args.seed)
    axes = [parse_axis(text) for text in args.axis]
    name = scenario.name if scenario.name.endswith("sweep") else f"{scenario.name}-sweep"
    if args.sensitivity:
        name = f"{scenario.name}-{args.sensitivity}"
    folder = args.out if args.out is not None else f"reports/{name}"
    prepare_folder(folder)
    common: dict[str, Any] = {
        "jobs": args.jobs,
        "mode": args.mode,
        "dask": args.dask,
        "shard": args.shard,
        "store": Path(folder) / "points",
        "resume": args.resume,
        "merge": [Path(other) / "points" for other in args.merge],
        "progress": progress_bar(args),
    }
    if args.sensitivity:
        from hpcsim.study.sensitivity import sensitivity

        results = sensitivity(scenario, args.sensitivity, axes, samples=args.samples, **common)
    else:
        results = sweep(scenario, axes, seeds=args.seeds, design=args.design, points=args.points, **common)
    paths = write_results(results, folder, charts=not args.no_charts, png=args.png) if results.tables else []
    _say_problems(results)
    print_results(results, args, folder=folder, files=len(paths))
    return 0


def _say_problems(results: Results) -> None:
    table: Any = results.tables.get("sweep")
    for text in dict.fromkeys(table["problem"]) if table is not None else ():
        if text:
            count = int((table["problem"] == text).sum())
            print(f"{count} of {len(table)} points could not be run: {text}", file=sys.stderr)
