"""Where cloud regions lie, and price lists of the user's own."""

from __future__ import annotations

import csv
import fnmatch
import io
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.catalog.files import loose, rows_of
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.prices import Offer
from hpcsim.scenario.source import read_text

__all__ = ["EEA", "EU", "country_in", "country_of", "lives_in", "read_price_list", "sold"]

NO_COLUMNS = problem_kind(
    "price-list-columns",
    "the price list has no column for {what}; its columns: {columns}",
    "accelerator, count, region and an hourly price, as SkyPilot's catalog has them, or provider, instance, accelerator, accelerators, "
    "region, on_demand, one_year, three_year, spot",
)
BAD_PRICE = problem_kind("price-list-value", "{value!r} is no {what}", "a number that is not negative, without unit: USD for an hour")
NO_ROWS = problem_kind("price-list-empty", "the price list has no rows", "a row prices an instance in a region")

EU = frozenset(
    [
        "AUT",
        "BEL",
        "BGR",
        "HRV",
        "CYP",
        "CZE",
        "DNK",
        "EST",
        "FIN",
        "FRA",
        "DEU",
        "GRC",
        "HUN",
        "IRL",
        "ITA",
        "LVA",
        "LTU",
        "LUX",
        "MLT",
        "NLD",
        "POL",
        "PRT",
        "ROU",
        "SVK",
        "SVN",
        "ESP",
        "SWE",
    ]
)
"""Members of the European Union by ISO 3166-1 code."""
EEA = EU | {"ISL", "LIE", "NOR"}
"""Members of the European Economic Area."""

_NAMES: dict[str, tuple[str, ...]] = {
    "provider": ("provider", "cloud"),
    "region": ("region", "Region"),
    "instance": ("instance", "InstanceType"),
    "accelerator": ("accelerator", "AcceleratorName"),
    "count": ("accelerators", "count", "AcceleratorCount"),
    "on-demand": ("on_demand", "usd_h", "Price"),
    "1-year": ("one_year",),
    "3-year": ("three_year",),
    "spot": ("spot", "spot_usd_h", "SpotPrice"),
    "date": ("date",),
    "source": ("source",),
}
"""What a column of a price list may be called: in hpcsim's own table, in a flattened SkyPilot catalog, in SkyPilot's own files."""
_TERMS = ("on-demand", "1-year", "3-year", "spot")


@cache
def _places() -> tuple[tuple[str, str, str], ...]:
    rows = [(row["provider"], row["begins"], row["country"]) for row in rows_of("places.csv")]
    return tuple(sorted(rows, key=lambda row: -len(row[1])))


def country_of(provider: str, region: str) -> str:
    """Return the ISO code of the country in which a cloud's region lies, or "" where it is not known.

    >>> country_of("gcp", "europe-west4"), country_of("azure", "germanywestcentral"), country_of("lambda", "all")
    ('NLD', 'DEU', '')
    """
    name = region.casefold()
    return next((land for cloud, begins, land in _places() if cloud == provider.casefold() and name.startswith(begins.casefold())), "")


def country_in(catalog: Catalog, region: str | None) -> str:
    """Return the ISO code that a region's name stands for, where it is a country, a US state or a cloud's region; else ""."""
    if not region:
        return ""
    if region.upper().startswith("US-"):
        return "USA"
    try:
        entry = catalog.find("carbon", region)
    except InputError:
        return ""
    if getattr(entry, "category", "") == "country":
        return entry.id.upper()
    provider, _, place = entry.id.partition("-")
    return country_of(provider, place) or country_of(provider, place.replace("-", ""))


def lives_in(allowed: Sequence[str], *, country: str, names: Iterable[str]) -> bool:
    """Return whether a place is among the ``allowed`` ones: countries, ``EU``, ``EEA``, or patterns of place names.

    A place whose country is not known is in none.

    >>> lives_in(["EU"], country="DEU", names=["gcp-europe-west3"]), lives_in(["europe-*"], country="", names=["europe-west3"])
    (True, True)
    """
    for word in allowed:
        group = {"EU": EU, "EEA": EEA}.get(word.upper())
        if (group is not None and country in group) or (country and word.upper() == country):
            return True
        if any(fnmatch.fnmatchcase(name.casefold(), word.casefold()) for name in names):
            return True
    return False


def sold(rows: Iterable[Offer], accelerator: str, term: str, per_node: int) -> list[tuple[float, Offer]]:
    """Return price of one accelerator [USD/s] and offer, the cheapest of each provider and region, of instances that are whole nodes.

    An instance counts as a node where it holds at least ``per_node`` accelerators, or as many as its provider sells together; prices of
    a bare accelerator, to which the host comes extra, and instances without a network for several of them are left out.
    """
    fitting = [o for o in rows if o.accelerator == accelerator and term in o.hourly and o.accelerators >= 1]
    fitting = [o for o in fitting if not o.instance.startswith("gpu-without-host") and "noIB" not in o.instance]
    most: dict[str, float] = {}
    for offer in fitting:
        most[offer.provider] = max(most.get(offer.provider, 0.0), offer.accelerators)
    best: dict[tuple[str, str], tuple[float, Offer]] = {}
    for offer in fitting:
        if offer.accelerators < min(per_node, most[offer.provider]):
            continue
        price, key = offer.hourly[term] / offer.accelerators / 3600.0, (offer.provider, offer.region)
        if key not in best or price < best[key][0]:
            best[key] = (price, offer)
    return [best[key] for key in sorted(best)]


def _number(text: str, what: str, problems: Problems, place: dict[str, object]) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        problems.add(BAD_PRICE(value=text, what=what, **place))  # type: ignore[arg-type]
        return None
    return value


def read_price_list(path: str | Path, catalog: Catalog, *, name: str = "") -> list[Offer]:
    """Read a price list: CSV in the layout of hpcsim's own table, of a flattened SkyPilot catalog, or of SkyPilot's files.

    Prices are USD for an hour of the whole instance. A file without a provider's column is taken to be the provider of its own name.
    Rows of devices that the catalog does not know are kept under the name they have.

    Raises
    ------
    InputError
        An unreadable file, missing columns, values that are no prices – all at once, with their lines.
    """
    path = Path(path)
    shown = name or str(path)
    lines = [(i, line) for i, line in enumerate(read_text(path, shown).splitlines(), 1) if line.strip() and not line.startswith("#")]
    reader = csv.DictReader(io.StringIO("\n".join(line for _, line in lines)))
    heads = {field: next((n for n in names if n in (reader.fieldnames or ())), None) for field, names in _NAMES.items()}
    missing = [field for field in ("accelerator", "region", "on-demand") if heads[field] is None]
    if missing:
        raise NO_COLUMNS.error(file=shown, what=" and ".join(missing), columns=", ".join(reader.fieldnames or ()) or "none")
    problems = Problems()
    found: list[Offer] = []
    for (line, _), row in zip(lines[1:], reader):

        def cell(field: str, row: dict[str, str] = row) -> str:
            head = heads[field]
            return (row.get(head) or "").strip() if head else ""

        place: dict[str, object] = {"file": shown, "line": line, "column": 1}
        if not cell("accelerator"):
            continue
        count = _number(cell("count") or "1", "number of accelerators", problems, place)
        hourly = {term: price for term in _TERMS if (price := _number(cell(term), "price", problems, place)) is not None}
        found.append(
            Offer(
                cell("provider") or loose(path.stem),
                cell("region"),
                cell("instance"),
                _device(cell("accelerator"), catalog),
                count or 1.0,
                "",
                "",
                hourly,
                cell("date"),
                cell("source") or f"price list {shown}",
                "",
            )
        )
    problems.raise_if_any()
    if not found:
        raise NO_ROWS.error(file=shown)
    return found


@cache
def _sky_names() -> dict[str, str]:
    """SkyPilot's names of devices that are not among the catalog's aliases."""
    return {
        loose(k): v
        for k, v in {
            "H100": "h100-sxm",
            "H200": "h200-sxm",
            "B200": "b200-sxm",
            "B300": "b300-sxm",
            "A100": "a100-sxm-40gb",
            "A100-80GB": "a100-sxm-80gb",
            "V100": "v100-sxm-16gb",
            "V100-32GB": "v100-sxm-32gb",
            "TPUv5e": "tpu-v5e",
            "TPUv5p": "tpu-v5p",
            "TPUv6e": "tpu-v6e",
            "MI300X": "mi300x",
        }.items()
    }


def _device(name: str, catalog: Catalog) -> str:
    bare = name.removeprefix("tpu-") if name.startswith("tpu-v") and "-" in name[5:] else name
    known = _sky_names().get(loose(bare))
    if known is not None:
        return known
    try:
        return catalog.accelerator(name).id
    except InputError:
        return name
