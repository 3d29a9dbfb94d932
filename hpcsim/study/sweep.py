"""Sweeps: one scenario at every combination of changed values, as one tidy table.

A point is the scenario with its changes, run alone (invariant I58); points are independent, so the table does not depend on how many
processes share them. A point that fails is a row with its problem.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.scenario.load import Scenario, load, parse_setting

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["Axis", "parse_axis", "sweep"]

NO_AXES = problem_kind("sweep-without-axes", "there is nothing to vary", "give --axis KEY=V1,V2,…, or a sweep section in the scenario")
BAD_AXIS = problem_kind("bad-axis", "{text!r} is no axis", "write KEY=V1,V2,…, for example cluster.nodes.gpu.count=24,48,96")
AXIS_TWICE = problem_kind("axis-twice", "the axis {path!r} is given twice", "give all its values in one axis")
SEED_AXIS = problem_kind("axis-of-seeds", "the seed is no axis", "give --seeds K for replicates with the seeds that follow simulate.seed")
TOO_MANY = problem_kind("sweep-too-large", "the sweep has {points} points; at most {most} are run", "take fewer values, or fewer seeds")
BAD_WORKERS = problem_kind("bad-count", "{what} must be at least 1; here {value}", "give a whole number")

_MOST_POINTS = 1_000_000
_NOT_REPRODUCIBLE = ("wall_s", "cpu_s")
Mode = Literal["simulate", "estimate"]


@dataclass(frozen=True)
class Axis:
    """One varied value: its dotted path and the values it takes."""

    path: str
    values: tuple[Any, ...]


def parse_axis(text: str) -> Axis:
    """Read ``KEY=V1,V2,…``; a value may be a quantity (``"100 Gbit/s"``) or, in brackets, a list.

    >>> parse_axis("cluster.nodes.gpu.count=24,48").values
    (24, 48)
    """
    key, equals, rest = text.partition("=")
    if not equals or not key.strip() or not rest.strip():
        raise BAD_AXIS.error(text=text)
    _, values = parse_setting(f"{key}=[{rest}]")
    if not isinstance(values, list) or not values:
        raise BAD_AXIS.error(text=text)
    return Axis(key.strip(), tuple(values))


def _axes(scenario: Scenario, axes: Mapping[str, Sequence[Any]] | Iterable[Axis] | None) -> list[Axis]:
    if isinstance(axes, Mapping):
        found = [Axis(path, tuple(values)) for path, values in axes.items()]
    else:
        found = list(axes or ())
    found = found or [Axis(path, tuple(values)) for path, values in scenario.sweep.items()]
    if not found or any(not axis.values for axis in found):
        raise NO_AXES.error()
    paths = [axis.path for axis in found]
    twice = [path for path in dict.fromkeys(paths) if paths.count(path) > 1]
    problems = [AXIS_TWICE(path=path) for path in twice]
    problems += [SEED_AXIS(path=path) for path in dict.fromkeys(paths) if path == "simulate.seed"]
    if problems:
        raise InputError(problems)
    return found


def _point(scenario: Scenario, changes: Mapping[str, Any], seed: int, mode: Mode) -> dict[str, Any]:
    row: dict[str, Any] = {**{path: _cell(value) for path, value in changes.items()}, "seed": seed}
    try:
        varied = scenario.vary({**changes, "simulate.seed": seed})
        if mode == "estimate":
            from hpcsim.run.estimate import estimate as verb
        else:
            from hpcsim.run.simulate import simulate as verb
        summary = verb(varied).summary
        row.update({key: value for key, value in summary.items() if key not in _NOT_REPRODUCIBLE})
        row["problem"] = ()
    except InputError as error:
        row["problem"] = tuple(error.problems)
    return row


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)


def _worker(job: tuple[Scenario, dict[str, Any], int, Mode]) -> dict[str, Any]:
    return _point(*job)


def _run(
    points: list[tuple[Scenario, dict[str, Any], int, Mode]], jobs: int, progress: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if jobs == 1 or len(points) == 1:
        for point in points:
            rows.append(_worker(point))
            if progress:
                progress(len(rows), len(points))
        return rows
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["hpcsim.run.simulate", "hpcsim.run.estimate"])
    workers = min(jobs, len(points))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for row in pool.map(_worker, points, chunksize=max(1, len(points) // (8 * workers))):
            rows.append(row)
            if progress:
                progress(len(rows), len(points))
    return rows


def sweep(
    scenario: str | Scenario | Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]] | Iterable[Axis] | None = None,
    *,
    seeds: int = 1,
    jobs: int = 1,
    mode: Mode = "simulate",
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run a scenario at every combination of values.

    Parameters
    ----------
    scenario : str, Scenario or mapping
        What :func:`hpcsim.load` takes.
    axes : mapping of dotted path to values, or iterable of Axis
        The scenario's own ``sweep`` section without it.
    seeds : int
        Replicates of every point, with the seeds ``seed``, ``seed + 1``, …
    jobs : int
        Processes that share the points; the table is the same for any number.
    mode : {"simulate", "estimate"}
        Event by event, or closed form.
    progress : callable, optional
        Called with (points done, points in all).

    Returns
    -------
    Results
        Table ``sweep``: a row a point – the axes, ``seed``, the summary of the run, ``problem`` (empty where it ran).

    Raises
    ------
    InputError
        No axes, an axis without values or given twice, too many points, or nothing but points that cannot be run: then what is wrong
        with them.
    """
    scenario = load(scenario)
    found = _axes(scenario, axes)
    for what, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 1:
            raise BAD_WORKERS.error(what=what, value=value)
    count = seeds
    for axis in found:
        count *= len(axis.values)
    if count > _MOST_POINTS:
        raise TOO_MANY.error(points=count, most=_MOST_POINTS)
    first = scenario.simulate.seed
    points = [
        (scenario, dict(zip((a.path for a in found), values)), first + k, mode)
        for values in itertools.product(*(axis.values for axis in found))
        for k in range(seeds)
    ]
    rows = _run(points, jobs, progress)
    if all(row["problem"] for row in rows):
        raise InputError(list(dict.fromkeys(problem for row in rows for problem in row["problem"])))
    return _results(scenario, found, rows, seeds, mode)


def _results(scenario: Scenario, axes: list[Axis], rows: list[dict[str, Any]], seeds: int, mode: Mode) -> Results:
    import pandas as pd

    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results

    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys = [k for k in keys if k != "problem"] + ["problem"]
    rows = [{**row, "problem": "; ".join(map(str, row["problem"]))} for row in rows]
    table = pd.DataFrame([{key: row.get(key) for key in keys} for row in rows], columns=keys)
    failed = int((table["problem"] != "").sum())
    summary: dict[str, Any] = {
        "points": len(rows),
        "points_failed": failed,
        "axes": ", ".join(a.path for a in axes),
        "seeds": seeds,
        "mode": mode,
    }
    return Results(
        name=scenario.name if scenario.name.endswith("sweep") else f"{scenario.name}-sweep",
        question=scenario.question,
        answer=_answer(table, axes, failed),
        kind="sweep",
        summary=summary,
        ranges={},
        tables={"sweep": table},
        notes=list(scenario.notes),
        provenance=provenance(scenario_sha256=scenario.digest(), seed=scenario.simulate.seed, axes={a.path: list(a.values) for a in axes}),
    )


def _points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"


def _answer(table: Any, axes: list[Axis], failed: int) -> str:
    from hpcsim.base.units import readable

    good = table[table["problem"] == ""]
    sentence = f"{_points(len(table))} over {', '.join(a.path for a in axes)}"
    if len(good) and len(axes) == 1:
        axis = axes[0].path
        for key, what, dimension in (
            ("wall_clock_s", "the wall clock", "time"),
            ("mean_wait_s", "the mean wait", "time"),
            ("makespan_s", "the makespan", "time"),
        ):
            if key in good and good[axis].nunique() > 1:
                means = good.groupby(axis, sort=False)[key].mean()
                a, b = means.index[0], means.index[-1]
                sentence += f": {what} goes from {readable(float(means.iloc[0]), dimension)} at {a} to {readable(float(means.iloc[-1]), dimension)} at {b}"
                break
    if failed:
        sentence += f"; {_points(failed)} could not be run (column problem)"
    return sentence + "."
