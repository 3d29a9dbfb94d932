"""``hpcsim verify``."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "kind", nargs="?", default="training", metavar="KIND", help="training, collectives, flows, schedules or energy (default: training)"
    )
    parser.add_argument("--cases", metavar="FILE", help="measured cases (default: those shipped with the package)")
    parser.add_argument("--out", metavar="DIR", help="write tables, charts and a report there (default: nothing is written)")


def run(args: argparse.Namespace) -> int:
    """Hold predictions against measurements; the status is 0 whenever that could be done."""
    from hpcsim.cli.output import prepare_folder
    from hpcsim.study.verify import verify

    if args.out is not None:
        prepare_folder(args.out)
    document = verify(args.kind, args.cases)
    files = 0
    if args.out is not None:
        from hpcsim.cli.output import write_results
        from hpcsim.study.accuracy import results_of

        files = len(write_results(results_of(document, cases=args.cases), args.out))
    if args.format == "json":
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, default=str))
    elif not args.quiet:
        _print(document, args.out, files)
    return 0


_HEADS = (
    ("n", "cases"),
    ("ok", "predicted"),
    ("flows", "flows"),
    ("agree", "agree to 1e-9"),
    ("max_relative_difference", "largest difference"),
    ("median_abs_error_frac", "median error"),
    ("p90_abs_error_frac", "90th pct."),
    ("bias_frac", "bias"),
    ("interval_coverage_frac", "in 80 % range"),
    ("layout_kendall_tau", "layout τ"),
    ("jobs", "jobs"),
    ("differing_starts", "differing starts"),
)


def _print(document: dict[str, Any], folder: str | None, files: int) -> None:
    from hpcsim.report.terminal import columns

    groups = document["groups"]
    heads = [(key, text) for key, text in _HEADS if any(group.get(key) is not None for group in groups.values())]
    rows = [("group", *(text for _, text in heads))]
    rows += [(name[:60], *(_cell(key, group.get(key)) for key, _ in heads)) for name, group in groups.items()]
    print(columns(rows, right=range(1, len(rows[0]))))
    print()
    print(
        columns(
            [(key.replace("_", " ").removesuffix(" frac"), _cell(key, value)) for key, value in document["overall"].items()], right=(1,)
        )
    )
    refused = [row for row in document["cases"] if row["status"] == "refused"]
    for row in refused[:20]:
        print(f"refused: {row['id']}: {row['reason']}")
    if len(refused) > 20:
        print(f"… and {len(refused) - 20} more")
    if folder:
        print(f"\n{files} files in {folder}; open {folder.rstrip('/')}/report.html")


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and 0 < abs(value) < 5e-4 and "tau" not in key:
        return f"{value:.0e}" if key == "max_relative_difference" else f"{100.0 * value:.0e} %"
    if isinstance(value, float):
        return f"{value:.2f}" if "tau" in key else f"{100.0 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else str(value)
