"""Every problem of a scenario at once: what its parts mean, and the names in its plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import InputError, Problem
from hpcsim.run.bind import bind, catalog_of
from hpcsim.scenario.load import Scenario, load

if TYPE_CHECKING:
    from hpcsim.catalog.lookup import Catalog

__all__ = ["check"]


def check(scenario: str | Path | Mapping[str, Any] | Scenario, *, catalog: Catalog | None = None) -> list[Problem]:
    """Return every problem of a scenario, its plan included; an empty list means that it can be run.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    catalog : Catalog, optional
        The default one without it.
    """
    problems: list[Problem] = []
    try:
        scenario = load(scenario)
    except InputError as error:
        return error.problems
    try:
        bind(scenario, catalog=catalog)
    except InputError as error:
        problems += error.problems
    if scenario.plan is not None:
        from hpcsim.study.planning.names import plan_problems

        try:
            problems += plan_problems(scenario, catalog_of(scenario, catalog))
        except InputError as error:  # an overlay that cannot be read: bind said so
            problems += [p for p in error.problems if p not in problems]
    return sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))
