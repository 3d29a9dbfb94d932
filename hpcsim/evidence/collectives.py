"""Rows of timed collectives: the file format, read with every mistake of form at once."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from hpcsim.base.errors import Problems, problem_kind

__all__ = ["SHIPPED", "CollectiveRow", "read_collectives"]

SHIPPED = Path(__file__).with_name("collectives.csv")
"""The rows that come with the package."""

NO_FILE = problem_kind(
    "timings-missing", "there is no such file of timings", "check the path, or leave --cases out for the shipped evidence"
)
UNREADABLE = problem_kind("timings-unreadable", "the file of timings cannot be read: {why}", "it is CSV with a header line")
NO_COLUMN = problem_kind("timings-column", "the column {name!r} is missing", "needed: {needed}")
BAD_VALUE = problem_kind("timings-value", "this is {value!r}", "{hint_text}")
NO_ROWS = problem_kind("timings-empty", "the file has no rows", "a row is one timed collective")

NEEDED = ("gpus", "per_node", "scale_up", "collective", "bytes", "time_us")
_COUNTS = ("gpus", "per_node", "bytes")
_POSITIVE_OR_EMPTY = ("scale_up_gbyte_s_one_way", "domain", "scale_out_gbit_s_per_node")


@dataclass(frozen=True)
class CollectiveRow:
    """One timed collective.

    Attributes
    ----------
    id, system, accelerator : str
    gpus, per_node : int
    domain : int
        Devices that share the scale-up link; 0 where it is not said.
    scale_up, scale_out : str
        Kinds of link; empty where it is not said.
    scale_up_bytes_per_s, scale_out_bytes_per_s : float
        One way per device, one way per node; 0 where it is not said.
    in_switch : str
        ``nvls``, ``nvls-tree``, ``nvls-off``, or empty for the library's own choice.
    condition : str
    collective : str
        With hyphens, as the cost formulas name it.
    size_bytes, measured_s : float
    """

    id: str
    system: str
    accelerator: str
    gpus: int
    per_node: int
    domain: int
    scale_up: str
    scale_out: str
    scale_up_bytes_per_s: float
    scale_out_bytes_per_s: float
    in_switch: str
    condition: str
    collective: str
    size_bytes: float
    measured_s: float


_NAMES = {
    "alltoall": "all-to-all", "alltoallv": "all-to-all", "allreduce": "all-reduce", "allgather": "all-gather", "allgatherv": "all-gather",
    "reducescatter": "reduce-scatter", "reducescatterblock": "reduce-scatter", "bcast": "broadcast", "sendrecv": "send",
}  # fmt: skip


def _collective(text: str) -> str:
    name = text.strip().lower().replace("_", "-")
    return _NAMES.get(name.replace("-", ""), name)


def _number(text: str | None) -> float:
    return float(text) if text and text.strip() else 0.0


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines = [dict(line) for line in reader]
            header = reader.fieldnames or []
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or "it is no CSV text") from None
    problems = Problems()
    for column in NEEDED:
        if column not in header:
            problems.add(NO_COLUMN(file=str(path), name=column, needed=", ".join(NEEDED)))
    problems.raise_if_any()
    if not lines:
        raise NO_ROWS.error(file=str(path))
    return lines


def read_collectives(path: str | Path | None = None) -> list[CollectiveRow]:
    """Return the rows of a file of timed collectives, the shipped ones without it.

    Raises
    ------
    InputError
        No such file, missing columns, or values that are no numbers; every one with its line.
    """
    path = Path(path) if path is not None else SHIPPED
    problems = Problems()
    rows = []
    for place, line in enumerate(_lines(path)):
        before = len(problems.items)
        for column in (*_COUNTS, "time_us", *_POSITIVE_OR_EMPTY):
            try:
                value = _number(line.get(column))
            except ValueError:
                value = math.nan
            needed = column in (*_COUNTS, "time_us")
            fine = value > 0 and math.isfinite(value) if needed else value >= 0 and math.isfinite(value)
            if not fine:
                hint = "a number above zero is needed" if needed else "a number, or empty where it is not known"
                problem = BAD_VALUE(file=str(path), line=place + 2, path=column, value=line.get(column), hint_text=hint)
                problems.add(problem)
        if len(problems.items) == before:
            rows.append(_row(str(line.get("id") or place), line))
    problems.raise_if_any()
    return rows


def _row(name: str, line: dict[str, str]) -> CollectiveRow:
    return CollectiveRow(
        id=name,
        system=line.get("system") or "",
        accelerator=line.get("accelerator") or "",
        gpus=int(_number(line["gpus"])),
        per_node=int(_number(line["per_node"])),
        domain=int(_number(line.get("domain"))),
        scale_up=(line["scale_up"] or "").strip(),
        scale_out=(line.get("scale_out") or "").strip(),
        scale_up_bytes_per_s=_number(line.get("scale_up_gbyte_s_one_way")) * 1e9,
        scale_out_bytes_per_s=_number(line.get("scale_out_gbit_s_per_node")) / 8.0 * 1e9,
        in_switch=(line.get("in_switch_reduction") or "").strip(),
        condition=(line.get("condition") or "").strip(),
        collective=_collective(line["collective"]),
        size_bytes=_number(line["bytes"]),
        measured_s=_number(line["time_us"]) * 1e-6,
    )
