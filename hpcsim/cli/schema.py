"""``hpcsim schema``."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--reference", action="store_true", help="print the reference page (Markdown) instead")


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    from hpcsim.scenario.schema import json_schema, markdown

    if args.reference and args.format == "json":
        print(json.dumps({"reference": markdown()}, ensure_ascii=False))
    elif args.quiet and args.format != "json":
        return 0
    else:
        print(markdown() if args.reference else json.dumps(json_schema(), indent=2), end="" if args.reference else "\n")
    return 0
