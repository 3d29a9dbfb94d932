"""Jobs that may change their size: a law of speed for a whole log, or for the jobs of one by its columns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.rng import stream
from hpcsim.cost.speedup import AmdahlLaw, DowneyLaw, SpeedLaw, TableLaw
from hpcsim.workload.jobs import Floats, Integers, JobTable

__all__ = ["ELASTIC", "Elasticity", "elastic_jobs", "laws_of_columns", "parse_elasticity"]

BAD_TEXT = problem_kind(
    "elastic-form",
    "{text!r} declares no elastic jobs: {why}",
    "for example 'downey:parallelism=2,variance=0.5,least=0.25,most=4', 'amdahl:serial=0.05' or 'table:1=1,2=1.9,4=3.5'",
)
BAD_VALUE = problem_kind("elastic-value", "{name} of the elastic jobs is {value!r}; it must be {bound}", "")
NO_TABLE = problem_kind(
    "elastic-table", "the law 'table' needs a table of speeds", "processors and their speed, such as 1: 1, 2: 1.9, 4: 3.5"
)

ELASTIC = ("least", "most", "serial", "parallelism", "variance")
"""Columns of a log that tell how a job may change its size."""
LAWS = ("amdahl", "downey", "table")


@dataclass(frozen=True, slots=True)
class Elasticity:
    """Which jobs of a log may change their size, from what to what, and how fast they are then.

    Attributes
    ----------
    law : {"amdahl", "downey", "table"}
        The law of speed. A job's run time in the log is that on the processors that it asks for.
    serial : float
        Amdahl: the serial share.
    parallelism : float
        Downey: the average parallelism, over the processors that a job asks for.
    variance : float
        Downey: the variance in it.
    table : tuple of (processors, speed)
        Speeds, in any unit; jobs whose size is beyond its ends stay as they are.
    least, most : float
        Fewest and most processors, over those that a job asks for; at most 1, at least 1.
    part : float
        Part of the jobs, drawn at random, that may change their size.
    """

    law: Literal["amdahl", "downey", "table"] = "downey"
    serial: float = 0.05
    parallelism: float = 2.0
    variance: float = 1.0
    table: tuple[tuple[float, float], ...] = ()
    least: float = 0.25
    most: float = 4.0
    part: float = 1.0

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise BAD_VALUE.error(path="elastic.law", name="law", value=self.law, bound=", ".join(LAWS))
        for name, low, high in (
            ("serial", 0.0, 1.0),
            ("parallelism", 1e-3, 1e9),
            ("variance", 0.0, 1e9),
            ("least", 0.0, 1.0),
            ("most", 1.0, 1e9),
            ("part", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BAD_VALUE.error(path=f"elastic.{name}", name=name, value=value, bound=f"from {low:g} to {high:g}")
        if self.law == "table":
            if not self.table:
                raise NO_TABLE.error(path="elastic.table")
            self.of(1)

    def of(self, processors: int) -> SpeedLaw:
        """Return the law of a job that asks for so many processors."""
        if self.law == "amdahl":
            return AmdahlLaw(self.serial)
        if self.law == "downey":
            return DowneyLaw(max(1.0, self.parallelism * processors), self.variance)
        sizes, speeds = zip(*self.table, strict=True)
        return TableLaw(tuple(map(float, sizes)), tuple(map(float, speeds)))


def parse_elasticity(text: str) -> Elasticity:
    """Return what a text such as ``downey:parallelism=2,variance=0.5,most=4`` declares.

    Raises
    ------
    InputError
        No such law, no such option, or a value out of range.

    Examples
    --------
    >>> parse_elasticity("amdahl:serial=0.1,most=8").most
    8.0
    >>> parse_elasticity("table:1=1,4=3.5,least=0.5").table
    ((1.0, 1.0), (4.0, 3.5))
    """
    law, _, rest = text.partition(":")
    known = {field.name for field in dataclasses.fields(Elasticity)} - {"law", "table"}
    if law.strip() not in LAWS:
        raise BAD_TEXT.error(path="elastic", text=text, why=f"{law.strip()!r} is no law; known: {', '.join(LAWS)}")
    options: dict[str, float] = {}
    table: dict[float, float] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        try:
            number, size = float(value), math.nan if key in known else float(key)
        except ValueError:
            why = f"{part!r} is not of the form KEY=NUMBER" if not equals or key in known else f"there is no option {key!r}"
            raise BAD_TEXT.error(path="elastic", text=text, why=why) from None
        if key in known:
            options[key] = number
        else:
            table[size] = number
    if table and law.strip() != "table":
        raise BAD_TEXT.error(path="elastic", text=text, why="only the law 'table' takes a table")
    return Elasticity(law.strip(), table=tuple(sorted(table.items())), **options)  # type: ignore[arg-type]


def _ranges(laws: Mapping[int, SpeedLaw], size: Integers) -> tuple[Floats, Floats]:
    """Return the ends of the law of each job, by its size."""
    ends = {number: law.range() for number, law in laws.items()}
    low, high = np.array([ends[number] for number in size.tolist()], dtype=np.float64).reshape(-1, 2).T
    return low, high


def elastic_jobs(jobs: JobTable, elasticity: Elasticity, *, capacity: int, seed: int = 0) -> JobTable:
    """Return the jobs with sizes that they may change; those whose columns say so already keep their own.

    Parameters
    ----------
    jobs : JobTable
        The jobs.
    elasticity : Elasticity
        Which, from what to what, by which law.
    capacity : int
        Processors of the machine: the most that any job gets.
    seed : int
        Of the draw, where only a part of the jobs is elastic.

    Examples
    --------
    >>> jobs = JobTable.of([0, 0], [10, 10], [2, 8])
    >>> table = elastic_jobs(jobs, Elasticity("amdahl", least=0.5, most=4), capacity=16)
    >>> table.least.tolist(), table.most.tolist(), table.law.tolist()
    ([1, 4], [8, 16], [0, 0])
    """
    size = jobs.processors
    by_size = {number: elasticity.of(number) for number in np.unique(size).tolist()}
    laws = list(dict.fromkeys([*jobs.laws, *by_size.values()]))
    index = {law: at for at, law in enumerate(laws)}
    low, high = _ranges(by_size, size)
    least = np.maximum(np.ceil(elasticity.least * size), np.maximum(1, np.ceil(low)))
    most = np.minimum(np.floor(elasticity.most * size), np.minimum(capacity, high))
    chosen = (jobs.filled("law") < 0) & (least <= size) & (size <= most) & (least < most)
    if elasticity.part < 1.0:
        chosen &= stream(seed, "workload", "elastic").random(len(jobs)) < elasticity.part
    of_job = np.array([index[by_size[number]] for number in size.tolist()], dtype=np.int64)
    return dataclasses.replace(
        jobs,
        least=np.where(chosen, least, jobs.filled("least")).astype(np.int64),
        most=np.where(chosen, most, jobs.filled("most")).astype(np.int64),
        law=np.where(chosen, of_job, jobs.filled("law")),
        laws=tuple(laws),
    )


def laws_of_columns(size: Integers, columns: Mapping[str, Floats]) -> dict[str, Any]:
    """Return the columns of a job table from those of a log: fewest and most processors, and the parameters of a law.

    Parameters
    ----------
    size : int64 array, shape (jobs,)
        Processors of each job.
    columns : mapping of str to float64 array, shape (jobs,)
        Any of ``least``, ``most``, ``serial`` (Amdahl), ``parallelism`` and ``variance`` (Downey); NaN where a job has none. A job with a fewest or a
        most and neither parameter is as fast as it has processors.

    Returns
    -------
    dict
        ``least``, ``most``, ``law``, ``laws``; nothing where no job may change its size.
    """
    missing = np.full(len(size), np.nan)
    least, most, serial, parallelism, variance = (
        columns.get(name, missing) for name in ("least", "most", "serial", "parallelism", "variance")
    )
    elastic = ~(np.isnan(least) & np.isnan(most))
    if not elastic.any():
        return {}
    law = np.full(len(size), -1, dtype=np.int64)
    numbers: dict[SpeedLaw, int] = {}
    for row in np.flatnonzero(elastic).tolist():
        a, s = float(parallelism[row]), float(serial[row])
        one: SpeedLaw
        if not math.isnan(a):
            one = DowneyLaw(max(1.0, a), 0.0 if math.isnan(variance[row]) else max(0.0, float(variance[row])))
        else:
            one = AmdahlLaw(0.0 if math.isnan(s) else min(1.0, max(0.0, s)))
        law[row] = numbers.setdefault(one, len(numbers))
    fewest = np.where(elastic, np.clip(np.nan_to_num(least, nan=np.inf), 1, size), -1).astype(np.int64)
    largest = np.where(elastic, np.maximum(np.nan_to_num(most, nan=0.0), size), -1).astype(np.int64)
    return {"least": fewest, "most": largest, "law": law, "laws": tuple(numbers)}
