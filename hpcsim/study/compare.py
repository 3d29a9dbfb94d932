"""What-if: scenarios side by side – which inputs differ, which answers change, and which terms explain the change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.base.units import percent, readable
from hpcsim.scenario.load import Scenario, load
from hpcsim.study.points import Mode
from hpcsim.study.wait_terms import mean_waits
from hpcsim.study.wording import exactly

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["compare", "explained", "terms_of"]

TOO_FEW = problem_kind("compare-one", "there is nothing to compare {name!r} with", "name a second scenario, or give --vary KEY=VALUE")

_NO_INPUTS = ("name", "question", "notes", "sweep", "uncertain", "plan", "published")
_HEADLINES = ("wall_clock_s", "mean_wait_s", "makespan_s", "cost_usd", "facility_energy_j", "carbon_kg_co2e", "peak_memory_bytes")
Terms = dict[str, tuple[float, float]]


def terms_of(results: Results, metric: str) -> Terms:
    """Return the terms that a figure is the sum of: for each its amount and its rate, whose product it contributes.

    Known for ``wall_clock_s`` (steps × seconds a step), ``step_time_s``, ``facility_energy_j`` (seconds × power), ``carbon_kg_co2e``
    (energy × intensity), ``cost_usd`` (quantity × price), ``peak_memory_bytes`` and ``mean_wait_s`` of batch jobs (share of the jobs that wait for
    a cause × their time of it); empty for other figures.
    """
    total, tables = results.summary.get(metric), results.tables
    if not isinstance(total, (int, float)):
        return {}
    found: Terms = {}
    if metric in ("wall_clock_s", "step_time_s") and "breakdown" in tables and tables["breakdown"]["name"].nunique() == 1:
        steps = float(tables["training"]["steps"].iloc[0]) if metric == "wall_clock_s" and "training" in tables else 1.0
        found = {t: (steps, float(s)) for t, s in zip(tables["breakdown"]["term"], tables["breakdown"]["seconds"])}
    elif metric == "facility_energy_j" and "energy" in tables:
        span = float(results.summary["makespan_s"]) or 1.0
        found = {c: (span, float(j) / span) for c, j in zip(tables["energy"]["component"], tables["energy"]["energy_j"])}
    elif metric == "carbon_kg_co2e" and "energy" in tables:
        rows = zip(tables["energy"]["component"], tables["energy"]["energy_j"], tables["energy"]["carbon_kg_co2e"])
        found = {c: (float(j), float(kg) / float(j)) for c, j, kg in rows if j > 0}
    elif metric == "cost_usd" and "costs" in tables:
        costs = tables["costs"]
        several = costs["group"].dropna().nunique() > 1
        for item, group, amount, usd in zip(costs["item"], costs["group"].astype(object), costs["quantity"], costs["usd"]):
            term = f"{item}, {group}" if several and isinstance(group, str) else str(item)
            found[term] = (float(amount), float(usd) / float(amount) if amount else 0.0)
    elif metric == "peak_memory_bytes" and "memory" in tables and tables["memory"]["name"].nunique() == 1:
        found = {t: (1.0, float(b)) for t, b in zip(tables["memory"]["term"], tables["memory"]["size_bytes"])}
    elif metric == "mean_wait_s":
        found = mean_waits(results)
    rest = float(total) - math.fsum(a * r for a, r in found.values())
    if found and abs(rest) > 1e-9 * abs(float(total)):
        found[_REST.get(metric, "other parts")] = (1.0, rest)
    return found


_REST = {"wall_clock_s": "checkpoints, failures and recovery"}


def explained(before: Terms, after: Terms) -> list[tuple[str, float, float, float, float]]:
    """Return per term (term, before, after, by amount, by rate): the change split exactly into two parts.

    Δ(a·r) = Δa·r̄ + Δr·ā with means over both sides. A term that one side lacks is all amount.

    >>> explained({"gpu": (10.0, 2.0)}, {"gpu": (20.0, 1.0)})
    [('gpu', 20.0, 20.0, 15.0, -15.0)]
    """
    rows = []
    for term in dict.fromkeys([*before, *after]):
        a1, r1 = before.get(term, (0.0, math.nan))
        a2, r2 = after.get(term, (0.0, math.nan))
        r1, r2 = (r2 if math.isnan(r1) else r1), (r1 if math.isnan(r2) else r2)
        rows.append((term, a1 * r1, a2 * r2, (a2 - a1) * (r1 + r2) / 2, (r2 - r1) * (a1 + a2) / 2))
    return rows


def _flat(data: Any, path: str = "") -> dict[str, str]:
    if isinstance(data, Mapping):
        return {p: v for key, value in data.items() for p, v in _flat(value, f"{path}.{key}" if path else str(key)).items()}
    return {} if data is None else {path: str(list(data)) if isinstance(data, (list, tuple)) else exactly(data)}


def _inputs(scenarios: Sequence[Scenario]) -> list[dict[str, str]]:
    return [_flat({k: v for k, v in s.data(defaults=True).items() if k not in _NO_INPUTS}) for s in scenarios]


def _differing(given: Sequence[Mapping[str, str]]) -> list[str]:
    return [path for path in dict.fromkeys(p for one in given for p in one) if len({one.get(path) for one in given}) > 1]


def _facts(answers: Sequence[Results]) -> list[dict[str, str]]:
    """Return the catalog's values that each answer rests on, by path and field."""
    found = []
    for answer in answers:
        table = answer.tables.get("sources")
        rows = [] if table is None else table.astype(object).to_dict("records")
        found.append({f"{r['path']} → {r['field']}": f"{r['value']} {r['unit'] or ''}".strip() for r in rows})
    return found


def _change_words(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {after.get(path, 'none')}" for path in _differing([before, after]))


def _labels(scenarios: Sequence[Scenario], given: Sequence[Mapping[str, str]]) -> list[str]:
    names = [s.name for s in scenarios]
    if len(set(names)) == len(names):
        return names
    labels: list[str] = []
    for k, name in enumerate(names):
        words, further = (_change_words(given[j], given[k]) for j in (0, max(k - 1, 0)))
        tried = (words, f"+ {further}" if further else "") if k > 1 else (words,)
        label = name if k == 0 else next((text for text in tried if text and len(text) <= 40), f"variant {k + 1}")
        labels.append(label if label not in labels else f"{label} ({k + 1})")
    return labels


def compare(
    *scenarios: str | Path | Scenario | Mapping[str, Any],
    vary: Sequence[Mapping[str, Any]] = (),
    mode: Mode = "simulate",
    seed: int | None = None,
) -> Results:
    """Compare two or more scenarios with the first.

    Parameters
    ----------
    *scenarios : str, Path, mapping or Scenario
        What :func:`hpcsim.load` takes.
    vary : sequence of mapping
        Further scenarios as a chain: each is the one before it (at first the last of ``scenarios``) with some values replaced.
    mode : {"simulate", "estimate"}
        Event by event, or closed form.
    seed : int, optional
        One seed for all, so that chance strikes them alike; each scenario's own without it.

    Returns
    -------
    Results
        Tables ``compare_inputs`` (what differs), ``compare_figures`` (every figure, its change from the first scenario) and
        ``compare_terms`` (the terms that add up to the change).

    Raises
    ------
    InputError
        Fewer than two scenarios, or one that cannot be run.
    """
    loaded = [load(scenario) for scenario in scenarios]
    for changes in vary:
        loaded.append(loaded[-1].vary(changes))
    if len(loaded) < 2:
        raise TOO_FEW.error(name=loaded[0].name if loaded else "nothing")
    if seed is not None:
        loaded = [scenario.vary({"simulate.seed": seed}) for scenario in loaded]
    answers = _answers(loaded, mode)
    given = _inputs(loaded)
    labels = _labels(loaded, given)
    return _results(loaded, answers, given, labels, mode)


def _answers(scenarios: Sequence[Scenario], mode: Mode) -> list[Results]:
    if mode == "estimate":
        from hpcsim.run.estimate import estimate as verb
    else:
        from hpcsim.run.simulate import simulate as verb
    answers, problems = [], []
    for scenario in scenarios:
        try:
            answers.append(verb(scenario))
        except InputError as error:
            problems += [
                p if p.file else p.located(file=scenario.source.file if scenario.source else scenario.name) for p in error.problems
            ]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return answers


def _numbers(answer: Results) -> dict[str, float]:
    return {k: float(v) for k, v in answer.figures(timings=False).items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _results(
    scenarios: Sequence[Scenario], answers: Sequence[Results], given: Sequence[Mapping[str, str]], labels: list[str], mode: Mode
) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    inputs = _input_rows(given, _facts(answers), labels)
    figures = _figure_rows(answers, labels)
    terms = _term_rows(answers, labels)
    changed = {metric for metric, change in zip(figures["metric"], figures["change"]) if change == change and change != 0}
    notes = list(dict.fromkeys(note for answer in answers for note in answer.notes)) if len(answers) else []
    differing = _differing(given)
    if differing and not changed:
        notes.insert(
            0,
            f"No figure changes, although {len(differing)} input{'s differ' if len(differing) > 1 else ' differs'}: {', '.join(differing[:5])}.",
        )
    first = scenarios[0]
    return Results(
        name=first.name if len({s.name for s in scenarios}) == 1 else "-vs-".join(dict.fromkeys(s.name for s in scenarios))[:64],
        question=_question(scenarios, labels),
        answer=_answer(answers, given, labels, terms),
        kind="compare",
        summary={"scenarios": len(scenarios), "inputs_differ": len(differing), "figures_changed": len(changed), "mode": mode},
        tables={
            "compare_inputs": frame("compare_inputs", inputs),
            "compare_figures": frame("compare_figures", figures),
            "compare_terms": frame("compare_terms", terms),
        },
        notes=notes,
        provenance=provenance(
            scenario_sha256=first.digest(),
            seed=first.simulate.seed,
            catalog=[name for answer in answers for name in answer.provenance.get("catalog", ())],
            compared={label: s.digest() for label, s in zip(labels, scenarios)},
        ),
    )


def _question(scenarios: Sequence[Scenario], labels: list[str]) -> str:
    others = " or ".join(labels[1:])
    if len({scenario.name for scenario in scenarios}) == 1:
        return f"What changes in {labels[0]} with {others}?"
    return f"What changes from {labels[0]} to {others}?"


def _input_rows(given: Sequence[Mapping[str, str]], facts: Sequence[Mapping[str, str]], labels: list[str]) -> dict[str, list[Any]]:
    rows = [
        (path, kind, label, one.get(path))
        for kind, values in (("given", given), ("catalog", facts))
        for path in _differing(values)
        for label, one in zip(labels, values)
    ]
    return {key: [row[k] for row in rows] for k, key in enumerate(("path", "kind", "scenario", "value"))}


def _figure_rows(answers: Sequence[Results], labels: list[str]) -> dict[str, list[Any]]:
    numbers = [_numbers(answer) for answer in answers]
    rows = []
    for metric in dict.fromkeys(key for one in numbers for key in one):
        base = numbers[0].get(metric, math.nan)
        for label, one in zip(labels, numbers):
            value = one.get(metric, math.nan)
            low, high = answers[labels.index(label)].ranges.get(metric, (math.nan, math.nan))
            rows.append((metric, label, value, value - base, (value - base) / abs(base) if base else math.nan, low, high))
    names = ("metric", "scenario", "value", "change", "change_frac", "low", "high")
    return {key: [row[k] for row in rows] for k, key in enumerate(names)}


def _term_rows(answers: Sequence[Results], labels: list[str]) -> dict[str, list[Any]]:
    rows: list[tuple[Any, ...]] = []
    for label, answer in zip(labels[1:], answers[1:]):
        for metric in (
            "wall_clock_s",
            "step_time_s",
            "facility_energy_j",
            "carbon_kg_co2e",
            "cost_usd",
            "peak_memory_bytes",
            "mean_wait_s",
        ):
            before, after = terms_of(answers[0], metric), terms_of(answer, metric)
            if not before or not after:
                continue
            parts = explained(before, after)
            total = math.fsum(after - before for _, before, after, _, _ in parts)
            for term, one, two, amount, rate in sorted(parts, key=lambda part: -abs(part[2] - part[1])):
                share = (two - one) / total if total else math.nan
                rows.append((metric, label, term, one, two, two - one, share, amount, rate))
    names = ("metric", "scenario", "term", "before", "after", "change", "share_frac", "by_amount", "by_rate")
    return {key: [row[k] for row in rows] for k, key in enumerate(names)}


def _answer(answers: Sequence[Results], given: Sequence[Mapping[str, str]], labels: list[str], terms: Mapping[str, list[Any]]) -> str:
    """Say how the headline figures of the last scenario differ from those of the first, and through what."""
    from hpcsim.results.quantities import brief, label, quantity

    last, first = answers[-1], answers[0]
    differing = _differing([given[0], given[-1]])
    words = [f"{path} {given[0].get(path, 'none')} → {given[-1].get(path, 'none')}" for path in differing]
    with_ = f"With {', '.join(words)}" if 0 < len(words) <= 2 else f"From {labels[0]} to {labels[-1]}, {len(words)} inputs differ"
    said = []
    for metric in _HEADLINES:
        one, two = first.summary.get(metric), last.summary.get(metric)
        if (
            not isinstance(one, (int, float))
            or not isinstance(two, (int, float))
            or (metric == "makespan_s" and "wall_clock_s" in last.summary)
        ):
            continue
        if one == 0 or abs(two / one - 1) < 0.0005:
            continue
        text = f"{label(metric)} {_moved(one, two)} ({brief(metric, one)} → {brief(metric, two)}"
        rows = [k for k, m in enumerate(terms["metric"]) if m == metric and terms["scenario"][k] == labels[-1]]
        if rows:
            k = rows[0]
            change, dimension = terms["change"][k], quantity(metric).dimension
            sign = "+" if change > 0 else "−"
            size = brief(metric, abs(change)) if dimension == "money" else readable(abs(change), dimension, 3)
            text += f"; most through {terms['term'][k]}, {sign}{size}"
        said.append(text + ")")
    return f"{with_}: {'; '.join(said[:4])}." if said else f"{with_}, and no headline figure changes."


def _moved(one: float, two: float) -> str:
    ratio = two / one
    if ratio >= 3:
        return f"grows {ratio:.3g}-fold"
    return f"{'rises' if ratio > 1 else 'falls'} by {percent(abs(ratio - 1), 3)}"
