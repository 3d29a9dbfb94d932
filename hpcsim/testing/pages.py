"""Two generated reference pages: the command line from its parsers, the catalog from its declarations and entries."""

from __future__ import annotations

import argparse
import typing
from collections import Counter
from collections.abc import Iterator
from types import UnionType
from typing import Any

from hpcsim.base.units import DIMENSIONS
from hpcsim.catalog.entries import Entry, SourceKind
from hpcsim.catalog.files import KINDS, Index, Kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.cli.main import COMMANDS, build_parser
from hpcsim.scenario.fields import Count, Quantity, Share

__all__ = ["catalog", "command_line"]

_COMMAND_LINE = """\
# Command line

Generated from the parsers in `hpcsim/cli/`; `hpcsim COMMAND --help` prints the same. `python -m hpcsim` stands in for the script.

Standard output holds the answer: a table for people, or with `--format json` exactly one JSON document. Everything else goes to standard
error. Files appear whole or not at all. A progress bar is drawn on a terminal only, for work of more than two seconds.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | the input is sound and a check on it failed |
| 2 | the input is wrong: every problem is listed as `file:line:column: path: message (remedy) [code]`, see [Problems](problems.md) |
| 3 | a fault of hpcsim itself; with the environment variable `HPCSIM_TRACEBACK` set it shows where |
| 130 | interrupted from the keyboard |
"""

_CATALOG = """\
# Catalog

Generated from `hpcsim/catalog/`. A scenario names catalog entries wherever a value can come from there; a value in the scenario wins over
the catalog's. `hpcsim catalog list` counts the kinds, `hpcsim catalog list KIND` lists a kind, `hpcsim catalog show NAME` prints every value
of an entry with its unit and source. Names are found without regard to case, spaces, hyphens and underscores, and by their aliases: `A100-80GB`,
`a100 sxm 80gb` and `A100-SXM4-80GB` are one entry. A name that is not known is refused, with the nearest known ones.

## Sources

Every value has a source, and the source has a kind:

| kind of source | meaning |
|---|---|
| `read` | read in the source that is named |
| `measured` | measured, by the source that is named |
| `derived` | follows from such values by the arithmetic that is named |
| `given` | by the user, in an overlay or a scenario |
| `remembered` | quoted from memory and unverified, or derived from such a value |

A result lists the values it rests on in its table `sources`, and the summary names those that are remembered. Peak rates are dense (no
structured sparsity), bandwidths are one way.

Where the catalog has no idle power of a device, the share of the thermal design power that its category draws stands in (entry `idle-share` of
kind `power`); of a node, the share of its rated power; where it has no highest power of a node without its accelerators, the rated power less
theirs. Such values are `derived` or `remembered` and say so.

"""

_OVERLAY = """\
## Overlays

An overlay adds entries, or fields to entries that exist; what it leaves out stays as it is. It is a YAML file with a map for each kind, and
its own list of references. Quantities carry units; a value without a source of its own counts as `given`.

```yaml
references:
  sheet: data sheet of the maker, revision 3
accelerators:
  my-chip:                                   # a new entry
    title: My chip
    category: asic
    peak: {bf16: 100 TFLOP/s}
    memory: 64 GB
    memory_bandwidth: 2 TB/s
    tdp: 300 W
    sources:
      peak, memory, memory_bandwidth: read @sheet
  a100-sxm-80gb:                             # two values of a built-in entry
    matmul: {bf16: 280 TFLOP/s}
    tdp: 350 W
```

`sources` maps a key (`tdp`), several (`peak, memory`) or a dotted one (`peak.bf16`) to `KIND TEXT`; `@name` stands for an item of
`references`. In Python an overlay
is given to the catalog, `Catalog(["mine.yaml"])` of `hpcsim.catalog.lookup`, and the catalog to `hpcsim.simulate(scenario, catalog=…)`. An installed
package brings one by the entry-point group `hpcsim.catalogs`, which the command line sees too: [Plug-ins](../plugins.md).

Long tables lie beside the YAML files: `carbon_intensity.csv` (carbon by country and cloud region), `cloud_prices.csv` (hourly prices by provider, region,
instance and contract), `spot_interruption.csv`. A price is asked for by provider, device, region and contract; without a region it is the
cheapest region's in a scenario, and the median in `hpcsim catalog show`.

"""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return help text and parser of each inner command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (texts.get(name, ""), inner) for name, inner in action.choices.items()}
    return {}


def _spelling(action: argparse.Action) -> str:
    """Return an argument as it is typed, as in ``--axis KEY=V1,V2,…``."""
    if action.choices is not None:
        value = "|".join(map(str, action.choices))
    else:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.option_strings:
        return action.option_strings[0] + ("" if action.nargs == 0 else f" {value}")
    return value + ("…" if action.nargs in ("+", "*") else "")


def _usage(program: str, actions: list[argparse.Action]) -> str:
    places = [action for action in actions if not action.option_strings]
    words = [f"[{_spelling(a)}]" if a.nargs in ("?", "*") else _spelling(a) for a in places]
    words += [_spelling(a) for a in actions if a.option_strings and a.required]
    words += ["[options]"] if any(a.option_strings and not a.required for a in actions) else []
    return " ".join([program, *words])


def _command(program: str, about: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    inner = _subparsers(parser)
    actions = [a for a in parser._actions if not isinstance(a, (argparse._HelpAction, argparse._SubParsersAction))]
    yield from (f"## {program}", "", f"{about[:1].upper()}{about[1:]}.", "")
    if not inner:
        yield from ("```text", _usage(program, actions), "```", "")
    yield from (_row("argument", "meaning"), "|---|---|")
    for action in actions:
        needed = "; needed" if action.required and action.option_strings else ""
        yield _row(f"`{_spelling(action)}`", f"{action.help}{needed}")
    yield ""
    for name, (text, sub) in inner.items():
        yield from _command(f"{program} {name}", text, sub)


def command_line() -> str:
    """Return the page of every command, with its arguments and what they mean.

    >>> "## hpcsim replay" in command_line()
    True
    """
    lines = [_COMMAND_LINE]
    for name, about in COMMANDS.items():
        lines.extend(_command(f"hpcsim {name}", about, _subparsers(build_parser(name))[name][1]))
    return "\n".join(lines).rstrip() + "\n"


def _written(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """Return how a value of a field is written, in words and with an example."""
    for mark in metadata:
        if isinstance(mark, Quantity):
            dimension = DIMENSIONS[mark.dimension]
            return f"{dimension.name}, such as `{dimension.example}`"
        if isinstance(mark, Count):
            return "count"
        if isinstance(mark, Share):
            return "share" if mark.high <= 1.0 else "number"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _written(args[0], args[1:])
    if origin in (typing.Union, UnionType):
        return _written(next(a for a in args if a is not type(None)))
    if origin is typing.Literal:
        return " · ".join(f"`{a}`" for a in args)
    if origin is dict:
        return f"map of {_key(args[0])} to {_written(args[1])}"
    if origin is tuple:
        return f"list of {_written(args[0])}"
    return {str: "text", bool: "true or false", int: "count", float: "number"}.get(annotation, "value")


def _key(annotation: Any) -> str:
    return _written(annotation) if typing.get_origin(annotation) is typing.Literal else "name"


def _kind(kind: Kind, entries: list[Entry]) -> Iterator[str]:
    entry_class: type[Entry] = Index(kind).entry_class
    about = " ".join((entry_class.__doc__ or "").split()).replace("``", "`")
    yield from (f"## {kind.plural}", "", about, "")
    names = ", ".join(f"`{entry.id}`" for entry in entries)
    many = len(entries) > 100
    if not entries:
        yield "No entries of its own: overlays add them (`hpcsim calibrate` writes such)."
    else:
        yield f"{len(entries)} entries; `hpcsim catalog list {kind.plural}` lists them." if many else f"{len(entries)} entries: {names}."
    yield from ("", _row("key", "written as", "inside", "meaning"), "|---|---|---|---|")
    common = set(Entry.model_fields)
    for name, field in entry_class.model_fields.items():
        if name not in common:
            yield _row(f"`{field.alias or name}`", _written(field.annotation, field.metadata), f"`{name}`", field.description or "")
    yield ""


def catalog() -> str:
    """Return the page of the built-in catalog: kinds, how many values of which source, fields, how to write an overlay.

    >>> "| accelerators |" in catalog()
    True
    """
    found = Catalog()
    shown = sorted(set(typing.get_args(SourceKind)) - {"given"}, key=["read", "measured", "derived", "remembered"].index)
    by_kind = {kind: [found.find(kind.name, name) for name in found.names(kind.name)] for kind in KINDS.values()}
    lines = [_CATALOG + "## Kinds", "", _row("kind", "entries", "values", *shown), "|---|" + "---:|" * (2 + len(shown))]
    for kind, entries in by_kind.items():
        counted = Counter(fact.kind for entry in entries for fact in entry.facts())
        numbers = [len(entries), sum(counted.values()), *(counted[name] for name in shown)]
        lines.append(_row(kind.plural, *(f"{number:,}" for number in numbers)))
    lines += ["", _OVERLAY.rstrip("\n"), ""]
    lines += [
        "Keys that every entry has: " + ", ".join(f"`{n}` ({f.description})" for n, f in Entry.model_fields.items() if n != "id") + ".",
        "",
    ]
    for kind, entries in by_kind.items():
        lines.extend(_kind(kind, entries))
    return "\n".join(lines).rstrip() + "\n"
