"""One point of a sweep: a scenario with changed values, run alone; here in this process, or sent to another one.

What the changes do not touch is worked out once and kept (see :mod:`hpcsim.base.reuse`), so that a point costs little more than what is
new in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hpcsim.base.errors import InputError, Problem
from hpcsim.base.reuse import Memory, reusing
from hpcsim.results.provenance import code_fingerprint
from hpcsim.scenario.load import Scenario, assigned
from hpcsim.study.store import Store

if TYPE_CHECKING:
    from hpcsim.workload.training import Outset

__all__ = ["Mode", "Outcome", "Point", "Task", "each", "keys_of", "work"]

Mode = Literal["simulate", "estimate"]
_NOT_REPRODUCIBLE = ("wall_s", "cpu_s")
_NO_MATTER = ("name", "question", "notes", "published", "sweep", "uncertain", "plan")
"""Parts of a scenario that no figure of its summary depends on."""


class Point(NamedTuple):
    """Changes of a scenario, and a seed."""

    changes: dict[str, Any]
    seed: int


class Outcome(NamedTuple):
    """What a point came to: the figures of its summary with the ranges of those that have one, or its problems."""

    summary: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    ranges: tuple[tuple[str, float, float], ...] = ()
    """(summary key, lower end, upper end)."""

    def record(self, key: str) -> dict[str, Any]:
        """Return it as plain data for a store."""
        return {
            "key": key,
            "summary": self.summary,
            "ranges": [list(row) for row in self.ranges],
            "problems": [p.record() for p in self.problems],
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Outcome:
        """Read what :meth:`record` wrote."""
        ranges = tuple((str(key), float(low), float(high)) for key, low, high in record["ranges"])
        return cls(dict(record["summary"]), tuple(Problem.of(problem) for problem in record["problems"]), ranges)


@dataclass(frozen=True)
class Task:
    """What all points of a sweep share; it travels to the process that works on them.

    Attributes
    ----------
    scenario : Scenario
    mode : {"simulate", "estimate"}
    store : Store or None
        Where a process that reaches it keeps each result as it comes.
    token : str
        Tells tasks apart.
    foreign : bool
        Whether it may run where another hpcsim is installed.
    """

    scenario: Scenario
    mode: Mode
    store: Store | None
    token: str
    foreign: bool = False


class _Bench:
    """A task on the workbench of one process, with what is kept from point to point."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.memory = Memory(few={"jobs": 4})  # a log can be large

    def prepare(self, points: Iterable[Point]) -> dict[int, Scenario]:
        """Vary the scenario for points that follow each other, and work out the steps of their training runs all at once.

        Returns
        -------
        dict of int to Scenario
            By place; without the points that cannot be varied.
        """
        from hpcsim.cost.together import steps_together
        from hpcsim.run.bind import outsets_of

        varied: dict[int, Scenario] = {}
        waiting: dict[Hashable, Outset] = {}
        with reusing(self.memory):
            for place, point in enumerate(points):
                with contextlib.suppress(InputError):
                    varied[place] = self._varied(point)
                    waiting.update(outsets_of(varied[place]))
        asked = [(key, start, start.request) for key, start in waiting.items() if start.cost is None]
        given = [(key, start, request) for key, start, request in asked if request is not None]
        if given:
            for (key, start, _), cost in zip(given, steps_together([request for _, _, request in given]), strict=True):
                if cost is not None:
                    self.memory.put("outset", key, dataclasses.replace(start, cost=cost))
        return varied

    def _varied(self, point: Point) -> Scenario:
        return self.task.scenario.vary({**point.changes, "simulate.seed": point.seed})

    def run(self, point: Point, varied: Scenario | None = None) -> Outcome:
        """Return what a point comes to; ``varied`` is its scenario where it is there already."""
        with reusing(self.memory):
            try:
                varied = varied or self._varied(point)
                if self.task.mode == "estimate":
                    from hpcsim.run.estimate import estimate_figures as figures_of
                else:
                    from hpcsim.run.simulate import simulate_figures as figures_of
                summary, ranges = figures_of(varied)
            except InputError as error:
                return Outcome({}, tuple(error.problems))
        figures = {key: _plain(value) for key, value in summary.items() if key not in _NOT_REPRODUCIBLE}
        ends = tuple((key, float(low), float(high)) for key, (low, high) in ranges.items() if math.isfinite(low) and math.isfinite(high))
        return Outcome(figures, ranges=ends)


def _plain(value: Any) -> Any:
    """Return a figure as JSON gives it back: Python's own number or text."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(maxsize=4)
def _bench(token: str) -> list[_Bench]:
    return []  # filled by the first caller; the cache only bounds how many tasks one process keeps


def work(task: Task, points: Sequence[tuple[int, str, Point]]) -> tuple[str, list[tuple[int, Outcome]]]:
    """Run some points in this process.

    Parameters
    ----------
    task : Task
    points : sequence of (number, key, Point)
        ``key`` is empty where nothing is stored.

    Returns
    -------
    code : str
        Fingerprint of the hpcsim that ran them; empty for a task that is not foreign.
    outcomes : list of (number, Outcome)
    """
    return code_fingerprint() if task.foreign else "", list(each(task, points))


def each(task: Task, points: Sequence[tuple[int, str, Point]]) -> Iterator[tuple[int, Outcome]]:
    """Run some points in this process and yield each as soon as it is known, and kept where there is a store.

    Parameters
    ----------
    task, points
        As of :func:`work`.
    """
    kept = _bench(task.token)
    if not kept:
        kept.append(_Bench(task))
    bench = kept[0]
    with _few_collections():
        varied = bench.prepare(point for _, _, point in points) if len(points) > 1 else {}
        for place, (number, key, point) in enumerate(points):
            outcome = bench.run(point, varied.get(place))
            if task.store is not None:
                task.store.put(outcome.record(key))
            yield number, outcome


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Let Python's cycle collector run rarely: what a point leaves behind is freed by count, and what is kept holds no cycles."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def keys_of(scenario: Scenario, points: Iterable[Point], mode: Mode) -> list[str]:
    """Return the key of every point: the SHA-256 of the scenario as varied, without what no figure depends on, of the seed, the mode,
    and the content of every file that the scenario names."""
    base = {key: value for key, value in scenario.data(defaults=True).items() if key not in _NO_MATTER}
    for name, pipeline in scenario.workload.pipelines.items():  # a change of a stage may change what follows what, by the order of the file
        own = base["workload"]["pipelines"][name]
        own["order"] = [[stage, "after" in spec.model_fields_set] for stage, spec in pipeline.stages.items()]
    text = json.dumps(base, sort_keys=True)
    files = _named_files(base, scenario.folder)
    return [_key(text, files, scenario.folder, point, mode) for point in points]


def _key(base: str, files: Mapping[str, str], folder: Path, point: Point, mode: Mode) -> str:
    try:
        data = assigned(json.loads(base), point.changes)
    except InputError:
        data = {"base": base, "changes": point.changes}
    data = {key: value for key, value in data.items() if key not in _NO_MATTER}
    data.get("simulate", {}).pop("seed", None)
    more = _named_files(list(point.changes.values()), folder)
    whole = json.dumps([mode, point.seed, data, {**files, **more}], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def _named_files(data: Any, folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that a text of the data names."""
    if isinstance(data, Mapping):
        return {name: sha for value in data.values() for name, sha in _named_files(value, folder).items()}
    if isinstance(data, (list, tuple)):
        return {name: sha for value in data for name, sha in _named_files(value, folder).items()}
    if not isinstance(data, str) or not 2 < len(data) < 500 or "." not in data or "\0" in data:
        return {}
    path = folder / data
    try:
        if not path.is_file():
            return {}
        stat = path.stat()
        return {data: _file_sha(str(path), stat.st_mtime_ns, stat.st_size)}
    except OSError:
        return {}


@lru_cache(maxsize=256)
def _file_sha(path: str, modified_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
