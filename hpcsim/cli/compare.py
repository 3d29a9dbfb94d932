"""``hpcsim compare``."""

from __future__ import annotations

import argparse
import json
import shutil


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="scenario files; all are compared with the first")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="compare with the last scenario changed so; repeated, each change comes on top of those before, as a chain",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of every scenario; repeatable")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all scenarios (default: each scenario's own)")
    parser.add_argument(
        "--mode", choices=("simulate", "estimate"), default="simulate", help="event by event, or closed form (default: simulate)"
    )
    parser.add_argument("--png", action="store_true", help="write every chart as PNG beside the SVG")
    parser.add_argument("--out", metavar="DIR", help="folder of a report; only printed without it")


def run(args: argparse.Namespace) -> int:
    """Compare, print, and write a report where one is asked for."""
    from hpcsim.cli.output import _records, prepare_folder, write_results
    from hpcsim.cli.scenarios import load_with_settings
    from hpcsim.scenario.load import parse_setting
    from hpcsim.study.compare import compare

    loaded = [load_with_settings(path, args.set) for path in args.scenarios]
    chain = [dict([parse_setting(text)]) for text in args.vary]
    if args.out is not None:
        prepare_folder(args.out)
    results = compare(*loaded, vary=chain, mode=args.mode, seed=args.seed)
    if args.out is not None:
        write_results(results, args.out, png=args.png)
    if args.format == "json":
        tables = {name.removeprefix("compare_"): _records(table) for name, table in results.tables.items()}
        print(json.dumps({**results.document(), **tables}, indent=2, ensure_ascii=False))
    elif not args.quiet:
        from hpcsim.report.compare import as_text

        print(as_text(results, width=min(shutil.get_terminal_size().columns, 120)))
        if args.out is not None:
            print(f"\nreport in {args.out}")
    return 0
