"""``hpcsim check``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hpcsim.base.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="scenario file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value first; repeatable")


def run(args: argparse.Namespace) -> int:
    """Check every scenario in both phases, and list all problems of all files."""
    from hpcsim.cli.scenarios import load_with_settings
    from hpcsim.study.checking import check

    rows: list[dict[str, Any]] = []
    for path in args.scenarios:
        problems: list[str] = []
        try:
            problems = [str(problem) for problem in check(load_with_settings(path, args.set))]
        except InputError as error:
            problems = [str(problem) for problem in error.problems]
        rows.append({"scenario": path, "ok": not problems, "problems": problems})
        for line in problems:
            print(line, file=sys.stderr)
    if args.format == "json":
        print(json.dumps({"scenarios": rows}, indent=2))
    elif not args.quiet:
        for row in rows:
            count = len(row["problems"])
            print(f"{row['scenario']}: {'ok' if not count else f'{count} problem' + ('s' if count > 1 else '')}")
    return 0 if all(row["ok"] for row in rows) else 2
