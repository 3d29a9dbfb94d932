"""The catalog's files: one kind each, read when it is first asked for, with an index of every name.

A data file is a YAML map of ``references`` (short name → work and place), ``entries`` (name → entry, see :mod:`hpcsim.catalog.entries`)
and, where rows are many, ``tables`` (name of a CSV file beside it → how to cite its rows). An overlay is a map of kinds
(``accelerators: {name: entry}``) with ``references`` of its own; an entry that exists keeps the fields that the overlay leaves out.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.catalog.entries import Entry
from hpcsim.scenario.source import Source as Place
from hpcsim.scenario.source import parse_yaml, read_text

__all__ = ["DATA", "KINDS", "Index", "Kind", "Overlay", "cited", "kind_named", "loose", "read_overlay", "rows_of"]

UNKNOWN_KIND = problem_kind("unknown-catalog-kind", "the catalog has no kind {kind!r}", "{near}")
UNKNOWN_NAME = problem_kind("unknown-catalog-name", "the catalog has no {kind} {name!r}", "{near}")
AMBIGUOUS = problem_kind("ambiguous-catalog-name", "{name!r} names several {kind} entries: {ids}", "write one of them in full")
COLLISION = problem_kind(
    "catalog-collision", "the {kind} name {name!r} belongs to both {first!r} and {second!r}", "remove it from one of them"
)
BAD_ENTRY = problem_kind("catalog-entry", "{why}", "{hint}")
BAD_REFERENCE = problem_kind("catalog-reference", "the reference @{name} is not declared", "add it to the file's references")

DATA = Path(__file__).parent / "data"


class Kind(NamedTuple):
    """A kind of entry."""

    name: str
    plural: str
    where: str
    """Module and class of its entries."""
    headline: tuple[str, ...]
    """Fields that a listing shows."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "accelerator",
            "accelerators",
            "hardware.Accelerator",
            ("category", "peak_flop_per_s.bf16", "peak_flop_per_s.fp64", "memory_bytes", "memory_bytes_per_s", "tdp_w", "release_year"),
        ),
        Kind("node", "nodes", "hardware.Node", ("accelerator", "accelerators", "nic", "nics", "max_w", "price_usd", "hourly_usd_per_s")),
        Kind("model", "models", "models.Model", ("family", "layers", "hidden", "heads", "vocab", "published_parameters")),
        Kind("link", "links", "hardware.Link", ("category", "bytes_per_s", "latency_s", "hop_s", "switch_w")),
        Kind(
            "link-kind",
            "link-kinds",
            "link_kinds.LinkKind",
            ("category", "efficiency_frac", "latency_s", "startup_s", "pipelining", "doubt_sigma"),
        ),
        Kind(
            "storage", "storage", "hardware.Storage", ("category", "read_bytes_per_s", "write_bytes_per_s", "capacity_bytes", "latency_s")
        ),
        Kind("software", "software", "software.Software", ("launch_s", "step_overhead_s", "memory_traffic")),
        Kind("system", "systems", "hardware.System", ("accelerator", "nodes", "accelerators_per_node", "rmax_flop_per_s", "power_w")),
        Kind(
            "price",
            "prices",
            "economy.Price",
            ("category", "provider", "accelerator", "usd_per_s.on-demand", "usd_per_s.1-year", "usd_per_s.spot"),
        ),
        Kind("electricity", "electricity", "economy.Electricity", ("industrial_usd_per_j", "commercial_usd_per_j", "business_usd_per_j")),
        Kind("carbon", "carbon", "economy.Carbon", ("category", "carbon_kg_co2e_per_j", "embodied_kg_co2e", "year")),
        Kind("pue", "pue", "economy.Pue", ("pue", "best", "year")),
        Kind("power", "power", "economy.Power", ("category", "accelerator", "node")),
        Kind(
            "reliability",
            "reliability",
            "economy.Reliability",
            ("category", "accelerators", "annual_failure_frac", "failures_per_1000_node_days", "effective_frac", "repair_s"),
        ),
        Kind(
            "fabric",
            "fabrics",
            "hardware.FabricDesign",
            ("topology", "link", "per_node", "rails", "routers", "global_cables", "axes"),
        ),
        Kind("data-method", "data-methods", "methods.DataMethod", ("category", "core_bytes_per_s", "back_core_bytes_per_s", "ratio.mixed")),
    )
}


@lru_cache(maxsize=1024)
def kind_named(name: str) -> Kind:
    """Return a kind by its singular or plural name.

    Raises
    ------
    InputError
        No such kind.
    """
    for kind in KINDS.values():
        if name in (kind.name, kind.plural):
            return kind
    near = difflib.get_close_matches(str(name), [k.plural for k in KINDS.values()], 1)
    hint = f"did you mean {near[0]!r}?" if near else "kinds: " + ", ".join(k.plural for k in KINDS.values())
    raise UNKNOWN_KIND.error(kind=name, near=hint)


@lru_cache(maxsize=4096)
def loose(name: str) -> str:
    """Return ``name`` without case, spaces, hyphens and underscores.

    >>> loose("A100-SXM4 80GB")
    'a100sxm480gb'
    """
    return re.sub(r"[\s_-]+", "", name.casefold())


class Overlay(NamedTuple):
    """Entries that add to the catalog or override it."""

    name: str
    data: Mapping[str, Any]
    place: Place | None


def read_overlay(overlay: str | Path | Mapping[str, Any]) -> Overlay:
    """Read an overlay catalog and check its outer form.

    Raises
    ------
    InputError
        An unreadable file, broken YAML, or a key that is no kind.
    """
    if isinstance(overlay, Mapping):
        found = Overlay("overlay", overlay, None)
    else:
        problems = Problems()
        path = Path(overlay)
        data, place = parse_yaml(read_text(path, str(overlay)), str(overlay), path.parent, problems)
        problems.raise_if_any()
        found = Overlay(str(overlay), data, place)
    for key, value in found.data.items():
        if key in ("schema", "references"):
            continue
        try:
            kind_named(key)
        except InputError as error:
            raise InputError([_placed(p, found, (key,), key=True) for p in error.problems]) from None
        if not isinstance(value, Mapping) or not all(isinstance(item, Mapping) for item in value.values()):
            problem = BAD_ENTRY(
                why=f"{key} must be a map of entries, each a map of fields", hint="for example {name: {field: value}}", path=key
            )
            raise InputError([_placed(problem, found, (key,))])
    return found


def _placed(problem: Problem, overlay: Overlay, path: tuple[str | int, ...], *, key: bool = False) -> Problem:
    if overlay.place is None:
        return problem.located(path=".".join(map(str, path)))
    line, column = overlay.place.place(path, key=key)
    return problem.located(overlay.place.file, line, column, ".".join(map(str, path)))


def rows_of(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file of the catalog; lines that begin with ``#`` are comments."""
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(line for line in stream if not line.startswith("#"))


def cited(sources: Any, references: Mapping[str, str]) -> Any:
    """Return ``sources`` with ``@name`` replaced by the reference of that name, and one item for each of a key's comma-separated fields.

    Raises
    ------
    InputError
        A reference that is not declared.
    """
    if not isinstance(sources, Mapping):
        return sources

    def full(match: re.Match[str]) -> str:
        if match[1] not in references:
            raise BAD_REFERENCE.error(name=match[1])
        return str(references[match[1]])

    texts = {key: re.sub(r"@([\w-]+)", full, text) if isinstance(text, str) else text for key, text in sources.items()}
    return {field.strip(): text for key, text in texts.items() for field in str(key).split(",")}


def _merged(base: Mapping[str, Any] | None, over: Mapping[str, Any], given: str) -> dict[str, Any]:
    """Lay the fields of an overlay's entry over an entry; values without a source of their own count as given by the overlay."""
    entry = dict(base or {})
    sources = dict(entry.get("sources", {}))
    own = over.get("sources")
    own = dict(own) if isinstance(own, Mapping) else {}
    source = own.get("all", f"given {given}")
    for key, value in over.items():
        if key in ("sources", "aliases"):
            continue
        if isinstance(value, Mapping) and isinstance(entry.get(key), Mapping):
            entry[key] = {**entry[key], **value}
            sources |= {f"{key}.{item}": source for item in value}
        else:
            entry[key] = value
            sources = {k: v for k, v in sources.items() if not k.startswith(f"{key}.")} | {key: source}
    entry["aliases"] = [*entry.get("aliases", ()), *over.get("aliases", ())]
    entry["sources"] = sources | own
    return entry


class Index:
    """All entries of one kind: raw data, the index of names, and the entries that were asked for."""

    def __init__(self, kind: Kind, overlays: tuple[Overlay, ...] = ()) -> None:
        self.kind = kind
        module, _, name = kind.where.partition(".")
        self.entry_class: type[Entry] = getattr(import_module(f"hpcsim.catalog.{module}"), name)
        self.raw: dict[str, dict[str, Any]] = {}
        self.references: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self._entries: dict[str, Entry] = {}
        self._exact: dict[str, str] = {}
        self._loose: dict[str, list[str]] = {}
        self._hints: dict[str, str] = {}
        self._read()
        for overlay in overlays:
            self._lay(overlay)
        self._index()
        for overlay in overlays:
            self._check(overlay)

    def _read(self) -> None:
        path = DATA / f"{self.kind.plural}.yaml"
        problems = Problems()
        data, _ = parse_yaml(path.read_text(encoding="utf-8"), path.name, DATA, problems)
        problems.raise_if_any()
        self.references = data.get("references", {})
        self.settings = {key: value for key, value in data.items() if key not in ("references", "entries")}
        self.raw = {name: {**entry, "sources": cited(entry.get("sources", {}), self.references)} for name, entry in data["entries"].items()}
        if self.kind.name == "carbon":
            for row in rows_of("carbon_intensity.csv"):
                self.raw[row["id"]] = self._carbon(row)
        if self.kind.name == "price":
            from hpcsim.catalog.prices import summaries

            self.raw |= summaries(cited(self.settings["row_sources"], self.references))

    def _carbon(self, row: Mapping[str, str]) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "title": row["title"],
            "aliases": [name for name in row["aliases"].split(";") if name],
            "category": row["category"],
            "intensity": f"{row['g_per_kwh']} g/kWh",
            "year": row["year"],
            "sources": {"all": f"read {self.references[row['source']]}"},
        }
        if row["carbon_free"]:
            entry["carbon_free"] = float(row["carbon_free"])
        return entry

    def _own(self, overlay: Overlay) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for key, entries in overlay.data.items():
            if key in (self.kind.name, self.kind.plural):
                for name, entry in entries.items():
                    yield key, str(name), entry

    def _lay(self, overlay: Overlay) -> None:
        references = self.references | dict(overlay.data.get("references", {}))
        self._index()
        for key, name, entry in self._own(overlay):
            known = self._exact.get(name.casefold()) or next(iter(self._loose.get(loose(name), [])), None)
            target = known or name
            try:
                own = {**entry, "sources": cited(entry.get("sources", {}), references)}
            except InputError as error:
                raise InputError([_placed(p, overlay, (key, name, "sources")) for p in error.problems]) from None
            self.raw[target] = _merged(self.raw.get(target), own, f"in {overlay.name}")

    def _check(self, overlay: Overlay) -> None:
        problems = Problems()
        for key, name, _ in self._own(overlay):
            entry_id = self.resolve(name)
            try:
                self._build(entry_id)
            except ValidationError as error:
                for problem, path in _explained(error, self.entry_class):
                    problems.add(_placed(problem, overlay, (key, name, *path), key="unknown" in problem.message))
        problems.raise_if_any()

    def _index(self) -> None:
        self._exact, self._loose = {}, {}
        self._hints = {}
        for entry_id, raw in self.raw.items():
            for name in (entry_id, *raw.get("aliases", ())):
                key = str(name).casefold()
                other = self._exact.setdefault(key, entry_id)
                if other != entry_id:
                    raise COLLISION.error(kind=self.kind.name, name=name, first=other, second=entry_id)
                owners = self._loose.setdefault(loose(str(name)), [])
                if entry_id not in owners:
                    owners.append(entry_id)

    def collisions(self) -> dict[str, list[str]]:
        """Return the names that, without case and punctuation, belong to several entries."""
        return {name: owners for name, owners in self._loose.items() if len(owners) > 1}

    def names(self) -> list[str]:
        """Return the canonical names in the order of the file."""
        return list(self.raw)

    def known(self, name: str) -> str | None:
        """Return the canonical name behind ``name``, or None where there is none or more than one."""
        owners = self._loose.get(loose(name), [])
        return self._exact.get(name.strip().casefold()) or (owners[0] if len(owners) == 1 else None)

    def resolve(self, name: str) -> str:
        """Return the canonical name behind ``name``.

        Raises
        ------
        InputError
            Unknown, or ambiguous once case and punctuation are ignored.
        """
        text = str(name)
        found = self.known(text)
        if found:
            return found
        owners = self._loose.get(loose(text), [])
        if owners:
            raise AMBIGUOUS.error(name=name, kind=self.kind.name, ids=", ".join(owners))
        raise UNKNOWN_NAME.error(kind=self.kind.name, name=name, near=self._hint(loose(text)))

    def _hint(self, text: str) -> str:
        """Return what stands near a name that nobody has; kept, as those who try one name after the other ask for it again and again."""
        if text not in self._hints:
            near = [self._loose[key][0] for key in difflib.get_close_matches(text, self._loose, 4, 0.6)]
            near = list(dict.fromkeys(near))[:3]
            asked = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            self._hints[text] = f"{asked}see 'hpcsim catalog list {self.kind.plural}'"
        return self._hints[text]

    def _build(self, entry_id: str) -> Entry:
        if entry_id not in self._entries:
            self._entries[entry_id] = self.entry_class.model_validate({**self.raw[entry_id], "id": entry_id})
        return self._entries[entry_id]

    def entry(self, name: str) -> Entry:
        """Return the entry called ``name``.

        Raises
        ------
        InputError
            As :meth:`resolve`.
        """
        return self._build(self.resolve(name))


def _explained(error: ValidationError, model: type[Entry]) -> Iterator[tuple[Problem, tuple[str | int, ...]]]:
    keys = [info.alias or name for name, info in model.model_fields.items()]
    for item in error.errors(include_url=False):
        path = tuple(part for part in item["loc"] if part != "[key]")
        context = item.get("ctx", {})
        hint = str(context.get("hint", ""))
        why = str(context.get("message", item["msg"]))
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(path[-1]), keys, 1)
            why, hint = f"unknown field {path[-1]!r}", f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(keys)
        yield BAD_ENTRY(why=why, hint=hint), path
