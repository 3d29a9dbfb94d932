"""Dates of job logs as seconds of the epoch: with and without zones, with what daylight saving does to them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Floats
from hpcsim.workload.readers.rows import Rows

__all__ = ["check_zone", "iso", "moments"]

BAD_ZONE = problem_kind(
    "time-zone-unknown", "no time zone is called {zone!r}", "a name such as Europe/Berlin or UTC, or an offset such as +02:00"
)

_OFFSET = re.compile(r"[+-]\d{2}:?\d{2}")
_LATEST_S = 253402300799.0
"""End of the year 9999."""


def check_zone(zone: str) -> str:
    """Return a zone's name.

    Raises
    ------
    InputError
        There is no such zone.
    """
    import zoneinfo

    if _OFFSET.fullmatch(zone):
        return zone
    try:
        zoneinfo.ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BAD_ZONE.error(path="zone", zone=zone) from None
    return zone


def _offset_s(text: str) -> float:
    digits = text.replace(":", "")
    return (-1 if digits[0] == "-" else 1) * (int(digits[1:3]) * 3600.0 + int(digits[3:5]) * 60.0)


def _seconds(stamps: Any) -> Floats:
    """Return seconds of the epoch of datetimes without a zone; NaN where there is none."""
    values = np.asarray(stamps, dtype="datetime64[us]")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def moments(rows: Rows, words: Any, *, zone: str = "UTC", what: str = "time") -> Floats:
    """Return seconds of the epoch, shape (rows,); NaN where there is no date.

    ISO dates with ``T`` or a blank, with or without an offset, and plain seconds of the epoch. A date without an offset is one of ``zone``;
    what the clocks skip is read as an hour later, what they show twice as the first of both, and both are counted, as are dates without an
    offset among such that have one.

    Parameters
    ----------
    rows : Rows
        Takes the findings.
    words : array of str, shape (rows,)
    zone : str
        Name of a time zone, or an offset.
    what : str
        What the dates are of, for the findings.
    """
    import pandas as pd

    codes, different = pd.factorize(np.asarray(words, dtype=object))
    text = pd.Series(different, dtype=str).str.strip()
    plain = pd.to_numeric(text, errors="coerce")
    parts = text.str.extract(r"^(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?) ?(Z|UTC|GMT|[+-]\d{2}:?\d{2})?$")
    naive = pd.to_datetime(parts[0], format="ISO8601", errors="coerce")
    told = parts[1].notna().to_numpy()
    wall = _seconds(naive.to_numpy())
    offset = np.array([0.0 if mark in ("Z", "UTC", "GMT") else _offset_s(mark) if isinstance(mark, str) else 0.0 for mark in parts[1]])
    seconds = wall - offset if len(wall) else wall
    local = ~told & ~np.isnan(wall)
    skipped = twice = np.zeros(len(text), dtype=np.bool_)
    if local.any():
        seconds = seconds.copy()
        seconds[local], skip, double = _localised(naive[local], zone)
        skipped, twice = skipped.copy(), twice.copy()
        skipped[local], twice[local] = skip, double
    numeric = plain.to_numpy(dtype=np.float64)
    seconds = np.where(np.isnan(numeric), seconds, np.where((numeric > 0) & (numeric <= _LATEST_S), numeric, np.nan))
    none = codes < 0

    def of(flags: Any) -> Any:
        return np.where(none, False, np.asarray(flags)[codes]) if len(text) else np.zeros(len(codes), dtype=np.bool_)

    rows.note(of(skipped), f"{what} that the clocks of {zone} skip: read as an hour later", "repaired")
    rows.note(of(twice), f"{what} that the clocks of {zone} show twice: the first is taken", "repaired")
    if told.any() and local.any():
        rows.note(of(local), f"{what} without a zone beside others with one: read as of {zone}", "kept")
    return np.where(none, np.nan, seconds[codes]) if len(text) else np.full(len(codes), np.nan)


def _localised(naive: Any, zone: str) -> tuple[Floats, Any, Any]:
    """Return seconds of the epoch of wall-clock times in a zone, and which of them do not exist or exist twice."""
    if zone in ("UTC", "GMT", "Z"):
        return _seconds(naive.to_numpy()), False, False
    if _OFFSET.fullmatch(zone):
        return _seconds(naive.to_numpy()) - _offset_s(zone), False, False
    import pandas as pd

    first = np.ones(len(naive), dtype=bool)
    exact = naive.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    exists = naive.dt.tz_localize(zone, ambiguous=first, nonexistent="NaT")
    whole = naive.dt.tz_localize(zone, ambiguous=first, nonexistent=pd.Timedelta(hours=1))
    utc = whole.dt.tz_convert("UTC").dt.tz_localize(None)
    skipped = exists.isna().to_numpy()
    return _seconds(utc.to_numpy()), skipped, exact.isna().to_numpy() & ~skipped


def iso(seconds: Floats, zone: str = "UTC") -> list[str]:
    """Return dates as ISO 8601 with their offset, to the second.

    >>> iso(np.array([0.0]))
    ['1970-01-01T00:00:00+00:00']
    """
    import pandas as pd

    stamps = pd.to_datetime(np.floor(seconds), unit="s", utc=True)
    if _OFFSET.fullmatch(zone):
        from datetime import timedelta, timezone

        stamps = stamps.tz_convert(timezone(timedelta(seconds=_offset_s(zone))))
    else:
        stamps = stamps.tz_convert(zone)
    text = stamps.strftime("%Y-%m-%dT%H:%M:%S%z")
    return [f"{word[:-2]}:{word[-2:]}" for word in text]
