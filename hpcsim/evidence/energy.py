"""Cases of measured power and energy: the file format, read with every mistake of form at once, each with its line.

A file is a YAML list. A case has

=========== ===============================================================================================================
cluster     the cluster, as in a scenario
what        ``device`` (one accelerator of the first node group), ``node`` (one of its nodes) or ``cluster`` (all of it)
activity    shares of the time bound by ``compute``, ``memory`` and ``communication``; an empty map is a machine at rest
target      ``power``, or ``energy`` and beside it ``duration`` in the case
=========== ===============================================================================================================

and usually ``id``, ``group``, ``kind`` (read or remembered), ``source``, and ``informed`` where a constant of the model was set with a look at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.base.units import parse_fraction, parse_quantity
from hpcsim.evidence.training import case_list

__all__ = ["SHIPPED", "EnergyCase", "read_energy_cases"]

SHIPPED = Path(__file__).with_name("energy.yaml")
"""The cases that come with the package."""

BAD_CASE = problem_kind(
    "energy-case-form", "case {case}: {why}", "needed are cluster, what, activity and target: see the page on energy, carbon and money"
)

WHAT = ("device", "node", "cluster")
ACTIVITIES = ("compute", "memory", "communication")
_KEYS = ("id", "group", "what", "kind", "cluster", "activity", "duration", "target", "source", "note", "informed")


@dataclass(frozen=True, slots=True)
class EnergyCase:
    """One measurement: what was measured [W or J], over which time [s], and what it is of."""

    id: str
    group: str
    what: str
    cluster: Mapping[str, Any]
    activity: Mapping[str, float]
    duration_s: float | None
    measured: float
    kind: str = "read"
    informed: str = ""


def _quantity(case: Mapping[str, Any], key: str, dimension: str) -> float:
    value = parse_quantity(case[key], dimension)
    if not value > 0:
        raise BAD_CASE.error(case=case.get("id", "?"), why=f"{key} must be above zero")
    return value


def _flaws(case: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(case, dict):
        yield (), "it is no map"
        return
    yield from (((key,), f"unknown key {key!r}") for key in case if key not in _KEYS)
    for key in ("cluster", "activity", "target"):
        if not isinstance(case.get(key), dict):
            yield (key,), f"{key} missing" if case.get(key) is None else f"{key} is no map"
    if case.get("what") not in WHAT:
        yield ("what",), f"what is {case.get('what')!r}, one of {', '.join(WHAT)} is needed"
    if isinstance(case.get("activity"), dict):
        yield from (
            (("activity", k), f"unknown activity {k!r}; known: {', '.join(ACTIVITIES)}") for k in case["activity"] if k not in ACTIVITIES
        )
    target = case.get("target")
    if isinstance(target, dict):
        given = [key for key in ("power", "energy") if target.get(key) is not None]
        if len(given) != 1 or len(target) != 1:
            yield ("target",), "target has power or energy, one of them"
        elif given == ["energy"] and case.get("duration") is None:
            yield ("target",), "an energy needs the duration beside it"
        elif given == ["power"] and case.get("duration") is not None:
            yield ("duration",), "a power has no duration"


def _case(case: Mapping[str, Any], place: int) -> EnergyCase:
    activity = {key: parse_fraction(value) for key, value in case["activity"].items()}
    if sum(activity.values()) > 1.0 + 1e-9:
        raise BAD_CASE.error(case=case.get("id", place + 1), why="the shares of activity sum to more than 1")
    target = case["target"]
    if "power" in target:
        duration, measured = None, _quantity(target, "power", "power")
    else:
        duration, measured = _quantity(case, "duration", "time"), _quantity(target, "energy", "energy")
    return EnergyCase(
        str(case.get("id", place + 1)),
        str(case.get("group", "")),
        case["what"],
        case["cluster"],
        activity,
        duration,
        measured,
        str(case.get("kind", "read")),
        str(case.get("informed", "")),
    )


def read_energy_cases(path: str | Path | None = None) -> list[EnergyCase]:
    """Return the cases of a file, the shipped ones without it.

    Raises
    ------
    InputError
        No such file, no YAML, no list, or cases that lack something: every mistake, with its line.
    """
    data, marks, file = case_list(Path(path) if path is not None else SHIPPED)
    problems, cases = Problems(), []

    def note(problem: Problem, keys: tuple[str | int, ...]) -> None:
        line, column = marks.at(keys)
        problems.add(problem.located(file=file, line=line, column=column))

    for place, case in enumerate(data):
        flaws = list(_flaws(case))
        name = case.get("id", place + 1) if isinstance(case, dict) else place + 1
        for keys, why in flaws:
            note(BAD_CASE(case=name, why=why), (place, *keys))
        if not flaws:
            try:
                cases.append(_case(case, place))
            except InputError as error:
                for problem in error.problems:
                    note(problem, (place,))
    problems.raise_if_any()
    return cases
