"""``hpcsim machine``."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", help="slurm.conf, or the output of sinfo with its heading")
    parser.add_argument("--topology", metavar="FILE", help="topology.conf")
    parser.add_argument("--link", metavar="L", help="catalog link or rate of the network, which Slurm does not know")
    parser.add_argument("--all-states", action="store_true", help="count nodes that are down or drained as well")


def run(args: argparse.Namespace) -> int:
    """Print the cluster section of a scenario."""
    import sys

    from hpcsim.study.slurm import machine_section

    section, notes = machine_section(args.file, topology=args.topology, link=args.link, all_states=args.all_states)
    if args.format == "json":
        print(json.dumps({"cluster": section, "notes": notes}, indent=2, ensure_ascii=False))
        return 0
    if not args.quiet:
        from hpcsim.study.slurm import as_yaml

        print(as_yaml(section))
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    return 0
