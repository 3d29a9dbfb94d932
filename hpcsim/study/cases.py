"""The step times of published training cases: every way to read a case evaluated, the first that fits taken.

How a case is read is told in :mod:`hpcsim.study.reading`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.compute import PRECISIONS, Device
from hpcsim.cost.models import Model
from hpcsim.cost.parallelism import Layout
from hpcsim.cost.parameters import DEFAULTS, Parameters
from hpcsim.cost.software import Software
from hpcsim.cost.training import StepCost, step
from hpcsim.study.reading import Reader, Reading, read_all

__all__ = ["Prediction", "predict"]

_SLACK = 1.03
"""What may be missing for a layout to count as fitting: the memory model is not better than that."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one case: seconds with their 80 % interval, or the reason for none."""

    predicted_s: float = math.nan
    low_s: float = math.nan
    high_s: float = math.nan
    bound_by: str = ""
    peak_memory_bytes: float = math.nan
    fits: bool = False
    terms: Mapping[str, float] | None = None
    refused: str = ""


def _column(values: Sequence[Any]) -> Any:
    return np.array(values)


def _stacked(kind: type, objects: Sequence[Any], skip: tuple[str, ...] = ("name", "notes", "eager")) -> Any:
    """Return one object of ``kind`` whose fields are arrays of the objects' fields."""
    names = [f.name for f in fields(kind) if f.name not in skip]
    return kind(**{name: _column([getattr(o, name) for o in objects]) for name in names})


def _evaluate(rows: Sequence[Reading], parameters: Parameters) -> StepCost:
    first = rows[0]
    keys = sorted({key for row in rows for key in row.network})
    blank = {
        "bias": True,
        "tied": True,
        "norm_vectors": 2,
        "causal": True,
        "logit_frac": 1.0,
        "trainable_frac": 1.0,
        "window_frac": 1.0,
        "imbalance": 1.0,
    }
    model = Model(**{key: _column([row.network.get(key, blank.get(key, 0)) for row in rows]) for key in keys})
    wanted = {PRECISIONS[first.precision].matmul, PRECISIONS[first.precision].attention}
    peak = {k: _column([row.device["peak"][k] for row in rows]) for k in sorted(wanted) if all(k in row.device["peak"] for row in rows)}
    sustained = {k: _column([_sustained(row.device, k, parameters) for row in rows]) for k in peak}
    device = Device(
        name="cases",
        category=first.device["category"],
        peak_flop_per_s=peak,
        memory_bytes=_column([row.device["memory_bytes"] for row in rows]),
        memory_bytes_per_s=_column([row.device["memory_bytes_per_s"] for row in rows]),
        sustained_flop_per_s=sustained,
        compute_units=_column([row.device["compute_units"] for row in rows]),
        attention_frac=_ATTENTION[first.device["category"]](parameters) if first.device["category"] in _ATTENTION else None,
        year=_column([row.device["year"] for row in rows]),
        doubt_sigma=_column([row.device["doubt_sigma"] for row in rows]),
    )
    fabric = Fabric(
        scale_up=_stacked(Link, [row.fabric.scale_up for row in rows]),
        scale_out=_stacked(Link, [row.fabric.scale_out for row in rows]),
        domain=_column([row.fabric.domain for row in rows]),
        oversubscription=_column([row.fabric.oversubscription for row in rows]),
        torus_axes=first.fabric.torus_axes,
        host_bytes_per_s=_column([row.fabric.host_bytes_per_s for row in rows]),
    )
    layout = Layout(**{key: _column([row.layout[key] for row in rows]) for key in first.layout})
    stack = _stacked(Software, [row.stack for row in rows])
    return step(
        model,
        device,
        fabric,
        layout,
        global_batch=_column([row.batch for row in rows]),
        sequence=_column([row.sequence for row in rows]),
        precision=first.precision,
        software=stack,
        check=False,
    )


_ATTENTION: Mapping[str, Callable[[Parameters], float]] = {"gpu": lambda p: p.gpu_attention_frac, "tpu": lambda p: p.tpu_attention_frac}


def _sustained(device: Mapping[str, Any], key: str, parameters: Parameters) -> float:
    share = parameters.tpu_matmul_frac if device["category"] == "tpu" else None
    one = Device("", device["category"], device["peak"], 1.0, 1.0, device["sustained"], matmul_frac=share)
    return float(one.sustained(key))


def predict(cases: Sequence[Mapping[str, Any]], *, catalog: Catalog, parameters: Parameters = DEFAULTS) -> list[Prediction]:
    """Predict the step time of every case.

    Parameters
    ----------
    cases : sequence of mappings
        As :func:`hpcsim.evidence.training.read_cases` returns them.
    catalog : Catalog
        Where accelerators are looked up.
    parameters : Parameters
        Tunable terms of the step model.

    Returns
    -------
    list of Prediction
        In the order of the cases.

    Notes
    -----
    Every layout that a case may mean is a row; the rows of one precision and kind of device are evaluated in one call. Of a case's
    rows the least recomputation and sharding that fits wins, and of those the fastest micro-batch.
    """
    answers = [Prediction(refused="not evaluated")] * len(cases)
    rows, refused = read_all(cases, Reader(catalog, parameters))
    for index, why in refused.items():
        answers[index] = Prediction(refused=why)
    batches: dict[tuple[Any, ...], list[Reading]] = {}
    for row in rows:
        key = (row.precision, row.device["category"], row.fabric.torus_axes, "experts" in row.network, "kv_rank" in row.network)
        batches.setdefault(key, []).append(row)
    best: dict[int, tuple[Any, ...]] = {}
    for batch in batches.values():
        cost = _evaluate(batch, parameters)
        time = np.broadcast_to(cost.step_time_s, len(batch))
        fits = np.broadcast_to(cost.peak_memory_bytes <= _SLACK * np.asarray(cost.memory_capacity_bytes), len(batch))
        peak = np.broadcast_to(cost.peak_memory_bytes, len(batch))
        for i, row in enumerate(batch):
            order = (not fits[i], row.rank if fits[i] else (0, 0), float(time[i]) if fits[i] else float(peak[i]))
            if row.case not in best or order < best[row.case][0]:
                best[row.case] = (order, cost, i)
    for case, (_, cost, i) in best.items():
        answers[case] = Prediction(
            predicted_s=_at(cost.step_time_s, i),
            low_s=_at(cost.low_s, i),
            high_s=_at(cost.high_s, i),
            bound_by=max(cost.activity, key=lambda name: _at(cost.activity[name], i)),
            peak_memory_bytes=_at(cost.peak_memory_bytes, i),
            fits=bool(np.asarray(cost.fits).reshape(-1)[i if np.ndim(cost.fits) else 0]),
            terms={name: _at(value, i) for name, value in cost.terms.items()},
        )
    return answers


def _at(values: Any, index: int) -> float:
    array = np.asarray(values)
    return float(array[index] if array.ndim else array)
