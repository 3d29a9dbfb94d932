"""Hourly carbon intensity and electricity price of a site, from a CSV file."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.cost.hourly import HOUR_S, hourly_integral
from hpcsim.scenario.load import Scenario
from hpcsim.scenario.source import read_text

__all__ = ["HOUR_S", "Hours", "hours_of", "read_hours"]

NO_HOURS = problem_kind(
    "hourly-columns", "the hourly file has neither carbon nor price; its columns: {columns}", "carbon_g_per_kwh, usd_per_kwh, or both"
)
BAD_HOUR = problem_kind("hourly-value", "{value!r} is no {what}", "a number that is not negative")
FEW_HOURS = problem_kind("hourly-rows", "the hourly file has {rows} rows", "at least the 24 hours of a day")

CARBON = ("carbon_g_per_kwh", "carbonIntensity", "carbon_intensity_gco2eq_per_kwh", "Carbon intensity gCO₂eq/kWh (direct)")
PRICE = ("usd_per_kwh", "price_usd_per_kwh", "electricity_usd_per_kwh")
PRICE_MWH = ("usd_per_mwh", "price_usd_per_mwh", "lmp_usd_per_mwh")


@dataclass(frozen=True)
class Hours:
    """A repeating series of hours.

    Attributes
    ----------
    carbon_kg_co2e_per_j, usd_per_j : float array, shape (n,), or None
    """

    carbon_kg_co2e_per_j: npt.NDArray[np.float64] | None
    usd_per_j: npt.NDArray[np.float64] | None

    @staticmethod
    def integral(
        series: npt.NDArray[np.float64], start_s: npt.NDArray[np.float64], end_s: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the integral of a repeating hourly series over each stretch, exactly: ∫ s(t) dt, with s constant in an hour.

        Second 0 of the run is the beginning of the series.
        """
        return hourly_integral(series, start_s, end_s)

    @property
    def mean_carbon(self) -> float | None:
        """Mean intensity [kg/J]."""
        return None if self.carbon_kg_co2e_per_j is None else float(self.carbon_kg_co2e_per_j.mean())

    @property
    def mean_price(self) -> float | None:
        """Mean price [USD/J]."""
        return None if self.usd_per_j is None else float(self.usd_per_j.mean())


def read_hours(path: str | Path, *, name: str = "") -> Hours:
    """Read a CSV file with a row for each hour: ``carbon_g_per_kwh``, ``usd_per_kwh`` (or ``usd_per_mwh``), any other columns beside.

    Lines that begin with ``#`` are comments. The series is taken to repeat.

    Raises
    ------
    InputError
        Unreadable, no such column, values that are no numbers – all at once with their lines.
    """
    shown = name or str(path)
    lines = [(i, line) for i, line in enumerate(read_text(Path(path), shown).splitlines(), 1) if line.strip() and not line.startswith("#")]
    reader = csv.DictReader(io.StringIO("\n".join(line for _, line in lines)))
    heads = reader.fieldnames or ()
    columns = {
        key: (next((n for n in names if n in heads), None), factor)
        for key, names, factor in (("carbon", CARBON, 1e-3 / 3.6e6), ("price", PRICE, 1 / 3.6e6), ("price per MWh", PRICE_MWH, 1 / 3.6e9))
    }
    columns = {key: (head, factor) for key, (head, factor) in columns.items() if head}
    if not columns:
        raise NO_HOURS.error(file=shown, columns=", ".join(heads) or "none")
    problems = Problems()
    series: dict[str, list[float]] = {key: [] for key in columns}
    for (line, _), row in zip(lines[1:], reader):
        for key, (head, factor) in columns.items():
            text = (row.get(str(head)) or "").strip()
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value >= 0):
                problems.add(BAD_HOUR(file=shown, line=line, column=1, value=text, what=f"{key} of an hour"))
            series[key].append(value * factor)
    problems.raise_if_any()
    rows = len(next(iter(series.values())))
    if rows < 24:
        raise FEW_HOURS.error(file=shown, rows=rows)
    arrays = {key: np.array(values) for key, values in series.items()}
    return Hours(arrays.get("carbon"), arrays.get("price", arrays.get("price per MWh")))


def hours_of(scenario: Scenario) -> Hours | None:
    """Return the hourly series of a scenario's site, None where it names no file.

    Raises
    ------
    InputError
        As :func:`read_hours`, under the key of the site.
    """
    name = scenario.cluster.site.hourly
    if name is None:
        return None
    try:
        return read_hours(scenario.folder / name, name=name)
    except InputError as error:
        raise InputError([problem.located(path="cluster.site.hourly") for problem in error.problems]) from None
