"""Cases of measured training steps: the file format, read with every mistake of form at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hpcsim.base.errors import Problems, problem_kind

__all__ = ["SHIPPED", "read_cases"]

SHIPPED = Path(__file__).with_name("training.yaml")
"""The cases that come with the package."""

NO_FILE = problem_kind("cases-missing", "there is no such file of cases", "check the path, or leave --cases out for the shipped evidence")
UNREADABLE = problem_kind("cases-unreadable", "the file of cases cannot be read: {why}", "it is a YAML list of cases")
NOT_A_LIST = problem_kind("cases-not-a-list", "a file of cases is a list; this is {what}", "see the reference page on evidence")
BAD_CASE = problem_kind("case-form", "case {case}: {why}", "needed are id, model, hardware, parallelism and target.iteration_time_s")

_PARTS = ("model", "hardware", "parallelism")
_NEEDED = {"model": ("layers", "hidden", "heads", "vocab", "seq_len"), "hardware": ("accelerator", "count"), "parallelism": ("global_batch",)}


def _document(path: Path) -> Any:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or "it is no UTF-8 text") from None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise UNREADABLE.error(file=str(path), why=" ".join(str(error).split())) from None


def read_cases(path: str | Path | None = None) -> list[dict[str, Any]]:
    """Return the cases of a file, the shipped ones without it.

    Each case is a map with ``id``, ``group``, ``model``, ``hardware``, ``parallelism``, ``software`` and ``target``.

    Raises
    ------
    InputError
        No such file, no YAML, no list, or cases without what a prediction and its score need.
    """
    path = Path(path) if path is not None else SHIPPED
    data = _document(path)
    if not isinstance(data, list) or not data:
        what = "empty" if not data else f"a {type(data).__name__}"
        raise NOT_A_LIST.error(file=str(path), what=what)
    problems = Problems()
    for number, case in enumerate(data, 1):
        why = _flaw(case)
        if why:
            name = case.get("id", number) if isinstance(case, dict) else number
            problems.add(BAD_CASE(file=str(path), case=name, why=why))
    problems.raise_if_any()
    return data


def _flaw(case: Any) -> str:
    if not isinstance(case, dict):
        return "it is no map"
    missing = [part for part in _PARTS if not isinstance(case.get(part), dict)]
    if missing:
        return f"{', '.join(missing)} missing"
    gaps = [f"{part}.{key}" for part, keys in _NEEDED.items() for key in keys if case[part].get(key) is None]
    if gaps:
        return f"{', '.join(gaps)} missing"
    measured = (case.get("target") or {}).get("iteration_time_s")
    if not isinstance(measured, (int, float)) or isinstance(measured, bool) or not measured > 0:
        return f"target.iteration_time_s is {measured!r}"
    return ""
