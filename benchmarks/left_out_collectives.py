"""What the terms of links are worth on systems they were not fitted to: the shipped timings, each group left out in turn.

    python benchmarks/left_out_collectives.py [--by system|machine|network] [--priors] [--fit]

Prints errors over all rows, and by group, collective, decade of size and number of domains; about a minute and a half of one processor.
``--fit`` prints the terms fitted to every row instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

from hpcsim.evidence.collectives import read_collectives
from hpcsim.study.link_terms import GROUPINGS, Left, fit, leave_out, priors, scores


def _table(title: str, left: list[Left], by: object) -> None:
    print(f"\n{title:64} rows  median     p90    bias  inside")
    for name, score in scores(left, by).items():  # type: ignore[arg-type]
        shown = [100.0 * score[key] for key in ("median_frac", "p90_frac", "bias_frac", "inside_frac")]
        print(f"{str(name)[:64]:64} {score['rows']:4} {shown[0]:7.1f} {shown[1]:7.1f} {shown[2]:+7.1f} {shown[3]:7.0f}")


def _fitted() -> None:
    before, after = priors(), fit(read_collectives())
    pairs = [(name, before.kinds[name], kind) for name, kind in after.kinds.items()] + [("library", before.library, after.library)]
    for name, old, new in pairs:
        for field in dataclasses.fields(old):  # type: ignore[arg-type]
            was, now = getattr(old, field.name), getattr(new, field.name)
            if was != now:
                print(f"{name:16} {field.name:26} {was:12.4g} {now:12.4g}")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--by", choices=tuple(GROUPINGS), default="machine")
    arguments.add_argument("--priors", action="store_true", help="no fit at all")
    arguments.add_argument("--fit", action="store_true", help="the terms fitted to every row")
    given = arguments.parse_args()
    if given.fit:
        _fitted()
        return
    left = leave_out(GROUPINGS[given.by], refit=not given.priors)
    _table(f"left out: {given.by}", left, lambda i: i.group)
    _table("collective", left, lambda i: i.row.collective)
    _table("decade of size", left, lambda i: f"1e{math.floor(math.log10(i.row.size_bytes))}")
    _table("domains", left, lambda i: math.ceil(i.row.gpus / min(i.row.domain or i.row.per_node, i.row.gpus)))
    _table("what is fixed of the time", left, lambda i: f"{min(int(4 * i.fixed_frac), 3) * 25} % and more")


if __name__ == "__main__":
    main()
