"""Words of job logs as numbers: durations, sizes, counts, trackable resources. Each different word is looked at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from hpcsim.workload.jobs import Floats

__all__ = ["bytes_of", "counts", "durations_s", "each", "memory", "minutes_s", "numbers", "tres"]

_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?(\.\d+)?")
_NEVER = frozenset(("unlimited", "infinite"))
_BINARY = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40, "p": 2.0**50, "e": 2.0**60}
_SIZE = re.compile(r"([0-9.]+)\s*([kmgtpe]?)(?:i?b)?", re.IGNORECASE)
_SLURM_SIZE = re.compile(r"([0-9.]+)([KMGTPE]?)B?([nc]?)", re.IGNORECASE)
_COUNT = re.compile(r"([0-9.]+)([kmg]?)", re.IGNORECASE)


def each(words: Any, value: Callable[[str], float]) -> Floats:
    """Return ``value`` of every word, shape (words,); it is called once for each different one."""
    import pandas as pd

    codes, different = pd.factorize(np.asarray(words, dtype=object))
    found = np.array([value(word) if isinstance(word, str) else np.nan for word in different] or [np.nan], dtype=np.float64)
    return np.where(codes < 0, np.nan, found[codes]) if len(codes) else np.empty(0)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def numbers(words: Any) -> Floats:
    """Return plain numbers; NaN for anything else.

    >>> numbers(["12", "1e3", "Unknown", ""]).tolist()
    [12.0, 1000.0, nan, nan]
    """
    return each(words, _number)


def _duration(word: str) -> float:
    match = _DURATION.fullmatch(word.strip())
    if not match:
        return np.inf if word.strip().lower() in _NEVER else np.nan
    days, *parts = match.groups()[:4]
    given = [int(part) for part in parts if part is not None]
    if days is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        scale = (3600.0, 60.0, 1.0)
    else:  # MM, MM:SS, HH:MM:SS
        scale = (3600.0, 60.0, 1.0) if len(given) == 3 else (60.0, 1.0, 0.0)
    return int(days or 0) * 86400.0 + sum(x * y for x, y in zip(given, scale, strict=False)) + float(match[5] or 0.0)


def durations_s(words: Any) -> Floats:
    """Return durations in seconds: ``[D-]HH:MM:SS``, ``MM:SS``, ``D-HH``, ``D-HH:MM``, minutes alone; infinite for UNLIMITED, else NaN.

    >>> durations_s(["1-02:03:04", "03:00:00", "05:10", "2-12", "90", "UNLIMITED", "00:56.250", "Unknown"]).tolist()
    [93784.0, 10800.0, 310.0, 216000.0, 5400.0, inf, 56.25, nan]
    """
    return each(words, _duration)


def minutes_s(words: Any) -> Floats:
    """Return whole minutes as seconds; infinite for UNLIMITED, else NaN."""
    return each(words, lambda word: np.inf if word.strip().lower() in _NEVER else 60.0 * _number(word))


def _count(word: str) -> float:
    match = _COUNT.fullmatch(word.strip())
    return _number(match[1]) * {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()] if match else np.nan


def counts(words: Any) -> Floats:
    """Return counts, which Slurm shortens with decimal suffixes.

    >>> counts(["36", "1.5K", "Unknown"]).tolist()
    [36.0, 1500.0, nan]
    """
    return each(words, _count)


def bytes_of(word: str, unit: float = 1.0) -> float:
    """Return a size in bytes; a bare number counts ``unit`` bytes, suffixes are powers of 1,024.

    >>> bytes_of("4G") == 4 * 2**30, bytes_of("4000", 2**20) == 4000 * 2**20, bytes_of("1GiB") == 2**30
    (True, True, True)
    """
    match = _SIZE.fullmatch(word.strip())
    if not match:
        return np.nan
    return _number(match[1]) * (_BINARY[match[2].lower()] if match[2] else unit)


def _slurm_size(word: str, per: str) -> float:
    match = _SLURM_SIZE.fullmatch(word.strip())
    if not match or match[3].lower() != per:
        return np.nan
    return _number(match[1]) * _BINARY[match[2].lower() or "m"]


def memory(words: Any, nodes: Floats, processors: Floats) -> Floats:
    """Return the memory of whole jobs in bytes from Slurm's ``ReqMem``.

    ``4Gn`` is per node, ``4000Mc`` per core, without a letter (since 21.08) the whole job; a bare number is in MiB.

    Parameters
    ----------
    words : array of str, shape (jobs,)
    nodes, processors : array, shape (jobs,)
        Of each job.

    >>> (memory(["4Gn", "4000Mc", "4000M", "Unknown"], np.full(4, 2.0), np.full(4, 8.0)) / 2**20).tolist()
    [8192.0, 32000.0, 4000.0, nan]
    """
    per_node, per_core, whole = (each(words, lambda word, per=per: _slurm_size(word, per)) for per in ("n", "c", ""))  # type: ignore[misc]
    return np.where(~np.isnan(whole), whole, np.where(~np.isnan(per_node), per_node * nodes, per_core * processors))


_TRES = re.compile(r"(?:^|,)\s*([^=,]+)=([^,]*)")


def _tres(word: str, name: str) -> float:
    found: float | None = None
    typed = 0.0
    seen = False
    for key, value in _TRES.findall(word):
        amount = bytes_of(value, 2.0**20) if name == "mem" else _count(value)
        if key == name:
            found = amount
        elif name == "gres/gpu" and key.startswith("gres/gpu:"):
            typed, seen = typed + amount, True
    return found if found is not None else typed if seen else np.nan


def tres(words: Any, name: str) -> Floats:
    """Return one resource of Slurm's TRES strings; ``mem`` in bytes; GPUs with and without a type.

    >>> text = ["billing=16,cpu=8,gres/gpu:a100=2,mem=1.5G,node=1", "cpu=4,gres/gpu=1,gres/gpu:v100=1", ""]
    >>> tres(text, "cpu").tolist(), tres(text, "gres/gpu").tolist(), float(tres(text, "mem")[0]) == 1.5 * 2**30
    ([8.0, 4.0, nan], [2.0, 1.0, nan], True)
    """
    return each(words, lambda word: _tres(word, name))
