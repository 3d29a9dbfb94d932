"""The result tables, declared once: name, type, unit, meaning and null rule of every column.

:func:`frame` builds a table and checks it against its declaration; :func:`read_csv` reads one back; :func:`markdown` renders the
declarations as the reference page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpcsim.base.errors import HpcsimError
from hpcsim.results.columns import Column, Table
from hpcsim.results.columns import count_column as _count
from hpcsim.results.columns import real_column as _real
from hpcsim.results.columns import text_column as _text
from hpcsim.results.fabric import FABRIC_TABLES
from hpcsim.results.failures import FAILURES
from hpcsim.results.node_groups import GROUPS
from hpcsim.results.pipelines import STAGES
from hpcsim.results.planning import PLAN_TABLES
from hpcsim.results.schedules import SCHEDULES
from hpcsim.results.services import SERVICES
from hpcsim.results.standby import STANDBY
from hpcsim.results.studies import STUDIES
from hpcsim.results.waits import WAITS

__all__ = ["TABLES", "Column", "Table", "TableMismatch", "frame", "markdown", "mismatches", "read_csv"]


class TableMismatch(HpcsimError, ValueError):
    """A table differs from its declaration: a mistake in the program that built it, with every difference listed."""


_TRAINING = Table(
    "training",
    "One row per training job: its layout and what came of it.",
    (
        _text("name", "Name of the training job."),
        _text("model", "Model that is trained."),
        _text("group", "Node group it runs on.", null=True),
        _count("devices", "Accelerators it uses."),
        _count("dp", "Data-parallel replicas."),
        _count("tp", "Tensor-parallel devices."),
        _count("pp", "Pipeline stages."),
        _count("vpp", "Model chunks per pipeline stage (interleaving)."),
        _count("cp", "Context-parallel devices."),
        _count("ep", "Expert-parallel devices."),
        _count("micro_batch", "Sequences per micro-batch and replica."),
        _count("zero_stage", "ZeRO stage: what is sharded over the data-parallel replicas (0 nothing … 3 parameters)."),
        _text("recompute", "Which activations are computed again in the backward pass."),
        _count("global_batch", "Sequences (or samples) per step.", null=True),
        _count("sequence", "Tokens per sequence.", unit="tokens", null=True),
        _text("precision", "Number format of the matrix products."),
        _count("steps", "Optimizer steps of the whole job."),
        _real("step_time_s", "s", "Wall-clock time of one step."),
        _real("tokens_per_s", "tokens/s", "Tokens (or samples) trained per second, failures left out.", null=True),
        _real("mfu_frac", "1", "Model FLOP utilisation: model FLOP per step over peak FLOP in the step time.", null=True),
        _real("peak_memory_bytes", "B", "Largest memory use of one device.", null=True),
        _real("memory_capacity_bytes", "B", "Memory of one device.", null=True),
        _count("checkpoints", "Checkpoints written.", null=True),
        _real(
            "checkpoint_interval_s",
            "s",
            "Work between two checkpoints.",
            null=True,
            formula="as given, else √(2·pause / rate of failures without alarm)",
        ),
        _count("failures", "Failures that interrupted the job.", null=True),
        _real("lost_s", "s", "Wall-clock time lost to failures: work done twice, detection, restart.", null=True),
        _real("goodput_frac", "1", "Share of the wall clock that advanced the training.", null=True),
    ),
)

_BREAKDOWN = Table(
    "breakdown",
    "Where the time of one step, one task or a mean request goes.",
    (
        _text("name", "Training job, task or service."),
        _text("term", "Part of the time."),
        _real("seconds", "s", "Time that this part adds."),
        _real("fraction", "1", "Its share; the shares of one name sum to 1."),
    ),
)

_MEMORY = Table(
    "memory",
    "Where the memory of the fullest device goes.",
    (
        _text("name", "Training job."),
        _text("term", "Part of the memory."),
        _real("size_bytes", "B", "Its size on the fullest device."),
    ),
)

_POWER = Table(
    "power",
    "Electrical power, as intervals that tile the horizon.",
    (
        _real("start_s", "s", "Start of the interval."),
        _real("end_s", "s", "End of the interval."),
        _real("compute_w", "W", "Nodes, what work adds above their idle power."),
        _real("idle_w", "W", "Nodes, their idle power."),
        _real("network_w", "W", "Switches and links."),
        _real("storage_w", "W", "Storage systems."),
        _real("cooling_w", "W", "Cooling and power distribution: what PUE adds to the above."),
        _real("total_w", "W", "Sum of the five."),
    ),
)

_ENERGY = Table(
    "energy",
    "Energy and carbon by component; power integrated over time.",
    (
        _text("component", "Part of the facility.", values=("compute", "idle", "network", "storage", "cooling")),
        _real("energy_j", "J", "Energy it used."),
        _real("carbon_kg_co2e", "kg", "Emissions of that energy at the site's carbon intensity.", null=True),
    ),
)

_COSTS = Table(
    "costs",
    "Every item of the bill.",
    (
        _text("item", "What is paid for."),
        _text("group", "Node group, storage tier or other part it belongs to.", null=True),
        _real("quantity", "", "How much of it, in the unit beside."),
        _text("unit", "Unit of the quantity."),
        _real("usd", "USD", "Amount."),
    ),
)

_TASKS = Table(
    "tasks",
    "The five stages of a decomposed task, part by part.",
    (
        _text("name", "Task."),
        _count("part", "Number of the sub-task, from 0; empty for a stage of the whole task.", null=True),
        _text("node", "Node on which it happens.", null=True),
        _real("share_bytes", "B", "Data that this part handles.", null=True),
        _real("start_s", "s", "Start of the stage."),
        _real("end_s", "s", "End of the stage."),
        _text("stage", "Which of the five stages.", values=("split", "partition", "dispatch", "run", "merge")),
    ),
)

_LINKS = Table(
    "links",
    "Links, ports and storage servers that training runs and tasks used, one way each, where several of them ran. Steps count with their mean.",
    (
        _text("link", "From where to where, as the graph names them; cables that traffic is spread over are one link."),
        _text("kind", "Which part of the fabric it belongs to."),
        _real("capacity_bytes_per_s", "B/s", "What it carries."),
        _real("carried_bytes", "B", "What went over it."),
        _real("mean_utilisation_frac", "1", "Carried over what it could have carried between the first submission and the end."),
        _real("peak_utilisation_frac", "1", "Highest share of its capacity between two changes of who uses it."),
    ),
)

_CONTENTION = Table(
    "contention",
    "Who was slowed by whom, and where: a row for each activity of a job, each link, and each other job that used it.",
    (
        _text("name", "The job that was slowed."),
        _text("activity", "What it did.", values=("steps", "checkpoint", "recovery", "dispatch", "merge", "exchange", "run", "stages")),
        _real("undisturbed_s", "s", "What the activity would have taken alone, all times of it together."),
        _real("took_s", "s", "What it took."),
        _text("slowed_by", "The other job."),
        _text("link", "The link that they shared and that bound the slowed one; see the table links."),
        _real("lost_s", "s", "Its part of what was lost."),
        _real(
            "coincident_s", "s", "What the activity would have taken if the others had always sent when it did: the most that it can be."
        ),
    ),
)

_COMPARISON = Table(
    "comparison",
    "Published figures beside the predicted ones.",
    (
        _text("metric", "What is compared."),
        _text("unit", "Unit of both values.", null=True),
        _real("published", "", "Published value, in the unit beside."),
        _real("predicted", "", "Predicted value, in the same unit; empty where hpcsim predicts none.", null=True),
        _real("ratio", "1", "Predicted over published.", null=True),
        _text("source", "Where the published value is from."),
    ),
)

_SOURCES = Table(
    "sources",
    "Every fact that the result rests on, with its source.",
    (
        _text("path", "Place in the scenario that asked for it.", null=True),
        _text("name", "Catalog entry, or what it describes."),
        _text("field", "Which property of it."),
        _text("value", "Value used."),
        _text("unit", "Unit of the value.", null=True),
        _text("source", "Where the value is from."),
        _text(
            "kind",
            "How it came to be known; a remembered value is unverified.",
            values=("read", "remembered", "derived", "measured", "given"),
        ),
    ),
)

_SWEEP = Table("sweep", "One row per combination: the axes first (dotted paths, then the seed), then the summary of each run.", ())

_VERIFY_CASES = Table(
    "verify_cases",
    "Every case of a verification: measured beside predicted.",
    (
        _text("id", "The case's own name, or the number of its row."),
        _text("group", "Source or system that it comes from."),
        _text("label", "What marks it in the pictures: the accelerator, or the collective.", null=True),
        _text("status", "Whether it was predicted.", values=("ok", "refused")),
        _text("reason", "Why it was refused.", null=True),
        _real("measured_s", "s", "Measured time; for schedules the reference's mean bounded slowdown, without a unit.", null=True),
        _real("predicted_s", "s", "Predicted time, or the engine's mean bounded slowdown.", null=True),
        _real("low_s", "s", "Lower end of the 80 % interval.", null=True),
        _real("high_s", "s", "Upper end of the 80 % interval.", null=True),
        *(
            _real(f"{name}_w", "W", f"{text} power; an energy over its duration counts as one.", null=True)
            for name, text in (
                ("measured", "Measured"),
                ("predicted", "Predicted"),
                ("low", "Lower end of the 80 % interval of the"),
                ("high", "Upper end of the 80 % interval of the"),
            )
        ),
        _real("error_frac", "1", "Predicted over measured, less one.", null=True),
        _text("bound_by", "What the step spends most of its time on.", null=True),
        _real("peak_memory_bytes", "B", "Predicted memory of the fullest device.", null=True),
    ),
)

_VERIFY_GROUPS = Table(
    "verify_groups",
    "Scores of a verification by group.",
    (
        _text("group", "Source or system."),
        _count("cases", "Cases of the group."),
        _count("predicted_cases", "Those that were not refused."),
        _real("median_abs_error_frac", "1", "Median of the absolute relative error.", null=True),
        _real("p90_abs_error_frac", "1", "Its 90th percentile, nearest rank.", null=True),
        _real("bias_frac", "1", "Median of the error with its sign: negative where predictions are too short.", null=True),
        _real("interval_coverage_frac", "1", "Share of the measurements inside the 80 % interval.", null=True),
        _real("layout_kendall_tau", "1", "Kendall's τ of the layouts of one job: 1 for the same order.", null=True),
        _count("differing_starts", "Jobs that start at another time than in the reference.", null=True),
    ),
)

_VERIFY_SCALING = Table(
    "verify_scaling",
    "Speed-up of one job from one number of devices to the next, measured and predicted.",
    (
        _text("group", "Source."),
        _text("first", "Case with fewer devices."),
        _text("second", "Case with more."),
        _count("devices_first", "Devices of the first."),
        _count("devices_second", "Devices of the second."),
        _real("measured_ratio", "1", "Sequences per second of the second over those of the first, measured."),
        _real("predicted_ratio", "1", "The same, predicted."),
        _real("error_frac", "1", "Predicted over measured, less one."),
    ),
)

_WHAT_IF = Table(
    "what_if",
    "What a step, or a data pipeline, would take if one resource were twice as good, all else as it is.",
    (
        _text("name", "Training job or pipeline."),
        _text("resource", "What is doubled."),
        _real("step_time_s", "s", "Step time with it; of a pipeline its whole time."),
        _real("speedup_ratio", "1", "Step time as it is over step time with it."),
        _real("saved_s", "s", "Time of a step that it saves."),
        _text("term", "Part of the step that shrinks most; of a pipeline what binds it then.", null=True),
    ),
)

_MEMORY_STAGES = Table(
    "memory_stages",
    "What a device of each pipeline stage holds at most during a step, and when.",
    (
        _text("name", "Training job."),
        _count("stage_number", "Number of the pipeline stage, from 1."),
        _real("stage_layers", "1", "Layers that the stage holds."),
        _real("state_bytes", "B", "Weights, gradients and optimizer state, held all the time."),
        _real("most_bytes", "B", "Most that the device holds, with the activations of micro-batches in flight."),
        _real("most_s", "s", "Time from the step's beginning at which it first holds so much."),
        _text("during", "What the device works on then."),
    ),
)

_FIT = Table(
    "fit",
    "Terms that a calibration fitted.",
    (
        _text("term", "What was fitted."),
        _text("entry", "Catalog entry or software stack that it belongs to."),
        _real("prior", "", "Value before, in the unit beside."),
        _real("fitted", "", "Value after."),
        _text("unit", "Unit of both.", null=True),
        _real("prior_sigma", "1", "Standard deviation of the logarithm that the prior allows."),
        _real("posterior_sigma", "1", "The same after the measurements; equal where they say nothing of the term."),
    ),
)

_FIT_CASES = Table(
    "fit_cases",
    "Every measurement of a calibration beside the model, before and after.",
    (
        _text("id", "The measurement's name, or the number of its row."),
        _real("measured_s", "s", "Measured time."),
        _real("raw_s", "s", "Predicted before the fit."),
        _real("fitted_s", "s", "Predicted with the fitted terms."),
        _real("left_out_s", "s", "Predicted with terms fitted to all other measurements.", null=True),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *SCHEDULES,
        _TRAINING,
        _BREAKDOWN,
        _MEMORY,
        _POWER,
        _ENERGY,
        _COSTS,
        GROUPS,
        *FAILURES,
        _TASKS,
        STAGES,
        _LINKS,
        _CONTENTION,
        _COMPARISON,
        _SOURCES,
        _VERIFY_CASES,
        _VERIFY_GROUPS,
        _VERIFY_SCALING,
        _WHAT_IF,
        _MEMORY_STAGES,
        _FIT,
        _FIT_CASES,
        _SWEEP,
        *STUDIES,
        *WAITS,
        *STANDBY,
        *PLAN_TABLES,
        *FABRIC_TABLES,
        *SERVICES,
    )
}
"""Every result table by name."""


def frame(name: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Build a result table and check it against its declaration.

    Parameters
    ----------
    name : str
        Key of :data:`TABLES`.
    columns : mapping of str to array-like, shape (n,), or scalar
        One entry per declared column, in any order; a scalar holds for every row (there must be an array beside it, else the table
        has one row). A nullable column may be left out; it is then empty.

    Returns
    -------
    DataFrame
        The columns as declared, in the declared order; in a free-form table as given.

    Raises
    ------
    TableMismatch
        Unknown table, missing, surplus or unequally long columns, a wrong type, a null where none may be, a word that is not declared.

    Examples
    --------
    >>> frame("memory", {"name": "bloom", "term": ["weights", "gradients"], "size_bytes": [7.2e9, 7.2e9]}).shape
    (2, 3)
    """
    table = TABLES.get(name)
    if table is None:
        raise TableMismatch(f"there is no result table {name!r}; declared are {', '.join(TABLES)}")
    given = {key: _one_dimensional(value) for key, value in columns.items()}
    lengths = {key: len(value) for key, value in given.items() if value is not None}
    if len(set(lengths.values())) > 1:
        raise TableMismatch(f"{name}: columns of different lengths: {lengths}")
    rows = next(iter(lengths.values()), 1 if columns else 0)
    if table.free:
        return pd.DataFrame({key: columns[key] if value is None else value for key, value in given.items()}, index=pd.RangeIndex(rows))
    problems = [f"surplus column {key}" for key in given if table.column(key) is None]
    built: dict[str, Any] = {}
    for column in table.columns:
        if column.name in given:
            array = given[column.name]
            values = np.full(rows, columns[column.name], dtype=_dtype_of_scalar(columns[column.name])) if array is None else array
            series, problem = _typed(values, column)
            problems += [f"{column.name}: {problem}"] if problem else []
            built[column.name] = series
        elif column.nullable and not column.optional:
            built[column.name] = _typed(np.full(rows, None, dtype=object), column)[0]
        elif not column.optional:
            problems.append(f"missing column {column.name}")
    if problems:
        raise TableMismatch(f"{name}: " + "; ".join(problems))
    return pd.DataFrame(built, index=pd.RangeIndex(rows))


def mismatches(name: str, data: pd.DataFrame) -> list[str]:
    """Return in words every way in which ``data`` differs from the declaration of table ``name``; empty when it fits."""
    table = TABLES.get(name)
    if table is None:
        return [f"there is no result table {name!r}"]
    if table.free:
        return []
    given = [str(key) for key in data.columns]
    wanted = [column.name for column in table.columns if column.name in given or not column.optional]
    if given != wanted:
        return [f"{name}: the columns are {', '.join(given)}, but {', '.join(wanted)} are declared"]
    found = [(key, _difference(data[key], column)) for key in given if (column := table.column(key))]
    return [f"{name}: {key}: {problem}" for key, problem in found if problem]


def read_csv(path: str | Path, name: str) -> pd.DataFrame:
    """Read a table that was written as CSV back as :func:`frame` built it."""
    table = TABLES[name]
    if table.free:
        return pd.read_csv(path)
    text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", lineterminator="\n")
    columns: dict[str, Any] = {}
    for column in table.columns:
        if column.name not in text.columns:
            continue
        words = text[column.name].to_numpy(dtype=object)
        if column.dtype == "str":
            columns[column.name] = words
        elif column.dtype == "bool":
            columns[column.name] = words == "True"
        else:
            kind: type = int if column.dtype == "int64" else float
            columns[column.name] = np.array([kind(word) if word else None for word in words], dtype=object)
    return frame(name, columns)


def markdown() -> str:
    """Return the reference page of all declared tables."""
    lines = [
        "# Result tables",
        "",
        "Generated from the declarations in `hpcsim/results/tables.py`. A run has the tables that apply to it: as `results.jobs`,",
        "`results.power`, … in Python, and as `jobs.csv`, `power.csv`, … in its folder. A cell that is null is an empty field in CSV.",
        "Units are SI; `1` marks a ratio, no unit a name or a count.",
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.meaning]
        if table.free:
            continue
        lines += ["", "| column | type | unit | null | meaning |", "|---|---|---|---|---|"]
        for c in table.columns:
            words = f" One of {', '.join(f'`{word}`' for word in c.values)}." if c.values else ""
            null = "column may be absent" if c.optional else "yes" if c.nullable else "no"
            lines.append(f"| `{c.name}` | {c.dtype} | {c.unit} | {null} | {c.meaning}{words} |")
    return "\n".join(lines) + "\n"


_HELD_AS = {"float64": ("float64",), "int64": ("int64", "Int64"), "str": ("str", "object", "string"), "bool": ("bool", "boolean")}


def _difference(series: pd.Series, column: Column) -> str:
    """Return in words how a finished column differs from its declaration, "" if it does not."""
    if str(series.dtype) not in _HELD_AS[column.dtype]:
        return f"{series.dtype} values where {column.dtype} is declared"
    if column.dtype == "str":
        return _typed_text(series, column)[1]
    return "" if column.nullable or not series.isna().any() else f"{int(series.isna().sum())} null values"


def _one_dimensional(value: Any) -> Any:
    """Return an array of one dimension, or None for a scalar."""
    if value is None or isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        return None
    if isinstance(value, np.ndarray):
        array = value
    elif hasattr(value, "to_numpy"):
        array = value.to_numpy()
    else:
        items = list(value)
        array = np.empty(len(items), dtype=object)
        array[:] = items
    if array.ndim != 1:
        raise TableMismatch(f"a column has one dimension, not {array.ndim}")
    return array


def _dtype_of_scalar(value: Any) -> Any:
    return object if value is None or isinstance(value, str) else np.asarray(value).dtype


_PLAIN: dict[str, set[type]] = {"float64": {float, int, np.float64, np.int64, type(None)}, "int64": {int, np.int64}}


def _plain(values: Any, column: Column) -> Any:
    """Return plain numbers in the declared type; None where that takes a closer look, as for any null in a column that has none."""
    kind = values.dtype.kind
    if column.dtype == "bool":
        return values.copy() if kind == "b" and not column.nullable else None
    if column.dtype == "str" or (column.dtype == "int64" and (column.nullable or kind not in "iO")):
        return None
    if kind == "O":
        items = values.tolist()
        if not set(map(type, items)) <= _PLAIN[column.dtype]:
            return None
        values = [math.nan if item is None else item for item in items]
    elif kind not in "iuf":
        return None
    try:
        array = np.array(values, dtype=column.dtype)
    except OverflowError:
        return None
    return None if column.dtype == "float64" and not column.nullable and np.isnan(array).any() else array


def _typed(values: Any, column: Column) -> tuple[Any, str]:
    """Return the column in its declared type, and what is wrong with it ("" if nothing)."""
    plain = _plain(values, column)
    if plain is not None:
        return plain, ""
    series = pd.Series(values)
    if column.dtype == "str":
        return _typed_text(series, column)
    null = series.isna()
    if null.any() and not column.nullable:
        return series, f"{int(null.sum())} null values"
    if column.dtype == "bool":
        if not all(isinstance(item, (bool, np.bool_)) for item in series[~null]):
            return series, "not all true or false"
        return (series.astype("boolean") if column.nullable else series.astype(bool)), ""
    if any(isinstance(item, (bool, np.bool_, str)) for item in series[~null]) if series.dtype == object else series.dtype.kind not in "iuf":
        return series, f"{series.dtype} values where {column.dtype} is declared"
    if column.dtype == "float64":
        return series.astype("float64"), ""
    known = series[~null]
    try:
        whole = known.astype("int64")
    except (TypeError, ValueError, OverflowError):
        return series, "not all whole numbers"
    if not (whole == known).all():
        return series, "not all whole numbers"
    return (series.astype("Int64") if column.nullable else whole), ""


def _typed_text(series: pd.Series, column: Column) -> tuple[pd.Series, str]:
    try:
        codes, words = pd.factorize(series)  # all that follows looks at each different word once
    except TypeError:  # a list or another thing that has no hash
        return series, "not all text"
    if not all(isinstance(word, str) for word in words):
        return series, "not all text"
    clean = [word.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "") for word in words]
    strange = [word for word in clean if column.values and word not in column.values]
    if strange:
        return series, f"{', '.join(map(repr, strange[:5]))} is none of {', '.join(column.values)}"
    if not column.nullable and (codes < 0).any():
        return series, f"{int((codes < 0).sum())} null values"
    lookup = np.array([*(word if word or not column.nullable else None for word in clean), None], dtype=object)
    if pd.__version__ >= "3":
        return pd.Series(pd.array(lookup, dtype="str").take(codes)), ""
    return pd.Series(lookup[codes], dtype=object), ""
