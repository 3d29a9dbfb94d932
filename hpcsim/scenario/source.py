"""YAML text → plain data, with the position of every key and value, and every mistake of form at once.

The reader follows YAML 1.2's core schema (``1e9`` is a number, ``NO`` is text), takes merge keys (``<<: *alias``), refuses duplicate keys,
tags, aliases that grow without bound, and more than one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.base.reuse import kept

__all__ = ["Source", "parse_yaml", "read_text"]

NO_FILE = problem_kind("file-missing", "there is no such file", "check the path; {near}")
IS_FOLDER = problem_kind("file-is-a-folder", "this is a folder, a file is needed", "name the file inside it")
UNREADABLE = problem_kind("file-unreadable", "the file cannot be read: {why}", "check its permissions")
NOT_TEXT = problem_kind("file-not-text", "this is no UTF-8 text (byte {byte} at offset {offset})", "a scenario is a YAML file in UTF-8")
TOO_LARGE = problem_kind(
    "file-too-large", "the file has more than {most} bytes", "a scenario is small; keep job logs in files of their own"
)
EMPTY = problem_kind("file-empty", "the file is empty", "see scenarios/ for examples to start from")
BAD_YAML = problem_kind("yaml-syntax", "{why}", "check indentation, colons, quotes and brackets near this place")
NOT_A_MAP = problem_kind("not-a-map", "{what} must be a map of keys and values", "for example 'name: demo'")
DUPLICATE = problem_kind("duplicate-key", "the key {key!r} is given twice", "the first is on line {first}; keep one of them")
BAD_KEY = problem_kind("bad-key", "a key must be plain text", "write the key as a word")
TAGGED = problem_kind("yaml-tag", "the tag {tag!r} is not supported", "remove it")
RECURSIVE = problem_kind(
    "yaml-recursion", "an alias refers to itself, or the file is nested too deeply or expands too far", "write the values out"
)
BAD_MERGE = problem_kind("yaml-merge", "'<<' takes a map or a list of maps", "for example '<<: *other', with '&other' before the other map")
BAD_NUMBER = problem_kind("bad-number", "a number of {digits} digits is not sensible", "check the value")

_MOST_BYTES = 20_000_000
_MOST_NODES = 100_000
_MOST_DEPTH = 60
_SAFE_DEPTH = 1000
_INDENT = re.compile(r"^[ \t?:-]*", re.MULTILINE)

Path_ = tuple[str | int, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The C loader with the scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
_PATTERNS: dict[str, re.Pattern[str]] = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", "-+.0123456789"),
):
    _PATTERNS[_tag] = re.compile(_pattern)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _PATTERNS[_tag], list(_first))


@dataclass(frozen=True)
class Source:
    """Where a scenario was read: file name, folder, and the line and column of every dotted path."""

    file: str
    folder: Path
    marks: dict[Any, tuple[int, int]]

    def place(self, path: Path_, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of ``path``, or of its nearest ancestor that the file has."""
        if key and (*path, None) in self.marks:
            return self.marks[(*path, None)]
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))

    def near(self, dotted: str) -> tuple[int, int]:
        """Return line and column of a dotted path, or of its nearest ancestor that the file has."""
        known = {_dotted(path): mark for path, mark in self.marks.items() if None not in path}
        while dotted and dotted not in known:
            dotted = dotted.rpartition(".")[0]
        return known.get(dotted, (1, 1))

    def without(self, dotted: Iterable[str]) -> Source:
        """Return the source without the positions of some dotted paths and of what lies in them."""
        gone = tuple(dotted)
        return Source(self.file, self.folder, kept("marks", lambda: (id(self.marks), gone), lambda: self._without(gone)))

    def _without(self, gone: tuple[str, ...]) -> dict[Any, tuple[int, int]]:
        left = {}
        for path, mark in self.marks.items():
            text = _dotted(tuple(part for part in path if part is not None))
            if not any(text == prefix or text.startswith(f"{prefix}.") for prefix in gone):
                left[path] = mark
        return left


def read_text(path: Path, name: str) -> str:
    """Return the text of a file.

    Raises
    ------
    InputError
        Missing, a folder, unreadable, too large, empty, or not UTF-8.
    """
    try:
        if path.is_dir():
            raise IS_FOLDER.error(file=name)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise TOO_LARGE.error(file=name, most=_MOST_BYTES)
    except FileNotFoundError:
        folder = path.parent
        names = sorted(p.name for p in folder.glob("*.y*ml"))[:5] if folder.is_dir() else []
        near = f"{folder}/ has " + ", ".join(names) if names else "no YAML file lies in that folder"
        raise NO_FILE.error(file=name, near=near) from None
    except NotADirectoryError:
        raise NO_FILE.error(file=name, near="a part of the path is a file, not a folder") from None
    except (OSError, ValueError) as error:
        raise UNREADABLE.error(file=name, why=getattr(error, "strerror", None) or error) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NOT_TEXT.error(file=name, byte=f"0x{data[error.start]:02x}", offset=error.start) from None
    if "\0" in text:
        raise NOT_TEXT.error(file=name, byte="0x00", offset=text.index("\0"))
    if not text.strip():
        raise EMPTY.error(file=name)
    return text


def _compose(text: str, name: str) -> yaml.Node | None:
    """Return the document's root.

    The composer recurses on the machine's stack, so where the text could be deep the depth is measured on the events first.
    """
    indent = max(match.end() - match.start() for match in _INDENT.finditer(text))  # every second block level begins further right
    if text.count("[") + text.count("{") + 2 * indent > _SAFE_DEPTH:
        depth = 0
        for event in yaml.parse(text, _Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise RECURSIVE.error(file=name)
    return yaml.compose(text, _Loader)


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, int, int]:
    mark = error.problem_mark or error.context_mark
    why = " ".join(str(part) for part in (error.context, error.problem) if part)
    return why, (mark.line + 1 if mark else 1), (mark.column + 1 if mark else 1)


class _Reader:
    def __init__(self, name: str, problems: Problems) -> None:
        self.name = name
        self.problems = problems
        self.marks: dict[Any, tuple[int, int]] = {}
        self.nodes = 0
        self.merging = 0

    def note(self, problem: Problem, mark: Any) -> None:
        self.problems.add(problem.located(file=self.name, line=mark.line + 1, column=mark.column + 1))

    def plain(self, node: yaml.Node, path: Path_, kind: str) -> None:
        """Note a tag that the text itself does not imply."""
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self.note(TAGGED(tag=node.tag, path=_dotted(path)), node.start_mark)

    def value(self, node: yaml.Node, path: Path_) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES or len(path) > _MOST_DEPTH:
            raise RECURSIVE.error(file=self.name)
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            self.plain(node, path, "map")
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self.plain(node, path, "seq")
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        out = self.merged(node, path)
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if _merges(key_node):
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(BAD_KEY(path=_dotted(path)), key_node.start_mark)
                continue
            key = str(key_node.value)
            if key in first:
                self.note(DUPLICATE(key=key, first=first[key], path=_dotted((*path, key))), key_node.start_mark)
                continue
            first[key] = key_node.start_mark.line + 1
            self.marks[(*path, key, None)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            out[key] = self.value(value_node, (*path, key))
        return out

    def merged(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        """Return what the merge keys of a map bring; the earlier map wins, and the map's own keys over all."""
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not _merges(key_node):
                continue
            maps = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            if not all(isinstance(item, yaml.MappingNode) for item in maps):
                self.note(BAD_MERGE(path=_dotted(path)), value_node.start_mark)
                continue
            for item in reversed(maps):
                self.merging += 1
                if self.merging > _MOST_DEPTH:  # a map that merges itself
                    raise RECURSIVE.error(file=self.name)
                out.update(self.value(item, path))
                self.merging -= 1
        return out

    def scalar(self, node: yaml.Node, path: Path_) -> Any:
        kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
        if kind in _PATTERNS and not _PATTERNS[kind].match(text):
            self.plain(node, path, "str")
            return text
        if kind == "int":
            if len(text) > 400:
                self.note(BAD_NUMBER(digits=len(text), path=_dotted(path)), node.start_mark)
                return 0
            return int(text)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind == "bool":
            return text.lower() == "true"
        if kind == "null":
            return None
        self.plain(node, path, "str")
        return text


def _merges(key: yaml.Node) -> bool:
    """Return whether a key is the merge key, written plainly."""
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def parse_yaml(text: str, name: str, folder: Path, problems: Problems) -> tuple[dict[str, Any], Source]:
    """Read YAML text into plain data.

    Parameters
    ----------
    text : str
        One YAML document whose root is a map.
    name : str
        File name for messages.
    folder : Path
        Folder that relative paths inside the document refer to.
    problems : Problems
        Takes the mistakes after which reading can go on, such as duplicate keys.

    Returns
    -------
    data : dict
    source : Source

    Raises
    ------
    InputError
        Broken syntax, several documents, or a root that is no map.
    """
    try:
        root = _compose(text, name)
    except yaml.MarkedYAMLError as error:
        why, line, column = _syntax(error)
        if "nesting depth" in why:  # the scanner of newer releases has a bound of its own
            raise InputError([RECURSIVE(file=name, line=line, column=column)]) from None
        raise InputError([BAD_YAML(file=name, line=line, column=column, why=why)]) from None
    except yaml.YAMLError as error:
        raise BAD_YAML.error(file=name, why=" ".join(str(error).split())) from None
    except UnicodeEncodeError as error:
        raise NOT_TEXT.error(file=name, byte=ascii(text[error.start]), offset=error.start) from None
    if root is None:
        raise EMPTY.error(file=name)
    reader = _Reader(name, problems)
    data = reader.value(root, ())
    if not isinstance(data, dict):
        problem = NOT_A_MAP(file=name, line=root.start_mark.line + 1, column=root.start_mark.column + 1, what="a scenario")
        raise InputError([problem])
    return data, Source(name, folder, reader.marks)
