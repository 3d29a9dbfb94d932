"""Which inputs matter, and how far off the answer may be: tornado, Sobol indices, Monte Carlo.

Inputs are those of the scenario's ``uncertain`` section, the axes that are given, the catalog's own ranges, and the error of hpcsim's
own predictions (``assume.step_time`` and ``assume.power``). They are independent; what one cause moves together is one input.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.rng import stream
from hpcsim.catalog.doubts import Doubt, class_doubt, failure_doubt, rent_doubt
from hpcsim.scenario.fields import plain
from hpcsim.scenario.load import Scenario, load
from hpcsim.scenario.uncertain import Distribution, parse_distribution
from hpcsim.study.axes import MOST_POINTS, TOO_MANY, Axis, unit_points
from hpcsim.study.indices import order_ranks, quantile_interval, sobol_indices, spearman
from hpcsim.study.points import Mode, Outcome, Point
from hpcsim.study.sweep import BAD_WORKERS, outcomes_of, rows_of, shard_of
from hpcsim.study.wording import roughly

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["METHODS", "Input", "inputs_of", "sensitivity"]

Method = Literal["tornado", "sobol", "montecarlo"]
METHODS: tuple[str, ...] = ("tornado", "sobol", "montecarlo")
NOTHING_UNCERTAIN = problem_kind(
    "nothing-uncertain",
    "the scenario says of nothing that it is uncertain",
    "add an uncertain section, for example uncertain: {{cluster.site.pue: 1.1..1.4}}, or give --axis KEY=a..b",
)
BAD_METHOD = problem_kind("bad-sensitivity", "{value!r} is no method", "one of {known}")

_SAMPLES = {"tornado": 1, "sobol": 64, "montecarlo": 200}
_SAMPLES_ESTIMATED = {**_SAMPLES, "sobol": 512}
_HEADLINES = (
    "wall_clock_s", "makespan_s", "mean_wait_s", "p95_wait_s", "step_time_s", "goodput_frac", "utilisation_frac", "facility_energy_j",
    "peak_power_w", "carbon_kg_co2e", "cost_usd", "cost_per_mtoken_usd",
)  # fmt: skip
_RESAMPLES = 200


@dataclass(frozen=True)
class Input:
    """One uncertain input: its path, its distribution, where that is from, and the scenario's own value (None: not written)."""

    path: str
    distribution: Distribution
    written: Any
    origin: str
    base: Any = None


def _base_value(scenario: Scenario, path: str) -> Any:
    here: Any = scenario.data(defaults=True)
    for part in path.split("."):
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            return None
    return here


def inputs_of(scenario: Scenario, axes: Mapping[str, Any] | Iterable[Axis] | None = None) -> list[Input]:
    """Return the uncertain inputs of a scenario, those given as axes first; a path is taken once.

    Raises
    ------
    InputError
        Nothing is uncertain, or a distribution refers to a value that the scenario does not have.
    """
    written: list[tuple[str, Any, str]] = []
    for path, values in axes.items() if isinstance(axes, Mapping) else [(a.path, _as_written(a)) for a in axes or ()]:
        written.append((path, values, "axis"))
    written += [(path, plain(value), "scenario") for path, value in scenario.uncertain.items()]
    written += _from_catalog(scenario) + _from_model(scenario)
    problems = Problems()
    found: dict[str, Input] = {}
    for path, value, origin in written:
        if path in found:
            continue
        base = _base_value(scenario, path)
        try:
            found[path] = Input(path, parse_distribution(value).around(base), value, origin, base)
            scenario.vary({path: found[path].distribution.at(0.5)})  # a path or value that the scenario cannot have
        except InputError as error:
            problems.absorb(error, path if origin == "axis" else f"uncertain.{path}")
            found.pop(path, None)
    if problems.items:
        raise InputError([scenario.locate(problem) for problem in problems.items])
    if not found:
        raise NOTHING_UNCERTAIN.error()
    return list(found.values())


def _as_written(axis: Axis) -> Any:
    if axis.span is None:
        return list(axis.values)
    text = f"{axis.span.low}..{axis.span.high} {axis.span.unit}".strip()
    return list(axis.values) if axis.span.bounded else f"log:{text}" if axis.span.log else text


def _from_model(scenario: Scenario) -> list[tuple[str, Any, str]]:
    """Return the errors of hpcsim's own predictions: of the step's time by its interval, of modelled power."""
    from hpcsim.cost.step_cost import Z80
    from hpcsim.run.bind import bind
    from hpcsim.run.ranges import POWER_SIGMA

    plans = bind(scenario).trainings
    if not plans:
        return []
    off = max(float(plan.cost.high_s) / float(plan.cost.step_time_s) for plan in plans)
    step = {"lognormal": 1.0, "factor": round(off, 4), "source": "80 % interval of the predicted step, docs/models/training.md"}
    found: list[tuple[str, Any, str]] = [("assume.step_time", step, "model")]
    if any(plan.draw_w is not None for plan in plans):
        power = {
            "lognormal": 1.0,
            "factor": round(math.exp(Z80 * POWER_SIGMA), 4),
            "source": "error of modelled power, docs/models/accounting.md",
        }
        found.append(("assume.power", power, "model"))
    return found


def _from_catalog(scenario: Scenario) -> list[tuple[str, Any, str]]:
    """Return how far off may be what the scenario leaves to the catalog: site values by region, a provider's prices; and its failure rate.

    One cause is one input: all offers of one accelerator move together (``assume.prices``).
    """
    from hpcsim.run.bind import bind, catalog_of, priced_as

    catalog = catalog_of(scenario)
    site = scenario.cluster.site
    found: list[tuple[str, Any, str]] = []
    if site.region is not None:
        for key, unit, scale, look_up in (
            ("pue", "", 1.0, catalog.pue),
            ("electricity", "USD/kWh", 3.6e6, catalog.electricity_price),
            ("carbon", "g/kWh", 3.6e9, catalog.carbon_intensity),
        ):
            if getattr(site, key) is None:
                found += _ranged(key, unit, scale, lambda look_up=look_up: look_up(site.region))  # type: ignore[misc]
    cluster = bind(scenario).cluster
    for name, price in cluster.prices.items():
        if price.provider:
            accelerator = priced_as(cluster.groups[name])
            doubt = rent_doubt(accelerator, scenario.cluster.prices[name].term)
            found.append((f"assume.prices.{accelerator}", _factor(doubt), "catalog" if doubt.computed else "default"))
    if scenario.failures.node is not None and scenario.failures.node.mtbf is not None:
        doubt = failure_doubt(catalog)
        found.append(("failures.node.mtbf", {"factor": round(doubt.factor, 4), "source": doubt.source}, "catalog"))
    return found


def _factor(doubt: Doubt) -> dict[str, Any]:
    return {"lognormal": 1.0, "factor": round(doubt.factor, 4), "source": doubt.source}


_SITE_KINDS = {"pue": "power usage effectiveness", "electricity": "electricity price", "carbon": "carbon intensity"}


def _ranged(key: str, unit: str, scale: float, look_up: Callable[[], Any]) -> list[tuple[str, Any, str]]:
    """Return the range of a site's figure: the catalog's own, or a class default around its value."""
    try:
        fact = look_up()
    except InputError:
        return []
    path = f"cluster.site.{key}"
    low, high = (fact.value if end is None else end for end in (fact.low, fact.high))
    if low < high:
        ends = {name: f"{end * scale:.6g} {unit}".strip() if unit else end * scale for name, end in (("low", low), ("high", high))}
        return [(path, {**ends, "source": f"catalog: {fact.name}, {fact.source}"}, "catalog")]
    if not fact.value > 0:
        return []
    doubt = class_doubt(key, _SITE_KINDS[key])
    if key == "pue":  # never below 1
        ends = {"low": max(fact.value / doubt.factor, 1.0), "high": fact.value * doubt.factor}
        return [(path, {**ends, "source": doubt.source}, "default")]
    middle = f"{fact.value * scale:.6g} {unit}"
    return [(path, {"lognormal": middle, "factor": doubt.factor, "source": doubt.source}, "default")]


def _design(method: str, inputs: Sequence[Input], samples: int, seed: int, mode: Mode) -> list[Point]:
    """Return the points of a study; the first is the scenario as it stands."""
    d = len(inputs)

    def at(row: Sequence[float]) -> dict[str, Any]:
        return {one.path: one.distribution.at(float(u)) for one, u in zip(inputs, row, strict=True)}

    base = Point({}, seed)
    if method == "tornado":
        ends = [Point({one.path: one.distribution.at(u)}, seed) for one in inputs for u in (0.05, 0.95)]
        return [base, *ends]
    if method == "montecarlo":
        rows = stream(seed, "sensitivity", "montecarlo").random((samples, d))
        return [base, *(Point(at(row), seed + k if mode == "simulate" else seed) for k, row in enumerate(rows))]
    cube = unit_points("sobol", samples, 2 * d, seed)
    a, b = cube[:, :d], cube[:, d:]
    mixed = [np.where(np.arange(d) == j, b, a) for j in range(d)]
    return [base, *(Point(at(row), seed) for rows in (a, b, *mixed) for row in rows)]


def sensitivity(
    scenario: str | Path | Scenario | Mapping[str, Any],
    method: Method = "tornado",
    axes: Mapping[str, Any] | Iterable[Axis] | None = None,
    *,
    samples: int | None = None,
    jobs: int = 1,
    mode: Mode = "simulate",
    executor: Executor | None = None,
    dask: str | None = None,
    shard: str | tuple[int, int] | None = None,
    store: str | Path | None = None,
    resume: bool = False,
    merge: Iterable[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Study how uncertain inputs move the figures.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes; its ``uncertain`` section names inputs and their distributions.
    method : {"tornado", "sobol", "montecarlo"}
        One input at a time at its 5th and 95th percentile; shares of the variance; ranges of every figure.
    axes : mapping or iterable of Axis, optional
        Further inputs: a range is uniform between its ends, a list has equally likely values.
    samples : int, optional
        Base samples of Sobol indices (64 without it, 512 in closed form; each takes inputs + 2 runs, and a power of two is balanced best) or draws of
        Monte Carlo (200).
    jobs, mode, executor, dask, shard, store, resume, merge, progress
        As of :func:`hpcsim.sweep`.

    Returns
    -------
    Results
        Table ``uncertain`` (the inputs), and by method ``tornado``, ``sobol``, or ``uncertainty`` and ``drivers``; ``sweep`` holds the
        points, of which the first is the scenario as it stands. Monte Carlo gives ``ranges`` from the 5th to the 95th percentile.

    Raises
    ------
    InputError
        Nothing is uncertain, a distribution that cannot be used, or a scenario that cannot be run as it stands.

    Notes
    -----
    Inputs are independent. Simulated points of a tornado and of Sobol indices share one seed, so that chance moves none of them; those
    of Monte Carlo have a seed each, so that chance (failures, arrivals) is part of the range.
    """
    scenario = load(scenario)
    if method not in METHODS:
        raise BAD_METHOD.error(value=method, known=", ".join(METHODS))
    usual = _SAMPLES_ESTIMATED if mode == "estimate" else _SAMPLES
    count = usual[method] if samples is None else samples
    for what, value in (("samples", count), ("jobs", jobs)):
        if value < 1:
            raise BAD_WORKERS.error(what=what, value=value)
    inputs = inputs_of(scenario, axes)
    if count * (len(inputs) + 2) > MOST_POINTS:
        raise TOO_MANY.error(points=count * (len(inputs) + 2), most=MOST_POINTS)
    points = _design(method, inputs, count, scenario.simulate.seed, mode)
    outcomes, notes = outcomes_of(
        scenario,
        points,
        mode,
        jobs=jobs,
        executor=executor,
        dask=dask,
        shard=shard_of(shard),
        store=store,
        resume=resume,
        merge=merge,
        progress=progress,
    )
    there = [outcome for outcome in outcomes if outcome is not None]
    if len(there) < len(outcomes):
        from hpcsim.study.sweep import partial

        return partial(scenario, len(there), len(outcomes), mode, notes)
    if there[0].problems:
        raise InputError([scenario.locate(problem) for problem in there[0].problems])
    return _results(scenario, method, inputs, points, there, count, mode, notes)


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the numeric figures of the outcomes as arrays, NaN where a point has none; constant ones are left out."""
    keys = [k for k, v in outcomes[0].summary.items() if isinstance(v, (int, float)) and not isinstance(v, bool) and k != "events"]
    found = {}
    for key in keys:
        values = np.array([math.nan if o.summary.get(key) is None else float(o.summary[key]) for o in outcomes])
        known = values[~np.isnan(values)]
        if len(known) and float(np.ptp(known)) > 1e-12 * float(np.abs(known).max()):
            found[key] = values
    order = {key: i for i, key in enumerate(_HEADLINES)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def _input_rows(inputs: Sequence[Input]) -> dict[str, list[Any]]:
    rows = []
    for one in inputs:
        source = one.distribution.source or None
        written = {k: v for k, v in one.written.items() if k != "source"} if isinstance(one.written, Mapping) else one.written
        text = written if isinstance(written, str) else json.dumps(written, ensure_ascii=False).replace('"', "")
        base = None if one.base is None else roughly(one.base)
        rows.append((one.path, text, base, roughly(one.distribution.at(0.05)), roughly(one.distribution.at(0.95)), one.origin, source))
    return _columns(("input", "distribution", "base", "low", "high", "origin", "source"), rows)


def _tornado_rows(inputs: Sequence[Input], outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    rows = []
    for metric, values in _figures(outcomes).items():
        base, mine = values[0], []
        for j, one in enumerate(inputs):
            low, high = values[1 + 2 * j], values[2 + 2 * j]
            known = [v for v in (base, low, high) if not math.isnan(v)]
            swing = max(known) - min(known) if len(known) > 1 else math.nan
            ends = (roughly(one.distribution.at(0.05)), roughly(one.distribution.at(0.95)))
            mine.append((metric, one.path, *ends, base, low, high, swing, swing / abs(base) if base else math.nan))
        rows += sorted(mine, key=lambda row: -(row[7] if row[7] == row[7] else -1.0))
    return _columns(("metric", "input", "low", "high", "base", "at_low", "at_high", "swing", "swing_frac"), rows)


def _sobol_rows(inputs: Sequence[Input], outcomes: Sequence[Outcome], samples: int, seed: int) -> dict[str, list[Any]]:
    rows = []
    d = len(inputs)
    for metric, values in _figures(outcomes).items():
        blocks = values[1:].reshape(d + 2, samples)
        blocks = blocks[:, ~np.isnan(blocks).any(axis=0)]
        n = blocks.shape[1]
        if n < 2:
            continue
        first, total = sobol_indices(blocks[0], blocks[1], blocks[2:])
        rng = stream(seed, "sensitivity", "resample", metric)
        again = [sobol_indices(*_split(blocks[:, rng.integers(n, size=n)])) for _ in range(_RESAMPLES)]
        spread = np.array(again)  # (resamples, 2, d)
        with np.errstate(invalid="ignore"):
            low, high = np.nanquantile(spread, 0.05, axis=0), np.nanquantile(spread, 0.95, axis=0)
        mine = [(metric, one.path, first[j], low[0, j], high[0, j], total[j], low[1, j], high[1, j], n) for j, one in enumerate(inputs)]
        rows += sorted(mine, key=lambda row: -float(row[5]))
    return _columns(
        ("metric", "input", "first", "first_low", "first_high", "total", "total_low", "total_high", "samples"),
        [r for r in rows if r[2] == r[2]],
    )


def _split(blocks: Any) -> tuple[Any, Any, Any]:
    return blocks[0], blocks[1], blocks[2:]


def _uncertainty_rows(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    rows = []
    for metric, values in _figures(outcomes).items():
        drawn = values[1:][~np.isnan(values[1:])]
        if len(drawn) < 2:
            continue
        parts = [end for q in (0.05, 0.5, 0.95) for end in quantile_interval(drawn, q)]
        rows.append((metric, len(drawn), values[0], float(drawn.mean()), *parts))
    names = ("metric", "n", "base", "mean", *(f"{q}{end}" for q in ("p5", "p50", "p95") for end in ("", "_low", "_high")))
    return _columns(names, rows)


def _driver_rows(
    inputs: Sequence[Input], points: Sequence[Point], outcomes: Sequence[Outcome], samples: int, seed: int
) -> dict[str, list[Any]]:
    shares = stream(seed, "sensitivity", "montecarlo").random((samples, len(inputs)))  # ranks of the inputs, whatever their kind
    rows = []
    for metric, values in _figures(outcomes).items():
        known = ~np.isnan(values[1:])
        mine = (
            [(metric, one.path, spearman(shares[known, j], values[1:][known])) for j, one in enumerate(inputs)] if known.sum() > 2 else []
        )
        rows += sorted(mine, key=lambda row: -abs(row[2]) if row[2] == row[2] else 1.0)
    return _columns(("metric", "input", "rank_correlation"), rows)


def _results(
    scenario: Scenario,
    method: str,
    inputs: Sequence[Input],
    points: Sequence[Point],
    outcomes: Sequence[Outcome],
    samples: int,
    mode: Mode,
    notes: list[str],
) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    seed, failed = scenario.simulate.seed, sum(bool(outcome.problems) for outcome in outcomes)
    tables = {"uncertain": frame("uncertain", _input_rows(inputs))}
    base = outcomes[0].summary
    summary: dict[str, Any] = {key: base[key] for key in _HEADLINES if key in base}
    ranges: dict[str, tuple[float, float]] = {}
    if method == "tornado":
        tables["tornado"] = frame("tornado", _tornado_rows(inputs, outcomes))
    elif method == "sobol":
        tables["sobol"] = frame("sobol", _sobol_rows(inputs, outcomes, samples, seed))
    else:
        tables["uncertainty"] = frame("uncertainty", _uncertainty_rows(outcomes))
        tables["drivers"] = frame("drivers", _driver_rows(inputs, points, outcomes, samples, seed))
        for row in tables["uncertainty"].to_dict("records"):
            if row["metric"] in summary:
                summary[row["metric"]] = row["p50"]
                ranges[row["metric"]] = (row["p5"], row["p95"])
        notes.append(_precision(samples))
    tables["sweep"] = rows_of(points, outcomes)
    summary |= {"points": len(points), "points_failed": failed, "samples": samples, "mode": mode}
    if failed:
        notes.append(
            f"{failed} of {len(points)} points could not be run and are left out of the figures: the ranges hold where the scenario can be run at all."
        )
    return Results(
        name=f"{scenario.name}-{method}",
        question=scenario.question,
        answer=_answer(method, tables, len(points)),
        kind="sensitivity",
        summary=summary,
        ranges=ranges,
        coverage_frac=0.9,
        tables=tables,
        notes=[*scenario.notes, *notes],
        provenance=provenance(scenario_sha256=scenario.digest(), seed=seed, axes={one.path: one.written for one in inputs}),
    )


def _precision(samples: int) -> str:
    low, high = order_ranks(samples, 0.95)
    if high > samples:
        return f"{samples} samples do not bound the 95th percentile from above with 95 % confidence; about 75 are needed at least."
    return f"The 95th percentile of {samples} samples lies between the {low}th and the {high}th smallest with 95 % confidence."


def _answer(method: str, tables: Mapping[str, Any], points: int) -> str:
    from hpcsim.results.quantities import brief, label, quantity, show_range

    def span(metric: str, low: float, high: float) -> str:
        money = quantity(metric).dimension == "money" and high >= 1000
        return f"{brief(metric, low)} – {brief(metric, high)}" if money else show_range(metric, low, high)

    table, said = tables["uncertainty" if method == "montecarlo" else method], []
    known = set(table["metric"])
    time = next((metric for metric in ("wall_clock_s", "mean_wait_s", "makespan_s") if metric in known), "")
    for metric in (time, "cost_usd", "facility_energy_j", "carbon_kg_co2e"):
        if metric not in known:
            continue
        top = table[table["metric"] == metric].iloc[0]
        if method == "montecarlo":
            said.append(f"{label(metric)} {span(metric, top['p5'], top['p95'])}")
        elif method == "tornado" and top["swing_frac"] > 0:
            said.append(f"{label(metric)} hangs most on {top['input']} ({span(metric, *sorted((top['at_low'], top['at_high'])))})")
        elif method == "sobol" and top["total"] > 0:
            said.append(f"{label(metric)} hangs most on {top['input']} ({min(100 * top['total'], 100):.2g} % of its variance)")
    if not said:
        return f"No headline figure depends on what is uncertain ({points} points)."
    if method == "montecarlo":
        return f"In nine of ten draws: {'; '.join(said)} (n = {int(table['n'].max())}).{_closest(tables['drivers'], known)}"
    text = f"{'; '.join(said[:3])}."
    return text[:1].upper() + text[1:]


def _closest(drivers: Any, known: set[str]) -> str:
    """Say which input the most telling figure follows most closely."""
    from hpcsim.results.quantities import label

    metric = next((m for m in ("cost_usd", "wall_clock_s", "mean_wait_s", "makespan_s", "facility_energy_j") if m in known), None)
    rows = drivers[(drivers["metric"] == metric) & drivers["rank_correlation"].notna()]
    return f" The {label(str(metric))} follows {rows['input'].iloc[0]} most closely." if len(rows) else ""
