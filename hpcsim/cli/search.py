"""``hpcsim search``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from hpcsim.cli import estimate

if TYPE_CHECKING:
    from hpcsim.study.search import LayoutSearch

_COLUMNS = {
    "dp": 1,
    "tp": 1,
    "pp": 1,
    "vpp": 1,
    "cp": 1,
    "ep": 1,
    "micro_batch": 1,
    "zero_stage": 0,
    "recompute": "none",
    "sequence_parallel": False,
    "schedule": "1f1b",
    "overlap": True,
    "offload": False,
}
"""The axes that are shown, with the value that a scenario takes where its layout does not say."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    estimate.add_arguments(parser)
    parser.add_argument("--training", metavar="NAME", help="training run of the scenario (default: the only one)")
    parser.add_argument("--objective", choices=("time", "cost", "energy"), default="time", help="what is made least (default: time)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="layouts to show (default: 10)")
    parser.add_argument("--pareto", action="store_true", help="show the front of time, memory and money too")
    parser.add_argument("--offload", action="store_true", help="try the optimizer on the host as well")


def run(args: argparse.Namespace) -> int:
    """Search the layouts of a scenario's training run, or of one described by options."""
    from hpcsim.cli.output import prepare_folder
    from hpcsim.study.search import in_words, layout_search

    if args.out is not None:
        prepare_folder(args.out)
    scenario = estimate.scenario_of(args, quick=in_words)
    found = layout_search(
        scenario, training=args.training, objective=args.objective, top=args.top, pareto=args.pareto, offload=args.offload
    )
    if args.out is not None:
        _write(found, args.out)
    if args.format == "json":
        print(json.dumps(found.document(), indent=2, ensure_ascii=False))
    elif not args.quiet:
        print(_text(found))
        if args.out is not None:
            print(f"\nwritten to {args.out}")
    return 0


def _write(found: LayoutSearch, folder: str) -> None:
    from hpcsim.results.store import write_whole

    document = {key: value for key, value in found.document().items() if key not in ("search_cpu_s", "layouts_per_cpu_s")}
    files = {
        "search.json": (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(),
        "layouts.csv": found.best.to_csv(index=False).encode(),
    }
    if found.front is not None:
        files["pareto.csv"] = found.front.to_csv(index=False).encode()
    write_whole(folder, files)


def _text(found: LayoutSearch) -> str:
    from hpcsim.workload.layouts import layout_words

    speed = f", {found.layouts_evaluated / found.search_cpu_s:,.0f} per processor-second" if found.search_cpu_s > 0 else ""
    removed = ", ".join(f"{count:,} by {reason}" for reason, count in sorted(found.removed.items(), key=lambda item: -item[1]))
    lines = [
        f"{found.model} on {found.devices:,} {found.device}: the best layouts by {found.objective}",
        "",
        f"{found.layouts_evaluated:,} layouts evaluated in {found.search_cpu_s:.2f} processor-seconds{speed};",
        f"{found.feasible:,} fit, {found.exact} walked exactly. Removed of {found.space:,}: {removed or 'none'}.",
        "",
        *_lines(found.best),
        "",
        found.why,
        f"In a scenario:  layout: {layout_words(found.best.to_dict('records')[0])}",
    ]
    if found.front is not None:
        lines += ["", "No other is better in time, memory and money at once:", *_lines(found.front)]
    return "\n".join([*lines, *(["", *found.notes] if found.notes else [])])


def _cells(row: dict[str, Any], columns: list[str]) -> list[str]:
    from hpcsim.base.units import readable

    def shown(value: Any) -> str:
        return ("yes" if value else "no") if isinstance(value, bool) else str(value)

    money = "–" if row["cost_usd"] != row["cost_usd"] else f"{row['cost_usd']:.4g}"
    energy = "–" if row["energy_j"] != row["energy_j"] else readable(row["energy_j"], "energy", 3)
    figures = [
        readable(row["step_time_s"], "time", 4),
        readable(row["peak_memory_bytes"], "data size", 3),
        f"{row['mfu_frac'] * 100:.1f} %",
    ]
    return [shown(row[name]) for name in columns] + [*figures, energy, money]


def _lines(table: Any) -> list[str]:
    """Rows of a table, without the axes that a scenario's layout could leave out."""
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    always = ("dp", "tp", "pp", "micro_batch")
    columns = [name for name, usual in _COLUMNS.items() if name in always or any(row[name] != usual for row in rows)]
    head = [name.replace("_", " ") for name in columns] + ["step", "memory", "MFU", "energy a step", "USD a step"]
    cells = [head] + [_cells(row, columns) for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
