"""Cases of measured training steps: the file format, read with every mistake of form at once, each with its line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hpcsim.base.errors import Problems, problem_kind

__all__ = ["SHIPPED", "Marks", "case_list", "read_cases"]

SHIPPED = Path(__file__).with_name("training.yaml")
"""The cases that come with the package."""

NO_FILE = problem_kind("cases-missing", "there is no such file of cases", "check the path, or leave --cases out for the shipped evidence")
UNREADABLE = problem_kind("cases-unreadable", "the file of cases cannot be read: {why}", "it is a YAML list of cases")
NOT_A_LIST = problem_kind("cases-not-a-list", "a file of cases is a list; this is {what}", "see the page on calibration and verification")
BAD_CASE = problem_kind("case-form", "case {case}: {why}", "needed are model, hardware, parallelism and target.iteration_time_s")

_PARTS = ("model", "hardware", "parallelism")
_OPTIONAL_PARTS = ("software", "target")
_NEEDED = {
    "model": ("layers", "hidden", "heads", "vocab", "seq_len"),
    "hardware": ("accelerator", "count"),
    "parallelism": ("global_batch",),
    "target": ("iteration_time_s",),
}
_COUNTS = {
    "model": ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "vocab", "seq_len"),
    "hardware": ("count", "per_node"),
    "parallelism": ("tp", "pp", "dp", "cp", "ep", "vpp", "micro_batch", "global_batch"),
    "software": ("year",),
}
_NUMBERS = {"hardware": ("memory_gb", "memory_bandwidth_gbyte_s", "power_limit_w"), "target": ("iteration_time_s", "peak_mem_gib")}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or "it is no UTF-8 text") from None


def _document(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UNREADABLE.error(file=str(path), why=" ".join(str(error).split())) from None


class Marks:
    """Lines and columns of a file of cases, found when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root: Any = None

    def at(self, keys: tuple[int | str, ...]) -> tuple[int, int]:
        """Return line and column, from 1, of the deepest of ``keys`` that is there."""
        self.root = self.root or yaml.compose(self.text, Loader=_LOADER)
        return _place(self.root, keys)


def case_list(path: Path) -> tuple[list[Any], Marks, str]:
    """Return what a file of cases holds, where it stands in the file, and the file's name.

    Raises
    ------
    InputError
        No such file, no YAML, or no list.
    """
    text = _text(path)
    data = _document(path, text)
    if not isinstance(data, list) or not data:
        raise NOT_A_LIST.error(file=str(path), what="empty" if not data else f"a {type(data).__name__}")
    return data, Marks(text), str(path)


def read_cases(path: str | Path | None = None, *, measured: bool = True) -> list[dict[str, Any]]:
    """Return the cases of a file, the shipped ones without it.

    Each case is a map with ``model``, ``hardware``, ``parallelism``, ``software``, ``target``, and usually ``id`` and ``group``. What else a
    case leaves out is assumed as the training model page says.

    Parameters
    ----------
    path : path, optional
    measured : bool
        Whether a case needs its ``target.iteration_time_s``.

    Raises
    ------
    InputError
        No such file, no YAML, no list, or cases without what a prediction and its score need: every mistake, with its line.
    """
    path = Path(path) if path is not None else SHIPPED
    data, marks, _ = case_list(path)
    found = [(place, keys, why) for place, case in enumerate(data) for keys, why in _flaws(case, measured)]
    problems = Problems()
    for place, keys, why in found:
        line, column = marks.at((place, *keys))
        problems.add(BAD_CASE(file=str(path), line=line, column=column, case=_name(data[place], place), why=why))
    problems.raise_if_any()
    return data


def _name(case: Any, place: int) -> Any:
    return case.get("id", place + 1) if isinstance(case, dict) else place + 1


def _flaws(case: Any, measured: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every mistake of a case: where, and what it is. Numbers written as text (``1e9``) become numbers in place."""
    if not isinstance(case, dict):
        yield (), "it is no map"
        return
    for part in _PARTS:
        if not isinstance(case.get(part), dict):
            yield (), f"{part} missing" if case.get(part) is None else f"{part} is no map"
    for part in _OPTIONAL_PARTS:
        if case.get(part) is not None and not isinstance(case[part], dict):
            yield (part,), f"{part} is no map"
        elif case.get(part) is None and (part != "target" or not measured):
            case[part] = {}
    if measured and case.get("target") is None:
        yield (), "target.iteration_time_s missing"
    for part, keys in _NEEDED.items():
        owner = case.get(part)
        if isinstance(owner, dict) and (part != "target" or measured):
            yield from (((part,), f"{part}.{key} missing") for key in keys if owner.get(key) is None)
    for table, whole in ((_COUNTS, True), (_NUMBERS, False)):
        for part, keys in table.items():
            owner = case.get(part)
            if isinstance(owner, dict):
                yield from _bad_numbers(owner, part, keys, whole)


def _bad_numbers(owner: dict[str, Any], part: str, keys: tuple[str, ...], whole: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    for key in keys:
        value = owner.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            try:
                value = owner[key] = float(value)
            except ValueError:
                yield (part, key), f"{part}.{key} is {value!r}, and a number is needed"
                continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            yield (part, key), f"{part}.{key} is {value!r}, and a number above zero is needed"
        elif whole and value != int(value):
            yield (part, key), f"{part}.{key} is {value!r}, and a whole number is needed"
        elif whole:
            owner[key] = int(value)


def _place(node: Any, keys: tuple[int | str, ...]) -> tuple[int, int]:
    """Return line and column, from 1, of the deepest of ``keys`` that is there."""
    mark = node.start_mark
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        elif isinstance(node, yaml.MappingNode):
            inside: Mapping[Any, Any] = {name.value: value for name, value in node.value}
            if key not in inside:
                break
            node = inside[key]
        else:
            break
        mark = node.start_mark
    return mark.line + 1, mark.column + 1
