"""``hpcsim calibrate``."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="measured steps (.yaml), timed matrix products (.csv: m,n,k,seconds,precision), or a log of nccl-tests or OSU (.txt, .log, .out)",
    )
    parser.add_argument("--machine", action="store_true", help="measure this machine instead; takes a few seconds")
    parser.add_argument("--accelerator", metavar="A", help="whose matrix products a .csv file holds, or whose links a log timed")
    parser.add_argument(
        "--overlay", default="calibrated.yaml", metavar="FILE", help="where the overlay catalog is written (default: calibrated.yaml)"
    )
    parser.add_argument("--out", metavar="DIR", help="write tables and a report there (default: nothing is written)")


def run(args: argparse.Namespace) -> int:
    """Fit, write the overlay, and say what was found."""
    from hpcsim.cli.output import prepare_folder, write_results
    from hpcsim.study.calibrate import calibrate, overlay_may_go

    overlay_may_go(args.overlay)
    if args.out is not None:
        prepare_folder(args.out)
    found = calibrate(args.file, machine=args.machine, accelerator=args.accelerator)
    path = found.write(args.overlay)
    if args.out is not None:
        write_results(found.results, args.out)
    if args.format == "json":
        from hpcsim.cli.output import _records

        tables = {name: _records(table) for name, table in found.results.tables.items()}
        print(json.dumps({**found.results.document(), **tables, "overlay": found.overlay, "file": str(path)}, indent=2, ensure_ascii=False))
    elif not args.quiet:
        from hpcsim.report.terminal import columns

        rows = [("term", "entry", "before", "fitted", "", "σ before", "σ after")]
        rows += [
            (
                r.term,
                r.entry,
                f"{r.prior:.4g}",
                f"{r.fitted:.4g}",
                r.unit if isinstance(r.unit, str) else "",
                f"{r.prior_sigma:.2f}",
                f"{r.posterior_sigma:.2f}",
            )
            for r in found.results.tables["fit"].itertuples()
        ]
        print(f"{found.results.answer}\n\n{columns(rows, right=(2, 3, 5, 6))}\n")
        for note in found.results.notes:
            print(f"- {note}")
        print(f"\n{path} holds them; name it in a scenario:  catalogs: [{path}]")
    return 0
