"""The explorer of a sweep: sliders over the points that were computed, in the page itself; nothing is interpolated."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpcsim.report.sweep import axes_of, in_proportion, metrics_of
from hpcsim.results.quantities import label, scale
from hpcsim.results.record import Results, plain

__all__ = ["EXPLORER_SCRIPT", "explorer"]

_MOST_CELLS = 30_000
_MOST_METRICS = 12
_FIRST = (
    "wall_clock_s",
    "mean_wait_s",
    "makespan_s",
    "cost_usd",
    "facility_energy_j",
    "carbon_kg_co2e",
    "utilisation_frac",
    "goodput_frac",
)


def explorer(results: Results) -> str:
    """Return the explorer as HTML; empty where the points fill no grid of at least two values, or are too many for a page.

    Replicates are averaged. The section stays hidden where scripts are off.
    """
    table = results.tables.get("sweep")
    if results.kind != "sweep" or table is None or not len(table):
        return ""
    axes = axes_of(table, results.provenance)
    metrics = _chosen(table, axes)
    values = {axis: list(dict.fromkeys(table[axis].astype(object))) for axis in axes}
    size = int(np.prod([len(v) for v in values.values()]))
    points = table.groupby(list(axes), sort=False).ngroups
    if not metrics or size < 2 or points != size or size * len(metrics) > _MOST_CELLS:
        return ""
    data = {
        "axes": [{"path": axis, "values": [_word(v) for v in values[axis]]} for axis in axes],
        "metrics": [_metric(table, metric) for metric in metrics],
        "cells": _cells(table, axes, values, metrics),
    }
    text = json.dumps(plain(data), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    sliders = "\n".join(_slider(i, axis, values[axis]) for i, axis in enumerate(axes))
    options = "".join(f'<option value="{i}">{html.escape(label(m))}</option>' for i, m in enumerate(metrics))
    across = "".join(f'<option value="{i}">{html.escape(a)}</option>' for i, a in enumerate(axes) if len(values[a]) > 1)
    return (
        '<section id="explore" hidden>\n<h2>Try other values</h2>\n'
        '<p class="faint">Move a slider: every value shown was computed, none is interpolated.</p>\n'
        f'<div class="sliders">\n{sliders}\n</div>\n<dl class="cards"></dl>\n'
        f'<p class="pick"><label>Draw <select id="explore-metric">{options}</select></label> '
        f'<label>over <select id="explore-across">{across}</select></label></p>\n'
        '<div class="plot"><svg viewBox="0 0 640 270" role="img" aria-label="the chosen figure over the chosen axis"></svg>'
        '<p class="faint" aria-live="polite"></p></div>\n'
        f'<script type="application/json" id="explore-data">{text}</script>\n</section>'
    )


def _chosen(table: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return the metrics to show: headlines first, none in proportion to one before it."""
    known = metrics_of(table, axes)
    ordered = [metric for metric in _FIRST if metric in known] + [metric for metric in known if metric not in _FIRST]
    kept: list[str] = []
    for metric in ordered:
        if len(kept) < _MOST_METRICS and not any(in_proportion(table, other, metric) for other in kept):
            kept.append(metric)
    return kept


def _word(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _slider(i: int, axis: str, values: Sequence[Any]) -> str:
    name = html.escape(axis)
    middle = (len(values) - 1) // 2
    return (
        f'<label><span>{name}</span><output></output><input type="range" min="0" max="{len(values) - 1}" value="{middle}" '
        f'data-axis="{i}" aria-label="{name}"></label>'
    )


def _metric(table: pd.DataFrame, metric: str) -> dict[str, Any]:
    largest = float(pd.to_numeric(table[metric], errors="coerce").abs().max())
    divisor, unit = scale(metric, largest)
    return {"label": label(metric), "divisor": divisor, "unit": unit}


def _cells(table: pd.DataFrame, axes: Sequence[str], values: dict[str, list[Any]], metrics: Sequence[str]) -> list[list[float | None]]:
    """Return the mean of every metric at every point, the last axis fastest; None where no point ran."""
    places = [{value: i for i, value in enumerate(values[axis])} for axis in axes]
    index = np.zeros(len(table), dtype=np.int64)
    for axis, place in zip(axes, places, strict=True):
        index = index * len(place) + np.array([place[v] for v in table[axis].astype(object)])
    size = int(np.prod([len(place) for place in places]))
    columns = []
    for metric in metrics:
        number = pd.to_numeric(table[metric], errors="coerce").to_numpy(float)
        known = ~np.isnan(number)
        total = np.bincount(index[known], number[known], minlength=size)
        count = np.bincount(index[known], minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
        columns.append([float(f"{m:.6g}") if c else None for m, c in zip(mean, count, strict=True)])
    return columns


EXPLORER_SCRIPT = """\
{
  const section = document.getElementById("explore");
  if (section) {
    const data = JSON.parse(document.getElementById("explore-data").textContent), axes = data.axes;
    const sliders = [...section.querySelectorAll("input[type=range]")], svg = section.querySelector("svg");
    const cards = section.querySelector("dl"), said = section.querySelector(".plot p");
    const pick = document.getElementById("explore-metric"), across = document.getElementById("explore-across");
    const at = places => places.reduce((sum, place, i) => sum * axes[i].values.length + place, 0);
    const places = () => sliders.map(s => +s.value);
    const word = v => typeof v === "number" ? v.toLocaleString("en", {maximumSignificantDigits: 6}) : v;
    const shown = (metric, v) => v === null ? "cannot be run" :
      (v / metric.divisor).toLocaleString("en", {maximumSignificantDigits: 4}) + (metric.unit ? " " + metric.unit : "");
    const make = (tag, attributes, text) => { const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); if (text !== undefined) e.textContent = text; svg.append(e); return e; };
    const draw = () => {
      const here = places(), metric = data.metrics[+pick.value], column = data.cells[+pick.value], a = +across.value, values = axes[a].values;
      sliders.forEach((s, i) => { s.previousElementSibling.textContent = word(axes[i].values[here[i]]); });
      cards.replaceChildren(...data.metrics.slice(0, 8).map((m, k) => { const card = document.createElement("div"); card.className = "card";
        const dt = document.createElement("dt"), dd = document.createElement("dd"); dt.textContent = m.label;
        dd.textContent = shown(m, data.cells[k][at(here)]); card.append(dt, dd); return card; }));
      const ys = values.map((_, i) => column[at(here.map((p, j) => j === a ? i : p))]);
      const numeric = values.every(v => typeof v === "number"), known = ys.filter(y => y !== null);
      svg.replaceChildren();
      if (!known.length) { said.textContent = "No point on this line could be run."; return; }
      const low = Math.min(...known) / metric.divisor, high = Math.max(...known) / metric.divisor, from = low >= 0 && low < 0.6 * high ? 0 : low;
      const rough = (high - from || Math.abs(high) || 1) / 4, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 2.5, 5, 10].find(s => s * power >= rough * 0.999) * power;
      const bottom = Math.floor(from / step) * step, top = Math.max(Math.ceil(high / step), Math.round(bottom / step) + 1) * step, first = numeric ? Math.min(...values) : 0, last = numeric ? Math.max(...values) : values.length - 1;
      const x = i => 74 + 546 * ((numeric ? values[i] : i) - first) / (last - first || 1), y = v => 222 - 200 * (v / metric.divisor - bottom) / (top - bottom);
      for (let k = Math.round(bottom / step); k <= Math.round(top / step); k++) { const v = k * step * metric.divisor;
        make("line", {x1: 74, x2: 620, y1: y(v), y2: y(v), class: "grid"});
        make("text", {x: 68, y: y(v) + 4, "text-anchor": "end"}, (k * step).toLocaleString("en", {maximumSignificantDigits: 4})); }
      const every = Math.ceil(values.length / 6);
      values.forEach((v, i) => { if (i % every === 0 || i === values.length - 1 && i % every > every / 2)
        make("text", {x: x(i), y: 240, "text-anchor": i === 0 ? "start" : i === values.length - 1 ? "end" : "middle"}, String(word(v)).slice(0, 18)); });
      make("text", {x: 347, y: 262, "text-anchor": "middle"}, axes[a].path);
      make("text", {x: 74, y: 14}, metric.label + (metric.unit ? " (" + metric.unit + ")" : ""));
      const order = values.map((_, i) => i).filter(i => ys[i] !== null).sort((i, j) => x(i) - x(j));
      make("polyline", {points: order.map(i => x(i) + "," + y(ys[i])).join(" "), class: "line"});
      order.forEach(i => { const dot = make("circle", {cx: x(i), cy: y(ys[i]), r: i === here[a] ? 7 : 4, class: i === here[a] ? "dot here" : "dot"});
        dot.append(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "title"), {textContent: word(values[i]) + ": " + shown(metric, ys[i])}));
        dot.addEventListener("click", () => { sliders[a].value = i; draw(); }); });
      const say = i => { said.textContent = axes[a].path + " " + word(values[i]) + ": " + metric.label + " " + shown(metric, ys[i]); };
      say(here[a]);
      svg.onpointermove = event => { const box = svg.getBoundingClientRect(), to = (event.clientX - box.left) * 640 / box.width;
        say(order.reduce((best, i) => Math.abs(x(i) - to) < Math.abs(x(best) - to) ? i : best, order[0])); };
      svg.onpointerleave = () => say(places()[a]);
    };
    for (const control of [...sliders, pick, across]) control.addEventListener("input", draw);
    section.hidden = false;
    draw();
  }
}
"""
