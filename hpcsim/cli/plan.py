"""``hpcsim plan``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from hpcsim.cli.scenarios import add_scenario, load_with_settings

if TYPE_CHECKING:
    from hpcsim.results.record import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: reports/<name>/)")
    parser.add_argument("--no-charts", action="store_true", help="write the plan and its tables only")


def run(args: argparse.Namespace) -> int:
    """Plan, write the report, print the five steps; goals that nothing reaches are answered with the nearest."""
    scenario = load_with_settings(args.scenario, args.set, args.seed)
    from hpcsim.cli.output import prepare_folder, write_results
    from hpcsim.study.planning.document import plan_document
    from hpcsim.study.planning.plan import plan

    folder = args.out if args.out is not None else f"reports/{scenario.name}"
    prepare_folder(folder)
    shown = not args.quiet and sys.stderr.isatty()
    results = plan(scenario, progress=_say if shown else None)
    if shown:
        _say("")
    paths = write_results(results, folder, charts=not args.no_charts)
    if args.format == "json":
        print(json.dumps({**plan_document(results), "folder": folder}, indent=2, ensure_ascii=False))
    elif not args.quiet:
        print(_text(results, width=min(shutil.get_terminal_size().columns, 140)))
        print(f"\n{len(paths)} files in {folder}")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"\r{text:<60}\r")
    sys.stderr.flush()


def _text(results: Results, *, width: int) -> str:
    """Return the plan for a terminal: answer, finalists, the five steps, what could be saved."""
    import textwrap

    lines = [*textwrap.wrap(results.question, width), "", *textwrap.wrap(results.answer, width), ""]
    lines += ["Finalists", *_finalists(results), ""]
    table = results.tables["plan"]
    step = facet = ""
    for row in table.to_dict("records"):
        if row["step"] != step:
            step, facet = row["step"], ""
            lines += ["", step.capitalize(), "-" * len(step)]
        if row["facet"] != facet:
            facet = row["facet"]
            lines.append(f"  {facet}")
        lines += textwrap.wrap(f"{row['item']}: {row['shown']}", width, initial_indent="    ", subsequent_indent="      ")
        for name, mark in (("why", "because: "), ("flips", "flips:   ")):
            if isinstance(row[name], str) and row[name]:
                lines += textwrap.wrap(f"{mark}{row[name]}", width, initial_indent="        ", subsequent_indent="          ")
    return "\n".join([*lines, "", "Notes", *(textwrap.fill(f"- {note}", width, subsequent_indent="  ") for note in results.notes)])


def _finalists(results: Results) -> list[str]:
    from hpcsim.results.planning import machine_words
    from hpcsim.results.quantities import show

    rows: list[dict[str, Any]] = results.tables["plan_candidates"].to_dict("records")
    rows = [row for row in rows if row["role"] in ("chosen", "near", "finalist")]
    head = ["", "machine", "owner", "place", "time", "simulated", "cost", "carbon"]
    cells = [head]
    for row in rows:
        cells.append(
            [row["role"], machine_words(row), row["owner"], f"{row['provider']} {row['place']}", show("time_s", row["time_s"]),
             show("time_s", row["simulated_s"]), show("cost_usd", row["cost_usd"]), show("carbon_kg_co2e", row["carbon_kg_co2e"])]
        )  # fmt: skip
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    return [
        "  ".join(text.ljust(w) if k < 4 else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths))).rstrip() for line in cells
    ]
