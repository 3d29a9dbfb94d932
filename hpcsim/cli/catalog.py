"""``hpcsim catalog``."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="list KIND | show NAME")
    listing = actions.add_parser("list", help="list the entries of a kind; without KIND, the kinds")
    listing.add_argument("kind", nargs="?", metavar="KIND", help="accelerators, links, models, …")
    show = actions.add_parser("show", help="show every value of an entry with its unit and source")
    show.add_argument("name", metavar="NAME", help="name or alias; case, spaces, '-' and '_' do not matter")
    show.add_argument("--kind", metavar="KIND", help="where to look, when a name stands in several kinds")
    for sub in (listing, show):
        sub.add_argument("--format", choices=("table", "json"), default=argparse.SUPPRESS, help="what is printed")
        sub.add_argument(
            "--quiet", action="store_true", default=argparse.SUPPRESS, help="print nothing but errors, and JSON where it is asked for"
        )


def run(args: argparse.Namespace) -> int:
    """List kinds or entries, or show one entry."""
    from hpcsim.catalog.lookup import default

    catalog = default()
    if args.action == "show":
        return _show(catalog.show(args.name, args.kind), args)
    if getattr(args, "kind", None):
        rows = catalog.listing(args.kind)
        return _software(rows, args) if args.kind == "software" else _print(rows, args)
    from hpcsim.cost.software import FAMILIES

    more = {"software": len(FAMILIES)}
    return _print([{"kind": kind, "entries": len(catalog.names(kind)) + more.get(kind, 0)} for kind in catalog.kinds()], args)


def _software(calibrated: list[dict[str, Any]], args: argparse.Namespace) -> int:
    """List the families of software that hpcsim knows, by span of years, and what was calibrated on one's own machine."""
    from hpcsim.cost.software import FAMILIES, family_eras

    rows: list[dict[str, Any]] = []
    for name, (title, names) in FAMILIES.items():
        eras = family_eras(name)
        for at, (first, last, stack) in enumerate(eras):
            years = (
                "all" if len(eras) == 1 else f"to {last}" if at == 0 else f"from {first}" if at == len(eras) - 1 else f"{first} to {last}"
            )
            rows.append(
                {
                    "software": name,
                    "years": str(first) if first == last else years,
                    "fused_attention": bool(stack.fused_attention),
                    "launch_s": float(stack.launch_s),
                    "dp_overlap_frac": float(stack.dp_overlap_frac),
                    "names": list(names),
                    "title": title,
                }
            )
    if args.format == "json":
        print(json.dumps({"families": rows, "calibrated": calibrated}, indent=2, ensure_ascii=False, default=list))
    elif not args.quiet:
        _table([_family(row) for row in rows])
        print(
            "\nA framework is matched by part of its name: --framework NAME --year Y, or framework and year of a training run; without a year, that of the accelerator's time."
        )
        print(
            "Without a framework: pytorch, operation by operation, with wider ranges. docs/models/training.md says what is assumed of each."
        )
        if calibrated:
            print("\ncalibrated on one's own machine")
            _table([{key: _named(key, value) for key, value in row.items()} for row in calibrated])
    return 0


_MOST_NAMES = 5


def _family(row: dict[str, Any]) -> dict[str, str]:
    names = row["names"]
    return {
        "software": row["software"],
        "years": row["years"],
        "fused attention": "yes" if row["fused_attention"] else "no",
        "host time an operation": f"{1e6 * row['launch_s']:.3g} µs",
        "gradients hidden": f"{100 * row['dp_overlap_frac']:.0f} %",
        "named by": ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else ""),
        "what it is": row["title"],
    }


def _show(shown: Any, args: argparse.Namespace) -> int:
    rows = [
        {"field": f.field, "value": f.value, "unit": f.unit, "source": f.source, "kind": f.kind, "low": f.low, "high": f.high}
        for f in shown.facts
    ]
    entry = shown.entry
    head = {
        "kind": shown.kind,
        "id": entry.id,
        "title": entry.title,
        "aliases": list(entry.aliases),
        "note": entry.note,
        "also": list(shown.also),
    }
    if args.format == "json":
        print(json.dumps({**head, "values": rows}, indent=2, ensure_ascii=False, default=list))
        return 0
    if args.quiet:
        return 0
    print(f"{shown.kind} {entry.id}" + (f" – {entry.title}" if entry.title else ""))
    for key in ("aliases", "note", "also"):
        if head[key]:
            print(f"{key}: {', '.join(head[key]) if isinstance(head[key], list) else head[key]}")
    print()
    _table([{"field": r["field"], "value": _text(r["value"], str(r["unit"])), "kind": r["kind"], "source": r["source"]} for r in rows])
    unverified = sum(r["kind"] == "remembered" for r in rows)
    if unverified:
        print(f"\n{unverified} of {len(rows)} values are quoted from memory and unverified; a result that rests on one says so.")
    return 0


def _text(value: Any, unit: str) -> str:
    from hpcsim.base.units import DIMENSIONS, readable

    dimension = next((d.name for d in DIMENSIONS.values() if d.si == unit), "")
    if isinstance(value, float) and dimension:
        return readable(value, dimension)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    text = (
        f"{value:,.6g}"
        if isinstance(value, float)
        else (f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    )
    return f"{text} {unit}".strip()


def _print(rows: list[dict[str, Any]], args: argparse.Namespace) -> int:
    if args.format == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=list))
    elif not args.quiet:
        _table([{key: _named(key, value) for key, value in row.items()} for row in rows])
    return 0


def _named(key: str, value: Any) -> str:
    from hpcsim.results.quantities import show

    if value is None or value == "" or value == ():
        return "–"
    head = key.partition(".")[0]
    if head.endswith("year"):
        return str(value)
    return show(head, value) if isinstance(value, float) else _text(value, "")


def _table(rows: list[dict[str, str]]) -> None:
    if not rows:
        print("nothing")
        return
    keys = list(rows[0])
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in keys[:-1]}
    for row in ({key: key for key in keys}, *rows):
        print("  ".join([*(row[key].ljust(widths[key]) for key in keys[:-1]), row[keys[-1]]]).rstrip())
