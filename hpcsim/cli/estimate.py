"""``hpcsim estimate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpcsim.base.errors import InputError, problem_kind

if TYPE_CHECKING:
    from hpcsim.scenario.load import Scenario

NEEDED = problem_kind("argument-missing", "{option} is needed where no scenario is given", "for example {example}")
NOT_BOTH = problem_kind(
    "argument-not-both",
    "{option} describes a run without a scenario, and a scenario is given",
    "use --set KEY=VALUE to change the scenario",
)

_EXAMPLES = {
    "model": "--model llama3-70b",
    "accelerator": "--accelerator h100-sxm",
    "count": "--count 512",
    "global_batch": "--global-batch 1024",
    "sequence": "--sequence 8192",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO", help="scenario file; or say the run with the options below")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the scenario; repeatable")
    parser.add_argument("--model", metavar="M", help="catalog model")
    parser.add_argument("--accelerator", metavar="A", help="catalog accelerator")
    parser.add_argument("--count", metavar="N", help="accelerators")
    parser.add_argument("--tokens", metavar="T", help="tokens of the run, such as 15e12 (default: one step's)")
    parser.add_argument("--global-batch", metavar="B", help="sequences of a step")
    parser.add_argument("--sequence", metavar="S", help="tokens of a sequence")
    parser.add_argument("--layout", default=None, metavar="L", help="auto, or tp=8,pp=4,… (default: auto)")
    parser.add_argument("--precision", metavar="P", help="bf16, fp16, fp8, … (default: bf16 where the accelerator has it)")
    parser.add_argument("--link", metavar="L", help="catalog link of the network ports (default: the server's own)")
    parser.add_argument("--framework", metavar="F", help="software, such as megatron-core or pytorch-fsdp")
    parser.add_argument("--year", type=int, metavar="Y", help="year of the software")
    parser.add_argument("--out", metavar="DIR", help="write a report there (default: nothing is written)")


def run(args: argparse.Namespace) -> int:
    """Estimate a scenario, or a run described by options."""
    from hpcsim.cli.output import prepare_folder, print_results, write_results
    from hpcsim.run.estimate import estimate

    scenario = scenario_of(args)
    if args.out is not None:
        prepare_folder(args.out)
    results = estimate(scenario)
    paths = write_results(results, args.out) if args.out else []
    print_results(results, args, folder=args.out or "", files=len(paths))
    return 0


def scenario_of(args: argparse.Namespace, *, quick: Callable[..., Scenario] | None = None) -> Scenario:
    """Return the scenario that is given, or the one that the options describe.

    ``quick`` makes a scenario of the options; :func:`hpcsim.run.quick.quick_scenario` without it.
    """
    options = ("model", "accelerator", "count", "tokens", "global_batch", "sequence", "layout", "precision", "link", "framework", "year")
    if args.scenario:
        problems = [NOT_BOTH(option="--" + name.replace("_", "-")) for name in options if getattr(args, name) is not None]
        if problems:
            raise InputError(problems)
        from hpcsim.cli.scenarios import load_with_settings

        return load_with_settings(args.scenario, args.set)
    problems = [
        NEEDED(option="--" + name.replace("_", "-"), example=example) for name, example in _EXAMPLES.items() if getattr(args, name) is None
    ]
    if problems:
        raise InputError(problems)
    from hpcsim.run.quick import quick_scenario

    scenario = (quick or quick_scenario)(**{name: getattr(args, name) for name in options if getattr(args, name) is not None})
    if args.set:
        from hpcsim.scenario.load import parse_setting

        scenario = scenario.vary(dict(parse_setting(text) for text in args.set))
    return scenario
