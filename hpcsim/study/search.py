"""The best layouts of a training run: the whole space evaluated in closed form, the best few again with their schedules walked exactly."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import percent, readable
from hpcsim.catalog.lookup import Catalog, default, overlaid
from hpcsim.cluster.build import resolve
from hpcsim.cost.arguments import Array
from hpcsim.cost.models import Model
from hpcsim.cost.pipeline import SCHEDULES
from hpcsim.cost.step_cost import TERMS, StepCost
from hpcsim.run.quick import quick_scenario
from hpcsim.scenario.load import Scenario, load
from hpcsim.study.candidates import Job, evaluate, exact_steps, job_of, located, passes_of, pieces
from hpcsim.study.contenders import KEYS, Pool, front_pool, fronts_by_schedule, kept, merged, money_of, ordered, reduced, taken
from hpcsim.study.placed import MET, Meetings, at_oversubscription, charged_in_full, collides, divided

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OBJECTIVES", "LayoutSearch", "layout_search", "search"]

Objective = Literal["time", "cost", "energy"]

OBJECTIVES: Mapping[str, str] = {"time": "step_time_s", "cost": "cost_usd", "energy": "energy_j"}
"""What is made least, and the column that holds it."""

NO_TRAINING = problem_kind("search-without-training", "the scenario has {what}", "{hint}")
NO_OBJECTIVE = problem_kind("search-objective", "unknown objective {name!r}", "time, cost or energy")
UNKNOWN_VALUE = problem_kind("search-value-unknown", "the {objective} of a step is not known for {device}", "{hint}")
BAD_TOP = problem_kind("search-top", "top is {top}, but it counts layouts", "at least 1")
NOTHING = problem_kind("search-nothing-fits", "none of {evaluated:,} layouts of {model} fits {devices} × {device}{why}", "{hint}")
BOTH = problem_kind("search-both", "a scenario is given, and {names} too", "change the scenario instead, for example with vary()")

_ROUND, _MOST_EXACT, _EACH_SCHEDULE = 12, 120, 2
"""Layouts walked exactly at a time, in all, and at least of each schedule."""

_SHORT = 8_000
"""Operations up to which the schedules of the front are walked whole."""

_SLOWEST_OF_FRONT = 1.5
"""Time of the slowest layout on the front over that of the fastest: who saves memory at a higher price takes fewer devices instead."""


@dataclass(frozen=True)
class LayoutSearch:
    """What a search found.

    Attributes
    ----------
    name, model, device, objective : str
    devices : int
    space : int
        Combinations in all: evaluated, and removed before.
    layouts_evaluated : int
        Those whose step time and memory were computed.
    feasible : int
        Those of them that fit the memory.
    removed : dict of str to int
        Combinations that cannot be, by the first rule they break; ``memory`` of the evaluated ones. All but the feasible.
    exact : int
        Layouts whose schedules were walked operation by operation.
    search_cpu_s : float
        Processor time of all that; not of reading, and not of making tables.
    best : DataFrame
        The best layouts, best first: the keys of a layout, times, memory, energy, money.
    front : DataFrame or None
        Layouts that no other beats in time, memory and money at once, up to half as slow again as the fastest.
    why : str
        What the first wins over the second with.
    terms : dict of str to float
        Seconds of the first layout's step by term.
    notes : list of str
    """

    name: str
    model: str
    device: str
    objective: str
    devices: int
    space: int
    layouts_evaluated: int
    feasible: int
    removed: dict[str, int]
    exact: int
    search_cpu_s: float
    best: pd.DataFrame
    front: pd.DataFrame | None
    why: str
    terms: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return everything as plain data, as ``hpcsim search --format json`` prints it."""
        from hpcsim.results.record import plain

        def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
            out = []
            for row in table.to_dict("records"):
                values = {str(key): plain(value) for key, value in row.items()}
                out.append({"layout": {key: values.pop(key) for key in KEYS}, **values})
            return out

        document: dict[str, Any] = {
            "name": self.name,
            "model": self.model,
            "accelerator": self.device,
            "devices": self.devices,
            "objective": self.objective,
            "space": self.space,
            "layouts_evaluated": self.layouts_evaluated,
            "search_cpu_s": self.search_cpu_s,
            "layouts_per_cpu_s": self.layouts_evaluated / self.search_cpu_s if self.search_cpu_s > 0 else None,
            "feasible": self.feasible,
            "removed": dict(self.removed),
            "exact": self.exact,
            "why": self.why,
            "terms": dict(self.terms),
            "best": rows(self.best),
        }
        if self.front is not None:
            document["pareto"] = rows(self.front)
        return document | {"notes": list(self.notes)}


@dataclass
class _Scan:
    """The whole space seen once."""

    best: Pool | None
    front: Pool | None
    evaluated: int
    feasible: int
    removed: dict[str, int]
    least_memory: float


def _scan(job: Job, fixed: Mapping[str, Any], *, offload: bool, key: str, most: int, pareto: bool) -> _Scan:
    removed: dict[str, int] = {}
    best: list[Pool] = []
    front: list[Pool] = []
    evaluated = feasible = 0
    least = math.inf
    for layouts in pieces(job, fixed, offload=offload, removed=removed):
        values = evaluate(job, layouts)
        evaluated += layouts.shape[0]
        least = min(least, float(values["peak_memory_bytes"].min()))
        fits = np.flatnonzero(values.pop("fits"))
        feasible += fits.size
        if not fits.size:
            continue
        held = Pool(layouts, values)
        chosen = fits[kept(layouts.take(fits), {k: v[fits] for k, v in values.items()}, key, most)]
        best = [reduced([*best, taken(held, chosen)], key, most)]
        if pareto:
            front = [fronts_by_schedule(job, merged([*front, fronts_by_schedule(job, taken(held, fits))]))]
    if evaluated - feasible:
        removed["memory"] = evaluated - feasible
    return _Scan(best[0] if best else None, front[0] if front else None, evaluated, feasible, removed, least)


def _placed(job: Job, light: Pool, key: str, top: int) -> tuple[Pool, list[str]]:
    """Return the best layouts with what the traffic of each meets on the first nodes of an oversubscribed fabric, and a note.

    ``light`` has the best few of every way to divide the devices on a fabric without oversubscription: none of them takes less. Ways are
    looked at from the quickest on, until the next could not be among the best even so.
    """
    _, first, way = np.unique(divided(light.layouts), axis=0, return_index=True, return_inverse=True)
    least = np.full(first.size, np.inf)
    np.minimum.at(least, way.ravel(), light.values[key])
    meeting, done = Meetings(job), []
    known = np.empty(0)
    for at in np.argsort(least, kind="stable").tolist():
        if known.size >= top + _MOST_EXACT // 2 and least[at] >= known[top + _MOST_EXACT // 2 - 1]:
            break
        layouts = light.layouts.take(np.flatnonzero(way.ravel() == at))
        met = meeting.of(layouts.row(0))
        values = evaluate(at_oversubscription(job, met), layouts)
        values.pop("fits")
        done.append(Pool(layouts, values | {MET: np.full(layouts.shape[0], met)}))
        known = np.sort(np.concatenate([known, values[key]]))
    pool = merged(done)
    said = (
        f"The fabric is oversubscribed {charged_in_full(job):.3g}:1; a layout is charged what its traffic meets on the first nodes, "
        f"{pool.values[MET].min():.3g}:1 to {pool.values[MET].max():.3g}:1."
    )
    return pool, [said]


def _exact(job: Job, pool: Pool) -> tuple[Pool, dict[str, Array]]:
    """Return the pool with exact schedules, and its terms by layout."""
    met = pool.values.get(MET)
    if met is not None and np.unique(met).size > 1:
        rows = [np.flatnonzero(met == value) for value in np.unique(met)]
        parts = [_exact(job, taken(pool, index)) for index in rows]
        back = np.argsort(np.concatenate(rows), kind="stable")
        terms = {name: np.concatenate([part[name] for _, part in parts])[back] for name in parts[0][1]}
        return taken(merged([part for part, _ in parts]), back), terms
    job = at_oversubscription(job, float(met[0])) if met is not None else job
    cost = job.cost(pool.layouts)
    return _with_steps(job, pool, cost, *exact_steps(job, pool.layouts, cost))


def _with_steps(job: Job, pool: Pool, cost: StepCost, seconds: Array, idle: Array) -> tuple[Pool, dict[str, Array]]:
    """Return the pool with other step times and idle times, and its terms by layout."""
    n = pool.layouts.shape[0]
    terms = {name: np.broadcast_to(cost.terms[name], (n,)) for name in TERMS}
    closed = np.broadcast_to(cost.step_time_s, (n,))
    activity = {name: np.broadcast_to(share, (n,)) * closed / seconds for name, share in cost.activity.items()}
    energy = np.broadcast_to(job.energy_j(seconds, activity), (n,))
    values = dict(pool.values) | {
        "step_time_s": seconds,
        "closed_form_s": np.asarray(closed),
        "energy_j": np.asarray(energy),
        "cost_usd": np.asarray(job.cost_usd(seconds, energy)),
        "low_s": np.broadcast_to(cost.low_s, (n,)) * seconds / closed,
        "high_s": np.broadcast_to(cost.high_s, (n,)) * seconds / closed,
        "mfu_frac": np.broadcast_to(cost.mfu_frac, (n,)) * closed / seconds,
        "tokens_per_s": np.broadcast_to(cost.tokens_per_s, (n,)) * closed / seconds,
        "memory_capacity_bytes": np.broadcast_to(np.asarray(cost.memory_capacity_bytes, dtype=np.float64), (n,)),
    }
    return Pool(pool.layouts, values), {**terms, "bubble": idle}


def _refined(job: Job, pool: Pool, key: str, top: int) -> tuple[Pool, dict[str, Array]]:
    """Walk the best layouts exactly until no other is likely to get among the top.

    First the best few of each schedule, then in the order of what is expected: the closed form times the least ratio of exact to closed
    that a layout of the same schedule has had. At most ``_MOST_EXACT`` in all.
    """
    order = ordered(pool.layouts, pool.values, key)
    codes = np.asarray(pool.layouts.schedule)
    closed = pool.values[key]
    ahead = np.concatenate([order[np.flatnonzero(codes[order] == code)[:_EACH_SCHEDULE]] for code in np.unique(codes)])
    turn = np.array(list(dict.fromkeys([*ahead.tolist(), *order[:top].tolist()])), dtype=np.int64)
    waiting = np.setdiff1d(order, turn)
    exact = np.full(order.size, np.nan)
    done: list[tuple[Pool, dict[str, Array]]] = []
    walked = 0
    while turn.size:
        part, terms = _exact(job, taken(pool, turn))
        done.append((part, terms))
        exact[turn] = part.values[key]
        walked += turn.size
        ratio = np.array([np.nanmin(np.where(codes == code, exact / closed, np.nan), initial=np.inf) for code in range(len(SCHEDULES))])
        expected = closed[waiting] * ratio[codes[waiting]]
        known = np.sort(exact[~np.isnan(exact)])
        bar = known[top - 1] if known.size >= top else math.inf
        likely = np.flatnonzero(expected < bar)
        first = likely[np.lexsort((waiting[likely], expected[likely]))][: min(_ROUND, max(_MOST_EXACT - walked, 0))]
        turn, waiting = waiting[first], np.delete(waiting, first)
    return merged([p for p, _ in done]), {name: np.concatenate([t[name] for _, t in done]) for name in done[0][1]}


def _table(job: Job, pool: Pool) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for i in range(pool.layouts.shape[0]):
        row = {**pool.layouts.row(i), "precision": job.precision}
        figures = {name: float(values[i]) for name, values in pool.values.items()}
        rows.append({name: row[name] for name in KEYS} | figures)
    return pd.DataFrame(rows)


def _words(row: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What of a layout differs from another's."""
    keys = [key for key in KEYS if key in row and not (key == "etp" and row["ep"] == other["ep"] == 1)]
    return ", ".join(f"{key} {row[key]} for {other[key]}" for key in keys if row[key] != other[key])


def _why(pool: Pool, terms: Mapping[str, Array], key: str, order: npt.NDArray[np.int64]) -> str:
    if order.size < 2:
        return "It is the only layout that fits."
    a, b = int(order[0]), int(order[1])
    first, second = pool.values[key][a], pool.values[key][b]
    what = {"step_time_s": "time", "cost_usd": "cost", "energy_j": "energy"}[key]
    differs = _words(pool.layouts.row(a), pool.layouts.row(b))
    if second <= first * (1 + 1e-9):
        return f"The second is as good ({differs}); the first comes first by less memory or smaller numbers."
    gains = sorted(((float(t[b] - t[a]), name) for name, t in terms.items()), key=lambda pair: (-abs(pair[0]), pair[1]))
    said = [
        f"{name.replace('_', ' ')} {readable(abs(gain), 'time', 3)} {'less' if gain > 0 else 'more'}"
        for gain, name in gains[:4]
        if abs(gain) > 0.02 * abs(gains[0][0])
    ]
    return f"{percent(second / first - 1, 3)} less {what} than the second ({differs}): {', '.join(said)}."


def _nothing(job: Job, scan: _Scan) -> InputError:
    most = ", ".join(f"{n:,} by {reason}" for reason, n in sorted(scan.removed.items(), key=lambda item: -item[1])[:4])
    hint = "change the devices or the global batch so that they divide"
    if scan.evaluated:
        hint = (
            f"the leanest needs {readable(scan.least_memory, 'data size', 3)} of {readable(float(job.device.memory_bytes), 'data size', 3)}: "
            "more devices, devices with more memory, or offloading"
        )
    why = f" (removed: {most})" if most else ""
    return NOTHING.error(
        path=job.path,
        evaluated=scan.evaluated,
        model=job.network.id,
        devices=job.devices,
        device=job.device.name,
        why=why,
        hint=hint,
    )


def _check(job: Job, objective: str) -> None:
    if objective == "cost" and job.usd_per_s is None:
        raise UNKNOWN_VALUE.error(path="objective", objective="cost", device=job.device.name, hint="add cluster.prices, or minimise time")
    if objective == "energy" and not job.powered:
        raise UNKNOWN_VALUE.error(
            path="objective", objective="energy", device=job.device.name, hint="add the powers of node and accelerator"
        )


def _notes(job: Job, best: pd.DataFrame) -> list[str]:
    notes = [f"Software is taken as {job.stack.name}."]
    schedule = str(best["schedule"].iloc[0])
    if schedule in ("zb-h2", "zb-v"):
        notes.append(
            f"{schedule} needs an optimizer that checks the gradients' norm afterwards, so that one step can begin as another ends."
        )
    if schedule in ("zb-h1", "zb-h2", "zb-v", "dualpipe"):
        notes.append("Not every framework has this schedule; --layout schedule=1f1b searches without it.")
    return notes


def layout_search(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    training: str | None = None,
    objective: Objective = "time",
    top: int = 10,
    pareto: bool = False,
    offload: bool = False,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
) -> LayoutSearch:
    """Search the layouts of one training run of a scenario.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    training : str, optional
        Which training run; the only one without it.
    objective : {"time", "cost", "energy"}
        Of a step.
    top : int
        How many layouts to return.
    pareto : bool
        Return the front of time, memory and money too.
    offload : bool
        Try the optimizer on the host as well.
    fixed : mapping, optional
        Axes to keep at a value, or the values to try. Without it, what a ``layout`` with ``auto: true`` gives; a layout given whole
        does not narrow the search.
    catalog : Catalog, optional

    Raises
    ------
    InputError
        A wrong scenario, no training run, an objective that is not known for the devices, nothing that fits.
    """
    if objective not in OBJECTIVES:
        raise NO_OBJECTIVE.error(path="objective", name=objective)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise BAD_TOP.error(path="top", top=top)
    scenario = load(scenario)
    job, given, notes = _job(scenario, training, catalog or default())
    _check(job, objective)
    key = OBJECTIVES[objective]
    began = time.process_time()
    try:
        narrow = charged_in_full(job) > 1.0 or collides(job)
        whole = at_oversubscription(job, 1.0) if narrow else job
        most = 0 if narrow else top + _MOST_EXACT // 2
        axes = given if fixed is None else fixed
        scan = _scan(whole, axes, offload=offload, key=key, most=most, pareto=pareto and not narrow)
        if scan.best is None:
            raise _nothing(job, scan)
        said: list[str] = []
        best_pool = scan.best
        if narrow:
            best_pool, said = _placed(job, best_pool, key, top)
        pool, terms = _refined(job, best_pool, key, top)
        if pareto and narrow:
            scan = dataclasses.replace(scan, front=_scan(job, axes, offload=offload, key=key, most=1, pareto=True).front)
        front = _exact_front(job, scan.front, float(pool.values["step_time_s"].min())) if scan.front is not None else None
    except InputError as error:
        raise InputError([scenario.locate(p) for p in located(error, job.path).problems]) from None
    order = ordered(pool.layouts, pool.values, key)
    spent = time.process_time() - began
    best = _table(job, taken(pool, order[:top]))
    before = sum(n for reason, n in scan.removed.items() if reason != "memory")
    return LayoutSearch(
        name=scenario.name,
        model=job.network.id,
        device=job.device.name,
        objective=objective,
        devices=job.devices,
        space=scan.evaluated + before,
        layouts_evaluated=scan.evaluated,
        feasible=scan.feasible,
        removed=dict(sorted(scan.removed.items())),
        exact=pool.layouts.shape[0],
        search_cpu_s=spent,
        best=best,
        front=_table(job, front) if front is not None else None,
        why=_why(pool, terms, key, order),
        terms={name: float(seconds[order[0]]) for name, seconds in terms.items()},
        notes=[*_notes(job, best), *said, *notes],
    )


def _exact_front(job: Job, pool: Pool, best_s: float) -> Pool:
    """Return the front with exact schedules, without those that another then beats, by time.

    The nearest of each schedule are walked first, then in rounds those that what was walked does not beat already, taking for their time
    and money the closed forms times the least ratio of exact to closed that a layout of the same schedule has had.
    """
    time_s = pool.values["step_time_s"]
    near = np.argsort(time_s, kind="stable")
    near = near[time_s[near] <= _SLOWEST_OF_FRONT * best_s][:_MOST_EXACT]
    if not near.size:
        return front_pool(job, taken(pool, near))
    pool = taken(pool, near)
    cost = job.cost(pool.layouts)
    passes = passes_of(job, pool.layouts) if isinstance(job.model, Model) else None
    codes, closed = pool.layouts.column("schedule"), pool.values["step_time_s"]
    turn = np.concatenate([np.flatnonzero(codes == code)[:_EACH_SCHEDULE] for code in np.unique(codes)])
    done: list[Pool] = []
    exact = np.full(closed.size, np.nan)
    left = np.setdiff1d(np.arange(closed.size), turn)
    while turn.size:
        steps = exact_steps(job, pool.layouts, cost, most_operations=_SHORT, periods=2, only=turn.tolist(), passes=passes)
        done.append(taken(_with_steps(job, pool, cost, *steps)[0], turn))
        exact[turn] = done[-1].values["step_time_s"]
        ratio = np.array([np.nanmin(np.where(codes == code, exact / closed, np.nan), initial=np.inf) for code in range(len(SCHEDULES))])
        known = merged(done).values
        left = left[~_beaten(job, known, {k: x[left] for k, x in pool.values.items()}, ratio[codes[left]])]
        order = left[np.argsort(closed[left] * ratio[codes[left]], kind="stable")]
        turn, left = order[:_ROUND], np.sort(order[_ROUND:])
    return front_pool(job, merged(done))


def _beaten(job: Job, known: Mapping[str, Array], waiting: Mapping[str, Array], ratio: Array) -> npt.NDArray[np.bool_]:
    """Return which of the waiting layouts something known is as good as in time, memory and money, their closed forms scaled."""
    ours, theirs = money_of(job, known), money_of(job, waiting)
    time_s, memory = known["step_time_s"], known["peak_memory_bytes"]
    no_worse = (time_s <= (waiting["step_time_s"] * ratio)[:, None]) & (ours <= (theirs * ratio)[:, None])
    return np.asarray((no_worse & (memory <= waiting["peak_memory_bytes"][:, None])).any(axis=1))


def _job(scenario: Scenario, training: str | None, catalog: Catalog) -> tuple[Job, dict[str, Any], list[str]]:
    runs = scenario.workload.training
    known = ", ".join(runs)
    if training is None and len(runs) != 1:
        what = "no training run" if not runs else f"{len(runs)} training runs: {known}"
        raise NO_TRAINING.error(path="workload.training", what=what, hint="add one" if not runs else "say which with training")
    name = next(iter(runs)) if training is None else training
    if name not in runs:
        raise NO_TRAINING.error(path="workload.training", what=f"no training run {name!r}", hint=f"its runs: {known or 'none'}")
    spec = runs[name]
    try:
        if scenario.catalogs:
            catalog = overlaid(catalog, [scenario.folder / file for file in scenario.catalogs])
        job = job_of(name, spec, resolve(scenario.cluster, catalog, folder=scenario.folder), catalog, folder=scenario.folder)
    except InputError as error:
        raise InputError([scenario.locate(p) for p in error.problems]) from None
    values = spec.layout.model_dump(exclude_none=True, exclude={"auto"})
    given = {k: v for k, v in values.items() if k in spec.layout.model_fields_set} if spec.layout.auto else {}
    barrier = spec.synchrony is None or spec.synchrony.mode == "synchronous"
    notes = [] if barrier else ["Layouts are compared with a full barrier; the run's synchrony is left out."]
    return job, given, notes


_QUICK = ("model", "accelerator", "count", "tokens", "global_batch", "sequence", "layout", "precision", "link", "framework", "year")


def search(
    scenario: str | Path | Mapping[str, Any] | Scenario | None = None,
    *,
    training: str | None = None,
    objective: Objective = "time",
    top: int = 10,
    pareto: bool = False,
    offload: bool = False,
    catalog: Catalog | None = None,
    **quick: Any,
) -> pd.DataFrame:
    """Return the best layouts of a training run as a table, best first.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario, optional
        Or the run in a few words: ``model``, ``accelerator``, ``count``, ``global_batch``, ``sequence`` and what else
        ``hpcsim estimate`` takes; keys of a ``layout`` stay fixed.
    training, objective, top, pareto, offload, catalog
        See :func:`layout_search`, which returns everything as one object.

    Returns
    -------
    DataFrame
        A row a layout. Its ``attrs`` hold ``layouts_evaluated``, ``search_cpu_s``, ``feasible``, ``removed``, ``why``, ``pareto`` …

    Raises
    ------
    InputError
        As :func:`layout_search`; or a scenario and words both.
    """
    chosen = {"training": training, "objective": objective, "top": top, "pareto": pareto, "offload": offload, "catalog": catalog}
    if scenario is not None:
        if quick:
            raise BOTH.error(path="search", names=", ".join(quick))
        found = layout_search(scenario, **chosen)  # type: ignore[arg-type]
    else:
        found = layout_search(in_words(catalog=catalog, **quick), **chosen)  # type: ignore[arg-type]
    table = found.best
    table.attrs.update({key: value for key, value in found.document().items() if key != "best"})
    return table


def in_words(*, layout: str | Mapping[str, Any] = "auto", **words: Any) -> Scenario:
    """Return the scenario of a run in a few words; keys of its layout stay fixed while the others are searched."""
    scenario = quick_scenario(**words)
    if isinstance(layout, str):
        parts = [part for part in layout.split(",") if part.strip() not in ("", "auto")]
        layout = {key.strip(): _value(value.strip()) for key, _, value in (part.partition("=") for part in parts)}
    return scenario.vary({f"workload.training.run.layout.{key}": value for key, value in layout.items()}) if layout else scenario


def _value(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)
