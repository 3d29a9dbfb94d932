"""Flows through networks with the finish times that another program computed: the file format, every mistake of form at once.

A JSON document ``{"meta": {...}, "cases": [...]}``; a case has ``name``, ``links`` (``id``, ``bw`` [B/s], ``lat`` [s]), ``flows``
(``route``: ids of links; ``start`` [s], ``bytes``, and ``weight`` where shares are not equal), and ``finish`` [s], one for each flow. A flow waits
for the latencies of its route from its start, then takes its max-min fair share. Where a large case leaves ``finish`` out, its
``makespan``, ``finish_sum`` and ``finish_quantiles`` are what there is to compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problem, ProblemKind, Problems, problem_kind

__all__ = ["SHIPPED", "FlowCase", "read_flow_cases"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHIPPED = Path(__file__).with_name("flows.json")
"""Thirty-five networks whose finish times SimGrid computed."""

NO_FILE = problem_kind(
    "flow-cases-missing", "there is no such file of flow cases", "check the path, or leave --cases out for the shipped evidence"
)
UNREADABLE = problem_kind("flow-cases-unreadable", "the file of flow cases cannot be read: {why}", "it is JSON with a list of cases")
NO_CASES = problem_kind("flow-cases-empty", "the file has no cases", "an object with a list under the key cases is needed")
FORM = problem_kind("flow-case-form", "case {case}: {what} is {value!r}", "{needed} is needed")
CASE_CAPACITY = problem_kind(
    "flow-case-capacity", "case {case}: link {link!r} has the bandwidth {value!r}", "a number above zero and up to 1e60 is needed, in B/s"
)
CASE_LINK = problem_kind(
    "flow-case-link", "case {case}: flow {flow} goes over the link {link!r}, which the case does not have", "name one of its links"
)
CASE_ROUTE = problem_kind("flow-case-route", "case {case}: the route of flow {flow} is empty", "a route has at least one link")
CASE_SIZE = problem_kind("flow-case-size", "case {case}: flow {flow} has {value!r} bytes", "a number from 0 to 1e60 is needed")
CASE_TWICE = problem_kind("flow-case-link-twice", "case {case}: the link {link!r} is there twice", "every link has an id of its own")
CASE_TIMES = problem_kind(
    "flow-case-times", "case {case}: {why}", "finish has a time for each flow, or makespan, finish_sum or finish_quantiles are given"
)

_LEAST, _GREATEST = 1e-60, 1e60
"""Sizes of numbers other than zero between which quotients and sums neither vanish nor overflow."""
_MOST = 100
"""Problems that are listed of one file."""


@dataclass(frozen=True)
class FlowCase:
    """A network, flows through it, and when they end.

    Attributes
    ----------
    name, description, group : str
    capacity_bytes_per_s, link_latency_s : array, shape (links,)
    first, links : array of int
        Links of flow i: ``links[first[i]:first[i + 1]]``.
    start_s, size_bytes, weight : array, shape (flows,)
    finish_s : array, shape (flows,), or None
        By the other program [s].
    figures : dict
        ``makespan``, ``sum`` and quantiles (``"0.5"``) of the finish times [s], what the case gives of them.
    """

    name: str
    description: str
    group: str
    capacity_bytes_per_s: FloatArray
    link_latency_s: FloatArray
    first: IntArray
    links: IntArray
    start_s: FloatArray
    size_bytes: FloatArray
    weight: FloatArray
    finish_s: FloatArray | None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def latency_s(self) -> FloatArray:
        """Sum of the latencies of each flow's route [s], shape (flows,)."""
        return np.add.reduceat(self.link_latency_s[self.links], self.first[:-1])


def read_flow_cases(path: str | Path | None = None) -> list[FlowCase]:
    """Return the cases of a file, the shipped ones without it.

    Raises
    ------
    InputError
        No such file, no JSON, no cases, or cases with mistakes; every one of them with its place.
    """
    path = Path(path) if path is not None else SHIPPED
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except json.JSONDecodeError as error:
        raise UNREADABLE.error(file=str(path), why=f"line {error.lineno}: {error.msg}") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or "it is no JSON text") from None
    given = document.get("cases") if isinstance(document, dict) else document
    if not isinstance(given, list) or not given:
        raise NO_CASES.error(file=str(path))
    problems, cases = Problems(), []
    for place, case in enumerate(given):
        flaws = list(_flaws(case, place))
        for kind, where, words in flaws[: _MOST - len(problems.items)]:
            problems.add(_problem(kind, str(path), f"cases[{place}]{where}", words))
        if not flaws and not problems.items:
            cases.append(_case(case, place))
    problems.raise_if_any()
    return cases


def _problem(kind: ProblemKind, file: str, path: str, words: Mapping[str, Any]) -> Problem:
    return kind(file=file, path=path, **words)


def _number(value: Any, *, above: bool = False) -> bool:
    """Return whether ``value`` is a finite number, zero or more, or above zero where that is asked for, of a size that sums of it can bear."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return _LEAST <= value <= _GREATEST or (value == 0 and not above)


_Flaw = tuple[ProblemKind, str, dict[str, Any]]


def _flaws(case: Any, place: int) -> Iterator[_Flaw]:
    """Yield every mistake of a case: its kind, where in the case, and the words that say it."""
    name = case.get("name", place + 1) if isinstance(case, dict) else place + 1
    if not isinstance(case, dict):
        yield FORM, "", {"case": name, "what": "it", "value": case, "needed": "an object"}
        return
    missing = [key for key in ("links", "flows") if not isinstance(case.get(key), list) or not case[key]]
    for key in missing:
        yield FORM, f".{key}", {"case": name, "what": key, "value": case.get(key), "needed": "a list that is not empty"}
    if missing:
        return
    known: set[str] = set()
    for i, link in enumerate(case["links"]):
        yield from _link_flaws(link, i, name, known)
    for i, flow in enumerate(case["flows"]):
        yield from _flow_flaws(flow, i, name, known)
    yield from _time_flaws(case, name)


def _link_flaws(link: Any, i: int, case: Any, known: set[str]) -> Iterator[_Flaw]:
    where = f".links[{i}]"
    if not isinstance(link, dict) or not isinstance(link.get("id"), (str, int)):
        yield FORM, where, {"case": case, "what": f"link {i}", "value": link, "needed": "an object with id, bw and lat"}
        return
    if str(link["id"]) in known:
        yield CASE_TWICE, where, {"case": case, "link": link["id"]}
    known.add(str(link["id"]))
    if not _number(link.get("bw"), above=True):
        yield CASE_CAPACITY, f"{where}.bw", {"case": case, "link": link["id"], "value": link.get("bw")}
    if not _number(link.get("lat", 0.0)):
        what = {"case": case, "what": f"the latency of link {i}", "value": link.get("lat"), "needed": "a number that is not negative"}
        yield FORM, f"{where}.lat", what


def _flow_flaws(flow: Any, i: int, case: Any, known: set[str]) -> Iterator[_Flaw]:
    where = f".flows[{i}]"
    if not isinstance(flow, dict) or not isinstance(flow.get("route"), list):
        yield FORM, where, {"case": case, "what": f"flow {i}", "value": flow, "needed": "an object with route, start and bytes"}
        return
    if not flow["route"]:
        yield CASE_ROUTE, f"{where}.route", {"case": case, "flow": i}
    for link in flow["route"]:
        if str(link) not in known:
            yield CASE_LINK, f"{where}.route", {"case": case, "flow": i, "link": link}
    if not _number(flow.get("bytes")):
        yield CASE_SIZE, f"{where}.bytes", {"case": case, "flow": i, "value": flow.get("bytes")}
    if not _number(flow.get("start", 0.0)):
        words = {"case": case, "what": f"the start of flow {i}", "value": flow.get("start"), "needed": "a number that is not negative"}
        yield FORM, f"{where}.start", words
    if not _number(flow.get("weight", 1.0), above=True):
        words = {"case": case, "what": f"the weight of flow {i}", "value": flow.get("weight"), "needed": "a number above zero"}
        yield FORM, f"{where}.weight", words


def _time_flaws(case: dict[str, Any], name: Any) -> Iterator[_Flaw]:
    finish = case.get("finish")
    if finish is None:
        if not _figures(case):
            yield CASE_TIMES, "", {"case": name, "why": "nothing says when its flows end"}
        return
    if not isinstance(finish, list) or len(finish) != len(case["flows"]):
        found = len(finish) if isinstance(finish, list) else "no list of"
        yield CASE_TIMES, ".finish", {"case": name, "why": f"there are {found} finish times for {len(case['flows'])} flows"}
        return
    for i, value in enumerate(finish):
        if not _number(value):
            words = {"case": name, "what": f"the finish time of flow {i}", "value": value, "needed": "a number that is not negative"}
            yield FORM, f".finish[{i}]", words


def _figures(case: dict[str, Any]) -> dict[str, float]:
    quantiles = case.get("finish_quantiles")
    given: dict[str, Any] = {"makespan": case.get("makespan"), "sum": case.get("finish_sum")}
    if isinstance(quantiles, dict):
        given.update({key: value for key, value in quantiles.items() if _is_share(key)})
    return {key: float(value) for key, value in given.items() if _number(value)}


def _is_share(key: str) -> bool:
    try:
        return 0.0 <= float(key) <= 1.0
    except ValueError:
        return False


def _case(case: dict[str, Any], place: int) -> FlowCase:
    number = {str(link["id"]): i for i, link in enumerate(case["links"])}
    flows = case["flows"]
    lengths = [len(flow["route"]) for flow in flows]
    topology = case.get("topology")
    return FlowCase(
        name=str(case.get("name", place + 1)),
        description=str(case.get("description", "")),
        group=str(topology.get("kind") or "network") if isinstance(topology, dict) else "network",
        capacity_bytes_per_s=np.array([link["bw"] for link in case["links"]], dtype=np.float64),
        link_latency_s=np.array([link.get("lat", 0.0) for link in case["links"]], dtype=np.float64),
        first=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        links=np.array([number[str(link)] for flow in flows for link in flow["route"]], dtype=np.int64),
        start_s=np.array([flow.get("start", 0.0) for flow in flows], dtype=np.float64),
        size_bytes=np.array([flow["bytes"] for flow in flows], dtype=np.float64),
        weight=np.array([flow.get("weight", 1.0) for flow in flows], dtype=np.float64),
        finish_s=np.array(case["finish"], dtype=np.float64) if case.get("finish") is not None else None,
        figures=_figures(case),
    )
