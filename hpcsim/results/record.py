"""The result of a run: summary, ranges, tables, notes and provenance, and how it is written."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import percent
from hpcsim.results.quantities import SUMMARY, quantity
from hpcsim.results.store import Writer, digest, write_whole
from hpcsim.results.tables import TableMismatch, mismatches

__all__ = ["Results"]

NO_PARQUET = problem_kind("no-parquet", "writing parquet needs pyarrow", "pip install 'hpcsim-planner[parquet]'")


@dataclass(frozen=True, eq=False)
class Results:
    """What a run answers.

    A table is also an attribute: ``results.jobs`` is ``results.tables["jobs"]``.

    Attributes
    ----------
    name : str
        Name of the scenario.
    question : str
        What the scenario asks.
    answer : str
        The answer in one sentence.
    kind : str
        ``"simulate"``, ``"estimate"``, ``"replay"`` or ``"sweep"``.
    summary : dict of str to number or str
        Figures by key; the unit is the key's suffix.
    ranges : dict of str to (float, float)
        Interval of the summary keys that carry one.
    tables : dict of str to DataFrame
        Declared tables by name.
    notes : list of str
        Assumptions and caveats for the reader.
    provenance : dict
        See :func:`hpcsim.results.provenance.provenance`.
    coverage_frac : float
        What the ranges are meant to hold: 0.8, or 0.9 where they go from the 5th to the 95th percentile.

    Raises
    ------
    TableMismatch
        A table differs from its declaration, or a range belongs to no summary key or is upside down.
    """

    name: str
    question: str
    answer: str
    kind: str
    summary: dict[str, float | int | str]
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    coverage_frac: float = 0.8

    @property
    def coverage(self) -> str:
        """What the ranges are, in words: ``80 % range``."""
        return f"{percent(self.coverage_frac)} range"

    def __post_init__(self) -> None:
        wrong = [text for name, table in self.tables.items() for text in mismatches(name, table)]
        wrong += [f"the range of {key} belongs to no figure" for key in self.ranges if key not in self.summary]
        wrong += [f"the range of {key} is upside down: {low} … {high}" for key, (low, high) in self.ranges.items() if low > high]
        if wrong:
            raise TableMismatch("; ".join(wrong))

    def __getattr__(self, name: str) -> pd.DataFrame:
        tables = self.__dict__.get("tables", {})
        if name in tables:
            return tables[name]
        have = ", ".join(tables) or "none"
        raise AttributeError(f"these results have no {name!r}; their tables: {have}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.tables})

    def figures(self, *, timings: bool = True) -> dict[str, float | int | str]:
        """Return the summary in the declared order, keys that are not declared after them.

        ``timings=False`` leaves out how long hpcsim itself took, which differs from run to run.
        """
        ordered = [key for key in SUMMARY if key in self.summary] + [key for key in self.summary if key not in SUMMARY]
        return {key: self.summary[key] for key in ordered if timings or not quantity(key).machine}

    def headline(self, *, timings: bool = True) -> dict[str, float | int | str]:
        """Return the figures to open with: the summary, without what stands side by side where several policies ran."""
        policies = self.tables.get("policies")
        beside = set(policies.columns) if policies is not None and len(policies) > 1 else set()
        return {key: value for key, value in self.figures(timings=timings).items() if key not in beside}

    def document(self, *, timings: bool = True) -> dict[str, Any]:
        """Return what ``summary.json`` holds, as plain data; NaN and infinities become None.

        A replay has its policies under ``policies``, by name.
        """
        figures = self.figures(timings=timings)
        document: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "question": self.question,
            "answer": self.answer,
            "summary": {key: plain(value) for key, value in figures.items()},
            "ranges": {key: [plain(end) for end in self.ranges[key]] for key in figures if key in self.ranges},
            "units": {key: quantity(key).unit for key in figures},
        }
        if "policies" in self.tables:
            rows = self.tables["policies"].to_dict("records")
            hidden = () if timings else tuple(key for key in self.tables["policies"].columns if quantity(key).machine)
            document["policies"] = {
                row["policy"]: {str(key): plain(value) for key, value in row.items() if key != "policy" and key not in hidden}
                for row in rows
            }
        return document | {"notes": list(self.notes)}

    def files(self, *, parquet: bool = False, timings: bool = True) -> dict[str, bytes | Writer]:
        """Return the files of :meth:`write` by name: their content, or what writes it."""
        if parquet and importlib.util.find_spec("pyarrow") is None:
            raise NO_PARQUET.error()
        files: dict[str, bytes | Writer] = {"summary.json": encode(self.document(timings=timings))}
        for name, table in self.tables.items():
            if not timings:
                table = table.drop(columns=[key for key in table.columns if quantity(str(key)).machine])
            files[f"{name}.csv"] = _csv_writer(table)
            if parquet:
                files[f"{name}.parquet"] = _parquet_writer(table)
        return files

    def write(self, folder: str | Path, *, parquet: bool = False, timings: bool = True) -> list[Path]:
        """Write ``summary.json``, one CSV file per table and ``provenance.json`` into ``folder``, whole or not at all.

        Parameters
        ----------
        folder : path
            Made where it does not exist. Files of an earlier result that this one lacks are removed if they are unchanged.
        parquet : bool
            Write the tables as parquet as well; needs the extra ``parquet``.
        timings : bool
            Whether to write how long hpcsim itself took; without it equal runs write equal bytes.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        InputError
            The folder cannot be written, or pyarrow is missing.
        """
        return self.write_with({}, folder, parquet=parquet, timings=timings)

    def write_with(
        self, others: Mapping[str, bytes | Writer], folder: str | Path, *, parquet: bool = False, timings: bool = True
    ) -> list[Path]:
        """Write as :meth:`write` does, with ``others`` among the files."""
        files = {**self.files(parquet=parquet, timings=timings), **others}
        hashes: dict[str, str] = {}

        def hashing(name: str, content: bytes | Writer) -> Writer:
            def write(path: Path) -> None:
                if isinstance(content, bytes):
                    path.write_bytes(content)
                else:
                    content(path)
                hashes[name] = digest(path)

            return write

        staged: dict[str, bytes | Writer] = {name: hashing(name, content) for name, content in files.items()}
        staged["provenance.json"] = lambda path: _write_bytes(path, encode({**self.provenance, "files": hashes}))
        return write_whole(folder, staged, remove=_earlier_files(Path(folder)))

    def __repr__(self) -> str:
        return f"Results({self.name!r}, {self.kind}: {self.answer} Tables: {', '.join(self.tables) or 'none'})"

    def _repr_html_(self) -> str:
        from hpcsim.results.notebook import notebook

        return notebook(self)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN, infinities and nulls as None, numpy scalars as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (bool, int, str)) else str(value)


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a JSON document as bytes: two blanks a level, keys in the order given, a line end at the end."""
    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _csv_writer(table: pd.DataFrame) -> Writer:
    return lambda path: table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8", errors="backslashreplace")


def _parquet_writer(table: pd.DataFrame) -> Writer:
    return lambda path: table.to_parquet(path, engine="pyarrow", index=False)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _earlier_files(folder: Path) -> dict[str, str]:
    """Return the files that the result now in ``folder`` consists of, with their hashes."""
    try:
        files = json.loads((folder / "provenance.json").read_text("utf-8")).get("files", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return {str(name): str(sha256) for name, sha256 in files.items()} if isinstance(files, dict) else {}
