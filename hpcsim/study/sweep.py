"""Sweeps: one scenario at many combinations of changed values, as one tidy table.

A point is the scenario with its changes, run alone (invariant I58); points are independent, so the table does not depend on who runs
them, in which order, or how often the sweep was interrupted. A point that fails is a row with its problem. Replicates use the same
seeds at every point (common random numbers), so that differences between points are not hidden by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.scenario.load import Scenario, load
from hpcsim.study.axes import DESIGNS, MOST_POINTS, TOO_MANY, Axis, axes_of, combinations, parse_axis
from hpcsim.study.points import Mode, Outcome, Point, keys_of
from hpcsim.study.pool import run_points
from hpcsim.study.store import Store

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["Axis", "outcomes_of", "parse_axis", "sweep"]

BAD_WORKERS = problem_kind("bad-count", "{what} must be at least 1; here {value}", "give a whole number")
BAD_SHARD = problem_kind("bad-shard", "{value!r} is no shard", "write i/n, for example 1/4 … 4/4, or $SLURM_ARRAY_TASK_ID/4")
BAD_DESIGN = problem_kind("bad-design", "{value!r} is no design", "one of {known}")
SHARD_WITHOUT_STORE = problem_kind(
    "shard-without-store", "a shard keeps its results for the others, and no folder is given", "give store=FOLDER"
)


def shard_of(text: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """Read ``i/n``: the points whose number is ``i`` modulo ``n``, so 0 … n−1 and 1 … n name the same shards."""
    if text is None:
        return None
    parts = text.split("/") if isinstance(text, str) else list(text)
    if len(parts) != 2 or not all(str(part).strip().isascii() and str(part).strip().isdigit() for part in parts):
        raise BAD_SHARD.error(value=text)
    i, n = (int(part) for part in parts)
    if not 1 <= n <= MOST_POINTS or not 0 <= i <= n:
        raise BAD_SHARD.error(value=text)
    return i % n, n


def outcomes_of(
    scenario: Scenario,
    points: Sequence[Point],
    mode: Mode,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    dask: str | None = None,
    shard: tuple[int, int] | None = None,
    store: str | Path | None = None,
    resume: bool = False,
    merge: Iterable[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Outcome | None], list[str]]:
    """Run points, or take them from a store, and keep what is new there.

    Returns
    -------
    outcomes : list of Outcome or None
        In the order of the points; None where another shard has it to do.
    notes : list of str
        What the reader should know about the store.
    """
    keys = keys_of(scenario, points, mode) if store is not None else [""] * len(points)
    kept, known, notes = _opened(store, resume or shard is not None, merge)
    mine = [n for n in range(len(points)) if keys[n] not in known and (shard is None or n % shard[1] == shard[0])]
    first = {keys[n]: n for n in reversed(mine)} if kept else {}
    todo = [(n, keys[n], points[n]) for n in mine if not kept or first[keys[n]] == n]  # equal points are run once
    if kept and todo:
        kept.begin()
    fresh = run_points(scenario, todo, mode, jobs=jobs, executor=executor, dask=dask, store=kept, progress=progress)
    if kept is None:
        return [fresh.get(n) for n in range(len(points))], notes
    found = {**{key: Outcome.of(record) for key, record in known.items()}, **{keys[n]: outcome for n, outcome in fresh.items()}}
    outcomes = [found.get(key) for key in keys]
    if any(outcome is None for outcome in outcomes) and shard is not None:
        loaded, _ = kept.load()  # other shards may have gone on meanwhile
        outcomes = [Outcome.of(loaded[key]) if key in loaded else None for key in keys]
    if all(outcome is not None for outcome in outcomes):
        if all(outcome.problems for outcome in outcomes if outcome) and not known:
            kept.remove()
        else:
            kept.merge(keys)
            kept.forget_earlier()
    return outcomes, notes


def _opened(
    store: str | Path | None, go_on: bool, merge: Iterable[str | Path]
) -> tuple[Store | None, dict[str, dict[str, Any]], list[str]]:
    """Return the store, what it knows already, and what is to be said about that."""
    if store is None:
        return None, {}, []
    kept, notes = Store(store), []
    sources = [Store(folder) for folder in merge]
    if go_on:
        kept.recover()
    for source in [*sources, *([kept] if go_on else [])]:
        source.check()
    if not go_on:
        kept.set_aside()
    known: dict[str, dict[str, Any]] = {}
    for source in [kept, *sources]:
        records, damaged = source.load()
        if damaged:
            notes.append(f"{damaged} damaged record{'s' * (damaged != 1)} in {source.folder} left out; what they held is run again.")
        if source is not kept:
            for key in records.keys() - known.keys():
                kept.put(records[key])
        known = {**records, **known}
    return kept, known, notes


def sweep(
    scenario: str | Scenario | Mapping[str, Any],
    axes: Mapping[str | tuple[str, ...], Sequence[Any] | str] | Iterable[Axis] | None = None,
    *,
    seeds: int = 1,
    jobs: int = 1,
    mode: Mode = "simulate",
    design: str = "grid",
    points: int = 64,
    executor: Executor | None = None,
    dask: str | None = None,
    shard: str | tuple[int, int] | None = None,
    store: str | Path | None = None,
    resume: bool = False,
    merge: Iterable[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run a scenario at many combinations of values.

    Parameters
    ----------
    scenario : str, Scenario or mapping
        What :func:`hpcsim.load` takes.
    axes : mapping of dotted path to values, or iterable of Axis
        Values are a list, or a range as text: ``"24..96:24"`` (step), ``"lin:0.1..0.9:5"``, ``"log:1 GB/s..100 GB/s:5"`` (number of
        values). A key of several paths (``"a.b, c.d"`` or a tuple) takes rows that go together. The scenario's own ``sweep`` section
        without it.
    seeds : int
        Replicates of every point, with the seeds ``seed``, ``seed + 1``, …, the same at every point.
    jobs : int
        Processes that share the points; the table is the same for any number.
    mode : {"simulate", "estimate"}
        Event by event, or closed form.
    design : {"grid", "random", "sobol", "halton"}
        Every combination, or ``points`` of them spread over the axes.
    points : int
        Points of a design that is no grid.
    executor : concurrent.futures.Executor, optional
        Runs the points in place of local processes.
    dask : str, optional
        Address of a dask scheduler whose workers run the points; needs the extra ``dask``.
    shard : str, optional
        ``"i/n"``: run only every n-th point; the results meet in ``store``.
    store : path, optional
        Folder that keeps every point as soon as it is known.
    resume : bool
        Take what the store has already; without it the store is begun anew.
    merge : iterable of path
        Further stores whose points are taken over.
    progress : callable, optional
        Called with (points done, points to do).

    Returns
    -------
    Results
        Table ``sweep``: a row a point – the axes, ``seed``, the summary of the run, ``problem`` (empty where it ran). Table
        ``sweep_ranges``: the 80 % ranges of a point's figures, where a run of it alone has them. With several
        seeds also ``intervals``: mean and 95 % interval of every figure, and of its difference from the first point at equal seeds.
        A shard whose siblings are not done has no table, and says how many points are there.

    Raises
    ------
    InputError
        No axes, an axis without values or given twice, too many points, a store or scheduler that cannot be used, or nothing but
        points that cannot be run: then what is wrong with them.
    """
    scenario = load(scenario)
    if design not in DESIGNS:
        raise BAD_DESIGN.error(value=design, known=", ".join(DESIGNS))
    found = axes_of(scenario, axes, design)
    for what, value in (("seeds", seeds), ("jobs", jobs), ("points", points)):
        if value < 1:
            raise BAD_WORKERS.error(what=what, value=value)
    part = shard_of(shard)
    if part is not None and store is None:
        raise SHARD_WITHOUT_STORE.error()
    combined = combinations(found, design, points, scenario.simulate.seed)
    if len(combined) * seeds > MOST_POINTS:
        raise TOO_MANY.error(points=len(combined) * seeds, most=MOST_POINTS)
    first = scenario.simulate.seed
    todo = [Point(changes, first + k) for changes in combined for k in range(seeds)]
    outcomes, notes = outcomes_of(
        scenario,
        todo,
        mode,
        jobs=jobs,
        executor=executor,
        dask=dask,
        shard=part,
        store=store,
        resume=resume,
        merge=merge,
        progress=progress,
    )
    there = [outcome for outcome in outcomes if outcome is not None]
    if len(there) == len(outcomes) and all(outcome.problems for outcome in there):
        raise InputError(list(dict.fromkeys(problem for outcome in there for problem in outcome.problems)))
    if len(there) < len(outcomes):
        return partial(scenario, len(there), len(outcomes), mode, notes)
    return _results(scenario, found, todo, there, seeds, mode, design, notes)


def partial(scenario: Scenario, done: int, total: int, mode: Mode, notes: list[str]) -> Results:
    """Return the results of a shard whose siblings are not done: no table, and how many points are there."""
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results

    return Results(
        name=_name(scenario),
        question=scenario.question,
        answer=f"{done} of {total} points are there; the table follows when the other shards are done.",
        kind="sweep",
        summary={"points": total, "points_done": done, "mode": mode},
        notes=notes,
        provenance=provenance(scenario_sha256=scenario.digest(), seed=scenario.simulate.seed),
    )


def _name(scenario: Scenario) -> str:
    return scenario.name if scenario.name.endswith("sweep") else f"{scenario.name}-sweep"


def rows_of(points: Sequence[Point], outcomes: Sequence[Outcome]) -> Any:
    """Return the tidy table: changes, seed, figures, problem."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for point, outcome in zip(points, outcomes, strict=True):
        row: dict[str, Any] = {path: _cell(value) for path, value in point.changes.items()}
        row |= {"seed": point.seed, **outcome.summary, "problem": "; ".join(map(str, outcome.problems))}
        rows.append(row)
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "problem"]
    return pd.DataFrame(rows, columns=[*keys, "problem"])


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)


def _results(
    scenario: Scenario,
    axes: list[Axis],
    points: Sequence[Point],
    outcomes: Sequence[Outcome],
    seeds: int,
    mode: Mode,
    design: str,
    notes: list[str],
) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.study.replicates import intervals

    table = rows_of(points, outcomes)
    priced = bool(scenario.cluster.prices) or any(axis.startswith("cluster.prices") for found in axes for axis in found.paths)
    failed = int((table["problem"] != "").sum())
    paths = [path for axis in axes for path in axis.paths]
    summary: dict[str, Any] = {
        "points": len(table),
        "points_failed": failed,
        "axes": ", ".join(paths),
        "seeds": seeds,
        "mode": mode,
    }
    if design != "grid":
        summary["design"] = design
    tables = {"sweep": table}
    if seeds > 1:
        tables["intervals"] = intervals(table, paths)
    called: dict[str, Any] = {} if priced or "cost_usd" not in table else {"called": {"cost_usd": ELECTRICITY}}
    ranges = _ranges_of(outcomes)
    if len(ranges):
        tables["sweep_ranges"] = ranges
    return Results(
        name=_name(scenario),
        question=scenario.question,
        answer=_answer(table, paths, failed, ranges, priced=priced),
        kind="sweep",
        summary=summary,
        ranges={},
        tables=tables,
        notes=[*scenario.notes, *notes],
        provenance=provenance(
            scenario_sha256=scenario.digest(),
            seed=scenario.simulate.seed,
            **called,
            axes={path: list(dict.fromkeys(_cell(point.changes[path]) for point in points))[:1000] for path in paths},
        ),
    )


def _ranges_of(outcomes: Sequence[Outcome]) -> Any:
    """Return table ``sweep_ranges``."""
    from hpcsim.results.tables import frame

    rows = [(n, *ends) for n, outcome in enumerate(outcomes) for ends in outcome.ranges]
    return frame("sweep_ranges", dict(zip(("row", "metric", "low", "high"), zip(*rows) if rows else ((),) * 4, strict=True)))


def _points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"


_HEADLINES = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j")
ELECTRICITY = "cost of electricity"
"""What a cost without prices is."""
_OF_SERVICES = ("cost_per_request_usd", "p95_ttft_s", "late_frac", "p95_latency_s")
"""The same of services, which last as long as they are told to."""


def _answer(table: Any, paths: list[str], failed: int, ranges: Any, *, priced: bool) -> str:
    """Say how the first headline goes over a single axis, or where the headlines are least over several, each with its 80 % range."""
    from hpcsim.results.quantities import brief

    good = table[table["problem"] == ""]
    sentence = f"{_points(len(table))} over {', '.join(paths)}"
    wanted: Any = _HEADLINES
    if "requests" in good:
        wanted = [key for name in _OF_SERVICES for key in map(str, good.columns) if key == name or key.endswith(f".{name}")]
    moving = [key for key in wanted if key in good and len(good) and good[key].nunique() > 1]
    if "wall_clock_s" in moving and "makespan_s" in moving:
        moving.remove("makespan_s")
    if len(paths) == 1 and good[paths[0]].nunique() > 1:
        ends = []
        for key in dict.fromkeys(moving[:1] + [key for key in ("cost_usd",) if key in moving]):
            ends.append(f"{_said(key, priced)} {_course(good, paths[0], key, ranges)}")
        between = ". The " if any("; " in end for end in ends) else "; the "
        sentence += ": the " * bool(ends) + between.join(ends)
    elif moving:
        said = []
        for key in moving[:3]:
            groups = good.groupby(paths, sort=False)[key]
            means, least = groups.mean(), groups.mean().idxmin()
            values = least if len(paths) > 1 else (least,)
            at = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in zip(paths, values, strict=True))
            rows = good.index[(good[paths] == list(values)).all(axis=1)]
            said.append(f"the least {_said(key, priced)} is {brief(key, float(means.min()))}{_within(ranges, key, rows)} at {at}")
        sentence += f": {'; '.join(said)}"
    if failed:
        sentence += f"; {_points(failed)} could not be run (column problem)"
    return sentence + "."


def _said(key: str, priced: bool) -> str:
    """Return what a figure is called; a cost without prices is that of electricity alone."""
    from hpcsim.results.quantities import label

    return label(key) if priced or key != "cost_usd" else ELECTRICITY


def _course(good: Any, path: str, key: str, ranges: Any) -> str:
    """Say how a figure goes over an axis; numbers in their order, other values as they were given."""
    from hpcsim.base.units import readable
    from hpcsim.results.courses import course, is_plural
    from hpcsim.results.quantities import brief, label

    groups = good.groupby(path, sort=good[path].dtype.kind in "iuf")[key]
    means = groups.mean().dropna()
    values = [float(value) for value in means]
    plain = [readable(value, "time") if key.endswith("_s") else brief(key, value) for value in values]
    spans = [_within(ranges, key, groups.groups[at]) for at in means.index]
    return course(values, plain, [str(at) for at in means.index], plural=is_plural(label(key)), spans=spans)


def _within(ranges: Any, key: str, rows: Any) -> str:
    """Return the 80 % range of a figure over some rows (the mean of their ends), or nothing where it has none."""
    from hpcsim.results.quantities import brief

    mine = ranges[(ranges["metric"] == key) & ranges["row"].isin(rows)]
    if not len(mine):
        return ""
    low, high = (brief(key, float(mine[end].mean())) for end in ("low", "high"))
    (number, _, unit), (_, _, other) = low.partition(" "), high.partition(" ")
    return f" (80 %: {number if unit == other else low} – {high})"
