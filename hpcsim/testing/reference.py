"""The reference pages, generated from the declarations they describe.

``python -m hpcsim.testing.reference [FOLDER]`` writes all of them (to ``docs/reference`` by default); a test fails when a page and its
declarations differ. A new page is one more row in :data:`PAGES`.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from hpcsim.base import errors

__all__ = ["PAGES", "page", "problems", "scenario_schema", "write"]

PAGES: dict[str, str] = {
    "units.md": "hpcsim.base.units:markdown",
    "problems.md": "hpcsim.testing.reference:problems",
    "tables.md": "hpcsim.results.tables:markdown",
    "scenario.md": "hpcsim.scenario.schema:markdown",
    "scenario.schema.json": "hpcsim.testing.reference:scenario_schema",
    "cli.md": "hpcsim.testing.pages:command_line",
    "catalog.md": "hpcsim.testing.pages:catalog",
}
"""File name of each page and the function that returns its text, as ``module:function``."""


def problems() -> str:
    """Return the page of every problem; imports every module of hpcsim first, so that each has registered its kinds."""
    package = Path(errors.__file__).parent.parent
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] != "__main__" and parts[1] != "testing":
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    return errors.markdown()


def scenario_schema() -> str:
    """Return the JSON Schema of scenario files as text."""
    from hpcsim.scenario.schema import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def page(name: str) -> str:
    """Return the text of one page.

    >>> page("units.md").splitlines()[0]
    '# Quantities and units'
    """
    module, _, function = PAGES[name].partition(":")
    text: str = getattr(importlib.import_module(module), function)()
    return text


def write(folder: str | Path = "docs/reference") -> list[Path]:
    """Write every page into ``folder`` and return their paths."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / name for name in PAGES]
    for path in paths:
        path.write_text(page(path.name), encoding="utf-8")
    return paths


if __name__ == "__main__":
    write(*sys.argv[1:2])
