"""``hpcsim explain``."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from hpcsim.cli import estimate

    estimate.add_arguments(parser)
    for action in parser._actions:
        if action.dest == "scenario":
            action.metavar, action.help = "WHAT", "scenario file, or a number by its name: TABLE.COLUMN, a summary key, a term of the step"


def run(args: argparse.Namespace) -> int:
    """Explain a number, or the step of a scenario."""
    from pathlib import Path

    what = args.scenario
    if what is not None and not what.endswith((".yaml", ".yml")) and not Path(what).is_file():
        from hpcsim.study.explain import explain_term

        return _print(explain_term(what), args)
    from hpcsim.cli.estimate import scenario_of
    from hpcsim.cli.output import prepare_folder, write_results
    from hpcsim.study.explain import explain_run

    scenario = scenario_of(args)
    if args.out is not None:
        prepare_folder(args.out)
    results = explain_run(scenario)
    if args.out:
        write_results(results, args.out)
    if args.format == "json":
        from hpcsim.cli.output import _records

        document = {**results.document(), **{name: _records(table) for name, table in results.tables.items()}}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif not args.quiet:
        _show(results)
    return 0


def _print(entry: dict[str, str], args: argparse.Namespace) -> int:
    if args.format == "json":
        print(json.dumps(entry, indent=2, ensure_ascii=False))
    elif not args.quiet:
        print(f"{entry['name']} ({entry['kind']}" + (f", {entry['unit']})" if entry["unit"] not in ("", "1") else ")"))
        for key in ("meaning", "formula", "symbols", "source"):
            if entry[key]:
                print(f"  {key}: {entry[key]}")
    return 0


def _show(results: Any) -> None:
    from hpcsim.report.terminal import columns
    from hpcsim.results.quantities import show

    print(results.answer)
    for name, rows in results.tables["breakdown"].groupby("name", sort=False):
        print(f"\nwhere the time of a step goes: {name}")
        ordered = rows.sort_values("seconds", ascending=False, kind="stable")
        print(columns([(f"  {r.term}", show("t_s", r.seconds), show("x_frac", r.fraction)) for r in ordered.itertuples()], right=(1, 2)))
    for name, rows in results.tables["what_if"].groupby("name", sort=False):
        print(f"\nif it were doubled: {name}")
        print(
            columns(
                [
                    (
                        f"  {r.resource}",
                        show("t_s", r.step_time_s),
                        f"×{r.speedup_ratio:.3f}",
                        "" if not isinstance(r.term, str) else f"less {r.term}",
                    )
                    for r in rows.itertuples()
                ],
                right=(1, 2),
            )
        )
