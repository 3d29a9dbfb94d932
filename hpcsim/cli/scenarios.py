"""What commands that take a scenario have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcsim.scenario.load import Scenario

__all__ = ["add_scenario", "load_with_settings"]


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """Declare SCENARIO, --set and --seed."""
    parser.add_argument("scenario", metavar="SCENARIO", help="scenario file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the scenario; repeatable")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of every random stream (default: the scenario's)")


def load_with_settings(path: str, settings: list[str], seed: int | None = None) -> Scenario:
    """Return the scenario with ``--set`` and ``--seed`` applied."""
    from hpcsim.scenario.load import load, parse_setting

    scenario = load(path)
    changes = dict(parse_setting(text) for text in settings)
    if seed is not None:
        changes["simulate.seed"] = seed
    return scenario.vary(changes) if changes else scenario
