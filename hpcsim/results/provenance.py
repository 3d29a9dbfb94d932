"""Where a result comes from: versions, the scenario's fingerprint, the seed, and the catalog entries and plug-ins used."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["code_fingerprint", "fingerprint", "provenance", "version"]

_DISTRIBUTION = "hpcsim-planner"
_LIBRARIES = ("numpy", "pandas", "simpy", "networkx", "pydantic")


@cache
def version() -> str:
    """Return the version of hpcsim: that of the installed distribution, else of the package in use."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get("hpcsim"), "__version__", "unknown"))


@cache
def code_fingerprint() -> str:
    """Return the SHA-256 of hpcsim's own code and data: what tells two states of one version apart."""
    package = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".yaml", ".csv", ".json") and path.is_file():
            total.update(f"{path.relative_to(package).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def _library_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fingerprint(data: Any) -> str:
    """Return the SHA-256 of plain data in a canonical form: equal data, equal text, whatever the order of its keys.

    Parameters
    ----------
    data : dict, list, str, number, bool or None
        As read from YAML or JSON.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def provenance(
    *,
    scenario_sha256: str | None = None,
    seed: int | None = None,
    catalog: Iterable[str] = (),
    plugins: Iterable[str] = (),
    created: bool = False,
    **extra: Any,
) -> dict[str, Any]:
    """Return the record that goes with every result.

    Parameters
    ----------
    scenario_sha256 : str, optional
        :func:`fingerprint` of the scenario as it was run, changes from the command line included.
    seed : int, optional
        Seed of all random streams; left out where nothing was drawn.
    catalog, plugins : iterables of str
        Names of the catalog entries and plug-ins used; kept sorted, once each.
    created : bool
        Whether to note the time of writing; off, so that equal runs give equal bytes.
    **extra
        Further entries, such as ``file="scenarios/x.yaml"`` or ``axes=[…]``.
    """
    record: dict[str, Any] = {"hpcsim": version()}
    if scenario_sha256 is not None:
        record["scenario_sha256"] = scenario_sha256
    if seed is not None:
        record["seed"] = int(seed)
    record |= extra
    record["catalog"] = sorted(set(catalog))
    record["plugins"] = sorted(set(plugins))
    record["python"] = platform.python_version()
    record |= {name: found for name in _LIBRARIES if (found := _library_version(name))}
    if created:
        record["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record
